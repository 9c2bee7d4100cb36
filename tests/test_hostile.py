"""Files made to hurt: PngSuite, the broken files of public decoders' own tests and fuzzers' crash files, in ../shared/hostile; where
that folder is absent, mutations with a fixed seed. One process reads them all, and what it does meanwhile is watched."""
import io, json, os, random, shutil, subprocess, sys, textwrap
import pytest
from PIL import Image
from attiqa.images import package_photograph
from conftest import ROOT

SHARED = ROOT.parent/"shared"/"hostile"
PHOTO = package_photograph("chelsea.png").crop((60, 40, 188, 136))
FORMS = dict(JPEG={}, PNG={}, GIF={}, BMP={}, TIFF={}, WEBP={}, PPM={}, AVIF={}, JPEG2000={}, TGA={}, EPS={}, ICO={})

def encoded(form):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x112], exif[0x10e] = 6, "a description"*20
    PHOTO.save(file, form, **(dict(exif=exif) if form in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF") else {}))
    return file.getvalue()

def mutated(data, rng):
    "A file with bytes changed, cut off, doubled or taken from another place; more often in its header."
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
    "A copy of the hostile files, and mutations; EPS in every disguise."
    folder, rng = tmp_path_factory.mktemp("hostile"), random.Random(0)
    if SHARED.is_dir(): shutil.copytree(SHARED, folder/"shared")
    for form in FORMS:
        data = encoded(form)
        for i in range(15 if SHARED.is_dir() else 60): (folder/f"{form}_{i:02d}.jpg").write_bytes(mutated(data, rng))
    for suffix in ("jpg", "png", "tif", "gif", "eps", "heic"): (folder/f"disguised.{suffix}").write_bytes(encoded("EPS"))
    for form in ("PNG", "GIF", "TIFF"): (folder/f"bomb_{form}.png").write_bytes(bomb(form))
    return folder

WATCH = """
import gc, io, json, os, resource, sys, time, warnings
from pathlib import Path
folder, out = Path(sys.argv[1]), []
import torch; torch.set_num_threads(1)
from attiqa.core import AttiqaError
from attiqa.images import package_photograph
from attiqa.score import Scorer, read_pixels
scorer = Scorer(device="cpu")
scorer(package_photograph("chelsea.png")) # what loads once is loaded
warnings.simplefilter("ignore")
events = []
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PREFIXES = ("subprocess.", "socket.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.remove", "os.rename", "os.mkdir",
            "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.putenv", "shutil.", "urllib.", "ftplib.", "ctypes.dlopen", "pty.", "tempfile.")
def hook(event, args):
    writing = event == "open" and ((isinstance(args[2], int) and args[2] & WRITES) or (isinstance(args[1], str) and set(args[1]) & set("wax+")))
    if event.startswith(PREFIXES) or writing: events.append(f"{event} {args!r}"[:300])
sys.addaudithook(hook)
def peak(): # bytes, since it was last set back
    return 1024*int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
def now(): return 1024*int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1])
linux, records = os.path.exists("/proc/self/clear_refs"), []
for path in sorted(p for p in folder.rglob("*") if p.is_file()):
    if linux:
        with open("/proc/self/clear_refs", "w") as file: file.write("5")
        events = [event for event in events if "clear_refs" not in event]
    before, start = now() if linux else 0, time.process_time()
    error = quality = None
    try: quality = scorer.measure(read_pixels(path)).quality
    except AttiqaError as problem: error = str(problem)
    except BaseException as problem: error = f"RAISED {problem!r}"
    records.append(dict(path=path.relative_to(folder).as_posix(), quality=quality, error=error, seconds=time.process_time() - start, memory=peak() - before if linux else 0))
print(json.dumps(dict(records=records, events=events)))
"""

def state(folder): return {p.relative_to(folder).as_posix(): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*")}

@pytest.fixture(scope="module")
def seen(corpus):
    "What the reading process did, and whether the folder is as it was."
    before = state(corpus)
    done = subprocess.run([sys.executable, "-c", WATCH, str(corpus)], capture_output=True, text=True, timeout=840, cwd=corpus)
    assert done.returncode == 0, done.stderr[-2000:]
    assert state(corpus) == before
    return json.loads(done.stdout.splitlines()[-1])

def test_every_file_is_a_score_or_a_line(seen):
    records = seen["records"]
    assert len(records) > 180
    for record in records:
        if record["error"] is None: assert 0 <= record["quality"] <= 1, record
        else: assert not record["error"].startswith("RAISED") and "\n" not in record["error"] and len(record["error"]) < 300, record
    kinds = [record["error"] is None for record in records]
    assert sum(kinds) > 20 and kinds.count(False) > 20

def test_each_is_quick_and_small(seen):
    "Two seconds of the processor's and 300 MB; a limit for machines, not for weather."
    slowest, largest = (max(seen["records"], key=lambda r: r[name]) for name in ("seconds", "memory"))
    scored = sum(r["error"] is None for r in seen["records"])
    print(f"{scored} scored, {len(seen['records']) - scored} refused; slowest {slowest['path']} {slowest['seconds']:.2f} s; largest {largest['path']} {largest['memory']/1e6:.0f} MB")
    assert slowest["seconds"] < 2 and largest["memory"] < 300e6, (slowest, largest)

def test_nothing_but_reading(seen):
    "No process, no socket, no file written, renamed or removed, no library loaded by name."
    assert seen["events"] == []

def test_the_watch_sees(tmp_path):
    "What the test above would miss is not missed: the same hook, and a file that starts a program."
    code = WATCH.split("linux, records")[0].split("def peak")[0].replace("import torch; torch.set_num_threads(1)", "")
    code = "\n".join(line for line in code.splitlines() if "attiqa" not in line and "scorer" not in line)
    code += textwrap.dedent("""
        import subprocess
        subprocess.run([sys.executable, "-c", ""]); open(folder/"written", "w").close(); os.rename(folder/"written", folder/"renamed")
        print(json.dumps([event.split()[0] for event in events]))""")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60)
    assert {"subprocess.Popen", "open", "os.rename"} <= set(json.loads(done.stdout))

def test_disguised_documents_are_named(seen):
    named = {r["path"]: r["error"] for r in seen["records"] if r["path"].startswith("disguised")}
    assert len(named) == 6 and set(named.values()) == {"is not an image format that is read here (EPS)"}

@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/hostile is not here")
def test_good_files_are_read(seen):
    "Of the public suites, what is whole and of a size that is scored: every PngSuite file but those made broken (x...)."
    small = "at least 32" # many are icons
    bad = {r["path"] for r in seen["records"] if r["path"].startswith("shared/pngsuite/") and r["path"].endswith(".png") and r["error"] and small not in r["error"]}
    assert bad and all(os.path.basename(path).startswith("x") for path in bad)
