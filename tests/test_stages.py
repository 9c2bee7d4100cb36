"Every stage notebook, run by papermill at test size: what it writes, refuses and repeats exactly."
import json, shutil, subprocess, sys
import nbformat, pandas as pd, pytest
from attiqa.core import ATTRIBUTES, AttiqaError
from attiqa.images import package_photograph
from attiqa.runs import MAIN_STAGES, STAGES
from conftest import ROOT
from stage_cells import run_stage_cells

NEEDS = {stage.name: stage.needs[0] for stage in STAGES if stage.needs} # stage to the one that it reads
ALL = (*(stage.name for stage in MAIN_STAGES), "05a_probe", "10_clip")

def succeed(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return done

def walk(papermill, run):
    "All main stages and the probe, into one run; executed notebooks by stage."
    return {stage: succeed(papermill(stage, run=run)).notebook for stage in ALL[:-1]}

@pytest.fixture(scope="session")
def spine(papermill, tmp_path_factory):
    run = tmp_path_factory.mktemp("spine")/"run"
    executed = walk(papermill, run)
    return run, executed

@pytest.fixture(scope="session")
def mini(papermill, tmp_path_factory):
    run = tmp_path_factory.mktemp("mini")/"run"
    return run, {"10_clip": succeed(papermill("10_clip", run=run)).notebook}

def table(pattern, run):
    return pd.concat([pd.read_parquet(path) for path in sorted(run.glob(pattern))])

def test_prompts(spine):
    run, _ = spine
    prompts = json.loads((run/"prompts.json").read_text())
    assert set(ATTRIBUTES) <= set(json.dumps(prompts).replace('"', " ").replace(":", " ").split())
    assert len(pd.read_parquet(run/"prompt_search.parquet")) >= 2*len(ATTRIBUTES)

def test_pseudolabels(spine):
    run, _ = spine
    labels = table("pseudolabels/*.parquet", run)
    scores = labels[list(ATTRIBUTES)]
    assert len(labels) > 1
    assert scores.notna().all(axis=None)
    assert scores.min(axis=None) >= 0
    assert scores.max(axis=None) <= 1
    assert (scores.nunique() > 1).all()
    assert next(run.rglob("rejects.parquet")).is_file()

def test_pretrained_loads(spine):
    import torch
    from attiqa.model import load_model
    run, _ = spine
    json.loads((run/"pretrained.json").read_text())
    assert len(pd.read_csv(run/"pretrain_log.csv"))
    net = load_model(run/"pretrained.safetensors").eval()
    with torch.no_grad():
        assert net(torch.rand(2, 3, 96, 96)).shape == (2, len(ATTRIBUTES))

def test_finetuned(spine):
    run, _ = spine
    assert list(run.glob("finetuned/*/*"))
    assert [path for path in run.glob("finetuned/**/*.parquet") if "prediction" in path.name]

def test_mini_clip_is_open_clips_format(mini):
    import open_clip
    run, _ = mini
    folder = next(run.rglob("open_clip_config.json")).parent
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
    assert model.encode_text(tokenizer(["a sharp photo"])).shape[0] == 1

def test_record(spine, mini):
    entries = json.loads((spine[0]/"run.json").read_text())
    assert len(entries) == len(ALL) - 1
    assert json.loads((mini[0]/"run.json").read_text())
    for entry in entries.values():
        assert {"settings", "results", "versions", "commit", "finished"} <= set(entry)
        assert "seed" in entry["settings"]
        assert entry["results"]

def test_no_temporary_file_is_left(spine, mini):
    assert not [path for run, _ in (spine, mini) for path in run.rglob(".*") if path.is_file()]

@pytest.mark.parametrize("stage", ALL)
def test_figures_are_shown(stage, spine, mini):
    executed = (mini if stage == "10_clip" else spine)[1][stage]
    cells = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)

def test_a_second_run_is_equal_byte_by_byte(spine, run):
    again = [sys.executable, ROOT/"tests"/"stage_cells.py", run, *ALL[:-1]]
    succeed(subprocess.run(again, cwd=ROOT, capture_output=True, text=True, timeout=800))
    first, _ = spine
    kinds = ("prompts.json", "*.parquet", "*.safetensors")
    files = {path.relative_to(first) for kind in kinds for path in first.rglob(kind)}
    assert files == {path.relative_to(run) for kind in kinds for path in run.rglob(kind)}
    assert len(files) >= 5
    assert [f for f in sorted(files) if (first/f).read_bytes() != (run/f).read_bytes()] == []

@pytest.mark.parametrize("stage", [stage.name for stage in STAGES])
def test_unknown_parameter_is_refused(run, stage):
    with pytest.raises(AttiqaError, match="no parameter 'sede' in .*; did you mean 'seed'?"):
        run_stage_cells(stage, run=run, sede=3)
    assert not run.exists()

@pytest.fixture
def photos(tmp_path):
    "A folder with one photograph."
    folder = tmp_path/"photos"
    folder.mkdir()
    package_photograph("chelsea.png").save(folder/"cat.png")
    return folder

@pytest.mark.parametrize("stage", NEEDS)
def test_missing_input_names_the_command(run, photos, stage):
    with pytest.raises(AttiqaError, match=f"papermill nbs/{NEEDS[stage]}.ipynb"):
        run_stage_cells(stage, run=run, source=photos)

def test_papermill_shows_what_is_wrong(papermill, run, photos):
    misspelt = papermill("02_prompts", run=run, sede=3)
    missing = papermill("03_pseudolabels", run=run, source=photos)
    assert misspelt.returncode != 0
    assert "did you mean 'seed'?" in misspelt.stderr
    assert missing.returncode != 0
    assert "papermill nbs/02_prompts.ipynb" in missing.stderr
    assert not run.exists()

def test_missing_input_is_made_for_the_embedded_run(run):
    run_stage_cells("04_pretrain", run=run)
    assert (run/"prompts.json").is_file()
    assert (run/"pretrained.safetensors").is_file()

def test_relative_run_starts_at_the_checkout(papermill, tmp_path):
    copy = tmp_path/"checkout"
    (copy/"deeper").mkdir(parents=True)
    shutil.copy(ROOT/"settings.ini", copy)
    succeed(papermill("02_prompts", cwd=copy/"deeper", run="runs/here"))
    assert (copy/"runs/here/prompts.json").is_file()
    assert not (copy/"deeper/runs").exists()
