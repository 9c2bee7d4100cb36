"Put what stage 06 measured on people's scores into the package, in place of what is there of the same methods: python tools/measured.py RUN..."
import inspect, shlex, sys
import pandas as pd
from attiqa.benchmark import MEASURED, benchmark
from attiqa.core import atomic, read_json, run_path, write_json

NOTES = ["CLIVE: 542 of its 1,162 images are re-encoded (JPEG, quality 95, 4:4:4) from the release's BMP files, so its figures differ a little from the originals'.",
         "BIQ2021: 2,000 images of the official train part, split at random; not the official test split.",
         "attributes: EfficientNet-Lite0 after attribute pretraining from ImageNet's weights; ImageNet: that start; untrained: the same network with random weights.",
         "attiqa-mini-unaware: that pretrained network with quality learned from order alone; recipes were chosen on BIQ2021 (about 220 fits), CLIVE chose nothing.",
         "Networks of the kit here are the shipped stand-ins (1,930 unlabelled photographs), not the paper's model."]

def command(settings): # of a run's record: what differs from the defaults
    defaults = {name: p.default for name, p in inspect.signature(benchmark).parameters.items()}
    words = [word for name, value in settings.items() if value != defaults[name] for word in ("-r" if isinstance(value, str) else "-p", name, str(value))]
    return shlex.join(["papermill", "nbs/06_benchmark.ipynb", "out.ipynb", *words])

def tables(run): # protocols, label_free, selectivity of one run; a run that fine-tunes gives that alone
    place, settings = run_path(run)/"results", read_json(run_path(run)/"run.json")["benchmark"]["settings"]
    found = {name: pd.read_parquet(place/f"{file}.parquet") if (place/f"{file}.parquet").is_file() else pd.DataFrame()
             for name, file in dict(protocols="benchmark", label_free="label_free", selectivity="selectivity").items()}
    if settings["tuned_splits"]: found["protocols"] = found["protocols"][found["protocols"].probe.str.startswith("fine-tuned")]
    return found

METHOD = ["model", "part"] # what a table holds once, as one run measured it

def replaced(old, new): # rows of old whose method new does not have, then new's
    by = [column for column in METHOD if column in new]
    return pd.concat([old.merge(new[by].drop_duplicates(), "left", by, indicator=True).query("_merge == 'left_only'").drop(columns="_merge"), new], ignore_index=True)

def main(runs):
    records = [read_json(run_path(run)/"run.json")["benchmark"] for run in runs]
    every = [tables(run) for run in runs]
    for name in ("protocols", "label_free", "selectivity"):
        table = pd.read_csv(MEASURED/f"{name}.csv", keep_default_na=False, na_values=[""])
        for found in every: table = replaced(table, found[name].round(4)) if len(found[name]) else table
        with atomic(MEASURED/f"{name}.csv") as part: table.to_csv(part, index=False, lineterminator="\n")
        print(name, len(table))
    commands = dict.fromkeys([*read_json(MEASURED/"about.json")["commands"], *(command(r["settings"]) for r in records)])
    write_json(MEASURED/"about.json", dict(notes=NOTES, commands=list(commands), finished=records[-1]["finished"], versions=records[-1]["versions"]))

if __name__ == "__main__": main(sys.argv[1:]) if sys.argv[1:] else sys.exit("name the run directories")
