"""The words everything else is made of: keys, refs, names of sandboxes, ids and time.

Knows nothing of files, git or databases.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
import unicodedata
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from fractions import Fraction
from typing import TYPE_CHECKING

from anabranch.dataclass import dataclass
from anabranch.errors import AnabranchError, RefError

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_NAMESPACE = "main"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
_BRANCH = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
_DURATION = re.compile(r"([0-9]{1,15})\s*(ms|s|min|m|h|d|w)")
_LIMIT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(%?)", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(B|[kKMGT]i?B)", re.ASCII)
_PREFIXES = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_MILLISECONDS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_MAX_NAME = 48
_DIGEST_TAIL = re.compile(r".*-[0-9a-f]{8,}")
_TIME_LIKE = re.compile(r"[0-9TtZz:.+\s-]*")


def is_key(text: str) -> bool:
    """Whether text is an asset's key: ``name`` or ``namespace.name``; at most 200 characters.

    ``main.orders`` is none: an asset has one spelling, and that of the namespace ``main`` is the bare name.
    """
    return (
        _KEY.fullmatch(text) is not None and len(text) <= 200 and not text.startswith(f"{DEFAULT_NAMESPACE}.")
    )


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
    of the SHA-256 of the whole name, so ``feature/a`` and ``feature-a`` never share a sandbox. The result is a
    catalog branch's name (`is_branch_name`) of at most 48 characters, all lower case, so that it stays apart from
    the others on a file system that ignores case.

    Args:
        git_branch: The git branch, as git prints it; bytes that are no UTF-8 as surrogates.
        reserved: Names that are taken by environments.
    """
    taken = set(reserved)
    safe = is_branch_name(git_branch) and len(git_branch) <= _MAX_NAME and ".." not in git_branch
    # A name that looks like one of ours with a digest could be the slug of another branch: it gets a digest too.
    if safe and git_branch not in taken and _DIGEST_TAIL.fullmatch(git_branch) is None:
        return git_branch
    ascii_text = unicodedata.normalize("NFKD", git_branch).encode("ascii", "ignore").decode().lower()
    digest = hashlib.sha256(git_branch.encode("utf-8", "surrogatepass")).hexdigest()
    slug = re.sub(r"[^a-z0-9_]+", "-", ascii_text).strip("-")
    name = ""
    for digits in (8, 16, 32):  # more than eight only where an environment's name is the shorter one
        name = f"{slug[: _MAX_NAME - 1 - digits].strip('-') or 'branch'}-{digest[:digits]}"
        if name not in taken:
            break
    return name


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

    A time without a zone is taken as UTC. A git branch's name may hold a ``@`` itself (``user@host/fix``): what stands
    behind the last ``@`` is the commit or the time if it is made of digits and the signs of a time, and a part of the
    name otherwise.

    Raises:
        RefError: text is empty, or what stands behind ``@`` looks like a number or a time and is none.
    """
    name, at, tail = text.rpartition("@")
    if not at or not _TIME_LIKE.fullmatch(tail):
        name, at = text, ""
    if not name:
        raise RefError(
            f"{text!r} is not a ref",
            hint="write a branch (production), production@41, production@2026-11-20T09:00Z or a tag",
        )
    if not at:
        return Ref(name)
    try:
        if re.fullmatch(r"[0-9]{1,18}", tail):
            return Ref(name, commit=int(tail))
        moment = datetime.fromisoformat(tail)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise RefError(
            f"{tail!r} in the ref {text!r} is neither a commit's number nor a time",
            hint="write it like production@41 or production@2026-11-20T09:00Z",
        ) from None
    return Ref(name, time=moment)


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 35
_last_id = 0
_id_lock = threading.Lock()


def new_id() -> str:
    """A short id that sorts by time: 9 characters of milliseconds and 7 of randomness, Crockford's base 32.

    Ids of one process sort in the order in which they were made, even within a millisecond and when the clock is
    set back.
    """
    global _last_id  # noqa: PLW0603 - the process's own clock that never runs backwards
    drawn = int.from_bytes(os.urandom(5), "big")
    with _id_lock:
        fresh = (time.time_ns() // 1_000_000) << _RANDOM_BITS | drawn & (2**_RANDOM_BITS - 1)
        # A random step, so that two processes forked in one millisecond part ways.
        value = _last_id = max(fresh, _last_id + 1 + (drawn & 0xFFFFF))
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
    try:
        if pieces and not _DURATION.sub("", compact).strip():
            return timedelta(milliseconds=sum(int(number) * _MILLISECONDS[unit] for number, unit in pieces))
    except OverflowError:
        pass
    raise AnabranchError(f"{text!r} is not a duration", hint="write it like 30s, 15m, 1h, 14d or 1h30m")


def parse_size(text: str) -> int:
    """Bytes of ``512MB``, ``8GB``, ``1.5GiB``: powers of 1,000, with an ``i`` of 1,024.

    Raises:
        AnabranchError: text is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise AnabranchError(f"{text!r} is not a size", hint="write it like 512MB, 8GB or 1.5GiB")
    prefix = found[2].removesuffix("B")
    return int(Fraction(found[1]) * (1024 if "i" in prefix else 1000) ** _PREFIXES[prefix.removesuffix("i")])


@dataclass(frozen=True)
class Limit:
    """A tolerated number of things, or a share of their total; see `parse_limit`.

    Attributes:
        number: How many, or None.
        share: Which share, 0 to 1, or None. Exact, so that 10% of 30 tolerates 3.
    """

    number: int | None = None
    share: Fraction | None = None

    def allows(self, count: int, total: int) -> bool:
        """Whether count of total is tolerated."""
        return count <= self.number if self.number is not None else count <= (self.share or 0) * total

    def __str__(self) -> str:
        return str(self.number) if self.number is not None else f"{float(100 * (self.share or 0)):g}%"


def parse_limit(value: object) -> Limit:
    """A whole number of things (``100``), or a share with a percent sign (``"2%"``, ``"0.5 %"``).

    Raises:
        AnabranchError: value is neither: a fraction without a percent sign could mean either.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Limit(number=value)
    found = _LIMIT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is not None and found[2] and (share := Fraction(found[1]) / 100) <= 1:
        return Limit(share=share)
    if found is not None and not found[2] and "." not in found[1]:
        return Limit(number=int(found[1]))
    raise AnabranchError(f"{value!r} is not a limit", hint='write a number such as 100, or a share: "2%"')


def percent(part: int, whole: int) -> str:
    """``15.6 %``; never ``0 %`` of something or ``100 %`` of less than all."""
    if part <= 0 or part >= whole:
        return "0 %" if part <= 0 else "100 %"
    share = 100 * part / whole
    return "< 0.1 %" if share < 0.1 else f"{min(share, 99.9):.1f} %"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a typing mistake in word most likely meant, or None."""
    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """A hint that names the nearest known word; otherwise the text given."""
    close = nearest(word, known)
    return f"did you mean {close!r}?" if close else otherwise
