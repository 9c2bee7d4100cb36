"Quality learned from order: the shipped scorer on other photographs, and the stage at test size."
import pytest, torch
from attiqa import order
from attiqa.core import AttiqaError, scorer_file
from attiqa.distort import BROAD_MECHANISMS, HELD_OUT_MECHANISMS, LADDERS, MECHANISM_SETS, MECHANISMS
from attiqa.distort import random_recipe
from attiqa.finetune import quality_logits
from attiqa.images import ImageSource, open_source, package_photograph
from attiqa.model import AttributeNet, load_model, save_model
from attiqa.order import ladder_qualities, learn_order, order_tests
from attiqa.score import UNAWARE, Scorer

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "china.jpg", "flower.jpg", "rocket.jpg")

@pytest.fixture(scope="module")
def net(): return load_model(scorer_file(UNAWARE))

def values_of(net, names):
    source = ImageSource("photographs", PHOTOS, package_photograph)
    found = ladder_qualities(net, source, names, 192, 0)
    assert found.shape == (len(PHOTOS), len(names), 6)
    return order_tests(found).set_index("test").value

def test_the_ladders_of_the_attributes(net):
    value = values_of(net, tuple(LADDERS.values()))
    assert value.D >= .75
    assert value.L >= .93
    assert value.P >= .97

def test_held_out_distortions(net):
    value = values_of(net, HELD_OUT_MECHANISMS)
    assert value.D >= .7
    assert value.L >= .8
    assert value.P >= .9

def test_kinds_are_disjoint_and_recipes_draw_the_eighteen():
    names = [name for kind in MECHANISM_SETS.values() for name in kind]
    assert sorted(names) == sorted({*MECHANISMS, *BROAD_MECHANISMS})
    assert len(MECHANISMS) == 18
    drawn = {name for i in range(200) for name, _ in random_recipe(i)}
    assert not drawn & set(BROAD_MECHANISMS)

def test_quality_alone_and_in_a_batch(net):
    x = torch.rand(5, 3, 96, 80, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        alone = torch.cat([net.quality(one[None]) for one in x])
        assert (net.quality(x) - alone).abs().max() < 1e-5

SMALL = dict(source="embedded", count=6, tested=1, size=48, chains=1, rungs=2, draws=2, hidden=8, epochs=2,
             batch=2)

@pytest.fixture
def started(tmp_path, monkeypatch):
    "A folder of two runs that begin with the same network."
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    torch.manual_seed(0)
    net = AttributeNet("resnet10t", 8)
    for name in "ab": save_model(net, tmp_path/name/"pretrained.safetensors", {})
    return tmp_path

def learned(folder, name, **changes):
    "The scorer that a run of test size learns."
    return learn_order(run=str(folder/name), **SMALL | changes)

@pytest.fixture
def reads(monkeypatch):
    "Draws and images that are read; the test may set where reading stops."
    plain, found = order.Chains.__getitem__, dict(read=[], stop=None)
    def read(self, i):
        if (self.epoch, i) == found["stop"]: raise KeyboardInterrupt
        found["read"].append((self.epoch, i))
        return plain(self, i)
    monkeypatch.setattr(order.Chains, "__getitem__", read)
    return found

def test_an_interrupted_run_resumes(started, reads):
    whole = learned(started, "a")
    assert sorted(reads["read"]) == [(draw, i) for draw in range(2) for i in range(6)]
    reads["stop"] = 1, 3 # in the second draw
    with pytest.raises(KeyboardInterrupt): learned(started, "b")
    reads |= dict(stop=None, read=[])
    assert learned(started, "b").read_bytes() == whole.read_bytes()
    assert {draw for draw, _ in reads["read"]} == {1}, "the first draw was kept"

def test_only_quality_learns(started):
    before = load_model(started/"a"/"pretrained.safetensors")
    after = load_model(learned(started, "a"))
    old, new = before.state_dict(), after.state_dict()
    changed = {k for k in new if k not in old or not torch.equal(new[k], old[k])}
    assert changed == {k for k in new if k.startswith("regressor")}
    x = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(): assert torch.equal(after(x), before(x))

def test_a_linear_regressor_and_few_mechanisms(started):
    before = load_model(started/"a"/"pretrained.safetensors")
    after = load_model(learned(started, "a", linear=True, few="resaved low_light"))
    assert len(after.regressor) == 1
    assert after.settings["linear"]
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad(): assert torch.equal(after(x), before(x))

def test_an_unknown_mechanism(started):
    with pytest.raises(AttiqaError, match="no mechanism 'fog'"): learned(started, "b", few="fog")

def toy_maps(width, levels, place):
    "Responses in which one of two features follows the level; scenes differ more than rungs."
    x = torch.randn(40, 3, width)*.1
    x[..., place] = levels + .02*torch.randn(40, 3)
    x[..., 1 - place] = torch.randn(40, 1)
    return x

def test_only_the_few_mechanisms_order_images():
    "One feature follows the level of the few mechanisms, another that of all others."
    torch.manual_seed(0)
    net = order.with_regressor(AttributeNet("resnet10t", 8), linear=True)
    width, levels = net.norm.num_features, torch.tensor([1., .6, .1]).expand(40, 3)
    others = order.OrderTask(toy_maps(width, levels, 1), levels, 0., 0.)
    few = order.OrderTask(toy_maps(width, levels, 0), levels, 0., 1.) # only the order across images
    order.fit_order(net, [others, few], 1, 40, 8, 1e-2, .1)
    x = torch.zeros(3, width)
    x[1, 0] = x[2, 1] = 1
    none, by_few, by_others = net.regressor(torch.cat(net.embed(x), 1))[:, 0]
    assert by_few - none > max(.1, 5*(by_others - none).abs())

def test_ordinary_photographs_set_the_scale(started):
    path = learned(started, "a", ordinary="embedded")
    net, source = load_model(path), open_source("embedded")
    assert net.card["scores"]["ordinary"] == len(source)
    assert "better than 70 % of ordinary photographs" in Scorer(path).describe()
    quality = torch.sigmoid(quality_logits(net, source))
    assert abs(quality.mean() - .5) < .1
    assert quality.min() < .25
    assert quality.max() > .75

def test_weight_decay_keeps_the_regressor_simple(started):
    def size(name, decay):
        net = load_model(learned(started, name, decay=decay, epochs=20))
        return net.regressor[0].weight.norm()
    assert size("b", 30.) < .7*size("a", .01)
