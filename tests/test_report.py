"The report in a browser: it opens from a file with no network, groups, sorts, filters, compares, takes marks and hands them out, and runs nobody's file name."
import csv, io, json, os, re, zipfile
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from attiqa.cli import main
from attiqa.core import ATTRIBUTES, AttiqaError
from attiqa.cull import Choice, merged
from attiqa.distort import apply_recipe
from attiqa.findings import Finding, Row, duplicate_groups
from attiqa.images import package_photograph, to_image, to_tensor
from attiqa import report as report_module
from attiqa.report import write_page
from attiqa.score import Score

COLUMNS = ("quality", *ATTRIBUTES)
NASTY = ["<img src=x onerror=document.title='run'>.jpg", "</script><script>document.title='run'<\\script>.jpg".replace("/", "%2F"), "javascript:document.title='run'.jpg",
         "'\"`${document.title='run'}`.jpg", "été 写真 #1?&amp;.jpg", "two\nlines.jpg", os.fsdecode(b"caf\xe9.jpg")]
EXTRA = 64 # more than a window of cards
SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")

THEIRS = '''<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:d="http://darktable.sf.net/" xmp:Rating="4" d:history_end="3"/></rdf:RDF></x:xmpmeta>'''

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
    (folder/"twin b.jpg.xmp").write_text(THEIRS)
    return folder

@pytest.fixture(scope="module")
def report(album):
    assert main(["report", str(album), "-o", str(album.parent/"report.html"), "--title", "<b>holiday</b>"]) == 1
    return album.parent/"report.html"

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
    beside = report.parent.as_uri() # the page itself, and photographs that are viewed
    assert said == [] and all(address.startswith(f"{beside}/") for address in asked) and tab.title() == "<b>holiday</b>"
    context.close()

def shown(tab):
    "Paths of what is shown, in the order on the page."
    return tab.evaluate("order.map(i => photos[i].path)")

def ask(tab, **choices):
    for field, value in choices.items(): tab.select_option(f"#{field}", value)

def photos(tab): return {photo["path"]: photo for photo in tab.evaluate("photos")}

def go(tab, name): tab.evaluate("name => choose(photos.findIndex(photo => nameOf(photo) === name), true)", name)

def downloaded(tab, button):
    with tab.expect_download() as download: tab.click(button)
    return Path(download.value.path()).read_bytes()

def names(tab): return tab.eval_on_selector_all("#list .name", "nodes => nodes.map(node => node.textContent)")

def test_every_photograph_is_there_once(opened, album):
    expected = [p.name.encode("utf-8", "backslashreplace").decode() for p in album.iterdir() if not p.name.startswith("broken") and p.suffix != ".xmp"]
    seen = {}
    for _ in range(60):
        now = opened.eval_on_selector_all("#list .card", "nodes => nodes.map(node => [node.getAttribute('aria-posinset'), node.querySelector('.name').textContent])")
        assert len({place for place, _ in now}) == len(now)
        seen |= dict(now)
        opened.mouse.wheel(0, 500)
        opened.wait_for_timeout(40)
    assert sorted(seen.values()) == sorted(expected) and len(expected) == EXTRA + len(NASTY) + 2
    assert set(seen) == {str(i) for i in range(1, len(expected) + 1)}
    assert opened.locator(".histogram").count() == 6 and opened.inner_text("h1") == "<b>holiday</b>"
    assert "broken <b>.jpg" in opened.inner_text("#rejected")

def test_hostile_names_are_text(opened):
    opened.fill("#text", "onerror")
    assert names(opened) == [NASTY[0]] and opened.locator("#list img[src^='data:image/jpeg']").count() == opened.locator("#list img").count() == 1
    opened.fill("#text", "a birthday")
    assert len(shown(opened)) == len(names(opened)) == len(NASTY)
    assert opened.evaluate("[...document.querySelectorAll('a')].every(a => a.protocol === 'file:')")
    assert opened.locator("img[src=x]").count() == 0 and opened.locator("script").count() == 2

@pytest.mark.parametrize("column", COLUMNS)
def test_sort(opened, column):
    opened.uncheck("#together")
    ask(opened, sort=column)
    known, at = photos(opened), COLUMNS.index(column)
    up = [known[path]["scores"][at] for path in shown(opened)]
    assert up == sorted(up) and up[0] < up[-1]
    first = opened.inner_text("#list .card >> nth=0 >> .score")
    assert abs(float(first) - up[0]) <= .00501
    opened.click("#direction")
    assert [known[path]["scores"][at] for path in shown(opened)] == up[::-1]

def test_sort_by_name_keeps_the_folders_order(opened):
    opened.uncheck("#together")
    found = [path for path in shown(opened) if path.endswith(".png")]
    assert found == sorted(found)

def test_filter_by_score(opened):
    ask(opened, column="sharpness")
    whole = [photo["scores"][1] for photo in photos(opened).values()]
    middle = sorted(whole)[len(whole)//2]
    opened.fill("#low", str(middle))
    assert len(shown(opened)) == sum(value >= middle for value in whole) < len(whole)
    opened.fill("#high", "0")
    assert shown(opened) == names(opened) == [] and opened.is_visible("#nothing")

def test_filter_by_finding(opened):
    known = photos(opened)
    has = lambda name: {path for path, photo in known.items() if name in [found for found, _ in photo["findings"]]}
    present = {found for photo in known.values() for found, _ in photo["findings"]}
    assert present
    for name in present:
        ask(opened, finding=name)
        assert set(shown(opened)) == has(name)
    ask(opened, finding="none")
    assert set(shown(opened)) == {path for path, photo in known.items() if not photo["findings"]}

def test_findings_are_words_on_the_card_with_reasons_beside(opened):
    ask(opened, finding="any")
    path = shown(opened)[0]
    opened.click("#list .card >> nth=0")
    expected = photos(opened)[path]["findings"]
    assert opened.eval_on_selector_all("#list .card:first-child .word", "nodes => nodes.map(node => node.textContent)")[:len(expected)] == [name.replace("_", " ") for name, _ in expected]
    assert [line.split(": ", 1)[1] for line in opened.inner_text("#problems").splitlines()] == [why for _, why in expected]

def test_a_group_stands_together_with_its_best_marked(opened):
    ask(opened, proposal="groups")
    known = photos(opened)
    twins = opened.locator(".group", has_text="twin a.jpg")
    cards = twins.locator(".card")
    assert cards.count() == 2 and twins.locator(".badge").all_inner_texts() == ["best", "cull?"]
    boxes = [cards.nth(i).bounding_box() for i in range(2)]
    assert boxes[0]["y"] == boxes[1]["y"] or boxes[1]["x"] < boxes[0]["x"] # side by side, or on the next row
    qualities = [known[path]["scores"][0] for path in shown(opened) if Path(path).name.startswith("twin")]
    assert qualities == sorted(qualities, reverse=True)
    cards.nth(0).click()
    assert opened.inner_text("#why").startswith("Best of 2")
    cards.nth(1).click()
    assert opened.inner_text("#why").startswith("2 of 2")

def test_marks_by_keyboard_stay_and_are_exported(opened):
    opened.uncheck("#together")
    order = shown(opened)
    opened.click("#list .card >> nth=0")
    for key in ("p", "3", "ArrowRight", "Shift+X", "Shift+Digit5", "ArrowLeft", "p", "u"): opened.keyboard.press(key)
    rows = list(csv.DictReader(io.StringIO(downloaded(opened, "#csv").decode(), newline="")))
    assert tuple(rows[0]) == ("path", "stars", "flag", "proposal", "group", "place", "findings", *COLUMNS)
    rows = {row["path"]: row for row in rows}
    assert set(rows) == set(order)
    assert [rows[path]["flag"] for path in order[:4]] == ["pick", "reject", "", ""]
    assert rows[order[0]]["stars"] == "3" and rows[order[2]]["stars"] == "5"
    assert all(0 <= float(row[name]) <= 1 for row in rows.values() for name in COLUMNS)
    ask(opened, flag="pick")
    assert shown(opened) == [order[0]]
    opened.reload()
    opened.uncheck("#together")
    assert opened.evaluate("order.slice(0, 3).map(i => [starsOf(photos[i]), flagOf(photos[i])])")[0] == [3, "pick"]
    ask(opened, least="5")
    assert order[2] in shown(opened)
    go(opened, Path(order[2]).name)
    opened.keyboard.press("0")
    assert opened.evaluate("starsOf(photos[current])") == 0

def test_typing_a_filter_marks_nothing(opened):
    opened.click("#list .card >> nth=0")
    opened.click("#text")
    opened.keyboard.type("px5")
    assert opened.evaluate("marks.size") == 0 and opened.input_value("#text") == "px5"

def test_arrows_move_on_the_grid_and_the_focus_stays_in_sight(opened):
    opened.uncheck("#together")
    opened.click("#list .card >> nth=0")
    across = opened.evaluate("grid().columns")
    where = lambda: opened.evaluate("order.indexOf(Number(document.activeElement.dataset.index))")
    for key, place in (("ArrowRight", 1), ("ArrowDown", 1 + across), ("ArrowLeft", across), ("ArrowUp", 0), ("ArrowUp", 0), ("End", EXTRA + len(NASTY) + 1)):
        opened.keyboard.press(key)
        assert where() == place and opened.evaluate("current === Number(document.activeElement.dataset.index)")
        box = opened.evaluate("(({ top, bottom }) => [top, bottom])(document.activeElement.getBoundingClientRect())")
        assert box[0] >= opened.evaluate("document.getElementById('filters').getBoundingClientRect().bottom") - 1 and box[1] <= 901
    assert opened.locator("#list [tabindex='0']").count() == opened.locator("#list [aria-selected='true']").count() == 1

def test_maps_lie_over_the_photographs(opened):
    ask(opened, map="sharpness")
    boxes = [opened.locator(f"#list .card >> nth=0 >> {tag}").bounding_box() for tag in ("img", "canvas")]
    assert all(abs(boxes[0][side] - boxes[1][side]) < 2 for side in boxes[0])
    drawn = opened.evaluate("(() => { const c = document.querySelector('#list canvas'); return [c.width, c.height, ...c.getContext('2d').getImageData(0, 0, 1, 1).data]; })()")
    first = opened.evaluate("(() => { const p = photos[order[0]], at = columns.indexOf('sharpness')*p.grid[0]*p.grid[1]; return [p.grid[1], p.grid[0], atob(p.maps).charCodeAt(at)/255]; })()")
    assert drawn[:2] == first[:2] and abs(drawn[2] - min(255, 510*(1 - first[2]))) <= 1
    ask(opened, map="")
    assert opened.locator("#list canvas").count() == 0

def test_the_links_open_the_files(opened, album):
    go(opened, NASTY[0])
    link = opened.get_attribute("#file", "href")
    assert opened.evaluate("href => decodeURIComponent(new URL(href, location.href).pathname)", link) == str(album/NASTY[0])

def loaded(tab): tab.wait_for_function("view.panes.every(pane => pane.image.complete && pane.image.naturalWidth > 0)")

def test_a_photograph_is_viewed_whole_and_at_100_percent(opened):
    go(opened, "twin b.jpg")
    opened.keyboard.press("Enter")
    loaded(opened)
    assert opened.evaluate("[view.panes.length, view.panes[0].image.naturalWidth, view.panes[0].hidden]") == [1, 240, False] # the file, not its thumbnail
    opened.keyboard.press("z")
    assert opened.evaluate("view.panes[0].stage.getBoundingClientRect().width*devicePixelRatio") == 240
    assert opened.get_attribute("#zoom", "aria-pressed") == "true" and "100 %" in opened.inner_text("figcaption")
    opened.keyboard.press("x")
    opened.keyboard.press("Escape")
    assert opened.evaluate("[document.getElementById('viewer').open, flagOf(photos[current]), document.activeElement === cards[current]]") == [False, "reject", True]

def test_two_are_compared_in_step(opened):
    ask(opened, proposal="groups")
    best, other = (Path(path).name for path in shown(opened) if Path(path).name.startswith("twin"))
    go(opened, other)
    opened.keyboard.press("c")
    loaded(opened)
    assert opened.evaluate("view.panes.map(pane => nameOf(photos[pane.index]))") == [best, other]
    for _ in range(11): opened.keyboard.press("+")
    spots = "view.panes.map(({ scroll, stage }) => [stage.offsetWidth, scroll.scrollLeft, scroll.scrollTop])"
    for place, spot in ((0, (700, 300)), (1, (150, 420))):
        opened.evaluate("([place, spot]) => view.panes[place].scroll.scrollTo(...spot)", [place, spot])
        opened.wait_for_timeout(200)
        left, right = opened.evaluate(spots)
        assert left[0] == right[0] > 1300
        assert all(abs(a - b) <= 2 for a, b in zip(left, right)) and (left, right)[place][1:] == pytest.approx(spot, abs=1)

def zipped(tab):
    archive = zipfile.ZipFile(io.BytesIO(downloaded(tab, "#xmp")))
    assert archive.testzip() is None
    return {info.filename: archive.read(info).decode() for info in archive.infolist()}

def test_sidecars_are_those_that_cull_writes(opened, album):
    go(opened, "000.png")
    for key in ("2", "x"): opened.keyboard.press(key)
    found, known = zipped(opened), photos(opened)
    named = {str(path.relative_to(album)) + ".xmp" for path in album.iterdir() if path.suffix != ".xmp" and not path.name.startswith("broken")}
    assert set(found) == {name for name in named if name == name.encode("utf-8", "backslashreplace").decode()}
    for path, photo in known.items():
        name = f"{Path(path).name}.xmp"
        if name not in found or name == "twin b.jpg.xmp": continue
        stars, keep = (2, False) if name == "000.png.xmp" else (photo["stars"], photo["keep"])
        row = Row(path, Score(path), tuple(Finding(*one) for one in photo["findings"]))
        assert found[name] == merged("", Choice(row, keep=keep, stars=stars))

def test_a_sidecar_that_is_there_keeps_its_fields(opened):
    assert photos(opened)[next(path for path in photos(opened) if path.endswith("twin b.jpg"))]["stars"] == 4 # theirs
    assert 'history_end="3"' in zipped(opened)["twin b.jpg.xmp"] and re.search(r"Rating[^>]*>4<", zipped(opened)["twin b.jpg.xmp"])
    go(opened, "twin b.jpg")
    opened.keyboard.press("1")
    text = zipped(opened)["twin b.jpg.xmp"]
    assert 'history_end="3"' in text and re.findall(r"xmp:Rating[^>]*>(\d)<", text) == ["1"] and 'xmp:Rating="4"' not in text

@pytest.mark.parametrize("width", [400, 900, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(chromium, report, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed")
    context = chromium.new_context(viewport=dict(width=width, height=900), color_scheme=scheme, offline=True)
    tab = context.new_page()
    tab.goto(report.as_uri())
    tab.evaluate(axe.AXE_FILE_PATH.read_text(encoding="utf-8"))
    broken = lambda: [(one["id"], [node["html"] for node in one["nodes"]]) for one in tab.evaluate("axe.run()")["violations"]]
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert broken() == []
    go(tab, "twin b.jpg")
    for key in ("4", "p", "c"): tab.keyboard.press(key)
    loaded(tab)
    assert broken() == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    context.close()

CONTRAST = """() => { // the worst contrast of text on the grounds it lies on (WCAG 2.2)
  const probe = document.body.appendChild(document.createElement("i"));
  const light = name => {
    probe.style.color = `var(--${name})`;
    const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(value => value/255).map(v => v <= .04045 ? v/12.92 : ((v + .055)/1.055)**2.4);
    return .2126*parts[0] + .7152*parts[1] + .0722*parts[2];
  };
  const contrast = (a, b) => { const [low, high] = [light(a), light(b)].sort((x, y) => x - y); return (high + .05)/(low + .05); };
  return Math.min(contrast("on-accent", "accent"), ...["ink", "quiet", "good", "bad", "star", "accent"].flatMap(text => ["paper", "tint"].map(ground => contrast(text, ground))));
}"""

@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_switch_sets_the_theme_and_text_stands_out(opened, theme):
    ask(opened, theme=theme)
    ground = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.search(r"\d+", ground)[0]) > 127) == (theme == "light") and opened.evaluate(CONTRAST) >= 4.5
    opened.reload()
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == ground

def choices_of(count, folder):
    "Photographs that nobody took, with one thumbnail for all and groups of four."
    extra = dict(thumbnail=report_module.thumbnail(Image.new("RGB", (64, 48), "teal")), maps=np.zeros((6, 3, 4), np.uint8))
    for i in range(count):
        row = Row(str(folder/f"{i:05}.jpg"), Score("", *[(i*7919 % count)/count]*6), digest=f"{i % 10:02}", size=(640, 480), extra=extra)
        yield Choice(row, group=i//4 if i % 8 < 4 else -1, kind="alike" if i % 8 < 4 else "", place=1 + i % 4 if i % 8 < 4 else 1, stars=3)

def test_ten_thousand_scroll_with_few_in_the_document(chromium, tmp_path):
    assert write_page(list(choices_of(10_000, tmp_path)), tmp_path/"big.html", "big", "nobody") == 0
    assert len(list((tmp_path/"big_files").glob("*.jpg"))) == 10
    tab = chromium.new_page(viewport=dict(width=1300, height=900))
    tab.goto((tmp_path/"big.html").as_uri())
    cards = lambda: tab.locator("#list .card").count()
    most, places = cards(), []
    for share in (.1, .5, .9, 1):
        tab.evaluate("share => scrollTo(0, share*document.body.scrollHeight)", share)
        tab.wait_for_function("share => scrollY > 0 && document.elementFromPoint(500, 600).closest('.card')", arg=share)
        most = max(most, cards())
        places.append(int(tab.evaluate("document.elementFromPoint(500, 600).closest('.card').getAttribute('aria-posinset')")))
    assert most < 150 and places == sorted(places) and abs(places[1]/10_000 - .5) < .02 and places[-1] > 9_900
    assert tab.evaluate("[...document.querySelectorAll('#list img')].every(image => image.src.startsWith('file:'))")
    tab.wait_for_function("[...document.querySelectorAll('#list img')].every(image => image.complete && image.naturalWidth === 64)")
    boxes = tab.eval_on_selector_all("#list .card", "nodes => nodes.map(node => { const box = node.getBoundingClientRect(); return [Math.round(box.left), Math.round(box.top)]; })")
    assert len(set(map(tuple, boxes))) == len(boxes) # none lies on another
    tab.keyboard.press("Home")
    assert tab.evaluate("document.activeElement.getAttribute('aria-posinset')") == "1"
    tab.close()

def test_thumbnails_of_an_earlier_page_go_and_other_pictures_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(report_module, "BESIDE", 5)
    write_page(list(choices_of(9, tmp_path)), tmp_path/"a.html", "a", "nobody")
    write_page(list(choices_of(6, tmp_path)), tmp_path/"a.html", "a", "nobody")
    assert sorted(path.stem for path in (tmp_path/"a_files").glob("*.jpg")) == [f"{i:02}" for i in range(6)]
    write_page(list(choices_of(5, tmp_path)), tmp_path/"b.html", "b", "nobody")
    assert not (tmp_path/"b_files").exists() and "data:image/jpeg" in (tmp_path/"b.html").read_text()
    (tmp_path/"c_files").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path/"c_files"/"mine.jpg")
    with pytest.raises(AttiqaError, match="holds pictures already"): write_page(list(choices_of(9, tmp_path)), tmp_path/"c.html", "c", "nobody")
    assert [path.name for path in (tmp_path/"c_files").iterdir()] == ["mine.jpg"]

def data_of(page): return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)[1])

def test_cull_writes_the_same_page(album, tmp_path, capsys):
    assert main(["cull", str(album), "--keep", "2", "--report", str(tmp_path/"page.html")]) == 1 # one is broken
    told = {line.split("  ")[0] for line in capsys.readouterr().out.splitlines()}
    found = {photo["path"]: photo for photo in data_of(tmp_path/"page.html")["photos"]}
    assert told == {"keep"} and all(photo["keep"] for photo in found.values()) # the twins are two
    assert len(found) == EXTRA + len(NASTY) + 2 and not list(album.glob(".attiqa*"))
    assert main(["cull", str(album), "--report", str(tmp_path/"p.html"), "--move-to", str(tmp_path/"away")]) == 2
    assert "without --move-to" in capsys.readouterr().err and not (tmp_path/"p.html").exists()

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
