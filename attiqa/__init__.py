"""No-reference image quality learned without human labels.

Importing this is quick: torch is loaded with the first use."""
__version__ = "0.2.0"

# Public name to the module that has it
_homes = dict(ATTIQA="metric", ATTRIBUTES="core", AttiqaError="core", Scorer="findings", score="score")
__all__ = ["__version__", *_homes]

def __getattr__(name):
    if name not in _homes: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    module = import_module(f"{__name__}.{_homes[name]}")
    if name == _homes[name]: return module # the module `attiqa.score` is itself callable
    return getattr(module, name)

def __dir__(): return sorted({*globals(), *_homes})
