"What the notebooks show was made by the code and the files of this tree."
import json, re, shutil, sys
from pathlib import Path
import nbformat, pytest
from conftest import NOTEBOOKS, ROOT

sys.path.insert(0, str(ROOT/"tools"))
import outputs

IMAGES = {"image/png", "image/jpeg", "image/svg+xml", "text/html", "text/markdown"}
NAMES = [path.stem for path in NOTEBOOKS]

@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_outputs_are_of_this_tree(path):
    assert not outputs.reason(path), "run: make outputs"

def shows(cell):
    "Does a cell's output hold a figure or a table?"
    return any(IMAGES & set(output.get("data", ())) for output in cell.get("outputs", ()))

def captions(notebook):
    "Cells in italics, with the cell before them."
    return [(before, cell) for before, cell in zip(notebook.cells, notebook.cells[1:])
            if cell.cell_type == "markdown" and re.fullmatch(r"\*[^*].*\*", cell.source, re.S)]

@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_every_caption_has_a_figure(path):
    notebook = nbformat.read(path, as_version=4)
    assert not [cell.source[:60] for before, cell in captions(notebook) if not shows(before)]

@pytest.fixture
def figures(tmp_path):
    "A copy of the notebook of figures."
    return Path(shutil.copy(ROOT/"nbs"/"07_figures.ipynb", tmp_path))

def test_one_changed_number_is_stale(figures):
    notebook = nbformat.read(figures, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cell = next(cell for cell in reversed(code) if re.search(r"\b\d", cell.source))
    cell.source = re.sub(r"\b\d", "7", cell.source, count=1) + "\n7"
    nbformat.write(notebook, figures)
    assert outputs.reason(figures) == "code changed"

def test_layout_and_comments_are_not(figures):
    notebook = nbformat.read(figures, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cell = next(cell for cell in code if cell.source.startswith("from"))
    cell.source += "\n# a comment"
    nbformat.write(notebook, figures)
    assert not outputs.reason(figures)

def test_a_measured_file_that_changed_is_named(figures):
    notebook = json.loads((ROOT/"nbs"/"07_figures.ipynb").read_text(encoding="utf-8"))
    name = next(name for name in notebook["metadata"]["outputs"]["files"] if name.endswith(".csv"))
    notebook["metadata"]["outputs"]["files"][name] = "0"*16
    figures.write_text(json.dumps(notebook), encoding="utf-8")
    assert outputs.reason(figures) == f"changed: {name}"
