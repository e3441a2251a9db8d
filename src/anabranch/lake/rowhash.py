"""The tree of nodes that turns Arrow data into the two lanes of each row: structs, lists, maps and dictionaries.

The hash functions of Arrow, polars and DuckDB may change with any release; this one is written down in
`anabranch.lake.version`. Knows types and buffers; knows nothing of schemas' names, files or versions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from anabranch.lake.canonical import MAX_DECIMAL128, is_any_list
from anabranch.lake.lanes import (
    BLOCK,
    I64,
    LENGTH,
    M1,
    M2,
    M3,
    M4,
    Cells,
    Mask,
    Scratch,
    close,
    derive,
    finish,
    mix,
)
from anabranch.lake.leaves import Base, Booleans, Bytes, Floats, Nothing, Numbers, Wide, offsets_of, view

SLAB = 4 * BLOCK  # rows whose arrays are converted at once, where a conversion is needed
_BIG_DICTIONARY = 1 << 20  # values; a larger dictionary is decoded rather than hashed and kept


class _Dictionary(Base):
    """A dictionary's values are hashed once, however many rows point to them."""

    def __init__(self, scratch: Scratch, seed: int, path: str, kind: Any) -> None:
        super().__init__(scratch, seed, path)
        self.child = make_node(scratch, seed, path, kind.value_type)
        self.known: Any = None
        self.decoded = False

    def bind(self, array: Any) -> None:
        values = array.dictionary
        self.decoded = len(values) > _BIG_DICTIONARY or (
            len(values) > 4 * len(array) + 1024 and not self._knows(values)
        )
        if self.decoded:
            self.child.bind(plain(array.dictionary_decode()))
            return
        self.bind_validity(array.indices)
        self.codes = view(array.indices, _dtype(array.type.index_type))
        if not self._knows(values):
            self._learn(values)

    def _knows(self, values: Any) -> bool:
        return self.known is not None and _identity(self.known) == _identity(values)

    def _learn(self, values: Any) -> None:
        self.known = values
        n = len(values)
        self.table = np.empty(max(n, 1), np.uint64), np.empty(max(n, 1), np.uint64)
        if n:
            self.child.bind(plain(values))
        for lo in range(0, n, BLOCK):
            hi = min(lo + BLOCK, n)
            lanes = self.child.cells(lo, hi, 1)
            null = self.child.nulls(lo, hi)
            for table, lane, value in zip(self.table, lanes, (self.null1, self.null2), strict=True):
                table[lo:hi] = lane
                if null is not None:
                    np.copyto(table[lo:hi], value, where=null)

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        if self.decoded:
            inner: Cells = self.child.cells(lo, hi, depth)
            return inner
        a, b, _, t = self.scratch.frame(depth, hi - lo)
        index = t.view(np.int64)
        np.copyto(index, self.codes[lo:hi], casting="unsafe")
        np.take(self.table[0], index, out=a, mode="clip")
        np.take(self.table[1], index, out=b, mode="clip")
        return a, b

    def nulls(self, lo: int, hi: int) -> Mask | None:
        return self.child.nulls(lo, hi) if self.decoded else super().nulls(lo, hi)


def _identity(array: Any) -> tuple[Any, ...]:
    """Two arrays of equal identity that are both alive are the same memory."""
    return (array.offset, len(array), *(b and (b.address, b.size) for b in array.buffers()))


class Struct(Base):
    """The fields of a struct, or the columns of a row."""

    def __init__(self, scratch: Scratch, seed: int, path: str, fields: list[tuple[str, Any]]) -> None:
        super().__init__(scratch, seed, path)
        self.children = [
            make_node(scratch, derive(seed, i), f"{path}.{name}" if path else name, kind)
            for i, (name, kind) in enumerate(fields)
        ]

    def bind(self, array: Any) -> None:
        self.bind_validity(array)
        self.bind_columns([array.field(i) for i in range(array.type.num_fields)])

    def bind_columns(self, columns: list[Any]) -> None:
        """Binds the children; for a row, which has no validity of its own, this alone."""
        for child, column in zip(self.children, columns, strict=True):
            child.bind(plain(column))

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        a, b, _, t = self.scratch.frame(depth, hi - lo)
        a.fill(self.start1)
        b.fill(self.start2)
        for child in self.children:
            c1, c2 = child.cells(lo, hi, depth + 1)
            null = child.nulls(lo, hi)
            if null is not None:
                np.copyto(c1, child.null1, where=null)
            np.bitwise_xor(a, c1, out=a)
            np.multiply(a, child.k1, out=a)
            if null is not None:
                np.copyto(c2, child.null2, where=null)
            np.add(b, c2, out=b)
            np.multiply(b, child.k2, out=b)
        finish(a, t, (32, 29, 32), M1, M2)
        finish(b, t, (33, 28, 31), M3, M4)
        return a, b


class _List(Base):
    """Lists of any kind and maps (lists of key and value): each element with its position, then the sum of a row's."""

    def __init__(self, scratch: Scratch, seed: int, path: str, kind: Any) -> None:
        super().__init__(scratch, seed, path)
        self.kind = kind
        first = derive(seed, 0)
        if types.is_map(kind):
            self.child: Any = Struct(
                scratch, first, path, [("key", kind.key_type), ("value", kind.item_type)]
            )
        else:
            self.child = make_node(scratch, first, f"{path}.element", kind.value_type)

    def bind(self, array: Any) -> None:
        self.bind_validity(array)
        if types.is_fixed_size_list(self.kind):
            offsets = (np.arange(len(array) + 1, dtype=np.int64) + array.offset) * self.kind.list_size
        else:
            offsets = offsets_of(array).astype(np.int64)
        first, count = int(offsets[0]), int(offsets[-1] - offsets[0])
        self.offsets: I64 = offsets - first
        if types.is_map(self.kind):
            self.child.bind_columns([each.slice(first, count) for each in (array.keys, array.items)])
        else:
            self.child.bind(plain(array.values.slice(first, count)))

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        n = hi - lo
        a, b, x, t = self.scratch.frame(depth, n)
        a.fill(0)
        b.fill(0)
        starts, ends = self.offsets[lo:hi], self.offsets[lo + 1 : hi + 1]
        for first in range(int(starts[0]), int(ends[-1]), BLOCK):
            last = min(first + BLOCK, int(ends[-1]))
            c1, c2 = self.child.cells(first, last, depth + 1)
            null = self.child.nulls(first, last)
            rows = slice(
                int(np.searchsorted(ends, first, "right")), int(np.searchsorted(starts, last, "left"))
            )
            begins = np.maximum(starts[rows], first)
            counts = np.minimum(ends[rows], last) - begins
            filled = np.flatnonzero(counts > 0)
            places = np.arange(first + 1, last + 1, dtype=np.int64)
            places -= np.repeat(starts[rows], np.maximum(counts, 0))
            places_u = places.view(np.uint64)
            heads = begins[filled] - first
            y, scratch = np.empty_like(places_u), np.empty_like(places_u)
            for lane, cells, fill, factor in ((a, c1, self.child.null1, M3), (b, c2, self.child.null2, M4)):
                if null is not None:
                    np.copyto(cells, fill, where=null)
                np.multiply(places_u, factor, out=y)
                np.bitwise_xor(y, cells, out=y)
                mix(y, scratch)
                lane[rows][filled] += np.add.reduceat(y, heads)
        np.subtract(ends, starts, out=x.view(np.int64))
        np.multiply(x, LENGTH, out=x)
        close(a, x, self.start1, M3, t)
        close(b, x, self.start2, M4, t)
        return a, b


def plain(array: Any) -> Any:
    """The array in one of the layouts that the nodes read: no extension, no run ends, no views."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return plain(array.storage)
    if types.is_run_end_encoded(kind):
        return plain(pc.run_end_decode(array))
    if types.is_string_view(kind):
        return array.cast(pa.large_string())
    if types.is_binary_view(kind):
        return array.cast(pa.large_binary())
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return _list_of_view(array)
    return array


def _list_of_view(array: Any) -> Any:
    valid = np.ones(len(array), np.bool_)
    if array.null_count:
        valid = array.is_valid().to_numpy(zero_copy_only=False)
    starts = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    sizes = np.where(valid, array.sizes.to_numpy(zero_copy_only=False), 0).astype(np.int64)
    offsets = np.zeros(len(array) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    index = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)
    values = array.values.take(pa.array(index))
    return pa.LargeListArray.from_arrays(pa.array(offsets), values, mask=pa.array(~valid))


_DAY = 86_400_000
_UNITS = {"s": (1_000_000, False), "ms": (1_000, False), "us": None, "ns": (1_000, True)}


def make_node(scratch: Scratch, seed: int, path: str, kind: Any) -> Any:
    """The node for an Arrow type, with everything below it. Types that hold the same values have the same hashes."""
    if isinstance(kind, pa.BaseExtensionType):
        return make_node(scratch, seed, path, kind.storage_type)
    if types.is_run_end_encoded(kind):
        return make_node(scratch, seed, path, kind.value_type)
    if types.is_dictionary(kind):
        return _Dictionary(scratch, seed, path, kind)
    if types.is_struct(kind):
        fields = [(kind.field(i).name, kind.field(i).type) for i in range(kind.num_fields)]
        return Struct(scratch, seed, path, fields)
    if types.is_map(kind) or is_any_list(kind):
        return _List(scratch, seed, path, pa.large_list(kind.value_type) if _is_view(kind) else kind)
    if types.is_null(kind):
        return Nothing(scratch, seed, path)
    if types.is_boolean(kind):
        return Booleans(scratch, seed, path)
    if types.is_floating(kind):
        return Floats(scratch, seed, path, _dtype(kind))
    if types.is_decimal(kind):
        width = 16 if kind.precision <= MAX_DECIMAL128 else 32
        return Wide(scratch, seed, path, width, kind.bit_width // 8)
    if kind == pa.month_day_nano_interval():
        return Wide(scratch, seed, path, 16)
    if types.is_fixed_size_binary(kind):
        words = kind.byte_width % 8 == 0 and 0 < kind.byte_width <= 64
        return (Wide if words else Bytes)(scratch, seed, path, kind.byte_width)
    if types.is_integer(kind):
        return Numbers(scratch, seed, path, _dtype(kind), None)
    if types.is_date(kind):
        day = types.is_date32(kind)
        return Numbers(scratch, seed, path, np.int32 if day else np.int64, None if day else (_DAY, True))
    if types.is_time(kind) or types.is_timestamp(kind):
        dtype = np.int32 if types.is_time32(kind) else np.int64
        return Numbers(scratch, seed, path, dtype, _UNITS[kind.unit])
    if types.is_duration(kind):
        return Numbers(scratch, seed, path, np.int64, None)
    return Bytes(scratch, seed, path)


def _dtype(kind: Any) -> np.dtype[Any]:
    """The numpy type of an Arrow number; unsigned 64 bits are read as signed ones, for the bits are what is hashed."""
    if types.is_floating(kind):
        return np.dtype(f"float{kind.bit_width}")
    unsigned = types.is_unsigned_integer(kind) and kind.bit_width < 64
    return np.dtype(f"{'u' if unsigned else ''}int{kind.bit_width}")


def _is_view(kind: Any) -> bool:
    return bool(types.is_list_view(kind) or types.is_large_list_view(kind))
