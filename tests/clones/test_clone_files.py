"""Clones of database files: sound beside whoever has the source open, with its rights, and of its very blocks where that goes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from anabranch.clones import copier, copying
from anabranch.clones.base import CloneRecord, Surroundings
from anabranch.clones.duckdb import DuckDB
from anabranch.clones.sqlite import SQLite
from anabranch.errors import CloneBusyError, CloneError
from anabranch.names import new_id, now
from anabranch.settings import DuckDBClone, SQLiteClone


def around(folder: Path) -> Surroundings:
    return Surroundings("sales", str(folder), {}, lambda field: f"clones.sales.{field}")


def duck(folder: Path) -> DuckDB:
    return DuckDB(DuckDBClone(provider="duckdb", source="shop.duckdb"), around(folder))


def lite(folder: Path) -> SQLite:
    return SQLite(SQLiteClone(provider="sqlite", source="shop.db"), around(folder))


def record(name: str = "copy") -> CloneRecord:
    return CloneRecord(new_id(), "shop", "sales", "x", "shop", name, "fix", 1, "making", now())


@contextlib.contextmanager
def apart(code: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Runs code in a process of its own until it has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


# DuckDB

DUCK = """
import duckdb, os, sys
db = duckdb.connect("shop.duckdb")
db.execute("set checkpoint_threshold = '1TB'")
db.execute("create table t (a integer)")
db.execute("insert into t values (1)")
db.execute("checkpoint")
db.execute("insert into t values (2)")
"""


def rows(file: str) -> list[int]:
    with duckdb.connect(file, read_only=True) as db:
        return [a for (a,) in db.execute("select a from t order by a").fetchall()]


def test_what_waits_in_the_wal_of_a_killed_writer_goes_along(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", DUCK + "os._exit(1)"], cwd=tmp_path, check=False)
    wal = (tmp_path / "shop.duckdb.wal").read_bytes()
    assert wal
    made, one = duck(tmp_path), record()
    made.open(one)
    assert rows(made.address("copy")) == [1, 2]
    assert not Path(made.address("copy") + ".wal").exists()
    assert (tmp_path / "shop.duckdb.wal").read_bytes() == wal


def test_a_duckdb_file_that_somebody_writes_to_is_refused_and_the_writer_goes_on(tmp_path: Path) -> None:
    more = """
print("ready", flush=True)
sys.stdin.readline()
db.execute("insert into t values (3)")
db.close()
"""
    made = duck(tmp_path)
    with apart(DUCK + more, tmp_path) as writer:
        with pytest.raises(CloneBusyError, match=f"process {writer.pid} ") as caught:
            made.open(record())
        assert caught.value.exit_code == 4
        writer.communicate("\n", timeout=60)
        assert writer.returncode == 0
    assert rows(str(tmp_path / "shop.duckdb")) == [1, 2, 3]
    made.open(record())
    assert rows(made.address("copy")) == [1, 2, 3]


def test_a_duckdb_file_that_this_process_writes_to_is_refused_and_its_lock_stays(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as db:
        db.execute("create table t as select 1 as a")
        with pytest.raises(CloneBusyError, match="this very process"):
            duck(tmp_path).open(record())
        other = subprocess.run(
            [sys.executable, "-c", "import duckdb; duckdb.connect('shop.duckdb')"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "lock" in other.stderr


def test_readers_of_a_duckdb_file_and_the_copy_do_not_mind_each_other(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", DUCK + "db.close()"], cwd=tmp_path, check=True)
    with duckdb.connect(str(tmp_path / "shop.duckdb"), read_only=True) as db:
        made = duck(tmp_path)
        made.open(record())
        assert db.execute("select count(*) from t").fetchone() == (2,)
        # The reader's lock survived the copy: nobody may write meanwhile.
        other = subprocess.run(
            [sys.executable, "-c", "import duckdb; duckdb.connect('shop.duckdb')"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "lock" in other.stderr
    assert rows(made.address("copy")) == [1, 2]


def test_a_file_that_is_no_database_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    for name, made in (("shop.duckdb", duck(tmp_path)), ("shop.db", lite(tmp_path))):
        (tmp_path / name).write_bytes(b"no database at all" * 1000)
        one = record()
        with pytest.raises(CloneError, match=name):
            made.open(one)
        made.drop(one)
        assert list(made.folder.iterdir()) == []


# SQLite


@pytest.fixture(params=["delete", "wal"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as db:
        db.execute(f"pragma journal_mode = {request.param}")
        db.execute("create table t (a integer)")
        db.execute("insert into t values (1)")
        yield db


def lite_rows(file: str) -> list[int]:
    with contextlib.closing(sqlite3.connect(file)) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        return [a for (a,) in db.execute("select a from t order by a")]


def test_a_copy_has_what_is_committed_and_nothing_of_what_is_not(tmp_path: Path, source: Any) -> None:
    source.execute("begin immediate")
    source.execute("insert into t values (2)")
    made = lite(tmp_path)
    made.open(record())
    assert lite_rows(made.address("copy")) == [1]
    source.execute("commit")
    assert lite_rows(str(tmp_path / "shop.db")) == [1, 2]


def test_a_copy_is_whole_while_somebody_writes_all_the_time(tmp_path: Path, source: Any) -> None:
    """Two tables are always written together; no copy may hold one without the other."""
    source.execute("create table u (a integer, filler text)")
    source.execute("insert into u values (1, '')")
    code = """
import sqlite3, sys, time
db = sqlite3.connect("shop.db", isolation_level=None, timeout=60)
print("ready", flush=True)
n = 1
while True:
    n += 1
    db.execute("begin immediate")
    db.execute("insert into t values (?)", (n,))
    db.execute("insert into u values (?, ?)", (n, "x" * 5000))
    db.execute("commit")
    time.sleep(0.01)
"""
    made, one = lite(tmp_path), record()
    with apart(code, tmp_path):
        for _ in range(4):
            made.refresh(one)
            with contextlib.closing(sqlite3.connect(made.address("copy"))) as db:
                assert db.execute("pragma integrity_check").fetchone() == ("ok",)
                counts = db.execute("select (select max(a) from t), (select max(a) from u)").fetchone()
                assert counts[0] == counts[1]


def test_a_lock_that_is_never_given_up_is_told(
    tmp_path: Path, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source.execute("pragma journal_mode").fetchone() == ("wal",):
        pytest.skip("in WAL mode nobody keeps readers out")
    monkeypatch.setattr("anabranch.clones.sqlite._WAIT", 0.1)
    source.execute("begin exclusive")
    made = lite(tmp_path)
    with pytest.raises(CloneBusyError, match="locked by a writer"):
        made.open(record())
    source.execute("rollback")
    assert made.open(record()).new is True


def test_the_locks_of_others_in_this_process_survive_a_copy(tmp_path: Path, source: Any) -> None:
    """A process that closes a file loses all its locks on it: so another one copies."""
    source.execute("begin immediate")
    lite(tmp_path).open(record())
    other = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sqlite3; sqlite3.connect('shop.db', timeout=0).execute('insert into t values (9)')",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "database is locked" in other.stderr
    source.execute("rollback")


# files


def test_who_may_not_read_the_source_may_not_read_its_copy(tmp_path: Path, source: Any) -> None:
    (tmp_path / "shop.db").chmod(0o600)
    made = lite(tmp_path)
    made.open(record())
    assert stat.S_IMODE(Path(made.address("copy")).stat().st_mode) == 0o600


def test_what_an_old_copy_left_beside_itself_is_never_taken_for_part_of_the_new(
    tmp_path: Path, source: Any
) -> None:
    made, one = lite(tmp_path), record()
    made.open(one)
    copy = Path(made.address("copy"))
    for ending in SQLite.companions:
        copy.with_name(copy.name + ending).write_bytes(b"stale")
    source.execute("insert into t values (2)")
    made.refresh(one)
    assert lite_rows(str(copy)) == [1, 2]


def test_blocks_are_shared_where_the_file_system_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file system of this kind is at hand everywhere: the kernel's answer is played."""
    asked = []

    def ficlone(target: int, request: int, source: int) -> int:
        asked.append(request)
        os.write(target, os.pread(source, 1 << 20, 0))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ficlone)
    (tmp_path / "one").write_bytes(b"abc")
    assert copier.copy_file(str(tmp_path / "one"), str(tmp_path / "two")) == "reflink"
    assert (asked, (tmp_path / "two").read_bytes()) == ([0x40049409], b"abc")


@pytest.mark.parametrize("kernel", [True, False])
def test_where_it_cannot_a_copy_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: bool
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(95, "not here")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    if not kernel:
        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    content = os.urandom(3_000_000)
    (tmp_path / "one").write_bytes(content)
    assert copier.copy_file(str(tmp_path / "one"), str(tmp_path / "two")) == "copy"
    assert (tmp_path / "two").read_bytes() == content


def test_a_copy_never_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"abc")
    (tmp_path / "two").write_bytes(b"mine")
    with pytest.raises(CloneError, match="File exists"):
        copying.copy_apart(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").read_bytes() == b"mine"


def test_without_hard_links_a_name_is_given_all_the_same(
    tmp_path: Path, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    made, one = lite(tmp_path), record()
    made.open(one)
    assert lite_rows(made.address("copy")) == [1]
    assert made.drop(one)
    other = record("other")
    Path(made.address("other")).write_bytes(b"mine")
    with pytest.raises(CloneError, match="exists already"):
        made.open(other)
    assert Path(made.address("other")).read_bytes() == b"mine"
