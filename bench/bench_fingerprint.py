"""How long it takes to hash the code of 1,000 assets, to parse 1,000 files, and to read 1,000 queries.

python bench/bench_fingerprint.py [--repeat 5]
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from anabranch.pipeline.fingerprint import CodeReader
from anabranch.pipeline.kept import kept_in
from anabranch.pipeline.sources import Source
from anabranch.pipeline.sql_query import parse_query

HELPERS = "\n".join(
    f"""
def helper_{n}(frame, limit=LIMIT):
    '''Keeps what matters.'''
    kept = [row for row in frame if row > limit + {n}]
    return {{"rows": kept, "name": f"helper {n} {{len(kept)}}"}}{f", helper_{n - 1}(frame)" if n % 5 else ""}
"""
    for n in range(40)
)
ASSET = '''
def asset_{n}(flights: pl.LazyFrame, weather: pl.LazyFrame) -> pl.LazyFrame:
    """Joins, filters and sums."""
    joined = flights.join(weather, on=["origin", "hour"], how="left")
    late = joined.filter((pl.col("delay") > THRESHOLD) & pl.col("wind").is_not_null())
    shown = helpers.helper_{h}(late)
    return late.group_by("carrier").agg(pl.col("delay").mean().alias("delay_{n}"), pl.len()).with_columns(x=shown)
'''


def project(root: Path) -> None:
    (root / "many").mkdir()
    (root / "many" / "__init__.py").write_text("")
    (root / "many" / "helpers.py").write_text("LIMIT = 3\n" + HELPERS)
    for module in range(50):
        body = "".join(ASSET.format(n=module * 20 + n, h=(module + n) % 40) for n in range(20))
        (root / "many" / f"assets_{module}.py").write_text(
            f"import polars as pl\nfrom many import helpers\nTHRESHOLD = {module}\n{body}"
        )


def timed(repeat: int, work: Callable[[], object]) -> str:
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return f"{statistics.median(seconds) * 1000:8.1f} ms (median of {repeat})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        project(root)
        sys.path.insert(0, folder)
        functions = []
        for module in range(50):
            loaded = importlib.import_module(f"many.assets_{module}")
            functions += [getattr(loaded, f"asset_{module * 20 + n}") for n in range(20)]

        def read(cache: Path | None = None) -> None:
            kept_in.cache_clear()  # as a new process finds it
            reader = CodeReader(root, cache_dir=cache)
            for function in functions:
                reader.of(function)

        print("1,000 assets in 50 modules     ", timed(repeat, read))
        read(root / "cache")
        print("1,000 assets, files kept       ", timed(repeat, lambda: read(root / "cache")))
        small = root / "small"
        small.mkdir()
        for n in range(1000):
            (small / f"m{n}.py").write_text(f"import polars as pl\nLIMIT = {n}\n" + ASSET.format(n=n, h=n))

        def parse() -> None:
            for n in range(1000):
                Source(f"m{n}", small / f"m{n}.py", f"m{n}.py", is_package=False, folders=())

        print("1,000 files of 10 lines parsed ", timed(repeat, parse))
        queries = [
            f"with late as (select * from flights where delay > {n} and origin in ('JFK', 'LGA')) "
            f"select carrier, avg(delay) as delay_{n}, count(*) as n from late join weather using (origin, hour) group by all"
            for n in range(1000)
        ]

        def query(cache: Path | None) -> None:
            kept_in.cache_clear()  # as a new process finds it
            for text in queries:
                parse_query(text, name="q", cache_dir=cache)

        kept = root / "cache"
        query(kept)
        print("1,000 queries, kept            ", timed(repeat, lambda: query(kept)))
        print("1,000 queries, parsed          ", timed(min(repeat, 2), lambda: query(None)))


if __name__ == "__main__":
    main()
