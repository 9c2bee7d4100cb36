"Rating and learning from it: from the page in a browser to a scorer's file; the labels decide, and too few are refused."
import csv
from pathlib import Path
import numpy as np, pytest
from attiqa.cli import main
from attiqa.core import generator
from attiqa.features import attribute_formulas
from attiqa.images import PHOTOGRAPHS, package_photograph, to_tensor
from attiqa.metrics import srcc

@pytest.fixture(scope="module")
def album(tmp_path_factory):
    "Crops by file name, and how colourful each is: what the rater of these tests likes."
    folder, rng, liked = tmp_path_factory.mktemp("rated")/"album", generator("rated crops"), {}
    folder.mkdir()
    for i in range(48):
        picture = package_photograph(sorted(PHOTOGRAPHS)[i % len(PHOTOGRAPHS)])
        left, top = (int(rng.integers(0, n - 96)) for n in picture.size)
        crop = picture.crop((left, top, left + 96, top + 96))
        crop.save(folder/f"{i:02}.png")
        liked[str(folder/f"{i:02}.png")] = float(attribute_formulas(to_tensor(crop))[3])
    return folder, liked

def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file: csv.writer(file).writerows([header, *rows])
    return str(path)

def scored(album, model, folder):
    "Qualities that the command line gives, in the order of the rater's liking."
    assert main(["score", str(album), "--model", str(model), "--csv", str(folder/"scores.csv"), "--no-findings"]) == 0
    return {row["path"]: float(row["quality"]) for row in csv.DictReader(open(folder/"scores.csv", encoding="utf-8"))}

def opened(chromium, page, said):
    "The page in a fresh offline profile; what it complains of or asks of the network goes into `said`."
    context = chromium.new_context(accept_downloads=True, offline=True)
    tab = context.new_page()
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    tab.on("request", lambda request: said.append(request.url) if not request.url.startswith(("data:", "blob:", "file:")) else None)
    tab.goto(page.as_uri())
    return tab

def saved(tab, place):
    with tab.expect_download() as download: tab.keyboard.press("s")
    download.value.save_as(place)
    return list(csv.reader(open(place, encoding="utf-8")))

def test_from_page_to_scorer(chromium, album, tmp_path, capsys):
    folder, liked = album
    page, said = tmp_path/"rate.html", []
    assert main(["rate", str(folder), "-o", str(page), "--count", "60"]) == 0
    tab = opened(chromium, page, said)
    clicked = 0
    for turn in range(60):
        sides = tab.eval_on_selector_all("main img", "nodes => nodes.map(node => node.alt)")
        best = int(liked[sides[1]] > liked[sides[0]])
        if turn % 2: tab.keyboard.press(("ArrowLeft", "ArrowRight")[best])
        else: tab.locator("main button").nth(best).click(); clicked += 1
        if turn == 30: tab.reload() # answers stay
    assert clicked == 30 and tab.inner_text("#count") == "60 of 60" and "All rated" in tab.inner_text("main")
    rows = saved(tab, tmp_path/"ratings.csv")
    assert rows[0] == ["better", "worse"] and len(rows) == 61 and said == []
    assert all(liked[better] >= liked[worse] for better, worse in rows[1:])
    capsys.readouterr()
    assert main(["finetune", str(tmp_path/"ratings.csv"), "--out", str(tmp_path/"mine.safetensors")]) == 0
    assert "held-out agreement (share of pairs ordered alike" in capsys.readouterr().out
    mine, before = scored(folder, tmp_path/"mine.safetensors", tmp_path), scored(folder, "attiqa-mini", tmp_path)
    truth = [liked[path] for path in sorted(liked)]
    assert srcc([mine[path] for path in sorted(liked)], truth) > srcc([before[path] for path in sorted(liked)], truth) + .1

def test_stars_skips_and_steps_back(chromium, album, tmp_path):
    folder, _ = album
    page, said = tmp_path/"rate.html", []
    assert main(["rate", str(folder), "-o", str(page), "--stars", "--count", "4"]) == 0
    tab = opened(chromium, page, said)
    first = tab.get_attribute("main img", "alt")
    for key in ("3", "Backspace", "5", " ", "1", "2"): tab.keyboard.press(key)
    rows = saved(tab, tmp_path/"ratings.csv")
    assert rows[0] == ["image", "stars"] and [row[1] for row in rows[1:]].count("3") == 0 and len(rows) == 4 and said == []
    assert dict(rows[1:])[first] == "5"

def test_scores_of_a_taste_are_learned_and_the_fast_engine_reads_them(album, tmp_path, capsys):
    from attiqa.score import Scorer
    folder, liked = album
    table = write_csv(tmp_path/"mos.csv", ["image", "mos"], [(Path(path).name, value) for path, value in liked.items()])
    assert main(["finetune", table, "--out", str(tmp_path/"mine.safetensors"), "--folder", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "held-out agreement (SRCC, 48 labels)" in said and "yours agrees better with you" in said
    scorer = Scorer(tmp_path/"mine.safetensors", "cpu")
    assert scorer.engine is not None and scorer.card["scores"]["labels"] == 48
    path = next(iter(liked))
    assert scorer(path).quality == pytest.approx(float(scorer.net.scores(torch_pixels(path))[1]), abs=1e-3)
    assert scorer(path).sharpness == pytest.approx(Scorer(device="cpu")(path).sharpness, abs=1e-3) # attributes stay

def torch_pixels(path):
    from attiqa.score import read_pixels
    return read_pixels(path)[None]

def test_noise_for_labels_leaves_the_scorer_as_it_was(album, tmp_path, capsys):
    folder, liked = album
    noise = generator("noise labels").random(len(liked))
    table = write_csv(tmp_path/"mos.csv", ["image", "rating"], [*zip(liked, noise)])
    assert main(["finetune", table, "-o", str(tmp_path/"mine.safetensors")]) == 0
    assert "not surely better than before" in capsys.readouterr().out

@pytest.mark.parametrize("header, rows, expected", [
    (["image", "stars"], [(f"{i}.png", i % 5 + 1) for i in range(5)], "rate 15 more"),
    (["better", "worse"], [("a.png", "b.png")]*5, "5 labels cannot show"),
    (["name", "stars"], [("a.png", 1)], "give better and worse, or image and"),
    (["image", "stars"], [("a.png", 9)], "stars lie in [1, 5]"),
    (["image", "stars"], [("a.png", "good")], "row 1 has the stars 'good'"),
    (["image", "mos"], [(f"{i}.png", 3) for i in range(30)], "nothing to learn from"),
    (["better", "worse"], [("a.png", "a.png")]*30, "with itself"),
    (["image", "mos"], [(f"{i}.png", i) for i in range(30)], "0.png: cannot be read")])
def test_what_cannot_be_learned_is_said(tmp_path, capsys, header, rows, expected):
    assert main(["finetune", write_csv(tmp_path/"r.csv", header, rows), "--out", str(tmp_path/"mine.safetensors")]) == 2
    said = capsys.readouterr().err
    assert expected in said and len(said.splitlines()) == 1 and not (tmp_path/"mine.safetensors").exists()

def test_a_pickle_is_no_name_for_a_scorer(album, tmp_path, capsys):
    assert main(["finetune", write_csv(tmp_path/"r.csv", ["image", "mos"], [*album[1].items()]), "--out", str(tmp_path/"mine.pt")]) == 2
    assert "ends in .safetensors" in capsys.readouterr().err

def test_no_picture_of_a_test_pair_was_seen():
    from attiqa.taste import pair_folds
    rng = np.random.default_rng(0)
    for pairs in (rng.permutation(60).reshape(-1, 2), rng.integers(0, 20, (80, 2)), np.array([(0, i) for i in range(1, 40)])):
        for train, test in pair_folds(pairs): assert {*pairs[train].ravel()}.isdisjoint(pairs[test].ravel())
