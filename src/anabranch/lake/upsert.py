"""Merging rows into a table by key: rows that replace those of an equal key, rows that are new, and keys that go.

Copy-on-write: a data file is written again only if it holds a row that really changes. Which files may hold a key is told
by the bounds in the manifests, which do by their key columns. A row takes the place of the one that it replaces, so that a
table which is in order stays so; new ones come last. The content's version is updated by the rows that change alone, and
a row that is given as it is there already changes nothing: the same upsert twice is one. Two keys are equal where
`anabranch.lake.version` says that rows of them are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from anabranch.dataclass import dataclass
from anabranch.errors import LakeError, UnstorableError
from anabranch.lake import manifest
from anabranch.lake.arrow import conform
from anabranch.lake.avro import AvroError
from anabranch.lake.bounds import KeyBounds
from anabranch.lake.columns import parse_set
from anabranch.lake.fields import arrow_schema
from anabranch.lake.held import Held
from anabranch.lake.marks import Finder, Marker, Marks, marks_of
from anabranch.lake.read import Table
from anabranch.lake.version import Content, ContentHasher
from anabranch.lake.write import Progress, Writer, Written, align, base_metadata, write_table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from anabranch.lake.storage import Storage

    Places: TypeAlias = npt.NDArray[np.int64]
    Mask: TypeAlias = npt.NDArray[np.bool_]
    Data: TypeAlias = pa.Table | pa.RecordBatchReader

_KEEP, _REPLACE, _DROP = 0, 1, 2
_WHOLE_BYTES = 64 << 20  # a data file that is held while it is looked at; a larger one is read again
_SLICE = 1 << 16  # rows


def upsert_table(
    storage: Storage,
    key: str,
    rows: Data | None,
    *,
    by: Sequence[str],
    previous: Table,
    delete: Data | None = None,
    properties: Mapping[str, str] | None = None,
    threads: int = 2,
    on_progress: Progress | None = None,
    spill: Path | None = None,
) -> Written:
    """Writes a table that holds the previous one's rows, less those whose key is given, and the given rows.

    Files without an affected row are shared with the previous table, whose sets of columns go on having versions. Takes
    memory for the keys and marks of the given rows (about 50 bytes a row) and one data file; the rows themselves go to a
    temporary file where they are many.

    Args:
        storage: As for `write_table`; the previous table may lie elsewhere in the warehouse.
        key: The asset's key.
        rows: Rows with exactly the columns of ``previous``, in any order; none of them: None.
        by: The columns that identify a row.
        previous: The table to go on from.
        delete: Keys to remove: a table with at least the columns of ``by``. A key that is not there is passed over.
        properties: Iceberg table properties to set, if anything is written.
        threads: As for `write_table`.
        on_progress: As for `write_table`.
        spill: Folder for temporary files; the system's if None.

    Raises:
        UnstorableError: a key is null, given twice, or both given and deleted (the message names key and value); a column
            of the key is missing; or as for `append_table`.
        IsolationError: the scope does not reach the table's folder.
    """
    schema = previous.schema
    check_key(by, schema, key)
    given = _Given(rows, schema, by, key, spill)
    gone = _deleted(delete, schema, by, key)
    given.refuse(gone, key)
    if not (given.count or gone.num_rows):
        return _unchanged(previous)
    if not _simple(previous):
        return _rewritten(storage, key, given, gone, by, previous, properties, threads, on_progress)
    merge = _Merge(storage, key, given, gone, by, previous, properties, threads, on_progress)
    try:
        return merge.write()
    except AvroError:  # manifests packed by another engine in a way that is not read here
        return _rewritten(storage, key, given, gone, by, previous, properties, threads, on_progress)


def with_unique_keys(data: Data, by: Sequence[str], key: str) -> pa.RecordBatchReader:
    """The same rows as a stream that ends with an error if a key is null or comes twice.

    Raises:
        UnstorableError: a column of the key is missing; while it is read: a key is null, or given twice.
    """
    import pyarrow as pa

    check_key(by, data.schema, key)

    def stream() -> Iterator[pa.RecordBatch]:
        keys: list[pa.RecordBatch] = []
        for batch in data.to_batches() if isinstance(data, pa.Table) else data:
            keys.append(_key_columns(batch, by, key))
            yield batch
        _check_unique(keys, key)

    return pa.RecordBatchReader.from_batches(data.schema, stream())


def check_key(by: Sequence[str], schema: pa.Schema, key: str) -> None:
    """That a schema has the columns of a key. Raises UnstorableError."""
    lacking = [name for name in by if name not in schema.names]
    if lacking or not by:
        raise UnstorableError(
            f"the rows of {key} have no column {lacking[0]!r}, which its key names"
            if by
            else f"{key} is merged by key, and has none",
            hint=f"the columns are: {', '.join(schema.names)}",
            column=lacking[0] if lacking else None,
        )


def _key_columns(batch: pa.RecordBatch, by: Sequence[str], key: str) -> pa.RecordBatch:
    keys = batch.select(list(by))
    for name in by:
        column = keys.column(keys.schema.names.index(name))
        if column.null_count:
            at = column.is_null().to_pylist().index(True)
            others = _told(keys.slice(at, 1)) if len(by) > 1 else ""
            raise UnstorableError(
                f"a row of {key} has no value in {name!r}, which is part of its key"
                + (f": {others}" if others else ""),
                hint=f"fill {name!r}, leave such rows out, or choose another key",
                column=name,
            )
    return keys


def _check_unique(keys: Sequence[pa.RecordBatch], key: str) -> Marks:
    import pyarrow as pa

    marks = marks_of(keys)
    twice = Finder(marks).twice() if len(marks) else None
    if twice is not None:
        row = _told(pa.Table.from_batches(keys).slice(twice, 1))
        raise UnstorableError(
            f"{key} is given two rows of the key {row}",
            hint="return one row for each key, for example the newest",
            column=keys[0].schema.names[0],
        )
    return marks


def _told(row: pa.Table | pa.RecordBatch) -> str:
    (values,) = row.to_pylist()
    return ", ".join(f"{name} = {value!r}" for name, value in values.items())


class _Given:
    """The rows to merge: their keys and marks in memory, themselves where there is room."""

    def __init__(
        self, rows: Data | None, schema: pa.Schema, by: Sequence[str], key: str, spill: Path | None
    ) -> None:
        import pyarrow as pa

        keys: list[pa.RecordBatch] = []
        marks: list[Marks] = []
        marker = Marker()

        def stream() -> Iterator[pa.RecordBatch]:
            if rows is None:
                return
            aligned = align(rows, schema, key)
            for raw in aligned.to_batches() if isinstance(aligned, pa.Table) else aligned:
                batch = conform(raw, schema)
                keys.append(_key_columns(batch, by, key))
                marks.append(marker.of(batch))
                yield batch

        self.rows = Held(pa.RecordBatchReader.from_batches(schema, stream()), folder=spill).to_arrow()
        self.count = self.rows.num_rows
        self.marks = Marks.joined(marks)
        key_schema = pa.schema([schema.field(name) for name in by])
        self.keys = pa.Table.from_batches(keys, key_schema)
        self.finder = Finder(_check_unique(keys, key))

    def refuse(self, gone: pa.Table, key: str) -> None:
        """Refuses keys that are given and deleted at once."""
        places = self.finder.places(marks_of(gone.to_batches()))
        both = (places >= 0).nonzero()[0]
        if len(both):
            row = _told(gone.slice(int(both[0]), 1))
            raise UnstorableError(
                f"{key} is given a row of the key {row}, and told to delete it",
                hint="say one or the other",
                column=gone.schema.names[0],
            )

    def take(self, places: Places) -> pa.Table:
        """Some of the rows, in the order asked for."""
        import pyarrow as pa

        return self.rows.take(pa.array(places))

    def stream(self, chosen: Mask) -> pa.RecordBatchReader:
        """The rows that a mask picks, in their order."""
        import numpy as np
        import pyarrow as pa

        places = np.flatnonzero(chosen)
        parts = (self.take(places[at : at + _SLICE]) for at in range(0, len(places), _SLICE))
        return pa.RecordBatchReader.from_batches(
            self.rows.schema, (batch for part in parts for batch in part.to_batches())
        )


def _deleted(delete: Data | None, schema: pa.Schema, by: Sequence[str], key: str) -> pa.Table:
    """The keys to delete, in the table's types."""
    import pyarrow as pa

    target = pa.schema([schema.field(name) for name in by])
    if delete is None:
        return target.empty_table()
    check_key(by, delete.schema, f"{key} to delete")
    batches = []
    for raw in delete.to_batches() if isinstance(delete, pa.Table) else delete:
        keys = align(pa.Table.from_batches([raw.select(list(by))]), target, key)
        assert isinstance(keys, pa.Table)
        batches += [_key_columns(conform(batch, target), by, key) for batch in keys.to_batches()]
    return pa.Table.from_batches(batches, target)


def _simple(table: Table) -> bool:
    """Whether the table's files can be exchanged one by one."""
    spec = table.metadata["partition-specs"]
    if any(each["fields"] for each in spec) or table.metadata["format-version"] > 2:
        return False
    try:
        Content.parse(table.version)
    except LakeError:  # a version of another algorithm
        return False
    return all(row["content"] == manifest.DATA for row in table.manifests())


def _unchanged(table: Table) -> Written:
    return Written(
        table.location, table.version, table.rows, table.bytes, table.file_count, table.column_versions
    )


def _rewritten(
    storage: Storage,
    key: str,
    given: _Given,
    gone: pa.Table,
    by: Sequence[str],
    previous: Table,
    properties: Mapping[str, str] | None,
    threads: int,
    on_progress: Progress | None,
) -> Written:
    """The whole table anew, for tables whose files can't be exchanged."""
    import numpy as np
    import pyarrow as pa

    leaving = Finder(marks_of(gone.to_batches()))
    marker = Marker()

    def stream() -> Iterator[pa.RecordBatch]:
        for batch in previous.to_batches():
            marks = marker.of(batch.select(list(by)))
            kept = (given.finder.places(marks) < 0) & (leaving.places(marks) < 0)
            yield batch.filter(pa.array(kept))
        yield from given.stream(np.ones(given.count, np.bool_))

    reader = pa.RecordBatchReader.from_batches(previous.schema, stream())
    return write_table(
        storage,
        key,
        reader,
        previous=previous,
        properties=properties,
        column_sets=map(parse_set, previous.column_versions),
        threads=threads,
        on_progress=on_progress,
    )


@dataclass
class _Affected:
    """What becomes of a file's rows: for each row an action, and the given row that replaces it."""

    actions: npt.NDArray[np.int8]
    places: Places
    batches: list[pa.RecordBatch] | None


class _Merge:
    """One upsert into a table of plain data files."""

    def __init__(
        self,
        storage: Storage,
        key: str,
        given: _Given,
        gone: pa.Table,
        by: Sequence[str],
        previous: Table,
        properties: Mapping[str, str] | None,
        threads: int,
        on_progress: Progress | None,
    ) -> None:
        import numpy as np
        import pyarrow as pa

        self.given = given
        self.leaving = Finder(marks_of(gone.to_batches()))
        self.previous = previous
        self.by = list(by)
        self.threads = threads
        self.on_progress = on_progress
        self.base, self.iceberg, spec_id = base_metadata(previous, properties)
        self.bounds = KeyBounds(pa.concat_tables([given.keys, gone]), self.iceberg)
        self.schema = arrow_schema(self.iceberg)
        self.writer = Writer(storage, key, self.iceberg, spec_id, self.base["last-sequence-number"] + 1)
        self.placed = np.zeros(given.count, np.bool_)
        self.fresh = np.zeros(given.count, np.bool_)  # not there before exactly as they are given
        self.removed = Content.empty(self.schema)
        self.known = previous.column_versions
        self.removed_columns, self.fresh_columns = (
            ContentHasher(self.schema, map(parse_set, self.known)) for _ in range(2)
        )
        self.lost_bytes = self.lost_files = 0

    def write(self) -> Written:
        """Writes what changes. Raises AvroError where a manifest can't be read, before anything refers to what was written."""
        previous, writer = self.previous, self.writer
        rows: list[manifest.Entry] = []
        changed = False
        for row in previous.manifests():
            entries = manifest.decode_manifest(writer.storage.read_bytes(row["manifest_path"]), row)
            merged = [self._merged(entry) for entry in entries]
            if all(new is None for new in merged):
                rows.append(row)
                continue
            changed = True
            kept = [
                each
                for entry, new in zip(entries, merged, strict=True)
                for each in ([{**entry, "status": manifest.EXISTING}] if new is None else new)
            ]
            if kept:
                rows.append(writer.write_manifest(kept))
        self.fresh |= ~self.placed
        if not self.placed.all():
            new = self._written(self.given.stream(~self.placed))
            rows.append(writer.write_manifest(new))
            changed = True
        if not changed:
            return _unchanged(previous)
        content = Content.parse(previous.version) + self.given.marks.content(self.schema, self.fresh)
        content -= self.removed
        rows = writer.merge(rows, previous)
        return writer.finish(
            self.base,
            rows,
            content,
            (
                content.rows,
                previous.bytes - self.lost_bytes + writer.bytes - writer.saved_bytes,
                previous.file_count - self.lost_files + len(writer.entries) - writer.saved_files,
            ),
            operation="overwrite",
            plain=previous.plain,
            columns=self._columns(),
        )

    def _columns(self) -> dict[str, Content]:
        """The contents of the previous table's sets of columns, less the rows that go, with those that come."""
        if not self.known:
            return {}
        for batch in self.given.stream(self.fresh):
            self.fresh_columns.update(batch)
        new, gone = self.fresh_columns.column_contents, self.removed_columns.column_contents
        return {text: Content.parse(each) + new[text] - gone[text] for text, each in self.known.items()}

    def _merged(self, entry: manifest.Entry) -> list[manifest.Entry] | None:
        """What takes the place of a data file; None if it stays."""
        affected = self._affected(entry) if self.bounds.may_be_in(entry) else None
        if affected is None:
            return None
        self.lost_files += 1
        self.lost_bytes += int(entry["data_file"]["file_size_in_bytes"])
        if (affected.actions == _DROP).all():
            return []
        return self._written(self._stream(entry, affected))

    def _written(self, rows: pa.RecordBatchReader) -> list[manifest.Entry]:
        before = len(self.writer.entries)
        self.writer.write_data(rows, self.threads, self.on_progress)
        return self.writer.entries[before:]

    def _affected(self, entry: manifest.Entry) -> _Affected | None:
        """Which rows of a file change, and into what; None if none does."""
        import numpy as np

        key_schema = self.given.keys.schema
        keys = marks_of(self.previous.scan_files([entry], key_schema))
        places = self.given.finder.places(keys)
        actions = np.full(len(keys), _KEEP, np.int8)
        actions[self.leaving.places(keys) >= 0] = _DROP
        hits = np.flatnonzero(places >= 0)
        if len(hits):
            # Of rows that shared a key, which may come from elsewhere, the first is replaced.
            _, first = np.unique(places[hits], return_index=True)
            actions[hits] = _DROP
            first = hits[first]
            actions[first[~self.placed[places[first]]]] = _REPLACE
        if not actions.any():
            return None
        batches = None
        if entry["data_file"]["file_size_in_bytes"] <= _WHOLE_BYTES:
            batches = list(self.previous.scan_files([entry]))
        self._account(actions, places, batches or self.previous.scan_files([entry]))
        return _Affected(actions, places, batches) if actions.any() else None

    def _account(
        self, actions: npt.NDArray[np.int8], places: Places, batches: Iterable[pa.RecordBatch]
    ) -> None:
        """Compares rows with those that replace them: what is equal stays, what is not counts as gone."""
        import numpy as np
        import pyarrow as pa

        marker = Marker()
        at = 0
        for batch in batches:
            window = slice(at, at + batch.num_rows)
            at += batch.num_rows
            touched = np.flatnonzero(actions[window])
            if not len(touched):
                continue
            marks = marker.of(batch.take(pa.array(touched)))
            where = touched + window.start
            replaced = actions[where] == _REPLACE
            into = places[where[replaced]]
            same = (marks.high[replaced] == self.given.marks.high[into]) & (
                marks.low[replaced] == self.given.marks.low[into]
            )
            self.placed[into] = True
            self.fresh[into[~same]] = True
            actions[where[replaced][same]] = _KEEP
            going = actions[where] != _KEEP
            self.removed += marks.content(self.schema, going)
            if self.known:
                self.removed_columns.update(batch.take(pa.array(where[going] - window.start)))

    def _stream(self, entry: manifest.Entry, affected: _Affected) -> pa.RecordBatchReader:
        """A file's rows as they are to be."""
        import pyarrow as pa

        def stream() -> Iterator[pa.RecordBatch]:
            at = 0
            for batch in affected.batches or self.previous.scan_files([entry]):
                window = slice(at, at + batch.num_rows)
                at += batch.num_rows
                yield from self._exchanged(batch, affected.actions[window], affected.places[window])

        return pa.RecordBatchReader.from_batches(self.schema, stream())

    def _exchanged(
        self, batch: pa.RecordBatch, actions: npt.NDArray[np.int8], places: Places
    ) -> list[pa.RecordBatch]:
        import numpy as np
        import pyarrow as pa

        if not actions.any():
            return [batch]
        replaced = np.flatnonzero(actions == _REPLACE)
        order = np.arange(batch.num_rows)
        order[replaced] = batch.num_rows + np.arange(len(replaced))
        both = [pa.Table.from_batches([batch]), self.given.take(places[replaced]).cast(batch.schema)]
        out: list[pa.RecordBatch] = (
            pa.concat_tables(both).take(pa.array(order[actions != _DROP])).to_batches()
        )
        return out


__all__ = ["check_key", "upsert_table", "with_unique_keys"]
