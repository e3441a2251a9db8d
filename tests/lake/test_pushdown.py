"""Reads touch what they use and nothing else. The proof: whatever must not be read is overwritten with garbage before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from anabranch.lake import slabs, write
from anabranch.lake.storage import Storage
from anabranch.lake.tables import Table, append_table, write_table
from anabranch.pipeline.sql_query import parse_query

ROWS = 1000


def numbers(start: int = 0, rows: int = ROWS) -> pa.Table:
    ids = range(start, start + rows)
    return pa.table(
        {
            "id": ids,
            "amount": [i * 2 for i in ids],
            "note": [f"note {i}" for i in ids],
            "parts": [{"a": i, "b": -i} for i in ids],
        }
    )


@pytest.fixture
def table(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> Table:
    """1,000 rows in the order of their ids: four files of 250 with row groups of 50."""
    monkeypatch.setattr(write, "GROUP_ROWS", 50)
    monkeypatch.setattr(slabs, "SLAB_ROWS", 250)
    written = write_table(lake, "t", numbers())
    made = Table("t", written.location, lake, written.version)
    assert len(made.files()) == 4
    return made


def poison(table: Table, *, but: tuple[str, ...] = (), ids: range = range(0)) -> None:
    """Overwrites every column chunk but those of some columns in row groups that hold some ids (all, if none are given)."""
    for file in table.files():
        path = Path(file.path)
        footer = pq.ParquetFile(path).metadata
        data = bytearray(path.read_bytes())
        for group in range(footer.num_row_groups):
            chunks = [footer.row_group(group).column(i) for i in range(footer.num_columns)]
            bounds = next(c.statistics for c in chunks if c.path_in_schema == "id")
            wanted = not ids or (bounds.min < ids.stop and bounds.max >= ids.start)
            for chunk in chunks:
                if wanted and chunk.path_in_schema in but:
                    continue
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
        path.write_bytes(data)


def by_sql(query: str) -> Callable[[Table], object]:
    def read(table: Table) -> object:
        with duckdb.connect() as connection:
            table.create_view(connection, "t")
            return connection.sql(query).fetchall()

    return read


def by_lazy(query: Callable[[pl.LazyFrame], pl.LazyFrame]) -> Callable[[Table], object]:
    return lambda table: query(table.to_lazy()).collect().rows()


def by_relation(
    query: Callable[[duckdb.DuckDBPyRelation], duckdb.DuckDBPyRelation],
) -> Callable[[Table], object]:
    def read(table: Table) -> object:
        with duckdb.connect() as connection:
            return query(table.to_duckdb(connection)).fetchall()

    return read


COLUMNS: dict[str, Callable[[Table], object]] = {
    "a lazy frame": by_lazy(lambda t: t.select(pl.col("amount").sum())),
    "a query": by_sql("select sum(amount) from t"),
    "a query with a query inside": by_sql("with x as (select * from t) select sum(amount) from (from x)"),
    "a relation": by_relation(lambda t: t.aggregate("sum(amount)")),
    "arrow": lambda table: [(pc.sum(table.to_arrow(["amount"])["amount"]).as_py(),)],
    "batches": lambda table: [(sum(sum(b.column(0).to_pylist()) for b in table.to_batches(["amount"])),)],
    "pandas": lambda table: [(int(table.to_pandas(["amount"])["amount"].sum()),)],
    "a dataset": lambda table: [(pc.sum(table.to_dataset().to_table(["amount"])["amount"]).as_py(),)],
}

ROWS_WANTED: dict[str, Callable[[Table], object]] = {
    "a lazy frame": by_lazy(
        lambda t: t.filter(pl.col("id").is_between(300, 320)).select(pl.col("amount").sum())
    ),
    "a query": by_sql("select sum(amount) from t where id between 300 and 320"),
    "a query with a query inside": by_sql(
        "with x as (select id, amount from t) select sum(amount) from x where id >= 300 and id <= 320"
    ),
    "a relation": by_relation(lambda t: t.filter("id >= 300 and id <= 320").aggregate("sum(amount)")),
    "arrow, by text": lambda table: [
        (pc.sum(table.to_arrow(["amount"], "id >= 300 and id <= 320")["amount"]).as_py(),)
    ],
    "arrow, by an expression": lambda table: [
        (
            pc.sum(
                table.to_arrow(["amount"], (pc.field("id") >= 300) & (pc.field("id") <= 320))["amount"]
            ).as_py(),
        )
    ],
    "batches": lambda table: [
        (sum(sum(b.column(0).to_pylist()) for b in table.to_batches(["amount"], "id >= 300 and id <= 320")),)
    ],
}


@pytest.mark.parametrize("how", COLUMNS)
def test_only_the_columns_that_are_used_are_read(table: Table, how: str) -> None:
    poison(table, but=("amount",))
    assert COLUMNS[how](table) == [(ROWS * (ROWS - 1),)]
    with pytest.raises(Exception, match=r"."):  # what was overwritten can't be read
        table.to_arrow(["note"])


@pytest.mark.parametrize("how", ROWS_WANTED)
def test_only_the_row_groups_that_may_hold_wanted_rows_are_read(table: Table, how: str) -> None:
    poison(table, but=("id", "amount"), ids=range(300, 321))
    assert ROWS_WANTED[how](table) == [(2 * sum(range(300, 321)),)]
    with pytest.raises(Exception, match=r"."):
        table.to_arrow(["id"])


def test_a_count_reads_no_column(table: Table) -> None:
    poison(table)
    assert by_sql("select count(*) from t")(table) == [(ROWS,)]
    assert by_lazy(lambda t: t.select(pl.len()))(table) == [(ROWS,)]


def test_one_field_of_a_struct_is_read_without_the_others(table: Table) -> None:
    poison(table, but=("parts.a",))
    assert by_sql("select sum(parts.a) from t")(table) == [(sum(range(ROWS)),)]


def test_a_file_that_holds_no_wanted_row_is_not_opened(table: Table) -> None:
    """By the bounds in the manifests; so it is for filters that are given as text."""
    for file in table.files():
        if file.path != table.files()[1].path:
            Path(file.path).write_bytes(b"not even Parquet")
    assert table.to_arrow(["id"], "id >= 300 and id <= 320").num_rows == 21
    assert sum(b.num_rows for b in table.to_batches(["id"], "id = 300")) == 1


def test_a_join_reads_only_its_columns_of_both_sides(table: Table, lake: Storage) -> None:
    names = write_table(lake, "names", numbers())
    other = Table("names", names.location, lake, names.version)
    poison(table, but=("id", "amount"))
    poison(other, but=("id", "note"))
    with duckdb.connect() as connection:
        table.create_view(connection, "t")
        other.create_view(connection, "names")
        query = "select max(names.note) from t join names using (id) where t.amount = 4"
        assert connection.sql(query).fetchall() == [("note 2",)]


@pytest.fixture
def evolved(lake: Storage, table: Table) -> Table:
    """A table that is not plain: a column came later, as another engine adds one."""
    metadata = {**table.metadata}
    (schema,) = metadata["schemas"]
    last = metadata["last-column-id"] + 1
    fields = [*schema["fields"], {"id": last, "name": "later", "type": "long", "required": False}]
    snapshot = metadata["snapshots"][0]
    summary = {**snapshot["summary"], "anabranch.plain": "false"}
    metadata |= {
        "last-column-id": last,
        "schemas": [{**schema, "fields": fields}],
        "snapshots": [{**snapshot, "summary": summary}],
    }
    made = Table.of_metadata("t", table.location, lake, metadata)
    assert not made.plain
    return made


@pytest.mark.parametrize("how", ["a lazy frame", "arrow", "batches", "pandas"])
def test_only_the_columns_that_are_used_are_read_of_a_table_that_is_not_plain(
    evolved: Table, how: str
) -> None:
    poison(evolved, but=("amount",))
    assert COLUMNS[how](evolved) == [(ROWS * (ROWS - 1),)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("select sum(amount) from t", ROWS * (ROWS - 1)),
        ("select count(later) from t where amount < 10", 0),
        ("select count(*) from t", ROWS),
    ],
)
def test_a_query_asset_reads_only_its_columns_of_a_table_that_is_not_plain(
    evolved: Table, query: str, found: int
) -> None:
    reads = parse_query(query, name="q").reads["t"]
    poison(evolved, but=("amount",) if reads else ("id",))
    with duckdb.connect() as connection:
        evolved.create_view(connection, "t", reads)
        assert connection.sql(query).fetchall() == [(found,)]


def test_of_an_appended_table_the_new_file_alone_is_read_for_new_rows(table: Table, lake: Storage) -> None:
    written = append_table(lake, "t", numbers(ROWS, 100), previous=table)
    grown = Table("t", written.location, lake, written.version)
    poison(table)
    assert by_sql(f"select count(*), sum(amount) from t where id >= {ROWS}")(grown) == [
        (100, 2 * sum(range(ROWS, ROWS + 100)))
    ]
