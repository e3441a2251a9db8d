"""Measures planning over many partitions: 200 assets of ten years of days, in whole processes.

    python bench/bench_partitions.py [--assets 200] [--days 3650] [--repeat 5]

Prints what a day costs that comes to a table of many days, and a table of medians with what each is to reach. In the table
nothing is computed by user code: tables are put into the warehouse as a run would have left them, each partition without
rows.
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
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

import anabranch as ab
from anabranch.catalog.base import CommitRequest, Entry, Provenance
from anabranch.lake.partitions import assemble, write_partition
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table
from anabranch.planning.partitions import PartitionPlanner
from anabranch.running.cut import Cut, partition_map
from anabranch.running.parts import Made
from big_project import SETTINGS, git

ANABRANCH = Path(sys.executable).with_name("anabranch")
ENVIRON = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
NAME = "day", pa.date32()


def make_project(folder: Path, assets: int, days: int) -> None:
    """A repository with chains of ten daily assets each, the first of each chain a source."""
    package = folder / "big"
    package.mkdir(parents=True)
    (folder / "anabranch.toml").write_text(SETTINGS)
    (folder / ".gitignore").write_text(".anabranch/\n__pycache__/\n")
    (package / "__init__.py").write_text("")
    end = datetime.now(UTC).date() - timedelta(days=1)
    start = end - timedelta(days=days - 1)
    lines = [
        "import anabranch as ab\nimport pyarrow as pa\n\n",
        f'DAYS = ab.daily("{start}", column="day")\nSHIFT = 1\n\n',
    ]
    for number in range(assets):
        above = "" if number % 10 == 0 else f"a{number - 1}: pa.Table, "
        lines.append(
            f"\n@ab.asset(partitions=DAYS)\ndef a{number}({above}partition: ab.Partition) -> pa.Table:\n"
            f'    return pa.table({{"day": [], "n": [{number}][:0]}})\n\n'
        )
    lines.append(f"\ndefs = ab.Definitions(assets=[{', '.join(f'a{n}' for n in range(assets))}])\n")
    (package / "definitions.py").write_text("".join(lines))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Start")


def fill(folder: Path) -> None:
    """Puts every asset's table into production, as a run would have left it."""
    project = ab.Project(folder)
    context = project.context
    place, graph = context.place, context.workspace.graph
    storage = Storage(place.warehouse, properties=place.properties, scope=Scope.environment())
    environment = context.environment("production")
    planner = PartitionPlanner(
        graph, now=datetime.now(UTC), states=lambda entry: partition_map(storage, entry)
    )
    made: dict[str, Entry] = {}
    empty = pa.table({"day": pa.array([], pa.date32()), "n": pa.array([], pa.int64())})
    for key in graph:
        node = graph[key]
        work = planner.work(node, None, {source: made[source] for source in node.inputs}, {})
        cut = Cut(node, work, None, None, storage)
        first = work.run[0]
        files = write_partition(
            storage, key, node.partitions.slice(first), empty, layout=node.partitions.layout(), previous=None
        )
        parts = [
            Made(part, replace(files, slice=node.partitions.slice(part)), work.inputs[part])
            for part in work.run
        ]
        provenance = Provenance(run="r", code=node.code, computed_at=datetime.now(UTC).isoformat())
        made[key] = cut.put(parts, provenance, seconds=0.1, renames=None, docs=None)
    context.catalog.commit(
        CommitRequest(
            branch=environment.id,
            changes=made,
            kind="run",
            message="fill",
            git_commit=context.git.commit,
            definitions=graph.definitions,
        )
    )
    project.close()


def measure(folder: Path, repeat: int) -> tuple[float, float, float, str]:
    """Median seconds, median processor seconds and peak MB of ``anabranch plan`` as a whole process, and the last line that it says."""
    taken, worked, said, peak = [], [], "", 0.0
    for _ in range(repeat + 1):
        start = time.perf_counter()
        done = subprocess.Popen([ANABRANCH, "plan"], cwd=folder, stdout=subprocess.PIPE, env=ENVIRON)
        text = done.stdout.read().decode()
        _, status, usage = os.wait4(done.pid, 0)
        taken.append(time.perf_counter() - start)
        worked.append(usage.ru_utime + usage.ru_stime)
        done.returncode = os.waitstatus_to_exitcode(status)
        if done.returncode:
            raise SystemExit(text)
        peak = max(peak, usage.ru_maxrss / 1024)
        said = f"{len(text.splitlines())} lines; {text.strip().splitlines()[0]}"
    return statistics.median(taken[1:]), statistics.median(worked[1:]), peak, said


def growing(folder: Path, count: int) -> tuple[float, float]:
    """Median seconds to add a day of 100 rows to a table of one day, and to one of ``count``, in turns."""
    storage = Storage(folder, scope=Scope.environment())
    cut = ab.daily("2010-01-01", "2020-12-31", column="day")
    order = list(cut.keys(datetime.now(UTC)))

    def added(table: Table | None, number: int) -> Table:
        part = cut.slice(order[number])
        day = datetime.fromisoformat(order[number]).date()
        data = pa.table({"day": pa.array([day] * 100, pa.date32()), "n": pa.array(range(100), pa.int64())})
        files = write_partition(storage, "t", part, data, layout=cut.layout(), previous=table)
        made = assemble(
            storage, "t", layout=cut.layout(), previous=table, writes=[(files, "i")], making=("m", {})
        )
        return Table("t", made.location, storage)

    table = first = added(None, 0)
    for number in range(1, count):
        table = added(table, number)
    taken: dict[str, list[float]] = {first.location: [], table.location: []}
    for turn in range(100):
        for base in (first, table):
            handle = Table("t", base.location, storage)
            start = time.perf_counter()
            added(handle, count + turn)
            taken[base.location].append(time.perf_counter() - start)
    early, late = (statistics.median(each) for each in taken.values())
    return early, late


def edit(folder: Path, old: str, new: str) -> None:
    """Changes the definitions."""
    path = folder / "big/definitions.py"
    text = path.read_text()
    if old not in text:
        raise SystemExit(f"{old!r} is not in the definitions")
    path.write_text(text.replace(old, new))


def main() -> None:
    """Runs all cases and prints the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--assets", type=int, default=200)
    arguments.add_argument("--days", type=int, default=3650)
    arguments.add_argument("--repeat", type=int, default=5)
    given = arguments.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    folder = Path(tempfile.mkdtemp(prefix="anabranch-bench-"))
    print(
        f"{given.assets} assets x {given.days:,} days, whole process: anabranch plan (to reach: 2 s, 500 MB)"
    )
    print(f"{'case':46} {'seconds':>8} {'CPU s':>8} {'peak MB':>8}  first line")
    try:
        early, late = growing(folder / "growing", 1000)
        print(f"a day of 100 rows added to a table of one day: {early * 1000:.2f} ms, ", end="")
        print(f"to one of 1,000 days: {late * 1000:.2f} ms, {late / early:.2f} times")
        project = folder / "project"
        make_project(project, given.assets, given.days)

        def tell(case: str) -> None:
            seconds, worked, peak, said = measure(project, given.repeat)
            print(f"{case:46} {seconds:8.2f} {worked:8.2f} {peak:8.0f}  {said}")

        tell("nothing was ever built")
        start = time.perf_counter()
        fill(project)
        print(f"{'(filling production)':46} {time.perf_counter() - start:8.2f}")
        tell("nothing changed")
        git(project, "switch", "-q", "-c", "fix")
        edit(project, "[5][:0]", "[-5][:0]")
        tell("one asset changed, four below it")
        edit(project, "[0][:0]", "[-1][:0]")
        tell("two assets changed, one of them a source")
        edit(project, 'column="day")', 'column="day", end="2100-01-01")')
        first = project / "big/definitions.py"
        text = first.read_text()
        first.write_text(text.replace("import pyarrow as pa\n", "import pyarrow as pa\nimport datetime\n"))
        for number in range(given.assets):
            if f"[{number}][:0]" in first.read_text():
                edit(project, f"[{number}][:0]", f"[{number} + 1][:0]")
        tell("every asset changed")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
