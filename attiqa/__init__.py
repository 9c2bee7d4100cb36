"No-reference image quality learned without human labels. Importing this is quick: torch comes with the first use."
__version__ = "0.1.0"

_homes = dict(ATTIQA="metric", ATTRIBUTES="core", AttiqaError="core", Scorer="findings", score="score") # public name to the module that has it
__all__ = ["__version__", *_homes]

def __getattr__(name):
    if name not in _homes: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    module = import_module(f"{__name__}.{_homes[name]}")
    return module if name == _homes[name] else getattr(module, name) # the module `attiqa.score` is itself callable

def __dir__(): return sorted({*globals(), *_homes})
