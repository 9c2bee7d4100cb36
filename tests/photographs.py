"Small photographs and a network for the tests of the enhancer."
import torch
from PIL import Image
from attiqa.enhancer import KnobNetwork
from attiqa.images import package_photograph, to_tensor

PHOTO_NAMES = ("astronaut.png", "chelsea.png", "china.jpg", "coffee.png", "flower.jpg", "motorcycle_left.png")

def small_photographs():
    "A batch of photographs, 160x128 pixels each."
    images = [package_photograph(name).resize((160, 128), Image.Resampling.LANCZOS) for name in PHOTO_NAMES]
    return torch.stack([to_tensor(image) for image in images])

def unsure_network(odds):
    "A network that turns every knob and always gives these log-odds."
    torch.manual_seed(1)
    net = KnobNetwork()
    for p in net.mind.parameters(): p.data.normal_(0, .1)
    net.doubt[-1].bias.data.fill_(odds)
    return net.eval()
