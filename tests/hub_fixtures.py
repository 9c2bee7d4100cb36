"What the tests of the Hub share: a local Hub, processes that use it, and the shipped scorers' own scores."
import os, subprocess, sys
import pytest
from attiqa.core import SCORERS
from attiqa.images import package_photograph
from attiqa.score import Scorer
from hub_server import Hub

@pytest.fixture
def hub():
    server = Hub()
    yield server
    server.close()

@pytest.fixture
def photo(tmp_path):
    package_photograph("chelsea.png").save(tmp_path/"chelsea.png")
    return tmp_path/"chelsea.png"

@pytest.fixture
def python(hub, tmp_path):
    "A function that runs code in a process whose Hub is the local one: exit code, output, errors."
    own = dict(HF_ENDPOINT=hub.address, HF_HOME=str(tmp_path/"home"), HF_TOKEN="", HF_HUB_DISABLE_XET="1",
               HF_HUB_DISABLE_PROGRESS_BARS="1", NO_PROXY="127.0.0.1,localhost", OMP_NUM_THREADS="1")
    def run(code, *words, **env):
        command = [sys.executable, "-W", "ignore", "-c", code, *map(str, words)]
        done = subprocess.run(command, env=os.environ | own | env, cwd=tmp_path,
                              capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout.strip(), done.stderr.strip()
    return run

SCORE = """
import sys
from attiqa.score import Scorer
from attiqa.core import AttiqaError
photo, name, *words = sys.argv[1:]
options = {key: value or True for key, _, value in (word.partition("=") for word in words)}
try:
    scorer = Scorer.from_pretrained(name, device="cpu", **options)
except AttiqaError as error:
    sys.exit(str(error))
finally:
    print("torch" in sys.modules)
print(scorer(photo).quality, scorer.card.get("name"))
"""

@pytest.fixture
def run_score(python, photo):
    "A function that scores the photograph by a repository's scorer: exit code, output, errors."
    return lambda name, *options, **env: python(SCORE, photo, name, *options, **env)

@pytest.fixture
def score(run_score):
    """The same, which must not import torch.

    Gives the quality and the name in the scorer's card, or the one line of an error."""
    def run(name, *options, **env):
        status, out, error = run_score(name, *options, **env)
        imported_torch, *printed = out.splitlines()
        assert imported_torch == "False"
        if not status: return tuple(printed[0].split())
        assert len(error.splitlines()) == 1, error
        return error
    return run

@pytest.fixture
def quality(photo):
    "The shipped scorers' qualities of the photograph, as `score` gives them."
    return {name: (str(Scorer(name, "cpu")(photo).quality), name) for name in SCORERS}
