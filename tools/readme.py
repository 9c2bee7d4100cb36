"""README.md from nbs/index.ipynb, the map of the library in CONTRIBUTING.md, and CLAIMS.md.

Hidden cells and directives go; links start at the root of the checkout.
"""
import ast, posixpath, re
from pathlib import Path
import nbformat
from nbconvert import MarkdownExporter
from attiqa.claims import claims_markdown

ROOT = Path(__file__).resolve().parent.parent
NOTICE = "<!-- Made from nbs/index.ipynb by `make readme`: edit the notebook. -->\n\n"
BEGIN, END = "<!-- map of nbs/lib, made by `make readme` -->", "<!-- end of the map -->"
FENCE = re.compile(r"(```.*?```|`[^`\n]+`)", re.S)
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)\s]+)|(\bsrc=\")(?![a-z]+:|/)([^\"]+)")
NOISE = ("application/vnd.jupyter.widget-view+json", "text/html", "image/png", "image/svg+xml")

def from_root(text, folder="nbs"):
    "Relative links and image sources, rewritten as seen from the root; code is left alone."
    here = lambda m: (m[1] or m[3]) + posixpath.normpath(posixpath.join(folder, m[2] or m[4]))
    return "".join(part if i % 2 else LINK.sub(here, part) for i, part in enumerate(FENCE.split(text)))

def hidden(cell):
    return re.match(r"#\|\s*hide\b", cell.source) is not None

def alone(cell):
    "A cell marked `echo: false` as Markdown: its output without its code."
    if not re.match(r"#\|\s*echo: false", cell.source): return cell
    shown = [output.get("data", {}).get("text/markdown", "") for output in cell.outputs]
    return nbformat.v4.new_markdown_cell("".join(shown))

def quiet(cell):
    "Keep what a reader wants of a code cell: its source without directives, its result as text."
    cell.source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M).strip()
    cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    for output in cell.outputs:
        for kind in NOISE:
            output.get("data", {}).pop(kind, None)

def readme(notebook):
    "Markdown text of the notebook at this path."
    nb = nbformat.read(notebook, as_version=4)
    nb.cells = [alone(cell) for cell in nb.cells if not hidden(cell)]
    nb.metadata["language_info"] = dict(name="python")
    for cell in nb.cells:
        if cell.cell_type == "code":
            quiet(cell)
        else:
            cell.source = from_root(cell.source)
    nb.cells = [cell for cell in nb.cells if cell.source]
    body, _ = MarkdownExporter().from_notebook_node(nb)
    body = re.sub(r"[ \t]+$", "", body, flags=re.M)
    return NOTICE + re.sub(r"\n{3,}", "\n\n", body).strip() + "\n"

def purpose(cells):
    "The one line under a notebook's title."
    return next(match[1] for cell in cells if (match := re.search(r"^> (.+)", cell.source, re.M)))

def builds_on(cells):
    "Modules of the package that a notebook's exported cells import."
    code = "\n".join(cell.source for cell in cells if re.match(r"#\|\s*export", cell.source))
    found = (node.module for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom))
    return sorted({name.split(".")[1] for name in found if (name or "").startswith("attiqa.")})

def room(path):
    "A row of the map: the notebook, what it is for, what it imports."
    cells = nbformat.read(path, as_version=4).cells
    return f"| [{path.stem}](nbs/lib/{path.name}) | {purpose(cells)} | {', '.join(builds_on(cells))} |"

def with_map(text):
    "A page with the map of the library between its two marks."
    rooms = [room(path) for path in sorted((ROOT/"nbs"/"lib").glob("*.ipynb"))]
    rows = "\n".join(["| notebook | purpose | imports |", "|---|---|---|", *rooms])
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{rows}\n{END}{rest.partition(END)[2]}"

if __name__ == "__main__":
    (ROOT/"README.md").write_text(readme(ROOT/"nbs"/"index.ipynb"), encoding="utf-8")
    contributing = ROOT/"CONTRIBUTING.md"
    contributing.write_text(with_map(contributing.read_text(encoding="utf-8")), encoding="utf-8")
    (ROOT/"CLAIMS.md").write_text(claims_markdown(), encoding="utf-8")
