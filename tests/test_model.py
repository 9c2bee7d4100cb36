"Backbones of several kinds at several input sizes; files that are not models; what the shipped model gives."
import json, os, pickle
import pytest, torch
from safetensors.torch import save_file
from attiqa.core import WEIGHTS, AttiqaError
from attiqa.model import AttributeNet, feature_maps, load_model, moments, save_model

BACKBONES = ("resnet50", "resnet18", "convnext_tiny", "efficientnet_b0", "vit_small_patch16_224",
             "swin_tiny_patch4_window7_224")
SIZES = ((64, 96), (75, 50)) # height and width of images

@pytest.fixture
def path(tmp_path): return tmp_path/"net.safetensors"

@pytest.fixture(scope="module", params=BACKBONES)
def net(request):
    torch.manual_seed(0)
    return AttributeNet(request.param, 4).eval().requires_grad_(False)

def images(size):
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))

def shape_fits(shape, size, stride):
    "Do the sides of a map follow from an image's, up to one pixel?"
    return all(abs(side - whole/stride) <= 1 for side, whole in zip(shape[2:], size))

@pytest.mark.parametrize("size", SIZES)
def test_maps_have_channels_first(net, size):
    maps, info = feature_maps(net.backbone, images(size)), net.backbone.feature_info
    assert [m.shape[1] for m in maps] == info.channels()
    assert all(shape_fits(m.shape, size, stride) for m, stride in zip(maps, info.reduction()))

@pytest.mark.parametrize("size", SIZES)
def test_outputs_at_any_size(net, size):
    x = images(size)
    assert net.features(x).shape == (2, 20)
    assert net.quality(x).shape == (2,)
    assert net(x).isfinite().all()

@pytest.mark.parametrize("size", SIZES)
def test_an_image_does_not_depend_on_its_batch(net, size):
    x = images(size)
    assert torch.allclose(net(x)[1:], net(x[1:]), atol=1e-4)

@pytest.mark.parametrize("name", ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "resnet10t"))
def test_every_part_of_a_backbone_learns(name):
    net = AttributeNet(name, 4).train()
    net(torch.rand(4, 3, 64, 64)).square().sum().backward()
    learning = {k: p.grad for k, p in net.named_parameters() if not k.startswith("regressor")}
    silent = [name for name, gradient in learning.items() if gradient is None]
    assert len(silent) <= 4, silent # a final norm that the last map does not pass through

def test_saved_and_loaded_is_the_same(path):
    torch.manual_seed(1)
    net = AttributeNet("swin_tiny_patch4_window7_224", 4).eval()
    x = torch.rand(1, 3, 70, 64)
    again = load_model(save_model(net, path, dict(name="swin"), fp16=False))
    with torch.no_grad(): assert torch.equal(again(x), net(x))

def channel_moments(channel):
    "Mean and standard deviation by their definitions."
    mean = channel.mean()
    return mean, (((channel - mean)**2).mean() + 1e-5).sqrt()

def test_moments_are_the_definition():
    m = torch.randn(2, 3, 4, 5)
    pairs = [[channel_moments(channel) for channel in image] for image in m]
    slow = torch.tensor([[mean for mean, _ in image] + [spread for _, spread in image] for image in pairs])
    assert torch.allclose(moments([m]), slow, atol=1e-6)

@pytest.fixture(scope="module")
def shipped(): return load_model(WEIGHTS/"attiqa-mini.safetensors").requires_grad_(False)

def test_scores_of_the_shipped_model(shipped):
    attributes, quality = shipped.scores(torch.rand(1, 3, 96, 128))
    assert attributes.shape == (1, 5)
    assert 0 <= quality.item() <= 1

def test_the_shipped_model_pools_as_it_was_trained(shipped):
    x = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    assert torch.equal(shipped.pooled(x), moments(shipped.backbone((x - .5)/.25)))

class Trap:
    "Makes a folder when it is unpickled."
    def __init__(self, path): self.path = path
    def __reduce__(self): return os.mkdir, (self.path,)

def refuse(path, words):
    "Loading fails with one line that has some words."
    with pytest.raises(AttiqaError, match=words) as error: load_model(path)
    assert "\n" not in str(error.value)

@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "The bytes of a model."
    path = tmp_path_factory.mktemp("model")/"net.safetensors"
    return save_model(AttributeNet("resnet10t", 4), path, {}).read_bytes()

def test_files_cut_short(path, whole):
    for length in (0, 4, 100, len(whole)//2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refuse(path, "not a whole safetensors file")

def by_pickle(path, content): path.write_bytes(pickle.dumps(content))

def by_torch(path, content): torch.save(content, path)

@pytest.mark.parametrize("write", (by_pickle, by_torch))
def test_a_pickle_is_not_run(tmp_path, path, write):
    write(path, Trap(str(tmp_path/"sprung")))
    refuse(path, "nothing in it was run")
    assert not (tmp_path/"sprung").exists()

@pytest.mark.parametrize("architecture", (
    dict(backbone="resnet18", embedding=4),
    dict(backbone="resnet10t", embedding=8)))
def test_another_architecture(path, architecture):
    net = AttributeNet("resnet10t", 4)
    net.settings = architecture
    save_model(net, path, {})
    refuse(path, "weights do not fit")

@pytest.mark.parametrize("architecture", (
    "resnet18",
    {},
    dict(backbone="resnet18"),
    dict(backbone="resnet18", embedding="many"),
    dict(backbone="hf-hub:someone/network", embedding=4)))
def test_a_header_that_lies(path, architecture):
    "Nothing of a header but a timm name and a number is used."
    card = json.dumps(dict(architecture=architecture))
    save_file(dict(weight=torch.ones(2)), path, dict(attiqa=card))
    refuse(path, "names no architecture|no backbone")
