"Losses against their definitions, pair by pair, on batches of several sizes."
import math
import pytest, torch
from attiqa.core import AttiqaError
from attiqa.losses import LOSSES, attribute_loss, parse_weights

PAIRS = dict( # loss of order to the penalty of a difference and a margin
    margin=lambda d, m: max(0., m - d),
    logistic=lambda d, m: math.log1p(math.exp(-d)),
    fidelity=lambda d, m: 1 - math.sqrt(1/(1 + math.exp(-d))))
VALUES = dict(l1=abs, mse=lambda e: e*e) # loss of value to the penalty of an error

def slow(name, scalars, labels, weights, margin, tolerance):
    "The definition, in Python's floats."
    total = 0.
    for s, y, weight in zip(scalars.T.tolist(), labels.T.tolist(), weights.tolist()):
        pairs = [(i, j) for i in range(len(s)) for j in range(len(s)) if y[i] - y[j] > tolerance]
        if name in VALUES: terms = [VALUES[name](p - q) for p, q in zip(s, y)]
        else: terms = [PAIRS[name](s[i] - s[j], margin) for i, j in pairs]
        total += weight*sum(terms)/max(1, len(terms))
    return total

def batch(size, attributes=5, seed=0):
    "Scalars and labels."
    generator = torch.Generator().manual_seed(seed)
    scalars = torch.randn(size, attributes, generator=generator)
    return scalars.double(), torch.rand(size, attributes, generator=generator).double()

@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size, margin, tolerance", [(2, 1., .02), (13, .3, 0.), (24, 2., .4)])
def test_equals_the_definition(name, size, margin, tolerance):
    scalars, labels = batch(size)
    labels[size//2:] = labels[size//2:].mul(4).round()/4 # ties among them
    weights = torch.tensor([1., 0., 2.5, .1, 1.]).double()
    found = LOSSES[name](scalars, labels, weights, margin, tolerance).item()
    wanted = slow(name, scalars, labels, weights, margin, tolerance)
    assert math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-12)

@pytest.mark.parametrize("name", LOSSES)
def test_gradient(name):
    scalars, labels = batch(7, 3)
    loss = lambda s: LOSSES[name](s, labels, torch.tensor([1., .5, 2.]))
    assert torch.autograd.gradcheck(loss, scalars.requires_grad_())

WITHOUT_PAIRS = {"ties": torch.full((6, 5), .3), "one image": torch.rand(1, 5),
                 "near-ties": .019*torch.rand(6, 5)}

@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("labels", WITHOUT_PAIRS.values(), ids=WITHOUT_PAIRS)
def test_no_pairs_give_zero_with_a_gradient(name, labels):
    scalars = torch.randn(len(labels), 5, requires_grad=True)
    loss = attribute_loss(name)(scalars, labels)
    loss.backward()
    assert loss.item() == 0 and scalars.grad.abs().max() == 0

@pytest.mark.parametrize("name", PAIRS)
def test_large_differences_stay_finite(name):
    scalars = torch.tensor([[-3e4], [3e4], [0.]]).repeat(1, 5).requires_grad_()
    loss = attribute_loss(name)(scalars, torch.tensor([[.9], [.1], [.5]]).repeat(1, 5))
    loss.backward()
    assert loss.isfinite() and scalars.grad.isfinite().all()

@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_the_batch_does_not_matter(name):
    scalars, labels = batch(11)
    rows = torch.randperm(11)
    shuffled, plain = LOSSES[name](scalars[rows], labels[rows]), LOSSES[name](scalars, labels)
    assert torch.isclose(shuffled, plain, rtol=1e-9)

def test_an_attribute_of_weight_zero_has_no_gradient():
    scalars, labels = batch(9)
    attribute_loss("margin", "sharpness noisiness")(scalars.requires_grad_(), labels).backward()
    assert (scalars.grad.abs().sum(0) > 0).tolist() == [True, False, False, False, True]

@pytest.mark.parametrize("name", PAIRS)
def test_training_by_a_loss_of_order_sorts(name):
    "One free scalar per image, optimized by the loss alone, ends in the order of the labels."
    _, labels = batch(12)
    scalars = torch.zeros(12, 5, dtype=torch.double, requires_grad=True)
    optimizer, loss = torch.optim.Adam([scalars], .1), attribute_loss(name, tolerance=0.)
    for _ in range(300):
        optimizer.zero_grad()
        loss(scalars, labels).backward()
        optimizer.step()
    assert (scalars.argsort(0) == labels.argsort(0)).float().mean() > .9

WRONG = ["", "1 2 3", "1 1 1 1 -1", "0 0 0 0 0", "sharp", "nan 1 1 1 1", "1 1 1 1 1 1"]

@pytest.mark.parametrize("text", WRONG)
def test_wrong_weights(text):
    with pytest.raises(AttiqaError, match="give 5 numbers"): parse_weights(text)
