"Training of the small CLIP when its vision tower starts from given weights."
import timm, torch
from safetensors.torch import save_file
from attiqa.clip import train_clip
from attiqa.model import read_tensors

SMALL = dict(epochs=2, samples=24, size=48, input_size=64, batch=8, backbone="efficientnet_lite0", workers=0)

def unchanged(before, after):
    "Names of the tower's tensors that are equal in the saved model, which stores 16 bits."
    stored = {name: value.half() if value.is_floating_point() else value for name, value in before.items()}
    return {name for name, value in stored.items() if torch.equal(value, after[f"visual.trunk.{name}"])}

def test_a_tower_keeps_its_normalizations_and_widest_kernels(tmp_path):
    torch.manual_seed(0)
    start = timm.create_model("efficientnet_lite0", num_classes=0).state_dict()
    file = str(tmp_path/"tower.safetensors")
    save_file(start, file)
    folder = train_clip(run=str(tmp_path/"run"), tower=file, rate=.1, **SMALL)
    after = read_tensors(folder/"open_clip_model.safetensors")[0]
    fixed = {name for name, value in start.items() if value.ndim < 2 or value.shape[1:] == (1, 5, 5)}
    assert unchanged(start, after) == fixed
