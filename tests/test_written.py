"Files that the kit writes: their modes, one per image, and never over an input."
import json, os, stat, unicodedata
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from safetensors.torch import save_file
from attiqa.cli import main
from attiqa.core import atomic, read_json, write_json
from attiqa.images import package_photograph

CROP = package_photograph("chelsea.png").crop((60, 40, 260, 200))
PHOTO = Image.fromarray(np.asarray(CROP)) # without metadata

# Modes

def mode(path): return stat.S_IMODE(path.stat().st_mode)

@pytest.fixture(params=[0o022, 0o002, 0o077, 0o027, 0o000], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)

WRITERS = dict( # one of them makes its file readable only by its owner
    text=lambda part: part.write_text("a"),
    image=lambda part: PHOTO.save(part, "PNG"),
    tensors=lambda part: save_file(dict(a=torch.zeros(2)), part),
    table=lambda part: pd.DataFrame(dict(a=[1])).to_parquet(part))

@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_new_file_has_the_mode_of_the_umask(umask, tmp_path, write):
    with atomic(tmp_path/"new") as part: write(part)
    assert mode(tmp_path/"new") == 0o666 & ~umask

@pytest.mark.parametrize("old", [0o600, 0o640, 0o664, 0o444, 0o400], ids=oct)
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_an_existing_file_keeps_its_mode(umask, tmp_path, write, old):
    "The temporary file is never readable by more people."
    path = tmp_path/"old"
    path.touch()
    path.chmod(old)
    with atomic(path) as part:
        assert mode(part) & 0o077 & ~old == 0
        write(part)
        assert mode(part) & 0o077 & ~old == 0
    assert mode(path) == old
    assert path.stat().st_size

def test_json_keeps_file_names_that_are_not_text(tmp_path):
    value = {"path": os.fsdecode(b"b\xff.png"), "é": "\u2028"}
    write_json(tmp_path/"a.json", value)
    assert read_json(tmp_path/"a.json") == value
    assert "é" in (tmp_path/"a.json").read_text(encoding="utf-8")

def test_a_share_without_modes_keeps_the_table(tmp_path, monkeypatch):
    def refuse(*given, **named): raise PermissionError(1, "Operation not permitted")
    (tmp_path/"old.json").touch()
    (tmp_path/"old.json").chmod(0o640)
    for name in ("chmod", "fchmod", "chown", "fchown"): monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(Path, "chmod", refuse)
    for name in ("new.json", "old.json"): write_json(tmp_path/name, [1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.json", "old.json"]
    assert json.loads((tmp_path/"old.json").read_text()) == [1]

def test_the_journal_of_a_private_table_is_private(tmp_path, monkeypatch):
    "The journal holds what the table will hold."
    monkeypatch.chdir(tmp_path)
    PHOTO.save("a.png")
    Path("s.csv").touch(0o600)
    modes = []
    monkeypatch.setattr("attiqa.cli.write_files", lambda journal, outputs: modes.append(mode(journal)))
    assert main(["score", "a.png", "--csv", "s.csv"]) == 0
    assert modes == [0o600]

# One file per image

def keep_images(folder, names):
    "Save a small image under each name."
    for name in names:
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        PHOTO.crop((0, 0, 64, 64)).save(folder/name, "PNG")

def one_name(name):
    "Equal for names that some system treats as one; written without the package."
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())

@pytest.mark.parametrize("names", [
    ("../x.png", "x.png"), ("a/../../x.png", "a/x.png", "x.png"), ("x.png", "X.png"),
    ("\u00e9.png", "e\u0301.png"), ("straße.png", "STRASSE.png"), ("n"*220 + "1.png", "n"*220 + "2.png"),
    ("b.png", "b.png.map.png/c.png"), ("d/x.png", "D/x.png")])
def test_every_image_has_its_own_map(tmp_path, monkeypatch, names):
    "Also on systems that treat two names as one."
    home = tmp_path/"home"
    (home/"a").mkdir(parents=True)
    monkeypatch.chdir(home)
    keep_images(home, names)
    assert main(["score", *names, "--map", "maps"]) == 0
    maps = [str(path.relative_to(home/"maps")) for path in (home/"maps").rglob("*.map.png") if path.is_file()]
    assert len(maps) == len(names)
    assert len({one_name(name) for name in maps}) == len(names)

def test_names_that_are_not_text_have_their_own_maps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [os.fsdecode(name) for name in (b"caf\xe9.png", b"caf\xe8.png", "caf\ufffd.png".encode())]
    keep_images(tmp_path, names)
    assert main(["score", *names, "--map", "maps"]) == 0
    assert len(list((tmp_path/"maps").glob("*.map.png"))) == 3

def test_the_same_image_twice_has_one_map(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keep_images(tmp_path, ["x.png"])
    assert main(["score", "x.png", "x.png", "--map", "maps"]) == 0
    assert [path.name for path in (tmp_path/"maps").glob("*.png")] == ["x.png.map.png"]

@pytest.mark.parametrize("names", [("x.png", "X.png"), ("\u00e9.png", "e\u0301.png"), ("a/x.png", "A/x.png")])
def test_edits_that_would_share_a_file_are_refused_before_the_first(tmp_path, capsys, names):
    keep_images(tmp_path/"in", names)
    assert main(["enhance", str(tmp_path/"in"), str(tmp_path/"out")]) == 2
    assert "one file" in capsys.readouterr().err
    assert not (tmp_path/"out").exists()

def test_edits_into_two_links_to_one_folder_are_refused(tmp_path, capsys):
    keep_images(tmp_path/"in", ("a/x.png", "b/x.png"))
    (tmp_path/"out/a").mkdir(parents=True)
    (tmp_path/"out/b").symlink_to("a")
    assert main(["enhance", str(tmp_path/"in"), str(tmp_path/"out")]) == 2
    assert list((tmp_path/"out/a").iterdir()) == []

@pytest.mark.parametrize("targets", [("s.csv", "S.csv"), ("s.csv", "s.csv.partial"), ("s", "s"),
                                     ("\u00e9", "e\u0301")])
def test_tables_and_their_journal_share_no_file(tmp_path, monkeypatch, capsys, targets):
    monkeypatch.chdir(tmp_path)
    keep_images(tmp_path, ["x.png"])
    assert main(["score", "x.png", "--csv", targets[0], "--json", targets[1]]) == 2
    assert "both" in capsys.readouterr().err
    assert os.listdir() == ["x.png"]

# Inputs

def contents(folder): return {path.name: path.read_bytes() for path in folder.iterdir()}

@pytest.fixture
def inputs(tmp_path, monkeypatch):
    "The current folder, with an image, tables, a list, ratings and an image without a suffix."
    monkeypatch.chdir(tmp_path)
    PHOTO.save("a.png")
    Path("t.csv").write_text("path,caption\na.png,a cat\n")
    Path("link.csv").symlink_to("t.csv")
    Path("list.txt").write_text("a.png\n")
    Path("ratings.csv").write_text("image,stars\na.png,3\n")
    Path("bare").write_bytes(Path("a.png").read_bytes())
    return tmp_path

@pytest.mark.parametrize("words", [
    ["score", "t.csv", "--csv", "t.csv"], ["score", "t.csv", "--json", "link.csv"],
    ["score", "./list.txt", "--csv", "{here}/list.txt"], ["score", "bare", "--parquet", "bare"],
    ["report", "a.png", "bare", "-o", "bare"], ["rate", "a.png", "bare", "-o", "bare"],
    ["finetune", "ratings.csv", "--out", "ratings.csv"]], ids=" ".join)
def test_an_input_is_never_written_over(inputs, capsys, words):
    before = contents(inputs)
    assert main([word.format(here=inputs) for word in words]) == 2
    assert "is read by this command" in capsys.readouterr().err
    assert contents(inputs) == before

def test_a_link_to_itself_costs_no_input(inputs):
    before = Path("t.csv").read_bytes()
    Path("loop.csv").symlink_to("loop.csv")
    assert main(["score", "t.csv", "--csv", "loop.csv"]) in (0, 1, 2)
    assert Path("t.csv").read_bytes() == before

def test_a_map_is_never_written_over_an_image(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keep_images(tmp_path, ["x.png", "x.png.map.png"])
    before = Path("x.png.map.png").read_bytes()
    main(["score", "x.png", "x.png.map.png", "--map", "."])
    assert Path("x.png.map.png").read_bytes() == before
