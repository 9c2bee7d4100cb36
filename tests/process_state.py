"""Imports modules and names the state of the process that an import changed.

The arguments are two lists with commas: other packages, whose changes are their own, and the modules."""
import importlib, logging, os, random, signal, sys, threading, warnings
import matplotlib, numpy, pandas, PIL.Image, PIL.ImageFile, torch

def umask():
    kept = os.umask(0)
    os.umask(kept)
    return kept

def python_state():
    return dict(
        filters=[*warnings.filters], show=warnings.showwarning, random=random.getstate(),
        handlers=[*logging.root.handlers], level=logging.root.level, disabled=logging.root.manager.disable,
        hook=sys.excepthook, path=[*sys.path], depth=sys.getrecursionlimit(), trace=sys.gettrace(),
        out=(sys.stdout, sys.stderr))

def process_state():
    return dict(
        environment=dict(os.environ), folder=os.getcwd(), umask=umask(), running=threading.active_count(),
        signals={number: signal.getsignal(number) for number in signal.valid_signals()})

def torch_state():
    return dict(
        dtype=torch.get_default_dtype(), device=torch.get_default_device(), grad=torch.is_grad_enabled(),
        threads=torch.get_num_threads(), between=torch.get_num_interop_threads(),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        benchmark=torch.backends.cudnn.benchmark, tf32=torch.backends.cudnn.allow_tf32,
        precision=torch.get_float32_matmul_precision(), torch_random=torch.get_rng_state().tolist(),
        start=torch.multiprocessing.get_start_method(allow_none=True),
        sharing=torch.multiprocessing.get_sharing_strategy())

def library_state():
    return dict(
        numpy_random=str(numpy.random.get_state()), numpy_errors=numpy.geterr(),
        printed=numpy.get_printoptions(),
        most=PIL.Image.MAX_IMAGE_PIXELS, cut=PIL.ImageFile.LOAD_TRUNCATED_IMAGES,
        backend=dict(matplotlib.rcParams)["backend"], drawn=str(dict(matplotlib.rcParams)),
        pandas=pandas.describe_option("", _print_desc=False))

def state(): return python_state() | process_state() | torch_state() | library_state()

def import_others(names):
    for name in names:
        try: importlib.import_module(name)
        except ImportError: pass
    PIL.Image.preinit()

def check_import(name, before):
    "Exit with what an import of a module of the kit changed."
    try: importlib.import_module(f"attiqa.{name}")
    except ValueError as error: assert "pip install" in str(error)
    after = state()
    changed = [key for key in before if before[key] != after[key]]
    if changed: sys.exit(f"attiqa.{name} changed {changed}")

if __name__ == "__main__":
    others, modules = (words.split(",") for words in sys.argv[1:])
    import_others(others)
    before = state()
    for name in modules: check_import(name, before)
