"""Reading a Parquet file as a table sees it today: by field id, whatever the file's columns were called or typed then.

pyiceberg has a reader that does this, but it turns null lists of structs into empty ones, which would give one table two
versions. Columns that the file lacks are null; numbers are widened as Iceberg allows. Source: the Iceberg table
specification, "Column projection" and "Schema evolution". Knows nothing of delete files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anabranch.lake.arrow import convert, list_offsets, null_mask
from anabranch.lake.fields import FIELD_ID, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import dataset

    from anabranch.lake.storage import Storage

Json = Any


class LacksColumnError(Exception):
    """The file lacks a column whose value only its partition says."""


def open_fragment(storage: Storage, path: str) -> dataset.Fragment:
    """A Parquet file that is opened when it is asked."""
    import pyarrow.dataset as ds

    options = ds.ParquetFragmentScanOptions(pre_buffer=True, arrow_extensions_enabled=True)
    filesystem, place = storage.filesystem(path)
    return ds.ParquetFileFormat(default_fragment_scan_options=options).make_fragment(place, filesystem)


def scan_file(
    storage: Storage,
    path: str,
    schema: Json,
    columns: Sequence[str],
    *,
    mapping: Sequence[Json] = (),
    supplied: Collection[int] = (),
) -> Iterator[pa.RecordBatch]:
    """The rows of one Parquet file under a table's current schema, in order, as a stream.

    Args:
        storage: Where to read.
        path: The file.
        schema: The table's current Iceberg schema.
        columns: Names of the columns wanted.
        mapping: The table's name mapping, for a file whose columns have no ids.
        supplied: Ids of the columns whose values the file's partition holds, should the file lack them.

    Raises:
        OSError: the file can't be read.
        LacksColumnError: such a column is missing.
        UnstorableError: a value does not fit the column's type of today.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    fragment = open_fragment(storage, path)
    physical = with_ids(fragment.physical_schema, mapping)
    places = {_id(field): position for position, field in enumerate(physical)}
    full = arrow_schema(schema, ids=True)
    target = [full.field(name) for name in columns]
    present = [field for field in target if _id(field) in places]
    if any(_id(field) in supplied and _id(field) not in places for field in target):
        raise LacksColumnError(path)
    names = [physical.field(places[_id(field)]).name for field in present]
    scanner = ds.Scanner.from_fragment(
        fragment, schema=fragment.physical_schema, columns=names, batch_readahead=4
    )
    for batch in scanner.to_batches():
        found = iter(batch.columns)
        arrays = [
            _project(next(found), physical.field(places[_id(field)]).type, field.type, field.name)
            if _id(field) in places
            else pa.nulls(batch.num_rows, field.type)
            for field in target
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=pa.schema(target))


def is_plain_file(storage: Storage, path: str, schema: Json) -> bool:
    """Whether a file's columns are those of the schema, in ids, names, order and types, so that any engine may read it.

    What Arrow distinguishes and Parquet does not (``string`` and ``large_string``) makes no difference.
    """
    from anabranch.lake.canonical import canonical_schema

    physical = open_fragment(storage, path).physical_schema
    wanted = arrow_schema(schema, ids=True)
    return (
        physical.names == wanted.names
        and _all_ids(physical) == _all_ids(wanted)
        and bool(canonical_schema(physical).equals(canonical_schema(wanted)))
    )


def with_ids(physical: pa.Schema, mapping: Sequence[Json]) -> pa.Schema:
    """A file's schema with the ids that a name mapping gives, where the file itself has none."""
    import pyarrow as pa

    if any(_id(field) is not None for field in physical):
        return physical
    return pa.schema([_mapped(field, mapping) for field in physical])


def _mapped(field: pa.Field, mapping: Sequence[Json]) -> pa.Field:
    import pyarrow as pa
    from pyarrow import types

    found = next((each for each in mapping if field.name in each["names"]), None)
    inner = (found or {}).get("fields", ())
    kind = field.type
    if types.is_struct(kind):
        kind = pa.struct([_mapped(kind.field(i), inner) for i in range(kind.num_fields)])
    elif types.is_map(kind):
        key, value = kind.key_field.with_name("key"), kind.item_field.with_name("value")
        kind = pa.map_(_mapped(key, inner), _mapped(value, inner))
    elif types.is_list(kind) or types.is_large_list(kind):
        element = _mapped(kind.value_field.with_name("element"), inner)
        kind = pa.list_(element) if types.is_list(kind) else pa.large_list(element)
    field_id = (found or {}).get("field-id")
    metadata: Mapping[bytes, bytes] | None = None if field_id is None else {FIELD_ID: str(field_id).encode()}
    return pa.field(field.name, kind, nullable=field.nullable, metadata=metadata)


def _id(field: pa.Field) -> int | None:
    text = (field.metadata or {}).get(FIELD_ID)
    return None if text is None else int(text)


def _all_ids(node: Any) -> list[Any]:
    """The ids of all fields, nested as the fields are."""
    fields = list(node) if hasattr(node, "names") else [node.field(i) for i in range(node.num_fields)]
    return [[_id(field), _all_ids(field.type)] for field in fields]


def _project(array: pa.Array, given: pa.DataType, target: pa.DataType, path: str) -> pa.Array:
    """One column of a file as a column of the table; ``given`` is its type with the ids of what it holds."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_struct(target):
        places = {_id(given.field(i)): i for i in range(given.num_fields)}
        parts = []
        for field in (target.field(i) for i in range(target.num_fields)):
            place = places.get(_id(field))
            inner = f"{path}.{field.name}"
            parts.append(
                pa.nulls(len(array), field.type)
                if place is None
                else _project(array.field(place), given.field(place).type, field.type, inner)
            )
        fields = [target.field(i) for i in range(target.num_fields)]
        return pa.StructArray.from_arrays(parts, fields=fields, mask=null_mask(array))
    if types.is_list(target):
        values = _project(array.flatten(), given.value_type, target.value_type, f"{path}.element")
        return pa.ListArray.from_arrays(list_offsets(array), values, type=target, mask=null_mask(array))
    if types.is_map(target):
        entries = array.cast(pa.list_(pa.struct([array.type.key_field, array.type.item_field])))
        flat = entries.flatten()
        keys = _project(flat.field(0), given.key_type, target.key_type, f"{path}.key")
        values = _project(flat.field(1), given.item_type, target.item_type, f"{path}.value")
        return pa.MapArray.from_arrays(
            list_offsets(entries), keys, values, type=target, mask=null_mask(array)
        )
    return convert(array, target, path)
