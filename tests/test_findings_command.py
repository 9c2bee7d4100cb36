"Findings on the command line: `check` and its conditions, and the column of `score`."
import pandas as pd, pytest
from attiqa.cli import main
from finding_files import BLURRED_NAME, make_dataset

@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path/"data set")

CONDITIONS = [ # of --fail-on, and the exit code
    ("blurred=1%", 1),
    ("blurred=50%", 0),
    ("duplicate=0", 1),
    ("duplicate=1", 0),
    ("any=100%", 0),
]

@pytest.mark.parametrize("condition, code", CONDITIONS)
def test_check_fails_on(dataset, capsys, condition, code):
    assert main(["check", str(dataset), "--fail-on", condition]) == code
    assert ("fails: " in capsys.readouterr().err) == bool(code)

ISSUES = ("is_blurry_issue", "is_dark_issue", "is_light_issue", "is_low_information_issue",
          "is_odd_aspect_ratio_issue", "is_duplicate_issue") # CleanVision's columns

def test_check_writes_tables(dataset, tmp_path, capsys):
    assert main(["check", str(dataset), "--out", str(tmp_path/"out")]) == 0
    assert "5 images, 0 that could not be read" in capsys.readouterr().out
    csv = pd.read_csv(tmp_path/"out"/"findings.csv", keep_default_na=False)
    parquet = pd.read_parquet(tmp_path/"out"/"findings.parquet")
    assert csv.path.tolist() == parquet.path.tolist() == sorted(map(str, dataset.iterdir()))
    assert set(ISSUES) <= set(csv)
    assert parquet.is_blurry_issue.tolist() == ["blurred" in text.split() for text in parquet.findings]
    assert parquet.is_blurry_issue.sum() == 1

def test_an_unreadable_image_fails_a_check(dataset, capsys):
    (dataset/"bad.jpg").write_bytes(b"\xff\xd8\xff nothing")
    assert main(["check", str(dataset)]) == 1
    assert "bad.jpg" in capsys.readouterr().err

def check_refused(capsys, words, said):
    "`check` says in one line what is wrong."
    assert main(["check", *words]) in (1, 2)
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1

def test_a_folder_that_is_not_there(capsys):
    check_refused(capsys, ["none"], "none")

WRONG = [ # words after the folder, and words of the error
    (["--fail-on", "blury=1%"], "no finding"),
    (["--limits", "none.yaml"], "none.yaml"),
    (["--fail-on", "blurred"], "NAME=COUNT"),
]

@pytest.mark.parametrize("words, said", WRONG)
def test_wrong_arguments(dataset, capsys, words, said):
    check_refused(capsys, [str(dataset), *words], said)

READ = dict(
    csv=lambda path: pd.read_csv(path, keep_default_na=False),
    json=pd.read_json,
    parquet=pd.read_parquet)

@pytest.mark.parametrize("form", READ)
def test_every_output_of_score_has_the_column(dataset, tmp_path, form):
    place = tmp_path/f"scores.{form}"
    assert main(["score", str(dataset), f"--{form}", str(place)]) == 0
    table = READ[form](place)
    said = dict(zip(table.path, table.findings))
    assert "blurred: fine detail" in said[str(dataset/BLURRED_NAME)]
    assert said[str(dataset/"cat.png")] == ""

def test_the_terminal_names_findings(dataset, capsys):
    assert main(["score", str(dataset/BLURRED_NAME)]) == 0
    assert "(blurred: fine detail" in capsys.readouterr().out
