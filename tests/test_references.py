"Distances of generators to real images: formulas, the backbone's features, and Inception's for FID and KID."
import shutil, sys
import numpy as np, pandas as pd, pytest, torch
from scipy import linalg
from attiqa.cli import main
from attiqa.core import AttiqaError, generator
from attiqa.generators import (
    STAND_IN_FAMILIES, Reference, known_order, leaderboard_markdown, prompt_picture, rank, read_comparison,
    read_folders, set_distances, write_family)
from attiqa.images import open_image
from attiqa.score import Scorer

@pytest.fixture
def random(): return generator("test generators")

@pytest.fixture(scope="module")
def scorer(): return Scorer()

@pytest.fixture
def codecs(tmp_path):
    "Five prompts of the six codecs, one folder per codec."
    return write_family(tmp_path/"codecs", "codecs", 5)

# Formulas

def closed_form(x, y):
    "The Fréchet distance of two Gaussians with the means and covariances of two samples."
    a, b = np.cov(x.T), np.cov(y.T)
    cross = linalg.sqrtm(linalg.sqrtm(a)@b@linalg.sqrtm(a)).real
    return ((x.mean(0) - y.mean(0))**2).sum() + np.trace(a + b - 2*cross)

def test_frechet_distance_is_that_of_two_gaussians(random):
    x, mix = random.normal(size=(400, 6)), random.normal(size=(6, 6))
    y = random.normal(size=(300, 6))@mix + 2
    assert np.isclose(set_distances(x, y)[0], closed_form(x, y), rtol=1e-6)
    assert set_distances(x, x)[0] == pytest.approx(0, abs=1e-8)
    wide = random.normal(size=(200_000, 2))*[2, 1]
    narrow = random.normal(size=(200_000, 2))*[1, 3] + [1, 0]
    squares = 1 + 1 + 4 # of the difference of the means and of each spread
    assert set_distances(wide, narrow)[0] == pytest.approx(squares, rel=.02)

def kernel(a, b): return (a@b.T/3 + 1)**3

def mean_off_diagonal(values):
    n = len(values)
    return (values.sum() - np.trace(values))/(n*(n - 1))

def test_kernel_distance_is_the_unbiased_one(random):
    x, y = random.normal(size=(40, 3)), random.normal(size=(40, 3)) + 1
    unbiased = mean_off_diagonal(kernel(x, x)) + mean_off_diagonal(kernel(y, y)) - 2*kernel(x, y).mean()
    assert set_distances(x, y)[1] == pytest.approx(unbiased)
    assert set_distances(x, y[:20], 1) == set_distances(x, y[:20], 1)

# Features of the backbone

@pytest.mark.parametrize("family", STAND_IN_FAMILIES)
def test_distances_rise_in_the_known_order(family, tmp_path, scorer):
    (tmp_path/"real").mkdir()
    for i in range(24): prompt_picture(i, "reference").save(tmp_path/f"real/{i}.png")
    table = read_comparison(write_family(tmp_path/"family", family, 24)).assign(error="")
    found = Reference(tmp_path/"real", scorer).distances(table).loc[known_order(family)]
    assert found.frechet.is_monotonic_increasing
    assert found.kernel.is_monotonic_increasing

def test_reference_of_the_same_pictures(codecs, tmp_path, capsys):
    "Zero for the generator whose folder it is; the name says that it is no FID; a bad image is named."
    (codecs/"jpeg-95/bad.png").write_text("none")
    good, bad = str(codecs/"jpeg-95"), str(codecs/"jpeg-20")
    assert main(["rank", bad, good, "--reference", good, "--out", str(tmp_path/"out")]) == 1
    board = pd.read_csv(tmp_path/"out/leaderboard.csv").set_index("generator")
    assert board.frechet["jpeg-95"] == pytest.approx(0, abs=1e-3)
    assert board.frechet["jpeg-20"] > 10
    assert "FID" not in board
    errors = capsys.readouterr().err
    assert "attiqa-mini's backbone (efficientnet_lite0), not FID or KID" in errors
    assert "bad.png: is not a readable image" in errors
    assert "with 320 pictures or fewer" in errors

def test_one_picture_has_no_distance(codecs, tmp_path, scorer):
    (tmp_path/"few").mkdir()
    shutil.copy(codecs/"jpeg-95/000.png", tmp_path/"few")
    table = read_folders([tmp_path/"few", codecs/"jpeg-20"])
    board = rank(table, scorer, 20, reference=Reference(codecs/"jpeg-95", scorer))[1]
    frechet = board.set_index("generator").frechet
    assert np.isnan(frechet["few"])
    assert frechet["jpeg-20"] > 10
    assert "| – |" in leaderboard_markdown(board)

# Features of Inception

@pytest.fixture
def weights(tmp_path, monkeypatch):
    "Where torch-fidelity looks for Inception's weights; there are none yet."
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path/"torch"))
    folder = tmp_path/"torch/hub/checkpoints"
    folder.mkdir(parents=True)
    return folder/extractor.URL_INCEPTION_V3.split("/")[-1]

@pytest.fixture
def random_weights(weights, monkeypatch):
    "Random weights in their place, since the true ones are no part of this kit."
    from torch_fidelity import feature_extractor_inceptionv3 as extractor
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(extractor.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr(extractor, "load_state_dict_from_url", lambda *a, **k: {})
        net = extractor.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    for part in net.modules(): # else nothing is left of an image in the last layer
        if isinstance(part, torch.nn.Conv2d): torch.nn.init.kaiming_normal_(part.weight)
    torch.save(net.state_dict(), weights)
    return weights

def pixel_batch(folder):
    "A folder's images as torchmetrics takes them: (B, 3, H, W), bytes."
    images = [np.array(open_image(file)) for file in sorted(folder.iterdir())]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

def test_fid_is_torchmetrics_own(codecs, random_weights, scorer):
    from torchmetrics.image.fid import FrechetInceptionDistance
    real, made = codecs/"jpeg-95", codecs/"jpeg-20"
    reference = Reference(real, scorer, "inception")
    found = reference.distances(read_folders([made]).assign(error=""))
    metric = FrechetInceptionDistance(2048)
    metric.update(pixel_batch(real), real=True)
    metric.update(pixel_batch(made), real=False)
    assert found.FID["jpeg-20"] > 1e-3
    assert found.FID["jpeg-20"] == pytest.approx(metric.compute().item(), rel=1e-3)
    assert reference.feature_name == "Inception"
    assert list(found) == ["FID", "KID"]

@pytest.fixture
def fid_refusal(codecs, capsys):
    "A function that asks the command for FID, which must refuse, and gives its one line on standard error."
    def run():
        words = [str(codecs), "--reference", str(codecs/"jpeg-95"), "--features", "inception"]
        assert main(["rank", *words]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error
    return run

def test_weights_that_cannot_be_had_are_one_line(weights, fid_refusal, monkeypatch):
    def offline(*_, **__): raise OSError("no route to host")
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    error = fid_refusal()
    assert "need Inception's weights (no route to host)" in error
    assert str(weights) in error

class Boom:
    "A pickle that leaves a file where it is loaded."
    def __reduce__(self):
        return exec, ("import pathlib, os; pathlib.Path(os.environ['TORCH_HOME'], 'boom').touch()",)

def test_weights_that_are_code_are_not_run(codecs, weights, tmp_path, scorer):
    torch.save(Boom(), weights)
    with pytest.raises(AttiqaError, match="need Inception"): Reference(codecs/"jpeg-95", scorer, "inception")
    assert not (tmp_path/"torch/boom").exists()

def test_a_missing_package_is_one_line(fid_refusal, monkeypatch):
    for name in ("torch_fidelity", "torch_fidelity.feature_extractor_inceptionv3"):
        monkeypatch.setitem(sys.modules, name, None)
    assert fid_refusal() == "attiqa: FID and KID need the package torch-fidelity: pip install 'attiqa[fid]'\n"
