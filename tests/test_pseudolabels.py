"Stage 03_pseudolabels under kills, full disks, bad files and lost machines: its files are always the same."
import json, os, random, resource, shutil, signal, subprocess, sys, tarfile, tempfile, time
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
import numpy as np, open_clip, pandas as pd, pytest, torch
from PIL import Image
from safetensors.torch import save_file
from attiqa.core import ATTRIBUTES, AttiqaError, write_json
from attiqa.images import open_source, pixel_hash
from attiqa.labelling import OUTPUT_FOLDERS, Labeller, Progress, ShardResult, gather_rejects
from attiqa.labelling import label_shards, labelled_pixels, ray_engine, run_parallel, write_result
from attiqa.prompts import load_prompts
from attiqa.pseudolabels import label_images, read_labels, relabel
from attiqa.vlm import load_vlm
from conftest import ROOT

def needs(name): return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")

TINY = dict(embed_dim=16, vision_cfg=dict(image_size=32, layers=1, width=32, head_width=16, patch_size=16),
            text_cfg=dict(context_length=16, vocab_size=49408, width=16, heads=1, layers=1))
NORM = dict(mean=[.5]*3, std=[.25]*3)

@pytest.fixture(scope="module", autouse=True)
def one_thread():
    "Tests fork this process, so it must not start threads."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    "A folder with a tiny model in open_clip's format, and its prompts."
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**TINY).state_dict(), folder/"open_clip_model.safetensors")
    write_json(folder/"open_clip_config.json", dict(model_cfg=TINY, preprocess_cfg=NORM))
    pairs = {attribute: [[f"good {attribute}", f"bad {attribute}"]] for attribute in ATTRIBUTES}
    write_json(folder/"prompts.json", dict(vlm=str(folder), pairs=pairs))
    return folder

@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    "Sixty images, of which three are damaged."
    folder = tmp_path_factory.mktemp("photos")
    for i in range(60):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder/f"{i:02d}.jpg")
    for i in (7, 8, 41): (folder/f"{i:02d}.jpg").write_bytes((folder/f"{i:02d}.jpg").read_bytes()[:i*20])
    return folder

@pytest.fixture(scope="module")
def job(tiny, photos):
    options = dict(count=0, variants=1, size=32, shard=5, batch=4, workers=0, embeddings=True)
    return dict(source=str(photos), vlm=str(tiny)) | options

def labeller_of(tiny, images, variants=1, **options):
    vlm = load_vlm(str(tiny))
    return Labeller(images, vlm, load_prompts(tiny/"prompts.json", vlm), variants, 32, 4, **options)

def start(run, tiny):
    "Make a run directory with its prompts."
    run.mkdir(parents=True, exist_ok=True)
    shutil.copy(tiny/"prompts.json", run)
    return run

def files(run):
    "The bytes of all files of a run."
    paths = [path for kind in OUTPUT_FOLDERS for path in sorted((run/kind).glob("*"))]
    return {path.relative_to(run): path.read_bytes() for path in (*paths, run/"rejects.parquet")}

def parts(run): return sorted((run/"pseudolabels").glob("part-*"))

@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny, job):
    run = start(tmp_path_factory.mktemp("undisturbed")/"run", tiny)
    label_images(run=run, **job)
    return run

def child(function):
    "A fork of this process that calls a function and exits with 0, or with 3 for an AttiqaError."
    if pid := os.fork(): return pid
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        function()
        code = 0
    except AttiqaError: code = 3
    finally: os._exit(code)

def exit_code(pid): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def test_nothing_is_lost(undisturbed, photos):
    labels, _ = read_labels(undisturbed/"pseudolabels")
    rejects = pd.read_parquet(undisturbed/"rejects.parquet")
    assert sorted(rejects.key) == ["07.jpg", "08.jpg", "41.jpg"] and rejects.reason.str.len().min() > 10
    assert sorted({*labels.key, *rejects.key}) == sorted(p.name for p in photos.iterdir())
    assert not labels.duplicated(["key", "variant"]).any()
    assert len(labels) == 57*2

@pytest.mark.parametrize("workers", (1, 3))
def test_files_do_not_depend_on_processes(undisturbed, run, tiny, job, workers):
    label_images(run=start(run, tiny), **job | dict(workers=workers))
    assert files(run) == files(undisturbed)

def test_workers_that_are_spawned(undisturbed, tiny, photos):
    "As on macOS and Windows, where all that a worker needs is sent to it."
    labeller = labeller_of(tiny, open_source(str(photos)), embeddings=True)
    results = list(run_parallel(labeller, labeller.source.shards(5), 1, start_method="spawn"))
    labels = {result.name: result.files["pseudolabels"] for result in results}
    assert labels == {path.stem: path.read_bytes() for path in parts(undisturbed)}

def test_a_killed_process_does_not_keep_the_line():
    lock = Progress(0).line.get_lock()
    def acquire_and_die():
        lock.acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    assert exit_code(child(acquire_and_die)) == -signal.SIGKILL
    assert lock.acquire(blocking=False)
    lock.release()

def test_killed_at_twenty_instants(undisturbed, run, tiny, job):
    def label(name, workers):
        return child(lambda: label_images(run=start(run/name, tiny), **job | dict(workers=workers)))
    rng, begin = random.Random(0), time.monotonic()
    assert exit_code(label("timed", 2)) == 0
    whole, kills, torn = time.monotonic() - begin, 0, 0
    while kills < 20:
        pid = label("killed", 2*(kills % 2))
        time.sleep(rng.uniform(0, whole))
        os.kill(pid, signal.SIGKILL)
        killed = exit_code(pid) == -signal.SIGKILL
        kills += killed
        torn += killed and 0 < len(parts(run/"killed")) < 12
        finished = not killed
        if finished or rng.random() < .3: shutil.rmtree(run/"killed", ignore_errors=True) # begin anew
    label_images(run=start(run/"killed", tiny), **job)
    assert files(run/"killed") == files(undisturbed)
    assert torn > 0, "no kill fell between two shards, so nothing was tested"

@pytest.fixture
def small_disk(run):
    "A function that runs another one on a small disk, and a function that enlarges the disk."
    run.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", run]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    def limited(function):
        if not mounted:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        function()
    remount = ["mount", "-o", "remount,size=16m", run]
    yield limited, lambda: mounted and subprocess.run(remount, check=True)
    if mounted: subprocess.run(["umount", "-l", run], check=True)

@pytest.mark.parametrize("workers", (0, 2))
def test_full_disk(small_disk, undisturbed, run, tiny, job, workers):
    limited, enlarge = small_disk
    start(run, tiny)
    attempt = lambda: limited(lambda: label_images(run=run, **job | dict(workers=workers)))
    assert exit_code(child(attempt)) == exit_code(child(attempt)) == 3
    assert len(parts(run)) < 12
    assert not list(run.rglob(".*.parquet"))
    enlarge()
    label_images(run=run, **job)
    assert files(run) == files(undisturbed)

def test_full_disk_is_one_line(monkeypatch, run, undisturbed):
    def full(*words): raise OSError(28, "No space left on device")
    monkeypatch.setattr("attiqa.labelling.atomic", full)
    result = ShardResult("part-000000-0", 1, 0, dict(pseudolabels=b""))
    with pytest.raises(AttiqaError, match="no room") as caught: write_result(run, result)
    assert "\n" not in str(caught.value)

@pytest.fixture
def half_locked(photos):
    "A folder that all users may write to, with images in `in/open` and in the unreadable `in/locked`."
    place = Path(tempfile.mkdtemp())
    place.chmod(0o777)
    shutil.copytree(photos, place/"in"/"open")
    (place/"in"/"open").chmod(0o755)
    (place/"in"/"locked").mkdir()
    shutil.copy(photos/"01.jpg", place/"in"/"locked")
    (place/"in"/"locked").chmod(0)
    yield place
    (place/"in"/"locked").chmod(0o755)
    shutil.rmtree(place)

def become_nobody():
    "Give up root's rights, which no permission limits."
    if os.geteuid() != 0: return
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

def test_unreadable_folder(tiny, half_locked):
    out, labeller = half_locked/"out", labeller_of(tiny, open_source(str(half_locked/"in")), 0)
    def label_as_nobody():
        become_nobody()
        gather_rejects(out, label_shards(out, labeller, 5, 0)[0])
    assert exit_code(child(label_as_nobody)) == 0
    rejects = pd.read_parquet(out/"rejects.parquet").set_index("key").reason
    assert len(rejects) == 4
    assert "permission denied" in rejects["locked/"]
    assert len(pd.concat(map(pd.read_parquet, parts(out)))) == 57

def test_a_name_that_is_no_text(tiny, photos, run, job, tmp_path):
    folder = tmp_path/"names"
    folder.mkdir()
    shutil.copy(photos/"01.jpg", folder)
    shutil.copy(photos/"02.jpg", os.fsencode(folder) + b"/\xff.jpg")
    label_images(run=start(run, tiny), **job | dict(source=str(folder)))
    assert pd.read_parquet(run/"rejects.parquet").key.tolist() == [r"\udcff.jpg"]

def test_finished_shards_are_never_opened(undisturbed, run, tiny, job):
    shutil.copytree(undisturbed, run)
    for path in parts(run):
        path.write_bytes(b"not Parquet")
        os.utime(path, (0, 0))
    (run/"rejects.parquet").unlink()
    label_images(run=run, **job)
    assert {(path.read_bytes(), path.stat().st_mtime) for path in parts(run)} == {(b"not Parquet", 0.)}

@pytest.mark.parametrize("change", ("came", "went", "at the end"))
def test_a_source_that_changed_is_refused(undisturbed, run, tiny, job, photos, tmp_path, change):
    folder = tmp_path/"photos"
    shutil.copytree(photos, folder)
    job = job | dict(source=str(folder))
    label_images(run=start(run, tiny), **job)
    parts(run)[-2].unlink()
    if change == "came": shutil.copy(folder/"01.jpg", folder/"00a.jpg")
    if change == "went": (folder/"03.jpg").unlink()
    if change == "at the end":
        for i in range(55, 60): (folder/f"{i}.jpg").unlink()
    with pytest.raises(AttiqaError, match="images came or went"): label_images(run=run, **job)

@pytest.mark.parametrize("differ", ("model", "prompts", "software.pillow", "seed", "draft"))
def test_another_job_is_refused_by_name(undisturbed, run, tiny, job, differ):
    shutil.copytree(undisturbed, run)
    path = run/"pseudolabels"/"manifest.json"
    manifest = json.loads(path.read_text())
    inner = manifest[differ.split(".")[0]] if "." in differ else manifest
    inner[differ.split(".")[-1]] = "other"
    path.write_text(json.dumps(manifest))
    with pytest.raises(AttiqaError, match=f"{differ} was 'other'") as caught: label_images(run=run, **job)
    assert str(caught.value).count(" was ") == 1

def test_rows_give_their_pixels_again(undisturbed, photos):
    labels, job = read_labels(undisturbed/"pseudolabels")
    source = open_source(str(photos))
    for row in labels.sample(12, random_state=0).itertuples():
        assert (row.width, row.height) == (48, 40)
        image, recipe = source.load(row.key), json.loads(row.recipe)
        pixels = labelled_pixels(image, recipe, job["size"], row.key, row.variant, job["seed"])
        assert pixel_hash(pixels) == row.pixels

def test_tars_and_folder_give_the_same_scores(tiny, photos, run, job):
    for number in range(3):
        with tarfile.open(run.parent/f"{number}.tar", "w") as tar:
            for path in sorted(photos.iterdir())[number*20:(number + 1)*20]: tar.add(path, path.name)
    job = job | dict(variants=0, size=0)
    def label(name, source):
        folder = label_images(run=start(run/name, tiny), **job | dict(source=source))
        return read_labels(folder)[0]
    files, members = label("files", str(photos)), label("tars", f"{run.parent}/*.tar")
    assert [key.split("/")[-1] for key in members.key] == files.key.tolist()
    assert files.pixels.equals(members.pixels)
    np.testing.assert_allclose(files[list(ATTRIBUTES)], members[list(ATTRIBUTES)], atol=1e-5)
    assert len(parts(run/"tars")) == 3

def test_scores_equal_those_of_open_clip(tiny, photos, run, job):
    "The plain method on whole images."
    labels, _ = read_labels(label_images(run=start(run, tiny), **job | dict(variants=0, size=0)))
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tiny}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tiny}")
    with torch.inference_mode():
        for row in labels.sample(10, random_state=1).itertuples():
            x = model.eval().encode_image(preprocess(Image.open(photos/row.key))[None], normalize=True)
            for a in ATTRIBUTES:
                t = model.encode_text(tokenizer([f"good {a}", f"bad {a}"]), normalize=True)
                expected = (model.logit_scale.exp()*x @ t.T).softmax(-1)[0, 0].item()
                assert abs(expected - getattr(row, a)) < 1e-5

def test_relabel_equals_a_fresh_run(undisturbed, run, tiny, job):
    prompts = dict(vlm=str(tiny), pairs={a: [["nice", "ugly"], [f"{a}", f"no {a}"]] for a in ATTRIBUTES})
    write_json(run/"fresh"/"prompts.json", prompts)
    fresh, _ = read_labels(label_images(run=run/"fresh", **job))
    again, _ = read_labels(relabel(undisturbed, run/"fresh"/"prompts.json", run/"again"))
    pd.testing.assert_frame_equal(again, fresh, atol=2e-3, rtol=0)
    first, _ = read_labels(undisturbed/"pseudolabels")
    assert (first[list(ATTRIBUTES)] - fresh[list(ATTRIBUTES)]).abs().max(axis=None) > 2e-3
    assert pd.read_parquet(run/"again/rejects.parquet").equals(pd.read_parquet(undisturbed/"rejects.parquet"))

def test_relabel_on_the_command_line(undisturbed, run, tiny):
    from attiqa.cli import main
    assert main(["relabel", str(undisturbed), str(tiny/"prompts.json"), "--to", str(run)]) == 0
    assert len(read_labels(run/"pseudolabels")[0]) == 57*2
    assert main(["relabel", str(run), str(tiny/"prompts.json"), "--to", str(run.parent/"more")]) == 2

@needs("duckdb")
def test_duckdb_reads_it(undisturbed):
    import duckdb
    labels, _ = read_labels(undisturbed/"pseudolabels")
    (mean,), = duckdb.sql(f"select avg(sharpness) from '{undisturbed}/pseudolabels/*.parquet'").fetchall()
    assert abs(mean - labels.sharpness.mean()) < 1e-6

@needs("datasets")
def test_hugging_face_reads_it(undisturbed, tmp_path):
    import datasets
    labels, _ = read_labels(undisturbed/"pseudolabels")
    files = f"{undisturbed}/pseudolabels/*.parquet"
    rows = datasets.load_dataset("parquet", data_files=files, cache_dir=tmp_path, split="train")
    assert sorted(rows["key"]) == sorted(labels.key)
    assert set(rows.column_names) == set(labels.columns)

def test_pandas_reads_it(undisturbed):
    labels, _ = read_labels(undisturbed/"pseudolabels")
    assert pd.read_parquet(sorted((undisturbed/"pseudolabels").glob("*.parquet"))).equals(labels)

def test_local_engine_does_not_import_ray(run, tiny, job):
    code = f"""
import sys
from attiqa.pseudolabels import label_images
label_images(run={str(start(run, tiny))!r}, **{job!r})
sys.exit('ray' in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0

def slow_load(load, log, key):
    "An image after a delay; the node that loads it is logged."
    import ray
    with open(log, "a") as file: file.write(ray.get_runtime_context().get_node_id() + "\n")
    time.sleep(.2)
    return load(key)

@needs("ray")
def test_a_node_is_killed_mid_run(undisturbed, run, tiny, photos, tmp_path):
    import ray
    from ray.cluster_utils import Cluster
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    images, log = open_source(str(photos)), tmp_path/"nodes.txt"
    slow = replace(images, load=partial(slow_load, images.load, log))
    labeller = labeller_of(tiny, slow, embeddings=True)
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False))
    try:
        lost = cluster.add_node(num_cpus=2)
        ray.init(address=cluster.address, log_to_driver=False)
        results = ray_engine(labeller, labeller.source.shards(5), -1)
        for result in results:
            write_result(run, result)
            if lost.node_id in (seen := log.read_text()): break
        assert lost.node_id in seen
        assert len(seen.splitlines()) < 60
        cluster.remove_node(lost, allow_graceful=False)
        for result in results: write_result(run, result)
    finally:
        ray.shutdown()
        cluster.shutdown()
    gather_rejects(run, [path.stem for path in parts(run)])
    expected = {path: data for path, data in files(undisturbed).items() if path.name != "manifest.json"}
    assert files(run) == expected
