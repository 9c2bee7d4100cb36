"Metadata of an edited image: what the file carries beside its pixels is kept, or named as left out."
import zlib
import numpy as np, pytest, torch
from PIL import Image, ImageCms
from attiqa import enhancer as e
from attiqa.cli import main
from attiqa.images import package_photograph

CROP = package_photograph("chelsea.png").crop((60, 40, 260, 200))
PHOTO = Image.fromarray(np.asarray(CROP)) # without metadata
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
       b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
       b'<rdf:Description xmp:Rating="5"/></rdf:RDF></x:xmpmeta>')
MAKER = b"maker's\0own bytes" # camera makers use their own format in EXIF
BEHIND = "bytes behind the picture"

@pytest.fixture(scope="module")
def loud(tmp_path_factory):
    "File of a network that makes every image lighter with high confidence."
    net = e.KnobNetwork().eval()
    net.mind[-1].bias.data[[0, len(e.EDITS)]] = torch.tensor([.3, 5.])
    net.doubt[-1].bias.data.fill_(5.)
    return str(e.save_enhancer(net, tmp_path_factory.mktemp("networks")/"loud.safetensors", {}))

def exif_of(orientation=1):
    exif = Image.Exif()
    exif[0x112], exif[0x10F], exif[0x10E] = orientation, "A camera", "a birthday"
    details = exif.get_ifd(0x8769)
    details[0x9003], details[0x927C] = "2020:01:01 00:00:00", MAKER
    exif.get_ifd(0x8825)[1] = "N"
    return exif

def edited(path, loud, capsys=None):
    "Edit a file; return the new file and the text on standard error."
    out = path.with_stem("edited")
    assert main(["enhance", str(path), str(out), "--model", loud]) == 0
    with Image.open(path) as old, Image.open(out) as new:
        assert new.format == old.format
        assert not np.array_equal(old.convert("RGB").resize(new.size), new.convert("RGB"))
    return out, capsys.readouterr().err if capsys else ""

# PNG

def chunks(path):
    parts = e.png_parts(path.read_bytes())
    return [(name, raw) for name, raw in parts if name not in e.REWRITTEN_PARTS]

def chunk(name, body):
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")

def with_chunks(path, ahead, behind=b""):
    "Insert chunks before and after the pixels."
    data = path.read_bytes()
    path.write_bytes(data[:33] + ahead + data[33:-12] + behind + data[-12:])

CHUNKS = (
    chunk(b"tEXt", b"parameters\0a cat, masterpiece\nSteps: 20"), chunk(b"tEXt", b"parameters\0again"),
    chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"{}"*99)),
    chunk(b"iTXt", "Title\0\0\0de\0Titel\0Übung".encode()),
    chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), chunk(b"gAMA", (45455).to_bytes(4, "big")),
    chunk(b"bKGD", bytes(6)), chunk(b"prVt", b"private"))

def test_every_chunk_of_a_png_is_kept(tmp_path, loud, capsys):
    "One keyword twice, compressed, in another language, private, before and after the pixels."
    PHOTO.save(tmp_path/"a.png", icc_profile=PROFILE, dpi=(300, 300), exif=exif_of())
    with_chunks(tmp_path/"a.png", b"".join(CHUNKS), chunk(b"tEXt", b"Comment\0behind the pixels"))
    out, messages = edited(tmp_path/"a.png", loud, capsys)
    assert chunks(out) == chunks(tmp_path/"a.png")
    assert messages == ""
    with Image.open(out) as image:
        assert image.text["workflow"] == "{}"*99
        assert b"Rating" in image.info["xmp"]
        assert image.info["icc_profile"] == PROFILE
        assert round(image.info["dpi"][0]) == 300
        assert image.getexif()[0x10F] == "A camera"

def test_chunks_that_would_be_false_are_named(tmp_path, loud, capsys):
    "A certificate and a time of the unedited image, and bytes after the end of the file."
    PHOTO.save(tmp_path/"a.png")
    with_chunks(tmp_path/"a.png", chunk(b"tIME", bytes(7)) + chunk(b"caBX", b"certificate"))
    with open(tmp_path/"a.png", "ab") as file: file.write(b"more")
    out, messages = edited(tmp_path/"a.png", loud, capsys)
    assert f"left out: {BEHIND}, caBX, tIME" in messages
    assert messages.count("\n") == 1
    assert chunks(out) == []

# JPEG

def segment(number, body): return bytes([0xff, number]) + (len(body) + 2).to_bytes(2, "big") + body

def segments(path):
    "Parts of a JPEG that an edit keeps."
    changed = (*e.REWRITTEN_PARTS, *e.STALE_SEGMENTS, BEHIND)
    return [part for part in e.jpeg_parts(path.read_bytes()) if part[0] not in changed]

@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_segment_of_a_jpeg_is_kept_or_named(tmp_path, loud, capsys, mode):
    path = tmp_path/"a.jpg"
    PHOTO.convert(mode).save(path, exif=exif_of(), icc_profile=PROFILE*40, xmp=XMP, dpi=(300, 300),
                             comment=b"a comment", progressive=True)
    data = path.read_bytes()
    kept = segment(0xed, b"Photoshop 3.0\0008BIM") + segment(0xe4, b"maker\0bytes")
    kept += segment(0xfe, b"another")
    lost = segment(0xeb, b"JP\0certificate") + segment(0xe0, b"JFXX\0thumbnail")
    path.write_bytes(data[:20] + kept + lost + data[20:] + b"a film")
    out, messages = edited(path, loud, capsys)
    assert segments(out) == segments(path)
    assert len(segments(out)) >= 7
    assert f"left out: APP0 JFXX, APP11 JP, {BEHIND}" in messages
    with Image.open(out) as image:
        assert image.mode == mode
        assert image.info["xmp"] == XMP
        assert image.info["icc_profile"] == PROFILE*40
        assert image.info["dpi"] == (300, 300)
        assert image.info["progressive"]
        assert image.getexif().get_ifd(0x8769)[0x927C] == MAKER

# WebP

@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_keeps_its_metadata(tmp_path, loud, capsys, lossless):
    PHOTO.save(tmp_path/"a.webp", exif=exif_of(), icc_profile=PROFILE, xmp=XMP, lossless=lossless)
    out, messages = edited(tmp_path/"a.webp", loud, capsys)
    names = {name for name, _ in e.webp_parts(out.read_bytes())}
    assert {"EXIF", "XMP ", "ICCP"} < names
    assert ("VP8L" in names) == lossless
    assert messages == ""
    with Image.open(out) as image:
        assert image.info["xmp"] == XMP
        assert image.getexif()[0x10F] == "A camera"
        assert image.info["icc_profile"] == PROFILE

# TIFF

def tiff_tags(compression):
    from PIL.TiffImagePlugin import ImageFileDirectory_v2
    tags = ImageFileDirectory_v2()
    tags[270], tags[315], tags[700], tags[33432] = "a caption", "an artist", XMP, "(c)"
    tags.tagtype[33723], tags[33723] = 7, b"\x1c\x02iptc"
    tags.tagtype[65000], tags[65000] = 2, "private"
    if compression is None: tags[0x8769] = {0x9003: "2020:01:01 00:00:00"} # written only uncompressed
    return tags

@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_a_tiff_keeps_its_tags(tmp_path, loud, capsys, compression):
    PHOTO.save(tmp_path/"a.tif", tiffinfo=tiff_tags(compression), compression=compression,
               icc_profile=PROFILE, dpi=(300, 300))
    out, messages = edited(tmp_path/"a.tif", loud, capsys)
    with Image.open(tmp_path/"a.tif") as old, Image.open(out) as new:
        lost = set(old.tag_v2) - e.TIFF_PIXEL_TAGS - set(new.tag_v2)
        assert not lost or "left out: tag" in messages
        for tag in (270, 315, 700, 33432, 282, 283, 296): assert new.tag_v2[tag] == old.tag_v2[tag]
        assert new.info["icc_profile"] == PROFILE

def test_a_tiff_in_tiles_is_read_correctly(tmp_path, loud):
    tifffile = pytest.importorskip("tifffile")
    image = np.asarray(PHOTO.resize((256, 192)))
    tifffile.imwrite(tmp_path/"a.tif", image, tile=(64, 64), compression="zlib", predictor=True,
                     description="tiles", metadata=None)
    out, _ = edited(tmp_path/"a.tif", loud)
    pixels = np.asarray(Image.open(out)).astype(int)
    assert np.abs(tifffile.imread(out).astype(int) - pixels).max() == 0
    assert np.corrcoef(pixels.ravel(), image.ravel())[0, 1] > .95
    assert Image.open(out).tag_v2[270] == "tiles"

def test_a_tag_that_cannot_be_written_costs_no_image(tmp_path, loud, capsys, monkeypatch):
    PHOTO.save(tmp_path/"a.tif", description="a caption", dpi=(300, 300))
    options = dict(compression="tiff_lzw", tiffinfo={0x8769: {0x9003: "libtiff writes no directory"}})
    monkeypatch.setattr(e, "_tiff_options", lambda image: options)
    assert "left out: tag 270" in edited(tmp_path/"a.tif", loud, capsys)[1]

# Orientation

def with_thumbnail(orientation):
    "EXIF with a second directory."
    block = bytearray(exif_of(orientation).tobytes()[6:])
    order, start, count = e._directory(bytes(block))
    end = start + 12*count
    block[end:end + 4] = len(block).to_bytes(4, "little" if order == "<" else "big")
    return b"Exif\0\0" + bytes(block) + bytes(6)

@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_rotated_image_becomes_upright(tmp_path, loud, capsys, name, orientation):
    "In EXIF and in XMP, since readers use either; the thumbnail is left out and named."
    xmp = XMP.replace(b"xmp:Rating", b'tiff:Orientation="%d" xmp:Rating' % orientation)
    if name == "a.png":
        PHOTO.save(tmp_path/name, exif=with_thumbnail(orientation))
        with_chunks(tmp_path/name, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)))
    else:
        PHOTO.save(tmp_path/name, exif=with_thumbnail(orientation), xmp=xmp)
    out, messages = edited(tmp_path/name, loud, capsys)
    with Image.open(out) as image:
        assert image.size == (PHOTO.size if orientation < 5 else PHOTO.size[::-1])
        assert image.getexif()[0x112] == 1
        assert image.getexif().get_ifd(0x8769)[0x927C] == MAKER
        assert b'Orientation="1"' in image.info["xmp"]
        assert b"Rating" in image.info["xmp"]
    assert "left out: thumbnail in EXIF" in messages
    assert messages.count("\n") == 1

@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_damaged_exif_costs_no_pixels(tmp_path, loud, name):
    PHOTO.save(tmp_path/name, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    edited(tmp_path/name, loud)
