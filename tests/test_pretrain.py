"Pretraining on a small labelled set: kills, several processes, what is refused, what a run leaves."
import json, os, pickle, signal, subprocess, sys, time
import numpy as np, pandas as pd, pytest, torch
from safetensors.torch import load_file
from attiqa.core import ATTRIBUTES, AttiqaError, generator, seed_all, write_json, write_parquet
from attiqa.crops import BatchOrder, LabelledImages
from attiqa.distort import MECHANISMS, apply_recipe, levels
from attiqa.images import crop_center, embedded_source, package_photograph, to_tensor
from attiqa.labelling import labelled_source, pixel_hash
from attiqa.model import load_model
from attiqa.pretrain import build_network, pretrain, training_data
from attiqa.pseudolabels import variant_recipe
from attiqa.training import read_words
from conftest import ROOT

SMALL = dict(backbone="resnet10t", embedding=4, crop=32, epochs=2, batch=4, held_out=.25, workers=0, checkpoint=2)

def label(run, count=8, size=48, variants=3, source=None, **job):
    "Pseudo-labels that nobody scored: a fixed random number an attribute and row."
    source = source or embedded_source(count, size)
    rows = pd.DataFrame([(key, v, json.dumps(variant_recipe(key, v, 0)), size, size) for key in source.keys for v in range(variants)],
                        columns="key variant recipe width height".split())
    images = LabelledImages(rows, source, size, 0)
    values = generator("test labels").random((len(rows), 5))
    rows = rows.assign(pixels=[pixel_hash(images[i]) for i in range(len(rows))], **dict(zip(ATTRIBUTES, values.T)))
    write_parquet(run/"pseudolabels"/"part-00000.parquet", rows)
    write_json(run/"pseudolabels"/"manifest.json", dict(source="embedded", keys=len(source), seed=0, size=size) | job)
    return run

def outputs(run):
    "Bytes of what a run leaves, the log without its seconds."
    log = pd.read_csv(run/"pretrain_log.csv", dtype=str).drop(columns="seconds")
    return (run/"pretrained.safetensors").read_bytes(), log.to_csv()

@pytest.fixture(scope="module")
def labelled(tmp_path_factory): return label(tmp_path_factory.mktemp("labels"))

@pytest.fixture(scope="module")
def undisturbed(labelled, tmp_path_factory):
    run = tmp_path_factory.mktemp("undisturbed")
    pretrain(run=str(run), labels=str(labelled), ema=.9, **SMALL)
    return outputs(run)

KILLER = """
import json, os, signal, sys
import attiqa.training as training
from attiqa.pretrain import build_network, pretrain
where, options = sys.argv[1], json.loads(sys.argv[2])
def die(): os.kill(os.getpid(), signal.SIGKILL)
kind, number = where.split(":")
if kind == "step": # after so many steps
    whole = training.Checkpoint.after_batch
    def after_batch(self):
        whole(self)
        if self.training and self.train_iter == int(number): die()
    training.Checkpoint.after_batch = after_batch
if kind == "write": # half way through writing the n-th checkpoint
    whole, count = training.save_file, [0]
    def save_file(tensors, path, metadata):
        count[0] += 1
        whole(tensors, path, metadata)
        if count[0] == int(number): os.truncate(path, os.path.getsize(path)//2); die()
    training.save_file = save_file
if kind == "validate": # in the held-out part of an epoch
    training.LogFile.before_validate = lambda self: die() if self.epoch == int(number) else None
if kind == "end": # trained, not yet saved
    import attiqa.pretrain as stage
    stage.save_model = lambda *_: die()
pretrain(**options)
"""

def killed(where, **options):
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", KILLER, where, json.dumps(options)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]

@pytest.mark.parametrize("where", ["step:1", "step:3", "step:7", "validate:0", "write:1", "write:3", "end:0"])
def test_a_killed_run_ends_as_an_undisturbed_one(labelled, undisturbed, run, where):
    options = dict(run=str(run), labels=str(labelled), ema=.9, **SMALL)
    killed(where, **options)
    assert not (run/"pretrained.safetensors").exists()
    pretrain(**options)
    assert outputs(run) == undisturbed
    assert not [p for p in run.rglob(".*") if p.is_file()] and not list(run.rglob("state.safetensors"))

def test_killed_at_a_moment_nobody_chose(labelled, undisturbed, run):
    "Twice, each time a little later; workers load the crops, which changes nothing."
    options = dict(run=str(run), labels=str(labelled), ema=.9, **SMALL) | dict(workers=2, checkpoint=1)
    words = [w for k, v in options.items() for w in ("-p", k, str(v))]
    for _ in range(2):
        seen = lambda: (run/"pretraining"/"state.safetensors").stat().st_mtime_ns if (run/"pretraining"/"state.safetensors").exists() else 0
        before, process = seen(), subprocess.Popen([sys.executable, "-m", "attiqa.pretrain", *words], cwd=ROOT, env=os.environ | dict(PYTHONPATH=str(ROOT), ATTIQA_SMOKE="0"))
        while seen() == before and process.poll() is None: time.sleep(.01)
        process.kill(); process.wait()
    pretrain(**options)
    assert outputs(run) == undisturbed

GENTLE = SMALL | dict(norms="frozen", kernels=False, keep=1., together=True, batch=6, bf16="yes") # a pretrained network goes on

def test_a_killed_run_that_holds_features_ends_as_an_undisturbed_one(labelled, tmp_path):
    options = dict(labels=str(labelled), average=.5, truth="recipes", **GENTLE)
    pretrain(run=str(tmp_path/"whole"), **options)
    killed("step:3", run=str(tmp_path/"killed"), **options)
    pretrain(run=str(tmp_path/"killed"), **options)
    assert outputs(tmp_path/"killed") == outputs(tmp_path/"whole")

def test_what_is_frozen_stays_and_the_rest_learns(labelled, run):
    after = load_model(pretrain(run=str(run), labels=str(labelled), **GENTLE | dict(backbone="efficientnet_lite0", epochs=1))).state_dict()
    seed_all("pretrain", 0)
    before = build_network("efficientnet_lite0", 4, "").backbone
    weights = {name: weight.half().float() if weight.ndim > 1 else weight for name, weight in before.state_dict().items()}
    same = {name for name, weight in weights.items() if torch.equal(after[f"backbone.{name}"], weight)}
    stays = {name for name, weight in weights.items() if weight.ndim < 2 or weight.shape[1:] == (1, 5, 5)}
    assert same == stays

def test_held_features_move_less(labelled, tmp_path):
    crops = torch.stack([to_tensor(crop_center(package_photograph(name), 64)) for name in ("coffee.png", "chelsea.png")])
    seed_all("pretrain", 0)
    start = build_network("resnet10t", 4, "").eval()
    def moved(keep):
        net = load_model(pretrain(run=str(tmp_path/str(keep)), labels=str(labelled), **GENTLE | dict(keep=keep)))
        return (net.pooled(crops) - start.pooled(crops)).square().mean().item()
    assert moved(100.) < .5*moved(0.)

def test_an_average_lies_between_the_start_and_what_was_learned(labelled, tmp_path):
    seed_all("pretrain", 0)
    start = build_network("resnet10t", 4, "").backbone.state_dict()
    plain, mean = (load_model(pretrain(run=str(tmp_path/str(weight)), labels=str(labelled), average=weight, **GENTLE)) for weight in (0., .75))
    for name, weight in mean.backbone.state_dict().items():
        wanted = .75*start[name] + .25*plain.backbone.state_dict()[name]
        assert torch.allclose(weight.float(), wanted.float(), atol=2e-3*max(1., wanted.abs().max().item())), name
    heads = lambda net: net.heads.state_dict()["0.embed.0.weight"]
    assert not torch.equal(heads(mean), heads(plain)), "the heads learned again"

def test_the_order_of_recipes_is_what_was_done(labelled):
    crops, _ = training_data(labelled/"pseudolabels", "embedded", 32, .25, 2., 0, 0, "recipes")
    train = crops["train"]
    done = np.array([levels(json.loads(train.images.rows[i][2])) for i in train.index])
    ranks = train.labels.numpy()
    for attribute in range(5):
        a, b = done[:, attribute], ranks[:, attribute]
        assert ((a[:, None] > a) <= (b[:, None] > b)).all() and ((a[:, None] == a) == (b[:, None] == b)).all()
    assert (done[train.untouched()] == 1).all()

def test_heads_go_on_from_a_file_of_this_kit(labelled, tmp_path):
    first = pretrain(run=str(tmp_path/"first"), labels=str(labelled), **SMALL)
    second = load_model(pretrain(run=str(tmp_path/"second"), labels=str(labelled), start=str(first), share=0., **SMALL))
    old = load_model(first)
    assert all(torch.equal(a, b) for a, b in zip(old.backbone.parameters(), second.backbone.parameters()))

def test_views_of_a_photograph_are_held_out_together(run):
    label(run, source=labelled_source("embedded", 8, 0, 48, views=3, shrink=2.), views=3, shrink=2.)
    parts, _ = training_data(run/"pseudolabels", "embedded", 32, .25, 2., 0, seed=0)
    photographs = {name: {part.images.rows[i][0].split("#")[0] for i in part.index} for name, part in parts.items()}
    assert photographs["train"] and photographs["whole"] and not photographs["train"] & photographs["whole"]
    assert pretrain(run=str(run), **SMALL | dict(epochs=1)).is_file()

def test_a_finished_run_is_kept_and_other_settings_are_refused(labelled, run):
    options = dict(run=str(run), labels=str(labelled), **SMALL) | dict(epochs=1)
    path = pretrain(**options)
    written = path.stat().st_mtime_ns
    assert pretrain(**options | dict(workers=1, checkpoint=3)).stat().st_mtime_ns == written
    with pytest.raises(AttiqaError, match="margin was 1.0, is 0.5; rate was 0.002, is 0.01"): pretrain(**options | dict(rate=.01, margin=.5))
    path.unlink()
    assert pretrain(**options).is_file()

def test_every_loss_and_option_trains(labelled, tmp_path):
    for i, more in enumerate((dict(loss="logistic"), dict(loss="fidelity", spread=True), dict(loss="l1"), dict(loss="mse", weights="sharpness"), dict(memory=0.), dict(bf16="no", compiled="no"))):
        net = load_model(pretrain(run=str(tmp_path/str(i)), labels=str(labelled), **SMALL | dict(epochs=1) | more))
        assert set(net.card["held_out"]) == {f"{m}_{a}" for m in ("agreement", "srcc") for a in ATTRIBUTES}

def test_kept_pixels_train_the_same(labelled, tmp_path):
    made = [pretrain(run=str(tmp_path/str(memory)), labels=str(labelled), **SMALL | dict(epochs=1, memory=memory)) for memory in (0., 2.)]
    a, b = map(load_file, made)
    assert all(torch.equal(a[k], b[k]) for k in a)

def test_crops_larger_than_the_image(labelled, run):
    assert pretrain(run=str(run), labels=str(labelled), **SMALL | dict(epochs=1, crop=64)).is_file()

@pytest.mark.parametrize("wrong, words", [(dict(loss="hinge"), "no loss 'hinge'"), (dict(weights="1 2"), "give 5 numbers"), (dict(backbone="resnet9000"), "no backbone"),
                                          (dict(bf16="maybe"), "give auto"), (dict(norms="thawed"), "it is 'learn' or 'frozen'"), (dict(truth="oracle"), "it is 'labels' or 'recipes'"), (dict(average=2.), "from 0 to 1"), (dict(together=True, spread=True), "set together to False"), (dict(source="photos"), "photos"), (dict(start="nowhere"), "no such model file")])
def test_what_is_refused(labelled, run, wrong, words):
    with pytest.raises(AttiqaError, match=words) as error: pretrain(run=str(run), labels=str(labelled), **SMALL | wrong)
    assert "\n" not in str(error.value)

def test_pixels_do_not_depend_on_the_number_of_threads():
    "Labels are made by workers of one thread, pixels made again by a process of any number."
    photo, before = to_tensor(crop_center(package_photograph("coffee.png"), 224)), torch.get_num_threads()
    try:
        made = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            made.append(torch.stack([apply_recipe(photo, [(name, s)], "threads") for name in MECHANISMS for s in (.1, .3, .5, .7, .9)]))
    finally: torch.set_num_threads(before)
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])

def test_changed_pixels_are_noticed(run):
    label(run)
    path = run/"pseudolabels"/"part-00000.parquet"
    rows = pd.read_parquet(path)
    write_parquet(path, rows.assign(pixels="0"*16))
    with pytest.raises(AttiqaError, match="not those that were labelled"): pretrain(run=str(run), **SMALL)

def test_an_image_that_vanished_stops_in_one_line(run, tmp_path):
    photos = tmp_path/"photos"
    photos.mkdir()
    for key in embedded_source(6, 64).keys: embedded_source(6, 64).load(key).save(photos/f"{key}.png")
    rows = pd.DataFrame([(p.name, 0, "[]", 64, 64, *generator(p.name).random(5)) for p in sorted(photos.iterdir())], columns=["key", "variant", "recipe", "width", "height", *ATTRIBUTES])
    write_parquet(run/"pseudolabels"/"part-00000.parquet", rows)
    write_json(run/"pseudolabels"/"manifest.json", dict(source=str(photos), keys=6, seed=0, size=48))
    (photos/rows.key[0]).write_bytes(b"gone bad")
    for workers in (0, 1):
        with pytest.raises(AttiqaError, match="not a readable image") as error: pretrain(run=str(run), source=str(photos), **SMALL | dict(workers=workers, memory=0., batch=4, held_out=.1))
        assert "\n" not in str(error.value) and "Exception" not in str(error.value)

class Trap:
    def __init__(self, path): self.path = path
    def __reduce__(self): return open, (self.path, "w")

def test_a_pickle_is_not_run(labelled, run, tmp_path):
    "Neither as the checkpoint nor as the vision tower to start from."
    trap, state, tower = tmp_path/"sprung", run/"pretraining"/"state.safetensors", tmp_path/"clip"/"open_clip_model.safetensors"
    for path in (state, tower):
        path.parent.mkdir(parents=True)
        path.write_bytes(pickle.dumps(Trap(str(trap))))
    with pytest.raises(AttiqaError, match="nothing in it was run"): pretrain(run=str(run), labels=str(labelled), start=str(tower.parent), **SMALL)
    with pytest.raises(AttiqaError, match="nothing in it was run"): pretrain(run=str(run/"b"), labels=str(labelled), start=str(tower.parent), **SMALL)
    (run/"pretraining"/"manifest.json").unlink()
    with pytest.raises(AttiqaError, match="nothing in it was run"): pretrain(run=str(run), labels=str(labelled), **SMALL)
    assert not trap.exists()

def test_a_loss_of_nan_stops_with_its_rows(labelled, run, monkeypatch):
    import attiqa.losses as losses
    whole, calls = losses.LOSSES["margin"], []
    def spoilt(scalars, labels, **rest):
        calls.append(1)
        return whole(scalars, labels, **rest)*(float("nan") if len(calls) == 2 else 1)
    monkeypatch.setitem(losses.LOSSES, "margin", spoilt)
    with pytest.raises(AttiqaError, match="epoch 0, step 1") as error: pretrain(run=str(run), labels=str(labelled), **SMALL)
    rows = json.loads((run/"nan_batch_0.json").read_text())["rows"]
    assert "\n" not in str(error.value) and len(rows) == 4 and all(len(row) == 2 for row in rows)
    monkeypatch.setitem(losses.LOSSES, "margin", whole)
    pretrain(run=str(run), labels=str(labelled), **SMALL)

SHARE = """
import sys, torch, torch.distributed as dist
from attiqa.losses import attribute_loss
from attiqa.model import AttributeNet
from attiqa.training import over_processes, processes, share_norms
from torch.nn.parallel import DistributedDataParallel
with processes() as world:
    torch.manual_seed(0)
    net = AttributeNet("resnet10t", 4).double().train()
    net.regressor.requires_grad_(False)
    x, labels = torch.rand(8, 3, 32, 32).double(), torch.rand(8, 5).double()
    if world.size > 1: net = DistributedDataParallel(share_norms(net, world.device), broadcast_buffers=False)
    own = slice(world.rank*8//world.size, (world.rank + 1)*8//world.size)
    loss = over_processes(attribute_loss(sys.argv[1]))(net(x[own]), labels[own])
    loss.backward()
    net = getattr(net, "module", net)
    if not world.rank: torch.save(dict(loss=loss.detach(), state=net.state_dict(), grads={k: p.grad for k, p in net.named_parameters() if p.grad is not None}), sys.argv[2])
"""

def launch(count, *words):
    "Start processes as torchrun does, on this machine."
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count), *words] if count > 1 else [sys.executable, *words]
    env = os.environ | dict(PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", ATTIQA_SMOKE="0")
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]

@pytest.mark.parametrize("loss", ["margin", "fidelity"])
def test_two_processes_give_the_loss_and_gradients_of_one(tmp_path, loss):
    script = tmp_path/"share.py"
    script.write_text(SHARE)
    for count in (1, 2): launch(count, str(script), loss, str(tmp_path/f"{count}.pt"))
    one, two = (torch.load(tmp_path/f"{count}.pt", weights_only=True) for count in (1, 2))
    assert torch.isclose(one["loss"], two["loss"], rtol=1e-9)
    assert one["grads"].keys() == two["grads"].keys() and len(one["grads"]) > 20
    for part in ("grads", "state"):
        for k, value in one[part].items(): assert torch.allclose(value, two[part][k], rtol=1e-5, atol=1e-9), k

def test_two_processes_train_as_one_does(labelled, tmp_path):
    "The whole stage by torchrun: same batches, batch norm over the whole batch, same weights but for rounding."
    for count in (1, 2):
        options = dict(run=str(tmp_path/str(count)), labels=str(labelled), **SMALL) | dict(epochs=1)
        words = [w for k, v in options.items() for w in ("-p", k, str(v))]
        launch(count, "-m", "attiqa.pretrain", *words)
    logs = [pd.read_csv(tmp_path/str(count)/"pretrain_log.csv").drop(columns="seconds") for count in (1, 2)]
    assert np.allclose(logs[0].filter(like="loss"), logs[1].filter(like="loss"), rtol=1e-3)
    a, b = (load_file(tmp_path/str(count)/"pretrained.safetensors") for count in (1, 2))
    fitted = {"gain", "offset"} # least squares on scalars that hardly differ yet: not compared
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=2e-3) for k in a.keys() - fitted)

def test_a_batch_that_cannot_be_shared(labelled, run):
    with pytest.raises(AttiqaError, match="give no batch for 9 processes"): BatchOrder(8, 4, size=9)

def test_presets_are_parameters_of_the_stage():
    from attiqa.core import stage_settings
    files = sorted((ROOT/"nbs"/"presets").glob("*.yaml"))
    assert {"paper.yaml", "photos.yaml"} <= {f.name for f in files}
    for file in files: stage_settings(read_words(["-f", str(file)]), set(), pretrain)

def test_a_backbone_learns_at_its_share_of_the_rate(labelled, tmp_path):
    def moved(share): # largest change of the backbone's weights and statistics, and of the heads'
        path = pretrain(run=str(tmp_path/str(share)), labels=str(labelled), share=share, **SMALL)
        after = load_model(path).state_dict()
        seed_all("pretrain", 0)
        before = build_network("resnet10t", 4, "").state_dict()
        change = lambda part: max((after[k].float() - before[k].half().float()).abs().max().item() for k in before if k.startswith(part) and before[k].ndim > 1)
        still = all(torch.equal(after[k], before[k]) for k in before if k.startswith("backbone") and "running" in k)
        return change("backbone"), change("heads"), still
    (none, heads, still), (little, _, _), (full, _, _) = moved(0.), moved(.05), moved(1.)
    assert none == 0 and still and heads > 0
    assert 0 < little < full/3
