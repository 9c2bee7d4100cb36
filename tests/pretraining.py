"Pretraining at test size: its settings, pseudo-labels that nobody scored, and what a run leaves."
import json
import pandas as pd
from attiqa.core import ATTRIBUTES, generator, write_json, write_parquet
from attiqa.crops import LabelledImages
from attiqa.images import embedded_source, pixel_hash
from attiqa.labelling import variant_recipe
from attiqa.pretrain import pretrain

SMALL = dict(backbone="resnet10t", embedding=4, crop=32, epochs=2, batch=4, held_out=.25, workers=0,
             checkpoint=2)
# For a network that is pretrained already
GENTLE = dict(norms="frozen", kernels=False, keep=1., together=True, batch=6, bf16="yes")
COLUMNS = "key variant recipe width height".split()

def settings(run, labels, **options):
    "Arguments of the stage, at test size unless the options say otherwise."
    return dict(run=str(run), labels=str(labels)) | SMALL | options

def train(run, labels, **options):
    "Pretrain at test size; the path of the model."
    return pretrain(**settings(run, labels, **options))

def parameter_words(options):
    "Words of the command line for the arguments of a stage."
    return [word for name, value in options.items() for word in ("-p", name, str(value))]

def write_labels(run, rows, **job):
    write_parquet(run/"pseudolabels"/"part-00000.parquet", rows)
    write_json(run/"pseudolabels"/"manifest.json", dict(seed=0) | job)

def label(run, source=None, **job):
    "Pseudo-labels of three variants per image: a fixed random number per attribute and row."
    source, size = source or embedded_source(8, 48), 48
    pairs = [(key, variant) for key in source.keys for variant in range(3)]
    rows = pd.DataFrame([(*pair, json.dumps(variant_recipe(*pair, 0)), size, size) for pair in pairs],
                        columns=COLUMNS)
    images = LabelledImages(rows, source, size, 0)
    values = dict(zip(ATTRIBUTES, generator("test labels").random((len(rows), 5)).T))
    rows = rows.assign(pixels=[pixel_hash(images[i]) for i in range(len(rows))], **values)
    write_labels(run, rows, source="embedded", keys=len(source), size=size, **job)
    return run

def outputs(run):
    "Bytes of what a run leaves, the log without its seconds."
    log = pd.read_csv(run/"pretrain_log.csv", dtype=str).drop(columns="seconds")
    return (run/"pretrained.safetensors").read_bytes(), log.to_csv()
