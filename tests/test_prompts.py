"Prompt search finds planted words, keeps the reporting half apart, repeats its bytes and embeds images once."
import numpy as np, pandas as pd, pytest, torch, torch.nn.functional as F
from scipy.stats import spearmanr
from attiqa.bank import load_bank, write_bank
from attiqa.core import ATTRIBUTES, SHIPPED, AttiqaError, read_json
from attiqa.images import package_photograph
from attiqa.prompts import BASELINE_PROMPTS, choose_pairs, embed_pairs, load_prompts, search_prompts
from attiqa.proxies import controlled_tasks, ensemble_scores, image_half, judge_candidates
from attiqa.proxies import objective_draws, score_tasks
from attiqa.vlm import VLM, attribute_scores, load_vlm
from test_vlm import CONFIGS, architectures, as_safetensors, bare # noqa: F401 (a fixture among them)

SMALL = dict(count=6, rungs=3, size=96, draws=20)
TASKS = ["order", "selectivity", "steadiness", "reach"]

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTIQA_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"

@pytest.fixture(scope="module")
def mini_bank(tmp_path_factory):
    "The kit's bank with its first eight pairs of each attribute and two templates."
    bank, path = load_bank(), tmp_path_factory.mktemp("bank")/"bank.json"
    of = {a: [pair for pair in bank["pairs"] if pair["attribute"] == a] for a in ATTRIBUTES}
    pairs = [pair for a in ATTRIBUTES for pair in of[a][:8]]
    write_bank(path, dict(templates=bank["templates"][:2], pairs=pairs))
    return str(path)

# --- a world in which the right words are known

class Planted:
    """Images whose embedding contains the level of each attribute in five coordinates, and content in others.
    A word's embedding points along an attribute as purely as its name states: 'sharpness 0.9 7'."""
    temperature = 8.
    def __init__(self, count=40, rungs=5, seed=0):
        rng = np.random.default_rng(seed)
        level = np.ones((count, 5, rungs, 5))
        for i in range(5): level[:, i, :, i] = np.linspace(1, 0, rungs)
        content = np.repeat(rng.normal(0, .5, (count, 1, 1, 8)), 5, 1).repeat(rungs, 2)
        noise = rng.normal(0, .1, (count, 5, rungs, 3))
        parts = np.concatenate([level, content, noise], -1)
        self.embeddings = F.normalize(torch.tensor(parts, dtype=torch.float32), dim=-1)
        self.tasks = controlled_tasks(self.embeddings)

    def embed_texts(self, sentences): return torch.stack([self.word(s) for s in sentences])

    def word(self, sentence):
        attribute, purity, number, sign = (sentence.split() + ["0"]*4)[:4]
        if attribute not in ATTRIBUTES: return F.normalize(torch.ones(16), dim=0)
        rng = np.random.default_rng([int(number), sign == "+"])
        vector = (1 - float(purity))*rng.normal(0, 1, 16)
        vector[ATTRIBUTES.index(attribute)] += float(purity)*(1 if sign == "+" else -1)
        return F.normalize(torch.tensor(vector, dtype=torch.float32), dim=0)

    def candidates(self, purities, attribute="contrast"):
        names = [f"{attribute} {purity} {i}" for i, purity in enumerate(purities)]
        rows = [(attribute, f"{name} +", f"{name} -") for name in names]
        return pd.DataFrame(rows, columns=["attribute", "positive", "negative"])

PURITIES = [.3, .9, .5, .7, .2, .6, .4, .1, .8, .95]

@pytest.fixture(scope="module")
def world(): return Planted()

@pytest.fixture(scope="module")
def candidates(world): return world.candidates(PURITIES)

def ordered(report): return ((report.low <= report.objective) & (report.objective <= report.high)).all()

def test_the_pure_words_win(world, candidates):
    table, report = choose_pairs(candidates, world.tasks, world, draws=50)
    order = [float(words.split()[1]) for words in table.positive]
    assert order[0] >= .8 and np.mean(order[:3]) > .75 and np.mean(order[-3:]) < .4
    report = report.set_index("way")
    gain = report.loc["ensemble", ["gain", "gain_low", "gain_high"]]
    assert (gain == 0).all() # over itself
    assert report.gain_low[list(BASELINE_PROMPTS)].min() > 0
    assert ordered(report)

def test_reversed_words_lose(world, candidates):
    reverse = candidates.rename(columns=dict(positive="negative", negative="positive"))
    both = pd.concat([candidates, reverse], ignore_index=True)[["attribute", "positive", "negative"]]
    table, _ = choose_pairs(both, world.tasks, world, draws=50)
    reverse, purity = table.positive.str.endswith("-"), table.positive.str.split().str[1].astype(float)
    assert not reverse.head(4).any()
    assert (table[reverse & (purity >= .7)].objective < 0).all()

def test_order_of_candidates_does_not_matter(world, candidates):
    def chosen(candidates):
        table, _ = choose_pairs(candidates, world.tasks, world, draws=50)
        return set(table[table.chosen].positive)
    assert chosen(candidates) == chosen(candidates[::-1])

@pytest.fixture
def with_noise(world, candidates):
    "Chooses with noise in place of every second image from the start-th on."
    noise = torch.randn(world.embeddings.shape, generator=torch.Generator().manual_seed(0))
    noise = F.normalize(noise, dim=-1)
    def chosen(start):
        changed = world.embeddings.clone()
        changed[start::2] = noise[start::2]
        return choose_pairs(candidates, controlled_tasks(changed), world, draws=50)
    return chosen

def test_noise_in_reporting_images_does_not_change_the_choice(world, candidates, with_noise):
    table, report = choose_pairs(candidates, world.tasks, world, draws=50)
    noisy_table, noisy_report = with_noise(1)
    choosing = ["positive", "chosen", *[column for column in table if column.endswith("_choosing")]]
    pd.testing.assert_frame_equal(noisy_table[choosing], table[choosing])
    assert noisy_report.objective[0] < report.objective[0] - .2

def test_noise_in_choosing_images_does_not_change_the_reported_figures(world, candidates, with_noise):
    table, _ = choose_pairs(candidates, world.tasks, world, draws=50)
    by_words = [t.set_index("positive").objective.sort_index() for t in (table, with_noise(0)[0])]
    pd.testing.assert_series_equal(*by_words)

def slow_figures(scores, own):
    "Order, selectivity, steadiness and reach by their definitions; scores: (N, 5, rungs)."
    drop = (scores[:, own, 0] - scores[:, own, -1]).mean()
    change = np.abs(scores[..., 0] - scores[..., -1]).mean(0)
    other = max(change[i] for i in range(5) if i != own)
    order = np.mean([spearmanr(rungs[own], -np.arange(5)).statistic for rungs in scores])
    return [order, drop/(drop + other), drop/(drop + scores[:, own, 0].std()), drop]

def test_figures_equal_a_slow_loop():
    world = Planted(count=7)
    positive, negative = embed_pairs(world, world.candidates([.6, .3]))
    scores = score_tasks(world.tasks, positive, negative, world.temperature)
    table = judge_candidates(world.tasks, scores, "contrast", image_half(1))
    for i, (up, down) in enumerate(zip(positive, negative)):
        logits = world.temperature*torch.stack([world.embeddings[1::2] @ up, world.embeddings[1::2] @ down])
        slow = slow_figures(logits.softmax(0)[0].numpy(), ATTRIBUTES.index("contrast"))
        np.testing.assert_allclose(table.loc[i, TASKS].to_numpy(float), slow, atol=1e-5)
        assert table.objective[i] == pytest.approx(np.mean(slow), abs=1e-5)

@pytest.mark.parametrize("best", [1, 4, 99])
def test_size_of_the_ensemble(world, candidates, best):
    table, report = choose_pairs(candidates, world.tasks, world, best, draws=20)
    assert table.chosen.sum() == report.pairs[0] == min(best, len(PURITIES))

def test_the_chosen_size_is_best_on_the_choosing_half(world, candidates):
    table, report = choose_pairs(candidates, world.tasks, world, draws=50)
    scores = score_tasks(world.tasks, *embed_pairs(world, table[["positive", "negative"]]), world.temperature)
    def objective(size):
        ensemble = ensemble_scores(scores, range(size))
        return judge_candidates(world.tasks, ensemble, "contrast", image_half(0)).objective[0]
    values = {size: objective(size) for size in (1, 2, 3, 5, 8)}
    assert values[report.pairs[0]] == max(values.values())

def test_draws_are_paired(world):
    "A candidate and its copy have the same objective in every draw, and it varies over the draws."
    pairs = embed_pairs(world, world.candidates([.8, .8, .7]))
    scores = score_tasks(world.tasks, *pairs, world.temperature)
    copied = {name: values[[0, 0, 2]] for name, values in scores.items()}
    draws = objective_draws(world.tasks, copied, "contrast", image_half(1), 200, 0)
    assert (draws[:, 0] == draws[:, 1]).all()
    assert draws.std(0).min() > 0

# --- the stage

@pytest.fixture
def search(tmp_path, mini_bank):
    "Searches into a new run directory and gives it."
    def searched(name="run", **settings):
        search_prompts(run=str(tmp_path/name), **dict(bank=mini_bank) | SMALL | settings)
        return tmp_path/name
    return searched

def tables(run, *names): return [pd.read_parquet(run/f"prompt_{name}.parquet") for name in names]

def test_bytes_repeat_with_any_cache(search, cache):
    runs = [search("cold"), search("warm")]
    for file in cache.rglob("*.safetensors"): file.unlink()
    load_vlm().embed_texts(["something else that was embedded before"])
    runs.append(search("other"))
    tables = [f"prompt_{name}.parquet" for name in ("search", "report", "ladders", "rejects")]
    for name in ("prompts.json", *tables):
        assert len({(run/name).read_bytes() for run in runs}) == 1, name

def test_another_seed_is_another_search(search):
    first, second = (tables(search(str(seed), seed=seed), "report")[0] for seed in (0, 1))
    assert (first.objective != second.objective).any()

@pytest.mark.parametrize("whole_bank", [False, True])
def test_images_are_embedded_once_for_all_candidates(search, monkeypatch, whole_bank):
    counts, embed = [], VLM.embed_batch
    def counted(self, pixels):
        counts.append(len(pixels))
        return embed(self, pixels)
    monkeypatch.setattr(VLM, "embed_batch", counted)
    search(**dict(bank="") if whole_bank else {})
    assert sum(counts) == 6*(1 + 5*2) # the undistorted image once, two rungs of five ladders

def test_the_report_agrees_with_the_ladder_scores(search):
    "The reach in the report, from prompts.json and the ladder scores alone."
    run = search(best=3)
    ladders, report = tables(run, "ladders", "report")
    assert ladders.key.nunique() == 3
    assert len(load_prompts(run/"prompts.json", load_vlm())[0][0]) == 3
    for attribute in ATTRIBUTES:
        for way, name in (("chosen", "ensemble"), ("CLIP-IQA", "CLIP-IQA pair")):
            rows = ladders[(ladders.way == way) & (ladders.ladder == attribute)]
            rungs = rows.groupby("rung")[attribute].mean()
            reach = report[(report.attribute == attribute) & (report.way == name)].reach.item()
            assert reach == pytest.approx(max(0, rungs[0] - rungs[2]), abs=1e-5)

@pytest.fixture
def photos(tmp_path):
    folder = tmp_path/"photos"
    folder.mkdir()
    for i, name in enumerate(["coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png", "flower.jpg"]):
        package_photograph(name).crop((50, 50, 250, 250)).save(folder/f"{i}.png")
    return folder

def test_bad_images_are_listed_and_skipped(search, tmp_path, photos):
    (photos/"2b.png").write_bytes((photos/"2.png").read_bytes()[:500])
    (photos/"9.jpg").write_text("no image")
    run = search(source=str(photos), count=0)
    rejects, = tables(run, "rejects")
    assert list(rejects.key) == ["2b.png", "9.jpg"] and rejects.reason.str.len().min() > 5
    clean = tmp_path/"clean"
    clean.mkdir()
    for file in photos.glob("?.png"): file.rename(clean/file.name)
    again = search("again", source=str(clean), count=0)
    assert (run/"prompts.json").read_bytes() == (again/"prompts.json").read_bytes()

def test_too_few_images(search, photos):
    for file in list(photos.iterdir())[:2]: file.unlink()
    with pytest.raises(AttiqaError, match="3 readable images; prompt search needs 4"):
        search(source=str(photos), count=0)

def test_annotations_are_one_more_task(search, tmp_path, photos):
    "Scores of brightness enter the objective of brightness, and of no other attribute."
    names = [*(f"photos/{i}.png" for i in range(5)), "photos/gone.png"]
    people = pd.DataFrame(dict(image=names, mos=3., brightness=[5., 4, 3, 2, 1, 9]))
    people.to_csv(tmp_path/"people.csv", index=False)
    found, rejects = tables(search(annotations=str(tmp_path/"people.csv")), "search", "rejects")
    assert set(found[found.people.notna()].attribute) == {"brightness"} and len(rejects) == 1
    rows, others = (found[(found.attribute == "brightness") == own] for own in (True, False))
    np.testing.assert_allclose(rows.objective, rows[[*TASKS, "people"]].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(others.objective, others[TASKS].mean(axis=1), atol=1e-6)

@pytest.mark.parametrize("table, words", [
    ("picture,sharpness\n1,2\n", "wants a column 'image'"),
    ("image,mos\na.png,2\n", "wants a column 'image'"),
    (None, "no such table")])
def test_bad_annotations_are_one_line(search, tmp_path, table, words):
    if table: (tmp_path/"people.csv").write_text(table)
    with pytest.raises(AttiqaError, match=words) as error: search(annotations=str(tmp_path/"people.csv"))
    assert "\n" not in str(error.value)

@pytest.mark.parametrize("architecture, suffix", [
    ("tiny-vit", ""), ("tiny-resnet", ""), ("tiny-resnet", "@native"), ("tiny-sigmoid", "")])
def test_any_model_works_without_change_of_code(search, tmp_path, architecture, suffix):
    name = f"{architecture}/{as_safetensors(bare(architecture)[0], tmp_path)}{suffix}"
    file, model = search(vlm=name)/"prompts.json", load_vlm(name)
    image = model.embed_images([package_photograph("coffee.png")])
    scores = attribute_scores(image, load_prompts(file, model), model.temperature)
    assert read_json(file)["vlm"] == name
    assert scores.shape == (1, 5) and scores.isfinite().all()
    with pytest.raises(AttiqaError, match="run 02_prompts with that model"): load_prompts(file, load_vlm())

def test_the_committed_report_is_whole():
    report = pd.read_csv(SHIPPED/"data"/"prompt_report_photographs.csv")
    ways = ("ensemble", "best pair", *BASELINE_PROMPTS)
    assert set(zip(report.attribute, report.way)) == {(a, way) for a in ATTRIBUTES for way in ways}
    assert ordered(report)
    np.testing.assert_allclose(report[TASKS].mean(axis=1), report.objective, atol=2e-4)
