"""The guide to clones: its Postgres and DuckDB examples, which the player of pages can't serve, on real databases."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import duckdb
import pytest
from clone_shop import CloneShop

from anabranch.names import new_id
from doubles.postgres_server import Server

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "clones.md"


def examples(provider: str) -> list[str]:
    blocks = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = [block for block in blocks if f'provider = "{provider}"' in block]
    assert found
    return found


def use(shop: CloneShop, example: str) -> str:
    """Puts an example in the place of the project's own clone; returns the clone's name in it."""
    text = (shop.folder / "anabranch.toml").read_text().partition("[clones.sales]")[0]
    (shop.folder / "anabranch.toml").write_text(text + example)
    (name,) = tomllib.loads(example)["clones"]
    definitions = shop.folder / "clone_shop_pipeline" / "definitions.py"
    definitions.write_text(definitions.read_text().replace('CloneOf("sales"', f'CloneOf("{name}"'))
    return str(name)


@pytest.mark.parametrize("number", range(2))
def test_the_postgres_examples_make_and_drop_a_clone(
    shop: CloneShop, postgres: Server, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    example = examples("postgres")[number]
    database, host = f"guide_{new_id()}", f"127.0.0.1:{postgres.port}"
    monkeypatch.setenv("MAKER_PASSWORD", "m4ker")
    monkeypatch.setenv("APP_PASSWORD", "4pp")
    asked = example.replace("db.example.com/{name}", f"{host}/{{name}}")
    asked = re.sub(r"db\.example\.com/\w+", f"{host}/{database}", asked)
    use(shop, asked)
    definitions = shop.folder / "clone_shop_pipeline" / "definitions.py"
    text = definitions.read_text()
    head, _, tail = text.partition("        with closing")
    _, _, tail = tail.partition("\n\n\n@ab.asset")
    body = (
        "        import psycopg\n\n        with psycopg.connect(self.path) as connection:\n"
        '            connection.execute("insert into visits values (%s)", (self.name,))\n'
        '            return connection.execute("select id, amount from orders order by id").fetchall()\n\n\n@ab.asset'
    )
    definitions.write_text(head + body + tail)
    shop.repo.commit({}, "Use Postgres")
    schema = tomllib.loads(example)["clones"]["sales"].get("schema", "public")
    with postgres.connect() as admin:
        before = postgres.databases()
        for role in ("maker", "app"):
            known = admin.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone()
            admin.execute(f"{'alter' if known else 'create'} role {role} login createdb")
        admin.execute(f"create database {database} owner maker")
    try:
        with postgres.connect(database) as source:
            source.execute(f"set role maker; create schema if not exists {schema}")
            source.execute(f"create table {schema}.orders as select 1 as id, 10.0::float as amount")
            source.execute(f"create table {schema}.visits (who text)")
            source.execute(f"grant usage on schema {schema} to app")
            source.execute(f"grant all on all tables in schema {schema} to app")
        assert shop.cli("run")[0] == 0
        shop.switch("fix")
        code, opened = shop.cli("sandbox", "open")
        assert code == 0, opened
        (clone,) = opened["clones"]
        assert clone["name"].endswith("_clone_fix")
        code, done = shop.cli("run", "--force")
        assert code == 0, done
        assert "m4ker" not in str(done)
        with postgres.connect(database) as source:
            assert source.execute(f"select who from {schema}.visits").fetchall() == [(clone["source"],)]
        code, closed = shop.cli("sandbox", "close", "--yes")
        assert (code, closed["clone_problems"]) == (0, [])
        assert postgres.databases() - before == {database}
    finally:
        with postgres.connect() as admin:
            admin.execute(f"drop database {database} with (force)")


def test_the_duckdb_example_waits_for_the_first_run(shop: CloneShop) -> None:
    name = use(shop, examples("duckdb")[0])
    with duckdb.connect(str(shop.folder / "data" / "warehouse.duckdb")) as source:
        source.execute("create table orders as select 1 as id, 10.0 as amount")
        source.execute("create table visits (who text)")
    definitions = shop.folder / "clone_shop_pipeline" / "definitions.py"
    text = definitions.read_text().replace("import sqlite3\n", "import duckdb\n")
    text = text.replace(
        "with closing(sqlite3.connect(self.path)) as connection, connection:",
        "with duckdb.connect(self.path) as connection:",
    )
    text = text.replace("from contextlib import closing\n", "")
    definitions.write_text(text)
    shop.repo.commit({}, "Use DuckDB")
    assert shop.cli("run")[0] == 0
    shop.switch("fix")
    assert shop.cli("sandbox", "open")[1]["clones"] == []
    assert shop.cli("run", "--force")[0] == 0
    _, listed = shop.cli("sandbox", "list", "--clones")
    assert [(one["clone"], one["condition"]) for one in listed["clones"]] == [(name, "ready")]

    def who(path: Any) -> list[Any]:
        with duckdb.connect(str(path), read_only=True) as db:
            return db.execute("select who from visits").fetchall()

    assert who(shop.folder / "data" / "warehouse.duckdb") == [("warehouse",)]
    copy = shop.folder / ".anabranch" / "clones" / "warehouse_clone_fix.duckdb"
    assert who(copy) == [("warehouse",), ("warehouse_clone_fix",)]
    assert shop.cli("sandbox", "close", "--yes")[0] == 0
    assert shop.clones == set()
