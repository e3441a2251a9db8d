"""Avro container files, as far as Iceberg's manifests need them: one codec of a hundred lines.

pyiceberg has its own, behind an import of half a second and several milliseconds a file. A step that writes a table of
ten rows in a process of its own would spend most of its time there. Knows Avro 1.11; knows nothing of Iceberg but the
``field-id`` that it puts on fields.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from typing import Any

_MAGIC = b"Obj\x01"
_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")

Json = Any
Write = Callable[[bytearray, Any], None]
Read = Callable[["_Cursor"], Any]


class AvroError(ValueError):
    """The bytes are no Avro file that can be read here."""


class Schema:
    """A schema to write by, a record, as a JSON value; what is worked out of it is kept."""

    def __init__(self, value: Json) -> None:
        self.value = value

    @cached_property
    def text(self) -> str:
        return json.dumps(self.value, separators=(",", ":"))

    @cached_property
    def write(self) -> Write:
        return _writer(self.value)


def encode(schema: Schema, records: Iterable[Mapping[str, Any]], metadata: Mapping[str, str]) -> bytes:
    """An Avro container file of one deflated block.

    Args:
        schema: The schema of the records.
        records: Field name → value; a field that is absent is null.
        metadata: What goes to the file's header beside the schema and the codec.
    """
    write = schema.write
    body = bytearray()
    count = 0
    for record in records:
        write(body, record)
        count += 1
    out = bytearray(_MAGIC)
    header = {"avro.schema": schema.text, "avro.codec": "deflate", **metadata}
    _write_long(out, len(header))
    for key, value in header.items():
        _write_bytes(out, key.encode())
        _write_bytes(out, value.encode())
    out.append(0)
    sync = os.urandom(16)
    out += sync
    if count:
        packed = zlib.compress(bytes(body), 6, -15)
        _write_long(out, count)
        _write_bytes(out, packed)
        out += sync
    return bytes(out)


def decode(
    data: bytes, names: Mapping[int, str] | None = None, without: Collection[str] = ()
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The records and the header of an Avro container file.

    Args:
        data: The whole file.
        names: Field id → the name under which a field is returned, whatever name the file's writer gave it.
        without: Names of fields, wherever they stand, that are passed over and not returned.

    Raises:
        AvroError: this is no Avro file, or its blocks are packed by another codec than ``null`` and ``deflate``.
    """
    if data[:4] != _MAGIC:
        raise AvroError("no Avro file")
    cursor = _Cursor(data, 4)
    try:
        header = {key: value.decode() for key, value in _read_map(cursor)}
        codec = header.get("avro.codec", "null")
        if codec not in ("null", "deflate"):
            raise AvroError(f"blocks packed by {codec}")
        read = _reader(json.loads(header["avro.schema"]), names or {}, frozenset(without))
        sync = cursor.take(16)
        records: list[dict[str, Any]] = []
        while cursor.at < len(data):
            count = cursor.long()
            block = cursor.take(cursor.long())
            inner = _Cursor(zlib.decompress(block, -15) if codec == "deflate" else block)
            records.extend(read(inner) for _ in range(count))
            if cursor.take(16) != sync:
                raise AvroError("a block without its end mark")
    except (IndexError, KeyError, struct.error, zlib.error) as error:
        raise AvroError(f"broken Avro file: {error}") from error
    return records, header


class _Cursor:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def long(self) -> int:
        """A zigzag varint."""
        data, at = self.data, self.at
        byte = data[at]
        value, shift = byte & 0x7F, 7
        while byte & 0x80:
            at += 1
            byte = data[at]
            value |= (byte & 0x7F) << shift
            shift += 7
        self.at = at + 1
        return (value >> 1) ^ -(value & 1)

    def take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if size < 0 or self.at > len(self.data):
            raise AvroError("the file ends too early")
        return self.data[start : self.at]


def _write_long(out: bytearray, value: int) -> None:
    if 0 <= value < 64:  # most of them: ids, counts, lengths
        out.append(value << 1)
        return
    value = (value << 1) ^ (value >> 63)
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _write_bytes(out: bytearray, value: bytes | bytearray) -> None:
    _write_long(out, len(value))
    out += value


def _writer(schema: Json) -> Write:
    """A function that appends one value of the schema."""
    if isinstance(schema, list):  # a union of null and one other type is all that Iceberg has
        null = schema.index("null")
        other = 1 - null
        write = _writer(schema[other])

        def union(out: bytearray, value: Any) -> None:
            _write_long(out, null if value is None else other)
            if value is not None:
                write(out, value)

        return union
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, dict | list):
        return _writer(kind)
    if kind == "record":
        fields = [(field["name"], _writer(field["type"])) for field in schema["fields"]]

        def record(out: bytearray, value: Any) -> None:
            for name, field in fields:
                field(out, value.get(name))

        return record
    if kind == "array":
        item = _writer(schema["items"])

        def array(out: bytearray, value: Any) -> None:
            if value:
                inside = bytearray()
                for each in value:
                    item(inside, each)
                # A count below zero says that the size follows, by which a reader passes over what it does not want.
                _write_long(out, -len(value))
                _write_bytes(out, inside)
            out.append(0)

        return array
    return _WRITERS[kind]


_WRITERS: dict[str, Write] = {
    "int": _write_long,
    "long": _write_long,
    "boolean": lambda out, value: out.append(1 if value else 0),
    "string": lambda out, value: _write_bytes(out, value.encode()),
    "bytes": _write_bytes,
}


def _reader(schema: Json, names: Mapping[int, str], without: frozenset[str]) -> Read:
    """A function that reads one value of the schema."""
    if isinstance(schema, list):
        branches = [_reader(branch, names, without) for branch in schema]
        return lambda cursor: branches[cursor.long()](cursor)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, dict | list):
        return _reader(kind, names, without)
    if kind == "record":
        named = [
            (names.get(field.get("field-id"), field["name"]), field["type"]) for field in schema["fields"]
        ]
        if without.isdisjoint(name for name, _ in named):
            fields = [(name, _reader(inner, names, without)) for name, inner in named]
            return lambda cursor: {name: field(cursor) for name, field in fields}
        steps = [
            (None, _skipper(inner)) if name in without else (name, _reader(inner, names, without))
            for name, inner in named
        ]

        def some(cursor: _Cursor) -> dict[str, Any]:
            found = {}
            for name, step in steps:
                value = step(cursor)
                if name is not None:
                    found[name] = value
            return found

        return some
    if kind == "array":
        item = _reader(schema["items"], names, without)
        return lambda cursor: [item(cursor) for _ in _counted(cursor)]
    if kind == "map":
        values = _reader(schema["values"], names, without)
        return lambda cursor: {cursor.take(cursor.long()).decode(): values(cursor) for _ in _counted(cursor)}
    if kind == "fixed":
        size = schema["size"]
        return lambda cursor: cursor.take(size)
    if kind == "enum":
        symbols = schema["symbols"]
        return lambda cursor: symbols[cursor.long()]
    if kind not in _READERS:
        raise AvroError(f"unknown type {kind!r}")
    return _READERS[kind]


def _skipper(schema: Json) -> Read:
    """A function that passes over one value of the schema."""
    if isinstance(schema, list):
        branches = [_skipper(branch) for branch in schema]
        return lambda cursor: branches[cursor.long()](cursor)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(kind, dict | list):
        return _skipper(kind)
    if kind not in ("array", "map"):
        return _reader(schema, {}, frozenset())
    inner = _skipper(schema["items" if kind == "array" else "values"])

    def skip(cursor: _Cursor) -> None:
        while count := cursor.long():
            if count < 0:
                cursor.take(cursor.long())
                continue
            for _ in range(count):
                if kind == "map":
                    cursor.take(cursor.long())
                inner(cursor)

    return skip


_READERS: dict[str, Read] = {
    "null": lambda _: None,
    "int": _Cursor.long,
    "long": _Cursor.long,
    "boolean": lambda cursor: cursor.take(1) == b"\x01",
    "string": lambda cursor: cursor.take(cursor.long()).decode(),
    "bytes": lambda cursor: cursor.take(cursor.long()),
    "float": lambda cursor: _FLOAT.unpack(cursor.take(4))[0],
    "double": lambda cursor: _DOUBLE.unpack(cursor.take(8))[0],
}


def _counted(cursor: _Cursor) -> Iterable[int]:
    """Steps through an array's or a map's blocks; the caller reads one item a step."""
    while count := cursor.long():
        if count < 0:
            count = -count
            cursor.long()  # the block's size in bytes
        yield from range(count)


def _read_map(cursor: _Cursor) -> list[tuple[str, bytes]]:
    return [(cursor.take(cursor.long()).decode(), cursor.take(cursor.long())) for _ in _counted(cursor)]
