"Formats by content: which decoder opens a file, and which files are refused."
import ast, io, os, subprocess, sys
import numpy as np, pytest, tifffile
from PIL import Image
from attiqa.cli import main
from attiqa.core import AttiqaError
from attiqa.images import open_image, package_photograph, to_rgb
from attiqa.sources import file_format, walk_folder
from image_files import EXIF, PHOTO, encoded, refusal, shown, steps, tiff
from test_notebooks import MODULES

EPS = encoded(PHOTO, "EPS")
OTHERS = {form: encoded(PHOTO, form) for form in ("EPS", "ICO", "PCX", "SGI", "DDS", "QOI")}
OTHERS |= {"PSD": b"8BPS" + bytes(600), "WMF": b"\xd7\xcd\xc6\x9a" + bytes(600),
           "SVG": b"<?xml version='1.0'?><svg xmlns='x'/>", "FITS": b"SIMPLE  = T" + bytes(600)}

@pytest.mark.parametrize("form", OTHERS)
def test_other_formats_are_refused_by_name(tmp_path, form):
    path = tmp_path/"holiday.jpg"
    path.write_bytes(OTHERS[form])
    for file in (path, str(path), OTHERS[form], io.BytesIO(OTHERS[form])):
        assert refusal(file) == f"is not an image format that is read here ({form})"

def test_an_image_that_pillow_opened_starts_nothing():
    "The caller opened it, but this package would decode it."
    with pytest.raises(AttiqaError, match="not an image format that is read here"):
        to_rgb(Image.open(io.BytesIO(EPS)))

def test_no_ghostscript(tmp_path):
    "A program of that name, first on the path, would leave a file."
    (tmp_path/"gs").write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n")
    (tmp_path/"gs").chmod(0o755)
    (tmp_path/"holiday.jpg").write_bytes(EPS)
    code = "import sys; from attiqa.cli import main; sys.exit(main(['score', 'holiday.jpg', '--csv', '-']))"
    options = dict(cwd=tmp_path, env=os.environ | dict(PATH=f"{tmp_path}:{os.environ['PATH']}"), timeout=300)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **options)
    assert done.returncode == 1
    assert done.stderr == "attiqa: holiday.jpg: is not an image format that is read here (EPS)\n"
    assert not (tmp_path/"started").exists()

@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_one_opener(path):
    "Only `images` opens image files; other modules name the format of an image they made."
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) != "Image.open": continue
        assert "formats" in {keyword.arg for keyword in node.keywords}, path

def test_an_import_changes_no_warnings():
    code = """
import warnings
before = list(warnings.filters)
import attiqa.images, PIL.Image
new = [f for f in warnings.filters if f not in before]
assert not [f for f in new if f[2] is PIL.Image.DecompressionBombWarning]"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)

FORMS = "JPEG PNG GIF BMP TIFF WEBP PPM AVIF JPEG2000 MPO".split()

@pytest.mark.parametrize("form", FORMS)
def test_formats_without_a_name(tmp_path, form):
    (tmp_path/"picture").write_bytes(encoded(PHOTO, form, **(dict(lossless=True) if form == "WEBP" else {})))
    assert list(walk_folder(tmp_path)) == ["picture"]
    assert np.abs(shown(tmp_path/"picture") - np.asarray(PHOTO)).mean() < 12

def test_tga_by_its_name_or_its_end(tmp_path):
    data = encoded(PHOTO, "TGA")
    for name, kept in (("new.jpg", data), ("old.tga", data[:-26])):
        (tmp_path/name).write_bytes(kept)
        assert (shown(tmp_path/name) == np.asarray(PHOTO)).all()
    assert "no known format" in refusal(data[:-26])

# Formats of the extra

HEADS = {"h.jxl": b"\0\0\0\x0cJXL \r\n\x87\n", "i.heic": b"\0\0\0\x18ftypheic",
         "j.cr3": b"\0\0\0\x18ftypcrx ", "k.dng": b"II*\0\x08\0\0\0"}

def test_the_extra_that_reads_a_format_is_named(tmp_path, monkeypatch, capsys):
    names = sorted([*HEADS, *(name.replace(".", "") for name in HEADS)])
    for name, head in HEADS.items():
        for path in (tmp_path/name, tmp_path/name.replace(".", "")): path.write_bytes(head + bytes(99))
    for package in ("pillow_heif", "pillow_jxl", "rawpy"): monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    assert main(["score", ".", "--csv", "-"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == names
    others = [line for line in lines if "kdng" not in line] # a TIFF without a tag of DNG is no RAW
    assert all("pip install 'attiqa[formats]'" in line for line in others)

def test_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    if not pillow_heif.libheif_info()["encoders"]: pytest.skip("libheif has no encoder here")
    pillow_heif.from_pillow(PHOTO).save(tmp_path/"a", quality=95)
    assert file_format((tmp_path/"a").read_bytes()[:64]) == "HEIC"
    assert list(walk_folder(tmp_path)) == ["a"]
    assert np.abs(shown(tmp_path/"a") - np.asarray(PHOTO)).mean() < 4

def test_jpeg_xl(tmp_path):
    pytest.importorskip("pillow_jxl")
    PHOTO.save(tmp_path/"a.jxl", lossless=True)
    PHOTO.save(tmp_path/"b.jxl", lossless=True, exif=EXIF.tobytes())
    for file in (tmp_path/"a.jxl", (tmp_path/"a.jxl").read_bytes()):
        assert (shown(file) == np.asarray(PHOTO)).all()
    assert shown(tmp_path/"b.jxl").size == PHOTO.width*PHOTO.height*3

def test_a_jpeg_xl_bomb_is_refused_by_its_header():
    pytest.importorskip("pillow_jxl")
    header = (2 << 1 | 99_999 << 3 | 2 << 24 | 49_999 << 26).to_bytes(12, "little") # 50,000 x 100,000
    assert "more than the limit" in refusal(b"\xff\x0a" + header + bytes(99))

def mosaic_of(photo):
    "Linear values under a colour filter array of red, green, green and blue."
    light = ((np.asarray(photo)/255 + .055)/1.055)**2.4
    mosaic = np.round(light[..., 1]*16000).astype(np.uint16)
    mosaic[::2, ::2] = np.round(light[::2, ::2, 0]*16000)
    mosaic[1::2, 1::2] = np.round(light[1::2, 1::2, 2]*16000)
    return mosaic

def dng():
    "A photograph as a RAW file."
    to_xyz = np.array([[.4124, .3576, .1805], [.2126, .7152, .0722], [.0193, .1192, .9505]])
    matrix = np.round(np.linalg.inv(to_xyz)*10000).astype(int).ravel()
    rationals = tuple(number for value in matrix for number in (int(value), 10000))
    tags = [(33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True),
            (50706, "B", 4, (1, 4, 0, 0), True), (50708, "s", 0, "test", True),
            (50721, "2i", 9, rationals, True), (50728, "2I", 3, (1, 1)*3, True),
            (50717, "H", 1, 16000, True), (50778, "H", 1, 21, True)]
    mosaic = mosaic_of(package_photograph("coffee.png"))
    return tiff(mosaic, photometric=32803, extratags=tags, metadata=None)

def test_camera_raw(tmp_path):
    pytest.importorskip("rawpy")
    (tmp_path/"a.dng").write_bytes(dng())
    photo, image = package_photograph("coffee.png").reduce(2), open_image(tmp_path/"a.dng")
    assert image.size == photo.size
    for read, expected in zip(np.asarray(image).T, np.asarray(photo).T):
        assert np.corrcoef(read.ravel(), expected.ravel())[0, 1] > .9

def test_a_preview_is_not_read_instead_of_the_raw_image(monkeypatch):
    "The first image in a camera's TIFF is small."
    monkeypatch.setitem(sys.modules, "rawpy", None)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.asarray(PHOTO), photometric="rgb", subfiletype=1, subifds=1)
        writer.write(steps(4000, np.uint16))
    assert "attiqa[formats]" in refusal(file.getvalue())
    assert "attiqa[formats]" in refusal(dng())
