"Black and white at every depth, and values without a place between them."
import io, struct
import numpy as np, pytest
from PIL import Image
from attiqa.core import AttiqaError
from attiqa.images import to_rgb
from image_files import GREY, PHOTO, VALUES, encoded, refusal, shown, steps, tiff

def packed12(values):
    "A TIFF of 12 bits per sample, with two samples in three bytes."
    values = values.astype(np.uint16)
    first, second = values[:, ::2], values[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1)
    rows = packed.astype(np.uint8).tobytes()
    height, width = values.shape
    tags = [(256, 4, width), (257, 4, height), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (277, 3, 1), (278, 4, height), (279, 4, len(rows))]
    directory = struct.pack("<H", len(tags)) + b"".join(tiff_entry(*tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(rows)) + rows + directory + bytes(4)

def tiff_entry(tag, kind, value):
    if kind == 3: return struct.pack("<HHIHH", tag, kind, 1, value, 0)
    return struct.pack("<HHII", tag, kind, 1, value)

def pgm(values, most):
    header = b"P5 %d %d %d\n" % (*values.shape[::-1], most)
    return header + values.astype(">u2" if most > 255 else "u1").tobytes()

def with_one(value):
    "The values with one pixel changed."
    values = VALUES.copy()
    values[3, 4] = value
    return values

SIXTEEN = steps(65535, np.uint16)
DEPTHS = {
    "float": tiff(VALUES),
    "float, one overshoot": tiff(with_one(1.02)),
    "float, one undershoot": tiff(with_one(-.01)),
    "16": tiff(SIXTEEN),
    "16, big-endian": tiff(SIXTEEN, byteorder=">"),
    "16, white is zero": tiff(65535 - SIXTEEN, photometric="miniswhite"),
    "float, white is zero": tiff(1 - VALUES, photometric="miniswhite"),
    "16, signed": tiff(steps(32767, np.int16)),
    "8, signed": tiff(steps(127, np.int8)),
    "12": packed12(steps(4095, np.uint16)),
    "32 with 16-bit values": tiff(steps(65535, np.uint32)),
    "PNG 16": encoded(Image.fromarray(SIXTEEN)),
    "PGM 255": pgm(steps(255, np.uint8), 255),
    "PGM 100": pgm(steps(100, np.uint8), 100),
    "PGM 1023": pgm(steps(1023, np.uint16), 1023),
    "PGM 65535": pgm(SIXTEEN, 65535),
    "PFM": encoded(Image.fromarray(VALUES), "PPM"),
    "JPEG 2000, 16": encoded(Image.fromarray(SIXTEEN), "JPEG2000"),
    "16 in colour": tiff(np.asarray(PHOTO, np.uint16)*257, photometric="rgb")}

@pytest.mark.parametrize("depth", DEPTHS)
def test_white_is_white_at_every_depth(depth):
    "The same image at any depth, within a step of its samples."
    expected = np.asarray(PHOTO if "colour" in depth else GREY.convert("RGB"), np.int16)
    most = 2 if depth in ("8, signed", "PGM 100") else 1
    changed = np.abs(shown(DEPTHS[depth]) - expected)
    assert np.sort(changed.ravel())[-10] <= most # all but the one sample that is out of range

DARKER = {"float": (tiff(VALUES), tiff(VALUES/2)), "16": (tiff(SIXTEEN), tiff(SIXTEEN//2))}

@pytest.mark.parametrize("depth", DARKER)
def test_a_darker_image_stays_darker(depth):
    "White is what is declared, not the brightest sample."
    data, dark = DARKER[depth]
    assert np.abs(shown(dark) - shown(data)/2).max() <= 1

def in_planes(pixels, kind=np.uint8, **options): # (H, W, C)
    "A TIFF with each channel stored by itself."
    values = pixels.transpose(2, 0, 1).astype(kind)*(np.iinfo(kind).max//255)
    return tiff(values, planarconfig="separate", **options)

COLOURS = np.asarray(PHOTO)
GREY_ALPHA = np.dstack([np.asarray(GREY), np.full(GREY.size[::-1], 255, np.uint8)])
RGB, GREYS = dict(photometric="rgb"), dict(photometric="minisblack", extrasamples=["unassalpha"])
PLANES_READ = {
    "8": in_planes(COLOURS, **RGB),
    "8, tiles": in_planes(COLOURS, tile=(32, 32), **RGB),
    "16, packed": in_planes(COLOURS, np.uint16, compression="deflate", **RGB)}
PLANES_REFUSED = {
    "16": in_planes(COLOURS, np.uint16, **RGB),
    "16, tiles": in_planes(COLOURS, np.uint16, tile=(32, 32), **RGB),
    "grey": in_planes(GREY_ALPHA, **GREYS),
    "grey, packed": in_planes(GREY_ALPHA, compression="deflate", **GREYS)}

@pytest.mark.parametrize("name", PLANES_READ)
def test_planes_are_read_as_they_are(name):
    assert np.abs(shown(PLANES_READ[name]) - COLOURS.astype(np.int16)).max() <= 1

@pytest.mark.parametrize("name", PLANES_REFUSED)
def test_planes_that_pillow_misreads_are_refused(name):
    data = PLANES_REFUSED[name]
    assert "in separate planes" in refusal(data)
    with pytest.raises(AttiqaError, match="separate planes"): to_rgb(Image.open(io.BytesIO(data)))

REFUSED = {
    "NaN": (tiff(with_one(np.nan)), "NaN"),
    "infinity": (tiff(with_one(np.inf)), "infinite"),
    "float up to 255": (tiff(VALUES*255), "white 1"),
    "far below": (tiff(with_one(-5)), "white 1"),
    "signed below 0": (tiff(steps(65535, np.int32).astype(np.int16)), "white 32767"),
    "8 bits signed below 0": (tiff(np.full((40, 40), -9, np.int8)), "white 127"),
    "32 bits beyond 16": (tiff(steps(2**31 - 1, np.int32)), "white 65535"),
    "32 bits up to 255": (tiff(steps(255, np.int32)), "8 or 16 bits"),
    "float in colour": (tiff(np.dstack([VALUES]*3), photometric="rgb"), "3 x 32 bits, float"),
    "double": (tiff(VALUES.astype(np.float64)), "1 x 64 bits, float")}

@pytest.mark.parametrize("name", REFUSED)
def test_values_without_a_place_are_refused(name):
    data, why = REFUSED[name]
    assert why in refusal(data)
