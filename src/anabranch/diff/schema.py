"""What changed in a table's schema, because a consumer breaks on a lost column long before it breaks on a value.

Pure: it sees two schemas and their field ids, never a file. Columns are matched by name; where both tables are of one
lineage (most common names carry the same field id on both sides) the ids decide, so that a rename is told as a rename.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass

if TYPE_CHECKING:
    import pyarrow as pa

_DECIMAL = re.compile(r"decimal\d+\((\d+), (-?\d+)\)")
_NOT_NULL = " not null"


@dataclass(frozen=True)
class Field:
    """A column.

    Attributes:
        name: As it stands in the schema.
        id: Its Iceberg field id, or None where the table knows none.
        type: The Arrow type as text, with ``not null`` behind it where the column is required.
    """

    name: str
    id: int | None
    type: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class SchemaDiff:
    """What differs between two schemas.

    Attributes:
        added: Columns of the right side alone.
        removed: Columns of the left side alone.
        retyped: ``(old, new)`` of columns on both sides whose types differ.
        renamed: ``(old, new)`` of columns with one field id and two names.
        reordered: Whether the columns of both sides stand in another order.
        widened: New names of those retyped columns whose new type holds every value of the old one.
    """

    added: tuple[Field, ...] = ()
    removed: tuple[Field, ...] = ()
    retyped: tuple[tuple[Field, Field], ...] = ()
    renamed: tuple[tuple[Field, Field], ...] = ()
    reordered: bool = False
    widened: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything differs, the order included."""
        return bool(self.added or self.removed or self.retyped or self.renamed or self.reordered)

    @property
    def compatible(self) -> bool:
        """Whether what read the left side can read the right one: columns only added, types only widened."""
        lossless = all(new.name in self.widened for _, new in self.retyped)
        return lossless and not self.removed and not self.renamed

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "changed": self.changed,
            "compatible": self.compatible,
            "added": [field.to_dict() for field in self.added],
            "removed": [field.to_dict() for field in self.removed],
            "retyped": [{"old": old.to_dict(), "new": new.to_dict()} for old, new in self.retyped],
            "renamed": [{"old": old.to_dict(), "new": new.to_dict()} for old, new in self.renamed],
            "reordered": self.reordered,
            "widened": list(self.widened),
        }


def match_columns(
    left: pa.Schema, left_ids: Mapping[str, int], right: pa.Schema, right_ids: Mapping[str, int]
) -> list[tuple[int, int]]:
    """The pairs of positions of columns that are one column on both sides, in the order of the right side."""
    left_at = {name: index for index, name in enumerate(left.names)}
    common = [name for name in right.names if name in left_at and name in left_ids and name in right_ids]
    agree = sum(left_ids[name] == right_ids[name] for name in common)
    # A table that was made anew numbers its columns afresh: then an equal id says nothing, and names decide.
    lineage = agree * 2 > len(common) or not set(left.names) & set(right.names)
    by_id = {left_ids[name]: index for name, index in left_at.items() if name in left_ids}
    found: dict[int, int] = {}
    if lineage:
        for index, name in enumerate(right.names):
            if name in right_ids and right_ids[name] in by_id:
                found[index] = by_id[right_ids[name]]
    taken = set(found.values())
    for index, name in enumerate(right.names):
        if index not in found and name in left_at and left_at[name] not in taken:
            found[index] = left_at[name]
            taken.add(left_at[name])
    return [(found[index], index) for index in range(len(right.names)) if index in found]


def compare_schemas(
    left: pa.Schema, left_ids: Mapping[str, int], right: pa.Schema, right_ids: Mapping[str, int]
) -> SchemaDiff:
    """Tells what changed from the left schema to the right one.

    Args:
        left: The schema before.
        left_ids: Column name → Iceberg field id; may be empty, then names alone decide.
        right: The schema after.
        right_ids: Column name → Iceberg field id.
    """
    pairs = match_columns(left, left_ids, right, right_ids)
    before = [_field(left, index, left_ids) for index in range(len(left.names))]
    after = [_field(right, index, right_ids) for index in range(len(right.names))]
    both = [(before[old], after[new]) for old, new in pairs]
    lefts = [old for old, _ in pairs]
    return SchemaDiff(
        added=tuple(after[i] for i in sorted(set(range(len(after))) - {new for _, new in pairs})),
        removed=tuple(before[i] for i in sorted(set(range(len(before))) - set(lefts))),
        retyped=tuple((old, new) for old, new in both if old.type != new.type),
        renamed=tuple((old, new) for old, new in both if old.name != new.name),
        reordered=lefts != sorted(lefts),
        widened=tuple(
            after[new].name
            for old, new in pairs
            if before[old].type != after[new].type and _field_widens(left.field(old), right.field(new))
        ),
    )


def widens(old: Any, new: Any) -> bool:
    """Whether every value of the old type is a value of the new one: equal types, int32 → int64, float → double,
    decimals of more digits and the same scale, and nested types that differ by such steps or by added fields.
    """
    import pyarrow.types as kind

    if old == new:
        return True
    if kind.is_int32(old) and kind.is_int64(new):
        return True
    if kind.is_float32(old) and kind.is_float64(new):
        return True
    if kind.is_decimal(old) and kind.is_decimal(new):
        was, now = _DECIMAL.fullmatch(str(old)), _DECIMAL.fullmatch(str(new))
        return was is not None and now is not None and was[2] == now[2] and int(was[1]) <= int(now[1])
    if kind.is_struct(old) and kind.is_struct(new):
        known = {field.name: field for field in new}
        return all(field.name in known and _field_widens(field, known[field.name]) for field in old)
    if kind.is_map(old) and kind.is_map(new):
        return widens(old.key_type, new.key_type) and _field_widens(old.item_field, new.item_field)
    if _is_list(old) and _is_list(new):
        return _field_widens(old.value_field, new.value_field)
    return False


def _field_widens(old: Any, new: Any) -> bool:
    return widens(old.type, new.type) and (new.nullable or not old.nullable)


def _is_list(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind))


def _field(schema: pa.Schema, index: int, ids: Mapping[str, int]) -> Field:
    column = schema.field(index)
    text = str(column.type) if column.nullable else f"{column.type}{_NOT_NULL}"
    return Field(column.name, ids.get(column.name), text)
