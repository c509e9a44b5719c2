"""A server that speaks the Hub's API as far as downloads need it, with faults that a test can order."""

import hashlib
import http.server
import json
import re
import ssl
import threading
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Model:
    """The files of one model at one commit. Those that end in .safetensors are kept by LFS."""

    def __init__(self, files, commit=COMMIT, revisions=("main",)):
        self.files = dict(files)
        self.commit = commit
        self.revisions = {commit, *revisions}
        self.gated = False
        self.token = None  # who may read it; None: everybody

    def is_lfs(self, path):
        return path.endswith(".safetensors")

    def blob(self, path):
        data = self.files[path]
        return hashlib.sha256(data).hexdigest() if self.is_lfs(path) else git_hash(data)

    def entry(self, path):
        data = self.files[path]
        entry = {"type": "file", "path": path, "size": len(data), "oid": git_hash(data)}
        if self.is_lfs(path):
            entry["lfs"] = {"oid": self.blob(path), "size": len(data), "pointerSize": 130}
        return entry


class Request:
    """An entry of the log: the parts of a request that it keeps."""

    def __init__(self, handler):
        self.method, self.path = handler.command, handler.path
        self.server = handler.server.name
        self.token = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.range = handler.headers.get("Range")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.server.hub
        hub.log.append(Request(self))
        path = urllib.parse.urlsplit(self.path).path
        for pattern, answer in hub.faults:
            if re.search(pattern, self.path):
                return answer(self)
        if path.startswith("/cdn/"):
            return self.send_file(hub.cdn_files[path])
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/(.+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if found is None and file is None:
            return self.refuse(404, "")
        name = (found or file)[1]
        model = hub.models.get(name)
        if model is None:
            return self.refuse(401, "RepoNotFound", "Invalid username or password.")
        sent = self.headers.get("Authorization")
        if model.token is not None and sent != "Bearer " + model.token:
            return self.refuse(403 if model.gated else 401, "GatedRepo" if model.gated else "RepoNotFound")
        revision = urllib.parse.unquote(found[3] if found else file[2])
        if revision not in model.revisions:
            return self.refuse(404, "RevisionNotFound", "Invalid rev id: " + revision)
        if found and found[2] == "revision":
            siblings = [{"rfilename": path} for path in model.files]
            return self.send_json({"id": name, "modelId": name, "sha": model.commit, "private": False,
                                   "tags": [], "downloads": 0, "likes": 0, "siblings": siblings})
        if found:
            return self.send_page(name, model)
        return self.send_resolved(model, urllib.parse.unquote(file[3]))

    def send_page(self, name, model):
        """Three entries a page, and the address of the next in a header."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        first = int(query.get("cursor", ["0"])[0])
        paths = sorted(model.files)
        headers = {}
        if first + 3 < len(paths):
            address = f"{self.server.url}/api/models/{name}/tree/{model.commit}?recursive=true&cursor={first + 3}"
            headers["Link"] = f'<{address}>; rel="next"'
        self.send_json([model.entry(path) for path in paths[first:first + 3]], headers)

    def send_resolved(self, model, path):
        if path not in model.files:
            return self.refuse(404, "EntryNotFound")
        data, blob = model.files[path], model.blob(path)
        headers = {"X-Repo-Commit": model.commit, "ETag": f'"{blob}"'}
        if not model.is_lfs(path):
            return self.send_file(data, headers)
        hub = self.server.hub
        hub.cdn_files["/cdn/" + blob] = data
        self.send(302, b"", {**headers, "X-Linked-Etag": f'"{blob}"', "X-Linked-Size": str(len(data)),
                             "Location": f"{hub.cdn.url}/cdn/{blob}?signature=secret"})

    def send_file(self, data, headers=None):
        headers = {"Accept-Ranges": "bytes", **(headers or {})}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked is None:
            return self.send(200, data, headers)
        first = int(asked[1])
        if first >= len(data):
            return self.send(416, b"", headers)
        headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self.send(206, data[first:], headers)

    def send_json(self, value, headers=None):
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def refuse(self, status, code, message=""):
        self.send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": message})

    def send(self, status, body, headers, length=None, cut=None):
        """Answers; `length` is what the head says, and the connection is cut behind `cut` bytes."""
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self.wfile.write(body if cut is None else body[:cut])
        except (BrokenPipeError, ConnectionResetError):
            pass
        if cut is not None or length is not None:
            self.close_connection = True


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub, name, certificate=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub, self.name = hub, name
        self.url = "%s://127.0.0.1:%d" % ("https" if certificate else "http", self.server_address[1])
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_):
        pass  # a client that goes away is what some tests are about


class HubStandIn:
    """The Hub, and beside it the server that keeps large files, to which it redirects. A context manager.

    `certificate` is a file with a certificate and its key, with which the Hub speaks HTTPS."""

    def __init__(self, certificate=None, **models):
        self.models = {name.replace("__", "/"): model for name, model in models.items()}
        self.faults = []  # (an expression for the path, a function that answers), the first that matches
        self.log = []
        self.cdn_files = {}
        self.hub, self.cdn = Listener(self, "hub", certificate), Listener(self, "cdn")
        self.url = self.hub.url

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for listener in (self.hub, self.cdn):
            listener.shutdown()
            listener.server_close()

    def fault(self, pattern, answer, times=None):
        """Lets `answer(handler)` answer what matches, so many times."""
        left = [times]

        def counted(handler):
            if left[0] is not None:
                left[0] -= 1
                if left[0] == 0:
                    self.faults.remove(entry)
            answer(handler)

        entry = (pattern, counted)
        self.faults.append(entry)

    def requests(self, pattern=""):
        return [request for request in self.log if re.search(pattern, request.path)]
