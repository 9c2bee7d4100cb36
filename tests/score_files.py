"Files of images, sound and hostile, for the tests of scoring."
import csv, io, os, struct, sys, zlib
from pathlib import Path
import numpy as np
from PIL import Image
from attiqa.core import ATTRIBUTES
from attiqa.images import ORIENTATION_TAG
from image_files import GREY, PHOTO, chunk, encoded, png_with

COMMAND = Path(sys.executable).parent/"attiqa"
NUMBERS = ("quality", *ATTRIBUTES)

def records(text):
    "Rows of a CSV's text."
    return list(csv.DictReader(io.StringIO(text, newline="")))

def numbers(score):
    return [getattr(score, name) for name in NUMBERS]

def pixels(image):
    return np.asarray(image, dtype=np.uint8)

def jpeg(image, **options):
    return encoded(image, "JPEG", **options)

def png16(image):
    "A 16-bit RGB PNG, which Pillow cannot write: every value times 257."
    rows = (pixels(image).astype(">u2")*257).reshape(image.height, -1)
    header = struct.pack(">IIBBBBB", *image.size, 16, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

def grey16():
    return encoded(Image.fromarray(pixels(GREY).astype(np.uint16)*257))

def clear_palette():
    "A palette picture whose darkest colour is transparent."
    image = GREY.quantize(16)
    image.info["transparency"] = int(np.argmin(np.asarray(image.getpalette()[::3])[:16]))
    return encoded(image, transparency=image.info["transparency"])

def rotated(image):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6 # shown a quarter turn clockwise
    return jpeg(image, exif=exif, quality=95)

def animated(form, **options):
    frames = [Image.new("L", GREY.size, 9)]
    return encoded(GREY, form, save_all=True, append_images=frames, duration=50, **options)

def text_bomb():
    "A small PNG with a comment of 100 million characters, packed."
    comment = b"Comment\0\0" + zlib.compress(b"a"*100_000_000, 1)
    return png_with(chunk(b"zTXt", comment), whole=encoded(GREY))

GOOD = jpeg(PHOTO, quality=90)

STRANGE_NAMES = ("my 'holiday' \"best\".jpg", "two\nlines\x1b[31m.jpg", "été-写真.jpg",
                 "<img src=x onerror=alert(1)>.jpg", os.fsdecode(b"caf\xe9.jpg"), "-dash.jpg", "[a]*.jpg")

SCORED = { # name to content
    "plain.jpg": GOOD,
    "cmyk.jpg": jpeg(PHOTO.convert("CMYK"), quality=95),
    "rotated.jpg": rotated(PHOTO),
    "grey16.png": grey16(),
    "colour16.png": png16(PHOTO),
    "palette.png": clear_palette(),
    "moving.gif": animated("GIF"),
    "moving.webp": animated("WEBP", lossless=True),
    "mislabelled.png": GOOD,
    "text bomb.png": text_bomb(),
} | dict.fromkeys(STRANGE_NAMES, GOOD)

REJECTED = { # name to content and words of the reason
    "text.jpg": (b"this is no picture\n"*40, "not a readable image"),
    "empty.jpg": (b"", "not a readable image"),
    "cut.jpg": (GOOD[:len(GOOD)//2], "not a readable image"),
    "dot.png": (encoded(Image.new("RGB", (1, 1))), "at least 32"),
    "zip.png": (b"PK\x03\x04" + bytes(200), "not a readable image"),
    "no pixels.gif": (b"GIF89a" + bytes(7) + b";", "image"),
}

PRESENT = { # what is there besides files of a few bytes: name to words of the reason
    "pipe.jpg": "not a regular file",
    "dangling.jpg": "no such file",
    "loop.jpg": "no such file",
    "bomb.png": "more than the limit",
}

ABSENT = { # paths at which no image is: name to words of the reason
    "gone.jpg": "no such file",
    "folder.jpg": "is a folder",
    "n"*300 + ".jpg": "File name too long",
    "n"*30_000 + ".jpg": "File name too long",
    "file.jpg/below.jpg": "no such file",
    "*.tiff": "matches no file",
}

REASONS = {name: words for name, (_, words) in REJECTED.items()} | PRESENT | ABSENT
FILES = SCORED | {name: data for name, (data, _) in REJECTED.items()}

def make_zoo(folder):
    "Every file of this module in a folder, with a pipe, links and a huge image."
    for name, data in FILES.items(): (folder/name).write_bytes(data)
    (folder/"folder.jpg").mkdir()
    os.mkfifo(folder/"pipe.jpg")
    (folder/"dangling.jpg").symlink_to(folder/"nowhere")
    (folder/"loop.jpg").symlink_to(folder/"loop.jpg")
    Image.new("1", (20_000, 20_000)).save(folder/"bomb.png")
    return folder

ALBUM = ("b.jpg", "a.jpg", "sub/c.jpg", "sub/deep/d.JPG", "sub/notes.txt", 'q"u,o\nte.jpg')

def make_album(folder):
    "Five images and a text in a folder."
    for name in ALBUM:
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_bytes(b"no picture" if name.endswith(".txt") else GOOD)
    return folder
