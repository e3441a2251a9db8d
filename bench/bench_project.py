"""Measures the product's verbs: starting, opening a sandbox, planning, running, publishing.

    python bench/bench_project.py [--repeat 5]

Prints a table of medians with what each is to reach. Whole-process figures use the installed ``anabranch`` with compiled
bytecode, as a user has it. The first rows start what every command starts with, as a measure of the machine on that day.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anabranch as ab
from anabranch.catalog import open_catalog
from anabranch.catalog.base import CommitRequest, Entry, Provenance
from anabranch.sandbox.lifecycle import Base, open_sandbox
from big_project import git, make_project

ANABRANCH = Path(sys.executable).with_name("anabranch")
ENVIRON = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def median_ms(work, repeat: int) -> float:
    """The median time of one call, in milliseconds; the first call is not counted."""
    work()
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


def process(folder: Path, *arguments: str):
    """A call of the command line as a whole process."""

    def work() -> None:
        subprocess.run([ANABRANCH, *arguments], cwd=folder, check=True, capture_output=True, env=ENVIRON)

    return work


def python(text: str):
    """A Python that does one thing, as a whole process."""

    def work() -> None:
        subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, env=ENVIRON)

    return work


def entries(count: int, generation: int) -> dict[str, Entry]:
    """Entries as a run makes them, with provenance of a usual size."""
    return {
        f"t{n}": Entry(
            f"t{n}",
            "table",
            f"warehouse/main/t{n}/metadata/{generation}.metadata.json",
            f"ab1:0123456789abcdef:{generation}:{n:032x}",
            Provenance(
                fingerprint=f"{generation:08x}{n:024x}",
                code=f"{n:032x}",
                code_parts={f"function m.f{i}": f"{i:032x}" for i in range(5)},
                inputs={f"t{n - 1}": "ab1:0123456789abcdef:1:" + "0" * 32},
                rows=1000,
                bytes=10_000,
                seconds=0.5,
            ),
        )
        for n in range(count)
    }


def bench_catalog(folder: Path, keys: int, repeat: int) -> dict[str, float]:
    """Opening a sandbox, and publishing 6 and 1,000 changed tables, on a catalog of that many keys."""
    catalog = open_catalog(f"sqlite:///{folder}/catalog-{keys}.db")
    production = catalog.open_branch("production", kind="environment")
    for start in range(0, keys, 10_000):
        part = dict(list(entries(keys, 0).items())[start : start + 10_000]) if keys <= 10_000 else None
        part = part or {
            f"t{n}": e for n, e in zip(range(start, start + 10_000), entries(10_000, 0).values(), strict=True)
        }
        part = {key: Entry(key, e.kind, e.location, e.version, e.provenance) for key, e in part.items()}
        catalog.commit(CommitRequest(branch=production.id, changes=part))
    production = catalog.branch("production")
    number = 0

    def opening() -> None:
        nonlocal number
        number += 1
        open_sandbox(
            catalog,
            f"s{number}",
            environment=production,
            base=Base(production.head, "ancestor", is_head=True),
            git_branch=f"s{number}",
            git_commit="0" * 40,
            author="Bench",
            expire_after=None,
        )

    found = {"open": median_ms(opening, repeat * 4)}
    for count in (6, 1000):
        if count > keys:
            continue
        generation = 0

        def publishing(count: int = count) -> None:
            nonlocal generation
            generation += 1
            new = entries(count, generation)
            seen = catalog.entries(catalog.branch("production").point, new)
            catalog.commit(
                CommitRequest(
                    branch=production.id,
                    changes=new,
                    expect={key: seen[key].version for key in new},
                    expect_head=catalog.branch("production").head,
                    idempotency_key=f"{count}-{generation}",
                    kind="promote",
                    git_commit="0" * 40,
                )
            )

        found[f"publish {count}"] = median_ms(publishing, repeat)
    catalog.close()
    return found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    rows: list[tuple[str, float, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flights = folder / "flights"
        subprocess.run(
            [ANABRANCH, "init", "--example", "flights", str(flights)],
            check=True,
            capture_output=True,
            env=ENVIRON,
        )
        rows.extend(
            (f"python -c '{what}', whole process", median_ms(python(what), repeat * 2), "")
            for what in ("pass", "import pydantic.main", "import sqlglot", "import pyarrow.parquet")
        )
        rows.append(
            ("anabranch --help, whole process", median_ms(process(folder, "--help"), repeat), "≤ 150")
        )
        subprocess.run([ANABRANCH, "run"], cwd=flights, check=True, capture_output=True, env=ENVIRON)
        git(flights, "switch", "-q", "-c", "work")
        rows.append(
            (
                "anabranch status on a branch of the flights example, whole process",
                median_ms(process(flights, "status"), repeat),
                "≤ 350",
            )
        )
        rows.append(("anabranch plan there, whole process", median_ms(process(flights, "plan"), repeat), ""))

        for keys in (10, 100_000):
            catalog = bench_catalog(folder, keys, repeat)
            rows.append((f"open a sandbox, in process, {keys:,} keys", catalog["open"], "≤ 3"))
            goals = {"publish 6": "≤ 5", "publish 1000": "≤ 100"}
            rows.extend(
                (f"{what} changed tables, {keys:,} keys", catalog[what], goal)
                for what, goal in goals.items()
                if what in catalog
            )
        thousand = bench_catalog(folder, 1000, repeat)
        rows.append(("publish 1000 changed tables, 1,000 keys", thousand["publish 1000"], "≤ 100"))

        hundred = make_project(folder / "hundred", 100)
        project = ab.Project(hundred)

        def running(**options) -> float:
            start = time.perf_counter()
            result = project.run(force=True, **options)
            assert result.ok
            return (time.perf_counter() - start) * 1000 / 100

        running()
        rows.append(
            (
                "a tiny asset in a run of 100, workers' start included, each",
                statistics.median(running() for _ in range(3)),
                "≤ 25",
            )
        )
        rows.append(
            (
                "a tiny asset in a run of 100, in process, each",
                statistics.median(running(in_process=True) for _ in range(3)),
                "",
            )
        )
        project.close()

        def from_nothing() -> None:
            shutil.rmtree(hundred / ".anabranch")
            process(hundred, "run", "--workers", "2")()

        rows.append(
            (
                "100 tiny assets never built, 2 workers, whole process: anabranch run",
                median_ms(from_nothing, repeat),
                "≤ 3000",
            )
        )
        rows.append(
            ("the same again, nothing to do, whole process", median_ms(process(hundred, "run"), repeat), "")
        )

        large = make_project(folder / "large", 1000)
        subprocess.run([ANABRANCH, "run"], cwd=large, check=True, capture_output=True, env=ENVIRON)

        def planning() -> None:
            with ab.Project(large) as fresh:
                assert fresh.plan().nothing_to_do

        rows.append(
            ("load and plan 1,000 assets, nothing changed, in process", median_ms(planning, repeat), "≤ 1000")
        )
        rows.append(
            ("the same as a whole process: anabranch plan", median_ms(process(large, "plan"), repeat), "")
        )
    width = max(len(row[0]) for row in rows)
    print(f"{'work':{width}}  median ms  to reach")
    for what, taken, goal in rows:
        print(f"{what:{width}}  {taken:9.2f}  {goal}")


if __name__ == "__main__":
    main()
