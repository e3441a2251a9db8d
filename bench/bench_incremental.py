"""What it costs to bring incremental assets up to date, beside making them anew; to tell what an append brought; to append.

    python bench/bench_incremental.py [--rows 10000000] [--repeat 5] [--appends 1000]

Every figure is a median. *Rebuild* and *update* are whole runs of a project, steps in this process: the source, which gets
one percent more rows each time, and three assets that read it (a table with a column more, a statistic by key in SQL, a
filter in polars). The update is compared with the rebuild of the same four tables, its steps with that of the three.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import anabranch as ab
from anabranch.diff import diff_tables
from anabranch.lake.changes import Changes
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, append_table, write_table
from anabranch.lake.upsert import upsert_table
from bench_lake import flights
from big_project import git

SETTINGS = """[project]
name = "grown"
definitions = "grown:defs"

[environments.production]
git_branch = "main"
"""

DEFINITIONS = '''
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import anabranch as ab

INCOMING = Path(__file__).parent / ".anabranch" / "incoming"


@ab.asset(incremental="append", refresh="always")
def flights(previous: ab.Table | None) -> pa.RecordBatchReader | None:
    """Appends the files whose flights are not there yet."""
    known = -1
    if previous is not None:
        known = int(previous.to_duckdb().aggregate("max(flight_id)").fetchall()[0][0])
    files = [f for f in sorted(INCOMING.glob("*.parquet")) if int(f.stem) > known]
    if not files:
        return None
    schema = pq.read_schema(files[0])
    return pa.RecordBatchReader.from_batches(
        schema, (b for f in files for b in pq.ParquetFile(f).iter_batches(1 << 20))
    )


@ab.asset(incremental="append")
def late(flights: ab.Changes) -> pl.LazyFrame:
    """Flights that were late."""
    return flights.added.to_lazy().filter(pl.col("delay") > 15)


longer = ab.sql(
    "longer", "select *, delay / nullif(air_time, 0) as share from flights__added", incremental="append"
)

by_day = ab.sql(
    "by_day",
    """
    select day, carrier, count(*) as flights, avg(delay) as delay from flights
    where day in (select day from flights__added union select day from flights__removed)
    group by day, carrier
    """,
    incremental="upsert",
    key=["day", "carrier"],
)

defs = ab.Definitions(assets=[flights, late, longer, by_day])
'''


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def project(folder: Path, rows: int, repeat: int) -> None:
    """Runs of a project: all anew, and after one percent more."""
    folder.mkdir()
    (folder / "anabranch.toml").write_text(SETTINGS)
    (folder / ".gitignore").write_text(".anabranch/\n__pycache__/\n")
    (folder / "grown.py").write_text(DEFINITIONS)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Start")
    incoming = folder / ".anabranch" / "incoming"
    incoming.mkdir(parents=True)
    whole = flights(rows)
    pq.write_table(whole, incoming / f"{rows - 1:012d}.parquet")
    del whole
    os.environ["GIT_CONFIG_GLOBAL"] = os.devnull
    readers = ["late", "longer", "by_day"]
    updates, steps = [], []
    with ab.Project(folder) as opened:
        assert opened.run(in_process=True).ok
        again = max(1, repeat // 2)
        rebuilds = [timed(lambda: opened.run(readers, force=True, in_process=True)) for _ in range(again)]
        wholes = [timed(lambda: opened.run(force=True, in_process=True)) for _ in range(again)]
        more = max(1, rows // 100)
        for number in range(repeat):
            first = rows + number * more
            batch = flights(more, seed=100 + number)
            batch = batch.set_column(0, "flight_id", pa.array(range(first, first + more), pa.int64()))
            newest = (15_706 + 365 + number // 2) * 1
            batch = batch.set_column(11, "day", pa.array([newest] * more, pa.int32()).cast(pa.date32()))
            pq.write_table(batch, incoming / f"{first + more - 1:012d}.parquet")
            start = time.perf_counter()
            result = opened.run(in_process=True)
            updates.append(time.perf_counter() - start)
            assert result.ok, [o.error for o in result.execution.failed]
            assert sum(o.state == "ran" for o in result.execution.outcomes.values()) == 4
            steps.append(sum(o.seconds for k, o in result.execution.outcomes.items() if k in readers))
    rebuild, whole, update = map(statistics.median, (rebuilds, wholes, updates))
    print(f"rebuild of source and 3 assets, {rows:,} rows    {whole:8.2f} s")
    print(f"rebuild of the 3 assets alone                    {rebuild:8.2f} s")
    print(
        f"1 % more: source and 3 assets, the whole run     {update:8.2f} s   {update / whole:6.1%} of the rebuild"
    )
    print(
        f"          the 3 assets' steps alone              {statistics.median(steps):8.2f} s   "
        f"{statistics.median(steps) / rebuild:6.1%} of the rebuild"
    )


def changes(folder: Path, rows: int, repeat: int) -> None:
    """What came and went: after an append of one percent, and after an upsert into one file."""
    storage = Storage(folder, scope=Scope.environment())
    big = flights(rows)
    table = Table("t", write_table(storage, "t", big).location, storage)
    more = flights(max(1, rows // 100), seed=8)
    more = more.set_column(0, "flight_id", pa.array(range(rows, rows + more.num_rows), pa.int64()))
    grown = Table("t", append_table(storage, "t", more, previous=table).location, storage)
    edited = big.slice(rows // 2, max(1, rows // 10_000))
    edited = edited.set_column(7, "delay", pa.array([0.0] * edited.num_rows))
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        written = upsert_table(storage, "t", edited, by=["flight_id"], previous=table)
        taken.append(time.perf_counter() - start)
    merged = Table("t", written.location, storage)
    print(f"upsert of {edited.num_rows:,} rows in one place              {statistics.median(taken):8.3f} s")

    def told(old: Table, new: Table) -> None:
        found = Changes(Table("t", old.location, storage), Table("t", new.location, storage))
        assert found.added.to_arrow().num_rows == found.added_rows
        assert found.removed_rows == found.removed.to_arrow().num_rows

    def compared(old: Table, new: Table, keys: list[str]) -> None:
        sides = (Table("t", each.location, storage) for each in (old, new))
        assert diff_tables("t", *sides, key_columns=keys).rows.added == more.num_rows

    for name, keys in (("by key", ["flight_id"]), ("without one", [])):
        figure = statistics.median(
            timed(lambda keys=keys: compared(table, grown, keys)) for _ in range(repeat)
        )
        print(f"diff {name:12}, after the append of 1 %         {figure:8.3f} s")

    for name, new in (("append of 1 %", grown), ("upsert", merged)):
        figure = statistics.median(timed(lambda new=new: told(table, new)) for _ in range(repeat))
        print(f"changes, and their rows read, after the {name:13}{figure:8.3f} s")


def appends(folder: Path, count: int) -> None:
    """One small append after the other; then to the first table and to the last in turns, so that both meet the same load."""
    storage = Storage(folder, scope=Scope.environment())
    data = flights(100)
    first = Table("t", write_table(storage, "t", data).location, storage)
    table = first
    taken = []
    for _ in range(count):
        start, work = time.perf_counter(), time.process_time()
        written = append_table(storage, "t", data, previous=table)
        taken.append((time.perf_counter() - start, time.process_time() - work))
        table = Table("t", written.location, storage)
    turns: dict[str, list[float]] = {"first": [], "last": []}
    for _ in range(100):
        for name, target in (("first", first), ("last", table)):
            handle = Table("t", target.location, storage)
            turns[name].append(timed(lambda handle=handle: append_table(storage, "t", data, previous=handle)))
    early, late = statistics.median(turns["first"]), statistics.median(turns["last"])
    print(f"append of 100 rows to a table of one append      {early * 1000:8.2f} ms")
    print(
        f"the {count:,}th, in turns with it                  {late * 1000:8.2f} ms  {late / early:6.2f} times"
    )
    means = [statistics.mean(work for _, work in part) for part in (taken[1:101], taken[-100:])]
    print(
        f"processor time of 100, compaction and all        {means[0] * 1000:8.2f} ms, {means[1] * 1000:.2f} ms"
        f"  {means[1] / means[0]:.2f} times"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000, help="0: the appends alone")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--appends", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="anabranch-bench-") as folder:
        root = Path(folder)
        appends(root / "appends", options.appends)
        if options.rows:
            changes(root / "changes", options.rows, options.repeat)
            project(root / "project", options.rows, options.repeat)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
