"A job is checked before it runs: one line per fault, or the plan; the paper's presets run at random weights."
import contextlib, dataclasses, os, shutil, tempfile
from pathlib import Path
import open_clip, pytest, torch
from PIL import Image
from attiqa import preflight, readers, vlm
from attiqa.bank import BANK_FILE
from attiqa.cli import main
from attiqa.core import ATTRIBUTES, project_root, read_json, stable_seed, write_json
from attiqa.finetune import finetune
from attiqa.model import load_model
from attiqa.pretrain import pretrain
from attiqa.prompts import search_prompts
from attiqa.pseudolabels import label_images, read_labels
from attiqa.reproduce import collect_parameters, reproduce, expand_variants
from attiqa.runs import MAIN_STAGES
from releases import MINIS

DATASETS = ("ava", "clive", "flive", "koniq10k", "spaq")
MODELS = {"rn50": "RN50/openai", "vit-b-32": "ViT-B-32/openai", "vit-l-14": "ViT-L-14/openai", # by preset
          "siglip": "ViT-B-16-SigLIP/webli"}
COUNT = 12 # images

@pytest.fixture(scope="module")
def sound():
    "A folder that every user may read: images, and the five datasets as miniatures."
    place = Path(tempfile.mkdtemp(prefix="attiqa-sound-"))
    place.chmod(0o755)
    (place/"photos").mkdir()
    for i in range(COUNT):
        image = Image.effect_mandelbrot((64, 64), (-2 + .1*i, -1, 1, 1), 50).convert("RGB")
        image.save(place/"photos"/f"{i:02}.png")
    for name in DATASETS: MINIS[name]().write(place/"data"/name)
    yield place
    shutil.rmtree(place)

@pytest.fixture(autouse=True)
def whole(monkeypatch):
    "Let the miniatures count as complete releases."
    for name in DATASETS:
        small = dataclasses.replace(readers.RELEASES[name], images=len(MINIS[name]().images))
        monkeypatch.setitem(readers.RELEASES, name, small)

@pytest.fixture
def place(sound):
    "A copy of that folder that a test may damage; the run directory is in it."
    folder = Path(tempfile.mkdtemp(prefix="attiqa-spoilt-"))
    folder.chmod(0o755)
    shutil.copytree(sound, folder, dirs_exist_ok=True)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)

def words(place, *more): # later ones override earlier ones
    "Words of the command line: the paper's preset at test size."
    small = [f"source={place}/photos", f"data={place}/data", "02.count=6", f"03.count={COUNT}",
             "03.device=cpu", "vlm=attiqa-mini-clip", "backbone=resnet10t", "04.batch=4", "04.crop=32",
             "04.held_out=.2", "05.crop=32", "05.crops=4", "05.view_policy=short:32"]
    return [word for given in (*small, *more) for word in ("-p", given)]

def snapshot(folder):
    "Path to time of change and content."
    paths = [folder, *folder.rglob("*")]
    return {str(path): (path.stat().st_mtime_ns, path.is_dir() or path.read_bytes()) for path in paths}

@contextlib.contextmanager
def ordinary_user():
    "Permissions are checked: root becomes another user."
    root = os.geteuid() == 0
    if root: os.seteuid(65534)
    try:
        yield
    finally:
        if root: os.seteuid(0)

def test_a_sound_job_has_its_plan(place, capsys):
    before = snapshot(place)
    assert main(["reproduce", f"{place}/run", "--preset", "paper", *words(place), "--dry-run"]) == 0
    out, err = capsys.readouterr()
    stages = ["02_prompts", "03_pseudolabels", "04_pretrain", *(f"05_finetune_{name}" for name in DATASETS)]
    lines, expected = out.splitlines(), [f"[{i}/8] {name}: new" for i, name in enumerate(stages, 1)]
    assert [line for line in lines if line.startswith("[")] == expected
    assert f"      needs prompts.json, {place}/photos, attiqa-mini-clip" in lines
    assert "      makes finetuned/koniq10k/**/*" in lines
    assert sum(" hours at " in line for line in lines) == 8
    assert any("hours in all" in line for line in lines)
    assert sum("if stopped, it continues at the last checkpoint" in line for line in lines) == 1
    assert not err
    assert snapshot(place) == before

# Functions that damage the folder, one per fault

def nothing(place): ...

def half_a_dataset(place):
    for path in sorted((place/"data"/"koniq10k"/"1024x768").iterdir())[::2]: path.unlink()

def no_scores(place):
    (place/"data"/"clive"/"ChallengeDB_release"/"Data"/"AllMOS_release.mat").unlink()

def broken_scores(place):
    (place/"data"/"flive"/"database"/"labels_image.csv").write_text("picture,grade\na,1\n")

def damaged_images(place):
    for path in (place/"data"/"spaq"/"TestImage").iterdir(): path.write_bytes(path.read_bytes()[:40])

def another_job(place):
    write_json(place/"run"/"stages"/"03_pseudolabels.json", dict(parameters=dict(variants=5)))

def write_preset(place, name, text):
    "A file of the user's own preset."
    (place/"mine").mkdir(exist_ok=True)
    (place/"mine"/f"{name}.yaml").write_text(text)

def wrong_key(place): write_preset(place, "03_pseudolabels", "variant: 2\n")

def wrong_file(place): write_preset(place, "03_pseudolabel", "variants: 2\n")

FAULTS = { # name to damage, words of the command line, and the expected line
    "missing weights": (
        nothing, ["vlm=hf-hub:nobody-7f3a/nothing"],
        "02_prompts, 03_pseudolabels: nobody-7f3a/nothing is neither in the cache ("),
    "half a dataset": (
        half_a_dataset, [],
        "05_finetune_koniq10k: {place}/data/koniq10k: 4 of 8 images are missing: "),
    "too few images": (
        nothing, ["03.count=24"],
        "03_pseudolabels: {place}/photos has 12 images, count is 24"),
    "full disk": (nothing, ["03.views=1000000000000"], " GB are needed and "),
    "crop too large": (
        nothing, ["04.crop=100000"],
        "04_pretrain: a batch of 4 images of 100000 x 100000 pixels needs about "),
    "batch without images": (
        nothing, ["04.batch=64"],
        "04_pretrain: a batch of 64 crops is more than the 10 to train on"),
    "wrong preset key": (wrong_key, [], "03_pseudolabels: no parameter 'variant'; did you mean 'variants'?"),
    "unknown dataset": (
        nothing, ["05_finetune_ava.dataset=tid2014"],
        "05_finetune_ava: no dataset 'tid2014'; there are surrogate, "),
    "missing scores": (
        no_scores, [],
        "05_finetune_clive: {place}/data/clive: holds no Data/AllMOS_release.mat"),
    "unreadable scores": (
        broken_scores, [],
        "05_finetune_flive: {place}/data/flive/database/labels_image.csv: no column 'mos', 'name'"),
    "damaged images": (damaged_images, [], "05_finetune_spaq: spaq: 8 of 8 sampled images cannot be read"),
    "another job": (another_job, [], "03_pseudolabels: {place}/run holds another job (variants was 5, is 0)"),
    "no such device": (nothing, ["03.device=cuda:99"], "03_pseudolabels: device 'cuda:99' is not there ("),
    "no such folder": (nothing, ["source=nowhere"], "nowhere: no such folder of images"),
    "no such backbone": (nothing, ["backbone=resnet999"], "04_pretrain: no backbone 'resnet999' in timm"),
    "unknown choice": (
        nothing, ["04.truth=people"],
        "04_pretrain: truth is 'people'; it is one of labels, recipes"),
    "wrong preset file": (
        wrong_file, [],
        "03_pseudolabel.yaml is of no stage; did you mean '03_pseudolabels'?"),
    "misspelt word": (nothing, ["sede=1"], "-p sede: no stage has that parameter; did you mean 'seed'?")}

def preset_of(place): return "paper" + (f"+{place}/mine" if (place/"mine").exists() else "")

def dry(place, capsys, *more):
    "Exit code and error lines of a dry run; nothing may change."
    before = snapshot(place)
    command = ["reproduce", f"{place}/run", "--preset", preset_of(place), *words(place, *more)]
    code = main([*command, "--dry-run"])
    out, err = capsys.readouterr()
    assert snapshot(place) == before
    assert not out
    return code, err.splitlines()

@pytest.fixture
def nothing_measured(monkeypatch):
    def fail(*given): raise AssertionError("measured")
    monkeypatch.setattr(preflight, "measure_rates", fail)

@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_one_line(name, place, capsys, nothing_measured):
    damage, more, expected = FAULTS[name]
    damage(place)
    code, lines = dry(place, capsys, *more)
    assert code == 2
    assert len(lines) == 1, lines
    assert expected.format(place=place) in lines[0]

FORBIDDEN = "no permission to write; change the permissions, or choose another run directory"

def test_no_write_permission(place, capsys, nothing_measured):
    place.chmod(0o555)
    with ordinary_user(): code, lines = dry(place, capsys)
    assert code == 2
    assert lines == [f"attiqa: {place}: {FORBIDDEN}"]

def test_all_faults_at_once(place, capsys, nothing_measured):
    hide_others = ("no such folder", "no such backbone", "batch without images")
    together = [name for name in FAULTS if name not in hide_others]
    for name in together: FAULTS[name][0](place)
    (place/"run").chmod(0o555)
    more = [word for name in together for word in FAULTS[name][1]]
    with ordinary_user(): code, lines = dry(place, capsys, *more)
    (place/"run").chmod(0o755)
    assert code == 2
    assert len(lines) == len(together) + 1 >= 10
    assert f"attiqa: {place}/run: {FORBIDDEN}" in lines
    for name in together:
        assert sum(FAULTS[name][2].format(place=place) in line for line in lines) == 1, name

def test_a_stage_without_its_input(place, capsys, nothing_measured):
    only = ["--from", "05_finetune_clive", "--until", "05_finetune_clive"]
    assert main(["reproduce", f"{place}/run", "--preset", "paper", *words(place), *only, "--dry-run"]) == 2
    missing = f"{place}/run/pretrained.safetensors is missing; begin with an earlier stage"
    assert capsys.readouterr().err == f"attiqa: 05_finetune_clive: {missing}\n"

def test_no_such_preset_is_one_fault_of_several(place, capsys):
    wrong = ["--preset", "papre", "-p", "03.device=cuda:99"]
    assert main(["reproduce", f"{place}/run", *wrong, "--dry-run"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "no preset 'papre'; there are " in first
    assert "cuda:99" in second

def test_the_run_itself_refuses_a_wrong_key(place, capsys):
    wrong_key(place)
    assert main(["reproduce", f"{place}/run", "--preset", f"paper+{place}/mine"]) == 2
    line = "attiqa: 03_pseudolabels: no parameter 'variant'; did you mean 'variants'?\n"
    assert capsys.readouterr().err == line
    assert not (place/"run").exists()

def test_weights_in_the_cache(tmp_path, monkeypatch):
    "A tag is available if the cache has its file in either format; the network is not asked."
    from huggingface_hub import constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for number, file in enumerate(("open_clip_model.safetensors", "open_clip_pytorch_model.bin")):
        repository = tmp_path/f"models--someone--model{number}"
        (repository/"snapshots"/"0123abc").mkdir(parents=True)
        (repository/"refs").mkdir()
        (repository/"refs"/"main").write_text("0123abc")
        (repository/"snapshots"/"0123abc"/file).write_bytes(b"")
        assert preflight.missing_file(f"someone/model{number}", preflight.WEIGHT_FILES) == ""
    line = preflight.missing_file("nobody-7f3a/other", preflight.WEIGHT_FILES)
    assert "nobody-7f3a/other is neither in the cache" in line

def test_an_interrupted_stage_is_in_the_plan(place, capsys):
    "The run has two stages, and the second did not finish."
    run, small = place/"run", words(place, "02.rungs=2", "02.draws=2")
    reproduce(str(run), "paper", last="03", assignments=small[1::2])
    record = read_json(run/"stages"/"03_pseudolabels.json")
    record.pop("outputs")
    write_json(run/"stages"/"03_pseudolabels.json", record)
    capsys.readouterr()
    before = snapshot(run)
    assert main(["reproduce", str(run), "--preset", "paper", *small, "--dry-run"]) == 0
    stages = [line.split(": ") for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert [state for _, state in stages[:3]] == ["up to date", "interrupted", "new"]
    assert snapshot(run) == before

# The presets

def settled(preset):
    "Stage to parameters, as a run uses them."
    stages = expand_variants(MAIN_STAGES, preset)
    parameters, wrong = collect_parameters(stages, project_root()/"nbs", preset, [], {})
    assert not wrong
    return parameters

@pytest.mark.parametrize("model", MODELS)
def test_presets_differ_only_in_the_model(model):
    base, other = settled("paper"), settled(f"paper+{model}")
    assert list(base) == list(other)
    differ = {(stage, name) for stage, values in base.items() for name in values
              if values[name] != other[stage][name]}
    assert differ == ({("02_prompts", "vlm"), ("03_pseudolabels", "vlm")} if model != "rn50" else set())
    assert {other[stage]["vlm"] for stage in ("02_prompts", "03_pseudolabels")} == {MODELS[model]}
    assert vlm.parse_model_name(MODELS[model])[2] == ("openai" in MODELS[model]) # OpenAI's are of QuickGELU
    assert [other[f"05_finetune_{name}"]["dataset"] for name in DATASETS] == [*DATASETS]
    assert other["04_pretrain"]["backbone"] == "resnet50"

LARGE = pytest.mark.skipif(not os.environ.get("ATTIQA_LARGE"),
                           reason="takes minutes and 4 GB; ATTIQA_LARGE=1 runs it")

@pytest.fixture
def at_random(monkeypatch):
    "A name loads its real architecture with random weights, and a tokenizer that needs no file."
    def enter(name):
        architecture, _, quick = vlm.parse_model_name(name)
        text = open_clip.get_model_config(architecture)["text_cfg"]
        def tokenize(sentences):
            number = lambda word: 1 + stable_seed(word) % (text["vocab_size"] - 1)
            rows = [[number(word) for word in sentence.split()] for sentence in sentences]
            return torch.tensor([row + [0]*(text["context_length"] - len(row)) for row in rows])
        def load():
            torch.manual_seed(0)
            net, _, preprocess = open_clip.create_model_and_transforms(
                architecture, pretrained=None, force_quick_gelu=quick)
            return net, preprocess, tokenize
        monkeypatch.setitem(vlm.LOADERS, name, load)
    monkeypatch.setattr(vlm, "TEXT_BATCH", 4)
    return enter

@pytest.fixture
def few_words(tmp_path):
    "A bank of one pair per attribute and one template."
    bank = read_json(BANK_FILE)
    pairs = [next(pair for pair in bank["pairs"] if pair["attribute"] == a) for a in ATTRIBUTES]
    write_json(tmp_path/"bank.json", bank | dict(pairs=pairs, templates=bank["templates"][:1]))
    return str(tmp_path/"bank.json")

def label(preset, place, bank, count=4): # returns parameters of all stages, run, source
    "Run stages 02 and 03 with the preset's parameters, on few images."
    given, source, run = settled(preset), f"{place}/photos", str(place/"run")
    small = dict(run=run, source=source, count=count)
    search_prompts(**given["02_prompts"] | small | dict(rungs=2, draws=2, bank=bank))
    label_images(**given["03_pseudolabels"] | small | dict(device="cpu", workers=0))
    return given, run, source

@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=LARGE if name == "vit-l-14" else ()) for name in MODELS])
def test_a_model_labels(model, place, at_random, few_words):
    "Stages 02 and 03 of every preset."
    at_random(MODELS[model])
    label(f"paper+{model}", place, few_words)
    rows, job = read_labels(place/"run"/"pseudolabels")
    scores = rows[list(ATTRIBUTES)].to_numpy()
    assert len(rows) == 4
    assert job["vlm"] == MODELS[model]
    assert ((0 <= scores) & (scores <= 1)).all()

def test_the_student_learns_and_is_fine_tuned(place, few_words, monkeypatch):
    "Stages 04 and 05 of the presets: ResNet-50, then the five datasets."
    load = lambda: vlm._from_folder(vlm.WEIGHTS/vlm.MINI_CLIP)
    monkeypatch.setitem(vlm.LOADERS, "RN50/openai", load)
    given, run, source = label("paper", place, few_words, COUNT)
    small = dict(run=run, source=source, epochs=1, batch=4, crop=32, held_out=.2, workers=0)
    pretrain(**given["04_pretrain"] | small)
    settings = load_model(place/"run"/"pretrained.safetensors").settings
    assert settings == dict(backbone="resnet50", embedding=128)
    for name in DATASETS:
        small = dict(splits=2, epochs=1, full_epochs=1, crop=32, crops=4, workers=0)
        small |= dict(run=run, source=source, data=f"{place}/data")
        path = finetune(**given[f"05_finetune_{name}"] | small)
        assert path == place/"run"/"finetuned"/name/"model.safetensors"
        assert load_model(path).card["scores"]["human"] is True
