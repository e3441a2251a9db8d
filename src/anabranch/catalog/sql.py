"""The catalog in an SQL database: the meaning of `memory.py`, kept through a power cut.

An entry is a row that is valid on its branch from one commit until another. A branch sees its own rows and, for keys
it has none of, those of the commit it stands on; so opening a branch is one insert and reading a key a few probes of
an index. The meaning of each call stands in `base.py`. Everything in which databases differ is behind a `Dialect`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from anabranch.catalog import queries, rules, sql_retention
from anabranch.catalog.base import Branch, BranchKind, Change, Commit, CommitRequest, Entry, Found, Point
from anabranch.catalog.database import Database, Row, Transaction
from anabranch.catalog.dialect import Dialect
from anabranch.catalog.rows import (
    BRANCH,
    COMMIT,
    ENTRY,
    branch_of,
    commit_of,
    entry_of,
    from_micros,
    plain,
    provenance_to_json,
    to_json,
    to_micros,
)
from anabranch.catalog.schema import FOREVER, ensure_schema
from anabranch.catalog.sql_records import SqlRecords
from anabranch.names import Ref, now, parse_ref

_FOUND_LIMIT = 20


class SqlCatalog(SqlRecords):
    """A catalog in a database.

    Args:
        dialect: Which database, and where; its tables are made or brought forward at once.
        clock: Gives the present time (UTC).

    Raises:
        CatalogError: the database can't be opened, or holds something else.
        CatalogVersionError: a newer program wrote it.
    """

    def __init__(self, dialect: Dialect, *, clock: Callable[[], datetime] = now) -> None:
        self._database = Database(dialect)
        self._clock = clock
        try:
            ensure_schema(self._database)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        self._database.close()

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
        with self._database.write() as tx:
            if queries.open_branch_named(tx, name) is not None:
                raise rules.branch_exists(name)
            if parent is not None:
                queries.readable(tx, queries.branch_by_id(tx, parent.branch_id), parent.number)
            (last,) = tx.one("select coalesce(max(id), 0) from branches") or (0,)
            created = to_micros(self._clock())
            branch = branch_of(
                (
                    last + 1,
                    name,
                    kind,
                    1,
                    None if parent is None else parent.branch_id,
                    None if parent is None else parent.number,
                    0,
                    created,
                    None,
                    None if expires_at is None else to_micros(expires_at),
                    to_json(rules.updated({}, properties)),
                )
            )
            tx.run(
                "insert into branches (id, name, kind, open, parent, base, head, created_at, expires_at, properties)"
                " values (?, ?, ?, 1, ?, ?, 0, ?, ?, ?)",
                branch.id,
                name,
                kind,
                branch.parent,
                branch.base,
                created,
                None if expires_at is None else to_micros(expires_at),
                to_json(branch.properties),
            )
            commit = Commit(
                branch_id=branch.id,
                branch=name,
                number=0,
                base=branch.base,
                time=from_micros(created),
                kind="open",
                message=message,
                author=author,
                git_commit=git_commit,
                definitions=definitions,
                run=None,
                keys=0,
            )
            _insert_commit(tx, commit)
            return branch

    def branch(self, name: str) -> Branch:
        with self._database.read() as tx:
            branch = queries.open_branch_named(tx, name)
            if branch is None:
                raise rules.no_branch(name, queries.open_names(tx))
            return branch

    def branch_by_id(self, branch_id: int) -> Branch:
        with self._database.read() as tx:
            return queries.branch_by_id(tx, branch_id)

    def branches(self, *, kind: BranchKind | None = None, include_closed: bool = False) -> list[Branch]:
        with self._database.read() as tx:
            if include_closed:
                rows = tx.all(f"select {BRANCH} from branches b order by b.id")
            else:
                rows = tx.all(f"select {BRANCH} from branches b where b.open = 1 order by b.id")
        return [branch for branch in map(branch_of, rows) if kind is None or branch.kind == kind]

    def update_branch(
        self,
        branch_id: int,
        *,
        properties: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
    ) -> Branch:
        with self._database.write() as tx:
            branch = queries.branch_by_id(tx, branch_id)
            if expires_at is not None:
                tx.run("update branches set expires_at = ? where id = ?", to_micros(expires_at), branch_id)
            _set_properties(tx, branch, properties)
            return queries.branch_by_id(tx, branch_id)

    def close_branch(self, branch_id: int) -> Branch:
        with self._database.write() as tx:
            self._close(tx, [branch_id])
            return queries.branch_by_id(tx, branch_id)

    def _close(self, tx: Transaction, branch_ids: Collection[int]) -> None:
        for branch_id in sorted(branch_ids):
            branch = queries.branch_by_id(tx, branch_id)
            rules.check_closable(branch, queries.standing_on(tx, branch_id), branch_ids)
        for branch_id in branch_ids:
            tx.run(
                "update branches set open = 0, closed_at = ? where id = ? and open = 1",
                to_micros(self._clock()),
                branch_id,
            )

    # reading
    def resolve(self, ref: Ref | str) -> Point:
        with self._database.read() as tx:
            return queries.resolve(tx, parse_ref(ref) if isinstance(ref, str) else ref)

    def get(self, point: Point, key: str) -> Entry | None:
        with self._database.read() as tx:
            row = queries.row_at(tx, queries.line_of(tx, point), key)
        return None if row is None else entry_of(row)

    def entries(self, point: Point, keys: Iterable[str] | None = None) -> dict[str, Entry]:
        wanted = None if keys is None else set(keys)
        with self._database.read() as tx:
            rows = queries.rows_at(tx, queries.line_of(tx, point), wanted)
        return {key: entry_of(rows[key]) for key in sorted(rows)}

    def own(self, point: Point) -> dict[str, Entry | None]:
        with self._database.read() as tx:
            queries.readable(tx, queries.branch_by_id(tx, point.branch_id), point.number)
            rows = queries.own_rows(tx, point)
        return {
            row[0]: None if row[queries.LOCATION] is None else entry_of(row)
            for row in sorted(rows, key=lambda row: str(row[0]))
        }

    def changes(self, old: Point, new: Point) -> list[Change]:
        with self._database.read() as tx:
            return queries.changes_between(tx, queries.line_of(tx, old), queries.line_of(tx, new))

    def commits(self, branch_id: int, *, before: int | None = None, limit: int | None = None) -> list[Commit]:
        with self._database.read() as tx:
            queries.branch_by_id(tx, branch_id)
            rows = tx.all(
                f"select {COMMIT} from commits c join branches b on b.id = c.branch_id"
                " where c.branch_id = ? and c.number < ? order by c.number desc limit ?",
                branch_id,
                FOREVER if before is None else before,
                FOREVER if limit is None else limit,
            )
        return [commit_of(row) for row in rows]

    def get_commit(self, point: Point) -> Commit:
        with self._database.read() as tx:
            return queries.commit_at(tx, point)

    def commit_changes(self, point: Point) -> list[Change]:
        with self._database.read() as tx:
            new = queries.line_of(tx, point)
            if point.number == 0:
                return []
            return queries.changes_between(
                tx, queries.line_of(tx, Point(point.branch_id, point.number - 1)), new
            )

    def find(self, fingerprint: str, *, limit: int = _FOUND_LIMIT) -> list[Found]:
        with self._database.read() as tx:
            rows = tx.all(
                f"select {ENTRY}, e.branch_id, b.name, b.kind, b.open, e.since, e.fingerprint"
                " from entries e join branches b on b.id = e.branch_id"
                " where e.fingerprint = ? order by e.id desc limit ?",
                fingerprint,
                limit,
            )
        return [_found_of(row) for row in rows]

    def find_many(self, fingerprints: Collection[str]) -> dict[str, list[Found]]:
        found: dict[str, list[Found]] = {}
        with self._database.read() as tx:
            rows = tx.within(
                "select * from ("
                f"select {ENTRY}, e.branch_id, b.name as branch_name, b.kind as branch_kind, b.open, e.since,"
                " e.fingerprint, row_number() over (partition by e.fingerprint order by e.id desc) as place"
                " from entries e join branches b on b.id = e.branch_id where e.fingerprint in ({})"
                f") found where place <= {_FOUND_LIMIT} order by fingerprint, place",
                sorted(set(fingerprints)),
            )
            for row in rows:
                found.setdefault(row[-2], []).append(_found_of(row[:-1]))
        return found

    # writing
    def commit(self, request: CommitRequest) -> Commit:
        rules.check_request(request)
        with self._database.write() as tx:
            branch = queries.branch_by_id(tx, request.branch)
            if request.idempotency_key is not None:
                row = tx.one(
                    f"select {COMMIT} from commits c join branches b on b.id = c.branch_id"
                    " where c.branch_id = ? and c.idempotency_key = ?",
                    branch.id,
                    request.idempotency_key,
                )
                if row is not None:
                    return commit_of(row)
            rules.check_open(branch)
            if request.lease is not None:
                self._check_lease(tx, request.lease)
            if request.expect_head is not None and request.expect_head != branch.head:
                raise rules.head_moved(branch, request.expect_head)
            base = _base_of(tx, branch, request)
            _check_expectations(tx, branch, base, request)
            _check_condemned(tx, branch, request)

            number = branch.head + 1
            dropped = _write_entries(tx, branch.id, number, request, keep_deletions=branch.parent is not None)
            commit = Commit(
                branch_id=branch.id,
                branch=branch.name,
                number=number,
                base=base,
                time=from_micros(queries.next_time(tx, branch, self._clock())),
                kind=request.kind,
                message=request.message,
                author=request.author,
                git_commit=request.git_commit,
                definitions=request.definitions,
                run=request.run,
                keys=len(request.changes) + dropped,
                properties=plain(request.properties),
                idempotency_key=request.idempotency_key,
            )
            _insert_commit(tx, commit)
            tx.run("update branches set head = ?, base = ? where id = ?", number, base, branch.id)
            _set_properties(tx, branch, request.branch_properties)
            self._close(tx, request.close)
            return commit

    # retention
    def reachable(self, keep: Mapping[int, int], *, ending: Collection[int] = ()) -> set[str]:
        with self._database.read() as tx:
            return sql_retention.reachable(tx, keep, ending)

    def noted(self, keep: Mapping[int, int], name: str, *, ending: Collection[int] = ()) -> list[Any]:
        with self._database.read() as tx:
            return sql_retention.noted(tx, keep, name, ending)

    def retire(self, keep: Mapping[int, int]) -> int:
        with self._database.write() as tx:
            return sql_retention.retire(tx, keep, to_micros(self._clock()))

    def condemned(self, before: datetime) -> set[str]:
        with self._database.read() as tx:
            rows = tx.all("select location from condemned where time < ?", to_micros(before))
        return {location for (location,) in rows}

    def forget(self, locations: Collection[str]) -> None:
        with self._database.write() as tx:
            tx.many("delete from condemned where location = ?", [(location,) for location in locations])

    def statistics(self) -> Mapping[str, int]:
        counts = {
            "branches": "select count(*) from branches",
            "open_branches": "select count(*) from branches where open = 1",
            "commits": "select count(*) from commits",
            "entries": "select count(*) from entries",
            "bytes": self._database.dialect.size,
        }
        with self._database.read() as tx:
            return {name: (tx.one(query) or (0,))[0] for name, query in counts.items()}


def _found_of(row: Row) -> Found:
    branch_id, name, kind, is_open, number, _ = row[5:]
    return Found(entry_of(row[:5]), branch_id, name, kind, bool(is_open), number)


def _base_of(tx: Transaction, branch: Branch, request: CommitRequest) -> int | None:
    if request.base is None:
        return branch.base
    if branch.parent is None:
        raise rules.root_has_no_base(branch)
    return queries.readable(tx, queries.branch_by_id(tx, branch.parent), request.base).number


def _check_expectations(tx: Transaction, branch: Branch, base: int | None, request: CommitRequest) -> None:
    keys = {*request.expect, *request.expect_location}
    if not keys:
        return
    line = [branch.point]
    if branch.parent is not None and base is not None:
        line += queries.line_of(tx, Point(branch.parent, base))
    rows = queries.rows_at(tx, line, keys)
    seen = {key: (row[queries.VERSION], row[queries.LOCATION]) for key, row in rows.items()}
    rules.check_expectations(request, branch, seen)


def _check_condemned(tx: Transaction, branch: Branch, request: CommitRequest) -> None:
    keys = {
        entry.location: key
        for key, entry in sorted(request.changes.items(), reverse=True)
        if entry is not None
    }
    found = [
        location for (location,) in tx.within("select location from condemned where location in ({})", keys)
    ]
    if found:
        location = min(found, key=lambda location: keys[location])
        raise rules.condemned_location(branch, keys[location], location)


def _write_entries(
    tx: Transaction, branch_id: int, number: int, request: CommitRequest, *, keep_deletions: bool
) -> int:
    end = "update entries set until = ? where branch_id = ? and key = ? and until = ?"
    dropped = tx.many(end, [(number, branch_id, key, FOREVER) for key in sorted(set(request.drop))])
    keys = sorted(request.changes)
    tx.many(end, [(number, branch_id, key, FOREVER) for key in keys])
    rows: list[Row] = []
    for key in keys:
        entry = request.changes[key]
        if entry is not None:
            fingerprint = entry.provenance.fingerprint or None
            value = (
                entry.kind,
                entry.location,
                entry.version,
                fingerprint,
                provenance_to_json(entry.provenance),
            )
            rows.append((branch_id, key, number, FOREVER, *value))
        elif keep_deletions:
            rows.append((branch_id, key, number, FOREVER, None, None, None, None, None))
    tx.many(
        "insert into entries (branch_id, key, since, until, kind, location, version, fingerprint, provenance)"
        " values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    return dropped


def _insert_commit(tx: Transaction, commit: Commit) -> None:
    tx.run(
        "insert into commits (branch_id, number, base, time, kind, message, author, git_commit, definitions, run,"
        " keys, properties, idempotency_key, retired) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
        commit.branch_id,
        commit.number,
        commit.base,
        to_micros(commit.time),
        commit.kind,
        commit.message,
        commit.author,
        commit.git_commit,
        commit.definitions,
        commit.run,
        commit.keys,
        to_json(commit.properties),
        commit.idempotency_key,
    )


def _set_properties(tx: Transaction, branch: Branch, properties: Mapping[str, Any] | None) -> None:
    if properties:
        tx.run(
            "update branches set properties = ? where id = ?",
            to_json(rules.updated(branch.properties, properties)),
            branch.id,
        )
