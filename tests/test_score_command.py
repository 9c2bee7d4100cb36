"The command `score` and its neighbours: formats, arguments, help. All of it runs in this process."
import io, json, subprocess, sys
import pandas as pd, pytest
from attiqa.cli import GROUPS, app, main, printable
from attiqa.score import RECORD_FIELDS
from score_files import GOOD, NUMBERS, make_album, records

@pytest.fixture
def album(tmp_path, monkeypatch):
    "Images in the current folder."
    monkeypatch.chdir(tmp_path)
    return make_album(tmp_path)

WORDS = ["score", "sub", "none.jpg", "b.jpg", 'q"u,o\nte.jpg', "a.jpg"]
PATHS = ["sub/c.jpg", "sub/deep/d.JPG", *WORDS[2:]]

def printed(capsys, *options):
    "What scoring WORDS prints; one of them is not there."
    assert main([*WORDS, *options]) == 1
    return capsys.readouterr().out

def csv_text(value):
    return "" if value is None else str(value)

def number_text(value):
    return "-" if value is None else f"{value:.3f}"

def test_files_hold_what_standard_output_shows(album, capsys):
    assert printed(capsys, "--csv", "out.csv", "--json", "out.json") == ""
    assert (album/"out.csv").read_bytes().decode() == printed(capsys, "--csv", "-")
    assert (album/"out.json").read_text() == printed(capsys, "--json", "-")

def test_formats_agree(album, capsys):
    rows, objects = records(printed(capsys, "--csv", "-")), json.loads(printed(capsys, "--json", "-"))
    assert [tuple(row) for row in (*rows, *objects)] == [RECORD_FIELDS]*12
    assert rows == [{name: csv_text(value) for name, value in row.items()} for row in objects]
    assert [row["path"] for row in rows] == PATHS

def test_the_terminal_shows_the_same(album, capsys):
    objects = json.loads(printed(capsys, "--json", "-"))
    header, *lines = printed(capsys, "--no-findings").splitlines()
    assert header.split() == [*NUMBERS, "path"]
    for line, row in zip(lines, objects, strict=True):
        *shown, path = line.split(maxsplit=len(NUMBERS))
        assert path == printable(row["path"])
        assert shown == [number_text(row[name]) for name in NUMBERS]
        assert line.index(path) == header.index("path")

def test_parquet_agrees(album, capsys):
    assert main(["score", "sub", "none.jpg", "--parquet", "s.parquet", "--csv", "-"]) == 1
    text, table = capsys.readouterr().out, pd.read_parquet(album/"s.parquet")
    shown = pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=dict.fromkeys(NUMBERS, [""]))
    pd.testing.assert_frame_equal(table, shown, check_dtype=False)
    assert tuple(table.columns) == RECORD_FIELDS
    assert table.quality.dtype == float

SUB = ["sub/c.jpg", "sub/deep/d.JPG"]
FOUND = [ # words of the command, and the paths that are scored
    (["*.jpg"], ["a.jpg", "b.jpg", 'q"u,o\nte.jpg']),
    (["b.jpg", "a.jpg", "b.jpg"], ["b.jpg", "a.jpg", "b.jpg"]),
    (["sub"], SUB),
    (["./sub/", "a.jpg"], [*SUB, "a.jpg"]),
    (["sub/**/*.[jJ]*"], SUB),
    (["s*"], SUB),
]

@pytest.mark.parametrize("words, paths", FOUND)
def test_files_folders_and_patterns(album, capsys, words, paths):
    assert main(["score", *words, "--csv", "-"]) == 0
    assert [row["path"] for row in records(capsys.readouterr().out)] == paths

def test_nothing_found_is_one_line(album, capsys):
    (album/"bare").mkdir()
    assert main(["score", "*.gif", "bare", "a.jpg"]) == 1
    out, said = capsys.readouterr()
    assert said.splitlines() == ["attiqa: *.gif: is a pattern that matches no file",
                                 "attiqa: bare: is a folder without images"]
    assert len(out.splitlines()) == 4

LEFT_OUT = "attiqa: left out: hidden: 1; left there by a system (thumbnails, bins): 1; no pictures: 1"

@pytest.mark.parametrize("words", [["score", "sub", "--out", "out", "--workers", "0"], ["rank", "sub"]])
def test_files_that_a_walk_leaves_out_are_reported(album, capsys, words):
    (album/"sub/.hidden.jpg").write_bytes(GOOD)
    (album/"sub/Thumbs.db").write_bytes(b"")
    assert main(words) == 0
    assert LEFT_OUT in capsys.readouterr().err.splitlines()

def test_no_report_of_a_folder_without_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path/"bare").mkdir()
    assert main(["report", "bare", "-o", "page.html"]) == 2
    assert capsys.readouterr().err == "attiqa: bare: is a folder without images\n"
    assert not (tmp_path/"page.html").exists()

WRONG = [ # words of the command, and words of the error
    (["score"], "Missing argument"),
    (["score", "a.jpg", "--cvs", "x"], "--cvs"),
    (["score", "a.jpg", "--csv"], "--csv"),
    (["score", "a.jpg", "--csv", "-", "--json", "-"], "both"),
    (["score", "a.jpg", "--csv", "x", "--json", "./x"], "both"),
    (["score", "a.jpg", "--csv", "no/x.csv"], "no such folder"),
    (["score", "a.jpg", "--csv", "sub"], "is a folder"),
    (["score", "a.jpg", "--csv", ""], "is a folder"),
    (["score", "--csv", "a.jpg", "b.jpg"], "is an image"),
    (["score", "a.jpg", "--json", "/dev/null"], "regular file"),
    (["score", "a.jpg", "--parquet", "-"], "wants a file"),
    (["score", "a.jpg", "--resume"], "--csv"),
    (["score", "a.jpg", "--map", "a.jpg"], "not a folder"),
    (["score", "a.jpg", "--model", "no.safetensors"], "no such model"),
    (["score", "a.jpg", "--model", "a.jpg"], "safetensors"),
    ([], "Missing command"),
    (["rate", "a.jpg"], "rate"),
]

@pytest.mark.parametrize("words, expected", WRONG)
def test_wrong_arguments(album, capsys, words, expected):
    before = sorted(album.rglob("*"))
    assert main(words) == 2
    out, said = capsys.readouterr()
    assert out == "" and len(said.splitlines()) == 1
    assert said.startswith("attiqa: ") and expected in said
    assert sorted(album.rglob("*")) == before

HELP = """
import sys
from attiqa.cli import main
main(['score', '--help'])
sys.exit('torch' in sys.modules)
"""

def test_help_comes_before_torch(tmp_path):
    subprocess.run([sys.executable, "-c", HELP], cwd=tmp_path, check=True, capture_output=True)

@pytest.fixture
def help_lines(capsys, monkeypatch):
    "The command's help on a terminal of 80 columns."
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    return capsys.readouterr().out.rstrip().splitlines()

def help_groups(lines):
    "Heading to the lines below it, each split into words."
    groups = {}
    for line in lines:
        heading = line.rstrip(":")
        if heading in GROUPS:
            members = groups.setdefault(heading, [])
        elif groups:
            members.append(line.split())
    return groups

def test_help_fits_a_screen(help_lines):
    assert len(help_lines) <= 24
    assert max(map(len, help_lines)) <= 80

def test_help_names_each_command_in_one_group(help_lines):
    groups = help_groups(help_lines)
    assert set(groups) == set(GROUPS) and all(groups.values())
    members = [words for group in groups.values() for words in group]
    commands = [command.name for command in app.registered_commands]
    named = [words[0] for words in members]
    assert sorted(named) == sorted(commands), "give each command one of GROUPS as its rich_help_panel"
    assert all(words[1:] and words[-1][-3:] != "..." for words in members), "give each command a short_help"

def test_help_and_version(capsys):
    assert main(["score", "--help"]) == 0
    assert "attiqa score photo.jpg  " in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("attiqa ")

def test_the_model_says_what_it_is(album, capsys):
    from attiqa.model import AttributeNet, save_model
    scores = dict(dataset="clive", low=0., high=100., human=True, date="2026-01-31")
    card = dict(name="finetuned on clive", scores=scores)
    save_model(AttributeNet("resnet10t", 8), album/"m.safetensors", card)
    assert main(["score", "a.jpg", "--model", "m.safetensors"]) == 0
    said = capsys.readouterr().err
    assert all(word in said for word in ("clive", "people", "0 to 100", "2026-01-31"))
