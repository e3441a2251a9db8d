"""What changed in schema and data between two refs. Importing this is cheap; Arrow and DuckDB are loaded at the first diff."""

from anabranch.diff.rows import RowSample, RowsDiff
from anabranch.diff.schema import Field, SchemaDiff, compare_schemas
from anabranch.diff.summary import ColumnSummary, Diff, SummaryPair, TableDiff, diff_files, diff_tables

__all__ = [
    "ColumnSummary",
    "Diff",
    "Field",
    "RowSample",
    "RowsDiff",
    "SchemaDiff",
    "SummaryPair",
    "TableDiff",
    "compare_schemas",
    "diff_files",
    "diff_tables",
]
