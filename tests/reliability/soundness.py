"""What must hold whatever has happened: the catalog is whole, and all that can be read is there and is what it says."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from anabranch.catalog.base import Catalog, Entry, Point
from anabranch.errors import RefError
from anabranch.lake.storage import Storage
from anabranch.lake.tables import Table
from anabranch.lake.version import content_of, file_version


def readable(catalog: Catalog) -> dict[Point, dict[str, Entry]]:
    """Every commit that gc has not retired, of open and closed branches, and what it sees."""
    found = {}
    for branch in catalog.branches(include_closed=True):
        for commit in catalog.commits(branch.id):
            try:
                found[commit.point] = catalog.entries(commit.point)
            except RefError as error:
                if "gc retired it" not in error.message:
                    raise
    return found


def recomputed(storage: Storage, entry: Entry) -> str:
    """The version of what the entry's files hold, every row or byte read anew."""
    if entry.kind == "file":
        return file_version(storage.read_bytes(entry.location))
    return str(content_of(Table(entry.key, entry.location, storage).to_batches()))


def assert_sound(catalog: Catalog, storage: Storage) -> None:
    """Every commit that can be read is whole: each of its files is there, and holds what its version says."""
    known: dict[str, str] = {}
    for point, entries in readable(catalog).items():
        for key, entry in entries.items():
            if entry.location not in known:
                known[entry.location] = recomputed(storage, entry)
            assert known[entry.location] == entry.version, f"{key} at {point}"


def assert_database_is_whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
