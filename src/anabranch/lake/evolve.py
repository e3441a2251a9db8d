"""How the schemas of partitions that were written at different times become one, as Iceberg lets schemas evolve.

A table that is written whole may change as it likes. One that keeps older files must stay readable through them: columns
come and go, numbers widen, and nothing else. Source: the Iceberg table specification, "Schema Evolution". Knows schemas as
JSON values; knows nothing of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anabranch.errors import UnstorableError

if TYPE_CHECKING:
    import pyarrow as pa

Json = Any
_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)")


def widened(given: str, target: str) -> bool:
    """Whether values of a plain Iceberg type can be read as another: the same, or one that Iceberg promotes it to."""
    if given == target or (given, target) in (("int", "long"), ("float", "double")):
        return True
    one, other = _DECIMAL.fullmatch(given), _DECIMAL.fullmatch(target)
    return bool(one and other and one[2] == other[2] and int(one[1]) <= int(other[1]))


def aligned(given: pa.Schema, previous: pa.Schema, renames: Mapping[str, str]) -> pa.Schema:
    """The schema that a partition's data is stored with, in a table that has others already.

    A partition's types are often an accident of its rows: a column without values has none, one without fractions is of
    integers. What the table's type can hold exactly is stored as that, and the table's order of the columns is kept.

    Args:
        given: Of the data.
        previous: Of the table.
        renames: New column → the table's.
    """
    import pyarrow as pa

    names = {name: renames.get(name, name) for name in given.names}
    if len(names) == len(given.names) and sorted(names.values()) == sorted(previous.names):
        place = {name: at for at, name in enumerate(previous.names)}
        given = pa.schema(sorted(given, key=lambda field: place[names[field.name]]))
    fields = []
    for field in given:
        old = names[field.name]
        before = previous.field(old).type if previous.names.count(old) == 1 else None
        fields.append(field if before is None or not _fits(field.type, before) else field.with_type(before))
    return pa.schema(fields)


def _fits(given: pa.DataType, target: pa.DataType) -> bool:
    from pyarrow import types

    from anabranch.errors import UnstorableError
    from anabranch.lake.arrow import storable_schema
    from anabranch.lake.fields import plain_type

    if types.is_null(given):
        return True
    if types.is_nested(target):
        return False
    import pyarrow as pa

    try:
        stored = storable_schema(pa.schema([("x", given)])).field(0).type
    except UnstorableError:
        return False
    return not types.is_nested(stored) and widened(plain_type(stored), plain_type(target))


def joined(one: Json, other: Json, names: tuple[str, str]) -> Json:
    """One list of fields for two partitions that were written for one table; ``names`` tells which, for messages.

    Raises:
        UnstorableError: they differ in more than in how wide their numbers are.
    """
    left, right = [(each["name"], each["id"]) for each in one], [(each["name"], each["id"]) for each in other]
    if left != right:
        differing = sorted({name for name, _ in set(left) ^ set(right)}) or [left[0][0]]
        raise UnstorableError(
            f"the partitions {names[0]} and {names[1]} come with different columns: {', '.join(differing)}",
            hint="return the same columns in the same order for every partition",
            column=differing[0],
        )
    return [
        {
            **a,
            "required": a["required"] and b["required"],
            "type": _joined_type(a["type"], b["type"], a["name"], names),
        }
        for a, b in zip(one, other, strict=True)
    ]


def _joined_type(one: Json, other: Json, path: str, names: tuple[str, str]) -> Json:
    if isinstance(one, str) and isinstance(other, str):
        if widened(one, other):
            return other
        if widened(other, one):
            return one
    elif isinstance(one, dict) and isinstance(other, dict) and one["type"] == other["type"]:
        if one["type"] == "struct":
            return {**one, "fields": joined(one["fields"], other["fields"], names)}
        parts = ("element",) if one["type"] == "list" else ("key", "value")
        if all(one[f"{part}-id"] == other[f"{part}-id"] for part in parts):
            return {
                **one,
                **{part: _joined_type(one[part], other[part], f"{path}.{part}", names) for part in parts},
            }
    raise UnstorableError(
        f"the column {path} is {_text(one)} in the partition {names[0]} and {_text(other)} in {names[1]}",
        hint="cast it to one type for every partition, whatever rows it has",
        column=path,
    )


def evolved(before: Sequence[Json], after: Sequence[Json], key: str, path: str = "") -> list[Json]:
    """The fields by which files written with ``before`` can be read where ``after`` is wanted: as after, but for columns
    that may be null now, and for numbers that are wider in the older files.

    Raises:
        UnstorableError: a column is of a type that Iceberg can't read from the older files.
    """
    old = {each["id"]: each for each in before}
    names = {each["name"]: each for each in before}
    kept = {each["id"] for each in after}
    out = []
    for each in after:
        here = f"{path}{each['name']}"
        known = old.get(each["id"])
        if known is None:
            namesake = names.get(each["name"])
            if namesake is not None and namesake["id"] not in kept:
                raise _unreadable(here, namesake["type"], each["type"], key)
            out.append({**each, "required": False})
            continue
        kind = _evolved_type(known["type"], each["type"], here, key)
        out.append({**each, "required": each["required"] and known["required"], "type": kind})
    return out


def _evolved_type(before: Json, after: Json, path: str, key: str) -> Json:
    if isinstance(before, str) and isinstance(after, str):
        if widened(before, after):
            return after
        if widened(after, before):
            return before
    elif isinstance(before, dict) and isinstance(after, dict) and before["type"] == after["type"]:
        if after["type"] == "struct":
            return {**after, "fields": evolved(before["fields"], after["fields"], key, f"{path}.")}
        parts = ("element",) if after["type"] == "list" else ("key", "value")
        if all(before[f"{part}-id"] == after[f"{part}-id"] for part in parts):
            return {
                **after,
                **{part: _evolved_type(before[part], after[part], f"{path}.{part}", key) for part in parts},
            }
    raise _unreadable(path, before, after, key)


def _unreadable(path: str, before: Json, after: Json, key: str) -> UnstorableError:
    return UnstorableError(
        f"the column {path} of {key} is {_text(after)} now, and {_text(before)} in the partitions that are kept, "
        "which can't be read as that",
        hint="rebuild all partitions, or keep the column's type and give the new values another name",
        column=path,
        type=_text(after),
    )


def _text(kind: Json) -> str:
    return str(kind["type"] if isinstance(kind, dict) else kind)


def only_widened(before: Sequence[Json], after: Sequence[Json]) -> bool:
    """Whether two lists of fields differ in the width of numbers, in comments and in what must not be null, and in nothing
    else: then equal rows have equal hashes under both, and their contents differ by the schema's digest alone.
    """
    return len(before) == len(after) and all(
        a["id"] == b["id"] and a["name"] == b["name"] and _same_kind(a["type"], b["type"])
        for a, b in zip(before, after, strict=True)
    )


def _same_kind(before: Json, after: Json) -> bool:
    if isinstance(before, str) or isinstance(after, str):
        return isinstance(before, str) and isinstance(after, str) and widened(before, after)
    if before["type"] != after["type"]:
        return False
    if before["type"] == "struct":
        return only_widened(before["fields"], after["fields"])
    parts = ("element",) if before["type"] == "list" else ("key", "value")
    return all(
        before[f"{part}-id"] == after[f"{part}-id"] and _same_kind(before[part], after[part])
        for part in parts
    )


def contains(more: Sequence[Json], fewer: Sequence[Json]) -> bool:
    """Whether a schema has every column of another, under the same id and name, of a type as wide."""
    known = {each["id"]: each for each in more}
    return all(
        each["id"] in known
        and known[each["id"]]["name"] == each["name"]
        and _contains_type(known[each["id"]]["type"], each["type"])
        for each in fewer
    )


def _contains_type(more: Json, fewer: Json) -> bool:
    if isinstance(more, str) or isinstance(fewer, str):
        return isinstance(more, str) and isinstance(fewer, str) and widened(fewer, more)
    if more["type"] != fewer["type"]:
        return False
    if more["type"] == "struct":
        return contains(more["fields"], fewer["fields"])
    parts = ("element",) if more["type"] == "list" else ("key", "value")
    return all(
        more[f"{part}-id"] == fewer[f"{part}-id"] and _contains_type(more[part], fewer[part])
        for part in parts
    )


def ids_by_name(fields: Iterable[Json]) -> dict[str, int]:
    """Column → field id."""
    return {each["name"]: each["id"] for each in fields}


__all__ = ["aligned", "contains", "evolved", "ids_by_name", "joined", "only_widened", "widened"]
