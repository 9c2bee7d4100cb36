"Files that the kit writes: who may read them, one a picture, what they carry over, text that stays text, twins that are twins."
import json, os, stat, tracemalloc, unicodedata, zlib
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from PIL import Image, ImageCms, ImageEnhance
from safetensors.torch import save_file
from attiqa import enhance as e
from attiqa.cli import main
from attiqa.core import AttiqaError, atomic, read_json, read_table, write_json, write_parquet
from attiqa.figures import published
from attiqa.generators import rank, read_comparison, write_results
from attiqa.images import package_photograph
from attiqa.proxies import read_annotations
from attiqa.readers import read_columns
from attiqa.findings import duplicate_groups, fingerprint
from attiqa.score import Scorer

PHOTO = Image.fromarray(np.asarray(package_photograph("chelsea.png").crop((60, 40, 260, 200)))) # with nothing beside its pixels

# who may read what is written

def mode(path): return stat.S_IMODE(path.stat().st_mode)

@pytest.fixture(params=[0o022, 0o002, 0o077, 0o027, 0o000], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)

WRITERS = dict(text=lambda part: part.write_text("a"), picture=lambda part: PHOTO.save(part, "PNG"), tensors=lambda part: save_file(dict(a=torch.zeros(2)), part),
               table=lambda part: pd.DataFrame(dict(a=[1])).to_parquet(part)) # one of them leaves its file to its owner alone

@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_new_file_has_the_mode_that_the_umask_says(umask, tmp_path, write):
    with atomic(tmp_path/"new") as part: write(part)
    assert mode(tmp_path/"new") == 0o666 & ~umask

@pytest.mark.parametrize("own", [0o600, 0o640, 0o664, 0o444, 0o400], ids=oct)
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_that_is_there_keeps_its_mode(umask, tmp_path, write, own):
    "And what is written beside it meanwhile may never be read by more people."
    path = tmp_path/"old"
    path.touch(), path.chmod(own)
    with atomic(path) as part:
        assert mode(part) & 0o077 & ~own == 0
        write(part)
        assert mode(part) & 0o077 & ~own == 0
    assert mode(path) == own and path.stat().st_size

def test_json_keeps_names_that_are_no_text(tmp_path):
    value = {"path": os.fsdecode(b"b\xff.png"), "é": "\u2028"}
    write_json(tmp_path/"a.json", value)
    assert read_json(tmp_path/"a.json") == value and "é" in (tmp_path/"a.json").read_text(encoding="utf-8")

def test_a_share_that_knows_no_modes_keeps_the_table(tmp_path, monkeypatch):
    def refuse(*given, **named): raise PermissionError(1, "Operation not permitted")
    (tmp_path/"old.json").touch(), (tmp_path/"old.json").chmod(0o640)
    for name in ("chmod", "fchmod", "chown", "fchown"): monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(Path, "chmod", refuse)
    for name in ("new.json", "old.json"): write_json(tmp_path/name, [1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.json", "old.json"] and json.loads((tmp_path/"old.json").read_text()) == [1]

def test_scores_on_the_way_to_a_private_table_are_private(tmp_path, monkeypatch):
    "The journal holds what the table will hold."
    monkeypatch.chdir(tmp_path)
    PHOTO.save("a.png")
    Path("s.csv").touch(0o600)
    seen = []
    monkeypatch.setattr("attiqa.cli.write_files", lambda journal, outputs: seen.append(mode(journal)))
    assert main(["score", "a.png", "--csv", "s.csv"]) == 0 and seen == [0o600]

# one file a picture

def keep_pictures(folder, names):
    for name in names:
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        PHOTO.crop((0, 0, 64, 64)).save(folder/name, "PNG")

@pytest.mark.parametrize("names", [("../x.png", "x.png"), ("a/../../x.png", "a/x.png", "x.png"), ("x.png", "X.png"), ("\u00e9.png", "e\u0301.png"), ("straße.png", "STRASSE.png"),
                                   ("n"*220 + "1.png", "n"*220 + "2.png"), ("b.png", "b.png.map.png/c.png"), ("d/x.png", "D/x.png")])
def test_every_picture_has_a_map_of_its_own(tmp_path, monkeypatch, names):
    "On systems, too, that take two names for one."
    home = tmp_path/"home"
    (home/"a").mkdir(parents=True), monkeypatch.chdir(home)
    keep_pictures(home, names)
    assert main(["score", *names, "--map", "maps"]) == 0
    made = [str(path.relative_to(home/"maps")) for path in (home/"maps").rglob("*.map.png") if path.is_file()]
    assert len(made) == len(names) == len({_one_name(name) for name in made})

def _one_name(name):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())

def test_names_that_are_no_text_have_maps_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [os.fsdecode(name) for name in (b"caf\xe9.png", b"caf\xe8.png", "caf\ufffd.png".encode())]
    keep_pictures(tmp_path, names)
    assert main(["score", *names, "--map", "maps"]) == 0 and len(list((tmp_path/"maps").glob("*.map.png"))) == 3

def test_the_same_picture_twice_has_one_map(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keep_pictures(tmp_path, ["x.png"])
    assert main(["score", "x.png", "x.png", "--map", "maps"]) == 0
    assert [path.name for path in (tmp_path/"maps").glob("*.png")] == ["x.png.map.png"]

def test_what_is_read_is_never_written_over(tmp_path, monkeypatch, capsys):
    "A table of captions, a list or ratings would be lost."
    monkeypatch.chdir(tmp_path)
    PHOTO.save("a.png")
    table, link = Path("t.csv"), Path("link.csv")
    table.write_text("path,caption\na.png,a cat\n"); link.symlink_to(table)
    Path("list.txt").write_text("a.png\n"); Path("ratings.csv").write_text("image,stars\na.png,3\n"); Path("bare").write_bytes(Path("a.png").read_bytes())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for words in (["score", "t.csv", "--csv", "t.csv"], ["score", "t.csv", "--json", "link.csv"], ["score", "./list.txt", "--csv", str(tmp_path/"list.txt")],
                  ["score", "bare", "--parquet", "bare"], ["report", "a.png", "bare", "-o", "bare"], ["rate", "a.png", "bare", "-o", "bare"], ["finetune", "ratings.csv", "--out", "ratings.csv"]):
        assert main(words) == 2 and "is read by this command" in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    Path("loop.csv").symlink_to("loop.csv")
    assert main(["score", "t.csv", "--csv", "loop.csv"]) in (0, 1, 2) and table.read_bytes() == before["t.csv"]

def test_a_map_is_never_written_over_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keep_pictures(tmp_path, ["x.png", "x.png.map.png"])
    before = Path("x.png.map.png").read_bytes()
    main(["score", "x.png", "x.png.map.png", "--map", "."])
    assert Path("x.png.map.png").read_bytes() == before

@pytest.mark.parametrize("names", [("x.png", "X.png"), ("\u00e9.png", "e\u0301.png"), ("a/x.png", "A/x.png")])
def test_edits_that_would_share_a_file_are_refused_before_the_first(tmp_path, capsys, names):
    keep_pictures(tmp_path/"in", names)
    assert main(["enhance", str(tmp_path/"in"), str(tmp_path/"out")]) == 2
    assert "one file" in capsys.readouterr().err and not (tmp_path/"out").exists()

def test_edits_into_linked_folders_that_are_one_are_refused(tmp_path, capsys):
    keep_pictures(tmp_path/"in", ("a/x.png", "b/x.png"))
    (tmp_path/"out/a").mkdir(parents=True), (tmp_path/"out/b").symlink_to("a")
    assert main(["enhance", str(tmp_path/"in"), str(tmp_path/"out")]) == 2 and list((tmp_path/"out/a").iterdir()) == []

@pytest.mark.parametrize("targets", [("s.csv", "S.csv"), ("s.csv", "s.csv.partial"), ("s", "s"), ("\u00e9", "e\u0301")])
def test_tables_and_their_journal_share_no_file(tmp_path, monkeypatch, capsys, targets):
    monkeypatch.chdir(tmp_path)
    keep_pictures(tmp_path, ["x.png"])
    assert main(["score", "x.png", "--csv", targets[0], "--json", targets[1]]) == 2
    assert "both" in capsys.readouterr().err and os.listdir() == ["x.png"]

# what a picture carries beside its pixels

@pytest.fixture(scope="module")
def loud(tmp_path_factory):
    "A file of a network that is sure of making everything lighter."
    net = e.Knobs().eval()
    net.mind[-1].bias.data[[0, len(e.EDITS)]] = torch.tensor([.3, 5.])
    net.doubt[-1].bias.data.fill_(5.)
    return str(e.save_enhancer(net, tmp_path_factory.mktemp("networks")/"loud.safetensors", {}))

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmp:Rating="5"/></rdf:RDF></x:xmpmeta>'

def exif_of(orientation=1):
    exif = Image.Exif()
    exif[0x112], exif[0x10F], exif[0x10E] = orientation, "A camera", "a birthday"
    exif.get_ifd(0x8769)[0x9003], exif.get_ifd(0x8769)[0x927C] = "2020:01:01 00:00:00", b"maker's\0own bytes"
    exif.get_ifd(0x8825)[1] = "N"
    return exif

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

def edited(path, loud, capsys=None):
    "The edit of a file, and what was said on standard error."
    out = path.with_stem("edited")
    assert main(["enhance", str(path), str(out), "--model", loud]) == 0
    with Image.open(path) as old, Image.open(out) as new:
        assert new.format == old.format and not np.array_equal(old.convert("RGB").resize(new.size), new.convert("RGB"))
    return out, capsys.readouterr().err if capsys else ""

def chunks(path): return [(name, raw) for name, raw in e.png_parts(path.read_bytes()) if name not in e.REMADE]

def chunk(name, body): return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")

def with_chunks(path, ahead, behind=b""):
    data = path.read_bytes()
    path.write_bytes(data[:33] + ahead + data[33:-12] + behind + data[-12:])

def test_prompts_and_every_other_chunk_of_a_png_are_carried(tmp_path, loud, capsys):
    "As they are: twice the same keyword, compressed, in another language, private, ahead of the pixels and behind."
    PHOTO.save(tmp_path/"a.png", icc_profile=PROFILE, dpi=(300, 300), exif=exif_of())
    ahead = (chunk(b"tEXt", b"parameters\0a cat, masterpiece\nSteps: 20") + chunk(b"tEXt", b"parameters\0again") + chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"{}"*99))
             + chunk(b"iTXt", "Title\0\0\0de\0Titel\0Übung".encode()) + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP) + chunk(b"gAMA", (45455).to_bytes(4, "big"))
             + chunk(b"bKGD", bytes(6)) + chunk(b"prVt", b"private"))
    with_chunks(tmp_path/"a.png", ahead, chunk(b"tEXt", b"Comment\0behind the pixels"))
    out, said = edited(tmp_path/"a.png", loud, capsys)
    assert chunks(out) == chunks(tmp_path/"a.png") and said == ""
    with Image.open(out) as image:
        assert image.text["workflow"] == "{}"*99 and b"Rating" in image.info["xmp"] and image.info["icc_profile"] == PROFILE and round(image.info["dpi"][0]) == 300
        assert image.getexif()[0x10F] == "A camera"

def test_what_a_png_may_not_carry_is_named(tmp_path, loud, capsys):
    "A certificate and a time of the unedited picture; what hangs behind the file."
    PHOTO.save(tmp_path/"a.png")
    with_chunks(tmp_path/"a.png", chunk(b"tIME", bytes(7)) + chunk(b"caBX", b"certificate"))
    with open(tmp_path/"a.png", "ab") as file: file.write(b"more")
    out, said = edited(tmp_path/"a.png", loud, capsys)
    assert "left out: bytes behind the picture, caBX, tIME" in said and said.count("\n") == 1 and chunks(out) == []

def segment(number, body): return bytes([0xff, number]) + (len(body) + 2).to_bytes(2, "big") + body

@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_segment_of_a_jpeg_is_carried_or_named(tmp_path, loud, capsys, mode):
    PHOTO.convert(mode).save(tmp_path/"a.jpg", exif=exif_of(), icc_profile=PROFILE*40, xmp=XMP, dpi=(300, 300), comment=b"a comment", progressive=True)
    data, kept = (tmp_path/"a.jpg").read_bytes(), segment(0xed, b"Photoshop 3.0\0008BIM") + segment(0xe4, b"maker\0bytes") + segment(0xfe, b"another")
    lost = segment(0xeb, b"JP\0certificate") + segment(0xe0, b"JFXX\0thumbnail")
    (tmp_path/"a.jpg").write_bytes(data[:20] + kept + lost + data[20:] + b"a film")
    out, said = edited(tmp_path/"a.jpg", loud, capsys)
    parts = [[part for part in e.jpeg_parts(path.read_bytes()) if part[0] not in (*e.REMADE, *e.FALSE, "bytes behind the picture")] for path in (tmp_path/"a.jpg", out)]
    assert parts[0] == parts[1] and len(parts[0]) >= 7 and "left out: APP0 JFXX, APP11 JP, bytes behind the picture" in said
    with Image.open(out) as image:
        assert image.info["xmp"] == XMP and image.info["icc_profile"] == PROFILE*40 and image.info["dpi"] == (300, 300) and image.info["progressive"]
        assert image.getexif().get_ifd(0x8769)[0x927C] == b"maker's\0own bytes" and image.mode == mode

@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_carries_its_metadata(tmp_path, loud, capsys, lossless):
    PHOTO.save(tmp_path/"a.webp", exif=exif_of(), icc_profile=PROFILE, xmp=XMP, lossless=lossless)
    out, said = edited(tmp_path/"a.webp", loud, capsys)
    names = {name for name, _ in e.webp_parts(out.read_bytes())}
    assert {"EXIF", "XMP ", "ICCP"} < names and ("VP8L" in names) == lossless and said == ""
    with Image.open(out) as image: assert image.info["xmp"] == XMP and image.getexif()[0x10F] == "A camera" and image.info["icc_profile"] == PROFILE

@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_a_tiff_carries_its_tags(tmp_path, loud, capsys, compression):
    from PIL.TiffImagePlugin import ImageFileDirectory_v2
    tags = ImageFileDirectory_v2()
    tags[270], tags[315], tags[700], tags[33432] = "a caption", "an artist", XMP, "(c)"
    tags.tagtype[33723], tags[33723] = 7, b"\x1c\x02iptc"
    tags.tagtype[65000], tags[65000] = 2, "private"
    if compression is None: tags[0x8769] = {0x9003: "2020:01:01 00:00:00"} # Pillow writes it into no other
    PHOTO.save(tmp_path/"a.tif", tiffinfo=tags, compression=compression, icc_profile=PROFILE, dpi=(300, 300))
    out, said = edited(tmp_path/"a.tif", loud, capsys)
    with Image.open(tmp_path/"a.tif") as old, Image.open(out) as new:
        assert dict.fromkeys(sorted(set(old.tag_v2) - e.TAGS - set(new.tag_v2))) == {} or "left out: tag" in said
        assert all(new.tag_v2[tag] == old.tag_v2[tag] for tag in (270, 315, 700, 33432, 282, 283, 296)) and new.info["icc_profile"] == PROFILE

def test_a_tiff_in_tiles_is_whole_again(tmp_path, loud):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path/"a.tif", np.asarray(PHOTO.resize((256, 192))), tile=(64, 64), compression="zlib", predictor=True, description="tiles", metadata=None)
    out, _ = edited(tmp_path/"a.tif", loud)
    pixels = np.asarray(Image.open(out)).astype(int)
    assert np.abs(tifffile.imread(out).astype(int) - pixels).max() == 0 and np.corrcoef(pixels.ravel(), np.asarray(PHOTO.resize((256, 192))).ravel())[0, 1] > .95
    assert Image.open(out).tag_v2[270] == "tiles"

def test_a_tag_that_cannot_be_written_costs_no_picture(tmp_path, loud, capsys, monkeypatch):
    PHOTO.save(tmp_path/"a.tif", description="a caption", dpi=(300, 300))
    monkeypatch.setattr(e, "_tiff_options", lambda image: dict(compression="tiff_lzw", tiffinfo={0x8769: {0x9003: "libtiff writes no directory"}}))
    assert "left out: tag 270" in edited(tmp_path/"a.tif", loud, capsys)[1]

def thumbnailed(orientation):
    "EXIF with a second directory."
    block = bytearray(exif_of(orientation).tobytes()[6:])
    order, start, count = e._directory(bytes(block))
    block[start + 12*count:start + 12*count + 4] = len(block).to_bytes(4, "little" if order == "<" else "big")
    return b"Exif\0\0" + bytes(block) + bytes(6)

@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_picture_says_that_it_is_upright(tmp_path, loud, capsys, name, orientation):
    "In EXIF and in XMP, of which some readers ask the one and some the other; its maker's bytes stay where they are, its thumbnail is dropped and named."
    xmp = XMP.replace(b"xmp:Rating", b'tiff:Orientation="%d" xmp:Rating' % orientation)
    if name == "a.png":
        PHOTO.save(tmp_path/name, exif=thumbnailed(orientation))
        with_chunks(tmp_path/name, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)))
    else: PHOTO.save(tmp_path/name, exif=thumbnailed(orientation), xmp=xmp)
    out, said = edited(tmp_path/name, loud, capsys)
    with Image.open(out) as image:
        assert image.size == (PHOTO.size if orientation < 5 else PHOTO.size[::-1])
        assert image.getexif()[0x112] == 1 and image.getexif().get_ifd(0x8769)[0x927C] == b"maker's\0own bytes"
        assert b'Orientation="1"' in image.info["xmp"] and b"Rating" in image.info["xmp"]
    assert "left out: thumbnail in EXIF" in said and said.count("\n") == 1

@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_damaged_exif_costs_no_pixels(tmp_path, loud, name):
    PHOTO.save(tmp_path/name, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    edited(tmp_path/name, loud)

# text stays text

WORDS = ["007", "0012", "NA", "nan", "null", "None", "1e5", "True", "-", "1_000", "0x1F", "+1", " a ", "inf", "1,5", 'a "b"', "two\nlines", "a\r\nb", "é", "N/A", "#N/A", "2020-01-01", "<b>|"]

def test_a_table_read_back_is_the_table(tmp_path):
    table = pd.DataFrame(dict(image=WORDS, generator=WORDS[::-1], rating=[str(i) if i % 2 else "" for i in range(len(WORDS))]))
    table.to_csv(tmp_path/"t.csv", index=False), write_parquet(tmp_path/"t.parquet", table)
    for name in ("t.csv", "t.parquet"):
        found = read_table(tmp_path/name)
        assert found.to_dict("list") == table.to_dict("list"), name
    assert read_table(tmp_path/"t.csv", ["rating"]).rating.tolist()[1::2] == list(range(1, len(WORDS), 2))

@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_prompts_and_generators_of_a_comparison_are_text(tmp_path, suffix):
    table = pd.DataFrame(dict(image=WORDS, generator=WORDS, prompt=WORDS))
    table.to_csv(tmp_path/"t.csv", index=False), write_parquet(tmp_path/"t.parquet", table)
    found = read_comparison(tmp_path/f"t.{suffix}")
    assert list(found.prompt) == list(found.generator) == WORDS and list(found.image) == [str(tmp_path/word) for word in WORDS]

def test_a_leaderboard_of_generators_called_by_numbers(tmp_path):
    "Numbers with a zero in front, and words that readers take for nothing."
    names = ["01", "nan", "NA"]
    rows = [(f"{name}/{prompt}.png", name, prompt) for name, prompt in zip(names, ("007", "null", "007"))]
    keep_pictures(tmp_path, [row[0] for row in rows])
    pd.DataFrame(rows, columns=["image", "generator", "prompt"]).to_csv(tmp_path/"t.csv", index=False)
    write_results(tmp_path/"out", *rank(read_comparison(tmp_path/"t.csv"), Scorer(), draws=20))
    assert sorted(read_table(tmp_path/"out/leaderboard.csv").generator) == sorted(names)
    assert {*pd.read_parquet(tmp_path/"out/images.parquet").prompt} == {"007", "null"}

def test_a_releases_table_keeps_its_cells(tmp_path):
    (tmp_path/"t.csv").write_bytes(b'name,mos\r\n007,1\r\n"a\r\nb",NA\r\n')
    found = read_columns(tmp_path/"t.csv", dict(name="name", mos="mos"))
    assert found.name.tolist() == ["007", "a\r\nb"] and found.mos.tolist() == ["1", "NA"]

def test_an_empty_cell_is_named(tmp_path):
    (tmp_path/"t.csv").write_text("image,generator,prompt\na.png,x,y\nb.png,,y\n")
    with pytest.raises(AttiqaError, match="row 1 has no generator"): read_comparison(tmp_path/"t.csv")

def test_annotated_images_are_called_what_they_are_called(tmp_path):
    (tmp_path/"t.csv").write_text("image,brightness\n007,1\n1e5,\nNA,.5\n")
    found = read_annotations(tmp_path/"t.csv")
    assert list(found.image) == [str(tmp_path/name) for name in ("007", "1e5", "NA")] and np.array_equal(found.brightness, [1, np.nan, .5], equal_nan=True)

def test_figures_take_methods_and_datasets_for_text(tmp_path, monkeypatch):
    (tmp_path/"p.csv").write_text("protocol,method,train,test,train_fraction,srcc,plcc,source,note\nin-domain,007,NA,0012,1,.5,,,\nin-domain,1e5,nan,0012,1,,,,\n")
    monkeypatch.setattr("attiqa.figures.PUBLISHED", (tmp_path/"p.csv",))
    found = published("in-domain")
    assert found[["method", "train", "test"]].to_numpy().tolist() == [["007", "NA", "0012"], ["1e5", "nan", "0012"]] and found.srcc.isna().tolist() == [False, True]

# twins

def near(text, *turned):
    "A hash with some bits turned."
    return f"{int(text, 16) ^ sum(1 << int(bit) for bit in turned):016x}"

def groups_of(hashes):
    "Sets of positions."
    found = duplicate_groups(hashes)
    return {frozenset(i for i, g in enumerate(found) if g == group) for group in {*found} - {-1}}

@pytest.mark.parametrize("kind, groups, alone", [("equal", 1, 0), ("frames", 1, 0), ("others", 0, 20_000)])
def test_memory_is_linear(kind, groups, alone):
    "20,000 hashes: all equal, of 64 frames that differ little, all different. A pair kept each would be 3 GB and more."
    drawn = np.random.default_rng(0).integers(0, 2**64, 20_000, np.uint64)
    hashes = dict(equal=["f"*16]*20_000, frames=[f"{(i*7) % 64:016x}" for i in range(20_000)], others=[f"{h:016x}" for h in drawn])[kind]
    tracemalloc.start()
    try: found, (_, peak) = duplicate_groups(hashes), tracemalloc.get_traced_memory()
    finally: tracemalloc.stop()
    assert (len({*found} - {-1}), found.count(-1)) == (groups, alone) and peak < 20e6

def test_all_that_is_near_is_found():
    "Against a slow loop, for groups without chains."
    rng, hashes, expected = np.random.default_rng(0), [], set()
    for center in rng.integers(0, 2**64, 40, np.uint64):
        size = int(rng.integers(1, 5))
        if size > 1: expected.add(frozenset(range(len(hashes), len(hashes) + size)))
        hashes += [near(f"{int(center):016x}", *rng.choice(64, int(rng.integers(0, 4)), replace=False)) for _ in range(size)]
    order = rng.permutation(len(hashes))
    found = {frozenset(int(order[i]) for i in group) for group in groups_of([hashes[i] for i in order])}
    assert found == expected

def test_a_chain_ends_before_it_meets_the_unlike():
    chain = [near("0"*16, *range(6*i)) for i in range(11)]
    distance = lambda a, b: (int(a, 16) ^ int(b, 16)).bit_count()
    for group in groups_of(chain): assert max(distance(chain[min(group)], chain[i]) for i in group) <= 12

def test_plain_surfaces_of_other_colours_are_no_twins(tmp_path):
    colours = ["black", "white", "red", "blue", "lime", "gold", "grey"]
    assert duplicate_groups([fingerprint(Image.new("RGB", (64, 48), colour)) for colour in colours]) == [-1]*len(colours)

def test_copies_are_twins():
    photo = package_photograph("coffee.png")
    copies = [photo, photo.resize((300, 200)), ImageEnhance.Brightness(photo).enhance(.8), ImageEnhance.Color(photo).enhance(1.2), photo.convert("RGB").rotate(0)]
    others = [package_photograph(name) for name in ("astronaut.png", "chelsea.png", "rocket.jpg")] + [photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    assert duplicate_groups([fingerprint(image) for image in (*copies, *others)]) == [0]*5 + [-1]*4
