"Archives that are harmful, damaged, or sound."
import io, stat, tarfile, time, zipfile
from pathlib import Path
import numpy as np, pytest
from attiqa.core import AttiqaError
from attiqa.download import UNPACKED_FLOOR, unpack

CONTENT = np.random.default_rng(0).bytes(90_000)

def make_tar(path, *members):
    "A tar of (name, content): bytes, or a tar type with a target."
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if not isinstance(content, bytes):
                info.type, info.linkname = content
                content = b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path

def make_zip(path, *members):
    "A zip of (name, content): bytes, or a type with a target, which makes a link."
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if not isinstance(content, bytes):
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                content = content[1].encode()
            packed.writestr(info, content)
    return path

def all_names(folder): return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))

OUTSIDE = ("../evil.txt", "a/../../evil.txt", "/tmp/attiqa_evil.txt", "//tmp/evil",
           "C:\\evil.txt", "..\\evil.txt")
HARMFUL = [*(((name, b"x"), "leads out") for name in OUTSIDE),
           (("in", (tarfile.SYMTYPE, "../outside")), "is a link"),
           (("in", (tarfile.SYMTYPE, "/etc/passwd")), "is a link"),
           (("big", bytes(UNPACKED_FLOOR + 1)), "refused as a bomb")]

@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("member, reason", HARMFUL)
def test_a_harmful_archive_is_refused_and_leaves_nothing(tmp_path, make, member, reason):
    home = tmp_path/"inside"/"home"
    home.mkdir(parents=True)
    (tmp_path/"outside").mkdir()
    (home/"mine.txt").write_text("mine")
    archive = make(tmp_path/"archive", ("fine.txt", b"fine"), member)
    with pytest.raises(AttiqaError, match=reason): unpack(archive, home)
    assert all_names(tmp_path) == ["archive", "inside", "inside/home", "inside/home/mine.txt", "outside"]
    assert not Path("/tmp/attiqa_evil.txt").exists()

@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_tar_with_links_and_devices(tmp_path, kind):
    archive = make_tar(tmp_path/"a.tgz", ("in", (kind, "/etc/passwd")))
    with pytest.raises(AttiqaError, match="is a link or a device"): unpack(archive, tmp_path/"home")
    assert all_names(tmp_path/"home") == []

def test_a_link_does_not_redirect_later_members(tmp_path):
    archive = make_tar(tmp_path/"a.tgz", ("door", (tarfile.SYMTYPE, str(tmp_path))), ("door/evil.txt", b"x"))
    with pytest.raises(AttiqaError, match="is a link"): unpack(archive, tmp_path/"home")
    assert not (tmp_path/"evil.txt").exists()

def test_zip_bomb_of_many_files(tmp_path):
    archive = make_zip(tmp_path/"bomb.zip", *((f"{i}", bytes(UNPACKED_FLOOR//8)) for i in range(12)))
    assert archive.stat().st_size < 200_000
    start = time.time()
    with pytest.raises(AttiqaError, match="refused as a bomb"): unpack(archive, tmp_path/"home")
    assert all_names(tmp_path/"home") == []
    assert time.time() - start < 30

def test_zip_with_false_sizes(tmp_path):
    archive = make_zip(tmp_path/"false.zip", ("big", bytes(5_000_000)))
    content = archive.read_bytes()
    archive.write_bytes(content.replace((5_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(AttiqaError, match="cannot be unpacked"): unpack(archive, tmp_path/"home")
    assert all_names(tmp_path/"home") == []

@pytest.mark.parametrize("make, name", [(make_tar, "a.tgz"), (make_zip, "a.zip")])
def test_damaged_archives(tmp_path, make, name):
    archive = make(tmp_path/name, ("a.bin", CONTENT[:50_000]), ("b.bin", CONTENT[50_000:]))
    content = archive.read_bytes()
    for bad in (content[:1000], content[:60_000], content[:30_000] + bytes(100) + content[30_100:], b""):
        archive.write_bytes(bad)
        with pytest.raises(AttiqaError, match="cannot be unpacked|neither zip nor tar") as found:
            unpack(archive, tmp_path/"home")
        assert "\n" not in str(found.value)
        assert all_names(tmp_path/"home") == []

def test_unpacking_merges_and_replaces(tmp_path):
    unpack(make_tar(tmp_path/"a.tgz", ("x/a.txt", b"old"), ("x/b.txt", b"b")), tmp_path/"home")
    unpack(make_zip(tmp_path/"a.zip", ("x/a.txt", b"new"), ("y/c.txt", b"c")), tmp_path/"home")
    texts = {path.name: path.read_text() for path in (tmp_path/"home").rglob("*.txt")}
    assert texts == {"a.txt": "new", "b.txt": "b", "c.txt": "c"}
