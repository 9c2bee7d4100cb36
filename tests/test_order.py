"The shipped scorer on photographs that it never saw: by what it was taught, and by what it never met."
import pytest, torch
from attiqa import order
from attiqa.core import WEIGHTS
from attiqa.distort import BROAD, KINDS, LADDERS, MECHANISMS, NEVER, random_recipe
from attiqa.images import ImageSource, package_photograph
from attiqa.model import AttributeNet, load_model, save_model
from attiqa.order import ladder_qualities, learn_order, order_tests

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "china.jpg", "flower.jpg", "rocket.jpg")

@pytest.fixture(scope="module")
def net(): return load_model(WEIGHTS/"attiqa-mini.safetensors")

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

def test_the_card_shows_what_fails():
    card, picture = (WEIGHTS/"attiqa-mini.md").read_text(encoding="utf-8"), WEIGHTS/"attiqa-mini-failures.jpg"
    assert picture.name in card and picture.stat().st_size < 60_000
    assert (WEIGHTS/"attiqa-mini.safetensors").stat().st_size <= 16e6

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

def test_weight_decay_keeps_it_simple(started):
    def size(name, decay): return load_model(learn_order(run=str(started/name), **SMALL | dict(decay=decay, epochs=20))).regressor[0].weight.norm()
    assert size("b", 30.) < .7*size("a", .01)
