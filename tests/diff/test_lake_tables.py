"""The diff of real tables of the lake: every type, shared files, evolved schemas, missing files."""

import datetime as dt
import decimal
import json
import math
import uuid
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.types import StringType

from anabranch.catalog.memory import MemoryCatalog
from anabranch.diff import diff_tables
from anabranch.errors import LakeError, MissingFileError
from anabranch.lake.iceberg import BranchCatalog
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, append_table, write_table

# Column → its type, a value, and another one.
TYPES = {
    "flag": (pa.bool_(), True, False),
    "small": (pa.int32(), -(2**31), 1),
    "large": (pa.int64(), 2**63 - 1, 2**63 - 2),
    "single": (pa.float32(), 1.5, math.nan),
    "double": (pa.float64(), math.inf, -math.inf),
    "money": (pa.decimal128(9, 2), decimal.Decimal("1.25"), decimal.Decimal("1.24")),
    "wide": (pa.decimal128(38, 0), decimal.Decimal(10**37), decimal.Decimal(10**37 + 1)),
    "text": (pa.string(), "a", "ä"),
    "blob": (pa.binary(), b"\x00", b"\x00\x00"),
    "code": (pa.binary(4), b"abcd", b"abce"),
    "day": (pa.date32(), dt.date(1, 1, 1), dt.date(9999, 12, 31)),
    "clock": (pa.time64("us"), dt.time(0), dt.time(23, 59, 59, 999999)),
    "local": (pa.timestamp("us"), -(2**62), -(2**62) + 1),
    "instant": (pa.timestamp("us", "UTC"), 2**62, 2**62 - 1),
    "uuid": (pa.uuid(), uuid.UUID(int=1).bytes, uuid.UUID(int=2).bytes),
    "list": (pa.list_(pa.float64()), [math.nan, None], [math.nan]),
    "struct": (
        pa.struct([("n", pa.int32()), ("s", pa.list_(pa.string()))]),
        {"n": None, "s": ["a"]},
        {"n": 0, "s": ["a"]},
    ),
    "map": (pa.map_(pa.string(), pa.int64()), [("a", None)], [("a", 0)]),
}


@pytest.fixture
def lake(tmp_path):
    return Storage(tmp_path / "warehouse", scope=Scope.environment())


def array(kind, values):
    if kind == pa.uuid():
        return pa.ExtensionArray.from_storage(kind, pa.array(values, pa.binary(16)))
    return pa.array(values, kind)


def of_types(pick):
    columns = {"id": pa.array(range(4), pa.int64())}
    for name, (kind, one, other) in TYPES.items():
        columns[name] = array(kind, [None, one, {"one": one, "other": other, "null": None}[pick], one])
    return pa.table(columns)


def write(lake, data, previous=None, **options):
    return Table("t", write_table(lake, "t", data, previous=previous, **options).location, lake)


@pytest.mark.parametrize("keys", [["id"], []])
@pytest.mark.parametrize("pick", ["other", "null"])
def test_a_change_in_any_type_is_found_and_shown(lake, keys, pick):
    before = write(lake, of_types("one"))
    after = write(lake, of_types(pick), before)
    found = diff_tables("t", before, after, key_columns=keys, summaries="all")
    assert found.rows.unchanged == 3
    if keys:
        assert found.rows.by_column == dict.fromkeys(TYPES, 1)
        assert [sample.key for sample in found.rows.samples] == [{"id": 2}]
    else:
        assert (found.rows.added, found.rows.removed) == (1, 1)
    json.dumps(found.to_dict(), allow_nan=False)


def test_equal_data_written_twice_has_equal_versions_and_needs_no_look(lake):
    before = write(lake, of_types("one"))
    after = write(lake, of_types("one"), before)
    for file in (*before.files(), *after.files()):
        Path(file.path.removeprefix("file://")).unlink()
    assert diff_tables("t", before, after).state == "same"


def numbers(rows, start=0):
    ids = range(start, start + rows)
    return pa.table(
        {"id": pa.array(ids, pa.int64()), "name": [f"n{i % 7}" for i in ids], "value": [i / 2 for i in ids]}
    )


def test_an_append_shares_its_files_and_reads_the_new_one_alone(lake):
    before = write(lake, numbers(1000))
    appended = append_table(lake, "t", numbers(10, 1000), previous=before)
    after = Table("t", appended.location, lake)
    for file in before.files():
        Path(file.path.removeprefix("file://")).unlink()
    found = diff_tables("t", before, after, key_columns=["id"])
    assert (found.rows.added, found.rows.unchanged) == (10, 1000)
    assert (found.rows.files_shared, found.rows.files_read) == (1, 1)
    assert (found.left_rows, found.right_rows) == (1000, 1010)


def test_a_rename_told_to_the_lake_is_a_rename_here(lake):
    before = write(lake, numbers(5))
    data = numbers(5).rename_columns(["id", "label", "value"])
    after = write(lake, data, before, renames={"label": "name"})
    found = diff_tables("t", before, after, key_columns=["id"])
    assert [(old.name, new.name) for old, new in found.schema.renamed] == [("name", "label")]
    assert not found.rows.differs


def test_a_table_evolved_by_iceberg_is_compared_as_it_reads_now(lake):
    catalog = MemoryCatalog()
    catalog.open_branch("production", kind="environment")
    iceberg = BranchCatalog(catalog, "production", lake)
    # pyiceberg's own statistics can't hold a year beyond 9999.
    data = of_types("one").drop_columns(["local", "instant"])
    table = iceberg.create_table("t", data.schema)
    table.append(data)

    def handle():
        entry = catalog.get(catalog.branch("production").point, "t")
        return Table("t", entry.location, lake, entry.version)

    before = handle()
    with table.update_schema() as update:
        update.add_column("extra", StringType())
        update.rename_column("text", "words")
    table = iceberg.load_table("t")
    table.delete("id = 1")
    after = handle()
    found = diff_tables("t", before, after, key_columns=["id"])
    assert (found.rows.removed, found.rows.added, found.rows.changed, found.rows.unchanged) == (1, 0, 0, 3)
    assert [field.name for field in found.schema.added] == ["extra"]
    assert [new.name for _, new in found.schema.renamed] == ["words"]


def test_a_missing_file_is_named(lake):
    before, after = write(lake, numbers(5)), write(lake, numbers(6))
    path = before.files()[0].path
    Path(path.removeprefix("file://")).unlink()
    with pytest.raises(MissingFileError, match=r"\.parquet of t is not there"):
        diff_tables("t", before, after)


def test_a_damaged_file_is_an_error_that_names_the_table(lake):
    before, after = write(lake, numbers(5)), write(lake, numbers(6))
    path = Path(after.files()[0].path.removeprefix("file://"))
    path.chmod(0o644)
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(LakeError, match="t can't be compared") as caught:
        diff_tables("t", before, after)
    assert "\n" not in caught.value.message


def test_new_and_gone_tables_are_told_from_metadata(lake):
    table = write(lake, of_types("one"))
    assert diff_tables("t", None, table, key_columns=["id"]).rows.added == 4
    assert diff_tables("t", table, None).rows.removed == 4
