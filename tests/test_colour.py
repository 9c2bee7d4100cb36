"Images with an ICC profile are read in sRGB."
import io, struct, zlib
import numpy as np, pytest
from PIL import Image, ImageCms
from attiqa.core import ATTRIBUTES
from attiqa.images import package_photograph, to_rgb
from attiqa.score import Scorer
from color_spaces import SPACES, SRGB, in_space, profile_of
from image_files import EXIF, GREY, PHOTO, SRGB_PROFILE, chunk, encoded, shown

@pytest.fixture(scope="module")
def scorer(): return Scorer()

def png16(values, profile):
    "A PNG of 16 bits in colour, which Pillow does not write."
    rows = np.round(values*65535).astype(">u2")
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    chunks = (chunk(b"IHDR", head), chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile)), chunk(b"IDAT", data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")

def numbers(score): return np.array([getattr(score, name) for name in ("quality", *ATTRIBUTES)])

@pytest.mark.parametrize("photo", ("chelsea.png", "coffee.png"))
@pytest.mark.parametrize("name", SPACES)
def test_a_copy_in_another_profile_scores_the_same(scorer, name, photo):
    image, profile = package_photograph(photo), profile_of(*SPACES[name])
    values = in_space(image, *SPACES[name])
    eight = Image.fromarray(np.round(values*255).astype(np.uint8))
    opaque = Image.merge("RGBA", (*eight.split(), Image.new("L", eight.size, 255)))
    copies = [encoded(eight, icc_profile=profile), encoded(eight, "TIFF", icc_profile=profile),
              encoded(eight, "WEBP", lossless=True, icc_profile=profile), png16(values, profile),
              encoded(opaque, icc_profile=profile)]
    before = numbers(scorer(image))
    for copy in copies: assert np.abs(numbers(scorer(copy)) - before).max() < .02
    assert np.abs(shown(copies[0]) - np.asarray(image)).mean() < 2
    assert np.abs(np.asarray(eight, np.int16) - np.asarray(image)).mean() > 2 # the stored values do differ

@pytest.mark.parametrize("srgb", (SRGB_PROFILE, profile_of(SRGB, None)))
def test_srgb_leaves_every_byte(srgb):
    assert (shown(encoded(PHOTO, icc_profile=srgb)) == np.asarray(PHOTO)).all()

LAB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()

@pytest.mark.parametrize("broken", (b"broken", profile_of(SRGB, 2.2)[:300], bytes(200), LAB_PROFILE))
def test_a_profile_that_does_not_fit_leaves_every_byte(broken):
    for image in (PHOTO, GREY):
        assert (shown(encoded(image, icc_profile=broken)) == np.asarray(image.convert("RGB"))).all()

@pytest.mark.parametrize("most, kind", ((255, np.uint8), (65535, np.uint16)))
def test_grey_images_follow_their_profile(most, kind):
    profile = bytearray(profile_of(SRGB, 1.0))
    profile[16:20] = b"GRAY"
    profile = bytes(profile).replace(b"rTRC", b"kTRC")
    light = ((np.asarray(GREY)/255 + .055)/1.055)**2.4 # the same image with linear values
    stored = encoded(Image.fromarray(np.round(light*most).astype(kind)), icc_profile=profile)
    bright = np.asarray(GREY, np.int16) > 40
    assert np.abs(shown(stored)[..., 0] - np.asarray(GREY))[bright].mean() < 3

def test_colour_is_converted_once():
    stored = encoded(PHOTO, icc_profile=profile_of(*SPACES["ProPhoto"]), exif=EXIF)
    turned = to_rgb(Image.open(io.BytesIO(stored)))
    assert to_rgb(turned) is turned
    assert turned.size == (160, 200)

def test_lab_is_read():
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(PHOTO, *profiles, outputMode="LAB")
    assert np.abs(shown(encoded(lab, "TIFF")) - np.asarray(PHOTO)).mean() < 4
