"Files as they are in the world: formats by content, depth, metadata, colour, and what is walked."
import ast, io, os, random, struct, subprocess, sys, zlib
from collections import Counter
import numpy as np, pytest, tifffile
from PIL import Image, ImageCms
from attiqa.cli import main
from attiqa.core import AttiqaError
from attiqa.images import ORIENTATION, open_image, package_photograph, to_rgb
from attiqa.score import Scorer
from attiqa.sources import kind_of, left_line, ordered_names, walk_folder
from test_notebooks import MODULES

PHOTO = package_photograph("chelsea.png").crop((60, 40, 260, 200))
GREY = PHOTO.convert("L")
VALUES = np.asarray(GREY)/np.float32(255)

@pytest.fixture(scope="module")
def scorer(): return Scorer()

def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()

def shown(data): return np.asarray(open_image(data), np.int16)

def refusal(data):
    with pytest.raises(AttiqaError) as caught: open_image(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)

# Which decoder

EPS = encoded(PHOTO, "EPS")
OTHERS = {form: encoded(PHOTO, form) for form in ("EPS", "ICO", "PCX", "SGI", "DDS", "QOI")} | {"PSD": b"8BPS" + bytes(600),
          "WMF": b"\xd7\xcd\xc6\x9a" + bytes(600), "SVG": b"<?xml version='1.0'?><svg xmlns='x'/>", "FITS": b"SIMPLE  = T" + bytes(600)}

@pytest.mark.parametrize("form", OTHERS)
def test_other_formats_are_refused_by_name(tmp_path, form):
    (tmp_path/"holiday.jpg").write_bytes(OTHERS[form])
    for file in (tmp_path/"holiday.jpg", str(tmp_path/"holiday.jpg"), OTHERS[form], io.BytesIO(OTHERS[form])):
        assert refusal(file) == f"is not an image format that is read here ({form})"

def test_a_picture_that_pillow_opened_starts_nothing():
    "The caller opened it, but unpacking it would be up to us."
    with pytest.raises(AttiqaError, match="not an image format that is read here"): to_rgb(Image.open(io.BytesIO(EPS)))

def test_no_ghostscript(tmp_path):
    "A program of that name lies first on the path, and leaves a file when it is started."
    (tmp_path/"gs").write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n"); (tmp_path/"gs").chmod(0o755)
    (tmp_path/"holiday.jpg").write_bytes(EPS)
    code = "import sys; from attiqa.cli import main; sys.exit(main(['score', 'holiday.jpg', '--csv', '-']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                          env=os.environ | dict(PATH=f"{tmp_path}:{os.environ['PATH']}"))
    assert done.returncode == 1 and done.stderr == "attiqa: holiday.jpg: is not an image format that is read here (EPS)\n"
    assert not (tmp_path/"started").exists()

def test_one_opener():
    "Nothing else in the package opens an image, unless it made it itself and names its format."
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open": assert "formats" in {k.arg for k in node.keywords}, path

def test_an_import_changes_no_warnings():
    code = "import warnings; before = list(warnings.filters); import attiqa.images, PIL.Image; " \
           "assert not [f for f in warnings.filters if f not in before and f[2] is PIL.Image.DecompressionBombWarning]"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)

FORMS = dict(JPEG={}, PNG={}, GIF={}, BMP={}, TIFF={}, WEBP=dict(lossless=True), PPM={}, AVIF={}, JPEG2000={}, MPO={})

@pytest.mark.parametrize("form", FORMS)
def test_formats_without_a_name(tmp_path, form):
    (tmp_path/"picture").write_bytes(encoded(PHOTO, form, **FORMS[form]))
    assert list(walk_folder(tmp_path)) == ["picture"]
    assert np.abs(shown(tmp_path/"picture") - np.asarray(PHOTO)).mean() < 12

def test_tga_by_its_name_or_its_end(tmp_path):
    data = encoded(PHOTO, "TGA")
    for name, kept in (("new.jpg", data), ("old.tga", data[:-26])):
        (tmp_path/name).write_bytes(kept)
        assert (shown(tmp_path/name) == np.asarray(PHOTO)).all()
    assert "no known format" in refusal(data[:-26])

# Depth

def tiff(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()

def packed12(values):
    "A TIFF of 12 bits a sample, two in three bytes."
    v = values.astype(np.uint16); a, b = v[:, ::2], v[:, 1::2]
    rows = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], -1).astype(np.uint8).tobytes()
    height, width = values.shape
    tags = [(256, 4, width), (257, 4, height), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(rows))]
    ifd = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHIHH" if kind == 3 else "<HHII", tag, kind, 1, value, *[0]*(kind == 3)) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(rows)) + rows + ifd + bytes(4)

def pgm(values, most): return b"P5 %d %d %d\n" % (*values.shape[::-1], most) + values.astype(">u2" if most > 255 else "u1").tobytes()

def steps(most, kind): return np.round(VALUES*most).astype(kind)

def with_one(value):
    values = VALUES.copy(); values[3, 4] = value
    return values

DEPTHS = {"float": tiff(VALUES), "float, one overshoot": tiff(with_one(1.02)), "float, one undershoot": tiff(with_one(-.01)),
          "16": tiff(steps(65535, np.uint16)), "16, big-endian": tiff(steps(65535, np.uint16), byteorder=">"),
          "16, white is zero": tiff(65535 - steps(65535, np.uint16), photometric="miniswhite"),
          "float, white is zero": tiff(1 - VALUES, photometric="miniswhite"), "16, signed": tiff(steps(32767, np.int16)),
          "8, signed": tiff(steps(127, np.int8)), "12": packed12(steps(4095, np.uint16)), "32 with 16-bit values": tiff(steps(65535, np.uint32)),
          "PNG 16": encoded(Image.fromarray(steps(65535, np.uint16))), "PGM 255": pgm(steps(255, np.uint8), 255),
          "PGM 100": pgm(steps(100, np.uint8), 100), "PGM 1023": pgm(steps(1023, np.uint16), 1023), "PGM 65535": pgm(steps(65535, np.uint16), 65535),
          "PFM": encoded(Image.fromarray(VALUES), "PPM"), "JPEG 2000, 16": encoded(Image.fromarray(steps(65535, np.uint16)), "JPEG2000"),
          "16 in colour": tiff(np.asarray(PHOTO, np.uint16)*257, photometric="rgb")}

@pytest.mark.parametrize("depth", DEPTHS)
def test_white_is_white_at_every_depth(depth):
    "The same picture, whatever its samples: within a step of what they can say."
    expected = np.asarray(PHOTO if "colour" in depth else GREY.convert("RGB"), np.int16)
    room = 2 if depth in ("8, signed", "PGM 100") else 1
    changed = np.abs(shown(DEPTHS[depth]) - expected)
    assert np.sort(changed.ravel())[-10] <= room # all but the one sample that is out of range

def test_a_darker_picture_stays_darker():
    "White is what is declared, not the brightest sample."
    for data, dark in ((tiff(VALUES), tiff(VALUES/2)), (tiff(steps(65535, np.uint16)), tiff(steps(65535, np.uint16)//2))):
        assert np.abs(shown(dark) - shown(data)/2).max() <= 1

def in_planes(pixels, kind=np.uint8, **options): # (H, W, C), each channel stored by itself
    return tiff(pixels.transpose(2, 0, 1).astype(kind)*(np.iinfo(kind).max//255), planarconfig="separate", **options)

COLOURS, GREYS = np.asarray(PHOTO), np.dstack([np.asarray(GREY), np.full(GREY.size[::-1], 255, np.uint8)])
PLANES = {"8": in_planes(COLOURS, photometric="rgb"), "8, tiles": in_planes(COLOURS, photometric="rgb", tile=(32, 32)),
          "16": in_planes(COLOURS, np.uint16, photometric="rgb"), "16, tiles": in_planes(COLOURS, np.uint16, photometric="rgb", tile=(32, 32)),
          "16, packed": in_planes(COLOURS, np.uint16, photometric="rgb", compression="deflate"),
          "grey": in_planes(GREYS, photometric="minisblack", extrasamples=["unassalpha"]),
          "grey, packed": in_planes(GREYS, photometric="minisblack", extrasamples=["unassalpha"], compression="deflate")}

@pytest.mark.parametrize("name", PLANES)
def test_planes_are_read_as_they_are_or_refused(name):
    if name in ("8", "8, tiles", "16, packed"): assert np.abs(shown(PLANES[name]) - COLOURS.astype(np.int16)).max() <= 1
    else:
        assert "in separate planes" in refusal(PLANES[name])
        with pytest.raises(AttiqaError, match="separate planes"): to_rgb(Image.open(io.BytesIO(PLANES[name])))

NOWHERE = {"NaN": (tiff(with_one(np.nan)), "NaN"), "infinity": (tiff(with_one(np.inf)), "infinite"), "float up to 255": (tiff(VALUES*255), "white 1"),
           "far below": (tiff(with_one(-5)), "white 1"), "signed below 0": (tiff(steps(65535, np.int32).astype(np.int16)), "white 32767"),
           "8 bits signed below 0": (tiff(np.full((40, 40), -9, np.int8)), "white 127"), "32 bits beyond 16": (tiff(steps(2**31 - 1, np.int32)), "white 65535"),
           "32 bits up to 255": (tiff(steps(255, np.int32)), "8 or 16 bits"), "float in colour": (tiff(np.dstack([VALUES]*3), photometric="rgb"), "3 x 32 bits, float"),
           "double": (tiff(VALUES.astype(np.float64)), "1 x 64 bits, float")}

@pytest.mark.parametrize("name", NOWHERE)
def test_what_has_no_place_is_refused(name):
    data, why = NOWHERE[name]
    assert why in refusal(data)

# Metadata

def chunk(name, data): return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

def png_with(*chunks, whole=encoded(PHOTO)): return whole[:33] + b"".join(chunks) + whole[33:]

def jpeg_with(*segments, whole=encoded(PHOTO, "JPEG", quality=95)):
    return whole[:2] + b"".join(b"\xff" + bytes([mark]) + struct.pack(">H", len(data) + 2) + data for mark, data in segments) + whole[2:]

EXIF = Image.Exif(); EXIF[ORIENTATION] = 6; EXIF[0x010e] = "a description " * 9
NOTE = Image.Exif(); NOTE[0x010e] = "a description"; NOTE = NOTE.tobytes()
PACKED = zlib.compress(b"a"*2_000_000)
BESIDE = {
    "PNG": {"long zTXt": png_with(chunk(b"zTXt", b"Comment\0\0" + PACKED)), "long iTXt": png_with(chunk(b"iTXt", b"Comment\0\1\0\0\0" + PACKED)),
            "long tEXt": png_with(chunk(b"tEXt", b"Comment\0" + b"a"*2_000_000)), "many texts": png_with(*[chunk(b"zTXt", b"C%d\0\0" % i + zlib.compress(b"a"*1_000_000)) for i in range(70)]),
            "wrong checksum": png_with(chunk(b"tEXt", b"Comment\0hello")[:-4] + b"none"), "garbage in eXIf": png_with(chunk(b"eXIf", bytes(range(200)))),
            "text as EXIF": png_with(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  12\nno hexadecimal digits")), "broken iCCP": png_with(chunk(b"iCCP", b"name\0\0broken")),
            "long iCCP": png_with(chunk(b"iCCP", b"name\0\0" + PACKED)), "XMP": png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation=\"9\">")),
            "short pHYs": png_with(chunk(b"pHYs", b"\0")), "short gAMA": png_with(chunk(b"gAMA", b"\0")), "empty cHRM": png_with(chunk(b"cHRM", b""))},
    "JPEG": {"text as EXIF": jpeg_with((0xe1, b"Exif\0\0no EXIF at all")), "EXIF cut off": jpeg_with((0xe1, NOTE[:20])),
             "EXIF of nothing": jpeg_with((0xe1, b"Exif\0\0")), "EXIF at 4 GB": jpeg_with((0xe1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
             "broken XMP": jpeg_with((0xe1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta \xff\xfe")), "broken ICC": jpeg_with((0xe2, b"ICC_PROFILE\0\1\1broken")),
             "ICC without its rest": jpeg_with((0xe2, b"ICC_PROFILE\0\1\3part")), "broken Photoshop": jpeg_with((0xed, b"Photoshop 3.0\0008BIM\3\xed\0\0\0\0\0\2ab")),
             "broken index of pictures": jpeg_with((0xe2, b"MPF\0II*\0\x08\0\0\0\xff\xff" + bytes(range(60)))), "comment": jpeg_with((0xfe, bytes(range(256))*200)),
             "short JFIF": jpeg_with((0xe0, b"JFIF\0")), "short Adobe": jpeg_with((0xee, b"Adobe"))},
    "WEBP": {"broken EXIF": encoded(PHOTO, "WEBP", lossless=True, exif=b"Exif\0\0no EXIF"), "EXIF cut off": encoded(PHOTO, "WEBP", lossless=True, exif=EXIF.tobytes() + bytes(99))[:-90],
             "broken XMP": encoded(PHOTO, "WEBP", lossless=True, xmp=b"\xff\xfe<"), "broken ICC": encoded(PHOTO, "WEBP", lossless=True, icc_profile=b"broken")},
    "TIFF": {"EXIF nowhere": encoded(PHOTO, "TIFF", tiffinfo={34665: 2**31}), "GPS in the pixels": encoded(PHOTO, "TIFF", tiffinfo={34853: 60}),
             "broken ICC": encoded(PHOTO, "TIFF", icc_profile=b"broken"), "broken XMP": encoded(PHOTO, "TIFF", tiffinfo={700: b"\xff\xfe<"})},
    "AVIF": {"broken EXIF": encoded(PHOTO, "AVIF", quality=100, exif=NOTE).replace(NOTE[6:14], b"no EXIF!"), "broken ICC": encoded(PHOTO, "AVIF", quality=100, icc_profile=b"broken")}}

@pytest.mark.parametrize("form, name", [(form, name) for form, files in BESIDE.items() for name in files])
def test_metadata_costs_no_pixels(form, name):
    assert np.abs(shown(BESIDE[form][name]) - np.asarray(PHOTO)).mean() < 4

@pytest.mark.parametrize("form", ("JPEG", "PNG", "WEBP"))
def test_damaged_metadata_costs_no_pixels(form):
    "Bytes of EXIF, XMP and profile are changed at random; the pixels come, whichever way up."
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = {} if form == "PNG" else dict(xmp=b"<x:xmpmeta tiff:Orientation='1'>"*9)
    data, exif, rng = encoded(PHOTO, form, exif=EXIF, icc_profile=profile, **xmp), EXIF.tobytes()[6:], random.Random(form)
    begin = data.find(exif)
    expected, sizes = np.asarray(open_image(encoded(PHOTO, form)), np.int16), Counter()
    for _ in range(60):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 12)): changed[begin + rng.randrange(len(exif))] = rng.randrange(256)
        pixels = shown(bytes(changed))
        sizes[pixels.shape] += 1
        assert np.sort(pixels.ravel()).tolist() == np.sort(expected.ravel()).tolist()
    if form != "PNG": assert len(sizes) > 1 # some orientations are lost, and some are not; in a PNG the checksum tells

def test_a_comment_costs_no_colour():
    "What turns and colours a picture is kept where something else is broken."
    whole = encoded(PHOTO, exif=EXIF, icc_profile=profiles()["Display P3"])
    assert (shown(png_with(chunk(b"zTXt", b"Comment\0\0" + PACKED), whole=whole)) == shown(whole)).all()
    assert shown(whole).shape == (200, 160, 3)

def test_damaged_pixels_are_still_refused():
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        data = encoded(PHOTO, form)
        assert "readable image" in refusal(data[:len(data)//2])

# Colour

def xyz(white, *primaries): # columns of a matrix from linear RGB to XYZ under D50
    points = np.array([[x/y, 1, (1 - x - y)/y] for x, y in primaries]).T
    light = np.array([white[0]/white[1], 1, (1 - sum(white))/white[1]])
    matrix = points*np.linalg.solve(points, light)
    cone = np.array([[.8951, .2664, -.1614], [-.7502, 1.7135, .0367], [.0389, -.0685, 1.0296]])
    d50 = np.array([.9642, 1, .8249])
    return np.linalg.inv(cone)@np.diag((cone@d50)/(cone@light))@cone@matrix

D65, D50 = (.3127, .3290), (.3457, .3585)
SPACES = {"Adobe RGB": (xyz(D65, (.64, .33), (.21, .71), (.15, .06)), 2.19921875), "Display P3": (xyz(D65, (.68, .32), (.265, .69), (.15, .06)), None),
          "ProPhoto": (xyz(D50, (.7347, .2653), (.1596, .8404), (.0366, .0001)), 1.8)}
SRGB = xyz(D65, (.64, .33), (.3, .6), (.15, .06))

def fixed(value): return struct.pack(">i", round(value*65536))

def profile_of(matrix, gamma): # ICC version 2: a matrix and a curve, sRGB's where gamma is None
    linear = lambda v: np.where(v <= .04045, v/12.92, ((v + .055)/1.055)**2.4)
    values = [round(256*gamma)] if gamma else np.round(linear(np.linspace(0, 1, 1024))*65535).astype(int)
    curve = b"curv" + struct.pack(f">II{len(values)}H", 0, len(values), *values)
    point = lambda column: b"XYZ " + bytes(4) + b"".join(map(fixed, column))
    tags = {b"desc": b"desc" + struct.pack(">II", 0, 5) + b"test\0" + bytes(79), b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": point((.9642, 1, .8249)),
            b"rXYZ": point(matrix[:, 0]), b"gXYZ": point(matrix[:, 1]), b"bXYZ": point(matrix[:, 2]), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    place, table, body = 132 + 12*len(tags), b"", b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, place + len(body), len(data)); body += data
    head = struct.pack(">I4sI4s4s4s", place + len(body), bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp" + bytes(28)
    return head + fixed(.9642) + fixed(1) + fixed(.8249) + bytes(48) + struct.pack(">I", len(tags)) + table + body

def profiles(): return {name: profile_of(*space) for name, space in SPACES.items()}

def in_space(image, matrix, gamma): # the same colours in another space; 0 to 1
    v = np.asarray(image)/255
    light = np.where(v <= .04045, v/12.92, ((v + .055)/1.055)**2.4)@(np.linalg.inv(matrix)@SRGB).T
    light = np.clip(light, 0, 1)
    return light**(1/gamma) if gamma else np.where(light <= .0031308, light*12.92, 1.055*light**(1/2.4) - .055)

def png16(values, profile):
    rows = np.round(values*65535).astype(">u2")
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile)) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

def numbers(score): return np.array([score.quality, score.sharpness, score.contrast, score.brightness, score.colorfulness, score.noisiness])

@pytest.mark.parametrize("photo", ("chelsea.png", "coffee.png"))
@pytest.mark.parametrize("name", SPACES)
def test_a_copy_in_another_profile_scores_the_same(scorer, name, photo):
    image = package_photograph(photo)
    values, profile, before = in_space(image, *SPACES[name]), profiles()[name], scorer(image)
    eight = Image.fromarray(np.round(values*255).astype(np.uint8))
    copies = [encoded(eight, icc_profile=profile), encoded(eight, "TIFF", icc_profile=profile), encoded(eight, "WEBP", lossless=True, icc_profile=profile),
              png16(values, profile), encoded(Image.merge("RGBA", (*eight.split(), Image.new("L", eight.size, 255))), icc_profile=profile)]
    for copy in copies: assert np.abs(numbers(scorer(copy)) - numbers(before)).max() < .02
    assert np.abs(shown(copies[0]) - np.asarray(image)).mean() < 2
    assert np.abs(np.asarray(eight, np.int16) - np.asarray(image)).mean() > 2 # the stored values do differ

def test_srgb_leaves_every_byte():
    for srgb in (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), profile_of(SRGB, None)):
        assert (shown(encoded(PHOTO, icc_profile=srgb)) == np.asarray(PHOTO)).all()

@pytest.mark.parametrize("broken", (b"broken", profile_of(SRGB, 2.2)[:300], bytes(200), ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()))
def test_a_profile_that_does_not_fit_leaves_every_byte(broken):
    for image in (PHOTO, GREY): assert (shown(encoded(image, icc_profile=broken)) == np.asarray(image.convert("RGB"))).all()

def test_greys_go_by_their_profile():
    grey = bytearray(profile_of(SRGB, 1.0)); grey[16:20] = b"GRAY"
    grey = bytes(grey).replace(b"rTRC", b"kTRC")
    light = ((np.asarray(GREY)/255 + .055)/1.055)**2.4 # what sRGB's values stand for, stored as it is
    for data in (Image.fromarray(np.round(light*255).astype(np.uint8)), Image.fromarray(np.round(light*65535).astype(np.uint16))):
        bright = np.asarray(GREY, np.int16) > 40
        assert np.abs(shown(encoded(data, icc_profile=grey))[..., 0] - np.asarray(GREY))[bright].mean() < 3

def test_colour_is_converted_once():
    turned = to_rgb(Image.open(io.BytesIO(encoded(PHOTO, icc_profile=profiles()["ProPhoto"], exif=EXIF))))
    assert to_rgb(turned) is turned and turned.size == (160, 200)

def test_lab_is_read():
    lab = ImageCms.profileToProfile(PHOTO, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
    assert np.abs(shown(encoded(lab, "TIFF")) - np.asarray(PHOTO)).mean() < 4

# What is walked

def test_pictures_of_every_name_are_found(tmp_path, monkeypatch, capsys):
    "Pictures, other pictures, and what is none: each in the table, or counted."
    monkeypatch.chdir(tmp_path)
    good, tga = encoded(PHOTO, "JPEG"), encoded(PHOTO, "TGA")[:-26]
    for name in ("a.jfif", "b.jpe", "c.jif", "d", "e.backup"): (tmp_path/name).write_bytes(good)
    (tmp_path/"f.tga").write_bytes(tga); (tmp_path/"g.drawing").write_bytes(EPS)
    for name in ("x.txt", "x.html", "x.py"): (tmp_path/name).write_text("no picture")
    (tmp_path/"y.jpg").write_text("no picture")
    assert main(["score", ".", "--csv", "-"]) == 1
    out, said = capsys.readouterr()
    assert [line.split(",")[0] for line in out.splitlines()[1:]] == [*"a.jfif b.jpe c.jif d e.backup f.tga g.drawing y.jpg".split()]
    assert [bool(line.split(",")[1]) for line in out.splitlines()[1:]] == [True]*6 + [False]*2
    assert said.splitlines() == ["attiqa: g.drawing: is not an image format that is read here (EPS)",
                                 "attiqa: y.jpg: is not a readable image (of no known format)", "attiqa: left out: no pictures: 3"]

HEADS = {"h.jxl": b"\0\0\0\x0cJXL \r\n\x87\n", "i.heic": b"\0\0\0\x18ftypheic", "j.cr3": b"\0\0\0\x18ftypcrx ", "k.dng": b"II*\0\x08\0\0\0"}

def test_what_an_extra_reads_is_named(tmp_path, monkeypatch, capsys):
    for name, head in HEADS.items(): (tmp_path/name).write_bytes(head + bytes(99)); (tmp_path/name.replace(".", "")).write_bytes(head + bytes(99))
    for package in ("pillow_heif", "pillow_jxl", "rawpy"): monkeypatch.setitem(sys.modules, package, None) # not installed
    monkeypatch.chdir(tmp_path)
    assert main(["score", ".", "--csv", "-"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in said] == sorted([*HEADS, *(name.replace(".", "") for name in HEADS)])
    assert all("pip install 'attiqa[formats]'" in line for line in said if "kdng" not in line) # a TIFF without a tag of DNG is no RAW

def test_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    if not pillow_heif.libheif_info()["encoders"]: pytest.skip("libheif has no encoder here")
    pillow_heif.from_pillow(PHOTO).save(tmp_path/"a", quality=95)
    assert kind_of((tmp_path/"a").read_bytes()[:64]) == "HEIC" and list(walk_folder(tmp_path)) == ["a"]
    assert np.abs(shown(tmp_path/"a") - np.asarray(PHOTO)).mean() < 4

def test_jpeg_xl(tmp_path):
    pytest.importorskip("pillow_jxl")
    for name, options in (("a", dict(lossless=True)), ("b", dict(lossless=True, exif=EXIF.tobytes()))): PHOTO.save(tmp_path/f"{name}.jxl", **options)
    assert (shown(tmp_path/"a.jxl") == np.asarray(PHOTO)).all() and (shown((tmp_path/"a.jxl").read_bytes()) == np.asarray(PHOTO)).all()
    assert shown(tmp_path/"b.jxl").size == PHOTO.width*PHOTO.height*3

def test_a_jpeg_xl_bomb_is_refused_by_its_header(tmp_path):
    pytest.importorskip("pillow_jxl")
    header = (2 << 1 | 99_999 << 3 | 2 << 24 | 49_999 << 26).to_bytes(12, "little") # 50,000 x 100,000
    assert "more than the limit" in refusal(b"\xff\x0a" + header + bytes(99))

def dng(): # a mosaic of the photograph
    light = ((np.asarray(package_photograph("coffee.png"))/255 + .055)/1.055)**2.4
    mosaic = np.round(light[..., 1]*16000).astype(np.uint16)
    mosaic[::2, ::2], mosaic[1::2, 1::2] = np.round(light[::2, ::2, 0]*16000), np.round(light[1::2, 1::2, 2]*16000)
    matrix = np.round(np.linalg.inv(np.array([[.4124, .3576, .1805], [.2126, .7152, .0722], [.0193, .1192, .9505]]))*10000).astype(int).ravel()
    tags = [(33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True), (50706, "B", 4, (1, 4, 0, 0), True), (50708, "s", 0, "test", True),
            (50721, "2i", 9, tuple(n for value in matrix for n in (int(value), 10000)), True), (50728, "2I", 3, (1, 1)*3, True), (50717, "H", 1, 16000, True), (50778, "H", 1, 21, True)]
    return tiff(mosaic, photometric=32803, extratags=tags, metadata=None)

def test_camera_raw(tmp_path):
    pytest.importorskip("rawpy")
    (tmp_path/"a.dng").write_bytes(dng())
    photo = package_photograph("coffee.png").reduce(2)
    image = open_image(tmp_path/"a.dng")
    assert image.size == photo.size
    for a, b in zip(np.asarray(image).T, np.asarray(photo).T): assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > .9

def test_a_preview_is_not_taken_for_the_raw_picture(tmp_path, monkeypatch):
    "The first picture in a camera's TIFF is small."
    monkeypatch.setitem(sys.modules, "rawpy", None)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.asarray(PHOTO), photometric="rgb", subfiletype=1, subifds=1)
        writer.write(steps(4000, np.uint16))
    assert "attiqa[formats]" in refusal(file.getvalue()) and "attiqa[formats]" in refusal(dng())

def test_links(tmp_path):
    root, far = tmp_path/"root", tmp_path/"far"
    for folder in (root/"in", far/"deep"): folder.mkdir(parents=True); (folder/"p.jpg").touch()
    links = {root/"b": far, root/"c": far/"deep", root/"d": root, root/"in"/"up": root, root/"e": root/"in", far/"back": root, far/"loop": far, root/"f": root/"f",
             far/"over": tmp_path, root/"g": tmp_path/"nowhere", far/"deep"/"q.jpg": far/"deep"/"p.jpg"}
    for link, target in links.items(): link.symlink_to(target)
    left = Counter()
    assert list(walk_folder(root, left=left)) == ["b/deep/p.jpg", "b/deep/q.jpg", "in/p.jpg"]
    assert "links to folders that are walked anyway: " in left_line(left)

def test_a_tree_deeper_than_the_stack(tmp_path):
    here, depth = os.getcwd(), 1200
    try:
        os.chdir(tmp_path)
        for _ in range(depth): os.mkdir("d"); os.chdir("d")
        open("p.jpg", "w").close()
        assert list(walk_folder(tmp_path)) == ["d/"*depth + "p.jpg"]
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", tmp_path/"d"], check=True) # Python's own removal is as deep as the tree

LEFTOVERS = ("@eaDir/p.jpg/SYNOPHOTO_THUMB_XL.jpg", ".thumbnails/p.jpg", ".Trash-1000/files/p.jpg", "$RECYCLE.BIN/S-1/p.jpg", "__MACOSX/._p.jpg", "._p.jpg", ".AppleDouble/p.jpg",
             "#recycle/p.jpg", "lost+found/p.jpg", ".@__thumb/p.jpg", "@Recycle/p.jpg", "sub/@eaDir/p.jpg", "Recycled/p.jpg", "System Volume Information/p.jpg", "FOUND.000/p.jpg")

def test_leftovers_of_systems(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    good = encoded(PHOTO, "JPEG")
    for name in ("sub/p.jpg", *LEFTOVERS): (tmp_path/name).parent.mkdir(parents=True, exist_ok=True); (tmp_path/name).write_bytes(good)
    (tmp_path/"Thumbs.db").write_bytes(good); (tmp_path/".DS_Store").write_bytes(good)
    assert main(["score", ".", "--csv", "-"]) == 0
    out, said = capsys.readouterr()
    assert [line.split(",")[0] for line in out.splitlines()[1:]] == ["sub/p.jpg"]
    assert said == "attiqa: left out: hidden: 6; left there by a system (thumbnails, bins): 11\n"
    assert main(["score", ".", "--all", "--csv", "-"]) == 0
    out, said = capsys.readouterr()
    assert len(out.splitlines()) == 1 + 3 + len(LEFTOVERS) and said == ""

def test_own_outputs_are_not_scored(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    good = encoded(PHOTO, "JPEG")
    for name in ("album/sub/a.jpg", "album/b.jpg", "pictures/x/1.jpg", "pictures/y/1.jpg"): (tmp_path/name).parent.mkdir(parents=True, exist_ok=True); (tmp_path/name).write_bytes(good)
    listed = lambda: [line.split(",")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    for _ in range(2):
        assert main(["score", "album", "--map", "album/maps", "--csv", "-"]) == 0
        assert listed() == ["album/b.jpg", "album/sub/a.jpg"]
    for words in (["album/**/*.*g"], ["album/*"], ["album"]):
        assert main(["score", *words, "--csv", "-"]) == 0 and set(listed()) == {"album/b.jpg", "album/sub/a.jpg"}
    assert main(["score", "album/maps", "--csv", "-"]) == 1 and "--all takes it" in capsys.readouterr().err
    assert main(["score", "album/maps", "--all", "--csv", "-"]) == 0 and len(listed()) == 2
    for _ in range(2):
        assert main(["rank", "pictures", "--out", "pictures/results"]) == 0
        assert "results" not in capsys.readouterr().out
    assert main(["score", "pictures", "--csv", "-"]) == 0 and listed() == ["pictures/x/1.jpg", "pictures/y/1.jpg"]

def test_outputs_do_not_mix_with_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path/"a.jpg").write_bytes(encoded(PHOTO, "JPEG"))
    assert main(["score", "a.jpg", "--map", "."]) == 2 and "holds pictures already" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg"]

def test_the_count_of_a_second_pass_is_not_added(tmp_path):
    for i in range(9): (tmp_path/f"{i}.jpg").touch(); (tmp_path/f"{i}.txt").touch()
    left = Counter()
    assert len(list(ordered_names(tmp_path, 2, left=left))) == 9 and left.total() == 9

def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path/"pipe")
    assert list(walk_folder(tmp_path)) == []
