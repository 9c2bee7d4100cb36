"Rating and learning from it: from the page in a browser to a scorer's file."
import csv
from pathlib import Path
import numpy as np, pytest
from attiqa.cli import main
from attiqa.core import generator
from attiqa.features import attribute_formulas
from attiqa.images import PHOTOGRAPHS, package_photograph, to_tensor
from attiqa.metrics import srcc
from attiqa.score import Scorer, read_pixels
from attiqa.taste import pair_folds

@pytest.fixture(scope="module")
def album(tmp_path_factory):
    "A folder of crops, and file to colourfulness: this rater likes colour."
    folder, rng, liked = tmp_path_factory.mktemp("rated")/"album", generator("rated crops"), {}
    folder.mkdir()
    for i in range(48):
        image = package_photograph(sorted(PHOTOGRAPHS)[i % len(PHOTOGRAPHS)])
        left, top = (int(rng.integers(0, n - 96)) for n in image.size)
        crop = image.crop((left, top, left + 96, top + 96))
        crop.save(folder/f"{i:02}.png")
        liked[str(folder/f"{i:02}.png")] = float(attribute_formulas(to_tensor(crop))[3])
    return folder, liked

def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)

def scored(album, model, folder):
    "File to the quality that the command line gives."
    target = folder/"scores.csv"
    assert main(["score", str(album), "--model", str(model), "--csv", str(target), "--no-findings"]) == 0
    with open(target, encoding="utf-8") as file:
        return {row["path"]: float(row["quality"]) for row in csv.DictReader(file)}

# The page in a browser

def open_page(chromium, page, complaints):
    "Open the page in a new offline profile; errors and requests to a network are added to `complaints`."
    def log_error(message):
        if message.type == "error": complaints.append(message.text)
    def log_request(request):
        if not request.url.startswith(("data:", "blob:", "file:")): complaints.append(request.url)
    tab = chromium.new_context(accept_downloads=True, offline=True).new_page()
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", log_error)
    tab.on("request", log_request)
    tab.goto(page.as_uri())
    return tab

def saved(tab, place):
    "Rows of the CSV that the page saves."
    with tab.expect_download() as download:
        tab.keyboard.press("s")
    download.value.save_as(place)
    with open(place, encoding="utf-8") as file:
        return list(csv.reader(file))

def rate(tab, liked, turn):
    "Answer one pair, by keyboard and by mouse in turn."
    sides = tab.eval_on_selector_all("main img", "nodes => nodes.map(node => node.alt)")
    best = int(liked[sides[1]] > liked[sides[0]])
    if turn % 2: tab.keyboard.press(("ArrowLeft", "ArrowRight")[best])
    else: tab.locator("main button").nth(best).click()

def test_from_page_to_scorer(chromium, album, tmp_path, capsys):
    folder, liked = album
    page, complaints = tmp_path/"rate.html", []
    assert main(["rate", str(folder), "-o", str(page), "--count", "60"]) == 0
    tab = open_page(chromium, page, complaints)
    for turn in range(60):
        rate(tab, liked, turn)
        if turn == 30: tab.reload() # answers stay
    assert tab.inner_text("#count") == "60 of 60"
    assert "All rated" in tab.inner_text("main")
    rows = saved(tab, tmp_path/"ratings.csv")
    assert rows[0] == ["better", "worse"]
    assert len(rows) == 61
    assert complaints == []
    assert all(liked[better] >= liked[worse] for better, worse in rows[1:])
    capsys.readouterr()
    assert main(["finetune", str(tmp_path/"ratings.csv"), "--out", str(tmp_path/"mine.safetensors")]) == 0
    assert "held-out agreement (share of pairs ordered alike" in capsys.readouterr().out
    truth = [liked[path] for path in sorted(liked)]
    mine, before = (scored(folder, model, tmp_path) for model in (tmp_path/"mine.safetensors", "attiqa-mini"))
    mine, before = (srcc([scores[path] for path in sorted(liked)], truth) for scores in (mine, before))
    assert mine > before + .1

def test_stars_skip_and_step_back(chromium, album, tmp_path):
    folder, _ = album
    page, complaints = tmp_path/"rate.html", []
    assert main(["rate", str(folder), "-o", str(page), "--stars", "--count", "4"]) == 0
    tab = open_page(chromium, page, complaints)
    first = tab.get_attribute("main img", "alt")
    for key in ("3", "Backspace", "5", " ", "1", "2"): tab.keyboard.press(key)
    rows = saved(tab, tmp_path/"ratings.csv")
    assert rows[0] == ["image", "stars"]
    assert len(rows) == 4
    assert "3" not in [row[1] for row in rows[1:]]
    assert dict(rows[1:])[first] == "5"
    assert complaints == []

# Learning

def test_a_learned_scorer_is_read_by_the_fast_engine(album, tmp_path, capsys):
    folder, liked = album
    rows = [(Path(path).name, value) for path, value in liked.items()]
    table, out = write_csv(tmp_path/"mos.csv", ["image", "mos"], rows), tmp_path/"mine.safetensors"
    assert main(["finetune", table, "--out", str(out), "--folder", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "held-out agreement (SRCC, 48 labels)" in text
    assert "yours agrees better with you" in text
    scorer, path = Scorer(out, "cpu"), next(iter(liked))
    assert scorer.engine is not None
    assert scorer.card["scores"]["labels"] == 48
    expected = float(scorer.net.scores(read_pixels(path)[None])[1])
    assert scorer(path).quality == pytest.approx(expected, abs=1e-3)

def test_learning_keeps_the_attributes(album, tmp_path):
    folder, liked = album
    table = write_csv(tmp_path/"mos.csv", ["image", "mos"], [*liked.items()])
    out = tmp_path/"mine.safetensors"
    assert main(["finetune", table, "--out", str(out)]) == 0
    path = next(iter(liked))
    shipped, mine = Scorer(device="cpu")(path), Scorer(out, "cpu")(path)
    assert mine.sharpness == pytest.approx(shipped.sharpness, abs=1e-3)

def test_random_labels_do_not_improve_the_scorer(album, tmp_path, capsys):
    folder, liked = album
    noise = generator("noise labels").random(len(liked))
    table = write_csv(tmp_path/"mos.csv", ["image", "rating"], [*zip(liked, noise)])
    assert main(["finetune", table, "-o", str(tmp_path/"mine.safetensors")]) == 0
    assert "not surely better than before" in capsys.readouterr().out

@pytest.mark.parametrize("header, rows, message", [
    (["image", "stars"], [(f"{i}.png", i % 5 + 1) for i in range(5)], "rate 15 more"),
    (["better", "worse"], [("a.png", "b.png")]*5, "5 labels cannot show"),
    (["name", "stars"], [("a.png", 1)], "give better and worse, or image and"),
    (["image", "stars"], [("a.png", 9)], "stars lie in [1, 5]"),
    (["image", "stars"], [("a.png", "good")], "row 1 has the stars 'good'"),
    (["image", "mos"], [(f"{i}.png", 3) for i in range(30)], "nothing to learn from"),
    (["better", "worse"], [("a.png", "a.png")]*30, "with itself"),
    (["image", "mos"], [(f"{i}.png", i) for i in range(30)], "0.png: cannot be read")])
def test_unusable_ratings_are_one_line(tmp_path, capsys, header, rows, message):
    out = tmp_path/"mine.safetensors"
    assert main(["finetune", write_csv(tmp_path/"r.csv", header, rows), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not out.exists()

def test_a_scorer_is_not_a_pickle(album, tmp_path, capsys):
    table = write_csv(tmp_path/"r.csv", ["image", "mos"], [*album[1].items()])
    assert main(["finetune", table, "--out", str(tmp_path/"mine.pt")]) == 2
    assert "ends in .safetensors" in capsys.readouterr().err

RNG = np.random.default_rng(0)
PAIRS = dict(separate=RNG.permutation(60).reshape(-1, 2), random=RNG.integers(0, 20, (80, 2)),
             star=np.array([(0, i) for i in range(1, 40)]))

@pytest.mark.parametrize("pairs", PAIRS.values(), ids=PAIRS)
def test_no_image_of_a_test_pair_is_trained_on(pairs):
    for train, test in pair_folds(pairs):
        assert {*pairs[train].ravel()}.isdisjoint(pairs[test].ravel())
