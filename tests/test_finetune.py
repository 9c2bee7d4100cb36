"Probes, losses and fine-tuning on small sets."
from copy import deepcopy
import numpy as np, pytest, torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut
from attiqa.core import AttiqaError, seed_all
from attiqa.features import frozen_features, network_model
from attiqa.finetune import QUALITY_LOSSES, SCALE_FREE_LOSSES, fit_head, fit_heads, fit_network
from attiqa.finetune import left_out_residuals, linear_probe, predict_quality, quality_loss
from attiqa.finetune import ridge_decomposition, set_head_statistics, validation_split
from attiqa.metrics import srcc
from attiqa.model import AttributeNet
from scored_sets import noisy, two_sets

@pytest.fixture(scope="module")
def data(tmp_path_factory): return two_sets(tmp_path_factory.mktemp("sets"))[0]

def toy(n, p, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    return x, x @ rng.normal(size=p) + rng.normal(size=n)*2

def refitted_residuals(x, y, groups, strength):
    "Errors of a ridge that is fitted anew without each group."
    found = np.zeros(len(y))
    for learn, out in LeaveOneGroupOut().split(x, y, groups):
        found[out] = y[out] - Ridge(strength).fit(x[learn], y[learn]).predict(x[out])
    return found

@pytest.mark.parametrize("n, p", [(48, 6), (30, 70)])
def test_left_out_residuals_equal_refitting(n, p):
    x, y = toy(n, p)
    x, y, rows = x - x.mean(0), y - y.mean(), np.arange(n)
    for groups in (rows, rows//5, np.where(rows < 9, 0, rows)):
        found = left_out_residuals(*ridge_decomposition(x), y, groups, 2.)
        np.testing.assert_allclose(found, refitted_residuals(x, y, groups, 2.), atol=1e-8)

def test_the_test_part_does_not_choose():
    x, y = toy(90, 12)
    train, other_scores, other_images = np.arange(60), y.copy(), x.copy()
    other_scores[60:] = np.random.default_rng(1).permutation(y[60:])*100
    other_images[60:] += 50
    expected = linear_probe(x, y, train)
    assert (expected == linear_probe(x, other_scores, train)).all()
    assert (expected[:60] == linear_probe(other_images, y, train)[:60]).all()

def test_groups_choose_a_stronger_ridge():
    "Copies make leaving one out too easy: memory looks like skill."
    rng = np.random.default_rng(0)
    x, y = np.repeat(rng.normal(size=(30, 60)), 4, 0), np.repeat(rng.normal(size=30), 4)
    x, train = x + rng.normal(size=x.shape)*.01, np.arange(120)
    deviation = lambda groups: linear_probe(x, y, train, groups).std()
    assert deviation(np.arange(120)//4) < .5*deviation(None)

@pytest.mark.parametrize("name", QUALITY_LOSSES)
def test_losses(name):
    generator = torch.Generator().manual_seed(0)
    truth, other = torch.rand(12, generator=generator), torch.rand(12, generator=generator)
    loss = quality_loss(name)
    assert loss(torch.logit(truth), truth) < 1e-4
    assert 1e-4 < loss(torch.logit(other), truth) < loss(torch.logit(1 - truth), truth)
    scaled, plain = (QUALITY_LOSSES[name](values, truth) for values in (.3*other + .2, other))
    assert (name in SCALE_FREE_LOSSES) == bool(torch.isclose(scaled, plain, atol=1e-5))

@pytest.mark.parametrize("name", QUALITY_LOSSES)
def test_a_constant_prediction_has_a_gradient(name):
    truth = torch.rand(12, generator=torch.Generator().manual_seed(0))
    logits = torch.zeros(12, requires_grad=True)
    quality_loss(name)(logits, truth).backward()
    assert logits.grad.isfinite().all()

def test_norm_in_norm_is_bounded_and_plcc_is_numpys():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        a, b = torch.rand(9, generator=generator), torch.rand(9, generator=generator)
        assert 0 <= QUALITY_LOSSES["norm-in-norm"](a, b) <= 1
        expected = (1 - np.corrcoef(a, b)[0, 1])/2
        assert QUALITY_LOSSES["plcc"](a, b).item() == pytest.approx(expected, abs=1e-5)

def fresh_network(data, seed):
    "An untrained network with the set's statistics before its heads."
    seed_all(seed)
    net = AttributeNet("resnet10t", 8)
    with torch.no_grad(): pooled = torch.cat([net.eval().pooled(data.pixels(i)[None]) for i in range(36)])
    return set_head_statistics(net, pooled)

@pytest.mark.parametrize("loss", QUALITY_LOSSES)
def test_fine_tuning_learns(data, loss):
    net, train = fresh_network(data, "learn"), np.arange(36)
    before = predict_quality(net, data, train)
    fit_network(net, data, train, train[:0], 6, 8, 2e-3, 48, loss)
    after = predict_quality(net, data, train)
    assert srcc(after, data.scores) > max(.8, srcc(before, data.scores))
    assert np.abs(after - data.scores).mean() < np.abs(before - data.scores).mean()

def moved_attributes(data, hold, bf16):
    "Mean change of an image's attributes by fine-tuning."
    net, train, x = fresh_network(data, "hold"), np.arange(36), data.pixels(0)[None]
    with torch.no_grad(): before = net(x)
    fit_network(net, data, train, train[:0], 4, 8, 2e-3, 48, hold=hold, bf16=bf16)
    with torch.no_grad(): return (net(x) - before).abs().mean().item()

@pytest.mark.parametrize("bf16", ["no", "yes"])
def test_held_attributes_move_less(data, bf16):
    assert moved_attributes(data, 100., bf16) < .5*moved_attributes(data, 0., bf16)

@pytest.fixture(scope="module")
def head_data():
    "Features and scores of 80 rows; rows from 60 on are the test part."
    rng = np.random.default_rng(0)
    return torch.tensor(rng.normal(size=(80, 40)), dtype=torch.float32), rng.random(80)

def fitted(features, scores, choose):
    seed_all("choose")
    learn, held = validation_split(np.arange(80), np.arange(60), .3, 0)
    return fit_head(AttributeNet("resnet10t", 8), features, scores, learn, held, 15, 16, 5e-3, choose=choose)

def test_the_validation_part_is_inside_the_training_part():
    learn, held = validation_split(np.arange(80), np.arange(60), .3, 0)
    assert not {*learn} & {*held}
    assert {*learn} | {*held} == {*range(60)}

@pytest.mark.parametrize("choose", ["last", "best"])
def test_the_test_part_does_not_choose_an_epoch(head_data, choose):
    features, scores = head_data
    other = np.where(np.arange(80) < 60, scores, 1 - scores)
    assert (fitted(features, scores, choose) == fitted(features, other, choose)).all()

def test_the_best_epoch_is_best_on_the_validation_part(head_data):
    features, scores = head_data
    _, held = validation_split(np.arange(80), np.arange(60), .3, 0)
    best, last = (fitted(features, scores, choose)[held] for choose in ("best", "last"))
    assert srcc(best, scores[held]) >= srcc(last, scores[held])

def test_the_best_epoch_needs_validation_images(head_data):
    net, rows = AttributeNet("resnet10t", 8), np.arange(60)
    with pytest.raises(AttiqaError, match="held above 0"):
        fit_head(net, *head_data, rows, rows[:0], 1, 16, 1e-3, choose="best")

def test_multi_crop_testing_is_the_mean():
    seed_all("crops")
    net, x = AttributeNet("resnet10t", 8).eval(), noisy(3)
    one_image = type("One", (), dict(pixels=lambda self, i: x))()
    top, bottom = slice(None, 48), slice(-48, None)
    crops = [x[None, :, i, j] for i in (top, bottom) for j in (top, bottom)]
    with torch.no_grad(): corners = [net.quality(crop).item() for crop in crops]
    assert predict_quality(net, one_image, [0], "crops:2:48")[0] == pytest.approx(np.mean(corners))

def test_an_untrained_network_predicts_what_its_heads_were_fitted_to(data):
    seed_all("heads")
    model, rows = network_model(AttributeNet("resnet10t", 8), "small"), np.arange(len(data))
    features = frozen_features(model, data)[:, model.parts["backbone"]]
    net, pooled = deepcopy(model.net), torch.from_numpy(features)
    predicted = fit_heads(net, pooled, data.scores, rows[:6], rows[:0], 3, 2, 4, 2e-3)
    assert np.allclose(predicted, predict_quality(net, data, rows), atol=1e-5)
    assert predicted.std() > 1e-4
    statistics = lambda: [v.clone() for k, v in net.state_dict().items() if "running" in k]
    before = statistics()
    fit_network(net, data, rows[:6], rows[:0], 1, 3, 1e-3, 32)
    assert all(map(torch.equal, before, statistics()))
    assert not np.allclose(predicted, predict_quality(net, data, rows), atol=1e-5)
