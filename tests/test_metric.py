"The metric, the loss, pyiqa's plug-in and torch.hub: the scorer's own scores, and gradients that are right."
import copy, subprocess, sys
from importlib.util import find_spec
import pytest, torch
from torchmetrics import MetricCollection
from attiqa import ATTIQA
from attiqa.core import ATTRIBUTES, AttiqaError
from attiqa.distort import apply_recipe
from attiqa.images import package_photograph, to_tensor
from attiqa.metric import COLUMNS, ScoreNet, shrink, six_scores
from attiqa.score import MAX_SCORED_PIXELS, Scorer
from conftest import ROOT

PHOTOS = [to_tensor(package_photograph(name))[:, :160, :200] for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")]
MIXED = [PHOTOS[0], PHOTOS[1][:, :64, :90], PHOTOS[2][:, 20:151], PHOTOS[3]]

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

@pytest.mark.parametrize("attribute", COLUMNS)
def test_the_metric_is_the_scorers_mean(scorer, attribute):
    metric, kept = ATTIQA(attribute=attribute), ATTIQA(attribute=attribute, reduction="none")
    expected = [getattr(score, attribute) for score in scorer(MIXED)]
    for m in (metric, kept): m.update(MIXED[:1]), m.update(MIXED[1:])
    assert metric.compute().item() == pytest.approx(sum(expected)/4, abs=1e-5)
    assert kept.compute().tolist() == pytest.approx(expected, abs=1e-5)

def test_a_batch_is_a_list(scorer):
    batch, single = ATTIQA(), ATTIQA()
    batch.update(torch.stack(PHOTOS)), [single.update(photo[None]) for photo in PHOTOS]
    assert batch.compute() == single.compute()

def test_large_pictures_are_shrunk_as_the_scorer_does(scorer):
    large = torch.nn.functional.interpolate(PHOTOS[0][None], scale_factor=7., mode="bicubic").clamp(0, 1)
    metric = ATTIQA()
    metric.update(large)
    assert metric.compute().item() == pytest.approx(scorer(large[0]).quality, abs=1e-5)
    assert shrink(large).shape[2]*shrink(large).shape[3] <= MAX_SCORED_PIXELS

def test_torchmetrics_own_machinery():
    "Copies, collections, resets, batch values, merged states."
    metric = ATTIQA()
    first = metric(torch.stack(PHOTOS[:1])).item()
    metric.update(PHOTOS[1:])
    whole = metric.compute().item()
    other, part = metric.clone(), ATTIQA()
    assert other.compute().item() == whole and first != whole
    metric.reset(), metric.update(PHOTOS[:2]), part.update(PHOTOS[2:])
    metric.merge_state(part)
    assert metric.compute().item() == pytest.approx(whole, abs=1e-6)
    both = MetricCollection(dict(quality=ATTIQA(), sharpness=ATTIQA(attribute="sharpness")))
    both.update(torch.stack(PHOTOS))
    assert both.compute()["quality"].item() == pytest.approx(whole, abs=1e-6) != both.compute()["sharpness"].item()

@pytest.mark.parametrize("images, words", [(torch.full((1, 3, 64, 64), torch.nan), "NaN"), (torch.full((1, 3, 64, 64), 2.), "in [0, 1]"), (torch.rand(1, 1, 64, 64), "(3, H, W)"),
                                           (torch.rand(3, 64, 64), "(3, H, W)"), (torch.rand(1, 3, 8, 8), "at least 32"), (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "255")])
def test_what_is_no_batch(images, words):
    with pytest.raises(AttiqaError, match=None) as caught: ATTIQA().update(images)
    assert words in str(caught.value)

@pytest.mark.parametrize("attribute", COLUMNS)
def test_the_gradient_is_that_of_the_loss(attribute):
    "Along random directions, against central differences in double precision; noise breaks the ties between equal pixels."
    loss, exact, column = ATTIQA(attribute=attribute).as_loss(), copy.deepcopy(Scorer(device="cpu").net).double(), COLUMNS.index(attribute)
    value = lambda x: 1 - six_scores(exact, True, x)[:, column].mean()
    x = (PHOTOS[1][None, :, 40:120, 60:140] + .01*torch.randn(1, 3, 80, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(9))).requires_grad_()
    loss(x).backward()
    for seed in range(3):
        direction = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad(): slope = ((value(x + 1e-8*direction) - value(x - 1e-8*direction))/2e-8).item()
        assert (x.grad*direction).sum().item() == pytest.approx(slope, rel=1e-3, abs=1e-6)

def test_a_better_picture_has_a_lower_loss(scorer):
    loss, clean = ATTIQA().as_loss(), torch.stack(PHOTOS)
    blurred = torch.stack([apply_recipe(photo, [("gaussian_blur", .7)], "test") for photo in PHOTOS])
    assert loss(clean) < loss(blurred)
    assert loss(clean).item() == pytest.approx(1 - sum(s.quality for s in scorer(PHOTOS))/4, abs=1e-5)

def test_a_step_down_the_gradient_lowers_the_loss_and_moves_no_weight():
    loss = ATTIQA().as_loss()
    net = loss.scores.net
    x, before = apply_recipe(PHOTOS[2], [("gaussian_noise", .5)], "test")[None].requires_grad_(), {k: v.clone() for k, v in net.state_dict().items()}
    value = loss(x)
    value.backward()
    with torch.no_grad(): moved = (x - 1e-2*x.grad/x.grad.norm()*x.numel()**.5*.1).clamp(0, 1)
    assert loss(moved) < value and not [p for p in net.parameters() if p.requires_grad]
    assert before and all(torch.equal(before[k], v) for k, v in net.state_dict().items())

def test_large_pictures_pass_gradients():
    x = torch.rand(1, 3, 900, 1000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ATTIQA().as_loss()(x).backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0

def test_the_metric_itself_passes_gradients():
    x = torch.stack(PHOTOS[:1]).requires_grad_()
    ATTIQA()(x).backward()
    assert x.grad.abs().sum() > 0

def test_wrong_arguments(tmp_path):
    from attiqa.model import AttributeNet, save_model
    save_model(AttributeNet("resnet10t", 8), tmp_path/"heads.safetensors", {})
    for options, words in ((dict(attribute="beauty"), "sharpness"), (dict(reduction="sum"), "'none'"), (dict(model=tmp_path/"heads.safetensors"), "never taught")):
        with pytest.raises(AttiqaError) as caught: ATTIQA(**options)
        assert words in str(caught.value)
    assert ATTIQA(model=tmp_path/"heads.safetensors", attribute="contrast")(torch.stack(PHOTOS)).isfinite()

@pytest.mark.skipif(not find_spec("pyiqa"), reason="pyiqa is not installed; the extra attiqa[pyiqa] brings it")
def test_pyiqa(scorer, tmp_path):
    import pyiqa, attiqa.plugin # noqa: F401 - enters the metric
    package_photograph("coffee.png").save(tmp_path/"p.png")
    for name, attribute in (("attiqa", "quality"), ("attiqa-noisiness", "noisiness")):
        assert pyiqa.create_metric(name, device="cpu")(str(tmp_path/"p.png")).item() == pytest.approx(getattr(scorer(tmp_path/"p.png"), attribute), abs=1e-5)
    batch = torch.stack(PHOTOS).requires_grad_()
    metric = pyiqa.create_metric("attiqa", device="cpu")
    assert metric(batch.detach()).flatten().tolist() == pytest.approx([s.quality for s in scorer(PHOTOS)], abs=1e-5)
    pyiqa.create_metric("attiqa", as_loss=True, device="cpu")(batch).backward()
    assert batch.grad.abs().sum() > 0 and not metric.lower_better and set(pyiqa.list_models(filter="attiqa*")) == {"attiqa", *(f"attiqa-{a}" for a in ATTRIBUTES)}

@pytest.mark.skipif(bool(find_spec("pyiqa")), reason="pyiqa is installed")
def test_without_pyiqa_the_plugin_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", "import attiqa.plugin"], capture_output=True, text=True)
    assert done.returncode and "pip install 'attiqa[pyiqa]'" in done.stderr.splitlines()[-1]

def test_torch_hub(scorer):
    found, net, metric = (torch.hub.load(str(ROOT), name, source="local") for name in ("attiqa", "attiqa_net", "attiqa_metric"))
    expected = scorer(PHOTOS[0])
    assert found(PHOTOS[0]) == expected and metric(PHOTOS[0][None]).item() == pytest.approx(expected.quality, abs=1e-5)
    assert net(PHOTOS[0][None])[0].tolist() == pytest.approx([getattr(expected, name) for name in COLUMNS], abs=1e-5)
    assert isinstance(net, ScoreNet)
