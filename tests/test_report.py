"The report in a browser without a network: groups, order, filters, comparison, marks, exports, odd names."
import csv, io, re, zipfile
from pathlib import Path
import pytest
from attiqa.core import ATTRIBUTES
from attiqa.cull import Choice, merged_sidecar
from attiqa.findings import Finding, Row
from attiqa.score import Score
from albums import EXTRA, NASTY, save_album, write_album_report

COLUMNS = ("quality", *ATTRIBUTES)

@pytest.fixture(scope="module")
def album(tmp_path_factory): return save_album(tmp_path_factory.mktemp("album"))

@pytest.fixture(scope="module")
def report(album): return write_album_report(album)

def watch(tab, errors, requests):
    "Note errors and dialogs of a page, and its requests but for data in the page."
    is_inside = lambda address: address.startswith(("data:", "blob:"))
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("dialog", lambda dialog: (errors.append("dialog"), dialog.dismiss()))
    tab.on("request", lambda request: None if is_inside(request.url) else requests.append(request.url))

@pytest.fixture
def opened(chromium, report):
    "The page in a fresh browser profile; afterwards it has neither errors nor requests outside its folder."
    context = chromium.new_context(viewport=dict(width=1300, height=900), accept_downloads=True, offline=True)
    tab, errors, requests = context.new_page(), [], []
    watch(tab, errors, requests)
    tab.goto(report.as_uri())
    yield tab
    folder = f"{report.parent.as_uri()}/"
    assert errors == []
    assert all(address.startswith(folder) for address in requests)
    assert tab.title() == "<b>holiday</b>"
    context.close()

def paths(tab):
    "Paths of the visible photographs, in the order on the page."
    return tab.evaluate("order.map(i => photos[i].path)")

def ask(tab, **choices):
    for field, value in choices.items(): tab.select_option(f"#{field}", value)

def photos(tab): return {photo["path"]: photo for photo in tab.evaluate("photos")}

GO = "name => choose(photos.findIndex(photo => nameOf(photo) === name), true)"

def go(tab, name): tab.evaluate(GO, name)

def press(tab, *keys):
    for key in keys: tab.keyboard.press(key)

def downloaded(tab, button):
    with tab.expect_download() as download: tab.click(button)
    return Path(download.value.path()).read_bytes()

TEXTS = "nodes => nodes.map(node => node.textContent)"

def texts(tab, selector): return tab.eval_on_selector_all(selector, TEXTS)

def names(tab): return texts(tab, "#list .name")

PLACES = "nodes => nodes.map(n => [n.getAttribute('aria-posinset'), n.querySelector('.name').textContent])"

def scrolled(tab):
    "Place to name of every card that appears while the page is scrolled."
    seen = {}
    for _ in range(60):
        now = tab.eval_on_selector_all("#list .card", PLACES)
        assert len({place for place, _ in now}) == len(now)
        seen |= dict(now)
        tab.mouse.wheel(0, 500)
        tab.wait_for_timeout(40)
    return seen

def scored(album):
    return [p for p in album.iterdir() if p.suffix != ".xmp" and not p.name.startswith("broken")]

def page_name(path):
    return path.name.encode("utf-8", "backslashreplace").decode()

def test_every_photograph_is_there_once(opened, album):
    expected = [page_name(path) for path in scored(album)]
    seen = scrolled(opened)
    assert sorted(seen.values()) == sorted(expected)
    assert len(expected) == EXTRA + len(NASTY) + 2
    assert set(seen) == {str(i) for i in range(1, len(expected) + 1)}

def test_the_head_of_the_page(opened):
    assert opened.locator(".histogram").count() == 6
    assert opened.inner_text("h1") == "<b>holiday</b>"
    assert "broken <b>.jpg" in opened.inner_text("#rejected")

def test_hostile_names_are_text(opened):
    opened.fill("#text", "onerror")
    assert names(opened) == [NASTY[0]]
    assert opened.locator("#list img[src^='data:image/jpeg']").count() == 1
    assert opened.locator("#list img").count() == 1
    assert opened.locator("img[src=x]").count() == 0
    assert opened.locator("script").count() == 2

def test_hostile_descriptions_are_text(opened):
    opened.fill("#text", "a birthday")
    assert len(paths(opened)) == len(names(opened)) == len(NASTY)
    assert opened.evaluate("[...document.querySelectorAll('a')].every(a => a.protocol === 'file:')")
    assert opened.locator("script").count() == 2

@pytest.mark.parametrize("column", COLUMNS)
def test_sort(opened, column):
    opened.uncheck("#together")
    ask(opened, sort=column)
    known, at = photos(opened), COLUMNS.index(column)
    rising = [known[path]["scores"][at] for path in paths(opened)]
    assert rising == sorted(rising)
    assert rising[0] < rising[-1]
    first = opened.inner_text("#list .card >> nth=0 >> .score")
    assert abs(float(first) - rising[0]) <= .00501
    opened.click("#direction")
    assert [known[path]["scores"][at] for path in paths(opened)] == rising[::-1]

def test_sort_by_name_keeps_the_folders_order(opened):
    opened.uncheck("#together")
    found = [path for path in paths(opened) if path.endswith(".png")]
    assert found == sorted(found)

def test_filter_by_score(opened):
    ask(opened, column="sharpness")
    whole = [photo["scores"][1] for photo in photos(opened).values()]
    middle = sorted(whole)[len(whole)//2]
    opened.fill("#low", str(middle))
    assert len(paths(opened)) == sum(value >= middle for value in whole) < len(whole)
    opened.fill("#high", "0")
    assert paths(opened) == names(opened) == []
    assert opened.is_visible("#nothing")

def found_names(photo): return [name for name, _ in photo["findings"]]

def test_filter_by_finding(opened):
    known = photos(opened)
    present = {name for photo in known.values() for name in found_names(photo)}
    assert present
    for name in present:
        ask(opened, finding=name)
        assert set(paths(opened)) == {path for path, photo in known.items() if name in found_names(photo)}
    ask(opened, finding="none")
    assert set(paths(opened)) == {path for path, photo in known.items() if not photo["findings"]}

def test_findings_are_words_on_the_card_with_reasons_beside(opened):
    ask(opened, finding="any")
    expected = photos(opened)[paths(opened)[0]]["findings"]
    opened.click("#list .card >> nth=0")
    words = texts(opened, "#list .card:first-child .word")
    assert words[:len(expected)] == [name.replace("_", " ") for name, _ in expected]
    reasons = [line.split(": ", 1)[1] for line in opened.inner_text("#problems").splitlines()]
    assert reasons == [why for _, why in expected]

def test_a_group_stays_together_with_its_best_marked(opened):
    ask(opened, proposal="groups")
    twins = opened.locator(".group", has_text="twin a.jpg")
    cards = twins.locator(".card")
    assert cards.count() == 2
    assert twins.locator(".badge").all_inner_texts() == ["best", "cull?"]
    first, second = (cards.nth(i).bounding_box() for i in range(2))
    assert first["y"] == second["y"] or second["x"] < first["x"] # side by side, or on the next row

def test_the_best_of_a_group_comes_first(opened):
    ask(opened, proposal="groups")
    known = photos(opened)
    qualities = [known[path]["scores"][0] for path in paths(opened) if Path(path).name.startswith("twin")]
    assert qualities == sorted(qualities, reverse=True)
    cards = opened.locator(".group", has_text="twin a.jpg").locator(".card")
    for at, words in enumerate(("Best of 2", "2 of 2")):
        cards.nth(at).click()
        assert opened.inner_text("#why").startswith(words)

@pytest.fixture
def marked(opened):
    "A page with marks by keyboard: pick and 3 stars, reject, 5 stars; and its paths."
    opened.uncheck("#together")
    order = paths(opened)
    opened.click("#list .card >> nth=0")
    press(opened, "p", "3", "ArrowRight", "Shift+X", "Shift+Digit5", "ArrowLeft", "p", "u")
    return opened, order

def test_marks_by_keyboard_are_exported(marked):
    opened, order = marked
    rows = list(csv.DictReader(io.StringIO(downloaded(opened, "#csv").decode(), newline="")))
    assert tuple(rows[0]) == ("path", "stars", "flag", "proposal", "group", "place", "findings", *COLUMNS)
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in COLUMNS)
    rows = {row["path"]: row for row in rows}
    assert set(rows) == set(order)
    assert [rows[path]["flag"] for path in order[:4]] == ["pick", "reject", "", ""]
    assert (rows[order[0]]["stars"], rows[order[2]]["stars"]) == ("3", "5")

def test_marks_are_kept(marked):
    opened, order = marked
    ask(opened, flag="pick")
    assert paths(opened) == [order[0]]
    opened.reload()
    opened.uncheck("#together")
    assert opened.evaluate("[starsOf(photos[order[0]]), flagOf(photos[order[0]])]") == [3, "pick"]
    ask(opened, least="5")
    assert order[2] in paths(opened)
    go(opened, Path(order[2]).name)
    press(opened, "0")
    assert opened.evaluate("starsOf(photos[current])") == 0

def test_typing_a_filter_marks_nothing(opened):
    opened.click("#list .card >> nth=0")
    opened.click("#text")
    opened.keyboard.type("px5")
    assert opened.evaluate("marks.size") == 0
    assert opened.input_value("#text") == "px5"

FOCUSED = "Number(document.activeElement.dataset.index)"
BOX = "(({ top, bottom }) => [top, bottom])(document.activeElement.getBoundingClientRect())"
FILTERS_END = "document.getElementById('filters').getBoundingClientRect().bottom"

def test_arrows_move_on_the_grid_and_the_focus_stays_visible(opened):
    opened.uncheck("#together")
    opened.click("#list .card >> nth=0")
    across, last = opened.evaluate("grid().columns"), EXTRA + len(NASTY) + 1
    moves = [("ArrowRight", 1), ("ArrowDown", 1 + across), ("ArrowLeft", across), ("ArrowUp", 0),
             ("ArrowUp", 0), ("End", last)]
    for key, place in moves:
        press(opened, key)
        assert opened.evaluate(f"order.indexOf({FOCUSED})") == place
        assert opened.evaluate(f"current === {FOCUSED}")
        top, bottom = opened.evaluate(BOX)
        assert top >= opened.evaluate(FILTERS_END) - 1
        assert bottom <= 901
    assert opened.locator("#list [tabindex='0']").count() == 1
    assert opened.locator("#list [aria-selected='true']").count() == 1

DRAWN = """(() => {
  const c = document.querySelector('#list canvas');
  return [c.width, c.height, ...c.getContext('2d').getImageData(0, 0, 1, 1).data];
})()"""
FIRST_CELL = """(() => {
  const p = photos[order[0]], at = columns.indexOf('sharpness')*p.grid[0]*p.grid[1];
  return [p.grid[1], p.grid[0], atob(p.maps).charCodeAt(at)/255];
})()"""

def test_maps_lie_over_the_photographs(opened):
    ask(opened, map="sharpness")
    card = opened.locator("#list .card >> nth=0")
    image, canvas = (card.locator(tag).bounding_box() for tag in ("img", "canvas"))
    assert all(abs(image[side] - canvas[side]) < 2 for side in image)
    drawn, first = opened.evaluate(DRAWN), opened.evaluate(FIRST_CELL)
    assert drawn[:2] == first[:2]
    assert abs(drawn[2] - min(255, 510*(1 - first[2]))) <= 1
    ask(opened, map="")
    assert opened.locator("#list canvas").count() == 0

def test_the_links_open_the_files(opened, album):
    go(opened, NASTY[0])
    link = opened.get_attribute("#file", "href")
    path = opened.evaluate("href => decodeURIComponent(new URL(href, location.href).pathname)", link)
    assert path == str(album/NASTY[0])

def loaded(tab):
    "Wait for the viewer's images."
    tab.wait_for_function("view.panes.every(pane => pane.image.complete && pane.image.naturalWidth > 0)")

def test_a_photograph_is_viewed_whole_and_at_100_percent(opened):
    go(opened, "twin b.jpg")
    press(opened, "Enter")
    loaded(opened)
    pane = "view.panes[0]"
    found = opened.evaluate(f"[view.panes.length, {pane}.image.naturalWidth, {pane}.hidden]")
    assert found == [1, 240, False] # the file, not its thumbnail
    press(opened, "z")
    assert opened.evaluate(f"{pane}.stage.getBoundingClientRect().width*devicePixelRatio") == 240
    assert opened.get_attribute("#zoom", "aria-pressed") == "true"
    assert "100 %" in opened.inner_text("figcaption")
    press(opened, "x", "Escape")
    state = "[document.getElementById('viewer').open, flagOf(photos[current])]"
    assert opened.evaluate(state) == [False, "reject"]
    assert opened.evaluate("document.activeElement === cards[current]")

@pytest.fixture
def compared(opened):
    "The twins side by side; the page and their names, the best first."
    ask(opened, proposal="groups")
    best, other = (Path(path).name for path in paths(opened) if Path(path).name.startswith("twin"))
    go(opened, other)
    press(opened, "c")
    loaded(opened)
    return opened, [best, other]

def test_two_are_compared(compared):
    opened, twins = compared
    assert opened.evaluate("view.panes.map(pane => nameOf(photos[pane.index]))") == twins

SPOTS = "view.panes.map(({ scroll, stage }) => [stage.offsetWidth, scroll.scrollLeft, scroll.scrollTop])"

@pytest.mark.parametrize("place, spot", [(0, (700, 300)), (1, (150, 420))])
def test_two_are_scrolled_in_step(compared, place, spot):
    opened, _ = compared
    press(opened, *["+"]*11)
    opened.evaluate("([place, spot]) => view.panes[place].scroll.scrollTo(...spot)", [place, spot])
    opened.wait_for_timeout(200)
    left, right = opened.evaluate(SPOTS)
    assert left[0] == right[0] > 1300
    assert all(abs(a - b) <= 2 for a, b in zip(left, right))
    assert (left, right)[place][1:] == pytest.approx(spot, abs=1)

def zipped(tab):
    "Name to text of the exported sidecars."
    archive = zipfile.ZipFile(io.BytesIO(downloaded(tab, "#xmp")))
    assert archive.testzip() is None
    return {info.filename: archive.read(info).decode() for info in archive.infolist()}

def test_every_photograph_with_a_name_in_text_has_a_sidecar(opened, album):
    assert set(zipped(opened)) == {f"{p.name}.xmp" for p in scored(album) if p.name == page_name(p)}

def test_sidecars_are_those_that_cull_writes(opened):
    go(opened, "000.png")
    press(opened, "2", "x")
    found = zipped(opened)
    for path, photo in photos(opened).items():
        name = f"{Path(path).name}.xmp"
        if name not in found or name == "twin b.jpg.xmp": continue
        stars, keep = (2, False) if name == "000.png.xmp" else (photo["stars"], photo["keep"])
        row = Row(path, Score(path), tuple(Finding(*one) for one in photo["findings"]))
        assert found[name] == merged_sidecar("", Choice(row, keep=keep, stars=stars))

def test_an_existing_sidecar_keeps_its_fields(opened):
    twin = next(photo for path, photo in photos(opened).items() if path.endswith("twin b.jpg"))
    assert twin["stars"] == 4 # of the sidecar
    text = zipped(opened)["twin b.jpg.xmp"]
    assert 'history_end="3"' in text
    assert re.search(r"Rating[^>]*>4<", text)

def test_a_new_rating_replaces_that_of_an_existing_sidecar(opened):
    go(opened, "twin b.jpg")
    press(opened, "1")
    text = zipped(opened)["twin b.jpg.xmp"]
    assert 'history_end="3"' in text
    assert re.findall(r"xmp:Rating[^>]*>(\d)<", text) == ["1"]
    assert 'xmp:Rating="4"' not in text

def violations(tab):
    "What axe complains of: rule and elements."
    found = tab.evaluate("axe.run()")["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]

@pytest.mark.parametrize("width", [400, 900, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(chromium, report, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed")
    context = chromium.new_context(viewport=dict(width=width, height=900), color_scheme=scheme, offline=True)
    tab = context.new_page()
    tab.goto(report.as_uri())
    tab.evaluate(axe.AXE_FILE_PATH.read_text(encoding="utf-8"))
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert violations(tab) == []
    go(tab, "twin b.jpg")
    press(tab, "4", "p", "c")
    loaded(tab)
    assert violations(tab) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    context.close()

CONTRAST = """() => { // the worst contrast of text on its grounds (WCAG 2.2)
  const probe = document.body.appendChild(document.createElement("i"));
  const linear = v => v <= .04045 ? v/12.92 : ((v + .055)/1.055)**2.4;
  const light = name => {
    probe.style.color = `var(--${name})`;
    const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(value => linear(value/255));
    return .2126*parts[0] + .7152*parts[1] + .0722*parts[2];
  };
  const contrast = (a, b) => {
    const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
    return (high + .05)/(low + .05);
  };
  const onGrounds = text => ["paper", "tint"].map(ground => contrast(text, ground));
  const texts = ["ink", "quiet", "good", "bad", "star", "accent"];
  return Math.min(contrast("on-accent", "accent"), ...texts.flatMap(onGrounds));
}"""

@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_switch_sets_the_theme_and_text_has_contrast(opened, theme):
    ask(opened, theme=theme)
    ground = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.search(r"\d+", ground)[0]) > 127) == (theme == "light")
    assert opened.evaluate(CONTRAST) >= 4.5
    opened.reload()
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == ground
