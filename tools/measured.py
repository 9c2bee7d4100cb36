"""Measure the shipped models; write their cards and the tables that the package carries.

python tools/measured.py scorers RUN DATA     cards of the shipped scorers; DATA holds clive and biq2021
python tools/measured.py clip RUN             card of the shipped vision-language model
python tools/measured.py benchmark RUN...     tables of stage 06 on people's scores,
                                              in place of the same methods' rows
python tools/measured.py prompts RUN [--out FILE]    the report of a finished prompt search, as CSV
python tools/measured.py cost [--source FOLDER] [--images N] [--size N] [--repeats N]
                                              wall time of a whole search,
                                              with 10 and with 1,600 candidates, in turn
"""
import argparse, inspect, os, shlex, tempfile, time
from dataclasses import replace
from pathlib import Path
import matplotlib
import numpy as np
import pandas as pd
import torch
matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image
from scipy.stats import mannwhitneyu
from attiqa.bank import load_candidates
from attiqa.benchmark import MEASURED, benchmark
from attiqa.clip import ladder_responses, ladder_table, training_pairs, word_table
from attiqa.core import ATTRIBUTES, SHIPPED, WEIGHTS, atomic, read_json, write_json
from attiqa.distort import LADDERS, ladder
from attiqa.features import scored_images
from attiqa.hub import front_matter
from attiqa.images import ImageSource, crop_center, open_source, package_photograph, to_image, to_tensor
from attiqa.metrics import bootstrap_interval, srcc
from attiqa.order import order_tests_by_kind
from attiqa.prompts import load_prompts, search_pairs, search_prompts
from attiqa.proxies import controlled_tasks, embed_ladders
from attiqa.readers import read_biq2021, read_clive
from attiqa.runs import run_path
from attiqa.score import MINI, UNAWARE, Scorer
from attiqa.splits import load_splits
from attiqa.vlm import load_vlm

# ---- cards

def fill_card(name, target, **values):
    "Write a card from its template in tools/cards/."
    template = (Path(__file__).parent/"cards"/name).read_text(encoding="utf-8")
    with atomic(target) as part:
        part.write_text(template.format(**values), encoding="utf-8")

def markdown_table(title, rows):
    lines = [" | ".join(row) for row in (title, *rows)]
    return "\n".join(f"| {line} |" for line in lines).replace("\n", f"\n|{'---|'*len(title)}\n", 1)

def rounded(value):
    "Figures as JSON takes them, to four places."
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, pd.DataFrame):
        return value.round(4).to_dict("index" if value.index.dtype == object else "records")
    return np.round(value, 4).tolist() if isinstance(value, (tuple, float)) else value

# ---- the scorers

DATASETS = dict(clive=("CLIVE", read_clive), biq2021=("BIQ2021", read_biq2021))
COLUMNS = ("quality", *ATTRIBUTES)
FAILURES = (("rocket.jpg", "over_exposure"), ("flower.jpg", "local_blur"),
            ("flower.jpg", "gamma_dark"), ("rocket.jpg", "hard_curve"))

def halved(image):
    return image.resize([max(2, n//2) for n in image.size], Image.Resampling.LANCZOS)

def score_table(scorer, images, columns=COLUMNS):
    "Scores of images or files: (N, columns)."
    return np.array([[getattr(score, name) for name in columns] for score in scorer.stream(images)])

@torch.inference_mode()
def scorer_responses(scorer, source):
    "Attributes along their ladders: attribute to (N, 6 rungs, 5)."
    pixels = {key: to_tensor(crop_center(source.load(key), 224)) for key in source.keys}
    one = lambda x, name, key: scorer.net.scores(ladder(x, name, 0, key))[0].cpu().numpy()
    return {a: np.stack([one(x, name, key) for key, x in pixels.items()]) for a, name in LADDERS.items()}

def attribute_figures(scorer, held_out):
    "One row per attribute: its ladder at native and half size, selectivity, agreement between the two sizes."
    small = ImageSource("half", held_out.keys, lambda key: halved(held_out.load(key)))
    native, half = (ladder_table(scorer_responses(scorer, source)) for source in (held_out, small))
    whole, shrunk = (score_table(scorer, (source.load(key) for key in source.keys), ATTRIBUTES)
                     for source in (held_out, small))
    agreement = [srcc(*pair) for pair in zip(whole.T, shrunk.T)]
    return native.assign(half=half.SRCC, same=agreement)

def test_tables(run, data):
    "Images that no fine-tuning used, of each dataset: name to table."
    images = scored_images("biq2021+clive", f"{data/'biq2021'};{data/'clive'}")
    _, test = load_splits(run/"finetuned"/"biq2021+clive"/"splits.parquet", images.table)[0]
    table = images.table.iloc[test]
    return {name: table[table.dataset == title] for name, (title, _) in DATASETS.items()}

def human_agreement(scorer, tables):
    "SRCC with people and its interval: dataset to score to (value, low, high, images)."
    found = {}
    for name, table in tables.items():
        scores, mos = score_table(scorer, list(table.image)), table.mos.to_numpy()
        found[name] = {column: (srcc(values, mos), *bootstrap_interval(srcc, values, mos), len(table))
                       for column, values in zip(COLUMNS, scores.T)}
    return found

def share_above(better, worse):
    return mannwhitneyu(better, worse).statistic/(len(better)*len(worse))

def pristine_above(scorer, pristine, ordinary):
    "Share of pairs in which the pristine image has the higher quality, its interval, both counts of images."
    pair = [score_table(scorer, files)[:, 0] for files in (pristine, ordinary)]
    rng = np.random.default_rng(0)
    draws = [share_above(*(rng.choice(values, len(values)) for values in pair)) for _ in range(1000)]
    return share_above(*pair), *np.quantile(draws, (.025, .975)), *map(len, pair)

def interval_text(row): # row: with low and high
    return f"{row.low:.3f} to {row.high:.3f}"

def attribute_rows(table):
    rows = [(a, f"{r.SRCC:.3f}", interval_text(r), f"{r.half:.3f}", f"{r.ratio:.2f}", f"{r.same:.3f}")
            for a, r in table.iterrows()]
    return markdown_table(("attribute", "SRCC", "95 % interval", "SRCC at half size", "selectivity ratio",
                           "agreement with the half-size copy"), rows)

def order_rows(results):
    rows = [(f"{r.kind}, {r.mechanisms}", r.test, f"{r.value:.3f}", interval_text(r))
            for r in results.itertuples()]
    return markdown_table(("mechanisms", "test", "value", "95 % interval"), rows)

def people_rows(found):
    rows = [(f"{DATASETS[name][0]}, {images:,} images", score, f"{value:.3f}", f"{low:.3f} to {high:.3f}")
            for name, scores in found.items() for score, (value, low, high, images) in scores.items()]
    return markdown_table(("data", "score", "SRCC", "95 % interval"), rows)

def show_ladder(row, scorer, photo, name):
    "One ladder in a row of axes, with the quality of each rung."
    rungs = ladder(to_tensor(crop_center(package_photograph(photo), 224)), name, 0, photo)
    for axis, rung, quality in zip(row, rungs, scorer.net.quality(rungs)):
        axis.imshow(to_image(rung))
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"{quality:.2f}", fontsize=8)
    row[0].set_ylabel(name.replace("_", " "), fontsize=8)

@torch.inference_mode()
def draw_failures(scorer, file):
    "Four hard ladders, as one small image."
    figure, axes = plt.subplots(len(FAILURES), 6, figsize=(6.6, 5))
    for row, (photo, name) in zip(axes, FAILURES):
        show_ladder(row, scorer, photo, name)
    figure.tight_layout(pad=.4)
    figure.savefig(file, dpi=72, pil_kwargs=dict(quality=80))
    plt.close(figure)

def scorer_card(name, held_out, order, tables, pristine, ordinary):
    "Measure one shipped scorer, write its card."
    scorer = Scorer(name)
    attributes, people = attribute_figures(scorer, held_out), human_agreement(scorer, tables)
    share = pristine_above(scorer, pristine, ordinary)
    value, low, high, pristine_count, ordinary_count = share
    fill_card(f"{name}.md", WEIGHTS/f"{name}.md", front=front_matter(name, people, license="apache-2.0"),
              photographs=len(held_out), own=attribute_rows(attributes), human=people_rows(people),
              order=order_rows(order), tested=order.images.max(),
              above=f"{value:.3f} ({low:.3f} to {high:.3f})",
              pristine=pristine_count, ordinary=ordinary_count,
              weights=sum(p.numel() for p in scorer.net.parameters())/1e6,
              megabytes=scorer.path.stat().st_size/1e6, scale=scorer.card["scores"]["ordinary"])
    draw_failures(scorer, WEIGHTS/f"{name}-failures.jpg")
    return dict(attributes=attributes, order=order, human=people, above=share)

def measure_scorers(options):
    run, data = options.run, options.data
    held_out = open_source(str(run/"apart.txt"))
    pristine = [key for key in held_out.keys if Path(key).parent.name == "pristine"]
    some = held_out.take(60, "cards")
    order = {MINI: order_tests_by_kind(Scorer(MINI).net, some.take(30, "order"), 192, 0),
             UNAWARE: pd.read_parquet(run/"finetuned"/"order"/"results.parquet")}
    whole_sets = {name: read(data/name) for name, (_, read) in DATASETS.items()}
    tables = {MINI: test_tables(run, data), UNAWARE: whole_sets}
    figures = read_json(WEIGHTS/"figures.json")
    for name in (MINI, UNAWARE):
        ordinary = list(tables[name]["clive"].image)
        figures[name] = scorer_card(name, some, order[name], tables[name], pristine, ordinary)
    write_json(WEIGHTS/"figures.json", rounded(figures))

# ---- the vision-language model

def ladder_rows(table):
    rows = [(a, f"{r.SRCC:.3f}", interval_text(r), f"{r.ratio:.2f}") for a, r in table.iterrows()]
    return markdown_table(("attribute", "SRCC", "95 % interval", "selectivity ratio"), rows)

def word_rows(words):
    cells = words.apply(lambda r: f"{r.srcc:.2f} ({r.low:.2f} to {r.high:.2f})", axis=1)
    table = words.assign(cell=cells).pivot(index="attribute", columns="words", values="cell")
    table = table.loc[list(ATTRIBUTES), list(words.words.unique())]
    return markdown_table(("attribute", *table), [(a, *r) for a, r in zip(table.index, table.to_numpy())])

def measure_clip(options):
    run = options.run
    held_out, vlm = open_source(str(run/"held_out.txt")), load_vlm()
    search_prompts(run=str(run), source=str(run/"train.txt"), count=120, best=5)
    embeddings = embed_ladders(vlm, held_out, 224, 6, 0)
    words = word_table(vlm, embeddings)
    pairs = dict(clip_taught=training_pairs(vlm), clip_chosen=load_prompts(run/"prompts.json", vlm))
    tables = {name: ladder_table(ladder_responses(vlm, embeddings, p)) for name, p in pairs.items()}
    words.round(4).to_csv(SHIPPED/"data"/"measured"/"clip_words.csv", index=False)
    rows = {name.removeprefix("clip_"): ladder_rows(table) for name, table in tables.items()}
    fill_card("attiqa-mini-clip.md", WEIGHTS/"attiqa-mini-clip"/"README.md", photographs=len(held_out),
              said=word_rows(words), **rows)
    figures = rounded(tables | dict(photographs=len(held_out)))
    write_json(WEIGHTS/"figures.json", read_json(WEIGHTS/"figures.json") | figures)

# ---- the benchmark

NOTES = [
    "CLIVE: 542 of its 1,162 images are re-encoded (JPEG, quality 95, 4:4:4) from the release's BMP files, "
    "so its figures differ a little from the originals'.",
    "BIQ2021: 2,000 images of the official train part, split at random; not the official test split.",
    "attributes: EfficientNet-Lite0 after attribute pretraining from ImageNet's weights; "
    "ImageNet: that start; untrained: the same network with random weights.",
    "attiqa-mini-unaware: that pretrained network with quality learned from order alone; "
    "recipes were chosen on BIQ2021 (about 220 fits), CLIVE chose nothing.",
    "Networks of the kit here are the shipped stand-ins (1,930 unlabelled photographs), "
    "not the paper's model."]
# Table to its file in a run
TABLES = dict(protocols="benchmark", label_free="label_free", selectivity="selectivity")
METHOD = ["model", "part"] # together they name a method, which a table holds once

def command(settings):
    "The command of a run, with the settings that differ from the defaults."
    defaults = {name: p.default for name, p in inspect.signature(benchmark).parameters.items()}
    words = ["papermill", "nbs/06_benchmark.ipynb", "out.ipynb"]
    for name, value in settings.items():
        if value != defaults[name]:
            words += ["-r" if isinstance(value, str) else "-p", name, str(value)]
    return shlex.join(words)

def record(run):
    return read_json(run_path(run)/"run.json")["benchmark"]

def read_if_there(file):
    return pd.read_parquet(file) if file.is_file() else pd.DataFrame()

def run_tables(run):
    "Tables of one run by name; a run that fine-tunes gives its fine-tuned rows alone."
    results = run_path(run)/"results"
    found = {name: read_if_there(results/f"{file}.parquet") for name, file in TABLES.items()}
    if record(run)["settings"]["tuned_splits"]:
        table = found["protocols"]
        found["protocols"] = table[table.probe.str.startswith("fine-tuned")]
    return found

def replaced(old, new):
    "Rows of old whose method new does not have, then the rows of new."
    if not len(new):
        return old
    by = [column for column in METHOD if column in new]
    kept = old.merge(new[by].drop_duplicates(), "left", by, indicator=True).query("_merge == 'left_only'")
    return pd.concat([kept.drop(columns="_merge"), new], ignore_index=True)

def ship_benchmark(options):
    records, every = [record(run) for run in options.runs], [run_tables(run) for run in options.runs]
    for name in TABLES:
        table = pd.read_csv(MEASURED/f"{name}.csv", keep_default_na=False, na_values=[""])
        for found in every:
            table = replaced(table, found[name].round(4))
        with atomic(MEASURED/f"{name}.csv") as part:
            table.to_csv(part, index=False, lineterminator="\n")
        print(name, len(table))
    earlier = read_json(MEASURED/"about.json")["commands"]
    commands = list(dict.fromkeys([*earlier, *(command(r["settings"]) for r in records)]))
    last = records[-1]
    about = dict(notes=NOTES, commands=commands, finished=last["finished"], versions=last["versions"])
    write_json(MEASURED/"about.json", about)

# ---- prompt search

def ship_report(options):
    report = pd.read_parquet(options.run/"prompt_report.parquet").round(4)
    with atomic(options.out) as part:
        report.to_csv(part, index=False)
    print(options.out)

def search_seconds(source, candidates, size):
    "Seconds from loading the model to the report, with an empty cache of sentences."
    os.environ["ATTIQA_CACHE"] = tempfile.mkdtemp()
    start, vlm = time.perf_counter(), load_vlm()
    vlm = replace(vlm, preprocess=replace(vlm.preprocess, size=size)) # the model reads all pixels
    search_pairs(candidates, controlled_tasks(embed_ladders(vlm, source, size, 6, 0)), vlm)
    return time.perf_counter() - start

def some_candidates(count):
    "So many candidates of each attribute."
    table = load_candidates()
    return pd.concat([table[table.attribute == a].sample(count, random_state=0) for a in ATTRIBUTES])

def measure_cost(options):
    images = open_source(options.source, options.images, 0, options.size)
    few, many = some_candidates(2), some_candidates(320)
    for _ in range(options.repeats):
        short, long = (search_seconds(images, candidates, options.size) for candidates in (few, many))
        print(f"{len(images)} images of {options.size} pixels a side: {len(few)} candidates {short:.1f} s, "
              f"{len(many):,} candidates {long:.1f} s, ratio {long/short:.3f}", flush=True)

# ---- command line

def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    def add(name, function):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        return command
    scorers = add("scorers", measure_scorers)
    scorers.add_argument("run", type=Path)
    scorers.add_argument("data", type=Path)
    add("clip", measure_clip).add_argument("run", type=Path)
    add("benchmark", ship_benchmark).add_argument("runs", nargs="+")
    prompts = add("prompts", ship_report)
    prompts.add_argument("run", type=Path)
    prompts.add_argument("--out", default=SHIPPED/"data"/"prompt_report_photographs.csv")
    cost = add("cost", measure_cost)
    cost.add_argument("--source", default="embedded")
    for name, default in dict(images=500, size=96, repeats=1).items():
        cost.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    options.function(options)

if __name__ == "__main__":
    main()
