"Findings: each rule finds what it names, sound photographs have none, limits and CI conditions are checked, and the shipped figures hold their promises."
import json
import numpy as np, pandas as pd, pytest
from PIL import Image
from attiqa.cli import main
from attiqa.core import SHIPPED, AttiqaError
from attiqa.distort import apply_recipe
from attiqa.findings import FINDINGS, RULES, add_findings, findings, found, look, measures, read_limits, shipped_limits
from attiqa.images import package_photograph, to_image, to_tensor
from attiqa.score import Score, Scorer

MEASURED = pd.read_csv(SHIPPED/"data"/"measured"/"findings.csv")
FOUND = dict(blurred=("gaussian_blur", .6), motion_blurred=("motion_blur", .9), noisy=("gaussian_noise", .6), too_dark=("under_exposure", .7), compressed=("jpeg", .7),
             low_contrast=("linear_contrast", .9), faded=("desaturation", .9), low_resolution=("upscaled", .5))

@pytest.fixture(scope="module")
def scorer(): return Scorer("attiqa-mini", "cpu")

@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path/"data set"
    folder.mkdir()
    photo = package_photograph("coffee.png")
    photo.save(folder/"a.png"), photo.save(folder/"b.png")
    photo.resize((300, 200)).save(folder/"c.png")
    package_photograph("chelsea.png").save(folder/"cat.png")
    to_image(apply_recipe(to_tensor(package_photograph("astronaut.png")), [("gaussian_blur", .7)], "x")).save(folder/"<img src=x>.png")
    return folder

def names(row): return {one.name for one in row.findings}

@pytest.mark.parametrize("finding", FOUND)
def test_a_rule_finds_what_it_names(scorer, finding):
    photo = package_photograph("chelsea.png")
    worse = to_image(apply_recipe(to_tensor(photo), [FOUND[finding]], "test"))
    before, after = findings(scorer, [photo, worse])
    assert finding in names(after) and finding not in names(before)
    reason, = (one.reason for one in after.findings if one.name == finding)
    assert RULES[finding].words in reason and ("above" if RULES[finding].above else "below") in reason

def test_black_and_white_is_not_faded(scorer): assert "faded" not in names(look(scorer, None, package_photograph("chelsea.png").convert("L").convert("RGB")))

@pytest.mark.parametrize("image, finding", [(Image.new("RGB", (64, 64), "navy"), "near_blank"), (package_photograph("coffee.png").crop((0, 0, 600, 100)), "odd_size")])
def test_blank_and_odd(scorer, image, finding): assert finding in names(look(scorer, None, image))

def test_clipped_highlights_are_inside(scorer):
    photo = np.asarray(package_photograph("chelsea.png")).copy()
    burnt, framed = photo.copy(), photo.copy()
    burnt[40:260, 60:400], framed[:100] = 255, 255
    values = [measures(to_tensor(Image.fromarray(one)), Score()) for one in (photo, burnt, framed)]
    assert values[0]["clipped"] < .01 and values[1]["clipped"] > .4 and values[2]["clipped"] < .01

def test_duplicates(scorer, dataset):
    rows = scorer.findings(sorted(dataset.iterdir()))
    assert [sum(name in names(row) for row in rows) for name in ("duplicate", "near_duplicate")] == [1, 1]
    assert any("duplicate: the same bytes as" in row.text for row in rows)

def test_one_image_and_bad_ones(scorer, tmp_path):
    (tmp_path/"bad.jpg").write_bytes(b"nothing")
    bad, good = scorer.findings([tmp_path/"bad.jpg", package_photograph("chelsea.png")])
    assert bad.score.error and not bad.findings and 0 <= good.score.quality <= 1
    assert len(scorer.findings(package_photograph("chelsea.png"))) == 1

def test_limits_replace_the_shipped_ones(scorer):
    values = measures(to_tensor(package_photograph("chelsea.png")), Score())
    limit = values["detail"]
    assert [one.name for one in found(values, dict(blurred=limit + .01))][:1] == ["blurred"]
    assert "blurred" not in [one.name for one in found(values, dict(blurred=None))]

@pytest.mark.parametrize("text, said", [("blury: 1", "no limit"), ("blurred: much", "give a number"), ("blurred: true", "give a number"), ("- 1", "per line"), ("a: [", "not valid YAML"), ("blurred: .nan", "give a number")])
def test_wrong_limits(tmp_path, text, said):
    (tmp_path/"limits.yaml").write_text(text)
    with pytest.raises(AttiqaError, match=said): read_limits(tmp_path/"limits.yaml")
    with pytest.raises(AttiqaError, match="No such file"): read_limits(tmp_path/"none.yaml")

@pytest.mark.parametrize("condition, code", [("blurred=1%", 1), ("blurred=50%", 0), ("duplicate=0", 1), ("duplicate=1", 0), ("any=100%", 0)])
def test_check_fails_on(dataset, capsys, condition, code):
    assert main(["check", str(dataset), "--fail-on", condition]) == code
    assert ("fails: " in capsys.readouterr().err) == bool(code)

def test_check_writes_tables(dataset, tmp_path, capsys):
    assert main(["check", str(dataset), "--out", str(tmp_path/"out")]) == 0
    csv, parquet = pd.read_csv(tmp_path/"out"/"findings.csv", keep_default_na=False), pd.read_parquet(tmp_path/"out"/"findings.parquet")
    assert csv.path.tolist() == parquet.path.tolist() == sorted(map(str, dataset.iterdir()))
    assert {"is_blurry_issue", "is_dark_issue", "is_light_issue", "is_low_information_issue", "is_odd_aspect_ratio_issue", "is_duplicate_issue"} <= set(csv)
    assert parquet.is_blurry_issue.tolist() == ["blurred" in text.split() for text in parquet.findings] and parquet.is_blurry_issue.sum() == 1
    assert "5 images, 0 that could not be read" in capsys.readouterr().out

def test_an_unreadable_image_fails_a_check(dataset, capsys):
    (dataset/"bad.jpg").write_bytes(b"\xff\xd8\xff nothing")
    assert main(["check", str(dataset)]) == 1
    assert "bad.jpg" in capsys.readouterr().err

@pytest.mark.parametrize("words, said", [(["none"], "none"), (["--fail-on", "blury=1%"], "no finding"), (["--limits", "none.yaml"], "none.yaml"), (["--fail-on", "blurred"], "NAME=COUNT")])
def test_wrong_arguments(dataset, capsys, words, said):
    assert main(["check", *(words if words == ["none"] else [str(dataset), *words])]) in (1, 2)
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1

def test_a_hugging_face_dataset(scorer):
    datasets = pytest.importorskip("datasets")
    blurred = to_image(apply_recipe(to_tensor(package_photograph("chelsea.png")), [("gaussian_blur", .7)], "x"))
    data = datasets.Dataset.from_dict(dict(image=[package_photograph("chelsea.png"), blurred]), datasets.Features(image=datasets.Image()))
    mapped = data.map(add_findings(scorer), batched=True, new_fingerprint="attiqa")
    assert ["blurred" in text.split() for text in mapped["findings"]] == [False, True] and mapped["quality"][0] > mapped["quality"][1]

def test_every_limit_has_a_source():
    rules = shipped_limits()["rules"]
    assert set(rules) == set(RULES) and all(entry["source"] and np.isfinite(entry["limit"]) for entry in rules.values())
    assert json.dumps(shipped_limits()) and len(FINDINGS) == 15

def test_false_findings_are_rare():
    shares = MEASURED[MEASURED.on == "untouched"].set_index("finding").share
    assert shares["any"] <= .08 and (shares.drop("any") <= .02).all() and set(shares.index) == {*RULES, "any"}

@pytest.mark.parametrize("finding, mechanism", [("blurred", "gaussian_blur"), ("noisy", "gaussian_noise"), ("too_dark", "under_exposure"), ("compressed", "jpeg")]) # 10k says which fall short
def test_middle_severities_are_found(finding, mechanism):
    row, = MEASURED[(MEASURED.finding == finding) & (MEASURED.on == mechanism) & (MEASURED.severity == .5)].itertuples()
    assert row.share >= .8

@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_every_output_of_score_has_the_column(dataset, tmp_path, form):
    place = tmp_path/f"scores.{form}"
    assert main(["score", str(dataset), f"--{form}", str(place)]) == 0
    table = dict(csv=lambda p: pd.read_csv(p, keep_default_na=False), json=pd.read_json, parquet=pd.read_parquet)[form](place)
    said = dict(zip(table.path, table.findings))
    assert "blurred: fine detail" in said[str(dataset/"<img src=x>.png")] and said[str(dataset/"cat.png")] == ""

def test_the_terminal_names_findings(dataset, capsys):
    assert main(["score", str(dataset/"<img src=x>.png")]) == 0
    assert "(blurred: fine detail" in capsys.readouterr().out

def test_the_scorer_of_the_package_has_findings():
    import attiqa
    assert attiqa.Scorer.findings is findings
