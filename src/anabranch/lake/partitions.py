"""Partitioned tables: one slice is written at a time, and a table is put together of what was written.

Two steps, so that many workers can write slices side by side and one place decides what becomes of them: `write_partition`
leaves durable files to which nothing points, `assemble` and `overlay` (`assemble.py`) make metadata that does. The names
that upper floors use of partitions are all here. Knows nothing of calendars, refs or who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass
from anabranch.errors import UnstorableError
from anabranch.lake.arrow import storable_schema
from anabranch.lake.assemble import PartitionFiles, assemble, overlay
from anabranch.lake.columns import ColumnSet, column_set, kept_sets
from anabranch.lake.evolve import aligned
from anabranch.lake.fields import assign_fields
from anabranch.lake.layout import PARTITION_COLUMN, PARTITION_COLUMNS, Layout, LayoutField, Slice
from anabranch.lake.manifest import values_of as values_in
from anabranch.lake.partition_map import PartitionMap, PartitionState
from anabranch.lake.slabs import SMALL
from anabranch.lake.slices import Membership
from anabranch.lake.version import Content
from anabranch.lake.write import Progress, Writer, current_schema, start_metadata

if TYPE_CHECKING:
    import pyarrow as pa

    from anabranch.lake.read import Table
    from anabranch.lake.storage import Storage

Json = Any

_RUN_BYTES = 64 << 20  # so much at most of small tables is held as copies while they are written together
_PACKED = 8  # how many times larger rows may be in memory than in their files


@dataclass(frozen=True)
class PartitionWriter:
    """Writes slices of one table, durably. Nothing points to them until `assemble`; what is never assembled is garbage.

    Where the data's types are narrower than the table's, or a column has no value, the table's types are stored; columns
    that the lake adds are filled in, and replaced where the data brings them.

    Attributes:
        storage: Where, under the scope that allows it.
        key: The asset's key.
        layout: How the table is partitioned.
        previous: The table that will be assembled upon: its field ids and types go on.
        renames: New column → the column of ``previous`` that it continues.
        docs: Column → comment.
        threads: As for `write_table`.
        on_progress: As for `write_table`: called with the rows of the slices that are being written.
        rebuild: Whether all partitions are written anew, so that types and order of the columns are those of the data.
        column_sets: As for `write_table`.
    """

    storage: Storage
    key: str
    layout: Layout
    previous: Table | None
    renames: Mapping[str, str] | None = None
    docs: Mapping[str, str] | None = None
    threads: int = 2
    on_progress: Progress | None = None
    rebuild: bool = False
    column_sets: Iterable[ColumnSet] = ()

    def write(self, part: Slice, data: pa.Table | pa.RecordBatchReader) -> PartitionFiles:
        """Writes the rows of one slice: perhaps none; a stream of any length.

        Raises:
            UnstorableError: a type or value can't be stored exactly, or a row does not belong to the slice.
            IsolationError: the scope does not reach the table's folder.
            LakeError: a rename or comment names no column, or slice and layout do not go together.
        """
        data = _with_added(data, self.layout, part)
        given = self._aligned(data.schema)
        rows, data = _first(_in_order(data, given.names))
        try:
            schema = storable_schema(given)
        except UnstorableError:
            if rows:
                raise
            return PartitionFiles(part, None, self._base["last-column-id"], self._table, (), None)
        writer, files = self._started(schema)
        writer.check = Membership(self.key, self.layout, part, writer.schema["fields"]).check
        writer.write_data(data, self.threads, self.on_progress)
        return files(part, writer.entries, writer.content, writer.columns)

    def write_all(
        self, pieces: Iterable[tuple[Slice, pa.Table | pa.RecordBatchReader]]
    ) -> Iterator[PartitionFiles]:
        """Writes slices in order; consecutive small tables together, which is several times quicker than one by one.

        Raises:
            As `write`; the files of all slices before the one at fault were given.
        """
        for run in _runs(pieces):
            together: list[PartitionFiles] = []
            if len(run) > 1:
                # One of them may be at fault: then each is written by itself, up to that one, which is told.
                with suppress(UnstorableError):
                    together = self._write_small(run)
            yield from together or (self.write(*each) for each in run)

    def _write_small(self, run: Sequence[tuple[Slice, Any]]) -> list[PartitionFiles]:
        tables = [_with_added(data, self.layout, part) for part, data in run]
        given = self._aligned(tables[0].schema)
        writer, files = self._started(storable_schema(given))
        fields = writer.schema["fields"]
        checks = [Membership(self.key, self.layout, part, fields).check for part, _ in run]
        written = writer.write_pieces(
            [_in_order(each, given.names) for each in tables], checks, self.threads, self.on_progress
        )
        return [files(part, *each) for (part, _), each in zip(run, written, strict=True)]

    def _aligned(self, given: pa.Schema) -> pa.Schema:
        if self.previous is None or self.rebuild:
            return given
        return aligned(given, self.previous.schema, self.renames or {})

    @property
    def _before(self) -> Json | None:
        return self.previous.metadata if self.previous is not None else None

    @property
    def _base(self) -> Json:
        return start_metadata(self._before)

    @property
    def _table(self) -> str | None:
        return None if self._before is None else self._before["table-uuid"]

    def _started(self, schema: pa.Schema) -> tuple[Writer, Callable[..., PartitionFiles]]:
        """A writer of files under the schema, and what makes a slice's files of what it has written."""
        fields, last_id = assign_fields(
            schema,
            previous=current_schema(self._before),
            last_id=self._base["last-column-id"],
            renames=self.renames,
            docs=self.docs,
        )
        table, stored = self._table, tuple(fields)

        def files(
            part: Slice, entries: Iterable[Json], content: Content, columns: Mapping[str, Content]
        ) -> PartitionFiles:
            return PartitionFiles(part, stored, last_id, table, tuple(entries), content, dict(columns))

        writer = Writer(self.storage, self.key, {"type": "struct", "schema-id": 0, "fields": fields}, 0, 0)
        writer.sets = kept_sets(map(column_set, self.column_sets))
        return writer, files


def write_partition(
    storage: Storage,
    key: str,
    slice: Slice,  # noqa: A002 -- the word of the layout
    data: pa.Table | pa.RecordBatchReader,
    *,
    layout: Layout,
    previous: Table | None,
    renames: Mapping[str, str] | None = None,
    docs: Mapping[str, str] | None = None,
    threads: int = 2,
    on_progress: Progress | None = None,
    rebuild: bool = False,
) -> PartitionFiles:
    """`PartitionWriter.write` of one slice alone; arguments and errors are those."""
    writer = PartitionWriter(storage, key, layout, previous, renames, docs, threads, on_progress, rebuild)
    return writer.write(slice, data)


def read_partitions(
    table: Table, keys: Iterable[str], change: Callable[[Any], Any] = lambda data: data
) -> Iterator[tuple[str, pa.Table | pa.RecordBatchReader]]:
    """The rows of each partition, in order; small ones are read together, which is several times quicker than one by one.

    Args:
        table: A table whose partitions are known.
        keys: Those that are wanted; one that the table has not holds no rows.
        change: What becomes of the rows of one or more partitions, a table or a stream: as many rows, in the same order.

    Raises:
        LakeError: the states of the table's partitions are not known.
        MissingFileError: a file of the table is gone.
    """
    run: list[str] = []
    size = 0
    for key in keys:
        state = table.partition_map.get(key) if table.partition_map is not None else None
        more = state.bytes if state is not None else 0
        if run and size + more > _RUN_BYTES // _PACKED:
            yield from _read(table, run, change)
            run, size = [], 0
        run.append(key)
        size += more
    yield from _read(table, run, change)


def _read(
    table: Table, keys: Sequence[str], change: Callable[[Any], Any]
) -> Iterator[tuple[str, pa.Table | pa.RecordBatchReader]]:
    import pyarrow as pa

    if len(keys) < 2 or not table.plain:
        yield from ((key, change(table.only([key]).to_batches())) for key in keys)
        return
    together = table.only(keys)
    rows = change(together.to_arrow())
    found: dict[Any, list[pa.Table]] = {}
    at = 0
    for entry in together.entries(statistics=False):
        count = entry["data_file"]["record_count"]
        found.setdefault(values_in(entry), []).append(rows.slice(at, count))
        at += count
    states = together.partition_map
    assert states is not None
    for key in keys:
        state = states.get(key)
        pieces = found.get(state.values, []) if state is not None else []
        yield key, pa.concat_tables([rows.slice(0, 0), *pieces])


def _runs(
    pieces: Iterable[tuple[Slice, pa.Table | pa.RecordBatchReader]],
) -> Iterator[list[tuple[Slice, pa.Table | pa.RecordBatchReader]]]:
    """Consecutive small tables of the same columns together, anything else by itself."""
    import pyarrow as pa

    run: list[tuple[Slice, pa.Table | pa.RecordBatchReader]] = []
    size = 0
    for part, data in pieces:
        small = isinstance(data, pa.Table) and data.num_rows < SMALL and data.nbytes < _RUN_BYTES
        if run and not (small and size < _RUN_BYTES and data.schema.equals(run[0][1].schema)):
            yield run
            run, size = [], 0
        if small:
            run.append((part, data))
            size += data.nbytes
        else:
            yield [(part, data)]
    if run:
        yield run


def _with_added(
    data: pa.Table | pa.RecordBatchReader, layout: Layout, part: Slice
) -> pa.Table | pa.RecordBatchReader:
    """The data with the columns that the lake adds, last, whatever of that name it came with."""
    import pyarrow as pa

    if not layout.added:
        return data
    kept = [at for at, name in enumerate(data.schema.names) if name not in layout.added]
    schema = pa.schema(
        [data.schema.field(at) for at in kept]
        + [pa.field(name, pa.string(), nullable=False) for name in layout.added]
    )
    texts = [text for each, text in zip(layout.fields, part.parts, strict=False) if each.added]

    def filled(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [batch.column(at) for at in kept]
        columns += [pa.repeat(pa.scalar(text), batch.num_rows) for text in texts]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    if isinstance(data, pa.Table):
        return pa.Table.from_batches([filled(batch) for batch in data.to_batches()], schema)
    return pa.RecordBatchReader.from_batches(schema, (filled(batch) for batch in data))


def _in_order(data: pa.Table | pa.RecordBatchReader, names: list[str]) -> pa.Table | pa.RecordBatchReader:
    import pyarrow as pa

    if list(data.schema.names) == names or sorted(data.schema.names) != sorted(names):
        return data
    if isinstance(data, pa.Table):
        return data.select(names)
    ordered = pa.schema([data.schema.field(name) for name in names])
    return pa.RecordBatchReader.from_batches(ordered, (batch.select(names) for batch in data))


def _first(data: pa.Table | pa.RecordBatchReader) -> tuple[bool, pa.Table | pa.RecordBatchReader]:
    """Whether there is a row, and the same data; of a stream no more is read than that takes."""
    import pyarrow as pa

    if isinstance(data, pa.Table):
        return data.num_rows > 0, data
    batches: Iterator[pa.RecordBatch] = iter(data)
    first = next((batch for batch in batches if batch.num_rows), None)
    if first is None:
        return False, data.schema.empty_table()

    def chained() -> Iterator[pa.RecordBatch]:
        yield first
        yield from batches

    return True, pa.RecordBatchReader.from_batches(data.schema, chained())


__all__ = [
    "PARTITION_COLUMN",
    "PARTITION_COLUMNS",
    "Layout",
    "LayoutField",
    "PartitionFiles",
    "PartitionMap",
    "PartitionState",
    "PartitionWriter",
    "Slice",
    "assemble",
    "overlay",
    "read_partitions",
    "write_partition",
]
