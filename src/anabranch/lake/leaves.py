"""The nodes for columns without parts: how each Arrow type becomes words or bytes, and those the lanes of its values.

A node is made once for a type, bound to one array after the other, and asked for a block of values at a time. Knows
Arrow's types and buffers; knows nothing of rows, nesting or versions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pyarrow import types

from anabranch.errors import UnstorableError
from anabranch.lake.lanes import (
    BLOCK,
    GOLDEN,
    I64,
    LENGTH,
    M3,
    M4,
    WRAP,
    Cells,
    Mask,
    Octets,
    Scratch,
    add_strings,
    add_word,
    bits,
    close,
    constants,
    mix,
)

_NAN = np.uint64(0x7FF8000000000000)


def _octets(buffer: Any) -> Octets:
    return np.zeros(0, np.uint8) if buffer is None else np.frombuffer(buffer, np.uint8)


class Base:
    """The constants of a node, and the validity bitmap of what it is bound to.

    Every node has besides: ``bind(array)``, and ``cells(lo, hi, depth)``, the two lanes of the values of a block. These may
    be one array, are good until a node at the same depth is asked, and hold anything in the places of nulls. Scratch
    frames from depth on are the node's to use.
    """

    def __init__(self, scratch: Scratch, seed: int, path: str) -> None:
        self.scratch = scratch
        self.path = path
        self.seed = np.uint64(seed)
        self.k1, self.k2, self.null1, self.null2, self.start1, self.start2 = constants(seed)
        self.valid: Octets | None = None
        self.offset = 0

    def bind_validity(self, array: Any) -> None:
        self.array = array  # keeps the buffers alive
        self.offset = array.offset
        self.valid = None
        if array.null_count:
            self.valid = np.frombuffer(array.buffers()[0], np.uint8)

    def nulls(self, lo: int, hi: int) -> Mask | None:
        """Where the nulls of a block are, or None if there are none in the array."""
        return None if self.valid is None else bits(self.valid, self.offset + lo, hi - lo) == 0


def view(array: Any, dtype: Any, width: int = 1) -> Any:
    """The values of a fixed-width array as a numpy array without copying; width: items in a value."""
    size = np.dtype(dtype).itemsize * width
    buffer = array.buffers()[1]
    if buffer is None:
        return np.zeros(len(array) * width, dtype)
    return np.frombuffer(buffer, dtype, len(array) * width, array.offset * size)


class Numbers(Base):
    """Integers, dates and times: the value in 64 bits; scale is (by, divide) where the stored unit is another."""

    def __init__(
        self, scratch: Scratch, seed: int, path: str, dtype: Any, scale: tuple[int, bool] | None
    ) -> None:
        super().__init__(scratch, seed, path)
        self.dtype = np.dtype(dtype)
        self.signed_seed = self.seed.view(np.int64)
        self.scale = scale

    def bind(self, array: Any) -> None:
        self.bind_validity(array)
        self.view = view(array, self.dtype)

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        _, _, x, t = self.scratch.frame(depth, hi - lo)
        given = self.view[lo:hi]
        signed = x.view(np.int64)
        if self.scale is not None:
            given = self._scaled(given, signed, lo, hi)
        np.bitwise_xor(given, self.signed_seed, out=signed, dtype=np.int64)
        mix(x, t)
        return x, x

    def _scaled(self, given: Any, out: I64, lo: int, hi: int) -> I64:
        assert self.scale is not None
        by, divide = self.scale
        if divide:
            np.floor_divide(given, by, out=out, dtype=np.int64)
            bad = np.multiply(out, by) != given
        else:
            np.multiply(given, by, out=out, dtype=np.int64)
            limit = (2**63 - 1) // by
            bad = (given > limit) | (given < -limit)
        null = self.nulls(lo, hi)
        if null is not None:
            bad &= ~null
        if bad.any():
            at = lo + int(np.argmax(bad))
            where = "between microseconds" if divide else "outside the range of microseconds in 64 bits"
            if types.is_date(self.array.type):
                where = "between midnights"
            raise UnstorableError(
                f"the column {self.path} holds a {self.array.type} {where}: {int(self.view[at])}",
                hint="round the column to what a table can hold: microseconds, or whole days for a date",
                column=self.path,
            )
        return out


class Floats(Base):
    """Floats as 64 bits. One NaN; minus zero is zero, as it is for SQL, for a diff and for ==."""

    def __init__(self, scratch: Scratch, seed: int, path: str, dtype: Any) -> None:
        super().__init__(scratch, seed, path)
        self.dtype = np.dtype(dtype)

    def bind(self, array: Any) -> None:
        self.bind_validity(array)
        self.view = view(array, self.dtype)

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        n = hi - lo
        _, _, x, t = self.scratch.frame(depth, n)
        floats = x.view(np.float64)
        np.add(self.view[lo:hi], 0.0, out=floats, dtype=np.float64)
        nan = np.isnan(floats, out=self.scratch.mask[:n])
        if nan.any():
            np.copyto(x, _NAN, where=nan)
        np.bitwise_xor(x, self.seed, out=x)
        mix(x, t)
        return x, x


class Booleans(Base):
    """False is the number 0, true the number 1."""

    def __init__(self, scratch: Scratch, seed: int, path: str) -> None:
        super().__init__(scratch, seed, path)
        both = np.array([seed, seed ^ 1], np.uint64)
        mix(both, np.empty(2, np.uint64))
        self.false, true = both
        self.step = np.uint64((int(true) - int(self.false)) & WRAP)

    def bind(self, array: Any) -> None:
        self.bind_validity(array)
        self.bitmap = _octets(array.buffers()[1])

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        _, _, x, _ = self.scratch.frame(depth, hi - lo)
        np.multiply(bits(self.bitmap, self.offset + lo, hi - lo), self.step, out=x)
        np.add(x, self.false, out=x)
        return x, x


class Nothing(Base):
    """The null type: every value is null."""

    def bind(self, array: Any) -> None:
        self.array = array

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        _, _, x, _ = self.scratch.frame(depth, hi - lo)
        return x, x

    def nulls(self, lo: int, hi: int) -> Mask | None:
        return np.ones(hi - lo, np.bool_)


class Wide(Base):
    """Values of a fixed number of whole words, such as decimals and UUIDs; hashed as the bytes they are."""

    def __init__(self, scratch: Scratch, seed: int, path: str, width: int, given: int | None = None) -> None:
        super().__init__(scratch, seed, path)
        self.count = width // 8
        self.length = np.uint64(width * GOLDEN & WRAP)
        self.given = width if given is None else given

    def bind(self, array: Any) -> None:
        self.bind_validity(array)
        if self.given < self.count * 8:  # decimal32 and decimal64 are widened with their sign
            low = view(array, np.int32 if self.given == 4 else np.int64).astype(np.int64)
            self.columns = [low.view(np.uint64), (low >> 63).view(np.uint64)]
            return
        stored = self.given // 8  # of a decimal256 with few digits the lower half is the whole value
        table = view(array, np.uint64, stored).reshape(len(array), stored)
        self.columns = [table[:, i] for i in range(self.count)]

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        a, b, x, t = self.scratch.frame(depth, hi - lo)
        a.fill(0)
        b.fill(0)
        for at, column in enumerate(self.columns):
            np.copyto(x, column[lo:hi])
            add_word(x, at, a, b, t)
        close(a, self.length, self.start1, M3, t)
        close(b, self.length, self.start2, M4, t)
        return a, b


class Sums:
    """The sums of one block of strings before the column's seed goes in: the same in whatever row or set it stands."""

    def __init__(self) -> None:
        self.block: tuple[int, int] | None = None
        self.lanes: Cells = (np.empty(0, np.uint64), np.empty(0, np.uint64))

    def keep(self, lo: int, hi: int, a: Any, b: Any) -> None:
        if len(self.lanes[0]) < hi - lo:
            self.lanes = (np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint64))
        for lane, value in zip(self.lanes, (a, b), strict=True):
            np.copyto(lane[: hi - lo], value)
        self.block = (lo, hi)


class Bytes(Base):
    """Strings and binaries; a width is that of fixed-size binaries."""

    sums: Sums | None = None

    def __init__(self, scratch: Scratch, seed: int, path: str, width: int | None = None) -> None:
        super().__init__(scratch, seed, path)
        self.width = width

    def bind(self, array: Any) -> None:
        self.bind_validity(array)
        if self.sums is not None:
            self.sums.block = None
        if self.width is None:
            self.offsets = offsets_of(array)
        else:
            self.offsets = (np.arange(len(array) + 1, dtype=np.int64) + array.offset) * self.width
        self.data = _octets(array.buffers()[-1])

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        a, b, x, t = self.scratch.frame(depth, hi - lo)
        offsets = self.offsets[lo : hi + 1]
        if self.sums is not None and self.sums.block == (lo, hi):
            for lane, value in zip((a, b), self.sums.lanes, strict=True):
                np.copyto(lane, value[: hi - lo])
        else:
            a.fill(0)
            b.fill(0)
            add_strings(self.scratch, self.data, offsets, a, b)
            if self.sums is not None:
                self.sums.keep(lo, hi, a, b)
        np.subtract(offsets[1:], offsets[:-1], out=x.view(np.int64), dtype=np.int64)
        np.multiply(x, LENGTH, out=x)
        close(a, x, self.start1, M3, t)
        close(b, x, self.start2, M4, t)
        return a, b


def offsets_of(array: Any) -> Any:
    wide = (
        types.is_large_string(array.type)
        or types.is_large_binary(array.type)
        or types.is_large_list(array.type)
    )
    dtype = np.dtype(np.int64 if wide else np.int32)
    buffer = array.buffers()[1]
    if buffer is None or len(array) == 0:
        return np.zeros(len(array) + 1, dtype)
    return np.frombuffer(buffer, dtype, len(array) + 1, array.offset * dtype.itemsize)
