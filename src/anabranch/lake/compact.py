"""When manifests are merged, and which data files with them, so that a table of many small appends stays quick.

Sixteen manifests of one size become one of the next, and the small files that they list become one file: a row is
written again but a few times in a table's life, and the number of files grows with the logarithm of the appends. Rows
stay in their order, so that nothing but the layout changes; whoever compares versions sees equal rows cancel. Knows
entries and sizes; knows nothing of how they are read or written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from anabranch.lake import manifest

MERGE = 16
"""Manifests of one size that are merged into one of the next."""
LONGEST = 64
"""Manifests of whatever sizes below one that are merged at last, where sizes alternate."""
SMALL_ROWS = 1 << 15
SMALL_BYTES = 8 << 20
"""A data file of fewer rows and bytes is put together with its neighbours when their manifests are merged."""


def tier(row: manifest.Entry) -> int:
    """The size class of a manifest: 0 for up to 15 rows, 1 for up to 255, …"""
    rows = int(row["added_rows_count"] + row["existing_rows_count"])
    files = int(row["added_files_count"] + row["existing_files_count"])
    return (max(1, rows, files).bit_length() - 1) // 4


def run_to_merge(
    rows: Sequence[manifest.Entry], mergeable: Callable[[manifest.Entry], bool]
) -> tuple[int, int] | None:
    """The newest manifests, from and to which position, that are to become one; None where there is nothing to do."""
    largest = 0
    equal = 0
    for at in range(len(rows) - 1, -1, -1):
        if not mergeable(rows[at]):
            return None
        size = tier(rows[at])
        if size > largest:
            largest, equal = size, 0
        equal += size == largest
        if equal >= MERGE or len(rows) - at >= LONGEST:
            return at, len(rows)
    return None


def runs_of_small(entries: Sequence[manifest.Entry]) -> Iterator[tuple[bool, list[manifest.Entry]]]:
    """The entries in their order, cut into runs; and of each whether its files are to become one file."""
    for small, run in groupby(entries, key=_is_small):
        files = list(run)
        yield small and len(files) > 1, files


def _is_small(entry: manifest.Entry) -> bool:
    file = entry["data_file"]
    return bool(
        file["content"] == manifest.DATA
        and file["file_format"] == "PARQUET"
        and not file.get("partition")
        and file["record_count"] < SMALL_ROWS
        and file["file_size_in_bytes"] < SMALL_BYTES
    )
