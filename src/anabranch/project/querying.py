"""`sql`: any query over the tables of one commit, with DuckDB; only the tables that the query names are opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from anabranch.errors import QueryError
from anabranch.names import did_you_mean, split_key

if TYPE_CHECKING:
    import duckdb


def query_tables(
    query: str,
    handles: Mapping[str, Any],
    *,
    ref: str,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> duckdb.DuckDBPyRelation:
    """Runs a query over views of the given tables, in the given connection or a new one.

    Raises:
        QueryError: a table that is not there, or a mistake in the query, as DuckDB tells it.
    """
    import duckdb

    # Names mean the tables of the ref, never Python variables of the caller.
    if connection is None:
        connection = duckdb.connect(
            config={"python_enable_replacements": False, "autoinstall_known_extensions": False}
        )
    connection.execute("SET TimeZone = 'UTC'")
    _refuse_writing(connection, query)
    lower = query.lower()
    for key, handle in handles.items():
        _, name = split_key(key)
        if name.lower() not in lower:
            continue
        handle.create_view(connection, key)
    try:
        relation = connection.sql(query)
    except duckdb.CatalogException as error:
        word = _missing_table(str(error))
        raise QueryError(
            f"{ref}: {_first_line(error)}",
            hint=did_you_mean(word, handles, f"{ref} has: {', '.join(sorted(handles)) or 'no tables yet'}")
            if word
            else None,
        ) from None
    except duckdb.Error as error:
        raise QueryError(
            f"DuckDB says: {_first_line(error)}", hint="tables go by their keys; the dialect is DuckDB's"
        ) from None
    if relation is None:
        raise QueryError("there is no query", hint='write one: "from orders limit 10"')
    return relation


def _refuse_writing(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """A statement that writes, to a file or anywhere, is none of a query's. Mistakes in it are told when it is run."""
    import duckdb

    # PIVOT is counted as MULTI: it first asks for its columns.
    reading = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI}
    try:
        statements = connection.extract_statements(query)
    except duckdb.Error:
        return
    other = next((one.type.name for one in statements if one.type not in reading), None)
    if other is not None:
        raise QueryError(
            f"{other} is no query: only reading is possible here",
            hint="data changes through runs and promotions",
        )


def _missing_table(message: str) -> str | None:
    words = message.partition("name ")[2].split(" ")
    return words[0] if words and words[0] else None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
