"torch.hub: `torch.hub.load('attiqa/attiqa', 'attiqa')`, or from a checkout with source='local'."
dependencies = ["torch", "timm", "safetensors", "fastcore", "PIL", "numpy", "fsspec", "pyarrow"]

def attiqa(model="attiqa-mini", device=None, half=False):
    "A Scorer: call it with a path, a picture, a list or a folder."
    from attiqa.score import Scorer
    return Scorer(model, device, half)

def attiqa_net(model="attiqa-mini", device="cpu"):
    "A module: images (B, 3, H, W) in [0, 1] to scores (B, 6), quality first; differentiable in the images."
    from attiqa.metric import ScoreNet
    from attiqa.score import Scorer
    return ScoreNet(Scorer(model, device)).eval()

def attiqa_metric(**options):
    "A torchmetrics metric."
    from attiqa.metric import ATTIQA
    return ATTIQA(**options)
