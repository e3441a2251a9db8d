"""The catalog's tables, and how an older catalog becomes a present one.

Each migration is a list of portable statements; ``{int}``, ``{text}`` and ``{serial}`` are the dialect's types.
They run forward only, all that are missing in one transaction. A migration that was released is never edited.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from anabranch.catalog.database import Database, Transaction
from anabranch.errors import CatalogError, CatalogVersionError

# `until` of a row that is still valid: greater than any commit's number, so that one index serves "valid at a commit".
FOREVER = 2**62

_VERSION_1 = (
    "create table anabranch_meta (name {text} primary key, value {text} not null)",
    """create table branches (
        id {int} primary key,
        name {text} not null,
        kind {text} not null,
        open {int} not null,
        parent {int} references branches (id),
        base {int},
        head {int} not null,
        created_at {int} not null,
        closed_at {int},
        expires_at {int},
        properties {text} not null)""",
    "create unique index branches_by_name on branches (name) where open = 1",
    "create index branches_by_parent on branches (parent)",
    """create table commits (
        branch_id {int} not null references branches (id),
        number {int} not null,
        base {int},
        time {int} not null,
        kind {text} not null,
        message {text} not null,
        author {text} not null,
        git_commit {text},
        definitions {text},
        run {text},
        keys {int} not null,
        properties {text} not null,
        idempotency_key {text},
        retired {int} not null,
        primary key (branch_id, number))""",
    "create unique index commits_by_idempotency_key on commits (branch_id, idempotency_key)",
    "create index commits_retired on commits (branch_id, number) where retired = 1",
    "create index commits_by_time on commits (branch_id, time, number)",
    # Valid from commit `since` until before commit `until`. The rows of one branch and key never overlap, so the row
    # with the least `until` above a commit's number is the only one that can be valid at it. No location: a deletion.
    """create table entries (
        id {serial},
        branch_id {int} not null references branches (id),
        key {text} not null,
        since {int} not null,
        until {int} not null,
        kind {text},
        location {text},
        version {text},
        fingerprint {text},
        provenance {text})""",
    "create unique index entries_by_key on entries (branch_id, key, until)",
    # Holds the location, so that gc reads no rows. An index by location alone would be scattered: each entry of a large
    # commit would dirty a page of its own.
    "create index entries_by_until on entries (branch_id, until, since, location)",
    "create index entries_by_since on entries (branch_id, since)",
    "create index entries_by_fingerprint on entries (fingerprint, id) where fingerprint is not null",
    "create table condemned (location {text} primary key, time {int} not null)",
    """create table tags (
        name {text} primary key,
        branch_id {int} not null references branches (id),
        number {int} not null,
        created_at {int} not null,
        message {text} not null)""",
    """create table leases (
        name {text} primary key,
        token {text} not null unique,
        holder {text} not null,
        acquired_at {int} not null,
        expires_at {int} not null,
        info {text} not null)""",
    """create table runs (
        id {text} primary key,
        target {int} not null,
        branch {int} not null,
        state {text} not null,
        started_at {int} not null,
        finished_at {int},
        git_commit {text},
        definitions {text},
        properties {text} not null)""",
    "create index runs_by_target on runs (target, started_at)",
    "create index runs_by_time on runs (started_at)",
    "create table notes (kind {text} not null, key {text} not null, value {text} not null, primary key (kind, key))",
)

MIGRATIONS: tuple[Sequence[str], ...] = (_VERSION_1,)


def ensure_schema(database: Database, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Makes the tables of a new catalog, or brings those of an older one forward, in one transaction.

    From then on a write is refused too if a newer program brings the catalog forward in the meantime.

    Raises:
        CatalogVersionError: the catalog was written by a newer program.
        CatalogError: the database holds something else.
    """
    known = len(migrations)
    with database.read() as tx:
        version = _version(database, tx)
    _check_version(database, version, known)
    if version < known:
        with database.write() as tx:
            version = _version(database, tx)
            _check_version(database, version, known)
            for statement in itertools.chain.from_iterable(migrations[version:]):
                tx.run(statement.format_map(database.dialect.types))
            tx.run(
                "insert into anabranch_meta (name, value) values ('version', ?)"
                " on conflict (name) do update set value = excluded.value",
                str(known),
            )
    database.guard = lambda tx: _check_version(database, _stored_version(tx) or 0, known)


def _check_version(database: Database, version: int, known: int) -> None:
    if version > known:
        raise CatalogVersionError(
            f"the catalog {database.dialect.place} has version {version}, and this program knows versions up to {known}",
            hint="a newer anabranch wrote it: upgrade this one (pip install --upgrade anabranch)",
            found=version,
            known=known,
        )


def _stored_version(tx: Transaction) -> int | None:
    row = tx.one("select value from anabranch_meta where name = 'version'")
    return None if row is None else int(row[0])


def _version(database: Database, tx: Transaction) -> int:
    tables = {name for (name,) in tx.all(database.dialect.list_tables)}
    if not tables:
        return 0
    version = _stored_version(tx) if "anabranch_meta" in tables else None
    if version is None:
        raise CatalogError(
            f"{database.dialect.place} is a database, but not a catalog of anabranch",
            hint="give the path of an anabranch catalog, or of a file that does not exist yet",
            path=database.dialect.place,
        )
    return version
