"A dataset with one fault of several kinds, for the tests of findings."
from attiqa.distort import apply_recipe
from attiqa.images import package_photograph, to_image, to_tensor

PHOTO = package_photograph("chelsea.png")
BLURRED_NAME = "<img src=x>.png"

def worsened(image, mechanism, severity):
    return to_image(apply_recipe(to_tensor(image), [(mechanism, severity)], "test"))

def make_dataset(folder):
    "Five images: the same twice, a small copy of it, a sound one, a blurred one."
    folder.mkdir()
    photo = package_photograph("coffee.png")
    photo.save(folder/"a.png")
    photo.save(folder/"b.png")
    photo.resize((300, 200)).save(folder/"c.png")
    PHOTO.save(folder/"cat.png")
    worsened(package_photograph("astronaut.png"), "gaussian_blur", .7).save(folder/BLURRED_NAME)
    return folder
