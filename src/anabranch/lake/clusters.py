"""Which manifests a partitioned table's files stand in: few, each with partitions that lie together.

Overwriting one of thousands of partitions rewrites the manifest that holds it and no other; a thousand appends leave a
short list. Manifests are merged with others of their own size, so that an entry is copied a few times in a table's life,
and ordered by partition when they are. Knows manifests; knows nothing of schemas or states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from anabranch.errors import LakeError
from anabranch.lake import manifest
from anabranch.lake.avro import AvroError

Values = tuple[Any, ...]
Row = manifest.Entry
Write = Callable[[list[manifest.Entry]], Row]
Read = Callable[[Row], list[manifest.Entry]]

MOST = 64  # entries of a manifest
_SMALL = 16  # entries below which a manifest is small, and small ones that are merged
_MIDDLES = 8  # manifests that are neither small nor full that are merged
_SPREAD = 8  # manifests that are looked into in vain before they are put in order


def replaced(
    rows: Sequence[Row],
    gone: set[Values],
    fresh: Sequence[manifest.Entry],
    *,
    partitioning: manifest.Partitioning,
    read: Read,
    write: Write,
) -> tuple[list[Row], list[manifest.Entry]]:
    """The manifest list without the files of some partitions and with others, and the entries that went.

    Args:
        rows: The list so far. Rows of deletes stay as they are.
        gone: Partitions whose files go.
        fresh: Entries that come.
        partitioning: The table's spec; every row of data files is of it.
        read: Reads a manifest.
        write: Writes one.

    Raises:
        LakeError: a manifest that has to be rewritten is packed in a way that is not read here.
    """
    kept: list[Row] = []
    touched: list[tuple[Row, list[manifest.Entry]]] = []
    looked: list[tuple[Row, list[manifest.Entry]]] = []
    removed: list[manifest.Entry] = []
    for row in rows:
        if row["content"] != manifest.DATA or not gone or not partitioning.may_hold(row, gone):
            kept.append(row)
            continue
        entries = _read(read, row)
        staying = [entry for entry in entries if manifest.values_of(entry) not in gone]
        if len(staying) == len(entries):
            looked.append((row, entries))
        else:
            touched.append((row, staying))
            removed += [entry for entry in entries if manifest.values_of(entry) in gone]
    if len(looked) > _SPREAD + 2 * len(gone):
        touched += looked
        pool = [entry for _, entries in touched for entry in entries]
        return [*kept, *_chunks([*_existing(pool), *fresh], write)], removed
    kept += [row for row, _ in looked]
    waiting = list(fresh)
    for row, staying in touched:
        bounds = partitioning.bounds(row)
        joining: list[manifest.Entry] = []
        others: list[manifest.Entry] = []
        for entry in waiting:
            inside = bounds is not None and _within(manifest.values_of(entry), bounds)
            (joining if inside else others).append(entry)
        waiting = others
        kept += _chunks([*_existing(staying), *joining], write)
    return [*kept, *_chunks(waiting, write)], removed


def merged(rows: list[Row], *, partitioning: manifest.Partitioning, read: Read, write: Write) -> list[Row]:
    """The list with manifests of one size merged where there are many, in the order of the partitions."""
    for low, high, most in ((0, _SMALL, _SMALL), (_SMALL, MOST, _MIDDLES)):
        wanted = [row for row in rows if row["content"] == manifest.DATA and low <= _size(row) < high]
        if len(wanted) < most:
            continue
        try:
            entries = [entry for row in wanted for entry in read(row)]
        except AvroError:  # packed by another engine in a way that is not read here
            continue
        paths = {row["manifest_path"] for row in wanted}
        rows = [row for row in rows if row["manifest_path"] not in paths]
        rows += _chunks(_existing(entries), write)
    return sorted(rows, key=lambda row: _order(row, partitioning))


def _read(read: Read, row: Row) -> list[manifest.Entry]:
    try:
        return read(row)
    except AvroError as error:
        raise LakeError(
            f"the manifest {row['manifest_path']} was packed by another engine in a way that is not read here: {error}",
            hint="write the table's manifests with the codec gzip, or build all partitions anew",
            location=row["manifest_path"],
        ) from error


def _size(row: Row) -> int:
    return int(row["added_files_count"] + row["existing_files_count"])


def _existing(entries: Iterable[manifest.Entry]) -> list[manifest.Entry]:
    """The entries as those of an earlier snapshot, but for those that have no number yet."""
    return [
        entry if entry.get("sequence_number") is None else {**entry, "status": manifest.EXISTING}
        for entry in entries
    ]


def _within(values: Values, bounds: Sequence[tuple[Any, Any]]) -> bool:
    return all(
        value is not None and lower <= value <= upper
        for value, (lower, upper) in zip(values, bounds, strict=True)
    )


def _sortable(values: Iterable[Any]) -> tuple[tuple[bool, Any], ...]:
    return tuple((value is not None, value if value is not None else 0) for value in values)


def _order(row: Row, partitioning: manifest.Partitioning) -> tuple[Any, ...]:
    """Deletes last, as they came; data by the least of their partitions."""
    if row["content"] != manifest.DATA:
        return (2,)
    bounds = partitioning.bounds(row)
    return (1,) if bounds is None else (0, _sortable(lower for lower, _ in bounds))


def _chunks(entries: Iterable[manifest.Entry], write: Write) -> list[Row]:
    """Manifests of the entries in the order of their partitions."""
    ordered = sorted(entries, key=lambda entry: _sortable(manifest.values_of(entry)))
    return [write(ordered[at : at + MOST]) for at in range(0, len(ordered), MOST)]


__all__ = ["MOST", "merged", "replaced"]
