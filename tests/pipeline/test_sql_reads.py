"""Which columns a query reads: told from its text, never too few.

The proof is the second half: queries made at random run in DuckDB over small tables; whatever is done to columns that a
query is said not to read, its result stays the same.
"""

from __future__ import annotations

import random

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anabranch.pipeline.sql_query import parse_query
from effort import effort


def reads(query: str) -> dict:
    return dict(parse_query(query, name="q").reads)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("select id, sum(amount) from orders group by id", ("amount", "id")),
        ('select "Id" from Orders', ("id",)),
        ("select id from orders where day > 3 order by at limit 2", ("at", "day", "id")),
        ("select a from orders qualify row_number() over (partition by b order by c nulls last) = 1", ("a", "b", "c")),
        ("select a, rank() over w from orders window w as (order by b)", ("a", "b")),
        ("select a from orders group by all having max(b) > 1", ("a", "b")),
        ("with o as (select id, amount from orders) select * from o", ("amount", "id")),
        ("with o as (select id, amount from orders) select o.* from o", ("amount", "id", "o")),
        ("with orders as (select id from orders) select * from orders", ("id",)),
        ("select count(*) from orders", ()),
        ("select $partition_start::date as week, a from orders where day >= $partition_end", ("a", "day")),
        ("select 1 from orders", ()),
        ("select case when a then b else c end x from orders", ("a", "b", "c")),
        ("select x: a + 1, x * 2 from orders", ("a", "x")),
        ("select list_transform(l, e -> e + b) from orders", ("b", "e", "l")),
        ("select s.f.g from orders", ("f", "g", "s")),
        ("select date_trunc(month, at) from orders", ("at", "month")),
        ("select cast(at as timestamp) from orders", ("at",)),
        ("select unnest(l) from orders", ("l",)),
    ],
)  # fmt: skip
def test_a_query_reads_the_columns_that_it_names(query: str, names: tuple[str, ...]) -> None:
    ((_, found),) = reads(query).items()
    assert found is not None
    assert set(found) >= set(names)
    assert set(found) <= set(names) | {"orders", "nulls", "last"}


@pytest.mark.parametrize(
    "query",
    [
        "select * from orders",
        "from orders",
        "select o.* from orders o",
        "select * exclude (a) from orders",
        "select * replace (1 as a) from orders",
        "select columns('a.*') from orders",
        "select min(columns(*)) from orders",
        "select orders from orders",
        "select o from orders o",
        "select count(o) from (orders) o",
        "select orders.to_json() from orders",
        "select #1 from orders",
        "select a from orders as o(a, b)",
        "select a from (orders) as o(a, b)",
        "select a from orders natural join customers",
        "select a from orders positional join customers",
        "pivot orders on a using sum(b)",
        "select * from orders pivot (sum(b) for a in (1, 2))",
        "unpivot orders on a, b",
        "select a from orders tablesample 10%",
        "select a from orders union by name select * from orders",
        "with o as (select * from orders) select a from o",
        "select (select o) from orders o",
        "select count(distinct o.*) from orders o",
        "select getvariable('a') from orders",
    ],
)
def test_what_may_mean_any_column_is_read_whole(query: str) -> None:
    assert reads(query)["orders"] is None


def test_a_name_belongs_to_the_table_that_it_is_asked_of() -> None:
    found = reads("select o.id, c.name from orders o join customers c on c.id = o.customer")
    assert "name" in found["customers"]
    assert "name" not in found["orders"]
    assert "customer" in found["orders"]
    assert "customer" not in found["customers"]


def test_a_name_that_several_tables_may_have_is_read_of_each() -> None:
    found = reads("select name from orders o join customers c using (id)")
    assert {"id", "name"} <= set(found["orders"])
    assert {"id", "name"} <= set(found["customers"])


def test_a_name_in_a_lateral_query_may_be_that_of_a_table_outside() -> None:
    found = reads("select (select max(price) from items where items.id = orders.item) from orders")
    assert "price" in found["orders"]
    assert "price" in found["items"]


def test_whether_rows_exist_needs_no_column_of_them() -> None:
    found = reads("select id from orders where exists (select * from customers)")
    assert found == {"orders": ("id",), "customers": ()}


def test_what_a_query_reads_is_kept_beside_its_text(tmp_path) -> None:
    query = "select id from orders o, customers c where c.a = o.b union all select * from items"
    first = parse_query(query, name="q", cache_dir=tmp_path)
    assert parse_query(query, name="q", cache_dir=tmp_path) == first
    assert first.reads["items"] is None


# Proof by fuzzing ------------------------------------------------------------------------------------------------------

COLUMNS = ("a", "b", "c", "d", "s", "t")
TABLES = ("t", "u")
ENGINE = duckdb.connect(config={"threads": 1, "python_enable_replacements": False})


class _Schema:
    """Two small tables, as columns of SQL literals; ``s`` is a struct, and ``t`` is also a table's name."""

    def __init__(self, seed: int) -> None:
        pick = random.Random(seed)
        self.tables = {
            table: {
                name: [self._value(name, pick) for _ in range(4)]
                for name in COLUMNS
                if name == "a" or pick.random() < (0.95 if table == "t" else 0.5)
            }
            for table in TABLES
        }

    @staticmethod
    def _value(name: str, pick: random.Random) -> str:
        number = pick.choice(["0", "1", "2", "3", "NULL"])
        return f"{{'a': {number}, 'b': {pick.choice('0123')}}}" if name == "s" else number

    def make(self, connection: duckdb.DuckDBPyConnection) -> None:
        for table, columns in self.tables.items():
            rows = zip(*columns.values(), strict=True)
            values = ", ".join(f"({', '.join(row)})" for row in rows)
            names = ", ".join(columns)
            kinds = ", ".join(
                f"{name}::{'STRUCT(a INTEGER, b INTEGER)' if name == 's' else 'INTEGER'} AS {name}"
                for name in columns
            )
            connection.execute(
                f"CREATE OR REPLACE TABLE {table} AS SELECT {kinds} FROM (VALUES {values}) v({names})"
            )


PLAIN = ["a", "b", "c", "d", "A", "t.a", "t.b"]
ODD = [
    "u.b",
    "x.c",
    "y.a",
    "y.d",
    "s.a",
    "t.s.a",
    "x.s.b",
    "y.s",
    "z",
    "k",
    "x.t",
    "main.t.a",
    "s",
    "t",
    "d.a",
]
NAMES = st.sampled_from([*PLAIN * 6, *ODD])
WHOLE = st.sampled_from(
    ["*", "t.*", "x.*", "s.*", "x", "t", "* exclude (a)", "columns('[ab]')", "count(*)", "count(x.*)", "1"]
)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2) -> str:
    if depth == 0:
        return draw(NAMES)
    inner = expressions(depth - 1)
    form = draw(st.integers(0, 15))
    if form < 7:
        return draw(NAMES)
    return [
        lambda: f"({draw(inner)} + {draw(inner)})",
        lambda: f"coalesce({draw(inner)}, 0)",
        lambda: f"case when {draw(inner)} > 1 then {draw(inner)} else 0 end",
        lambda: f"(select max({draw(inner)}) from {draw(sources(0))} where {draw(inner)} = {draw(NAMES)})",
        lambda: f"sum({draw(inner)}) over (partition by {draw(NAMES)})",
        lambda: f"{{'a': {draw(inner)}}}.a",
        lambda: f"list_sum(list_transform([1, 2], e -> e + {draw(inner)}))",
        lambda: f"(exists (select * from {draw(sources(0))} where {draw(inner)} = {draw(NAMES)}))::int",
        lambda: f"({draw(inner)})::varchar",
    ][form - 7]()


@st.composite
def sources(draw: st.DrawFn, depth: int = 1) -> str:
    table = draw(
        st.sampled_from(
            ["t", "t", "t", "t", "u", "t as x", "u as y", "(u) as x", "main.t", "k", "t as k(a, b)"]
        )
    )
    if depth == 0:
        return table
    form = draw(st.integers(0, 9))
    other = draw(sources(0))
    if form < 4:
        return table
    return [
        lambda: f"{table}, {other}",
        lambda: f"{table} join {other} on {draw(NAMES)} = {draw(NAMES)}",
        lambda: f"{table} left join {other} using ({draw(st.sampled_from(COLUMNS))})",
        lambda: f"{table} natural join {other}",
        lambda: f"({draw(selects(0))}) as x",
        lambda: f"{table}, lateral ({draw(selects(0))}) as z",
    ][form - 4]()


@st.composite
def selects(draw: st.DrawFn, depth: int = 1) -> str:
    items = draw(st.lists(st.one_of(expressions(1), expressions(2), WHOLE), min_size=1, max_size=3))
    named = [
        f"{item} as {draw(st.sampled_from(['a', 'k', 'z']))}"
        if draw(st.booleans()) and "*" not in item and "columns" not in item
        else item
        for item in items
    ]
    text = f"select {', '.join(named)} from {draw(sources(depth))}"
    if draw(st.booleans()):
        text += f" where {draw(expressions(1))} < {draw(expressions(1))}"
    tail = draw(st.integers(0, 5))
    if tail == 0:
        text = f"select {draw(NAMES)}, count(*), max({draw(NAMES)}) from {draw(sources(depth))} group by {draw(NAMES)}, 1 having min({draw(NAMES)}) is not null"
    elif tail == 1:
        text += f" qualify row_number() over (order by {draw(NAMES)}, all_ties) = 1".replace(", all_ties", "")
        text = text.replace("row_number()", "rank()")
    elif tail == 2:
        text += f" order by {draw(NAMES)}"
    return text


@st.composite
def queries(draw: st.DrawFn) -> str:
    body = draw(selects())
    form = draw(st.integers(0, 9))
    if form == 0:
        return f"{body} union all {draw(selects())}"
    if form == 1:
        return f"with k as ({draw(selects(0))}) {body}"
    if form == 2:
        return f"with t as ({draw(selects(0))}) {body}"
    if form == 3:
        return f"select {draw(expressions(1))} from ({body}) as x"
    if form == 4:
        return f"from {draw(sources())} select {draw(expressions(1))}, {draw(expressions(1))}"
    return body


def _result(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[list, list] | None:
    """Names and rows in some order, or None where the query fails."""
    try:
        relation = connection.sql(query)
        names, rows = list(relation.columns), relation.fetchall()
    except duckdb.Error:
        return None
    return names, sorted(map(repr, rows))


@settings(
    max_examples=effort(120),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
@given(query=queries(), seed=st.integers(0, 2**16))
def test_nothing_done_to_other_columns_changes_a_result(query: str, seed: int) -> None:
    with ENGINE.cursor() as connection:
        schema = _Schema(seed)
        schema.make(connection)
        before = _result(connection, query)
        if before is None:
            return
        found = reads(query)
        pick = random.Random(seed + 1)
        for table in TABLES:
            names = found.get(table, ())
            if names is None:
                continue
            for name in COLUMNS:
                if name in names:
                    continue
                changed = _Schema(seed)
                columns = changed.tables[table]
                if name in columns and pick.random() < 0.5:
                    if len(columns) == 1:
                        continue
                    del columns[name]  # dropped
                else:  # changed, or added in front of all others
                    rest = {k: v for k, v in columns.items() if k != name}
                    changed.tables[table] = {name: [_Schema._value(name, pick) for _ in range(4)], **rest}
                changed.make(connection)
                assert _result(connection, query) == before, f"{query}\n{table}.{name} is not among {names}"
                schema.make(connection)
