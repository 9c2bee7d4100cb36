"Inside other people's code: training loops, checkpoints, metrics of many ranks, worker processes, servers, whatever they call a picture."
import array, ast, copy, gzip, io, json, lzma, mmap, multiprocessing, os, pickle, subprocess, sys, tempfile, threading, time, zipfile
from collections import OrderedDict
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from torch import nn
from torchmetrics import MetricCollection
import attiqa
from attiqa import ATTIQA, AttiqaError, Scorer
from attiqa.core import cores, cpu_quota
from attiqa.images import package_photograph, to_tensor
from attiqa.metric import COLUMNS, Networks, QualityLoss, ScoreNet, exact_sum
from attiqa.model import AttributeNet, save_model
from conftest import ROOT
from test_notebooks import MODULES

PHOTO = package_photograph("chelsea.png").crop((60, 40, 188, 136))
X = to_tensor(PHOTO)[None]
LIMIT = 300 # seconds until something counts as hanging

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

@pytest.fixture(scope="module")
def net(scorer): return ScoreNet(scorer)

def guests(net): return dict(metric=ATTIQA(), loss=QualityLoss(net), scores=net)

class Parent(nn.Module):
    "A network that somebody trains."
    def __init__(self, net):
        super().__init__()
        self.own = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        self.guests = nn.ModuleDict(guests(net))

@pytest.fixture
def parent(net): return Parent(net)

def values(parent, x=X):
    "What each guest says of a batch."
    metric = copy.deepcopy(parent.guests["metric"])
    metric.reset(), metric.update(x)
    return torch.stack([metric.compute(), 1 - parent.guests["loss"](x), parent.guests["scores"](x)[0, 0]])

# A part of a network

def test_training_leaves_a_guest_alone(parent):
    before = values(parent)
    parent.train()
    assert torch.equal(values(parent), before) and parent.own.training
    assert torch.equal(values(parent.eval()), before)
    assert not [name for name, module in parent.guests["loss"].named_modules() if module.train().training]
    assert not [name for name, module in parent.guests["loss"].scores.net.named_modules() if module.training]

def test_no_optimizer_moves_a_guest(parent):
    before = values(parent)
    parent.requires_grad_(True)
    optimizer = torch.optim.AdamW(parent.parameters(), lr=.1, weight_decay=.5)
    for _ in range(2):
        optimizer.zero_grad()
        parent.guests["loss"](torch.sigmoid(parent.own(X))).backward()
        optimizer.step()
    average = torch.optim.swa_utils.AveragedModel(parent)
    average.update_parameters(parent), average.update_parameters(parent)
    assert torch.equal(values(parent), before) and torch.equal(values(average.module), before)
    assert len([*parent.parameters()]) == len([*parent.own.parameters()])

CASTS = dict(half=lambda m: m.half(), bfloat16=lambda m: m.bfloat16(), double=lambda m: m.double(), to=lambda m: m.to(torch.float16),
             type=lambda m: m.type(torch.float64), both=lambda m: m.to("cpu", torch.bfloat16), meta=lambda m: m.to("meta"))

@pytest.mark.parametrize("cast", CASTS)
def test_casts_of_a_parent(parent, cast):
    before = values(parent)
    parent.guests["metric"].update(X)
    CASTS[cast](parent)
    assert torch.equal(values(parent), before)
    parent.guests["metric"].update(X)
    assert parent.guests["metric"].compute() == pytest.approx(before[0].item(), abs=1e-6)
    assert {state.dtype for state in parent.guests["metric"].metric_state.values()} <= {torch.float32, torch.int64}
    assert parent.guests["metric"].dtype == torch.float32

@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type_and_its_gradient(net, dtype):
    for guest in (QualityLoss(net), lambda x: net(x)[0, 0], ATTIQA()):
        x = X.clone().to(dtype).requires_grad_()
        found = guest(x)
        found.backward()
        again = x.detach().clone().float().requires_grad_()
        expected = guest(again)
        expected.backward()
        assert found.dtype == torch.float32 and torch.equal(found, expected)
        assert x.grad.dtype == dtype and torch.equal(x.grad, again.grad.to(dtype)) and x.grad.abs().sum() > 0

@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(scorer, parent, dtype):
    before, alone, maps = values(parent), scorer(PHOTO), scorer.quality_map(PHOTO)
    with torch.autocast("cpu", dtype):
        assert torch.equal(values(parent), before)
        assert scorer(PHOTO) == alone and torch.equal(scorer.quality_map(PHOTO), maps)

@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_process_may_have_another_default_type(scorer, dtype):
    expected = scorer(PHOTO)
    try:
        torch.set_default_dtype(dtype)
        with torch.device("meta"): there, metric = Scorer(device="cpu"), ATTIQA(reduction="none")
        assert there(PHOTO) == expected
        metric.update(X)
        assert metric.compute().item() == pytest.approx(expected.quality, abs=1e-6) and metric.dtype == torch.float32
    finally: torch.set_default_dtype(torch.float32)

def test_a_checkpoint_is_the_parents_own(parent):
    assert all(name.startswith("own.") for name in parent.state_dict())
    assert not [*parent.guests["loss"].buffers()]

def older(parent):
    "The checkpoint that was written when the weights were registered."
    places = dict(metric="guests.metric.scores.net", loss="guests.loss.scores.net", scores="guests.scores.net")
    weights = parent.guests["scores"].net.state_dict()
    return parent.state_dict() | {f"{place}.{name}": value for place in places.values() for name, value in weights.items()}

def test_older_checkpoints_load(parent):
    before, checkpoint = values(parent), older(parent)
    assert len(checkpoint) > 300
    parent.load_state_dict(checkpoint, strict=True)
    assert torch.equal(values(parent), before)
    with pytest.raises(RuntimeError, match="Unexpected"): parent.load_state_dict(checkpoint | {"guests.loss.other": torch.zeros(1)})

def test_states_that_were_kept_load():
    metric = ATTIQA()
    metric.persistent(True)
    metric.update(X)
    other = ATTIQA()
    other.persistent(True)
    other.load_state_dict(metric.state_dict())
    assert other.compute() == metric.compute()
    old = {"total": torch.tensor(1e6 + 1e-5, dtype=torch.float64), "count": torch.tensor(2_000_000)}
    other = ATTIQA()
    other.load_state_dict(old)
    assert other.sums.double().sum().item() == pytest.approx(old["total"].item(), rel=1e-13) and other.compute() == .5
    with pytest.raises(RuntimeError, match="another attribute"): ATTIQA(attribute="contrast").load_state_dict(metric.state_dict())

def test_a_compiled_parent(net):
    assert torch.equal(torch.compile(QualityLoss(net), backend="eager")(X), QualityLoss(net)(X))

# A metric of many pictures, batches and ranks

def test_ten_million_pictures_lose_nothing():
    "Fed as torchmetrics does: pictures, batches and states, each added to what is there."
    metric, step = ATTIQA(), torch.tensor(.123456789)
    metric.one = lambda image: step
    metric.sums, metric.count = torch.tensor([9_999_000*step.double().item(), 0.]), torch.tensor(9_999_000)
    start = metric.sums.double().sum().item()
    for _ in range(500): metric.update([X[0]])
    for _ in range(500): metric([X[0]])
    assert metric.sums.double().sum().item() - start == pytest.approx(1000*step.double().item(), rel=1e-6)
    assert metric.count == 10_000_000 and metric.compute().item() == pytest.approx(step.item(), rel=2e-7)

def test_exact_sum_has_twice_the_digits():
    numbers = np.random.default_rng(0).random(20_000, dtype=np.float32)
    sums = torch.zeros(2)
    for part in np.array_split(numbers, 100): sums = exact_sum(torch.stack([sums, exact_sum(torch.tensor(part)[:, None]*torch.tensor([1., 0.]))]))
    assert sums.double().sum().item() == pytest.approx(numbers.astype(np.float64).sum(), rel=1e-11)

@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_copies(reduction):
    metric = ATTIQA(reduction=reduction)
    x = X.clone().requires_grad_()
    metric(x), metric(x.flip(-1))
    assert not any(torch.as_tensor(state).requires_grad for state in metric.metric_state.get("values", [])) and not metric.metric_state["whose"].requires_grad
    for copied in (metric.clone(), copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert torch.equal(copied.compute(), metric.compute())
        copied.update(X), copied.reset()
        copied.update(X)
        assert copied.compute().mean() != metric.compute().mean()

def test_empty_batches():
    for metric in (ATTIQA(), ATTIQA(reduction="none")):
        for nothing in ([], X[:0], iter([])): metric.update(nothing)
        assert metric.compute().isnan().all() and metric.compute().dtype == torch.float32
        metric.update(X)
        assert metric.compute().isfinite().all() and metric.compute().numel() == 1

def test_a_collection_with_an_empty_first_batch(scorer):
    collection = MetricCollection({name: ATTIQA(attribute=name) for name in COLUMNS} | dict(again=ATTIQA()), compute_groups=True)
    collection.update([]), collection.update(X), collection.update(X)
    found, expected = collection.compute(), scorer(X[0])
    for name in COLUMNS: assert found[name].item() == pytest.approx(getattr(expected, name), abs=1e-5)
    assert found["again"] == found["quality"] and len(collection.compute_groups) == len(COLUMNS)

def test_states_of_different_things_are_not_added():
    quality, contrast = ATTIQA(), ATTIQA(attribute="contrast")
    quality.update(X), contrast.update(X)
    with pytest.raises(AttiqaError, match="cannot be added"): quality.merge_state(contrast)

def rank(number, file, into):
    "One of two processes; the second has seen nothing."
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=number, world_size=2)
    metrics = ATTIQA(), ATTIQA(reduction="none")
    for metric in metrics:
        if number == 0: metric.update(X), metric.update(X.flip(-1))
    found = [metric.compute().tolist() for metric in metrics]
    for metric in metrics: metric.sync()
    for metric in metrics: metric.unsync()
    Path(f"{into}{number}").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()

def ended(processes):
    "Exit codes; what hangs is killed and counts as None."
    until = time.monotonic() + LIMIT
    for process in processes: process.join(max(0, until - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes: process.kill()
    return codes

def test_ranks_with_an_empty_one(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=rank, args=(number, tmp_path/"meeting", f"{tmp_path}/found")) for number in range(2)]
    for process in processes: process.start()
    assert ended(processes) == [0, 0]
    alone = ATTIQA(reduction="none")
    alone.update(X), alone.update(X.flip(-1))
    for number in range(2):
        mean, kept = json.loads((tmp_path/f"found{number}").read_text())
        assert mean == pytest.approx(alone.compute().mean().item(), abs=1e-6) and kept == pytest.approx(alone.compute().tolist(), abs=1e-6)

# Processes and threads

def tell(scorer, way, into): Path(into).write_text(json.dumps(way(scorer)))

def one(scorer): return scorer(PHOTO).quality
def many(scorer): return [score.quality for score in scorer([PHOTO, X[0], PHOTO.rotate(90, expand=True)])]
def module(scorer): return ATTIQA()(X).item()
def loss(scorer):
    x = X.clone().requires_grad_()
    QualityLoss(ScoreNet(scorer))(x).backward()
    return x.grad.abs().mean().item()
def places(scorer): return scorer.quality_map(PHOTO).mean().item()
WAYS = one, many, module, loss, places

@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("way", WAYS)
def test_forked_after_a_score(scorer, tmp_path, way):
    "With torch's threads awake in the parent."
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for each in WAYS: each(scorer)
        process = multiprocessing.get_context("fork").Process(target=tell, args=(scorer, way, tmp_path/"found"))
        process.start()
        assert ended([process]) == [0]
        assert json.loads((tmp_path/"found").read_text()) == pytest.approx(way(scorer), rel=1e-4)
    finally: torch.set_num_threads(threads)

@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_while_others_score(scorer, tmp_path):
    stop, expected = threading.Event(), one(scorer)
    def busy():
        while not stop.is_set(): scorer(PHOTO)
    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads: thread.start()
    try:
        for turn in range(5):
            process = multiprocessing.get_context("fork").Process(target=tell, args=(scorer, one, tmp_path/f"{turn}"))
            process.start()
            assert ended([process]) == [0] and json.loads((tmp_path/f"{turn}").read_text()) == pytest.approx(expected, abs=1e-5)
    finally:
        stop.set()
        for thread in threads: thread.join()

def go_on(scores, into):
    try: next(scores)
    except AttiqaError as error: Path(into).write_text(str(error))

@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_in_the_middle_of_a_stream(scorer, tmp_path):
    scores = scorer.stream([PHOTO]*40)
    next(scores)
    process = multiprocessing.get_context("fork").Process(target=go_on, args=(scores, tmp_path/"said"))
    process.start()
    assert ended([process]) == [0] and "begin anew" in (tmp_path/"said").read_text()
    assert len(list(scores)) == 39

def test_spawned_with_a_scorer(scorer, tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=tell, args=(scorer, many, tmp_path/"found"))
    process.start()
    assert ended([process]) == [0] and json.loads((tmp_path/"found").read_text()) == pytest.approx(many(scorer), abs=1e-5)

@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_pool_that_is_given_a_scorer_with_every_task(scorer, start):
    with multiprocessing.get_context(start).Pool(2) as pool:
        found = pool.map_async(scorer, [PHOTO]*6, chunksize=1).get(LIMIT)
    assert [score.quality for score in found] == pytest.approx([scorer(PHOTO).quality]*6, abs=1e-5)

class Scored(torch.utils.data.Dataset):
    "Somebody's data set that scores what it loads."
    def __init__(self, scorer): self.scorer = scorer
    def __len__(self): return 4
    def __getitem__(self, i): return X[0], torch.tensor(self.scorer(PHOTO).quality), torch.tensor([s.quality for s in self.scorer([PHOTO, PHOTO])])

@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_data_loaders_workers(scorer, start):
    expected = scorer(PHOTO).quality
    loader = torch.utils.data.DataLoader(Scored(scorer), batch_size=2, num_workers=2, multiprocessing_context=start, timeout=LIMIT)
    for _, single, pair in loader: assert single.tolist() + pair.flatten().tolist() == pytest.approx([expected]*6, abs=1e-5)

def test_threads(scorer):
    found = []
    threads = [threading.Thread(target=lambda: found.extend([scorer(PHOTO), *scorer([PHOTO]*2)])) for _ in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join(LIMIT)
    assert [score.quality for score in found] == pytest.approx([scorer(PHOTO).quality]*18, abs=1e-5)

def test_copies_of_a_scorer(scorer):
    for copied in (copy.deepcopy(scorer), copy.copy(scorer), pickle.loads(pickle.dumps(scorer))):
        assert copied(PHOTO) == scorer(PHOTO) and copied.card == scorer.card and copied.describe() == scorer.describe()
        assert torch.equal(copied.quality_map(PHOTO), scorer.quality_map(PHOTO))

# A model's file

def save(path, shift):
    net = AttributeNet("resnet10t", 8)
    with torch.no_grad(): net.offset.fill_(shift)
    return save_model(net, path, {})

def test_a_model_file_that_is_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    scores = lambda: (attiqa.score(PHOTO, model="m.safetensors"), Scorer("m.safetensors")(PHOTO))
    for shift in (-2., 2.):
        save(tmp_path/"m.safetensors", shift)
        kept, fresh = scores()
        assert repr(kept) == repr(fresh)
    later, times = tmp_path/"later.safetensors", os.stat("m.safetensors")
    save(later, -1.)
    Path("m.safetensors").write_bytes(later.read_bytes()) # in place: same inode and size
    os.utime("m.safetensors", ns=(times.st_atime_ns, times.st_mtime_ns))
    kept, fresh = scores()
    assert repr(kept) == repr(fresh)
    (tmp_path/"sub").mkdir(), save(tmp_path/"sub/m.safetensors", 3.)
    monkeypatch.chdir(tmp_path/"sub") # another file of the same name
    kept, fresh = scores()
    assert repr(kept) == repr(fresh)
    Path("m.safetensors").unlink()
    with pytest.raises(AttiqaError, match="no such model file"): scores()

def test_a_model_file_that_stays_is_read_once(tmp_path, monkeypatch):
    save(tmp_path/"m.safetensors", 0.)
    attiqa.score(PHOTO, model=tmp_path/"m.safetensors")
    monkeypatch.setattr(attiqa.score, "Scorer", None)
    attiqa.score(PHOTO, model=tmp_path/"m.safetensors")

def test_a_loss_made_while_validating_can_be_trained_with(net):
    "What is made in inference mode, be it a copy for another device, passes gradients later."
    with torch.inference_mode():
        loss = ATTIQA().as_loss()
        copies = Networks(net.net)
        moved = copies.on(torch.device("meta"))
        again = pickle.loads(pickle.dumps(loss))
    assert not any(weight.is_inference() for module in (loss.scores.net, moved, again.scores.net) for weight in module.parameters())
    for one in (loss, again):
        x = X.clone().requires_grad_()
        one(x).backward()
        assert x.grad.abs().sum() > 0

# What they call a picture

def data():
    file = io.BytesIO()
    PHOTO.save(file, "PNG")
    return file

def spooled():
    file = tempfile.SpooledTemporaryFile()
    file.write(data().getvalue())
    return file

def mapped():
    area = mmap.mmap(-1, len(data().getvalue()))
    area.write(data().getvalue())
    return area

def zipped():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out: out.writestr("a.png", data().getvalue())
    return zipfile.ZipFile(archive).open("a.png")

class Pipe(io.RawIOBase):
    "A stream that cannot go back."
    def __init__(self): self.rest = io.BytesIO(data().getvalue())
    def readable(self): return True
    def readinto(self, into):
        part = self.rest.read(len(into))
        into[:len(part)] = part
        return len(part)

FORMS = dict(bytesio=data, at_its_end=lambda: (file := data(), file.read())[0], bytes=lambda: data().getvalue(), bytearray=lambda: bytearray(data().getvalue()),
             memoryview=lambda: memoryview(data().getvalue()), array=lambda: array.array("B", data().getvalue()),
             strided=lambda: memoryview(bytes(v for byte in data().getvalue() for v in (byte, 0)))[::2], spooled=spooled, mapped=mapped, zipped=zipped, pipe=Pipe)

@pytest.mark.parametrize("form", FORMS)
def test_in_memory_files_are_one_picture(scorer, form):
    assert scorer(FORMS[form]()) == scorer(PHOTO)
    assert scorer([FORMS[form](), PHOTO]) == [scorer(PHOTO)]*2

def test_open_files_and_entries(scorer, tmp_path):
    (tmp_path/"a.png").write_bytes(data().getvalue())
    expected = scorer(PHOTO)
    with open(tmp_path/"a.png", "rb") as file:
        assert scorer(file) == scorer(file) == expected
        assert scorer([file]*9) == [expected]*9
    with open(tmp_path/"a.png", encoding="latin-1") as file, pytest.raises(AttiqaError, match="'rb'"): scorer(file)
    with pytest.raises(AttiqaError, match="'rb'|closed"): scorer(file)
    entry, = os.scandir(tmp_path)
    assert scorer(entry) == scorer(tmp_path/"a.png") and scorer(entry).path == str(tmp_path/"a.png")

def test_a_view_with_a_negative_bit_is_its_values(scorer): assert scorer(torch._neg_view(-X[0])) == scorer(X[0])

ODD = dict(meta=lambda: X[0].to("meta"), sparse=lambda: X[0].to_sparse(), nested=lambda: torch.nested.nested_tensor([X[0], X[0]]))

@pytest.mark.parametrize("kind", ODD)
def test_tensors_without_dense_values_are_refused(scorer, net, kind):
    for call in (scorer, QualityLoss(net), *[ATTIQA().update]*(kind != "nested")): # a nested tensor is a batch of several sizes
        with pytest.raises(AttiqaError, match="dense tensor"): call(ODD[kind]())
    assert "dense tensor" in scorer([ODD[kind](), PHOTO])[0].error and scorer([ODD[kind](), PHOTO])[1] == scorer(PHOTO)

def test_a_picture_beyond_the_limit_is_refused_in_every_form(scorer):
    for large in (np.broadcast_to(np.uint8(3), (100_000, 100_000, 3)), torch.zeros(()).expand(3, 100_000, 100_000)):
        with pytest.raises(AttiqaError, match="100000x100000 pixels, more than the limit"): scorer(large)

def cut_off(): return gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(data().getvalue())[:-99]))

def wrong_sum():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out: out.writestr("a.png", data().getvalue())
    changed = bytearray(archive.getvalue()); changed[200] ^= 255
    return zipfile.ZipFile(io.BytesIO(changed)).open("a.png")

def released():
    view = memoryview(data().getvalue())
    view.release()
    return view

class Stumbling:
    "A stream of somebody's own."
    def read(self): raise RuntimeError("the line\nis dead")

BROKEN = dict(gzip=cut_off, zip=wrong_sum, lzma=lambda: lzma.LZMAFile(io.BytesIO(lzma.compress(data().getvalue())[:99] + bytes(99))), released=released, own=Stumbling)

@pytest.mark.parametrize("form", BROKEN)
def test_a_stream_that_breaks_is_one_line(scorer, form):
    with pytest.raises(AttiqaError, match="cannot be read") as caught: scorer(BROKEN[form]())
    assert "\n" not in str(caught.value)
    first, second = scorer([BROKEN[form](), PHOTO])
    assert "cannot be read" in first.error and second == scorer(PHOTO)

PAGE = json.dumps(dict(path="a.jpg"))
NO_PICTURES = dict(dict=dict(path="a.jpg"), frame=pd.DataFrame(dict(path=["a.jpg"], mos=[1.])), json=PAGE, list_of_json="[1, 2]", page=json.dumps(dict(a=1), indent=1),
                   none=None, number=3, function=len, ordered=OrderedDict(a=1), address="https://example.org/a.jpg", inline="data:image/png;base64,iVBORw0KGgo=")

@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_one_error(scorer, name):
    for call in (scorer, attiqa.score):
        with pytest.raises(AttiqaError, match="not a picture; give a path") as caught: call(NO_PICTURES[name])
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(AttiqaError, match="not a picture; give a path"): ATTIQA().update(NO_PICTURES[name])
    assert "not a picture; give a path" in scorer([PHOTO, NO_PICTURES[name]])[1].error

def test_what_holds_pictures(scorer):
    expected = scorer(PHOTO)
    for several in ((PHOTO,), {1: PHOTO}.values(), iter([PHOTO]), pd.Series([PHOTO]), (p for p in [PHOTO])): assert scorer(several) == [expected]

@pytest.mark.parametrize("low, high", [(-1e-8, 1.0000001), (-9e-4, 1.0009), (0, 1)])
def test_rounding_is_clipped(scorer, net, low, high):
    x = X[0].clone()
    x[0, 0, 0], x[0, 0, 1] = low, high
    assert scorer(x) == scorer(x.clamp(0, 1))
    metric = ATTIQA()
    assert metric([x]) == metric([x.clamp(0, 1)])
    assert metric([x.clone().requires_grad_()]).item() == pytest.approx(metric([x.clamp(0, 1)]).item(), abs=1e-6)

@pytest.mark.parametrize("value", [-.0011, 1.0011, 1.002, -1., 255.])
def test_beyond_rounding_is_refused(scorer, value):
    x = X[0].clone()
    x[0, 0, 0] = value
    with pytest.raises(AttiqaError, match="rescale it, or clip it") as caught: scorer(x)
    assert f"{x[0, 0, 0].item():.9g}" in str(caught.value)

# The process, the machine

STATE = """
import importlib, logging, os, random, signal, sys, threading, warnings
import numpy, PIL.Image, PIL.ImageFile, torch, pandas, matplotlib, timm, torchmetrics, safetensors, fsspec, pyarrow, sklearn, scipy, tqdm
for name in {others}:
    try: importlib.import_module(name)
    except ImportError: pass
PIL.Image.preinit()
def mask():
    kept = os.umask(0)
    os.umask(kept)
    return kept
def state():
    return dict(filters=[*warnings.filters], show=warnings.showwarning, dtype=torch.get_default_dtype(), device=torch.get_default_device(), threads=torch.get_num_threads(), between=torch.get_num_interop_threads(),
        grad=torch.is_grad_enabled(), deterministic=torch.are_deterministic_algorithms_enabled(), benchmark=torch.backends.cudnn.benchmark, tf32=torch.backends.cudnn.allow_tf32,
        precision=torch.get_float32_matmul_precision(), torch_random=torch.get_rng_state().tolist(), random=random.getstate(), numpy_random=str(numpy.random.get_state()), numpy_errors=numpy.geterr(),
        printed=numpy.get_printoptions(), most=PIL.Image.MAX_IMAGE_PIXELS, cut=PIL.ImageFile.LOAD_TRUNCATED_IMAGES, backend=dict(matplotlib.rcParams)["backend"], drawn=str(dict(matplotlib.rcParams)),
        pandas=str(pandas.options.display.to_dict()) if hasattr(pandas.options.display, "to_dict") else "", signals={{s: signal.getsignal(s) for s in signal.valid_signals()}}, handlers=[*logging.root.handlers], level=logging.root.level, disabled=logging.root.manager.disable,
        environment=dict(os.environ), folder=os.getcwd(), hook=sys.excepthook, path=[*sys.path], depth=sys.getrecursionlimit(), running=threading.active_count(), out=(sys.stdout, sys.stderr), start=torch.multiprocessing.get_start_method(allow_none=True),
        sharing=torch.multiprocessing.get_sharing_strategy(), trace=sys.gettrace(), umask=mask())
before = state()
for name in {modules}:
    try: importlib.import_module(f"attiqa.{{name}}")
    except ValueError as error: assert "pip install" in str(error)
    after = state()
    changed = [key for key in before if before[key] != after[key]]
    assert not changed, (name, changed)
"""

def third_party():
    "Packages that a module of the kit imports: what they change is theirs."
    found = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import): found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level: found.add(node.module)
    return sorted(name for name in found if not name.startswith("attiqa") and name.split(".")[0] not in sys.stdlib_module_names)

def test_an_import_changes_nothing_outside_the_package(tmp_path):
    code = STATE.format(others=third_party(), modules=[path.stem for path in MODULES])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=str(ROOT)))
    assert done.returncode == 0, done.stderr[-2000:]

def test_a_guard_against_bombs_stays_armed(tmp_path):
    "A picture at which Pillow warns; who turned the warning into an error gets it."
    PHOTO.resize((60, 50)).save(tmp_path/"a.png")
    code = ("import warnings; from PIL import Image; warnings.simplefilter('error', Image.DecompressionBombWarning); Image.MAX_IMAGE_PIXELS = 2000\n"
            "import attiqa.score, attiqa.cli\n"
            "try: Image.open('a.png'); raise SystemExit('no warning')\nexcept Image.DecompressionBombWarning: pass\n"
            "print(attiqa.Scorer(device='cpu')(['a.png'])[0].error)")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert "limit" in done.stdout

def tree(folder, files):
    for name, text in files.items():
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_text(text)
    return folder

V1, V2 = "3:cpuset:/\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n", "0::/user/job\n"
QUOTAS = [("", {}, np.inf), (V2, {"user/job/cpu.max": "max 100000"}, np.inf), (V2, {"user/job/cpu.max": "250000 100000"}, 2.5),
          (V2, {"user/cpu.max": "50000 100000", "user/job/cpu.max": "max 100000"}, .5), (V2, {"cpu.max": "100000 100000"}, 1), ("0::/\n", {"cpu.max": "200000 50000"}, 4),
          (V2, {"unified/user/job/cpu.max": "300000 100000"}, 3), (V2, {"user/job/cpu.max": "nonsense"}, np.inf),
          (V1, {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "150000", "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000"}, 1.5),
          (V1, {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4), (V1, {"cpu/docker/cpu.cfs_quota_us": "-1", "cpu/docker/cpu.cfs_period_us": "100000"}, np.inf),
          (V1, {"cpuset/cpu.cfs_quota_us": "1", "cpuset/cpu.cfs_period_us": "1"}, np.inf)]

@pytest.mark.parametrize("groups, files, expected", QUOTAS)
def test_quota_of_a_control_group(tmp_path, groups, files, expected):
    tree(tmp_path, ({"proc/self/cgroup": groups} if groups else {}) | {f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert cpu_quota(tmp_path) == expected

def test_a_group_whose_name_is_no_text(tmp_path):
    tree(tmp_path, {"proc/self/cgroup": "", "sys/fs/cgroup/cpu.max": "150000 100000"})
    (tmp_path/"proc/self/cgroup").write_bytes(b"0::/job\xff\n")
    assert cpu_quota(tmp_path) == 1.5

@pytest.mark.parametrize("quota, expected", [(np.inf, 8), (.3, 1), (1, 1), (2.5, 3), (8, 8), (64, 8)])
def test_cores_under_a_quota(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr("attiqa.core.cpu_quota", lambda: quota)
    assert cores() == expected
