"""The lock of all dependencies with their hashes (requirements.lock), by uv, and constraints.txt from it.

The lock is for every platform and for Python 3.11.5 and newer. Versions that are locked already are kept;
`--upgrade` takes the newest instead. constraints.txt leaves out what a torch build names itself.
"""
import argparse, re, shutil, subprocess, sys, tempfile
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK, CONSTRAINTS = ROOT/"requirements.lock", ROOT/"constraints.txt"
EXTRAS = ("dev", "mini", "onnx", "ray", "llm", "fid", "formats", "pyiqa")
PYTHON = "3.11.5" # the oldest that all locked packages take
TORCH = re.compile(r"(nvidia|cuda|triton)\b")
LOCK_HEAD = f"""\
# Every dependency with its hashes, for every platform and Python {PYTHON} or newer. \
Made by tools/lock.py.
# uv pip sync requirements.lock, or: pip install --require-hashes -r requirements.lock
"""
CONSTRAINTS_HEAD = """\
# The versions that the kit is tested with: pip install -c constraints.txt -e . \
Made from requirements.lock by tools/lock.py.
# A constraint installs nothing by itself. The CUDA runtime and triton are left out: each torch build \
names its own.
# torch is pinned because results are compared byte by byte; 2.15.0 also takes a local build of it, such as \
2.15.0+cpu.
"""
COMPILE = ("uv", "pip", "compile", "--universal", "--python-version", PYTHON, "--generate-hashes",
           "--no-emit-index-url", "--no-header", "--no-annotate", "--quiet")

def requirements():
    "What settings.ini asks for, of the package and of its extras."
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT/"settings.ini", encoding="utf-8")
    given = parser["DEFAULT"]
    keys = ("requirements", *(f"{extra}_requirements" for extra in EXTRAS))
    return sorted({line for key in keys for line in given[key].split()})

def kept_versions(lock): # lock: the new one; words for uv
    "Have uv start from the versions that are locked already, or else from those of the constraints."
    if LOCK.exists():
        shutil.copy(LOCK, lock)
        return []
    return ["-c", str(CONSTRAINTS)] if CONSTRAINTS.exists() else []

def compiled(upgrade):
    "The lock's text, without the command that made it."
    with tempfile.TemporaryDirectory() as folder:
        asked, lock = Path(folder)/"requirements.in", Path(folder)/"requirements.lock"
        asked.write_text("\n".join(requirements()) + "\n")
        kept = [] if upgrade else kept_versions(lock)
        subprocess.run([*COMPILE, str(asked), "-o", str(lock), *kept], check=True, stdout=subprocess.DEVNULL)
        return lock.read_text()

def pins(lock):
    "name==version of every package, with its marker; without those that a torch build names itself."
    found = re.findall(r"^([a-z0-9][^ ;\\]*==[^ ;\\]+)( ; [^\\]*?)?(?: \\)?$", lock, re.M)
    return [name + marker.rstrip() for name, marker in found if not TORCH.match(name)]

def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    given = parser.parse_args()
    if not shutil.which("uv"): sys.exit("uv is not installed: pip install uv")
    lock = compiled(given.upgrade)
    LOCK.write_text(LOCK_HEAD + lock)
    CONSTRAINTS.write_text(CONSTRAINTS_HEAD + "\n".join(pins(lock)) + "\n")
    print(f"{len(pins(lock))} packages, besides those of torch's build")

if __name__ == "__main__": main()
