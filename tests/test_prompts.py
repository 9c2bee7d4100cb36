"Prompt search: what is planted is found, nothing leaks from the reporting half, bytes repeat, images are embedded once."
import numpy as np, pandas as pd, pytest, torch, torch.nn.functional as F
from attiqa.bank import load_bank, write_bank
from attiqa.core import ATTRIBUTES, AttiqaError
from attiqa.images import package_photograph
from attiqa.prompts import NAIVE, attribute_scores, choose, embed_pairs, load_prompts, search_prompts
from attiqa.proxies import controlled, half, judge, objective_draws, of_members, score_tasks
from attiqa.vlm import VLM, load_vlm
from test_vlm import CONFIGS, architectures, as_safetensors, bare # noqa: F401 (a fixture among them)

SMALL = dict(count=6, rungs=3, size=96, draws=20)

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTIQA_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"

@pytest.fixture(scope="module")
def mini_bank(tmp_path_factory):
    "The kit's bank with its first eight pairs an attribute and two templates."
    bank, path = load_bank(), tmp_path_factory.mktemp("bank")/"bank.json"
    pairs = [p for a in ATTRIBUTES for p in [p for p in bank["pairs"] if p["attribute"] == a][:8]]
    write_bank(path, dict(templates=bank["templates"][:2], pairs=pairs))
    return str(path)

# --- a world in which the right words are known

class Planted:
    """Images whose embedding holds the level of each attribute in five coordinates, besides content; words whose embedding
    points along an attribute as purely as their name says: 'sharpness 0.9 7' is nine tenths sharpness."""
    temperature = 8.
    def __init__(self, count=40, rungs=5, seed=0):
        rng = np.random.default_rng(seed)
        level = np.ones((count, 5, rungs, 5))
        for i in range(5): level[:, i, :, i] = np.linspace(1, 0, rungs)
        content = np.repeat(rng.normal(0, .5, (count, 1, 1, 8)), 5, 1).repeat(rungs, 2)
        noise = rng.normal(0, .1, (count, 5, rungs, 3))
        self.embeddings = F.normalize(torch.tensor(np.concatenate([level, content, noise], -1), dtype=torch.float32), dim=-1)

    def embed_texts(self, sentences): return torch.stack([self.word(s) for s in sentences])

    def word(self, sentence):
        attribute, purity, number, sign = (sentence.split() + ["0"]*4)[:4]
        if attribute not in ATTRIBUTES: return F.normalize(torch.ones(16), dim=0)
        rng = np.random.default_rng([int(number), sign == "+"])
        vector = (1 - float(purity))*rng.normal(0, 1, 16)
        vector[ATTRIBUTES.index(attribute)] += float(purity)*(1 if sign == "+" else -1)
        return F.normalize(torch.tensor(vector, dtype=torch.float32), dim=0)

    def candidates(self, purities, attribute="contrast"):
        return pd.DataFrame([(attribute, f"{attribute} {p} {i} +", f"{attribute} {p} {i} -") for i, p in enumerate(purities)], columns=["attribute", "positive", "negative"])

PURITIES = [.3, .9, .5, .7, .2, .6, .4, .1, .8, .95]

def test_the_pure_words_win():
    world = Planted()
    table, report = choose(world.candidates(PURITIES), controlled(world.embeddings), world, draws=50)
    order = [float(p.split()[1]) for p in table.positive]
    assert order[0] >= .8 and np.mean(order[:3]) > .75 and np.mean(order[-3:]) < .4
    report = report.set_index("way")
    assert (report.loc["ensemble", ["gain", "gain_low", "gain_high"]] == 0).all() # paired: nothing is gained over itself
    assert report.gain_low[list(NAIVE)].min() > 0 and (report.low <= report.objective).all() and (report.objective <= report.high).all()

def test_reversed_words_lose():
    world = Planted()
    candidates = world.candidates(PURITIES)
    both = pd.concat([candidates, candidates.rename(columns=dict(positive="negative", negative="positive"))], ignore_index=True)
    table, _ = choose(both[["attribute", "positive", "negative"]], controlled(world.embeddings), world, draws=50)
    reverse = table.positive.str.endswith("-")
    assert not reverse.head(4).any() and (table[reverse & (table.positive.str.split().str[1].astype(float) >= .7)].objective < 0).all()

def test_order_of_candidates_does_not_matter():
    world = Planted()
    candidates = world.candidates(PURITIES)
    chosen = [set(t[t.chosen].positive) for t in (choose(c, controlled(world.embeddings), world, draws=50)[0] for c in (candidates, candidates[::-1]))]
    assert chosen[0] == chosen[1]

def test_reporting_images_have_no_say():
    "The odd images replaced by noise: the same choice, other figures. The even ones: the same figures of the same candidate."
    world, candidates, tasks = Planted(), Planted().candidates(PURITIES), controlled(Planted().embeddings)
    noise = F.normalize(torch.randn(world.embeddings.shape, generator=torch.Generator().manual_seed(0)), dim=-1)
    def with_noise(start):
        changed = world.embeddings.clone(); changed[start::2] = noise[start::2]
        return choose(candidates, controlled(changed), world, draws=50)
    table, report = choose(candidates, tasks, world, draws=50)
    choosing = ["positive", "chosen", *[c for c in table if c.endswith("_choosing")]]
    odd_noise, even_noise = with_noise(1), with_noise(0)
    pd.testing.assert_frame_equal(odd_noise[0][choosing], table[choosing])
    assert odd_noise[1].objective[0] < report.objective[0] - .2
    by_words = [t.set_index("positive").objective.sort_index() for t in (table, even_noise[0])]
    pd.testing.assert_series_equal(*by_words)

def test_figures_equal_a_slow_loop():
    from scipy.stats import spearmanr
    world, candidates = Planted(count=7), Planted().candidates([.6, .3])
    positive, negative = embed_pairs(world, candidates)
    tasks = controlled(world.embeddings)
    table = judge(tasks, score_tasks(tasks, positive, negative, world.temperature), "contrast", half(1))
    own = ATTRIBUTES.index("contrast")
    for c in range(2):
        score = lambda x: float(torch.softmax(world.temperature*torch.stack([x @ positive[c], x @ negative[c]]), 0)[0])
        s = np.array([[[score(x) for x in rungs] for rungs in image] for image in world.embeddings[1::2]])
        drop, change = (s[:, own, 0] - s[:, own, -1]).mean(), np.abs(s[..., 0] - s[..., -1]).mean(0)
        other = max(change[i] for i in range(5) if i != own)
        slow = [np.mean([spearmanr(rungs[own], -np.arange(5)).statistic for rungs in s]), drop/(drop + other), drop/(drop + s[:, own, 0].std()), drop]
        np.testing.assert_allclose(table.loc[c, ["order", "selectivity", "steadiness", "reach"]].to_numpy(float), slow, atol=1e-5)
        assert table.objective[c] == pytest.approx(np.mean(slow), abs=1e-5)

def test_size_of_the_ensemble():
    world = Planted()
    for best in (1, 4, 99):
        table, report = choose(world.candidates(PURITIES), controlled(world.embeddings), world, best, draws=20)
        assert table.chosen.sum() == report.pairs[0] == min(best, len(PURITIES))
    table, report = choose(world.candidates(PURITIES), controlled(world.embeddings), world, draws=50)
    tasks, ranked = controlled(world.embeddings), table[["positive", "negative"]]
    scores = score_tasks(tasks, *embed_pairs(world, ranked), world.temperature)
    values = {k: judge(tasks, of_members(scores, range(k)), "contrast", half(0)).objective[0] for k in (1, 2, 3, 5, 8)}
    assert values[report.pairs[0]] == max(values.values())

def test_intervals_are_paired():
    "A copy of the ensemble gains exactly nothing over it; two pairs gain less widely than they vary."
    world, tasks = Planted(), controlled(Planted().embeddings)
    scores = score_tasks(tasks, *embed_pairs(world, world.candidates([.8, .8, .7])), world.temperature)
    draws = objective_draws(tasks, {k: v[[0, 0, 2]] for k, v in scores.items()}, "contrast", half(1), 200, 0)
    assert (draws[:, 0] == draws[:, 1]).all() and draws.std(0).min() > 0

# --- the stage

def test_bytes_repeat_whatever_the_cache_holds(tmp_path, mini_bank, cache):
    runs = [tmp_path/name for name in ("cold", "warm", "other")]
    search_prompts(run=str(runs[0]), bank=mini_bank, **SMALL)
    search_prompts(run=str(runs[1]), bank=mini_bank, **SMALL)
    for shelf in cache.rglob("*.safetensors"): shelf.unlink()
    load_vlm().embed_texts(["something else that was read before"])
    search_prompts(run=str(runs[2]), bank=mini_bank, **SMALL)
    for name in ("prompts.json", "prompt_search.parquet", "prompt_report.parquet", "prompt_ladders.parquet", "prompt_rejects.parquet"):
        assert len({(run/name).read_bytes() for run in runs}) == 1, name

def test_another_seed_is_another_search(tmp_path, mini_bank):
    reports = [pd.read_parquet(tmp_path/str(seed)/"prompt_report.parquet") for seed in (0, 1) if search_prompts(run=str(tmp_path/str(seed)), bank=mini_bank, seed=seed, **SMALL)]
    assert (reports[0].objective != reports[1].objective).any()

def test_images_are_embedded_once_for_all_candidates(tmp_path, mini_bank, monkeypatch):
    seen, embed = [], VLM.embed_batch
    monkeypatch.setattr(VLM, "embed_batch", lambda self, pixels: (seen.append(len(pixels)), embed(self, pixels))[1])
    counts = []
    for bank in (mini_bank, ""):
        seen.clear()
        search_prompts(run=str(tmp_path/"run"), bank=bank, **SMALL)
        counts.append(sum(seen))
    assert counts[0] == counts[1] == 6*(1 + 5*2) # the untouched picture once, two rungs of five ladders

def test_report_is_what_the_written_prompts_score(tmp_path, mini_bank):
    "The ensemble's reach in the report, from prompts.json and the ladder scores alone."
    run = tmp_path/"run"
    search_prompts(run=str(run), bank=mini_bank, best=3, **SMALL)
    ladders, report = pd.read_parquet(run/"prompt_ladders.parquet"), pd.read_parquet(run/"prompt_report.parquet")
    assert ladders.key.nunique() == 3 and len(load_prompts(run/"prompts.json", load_vlm())[0][0]) == 3
    for attribute in ATTRIBUTES:
        for way, name in (("chosen", "ensemble"), ("CLIP-IQA", "CLIP-IQA pair")):
            rungs = ladders[(ladders.way == way) & (ladders.ladder == attribute)].groupby("rung")[attribute].mean()
            reach = report[(report.attribute == attribute) & (report.way == name)].reach.item()
            assert reach == pytest.approx(max(0, rungs[0] - rungs[2]), abs=1e-5)

@pytest.fixture
def photos(tmp_path):
    folder = tmp_path/"photos"
    folder.mkdir()
    for i, name in enumerate(["coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png", "flower.jpg"]): package_photograph(name).crop((50, 50, 250, 250)).save(folder/f"{i}.png")
    return folder

def test_bad_images_are_listed_and_left_out(tmp_path, photos, mini_bank):
    (photos/"2b.png").write_bytes((photos/"2.png").read_bytes()[:500]); (photos/"9.jpg").write_text("no picture")
    search_prompts(run=str(tmp_path/"run"), source=str(photos), bank=mini_bank, **SMALL | dict(count=0))
    rejects = pd.read_parquet(tmp_path/"run"/"prompt_rejects.parquet")
    assert list(rejects.key) == ["2b.png", "9.jpg"] and rejects.reason.str.len().min() > 5
    clean = tmp_path/"clean"
    clean.mkdir()
    for file in photos.glob("?.png"): file.rename(clean/file.name)
    search_prompts(run=str(tmp_path/"again"), source=str(clean), bank=mini_bank, **SMALL | dict(count=0))
    assert (tmp_path/"run"/"prompts.json").read_bytes() == (tmp_path/"again"/"prompts.json").read_bytes()

def test_too_few_images(tmp_path, photos, mini_bank):
    for file in list(photos.iterdir())[:2]: file.unlink()
    with pytest.raises(AttiqaError, match="3 readable images; prompt search needs 4"): search_prompts(run=str(tmp_path/"run"), source=str(photos), bank=mini_bank, **SMALL | dict(count=0))

def test_annotations_are_one_more_task(tmp_path, photos, mini_bank):
    "People who call the dark pictures bright: their SRCC enters brightness alone, and has its say."
    table = pd.DataFrame(dict(image=[f"photos/{i}.png" for i in range(5)] + ["photos/gone.png"], mos=3., brightness=[5., 4, 3, 2, 1, 9], sharpness=np.nan))
    table.drop(columns="sharpness").to_csv(tmp_path/"people.csv", index=False)
    search_prompts(run=str(tmp_path/"run"), bank=mini_bank, annotations=str(tmp_path/"people.csv"), **SMALL)
    found, report = (pd.read_parquet(tmp_path/"run"/f"prompt_{name}.parquet") for name in ("search", "report"))
    assert set(found[found.people.notna()].attribute) == {"brightness"} and len(pd.read_parquet(tmp_path/"run"/"prompt_rejects.parquet")) == 1
    rows = found[found.attribute == "brightness"]
    tasks = ["order", "selectivity", "steadiness", "reach"]
    np.testing.assert_allclose(rows.objective, rows[[*tasks, "people"]].mean(axis=1), atol=1e-6)
    others = found[found.attribute != "brightness"]
    np.testing.assert_allclose(others.objective, others[tasks].mean(axis=1), atol=1e-6)

@pytest.mark.parametrize("table, words", [("picture,sharpness\n1,2\n", "wants a column 'image'"), ("image,mos\na.png,2\n", "wants a column 'image'"), (None, "no such table")])
def test_bad_annotations_are_one_line(tmp_path, mini_bank, table, words):
    if table: (tmp_path/"people.csv").write_text(table)
    with pytest.raises(AttiqaError, match=words) as error: search_prompts(run=str(tmp_path/"run"), bank=mini_bank, annotations=str(tmp_path/"people.csv"), **SMALL)
    assert "\n" not in str(error.value)

@pytest.mark.parametrize("architecture, suffix", [("tiny-vit", ""), ("tiny-resnet", ""), ("tiny-resnet", "@native"), ("tiny-sigmoid", "")])
def test_any_model_without_change_of_code(tmp_path, mini_bank, architecture, suffix):
    name = f"{architecture}/{as_safetensors(bare(architecture)[0], tmp_path)}{suffix}"
    prompts = search_prompts(run=str(tmp_path/"run"), vlm=name, bank=mini_bank, **SMALL)
    model = load_vlm(name)
    scores = attribute_scores(model.embed_images([package_photograph("coffee.png")]), load_prompts(tmp_path/"run"/"prompts.json", model), model.temperature)
    assert prompts["vlm"] == name and scores.shape == (1, 5) and scores.isfinite().all()
    with pytest.raises(AttiqaError, match="run 02_prompts with that model"): load_prompts(tmp_path/"run"/"prompts.json", load_vlm())

def test_the_committed_report_is_whole():
    from attiqa.core import SHIPPED
    report = pd.read_csv(SHIPPED/"data"/"prompt_report_photographs.csv")
    assert set(zip(report.attribute, report.way)) == {(a, w) for a in ATTRIBUTES for w in ("ensemble", "best pair", *NAIVE)}
    assert (report.low <= report.objective).all() and (report.objective <= report.high).all()
    np.testing.assert_allclose(report[["order", "selectivity", "steadiness", "reach"]].mean(axis=1), report.objective, atol=2e-4)
