"""The lake's tables: one page with what upper floors use of writing, reading and Arrow's types.

Each name is defined where it is explained: `write.py` (order and durability), `read.py` (handles), `arrow.py` (which
types are stored exactly).
"""

from __future__ import annotations

from anabranch.lake.arrow import storable_schema
from anabranch.lake.engines import Filter
from anabranch.lake.read import DataFile, Table
from anabranch.lake.write import Written, append_table, write_file_asset, write_table

__all__ = [
    "DataFile",
    "Filter",
    "Table",
    "Written",
    "append_table",
    "storable_schema",
    "write_file_asset",
    "write_table",
]
