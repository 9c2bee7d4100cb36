"The shipped scorer on photographs that it never saw: by what it was taught, and by what it never met."
import pytest, torch
from attiqa.core import WEIGHTS
from attiqa.distort import BROAD, LADDERS, MECHANISMS, random_recipe
from attiqa.images import ImageSource, package_photograph
from attiqa.model import load_model
from attiqa.order import KINDS, NEVER, ladder_qualities, order_tests

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
