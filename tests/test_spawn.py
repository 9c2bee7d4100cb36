"""Systems that lack what Linux has.

Where processes are spawned (macOS, Windows), everything that a worker process needs is pickled, and none
of it lives in __main__. Some systems have neither os.wait4 nor os.sched_getaffinity."""
import json, os, subprocess, sys
import numpy as np, pandas as pd, torch
from torch.utils.data import ConcatDataset, DataLoader
from attiqa.core import cores
from attiqa.crops import Crops, LabelledImages
from attiqa.features import _Pending, images_from_table, surrogate_images
from attiqa.images import open_source
from attiqa.reproduce import wait_for_process

def training_crops():
    source = open_source("embedded", 3, 0, 64)
    rows = [(key, 0, json.dumps([])) for key in source.keys]
    table = pd.DataFrame(rows, columns=["key", "variant", "recipe"])
    return Crops(LabelledImages(table, source, 64, 0), np.arange(3), torch.rand(3, 5), 32, 0)

def images_of_a_table(folder):
    "Two images, saved in a folder and listed in somebody's own table."
    source = open_source("embedded", 2, 0, 64)
    files = [str(folder/f"{i}.png") for i in range(2)]
    for file, key in zip(files, source.keys): source.load(key).save(file)
    table = pd.DataFrame(dict(image=files, mos=[1., 4.]))
    table.attrs |= dict(low=1., high=5.)
    return images_from_table(table)

def loaded(data, **options):
    "The tensors of a data set, item by item."
    loader = DataLoader(data, batch_size=None, **options)
    return [item if torch.is_tensor(item) else item[0] for item in loader]

def test_a_spawned_process_gives_the_same(tmp_path):
    data = ConcatDataset([
        training_crops(),
        _Pending(surrogate_images("embedded", 2, 64, 0), [0, 3]),
        _Pending(images_of_a_table(tmp_path), [0, 1])])
    here, there = loaded(data), loaded(data, num_workers=1, multiprocessing_context="spawn")
    assert len(here) == 7
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))

def test_a_system_without_wait4(monkeypatch):
    monkeypatch.delattr(os, "wait4")
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    assert wait_for_process(process) == 0
    assert process.returncode == 3

def test_a_system_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1
