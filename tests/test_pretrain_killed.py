"A pretraining that is killed, and run again, ends as an undisturbed one."
import json, os, signal, subprocess, sys, time
import pytest
from attiqa.pretrain import pretrain
from conftest import ROOT
from pretraining import GENTLE, label, outputs, parameter_words, settings, train

ENV = os.environ | dict(PYTHONPATH=str(ROOT))
PROGRAM = ROOT/"tests"/"kill_pretraining.py"

@pytest.fixture(scope="module")
def labelled(tmp_path_factory): return label(tmp_path_factory.mktemp("labels"))

@pytest.fixture(scope="module")
def undisturbed(labelled, tmp_path_factory):
    run = tmp_path_factory.mktemp("undisturbed")
    train(run, labelled, ema=.9)
    return outputs(run)

def killed(moment, **options):
    command = [sys.executable, PROGRAM, moment, json.dumps(options)]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]

@pytest.mark.parametrize("moment", "step:1 step:3 step:7 validate:0 write:1 write:3 end:0".split())
def test_a_killed_run_ends_as_an_undisturbed_one(labelled, undisturbed, run, moment):
    options = settings(run, labelled, ema=.9)
    killed(moment, **options)
    assert not (run/"pretrained.safetensors").exists()
    pretrain(**options)
    assert outputs(run) == undisturbed
    assert not [path for path in run.rglob(".*") if path.is_file()]
    assert not list(run.rglob("state.safetensors"))

def test_a_killed_run_that_holds_features_ends_as_an_undisturbed_one(labelled, tmp_path):
    options = GENTLE | dict(average=.5, truth="recipes")
    train(tmp_path/"whole", labelled, **options)
    killed("step:3", **settings(tmp_path/"killed", labelled, **options))
    train(tmp_path/"killed", labelled, **options)
    assert outputs(tmp_path/"killed") == outputs(tmp_path/"whole")

def changed_at(path):
    "When a file changed, 0 where it is missing."
    return path.stat().st_mtime_ns if path.exists() else 0

def kill_after_a_checkpoint(run, options):
    "Start the stage by its command, and kill it as soon as it has written a checkpoint."
    state = run/"pretraining"/"state.safetensors"
    before = changed_at(state)
    command = [sys.executable, "-m", "attiqa.pretrain", *parameter_words(options)]
    process = subprocess.Popen(command, cwd=ROOT, env=ENV | dict(ATTIQA_SMOKE="0"))
    while changed_at(state) == before and process.poll() is None: time.sleep(.01)
    process.kill()
    process.wait()

def test_killed_at_a_moment_nobody_chose(labelled, undisturbed, run):
    "Twice, each time a little later; workers load the crops, which changes nothing."
    options = settings(run, labelled, ema=.9, workers=2, checkpoint=1)
    for _ in range(2): kill_after_a_checkpoint(run, options)
    pretrain(**options)
    assert outputs(run) == undisturbed
