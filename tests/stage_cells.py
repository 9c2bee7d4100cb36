"""The cells of a stage notebook that read its parameters and run it, without its demonstrations.

As a program, for a process of its own: python tests/stage_cells.py RUN STAGE ..."""
import ast, importlib, sys
from pathlib import Path
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from attiqa.runs import stage_named

NOTEBOOKS = Path(__file__).resolve().parent.parent/"nbs"

def only_imports(source):
    return all(isinstance(node, ast.Import|ast.ImportFrom) for node in ast.parse(source).body)

def stage_cells(stage, parameters):
    "The imports, the parameters with papermill's injected cell, the call of the stage."
    notebook = load_notebook_node(str(NOTEBOOKS/stage_named(stage).file))
    notebook = parameterize_notebook(notebook, parameters, kernel_name="python3", language="python")
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    first = next(i for i, source in enumerate(code) if source.startswith("before = "))
    last = next(i for i, source in enumerate(code) if "stage_settings(globals()" in source)
    return [*filter(only_imports, code[:first]), *code[first:last + 1]]

def run_stage_cells(stage, **parameters):
    "Run a stage as its notebook does, in this process."
    module, _ = stage_named(stage).function.split(".")
    names = {**vars(importlib.import_module(f"attiqa.{module}"))}
    for source in stage_cells(stage, {name: str(value) for name, value in parameters.items()}):
        exec(source, names)

if __name__ == "__main__":
    run, *stages = sys.argv[1:]
    for stage in stages: run_stage_cells(stage, run=run)
