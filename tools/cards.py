"Measure the shipped models and write their cards: python tools/cards.py runs/mini [--human clive=FOLDER] [--human biq2021=FOLDER]"
import argparse
from pathlib import Path
import numpy as np, pandas as pd, torch
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt
from attiqa.core import ATTRIBUTES, SHIPPED, WEIGHTS, atomic, write_json
from attiqa.datasets import read_biq2021, read_clive
from attiqa.distort import LADDERS, ladder
from attiqa.images import crop_center, open_source, package_photograph, to_image, to_tensor
from attiqa.metrics import bootstrap_interval, srcc
from attiqa.mini import ladder_responses, ladder_table, taught_pairs, word_table
from attiqa.prompts import load_prompts
from attiqa.proxies import embed_ladders
from attiqa.score import Scorer
from attiqa.vlm import load_vlm

READERS = dict(clive=read_clive, biq2021=read_biq2021)
NOTES = dict(clive="CLIVE, 1,162 photographs; 542 of them are high-quality JPEG copies of the release's BMP files, so figures may differ a little from the originals'",
             biq2021="2,000 images of BIQ2021's official training split")

def crops(source, size=224): return {key: to_tensor(crop_center(source.load(key), size)) for key in source.keys}

def clip_tables(held, run):
    "The vision-language model by the words of its training and by the prompts of the run."
    vlm = load_vlm()
    embeddings = embed_ladders(vlm, held, 224, 6, 0)
    tables = [ladder_table(ladder_responses(vlm, embeddings, pairs)) for pairs in (taught_pairs(vlm), load_prompts(run/"prompts.json", vlm))]
    return *tables, word_table(vlm, embeddings)

@torch.inference_mode()
def scorer_responses(net, pixels, names):
    "Quality and attributes along ladders: name to (N, 6 rungs, 6)."
    def one(x, name, key):
        attributes, quality = net.scores(ladder(x, name, 0, key))
        return torch.column_stack([quality, attributes]).cpu().numpy()
    return {name: np.stack([one(x, name, key) for key, x in pixels.items()]) for name in names}

def agreement(table, scorer):
    "SRCC of each score with people's, with its interval."
    scores = list(scorer.stream(table.image))
    column = lambda name: np.array([getattr(s, name) for s in scores])
    return {name: (srcc(column(name), table.mos), *bootstrap_interval(srcc, column(name), table.mos.to_numpy())) for name in ("quality", *ATTRIBUTES)}

def frame(title, rows): return "\n".join(["| " + " | ".join(title) + " |", "|" + "---|"*len(title), *("| " + " | ".join(r) + " |" for r in rows)])

def ladder_rows(table): return frame(("attribute", "SRCC", "95 % interval", "selectivity ratio"), [(a, f"{r.SRCC:.3f}", f"{r.low:.3f} to {r.high:.3f}", f"{r.ratio:.2f}") for a, r in table.iterrows()])

def word_rows(words):
    cells = words.assign(cell=words.apply(lambda r: f"{r.srcc:.2f} ({r.low:.2f} to {r.high:.2f})", axis=1)).pivot(index="attribute", columns="words", values="cell").loc[list(ATTRIBUTES), list(words.words.unique())]
    return frame(("attribute", *cells), [(a, *r) for a, r in zip(cells.index, cells.to_numpy())])

def order_rows(results): return frame(("mechanisms", "test", "value", "95 % interval"), [(f"{r.kind}, {r.mechanisms}", r.test, f"{r.value:.3f}", f"{r.low:.3f} to {r.high:.3f}") for r in results.itertuples()])

FAILURES = (("rocket.jpg", "over_exposure"), ("flower.jpg", "local_blur"), ("flower.jpg", "gamma_dark"), ("rocket.jpg", "hard_curve"))

@torch.inference_mode()
def draw_failures(scorer, file):
    "Ladders that quality does not follow, as one small picture."
    figure, axes = plt.subplots(len(FAILURES), 6, figsize=(6.6, 5))
    for row, (photo, name) in zip(axes, FAILURES):
        rungs = ladder(to_tensor(crop_center(package_photograph(photo), 224)), name, 0, photo)
        for axis, rung, quality in zip(row, rungs, scorer.net.quality(rungs)): axis.imshow(to_image(rung)); axis.set(xticks=[], yticks=[]); axis.set_title(f"{quality:.2f}", fontsize=8)
        row[0].set_ylabel(name.replace("_", " "), fontsize=8)
    figure.tight_layout(pad=.4); figure.savefig(file, dpi=72, pil_kwargs=dict(quality=80))

def fill(name, target, **values):
    template = (Path(__file__).parent/"cards"/name).read_text(encoding="utf-8")
    with atomic(target) as part: part.write_text(template.format(**values), encoding="utf-8")

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--human", action="append", default=[], metavar="NAME=FOLDER", help="a dataset of human scores, read for figures only")
    options = parser.parse_args()
    held, run, scorer = open_source(str(options.run/"held_out.txt")), options.run, Scorer()
    taught, chosen, words = clip_tables(held, run)
    words.round(4).to_csv(SHIPPED/"data"/"measured"/"clip_words.csv", index=False)
    fill("attiqa-mini-clip.md", WEIGHTS/"attiqa-mini-clip"/"README.md", photographs=len(held), taught=ladder_rows(taught), chosen=ladder_rows(chosen), said=word_rows(words))
    pixels = crops(held.take(60, "cards"))
    own = scorer_responses(scorer.net, pixels, LADDERS.values())
    table = ladder_table({a: own[name][..., 1:] for a, name in LADDERS.items()})
    results = pd.read_parquet(run/"finetuned"/"order"/"results.parquet")
    tests = results.query("kind == 'attributes'").set_index("test").value.rename(str.lower).to_dict()
    people = {name: agreement(READERS[name](folder), scorer) for name, folder in (h.split("=", 1) for h in options.human)}
    lines = [(NOTES[n], score, f"{v[0]:.3f}", f"{v[1]:.3f} to {v[2]:.3f}") for n, scores in people.items() for score, v in scores.items()]
    human = frame(("data", "score", "SRCC", "95 % interval"), lines) if lines else "Not measured."
    fill("attiqa-mini.md", WEIGHTS/"attiqa-mini.md", photographs=len(pixels), own=ladder_rows(table), human=human, order=order_rows(results), images=results.images[0], weights=sum(p.numel() for p in scorer.net.parameters())/1e6)
    draw_failures(scorer, WEIGHTS/"attiqa-mini-failures.jpg")
    figures = dict(clip_taught=taught, clip_chosen=chosen, scorer=table)
    write_json(WEIGHTS/"figures.json", {k: v.round(4).to_dict("index") for k, v in figures.items()} | dict(label_free=tests, human=people, photographs=len(held)))

if __name__ == "__main__": main()
