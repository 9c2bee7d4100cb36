"The protocols on small sets: splits, fractions, fits, label-free tests and summaries."
import numpy as np, pandas as pd, pytest
from attiqa.benchmark import JoinedDatasets, Method, ablation_models, label_free_tests, ladder_scores, medians
from attiqa.benchmark import nested_share, paired_gains, percent_shares, probe_protocols
from attiqa.benchmark import whole_network_protocols
from attiqa.core import AttiqaError, seed_all
from attiqa.features import Model, function_model, network_model
from attiqa.finetune import linear_probe
from attiqa.images import embedded_source
from attiqa.metrics import paired_wilcoxon, srcc
from attiqa.model import AttributeNet, save_model
from scored_sets import noise_model, two_sets

@pytest.fixture(scope="module")
def pair(tmp_path_factory): return two_sets(tmp_path_factory.mktemp("sets"))

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch): monkeypatch.setenv("ATTIQA_CACHE", str(tmp_path/"cache"))

FRACTIONS = (.05, .1, .2, .4, .6)

def test_shares_are_nested_whole_groups():
    groups = np.arange(200)//3
    train = np.flatnonzero(groups % 5 != 0)
    shares = [nested_share(groups, train, f, 3) for f in FRACTIONS]
    for small, large in zip(shares, shares[1:]): assert {*small} < {*large} <= {*train}
    for part, f in zip(shares, FRACTIONS):
        assert 200*f <= len(part) <= 200*f + 2
        assert not {*groups[part]} & {*groups[np.setdiff1d(train, part)]}
    assert [*nested_share(groups, train, .2, 4)] != [*shares[2]]

@pytest.fixture
def probed(pair, tmp_path):
    "Joined datasets, features of the noise model, and its protocols."
    model, _ = noise_model()
    sets = JoinedDatasets(pair, 3, 0, tmp_path/"splits")
    features = sets.read(model)
    return sets, features, probe_protocols(sets, Method(model, "features", "ridge"), features, (.4, .8))

def rows_of_fit(sets, row): # row positions: to train on, to test on
    part, test = sets.splits[row.train][row.split]
    share = row.fraction*len(sets.rows[row.train])/len(sets.scores)
    train = nested_share(sets.groups, part, share, 0, row.train, row.split)
    if row.test == row.train: return train, test
    known = {*sets.content[train]}
    return train, np.array([i for i in sets.rows[row.test] if sets.content[i] not in known])

def test_protocols_equal_a_slow_loop(probed):
    sets, features, table = probed
    assert len(table) == 2*3*(2 + 1)
    for row in table.itertuples():
        train, test = rows_of_fit(sets, row)
        assert row.images == len(test)
        assert (row.protocol == "in-domain") == (row.train == row.test)
        assert not {*sets.groups[train]} & {*sets.groups[test]}
        if row.test != row.train: continue
        home = sets.rows[row.train]
        predicted = linear_probe(features[home], sets.scores[home], train - home[0], sets.groups[home])
        assert row.srcc == pytest.approx(srcc(predicted[test - home[0]], sets.scores[test]))

def test_images_of_both_sets_are_left_out_and_noise_is_found(probed):
    table = probed[2]
    crossed = table[table.protocol == "cross-dataset"]
    assert crossed.images.min() < 18 or crossed.images.min() < 36
    assert table[table.protocol == "in-domain"].srcc.median() > .6

def test_splits_are_kept(pair, tmp_path):
    one, two = (JoinedDatasets(sets, 2, 0, tmp_path/"splits") for sets in (pair, pair[:1]))
    for a, b in zip(one.splits["first"], two.splits["first"]):
        assert all((x == y).all() for x, y in zip(a, b))

@pytest.mark.parametrize("which, splits, message", [
    ((0, 1), 3, "was drawn with"), ((0, 0), 2, "named twice")])
def test_wrong_sets(pair, tmp_path, which, splits, message):
    JoinedDatasets(pair, 2, 0, tmp_path/"splits")
    with pytest.raises(AttiqaError, match=message):
        JoinedDatasets([pair[i] for i in which], splits, 0, tmp_path/"splits")

def test_fine_tuned_protocol_leaves_the_network_alone(pair, tmp_path):
    seed_all("tune")
    model = network_model(AttributeNet("resnet10t", 8), "small")
    sets = JoinedDatasets(pair, 2, 0, tmp_path/"splits")
    before = {k: v.clone() for k, v in model.net.state_dict().items()}
    table = whole_network_protocols(sets, model, sets.read(model), 1, 1, (.4, .8), 5, 48)
    assert all((before[k] == v).all() for k, v in model.net.state_dict().items())
    expected = [("cross-dataset", .8)]*2 + [("in-domain", .4), ("in-domain", .8)]*2
    assert sorted(zip(table.protocol, table.fraction)) == expected or len(table) == 6
    assert (table[table.protocol == "cross-dataset"].images <= 5).all()

def test_label_free_tests_of_a_blind_score():
    blind = function_model("blind", lambda x: x.sum()*0)
    table = label_free_tests(blind, ladder_scores(blind, embedded_source(3, 64, 0), 64, 3, 0))
    assert table.set_index("test").value.to_dict() == dict(D=.5, L=0., P=.5)

def test_label_free_tests_of_a_perfect_score():
    perfect = function_model("perfect", lambda x: x.sum()*0)
    scores = np.broadcast_to(-np.arange(4.), (3, 18, 4))[..., None]
    assert label_free_tests(perfect, scores).set_index("test").value.to_dict() == dict(D=1., L=1., P=1.)

def test_gains_are_paired():
    rng = np.random.default_rng(0)
    rows = [dict(model=m, part="backbone", fraction=f, split=k, srcc=.5 + .1*(m == "a") + rng.normal()*.01)
            for m in "ab" for f in (.1, .8) for k in range(10)]
    table = pd.DataFrame(rows).sample(frac=1, random_state=0)
    by_split = table.set_index(["model", "fraction", "split"]).srcc.sort_index()
    for row in paired_gains(table, ("a", "backbone"), ("b", "backbone")).itertuples():
        a, b = by_split["a", row.fraction], by_split["b", row.fraction]
        assert row.difference == pytest.approx(np.median(a - b))
        assert row.low <= row.difference <= row.high
        assert row.wins == 10
        assert row.p == pytest.approx(paired_wilcoxon(a, b))

def test_a_method_that_was_not_measured_has_no_gain():
    table = pd.DataFrame([dict(model="a", part="backbone", fraction=.8, split=0, srcc=.5)])
    assert paired_gains(table, ("a", "backbone"), ("b", "backbone")).empty

def test_ablations_are_named_by_what_differs(tmp_path):
    for name, loss in dict(one="margin", two="l1").items():
        (tmp_path/name).mkdir()
        card = dict(settings=dict(loss=loss, epochs="3"), labels="x")
        save_model(AttributeNet("resnet10t", 8), tmp_path/name/"pretrained.safetensors", card)
    both = ablation_models([tmp_path/"one", tmp_path/"two"])
    assert [m.name for m in both] == ["loss margin", "loss l1"]
    assert [m.name for m in ablation_models([tmp_path/"one"])] == ["one"]

@pytest.mark.parametrize("text", ["", "ten", "0", "90", "5 -1"])
def test_wrong_fractions(text):
    with pytest.raises(AttiqaError, match="percentages"): percent_shares(text, 0, .8)

def test_clive_ten_splits_second_time(shared, tmp_path):
    "With the features kept, ten splits of the linear probe are quick; needs CLIVE's release."
    from attiqa.features import scored_images
    data = scored_images("clive", str(shared/"clive"))
    rng = np.random.default_rng(0)
    sets = JoinedDatasets([data], 10, 0, tmp_path)
    features = (sets.scores[:, None] + rng.normal(size=(len(data), 300))).astype(np.float32) # of no model
    table = probe_protocols(sets, Method(Model("toy", None), "features", "ridge"), features)
    assert len(table) == 10
    assert table.srcc.min() > .9
    assert table.images.between(233, 236).all()
    assert medians(table, ["test"]).splits[0] == 10
