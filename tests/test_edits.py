"The edits of the enhancer: direction, bounds, gradients."
import pytest, torch
from attiqa import edits
from attiqa.core import generator
from attiqa.distort import from_linear, to_linear
from attiqa.edits import EDIT_NAMES, EDITS, HIGH, LOW, denoise_amount, edit, noise_variance, to_values
from photographs import small_photographs

@pytest.fixture(scope="module")
def photos(): return small_photographs()

def values(**turned): return torch.tensor([[float(turned.get(name, 0)) for name in EDIT_NAMES]])

def knobs(name, amount): return to_values(torch.eye(len(EDIT_NAMES))[[EDIT_NAMES.index(name)]]*amount)

def colour(x): return (x.amax(1) - x.amin(1)).mean()

def detail(x): return (x - edits._box(x)).abs().mean()

def smoothness(x): return -detail(x)

def red(x): return (x[:, 0] - x[:, 2]).mean()

def magenta(x): return (x[:, 0] + x[:, 2] - 2*x[:, 1]).mean()

def test_zero_knobs_change_nothing(photos):
    assert (edit(photos, torch.zeros(len(photos), 8)) - photos).abs().max() < 2e-4

MEASURES = dict(exposure=torch.mean, gamma=torch.mean, contrast=torch.std, saturation=colour, warmth=red,
                tint=magenta, sharpen=detail, denoise=smoothness)

@pytest.mark.parametrize("name, measure", MEASURES.items())
def test_each_knob_has_its_direction(photos, name, measure):
    "Up raises the measure, down lowers it, more changes more; pixels stay in [0, 1]."
    one_sided = EDITS[EDIT_NAMES.index(name)].low == 0
    low = 2 if one_sided else 0
    for x in photos.split(1):
        found = [float(measure(edit(x, knobs(name, amount)))) for amount in (-1, -.5, 0, .5, 1)]
        assert found[low:] == sorted(found[low:]) and found[2] < found[4]
        assert not one_sided or found[0] == found[2], "one-sided knobs have nothing below 0"
        y = edit(x, knobs(name, 1))
        assert y.min() >= 0 and y.max() <= 1

def test_knobs_keep_their_bounds():
    unit = torch.linspace(-1, 1, 9)[:, None].expand(-1, 8)
    found = to_values(unit)
    assert torch.equal(found.amin(0), LOW) and torch.equal(found.amax(0), HIGH) and not found[4].any()

def test_an_exposure_is_undone_by_its_opposite(photos):
    x = photos*.5 + .1
    darker = edit(x, values(exposure=-.7, warmth=.1))
    assert (edit(darker, values(exposure=.7, warmth=-.1)) - x).abs().max() < 1e-4

def test_stops_are_stops_of_light(photos):
    "Against sRGB's own curve, on light that neither clips nor is very dark."
    x = photos*.4 + .3
    assert (edit(x, values(exposure=-1)) - from_linear(to_linear(x)/2)).abs().max() < .02

def test_denoise_amount_inverts_noise_variance():
    for std in (0, .005, .02, .06):
        assert abs(float(noise_variance(torch.tensor(denoise_amount(std)))) - std**2) < 1e-6
    assert denoise_amount(1.) == 1

def test_gradients_reach_every_knob(photos):
    turned = torch.zeros(len(photos), 8, requires_grad=True)
    weight = torch.from_numpy(generator("weights").random(photos.shape, dtype="float32"))
    (edit(photos, turned)*weight).sum().backward()
    assert turned.grad.isfinite().all() and (turned.grad.abs() > 0).all()

def test_gradients_equal_finite_differences(photos):
    x, step = photos[:1].double(), 1e-5
    spot = torch.full((1, 8), .1, dtype=torch.float64, requires_grad=True)
    weight = torch.from_numpy(generator("w").random(x.shape))
    def total(turned): return (edit(x, turned)*weight).sum()
    total(spot).backward()
    with torch.no_grad():
        directions = torch.eye(8, dtype=torch.float64)
        slow = [(total(spot + step*d) - total(spot - step*d))/(2*step) for d in directions]
    assert torch.allclose(spot.grad[0], torch.stack(slow), rtol=1e-3)

def test_edits_without_neighbours_agree_with_a_small_copy(photos):
    "On the mean, as a power of a mean is not the mean of powers."
    turned = values(exposure=.3, gamma=.2, contrast=.3, saturation=.4, warmth=.1)
    def small(x): return torch.nn.functional.avg_pool2d(x, 2)
    for x in (photos*.5 + .2).split(1):
        assert (small(edit(x, turned)) - edit(small(x), turned)).abs().mean() < .004
