"""One image that anybody would call good, and one that is not: python tools/pair.py FOLDER

The end of `make reproduce` scores both."""
import sys
from pathlib import Path
from attiqa.distort import apply_recipe
from attiqa.images import package_photograph, to_image, to_tensor

POOR = [("motion_blur", .5), ("gaussian_noise", .5), ("under_exposure", .4)]

def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    photograph = package_photograph("coffee.png")
    photograph.save(folder/"good.png")
    to_image(apply_recipe(to_tensor(photograph), POOR, "pair")).save(folder/"poor.png")

if __name__ == "__main__":
    main(Path(sys.argv[1]))
