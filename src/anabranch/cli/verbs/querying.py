"""`sql`: any query over the tables of one commit."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anabranch.cli.face import Face, Reply
from anabranch.cli.verb import complete, pass_face, verb
from anabranch.report.lines import Line, Span, count, hint, key, line

if TYPE_CHECKING:
    from anabranch.diff.engine import Engine

SQL = {
    "ref": "the commit that was read",
    "columns": "list of columns: name, type",
    "rows": "list of rows, each a list of values in the order of the columns",
    "more": "whether the query has more rows than these",
    "written": "file → number of rows, for --csv and --parquet",
    "samples": "asset → the sample that its table was computed from, for those that the query may read",
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
    with face.working("querying"), _engine(project.context.folder / "tmp") as engine:
        relation = project.sql(query, at, connection=engine.connection)
        ref = project.context.ref_of(project.context.pinned(at))
        samples = {
            name: text
            for name, text in project.samples(at).items()
            if name.rpartition(".")[2].lower() in query.lower()
        }
        for name, text in samples.items():
            face.err([line(Span("note: ", "warn"), f"{name} is of a {text}")])
        if csv is not None or parquet is not None:
            return _written(
                engine, relation if not limit else relation.limit(limit), ref, csv, parquet, samples
            )
        shown = limit if limit is not None else 0 if face.json else _SHOWN
        wanted = relation.limit(shown + 1) if shown else relation
        table = _asked(engine, wanted.to_arrow_table)
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
        "samples": samples,
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


@contextmanager
def _engine(temporary: Path) -> Iterator[Engine]:
    """DuckDB for one query, which Ctrl-C stops at once and which spills below the project's own folder."""
    import duckdb

    from anabranch.diff.engine import Engine

    # Names mean the tables of the ref, never Python variables of ours.
    config: dict[str, str | bool | int | float | list[str]] = {
        "python_enable_replacements": False,
        "autoinstall_known_extensions": False,
        "temp_directory": str(temporary),
    }
    connection = duckdb.connect(config=config)
    try:
        connection.execute("SET enable_progress_bar = false")
        yield Engine(connection, 1, None)
    finally:
        connection.close()


def _asked(engine: Engine, work: Callable[[], Any]) -> Any:
    """What DuckDB answers; a mistake that shows only now is told as the others."""
    import duckdb

    from anabranch.errors import QueryError

    try:
        return engine.wait(work)
    except duckdb.Error as error:
        raise QueryError(f"DuckDB says: {str(error).partition(chr(10))[0]}") from None


def _plain(table: Any) -> list[list[Any]]:
    from anabranch.diff.values import plain

    found = [[plain(value) for value in column] for column in table.columns]
    return [list(row) for row in zip(*found, strict=True)] if found else [[] for _ in range(table.num_rows)]


def _written(
    engine: Engine,
    relation: Any,
    ref: str,
    csv: str | None,
    parquet: Path | None,
    samples: Mapping[str, str],
) -> Reply:
    """The rows in files, streamed: they may be more than memory holds."""
    relation.create_view("anabranch_rows")
    written: dict[str, int] = {}
    raw = None
    if csv == "-":
        with tempfile.TemporaryDirectory() as folder:
            _copy(engine, Path(folder, "rows.csv"), "FORMAT csv, HEADER")
            raw = Path(folder, "rows.csv").read_text(encoding="utf-8")
    elif csv is not None:
        written[csv] = _copy(engine, Path(csv), "FORMAT csv, HEADER")
    if parquet is not None:
        written[str(parquet)] = _copy(engine, parquet, "FORMAT parquet, COMPRESSION zstd")
    columns = [
        {"name": name, "type": str(kind)} for name, kind in zip(relation.columns, relation.types, strict=True)
    ]

    def lines() -> Sequence[Line]:
        told = [
            line(Span("written ", "good"), key(name), f"  {count(rows, 'row')} of {ref}")
            for name, rows in written.items()
        ]
        return [*told, hint("anabranch sql, or open it in what you like")]

    result = {"ref": ref, "columns": columns, "rows": [], "more": False, "written": written}
    return Reply({**result, "samples": dict(samples)}, lines, raw=raw)


def _copy(engine: Engine, path: Path, options: str) -> int:
    """Writes a file whole or not at all; returns the number of rows."""
    from anabranch.diff.values import literal

    part = path.with_name(f".{path.name}.part")
    try:
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise click.UsageError(f"{path} can't be written: it is no file in a folder that exists")
        rows: int = _asked(
            engine,
            lambda: engine.connection.execute(
                f"COPY anabranch_rows TO {literal(str(part))} ({options})"
            ).fetchall(),
        )[0][0]
        part.replace(path)
    except OSError as error:
        raise click.UsageError(f"{path} can't be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return rows
