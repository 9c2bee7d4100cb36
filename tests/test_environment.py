"An import changes nothing in the process, and the cores in use obey the quota of a control group."
import ast, os, subprocess, sys
import numpy as np, pytest
from attiqa.core import cores, cpu_quota
from attiqa.images import package_photograph
from conftest import ROOT
from test_notebooks import MODULES

# Imports

INDIRECT = {"fsspec", "pyarrow", "safetensors", "scipy", "sklearn", "timm", "torchmetrics", "tqdm"}

def imported_names(path):
    "Modules that a module of the kit imports, its own package's left out."
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level: yield node.module

def is_third_party(name):
    return not name.startswith("attiqa") and name.split(".")[0] not in sys.stdlib_module_names

def third_party():
    "Packages that the kit imports: what they change is their own."
    found = {name for path in MODULES for name in imported_names(path) if is_third_party(name)}
    return sorted(found | INDIRECT)

def test_an_import_changes_nothing_outside_the_package(tmp_path):
    names = [",".join(third_party()), ",".join(path.stem for path in MODULES)]
    command = [sys.executable, str(ROOT/"tests"/"process_state.py"), *names]
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]

ARMED = """
import warnings
from PIL import Image
warnings.simplefilter("error", Image.DecompressionBombWarning)
Image.MAX_IMAGE_PIXELS = 2000
import attiqa.score, attiqa.cli
try:
    Image.open("a.png")
    raise SystemExit("no warning")
except Image.DecompressionBombWarning:
    pass
print(attiqa.Scorer(device="cpu")(["a.png"])[0].error)
"""

def test_a_guard_against_bombs_stays_armed(tmp_path):
    "Pillow warns of an image this large; a program that turned the warning into an error gets the error."
    package_photograph("chelsea.png").resize((60, 50)).save(tmp_path/"a.png")
    done = subprocess.run([sys.executable, "-c", ARMED], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert "limit" in done.stdout

# Quotas of control groups

def write_tree(folder, files):
    for name, text in files.items():
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_text(text)

VERSION_1 = "3:cpuset:/\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n"
VERSION_2 = "0::/user/job\n"
AT_THE_ROOT = "0::/\n"

def version_1(folder, quota, period="100000"):
    "Files of a group's quota and period in microseconds."
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}

QUOTAS = dict(
    no_groups=("", {}, np.inf),
    unlimited=(VERSION_2, {"user/job/cpu.max": "max 100000"}, np.inf),
    limited=(VERSION_2, {"user/job/cpu.max": "250000 100000"}, 2.5),
    by_the_parent=(VERSION_2, {"user/cpu.max": "50000 100000", "user/job/cpu.max": "max 100000"}, .5),
    by_the_root=(VERSION_2, {"cpu.max": "100000 100000"}, 1),
    another_period=(AT_THE_ROOT, {"cpu.max": "200000 50000"}, 4),
    unified=(VERSION_2, {"unified/user/job/cpu.max": "300000 100000"}, 3),
    nonsense=(VERSION_2, {"user/job/cpu.max": "nonsense"}, np.inf),
    first_version=(VERSION_1, version_1("cpu,cpuacct/docker/abc", "150000"), 1.5),
    first_root=(VERSION_1, version_1("cpu", "400000"), 4),
    first_unlimited=(VERSION_1, version_1("cpu/docker", "-1"), np.inf),
    another_controller=(VERSION_1, version_1("cpuset", "1", "1"), np.inf))

@pytest.mark.parametrize("groups, files, expected", QUOTAS.values(), ids=QUOTAS)
def test_quota_of_a_control_group(tmp_path, groups, files, expected):
    if groups: write_tree(tmp_path, {"proc/self/cgroup": groups})
    write_tree(tmp_path/"sys/fs/cgroup", files)
    assert cpu_quota(tmp_path) == expected

def test_a_group_whose_name_is_no_text(tmp_path):
    write_tree(tmp_path, {"proc/self/cgroup": "", "sys/fs/cgroup/cpu.max": "150000 100000"})
    (tmp_path/"proc/self/cgroup").write_bytes(b"0::/job\xff\n")
    assert cpu_quota(tmp_path) == 1.5

@pytest.mark.parametrize("quota, expected", [(np.inf, 8), (.3, 1), (1, 1), (2.5, 3), (8, 8), (64, 8)])
def test_cores_under_a_quota(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr("attiqa.core.cpu_quota", lambda: quota)
    assert cores() == expected
