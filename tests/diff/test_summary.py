"""A table's diff as a whole: states, summaries, plain JSON, files."""

import json
import math
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest

from anabranch.diff import Diff, diff_files, diff_tables


def data(**columns):
    return pa.table({"id": pa.array([1, 2, 3, 4], pa.int64()), **columns})


def summaries(found):
    return {pair.name: pair for pair in found.summaries}


def test_a_changed_column_is_summarised_on_both_sides(make):
    before = make.table(data(x=[1.0, 2.0, None, 4.0], s=["a", "b", "c", "d"]))
    after = make.table(data(x=[1.0, 2.0, None, 7.0], s=["a", "b", "c", "d"]))
    found = summaries(diff_tables("t", before, after, key_columns=["id"]))
    assert list(found) == ["x"]
    left, right = found["x"].left, found["x"].right
    assert (left.rows, left.nulls, left.approx_distinct, left.min, left.max) == (4, 1, 3, 1.0, 4.0)
    assert left.mean == pytest.approx(7 / 3)
    assert (right.max, right.type) == (7.0, "double")


def test_all_columns_are_summarised_on_request_and_none_if_not_wanted(make):
    before, after = make.table(data(x=[1, 2, 3, 4])), make.table(data(x=[1, 2, 3, 5]))
    assert list(summaries(diff_tables("t", before, after, summaries="all"))) == ["id", "x"]
    assert diff_tables("t", before, after, summaries=False).summaries == ()


def test_added_removed_and_renamed_columns_are_summarised_where_they_are(make):
    before = make.table(data(gone=["a"] * 4, old=[1, 2, 3, 4]), ids={"id": 1, "gone": 2, "old": 3})
    after = make.table(data(new=["b"] * 4, name=[1, 2, 3, 9]), ids={"id": 1, "new": 4, "name": 3})
    found = summaries(diff_tables("t", before, after, key_columns=["id"]))
    assert list(found) == ["new", "name", "gone"]
    assert found["new"].left is None
    assert found["gone"].right is None
    assert (found["name"].left.name, found["name"].right.name) == ("old", "name")
    assert (found["name"].left.max, found["name"].right.max) == (4, 9)


def test_every_type_is_summarised_with_what_it_has(make):
    before = make.table(
        data(
            d=pa.array([Decimal("1.10"), None, Decimal("3.30"), Decimal("-2.00")], pa.decimal128(9, 2)),
            t=pa.array([date(2024, 1, 1), None, date(2023, 1, 1), date(2025, 1, 1)]),
            f=[math.nan, 1.0, math.inf, 2.0],
            b=[True, False, None, True],
            z=[b"\x01", b"\x02", None, b"\x00"],
            l=[[1], [2], None, []],
            n=pa.nulls(4, pa.string()),
        )
    )
    found = summaries(diff_tables("t", before, None))
    told = {name: (pair.left.min, pair.left.max, pair.left.mean) for name, pair in found.items()}
    assert told["d"] == ("-2.00", "3.30", pytest.approx(0.8))
    assert told["t"] == ("2023-01-01", "2025-01-01", None)
    assert told["f"][0] == 1.0
    assert told["f"][2] is None
    assert told["b"] == (False, True, None)
    assert told["z"] == ("0x00", "0x02", None)
    assert told["l"] == (None, None, None)
    assert found["l"].left.nulls == 1
    assert told["n"] == (None, None, None)
    assert (found["n"].left.nulls, found["n"].left.approx_distinct) == (4, 0)
    assert all(pair.right is None for pair in found.values())
    json.dumps([pair.to_dict() for pair in found.values()], allow_nan=False)


def test_a_new_table_is_counted_from_metadata_and_sampled(make):
    found = diff_tables("t", None, make.table(data(x=[1, 2, 3, 4])), key_columns=["id"], samples=2)
    assert (found.state, found.left_rows, found.right_rows, found.left_version) == ("added", None, 4, None)
    assert (found.rows.added, found.rows.removed) == (4, 0)
    assert [sample.after for sample in found.rows.samples] == [{"id": 1, "x": 1}, {"id": 2, "x": 2}]
    assert found.rows.samples[0].before is None
    assert found.rows.samples[0].key == {"id": 1}
    assert [field.name for field in found.schema.added] == ["id", "x"]
    assert summaries(found)["x"].right.max == 4


def test_a_deleted_table_is_counted_from_metadata_and_sampled(make):
    found = diff_tables("t", make.table(data()), None, key_columns=["id"], samples=1)
    assert (found.state, found.right_rows, found.right_version) == ("removed", None, None)
    assert (found.rows.added, found.rows.removed) == (0, 4)
    assert found.rows.samples[0].kind == "removed"
    assert not found.schema.compatible


def test_a_new_empty_table_has_no_rows_to_show(make):
    found = diff_tables("t", None, make.table(data().slice(0, 0)))
    assert (found.rows.added, found.rows.samples) == (0, ())


def test_nothing_on_either_side_is_refused():
    with pytest.raises(ValueError, match="t is on neither side"):
        diff_tables("t", None, None)
    with pytest.raises(ValueError, match="t is on neither side"):
        diff_files("t", None, None)


def test_files_are_compared_by_version_and_size_alone():
    assert diff_files("f", ("f1:a", 10), ("f1:a", 10)).state == "same"
    changed = diff_files("f", ("f1:a", 10), ("f1:b", 12))
    assert (changed.kind, changed.state, changed.left_bytes, changed.right_bytes) == (
        "file",
        "changed",
        10,
        12,
    )
    assert diff_files("f", None, ("f1:b", 12)).state == "added"
    assert diff_files("f", ("f1:a", 10), None).state == "removed"


def test_a_diff_lists_what_changed_and_is_plain_json(make):
    same = diff_tables("same", make.table(data(), version="v"), make.table(data(), version="v"))
    other = diff_tables(
        "other", make.table(data(x=[math.nan] * 4)), make.table(data(x=[1.0] * 4)), key_columns=["id"]
    )
    whole = Diff("production", "feature", (same, other, diff_files("file", None, ("f1:a", 1))))
    assert [table.key for table in whole.changed] == ["other", "file"]
    told = json.loads(json.dumps(whole.to_dict(), allow_nan=False))
    assert told["changed"] == ["other", "file"]
    assert told["tables"][1]["rows"]["samples"][0]["before"] == {"id": 1, "x": "NaN"}
    assert told["tables"][1]["rows"]["by_column"] == {"x": 4}
    assert told["tables"][0]["rows"] is None
