"Ranking generators: the order that is known, intervals and strengths against references, and what must be reported."
import shutil
from itertools import permutations
import numpy as np, pandas as pd, pytest
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
    _, board, curve, lines = g.rank(g.read_comparison(g.write_family(tmp_path, family, 60)), Scorer(UNAWARE, "cpu"), 300)
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
    _, board, _, lines = g.rank(g.read_comparison(pictures), scorer, 20)
    text = "\n".join(lines)
    assert "jpeg-20 has no picture for 2 of 6 prompts (002, other)" in text and "jpeg-05 has no picture for 1 of 6 prompts (004)" in text
    assert "over the 3 prompts" in text and (board.prompts == 3).all()

def test_a_folder_twice_is_reported(pictures, scorer):
    shutil.copytree(pictures/"jpeg-95", pictures/"renamed")
    _, board, _, lines = g.rank(g.read_comparison(pictures), scorer, 20)
    assert [line for line in lines if "the same folder twice" in line and "jpeg-95" in line and "renamed" in line]
    assert set(board.tied_with[:2]) == {"jpeg-95", "renamed"}
    with pytest.raises(AttiqaError, match="given twice"): g.read_folders([pictures/"jpeg-95", pictures/"jpeg-95"])

def test_a_picture_that_is_there_twice_is_reported(pictures, scorer):
    shutil.copy(pictures/"jpeg-08/000.png", pictures/"jpeg-08/001.png")
    assert g.rank(g.read_comparison(pictures), scorer, 20)[3] == ["jpeg-08 has 1 pictures more than once, byte for byte"]

def test_a_bad_picture_ends_nothing(pictures, scorer):
    (pictures/"jpeg-12/001.png").write_bytes(b"\x89PNG half")
    scored, board, _, lines = g.rank(g.read_comparison(pictures), scorer, 20)
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
        assert main(["rank", str(tmp_path/"t.csv"), "--out", str(tmp_path/f"out{count}")]) == 0
        assert (tmp_path/f"out{count}/sheet.jpg").exists() and (tmp_path/f"out{count}/agreement.csv").exists() == (count > 2)
        said = capsys.readouterr().err
        assert ("agreement with ratings over 30 images: SRCC" in said) if count > 2 else ("2 pictures have both" in said)

def test_agreement_with_ratings(random):
    quality = {name: random.normal(mean, .1, 30) for name, mean in dict(a=.8, b=.5, c=.3, d=.1).items()}
    table = scores(quality)
    same = g.rating_agreement(table.assign(rating=table.quality*5), 50)
    assert np.allclose(same[["SRCC", "SRCC_low", "KRCC", "KRCC_low"]], 1)
    turned = g.rating_agreement(table.assign(rating=-table.quality), 50)
    assert np.allclose(turned[["SRCC", "KRCC"]], -1)
    noisy = g.rating_agreement(table.assign(rating=table.quality + random.normal(0, .3, len(table))), 100)
    assert (noisy.SRCC_low <= noisy.SRCC).all() and (noisy.SRCC <= noisy.SRCC_high).all() and list(noisy.n) == [120, 4]
    with pytest.raises(AttiqaError, match="needs 3"): g.rating_agreement(table.assign(rating=np.nan))

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
    done = papermill("08_generators", run=run, images=pictures)
    assert done.returncode == 0, done.stderr[-3000:]
    board = pd.read_csv(run/"generators/pictures/leaderboard.csv")
    assert len(board) == 6 and board.generator[0] == "jpeg-95"
    assert "did you mean 'images'?" in papermill("08_generators", run=run, image="x").stderr
