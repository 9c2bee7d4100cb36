"""Hostile files in ../shared/hostile: PngSuite, broken files of public decoders' tests, fuzzers' crash files.

Without that folder more mutations with a fixed seed are read. One process reads all, under an audit hook."""
import io, json, os, random, shutil, subprocess, sys, textwrap
from fnmatch import fnmatch
import pytest
from PIL import Image
from attiqa.images import package_photograph
from conftest import ROOT

SHARED = ROOT.parent/"shared"/"hostile"
PHOTO = package_photograph("chelsea.png").crop((60, 40, 188, 136))
FORMS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000", "TGA", "EPS", "ICO")
WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")

def encoded(form):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x112], exif[0x10e] = 6, "a description"*20
    PHOTO.save(file, form, **(dict(exif=exif) if form in WITH_EXIF else {}))
    return file.getvalue()

def mutated(data, rng):
    "A file with bytes changed, removed or doubled, or cut off; more often in its header."
    data = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 40))):
        place = rng.randrange(min(len(data), rng.choice((64, 600, len(data)))))
        how, run = rng.randrange(5), rng.randint(1, 64)
        if how < 2: data[place] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif how == 2: data[place:place + 4] = rng.randbytes(4)
        elif how == 3: data[place:place] = data[place:place + run]
        elif len(data) > 200: del data[place:place + run]
    return bytes(data[:rng.randrange(1, len(data) + 1)] if rng.random() < .15 else data)

def bomb(form): # 16 million pixels in few bytes
    file = io.BytesIO()
    Image.new("L", (4000, 4000)).save(file, form)
    return file.getvalue()

@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    "A copy of the hostile files, mutations, bombs, and EPS under the names of other formats."
    folder, rng = tmp_path_factory.mktemp("hostile"), random.Random(0)
    if SHARED.is_dir(): shutil.copytree(SHARED, folder/"shared")
    for form in FORMS:
        data = encoded(form)
        for i in range(15 if SHARED.is_dir() else 60):
            (folder/f"{form}_{i:02d}.jpg").write_bytes(mutated(data, rng))
    for suffix in ("jpg", "png", "tif", "gif", "eps", "heic"):
        (folder/f"disguised.{suffix}").write_bytes(encoded("EPS"))
    for form in ("PNG", "GIF", "TIFF"): (folder/f"bomb_{form}.png").write_bytes(bomb(form))
    return folder

HOOK = """
import json, os, sys
from pathlib import Path
folder, events = Path(sys.argv[1]), []
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PREFIXES = tuple('''
    subprocess. socket. os.system os.exec os.fork os.posix_spawn os.spawn os.startfile os.remove os.rename
    os.mkdir os.rmdir os.link os.symlink os.truncate os.chmod os.chown os.utime os.putenv
    shutil. urllib. ftplib. ctypes.dlopen pty. tempfile.'''.split())
def writes(name, mode, flags):
    return (isinstance(flags, int) and flags & WRITES) or (isinstance(mode, str) and set(mode) & set("wax+"))
def hook(event, args):
    watched = event.startswith(PREFIXES) or (event == "open" and writes(*args))
    if watched: events.append(f"{event} {args!r}"[:300])
"""

WATCH = HOOK + """
import time, warnings
import torch
torch.set_num_threads(1)
from attiqa.core import AttiqaError
from attiqa.images import package_photograph
from attiqa.score import Scorer, read_pixels
scorer = Scorer(device="cpu")
scorer(package_photograph("chelsea.png")) # loads what is loaded once
warnings.simplefilter("ignore")
sys.addaudithook(hook)
def memory(name): # bytes; VmRSS for now, VmHWM for the peak since it was reset
    return 1024*int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])
def reset_peak():
    with open("/proc/self/clear_refs", "w") as file: file.write("5")
    events[:] = [event for event in events if "clear_refs" not in event]
def read(path):
    try: return dict(quality=scorer.measure(read_pixels(path)).quality, error=None)
    except AttiqaError as problem: return dict(quality=None, error=str(problem))
    except BaseException as problem: return dict(quality=None, error=f"RAISED {problem!r}")
linux, records = os.path.exists("/proc/self/clear_refs"), []
for path in sorted(p for p in folder.rglob("*") if p.is_file()):
    if linux: reset_peak()
    before, start = memory("VmRSS") if linux else 0, time.process_time()
    record = dict(path=path.relative_to(folder).as_posix()) | read(path)
    used = memory("VmHWM") - before if linux else 0
    records.append(record | dict(seconds=time.process_time() - start, memory=used))
print(json.dumps(dict(records=records, events=events)))
"""

def state(folder):
    "Size and time of every file."
    stats = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*")}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}

@pytest.fixture(scope="module")
def seen(corpus):
    "What the reading process did; it leaves the folder unchanged."
    before = state(corpus)
    command = [sys.executable, "-c", WATCH, str(corpus)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=840, cwd=corpus)
    assert done.returncode == 0, done.stderr[-2000:]
    assert state(corpus) == before
    return json.loads(done.stdout.splitlines()[-1])

def test_every_file_is_scored_or_refused_in_one_line(seen):
    records = seen["records"]
    assert len(records) > 180
    for record in records:
        if record["error"] is None: assert 0 <= record["quality"] <= 1, record
        else: assert "\n" not in record["error"] and len(record["error"]) < 300, record
        assert not (record["error"] or "").startswith("RAISED"), record
    scored = [record["error"] is None for record in records]
    assert scored.count(True) > 20
    assert scored.count(False) > 20

def test_each_file_is_read_quickly_and_in_little_memory(seen):
    "At most two seconds of processor time and 300 MB."
    slowest = max(seen["records"], key=lambda record: record["seconds"])
    largest = max(seen["records"], key=lambda record: record["memory"])
    assert slowest["seconds"] < 2, slowest
    assert largest["memory"] < 300e6, largest

def test_nothing_but_reading(seen):
    "No process, socket, written, renamed or removed file, and no library loaded by name."
    assert seen["events"] == []

def test_the_hook_sees_processes_and_files(tmp_path):
    code = HOOK + textwrap.dedent("""
        import subprocess
        sys.addaudithook(hook)
        subprocess.run([sys.executable, "-c", ""])
        open(folder/"written", "w").close()
        os.rename(folder/"written", folder/"renamed")
        print(json.dumps([event.split()[0] for event in events]))""")
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert {"subprocess.Popen", "open", "os.rename"} <= set(json.loads(done.stdout))

def test_disguised_documents_are_named(seen):
    named = {r["path"]: r["error"] for r in seen["records"] if r["path"].startswith("disguised")}
    assert len(named) == 6
    assert set(named.values()) == {"is not an image format that is read here (EPS)"}

@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/hostile is not here")
def test_good_files_are_read(seen):
    "Every PngSuite file but those made broken (x...) and icons, which are too small to be scored."
    suite = [record for record in seen["records"] if fnmatch(record["path"], "shared/pngsuite/*.png")]
    bad = {os.path.basename(r["path"]) for r in suite if r["error"] and "at least 32" not in r["error"]}
    assert bad
    assert all(name.startswith("x") for name in bad)
