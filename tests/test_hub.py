"Scorers from the Hugging Face Hub: fetched, kept in the cache, pinned to a revision, refused."
import inspect, json
import numpy as np, pytest
from safetensors.numpy import load_file, save, save_file
from attiqa.core import scorer_file
from attiqa.engine import read_card
from attiqa.score import MINI, UNAWARE, Scorer
from hub_server import REPO, scorer_files, sha256

pytest_plugins = ["hub_fixtures"]
NOT_CACHED = "is not in the cache"

def cdn_requests(hub): return [(method, path) for method, path in hub.seen if path.startswith("/cdn/")]

# The cache and revisions

def test_a_fetched_scorer_scores_as_the_file(hub, score, quality):
    hub.commit(REPO, scorer_files())
    assert score(REPO) == quality[MINI]
    hub.commit("someone/other", scorer_files(UNAWARE))
    assert score("hf://someone/other") == quality[UNAWARE]

def test_what_the_cache_has_is_not_fetched_again(hub, score, quality):
    hub.commit(REPO, scorer_files())
    fetches = lambda: [method for method, _ in cdn_requests(hub)].count("GET")
    for _ in range(2): assert score(REPO) == quality[MINI]
    assert fetches() == 1
    assert score(REPO, "force_download") == quality[MINI]
    assert fetches() == 2

def test_offline_from_the_cache(hub, score, quality):
    hub.commit(REPO, scorer_files())
    assert NOT_CACHED in score(REPO, "local_files_only")
    assert score(REPO) == quality[MINI]
    hub.seen.clear()
    assert score(REPO, "local_files_only") == quality[MINI]
    assert score(REPO, HF_HUB_OFFLINE="1") == quality[MINI]
    assert not [path for _, path in hub.seen if REPO in path or "cdn" in path]
    hub.close()
    assert score(REPO) == quality[MINI]
    assert NOT_CACHED in score("someone/other", HF_HUB_OFFLINE="1")
    assert NOT_CACHED in score(REPO, "cache_dir=elsewhere", HF_HUB_OFFLINE="1")

def test_a_revision_is_pinned(hub, score, quality):
    first = hub.commit(REPO, scorer_files(), "v1")
    hub.commit(REPO, scorer_files(UNAWARE))
    assert score(REPO) == quality[UNAWARE]
    assert score(REPO, "revision=v1") == quality[MINI]
    assert score(REPO, f"revision={first}") == quality[MINI]
    assert score(f"hf://{REPO}@v1") == quality[MINI]
    assert score(REPO, "revision=v9") == f"hf://{REPO}@v9: has no such revision"

def test_a_tag_can_move_and_a_commit_cannot(hub, score, quality):
    first = hub.commit(REPO, scorer_files(), "v1")
    assert score(REPO, "revision=v1") == quality[MINI]
    hub.commit(REPO, scorer_files(UNAWARE), "v1")
    assert score(REPO, "revision=v1") == quality[UNAWARE]
    assert score(REPO, f"revision={first}") == quality[MINI]

# Damaged files

def damaged(data):
    "A whole scorer of the same size but for one weight."
    changed = bytearray(data)
    changed[-1] ^= 1
    return bytes(changed)

@pytest.mark.parametrize("no_links", ["", "1"], ids=["links", "no links"])
def test_a_wrong_hash_is_one_line_and_nothing_stays(hub, score, quality, no_links):
    hub.commit(REPO, scorer_files())
    data, env = scorer_file(MINI).read_bytes(), dict(HF_HUB_DISABLE_SYMLINKS=no_links)
    hub.swapped[sha256(data)] = damaged(data)
    assert "does not have the hash that the Hub states" in score(REPO, **env)
    assert NOT_CACHED in score(REPO, "local_files_only", **env)
    hub.swapped.clear()
    assert score(REPO, **env) == quality[MINI]

def test_a_cache_that_rots_is_noticed_offline(hub, score, tmp_path):
    hub.commit(REPO, scorer_files())
    score(REPO)
    folder = tmp_path/"home"/"hub"/f"models--{REPO.replace('/', '--')}"
    blob = folder/"blobs"/sha256(scorer_file(MINI).read_bytes())
    blob.write_bytes(damaged(blob.read_bytes()))
    assert "does not have the hash" in score(REPO, "local_files_only")
    assert not blob.exists()

def test_a_cut_file_is_refused(hub, score):
    hub.commit(REPO, scorer_files())
    data = scorer_file(MINI).read_bytes()
    hub.swapped[sha256(data)] = data[:-1000]
    assert score(REPO).startswith(f"hf://{REPO}: ")
    assert NOT_CACHED in score(REPO, "local_files_only")

# Other content and names

def test_another_library_s_model_is_refused(hub, score):
    data = save(dict(weight=np.zeros((3, 3), np.float32)), dict(format="pt"))
    hub.commit(REPO, {"model.safetensors": data})
    reason = "its model.safetensors is not a scorer of this kit (no card in its header)"
    assert score(REPO) == f"hf://{REPO}: {reason}"

def test_a_pickle_by_another_name_is_refused(hub, score):
    hub.commit(REPO, {"model.safetensors": b"\x80\x04 a pickle by another name"})
    assert "is not a scorer of this kit" in score(REPO)

def test_weights_of_another_network_are_refused(hub, run_score, tmp_path):
    card = read_card(scorer_file(MINI).read_bytes())
    card["architecture"] |= dict(backbone="resnet10t")
    save_file(load_file(scorer_file(MINI)), tmp_path/"other.safetensors", dict(attiqa=json.dumps(card)))
    hub.commit(REPO, {"model.safetensors": (tmp_path/"other.safetensors").read_bytes()})
    status, _, error = run_score(REPO)
    assert status
    assert "weights do not fit resnet10t" in error
    assert "\n" not in error

PICKLE = b"\x80\x04cposix\nsystem\n(X\x04\x00\x00\x00exittR."

def test_a_pickle_is_refused_unread(hub, score):
    hub.commit(REPO, {"pytorch_model.bin": PICKLE, "config.json": b"{}"})
    assert score(REPO) == (
        f"hf://{REPO}: holds pytorch_model.bin, a pickle, which may run code and is not read; "
        "its owner can share a scorer with Scorer.push_to_hub")
    assert not [path for _, path in hub.seen if "pytorch_model" in path]
    assert not cdn_requests(hub)

def test_a_repository_without_a_model_is_refused(hub, score):
    hub.commit("someone/text", {"notes.txt": b"nothing"})
    assert "has no model.safetensors" in score("someone/text")
    assert not cdn_requests(hub)

WRONG_NAMES = {
    "some/one/scorer": "is not the name of a repository",
    "nobody/nothing": "no such repository on the Hub, or a private one"}

@pytest.mark.parametrize("name, reason", WRONG_NAMES.items())
def test_a_wrong_name_is_one_line(score, name, reason):
    assert reason in score(name)

# Where a repository can be named

COMMAND = "import sys; from attiqa.cli import main; sys.exit(main(sys.argv[1:]))"

def test_on_the_command_line(hub, python, photo, quality):
    hub.commit(REPO, scorer_files(), "v1")
    hub.commit(REPO, scorer_files(UNAWARE))
    words = ["--model", f"hf://{REPO}@v1", "--no-findings", "--device", "cpu", "--csv", "-"]
    status, out, error = python(COMMAND, "score", photo, *words)
    assert not status
    assert f",{quality[MINI][0]}," in out
    assert error.startswith(f"attiqa: {MINI}: quality learned from")

def test_a_wrong_name_on_the_command_line(python, photo):
    status, _, error = python(COMMAND, "score", photo, "--model", "hf://nobody/nothing")
    assert status
    assert error == ("attiqa: hf://nobody/nothing: no such repository on the Hub, or a private one: "
                     "check the name, or run `hf auth login`")

LOAD = """
import sys
from attiqa.features import load_frozen
print(*(load_frozen(name).fingerprint for name in sys.argv[1:]))
"""

def test_a_benchmark_takes_one(hub, python):
    hub.commit(REPO, scorer_files(), "v1")
    hub.commit(REPO, scorer_files(UNAWARE))
    shipped, pinned, newest = python(LOAD, MINI, f"hf://{REPO}@v1", f"hf://{REPO}")[1].split()
    assert shipped == pinned != newest

ASK_TWICE = """
import sys, attiqa
print(*(attiqa.score(sys.argv[1], sys.argv[2], "cpu").quality for _ in range(2)))
"""

def test_the_function_asks_once(hub, python, photo, quality):
    hub.commit(REPO, scorer_files())
    assert python(ASK_TWICE, photo, f"hf://{REPO}")[1].split() == [quality[MINI][0]]*2
    assert len([path for method, path in hub.seen if REPO in path and method == "HEAD"]) == 1

# Neighbours

def named_parameters(method):
    "Kind and default of each parameter by name, without the first and the one that stands for several."
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return {p.name: (p.kind, p.default) for p in parameters
            if p.name != "commit_message" and p.kind != p.VAR_KEYWORD}

WITHOUT_USE = "proxies", "resume_download" # of huggingface_hub before 1.0

def test_the_methods_are_those_of_the_mixin():
    from huggingface_hub import ModelHubMixin
    theirs = named_parameters(ModelHubMixin.from_pretrained.__func__)
    for name in WITHOUT_USE: theirs.pop(name, None)
    assert named_parameters(Scorer.from_pretrained.__func__) == theirs
    for name in ("push_to_hub", "save_pretrained"):
        own = named_parameters(getattr(Scorer, name))
        assert own.items() <= named_parameters(getattr(ModelHubMixin, name)).items()

IMPORTED = """
import sys
from attiqa.score import Scorer
Scorer(device="cpu")(sys.argv[1])
print({"torch", "huggingface_hub"} & {*sys.modules})
"""

def test_the_hub_is_imported_where_it_is_asked(python, photo):
    assert python(IMPORTED, photo)[1] == "set()"

MAP = """
import sys
from datasets import Dataset, Image
from attiqa.score import Scorer
scorer = Scorer(sys.argv[2], "cpu")
def scores(batch):
    images = (image["bytes"] or image["path"] for image in batch["image"])
    return dict(quality=[score.quality for score in scorer(images)])
data = Dataset.from_dict(dict(image=[sys.argv[1]]*3)).cast_column("image", Image(decode=False))
mapped = data.map(scores, batched=True, batch_size=2)
print(mapped._fingerprint, *mapped["quality"])
"""

def test_a_mapped_dataset_is_kept_until_the_scorer_changes(python, photo, quality):
    pytest.importorskip("datasets")
    first, again, other = (python(MAP, photo, name)[1].split() for name in (MINI, MINI, UNAWARE))
    assert first[1:] == [quality[MINI][0]]*3
    assert other[1:] == [quality[UNAWARE][0]]*3
    assert first == again
    assert first[0] != other[0]
