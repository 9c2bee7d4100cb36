"Exported scorers: the same scores at any size and batch, without this kit; and one score for one picture however it is asked."
import csv, io, json, subprocess, sys
from importlib.util import find_spec
import numpy as np, pytest, torch
from attiqa import ATTIQA, score
from attiqa.cli import main
from attiqa.core import ATTRIBUTES, AttiqaError
from attiqa.export import AGREE, export_onnx, export_torch, exportable, largest_difference, onnx_speed, open_onnx
from attiqa.images import package_photograph, to_tensor
from attiqa.metric import COLUMNS, ScoreNet
from attiqa.model import AttributeNet, save_model
from attiqa.score import Scorer, read_pixels

PICTURE = package_photograph("coffee.png")
onnx = pytest.mark.skipif(not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="the extra attiqa[onnx] is not installed")

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

@pytest.fixture(scope="module")
def exported(scorer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    export_onnx(scorer, folder/"s.onnx")
    return folder/"s.onnx"

SIZES = [(1, 33, 33), (1, 64, 333), (2, 127, 128), (3, 129, 97), (1, 375, 500), (5, 40, 41)]

@onnx
@pytest.mark.parametrize("size", SIZES)
def test_onnx_at_any_size(scorer, exported, size):
    x = torch.rand(size[0], 3, *size[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad(): assert np.abs(open_onnx(exported)(x) - ScoreNet(scorer)(x).numpy()).max() <= AGREE

@onnx
def test_onnx_runs_without_the_kit(scorer, exported, tmp_path):
    np.save(tmp_path/"x.npy", read_pixels(PICTURE)[None].numpy())
    code = ("import sys, numpy, onnxruntime; s = onnxruntime.InferenceSession(sys.argv[1]); print(*s.run(['scores'], {'images': numpy.load('x.npy')})[0][0]);"
            "print(s.get_modelmeta().custom_metadata_map['attiqa']); assert 'torch' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", code, exported], cwd=tmp_path, capture_output=True, text=True, check=True)
    numbers, card = done.stdout.splitlines()
    assert list(map(float, numbers.split())) == pytest.approx([getattr(scorer(PICTURE), name) for name in COLUMNS], abs=1e-4)
    assert json.loads(card) == scorer.card

def test_torch_program(scorer, tmp_path):
    assert export_torch(scorer, tmp_path/"s.pt2") <= AGREE
    program = torch.export.load(tmp_path/"s.pt2").module()
    for batch, height, width in SIZES[1:4]:
        x = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))
        with torch.no_grad(): assert (program(x) - ScoreNet(scorer)(x)).abs().max() <= AGREE

def test_a_wrong_export_is_seen(scorer):
    net = ScoreNet(scorer)
    assert largest_difference(net, scorer) == 0
    assert largest_difference(lambda x: net(x) + 2*AGREE, scorer) > AGREE

@onnx
def test_a_wrong_export_is_not_kept(scorer, tmp_path):
    "Where the file gives something else, here because the weights moved behind its back, nothing is left of it."
    class Drifting(Scorer):
        @property
        def card(self): # read while the file is made, after the network was
            with torch.no_grad(): self.net.offset.add_(.1)
            return self.net.card
    with pytest.raises(AttiqaError, match="differs by"): export_onnx(Drifting(device="cpu"), tmp_path/"s.onnx")
    assert not list(tmp_path.iterdir())

@onnx
def test_one_picture_one_score(scorer, exported, tmp_path, capsys):
    "Path, PIL, array, tensor, bytes, list, batch, metric, loss, ONNX, command line."
    PICTURE.save(tmp_path/"p.png")
    path, pixels = tmp_path/"p.png", to_tensor(PICTURE)
    expected = [getattr(score(path), name) for name in COLUMNS]
    forms = [str(path), PICTURE, np.asarray(PICTURE), pixels, path.read_bytes()]
    found = [[getattr(s, name) for name in COLUMNS] for s in (*map(scorer, forms), *scorer(forms), *score([PICTURE, pixels]))]
    batch = torch.stack([pixels, pixels.flip(-1), pixels])
    with torch.no_grad(): found += ScoreNet(scorer)(batch)[::2].tolist()
    found += open_onnx(exported)(batch)[::2].tolist()
    found += [[getattr(s, name) for name in COLUMNS] for s in Scorer(exported)([path, pixels])]
    assert main(["score", str(path), "--csv", "-"]) == 0
    row, = csv.DictReader(io.StringIO(capsys.readouterr().out))
    found.append([float(row[name]) for name in COLUMNS])
    for numbers in found: assert numbers == pytest.approx(expected, abs=1e-4)
    assert ATTIQA()(pixels[None]).item() == pytest.approx(expected[0], abs=1e-4)
    assert 1 - ATTIQA().as_loss()(pixels[None]).item() == pytest.approx(expected[0], abs=1e-4)

@onnx
def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_model(AttributeNet("resnet10t", 8), tmp_path/"heads.safetensors", {})
    assert main(["export", "--onnx", "s.onnx", "--model", "heads.safetensors"]) == 0
    out, said = capsys.readouterr()
    assert "s.onnx: within" in out and "never taught" in said
    scores = open_onnx("s.onnx")(torch.rand(1, 3, 64, 64))
    assert np.isnan(scores[0, 0]) and np.isfinite(scores[0, 1:]).all() and scores.shape == (1, 1 + len(ATTRIBUTES))

@pytest.mark.parametrize("words, expected", [(["export"], "--onnx"), (["export", "--onnx", "-"], "wants a file"), (["export", "--torch", "no/s.pt2"], "no such folder"),
                                             (["export", "--onnx", "s", "--torch", "s"], "both"), (["export", "--onnx", "s.onnx", "--model", "no"], "no such model")])
def test_wrong_arguments(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert expected in said and len(said.splitlines()) == 1 and not list(tmp_path.iterdir())

@onnx
def test_an_exported_scorer_scores_files(scorer, exported, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pictures = [package_photograph(name) for name in ("astronaut.png", "chelsea.png", "rocket.jpg")] + [PICTURE.resize((32, 32)), PICTURE.resize((2000, 1500))]
    for one, other in zip(Scorer(exported)(pictures), scorer(pictures)): assert [getattr(one, n) for n in COLUMNS] == pytest.approx([getattr(other, n) for n in COLUMNS], abs=1e-4)
    PICTURE.save("p.png"), (tmp_path/"broken.onnx").write_bytes(b"no model")
    assert main(["score", "p.png", "--model", str(exported)]) == 0 and "scores that people gave" in capsys.readouterr().err
    for words, expected in ((["--model", "broken.onnx"], "not a scorer"), (["--model", "none.onnx"], "no such model"), (["--model", str(exported), "--map", "maps"], "no maps")):
        assert main(["score", "p.png", *words]) == 2 and expected in capsys.readouterr().err
    with pytest.raises(AttiqaError, match="no maps"): Scorer(exported).quality_map(PICTURE)

@onnx
def test_speeds_are_measured(scorer, exported): assert min(onnx_speed(exported, scorer, (64, 64), 1)) > 0

def test_the_exportable_copy_leaves_the_scorer_alone(scorer):
    before = {name: type(module) for name, module in scorer.net.named_modules()}
    exportable(scorer)
    assert before == {name: type(module) for name, module in scorer.net.named_modules()}
