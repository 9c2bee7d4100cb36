"Mechanisms: severity alone changes along a ladder, on any shape, and the same pixels come back every time."
import numpy as np, pytest, torch
from attiqa.distort import ALL_MECHANISMS, BROAD_MECHANISMS, HELD_OUT_MECHANISMS, apply_recipe, ladder
from attiqa.images import crop_center, package_photograph, to_tensor

PHOTOS = {name: to_tensor(crop_center(package_photograph(name), 160))
          for name in ("chelsea.png", "coffee.png", "flower.jpg")}
PHOTONS = {"poisson_noise", "low_light"} # the rate of a Poisson draw decides how many random numbers it takes
FAULTS = list(BROAD_MECHANISMS)[list(BROAD_MECHANISMS).index("depth_blur"):]

def distorted(image, name, severity):
    return apply_recipe(image, [(name, severity)], "test")

@pytest.fixture(scope="module")
def random_image():
    return torch.rand(3, 160, 160, generator=torch.Generator().manual_seed(0))

@pytest.mark.parametrize("name", ALL_MECHANISMS)
def test_a_stronger_rung_changes_more(name):
    for key, image in PHOTOS.items():
        rungs = ladder(image, name, "test", key)
        change = (rungs - image).abs().mean((1, 2, 3))
        assert (change.diff() > 0).all(), key
        assert rungs.min() >= 0 and rungs.max() <= 1

def state_after(name, severity):
    "State of the random numbers after a mechanism drew its own."
    rng = np.random.default_rng(0)
    ALL_MECHANISMS[name].apply(PHOTOS["flower.jpg"].double(), severity, rng)
    return rng.bit_generator.state

@pytest.mark.parametrize("name", sorted({*ALL_MECHANISMS} - PHOTONS))
def test_severity_does_not_change_what_is_drawn(name):
    assert all(state_after(name, severity) == state_after(name, 1) for severity in (.01, .3, .7))

@pytest.mark.parametrize("name", ALL_MECHANISMS)
@pytest.mark.parametrize("shape", [(32, 32), (33, 70), (150, 47)])
def test_any_shape(name, shape):
    image = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    for severity in (.001, 1):
        found = distorted(image, name, severity)
        assert found.shape == image.shape
        assert found.isfinite().all()

@pytest.fixture
def threads():
    "Restores the number of threads."
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)

@pytest.mark.parametrize("name", ALL_MECHANISMS)
def test_threads_do_not_change_a_pixel(name, threads):
    found = []
    for count in (1, 2):
        threads(count)
        found.append(distorted(PHOTOS["coffee.png"], name, .6))
    assert torch.equal(*found)

@pytest.mark.parametrize("name", ["lost_blocks", "spatter", "hot_pixels"])
def test_what_is_hit_on_a_mild_rung_is_hit_on_a_strong_one(name):
    image = PHOTOS["chelsea.png"]
    mild, strong = ((distorted(image, name, severity) != image).any(0) for severity in (.3, .9))
    assert mild.any()
    assert not (mild & ~strong).any()
    assert strong.sum() > 2*mild.sum()

def lost_share(image, severity):
    "Share of changed pixels in each block of 16x16."
    changed = (distorted(image, "lost_blocks", severity) != apply_recipe(image, [])).any(0)
    return changed.view(10, 16, 10, 16).double().mean((1, 3))

def test_lost_blocks_are_whole(random_image):
    assert set(lost_share(random_image, 1).round().flatten().tolist()) == {0, 1}

def test_few_blocks_are_lost_at_first(random_image):
    assert lost_share(random_image, .01).round().sum() == 1
    assert lost_share(random_image, 1).round().sum() == 45

def test_faults_belong_to_attributes_and_are_not_held_out():
    assert len(FAULTS) == 19
    assert not {*FAULTS} & {*HELD_OUT_MECHANISMS}
    attributes = {BROAD_MECHANISMS[name].attribute for name in FAULTS}
    assert attributes >= {"sharpness", "contrast", "brightness", "noisiness"}

def test_the_held_out_mechanisms():
    assert HELD_OUT_MECHANISMS == (
        "motion_path", "demosaic_noise", "webp", "banding", "flare", "colour_fringe")

def test_a_blur_that_grows_with_depth_leaves_one_side_sharp():
    image = PHOTOS["chelsea.png"]
    change = (distorted(image, "depth_blur", 1.) - image).abs().mean(0)
    blocks = change.view(5, 32, 5, 32).mean((1, 3))
    assert blocks.min() < .1*blocks.max()

@pytest.mark.parametrize("name", ["zoom_blur", "rotation_blur"])
def test_a_turn_or_zoom_moves_the_border_most(name):
    dots = torch.zeros(3, 161, 161)
    dots[:, ::20, ::20] = 1
    remaining = distorted(dots, name, .6)[0, ::20, ::20] # light of each dot that stays in its place
    row, column = divmod(int(remaining.argmax()), 9)
    assert 2 <= row <= 6 and 2 <= column <= 6 # the centre is drawn from the middle of the image
    corners = remaining[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert remaining.max() > 2*corners.max()
