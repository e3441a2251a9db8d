"""`sql`: any query over the tables of one commit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from anabranch.cli.face import Face, Reply
from anabranch.cli.verb import complete, pass_face, verb
from anabranch.report.lines import Line, Span, count, hint, key, line

SQL = {
    "ref": "the commit that was read",
    "columns": "list of columns: name, type",
    "rows": "list of rows, each a list of values in the order of the columns",
    "more": "whether the query has more rows than these",
    "written": "file → number of rows, for --csv and --parquet",
}
_SHOWN = 50


@verb("sql", shape=SQL)
@click.argument("query")
@click.option(
    "--at",
    metavar="REF",
    envvar="ANABRANCH_REF",
    shell_complete=complete("refs"),
    help="The ref to read; default: where you are. ANABRANCH_REF sets it, too.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Rows to show; 0 for all. Default: {_SHOWN} on the screen, all in JSON and files.",
)
@click.option(
    "--csv",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write the rows as CSV; - prints them.",
)
@click.option(
    "--parquet",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the rows as Parquet.",
)
@pass_face
def sql(
    face: Face, query: str, at: str | None, limit: int | None, csv: str | None, parquet: Path | None
) -> Reply:
    """Query any ref with DuckDB. Tables go by their keys; all of them are read at one commit.

    QUERY may be - to read it from stdin.
    """
    if query == "-":
        query = sys.stdin.read()
    project = face.project()
    to_file = csv is not None or parquet is not None
    with face.working("querying"):
        relation = project.sql(query, at)
        ref = project.context.ref_of(project.context.pinned(at))
        if to_file:
            return _written(relation if not limit else relation.limit(limit), ref, csv, parquet)
        shown = limit if limit is not None else 0 if face.json else _SHOWN
        table = _fetched(relation.limit(shown + 1) if shown else relation)
        more = bool(shown) and table.num_rows > shown
        table = table.slice(0, shown) if more else table
    names = list(table.schema.names)
    rows = _plain(table)
    result: dict[str, Any] = {
        "ref": ref,
        "columns": [{"name": field.name, "type": str(field.type)} for field in table.schema],
        "rows": rows,
        "more": more,
        "written": {},
    }

    def lines() -> Sequence[Line]:
        import pyarrow as pa

        from anabranch.report.text_diff import rows_lines

        kinds = [field.type for field in table.schema]
        numeric = [
            at
            for at, kind in enumerate(kinds)
            if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        ]
        return rows_lines(names, rows, ref=ref, numeric=numeric, more=more, limit=face.width)

    return Reply(result, lines)


def _fetched(relation: Any) -> Any:
    """The rows as an Arrow table; a mistake that shows only now is told as the others."""
    import duckdb

    from anabranch.errors import QueryError

    try:
        return relation.to_arrow_table()
    except duckdb.Error as error:
        raise QueryError(f"DuckDB says: {str(error).partition(chr(10))[0]}") from None


def _plain(table: Any) -> list[list[Any]]:
    from anabranch.diff.values import plain

    found = [[plain(value) for value in column] for column in table.columns]
    return [list(row) for row in zip(*found, strict=True)] if found else [[] for _ in range(table.num_rows)]


def _written(relation: Any, ref: str, csv: str | None, parquet: Path | None) -> Reply:
    table = _fetched(relation)
    written: dict[str, int] = {}
    raw = None
    if csv is not None:
        import io

        from pyarrow import csv as arrow_csv

        buffer = io.BytesIO()
        arrow_csv.write_csv(table, buffer)
        if csv == "-":
            raw = buffer.getvalue().decode()
        else:
            _write(Path(csv), buffer.getvalue())
            written[csv] = table.num_rows
    if parquet is not None:
        import io

        from pyarrow import parquet as arrow_parquet

        buffer = io.BytesIO()
        arrow_parquet.write_table(table, buffer, compression="zstd")
        _write(parquet, buffer.getvalue())
        written[str(parquet)] = table.num_rows

    def lines() -> Sequence[Line]:
        told = [
            line(Span("written ", "good"), key(name), f"  {count(rows, 'row')} of {ref}")
            for name, rows in written.items()
        ]
        return [*told, hint("anabranch sql, or open it in what you like")]

    columns = [{"name": field.name, "type": str(field.type)} for field in table.schema]
    return Reply(
        {"ref": ref, "columns": columns, "rows": [], "more": False, "written": written}, lines, raw=raw
    )


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise click.UsageError(f"{path} can't be written: {error.strerror}") from None
