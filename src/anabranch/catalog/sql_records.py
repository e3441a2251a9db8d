"""The part of the SQL catalog beside the history: tags, leases, runs and notes.

Each is a small table of its own; the only thing they know of the history is that a tag names a commit.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from anabranch.catalog import queries, rules
from anabranch.catalog.base import Lease, Point, RunRecord, Tag
from anabranch.catalog.database import Database, Row, Transaction
from anabranch.catalog.rows import from_json, from_micros, from_micros_or_none, to_json, to_micros

_LEASE = "name, token, holder, acquired_at, expires_at, info"
_RUN = "id, target, branch, state, started_at, finished_at, git_commit, definitions, properties"
_LAST = "\U0010ffff"  # sorts behind every continuation of a prefix


class SqlRecords:
    """Tags, leases, runs and notes; `SqlCatalog` adds the history."""

    _database: Database
    _clock: Callable[[], datetime]

    # tags
    def set_tag(self, name: str, point: Point, message: str = "") -> Tag:
        rules.check_tag_name(name)
        with self._database.write() as tx:
            queries.readable(tx, queries.branch_by_id(tx, point.branch_id), point.number)
            row = tx.one("select name, branch_id, number, created_at, message from tags where name = ?", name)
            if row is not None:
                tag = _tag_of(row)
                if tag.point != point:
                    raise rules.tag_exists(tag)
                return tag
            tag = Tag(name, point, self._clock(), message)
            tx.run(
                "insert into tags (name, branch_id, number, created_at, message) values (?, ?, ?, ?, ?)",
                name,
                point.branch_id,
                point.number,
                to_micros(tag.created_at),
                message,
            )
            return tag

    def delete_tag(self, name: str) -> None:
        with self._database.write() as tx:
            if not tx.run("delete from tags where name = ?", name):
                raise rules.no_tag(name, queries.tag_names(tx))

    def tags(self) -> list[Tag]:
        with self._database.read() as tx:
            rows = tx.all("select name, branch_id, number, created_at, message from tags order by name")
        return [_tag_of(row) for row in rows]

    # leases
    def acquire(
        self, name: str, *, holder: str, ttl: timedelta, info: Mapping[str, Any] | None = None
    ) -> Lease:
        with self._database.write() as tx:
            now = self._clock()
            row = tx.one(
                f"select {_LEASE} from leases where name = ? and expires_at > ?", name, to_micros(now)
            )
            if row is not None:
                raise rules.lease_taken(_lease_of(row))
            values = (
                name,
                secrets.token_hex(16),
                holder,
                to_micros(now),
                to_micros(now + ttl),
                to_json(info or {}),
            )
            tx.run("delete from leases where name = ?", name)
            tx.run(f"insert into leases ({_LEASE}) values (?, ?, ?, ?, ?, ?)", *values)
            return _lease_of(values)

    def renew(self, token: str, *, ttl: timedelta) -> Lease:
        with self._database.write() as tx:
            tx.run("update leases set expires_at = ? where token = ?", to_micros(self._clock() + ttl), token)
            row = tx.one(f"select {_LEASE} from leases where token = ?", token)
            if row is None:
                raise rules.lease_lost()
            return _lease_of(row)

    def release(self, token: str) -> None:
        with self._database.write() as tx:
            tx.run("delete from leases where token = ?", token)

    def leases(self) -> list[Lease]:
        with self._database.read() as tx:
            rows = tx.all(
                f"select {_LEASE} from leases where expires_at > ? order by name", to_micros(self._clock())
            )
        return [_lease_of(row) for row in rows]

    def _check_lease(self, tx: Transaction, token: str) -> None:
        if (
            tx.one("select 1 from leases where token = ? and expires_at > ?", token, to_micros(self._clock()))
            is None
        ):
            raise rules.lease_lost()

    # runs
    def put_run(self, run: RunRecord) -> None:
        with self._database.write() as tx:
            tx.run("delete from runs where id = ?", run.id)
            tx.run(
                f"insert into runs ({_RUN}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                run.id,
                run.target,
                run.branch,
                run.state,
                to_micros(run.started_at),
                None if run.finished_at is None else to_micros(run.finished_at),
                run.git_commit,
                run.definitions,
                to_json(run.properties),
            )

    def get_run(self, run_id: str) -> RunRecord:
        with self._database.read() as tx:
            row = tx.one(f"select {_RUN} from runs where id = ?", run_id)
            if row is not None:
                return _run_of(row)
            rows = tx.all(
                f"select {_RUN} from runs where id >= ? and id < ? order by id limit 6",
                run_id,
                run_id + _LAST,
            )
        if len(rows) != 1 or not run_id:
            raise rules.no_run(run_id, [row[0] for row in rows])
        return _run_of(rows[0])

    def runs(self, *, target: int | None = None, limit: int = 50) -> list[RunRecord]:
        order = "order by started_at desc, id desc limit ?"
        with self._database.read() as tx:
            if target is None:
                rows = tx.all(f"select {_RUN} from runs {order}", limit)
            else:
                rows = tx.all(f"select {_RUN} from runs where target = ? {order}", target, limit)
        return [_run_of(row) for row in rows]

    def delete_runs(self, before: datetime, *, keep: int) -> int:
        with self._database.write() as tx:
            return tx.run(
                "delete from runs where finished_at < ? and id in (select id from (select id, row_number() over"
                " (partition by target order by started_at desc, id desc) as place from runs) as ranked"
                " where place > ?)",
                to_micros(before),
                keep,
            )

    # notes
    def put_note(self, kind: str, key: str, value: Mapping[str, Any]) -> None:
        with self._database.write() as tx:
            tx.run(
                "insert into notes (kind, key, value) values (?, ?, ?)"
                " on conflict (kind, key) do update set value = excluded.value",
                kind,
                key,
                to_json(value),
            )

    def get_note(self, kind: str, key: str) -> Mapping[str, Any] | None:
        with self._database.read() as tx:
            row = tx.one("select value from notes where kind = ? and key = ?", kind, key)
        return None if row is None else from_json(row[0])

    def notes(self, kind: str, prefix: str = "") -> dict[str, Mapping[str, Any]]:
        with self._database.read() as tx:
            rows = tx.all(
                "select key, value from notes where kind = ? and key >= ? and key < ? order by key",
                kind,
                prefix,
                prefix + _LAST,
            )
        return {key: from_json(value) for key, value in rows}

    def delete_notes(self, kind: str, prefix: str = "") -> int:
        with self._database.write() as tx:
            return tx.run(
                "delete from notes where kind = ? and key >= ? and key < ?", kind, prefix, prefix + _LAST
            )


def _tag_of(row: Row) -> Tag:
    name, branch_id, number, created, message = row
    return Tag(name, Point(branch_id, number), from_micros(created), message)


def _lease_of(row: Row) -> Lease:
    name, token, holder, acquired, expires, info = row
    return Lease(name, token, holder, from_micros(acquired), from_micros(expires), from_json(info))


def _run_of(row: Row) -> RunRecord:
    run_id, target, branch, state, started, finished, git_commit, definitions, properties = row
    return RunRecord(
        id=run_id,
        target=target,
        branch=branch,
        state=state,
        started_at=from_micros(started),
        finished_at=from_micros_or_none(finished),
        git_commit=git_commit,
        definitions=definitions,
        properties=from_json(properties),
    )
