"The scorer in Python: every form of a picture, batches, streams, tables, and what is no picture."
import itertools, subprocess, sys
import numpy as np, pytest, torch
from PIL import Image
from attiqa.core import AttiqaError
from attiqa.images import package_photograph, to_tensor
from attiqa.score import READ_AHEAD, RECORD_FIELDS, Score, Scorer, to_table
from image_files import GREY, PHOTO
from score_files import GOOD, numbers, pixels

@pytest.fixture(scope="module")
def scorer():
    return Scorer()

@pytest.mark.parametrize("size", [(200, 160), (1500, 900)])
def test_every_form_of_a_picture_scores_the_same(tmp_path, scorer, size):
    picture = PHOTO.resize(size)
    picture.save(tmp_path/"p.png")
    file = tmp_path/"p.png"
    forms = [file, str(file), picture, pixels(picture), to_tensor(picture), Image.open(file)]
    first, *others = scorer(forms)
    for score in others: assert numbers(score) == pytest.approx(numbers(first), abs=1e-6)

def test_alone_in_a_list_and_in_any_order(scorer):
    pictures = [PHOTO, PHOTO.rotate(180), GREY.convert("RGB"), PHOTO.crop((0, 0, 96, 64)),
                Image.new("RGB", (40, 200), "red")]
    alone = [scorer(picture) for picture in pictures]
    assert scorer(pictures) == alone
    assert scorer(pictures[::-1]) == alone[::-1]
    assert scorer(iter(pictures)) == alone
    assert len(set(alone)) == len(alone)
    assert scorer([]) == []

NO_PICTURE = [ # what is given, and words of the error
    (torch.full((3, 64, 64), torch.nan), "NaN"),
    (torch.full((3, 64, 64), -.1), "[0, 1]"),
    (torch.full((3, 64, 64), 255.), "[0, 1]"),
    (torch.zeros(1, 3, 64, 64), "list"),
    (torch.zeros(64, 64, 3), "(3, H, W)"),
    (torch.zeros(3, 0, 64), "at least 32"),
    (torch.zeros(3, 64, 64, dtype=torch.uint8), "divide by 255"),
    (np.zeros((64, 64, 3)), "uint8"),
    (np.zeros((64, 64, 4), np.uint8), "(H, W, 3)"),
    (b"no picture", "readable image"),
    (None, "not an image"),
    (3.5, "not an image")]

@pytest.mark.parametrize("bad, words", NO_PICTURE)
def test_what_is_no_picture(scorer, bad, words):
    with pytest.raises(AttiqaError) as caught: scorer(bad)
    assert words in str(caught.value)
    assert [bool(score.error) for score in scorer([PHOTO, bad, PHOTO])] == [False, True, False]

def test_a_masked_pixel_has_no_value(scorer):
    whole = np.ma.array(pixels(PHOTO))
    assert scorer(whole) == scorer(pixels(PHOTO))
    whole[0, 0] = np.ma.masked
    with pytest.raises(AttiqaError, match="has masked pixels") as caught:
        scorer(whole)
    assert "\n" not in str(caught.value)

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
    assert torch.equal(x, before)
    assert x.requires_grad and x.grad is None

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
    assert table.error.tolist() == ["", "no such file"]
    assert table.quality.isna().tolist() == [False, True]

SCORE_ONE = """
import attiqa
score = attiqa.score('photo.jpg')
print(score.path, 0 <= score.quality <= 1, attiqa.score([score.path]) == [score])
"""

def test_from_any_folder(tmp_path):
    (tmp_path/"photo.jpg").write_bytes(GOOD)
    done = subprocess.run([sys.executable, "-c", SCORE_ONE], cwd=tmp_path, capture_output=True, text=True,
                          check=True)
    assert done.stdout.split() == ["photo.jpg", "True", "True"]
