"Agreement against scipy and published examples; medians, noise and comparisons against slow versions."
import itertools, warnings
import numpy as np, pandas as pd, pytest
from scipy import stats
from scipy.optimize import curve_fit, least_squares
from attiqa.core import AttiqaError
from attiqa.metrics import (agreement, compare_methods, format_difference, holm, krcc, logistic, logistic_map,
                            logistic_plcc, logistic_rmse, median_over_splits, paired_wilcoxon, plcc, rmse,
                            split_noise, srcc)

# The chick of R's documentation of SSfpl (package stats), and the parameters that its summary prints.
DAYS = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 21]
WEIGHTS = [42, 51, 59, 64, 76, 93, 106, 125, 149, 171, 199, 205]
PUBLISHED = dict(top=348.971, bottom=27.453, middle=19.391, width=6.673)
# Spearman's rank correlation, the worked example of the encyclopaedias: IQ and weekly hours of television.
IQ = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
TELEVISION = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
RHO = -29/165

def saturating(seed, count=150): # scores, and a MOS that follows them along a logistic, with noise
    rng = np.random.default_rng(seed)
    score = rng.normal(.5, .2, count)
    return score, logistic(score, 90, 15, .5, .09) + rng.normal(0, 4, count)

def scipys_best(score, mos): # many starts: the least sum of squares there is
    best = None
    for start in itertools.product((95., 60.), (0., 30.), (score.mean(), .3), (.05, .2)):
        try:
            found, _ = curve_fit(logistic, score, mos, start, maxfev=20000)
        except RuntimeError:
            continue
        fitted = logistic(score, *found)
        if best is None or ((fitted - mos)**2).sum() < ((best - mos)**2).sum():
            best = fitted
    return best

@pytest.mark.parametrize("seed", range(8))
def test_logistic_plcc_equals_scipys_own_fit(seed):
    score, mos = saturating(seed)
    best = scipys_best(score, mos)
    assert logistic_plcc(score, mos) > plcc(score, mos) + .003, "the curve is needed"
    assert abs(logistic_plcc(score, mos) - stats.pearsonr(best, mos).statistic) < 1e-6
    assert abs(logistic_rmse(score, mos) - np.sqrt(((best - mos)**2).mean())) < 1e-6
    other = least_squares(lambda beta: logistic(score, *beta) - mos, (80, 10, .4, .2),
                          x_scale=(50, 50, .5, .2), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert abs(logistic_plcc(score, mos) - stats.pearsonr(logistic(score, *other.x), mos).statistic) < 1e-6

@pytest.mark.filterwarnings("ignore")
def test_where_least_squares_has_no_minimum_the_line_is_taken():
    "A cloud that bends the other way sends the parameters to infinity; little is lost by stopping."
    for seed in range(4):
        rng = np.random.default_rng(seed)
        mos = rng.uniform(10, 95, 150)
        score = 1/(1 + np.exp(-(mos - 55)/18)) + rng.normal(0, .03, 150)
        assert plcc(score, mos) <= logistic_plcc(score, mos) + 1e-12
        assert abs(logistic_plcc(score, mos) - stats.pearsonr(scipys_best(score, mos), mos).statistic) < 1e-3

def test_published_examples():
    curve = logistic(np.array(DAYS), **PUBLISHED)
    assert abs(logistic_plcc(DAYS, WEIGHTS) - stats.pearsonr(curve, WEIGHTS).statistic) < 1e-6
    np.testing.assert_allclose(logistic_map(DAYS, WEIGHTS), curve, atol=.01)
    assert abs(srcc(IQ, TELEVISION) - RHO) < 1e-6

def test_rank_correlations_equal_scipy_with_ties():
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.integers(0, 6, 40), rng.integers(0, 6, 40)
        assert abs(srcc(a, b) - stats.spearmanr(a, b).statistic) < 1e-12
        assert abs(krcc(a, b) - stats.kendalltau(a, b).statistic) < 1e-12
        assert abs(plcc(a, b) - np.corrcoef(a, b)[0, 1]) < 1e-12
        assert abs(rmse(a, b) - np.sqrt(np.mean((a - b)**2))) < 1e-12

@pytest.mark.parametrize("constant", [0., 1., 1e9])
def test_constant_predictions_are_nan_with_a_warning(constant):
    truth = np.arange(20.)
    for metric in (srcc, krcc, plcc, logistic_plcc):
        with pytest.warns(RuntimeWarning):
            assert np.isnan(metric(np.full(20, constant), truth))
    with pytest.warns(RuntimeWarning, match="constant"):
        found = agreement(np.full(20, constant), truth)
    assert np.isnan(list(found.values())).all()

def test_the_median_is_nan_where_a_split_has_no_value():
    with pytest.warns(RuntimeWarning):
        found = median_over_splits([.5, float("nan"), .6])
    assert np.isnan(found["median"]) and np.isnan(found["low"])

def test_agreement_of_a_good_score_warns_of_nothing():
    score, mos = saturating(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = agreement(score, mos)
    assert found == dict(srcc=srcc(score, mos), krcc=krcc(score, mos), plcc=plcc(score, mos),
                         plcc_logistic=logistic_plcc(score, mos), rmse=logistic_rmse(score, mos))
    assert found["plcc_logistic"] >= found["plcc"] and found["rmse"] < mos.std()

@pytest.mark.parametrize("count", [2, 3, 4, 5, 12])
def test_few_images_and_pure_noise(count):
    rng = np.random.default_rng(count)
    for _ in range(10):
        score, mos = rng.normal(size=count), rng.normal(size=count)
        found = agreement(score, mos)
        assert abs(found["plcc"]) - 1e-9 <= abs(found["plcc_logistic"]) <= 1 + 1e-9
        assert 0 <= found["rmse"] <= mos.std() + 1e-9

def test_rmse_does_not_reward_a_reversed_score():
    score, mos = saturating(5)
    assert logistic_rmse(-score, mos) == pytest.approx(mos.std())
    assert mos.std() > 2*logistic_rmse(score, mos)

def test_median_interval_holds_the_median():
    "About 95 of 100 intervals over ten splits hold the true median; the bootstrap of ten is a little short."
    held = 0
    for seed in range(200):
        found = median_over_splits(np.random.default_rng(seed).normal(.8, .02, 10), draws=300)
        held += found["low"] <= .8 <= found["high"]
    assert 170 <= held <= 200

def test_noise_is_the_formula():
    values = [.81, .79, .84, .80]
    assert split_noise(values, test_share=.2) == pytest.approx(np.std(values, ddof=1)*(1/4 + .25)**.5)
    assert split_noise(values, test_share=.5) > split_noise(values, test_share=.1)
    assert np.isnan(split_noise([.8]))

def table(**methods):
    return pd.DataFrame([dict(method=m, split=k, srcc=v, plcc=-v)
                         for m, values in methods.items() for k, v in enumerate(values)])

def test_comparison_equals_pair_by_pair():
    rng = np.random.default_rng(0)
    methods = {name: .7 + rng.normal(0, .02, 10) for name in "abcd"}
    for metric, sign in (("srcc", 1), ("plcc", -1)):
        found = compare_methods(table(**methods), metric)
        assert len(found) == 6
        for row in found.itertuples():
            change = sign*(methods[row.method] - methods[row.other])
            assert row.difference == pytest.approx(np.median(change))
            assert row.p == pytest.approx(stats.wilcoxon(change).pvalue)
            assert row.noise == pytest.approx(split_noise(change))
            assert row.wins == (change > 0).sum()
            assert row.low <= row.difference <= row.high
            assert row.stated == format_difference(row.difference, row.noise, 10, row.p)
            assert "±" in row.stated and "10 splits" in row.stated
        assert (found.p_holm >= found.p).all() and (found.p_holm <= 1).all()

def test_comparison_does_not_depend_on_order():
    rng = np.random.default_rng(2)
    results = table(a=rng.random(10), b=rng.random(10))
    one, two = compare_methods(results), compare_methods(results.sample(frac=1, random_state=1))
    assert one.p[0] == two.p[0]
    assert abs(one.difference[0]) == pytest.approx(abs(two.difference[0]))

@pytest.mark.parametrize("spoil", [lambda t: t[1:],
                                   lambda t: pd.concat([t, t[:1]]), lambda t: t[t.method == "a"]],
                         ids=["missing", "twice", "alone"])
def test_comparison_needs_the_same_splits(spoil):
    with pytest.raises(AttiqaError):
        compare_methods(spoil(table(a=[.1]*10, b=[.2]*10)))

def test_holm_equals_its_definition():
    rng = np.random.default_rng(4)
    for _ in range(20):
        p = rng.random(6)**3
        order = sorted(range(6), key=lambda i: p[i])
        slow, worst = [0]*6, 0
        for rank, i in enumerate(order):
            worst = max(worst, min(1, p[i]*(6 - rank)))
            slow[i] = worst
        np.testing.assert_allclose(holm(p), slow)

def test_wilcoxon_of_equal_methods():
    assert paired_wilcoxon([.5]*10, [.5]*10) == 1
    assert paired_wilcoxon(np.arange(10) + .1, np.arange(10)) == pytest.approx(2/1024)
