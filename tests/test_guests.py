"A metric, a loss and a score network inside a network: training, casts and checkpoints leave them alone."
import copy, pickle
from contextlib import contextmanager
import pytest, torch
from torch import nn
from attiqa import ATTIQA, Scorer
from attiqa.images import package_photograph, to_tensor
from attiqa.metric import DeviceCopies, QualityLoss, ScoreNet

PHOTO = package_photograph("chelsea.png").crop((60, 40, 188, 136))
X = to_tensor(PHOTO)[None]

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

@pytest.fixture(scope="module")
def net(scorer): return ScoreNet(scorer)

class Parent(nn.Module):
    "A network that somebody trains, with the three guests in it."
    def __init__(self, net):
        super().__init__()
        self.own = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        self.guests = nn.ModuleDict(dict(metric=ATTIQA(), loss=QualityLoss(net), scores=net))

@pytest.fixture
def parent(net): return Parent(net)

def values(parent):
    "The quality of the photograph by each guest."
    metric = copy.deepcopy(parent.guests["metric"])
    metric.reset()
    metric.update(X)
    return torch.stack([metric.compute(), 1 - parent.guests["loss"](X), parent.guests["scores"](X)[0, 0]])

# Training

def test_training_leaves_a_guest_alone(parent):
    before, loss = values(parent), parent.guests["loss"]
    parent.train()
    assert torch.equal(values(parent), before)
    assert parent.own.training
    assert torch.equal(values(parent.eval()), before)
    assert not [name for name, module in loss.named_modules() if module.train().training]
    assert not [name for name, module in loss.scores.net.named_modules() if module.training]

def train(parent, steps):
    "Steps of an optimizer that is given every parameter of a network and its guests."
    parent.requires_grad_(True)
    optimizer = torch.optim.AdamW(parent.parameters(), lr=.1, weight_decay=.5)
    for _ in range(steps):
        optimizer.zero_grad()
        parent.guests["loss"](torch.sigmoid(parent.own(X))).backward()
        optimizer.step()

def test_no_optimizer_moves_a_guest(parent):
    before = values(parent)
    train(parent, 2)
    average = torch.optim.swa_utils.AveragedModel(parent)
    for _ in range(2): average.update_parameters(parent)
    assert torch.equal(values(parent), before)
    assert torch.equal(values(average.module), before)
    assert len([*parent.parameters()]) == len([*parent.own.parameters()])

def test_a_compiled_parent(net):
    assert torch.equal(torch.compile(QualityLoss(net), backend="eager")(X), QualityLoss(net)(X))

def test_a_loss_made_while_validating_can_be_trained_with(net):
    "What is made in inference mode passes gradients later; so does a copy for another device."
    with torch.inference_mode():
        loss = ATTIQA().as_loss()
        moved = DeviceCopies(net.net).on(torch.device("meta"))
        again = pickle.loads(pickle.dumps(loss))
    networks = (loss.scores.net, moved, again.scores.net)
    assert not any(weight.is_inference() for network in networks for weight in network.parameters())
    for made in (loss, again):
        x = X.clone().requires_grad_()
        made(x).backward()
        assert x.grad.abs().sum() > 0

# Types of numbers

CASTS = dict(
    half=lambda module: module.half(),
    bfloat16=lambda module: module.bfloat16(),
    double=lambda module: module.double(),
    to=lambda module: module.to(torch.float16),
    type=lambda module: module.type(torch.float64),
    both=lambda module: module.to("cpu", torch.bfloat16),
    meta=lambda module: module.to("meta"))

@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
def test_casts_of_a_parent(parent, cast):
    before, metric = values(parent), parent.guests["metric"]
    metric.update(X)
    cast(parent)
    assert torch.equal(values(parent), before)
    metric.update(X)
    assert metric.compute() == pytest.approx(before[0].item(), abs=1e-6)
    assert {state.dtype for state in metric.metric_state.values()} <= {torch.float32, torch.int64}
    assert metric.dtype == torch.float32

def value_and_gradient(guest, x):
    "Of a batch in its own type."
    x = x.clone().requires_grad_()
    value = guest(x)
    value.backward()
    return value, x.grad

GUESTS = dict(loss=QualityLoss, scores=lambda net: lambda x: net(x)[0, 0], metric=lambda net: ATTIQA())

@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("make", GUESTS.values(), ids=GUESTS)
def test_every_float_type_and_its_gradient(net, make, dtype):
    guest, x = make(net), X.to(dtype)
    found, gradient = value_and_gradient(guest, x)
    expected, expected_gradient = value_and_gradient(guest, x.float())
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert gradient.dtype == dtype
    assert torch.equal(gradient, expected_gradient.to(dtype))
    assert gradient.abs().sum() > 0

@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(scorer, parent, dtype):
    before, alone, quality_map = values(parent), scorer(PHOTO), scorer.quality_map(PHOTO)
    with torch.autocast("cpu", dtype):
        assert torch.equal(values(parent), before)
        assert scorer(PHOTO) == alone
        assert torch.equal(scorer.quality_map(PHOTO), quality_map)

@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try: yield
    finally: torch.set_default_dtype(torch.float32)

@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_process_may_have_another_default_type(scorer, dtype):
    expected = scorer(PHOTO)
    with default_dtype(dtype):
        with torch.device("meta"): made, metric = Scorer(device="cpu"), ATTIQA(reduction="none")
        assert made(PHOTO) == expected
        metric.update(X)
        assert metric.compute().item() == pytest.approx(expected.quality, abs=1e-6)
        assert metric.dtype == torch.float32

# Checkpoints

def test_a_checkpoint_is_the_parents_own(parent):
    assert all(name.startswith("own.") for name in parent.state_dict())
    assert not [*parent.guests["loss"].buffers()]

OLDER_PLACES = ("guests.metric.scores.net", "guests.loss.scores.net", "guests.scores.net")

def older_checkpoint(parent):
    "As it was written when the guests' weights were registered."
    weights = parent.guests["scores"].net.state_dict()
    registered = {f"{place}.{name}": value for place in OLDER_PLACES for name, value in weights.items()}
    return parent.state_dict() | registered

def test_older_checkpoints_load(parent):
    before, checkpoint = values(parent), older_checkpoint(parent)
    assert len(checkpoint) > 300
    parent.load_state_dict(checkpoint, strict=True)
    assert torch.equal(values(parent), before)
    unknown = checkpoint | {"guests.loss.other": torch.zeros(1)}
    with pytest.raises(RuntimeError, match="Unexpected"): parent.load_state_dict(unknown)

def kept_metric():
    "A metric whose state goes into checkpoints, fed with the photograph."
    metric = ATTIQA()
    metric.persistent(True)
    metric.update(X)
    return metric

def test_states_that_were_kept_load():
    metric, other = kept_metric(), ATTIQA()
    other.persistent(True)
    other.load_state_dict(metric.state_dict())
    assert other.compute() == metric.compute()

def test_states_in_double_precision_load():
    "Older metrics kept one total."
    total, metric = torch.tensor(1e6 + 1e-5, dtype=torch.float64), ATTIQA()
    metric.load_state_dict(dict(total=total, count=torch.tensor(2_000_000)))
    assert metric.sums.double().sum().item() == pytest.approx(total.item(), rel=1e-13)
    assert metric.compute() == .5

def test_states_of_another_attribute_do_not_load():
    kept = kept_metric().state_dict()
    with pytest.raises(RuntimeError, match="another attribute"):
        ATTIQA(attribute="contrast").load_state_dict(kept)
