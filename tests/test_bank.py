"Requests to a language model, against a local server that follows OpenAI's chat protocol well or badly."
import json, threading, time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import pytest
from attiqa.bank import BANK_FILE, add_pairs, ask_model, load_bank, load_candidates, read_answer, request_text
from attiqa.cli import main
from attiqa.core import ATTRIBUTES, AttiqaError

SECRET = "sk-a-secret-that-nobody-may-see"
GOOD = [dict(attribute=a, positive=f"fresh {a}", negative=f"stale {a}", kind="adjective") for a in ATTRIBUTES]
MIXED = [GOOD[0], GOOD[0], dict(GOOD[1], attribute="taste"), dict(GOOD[1], positive="{0}"),
         dict(GOOD[1], negative="Fresh  contrast"), dict(GOOD[1], positive="a\nb"),
         dict(GOOD[1], positive="x"*61), dict(attribute="contrast"), "sharp | blurry", GOOD[1]]
PROXIES = [name for kind in ("http", "https", "all") for name in (f"{kind}_proxy", f"{kind}_proxy".upper())]

def text(entries=GOOD): return json.dumps(dict(pairs=entries))

@dataclass
class Reply:
    "One answer of the server."
    content: str|None = "" # of the message
    status: int = 200
    wait: float = 0 # seconds
    headers: dict = field(default_factory=dict)
    raw: str|None = None # a body in place of the message

    def body(self):
        if self.raw is not None: return self.raw
        error = dict(message=f"no: {SECRET}", type="error", code=None)
        if self.status != 200: return json.dumps(dict(error=error))
        choice = dict(index=0, finish_reason="stop", message=dict(role="assistant", content=self.content))
        return json.dumps(dict(id="1", object="chat.completion", created=1, model="stub", choices=[choice]))

class Handler(BaseHTTPRequestHandler):
    def log_message(self, *words): pass

    def do_POST(self):
        server, length = self.server, int(self.headers["Content-Length"])
        server.requests.append((self.path, self.headers, json.loads(self.rfile.read(length))))
        reply = server.replies[min(len(server.requests), len(server.replies)) - 1]
        server.closing.wait(reply.wait)
        with suppress(OSError): self.send(reply, reply.body().encode()) # the client may be gone

    def send(self, reply, body):
        self.send_response(reply.status)
        headers = reply.headers | {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in headers.items(): self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

@contextmanager
def stub(*replies):
    "Serve the replies in turn, the last one repeatedly; yields the base address and the list of requests."
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.replies, server.requests, server.closing = replies, [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try: yield f"http://127.0.0.1:{server.server_port}/v1", server.requests
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()

@pytest.fixture(autouse=True)
def key(monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    for name in (*PROXIES, "OPENAI_BASE_URL"): monkeypatch.delenv(name, raising=False)

@pytest.fixture
def propose(tmp_path, capsys):
    "Runs the command: exit code, standard error, the written bank or None."
    out = tmp_path/"bank.json"
    def run(*words):
        code = main(["propose", *map(str, words), "--out", str(out)])
        errors = capsys.readouterr().err
        assert SECRET not in errors
        return code, errors, load_bank(out) if out.exists() else None
    return run

@pytest.fixture
def propose_from(propose):
    "Runs the command against a server with these replies: exit code, standard error, bank, requests."
    def run(*replies, model="m"):
        with stub(*replies) as (url, requests): return *propose("--url", url, "--model", model), requests
    return run

def new_pairs(bank): return bank["pairs"][len(load_bank()["pairs"]):]

def test_good_answer(propose_from):
    code, _, bank, requests = propose_from(Reply(text()), model="stub-1")
    assert code == 0 and new_pairs(bank) == [pair | dict(source="stub-1") for pair in GOOD]
    (path, headers, body), = requests
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {SECRET}"
    assert body["model"] == "stub-1" and body["messages"][0]["content"] == request_text(load_bank())

def test_a_larger_bank_has_more_candidates(propose_from, tmp_path):
    propose_from(Reply(text()), model="stub-1")
    more = load_candidates(tmp_path/"bank.json")
    assert len(more) == len(load_candidates()) + len(GOOD)*len(load_bank()["templates"])
    assert "a fresh contrast photo" in set(more.positive)

def test_prose_around_the_json(propose_from):
    prose = f"Of course [see 1]!\n```json\n{text()}\n```\nShall I go on? {{yes}}"
    code, _, bank, _ = propose_from(Reply(prose))
    assert code == 0 and len(new_pairs(bank)) == 5

MALFORMED = [text()[:-3], "I cannot help with that.", '{"pairs": []}', text().replace('"', "'")]

@pytest.mark.parametrize("content", MALFORMED)
def test_malformed_answer(propose_from, content):
    code, errors, bank, _ = propose_from(Reply(content))
    assert (code, bank) == (2, None)
    assert "no JSON list of pairs" in errors and errors.count("\n") == 1

def test_timeout(propose):
    with stub(Reply(text(), wait=30)) as (url, _):
        start = time.monotonic()
        with pytest.raises(AttiqaError, match="did not answer within 0.2 s"):
            ask_model("?", url, "m", timeout=.2, retries=0)
        assert time.monotonic() - start < 20

REFUSALS = [(401, "refused the key in $OPENAI_API_KEY"), (404, "no such model or address"),
            (400, "refused the request")]

@pytest.mark.parametrize("status, words", REFUSALS)
def test_refused(propose_from, status, words):
    code, errors, bank, requests = propose_from(Reply(status=status))
    assert (code, bank, len(requests)) == (2, None, 1)
    assert words in errors and errors.count("\n") == 1

BUSY = Reply(status=429, headers={"retry-after-ms": "10"})

def test_busy_then_good(propose_from):
    code, _, bank, requests = propose_from(BUSY, BUSY, Reply(text()))
    assert code == 0 and len(requests) == 3 and bank

def test_always_busy():
    with stub(BUSY) as (url, requests), pytest.raises(AttiqaError, match="busy or the quota is spent"):
        ask_model("?", url, "m", retries=2)
    assert len(requests) == 3

FOREIGN = [Reply(raw="<html>hello</html>"), Reply(raw="{}"), Reply(raw='{"choices": []}'),
           Reply(content=None)]

@pytest.mark.parametrize("reply", FOREIGN)
def test_not_the_protocol(reply):
    with stub(reply) as (url, _), pytest.raises(AttiqaError) as error: ask_model("?", url, "m", retries=0)
    assert "\n" not in str(error.value) and url in str(error.value)

def test_no_server():
    with stub(Reply()) as (url, _): pass
    with pytest.raises(AttiqaError, match="could not be reached"): ask_model("?", url, "m", retries=0)

def test_no_key(propose, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    code, errors, bank = propose("--url", "http://127.0.0.1:1/v1", "--model", "m")
    assert (code, bank) == (2, None) and "$OPENAI_API_KEY is not set" in errors

REASONS = ("in the bank already", "is not one of", "must be an adjective", "both ends are the same",
           "is a required property", "is not of type 'object'")

def test_refused_entries_of_a_file_are_listed(propose, tmp_path):
    (tmp_path/"answer.txt").write_text(f"Here you are: {text(MIXED)}", encoding="utf-8")
    code, errors, bank = propose("--answer", tmp_path/"answer.txt")
    assert code == 1
    assert [pair["attribute"] for pair in new_pairs(bank)] == ["sharpness", "contrast"]
    assert {pair["source"] for pair in new_pairs(bank)} == {"answer.txt"}
    refused = [line for line in errors.splitlines() if "rejected:" in line]
    assert len(refused) == len(MIXED) - 2
    for reason in REASONS: assert any(reason in line for line in refused), reason

def test_a_pair_in_other_capitals_is_known():
    bank = load_bank()
    entries = [dict(p, positive=p["positive"].upper()) for p in bank["pairs"][:20]]
    same, rejected = add_pairs(bank, entries)
    assert same == bank and set(rejected.reason) == {"in the bank already"}

WRONG = ["", "--answer a.txt --url http://x", "--url http://x", "--answer gone.txt"]

@pytest.mark.parametrize("words", WRONG)
def test_wrong_options(propose, words):
    code, errors, bank = propose(*words.split())
    assert (code, bank) == (2, None) and errors.count("\n") == 1

def test_show_needs_nothing(capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert main(["propose", "--show", "--pairs", "3"]) == 0
    shown = capsys.readouterr().out
    assert all(f"- {a}: " in shown for a in ATTRIBUTES) and "propose 3 antonym pairs" in shown

def test_the_kits_bank():
    bank, candidates = load_bank(), load_candidates()
    for attribute in ATTRIBUTES:
        pairs = [p for p in bank["pairs"] if p["attribute"] == attribute]
        assert len(pairs) >= 40 and {p["kind"] for p in pairs} == {"adjective", "phrase"}
        assert {"other attribute", "content", "taste"} <= {p.get("hard") for p in pairs}
        assert (candidates.attribute == attribute).sum() >= 320
    assert len(bank["templates"]) >= 8 and read_answer(BANK_FILE.read_text(encoding="utf-8")) == bank["pairs"]
    noise = {(p["positive"], p["negative"]) for p in bank["pairs"] if p["attribute"] == "noisiness"}
    assert {("clean", "noisy"), ("noisy", "clean")} <= noise

def bank_json(template, *pairs): return json.dumps(dict(templates=[template], pairs=pairs))

@pytest.mark.parametrize("fault", [
    "not json", "[]", '{"pairs": []}', bank_json(["{}", "{}"]),
    bank_json(["a photo", "{}"], GOOD[0]), bank_json(["{}", "{}"], GOOD[0])])
def test_bad_bank_is_one_line(tmp_path, fault):
    (tmp_path/"bank.json").write_text(fault)
    with pytest.raises(AttiqaError) as error: load_candidates(tmp_path/"bank.json")
    assert "\n" not in str(error.value) and "bank.json" in str(error.value)
