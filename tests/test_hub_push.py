"Scorers to the Hugging Face Hub: what is pushed and saved, and the page that goes along."
import json
import onnx, pytest
from safetensors.numpy import load_file, save_file
from attiqa.core import SCORERS, WEIGHTS, AttiqaError, read_json, scorer_file
from attiqa.engine import read_card, scorer_graph
from attiqa.hub import PICKLE_ENDINGS, front_matter
from attiqa.score import MINI, UNAWARE, Scorer
from hub_server import REPO, TOKEN

pytest_plugins = ["hub_fixtures"]

@pytest.fixture
def mine(tmp_path):
    "A scorer of one's own: one weight differs from a shipped one."
    tensors, card = load_file(scorer_file(UNAWARE)), read_card(scorer_file(UNAWARE).read_bytes())
    changed = tensors | dict(offset=tensors["offset"] + .5)
    save_file(changed, tmp_path/"mine.safetensors", dict(attiqa=json.dumps(card | dict(name="mine"))))
    return tmp_path/"mine.safetensors"

# Pushing

PUSH = """
import sys
from attiqa.score import Scorer
from attiqa.core import AttiqaError
repo, token, model, *license = sys.argv[1:]
card = dict(license=license[0]) if license else None
try:
    print(Scorer(model, "cpu").push_to_hub(repo, token=token, model_card_kwargs=card))
except AttiqaError as error:
    sys.exit(str(error))
print("torch" in sys.modules)
"""

SHARED = {"model.safetensors", "config.json", "README.md"}

def looks_pickled(name, data): return name.endswith(PICKLE_ENDINGS) or data.startswith((b"\x80", b"PK"))

def test_pushed_and_pulled_again(hub, python, score, photo, mine):
    status, out, error = python(PUSH, REPO, TOKEN, mine, "cc0-1.0")
    assert not status, error
    address, private = out.splitlines()
    commit = f"{hub.address}/{REPO}/commit/{hub.repos[REPO][1]['main']}"
    assert address in (commit, f"{hub.address}/{REPO}/tree/main/") # the second before huggingface_hub 1.0
    assert private == "False"
    files = hub.files(REPO)
    assert set(files) == SHARED
    assert files["model.safetensors"] == mine.read_bytes()
    assert not [name for name, data in files.items() if looks_pickled(name, data)]
    assert json.loads(files["config.json"])["name"] == "mine"
    assert score(REPO) == (str(Scorer(mine, "cpu")(photo).quality), "mine")

def test_the_page_of_a_pushed_scorer(hub, python, mine):
    from huggingface_hub import ModelCard
    assert not python(PUSH, REPO, TOKEN, mine, "cc0-1.0")[0]
    page = ModelCard(hub.files(REPO)["README.md"].decode())
    assert (page.data.library_name, page.data.license) == ("attiqa", "cc0-1.0")
    assert "image-quality-assessment" in page.data.tags
    assert page.text.strip().startswith("# mine\n")
    assert f'from_pretrained("{REPO}")' in page.text
    assert "without people" in page.text

def test_a_shipped_scorer_goes_with_its_own_page(hub, python):
    assert not python(PUSH, REPO, TOKEN, MINI)[0]
    files = hub.files(REPO)
    assert files["README.md"] == (WEIGHTS/f"{MINI}.md").read_bytes()
    assert set(files) == SHARED | {f"{MINI}-failures.jpg"}

def test_a_push_that_may_not_be_is_one_line(hub, python, mine):
    status, _, error = python(PUSH, REPO, "hf_of_somebody_else", mine)
    assert status
    assert error.startswith(f"hf://{REPO}: ")
    assert "\n" not in error
    assert REPO not in hub.repos

# Saving

@pytest.fixture
def illustrated(mine):
    "The same scorer with a page that shows one of two images beside it."
    mine.with_suffix(".md").write_text("---\nlicense: mit\n---\n# Mine\n\n![a cat](cat.png)\n")
    for name in ("cat", "dog"): (mine.parent/f"{name}.png").write_bytes(b"an image")
    return Scorer(mine, "cpu")

def test_a_person_s_page_goes_along(illustrated, tmp_path):
    illustrated.save_pretrained(tmp_path/"folder")
    names = sorted(path.name for path in (tmp_path/"folder").iterdir())
    assert names == ["README.md", "cat.png", "config.json", "model.safetensors"]

def test_an_edited_page_is_kept(illustrated, tmp_path):
    folder, again = tmp_path/"folder", tmp_path/"again"
    illustrated.save_pretrained(folder)
    (folder/"README.md").write_text("edited")
    Scorer.from_pretrained(folder, device="cpu").save_pretrained(again)
    assert (again/"README.md").read_text() == "edited"
    illustrated.save_pretrained(folder)
    assert (folder/"README.md").read_text() == "edited"

def test_an_exported_scorer_is_not_shared(tmp_path):
    data = scorer_file(MINI).read_bytes()
    model = onnx.load_from_string(scorer_graph(load_file(scorer_file(MINI)), read_card(data)))
    onnx.helper.set_model_props(model, dict(attiqa=json.dumps(read_card(data))))
    onnx.save(model, tmp_path/"s.onnx")
    exported, folder = Scorer(tmp_path/"s.onnx"), tmp_path/"folder"
    with pytest.raises(AttiqaError, match="an ONNX file is not shared"): exported.save_pretrained(folder)
    assert not folder.exists()

# The pages of what is shipped

@pytest.mark.parametrize("name", SCORERS)
def test_a_shipped_scorer_s_page_says_what_was_measured(name):
    from huggingface_hub import ModelCard
    measured = read_json(WEIGHTS/"figures.json")[name]["human"]
    page = ModelCard.load(WEIGHTS/f"{name}.md")
    stated = {result.dataset_type: result.metric_value for result in page.data.eval_results}
    assert page.content.startswith(front_matter(name, measured, license="apache-2.0") + f"# {name}\n")
    assert stated == {data: scores["quality"][0] for data, scores in measured.items()}

PAGES = ("attiqa-mini.md", "attiqa-mini-unaware.md", "attiqa-enhancer.md", "attiqa-mini-clip/README.md")

@pytest.mark.parametrize("page", PAGES)
def test_every_page_can_be_read_by_the_hub(page):
    from huggingface_hub import ModelCard
    card = ModelCard.load(WEIGHTS/page)
    assert card.data.license == "apache-2.0"
    assert card.data.library_name in ("attiqa", "open_clip")
    assert card.data.tags
    assert "](../" not in card.text, "a link leads out of the folder, which does not go along"
