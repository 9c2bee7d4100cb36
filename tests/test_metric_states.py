"What the metric adds up: over many images, empty batches, copies, collections and ranks."
import copy, json, multiprocessing, pickle
from pathlib import Path
import numpy as np, pytest, torch
from torchmetrics import MetricCollection
from attiqa import ATTIQA, AttiqaError, Scorer
from attiqa.images import package_photograph, to_tensor
from attiqa.metric import SCORE_NAMES, exact_sum
from child_processes import exit_codes

X = to_tensor(package_photograph("chelsea.png").crop((60, 40, 188, 136)))[None]

# Sums

def test_ten_million_pictures_lose_nothing():
    "Fed as torchmetrics does: images, batches and states, each added to the earlier ones."
    metric, step, earlier = ATTIQA(), torch.tensor(.123456789), 9_999_000
    metric.one = lambda image: step
    metric.sums, metric.count = torch.tensor([earlier*step.double().item(), 0.]), torch.tensor(earlier)
    start = metric.sums.double().sum().item()
    for _ in range(500): metric.update([X[0]])
    for _ in range(500): metric([X[0]])
    added = metric.sums.double().sum().item() - start
    assert added == pytest.approx(1000*step.double().item(), rel=1e-6)
    assert metric.count == 10_000_000
    assert metric.compute().item() == pytest.approx(step.item(), rel=2e-7)

def test_exact_sum_has_twice_the_digits():
    numbers = np.random.default_rng(0).random(20_000, dtype=np.float32)
    sums = torch.zeros(2)
    for part in np.array_split(numbers, 100):
        pairs = torch.tensor(part)[:, None]*torch.tensor([1., 0.])
        sums = exact_sum(torch.stack([sums, exact_sum(pairs)]))
    assert sums.double().sum().item() == pytest.approx(numbers.astype(np.float64).sum(), rel=1e-11)

def test_states_of_different_things_are_not_added():
    quality, contrast = ATTIQA(), ATTIQA(attribute="contrast")
    for metric in (quality, contrast): metric.update(X)
    with pytest.raises(AttiqaError, match="cannot be added"): quality.merge_state(contrast)

@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_copies(reduction):
    metric, x = ATTIQA(reduction=reduction), X.clone().requires_grad_()
    for batch in (x, x.flip(-1)): metric(batch)
    states = metric.metric_state
    assert not any(torch.as_tensor(value).requires_grad for value in states.get("values", []))
    assert not states["whose"].requires_grad
    for copied in (metric.clone(), copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert torch.equal(copied.compute(), metric.compute())
        copied.update(X)
        copied.reset()
        copied.update(X)
        assert copied.compute().mean() != metric.compute().mean()

# Empty batches

@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_empty_batches(reduction):
    metric = ATTIQA(reduction=reduction)
    for empty in ([], X[:0], iter([])): metric.update(empty)
    assert metric.compute().isnan().all()
    assert metric.compute().dtype == torch.float32
    metric.update(X)
    assert metric.compute().isfinite().all()
    assert metric.compute().numel() == 1

def test_a_collection_with_an_empty_first_batch():
    metrics = {name: ATTIQA(attribute=name) for name in SCORE_NAMES}
    collection = MetricCollection(metrics | dict(again=ATTIQA()), compute_groups=True)
    for batch in ([], X, X): collection.update(batch)
    found, expected = collection.compute(), Scorer(device="cpu")(X[0])
    for name in SCORE_NAMES: assert found[name].item() == pytest.approx(getattr(expected, name), abs=1e-5)
    assert found["again"] == found["quality"]
    assert len(collection.compute_groups) == len(SCORE_NAMES)

# Ranks

def feed_both(metric):
    "The photograph and its mirror image."
    for batch in (X, X.flip(-1)): metric.update(batch)

def compute_as_rank(number, meeting, found):
    "One of two processes; the second is fed nothing."
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=number, world_size=2)
    metrics = ATTIQA(), ATTIQA(reduction="none")
    if number == 0:
        for metric in metrics: feed_both(metric)
    values = [metric.compute().tolist() for metric in metrics]
    for metric in metrics: metric.sync()
    for metric in metrics: metric.unsync()
    Path(found).write_text(json.dumps(values))
    torch.distributed.destroy_process_group()

def test_ranks_with_an_empty_one(tmp_path):
    spawn, found = multiprocessing.get_context("spawn"), [tmp_path/"found0", tmp_path/"found1"]
    ranks = [(number, tmp_path/"meeting", file) for number, file in enumerate(found)]
    processes = [spawn.Process(target=compute_as_rank, args=rank) for rank in ranks]
    for process in processes: process.start()
    assert exit_codes(processes) == [0, 0]
    alone = ATTIQA(reduction="none")
    feed_both(alone)
    for file in found:
        mean, kept = json.loads(file.read_text())
        assert mean == pytest.approx(alone.compute().mean().item(), abs=1e-6)
        assert kept == pytest.approx(alone.compute().tolist(), abs=1e-6)
