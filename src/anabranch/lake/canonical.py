"""The one name of a type, whatever library the data came from, so that the same data has the same schema.

The lake widens without loss what Iceberg has no type for (an ``int16`` is stored as an ``int32``, a dictionary of strings
as strings). A content version must not tell these apart: data before it is written, the table read back and the same
data from another library are one content. Knows Arrow's types; knows nothing of values, files or Iceberg.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, Any

from anabranch.errors import UnstorableError

if TYPE_CHECKING:
    import pyarrow as pa

MAX_DECIMAL128 = 38
"""Digits that a decimal of 128 bits holds; more need 256."""


def canonical_schema(schema: pa.Schema) -> pa.Schema:
    """The schema after the lake's lossless widening, every field nullable and without metadata.

    =====================================================  =========================
    given                                                  canonical
    =====================================================  =========================
    int8, int16, uint8, uint16                             int32
    uint32                                                 int64
    decimal32, decimal64, decimal256 of up to 38 digits    decimal128
    large_string, string_view                              string
    large_binary, binary_view                              binary
    dictionary, run-end encoded                            the type of its values
    large_list, list_view, fixed-size list                 list (its field: ``element``)
    map                                                    map (keys never claimed sorted)
    timestamp of any unit                                  timestamp[us]
    timestamp of any unit and zone                         timestamp[us, UTC]
    date64                                                 date32
    time32, time64                                         time64[us]
    an extension type other than ``arrow.uuid``            its storage type
    anything else                                          itself
    =====================================================  =========================

    Raises:
        UnstorableError: a column is a union or of a type that Arrow added since; the message has its dotted path.
    """
    import pyarrow as pa

    return pa.schema([pa.field(field.name, canonical_type(field.type, field.name)) for field in schema])


def canonical_type(kind: pa.DataType, path: str) -> pa.DataType:
    """As `canonical_schema`, for one type; path is the dotted path that an error names."""
    import pyarrow as pa
    from pyarrow import types

    simple = _simple_types().get(kind.id)
    if simple is not None:
        return simple
    if isinstance(kind, pa.BaseExtensionType):
        return kind if kind.extension_name == "arrow.uuid" else canonical_type(kind.storage_type, path)
    if types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz is not None else None)
    if types.is_decimal(kind):
        make = pa.decimal128 if kind.precision <= MAX_DECIMAL128 else pa.decimal256
        return make(kind.precision, kind.scale)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return canonical_type(kind.value_type, path)
    if types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return pa.struct([pa.field(f.name, canonical_type(f.type, f"{path}.{f.name}")) for f in fields])
    if types.is_map(kind):
        key = canonical_type(kind.key_type, f"{path}.key")
        return pa.map_(key, canonical_type(kind.item_type, f"{path}.value"))
    if is_any_list(kind):
        return pa.list_(pa.field("element", canonical_type(kind.value_type, f"{path}.element")))
    if types.is_fixed_size_binary(kind) or types.is_duration(kind):
        return kind
    raise UnstorableError(
        f"the column {path} has the type {kind}, which a table can't hold",
        hint="convert the column to a plain type, or leave it out",
        column=path,
    )


def is_any_list(kind: pa.DataType) -> bool:
    """Whether kind is one of Arrow's lists; a map is none."""
    from pyarrow import types

    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def schema_digest(schema: pa.Schema) -> str:
    """16 hexadecimal digits: the head of the SHA-256 of the names and canonical types of the columns, in their order.

    What is hashed is the JSON text (ASCII, no spaces) of ``["ab1", [[name, type], ...]]`` with this file's own names of
    types, so that no library's way of printing a type is part of it.

    Raises:
        UnstorableError: as `canonical_schema`.
    """
    columns = [[field.name, _name(field.type)] for field in canonical_schema(schema)]
    text = json.dumps(["ab1", columns], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def _name(kind: pa.DataType) -> Any:
    """The JSON value that stands for a canonical type."""
    import pyarrow as pa
    from pyarrow import types

    plain = _plain_names().get(kind.id)
    if plain is not None:
        return plain
    if types.is_struct(kind):
        return {"struct": [[kind.field(i).name, _name(kind.field(i).type)] for i in range(kind.num_fields)]}
    if types.is_map(kind):
        return {"map": [_name(kind.key_type), _name(kind.item_type)]}
    if types.is_list(kind):
        return {"list": _name(kind.value_type)}
    if types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamptz"
    if types.is_fixed_size_binary(kind):
        return f"fixed({kind.byte_width})"
    if types.is_duration(kind):
        return f"duration({kind.unit})"
    assert isinstance(kind, pa.BaseExtensionType)
    return "uuid"


@cache
def _simple_types() -> dict[int, pa.DataType]:
    """Canonical types of those without parameters that count."""
    import pyarrow as pa

    widened = {
        pa.int32(): [pa.int8(), pa.int16(), pa.uint8(), pa.uint16()],
        pa.int64(): [pa.uint32()],
        pa.string(): [pa.large_string(), pa.string_view()],
        pa.binary(): [pa.large_binary(), pa.binary_view()],
        pa.date32(): [pa.date64()],
        pa.time64("us"): [pa.time32("s")],
    }
    kept = [pa.null(), pa.bool_(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()]
    known = {kind.id: kind for kind in [*kept, pa.month_day_nano_interval(), *widened]}
    return known | {narrow.id: wide for wide, narrows in widened.items() for narrow in narrows}


@cache
def _plain_names() -> dict[int, str]:
    import pyarrow as pa

    return {
        pa.null().id: "null",
        pa.bool_().id: "bool",
        pa.int32().id: "int32",
        pa.int64().id: "int64",
        pa.uint64().id: "uint64",
        pa.float16().id: "float16",
        pa.float32().id: "float32",
        pa.float64().id: "float64",
        pa.string().id: "string",
        pa.binary().id: "binary",
        pa.date32().id: "date",
        pa.time64("us").id: "time",
        pa.month_day_nano_interval().id: "interval",
    }
