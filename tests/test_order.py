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

SMALL = dict(source="embedded", count=6, tested=1, size=48, chains=1, rungs=2, first=3, first_epochs=1, epochs=2, batch=2, hidden=8)

@pytest.fixture
def started(tmp_path, monkeypatch):
    "Two runs that begin with the same network."
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    torch.manual_seed(0)
    net = AttributeNet("resnet10t", 8)
    for name in "ab": save_model(net, tmp_path/name/"pretrained.safetensors", {})
    return tmp_path

def test_an_interrupted_training_ends_as_one_that_was_not(started, monkeypatch):
    whole, batches, plain = learn_order(run=str(started/"a"), **SMALL), [], order.Remember.before_batch
    def stop(self):
        batches.append(1)
        if len(batches) == 6: raise KeyboardInterrupt # in the second epoch
        plain(self)
    monkeypatch.setattr(order.Remember, "before_batch", stop)
    with pytest.raises(KeyboardInterrupt): learn_order(run=str(started/"b"), **SMALL)
    monkeypatch.setattr(order.Remember, "before_batch", plain)
    assert learn_order(run=str(started/"b"), **SMALL).read_bytes() == whole.read_bytes()
    assert len((whole.parent/"order_log.csv").read_text().splitlines()) == 3

def test_what_is_held_stays_and_what_learns_moves(started):
    before = load_model(started/"a"/"pretrained.safetensors")
    after = load_model(learn_order(run=str(started/"a"), **SMALL))
    moved = {k for k, v in after.state_dict().items() if k in (old := before.state_dict()) and v.shape == old[k].shape and not torch.equal(v, old[k])}
    assert moved and not any("running" in k or k.startswith(("norm", "backbone.conv1", "backbone.bn1", "backbone.layer1")) for k in moved)
    assert any(k.startswith("backbone.layer4") for k in moved) and any(k.startswith("heads") for k in moved)

def test_heads_are_held_to_what_they_said(started):
    x, before = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)), load_model(started/"a"/"pretrained.safetensors")
    def drift(name, keep):
        after = load_model(learn_order(run=str(started/name), **SMALL | dict(keep=keep, rate=5e-3)))
        with torch.no_grad(): return (after(x) - before(x)).square().mean()
    assert drift("b", 10.) < .5*drift("a", 0.)
