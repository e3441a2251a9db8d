"""A project with people in it, its masked environment, and a search for what must never be seen there."""

from __future__ import annotations

import json
import sqlite3
import zlib
from pathlib import Path

import pyarrow.parquet as pq

from anabranch.catalog.base import Branch
from anabranch.lake.tables import Table
from anabranch.sandbox.gc import files_of

KEY = "a-long-enough-secret-of-the-tests"

SETTINGS = """
[project]
name = "people"
definitions = "people.definitions:defs"

[environments.production]
git_branch = "main"

[environments.staging]
derived_from = "production"
mask_key = "${STAGING_MASK_KEY}"

[environments.staging.masks]
pii = "hash"
salary = "bucket:1000"

[sandboxes]
base = "staging"
"""

DEFINITIONS = """
import json
import pathlib

import anabranch as ab
import pyarrow as pa

HERE = pathlib.Path(__file__).parent.parent
salary = ab.tag("salary")


@ab.asset(key="id", refresh="always", columns={
    "id": ab.pii, "name": ab.pii("fake:name"), "email": ab.pii(description="where to write to"), "pay": salary,
    "city": ab.keep("where they live"), "note": "nobody has declared this",
})
def people() -> pa.Table:
    rows = json.loads((HERE / "people.json").read_text())
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("email", pa.string()), ("pay", pa.int64()),
                        ("city", pa.string()), pa.field("note", pa.string(), nullable=False)])
    return pa.Table.from_pylist(rows, schema)


@ab.asset(key="email", columns={"email": ab.pii, "total": salary})
def spending(people: pa.Table) -> pa.Table:
    import pyarrow.compute as pc
    return people.group_by("email").aggregate([("pay", "sum")]).rename_columns(["email", "total"])


cities = ab.sql("cities", "select city, count(*) as people from people group by city",
                columns={"city": ab.keep, "people": ab.keep}, key="city")

defs = ab.Definitions(
    assets=[people, spending, cities],
    checks=[ab.not_null(people, "email"), ab.unique(people)],
)
"""


def person(number: int, mark: str = "") -> dict:
    """Somebody whose every personal value can be told from all others."""
    tag = f"CANARY{mark}{number}"
    return {
        "id": 880_000_000_000 + number,
        "name": f"{tag}-name",
        "email": f"{tag}@secret.example",
        "pay": 50_123 + number,
        "city": ["Ulm", "Bonn"][number % 2],
        "note": f"{tag}-note",
    }


def canaries(rows: list[dict]) -> list[bytes]:
    """What no file of a masked world may hold: the texts, and the numbers as Parquet and Iceberg store them."""
    found: list[bytes] = [b"CANARY", b"secret.example"]
    for row in rows:
        found += [row["id"].to_bytes(8, "little"), row["pay"].to_bytes(8, "little"), str(row["id"]).encode()]
    return found


def values_of(path: Path) -> set:
    """Every value, and every bound of a statistic, that a Parquet file holds once it is unpacked."""
    file = pq.ParquetFile(path)
    found: set = set()
    for column in file.read().columns:
        found |= {str(value) for value in column.to_pylist()}
    for group in range(file.metadata.num_row_groups):
        for index in range(file.metadata.num_columns):
            statistics = file.metadata.row_group(group).column(index).statistics
            if statistics is not None and statistics.has_min_max:
                found |= {str(statistics.min), str(statistics.max)}
    return found


def reachable(context, branches: list[Branch]) -> set[Path]:
    """Every file of the branches' own folders, and every file that an entry in their sight refers to."""
    storage = context.storage()
    warehouse = Path(storage.warehouse)
    found: set[Path] = set()
    for branch in branches:
        for part in ("_masked", "_sandboxes"):
            found |= {p for p in (warehouse / part).rglob("*") if p.is_file()}
        for number in range(branch.head + 1):
            for entry in context.catalog.entries(type(branch.point)(branch.id, number)).values():
                found |= {Path(file) for file in files_of(storage, entry.location)}
    return found


def search(context, branches: list[Branch], rows: list[dict]) -> list[str]:
    """Where an unmasked value is found: in a file, unpacked or not, or in a row of the catalog that they see."""
    wanted = canaries(rows)
    words = {str(row[name]) for row in rows for name in ("id", "name", "email", "pay", "note")}
    found = []
    for path in sorted(reachable(context, branches)):
        data = path.read_bytes()
        if data[:4] == b"Obj\x01":
            data += unpacked(data)
        found += [f"{path}: {mark!r}" for mark in wanted if mark in data]
        if path.suffix == ".parquet":
            found += [f"{path}: {value}" for value in sorted(words & values_of(path))]
    for branch in branches:
        for entry in context.catalog.entries(branch.point).values():
            text = repr(entry)
            found += [f"entry {entry.key}: {word}" for word in sorted(words) if word in text]
    return found


def unpacked(data: bytes) -> bytes:
    """The blocks of an Avro file without their packing, read by nothing of ours."""
    sync = data[-16:]
    at = data.index(sync) + 16
    out = b""
    while at < len(data):
        numbers = []
        for _ in range(2):  # how many records, how many bytes
            value = shift = 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    break
            numbers.append((value >> 1) ^ -(value & 1))
        out += zlib.decompress(data[at : at + numbers[1]], wbits=-15)
        at += numbers[1] + 16
    return out


def notes_of(database: Path) -> str:
    """All that the catalog keeps beside the entries, as one text."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select * from notes").fetchall()
    connection.close()
    return json.dumps([list(map(str, row)) for row in rows])


def handle(context, entry) -> Table:
    """A table to look at."""
    return Table(entry.key, entry.location, context.storage(), version=entry.version)
