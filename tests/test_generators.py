"How generators are ranked: the known order, win rates, strengths, ties and the number of prompts."
from itertools import permutations
import numpy as np, pandas as pd, pytest
from scipy.optimize import minimize
from attiqa.cli import main
from attiqa.core import generator
from attiqa.generators import (
    STAND_IN_FAMILIES, bradley_terry, drawn_means, enough_prompts, known_order, leaderboard,
    leaderboard_markdown, order_curve, pairwise_wins, prompt_matrix, prompt_weights, rank, read_comparison,
    win_rates, write_family)
from attiqa.metrics import krcc
from attiqa.score import UNAWARE, Scorer
from attiqa.sources import OUTPUT_MARK
from generator_scores import score_table

@pytest.fixture
def random(): return generator("test generators")

@pytest.fixture
def codecs(tmp_path):
    "Five prompts of the six codecs, one folder per codec."
    return write_family(tmp_path/"codecs", "codecs", 5)

@pytest.mark.parametrize("family", STAND_IN_FAMILIES)
def test_known_order_of_six_is_found(family, tmp_path):
    table = read_comparison(write_family(tmp_path, family, 60))
    _, board, curve, lines, _ = rank(table, Scorer(UNAWARE, "cpu"), 300)
    quality = board.set_index("generator").quality[known_order(family)]
    low, high = board.quality_low.to_numpy(), board.quality_high.to_numpy()
    assert np.isclose(krcc(quality, -np.arange(6)), 1)
    assert (board.prompts == 60).all()
    assert (low[:-1] > high[1:]).all(), "adjacent intervals overlap"
    assert list(board.strength) == sorted(board.strength, reverse=True)
    assert board.tied_with.eq("").all()
    assert enough_prompts(curve)
    assert lines == []

# Win rates and strengths

def share_won(first, second):
    "Share of prompts on which the first scores higher, a tie counted as half."
    return np.mean([1 if x > y else .5 if x == y else 0 for x, y in zip(first, second)])

def test_win_rates_are_those_of_a_slow_loop(random):
    matrix = pd.DataFrame(random.integers(0, 4, (30, 4)), columns=list("abcd"))
    shares = [[share_won(matrix[a], matrix[b]) for b in matrix] for a in matrix]
    rates = [np.mean([shares[a][b] for b in range(4) if b != a]) for a in range(4)]
    won = pairwise_wins(matrix).mean(0)
    assert np.allclose(won, shares)
    assert np.allclose(win_rates(won), rates)
    assert np.isclose(win_rates(won).mean(), .5)

def minus_log_likelihood(strengths, won):
    "Of the strengths, with half a win added each way."
    return sum((won[a, b] + .5)*np.log1p(np.exp(strengths[b] - strengths[a]))
               for a, b in permutations(range(len(won)), 2))

def test_strengths_are_the_likeliest(random):
    won = random.integers(1, 40, (5, 5)).astype(float)
    best = minimize(minus_log_likelihood, np.zeros(5), args=(won,), tol=1e-10).x
    assert np.allclose(bradley_terry(won), best - best.mean(), atol=1e-3)

def test_strengths_are_finite_where_one_never_loses():
    strengths = bradley_terry(np.array([[0, 10, 10], [0, 0, 10], [0, 0, 0.]]))
    assert np.isfinite(strengths).all()
    assert list(np.argsort(-strengths)) == [0, 1, 2]

def test_strengths_that_are_known_are_recovered(random):
    truth, won = np.array([1., 0., -1.]), np.zeros((3, 3))
    for a, b in permutations(range(3), 2): won[a, b] = 4000/(1 + np.exp(truth[b] - truth[a]))
    assert np.allclose(bradley_terry(won), truth, atol=.01)

# Draws, ties and the number of prompts

def test_means_of_draws_are_those_of_a_loop(random):
    matrix = pd.DataFrame(random.normal(size=(7, 3)), columns=list("abc"))
    weights = prompt_weights(7, 7, 20)
    slow = [[sum(w*x for w, x in zip(row, matrix[name])) for name in matrix] for row in weights]
    assert np.allclose(drawn_means(matrix, draws=20), slow)
    assert np.allclose(weights.sum(1), 1)
    assert np.allclose(weights*7, (weights*7).round())

def test_ties_are_judged_on_differences(random):
    "A small shift that is the same for every prompt is no tie, although the intervals of the means overlap."
    base = random.normal(.5, .2, 50)
    signs = random.permutation(np.resize([-1, 1], 50))
    board = leaderboard(score_table(dict(a=base + .01, b=base, c=base + .02*signs)), 200)
    row = board.set_index("generator")
    assert row.quality_low["a"] < row.quality_high["b"]
    assert "b" not in row.tied_with["a"]
    assert row.tied_with["b"] == "c"

def needed_prompts(**columns):
    "How many prompts give a stable order; None if all of them do not."
    return enough_prompts(order_curve(prompt_matrix(score_table(columns))))

def test_equal_generators_are_never_stable(random):
    base = random.normal(.5, .2, 20)
    assert needed_prompts(a=base, b=base) is None
    assert leaderboard(score_table(dict(a=base, b=base)), 50).tied_with.tolist() == ["b", "a"]

def test_more_prompts_are_needed_for_a_smaller_difference(random):
    base, noise = random.normal(.5, .2, 200), .1*random.standard_normal(200)
    noise -= noise.mean()
    needed = [needed_prompts(a=base + shift + noise, b=base) for shift in (.3, .1, .05)]
    assert needed == sorted(needed)
    assert needed[0] < needed[-1]

# Gaps, repeats and single generators

def test_several_pictures_of_a_prompt_count_once():
    once = score_table(dict(a=[.2, .8, .5], b=[.1, .2, .3]))
    first = once[once.prompt == "p000"]
    more = [first.assign(quality=first.quality + shift) for shift in (.1, -.1)]
    assert prompt_matrix(once).equals(prompt_matrix(pd.concat([once, *more])).round(12))

def test_without_common_prompts_there_are_means_and_no_win_rates():
    scored = score_table(dict(a=[.9, .8, .85, None, None, None], b=[None, None, None, .1, .2, .15]))
    board = leaderboard(scored, 100)
    assert list(board.generator) == ["a", "b"]
    assert "win_rate" not in board
    assert board.tied_with.eq("").all()
    assert list(board.prompts) == [3, 3]

def test_one_generator_is_a_leaderboard_too():
    board = leaderboard(score_table(dict(a=[.9, .8, .7])), 50)
    assert len(board) == 1
    assert board.quality_low[0] <= board.quality[0] <= board.quality_high[0]
    assert "| a | 3 |" in leaderboard_markdown(board)

def test_names_are_safe_in_markdown():
    board = leaderboard(score_table({"a|b<script>\nx": [.9, .8], "b": [.1, .2]}), 20)
    assert leaderboard_markdown(board).splitlines()[2].startswith("| a\\|b&lt;script> x | 2 |")

# The command and the notebook

RESULTS = {OUTPUT_MARK, "images.parquet", "leaderboard.csv", "leaderboard.md", "leaderboard.png", "sheet.jpg"}

def test_command(codecs, tmp_path, capsys):
    folders = [str(codecs/name) for name in ("jpeg-01", "jpeg-95")]
    out = tmp_path/"out"
    assert main(["rank", *folders, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.index("jpeg-95") < printed.out.index("jpeg-01")
    assert "order" in printed.err
    assert {path.name for path in out.iterdir()} == RESULTS
    assert pd.read_csv(out/"leaderboard.csv").generator.tolist() == ["jpeg-95", "jpeg-01"]
    (codecs/"jpeg-01/000.png").write_text("none")
    assert main(["rank", *folders]) == 1

REFUSED_WORDS = [(["nowhere", "jpeg-01"], "is no folder"), (["--nowhere"], "See: attiqa rank --help")]

@pytest.mark.parametrize("words, reason", REFUSED_WORDS)
def test_wrong_words_are_refused(codecs, monkeypatch, capsys, words, reason):
    monkeypatch.chdir(codecs)
    assert main(["rank", *words]) == 2
    assert reason in capsys.readouterr().err

def test_one_generator_has_no_order(codecs, tmp_path, capsys):
    assert main(["rank", str(codecs/"jpeg-95"), "--out", str(tmp_path/"out")]) == 0
    assert "there is no order" in capsys.readouterr().err
    assert (tmp_path/"out/leaderboard.png").exists()

def test_the_notebook_runs_on_folders(papermill, run, codecs):
    done = papermill("08_generators", run=run, images=codecs, reference=codecs/"jpeg-95")
    assert done.returncode == 0, done.stderr[-3000:]
    board = pd.read_csv(run/"generators/codecs/leaderboard.csv")
    assert {"frechet", "kernel"} <= set(board)
    assert len(board) == 6
    assert board.generator[0] == "jpeg-95"
