"What pretraining refuses, in one line: wrong settings, changed or vanished images, pickles, a loss of NaN."
import json, pickle
import pandas as pd, pytest
from attiqa import losses
from attiqa.core import ATTRIBUTES, AttiqaError, generator, write_parquet
from attiqa.images import embedded_source
from pretraining import COLUMNS, label, train, write_labels

@pytest.fixture(scope="module")
def labelled(tmp_path_factory): return label(tmp_path_factory.mktemp("labels"))

def refusal(run, labels, words, **options):
    "The one line with which a run is refused."
    with pytest.raises(AttiqaError, match=words) as error: train(run, labels, **options)
    assert "\n" not in str(error.value)
    return str(error.value)

REFUSED = [
    (dict(loss="hinge"), "no loss 'hinge'"), (dict(weights="1 2"), "give 5 numbers"),
    (dict(backbone="resnet9000"), "no backbone"), (dict(bf16="maybe"), "give auto"),
    (dict(norms="thawed"), "it is 'learn' or 'frozen'"), (dict(average=2.), "from 0 to 1"),
    (dict(truth="oracle"), "it is 'labels' or 'recipes'"),
    (dict(together=True, spread=True), "set together to False"),
    (dict(source="photos"), "photos"), (dict(start="nowhere"), "no such model file")]

@pytest.mark.parametrize("wrong, words", REFUSED)
def test_what_is_refused(labelled, run, wrong, words):
    refusal(run, labelled, words, **wrong)

def test_changed_pixels_are_noticed(run):
    label(run)
    path = run/"pseudolabels"/"part-00000.parquet"
    rows = pd.read_parquet(path)
    write_parquet(path, rows.assign(pixels="0"*16))
    refusal(run, "", "not those that were labelled")

@pytest.fixture
def photos(tmp_path):
    "A folder of six images."
    (tmp_path/"photos").mkdir()
    source = embedded_source(6, 64)
    for key in source.keys: source.load(key).save(tmp_path/"photos"/f"{key}.png")
    return tmp_path/"photos"

@pytest.mark.parametrize("workers", (0, 1))
def test_an_image_that_vanished_stops_in_one_line(run, photos, workers):
    names = sorted(path.name for path in photos.iterdir())
    rows = [(name, 0, "[]", 64, 64, *generator(name).random(5)) for name in names]
    table = pd.DataFrame(rows, columns=[*COLUMNS, *ATTRIBUTES])
    write_labels(run, table, source=str(photos), keys=6, size=48)
    (photos/names[0]).write_bytes(b"gone bad")
    options = dict(source=str(photos), workers=workers, memory=0., held_out=.1)
    line = refusal(run, "", "not a readable image", **options)
    assert "Exception" not in line

class Trap:
    "What creates a file when its pickle is read."
    def __init__(self, path): self.path = path
    def __reduce__(self): return open, (self.path, "w")

def test_a_pickle_is_not_run(labelled, run, tmp_path):
    "Neither as the checkpoint nor as the vision tower to start from."
    trap, state = tmp_path/"sprung", run/"pretraining"/"state.safetensors"
    tower = tmp_path/"clip"/"open_clip_model.safetensors"
    for path in (state, tower):
        path.parent.mkdir(parents=True)
        path.write_bytes(pickle.dumps(Trap(str(trap))))
    words, start = "nothing in it was run", str(tower.parent)
    refusal(run, labelled, words, start=start)
    refusal(run/"b", labelled, words, start=start)
    (run/"pretraining"/"manifest.json").unlink()
    refusal(run, labelled, words)
    assert not trap.exists()

def test_a_loss_of_nan_stops_with_its_rows(labelled, run, monkeypatch):
    "The run resumes once the loss is mended."
    whole, calls = losses.LOSSES["margin"], []
    def spoilt(scalars, labels, **rest):
        calls.append(1)
        return whole(scalars, labels, **rest)*(float("nan") if len(calls) == 2 else 1)
    monkeypatch.setitem(losses.LOSSES, "margin", spoilt)
    refusal(run, labelled, "epoch 0, step 1")
    rows = json.loads((run/"nan_batch_0.json").read_text())["rows"]
    assert len(rows) == 4
    assert all(len(row) == 2 for row in rows)
    monkeypatch.setitem(losses.LOSSES, "margin", whole)
    train(run, labelled)
