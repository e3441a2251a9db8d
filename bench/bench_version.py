"""What a content version costs: nanoseconds per value by type, the table of ten million rows by twelve columns, and what
versions of sets of columns add to writing that table.

Run: python bench/bench_version.py [--rows 10000000] [--repeat 5] [--writes]
"""

import argparse
import statistics
import tempfile
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import write_table
from anabranch.lake.version import ContentHasher, content_of

SETS = [("i0", "id"), ("at", "flag", "id", "s0"), ("f0", "f1", "low"), ("id",)]


def column_samples(n: int) -> dict[str, pa.Array]:
    random = np.random.default_rng(7)
    numbers = random.integers(-(2**62), 2**62, n)
    words = pa.array([f"word {i:04d}" for i in range(1000)])
    nulls = random.random(n) < 0.1
    offsets = pa.array(np.arange(0, n + 1, 4, dtype=np.int32))
    return {
        "int64": pa.array(numbers),
        "int64, a tenth null": pa.array(numbers, mask=nulls),
        "int32": pa.array(numbers.astype(np.int32)),
        "int16": pa.array(numbers.astype(np.int16)),
        "float64": pa.array(random.random(n)),
        "float32": pa.array(random.random(n).astype(np.float32)),
        "bool": pa.array(numbers > 0),
        "timestamp[us]": pa.array(numbers >> 12).cast(pa.timestamp("us")),
        "timestamp[ns]": pa.array((numbers >> 12) * 1000).cast(pa.timestamp("ns")),
        "date32": pa.array((numbers >> 48).astype(np.int32)).cast(pa.date32()),
        "decimal128": pa.array(numbers >> 8).cast(pa.decimal128(38, 2)),
        "string of 9, 1000 different": words.take(pa.array(numbers % 1000)),
        "the same as a dictionary": words.take(pa.array(numbers % 1000)).dictionary_encode(),
        "string of 12 to 20": strings(random, n, 12, 20),
        "the same as large_string": strings(random, n, 12, 20).cast(pa.large_string()),
        "the same, a tenth null": pc.if_else(
            pa.array(nulls), pa.scalar(None, pa.string()), strings(random, n, 12, 20)
        ),
        "string of 0 to 200": strings(random, n // 10, 0, 200),
        "string of 2000": strings(random, n // 100, 2000, 2000),
        "fixed of 16": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), n, [None, pa.py_buffer(random.bytes(16 * n))]
        ),
        "list of 4 int64": pa.ListArray.from_arrays(offsets, pa.array(numbers[: 4 * (len(offsets) - 1)])),
        "struct of int64, float64": pa.StructArray.from_arrays(
            [pa.array(numbers), pa.array(random.random(n))], ["a", "b"]
        ),
    }


def strings(random: np.random.Generator, n: int, shortest: int, longest: int) -> pa.Array:
    offsets = np.zeros(n + 1, np.int32)
    np.cumsum(random.integers(shortest, longest + 1, n), out=offsets[1:])
    letters = random.integers(97, 123, int(offsets[-1]), dtype=np.uint8)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(letters))


def wide_table(n: int) -> pa.Table:
    random = np.random.default_rng(11)
    words = pa.array([f"carrier {i}" for i in range(40)])
    columns: dict[str, pa.Array] = {"id": pa.array(np.arange(n))}
    columns |= {f"i{i}": pa.array(random.integers(0, 10**9, n)) for i in range(3)}
    columns |= {f"f{i}": pa.array(random.normal(size=n)) for i in range(3)}
    columns["at"] = pa.array(np.arange(n) * 1_000_003).cast(pa.timestamp("us"))
    columns["flag"] = pa.array(random.random(n) < 0.3)
    columns["low"] = words.take(pa.array(random.integers(0, 40, n)))
    columns["s0"], columns["s1"] = strings(random, n, 12, 20), strings(random, n, 12, 20)
    return pa.table(columns)


def median(call: object, repeat: int) -> tuple[float, float]:
    """Medians of the processor's and of the clock's seconds."""
    cpu, wall = [], []
    for _ in range(repeat):
        a, b = time.process_time(), time.perf_counter()
        call()  # type: ignore[operator]
        cpu.append(time.process_time() - a)
        wall.append(time.perf_counter() - b)
    return statistics.median(cpu), statistics.median(wall)


def in_threads(table: pa.Table, count: int) -> None:
    batches = table.to_batches(max_chunksize=1 << 20)
    hashers = [ContentHasher(table.schema) for _ in range(count)]

    def work(at: int) -> None:
        for batch in batches[at::count]:
            hashers[at].update(batch)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def written(table: pa.Table, sets: list[tuple[str, ...]]) -> None:
    """Writes the table once, durably, and removes it."""
    with tempfile.TemporaryDirectory() as folder:
        write_table(Storage(folder, scope=Scope.environment()), "t", table, column_sets=sets, threads=2)


def writes(rows: int, repeat: int) -> None:
    """The processor's and the clock's seconds of a write with no, one and four sets, in turns."""
    table = wide_table(rows)
    found: dict[int, list[tuple[float, float]]] = {0: [], 1: [], 4: []}
    for _ in range(repeat):
        for count, times in found.items():
            times.append(median(lambda count=count: written(table, SETS[:count]), 1))
    for count, times in found.items():
        cpu, wall = (statistics.median(each) for each in zip(*times, strict=True))
        print(f"write {rows} x 12, {count} sets: {cpu:.2f} s of processor, {wall:.2f} s of clock")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--writes", action="store_true", help="the writes alone")
    options = parser.parse_args()
    if options.writes:
        writes(options.rows, options.repeat)
        return
    content_of(pa.table({"a": [1]}))
    for name, array in column_samples(min(options.rows, 1_000_000)).items():
        table = pa.table({"a": array})
        cpu, _ = median(lambda table=table: content_of(table), options.repeat)
        size = array.nbytes
        print(f"{name:32} {cpu / len(array) * 1e9:8.1f} ns/value {size / cpu / 1e9:6.2f} GB/s")
    small = wide_table(10)
    cpu, _ = median(lambda: [content_of(small) for _ in range(100)], options.repeat)
    print(f"{'10 rows x 12 columns':32} {cpu * 10:8.2f} ms")
    table = wide_table(options.rows)
    for count in (1, 2):
        cpu, wall = median(lambda count=count: in_threads(table, count), options.repeat)
        print(f"{options.rows} x 12, {count} threads: {cpu:.2f} s of processor, {wall:.2f} s of clock")
    writes(options.rows, options.repeat)


if __name__ == "__main__":
    main()
