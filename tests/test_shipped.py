"The two shipped scorers: their size and cards, and their order of images where photographs are at hand."
from pathlib import Path
import numpy as np
import pytest
from attiqa.core import ATTRIBUTES, SCORERS, WEIGHTS, read_json, scorer_file
from attiqa.distort import LADDERS, ladder
from attiqa.images import package_photograph, to_image, to_tensor
from attiqa.score import MINI, UNAWARE, Scorer

SHARED = Path(__file__).resolve().parents[2]/"shared" # images that the package may not carry
PHOTOS = ("chelsea.png", "coffee.png", "astronaut.png")
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp"}

def images(folder, count):
    "So many images of a folder, evenly spread over their names; skips where it is absent."
    if not (SHARED/folder).is_dir():
        pytest.skip(f"{SHARED/folder} is not here")
    files = sorted(p for p in (SHARED/folder).rglob("*") if p.suffix.lower() in ENDINGS)
    return [files[i] for i in np.linspace(0, len(files) - 1, count).astype(int)]

@pytest.fixture(scope="module", params=SCORERS)
def scorer(request):
    return Scorer(request.param, "cpu")

def test_a_scorer_is_small_and_has_a_card(scorer):
    name = scorer.path.stem
    card, picture = (WEIGHTS/f"{name}.md").read_text(encoding="utf-8"), WEIGHTS/f"{name}-failures.jpg"
    assert scorer.path.stat().st_size <= 16e6
    assert picture.name in card and picture.stat().st_size < 60_000
    assert "{" not in card # every figure is filled in

def test_what_a_scorer_says_of_itself():
    taught, unaware = (Scorer(name, "cpu") for name in SCORERS)
    assert taught.card["scores"]["human"] and not unaware.card["scores"]["human"]
    assert "scores that people gave" in taught.describe() and "without people" in unaware.describe()
    for scorer in (taught, unaware):
        assert "0.7 means better than 70 % of ordinary photographs" in scorer.describe()
    assert scorer_file(MINI).read_bytes() != scorer_file(UNAWARE).read_bytes()

def test_figures_are_of_both():
    figures = read_json(WEIGHTS/"figures.json")
    assert all({"attributes", "order", "human", "above"} <= figures[name].keys() for name in SCORERS)

def test_attributes_follow_their_ladders(scorer):
    "Each attribute's own score falls along its ladder, on photographs of packages."
    for photo in PHOTOS:
        x = to_tensor(package_photograph(photo))
        for i, (attribute, name) in enumerate(LADDERS.items()):
            rungs = [to_image(rung) for rung in ladder(x, name, 0, photo)]
            values = [getattr(score, ATTRIBUTES[i]) for score in scorer(rungs)]
            assert np.corrcoef(values, range(6))[0, 1] < -.7, (photo, attribute)

def test_good_photographs_are_above_ordinary_ones():
    "Professional photographs above snapshots, in nearly all pairs."
    scorer = Scorer(MINI, "cpu")
    qualities = lambda folder: [score.quality for score in scorer.stream(images(folder, 40))]
    better, worse = qualities("pristine"), qualities("clive")
    assert np.greater.outer(better, worse).mean() > .8

def test_quality_spreads_over_ordinary_photographs(scorer):
    quality = np.array([s.quality for s in scorer.stream(images("native", 40))])
    low, middle, high = np.quantile(quality, (.1, .5, .9))
    assert low < .3 < middle < .7 < high
