"An album of small photographs with hostile names, for tests of the report."
import os
import numpy as np
from PIL import Image
from attiqa.cli import main
from attiqa.distort import apply_recipe
from attiqa.images import package_photograph, to_image, to_tensor

SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
EXTRA = 64 # more than a window of cards
SCRIPT = "</script><script>document.title='run'<\\script>.jpg".replace("/", "%2F")
NASTY = ["<img src=x onerror=document.title='run'>.jpg", SCRIPT, "javascript:document.title='run'.jpg",
         "'\"`${document.title='run'}`.jpg", "été 写真 #1?&amp;.jpg", "two\nlines.jpg",
         os.fsdecode(b"caf\xe9.jpg")]
SIDECAR = ('<x:xmpmeta xmlns:x="adobe:ns:meta/">'
           '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
           '<rdf:Description rdf:about=""\n xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
           'xmlns:d="http://darktable.sf.net/" xmp:Rating="4" d:history_end="3"/></rdf:RDF></x:xmpmeta>')

def crop(i):
    "A part of a photograph, distorted; others for every i."
    rng, photo = np.random.default_rng(i), to_tensor(package_photograph(SOURCES[i % 4]))
    top, left = (int(rng.integers(0, n - 100)) for n in photo.shape[1:])
    mechanism = ("gaussian_blur", "gaussian_noise")[i % 2]
    return apply_recipe(photo[:, top:top + 96, left:left + 96], [(mechanism, i % 7/8)], str(i))

def save_album(folder):
    "Crops, hostile names with a hostile description, a pair of twins, and a broken file."
    for i in range(EXTRA): to_image(crop(i)).save(folder/f"{i:03}.png")
    exif = Image.Exif()
    exif[0x010E] = "<script>document.title='run'</script> a birthday"
    for i, name in enumerate(NASTY): to_image(crop(100 + i)).save(folder/name, "JPEG", exif=exif)
    coffee = package_photograph("coffee.png").resize((240, 160))
    for name, quality in {"a": 95, "b": 30}.items(): coffee.save(folder/f"twin {name}.jpg", quality=quality)
    (folder/"twin b.jpg.xmp").write_text(SIDECAR)
    (folder/"broken <b>.jpg").write_bytes(b"no picture")
    return folder

def write_album_report(album):
    "The report of an album, beside it."
    page = album.parent/"report.html"
    assert main(["report", str(album), "-o", str(page), "--title", "<b>holiday</b>"]) == 1
    return page
