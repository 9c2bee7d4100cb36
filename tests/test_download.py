"Downloads over a bad line, from a server on this machine, and archives that mean harm."
import dataclasses, hashlib, io, os, signal, stat, subprocess, sys, tarfile, threading, time, zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import numpy as np, pandas as pd, pytest
from conftest import ROOT
from releases import MINIS
from attiqa import readers
from attiqa.core import AttiqaError, file_hash, read_json
from attiqa.download import BLOCK, FLOOR, SOURCES, Source, fetch, fetch_release, main, unpack
from attiqa.readers import RELEASES

CONTENT = np.random.default_rng(0).bytes(700_001)
QUICK = dict(wait=.01, attempts=3, timeout=20)

class Server(ThreadingHTTPServer):
    "Serves `files` (path to bytes); `faults` (path to a function of the handler) come first."
    daemon_threads = True
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.asked, self.sent, self.tag, self.ranges = {}, {}, [], 0, '"one"', True
        threading.Thread(target=self.serve_forever, daemon=True).start()
    def address(self, path): return f"http://127.0.0.1:{self.server_port}/{path}"
    def ranges_asked(self): return [headers.get("Range") for _, headers in self.asked]

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *words): pass
    def do_GET(self):
        server, path = self.server, self.path.lstrip("/")
        server.asked.append((path, dict(self.headers)))
        if path in server.faults and server.faults[path](self): return
        if path not in server.files: return self.reply(404, b"not here", {"Content-Type": "text/plain"})
        self.give(server.files[path])
    def give(self, content, stop=None, pause=0):
        "The file, or what is asked of it; `stop` bytes only and the line is cut."
        start, fresh = 0, self.headers.get("If-Range") in (None, self.server.tag)
        if self.server.ranges and fresh and (span := self.headers.get("Range")): start = int(span.removeprefix("bytes=").rstrip("-"))
        if start >= len(content) and start: return self.reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        headers = {"ETag": self.server.tag} | ({"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {})
        self.reply(206 if start else 200, content[start:], headers, stop, pause)
    def reply(self, status, body, headers=(), stop=None, pause=0):
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body)), "Content-Type": "application/octet-stream"} | dict(headers)).items(): self.send_header(name, value)
        self.end_headers()
        body = body[:stop]
        for at in range(0, len(body), 1 << 15):
            if pause: time.sleep(pause)
            try: self.wfile.write(body[at:at + (1 << 15)]); self.server.sent += len(body[at:at + (1 << 15)])
            except OSError: return
        if stop is not None: self.close_connection = True

@pytest.fixture
def server():
    found = Server()
    found.files["file.zip"] = CONTENT
    yield found
    found.shutdown(); found.server_close()

def times(count, act): # a fault that happens so often
    left = [count]
    def fault(handler):
        if not left[0]: return False
        left[0] -= 1
        act(handler)
        return True
    return fault

def test_whole_file(server, tmp_path):
    path = fetch(server.address("file.zip"), tmp_path/"deep"/"file.zip", **QUICK)
    assert path.read_bytes() == CONTENT and [p.name for p in path.parent.iterdir()] == ["file.zip"]
    assert server.ranges_asked() == [None] and server.asked[0][1]["Accept-Encoding"] == "identity"

def test_cut_connection_goes_on(server, tmp_path):
    server.faults["file.zip"] = times(4, lambda h: h.give(CONTENT, stop=6*BLOCK))
    assert fetch(server.address("file.zip"), tmp_path/"file.zip", **QUICK).read_bytes() == CONTENT
    assert server.ranges_asked() == [None, *(f"bytes={n*6*BLOCK}-" for n in (1, 2, 3, 4))] # more cuts than attempts, but each brought something
    assert server.sent == len(CONTENT), "nothing was sent twice"

def test_killed_process_goes_on(server, tmp_path):
    server.faults["file.zip"] = times(1, lambda h: h.give(CONTENT, pause=.2))
    code = f"from attiqa.download import fetch; fetch({server.address('file.zip')!r}, {str(tmp_path/'file.zip')!r})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=os.environ | dict(PYTHONPATH=str(ROOT)))
    part, end = tmp_path/".file.zip.part", time.time() + 120
    while not (part.exists() and part.stat().st_size): assert time.time() < end and process.poll() is None; time.sleep(.02)
    process.send_signal(signal.SIGKILL); process.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT) and not (tmp_path/"file.zip").exists()
    assert fetch(server.address("file.zip"), tmp_path/"file.zip", **QUICK).read_bytes() == CONTENT
    assert server.ranges_asked() == [None, f"bytes={kept}-"] and server.asked[1][1]["If-Range"] == '"one"'

def test_server_without_ranges(server, tmp_path):
    server.ranges = False
    server.faults["file.zip"] = times(2, lambda h: h.give(CONTENT, stop=300_000))
    assert fetch(server.address("file.zip"), tmp_path/"file.zip", **QUICK).read_bytes() == CONTENT
    assert server.sent == 600_000 + len(CONTENT) # each time from the beginning

def test_file_that_changed_on_the_server_is_fetched_whole(server, tmp_path):
    def cut(handler): handler.give(CONTENT, stop=300_000); server.tag, server.files["file.zip"] = '"two"', CONTENT[::-1]
    server.faults["file.zip"] = times(1, cut)
    assert fetch(server.address("file.zip"), tmp_path/"file.zip", **QUICK).read_bytes() == CONTENT[::-1]

def test_what_is_complete_is_not_asked_for_again(server, tmp_path):
    (tmp_path/".file.zip.part").write_bytes(CONTENT)
    (tmp_path/".file.zip.json").write_text(f'{{"address": "{server.address("file.zip")}", "version": "\\"one\\"", "size": {len(CONTENT)}}}')
    assert fetch(server.address("file.zip"), tmp_path/"file.zip", **QUICK).read_bytes() == CONTENT and server.sent == 0

def test_part_of_another_address_is_not_gone_on_with(server, tmp_path):
    (tmp_path/".file.zip.part").write_bytes(b"something else")
    (tmp_path/".file.zip.json").write_text('{"address": "http://elsewhere/file.zip", "version": "", "size": 99}')
    assert fetch(server.address("file.zip"), tmp_path/"file.zip", **QUICK).read_bytes() == CONTENT

def test_busy_server_is_asked_again(server, tmp_path):
    server.faults["file.zip"] = times(2, lambda h: h.reply(503, b"", {"Retry-After": "0"}))
    assert fetch(server.address("file.zip"), tmp_path/"file.zip", **QUICK).read_bytes() == CONTENT and len(server.asked) == 3

def test_giving_up_keeps_what_came(server, tmp_path):
    silent = lambda h: h.give(CONTENT, stop=0) if h.headers.get("Range") else h.give(CONTENT, stop=3*BLOCK + 99)
    server.faults["file.zip"] = times(99, silent)
    with pytest.raises(AttiqaError, match="3 attempts in a row brought nothing .*; what came is kept") as found: fetch(server.address("file.zip"), tmp_path/"file.zip", **QUICK)
    assert "\n" not in str(found.value) and (tmp_path/".file.zip.part").stat().st_size == 3*BLOCK and not (tmp_path/"file.zip").exists()
    server.faults.clear()
    assert fetch(server.address("file.zip"), tmp_path/"file.zip", **QUICK).read_bytes() == CONTENT and server.ranges_asked()[-1] == f"bytes={3*BLOCK}-"

def test_refusals(server, tmp_path):
    get = lambda path: fetch(server.address(path), tmp_path/"file.zip", **QUICK)
    server.files["login"] = b"<html>"
    server.faults["login"] = lambda h: h.reply(200, b"<html>", {"Content-Type": "text/html; charset=utf-8"}) or True
    server.faults["huge"] = lambda h: h.reply(200, b"x"*10, {"Content-Length": str(10**18)}, stop=10) or True
    for path, says in dict(nowhere="the server answers 404", login="answers with a web page", huge="are free").items():
        with pytest.raises(AttiqaError, match=says): get(path)
    with pytest.raises(AttiqaError, match="attempts in a row brought nothing"): fetch("http://127.0.0.1:9/x.zip", tmp_path/"x.zip", **QUICK)
    assert not (tmp_path/"file.zip").exists()

# archives

def tar_of(path, *members): # (name, what): bytes, or a tar type with a target
    with tarfile.open(path, "w:gz") as tar:
        for name, what in members:
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes): info.size = len(what); tar.addfile(info, io.BytesIO(what))
            else: info.type, info.linkname = what; tar.addfile(info)
    return path

def zip_of(path, *members): # (name, what): bytes; a link is bytes with the mode of one
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, what in members:
            info = zipfile.ZipInfo(name)
            if not isinstance(what, bytes): info.external_attr, what = (stat.S_IFLNK | 0o777) << 16, what[1].encode()
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, what)
    return path

def everything(folder): return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))

@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize("member, says", [
    (("../evil.txt", b"x"), "leads out"), (("a/../../evil.txt", b"x"), "leads out"), (("/tmp/attiqa_evil.txt", b"x"), "leads out"), (("//tmp/evil", b"x"), "leads out"),
    (("C:\\evil.txt", b"x"), "leads out"), (("..\\evil.txt", b"x"), "leads out"), (("in", (tarfile.SYMTYPE, "../outside")), "is a link"),
    (("in", (tarfile.SYMTYPE, "/etc/passwd")), "is a link"), (("big", bytes(FLOOR + 1)), "refused as a bomb")])
def test_harm_is_refused_and_leaves_nothing(tmp_path, make, member, says):
    home, outside = tmp_path/"inside"/"home", tmp_path/"outside"
    home.mkdir(parents=True); outside.mkdir(); (home/"mine.txt").write_text("mine")
    archive = make(tmp_path/"archive", ("fine.txt", b"fine"), member)
    with pytest.raises(AttiqaError, match=says): unpack(archive, home)
    assert everything(tmp_path) == ["archive", "inside", "inside/home", "inside/home/mine.txt", "outside"] and not Path("/tmp/attiqa_evil.txt").exists()

@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_tar_with_links_and_devices(tmp_path, kind):
    with pytest.raises(AttiqaError, match="is a link or a device"): unpack(tar_of(tmp_path/"a.tgz", ("in", (kind, "/etc/passwd"))), tmp_path/"home")
    assert everything(tmp_path/"home") == []

def test_a_link_does_not_carry_what_follows_out(tmp_path):
    archive = tar_of(tmp_path/"a.tgz", ("door", (tarfile.SYMTYPE, str(tmp_path))), ("door/evil.txt", b"x"))
    with pytest.raises(AttiqaError, match="is a link"): unpack(archive, tmp_path/"home")
    assert not (tmp_path/"evil.txt").exists()

def test_zip_bomb_of_many_files(tmp_path):
    archive = zip_of(tmp_path/"bomb.zip", *((f"{i}", bytes(FLOOR//8)) for i in range(12)))
    assert archive.stat().st_size < 200_000
    began = time.time()
    with pytest.raises(AttiqaError, match="refused as a bomb"): unpack(archive, tmp_path/"home")
    assert everything(tmp_path/"home") == [] and time.time() - began < 30

def test_zip_that_lies_about_its_sizes(tmp_path):
    archive = zip_of(tmp_path/"liar.zip", ("big", bytes(5_000_000)))
    content = archive.read_bytes()
    archive.write_bytes(content.replace((5_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(AttiqaError, match="cannot be unpacked"): unpack(archive, tmp_path/"home")
    assert everything(tmp_path/"home") == []

@pytest.mark.parametrize("make, name", [(tar_of, "a.tgz"), (zip_of, "a.zip")])
def test_damaged_archives(tmp_path, make, name):
    archive = make(tmp_path/name, ("a.bin", CONTENT[:50_000]), ("b.bin", CONTENT[50_000:90_000]))
    content = archive.read_bytes()
    for bad in (content[:1000], content[:60_000], content[:30_000] + bytes(100) + content[30_100:], b""):
        archive.write_bytes(bad)
        with pytest.raises(AttiqaError, match="cannot be unpacked|neither zip nor tar") as found: unpack(archive, tmp_path/"home")
        assert "\n" not in str(found.value) and everything(tmp_path/"home") == []

def test_unpacking_merges_and_replaces(tmp_path):
    unpack(tar_of(tmp_path/"a.tgz", ("x/a.txt", b"old"), ("x/b.txt", b"b")), tmp_path/"home")
    unpack(zip_of(tmp_path/"a.zip", ("x/a.txt", b"new"), ("y/c.txt", b"c")), tmp_path/"home")
    assert {p.name: p.read_text() for p in (tmp_path/"home").rglob("*.txt")} == {"a.txt": "new", "b.txt": "b", "c.txt": "c"}

# releases

def zipped(folder, names): # bytes of a zip of those files below a folder
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name in names: packed.write(folder/name, name)
    return buffer.getvalue()

@pytest.fixture
def koniq(server, tmp_path, monkeypatch):
    "KonIQ-10k in miniature, served in its four pieces from server/mirror/; it is said to be whole."
    mini = MINIS["koniq10k"]()
    monkeypatch.setitem(readers.RELEASES, "koniq10k", dataclasses.replace(RELEASES["koniq10k"], images=len(mini.images)))
    made = mini.write(tmp_path/"made")
    del server.files["file.zip"]
    server.files |= {"mirror/koniq10k_1024x768.zip": zipped(made, mini.images),
                     "mirror/koniq10k_scores_and_distributions.zip": zipped(made, ["koniq10k_scores_and_distributions.csv"]),
                     "mirror/koniq10k_indicators.zip": zipped(made, ["koniq10k_indicators.csv"]),
                     "mirror/koniq10k_distributions_sets.csv": (made/"koniq10k_distributions_sets.csv").read_bytes()}
    return mini

def with_digests(monkeypatch, server, key, wrong=""): # the source's files are served here and have stated hashes; `wrong` has a false one
    pieces = [dataclasses.replace(p, address=server.address(f"mirror/{p.file}"), digest="sha256:" + ("0"*64 if p.file == wrong else
              hashlib.sha256(server.files[f"mirror/{p.file}"]).hexdigest())) for p in SOURCES[key].pieces]
    monkeypatch.setitem(SOURCES, key, Source(tuple(pieces)))

def test_release_from_a_mirror(server, koniq, tmp_path):
    said = []
    table = fetch_release("koniq10k", tmp_path/"data", [server.address("mirror")], say=said.append, **QUICK)
    np.testing.assert_allclose(table.mos, koniq.mos); assert list(table.split) == koniq.expected["split"]
    index, record = pd.read_parquet(tmp_path/"data"/"index.parquet"), read_json(tmp_path/"data"/"release.json")
    assert list(index.image) == koniq.images and list(index.hash) == [file_hash(tmp_path/"data"/n) for n in koniq.images] and "noisiness" not in index
    assert record["images"] == 8 and record["terms"] == RELEASES["koniq10k"].terms and len(record["archives"]) == 4
    assert any("recorded: the release states none" in line for line in said)
    asked = len(server.asked)
    fetch_release("koniq10k", tmp_path/"data", [server.address("mirror")], say=said.append, **QUICK) # it is there
    assert len(server.asked) == asked

def test_stated_hashes_hold(server, koniq, tmp_path, monkeypatch):
    with_digests(monkeypatch, server, "koniq10k")
    said = []
    fetch_release("koniq10k", tmp_path/"data", say=said.append, **QUICK)
    assert sum("sha256 as stated" in line for line in said) == 4

def test_wrong_hash_is_removed_and_the_next_address_asked(server, koniq, tmp_path, monkeypatch):
    with_digests(monkeypatch, server, "koniq10k")
    server.files["bad/koniq10k_indicators.zip"] = b"PK not this"
    fetch_release("koniq10k", tmp_path/"data", [server.address("bad")], say=lambda line: None, **QUICK)
    with_digests(monkeypatch, server, "koniq10k", wrong="koniq10k_1024x768.zip")
    with pytest.raises(AttiqaError, match="its sha256 is [0-9a-f]{64}, the release states 0{64}"): fetch_release("koniq10k", tmp_path/"more", say=lambda line: None, **QUICK)
    assert not (tmp_path/"more"/".archives"/"koniq10k_1024x768.zip").exists() and [p.name for p in (tmp_path/"more").iterdir()] == [".archives"] # nothing was unpacked

def test_a_later_download_must_equal_the_first(server, koniq, tmp_path):
    fetch_release("koniq10k", tmp_path/"data", [server.address("mirror")], say=lambda line: None, **QUICK)
    (tmp_path/"data"/".archives"/"koniq10k_indicators.zip").unlink(); (tmp_path/"data"/koniq.images[0]).unlink()
    server.files["mirror/koniq10k_indicators.zip"] += b"changed"
    with pytest.raises(AttiqaError, match="that of the first download was"): fetch_release("koniq10k", tmp_path/"data", [server.address("mirror")], say=lambda line: None, **QUICK)

def test_a_broken_copy_is_completed_from_the_archives(server, koniq, tmp_path):
    fetch_release("koniq10k", tmp_path/"data", [server.address("mirror")], say=lambda line: None, **QUICK)
    (tmp_path/"data"/koniq.images[3]).unlink(); asked, said = len(server.asked), []
    assert len(fetch_release("koniq10k", tmp_path/"data", [server.address("mirror")], say=said.append, **QUICK)) == 8
    assert len(server.asked) == asked and any("not whole: " in line and koniq.images[3] in line for line in said)

def test_files_that_belong_into_a_folder(server, tmp_path, monkeypatch):
    mini = MINIS["csiq"]()
    monkeypatch.setitem(readers.RELEASES, "csiq", dataclasses.replace(RELEASES["csiq"], images=8))
    made = mini.write(tmp_path/"made")
    server.files |= {"dst_imgs.zip": zipped(made/"dst_imgs", [n.removeprefix("dst_imgs/") for n in mini.images]), "csiq.DMOS.xlsx": (made/"csiq.DMOS.xlsx").read_bytes()}
    table = fetch_release("csiq", tmp_path/"data", [server.address("")], remove=True, say=lambda line: None, **QUICK)
    assert [Path(f).relative_to(tmp_path/"data").as_posix() for f in table.image] == mini.images and not (tmp_path/"data"/".archives").exists()

@pytest.mark.parametrize("key", [key for key in MINIS if key != "live"])
def test_archive_placed_by_hand(key, tmp_path, monkeypatch, capsys):
    "Every script takes an archive that a person fetched, verifies it by the reader and indexes it."
    mini = MINIS[key]()
    monkeypatch.setitem(readers.RELEASES, key, dataclasses.replace(RELEASES[key], images=len(mini.images)))
    made = mini.write(tmp_path/"made")
    archive = tmp_path/"by_hand.zip"
    archive.write_bytes(zipped(made, [p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()]))
    assert main(key, [str(tmp_path/"data"), "--archive", str(archive), "--decode"]) == 0
    said = capsys.readouterr().out
    assert f"{RELEASES[key].name}: {len(mini.images)} images" in said and "please cite" in said
    assert len(pd.read_parquet(tmp_path/"data"/"index.parquet")) == len(mini.images)

def test_broken_releases_end_with_one_line(tmp_path, monkeypatch, capsys):
    mini = MINIS["tid2013"]()
    monkeypatch.setitem(readers.RELEASES, "tid2013", dataclasses.replace(RELEASES["tid2013"], images=8))
    folder = mini.write(tmp_path/"data")
    content = (folder/mini.images[2]).read_bytes()
    (folder/mini.images[2]).write_bytes(content[:50])
    assert main("tid2013", [str(folder)]) == 0 and main("tid2013", [str(folder), "--decode"]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and list(pd.read_parquet(folder/"problems.parquet").image) == [str((folder/mini.images[2]).absolute())]
    mini = MINIS["clive"]()
    monkeypatch.setitem(readers.RELEASES, "clive", dataclasses.replace(RELEASES["clive"], images=8))
    folder = mini.write(tmp_path/"clive"); (folder/mini.images[0]).unlink()
    assert main("clive", [str(folder)]) == 2 and "1 of 8 images are missing: Images/3.bmp" in capsys.readouterr().err # what is wrong, not where to ask
    assert main("clive", [str(tmp_path/"new")]) == 2 and "sent on request: fill in the form" in capsys.readouterr().err
    assert main("clive", [str(tmp_path/"new"), "--archive", str(tmp_path/"nothing.zip")]) == 2

def test_imagenet_style_folders(tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "imagenet", dataclasses.replace(SOURCES["imagenet"], pieces=())) # without ImageNet's own hashes
    mini = MINIS["tid2013"](); made = mini.write(tmp_path/"made")
    inner = [(f"n0{i}.tar", tar_of(tmp_path/"inner.tar", *((f"n0{i}_{k}.bmp", (made/mini.images[3*i + k]).read_bytes()) for k in range(3))).read_bytes()) for i in range(2)]
    archive = tar_of(tmp_path/"train.tar", *inner)
    assert main("imagenet", [str(tmp_path/"data"), "--archive", str(archive)]) == 0
    index = pd.read_parquet(tmp_path/"data"/"index.parquet")
    assert list(index.image) == [f"n0{i}/n0{i}_{k}.bmp" for i in range(2) for k in range(3)] and list(index.split) == ["n00"]*3 + ["n01"]*3

def test_imagenet_archives_have_stated_hashes(tmp_path):
    archive = tar_of(tmp_path/"ILSVRC2012_img_val.tar", ("a.JPEG", b"x"))
    with pytest.raises(AttiqaError, match="the release states 29b22e2961454d5413ddabcf34fc5622"): fetch_release("imagenet", tmp_path/"data", archives=[str(archive)])

@pytest.mark.parametrize("key", SOURCES)
def test_scripts(key, capsys):
    script = ROOT/"data_scripts"/f"{key}.py"
    assert f'main("{key}")' in script.read_text() and f"`{key}.py`" in (ROOT/"data_scripts"/"README.md").read_text()
    with pytest.raises(SystemExit) as end: main(key, ["--help"])
    assert end.value.code == 0 and "--archive FILE" in capsys.readouterr().out

def test_a_script_runs(tmp_path):
    done = subprocess.run([sys.executable, str(ROOT/"data_scripts"/"ava.py"), str(tmp_path)], capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=str(ROOT)))
    assert done.returncode == 2 and "torrent" in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
