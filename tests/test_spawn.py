"What crosses to a worker process where processes are spawned and not forked (macOS, Windows): all of it is pickled, none of it lives in __main__."
import json, os, subprocess, sys
import numpy as np, pandas as pd, torch
from attiqa.core import cores
from attiqa.crops import Crops, LabelledImages
from attiqa.features import _Pending, of_table, surrogate_images
from attiqa.images import open_source
from attiqa.reproduce import finished

def crops():
    source = open_source("embedded", 3, 0, 64)
    rows = pd.DataFrame([(key, 0, json.dumps([])) for key in source.keys], columns=["key", "variant", "recipe"])
    return Crops(LabelledImages(rows, source, 64, 0), np.arange(3), torch.rand(3, 5), 32, 0)

def files(folder):
    "A table of one's own, of two pictures."
    source = open_source("embedded", 2, 0, 64)
    for i, key in enumerate(source.keys): source.load(key).save(folder/f"{i}.png")
    table = pd.DataFrame(dict(image=[str(folder/f"{i}.png") for i in range(2)], mos=[1., 4.]))
    table.attrs |= dict(low=1., high=5.)
    return of_table(table)

def test_a_spawned_process_gives_the_same(tmp_path):
    parts = torch.utils.data.ConcatDataset([crops(), _Pending(surrogate_images("embedded", 2, 64, 0), [0, 3]), _Pending(files(tmp_path), [0, 1])])
    read = lambda **how: [x if torch.is_tensor(x) else x[0] for x in torch.utils.data.DataLoader(parts, batch_size=None, **how)]
    here, there = read(), read(num_workers=1, multiprocessing_context="spawn")
    assert len(here) == 7 and all(torch.equal(a, b) for a, b in zip(here, there, strict=True))

def test_a_system_without_wait4(monkeypatch):
    monkeypatch.delattr(os, "wait4")
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    assert finished(process) == 0 and process.returncode == 3

def test_a_system_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1
