"Quality maps: a window has the score of its pixels, a fault is where it was made, every image has a sheet."
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
COFFEE = package_photograph("coffee.png")

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

# Windows

SCALES, ROWS, COLUMNS = (4, 2, 1), 6, 7 # features per cell along a side; cells

def span(cell, half):
    "Cells of a window around a cell, from the border on."
    return max(0, cell - half), cell + half + 1

def cut_out(maps, row, column, half):
    "The window around a cell, cut out of the maps of every scale."
    (top, bottom), (left, right) = span(row, half), span(column, half)
    return [m[..., top*s:bottom*s, left*s:right*s] for m, s in zip(maps, SCALES)]

@pytest.mark.parametrize("cells", [1, 3, 5])
def test_moments_of_windows_are_those_of_cut_out_maps(cells):
    "Against `moments` of each window, cut out one by one, also at the border."
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 4*s, ROWS*s, COLUMNS*s, generator=generator) + 50 for s in SCALES]
    found = local_moments(maps, cells)
    for row, column in np.ndindex(ROWS, COLUMNS):
        expected = moments(cut_out(maps, row, column, cells//2))
        torch.testing.assert_close(found[:, row, column], expected, rtol=1e-4, atol=1e-4)

def test_a_window_as_large_as_the_picture(scorer):
    score, maps = scorer(PHOTO), scorer.quality_map(PHOTO, window=5000)
    assert maps.shape == (6, 12, 16)
    for name, values in zip(NAMES, maps):
        expected = [getattr(score, name)]*values.numel()
        assert values.flatten().tolist() == pytest.approx(expected, abs=1e-4)

# Values

HALVES = dict(left=slice(0, 256), right=slice(256, 512)) # columns of pixels

@pytest.mark.parametrize("attribute, distortion", LADDERS.items())
@pytest.mark.parametrize("side", HALVES)
def test_the_fault_is_where_it_was_made(scorer, attribute, distortion, side):
    "Half of the image is made worse in one attribute: there its map falls, in the other half it stays."
    spoilt, half = PHOTO.clone(), HALVES[side]
    spoilt[..., half] = apply_recipe(PHOTO, [(distortion, .8)], "test")[..., half]
    fall = (scorer.quality_map(PHOTO) - scorer.quality_map(spoilt))[NAMES.index(attribute)]
    falls = dict(left=fall[:, :6].mean(), right=fall[:, -6:].mean())
    spoilt_fall = falls.pop(side)
    other_fall, = falls.values()
    assert spoilt_fall > .05
    assert spoilt_fall > 3*abs(other_fall)

@pytest.mark.parametrize("size", [(32, 32), (33, 200), (1500, 1100)])
def test_any_size(scorer, size):
    maps = scorer.quality_map(COFFEE.resize(size))
    assert maps.shape[0] == 6
    assert maps.isfinite().all()
    assert maps.min() >= 0
    assert maps.max() <= 1

def test_quality_that_was_never_taught(tmp_path):
    save_model(AttributeNet("resnet10t", 8), tmp_path/"heads.safetensors", {})
    maps = Scorer(tmp_path/"heads.safetensors", "cpu").quality_map(PHOTO)
    assert maps[0].isnan().all()
    assert maps[1:].isfinite().all()
    assert map_sheet(PHOTO, maps).size[0] > 300

# Drawings

def test_overlay_is_red_where_bad():
    values = torch.tensor([[0., 1.]])
    pixels = np.asarray(overlay(Image.new("RGB", (64, 32), "grey"), values)).astype(int)
    assert pixels.shape == (32, 64, 3)
    (bad_red, bad_green, _), (good_red, good_green, _) = pixels[16, 2], pixels[16, -2]
    assert bad_red > bad_green + 30
    assert good_green > good_red + 30

SHEETS = {"a/x.jpg": "a/x.jpg.map.png", "b/x.jpg": "b/x.jpg.map.png", # by image
          "<img src=x>.png": "<img src=x>.png.map.png", "n"*240 + ".png": "n"*200 + ".map.png"}

def test_a_sheet_for_every_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in SHEETS:
        (tmp_path/name).parent.mkdir(exist_ok=True)
        COFFEE.resize((120, 80)).save(tmp_path/name)
    (tmp_path/"bad.jpg").write_bytes(b"no picture")
    assert main(["score", "a", "b", "*.png", "bad.jpg", "--map", "maps", "--csv", "s.csv"]) == 1
    sheets = {path.relative_to(tmp_path/"maps").as_posix(): path for path in (tmp_path/"maps").rglob("*.png")}
    assert sorted(sheets) == sorted(SHEETS.values())
    assert all(Image.open(path).size == (1080, 516) for path in sheets.values())

@pytest.mark.parametrize("path", ["../../x.jpg", "/etc/x.jpg", "a/../../../x.jpg", "./x.jpg"])
def test_maps_stay_in_their_folder(tmp_path, path):
    assert map_place(str(tmp_path), path).resolve().is_relative_to(tmp_path.resolve())
