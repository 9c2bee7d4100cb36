"""Commands of the pages for users name what exists: commands, options, stages, parameters, presets.

Their folders are a reader's own, so they are not run. tests/test_howto.py follows pages for developers."""
import re, shlex
import pytest, typer
from attiqa.cli import app
from attiqa.reproduce import default_parameters
from conftest import ROOT

NAMES = "README.md", "howto/score.md", "howto/own_images.md", "howto/large_runs.md"
USER_PAGES = [ROOT/name for name in NAMES]
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.M | re.S)
COMMANDS = typer.main.get_command(app).commands

def command_lines(page):
    "Words of every command line in a page's blocks for bash."
    lines = "".join(BLOCK.findall(page.read_text(encoding="utf-8"))).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]

def options(words):
    return {word.split("=")[0] for word in words if word.startswith("--")}

def parameters(words):
    "Names after -p and files after -f."
    after = lambda mark: [words[i + 1] for i, word in enumerate(words) if word == mark]
    return after("-p"), after("-f")

def unknown_option(command, words):
    known = {option for parameter in COMMANDS[command].params for option in parameter.opts}
    return options(words) - known - {"--help"}

def unknown_parameter(notebook, words):
    names, files = parameters(words)
    missing = {file for file in files if not (ROOT/file).is_file()}
    return (set(names) - default_parameters(ROOT/notebook).keys()) | missing

def faults(words):
    "What a command line names that does not exist."
    if "attiqa" in words[:1]:
        return unknown_option(words[1], words[2:]) if words[1] in COMMANDS else {words[1]}
    if "papermill" in words: return unknown_parameter(words[words.index("papermill") + 1], words)
    if "attiqa.pretrain" in words: return unknown_parameter("nbs/04_pretrain.ipynb", words)
    return set()

@pytest.mark.parametrize("page", USER_PAGES, ids=lambda path: path.stem)
def test_commands_name_what_exists(page):
    lines = command_lines(page)
    assert lines
    assert not {" ".join(words): found for words in lines if (found := faults(words))}

@pytest.mark.parametrize("line", [
    "attiqa scroe a.jpg", "attiqa score a.jpg --colour red", "papermill nbs/04_pretrain.ipynb o -p no 1",
    "torchrun -m attiqa.pretrain -f nbs/presets/none.yaml"])
def test_what_does_not_exist_is_seen(line):
    assert faults(line.split())

def test_every_page_is_linked():
    text = "".join((ROOT/name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))
    assert all(f"(howto/{page.name})" in text for page in (ROOT/"howto").glob("*.md"))
