"Claims: a row says what a figure must be, a check runs in its own process, the exit code tells the result."
import math
import pandas as pd, pytest
from attiqa import claims
from attiqa.claims import CLAIMS, RELATIONS, Claim, check_claim, claims_markdown, failed_tests
from attiqa.cli import main
from attiqa.core import WEIGHTS, read_json
from conftest import ROOT

@pytest.fixture
def figure_of(monkeypatch):
    "Let the process of a check find this figure."
    def set_figure(text):
        write = f"write_json(sys.argv[2] + '/claim.json', dict(figure={text}))"
        work = f"import sys; from attiqa.core import write_json; {write}"
        monkeypatch.setattr(claims, "_WORK", work)
    return set_figure

@pytest.mark.parametrize("relation, holds", [
    ("at least", [False, True, True]), ("at most", [True, True, False]), ("equals", [False, True, False])])
def test_relations_include_the_bound(relation, holds):
    claim = Claim("x", "", None, relation, 2, "index")
    assert [claim.holds(figure) for figure in (1, 2, 3)] == holds

@pytest.mark.parametrize("relation", RELATIONS)
def test_no_figure_holds_nothing(relation):
    assert not Claim("x", "", None, relation, 2, "index").holds(math.nan)

@pytest.mark.parametrize("figure, result, code", [
    (.61, "differs", 1), (.6, "holds", 0), ("1/0", "cannot be run here", 2)])
def test_a_check_compares_and_its_exit_code_says_so(figure, result, code, figure_of, tmp_path, capsys):
    figure_of(figure)
    table = tmp_path/"claims.csv"
    assert main(["claims", "run", "start", "--run", str(tmp_path/"run"), "--csv", str(table)]) == code
    row = pd.read_csv(table).iloc[0]
    assert (row["name"], row.result) == ("start", result)
    assert result in capsys.readouterr().out

def test_a_failed_check_shows_its_error(figure_of, tmp_path):
    figure_of("1/0")
    checked = check_claim(claims.claim_named("start"), tmp_path)
    assert "ZeroDivisionError" in checked.detail
    assert math.isnan(checked.figure)

def test_a_check_leaves_what_it_cannot_run(figure_of, tmp_path, capsys):
    figure_of(.5)
    assert main(["claims", "run", "findings", "start", "--run", str(tmp_path), "--data", str(tmp_path)]) == 2
    out = capsys.readouterr().out
    assert "missing in the folder of datasets: pristine" in out
    assert "start" in out
    assert not (tmp_path/"findings").exists()

@pytest.mark.parametrize("words", [["run"], ["walk"], ["run", "nonsense"]])
def test_wrong_words_are_one_line(words, capsys):
    assert main(["claims", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1

def test_tests_that_fail_are_a_figure(tmp_path):
    wrong = tmp_path/"test_wrong.py"
    wrong.write_text("def test_wrong(): assert 0")
    assert failed_tests(tmp_path, None, [str(wrong)]) == 1

def test_bounds_are_not_above_the_cards():
    "The README promises what the cards measured; a claim may promise no more."
    figures = read_json(WEIGHTS/"figures.json")
    for claim in (claim for claim in CLAIMS if "clive" in claim.needs):
        dataset = "clive" if "clive" in claim.name else "biq2021"
        model = claim.figure.keywords["model"]
        assert claim.bound <= figures[model]["human"][dataset]["quality"][0]

def test_the_page_is_in_the_checkout():
    assert (ROOT/"CLAIMS.md").read_text(encoding="utf-8") == claims_markdown()
