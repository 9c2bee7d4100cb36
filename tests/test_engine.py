"The scorer without torch: the same scores, nothing imported that is not needed, memory that stays flat."
import json, subprocess, sys
from types import SimpleNamespace
import numpy as np, pytest, torch
import attiqa
from PIL import Image, ImageCms
from safetensors.numpy import load, save
from attiqa.core import WEIGHTS
from attiqa.engine import BACKBONES, Engine, Graph, Misfit, card_in, engine_of, scorer_graph
from attiqa.images import package_photograph, to_tensor
from attiqa.model import AttributeNet, load_model, save_model
from attiqa.score import MINI, Scorer, read_array

SHIPPED = WEIGHTS/f"{MINI}.safetensors"
PHOTO = package_photograph("chelsea.png")
HEAVY = ("torch", "torchvision", "timm", "pandas", "matplotlib", "fsspec", "pyarrow.parquet")

@pytest.fixture(scope="module")
def net(): return load_model(SHIPPED)

@pytest.fixture(scope="module")
def engine(): return engine_of(SHIPPED.read_bytes())

def both(engine, net, x):
    "Six scores by the engine and by torch."
    with torch.inference_mode(): attributes, quality = net.scores(torch.from_numpy(x))
    ours = engine.scores(x)
    return np.c_[ours[1], ours[0]], np.c_[quality.numpy(), attributes.numpy()]

SIZES = [(1, 32, 32), (1, 33, 47), (3, 40, 41), (2, 127, 128), (1, 375, 500), (1, 32, 700), (1, 641, 33), (1, 768, 1024)]

@pytest.mark.parametrize("size", SIZES)
def test_the_same_scores_as_torch(engine, net, size):
    noise = np.random.default_rng(0).random((size[0], 3, *size[1:]), np.float32)
    photo = np.stack([read_array(PHOTO.resize(size[:0:-1]))]*size[0])
    for x in (noise, photo, np.zeros_like(noise), np.ones_like(noise)):
        ours, theirs = both(engine, net, x)
        assert np.abs(ours - theirs).max() < 1e-5

def with_profile(name):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()
    image = PHOTO.copy()
    image.info["icc_profile"] = profile
    return image

PICTURES = {"grey": PHOTO.convert("L"), "palette": PHOTO.quantize(64), "16 bits": Image.fromarray(np.asarray(PHOTO.convert("L"), np.uint16)*257),
            "transparent": PHOTO.convert("RGBA"), "CMYK": PHOTO.convert("CMYK"), "profile": with_profile("sRGB"), "large": PHOTO.resize((1600, 1100))}

@pytest.mark.parametrize("kind", PICTURES)
def test_every_kind_of_picture(net, kind):
    found, x = Scorer(device="cpu")(PICTURES[kind]), torch.from_numpy(read_array(PICTURES[kind]))[None]
    with torch.inference_mode(): attributes, quality = net.scores(x)
    values = [found.quality, found.sharpness, found.contrast, found.brightness, found.colorfulness, found.noisiness]
    assert values == pytest.approx([quality.item(), *attributes[0].tolist()], abs=1e-5)

@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_tensors_of_every_type(net, dtype, form):
    x = to_tensor(PHOTO)[None].to(dtype).contiguous(memory_format=form)
    with torch.inference_mode(): quality = net.scores(x.float())[1]
    assert Scorer(device="cpu")(x[0]).quality == pytest.approx(quality.item(), abs=1e-5)

@pytest.mark.parametrize("options", [dict(), dict(hidden=16), dict(maps=True), dict(hidden=16, maps=True)])
@pytest.mark.parametrize("backbone", BACKBONES[:2])
def test_any_regressor_of_such_a_backbone(tmp_path, backbone, options):
    torch.manual_seed(0)
    net = AttributeNet(backbone, 8, **options).eval()
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d): part.running_mean.normal_(0, .1), part.running_var.uniform_(.5, 2)
    save_model(net, tmp_path/"m.safetensors", {}, half=False)
    engine = engine_of((tmp_path/"m.safetensors").read_bytes())
    ours, theirs = both(engine, net, read_array(PHOTO.resize((75, 98)))[None])
    assert np.abs(ours - theirs).max() < 1e-4

def test_a_regressor_of_one_layer():
    tensors, card = load(SHIPPED.read_bytes()), card_in(SHIPPED.read_bytes())
    width = tensors["regressor.0.weight"].shape[1]
    tensors = {name: value for name, value in tensors.items() if not name.startswith("regressor")}
    weight = np.random.default_rng(0).normal(0, .1, (1, width)).astype(np.float32)
    engine = Engine(scorer_graph(tensors | {"regressor.0.weight": weight, "regressor.0.bias": np.ones(1, np.float32)}, card))
    net = load_model(SHIPPED)
    net.regressor = torch.nn.Sequential(torch.nn.Linear(width, 1)).eval()
    net.regressor[0].weight.data, net.regressor[0].bias.data = torch.from_numpy(weight), torch.ones(1)
    ours, theirs = both(engine, net, read_array(PHOTO)[None])
    assert np.abs(ours - theirs).max() < 1e-5

def changed(**tensors):
    "The shipped file with other tensors; None removes one."
    data = SHIPPED.read_bytes()
    kept = {name: value for name, value in (load(data) | tensors).items() if value is not None}
    return save(kept, {"attiqa": json.dumps(card_in(data))})

@pytest.mark.parametrize("name, value", [("gain", None), ("more", np.ones(3)), ("offset", np.ones(7, np.float32)), ("backbone.conv_stem.weight", np.ones((4, 3, 3, 3), np.float32))])
def test_what_does_not_fit_is_left_to_torch(tmp_path, name, value):
    "It says what is wrong, in one line."
    assert engine_of(changed(**{name: value})) is None
    (tmp_path/"m.safetensors").write_bytes(changed(**{name: value}))
    with pytest.raises(ValueError, match="weights do not fit"): Scorer(tmp_path/"m.safetensors", "cpu")

def test_a_tensor_is_taken_once():
    graph = Graph(dict(a=np.ones(2)))
    graph.take("a")
    with pytest.raises(Misfit): graph.take("a")

def test_other_backbones_are_torchs(tmp_path):
    save_model(AttributeNet("resnet10t", 8), tmp_path/"m.safetensors", {})
    assert Scorer(tmp_path/"m.safetensors", "cpu").engine is None and Scorer(device="cpu").engine is not None

# What is imported

def loaded(code, folder):
    "Heavy packages that a fresh interpreter has loaded when the code has run."
    code = f"{code}\nimport sys; print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, timeout=300)
    return done.stderr.splitlines()[-1]

@pytest.fixture
def photo(tmp_path):
    PHOTO.save(tmp_path/"p.png")
    return tmp_path

FORMS = {"path": "'p.png'", "bytes": "open('p.png', 'rb').read()", "file": "open('p.png', 'rb')", "image": "Image.open('p.png')",
         "array": "np.asarray(Image.open('p.png'))", "list": "['p.png', Image.open('p.png')]", "folder": "'.'"}

@pytest.mark.parametrize("form", FORMS)
def test_scoring_imports_no_torch(photo, form):
    code = f"import attiqa, numpy as np; from PIL import Image; attiqa.score({FORMS[form]}, device='cpu')"
    assert loaded(code, photo) == "[]"

def test_a_scorer_and_the_command_import_no_torch(photo):
    assert loaded("from attiqa import Scorer; import copy, pickle; pickle.loads(pickle.dumps(copy.deepcopy(Scorer(device='cpu'))))('p.png')", photo) == "[]"
    assert loaded("import attiqa.score as s; s.may_have_accelerator = lambda: False; from attiqa.cli import main; assert main(['score', 'p.png']) == 0", photo) == "[]"

@pytest.mark.parametrize("version, signs, expected", [("2.15.0+cpu", ["/"], False), ("2.15.0", ["/"], True), ("2.15.0", ["/no/such"], False), ("2.15.0+xpu", [], True)])
def test_a_gpu_is_looked_for_where_there_are_signs(monkeypatch, version, signs, expected):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(attiqa.score, "SIGNS", signs)
    monkeypatch.setattr(attiqa.score, "metadata", SimpleNamespace(version=lambda name: version))
    assert attiqa.score.may_have_accelerator() == expected

def test_torch_after_all(photo):
    "What needs torch has it, with the same scores."
    code = ("from attiqa import Scorer; s = Scorer(device='cpu'); a = s('p.png'); m = s.quality_map('p.png'); import torch; from attiqa.images import open_image, to_tensor; "
            "assert m.shape[0] == 6 and s(to_tensor(open_image('p.png'))).quality == a.quality and s.device == torch.device('cpu')")
    assert "torch" in loaded(code, photo)

# Memory

GROWTH = """
import numpy as np, psutil, sys
from attiqa import Scorer
scorer, rng = Scorer(device="cpu"), np.random.default_rng(0)
resident = lambda: psutil.Process().memory_info().rss/1e6
sizes = [(int(h), int(w)) for h, w in rng.integers(64, 260, (int(sys.argv[1]), 2))]
for number, size in enumerate([(260, 260)]*20 + sizes):
    scorer(np.full((*size, 3), 99, np.uint8))
    if number == 19: before = resident()
print(resident() - before, len(set(sizes)))
"""

def test_memory_stays_flat_over_new_sizes(tmp_path):
    done = subprocess.run([sys.executable, "-c", GROWTH, "640"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=600)
    growth, sizes = done.stdout.split()
    assert float(growth) < 60 and int(sizes) > 600
