"The language-model route, against a server on this machine that speaks OpenAI's chat protocol, well or badly."
import json, threading, time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import pytest
from attiqa.bank import BANK, ask, instruction, load_bank, load_candidates, merge, read_answer
from attiqa.cli import main
from attiqa.core import ATTRIBUTES, AttiqaError

SECRET = "sk-a-secret-that-nobody-may-see"
GOOD = [dict(attribute=a, positive=f"fresh {a}", negative=f"stale {a}", kind="adjective") for a in ATTRIBUTES]
MIXED = [GOOD[0], GOOD[0], dict(GOOD[1], attribute="taste"), dict(GOOD[1], positive="{0}"), dict(GOOD[1], negative="Fresh  contrast"),
         dict(GOOD[1], positive="a\nb"), dict(GOOD[1], positive="x"*61), dict(attribute="contrast"), "sharp | blurry", GOOD[1]]

def text(entries=GOOD): return json.dumps(dict(pairs=entries))

class Reply:
    "One answer of the stub: a status, a content, headers, and how long it takes."
    def __init__(self, content="", status=200, wait=0, headers=(), raw=None): self.content, self.status, self.wait, self.headers, self.raw = content, status, wait, dict(headers), raw
    def body(self):
        if self.raw is not None: return self.raw
        if self.status != 200: return json.dumps(dict(error=dict(message=f"no: {SECRET}", type="error", code=None)))
        message = dict(role="assistant", content=self.content)
        return json.dumps(dict(id="1", object="chat.completion", created=1, model="stub", choices=[dict(index=0, finish_reason="stop", message=message)]))

@contextmanager
def stub(*replies):
    "Serve the replies in turn, the last one for ever; yields the base address and the list of requests."
    requests, waiting = [], threading.Event()
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            requests.append((self.path, self.headers, json.loads(self.rfile.read(length))))
            reply = replies[min(len(requests), len(replies)) - 1]
            waiting.wait(reply.wait)
            body = reply.body().encode()
            try:
                self.send_response(reply.status)
                for name, value in (dict(reply.headers) | {"Content-Type": "application/json", "Content-Length": str(len(body))}).items(): self.send_header(name, value)
                self.end_headers(); self.wfile.write(body)
            except OSError: pass # the client has gone
        def log_message(self, *words): pass
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True); thread.start()
    try: yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally: waiting.set(); server.shutdown(); server.server_close(); thread.join()

@pytest.fixture(autouse=True)
def key(monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENAI_BASE_URL"): monkeypatch.delenv(name, raising=False)

@pytest.fixture
def propose(tmp_path, capsys):
    "The command: exit code, what it said, the bank that it wrote (None where it wrote none)."
    out = tmp_path/"bank.json"
    def run(*words):
        code = main(["propose", *map(str, words), "--out", str(out)])
        said = capsys.readouterr().err
        assert SECRET not in said
        return code, said, load_bank(out) if out.exists() else None
    return run

def test_good_answer(propose):
    with stub(Reply(text())) as (url, requests): code, said, bank = propose("--url", url, "--model", "stub-1")
    assert code == 0 and bank["pairs"][len(load_bank()["pairs"]):] == [pair | dict(source="stub-1") for pair in GOOD]
    (path, headers, body), = requests
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {SECRET}" and body["model"] == "stub-1"
    assert body["messages"][0]["content"] == instruction(load_bank())

def test_larger_bank_has_more_candidates(propose, tmp_path):
    with stub(Reply(text())) as (url, _): propose("--url", url, "--model", "stub-1")
    more = load_candidates(tmp_path/"bank.json")
    assert len(more) == len(load_candidates()) + len(GOOD)*len(load_bank()["templates"])
    assert {"a fresh contrast photo"} <= set(more.positive)

def test_prose_around_the_json(propose):
    with stub(Reply(f"Of course [see 1]!\n```json\n{text()}\n```\nShall I go on? {{yes}}")) as (url, _): code, _, bank = propose("--url", url, "--model", "m")
    assert code == 0 and len(bank["pairs"]) == len(load_bank()["pairs"]) + 5

@pytest.mark.parametrize("content", [text()[:-3], "I cannot help with that.", '{"pairs": []}', text().replace('"', "'")])
def test_malformed_answer(propose, content):
    with stub(Reply(content)) as (url, _): code, said, bank = propose("--url", url, "--model", "m")
    assert (code, bank) == (2, None) and "no JSON list of pairs" in said and said.count("\n") == 1

def test_timeout(propose):
    with stub(Reply(text(), wait=30)) as (url, _):
        begin = time.monotonic()
        with pytest.raises(AttiqaError, match="did not answer within 0.2 s"): ask("?", url, "m", timeout=.2, retries=0)
        assert time.monotonic() - begin < 20

@pytest.mark.parametrize("status, words", [(401, "refused the key in $OPENAI_API_KEY"), (404, "no such model or address"), (400, "refused the request")])
def test_refused(propose, status, words):
    with stub(Reply(status=status)) as (url, requests): code, said, bank = propose("--url", url, "--model", "m")
    assert (code, bank, len(requests)) == (2, None, 1) and words in said and said.count("\n") == 1

def test_busy_then_good(propose):
    busy = Reply(status=429, headers={"retry-after-ms": "10"})
    with stub(busy, busy, Reply(text())) as (url, requests): code, _, bank = propose("--url", url, "--model", "m")
    assert code == 0 and len(requests) == 3 and bank

def test_busy_for_ever(propose):
    with stub(Reply(status=429, headers={"retry-after-ms": "10"})) as (url, requests):
        with pytest.raises(AttiqaError, match="busy or the quota is spent"): ask("?", url, "m", retries=2)
    assert len(requests) == 3

@pytest.mark.parametrize("reply", [Reply(raw="<html>hello</html>"), Reply(raw="{}"), Reply(raw='{"choices": []}'), Reply(content=None)])
def test_not_the_protocol(reply):
    with stub(reply) as (url, _), pytest.raises(AttiqaError) as error: ask("?", url, "m", retries=0)
    assert "\n" not in str(error.value) and url in str(error.value)

def test_nobody_there():
    with stub(Reply()) as (url, _): pass
    with pytest.raises(AttiqaError, match="could not be reached"): ask("?", url, "m", retries=0)

def test_no_key(propose, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    code, said, bank = propose("--url", "http://127.0.0.1:1/v1", "--model", "m")
    assert (code, bank) == (2, None) and "$OPENAI_API_KEY is not set" in said

def test_file_route_lists_what_is_turned_away(propose, tmp_path):
    (tmp_path/"answer.txt").write_text(f"Here you are: {text(MIXED)}", encoding="utf-8")
    code, said, bank = propose("--answer", tmp_path/"answer.txt")
    new = bank["pairs"][len(load_bank()["pairs"]):]
    assert code == 1 and [(p["attribute"], p["source"]) for p in new] == [("sharpness", "answer.txt"), ("contrast", "answer.txt")]
    turned = [line for line in said.splitlines() if "turned away:" in line]
    assert len(turned) == len(MIXED) - 2
    for reason in ("in the bank already", "is not one of", "must be an adjective", "both ends are the same", "is a required property", "is not of type 'object'"):
        assert any(reason in line for line in turned), reason

def test_same_pair_in_other_capitals_is_no_news():
    bank = load_bank()
    entries = [dict(p, positive=p["positive"].upper()) for p in bank["pairs"][:20]]
    same, rejected = merge(bank, entries)
    assert same == bank and set(rejected.reason) == {"in the bank already"}

@pytest.mark.parametrize("words", [[], ["--answer", "a.txt", "--url", "http://x"], ["--url", "http://x"], ["--answer", "gone.txt"]])
def test_wrong_words(propose, words):
    code, said, bank = propose(*words)
    assert (code, bank) == (2, None) and said.count("\n") == 1

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
    assert len(bank["templates"]) >= 8 and read_answer(BANK.read_text(encoding="utf-8")) == bank["pairs"]
    assert {("clean", "noisy"), ("noisy", "clean")} <= {(p["positive"], p["negative"]) for p in bank["pairs"] if p["attribute"] == "noisiness"}

@pytest.mark.parametrize("fault", ["not json", "[]", '{"pairs": []}', '{"templates": [["{}", "{}"]], "pairs": []}', '{"templates": [["a photo", "{}"]], "pairs": [%s]}' % json.dumps(GOOD[0]),
                                   '{"templates": [["{}", "{}"]], "pairs": [%s]}' % json.dumps(GOOD[0])])
def test_bad_bank_is_one_line(tmp_path, fault):
    (tmp_path/"bank.json").write_text(fault)
    with pytest.raises(AttiqaError) as error: load_candidates(tmp_path/"bank.json")
    assert "\n" not in str(error.value) and "bank.json" in str(error.value)
