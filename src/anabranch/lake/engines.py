"""What other libraries have for our tables: pandas and polars frames, SQL names, pyiceberg's filters and manifests.

Apart from `read.py`, which decides what is read, so that each library's peculiarities stand in one place. Knows values;
knows nothing of where a table is.
"""

# `filter` is the word that pyarrow, polars and DuckDB use.
# ruff: noqa: A002

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from anabranch.errors import LakeError
from anabranch.lake import manifest

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table as IcebergTable

Filter = Any
"""A pyiceberg row filter as text (``"delay > 60 and carrier = 'AA'"``) or expression, or a pyarrow expression."""


def row_filter(filter: Filter) -> BooleanExpression:
    """A filter as pyiceberg's expression. Raises LakeError where it is none."""
    from pyiceberg.expressions import BooleanExpression, parser

    if isinstance(filter, BooleanExpression):
        return filter
    if not isinstance(filter, str):
        raise LakeError(
            f"a {type(filter).__name__} is no filter", hint="give text, a pyiceberg or a pyarrow expression"
        )
    try:
        parsed: BooleanExpression = parser.parse(filter)
    except Exception as error:
        raise LakeError(f"the filter {filter!r} can't be understood: {error}") from error
    return parsed


def entries_by_pyiceberg(table: IcebergTable) -> list[manifest.Entry]:
    """As `Table.entries`, for manifests that are packed in a way that is not read here."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return [
        {
            "status": int(entry.status),
            "snapshot_id": entry.snapshot_id,
            "sequence_number": entry.sequence_number,
            "file_sequence_number": entry.file_sequence_number,
            "data_file": {
                "content": int(entry.data_file.content),
                "file_format": str(entry.data_file.file_format),
                "partition": {
                    str(at): _partition_value(entry.data_file.partition[at])
                    for at in range(len(entry.data_file.partition))
                },
                "file_path": entry.data_file.file_path,
                "record_count": entry.data_file.record_count,
                "file_size_in_bytes": entry.data_file.file_size_in_bytes,
            },
        }
        for listed in snapshot.manifests(table.io)
        for entry in listed.fetch_manifest_entry(table.io)
    ]


def _partition_value(value: Any) -> Any:
    return (value - date(1970, 1, 1)).days if isinstance(value, date) else value


def manifests_by_pyiceberg(table: IcebergTable) -> list[manifest.Entry]:
    """As `Table.manifests`, for a list that is packed in a way that is not read here."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    names = [field["name"] for field in manifest.LISTED_FIELDS]
    rows = []
    for listed in snapshot.manifests(table.io):
        row = {name: getattr(listed, name) for name in names}
        row["content"] = int(row["content"])
        row["partitions"] = [
            {
                name: getattr(each, name)
                for name in ("contains_null", "contains_nan", "lower_bound", "upper_bound")
            }
            for each in row["partitions"] or []
        ]
        rows.append(row)
    return rows


def frame_of_pandas(table: pa.Table) -> pd.DataFrame:
    """See `Table.to_pandas`."""
    import pandas as pd
    import pyarrow as pa

    nullable = {
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    frame: pd.DataFrame = table.to_pandas(
        types_mapper=lambda kind: (
            pd.ArrowDtype(kind) if pa.types.is_decimal(kind) or (pa.types.is_nested(kind)) else None
        )
    )
    for position, field in enumerate(table.schema):
        kind = nullable.get(field.type)
        if kind is not None and table.column(position).null_count:
            column = table.column(position).to_pandas(types_mapper=nullable.get)
            frame.isetitem(position, column)
    return frame


def frame_of_polars(table: pa.Table) -> pl.DataFrame:
    """See `Table.to_polars`."""
    import polars as pl
    import pyarrow as pa

    for position, field in enumerate(table.schema):
        if isinstance(field.type, pa.UuidType):
            plain = table.column(position).cast(pa.binary(16)).cast(pa.binary())
            table = table.set_column(position, pa.field(field.name, pa.binary()), plain)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def quoted(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
