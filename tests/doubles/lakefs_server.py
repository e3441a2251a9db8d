"""lakeFS on this machine, for code that talks to the real one through its SDK: a real HTTP server, in this process.

It answers the calls that branches, tags, commits, differences and merges are made of, as lakeFS's API documents them, with
its status codes and pages. What a branch holds is a mapping of path → text. `calls` is what was asked, `fail` makes some
calls fail. It knows nothing of the product.

    with LakeFS("shop") as server:
        server.write("main", {"t/1": "one"})
        client = lakefs.Client(host=server.url, username=server.key, password=server.secret)
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

NAME = re.compile(r"\w[-\w]*", re.ASCII)


@dataclass
class Commit:
    """One commit: what it holds, and where it comes from."""

    id: str
    parents: tuple[str, ...]
    objects: Mapping[str, str]
    message: str
    metadata: Mapping[str, str]
    time: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "parents": list(self.parents),
            "committer": "tester",
            "message": self.message,
            "creation_date": self.time,
            "meta_range_id": "",
            "metadata": dict(self.metadata),
            "generation": 1,
            "version": 1,
        }


@dataclass
class Branch:
    """A pointer to a commit, and what was written since: None where a path was deleted."""

    head: str
    staged: dict[str, str | None] = field(default_factory=dict)


@dataclass
class Fault:
    """Calls that are to fail."""

    pattern: re.Pattern[str]
    times: int
    after: bool
    status: int
    message: str


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class LakeFS:
    """A server with one repository, whose branch ``main`` is empty at first."""

    key = "AKIAJTESTER"
    secret = "hunter2-lakefs"

    def __init__(self, repository: str = "shop", page: int = 100) -> None:
        self.repository = repository
        self.page = page
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, Branch] = {}
        self.tags: dict[str, str] = {}
        self.calls: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self._number = 0
        self.branches["main"] = Branch(self._commit((), {}, "Repository created", {}))
        handler = type("Handler", (_Handler,), {"double": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # what a test does with it

    def write(self, branch: str, objects: Mapping[str, str | None], *, commit: bool = True) -> None:
        """Writes (None: deletes) objects, and commits them unless told not to."""
        with self.lock:
            its = self.branches[branch]
            its.staged.update(objects)
            if commit:
                its.head = self._commit((its.head,), self.holds(branch), "Written", {})
                its.staged = {}

    def holds(self, branch: str) -> dict[str, str]:
        """What a branch holds, uncommitted changes included."""
        its = self.branches[branch]
        found = {**self.commits[its.head].objects, **its.staged}
        return {path: text for path, text in found.items() if text is not None}

    def fail(
        self,
        pattern: str,
        *,
        times: int = 1,
        after: bool = False,
        status: int = 500,
        message: str = "it failed",
    ) -> None:
        """Makes the next calls that match (``POST /repositories/shop/branches``) fail; with ``after`` they are done all the same."""
        self.faults.append(Fault(re.compile(pattern), times, after, status, message))

    # the meaning

    def _commit(
        self, parents: tuple[str, ...], objects: Mapping[str, str], message: str, metadata: Mapping[str, str]
    ) -> str:
        self._number += 1
        plain = json.dumps([self._number, parents, sorted(objects.items()), message])
        made = hashlib.sha256(plain.encode()).hexdigest()
        self.commits[made] = Commit(made, parents, dict(objects), message, dict(metadata), int(time.time()))
        return made

    def resolve(self, ref: str) -> str:
        """The commit of a branch, a tag, or (the beginning of) an id."""
        if ref in self.branches:
            return self.branches[ref].head
        if ref in self.tags:
            return self.tags[ref]
        found = [one for one in self.commits if len(ref) >= 6 and one.startswith(ref)]
        if len(found) != 1:
            raise Refused(404, "not found")
        return found[0]

    def ancestors(self, commit: str) -> list[str]:
        """A commit and all before it, nearest first."""
        found, queue = [], [commit]
        while queue:
            one = queue.pop(0)
            if one not in found:
                found.append(one)
                queue += self.commits[one].parents
        return found

    def base(self, one: str, other: str) -> str:
        """The commit that both contain, and that is before no other such."""
        both = set(self.ancestors(one)) & set(self.ancestors(other))
        before = {older for commit in both for older in self.ancestors(commit) if older != commit}
        return min(both - before)

    def changes(self, before: str, after: str) -> dict[str, str | None]:
        """Path → what it became, or None."""
        old, new = self.commits[before].objects, self.commits[after].objects
        paths = sorted({*old, *new})
        return {path: new.get(path) for path in paths if old.get(path) != new.get(path)}

    def answer(self, method: str, path: list[str], query: Mapping[str, str], body: Any) -> tuple[int, Any]:
        """Status and body of one call, its path without ``/api/v1/repositories``."""
        if path[:1] != [self.repository]:
            raise Refused(404, "repository not found")
        match (method, path[1:]):
            case ("GET", ["branches"]):
                return self._paged(
                    [{"id": name, "commit_id": its.head} for name, its in sorted(self.branches.items())],
                    query,
                )
            case ("POST", ["branches"]):
                name = body["name"]
                if not NAME.fullmatch(name):
                    raise Refused(400, f"branch id: {name}: validation error")
                if name in self.branches or name in self.tags:
                    raise Refused(409, f"branch {name}: not unique")
                self.branches[name] = Branch(self.resolve(body["source"]))
                return 201, self.branches[name].head
            case ("GET", ["branches", name]):
                return 200, {"id": name, "commit_id": self._branch(name).head}
            case ("DELETE", ["branches", name]):
                self._branch(name)
                if name == "main":
                    raise Refused(403, "cannot delete the default branch")
                del self.branches[name]
                return 204, None
            case ("POST", ["branches", name, "commits"]):
                its = self._branch(name)
                if not its.staged and not body.get("allow_empty"):
                    raise Refused(400, "commit: no changes")
                its.head = self._commit(
                    (its.head,), self.holds(name), body["message"], body.get("metadata") or {}
                )
                its.staged = {}
                return 201, self.commits[its.head].to_dict()
            case ("GET", ["branches", name, "diff"]):
                staged = sorted(self._branch(name).staged.items())
                return self._paged(
                    [_change(p, "removed" if t is None else "changed") for p, t in staged], query
                )
            case ("GET", ["commits", ref]):
                return 200, self.commits[self.resolve(ref)].to_dict()
            case ("GET", ["refs", ref, "commits"]):
                log = [self.commits[one].to_dict() for one in self.ancestors(self.resolve(ref))]
                return self._paged(log, query)
            case ("GET", ["refs", left, "diff", right]):
                one, other = self.resolve(left), self.resolve(right)
                start = one if query.get("type") == "two_dot" else self.base(one, other)
                found = self.changes(start, other)
                return self._paged(
                    [_change(p, "removed" if t is None else "changed") for p, t in found.items()], query
                )
            case ("GET", ["refs", source, "merge", target]):
                one, other = self.resolve(source), self.resolve(target)
                base = self.base(one, other)
                return 200, {"source_commit_id": one, "destination_commit_id": other, "base_commit_id": base}
            case ("POST", ["refs", source, "merge", target]):
                return 200, {"reference": self._merge(self.resolve(source), target, body or {})}
            case ("GET", ["tags"]):
                return self._paged([{"id": t, "commit_id": c} for t, c in sorted(self.tags.items())], query)
            case ("POST", ["tags"]):
                if body["id"] in self.tags or body["id"] in self.branches:
                    raise Refused(409, f"tag {body['id']}: not unique")
                self.tags[body["id"]] = self.resolve(body["ref"])
                return 201, {"id": body["id"], "commit_id": self.tags[body["id"]]}
            case ("DELETE", ["tags", tag]):
                if tag not in self.tags:
                    raise Refused(404, "tag not found")
                del self.tags[tag]
                return 204, None
        raise Refused(501, f"the double does not know {method} {'/'.join(path)}")

    def _branch(self, name: str) -> Branch:
        if name not in self.branches:
            raise Refused(404, f"branch {name} not found")
        return self.branches[name]

    def _merge(self, source: str, target: str, body: Mapping[str, Any]) -> str:
        its = self._branch(target)
        if its.staged:
            raise Refused(400, "uncommitted changes (dirty branch)")
        base = self.base(source, its.head)
        theirs, ours = self.changes(base, source), self.changes(base, its.head)
        if not theirs and not body.get("allow_empty"):
            raise Refused(400, "merge: no changes")
        both = [path for path in theirs if path in ours and theirs[path] != ours[path]]
        strategy = body.get("strategy")
        if both and strategy not in ("source-wins", "dest-wins"):
            raise Refused(409, f"conflict: {both[0]}")
        wanted = {
            path: text for path, text in theirs.items() if path not in both or strategy == "source-wins"
        }
        merged = {**self.commits[its.head].objects, **wanted}
        kept = {path: text for path, text in merged.items() if text is not None}
        its.head = self._commit(
            (its.head, source), kept, body.get("message") or "Merge", body.get("metadata") or {}
        )
        return its.head

    def _paged(self, rows: list[dict[str, Any]], query: Mapping[str, str]) -> tuple[int, Any]:
        key = "id" if rows and "id" in rows[0] else "path"
        kept = [row for row in rows if row[key].startswith(query.get("prefix", ""))]
        after = query.get("after", "")
        if after:
            names = [row[key] for row in kept]
            kept = kept[names.index(after) + 1 :] if after in names else [r for r in kept if r[key] > after]
        most = min(int(query.get("amount", self.page)), self.page)
        page = kept[:most]
        more = len(kept) > len(page)
        pagination = {
            "has_more": more,
            "next_offset": page[-1][key] if more else "",
            "results": len(page),
            "max_per_page": self.page,
        }
        return 200, {"pagination": pagination, "results": page}


def _change(path: str, kind: str) -> dict[str, Any]:
    return {"type": kind, "path": path, "path_type": "object", "size_bytes": 1}


class _Handler(BaseHTTPRequestHandler):
    double: LakeFS
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def _serve(self) -> None:
        double = self.double
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        call = f"{self.command} {parts.path.removeprefix('/api/v1')}"
        with double.lock:
            double.calls.append(call)
            fault = next((one for one in double.faults if one.times and one.pattern.search(call)), None)
            if fault is not None:
                fault.times -= 1
            try:
                self._check()
                if fault is not None and not fault.after:
                    raise Refused(fault.status, fault.message)
                path = [unquote(one) for one in parts.path.removeprefix("/api/v1/repositories/").split("/")]
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                status, found = double.answer(self.command, path, query, body)
                if fault is not None:
                    raise Refused(fault.status, fault.message)
            except Refused as error:
                status, found = error.status, {"message": error.message}
        self._send(status, found)

    def _check(self) -> None:
        wanted = base64.b64encode(f"{self.double.key}:{self.double.secret}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {wanted}":
            raise Refused(401, "error authenticating request")

    def _send(self, status: int, found: Any) -> None:
        text = found if isinstance(found, str) else json.dumps(found)
        data = b"" if found is None else text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(found, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _serve
