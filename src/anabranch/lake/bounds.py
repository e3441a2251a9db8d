"""Which data files may hold a key, told from the bounds in the manifests, so that the others are not opened.

Knows Iceberg's bounds (specification, "Appendix D: Single-value serialization") and Arrow columns; knows nothing of
where files are. Where a bound is missing, or of a type whose order engines do not agree on, a file may hold any key.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from anabranch.lake import manifest

if TYPE_CHECKING:
    import pyarrow as pa

Json = Any
_NUMBERS = {"int": "<i", "date": "<i", "long": "<q", "time": "<q", "timestamp": "<q", "timestamptz": "<q"}


class KeyBounds:
    """The keys that are looked for, column by column, in order.

    Args:
        keys: The key columns of the rows that are looked for.
        schema: The table's Iceberg schema.
    """

    def __init__(self, keys: pa.Table, schema: Json) -> None:
        fields = {field["name"]: field for field in schema["fields"]}
        self._columns: list[tuple[int, _Column]] = []
        for name in keys.schema.names:
            kind = fields[name]["type"]
            if isinstance(kind, str) and (kind in _NUMBERS or kind in ("string", "binary")):
                self._columns.append((fields[name]["id"], _Column(keys.column(name), kind)))
        self._empty = keys.num_rows == 0

    def may_be_in(self, entry: manifest.Entry) -> bool:
        """Whether a data file may hold one of the keys."""
        if self._empty:
            return False
        file = entry["data_file"]
        lower, upper = _by_id(file.get("lower_bounds")), _by_id(file.get("upper_bounds"))
        return all(
            column.any_within(lower.get(field_id), upper.get(field_id)) for field_id, column in self._columns
        )


def _by_id(pairs: Sequence[Json] | None) -> dict[int, bytes]:
    return {pair["key"]: bytes(pair["value"]) for pair in pairs or ()}


class _Column:
    def __init__(self, values: pa.ChunkedArray, kind: str) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        # Iceberg orders texts by their bytes, and times by their number.
        if kind in ("string", "binary"):
            plain = values.cast(pa.large_binary())
            self._decode: Callable[[bytes], Any] = bytes
        else:
            width = pa.int32() if kind in ("int", "date") else pa.int64()
            plain = values if values.type == width else values.cast(width)
            self._decode = lambda raw: struct.unpack(
                _NUMBERS[kind][0] + ("i" if len(raw) == 4 else "q"), raw
            )[0]
        flat = plain.combine_chunks()
        flat = flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat
        self._sorted = flat.take(pc.array_sort_indices(flat))

    def any_within(self, lower: bytes | None, upper: bytes | None) -> bool:
        """Whether one of the values lies between the bounds, which count as well."""
        if lower is None and upper is None:
            return True
        at = 0
        if lower is not None:
            least = self._decode(lower)
            at = bisect_left(range(len(self._sorted)), least, key=self._value)
        if at == len(self._sorted):
            return False
        return upper is None or bool(self._value(at) <= self._decode(upper))

    def _value(self, at: int) -> Any:
        return self._sorted[at].as_py()
