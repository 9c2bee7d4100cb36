"Two processes train as one does; a run's parameters come from the command line and from presets."
import os, subprocess, sys
import numpy as np, pandas as pd, pytest, torch
from safetensors.torch import load_file
from attiqa.core import AttiqaError
from attiqa.crops import BatchOrder
from attiqa.distributed import read_parameters
from attiqa.pretrain import pretrain
from attiqa.runs import stage_settings
from conftest import ROOT
from pretraining import label, parameter_words, settings

ENV = dict(PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", ATTIQA_SMOKE="0")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]

def launch(count, *words):
    "Start processes as torchrun does, on this machine."
    runner = [*TORCHRUN, str(count)] if count > 1 else []
    done = subprocess.run([sys.executable, *runner, *words], cwd=ROOT, env=os.environ | ENV,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]

@pytest.mark.parametrize("loss", ["margin", "fidelity"])
def test_two_processes_give_the_loss_and_gradients_of_one(tmp_path, loss):
    files = {count: tmp_path/f"{count}.pt" for count in (1, 2)}
    for count, file in files.items(): launch(count, str(ROOT/"tests"/"batch_share.py"), loss, str(file))
    one, two = (torch.load(file, weights_only=True) for file in files.values())
    assert torch.isclose(one["loss"], two["loss"], rtol=1e-9)
    assert one["grads"].keys() == two["grads"].keys()
    assert len(one["grads"]) > 20
    for part in ("grads", "state"):
        for name, value in one[part].items():
            assert torch.allclose(value, two[part][name], rtol=1e-5, atol=1e-9), name

FITTED = {"gain", "offset"} # least squares on scalars that hardly differ yet: not compared

def test_two_processes_train_as_one_does(tmp_path):
    "The whole stage by torchrun: same batches, batch norm over the whole batch, same weights up to rounding."
    labels, runs = label(tmp_path/"labels"), {count: tmp_path/str(count) for count in (1, 2)}
    for count, run in runs.items():
        launch(count, "-m", "attiqa.pretrain", *parameter_words(settings(run, labels, epochs=1)))
    one, two = (pd.read_csv(run/"pretrain_log.csv").filter(like="loss") for run in runs.values())
    assert np.allclose(one, two, rtol=1e-3)
    a, b = (load_file(run/"pretrained.safetensors") for run in runs.values())
    assert all(torch.allclose(a[name].float(), b[name].float(), atol=2e-3) for name in a.keys() - FITTED)

def test_a_batch_that_cannot_be_shared():
    with pytest.raises(AttiqaError, match="give no batch for 9 processes"): BatchOrder(8, 4, size=9)

PRESETS = sorted((ROOT/"nbs"/"presets").glob("*.yaml"))

def test_presets_are_there():
    assert {"paper.yaml", "photos.yaml"} <= {file.name for file in PRESETS}

@pytest.mark.parametrize("file", PRESETS, ids=lambda file: file.stem)
def test_presets_are_parameters_of_the_stage(file):
    stage_settings(read_parameters(["-f", str(file)]), set(), pretrain)
