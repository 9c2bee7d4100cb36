"Files of the report: large pages, thumbnails beside the page, the page of `attiqa cull`, wrong arguments."
import json, re
import numpy as np, pytest
from PIL import Image
from attiqa import report as report_module
from attiqa.cli import main
from attiqa.core import AttiqaError
from attiqa.cull import Choice
from attiqa.findings import Row, near_duplicate_groups
from attiqa.report import write_report_page
from attiqa.score import Score
from albums import EXTRA, NASTY, save_album

def choices_of(count, folder):
    "Choices without files, with one thumbnail for all, every second four in a group."
    picture = report_module.jpeg_thumbnail(Image.new("RGB", (64, 48), "teal"))
    extra = dict(thumbnail=picture, maps=np.zeros((6, 3, 4), np.uint8))
    for i in range(count):
        score, digest = Score("", *[(i*7919 % count)/count]*6), f"{i % 10:02}"
        row = Row(str(folder/f"{i:05}.jpg"), score, digest=digest, size=(640, 480), extra=extra)
        group = dict(group=i//4, kind="alike", place=1 + i % 4) if i % 8 < 4 else {}
        yield Choice(row, stars=3, **group)

def write(count, page):
    return write_report_page(list(choices_of(count, page.parent)), page, page.stem, "nobody")

@pytest.fixture
def big(chromium, tmp_path):
    "A page of ten thousand photographs."
    assert write(10_000, tmp_path/"big.html") == 0
    assert len(list((tmp_path/"big_files").glob("*.jpg"))) == 10
    tab = chromium.new_page(viewport=dict(width=1300, height=900))
    tab.goto((tmp_path/"big.html").as_uri())
    yield tab
    tab.close()

CARD = "document.elementFromPoint(500, 600).closest('.card')"

def test_ten_thousand_scroll_with_few_in_the_document(big):
    most, places = 0, []
    for share in (.1, .5, .9, 1):
        most = max(most, big.locator("#list .card").count())
        big.evaluate("share => scrollTo(0, share*document.body.scrollHeight)", share)
        big.wait_for_function(f"share => scrollY > 0 && {CARD}", arg=share)
        places.append(int(big.evaluate(f"{CARD}.getAttribute('aria-posinset')")))
    assert max(most, big.locator("#list .card").count()) < 150
    assert places == sorted(places)
    assert abs(places[1]/10_000 - .5) < .02
    assert places[-1] > 9_900
    big.keyboard.press("Home")
    assert big.evaluate("document.activeElement.getAttribute('aria-posinset')") == "1"

IMAGES = "[...document.querySelectorAll('#list img')]"
BOXES = """nodes => nodes.map(node => {
  const box = node.getBoundingClientRect();
  return [Math.round(box.left), Math.round(box.top)];
})"""

def test_ten_thousand_load_their_thumbnails_from_files(big):
    big.evaluate("scrollTo(0, document.body.scrollHeight)")
    big.wait_for_function(f"scrollY > 0 && {CARD}")
    assert big.evaluate(f"{IMAGES}.every(image => image.src.startsWith('file:'))")
    big.wait_for_function(f"{IMAGES}.every(image => image.complete && image.naturalWidth === 64)")
    boxes = big.eval_on_selector_all("#list .card", BOXES)
    assert len(set(map(tuple, boxes))) == len(boxes), "no card lies on another"

@pytest.fixture
def few_inline(monkeypatch): monkeypatch.setattr(report_module, "INLINE_THUMBNAILS", 5)

def test_thumbnails_of_an_earlier_page_go(tmp_path, few_inline):
    for count in (9, 6): write(count, tmp_path/"a.html")
    assert sorted(path.stem for path in (tmp_path/"a_files").glob("*.jpg")) == [f"{i:02}" for i in range(6)]

def test_few_thumbnails_are_in_the_page(tmp_path, few_inline):
    write(5, tmp_path/"b.html")
    assert not (tmp_path/"b_files").exists()
    assert "data:image/jpeg" in (tmp_path/"b.html").read_text()

def test_other_pictures_stay(tmp_path, few_inline):
    (tmp_path/"c_files").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path/"c_files"/"mine.jpg")
    with pytest.raises(AttiqaError, match="holds pictures already"): write(9, tmp_path/"c.html")
    assert [path.name for path in (tmp_path/"c_files").iterdir()] == ["mine.jpg"]

@pytest.fixture(scope="module")
def album(tmp_path_factory): return save_album(tmp_path_factory.mktemp("album"))

def data_of(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)[1])

def test_cull_writes_the_same_page(album, tmp_path, capsys):
    page = tmp_path/"page.html"
    assert main(["cull", str(album), "--keep", "2", "--report", str(page)]) == 1 # one is broken
    verdicts = {line.split("  ")[0] for line in capsys.readouterr().out.splitlines()}
    photos = data_of(page)["photos"]
    assert verdicts == {"keep"}
    assert all(photo["keep"] for photo in photos) # the twins are two
    assert len(photos) == EXTRA + len(NASTY) + 2
    assert not list(album.glob(".attiqa*"))

def test_a_page_of_cull_moves_nothing(album, tmp_path, capsys):
    page = tmp_path/"p.html"
    assert main(["cull", str(album), "--report", str(page), "--move-to", str(tmp_path/"away")]) == 2
    assert "without --move-to" in capsys.readouterr().err
    assert not page.exists()

NEAR = ["f"*16, "fffffffffffffff0", "ffffffffffffff00"]
FAR = ["0"*16, "00000000ffffffff"]

def test_groups_are_joined_by_pairs():
    assert near_duplicate_groups(NEAR[:2])[0] == 0
    found = near_duplicate_groups([NEAR[0], FAR[0], *NEAR[1:], FAR[1]])
    assert found[0] == found[2] == found[3] == 0
    assert found[1] == found[4] == -1

@pytest.mark.parametrize("words, expected", [
    ("none", "--out"), ("none.jpg -o r.html", "no photograph"), ("a -o -", "wants a file"),
    ("a -o no/r.html", "no such folder")])
def test_wrong_arguments(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *words.split()]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
