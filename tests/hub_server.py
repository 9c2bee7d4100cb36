"A local server that answers as the Hugging Face Hub does, for the tests of fetching and pushing scorers."
import base64, hashlib, json, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit
from attiqa.core import scorer_file
from attiqa.hub import PICKLE_ENDINGS
from attiqa.score import MINI

REPO, TOKEN = "someone/scorer", "hf_of_the_test"

def scorer_files(name=MINI):
    "What a repository of a shipped scorer holds."
    weights, card = scorer_file(name), scorer_file(name).with_suffix(".json")
    return {"model.safetensors": weights.read_bytes(), "config.json": card.read_bytes()}

def sha256(data): return hashlib.sha256(data).hexdigest()

def git_hash(data): return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

def is_large(name):
    "Is a file kept by LFS?"
    return name.endswith((".safetensors", *PICKLE_ENDINGS))

class Hub(ThreadingHTTPServer):
    """Repositories of commits.

    `repos`: name to (commit to its files, branch or tag to commit); `stored`: contents by hash;
    `swapped`: contents that are sent instead; `seen`: the requests, as (method, path)."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos, self.stored, self.swapped, self.seen = {}, {}, {}, []
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.storage = f"http://localhost:{self.server_port}" # another host, as the Hub's storage is
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def create(self, repo): return self.repos.setdefault(repo, ({}, {}))

    def commit(self, repo, files, *tags):
        "Add files, name to content, to those of main. Gives the commit."
        commits, heads = self.create(repo)
        whole = commits.get(heads.get("main"), {}) | files
        sha = git_hash(repr(sorted((name, sha256(data)) for name, data in whole.items())).encode())
        commits[sha] = whole
        heads.update(dict.fromkeys(("main", *tags), sha))
        self.stored |= {sha256(data): data for data in whole.values()}
        return sha

    def files(self, repo):
        "Name to content, in the newest commit."
        commits, heads = self.repos[repo]
        return commits[heads["main"]]

    def close(self):
        self.shutdown()
        self.server_close()

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass

    def handle_any(self):
        path = unquote(urlsplit(self.path).path)
        self.server.seen.append((self.command, path))
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.route(path.strip("/").split("/"))
    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def route(self, words):
        match words:
            case [owner, name, "resolve", revision, file]: self.resolve(f"{owner}/{name}", revision, file)
            case ["api", "models", owner, name, "tree", revision]: self.tree(f"{owner}/{name}", revision)
            case ["cdn", sha]: self.send_stored(sha)
            case ["lfs", sha]: self.store(sha)
            case _ if self.is_allowed(): self.write(words)
            case _: self.answer(401, dict(error="Invalid credentials"))

    def is_allowed(self): return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    # Answers

    def answer(self, status, content=b"", **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (dict(Content_Length=len(data)) | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(data)

    def missing(self, code, **headers): self.answer(404, dict(error=code), X_Error_Code=code, **headers)

    # Reading

    def found(self, repo, revision):
        "A commit and its files; None where the answer was that there are none."
        if repo not in self.server.repos: return self.missing("RepoNotFound")
        commits, heads = self.server.repos[repo]
        sha = heads.get(revision, revision)
        return (sha, commits[sha]) if sha in commits else self.missing("RevisionNotFound")

    def resolve(self, repo, revision, file):
        "A small file, or where a large one is stored."
        if not (found := self.found(repo, revision)): return
        sha, files = found
        if file not in files: self.missing("EntryNotFound", X_Repo_Commit=sha)
        elif is_large(file): self.redirect(sha, files[file])
        else: self.answer(200, files[file], X_Repo_Commit=sha, ETag=f'"{git_hash(files[file])}"')

    def redirect(self, sha, data):
        content_hash = sha256(data)
        self.answer(302, X_Repo_Commit=sha, X_Linked_Size=len(data), X_Linked_ETag=f'"{content_hash}"',
                    Location=f"{self.server.storage}/cdn/{content_hash}")

    def tree(self, repo, revision):
        if not (found := self.found(repo, revision)): return
        self.answer(200, [dict(type="file", path=name, size=len(data), oid=git_hash(data))
                          for name, data in found[1].items()])

    def send_stored(self, sha):
        self.answer(200, self.server.swapped.get(sha, self.server.stored[sha]), ETag='"of the storage"')

    # Writing

    def store(self, sha):
        self.server.stored[sha] = self.body
        self.answer(200)

    def write(self, words):
        match words:
            case ["api", "repos", "create"]: self.create(**json.loads(self.body))
            case ["api", "validate-yaml"]: self.answer(200, dict(errors=[], warnings=[]))
            case ["api", "models", _, _, "preupload", _]: self.plan_upload(**json.loads(self.body))
            case [_, _, "info", "lfs", "objects", "batch"]: self.plan_storage(**json.loads(self.body))
            case ["api", "models", owner, name, "commit", branch]: self.commit(f"{owner}/{name}", branch)

    def create(self, organization, name, **_):
        repo = f"{organization}/{name}"
        self.server.create(repo)
        self.answer(200, dict(url=f"{self.server.address}/{repo}", id=repo))

    def plan_upload(self, files, **_):
        "Which files are large."
        mode = {True: "lfs", False: "regular"}
        self.answer(200, dict(files=[
            dict(path=file["path"], uploadMode=mode[is_large(file["path"])], shouldIgnore=False)
            for file in files]))

    def plan_storage(self, objects, **_):
        "Where the large files go."
        upload = lambda oid: dict(upload=dict(href=f"{self.server.address}/lfs/{oid}"))
        self.answer(200, dict(transfer="basic", objects=[
            dict(oid=one["oid"], size=one["size"], actions=upload(one["oid"])) for one in objects]))

    def commit(self, repo, branch):
        "The body is one JSON value per line."
        assert branch == "main"
        lines = [json.loads(line) for line in self.body.splitlines()]
        given = lambda key: [line["value"] for line in lines if line["key"] == key]
        small = {file["path"]: base64.b64decode(file["content"]) for file in given("file")}
        large = {file["path"]: self.server.stored[file["oid"]] for file in given("lfsFile")}
        sha = self.server.commit(repo, small | large)
        address = f"{self.server.address}/{repo}/commit/{sha}"
        self.answer(200, dict(commitUrl=address, commitOid=sha, success=True))
