"Backbones that the issue names, at several input sizes; files that are not models; what the shipped model gives."
import json, os, pickle
import pytest, torch
from safetensors.torch import save_file
from attiqa.core import WEIGHTS, AttiqaError
from attiqa.model import AttributeNet, feature_maps, load_model, moments, save_model

BACKBONES = ("resnet50", "resnet18", "convnext_tiny", "efficientnet_b0", "vit_small_patch16_224", "swin_tiny_patch4_window7_224")

@pytest.mark.parametrize("name", BACKBONES)
def test_any_backbone_at_any_size(name):
    torch.manual_seed(0)
    net = AttributeNet(name, 4).eval()
    with torch.no_grad():
        for height, width in ((64, 96), (75, 50)):
            x = torch.rand(2, 3, height, width)
            maps = feature_maps(net.backbone, x)
            assert [m.shape[1] for m in maps] == net.backbone.feature_info.channels()
            for m, stride in zip(maps, net.backbone.feature_info.reduction()): # channels first, so space is where it should be
                assert abs(m.shape[2] - height/stride) <= 1 and abs(m.shape[3] - width/stride) <= 1
            assert net.features(x).shape == (2, 20) and net(x).isfinite().all() and net.quality(x).shape == (2,)
            assert torch.allclose(net(x)[1:], net(x[1:]), atol=1e-4)

@pytest.mark.parametrize("name", ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "resnet10t"))
def test_every_part_of_a_backbone_learns(name):
    net = AttributeNet(name, 4).train()
    net(torch.rand(4, 3, 64, 64)).square().sum().backward()
    silent = [k for k, p in net.named_parameters() if p.grad is None and not k.startswith("regressor")]
    assert len(silent) <= 4, silent # a final norm that the last map does not pass through

def test_saved_and_loaded_is_the_same(tmp_path):
    torch.manual_seed(1)
    net, x = AttributeNet("swin_tiny_patch4_window7_224", 4).eval(), torch.rand(1, 3, 70, 64)
    again = load_model(save_model(net, tmp_path/"net.safetensors", dict(name="swin"), half=False))
    with torch.no_grad(): assert torch.equal(again(x), net(x))

def test_moments_are_the_definition():
    m = torch.randn(2, 3, 4, 5)
    slow = [[m[b, c].mean() for c in range(3)] + [(((m[b, c] - m[b, c].mean())**2).mean() + 1e-5).sqrt() for c in range(3)] for b in range(2)]
    assert torch.allclose(moments([m]), torch.tensor(slow), atol=1e-6)

def test_shipped_model_loads_and_repeats():
    net = load_model(WEIGHTS/"attiqa-mini.safetensors")
    x = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        attributes, quality = net.scores(x)
        plain = moments(net.backbone((x - .5)/.25)) # the pooling that it was trained with
        assert torch.equal(net.pooled(x), plain)
    assert attributes.shape == (1, 5) and 0 <= quality.item() <= 1

class Trap:
    def __init__(self, path): self.path = path
    def __reduce__(self): return os.mkdir, (self.path,)

def test_files_that_are_no_models(tmp_path):
    net, path = AttributeNet("resnet10t", 4), tmp_path/"net.safetensors"
    save_model(net, path, {})
    whole = path.read_bytes()
    def refused(content, words):
        path.write_bytes(content)
        with pytest.raises(AttiqaError, match=words) as error: load_model(path)
        assert "\n" not in str(error.value)
    for length in (0, 4, 100, len(whole)//2, len(whole) - 1): refused(whole[:length], "not a whole safetensors file")
    refused(pickle.dumps(Trap(str(tmp_path/"sprung"))), "nothing in it was run")
    torch.save(Trap(str(tmp_path/"sprung")), tmp_path/"trap.pt")
    refused((tmp_path/"trap.pt").read_bytes(), "nothing in it was run")
    assert not (tmp_path/"sprung").exists()

@pytest.mark.parametrize("architecture", [dict(backbone="resnet18", embedding=4), dict(backbone="resnet10t", embedding=8)])
def test_another_architecture(tmp_path, architecture):
    net = AttributeNet("resnet10t", 4)
    net.settings = architecture
    with pytest.raises(AttiqaError, match="weights do not fit"): load_model(save_model(net, tmp_path/"net.safetensors", {}))

@pytest.mark.parametrize("architecture", ["resnet18", {}, dict(backbone="resnet18"), dict(backbone="resnet18", embedding="many"), dict(backbone="hf-hub:someone/network", embedding=4)])
def test_a_header_that_lies(tmp_path, architecture):
    "Nothing of a header but a timm name and a number is used."
    save_file(dict(weight=torch.ones(2)), tmp_path/"net.safetensors", dict(attiqa=json.dumps(dict(architecture=architecture))))
    with pytest.raises(AttiqaError, match="names no architecture|no backbone"): load_model(tmp_path/"net.safetensors")
