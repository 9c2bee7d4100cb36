"The documentation site from notebooks, docments and Markdown pages: python tools/docs.py [FOLDER]. No page needs a script or the network."
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
PAGES = {"CONTRIBUTING.md": "contributing", "SECURITY.md": "security", "data_scripts/README.md": "data_scripts", "attiqa/weights/attiqa-mini.md": "card_attiqa-mini", "attiqa/weights/attiqa-mini-unaware.md": "card_attiqa-mini-unaware",
         "attiqa/weights/attiqa-mini-clip/README.md": "card_attiqa-mini-clip"} | {f"howto/{p.name}": f"howto_{p.stem}" for p in sorted((ROOT/"howto").glob("*.md"))}
DROPPED = re.compile(r"#\|\s*(hide|default_exp)\b")
NAMED = re.compile(r"^# %% \.\./nbs/(\S+)\.ipynb #(\w+)$", re.M) # what nbdev writes above an exported cell

# Where a link goes

class Site:
    "Target folder, the page of every file, the address of every public name."
    def __init__(self, target):
        self.target = target
        self.pages = {f"nbs/{p.name}": f"{p.stem}.html" for p in NBS.glob("*.ipynb")} | {path: f"{page}.html" for path, page in PAGES.items()}
        self.modules = {m[1]: p.stem for p in sorted(NBS.glob("*.ipynb")) if (m := re.search(r"#\| default_exp (\w+)", p.read_text(encoding="utf-8")))}
        found = [(name, f"{module}.html#{anchor(module, name)}") for module in self.modules for name in public(module)]
        self.names = {name: address for name, address in found if sum(n == name for n, _ in found) == 1}

    def href(self, folder, link):
        "A link of a file in `folder`, as seen from the site: its page, or a copy of the file."
        if re.match(r"[a-z]+:|#", link): return link
        path, _, anchor = link.partition("#")
        path = posixpath.normpath(posixpath.join(folder, path))
        if path in self.pages: return self.pages[path] + (f"#{anchor}" if anchor else "")
        if not (ROOT/path).is_file(): sys.exit(f"{folder}: no page and no file for the link {link}")
        to = self.target/"files"/path
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT/path, to)
        return f"files/{path}"

@cache
def load(module):
    "A module; one that wants an extra that is not installed as far as it came."
    try: return importlib.import_module(f"attiqa.{module}")
    except AttiqaError: pass
    spec = importlib.util.find_spec(f"attiqa.{module}")
    sys.modules[spec.name] = found = importlib.util.module_from_spec(spec)
    with suppress(AttiqaError): spec.loader.exec_module(found)
    return found

def public(module): return load(module).__all__

def anchor(module, name): # as nbdev writes it; with capitals where two names differ by them alone
    return name.lower() if sum(n.lower() == name.lower() for n in public(module)) == 1 else name

# Markdown: links of the site, formulas as MathML, public names linked to their place

class Renderer(IPythonRenderer):
    def __init__(self, site, folder): super().__init__(escape=False); self.site, self.folder = site, folder
    def link(self, text, url, title=None): return super().link(text, self.site.href(self.folder, url), title)
    def image(self, text, url, title=None): return f'<img src="{self.site.href(self.folder, url)}" alt="{html.escape(text)}">'
    def codespan(self, text): return linked(self.site, text)
    def heading(self, text, level, **attrs): return f'<h{level} id="{slug(text)}">{text}</h{level}>\n'
    def table(self, text): return f'<div class="wide"><table>{text}</table></div>\n'
    def block_math(self, body): return '<div class="wide">' + convert(body.replace(r"\sum_", r"\sum\limits_"), display="block") + "</div>\n"
    def inline_math(self, body): return convert(body)
    multiline_math = block_math

def slug(text): return re.sub(r"\W+", "-", html.unescape(re.sub("<.*?>", "", text)).lower()).strip("-")

def linked(site, text): # text: code, not escaped
    name, code = re.sub(r"\(.*|^attiqa\.(\w+\.)?", "", text), f"<code>{html.escape(html.unescape(text))}</code>"
    return f'<a href="{site.names[name]}">{code}</a>' if name in site.names else code

def markdown(site, folder, text): return MarkdownWithMath(renderer=Renderer(site, folder)).render(text)

# Notebooks

KINDS = dict(svg="image/svg+xml", html="text/html", markdown="text/markdown", png="image/png", jpeg="image/jpeg", plain="text/plain") # the first that an output has is shown
HIGHLIGHT = Highlight2HTML(pygments_lexer="python")

def body_of(site, path):
    "The notebook as HTML: kept outputs, no directives, no cells that are for the machine."
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if not DROPPED.match(cell.source) and cell.source.strip()]
    return "".join(f'<div id="cell-id={cell.id}">{markdown(site, "nbs", cell.source) if cell.cell_type == "markdown" else code_of(site, cell)}</div>\n' for cell in cells)

def code_of(site, cell):
    source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M).strip("\n")
    return HIGHLIGHT(source) + "".join(f'<div class="output">{output_of(site, output)}</div>' for output in cell.outputs if output.get("name") != "stderr")

def output_of(site, output):
    if output.output_type == "stream": return f"<pre>{ansi2html(output.text)}</pre>"
    if output.output_type == "error": return f"<pre>{ansi2html(chr(10).join(output.traceback))}</pre>"
    kind, data = next((kind, output.data[mime]) for kind, mime in KINDS.items() if mime in output.data)
    if kind in ("png", "jpeg"): return f'<img src="data:image/{kind};base64,{data.strip()}" alt="{html.escape(output.data.get("text/plain", "figure"))}">'
    return dict(svg=str, html=lambda t: f'<div class="wide">{t}</div>', markdown=partial(markdown, site, "nbs"), plain=lambda t: f"<pre>{ansi2html(t)}</pre>")[kind](data)

# Modules

def constant(value):
    text = repr(value)
    return re.sub(r" at 0x[0-9a-f]+", "", text if len(text) < 300 else text[:300] + " …").replace(str(ROOT), "…")

def shown(default): return "" if default is inspect.Parameter.empty else getattr(default, "__name__", None) or constant(default)

def typed(annotation):
    if annotation in (inspect.Parameter.empty, None): return ""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", None) if isinstance(annotation, type) else str(annotation).replace("typing.", "").replace("collections.abc.", "")

def parameters(thing, drop=("self", "cls")):
    "Rows of a parameter table: name, type, default, what it is; the result comes last."
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [(stars.get(p.get("kind"), "") + name if name != "return" else "returns", typed(p["anno"]), shown(p["default"]), p["docment"] or "")
            for name, p in docments(thing, full=True).items() if name not in drop and not (name == "return" and not typed(p["anno"]) and not p["docment"])]

def signature(name, rows): # over several lines where it is long
    words = [f"{n}{f': {t}' if t else ''}{f' = {d}' if d else ''}" for n, t, d, _ in rows if n != "returns"]
    back = next((f" → {t}" for n, t, _, _ in rows if n == "returns" and t), "")
    line = f"{name}({', '.join(words)}){back}"
    return line if len(line) < 90 else f"{name}(\n    " + ",\n    ".join(words) + f"\n){back}"

def entry(module, name, cells):
    "What a page says of one public name."
    thing = getattr(load(module), name)
    found = dict(name=name, anchor=anchor(module, name), cell=cells.get(name.split(".")[0]), doc="", rows=[], methods=[])
    if not (inspect.isclass(thing) or inspect.isroutine(thing)): return found | dict(kind="value", signature=f"{name} = {constant(thing)}")
    rows = parameters(thing)
    doc = inspect.getdoc(thing) if "__doc__" in vars(thing) or inspect.isroutine(thing) else ""
    if (doc or "").startswith(f"{name}("): doc = "" # a data class's own words are its signature
    methods = [member(found["anchor"], name, key, value) for key, value in vars(thing).items() if inspect.isroutine(value) and not key.startswith("_")] if inspect.isclass(thing) else []
    return found | dict(kind="class" if inspect.isclass(thing) else "function", signature=signature(name, rows), rows=rows, doc=doc or "", methods=methods)

def member(place, owner, key, value):
    rows = parameters(inspect.unwrap(getattr(value, "__func__", value)))
    return dict(name=key, anchor=f"{place}.{key.lower()}", cell="", methods=[], signature=signature(f"{owner}.{key}", rows), rows=rows, doc=inspect.getdoc(value) or "")

def cells_of(module):
    "Public name to notebook and cell id."
    text, names = (ROOT/"attiqa"/f"{module}.py").read_text(encoding="utf-8"), {}
    places = [*NAMED.finditer(text)]
    for here, after in zip(places, [*places[1:], None]):
        part = text[here.end():after.start() if after else None]
        for m in re.finditer(r"^(?:(?:class|def) (\w+)|(\w+)(?:, *\w+)* *[:=])", part, re.M): names.setdefault(m[1] or m[2], f"{here[1]}.html#cell-id={here[2]}")
    return names

# All of it

def groups_of(site):
    "Table of the notebooks in index: heading to pages (number, title, page, module)."
    index, groups = nbformat.read(NBS/"index.ipynb", as_version=4), {}
    table = next(cell.source for cell in index.cells if cell.source.count(".ipynb)") > 20)
    of = {stem: module for module, stem in site.modules.items()}
    group = ""
    for row in re.findall(r"^\| *(.*?) *\| *\[(\w+)\]\(\w+\.ipynb\)", table, re.M):
        group = row[0] or group
        groups.setdefault(group, []).append(dict(number=row[1].split("_")[0], title=title_of(NBS/f"{row[1]}.ipynb"), page=f"{row[1]}.html", module=of.get(row[1])))
    return groups

def title_of(path): return next(re.match("# (.*)", cell.source)[1] for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")

def build(target, notebooks=None): # notebooks: stems; None for all
    "Write the site; its pages."
    site = Site(Path(target))
    env = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True)
    env.filters |= dict(md=lambda text: markdown(site, "nbs", text), line=lambda text: re.sub(r"^<p>|</p>\n?$", "", markdown(site, "nbs", text)))
    groups = groups_of(site)
    write = partial(save, site, env.get_template("docs.html"), groups)
    for path in sorted(NBS.glob("*.ipynb")): write(f"{path.stem}.html", title_of(path), body=body_of(site, path), module=next((m for m, stem in site.modules.items() if stem == path.stem), None))
    for path, page in PAGES.items():
        text = re.sub(r"\A---\n.*?\n---\n", "", (ROOT/path).read_text(encoding="utf-8"), flags=re.S) # a card's YAML
        write(f"{page}.html", re.search("^# (.*)", text, re.M)[1], body=markdown(site, posixpath.dirname(path), text))
    for module, stem in site.modules.items():
        cells = cells_of(module)
        write(f"{module}.html", f"attiqa.{module}", about=load(module).__doc__, notebook=stem, entries=[entry(module, name, cells) for name in public(module)])
    (site.target/".nojekyll").touch()
    return sorted(site.target.glob("*.html"))

def save(site, template, groups, page, title, **values):
    rows = [row for group in groups.values() for row in group]
    at = next((i for i, row in enumerate(rows) if row["page"] == page), None)
    near = dict(before=rows[at - 1] if at else None, after=rows[at + 1] if at is not None and at + 1 < len(rows) else None)
    blank = dict(body="", module=None, about="", notebook="", entries=[])
    site.target.mkdir(parents=True, exist_ok=True)
    (site.target/page).write_text(template.render(page=page, title=title, groups=groups, extra=EXTRA, **near, **blank | values), encoding="utf-8")

EXTRA = [("contributing.html", "Work on it"), *((f"{page}.html", f"Add: {page.removeprefix('howto_').replace('_', ' ')}") for page in PAGES.values() if page.startswith("howto_")), ("data_scripts.html", "Datasets"), ("card_attiqa-mini.html", "Card: attiqa-mini"), ("card_attiqa-mini-unaware.html", "Card: attiqa-mini-unaware"), ("card_attiqa-mini-clip.html", "Card: attiqa-mini-clip")]

if __name__ == "__main__": print(f"{len(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT/'_docs'))} pages")
