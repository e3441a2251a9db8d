"""The diff of two tables beside DuckDB's own full outer join over the same Parquet files, in the same run.

python bench/bench_diff.py [--rows 10000000] [--repeat 3] [--folder DIR]

Both tables have 12 columns and 10 files; 0.01 % of the rows differ. *Wall* is what one waits, *CPU* what it costs on all
cores (steadier on a busy machine); the ratio is to the full outer join of the same case.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anabranch.diff import diff_tables

FILES = 10


@dataclass(frozen=True)
class File:
    path: str
    rows: int


@dataclass(frozen=True)
class Handle:
    """The narrow handle that a diff needs."""

    key: str
    version: str
    schema: pa.Schema
    listed: tuple[File, ...]
    plain: bool = True

    @property
    def field_ids(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.schema.names, 1)}

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.listed)

    def files(self) -> tuple[File, ...]:
        return self.listed

    def create_view(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        raise NotImplementedError


def table(rows: int) -> pa.Table:
    random = np.random.default_rng(1)

    def pick(values: list[str | None]) -> pa.Array:
        return pa.array(values).take(pa.array(random.integers(0, len(values), rows)))

    return pa.table(
        {
            "id": pa.array(np.arange(rows)),
            "account": pa.array(random.integers(0, 200_000, rows)),
            "amount": pa.array(np.round(random.normal(100, 30, rows), 2)),
            "quantity": pa.array(random.integers(0, 50, rows, dtype=np.int32)),
            "ratio": pa.array(random.random(rows)),
            "flag": pa.array(random.random(rows) < 0.3),
            "day": pa.array(
                (np.datetime64("2020-01-01") + random.integers(0, 1500, rows)).astype("datetime64[D]")
            ),
            "at": pa.array(
                (np.datetime64("2020-01-01", "us") + random.integers(0, 10**14, rows)).astype(
                    "datetime64[us]"
                )
            ),
            "city": pick([f"city-{number:05d}" for number in range(5000)]),
            "status": pick(["new", "paid", "sent", "back"]),
            "note": pick([None, "a", "some longer text here", "b"]),
            "score": pa.array(random.normal(0, 1, rows)),
        }
    )


def write(data: pa.Table, folder: Path) -> Handle:
    folder.mkdir(parents=True)
    step = -(-data.num_rows // FILES)
    files = []
    for number in range(FILES):
        part, path = data.slice(number * step, step), folder / f"{number:02d}.parquet"
        pq.write_table(part, path, compression="zstd")
        files.append(File(str(path), part.num_rows))
    return Handle("bench", folder.name, data.schema, tuple(files))


def changed(data: pa.Table) -> pa.Table:
    """0.01 % of the rows changed in one column or two, anywhere in the table."""
    rows = data.num_rows
    hit = np.random.default_rng(2).choice(rows, rows // 10_000, replace=False)
    amount, lost = data["amount"].to_numpy().copy(), np.zeros(rows, bool)
    amount[hit] += 1
    lost[hit[: len(hit) // 3]] = True
    data = data.set_column(2, "amount", pa.array(amount))
    return data.set_column(9, "status", pc.if_else(pa.array(lost), pa.scalar("lost"), data["status"]))


def full_outer_join(left: Handle, right: Handle) -> None:
    columns = [name for name in left.schema.names if name != "id"]
    differs = ", ".join(
        f'count(*) FILTER (l.id IS NOT NULL AND r.id IS NOT NULL AND l."{name}" IS DISTINCT FROM r."{name}")'
        for name in columns
    )
    sides = [f"read_parquet({[file.path for file in side.files()]!r})" for side in (left, right)]
    duckdb.connect().execute(
        f"SELECT count(*) FILTER (l.id IS NULL), count(*) FILTER (r.id IS NULL), {differs} "
        f"FROM {sides[0]} l FULL JOIN {sides[1]} r ON l.id = r.id"
    ).fetchall()


def cpu() -> float:
    times = os.times()
    return times.user + times.system


def measure(works: dict[str, Callable[[], object]], repeat: int) -> dict[str, tuple[float, float]]:
    """Medians of wall and CPU seconds; the works take turns, so that all see the same machine."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(repeat):
        for name, work in works.items():
            wall, used = time.perf_counter(), cpu()
            work()
            found[name].append((time.perf_counter() - wall, cpu() - used))
    return {
        name: (statistics.median(w for w, _ in two), statistics.median(c for _, c in two))
        for name, two in found.items()
    }


def case(title: str, left: Handle, right: Handle, repeat: int, *, keyless: bool = False) -> None:
    def ours(keys: tuple[str, ...], summaries: bool) -> Callable[[], object]:
        return lambda: diff_tables("bench", left, right, key_columns=keys, summaries=summaries)

    works: dict[str, Callable[[], object]] = {
        "DuckDB full outer join": lambda: full_outer_join(left, right),
        "diff by key": ours(("id",), False),
        "diff by key, with summaries": ours(("id",), True),
    }
    if keyless:
        works["diff without a key"] = ours((), False)
    figures = measure(works, repeat)
    base = figures["DuckDB full outer join"]
    print(f"\n{title}\n{'':32}{'wall s':>8}{'ratio':>7}{'CPU s':>8}{'ratio':>7}")
    for name, (wall, used) in figures.items():
        print(f"{name:32}{wall:8.2f}{wall / base[0]:7.2f}{used:8.2f}{used / base[1]:7.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where the tables are written; a temporary folder by default"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() if options.folder is None else nullcontext(options.folder) as name:
        folder = Path(name)
        before = table(options.rows)
        after = changed(before)
        left, right = write(before, folder / "left"), write(after, folder / "right")
        order = pa.array(np.random.default_rng(3).permutation(options.rows))
        shuffled = write(after.take(order), folder / "shuffled")
        del before, after
        shared = Handle("bench", "shared", left.schema, (*left.listed[:-1], right.listed[-1]))
        print(f"{options.rows:,} rows, 12 columns, {FILES} files, medians of {options.repeat}")
        case("written in the same order", left, right, options.repeat, keyless=True)
        case("written in another order", left, shuffled, options.repeat)
        case(f"{FILES - 1} of {FILES} files shared", left, shared, options.repeat, keyless=True)


if __name__ == "__main__":
    main()
