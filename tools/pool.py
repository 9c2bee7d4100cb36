"""Lists of photographs for the shipped models: python tools/pool.py OUT ORDINARY PRISTINE FOLDER...

OUT/pool.txt is learned from, OUT/apart.txt is kept for figures, \
OUT/ordinary.txt sets the scale of quality."""
import argparse
import hashlib
from pathlib import Path
from attiqa.core import atomic

SUFFIXES = {".jpg", ".jpeg", ".png"}
APART, PRISTINE_APART = .1, .5 # shares of the photographs that no training sees

def place(name):
    "Where a photograph lies in [0, 1), by its name alone: the same on every machine."
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")/2**32

def photographs(folders):
    "The largest file of every name: folders may hold one photograph at several sizes."
    best = {}
    for folder in folders:
        for file in sorted(Path(folder).iterdir()):
            if file.suffix.lower() not in SUFFIXES:
                continue
            if file.stem not in best or file.stat().st_size > best[file.stem].stat().st_size:
                best[file.stem] = file
    return [best[name] for name in sorted(best)]

def write(path, files):
    with atomic(path) as part:
        part.write_text("".join(f"{file.resolve()}\n" for file in files), encoding="utf-8")

def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("ordinary", type=Path, help="photographs as people take them")
    parser.add_argument("pristine", type=Path, help="professional ones")
    parser.add_argument("folders", nargs="*", help="more to learn from")
    options = parser.parse_args()
    files = photographs([options.ordinary, options.pristine, *options.folders])
    is_apart = lambda file: place(file.stem) < (PRISTINE_APART if file.parent == options.pristine else APART)
    apart = [file for file in files if is_apart(file)]
    pool = [file for file in files if not is_apart(file)]
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out/"pool.txt", pool)
    write(options.out/"apart.txt", apart)
    write(options.out/"ordinary.txt", [file for file in pool if file.parent == options.ordinary])
    print(f"{len(pool)} photographs to learn from, {len(apart)} kept apart")

if __name__ == "__main__": main()
