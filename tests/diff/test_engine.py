"""The engine under a comparison: bounded memory, interruption, progress, and nothing left behind."""

import subprocess
import sys
import threading
import time

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from anabranch.diff import diff_tables, engine
from anabranch.diff.engine import open_engine, shared_engine

FOREVER = "SELECT count(*) FROM range(10000000000) a, range(1000) b WHERE a.range % 7 = b.range"


def wide(rows, seed):
    """Rows in random order with a few texts that do not compress."""
    order = np.random.default_rng(seed).permutation(rows)
    texts = pa.array(np.char.mod("text number %d that takes some room", order))
    return pa.table({"id": pa.array(order), "a": texts, "b": texts, "x": pa.array(order * 0.5)})


def test_a_comparison_larger_than_its_memory_spills_and_cleans_up(make, tmp_path):
    rows, spill = 400_000, tmp_path / "spill"
    spill.mkdir()
    before, after = make.table(wide(rows, 1)), make.table(wide(rows, 2))
    found = diff_tables(
        "t",
        before,
        after,
        key_columns=["id"],
        memory_limit="60MB",
        temp_directory=spill,
        threads=1,
        summaries=False,
    )
    assert found.rows.unchanged == rows
    assert not found.rows.differs
    assert list(spill.iterdir()) == []


def test_a_multiset_larger_than_its_memory_spills(make, tmp_path):
    rows = 200_000
    before, after = make.table(wide(rows, 1)), make.table(wide(rows, 2))
    found = diff_tables(
        "t", before, after, memory_limit="60MB", temp_directory=tmp_path, threads=1, summaries=False
    )
    assert found.rows.unchanged == rows


def test_an_interrupt_in_the_caller_stops_the_query_and_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def interrupt(done):
        calls.append(done)
        raise KeyboardInterrupt

    with open_engine(temp_directory=tmp_path, threads=1, on_progress=interrupt) as engine:
        monkeypatch.setattr(engine, "tell", interrupt)
        with pytest.raises(KeyboardInterrupt):
            engine.rows(FOREVER)
    assert calls
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "anabranch-diff"]


def test_ctrl_c_ends_a_process_that_compares(tmp_path):
    program = (
        "import sys, pathlib\n"
        "from anabranch.diff.engine import open_engine\n"
        "try:\n"
        f"    with open_engine(temp_directory=pathlib.Path({str(tmp_path)!r})) as engine:\n"
        "        print('ready', flush=True)\n"
        f"        engine.rows({FOREVER!r})\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(2)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.stdout.close()
    assert list(tmp_path.iterdir()) == []


def test_progress_grows_to_one(make):
    told = []
    diff_tables(
        "t", make.table(wide(1000, 1)), make.table(wide(2000, 2)), key_columns=["id"], on_progress=told.append
    )
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert all(0 < done <= 1 for done in told)


def test_an_error_in_a_query_reaches_the_caller():
    import duckdb

    with open_engine(threads=1) as engine, pytest.raises(duckdb.Error, match="nowhere"):
        engine.rows("SELECT * FROM nowhere")


def test_importing_the_diff_loads_neither_arrow_nor_duckdb():
    program = (
        "import sys, anabranch.diff; print([m for m in ('pyarrow', 'duckdb', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_comparisons_within_a_shared_engine_see_nothing_of_each_other(tmp_path):
    with shared_engine():
        with open_engine(temp_directory=tmp_path) as first:
            first.execute("CREATE TEMP TABLE one AS SELECT 1 AS n")
            first.execute("SET TimeZone = 'Asia/Tokyo'")
        with open_engine(temp_directory=tmp_path) as second:
            assert second.rows("SELECT current_setting('TimeZone')") == [("UTC",)]
            with pytest.raises(duckdb.CatalogException):
                second.rows("SELECT n FROM one")
        assert len(list(tmp_path.iterdir())) <= 1
    assert list(tmp_path.iterdir()) == []


def test_a_shared_engine_keeps_to_the_limits_of_each_comparison(tmp_path):
    with shared_engine():
        with open_engine(threads=1, temp_directory=tmp_path) as narrow:
            assert narrow.threads == 1
        with open_engine(threads=2, temp_directory=tmp_path) as wide:
            assert wide.threads == 2
        with open_engine(threads=1, temp_directory=tmp_path) as again:
            assert again.threads == 1
    with open_engine(threads=1) as after, open_engine(threads=1) as beside:
        after.execute("CREATE TABLE t AS SELECT 1 AS n")
        with pytest.raises(duckdb.CatalogException):
            beside.rows("SELECT n FROM t")


def test_a_shared_engine_spills_where_it_is_told_to_unless_a_comparison_says_more(tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.mkdir()
    theirs.mkdir()
    with shared_engine(theirs):
        with open_engine() as one:
            assert one.rows("SELECT current_setting('temp_directory')")[0][0].startswith(str(theirs))
        with open_engine(temp_directory=mine) as other:
            assert other.rows("SELECT current_setting('temp_directory')")[0][0].startswith(str(mine))
    assert [*mine.iterdir(), *theirs.iterdir()] == []


def test_a_shared_engine_that_has_failed_is_replaced(tmp_path):
    with shared_engine(tmp_path):
        with open_engine() as first:
            first.execute("CREATE TABLE one AS SELECT 1 AS n")
        # Nothing makes DuckDB fail within at will; a database that was closed answers no more than one that has failed.
        for database in engine._SHARED.get().databases.values():
            database.close()
        with open_engine() as second:
            assert second.rows("SELECT 1") == [(1,)]


def test_a_shared_engine_ends_although_a_comparison_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), shared_engine(), open_engine(temp_directory=tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
