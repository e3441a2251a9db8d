"""The two sides of a comparison: which files of each have to be read, and how a pair of columns is compared in SQL.

Files that both sides list hold the same rows on both sides, so they cancel without being opened. That holds only where
a file's rows are the table's rows as they stand: no delete files, no older schema (``plain``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.dataclass import dataclass
from anabranch.diff.engine import Engine, parquet
from anabranch.diff.schema import match_columns, widens
from anabranch.diff.values import identifier
from anabranch.errors import LakeError, MissingFileError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


class FileLike(Protocol):
    """A data file of a table."""

    @property
    def path(self) -> str:
        """Absolute path or URI."""

    @property
    def rows(self) -> int:
        """Rows it holds."""


class TableLike(Protocol):
    """What a comparison needs of a table's handle."""

    @property
    def key(self) -> str:
        """The asset's key."""

    @property
    def version(self) -> str:
        """Hash of the content: equal versions mean equal data."""

    @property
    def rows(self) -> int:
        """Rows, from metadata alone."""

    @property
    def schema(self) -> pa.Schema:
        """The schema, as reads return it."""

    @property
    def field_ids(self) -> Mapping[str, int]:
        """Column name → Iceberg field id."""

    @property
    def plain(self) -> bool:
        """Whether every data file has exactly the current schema and nothing deletes rows from it."""

    def files(self) -> Sequence[FileLike]:
        """The data files, from metadata alone."""

    def create_view(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        """Makes the table readable under that name, its columns in the schema's order."""


@dataclass(frozen=True)
class Side:
    """What is read of one side.

    Attributes:
        relation: A FROM item with the columns ``a0, a1, …`` in the schema's order; None if there is nothing to read.
        types: The SQL type of each column.
        rows: Rows it holds.
        paths: The local Parquet files it consists of; None if it is read some other way.
    """

    relation: str | None
    types: tuple[str, ...]
    rows: int
    paths: tuple[str, ...] | None


@dataclass(frozen=True)
class Pair:
    """One column on both sides. `left` and `right` are SQL that makes comparable values of ``l.aN`` and ``r.aN``."""

    name: str
    left_index: int
    right_index: int
    left: str
    right: str
    same_type: bool


@dataclass(frozen=True)
class Sides:
    """Both sides, and how many rows and files they share unread."""

    left: Side
    right: Side
    pairs: tuple[Pair, ...]
    files_read: int
    files_shared: int
    rows_shared: int


def local_path(path: str) -> str | None:
    """The plain path of a local file, or None for a file that is elsewhere."""
    if path.startswith("file://"):
        from urllib.parse import unquote, urlparse

        return unquote(urlparse(path).path)
    return None if "://" in path else path


def open_sides(engine: Engine, left: TableLike, right: TableLike) -> Sides:
    """Finds what must be read of each side.

    Raises:
        LakeError: A data file's columns are not those of its table's schema.
        MissingFileError: A data file that must be read is gone.
    """
    files = {"l": list(left.files()), "r": list(right.files())}
    shared: set[str] = set()
    if left.plain and right.plain and left.schema.equals(right.schema):
        shared = {file.path for file in files["l"]} & {file.path for file in files["r"]}
    read = {name: [file for file in some if file.path not in shared] for name, some in files.items()}
    sides = {
        name: _side(engine, table, read[name], skipped=bool(shared), name=name)
        for name, table in (("l", left), ("r", right))
    }
    return Sides(
        left=sides["l"],
        right=sides["r"],
        pairs=tuple(_pairs(left, right, sides["l"], sides["r"])),
        files_read=len(read["l"]) + len(read["r"]),
        files_shared=len(shared),
        rows_shared=sum(file.rows for file in files["l"] if file.path in shared),
    )


def whole_side(engine: Engine, table: TableLike, name: str = "r") -> Side:
    """The whole of a table, for a comparison that has only one side."""
    return _side(engine, table, list(table.files()), skipped=False, name=name)


def subset(side: Side, paths: Sequence[str], rows: int) -> Side:
    """Some of the local files of a side."""
    if not paths:
        return Side(None, (), 0, ())
    return Side(_relation(parquet(paths), len(side.types)), side.types, rows, tuple(paths))


def _relation(source: str, columns: int) -> str:
    # A relation with an alias list can't be given a second alias, hence the subquery; scans push down through it.
    return f"(SELECT * FROM {source} AS t({', '.join(f'a{i}' for i in range(columns))}))"


def row_struct(side: Side, alias: str) -> str:
    """SQL of one whole row of a side as a struct with the fields ``f0, f1, …``."""
    return f"struct_pack({', '.join(f'f{i} := {alias}.a{i}' for i in range(len(side.types)))})"


def _side(engine: Engine, table: TableLike, files: Sequence[FileLike], *, skipped: bool, name: str) -> Side:
    names = table.schema.names
    if not files:
        return Side(None, (), 0, ())
    paths = [local_path(file.path) for file in files]
    plain_paths = tuple(path for path in paths if path is not None) if table.plain else ()
    if len(plain_paths) == len(files):
        for path in plain_paths:
            if not Path(path).exists():
                raise MissingFileError(
                    f"the file {path} of {table.key} is not there",
                    hint="was it removed by hand? A commit that still points to it can't be read; build the asset again",
                    location=path,
                    key=table.key,
                )
        source = parquet(plain_paths)
    elif not skipped:
        source = f"anabranch_{name}"
        table.create_view(engine.connection, source)
    else:
        source = _remote(engine, table, files, f"anabranch_{name}")
    columns = engine.columns(source)
    if not _fits(columns, names):
        raise LakeError(
            f"the data files of {table.key} hold the columns {', '.join(text for text, _ in columns)}, "
            f"its schema says {', '.join(names)}",
            hint="write the table again; its metadata and its files do not belong together",
            key=table.key,
        )
    relation = _relation(source, len(names))
    ((rows,),) = engine.rows(f"SELECT count(*) FROM {relation}")
    return Side(
        relation,
        tuple(kind for _, kind in columns),
        int(rows),
        plain_paths if len(plain_paths) == len(files) else None,
    )


def _fits(columns: Sequence[tuple[str, str]], names: Sequence[str]) -> bool:
    """Whether a source has these columns in this order. DuckDB takes ``A`` and ``a`` for one and numbers the second."""
    if len(columns) != len(names):
        return False
    pairs = ((text.lower(), name.lower()) for (text, _), name in zip(columns, names, strict=True))
    return all(text == name or text.startswith(f"{name}_") for text, name in pairs)


def _remote(engine: Engine, table: TableLike, files: Sequence[FileLike], name: str) -> str:
    """Some of the files of a table that is not on this machine, as an Arrow dataset that DuckDB scans."""
    import pyarrow.dataset as ds

    whole: Any = getattr(table, "to_dataset")()  # noqa: B009  # optional in the protocol: only remote tables need it
    wanted = [file.path.split("://", 1)[-1].lstrip("/") for file in files]
    parts = [part for part in whole.get_fragments() if part.path.split("://", 1)[-1].lstrip("/") in wanted]
    if len(parts) != len(files):
        raise LakeError(
            f"{len(files) - len(parts)} of the data files of {table.key} can't be found in its dataset",
            key=table.key,
        )
    engine.connection.register(
        name, ds.FileSystemDataset(parts, whole.schema, whole.format, whole.filesystem)
    )
    return identifier(name)


def _pairs(left: TableLike, right: TableLike, of_left: Side, of_right: Side) -> Iterable[Pair]:
    for li, ri in match_columns(left.schema, left.field_ids, right.schema, right.field_ids):
        name = right.schema.names[ri]
        lsql, rsql = f"l.a{li}", f"r.a{ri}"
        same = True
        if of_left.relation and of_right.relation and of_left.types[li] != of_right.types[ri]:
            same = False
            lsql, rsql = _comparable(
                left.schema.field(li).type,
                right.schema.field(ri).type,
                lsql,
                rsql,
                of_left.types[li],
                of_right.types[ri],
            )
        yield Pair(name, li, ri, lsql, rsql, same)


def _comparable(
    left: pa.DataType, right: pa.DataType, lsql: str, rsql: str, ltype: str, rtype: str
) -> tuple[str, str]:
    """Makes values of two types comparable: by the wider type where it holds both, numbers by their decimal text (so
    that 3 equals 3.0), a date as its midnight, all else by its text.
    """
    import pyarrow.types as kind

    nested = kind.is_nested(left) or kind.is_nested(right)
    if not nested and widens(left, right):
        return f"CAST({lsql} AS {rtype})", rsql
    if not nested and widens(right, left):
        return lsql, f"CAST({rsql} AS {ltype})"
    if _is_number(left) and _is_number(right):
        return _number_text(left, lsql), _number_text(right, rsql)
    if kind.is_date(left) and kind.is_timestamp(right) and right.tz is None:
        return f"CAST({lsql} AS {rtype})", rsql
    if kind.is_timestamp(left) and left.tz is None and kind.is_date(right):
        return lsql, f"CAST({rsql} AS {ltype})"
    return f"CAST({lsql} AS VARCHAR)", f"CAST({rsql} AS VARCHAR)"


def _is_number(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _number_text(kind: pa.DataType, sql: str) -> str:
    from pyarrow import types

    if types.is_integer(kind):
        return f"CAST({sql} AS VARCHAR)"
    if types.is_decimal(kind):
        text = f"CAST({sql} AS VARCHAR)"
        return f"CASE WHEN contains({text}, '.') THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END"
    # An integral float within ±2^63 reads as the integer it is; -0.0 becomes 0 on the way.
    whole = f"isfinite({sql}) AND trunc({sql}) = {sql} AND abs({sql}) < 9.2e18"
    return (
        f"CASE WHEN {whole} THEN CAST(TRY_CAST({sql} AS BIGINT) AS VARCHAR) ELSE CAST({sql} AS VARCHAR) END"
    )
