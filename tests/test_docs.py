"The documentation site: every notebook, every public name, every link, and nothing that must be fetched."
import importlib, re, subprocess, sys
from html.parser import HTMLParser
from urllib.parse import unquote
import nbformat, pytest
from attiqa._modidx import d
from conftest import NOTEBOOKS, ROOT
from test_notebooks import MODULES

class Page(HTMLParser):
    "Ids and addresses of a page."
    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.open, self.wrong = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if "id" in given: self.ids.append(given["id"])
        self.links += [(tag, given[name]) for name in ("href", "src") if given.get(name)]
        if tag in ("table", "pre", "div", "section", "math"): self.open.append(tag)
        if tag in ("script", "link", "iframe"): self.wrong.append(tag)
    def handle_endtag(self, tag):
        if tag in ("table", "pre", "div", "section", "math") and (not self.open or self.open.pop() != tag): self.wrong.append(f"</{tag}>")

@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-W", "ignore", str(ROOT/"tools"/"docs.py"), str(target)], capture_output=True, text=True, cwd=target)
    assert not done.returncode, done.stderr[-2000:]
    return target, {path.name: Page(path) for path in target.glob("*.html")}

def test_every_notebook_and_module_has_a_page(site):
    assert {f"{p.stem}.html" for p in (*NOTEBOOKS, *MODULES)} <= set(site[1])

def test_the_contents_lead_to_every_page(site):
    reached = {link.partition("#")[0] for page in site[1].values() for _, link in page.links}
    assert set(site[1]) <= reached

def test_every_link_resolves(site):
    target, pages = site
    def stands(name, link):
        path, _, anchor = link.partition("#")
        path = unquote(path) or name
        return (target/path).is_file() and (not anchor or anchor in pages[path].ids)
    broken = [(name, link) for name, page in pages.items() for _, link in page.links if not re.match("https?:|mailto:|data:image/", link) and not stands(name, link)]
    assert not broken

def test_nothing_is_fetched(site):
    assert not [(name, link[:80]) for name, page in site[1].items() for tag, link in page.links if tag != "a" and re.match("//|(?!data:image/)[a-z]+:", link)]

def test_pages_are_whole(site):
    for name, page in site[1].items():
        assert not page.wrong and not page.open, name
        assert len(set(page.ids)) == len(page.ids), name

def test_formulas_are_drawn_without_a_script(site):
    text = "".join(path.read_text(encoding="utf-8") for path in site[0].glob("*.html"))
    assert text.count("<math") > 20
    assert not re.search(r"\\(?:frac|sum|max|sigma)\b", re.sub(r"<(pre|code)\b.*?</\1>", "", text, flags=re.S))

def test_public_names_stand_where_nbdev_looks_for_them(site):
    pages = site[1]
    for module in (path.stem for path in MODULES):
        if module == "plugin": continue # cannot be imported without pyiqa
        names = importlib.import_module(f"attiqa.{module}").__all__
        assert {name.lower() for name in names} <= {i.lower() for i in pages[f"{module}.html"].ids}
        for name in names:
            if (known := d["syms"][f"attiqa.{module}"].get(f"attiqa.{module}.{name}")): assert known[0].partition("#")[2] in pages[known[0].partition("#")[0]].ids

def test_parameters_say_what_they_are(site):
    text = (site[0]/"core.html").read_text(encoding="utf-8")
    assert re.search(r"<td>path</td><td>str \| Path</td><td></td><td>the final place; its folder is made</td>", text)
    assert re.search(r"<td>returns</td><td>int</td><td></td><td>in \[0, 2\*\*63\)", text)

def test_the_picture_of_the_method_is_what_its_cells_draw(tmp_path, monkeypatch):
    cells = [cell.source for cell in nbformat.read(ROOT/"nbs"/"index.ipynb", as_version=4).cells if cell.source.startswith("#| hide") and ("def " in cell.source or "drawn" in cell.source)]
    assert len(cells) == 3
    monkeypatch.chdir(tmp_path)
    exec("\n".join(cells), {})
    assert (tmp_path/"method.svg").read_text(encoding="utf-8") == (ROOT/"nbs"/"method.svg").read_text(encoding="utf-8")
