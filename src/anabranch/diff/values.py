"""How a value of a table becomes a plain JSON value that can be shown, and a name becomes SQL.

Whatever a table holds must be showable: NaN, a year beyond 9999, bytes, a text of ten megabytes.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from typing import Any

MAX_TEXT = 2_000
MAX_ITEMS = 100


def identifier(name: str) -> str:
    """The name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def plain(scalar: Any) -> Any:
    """An Arrow scalar as plain JSON: numbers, booleans and text as they are; decimals, times and ids as text; bytes as
    ``0x…``; what JSON lacks (NaN, infinities) as text; lists, structs and maps as lists and objects, each cut where it
    gets too long to look at.
    """
    import pyarrow as pa

    if not scalar.is_valid:
        return None
    kind = scalar.type
    if pa.types.is_struct(kind):
        # By position: a struct may have two fields of one name.
        values = [scalar[index] for index in range(kind.num_fields)]
        return {kind.field(index).name: plain(value) for index, value in enumerate(values)}
    if pa.types.is_map(kind):
        entries = scalar.values
        return _cut(
            [{"key": plain(entry[0]), "value": plain(entry[1])} for entry in entries[: MAX_ITEMS + 1]],
            entries,
        )
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        items = scalar.values
        return _cut([plain(item) for item in items[: MAX_ITEMS + 1]], items)
    try:
        value = scalar.as_py()
    except (OverflowError, ValueError):
        # A time that neither Python's own types nor Arrow's text can hold.
        unit = "days" if pa.types.is_date(kind) else kind.unit
        return f"{scalar.value:,} {unit} since 1970-01-01"
    return plain_python(value)


def plain_python(value: Any) -> Any:
    """The same for a Python value that is no container."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        shown = value[: MAX_TEXT // 2].hex()
        return f"0x{shown}" if len(value) <= MAX_TEXT // 2 else f"0x{shown}… ({len(value):,} bytes)"
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta | decimal.Decimal | uuid.UUID):
        return str(value)
    return _text(str(value))


def _text(text: str) -> str:
    # A lone surrogate can't be written as UTF-8, so it can't be shown either.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text):,} characters)"


def _cut(shown: list[Any], whole: Any) -> list[Any]:
    more = len(whole) - MAX_ITEMS
    return shown if more <= 0 else [*shown[:MAX_ITEMS], f"… ({more:,} more)"]
