"The small CLIP's training, where its vision tower goes on from weights that it was given."
import timm, torch
from safetensors.torch import save_file
from attiqa.mini import train_clip
from attiqa.model import read_tensors

SMALL = dict(epochs=2, samples=24, size=48, reads=64, batch=8, backbone="efficientnet_lite0", workers=0)

def test_a_tower_keeps_its_normalizations_and_widest_kernels(tmp_path):
    torch.manual_seed(0)
    start = timm.create_model("efficientnet_lite0", num_classes=0).state_dict()
    file = str(tmp_path/"tower.safetensors")
    save_file(start, file)
    folder = train_clip(run=str(tmp_path/"run"), tower=file, rate=.1, **SMALL)
    after = read_tensors(folder/"open_clip_model.safetensors")[0]
    same = {name for name, weight in start.items() if torch.equal(weight.half() if weight.is_floating_point() else weight, after[f"visual.trunk.{name}"])}
    assert same == {name for name, weight in start.items() if weight.ndim < 2 or weight.shape[1:] == (1, 5, 5)}
