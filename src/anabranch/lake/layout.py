"""How a table is cut into partitions, in the lake's words: columns, transforms, keys and windows.

The calendar lives in higher floors: what a day is in a time zone, which weeks there are, how keys are spelt. The lake is
given the outcome for each partition, a `Slice`, and knows nothing of how it came about. Plain values, quick to import.
"""

from __future__ import annotations

from typing import Any, Literal

from anabranch.dataclass import dataclass
from anabranch.errors import LakeError

PARTITION_COLUMN = "_partition"
PARTITION_COLUMNS = (PARTITION_COLUMN, f"{PARTITION_COLUMN}_2")
"""Names of the columns that the lake adds; what data brings under these names is replaced."""

Transform = Literal["identity", "hour", "day", "month", "year"]


@dataclass(frozen=True)
class LayoutField:
    """One dimension by which a table is partitioned.

    Args:
        column: The source column.
        transform: What of its values makes the partition: Iceberg's transform of that name.
        added: Whether the lake adds the column, a text that holds the slice's part of the key; it is then named by one of
            `PARTITION_COLUMNS` and taken as it is.
    """

    column: str
    transform: Transform
    added: bool = False

    def __post_init__(self) -> None:
        if self.added != (self.column in PARTITION_COLUMNS) or (self.added and self.transform != "identity"):
            raise LakeError(
                f"{self.column!r} can't be a column to partition by: {' and '.join(PARTITION_COLUMNS)} are the "
                "columns that the lake adds, to be taken as they are, and no others are",
                column=self.column,
            )


@dataclass(frozen=True)
class Layout:
    """How a table is partitioned: by one field, or by the product of two."""

    fields: tuple[LayoutField, ...]

    def __post_init__(self) -> None:
        pairs = {(each.column, each.transform) for each in self.fields}
        if not 1 <= len(self.fields) <= 2 or len(pairs) < len(self.fields):
            raise LakeError("a table is partitioned by one field, or by two different ones")

    @property
    def added(self) -> tuple[str, ...]:
        """The columns that the lake adds."""
        return tuple(each.column for each in self.fields if each.added)


@dataclass(frozen=True)
class Slice:
    """One partition of a table.

    Args:
        key: Its name: ``2013-01-05``, ``AA``, ``2013-01-05|AA``.
        parts: The key's part for each field of the layout: what an added column holds; for a plain column that is taken as
            it is, its value as text. For a transform with a window the window counts, without one the part as an ISO date
            or time (``2013``, ``2013-01``, ``2013-01-05``, ``2013-01-05T03``).
        window: For each field ``(column, lower, upper)``: every row must have lower ≤ column < upper, in dates or datetimes;
            None where nothing is checked. The column need not be the field's own: beside an added column it is the one
            that the data has its time in. A bound with a time zone is an instant for a column of instants, and the
            clock's reading in that zone for a column without zone; one without zone is in UTC for a column of instants.
    """

    key: str
    parts: tuple[str, ...]
    window: tuple[tuple[str, Any, Any] | None, ...] = ()


__all__ = ["PARTITION_COLUMN", "PARTITION_COLUMNS", "Layout", "LayoutField", "Slice"]
