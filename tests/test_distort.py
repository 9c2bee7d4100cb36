"Mechanisms: severity alone changes along a ladder, on any shape, and the same pixels come back every time."
import numpy as np, pytest, torch
from attiqa.distort import BROAD, EVERY, NEVER, apply_recipe, ladder
from attiqa.images import crop_center, package_photograph, to_tensor

PHOTOS = {name: to_tensor(crop_center(package_photograph(name), 160)) for name in ("chelsea.png", "coffee.png", "flower.jpg")}
PHOTONS = {"poisson_noise", "low_light"} # a Poisson draw takes as many random numbers as its rate wants

def change(x, rungs): return (rungs - x).abs().mean((1, 2, 3))

@pytest.mark.parametrize("name", EVERY)
def test_a_stronger_rung_changes_more(name):
    for key, x in PHOTOS.items():
        rungs = ladder(x, name, "test", key)
        assert (change(x, rungs).diff() > 0).all(), key
        assert rungs.min() >= 0 and rungs.max() <= 1

@pytest.mark.parametrize("name", sorted({*EVERY} - PHOTONS))
def test_severity_does_not_change_what_is_drawn(name):
    def state_after(severity):
        rng = np.random.default_rng(0)
        EVERY[name].apply(PHOTOS["flower.jpg"].double(), severity, rng)
        return rng.bit_generator.state
    assert all(state_after(severity) == state_after(1) for severity in (.01, .3, .7))

@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("shape", [(32, 32), (33, 70), (150, 47)])
def test_any_shape(name, shape):
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    for severity in (.001, 1):
        found = apply_recipe(x, [(name, severity)], "test")
        assert found.shape == x.shape and found.isfinite().all()

@pytest.mark.parametrize("name", EVERY)
def test_threads_do_not_change_a_pixel(name):
    x, before = PHOTOS["coffee.png"], torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(apply_recipe(x, [(name, .6)], "test"))
    finally: torch.set_num_threads(before)
    assert torch.equal(*found)

@pytest.mark.parametrize("name", ["lost_blocks", "spatter", "hot_pixels"])
def test_what_is_hit_on_a_mild_rung_is_hit_on_a_strong_one(name):
    x = PHOTOS["chelsea.png"]
    mild, strong = ((apply_recipe(x, [(name, severity)], "test") != x).any(0) for severity in (.3, .9))
    assert mild.any() and not (mild & ~strong).any() and strong.sum() > 2*mild.sum()

def test_lost_blocks_are_whole_and_few_at_first():
    x = torch.rand(3, 160, 160, generator=torch.Generator().manual_seed(0))
    def lost(severity):
        hit = (apply_recipe(x, [("lost_blocks", severity)], "test") != apply_recipe(x, [])).any(0)
        return hit.view(10, 16, 10, 16).double().mean((1, 3))
    assert set(lost(1).round().flatten().tolist()) == {0, 1}
    assert lost(.01).round().sum() == 1 and lost(1).round().sum() == 45

def test_the_newer_mechanisms_take_a_place_among_the_attributes_and_are_not_the_kept_out_ones():
    names = list(BROAD)
    faults = names[names.index("depth_blur"):]
    assert len(faults) == 19 and not {*faults} & {*NEVER}
    assert {BROAD[name].attribute for name in faults} >= {"sharpness", "contrast", "brightness", "noisiness"}
    assert NEVER == ("motion_path", "demosaic_noise", "webp", "banding", "flare", "colour_fringe")

def test_a_blur_that_grows_with_depth_leaves_one_side_sharp():
    x = PHOTOS["chelsea.png"]
    kept = (apply_recipe(x, [("depth_blur", 1.)], "test") - x).abs().mean(0).view(5, 32, 5, 32).mean((1, 3))
    assert kept.min() < .1*kept.max()

@pytest.mark.parametrize("name", ["zoom_blur", "rotation_blur"])
def test_a_turn_or_zoom_moves_the_border_most(name):
    dots = torch.zeros(3, 161, 161)
    dots[:, ::20, ::20] = 1
    left = apply_recipe(dots, [(name, .6)], "test")[0, ::20, ::20] # what is left of each dot where it was
    row, column = divmod(int(left.argmax()), 9)
    assert 2 <= row <= 6 and 2 <= column <= 6 # the centre is drawn from the middle of the image
    assert left.max() > 2*left[[0, 0, -1, -1], [0, -1, 0, -1]].max()
