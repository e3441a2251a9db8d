"""Partitioned tables: one slice is written at a time, and a table is put together of what was written.

Two steps, so that many workers can write slices side by side and one place decides what becomes of them: `write_partition`
leaves durable files to which nothing points, `assemble` and `overlay` (`assemble.py`) make metadata that does. The names
that upper floors use of partitions are all here. Knows nothing of calendars, refs or who asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from anabranch.errors import UnstorableError
from anabranch.lake.arrow import storable_schema
from anabranch.lake.assemble import PartitionFiles, assemble, overlay
from anabranch.lake.evolve import aligned
from anabranch.lake.fields import assign_fields
from anabranch.lake.layout import PARTITION_COLUMN, PARTITION_COLUMNS, Layout, LayoutField, Slice
from anabranch.lake.partition_map import PartitionMap, PartitionState
from anabranch.lake.slices import Membership
from anabranch.lake.write import Progress, Writer, current_schema, start_metadata

if TYPE_CHECKING:
    import pyarrow as pa

    from anabranch.lake.read import Table
    from anabranch.lake.storage import Storage

Json = Any


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
    """Writes the rows of one slice, durably. Nothing points to them until `assemble`; what is never assembled is garbage.

    Where the data's types are narrower than the table's, or a column has no value, the table's types are stored; columns
    that the lake adds are filled in, and replaced where the data brings them.

    Args:
        storage: Where, under the scope that allows it.
        key: The asset's key.
        slice: Which partition.
        data: Its rows, perhaps none; a stream of any length.
        layout: How the table is partitioned.
        previous: The table that will be assembled upon: its field ids and types go on.
        renames: New column → the column of ``previous`` that it continues.
        docs: Column → comment.
        threads: As for `write_table`.
        on_progress: As for `write_table`.
        rebuild: Whether all partitions are written anew, so that types and order of the columns are those of the data.

    Raises:
        UnstorableError: a type or value can't be stored exactly, or a row does not belong to the slice.
        IsolationError: the scope does not reach the table's folder.
        LakeError: a rename or comment names no column, or slice and layout do not go together.
    """
    before = previous.metadata if previous is not None else None
    data = _with_added(data, layout, slice)
    given = data.schema
    if previous is not None and not rebuild:
        given = aligned(given, previous.schema, renames or {})
        data = _in_order(data, given.names)
    rows, data = _first(data)
    base = start_metadata(before)
    try:
        schema = storable_schema(given)
    except UnstorableError:
        if rows:
            raise
        return PartitionFiles(slice, None, base["last-column-id"], _identity(before), (), None)
    fields, last_id = assign_fields(
        schema, previous=current_schema(before), last_id=base["last-column-id"], renames=renames, docs=docs
    )
    writer = Writer(storage, key, {"type": "struct", "schema-id": 0, "fields": fields}, 0, 0)
    membership = Membership(key, layout, slice, fields)
    writer.check = membership.check
    writer.write_data(data, threads, on_progress)
    return PartitionFiles(
        slice, tuple(fields), last_id, _identity(before), tuple(writer.entries), writer.content
    )


def _identity(before: Json | None) -> str | None:
    return None if before is None else before["table-uuid"]


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
    "Slice",
    "assemble",
    "overlay",
    "write_partition",
]
