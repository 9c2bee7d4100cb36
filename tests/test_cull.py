"Culling: the untouched photograph of a group stays, scenes do not mix, brackets and panoramas stay whole, sidecars lose nothing, and all is undone."
import json, os, shutil, subprocess
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from attiqa.cli import main
from attiqa.core import AttiqaError
from attiqa.cull import DC, HIERARCHY, LOG, XMP, Choice, cull, merged, read_xmp, sidecar, value_of
from attiqa.distort import apply_recipe
from attiqa.findings import Finding, Row
from attiqa.images import package_photograph, to_image, to_tensor
from attiqa.score import Score, Scorer

RECIPES = ([("gaussian_blur", .4)], [("gaussian_noise", .45)], [("jpeg", .5), ("gamma_dark", .2)])
SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")

def exif(seconds, stops=0.):
    "EXIF of a photograph taken some seconds after noon."
    notes = Image.Exif()
    notes.get_ifd(0x8769).update({0x9003: f"2024:05:01 12:{int(seconds)//60:02}:{int(seconds)%60:02}", 0x829A: 2.**stops/100, 0x829D: 4., 0x8827: 100})
    return notes

@pytest.fixture
def shoot(tmp_path):
    "Four scenes, each untouched and in three worse versions."
    folder = tmp_path/"shoot"
    folder.mkdir()
    for name in SOURCES:
        photo = to_tensor(package_photograph(name).resize((320, 240)))
        for i, recipe in enumerate(([], *RECIPES)): to_image(apply_recipe(photo, recipe, name)).save(folder/f"{Path(name).stem}_{i}.png")
    return folder

@pytest.fixture(scope="module")
def scorer(): return Scorer("attiqa-mini", "cpu")

def files(folder): return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

def test_the_untouched_one_is_kept(shoot, scorer):
    choices = cull(scorer, sorted(map(str, shoot.iterdir())))
    scene = lambda choice: Path(choice.row.path).stem.split("_")[0]
    for group in {choice.group for choice in choices if choice.group >= 0}:
        assert len({scene(choice) for choice in choices if choice.group == group}) == 1
    assert {Path(choice.row.path).stem for choice in choices if choice.keep} == {f"{Path(name).stem}_0" for name in SOURCES}
    assert {choice.stars for choice in choices} == {1, 2, 3, 4, 5}
    assert all("better: " in choice.reason for choice in choices if not choice.keep)

@pytest.mark.parametrize("stops, kind", [((-2, 0, 2), "bracket"), ((0, 0, 0), "alike")])
def test_brackets_stay_whole(tmp_path, scorer, stops, kind):
    photo = np.asarray(package_photograph("coffee.png").resize((320, 240)), float)
    for i, stop in enumerate(stops): Image.fromarray((photo*2**(stop/3)).clip(0, 255).astype(np.uint8)).save(tmp_path/f"{i}.jpg", exif=exif(i, stop))
    choices = cull(scorer, sorted(map(str, tmp_path.iterdir())))
    assert {choice.kind for choice in choices} == {kind}
    assert sum(choice.keep for choice in choices) == (3 if kind == "bracket" else 1)

def test_panoramas_stay_whole(tmp_path, scorer):
    photo = package_photograph("coffee.png").resize((800, 533))
    for i in range(4): photo.crop((120*i, 100, 120*i + 400, 400)).save(tmp_path/f"{i}.jpg", exif=exif(2*i))
    choices = cull(scorer, sorted(map(str, tmp_path.iterdir())))
    assert {choice.kind for choice in choices} == {"panorama"} and all(choice.keep for choice in choices)

def test_move_link_and_undo(shoot, tmp_path, capsys):
    (shoot/"chelsea_1.png.xmp").write_text(SIDECARS["darktable"])
    before = files(shoot)
    assert main(["cull", str(shoot), "--xmp", "--move-to", str(tmp_path/"rejects"), "--link-to", str(tmp_path/"best")]) == 0
    moved, kept = sorted((tmp_path/"rejects").glob("*.png")), sorted((tmp_path/"best").glob("*.png"))
    assert len(moved) == 12 and len(kept) == 4 and all(path.is_symlink() for path in kept)
    assert all(path.read_bytes() == before[Path(path.name)] for path in (*moved, *kept))
    assert (tmp_path/"rejects"/"chelsea_1.png.xmp").exists()
    assert main(["cull", str(shoot), "--undo"]) == 0
    assert files(shoot) == before and not list((tmp_path/"rejects").glob("*.png")) and not list((tmp_path/"best").glob("*.png"))
    assert main(["cull", str(shoot), "--undo"]) == 2
    assert "nothing here" in capsys.readouterr().err

def test_nothing_is_written_without_an_option(shoot, capsys):
    before = files(shoot)
    assert main(["cull", str(shoot), "--keep", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert files(shoot) == before and len(lines) == 16 and sum(line.startswith("keep") for line in lines) == 8

def test_undo_leaves_what_was_changed_since(shoot, capsys):
    assert main(["cull", str(shoot), "--xmp"]) == 0
    mine = shoot/"coffee_0.png.xmp"
    mine.write_text("mine")
    assert main(["cull", str(shoot), "--undo"]) == 1
    assert mine.read_text() == "mine" and [path.name for path in shoot.glob("*.xmp")] == [mine.name] and "was changed since" in capsys.readouterr().err

def test_nothing_is_written_over(shoot, tmp_path, capsys):
    (tmp_path/"rejects").mkdir()
    (tmp_path/"rejects"/"MADE_BY_ATTIQA.txt").touch()
    (tmp_path/"rejects"/"coffee_1.png").write_text("mine")
    assert main(["cull", str(shoot), "--move-to", str(tmp_path/"rejects")]) == 1
    assert (tmp_path/"rejects"/"coffee_1.png").read_text() == "mine" and (shoot/"coffee_1.png").exists()
    assert "nothing is written over" in capsys.readouterr().err

PACKET = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{}</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
SIDECARS = dict(
    darktable=PACKET.format('<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:darktable="http://darktable.sf.net/" xmp:Rating="0" darktable:history_end="2">'
                            '<darktable:history><rdf:Seq><rdf:li darktable:operation="exposure" darktable:params="00&lt;ff"/></rdf:Seq></darktable:history></rdf:Description>'),
    digikam=PACKET.format('<rdf:Description rdf:about="" xmlns:digiKam="http://www.digikam.org/ns/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
                          '<xmp:Rating>3</xmp:Rating><digiKam:TagsList><rdf:Seq><rdf:li>Familie/Zoë</rdf:li></rdf:Seq></digiKam:TagsList>'
                          '<dc:subject><rdf:Bag><rdf:li>Zoë</rdf:li><rdf:li>attiqa|noisy</rdf:li></rdf:Bag></dc:subject></rdf:Description>'),
    lightroom=PACKET.format('<rdf:Description rdf:about="uuid:1" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmp:Label="Blue" crs:Exposure2012="+0.35">'
                            '<lr:hierarchicalSubject><rdf:Bag><rdf:li>places|sea</rdf:li></rdf:Bag></lr:hierarchicalSubject></rdf:Description>'))
FOREIGN = dict(darktable=("history_end", "00&lt;ff", "exposure"), digikam=("Familie/Zoë", "<rdf:li>Zoë</rdf:li>"), lightroom=("+0.35", "places|sea", "uuid:1"))
CHOICE = Choice(Row("a.jpg", Score("a.jpg", .5), (Finding("blurred", "why"),)), stars=2, keep=False)

@pytest.mark.parametrize("tool", SIDECARS)
def test_a_sidecar_keeps_what_is_in_it(tool):
    text = merged(SIDECARS[tool], CHOICE)
    assert all(part in text for part in FOREIGN[tool]) and "attiqa|noisy" not in text
    found = [value_of(read_xmp(text, ""), XMP, name) for name in ("Rating", "Label")]
    assert found == dict(darktable=["2", "Red"], digikam=["3", "Red"], lightroom=["2", "Blue"])[tool]
    again = read_xmp(merged(text, CHOICE), "")
    for namespace, name in ((DC, "subject"), (HIERARCHY, "hierarchicalSubject")):
        items = [li.firstChild.nodeValue for node in again.getElementsByTagNameNS(namespace, name) for li in node.getElementsByTagName("rdf:li")]
        assert items.count("attiqa|blurred") == 1

@pytest.mark.parametrize("tool", [*SIDECARS, "none"])
def test_exiftool_reads_a_sidecar(tmp_path, tool):
    if not shutil.which("exiftool"): pytest.skip("exiftool is not installed")
    (tmp_path/"a.xmp").write_text(merged(SIDECARS.get(tool, ""), CHOICE), encoding="utf-8")
    done = subprocess.run(["exiftool", "-j", "-G1", str(tmp_path/"a.xmp")], capture_output=True, text=True, check=True)
    said, = json.loads(done.stdout)
    as_list = lambda value: value if isinstance(value, list) else [value]
    assert said["XMP-xmp:Rating"] == (3 if tool == "digikam" else 2)
    assert "attiqa|blurred" in as_list(said["XMP-lr:HierarchicalSubject"]) and "attiqa|blurred" in as_list(said["XMP-dc:Subject"])
    foreign = dict(darktable=("XMP-darktable:HistoryOperation", "exposure"), digikam=("XMP-digiKam:TagsList", "Familie/Zoë"), lightroom=("XMP-crs:Exposure2012", "+0.35"))
    if tool in foreign: assert foreign[tool][1] in as_list(said[foreign[tool][0]]) or str(said[foreign[tool][0]]) == "0.35"

def test_the_sidecar_that_is_there(tmp_path):
    assert sidecar(str(tmp_path/"a.jpg")).name == "a.jpg.xmp"
    (tmp_path/"a.xmp").touch()
    assert sidecar(str(tmp_path/"a.jpg")).name == "a.xmp"

@pytest.mark.parametrize("text, said", [("<a", "not valid XML"), ("<a/>", "no XMP"), ('<!DOCTYPE a [<!ENTITY b "c">]><a/>', "entities")])
def test_a_sidecar_that_is_none_stays(text, said):
    with pytest.raises(AttiqaError, match=said): merged(text, CHOICE)

def test_wrong_arguments(tmp_path, capsys):
    for words, said in ((["cull", "none"], "is not a folder"), (["cull", str(tmp_path)], "without images"), (["cull", str(tmp_path), "--keep", "0"], "keep"),
                        (["cull", str(tmp_path), "--undo"], "nothing here")):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1
    assert not (tmp_path/LOG).exists() and not os.listdir(tmp_path)

def test_a_hundred_scenes(shared, tmp_path, scorer):
    scenes = sorted((shared/"pristine").rglob("*.jpg"))[::2][:100]
    for scene in scenes:
        photo = to_tensor(Image.open(scene).convert("RGB").resize((256, 256)))
        for i, recipe in enumerate(([], *RECIPES)): to_image(apply_recipe(photo, recipe, scene.name)).save(tmp_path/f"{scene.stem}_{i}.png")
    choices = cull(scorer, sorted(map(str, tmp_path.iterdir())))
    groups = {}
    for choice in choices: groups.setdefault(choice.group if choice.group >= 0 else choice.row.path, []).append(choice)
    name = lambda choice: Path(choice.row.path).stem.rsplit("_", 1)
    assert all(len({name(choice)[0] for choice in group}) == 1 for group in groups.values())
    whole = [group for group in groups.values() if len(group) == 4]
    assert sum(name(choice)[1] == "0" and choice.keep for group in whole for choice in group) >= 90

def test_photographs_of_one_stem_have_sidecars_of_their_own(tmp_path, scorer):
    "a.xmp is the sidecar of one photograph: of the only one of that stem, or of the camera's file."
    for name in ("a.jpg", "a.png", "b.jpg", "c.NEF", "c.jpg", "d.jpg", "d.jpg.png"): (tmp_path/name).touch()
    for name in ("a.xmp", "b.xmp", "c.xmp", "d.jpg.xmp"): (tmp_path/name).touch()
    place = lambda name: sidecar(str(tmp_path/name)).name
    assert [place(name) for name in ("a.jpg", "a.png", "b.jpg", "c.NEF", "c.jpg", "d.jpg", "d.jpg.png")] == [
        "a.jpg.xmp", "a.png.xmp", "b.xmp", "c.xmp", "c.jpg.xmp", "d.jpg.xmp", "d.jpg.png.xmp"]

def test_every_photograph_of_one_stem_is_rated(tmp_path):
    for i, name in enumerate(("a.png", "a.jpg")): package_photograph(SOURCES[i]).resize((160, 120)).save(tmp_path/name)
    (tmp_path/"a.xmp").write_text(merged("", Choice(Row("", Score()), stars=2)))
    before = (tmp_path/"a.xmp").read_bytes()
    assert main(["cull", str(tmp_path), "--xmp"]) == 0
    rated = {name: value_of(read_xmp((tmp_path/f"{name}.xmp").read_text(), ""), XMP, "Rating") for name in ("a.png", "a.jpg")}
    assert set(rated.values()) == {"1", "5"} and (tmp_path/"a.xmp").read_bytes() == before

@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_no_text_are_culled_and_that_is_undone(tmp_path, capsys):
    name = os.fsdecode(b"b\xff.png")
    package_photograph("coffee.png").resize((160, 120)).save(tmp_path/"a.png"); shutil.copy(tmp_path/"a.png", tmp_path/name)
    (tmp_path/"notes.txt").touch()
    before = files(tmp_path)
    assert main(["cull", str(tmp_path), "--xmp", "--move-to", str(tmp_path/"rest")]) == 0
    assert "left out: no pictures: 1" in capsys.readouterr().err
    assert (tmp_path/"rest"/name).exists() and (tmp_path/"rest"/f"{name}.xmp").exists() and not (tmp_path/name).exists()
    assert main(["cull", str(tmp_path), "--undo"]) == 0
    assert {path: data for path, data in files(tmp_path).items() if path.parent == Path()} == before

def test_a_photograph_that_can_have_no_sidecar_stops_no_other(tmp_path, capsys):
    "Its name with .xmp behind it is longer than file systems take."
    long = "n"*248 + ".png"
    for i, name in enumerate((long, "z.png")): package_photograph(SOURCES[i]).resize((160, 120)).save(tmp_path/name)
    assert main(["cull", str(tmp_path), "--xmp"]) == 1
    assert "nnn" in capsys.readouterr().err and (tmp_path/"z.png.xmp").exists()
    assert main(["cull", str(tmp_path), "--undo"]) == 0 and sorted(os.listdir(tmp_path)) == [long, "z.png"]
