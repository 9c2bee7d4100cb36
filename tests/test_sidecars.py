"XMP sidecars: their names, what is added to them, and what stays in them."
import json, shutil, subprocess
import pytest
from attiqa.core import AttiqaError
from attiqa.cull import DC, LIGHTROOM, XMP, Choice, merged_sidecar, property_value, read_xmp, sidecar_path
from attiqa.findings import Finding, Row
from attiqa.score import Score
from sidecars import SIDECARS

CHOICE = Choice(Row("a.jpg", Score("a.jpg", .5), (Finding("blurred", "why"),)), stars=2, keep=False)
FOREIGN = dict(darktable=("history_end", "00&lt;ff", "exposure"),
               digikam=("Familie/Zoë", "<rdf:li>Zoë</rdf:li>"),
               lightroom=("+0.35", "places|sea", "uuid:1")) # parts that stay
MARKS = dict(darktable=["2", "Red"], digikam=["3", "Red"], lightroom=["2", "Blue"]) # then

@pytest.mark.parametrize("tool", SIDECARS)
def test_a_sidecar_keeps_its_content(tool):
    text = merged_sidecar(SIDECARS[tool], CHOICE)
    assert all(part in text for part in FOREIGN[tool])
    assert [property_value(read_xmp(text, ""), XMP, name) for name in ("Rating", "Label")] == MARKS[tool]

@pytest.mark.parametrize("tool", SIDECARS)
@pytest.mark.parametrize("namespace, name", [(DC, "subject"), (LIGHTROOM, "hierarchicalSubject")])
def test_keywords_are_replaced(tool, namespace, name):
    text = merged_sidecar(SIDECARS[tool], CHOICE)
    assert "attiqa|noisy" not in text
    again = read_xmp(merged_sidecar(text, CHOICE), "")
    lists = again.getElementsByTagNameNS(namespace, name)
    items = [li.firstChild.nodeValue for node in lists for li in node.getElementsByTagName("rdf:li")]
    assert items.count("attiqa|blurred") == 1

def as_list(value): return value if isinstance(value, list) else [value]

def exiftool(path):
    "What exiftool reads of a file."
    if not shutil.which("exiftool"): pytest.skip("exiftool is not installed")
    done = subprocess.run(["exiftool", "-j", "-G1", str(path)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)[0]

@pytest.mark.parametrize("tool", [*SIDECARS, "none"])
def test_exiftool_reads_a_sidecar(tmp_path, tool):
    (tmp_path/"a.xmp").write_text(merged_sidecar(SIDECARS.get(tool, ""), CHOICE), encoding="utf-8")
    found = exiftool(tmp_path/"a.xmp")
    assert found["XMP-xmp:Rating"] == (3 if tool == "digikam" else 2)
    assert "attiqa|blurred" in as_list(found["XMP-lr:HierarchicalSubject"])
    assert "attiqa|blurred" in as_list(found["XMP-dc:Subject"])

@pytest.mark.parametrize("tool, field, value", [
    ("darktable", "XMP-darktable:HistoryOperation", "exposure"),
    ("digikam", "XMP-digiKam:TagsList", "Familie/Zoë"),
    ("lightroom", "XMP-crs:Exposure2012", "+0.35")])
def test_exiftool_reads_foreign_fields(tmp_path, tool, field, value):
    (tmp_path/"a.xmp").write_text(merged_sidecar(SIDECARS[tool], CHOICE), encoding="utf-8")
    found = exiftool(tmp_path/"a.xmp")[field]
    assert value in as_list(found) or str(found) == "0.35"

def test_an_existing_sidecar_is_used(tmp_path):
    assert sidecar_path(str(tmp_path/"a.jpg")).name == "a.jpg.xmp"
    (tmp_path/"a.xmp").touch()
    assert sidecar_path(str(tmp_path/"a.jpg")).name == "a.xmp"

@pytest.mark.parametrize("text, message", [("<a", "not valid XML"), ("<a/>", "no XMP"),
                                           ('<!DOCTYPE a [<!ENTITY b "c">]><a/>', "entities")])
def test_other_files_are_not_changed(text, message):
    with pytest.raises(AttiqaError, match=message): merged_sidecar(text, CHOICE)

PLACES = {"a.jpg": "a.jpg.xmp", "a.png": "a.png.xmp", "b.jpg": "b.xmp", "c.NEF": "c.xmp",
          "c.jpg": "c.jpg.xmp", "d.jpg": "d.jpg.xmp", "d.jpg.png": "d.jpg.png.xmp"}

def test_photographs_of_one_stem_have_sidecars_of_their_own(tmp_path):
    "a.xmp is the sidecar of one photograph: the only one of that stem, or the camera's file."
    for name in (*PLACES, "a.xmp", "b.xmp", "c.xmp", "d.jpg.xmp"): (tmp_path/name).touch()
    assert {name: sidecar_path(str(tmp_path/name)).name for name in PLACES} == PLACES
