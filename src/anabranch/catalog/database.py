"""Connections and transactions for any dialect: safe in threads, among processes and after a fork.

A transaction borrows an idle connection or opens one, so that threads never share one and none is left behind by a
thread that ends. Knows nothing of what the tables hold.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from anabranch.catalog.dialect import Dialect
from anabranch.errors import CatalogError

Row = tuple[Any, ...]
_CHUNK = 500  # values in one list; every database takes so many

# Connections that a parent process opened: a child may neither use nor close them.
_of_the_parent: list[Any] = []


class Transaction:
    """Statements inside one transaction."""

    __slots__ = ("_connection", "_sql")

    def __init__(self, connection: Any, dialect: Dialect) -> None:
        self._connection = connection
        self._sql = dialect.sql

    def all(self, sql: str, *values: Any) -> list[Row]:
        """All rows of a query."""
        rows: list[Row] = self._connection.execute(self._sql(sql), values).fetchall()
        return rows

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row of a query, or None."""
        cursor = self._connection.execute(self._sql(sql), values)
        row: Row | None = cursor.fetchone()
        cursor.close()
        return row

    def within(self, sql: str, among: Iterable[Any], *values: Any) -> Iterator[Row]:
        """Rows of a query that ends in ``in ({})``, for any number of values in the list."""
        items = list(among)
        for start in range(0, len(items), _CHUNK):
            chunk = items[start : start + _CHUNK]
            # A few lengths only, so that the prepared statements are found again.
            length = 1 << max(0, len(chunk) - 1).bit_length()
            padded = chunk + [chunk[-1]] * (length - len(chunk))
            yield from self.all(sql.format(",".join("?" * length)), *values, *padded)

    def run(self, sql: str, *values: Any) -> int:
        """Runs one statement; returns how many rows it changed."""
        count: int = self._connection.execute(self._sql(sql), values).rowcount
        return count

    def many(self, sql: str, rows: Sequence[Row]) -> int:
        """Runs one statement for each row of values; returns how many rows were changed."""
        if not rows:
            return 0
        cursor = self._connection.cursor()
        cursor.executemany(self._sql(sql), rows)
        count: int = cursor.rowcount
        return count


class Database:
    """A pool of connections to one database.

    Args:
        dialect: Which database, and where.

    Attributes:
        guard: Called at the begin of every write; what it raises refuses the write.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._idle: list[Any] = []
        self._pid = os.getpid()
        self._closings = 0
        self.guard: Callable[[Transaction], None] | None = None

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A transaction whose reads all see one committed state."""
        with self._transaction(self.dialect.begin_read) as transaction:
            yield transaction

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction beside which no other writes; an exception undoes all of it."""
        with self._transaction(self.dialect.begin_write) as transaction:
            if self.guard is not None:
                self.guard(transaction)
            yield transaction

    def close(self) -> None:
        """Closes the connections, those in use when they are given back. Idempotent; a later call opens new ones."""
        self._after_fork()
        self._closings += 1
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _transaction(self, begin: Sequence[str]) -> Iterator[Transaction]:
        self._after_fork()
        closings = self._closings
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.dialect.connect()
        sound = False
        try:
            for statement in begin:
                connection.execute(statement)
            yield Transaction(connection, self.dialect)
            connection.commit()
            sound = True
        except BaseException as error:
            sound = _rolled_back(connection, self.dialect)
            if isinstance(error, self.dialect.errors):
                raise self.dialect.explain(error) from error
            if isinstance(error, UnicodeError):
                raise CatalogError(f"text that is not valid Unicode can't be stored: {error}") from error
            raise
        finally:
            if sound and closings == self._closings:
                self._idle.append(connection)
            else:
                connection.close()

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            _of_the_parent.extend(self._idle)
            self._idle = []
            self._pid = os.getpid()


def _rolled_back(connection: Any, dialect: Dialect) -> bool:
    try:
        connection.rollback()
    except dialect.errors:
        return False
    return True
