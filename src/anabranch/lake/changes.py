"""What came and what went between two versions of a table: exact, and without a look at what both share.

A data file never changes, so a file that both versions list holds the same rows in both. Only the others are read, and
rows that are equal on both sides cancel one against one, so that a file which was rewritten for the sake of one row, or
merged with its neighbours, brings that one row, or nothing. *Equal* is what `anabranch.lake.version` says, and so
``version of the old + added - removed == version of the new``, always. Knows two handles; knows nothing of refs, nor of
who has consumed what.
"""

# `filter` is the word that pyarrow, polars and DuckDB use.
# ruff: noqa: A002

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.lake import manifest
from anabranch.lake.avro import AvroError
from anabranch.lake.engines import Filter
from anabranch.lake.held import Held
from anabranch.lake.marks import Marks, marks_of, surplus
from anabranch.lake.read import DataFile, Table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.dataset as ds


_THREADS = 2


class ChangedRows(Table):
    """Some rows of a stored table, as a table: everything that reads a `Table` reads them.

    Args:
        table: The table that they are rows of.
        entries: The data files that hold them.
        chosen: Which rows of these files, in their order; None: all.
        count: How many there are.
    """

    def __init__(
        self,
        table: Table,
        entries: Sequence[manifest.Entry],
        chosen: npt.NDArray[np.bool_] | None,
        count: int,
    ) -> None:
        super().__init__(table.key, table.location, table._storage)  # noqa: SLF001 -- a table of the same kind
        self.__dict__["metadata"] = table.metadata
        self._entries = list(entries)
        self._chosen = chosen
        self.__dict__["rows"] = count

    def __getstate__(self) -> dict[str, Any]:
        names = ("key", "location", "_storage", "_version", "_entries", "_chosen", "rows")
        return {name: self.__dict__[name] for name in names}

    def __repr__(self) -> str:
        return f"<{self.rows} rows of {self.key} {self.location}>"

    @property
    def version(self) -> str:
        """The version that a table of these rows alone has; computed from all of them."""
        if self._version is None:
            from anabranch.lake.version import content_of

            self._version = str(content_of(self.to_batches()))
        return self._version

    @cached_property
    def bytes(self) -> int:
        """The size of the data files that hold them."""
        return sum(file.bytes for file in self.files())

    @cached_property
    def file_count(self) -> int:
        """The number of data files that hold them."""
        return len(self.files())

    @property
    def plain(self) -> bool:
        """Whether the files hold these rows and no others, under exactly the current schema."""
        return self._chosen is None and super().plain

    def entries(self, *, statistics: bool = True) -> list[manifest.Entry]:  # noqa: ARG002 -- all is known
        """The entries of the data files that hold them."""
        return list(self._entries)

    @cached_property
    def _files(self) -> Sequence[DataFile]:
        return self._listed()

    def to_dataset(self) -> ds.Dataset:
        """An Arrow dataset: lazy over the files where that is possible, else over a copy, in a temporary file if large."""
        import pyarrow.dataset as ds

        if self.plain or self._chosen is None or self.rows == 0:
            return super().to_dataset()
        return ds.dataset(self._held.to_arrow())

    @cached_property
    def _held(self) -> Held:
        return Held(self.to_batches())

    def _scan(self, schema: pa.Schema, filter: Filter | None) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        import pyarrow.dataset as ds

        if self._chosen is None:
            yield from super()._scan(schema, filter)
            return
        if filter is None:
            yield from self._picked(schema)
            return
        expression = filter if isinstance(filter, ds.Expression) else self._planned(filter)[0]
        reader = pa.RecordBatchReader.from_batches(self.schema, self._picked(self.schema))
        yield from ds.Scanner.from_batches(reader, columns=schema.names, filter=expression).to_batches()

    def _picked(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        assert self._chosen is not None
        at = 0
        for entry in self._data_runs():
            size = sum(int(each["data_file"]["record_count"]) for each in entry)
            if len(entry) == 1 and not self._chosen[at : at + size].any():
                at += size  # the whole file has cancelled
                continue
            for batch in self.scan_files(entry, schema):
                picked = self._chosen[at : at + batch.num_rows]
                at += batch.num_rows
                if picked.any():
                    yield batch.filter(pa.array(picked))

    def _data_runs(self) -> Iterator[list[manifest.Entry]]:
        """The files one by one; all at once where files delete rows of others."""
        if any(entry["data_file"]["content"] != manifest.DATA for entry in self._entries):
            yield self._entries
            return
        for entry in self._entries:
            yield [entry]


class Changes:
    """The rows that a table gained and lost between two of its versions.

    Lazy: what differs is found when it is first asked for. Where the columns changed (one came, went, was retyped or
    renamed), rows can't be compared: then all counts as new, see `full`.

    Args:
        old: The version before; None if there was none.
        new: The version now.
        spill: Folder for what does not fit into memory; the system's temporary folder if None.
    """

    def __init__(self, old: Table | None, new: Table, *, spill: Path | None = None) -> None:
        self.key = new.key
        self._old = old
        self._new = new
        self._spill = spill

    def __repr__(self) -> str:
        return f"<changes of {self.key} since {self.since or 'ever'}>"

    @property
    def since(self) -> str | None:
        """The version before, or None where all counts as new."""
        return None if self._old is None or self.full else self._old.version

    @property
    def version(self) -> str:
        """The version now."""
        return self._new.version

    @property
    def schema(self) -> pa.Schema:
        """The columns of `added` and `removed`."""
        return self._new.schema

    @cached_property
    def schema_changed(self) -> bool:
        """Whether the columns differ in names, order, types or identity."""
        old, new = self._old, self._new
        return old is not None and not (old.schema.equals(new.schema) and old.field_ids == new.field_ids)

    @property
    def full(self) -> bool:
        """Whether `added` is the whole table and nothing is removed: a first build, a rebuild, or other columns."""
        return self._old is None or self.schema_changed

    @property
    def added(self) -> Table:
        """Rows of now that were not there before, as a table handle."""
        return self._split[1]

    @property
    def removed(self) -> ChangedRows:
        """Rows of before that are not there now, as a table handle."""
        return self._split[0]

    @property
    def added_rows(self) -> int:
        """The number of rows added."""
        return self.added.rows

    @property
    def removed_rows(self) -> int:
        """The number of rows removed."""
        return self.removed.rows

    def __bool__(self) -> bool:
        """Whether any row came or went."""
        return bool(self.added_rows or self.removed_rows)

    def check(self) -> None:
        """That all that must be read is there.

        Raises:
            MissingFileError: a file of the version before is gone: gc took it.
        """
        if self.full:
            return
        assert self._old is not None
        removed, _ = self._differing
        if removed:
            self._old.check_files([entry["data_file"]["file_path"] for entry in removed])

    def create_views(self, connection: Any, name: str) -> None:
        """Makes both known to a DuckDB connection, as ``NAME__added`` and ``NAME__removed``."""
        self.added.create_view(connection, f"{name}__added")
        self.removed.create_view(connection, f"{name}__removed")

    @cached_property
    def _differing(self) -> tuple[list[manifest.Entry], list[manifest.Entry]]:
        """Entries of the old and of the new table that the other does not have."""
        assert self._old is not None
        if self._old.location == self._new.location or self._old.version == self._new.version:
            return [], []
        lists = self._old.manifests(), self._new.manifests()
        if any(row["content"] != manifest.DATA for rows in lists for row in rows):
            return self._old.entries(), self._new.entries()  # of a file both may have lost other rows
        # A manifest that is in both lists holds nothing that differs, and is most of a large table.
        both = set.intersection(*({row["manifest_path"] for row in rows} for rows in lists))
        try:
            old, new = (
                [
                    entry
                    for row in rows
                    if row["manifest_path"] not in both
                    for entry in table.manifest_entries(row)
                ]
                for table, rows in zip((self._old, self._new), lists, strict=True)
            )
        except AvroError:  # packed in a way that is read by pyiceberg alone
            old, new = self._old.entries(), self._new.entries()
        shared = {_path(entry) for entry in old} & {_path(entry) for entry in new}
        return (
            [entry for entry in old if _path(entry) not in shared],
            [entry for entry in new if _path(entry) not in shared],
        )

    @cached_property
    def _split(self) -> tuple[ChangedRows, Table]:
        if self.full:
            return ChangedRows(self._new, [], None, 0), self._new
        assert self._old is not None
        removed, added = self._differing
        if not removed or not added:
            return _all_of(self._old, removed), _all_of(self._new, added)
        sides = [_Side(self._old, removed), _Side(self._new, added)]
        left, right = surplus(
            sides[0].marks(), sides[1].marks(), (sides[0].rows, sides[1].rows), spill=self._spill
        )
        return sides[0].rows_of(left), sides[1].rows_of(right)


def _path(entry: manifest.Entry) -> str:
    return str(entry["data_file"]["file_path"])


def _all_of(table: Table, entries: list[manifest.Entry]) -> ChangedRows:
    if any(entry["data_file"]["content"] != manifest.DATA for entry in entries):
        return ChangedRows(table, entries, None, table.rows)
    return ChangedRows(table, entries, None, sum(int(e["data_file"]["record_count"]) for e in entries))


class _Side:
    """The files of one version that the other lacks."""

    def __init__(self, table: Table, entries: list[manifest.Entry]) -> None:
        self.all = _all_of(table, entries)
        self.table = table
        self.entries = entries
        self.rows = self.all.rows

    def marks(self) -> Iterator[Marks]:
        """The marks of all rows, in the order in which they are read; two files at a time."""
        runs = list(ChangedRows(self.table, self.entries, None, 0)._data_runs())  # noqa: SLF001 -- of this module
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="lake-changes") as pool:
            pending: deque[Future[Marks]] = deque()
            for run in runs:
                if len(pending) > _THREADS:
                    yield pending.popleft().result()
                pending.append(pool.submit(self._marks_of, run))
            while pending:
                yield pending.popleft().result()

    def _marks_of(self, run: list[manifest.Entry]) -> Marks:
        return marks_of(self.table.scan_files(run))

    def rows_of(self, chosen: npt.NDArray[np.bool_]) -> ChangedRows:
        """The rows that a mask picks."""
        count = int(chosen.sum())
        if count == self.rows:
            return self.all
        return ChangedRows(self.table, self.entries if count else [], chosen if count else None, count)
