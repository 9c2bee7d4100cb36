"Scoring into shards: a run that is killed, resumed or refused, and the same rows on every engine."
import hashlib, multiprocessing, os, shutil, signal, time
from importlib.util import find_spec
from threading import Thread
import numpy as np, pandas as pd, pytest
from attiqa.cli import main
from attiqa.core import ATTRIBUTES, AttiqaError
from attiqa.images import package_photograph
from attiqa.scale import score_source
from attiqa.score import Scorer

PHOTO = package_photograph("chelsea.png").crop((60, 40, 260, 200))
NAMES = ("quality", *ATTRIBUTES)

@pytest.fixture
def roll(tmp_path):
    "Forty small images and a file that is none."
    (tmp_path/"roll").mkdir()
    for i in range(40): PHOTO.rotate(9*i).crop((20, 20, 84, 84)).save(tmp_path/"roll"/f"{i:02}.png")
    (tmp_path/"roll/17b.jpg").write_bytes(b"no picture")
    return tmp_path

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

def score(roll, out, workers=0, shard=4, **options):
    scorer = Scorer(device="cpu")
    return score_source(str(roll/"roll"), roll/out, scorer, shard, workers, quiet=True, **options)

def written(folder):
    "Hashes of all files in a folder."
    digest = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
    return {path.relative_to(folder): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}

def parts(folder): return sorted((folder/"scores").glob("part-*.parquet"))

def test_rows_are_the_scores_of_the_files(roll, scorer):
    rejected, done = score(roll, "out")
    table = pd.concat(map(pd.read_parquet, parts(roll/"out")), ignore_index=True)
    assert (rejected, done.images, done.shards, len(table)) == (1, 41, 11, 40)
    assert list(table.columns) == ["key", *NAMES]
    for row in table.iloc[::7].itertuples():
        expected = scorer(roll/"roll"/row.key)
        assert [getattr(row, name) for name in NAMES] == [getattr(expected, name) for name in NAMES]

def test_rejects_have_a_reason(roll):
    score(roll, "out")
    reject, = pd.read_parquet(roll/"out/rejects.parquet").values.tolist()
    assert reject == ["17b.jpg", "score", "is not a readable image (of no known format)"]

def test_killed_at_twenty_instants(roll):
    "Every file has the bytes of an uninterrupted run, so nothing is lost or doubled."
    score(roll, "whole")
    rng, kills, torn = np.random.default_rng(0), 0, 0
    done = lambda: len(parts(roll/"killed"))
    context = multiprocessing.get_context("fork")
    while kills < 20:
        process = context.Process(target=score, args=(roll, "killed", 2*(kills % 2)))
        process.start()
        goal = done() + rng.integers(0, 4)
        while process.is_alive() and done() < goal: time.sleep(.001)
        process.kill()
        process.join()
        killed = process.exitcode == -signal.SIGKILL
        kills += killed
        torn += killed and 0 < done() < 11
        if not killed or rng.random() < .3: shutil.rmtree(roll/"killed", ignore_errors=True)
    score(roll, "killed")
    assert torn > 3
    assert written(roll/"killed") == written(roll/"whole")

def test_processes_give_the_same_bytes(roll):
    score(roll, "one")
    score(roll, "two", 2)
    assert written(roll/"one") == written(roll/"two")

def test_another_job_is_refused(roll):
    score(roll, "out")
    with pytest.raises(AttiqaError, match="another job.*shard was 4, is 5"): score(roll, "out", shard=5)
    (roll/"roll/00.png").unlink()
    with pytest.raises(AttiqaError, match="came or went"): score(roll, "out")

def test_a_finished_run_scores_nothing_again(roll):
    score(roll, "out")
    before = written(roll/"out")
    assert score(roll, "out")[1].images == 0
    assert written(roll/"out") == before

def test_the_command(roll, monkeypatch, capsys):
    monkeypatch.chdir(roll)
    assert main(["score", "roll", "--out", "out", "--shard", "4", "--workers", "0", "--device", "cpu"]) == 1
    assert "41 images scored now, 1 rejected" in capsys.readouterr().err

REFUSED = [(["roll", "--out", "out", "--csv", "s.csv"], "--out wants one source"),
           (["nowhere", "--out", "out"], "no such folder"),
           (["roll", "--out", "out", "--engine", "steam"], "no engine 'steam'")]

@pytest.mark.parametrize("words, expected", REFUSED)
def test_the_command_refuses(roll, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(roll)
    assert main(["score", *words]) == 2
    assert expected in capsys.readouterr().err

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
    "Two nodes on this machine, of which one is killed while both work."
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
        while work.is_alive() and not parts(roll/"there"): time.sleep(.001)
        done = len(parts(roll/"there"))
        cluster.remove_node(node, allow_graceful=False)
        work.join()
        assert 0 < done < 150 and not node.any_processes_alive()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert written(roll/"here") == written(roll/"there")
