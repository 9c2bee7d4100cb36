"""How far do results move with the processor? python tools/tolerances.py RUNS

Runs the embedded stages in several settings, each in a run directory in the folder RUNS; a finished one
is not run again. The table goes to attiqa/data/measured/tolerances.csv: setting, stage, figure, value."""
import argparse
import os
import subprocess
import sys
from pathlib import Path
import pandas as pd
from attiqa.core import SHIPPED, atomic
from attiqa.reproduce import REFERENCE, flatten_results, read_reference

TABLE = SHIPPED/"data"/"measured"/"tolerances.csv"
SETTINGS = { # name to environment variables; the first is what the others are compared with
    "as it is": {},
    "1 thread": dict(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1"),
    "4 threads": dict(OMP_NUM_THREADS="4", MKL_NUM_THREADS="4"),
    "AVX2": dict(ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2", MKL_ENABLE_INSTRUCTIONS="AVX2")}

def run_stages(run, environment):
    "The reference's parameters, in a process of its own; results may differ, so the exit code may be 1."
    words = [Path(sys.executable).parent/"attiqa", "reproduce", str(run), "--like", str(REFERENCE)]
    code = subprocess.run(words, env=os.environ | environment).returncode
    if code > 1: raise SystemExit(f"{run}: the run failed")

def results(run):
    "Rows (stage, figure, value) of the figures that a run recorded."
    for stage, entry in read_reference(run).items():
        for figure, value in flatten_results(entry["results"]):
            yield stage, figure, value

def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    folder = parser.parse_args().runs.resolve()
    rows = []
    for name, environment in SETTINGS.items():
        run = folder/name.replace(" ", "_")
        run_stages(run, environment)
        rows += [(name, *row) for row in results(run)]
    table = pd.DataFrame(rows, columns=["setting", "stage", "figure", "value"])
    with atomic(TABLE) as part: table.to_csv(part, index=False)
    print(table.pivot(index=["stage", "figure"], columns="setting", values="value").to_string())

if __name__ == "__main__": main()
