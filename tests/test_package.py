"What is installed: names, versions, files."
import json, os, shutil, subprocess, sys, zipfile
from configparser import ConfigParser
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from attiqa.images import package_photograph
from attiqa.score import Scorer
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

@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "Built from a copy, without the network."
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder/"copy"
    copy.mkdir()
    for name in ("setup.py", "settings.ini", "README.md", "LICENSE", "MANIFEST.in"): shutil.copy(ROOT/name, copy)
    shutil.copytree(ROOT/"attiqa", copy/"attiqa", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, copy], check=True)
    return next(folder.glob("*.whl"))

def test_wheel_carries_the_models(wheel):
    here = {p.relative_to(ROOT).as_posix() for p in (ROOT/"attiqa").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert here <= set(zipfile.ZipFile(wheel).namelist())
    assert wheel.stat().st_size < 40e6

SCORE_OFFLINE = """
import json, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"): raise OSError("no network")
sys.addaudithook(refuse)
import attiqa
from attiqa.cli import main
code = main(["score", sys.argv[1], "--json", "scores.json"])
print(json.dumps([attiqa.__file__, code, [name for name in ("torch", "timm", "torchvision") if name in sys.modules]]))
"""

def test_wheel_scores_offline_and_imports_no_torch(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", tmp_path/"site", wheel], check=True)
    env = {name: value for name, value in os.environ.items() if name != "ATTIQA_SMOKE"} | dict(PYTHONPATH=str(tmp_path/"site"))
    package_photograph("coffee.png").save(photo := tmp_path/"photo.jpg")
    done = subprocess.run([sys.executable, "-c", SCORE_OFFLINE, photo], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    where, code, imported = json.loads(done.stdout.splitlines()[-1])
    assert where.startswith(str(tmp_path/"site")) and code == 0 and imported == []
    row, = json.loads((tmp_path/"scores.json").read_text())
    assert row["quality"] == pytest.approx(Scorer(device="cpu")(photo).quality, abs=1e-4)
