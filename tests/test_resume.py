"Scoring that is stopped and gone on with: killed at any moment, cut at any byte, files that change meanwhile."
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
MADE_BY = dict(version=__version__, model=file_hash(WEIGHTS/"attiqa-mini.safetensors")) # as the command says it

@pytest.fixture(scope="module")
def scorer(): return Scorer()

@pytest.fixture
def roll(tmp_path, monkeypatch):
    "Forty small photographs and one that is none, in a folder of the current one."
    monkeypatch.chdir(tmp_path)
    (tmp_path/"roll").mkdir()
    for i in range(40): PHOTO.rotate(9*i).crop((20, 20, 84, 84)).save(tmp_path/"roll"/f"{i:02}.png")
    (tmp_path/"roll/17b.jpg").write_bytes(b"no picture")
    return tmp_path

@pytest.fixture(scope="module")
def processes():
    "Processes that start at once, because torch is imported in the one that they are copies of."
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["attiqa.cli", "attiqa.journal"])
    return context

TABLES = "s.csv", "s.json", "s.parquet"

def words(folder): return ["score", str(folder/"roll"), *(word for name in TABLES for word in (f"--{name[2:]}", str(folder/name)))]

def written(folder): return {name: (folder/name).read_bytes() for name in TABLES}

def lines(path):
    with suppress(FileNotFoundError): return path.read_bytes().count(b"\n")
    return 0

def test_killed_at_ten_instants(roll, processes):
    "Killed, not asked to stop, ten times on the way; then the tables are those of a run that nobody touched."
    assert main(words(roll)) == 1
    whole, journal = written(roll), roll/"s.csv.partial"
    for name in whole: (roll/name).unlink()
    for kill in range(10):
        process = processes.Process(target=main, args=([*words(roll), "--resume"],))
        process.start()
        while lines(journal) < 3 + 3*kill and process.is_alive(): time.sleep(.0005)
        process.kill(), process.join()
        assert process.exitcode == -signal.SIGKILL and lines(journal) >= 3 + 3*kill and not (roll/"s.json").exists()
    assert main([*words(roll), "--resume"]) == 1
    assert written(roll) == whole and not journal.exists()

def test_a_journal_cut_anywhere(roll, scorer):
    names = [str(path) for path in sorted((roll/"roll").iterdir())]
    whole, journal = [*journaled(roll/"j", names, scorer.stream, {})], (roll/"j").read_bytes()
    for cut in np.linspace(0, len(journal), 12, dtype=int):
        (roll/"j").write_bytes(journal[:cut])
        assert list(map(repr, journaled(roll/"j", names, scorer.stream, {}, resume=True))) == list(map(repr, whole))
        assert list(map(repr, read_journal(roll/"j"))) == list(map(repr, whole))

def test_what_changed_meanwhile_is_scored_again(roll, capsys):
    journal = roll/"s.csv.partial"
    names = [str(path.relative_to(roll)) for path in sorted((roll/"roll").iterdir())]
    [*journaled(journal, names[:30], partial(Scorer().stream, also=name_problems()), MADE_BY)]
    PHOTO.crop((0, 0, 50, 50)).save(roll/"roll/20.png")
    (roll/"roll/25.png").unlink()
    assert main(["score", "roll", "--csv", "s.csv", "--resume"]) == 1
    assert main(["score", "roll", "--csv", "anew.csv"]) == 1
    assert (roll/"s.csv").read_bytes() == (roll/"anew.csv").read_bytes()

def test_a_journal_is_read_no_further_ahead_than_a_folder(tmp_path, scorer):
    "Files are taken as they are needed, also where the list has no end."
    PHOTO.save(tmp_path/"a.png")
    taken = []
    endless = (taken.append(1) or str(tmp_path/"a.png") for _ in itertools.repeat(None))
    assert len(list(itertools.islice(journaled(tmp_path/"j", endless, scorer.stream, {}), 3))) == 3
    assert len(taken) <= 3 + READ_AHEAD + 1

def test_a_journal_of_another_model(roll, capsys):
    from attiqa.model import AttributeNet, save_model
    save_model(AttributeNet("resnet10t", 8), roll/"m.safetensors", {})
    [*journaled(roll/"s.csv.partial", ["roll/00.png"], Scorer().stream, MADE_BY)]
    assert main(["score", "roll/00.png", "--csv", "s.csv", "--resume", "--model", "m.safetensors"]) == 2
    assert "another scorer" in capsys.readouterr().err
    assert main(["score", "roll/00.png", "--csv", "s.csv", "--model", "m.safetensors"]) == 0
