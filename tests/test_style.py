"What a reader of the API relies on: described parameters, announced errors, no name in two modules."
import ast, importlib, inspect, re
from collections import defaultdict
import pytest
from fastcore.docments import docments
from attiqa.distort import BROAD_MECHANISMS, MECHANISMS
from test_notebooks import MODULES, module_tree

STARS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

MECHANISM_NAMES = {*MECHANISMS, *BROAD_MECHANISMS} # their parameters are described once, in `mechanism`
IMPORTED = [path.stem for path in MODULES if path.stem != "plugin"] # plugin cannot be imported without pyiqa

def is_silent(name, found): # found: an entry of docments
    if name in ("self", "cls", "return") or found.get("kind") in STARS: return False
    return found["anno"] is inspect.Parameter.empty and not found["docment"]

def silent(thing):
    "Parameters with neither a type nor a word."
    return [name for name, found in docments(thing, full=True).items() if is_silent(name, found)]

def own_things(module):
    "Public classes and functions that a module defines: name to thing."
    things = {name: getattr(module, name) for name in module.__all__ if name not in MECHANISM_NAMES}
    return {name: thing for name, thing in things.items()
            if (inspect.isclass(thing) or inspect.isroutine(thing)) and thing.__module__ == module.__name__}

@pytest.mark.parametrize("module", IMPORTED)
def test_public_parameters_are_described(module):
    own = own_things(importlib.import_module(f"attiqa.{module}"))
    assert own
    assert not {name: missing for name, thing in own.items() if (missing := silent(thing))}

def test_a_parameter_without_a_word_is_seen():
    def f(a, b:int, c, # the third
          *rest): pass
    assert silent(f) == ["a"]

def is_patched(node):
    "Is it a method that `patch` adds to a class?"
    return any(ast.unparse(mark).startswith("patch") for mark in getattr(node, "decorator_list", ()))

def assigned_names(node):
    parts = [part for target in getattr(node, "targets", ()) for part in ast.walk(target)]
    return [part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]

def defined_names(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)): return [] if is_patched(node) else [node.name]
    return assigned_names(node)

def definitions(module):
    "Public names that a module defines at its top, except patched methods: name to its syntax tree."
    found = {name: node for node in module_tree(module).body for name in defined_names(node)}
    return {name: node for name, node in found.items() if not name.startswith("_")}

def test_no_public_name_in_two_modules():
    owners = defaultdict(list)
    for module in MODULES:
        for name in definitions(module):
            owners[name].append(module.stem)
    assert not {name: modules for name, modules in owners.items() if len(modules) > 1}

def raises(function):
    "Does a function raise an error of its own, not one that it passes on?"
    return any(isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) for node in ast.walk(function))

def says_so(function):
    return re.search(r"[Rr]aise|Error|Mismatch", ast.get_docstring(function) or "")

ANNOUNCING = [path for path in MODULES if path.stem != "cli"] # a command's docstring is its help

@pytest.mark.parametrize("module", ANNOUNCING, ids=lambda path: path.stem)
def test_functions_that_raise_say_so(module):
    functions = [node for node in definitions(module).values() if isinstance(node, ast.FunctionDef)]
    assert not [node.name for node in functions if raises(node) and not says_so(node)]
