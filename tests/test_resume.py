"Scoring that is interrupted and resumed: killed at any moment, cut at any byte, with changing files."
import itertools, multiprocessing, signal, time
from contextlib import suppress
from functools import partial
import numpy as np, pytest
from attiqa import __version__
from attiqa.cli import main, name_problems
from attiqa.core import WEIGHTS, file_hash
from attiqa.images import package_photograph
from attiqa.journal import journaled, read_journal
from attiqa.score import READ_AHEAD, Scorer

PHOTO = package_photograph("chelsea.png").crop((60, 40, 260, 200))
MODEL = file_hash(WEIGHTS/"attiqa-mini.safetensors")
MADE_BY = dict(version=__version__, model=MODEL) # as the command writes it

@pytest.fixture(scope="module")
def scorer(): return Scorer()

@pytest.fixture
def roll(tmp_path, monkeypatch):
    "The current folder, with a folder of forty small images and a file that is no image."
    monkeypatch.chdir(tmp_path)
    (tmp_path/"roll").mkdir()
    for i in range(40):
        PHOTO.rotate(9*i).crop((20, 20, 84, 84)).save(tmp_path/"roll"/f"{i:02}.png")
    (tmp_path/"roll/17b.jpg").write_bytes(b"no picture")
    return tmp_path

@pytest.fixture(scope="module")
def processes():
    "Processes that start at once: they are copies of one that has imported torch."
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["attiqa.cli", "attiqa.journal"])
    return context

TABLES = "s.csv", "s.json", "s.parquet"

def words(folder):
    "Words of the command line: score the folder into all tables."
    targets = [word for name in TABLES for word in (f"--{name[2:]}", str(folder/name))]
    return ["score", str(folder/"roll"), *targets]

def written(folder): return {name: (folder/name).read_bytes() for name in TABLES}

def lines(path):
    "Number of lines of a file; 0 where it is missing."
    with suppress(FileNotFoundError):
        return path.read_bytes().count(b"\n")
    return 0

def test_killed_at_ten_moments(roll, processes):
    "After ten kills, the tables are those of an uninterrupted run."
    assert main(words(roll)) == 1
    whole, journal = written(roll), roll/"s.csv.partial"
    for name in whole: (roll/name).unlink()
    for least in range(3, 33, 3):
        process = processes.Process(target=main, args=([*words(roll), "--resume"],))
        process.start()
        while lines(journal) < least and process.is_alive(): time.sleep(.0005)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert lines(journal) >= least
        assert not (roll/"s.json").exists()
    assert main([*words(roll), "--resume"]) == 1
    assert written(roll) == whole
    assert not journal.exists()

def test_a_journal_cut_at_any_byte(roll, scorer):
    names = [str(path) for path in sorted((roll/"roll").iterdir())]
    whole = [*map(repr, journaled(roll/"j", names, scorer.stream, {}))]
    journal = (roll/"j").read_bytes()
    for cut in np.linspace(0, len(journal), 12, dtype=int):
        (roll/"j").write_bytes(journal[:cut])
        assert [*map(repr, journaled(roll/"j", names, scorer.stream, {}, resume=True))] == whole
        assert [*map(repr, read_journal(roll/"j"))] == whole

def test_changed_images_are_scored_again(roll, capsys):
    journal = roll/"s.csv.partial"
    names = [str(path.relative_to(roll)) for path in sorted((roll/"roll").iterdir())]
    [*journaled(journal, names[:30], partial(Scorer().stream, on_score=name_problems()), MADE_BY)]
    PHOTO.crop((0, 0, 50, 50)).save(roll/"roll/20.png")
    (roll/"roll/25.png").unlink()
    assert main(["score", "roll", "--csv", "s.csv", "--resume"]) == 1
    assert main(["score", "roll", "--csv", "anew.csv"]) == 1
    assert (roll/"s.csv").read_bytes() == (roll/"anew.csv").read_bytes()

def test_names_are_taken_when_they_are_needed(tmp_path, scorer):
    "The list of names may be endless."
    PHOTO.save(tmp_path/"a.png")
    taken = []
    def endless():
        while True:
            taken.append(1)
            yield str(tmp_path/"a.png")
    scores = itertools.islice(journaled(tmp_path/"j", endless(), scorer.stream, {}), 3)
    assert len(list(scores)) == 3
    assert len(taken) <= 3 + READ_AHEAD + 1

def test_a_journal_of_another_model_is_refused(roll, capsys):
    from attiqa.model import AttributeNet, save_model
    save_model(AttributeNet("resnet10t", 8), roll/"m.safetensors", {})
    [*journaled(roll/"s.csv.partial", ["roll/00.png"], Scorer().stream, MADE_BY)]
    command = ["score", "roll/00.png", "--csv", "s.csv", "--model", "m.safetensors"]
    assert main([*command, "--resume"]) == 2
    assert "another scorer" in capsys.readouterr().err
    assert main(command) == 0
