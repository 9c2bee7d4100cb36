"""Figures of prompt search that notebook 02 shows and does not measure itself.

python tools/prompt_figures.py report RUN [--out FILE]    the report of a finished search as CSV
python tools/prompt_figures.py cost [--source FOLDER] [--images N] [--size N] [--repeats N]
                                                          wall time of a whole search with 10 and with 1,600 candidates, in turn
"""
import argparse, os, tempfile, time
from dataclasses import replace
from pathlib import Path
import pandas as pd
from attiqa.bank import load_candidates
from attiqa.core import ATTRIBUTES, SHIPPED, atomic
from attiqa.images import open_source
from attiqa.prompts import search
from attiqa.proxies import controlled, embed_ladders
from attiqa.vlm import load_vlm

REPORT = SHIPPED/"data"/"prompt_report_photographs.csv"

def write_report(run, out):
    with atomic(out) as part: pd.read_parquet(Path(run)/"prompt_report.parquet").round(4).to_csv(part, index=False)
    print(out)

def whole_search(source, candidates, size):
    "Seconds from loading the model to the report, with an empty cache of sentences."
    os.environ["ATTIQA_CACHE"] = tempfile.mkdtemp()
    begin, vlm = time.perf_counter(), load_vlm()
    vlm = replace(vlm, preprocess=replace(vlm.preprocess, size=size)) # the model reads as many pixels as there are
    search(candidates, controlled(embed_ladders(vlm, source, size, 6, 0)), vlm)
    return time.perf_counter() - begin

def cost(options):
    images, everything = open_source(options.source, options.images, 0, options.size), load_candidates()
    few, many = (pd.concat([everything[everything.attribute == a].sample(n, random_state=0) for a in ATTRIBUTES]) for n in (2, 320))
    for repeat in range(options.repeats):
        seconds = [whole_search(images, candidates, options.size) for candidates in (few, many)]
        print(f"{len(images)} images of {options.size} pixels a side: {len(few)} candidates {seconds[0]:.1f} s, "
              f"{len(many):,} candidates {seconds[1]:.1f} s, ratio {seconds[1]/seconds[0]:.3f}", flush=True)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser("report")
    report.add_argument("run"); report.add_argument("--out", default=REPORT)
    measure = commands.add_parser("cost")
    measure.add_argument("--source", default="embedded"); measure.add_argument("--images", type=int, default=500)
    measure.add_argument("--size", type=int, default=96); measure.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    if options.command == "report": write_report(options.run, options.out)
    else: cost(options)

if __name__ == "__main__": main()
