"""A model hub on this machine: the few routes that the hub client asks for, over folders on disk."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """Serves `root/owner/name` as model owner/name; `sent` counts the bytes of each file that left."""

    root: Path
    endpoint: str = ""
    ranges: bool = True
    gated: set[str] = field(default_factory=set)
    sent: dict[str, int] = field(default_factory=dict)

    def files(self, model: str) -> list[Path]:
        return sorted(path for path in (self.root / model).rglob("*") if path.is_file())


@contextmanager
def serve(root: Path) -> Iterator[Hub]:
    hub = Hub(root)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        owner, name, verb, revision, *rest = parts[2:] if is_api else parts
        model = f"{owner}/{name}"
        if model in self.hub.gated:
            return self._refuse(403, "GatedRepo")
        if not (self.hub.root / model).is_dir():
            return self._refuse(401, "RepoNotFound")
        if revision not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        if verb == "resolve":
            return self._file(self.hub.root / model / "/".join(rest))
        entries = [self._entry(path, self.hub.root / model) for path in self.hub.files(model)]
        if verb == "tree":
            return self._json(entries)
        siblings = [{"rfilename": entry["path"], "size": entry["size"]} for entry in entries]
        return self._json({"_id": "1", "id": model, "sha": COMMIT, "siblings": siblings})

    def _entry(self, path: Path, root: Path) -> dict[str, object]:
        name = str(path.relative_to(root))
        return {"type": "file", "path": name, "size": path.stat().st_size, "oid": _etag(path)}

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._refuse(404, "EntryNotFound")
            return
        data, status, headers = path.read_bytes(), 200, {"ETag": f'"{_etag(path)}"'}
        if self.hub.ranges and (wanted := self.headers.get("Range")):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), int(last or len(data) - 1)
            headers["Content-Range"] = f"bytes {begin}-{end}/{len(data)}"
            data, status = data[begin : end + 1], 206
        if self.command == "GET":
            self.hub.sent[path.name] = self.hub.sent.get(path.name, 0) + len(data)
        self._send(status, data, headers)

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests are silent."""


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
