"""Our keys and partitions in Dagster's words, and what Dagster selects in ours. The way back is `keys`.

Pure, but for Dagster's import. Where a key is written differently on both sides (an hour outside UTC, the order of two
dimensions), they are matched by what they mean: the beginning of the window, the dimension's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from anabranch.errors import DefinitionsError, SelectionError
from anabranch.pipeline.partition import (
    BETWEEN,
    Dimension,
    KeyPartitions,
    PartitionMapping,
    Partitions,
    TimePartitions,
)

_ODD = re.compile(r"[^A-Za-z0-9_]+")
_DIMENSIONS = ("first", "second")
_WORDS = ("latest", "missing", "failed")


def asset_key(name: str, prefix: Sequence[str] = ()) -> dg.AssetKey:
    """``raw.orders`` → ``["raw", "orders"]``, behind the prefix."""
    return dg.AssetKey([*prefix, *name.split(".")])


def plain_name(text: str) -> str:
    """The text as Dagster wants names: letters, digits and _."""
    return _ODD.sub("_", text).strip("_") or "anabranch"


def partitions_definition(partitions: Partitions | None) -> dg.PartitionsDefinition[Any] | None:
    """The same partitions in Dagster's words; None for none."""
    if partitions is None:
        return None
    if len(partitions.dimensions) > 1:
        names = dimension_names(partitions)
        return dg.MultiPartitionsDefinition(
            {name: _one(each) for name, each in zip(names, partitions.dimensions, strict=True)}
        )
    return _one(partitions.dimensions[0])


def dimension_names(partitions: Partitions) -> tuple[str, ...]:
    """What Dagster calls the dimensions of a product: ``time`` and the column or ``key``; of two keys their columns."""
    found = [
        "time" if isinstance(each, TimePartitions) else (each.column or "key")
        for each in partitions.dimensions
    ]
    return tuple(found) if len(set(found)) == len(found) else _DIMENSIONS


def _one(given: Dimension) -> dg.PartitionsDefinition[Any]:
    if isinstance(given, KeyPartitions):
        return dg.StaticPartitionsDefinition(list(given.names))
    if not isinstance(given, TimePartitions):
        raise DefinitionsError(f"partitions of the kind {type(given).__name__} have no like in Dagster")
    end = None
    if given.end is not None:
        # Ours names the last window's beginning, Dagster's the time when it ends.
        last = given._after(given.end.replace(tzinfo=given.zone))  # noqa: SLF001 - the same arithmetic
        end = last.replace(tzinfo=None)
    times: dict[str, Any] = {"start_date": given.start, "end_date": end, "timezone": given.timezone}
    if given.unit == "hour":
        return dg.HourlyPartitionsDefinition(**times)
    if given.unit == "day":
        return dg.DailyPartitionsDefinition(**times)
    if given.unit == "week":
        return dg.WeeklyPartitionsDefinition(**times, day_offset=(given.start.weekday() + 1) % 7)
    return dg.MonthlyPartitionsDefinition(**times, fmt="%Y-%m")


def our_key(partitions: Partitions, definition: dg.PartitionsDefinition[Any], key: str) -> str:
    """A partition's key as we write it."""
    if isinstance(definition, dg.MultiPartitionsDefinition):
        parts = definition.get_partition_key_from_str(key).keys_by_dimension
        inner = {each.name: each.partitions_def for each in definition.partitions_defs}
        return BETWEEN.join(
            our_key(each, inner[name], parts[name])
            for name, each in zip(dimension_names(partitions), partitions.dimensions, strict=True)
        )
    if isinstance(definition, dg.TimeWindowPartitionsDefinition):
        start = definition.time_window_for_partition_key(key).start
        (dimension,) = partitions.dimensions
        assert isinstance(dimension, TimePartitions)
        return dimension._key(start.astimezone(dimension.zone))  # noqa: SLF001 - the same arithmetic
    return key


def partition_words(partitions: Partitions, keys: Sequence[str], now: datetime) -> str:
    """The words of ``--partitions`` that name these partitions, written as ours: a range of time where they are one.

    Raises:
        SelectionError: a key can't be named by a word.
    """
    odd = next((key for key in keys if key in _WORDS or key.startswith("latest:")), None)
    if odd is not None:
        raise SelectionError(
            f"the partition {odd!r} can't be named in a run: it is a word for others",
            hint="give it another key",
        )
    if len(keys) > 2 and all(isinstance(each, TimePartitions) for each in partitions.dimensions):
        every = partitions.keys(now)
        first = every.index.get(keys[0])
        if first is not None and every[first : first + len(keys)] == tuple(keys):
            return f"{keys[0]}..{keys[-1]}"
    return ",".join(keys)


def partition_mapping(given: PartitionMapping | None) -> dg.PartitionMapping | None:
    """Which partitions of an input a partition reads; None for what Dagster does by itself."""
    if given is None or given.kind == "window":
        return None
    if given.kind == "all":
        return dg.AllPartitionMapping()
    if given.kind == "same":
        return dg.IdentityPartitionMapping()
    if given.kind == "offset":
        return dg.TimeWindowPartitionMapping(start_offset=given.number, end_offset=given.number)
    return dg.TimeWindowPartitionMapping(start_offset=1 - given.number, end_offset=0)
