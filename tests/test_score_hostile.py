"Hostile files: the command and the API score the sound ones, and give a reason for each of the others."
import json, os, subprocess
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from attiqa.cli import printable
from attiqa.core import AttiqaError
from attiqa.images import to_tensor
from attiqa.score import MAX_SCORED_PIXELS, RECORD_FIELDS, Scorer, read_pixels
from image_files import GREY, PHOTO
from score_files import ABSENT, COMMAND, NUMBERS, PRESENT, REASONS, REJECTED, SCORED
from score_files import make_zoo, numbers, pixels

@pytest.fixture(scope="module")
def scorer():
    return Scorer()

@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return make_zoo(tmp_path_factory.mktemp("zoo"))

def command(*words, cwd, **env):
    "The installed command, as a shell would start it."
    return subprocess.run([COMMAND, *words], cwd=cwd, capture_output=True, env=os.environ | env, timeout=120)

def reason(name):
    return REASONS.get(name, "")

def check_record(record):
    assert tuple(record) == RECORD_FIELDS
    assert reason(record["path"]) in record["error"]
    assert bool(record["error"]) == (record["path"] not in SCORED)
    assert all(record[name] is None if record["error"] else 0 <= record[name] <= 1 for name in NUMBERS)

def test_hostile_files_through_the_command(zoo, scorer):
    "Every file in one go, on an output that claims to be ASCII: sound ones scored, one line for each other."
    names = [*PRESENT, *ABSENT, *SCORED, *REJECTED]
    done = command("score", "--json", "-", "--", *names, cwd=zoo, PYTHONIOENCODING="ascii")
    records, said = json.loads(done.stdout), done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert [record["path"] for record in records] == names
    for record in records: check_record(record)
    assert said == [f"attiqa: {printable(r['path'])}: {printable(r['error'])}" for r in records if r["error"]]
    plain = next(record for record in records if record["path"] == "plain.jpg")
    assert [plain[name] for name in NUMBERS] == pytest.approx(numbers(scorer(zoo/"plain.jpg")), abs=1e-5)

def test_hostile_files_in_python(zoo, scorer):
    "A folder is its pictures, sorted; what is none of them is a score with a reason."
    scores, names = scorer(zoo), (*SCORED, *REJECTED, *PRESENT)
    assert [score.path for score in scores] == sorted(str(zoo/name) for name in names)
    for score in scores:
        assert reason(Path(score.path).name) in score.error
        assert bool(score.error) == np.isnan(score.quality)

@pytest.mark.parametrize("name", [*REJECTED, *PRESENT, *ABSENT])
def test_a_single_bad_path_is_an_error(zoo, scorer, name):
    with pytest.raises(AttiqaError) as caught: scorer(zoo/name)
    alone = {"*.tiff": "no such file", "folder.jpg": "is a folder without images"}
    said = str(caught.value)
    assert alone.get(name, reason(name)) in said
    assert name[:20] in said and "\n" not in said

def grey_shown(path):
    return np.dstack([pixels(GREY)]*3)

def over_white(path):
    image = pixels(Image.open(path).convert("RGBA"))
    return np.where(image[..., 3:] == 0, 255, image[..., :3])

SHOWN = { # file to the pixels that a viewer shows
    "rotated.jpg": lambda path: np.rot90(pixels(Image.open(path)), -1),
    "colour16.png": lambda path: pixels(PHOTO),
    "grey16.png": grey_shown,
    "moving.webp": grey_shown,
    "moving.gif": grey_shown,
    "palette.png": over_white,
    "mislabelled.png": lambda path: pixels(Image.open(path)),
}

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
