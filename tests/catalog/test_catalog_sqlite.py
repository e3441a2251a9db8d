"""What only a database can get wrong: files, versions, migrations, waiting, indices. And the door: `open_catalog`."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from catalog_world import Clock, entries, keep_all, production, put, sandbox, seen

from anabranch.catalog import open_catalog, queries
from anabranch.catalog.base import CommitRequest, Point
from anabranch.catalog.database import Database, Transaction
from anabranch.catalog.dialect import SqliteDialect
from anabranch.catalog.memory import MemoryCatalog
from anabranch.catalog.schema import MIGRATIONS, ensure_schema
from anabranch.catalog.sql import SqlCatalog
from anabranch.errors import CatalogError, CatalogVersionError, LeaseError, RefError

NEWER = (
    *MIGRATIONS,
    ["alter table branches add column colour {text}", "create table paint (id {serial}, at {int})"],
)


def open_file(path: Path, **options: float) -> SqlCatalog:
    return SqlCatalog(SqliteDialect(path, **options))


# the door


def test_the_url_says_which_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_catalog("memory://"), MemoryCatalog)
    relative = open_catalog("sqlite:///here/catalog.db")
    production(relative, a=1)
    monkeypatch.chdir("/")
    assert seen(relative, "production") == {"a": "1"}
    relative.close()
    assert (tmp_path / "here" / "catalog.db").is_file()
    absolute = open_catalog(f"sqlite:///{tmp_path}/here/catalog.db")
    assert seen(absolute, "production") == {"a": "1"}
    absolute.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "catalog.db",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/x",
        "redis://x",
    ],
)
def test_a_url_of_nothing_known_is_refused(url: str) -> None:
    with pytest.raises(CatalogError) as caught:
        open_catalog(url)
    assert caught.value.hint


def test_postgres_is_refused_with_a_word_on_when_it_comes() -> None:
    with pytest.raises(CatalogError, match="PostgreSQL is not part of this release") as caught:
        open_catalog("postgresql://db/anabranch")
    assert "anabranch[postgres]" in caught.value.hint


def test_the_package_loads_no_driver() -> None:
    script = "import sys, anabranch.catalog; print([name for name in ('sqlite3', 'pyarrow', 'json') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# files


def test_what_was_told_is_there_after_the_file_is_opened_again(tmp_path: Path) -> None:
    first = open_file(tmp_path / "c.db")
    root = production(first, a=1)
    branch = sandbox(first)
    put(first, branch, a=2)
    first.close()
    second = open_file(tmp_path / "c.db")
    assert seen(second, "fix") == {"a": "2"}
    assert second.branch("production").id == root.id
    assert second.statistics()["bytes"] >= 4096
    second.close()


def test_every_commit_is_flushed_and_checked(tmp_path: Path) -> None:
    database = Database(SqliteDialect(tmp_path / "c.db"))
    with database.read() as tx:
        found = {
            name: tx.one(f"pragma {name}")[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    database.close()


def test_missing_folders_are_made(tmp_path: Path) -> None:
    open_file(tmp_path / "a" / "b" / "c.db").close()
    assert (tmp_path / "a" / "b" / "c.db").is_file()


def test_an_empty_file_becomes_a_catalog(tmp_path: Path) -> None:
    (tmp_path / "c.db").touch()
    catalog = open_file(tmp_path / "c.db")
    production(catalog)
    catalog.close()


def test_a_file_that_is_no_database_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    with pytest.raises(CatalogError, match=r"notes\.txt is no SQLite database"):
        open_file(path)
    assert path.read_text() == "not a database " * 100


def test_a_database_of_something_else_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("create table guests (name)")
    other.close()
    with pytest.raises(CatalogError, match=r"other\.db is a database, but not a catalog"):
        open_file(path)
    other = sqlite3.connect(path)
    assert other.execute("select name from sqlite_master").fetchall() == [("guests",)]
    other.close()


def test_a_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError, match="file"):
        open_file(tmp_path / "file" / "c.db")
    with pytest.raises(CatalogError, match=str(tmp_path)):
        open_file(tmp_path)


def test_text_that_no_database_can_hold_is_refused_whole(tmp_path: Path) -> None:
    catalog = open_file(tmp_path / "c.db")
    root = production(catalog)
    with pytest.raises(CatalogError, match="Unicode"):
        catalog.commit(CommitRequest(root.id, changes=entries(a=1), author="\udcff"))
    assert catalog.branch("production").head == 0
    catalog.close()


def test_a_connection_in_use_while_the_catalog_is_closed_is_closed_after_it(tmp_path: Path) -> None:
    database = Database(SqliteDialect(tmp_path / "c.db"))
    with database.read() as tx:
        database.close()
        assert tx.one("select 1") == (1,)
    assert database._idle == []
    with database.read() as tx:
        assert tx.one("select 1") == (1,)
    assert len(database._idle) == 1
    database.close()


# waiting


def test_a_busy_catalog_is_told_after_the_wait_and_can_be_read_meanwhile(tmp_path: Path) -> None:
    catalog = open_file(tmp_path / "c.db", busy_seconds=0.05)
    root = production(catalog, a=1)
    other = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(LeaseError, match="busy") as caught:
        put(catalog, root, a=2)
    assert caught.value.exit_code == 4
    assert seen(catalog, "production") == {"a": "1"}
    reader = open_file(tmp_path / "c.db", busy_seconds=0.05)
    assert seen(reader, "production") == {"a": "1"}
    reader.close()
    other.execute("rollback")
    other.close()
    put(catalog, root, a=3)
    assert seen(catalog, "production") == {"a": "3"}
    catalog.close()


def test_one_call_reads_one_state_even_if_gc_retires_it_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, gc = open_file(tmp_path / "c.db"), open_file(tmp_path / "c.db")
    root = production(catalog, a=1, b=1)
    old = root.point
    put(catalog, root, a=2, b=2)
    line_of = queries.line_of

    def line_and_then_gc(tx: Transaction, point: Point) -> list[Point]:
        found = line_of(tx, point)
        assert gc.retire({root.id: 2}) == 2
        return found

    monkeypatch.setattr(queries, "line_of", line_and_then_gc)
    found = catalog.entries(old)
    monkeypatch.undo()
    assert [item.version for item in found.values()] == ["v1", "v1"]
    with pytest.raises(RefError):
        catalog.entries(old)
    catalog.close()
    gc.close()


# versions and migrations


def test_an_older_catalog_is_brought_forward_with_all_it_holds(tmp_path: Path) -> None:
    catalog = open_file(tmp_path / "c.db")
    production(catalog, a=1)
    catalog.close()
    database = Database(SqliteDialect(tmp_path / "c.db"))
    for _ in range(2):
        ensure_schema(database, NEWER)
        with database.read() as tx:
            assert tx.all("select name, colour from branches") == [("production", None)]
            assert tx.all("select location from entries") == [("lake/a/1.json",)]
            assert tx.all("select * from paint") == []
            assert tx.one("select value from anabranch_meta where name = 'version'") == (str(len(NEWER)),)
    database.close()


def test_a_migration_that_fails_leaves_the_catalog_as_it_was(tmp_path: Path) -> None:
    catalog = open_file(tmp_path / "c.db")
    production(catalog, a=1)
    database = Database(SqliteDialect(tmp_path / "c.db"))
    with pytest.raises(CatalogError, match=r"c\.db"):
        ensure_schema(
            database, (*NEWER, ["create table more (a {int})", "alter table nowhere add column a {int}"])
        )
    with database.read() as tx:
        assert not {"paint", "more"} & {name for (name,) in tx.all(database.dialect.list_tables)}
    database.close()
    put(catalog, catalog.branch("production"), a=2)
    catalog.close()
    again = open_file(tmp_path / "c.db")
    assert seen(again, "production") == {"a": "2"}
    again.close()


def test_a_newer_catalog_is_refused_with_a_sentence(tmp_path: Path) -> None:
    running = open_file(tmp_path / "c.db")
    root = production(running, a=1)
    newer = Database(SqliteDialect(tmp_path / "c.db"))
    ensure_schema(newer, NEWER)
    newer.close()
    with pytest.raises(CatalogVersionError) as caught:
        open_file(tmp_path / "c.db")
    assert f"has version {len(NEWER)}, and this program knows versions up to {len(MIGRATIONS)}" in str(
        caught.value
    )
    assert "upgrade" in caught.value.hint
    with pytest.raises(CatalogVersionError):  # also where it was opened before somebody brought it forward
        put(running, root, a=2)
    assert seen(running, "production") == {"a": "1"}
    running.close()


# costs


def test_no_call_of_everyday_reads_a_table_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = open_file(tmp_path / "c.db")
    root = production(catalog, **{f"k{number}": 1 for number in range(50)})
    asked: list[str] = []
    for name in ("all", "one", "run", "many"):
        original = getattr(Transaction, name)

        def recorded(self: Transaction, sql: str, *values: object, original=original) -> object:
            asked.append(sql)
            return original(self, sql, *values)

        monkeypatch.setattr(Transaction, name, recorded)
    branch = sandbox(catalog)
    put(catalog, branch, k1=2, k2=None)
    point = catalog.resolve("fix")
    catalog.get(point, "k3")
    catalog.entries(point)
    catalog.entries(point, ["k1", "k3"])
    catalog.own(point)
    catalog.changes(root.point, point)
    catalog.commit_changes(point)
    catalog.commits(branch.id, limit=3)
    catalog.get_commit(point)
    catalog.find("f-k1-2")
    catalog.find_many(["f-k1-2", "f-k1-1"])
    catalog.commit(
        CommitRequest(
            branch.id, changes=entries(k1=3), expect={"k3": "v1"}, base=1, drop=["k2"], idempotency_key="i"
        )
    )
    catalog.close_branch(branch.id)
    monkeypatch.undo()
    database = sqlite3.connect(tmp_path / "c.db")
    scans = set()
    for sql in set(asked):
        for *_, step in database.execute(f"explain query plan {sql}", (1,) * sql.count("?")):
            if step.startswith("SCAN") and step != "SCAN CONSTANT ROW":
                scans.add((step, sql))
    plans = [
        step
        for sql in set(asked)
        if "+e.since" in sql and "e.key in" not in sql
        for *_, step in database.execute(f"explain query plan {sql}", (1,) * sql.count("?"))
    ]
    database.close()
    catalog.close()
    # Scanned are only the rows that find_many has already found by its index.
    assert not [scan for scan in scans if scan[0] != "SCAN found" and "subquery" not in scan[0]]
    assert plans == ["SEARCH e USING INDEX entries_by_until (branch_id=? AND until>?)"]


def test_opening_a_branch_writes_the_same_rows_for_any_number_of_keys(tmp_path: Path) -> None:
    catalog = SqlCatalog(SqliteDialect(tmp_path / "c.db"), clock=Clock())
    root = production(catalog)
    before = dict(catalog.statistics())
    sandbox(catalog, "small")
    put(catalog, root, **{f"k{number}": 1 for number in range(2000)})
    middle = dict(catalog.statistics())
    sandbox(catalog, "large")
    after = dict(catalog.statistics())
    assert (after["entries"], middle["entries"]) == (2000, 2000)
    assert after["commits"] - middle["commits"] == 1
    assert middle["commits"] - before["commits"] == 2
    assert catalog.retire(keep_all(catalog)) == 0
    catalog.close()
