"Scoring into shards: killed at any moment, resumed, refused, the same rows on every engine."
import hashlib, multiprocessing, os, shutil, signal, time
from importlib.util import find_spec
from threading import Thread
import numpy as np, pandas as pd, pytest
from attiqa.cli import main
from attiqa.core import AttiqaError
from attiqa.images import package_photograph
from attiqa.scale import NUMBERS, score_source
from attiqa.score import Scorer

PHOTO = package_photograph("chelsea.png").crop((60, 40, 260, 200))

@pytest.fixture
def roll(tmp_path):
    "Forty small photographs and one that is none."
    (tmp_path/"roll").mkdir()
    for i in range(40): PHOTO.rotate(9*i).crop((20, 20, 84, 84)).save(tmp_path/"roll"/f"{i:02}.png")
    (tmp_path/"roll/17b.jpg").write_bytes(b"no picture")
    return tmp_path

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

def score(roll, out, workers=0, **options): return score_source(str(roll/"roll"), roll/out, Scorer(device="cpu"), 4, workers, quiet=True, **options)

def written(folder): return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}

def rows(folder): return pd.concat(map(pd.read_parquet, sorted((folder/"scores").glob("part-*.parquet"))), ignore_index=True)

def test_rows_are_the_scores_of_the_files(roll, scorer):
    rejected, done = score(roll, "out")
    table = rows(roll/"out")
    assert (rejected, done.images, done.shards, len(table)) == (1, 41, 11, 40) and list(table.columns) == ["key", *NUMBERS]
    for row in table.iloc[::7].itertuples():
        expected = scorer(roll/"roll"/row.key)
        assert [getattr(row, name) for name in NUMBERS] == [getattr(expected, name) for name in NUMBERS]
    assert pd.read_parquet(roll/"out/rejects.parquet").values.tolist() == [["17b.jpg", "score", "is not a readable image (of no known format)"]]

def test_killed_at_twenty_instants(roll):
    "Nothing is lost, nothing comes twice: every file has the bytes of a run that nobody touched."
    score(roll, "whole")
    rng, kills, torn = np.random.default_rng(0), 0, 0
    done = lambda: len(list((roll/"killed/scores").glob("part-*")))
    context = multiprocessing.get_context("fork")
    while kills < 20:
        process = context.Process(target=score, args=(roll, "killed", 2*(kills % 2)))
        process.start()
        goal = done() + rng.integers(0, 4)
        while process.is_alive() and done() < goal: time.sleep(.001)
        process.kill(), process.join()
        killed = process.exitcode == -signal.SIGKILL
        kills += killed
        torn += killed and 0 < done() < 11
        if not killed or rng.random() < .3: shutil.rmtree(roll/"killed", ignore_errors=True)
    score(roll, "killed")
    assert torn > 3 and written(roll/"killed") == written(roll/"whole")

def test_processes_give_the_same_bytes(roll):
    score(roll, "one"), score(roll, "two", 2)
    assert written(roll/"one") == written(roll/"two")

def test_another_job_is_refused(roll):
    score(roll, "out")
    with pytest.raises(AttiqaError, match="another job.*shard was 4, is 5"): score_source(str(roll/"roll"), roll/"out", Scorer(device="cpu"), 5, 0, quiet=True)
    (roll/"roll/00.png").unlink()
    with pytest.raises(AttiqaError, match="came or went"): score(roll, "out")

def test_a_finished_run_scores_nothing_again(roll):
    score(roll, "out")
    before = written(roll/"out")
    assert score(roll, "out")[1].images == 0 and written(roll/"out") == before

def test_the_command(roll, monkeypatch, capsys):
    monkeypatch.chdir(roll)
    assert main(["score", "roll", "--out", "out", "--shard", "4", "--workers", "0", "--device", "cpu"]) == 1
    assert "41 images scored now, 1 rejected" in capsys.readouterr().err
    assert main(["score", "roll", "--out", "out", "--csv", "s.csv"]) == 2 and "--out wants one source" in capsys.readouterr().err
    assert main(["score", "nowhere", "--out", "out2"]) == 2 and "no such folder" in capsys.readouterr().err
    assert main(["score", "roll", "--out", "out2", "--engine", "steam"]) == 2 and "no engine 'steam'" in capsys.readouterr().err

@pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed")
def test_ray_gives_the_same_rows(roll):
    import ray
    score(roll, "here")
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        score(roll, "there", -1, engine="ray")
    finally: ray.shutdown()
    assert written(roll/"here") == written(roll/"there")

@pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed")
def test_a_cluster_loses_a_machine_and_no_row(roll):
    "Two nodes on this machine; one is killed while both are at work."
    import ray
    from ray.cluster_utils import Cluster
    for path in sorted((roll/"roll").glob("*.png")):
        for copy in range(15): os.link(path, path.with_name(f"{path.stem}-{copy}.png"))
    score(roll, "here")
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False))
    node = cluster.add_node(num_cpus=1)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        work = Thread(target=score, args=(roll, "there", -1), kwargs=dict(engine="ray"))
        work.start()
        while work.is_alive() and not list((roll/"there/scores").glob("part-*")): time.sleep(.001)
        done = len(list((roll/"there/scores").glob("part-*")))
        cluster.remove_node(node, allow_graceful=False)
        work.join()
        assert 0 < done < 150 and not node.any_processes_alive()
    finally: ray.shutdown(), cluster.shutdown()
    assert written(roll/"here") == written(roll/"there")
