"Set the limits of the findings: python tools/findings.py PRISTINE NATIVE writes attiqa/data/findings.json and attiqa/data/measured/findings.csv."
import argparse, os
from functools import partial
from multiprocessing import get_context
from pathlib import Path
import numpy as np, pandas as pd, torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from attiqa.core import SHIPPED, atomic, stable_seed, write_json
from attiqa.distort import apply_recipe
from attiqa.findings import LIMITS, RULES, SUMS, found, measures, weighted
from attiqa.images import find_images
from attiqa.score import MINI, Scorer, read_pixels

LADDERS = dict(blurred=("gaussian_blur", "lens_blur"), motion_blurred=("motion_blur",), noisy=("gaussian_noise", "poisson_noise"),
               too_dark=("under_exposure", "gamma_dark"), too_bright=("too_bright",), clipped_highlights=("over_exposure",),
               low_contrast=("linear_contrast", "haze"), faded=("desaturation",), colour_cast=("colour_cast",),
               compressed=("jpeg",), low_resolution=("upscaled",)) # finding to the mechanisms that it should find
SEVERITIES = (.25, .5, .75)
FIXED = dict(odd_size=(.35, "the limit of CleanVision's odd_aspect_ratio"), near_blank=(1., "one bit: two tones in equal shares"))
FITTED = dict(flatness=LADDERS["low_contrast"], motion=LADDERS["motion_blurred"]) # sum to the mechanisms that it is fitted on
TABLE = SHIPPED/"data"/"measured"/"findings.csv"

def half(path): return stable_seed("findings", Path(path).name) % 2 # 0 sets, 1 reports

def measured(model, job): # job: path, mechanism or '', severity
    global scorer
    path, name, severity = job
    if "scorer" not in globals(): torch.set_num_threads(1); scorer = Scorer(model, "cpu")
    pixels = apply_recipe(read_pixels(path), [(name, severity)] if name else [], "findings", Path(path).name)
    return dict(path=path, mechanism=name, severity=severity) | measures(pixels, scorer.measure(pixels))

def fit(rows, names): # weights on the measures as they are; the scaling is folded in
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))
    scaler, last = (step for _, step in model.fit(rows[list(names)].fillna(0), rows.mechanism.ne("")).steps)
    weights = last.coef_[0]/scaler.scale_
    return dict(zip(names, weights.round(4).tolist()), intercept=round(float(last.intercept_[0] - weights@scaler.mean_), 4))

def limit(rule, values, share): # at most this share of the values lies beyond
    ordered = np.sort(values if rule.above else -values)[::-1]
    beyond = float(ordered[int(share*len(ordered))])
    return float(f"{beyond if rule.above else -beyond:.4g}")

def shares(rows): # finding to its share of the rows
    names = [{one.name for one in found(row)} for row in rows.to_dict("records")]
    return {name: float(np.mean([name in one for one in names])) for name in RULES} | dict(any=float(np.mean([bool(one) for one in names])))

def measure_all(given): # one row per image
    pristine, native = (list(map(str, find_images(folder))) for folder in (given.pristine, given.native))
    ladders = [path for which in (0, 1) for path in [p for p in pristine if half(p) == which][::given.every]]
    jobs = [(path, "", 0.) for path in pristine + native]
    jobs += [(path, name, at) for path in ladders for names in LADDERS.values() for name in names for at in SEVERITIES
             if half(path) or (at == .5 and any(name in names for names in FITTED.values()))]
    with get_context("spawn").Pool(min(2, os.cpu_count())) as pool:
        rows = pd.DataFrame(pool.imap(partial(measured, given.model), jobs, 8))
    return rows.assign(pool=np.where(rows.path.isin(native), "ordinary", "pristine"), half=rows.path.map(half))

def limits_of(rows, share): # rows: of the setting half, with the sums
    source = f"{share:.1%} of {len(rows)} untouched photographs of CID22 lie beyond it"
    rules = {name: dict(limit=limit(rule, rows[rule.measure].dropna().to_numpy(), share), source=source) for name, rule in RULES.items() if name not in FIXED}
    return rules | {name: dict(limit=value, source=why) for name, (value, why) in FIXED.items()}

def shares_table(rows): # rows: all; reported on the other half
    untouched, ordinary = rows.mechanism.eq("") & rows.pool.eq("pristine") & rows.half.eq(1), rows.pool.eq("ordinary")
    table = [dict(finding=name, on=on, severity=0., images=int(which.sum()), share=share)
             for on, which in (("untouched", untouched), ("ordinary", ordinary)) for name, share in shares(rows[which]).items()]
    for finding, name, at in [(finding, name, at) for finding, names in LADDERS.items() for name in names for at in SEVERITIES]:
        worse = rows[rows.mechanism.eq(name) & rows.severity.eq(at) & rows.half.eq(1)]
        table.append(dict(finding=finding, on=name, severity=at, images=len(worse), share=shares(worse)[finding]))
    return pd.DataFrame(table).round(3)

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pristine", help="folder of untouched photographs"), parser.add_argument("native", help="folder of ordinary photographs")
    parser.add_argument("--share", type=float, default=.008, help="of the setting half that may lie beyond each limit")
    parser.add_argument("--every", type=int, default=2, help="use every n-th photograph for the ladders")
    parser.add_argument("--model", default=MINI)
    parser.add_argument("--kept", metavar="FILE", help="a .parquet file of measures: written, or read where it exists")
    given = parser.parse_args()
    rows = pd.read_parquet(given.kept) if given.kept and os.path.exists(given.kept) else measure_all(given)
    if given.kept: rows.to_parquet(given.kept)
    sets = rows[rows.half.eq(0) & rows.pool.eq("pristine")]
    at_middle = lambda names: sets.mechanism.eq("") | (sets.mechanism.isin(names) & sets.severity.eq(.5))
    sums = {name: fit(sets[at_middle(FITTED[name])], SUMS[name]) for name in SUMS}
    set_by = sets[sets.mechanism.eq("")].copy()
    for name, weights in sums.items(): set_by[name] = [weighted(row, weights) for row in set_by.to_dict("records")]
    write_json(LIMITS, dict(rules=limits_of(set_by, given.share), sums=sums, model=given.model))
    table = shares_table(rows)
    with atomic(TABLE) as part: table.to_csv(part, index=False)
    print(table.to_string(index=False))

if __name__ == "__main__": main()
