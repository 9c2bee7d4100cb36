"Put the scorers of a run where the package keeps them: python tools/ship.py runs/mini"
import sys
from pathlib import Path
from attiqa.core import SCORERS, scorer_file
from attiqa.model import load_model, save_model

MADE_BY = dict(zip(SCORERS, ("biq2021+clive", "order"))) # where stages 05 and 05b leave them

def main(run):
    for name, stage in MADE_BY.items():
        net = load_model(run/"finetuned"/stage/"model.safetensors")
        save_model(net, scorer_file(name), net.card | dict(name=name))

if __name__ == "__main__":
    if len(sys.argv) != 2: sys.exit(__doc__)
    main(Path(sys.argv[1]))
