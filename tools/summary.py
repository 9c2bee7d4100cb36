"What a run left: its files with their sizes, then the figures that its stages recorded."
import json, sys
from pathlib import Path

def size(count): return f"{count/1e6:.1f} MB" if count >= 1e5 else f"{count/1e3:.1f} kB"

def figure(value): return f"{value:.3f}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)

def flat(results, *names):
    "One (name, value) a figure, nested names joined by spaces."
    for name, value in results.items():
        if isinstance(value, dict): yield from flat(value, *names, name)
        else: yield " ".join((*names, name)), figure(value)

def table(title, rows):
    rows = [title, *rows]
    width = [max(len(str(row[i])) for row in rows) for i in range(len(title))]
    lines = ["  ".join(str(v).ljust(w) for v, w in zip(row, width)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-"*w for w in width), *lines[1:]])

def summary(run):
    "The two tables of a run directory."
    run = Path(run)
    files = sorted(p for p in run.rglob("*") if p.is_file() and not p.name.startswith("."))
    made = [(f"{run}/{p.relative_to(run)}", size(p.stat().st_size)) for p in files]
    record = run/"run.json"
    entries = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    entries = dict(sorted(entries.items(), key=lambda item: item[1]["finished"]))
    figures = [(stage, *row) for stage, entry in entries.items() for row in flat(entry["results"])]
    return table(("file", "size"), made) + "\n\n" + table(("stage", "figure", "value"), figures)

if __name__ == "__main__":
    if len(sys.argv) != 2: sys.exit("usage: python tools/summary.py RUN")
    if not Path(sys.argv[1]).is_dir(): sys.exit(f"{sys.argv[1]}: no such run; make reproduce makes runs/embedded")
    print(summary(sys.argv[1]))
