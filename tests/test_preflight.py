"A job is checked before it is run: a fault has its line, a sound job its plan; the presets of the paper run through at random weights."
import contextlib, dataclasses, os, shutil, tempfile
from pathlib import Path
import open_clip, pytest, torch
from PIL import Image
from attiqa import preflight, readers, vlm
from attiqa.bank import BANK
from attiqa.cli import main
from attiqa.core import ATTRIBUTES, project_root, read_json, stable_seed, write_json
from attiqa.finetune import finetune
from attiqa.model import load_model
from attiqa.pretrain import pretrain
from attiqa.prompts import search_prompts
from attiqa.pseudolabels import label_images, read_labels
from attiqa.reproduce import STAGES, gather, reproduce, with_variants
from releases import MINIS

DATASETS = ("ava", "clive", "flive", "koniq10k", "spaq")
MODELS = {"rn50": "RN50/openai", "vit-b-32": "ViT-B-32/openai", "vit-l-14": "ViT-L-14/openai", # by preset
          "siglip": "ViT-B-16-SigLIP/webli"}
COUNT = 12 # photographs

@pytest.fixture(scope="module")
def sound():
    "A folder that every user may read: photographs, and the five datasets as miniatures."
    place = Path(tempfile.mkdtemp(prefix="attiqa-sound-"))
    place.chmod(0o755)
    (place/"photos").mkdir()
    for i in range(COUNT):
        Image.effect_mandelbrot((64, 64), (-2 + .1*i, -1, 1, 1), 50).convert("RGB").save(place/"photos"/f"{i:02}.png")
    for name in DATASETS: MINIS[name]().write(place/"data"/name)
    yield place
    shutil.rmtree(place)

@pytest.fixture(autouse=True)
def whole(monkeypatch):
    "Let the miniatures be the whole releases."
    for name in DATASETS:
        small = dataclasses.replace(readers.RELEASES[name], images=len(MINIS[name]().images))
        monkeypatch.setitem(readers.RELEASES, name, small)

@pytest.fixture
def place(sound):
    "A copy of that folder to spoil; the run directory will be beside it."
    folder = Path(tempfile.mkdtemp(prefix="attiqa-spoilt-"))
    folder.chmod(0o755)
    shutil.copytree(sound, folder, dirs_exist_ok=True)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)

def words(place, *more): # the paper's preset at the size of a test; those behind win
    small = [f"source={place}/photos", f"data={place}/data", "02.count=6", f"03.count={COUNT}", "03.device=cpu",
             "vlm=attiqa-mini-clip", "backbone=resnet10t", "04.batch=4", "04.crop=32", "04.held_out=.2", "05.crop=32", "05.crops=4", "05.look=short:32"]
    return [word for given in (*small, *more) for word in ("-p", given)]

def snapshot(folder): # path to time of change and content
    return {str(p): (p.stat().st_mtime_ns, p.is_dir() or p.read_bytes()) for p in [folder, *folder.rglob("*")]}

@contextlib.contextmanager
def ordinary_user():
    "Permissions count: root gives up its powers meanwhile."
    if root := os.geteuid() == 0: os.seteuid(65534)
    try: yield
    finally: root and os.seteuid(0)

def test_a_sound_job_has_its_plan(place, capsys):
    before = snapshot(place)
    assert main(["reproduce", f"{place}/run", "--preset", "paper", *words(place), "--dry-run"]) == 0
    out, err = capsys.readouterr()
    stages = ["02_prompts", "03_pseudolabels", "04_pretrain", *(f"05_finetune_{name}" for name in DATASETS)]
    lines = out.splitlines()
    assert [line for line in lines if line.startswith("[")] == [f"[{i}/8] {name}: new" for i, name in enumerate(stages, 1)]
    assert f"      needs prompts.json, {place}/photos, attiqa-mini-clip" in lines and "      makes finetuned/koniq10k/**/*" in lines
    assert sum(" hours at " in line for line in lines) == 8 and any("hours in all" in line for line in lines)
    assert sum("if stopped, it continues at the last checkpoint" in line for line in lines) == 1
    assert not err and snapshot(place) == before

# A fault: what is done to the folder, words of the command line, and the one line about it.

def nothing(place): pass
def half_a_dataset(place): [p.unlink() for p in sorted((place/"data"/"koniq10k"/"1024x768").iterdir())[::2]]
def no_scores(place): (place/"data"/"clive"/"ChallengeDB_release"/"Data"/"AllMOS_release.mat").unlink()
def broken_scores(place): (place/"data"/"flive"/"database"/"labels_image.csv").write_text("picture,grade\na,1\n")
def damaged_pictures(place): [p.write_bytes(p.read_bytes()[:40]) for p in (place/"data"/"spaq"/"TestImage").iterdir()]
def another_job(place): write_json(place/"run"/"stages"/"03_pseudolabels.json", dict(parameters=dict(variants=5)))
def mine(place, name, text): # a file of a preset of one's own
    (place/"mine").mkdir(exist_ok=True)
    (place/"mine"/f"{name}.yaml").write_text(text)
def wrong_key(place): mine(place, "03_pseudolabels", "variant: 2\n")
def wrong_file(place): mine(place, "03_pseudolabel", "variants: 2\n")

FAULTS = {
    "missing weights": (nothing, ["vlm=hf-hub:nobody-7f3a/nothing"],
                        "02_prompts, 03_pseudolabels: nobody-7f3a/nothing is neither in the cache ("),
    "half a dataset": (half_a_dataset, [], "05_finetune_koniq10k: {place}/data/koniq10k: 4 of 8 images are missing: "),
    "too few photographs": (nothing, ["03.count=24"], "03_pseudolabels: {place}/photos has 12 images, count is 24"),
    "full disk": (nothing, ["03.views=1000000000000"], " GB are needed and "),
    "crop too large": (nothing, ["04.crop=100000"], "04_pretrain: a batch of 4 images of 100000 x 100000 pixels needs about "),
    "batch without images": (nothing, ["04.batch=64"], "04_pretrain: a batch of 64 crops is more than the 10 to train on"),
    "wrong preset key": (wrong_key, [], "03_pseudolabels: no parameter 'variant'; did you mean 'variants'?"),
    "unknown dataset": (nothing, ["05_finetune_ava.dataset=tid2014"], "05_finetune_ava: no dataset 'tid2014'; there are surrogate, "),
    "missing scores": (no_scores, [], "05_finetune_clive: {place}/data/clive: holds no Data/AllMOS_release.mat"),
    "unreadable scores": (broken_scores, [],
                          "05_finetune_flive: {place}/data/flive/database/labels_image.csv: no column 'mos', 'name'"),
    "damaged pictures": (damaged_pictures, [], "05_finetune_spaq: spaq: 8 of 8 images that were tried cannot be read"),
    "another job": (another_job, [], "03_pseudolabels: {place}/run holds another job (variants was 5, is 0)"),
    "no such device": (nothing, ["03.device=cuda:99"], "03_pseudolabels: device 'cuda:99' is not there ("),
    "no such folder": (nothing, ["source=nowhere"], "nowhere: no such folder of images"),
    "no such backbone": (nothing, ["backbone=resnet999"], "04_pretrain: no backbone 'resnet999' in timm"),
    "unknown choice": (nothing, ["04.truth=people"], "04_pretrain: truth is 'people'; it is one of labels, recipes"),
    "wrong preset file": (wrong_file, [], "03_pseudolabel.yaml is of no stage; did you mean '03_pseudolabels'?"),
    "misspelt word": (nothing, ["sede=1"], "-p sede: no stage has that parameter; did you mean 'seed'?")}

def preset_of(place): return "paper" + (f"+{place}/mine" if (place/"mine").exists() else "")

def dry(place, capsys, *more): # exit code, lines on stderr
    before = snapshot(place)
    code = main(["reproduce", f"{place}/run", "--preset", preset_of(place), *words(place, *more), "--dry-run"])
    out, err = capsys.readouterr()
    assert snapshot(place) == before and not out
    return code, err.splitlines()

@pytest.fixture
def nothing_measured(monkeypatch):
    def fail(*given): raise AssertionError("measured")
    monkeypatch.setattr(preflight, "rates", fail)

@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_one_line(name, place, capsys, nothing_measured):
    change, more, said = FAULTS[name]
    change(place)
    code, lines = dry(place, capsys, *more)
    assert code == 2 and len(lines) == 1 and said.format(place=place) in lines[0], lines

def test_no_write_permission(place, capsys, nothing_measured):
    place.chmod(0o555)
    with ordinary_user(): code, lines = dry(place, capsys)
    assert code == 2 and lines == [f"attiqa: {place}: may not be written; change its permissions, or choose another run directory"]

def test_all_faults_at_once(place, capsys, nothing_measured):
    hide_others = ("no such folder", "no such backbone", "batch without images")
    together = [name for name in FAULTS if name not in hide_others]
    for name in together: FAULTS[name][0](place)
    (place/"run").chmod(0o555)
    with ordinary_user(): code, lines = dry(place, capsys, *(word for name in together for word in FAULTS[name][1]))
    (place/"run").chmod(0o755)
    assert code == 2 and len(lines) == len(together) + 1 >= 10
    assert f"attiqa: {place}/run: may not be written; change its permissions, or choose another run directory" in lines
    for name in together: assert sum(FAULTS[name][2].format(place=place) in line for line in lines) == 1, name

def test_a_stage_without_its_input(place, capsys, nothing_measured):
    command = ["reproduce", f"{place}/run", "--preset", "paper", *words(place), "--from", "05_finetune_clive", "--until", "05_finetune_clive"]
    assert main([*command, "--dry-run"]) == 2
    said = f"attiqa: 05_finetune_clive: {place}/run/pretrained.safetensors is missing; begin with an earlier stage\n"
    assert capsys.readouterr().err == said

def test_no_such_preset_is_one_fault_of_several(place, capsys):
    assert main(["reproduce", f"{place}/run", "--preset", "papre", "-p", "03.device=cuda:99", "--dry-run"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "no preset 'papre'; there are " in lines[0] and "cuda:99" in lines[1]

def test_the_run_itself_refuses_a_wrong_key(place, capsys):
    wrong_key(place)
    assert main(["reproduce", f"{place}/run", "--preset", f"paper+{place}/mine"]) == 2
    assert capsys.readouterr().err == "attiqa: 03_pseudolabels: no parameter 'variant'; did you mean 'variants'?\n"
    assert not (place/"run").exists()

def test_weights_in_the_cache(tmp_path, monkeypatch):
    "A tag is there where the cache has its file in either format; nothing is asked of the network."
    from huggingface_hub import constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for number, file in enumerate(("open_clip_model.safetensors", "open_clip_pytorch_model.bin")):
        repository = tmp_path/f"models--someone--model{number}"
        (repository/"snapshots"/"0123abc").mkdir(parents=True); (repository/"refs").mkdir()
        (repository/"refs"/"main").write_text("0123abc")
        (repository/"snapshots"/"0123abc"/file).write_bytes(b"")
        assert preflight.missing_file(f"someone/model{number}", preflight.WEIGHT_FILES) == ""
    assert "nobody-7f3a/other is neither in the cache" in preflight.missing_file("nobody-7f3a/other", preflight.WEIGHT_FILES)

def test_what_was_stopped_is_resumed(place, capsys):
    "After a run of two stages, of which the second lost its end."
    run, small = place/"run", words(place, "02.rungs=2", "02.draws=2")
    reproduce(str(run), "paper", last="03", words=small[1::2])
    record = read_json(run/"stages"/"03_pseudolabels.json")
    write_json(run/"stages"/"03_pseudolabels.json", {k: v for k, v in record.items() if k != "outputs"})
    capsys.readouterr()
    before = snapshot(run)
    assert main(["reproduce", str(run), "--preset", "paper", *small, "--dry-run"]) == 0
    stages = [line.split(": ") for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert [how for _, how in stages[:3]] == ["up to date", "interrupted", "new"] and snapshot(run) == before

# --- the presets

def settled(preset): # stage to parameters, as a run has them
    stages = with_variants(STAGES, preset)
    parameters, wrong = gather(stages, project_root()/"nbs", preset, [], {})
    assert not wrong
    return parameters

@pytest.mark.parametrize("model", MODELS)
def test_presets_differ_in_the_model_alone(model):
    base, other = settled("paper"), settled(f"paper+{model}")
    differ = {(stage, name) for stage in base for name in base[stage] if base[stage][name] != other[stage][name]}
    assert list(base) == list(other)
    assert differ == ({("02_prompts", "vlm"), ("03_pseudolabels", "vlm")} if model != "rn50" else set())
    assert {other[stage]["vlm"] for stage in ("02_prompts", "03_pseudolabels")} == {MODELS[model]}
    assert vlm.check_name(MODELS[model])[2] == ("openai" in MODELS[model]) # OpenAI's are of QuickGELU
    assert [other[f"05_finetune_{name}"]["dataset"] for name in DATASETS] == [*DATASETS]
    assert other["04_pretrain"]["backbone"] == "resnet50"

LARGE = pytest.mark.skipif(not os.environ.get("ATTIQA_LARGE"), reason="takes minutes and 4 GB; ATTIQA_LARGE=1 runs it")

@pytest.fixture
def at_random(monkeypatch):
    "Let a name stand for its true architecture at random weights, with a tokenizer that needs no file."
    def enter(name):
        architecture, _, quick = vlm.check_name(name)
        text = open_clip.get_model_config(architecture)["text_cfg"]
        def tokenize(sentences):
            number = lambda word: 1 + stable_seed(word) % (text["vocab_size"] - 1)
            rows = [[number(word) for word in sentence.split()] for sentence in sentences]
            return torch.tensor([row + [0]*(text["context_length"] - len(row)) for row in rows])
        def load():
            torch.manual_seed(0)
            made = open_clip.create_model_and_transforms(architecture, pretrained=None, force_quick_gelu=quick)
            return made[0], made[2], tokenize
        monkeypatch.setitem(vlm.LOADERS, name, load)
    monkeypatch.setattr(vlm, "TEXT_BATCH", 4)
    return enter

@pytest.fixture
def few_words(tmp_path):
    "One pair for each attribute, in one template."
    bank = read_json(BANK)
    pairs = [next(pair for pair in bank["pairs"] if pair["attribute"] == a) for a in ATTRIBUTES]
    write_json(tmp_path/"bank.json", bank | dict(pairs=pairs, templates=bank["templates"][:1]))
    return str(tmp_path/"bank.json")

def label(preset, place, bank, count=4): # parameters of all stages, run, source
    "Stages 02 and 03 as the preset has them, at few images."
    given, source, run = settled(preset), f"{place}/photos", str(place/"run")
    search_prompts(**given["02_prompts"] | dict(run=run, source=source, count=count, rungs=2, draws=2, bank=bank))
    label_images(**given["03_pseudolabels"] | dict(run=run, source=source, count=count, device="cpu", workers=0))
    return given, run, source

@pytest.mark.parametrize("model", [pytest.param(name, marks=LARGE if name == "vit-l-14" else ()) for name in MODELS])
def test_a_model_labels(model, place, at_random, few_words):
    "Stages 02 and 03 of every preset."
    at_random(MODELS[model])
    label(f"paper+{model}", place, few_words)
    rows, job = read_labels(place/"run"/"pseudolabels")
    scores = rows[list(ATTRIBUTES)].to_numpy()
    assert len(rows) == 4 and job["vlm"] == MODELS[model] and ((0 <= scores) & (scores <= 1)).all()

def test_the_student_learns_and_is_fine_tuned(place, few_words, monkeypatch):
    "Stages 04 and 05 of the presets: ResNet-50, then the five datasets."
    monkeypatch.setitem(vlm.LOADERS, "RN50/openai", lambda: vlm._from_folder(vlm.WEIGHTS/vlm.MINI_CLIP))
    given, run, source = label("paper", place, few_words, COUNT)
    pretrain(**given["04_pretrain"] | dict(run=run, source=source, epochs=1, batch=4, crop=32, held_out=.2, workers=0))
    assert load_model(place/"run"/"pretrained.safetensors").settings == dict(backbone="resnet50", embedding=128)
    for name in DATASETS:
        small = dict(splits=2, epochs=1, full_epochs=1, crop=32, crops=4, workers=0)
        path = finetune(**given[f"05_finetune_{name}"] | small | dict(run=run, source=source, data=f"{place}/data"))
        assert path == place/"run"/"finetuned"/name/"model.safetensors"
        assert load_model(path).card["scores"]["human"] is True
