"""Iceberg manifests: which files a table has, how many rows and nulls each holds, and between which bounds.

Written and read without pyiceberg, for the sake of start-up and of small tables (`avro.py`); the figures are those that
pyiceberg would write, and a test holds them to that. Source: the Iceberg table specification, version 2, "Manifests" and
"Appendix D: Single-value serialization". Knows nothing of refs or of where a table's files belong.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass
from anabranch.lake import avro
from anabranch.lake.fields import Leaf

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

Json = Any
Entry = dict[str, Any]
ADDED, EXISTING, DELETED = 1, 0, 2
DATA = 0
_BOUND = 16  # characters of a text, or bytes of a binary, that a bound keeps


def _field(field_id: int, name: str, kind: Json) -> Json:
    return {"name": name, "type": kind, "field-id": field_id}


def _optional(field_id: int, name: str, kind: Json) -> Json:
    return {"name": name, "type": ["null", kind], "default": None, "field-id": field_id}


def _map(key_id: int, value_id: int, value: str) -> Json:
    fields = [_field(key_id, "key", "int"), _field(value_id, "value", value)]
    record = {"type": "record", "name": f"k{key_id}_v{value_id}", "fields": fields}
    return {"type": "array", "logicalType": "map", "items": record}


def _array(element_id: int, kind: str) -> Json:
    return {"type": "array", "element-id": element_id, "items": kind}


def _record(name: str, fields: list[Json]) -> Json:
    return {"type": "record", "name": name, "fields": fields}


def _data_file(partition: list[Json]) -> Json:
    return _record(
        "r2",
        [
            _field(102, "partition", _record("r102", partition)) if each is None else each
            for each in _DATA_FILE
        ],
    )


_DATA_FILE: list[Json] = [
    _field(134, "content", "int"),
    _field(100, "file_path", "string"),
    _field(101, "file_format", "string"),
    None,  # the partition
    _field(103, "record_count", "long"),
    _field(104, "file_size_in_bytes", "long"),
    _optional(108, "column_sizes", _map(117, 118, "long")),
    _optional(109, "value_counts", _map(119, 120, "long")),
    _optional(110, "null_value_counts", _map(121, 122, "long")),
    _optional(137, "nan_value_counts", _map(138, 139, "long")),
    _optional(125, "lower_bounds", _map(126, 127, "bytes")),
    _optional(128, "upper_bounds", _map(129, 130, "bytes")),
    _optional(131, "key_metadata", "bytes"),
    _optional(132, "split_offsets", _array(133, "long")),
    _optional(135, "equality_ids", _array(136, "int")),
    _optional(140, "sort_order_id", "int"),
]


def _entry(partition: list[Json]) -> Json:
    return _record(
        "manifest_entry",
        [
            _field(0, "status", "int"),
            _optional(1, "snapshot_id", "long"),
            _optional(3, "sequence_number", "long"),
            _optional(4, "file_sequence_number", "long"),
            _field(2, "data_file", _data_file(partition)),
        ],
    )


_SUMMARY = _record(
    "r508",
    [
        _field(509, "contains_null", "boolean"),
        _optional(518, "contains_nan", "boolean"),
        _optional(510, "lower_bound", "bytes"),
        _optional(511, "upper_bound", "bytes"),
    ],
)
_LISTED = _record(
    "manifest_file",
    [
        _field(500, "manifest_path", "string"),
        _field(501, "manifest_length", "long"),
        _field(502, "partition_spec_id", "int"),
        _field(517, "content", "int"),
        _field(515, "sequence_number", "long"),
        _field(516, "min_sequence_number", "long"),
        _field(503, "added_snapshot_id", "long"),
        _field(504, "added_files_count", "int"),
        _field(505, "existing_files_count", "int"),
        _field(506, "deleted_files_count", "int"),
        _field(512, "added_rows_count", "long"),
        _field(513, "existing_rows_count", "long"),
        _field(514, "deleted_rows_count", "long"),
        _optional(507, "partitions", {"type": "array", "element-id": 508, "items": _SUMMARY}),
        _optional(519, "key_metadata", "bytes"),
    ],
)


_LIST = avro.Schema(_LISTED)


@cache
def _entries(partition: tuple[tuple[int, str, str], ...]) -> avro.Schema:
    """The schema of a manifest whose partitions have these fields: id, name and Iceberg type."""
    return avro.Schema(
        _entry([_optional(number, name, _avro_type(kind)) for number, name, kind in partition])
    )


def _avro_type(kind: str) -> Json:
    if kind == "date":
        return {"type": "int", "logicalType": "date"}
    return kind


def _names(*records: Json) -> dict[int, str]:
    return {each["field-id"]: each["name"] for record in records for each in record["fields"]}


_ENTRY_NAMES = _names(_entry([]), _data_file([]))
_LISTED_NAMES = _names(_LISTED, _SUMMARY)
LISTED_FIELDS = _LISTED["fields"]
_COUNTS = ("added_files_count", "existing_files_count", "added_rows_count", "existing_rows_count")


@dataclass(frozen=True)
class Partitioning:
    """A partition spec as manifests need it.

    Attributes:
        spec: The spec's JSON value.
        types: The Iceberg type of each field's values.
    """

    spec: Json
    types: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[tuple[int, str, str], ...]:
        """Of each field the id, the name that Avro takes, and the type."""
        pairs = zip(self.spec["fields"], self.types, strict=True)
        return tuple((each["field-id"], _avro_name(each["name"]), kind) for each, kind in pairs)

    def record(self, values: Sequence[Any]) -> dict[str, Any]:
        """The partition of a data file."""
        return {name: value for (_, name, _), value in zip(self.fields, values, strict=True)}

    def summaries(self, all_values: Sequence[Sequence[Any]]) -> list[Json]:
        """Of each field what a manifest's row says of the values in it."""
        found = []
        for at, kind in enumerate(self.types):
            values = [each[at] for each in all_values if each[at] is not None]
            found.append(
                {
                    "contains_null": len(values) < len(all_values),
                    "contains_nan": False,
                    "lower_bound": _single(kind, min(values)) if values else None,
                    "upper_bound": _single(kind, max(values)) if values else None,
                }
            )
        return found

    def bounds(self, row: Entry) -> list[tuple[Any, Any]] | None:
        """Between which values a manifest's partitions lie, by its row in the list; None where it does not say."""
        summaries = row.get("partitions")
        if not summaries or len(summaries) != len(self.types):
            return None
        found = []
        for kind, each in zip(self.types, summaries, strict=True):
            lower, upper = each.get("lower_bound"), each.get("upper_bound")
            if each["contains_null"] or lower is None or upper is None or kind not in (*_INTEGERS, "string"):
                return None
            found.append((_read(kind, lower), _read(kind, upper)))
        return found

    def may_hold(self, row: Entry, wanted: Iterable[Sequence[Any]]) -> bool:
        """Whether a manifest may have files of one of these partitions, by its row in the list."""
        bounds = self.bounds(row)
        if bounds is None:
            return True
        return any(
            all(lower <= value <= upper for value, (lower, upper) in zip(each, bounds, strict=True))
            for each in wanted
        )


def values_of(entry: Entry) -> tuple[Any, ...]:
    """What the partition of a data file holds, in the order of the spec's fields."""
    return tuple((entry["data_file"].get("partition") or {}).values())


_INTEGERS = {"int": "<i", "date": "<i", "long": "<q"}


def _single(kind: str, value: Any) -> bytes:
    return struct.pack(_INTEGERS[kind], value) if kind in _INTEGERS else value.encode()


def _read(kind: str, raw: bytes) -> Any:
    return struct.unpack(_INTEGERS[kind], raw)[0] if kind in _INTEGERS else raw.decode()


def _avro_name(name: str) -> str:
    """A name as Avro allows them, as Iceberg's own writer changes them."""
    made = "".join(
        each if each == "_" or (each.isascii() and each.isalnum()) else f"_x{ord(each):X}" for each in name
    )
    return f"_{made}" if made[:1].isdigit() else made


def encode_manifest(
    entries: Sequence[Entry],
    *,
    schema: Json,
    partitioning: Partitioning,
    path: str,
    snapshot_id: int,
    sequence_number: int,
) -> tuple[bytes, Entry]:
    """A manifest of data files, and its row for the manifest list.

    Args:
        entries: What `added_entry` returns, or entries of other manifests with status ``EXISTING`` and all numbers set.
        schema: The table's Iceberg schema.
        partitioning: The partition spec that all of them are of.
        path: Where the manifest will be.
        snapshot_id: The snapshot that writes it.
        sequence_number: The snapshot's.
    """
    spec_id = partitioning.spec["spec-id"]
    data = avro.encode(
        _entries(partitioning.fields),
        entries,
        {
            "schema": json.dumps(schema),
            "schema-id": str(schema["schema-id"]),
            "partition-spec": json.dumps(partitioning.spec["fields"]),
            "partition-spec-id": str(spec_id),
            "format-version": "2",
            "content": "data",
        },
    )
    added = [entry["data_file"]["record_count"] for entry in entries if entry["status"] == ADDED]
    kept = [entry["data_file"]["record_count"] for entry in entries if entry["status"] == EXISTING]
    numbers = [entry["sequence_number"] for entry in entries if entry["status"] == EXISTING]
    return data, {
        "manifest_path": path,
        "manifest_length": len(data),
        "partition_spec_id": spec_id,
        "content": DATA,
        "sequence_number": sequence_number,
        "min_sequence_number": min(numbers + [sequence_number] * bool(added)),
        "added_snapshot_id": snapshot_id,
        "added_files_count": len(added),
        "existing_files_count": len(kept),
        "deleted_files_count": 0,
        "added_rows_count": sum(added),
        "existing_rows_count": sum(kept),
        "deleted_rows_count": 0,
        "partitions": partitioning.summaries([values_of(entry) for entry in entries])
        if partitioning.types
        else None,
    }


def encode_manifest_list(manifests: Iterable[Entry], *, snapshot_id: int, sequence_number: int) -> bytes:
    """A manifest list: one row a manifest."""
    header = {
        "snapshot-id": str(snapshot_id),
        "parent-snapshot-id": "null",
        "sequence-number": str(sequence_number),
        "format-version": "2",
    }
    return avro.encode(_LIST, manifests, header)


_STATISTICS = (
    "column_sizes",
    "value_counts",
    "null_value_counts",
    "nan_value_counts",
    "lower_bounds",
    "upper_bounds",
    "split_offsets",
)


def decode_manifest_list(data: bytes) -> list[Entry]:
    """The rows of a manifest list, whoever wrote it. Raises AvroError."""
    rows, _ = avro.decode(data, _LISTED_NAMES)
    for row in rows:  # what a list of format version 1 lacks
        for name in ("content", "sequence_number", "min_sequence_number", *_COUNTS):
            row[name] = row.get(name) or 0
    return rows


def decode_manifest(data: bytes, listed: Entry, *, statistics: bool = True) -> list[Entry]:
    """The entries of a manifest that are alive, with the numbers that they inherit from its row in the list.

    Args:
        data: The manifest.
        listed: Its row in the list.
        statistics: Whether what is known of the files' columns is wanted, most of what a manifest holds.

    Raises:
        AvroError: see `avro.decode`.
    """
    entries, _ = avro.decode(data, _ENTRY_NAMES, () if statistics else _STATISTICS)
    alive = [entry for entry in entries if entry["status"] != DELETED]
    for entry in alive:
        if entry.get("snapshot_id") is None:
            entry["snapshot_id"] = listed["added_snapshot_id"]
        for name in ("sequence_number", "file_sequence_number"):
            if entry.get(name) is None:
                entry[name] = listed["sequence_number"]
        entry["data_file"]["content"] = entry["data_file"].get("content") or DATA
    return alive


def added_entry(
    path: str,
    size: int,
    footer: FileMetaData,
    columns: Sequence[Leaf],
    nans: Mapping[int, int],
    snapshot_id: int,
) -> Entry:
    """A manifest's entry for a Parquet file that was just written.

    Args:
        path: Where the file is.
        size: Its bytes.
        footer: Its Parquet metadata.
        columns: What `fields.leaves` returns.
        nans: Field id → how many NaN the file holds, for columns of floats.
        snapshot_id: The snapshot that adds it.
    """
    sizes: dict[int, int] = {}
    values: dict[int, int] = {}
    nulls: dict[int, int] = {}
    bounds: dict[int, list[tuple[Any, Any]] | None] = {}
    offsets = []
    for group in (footer.row_group(i) for i in range(footer.num_row_groups)):
        first = group.column(0)
        offsets.append(first.dictionary_page_offset if first.has_dictionary_page else first.data_page_offset)
        for position, leaf in enumerate(columns):
            chunk = group.column(position)
            name = leaf.field_id
            sizes[name] = sizes.get(name, 0) + chunk.total_compressed_size
            values[name] = values.get(name, 0) + chunk.num_values
            found = chunk.statistics
            if found is None or not found.has_null_count:
                nulls[name] = -1 << 62
                bounds[name] = None
                continue
            nulls[name] = nulls.get(name, 0) + found.null_count
            seen = bounds.setdefault(name, [])
            if seen is not None and found.has_min_max:
                seen.append((found.min_raw, found.max_raw))
            elif leaf.kind not in ("float", "double") and found.null_count < chunk.num_values:
                bounds[name] = None  # there are values (other than NaN), and nobody says between which
    lower, upper = _bounds(columns, bounds)
    return {
        "status": ADDED,
        "snapshot_id": snapshot_id,
        "data_file": {
            "content": DATA,
            "file_path": path,
            "file_format": "PARQUET",
            "partition": {},
            "record_count": footer.num_rows,
            "file_size_in_bytes": size,
            "column_sizes": _pairs(sizes),
            "value_counts": _pairs(values),
            "null_value_counts": _pairs({name: count for name, count in nulls.items() if count >= 0}),
            "nan_value_counts": _pairs(nans),
            "lower_bounds": _pairs(lower),
            "upper_bounds": _pairs(upper),
            "split_offsets": sorted(offsets),
        },
    }


def _pairs(values: Mapping[int, Any]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in sorted(values.items())]


def _bounds(
    columns: Sequence[Leaf], found: Mapping[int, list[tuple[Any, Any]] | None]
) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Lower and upper bounds by field id. Columns inside lists, maps and structs have none, as in pyiceberg.

    Nor have UUIDs, since engines do not agree on their order.
    """
    lower: dict[int, bytes] = {}
    upper: dict[int, bytes] = {}
    for leaf in columns:
        pairs = found.get(leaf.field_id)
        if not leaf.top or not pairs or leaf.kind == "uuid":
            continue
        if leaf.kind.startswith("decimal"):
            pairs = [(_unscaled(low), _unscaled(high)) for low, high in pairs]
        smallest, greatest = min(low for low, _ in pairs), max(high for _, high in pairs)
        if leaf.kind == "string" and not (_is_text(smallest) and _is_text(greatest)):
            continue
        lower[leaf.field_id] = _serialize(leaf.kind, _cut(leaf.kind, smallest))
        if (above := _cut_above(leaf.kind, greatest)) is not None:
            upper[leaf.field_id] = _serialize(leaf.kind, above)
    return lower, upper


_FORMATS = {
    "boolean": "<?",
    "int": "<i",
    "date": "<i",
    "long": "<q",
    "time": "<q",
    "timestamp": "<q",
    "timestamptz": "<q",
    "float": "<f",
    "double": "<d",
}


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unscaled(raw: int | bytes) -> int:
    return raw if isinstance(raw, int) else int.from_bytes(raw, "big", signed=True)


def _serialize(kind: str, value: Any) -> bytes:
    if kind in _FORMATS:
        return struct.pack(_FORMATS[kind], value)
    if isinstance(value, int):  # a decimal: the shortest two's complement
        magnitude = value if value >= 0 else ~value
        return value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)
    return bytes(value)


def _cut(kind: str, value: Any) -> Any:
    """A value at or below a least value, short enough for a manifest."""
    if kind == "string":
        return value.decode()[:_BOUND].encode()
    return value[:_BOUND] if kind == "binary" else value


def _cut_above(kind: str, value: Any) -> Any | None:
    """A value at or above a greatest value, short enough for a manifest; None where there is none."""
    if kind == "string":
        text = value.decode()
        if len(text) <= _BOUND:
            return value
        for last in range(_BOUND - 1, -1, -1):
            code = ord(text[last]) + 1
            code = 0xE000 if 0xD800 <= code <= 0xDFFF else code
            if code <= 0x10FFFF:
                return (text[:last] + chr(code)).encode()
        return None
    if kind == "binary" and len(value) > _BOUND:
        for last in range(_BOUND - 1, -1, -1):
            if value[last] < 0xFF:
                return value[:last] + bytes([value[last] + 1])
        return None
    return value
