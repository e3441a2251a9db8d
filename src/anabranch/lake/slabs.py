"""How a stream of rows is cut into pieces that are written side by side, and how each is laid out in Parquet.

A slab is as many rows as one thread writes to one file: large enough to be worth a file, small enough that a few of them
fit any memory. Knows Arrow data; knows nothing of where it goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

SLAB_ROWS = 1 << 20
SLAB_BYTES = 128 << 20
SMALL = 8192
"""Rows below which a batch costs more by itself than by its rows."""
_FEW = 2048
_SAMPLE = 1 << 16  # rows by which is judged whether a dictionary pays
_FEW_VALUES = 0.5  # distinct values among so many rows
_ALL_DIFFERENT = 0.98


def chained(
    first: tuple[int, list[pa.RecordBatch]] | None,
    second: tuple[int, list[pa.RecordBatch]],
    rest: Iterator[tuple[int, list[pa.RecordBatch]]],
) -> Iterator[tuple[int, list[pa.RecordBatch]]]:
    """Two slabs that were looked at and the rest, none of which is held longer than until it is passed on."""
    if first is not None:
        yield first
    del first
    yield second
    del second
    yield from rest


def slabs(data: pa.Table | pa.RecordBatchReader) -> Iterator[list[pa.RecordBatch]]:
    """The rows in pieces of at most `SLAB_ROWS` and about `SLAB_BYTES`; nothing for data without rows."""
    import pyarrow as pa

    slab: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in data.to_batches() if isinstance(data, pa.Table) else data:
        at = 0
        width = max(1, batch.nbytes // max(1, batch.num_rows))
        while at < batch.num_rows:
            room = min(SLAB_ROWS - rows, max(1, (SLAB_BYTES - size) // width))
            piece = batch.slice(at, room)
            slab.append(piece)
            at += piece.num_rows
            rows += piece.num_rows
            size += piece.num_rows * width
            if rows >= SLAB_ROWS or size + width > SLAB_BYTES:
                yield slab
                slab, rows, size = [], 0, 0
    if slab:
        yield slab


def count_nans(table: pa.Table, schema: Any, nans: dict[int, int]) -> None:
    """Adds the numbers of NaN of a table to those by field id, for the ids that are there."""
    from pyarrow import compute

    for each, column in zip(schema["fields"], table.columns, strict=True):
        if each["id"] in nans:
            nans[each["id"]] += compute.sum(compute.is_nan(column)).as_py() or 0


def dictionaries(table: pa.Table) -> list[str] | bool:
    """The Parquet columns that are worth a dictionary: not ids and measures, whose values hardly ever come twice.

    Without this a third of the time of a write goes into dictionaries that are given up halfway. A few rows are packed
    smaller, and in half the time, without any.
    """
    import pyarrow as pa
    from pyarrow import ArrowNotImplementedError, compute, types

    if table.num_rows < SMALL:
        return bool(table.num_rows >= _FEW)
    sample = table.slice(0, _SAMPLE)
    step = sample.num_rows // 8
    glance = pa.concat_tables(sample.slice(at * step, SMALL // 8) for at in range(8))
    wanted = []
    for field, column in zip(sample.schema, sample.columns, strict=True):
        if types.is_nested(field.type):
            wanted.extend(_leaf_paths(field.name, field.type))
            continue
        try:
            # A glance tells most columns: those of few values, and those whose values are all different.
            share = compute.count_distinct(glance[field.name]).as_py() / glance.num_rows
            if _FEW_VALUES < share < _ALL_DIFFERENT:
                share = compute.count_distinct(column).as_py() / sample.num_rows
        except ArrowNotImplementedError:
            share = 0.0
        if share <= _FEW_VALUES:
            wanted.append(field.name)
    return wanted


def _leaf_paths(path: str, kind: pa.DataType) -> list[str]:
    """The names that Parquet has for the columns inside of a nested one."""
    from pyarrow import types

    if types.is_struct(kind):
        parts = [(f"{path}.{kind.field(i).name}", kind.field(i).type) for i in range(kind.num_fields)]
    elif types.is_map(kind):
        parts = [(f"{path}.key_value.key", kind.key_type), (f"{path}.key_value.value", kind.item_type)]
    elif types.is_list(kind):
        parts = [(f"{path}.list.element", kind.value_type)]
    else:
        return [path]
    return [leaf for part in parts for leaf in _leaf_paths(*part)]
