"""Reading the versioned map inside a transaction: branches, the line of descent of a commit, what it sees.

Plain functions on a `Transaction`, so that one call of the catalog can put several of them together and still see
one committed state. The row of an entry is ``(key, kind, location, version, provenance)``; a deletion has no location.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from anabranch.catalog import rules
from anabranch.catalog.base import Branch, Change, Commit, Entry, Point
from anabranch.catalog.database import Row, Transaction
from anabranch.catalog.rows import BRANCH, COMMIT, ENTRY, branch_of, commit_of, entry_of, to_micros
from anabranch.names import Ref

LOCATION, VERSION = 2, 3  # places in the row of an entry
_WHOLE = 2000  # from so many keys on, what a short line of descent holds is read whole


def branch_by_id(tx: Transaction, branch_id: int) -> Branch:
    """Any branch. Raises RefError."""
    row = tx.one(f"select {BRANCH} from branches b where b.id = ?", branch_id)
    if row is None:
        raise rules.no_branch_id(branch_id)
    return branch_of(row)


def open_branch_named(tx: Transaction, name: str) -> Branch | None:
    """The open branch of that name, or None."""
    row = tx.one(f"select {BRANCH} from branches b where b.name = ? and b.open = 1", name)
    return None if row is None else branch_of(row)


def all_branches(tx: Transaction) -> list[Branch]:
    """Every branch there ever was."""
    return [branch_of(row) for row in tx.all(f"select {BRANCH} from branches b order by b.id")]


def open_names(tx: Transaction) -> list[str]:
    """Names of the open branches."""
    return [name for (name,) in tx.all("select name from branches where open = 1")]


def tag_names(tx: Transaction) -> list[str]:
    """Names of the tags."""
    return [name for (name,) in tx.all("select name from tags")]


def commit_at(tx: Transaction, point: Point) -> Commit:
    """One commit, retired or not. Raises RefError."""
    row = tx.one(
        f"select {COMMIT} from commits c join branches b on b.id = c.branch_id where c.branch_id = ? and c.number = ?",
        *_of(point),
    )
    if row is None:
        raise rules.no_commit(branch_by_id(tx, point.branch_id), point.number)
    return commit_of(row)


def _of(point: Point) -> tuple[int, int]:
    return point.branch_id, point.number


def line_of(tx: Transaction, point: Point) -> list[Point]:
    """The commit and those it stands on, down to the root. Raises RefError (no such commit, or retired)."""
    line = []
    at: Point | None = point
    while at is not None:
        row = tx.one(
            "select b.parent, c.base, c.retired from commits c join branches b on b.id = c.branch_id"
            " where c.branch_id = ? and c.number = ?",
            *_of(at),
        )
        if row is None:
            raise rules.no_commit(branch_by_id(tx, at.branch_id), at.number)
        parent, base, retired = row
        if retired:
            raise rules.retired(branch_by_id(tx, at.branch_id), at.number)
        line.append(at)
        at = None if parent is None else Point(parent, base)
    return line


def row_at(tx: Transaction, line: list[Point], key: str) -> Row | None:
    """The row of the key that the line of descent sees, or None where there is none or a deletion."""
    for point in line:
        row = tx.one(
            f"select {ENTRY}, e.since from entries e where e.branch_id = ? and e.key = ? and e.until > ?"
            " order by e.until limit 1",
            point.branch_id,
            key,
            point.number,
        )
        if row is not None and row[-1] <= point.number:
            return row[:-1] if row[LOCATION] is not None else None
    return None


def own_rows(tx: Transaction, point: Point) -> list[Row]:
    """The rows that the branch itself holds at the commit, deletions among them."""
    # The plus keeps the planner from the index of `since`, which would read all of the branch's history.
    return tx.all(
        f"select {ENTRY} from entries e where e.branch_id = ? and e.until > ? and +e.since <= ?",
        *_of(point),
        point.number,
    )


def rows_at(tx: Transaction, line: list[Point], keys: Collection[str] | None = None) -> dict[str, Row]:
    """The rows that the line of descent sees, by key, without deletions; all, or those of the keys given."""
    wanted = None if keys is None else set(keys)
    found: dict[str, Row] = {}
    for point in line:
        if wanted is None or len(wanted) >= _WHOLE:
            rows: list[Row] | Iterator[Row] = own_rows(tx, point)
        else:
            missing = wanted - found.keys()
            if not missing:
                break
            rows = tx.within(
                f"select {ENTRY} from entries e where e.branch_id = ? and e.until > ? and +e.since <= ?"
                " and e.key in ({})",
                sorted(missing),
                *_of(point),
                point.number,
            )
        for row in rows:
            if row[0] not in found and (wanted is None or row[0] in wanted):
                found[row[0]] = row
    return {key: row for key, row in found.items() if row[LOCATION] is not None}


def changes_between(tx: Transaction, old: list[Point], new: list[Point]) -> list[Change]:
    """What differs between two lines of descent, by key in sorted order.

    Where they meet in a branch, only keys are looked at that a branch above the meeting holds itself, or whose rows
    begin or end between the two commits of a shared branch.
    """
    keys = _keys_that_may_differ(tx, old, new)
    before, after = rows_at(tx, old, keys), rows_at(tx, new, keys)
    differing = []
    for key in sorted(before.keys() | after.keys()):
        was, becomes = before.get(key), after.get(key)
        if was is None or becomes is None or was[LOCATION : VERSION + 1] != becomes[LOCATION : VERSION + 1]:
            differing.append(Change(key, _entry_or_none(was), _entry_or_none(becomes)))
    return differing


def _entry_or_none(row: Row | None) -> Entry | None:
    return None if row is None else entry_of(row)


def _keys_that_may_differ(tx: Transaction, old: list[Point], new: list[Point]) -> set[str] | None:
    numbers = {point.branch_id: point.number for point in old}
    shared = {point.branch_id for point in new} & numbers.keys()
    if not shared:
        return None
    keys: set[str] = set()
    for point in (*old, *new):
        if point.branch_id not in shared:
            keys.update(
                key
                for (key,) in tx.all(
                    "select key from entries where branch_id = ? and until > ? and +since <= ?",
                    *_of(point),
                    point.number,
                )
            )
    for point in new:
        if point.branch_id in shared and point.number != numbers[point.branch_id]:
            low, high = sorted((point.number, numbers[point.branch_id]))
            keys.update(
                key
                for (key,) in tx.all(
                    "select key from entries where branch_id = ? and since > ? and since <= ?"
                    " union select key from entries where branch_id = ? and until > ? and until <= ?",
                    *(point.branch_id, low, high) * 2,
                )
            )
    return keys


def resolve(tx: Transaction, ref: Ref) -> Point:
    """The commit that a ref means; see `Catalog.resolve`."""
    branch = open_branch_named(tx, ref.name)
    if branch is None:
        if ref.commit is None and ref.time is None:
            tag = tx.one("select branch_id, number from tags where name = ?", ref.name)
            if tag is not None:
                return Point(*tag)
            raise rules.no_ref(ref.name, [*open_names(tx), *tag_names(tx)])
        raise rules.no_branch(ref.name, open_names(tx))
    number = branch.head
    if ref.commit is not None:
        number = ref.commit
    elif ref.time is not None:
        row = tx.one(
            "select number from commits where branch_id = ? and time <= ? order by time desc, number desc limit 1",
            branch.id,
            to_micros(ref.time),
        )
        if row is None:
            moment = ref.time if ref.time.tzinfo else ref.time.replace(tzinfo=UTC)
            raise rules.before_branch(branch, moment)
        number = row[0]
    return readable(tx, branch, number)


def readable(tx: Transaction, branch: Branch, number: int) -> Point:
    """The commit of that number. Raises RefError where there is none or gc retired it."""
    row = tx.one("select retired from commits where branch_id = ? and number = ?", branch.id, number)
    if row is None:
        raise rules.no_commit(branch, number)
    if row[0]:
        raise rules.retired(branch, number)
    return Point(branch.id, number)


def standing_on(tx: Transaction, branch_id: int) -> list[Branch]:
    """The branches whose parent it is."""
    return [
        branch_of(row) for row in tx.all(f"select {BRANCH} from branches b where b.parent = ?", branch_id)
    ]


def next_time(tx: Transaction, branch: Branch, now: datetime) -> int:
    """The time of the branch's next commit, in microseconds: never before its newest one's."""
    row = tx.one("select time from commits where branch_id = ? and number = ?", branch.id, branch.head)
    return max(to_micros(now), row[0] if row is not None else 0)
