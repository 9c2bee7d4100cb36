"Small scored datasets and a model of noise, for tests of features, probes and protocols."
import torch
from attiqa.readers import tidy
from attiqa.distort import apply_recipe
from attiqa.features import Model, images_from_table
from attiqa.images import dead_leaves, to_image, to_tensor

def noisy(i):
    "An image whose noise rises with i, and begins anew after nine."
    leaves = to_tensor(dead_leaves(72, "benchmark", i//3, leaves=60))
    return apply_recipe(leaves, [("gaussian_noise", (i % 9)/9)], i)

def release(folder, count, start=0):
    "Image files with a MOS that falls with their noise, three versions of each reference."
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(start, start + count)
    files = [folder/f"{i:03}.png" for i in numbers]
    for i, file in zip(numbers, files): to_image(noisy(i)).save(file)
    mos = [100 - 10*(i % 9) for i in numbers]
    references = [f"r{i//3}" for i in numbers]
    images = [str(file) for file in files]
    return tidy(folder.name, 0, 100, "made here", image=images, mos=mos, reference=references)

def two_sets(folder):
    "Two datasets of 36 and 18 images; six images are in both."
    first, second = release(folder/"first", 36), release(folder/"second", 18, 30)
    return [images_from_table(first), images_from_table(second)]

def noise_model(read=None):
    "A model with one feature for noise, and the list of its calls."
    calls = []
    def one(x):
        calls.append(1)
        return torch.stack([(x[:, 1:] - x[:, :-1]).abs().mean(), x.mean()])
    return Model("toy", read or one, "toy 1"), calls
