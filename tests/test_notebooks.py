"What holds for every notebook, and for the modules they export."
import ast, importlib, inspect, re
import nbformat, pytest
from attiqa import runs
from conftest import NOTEBOOKS, ROOT

STAGES = tuple(stage.name for stage in runs.STAGES)
NO_MODULES = ("__init__.py", "_modidx.py")
MODULES = sorted(path for path in (ROOT/"attiqa").glob("*.py") if path.name not in NO_MODULES)
SOURCES = {path.stem: nbformat.read(path, as_version=4) for path in NOTEBOOKS}

def sources(notebook, kind="code"):
    return [cell.source for cell in SOURCES[notebook].cells if cell.cell_type == kind]

def parameters(notebook):
    return [cell for cell in SOURCES[notebook].cells if "parameters" in cell.metadata.get("tags", [])]

def python(source):
    "Syntax tree of a cell; line magics and shell lines are left out."
    lines = [line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))]
    return ast.parse("\n".join(lines))

def module_tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))

# ---- the form of a notebook

@pytest.fixture(params=SOURCES)
def notebook(request):
    return request.param

def test_every_notebook_is_here():
    assert set(STAGES) <= set(SOURCES)

def test_every_notebook_has_a_number_of_its_own():
    numbers = [(path.parent.name, path.stem.split("_")[0]) for path in NOTEBOOKS]
    assert len(set(numbers)) == len(numbers)

def test_kernel_and_cell_ids(notebook):
    nb = SOURCES[notebook]
    assert nb.metadata.kernelspec.name == "python3"
    ids = [cell.get("id") for cell in nb.cells]
    assert all(ids)
    assert len(set(ids)) == len(ids)

def test_cells_are_short(notebook):
    written = sources(notebook, "code") + sources(notebook, "markdown")
    assert max(len(source.splitlines()) for source in written) <= 60

def test_opening(notebook):
    title = sources(notebook, "markdown")[0]
    assert re.match(r"# \S.*\n> \S", title)
    kind = "Stage" if notebook in STAGES else "Library"
    if notebook != "index": assert f"*{kind} notebook.*" in title

# ---- stages

def imported(tree):
    "Top-level names of the packages that a syntax tree imports."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]

@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_without_development_packages(stage):
    names = {name for source in sources(stage) for name in imported(python(source))}
    assert {"nbdev", "pytest"}.isdisjoint(names)

def test_parameters_cell(notebook):
    assert len(parameters(notebook)) == (notebook in STAGES)

def stage_call(notebook):
    "Syntax tree of the notebook's one call of stage_settings."
    calls = [node for source in sources(notebook) for node in ast.walk(python(source))
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "stage_settings"]
    assert len(calls) == 1
    return calls[0]

def stage_function(notebook):
    "The exported function that the notebook's parameters are for."
    found = (re.match(r"#\|\s*default_exp (\w+)", source) for source in sources(notebook))
    module = next(match[1] for match in found if match)
    return getattr(importlib.import_module(f"attiqa.{module}"), stage_call(notebook).args[2].id)

def defaults(function):
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}

@pytest.mark.parametrize("stage", STAGES)
def test_parameters_are_the_defaults(stage):
    cell, = parameters(stage)
    assert "#|" not in cell.source
    statements = python(cell.source).body
    assert all(isinstance(s, ast.Assign) and len(s.targets) == 1 for s in statements)
    lines = cell.source.splitlines()
    assert all("#" in lines[s.end_lineno - 1] for s in statements), "every parameter has a comment"
    values = {s.targets[0].id: ast.literal_eval(s.value) for s in statements}
    assert values == defaults(stage_function(stage))

@pytest.mark.parametrize("stage", runs.STAGES, ids=lambda stage: stage.name)
def test_the_table_of_stages_names_what_is_there(stage):
    function = stage_function(stage.name)
    assert stage.function == f"{function.__module__.removeprefix('attiqa.')}.{function.__name__}"
    assert set(stage.smoke) <= set(inspect.signature(function).parameters)

# ---- modules: which notebook exports each, and what it imports

def exported(notebook):
    "Modules that a notebook exports to."
    directive = re.compile(r"^#\|\s*(?:default_exp|exports?) (\w+)", re.M)
    return {found[1] for source in sources(notebook) for found in directive.finditer(source)}

# The library comes first, then the paper, each by number.
PLACES = {module: (path.parent.name != "lib", path.stem) for path in NOTEBOOKS
          for module in exported(path.stem)}

def test_modules_are_those_the_notebooks_export():
    assert set(PLACES) == {path.stem for path in MODULES}

def from_package(node):
    "Modules of the package that a `from … import …` imports."
    path = ["attiqa"]*bool(node.level) + (node.module or "").split(".")
    if path[0] != "attiqa": return []
    return path[1:2] if path[1:] and path[1] else [alias.name for alias in node.names]

def used(tree):
    "Modules of the package that a syntax tree imports."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("attiqa."))
        elif isinstance(node, ast.ImportFrom):
            yield from from_package(node)

def imports_at_the_top(tree):
    return ast.Module([node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))], [])

@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_imports_point_one_way(module):
    """What a module imports has a smaller number.

    The library imports by its own numbers, the paper by its own and from all of the library."""
    tree = module_tree(module)
    if module.stem == "cli": tree = imports_at_the_top(tree) # a command imports its stage when it runs
    late = {name for name in used(tree) if name in PLACES and PLACES[name] >= PLACES[module.stem]}
    assert not late, f"{module.stem} imports {sorted(late)}"

UNPICKLERS = ("pickle.load", "pickle.loads", "joblib.load")

def loads_weights_only(call):
    return any(k.arg == "weights_only" and getattr(k.value, "value", False) is True for k in call.keywords)

@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_no_pickle_is_read(module):
    calls = [node for node in ast.walk(module_tree(module)) if isinstance(node, ast.Call)]
    for call in calls:
        name = ast.unparse(call.func)
        assert name not in UNPICKLERS
        assert name != "torch.load" or loads_weights_only(call)
