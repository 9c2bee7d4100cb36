"What a reader of the API relies on: every public parameter says its type or what it is."
import importlib, inspect
import pytest
from fastcore.docments import docments
from attiqa.distort import BROAD, MECHANISMS
from test_notebooks import MODULES

STARS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

def silent(thing):
    "Parameters with neither a type nor a word."
    return [name for name, p in docments(thing, full=True).items()
            if name not in ("self", "cls", "return") and p.get("kind") not in STARS and p["anno"] is inspect.Parameter.empty and not p["docment"]]

@pytest.mark.parametrize("module", [path.stem for path in MODULES if path.stem != "plugin"]) # plugin wants pyiqa
def test_public_parameters_are_described(module):
    found = importlib.import_module(f"attiqa.{module}")
    things = {name: getattr(found, name) for name in found.__all__}
    alike = {*MECHANISMS, *BROAD} # pixels, severity, generator: said once, of `mechanism`
    own = {name: thing for name, thing in things.items() if name not in alike and (inspect.isclass(thing) or inspect.isroutine(thing)) and thing.__module__ == found.__name__}
    assert own
    assert not {name: missing for name, thing in own.items() if (missing := silent(thing))}

def test_a_parameter_without_a_word_is_seen():
    def f(a, b:int, c, # the third
          *rest): pass
    assert silent(f) == ["a"]
