"Scorers from the Hugging Face Hub and to it, against a server of the test's own that answers as the Hub does."
import base64, hashlib, inspect, json, os, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit
import numpy as np
import pytest
from safetensors.numpy import load_file, save, save_file
from attiqa.core import SCORERS, WEIGHTS, AttiqaError, read_json, scorer_file
from attiqa.engine import card_in, scorer_graph
from attiqa.hub import PICKLES, front_matter
from attiqa.images import package_photograph
from attiqa.score import MINI, UNAWARE, Scorer

REPO, TOKEN = "someone/scorer", "hf_of_the_test"

def sha256(data): return hashlib.sha256(data).hexdigest()
def git_hash(data): return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
def large(name): return name.endswith((".safetensors", *PICKLES)) # kept by LFS

class Hub(ThreadingHTTPServer):
    "Repositories of commits; what was asked for is in `seen`."
    daemon_threads = True
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos, self.stored, self.swapped, self.seen = {}, {}, {}, []
        self.address = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def commit(self, repo, files, *refs): # files: name to content, added to those of main
        commits, heads = self.repos.setdefault(repo, ({}, {}))
        whole = commits.get(heads.get("main"), {}) | files
        sha = git_hash(repr(sorted((name, sha256(data)) for name, data in whole.items())).encode())
        commits[sha] = whole
        heads.update(dict.fromkeys(("main", *refs), sha))
        self.stored |= {sha256(data): data for data in whole.values()}
        return sha

    def close(self):
        self.shutdown(), self.server_close()

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass

    def answer(self, status, content=b"", **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (dict(Content_Length=len(data)) | headers).items(): self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(data)

    def missing(self, code, **headers): self.answer(404, dict(error=code), X_Error_Code=code, **headers)

    def found(self, repo, revision):
        "Commit and its files; None where it answered that there are none."
        if repo not in self.server.repos: return self.missing("RepoNotFound")
        commits, heads = self.server.repos[repo]
        sha = heads.get(revision, revision)
        return (sha, commits[sha]) if sha in commits else self.missing("RevisionNotFound")

    def handle_any(self):
        path = unquote(urlsplit(self.path).path)
        self.server.seen.append((self.command, path))
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.route(path.strip("/").split("/"))
    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def route(self, words):
        match words:
            case [owner, name, "resolve", revision, file]: self.resolve(f"{owner}/{name}", revision, file)
            case ["cdn", sha]: self.answer(200, self.server.swapped.get(sha, self.server.stored[sha]), ETag='"of the storage"')
            case ["lfs", sha]:
                self.server.stored[sha] = self.body
                self.answer(200)
            case ["api", "models", owner, name, "tree", revision]: self.tree(f"{owner}/{name}", revision)
            case _ if self.headers.get("Authorization") != f"Bearer {TOKEN}": self.answer(401, dict(error="Invalid credentials"))
            case _: self.write(words)

    def resolve(self, repo, revision, file):
        if not (found := self.found(repo, revision)): return
        sha, files = found
        if file not in files: return self.missing("EntryNotFound", X_Repo_Commit=sha)
        data = files[file]
        if not large(file): return self.answer(200, data, X_Repo_Commit=sha, ETag=f'"{git_hash(data)}"')
        self.answer(302, X_Repo_Commit=sha, X_Linked_Size=len(data), X_Linked_ETag=f'"{sha256(data)}"', Location=f"http://localhost:{self.server.server_port}/cdn/{sha256(data)}") # another host, as the Hub's storage is

    def tree(self, repo, revision):
        if found := self.found(repo, revision):
            self.answer(200, [dict(type="file", path=name, size=len(data), oid=git_hash(data)) for name, data in found[1].items()])

    def write(self, words):
        given = self.body if words[-2] == "commit" else json.loads(self.body)
        match words:
            case ["api", "repos", "create"]:
                repo = f"{given['organization']}/{given['name']}"
                self.server.repos.setdefault(repo, ({}, {}))
                self.answer(200, dict(url=f"{self.server.address}/{repo}", id=repo))
            case ["api", "validate-yaml"]: self.answer(200, dict(errors=[], warnings=[]))
            case ["api", "models", _, _, "preupload", _]:
                mode = lambda path: dict(path=path, uploadMode="lfs" if large(path) else "regular", shouldIgnore=False)
                self.answer(200, dict(files=[mode(file["path"]) for file in given["files"]]))
            case [_, _, "info", "lfs", "objects", "batch"]:
                one = lambda o: dict(oid=o["oid"], size=o["size"], actions=dict(upload=dict(href=f"{self.server.address}/lfs/{o['oid']}")))
                self.answer(200, dict(transfer="basic", objects=[one(o) for o in given["objects"]]))
            case ["api", "models", owner, name, "commit", branch]: self.committed(f"{owner}/{name}", branch, [json.loads(line) for line in given.splitlines()])

    def committed(self, repo, branch, lines):
        small = {v["path"]: base64.b64decode(v["content"]) for line in lines if line["key"] == "file" and (v := line["value"])}
        kept = {v["path"]: self.server.stored[v["oid"]] for line in lines if line["key"] == "lfsFile" and (v := line["value"])}
        assert branch == "main"
        sha = self.server.commit(repo, small | kept)
        self.answer(200, dict(commitUrl=f"{self.server.address}/{repo}/commit/{sha}", commitOid=sha, success=True))

@pytest.fixture
def hub():
    server = Hub()
    yield server
    server.close()

@pytest.fixture
def photo(tmp_path):
    package_photograph("chelsea.png").save(tmp_path/"chelsea.png")
    return tmp_path/"chelsea.png"

@pytest.fixture
def python(hub, tmp_path):
    "Run code in a process of its own, whose Hub is the test's; gives (exit code, output, errors)."
    def run(code, *words, **env):
        env = os.environ | dict(HF_ENDPOINT=hub.address, HF_HOME=str(tmp_path/"home"), HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_TOKEN="", OMP_NUM_THREADS="1", NO_PROXY="127.0.0.1,localhost") | env
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, *map(str, words)], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout.strip(), done.stderr.strip()
    return run

SCORE = """
import sys
from attiqa.score import Scorer
from attiqa.core import AttiqaError
photo, name, *more = sys.argv[1:]
try: scorer = Scorer.from_pretrained(name, device="cpu", **{key: value or True for key, _, value in (word.partition("=") for word in more)})
except AttiqaError as error: sys.exit(str(error))
finally: print("torch" in sys.modules)
print(scorer(photo).quality, scorer.card.get("name"))
"""
COMMAND = "import sys; from attiqa.cli import main; sys.exit(main(sys.argv[1:]))"

@pytest.fixture
def score(python, photo):
    "Quality of the photograph by a repository's scorer and its card's name; or the one line that refuses it. torch stays out."
    def run(name, *more, **env):
        status, out, err = python(SCORE, photo, name, *more, **env)
        torch, *said = out.splitlines()
        assert torch == "False"
        if status: assert err and "\n" not in err, err
        return err if status else tuple(said[0].split())
    return run

@pytest.fixture
def quality(photo):
    "What the shipped scorers say of it, as `score` gives it."
    return {name: (str(Scorer(name, "cpu")(photo).quality), name) for name in SCORERS}

def content(name=MINI): return {"model.safetensors": scorer_file(name).read_bytes(), "config.json": scorer_file(name).with_suffix(".json").read_bytes()}

def test_a_fetched_scorer_scores_as_the_file(hub, score, quality):
    hub.commit(REPO, content())
    assert score(REPO) == quality[MINI]
    hub.commit("someone/other", content(UNAWARE))
    assert score("hf://someone/other") == quality[UNAWARE]

def test_what_the_cache_has_is_not_fetched_again(hub, score, quality):
    hub.commit(REPO, content())
    for _ in range(2): assert score(REPO) == quality[MINI]
    fetched = lambda: [path for method, path in hub.seen if method == "GET" and path.startswith("/cdn/")]
    assert len(fetched()) == 1
    assert score(REPO, "force_download") == quality[MINI] and len(fetched()) == 2

def test_offline_from_the_cache(hub, score, quality):
    hub.commit(REPO, content())
    assert "is not in the cache" in score(REPO, "local_files_only")
    assert score(REPO) == quality[MINI]
    hub.seen.clear()
    assert score(REPO, "local_files_only") == score(REPO, HF_HUB_OFFLINE="1") == quality[MINI]
    assert not [path for _, path in hub.seen if REPO in path or "cdn" in path]
    hub.close()
    assert score(REPO) == quality[MINI]
    assert "is not in the cache" in score("someone/other", HF_HUB_OFFLINE="1")
    assert "is not in the cache" in score(REPO, "cache_dir=elsewhere", HF_HUB_OFFLINE="1")

def test_a_revision_is_pinned(hub, score, quality):
    first = hub.commit(REPO, content(), "v1")
    hub.commit(REPO, content(UNAWARE))
    assert score(REPO) == quality[UNAWARE]
    assert score(REPO, "revision=v1") == score(REPO, f"revision={first}") == score(f"hf://{REPO}@v1") == quality[MINI]
    assert score(REPO, "revision=v9") == f"hf://{REPO}@v9: has no such revision"
    hub.commit(REPO, content(UNAWARE), "v1") # a tag can move, a commit cannot
    assert score(REPO, "revision=v1") == quality[UNAWARE] and score(REPO, f"revision={first}") == quality[MINI]

def other_bytes(data): # a whole scorer of the same size, but for one weight
    changed = bytearray(data)
    changed[-1] ^= 1
    return bytes(changed)

@pytest.mark.parametrize("links", ["", "1"], ids=["links", "no links"])
def test_a_wrong_hash_is_one_line_and_nothing_stays(hub, score, quality, links):
    hub.commit(REPO, content())
    data = scorer_file(MINI).read_bytes()
    hub.swapped[sha256(data)] = other_bytes(data)
    assert "does not have the hash that the Hub states" in score(REPO, HF_HUB_DISABLE_SYMLINKS=links)
    assert "is not in the cache" in score(REPO, "local_files_only", HF_HUB_DISABLE_SYMLINKS=links)
    hub.swapped.clear()
    assert score(REPO, HF_HUB_DISABLE_SYMLINKS=links) == quality[MINI]

def test_a_cache_that_rots_is_noticed_offline(hub, score, tmp_path):
    hub.commit(REPO, content())
    score(REPO)
    blob = tmp_path/"home"/"hub"/f"models--{REPO.replace('/', '--')}"/"blobs"/sha256(scorer_file(MINI).read_bytes())
    blob.write_bytes(other_bytes(blob.read_bytes()))
    assert "does not have the hash" in score(REPO, "local_files_only") and not blob.exists()

def test_a_cut_file_is_refused(hub, score):
    hub.commit(REPO, content())
    data = scorer_file(MINI).read_bytes()
    hub.swapped[sha256(data)] = data[:-1000]
    assert score(REPO).startswith(f"hf://{REPO}: ") and "is not in the cache" in score(REPO, "local_files_only")

def test_another_library_s_model_is_refused(hub, score):
    hub.commit(REPO, {"model.safetensors": save(dict(weight=np.zeros((3, 3), np.float32)), dict(format="pt"))})
    assert score(REPO) == f"hf://{REPO}: its model.safetensors is not a scorer of this kit (no card in its header)"
    hub.commit(REPO, {"model.safetensors": b"\x80\x04 a pickle by another name"})
    assert "is not a scorer of this kit" in score(REPO)

def test_weights_of_another_network_are_refused(hub, python, photo, tmp_path):
    card = card_in(scorer_file(MINI).read_bytes())
    card["architecture"] |= dict(backbone="resnet10t")
    save_file(load_file(scorer_file(MINI)), tmp_path/"other.safetensors", dict(attiqa=json.dumps(card)))
    hub.commit(REPO, {"model.safetensors": (tmp_path/"other.safetensors").read_bytes()})
    status, _, err = python(SCORE, photo, REPO)
    assert status and "weights do not fit resnet10t" in err and "\n" not in err

def test_a_pickle_is_refused_unread(hub, score):
    hub.commit(REPO, {"pytorch_model.bin": b"\x80\x04cposix\nsystem\n(X\x04\x00\x00\x00exittR.", "config.json": b"{}"})
    assert score(REPO) == f"hf://{REPO}: holds pytorch_model.bin, a pickle, which may run code and is not read; its owner can share a scorer with Scorer.push_to_hub"
    hub.commit("someone/text", {"notes.txt": b"nothing"})
    assert "has no model.safetensors" in score("someone/text")
    assert not [path for _, path in hub.seen if "pytorch_model" in path or path.startswith("/cdn/")]

@pytest.mark.parametrize("name, said", [("some/one/scorer", "is not the name of a repository"), ("nobody/nothing", "no such repository on the Hub, or a private one")])
def test_a_wrong_name_is_one_line(score, name, said): assert said in score(name)

PUSH = """
import sys
from attiqa.score import Scorer
from attiqa.core import AttiqaError
repo, token, model, *license = sys.argv[1:]
try: print(Scorer(model, "cpu").push_to_hub(repo, token=token, model_card_kwargs=dict(license=license[0]) if license else None))
except AttiqaError as error: sys.exit(str(error))
print("torch" in sys.modules)
"""

@pytest.fixture
def mine(tmp_path):
    "A scorer of one's own: one weight differs."
    tensors, card = load_file(scorer_file(UNAWARE)), card_in(scorer_file(UNAWARE).read_bytes())
    save_file(tensors | dict(offset=tensors["offset"] + .5), tmp_path/"mine.safetensors", dict(attiqa=json.dumps(card | dict(name="mine"))))
    return tmp_path/"mine.safetensors"

def pushed(hub):
    (commits, heads) = hub.repos[REPO]
    return commits[heads["main"]]

def test_pushed_and_pulled_again(hub, python, score, photo, mine, tmp_path):
    status, out, err = python(PUSH, REPO, TOKEN, mine, "cc0-1.0")
    assert not status, err
    assert out.splitlines() == [f"{hub.address}/{REPO}/commit/{hub.repos[REPO][1]['main']}", "False"]
    files = pushed(hub)
    assert set(files) == {"model.safetensors", "config.json", "README.md"} and files["model.safetensors"] == mine.read_bytes()
    assert not [name for name, data in files.items() if name.endswith(PICKLES) or data.startswith((b"\x80", b"PK"))]
    assert json.loads(files["config.json"])["name"] == "mine"
    assert score(REPO) == (str(Scorer(mine, "cpu")(photo).quality), "mine")

def test_the_page_of_a_pushed_scorer(hub, python, mine):
    from huggingface_hub import ModelCard
    assert not python(PUSH, REPO, TOKEN, mine, "cc0-1.0")[0]
    page = ModelCard(pushed(hub)["README.md"].decode())
    assert (page.data.library_name, page.data.license) == ("attiqa", "cc0-1.0") and "image-quality-assessment" in page.data.tags
    assert page.text.strip().startswith("# mine\n") and f'from_pretrained("{REPO}")' in page.text and "without people" in page.text

def test_a_shipped_scorer_goes_with_its_own_page(hub, python):
    assert not python(PUSH, REPO, TOKEN, MINI)[0]
    files = pushed(hub)
    assert files["README.md"] == (WEIGHTS/f"{MINI}.md").read_bytes()
    assert set(files) == {"model.safetensors", "config.json", "README.md", f"{MINI}-failures.jpg"}

def test_a_push_that_may_not_be_is_one_line(hub, python, mine):
    status, _, err = python(PUSH, REPO, "hf_of_somebody_else", mine)
    assert status and err.startswith(f"hf://{REPO}: ") and "\n" not in err and REPO not in hub.repos

def test_a_person_s_page_goes_along(tmp_path, mine):
    mine.with_suffix(".md").write_text("---\nlicense: mit\n---\n# Mine\n\n![a cat](cat.png)\n")
    (tmp_path/"cat.png").write_bytes(b"a cat"), (tmp_path/"dog.png").write_bytes(b"a dog")
    Scorer(mine, "cpu").save_pretrained(tmp_path/"folder")
    assert sorted(p.name for p in (tmp_path/"folder").iterdir()) == ["README.md", "cat.png", "config.json", "model.safetensors"]
    (tmp_path/"folder"/"README.md").write_text("edited")
    Scorer.from_pretrained(tmp_path/"folder", device="cpu").save_pretrained(tmp_path/"again")
    assert (tmp_path/"again"/"README.md").read_text() == "edited"
    Scorer(mine, "cpu").save_pretrained(tmp_path/"folder")
    assert (tmp_path/"folder"/"README.md").read_text() == "edited"

def test_an_exported_scorer_is_not_shared(tmp_path):
    import onnx
    data = scorer_file(MINI).read_bytes()
    model = onnx.load_from_string(scorer_graph(load_file(scorer_file(MINI)), card_in(data)))
    onnx.helper.set_model_props(model, dict(attiqa=json.dumps(card_in(data))))
    onnx.save(model, tmp_path/"s.onnx")
    with pytest.raises(AttiqaError, match="an ONNX file is not shared"): Scorer(tmp_path/"s.onnx").save_pretrained(tmp_path/"folder")
    assert not (tmp_path/"folder").exists()

def test_on_the_command_line(hub, python, photo, quality):
    hub.commit(REPO, content(), "v1")
    hub.commit(REPO, content(UNAWARE))
    status, out, err = python(COMMAND, "score", photo, "--model", f"hf://{REPO}@v1", "--no-findings", "--device", "cpu", "--csv", "-")
    assert not status and f",{quality[MINI][0]}," in out and err.startswith(f"attiqa: {MINI}: quality learned from")
    status, out, err = python(COMMAND, "score", photo, "--model", "hf://nobody/nothing")
    assert status and err == "attiqa: hf://nobody/nothing: no such repository on the Hub, or a private one: check the name, or run `hf auth login`"

LOAD = "import sys; from attiqa.features import load_frozen; print(*(load_frozen(name).fingerprint for name in sys.argv[1:]))"

def test_a_benchmark_takes_one(hub, python):
    hub.commit(REPO, content(), "v1")
    hub.commit(REPO, content(UNAWARE))
    shipped, pinned, newest = python(LOAD, MINI, f"hf://{REPO}@v1", f"hf://{REPO}")[1].split()
    assert shipped == pinned != newest

ASK_TWICE = "import sys; import attiqa; print(*(attiqa.score(sys.argv[1], sys.argv[2], 'cpu').quality for _ in range(2)))"

def test_the_function_asks_once(hub, python, photo, quality):
    hub.commit(REPO, content())
    assert python(ASK_TWICE, photo, f"hf://{REPO}")[1].split() == [quality[MINI][0]]*2
    assert len([method for method, path in hub.seen if REPO in path and method == "HEAD"]) == 1

def named(function): # parameters by name, without the first, and what stands for several
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return {p.name: (p.kind, p.default) for p in parameters if p.name != "commit_message" and p.kind != p.VAR_KEYWORD}

def test_the_methods_are_those_of_the_mixin():
    from huggingface_hub import ModelHubMixin
    assert named(Scorer.from_pretrained.__func__) == named(ModelHubMixin.from_pretrained.__func__)
    assert named(Scorer.push_to_hub).items() <= named(ModelHubMixin.push_to_hub).items()
    assert named(Scorer.save_pretrained).items() <= named(ModelHubMixin.save_pretrained).items()

def test_a_shipped_scorer_s_page_says_what_was_measured():
    from huggingface_hub import ModelCard
    for name in SCORERS:
        human = read_json(WEIGHTS/"figures.json")[name]["human"]
        page = ModelCard.load(WEIGHTS/f"{name}.md")
        assert page.content.startswith(front_matter(name, human, license="apache-2.0") + f"# {name}\n")
        assert {r.dataset_type: r.metric_value for r in page.data.eval_results} == {data: scores["quality"][0] for data, scores in human.items()}

@pytest.mark.parametrize("page", ["attiqa-mini.md", "attiqa-mini-unaware.md", "attiqa-enhancer.md", "attiqa-mini-clip/README.md"])
def test_every_page_can_be_read_by_the_hub(page):
    from huggingface_hub import ModelCard
    card = ModelCard.load(WEIGHTS/page)
    assert card.data.license == "apache-2.0" and card.data.library_name in ("attiqa", "open_clip") and card.data.tags
    assert "](../" not in card.text # what a link leads to goes along

def test_the_hub_is_imported_where_it_is_asked(python, photo):
    assert python("import sys; from attiqa.score import Scorer; Scorer(device='cpu')(sys.argv[1]); print({'torch', 'huggingface_hub'} & {*sys.modules})", photo)[1] == "set()"

MAP = """
import sys
from datasets import Dataset, Image
from attiqa.score import Scorer
scorer = Scorer(sys.argv[2], "cpu")
def scores(batch): return dict(quality=[score.quality for score in scorer(image["bytes"] or image["path"] for image in batch["image"])])
data = Dataset.from_dict(dict(image=[sys.argv[1]]*3)).cast_column("image", Image(decode=False))
mapped = data.map(scores, batched=True, batch_size=2)
print(mapped._fingerprint, *mapped["quality"])
"""

def test_a_mapped_dataset_is_kept_until_the_scorer_changes(python, photo, quality):
    pytest.importorskip("datasets")
    first, again, other = (python(MAP, photo, name)[1].split() for name in (MINI, MINI, UNAWARE))
    assert first[1:] == [quality[MINI][0]]*3 and other[1:] == [quality[UNAWARE][0]]*3
    assert first == again and first[0] != other[0]
