"Frozen features and their cache, probes and losses, protocols on small sets, tables and figures; both stages by papermill."
import importlib, json, os
from copy import deepcopy
import nbformat, numpy as np, pandas as pd, pytest, torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut
from attiqa.benchmark import Method, Sets, ablation_models, gains, label_free, ladder_scores, medians, methods_of, numbers, probe_protocols, share_of, tune_protocols, unaware_protocol
from attiqa.core import AttiqaError, seed_all
from attiqa.datasets import tidy
from attiqa.distort import apply_recipe
from attiqa.features import Model, brisque_features, called, frozen_features, load_frozen, looks, network_model, of_table, shelf_folder
from attiqa.figures import OKABE_ITO, PAPER, Table, in_domain_table, published, read_results, save
from attiqa.finetune import QUALITY_LOSSES, SCALE_FREE, fit_head, fit_heads, fit_network, left_out_residuals, linear_probe, predict_quality, quality_loss, set_aside, settle, spectrum
from attiqa.images import dead_leaves, embedded_source, to_image, to_tensor
from attiqa.metrics import paired_wilcoxon, srcc
from attiqa.model import AttributeNet, save_model

def noisy(i): return apply_recipe(to_tensor(dead_leaves(72, "benchmark", i//3, leaves=60)), [("gaussian_noise", (i % 9)/9)], i)

def release(folder, count, start=0): # image files whose MOS is how little noise they have, three versions of each reference
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder/f"{i:03}.png" for i in range(start, start + count)]
    for i, file in enumerate(files): to_image(noisy(start + i)).save(file)
    mos = [100 - 10*((start + i) % 9) for i in range(count)]
    return tidy(folder.name, 0, 100, "made here", image=[str(f) for f in files], mos=mos, reference=[f"r{(start + i)//3}" for i in range(count)])

@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return [of_table(release(folder/"first", 36)), of_table(release(folder/"second", 18, 30))] # six images lie in both

@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTIQA_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"

def noise_model(read=None): # a model whose only feature tells the noise, and how often it was asked
    asked = []
    def one(x):
        asked.append(1)
        return torch.stack([(x[:, 1:] - x[:, :-1]).abs().mean(), x.mean()])
    return Model("toy", read or one, "toy 1"), asked

# Features

def test_an_image_is_read_once(pair, cache):
    model, asked = noise_model()
    first = frozen_features(model, pair[0])
    assert len(asked) == 36 and (frozen_features(model, pair[0]) == first).all() and len(asked) == 36
    assert (frozen_features(model, pair[0], "crops:2:32")[:, 0] != first[:, 0]).any() and len(asked) == 36 + 4*36

def test_a_changed_image_is_read_again_and_a_moved_one_is_not(tmp_path, cache):
    model, asked = noise_model()
    table = release(tmp_path/"set", 6)
    before = frozen_features(model, of_table(table))
    to_image(noisy(40)).save(table.image[2])
    (tmp_path/"elsewhere").mkdir()
    os.rename(table.image[4], tmp_path/"elsewhere"/"moved.png")
    table.loc[4, "image"] = str(tmp_path/"elsewhere"/"moved.png")
    after = frozen_features(model, of_table(table))
    assert len(asked) == 7 and [*np.flatnonzero((before != after).any(1))] == [2]

def test_a_killed_pass_goes_on(tmp_path, cache, monkeypatch):
    monkeypatch.setattr("attiqa.features.CHUNK", 4)
    data, seen = of_table(release(tmp_path/"set", 12)), []
    def dies(x):
        seen.append(1)
        if len(seen) == 10: raise KeyboardInterrupt
        return x.mean().reshape(1)
    with pytest.raises(KeyboardInterrupt): frozen_features(Model("toy", dies, "toy 2"), data)
    found = frozen_features(Model("toy", dies, "toy 2"), data)
    assert len(seen) == 10 + 4 and found.shape == (12, 1)
    for file in shelf_folder(Model("toy", dies, "toy 2"), data.name, "whole").iterdir(): file.write_bytes(file.read_bytes()[:50])
    assert (frozen_features(Model("toy", dies, "toy 2"), data) == found).all(), "a damaged file is made again"

def test_other_weights_are_another_model():
    seed_all("one"); one = network_model(AttributeNet("resnet10t", 8), "one")
    seed_all("one"); same = network_model(AttributeNet("resnet10t", 8), "other name")
    seed_all("two"); two = network_model(AttributeNet("resnet10t", 8), "one")
    assert one.fingerprint == same.fingerprint != two.fingerprint

@pytest.mark.parametrize("shape", [(300, 200), (90, 400), (50, 60)])
def test_looks(shape):
    x = torch.rand(3, *shape)
    assert looks(x)[0] is x and min(looks(x, "short:64")[0].shape[1:]) == 64
    crops = looks(x, "crops:3:80")
    assert len(crops) == 9 and {c.shape for c in crops} == {(3, 80, 80)}
    if min(shape) >= 80: assert (crops[0] == x[:, :80, :80]).all() and (crops[8] == x[:, -80:, -80:]).all() and (looks(x, "crops:1:80")[0] != crops[0]).any()
    assert len(looks(x, "short:100+crops:2:64")) == 4
    for wrong in ("half", "short", "short:0", "crops:2", "crops:2:-3", "whole+"):
        with pytest.raises(AttiqaError, match="no way"): looks(x, wrong)

def test_brisque_is_what_piq_scores_from():
    theirs = importlib.import_module("piq.brisque") # its score needs a download; what it scores must be ours
    seen, x = {}, noisy(4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "_score_svr", lambda f: seen.update(f=f) or f.sum(1))
        theirs.brisque(x[None])
    torch.testing.assert_close(theirs._scale_features(brisque_features(x)[None]), seen["f"])

def test_any_model_enters(tmp_path, monkeypatch, pair, cache):
    (tmp_path/"mine.py").write_text("def bright(x): return x.mean()\ndef vector(x): return x.mean((1, 2))\n")
    monkeypatch.chdir(tmp_path); monkeypatch.syspath_prepend(str(tmp_path))
    score, vector, ready = load_frozen("call:mine:bright"), load_frozen("mine=call:mine:vector"), load_frozen("torchmetrics:total_variation:-")
    assert score.scores == ready.scores == ("score",) and vector.name == "mine" and not vector.scores and [m.probe for m in methods_of(vector)] == ["ridge"]
    sets = Sets(pair[:1], 2, 0, tmp_path/"splits")
    assert unaware_protocol(sets, ready, sets.read(ready)).srcc[0] > .5, "total variation sees noise"
    assert len(probe_protocols(sets, methods_of(vector)[0], sets.read(vector))) == 2

@pytest.mark.parametrize("name, says", [("atiqa", "no model"), ("call:nowhere:f", "cannot be imported"), ("torchmetrics:none", "no image metric"), ("timm:none", "no backbone"),
                                        ("untrained:resnet10t:0:1", "other words"), ("missing.safetensors", "no such model file")])
def test_a_wrong_model_is_one_line(name, says):
    with pytest.raises(AttiqaError, match=says) as error: load_frozen(name)
    assert "\n" not in str(error.value)

# Probes and losses

def toy(n, p, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    return x, x @ rng.normal(size=p) + rng.normal(size=n)*2

@pytest.mark.parametrize("n, p", [(48, 6), (30, 70)])
def test_left_out_residuals_equal_refitting(n, p):
    x, y = toy(n, p)
    x, y = x - x.mean(0), y - y.mean()
    for groups in (np.arange(n), np.arange(n)//5, np.where(np.arange(n) < 9, 0, np.arange(n))):
        slow = np.zeros(n)
        for learn, out in LeaveOneGroupOut().split(x, y, groups): slow[out] = y[out] - Ridge(2.).fit(x[learn], y[learn]).predict(x[out])
        np.testing.assert_allclose(left_out_residuals(*spectrum(x), y, groups, 2.), slow, atol=1e-8)

def test_the_test_part_does_not_choose():
    x, y = toy(90, 12)
    train, spoiled = np.arange(60), y.copy()
    spoiled[60:] = np.random.default_rng(1).permutation(y[60:])*100
    assert (linear_probe(x, y, train) == linear_probe(x, spoiled, train)).all()
    moved = x.copy(); moved[60:] += 50
    assert (linear_probe(x, y, train)[:60] == linear_probe(moved, y, train)[:60]).all()

def test_groups_choose_a_stronger_ridge():
    "Copies make leaving one out too easy: memory looks like skill."
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(30, 60)), 4, 0); y = np.repeat(rng.normal(size=30), 4)
    x, train = x + rng.normal(size=x.shape)*.01, np.arange(120)
    spread = lambda groups: linear_probe(x, y, train, groups).std()
    assert spread(np.arange(120)//4) < .5*spread(None)

@pytest.mark.parametrize("name", QUALITY_LOSSES)
def test_losses(name):
    generator = torch.Generator().manual_seed(0)
    truth, other = torch.rand(12, generator=generator), torch.rand(12, generator=generator)
    loss = quality_loss(name)
    assert loss(torch.logit(truth), truth) < 1e-4 < loss(torch.logit(other), truth) < loss(torch.logit(1 - truth), truth)
    logits = torch.zeros(12, requires_grad=True); loss(logits, truth).backward()
    assert logits.grad.isfinite().all(), "a constant prediction has a gradient"
    shifted = QUALITY_LOSSES[name](.3*other + .2, truth)
    assert (name in SCALE_FREE) == bool(torch.isclose(shifted, QUALITY_LOSSES[name](other, truth), atol=1e-5))

def test_norm_in_norm_is_bounded_and_plcc_is_scipys():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        a, b = torch.rand(9, generator=generator), torch.rand(9, generator=generator)
        assert 0 <= QUALITY_LOSSES["norm-in-norm"](a, b) <= 1
        assert QUALITY_LOSSES["plcc"](a, b).item() == pytest.approx((1 - np.corrcoef(a, b)[0, 1])/2, abs=1e-5)

@pytest.mark.parametrize("loss", QUALITY_LOSSES)
def test_fine_tuning_learns(pair, loss):
    seed_all("learn")
    net, data, train = AttributeNet("resnet10t", 8), pair[0], np.arange(36)
    with torch.no_grad(): settle(net.eval(), torch.cat([net.pooled(data.pixels(i)[None]) for i in train]))
    before = predict_quality(net, data, train)
    fit_network(net, data, train, train[:0], 6, 8, 2e-3, 48, loss)
    after = predict_quality(net, data, train)
    assert srcc(after, data.scores) > max(.8, srcc(before, data.scores)) and np.abs(after - data.scores).mean() < np.abs(before - data.scores).mean()

@pytest.mark.parametrize("bf16", ["no", "yes"])
def test_held_attributes_move_less(pair, bf16):
    data, train = pair[0], np.arange(36)
    def moved(hold):
        seed_all("hold")
        net = AttributeNet("resnet10t", 8)
        with torch.no_grad(): settle(net.eval(), torch.cat([net.pooled(data.pixels(i)[None]) for i in train]))
        crop = data.pixels(0)[None]
        with torch.no_grad(): before = net(crop)
        fit_network(net, data, train, train[:0], 4, 8, 2e-3, 48, hold=hold, bf16=bf16)
        with torch.no_grad(): return (net(crop) - before).abs().mean().item()
    assert moved(100.) < .5*moved(0.)

def test_the_best_epoch_is_chosen_on_what_is_set_aside():
    rng = np.random.default_rng(0)
    features, scores = torch.tensor(rng.normal(size=(80, 40)), dtype=torch.float32), rng.random(80)
    learn, aside = set_aside(np.arange(80), np.arange(60), .3, 0)
    assert not {*learn} & {*aside} and {*learn} | {*aside} == {*range(60)}
    found = {}
    for choose in ("last", "best"):
        for spoil in (False, True):
            seed_all("choose"); net = AttributeNet("resnet10t", 8)
            truth = scores.copy()
            if spoil: truth[60:] = 1 - truth[60:]
            found[choose, spoil] = fit_head(net, features, truth, learn, aside, 15, 16, 5e-3, choose=choose)
    assert (found["best", False] == found["best", True]).all() and (found["last", False] == found["last", True]).all(), "the test part is not asked"
    assert srcc(found["best", False][aside], scores[aside]) >= srcc(found["last", False][aside], scores[aside])
    with pytest.raises(AttiqaError, match="held above 0"): fit_head(net, features, scores, learn, aside[:0], 1, 16, 1e-3, choose="best")

def test_multi_crop_testing_is_the_mean():
    seed_all("crops"); net, x = AttributeNet("resnet10t", 8).eval(), noisy(3)
    data = type("One", (), dict(pixels=lambda self, i: x))()
    with torch.no_grad(): slow = np.mean([net.quality(v[None]).item() for v in (x[:, :48, :48], x[:, :48, -48:], x[:, -48:, :48], x[:, -48:, -48:])])
    assert predict_quality(net, data, [0], "crops:2:48")[0] == pytest.approx(slow)

# Protocols

def test_shares_are_nested_whole_groups():
    groups = np.arange(200)//3
    train = np.flatnonzero(groups % 5 != 0)
    shares = [share_of(groups, train, f, 3) for f in (.05, .1, .2, .4, .6)]
    for small, large in zip(shares, shares[1:]): assert {*small} < {*large} <= {*train}
    for part, f in zip(shares, (.05, .1, .2, .4, .6)): assert 200*f <= len(part) <= 200*f + 2 and not {*groups[part]} & {*groups[np.setdiff1d(train, part)]}
    assert [*share_of(groups, train, .2, 4)] != [*shares[2]]

def test_protocols_equal_a_slow_loop(pair, tmp_path, cache):
    model, _ = noise_model()
    sets = Sets(pair, 3, 0, tmp_path/"splits")
    features = sets.read(model)
    table = probe_protocols(sets, Method(model, "features", "ridge"), features, (.4, .8))
    assert len(table) == 2*3*(2 + 1)
    for row in table.itertuples():
        home = sets.rows[row.train]
        part, test = sets.splits[row.train][row.split]
        train = share_of(sets.groups, part, row.fraction*len(home)/len(sets.scores), 0, row.train, row.split)
        if row.test != row.train: test = np.array([i for i in sets.rows[row.test] if sets.content[i] not in set(sets.content[train])])
        predicted = linear_probe(features[home], sets.scores[home], train - home[0], sets.groups[home])
        if row.test == row.train: assert row.srcc == pytest.approx(srcc(predicted[test - home[0]], sets.scores[test]))
        assert row.images == len(test) and (row.protocol == "in-domain") == (row.train == row.test) and not {*sets.groups[train]} & {*sets.groups[test]}
    crossed = table[table.protocol == "cross-dataset"]
    assert crossed.images.min() < 18 or crossed.images.min() < 36, "images of both sets are left out"
    assert table[table.protocol == "in-domain"].srcc.median() > .6

def test_splits_are_kept(pair, tmp_path, cache):
    one, two = Sets(pair, 2, 0, tmp_path/"splits"), Sets(pair[:1], 2, 0, tmp_path/"splits")
    for a, b in zip(one.splits["first"], two.splits["first"]): assert all((x == y).all() for x, y in zip(a, b))
    with pytest.raises(AttiqaError, match="was drawn with"): Sets(pair, 3, 0, tmp_path/"splits")
    with pytest.raises(AttiqaError, match="named twice"): Sets([pair[0], pair[0]], 2, 0, tmp_path/"splits")

def test_fine_tuned_protocol_leaves_the_network_alone(pair, tmp_path, cache):
    seed_all("tune"); model = network_model(AttributeNet("resnet10t", 8), "small")
    sets, before = Sets(pair, 2, 0, tmp_path/"splits"), {k: v.clone() for k, v in model.net.state_dict().items()}
    table = tune_protocols(sets, model, sets.read(model), 1, 1, (.4, .8), 5, 48)
    assert all((before[k] == v).all() for k, v in model.net.state_dict().items())
    assert sorted(zip(table.protocol, table.fraction)) == [("cross-dataset", .8)]*2 + [("in-domain", .4), ("in-domain", .8)]*2 or len(table) == 6
    assert (table[table.protocol == "cross-dataset"].images <= 5).all()

def test_an_untrained_network_predicts_what_its_heads_were_fitted_to(pair, cache):
    seed_all("heads"); model = network_model(AttributeNet("resnet10t", 8), "small")
    data, rows = pair[0], np.arange(len(pair[0]))
    pooled = torch.from_numpy(frozen_features(model, data)[:, model.parts["backbone"]])
    predicted = fit_heads(net := deepcopy(model.net), pooled, data.scores, rows[:6], rows[:0], 3, 2, 4, 2e-3)
    assert np.allclose(predicted, predict_quality(net, data, rows), atol=1e-5) and predicted.std() > 1e-4
    norms = lambda: [v.clone() for k, v in net.state_dict().items() if "running" in k]
    before = norms()
    fit_network(net, data, rows[:6], rows[:0], 1, 3, 1e-3, 32)
    assert all(map(torch.equal, before, norms())) and not np.allclose(predicted, predict_quality(net, data, rows), atol=1e-5)

def test_label_free_tests_of_a_perfect_and_of_a_blind_score():
    source = embedded_source(3, 64, 0)
    perfect = called("perfect", lambda x: x.sum()*0)
    blind = label_free(perfect, ladder_scores(perfect, source, 64, 3, 0))
    assert blind.set_index("test").value.to_dict() == dict(D=.5, L=0., P=.5)
    scores = np.broadcast_to(-np.arange(4.), (3, 18, 4))[..., None]
    assert label_free(perfect, scores).set_index("test").value.to_dict() == dict(D=1., L=1., P=1.)

def test_gains_are_paired():
    rng = np.random.default_rng(0)
    rows = [dict(model=m, part="backbone", fraction=f, split=k, srcc=.5 + .1*(m == "a") + rng.normal()*.01) for m in "ab" for f in (.1, .8) for k in range(10)]
    table = pd.DataFrame(rows).sample(frac=1, random_state=0)
    found, pick = gains(table, ("a", "backbone"), ("b", "backbone")), table.set_index(["model", "fraction", "split"]).srcc.sort_index()
    for row in found.itertuples():
        a, b = pick["a", row.fraction], pick["b", row.fraction]
        assert row.difference == pytest.approx(np.median(a - b)) and row.low <= row.difference <= row.high and row.wins == 10 and row.p == pytest.approx(paired_wilcoxon(a, b))

def test_ablations_are_named_by_what_differs(tmp_path):
    for name, loss in (("one", "margin"), ("two", "l1")):
        (tmp_path/name).mkdir()
        save_model(AttributeNet("resnet10t", 8), tmp_path/name/"pretrained.safetensors", dict(settings=dict(loss=loss, epochs="3"), labels="x"))
    assert [m.name for m in ablation_models([tmp_path/"one", tmp_path/"two"])] == ["loss margin", "loss l1"]
    assert [m.name for m in ablation_models([tmp_path/"one"])] == ["one"]

@pytest.mark.parametrize("text", ["", "ten", "0", "90", "5 -1"])
def test_wrong_fractions(text):
    with pytest.raises(AttiqaError, match="percentages"): numbers(text, 0, .8)

# Tables and figures

def seen_by(colours, matrix): # Machado, Oliveira, Fernandes 2009, severity 1, in linear RGB
    from skimage.color import rgb2lab
    from matplotlib.colors import to_rgb
    rgb = np.array([to_rgb(c) for c in colours])
    linear = np.where(rgb <= .04045, rgb/12.92, ((rgb + .055)/1.055)**2.4) @ np.array(matrix).T
    back = np.where(linear <= .0031308, linear*12.92, 1.055*linear.clip(.0031308)**(1/2.4) - .055).clip(0, 1)
    return rgb2lab(back[None])[0]

@pytest.mark.parametrize("matrix", [[[.152286, 1.052583, -.204868], [.114503, .786281, .099216], [-.003882, -.048116, 1.051998]],
                                    [[.367322, .860646, -.227968], [.280085, .672501, .047413], [-.011820, .042940, .968881]]], ids=["protanopia", "deuteranopia"])
def test_colours_differ_for_colour_blind_eyes(matrix):
    lab = seen_by(OKABE_ITO, matrix)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e3*np.eye(len(lab))
    assert apart.min() > 15
    confused = seen_by(("#9a7d00", "#d94a00"), matrix) # an olive and an orange, clear to other eyes
    assert np.linalg.norm(confused[0] - confused[1]) < np.linalg.norm(np.subtract(*seen_by(("#9a7d00", "#d94a00"), np.eye(3))))/2

def test_published_figures_have_a_source_and_the_papers_row_waits(shared):
    for protocol in ("in-domain", "cross-dataset", "data-efficiency", "linear-probe", "opinion-unaware"):
        table = published(protocol)
        others = table[table.method != PAPER]
        assert len(others) and others.source.notna().all() and others.srcc.between(-1, 1).all()
    assert published("in-domain").query("method == @PAPER")[["srcc", "plcc"]].isna().all(axis=None) and PAPER in set(published("cross-dataset").method)
    here = pd.concat([published(p).assign(protocol=p) for p in ("in-domain", "cross-dataset", "data-efficiency", "linear-probe", "opinion-unaware")])
    theirs = pd.read_csv(shared/"published_results.csv")
    assert len(theirs) == (here.method != PAPER).sum() and theirs.srcc.sum() == pytest.approx(here.srcc.sum())

def test_measured_results_are_whole_and_say_what_they_are():
    results = read_results("measured")
    table = results.protocols[(results.protocols.protocol == "in-domain") & ~results.protocols.part.eq("whole network")]
    assert {"CLIVE", "BIQ2021"} <= set(table.test) and (table.groupby(["model", "part", "train", "fraction"]).split.nunique() == 10).all() and table.fraction.nunique() == 6
    assert "re-encoded" in results.about and "CLIVE" in results.about and "re-encoded" in in_domain_table(results).caption
    assert results.protocols.srcc.between(-1, 1).all()

def test_tables_are_markdown_and_latex(tmp_path):
    frame = pd.DataFrame({("A_1", "SRCC"): ["0.5 [0.4, 0.6]", "–"]}, index=pd.MultiIndex.from_tuples([("published", "x & y"), ("measured here", "100 %")], names=["", "method"]))
    table = Table("table_toy", "50 % of it", frame)
    assert "| x & y" in table.markdown() and r"x \& y" in table.latex() and r"A\_1" in table.latex() and r"\begin{tabular}" in table.latex()
    save(tmp_path, [table])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["captions.json", "table_toy.md", "table_toy.tex"]

# Stages

@pytest.fixture(scope="module")
def stages(papermill, tmp_path_factory):
    run = tmp_path_factory.mktemp("stages")/"run"
    done = [papermill(stage, run=run) for stage in ("06_benchmark", "07_figures")]
    for one in done: assert one.returncode == 0, one.stderr[-3000:]
    return run, done

def test_stages_leave_their_files(stages):
    run, _ = stages
    table = pd.read_parquet(run/"results"/"benchmark.parquet")
    assert {"in-domain", "opinion-unaware"} <= set(table.protocol) and {"attiqa-mini-unaware", "untrained resnet10t", "BRISQUE"} <= set(table.model) and "whole network" in set(table.part)
    assert (run/"results"/"label_free.parquet").is_file() and (run/"results"/"selectivity.parquet").is_file() and (run/"splits"/"surrogate.parquet").is_file()
    for which in ("measured", "run"):
        names = {p.name for p in (run/"figures"/which).iterdir()}
        pictures = {n for n in names if n.startswith("figure_")}
        assert {n.removesuffix(".pdf") for n in pictures if n.endswith(".pdf")} == {n.removesuffix(".png") for n in pictures if n.endswith(".png")} and len(pictures) >= 8
        assert {n.removesuffix(".md") for n in names if n.endswith(".md")} == {n.removesuffix(".tex") for n in names if n.endswith(".tex")}
        assert set(json.loads((run/"figures"/which/"captions.json").read_text())) == {n.rpartition(".")[0] for n in names - {"captions.json"}}
    assert {"benchmark", "figures"} <= set(json.loads((run/"run.json").read_text()))

def test_figures_are_vectors(stages):
    run, _ = stages
    pdf = (run/"figures"/"measured"/"figure_data_efficiency.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"/Subtype /Image" not in pdf and b"/Type /Font" in pdf

def test_figures_shows_tables_and_pictures(stages):
    _, done = stages
    outputs = [o for c in nbformat.read(done[1].notebook, 4).cells for o in c.get("outputs", []) if "data" in o]
    assert sum("image/png" in o.data for o in outputs) >= 4 and any("text/markdown" in o.data and PAPER in o.data["text/markdown"] for o in outputs)

def test_benchmark_repeats_byte_by_byte(papermill, stages, tmp_path):
    run, _ = stages
    done = papermill("06_benchmark", run=tmp_path/"run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert all((run/"results"/f"{n}.parquet").read_bytes() == (tmp_path/"run"/"results"/f"{n}.parquet").read_bytes() for n in ("benchmark", "label_free", "selectivity"))

def test_figures_without_results_name_the_command(papermill, tmp_path):
    done = papermill("07_figures", run=tmp_path/"run", source=tmp_path)
    assert done.returncode != 0 and "papermill nbs/06_benchmark.ipynb" in done.stderr

# Real data

def test_clive_ten_splits_second_time(shared, tmp_path):
    "With the features kept, ten splits of the linear probe take a fraction of one pass; an untouched release is needed."
    from attiqa.features import scored_images
    data = scored_images("clive", str(shared/"clive"))
    rng = np.random.default_rng(0)
    sets = Sets([data], 10, 0, tmp_path)
    features = (sets.scores[:, None] + rng.normal(size=(len(data), 300))).astype(np.float32) # stands for a model's: only the protocol is tried
    table = probe_protocols(sets, Method(Model("toy", None), "features", "ridge"), features)
    assert len(table) == 10 and table.srcc.min() > .9 and table.images.between(233, 236).all() and medians(table, ["test"]).splits[0] == 10
