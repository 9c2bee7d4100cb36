"The function `attiqa.score` reads a model's file again if it changed, and only then."
import os
from pathlib import Path
import pytest, torch
import attiqa
from attiqa import AttiqaError, Scorer
from attiqa.images import package_photograph
from attiqa.model import AttributeNet, save_model

PHOTO = package_photograph("chelsea.png").crop((60, 40, 188, 136))
NAME = "m.safetensors"

def save_network(path, shift):
    "A model of random weights whose scores are shifted."
    net = AttributeNet("resnet10t", 8)
    with torch.no_grad(): net.offset.fill_(shift)
    save_model(net, path, {})

def kept_score():
    "By the function, as text, since the quality is NaN."
    return repr(attiqa.score(PHOTO, model=NAME))

def fresh_score():
    "By a scorer that is made anew."
    return repr(Scorer(NAME)(PHOTO))

@pytest.fixture
def scored_model(tmp_path, monkeypatch):
    "A model in the working folder, whose scorer is kept."
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_network(NAME, -2.)
    assert kept_score() == fresh_score()

def test_a_model_file_that_is_replaced(scored_model):
    save_network(NAME, 2.)
    assert kept_score() == fresh_score()

def test_a_model_file_that_is_written_in_place(scored_model):
    "Its inode, size and time stay the same."
    times = os.stat(NAME)
    save_network("later.safetensors", -1.)
    Path(NAME).write_bytes(Path("later.safetensors").read_bytes())
    os.utime(NAME, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert kept_score() == fresh_score()

def test_another_model_file_of_the_same_name(scored_model, tmp_path, monkeypatch):
    (tmp_path/"sub").mkdir()
    monkeypatch.chdir(tmp_path/"sub")
    save_network(NAME, 3.)
    assert kept_score() == fresh_score()

@pytest.mark.parametrize("score", [kept_score, fresh_score])
def test_a_model_file_that_is_removed(scored_model, score):
    Path(NAME).unlink()
    with pytest.raises(AttiqaError, match="no such model file"): score()

def test_a_model_file_that_stays_is_read_once(scored_model, monkeypatch):
    monkeypatch.setattr(attiqa.score, "Scorer", None)
    kept_score()
