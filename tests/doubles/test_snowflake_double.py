"""The double of Snowflake does what Snowflake documents, also for other processes and for Dagster's I/O manager."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from doubles.snowflake_double import Snowflake, needs_snowflake

pytestmark = [needs_snowflake, pytest.mark.slow]

PRODUCTION = (
    "create database PRODUCTION",
    "create schema HACKER_NEWS",
    "create table items (id int, name text)",
    "insert into items values (1, 'a'), (2, 'b')",
)


@pytest.fixture(scope="module")
def account() -> Iterator[Snowflake]:
    with Snowflake() as made:
        yield made


@pytest.fixture
def production(account: Snowflake) -> Iterator[Snowflake]:
    account.sql(*PRODUCTION)
    account.forget()
    yield account
    for name, *_ in [row[1:] for row in account.sql("show databases")]:
        account.sql(f"drop database {name}")
    account.keep_history(keep=False)


def refused(account: Snowflake, statement: str) -> str:
    from snowflake.connector.errors import ProgrammingError

    with pytest.raises(ProgrammingError) as caught:
        account.sql(statement)
    return str(caught.value)


def test_a_clone_has_the_content_of_its_source_and_is_independent_of_it(production: Snowflake) -> None:
    production.sql("create database COPY clone PRODUCTION comment = 'it''s ours'")
    production.sql("insert into PRODUCTION.HACKER_NEWS.ITEMS values (3, 'c')")
    production.sql("delete from COPY.HACKER_NEWS.ITEMS where id = 1")
    assert production.sql("select id from COPY.HACKER_NEWS.ITEMS order by 1") == [(2,)]
    assert production.sql("select count(*) from PRODUCTION.HACKER_NEWS.ITEMS") == [(3,)]
    shown = {row[1]: row[6] for row in production.sql("show databases")}
    assert shown == {"COPY": "it's ours", "PRODUCTION": ""}


def test_what_is_there_already_or_not_at_all_is_refused_in_snowflakes_words(production: Snowflake) -> None:
    assert "002002 (42710)" in refused(production, "create database PRODUCTION")
    assert "Database 'NOWHERE' does not exist or not authorized." in refused(
        production, "create database COPY clone NOWHERE"
    )
    assert "does not exist or not authorized" in refused(production, "drop database NOWHERE")
    assert "does not exist or not authorized" in refused(
        production, "delete from PRODUCTION.HACKER_NEWS.NOTHING"
    )
    assert "Role 'NOBODY' does not exist" in refused(
        production, "grant usage on database PRODUCTION to role NOBODY"
    )
    production.sql("create database if not exists PRODUCTION", "drop database if exists NOWHERE")


def test_a_clone_of_an_earlier_time_holds_what_was_there_then(production: Snowflake) -> None:
    production.keep_history()
    production.sql("insert into PRODUCTION.HACKER_NEWS.ITEMS values (3, 'c')")
    between = production.sql("select current_timestamp()::text")[0][0]
    time.sleep(0.01)
    production.sql("delete from PRODUCTION.HACKER_NEWS.ITEMS")
    production.sql(f"create database COPY clone PRODUCTION at (timestamp => '{between}'::timestamp_tz)")
    assert production.sql("select count(*) from COPY.HACKER_NEWS.ITEMS") == [(3,)]
    production.sql("create or replace database COPY clone PRODUCTION")
    assert production.sql("select count(*) from COPY.HACKER_NEWS.ITEMS") == [(0,)]
    told = refused(
        production,
        "create or replace database COPY clone PRODUCTION at (timestamp => '2020-01-01'::timestamp_tz)",
    )
    assert "Time travel data is not available" in told


def test_a_table_is_replaced_by_a_clone_and_keeps_the_grants_of_what_it_replaces(
    production: Snowflake,
) -> None:
    production.sql(
        "create role ANALYST", "grant select on table PRODUCTION.HACKER_NEWS.ITEMS to role ANALYST"
    )
    production.sql(
        "create database COPY clone PRODUCTION", "insert into COPY.HACKER_NEWS.ITEMS values (9, 'z')"
    )
    target = "PRODUCTION.HACKER_NEWS.ITEMS"
    production.sql(f"create or replace table {target} clone COPY.HACKER_NEWS.ITEMS copy grants")
    assert production.sql(f"select max(id) from {target}") == [(9,)]
    assert [row[:1] for row in production.sql(f"show grants on table {target}")] == [("SELECT",)]
    production.sql(f"create or replace table {target} clone COPY.HACKER_NEWS.ITEMS")
    assert production.sql(f"show grants on table {target}") == []


def test_show_databases_is_cut_into_pages_and_filtered(production: Snowflake) -> None:
    production.sql("create database PROD_A", "create database PRODB", "create database Z")
    names = lambda more: [row[1] for row in production.sql(f"show databases {more}")]
    assert names("") == ["PRODB", "PRODUCTION", "PROD_A", "Z"]
    assert names("starts with 'PROD' limit 2") == ["PRODB", "PRODUCTION"]
    assert names("limit 2 from 'PRODUCTION'") == ["PROD_A", "Z"]
    assert names("like 'prod_a'") == ["PROD_A"]
    assert names("like 'prod\\\\_%'") == ["PROD_A"]


def test_statements_are_known_to_the_letter_and_can_be_made_to_fail(production: Snowflake) -> None:
    from snowflake.connector.errors import ProgrammingError

    with production.connect() as session:
        cursor = session.cursor()
        cursor.execute('CREATE DATABASE "COPY"  CLONE PRODUCTION')
        production.fail("drop", after=True)
        with pytest.raises(ProgrammingError, match="canceled"):
            cursor.execute("DROP DATABASE COPY")
        production.fail("create", errno=3001, message="Insufficient privileges")
        with pytest.raises(ProgrammingError, match="Insufficient"):
            cursor.execute("CREATE DATABASE OTHER")
    assert production.statements() == [
        'CREATE DATABASE "COPY"  CLONE PRODUCTION',
        "DROP DATABASE COPY",
        "CREATE DATABASE OTHER",
    ]
    assert [row[1] for row in production.sql("show databases")] == ["PRODUCTION"]


CHILD = """
import pandas, snowflake.connector
from snowflake.connector.pandas_tools import write_pandas
with snowflake.connector.connect(account="acme-eu", user="u", password="p", database="PRODUCTION", schema="HACKER_NEWS") as c:
    print(c.cursor().execute("select count(*) from items").fetchone())
    frame = pandas.DataFrame({"ID": [7, 8], "WHEN": pandas.to_datetime(["2026-01-01", None]), "NAME": ["x", None]})
    print(write_pandas(c, frame, "FRAMES", auto_create_table=True, use_logical_type=True)[:3])
"""


def test_another_process_sees_the_same_account_and_writes_frames(production: Snowflake) -> None:
    environ = os.environ | production.environment() | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["(2,)", "(True, 1, 2)"], done.stderr
    assert production.sql("select id, name from PRODUCTION.HACKER_NEWS.FRAMES order by 1") == [
        (7, "x"),
        (8, None),
    ]
    assert (
        production.logins()[-2]["ACCOUNT_NAME"] == "acme-eu"
        or production.logins()[-1]["ACCOUNT_NAME"] == "acme-eu"
    )


DAGSTER = """
import pandas
from dagster import Definitions, asset, materialize
from dagster_snowflake_pandas import SnowflakePandasIOManager

@asset
def items() -> pandas.DataFrame:
    return pandas.DataFrame({"id": [1, 2, 3], "title": ["a", "b", "c"]})

@asset
def titles(items: pandas.DataFrame) -> pandas.DataFrame:
    return items[["title"]]

manager = SnowflakePandasIOManager(account="acme", user="u", password="p", database="PRODUCTION", schema="GUIDE")
for _ in range(2):
    assert materialize([items, titles], resources={"io_manager": manager}).success
"""


def test_dagsters_io_manager_for_snowflake_works_on_it(production: Snowflake, tmp_path: object) -> None:
    pytest.importorskip("dagster_snowflake_pandas")
    environ = (
        os.environ | production.environment() | {"PYTHONWARNINGS": "ignore", "DAGSTER_HOME": str(tmp_path)}
    )
    done = subprocess.run(
        [sys.executable, "-c", DAGSTER], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert production.sql("select id from PRODUCTION.GUIDE.ITEMS order by 1") == [(1,), (2,), (3,)]
    assert production.sql("select count(*) from PRODUCTION.GUIDE.TITLES") == [(3,)]


def test_this_process_comes_here_while_it_is_redirected(
    production: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    import snowflake.connector
    from snowflake.connector.errors import DatabaseError

    production.redirect(monkeypatch)
    with snowflake.connector.connect(account="acme", user="u", password="p") as session:
        assert session.cursor().execute("select 1").fetchone() == (1,)
    with pytest.raises(DatabaseError, match="Incorrect username"):
        snowflake.connector.connect(account="acme", user="u", password="wrong")
