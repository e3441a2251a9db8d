"""Everything in which databases differ, in one place; all other SQL of the catalog is portable.

A dialect opens connections, names the column types, begins transactions and tells what an error of its driver means.
SQL is written with ``?`` for values. It knows nothing of branches and commits.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from anabranch.errors import CatalogError, LeaseError

BUSY_SECONDS = 30.0


class Dialect(Protocol):
    """What a database must say about itself.

    Attributes:
        place: Where the database is, for messages.
        errors: The exceptions of its driver.
        begin_read: Statements that begin a transaction in which every read sees one committed state.
        begin_write: Statements that begin a transaction beside which no other writes.
        types: Names of column types as the schema calls them: ``int`` (64 bit), ``text`` (compared by code point),
            ``serial`` (a primary key that grows).
        list_tables: Selects the names of all tables.
        size: Selects the bytes of the database.
    """

    place: str
    errors: tuple[type[Exception], ...]
    begin_read: tuple[str, ...]
    begin_write: tuple[str, ...]
    types: Mapping[str, str]
    list_tables: str
    size: str

    def connect(self) -> Any:
        """A new DB-API connection that leaves the begin of transactions to us, usable by one thread after another."""

    def sql(self, text: str) -> str:
        """The statement with the driver's own placeholders."""

    def explain(self, error: Exception) -> CatalogError:
        """What an error of the driver means: LeaseError if the database is busy."""


class SqliteDialect:
    """SQLite in one file: WAL, every commit flushed to disk before it is told as done.

    Args:
        path: The file; it and its folder are made if they are not there.
        busy_seconds: How long a writer waits for others.
    """

    errors: tuple[type[Exception], ...] = (sqlite3.Error, sqlite3.Warning)
    begin_read: tuple[str, ...] = ("BEGIN",)
    begin_write: tuple[str, ...] = ("BEGIN IMMEDIATE",)
    types: Mapping[str, str] = MappingProxyType(
        {"int": "integer", "text": "text", "serial": "integer primary key"}
    )
    list_tables = "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"
    size = "select c.page_count * s.page_size from pragma_page_count() c, pragma_page_size() s"

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path.absolute()
        self.place = str(self.path)
        self._busy = busy_seconds

    def connect(self) -> sqlite3.Connection:
        """Opens the file, and makes it and its folder where they are missing."""
        is_new = not self.path.exists()
        if is_new:
            self._make_folder()
        try:
            connection = sqlite3.connect(
                self.path,
                timeout=self._busy,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
        except sqlite3.Error as error:
            raise self.explain(error) from error
        try:
            self._set_up(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise self.explain(error) from error
            raise
        if is_new:
            _flush_folder(self.path.parent)
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        # Turning WAL on needs the file alone, and SQLite does not wait for that by itself.
        deadline = time.monotonic() + self._busy
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -16000")  # 16 MB
        # Pages that several commits change are copied into the file once; the log stays below the limit after it.
        connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages of 4 kB
        connection.execute("PRAGMA journal_size_limit = 67108864")

    def _make_folder(self) -> None:
        missing = []
        folder = self.path.parent
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for made in missing:
                _flush_folder(made.parent)
        except OSError as error:
            raise CatalogError(
                f"the folder of the catalog {self.place} can't be made: {error.strerror or error}",
                path=self.place,
            ) from error

    def sql(self, text: str) -> str:
        """SQLite takes ``?`` as it is."""
        return text

    def explain(self, error: Exception) -> CatalogError:
        """Busy, no database, not to be opened, full disk …"""
        if _is_busy(error):
            return LeaseError(
                f"the catalog {self.place} is busy: somebody has been writing for {self._busy:g} s",
                hint="try again; if it lasts, look for a process that hangs",
                path=self.place,
            )
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return CatalogError(
                f"{self.place} is no SQLite database, or it is damaged: {error}",
                hint="give the path of an anabranch catalog, or of a file that does not exist yet",
                path=self.place,
            )
        return CatalogError(f"the catalog {self.place} can't be used: {error}", path=self.place)


def _is_busy(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
