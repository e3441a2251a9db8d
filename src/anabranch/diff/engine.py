"""A DuckDB of one's own for one comparison: bounded, off the network, interruptible, and gone afterwards.

Queries run in a thread of their own while the caller waits, so that Ctrl-C stops the query at once instead of after it,
and so that progress can be told. Nothing is left behind: neither a connection nor a spilled file.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from anabranch.diff.values import literal

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_TICK = 0.2
T = TypeVar("T")


class Engine:
    """An open comparison engine; see `open_engine`."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, threads: int, on_progress: Callable[[float], None] | None
    ) -> None:
        self.connection = connection
        self.threads = threads
        self._on_progress = on_progress
        self._begin, self._end, self._told = 0.0, 1.0, 0.0

    def stage(self, begin: float, end: float) -> None:
        """Says which share of the whole work the next queries are."""
        self._begin, self._end = begin, end
        self.tell(0.0)

    def tell(self, done: float) -> None:
        """Tells progress: done of the present stage, 0 to 1. What is told never goes back."""
        whole = self._begin + (self._end - self._begin) * min(max(done, 0.0), 1.0)
        if self._on_progress is not None and whole > self._told:
            self._told = whole
            self._on_progress(whole)

    def execute(self, sql: str) -> None:
        """Runs a statement for its effect."""
        self.wait(lambda: self.connection.execute(sql))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Runs a query whose answer is a few numbers."""
        return self.wait(lambda: self.connection.execute(sql).fetchall())

    def table(self, sql: str) -> pa.Table:
        """Runs a query whose answer is small enough to hold."""
        found: pa.Table = self.wait(lambda: self.connection.sql(sql).to_arrow_table())
        return found

    def columns(self, source: str) -> list[tuple[str, str]]:
        """Names and SQL types of a FROM clause's columns."""
        return [(row[0], row[1]) for row in self.rows(f"DESCRIBE SELECT * FROM {source}")]

    def wait(self, work: Callable[[], T]) -> T:
        """Runs work beside the caller; an exception in the caller (Ctrl-C) interrupts it and waits for its end."""
        done = threading.Event()
        result: list[T] = []
        errors: list[BaseException] = []

        def target() -> None:
            try:
                result.append(work())
            except BaseException as error:  # noqa: BLE001  # handed to the caller's thread as it is
                errors.append(error)
            finally:
                done.set()

        thread = threading.Thread(target=target, name="anabranch-diff", daemon=True)
        thread.start()
        try:
            while not done.wait(_TICK):
                if self._on_progress is not None:
                    self.tell(self.connection.query_progress() / 100)
        except BaseException:
            # Between two statements there is nothing to interrupt yet, hence again and again.
            while thread.is_alive():
                self.connection.interrupt()
                thread.join(0.05)
            raise
        thread.join()
        if errors:
            raise errors[0]
        return result[0]


@contextmanager
def open_engine(
    *,
    memory_limit: str | None = None,
    temp_directory: Path | None = None,
    threads: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Iterator[Engine]:
    """An in-memory DuckDB that spills into a folder which is removed at the end.

    Args:
        memory_limit: As DuckDB writes it (``2GB``); DuckDB's own default if None.
        temp_directory: Where the spill folder is made; the system's temporary folder if None.
        threads: Threads; as many as there are cores if None.
        on_progress: Called in the caller's thread with the share that is done, 0 to 1.
    """
    shared = _SHARED.get()
    wanted = (memory_limit, temp_directory, threads)
    with ExitStack() as own:
        if shared is None:
            connection = own.enter_context(_database(*wanted))
        else:
            connection = own.enter_context(closing(shared.connection(wanted)))
        # Values that differ only by the session's zone must not look different.
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        ((count,),) = connection.execute("SELECT current_setting('threads')").fetchall()
        yield Engine(connection, int(count), on_progress)


@contextmanager
def shared_engine(folder: Path | None = None) -> Iterator[None]:
    """Comparisons within use one DuckDB, one after the other: to start it takes longer than to compare small tables.

    Each still has a connection of its own, whose temporary tables end with it. Nothing is started before it is wanted.

    Args:
        folder: Where those that name no folder of their own spill; the system's temporary folder if None.
    """
    with ExitStack() as stack:
        token = _SHARED.set(_Shared(stack, folder))
        try:
            yield
        finally:
            _SHARED.reset(token)


_Wanted: TypeAlias = "tuple[str | None, Path | None, int | None]"


class _Shared:
    def __init__(self, stack: ExitStack, folder: Path | None) -> None:
        self.stack = stack
        self.folder = folder
        self.databases: dict[_Wanted, duckdb.DuckDBPyConnection] = {}

    def connection(self, wanted: _Wanted) -> duckdb.DuckDBPyConnection:
        import duckdb

        if wanted in self.databases:
            try:
                found = self.databases[wanted].cursor()
                found.execute("SELECT 1")
            except duckdb.Error:
                # After an error of its own DuckDB answers nothing any more: whoever comes next needs another.
                del self.databases[wanted]
            else:
                return found
        memory_limit, folder, threads = wanted
        made = self.stack.enter_context(_database(memory_limit, folder or self.folder, threads))
        self.databases[wanted] = made
        return made.cursor()


_SHARED: ContextVar[_Shared | None] = ContextVar("shared engine", default=None)


@contextmanager
def _database(
    memory_limit: str | None, temp_directory: Path | None, threads: int | None
) -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    with tempfile.TemporaryDirectory(prefix="anabranch-diff-", dir=temp_directory) as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": folder,
            # Neither a diff nor a test may fetch an extension from the network behind one's back.
            "autoinstall_known_extensions": "false",
            "preserve_insertion_order": "false",
        }
        if memory_limit is not None:
            config["memory_limit"] = memory_limit
        if threads is not None:
            config["threads"] = str(threads)
        with closing(duckdb.connect(":memory:", config=config)) as connection:
            yield connection


def parquet(paths: Sequence[str]) -> str:
    """The FROM clause that reads exactly these local Parquet files, whatever characters their names hold."""
    escaped = (path.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]") for path in paths)
    names = ", ".join(literal(path) for path in escaped)
    # Folder names such as day=1 are no columns of ours.
    return f"read_parquet([{names}], hive_partitioning = false)"
