"""Iceberg schemas as plain JSON values, made from Arrow's and back, with field ids that stay what they are.

A column keeps its id as long as it keeps its name (or is said to be renamed), whatever else is rewritten, so that
engines that read by id, diffs and older files agree on which column is which. Knows types; knows nothing of files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass, field
from anabranch.errors import LakeError

if TYPE_CHECKING:
    import pyarrow as pa

FIELD_ID = b"PARQUET:field_id"
NAME_MAPPING = "schema.name-mapping.default"
"""The table property that holds `name_mapping`."""
Json = Any
_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)")
_FIXED = re.compile(r"fixed\[(\d+)\]")


@dataclass
class _Ids:
    """Gives each field the id of the field that it continues, or a new one.

    Attributes:
        last: The highest id ever given in this table.
        renames: Path → the path it had before.
        docs: Path → its comment.
        used: Paths of the former schema that a rename has claimed.
    """

    last: int
    renames: Mapping[str, str]
    docs: Mapping[str, str]
    used: set[str] = field(default_factory=set)

    def fresh(self) -> int:
        self.last += 1
        return self.last


def assign_fields(
    schema: pa.Schema,
    *,
    previous: Json | None = None,
    last_id: int = 0,
    renames: Mapping[str, str] | None = None,
    docs: Mapping[str, str] | None = None,
) -> tuple[list[Json], int]:
    """The ``fields`` of an Iceberg schema for a storable Arrow schema, and the highest id given so far.

    Args:
        schema: What `arrow.storable_schema` returns.
        previous: The table's former Iceberg schema; a field of the same path and kind keeps its id and its comment.
        last_id: The table's ``last-column-id``.
        renames: New path → former path (dotted for what lies inside a struct). One whose former path is not in
            ``previous`` has been done already and is passed over.
        docs: Path → comment.

    Raises:
        LakeError: a rename or a comment names no column of the schema.
    """
    known = dict(_walk(previous)) if previous else {}
    given = set(field_paths(schema))
    for what, paths in (("rename", renames or {}), ("comment", docs or {})):
        for path in paths:
            if path not in given:
                raise LakeError(
                    f"a {what} is given for the column {path!r}, which the data does not have",
                    hint=f"its columns: {', '.join(schema.names[:20])}",
                    column=path,
                )
    done = {new: old for new, old in (renames or {}).items() if old in known and new not in known}
    ids = _Ids(last_id, done, docs or {}, set(done.values()))
    return _struct_fields(list(schema), "", "", known, ids), ids.last


def field_paths(schema: pa.Schema) -> Iterator[str]:
    """Dotted paths of the columns and of the fields in structs."""
    from pyarrow import types

    def inside(kind: pa.DataType, path: str) -> Iterator[str]:
        yield path
        if types.is_struct(kind):
            for i in range(kind.num_fields):
                yield from inside(kind.field(i).type, f"{path}.{kind.field(i).name}")

    for each in schema:
        yield from inside(each.type, each.name)


def _walk(node: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every field of a schema JSON by its dotted path; list elements and map parts as fields of their own."""
    kind = node.get("type")
    if kind == "struct":
        for each in node["fields"]:
            inner = f"{path}.{each['name']}" if path else each["name"]
            yield inner, each
            if isinstance(each["type"], dict):
                yield from _walk(each["type"], inner)
        return
    parts = ("element",) if kind == "list" else ("key", "value")
    for part in parts:
        inner = f"{path}.{part}"
        yield inner, {"id": node[f"{part}-id"], "type": node[part]}
        if isinstance(node[part], dict):
            yield from _walk(node[part], inner)


def _struct_fields(
    fields: list[pa.Field], path: str, old_path: str, known: Mapping[str, Json], ids: _Ids
) -> list[Json]:
    made = []
    olds = []
    for each in fields:  # ids of this level before those inside, as Iceberg numbers them
        here = f"{path}.{each.name}" if path else each.name
        old = ids.renames.get(here) or (f"{old_path}.{each.name}" if old_path else each.name)
        before = known.get(old) if here in ids.renames or old not in ids.used else None
        if before is not None and not _continues(before["type"], each.type):
            before = None
        out: Json = {"id": before["id"] if before else ids.fresh(), "name": each.name}
        out["required"] = not each.nullable
        doc = ids.docs.get(here) or (before or {}).get("doc")
        if doc:
            out["doc"] = doc
        made.append(out)
        olds.append((here, old if before else "\0"))
    for out, each, (here, old) in zip(made, fields, olds, strict=True):
        out["type"] = _type(each.type, here, old, known, ids)
    return made


def _continues(before: Json, now: pa.DataType) -> bool:
    """Whether a field of that type may go on as the same field: both plain, or nested in the same way."""
    from pyarrow import types

    kind = before["type"] if isinstance(before, dict) else "plain"
    if types.is_struct(now):
        return bool(kind == "struct")
    if types.is_map(now):
        return bool(kind == "map")
    return bool(kind == ("list" if types.is_list(now) else "plain"))


def _type(kind: pa.DataType, path: str, old_path: str, known: Mapping[str, Json], ids: _Ids) -> Json:
    from pyarrow import types

    if types.is_struct(kind):
        parts = [kind.field(i) for i in range(kind.num_fields)]
        return {"type": "struct", "fields": _struct_fields(parts, path, old_path, known, ids)}
    if types.is_list(kind):
        element = known.get(f"{old_path}.element")
        same = element is not None and _continues(element["type"], kind.value_type)
        element_id = element["id"] if element and same else ids.fresh()
        inner = _type(kind.value_type, f"{path}.element", f"{old_path}.element" if same else "\0", known, ids)
        return {"type": "list", "element-id": element_id, "element-required": False, "element": inner}
    if types.is_map(kind):
        out: Json = {"type": "map"}
        inners: Json = {}
        for part, part_kind in (("key", kind.key_type), ("value", kind.item_type)):
            before = known.get(f"{old_path}.{part}")
            same = before is not None and _continues(before["type"], part_kind)
            out[f"{part}-id"] = before["id"] if before and same else ids.fresh()
            inners[part] = (part_kind, f"{old_path}.{part}" if same else "\0")
        for part, (part_kind, old) in inners.items():
            out[part] = _type(part_kind, f"{path}.{part}", old, known, ids)
        return {**out, "value-required": False}
    return plain_type(kind)


def plain_type(kind: pa.DataType) -> str:
    """Iceberg's name of a storable type that is not nested."""
    import pyarrow as pa
    from pyarrow import types

    if isinstance(kind, pa.BaseExtensionType):
        return "uuid"
    if types.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    if types.is_fixed_size_binary(kind):
        return f"fixed[{kind.byte_width}]"
    if types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamptz"
    for name, plain in _plain_types().items():
        if plain == kind:
            return name
    raise AssertionError(kind)


@cache
def _plain_types() -> dict[str, pa.DataType]:
    import pyarrow as pa

    return {
        "boolean": pa.bool_(),
        "int": pa.int32(),
        "long": pa.int64(),
        "float": pa.float32(),
        "double": pa.float64(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", "UTC"),
        "string": pa.string(),
        "uuid": pa.uuid(),
        "binary": pa.binary(),
    }


def arrow_schema(schema: Json, *, ids: bool = False) -> pa.Schema:
    """The Arrow schema that a table of an Iceberg schema is read as.

    Args:
        schema: An Iceberg schema's JSON value.
        ids: Whether fields carry their ids as Parquet wants them; otherwise there is no metadata.

    Raises:
        LakeError: a type that only format version 3 has.
    """
    import pyarrow as pa

    return pa.schema([_arrow_field(each, ids) for each in schema["fields"]])


def _arrow_field(node: Json, ids: bool) -> pa.Field:
    return _field(node["name"], node["type"], node["id"], ids, required=node["required"])


def _field(name: str, kind: Json, field_id: int, ids: bool, *, required: bool) -> pa.Field:
    import pyarrow as pa

    metadata = {FIELD_ID: str(field_id).encode()} if ids else None
    return pa.field(name, _arrow_type(kind, ids), nullable=not required, metadata=metadata)


def _arrow_type(kind: Json, ids: bool) -> pa.DataType:
    import pyarrow as pa

    if isinstance(kind, dict):
        if kind["type"] == "struct":
            return pa.struct([_arrow_field(each, ids) for each in kind["fields"]])
        if kind["type"] == "list":
            required = kind["element-required"]
            return pa.list_(_field("element", kind["element"], kind["element-id"], ids, required=required))
        key = _field("key", kind["key"], kind["key-id"], ids, required=True)
        value = _field("value", kind["value"], kind["value-id"], ids, required=kind["value-required"])
        return pa.map_(key, value)
    if plain := _plain_types().get(kind):
        return plain
    if found := _DECIMAL.fullmatch(kind):
        return pa.decimal128(int(found[1]), int(found[2]))
    if found := _FIXED.fullmatch(kind):
        return pa.binary(int(found[1]))
    raise LakeError(f"the type {kind!r} is not one of Iceberg's format version 2")


def form_of(schema: Json) -> str:
    """A digest of what files written with the schema look like: columns in their order, ids and types."""
    found = json.dumps(_bare(schema["fields"]), separators=(",", ":"))
    return hashlib.sha256(found.encode()).hexdigest()[:16]


def _bare(node: Json) -> Json:
    if isinstance(node, list):
        return [_bare(each) for each in node]
    if isinstance(node, dict):
        return {
            name: _bare(each)
            for name, each in sorted(node.items())
            if not name.endswith("required") and name != "doc"
        }
    return node


def field_ids(schema: Json) -> dict[str, int]:
    """Dotted path → field id, for every field at any depth."""
    return {path: each["id"] for path, each in _walk(schema)}


@dataclass(frozen=True)
class Leaf:
    """A column of a Parquet file: its field id, its Iceberg type, and whether it is a column of the table itself."""

    field_id: int
    kind: str
    top: bool


def leaves(schema: Json) -> list[Leaf]:
    """The Parquet columns that data of the schema is laid out in, in their order."""
    return [
        Leaf(each["id"], each["type"], any(each is field for field in schema["fields"]))
        for _, each in _walk(schema)
        if not isinstance(each["type"], dict)
    ]


def name_mapping(schema: Json) -> list[Json]:
    """Iceberg's name mapping, by which files without field ids can be read."""

    def one(name: str, field_id: int, kind: Json) -> Json:
        out: Json = {"field-id": field_id, "names": [name]}
        if isinstance(kind, dict):
            if kind["type"] == "struct":
                out["fields"] = name_mapping(kind)
            else:
                parts = ("element",) if kind["type"] == "list" else ("key", "value")
                out["fields"] = [one(part, kind[f"{part}-id"], kind[part]) for part in parts]
        return out

    return [one(each["name"], each["id"], each["type"]) for each in schema["fields"]]
