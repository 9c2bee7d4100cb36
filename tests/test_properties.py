"""Properties of any input, tried on drawn ones: the same in every run, more with HYPOTHESIS_PROFILE=long.

A failure prints the smallest input that causes it."""
import contextlib, csv, io, json, math, os, struct, tempfile, zlib
from pathlib import Path
from dataclasses import dataclass
from types import SimpleNamespace
import numpy as np, pandas as pd, pyarrow as pa, pytest, torch
from hypothesis import assume, given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes
from PIL import Image, ImageCms
from attiqa.cli import CSV, JSON, open_output, write_parquet_table, write_records
from attiqa.core import ATTRIBUTES, read_table
from attiqa.generators import read_comparison
from attiqa.labelling import OUTPUT_FOLDERS, ShardResult, label_shards, parquet_bytes
from attiqa.score import Score, Scorer
from attiqa.sources import make_shards, walk_folder

settings.register_profile("short", max_examples=20, deadline=None, derandomize=True, database=None)
settings.register_profile("long", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "short")
many = settings(max_examples=max(settings().max_examples, 60)) # of what takes a few milliseconds
few = settings(max_examples=max(settings().max_examples//4, 5))

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

NUMBERS = ("quality", *ATTRIBUTES)

def numbers(score): return [getattr(score, name) for name in NUMBERS]

def is_answer(score):
    "Six numbers in [0, 1] and no error, or an error of one line and no numbers."
    if not score.error: return all(0 <= value <= 1 for value in numbers(score))
    return all(map(math.isnan, numbers(score))) and len(score.error.splitlines()) == 1

# Any image is scored or refused.

MODES = "1 L LA La P PA RGB RGBA RGBa RGBX CMYK YCbCr LAB HSV I F I;16 I;16B".split()
FORMATS = "PNG JPEG TIFF BMP WEBP GIF PPM JPEG2000 AVIF TGA ICO PCX SGI DDS IM MSP XBM".split()
FLOATS = [1., 255., 1e30, math.nan, math.inf, -1.]
sides = st.one_of(st.integers(1, 40), st.integers(32, 90), st.sampled_from([1, 31, 32, 33]))

@st.composite
def pictures(draw):
    "Any mode and size; pixels of noise, of one value, or of zeros."
    mode, size = draw(st.sampled_from(MODES)), (draw(sides), draw(sides))
    seed = draw(st.integers(0, 2**32 - 1))
    image, rng = Image.new(mode, size), np.random.default_rng(seed)
    if mode == "F": return Image.fromarray(draw(st.sampled_from(FLOATS))*rng.random(size[::-1], np.float32))
    count = len(image.tobytes())
    pixels = draw(st.sampled_from([rng.bytes(count), bytes([seed % 256])*count, bytes(count)]))
    with contextlib.suppress(ValueError): image.frombytes(pixels)
    return image

def profile(space): return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()

PROFILES = (None, b"no profile", profile("sRGB"), profile("LAB"), profile("XYZ"))

@many
@given(image=pictures(), form=st.sampled_from(FORMATS), profile=st.sampled_from(PROFILES))
def test_any_file_of_pillow_is_scored_or_refused(scorer, image, form, profile):
    file = io.BytesIO()
    try: image.save(file, form, icc_profile=profile)
    except Exception: assume(False) # the format has no such mode
    assert is_answer(scorer.try_score(file.getvalue()))

@many
@given(image=pictures())
def test_any_image_in_memory_is_scored_or_refused(scorer, image):
    assert is_answer(scorer.try_score(image))

@many
@given(array=arrays(scalar_dtypes(), array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=40)))
def test_any_array_is_scored_or_refused(scorer, array):
    assert is_answer(scorer.try_score(array))
    try: tensor = torch.from_numpy(array.copy())
    except (TypeError, ValueError): return # torch has fewer types
    assert is_answer(scorer.try_score(tensor))

@many
@given(data=st.data(), form=st.sampled_from(("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")))
def test_any_damaged_file_is_scored_or_refused(scorer, data, form):
    "Truncated, or with changed bytes."
    file = io.BytesIO()
    image_of(7, 40, 48).save(file, form)
    whole = bytearray(file.getvalue())
    changes = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)
    for place, value in data.draw(changes): whole[place] = value
    end = data.draw(st.integers(0, len(whole)))
    assert is_answer(scorer.try_score(bytes(whole[:end])))

# An image has one score, however it is stored.

def image_of(seed, width, height):
    "Waves with noise."
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]/rng.uniform(3, 30)
    wave = lambda: np.sin(x*rng.uniform(.2, 2) + y*rng.uniform(.2, 2) + rng.uniform(0, 6))
    waves = np.stack([wave() for _ in range(3)], 2)
    pixels = 128 + rng.uniform(20, 90)*waves + rng.normal(0, rng.uniform(0, 20), waves.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

images = st.builds(image_of, st.integers(0, 999), st.integers(32, 100), st.integers(32, 100))
LOSSLESS = (
    ("PNG", {}), ("PNG", dict(compress_level=0)), ("BMP", {}), ("TIFF", {}),
    ("TIFF", dict(compression="tiff_lzw")), ("TIFF", dict(compression="tiff_deflate")),
    ("WEBP", dict(lossless=True)), ("PPM", {}),
    ("TIFF", dict(compression="packbits")))

def stored(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()

@given(image=images, container=st.sampled_from(LOSSLESS))
def test_the_container_does_not_matter(scorer, image, container):
    form, options = container
    assert numbers(scorer(stored(image, form, **options))) == numbers(scorer(image))

def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

CHUNKS = [chunk(b"tEXt", b"a\0b"), chunk(b"tIME", bytes(7)), chunk(b"pHYs", struct.pack(">IIB", 1, 2, 0)),
          chunk(b"prVt", b"own"), chunk(b"zTXt", b"c\0\0" + zlib.compress(b"d"))]

@given(image=images, chunks=st.permutations(CHUNKS), cut=st.integers(0, 5))
def test_the_order_of_chunks_does_not_matter(scorer, image, chunks, cut):
    "Some before the pixels, some behind."
    data, before, behind = stored(image, "PNG"), b"".join(chunks[:cut]), b"".join(chunks[cut:])
    with_chunks = data[:33] + before + data[33:-12] + behind + data[-12:]
    assert numbers(scorer(with_chunks)) == numbers(scorer(image))

BACK = { # turns an upright image into the stored one, by orientation
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270}

@given(image=images, orientation=st.sampled_from(list(BACK)), form=st.sampled_from(["PNG", "TIFF", "WEBP"]))
def test_the_orientation_tag_does_not_matter(scorer, image, orientation, form):
    exif = Image.Exif()
    exif[0x112] = orientation
    turned = image if BACK[orientation] is None else image.transpose(BACK[orientation])
    data = stored(turned, form, exif=exif, **{"WEBP": dict(lossless=True)}.get(form, {}))
    assert numbers(scorer(data)) == numbers(scorer(image))

def is_file_name(name): return not {*name} & {*b"/\0"} and name not in (b".", b"..")

names = st.binary(min_size=1, max_size=40).filter(is_file_name).map(os.fsdecode)

@given(image=images, name=names)
def test_the_path_does_not_matter(scorer, image, name):
    with tempfile.TemporaryDirectory() as folder:
        place = os.path.join(folder, name)
        Path(place).write_bytes(stored(image, "PNG"))
        score = scorer(place)
        assert numbers(score) == numbers(scorer(image))
        assert score.path == place

@few
@given(album=st.lists(images, min_size=1, max_size=3), threads=st.integers(1, 2))
def test_lists_and_threads_do_not_matter(scorer, album, threads):
    "Images are scored one by one on one thread, or as a list on several."
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [numbers(scorer(image)) for image in album]
        torch.set_num_threads(threads)
        together = [numbers(score) for score in scorer(album)]
        assert np.abs(np.array([numbers(scorer(image)) for image in album]) - alone).max() <= 2e-6
    finally: torch.set_num_threads(before)
    assert together == alone

# Text is the same text in every table.

HARD_TEXTS = ["007", "NA", "null", "nan", "1e5", "True", "", " ", "-0", "\ufeff", "a,b", '"', "\r", "a\r\nb",
              "1_0", "inf", "None"]
# No file's name has a NUL, and pandas 2 loses it in a CSV.
characters = st.characters(codec="utf-8", exclude_characters="\0")
texts = st.one_of(st.text(characters, max_size=12), st.sampled_from(HARD_TEXTS))

def as_text(path): return path.encode("utf-8", "backslashreplace").decode()

def paths_and_errors(rows): return [(row["path"], row["error"]) for row in rows]

@many
@given(rows=st.lists(st.tuples(st.one_of(names, texts.filter(bool)), texts), max_size=5))
def test_names_and_reasons_come_back_from_every_table(rows):
    scores = [Score(path, .5, *[.25]*5, error=error) for path, error in rows]
    expected = [(as_text(path), error) for path, error in rows]
    with tempfile.TemporaryDirectory() as folder:
        csv_file, json_file, parquet = (f"{folder}/s.{end}" for end in ("csv", "json", "parquet"))
        with open_output(csv_file) as to_csv, open_output(json_file) as to_json:
            assert [*write_records(scores, (CSV, to_csv), (JSON, to_json))] == scores
        write_parquet_table(scores, parquet)
        with open(csv_file, newline="", encoding="utf-8") as file:
            assert paths_and_errors(csv.DictReader(file)) == expected
        assert paths_and_errors(json.loads(Path(json_file).read_bytes())) == rows # JSON holds any text
        for table in (csv_file, parquet):
            found = read_table(table, NUMBERS)
            assert list(zip(found.path, found.error)) == expected
            assert not rows or found.quality.tolist() == [.5]*len(rows)

words = texts.filter(bool)
comparisons = st.lists(st.tuples(words, words, words), min_size=1, max_size=5)

@many
@given(rows=comparisons, suffix=st.sampled_from(["csv", "parquet"]))
def test_a_comparison_comes_back_from_its_table(rows, suffix):
    table = pd.DataFrame(rows, columns=["image", "generator", "prompt"])
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)/f"t.{suffix}"
        if suffix == "csv": table.to_csv(place, index=False, quoting=csv.QUOTE_ALL)
        else: table.to_parquet(place)
        found = read_comparison(place)
        assert list(zip(found.generator, found.prompt)) == [row[1:] for row in rows]
        assert list(found.image) == [str(place.parent/row[0]) for row in rows]

# Labels are the same, wherever the run was killed.

class Killed(BaseException): "Stands for a kill of this process."

@dataclass
class KeyLabeller:
    "Replaces a `Labeller`: its rows depend on the keys alone."
    keys: list
    rejected: set
    with_embeddings: bool
    kind, device = "pseudolabels", "cpu"
    @property
    def source(self): return SimpleNamespace(shards=lambda size: make_shards(iter(self.keys), size))

    def __call__(self, shard):
        good = pa.array([key for key in shard.units if key not in self.rejected], pa.string())
        bad = [key for key in shard.units if key in self.rejected]
        scores = pa.array([len(key)/9 for key in good.to_pylist()], pa.float32())
        files = dict(pseudolabels=parquet_bytes(pa.table(dict(key=good, score=scores))))
        if bad: files["rejects"] = parquet_bytes(pa.table(dict(key=bad)))
        if self.with_embeddings: files["embeddings"] = parquet_bytes(pa.table(dict(key=good)))
        yield ShardResult(shard.name, len(shard.units), len(bad), files)

def files_of(place):
    paths = [path for kind in OUTPUT_FOLDERS for path in sorted((place/kind).glob("*"))]
    return {path.relative_to(place): path.read_bytes() for path in paths}

@contextlib.contextmanager
def killed_at(step):
    "Ends the run at that rename; the temporary file stays."
    steps, rename, unlink = iter(range(step)), os.replace, Path.unlink
    def replace(*given):
        if next(steps, None) is not None: return rename(*given)
        Path.unlink = lambda *given, **named: None
        raise Killed
    os.replace = replace
    try: yield
    except Killed: pass
    finally: os.replace, Path.unlink = rename, unlink

keys = st.lists(st.text("abcé/", min_size=1, max_size=4), unique=True, max_size=12)

@given(keys=keys, size=st.integers(1, 5), kills=st.lists(st.integers(0, 8), max_size=4), kept=st.booleans(),
       data=st.data())
def test_labels_do_not_depend_on_kills(keys, size, kills, kept, data):
    rejected = set(data.draw(st.lists(st.sampled_from(keys)))) if keys else set()
    with tempfile.TemporaryDirectory() as folder:
        whole, place = Path(folder)/"whole", Path(folder)/"killed"
        labeller = KeyLabeller(keys, rejected, kept)
        label = lambda place: label_shards(place, labeller, size, workers=0, quiet=True)[0]
        label(whole)
        for step in kills:
            with killed_at(step): label(place)
        assert len(label(place)) == math.ceil(len(keys)/size)
        assert files_of(place) == files_of(whole)
        paths = sorted((place/"pseudolabels").glob("*"))
        labels = [key for path in paths for key in pd.read_parquet(path).key]
        assert labels == [key for key in keys if key not in rejected]

# The walk of any tree of links ends.

places = st.lists(st.sampled_from(["a", "b", "c"]), max_size=3).map(lambda parts: "/".join(parts))
tree_files = st.lists(st.tuples(places, st.sampled_from(["x.jpg", "y.PNG", "note.txt"])), max_size=6)
targets = st.one_of(places, st.sampled_from([".", "..", "/", "gone", "l", "n.jpg", "x.jpg"]))
tree_links = st.lists(st.tuples(places, st.sampled_from(["l", "m", "n.jpg"]), targets), max_size=6)

def make_tree(root, folders, files, links):
    for place in (*folders, *(entry[0] for entry in (*files, *links))):
        (root/place).mkdir(parents=True, exist_ok=True)
    for place, name in files: (root/place/name).touch()
    for place, name, target in links:
        target = root/target if target in ("", "a") else target
        with contextlib.suppress(FileExistsError): (root/place/name).symlink_to(target)

def is_own_image(path):
    return path.is_file() and not path.is_symlink() and path.suffix.lower() in (".jpg", ".png")

@given(folders=st.lists(places, max_size=5), files=tree_files, links=tree_links)
def test_the_walk_of_any_tree_of_links_ends(folders, files, links):
    "Every image is found, no path twice, no image twice but by a link to it, and nothing from outside."
    with tempfile.TemporaryDirectory() as outer:
        root = Path(os.path.realpath(outer))/"root"
        root.mkdir()
        (root.parent/"outside.jpg").touch()
        make_tree(root, folders, files, links)
        outside = ("/", str(root.parent)) # links there would walk half the disk
        assume(not any(os.path.realpath(root/place/name) in outside for place, name, _ in links))
        found = list(walk_folder(root))
        assert len(set(found)) == len(found)
        images = [os.path.realpath(root/path) for path in found if not (root/path).is_symlink()]
        assert sorted(images) == sorted(str(path) for path in root.rglob("*") if is_own_image(path))
