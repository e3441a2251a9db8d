"""The catalog's reference meaning: a full snapshot of what a branch holds, for every commit.

Shipped for tests and short-lived use: ``memory://``. Where it and a database differ, the database is wrong. It costs
memory for every commit and keeps nothing when the process ends.
"""

from __future__ import annotations

import functools
import itertools
import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from anabranch.catalog import rules
from anabranch.catalog.base import (
    Branch,
    BranchKind,
    Change,
    Commit,
    CommitRequest,
    Entry,
    Found,
    Lease,
    Point,
    RunRecord,
    Tag,
)
from anabranch.catalog.rows import plain, provenance_from_json, provenance_to_json, utc
from anabranch.dataclass import dataclass
from anabranch.names import Ref, now, parse_ref

_Class = TypeVar("_Class", bound=type)


@dataclass(frozen=True)
class _Held:
    """What a branch holds for one key since a commit: an entry, or None for a deletion."""

    sequence: int
    since: int
    entry: Entry | None


@dataclass
class _Snapshot:
    """A commit, and what its branch itself holds at it; None once retired."""

    commit: Commit
    held: dict[str, _Held] | None


def _one_at_a_time(cls: _Class) -> _Class:
    def locked(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            with self._lock:
                return method(self, *args, **kwargs)

        return call

    for name, value in list(vars(cls).items()):
        if callable(value) and not name.startswith("_"):
            setattr(cls, name, locked(value))
    return cls


def _identity(entry: Entry | None) -> tuple[str, str] | None:
    return None if entry is None else (entry.location, entry.version)


@_one_at_a_time
class MemoryCatalog:
    """A catalog in memory.

    Args:
        clock: Gives the present time (UTC).
    """

    def __init__(self, *, clock: Callable[[], datetime] = now) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._sequence = itertools.count(1)
        self._branches: dict[int, Branch] = {}
        self._history: dict[int, list[_Snapshot]] = {}
        self._tags: dict[str, Tag] = {}
        self._leases: dict[str, Lease] = {}
        self._runs: dict[str, RunRecord] = {}
        self._notes: dict[tuple[str, str], dict[str, Any]] = {}
        self._condemned: dict[str, datetime] = {}

    def close(self) -> None:
        pass

    # branches
    def open_branch(
        self,
        name: str,
        *,
        kind: BranchKind,
        parent: Point | None = None,
        expires_at: datetime | None = None,
        properties: Mapping[str, Any] | None = None,
        message: str = "",
        author: str = "",
        git_commit: str | None = None,
        definitions: str | None = None,
    ) -> Branch:
        rules.check_branch_name(name)
        if self._open_named(name) is not None:
            raise rules.branch_exists(name)
        if parent is not None:
            self._held(parent)
        time = self._clock()
        branch = Branch(
            id=len(self._branches) + 1,
            name=name,
            kind=kind,
            open=True,
            parent=None if parent is None else parent.branch_id,
            base=None if parent is None else parent.number,
            head=0,
            created_at=time,
            expires_at=None if expires_at is None else utc(expires_at),
            properties=plain(rules.updated({}, properties)),
        )
        commit = Commit(
            branch_id=branch.id,
            branch=name,
            number=0,
            base=branch.base,
            time=time,
            kind="open",
            message=message,
            author=author,
            git_commit=git_commit,
            definitions=definitions,
            run=None,
            keys=0,
        )
        self._branches[branch.id] = branch
        self._history[branch.id] = [_Snapshot(commit, {})]
        return branch

    def branch(self, name: str) -> Branch:
        branch = self._open_named(name)
        if branch is None:
            raise rules.no_branch(name, self._open_names())
        return branch

    def branch_by_id(self, branch_id: int) -> Branch:
        if branch_id not in self._branches:
            raise rules.no_branch_id(branch_id)
        return self._branches[branch_id]

    def branches(self, *, kind: BranchKind | None = None, include_closed: bool = False) -> list[Branch]:
        return [
            branch
            for branch in self._branches.values()
            if (branch.open or include_closed) and (kind is None or branch.kind == kind)
        ]

    def update_branch(
        self,
        branch_id: int,
        *,
        properties: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
    ) -> Branch:
        branch = self.branch_by_id(branch_id)
        self._branches[branch_id] = replace(
            branch,
            properties=plain(rules.updated(branch.properties, properties)),
            expires_at=branch.expires_at if expires_at is None else utc(expires_at),
        )
        return self._branches[branch_id]

    def close_branch(self, branch_id: int) -> Branch:
        self._check_closable([branch_id])
        self._close([branch_id])
        return self._branches[branch_id]

    def _check_closable(self, branch_ids: Collection[int]) -> None:
        for branch_id in sorted(branch_ids):
            standing = [item for item in self._branches.values() if item.parent == branch_id]
            rules.check_closable(self.branch_by_id(branch_id), standing, branch_ids)

    def _close(self, branch_ids: Collection[int]) -> None:
        for branch_id in branch_ids:
            if self._branches[branch_id].open:
                self._branches[branch_id] = replace(
                    self._branches[branch_id], open=False, closed_at=self._clock()
                )

    def _open_named(self, name: str) -> Branch | None:
        return next((item for item in self._branches.values() if item.open and item.name == name), None)

    def _open_names(self) -> list[str]:
        return [item.name for item in self._branches.values() if item.open]

    # reading
    def resolve(self, ref: Ref | str) -> Point:
        wanted = parse_ref(ref) if isinstance(ref, str) else ref
        branch = self._open_named(wanted.name)
        if branch is None:
            if wanted.commit is None and wanted.time is None:
                if wanted.name in self._tags:
                    return self._tags[wanted.name].point
                raise rules.no_ref(wanted.name, [*self._open_names(), *self._tags])
            raise rules.no_branch(wanted.name, self._open_names())
        point = branch.point
        if wanted.commit is not None:
            point = Point(branch.id, wanted.commit)
        elif wanted.time is not None:
            moment = utc(wanted.time)
            past = [item.commit for item in self._history[branch.id] if item.commit.time <= moment]
            if not past:
                raise rules.before_branch(branch, moment)
            point = past[-1].point
        self._held(point)
        return point

    def get(self, point: Point, key: str) -> Entry | None:
        return self.entries(point).get(key)

    def entries(self, point: Point, keys: Iterable[str] | None = None) -> dict[str, Entry]:
        wanted = None if keys is None else set(keys)
        return {
            key: held.entry
            for key, held in sorted(self._seen(point).items())
            if held.entry is not None and (wanted is None or key in wanted)
        }

    def own(self, point: Point) -> dict[str, Entry | None]:
        return {key: held.entry for key, held in sorted(self._held(point).items())}

    def changes(self, old: Point, new: Point) -> list[Change]:
        before, after = self.entries(old), self.entries(new)
        return [
            Change(key, before.get(key), after.get(key))
            for key in sorted(before.keys() | after.keys())
            if _identity(before.get(key)) != _identity(after.get(key))
        ]

    def commits(self, branch_id: int, *, before: int | None = None, limit: int | None = None) -> list[Commit]:
        self.branch_by_id(branch_id)
        found = [item.commit for item in reversed(self._history[branch_id])]
        return [commit for commit in found if before is None or commit.number < before][:limit]

    def get_commit(self, point: Point) -> Commit:
        return self._snapshot(point).commit

    def commit_changes(self, point: Point) -> list[Change]:
        self._held(point)
        return [] if point.number == 0 else self.changes(Point(point.branch_id, point.number - 1), point)

    def find(self, fingerprint: str, *, limit: int = 20) -> list[Found]:
        found = {}
        for branch in self._branches.values():
            for held in self._rows(branch.id):
                if held.entry is not None and held.entry.provenance.fingerprint == fingerprint != "":
                    found[held.sequence] = Found(
                        held.entry, branch.id, branch.name, branch.kind, branch.open, held.since
                    )
        return [found[sequence] for sequence in sorted(found, reverse=True)][:limit]

    def find_many(self, fingerprints: Collection[str]) -> dict[str, list[Found]]:
        return {text: found for text in sorted(set(fingerprints)) if (found := self.find(text))}

    def _snapshot(self, point: Point) -> _Snapshot:
        branch = self.branch_by_id(point.branch_id)
        if not 0 <= point.number <= branch.head:
            raise rules.no_commit(branch, point.number)
        return self._history[branch.id][point.number]

    def _held(self, point: Point) -> dict[str, _Held]:
        held = self._snapshot(point).held
        if held is None:
            raise rules.retired(self._branches[point.branch_id], point.number)
        return held

    def _seen(self, point: Point) -> dict[str, _Held]:
        held = self._held(point)
        below = self._base_of(point)
        return held if below is None else {**self._seen(below), **held}

    def _base_of(self, point: Point) -> Point | None:
        parent, base = self._branches[point.branch_id].parent, self._snapshot(point).commit.base
        return None if parent is None or base is None else Point(parent, base)

    def _rows(self, branch_id: int) -> Iterator[_Held]:
        for snapshot in self._history[branch_id]:
            yield from (snapshot.held or {}).values()

    # writing
    def commit(self, request: CommitRequest) -> Commit:
        rules.check_request(request)
        branch = self.branch_by_id(request.branch)
        if request.idempotency_key is not None:
            for snapshot in self._history[branch.id]:
                if snapshot.commit.idempotency_key == request.idempotency_key:
                    return snapshot.commit
        rules.check_open(branch)
        if request.lease is not None and request.lease not in [lease.token for lease in self.leases()]:
            raise rules.lease_lost()
        if request.expect_head is not None and request.expect_head != branch.head:
            raise rules.head_moved(branch, request.expect_head)
        base = branch.base
        if request.base is not None:
            if branch.parent is None:
                raise rules.root_has_no_base(branch)
            self._held(Point(branch.parent, request.base))
            base = request.base
        held = dict(self._held(branch.point))
        below = {} if branch.parent is None or base is None else self._seen(Point(branch.parent, base))
        seen = {
            key: (item.entry.version, item.entry.location)
            for key, item in {**below, **held}.items()
            if item.entry is not None
        }
        rules.check_expectations(request, branch, seen)
        for key, entry in sorted(request.changes.items()):
            if entry is not None and entry.location in self._condemned:
                raise rules.condemned_location(branch, key, entry.location)
        self._check_closable(request.close)

        number = branch.head + 1
        dropped = [key for key in set(request.drop) if held.pop(key, None) is not None]
        for key, entry in sorted(request.changes.items()):
            if entry is not None:
                stored = provenance_from_json(provenance_to_json(entry.provenance))
                held[key] = _Held(next(self._sequence), number, replace(entry, provenance=stored))
            elif branch.parent is not None:
                held[key] = _Held(next(self._sequence), number, None)
            else:
                held.pop(key, None)
        commit = Commit(
            branch_id=branch.id,
            branch=branch.name,
            number=number,
            base=base,
            time=max(self._clock(), self._history[branch.id][-1].commit.time),
            kind=request.kind,
            message=request.message,
            author=request.author,
            git_commit=request.git_commit,
            definitions=request.definitions,
            run=request.run,
            keys=len(request.changes) + len(dropped),
            properties=plain(request.properties),
            idempotency_key=request.idempotency_key,
        )
        properties = plain(rules.updated(branch.properties, request.branch_properties))
        self._history[branch.id].append(_Snapshot(commit, held))
        self._branches[branch.id] = replace(branch, head=number, base=base, properties=properties)
        self._close(request.close)
        return commit

    # tags
    def set_tag(self, name: str, point: Point, message: str = "") -> Tag:
        rules.check_tag_name(name)
        self._held(point)
        tag = self._tags.get(name)
        if tag is not None and tag.point != point:
            raise rules.tag_exists(tag)
        return self._tags.setdefault(name, tag or Tag(name, point, self._clock(), message))

    def delete_tag(self, name: str) -> None:
        if self._tags.pop(name, None) is None:
            raise rules.no_tag(name, self._tags)

    def tags(self) -> list[Tag]:
        return [self._tags[name] for name in sorted(self._tags)]

    # leases
    def acquire(
        self, name: str, *, holder: str, ttl: timedelta, info: Mapping[str, Any] | None = None
    ) -> Lease:
        time = self._clock()
        present = self._leases.get(name)
        if present is not None and present.expires_at > time:
            raise rules.lease_taken(present)
        self._leases[name] = Lease(name, secrets.token_hex(16), holder, time, time + ttl, plain(info))
        return self._leases[name]

    def renew(self, token: str, *, ttl: timedelta) -> Lease:
        for name, lease in self._leases.items():
            if lease.token == token:
                self._leases[name] = replace(lease, expires_at=self._clock() + ttl)
                return self._leases[name]
        raise rules.lease_lost()

    def release(self, token: str) -> None:
        self._leases = {name: lease for name, lease in self._leases.items() if lease.token != token}

    def leases(self) -> list[Lease]:
        time = self._clock()
        return [lease for _, lease in sorted(self._leases.items()) if lease.expires_at > time]

    # runs
    def put_run(self, run: RunRecord) -> None:
        self._runs[run.id] = replace(
            run,
            started_at=utc(run.started_at),
            finished_at=None if run.finished_at is None else utc(run.finished_at),
            properties=plain(run.properties),
        )

    def get_run(self, run_id: str) -> RunRecord:
        if run_id in self._runs:
            return self._runs[run_id]
        matching = sorted(item for item in self._runs if item.startswith(run_id))
        if len(matching) != 1 or not run_id:
            raise rules.no_run(run_id, matching)
        return self._runs[matching[0]]

    def runs(self, *, target: int | None = None, limit: int = 50) -> list[RunRecord]:
        found = [run for run in self._runs.values() if target is None or run.target == target]
        return sorted(found, key=lambda run: (run.started_at, run.id), reverse=True)[:limit]

    def delete_runs(self, before: datetime, *, keep: int) -> int:
        doomed = [
            run.id
            for target in {run.target for run in self._runs.values()}
            for run in self.runs(target=target, limit=len(self._runs))[keep:]
            if run.finished_at is not None and run.finished_at < before
        ]
        for run_id in doomed:
            del self._runs[run_id]
        return len(doomed)

    # notes
    def put_note(self, kind: str, key: str, value: Mapping[str, Any]) -> None:
        self._notes[kind, key] = plain(value)

    def get_note(self, kind: str, key: str) -> Mapping[str, Any] | None:
        return self._notes.get((kind, key))

    def notes(self, kind: str, prefix: str = "") -> dict[str, Mapping[str, Any]]:
        return {
            key: value
            for (of, key), value in sorted(self._notes.items())
            if of == kind and key.startswith(prefix)
        }

    def delete_notes(self, kind: str, prefix: str = "") -> int:
        doomed = self.notes(kind, prefix)
        for key in doomed:
            del self._notes[kind, key]
        return len(doomed)

    # retention
    def _retained(self, keep: Mapping[int, int], ending: Collection[int] = ()) -> set[Point]:
        rules.check_keep(keep, self._branches.values(), ending)
        waiting = [tag.point for tag in self._tags.values()]
        for branch_id, oldest in keep.items():
            waiting += [
                item.commit.point for item in self._history[branch_id] if item.commit.number >= oldest
            ]
        retained: set[Point] = set()
        while waiting:
            point = waiting.pop()
            if point not in retained and self._snapshot(point).held is not None:
                retained.add(point)
                below = self._base_of(point)
                waiting += [] if below is None else [below]
        return retained

    def reachable(self, keep: Mapping[int, int], *, ending: Collection[int] = ()) -> set[str]:
        return {
            entry.location
            for point in self._retained(keep, ending)
            for entry in self.own(point).values()
            if entry
        }

    def noted(self, keep: Mapping[int, int], name: str, *, ending: Collection[int] = ()) -> list[Any]:
        return [
            entry.provenance.extra[name]
            for point in self._retained(keep, ending)
            for entry in self.own(point).values()
            if entry and name in entry.provenance.extra
        ]

    def retire(self, keep: Mapping[int, int]) -> int:
        retained = self._retained(keep)
        before = self._locations()
        for history in self._history.values():
            for snapshot in history:
                if snapshot.commit.point not in retained:
                    snapshot.held = None
        doomed = before - self._locations()
        self._condemned.update(dict.fromkeys(doomed, self._clock()))
        return len(doomed)

    def _locations(self) -> set[str]:
        return {
            held.entry.location
            for branch_id in self._branches
            for held in self._rows(branch_id)
            if held.entry
        }

    def condemned(self, before: datetime) -> set[str]:
        return {location for location, time in self._condemned.items() if time < utc(before)}

    def forget(self, locations: Collection[str]) -> None:
        for location in locations:
            self._condemned.pop(location, None)

    def statistics(self) -> Mapping[str, int]:
        return {
            "branches": len(self._branches),
            "open_branches": len(self._open_names()),
            "commits": sum(len(history) for history in self._history.values()),
            "entries": sum(len({held.sequence for held in self._rows(item)}) for item in self._branches),
            "bytes": 0,
        }
