"Every promise of SECURITY.md names tests that exist, in the file that it names."
import ast, re
import pytest
from conftest import ROOT

PROMISES = [line for line in (ROOT/"SECURITY.md").read_text(encoding="utf-8").splitlines() if "`test" in line]
WORD = re.compile(r"`(?:tests/)?(test_\w+(?:\.py)?)`")

def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}

def missing_tests(line):
    "Names in a promise without a test; a name that follows a file is looked for there, others in every file."
    everywhere = set().union(*map(functions, (ROOT/"tests").glob("test_*.py")))
    known, missing = everywhere, []
    for name in WORD.findall(line):
        path = ROOT/"tests"/name
        if not name.endswith(".py"): missing += [name] if name not in known else []
        elif path.is_file(): known = functions(path)
        else: missing.append(name)
    return missing

@pytest.mark.parametrize("line", PROMISES, ids=range(len(PROMISES)))
def test_promises_name_tests_that_exist(line):
    assert not missing_tests(line)

def test_a_promise_without_a_test_is_seen():
    assert missing_tests("`tests/test_none.py`") == ["test_none.py"]
    assert missing_tests("`tests/test_style.py`: `test_links`") == ["test_links"]
