"""Content versions: equal data has an equal version, whatever wrote it, in whatever order, files and batches.

Everything downstream trusts that two equal versions mean equal data, so no library's hash takes part in them (none is
promised to stay as it is). A version is the schema's hash, the number of rows and the sum of the rows' hashes: it does
not depend on the order of the rows, and an append or a removal updates it by the changed rows alone. This module knows
Arrow data; it knows nothing of tables, branches or where files lie.

**What counts as equal.** The names, canonical types (`anabranch.lake.canonical`) and order of the columns, and the
multiset of rows. Null differs from zero, from the empty string and from the empty list. Minus zero equals zero and every
NaN equals every other, as in SQL and in a diff. The order inside a list or a map counts. Nullability flags, metadata,
chunks, slices, dictionaries and bytes hidden behind nulls do not. Strings are their UTF-8 bytes, not normalised.

**What it protects from.** Mistakes, not malice: two different tables have an equal version with a probability of about
2**-128, but somebody who wants to build such a pair can. 2**k copies of one row keep 128 - 2k bits apart from 2**k
copies of another.

**The algorithm "ab1".** All words have 64 bits, little-endian, and wrap. ``>>`` is logical. Each hash has two lanes.

Constants: G = 9E3779B97F4A7C15, M1 = BF58476D1CE4E5B9, M2 = 94D049BB133111EB, M3 = FF51AFD7ED558CCD,
M4 = C4CEB9FE1A85EC53 (hexadecimal; of splitmix64 and MurmurHash3).

- ``S(n)``: z = (n+1)*G; z = (z ^ z>>30)*M1; z = (z ^ z>>27)*M2; z ^ z>>31.
- ``D(seed, i) = S(seed ^ S(i))``. ``mix(x)``: x *= M1; x ^= x>>32; x *= M2; x ^= x>>29.
- ``close(h, n, seed, m)``: h = ((h + n*G) ^ seed) * m; h ^ h>>32.

A row is a struct of its columns with the seed S(0). For a node of the type tree with seed s, let K1 = D(s, 2**32) | 1,
K2 = D(s, 2**32+1) | 1, N1 = D(s, 2**32+2), N2 = D(s, 2**32+3), Z1 = D(s, 2**32+4), Z2 = D(s, 2**32+5).

- *Null* of any type: the lanes (N1, N2).
- *Words*: v is the value as a signed integer (uint64: its bits), false 0 and true 1, floats widened to double with -0.0
  made 0.0 and NaN 7FF8000000000000; date in days, time and timestamp in microseconds, durations in their own unit.
  Both lanes are mix(v ^ s).
- *Bytes*: strings, binaries, fixed-size binaries, UUIDs; decimals as two's complement of 16 bytes (of more than 38
  digits: 32) and month-day-nano intervals as their 16 bytes. Words w = 0, 1, ... of 8 bytes; a last word of r < 8 bytes
  is shifted left by 64 - 8r bits. u = word * M1; u ^= u>>32; u *= S(2w) | 1; u ^= u>>29. h1 is the sum of all u, h2 the
  exclusive or of all u * (S(2w+1) | 1). The lanes are close(h1, length in bytes, Z1, M3) and close(h2, length, Z2, M4).
- *Lists* and maps (lists of a struct of key and value): the elements have the seed D(s, 0). Of each element at position
  p = 0, 1, ... with lanes (c1, c2): h1 is the sum of mix(c1 ^ (p+1)*M3), h2 that of mix(c2 ^ (p+1)*M4). The lanes are
  close(h1, number of elements, Z1, M3) and close(h2, number, Z2, M4).
- *Structs*: child i has the seed D(s, i). a = Z1, b = Z2; then for each child in order with lanes (c1, c2) and its own
  K1, K2: a = (a ^ c1) * K1, b = (b + c2) * K2. At last a ^= a>>32; a *= M1; a ^= a>>29; a *= M2; a ^= a>>32 and
  b ^= b>>33; b *= M3; b ^= b>>28; b *= M4; b ^= b>>31.

The version's sum has the sum of all rows' a in its upper 64 bits and that of all b in its lower 64 bits.
"""

from __future__ import annotations

import hashlib
import math
import re
from functools import cache
from itertools import chain
from os import PathLike
from pathlib import Path
from struct import pack
from typing import IO, TYPE_CHECKING, Any

from anabranch.dataclass import dataclass
from anabranch.errors import LakeError, MissingFileError
from anabranch.lake.canonical import canonical_schema, schema_digest
from anabranch.lake.columns import ColumnSet, SetSums

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

__all__ = ["ALGORITHM", "Content", "ContentHasher", "canonical_schema", "content_of", "file_version"]

ALGORITHM = "ab1"
_TEXT = re.compile(r"ab1:([0-9a-f]{16}):(\d+):([0-9a-f]{32})")
_LANE = 2**64
_SMALL = 8192  # rows; smaller batches are put together before they are hashed
_KNOWN = "ab1:9fddf85957cec648:3:a3d90de4f8b2af6139650efa639bd77a"


@dataclass(frozen=True)
class Content:
    """What a table holds, as a value that adds up: content of A and B together is that of A plus that of B.

    Args:
        schema: 16 hexadecimal digits, see `anabranch.lake.canonical.schema_digest`.
        rows: The number of rows.
        sum: Of the rows' hashes, 128 bits: two lanes of 64 bits, each of which wraps by itself.
    """

    schema: str
    rows: int
    sum: int

    @staticmethod
    def empty(schema: pa.Schema) -> Content:
        """The content of a table without rows.

        Raises:
            UnstorableError: a column is of a type that no table can hold, such as a union.
        """
        return Content(schema_digest(schema), 0, 0)

    def __add__(self, other: Content) -> Content:
        """The rows of both. Raises LakeError if the schemas differ."""
        return self._combine(other, 1)

    def __sub__(self, other: Content) -> Content:
        """The rows of self without those of other, which must all be there: a version can't tell.

        Raises:
            LakeError: the schemas differ, or other has more rows than self.
        """
        return self._combine(other, -1)

    def _combine(self, other: Content, sign: int) -> Content:
        if self.schema != other.schema:
            raise LakeError(
                f"contents of different schemas can't be combined: {self.schema} and {other.schema}",
                hint="compute the version of the whole table anew after a change of its schema",
            )
        rows = self.rows + sign * other.rows
        if rows < 0:
            raise LakeError(
                f"{other.rows} rows can't be taken from a content of {self.rows}",
                hint="subtract only what was added, and add before subtracting",
            )
        high = ((self.sum >> 64) + sign * (other.sum >> 64)) % _LANE
        low = (self.sum + sign * other.sum) % _LANE
        return Content(self.schema, rows, high << 64 | low)

    def __str__(self) -> str:
        """``ab1:<schema>:<rows>:<sum>``, which `parse` reads."""
        return f"{ALGORITHM}:{self.schema}:{self.rows}:{self.sum:032x}"

    @staticmethod
    def parse(text: str) -> Content:
        """The content that a version's text stands for.

        Raises:
            LakeError: text is no content version of this algorithm.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise LakeError(
                f"{text!r} is not a content version",
                hint=f"it looks like {ALGORITHM}:<16 hex>:<rows>:<32 hex>; another tag is another program's version",
            )
        return Content(found[1], int(found[2]), int(found[3], 16))


class ContentHasher:
    """Adds up the content of batches. For one thread; the contents of several hashers add up.

    Batches may come in any layout that holds the same values: as the schema says, or before the lake's widening.

    Args:
        schema: The schema of the data; only its canonical form counts.
        sets: Sets of columns whose contents are wanted besides; see `anabranch.lake.columns`.

    Raises:
        UnstorableError: a column is of a type that no table can hold, such as a union.
        LakeError: this machine or its numpy does not compute versions as they are defined.
    """

    def __init__(self, schema: pa.Schema, sets: Iterable[ColumnSet] = ()) -> None:
        _check_arithmetic()
        self._start(schema, sets)

    def _start(self, schema: pa.Schema, sets: Iterable[ColumnSet] = ()) -> None:
        from anabranch.lake.lanes import Scratch

        self._scratch = Scratch()
        self._sets = SetSums(schema, sets)
        self._schema = schema
        self._digest = schema_digest(schema)
        self._given: pa.Schema | None = None
        self._root: Any = None
        self._rows = self._high = self._low = 0

    @property
    def content(self) -> Content:
        """The content of all that was given so far."""
        return Content(self._digest, self._rows, self._high << 64 | self._low)

    @property
    def column_contents(self) -> dict[str, Content]:
        """The content of each set of columns, by `columns.set_text` of the set."""
        sets = self._sets
        return {
            text: Content(sets.digests[text], self._rows, high << 64 | low)
            for text, (high, low) in sets.sums.items()
        }

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Adds the rows of a batch or table.

        Raises:
            LakeError: its columns are not those of the schema; nothing was added.
            UnstorableError: a timestamp or time has a part finer than a microsecond, or is out of the range of
                microseconds in 64 bits. The hasher is of no further use.
        """
        import pyarrow as pa

        for each in _sized(batch.to_batches()) if isinstance(batch, pa.Table) else (batch,):
            self._update(each)

    def _update(self, batch: pa.RecordBatch) -> None:
        import numpy as np

        from anabranch.lake.rowhash import SLAB

        self._prepare(batch.schema)
        with np.errstate(all="ignore"):
            for start in range(0, batch.num_rows, SLAB):
                self._slab(batch.slice(start, SLAB))

    def _slab(self, slab: pa.RecordBatch) -> None:
        import numpy as np

        from anabranch.lake.lanes import BLOCK

        self._root.bind_columns(slab.columns)
        self._sets.bind(slab.columns)
        for lo in range(0, slab.num_rows, BLOCK):
            hi = min(lo + BLOCK, slab.num_rows)
            high, low = self._root.cells(lo, hi, 0)
            self._high = (self._high + int(np.add.reduce(high))) % _LANE
            self._low = (self._low + int(np.add.reduce(low))) % _LANE
            self._sets.add(lo, hi)
        self._rows += slab.num_rows

    def pieces(self, table: pa.Table, lengths: Sequence[int]) -> list[tuple[Content, dict[str, Content]]]:
        """The contents of consecutive pieces of a table, in one pass; what was added before and after is not touched.

        Args:
            table: The rows of all pieces, one piece after the other.
            lengths: Rows of each piece; together the table's.

        Returns:
            Of each piece its content, and that of each set of columns.

        Raises:
            LakeError, UnstorableError: as for `update`.
        """
        import numpy as np

        from anabranch.lake.lanes import BLOCK
        from anabranch.lake.rowhash import SLAB

        edges = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        assert edges[-1] == table.num_rows
        sums = {name: np.zeros((2, len(lengths)), np.uint64) for name in (None, *self._sets.digests)}
        self._prepare(table.schema)
        done = 0
        with np.errstate(all="ignore"):
            for batch in _sized(table.to_batches()):
                for start in range(0, batch.num_rows, SLAB):
                    slab = batch.slice(start, SLAB)
                    self._root.bind_columns(slab.columns)
                    self._sets.bind(slab.columns)
                    for lo in range(0, slab.num_rows, BLOCK):
                        hi = min(lo + BLOCK, slab.num_rows)
                        # Which pieces have rows here, and from where in the block on.
                        first = int(np.searchsorted(edges, done, side="right")) - 1
                        last = int(np.searchsorted(edges, done + hi - lo, side="left"))
                        touched = np.flatnonzero(np.diff(edges[first : last + 1])) + first
                        begins = np.maximum(edges[touched] - done, 0)
                        whole = ((None, *self._root.cells(lo, hi, 0)),)
                        for name, *lanes in chain(whole, self._sets.cells(lo, hi)):
                            for lane, values in enumerate(lanes):
                                sums[name][lane, touched] += np.add.reduceat(values, begins)
                        done += hi - lo

        def content(name: str | None, at: int) -> Content:
            digest = self._digest if name is None else self._sets.digests[name]
            high, low = (int(lane[at]) for lane in sums[name])
            return Content(digest, int(lengths[at]), high << 64 | low)

        return [
            (content(None, at), {name: content(name, at) for name in self._sets.digests})
            for at in range(len(lengths))
        ]

    def _prepare(self, given: pa.Schema) -> None:
        """Makes the nodes for the layout in which the data comes."""
        from anabranch.lake.lanes import splitmix
        from anabranch.lake.rowhash import Struct

        if self._given is not None and self._given.equals(given):
            return
        if not given.equals(self._schema) and schema_digest(given) != self._digest:
            raise LakeError(
                f"the data has other columns than its schema says: {_difference(self._schema, given)}",
                hint="cast every batch to one schema",
            )
        self._root = Struct(self._scratch, splitmix(0), "", [(field.name, field.type) for field in given])
        self._sets.prepare(self._scratch, given, self._root)
        self._given = given


def content_of(data: pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch]) -> Content:
    """The content of data, which is read once, batch by batch.

    Raises:
        LakeError: batches differ in their columns, or there is no batch and so no schema.
        UnstorableError: see `ContentHasher`.
    """
    import pyarrow as pa

    if isinstance(data, pa.Table):
        batches: Iterator[pa.RecordBatch] = iter(data.to_batches())
        schema = data.schema
    elif isinstance(data, pa.RecordBatchReader):
        batches, schema = iter(data), data.schema
    else:
        batches = iter(data)
        first = next(batches, None)
        if first is None:
            raise LakeError(
                "no batches, so no schema", hint="use Content.empty(schema) for a table without rows"
            )
        batches, schema = chain((first,), batches), first.schema
    hasher = ContentHasher(schema)
    for batch in _sized(batches):
        hasher.update(batch)
    return hasher.content


def file_version(source: str | PathLike[str] | bytes | IO[bytes]) -> str:
    """``f1:`` and the SHA-256 of a file's bytes: of the file at a path, of bytes, or of an open binary file from where it is.

    Raises:
        MissingFileError: there is no file at the path.
    """
    if isinstance(source, bytes):
        return f"f1:{hashlib.sha256(source).hexdigest()}"
    if not isinstance(source, str | PathLike):
        return f"f1:{hashlib.file_digest(source, 'sha256').hexdigest()}"  # type: ignore[arg-type]
    path = Path(source)
    try:
        with path.open("rb") as file:
            return f"f1:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except (FileNotFoundError, IsADirectoryError):
        raise MissingFileError(
            f"there is no file {path}", hint="was it moved, or never written?", file=str(path)
        ) from None


def _sized(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, with runs of small batches put together: a batch has a price of its own."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if waiting and (
            rows >= _SMALL or batch.num_rows >= _SMALL or not batch.schema.equals(waiting[0].schema)
        ):
            yield from _joined(waiting)
            waiting, rows = [], 0
        waiting.append(batch)
        rows += batch.num_rows
    yield from _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    import pyarrow as pa

    if len(batches) < 2 or not batches[0].schema.names:
        return batches
    joined: list[pa.RecordBatch] = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return joined


def _difference(expected: pa.Schema, given: pa.Schema) -> str:
    if expected.names != given.names:
        return f"{given.names} instead of {expected.names}"
    pairs = zip(canonical_schema(expected), canonical_schema(given), strict=True)
    return next(f"{a.name} is {b.type} instead of {a.type}" for a, b in pairs if a.type != b.type)


@cache
def _check_arithmetic() -> None:
    """Computes a known version once in a process: another numpy or machine must not quietly make other versions."""
    import pyarrow as pa

    # From buffers, since pyarrow imports pandas, where it is installed, to look at Python values: half a second in each worker.
    def column(kind: pa.DataType, valid: int, *data: bytes, children: Sequence[pa.Array] = ()) -> pa.Array:
        buffers = [pa.py_buffer(each) for each in (bytes([valid]), *data)]
        return pa.Array.from_buffers(kind, 3, buffers, children=list(children))

    items = pa.Array.from_buffers(pa.int32(), 2, [None, pa.py_buffer(pack("=2i", 1, 2))])
    table = pa.table(
        {
            "i": column(pa.int64(), 0b101, pack("=3q", 1, 0, -3)),  # 1, null, -3
            "f": column(pa.float64(), 0b011, pack("=3d", 0.5, math.nan, 0)),  # 0.5, NaN, null
            "s": column(
                pa.string(), 0b101, pack("=4i", 0, 0, 0, 23), b"twenty-three characters"
            ),  # "", null, …
            "l": column(
                pa.list_(pa.int32()), 0b011, pack("=4i", 0, 2, 2, 2), children=[items]
            ),  # [1, 2], [], null
        }
    )
    hasher = ContentHasher.__new__(ContentHasher)
    hasher._start(table.schema)  # noqa: SLF001 -- the constructor would check again
    hasher.update(table)
    found = str(hasher.content)
    if found != _KNOWN:
        raise LakeError(
            f"this installation of numpy and pyarrow computes other content versions: {found} instead of {_KNOWN}",
            hint="install the released versions of numpy and pyarrow, and report it",
        )
