"""The mark of each row: the 128 bits that a content version adds up, and what two multisets of them do not share.

Two rows are equal exactly where the version's algorithm says so (`anabranch.lake.version`), so that a difference of
tables and the difference of their versions can never contradict each other. Knows Arrow data and numbers; knows nothing
of tables or files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass
from anabranch.lake.canonical import schema_digest
from anabranch.lake.version import Content

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    U64 = npt.NDArray[np.uint64]
    Mask = npt.NDArray[np.bool_]

IN_MEMORY = 8_000_000
"""Marks of both sides together that are compared by sorting them in memory; more are left to DuckDB, which spills."""
_LANE = 2**64
_MEMORY = "2GB"


@dataclass(frozen=True)
class Marks:
    """The marks of rows, in their order: two lanes of 64 bits."""

    high: U64
    low: U64

    def __len__(self) -> int:
        return len(self.high)

    def content(self, schema: pa.Schema, rows: Mask | None = None) -> Content:
        """The content of the rows, or of those that a mask picks, if these are marks of whole rows of that schema."""
        import numpy as np

        high, low = (self.high, self.low) if rows is None else (self.high[rows], self.low[rows])
        total = int(np.add.reduce(high)) % _LANE << 64 | int(np.add.reduce(low)) % _LANE
        return Content(schema_digest(schema), len(high), total)

    @staticmethod
    def joined(parts: Sequence[Marks]) -> Marks:
        """The marks of several runs of rows, one after the other."""
        import numpy as np

        empty = np.empty(0, np.uint64)
        return Marks(
            np.concatenate([empty, *(part.high for part in parts)]),
            np.concatenate([empty, *(part.low for part in parts)]),
        )


class Marker:
    """Computes marks of batches of one schema. For one thread."""

    def __init__(self) -> None:
        from anabranch.lake.lanes import Scratch

        self._scratch = Scratch()
        self._given: pa.Schema | None = None
        self._root: Any = None

    def of(self, batch: pa.RecordBatch) -> Marks:
        """The mark of each row of a batch."""
        import numpy as np

        from anabranch.lake.lanes import BLOCK, splitmix
        from anabranch.lake.rowhash import SLAB, Struct

        if self._given is None or not self._given.equals(batch.schema):
            fields = [(field.name, field.type) for field in batch.schema]
            self._root = Struct(self._scratch, splitmix(0), "", fields)
            self._given = batch.schema
        high, low = np.empty(batch.num_rows, np.uint64), np.empty(batch.num_rows, np.uint64)
        with np.errstate(all="ignore"):
            for start in range(0, batch.num_rows, SLAB):
                slab = batch.slice(start, SLAB)
                self._root.bind_columns(slab.columns)
                for lo in range(0, slab.num_rows, BLOCK):
                    hi = min(lo + BLOCK, slab.num_rows)
                    a, b = self._root.cells(lo, hi, 0)
                    high[start + lo : start + hi], low[start + lo : start + hi] = a, b
        return Marks(high, low)


def marks_of(batches: Iterable[pa.RecordBatch]) -> Marks:
    """The marks of a stream's rows, in order: 16 bytes a row."""
    marker = Marker()
    return Marks.joined([marker.of(batch) for batch in batches])


class Finder:
    """Finds marks among others, which need not be distinct."""

    def __init__(self, among: Marks) -> None:
        import numpy as np

        self._order = np.lexsort((among.low, among.high))
        self._high, self._low = among.high[self._order], among.low[self._order]
        # Marks that share the first lane by chance would be missed by a search of it alone.
        same = self._high[1:] == self._high[:-1]
        self._simple = not bool((same & (self._low[1:] != self._low[:-1])).any())

    def twice(self) -> int | None:
        """The first position of a mark that an earlier position has too, or None where all are distinct."""
        same = (self._high[1:] == self._high[:-1]) & (self._low[1:] == self._low[:-1])
        if not same.any():
            return None
        return int(self._order[1:][same].min())

    def places(self, wanted: Marks) -> npt.NDArray[np.int64]:
        """For each wanted mark a position where it is, or -1."""
        import numpy as np

        found = np.full(len(wanted), -1, np.int64)
        if not len(self._high):
            return found
        at = np.searchsorted(self._high, wanted.high)
        at[at == len(self._high)] = 0
        hit = (self._high[at] == wanted.high) & (self._low[at] == wanted.low)
        found[hit] = self._order[at[hit]]
        if not self._simple:
            known = {
                (int(h), int(low)): int(p)
                for h, low, p in zip(self._high, self._low, self._order, strict=True)
            }
            for i in np.flatnonzero(~hit & (self._high[at] == wanted.high)):
                found[i] = known.get((int(wanted.high[i]), int(wanted.low[i])), -1)
        return found


def surplus(
    left: Iterable[Marks], right: Iterable[Marks], rows: tuple[int, int], *, spill: Path | None = None
) -> tuple[Mask, Mask]:
    """Which rows of each side are left when equal rows have cancelled one against one.

    Of rows that are equal among themselves the last ones are left. Takes one byte a row, and where both sides have more
    than `IN_MEMORY` rows together keeps the marks themselves in a DuckDB that spills.

    Args:
        left: One side, run by run.
        right: The other.
        rows: How many rows each side has.
        spill: Where DuckDB may keep what does not fit into memory; the system's temporary folder if None.
    """
    import numpy as np

    if not all(rows):
        return np.ones(rows[0], np.bool_), np.ones(rows[1], np.bool_)
    if sum(rows) > IN_MEMORY:
        return _surplus_spilling(left, right, rows, spill)
    return _surplus_sorting(Marks.joined(list(left)), Marks.joined(list(right)))


def _surplus_sorting(left: Marks, right: Marks) -> tuple[Mask, Mask]:
    import numpy as np

    high = np.concatenate([left.high, right.high])
    low = np.concatenate([left.low, right.low])
    order = np.argsort(high, kind="stable")  # left before right, each in its order
    same = high[order[1:]] == high[order[:-1]]
    if bool((same & (low[order[1:]] != low[order[:-1]])).any()):
        order = np.lexsort((low, high))
        same = (high[order[1:]] == high[order[:-1]]) & (low[order[1:]] == low[order[:-1]])
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    sizes = np.diff(np.append(starts, len(order)))
    on_left = order < len(left)
    of_left = np.add.reduceat(on_left.astype(np.int64), starts)
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    lefts = np.repeat(of_left, sizes)
    rights = np.repeat(sizes - of_left, sizes)
    out = np.zeros(len(order), np.bool_)
    out[order] = np.where(on_left, rank >= rights, rank - lefts >= lefts)
    return out[: len(left)], out[len(left) :]


def _surplus_spilling(
    left: Iterable[Marks], right: Iterable[Marks], rows: tuple[int, int], spill: Path | None
) -> tuple[Mask, Mask]:
    import duckdb
    import numpy as np
    import pyarrow as pa

    masks = np.zeros(rows[0], np.bool_), np.zeros(rows[1], np.bool_)
    with tempfile.TemporaryDirectory(prefix="anabranch-changes-", dir=spill) as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": folder,
            "memory_limit": _MEMORY,
            "autoinstall_known_extensions": "false",
            "preserve_insertion_order": "false",
        }
        with duckdb.connect(config=config) as connection:
            for side, parts in enumerate((left, right)):
                connection.execute(f"CREATE TEMP TABLE side{side} (place BIGINT, high UBIGINT, low UBIGINT)")
                at = 0
                for marks in parts:
                    places = np.arange(at, at + len(marks), dtype=np.int64)
                    at += len(marks)
                    columns = {"place": places, "high": marks.high, "low": marks.low}
                    connection.register("part", pa.table(columns))
                    connection.execute(f"INSERT INTO side{side} FROM part")
                    connection.unregister("part")
            both = " UNION ALL ".join(
                f"SELECT high, low, {sign} AS n FROM side{side}" for side, sign in ((0, -1), (1, 1))
            )
            connection.execute(
                "CREATE TEMP TABLE net AS SELECT high, low, sum(n) AS n "
                f"FROM ({both}) GROUP BY high, low HAVING sum(n) <> 0"
            )
            for side, sign in ((0, -1), (1, 1)):
                ranked = (
                    "SELECT place, n, row_number() OVER (PARTITION BY high, low ORDER BY place DESC) AS r "
                    f"FROM side{side} JOIN net USING (high, low) WHERE n * {sign} > 0"
                )
                found = connection.execute(f"SELECT place FROM ({ranked}) WHERE r <= n * {sign}")
                while batch := found.fetchmany(100_000):
                    masks[side][np.array(batch, np.int64)[:, 0]] = True
    return masks
