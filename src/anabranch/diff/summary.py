"""What a person wants to know of a table's change: its schema, its rows, and how its columns look on either side.

Equal versions are equal data, so they cost nothing: neither file is opened. This module knows tables by their handles
alone; which tables to compare, and under which names, is its caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from anabranch.dataclass import dataclass, field
from anabranch.diff.engine import Engine, open_engine
from anabranch.diff.rows import RowsDiff, compare_rows, one_sided_rows
from anabranch.diff.schema import SchemaDiff, compare_schemas
from anabranch.diff.sides import Side, Sides, TableLike, open_sides, whole_side
from anabranch.diff.values import plain
from anabranch.errors import LakeError

State = Literal["same", "added", "removed", "changed"]


@dataclass(frozen=True)
class ColumnSummary:
    """One column of one side at a glance.

    Attributes:
        name: The column.
        type: Its Arrow type as text.
        rows: Rows looked at: those of the data files that the two sides do not share.
        nulls: How many of them are null.
        approx_distinct: About how many different values there are (HyperLogLog: a few per cent off).
        min: Least value as plain JSON; None for nested types and where there is no value.
        max: Greatest value, likewise.
        mean: Arithmetic mean of a numeric column; None for any other, and where it is not finite.
    """

    name: str
    type: str
    rows: int
    nulls: int
    approx_distinct: int
    min: Any
    max: Any
    mean: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "type": self.type,
            "rows": self.rows,
            "nulls": self.nulls,
            "approx_distinct": self.approx_distinct,
            "min": self.min,
            "max": self.max,
            "mean": self.mean,
        }


@dataclass(frozen=True)
class SummaryPair:
    """A column's summary on both sides; None where the side, or the column on it, is missing."""

    name: str
    left: ColumnSummary | None
    right: ColumnSummary | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "left": None if self.left is None else self.left.to_dict(),
            "right": None if self.right is None else self.right.to_dict(),
        }


@dataclass(frozen=True)
class TableDiff:
    """What changed in one asset.

    Attributes:
        key: The asset's key.
        kind: table or file.
        state: same, added (only on the right), removed (only on the left) or changed.
        left_version: Content version on the left, or None.
        right_version: Content version on the right, or None.
        left_rows: Rows on the left, or None; None for files.
        right_rows: Rows on the right, or None; None for files.
        schema: What changed in the schema; None for files.
        rows: What changed in the rows; None if the versions are equal, and for files.
        summaries: Columns at a glance.
        partitions: Which partitions differ, of how many; empty where the table has none.
        note: A sentence about how it was compared, where that is not obvious; else empty.
        left_bytes: Size on the left of a file, or None.
        right_bytes: Size on the right of a file, or None.
    """

    key: str
    kind: Literal["table", "file"]
    state: State
    left_version: str | None = None
    right_version: str | None = None
    left_rows: int | None = None
    right_rows: int | None = None
    schema: SchemaDiff | None = None
    rows: RowsDiff | None = None
    summaries: tuple[SummaryPair, ...] = ()
    note: str = ""
    partitions: str = ""
    left_bytes: int | None = None
    right_bytes: int | None = None

    @property
    def changed(self) -> bool:
        """Whether the two sides are not the same."""
        return self.state != "same"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "key": self.key,
            "kind": self.kind,
            "state": self.state,
            "left_version": self.left_version,
            "right_version": self.right_version,
            "partitions": self.partitions or None,
            "left_rows": self.left_rows,
            "right_rows": self.right_rows,
            "left_bytes": self.left_bytes,
            "right_bytes": self.right_bytes,
            "schema": None if self.schema is None else self.schema.to_dict(),
            "rows": None if self.rows is None else self.rows.to_dict(),
            "summaries": [pair.to_dict() for pair in self.summaries],
            "note": self.note,
        }


@dataclass(frozen=True)
class Diff:
    """What changed between two refs.

    Attributes:
        left: The ref before.
        right: The ref after.
        tables: One per asset that was compared, changed or not.
    """

    left: str
    right: str
    tables: tuple[TableDiff, ...] = field(default=())

    @property
    def changed(self) -> list[TableDiff]:
        """Those that are not the same."""
        return [table for table in self.tables if table.changed]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "left": self.left,
            "right": self.right,
            "changed": [table.key for table in self.changed],
            "tables": [table.to_dict() for table in self.tables],
        }


def diff_tables(
    key: str,
    left: TableLike | None,
    right: TableLike | None,
    *,
    key_columns: Sequence[str] = (),
    samples: int = 5,
    summaries: bool | Literal["all"] = True,
    memory_limit: str | None = None,
    temp_directory: Path | None = None,
    threads: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> TableDiff:
    """Compares two states of one table, exactly.

    Args:
        key: The asset's key.
        left: The table before; None if it was not there.
        right: The table after; None if it is gone.
        key_columns: The columns that identify a row, as the right side names them. Without any, or where one of them is
            not on both sides, rows are compared as a multiset: nothing is *changed*, only added and removed.
        samples: At most how many rows of each kind (changed, removed, added) are shown.
        summaries: False for none, True for the columns that changed, "all" for all.
        memory_limit: DuckDB's, such as ``2GB``; what does not fit is spilled.
        temp_directory: Where it is spilled, in a folder that is removed at the end.
        threads: How many; as many as there are cores if None.
        on_progress: Called with the share that is done, 0 to 1, at most some times a second.

    Raises:
        ValueError: Both sides are None.
        LakeError: A table's files can't be read or contradict its metadata, or the memory does not suffice.
        MissingFileError: A data file that must be read is gone.
    """
    if left is None and right is None:
        raise ValueError(f"nothing to compare: {key} is on neither side")
    schema = compare_schemas(
        *((left.schema, left.field_ids) if left is not None else (_no_schema(), {})),
        *((right.schema, right.field_ids) if right is not None else (_no_schema(), {})),
    )
    facts = _Facts(
        left.version if left is not None else None,
        right.version if right is not None else None,
        left.rows if left is not None else None,
        right.rows if right is not None else None,
    )
    if left is not None and right is not None and left.version == right.version:
        return facts.diff(key, "same", schema)
    with (
        _told_as_ours(key),
        open_engine(
            memory_limit=memory_limit, temp_directory=temp_directory, threads=threads, on_progress=on_progress
        ) as engine,
    ):
        engine.stage(0.0, 0.9 if summaries else 1.0)
        if left is None or right is None:
            present = right if right is not None else left
            assert present is not None
            side = whole_side(engine, present)
            rows = one_sided_rows(
                engine, side, present, added=right is not None, key_columns=key_columns, samples=samples
            )
            engine.stage(0.9, 1.0)
            pairs = _one_sided_summaries(engine, side, present, right is not None) if summaries else ()
            engine.tell(1.0)
            return facts.diff(key, "added" if left is None else "removed", schema, rows, pairs)
        sides = open_sides(engine, left, right)
        rows = compare_rows(engine, sides, left, right, key_columns=key_columns, samples=samples)
        engine.stage(0.9, 1.0)
        wanted = None if summaries == "all" else _columns_of_interest(schema, rows)
        pairs = _summaries(engine, sides, left, right, wanted) if summaries else ()
        engine.tell(1.0)
        return facts.diff(key, "changed", schema, rows, pairs, _note(key_columns, left, right, rows))


def diff_files(key: str, left: tuple[str, int] | None, right: tuple[str, int] | None) -> TableDiff:
    """Compares two states of one file asset by version alone.

    Args:
        key: The asset's key.
        left: Version and bytes before; None if it was not there.
        right: Version and bytes after; None if it is gone.

    Raises:
        ValueError: Both sides are None.
    """
    if left is None and right is None:
        raise ValueError(f"nothing to compare: {key} is on neither side")
    state: State = "changed"
    if left is None:
        state = "added"
    elif right is None:
        state = "removed"
    elif left[0] == right[0]:
        state = "same"
    return TableDiff(
        key,
        "file",
        state,
        left_version=left[0] if left else None,
        right_version=right[0] if right else None,
        left_bytes=left[1] if left else None,
        right_bytes=right[1] if right else None,
    )


@contextmanager
def _told_as_ours(key: str) -> Iterator[None]:
    """What DuckDB can't do becomes an error that names the table."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        reason = str(error).partition("\n")[0]
        short = isinstance(error, duckdb.OutOfMemoryException)
        raise LakeError(
            f"{key} can't be compared: {reason}",
            hint="give the comparison more memory or disk" if short else "is one of its data files damaged?",
            key=key,
        ) from error


@dataclass(frozen=True)
class _Facts:
    """What metadata alone says of both sides."""

    left_version: str | None
    right_version: str | None
    left_rows: int | None
    right_rows: int | None

    def diff(
        self,
        key: str,
        state: State,
        schema: SchemaDiff,
        rows: RowsDiff | None = None,
        summaries: Sequence[SummaryPair] = (),
        note: str = "",
    ) -> TableDiff:
        return TableDiff(
            key,
            "table",
            state,
            self.left_version,
            self.right_version,
            self.left_rows,
            self.right_rows,
            schema,
            rows,
            tuple(summaries),
            note,
        )


def _no_schema() -> Any:
    import pyarrow as pa

    return pa.schema([])


def _note(key_columns: Sequence[str], left: TableLike, right: TableLike, rows: RowsDiff) -> str:
    if key_columns and not rows.keyed:
        missing = [
            name for name in key_columns if name not in right.schema.names or name not in left.schema.names
        ]
        return f"the key column {', '.join(missing or key_columns)} is not on both sides, so rows were compared without a key"
    if rows.duplicates_left or rows.duplicates_right:
        told = [
            f"{count:,} {'row' if count == 1 else 'rows'} {where}"
            for count, where in ((rows.duplicates_left, "before"), (rows.duplicates_right, "after"))
            if count
        ]
        return f"the key is not unique ({' and '.join(told)} beyond the first); such keys were compared as multisets"
    return ""


def _columns_of_interest(schema: SchemaDiff, rows: RowsDiff) -> set[str]:
    """Columns, by their right name or else their left one, that changed in value or in kind."""
    names = set(rows.by_column) | {field.name for field in (*schema.added, *schema.removed)}
    return names | {new.name for _, new in schema.retyped}


def _summaries(
    engine: Engine, sides: Sides, left: TableLike, right: TableLike, wanted: Collection[str] | None
) -> tuple[SummaryPair, ...]:
    columns: list[tuple[str, int | None, int | None]] = []
    matched = {pair.right_index: pair.left_index for pair in sides.pairs}
    for index, name in enumerate(right.schema.names):
        columns.append((name, matched.get(index), index))
    gone = set(range(len(left.schema.names))) - set(matched.values())
    columns += [(left.schema.names[index], index, None) for index in sorted(gone)]
    if wanted is not None:
        columns = [column for column in columns if column[0] in wanted]
    lefts = _summarize(engine, sides.left, left, [index for _, index, _ in columns if index is not None])
    rights = _summarize(engine, sides.right, right, [index for _, _, index in columns if index is not None])
    return tuple(
        SummaryPair(
            name,
            lefts.get(before) if before is not None else None,
            rights.get(after) if after is not None else None,
        )
        for name, before, after in columns
    )


def _one_sided_summaries(
    engine: Engine, side: Side, table: TableLike, added: bool
) -> tuple[SummaryPair, ...]:
    found = _summarize(engine, side, table, range(len(table.schema.names)))
    return tuple(
        SummaryPair(one.name, None if added else one, one if added else None) for one in found.values()
    )


def _summarize(
    engine: Engine, side: Side, table: TableLike, indexes: Sequence[int]
) -> dict[int, ColumnSummary]:
    if side.relation is None or not indexes:
        return {}
    select = ["count(*)"]
    for index in indexes:
        ordered, numeric = _traits(table.schema.field(index).type)
        column = f"a{index}"
        select += [f"count({column})", f"approx_count_distinct({column})"]
        select += [f"min({column})", f"max({column})"] if ordered else ["NULL", "NULL"]
        select.append(f"avg(CAST({column} AS DOUBLE))" if numeric else "NULL")
    answer = engine.table(f"SELECT {', '.join(select)} FROM {side.relation} AS t")
    values = [answer.column(number)[0] for number in range(len(select))]
    rows = int(values[0].as_py())
    result = {}
    for number, index in enumerate(indexes):
        count, distinct, least, greatest, mean = values[1 + 5 * number : 6 + 5 * number]
        average = plain(mean)
        result[index] = ColumnSummary(
            name=table.schema.names[index],
            type=str(table.schema.field(index).type),
            rows=rows,
            nulls=rows - int(count.as_py()),
            approx_distinct=int(distinct.as_py()),
            min=plain(least),
            max=plain(greatest),
            mean=average if isinstance(average, float) else None,
        )
    return result


def _traits(kind: Any) -> tuple[bool, bool]:
    """Whether a type has a least and a greatest value, and whether it has a mean."""
    from pyarrow import types

    numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    return not types.is_nested(kind), bool(numeric)
