"Measure the shipped scorers and write their cards: python tools/cards.py runs/mini DATA; DATA holds clive and biq2021"
import argparse
from pathlib import Path
import numpy as np
import pandas as pd
import torch
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image
from scipy.stats import mannwhitneyu
from attiqa.core import ATTRIBUTES, WEIGHTS, atomic, read_json, write_json
from attiqa.datasets import load_splits, read_biq2021, read_clive
from attiqa.distort import LADDERS, ladder
from attiqa.features import scored_images
from attiqa.hub import front_matter
from attiqa.images import ImageSource, crop_center, open_source, package_photograph, to_image, to_tensor
from attiqa.metrics import bootstrap_interval, srcc
from attiqa.mini import ladder_table
from attiqa.order import kinds_tested
from attiqa.score import MINI, UNAWARE, Scorer

DATASETS = dict(clive=("CLIVE", read_clive), biq2021=("BIQ2021", read_biq2021))
COLUMNS = ("quality", *ATTRIBUTES)

def crops(source, size=224):
    return {key: to_tensor(crop_center(source.load(key), size)) for key in source.keys}

def halved(image):
    return image.resize([max(2, n//2) for n in image.size], Image.Resampling.LANCZOS)

@torch.inference_mode()
def scorer_responses(net, pixels):
    "Attributes along their ladders: attribute to (N, 6 rungs, 5)."
    one = lambda x, name, key: net.scores(ladder(x, name, 0, key))[0].cpu().numpy()
    return {a: np.stack([one(x, name, key) for key, x in pixels.items()]) for a, name in LADDERS.items()}

def attribute_figures(scorer, apart):
    "A row an attribute: own ladder at native and half size, selectivity, agreement between the two sizes."
    small = ImageSource("half", apart.keys, lambda key: halved(apart.load(key)))
    native, half = (ladder_table(scorer_responses(scorer.net, crops(source))) for source in (apart, small))
    table = lambda source: np.array([[getattr(s, a) for a in ATTRIBUTES] for s in scorer.stream(source.load(key) for key in source.keys)])
    whole, shrunk = table(apart), table(small)
    return native.assign(half=half.SRCC, same=[srcc(whole[:, i], shrunk[:, i]) for i in range(len(ATTRIBUTES))])

def said(scorer, files):
    "Scores of files: (N, 6) in the order of COLUMNS."
    return np.array([[getattr(s, name) for name in COLUMNS] for s in scorer.stream(files)])

def with_interval(values, truth):
    return srcc(values, truth), *bootstrap_interval(srcc, values, truth)

def tested_rows(run, data):
    "Images that no fine-tuning saw, of each dataset: name to table."
    images = scored_images("biq2021+clive", f"{data/'biq2021'};{data/'clive'}")
    _, test = load_splits(run/"finetuned"/"biq2021+clive"/"splits.parquet", images.table)[0]
    table = images.table.iloc[test]
    return {name: table[table.dataset == title] for name, (title, _) in DATASETS.items()}

def people(scorer, tables):
    "SRCC with people and its interval: dataset to score to (value, low, high, images)."
    found = {}
    for name, table in tables.items():
        values = said(scorer, list(table.image))
        found[name] = {column: (*with_interval(values[:, i], table.mos.to_numpy()), len(table)) for i, column in enumerate(COLUMNS)}
    return found

def above(scorer, better, worse):
    "Share of pairs in which the better one has the higher quality, and its interval over images."
    pair = [said(scorer, files)[:, 0] for files in (better, worse)]
    share = lambda a, b: mannwhitneyu(a, b).statistic/(len(a)*len(b))
    draws = np.random.default_rng(0)
    some = [share(*(draws.choice(values, len(values)) for values in pair)) for _ in range(1000)]
    return share(*pair), *np.quantile(some, (.025, .975)), *map(len, pair)

def frame(title, rows):
    return "\n".join(["| " + " | ".join(title) + " |", "|" + "---|"*len(title), *("| " + " | ".join(r) + " |" for r in rows)])

def attribute_rows(table):
    rows = [(a, f"{r.SRCC:.3f}", f"{r.low:.3f} to {r.high:.3f}", f"{r.half:.3f}", f"{r.ratio:.2f}", f"{r.same:.3f}") for a, r in table.iterrows()]
    return frame(("attribute", "SRCC", "95 % interval", "SRCC at half size", "selectivity ratio", "agreement with the half-size copy"), rows)

def order_rows(results):
    rows = [(f"{r.kind}, {r.mechanisms}", r.test, f"{r.value:.3f}", f"{r.low:.3f} to {r.high:.3f}") for r in results.itertuples()]
    return frame(("mechanisms", "test", "value", "95 % interval"), rows)

def people_rows(found):
    rows = [(f"{DATASETS[name][0]}, {v[3]:,} images", score, f"{v[0]:.3f}", f"{v[1]:.3f} to {v[2]:.3f}") for name, scores in found.items() for score, v in scores.items()]
    return frame(("data", "score", "SRCC", "95 % interval"), rows)

FAILURES = (("rocket.jpg", "over_exposure"), ("flower.jpg", "local_blur"), ("flower.jpg", "gamma_dark"), ("rocket.jpg", "hard_curve"))

@torch.inference_mode()
def draw_failures(scorer, file):
    "Four hard ladders, as one small picture."
    figure, axes = plt.subplots(len(FAILURES), 6, figsize=(6.6, 5))
    for row, (photo, name) in zip(axes, FAILURES):
        rungs = ladder(to_tensor(crop_center(package_photograph(photo), 224)), name, 0, photo)
        for axis, rung, quality in zip(row, rungs, scorer.net.quality(rungs)):
            axis.imshow(to_image(rung))
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{quality:.2f}", fontsize=8)
        row[0].set_ylabel(name.replace("_", " "), fontsize=8)
    figure.tight_layout(pad=.4)
    figure.savefig(file, dpi=72, pil_kwargs=dict(quality=80))
    plt.close(figure)

def fill(name, target, **values):
    template = (Path(__file__).parent/"cards"/name).read_text(encoding="utf-8")
    with atomic(target) as part:
        part.write_text(template.format(**values), encoding="utf-8")

def scorer_card(name, apart, order, tables, pristine, ordinary):
    "Measure one shipped scorer, write its card."
    scorer = Scorer(name)
    own = attribute_figures(scorer, apart)
    found, share = people(scorer, tables), above(scorer, pristine, ordinary)
    fill(f"{name}.md", WEIGHTS/f"{name}.md", front=front_matter(name, found, license="apache-2.0"), photographs=len(apart), own=attribute_rows(own), human=people_rows(found), order=order_rows(order), tested=order.images.max(),
         above=f"{share[0]:.3f} ({share[1]:.3f} to {share[2]:.3f})", pristine=share[3], ordinary=share[4],
         weights=sum(p.numel() for p in scorer.net.parameters())/1e6, megabytes=scorer.path.stat().st_size/1e6, scale=scorer.card["scores"]["ordinary"])
    draw_failures(scorer, WEIGHTS/f"{name}-failures.jpg")
    return dict(attributes=own, order=order, human=found, above=share)

def plain(value): # for JSON
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, pd.DataFrame):
        return value.round(4).to_dict("index" if value.index.dtype == object else "records")
    return np.round(value, 4).tolist() if isinstance(value, (tuple, float)) else value

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    run, data = (options := parser.parse_args()).run, options.data
    apart = open_source(str(run/"apart.txt"))
    pristine = [key for key in apart.keys if Path(key).parent.name == "pristine"]
    some = apart.take(60, "cards")
    orders = {MINI: kinds_tested(Scorer(MINI).net, some.take(30, "order"), 192, 0), UNAWARE: pd.read_parquet(run/"finetuned"/"order"/"results.parquet")}
    whole, tested = {name: read(data/name) for name, (_, read) in DATASETS.items()}, tested_rows(run, data)
    figures = read_json(WEIGHTS/"figures.json")
    figures[MINI] = scorer_card(MINI, some, orders[MINI], tested, pristine, list(tested["clive"].image))
    figures[UNAWARE] = scorer_card(UNAWARE, some, orders[UNAWARE], whole, pristine, list(whole["clive"].image))
    write_json(WEIGHTS/"figures.json", plain(figures))

if __name__ == "__main__": main()
