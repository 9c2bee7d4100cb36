"What is installed: versions, public names, pinned requirements, and a wheel that needs no torch to score."
import json, os, shutil, subprocess, sys, zipfile
from configparser import ConfigParser
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from attiqa.images import package_photograph
from attiqa.score import Scorer
from conftest import ROOT

def read_settings():
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT/"settings.ini", encoding="utf-8")
    return parser["DEFAULT"]

def read_constraints():
    lines = (ROOT/"constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]

SETTINGS = read_settings()
WORDS = [word for key in ("requirements", "dev_requirements") for word in SETTINGS[key].split()]
REQUIREMENTS = [Requirement(word) for word in WORDS]
CONSTRAINTS = read_constraints()
PINS = {canonicalize_name(pin.name): str(pin.specifier) for pin in map(Requirement, CONSTRAINTS)}

def python(code, cwd):
    "Standard output of a fresh interpreter."
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout.strip()

# Names

def test_import_is_quick(tmp_path):
    code = "import attiqa, sys; print(attiqa.__version__, 'torch' in sys.modules)"
    assert python(code, tmp_path) == f"{SETTINGS['version']} False"

def test_public_names():
    import attiqa
    assert set(attiqa.__all__) <= set(dir(attiqa))
    assert all(hasattr(attiqa, name) for name in attiqa.__all__)
    assert not hasattr(attiqa, "no_such_name")

IMPORTS = (
    "import attiqa",
    "import attiqa, attiqa.score",
    "from attiqa import score, Scorer; import attiqa",
    "import attiqa.core; from attiqa import Scorer; import attiqa")

@pytest.mark.parametrize("imports", IMPORTS)
def test_score_is_callable_however_it_is_imported(tmp_path, imports):
    code = f"{imports}; print(callable(attiqa.score), attiqa.score.Scorer is attiqa.Scorer)"
    assert python(code, tmp_path) == "True True"

# Versions

@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_constraints_pin_every_requirement(requirement):
    pin = PINS[canonicalize_name(requirement.name)]
    assert pin.startswith("==")
    assert requirement.specifier.contains(pin[2:])

def test_constraints_hold_versions_only():
    assert PINS["torch"] != "==2.13.0"
    assert not [line for line in CONSTRAINTS if "://" in line or line.startswith("-")]

# The wheel

PACKAGED = ("setup.py", "settings.ini", "README.md", "LICENSE", "MANIFEST.in")

def pip(*words): subprocess.run([sys.executable, "-m", "pip", *words], check=True)

@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "Built from a copy, without the network."
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder/"copy"
    copy.mkdir()
    for name in PACKAGED: shutil.copy(ROOT/name, copy)
    shutil.copytree(ROOT/"attiqa", copy/"attiqa", ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, copy)
    return next(folder.glob("*.whl"))

def test_wheel_carries_the_models(wheel):
    files = [path.relative_to(ROOT) for path in (ROOT/"attiqa").rglob("*") if path.is_file()]
    here = {file.as_posix() for file in files if "__pycache__" not in file.parts}
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
imported = [name for name in ("torch", "timm", "torchvision") if name in sys.modules]
print(json.dumps([attiqa.__file__, code, imported]))
"""

@pytest.fixture
def score_installed(wheel, tmp_path):
    """A function that scores an image with the wheel, which is installed in a folder of its own.

    Gives the place of the package, the exit code and which large packages were imported."""
    site = tmp_path/"site"
    pip("install", "-q", "--no-deps", "--no-index", "--target", site, wheel)
    env = os.environ | dict(PYTHONPATH=str(site))
    env.pop("ATTIQA_SMOKE", None)
    def run(photo):
        command = [sys.executable, "-c", SCORE_OFFLINE, photo]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])
    return run

def test_wheel_scores_offline_and_imports_no_torch(score_installed, tmp_path):
    photo = tmp_path/"photo.jpg"
    package_photograph("coffee.png").save(photo)
    place, code, imported = score_installed(photo)
    assert place.startswith(str(tmp_path/"site"))
    assert code == 0
    assert imported == []
    row, = json.loads((tmp_path/"scores.json").read_text())
    assert row["quality"] == pytest.approx(Scorer(device="cpu")(photo).quality, abs=1e-4)
