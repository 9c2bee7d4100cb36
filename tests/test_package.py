"What is installed: names, versions, files."
import shutil, subprocess, sys, zipfile
from configparser import ConfigParser
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from conftest import ROOT

parser = ConfigParser(delimiters=["="])
parser.read(ROOT/"settings.ini", encoding="utf-8")
CFG = parser["DEFAULT"]
REQUIREMENTS = [Requirement(r) for key in ("requirements", "dev_requirements") for r in CFG[key].split()]
LINES = [line for line in (ROOT/"constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
PINS = {canonicalize_name(r.name): str(r.specifier) for r in map(Requirement, LINES)}

def python(code, cwd):
    "Standard output of a fresh interpreter."
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True).stdout.strip()

def test_import_is_quick(tmp_path):
    assert python("import attiqa, sys; print(attiqa.__version__, 'torch' in sys.modules)", tmp_path) == f"{CFG['version']} False"

def test_public_names(tmp_path):
    import attiqa
    assert set(attiqa.__all__) <= set(dir(attiqa))
    assert all(hasattr(attiqa, name) for name in attiqa.__all__)
    assert not hasattr(attiqa, "no_such_name")

@pytest.mark.parametrize("code", ["import attiqa", "import attiqa, attiqa.score", "from attiqa import score, Scorer; import attiqa",
                                  "import attiqa.core; from attiqa import Scorer; import attiqa"])
def test_score_is_callable_however_it_is_imported(tmp_path, code):
    assert python(f"{code}; print(callable(attiqa.score), attiqa.score.Scorer is attiqa.Scorer)", tmp_path) == "True True"

@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_constraints_pin_every_requirement(requirement):
    pin = PINS[canonicalize_name(requirement.name)]
    assert pin.startswith("==") and requirement.specifier.contains(pin[2:])

def test_constraints_hold_versions_only():
    assert PINS["torch"] != "==2.13.0"
    assert not [line for line in LINES if "://" in line or line.startswith("-")]

def test_wheel_carries_the_models(tmp_path):
    copy = tmp_path/"copy"
    copy.mkdir()
    for name in ("setup.py", "settings.ini", "README.md", "LICENSE", "MANIFEST.in"): shutil.copy(ROOT/name, copy)
    shutil.copytree(ROOT/"attiqa", copy/"attiqa", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, copy], check=True)
    wheel, = tmp_path.glob("*.whl")
    here = {p.relative_to(copy).as_posix() for p in (copy/"attiqa").rglob("*") if p.is_file()}
    assert here <= set(zipfile.ZipFile(wheel).namelist())
    assert wheel.stat().st_size < 40e6
