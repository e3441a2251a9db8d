"""The arithmetic of content versions: words of 64 bits, mixed and added up in two lanes, in place and in bulk.

numpy works on blocks that stay in the processor's cache and lets go of the interpreter's lock meanwhile. What is
computed is defined in `anabranch.lake.version`. Knows arrays of words and bytes; knows nothing of types or Arrow.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from anabranch.errors import LakeError

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Octets = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Cells = tuple[U64, U64]

BLOCK = 32768  # values in a step: so many that a call's price vanishes, so few that they stay in the cache
REGION = 1 << 22  # bytes of strings that a step looks at

WRAP = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
M1 = np.uint64(0xBF58476D1CE4E5B9)
M2 = np.uint64(0x94D049BB133111EB)
M3 = np.uint64(0xFF51AFD7ED558CCD)
M4 = np.uint64(0xC4CEB9FE1A85EC53)
LENGTH = np.uint64(GOLDEN)
# What `derive` is asked for beyond the children's positions, which count from 0.
_CONSTANTS = range(2**32, 2**32 + 6)
_3, _29, _32 = np.uint64(3), np.uint64(29), np.uint64(32)


def splitmix(number: int) -> int:
    """Steele, Lea and Flood's splitmix64 at the state number: 64 bits for 64 bits, one to one."""
    z = (number + 1) * GOLDEN & WRAP
    z = (z ^ z >> 30) * int(M1) & WRAP
    z = (z ^ z >> 27) * int(M2) & WRAP
    return z ^ z >> 31


@lru_cache(maxsize=65536)
def derive(seed: int, index: int) -> int:
    """The seed of the child at a position, or one of a node's constants."""
    return splitmix(seed ^ splitmix(index))


@lru_cache(maxsize=16384)
def constants(seed: int) -> tuple[np.uint64, ...]:
    """The node's K1, K2, N1, N2, Z1 and Z2."""
    numbers = [derive(seed, index) for index in _CONSTANTS]
    return tuple(np.uint64(number | 1 if i < 2 else number) for i, number in enumerate(numbers))


@lru_cache(maxsize=4)
def word_keys(first: int) -> tuple[U64, U64]:
    """The odd multipliers of the `BLOCK` words from first on, for both lanes."""
    z = np.arange(2 * first + 1, 2 * (first + BLOCK) + 1, dtype=np.uint64)
    z *= np.uint64(GOLDEN)
    z = (z ^ z >> np.uint64(30)) * M1
    z = (z ^ z >> np.uint64(27)) * M2
    z = (z ^ z >> np.uint64(31)) | np.uint64(1)
    return z[0::2].copy(), z[1::2].copy()


def mix(x: U64, t: U64) -> None:
    """Mixes x in place, one to one; t is scratch."""
    np.multiply(x, M1, out=x)
    np.right_shift(x, _32, out=t)
    np.bitwise_xor(x, t, out=x)
    np.multiply(x, M2, out=x)
    np.right_shift(x, _29, out=t)
    np.bitwise_xor(x, t, out=x)


def finish(x: U64, t: U64, shifts: tuple[int, int, int], first: np.uint64, second: np.uint64) -> None:
    """The strong mix at the end of a row or struct, one to one; t is scratch."""
    for shift, factor in zip(shifts, (first, second, None), strict=True):
        np.right_shift(x, np.uint64(shift), out=t)
        np.bitwise_xor(x, t, out=x)
        if factor is not None:
            np.multiply(x, factor, out=x)


def close(h: U64, length: U64 | np.uint64, seed: np.uint64, factor: np.uint64, t: U64) -> None:
    """The end of a sequence's lane: its length, times `LENGTH`, and the column's seed go in; t is scratch."""
    np.add(h, length, out=h)
    np.bitwise_xor(h, seed, out=h)
    np.multiply(h, factor, out=h)
    np.right_shift(h, _32, out=t)
    np.bitwise_xor(h, t, out=h)


def bits(bitmap: Octets, start: int, count: int) -> Octets:
    """The bits from start on of an Arrow bitmap, each as a byte of 0 or 1."""
    skip = start & 7
    octets = bitmap[start >> 3 : (start + count + 7) >> 3]
    return np.unpackbits(octets, bitorder="little")[skip : skip + count]


class Scratch:
    """The working memory of one hasher, used again for every block: at most 9 MB, 1 MB more for each level of nesting."""

    def __init__(self) -> None:
        if sys.byteorder != "little":
            raise LakeError(
                "content versions are computed on little-endian machines only",
                hint="run on x86-64 or ARM64",
            )
        self._frames: list[tuple[U64, ...]] = []
        self.words: U64 = np.empty(REGION // 8 + 2, np.uint64)
        self.octets = self.words.view(np.uint8)
        self.word, self.low, self.next, self.t, self.shift, self.unshift = (
            np.empty(BLOCK, np.uint64) for _ in range(6)
        )
        self.index, self.bits, self.cut = (np.empty(BLOCK, np.int64) for _ in range(3))
        self.mask: Mask = np.empty(BLOCK, np.bool_)

    def frame(self, depth: int, n: int) -> tuple[U64, U64, U64, U64]:
        """Four arrays of n words that belong to the nodes at a depth."""
        while len(self._frames) <= depth:
            self._frames.append(tuple(np.empty(BLOCK, np.uint64) for _ in range(4)))
        a, b, x, t = self._frames[depth]
        return a[:n], b[:n], x[:n], t[:n]


def add_word(x: U64, at: int, a: U64, b: U64, t: U64) -> None:
    """Adds the words at one position of many rows to their lanes. Destroys x. A word of zeros adds nothing."""
    keys1, keys2 = word_keys(at - at % BLOCK)
    np.multiply(x, M1, out=x)
    np.right_shift(x, _32, out=t)
    np.bitwise_xor(x, t, out=x)
    np.multiply(x, keys1[at % BLOCK], out=x)
    np.right_shift(x, _29, out=t)
    np.bitwise_xor(x, t, out=x)
    np.add(a, x, out=a)
    np.multiply(x, keys2[at % BLOCK], out=x)
    np.bitwise_xor(b, x, out=b)


def add_strings(s: Scratch, data: Octets, offsets: Any, a: U64, b: U64) -> None:
    """Adds the words of the strings between n + 1 offsets to n rows of both lanes, whatever their sizes.

    Args:
        s: Working memory.
        data: The strings' bytes, one after the other.
        offsets: Where in data each string begins, and where the last one ends: int32 or int64.
        a: The first lane, at most `BLOCK` rows.
        b: The second.
    """
    at, n = 0, len(a)
    while at < n:
        end, first = n, int(offsets[at])
        if int(offsets[n]) - first > REGION:
            end = int(np.searchsorted(offsets, first + REGION, "right")) - 1
        if end > at:
            _add_region(s, data, offsets[at : end + 1], a[at:end], b[at:end])
        else:
            end = at + 1
            _add_long(data[first : int(offsets[end])], 0, a[at:end], b[at:end])
        at = end


def _add_region(s: Scratch, data: Octets, offsets: Any, a: U64, b: U64) -> None:
    """Eight bytes a step for all rows. The region is copied to where it is aligned and reading past its end does no harm."""
    first, last, n = int(offsets[0]), int(offsets[-1]), len(a)
    if first == last:
        return
    s.octets[: last - first] = data[first:last]
    start, length = s.index[:n], s.bits[:n]
    np.subtract(offsets[:-1], first, out=start, dtype=np.int64)
    np.subtract(offsets[1:], offsets[:-1], out=length, dtype=np.int64)
    longest = (int(length.max()) + 7) >> 3
    idle = n * longest - ((last - first) >> 3)  # words that would be looked at for nothing, or nearly
    if idle <= 2 * n:
        _add_words(s, start, length, [n] * longest, a, b, ragged=True)
        return
    # Longest rows first: those that go on are then a slice. The last few go each by itself, at the price of about
    # three steps each.
    words = (length + 7) >> 3
    order = np.argsort((longest - words).astype(np.uint16 if longest < 2**16 else np.int64), kind="stable")
    counts = n - np.cumsum(np.bincount(words))
    together = int(np.argmin(np.arange(longest + 1) + 3 * counts))
    start, length = start[order], length[order]
    more_a, more_b = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    for row in range(int(counts[together])):
        rest, end = int(start[row]) + 8 * together, int(start[row]) + int(length[row])
        _add_long(s.octets[rest:end], together, more_a[row : row + 1], more_b[row : row + 1])
    _add_words(s, start, length, counts[:together].tolist(), more_a, more_b, ragged=False)
    a[order] = more_a
    b[order] = more_b


def _add_words(
    s: Scratch, start: I64, length: I64, counts: list[int], a: U64, b: U64, *, ragged: bool
) -> None:
    """Adds the word at each position to as many of the first rows as counts says for it.

    start and length are in bytes of the scratch's region, and are destroyed. Two aligned words make an unaligned one.
    Ragged rows are those that stay although they have ended, for words of zeros add nothing.
    """
    if not counts:
        return
    n = counts[0]
    index, ends = start[:n], length[:n]
    shift, unshift, low, following = s.shift[:n], s.unshift[:n], s.low[:n], s.next[:n]
    shortest = int(ends.min())
    np.bitwise_and(index, 7, out=shift.view(np.int64))
    np.left_shift(shift, _3, out=shift)
    np.subtract(np.uint64(64), shift, out=unshift)
    np.right_shift(index, 3, out=index)
    np.left_shift(ends, 3, out=ends)
    np.take(s.words, index, out=low, mode="clip")
    for at, count in enumerate(counts):
        i, c = index[:count], low[:count]
        word, t, f = s.word[:count], s.t[:count], following[:count]
        np.add(i, 1, out=i)
        np.take(s.words, i, out=f, mode="clip")
        np.right_shift(c, shift[:count], out=word)
        np.left_shift(f, unshift[:count], out=t)  # by 64 where shift is 0: numpy makes that nothing
        np.bitwise_or(word, t, out=word)
        over = counts[at + 1] if at + 1 < len(counts) else 0  # the rows from here on end with this word
        if ragged:
            over = 0 if shortest < 8 * (at + 1) else count
        if over < count:  # bytes past a string's end are pushed out at the word's upper end
            cut = s.cut[over:count]
            np.subtract(64 * (at + 1), ends[over:count], out=cut)
            np.maximum(cut, 0, out=cut)
            np.left_shift(word[over:], cut.view(np.uint64), out=word[over:])
        add_word(word, at, a[:count], b[:count], t)
        low, following = following, low


def _add_long(octets: Octets, at: int, a: U64, b: U64) -> None:
    """Adds the words of one long string from its word at on, which is octets' first, to the lanes of one row."""
    done = 0
    while done < len(octets):
        begin = (at + (done >> 3)) % BLOCK
        piece = octets[done : done + 8 * (BLOCK - begin)]
        count = (len(piece) + 7) >> 3
        x = np.zeros(count, np.uint64)
        x.view(np.uint8)[: len(piece)] = piece
        if len(piece) & 7:
            x[-1] <<= np.uint64(8 * (8 - (len(piece) & 7)))
        keys1, keys2 = word_keys(at + (done >> 3) - begin)
        x *= M1
        x ^= x >> _32
        x *= keys1[begin : begin + count]
        x ^= x >> _29
        a += np.add.reduce(x)
        x *= keys2[begin : begin + count]
        b ^= np.bitwise_xor.reduce(x)
        done += len(piece)
