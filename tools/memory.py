"""Does the memory of stage 03 grow with the number of images? \
Labels IMAGES tiny pictures from tars with a tiny model; prints resident memory as it goes."""
import argparse, io, tarfile, tempfile, threading
from contextlib import contextmanager
from pathlib import Path
import numpy as np, open_clip, psutil, torch
from PIL import Image
from safetensors.torch import save_file
from attiqa.core import ATTRIBUTES, write_json
from attiqa.images import open_source
from attiqa.labelling import Labeller, label_shards
from attiqa.prompts import load_prompts
from attiqa.vlm import load_vlm

VISION = dict(image_size=32, layers=1, width=32, head_width=16, patch_size=16)
TEXT = dict(context_length=16, vocab_size=49408, width=16, heads=1, layers=1)
MODEL = dict(embed_dim=16, vision_cfg=VISION, text_cfg=TEXT)
PREPROCESSING = dict(mean=[.5]*3, std=[.25]*3)
SHARD = 1000 # images

def noise_jpeg(seed):
    "A JPEG of 32x32 pixels of noise."
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()

def make_tars(folder, images):
    "Tars of JPEGs, one tar per shard."
    pictures = [noise_jpeg(seed) for seed in range(50)]
    for number in range(images//SHARD):
        with tarfile.open(folder/f"{number:05d}.tar", "w") as tar:
            for i in range(SHARD):
                info = tarfile.TarInfo(f"{i:05d}.jpg")
                info.size = len(pictures[i % 50])
                tar.addfile(info, io.BytesIO(pictures[i % 50]))

def make_model(folder):
    "A tiny vision-language model and its prompts."
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**MODEL).state_dict(), folder/"open_clip_model.safetensors")
    write_json(folder/"open_clip_config.json", dict(model_cfg=MODEL, preprocess_cfg=PREPROCESSING))
    pairs = {attribute: [[f"good {attribute}", f"bad {attribute}"]] for attribute in ATTRIBUTES}
    write_json(folder/"prompts.json", dict(vlm=str(folder), pairs=pairs))

def resident(process):
    "Resident memory of a process and its workers, in MB."
    workers = sorted(process.children(), key=lambda child: child.pid)
    return [each.memory_info().rss/1e6 for each in (process, *workers) if each.is_running()]

@contextmanager
def watched(run):
    "A list to which a thread adds, twice a second, the images labelled so far and `resident`."
    seen, stop = [], threading.Event()
    def watch():
        while not stop.wait(.5):
            shards = list((run/"pseudolabels").glob("part-*"))
            seen.append((SHARD*len(shards), resident(psutil.Process())))
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()

def print_memory(seen, images, workers):
    "Ten lines: memory at each tenth of the images."
    complete = [(count, memory) for count, memory in seen if len(memory) > workers and min(memory) > 1]
    for mark in range(images//10, images + 1, images//10):
        count, (here, *others) = min(complete, key=lambda one: abs(one[0] - mark))
        in_workers = ", ".join(f"{memory:.1f}" for memory in others)
        print(f"{count:>9,} images: {here:7.1f} MB here, {in_workers} MB in the workers")

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=int, nargs="?", default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    make_model(folder)
    make_tars(folder, options.images)
    vlm = load_vlm(str(folder))
    prompts = load_prompts(folder/"prompts.json", vlm)
    labeller = Labeller(open_source(f"{folder}/*.tar"), vlm, prompts, batch=32)
    with watched(folder/"run") as seen:
        label_shards(folder/"run", labeller, SHARD, options.workers)
    print_memory(seen, options.images, options.workers)

if __name__ == "__main__":
    main()
