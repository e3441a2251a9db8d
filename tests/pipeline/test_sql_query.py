"""What a query reads, its one text, and the file that keeps both."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from anabranch.errors import DefinitionsError, SignatureError
from anabranch.pipeline import sql_query
from anabranch.pipeline.kept import kept_in
from anabranch.pipeline.sql_query import Query, parse_query


def parse(text: str, **more) -> Query:
    return parse_query(text, name="worst", **more)


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("select * from orders", ("orders",)),
        ("from orders", ("orders",)),
        ("from orders select a where b", ("orders",)),
        ("table orders", ("orders",)),
        ('TABLE "orders" order by 1', ("orders",)),
        ("table orders union all table returns", ("orders", "returns")),
        ("with a as (table orders) table a", ("orders",)),
        ("select * from a where b in (table orders)", ("a", "orders")),
        ("values (1, 2)", ()),
        ("select 1;", ()),
        ("pivot orders on a using sum(b)", ("orders",)),
        ("unpivot orders on a, b into name n value v", ("orders",)),
        ("select * from (pivot orders on a using sum(b))", ("orders",)),
        ("(select 1 from a) union all (select 2 from b)", ("a", "b")),
        ("select * from marts.orders join main.items using (a)", ("items", "marts.orders")),
        ("select * from orders o, orders p, Orders q", ("orders",)),
        ('select * from "orders"', ("orders",)),
        ("select * from a positional join b", ("a", "b")),
        ("from a asof join b using (t)", ("a", "b")),
        ("from a semi join b using (t)", ("a", "b")),
        ("select (select max(x) from b where b.y = a.y) from a", ("a", "b")),
        ("select * from a where exists (from b where b.x = a.x and b.z in (select z from c))", ("a", "b", "c")),
        ("select * from a, lateral (select * from b where b.x = a.x) l", ("a", "b")),
        ("select * from a left join lateral (select a.x + 1) l on true", ("a",)),
        ("with x as (select * from a) select * from x", ("a",)),
        ("with x as (select * from a), y as (select * from x) select * from y, b", ("a", "b")),
        ("with X as (select 1) select * from x", ()),
        ("with orders as (select * from orders) select * from orders", ("orders",)),
        ("with recursive orders as (select 1 as n union all select n + 1 from orders) from orders", ()),
        ("with recursive n(i) as (select 1 union all select i + 1 from n, steps) from n", ("steps",)),
        ("with x as (select * from y), y as (select 1) select * from x", ("y",)),
        ("with a as (select 1) select * from (with a as (from b) select * from a), a", ("b",)),
        ("select * from (with a as (select 1) from a), a", ("a",)),
        ("with a as (select 1) select * from marts.a", ("marts.a",)),
        ("with a as (select 1) select x from b union select y from a", ("b",)),
        ("with a as materialized (from b) select * from c where x in (from a)", ("b", "c")),
        ("select * from generate_series(1, 10), range(3), unnest([1, 2])", ()),
        ("select * from my_macro(3), other", ("other",)),
        ("select my_macro(x), sum(y) over w from orders window w as (partition by z)", ("orders",)),
        ("select * from t at (version => 3)", ("t",)),
        ("select * exclude (a) replace (b + 1 as b) from t tablesample 10%", ("t",)),
        ("select list_transform(l, lambda x: x + 1), [y for y in l] from t", ("t",)),
        ("select columns('a.*') from t group by all order by all qualify row_number() over () = 1", ("t",)),
        ("select * from t group by grouping sets ((a), (b)) having count(*) > (select n from limits)", ("limits", "t")),
    ],
)  # fmt: skip
def test_a_query_reads_tables_that_are_not_its_own_ctes(text, inputs):
    found = parse(text)
    assert found.inputs == inputs
    assert found.outside == ()


@pytest.mark.parametrize(
    ("text", "outside", "inputs"),
    [
        ("select * from 'file.parquet'", ("'file.parquet'",), ()),
        ("from 's3://bucket/*.csv' x join orders using (a)", ("'s3://bucket/*.csv'",), ("orders",)),
        ("from read_csv('a.csv', header = true)", ("read_csv('a.csv')",), ()),
        ("from read_parquet(['a', 'b'])", ("read_parquet(['a', 'b'])",), ()),
        ("from parquet_scan('a')", ("parquet_scan('a')",), ()),
        ("from postgres_query('db', 'select 1')", ("postgres_query('db')",), ()),
        ("from query_table('orders')", ("query_table('orders')",), ()),
        ("from attached.main.orders", ("attached.main.orders",), ()),
        ("from information_schema.tables", ("information_schema.tables",), ()),
    ],
)
def test_what_lies_outside_the_catalog_is_reported_and_is_no_input(text, outside, inputs):
    found = parse(text)
    assert found.outside == outside
    assert found.inputs == inputs


@pytest.mark.parametrize(
    "text",
    [
        "select a, sum(b) as total from orders where c = 'it''s' group by a",
        "SELECT a, SUM(b) AS total FROM orders WHERE c = 'it''s' GROUP BY a",
        "select  a,\n  sum ( b ) as total -- of all\nfrom orders\nwhere c='it''s'\ngroup   by a;",
        "/* first */ select a, Sum(b) As total from orders where c = 'it''s' /* the rest */ group by a",
        'select "a", sum("b") as total from "orders" where c = \'it\'\'s\' group by a',
        "select a , sum(b) as total from orders where c ='it''s' Group By a;;",
    ],
)
def test_layout_comments_and_the_case_of_keywords_do_not_count(text):
    expected = "SELECT a, SUM(b) AS total FROM orders WHERE c = 'it''s' GROUP BY a"
    assert parse(text).normalised == expected
    assert parse(text).hash == parse(expected).hash


def test_the_case_of_a_type_counts_only_where_it_becomes_a_column_s_name():
    assert parse("select a::INT as b from t").hash == parse("select a::int as b from t").hash


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select a from t", "select a as b from t"),
        ("select a as b from t", "select a as B from t"),
        ("select 'a' from t", "select 'A' from t"),
        ("select 1 from t", "select 1.0 from t"),
        ("select 0x1F", "select 0 x1F"),
        ("select 'a b'", "select 'a  b'"),
        ("select $$a  b$$", "select $$a b$$"),
        ("select e'\\n'", "select '\\n'"),
        ("select {Key: 1}", "select {KEY: 1}"),
        ("select * from a join b using (x)", "select * from a left join b using (x)"),
        ("select a from t order by a", "select a from t order by a desc"),
        ('select "select" from t', "select 'select' from t"),
        ("select a-1", "select a - -1"),
        ("select distinct a from t", "select a from t"),
        ("select cast(a as double) from t", "select cast(a as DOUBLE) from t"),
        ("from a union from b", "from a union all from b"),
        ("from a union all from b", "from a union all by name from b"),
    ],
)
def test_queries_that_differ_in_meaning_differ_in_text(one, other):
    assert parse(one).normalised != parse(other).normalised
    assert parse(one).hash != parse(other).hash


@pytest.mark.parametrize(
    "text",
    [
        'select "order", "a b", "select" as "group by", "1x" from "weird table" as w',
        "select struct_pack(a := 1).a, [1, 2][1], {'k': 2}.k, 3::varchar, cast('4' as double) is null, -1 - -2",
        "with x as (select 1 as a union all select 2) select a, count(*) filter (where a > 1) over (order by a) from x",
        "select x, e'\\n', $$text$$, 1e5, 0x1F, interval 3 day, date '2020-01-01' as d from range(3) t(x) where x between 1 and 2",
        "select list_transform([1, 2], lambda y: y + 1), [z for z in [1, 2] if z > 1], case when true then 1 else 2 end",
    ],
)
def test_the_text_of_a_query_gives_the_same_rows_and_is_its_own_text(text):
    import duckdb

    connection = duckdb.connect()
    connection.execute('create table "weird table" ("order" int, "a b" int, "select" int, "1x" int)')
    found = parse(text)
    assert parse(found.normalised).normalised == found.normalised
    before = connection.execute(text)
    expected = ([d[0] for d in before.description], before.fetchall())
    after = connection.execute(found.normalised)
    assert ([d[0] for d in after.description], after.fetchall()) == expected


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("select a, b as c, t.d from t", ("a", "c", "d")),
        ("select * from t", ()),
        ("select a, t.* from t", ()),
        ("select count(*) from t", ()),
        ("select a::int from t", ()),
        ("(select a from t) union all select b from u", ("a",)),
        ("select a from t union all by name select b from u", ()),
        ("with x as (select a from t) select a as z from x", ("z",)),
        ("pivot t on a using sum(b)", ()),
    ],
)
def test_columns_are_named_where_the_text_tells_them(text, columns):
    assert parse(text).columns == columns


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("insert into a select 1", "the query worst is a statement of the kind INSERT"),
        ("create table a as select 1", "the query worst is a statement of the kind CREATE"),
        ("delete from a", "the query worst is a statement of the kind DELETE"),
        ("update a set b = 1", "the query worst is a statement of the kind UPDATE"),
        ("drop table a", "the query worst is a statement of the kind DROP"),
        ("attach 'x.db'", "the query worst is a statement of the kind ATTACH"),
        ("copy a to 'b.csv'", "the query worst is a statement of the kind COPY"),
        ("summarize a", "the query worst is a statement of the kind SUMMARIZE"),
        ("create macro m(x) as x + 1", "the query worst is a statement of the kind CREATE"),
        ("select a into b from c", "the query worst holds a statement of the kind INTO"),
        ("with x as (insert into y values (1) returning *) from x", "the query worst holds a statement of the kind INSERT"),
        ("select 1; select 2", "the query worst holds 2 statements, and an asset is made by one"),
        ("", "the query worst is empty"),
        ("-- nothing\n;", "the query worst is empty"),
    ],
)  # fmt: skip
def test_anything_but_one_select_is_refused_with_a_hint(text, said):
    with pytest.raises(SignatureError) as refused:
        parse(text)
    assert str(refused.value) == said
    assert refused.value.hint
    assert isinstance(refused.value, DefinitionsError)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("select a\nfrom t where", 2, 8),
        ("select (1", 1, 9),
        ("select a\n  from 'x", 2, 8),
        ("select 'ok' /* never\nclosed", 1, 13),
        ('select "a', 1, 8),
    ],
)
def test_a_syntax_error_names_asset_line_and_column(text, line, column):
    with pytest.raises(
        SignatureError, match=rf"query worst has a syntax error in line {line}, column {column}"
    ) as refused:
        parse(text)
    assert (refused.value.facts["line"], refused.value.facts["column"]) == (line, column)
    assert refused.value.hint == f"look at: {text.splitlines()[line - 1].strip()}"


# The file ---------------------------------------------------------------------------------------------------------------

QUERY = "with x as (select a from 'f.csv') select a, b as c from x join marts.orders using (a)"


def fresh(code: str) -> str:
    """What a new process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_kept_result_is_the_same_and_needs_no_sqlglot(tmp_path):
    found = parse(QUERY, cache_dir=tmp_path)
    code = (
        "import sys, pathlib\n"
        "from anabranch.pipeline.sql_query import parse_query\n"
        f"found = parse_query({QUERY!r}, name='x', cache_dir=pathlib.Path({str(tmp_path)!r}))\n"
        "print(found, 'sqlglot' in sys.modules)"
    )
    assert fresh(code) == f"{found} False"


def test_another_version_of_the_parser_or_dialect_is_another_result(tmp_path, monkeypatch):
    keys = {sql_query._key("select 1", "duckdb"), sql_query._key("select 1", "postgres")}
    monkeypatch.setattr(sql_query, "_version", lambda: "0.1")
    keys.add(sql_query._key("select 1", "duckdb"))
    assert len(keys) == 3


def test_a_damaged_result_is_computed_again(tmp_path):
    found = parse(QUERY, cache_dir=tmp_path)
    for damage in ([1], {"a": 1}, None, "text"):
        kept_in(tmp_path / "queries.jsonl").put(sql_query._key(QUERY, "duckdb"), damage)
        assert parse(QUERY, cache_dir=tmp_path) == found


def test_a_folder_that_can_not_be_written_is_no_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert parse(QUERY, cache_dir=blocked / "inner") == parse(QUERY)


def test_a_result_does_not_depend_on_the_asset_s_name(tmp_path):
    assert parse_query(QUERY, name="a", cache_dir=tmp_path) == parse_query(
        QUERY, name="b", cache_dir=Path(tmp_path)
    )
