"""The documentation site from notebooks, docments and Markdown pages: python tools/docs.py [FOLDER].

No page needs a script or the network.
"""
import html, importlib.util, inspect, posixpath, re, shutil, sys
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
import nbformat
from fastcore.docments import docments
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from latex2mathml.converter import convert
from nbconvert.filters import Highlight2HTML, ansi2html
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from attiqa.core import AttiqaError

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/"nbs"
NOTEBOOKS = sorted(NBS.rglob("*.ipynb"))
HOWTO = {f"howto/{path.name}": f"howto_{path.stem}" for path in sorted((ROOT/"howto").glob("*.md"))}
PAGES = { # Markdown file to the stem of its page
    "CONTRIBUTING.md": "contributing",
    "SECURITY.md": "security",
    "data_scripts/README.md": "data_scripts",
    "attiqa/weights/attiqa-mini.md": "card_attiqa-mini",
    "attiqa/weights/attiqa-mini-unaware.md": "card_attiqa-mini-unaware",
    "attiqa/weights/attiqa-mini-clip/README.md": "card_attiqa-mini-clip",
} | HOWTO
SHIPPED_MODELS = ("attiqa-mini", "attiqa-mini-unaware", "attiqa-mini-clip")
EXTRA = [ # further rows of the contents: address, title
    ("contributing.html", "Work on it"),
    *((f"{page}.html", f"Add: {page.removeprefix('howto_').replace('_', ' ')}") for page in HOWTO.values()),
    ("data_scripts.html", "Datasets"),
    *((f"card_{name}.html", f"Card: {name}") for name in SHIPPED_MODELS),
]
FLOORS = {"The paper": NBS, "The library": NBS/"lib"}

def read_text(path):
    return path.read_text(encoding="utf-8")

def read_cells(path):
    return nbformat.read(path, as_version=4).cells

# ---- the modules

@cache
def load(module):
    "A module; one that needs an extra which is not installed is loaded as far as it goes."
    try:
        return importlib.import_module(f"attiqa.{module}")
    except AttiqaError:
        pass
    spec = importlib.util.find_spec(f"attiqa.{module}")
    sys.modules[spec.name] = found = importlib.util.module_from_spec(spec)
    with suppress(AttiqaError): spec.loader.exec_module(found)
    return found

def public(module):
    return load(module).__all__

def anchor(module, name):
    "Lower case, as nbdev writes it; the name itself where two names differ by their capitals alone."
    alike = sum(other.lower() == name.lower() for other in public(module))
    return name.lower() if alike == 1 else name

# ---- where a link goes

def exported_modules():
    "Module to the stem of the notebook that exports it."
    found = {path.stem: re.search(r"#\| default_exp (\w+)", read_text(path)) for path in NOTEBOOKS}
    return {match[1]: stem for stem, match in found.items() if match}

def name_addresses(modules):
    "Public name to its address; names that several modules have are left out."
    found = [(name, f"{module}.html#{anchor(module, name)}") for module in modules for name in public(module)]
    names = [name for name, _ in found]
    return {name: address for name, address in found if names.count(name) == 1}

class Site:
    "Target folder, the page of every file, the address of every public name."
    def __init__(self, target):
        self.target = target
        self.pages = {path.relative_to(ROOT).as_posix(): f"{path.stem}.html" for path in NOTEBOOKS}
        self.pages |= {path: f"{page}.html" for path, page in PAGES.items()}
        self.modules = exported_modules()
        self.exported = {stem: module for module, stem in self.modules.items()}
        self.names = name_addresses(self.modules)

    def href(self, folder, link):
        "A link of a file in `folder`, as seen from the site: its page, or a copy of the file."
        if re.match(r"[a-z]+:|#", link): return link
        path, _, place = link.partition("#")
        path = posixpath.normpath(posixpath.join(folder, path))
        if path in self.pages: return self.pages[path] + (f"#{place}" if place else "")
        if not (ROOT/path).is_file(): sys.exit(f"{folder}: no page and no file for the link {link}")
        return self.copied(path)

    def copied(self, path):
        "Address of a file's copy in the site."
        copy = self.target/"files"/path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT/path, copy)
        return f"files/{path}"

# ---- Markdown: links of the site, formulas as MathML, public names linked to their place

def slug(text):
    words = html.unescape(re.sub("<.*?>", "", text)).lower()
    return re.sub(r"\W+", "-", words).strip("-")

def linked(site, text): # text: code, not escaped
    name = re.sub(r"\(.*|^attiqa\.(\w+\.)?", "", text)
    code = f"<code>{html.escape(html.unescape(text))}</code>"
    return f'<a href="{site.names[name]}">{code}</a>' if name in site.names else code

def wide(content):
    "Content that scrolls sideways where the screen is narrow."
    return f'<div class="wide">{content}</div>'

class Renderer(IPythonRenderer):
    def __init__(self, site, folder):
        super().__init__(escape=False)
        self.site, self.folder = site, folder

    def link(self, text, url, title=None):
        return super().link(text, self.site.href(self.folder, url), title)

    def image(self, text, url, title=None):
        return f'<img src="{self.site.href(self.folder, url)}" alt="{html.escape(text)}">'

    def codespan(self, text):
        return linked(self.site, text)

    def heading(self, text, level, **attrs):
        return f'<h{level} id="{slug(text)}">{text}</h{level}>\n'

    def table(self, text):
        return wide(f"<table>{text}</table>") + "\n"

    def block_math(self, body):
        return wide(convert(body.replace(r"\sum_", r"\sum\limits_"), display="block")) + "\n"

    def inline_math(self, body):
        return convert(body)

    multiline_math = block_math

def markdown(site, folder, text):
    return MarkdownWithMath(renderer=Renderer(site, folder)).render(text)

def markdown_line(site, folder, text):
    "Markdown of one line, without the paragraph around it."
    return re.sub(r"^<p>|</p>\n?$", "", markdown(site, folder, text))

# ---- notebooks

MIMES = dict(svg="image/svg+xml", html="text/html", markdown="text/markdown", png="image/png",
             jpeg="image/jpeg", plain="text/plain") # an output is shown as the first of these that it has
HIGHLIGHT = Highlight2HTML(pygments_lexer="python")
DROPPED = re.compile(r"#\|\s*(hide|default_exp)\b")

def title_of(path):
    first = next(cell.source for cell in read_cells(path) if cell.cell_type == "markdown")
    return re.match("# (.*)", first)[1]

def terminal_text(text):
    return f"<pre>{ansi2html(text)}</pre>"

def picture(kind, data, alt):
    return f'<img src="data:image/{kind};base64,{data.strip()}" alt="{html.escape(alt)}">'

def rich_output(site, bundle): # bundle: MIME type to data
    kind, data = next((kind, bundle[mime]) for kind, mime in MIMES.items() if mime in bundle)
    if kind in ("png", "jpeg"): return picture(kind, data, bundle.get("text/plain", "figure"))
    shown = dict(svg=str, html=wide, markdown=partial(markdown, site, "nbs"), plain=terminal_text)
    return shown[kind](data)

def output_of(site, output):
    if output.output_type == "stream": return terminal_text(output.text)
    if output.output_type == "error": return terminal_text("\n".join(output.traceback))
    return rich_output(site, output.data)

def code_of(site, cell):
    "The code without directives, and its outputs without warnings."
    source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M).strip("\n")
    outputs = [output_of(site, output) for output in cell.outputs if output.get("name") != "stderr"]
    return HIGHLIGHT(source) + "".join(f'<div class="output">{output}</div>' for output in outputs)

def cell_of(site, folder, cell):
    body = markdown(site, folder, cell.source) if cell.cell_type == "markdown" else code_of(site, cell)
    return f'<div id="cell-id={cell.id}">{body}</div>\n'

def body_of(site, path):
    "The notebook as HTML: kept outputs, no directives, no cells that are for the machine."
    folder = path.parent.relative_to(ROOT).as_posix()
    shown = [cell for cell in read_cells(path) if cell.source.strip() and not DROPPED.match(cell.source)]
    return "".join(cell_of(site, folder, cell) for cell in shown)

# ---- parameters and signatures

EMPTY = inspect.Parameter.empty
STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}

def constant(value):
    "A value's text: at most 300 characters, without addresses in memory and places on this disk."
    text = repr(value)
    short = text if len(text) < 300 else text[:300] + " …"
    return re.sub(r" at 0x[0-9a-f]+", "", short).replace(str(ROOT), "…")

def default_text(default):
    if default is EMPTY: return ""
    return getattr(default, "__name__", None) or constant(default)

def type_text(annotation):
    if annotation in (EMPTY, None): return ""
    if isinstance(annotation, str): return annotation
    if isinstance(annotation, type): return getattr(annotation, "__name__", None)
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")

def parameter_row(name, found): # found: an entry of docments
    shown = "returns" if name == "return" else STARS.get(found.get("kind"), "") + name
    return shown, type_text(found["anno"]), default_text(found["default"]), found["docment"] or ""

def parameter_rows(thing):
    "Rows of a parameter table: name, type, default, what it is; the result comes last, if it is described."
    rows = [parameter_row(name, found) for name, found in docments(thing, full=True).items()
            if name not in ("self", "cls")]
    return [row for row in rows if row[0] != "returns" or row[1] or row[3]]

def parameter_text(name, kind, default):
    return name + (f": {kind}" if kind else "") + (f" = {default}" if default else "")

def signature(name, rows):
    "A signature, over several lines if it is long."
    words = [parameter_text(*row[:3]) for row in rows if row[0] != "returns"]
    result = next((f" → {row[1]}" for row in rows if row[0] == "returns" and row[1]), "")
    line = f"{name}({', '.join(words)}){result}"
    return line if len(line) < 90 else f"{name}(\n    " + ",\n    ".join(words) + f"\n){result}"

# ---- pages of modules

NBDEV_MARK = re.compile(r"^# %% \.\./nbs/(?:lib/)?(\S+)\.ipynb #(\w+)$", re.M) # above each exported cell
DEFINED = re.compile(r"^(?:(?:class|def) (\w+)|(\w+)(?:, *\w+)* *[:=])", re.M)

def source_cells(module):
    "Public name to the address of the cell that defines it."
    text = read_text(ROOT/"attiqa"/f"{module}.py")
    marks, names = [*NBDEV_MARK.finditer(text)], {}
    for mark, after in zip(marks, [*marks[1:], None]):
        part = text[mark.end():after.start() if after else None]
        for found in DEFINED.finditer(part):
            names.setdefault(found[1] or found[2], f"{mark[1]}.html#cell-id={mark[2]}")
    return names

def method_entry(place, owner, name, method):
    rows = parameter_rows(inspect.unwrap(getattr(method, "__func__", method)))
    return dict(name=name, anchor=f"{place}.{name.lower()}", cell="", methods=[], rows=rows,
                signature=signature(f"{owner}.{name}", rows), doc=inspect.getdoc(method) or "")

def method_entries(place, thing):
    "Entries of a class's own public methods."
    if not inspect.isclass(thing): return []
    own = {name: value for name, value in vars(thing).items()
           if inspect.isroutine(value) and not name.startswith("_")}
    return [method_entry(place, thing.__name__, name, value) for name, value in own.items()]

def own_doc(name, thing):
    "The docstring; '' where it is inherited, or is the signature that a data class is given."
    own = "__doc__" in vars(thing) or inspect.isroutine(thing)
    doc = (inspect.getdoc(thing) if own else "") or ""
    return "" if doc.startswith(f"{name}(") else doc

def entry(module, name, cells): # cells: of `source_cells`
    "What a page says of one public name."
    thing, place = getattr(load(module), name), anchor(module, name)
    found = dict(name=name, anchor=place, cell=cells.get(name.split(".")[0]), doc="", rows=[], methods=[])
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return found | dict(kind="value", signature=f"{name} = {constant(thing)}")
    rows = parameter_rows(thing)
    return found | dict(kind="class" if inspect.isclass(thing) else "function", rows=rows,
                        signature=signature(name, rows), doc=own_doc(name, thing),
                        methods=method_entries(place, thing))

# ---- the whole site

def contents_row(site, path):
    return dict(number=path.stem.split("_")[0], title=title_of(path), page=f"{path.stem}.html",
                module=site.exported.get(path.stem))

def contents(site):
    "The numbered notebooks: heading to pages (number, title, page, module)."
    return {name: [contents_row(site, path) for path in sorted(floor.glob("[0-9]*.ipynb"))]
            for name, floor in FLOORS.items()}

def neighbours(groups, page):
    "The pages before and after a page, in the order of the contents."
    rows = [row for group in groups.values() for row in group]
    at = next((i for i, row in enumerate(rows) if row["page"] == page), None)
    if at is None: return dict(before=None, after=None)
    return dict(before=rows[at - 1] if at else None, after=rows[at + 1] if at + 1 < len(rows) else None)

def save_page(site, template, groups, page, title, **values):
    blank = dict(body="", module=None, about="", notebook="", entries=[])
    text = template.render(page=page, title=title, groups=groups, extra=EXTRA,
                           **neighbours(groups, page), **blank | values)
    site.target.mkdir(parents=True, exist_ok=True)
    (site.target/page).write_text(text, encoding="utf-8")

def page_template(site):
    env = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined,
                      trim_blocks=True, lstrip_blocks=True, autoescape=True)
    env.filters |= dict(md=partial(markdown, site, "nbs"), line=partial(markdown_line, site, "nbs"))
    return env.get_template("docs.html")

def write_notebook_pages(site, write):
    for path in NOTEBOOKS:
        module = site.exported.get(path.stem)
        write(f"{path.stem}.html", title_of(path), body=body_of(site, path), module=module)

def write_markdown_pages(site, write):
    for path, page in PAGES.items():
        text = re.sub(r"\A---\n.*?\n---\n", "", read_text(ROOT/path), flags=re.S) # a card's YAML
        title = re.search("^# (.*)", text, re.M)[1]
        write(f"{page}.html", title, body=markdown(site, posixpath.dirname(path), text))

def write_module_pages(site, write):
    for module, stem in site.modules.items():
        cells = source_cells(module)
        entries = [entry(module, name, cells) for name in public(module)]
        write(f"{module}.html", f"attiqa.{module}", about=load(module).__doc__, notebook=stem,
              entries=entries)
        if (NBS/"lib"/f"{stem}.ipynb").is_file(): forward(site.target/"lib"/f"{module}.html")

def forward(path):
    "A page where nbdev looks for a module of nbs/lib, which leads to the module's page."
    path.parent.mkdir(exist_ok=True)
    script = f'<script>location.replace("../{path.name}" + location.hash)</script>'
    link = f'<a href="../{path.name}">attiqa.{path.stem}</a>'
    path.write_text(f"<!doctype html><title>{path.stem}</title>{script}{link}", encoding="utf-8")

def build(target):
    "Write the site; its pages."
    site = Site(Path(target))
    write = partial(save_page, site, page_template(site), contents(site))
    for write_pages in (write_notebook_pages, write_markdown_pages, write_module_pages):
        write_pages(site, write)
    (site.target/".nojekyll").touch()
    return sorted(site.target.glob("*.html"))

if __name__ == "__main__":
    pages = build(sys.argv[1] if len(sys.argv) > 1 else ROOT/"_docs")
    print(f"{len(pages)} pages")
