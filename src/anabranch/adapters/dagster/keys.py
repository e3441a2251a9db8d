"""Dagster's asset keys and partitions in our words, and back. Imports no Dagster: objects are told by their classes' names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from anabranch.errors import DefinitionsError, DuplicateNameError
from anabranch.names import is_key
from anabranch.pipeline.partition import (
    BETWEEN,
    Partition,
    PartitionMapping,
    Partitions,
    daily,
    hourly,
    keys,
    monthly,
    weekly,
)

_UNITS = {"HOURLY": hourly, "DAILY": daily, "WEEKLY": weekly, "MONTHLY": monthly}
_ODD = re.compile(r"[^A-Za-z0-9_]")


def name_of(path: Sequence[str]) -> str:
    """The asset's name here: the last part, in a namespace of those before: ``HACKER_NEWS.items``, ``raw_shop.orders``."""
    parts = [_ODD.sub("_", part) for part in path]
    parts = [f"_{part}" if part[:1].isdigit() else part for part in parts]
    name = parts[-1] if len(parts) == 1 else f"{'_'.join(parts[:-1])}.{parts[-1]}"
    return name.removeprefix("main.")


def names_of(paths: Iterable[Sequence[str]]) -> dict[tuple[str, ...], str]:
    """Key → name, for all assets of a project. Raises DuplicateNameError, DefinitionsError."""
    found: dict[tuple[str, ...], str] = {}
    taken: dict[str, tuple[str, ...]] = {}
    for path in paths:
        key, name = tuple(path), name_of(path)
        if not is_key(name):
            raise DefinitionsError(
                f"the asset key {'/'.join(key)} can't be a table's name",
                hint="letters, digits and _, at most 200 in all",
            )
        other = taken.setdefault(name.lower(), key)
        if other != key:
            raise DuplicateNameError(
                f"the asset keys {'/'.join(other)} and {'/'.join(key)} would both be {name}",
                hint="rename one of them",
                name=name,
            )
        found[key] = name
    return found


# partitions


def partitions_plain(given: Any, owner: str) -> dict[str, Any] | None:
    """A Dagster partitions definition as plain values. Raises DefinitionsError for one that has no like here."""
    if given is None:
        return None
    kinds = {each.__name__ for each in type(given).__mro__}
    if "TimeWindowPartitionsDefinition" in kinds:
        return _time_plain(given, owner)
    if "StaticPartitionsDefinition" in kinds:
        return {"kind": "keys", "names": list(given.get_partition_keys())}
    if "MultiPartitionsDefinition" in kinds:
        # The keys' parts stand in the order of the dimensions' names.
        inner = sorted(given.partitions_defs, key=lambda each: str(each.name))
        return {
            "kind": "product",
            "names": [each.name for each in inner],
            "of": [partitions_plain(each.partitions_def, owner) for each in inner],
        }
    raise DefinitionsError(
        f"{owner} has partitions of the kind {type(given).__name__}, which can't be followed here",
        hint="use daily, hourly, weekly, monthly, static or multi partitions; "
        "the keys of dynamic ones live in a Dagster instance, which a sandbox has not",
    )


def _time_plain(given: Any, owner: str) -> dict[str, Any]:
    kind = given.schedule_type.value if given.schedule_type is not None else ""
    whole = kind in _UNITS and given.minute_offset == 0 and (kind == "HOURLY" or given.hour_offset == 0)
    first = kind != "MONTHLY" or given.day_offset == 1
    if not (whole and first) or given.end_offset != 0:
        raise DefinitionsError(
            f"{owner} has partitions of time ({given.cron_schedule}) that have no like here",
            hint="hourly, daily, weekly and monthly ones are known, whose windows begin at :00, at midnight, or on the first",
        )
    window = given.get_first_partition_window()
    start = (given.start if window is None else window.start).replace(tzinfo=None)
    last = None if given.end is None else _last(kind, start, given.end.replace(tzinfo=None))
    return {
        "kind": kind,
        "start": start.isoformat(),
        "end": None if last is None else last.isoformat(),
        "timezone": str(given.timezone),
        "format": given.fmt,
    }


def _last(kind: str, start: datetime, end: datetime) -> datetime:
    """Where the last window begins that ends at a time, or before it."""
    if kind == "WEEKLY":
        return start + timedelta(days=((end - start).days // 7 - 1) * 7)
    if kind == "MONTHLY":
        first = end.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return (first - timedelta(days=1)).replace(day=1)
    if kind == "DAILY":
        return end.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    return end.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)


def partitions_of(plain: Mapping[str, Any] | None) -> Partitions | None:
    """The same in our words. Raises DefinitionsError where ours are narrower."""
    if plain is None:
        return None
    if plain["kind"] == "keys":
        return keys(plain["names"])
    if plain["kind"] == "product":
        first, *rest = (partitions_of(each) for each in plain["of"])
        assert first is not None
        if len(rest) != 1 or rest[0] is None:
            raise DefinitionsError(
                "partitions have at most two dimensions", hint="use a MultiPartitionsDefinition of two"
            )
        return first * rest[0]
    start = datetime.fromisoformat(plain["start"])
    end = datetime.fromisoformat(plain["end"]) if plain["end"] else None
    return _UNITS[plain["kind"]](start, end, timezone=plain["timezone"])


def dagster_key(plain: Mapping[str, Any], partition: Partition) -> str:
    """How Dagster writes a partition's key."""
    if plain["kind"] == "product":
        parts = zip(plain["of"], partition.keys, strict=True)
        found = []
        for each, key in parts:
            inner = partitions_of(each)
            assert inner is not None
            found.append(dagster_key(each, inner.partition(key)))
        return BETWEEN.join(found)
    if plain["kind"] == "keys":
        return partition.key
    assert partition.start is not None
    return partition.start.strftime(plain["format"])


def mapping_plain(given: Any, owner: str, source: str) -> dict[str, Any] | None:
    """A Dagster partition mapping as plain values; None for the usual one. Raises DefinitionsError for a strange one."""
    if given is None:
        return None
    kind = type(given).__name__
    if kind == "TimeWindowPartitionMapping":
        begin, end = given.start_offset, given.end_offset
        if begin == end:
            return {"kind": "offset", "number": begin} if begin else None
        if end == 0 and begin < 0:
            return {"kind": "last", "number": 1 - begin}
    elif kind == "AllPartitionMapping":
        return {"kind": "all"}
    elif kind == "IdentityPartitionMapping":
        return {"kind": "same"}
    raise DefinitionsError(
        f"{owner} reads {source} by a {kind}, which has no like here",
        hint="TimeWindowPartitionMapping with one offset or an end of 0, AllPartitionMapping, IdentityPartitionMapping",
    )


def mapping_of(plain: Mapping[str, Any] | None) -> PartitionMapping:
    """The same in our words."""
    return PartitionMapping() if plain is None else PartitionMapping(plain["kind"], plain.get("number", 0))
