"Does the memory of stage 03 grow with the number of images? Labels IMAGES tiny pictures from tars with a tiny model; prints resident memory as it goes."
import argparse, io, tarfile, tempfile, threading
from pathlib import Path
import numpy as np, open_clip, psutil, torch
from PIL import Image
from safetensors.torch import save_file
from attiqa.core import ATTRIBUTES, write_json
from attiqa.images import open_source
from attiqa.labelling import Labeller, label_shards
from attiqa.prompts import load_prompts
from attiqa.vlm import load_vlm

MODEL = dict(embed_dim=16, vision_cfg=dict(image_size=32, layers=1, width=32, head_width=16, patch_size=16),
             text_cfg=dict(context_length=16, vocab_size=49408, width=16, heads=1, layers=1))

def make_tars(folder, images, each=1000):
    "Tars of JPEGs with noise of 32x32."
    pictures = []
    for seed in range(50):
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "JPEG")
        pictures.append(file.getvalue())
    for number in range(images//each):
        with tarfile.open(folder/f"{number:05d}.tar", "w") as tar:
            for i in range(each):
                info = tarfile.TarInfo(f"{i:05d}.jpg")
                info.size = len(pictures[i % 50])
                tar.addfile(info, io.BytesIO(pictures[i % 50]))

def resident(process): # of it and its workers, in MB
    return [p.memory_info().rss/1e6 for p in (process, *sorted(process.children(), key=lambda p: p.pid)) if p.is_running()]

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=int, nargs="?", default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**MODEL).state_dict(), folder/"open_clip_model.safetensors")
    write_json(folder/"open_clip_config.json", dict(model_cfg=MODEL, preprocess_cfg=dict(mean=[.5]*3, std=[.25]*3)))
    write_json(folder/"prompts.json", dict(vlm=str(folder), pairs={a: [[f"good {a}", f"bad {a}"]] for a in ATTRIBUTES}))
    make_tars(folder, options.images)
    vlm = load_vlm(str(folder))
    labeller = Labeller(open_source(f"{folder}/*.tar"), vlm, load_prompts(folder/"prompts.json", vlm), batch=32)
    seen, stop = [], threading.Event()
    def watch():
        while not stop.wait(.5): seen.append((1000*len(list((folder/"run/pseudolabels").glob("part-*"))), resident(psutil.Process())))
    watcher = threading.Thread(target=watch); watcher.start()
    label_shards(folder/"run", labeller, 1000, options.workers)
    stop.set(); watcher.join()
    for mark in range(options.images//10, options.images + 1, options.images//10):
        near = min((s for s in seen if len(s[1]) > options.workers and min(s[1]) > 1), key=lambda s: abs(s[0] - mark))
        print(f"{near[0]:>9,} images: {near[1][0]:7.1f} MB here, " + ", ".join(f"{m:.1f}" for m in near[1][1:]) + " MB in the workers")

if __name__ == "__main__": main()
