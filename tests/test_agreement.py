"How a leaderboard agrees with people's ratings: over generators, prompts and images, with intervals."
import numpy as np, pandas as pd, pytest
from scipy import stats
from attiqa.cli import main
from attiqa.core import generator
from attiqa.generators import (
    agreement_markdown, column_agreement, prompt_weights, read_comparison, write_family)
from generator_scores import score_table

@pytest.fixture
def random(): return generator("test generators")

def agreement(table, draws):
    "Of the quality with the ratings, by what it is over."
    return column_agreement(table, ["rating"], draws).set_index("over")

def spearman(first, second): return stats.spearmanr(first, second).statistic

def kendall(first, second): return stats.kendalltau(first, second).statistic

@pytest.mark.parametrize("enough", [True, False])
def test_ratings_are_reported(tmp_path, capsys, enough):
    "On the terminal and in the files; with too few of them everything else is still written."
    table = read_comparison(write_family(tmp_path/"codecs", "codecs", 5))
    count, out = len(table) if enough else 2, tmp_path/"out"
    ratings = [-i if i < count else None for i in range(len(table))]
    table.assign(rating=ratings).to_csv(tmp_path/"t.csv", index=False)
    assert main(["rank", str(tmp_path/"t.csv"), "--out", str(out)]) == 0
    printed, header = capsys.readouterr(), "| quality | rating |"
    assert (out/"sheet.jpg").exists()
    assert (out/"agreement.csv").exists() == enough
    assert (header in printed.out) == enough
    assert (header in (out/"leaderboard.md").read_text()) == enough
    assert ("2 pictures have both a score and a rating; agreement needs 3" in printed.err) != enough

# Correlations

MEANS = dict(a=.8, b=.5, c=.3, d=.1)

def test_agreement_with_ratings(random):
    table = score_table({name: random.normal(mean, .1, 30) for name, mean in MEANS.items()})
    same = agreement(table.assign(rating=table.quality*5), 50)
    assert np.allclose(same[["SRCC", "SRCC_low", "KRCC", "KRCC_low"]], 1)
    opposite = agreement(table.assign(rating=-table.quality), 50)
    assert np.allclose(opposite[["SRCC", "SRCC_high", "KRCC", "KRCC_high"]], -1)
    noisy = agreement(table.assign(rating=table.quality + random.normal(0, .3, len(table))), 100)
    assert (noisy.SRCC_low <= noisy.SRCC).all()
    assert (noisy.SRCC <= noisy.SRCC_high).all()
    assert noisy.n.to_dict() == dict(generators=4, prompts=30, images=120)
    assert column_agreement(table.assign(rating=np.nan), ["rating"]).empty

BY_HAND = pd.DataFrame(dict(
    prompt=[*"1112223334"], generator=[*"abcabcabca"],
    quality=[.9, .5, .1, .8, .6, .2, .7, .9, .3, .4],
    rating=[5, 3, 1, 4, 5, 2, 3, 3, 3, 1.],
    error=""))

def test_agreement_is_scipys_on_a_table_by_hand():
    """Prompt 3 has one rating for all and prompt 4 one image, so neither has an order.

    Generators' means are over prompts 1 to 3, which all answered."""
    found = agreement(BY_HAND, 200)
    for name, correlation in dict(SRCC=spearman, KRCC=kendall).items():
        first, second = correlation([.9, .5, .1], [5, 3, 1]), correlation([.8, .6, .2], [4, 5, 2])
        assert np.isclose(found[name]["images"], correlation(BY_HAND.quality, BY_HAND.rating))
        assert np.isclose(found[name]["generators"], correlation([.8, 2/3, .2], [4, 11/3, 2]))
        assert np.isclose(found[name]["prompts"], (first + second)/2)
    assert found.n.to_dict() == dict(generators=3, prompts=2, images=10)
    assert found.SRCC_low["prompts"] == .5
    assert found.SRCC_high["prompts"] == 1

# Intervals

def test_intervals_come_from_whole_prompts(random):
    "Each prompt's images ten times over are no new prompts: the interval over images stays as wide."
    table = score_table(dict(a=random.random(12), b=random.random(12)))
    once = table.assign(rating=table.quality + random.normal(0, .2, len(table)))
    few = agreement(once, 400).loc["images"]
    many = agreement(pd.concat([once]*10, ignore_index=True), 400).loc["images"]
    for name in ("SRCC", "SRCC_low", "SRCC_high"): assert np.isclose(few[name], many[name], atol=1e-9)

def slow_draw(table, counts):
    "Agreement over generators and over images of a table that holds each prompt as often as drawn."
    copies = pd.concat([group for (_, group), n in zip(table.groupby("prompt"), counts) for _ in range(n)])
    means = copies.groupby("generator")[["quality", "rating"]].mean()
    return spearman(means.quality, means.rating), spearman(copies.quality, copies.rating)

def test_the_interval_is_that_of_a_slow_loop(random):
    table = score_table({name: random.random(15) for name in "abcd"})
    table = table.assign(rating=table.quality + random.normal(0, .3, len(table)))
    counts = (prompt_weights(15, 15, 60)*15).round().astype(int)
    slow = np.quantile([slow_draw(table, row) for row in counts], [.025, .975], axis=0)
    found = agreement(table, 60).loc[["generators", "images"], ["SRCC_low", "SRCC_high"]].astype(float)
    assert np.allclose(found, slow.T)

# Gaps and ties

def test_generators_without_common_prompts_are_compared_by_their_own():
    "Each generator's mean is over its own rated images; no prompt has two of them."
    table = score_table(dict(
        a=[.9, .8, None, None, None, None],
        b=[None, None, .2, .4, None, None],
        c=[None, None, None, None, .5, .7]))
    found = agreement(table.assign(rating=[1, 2, 5, np.nan, 4, 3]), 50)
    assert np.isclose(found.SRCC["generators"], spearman([.85, .2, .6], [1.5, 5, 3.5]))
    assert found.n.to_dict() == dict(generators=3, prompts=0, images=5)
    assert np.isnan(found.SRCC["prompts"])
    assert np.isnan(found.SRCC_low["prompts"])

def test_equal_means_are_ties_whatever_their_sums_round_to():
    "Ratings of 1, 2 and 3 in another order have one mean; a constant column has no agreement."
    table = score_table(dict(a=[.9, .8, .7], b=[.5, .6, .4], c=[.1, .2, .3]))
    table = table.assign(rating=[.1, .2, .3, .3, .1, .2, .2, .3, .1], same=3.3)
    found = column_agreement(table, ["rating", "same"], 20).set_index(["column", "other", "over"])
    assert np.isnan(found.SRCC["quality", "rating", "generators"])
    assert found.loc[("quality", "same"), ["SRCC", "SRCC_low"]].isna().all(axis=None)
    assert "–" in agreement_markdown(found.reset_index())
