"Which files a walk finds, skips and counts."
import os, subprocess
from collections import Counter
import pytest
from attiqa.cli import main
from attiqa.sources import ordered_names, skipped_summary, walk_folder
from image_files import PHOTO, encoded

JPEG, TGA, EPS = encoded(PHOTO, "JPEG"), encoded(PHOTO, "TGA")[:-26], encoded(PHOTO, "EPS")

def write(root, *names, data=JPEG):
    for name in names:
        (root/name).parent.mkdir(parents=True, exist_ok=True)
        (root/name).write_bytes(data)

@pytest.fixture
def score(capsys):
    "A function that scores with the command line: exit code, paths of the rows, lines on standard error."
    def run(*words):
        code = main(["score", *words, "--csv", "-"])
        out, error = capsys.readouterr()
        return code, [line.split(",")[0] for line in out.splitlines()[1:]], error.splitlines()
    return run

def test_images_of_every_name_are_found(tmp_path, monkeypatch, capsys):
    "Images, images of other formats, and other files: each is a row or is counted."
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "a.jfif", "b.jpe", "c.jif", "d", "e.backup")
    write(tmp_path, "f.tga", data=TGA)
    write(tmp_path, "g.drawing", data=EPS)
    write(tmp_path, "x.txt", "x.html", "x.py", "y.jpg", data=b"no picture")
    assert main(["score", ".", "--csv", "-"]) == 1
    out, error = capsys.readouterr()
    rows = [line.split(",") for line in out.splitlines()[1:]]
    assert [row[0] for row in rows] == "a.jfif b.jpe c.jif d e.backup f.tga g.drawing y.jpg".split()
    assert [bool(row[1]) for row in rows] == [True]*6 + [False]*2
    assert error.splitlines() == [
        "attiqa: g.drawing: is not an image format that is read here (EPS)",
        "attiqa: y.jpg: is not a readable image (of no known format)",
        "attiqa: left out: no pictures: 3"]

def test_links(tmp_path):
    root, far = tmp_path/"root", tmp_path/"far"
    for folder in (root/"in", far/"deep"):
        folder.mkdir(parents=True)
        (folder/"p.jpg").touch()
    links = {root/"b": far, root/"c": far/"deep", root/"d": root, root/"in"/"up": root, root/"e": root/"in",
             far/"back": root, far/"loop": far, root/"f": root/"f", far/"over": tmp_path,
             root/"g": tmp_path/"nowhere", far/"deep"/"q.jpg": far/"deep"/"p.jpg"}
    for link, target in links.items(): link.symlink_to(target)
    skipped = Counter()
    assert list(walk_folder(root, skipped=skipped)) == ["b/deep/p.jpg", "b/deep/q.jpg", "in/p.jpg"]
    assert "links to folders that are walked anyway: " in skipped_summary(skipped)

def test_a_tree_deeper_than_the_stack(tmp_path):
    here, depth = os.getcwd(), 1200
    try:
        os.chdir(tmp_path)
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        open("p.jpg", "w").close()
        assert list(walk_folder(tmp_path)) == ["d/"*depth + "p.jpg"]
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", tmp_path/"d"], check=True) # Python's own removal is as deep as the tree

LEFTOVERS = (
    "@eaDir/p.jpg/SYNOPHOTO_THUMB_XL.jpg", ".thumbnails/p.jpg", ".Trash-1000/files/p.jpg", "__MACOSX/._p.jpg",
    "._p.jpg", ".AppleDouble/p.jpg", "#recycle/p.jpg", "lost+found/p.jpg", ".@__thumb/p.jpg",
    "@Recycle/p.jpg", "sub/@eaDir/p.jpg", "Recycled/p.jpg", "FOUND.000/p.jpg",
    "System Volume Information/p.jpg",
    "$RECYCLE.BIN/S-1/p.jpg")

def test_leftovers_of_systems(tmp_path, monkeypatch, score):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "sub/p.jpg", *LEFTOVERS, "Thumbs.db", ".DS_Store")
    summary = "attiqa: left out: hidden: 6; left there by a system (thumbnails, bins): 11"
    assert score(".") == (0, ["sub/p.jpg"], [summary])
    code, paths, errors = score(".", "--all")
    assert (code, len(paths), errors) == (0, 3 + len(LEFTOVERS), [])

@pytest.fixture
def album(tmp_path, monkeypatch):
    "A folder of two images, which is the working folder's child."
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "album/sub/a.jpg", "album/b.jpg")

@pytest.mark.parametrize("words", (["album/**/*.*g"], ["album/*"], ["album"]))
def test_maps_are_not_scored(album, score, words):
    expected = ["album/b.jpg", "album/sub/a.jpg"]
    for _ in range(2): assert score("album", "--map", "album/maps")[:2] == (0, expected)
    code, paths, _ = score(*words)
    assert (code, sorted(paths)) == (0, expected)

def test_maps_are_scored_if_asked_for(album, score):
    score("album", "--map", "album/maps")
    code, _, errors = score("album/maps")
    assert code == 1
    assert any("--all takes it" in line for line in errors)
    code, paths, _ = score("album/maps", "--all")
    assert (code, len(paths)) == (0, 2)

def test_results_of_a_ranking_are_not_scored(tmp_path, monkeypatch, capsys, score):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "pictures/x/1.jpg", "pictures/y/1.jpg")
    for _ in range(2):
        assert main(["rank", "pictures", "--out", "pictures/results"]) == 0
        assert "results" not in capsys.readouterr().out
    assert score("pictures")[:2] == (0, ["pictures/x/1.jpg", "pictures/y/1.jpg"])

def test_outputs_do_not_mix_with_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "a.jpg")
    assert main(["score", "a.jpg", "--map", "."]) == 2
    assert "holds pictures already" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg"]

def test_a_second_pass_counts_nothing(tmp_path):
    write(tmp_path, *(f"{i}.{ending}" for i in range(9) for ending in ("jpg", "txt")), data=b"")
    skipped = Counter()
    assert len(list(ordered_names(tmp_path, 2, skipped=skipped))) == 9
    assert skipped.total() == 9

def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path/"pipe")
    assert list(walk_folder(tmp_path)) == []
