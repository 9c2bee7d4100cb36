"The metric, the loss, pyiqa's plug-in and torch.hub give the scorer's own scores; gradients are right."
import copy, math, subprocess, sys
from importlib import import_module
from importlib.util import find_spec
import pytest, torch
from torchmetrics import MetricCollection
from attiqa import ATTIQA
from attiqa.core import ATTRIBUTES, AttiqaError
from attiqa.distort import apply_recipe
from attiqa.images import package_photograph, to_tensor
from attiqa.metric import SCORE_NAMES, ScoreNet, shrink_batch, six_scores
from attiqa.model import AttributeNet, save_model
from attiqa.score import MAX_SCORED_PIXELS, Scorer
from conftest import ROOT

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
PHOTOS = [to_tensor(package_photograph(name))[:, :160, :200] for name in NAMES]
MIXED = [PHOTOS[0], PHOTOS[1][:, :64, :90], PHOTOS[2][:, 20:151], PHOTOS[3]] # of several sizes

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

def approximately(expected): return pytest.approx(expected, abs=1e-5)

def metric_of(*updates, **options):
    "A metric that was given some batches or lists."
    metric = ATTIQA(**options)
    for images in updates: metric.update(images)
    return metric

# The metric

@pytest.mark.parametrize("attribute", SCORE_NAMES)
def test_the_metric_is_the_scorers_mean(scorer, attribute):
    updates = MIXED[:1], MIXED[1:]
    expected = [getattr(score, attribute) for score in scorer(MIXED)]
    mean, single = (metric_of(*updates, attribute=attribute, **options).compute()
                    for options in (dict(), dict(reduction="none")))
    assert mean.item() == approximately(sum(expected)/4)
    assert single.tolist() == approximately(expected)

def test_a_batch_is_a_list(scorer):
    batch, single = metric_of(torch.stack(PHOTOS)), metric_of(*(photo[None] for photo in PHOTOS))
    assert batch.compute() == single.compute()

def test_large_pictures_are_shrunk_as_the_scorer_does(scorer):
    large = torch.nn.functional.interpolate(PHOTOS[0][None], scale_factor=7., mode="bicubic").clamp(0, 1)
    assert metric_of(large).compute().item() == approximately(scorer(large[0]).quality)
    assert math.prod(shrink_batch(large).shape[2:]) <= MAX_SCORED_PIXELS

def test_values_of_batches_and_copies():
    metric = ATTIQA()
    first = metric(torch.stack(PHOTOS[:1])).item()
    metric.update(PHOTOS[1:])
    whole = metric.compute().item()
    assert first != whole
    assert whole == pytest.approx(metric_of(PHOTOS).compute().item(), abs=1e-6)
    assert metric.clone().compute().item() == whole

def test_resets_and_merged_states():
    metric, part = metric_of(PHOTOS), metric_of(PHOTOS[2:])
    whole = metric.compute().item()
    metric.reset()
    metric.update(PHOTOS[:2])
    metric.merge_state(part)
    assert metric.compute().item() == pytest.approx(whole, abs=1e-6)

def test_collections():
    both = MetricCollection(dict(quality=ATTIQA(), sharpness=ATTIQA(attribute="sharpness")))
    both.update(torch.stack(PHOTOS))
    found, whole = both.compute(), pytest.approx(metric_of(PHOTOS).compute().item(), abs=1e-6)
    assert found["quality"].item() == whole
    assert found["sharpness"].item() != whole

def filled(value, dtype=None): return torch.full((1, 3, 64, 64), value, dtype=dtype)

NO_BATCHES = [(filled(torch.nan), "NaN"), (filled(2.), "in [0, 1]"), (filled(0, torch.uint8), "255"),
              (torch.rand(1, 1, 64, 64), "(3, H, W)"), (torch.rand(3, 64, 64), "(3, H, W)"),
              (torch.rand(1, 3, 8, 8), "at least 32")]

@pytest.mark.parametrize("images, words", NO_BATCHES)
def test_what_is_no_batch(images, words):
    with pytest.raises(AttiqaError) as caught: ATTIQA().update(images)
    assert words in str(caught.value)

@pytest.fixture
def heads(tmp_path):
    "A model whose quality was never taught."
    save_model(AttributeNet("resnet10t", 8), tmp_path/"heads.safetensors", {})
    return tmp_path/"heads.safetensors"

WRONG_OPTIONS = [(dict(attribute="beauty"), "sharpness"), (dict(reduction="sum"), "'none'")]

@pytest.mark.parametrize("options, words", WRONG_OPTIONS)
def test_wrong_arguments(options, words):
    with pytest.raises(AttiqaError) as caught: ATTIQA(**options)
    assert words in str(caught.value)

def test_a_model_without_quality(heads):
    with pytest.raises(AttiqaError) as caught: ATTIQA(model=heads)
    assert "never taught" in str(caught.value)
    assert ATTIQA(model=heads, attribute="contrast")(torch.stack(PHOTOS)).isfinite()

# Gradients

def noise(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

def slope(function, x, direction, step=1e-8):
    "Derivative along a direction, by central differences."
    with torch.no_grad(): return (function(x + step*direction) - function(x - step*direction)).item()/(2*step)

@pytest.mark.parametrize("attribute", SCORE_NAMES)
def test_the_gradient_is_that_of_the_loss(attribute):
    "Along random directions, in double precision; noise breaks the ties between equal pixels."
    exact, column = copy.deepcopy(Scorer(device="cpu").net).double(), SCORE_NAMES.index(attribute)
    value = lambda x: 1 - six_scores(exact, True, x)[:, column].mean()
    x = (PHOTOS[1][None, :, 40:120, 60:140] + .01*noise(9, 1, 3, 80, 80)).requires_grad_()
    ATTIQA(attribute=attribute).as_loss()(x).backward()
    for seed in range(3):
        direction = noise(seed, *x.shape)
        expected = pytest.approx(slope(value, x, direction), rel=1e-3, abs=1e-6)
        assert (x.grad*direction).sum().item() == expected

def test_a_better_picture_has_a_lower_loss(scorer):
    loss, clean = ATTIQA().as_loss(), torch.stack(PHOTOS)
    blurred = torch.stack([apply_recipe(photo, [("gaussian_blur", .7)], "test") for photo in PHOTOS])
    assert loss(clean) < loss(blurred)
    assert loss(clean).item() == approximately(1 - sum(score.quality for score in scorer(PHOTOS))/4)

def test_a_step_down_the_gradient_lowers_the_loss_and_moves_no_weight():
    loss = ATTIQA().as_loss()
    net = loss.scores.net
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = apply_recipe(PHOTOS[2], [("gaussian_noise", .5)], "test")[None].requires_grad_()
    value = loss(x)
    value.backward()
    step = 1e-3*x.grad/x.grad.norm()*x.numel()**.5
    with torch.no_grad(): moved = (x - step).clamp(0, 1)
    assert loss(moved) < value
    assert not [p for p in net.parameters() if p.requires_grad]
    assert before
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())

def test_large_pictures_pass_gradients():
    x = torch.rand(1, 3, 900, 1000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ATTIQA().as_loss()(x).backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0

def test_the_metric_itself_passes_gradients():
    x = torch.stack(PHOTOS[:1]).requires_grad_()
    ATTIQA()(x).backward()
    assert x.grad.abs().sum() > 0

# Other libraries

NEEDS_PYIQA = pytest.mark.skipif(not find_spec("pyiqa"),
                                 reason="pyiqa is not installed; the extra attiqa[pyiqa] brings it")

@pytest.fixture
def pyiqa():
    "The package, with the metrics that the plug-in enters."
    package = import_module("pyiqa")
    import_module("attiqa.plugin")
    return package

@NEEDS_PYIQA
def test_pyiqa_scores_files(pyiqa, scorer, tmp_path):
    path = tmp_path/"p.png"
    package_photograph("coffee.png").save(path)
    for name, attribute in {"attiqa": "quality", "attiqa-noisiness": "noisiness"}.items():
        found = pyiqa.create_metric(name, device="cpu")(str(path))
        assert found.item() == approximately(getattr(scorer(path), attribute))

@NEEDS_PYIQA
def test_pyiqa(pyiqa, scorer):
    batch = torch.stack(PHOTOS).requires_grad_()
    metric = pyiqa.create_metric("attiqa", device="cpu")
    expected = [score.quality for score in scorer(PHOTOS)]
    assert metric(batch.detach()).flatten().tolist() == approximately(expected)
    assert not metric.lower_better
    pyiqa.create_metric("attiqa", as_loss=True, device="cpu")(batch).backward()
    assert batch.grad.abs().sum() > 0

@NEEDS_PYIQA
def test_pyiqa_lists_the_metrics(pyiqa):
    names = {"attiqa", *(f"attiqa-{attribute}" for attribute in ATTRIBUTES)}
    assert set(pyiqa.list_models(filter="attiqa*")) == names

@pytest.mark.skipif(bool(find_spec("pyiqa")), reason="pyiqa is installed")
def test_without_pyiqa_the_plugin_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", "import attiqa.plugin"], capture_output=True, text=True)
    assert done.returncode
    assert "pip install 'attiqa[pyiqa]'" in done.stderr.splitlines()[-1]

def test_torch_hub(scorer):
    found, net, metric = (torch.hub.load(str(ROOT), name, source="local")
                          for name in ("attiqa", "attiqa_net", "attiqa_metric"))
    photo, expected = PHOTOS[0], scorer(PHOTOS[0])
    assert found(photo) == expected
    assert metric(photo[None]).item() == approximately(expected.quality)
    assert net(photo[None])[0].tolist() == approximately([getattr(expected, name) for name in SCORE_NAMES])
    assert isinstance(net, ScoreNet)
