"Quality maps: the whole picture's score where the window is the picture, the fault where the fault is, a sheet for every picture."
import numpy as np, pytest, torch
from PIL import Image
from attiqa.cli import main, map_place
from attiqa.core import ATTRIBUTES
from attiqa.distort import LADDERS, apply_recipe
from attiqa.images import package_photograph, to_tensor
from attiqa.maps import local_moments, map_sheet, overlay
from attiqa.model import AttributeNet, moments, save_model
from attiqa.score import Scorer

NAMES = ("quality", *ATTRIBUTES)
PHOTO = to_tensor(package_photograph("astronaut.png"))[:, :384, :512]

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

@pytest.mark.parametrize("cells", [1, 3, 5])
def test_moments_of_windows_are_those_of_cut_out_maps(cells):
    "Against `moments` of each window, cut out one by one, also at the border."
    generator, half = torch.Generator().manual_seed(0), cells//2
    maps = [torch.randn(2, 4*s, 6*s, 7*s, generator=generator) + 50 for s in (4, 2, 1)]
    found = local_moments(maps, cells)
    for row in range(6):
        for column in range(7):
            top, left, bottom, right = max(0, row - half), max(0, column - half), row + half + 1, column + half + 1
            cut = [m[..., top*s:bottom*s, left*s:right*s] for m, s in zip(maps, (4, 2, 1))]
            torch.testing.assert_close(found[:, row, column], moments(cut), rtol=1e-4, atol=1e-4)

def test_a_window_as_large_as_the_picture(scorer):
    score, maps = scorer(PHOTO), scorer.quality_map(PHOTO, window=5000)
    assert maps.shape == (6, 12, 16)
    for name, values in zip(NAMES, maps): assert values.flatten().tolist() == pytest.approx([getattr(score, name)]*values.numel(), abs=1e-4)

@pytest.mark.parametrize("attribute, distortion", LADDERS.items())
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_fault_is_where_it_was_made(scorer, attribute, distortion, side):
    "Half of the picture is made worse in one attribute: there its map falls, in the other half it stays."
    spoilt, half = PHOTO.clone(), slice(0, 256) if side == "left" else slice(256, 512)
    spoilt[..., half] = apply_recipe(PHOTO, [(distortion, .8)], "test")[..., half]
    fall = (scorer.quality_map(PHOTO) - scorer.quality_map(spoilt))[NAMES.index(attribute)]
    left, right = fall[:, :6].mean(), fall[:, -6:].mean()
    spoilt_fall, other_fall = (left, right) if side == "left" else (right, left)
    assert spoilt_fall > .05 and spoilt_fall > 3*abs(other_fall)

@pytest.mark.parametrize("size", [(32, 32), (33, 200), (1500, 1100)])
def test_any_size(scorer, size):
    maps = scorer.quality_map(package_photograph("coffee.png").resize(size))
    assert maps.shape[0] == 6 and maps.isfinite().all() and maps.min() >= 0 and maps.max() <= 1

def test_quality_that_was_never_taught(tmp_path):
    save_model(AttributeNet("resnet10t", 8), tmp_path/"heads.safetensors", {})
    maps = Scorer(tmp_path/"heads.safetensors", "cpu").quality_map(PHOTO)
    assert maps[0].isnan().all() and maps[1:].isfinite().all()
    assert map_sheet(PHOTO, maps).size[0] > 300

def test_overlay_is_red_where_bad():
    values = torch.tensor([[0., 1.]])
    pixels = np.asarray(overlay(Image.new("RGB", (64, 32), "grey"), values)).astype(int)
    assert pixels.shape == (32, 64, 3)
    assert pixels[16, 2, 0] > pixels[16, 2, 1] + 30 and pixels[16, -2, 1] > pixels[16, -2, 0] + 30

def test_a_sheet_for_every_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.jpg", "b/x.jpg", "<img src=x>.png", "n"*240 + ".png"):
        (tmp_path/name).parent.mkdir(exist_ok=True)
        package_photograph("coffee.png").resize((120, 80)).save(tmp_path/name)
    (tmp_path/"bad.jpg").write_bytes(b"no picture")
    assert main(["score", "a", "b", "*.png", "bad.jpg", "--map", "maps", "--csv", "s.csv"]) == 1
    sheets = sorted(path.relative_to("maps").as_posix() for path in (tmp_path/"maps").relative_to(tmp_path).rglob("*.png"))
    assert sheets == sorted(["a/x.jpg.map.png", "b/x.jpg.map.png", "<img src=x>.png.map.png", "n"*200 + ".map.png"])
    assert all(Image.open(tmp_path/"maps"/name).size == (1080, 516) for name in sheets)

@pytest.mark.parametrize("path", ["../../x.jpg", "/etc/x.jpg", "a/../../../x.jpg", "./x.jpg"])
def test_maps_stay_in_their_folder(tmp_path, path):
    assert map_place(str(tmp_path), path).resolve().is_relative_to(tmp_path.resolve())
