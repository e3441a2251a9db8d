"""What a table can hold: which Arrow types Iceberg stores exactly, which are widened without loss, and which are refused.

Nothing is coerced in silence. Either a value comes back as it went in (in a type at least as wide), or writing it is an
`UnstorableError` that names the column. Knows Arrow; knows nothing of files.

==========================================================  ========================================================
stored as it is                                             bool, int32, int64, float32, float64, decimal128, string,
                                                            binary, fixed-size binary, date32, time64[us],
                                                            timestamp[us], timestamp[us, UTC], uuid, list, struct, map
widened, or decoded                                         what `canonical.canonical_schema` lists, and arrow.json
exact only for some values, and checked                     timestamp[ns] and time64[ns] (whole microseconds),
                                                            decimal256 (38 digits), timestamp[s|ms] (in range)
refused                                                     uint64, float16, duration, interval, null, a time zone other
                                                            than UTC, other extension types, union, empty struct
==========================================================  ========================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from anabranch.errors import UnstorableError
from anabranch.lake.canonical import MAX_DECIMAL128, canonical_type, is_any_list

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

UTC_NAMES = frozenset(
    {"UTC", "Etc/UTC", "+00:00", "Z", "Zulu", "Etc/Zulu", "UCT", "Etc/UCT", "Universal", "GMT"}
)


def integers(values: npt.NDArray[Any]) -> pa.Array:
    """An array over numpy's own memory, of int32 or int64.

    As `pyarrow.array`, which loads pandas first where it is installed: that takes half a second.
    """
    import numpy as np
    import pyarrow as pa

    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def storable_schema(schema: pa.Schema) -> pa.Schema:
    """The schema that data of the given one is stored and read back with: exact types, no metadata.

    A field that is declared not to be null stays so.

    Raises:
        UnstorableError: there is no column, a name is empty or given twice, or a type can't be held exactly.
    """
    import pyarrow as pa

    if not len(schema):
        raise UnstorableError("a table without columns can't be stored", hint="give it at least one column")
    fields = [pa.field(f.name, _storable_type(f.type, f.name), nullable=f.nullable) for f in schema]
    seen: set[str] = set()
    for path in (path for field in fields for path in _paths(field, field.name)):
        if path in seen:
            raise UnstorableError(
                f"two columns are named {path!r}", hint="rename or drop one of them", column=path
            )
        seen.add(path)
    return pa.schema(fields)


def _paths(field: pa.Field, path: str) -> Iterator[str]:
    """The dotted names by which Iceberg knows a field and what it holds."""
    from pyarrow import types

    if not path or path.endswith("."):
        raise UnstorableError("a column has no name", hint="name every column", column=path)
    yield path
    kind = field.type
    if types.is_struct(kind):
        for i in range(kind.num_fields):
            yield from _paths(kind.field(i), f"{path}.{kind.field(i).name}")
    elif types.is_map(kind):
        yield from _paths(kind.key_field, f"{path}.key")
        yield from _paths(kind.item_field, f"{path}.value")
    elif types.is_list(kind):
        yield from _paths(kind.value_field, f"{path}.element")


def _storable_type(kind: pa.DataType, path: str) -> pa.DataType:
    import pyarrow as pa
    from pyarrow import types

    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name not in ("arrow.uuid", "arrow.json"):
            raise _refused(path, kind, "convert the column to its plain values")
        return canonical_type(kind, path)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _storable_type(kind.value_type, path)
    if types.is_struct(kind):
        if kind.num_fields == 0:
            raise _refused(path, kind, "a struct needs at least one field; drop the column")
        parts = [kind.field(i) for i in range(kind.num_fields)]
        return pa.struct(
            [pa.field(f.name, _storable_type(f.type, f"{path}.{f.name}"), nullable=f.nullable) for f in parts]
        )
    if types.is_map(kind):
        value = pa.field("value", _storable_type(kind.item_type, f"{path}.value"))
        return pa.map_(pa.field("key", _storable_type(kind.key_type, f"{path}.key"), nullable=False), value)
    if is_any_list(kind):
        return pa.list_(pa.field("element", _storable_type(kind.value_type, f"{path}.element")))
    hint = _reason_to_refuse(kind)
    if hint is not None:
        raise _refused(path, kind, hint)
    return canonical_type(kind, path)


def _reason_to_refuse(kind: pa.DataType) -> str | None:
    """A hint what to do about a plain type that Iceberg can't hold, or None."""
    from pyarrow import types

    if types.is_uint64(kind):
        return "cast it to int64, or to decimal(20, 0) if values go beyond 9223372036854775807"
    if types.is_float16(kind):
        return "cast it to float32, which holds every half-precision number"
    if types.is_duration(kind):
        return "store it as a number of microseconds (int64)"
    if types.is_interval(kind):
        return "store its parts as numbers"
    if types.is_null(kind):
        return "every value is null: give the column a type, such as string"
    if types.is_timestamp(kind) and kind.tz is not None and kind.tz not in UTC_NAMES:
        return "only instants in UTC are stored: convert the time zone to UTC, and keep its name in a column if needed"
    if types.is_decimal(kind) and (kind.precision > MAX_DECIMAL128 or kind.scale < 0):
        return "decimals have at most 38 digits and no negative scale"
    if types.is_fixed_size_binary(kind) and kind.byte_width == 0:
        return "it holds nothing; drop the column"
    return None


def _refused(path: str, kind: pa.DataType, hint: str) -> UnstorableError:
    return UnstorableError(
        f"the column {path} has the type {kind}, which a table can't hold exactly",
        hint=hint,
        column=path,
        type=str(kind),
    )


def conform(batch: pa.RecordBatch, target: pa.Schema) -> pa.RecordBatch:
    """The batch with the target's types, column by column in order; the same buffers where nothing differs.

    Args:
        batch: Data whose schema `storable_schema` accepts and maps to the target (or to narrower types).
        target: A storable schema with as many columns.

    Raises:
        UnstorableError: a value has no exact counterpart; the message has the column's dotted path and the value.
    """
    import pyarrow as pa

    columns = []
    for field, column in zip(target, batch.columns, strict=True):
        converted = convert(column, field.type, field.name)
        if not field.nullable and converted.null_count:
            raise UnstorableError(
                f"the column {field.name} is declared not to be null and has {converted.null_count} nulls",
                hint="fill the nulls, or declare the column nullable",
                column=field.name,
            )
        columns.append(converted)
    return pa.RecordBatch.from_arrays(columns, schema=target)


def convert(array: pa.Array, target: pa.DataType, path: str) -> pa.Array:
    """One array with the target's type. Raises UnstorableError."""
    import pyarrow as pa
    from pyarrow import compute

    if array.type.equals(target, check_metadata=False) and _same_names(array.type, target):
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    try:
        if isinstance(target, pa.BaseExtensionType):
            return pa.ExtensionArray.from_storage(target, convert(_storage(array), target.storage_type, path))
        plain = _storage(array)
        if pa.types.is_run_end_encoded(plain.type):
            plain = compute.run_end_decode(plain)
        elif pa.types.is_dictionary(plain.type):
            plain = plain.dictionary_decode()
        if pa.types.is_struct(target):
            return _convert_struct(plain, target, path)
        if pa.types.is_list(target):
            return _convert_list(plain, target, path)
        if pa.types.is_map(target):
            return _convert_map(plain, target, path)
        return _cast(plain, target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        value = _first_lost(array, target)
        raise UnstorableError(
            f"the column {path} of type {array.type} can't be stored as {target}"
            + (f": the value {value} would be changed" if value is not None else f": {error}"),
            hint="round to whole microseconds, or cast the column yourself"
            if pa.types.is_temporal(target)
            else "cast the column yourself",
            column=path,
            value=None if value is None else str(value),
        ) from error


def _storage(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _same_names(left: pa.DataType, right: pa.DataType) -> bool:
    """Whether nested fields agree in what Arrow's equality passes over: the name of a list's field, nullability."""
    if left.num_fields == 0:
        return True
    return all(
        a.name == b.name and a.nullable == b.nullable and _same_names(a.type, b.type)
        for a, b in ((left.field(i), right.field(i)) for i in range(left.num_fields))
    )


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    import pyarrow as pa

    large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    if large and len(array) and array.offset:
        array = pa.concat_arrays([array.slice(0, 0), array])  # offsets of a late slice may not fit 32 bits
    return array.cast(target)


def null_mask(array: pa.Array) -> pa.Array | None:
    """Which values are null, as Arrow's constructors want it; None where none is."""
    return array.is_null() if array.null_count else None


def _convert_struct(array: pa.Array, target: pa.DataType, path: str) -> pa.Array:
    import pyarrow as pa

    parts = [
        convert(array.field(i), target.field(i).type, f"{path}.{target.field(i).name}")
        for i in range(target.num_fields)
    ]
    # array.field applies the slice, not the nulls of the struct: those come back with the mask
    fields = [target.field(i) for i in range(target.num_fields)]
    return pa.StructArray.from_arrays(parts, fields=fields, mask=null_mask(array))


def _convert_list(array: pa.Array, target: pa.DataType, path: str) -> pa.Array:
    import pyarrow as pa

    values = convert(array.flatten(), target.value_type, f"{path}.element")
    return pa.ListArray.from_arrays(list_offsets(array), values, type=target, mask=null_mask(array))


def _convert_map(array: pa.Array, target: pa.DataType, path: str) -> pa.Array:
    import pyarrow as pa

    entries = array.cast(pa.list_(pa.struct([array.type.key_field, array.type.item_field])))
    flat = entries.flatten()
    keys = convert(flat.field(0), target.key_type, f"{path}.key")
    values = convert(flat.field(1), target.item_type, f"{path}.value")
    return pa.MapArray.from_arrays(list_offsets(entries), keys, values, type=target, mask=null_mask(array))


def list_offsets(array: pa.Array) -> pa.Array:
    """Offsets into ``array.flatten()`` by which the lists can be put together again, starting at 0."""
    import pyarrow as pa
    from pyarrow import compute

    lengths = compute.fill_null(compute.list_value_length(array).cast(pa.int64()), 0)
    ends = compute.cumulative_sum(lengths).cast(pa.int32())
    offsets = pa.concat_arrays([pa.nulls(1, pa.int32()).fill_null(0), ends])
    # Without the validity buffer, which says nothing and which older pyarrow refuses beside a mask.
    return pa.Array.from_buffers(pa.int32(), len(offsets), [None, offsets.buffers()[1]])


def _first_lost(array: pa.Array, target: pa.DataType) -> Any:
    """The first value that a cast would change, written out; None where there is none of that kind."""
    import pyarrow as pa
    from pyarrow import compute

    kind = array.type
    if not (pa.types.is_temporal(kind) and pa.types.is_temporal(target)):
        return None
    if getattr(kind, "unit", None) == "ns":
        raw = array.cast(pa.int64())
        back = compute.multiply(compute.divide(raw, 1000), 1000)
        lost = compute.index(compute.not_equal(raw, back), value=True).as_py()
        return None if lost < 0 else array[lost].cast(pa.string())
    return None
