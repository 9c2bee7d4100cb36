"Downloads over a bad connection from a local server, and whole releases."
import dataclasses, hashlib, io, os, signal, subprocess, sys, threading, time, zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import numpy as np, pandas as pd, pytest
from conftest import ROOT
from releases import MINIS
from test_unpack import make_tar
from attiqa import readers
from attiqa.core import AttiqaError, file_hash, read_json, write_json
from attiqa.download import BLOCK_BYTES, SOURCES, ReleaseSource, fetch, fetch_release, run_script
from attiqa.readers import RELEASES

CONTENT = np.random.default_rng(0).bytes(700_001)
QUICK = dict(wait=.01, attempts=3, timeout=20)
SILENT = QUICK | dict(report=lambda line: None)

class Server(ThreadingHTTPServer):
    "Serves `files` (path to bytes); `faults` (path to a function of the handler) come first."
    daemon_threads = True
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.requests = {}, {}, []
        self.sent, self.tag, self.ranges = 0, '"one"', True
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def address(self, path): return f"http://127.0.0.1:{self.server_port}/{path}"

    def requested_ranges(self): return [headers.get("Range") for _, headers in self.requests]

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *words): pass

    def do_GET(self):
        server, path = self.server, self.path.lstrip("/")
        server.requests.append((path, dict(self.headers)))
        if path in server.faults and server.faults[path](self): return
        if path in server.files: self.give(server.files[path])
        else: self.reply(404, b"not here", {"Content-Type": "text/plain"})

    def start_of(self):
        "The first byte that the request asks for."
        span = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, self.server.tag)
        return int(span.removeprefix("bytes=").rstrip("-")) if span and same and self.server.ranges else 0

    def give(self, content, stop=None, pause=0):
        "The file, or the requested range; `stop` cuts the connection after so many bytes."
        start = self.start_of()
        if start and start >= len(content):
            return self.reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        headers = {"ETag": self.server.tag}
        if start: headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.reply(206 if start else 200, content[start:], headers, stop, pause)

    def reply(self, status, body, headers=(), stop=None, pause=0):
        self.send_response(status)
        every = {"Content-Length": str(len(body)), "Content-Type": "application/octet-stream"} | dict(headers)
        for name, value in every.items(): self.send_header(name, value)
        self.end_headers()
        self.send_body(body[:stop], pause)
        if stop is not None: self.close_connection = True

    def send_body(self, body, pause, block=1 << 15):
        for at in range(0, len(body), block):
            if pause: time.sleep(pause)
            try: self.wfile.write(body[at:at + block])
            except OSError: return
            self.server.sent += len(body[at:at + block])

@pytest.fixture
def server():
    found = Server()
    found.files["file.zip"] = CONTENT
    yield found
    found.shutdown()
    found.server_close()

@pytest.fixture
def get(server, tmp_path):
    "Fetches the server's file and gives its bytes."
    return lambda: fetch(server.address("file.zip"), tmp_path/"file.zip", **QUICK).read_bytes()

def times(count, act):
    "A fault that happens so often."
    remaining = [count]
    def fault(handler):
        if not remaining[0]: return False
        remaining[0] -= 1
        act(handler)
        return True
    return fault

def test_whole_file(server, tmp_path):
    path = fetch(server.address("file.zip"), tmp_path/"deep"/"file.zip", **QUICK)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["file.zip"]
    assert server.requested_ranges() == [None]
    assert server.requests[0][1]["Accept-Encoding"] == "identity"

def test_a_cut_connection_resumes(server, get):
    "There are more cuts than attempts, but each brings bytes."
    server.faults["file.zip"] = times(4, lambda h: h.give(CONTENT, stop=6*BLOCK_BYTES))
    assert get() == CONTENT
    assert server.requested_ranges() == [None, *(f"bytes={n*6*BLOCK_BYTES}-" for n in (1, 2, 3, 4))]
    assert server.sent == len(CONTENT), "nothing was sent twice"

def test_a_killed_process_resumes(server, get, tmp_path):
    server.faults["file.zip"] = times(1, lambda h: h.give(CONTENT, pause=.2))
    address, path = server.address("file.zip"), str(tmp_path/"file.zip")
    code = f"from attiqa.download import fetch; fetch({address!r}, {path!r})"
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env)
    part, end = tmp_path/".file.zip.part", time.time() + 120
    while not (part.exists() and part.stat().st_size):
        assert time.time() < end and process.poll() is None
        time.sleep(.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    received = part.stat().st_size
    assert 0 < received < len(CONTENT) and not (tmp_path/"file.zip").exists()
    assert get() == CONTENT
    assert server.requested_ranges() == [None, f"bytes={received}-"]
    assert server.requests[1][1]["If-Range"] == '"one"'

def test_a_server_without_ranges_sends_the_whole_file_again(server, get):
    server.ranges = False
    server.faults["file.zip"] = times(2, lambda h: h.give(CONTENT, stop=300_000))
    assert get() == CONTENT
    assert server.sent == 600_000 + len(CONTENT)

def test_a_file_that_changed_on_the_server_is_fetched_whole(server, get):
    def cut(handler):
        handler.give(CONTENT, stop=300_000)
        server.tag, server.files["file.zip"] = '"two"', CONTENT[::-1]
    server.faults["file.zip"] = times(1, cut)
    assert get() == CONTENT[::-1]

def test_a_complete_file_is_not_sent_again(server, get, tmp_path):
    (tmp_path/".file.zip.part").write_bytes(CONTENT)
    note = dict(address=server.address("file.zip"), version='"one"', size=len(CONTENT))
    write_json(tmp_path/".file.zip.json", note)
    assert get() == CONTENT
    assert server.sent == 0

def test_a_part_of_another_address_is_not_resumed(get, tmp_path):
    (tmp_path/".file.zip.part").write_bytes(b"something else")
    write_json(tmp_path/".file.zip.json", dict(address="http://elsewhere/file.zip", version="", size=99))
    assert get() == CONTENT

def test_a_busy_server_is_retried(server, get):
    server.faults["file.zip"] = times(2, lambda h: h.reply(503, b"", {"Retry-After": "0"}))
    assert get() == CONTENT
    assert len(server.requests) == 3

def test_giving_up_keeps_the_received_bytes(server, get, tmp_path):
    received = 3*BLOCK_BYTES
    stall = lambda h: h.give(CONTENT, stop=0 if h.headers.get("Range") else received + 99)
    server.faults["file.zip"] = times(99, stall)
    reason = "3 attempts in a row brought nothing .*; what came is kept"
    with pytest.raises(AttiqaError, match=reason) as found: get()
    assert "\n" not in str(found.value)
    assert (tmp_path/".file.zip.part").stat().st_size == received and not (tmp_path/"file.zip").exists()
    server.faults.clear()
    assert get() == CONTENT
    assert server.requested_ranges()[-1] == f"bytes={received}-"

def test_refused_answers(server, tmp_path):
    page = {"Content-Type": "text/html; charset=utf-8"}
    server.faults["login"] = lambda h: h.reply(200, b"<html>", page) or True
    server.faults["huge"] = lambda h: h.reply(200, b"x"*10, {"Content-Length": str(10**18)}, stop=10) or True
    reasons = dict(nowhere="the server answers 404", login="answers with a web page", huge="are free")
    for path, reason in reasons.items():
        with pytest.raises(AttiqaError, match=reason):
            fetch(server.address(path), tmp_path/"file.zip", **QUICK)
    with pytest.raises(AttiqaError, match="attempts in a row brought nothing"):
        fetch("http://127.0.0.1:9/x.zip", tmp_path/"x.zip", **QUICK)
    assert not (tmp_path/"file.zip").exists()

# releases

def zipped(folder, names):
    "Bytes of a zip of those files below a folder."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name in names: packed.write(folder/name, name)
    return buffer.getvalue()

def small(monkeypatch, key, tmp_path):
    "A release in miniature, which counts as whole, and its folder."
    mini = MINIS[key]()
    facts = dataclasses.replace(RELEASES[key], images=len(mini.images))
    monkeypatch.setitem(readers.RELEASES, key, facts)
    return mini, mini.write(tmp_path)

@pytest.fixture
def koniq(server, tmp_path, monkeypatch):
    "KonIQ-10k in miniature, served in its four files from server/mirror/."
    mini, made = small(monkeypatch, "koniq10k", tmp_path/"made")
    tables = ("scores_and_distributions", "indicators", "distributions_sets")
    csv = [f"koniq10k_{name}.csv" for name in tables]
    files = {"koniq10k_1024x768.zip": zipped(made, mini.images), csv[2]: (made/csv[2]).read_bytes()}
    files |= {name.replace(".csv", ".zip"): zipped(made, [name]) for name in csv[:2]}
    server.files = {f"mirror/{name}": content for name, content in files.items()}
    return mini

@pytest.fixture
def fetch_koniq(server, koniq, tmp_path):
    "Fetches the small KonIQ-10k into tmp_path/data."
    def fetched(report=lambda line: None, mirror="mirror"):
        mirrors = [server.address(mirror)] if mirror else []
        return fetch_release("koniq10k", tmp_path/"data", mirrors, report=report, **QUICK)
    return fetched

def state_hashes(monkeypatch, server, key, wrong=""):
    "The source's files are served here and have stated hashes; that of `wrong` is false."
    def stated(file):
        found = hashlib.sha256(server.files[f"mirror/{file.file}"]).hexdigest()
        digest = "0"*64 if file.file == wrong else found
        address = server.address(f"mirror/{file.file}")
        return dataclasses.replace(file, address=address, digest=f"sha256:{digest}")
    monkeypatch.setitem(SOURCES, key, ReleaseSource(tuple(map(stated, SOURCES[key].files))))

def test_release_from_a_mirror(koniq, fetch_koniq, tmp_path):
    lines, data = [], tmp_path/"data"
    table = fetch_koniq(lines.append)
    np.testing.assert_allclose(table.mos, koniq.mos)
    assert list(table.split) == koniq.expected["split"]
    index = pd.read_parquet(data/"index.parquet")
    assert list(index.image) == koniq.images and "noisiness" not in index
    assert list(index.hash) == [file_hash(data/name) for name in koniq.images]
    record = read_json(data/"release.json")
    assert record["images"] == 8 and len(record["archives"]) == 4
    assert record["terms"] == RELEASES["koniq10k"].terms
    assert any("recorded: the release states none" in line for line in lines)

def test_a_release_on_disk_is_not_fetched(server, fetch_koniq):
    fetch_koniq()
    count = len(server.requests)
    fetch_koniq()
    assert len(server.requests) == count

def test_stated_hashes_hold(server, fetch_koniq, monkeypatch):
    state_hashes(monkeypatch, server, "koniq10k")
    lines = []
    fetch_koniq(lines.append, mirror="")
    assert sum("sha256 as stated" in line for line in lines) == 4

def test_a_file_with_a_wrong_hash_comes_from_the_next_address(server, fetch_koniq, monkeypatch):
    state_hashes(monkeypatch, server, "koniq10k")
    server.files["bad/koniq10k_indicators.zip"] = b"PK not this"
    fetch_koniq(mirror="bad")

def test_a_file_with_a_wrong_hash_is_removed(server, koniq, tmp_path, monkeypatch):
    state_hashes(monkeypatch, server, "koniq10k", wrong="koniq10k_1024x768.zip")
    with pytest.raises(AttiqaError, match="its sha256 is [0-9a-f]{64}, the release states 0{64}"):
        fetch_release("koniq10k", tmp_path/"more", **SILENT)
    assert not (tmp_path/"more"/".archives"/"koniq10k_1024x768.zip").exists()
    assert [path.name for path in (tmp_path/"more").iterdir()] == [".archives"], "nothing was unpacked"

def test_a_later_download_must_equal_the_first(server, koniq, fetch_koniq, tmp_path):
    fetch_koniq()
    (tmp_path/"data"/".archives"/"koniq10k_indicators.zip").unlink()
    (tmp_path/"data"/koniq.images[0]).unlink()
    server.files["mirror/koniq10k_indicators.zip"] += b"changed"
    with pytest.raises(AttiqaError, match="that of the first download was"): fetch_koniq()

def test_a_broken_copy_is_completed_from_the_archives(server, koniq, fetch_koniq, tmp_path):
    fetch_koniq()
    (tmp_path/"data"/koniq.images[3]).unlink()
    count, lines = len(server.requests), []
    assert len(fetch_koniq(lines.append)) == 8
    assert len(server.requests) == count
    assert any("not whole: " in line and koniq.images[3] in line for line in lines)

def test_files_that_belong_into_a_folder(server, tmp_path, monkeypatch):
    mini, made = small(monkeypatch, "csiq", tmp_path/"made")
    names = [name.removeprefix("dst_imgs/") for name in mini.images]
    server.files |= {"dst_imgs.zip": zipped(made/"dst_imgs", names)}
    server.files |= {"csiq.DMOS.xlsx": (made/"csiq.DMOS.xlsx").read_bytes()}
    data = tmp_path/"data"
    table = fetch_release("csiq", data, [server.address("")], remove_archives=True, **SILENT)
    assert [Path(file).relative_to(data).as_posix() for file in table.image] == mini.images
    assert not (data/".archives").exists()

@pytest.mark.parametrize("key", [key for key in MINIS if key != "live"])
def test_archive_placed_by_hand(key, tmp_path, monkeypatch, capsys):
    "Every script takes an archive that a person fetched, verifies it by the reader and indexes it."
    mini, made = small(monkeypatch, key, tmp_path/"made")
    archive = tmp_path/"by_hand.zip"
    names = [path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()]
    archive.write_bytes(zipped(made, names))
    assert run_script(key, [str(tmp_path/"data"), "--archive", str(archive), "--decode"]) == 0
    text = capsys.readouterr().out
    assert f"{RELEASES[key].name}: {len(mini.images)} images" in text and "please cite" in text
    assert len(pd.read_parquet(tmp_path/"data"/"index.parquet")) == len(mini.images)

def test_an_unreadable_image_ends_with_one_line(tmp_path, monkeypatch, capsys):
    mini, folder = small(monkeypatch, "tid2013", tmp_path/"data")
    image = folder/mini.images[2]
    image.write_bytes(image.read_bytes()[:50])
    assert run_script("tid2013", [str(folder)]) == 0
    assert run_script("tid2013", [str(folder), "--decode"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(pd.read_parquet(folder/"problems.parquet").image) == [str(image.absolute())]

def test_a_missing_image_is_named(tmp_path, monkeypatch, capsys):
    mini, folder = small(monkeypatch, "clive", tmp_path/"clive")
    (folder/mini.images[0]).unlink()
    assert run_script("clive", [str(folder)]) == 2
    assert "1 of 8 images are missing: Images/3.bmp" in capsys.readouterr().err

def test_a_release_on_request_names_where_to_ask(tmp_path, capsys):
    assert run_script("clive", [str(tmp_path/"new")]) == 2
    assert "sent on request: fill in the form" in capsys.readouterr().err
    assert run_script("clive", [str(tmp_path/"new"), "--archive", str(tmp_path/"nothing.zip")]) == 2

def test_imagenet_style_folders(tmp_path, monkeypatch):
    without_hashes = dataclasses.replace(SOURCES["imagenet"], files=())
    monkeypatch.setitem(SOURCES, "imagenet", without_hashes)
    mini = MINIS["tid2013"]()
    made = mini.write(tmp_path/"made")
    def inner(i): # the archive of one class
        members = [(f"n0{i}_{k}.bmp", (made/mini.images[3*i + k]).read_bytes()) for k in range(3)]
        return make_tar(tmp_path/"inner.tar", *members).read_bytes()
    archive = make_tar(tmp_path/"train.tar", *((f"n0{i}.tar", inner(i)) for i in range(2)))
    assert run_script("imagenet", [str(tmp_path/"data"), "--archive", str(archive)]) == 0
    index = pd.read_parquet(tmp_path/"data"/"index.parquet")
    assert list(index.image) == [f"n0{i}/n0{i}_{k}.bmp" for i in range(2) for k in range(3)]
    assert list(index.split) == ["n00"]*3 + ["n01"]*3

def test_imagenet_archives_have_stated_hashes(tmp_path):
    archive = make_tar(tmp_path/"ILSVRC2012_img_val.tar", ("a.JPEG", b"x"))
    with pytest.raises(AttiqaError, match="the release states 29b22e2961454d5413ddabcf34fc5622"):
        fetch_release("imagenet", tmp_path/"data", archives=[str(archive)])

@pytest.mark.parametrize("key", SOURCES)
def test_scripts(key, capsys):
    script = ROOT/"data_scripts"/f"{key}.py"
    assert f'run_script("{key}")' in script.read_text()
    assert f"`{key}.py`" in (ROOT/"data_scripts"/"README.md").read_text()
    with pytest.raises(SystemExit) as end: run_script(key, ["--help"])
    assert end.value.code == 0 and "--archive FILE" in capsys.readouterr().out

def test_a_script_runs(tmp_path):
    command = [sys.executable, str(ROOT/"data_scripts"/"ava.py"), str(tmp_path)]
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 2 and "torrent" in done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
