"The documentation site: every notebook, every public name, every link, and nothing that must be fetched."
import importlib, re, subprocess, sys
from html.parser import HTMLParser
from itertools import dropwhile, takewhile
from urllib.parse import unquote
import nbformat, pytest
from attiqa._modidx import d
from conftest import NOTEBOOKS, ROOT
from test_notebooks import MODULES

NESTED = ("table", "pre", "div", "section", "math") # each of these must be closed
FETCHED = ("script", "link", "iframe") # none of these may be there

class Page(HTMLParser):
    "Ids and addresses of a page; what it leaves open, and tags that are wrong."
    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.open, self.wrong = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if "id" in given: self.ids.append(given["id"])
        self.links += [(tag, given[name]) for name in ("href", "src") if given.get(name)]
        if tag in NESTED: self.open.append(tag)
        if tag in FETCHED: self.wrong.append(tag)

    def handle_endtag(self, tag):
        if tag not in NESTED: return
        if not self.open or self.open.pop() != tag: self.wrong.append(f"</{tag}>")

@pytest.fixture(scope="module")
def target(tmp_path_factory):
    "The folder of the site."
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "ignore", str(ROOT/"tools"/"docs.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert not done.returncode, done.stderr[-2000:]
    return folder

@pytest.fixture(scope="module")
def pages(target):
    return {path.name: Page(path) for path in target.glob("*.html")}

@pytest.fixture(scope="module")
def links(pages):
    "Every link: the page it is on, its tag, its address."
    return [(name, tag, link) for name, page in pages.items() for tag, link in page.links]

def test_every_notebook_and_module_has_a_page(pages):
    assert {f"{path.stem}.html" for path in (*NOTEBOOKS, *MODULES)} <= set(pages)

def test_the_contents_lead_to_every_page(pages, links):
    assert set(pages) <= {link.partition("#")[0] for _, _, link in links}

def test_every_link_resolves(target, pages, links):
    def resolves(name, link):
        path, _, anchor = link.partition("#")
        path = unquote(path) or name
        return (target/path).is_file() and (not anchor or anchor in pages[path].ids)
    inner = [(name, link) for name, _, link in links if not re.match("https?:|mailto:|data:image/", link)]
    assert not [(name, link) for name, link in inner if not resolves(name, link)]

def test_nothing_is_fetched(links):
    elsewhere = re.compile("//|(?!data:image/)[a-z]+:")
    assert not [(name, link[:80]) for name, tag, link in links if tag != "a" and elsewhere.match(link)]

def test_pages_are_whole(pages):
    for name, page in pages.items():
        assert not page.wrong and not page.open, name
        assert len(set(page.ids)) == len(page.ids), name

def test_formulas_are_drawn_without_a_script(target):
    text = "".join(path.read_text(encoding="utf-8") for path in target.glob("*.html"))
    assert text.count("<math") > 20
    prose = re.sub(r"<(pre|code)\b.*?</\1>", "", text, flags=re.S)
    assert not re.search(r"\\(?:frac|sum|max|sigma)\b", prose)

def public_names(module):
    return importlib.import_module(f"attiqa.{module}").__all__

IMPORTED = [path.stem for path in MODULES if path.stem != "plugin"] # plugin cannot be imported without pyiqa

@pytest.mark.parametrize("module", IMPORTED)
def test_every_public_name_is_on_its_module_s_page(pages, module):
    ids = {place.lower() for place in pages[f"{module}.html"].ids}
    assert {name.lower() for name in public_names(module)} <= ids

@pytest.mark.parametrize("module", IMPORTED)
def test_public_names_are_where_nbdev_looks_for_them(target, pages, module):
    index = d["syms"][f"attiqa.{module}"]
    known = [index.get(f"attiqa.{module}.{name}") for name in public_names(module)]
    for address, *_ in filter(None, known):
        page, _, place = address.partition("#")
        assert (target/page).is_file()
        assert place in pages[page.removeprefix("lib/")].ids

def test_parameters_are_described(target):
    text = (target/"core.html").read_text(encoding="utf-8")
    path = r"<td>path</td><td>str \| Path</td><td></td><td>the final place; its folder is created</td>"
    assert re.search(path, text)
    assert re.search(r"<td>returns</td><td>int</td><td></td><td>in \[0, 2\*\*63\)", text)

def cells_under(heading, cells):
    "The cells between a heading and the next one."
    is_heading = lambda cell: cell.source.startswith("## ") and cell.cell_type == "markdown"
    _, *after = dropwhile(lambda cell: cell.source.strip() != heading, cells)
    return list(takewhile(lambda cell: not is_heading(cell), after))

def test_the_picture_of_the_method_is_what_its_cells_draw(tmp_path, monkeypatch):
    cells = cells_under("## The method", nbformat.read(ROOT/"nbs"/"index.ipynb", as_version=4).cells)
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    assert code and all(source.startswith("#| hide") for source in code)
    monkeypatch.chdir(tmp_path)
    exec("\n".join(code), {})
    drawn, shipped = tmp_path/"method.svg", ROOT/"nbs"/"method.svg"
    assert drawn.read_text(encoding="utf-8") == shipped.read_text(encoding="utf-8")
