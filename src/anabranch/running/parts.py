"""Making partitions in a worker: the user's code for each, or for several at once, and files of what it returns.

Nothing points to the files: whoever started the worker puts them into the table, so that several workers may make
partitions of one table at the same time. Knows neither plan nor catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass, field
from anabranch.errors import SignatureError, UnstorableError
from anabranch.pipeline.partition import Partition, Partitions

if TYPE_CHECKING:
    import pyarrow as pa

    from anabranch.lake.partitions import PartitionFiles, Slice

GIVE_UP = 3
"""Partitions of one task that may fail one after the other, with none made, before the rest is not tried."""
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Part:
    """One partition that a task is to make.

    Attributes:
        key: Its key.
        inputs: Digest of what it reads.
        reads: Input → the partitions of it that are read; an input that is not named is read whole.
    """

    key: str
    inputs: str
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """One partition that was made: its files, to which nothing points yet."""

    key: str
    files: PartitionFiles
    inputs: str


@dataclass(frozen=True)
class Parts:
    """What a task has made of its partitions, and which failed: key → the error as plain values."""

    made: tuple[Made, ...] = ()
    failed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    untried: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of what was made."""
        return sum(each.files.rows for each in self.made)

    @property
    def bytes(self) -> int:
        """Stored bytes of what was made."""
        return sum(each.files.bytes for each in self.made)


# in a worker


def make_parts(
    partitions: Partitions,
    parts: Sequence[Part],
    sources: Mapping[str, Any],
    call: Callable[[Mapping[str, Any], Sequence[Partition]], AbstractContextManager[Any]],
    store: Callable[[Iterable[tuple[Slice, Any]]], Iterable[PartitionFiles]],
    failure: Callable[[BaseException], Mapping[str, Any]],
    *,
    batched: bool,
    owner: str,
) -> Parts:
    """Makes partitions, one call for each or one for all.

    Args:
        partitions: How the asset is cut.
        parts: What to make, in order.
        sources: Input → a handle on the whole table.
        call: Calls the user's code with handles and partitions; gives the value.
        store: Writes values as the files of their slices, in order.
        failure: An error as plain values.
        batched: Whether one call makes them all.
        owner: The asset, for messages.
    """
    made: list[Made] = []
    failed: dict[str, Mapping[str, Any]] = {}
    groups = [list(parts)] if batched else [[part] for part in parts]
    for place, group in enumerate(groups):
        asked = [partitions.partition(part.key) for part in group]
        try:
            with call(_restricted(sources, group), asked) as value:
                pieces = _pieces(value, partitions, group, owner) if batched else [(group[0], value)]
                stored = store((partitions.slice(part.key), piece) for part, piece in pieces)
                for (part, _), files in zip(pieces, stored, strict=True):
                    made.append(Made(part.key, files, part.inputs))
        except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 - a user's code may raise anything
            there = {each.key for each in made}
            told = failure(error)
            failed |= {part.key: told for part in group if part.key not in there}
            if not made and len(failed) >= GIVE_UP:
                rest = tuple(part.key for later in groups[place + 1 :] for part in later)
                return Parts(tuple(made), failed, rest)
    return Parts(tuple(made), failed)


def _restricted(sources: Mapping[str, Any], group: Sequence[Part]) -> dict[str, Any]:
    found = dict(sources)
    for key in group[0].reads:
        wanted = dict.fromkeys(each for part in group for each in part.reads.get(key, ()))
        found[key] = sources[key].only(tuple(wanted))
    return found


def _pieces(value: Any, partitions: Partitions, group: Sequence[Part], owner: str) -> list[tuple[Part, Any]]:
    """What one call returned for several partitions, piece by piece: a mapping by key, or a table that is split by its columns."""
    if isinstance(value, Mapping):
        wanted = {part.key for part in group}
        strange = sorted(str(key) for key in value if key not in wanted)
        if strange or len(value) < len(wanted):
            what = f"{strange[0]!r}, which was not asked for" if strange else "too few"
            raise SignatureError(
                f"{owner} returned partitions: {what}",
                hint="return exactly one table for the key of each partition in partitions",
            )
        return [(part, value[part.key]) for part in group]
    from anabranch.running.io import to_arrow

    data = to_arrow(value, owner=owner)
    table = data if not hasattr(data, "read_all") else data.read_all()
    return list(split(table, partitions, group, owner))


def split(
    table: pa.Table, partitions: Partitions, group: Sequence[Part], owner: str
) -> Iterable[tuple[Part, pa.Table]]:
    """The rows of each partition, told by the columns that the partitions are by.

    Raises:
        SignatureError: the partitions name no column.
        UnstorableError: the column is missing, or a row belongs to no partition that was asked for.
    """
    columns = [each.column for each in partitions.dimensions]
    for column in columns:
        if column is None:
            raise SignatureError(
                f"{owner} returned one table for several partitions, and nothing says which row belongs to which",
                hint="return a dict of partition key → table, or name the column: ab.daily(…, column=…)",
            )
        if column not in table.column_names:
            raise UnstorableError(
                f"{owner} is cut into partitions by {column!r}, a column that it did not return",
                column=column,
            )
    left = table.num_rows
    pieces = _sorted(table, partitions, group) if len(columns) == 1 else None
    for place, part in enumerate(group):
        piece = pieces[place] if pieces is not None else _chosen(table, partitions, part)
        left -= piece.num_rows
        yield part, piece
    if left:
        raise UnstorableError(
            f"{owner} returned {left:,} row{'s' if left != 1 else ''} that belong to none of the partitions it was asked for",
            hint="return the rows of the partitions in partitions, and no others",
            column=columns[0],
        )


def _chosen(table: pa.Table, partitions: Partitions, part: Part) -> pa.Table:
    """The rows of one partition, found by looking at all."""
    piece, cut = table, partitions.slice(part.key)
    for dimension, bounds, text in zip(partitions.dimensions, cut.window, cut.parts, strict=True):
        assert dimension.column is not None
        piece = piece.filter(_mask(piece[dimension.column], bounds, text))
    return piece


def _sorted(table: pa.Table, partitions: Partitions, group: Sequence[Part]) -> list[pa.Table] | None:
    """The rows of each partition along one dimension, found by sorting them once; None where they must be looked for."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from anabranch.lake.arrow import integers

    (dimension,) = partitions.dimensions
    cuts = [partitions.slice(part.key) for part in group]
    column = table[dimension.column or ""]
    windows: list[Any] = [cut.window[0] for cut in cuts]
    if all(window is None for window in windows):
        found = pc.index_in(column.cast(pa.string()), value_set=pa.array([cut.parts[0] for cut in cuts]))
        places = found.fill_null(len(cuts)).to_numpy()
    elif pa.types.is_date32(column.type) and all(window is not None for window in windows):
        # Without a day is before all days.
        numbers = column.combine_chunks().cast(pa.int32())
        earliest = integers(np.array([np.iinfo(np.int32).min], np.int32))[0]
        days = pc.coalesce(numbers, earliest).to_numpy()
        lows, highs = (
            np.array([each[end].date().toordinal() - _EPOCH for each in windows]) for end in (1, 2)
        )
        if np.any(np.diff(lows) <= 0):
            return None
        places = np.searchsorted(lows, days, side="right") - 1
        outside = (places < 0) | (days >= highs[places])
        places = np.where(outside, len(cuts), places)
    else:
        return None
    order = np.argsort(places, kind="stable")
    there = places[order]
    rows = table if np.array_equal(there, places) else table.take(integers(order))
    edges = np.searchsorted(there, np.arange(len(cuts) + 1))
    return [rows.slice(int(low), int(high - low)) for low, high in pairwise(edges)]


def _mask(column: pa.ChunkedArray, bounds: tuple[str, Any, Any] | None, text: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if bounds is None:
        return pc.equal(column.cast(pa.string()), text)
    low, high = bounds[1], bounds[2]
    if pa.types.is_date(column.type):
        low, high = low.date(), high.date()
    elif pa.types.is_timestamp(column.type) and column.type.tz is None:
        low, high = low.replace(tzinfo=None), high.replace(tzinfo=None)
    return pc.and_(
        pc.greater_equal(column, pa.scalar(low, column.type)), pc.less(column, pa.scalar(high, column.type))
    )
