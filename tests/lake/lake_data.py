"""Tables that several tests of the lake use."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid

import pyarrow as pa

NAN = float("nan")


def every_type() -> pa.Table:
    """One column of each type that is stored as it is, with nulls, extremes and nested values."""
    long_text = "ü" * 40
    struct = pa.struct(
        [("n", pa.int32()), ("in", pa.struct([("s", pa.string()), ("tags", pa.list_(pa.string()))]))]
    )
    uuids = [uuid.UUID(int=0).bytes, None, uuid.UUID(int=2**128 - 1).bytes]
    return pa.table(
        {
            "flag": pa.array([True, None, False]),
            "small": pa.array([-(2**31), None, 2**31 - 1], pa.int32()),
            "large": pa.array([-(2**63), None, 2**63 - 1], pa.int64()),
            "single": pa.array([-1.5, None, NAN], pa.float32()),
            "double": pa.array([float("-inf"), None, 1e308], pa.float64()),
            "money": pa.array(
                [decimal.Decimal("-1.25"), None, decimal.Decimal("9999999.99")], pa.decimal128(9, 2)
            ),
            "wide": pa.array(
                [decimal.Decimal(10**37), None, decimal.Decimal(-(10**37))], pa.decimal128(38, 0)
            ),
            "text": pa.array(["", None, long_text], pa.string()),
            "blob": pa.array([b"", None, b"\xff" * 40], pa.binary()),
            "code": pa.array([b"\0\0\0\0", None, b"abcd"], pa.binary(4)),
            "day": pa.array([dt.date(1, 1, 1), None, dt.date(9999, 12, 31)], pa.date32()),
            "clock": pa.array([dt.time(0), None, dt.time(23, 59, 59, 999999)], pa.time64("us")),
            "local": pa.array([-(2**62), None, 2**62], pa.timestamp("us")),
            "instant": pa.array([-(2**62), None, 2**62], pa.timestamp("us", "UTC")),
            "id": pa.ExtensionArray.from_storage(pa.uuid(), pa.array(uuids, pa.binary(16))),
            "list": pa.array([[], None, [1, None]], pa.list_(pa.int64())),
            "lists": pa.array([[[1], []], None, [None]], pa.list_(pa.list_(pa.int32()))),
            "struct": pa.array(
                [{"n": 1, "in": {"s": "a", "tags": ["x", None]}}, None, {"n": None, "in": None}], struct
            ),
            "map": pa.array([[("a", 1), ("b", None)], None, []], pa.map_(pa.string(), pa.int64())),
            "structs": pa.array([[{"n": 1, "in": None}], None, []], pa.list_(struct)),
            "empty": pa.array([None, None, None], pa.string()),
        }
    )


def numbers(rows: int, start: int = 0) -> pa.Table:
    """Rows of an ascending id, a text and a float."""
    ids = range(start, start + rows)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "name": pa.array([f"name {i % 97}" for i in ids], pa.string()),
            "value": pa.array([i * 0.5 for i in ids], pa.float64()),
        }
    )


def plain(table: pa.Table) -> list[dict[str, object]]:
    """The rows as Python values that compare: NaN as text, timestamps (which Python may not hold) as numbers."""
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.timestamp("us")).cast(pa.int64()))
    return [
        {name: "nan" if isinstance(value, float) and value != value else value for name, value in row.items()}
        for row in table.to_pylist()
    ]
