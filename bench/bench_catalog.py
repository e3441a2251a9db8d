"""What the catalog's calls cost on this machine: ``python bench/bench_catalog.py``. Medians, in milliseconds."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from anabranch.catalog import open_catalog
from anabranch.catalog.base import Branch, Catalog, CommitRequest, Entry, Provenance


def entry(key: str, version: int) -> Entry:
    return Entry(
        key=key,
        kind="table",
        location=f"/data/warehouse/main/{key}/metadata/{version:08d}-{key}.metadata.json",
        version=f"ab1:0123456789abcdef:1000:{version:032x}",
        provenance=Provenance(
            fingerprint=f"{key}:{version:032x}",
            code="c" * 32,
            code_parts={f"package.module.function_{part}": "d" * 32 for part in range(5)},
            config="e" * 32,
            inputs={f"input_{part}": f"ab1:0123456789abcdef:1000:{part:032x}" for part in range(3)},
            run="0123456789abcdef",
            git_commit="f" * 40,
            environment="production",
            computed_at="2026-11-20T09:00:00+00:00",
            rows=1000,
            bytes=123456,
            seconds=1.5,
        ),
    )


def median(times: int, work: Callable[[int], object]) -> float:
    taken = []
    for turn in range(times):
        start = time.perf_counter()
        work(turn)
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


def filled(folder: Path, keys: int) -> tuple[Catalog, Branch]:
    catalog = open_catalog(f"sqlite:///{folder / f'{keys}.db'}")
    production = catalog.open_branch("production", kind="environment")
    catalog.commit(
        CommitRequest(production.id, changes={f"k{i:06d}": entry(f"k{i:06d}", 0) for i in range(keys)})
    )
    return catalog, catalog.branch("production")


def measure(folder: Path, keys: int, turns: int) -> list[tuple[str, float]]:
    catalog, production = filled(folder, keys)
    names = [f"k{i:06d}" for i in range(keys)]
    some = names[:: max(1, keys // 1000)][:1000]
    sandbox = catalog.open_branch("sandbox", kind="sandbox", parent=production.point)

    def commit(branch: Branch, count: int) -> Callable[[int], object]:
        def once(turn: int) -> object:
            changes = {name: entry(name, turn + 1) for name in some[:count]}
            seen = {
                name: found.version
                for name, found in catalog.entries(catalog.resolve(branch.name), changes).items()
            }
            start = time.perf_counter()
            catalog.commit(CommitRequest(branch.id, changes=changes, expect=seen))
            spent.append((time.perf_counter() - start) * 1000)
            return None

        spent: list[float] = []
        once.spent = spent  # type: ignore[attr-defined]
        return once

    def commits(branch: Branch, count: int, times: int) -> float:
        work = commit(branch, count)
        for turn in range(times):
            work(turn)
        return statistics.median(work.spent)  # type: ignore[attr-defined]

    rows = [
        (
            "open a branch",
            median(
                turns, lambda turn: catalog.open_branch(f"b{turn}", kind="sandbox", parent=production.point)
            ),
        ),
        ("commit 6 entries, all expected", commits(production, min(6, keys), turns)),
        ("commit 1,000 entries, all expected", commits(sandbox, 1000, 10)) if keys >= 1000 else ("", 0.0),
    ]
    head = catalog.resolve("sandbox")
    old = production.point
    new = catalog.resolve("production")
    rows += [
        ("resolve a branch", median(turns, lambda _: catalog.resolve("sandbox"))),
        ("get, own entry", median(turns, lambda turn: catalog.get(head, some[turn % len(some)]))),
        ("get, from the base", median(turns, lambda turn: catalog.get(head, names[-1 - turn % len(names)]))),
        (f"entries of {len(some):,} keys", median(10, lambda _: catalog.entries(head, some))),
        ("changes between head and 1 commit before", median(turns, lambda _: catalog.commit_changes(new))),
        ("changes of the sandbox to its base", median(10, lambda _: catalog.changes(old, head))),
        ("find by fingerprint", median(turns, lambda turn: catalog.find(f"{some[0]}:{turn:032x}"))),
        (
            "find_many of 1,000 fingerprints",
            median(10, lambda _: catalog.find_many([f"{name}:{0:032x}" for name in some])),
        ),
        (f"all {keys:,} entries", median(3, lambda _: catalog.entries(head))),
    ]
    keep = {branch.id: 0 for branch in catalog.branches()}
    rows.append(("reachable", median(3, lambda _: catalog.reachable(keep))))
    rows.append(
        ("open the catalog", median(10, lambda _: open_catalog(f"sqlite:///{folder / f'{keys}.db'}").close()))
    )
    catalog.close()
    return [row for row in rows if row[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, nargs="+", default=[10, 1_000, 100_000])
    parser.add_argument("--turns", type=int, default=100)
    options = parser.parse_args()
    for keys in options.keys:
        with tempfile.TemporaryDirectory() as folder:
            print(f"\n{keys:,} keys{'ms':>50}")
            for name, taken in measure(Path(folder), keys, options.turns):
                print(f"  {name:<46}{taken:>10.3f}")


if __name__ == "__main__":
    main()
