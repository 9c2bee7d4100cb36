"What every test shares: test-size stages, a run directory of its own, folders beside the checkout."
import os, shutil, subprocess, sys, tempfile
from pathlib import Path
import pytest

os.environ |= dict(ATTIQA_SMOKE="1", MPLBACKEND="Agg")
os.environ.setdefault("ATTIQA_CACHE", tempfile.mkdtemp(prefix="attiqa-cache-"))
ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT/"nbs").rglob("*.ipynb"))
LINES = (ROOT/"tests"/"elsewhere.txt").read_text(encoding="utf-8").splitlines()
ELSEWHERE = [line.split(" ", 2) for line in LINES if not line.startswith("#")]
collect_ignore = [file for platform, file, _ in ELSEWHERE if platform == sys.platform]

SLOWEST = ("test_stages.py", "test_figures.py", "test_reproduce.py", "test_pretrain_killed.py")

def pytest_collection_modifyitems(items):
    "The slowest files first: no process is left alone with one at the end."
    items.sort(key=lambda item: item.path.name not in SLOWEST)

@pytest.fixture
def run(tmp_path):
    "A run directory that nobody else writes to; not made yet."
    return tmp_path/"run"

@pytest.fixture(scope="session")
def shared():
    "The folder of data sets beside the checkout."
    folder = ROOT.parent/"shared"
    if not folder.is_dir(): pytest.skip(f"{folder} is not here; it holds data that may not be committed")
    return folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

@pytest.fixture(scope="module")
def chromium():
    "Headless Chromium: playwright's own, or the system's."
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with driver.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path).exists()
        if not own and not found: pytest.skip("no Chromium here; `make browser` installs it")
        browser = playwright.chromium.launch(executable_path=None if own else found, args=["--no-sandbox"])
        yield browser
        browser.close()

@pytest.fixture(scope="session")
def papermill(tmp_path_factory):
    """Run a stage notebook as the command line does; parameters as keywords.

    The result has .notebook, the executed copy."""
    folder = tmp_path_factory.mktemp("executed")
    env = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    env |= dict(IN_TEST="1", JUPYTER_PREFER_ENV_PATH="1")
    def execute(stage, cwd=ROOT, limit=900, **parameters):
        out = folder/f"{len(list(folder.iterdir())):02}_{stage}.ipynb"
        given = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
        command = [sys.executable, "-m", "papermill", "--no-progress-bar"]
        command += [str(ROOT/"nbs"/f"{stage}.ipynb"), str(out), *given]
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=limit)
        done.notebook = out
        return done
    return execute
