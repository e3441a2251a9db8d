"""The Hacker News API on this machine, so that code written for the real one runs without a network, and in trouble.

It serves recorded items (`../shared/data` beside the checkout) as https://hacker-news.firebaseio.com does, over HTTP at
`url` and over TLS for programs that know only the real address: `environment()` is what a child process needs for its
`requests`, `httpx`, `urllib` to come here, `redirected(monkeypatch)` does the same in this process. Answers can be made
to fail, by `trouble`. It knows nothing of the product.

    with HackerNews() as api:
        api.trouble("busy", path="maxitem", times=2)
        subprocess.run([…], env=os.environ | api.environment())
"""

from __future__ import annotations

import functools
import gzip
import json
import os
import re
import shutil
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self

import pytest

HOST = "hacker-news.firebaseio.com"

DATA = next(
    (
        found
        for folder in Path(__file__).resolve().parents
        if (found := folder / "shared" / "data" / "hackernews_items.jsonl.gz").is_file()
    ),
    None,
)
REASON = "the recorded Hacker News items are not there: ../shared/data/hackernews_items.jsonl.gz"

needs_recording = pytest.mark.skipif(DATA is None, reason=REASON)

Kind = Literal["error", "busy", "drop", "cut", "truncated", "slow"]
"""How an answer fails: status 500 (or `status`); 429 with Retry-After; closed without an answer; closed in the middle of
one; a whole answer whose JSON is cut; late by `seconds`."""


@dataclass
class Trouble:
    """A way in which some answers fail; see `HackerNews.trouble`."""

    kind: Kind
    pattern: re.Pattern[str]
    times: int | None
    status: int
    retry_after: float | str
    seconds: float
    seen: Counter[str]

    def meets(self, path: str) -> bool:
        """Whether this request is to fail; counts it."""
        if not self.pattern.search(path) or (self.times is not None and self.seen[path] >= self.times):
            return False
        self.seen[path] += 1
        return True


@dataclass(frozen=True)
class Request:
    """A request that was answered."""

    path: str
    user_agent: str
    status: int | None
    at: float


@functools.cache
def recorded() -> Mapping[int, dict[str, Any]]:
    """The recorded items by id, as the API sends them. Treat them as read-only."""
    if DATA is None:
        pytest.skip(REASON)
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    return {item["id"]: item for item in items}


class HackerNews:
    """A server in a thread of this process. A context manager; `close` ends it.

    Args:
        newest: Items with a greater id are not there yet (`null`); default: all are there. May be set later.
        delay: Seconds that each answer takes. May be set later.
        items: What to serve instead of the recorded items.

    Attributes:
        url: Where it answers without TLS, such as ``http://127.0.0.1:4711``; the API is below ``/v0``.
        requests: What was asked, in the order of the answers.
        most_at_once: The greatest number of requests that were being answered at a time.
    """

    def __init__(
        self, *, newest: int | None = None, delay: float = 0.0, items: Iterable[dict[str, Any]] | None = None
    ) -> None:
        self.items = dict(recorded()) if items is None else {item["id"]: item for item in items}
        self.newest = newest
        self.delay = delay
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._troubles: list[Trouble] = []
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._servers = [_Server(self, None)]
        self.url = f"http://127.0.0.1:{self._servers[0].server_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it; its address is free and its files are gone."""
        for server in self._servers:
            server.end()
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def trouble(
        self,
        kind: Kind,
        *,
        item: int | None = None,
        path: str | None = None,
        times: int | None = None,
        status: int = 500,
        retry_after: float | str = 0,
        seconds: float = 0.2,
    ) -> None:
        """Lets answers fail from now on.

        Args:
            kind: How: see `Kind`.
            item, path: Of which requests: of this item, or whose path holds this regular expression; default: of any item.
            times: How often the same path fails before it is answered; default: always.
            status: Of "error".
            retry_after: Of "busy": the header's value.
            seconds: Of "slow".
        """
        pattern = path if path is not None else r"/item/" if item is None else rf"/item/{item}\.json"
        trouble = Trouble(kind, re.compile(pattern), times, status, retry_after, seconds, Counter())
        with self._lock:
            self._troubles.append(trouble)

    def heal(self) -> None:
        """Forgets all troubles."""
        with self._lock:
            self._troubles.clear()

    def edit(self, item: int, **fields: Any) -> None:
        """Changes fields of an item, as time does: a score rises, `deleted=True` appears. None removes a field."""
        changed = dict(self.items[item]) | fields
        self.items[item] = {name: value for name, value in changed.items() if value is not None}

    def paths(self) -> list[str]:
        """The paths that were asked, sorted: the same whatever came first."""
        with self._lock:
            return sorted(request.path for request in self.requests)

    # for programs that know only the real address

    def environment(self, *, path: str | None = None) -> dict[str, str]:
        """What to add to a child's environment so that its calls to the real address come here.

        Python processes below it inherit it. All other hosts but this machine are then unreachable, at once.

        Args:
            path: The PYTHONPATH that the child shall have besides; default: this process's.
        """
        folder = str(self._redirect())
        kept = os.environ.get("PYTHONPATH", "") if path is None else path
        return {"PYTHONPATH": os.pathsep.join(filter(None, [folder, kept]))}

    def redirected(self, patch: pytest.MonkeyPatch) -> None:
        """Lets calls of this process, and of those that it starts, come here until the patch is undone."""
        folder = self._redirect()
        for name, value in self.environment().items():
            patch.setenv(name, value)
        patch.syspath_prepend(str(Path(__file__).parent / "redirect"))
        import redirecting

        facts = json.loads((folder / "redirect.json").read_text())
        patch.setattr(socket, "getaddrinfo", redirecting.resolver(facts["hosts"], socket.getaddrinfo))
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, redirecting.connector(getattr(socket.socket, name)))
        for name in redirecting.TRUST:
            patch.setenv(name, facts["trust"])

    def _redirect(self) -> Path:
        """The folder for PYTHONPATH: what it needs to know is beside it, so that no other variable must survive."""
        with self._lock:
            if self._folder is None:
                import trustme

                folder = Path(tempfile.mkdtemp(prefix="hacker-news-"))
                authority = trustme.CA()
                authority.cert_pem.write_to_path(folder / "authority.pem")
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                authority.issue_cert(HOST).configure_cert(context)
                server = _Server(self, context)
                self._servers.append(server)
                for name in ("sitecustomize.py", "redirecting.py"):
                    shutil.copyfile(Path(__file__).parent / "redirect" / name, folder / name)
                facts = {"hosts": {HOST: server.server_port}, "trust": str(folder / "authority.pem")}
                (folder / "redirect.json").write_text(json.dumps(facts))
                self._folder = folder
            return self._folder

    # what it answers

    def answer(self, path: str) -> tuple[int, Any]:
        """Status and JSON value of a path, as the real API gives them."""
        found = re.fullmatch(r"/v0/(\w+)(?:/([^/]*))?\.json", path)
        if found is None:
            return 404, {"error": "404 Not Found"}
        name, key = found[1], found[2]
        there = (
            self.items if self.newest is None else {i: x for i, x in self.items.items() if i <= self.newest}
        )
        if name == "item" and key is not None:
            return 200, there.get(int(key)) if key.isascii() and key.isdigit() else None
        if name == "user" and key is not None:
            return 200, None  # no user was recorded
        if key is None:
            if name == "maxitem":
                return 200, max(there, default=0)
            if name == "updates":
                return 200, {"items": sorted(there, reverse=True)[:100], "profiles": []}
            if (made := _LISTS.get(name)) is not None:
                alive = [item for item in there.values() if not (item.get("deleted") or item.get("dead"))]
                return 200, made(alive)
        return 401, {"error": "Permission denied"}

    def _begin(self, path: str) -> Trouble | None:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return next((trouble for trouble in self._troubles if trouble.meets(path)), None)

    def _end(self, request: Request) -> None:
        with self._lock:
            self._at_once -= 1
            self.requests.append(request)


def _stories(alive: list[dict[str, Any]], *, prefix: str = "", kind: str = "story") -> list[dict[str, Any]]:
    return [item for item in alive if item.get("type") == kind and item.get("title", "").startswith(prefix)]


def _ids(items: list[dict[str, Any]], count: int, *, by: str = "id") -> list[int]:
    return [item["id"] for item in sorted(items, key=lambda item: (-item.get(by, 0), -item["id"]))[:count]]


_LISTS = {
    "topstories": lambda alive: _ids(_stories(alive), 500, by="score"),
    "beststories": lambda alive: _ids(_stories(alive), 200, by="score"),
    "newstories": lambda alive: _ids(_stories(alive), 500),
    "askstories": lambda alive: _ids(_stories(alive, prefix="Ask HN"), 200),
    "showstories": lambda alive: _ids(_stories(alive, prefix="Show HN"), 200),
    "jobstories": lambda alive: _ids(_stories(alive, kind="job"), 200),
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, api: HackerNews, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, api))
        if context is not None:
            # The handshake is made by the thread of the request: a client that stays silent must not hold up others.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client may leave in the middle of an answer
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def __init__(self, api: HackerNews, *rest: Any) -> None:
        self.api = api
        super().__init__(*rest)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        trouble = self.api._begin(path)
        answer: tuple[int, dict[str, str], bytes] | None = None
        try:
            answer = self._make(path, trouble)
        finally:
            # Before it is sent: whoever has the answer finds the request among those that were asked.
            status = None if answer is None else answer[0]
            self.api._end(Request(path, self.headers.get("User-Agent", ""), status, time.monotonic()))
        if answer is None:
            self.close_connection = True
            return
        status, headers, body = answer
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        if trouble is not None and trouble.kind == "cut":
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)
        self.wfile.flush()

    def _make(self, path: str, trouble: Trouble | None) -> tuple[int, dict[str, str], bytes] | None:
        """Status, headers and body; None to say nothing."""
        kind = trouble.kind if trouble is not None else None
        wait = self.api.delay + (trouble.seconds if trouble is not None and kind == "slow" else 0)
        if wait:
            time.sleep(wait)
        if kind == "drop":
            return None
        status, value = self.api.answer(path)
        headers: dict[str, str] = {}
        if trouble is not None and kind == "error":
            status, value = trouble.status, {"error": "Internal server error"}
        if trouble is not None and kind == "busy":
            status, value = 429, {"error": "Too many requests"}
            headers["Retry-After"] = str(trouble.retry_after)
        body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        if kind == "truncated":
            body = body[: max(1, len(body) // 2)]
        return status, headers, body

    def log_message(self, *_: Any) -> None:
        """Says nothing: `requests` keeps what was asked."""
