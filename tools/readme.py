"README.md from nbs/index.ipynb: hidden cells and directives go, links start at the root of the checkout."
import posixpath, re
from pathlib import Path
import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
NOTICE = "<!-- Made from nbs/index.ipynb by `make readme`: edit the notebook. -->\n\n"
FENCE = re.compile(r"(```.*?```|`[^`\n]+`)", re.S)
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)\s]+)|(\bsrc=\")(?![a-z]+:|/)([^\"]+)")
NOISE = ("application/vnd.jupyter.widget-view+json", "text/html", "image/png", "image/svg+xml")

def from_root(text, folder="nbs"):
    "Relative links and image sources, rewritten as seen from the root; code is left alone."
    here = lambda m: (m[1] or m[3]) + posixpath.normpath(posixpath.join(folder, m[2] or m[4]))
    return "".join(part if i % 2 else LINK.sub(here, part) for i, part in enumerate(FENCE.split(text)))

def hidden(cell): return re.match(r"#\|\s*hide\b", cell.source) is not None

def quiet(cell):
    "Keep what a reader wants of a code cell: its source without directives, its result as text."
    cell.source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M).strip()
    cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    for output in cell.outputs:
        for kind in NOISE: output.get("data", {}).pop(kind, None)

def readme(notebook):
    "Markdown text of the notebook at this path."
    nb = nbformat.read(notebook, as_version=4)
    nb.cells = [cell for cell in nb.cells if not hidden(cell)]
    nb.metadata["language_info"] = dict(name="python")
    for cell in nb.cells:
        if cell.cell_type == "code": quiet(cell)
        else: cell.source = from_root(cell.source)
    nb.cells = [cell for cell in nb.cells if cell.source]
    body, _ = MarkdownExporter().from_notebook_node(nb)
    body = re.sub(r"[ \t]+$", "", body, flags=re.M)
    return NOTICE + re.sub(r"\n{3,}", "\n\n", body).strip() + "\n"

if __name__ == "__main__":
    (ROOT/"README.md").write_text(readme(ROOT/"nbs"/"index.ipynb"), encoding="utf-8")
