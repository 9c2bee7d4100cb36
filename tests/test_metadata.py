"Damaged metadata never costs the pixels of an image."
import random, struct, zlib
from collections import Counter
import numpy as np, pytest
from PIL import Image
from color_spaces import SPACES, profile_of
from image_files import EXIF, PHOTO, SRGB_PROFILE, chunk, encoded, png_with, refusal, shown

def jpeg_with(mark, data, whole=encoded(PHOTO, "JPEG", quality=95)):
    "A JPEG with a segment added at its start."
    return whole[:2] + b"\xff" + bytes([mark]) + struct.pack(">H", len(data) + 2) + data + whole[2:]

def app1(data): return jpeg_with(0xe1, data)

def app2(data): return jpeg_with(0xe2, data)

def webp(**options): return encoded(PHOTO, "WEBP", lossless=True, **options)

def avif(**options): return encoded(PHOTO, "AVIF", quality=100, **options)

note = Image.Exif()
note[0x010e] = "a description"
NOTE = note.tobytes()
PACKED, HALF_PACKED = zlib.compress(b"a"*2_000_000), zlib.compress(b"a"*1_000_000)
PNG = {
    "long zTXt": png_with(chunk(b"zTXt", b"Comment\0\0" + PACKED)),
    "long iTXt": png_with(chunk(b"iTXt", b"Comment\0\1\0\0\0" + PACKED)),
    "long tEXt": png_with(chunk(b"tEXt", b"Comment\0" + b"a"*2_000_000)),
    "many texts": png_with(*[chunk(b"zTXt", b"C%d\0\0" % i + HALF_PACKED) for i in range(70)]),
    "wrong checksum": png_with(chunk(b"tEXt", b"Comment\0hello")[:-4] + b"none"),
    "garbage in eXIf": png_with(chunk(b"eXIf", bytes(range(200)))),
    "text as EXIF": png_with(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  12\nno hexadecimal digits")),
    "broken iCCP": png_with(chunk(b"iCCP", b"name\0\0broken")),
    "long iCCP": png_with(chunk(b"iCCP", b"name\0\0" + PACKED)),
    "XMP": png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation=\"9\">")),
    "short pHYs": png_with(chunk(b"pHYs", b"\0")),
    "short gAMA": png_with(chunk(b"gAMA", b"\0")),
    "empty cHRM": png_with(chunk(b"cHRM", b""))}
JPEG = {
    "text as EXIF": app1(b"Exif\0\0no EXIF at all"),
    "EXIF cut off": app1(NOTE[:20]),
    "EXIF of nothing": app1(b"Exif\0\0"),
    "EXIF at 4 GB": app1(b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "broken XMP": app1(b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta \xff\xfe"),
    "broken ICC": app2(b"ICC_PROFILE\0\1\1broken"),
    "ICC without its rest": app2(b"ICC_PROFILE\0\1\3part"),
    "broken Photoshop": jpeg_with(0xed, b"Photoshop 3.0\0008BIM\3\xed\0\0\0\0\0\2ab"),
    "broken index of pictures": app2(b"MPF\0II*\0\x08\0\0\0\xff\xff" + bytes(range(60))),
    "comment": jpeg_with(0xfe, bytes(range(256))*200),
    "short JFIF": jpeg_with(0xe0, b"JFIF\0"),
    "short Adobe": jpeg_with(0xee, b"Adobe")}
WEBP = {
    "broken EXIF": webp(exif=b"Exif\0\0no EXIF"),
    "EXIF cut off": webp(exif=EXIF.tobytes() + bytes(99))[:-90],
    "broken XMP": webp(xmp=b"\xff\xfe<"),
    "broken ICC": webp(icc_profile=b"broken")}
TIFF = {
    "EXIF nowhere": encoded(PHOTO, "TIFF", tiffinfo={34665: 2**31}),
    "GPS in the pixels": encoded(PHOTO, "TIFF", tiffinfo={34853: 60}),
    "broken ICC": encoded(PHOTO, "TIFF", icc_profile=b"broken"),
    "broken XMP": encoded(PHOTO, "TIFF", tiffinfo={700: b"\xff\xfe<"})}
AVIF = {
    "broken EXIF": avif(exif=NOTE).replace(NOTE[6:14], b"no EXIF!"),
    "broken ICC": avif(icc_profile=b"broken")}
FILES = dict(PNG=PNG, JPEG=JPEG, WEBP=WEBP, TIFF=TIFF, AVIF=AVIF)

@pytest.mark.parametrize("form, name", [(form, name) for form, files in FILES.items() for name in files])
def test_metadata_costs_no_pixels(form, name):
    assert np.abs(shown(FILES[form][name]) - np.asarray(PHOTO)).mean() < 4

@pytest.mark.parametrize("form", ("JPEG", "PNG", "WEBP"))
def test_damaged_exif_costs_no_pixels(form):
    "Bytes of EXIF are changed at random; the pixels are read in some orientation."
    xmp = {} if form == "PNG" else dict(xmp=b"<x:xmpmeta tiff:Orientation='1'>"*9)
    data, exif = encoded(PHOTO, form, exif=EXIF, icc_profile=SRGB_PROFILE, **xmp), EXIF.tobytes()[6:]
    begin, rng, sizes = data.find(exif), random.Random(form), Counter()
    expected = np.sort(shown(encoded(PHOTO, form)).ravel()).tolist()
    for _ in range(60):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 12)): changed[begin + rng.randrange(len(exif))] = rng.randrange(256)
        pixels = shown(bytes(changed))
        sizes[pixels.shape] += 1
        assert np.sort(pixels.ravel()).tolist() == expected
    if form != "PNG": assert len(sizes) > 1 # some orientations are lost; in a PNG the checksum tells

def test_a_comment_costs_no_colour():
    "Orientation and profile are kept where something else is broken."
    whole = encoded(PHOTO, exif=EXIF, icc_profile=profile_of(*SPACES["Display P3"]))
    commented = png_with(chunk(b"zTXt", b"Comment\0\0" + PACKED), whole=whole)
    assert (shown(commented) == shown(whole)).all()
    assert shown(whole).shape == (200, 160, 3)

@pytest.mark.parametrize("form", ("JPEG", "PNG", "WEBP", "TIFF"))
def test_damaged_pixels_are_still_refused(form):
    data = encoded(PHOTO, form)
    assert "readable image" in refusal(data[:len(data)//2])
