"""A table handle over plain Parquet files: as little as a comparison needs, and nothing of a lake."""

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@dataclass(frozen=True)
class File:
    path: str
    rows: int


@dataclass
class Double:
    key: str
    version: str
    schema: pa.Schema
    field_ids: dict
    listed: list
    plain: bool = True
    views: list = field(default_factory=list)

    @property
    def rows(self):
        return sum(file.rows for file in self.listed)

    def files(self):
        return self.listed

    def create_view(self, connection, name):
        self.views.append(name)
        connection.execute(
            f"CREATE VIEW {name} AS SELECT * FROM read_parquet({[file.path for file in self.listed]!r})"
        )


class Maker:
    """Writes tables into a folder; every call makes new files and a new version."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.count = 0

    def file(self, data: pa.Table, **options) -> File:
        self.count += 1
        path = self.folder / f"{self.count}.parquet"
        pq.write_table(data, path, **options)
        return File(str(path), data.num_rows)

    def table(self, *parts, ids=None, plain=True, version=None, schema=None, **options) -> Double:
        """Of Arrow tables (written) and files (taken as they are)."""
        files = [part if isinstance(part, File) else self.file(part, **options) for part in parts]
        if schema is None:
            schema = next(part.schema for part in parts if isinstance(part, pa.Table))
        self.count += 1
        if ids is None:
            ids = {name: number for number, name in enumerate(schema.names, 1)}
        return Double("main_table", version or f"v{self.count}", schema, ids, files, plain)


@pytest.fixture
def make(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return Maker(folder)


@pytest.fixture(scope="session")
def maker():
    """For tests that need many folders of their own."""
    return Maker
