"""Set the limits of the findings: python tools/findings.py PRISTINE NATIVE \
writes attiqa/data/findings.json and attiqa/data/measured/findings.csv."""
import argparse, os
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
import numpy as np, pandas as pd, torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from attiqa.core import SHIPPED, atomic, stable_seed, write_json
from attiqa.distort import apply_recipe
from attiqa.findings import LIMITS, RULES, SUMS, find_problems, finding_measures, weighted_sum
from attiqa.images import find_images
from attiqa.score import MINI, Scorer, read_pixels

LADDERS = dict( # finding to the mechanisms that it should find
    blurred=("gaussian_blur", "lens_blur"), motion_blurred=("motion_blur",),
    noisy=("gaussian_noise", "poisson_noise"), too_dark=("under_exposure", "gamma_dark"),
    too_bright=("too_bright",), clipped_highlights=("over_exposure",),
    low_contrast=("linear_contrast", "haze"), faded=("desaturation",),
    colour_cast=("colour_cast",), compressed=("jpeg",), low_resolution=("upscaled",))
SEVERITIES = (.25, .5, .75)
RUNGS = [(finding, name, severity) for finding, names in LADDERS.items() for name in names
         for severity in SEVERITIES]
FIXED = dict( # finding to its limit and the limit's source
    odd_size=(.35, "the limit of CleanVision's odd_aspect_ratio"),
    near_blank=(1., "one bit: two tones in equal shares"))
FITTED = dict( # sum to the mechanisms that it is fitted on
    flatness=LADDERS["low_contrast"], motion=LADDERS["motion_blurred"])
FITTED_NAMES = {name for names in FITTED.values() for name in names}
TABLE = SHIPPED/"data"/"measured"/"findings.csv"

def half(path):
    "0 for an image that sets limits, 1 for one that reports."
    return stable_seed("findings", Path(path).name) % 2

# ---- measures of every image

@cache
def worker_scorer(model):
    "The scorer of a worker process, which computes on one thread."
    torch.set_num_threads(1)
    return Scorer(model, "cpu")

def measured(model, job): # job: path, mechanism or '', severity
    path, name, severity = job
    scorer = worker_scorer(model)
    recipe = [(name, severity)] if name else []
    pixels = apply_recipe(read_pixels(path), recipe, "findings", Path(path).name)
    measures = finding_measures(pixels, scorer.measure(pixels))
    return dict(path=path, mechanism=name, severity=severity) | measures

def ladder_jobs(paths, every):
    "Jobs of every n-th image of each half; the setting half has only what the sums are fitted on."
    chosen = [path for which in (0, 1) for path in [p for p in paths if half(p) == which][::every]]
    return [(path, name, severity) for path in chosen for _, name, severity in RUNGS
            if half(path) or (severity == .5 and name in FITTED_NAMES)]

def measure_all(given):
    "One row per image and distortion."
    pristine, native = (list(map(str, find_images(folder))) for folder in (given.pristine, given.native))
    jobs = [(path, "", 0.) for path in pristine + native] + ladder_jobs(pristine, given.every)
    with get_context("spawn").Pool(min(2, os.cpu_count())) as pool:
        rows = pd.DataFrame(pool.imap(partial(measured, given.model), jobs, 8))
    pools = np.where(rows.path.isin(native), "ordinary", "pristine")
    return rows.assign(pool=pools, half=rows.path.map(half))

def kept_measures(given):
    "The measures of the file that keeps them, or new ones."
    if given.kept and os.path.exists(given.kept): return pd.read_parquet(given.kept)
    rows = measure_all(given)
    if given.kept: rows.to_parquet(given.kept)
    return rows

# ---- sums and limits, on the setting half

def fit(rows, names):
    "Weights on the measures as they are; the scaling is folded in."
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))
    model.fit(rows[list(names)].fillna(0), rows.mechanism.ne(""))
    scaler, last = (step for _, step in model.steps)
    weights = last.coef_[0]/scaler.scale_
    intercept = round(float(last.intercept_[0] - weights@scaler.mean_), 4)
    return dict(zip(names, weights.round(4).tolist()), intercept=intercept)

def fit_sums(rows):
    "Each sum, fitted on untouched images and its own mechanisms at the middle severity."
    def of(names):
        distorted = rows.mechanism.isin(names) & rows.severity.eq(.5)
        return rows[rows.mechanism.eq("") | distorted]
    return {name: fit(of(FITTED[name]), SUMS[name]) for name in SUMS}

def with_sums(rows, sums):
    records = rows.to_dict("records")
    return rows.assign(**{name: [weighted_sum(row, weights) for row in records]
                          for name, weights in sums.items()})

def limit(rule, values, share):
    "The limit beyond which at most this share of the values lies."
    ordered = np.sort(values if rule.above else -values)[::-1]
    beyond = float(ordered[int(share*len(ordered))])
    return float(f"{beyond if rule.above else -beyond:.4g}")

def limits_of(rows, share): # rows: untouched, with the sums
    source = f"{share:.1%} of {len(rows)} untouched photographs of CID22 lie beyond it"
    rules = {name: dict(limit=limit(rule, rows[rule.measure].dropna().to_numpy(), share), source=source)
             for name, rule in RULES.items() if name not in FIXED}
    return rules | {name: dict(limit=value, source=why) for name, (value, why) in FIXED.items()}

# ---- shares found, on the reporting half

def shares(rows):
    "Finding to its share of the rows."
    found = [{one.name for one in find_problems(row)} for row in rows.to_dict("records")]
    by_name = {name: float(np.mean([name in names for names in found])) for name in RULES}
    return by_name | dict(any=float(np.mean([bool(names) for names in found])))

def share_row(finding, on, severity, rows, share):
    return dict(finding=finding, on=on, severity=severity, images=len(rows), share=share)

def shares_table(rows): # rows: all
    reporting = rows[rows.half.eq(1)]
    untouched = reporting[reporting.mechanism.eq("") & reporting.pool.eq("pristine")]
    ordinary = rows[rows.pool.eq("ordinary")]
    pools = dict(untouched=untouched, ordinary=ordinary)
    table = [share_row(name, on, 0., pool, share) for on, pool in pools.items()
             for name, share in shares(pool).items()]
    for finding, name, severity in RUNGS:
        worse = reporting[reporting.mechanism.eq(name) & reporting.severity.eq(severity)]
        table.append(share_row(finding, name, severity, worse, shares(worse)[finding]))
    return pd.DataFrame(table).round(3)

# ---- command line

def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pristine", help="folder of untouched photographs")
    parser.add_argument("native", help="folder of ordinary photographs")
    parser.add_argument("--share", type=float, default=.008,
                        help="of the setting half that may lie beyond each limit")
    parser.add_argument("--every", type=int, default=2, help="use every n-th photograph for the ladders")
    parser.add_argument("--model", default=MINI)
    parser.add_argument("--kept", metavar="FILE",
                        help="a .parquet file of measures: written, or read where it exists")
    return parser.parse_args()

def main():
    given = arguments()
    rows = kept_measures(given)
    setting = rows[rows.half.eq(0) & rows.pool.eq("pristine")]
    sums = fit_sums(setting)
    limits = limits_of(with_sums(setting[setting.mechanism.eq("")], sums), given.share)
    write_json(LIMITS, dict(rules=limits, sums=sums, model=given.model))
    table = shares_table(rows)
    with atomic(TABLE) as part: table.to_csv(part, index=False)
    print(table.to_string(index=False))

if __name__ == "__main__":
    main()
