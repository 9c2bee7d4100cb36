"The scorer without torch: the same scores, nothing imported that is not needed, memory that stays flat."
import json, subprocess, sys
from types import SimpleNamespace
import attiqa
import numpy as np, pytest, torch
from PIL import Image, ImageCms
from safetensors.numpy import load, save
from attiqa.core import WEIGHTS
from attiqa.engine import BACKBONES, Engine, Graph, TensorMismatch, build_engine, read_card, scorer_graph
from attiqa.images import package_photograph, to_tensor
from attiqa.model import AttributeNet, load_model, save_model
from attiqa.score import MINI, Scorer, read_array

SHIPPED = WEIGHTS/f"{MINI}.safetensors"
PHOTO = package_photograph("chelsea.png")

@pytest.fixture(scope="module")
def net(): return load_model(SHIPPED)

@pytest.fixture(scope="module")
def engine(): return build_engine(SHIPPED.read_bytes())

# The same scores

def torch_scores(net, x):
    "(B, 6): quality and attributes by torch."
    with torch.inference_mode(): attributes, quality = net.scores(x)
    return np.c_[quality.numpy(), attributes.numpy()]

def difference(engine, net, x):
    "The largest one between scores of the engine and of torch."
    attributes, quality = engine.scores(x)
    return np.abs(np.c_[quality, attributes] - torch_scores(net, torch.from_numpy(x))).max()

SIZES = [(1, 32, 32), (1, 33, 47), (3, 40, 41), (2, 127, 128), (1, 375, 500), (1, 32, 700), (1, 641, 33),
         (1, 768, 1024)]

@pytest.mark.parametrize("batch, height, width", SIZES)
def test_the_same_scores_as_torch(engine, net, batch, height, width):
    noise = np.random.default_rng(0).random((batch, 3, height, width), np.float32)
    photo = np.stack([read_array(PHOTO.resize((width, height)))]*batch)
    for x in (noise, photo, np.zeros_like(noise), np.ones_like(noise)):
        assert difference(engine, net, x) < 1e-5

def with_profile(name):
    image = PHOTO.copy()
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()
    return image

PICTURES = {
    "grey": PHOTO.convert("L"), "palette": PHOTO.quantize(64),
    "16 bits": Image.fromarray(np.asarray(PHOTO.convert("L"), np.uint16)*257),
    "transparent": PHOTO.convert("RGBA"), "CMYK": PHOTO.convert("CMYK"),
    "profile": with_profile("sRGB"), "large": PHOTO.resize((1600, 1100))}
NAMES = ("quality", "sharpness", "contrast", "brightness", "colorfulness", "noisiness")

@pytest.mark.parametrize("kind", PICTURES)
def test_every_kind_of_picture(net, kind):
    found = Scorer(device="cpu")(PICTURES[kind])
    expected, = torch_scores(net, torch.from_numpy(read_array(PICTURES[kind]))[None]).tolist()
    assert [getattr(found, name) for name in NAMES] == pytest.approx(expected, abs=1e-5)

@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_tensors_of_every_type(net, dtype, form):
    x = to_tensor(PHOTO)[None].to(dtype).contiguous(memory_format=form)
    expected = torch_scores(net, x.float())[0, 0]
    assert Scorer(device="cpu")(x[0]).quality == pytest.approx(expected, abs=1e-5)

# Other files of weights

def random_statistics(net):
    "Draw the statistics of every batch normalization."
    for part in net.modules():
        if not isinstance(part, torch.nn.BatchNorm2d): continue
        part.running_mean.normal_(0, .1)
        part.running_var.uniform_(.5, 2)

@pytest.mark.parametrize("options", [dict(), dict(hidden=16), dict(maps=True), dict(hidden=16, maps=True)])
@pytest.mark.parametrize("backbone", BACKBONES[:2])
def test_any_regressor_of_such_a_backbone(tmp_path, backbone, options):
    torch.manual_seed(0)
    net = AttributeNet(backbone, 8, **options).eval()
    random_statistics(net)
    save_model(net, tmp_path/"m.safetensors", {}, fp16=False)
    engine = build_engine((tmp_path/"m.safetensors").read_bytes())
    assert difference(engine, net, read_array(PHOTO.resize((75, 98)))[None]) < 1e-4

def test_a_regressor_of_one_layer():
    data = SHIPPED.read_bytes()
    tensors = load(data)
    width = tensors["regressor.0.weight"].shape[1]
    weight = np.random.default_rng(0).normal(0, .1, (1, width)).astype(np.float32)
    kept = {name: value for name, value in tensors.items() if not name.startswith("regressor")}
    layer = {"regressor.0.weight": weight, "regressor.0.bias": np.ones(1, np.float32)}
    engine = Engine(scorer_graph(kept | layer, read_card(data)))
    net = load_model(SHIPPED)
    net.regressor = torch.nn.Sequential(torch.nn.Linear(width, 1)).eval()
    net.regressor[0].weight.data = torch.from_numpy(weight)
    net.regressor[0].bias.data = torch.ones(1)
    assert difference(engine, net, read_array(PHOTO)[None]) < 1e-5

def changed(**tensors):
    "The shipped file with other tensors; None removes one."
    data = SHIPPED.read_bytes()
    kept = {name: value for name, value in (load(data) | tensors).items() if value is not None}
    return save(kept, {"attiqa": json.dumps(read_card(data))})

MISFITS = [("gain", None), ("more", np.ones(3)), ("offset", np.ones(7, np.float32)),
           ("backbone.conv_stem.weight", np.ones((4, 3, 3, 3), np.float32))]

@pytest.mark.parametrize("name, value", MISFITS)
def test_what_does_not_fit_is_left_to_torch(tmp_path, name, value):
    "Torch's loader raises an error of one line."
    data = changed(**{name: value})
    assert build_engine(data) is None
    (tmp_path/"m.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="weights do not fit"): Scorer(tmp_path/"m.safetensors", "cpu")

def test_a_tensor_is_taken_once():
    graph = Graph(dict(a=np.ones(2)))
    graph.take("a")
    with pytest.raises(TensorMismatch): graph.take("a")

def test_other_backbones_are_torchs(tmp_path):
    save_model(AttributeNet("resnet10t", 8), tmp_path/"m.safetensors", {})
    assert Scorer(tmp_path/"m.safetensors", "cpu").engine is None
    assert Scorer(device="cpu").engine is not None

# What is imported

HEAVY = ("torch", "torchvision", "timm", "pandas", "matplotlib", "fsspec", "pyarrow.parquet")

def fresh(folder, code, *words, limit=300):
    "Run code in a fresh interpreter, for so many seconds at most."
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=limit)

def loaded(code, folder):
    "Heavy packages that a fresh interpreter has loaded when the code has run."
    listing = f"import sys\nprint([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    return fresh(folder, f"{code}\n{listing}").stderr.splitlines()[-1]

@pytest.fixture
def photo(tmp_path):
    "A folder with the image p.png."
    PHOTO.save(tmp_path/"p.png")
    return tmp_path

FORMS = {"path": "'p.png'", "bytes": "open('p.png', 'rb').read()", "file": "open('p.png', 'rb')",
         "image": "Image.open('p.png')", "array": "np.asarray(Image.open('p.png'))",
         "list": "['p.png', Image.open('p.png')]", "folder": "'.'"}

SCORE = """
import attiqa, numpy as np
from PIL import Image
attiqa.score({}, device='cpu')
"""

@pytest.mark.parametrize("form", FORMS)
def test_scoring_imports_no_torch(photo, form):
    assert loaded(SCORE.format(FORMS[form]), photo) == "[]"

COPIED_SCORER = """
import copy, pickle
from attiqa import Scorer
scorer = copy.deepcopy(Scorer(device='cpu'))
pickle.loads(pickle.dumps(scorer))('p.png')
"""

COMMAND = """
import attiqa.score
attiqa.score.may_have_accelerator = lambda: False
from attiqa.cli import main
assert main(['score', 'p.png']) == 0
"""

@pytest.mark.parametrize("code", (COPIED_SCORER, COMMAND), ids=("scorer", "command"))
def test_a_scorer_and_the_command_import_no_torch(photo, code):
    assert loaded(code, photo) == "[]"

# torch's version, files of drivers, is a GPU looked for?
SIGNS = [("2.15.0+cpu", ["/"], False), ("2.15.0", ["/"], True), ("2.15.0", ["/no/such"], False),
         ("2.15.0+xpu", [], True)]

@pytest.mark.parametrize("version, signs, expected", SIGNS)
def test_a_gpu_is_looked_for_where_there_are_signs(monkeypatch, version, signs, expected):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(attiqa.score, "DRIVER_FILES", signs)
    monkeypatch.setattr(attiqa.score, "metadata", SimpleNamespace(version=lambda name: version))
    assert attiqa.score.may_have_accelerator() == expected

MAP_AND_TENSOR = """
from attiqa import Scorer
scorer = Scorer(device='cpu')
score, maps = scorer('p.png'), scorer.quality_map('p.png')
import torch
from attiqa.images import open_image, to_tensor
assert maps.shape[0] == 6
assert scorer(to_tensor(open_image('p.png'))).quality == score.quality
assert scorer.device == torch.device('cpu')
"""

def test_torch_after_all(photo):
    "What needs torch has it, with the same scores."
    assert "torch" in loaded(MAP_AND_TENSOR, photo)

# Memory

GROWTH = """
import sys
import numpy as np, psutil
from attiqa import Scorer

def resident(): return psutil.Process().memory_info().rss/1e6

scorer, rng = Scorer(device="cpu"), np.random.default_rng(0)
def score_sizes(sizes):
    for height, width in sizes: scorer(np.full((height, width, 3), 99, np.uint8))

score_sizes([(260, 260)]*20)
before = resident()
sizes = rng.integers(64, 260, (int(sys.argv[1]), 2)).tolist()
score_sizes(sizes)
print(resident() - before, len(set(map(tuple, sizes))))
"""

def test_memory_stays_flat_over_new_sizes(tmp_path):
    growth, sizes = fresh(tmp_path, GROWTH, "640", limit=600).stdout.split()
    assert float(growth) < 60
    assert int(sizes) > 600
