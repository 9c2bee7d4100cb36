"Pages for developers are followed literally in a copy of the checkout: cells, changes, commands and code."
import os, re, shutil, subprocess, sys
from pathlib import Path
import nbformat, pytest
from conftest import ROOT

NAMES = "attribute", "dataset", "huggingface", "loss", "proxy_task", "vlm"
PAGES = [ROOT/"howto"/f"{name}.md" for name in NAMES]
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.M | re.S) # language, file, text
EXPORT = """
import sys
from nbdev.export import nb_export
for path in sys.argv[1:]: nb_export(path, lib_path="attiqa")
"""
SKIPPED = shutil.ignore_patterns("__pycache__", "weights", ".ipynb_checkpoints")

@pytest.fixture
def copy(tmp_path):
    "A copy of everything that a page changes or runs; the weights are the checkout's own."
    for name in ("nbs", "attiqa", "tests", "data_scripts"):
        shutil.copytree(ROOT/name, tmp_path/name, ignore=SKIPPED)
    (tmp_path/"attiqa"/"weights").symlink_to(ROOT/"attiqa"/"weights")
    shutil.copy(ROOT/"settings.ini", tmp_path)
    return tmp_path

def run(copy, *command):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | dict(PYTHONPATH=str(copy), PATH=path, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, timeout=300)
    assert not done.returncode, f"{command[-1][:400]}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout

def add_cell(path, source): # before the last one, which exports
    nb = nbformat.read(path, as_version=4)
    nb.cells.insert(-1, nbformat.v4.new_code_cell(source.rstrip("\n")))
    nbformat.write(nb, path)

def change(path, diff):
    "Replace the lines of '-' by those of '+', in the one cell that has them or in a text file."
    old, new = ("\n".join(line[1:] for line in diff.splitlines() if line.startswith(sign))
                for sign in "-+")
    nb = nbformat.read(path, as_version=4) if path.suffix == ".ipynb" else None
    texts = [cell.source for cell in nb.cells] if nb else [path.read_text(encoding="utf-8")]
    assert sum(text.count(old) for text in texts) == 1, f"{path.name} has not once:\n{old}"
    texts = [text.replace(old, new) for text in texts]
    if not nb: return path.write_text(texts[0], encoding="utf-8")
    for cell, text in zip(nb.cells, texts): cell.source = text
    nbformat.write(nb, path)

def append(path, text):
    with open(path, "a", encoding="utf-8") as file: file.write(f"\n{text}" if file.tell() else text)

def command(copy, line, edited): # `make prepare` exports only the notebooks that the page edits
    if line == "make prepare": run(copy, sys.executable, "-c", EXPORT, *edited)
    else: run(copy, "bash", "-euc", line)

def follow(copy, page):
    edited = []
    for kind, file, text in BLOCK.findall(page):
        if file.endswith(".ipynb"): edited.append(file)
        if kind == "diff": change(copy/file, text)
        elif file.endswith(".ipynb"): add_cell(copy/file, text)
        elif file: append(copy/file, text)
        elif kind == "bash":
            for line in text.splitlines(): command(copy, line, dict.fromkeys(edited))
        else: run(copy, sys.executable, "-c", text)

@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_can_be_followed(page, copy):
    text = page.read_text(encoding="utf-8")
    assert text.count("```") == 2*len(BLOCK.findall(text)) > 2
    follow(copy, text)

def test_a_page_that_rots_is_noticed(copy):
    diff = "```diff nbs/lib/01_core.ipynb\n-ATTRIBUTES = ()\n+ATTRIBUTES = (1,)\n```\n"
    with pytest.raises(AssertionError, match="has not once"): follow(copy, diff)
    code = "```python\nfrom attiqa.core import no_such\n```\n"
    with pytest.raises(AssertionError, match="no_such"): follow(copy, code)
