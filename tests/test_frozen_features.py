"Frozen features: their cache, views of an image, and the models that can be named."
import importlib, os
import numpy as np, pytest, torch
from attiqa.benchmark import JoinedDatasets, methods_of, probe_protocols, unaware_protocol
from attiqa.core import AttiqaError, seed_all
from attiqa.features import Model, brisque_features, frozen_features, load_frozen, image_views, network_model
from attiqa.features import images_from_table, features_folder
from attiqa.images import to_image
from attiqa.model import AttributeNet
from scored_sets import noise_model, noisy, release, two_sets

@pytest.fixture(scope="module")
def pair(tmp_path_factory): return two_sets(tmp_path_factory.mktemp("sets"))

@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTIQA_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"

def test_an_image_is_read_once(pair, cache):
    model, calls = noise_model()
    first = frozen_features(model, pair[0])
    assert len(calls) == 36
    assert (frozen_features(model, pair[0]) == first).all()
    assert len(calls) == 36
    assert (frozen_features(model, pair[0], "crops:2:32")[:, 0] != first[:, 0]).any()
    assert len(calls) == 36 + 4*36

def test_a_changed_image_is_read_again_and_a_moved_one_is_not(tmp_path, cache):
    model, calls = noise_model()
    table = release(tmp_path/"set", 6)
    before = frozen_features(model, images_from_table(table))
    to_image(noisy(40)).save(table.image[2])
    (tmp_path/"elsewhere").mkdir()
    os.rename(table.image[4], tmp_path/"elsewhere"/"moved.png")
    table.loc[4, "image"] = str(tmp_path/"elsewhere"/"moved.png")
    after = frozen_features(model, images_from_table(table))
    assert len(calls) == 7
    assert [*np.flatnonzero((before != after).any(1))] == [2]

def test_a_killed_pass_resumes(tmp_path, cache, monkeypatch):
    monkeypatch.setattr("attiqa.features.IMAGES_PER_FILE", 4)
    data, calls = images_from_table(release(tmp_path/"set", 12)), []
    def dies_once(x):
        calls.append(1)
        if len(calls) == 10: raise KeyboardInterrupt
        return x.mean().reshape(1)
    model = Model("toy", dies_once, "toy 2")
    with pytest.raises(KeyboardInterrupt): frozen_features(model, data)
    found = frozen_features(model, data)
    assert len(calls) == 10 + 4
    assert found.shape == (12, 1)
    for file in features_folder(model, data.name, "whole").iterdir(): file.write_bytes(file.read_bytes()[:50])
    assert (frozen_features(model, data) == found).all(), "a damaged file is made again"

def test_other_weights_are_another_model():
    def model(seed, name):
        seed_all(seed)
        return network_model(AttributeNet("resnet10t", 8), name)
    one, same, two = model("one", "one"), model("one", "other name"), model("two", "one")
    assert one.fingerprint == same.fingerprint != two.fingerprint

@pytest.mark.parametrize("shape", [(300, 200), (90, 400), (50, 60)])
def test_views(shape):
    x = torch.rand(3, *shape)
    assert image_views(x)[0] is x
    assert min(image_views(x, "short:64")[0].shape[1:]) == 64
    crops = image_views(x, "crops:3:80")
    assert len(crops) == 9
    assert {c.shape for c in crops} == {(3, 80, 80)}
    assert len(image_views(x, "short:100+crops:2:64")) == 4

@pytest.mark.parametrize("shape", [(300, 200), (90, 400)])
def test_crops_reach_the_corners(shape):
    x = torch.rand(3, *shape)
    crops = image_views(x, "crops:3:80")
    assert (crops[0] == x[:, :80, :80]).all()
    assert (crops[8] == x[:, -80:, -80:]).all()
    assert (image_views(x, "crops:1:80")[0] != crops[0]).any()

@pytest.mark.parametrize("wrong", ["half", "short", "short:0", "crops:2", "crops:2:-3", "whole+"])
def test_wrong_views(wrong):
    with pytest.raises(AttiqaError, match="no way"): image_views(torch.rand(3, 90, 90), wrong)

def test_brisque_is_what_piq_scores_from():
    "piq's score needs a download; the features that it scores are compared."
    theirs = importlib.import_module("piq.brisque")
    seen, x = {}, noisy(4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "_score_svr", lambda f: seen.update(f=f) or f.sum(1))
        theirs.brisque(x[None])
    torch.testing.assert_close(theirs._scale_features(brisque_features(x)[None]), seen["f"])

@pytest.fixture
def own_models(tmp_path, monkeypatch):
    "A module of the user's own with two functions."
    code = "def bright(x): return x.mean()\ndef vector(x): return x.mean((1, 2))\n"
    (tmp_path/"mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

def test_any_function_enters(own_models, tmp_path, pair, cache):
    score, vector = load_frozen("call:mine:bright"), load_frozen("mine=call:mine:vector")
    assert score.scores == ("score",)
    assert (vector.name, vector.scores) == ("mine", ())
    assert [m.probe for m in methods_of(vector)] == ["ridge"]
    sets = JoinedDatasets(pair[:1], 2, 0, tmp_path/"splits")
    assert len(probe_protocols(sets, methods_of(vector)[0], sets.read(vector))) == 2

def test_a_metric_of_torchmetrics_enters(tmp_path, pair, cache):
    ready = load_frozen("torchmetrics:total_variation:-")
    assert ready.scores == ("score",)
    sets = JoinedDatasets(pair[:1], 2, 0, tmp_path/"splits")
    assert unaware_protocol(sets, ready, sets.read(ready)).srcc[0] > .5, "total variation measures noise"

@pytest.mark.parametrize("name, message", [
    ("atiqa", "no model"), ("call:nowhere:f", "cannot be imported"), ("torchmetrics:none", "no image metric"),
    ("timm:none", "no backbone"), ("untrained:resnet10t:0:1", "other words"),
    ("missing.safetensors", "no such model file")])
def test_a_wrong_model_is_one_line(name, message):
    with pytest.raises(AttiqaError, match=message) as error: load_frozen(name)
    assert "\n" not in str(error.value)
