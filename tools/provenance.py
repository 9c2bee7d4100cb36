"""Hashes of the images that the shipped files were trained on: python tools/provenance.py DATA

DATA holds photos, native, pristine, biq2021 and clive. Each list in data_scripts/trained_on is in the format
of sha256sum: `cd DATA && sha256sum -c LIST` checks a copy."""
import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from attiqa.claims import unseen_images
from attiqa.core import atomic
from attiqa.features import scored_images
from attiqa.images import open_source

ROOT = Path(__file__).resolve().parent.parent
LISTS = ROOT/"data_scripts"/"trained_on"
HELD_OUT = 200 # photographs, as in 10_clip and in the preset of 09_enhance

def pool(data):
    "Photographs whose attributes the scorers learned."
    with tempfile.TemporaryDirectory() as folder:
        words = [folder, *(data/name for name in ("native", "pristine", "photos"))]
        command = [sys.executable, ROOT/"tools"/"pool.py", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lines = (Path(folder)/"pool.txt").read_text(encoding="utf-8").splitlines()
    return [Path(line) for line in lines]

def rated(data):
    "Images whose human scores attiqa-mini learned."
    table = scored_images("biq2021+clive", f"{data/'biq2021'};{data/'clive'}").table
    return [Path(name) for name in sorted({*table.image} - {*unseen_images(data).image})]

def photographs(data):
    "Photographs that attiqa-mini-clip and the enhancer learned from; a sixth of them stopped the enhancer."
    _, learned = open_source(str(data/"photos")).split(HELD_OUT, "held-out", 0)
    return [data/"photos"/key for key in learned.keys]

TRAINED_ON = dict(attributes=pool, human_scores=rated, photographs=photographs)

def path_of(line): return line[66:]

def hash_line(file, data):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"{digest}  {file.resolve().relative_to(data)}\n"

def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data.resolve()
    LISTS.mkdir(exist_ok=True)
    for name, images in TRAINED_ON.items():
        lines = sorted((hash_line(file, data) for file in images(data)), key=path_of)
        with atomic(LISTS/f"{name}.sha256") as part:
            part.write_text("".join(lines), encoding="utf-8")
        print(f"{name}: {len(lines)} images")

if __name__ == "__main__": main()
