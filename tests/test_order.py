"The scorer that order alone taught, on photographs that it never saw: by what it was taught, and by what it never met."
import pytest, torch
from attiqa import order
from attiqa.core import AttiqaError, scorer_file
from attiqa.distort import BROAD, KINDS, LADDERS, MECHANISMS, NEVER, random_recipe
from attiqa.finetune import logits_of
from attiqa.images import ImageSource, open_source, package_photograph
from attiqa.model import AttributeNet, load_model, save_model
from attiqa.order import ladder_qualities, learn_order, order_tests
from attiqa.score import UNAWARE, Scorer

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "china.jpg", "flower.jpg", "rocket.jpg")

@pytest.fixture(scope="module")
def net(): return load_model(scorer_file(UNAWARE))

def values_of(net, names):
    found = ladder_qualities(net, ImageSource("photographs", PHOTOS, package_photograph), names, 192, 0)
    assert found.shape == (len(PHOTOS), len(names), 6)
    return order_tests(found).set_index("test").value

def test_the_ladders_of_the_attributes(net):
    value = values_of(net, tuple(LADDERS.values()))
    assert value.D >= .75 and value.L >= .93 and value.P >= .97

def test_distortions_kept_out_of_training(net):
    value = values_of(net, NEVER)
    assert value.D >= .7 and value.L >= .8 and value.P >= .9

def test_kinds_are_apart_and_recipes_draw_the_eighteen():
    names = [name for kind in KINDS.values() for name in kind]
    assert sorted(names) == sorted({*MECHANISMS, *BROAD}) and len(MECHANISMS) == 18
    assert not {name for i in range(200) for name, _ in random_recipe(i)} & set(BROAD)

def test_quality_alone_and_in_a_batch(net):
    x = torch.rand(5, 3, 96, 80, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(): assert (net.quality(x) - torch.cat([net.quality(one[None]) for one in x])).abs().max() < 1e-5

SMALL = dict(source="embedded", count=6, tested=1, size=48, chains=1, rungs=2, draws=2, hidden=8, epochs=2, batch=2)

@pytest.fixture
def started(tmp_path, monkeypatch):
    "Two runs that begin with the same network."
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    torch.manual_seed(0)
    net = AttributeNet("resnet10t", 8)
    for name in "ab": save_model(net, tmp_path/name/"pretrained.safetensors", {})
    return tmp_path

def test_an_interrupted_reading_ends_as_one_that_was_not(started, monkeypatch):
    read, plain = [], order.Chains.__getitem__
    def count(self, i):
        read.append((self.epoch, i))
        return plain(self, i)
    def stop(self, i):
        if (self.epoch, i) == (1, 3): raise KeyboardInterrupt # in the second draw
        return count(self, i)
    monkeypatch.setattr(order.Chains, "__getitem__", count)
    whole = learn_order(run=str(started/"a"), **SMALL)
    assert sorted(read) == [(draw, i) for draw in range(2) for i in range(6)]
    monkeypatch.setattr(order.Chains, "__getitem__", stop)
    with pytest.raises(KeyboardInterrupt): learn_order(run=str(started/"b"), **SMALL)
    monkeypatch.setattr(order.Chains, "__getitem__", count)
    read.clear()
    assert learn_order(run=str(started/"b"), **SMALL).read_bytes() == whole.read_bytes()
    assert {draw for draw, _ in read} == {1} # the first draw was kept

def test_only_quality_learns(started):
    before, x = load_model(started/"a"/"pretrained.safetensors"), torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    after = load_model(learn_order(run=str(started/"a"), **SMALL))
    old, new = before.state_dict(), after.state_dict()
    assert {k for k in new if k not in old or not torch.equal(new[k], old[k])} == {k for k in new if k.startswith("regressor")}
    with torch.no_grad(): assert torch.equal(after(x), before(x))

def test_a_linear_regressor_and_few_mechanisms(started):
    settings = SMALL | dict(linear=True, few="resaved low_light")
    before, after = (load_model(path) for path in (started/"a"/"pretrained.safetensors", learn_order(run=str(started/"a"), **settings)))
    assert len(after.regressor) == 1 and after.settings["linear"]
    with torch.no_grad(): assert torch.equal(after(x := torch.rand(2, 3, 64, 64)), before(x))
    with pytest.raises(AttiqaError, match="no mechanism 'fog'"): learn_order(run=str(started/"b"), **settings | dict(few="fog"))

def test_what_few_mechanisms_say_across_counts_and_the_others_do_not():
    "One feature follows the level of the few everywhere, another that of all others; only the first orders photographs."
    torch.manual_seed(0)
    net = order.with_regressor(AttributeNet("resnet10t", 8), linear=True)
    levels = torch.tensor([1., .6, .1]).expand(40, 3)
    def maps(place): # of the two, which one says it; scenes differ more than rungs
        x = torch.randn(40, 3, net.norm.num_features)*.1
        x[..., place] = levels + .02*torch.randn(40, 3)
        x[..., 1 - place] = torch.randn(40, 1)
        return x
    fit = lambda *lessons: order.fit_order(net, lessons, 1, 40, 8, 1e-2, .1)
    fit(order.Lesson(maps(1), levels, 0., 0.), order.Lesson(maps(0), levels, 0., 1.)) # nothing but the order across
    x = torch.zeros(3, net.norm.num_features)
    x[1, 0] = x[2, 1] = 1
    none, few, others = net.regressor(torch.cat(net.embed(x), 1))[:, 0]
    assert few - none > max(.1, 5*(others - none).abs())

def test_ordinary_photographs_set_the_scale(started):
    path = learn_order(run=str(started/"a"), **SMALL | dict(ordinary="embedded"))
    net, source = load_model(path), open_source("embedded")
    assert net.card["scores"]["ordinary"] == len(source) and "better than 70 % of ordinary photographs" in Scorer(path).describe()
    quality = torch.sigmoid(logits_of(net, source))
    assert abs(quality.mean() - .5) < .1 and quality.min() < .25 and quality.max() > .75

def test_weight_decay_keeps_it_simple(started):
    def size(name, decay): return load_model(learn_order(run=str(started/name), **SMALL | dict(decay=decay, epochs=20))).regressor[0].weight.norm()
    assert size("b", 30.) < .7*size("a", .01)
