"Images, and the bytes of files made of them, for the tests of reading."
import io, struct, zlib
import numpy as np, pytest, tifffile
from PIL import Image, ImageCms
from attiqa.core import AttiqaError
from attiqa.images import ORIENTATION_TAG, open_image, package_photograph

PHOTO = package_photograph("chelsea.png").crop((60, 40, 260, 200))
GREY = PHOTO.convert("L")
VALUES = np.asarray(GREY)/np.float32(255)
EXIF = Image.Exif()
EXIF[ORIENTATION_TAG] = 6
EXIF[0x010e] = "a description " * 9

def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()

def tiff(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()

def steps(most, kind):
    "The grey values in whole steps up to a maximum."
    return np.round(VALUES*most).astype(kind)

def chunk(name, data):
    "A chunk of a PNG."
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

def png_with(*chunks, whole=encoded(PHOTO)):
    "A PNG with chunks added before its pixels."
    return whole[:33] + b"".join(chunks) + whole[33:]

def shown(data):
    "The pixels that are read from a file."
    return np.asarray(open_image(data), np.int16)

def refusal(data):
    "The one line with which a file is refused."
    with pytest.raises(AttiqaError) as caught: open_image(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)

SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
