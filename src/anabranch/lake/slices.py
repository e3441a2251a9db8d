"""What a slice means for rows and for Iceberg: partition values, the rows that belong to it, partition specs.

Iceberg's transforms are floor divisions of the time since 1970, before it as well. Source: the Iceberg table
specification, "Partition Transforms". Knows one table's columns and one slice; knows nothing of files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from anabranch.errors import LakeError, UnstorableError
from anabranch.lake.layout import PARTITION_COLUMNS, Layout, LayoutField, Slice

if TYPE_CHECKING:
    import pyarrow as pa

Json = Any
Values = tuple[Any, ...]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 -- readings of a clock without a zone
_MICROSECOND = timedelta(microseconds=1)
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
_TIMES = ("timestamp", "timestamptz", "date")
_PLAIN = ("string", "int", "long", "date")
_TRANSFORMS = ("identity", "hour", "day", "month", "year")
_PART = re.compile(r"(\d{4})(?:-(\d\d))?")


def kinds(fields: Sequence[Json]) -> dict[str, Any]:
    """Column → Iceberg type, of a schema's fields."""
    return {each["name"]: each["type"] for each in fields}


def values_of(layout: Layout, part: Slice, types: Mapping[str, Any]) -> Values:
    """What Iceberg's partition fields hold for a slice.

    Args:
        layout: The table's layout.
        part: The slice.
        types: What `kinds` returns.

    Raises:
        LakeError: the slice has another number of parts than the layout, or a part is no value of its column.
        UnstorableError: the table lacks the column, or its type does not fit the transform.
    """
    if len(part.parts) != len(layout.fields) or len(part.window) not in (0, len(layout.fields)):
        raise LakeError(
            f"the partition {part.key} has {len(part.parts)} parts and the table is partitioned by "
            f"{', '.join(each.column for each in layout.fields)}",
            key=part.key,
        )
    windows = part.window or (None,) * len(part.parts)
    return tuple(
        _value(field, text, window, part, types)
        for field, text, window in zip(layout.fields, part.parts, windows, strict=True)
    )


def _value(
    field: LayoutField, text: str, window: tuple[str, Any, Any] | None, part: Slice, types: Mapping[str, Any]
) -> Any:
    if field.added:
        return text
    kind = _kind(field.column, part, types)
    wanted = _PLAIN if field.transform == "identity" else _TIMES[: 2 if field.transform == "hour" else 3]
    if kind not in wanted:
        raise UnstorableError(
            f"the column {field.column} has the type {kind}, by whose {field.transform} a table can't be partitioned",
            hint=f"cast it to one of {', '.join(wanted)}",
            column=field.column,
            type=str(kind),
        )
    try:
        if field.transform != "identity":
            at = micros(window[1], kind) if window and window[0] == field.column else _parsed(text)
            return _ordinal(field.transform, at)
        if kind == "date":
            return _parsed(text) // _DAY
        return text if kind == "string" else int(text)
    except (ValueError, OverflowError) as error:
        raise LakeError(
            f"{text!r} of the partition {part.key} is no {field.transform} of the column {field.column}: {error}",
            key=part.key,
            column=field.column,
        ) from error


def _kind(column: str, part: Slice, types: Mapping[str, Any]) -> Any:
    if column not in types:
        raise UnstorableError(
            f"the column {column}, by which rows belong to the partition {part.key}, is not in the data",
            hint=f"its columns: {', '.join(list(types)[:20])}",
            column=column,
        )
    return types[column]


def micros(bound: Any, kind: str) -> int:
    """A date or datetime as microseconds since 1970 as a column of that Iceberg type counts them; see `Slice.window`."""
    if not isinstance(bound, datetime):
        if not isinstance(bound, date):
            raise LakeError(f"{bound!r} is no bound of a partition", hint="give a date or a datetime")
        bound = datetime(bound.year, bound.month, bound.day)  # noqa: DTZ001 -- as above
    if bound.tzinfo is not None:
        bound = (bound.astimezone(UTC) if kind == "timestamptz" else bound).replace(tzinfo=None)
    return int((bound - _EPOCH) // _MICROSECOND)


def _parsed(text: str) -> int:
    short = _PART.fullmatch(text)
    if short:
        return micros(date(int(short[1]), int(short[2] or 1), 1), "date")
    return micros(datetime.fromisoformat(text), "timestamptz")


def _ordinal(transform: str, at: int) -> int:
    if transform in ("hour", "day"):
        return at // (_HOUR if transform == "hour" else _DAY)
    day = _EPOCH + timedelta(days=at // _DAY)
    years = day.year - 1970
    return years if transform == "year" else years * 12 + day.month - 1


def _interval(transform: str, value: int) -> tuple[int, int]:
    """The microseconds since 1970 whose transform is the value: from, until."""
    if transform in ("hour", "day"):
        unit = _HOUR if transform == "hour" else _DAY
        return value * unit, (value + 1) * unit
    first, last = (value, value + 1) if transform == "month" else (value * 12, (value + 1) * 12)
    return _month_start(first), _month_start(last)


def _month_start(month: int) -> int:
    year, rest = divmod(month, 12)
    if year + 1970 > 9999:
        return 1 << 62
    return micros(date(year + 1970, rest + 1, 1), "date")


class Membership:
    """Tells whether rows belong to a slice.

    Args:
        key: The table, for messages.
        layout: Its layout.
        part: The slice.
        fields: Of the Iceberg schema that the rows are stored with.

    Raises:
        LakeError, UnstorableError: as for `values_of`; a window's column is missing or no time.
    """

    def __init__(self, key: str, layout: Layout, part: Slice, fields: Sequence[Json]) -> None:
        types = kinds(fields)
        self.values = values_of(layout, part, types)
        self._key = key
        self._part = part
        self._ranges: list[tuple[str, int, int]] = []
        self._equal: list[tuple[str, Any]] = []
        for field, value in zip(layout.fields, self.values, strict=True):
            if field.transform != "identity":
                self._add(field.column, types[field.column], *_interval(field.transform, value))
            elif not field.added:
                self._equal.append((field.column, value))
        for window in part.window:
            if window is not None:
                column, lower, upper = window
                kind = _kind(column, part, types)
                if kind not in _TIMES:
                    raise UnstorableError(
                        f"the column {column} of {key} has the type {kind}: no time by which rows belong to partitions",
                        hint="cast it to a date or a timestamp",
                        column=column,
                        type=str(kind),
                    )
                self._add(column, kind, micros(lower, kind), micros(upper, kind))

    def _add(self, column: str, kind: str, lower: int, upper: int) -> None:
        if kind == "date":
            lower, upper = math.ceil(lower / _DAY), math.ceil(upper / _DAY)
        self._ranges.append((column, lower, upper))

    def check(self, rows: pa.Table) -> None:
        """Raises UnstorableError for a row that does not belong to the slice; names column, value and partition."""
        import pyarrow as pa
        from pyarrow import compute

        if not rows.num_rows:
            return
        for name, lower, upper in self._ranges:
            column = rows.column(name)
            if column.null_count:
                self._refuse(name, None)
            numbers = column.cast(pa.int32() if pa.types.is_date(column.type) else pa.int64())
            found = compute.min_max(numbers).as_py()
            if found["min"] < lower or found["max"] >= upper:
                outside = compute.or_(
                    compute.less(numbers, pa.scalar(lower, pa.int64())),
                    compute.greater_equal(numbers, pa.scalar(min(upper, 2**63 - 1), pa.int64())),
                )
                self._refuse(name, _text(column.filter(outside)[0]))
        for name, value in self._equal:
            column = rows.column(name)
            if column.null_count:
                self._refuse(name, None)
            wanted = (
                pa.scalar(value, pa.int32()).cast(column.type) if pa.types.is_date(column.type) else value
            )
            other = compute.not_equal(column, wanted)
            if compute.any(other).as_py():
                self._refuse(name, _text(column.filter(other)[0]))

    def _refuse(self, column: str, value: str | None) -> None:
        raise UnstorableError(
            f"the column {column} of {self._key} is {'null' if value is None else value} in a row that was made for the "
            f"partition {self._part.key}",
            hint="return the rows of the wanted partition alone"
            if value is not None
            else f"a row without {column} lies in no partition: fill it, or leave the row out",
            column=column,
            value=value,
            partition=self._part.key,
        )


def _text(value: pa.Scalar) -> str:
    import pyarrow as pa

    try:
        return str(value.cast(pa.string()).as_py())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        return str(value)


# Iceberg's partition specs, as JSON values


def spec_pairs(layout: Layout, fields: Sequence[Json]) -> list[tuple[int, str]]:
    """Source id and transform of each field of a layout. Raises UnstorableError where a column is missing."""
    ids = {each["name"]: each["id"] for each in fields}
    for each in layout.fields:
        if each.column not in ids:
            raise UnstorableError(
                f"the column {each.column}, by which the table is partitioned, is not in the data",
                hint=f"its columns: {', '.join(list(ids)[:20])}",
                column=each.column,
            )
    return [(ids[each.column], each.transform) for each in layout.fields]


def pairs_of(spec: Json) -> list[tuple[int, str]]:
    """As `spec_pairs`, of a spec that is there."""
    return [(each["source-id"], each["transform"]) for each in spec["fields"]]


def new_spec(layout: Layout, fields: Sequence[Json], spec_id: int, last_id: int) -> tuple[Json, int]:
    """A partition spec for a layout, and the highest id of a partition field."""
    taken = {each["name"] for each in fields}
    made: list[Json] = []
    for (source, transform), each in zip(spec_pairs(layout, fields), layout.fields, strict=True):
        name = each.column
        if transform != "identity":
            name = f"{name}_{transform}"
            while name in taken:
                name += "_partition"
        taken.add(name)
        last_id += 1
        made.append({"source-id": source, "field-id": last_id, "transform": transform, "name": name})
    return {"spec-id": spec_id, "fields": made}, last_id


def layout_of(spec: Json, fields: Sequence[Json]) -> Layout | None:
    """The layout that a partition spec stands for; None for a table without partitions or with some of another kind."""
    names = {each["id"]: each["name"] for each in fields}
    made = []
    for source, transform in pairs_of(spec):
        if transform not in _TRANSFORMS or source not in names:
            return None
        name = names[source]
        added = name in PARTITION_COLUMNS
        if added and transform != "identity":
            return None
        made.append(LayoutField(name, transform, added))  # type: ignore[arg-type]
    return Layout(tuple(made)) if 1 <= len(made) <= 2 and len(set(made)) == len(made) else None


def value_types(spec: Json, fields: Sequence[Json]) -> list[str]:
    """The Iceberg type of each partition field's values."""
    types = {each["id"]: each["type"] for each in fields}
    results = {"hour": "int", "day": "date", "month": "int", "year": "int", "bucket": "int"}
    return [
        results.get(transform.partition("[")[0]) or _plain_name(types.get(source))
        for source, transform in pairs_of(spec)
    ]


def _plain_name(kind: Any) -> str:
    return kind if isinstance(kind, str) else "unknown"


__all__ = [
    "Membership",
    "Values",
    "kinds",
    "layout_of",
    "micros",
    "new_spec",
    "pairs_of",
    "spec_pairs",
    "value_types",
    "values_of",
]
