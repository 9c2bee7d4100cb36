"Measure the shipped vision-language model and write its card: python tools/clip_card.py runs/clip"
import sys
from pathlib import Path
from attiqa.core import ATTRIBUTES, SHIPPED, WEIGHTS, read_json, write_json
from attiqa.images import open_source
from attiqa.mini import ladder_responses, ladder_table, taught_pairs, word_table
from attiqa.prompts import load_prompts, search_prompts
from attiqa.proxies import embed_ladders
from attiqa.vlm import load_vlm
from cards import fill, frame, plain

def ladder_rows(table):
    rows = [(a, f"{r.SRCC:.3f}", f"{r.low:.3f} to {r.high:.3f}", f"{r.ratio:.2f}") for a, r in table.iterrows()]
    return frame(("attribute", "SRCC", "95 % interval", "selectivity ratio"), rows)

def word_rows(words):
    cell = words.apply(lambda r: f"{r.srcc:.2f} ({r.low:.2f} to {r.high:.2f})", axis=1)
    cells = words.assign(cell=cell).pivot(index="attribute", columns="words", values="cell").loc[list(ATTRIBUTES), list(words.words.unique())]
    return frame(("attribute", *cells), [(a, *r) for a, r in zip(cells.index, cells.to_numpy())])

def main(run):
    held, vlm = open_source(str(run/"held_out.txt")), load_vlm()
    search_prompts(run=str(run), source=str(run/"train.txt"), count=120, best=5)
    embeddings = embed_ladders(vlm, held, 224, 6, 0)
    words = word_table(vlm, embeddings)
    pairs = dict(clip_taught=taught_pairs(vlm), clip_chosen=load_prompts(run/"prompts.json", vlm))
    tables = {name: ladder_table(ladder_responses(vlm, embeddings, p)) for name, p in pairs.items()}
    words.round(4).to_csv(SHIPPED/"data"/"measured"/"clip_words.csv", index=False)
    rows = dict(taught=ladder_rows(tables["clip_taught"]), chosen=ladder_rows(tables["clip_chosen"]), said=word_rows(words))
    fill("attiqa-mini-clip.md", WEIGHTS/"attiqa-mini-clip"/"README.md", photographs=len(held), **rows)
    write_json(WEIGHTS/"figures.json", read_json(WEIGHTS/"figures.json") | plain(tables | dict(photographs=len(held))))

if __name__ == "__main__": main(Path(sys.argv[1])) if len(sys.argv) == 2 else sys.exit(__doc__)
