"The scorer and its command line: hostile files, every form of a picture, records, arguments, interruptions."
import csv, io, itertools, json, os, signal, struct, subprocess, sys, zlib
from contextlib import suppress
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from attiqa.cli import GROUPS, app, main, printable
from attiqa.core import ATTRIBUTES, AttiqaError
from attiqa.images import package_photograph, to_tensor
from attiqa.score import MAX_SCORED_PIXELS, READ_AHEAD, RECORD_FIELDS, Score, Scorer, read_pixels, to_table

COMMAND = Path(sys.executable).parent/"attiqa"
NUMBERS = ("quality", *ATTRIBUTES)
PHOTO = package_photograph("chelsea.png").crop((60, 40, 260, 200))
GREY = PHOTO.convert("L")

def numbers(score): return [getattr(score, name) for name in NUMBERS]

def pixels(image): return np.asarray(image, dtype=np.uint8)

@pytest.fixture(scope="module")
def scorer(): return Scorer()

@pytest.fixture
def here(tmp_path, monkeypatch):
    "An empty folder that is the current one."
    monkeypatch.chdir(tmp_path)
    return tmp_path

def command(*words, cwd, **env):
    "The installed command, as a shell would start it."
    return subprocess.run([COMMAND, *words], cwd=cwd, capture_output=True, env=os.environ | env, timeout=120)

def encoded(image, form="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()

def png16(image):
    "A 16-bit RGB PNG, which Pillow cannot write: every value times 257."
    rows = (pixels(image).astype(">u2")*257).reshape(image.height, -1)
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    header = struct.pack(">IIBBBBB", *image.size, 16, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

def clear_palette():
    "A palette picture whose darkest colour is transparent."
    image = GREY.quantize(16)
    image.info["transparency"] = int(np.argmin(np.asarray(image.getpalette()[::3])[:16]))
    return encoded(image, "PNG", transparency=image.info["transparency"])

def rotated(image):
    exif = Image.Exif()
    exif[0x0112] = 6 # shown a quarter turn clockwise
    return encoded(image, exif=exif, quality=95)

def animated(form, **options):
    return encoded(GREY, form, save_all=True, append_images=[Image.new("L", GREY.size, 9)], duration=50, **options)

def text_bomb():
    "A small PNG with a comment of 100 million characters, packed."
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    whole = encoded(GREY, "PNG")
    return whole[:33] + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a"*100_000_000, 1)) + whole[33:]

GOOD = encoded(PHOTO, quality=90)
SCORED = {"plain.jpg": GOOD, "cmyk.jpg": encoded(PHOTO.convert("CMYK"), quality=95), "rotated.jpg": rotated(PHOTO),
          "grey16.png": encoded(Image.fromarray(pixels(GREY).astype(np.uint16)*257), "PNG"), "colour16.png": png16(PHOTO),
          "palette.png": clear_palette(), "moving.gif": animated("GIF"), "moving.webp": animated("WEBP", lossless=True),
          "mislabelled.png": GOOD, "my 'holiday' \"best\".jpg": GOOD, "two\nlines\x1b[31m.jpg": GOOD, "été-写真.jpg": GOOD,
          "<img src=x onerror=alert(1)>.jpg": GOOD, os.fsdecode(b"caf\xe9.jpg"): GOOD, "-dash.jpg": GOOD, "[a]*.jpg": GOOD, "text bomb.png": text_bomb()}
REJECTED = {"text.jpg": (b"this is no picture\n"*40, "not a readable image"), "empty.jpg": (b"", "not a readable image"),
            "cut.jpg": (GOOD[:len(GOOD)//2], "not a readable image"),
            "dot.png": (encoded(Image.new("RGB", (1, 1)), "PNG"), "at least 32"),
            "zip.png": (b"PK\x03\x04" + bytes(200), "not a readable image"),
            "no pixels.gif": (b"GIF89a" + bytes(7) + b";", "image")}
SPECIAL = {"gone.jpg": "no such file", "folder.jpg": "is a folder", "pipe.jpg": "not a regular file",
           "dangling.jpg": "no such file", "bomb.png": "more than the limit", "n"*300 + ".jpg": "File name too long",
           "n"*30_000 + ".jpg": "File name too long", "loop.jpg": "no such file", "file.jpg/below.jpg": "no such file", "*.tiff": "matches no file"}

@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    "A folder with every hostile file, and a name for each that is not there."
    folder = tmp_path_factory.mktemp("zoo")
    for name, data in (SCORED | {name: data for name, (data, _) in REJECTED.items()}).items(): (folder/name).write_bytes(data)
    (folder/"folder.jpg").mkdir()
    os.mkfifo(folder/"pipe.jpg")
    (folder/"dangling.jpg").symlink_to(folder/"nowhere")
    (folder/"loop.jpg").symlink_to(folder/"loop.jpg")
    Image.new("1", (20_000, 20_000)).save(folder/"bomb.png")
    return folder

def reason(name): return REJECTED[name][1] if name in REJECTED else SPECIAL.get(name, "")

def test_hostile_files_through_the_command(zoo, scorer):
    "Every file in one go, on an output that claims to be ASCII: all good ones scored, one line for each bad one."
    names = [*SPECIAL, *SCORED, *REJECTED]
    done = command("score", "--json", "-", "--", *names, cwd=zoo, PYTHONIOENCODING="ascii")
    records, said = json.loads(done.stdout), done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert [record["path"] for record in records] == names
    assert all(tuple(record) == RECORD_FIELDS for record in records)
    for record in records:
        assert reason(record["path"]) in record["error"]
        assert bool(record["error"]) == (record["path"] not in SCORED)
        assert all(record[name] is None if record["error"] else 0 <= record[name] <= 1 for name in NUMBERS)
    assert said == [f"attiqa: {printable(r['path'])}: {printable(r['error'])}" for r in records if r["error"]]
    plain = next(record for record in records if record["path"] == "plain.jpg")
    assert [plain[name] for name in NUMBERS] == pytest.approx(numbers(scorer(zoo/"plain.jpg")), abs=1e-5)

def test_hostile_files_in_python(zoo, scorer):
    "A folder is its pictures, sorted; what is none of them is a score with a reason."
    scores = scorer(zoo)
    present = {*SCORED, *REJECTED, *SPECIAL} - {"gone.jpg", "folder.jpg", "*.tiff", "file.jpg/below.jpg", "n"*300 + ".jpg", "n"*30_000 + ".jpg"}
    assert [score.path for score in scores] == sorted(str(zoo/name) for name in present)
    for score in scores: assert reason(Path(score.path).name) in score.error and bool(score.error) == np.isnan(score.quality)

@pytest.mark.parametrize("name", [*REJECTED, *SPECIAL])
def test_a_single_bad_path_is_an_error(zoo, scorer, name):
    with pytest.raises(AttiqaError) as caught: scorer(zoo/name)
    expected = {"*.tiff": "no such file", "folder.jpg": "is a folder without images"}.get(name, reason(name))
    assert expected in str(caught.value) and name[:20] in str(caught.value) and "\n" not in str(caught.value)

def grey_shown(path): return np.dstack([pixels(GREY)]*3)

def over_white(path):
    image = pixels(Image.open(path).convert("RGBA"))
    return np.where(image[..., 3:] == 0, 255, image[..., :3])

SHOWN = {"rotated.jpg": lambda path: np.rot90(pixels(Image.open(path)), -1), "colour16.png": lambda path: pixels(PHOTO),
         "grey16.png": grey_shown, "moving.webp": grey_shown, "moving.gif": grey_shown, "palette.png": over_white,
         "mislabelled.png": lambda path: pixels(Image.open(path))}

@pytest.mark.parametrize("name", SHOWN)
def test_scored_as_a_viewer_shows_it(zoo, scorer, name):
    upright = np.ascontiguousarray(SHOWN[name](zoo/name), dtype=np.uint8)
    assert numbers(scorer(zoo/name)) == pytest.approx(numbers(scorer(upright)), abs=1e-6)

def test_cmyk_is_not_inverted(zoo):
    assert (read_pixels(zoo/"cmyk.jpg") - to_tensor(PHOTO)).abs().mean() < .1

def test_hundred_megapixels(tmp_path, scorer):
    Image.new("L", (10_000, 10_000), 128).save(tmp_path/"huge.png", compress_level=1)
    assert read_pixels(tmp_path/"huge.png").shape[1]**2 <= MAX_SCORED_PIXELS
    assert not np.isnan(scorer(tmp_path/"huge.png").quality)

@pytest.mark.parametrize("size", [(200, 160), (1500, 900)])
def test_every_form_of_a_picture_scores_the_same(tmp_path, scorer, size):
    picture = PHOTO.resize(size)
    picture.save(tmp_path/"p.png")
    forms = [tmp_path/"p.png", str(tmp_path/"p.png"), picture, pixels(picture), to_tensor(picture), Image.open(tmp_path/"p.png")]
    first, *others = scorer(forms)
    for score in others: assert numbers(score) == pytest.approx(numbers(first), abs=1e-6)

def test_alone_in_a_list_and_in_any_order(scorer):
    pictures = [PHOTO, PHOTO.rotate(180), GREY.convert("RGB"), PHOTO.crop((0, 0, 96, 64)), Image.new("RGB", (40, 200), "red")]
    alone = [scorer(picture) for picture in pictures]
    assert scorer(pictures) == alone and scorer(pictures[::-1]) == alone[::-1] and scorer(iter(pictures)) == alone
    assert len(set(alone)) == len(alone)
    assert scorer([]) == []

NO_PICTURE = [
    (torch.full((3, 64, 64), torch.nan), "NaN"), (torch.full((3, 64, 64), -.1), "[0, 1]"),
    (torch.full((3, 64, 64), 255.), "[0, 1]"), (torch.zeros(1, 3, 64, 64), "list"), (torch.zeros(64, 64, 3), "(3, H, W)"),
    (torch.zeros(3, 0, 64), "at least 32"),
    (torch.zeros(3, 64, 64, dtype=torch.uint8), "divide by 255"), (np.zeros((64, 64, 3)), "uint8"),
    (np.zeros((64, 64, 4), np.uint8), "(H, W, 3)"), (b"no picture", "readable image"), (None, "not a picture"),
    (3.5, "not a picture")]

@pytest.mark.parametrize("bad, words", NO_PICTURE)
def test_what_is_no_picture(scorer, bad, words):
    with pytest.raises(AttiqaError) as caught: scorer(bad)
    assert words in str(caught.value)
    assert [bool(score.error) for score in scorer([PHOTO, bad, PHOTO])] == [False, True, False]

def test_a_truncated_pil_image_is_an_error(tmp_path, scorer):
    (tmp_path/"cut.jpg").write_bytes(GOOD[:len(GOOD)//2])
    with pytest.raises(AttiqaError): scorer(Image.open(tmp_path/"cut.jpg"))

def test_stream_reads_little_ahead(scorer):
    taken = []
    endless = (taken.append(1) or PHOTO for _ in itertools.repeat(None))
    assert len(list(itertools.islice(scorer.stream(endless), 3))) == 3
    assert len(taken) <= 3 + READ_AHEAD

def test_the_callers_tensor_stays_as_it_is(scorer):
    x = to_tensor(PHOTO).requires_grad_()
    before = x.detach().clone()
    assert scorer(x) == scorer(PHOTO)
    assert torch.equal(x, before) and x.requires_grad and x.grad is None

@pytest.mark.skipif(not torch.accelerator.is_available(), reason="torch finds no accelerator here")
def test_accelerator_agrees_with_the_processor(scorer):
    assert scorer.device.type != "cpu"
    assert numbers(scorer(PHOTO)) == pytest.approx(numbers(Scorer(device="cpu")(PHOTO)), abs=1e-3)
    assert scorer(PHOTO) == scorer(PHOTO)

def test_better_pictures_score_higher(scorer):
    "Against blur and noise that SciPy and NumPy make."
    from scipy.ndimage import gaussian_filter
    rng = np.random.default_rng(0)
    for name in ("astronaut.png", "chelsea.png", "coffee.png"):
        clean = pixels(package_photograph(name))
        blurred = gaussian_filter(clean, (3, 3, 0))
        noisy = np.clip(clean + rng.normal(0, 40, clean.shape), 0, 255).astype(np.uint8)
        best, soft, rough = scorer([clean, blurred, noisy])
        assert best.quality > max(soft.quality, rough.quality)
        assert best.sharpness > soft.sharpness and best.noisiness > rough.noisiness

def test_table(scorer):
    table = to_table([scorer(PHOTO), Score("x.jpg", error="no such file")])
    assert tuple(table.columns) == RECORD_FIELDS
    assert table.error.tolist() == ["", "no such file"] and table.quality.isna().tolist() == [False, True]

def test_from_any_folder(tmp_path):
    (tmp_path/"photo.jpg").write_bytes(GOOD)
    code = "import attiqa; s = attiqa.score('photo.jpg'); print(s.path, 0 <= s.quality <= 1, attiqa.score([s.path]) == [s])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["photo.jpg", "True", "True"]

# The command line. What needs no process of its own runs in this one.

@pytest.fixture
def album(here):
    for name in ("b.jpg", "a.jpg", "sub/c.jpg", "sub/deep/d.JPG", "sub/notes.txt", 'q"u,o\nte.jpg'):
        (here/name).parent.mkdir(parents=True, exist_ok=True)
        (here/name).write_bytes(b"no picture" if name.endswith(".txt") else GOOD)
    return here

def records(text): return list(csv.DictReader(io.StringIO(text, newline="")))

def test_formats_agree(album, capsys):
    words = ["score", "sub", "none.jpg", "b.jpg", 'q"u,o\nte.jpg', "a.jpg"]
    assert main([*words, "--csv", "out.csv", "--json", "out.json"]) == 1
    assert capsys.readouterr().out == ""
    assert main([*words, "--csv", "-"]) == 1
    text = capsys.readouterr().out
    assert main([*words, "--json", "-"]) == 1
    listed = capsys.readouterr().out
    assert (album/"out.csv").read_bytes().decode() == text and (album/"out.json").read_text() == listed
    rows, objects = records(text), json.loads(listed)
    assert [tuple(row) for row in (*rows, *objects)] == [RECORD_FIELDS]*12
    assert rows == [{k: "" if v is None else str(v) for k, v in row.items()} for row in objects]
    assert [row["path"] for row in rows] == ["sub/c.jpg", "sub/deep/d.JPG", *words[2:]]
    assert main([*words, "--no-findings"]) == 1
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == [*NUMBERS, "path"]
    for line, row in zip(lines, objects, strict=True):
        *shown, path = line.split(maxsplit=len(NUMBERS))
        assert path == printable(row["path"]) and shown == ["-" if row[n] is None else f"{row[n]:.3f}" for n in NUMBERS]
        assert line.index(path) == header.index("path")

SUB = ["sub/c.jpg", "sub/deep/d.JPG"]
FOUND = [(["*.jpg"], ["a.jpg", "b.jpg", 'q"u,o\nte.jpg']), (["b.jpg", "a.jpg", "b.jpg"], ["b.jpg", "a.jpg", "b.jpg"]),
         (["sub"], SUB), (["./sub/", "a.jpg"], [*SUB, "a.jpg"]), (["sub/**/*.[jJ]*"], SUB), (["s*"], SUB)]

@pytest.mark.parametrize("words, paths", FOUND)
def test_files_folders_and_patterns(album, capsys, words, paths):
    assert main(["score", *words, "--csv", "-"]) == 0
    assert [row["path"] for row in records(capsys.readouterr().out)] == paths

def test_nothing_found_is_one_line(album, capsys):
    (album/"bare").mkdir()
    assert main(["score", "*.gif", "bare", "a.jpg"]) == 1
    out, said = capsys.readouterr()
    assert said.splitlines() == ["attiqa: *.gif: is a pattern that matches no file", "attiqa: bare: is a folder without images"]
    assert len(out.splitlines()) == 4

WRONG = [
    (["score"], "Missing argument"), (["score", "a.jpg", "--cvs", "x"], "--cvs"), (["score", "a.jpg", "--csv"], "--csv"),
    (["score", "a.jpg", "--csv", "-", "--json", "-"], "both"), (["score", "a.jpg", "--csv", "x", "--json", "./x"], "both"),
    (["score", "a.jpg", "--csv", "no/x.csv"], "no such folder"), (["score", "a.jpg", "--csv", "sub"], "is a folder"),
    (["score", "a.jpg", "--csv", ""], "is a folder"), (["score", "--csv", "a.jpg", "b.jpg"], "picture"),
    (["score", "a.jpg", "--json", "/dev/null"], "regular file"), (["score", "a.jpg", "--parquet", "-"], "wants a file"),
    (["score", "a.jpg", "--resume"], "--csv"), (["score", "a.jpg", "--map", "a.jpg"], "not a folder"),
    (["score", "a.jpg", "--model", "no.safetensors"], "no such model"),
    (["score", "a.jpg", "--model", "a.jpg"], "safetensors"), ([], "Missing command"), (["rate", "a.jpg"], "rate")]

@pytest.mark.parametrize("words, expected", WRONG)
def test_wrong_arguments(album, capsys, words, expected):
    before = sorted(album.rglob("*"))
    assert main(words) == 2
    out, said = capsys.readouterr()
    assert out == "" and len(said.splitlines()) == 1 and said.startswith("attiqa: ") and expected in said
    assert sorted(album.rglob("*")) == before

def test_help_comes_before_torch(tmp_path):
    code = "import sys; from attiqa.cli import main; main(['score', '--help']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)

def test_help_fits_a_screen_and_names_each_command_in_one_group(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    groups = {}
    for line in lines[next(i for i, line in enumerate(lines) if line.rstrip(":") in GROUPS):]:
        if line.rstrip(":") in GROUPS: members = groups.setdefault(line.rstrip(":"), [])
        else: members.append(line.split())
    assert set(groups) == set(GROUPS) and all(groups.values())
    named = [words[0] for members in groups.values() for words in members]
    assert sorted(named) == sorted(command.name for command in app.registered_commands), "give each command one of GROUPS as its rich_help_panel"
    assert all(words[1:] and words[-1][-3:] != "..." for members in groups.values() for words in members), "give each command a short_help"

def test_help_and_version(capsys):
    assert main(["score", "--help"]) == 0
    assert "attiqa score photo.jpg  " in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("attiqa ")

def test_a_link_is_written_through(album):
    (album/"link.csv").symlink_to("real.csv")
    assert main(["score", "a.jpg", "--csv", "link.csv"]) == 0
    assert (album/"link.csv").is_symlink() and len(records((album/"real.csv").read_text())) == 1

def test_interrupted(album):
    "One line, exit code 130, and the file of an earlier run as it was."
    (album/"old.json").write_text("old")
    with subprocess.Popen([COMMAND, "score", *["a.jpg"]*5000, "--csv", "-", "--json", "old.json"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(3): process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 130 and len(said.splitlines()) == 2 and "--resume" in said and said.endswith("attiqa: interrupted\n")
    assert (album/"old.json").read_text() == "old" and not list(album.glob(".*"))

def test_a_reader_that_stops_early(album):
    with subprocess.Popen([COMMAND, "score", *["a.jpg"]*5000, "--csv", "-"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        process.wait(timeout=300)
    assert said == b"" and process.returncode

def test_a_full_disk_is_one_line(album):
    with suppress(FileNotFoundError), open("/dev/full", "wb") as full:
        done = subprocess.run([COMMAND, "score", "a.jpg", "--csv", "-"], stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and done.stderr.splitlines() == ["attiqa: output: No space left on device"]

def test_parquet_says_the_same(album, capsys):
    assert main(["score", "sub", "none.jpg", "--parquet", "s.parquet", "--csv", "-"]) == 1
    shown, table = pd.read_csv(io.StringIO(capsys.readouterr().out), keep_default_na=False, na_values={n: [""] for n in NUMBERS}), pd.read_parquet(album/"s.parquet")
    pd.testing.assert_frame_equal(table, shown, check_dtype=False)
    assert tuple(table.columns) == RECORD_FIELDS and table.quality.dtype == float

def test_the_model_says_what_it_is(album, capsys):
    from attiqa.model import AttributeNet, save_model
    card = dict(name="finetuned on clive", scores=dict(dataset="clive", low=0., high=100., human=True, date="2026-01-31"))
    save_model(AttributeNet("resnet10t", 8), album/"m.safetensors", card)
    assert main(["score", "a.jpg", "--model", "m.safetensors"]) == 0
    said = capsys.readouterr().err
    assert all(word in said for word in ("clive", "people", "0 to 100", "2026-01-31"))
