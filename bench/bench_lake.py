"""What the lake costs beside bare Parquet: large tables, small ones, appends, partitions, a stream larger than memory, start-up.

    python bench/bench_lake.py [--rows 10000000] [--repeat 3] [--folder FOLDER]

Every figure is a median of the repeats, next to that of a baseline taken in the same run, in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anabranch.lake.partitions import (
    Layout,
    LayoutField,
    PartitionMap,
    Slice,
    assemble,
    overlay,
    write_partition,
)
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, append_table, write_table
from anabranch.lake.version import content_of


def flights(rows: int, seed: int = 7) -> pa.Table:
    """Rows of 12 columns such as a log of flights has: keys, times, small categories, texts, measures with nulls."""
    random = np.random.default_rng(seed)
    carriers = np.array(["AA", "B6", "DL", "EV", "UA", "US", "WN"])
    airports = np.array([f"{a}{b}{c}" for a in "ABCDE" for b in "KLMNO" for c in "XYZ"])
    nulls = random.random(rows) < 0.03
    delay = random.normal(12, 40, rows)
    return pa.table(
        {
            "flight_id": np.arange(rows, dtype=np.int64),
            "departure": pa.array(1_356_998_400_000_000 + np.arange(rows) * 3_000_000, pa.timestamp("us")),
            "carrier": carriers[random.integers(0, len(carriers), rows)],
            "origin": airports[random.integers(0, len(airports), rows)],
            "destination": airports[random.integers(0, len(airports), rows)],
            "tail": pa.array([f"N{number}" for number in random.integers(100, 4_000, rows)]),
            "number": random.integers(1, 9_000, rows).astype(np.int32),
            "delay": pa.array(delay, mask=nulls),
            "air_time": pa.array(random.integers(20, 600, rows).astype(np.float64), mask=nulls),
            "distance": random.integers(80, 5_000, rows).astype(np.int64),
            "cancelled": nulls,
            "day": pa.array((15_706 + np.arange(rows) * 365 // rows).astype(np.int32), pa.date32()),
        }
    )


class Report:
    """Lines of name, median and ratio to a baseline; of processor time too, which a busy machine does not distort."""

    def __init__(self, repeat: int) -> None:
        self.repeat = repeat
        print(f"{'':48} {'median':>12} {'least':>12} {'processor':>12}   ratio of medians, of processor time")

    def compare(self, *named: tuple[str, object], unit: float = 1.0, label: str = "s") -> None:
        """Runs functions in turns; the first is the baseline of the others."""
        for _, function in named:
            function()
        times: dict[str, list[float]] = {name: [] for name, _ in named}
        worked: dict[str, list[float]] = {name: [] for name, _ in named}
        for _ in range(self.repeat):
            for name, function in named:
                start, work = time.perf_counter(), time.process_time()
                function()
                worked[name].append((time.process_time() - work) / unit)
                times[name].append((time.perf_counter() - start) / unit)
        first = named[0][0]
        base, base_work = statistics.median(times[first]), statistics.median(worked[first])
        for name, values in times.items():
            middle, work = statistics.median(values), statistics.median(worked[name])
            ratio = "baseline" if name == first else f"{middle / base:.2f}  {work / base_work:.2f}"
            print(
                f"{name:48} {middle:9.3f} {label:2} {min(values):9.3f} {label:2} {work:9.3f} {label:2}   {ratio}"
            )

    def line(self, name: str, text: str) -> None:
        print(f"{name:48} {text:>13}")


STREAM = """
import sys, time
import numpy as np, pyarrow as pa
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, write_table
rows, batch = int(sys.argv[2]), 100_000
def batches():
    random = np.random.default_rng(1)
    for start in range(0, rows, batch):
        yield pa.record_batch({"id": np.arange(start, start + batch), "a": random.random(batch), "b": random.random(batch),
            "t": pa.array(["text %d" % n for n in random.integers(0, 10**9, batch)])})
schema = next(batches()).schema
storage = Storage(sys.argv[1], scope=Scope.environment())
start = time.perf_counter()
written = write_table(storage, "stream", pa.RecordBatchReader.from_batches(schema, batches()))
wrote = time.perf_counter() - start
def resident():  # of this process alone: what getrusage says is inherited
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) >> 10 for line in file if line.startswith("VmHWM"))
peak = resident()
size = 0
start = time.perf_counter()
for part in Table("stream", written.location, storage).to_batches():
    size += part.nbytes
print(f"{size >> 20} MB Arrow, {written.files} files; written in {wrote:.1f} s, peak {peak} MB; "
      f"streamed back in {time.perf_counter() - start:.1f} s, peak {resident()} MB")
"""

SMALL = """
import time
start = time.perf_counter()
import sys
import pyarrow as pa
{imports}
data = pa.RecordBatch.from_arrays([pa.array(range(10))], names=["a"])
reader = pa.RecordBatchReader.from_batches(data.schema, [data])
{body}
print((time.perf_counter() - start) * 1000)
"""
OURS = """
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, write_table
"""
OURS_BODY = """
storage = Storage(sys.argv[1], scope=Scope.environment())
Table("t", write_table(storage, "t", reader).location, storage).to_arrow()
"""
BARE = "import pyarrow.parquet as pq"
BARE_BODY = """
pq.write_table(reader.read_all(), sys.argv[1] + "/bare.parquet", compression="zstd")
pq.read_table(sys.argv[1] + "/bare.parquet")
"""


def process(program: str, *arguments: str) -> str:
    """What a Python process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def large(report: Report, folder: Path, rows: int) -> None:
    """A large table against bare Parquet."""
    data = flights(rows)
    report.line(f"{rows:,} rows x {data.num_columns} columns", f"{data.nbytes >> 20} MB Arrow")
    bare = folder / "bare.parquet"
    state: dict[str, Table] = {}

    def ours(threads: int) -> None:
        shutil.rmtree(folder / "warehouse", ignore_errors=True)
        storage = Storage(folder / "warehouse", scope=Scope.environment())
        state["table"] = Table("t", write_table(storage, "t", data, threads=threads).location, storage)

    report.compare(
        ("write: pyarrow.parquet.write_table(zstd)", lambda: pq.write_table(data, bare, compression="zstd")),
        ("write: write_table, 2 threads, version, flushed", lambda: ours(2)),
        ("write: write_table, 1 thread, version, flushed", lambda: ours(1)),
        ("version alone, 1 thread", lambda: content_of(data)),
    )
    ours(2)
    table = state["table"]
    handle = (table.key, table.location, table._storage)
    report.line("stored", f"{table.bytes >> 20} MB")
    report.line("stored, bare", f"{bare.stat().st_size >> 20} MB")
    report.compare(
        ("read: pyarrow.parquet.read_table", lambda: pq.read_table(bare)),
        ("read: Table.to_arrow", lambda: Table(*handle).to_arrow()),
        ("read: Table.to_batches, every batch", lambda: [None for _ in Table(*handle).to_batches()]),
        ("read: Table.to_lazy().collect()", lambda: Table(*handle).to_lazy().collect()),
    )
    two = ["carrier", "delay"]
    report.compare(
        ("two columns: read_table", lambda: pq.read_table(bare, columns=two)),
        ("two columns: Table.to_arrow", lambda: Table(*handle).to_arrow(two)),
    )
    wanted = pc.field("flight_id") < rows // 100
    report.compare(
        ("1 % by a sorted column: read_table", lambda: pq.read_table(bare, filters=wanted)),
        ("1 %: Table.to_arrow, Arrow expression", lambda: Table(*handle).to_arrow(filter=wanted)),
        ("1 %: Table.to_arrow, text", lambda: Table(*handle).to_arrow(filter=f"flight_id < {rows // 100}")),
    )


def small(report: Report, folder: Path) -> None:
    """Small tables: what a step pays at least."""
    data = flights(100)
    storage = Storage(folder / "small", scope=Scope.environment())
    first = Table("t", write_table(storage, "t", data).location, storage)
    bare = folder / "small.parquet"
    pq.write_table(data, bare, compression="zstd")

    def grow(count: int) -> Table:
        table = first
        for _ in range(count):
            table = Table("t", append_table(storage, "t", data, previous=table).location, storage)
        return table

    millisecond = 0.001
    repeat, report.repeat = report.repeat, 50
    report.compare(
        ("100 rows, write: pyarrow, nothing flushed", lambda: pq.write_table(data, bare, compression="zstd")),
        ("100 rows, write_table", lambda: write_table(storage, "t", data, previous=first)),
        unit=millisecond,
        label="ms",
    )
    report.compare(
        ("100 rows, read: pyarrow", lambda: pq.read_table(bare)),
        ("100 rows, read: Table.to_arrow", lambda: Table("t", first.location, storage).to_arrow()),
        unit=millisecond,
        label="ms",
    )
    few, many = grow(10), grow(1000)
    report.compare(
        ("100 rows, append after 10 appends", lambda: append_table(storage, "t", data, previous=few)),
        ("100 rows, append after 1,000 appends", lambda: append_table(storage, "t", data, previous=many)),
        unit=millisecond,
        label="ms",
    )
    report.repeat = repeat


def partitions(report: Report, folder: Path) -> None:
    """Ten years of daily partitions: what one more, one again, thirty of another table and the states alone cost."""
    storage = Storage(folder / "partitions", scope=Scope.environment())
    layout = Layout((LayoutField("day", "day"),))
    data = flights(100)
    making = ("code", {"code": "x"})

    def part(number: int) -> tuple[Slice, pa.Table]:
        date = dt.date(2010, 1, 1) + dt.timedelta(number)
        window = ("day", date, date + dt.timedelta(1))
        days = pa.array([(date - dt.date(1970, 1, 1)).days] * 100, pa.int32()).cast(pa.date32())
        rows = data.set_column(data.schema.get_field_index("day"), "day", days)
        return Slice(str(date), (str(date),), (window,)), rows

    def files(number: int, previous: Table | None) -> tuple[object, str]:
        where, rows = part(number)
        return write_partition(storage, "t", where, rows, layout=layout, previous=previous), f"{number:064x}"

    def put(numbers: list[int], previous: Table | None) -> Table:
        writes = [files(number, previous) for number in numbers]
        written = assemble(storage, "t", layout=layout, previous=previous, writes=writes, making=making)
        return Table("t", written.location, storage, written.version)

    def reopened(table: Table) -> Table:
        return Table("t", table.location, storage, table.version)

    few = many = None
    for number in range(1000):
        many = put([number], many)
        few = many if number == 9 else few
    start = time.perf_counter()
    full = put(list(range(3650)), None)
    report.line("3,650 partitions of 100 rows, written and assembled", f"{time.perf_counter() - start:.1f} s")
    other = put(list(range(100, 130)), reopened(full))
    picks = [part(number)[0].key for number in range(100, 130)]
    packed = storage.read_bytes(full.map_location)
    repeat, report.repeat = report.repeat, 30
    report.compare(
        ("100 rows, a partition after 10", lambda: put([1000], reopened(few))),
        ("100 rows, a partition after 1,000", lambda: put([1000], reopened(many))),
        ("100 rows, a partition after 3,650", lambda: put([3650], reopened(full))),
        ("100 rows, one of 3,650 overwritten", lambda: put([1800], reopened(full))),
        (
            "overlay of 30 partitions on 3,650",
            lambda: overlay(storage, "t", reopened(full), dict.fromkeys(picks, reopened(other))),
        ),
        ("one of 3,650 partitions read", lambda: reopened(full).only([picks[0]]).to_arrow()),
        unit=0.001,
        label="ms",
    )
    whole = PartitionMap.from_bytes(packed)
    report.compare(
        ("partition map of 3,650: load", lambda: PartitionMap.from_bytes(packed)),
        (
            "partition map of 3,650: load and compare",
            lambda: PartitionMap.from_bytes(packed).differing(whole),
        ),
        unit=0.001,
        label="ms",
    )
    report.line("partition map of 3,650", f"{len(packed) >> 10} KB")
    report.repeat = repeat


def whole_process(report: Report, folder: Path) -> None:
    """Start-up included: imports, one small write and read."""
    for name, imports, body in (
        ("pyarrow alone", BARE, BARE_BODY),
        ("write_table and Table.to_arrow", OURS, OURS_BODY),
    ):
        times = []
        for _ in range(max(5, report.repeat)):
            with contextlib.suppress(FileNotFoundError):
                (folder / "bare.parquet").unlink()
            times.append(float(process(SMALL.format(imports=imports, body=body), str(folder))))
        report.line(f"10 rows in a process of its own: {name}", f"{statistics.median(times):.0f} ms")


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", help="where to write; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        report = Report(options.repeat)
        small(report, folder)
        partitions(report, folder)
        whole_process(report, folder)
        large(report, folder, options.rows)
        report.line("stream", process(STREAM, str(folder / "stream"), str(options.rows * 6)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    report.line("peak of this process", f"{peak} MB")


if __name__ == "__main__":
    main()
