"What holds for every notebook, and for the modules they export."
import ast, importlib, inspect, re
import nbformat, pytest
from conftest import NOTEBOOKS, ROOT

ORDER = ("core", "engine", "hub", "sources", "images", "distort", "vlm", "model", "losses", "metrics", "readers", "splits", "datasets", "download", "bank",
         "proxies", "prompts", "labelling", "pseudolabels", "crops", "features", "training", "pretrain", "finetune", "order", "probe", "benchmark", "figures", "mini", "maps", "network", "score", "scale", "findings", "cull", "generators", "enhance", "journal", "metric", "export", "plugin", "report", "taste", "speed", "reproduce", "preflight", "cli") # a module imports only those before it
STAGES = ("02_prompts", "03_pseudolabels", "04_pretrain", "05_finetune", "05a_probe", "05b_order", "08_generators", "09_enhance", "06_benchmark", "07_figures", "10m_taste", "11_mini", "12_speed")
MODULES = sorted(p for p in (ROOT/"attiqa").glob("*.py") if p.name not in ("__init__.py", "_modidx.py"))
SOURCES = {path.stem: nbformat.read(path, as_version=4) for path in NOTEBOOKS}

def sources(notebook, kind="code"): return [cell.source for cell in SOURCES[notebook].cells if cell.cell_type == kind]

def parameters(notebook): return [cell for cell in SOURCES[notebook].cells if "parameters" in cell.metadata.get("tags", [])]

def python(source):
    "Syntax tree of a cell; line magics and shell lines are left out."
    return ast.parse("\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))))

def imported(tree):
    "Top-level names of the packages that a syntax tree imports."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level: yield node.module.split(".")[0]

@pytest.fixture(params=SOURCES)
def notebook(request): return request.param

def test_every_notebook_is_here():
    assert set(STAGES) <= set(SOURCES)

def test_kernel_and_cell_ids(notebook):
    nb = SOURCES[notebook]
    assert nb.metadata.kernelspec.name == "python3"
    ids = [cell.get("id") for cell in nb.cells]
    assert all(ids) and len(set(ids)) == len(ids)

def test_cells_are_short(notebook):
    assert max(len(source.splitlines()) for kind in ("code", "markdown") for source in sources(notebook, kind)) <= 60

def test_opening(notebook):
    title = sources(notebook, "markdown")[0]
    assert re.match(r"# \S.*\n> \S", title)
    if notebook != "index": assert f"*{'Stage' if notebook in STAGES else 'Library'} notebook.*" in title

def test_parameters_cell(notebook):
    assert len(parameters(notebook)) == (notebook in STAGES)

def test_stage_runs_without_development_packages(notebook):
    if notebook in STAGES: assert {"nbdev", "pytest"}.isdisjoint(name for s in sources(notebook) for name in imported(python(s)))

def stage_call(notebook):
    "Syntax tree of the notebook's one call of stage_settings."
    calls = [node for source in sources(notebook) for node in ast.walk(python(source))
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "stage_settings"]
    assert len(calls) == 1
    return calls[0]

def stage_function(notebook):
    "The exported function that the notebook's parameters are for."
    module = next(m[1] for s in sources(notebook) if (m := re.match(r"#\|\s*default_exp (\w+)", s)))
    return getattr(importlib.import_module(f"attiqa.{module}"), stage_call(notebook).args[2].id)

@pytest.mark.parametrize("stage", STAGES)
def test_parameters_are_the_defaults(stage):
    cell, = parameters(stage)
    assert "#|" not in cell.source
    statements = python(cell.source).body
    assert all(isinstance(s, ast.Assign) and len(s.targets) == 1 for s in statements)
    lines = cell.source.splitlines()
    assert all("#" in lines[s.end_lineno - 1] for s in statements), "every parameter has a comment"
    values = {s.targets[0].id: ast.literal_eval(s.value) for s in statements}
    assert values == {name: p.default for name, p in inspect.signature(stage_function(stage)).parameters.items()}

@pytest.mark.parametrize("stage", STAGES)
def test_smoke_values_fit(stage):
    known = inspect.signature(stage_function(stage)).parameters
    small = {keyword.arg for keyword in stage_call(stage).keywords}
    assert small and small <= set(known)

def test_modules_are_those_the_notebooks_export():
    exported = {m[1] for nb in SOURCES for s in sources(nb) for m in re.finditer(r"^#\|\s*(?:default_exp|exports?) (\w+)", s, re.M)}
    assert exported == {path.stem for path in MODULES} <= set(ORDER)

@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_imports_point_one_way(module):
    "Modules of the package that this one imports, anywhere in it, come before it."
    used = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): used |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("attiqa.")}
        elif isinstance(node, ast.ImportFrom):
            path = ["attiqa"]*bool(node.level) + (node.module or "").split(".")
            if path[0] == "attiqa": used |= {path[1]} if path[1:] and path[1] else {alias.name for alias in node.names}
    assert all(ORDER.index(name) < ORDER.index(module.stem) for name in used & set(ORDER)), f"{module.stem} imports {sorted(used)}"

def test_no_pickle_is_read():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(k.arg == "weights_only" and getattr(k.value, "value", False) is True for k in node.keywords), path
            assert not (isinstance(node, ast.Call) and ast.unparse(node.func) in ("pickle.load", "pickle.loads", "joblib.load")), path
