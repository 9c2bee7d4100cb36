"""Outputs of notebooks: which are stale, and run those again.

A notebook's metadata keeps, under `outputs`, the hash of its code when its outputs were made, and the hash of
every file of attiqa/data and attiqa/weights that was read meanwhile. Layout and comments of the code do not
count.
"""
import argparse, ast, io, os, sys, tempfile
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
import nbformat
from nbclient import NotebookClient
from PIL import Image
from attiqa.core import file_hash

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT/"nbs").rglob("*.ipynb"))
LARGE = 100_000 # characters of a picture in base64
READ = "ATTIQA_FILES_READ" # the file into which a notebook under way writes what it reads
WATCH = f"""
import os, sys, safetensors
_log = open(os.environ["{READ}"], "a", buffering=1)
_places = tuple(os.path.join({str(ROOT)!r}, "attiqa", name) + os.sep for name in ("data", "weights"))
def _note(name):
    path = os.path.abspath(os.fsdecode(name))
    if path.startswith(_places): _log.write(path + "\\n")
def _watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)): _note(arguments[0])
sys.addaudithook(_watch)
_opened = safetensors.safe_open # opens files without telling Python
def _safe_open(name, *rest, **more):
    _note(name)
    return _opened(name, *rest, **more)
safetensors.safe_open = _safe_open
"""

def code_of(source):
    "A cell's code without layout and comments; a cell with lines for IPython as it is."
    try:
        return ast.unparse(ast.parse(source))
    except SyntaxError:
        return source

def code_hash(notebook):
    "Hash of the code cells, 16 hexadecimal digits."
    digest = blake2b(digest_size=8)
    for cell in notebook.cells:
        if cell.cell_type == "code": digest.update(code_of(cell.source).encode())
    return digest.hexdigest()

def is_same(path, known): # known: its hash
    return path.is_file() and file_hash(path) == known

def reason(path):
    "Why a notebook's outputs are stale; '' where they are not."
    notebook = nbformat.read(path, as_version=4)
    made = notebook.metadata.get("outputs")
    if made is None: return "never run"
    if made["code"] != code_hash(notebook): return "code changed"
    changed = [name for name, known in made["files"].items() if not is_same(ROOT/name, known)]
    return f"changed: {', '.join(changed)}" if changed else ""

def kept(output):
    "Does an output belong to the page? Progress and warnings do not."
    return output.get("name") != "stderr"

def execute(notebook, folder, seconds):
    "Execute a notebook in a folder; the files that it read, as hashes by their place in the checkout."
    place = dict(metadata=dict(path=str(folder)))
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as log:
        client = NotebookClient(notebook, timeout=seconds, kernel_name="python3", resources=place)
        notebook.cells.insert(0, nbformat.v4.new_code_cell(WATCH))
        client.execute(env=os.environ | {READ: log.name})
        files = sorted({line for line in log.read().split("\n") if line})
    del notebook.cells[0]
    return {str(Path(name).relative_to(ROOT)): file_hash(name) for name in files if Path(name).is_file()}

def as_jpeg(png):
    "A PNG as JPEG, both in base64."
    out = io.BytesIO()
    with Image.open(io.BytesIO(b64decode(png))) as image:
        image.convert("RGB").save(out, "JPEG", quality=88)
    return b64encode(out.getvalue()).decode()

def lighten(data):
    """Keep one picture of an output: a large PNG as JPEG where that takes less than half of its bytes, as for
    a figure that shows photographs."""
    png = data.get("image/png")
    if png is None: return
    data.pop("image/jpeg", None)
    small = as_jpeg(png) if len(png) >= LARGE else png
    if 2*len(small) > len(png): return
    del data["image/png"]
    data["image/jpeg"] = small

def tidy(cell):
    "Drop a cell's times, counts and warnings; keep its pictures small."
    cell.metadata.pop("execution", None)
    if cell.cell_type != "code": return
    cell.execution_count = None
    cell.outputs = [output for output in cell.outputs if kept(output)]
    for output in cell.outputs:
        if output.output_type == "execute_result": output.execution_count = None
        lighten(output.get("data", {}))

def run(path, seconds):
    "Execute a notebook in its folder and keep its outputs, with what they were made of."
    notebook = nbformat.read(path, as_version=4)
    code = code_hash(notebook)
    files = execute(notebook, path.parent, seconds)
    for cell in notebook.cells: tidy(cell)
    notebook.metadata["outputs"] = dict(code=code, files=files)
    nbformat.write(notebook, path)

def try_run(path, seconds):
    "Run a notebook and print how that went; True if it failed."
    try:
        run(path, seconds)
        print(f"{path.relative_to(ROOT)}: done", flush=True)
        return False
    except Exception as error:
        print(f"{path.relative_to(ROOT)} failed: {str(error)[-600:]}", flush=True)
        return True

def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="all by default")
    parser.add_argument("--run", action="store_true", help="run what is stale")
    parser.add_argument("--force", action="store_true", help="run what is not stale, too")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=1800, help="limit of a cell")
    return parser.parse_args()

def main():
    given = arguments()
    paths = [path.resolve() for path in given.notebooks] or NOTEBOOKS
    stale = {path: why for path in paths if (why := reason(path) or "forced"*given.force)}
    for path, why in stale.items():
        print(f"{path.relative_to(ROOT)}: {why}", flush=True)
    if not given.run: return bool(stale)
    with ThreadPoolExecutor(given.jobs) as pool:
        failed = list(pool.map(lambda path: try_run(path, given.seconds), stale))
    return any(failed)

if __name__ == "__main__":
    sys.exit(main())
