"""Measures whole processes beside peers, in one run, in turns: 1,000 SQL models on DuckDB, the same queries for all.

    python -m venv /tmp/peers
    /tmp/peers/bin/pip install sqlmesh 'dbt-core<1.11' dbt-duckdb dagster
    python bench/bench_peers.py --peers /tmp/peers/bin/python [--repeat 3] [--assets 1000] [--ground FOLDER]

``--peers`` names the Python of an environment that holds the peers; they are no dependencies of this project, and what is
not installed there is named and left out. Building the ground takes minutes, most of them the peers'; ``--ground`` keeps it
in a folder for the next run.

The models stand in chains of ten. The change is a breaking one, in the fifth model of a chain, so that five others follow.
A peer's figure for it is the least that brings the change to production by its own means:

- anabranch: ``plan``, ``run`` (in a sandbox) and ``promote``.
- SQLMesh: ``plan dev --auto-apply`` and ``plan --auto-apply`` (to production).
- dbt: ``build`` of what has changed and what follows, in a schema for development, then in production's. Readers see the
  tables of production change one by one.
- Dagster: only loading the definitions is measured; it has no environments for data.

Where other work goes on beside the measurements, the processor's time says more than the clock's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from big_project import git, make_sql_project, sql_query

ANABRANCH = Path(sys.executable).with_name("anabranch")
ENVIRON = {
    **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
    "DO_NOT_TRACK": "1",
    "SQLMESH__DISABLE_ANONYMIZED_ANALYTICS": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DAGSTER_DISABLE_TELEMETRY": "1",
}

SQLMESH = """gateways:
  local:
    connection:
      type: duckdb
      database: db.duckdb
default_gateway: local
model_defaults:
  dialect: duckdb
  start: 2024-01-01
"""
DBT_PROJECT = """name: big
version: "1.0"
profile: big
models:
  +materialized: table
flags:
  send_anonymous_usage_stats: false
"""
DBT_PROFILE = """big:
  target: prod
  outputs:
    prod: {type: duckdb, path: db.duckdb, schema: prod, threads: 2}
    dev: {type: duckdb, path: db.duckdb, schema: dev, threads: 2}
"""
DAGSTER = """from pathlib import Path

import dagster as dg
import duckdb

FOLDER = Path(__file__).parent


def made(number):
    @dg.asset(name=f"a{number}", deps=[f"a{number - 1}"] if number % 10 else [])
    def run():
        with duckdb.connect(FOLDER / "db.duckdb") as connection:
            query = (FOLDER / "sql" / f"a{number}.sql").read_text()
            connection.execute(f"create or replace table a{number} as {query}")

    return run


defs = dg.Definitions(assets=[made(number) for number in range(COUNT)])
"""


Taken = tuple[float, float]


def used() -> float:
    """Seconds of processors that ended processes have used, with those that they started."""
    of = resource.getrusage(resource.RUSAGE_CHILDREN)
    return of.ru_utime + of.ru_stime


def run(folder: Path, *command: object) -> Taken:
    """The seconds of one process, by the clock and of processors.

    Raises:
        SystemExit: it fails; with what it wrote.
    """
    start, before = time.perf_counter(), used()
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env=ENVIRON,
        stdin=subprocess.DEVNULL,
    )
    taken = time.perf_counter() - start, used() - before
    if done.returncode:
        raise SystemExit(
            f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
    return taken


def put(path: Path, text: str) -> None:
    """Writes a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class Anabranch:
    """This project: a sandbox for a git branch, promoted, merged."""

    name = "anabranch"
    look = "anabranch plan"
    steps = ("anabranch plan", "anabranch run", "anabranch promote --yes")

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self.branch = 0

    def make(self) -> None:
        make_sql_project(self.folder, self.count)
        run(self.folder, ANABRANCH, "run")

    def plan(self) -> Taken:
        return run(self.folder, ANABRANCH, "plan")

    def change(self, number: int, constant: int) -> list[Taken]:
        branch = f"change-{number}-{constant}"
        git(self.folder, "switch", "-q", "-c", branch)
        put(self.folder / "big/sql" / f"a{number}.sql", sql_query(number, f"a{number - 1}", constant))
        git(self.folder, "commit", "-q", "-a", "-m", "Change one model")
        verbs = (["plan"], ["run"], ["promote", "--yes"])
        taken = [run(self.folder, ANABRANCH, *verb) for verb in verbs]
        git(self.folder, "switch", "-q", "main")
        git(self.folder, "merge", "-q", "--ff-only", branch)
        return taken


class SQLMesh:
    """SQLMesh on a DuckDB file, its state in the same file."""

    name = "sqlmesh"
    package = "sqlmesh"
    look = "sqlmesh plan"
    steps = ("sqlmesh plan dev --auto-apply", "sqlmesh plan --auto-apply")

    def __init__(self, folder: Path, count: int, python: Path) -> None:
        self.folder, self.count = folder, count
        self.program = python.with_name("sqlmesh")

    def _put(self, number: int, constant: int) -> None:
        query = sql_query(number, f"s.a{number - 1}", constant)
        put(
            self.folder / "models" / f"a{number}.sql",
            f"MODEL (\n  name s.a{number},\n  kind FULL\n);\n\n{query}",
        )

    def make(self) -> None:
        put(self.folder / "config.yaml", SQLMESH)
        for number in range(self.count):
            self._put(number, number)
        run(self.folder, self.program, "plan", "--auto-apply", "--no-prompts")

    def plan(self) -> Taken:
        return run(self.folder, self.program, "plan", "--no-prompts")

    def change(self, number: int, constant: int) -> list[Taken]:
        self._put(number, constant)
        return [
            run(self.folder, self.program, "plan", *environment, "--auto-apply", "--no-prompts")
            for environment in (["dev"], [])
        ]


class Dbt:
    """dbt on a DuckDB file, with partial parsing, its way to compare with the last state, and deferral to production."""

    name = "dbt"
    package = "dbt-duckdb"
    look = "dbt ls --select state:modified+"
    steps = ("dbt build in development", "dbt build in production")

    def __init__(self, folder: Path, count: int, python: Path) -> None:
        self.folder, self.count = folder, count
        self.program = python.with_name("dbt")

    def _put(self, number: int, constant: int) -> None:
        upstream = f"{{{{ ref('a{number - 1}') }}}}"
        put(self.folder / "models" / f"a{number}.sql", sql_query(number, upstream, constant))

    def _keep_state(self) -> None:
        put(self.folder / "state/manifest.json", (self.folder / "target/manifest.json").read_text())

    def make(self) -> None:
        put(self.folder / "dbt_project.yml", DBT_PROJECT)
        put(self.folder / "profiles.yml", DBT_PROFILE)
        for number in range(self.count):
            self._put(number, number)
        run(self.folder, self.program, "build")
        self._keep_state()

    def plan(self) -> Taken:
        return run(self.folder, self.program, "ls", "--select", "state:modified+", "--state", "state")

    def change(self, number: int, constant: int) -> list[Taken]:
        self._put(number, constant)
        select = ("build", "--select", "state:modified+", "--state", "state")
        taken = [
            run(self.folder, self.program, *select, "--defer", "--target", "dev"),
            run(self.folder, self.program, *select),
        ]
        self._keep_state()
        return taken


class Dagster:
    """Dagster, as far as it loads the definitions."""

    name = "dagster"
    package = "dagster"
    look = "dagster definitions validate"
    steps = ()

    def __init__(self, folder: Path, count: int, python: Path) -> None:
        self.folder, self.count = folder, count
        self.program = python.with_name("dagster")

    def make(self) -> None:
        for number in range(self.count):
            put(self.folder / "sql" / f"a{number}.sql", sql_query(number, f"a{number - 1}", number))
        put(self.folder / "definitions.py", DAGSTER.replace("COUNT", str(self.count)))

    def plan(self) -> Taken:
        return run(self.folder, self.program, "definitions", "validate", "-f", "definitions.py")


def versions(python: Path) -> dict[str, str]:
    """What the environment of the peers holds: distribution → version."""
    program = "import importlib.metadata as m, json; print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
    found = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True)
    return json.loads(found.stdout)


def median(taken: list[Taken], which: int) -> float:
    """The median by the clock (0) or of processors (1)."""
    return statistics.median(each[which] for each in taken)


def table(title: str, figures: dict[str, list[Taken]]) -> None:
    """Prints medians and ours as a part of each."""
    print(f"\n{title}\n{'':34}wall s  ours is  processor s  ours is")
    for name, taken in figures.items():
        row = f"{name:34}"
        for which, width in ((0, 6), (1, 13)):
            mine, theirs = median(figures["anabranch"], which), median(taken, which)
            row += f"{theirs:{width}.2f}  {'' if name == 'anabranch' else f'1/{theirs / mine:.1f}':7}"
        print(row.rstrip())


def prepared(ground: Path, count: int, python: Path | None) -> list:
    """The competitors that are installed, each with its project built."""
    competitors: list = [Anabranch(ground / f"anabranch-{count}", count)]
    held = versions(python) if python else {}
    print(f"anabranch and its peers, {count:,} models, DuckDB")
    for peer in (SQLMesh, Dbt, Dagster):
        if peer.package in held:
            print(f"  {peer.package} {held[peer.package]}")
            competitors.append(peer(ground / f"{peer.name}-{count}", count, python))
        else:
            print(
                f"  {peer.package} is not installed{'' if python else ' (--peers names no Python)'}: left out"
            )
    for each in competitors:
        ready = each.folder / ".bench-ready"
        if ready.exists():
            continue
        shutil.rmtree(each.folder, ignore_errors=True)
        each.folder.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(each, Anabranch):
            each.folder.mkdir()
        start = time.perf_counter()
        each.make()
        each.plan()  # what is read for the first time is no part of the figures
        if isinstance(each, Anabranch):
            with (each.folder / ".git/info/exclude").open("a") as exclude:
                exclude.write(".bench-ready\n")
        ready.touch()
        print(f"  built {each.name}'s ground in {time.perf_counter() - start:.0f} s", flush=True)
    return competitors


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="the Python of an environment that holds the peers")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--assets", type=int, default=1000)
    parser.add_argument("--ground", type=Path, help="a folder that keeps the built projects for the next run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        ground = (options.ground or Path(temporary)).resolve()
        python = options.peers.absolute() if options.peers else None
        competitors = prepared(ground, options.assets, python)
        unchanged: dict[str, list[Taken]] = {each.name: [] for each in competitors}
        changed: dict[str, list[list[Taken]]] = {each.name: [] for each in competitors if each.steps}
        stamp = int(time.time())
        for repetition in range(options.repeat):
            for each in competitors:
                unchanged[each.name].append(each.plan())
            number = (repetition * 10 + 4) % (options.assets // 10 * 10)
            for each in competitors:
                if each.steps:
                    changed[each.name].append(each.change(number, stamp + repetition))
    looks = {each.name: each.look for each in competitors}
    table("Plan, nothing changed: " + ", ".join(looks.values()), unchanged)
    table(
        "One changed, 5 downstream, until it is in production",
        {
            name: [tuple(map(sum, zip(*steps, strict=True))) for steps in taken]
            for name, taken in changed.items()
        },
    )
    print()
    for each in competitors:
        for position, step in enumerate(each.steps):
            taken = [steps[position] for steps in changed[each.name]]
            print(f"  {step:34}{median(taken, 0):8.2f} s wall {median(taken, 1):8.2f} s processor")


if __name__ == "__main__":
    main()
