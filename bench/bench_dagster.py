"""Measures what a Dagster project costs under anabranch, beside the same project under Dagster alone.

    python bench/bench_dagster.py [--repeat 5] [--shape small] [--manager duckdb]

Whole processes, in turns, medians: `anabranch run --force` against `dagster job execute` (each step a process, Dagster's
default) and the same in one process. Every asset is computed each time, on both sides.
Dagster alone keeps tables with its DuckDB I/O manager, or pickled as it does by default; anabranch keeps them on the branch,
flushed to disk. What is to be reached: not more than 1.3 times Dagster's own time. Processor time is told besides, since it
varies less on a machine that does other things.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PYTHON = Path(sys.executable)
ENVIRON = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
BOUND = 1.3

SETTINGS = """
[project]
name = "bench"
definitions = "shop.definitions"

[environments.production]
git_branch = "main"
"""

COMMON = """
import dagster as dg
import numpy as np
import pandas as pd

{manager}

@dg.asset
def orders() -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame({{
        "id": np.arange({rows}),
        "customer": random.integers(0, {rows} // 10 + 1, {rows}),
        "net": random.normal(50.0, 20.0, {rows}),
        "city": random.choice(["Ulm", "Bonn", "Lyon", "Delft"], {rows}),
    }})

@dg.asset
def customers(orders: pd.DataFrame) -> pd.DataFrame:
    return orders.groupby("customer", as_index=False).agg(orders=("id", "count"), net=("net", "sum"))

def made(number: int):
    @dg.asset(name=f"part{{number}}")
    def part(orders: pd.DataFrame, customers: pd.DataFrame) -> pd.DataFrame:
        joined = orders[orders["id"] % {parts} == number].merge(customers, on="customer", suffixes=("", "_all"))
        joined["share"] = joined["net"] / joined["net_all"]
        return joined.sort_values(["customer", "share"])
    return part

parts = [made(number) for number in range({parts})]

@dg.asset(ins={{f"part{{n}}": dg.AssetIn(f"part{{n}}") for n in range({parts})}})
def report(**frames: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(frames.values()).groupby("city", as_index=False)["share"].mean()

defs = dg.Definitions(
    assets=[orders, customers, *parts, report],
    jobs=[dg.define_asset_job("all")],
    resources={resources},
)
"""

MANAGERS = {
    "pickles": ("", "{}"),
    "duckdb": (
        "import os\nfrom dagster_duckdb_pandas import DuckDBPandasIOManager\n",
        '{"io_manager": DuckDBPandasIOManager(database=os.environ["BENCH_DATABASE"], schema="main")}',
    ),
}
SHAPES = {"small": (1_000, 4), "large": (400_000, 4), "wide": (1_000, 40)}


class Bench:
    """A project of one shape, and both ways to run it."""

    def __init__(self, folder: Path, shape: str, manager: str) -> None:
        rows, parts = SHAPES[shape]
        code, resources = MANAGERS[manager]
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        (self.home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        (self.home / "in_process.yaml").write_text("execution:\n  config:\n    in_process: {}\n")
        (folder / "shop").mkdir()
        (folder / "shop" / "__init__.py").touch()
        text = COMMON.format(rows=rows, parts=parts, manager=code, resources=resources)
        (folder / "shop" / "definitions.py").write_text(text)
        (folder / "anabranch.toml").write_text(SETTINGS)
        (folder / ".gitignore").write_text(".anabranch/\nhome/\n*.duckdb*\n__pycache__/\n")
        for words in ("init -q -b main", "add -A", "-c user.name=b -c user.email=b@b commit -q -m First"):
            subprocess.run(["git", *words.split()], cwd=folder, check=True)
        self.environ = {
            **ENVIRON,
            "DAGSTER_HOME": str(self.home),
            "BENCH_DATABASE": str(folder / "shop.duckdb"),
            "GIT_AUTHOR_NAME": "b",
            "GIT_AUTHOR_EMAIL": "b@b",
        }

    def call(self, *words: str) -> tuple[float, float]:
        """Seconds of a whole process, and processor seconds of it and all that it starts."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        done = subprocess.run(
            [PYTHON, *words], cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )
        taken = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def anabranch(self) -> tuple[float, float]:
        """As a user runs it; all steps."""
        return self.call("-m", "anabranch", "run", "--force")

    def edited(self) -> tuple[float, float]:
        """The same after an edit of the project's file, so that what Dagster makes of it is asked anew."""
        file = self.folder / "shop" / "definitions.py"
        file.write_text(f"{file.read_text()}# an edit\n")
        words = "git -c user.name=b -c user.email=b@b commit -q -a -m Edit"
        subprocess.run(words.split(), cwd=self.folder, check=True)
        return self.anabranch()

    def processes(self) -> tuple[float, float]:
        """Dagster, each step in a process of its own."""
        return self.call("-m", "dagster", "job", "execute", "-m", "shop.definitions", "-j", "all")

    def in_process(self) -> tuple[float, float]:
        """Dagster, all steps in one process, which it does where it is asked to."""
        words = ("-m", "shop.definitions", "-j", "all", "-c", str(self.home / "in_process.yaml"))
        return self.call("-m", "dagster", "job", "execute", *words)


def measure(shape: str, manager: str, repeat: int) -> None:
    """Prints the medians of one project."""
    folder = Path(tempfile.mkdtemp(prefix="bench-dagster-"))
    try:
        bench = Bench(folder / "project", shape, manager)
        ways = {
            "anabranch run": bench.anabranch,
            "anabranch run, edited": bench.edited,
            "dagster, a process each": bench.processes,
            "dagster, one process": bench.in_process,
        }
        cold, _ = bench.anabranch()
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for way in ways.values():
            way()
        for _ in range(repeat):
            for name, way in ways.items():
                taken[name].append(way())
        medians = {
            name: [statistics.median(each) for each in zip(*values, strict=True)]
            for name, values in taken.items()
        }
        own, edited = medians["anabranch run"], medians["anabranch run, edited"]
        print(f"{shape}, {manager}: anabranch run the first time {cold:.2f} s")
        for name, (wall, cpu) in medians.items():
            times = f"   {own[0] / wall:.2f} x, {own[1] / cpu:.2f} x"
            times += f"; edited {edited[0] / wall:.2f} x, {edited[1] / cpu:.2f} x"
            print(f"  {name:24} {wall:6.2f} s, {cpu:6.2f} s of processors{times}", flush=True)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Measures all, or one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--manager", choices=MANAGERS, action="append")
    options = parser.parse_args()
    for shape in options.shape or SHAPES:
        for manager in options.manager or MANAGERS:
            measure(shape, manager, options.repeat)
    print(f"to reach: not more than {BOUND} x")


if __name__ == "__main__":
    main()
