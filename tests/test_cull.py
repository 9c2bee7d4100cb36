"Culling: groups, brackets and panoramas, files that are moved and linked, and undo."
import os, shutil
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from attiqa.cli import main
from attiqa.cull import UNDO_LOG, Choice, cull, merged_sidecar, property_value, read_xmp, XMP
from attiqa.distort import apply_recipe
from attiqa.findings import Row
from attiqa.images import package_photograph, to_image, to_tensor
from attiqa.score import Score, Scorer
from sidecars import SIDECARS

RECIPES = ([("gaussian_blur", .4)], [("gaussian_noise", .45)], [("jpeg", .5), ("gamma_dark", .2)])
SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")

def exif(seconds, stops=0.):
    "EXIF of a photograph taken some seconds after noon."
    notes, (minutes, rest) = Image.Exif(), divmod(int(seconds), 60)
    taken = f"2024:05:01 12:{minutes:02}:{rest:02}"
    notes.get_ifd(0x8769).update({0x9003: taken, 0x829A: 2.**stops/100, 0x829D: 4., 0x8827: 100})
    return notes

def save_versions(photo, folder, stem, name):
    "An untouched image and three worse versions of it."
    for i, recipe in enumerate(([], *RECIPES)):
        to_image(apply_recipe(photo, recipe, name)).save(folder/f"{stem}_{i}.png")

@pytest.fixture
def shoot(tmp_path):
    "Four scenes of four versions each."
    folder = tmp_path/"shoot"
    folder.mkdir()
    for name in SOURCES:
        photo = to_tensor(package_photograph(name).resize((320, 240)))
        save_versions(photo, folder, Path(name).stem, name)
    return folder

@pytest.fixture(scope="module")
def scorer(): return Scorer("attiqa-mini", "cpu")

def paths(folder): return sorted(map(str, folder.iterdir()))

def contents(folder):
    "Path below the folder to bytes, of all files."
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder): path.read_bytes() for path in found}

def scene(choice): return Path(choice.row.path).stem.rsplit("_", 1)[0]

def version(choice): return Path(choice.row.path).stem.rsplit("_", 1)[1]

def test_the_untouched_version_is_kept(shoot, scorer):
    choices = cull(scorer, paths(shoot))
    for group in {choice.group for choice in choices if choice.group >= 0}:
        assert len({scene(choice) for choice in choices if choice.group == group}) == 1
    kept = {Path(choice.row.path).stem for choice in choices if choice.keep}
    assert kept == {f"{Path(name).stem}_0" for name in SOURCES}
    assert {choice.stars for choice in choices} == {1, 2, 3, 4, 5}
    assert all("better: " in choice.reason for choice in choices if not choice.keep)

@pytest.mark.parametrize("stops, kind, kept", [((-2, 0, 2), "bracket", 3), ((0, 0, 0), "alike", 1)])
def test_brackets_stay_whole(tmp_path, scorer, stops, kind, kept):
    photo = np.asarray(package_photograph("coffee.png").resize((320, 240)), float)
    for i, stop in enumerate(stops):
        exposed = (photo*2**(stop/3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(exposed).save(tmp_path/f"{i}.jpg", exif=exif(i, stop))
    choices = cull(scorer, paths(tmp_path))
    assert {choice.kind for choice in choices} == {kind}
    assert sum(choice.keep for choice in choices) == kept

def test_panoramas_stay_whole(tmp_path, scorer):
    photo = package_photograph("coffee.png").resize((800, 533))
    for i in range(4): photo.crop((120*i, 100, 120*i + 400, 400)).save(tmp_path/f"{i}.jpg", exif=exif(2*i))
    choices = cull(scorer, paths(tmp_path))
    assert {choice.kind for choice in choices} == {"panorama"}
    assert all(choice.keep for choice in choices)

def test_move_link_and_undo(shoot, tmp_path, capsys):
    (shoot/"chelsea_1.png.xmp").write_text(SIDECARS["darktable"])
    before, rejects, best = contents(shoot), tmp_path/"rejects", tmp_path/"best"
    assert main(["cull", str(shoot), "--xmp", "--move-to", str(rejects), "--link-to", str(best)]) == 0
    moved, kept = sorted(rejects.glob("*.png")), sorted(best.glob("*.png"))
    assert (len(moved), len(kept)) == (12, 4)
    assert all(path.is_symlink() for path in kept)
    assert all(path.read_bytes() == before[Path(path.name)] for path in (*moved, *kept))
    assert (rejects/"chelsea_1.png.xmp").exists()
    assert main(["cull", str(shoot), "--undo"]) == 0
    assert contents(shoot) == before
    assert not [*rejects.glob("*.png"), *best.glob("*.png")]
    assert main(["cull", str(shoot), "--undo"]) == 2
    assert "nothing here" in capsys.readouterr().err

def test_nothing_is_written_without_an_option(shoot, capsys):
    before = contents(shoot)
    assert main(["cull", str(shoot), "--keep", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert contents(shoot) == before
    assert len(lines) == 16
    assert sum(line.startswith("keep") for line in lines) == 8

def test_undo_leaves_what_was_changed_since(shoot, capsys):
    assert main(["cull", str(shoot), "--xmp"]) == 0
    mine = shoot/"coffee_0.png.xmp"
    mine.write_text("mine")
    assert main(["cull", str(shoot), "--undo"]) == 1
    assert mine.read_text() == "mine"
    assert [path.name for path in shoot.glob("*.xmp")] == [mine.name]
    assert "was changed since" in capsys.readouterr().err

def test_nothing_is_written_over(shoot, tmp_path, capsys):
    rejects = tmp_path/"rejects"
    rejects.mkdir()
    (rejects/"MADE_BY_ATTIQA.txt").touch()
    (rejects/"coffee_1.png").write_text("mine")
    assert main(["cull", str(shoot), "--move-to", str(rejects)]) == 1
    assert (rejects/"coffee_1.png").read_text() == "mine"
    assert (shoot/"coffee_1.png").exists()
    assert "nothing is written over" in capsys.readouterr().err

@pytest.mark.parametrize("words, message", [
    (["none"], "is not a folder"), (["{}"], "without images"), (["{}", "--keep", "0"], "keep"),
    (["{}", "--undo"], "nothing here")])
def test_wrong_arguments(tmp_path, capsys, words, message):
    assert main(["cull", *(word.format(tmp_path) for word in words)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path/UNDO_LOG).exists()
    assert not os.listdir(tmp_path)

@pytest.fixture
def hundred_scenes(shared, tmp_path):
    for place in sorted((shared/"pristine").rglob("*.jpg"))[::2][:100]:
        photo = to_tensor(Image.open(place).convert("RGB").resize((256, 256)))
        save_versions(photo, tmp_path, place.stem, place.name)
    return tmp_path

def test_a_hundred_scenes(hundred_scenes, scorer):
    groups = {}
    for choice in cull(scorer, paths(hundred_scenes)):
        groups.setdefault(choice.group if choice.group >= 0 else choice.row.path, []).append(choice)
    assert all(len({scene(choice) for choice in group}) == 1 for group in groups.values())
    whole = [choice for group in groups.values() if len(group) == 4 for choice in group]
    assert sum(version(choice) == "0" and choice.keep for choice in whole) >= 90

def save_small(folder, names):
    for source, name in zip(SOURCES, names): package_photograph(source).resize((160, 120)).save(folder/name)

def test_every_photograph_of_one_stem_is_rated(tmp_path):
    names = "a.png", "a.jpg"
    save_small(tmp_path, names)
    (tmp_path/"a.xmp").write_text(merged_sidecar("", Choice(Row("", Score()), stars=2)))
    before = (tmp_path/"a.xmp").read_bytes()
    assert main(["cull", str(tmp_path), "--xmp"]) == 0
    texts = [(tmp_path/f"{name}.xmp").read_text() for name in names]
    assert {property_value(read_xmp(text, ""), XMP, "Rating") for text in texts} == {"1", "5"}
    assert (tmp_path/"a.xmp").read_bytes() == before

@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_not_text_are_culled_and_undone(tmp_path, capsys):
    name, rest = os.fsdecode(b"b\xff.png"), tmp_path/"rest"
    package_photograph("coffee.png").resize((160, 120)).save(tmp_path/"a.png")
    shutil.copy(tmp_path/"a.png", tmp_path/name)
    (tmp_path/"notes.txt").touch()
    before = contents(tmp_path)
    assert main(["cull", str(tmp_path), "--xmp", "--move-to", str(rest)]) == 0
    assert "left out: no pictures: 1" in capsys.readouterr().err
    assert all(place.exists() for place in (rest/name, rest/f"{name}.xmp"))
    assert not (tmp_path/name).exists()
    assert main(["cull", str(tmp_path), "--undo"]) == 0
    assert {path: data for path, data in contents(tmp_path).items() if path.parent == Path()} == before

def test_a_photograph_that_cannot_have_a_sidecar_stops_no_other(tmp_path, capsys):
    "Its name with .xmp appended is longer than file systems allow."
    long = "n"*248 + ".png"
    save_small(tmp_path, (long, "z.png"))
    assert main(["cull", str(tmp_path), "--xmp"]) == 1
    assert "nnn" in capsys.readouterr().err
    assert (tmp_path/"z.png.xmp").exists()
    assert main(["cull", str(tmp_path), "--undo"]) == 0
    assert sorted(os.listdir(tmp_path)) == [long, "z.png"]
