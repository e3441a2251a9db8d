"""Keyed values: what nobody can compute or take back without the key, and everybody with it gets the same.

Text and bytes become keyed BLAKE2b digests. Whole numbers are permuted: a balanced Feistel network of eight rounds
(Luby and Rackoff 1988) whose round function is SipHash-2-4 (Aumasson and Bernstein 2012), a keyed pseudorandom function;
numbers that lie in the range of 32 bits stay in it, those beyond stay beyond by walking the cycle (Black and Rogaway
2002), so that a number has one image whatever its column's width, and no two numbers share one. Knows values and a key;
knows nothing of tables, rules or settings.
"""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]

_SALT = b"anabranch masks 1"
_ROUNDS = 8
_BLOCK = 1 << 16  # numbers whose words stay near the processor through all rounds
_INIT = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


class Key:
    """A secret, made slow to guess by scrypt, and the keys that are derived from it.

    Args:
        secret: What the environment keeps in its variable.
    """

    def __init__(self, secret: str) -> None:
        self._root = hashlib.scrypt(secret.encode(), salt=_SALT, n=2**14, r=8, p=1, dklen=32)

    def __repr__(self) -> str:
        return f"<key {self.id}>"

    def derive(self, purpose: str, size: int = 32) -> bytes:
        """A key for one purpose: one tells nothing of another."""
        return hashlib.blake2b(purpose.encode(), key=self._root, digest_size=size).digest()

    @cached_property
    def id(self) -> str:
        """Tells one secret from another, and nothing else about it: 16 hexadecimal digits."""
        return self.derive("id", 8).hex()

    @cached_property
    def _text(self) -> bytes:
        return self.derive("text")

    def digest(self, value: bytes, size: int = 16) -> bytes:
        """The keyed digest of a value."""
        if size <= 64:
            return hashlib.blake2b(value, key=self._text, digest_size=size).digest()
        return hashlib.shake_256(self._text + value).digest(size)

    def seed(self, purpose: str, value: bytes) -> int:
        """A number of 128 bits that begins a sequence of made-up values."""
        return int.from_bytes(
            hashlib.blake2b(value, key=self.derive(purpose), digest_size=16).digest(), "big"
        )

    def permute(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Whole numbers of 64 bits, each replaced by its image: one to one, and within 32 bits for those that are."""
        out = np.empty_like(numbers)
        for start in range(0, len(numbers), _BLOCK):
            out[start : start + _BLOCK] = self._permuted(numbers[start : start + _BLOCK])
        return out

    def _permuted(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        out = np.empty_like(numbers)
        small = (numbers >= -(2**31)) & (numbers < 2**31)
        out[small] = self._permute_small(numbers[small].astype(np.int32)).astype(np.int64)
        large = ~small
        if large.any():
            image = self._network(numbers[large].view(np.uint64), 32, "int64").view(np.int64)
            while (inside := (image >= -(2**31)) & (image < 2**31)).any():
                image[inside] = self._network(image[inside].view(np.uint64), 32, "int64").view(np.int64)
            out[large] = image
        return out

    def _permute_small(self, numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        words = self._network(numbers.view(np.uint32).astype(np.uint64), 16, "int32")
        return words.astype(np.uint32).view(np.int32)

    def _network(self, words: U64, half: int, purpose: str) -> U64:
        """A Feistel network over words of two halves of so many bits."""
        low = np.uint64(2**half - 1)
        left, right = words >> np.uint64(half), words & low
        key = self.derive(f"permutation {purpose}", 16)
        for turn in range(_ROUNDS):
            message = right | np.uint64(turn) << np.uint64(56)
            left, right = right, left ^ (siphash(key, message) & low)
        return left << np.uint64(half) | right


def siphash(key: bytes, words: U64) -> U64:
    """SipHash-2-4 of messages of 8 bytes each, as little-endian words, under a key of 16 bytes."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [
        np.full(words.shape, start ^ part, np.uint64)
        for start, part in zip(_INIT, (k0, k1, k0, k1), strict=True)
    ]
    for message in (words, np.uint64(8 << 56)):  # the word, and the end: the message's length
        v[3] = v[3] ^ message
        _rounds(v, 2)
        v[0] = v[0] ^ message
    v[2] = v[2] ^ np.uint64(0xFF)
    _rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _rounds(v: list[U64], count: int) -> None:
    for _ in range(count):
        v[0] = v[0] + v[1]
        v[1] = _turned(v[1], 13) ^ v[0]
        v[0] = _turned(v[0], 32)
        v[2] = v[2] + v[3]
        v[3] = _turned(v[3], 16) ^ v[2]
        v[0] = v[0] + v[3]
        v[3] = _turned(v[3], 21) ^ v[0]
        v[2] = v[2] + v[1]
        v[1] = _turned(v[1], 17) ^ v[2]
        v[2] = _turned(v[2], 32)


def _turned(word: U64, by: int) -> U64:
    return word << np.uint64(by) | word >> np.uint64(64 - by)
