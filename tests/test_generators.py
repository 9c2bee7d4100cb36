"Ranking generators: the order that is known, intervals and strengths against references, and what must be reported."
import shutil, sys
from itertools import permutations
import numpy as np, pandas as pd, pytest
from scipy import linalg, stats
from scipy.optimize import minimize
from attiqa import generators as g
from attiqa.cli import main
from attiqa.core import ATTRIBUTES, AttiqaError, generator
from attiqa.metrics import krcc
from attiqa.score import UNAWARE, Scorer
from attiqa.sources import MARK

def scores(columns, **more): # generator to scores by prompt, None where there is no picture
    rows = [dict(image=f"{name}/{i}", generator=name, prompt=f"p{i:03d}", quality=value, error="", content=f"{name}{i}")
            for name, values in columns.items() for i, value in enumerate(values) if value is not None]
    return pd.DataFrame(rows).assign(**dict.fromkeys(ATTRIBUTES, .5), **more)

@pytest.fixture
def random(): return generator("test generators")

@pytest.fixture(scope="module")
def scorer(): return Scorer()

@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    "Five prompts of the six codecs."
    return g.write_family(tmp_path_factory.mktemp("codecs"), "codecs", 5)

@pytest.fixture
def pictures(codecs, tmp_path):
    "The same, to be spoiled."
    shutil.copytree(codecs, tmp_path/"pictures")
    return tmp_path/"pictures"

@pytest.mark.parametrize("family", g.FAMILIES)
def test_known_order_of_six_is_found(family, tmp_path):
    _, board, curve, lines, _ = g.rank(g.read_comparison(g.write_family(tmp_path, family, 60)), Scorer(UNAWARE, "cpu"), 300)
    known = g.known_order(family)
    assert np.isclose(krcc(board.set_index("generator").quality[known], -np.arange(6)), 1) and (board.prompts == 60).all()
    assert (board.quality_low.to_numpy()[:-1] > board.quality_high.to_numpy()[1:]).all(), "adjacent intervals overlap"
    assert list(board.strength) == sorted(board.strength, reverse=True) and board.tied_with.eq("").all()
    assert g.enough_prompts(curve) and lines == []

def test_win_rates_are_those_of_a_slow_loop(random):
    matrix = pd.DataFrame(random.integers(0, 4, (30, 4)), columns=list("abcd"))
    slow = [[np.mean([1 if x > y else .5 if x == y else 0 for x, y in zip(matrix[a], matrix[b])]) for b in matrix] for a in matrix]
    assert np.allclose(g.wins(matrix).mean(0), slow)
    assert np.allclose(g.win_rates(g.wins(matrix).mean(0)), [np.mean([slow[a][b] for b in range(4) if b != a]) for a in range(4)])
    assert np.isclose(g.win_rates(g.wins(matrix).mean(0)).mean(), .5)

def test_strengths_are_the_likeliest(random):
    won = random.integers(1, 40, (5, 5)).astype(float)
    loss = lambda s: sum((won[a, b] + .5)*np.log1p(np.exp(s[b] - s[a])) for a, b in permutations(range(5), 2))
    best = minimize(loss, np.zeros(5), tol=1e-10).x
    assert np.allclose(g.bradley_terry(won), best - best.mean(), atol=1e-3)

def test_strengths_are_finite_where_one_never_loses():
    strengths = g.bradley_terry(np.array([[0, 10, 10], [0, 0, 10], [0, 0, 0.]]))
    assert np.isfinite(strengths).all() and list(np.argsort(-strengths)) == [0, 1, 2]

def test_strengths_that_are_known_are_recovered(random):
    truth, won = np.array([1., 0., -1.]), np.zeros((3, 3))
    for a, b in permutations(range(3), 2): won[a, b] = 4000/(1 + np.exp(truth[b] - truth[a]))
    assert np.allclose(g.bradley_terry(won), truth, atol=.01)

def test_means_of_draws_are_those_of_a_loop(random):
    matrix = pd.DataFrame(random.normal(size=(7, 3)), columns=list("abc"))
    weights = g.prompt_weights(7, 7, 20)
    assert np.allclose(g.drawn_means(matrix, draws=20), [[sum(w*x for w, x in zip(row, matrix[c])) for c in matrix] for row in weights])
    assert np.allclose(weights.sum(1), 1) and np.allclose(weights*7, (weights*7).round())

def test_ties_are_judged_on_differences(random):
    "A shift that is small against the prompts' spread, but the same for every prompt, is no tie, although the intervals overlap."
    base = random.normal(.5, .2, 50)
    board = g.leaderboard(scores(dict(a=base + .01, b=base, c=base + .02*random.permutation(np.resize([-1, 1], 50)))), 200)
    row = board.set_index("generator")
    assert row.quality_low["a"] < row.quality_high["b"] and "b" not in row.tied_with["a"] and row.tied_with["b"] == "c"

def test_equal_generators_are_never_stable(random):
    base = random.normal(.5, .2, 20)
    curve = g.order_curve(g.prompt_matrix(scores(dict(a=base, b=base))))
    assert g.enough_prompts(curve) is None and g.leaderboard(scores(dict(a=base, b=base)), 50).tied_with.tolist() == ["b", "a"]

def test_more_prompts_are_needed_for_a_smaller_difference(random):
    base, noise = random.normal(.5, .2, 200), .1*random.standard_normal(200)
    noise -= noise.mean()
    need = [g.enough_prompts(g.order_curve(g.prompt_matrix(scores(dict(a=base + shift + noise, b=base))))) for shift in (.3, .1, .05)]
    assert need == sorted(need) and need[0] < need[-1]

def test_several_pictures_of_a_prompt_count_once():
    once, twice = scores(dict(a=[.2, .8, .5], b=[.1, .2, .3])), scores(dict(a=[.2, .8, .5], b=[.1, .2, .3]))
    twice = pd.concat([twice, twice[twice.prompt == "p000"].assign(quality=lambda t: t.quality + .1), twice[twice.prompt == "p000"].assign(quality=lambda t: t.quality - .1)])
    assert g.prompt_matrix(once).equals(g.prompt_matrix(twice).round(12))

def test_without_common_prompts_there_are_means_and_no_win_rates():
    board = g.leaderboard(scores(dict(a=[.9, .8, .85, None, None, None], b=[None]*3 + [.1, .2, .15])), 100)
    assert list(board.generator) == ["a", "b"] and "win_rate" not in board and board.tied_with.eq("").all() and list(board.prompts) == [3, 3]

def test_one_generator_is_a_leaderboard_too():
    board = g.leaderboard(scores(dict(a=[.9, .8, .7])), 50)
    assert len(board) == 1 and board.quality_low[0] <= board.quality[0] <= board.quality_high[0] and "| a | 3 |" in g.to_markdown(board)

def test_a_prompt_mismatch_is_reported(pictures, scorer):
    (pictures/"jpeg-20/002.png").unlink(); (pictures/"jpeg-05/004.png").rename(pictures/"jpeg-05/other.png")
    _, board, _, lines, _ = g.rank(g.read_comparison(pictures), scorer, 20)
    text = "\n".join(lines)
    assert "jpeg-20 has no picture for 2 of 6 prompts (002, other)" in text and "jpeg-05 has no picture for 1 of 6 prompts (004)" in text
    assert "over the 3 prompts" in text and (board.prompts == 3).all()

def test_a_folder_twice_is_reported(pictures, scorer):
    shutil.copytree(pictures/"jpeg-95", pictures/"renamed")
    _, board, _, lines, _ = g.rank(g.read_comparison(pictures), scorer, 20)
    assert [line for line in lines if "the same folder twice" in line and "jpeg-95" in line and "renamed" in line]
    assert set(board.tied_with[:2]) == {"jpeg-95", "renamed"}
    with pytest.raises(AttiqaError, match="given twice"): g.read_folders([pictures/"jpeg-95", pictures/"jpeg-95"])

def test_a_picture_that_is_there_twice_is_reported(pictures, scorer):
    shutil.copy(pictures/"jpeg-08/000.png", pictures/"jpeg-08/001.png")
    assert g.rank(g.read_comparison(pictures), scorer, 20)[3] == ["jpeg-08 has 1 pictures more than once, byte for byte"]

def test_a_bad_picture_ends_nothing(pictures, scorer):
    (pictures/"jpeg-12/001.png").write_bytes(b"\x89PNG half")
    scored, board, _, lines, _ = g.rank(g.read_comparison(pictures), scorer, 20)
    assert board.set_index("generator").rejected["jpeg-12"] == 1 and any("001.png" in line and "left out" in line for line in lines)
    assert scored.error.ne("").sum() == 1

def test_other_sizes_are_reported(pictures, scorer):
    for file in (pictures/"jpeg-05").iterdir():
        with g.Image.open(file) as image: larger = image.resize((160, 160))
        larger.save(file)
    assert any("differ in size" in line for line in g.rank(g.read_comparison(pictures), scorer, 20)[3])

def test_a_table_says_the_same_as_folders(pictures, tmp_path, scorer):
    folders = g.read_comparison(pictures)
    folders.assign(image=[f"pictures/{generator}/{prompt}.png" for generator, prompt in zip(folders.generator, folders.prompt)]).to_csv(tmp_path/"table.csv", index=False)
    assert [str(path) for path in g.read_comparison(tmp_path/"table.csv").image] == list(folders.image)
    columns = ["generator", "prompt"]
    assert g.read_comparison(tmp_path/"table.csv")[columns].equals(folders[columns])

@pytest.mark.parametrize("text, reason", [("image,generator\na,b\n", "no column 'prompt'"), ("image,generator,prompt\na,,c\n", "row 0 has no generator")])
def test_a_bad_table_is_one_line(tmp_path, text, reason):
    (tmp_path/"t.csv").write_text(text)
    with pytest.raises(AttiqaError, match=reason): g.read_comparison(tmp_path/"t.csv")

@pytest.mark.parametrize("name, content", [("a.csv", b""), ("a.csv", "image,generator,prompt\n\u00df,a,b".encode("latin-1")), ("a.csv", b'image,generator\n"a'), ("a.parquet", b"none")])
def test_a_file_that_is_no_table_is_one_line(tmp_path, capsys, name, content):
    (tmp_path/name).write_bytes(content)
    assert main(["rank", str(tmp_path/name)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"is no readable .{name[2:]} table" in said

def test_ratings_are_numbers(tmp_path):
    (tmp_path/"t.csv").write_text("image,generator,prompt,rating\na,b,c,3\na,b,d,\na,b,e,good\n")
    with pytest.raises(AttiqaError, match="row 2 has the rating 'good'"): g.read_comparison(tmp_path/"t.csv")

def test_ratings_are_reported(pictures, tmp_path, capsys):
    "On the terminal and in the files; with too few of them everything else is still written."
    table = g.read_comparison(pictures)
    for count in (len(table), 2):
        table.assign(rating=[-row.Index if row.Index < count else None for row in table.itertuples()]).to_csv(tmp_path/"t.csv", index=False)
        out = tmp_path/f"out{count}"
        assert main(["rank", str(tmp_path/"t.csv"), "--out", str(out)]) == 0
        assert (out/"sheet.jpg").exists() and (out/"agreement.csv").exists() == (count > 2)
        said = capsys.readouterr()
        assert ("| quality | rating |" in said.out) == (count > 2) == ("| quality | rating |" in (out/"leaderboard.md").read_text())
        assert ("2 pictures have both a score and a rating; agreement needs 3" in said.err) == (count == 2)

def test_agreement_with_ratings(random):
    quality = {name: random.normal(mean, .1, 30) for name, mean in dict(a=.8, b=.5, c=.3, d=.1).items()}
    table = scores(quality)
    agreed = lambda rating, draws: g.column_agreement(table.assign(rating=rating), ["rating"], draws).set_index("over")
    same = agreed(table.quality*5, 50)
    assert np.allclose(same[["SRCC", "SRCC_low", "KRCC", "KRCC_low"]], 1)
    assert np.allclose(agreed(-table.quality, 50)[["SRCC", "SRCC_high", "KRCC", "KRCC_high"]], -1)
    noisy = agreed(table.quality + random.normal(0, .3, len(table)), 100)
    assert (noisy.SRCC_low <= noisy.SRCC).all() and (noisy.SRCC <= noisy.SRCC_high).all()
    assert noisy.n.to_dict() == dict(generators=4, prompts=30, images=120)
    assert g.column_agreement(table.assign(rating=np.nan), ["rating"]).empty

HAND = pd.DataFrame(dict(prompt=[*"1112223334"], generator=[*"abcabcabca"], quality=[.9, .5, .1, .8, .6, .2, .7, .9, .3, .4],
                         rating=[5, 3, 1, 4, 5, 2, 3, 3, 3, 1.], error=""))

def test_agreement_is_scipys_on_a_table_by_hand():
    "Prompt 3 has one rating for all and prompt 4 one picture: neither has an order. Generators' means are over prompts 1 to 3, which all answered."
    found = g.column_agreement(HAND, ["rating"], 200).set_index("over")
    for name, statistic in dict(SRCC=stats.spearmanr, KRCC=stats.kendalltau).items():
        of = lambda a, b: statistic(a, b).statistic
        assert np.isclose(found[name]["images"], of(HAND.quality, HAND.rating))
        assert np.isclose(found[name]["generators"], of([.8, 2/3, .2], [4, 11/3, 2]))
        assert np.isclose(found[name]["prompts"], (of([.9, .5, .1], [5, 3, 1]) + of([.8, .6, .2], [4, 5, 2]))/2)
    assert found.n.to_dict() == dict(generators=3, prompts=2, images=10)
    assert found.SRCC_low["prompts"] == .5 and found.SRCC_high["prompts"] == 1

def test_intervals_come_from_whole_prompts(random):
    "Each prompt's pictures ten times over are no new prompts: the interval over images stays as wide."
    once = scores(dict(a=random.random(12), b=random.random(12))).assign(rating=lambda t: t.quality + random.normal(0, .2, len(t)))
    ten = pd.concat([once]*10, ignore_index=True)
    found = lambda table: g.column_agreement(table, ["rating"], 400).set_index("over").loc["images"]
    for name in ("SRCC", "SRCC_low", "SRCC_high"): assert np.isclose(found(once)[name], found(ten)[name], atol=1e-9)

def test_the_interval_is_that_of_a_slow_loop(random):
    table = scores({name: random.random(15) for name in "abcd"}).assign(rating=lambda t: t.quality + random.normal(0, .3, len(t)))
    drawn = []
    for weights in (g.prompt_weights(15, 15, 60)*15).round().astype(int):
        copies = pd.concat([group for (_, group), n in zip(table.groupby("prompt"), weights) for _ in range(n)])
        means = copies.groupby("generator")[["quality", "rating"]].mean()
        drawn.append((stats.spearmanr(means.quality, means.rating).statistic, stats.spearmanr(copies.quality, copies.rating).statistic))
    found = g.column_agreement(table, ["rating"], 60).set_index("over")
    for unit, values in zip(("generators", "images"), zip(*drawn)):
        assert np.allclose(found.loc[unit, ["SRCC_low", "SRCC_high"]].astype(float), np.quantile(values, [.025, .975]))

def test_generators_without_common_prompts_are_compared_by_their_own():
    "Each generator's mean is over its own rated pictures; no prompt has two of them."
    table = scores(dict(a=[.9, .8, None, None, None, None], b=[None, None, .2, .4, None, None], c=[None]*4 + [.5, .7])).assign(rating=[1, 2, 5, np.nan, 4, 3])
    found = g.column_agreement(table, ["rating"], 50).set_index("over")
    assert np.isclose(found.SRCC["generators"], stats.spearmanr([.85, .2, .6], [1.5, 5, 3.5]).statistic)
    assert found.n.to_dict() == dict(generators=3, prompts=0, images=5) and np.isnan(found.SRCC["prompts"]) and np.isnan(found.SRCC_low["prompts"])

def test_equal_means_are_ties_whatever_their_sums_round_to():
    "Ratings of 1, 2 and 3 in another order have one mean; a constant column has no agreement."
    table = scores(dict(a=[.9, .8, .7], b=[.5, .6, .4], c=[.1, .2, .3])).assign(rating=[.1, .2, .3, .3, .1, .2, .2, .3, .1], same=3.3)
    found = g.column_agreement(table, ["rating", "same"], 20).set_index(["column", "other", "over"])
    assert np.isnan(found.SRCC["quality", "rating", "generators"])
    assert found.loc[("quality", "same"), ["SRCC", "SRCC_low"]].isna().all(axis=None)
    assert "–" in g.agreement_markdown(found.reset_index())

@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_further_columns(pictures, tmp_path, capsys, suffix):
    "Means on the leaderboard, agreement with the quality and with each other; text columns stay text."
    table = g.read_comparison(pictures).assign(hpsv3=lambda t: 10. - t.index, pickscore=lambda t: t.index + 20., caption="007")
    table.to_csv(tmp_path/"t.csv", index=False), table.to_parquet(tmp_path/"t.parquet")
    command = ["rank", str(tmp_path/f"t.{suffix}"), "--columns", "hpsv3, pickscore", "--out", str(tmp_path/"out")]
    assert main(command) == 0
    said, board = capsys.readouterr(), pd.read_csv(tmp_path/"out/leaderboard.csv").set_index("generator")
    assert np.allclose(board.hpsv3, table.groupby("generator").hpsv3.mean()[board.index])
    assert "| hpsv3 | pickscore | tied with |" in said.out
    agreed = pd.read_csv(tmp_path/"out/agreement.csv").set_index(["column", "other", "over"])
    assert len(agreed) == 9 and np.allclose(agreed.sort_index().SRCC["hpsv3", "pickscore"], -1)
    kept = pd.read_parquet(tmp_path/"out/images.parquet")
    assert set(kept.caption) == {"007"} and set(kept.prompt) == {f"{i:03d}" for i in range(5)}
    assert "the prompt is not read" in said.err and "the prompt is not read" in (tmp_path/"out/leaderboard.md").read_text()

@pytest.mark.parametrize("words, reason", [
    (["--columns", "caption"], "row 0 has the caption '007'; its cells are numbers"), (["--columns", "clip"], "has no column 'clip'; it has image"),
    (["--columns", "prompt"], "column 'prompt' is one of attiqa's own"), (["--columns", "endless"], "row 0 has the endless 'inf'"),
    (["--reference", "one"], "one: has 1 pictures that can be read; a reference needs 2 or more"), (["--reference", "nowhere"], "nowhere: is no folder"),
    (["--reference", "p", "--features", "vgg"], "no features 'vgg'; there are backbone, inception")])
def test_what_cannot_be_compared_is_one_line(pictures, tmp_path, monkeypatch, capsys, words, reason):
    monkeypatch.chdir(tmp_path)
    g.read_comparison(pictures).assign(caption="x007", endless="inf").to_csv("t.csv", index=False)
    (tmp_path/"one").mkdir(), (tmp_path/"p").mkdir()
    shutil.copy(pictures/"jpeg-95/000.png", "one")
    assert main(["rank", "t.csv", *words]) == 2
    said = capsys.readouterr()
    assert reason.replace("'007'", "'x007'") in said.err and said.err.count("\n") == 1 and not said.out

def test_folders_have_no_further_columns(pictures, capsys):
    assert main(["rank", str(pictures), "--columns", "hpsv3"]) == 2 and "no column 'hpsv3'; it has image, generator, prompt" in capsys.readouterr().err

@pytest.mark.parametrize("name", ["quality", "error", "content"])
def test_a_column_named_as_a_score_is_one_line(pictures, tmp_path, capsys, name):
    g.read_comparison(pictures).assign(**{name: 1}).to_csv(tmp_path/"t.csv", index=False)
    assert main(["rank", str(tmp_path/"t.csv")]) == 2 and f"column '{name}' has the name of a score" in capsys.readouterr().err

def test_no_column_may_take_a_name_of_the_leaderboards(pictures, scorer):
    found = g.rank(g.read_comparison(pictures), scorer, 20, reference=g.Reference(pictures/"jpeg-95", scorer))[1]
    assert set(found) < set(g.BOARD) and set(g.BOARD) - set(found) == {"FID", "KID"}

def closed_form(x, y): # of two Gaussians with these covariances
    a, b = np.cov(x.T), np.cov(y.T)
    return ((x.mean(0) - y.mean(0))**2).sum() + np.trace(a + b - 2*linalg.sqrtm(linalg.sqrtm(a)@b@linalg.sqrtm(a)).real)

def test_frechet_distance_is_that_of_two_gaussians(random):
    x, mix = random.normal(size=(400, 6)), random.normal(size=(6, 6))
    y = random.normal(size=(300, 6))@mix + 2
    assert np.isclose(g.set_distances(x, y)[0], closed_form(x, y), rtol=1e-6)
    assert g.set_distances(x, x)[0] == pytest.approx(0, abs=1e-8)
    wide, narrow = (random.normal(size=(200_000, 2))*spread + place for spread, place in (([2, 1], 0), ([1, 3], [1, 0])))
    assert g.set_distances(wide, narrow)[0] == pytest.approx(1 + 1 + 4, rel=.02) # squares of the differences of means and of spreads

def test_kernel_distance_is_the_unbiased_one(random):
    x, y = random.normal(size=(40, 3)), random.normal(size=(40, 3)) + 1
    kernel = lambda a, b: (a@b.T/3 + 1)**3
    off = lambda k: (k.sum() - np.trace(k))/(40*39)
    assert g.set_distances(x, y)[1] == pytest.approx(off(kernel(x, x)) + off(kernel(y, y)) - 2*kernel(x, y).mean())
    assert g.set_distances(x, y[:20], 1) == g.set_distances(x, y[:20], 1)

@pytest.mark.parametrize("family", g.FAMILIES)
def test_distances_rise_in_the_known_order(family, tmp_path, scorer):
    (tmp_path/"real").mkdir()
    for i in range(24): g.prompt_picture(i, "reference").save(tmp_path/f"real/{i}.png")
    real = g.Reference(tmp_path/"real", scorer)
    found = real.distances(g.read_comparison(g.write_family(tmp_path/"family", family, 24)).assign(error="")).loc[g.known_order(family)]
    assert found.frechet.is_monotonic_increasing and found.kernel.is_monotonic_increasing

def test_reference_of_the_same_pictures(pictures, tmp_path, capsys):
    "Zero for the generator whose folder it is; the name says that it is no FID; a bad picture is named."
    (pictures/"jpeg-95/bad.png").write_text("none")
    good, bad = str(pictures/"jpeg-95"), str(pictures/"jpeg-20")
    assert main(["rank", bad, good, "--reference", good, "--out", str(tmp_path/"out")]) == 1
    said, board = capsys.readouterr(), pd.read_csv(tmp_path/"out/leaderboard.csv").set_index("generator")
    assert board.frechet["jpeg-95"] == pytest.approx(0, abs=1e-3) and board.frechet["jpeg-20"] > 10 and "FID" not in board
    assert "attiqa-mini's backbone (efficientnet_lite0), not FID or KID" in said.err and "bad.png: is not a readable image" in said.err
    assert "with 320 pictures or fewer" in said.err

def test_one_picture_has_no_distance(pictures, tmp_path, scorer):
    (tmp_path/"few").mkdir(), shutil.copy(pictures/"jpeg-95/000.png", tmp_path/"few")
    table, real = g.read_folders([tmp_path/"few", pictures/"jpeg-20"]), g.Reference(pictures/"jpeg-95", scorer)
    board = g.rank(table, scorer, 20, reference=real)[1]
    frechet = board.set_index("generator").frechet
    assert np.isnan(frechet["few"]) and frechet["jpeg-20"] > 10 and "| – |" in g.to_markdown(board)

@pytest.fixture
def inception(tmp_path, monkeypatch):
    "Where torch-fidelity keeps Inception's weights; random ones can be put there."
    pytest.importorskip("torch_fidelity")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path/"torch"))
    (tmp_path/"torch/hub/checkpoints").mkdir(parents=True)
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    return tmp_path/"torch/hub/checkpoints"/URL_INCEPTION_V3.split("/")[-1]

def test_fid_is_torchmetrics_own(pictures, inception, scorer, monkeypatch):
    "With random weights, since the true ones are no part of this kit."
    import torch
    from torch_fidelity import feature_extractor_inceptionv3 as extractor
    from torchmetrics.image.fid import FrechetInceptionDistance
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(extractor.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr(extractor, "load_state_dict_from_url", lambda *a, **k: {})
        drawn = extractor.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        for part in drawn.modules():
            if isinstance(part, torch.nn.Conv2d): torch.nn.init.kaiming_normal_(part.weight) # else nothing is left of a picture in the last layer
        torch.save(drawn.state_dict(), inception)
    real = g.Reference(pictures/"jpeg-95", scorer, "inception")
    found = real.distances(g.read_folders([pictures/"jpeg-20"]).assign(error=""))
    metric, read = FrechetInceptionDistance(2048), lambda file: torch.from_numpy(np.array(g.open_image(file))).permute(2, 0, 1)
    batch = lambda name: torch.stack([read(file) for file in sorted((pictures/name).iterdir())])
    metric.update(batch("jpeg-95"), real=True), metric.update(batch("jpeg-20"), real=False)
    assert found.FID["jpeg-20"] > 1e-3
    assert found.FID["jpeg-20"] == pytest.approx(metric.compute().item(), rel=1e-3)
    assert real.what == "Inception" and list(found) == ["FID", "KID"]

def test_weights_that_cannot_be_had_are_one_line(pictures, inception, monkeypatch, capsys):
    import torch
    def offline(*_, **__): raise OSError("no route to host")
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    assert main(["rank", str(pictures), "--reference", str(pictures/"jpeg-95"), "--features", "inception"]) == 2
    said = capsys.readouterr().err
    assert "need Inception's weights (no route to host)" in said and str(inception) in said and said.count("\n") == 1

class Boom:
    def __reduce__(self): return exec, ("import pathlib, os; pathlib.Path(os.environ['TORCH_HOME'], 'boom').touch()",)

def test_weights_that_are_code_are_not_run(pictures, inception, tmp_path, scorer):
    import torch
    torch.save(Boom(), inception)
    with pytest.raises(AttiqaError, match="need Inception"): g.Reference(pictures/"jpeg-95", scorer, "inception")
    assert not (tmp_path/"torch/boom").exists()

def test_a_missing_package_is_one_line(pictures, monkeypatch, capsys):
    for name in ("torch_fidelity", "torch_fidelity.feature_extractor_inceptionv3"): monkeypatch.setitem(sys.modules, name, None)
    assert main(["rank", str(pictures), "--reference", str(pictures/"jpeg-95"), "--features", "inception"]) == 2
    assert capsys.readouterr().err == "attiqa: FID and KID need the package torch-fidelity: pip install 'attiqa[fid]'\n"

def test_names_are_safe_in_markdown():
    line = g.to_markdown(g.leaderboard(scores({"a|b<script>\nx": [.9, .8], "b": [.1, .2]}), 20)).splitlines()[2]
    assert line.startswith("| a\\|b&lt;script> x | 2 |")

def test_command(pictures, tmp_path, capsys):
    folders = [str(pictures/name) for name in ("jpeg-01", "jpeg-95")]
    assert main(["rank", *folders, "--out", str(tmp_path/"out")]) == 0
    said = capsys.readouterr()
    assert said.out.index("jpeg-95") < said.out.index("jpeg-01") and "order" in said.err
    assert {p.name for p in (tmp_path/"out").iterdir()} == {MARK, "images.parquet", "leaderboard.csv", "leaderboard.md", "leaderboard.png", "sheet.jpg"}
    assert pd.read_csv(tmp_path/"out/leaderboard.csv").generator.tolist() == ["jpeg-95", "jpeg-01"]
    (pictures/"jpeg-01/000.png").write_text("none")
    assert main(["rank", *folders]) == 1
    assert main(["rank", str(tmp_path/"nowhere"), folders[0]]) == 2 and "is no folder" in capsys.readouterr().err
    assert main(["rank", "--nowhere"]) == 2 and "See: attiqa rank --help" in capsys.readouterr().err

def test_one_generator_has_no_order(pictures, tmp_path, capsys):
    assert main(["rank", str(pictures/"jpeg-95"), "--out", str(tmp_path/"out")]) == 0
    assert "there is no order" in capsys.readouterr().err and (tmp_path/"out/leaderboard.png").exists()

def test_the_notebook_runs_on_folders_and_refuses_a_wrong_name(papermill, run, pictures):
    done = papermill("08_generators", run=run, images=pictures, reference=pictures/"jpeg-95")
    assert done.returncode == 0, done.stderr[-3000:]
    board = pd.read_csv(run/"generators/pictures/leaderboard.csv")
    assert {"frechet", "kernel"} <= set(board)
    assert len(board) == 6 and board.generator[0] == "jpeg-95"
    assert "did you mean 'images'?" in papermill("08_generators", run=run, image="x").stderr
