"""Killed at any step, a sandbox's clones are found again: the same command finishes, and close and gc leave nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clone_shop import CloneShop

from doubles.postgres_server import Server
from effort import effort

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


class Killer:
    """The program that carries out verbs, and is killed at the n-th step."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "clone_killer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
        )

    def __call__(self, verb: str, last: int = 0) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"folder": self.folder, "verb": verb, "last": last}) + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        self.process.communicate()


class Sqlite:
    """What the tests look at, of clones of an SQLite file."""

    def __init__(self, shop: CloneShop) -> None:
        self.shop = shop

    def names(self) -> set[str]:
        return self.shop.clones

    def rows(self) -> list[int]:
        return [one for (one,) in self.shop.sql(self.shop.clone("fix"), "select id from orders order by id")]

    def add(self, value: int) -> None:
        self.shop.sql(self.shop.source, f"insert into orders values ({value}, 0)")

    def source(self) -> list[int]:
        return [one for (one,) in self.shop.sql(self.shop.source, "select id from orders order by id")]


class Postgres:
    """What the tests look at, of clones of a Postgres database."""

    def __init__(self, shop: CloneShop, server: Server) -> None:
        self.server = server
        self.database = f"kill_{os.getpid()}"
        with server.connect() as admin:
            self.before = server.databases()
            admin.execute(f"create database {self.database}")
        shop.settings('provider = "sqlite"', 'provider = "postgres"')
        shop.settings("data/sales.db", server.url(self.database))
        self._do(self.database, "create table orders as select * from (values (1), (2)) as o (id)")

    def _do(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        with self.server.connect(database) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def names(self) -> set[str]:
        return self.server.databases() - self.before - {self.database}

    def rows(self) -> list[int]:
        return [one for (one,) in self._do(f"{self.database}_clone_fix", "select id from orders order by id")]

    def add(self, value: int) -> None:
        self._do(self.database, f"insert into orders values ({value})")

    def source(self) -> list[int]:
        return [one for (one,) in self._do(self.database, "select id from orders order by id")]

    def close(self) -> None:
        with self.server.connect() as admin:
            for name in self.server.databases() - self.before:
                admin.execute(f'drop database "{name}" with (force)')


@pytest.fixture(params=["sqlite", "postgres"])
def outside(request: pytest.FixtureRequest, shop: CloneShop) -> Iterator[Sqlite | Postgres]:
    if request.param == "sqlite":
        yield Sqlite(shop)
        return
    made = Postgres(shop, request.getfixturevalue("postgres"))
    yield made
    made.close()


@pytest.fixture
def kill(shop: CloneShop, outside: Sqlite | Postgres) -> Iterator[Killer]:
    assert outside.names() == set()
    shop.repo.commit({}, "Clone")
    with shop.project() as project:
        project.context.environment("production")
    shop.switch("fix")
    made = Killer(shop.folder)
    yield made
    made.close()


def check_findable(shop: CloneShop, outside: Sqlite | Postgres) -> None:
    """Whatever stands outside is told by a record."""
    with shop.project() as project:
        records = project.context.clones.keeper.records()
    told = tuple(text for record in records for text in (record.name, record.making))
    for name in outside.names():
        assert name.startswith(told), (name, told)


def killed_everywhere(kill: Killer, verb: str) -> Iterator[int]:
    for last in range(1, 500):
        if last % 3 == 0 and effort(1) == 1:
            continue  # two of three places, of both kinds of number
        if not kill(verb, last)["killed"]:
            return
        yield last
    raise AssertionError("it never came to its end")


def clean(kill: Killer, outside: Sqlite | Postgres) -> None:
    kill("close")
    assert kill("gc")["code"] == 0
    assert outside.names() == set()


def test_killed_while_it_opens_the_next_open_finishes_or_close_and_gc_leave_nothing(
    shop: CloneShop, outside: Any, kill: Killer
) -> None:
    steps = 0
    for last in killed_everywhere(kill, "open"):
        check_findable(shop, outside)
        if last % 2:
            assert kill("open")["code"] == 0
            assert outside.rows() == [1, 2]
            assert not [name for name in outside.names() if "anabranch_" in name]
        clean(kill, outside)
        steps = last
    assert steps > 8
    assert outside.source() == [1, 2]


def test_killed_while_it_refreshes_the_next_refresh_or_run_finishes(
    shop: CloneShop, outside: Any, kill: Killer
) -> None:
    wanted = [1, 2]
    assert kill("open")["code"] == 0
    for last in killed_everywhere(kill, "refresh"):
        check_findable(shop, outside)
        outside.add(last + 10)
        wanted.append(last + 10)
        assert kill("refresh" if last % 2 else "open")["code"] == 0
        found = outside.rows()
        # Before the refresh was recorded, the old clone is whole, and `open` leaves it.
        assert found == wanted if last % 2 else found in (wanted, wanted[: len(found)])
        assert not [name for name in outside.names() if "anabranch_" in name]
    assert outside.source() == wanted


def test_killed_while_it_closes_gc_finishes(shop: CloneShop, outside: Any, kill: Killer) -> None:
    assert kill("open")["code"] == 0
    for _ in killed_everywhere(kill, "close"):
        check_findable(shop, outside)
        clean(kill, outside)  # closes where it was not closed yet
        assert kill("open")["code"] == 0
        assert outside.rows() == [1, 2]
    assert kill("gc")["code"] == 0
    assert outside.names() == set()


def test_killed_while_it_collects_the_next_gc_finishes(shop: CloneShop, outside: Any, kill: Killer) -> None:
    def leak() -> None:
        assert kill("open")["code"] == 0
        with shop.project() as project:
            project.context.catalog.close_branch(project.context.sandbox("fix").id)

    leak()
    for _ in killed_everywhere(kill, "gc"):
        check_findable(shop, outside)
        assert kill("gc")["code"] == 0
        assert outside.names() == set()
        leak()
    assert outside.names() == set()
