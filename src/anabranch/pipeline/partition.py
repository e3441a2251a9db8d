"""How an asset's table is cut into partitions: by time, by key, or by both; and which partition is made from which.

Pure arithmetic on calendars and keys. It knows nothing of what is built: a partition is a key, and for time a window.
Keys are text that sorts and reads well (``2013-01-05``, ``2013-01-05T06:00``, ``2013-01``, ``AA``, ``2013-01-05|AA``), and a
partition of time exists once its window is over: nobody computes a day that still goes on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cached_property, lru_cache
from itertools import product as _product
from typing import Any, Literal, overload
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from anabranch.dataclass import dataclass, field
from anabranch.errors import DefinitionsError, SelectionError
from anabranch.lake.layout import PARTITION_COLUMN, Layout, LayoutField, Slice

Unit = Literal["hour", "day", "week", "month"]
BETWEEN = "|"
_PER = {"hour": "hourly", "day": "daily", "week": "weekly", "month": "monthly"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Partition:
    """One partition, as a function receives it.

    Attributes:
        key: Its name: ``2013-01-05``, ``AA``, ``2013-01-05|AA``.
        start: For time: where its window begins; aware, in the partitions' time zone.
        end: For time: where it ends; not part of it.
        keys: The parts of the key, one for each dimension.
    """

    key: str
    start: datetime | None = None
    end: datetime | None = None
    keys: tuple[str, ...] = ()

    @property
    def date(self) -> date:
        """The day on which its window begins. Raises ValueError for a partition without a window."""
        if self.start is None:
            raise ValueError(f"the partition {self.key} has no window")
        return self.start.date()

    def __str__(self) -> str:
        return self.key


class Keys(Sequence[str]):
    """Partition keys in their order, with the place of each."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = tuple(keys)

    @cached_property
    def index(self) -> Mapping[str, int]:  # type: ignore[override]
        """Key → its place."""
        return {key: place for place, key in enumerate(self._keys)}

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[str, ...]: ...
    def __getitem__(self, at: int | slice) -> str | tuple[str, ...]:
        return self._keys[at]

    def __contains__(self, key: object) -> bool:
        return key in self.index


class Partitions:
    """How a table is cut; made by `daily`, `hourly`, `weekly`, `monthly`, `keys`, or two of them multiplied."""

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """One, or two for a product."""
        raise NotImplementedError

    @property
    def identity(self) -> str:
        """What of it decides the content of a partition; not where the calendar begins or ends."""
        return f" {BETWEEN} ".join(each.identity for each in self.dimensions)

    def keys(self, now: datetime) -> Keys:
        """The partitions that exist at a time, in their order."""
        raise NotImplementedError

    def partition(self, key: str) -> Partition:
        """The partition of that key. Raises SelectionError for a key that can't be one."""
        raise NotImplementedError

    def layout(self) -> Layout:
        """How the stored table is partitioned."""
        names = [PARTITION_COLUMN, f"{PARTITION_COLUMN}_2"]
        return Layout(tuple(each.field(name) for each, name in zip(self.dimensions, names, strict=False)))

    def slice(self, key: str) -> Slice:
        """The same partition in the lake's terms."""
        parts = tuple(key.split(BETWEEN)) if len(self.dimensions) > 1 else (key,)
        return Slice(
            key, parts, tuple(each.bounds(part) for each, part in zip(self.dimensions, parts, strict=True))
        )

    def __mul__(self, other: Partitions) -> Partitions:
        return Product(self, other)


class Dimension(Partitions):
    """Partitions along one line."""

    column: str | None

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Itself."""
        return (self,)

    def field(self, added: str) -> LayoutField:
        """Its field of the layout; ``added`` names the column that the lake adds where none serves."""
        raise NotImplementedError

    def bounds(self, part: str) -> tuple[str, Any, Any] | None:
        """Column and window that rows must lie in, or None."""
        raise NotImplementedError


@dataclass(frozen=True)
class TimePartitions(Dimension):
    """Windows of time, one after the other.

    Attributes:
        unit: Their length.
        start: The first one's beginning, in local time.
        end: The last one's beginning, or None while time goes on.
        timezone: Name of the time zone whose days these are.
        column: The column that says when a row happened, or None.
    """

    unit: Unit
    start: datetime
    end: datetime | None = None
    timezone: str = "UTC"
    column: str | None = None

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.unit, self.start, self.end, self.timezone, self.column))

    @cached_property
    def zone(self) -> tzinfo:
        """The time zone."""
        return UTC if self.timezone == "UTC" else ZoneInfo(self.timezone)

    @property
    def identity(self) -> str:
        """Unit, time zone and column; for weeks also on which day they begin."""
        begins = f" from {self.start:%a}" if self.unit == "week" else ""
        return f"{_PER[self.unit]}{begins} {self.timezone}" + (f" by {self.column}" if self.column else "")

    def keys(self, now: datetime) -> Keys:
        """Those whose window is over."""
        return _time_keys(self, self._count(now))

    def _count(self, now: datetime) -> int:
        here = now.astimezone(self.zone)
        if self.unit == "hour":
            first = self.start.replace(tzinfo=self.zone).astimezone(UTC)
            count = (now - first) // timedelta(hours=1)
            last = (
                None
                if self.end is None
                else (self.end.replace(tzinfo=self.zone).astimezone(UTC) - first) // timedelta(hours=1)
            )
        elif self.unit == "month":
            count = _months(here) - _months(self.start)
            last = None if self.end is None else _months(self.end) - _months(self.start)
        else:
            length = 7 if self.unit == "week" else 1
            count = (here.date() - self.start.date()).days // length
            last = None if self.end is None else (self.end.date() - self.start.date()).days // length
        return max(0, count if last is None else min(count, last + 1))

    def partition(self, key: str) -> Partition:
        """The window of that key."""
        start = self._parse(key)
        if start is None:
            raise SelectionError(
                f"{key!r} is no key of {_PER[self.unit]} partitions",
                hint=f"write it like {self._key(self.start.replace(tzinfo=self.zone))}",
            )
        return Partition(key, start, self._after(start), (key,))

    def _parse(self, key: str) -> datetime | None:
        """The beginning of the key's window, or None if it is no key of these partitions."""
        try:
            start = datetime.fromisoformat(f"{key}-01" if self.unit == "month" else key)
        except ValueError:
            return None
        start = start.replace(tzinfo=self.zone) if start.tzinfo is None else start.astimezone(self.zone)
        days = (start.date() - self.start.date()).days
        if self._key(start) != key or days < 0 or (self.unit == "week" and days % 7):
            return None
        return start

    def _key(self, start: datetime) -> str:
        if self.unit == "hour":
            text = start.isoformat(timespec="minutes")
            return text.removesuffix("+00:00") if self.timezone == "UTC" else text
        return start.strftime("%Y-%m") if self.unit == "month" else start.strftime("%Y-%m-%d")

    def _after(self, start: datetime) -> datetime:
        if self.unit == "hour":
            return (start.astimezone(UTC) + timedelta(hours=1)).astimezone(self.zone)
        if self.unit == "month":
            return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
        return start + timedelta(days=7 if self.unit == "week" else 1)

    def at(self, place: int) -> datetime:
        """Where the window at that place begins; aware."""
        if self.unit == "hour":
            first = self.start.replace(tzinfo=self.zone).astimezone(UTC)
            return (first + timedelta(hours=place)).astimezone(self.zone)
        if self.unit == "month":
            months = _months(self.start) + place
            return datetime(months // 12, months % 12 + 1, 1, tzinfo=self.zone)
        return (self.start + timedelta(days=place * (7 if self.unit == "week" else 1))).replace(
            tzinfo=self.zone
        )

    def field(self, added: str) -> LayoutField:
        """The column's own hour, day or month where that is one partition; else a column that is added."""
        if self.column is not None and self.unit != "week" and self.timezone == "UTC":
            return LayoutField(self.column, self.unit)
        return LayoutField(added, "identity", added=True)

    def bounds(self, part: str) -> tuple[str, Any, Any] | None:
        """The window, where the column is known."""
        if self.column is None:
            return None
        window = self.partition(part)
        return (self.column, window.start, window.end)


@dataclass(frozen=True)
class KeyPartitions(Dimension):
    """Named partitions.

    Attributes:
        names: Their keys, in order.
        column: The text column that holds the key, or None.
    """

    names: tuple[str, ...]
    column: str | None = None
    _keys: Keys = field(init=False, repr=False, compare=False, default=Keys(()))

    def __post_init__(self) -> None:
        object.__setattr__(self, "_keys", Keys(self.names))

    @property
    def identity(self) -> str:
        """Its column: which other keys there are changes no partition."""
        return "keys" + (f" by {self.column}" if self.column else "")

    def keys(self, now: datetime) -> Keys:  # noqa: ARG002 - keys are there at any time
        """All of them."""
        return self._keys

    def partition(self, key: str) -> Partition:
        """The partition of that key."""
        if key not in self._keys:
            raise SelectionError(
                f"{key!r} is no key of these partitions",
                hint=f"they are: {', '.join(self.names[:20])}" + (", …" if len(self.names) > 20 else ""),
            )
        return Partition(key, None, None, (key,))

    def field(self, added: str) -> LayoutField:
        """The column itself, or one that is added."""
        if self.column is not None:
            return LayoutField(self.column, "identity")
        return LayoutField(added, "identity", added=True)

    def bounds(self, part: str) -> tuple[str, Any, Any] | None:  # noqa: ARG002 - the value itself is checked
        """None: the lake checks the value."""
        return None


@dataclass(frozen=True)
class Product(Partitions):
    """Every pair of two dimensions' partitions."""

    first: Partitions
    second: Partitions

    def __post_init__(self) -> None:
        if len(self.dimensions) != 2:
            raise DefinitionsError(
                "partitions have at most two dimensions", hint="multiply two of them, not three"
            )
        if all(isinstance(each, TimePartitions) for each in self.dimensions):
            raise DefinitionsError(
                "both dimensions are of time", hint="one of time and one of keys, or two of keys"
            )
        columns = [each.column for each in self.dimensions if each.column is not None]
        if len(columns) != len(set(columns)):
            raise DefinitionsError(
                f"both dimensions are by the column {columns[0]!r}", hint="give each its own column"
            )
        for each in self.dimensions:
            odd = next((n for n in getattr(each, "names", ()) if BETWEEN in n), None)
            if odd is not None:
                raise DefinitionsError(
                    f"the key {odd!r} holds {BETWEEN!r}, which stands between the parts of a product's keys"
                )

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The two."""
        return (*self.first.dimensions, *self.second.dimensions)

    def keys(self, now: datetime) -> Keys:
        """Every pair, the first dimension slowest."""
        first, second = (each.keys(now) for each in self.dimensions)
        return _product_keys(first, second)

    def partition(self, key: str) -> Partition:
        """The partition of that pair."""
        parts = key.split(BETWEEN)
        if len(parts) != 2:
            raise SelectionError(
                f"{key!r} is no key of these partitions",
                hint=f"it has two parts, with {BETWEEN} between them",
            )
        found = [each.partition(part) for each, part in zip(self.dimensions, parts, strict=True)]
        window = next((each for each in found if each.start is not None), found[0])
        return Partition(key, window.start, window.end, tuple(parts))


@lru_cache(maxsize=512)
def _time_keys(partitions: TimePartitions, count: int) -> Keys:
    if partitions.unit in ("day", "week"):
        first, step = partitions.start.date().toordinal(), 7 if partitions.unit == "week" else 1
        return Keys(date.fromordinal(first + step * place).isoformat() for place in range(count))
    return Keys(partitions._key(partitions.at(place)) for place in range(count))  # noqa: SLF001 - of this module


@lru_cache(maxsize=512)
def starts(partitions: TimePartitions, count: int) -> tuple[int, ...]:
    """Where each of the first windows begins, and where the last one ends: microseconds since 1970, one more than count."""
    return tuple(_instant(partitions.at(place)) for place in range(count + 1))


@lru_cache(maxsize=64)
def _product_keys(first: Keys, second: Keys) -> Keys:
    return Keys(f"{one}{BETWEEN}{other}" for one, other in _product(first, second))


def _instant(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _months(moment: datetime) -> int:
    return moment.year * 12 + moment.month - 1


# declaring


def hourly(
    start: str | datetime,
    end: str | datetime | None = None,
    *,
    timezone: str = "UTC",
    column: str | None = None,
) -> Partitions:
    """A partition for each hour. Arguments as for `daily`; keys are ``2013-01-05T06:00``, with the offset outside UTC."""
    return _time("hour", start, end, timezone, column)


def daily(
    start: str | date, end: str | date | None = None, *, timezone: str = "UTC", column: str | None = None
) -> Partitions:
    """A partition for each day; keys are ``2013-01-05``.

    Args:
        start: The first partition.
        end: The last one; None: up to the newest whose window is over.
        timezone: Name of the time zone (IANA) whose days these are.
        column: A date or timestamp column of the table: the stored table is then partitioned by it, and a row outside its
            partition's window is an error. Without it, a text column ``_partition`` is added that holds the key.

    Raises:
        DefinitionsError: a text is no date, the time zone is unknown, or the end is before the start.
    """
    return _time("day", start, end, timezone, column)


def weekly(
    start: str | date, end: str | date | None = None, *, timezone: str = "UTC", column: str | None = None
) -> Partitions:
    """A partition for every seven days from ``start`` on; its key is its first day. Arguments as for `daily`."""
    return _time("week", start, end, timezone, column)


def monthly(
    start: str | date, end: str | date | None = None, *, timezone: str = "UTC", column: str | None = None
) -> Partitions:
    """A partition for each month; keys are ``2013-01``. Arguments as for `daily`."""
    return _time("month", start, end, timezone, column)


def keys(names: Iterable[str], *, column: str | None = None) -> Partitions:
    """A partition for each of the names.

    Args:
        names: Their keys; the order is that in which they run.
        column: The text column of the table that holds the key. Without it, a text column ``_partition`` is added.

    Raises:
        DefinitionsError: a name is empty, no text, or given twice.
    """
    found = tuple(names) if not isinstance(names, str) else (names,)
    for name in found:
        if not isinstance(name, str) or not name.strip() or "," in name or ".." in name:
            raise DefinitionsError(
                f"{name!r} can't be the key of a partition",
                hint="a text that is not empty, without a comma or ..",
            )
    twice = next((name for place, name in enumerate(found) if name in found[:place]), None)
    if twice is not None:
        raise DefinitionsError(f"the partition {twice!r} is given twice")
    return KeyPartitions(found, column)


def _time(unit: Unit, start: Any, end: Any, timezone: str, column: str | None) -> Partitions:
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise DefinitionsError(
            f"the time zone {timezone!r} is not known",
            hint="a name of the IANA database: Europe/Berlin, America/New_York, UTC",
        ) from None
    first, last = (_moment(unit, each, zone) for each in (start, end))
    if first is None:
        raise DefinitionsError(f"{_PER[unit]} partitions need a start", hint=f'ab.{_PER[unit]}("2024-01-01")')
    if last is not None and last < first:
        raise DefinitionsError(f"partitions end at {end}, before they start at {start}")
    return TimePartitions(unit, first, last, "UTC" if timezone in ("UTC", "Etc/UTC") else timezone, column)


def _moment(unit: Unit, value: Any, zone: ZoneInfo) -> datetime | None:
    """The beginning of the window that a start or end means, in local time without a zone."""
    if value is None:
        return None
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - local time, by its zone's name
        else:
            moment = datetime.fromisoformat(f"{value}-01" if len(str(value)) == 7 else str(value))
    except (TypeError, ValueError):
        raise DefinitionsError(f"{value!r} is no date", hint="write it like 2013-01-05") from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(zone).replace(tzinfo=None)
    whole = moment.replace(minute=0, second=0, microsecond=0)
    if unit != "hour":
        whole = whole.replace(hour=0)
    if unit == "month":
        whole = whole.replace(day=1)
    if whole != moment:
        raise DefinitionsError(
            f"{value} is not where a {unit} begins", hint=f"write {whole:%Y-%m-%d} or round it"
        )
    return whole


# which partition is made from which


@dataclass(frozen=True)
class PartitionMapping:
    """Which of an input's partitions a partition reads.

    Attributes:
        kind: ``window``: those whose window overlaps, or of the same key (the default); ``same``: the one of the same key;
            ``all``: the whole table; ``last``: those of the window and those before, so many in all; ``offset``: those of the
            window, shifted by so many.
        number: For last and offset.
    """

    kind: Literal["window", "same", "all", "last", "offset"] = "window"
    number: int = 0

    @property
    def identity(self) -> str:
        """Its text in a fingerprint."""
        return f"{self.kind} {self.number}" if self.kind in ("last", "offset") else self.kind


WINDOW = PartitionMapping()
same = PartitionMapping("same")
all_partitions = PartitionMapping("all")


def last(number: int) -> PartitionMapping:
    """Reads the partitions of the window and those before it, so many in all: ``ab.last(7)`` for a week of days."""
    if number < 1:
        raise DefinitionsError(f"last({number}) reads nothing", hint="1 or more")
    return PartitionMapping("last", number)


def offset(number: int) -> PartitionMapping:
    """Reads the partitions of the window, shifted: ``ab.offset(-1)`` for the day before."""
    return PartitionMapping("offset", number)


class Upstream:
    """Which of an input's partitions each partition of an asset reads, at one time.

    Args:
        up: The input's partitions.
        down: The asset's own; None: it has none.
        mapping: What the asset declares.
        now: Which partitions exist.
    """

    def __init__(
        self, up: Partitions, down: Partitions | None, mapping: PartitionMapping, now: datetime
    ) -> None:
        self.up, self.down, self.mapping = up, down, mapping
        self.keys = up.keys(now)
        self._lines = [(each, each.keys(now)) for each in up.dimensions]
        self.identical = down is not None and up == down and mapping.kind in ("window", "same")

    @property
    def whole(self) -> bool:
        """Whether the whole table is read, whichever partition is made."""
        if self.mapping.kind == "all":
            return True
        if self.down is None:
            return self.mapping.kind != "last"
        if self.mapping.kind == "same":
            return False
        return all(self._matching(each) is None for each, _ in self._lines) and self.mapping.kind != "last"

    def of(self, key: str | None) -> tuple[str, ...]:
        """The input's partitions that one of the asset's partitions reads, in order; for None: that the whole asset reads."""
        if self.whole:
            return tuple(self.keys)
        if key is not None and (self.identical or self.mapping.kind == "same"):
            return (key,) if key in self.keys else ()
        parts: Sequence[str] = []
        if key is not None and self.down is not None:
            parts = key.split(BETWEEN) if len(self.down.dimensions) > 1 else [key]
        found = [self._along(each, there, parts) for each, there in self._lines]
        return tuple(found[0]) if len(found) == 1 else tuple(BETWEEN.join(pair) for pair in _product(*found))

    def _matching(self, up: Dimension) -> int | None:
        """Which of the asset's dimensions stands for one of the input's."""
        for place, each in enumerate(self.down.dimensions if self.down is not None else ()):
            if isinstance(up, TimePartitions) and isinstance(each, TimePartitions):
                return place
            if isinstance(up, KeyPartitions) and isinstance(each, KeyPartitions):
                columns = {up.column, each.column}
                if len(columns) == 1 or None in columns or len(self.down.dimensions) == 1:  # type: ignore[union-attr]
                    return place
        return None

    def _along(self, up: Dimension, there: Keys, parts: Sequence[str]) -> Sequence[str]:
        place = self._matching(up)
        if place is None:
            timed = isinstance(up, TimePartitions)
            number = self.mapping.number if self.mapping.kind == "last" and timed else 0
            return there[-number:] if number else there[:]
        assert self.down is not None
        if not isinstance(up, TimePartitions):
            return [parts[place]] if parts[place] in there else []
        own = self.down.dimensions[place].partition(parts[place])
        assert own.start is not None
        assert own.end is not None
        begins = starts(up, len(there))
        low = bisect_right(begins, _instant(own.start)) - 1
        high = bisect_left(begins, _instant(own.end))
        if self.mapping.kind == "offset":
            low, high = low + self.mapping.number, high + self.mapping.number
        elif self.mapping.kind == "last":
            low = high - self.mapping.number
        return there[max(0, low) : max(0, min(high, len(there)))]


def ranges(chosen: Iterable[str], order: Keys) -> list[tuple[str, str, int]]:
    """Keys as runs of neighbours: first, last, number. A key that is not in the order stands by itself, at the end."""
    chosen = list(chosen)
    places = sorted(order.index[key] for key in chosen if key in order)
    found: list[tuple[str, str, int]] = []
    begin = 0
    for at, place in enumerate(places):
        if at + 1 == len(places) or places[at + 1] != place + 1:
            found.append((order[places[begin]], order[place], at + 1 - begin))
            begin = at + 1
    return found + [(key, key, 1) for key in sorted(key for key in chosen if key not in order)]


def expand(runs: Iterable[Sequence[Any]], order: Keys) -> set[str] | None:
    """The keys of runs as `ranges` gives them; None where the order is another one by now, so that they can't be told."""
    found: set[str] = set()
    for first, final, count in runs:
        if first not in order or final not in order:
            return None
        place = order.index[first]
        if order.index[final] - place + 1 != count:
            return None
        found.update(order[place : place + count])
    return found


def told(chosen: Iterable[str], order: Keys, *, most: int = 4) -> str:
    """Keys for a person: ``2013-12-01..2013-12-31, 2014-02-03``; of many runs the first ones."""
    runs = ranges(chosen, order)
    texts = [a if count == 1 else f"{a}..{b}" for a, b, count in runs]
    more = sum(count for _, _, count in runs[most:])
    return ", ".join(texts[:most]) + (f" and {more:,} more" if more else "")
