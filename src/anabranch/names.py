"""The words everything else is made of: keys, refs, names of sandboxes, ids and time.

Knows nothing of files, git or databases.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING

from anabranch.errors import AnabranchError, RefError

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_NAMESPACE = "main"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
_BRANCH = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
_DURATION = re.compile(r"(\d+)\s*(ms|s|min|m|h|d|w)")
_UNIT = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_MAX_NAME = 48


def is_key(text: str) -> bool:
    """Whether text is an asset's key: ``name`` or ``namespace.name``."""
    return _KEY.fullmatch(text) is not None and len(text) <= 200


def split_key(key: str) -> tuple[str, str]:
    """``("marts", "orders")`` of ``marts.orders``; a bare name stands in the namespace ``main``."""
    namespace, _, name = key.rpartition(".")
    return (namespace or DEFAULT_NAMESPACE), name


def join_key(namespace: str, name: str) -> str:
    """The inverse of `split_key`."""
    return name if namespace == DEFAULT_NAMESPACE else f"{namespace}.{name}"


def is_branch_name(text: str) -> bool:
    """Whether text may name a catalog branch: lower case, digits, ``_ . -``; at most 64 characters."""
    return _BRANCH.fullmatch(text) is not None and len(text) <= 64


def sandbox_name(git_branch: str, reserved: Iterable[str] = ()) -> str:
    """The sandbox's name for a git branch: safe as a file name and in SQL, stable, and different for different branches.

    A branch whose name is safe as it stands keeps it. Any other gets a readable slug and eight hexadecimal digits
    of the SHA-256 of the whole name, so ``feature/a`` and ``feature-a`` never share a sandbox.

    Args:
        git_branch: The git branch, as git prints it.
        reserved: Names that are taken by environments.
    """
    safe = is_branch_name(git_branch) and len(git_branch) <= _MAX_NAME and ".." not in git_branch
    # A name that looks like one of ours with a digest could be the slug of another branch: it gets a digest too.
    if safe and git_branch not in set(reserved) and re.fullmatch(r".*-[0-9a-f]{8}", git_branch) is None:
        return git_branch
    ascii_text = unicodedata.normalize("NFKD", git_branch).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9_]+", "-", ascii_text).strip("-")[: _MAX_NAME - 9].strip("-") or "branch"
    return f"{slug}-{hashlib.sha256(git_branch.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Ref:
    """A branch name, optionally at a commit number, a time or (alone) a tag: see `parse_ref`."""

    name: str
    commit: int | None = None
    time: datetime | None = None

    def __str__(self) -> str:
        if self.commit is not None:
            return f"{self.name}@{self.commit}"
        return f"{self.name}@{self.time.isoformat()}" if self.time is not None else self.name


def parse_ref(text: str) -> Ref:
    """``production``, ``production@41``, ``production@2026-11-20T09:00Z``, a tag, or a git branch's name.

    A time without a zone is taken as UTC. A ``@`` inside a git branch's name is kept: the part behind the last ``@``
    counts only if it is a number or a time.

    Raises:
        RefError: text is empty, or what stands behind ``@`` is neither a number nor a time.
    """
    name, at, tail = text.rpartition("@")
    if not at:
        name, tail = text, ""
    if not name:
        raise RefError(
            f"{text!r} is not a ref",
            hint="write a branch (production), production@41, production@2026-11-20T09:00Z or a tag",
        )
    if not at:
        return Ref(name)
    if tail.isdigit():
        return Ref(name, commit=int(tail))
    try:
        moment = datetime.fromisoformat(tail)
    except ValueError:
        raise RefError(
            f"{tail!r} in the ref {text!r} is neither a commit's number nor a time",
            hint="write it like production@41 or production@2026-11-20T09:00Z",
        ) from None
    return Ref(name, time=moment if moment.tzinfo else moment.replace(tzinfo=UTC))


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id() -> str:
    """A short id that sorts by time: 8 characters of milliseconds and 8 of randomness, Crockford's base 32."""
    value = (time.time_ns() // 1_000_000 & (2**40 - 1)) << 40 | int.from_bytes(os.urandom(5), "big")
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(75, -5, -5))


def now() -> datetime:
    """The time in UTC, to the microsecond."""
    return datetime.now(UTC)


def parse_duration(text: str) -> timedelta:
    """``500ms``, ``30s``, ``15m``, ``1h``, ``14d``, ``2w``, and sums such as ``1h30m``.

    Raises:
        AnabranchError: text is no duration.
    """
    compact = text.strip()
    if compact == "0":
        return timedelta()
    pieces = _DURATION.findall(compact)
    if not pieces or "".join(_DURATION.split(compact)[0::3]).strip():
        raise AnabranchError(f"{text!r} is not a duration", hint="write it like 30s, 15m, 1h, 14d or 1h30m")
    return timedelta(seconds=sum(int(number) * _UNIT[unit] for number, unit in pieces))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a typing mistake in word most likely meant, or None."""
    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """A hint that names the nearest known word; otherwise the text given."""
    close = nearest(word, known)
    return f"did you mean {close!r}?" if close else otherwise
