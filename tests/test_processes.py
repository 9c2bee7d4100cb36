"A scorer in other processes and threads: forked, spawned, in pools and data loaders, copied."
import copy, json, multiprocessing, os, pickle, threading
from contextlib import contextmanager
from pathlib import Path
import pytest, torch
from attiqa import ATTIQA, AttiqaError, Scorer
from attiqa.images import package_photograph, to_tensor
from attiqa.metric import QualityLoss, ScoreNet
from child_processes import LIMIT, exit_code

PHOTO = package_photograph("chelsea.png").crop((60, 40, 188, 136))
X = to_tensor(PHOTO)[None]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

# Uses of a scorer

def score_one(scorer): return scorer(PHOTO).quality

def score_many(scorer):
    return [score.quality for score in scorer([PHOTO, X[0], PHOTO.rotate(90, expand=True)])]

def use_metric(scorer): return ATTIQA()(X).item()

def use_loss(scorer):
    x = X.clone().requires_grad_()
    QualityLoss(ScoreNet(scorer))(x).backward()
    return x.grad.abs().mean().item()

def use_map(scorer): return scorer.quality_map(PHOTO).mean().item()

USES = (score_one, score_many, use_metric, use_loss, use_map)

def write_result(use, scorer, file):
    "What a child process does."
    Path(file).write_text(json.dumps(use(scorer)))

# Forked

@contextmanager
def torch_threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try: yield
    finally: torch.set_num_threads(before)

@forks
@pytest.mark.parametrize("use", USES)
def test_forked_after_a_score(scorer, tmp_path, use):
    "The parent's own threads of torch have started."
    with torch_threads(2):
        for each in USES: each(scorer)
        assert exit_code("fork", write_result, use, scorer, tmp_path/"found") == 0
        assert json.loads((tmp_path/"found").read_text()) == pytest.approx(use(scorer), rel=1e-4)

@contextmanager
def busy(scorer):
    "Three threads score without a pause."
    stop = threading.Event()
    def score():
        while not stop.is_set(): scorer(PHOTO)
    threads = [threading.Thread(target=score) for _ in range(3)]
    for thread in threads: thread.start()
    try: yield
    finally:
        stop.set()
        for thread in threads: thread.join()

@forks
def test_forked_while_others_score(scorer, tmp_path):
    expected = score_one(scorer)
    with busy(scorer):
        for turn in range(5):
            file = tmp_path/f"{turn}"
            assert exit_code("fork", write_result, score_one, scorer, file) == 0
            assert json.loads(file.read_text()) == pytest.approx(expected, abs=1e-5)

def continue_stream(scores, file):
    try: next(scores)
    except AttiqaError as error: Path(file).write_text(str(error))

@forks
def test_forked_in_the_middle_of_a_stream(scorer, tmp_path):
    scores = scorer.stream([PHOTO]*40)
    next(scores)
    assert exit_code("fork", continue_stream, scores, tmp_path/"error") == 0
    assert "begin anew" in (tmp_path/"error").read_text()
    assert len(list(scores)) == 39

# Spawned, and either

def test_spawned_with_a_scorer(scorer, tmp_path):
    assert exit_code("spawn", write_result, score_many, scorer, tmp_path/"found") == 0
    assert json.loads((tmp_path/"found").read_text()) == pytest.approx(score_many(scorer), abs=1e-5)

@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_pool_that_is_given_a_scorer_with_every_task(scorer, start):
    with multiprocessing.get_context(start).Pool(2) as pool:
        found = pool.map_async(scorer, [PHOTO]*6, chunksize=1).get(LIMIT)
    assert [score.quality for score in found] == pytest.approx([scorer(PHOTO).quality]*6, abs=1e-5)

class Scored(torch.utils.data.Dataset):
    "Somebody's data set that scores what it loads, one image and two."
    def __init__(self, scorer): self.scorer = scorer
    def __len__(self): return 4
    def __getitem__(self, i):
        pair = [score.quality for score in self.scorer([PHOTO, PHOTO])]
        return X[0], torch.tensor(self.scorer(PHOTO).quality), torch.tensor(pair)

@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_data_loaders_workers(scorer, start):
    expected = scorer(PHOTO).quality
    loader = torch.utils.data.DataLoader(
        Scored(scorer), batch_size=2, num_workers=2, multiprocessing_context=start, timeout=LIMIT)
    for _, single, pair in loader:
        assert single.tolist() + pair.flatten().tolist() == pytest.approx([expected]*6, abs=1e-5)

# Threads and copies

def test_threads(scorer):
    found = []
    def score(): found.extend([scorer(PHOTO), *scorer([PHOTO]*2)])
    threads = [threading.Thread(target=score) for _ in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join(LIMIT)
    assert [score.quality for score in found] == pytest.approx([scorer(PHOTO).quality]*18, abs=1e-5)

def pickled(scorer): return pickle.loads(pickle.dumps(scorer))

COPIERS = dict(deep=copy.deepcopy, shallow=copy.copy, pickled=pickled)

@pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)
def test_copies_of_a_scorer(scorer, copier):
    copied = copier(scorer)
    assert copied(PHOTO) == scorer(PHOTO)
    assert copied.card == scorer.card
    assert copied.describe() == scorer.describe()
    assert torch.equal(copied.quality_map(PHOTO), scorer.quality_map(PHOTO))
