"""``--partitions``: the words in which a person names partitions, and which partitions of an asset they mean.

Pure. One text serves assets that are cut in different ways: ``2013-12-01..2013-12-31`` means 31 partitions of a daily asset,
one of a monthly one, and says nothing to an asset that is cut by keys alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta, tzinfo
from itertools import product
from typing import Literal

from anabranch.dataclass import dataclass
from anabranch.errors import SelectionError
from anabranch.pipeline.partition import BETWEEN, Dimension, KeyPartitions, Keys, Partitions, TimePartitions

_HINT = (
    "2013-12-01..2013-12-31, 2013-12, latest:7, missing, failed, or a key; several with commas between them"
)


@dataclass(frozen=True)
class _Word:
    """One word: its kind, and what it names; for a product it may have a part for each dimension."""

    kind: Literal["latest", "missing", "failed", "range", "key"]
    text: str
    low: str = ""
    high: str = ""
    number: int = 0


class PartitionSelection:
    """What ``--partitions`` says. Made by `parse`."""

    def __init__(self, text: str, words: Iterable[tuple[_Word, ...]]) -> None:
        self.text = text
        self._words = tuple(words)

    @classmethod
    def parse(cls, text: str) -> PartitionSelection:
        """Reads the words.

        Args:
            text: ``A..B`` (either end may be left out), a date, month or year, ``latest`` or ``latest:N``, ``missing``,
                ``failed``, or a partition's key, several with commas between them; for a product ``TIME|KEY``.

        Raises:
            SelectionError: a word means nothing.
        """
        words = [word.strip() for word in text.split(",") if word.strip()]
        if not words:
            raise SelectionError("--partitions names nothing", hint=_HINT)
        return cls(text, [tuple(_word(part.strip()) for part in word.split(BETWEEN)) for word in words])

    @property
    def asks_failed(self) -> bool:
        """Whether it names those that failed."""
        return any(part.kind == "failed" for word in self._words for part in word)

    def of(
        self,
        partitions: Partitions,
        order: Keys,
        *,
        missing: Callable[[], Collection[str]],
        failed: Collection[str],
    ) -> set[str] | None:
        """The partitions of an asset that are meant, or None where no word speaks of such an asset.

        Args:
            partitions: How the asset is cut.
            order: Which partitions exist.
            missing: Gives those that were never built.
            failed: Those that failed in the last run.
        """
        found: set[str] = set()
        meant = False
        for word in self._words:
            chosen = self._one(word, partitions, order, missing, failed)
            if chosen is not None:
                meant = True
                found.update(chosen)
        return found if meant else None

    def _one(
        self,
        word: tuple[_Word, ...],
        partitions: Partitions,
        order: Keys,
        missing: Callable[[], Collection[str]],
        failed: Collection[str],
    ) -> Iterable[str] | None:
        if len(word) == 1 and word[0].kind == "missing":
            return missing()
        if len(word) == 1 and word[0].kind == "failed":
            return [key for key in order if key in failed]
        dimensions = partitions.dimensions
        lines = [_line(each, order, place, len(dimensions)) for place, each in enumerate(dimensions)]
        if len(word) > len(dimensions):
            return None
        if len(word) == len(dimensions):
            found = [
                _along(each, line, part) for each, line, part in zip(dimensions, lines, word, strict=True)
            ]
            if any(each is None for each in found):
                return None
        else:
            found = [_along(each, line, word[0]) for each, line in zip(dimensions, lines, strict=True)]
            if all(each is None for each in found):
                return None
        chosen = [line if each is None else each for each, line in zip(found, lines, strict=True)]
        if len(chosen) == 1:
            return chosen[0]
        return (BETWEEN.join(pair) for pair in product(*chosen))


def _line(dimension: Dimension, order: Keys, place: int, dimensions: int) -> Keys:  # noqa: ARG001 - for a reader's eyes
    return order if dimensions == 1 else Keys(dict.fromkeys(key.split(BETWEEN)[place] for key in order))


def _word(text: str) -> _Word:
    name, colon, number = text.partition(":")
    if name == "latest":
        if colon and not (number.isdigit() and int(number) > 0):
            raise SelectionError(f"--partitions {text}: {number!r} is no number of partitions", hint=_HINT)
        return _Word("latest", text, number=int(number) if colon else 1)
    if text in ("missing", "failed"):
        return _Word("missing" if text == "missing" else "failed", text)
    low, dots, high = text.partition("..")
    if dots:
        if not low and not high:
            raise SelectionError("--partitions ..: a range needs at least one end", hint=_HINT)
        for end in (low, high):
            if end and _window(end, None) is None:
                raise SelectionError(f"--partitions {text}: {end!r} is no date", hint=_HINT)
        if low and high:
            first, last = _window(low, None), _window(high, None)
            if first is not None and last is not None and last[1] <= first[0]:
                raise SelectionError(
                    f"--partitions {text} ends before it begins", hint=f"write {high}..{low}"
                )
        return _Word("range", text, low, high)
    if not text:
        raise SelectionError("--partitions: a word is empty", hint=_HINT)
    return _Word("key", text)


def _along(dimension: Dimension, line: Keys, word: _Word) -> list[str] | None:
    """The parts along one dimension that a word means, or None where it says nothing about such a dimension."""
    if isinstance(dimension, KeyPartitions):
        return [word.text] if word.kind == "key" and word.text in dimension.names else None
    assert isinstance(dimension, TimePartitions)
    if word.kind == "latest":
        return list(line[-word.number :])
    if word.kind == "key":
        window = _window(word.text, dimension.zone)
        return None if window is None else _overlapping(dimension, line, *window)
    if word.kind == "range":
        low = _window(word.low, dimension.zone) if word.low else None
        high = _window(word.high, dimension.zone) if word.high else None
        return _overlapping(dimension, line, low and low[0], high and high[1])
    return None


def _overlapping(
    dimension: TimePartitions, line: Keys, low: datetime | None, high: datetime | None
) -> list[str]:
    found = []
    for key in line:
        window = dimension.partition(key)
        assert window.start is not None
        assert window.end is not None
        if (low is None or window.end > low) and (high is None or window.start < high):
            found.append(key)
    return found


def _window(text: str, zone: tzinfo | None) -> tuple[datetime, datetime] | None:
    """The time that a year, month, day, hour or moment means, or None for other text."""
    try:
        if len(text) == 4 and text.isdigit():
            year = int(text)
            return datetime(year, 1, 1, tzinfo=zone), datetime(year + 1, 1, 1, tzinfo=zone)
        if len(text) == 7 and text[4] == "-":
            begin = datetime.fromisoformat(f"{text}-01").replace(tzinfo=zone)
            return begin, begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
        begin = datetime.fromisoformat(text)
    except ValueError:
        return None
    if begin.tzinfo is None:
        begin = begin.replace(tzinfo=zone)
    elif zone is None:
        begin = begin.replace(tzinfo=None)
    return begin, begin + (timedelta(days=1) if len(text) == 10 else timedelta(hours=1))
