"How folders and tables of generators' images are read, what is reported about them and what is refused."
import shutil
import numpy as np, pandas as pd, pytest
from PIL import Image
from attiqa.cli import main
from attiqa.core import AttiqaError
from attiqa.generators import (
    LEADERBOARD_COLUMNS, Reference, rank, read_comparison, read_folders, write_family)
from attiqa.score import Scorer

@pytest.fixture(scope="module")
def scorer(): return Scorer()

@pytest.fixture
def codecs(tmp_path):
    "Five prompts of the six codecs, one folder per codec."
    return write_family(tmp_path/"codecs", "codecs", 5)

@pytest.fixture
def ranked(codecs, scorer):
    "A function that ranks the codecs: table of scores, leaderboard, lines of warnings."
    def run():
        scored, board, _, lines, _ = rank(read_comparison(codecs), scorer, 20)
        return scored, board, lines
    return run

@pytest.fixture
def refusal(capsys):
    "A function that runs the command, which must refuse, and gives its one line on standard error."
    def run(*words):
        assert main(["rank", *map(str, words)]) == 2
        printed = capsys.readouterr()
        assert printed.err.count("\n") == 1
        assert not printed.out
        return printed.err
    return run

# Warnings

def test_a_prompt_mismatch_is_reported(codecs, ranked):
    (codecs/"jpeg-20/002.png").unlink()
    (codecs/"jpeg-05/004.png").rename(codecs/"jpeg-05/other.png")
    _, board, lines = ranked()
    text = "\n".join(lines)
    assert "jpeg-20 has no picture for 2 of 6 prompts (002, other)" in text
    assert "jpeg-05 has no picture for 1 of 6 prompts (004)" in text
    assert "over the 3 prompts" in text
    assert (board.prompts == 3).all()

def test_a_folder_twice_is_reported(codecs, ranked):
    shutil.copytree(codecs/"jpeg-95", codecs/"renamed")
    _, board, lines = ranked()
    words = ("the same folder twice", "jpeg-95", "renamed")
    assert any(all(word in line for word in words) for line in lines)
    assert set(board.tied_with[:2]) == {"jpeg-95", "renamed"}
    with pytest.raises(AttiqaError, match="given twice"): read_folders([codecs/"jpeg-95"]*2)

def test_a_picture_that_is_there_twice_is_reported(codecs, ranked):
    shutil.copy(codecs/"jpeg-08/000.png", codecs/"jpeg-08/001.png")
    assert ranked()[2] == ["jpeg-08 has 1 pictures more than once, byte for byte"]

def test_a_bad_picture_ends_nothing(codecs, ranked):
    (codecs/"jpeg-12/001.png").write_bytes(b"\x89PNG half")
    scored, board, lines = ranked()
    assert board.set_index("generator").rejected["jpeg-12"] == 1
    assert any("001.png" in line and "left out" in line for line in lines)
    assert scored.error.ne("").sum() == 1

def test_other_sizes_are_reported(codecs, ranked):
    for file in (codecs/"jpeg-05").iterdir():
        with Image.open(file) as image: larger = image.resize((160, 160))
        larger.save(file)
    assert any("differ in size" in line for line in ranked()[2])

# Tables

def test_a_table_says_the_same_as_folders(codecs, tmp_path):
    folders, table = read_comparison(codecs), tmp_path/"table.csv"
    images = [f"codecs/{row.generator}/{row.prompt}.png" for row in folders.itertuples()]
    folders.assign(image=images).to_csv(table, index=False)
    found, columns = read_comparison(table), ["generator", "prompt"]
    assert [str(path) for path in found.image] == list(folders.image)
    assert found[columns].equals(folders[columns])

BAD_TABLES = [
    ("image,generator\na,b\n", "no column 'prompt'"),
    ("image,generator,prompt\na,,c\n", "row 0 has no generator")]

@pytest.mark.parametrize("text, reason", BAD_TABLES)
def test_a_bad_table_is_one_line(tmp_path, text, reason):
    (tmp_path/"t.csv").write_text(text)
    with pytest.raises(AttiqaError, match=reason): read_comparison(tmp_path/"t.csv")

def test_ratings_are_numbers(tmp_path):
    (tmp_path/"t.csv").write_text("image,generator,prompt,rating\na,b,c,3\na,b,d,\na,b,e,good\n")
    with pytest.raises(AttiqaError, match="row 2 has the rating 'good'"): read_comparison(tmp_path/"t.csv")

NO_TABLES = [
    ("a.csv", b""),
    ("a.csv", "image,generator,prompt\n\u00df,a,b".encode("latin-1")),
    ("a.csv", b'image,generator\n"a'),
    ("a.parquet", b"none")]

@pytest.mark.parametrize("name, content", NO_TABLES)
def test_a_file_that_is_no_table_is_one_line(tmp_path, refusal, name, content):
    (tmp_path/name).write_bytes(content)
    assert f"is no readable .{name[2:]} table" in refusal(tmp_path/name)

# Further columns

def save_table(table, path):
    if path.suffix == ".csv": table.to_csv(path, index=False)
    else: table.to_parquet(path)

@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_further_columns(codecs, tmp_path, capsys, suffix):
    "Means on the leaderboard, agreement with the quality and with each other; text columns stay text."
    images, path, out = read_comparison(codecs), tmp_path/f"t.{suffix}", tmp_path/"out"
    table = images.assign(hpsv3=10. - images.index, pickscore=images.index + 20., caption="007")
    save_table(table, path)
    assert main(["rank", str(path), "--columns", "hpsv3, pickscore", "--out", str(out)]) == 0
    board = pd.read_csv(out/"leaderboard.csv").set_index("generator")
    agreed = pd.read_csv(out/"agreement.csv").set_index(["column", "other", "over"]).sort_index()
    assert np.allclose(board.hpsv3, table.groupby("generator").hpsv3.mean()[board.index])
    assert len(agreed) == 9
    assert np.allclose(agreed.SRCC["hpsv3", "pickscore"], -1)
    printed, notice = capsys.readouterr(), "the prompt is not read"
    assert "| hpsv3 | pickscore | tied with |" in printed.out
    assert notice in printed.err
    assert notice in (out/"leaderboard.md").read_text()
    kept = pd.read_parquet(out/"images.parquet")
    assert set(kept.caption) == {"007"}
    assert set(kept.prompt) == {f"{i:03d}" for i in range(5)}

INCOMPARABLE = [
    (["--columns", "caption"], "row 0 has the caption 'x007'; its cells are numbers"),
    (["--columns", "clip"], "has no column 'clip'; it has image"),
    (["--columns", "prompt"], "column 'prompt' is one of attiqa's own"),
    (["--columns", "endless"], "row 0 has the endless 'inf'"),
    (["--reference", "one"], "one: has 1 pictures that can be read; a reference needs 2 or more"),
    (["--reference", "nowhere"], "nowhere: is no folder"),
    (["--reference", "p", "--features", "vgg"], "no features 'vgg'; there are backbone, inception")]

@pytest.mark.parametrize("words, reason", INCOMPARABLE)
def test_what_cannot_be_compared_is_one_line(codecs, tmp_path, monkeypatch, refusal, words, reason):
    monkeypatch.chdir(tmp_path)
    read_comparison(codecs).assign(caption="x007", endless="inf").to_csv("t.csv", index=False)
    for folder in ("one", "p"): (tmp_path/folder).mkdir()
    shutil.copy(codecs/"jpeg-95/000.png", "one")
    assert reason in refusal("t.csv", *words)

def test_folders_have_no_further_columns(codecs, refusal):
    reason = "no column 'hpsv3'; it has image, generator, prompt"
    assert reason in refusal(codecs, "--columns", "hpsv3")

@pytest.mark.parametrize("name", ["quality", "error", "content"])
def test_a_column_named_as_a_score_is_one_line(codecs, tmp_path, refusal, name):
    read_comparison(codecs).assign(**{name: 1}).to_csv(tmp_path/"t.csv", index=False)
    assert f"column '{name}' has the name of a score" in refusal(tmp_path/"t.csv")

def test_no_column_may_take_a_name_of_the_leaderboards(codecs, scorer):
    board = rank(read_comparison(codecs), scorer, 20, reference=Reference(codecs/"jpeg-95", scorer))[1]
    assert set(board) < set(LEADERBOARD_COLUMNS)
    assert set(LEADERBOARD_COLUMNS) - set(board) == {"FID", "KID"}
