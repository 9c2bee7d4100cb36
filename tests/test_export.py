"Exported scorers give the same scores at any size, without this kit; an image has one score in every form."
import csv, io, json, shutil, subprocess, sys
import numpy as np, pytest, torch
from attiqa import ATTIQA, score
from attiqa.cli import main
from attiqa.core import ATTRIBUTES, AttiqaError
from attiqa.export import MAX_DIFFERENCE, OLDEST_TORCH, can_export_onnx, export_onnx, export_torch
from attiqa.export import exportable, largest_difference, onnx_speed, open_onnx
from attiqa.images import package_photograph, to_tensor
from attiqa.metric import SCORE_NAMES, ScoreNet
from attiqa.model import AttributeNet, save_model
from attiqa.score import Scorer, read_pixels

if torch.__version__ < OLDEST_TORCH: pytest.skip("this torch is too old to export", allow_module_level=True)

PICTURE = package_photograph("coffee.png")
onnx = pytest.mark.skipif(not can_export_onnx(), reason="the extra attiqa[onnx] is not installed")

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

@pytest.fixture(scope="module")
def exported(scorer, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported")/"s.onnx"
    export_onnx(scorer, path)
    return path

def values(scores):
    "Quality and attributes as a list."
    return [getattr(scores, name) for name in SCORE_NAMES]

def approximately(expected): return pytest.approx(expected, abs=1e-4)

# Files

SIZES = [(1, 33, 33), (1, 64, 333), (2, 127, 128), (3, 129, 97), (1, 375, 500), (5, 40, 41)]

def noise(batch, height, width, seed=0):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))

def torch_scores(scorer, x):
    with torch.no_grad(): return ScoreNet(scorer)(x)

@onnx
@pytest.mark.parametrize("size", SIZES)
def test_onnx_at_any_size(scorer, exported, size):
    x = noise(*size)
    assert np.abs(open_onnx(exported)(x) - torch_scores(scorer, x).numpy()).max() <= MAX_DIFFERENCE

ONNX_ALONE = """
import sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
print(*session.run(["scores"], {"images": numpy.load("x.npy")})[0][0])
print(session.get_modelmeta().custom_metadata_map["attiqa"])
assert "torch" not in sys.modules
"""

@onnx
def test_onnx_runs_without_the_kit(scorer, exported, tmp_path):
    np.save(tmp_path/"x.npy", read_pixels(PICTURE)[None].numpy())
    command = [sys.executable, "-c", ONNX_ALONE, exported]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    numbers, card = done.stdout.splitlines()
    assert list(map(float, numbers.split())) == approximately(values(scorer(PICTURE)))
    assert json.loads(card) == scorer.card

def test_torch_program(scorer, tmp_path):
    assert export_torch(scorer, tmp_path/"s.pt2") <= MAX_DIFFERENCE
    program = torch.export.load(tmp_path/"s.pt2").module()
    for size in SIZES[1:4]:
        x = noise(*size, seed=1)
        with torch.no_grad(): found = program(x)
        assert (found - torch_scores(scorer, x)).abs().max() <= MAX_DIFFERENCE

def test_a_wrong_export_is_seen(scorer):
    net = ScoreNet(scorer)
    assert largest_difference(net, scorer) == 0
    assert largest_difference(lambda x: net(x) + 2*MAX_DIFFERENCE, scorer) > MAX_DIFFERENCE

class Drifting(Scorer):
    "Its weights change when its card is read, which happens after the network is exported."
    @property
    def card(self):
        with torch.no_grad(): self.net.offset.add_(.1)
        return self.net.card

@onnx
def test_a_wrong_export_is_not_kept(tmp_path):
    with pytest.raises(AttiqaError, match="differs by"):
        export_onnx(Drifting(device="cpu"), tmp_path/"s.onnx")
    assert not list(tmp_path.iterdir())

@onnx
def test_speeds_are_measured(scorer, exported):
    assert min(onnx_speed(exported, scorer, (64, 64), 1)) > 0

def test_the_exportable_copy_leaves_the_scorer_alone(scorer):
    kinds = lambda: {name: type(module) for name, module in scorer.net.named_modules()}
    before = kinds()
    exportable(scorer)
    assert before == kinds()

# Scores

@pytest.fixture
def path(tmp_path):
    "A file of the image."
    PICTURE.save(tmp_path/"p.png")
    return tmp_path/"p.png"

@pytest.fixture
def expected(path):
    "The scores that the file has; other forms of the image must have them too."
    return approximately(values(score(path)))

def test_one_picture_one_score(scorer, path, expected):
    "Path, PIL, array, tensor, bytes, alone and in a list."
    pixels = to_tensor(PICTURE)
    forms = [str(path), PICTURE, np.asarray(PICTURE), pixels, path.read_bytes()]
    for found in (*map(scorer, forms), *scorer(forms), *score([PICTURE, pixels])):
        assert values(found) == expected

@onnx
def test_one_score_in_a_batch_and_by_onnx(scorer, exported, path, expected):
    "The image is the first and the last of a batch of three."
    pixels = to_tensor(PICTURE)
    batch = torch.stack([pixels, pixels.flip(-1), pixels])
    for found in (torch_scores(scorer, batch), open_onnx(exported)(batch)):
        for row in found[::2].tolist(): assert row == expected
    for found in Scorer(exported)([path, pixels]): assert values(found) == expected

def test_one_score_by_the_command(path, expected, capsys):
    assert main(["score", str(path), "--csv", "-"]) == 0
    row, = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [float(row[name]) for name in SCORE_NAMES] == expected

def test_one_score_by_the_metric_and_the_loss(path):
    batch, expected = to_tensor(PICTURE)[None], approximately(score(path).quality)
    assert ATTIQA()(batch).item() == expected
    assert 1 - ATTIQA().as_loss()(batch).item() == expected

SMALL_AND_LARGE = [PICTURE.resize((32, 32)), PICTURE.resize((2000, 1500))]
PICTURES = [*map(package_photograph, ("astronaut.png", "chelsea.png", "rocket.jpg")), *SMALL_AND_LARGE]

@onnx
def test_an_exported_scorer_scores_images(scorer, exported):
    for found, wanted in zip(Scorer(exported)(PICTURES), scorer(PICTURES), strict=True):
        assert values(found) == approximately(values(wanted))
    with pytest.raises(AttiqaError, match="no maps"): Scorer(exported).quality_map(PICTURE)

# The command

@onnx
def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_model(AttributeNet("resnet10t", 8), tmp_path/"heads.safetensors", {})
    assert main(["export", "--onnx", "s.onnx", "--model", "heads.safetensors"]) == 0
    out, error = capsys.readouterr()
    assert "s.onnx: within" in out
    assert "never taught" in error
    scores = open_onnx("s.onnx")(torch.rand(1, 3, 64, 64))
    assert scores.shape == (1, 1 + len(ATTRIBUTES))
    assert np.isnan(scores[0, 0])
    assert np.isfinite(scores[0, 1:]).all()

REFUSED_EXPORTS = [
    (["export"], "--onnx"), (["export", "--onnx", "-"], "wants a file"),
    (["export", "--torch", "no/s.pt2"], "no such folder"),
    (["export", "--onnx", "s", "--torch", "s"], "both"),
    (["export", "--onnx", "s.onnx", "--model", "no"], "no such model")]

@pytest.mark.parametrize("words, message", REFUSED_EXPORTS)
def test_wrong_arguments(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())

@onnx
def test_an_exported_scorer_scores_files(exported, path, capsys):
    assert main(["score", str(path), "--model", str(exported)]) == 0
    assert "scores that people gave" in capsys.readouterr().err

REFUSED_MODELS = [(["broken.onnx"], "not a scorer"), (["none.onnx"], "no such model"),
                  (["good.onnx", "--map", "maps"], "no maps")]

@onnx
@pytest.mark.parametrize("words, message", REFUSED_MODELS)
def test_models_that_do_not_score(exported, path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(path.parent)
    (path.parent/"broken.onnx").write_bytes(b"no model")
    shutil.copyfile(exported, path.parent/"good.onnx")
    assert main(["score", "p.png", "--model", *words]) == 2
    assert message in capsys.readouterr().err
