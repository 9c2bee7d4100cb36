"The report in a browser: it opens from a file with no network, sorts, filters, takes picks and hands them out, and runs nobody's file name."
import csv, io, os, shutil
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from attiqa.cli import main
from attiqa.core import ATTRIBUTES
from attiqa.distort import apply_recipe
from attiqa.images import package_photograph, to_image, to_tensor
from attiqa.report import duplicate_groups

COLUMNS = ("quality", *ATTRIBUTES)
NASTY = ["<img src=x onerror=document.title='run'>.jpg", "</script><script>document.title='run'<\\script>.jpg".replace("/", "%2F"), "javascript:document.title='run'.jpg",
         "'\"`${document.title='run'}`.jpg", "été 写真 #1?&amp;.jpg", "two\nlines.jpg", os.fsdecode(b"caf\xe9.jpg")]
EXTRA = 64 # more than one page of cards
SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")

def crop(i):
    "Another piece of another photograph, worse or better."
    rng, photo = np.random.default_rng(i), to_tensor(package_photograph(SOURCES[i % 4]))
    top, left = (int(rng.integers(0, n - 100)) for n in photo.shape[1:])
    return apply_recipe(photo[:, top:top + 96, left:left + 96], [(("gaussian_blur", "gaussian_noise")[i % 2], i % 7/8)], str(i))

@pytest.fixture(scope="module")
def album(tmp_path_factory):
    folder = tmp_path_factory.mktemp("album")
    for i in range(EXTRA): to_image(crop(i)).save(folder/f"{i:03}.png")
    exif = Image.Exif()
    exif[0x010E] = "<script>document.title='run'</script> a birthday"
    coffee = package_photograph("coffee.png").resize((240, 160))
    for i, name in enumerate(NASTY): to_image(crop(100 + i)).save(folder/name, "JPEG", exif=exif)
    for name, quality in (("twin a.jpg", 95), ("twin b.jpg", 30)): coffee.save(folder/name, quality=quality)
    (folder/"broken <b>.jpg").write_bytes(b"no picture")
    return folder

@pytest.fixture(scope="module")
def report(album):
    assert main(["report", str(album), "-o", str(album.parent/"report.html"), "--title", "<b>holiday</b>"]) == 1
    return album.parent/"report.html"

@pytest.fixture(scope="module")
def chromium():
    "Headless Chromium: playwright's own, or the system's."
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with driver.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path).exists()
        if not own and not found: pytest.skip("no Chromium here; `make browser` installs it")
        browser = playwright.chromium.launch(executable_path=None if own else found, args=["--no-sandbox"])
        yield browser
        browser.close()

@pytest.fixture
def opened(chromium, report):
    "The page, what it complained of, and what it asked of the network; each test has a fresh browser profile."
    context = chromium.new_context(viewport=dict(width=1300, height=900), accept_downloads=True, offline=True)
    tab, said, asked = context.new_page(), [], []
    tab.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("dialog", lambda dialog: (said.append("dialog"), dialog.dismiss()))
    tab.on("request", lambda request: asked.append(request.url) if not request.url.startswith(("data:", "blob:")) else None)
    tab.goto(report.as_uri())
    yield tab
    assert said == [] and set(asked) == {report.as_uri()} and tab.title() == "<b>holiday</b>"
    context.close()

def names(tab): return tab.eval_on_selector_all("#gallery .name", "nodes => nodes.map(node => node.title)")

def all_names(tab):
    "Scrolls until every card is there."
    count = int(tab.inner_text("#shown").split()[0])
    for _ in range(50):
        if len(found := names(tab)) == count: return found
        tab.mouse.wheel(0, 4000); tab.wait_for_timeout(50)
    raise AssertionError(f"{len(found)} of {count} cards")

def bars(tab, column):
    place = COLUMNS.index(column)
    return [float(text) for text in tab.eval_on_selector_all("#gallery .card", f"nodes => nodes.map(node => node.querySelectorAll('.bar')[{place}].lastChild.textContent)")]

def test_everything_is_there(opened, album):
    photographs = sorted(str(p) for p in album.iterdir() if not p.name.startswith("broken"))
    assert len(all_names(opened)) == len(photographs) == EXTRA + len(NASTY) + 2
    assert sorted(names(opened)) == sorted(p.encode("utf-8", "backslashreplace").decode() for p in photographs)
    assert opened.locator(".histogram").count() == 6 and opened.inner_text("h1") == "<b>holiday</b>"
    assert "broken <b>.jpg" in opened.inner_text("#rejected") and opened.locator("#worst .card").count() == opened.locator("#best .card").count() == 6

def test_hostile_names_are_text(opened):
    opened.fill("#text", "onerror")
    assert len(names(opened)) == 1 and opened.locator("#gallery .card img[src^='data:image/jpeg']").count() == opened.locator("#gallery .card img").count()
    opened.fill("#text", "a birthday")
    assert len(names(opened)) == len(NASTY)
    assert opened.evaluate("[...document.querySelectorAll('a')].every(a => a.protocol === 'file:')")
    assert opened.locator("img[src=x]").count() == 0 and opened.locator("script").count() == 2

@pytest.mark.parametrize("column", COLUMNS)
def test_sort(opened, column):
    opened.select_option("#sort", column)
    all_names(opened)
    up = bars(opened, column)
    assert up == sorted(up) and up[0] < up[-1]
    opened.click("#direction")
    all_names(opened)
    assert bars(opened, column) == up[::-1]

def test_sort_by_name_keeps_the_folders_order(opened):
    opened.select_option("#sort", "name")
    found = [name for name in all_names(opened) if name.endswith(".png")]
    assert found == sorted(found)

def test_filter_by_score(opened):
    opened.select_option("#column", "sharpness")
    whole = [photo["scores"][1] for photo in opened.evaluate("photos")]
    middle = sorted(whole)[len(whole)//2]
    opened.fill("#low", str(middle))
    assert len(all_names(opened)) == sum(value >= middle for value in whole) < len(whole)
    assert min(bars(opened, "sharpness")) >= round(middle, 2)
    opened.fill("#high", "0")
    assert names(opened) == []

def test_near_duplicates(opened):
    opened.check("#twins")
    assert sorted(Path(name).name for name in names(opened) if "twin" in name) == ["twin a.jpg", "twin b.jpg"]
    groups = opened.eval_on_selector_all("#groups .strip", "nodes => nodes.map(node => [...node.querySelectorAll('.name')].map(name => name.textContent))")
    assert any({Path(name).name for name in group} == {"twin a.jpg", "twin b.jpg"} for group in groups)

def test_picks_by_keyboard_and_their_export(opened):
    opened.select_option("#sort", "name")
    order = all_names(opened)
    for key in ("ArrowRight", "k", "x", "ArrowRight", "k", "ArrowLeft", "x", "ArrowLeft", "u"): opened.keyboard.press(key)
    with opened.expect_download() as download: opened.click("#export")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_bytes().decode(), newline="")))
    assert tuple(rows[0]) == ("path", "pick", *COLUMNS) and [row["path"] for row in rows] == order
    picked = [row["pick"] for row in rows]
    assert set(picked) == {"keep", "reject", ""} and picked[0] == "keep" and picked[1] == "reject"
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in COLUMNS)
    opened.select_option("#picks", "keep")
    assert names(opened) == [name for name, pick in zip(order, picked) if pick == "keep"]
    opened.reload()
    opened.select_option("#picks", "reject")
    assert names(opened) == [name for name, pick in zip(order, picked) if pick == "reject"]

def test_typing_a_filter_is_no_pick(opened):
    opened.click("#gallery .card")
    opened.click("#text")
    opened.keyboard.type("kx")
    opened.fill("#text", "")
    assert opened.locator("#gallery .keep, #gallery .reject").count() == 0

def test_maps_lie_over_the_photographs(opened):
    opened.select_option("#map", "sharpness")
    opened.wait_for_selector("#worst canvas")
    boxes = [opened.locator(f"#worst .card >> nth=0 >> {tag}").bounding_box() for tag in ("img", "canvas")]
    assert all(abs(boxes[0][side] - boxes[1][side]) < 2 for side in boxes[0])
    drawn = opened.evaluate("(() => { const c = document.querySelector('#worst canvas'); return [c.width, c.height, ...c.getContext('2d').getImageData(0, 0, 1, 1).data]; })()")
    first = opened.evaluate("(() => { const p = photos[ranked[0]], at = columns.indexOf('sharpness')*p.grid[0]*p.grid[1]; return [p.grid[1], p.grid[0], atob(p.maps).charCodeAt(at)/255]; })()")
    assert drawn[:2] == first[:2] and abs(drawn[2] - min(255, 510*(1 - first[2]))) <= 1
    opened.select_option("#map", "")
    assert opened.locator("#worst canvas").count() == 0

def test_the_links_open_the_files(opened, album):
    opened.fill("#text", "onerror")
    link = opened.get_attribute("#gallery a", "href")
    assert opened.evaluate("href => decodeURIComponent(new URL(href, location.href).pathname)", link) == str(album/NASTY[0])

def test_groups_hang_together_by_pairs():
    near, far = "f"*16, "0"*16
    assert duplicate_groups([near, far, "fffffffffffffff0", "ffffffffffffff00", "00000000ffffffff"])[0] == duplicate_groups([near, "fffffffffffffff0"])[0] == 0
    found = duplicate_groups([near, far, "fffffffffffffff0", "ffffffffffffff00", "00000000ffffffff"])
    assert found[0] == found[2] == found[3] >= 0 and found[1] == found[4] == -1

@pytest.mark.parametrize("words, expected", [(["report", "none"], "--out"), (["report", "none.jpg", "-o", "r.html"], "no photograph"), (["report", "a", "-o", "-"], "wants a file"),
                                             (["report", "a", "-o", "no/r.html"], "no such folder")])
def test_wrong_arguments(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert expected in said and len(said.splitlines()) == 1 and not list(tmp_path.iterdir())
