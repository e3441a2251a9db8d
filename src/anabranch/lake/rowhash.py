"""The arithmetic of content versions: Arrow arrays in, two independent 64-bit hashes of each row out, no library's own hash.

The hash functions of Arrow, polars and DuckDB may change with any release; this one is written down (in
`anabranch.lake.version`) and pinned by known answers. A tree of nodes, one for each column and nested type, reads
the buffers of Arrow arrays in blocks that stay in the processor's cache. numpy does the arithmetic in place and without
the interpreter's lock. Knows types and buffers; knows nothing of schemas' names, files or versions.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from anabranch.errors import LakeError, UnstorableError
from anabranch.lake.canonical import MAX_DECIMAL128, is_any_list

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Cells = tuple[U64, U64]

BLOCK = 16384  # values in a step: large enough that a call's overhead vanishes, small enough for the cache
SLAB = 8 * BLOCK  # rows whose arrays are converted at once, where a conversion is needed
REGION = 1 << 20  # bytes of strings that a step looks at
_BIG_DICTIONARY = 1 << 20  # values; a larger dictionary is decoded rather than hashed and kept

_WRAP = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_M3 = np.uint64(0xFF51AFD7ED558CCD)
_M4 = np.uint64(0xC4CEB9FE1A85EC53)
_LENGTH = np.uint64(_GOLDEN)
_NAN = np.uint64(0x7FF8000000000000)
_S3, _S29, _S32 = np.uint64(3), np.uint64(29), np.uint64(32)
# What `derive` is asked for beyond the children's positions, which count from 0.
_K1, _K2, _NULL1, _NULL2, _START1, _START2 = range(2**32, 2**32 + 6)


def splitmix(number: int) -> int:
    """Steele, Lea and Flood's splitmix64 at the state number: 64 bits for 64 bits, one to one."""
    z = (number + 1) * _GOLDEN & _WRAP
    z = (z ^ z >> 30) * int(_M1) & _WRAP
    z = (z ^ z >> 27) * int(_M2) & _WRAP
    return z ^ z >> 31


def derive(seed: int, index: int) -> int:
    """The seed of the child at a position, or one of a node's constants."""
    return splitmix(seed ^ splitmix(index))


def _word_keys(first: int, count: int) -> tuple[U64, U64]:
    """The odd multipliers of the words first, first + 1, ... for both lanes."""
    with np.errstate(over="ignore"):
        z = np.arange(2 * first, 2 * (first + count), dtype=np.uint64)
        z += np.uint64(1)
        z *= np.uint64(_GOLDEN)
        z = (z ^ z >> np.uint64(30)) * _M1
        z = (z ^ z >> np.uint64(27)) * _M2
        z = (z ^ z >> np.uint64(31)) | np.uint64(1)
    return z[0::2].copy(), z[1::2].copy()


_KEYS1, _KEYS2 = _word_keys(0, REGION // 8)


def _mix(x: U64, t: U64) -> None:
    """Mixes x in place, one to one; t is scratch."""
    np.multiply(x, _M1, out=x)
    np.right_shift(x, _S32, out=t)
    np.bitwise_xor(x, t, out=x)
    np.multiply(x, _M2, out=x)
    np.right_shift(x, _S29, out=t)
    np.bitwise_xor(x, t, out=x)


def _finish(x: U64, t: U64, shifts: tuple[int, int, int], m: np.uint64, n: np.uint64) -> None:
    """The strong mix at the end of a row or struct, one to one."""
    for shift, factor in zip(shifts, (m, n, None), strict=True):
        np.right_shift(x, np.uint64(shift), out=t)
        np.bitwise_xor(x, t, out=x)
        if factor is not None:
            np.multiply(x, factor, out=x)


def _close(h: U64, length: U64 | np.uint64, seed: np.uint64, factor: np.uint64, t: U64) -> None:
    """The end of a sequence's lane: its length and the column's seed go in; t is scratch."""
    np.add(h, length, out=h)
    np.bitwise_xor(h, seed, out=h)
    np.multiply(h, factor, out=h)
    np.right_shift(h, _S32, out=t)
    np.bitwise_xor(h, t, out=h)


class Scratch:
    """The working memory of one hasher, about 4 MB, used again for every block."""

    def __init__(self) -> None:
        if sys.byteorder != "little":
            raise LakeError(
                "content versions are computed on little-endian machines only",
                hint="run on x86-64 or ARM64, the byte order that Arrow uses",
            )
        self._frames: list[tuple[U64, U64, U64, U64]] = []
        self.words: U64 = np.zeros(REGION // 8 + 3, np.uint64)
        self.octets = self.words.view(np.uint8)
        self.word, self.low, self.next, self.t, self.shift, self.unshift = (
            np.empty(BLOCK, np.uint64) for _ in range(6)
        )
        self.index, self.bits, self.cut = (np.empty(BLOCK, np.int64) for _ in range(3))
        self.mask: Mask = np.empty(BLOCK, np.bool_)

    def frame(self, depth: int, n: int) -> tuple[U64, U64, U64, U64]:
        """Four arrays of n words that belong to the nodes at a depth."""
        while len(self._frames) <= depth:
            self._frames.append(tuple(np.empty(BLOCK, np.uint64) for _ in range(4)))  # type: ignore[arg-type]
        a, b, x, t = self._frames[depth]
        return a[:n], b[:n], x[:n], t[:n]


class Node(Protocol):
    """Hashes the values of one column, or of one part of a nested column.

    `bind` gives it an array, then `cells` the two lanes of the values of a block (which may be the same array, and are
    good until the next call), with anything in the places of nulls; `nulls` says where those are.
    """

    k1: np.uint64
    k2: np.uint64
    null1: np.uint64
    null2: np.uint64

    def bind(self, array: Any) -> None: ...
    def cells(self, lo: int, hi: int, depth: int) -> Cells: ...
    def nulls(self, lo: int, hi: int) -> Mask | None: ...


class _Base:
    """The constants of a node, and the validity bitmap of what it is bound to."""

    def __init__(self, scratch: Scratch, seed: int, path: str) -> None:
        self.scratch = scratch
        self.path = path
        self.number = seed
        self.seed = np.uint64(seed)
        self.k1 = np.uint64(derive(seed, _K1) | 1)
        self.k2 = np.uint64(derive(seed, _K2) | 1)
        self.null1 = np.uint64(derive(seed, _NULL1))
        self.null2 = np.uint64(derive(seed, _NULL2))
        self.valid: npt.NDArray[np.uint8] | None = None
        self.offset = 0

    def bind_validity(self, array: Any) -> None:
        self.array = array  # keeps the buffers alive
        self.offset = array.offset
        self.valid = None
        if array.null_count:
            self.valid = np.frombuffer(array.buffers()[0], np.uint8)

    def nulls(self, lo: int, hi: int) -> Mask | None:
        return None if self.valid is None else _bits(self.valid, self.offset + lo, hi - lo) == 0


def _bits(bitmap: npt.NDArray[np.uint8], start: int, count: int) -> npt.NDArray[np.uint8]:
    skip = start & 7
    octets = bitmap[start >> 3 : (start + count + 7) >> 3]
    return np.unpackbits(octets, bitorder="little")[skip : skip + count]


def _view(array: Any, dtype: Any, width: int = 1) -> Any:
    """The values of a fixed-width array as a numpy array without copying; width: items in a value."""
    size = np.dtype(dtype).itemsize * width
    buffer = array.buffers()[1]
    if buffer is None:
        return np.zeros(len(array) * width, dtype)
    return np.frombuffer(buffer, dtype, len(array) * width, array.offset * size)


class _Numbers(_Base):
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
        self.view = _view(array, self.dtype)

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        _, _, x, t = self.scratch.frame(depth, hi - lo)
        given = self.view[lo:hi]
        signed = x.view(np.int64)
        if self.scale is not None:
            given = self._scaled(given, signed, lo, hi)
        np.bitwise_xor(given, self.signed_seed, out=signed, dtype=np.int64)
        _mix(x, t)
        return x, x

    def _scaled(self, given: Any, out: I64, lo: int, hi: int) -> I64:
        assert self.scale is not None
        by, divide = self.scale
        if divide:
            np.floor_divide(given, by, out=out, dtype=np.int64)
            bad = np.multiply(out, by) != given
        else:
            np.multiply(given, by, out=out, dtype=np.int64)
            bad = np.abs(given.astype(np.float64)) * by >= 2.0**63
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


class _Floats(_Base):
    """Floats as 64 bits. One NaN; minus zero is zero, as it is for SQL, for a diff and for ==."""

    def __init__(self, scratch: Scratch, seed: int, path: str, dtype: Any) -> None:
        super().__init__(scratch, seed, path)
        self.dtype = np.dtype(dtype)

    def bind(self, array: Any) -> None:
        self.bind_validity(array)
        self.view = _view(array, self.dtype)

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        n = hi - lo
        _, _, x, t = self.scratch.frame(depth, n)
        floats = x.view(np.float64)
        np.add(self.view[lo:hi], 0.0, out=floats, dtype=np.float64)
        nan = np.isnan(floats, out=self.scratch.mask[:n])
        if nan.any():
            np.copyto(x, _NAN, where=nan)
        np.bitwise_xor(x, self.seed, out=x)
        _mix(x, t)
        return x, x


class _Booleans(_Base):
    """False is the number 0, true the number 1."""

    def __init__(self, scratch: Scratch, seed: int, path: str) -> None:
        super().__init__(scratch, seed, path)
        both = np.array([seed, seed ^ 1], np.uint64)
        _mix(both, np.empty(2, np.uint64))
        self.false, true = both
        self.step = np.uint64((int(true) - int(self.false)) & _WRAP)

    def bind(self, array: Any) -> None:
        self.bind_validity(array)
        self.bitmap = _view_octets(array.buffers()[1])

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        _, _, x, _ = self.scratch.frame(depth, hi - lo)
        np.multiply(_bits(self.bitmap, self.offset + lo, hi - lo), self.step, out=x)
        np.add(x, self.false, out=x)
        return x, x


class _Nothing(_Base):
    """The null type: every value is null."""

    def bind(self, array: Any) -> None:
        self.array = array

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        _, _, x, _ = self.scratch.frame(depth, hi - lo)
        return x, x

    def nulls(self, lo: int, hi: int) -> Mask | None:
        return np.ones(hi - lo, np.bool_)


def _view_octets(buffer: Any) -> npt.NDArray[np.uint8]:
    return np.zeros(0, np.uint8) if buffer is None else np.frombuffer(buffer, np.uint8)


class _Wide(_Base):
    """Values of a fixed number of whole words, such as decimals and UUIDs; hashed as the bytes they are."""

    def __init__(self, scratch: Scratch, seed: int, path: str, width: int, given: int | None = None) -> None:
        super().__init__(scratch, seed, path)
        self.count = width // 8
        self.length = np.uint64(width * _GOLDEN & _WRAP)
        self.close = _closers(seed)
        self.given = width if given is None else given

    def bind(self, array: Any) -> None:
        self.bind_validity(array)
        if self.given < self.count * 8:  # decimal32 and decimal64 are widened with their sign
            low = _view(array, np.int32 if self.given == 4 else np.int64).astype(np.int64)
            self.columns = [low.view(np.uint64), (low >> 63).view(np.uint64)]
            return
        stored = self.given // 8  # of a decimal256 with few digits the lower half is the whole value
        table = _view(array, np.uint64, stored).reshape(len(array), stored)
        self.columns = [table[:, i] for i in range(self.count)]

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        a, b, x, t = self.scratch.frame(depth, hi - lo)
        a.fill(0)
        b.fill(0)
        for at, column in enumerate(self.columns):
            _absorb_word(np.multiply(column[lo:hi], _M1, out=x), at, a, b, t)
        _close(a, self.length, self.close[0], _M3, t)
        _close(b, self.length, self.close[1], _M4, t)
        return a, b


def _absorb_word(x: U64, at: int, a: U64, b: U64, t: U64) -> None:
    """Adds the word at a position (already times M1) to both lanes; destroys x. A word of zeros adds nothing."""
    np.right_shift(x, _S32, out=t)
    np.bitwise_xor(x, t, out=x)
    np.multiply(x, _KEYS1[at], out=x)
    np.right_shift(x, _S29, out=t)
    np.bitwise_xor(x, t, out=x)
    np.add(a, x, out=a)
    np.multiply(x, _KEYS2[at], out=x)
    np.bitwise_xor(b, x, out=b)


def _closers(seed: int) -> tuple[np.uint64, np.uint64]:
    return np.uint64(derive(seed, _START1)), np.uint64(derive(seed, _START2))


class _Bytes(_Base):
    """Strings and binaries: eight bytes a step, for all rows of a block that have so many."""

    def __init__(self, scratch: Scratch, seed: int, path: str, width: int | None = None) -> None:
        super().__init__(scratch, seed, path)
        self.close = _closers(seed)
        self.width = width

    def bind(self, array: Any) -> None:
        self.bind_validity(array)
        if self.width is not None:
            first = array.offset * self.width
            self.offsets = np.arange(len(array) + 1, dtype=np.int64) * self.width + first
            self.data = _view_octets(array.buffers()[1])
            return
        self.offsets = _offsets(array)
        self.data = _view_octets(array.buffers()[2])

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        n = hi - lo
        a, b, x, t = self.scratch.frame(depth, n)
        a.fill(0)
        b.fill(0)
        offsets = self.offsets[lo : hi + 1]
        at = 0
        while at < n:
            end = n
            first = int(offsets[at])
            if int(offsets[n]) - first > REGION:
                end = int(np.searchsorted(offsets, first + REGION, "right")) - 1
            if end > at:
                self._block(offsets[at : end + 1], a[at:end], b[at:end])
            else:
                end = at + 1
                _long(self.data[first : int(offsets[end])], 0, a, b, at)
            at = end
        np.subtract(offsets[1:], offsets[:-1], out=x.view(np.int64), dtype=np.int64)
        np.multiply(x, _LENGTH, out=x)
        _close(a, x, self.close[0], _M3, t)
        _close(b, x, self.close[1], _M4, t)
        return a, b

    def _block(self, offsets: Any, a: U64, b: U64) -> None:
        """The rows between offsets, all within one region, which is copied to where reading past its end does no harm."""
        s, n = self.scratch, len(a)
        first, last = int(offsets[0]), int(offsets[n])
        if first == last:
            return
        s.octets[: last - first] = self.data[first:last]
        index, bits = s.index[:n], s.bits[:n]
        shift, unshift, low = s.shift[:n], s.unshift[:n], s.low[:n]
        np.subtract(offsets[1:], offsets[:-1], out=bits, dtype=np.int64)
        np.left_shift(bits, 3, out=bits)
        np.subtract(offsets[:-1], first, out=index, dtype=np.int64)
        np.bitwise_and(index, 7, out=shift.view(np.int64))
        np.left_shift(shift, _S3, out=shift)
        np.subtract(np.uint64(64), shift, out=unshift)
        np.right_shift(index, 3, out=index)
        np.take(s.words, index, out=low, mode="clip")
        _words(s, 0, (index, bits, shift, unshift, low, s.next[:n]), a, b)


def _words(s: Scratch, at: int, state: Any, a: U64, b: U64) -> None:
    """Adds the words from at on of all rows to their lanes.

    state: of each row the index of the aligned word that holds the first byte, the bits left from the string's start, the
    shifts that put two aligned words together, the aligned word itself, and room for the next one.
    """
    index, bits, shift, unshift, low, following = state
    n = len(a)
    word, t, cut = s.word[:n], s.t[:n], s.cut[:n]
    shortest, longest = int(bits.min()), int(bits.max())
    while True:
        np.add(index, 1, out=index)
        np.take(s.words, index, out=following, mode="clip")
        np.right_shift(low, shift, out=word)
        np.left_shift(following, unshift, out=t)  # by 64 where shift is 0: that is nothing, by numpy's rule
        np.bitwise_or(word, t, out=word)
        at += 1
        if shortest < 64 * at:  # bytes past a string's end are pushed out of the word's upper end
            np.subtract(64 * at, bits, out=cut)
            np.clip(cut, 0, 64, out=cut)
            np.left_shift(word, cut.view(np.uint64), out=word)
        np.multiply(word, _M1, out=word)
        _absorb_word(word, at - 1, a, b, t)
        low, following = following, low
        if longest <= 64 * at:
            return
        if shortest > 64 * at:
            continue
        going = bits > 64 * at
        left = int(np.count_nonzero(going))
        if left > n // 2:
            continue
        rows = np.flatnonzero(going)
        if longest - 64 * at > 128 * left:  # few and long: each by itself
            for row in rows:
                start = 8 * int(index[row]) + (int(shift[row]) >> 3)
                size = (int(bits[row]) >> 3) - 8 * at
                _long(s.octets[start : start + size], at, a, b, int(row))
            return
        kept = tuple(each[rows] for each in (index, bits, shift, unshift, low, following))
        more_a, more_b = np.zeros(left, np.uint64), np.zeros(left, np.uint64)
        _words(s, at, kept, more_a, more_b)
        a[rows] += more_a
        b[rows] ^= more_b
        return


def _long(octets: npt.NDArray[np.uint8], at: int, a: U64, b: U64, row: int) -> None:
    """Adds the words of one long value, the first of which is its word at, to the row's lanes."""
    for first in range(0, len(octets), 8 * BLOCK):
        piece = octets[first : first + 8 * BLOCK]
        count = (len(piece) + 7) >> 3
        x = np.zeros(count, np.uint64)
        x.view(np.uint8)[: len(piece)] = piece
        if len(piece) & 7:
            x[-1] <<= np.uint64(8 * (8 - (len(piece) & 7)))
        start = at + (first >> 3)
        known = start + count <= len(_KEYS1)
        keys1, keys2 = (
            (_KEYS1[start : start + count], _KEYS2[start : start + count])
            if known
            else _word_keys(start, count)
        )
        x *= _M1
        x ^= x >> _S32
        x *= keys1
        x ^= x >> _S29
        a[row] = np.uint64((int(a[row]) + int(np.add.reduce(x))) & _WRAP)
        x *= keys2
        b[row] ^= np.bitwise_xor.reduce(x)


def _offsets(array: Any) -> Any:
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


class _Dictionary(_Base):
    """A dictionary's values are hashed once, however many rows point to them."""

    def __init__(self, scratch: Scratch, seed: int, path: str, kind: Any) -> None:
        super().__init__(scratch, seed, path)
        self.child = make_node(scratch, seed, path, kind.value_type)
        self.known: Any = None
        self.decoded = False

    def bind(self, array: Any) -> None:
        values = array.dictionary
        self.decoded = len(values) > max(_BIG_DICTIONARY, 1) or (
            len(values) > 4 * len(array) + 1024 and not self._knows(values)
        )
        if self.decoded:
            self.child.bind(plain(array.dictionary_decode()))
            return
        self.bind_validity(array.indices)
        self.codes = _view(array.indices, array.type.index_type.to_pandas_dtype())
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
            return self.child.cells(lo, hi, depth)
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


class Struct(_Base):
    """The fields of a struct, or the columns of a row."""

    def __init__(self, scratch: Scratch, seed: int, path: str, fields: list[tuple[str, Any]]) -> None:
        super().__init__(scratch, seed, path)
        self.children = [
            make_node(scratch, derive(seed, i), f"{path}.{name}" if path else name, kind)
            for i, (name, kind) in enumerate(fields)
        ]
        self.start = _closers(seed)

    def bind(self, array: Any) -> None:
        self.bind_validity(array)
        self.bind_columns([array.field(i) for i in range(array.type.num_fields)])

    def bind_columns(self, columns: list[Any]) -> None:
        """Binds the children; for a row, which has no validity of its own, this alone."""
        for child, column in zip(self.children, columns, strict=True):
            child.bind(plain(column))

    def cells(self, lo: int, hi: int, depth: int) -> Cells:
        a, b, _, t = self.scratch.frame(depth, hi - lo)
        a.fill(self.start[0])
        b.fill(self.start[1])
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
        _finish(a, t, (32, 29, 32), _M1, _M2)
        _finish(b, t, (33, 28, 31), _M3, _M4)
        return a, b


class _List(_Base):
    """Lists of any kind and maps (lists of key and value): each element with its position, then the sum of a row's."""

    def __init__(self, scratch: Scratch, seed: int, path: str, kind: Any) -> None:
        super().__init__(scratch, seed, path)
        self.kind = kind
        self.close = _closers(seed)
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
            offsets = _offsets(array).astype(np.int64)
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
            for lane, cells, fill, factor in ((a, c1, self.child.null1, _M3), (b, c2, self.child.null2, _M4)):
                if null is not None:
                    np.copyto(cells, fill, where=null)
                np.multiply(places_u, factor, out=y)
                np.bitwise_xor(y, cells, out=y)
                _mix(y, scratch)
                lane[rows][filled] += np.add.reduceat(y, heads)
        np.subtract(ends, starts, out=x.view(np.int64))
        np.multiply(x, _LENGTH, out=x)
        _close(a, x, self.close[0], _M3, t)
        _close(b, x, self.close[1], _M4, t)
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
        return _Nothing(scratch, seed, path)
    if types.is_boolean(kind):
        return _Booleans(scratch, seed, path)
    if types.is_floating(kind):
        return _Floats(scratch, seed, path, kind.to_pandas_dtype())
    if types.is_decimal(kind):
        width = 16 if kind.precision <= MAX_DECIMAL128 else 32
        return _Wide(scratch, seed, path, width, kind.bit_width // 8)
    if kind == pa.month_day_nano_interval():
        return _Wide(scratch, seed, path, 16)
    if types.is_fixed_size_binary(kind):
        words = kind.byte_width % 8 == 0 and 0 < kind.byte_width <= 64
        return (_Wide if words else _Bytes)(scratch, seed, path, kind.byte_width)
    if types.is_integer(kind):
        return _Numbers(scratch, seed, path, _signed_64(kind.to_pandas_dtype()), None)
    if types.is_date(kind):
        day = types.is_date32(kind)
        return _Numbers(scratch, seed, path, np.int32 if day else np.int64, None if day else (_DAY, True))
    if types.is_time(kind) or types.is_timestamp(kind):
        dtype = np.int32 if types.is_time32(kind) else np.int64
        return _Numbers(scratch, seed, path, dtype, _UNITS[kind.unit])
    if types.is_duration(kind):
        return _Numbers(scratch, seed, path, np.int64, None)
    return _Bytes(scratch, seed, path)


def _signed_64(dtype: Any) -> Any:
    """Unsigned 64 bits are read as signed ones: the bits are what is hashed."""
    return np.int64 if np.dtype(dtype) == np.uint64 else dtype


def _is_view(kind: Any) -> bool:
    return bool(types.is_list_view(kind) or types.is_large_list_view(kind))
