"""The rows' diff against a naive comparison in Python, and what it must not read."""

import json
import math
import tempfile
from collections import Counter
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.diff import diff_tables
from effort import effort

SCHEMA = pa.schema(
    [
        ("k", pa.int64()),
        ("j", pa.string()),
        ("x", pa.float64()),
        ("s", pa.string()),
        ("d", pa.decimal128(6, 2)),
        ("t", pa.timestamp("us", tz="UTC")),
        ("b", pa.binary()),
        ("l", pa.list_(pa.float64())),
        ("n", pa.struct([("p", pa.int32()), ("q", pa.list_(pa.string()))])),
        ("m", pa.map_(pa.string(), pa.float64())),
    ]
)
FLOATS = st.sampled_from([None, 0.0, -0.0, 1.5, math.nan, math.inf])
CELLS = {
    "k": st.sampled_from([None, 0, 1, 2, 3, 4, 5]),
    "j": st.sampled_from([None, "", "a"]),
    "x": FLOATS,
    "s": st.sampled_from([None, "", "a", "ä", "a'\"\x00"]),
    "d": st.sampled_from([None, Decimal("0.00"), Decimal("1.10")]),
    "t": st.sampled_from(
        [None, datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC)]
    ),
    "b": st.sampled_from([None, b"", b"\x00"]),
    "l": st.one_of(st.none(), st.lists(FLOATS, max_size=2)),
    "n": st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {
                "p": st.sampled_from([None, 1]),
                "q": st.one_of(st.none(), st.lists(st.sampled_from([None, "a"]), max_size=1)),
            }
        ),
    ),
    "m": st.one_of(st.none(), st.just([]), FLOATS.map(lambda value: [("a", value)])),
}
# Few columns vary freely, so that equal rows and equal keys are common.
BUSY = ["k", "j", "x"]
ROW = st.fixed_dictionaries(
    {name: CELLS[name] if name in BUSY else st.one_of(st.none(), CELLS[name]) for name in CELLS}
)
SMALL_ROW = st.fixed_dictionaries({name: CELLS[name] for name in BUSY}).map(
    lambda row: {**dict.fromkeys(CELLS), **row}
)
ROWS = st.lists(st.one_of(SMALL_ROW, ROW), max_size=8)


def same(value):
    """A value that is equal exactly where the comparison calls values equal."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, dict):
        return tuple((name, same(item)) for name, item in sorted(value.items()))
    if isinstance(value, list | tuple):
        return tuple(same(item) for item in value)
    return value


def naive(left, right, keys):
    """The definition, word for word."""
    frozen = lambda rows: Counter(tuple((name, same(row[name])) for name in SCHEMA.names) for row in rows)
    before, after = frozen(left), frozen(right)
    gone, new = before - after, after - before
    key = lambda row: tuple(value for name, value in row if name in keys)
    changed, by_column = 0, Counter()
    removed, added = gone.total(), new.total()
    if keys:
        for group in {key(row) for row in gone}:
            olds = [row for row in gone.elements() if key(row) == group]
            news = [row for row in new.elements() if key(row) == group]
            if len(olds) == len(news) == 1:
                changed += 1
                by_column.update(a[0] for a, b in zip(olds[0], news[0], strict=True) if a != b)
    return {
        "added": added - changed,
        "removed": removed - changed,
        "changed": changed,
        "unchanged": (before & after).total(),
        "by_column": dict(by_column),
    }


def arrow(rows):
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def told(found):
    return {name: getattr(found, name) for name in ("added", "removed", "changed", "unchanged", "by_column")}


@settings(max_examples=effort(25), deadline=None)
@given(
    shared=ROWS,
    left=ROWS,
    right=ROWS,
    keys=st.sampled_from([[], ["k"], ["k", "j"], ["j"], ["x"], ["l"], ["n"]]),
    samples=st.sampled_from([0, 2, 100]),
)
def test_counts_are_those_of_the_definition_whatever_is_shared(maker, shared, left, right, keys, samples):
    with tempfile.TemporaryDirectory() as folder:
        make = maker(Path(folder))
        common = make.file(arrow(shared))
        before = make.table(common, arrow(left))
        after = make.table(arrow(right), common)
        # A file that both sides list is not opened: it may as well not be there.
        Path(common.path).unlink()
        found = diff_tables("t", before, after, key_columns=keys, samples=samples, threads=1).rows
    expected = naive(shared + left, shared + right, keys)
    assert told(found) == expected
    assert found.keyed == bool(keys)
    assert found.files_shared == 1
    kinds = Counter(sample.kind for sample in found.samples)
    for kind in ("added", "removed", "changed"):
        assert kinds[kind] == min(expected[kind], samples)
    if keys:
        of = lambda rows: len(rows) - len({tuple(same(row[name]) for name in keys) for row in rows})
        assert found.duplicates_left <= of(left)
        assert found.duplicates_right <= of(right)
        if found.differs and not (expected["unchanged"] or shared):
            assert (found.duplicates_left, found.duplicates_right) == (of(left), of(right))
    json.dumps(found.to_dict(), allow_nan=False)


@settings(max_examples=effort(15), deadline=None)
@given(left=ROWS, right=ROWS, keys=st.sampled_from([["k"], ["k", "j"]]))
def test_samples_are_rows_of_their_side_under_their_key(maker, left, right, keys):
    with tempfile.TemporaryDirectory() as folder:
        make = maker(Path(folder))
        before, after = make.table(arrow(left)), make.table(arrow(right))
        found = diff_tables("t", before, after, key_columns=keys, samples=50, threads=1).rows
    cells = lambda row: json.dumps({name: row[name] for name in ("k", "j", "s")}, sort_keys=True)
    lefts, rights = {cells(row) for row in left}, {cells(row) for row in right}
    for sample in found.samples:
        assert (sample.before is None) == (sample.kind == "added")
        assert (sample.after is None) == (sample.kind == "removed")
        for row, rows in ((sample.before, lefts), (sample.after, rights)):
            if row is not None:
                assert cells(row) in rows
                assert sample.key == {name: row[name] for name in keys}
        if sample.kind == "changed":
            assert sample.before != sample.after or same(sample.before) != same(sample.after)


def numbers(count, **columns):
    return pa.table({"id": pa.array(range(count), pa.int64()), **columns})


def test_the_order_of_rows_and_their_spread_over_files_is_no_change(make):
    data = numbers(1000, x=pa.array([float(n % 7) for n in range(1000)]))
    before = make.table(data)
    after = make.table(data.slice(600), data.slice(0, 300), data.slice(300, 300))
    found = diff_tables("t", before, after, key_columns=["id"]).rows
    assert not found.differs
    assert found.unchanged == 1000
    assert not diff_tables("t", before, after).rows.differs


def test_equal_versions_cost_nothing(make):
    data = numbers(3)
    before, after = make.table(data, version="same"), make.table(data, version="same")
    for file in (*before.files(), *after.files()):
        Path(file.path).unlink()
    found = diff_tables("t", before, after, key_columns=["id"])
    assert found.state == "same"
    assert found.rows is None
    assert (found.left_rows, found.right_rows) == (3, 3)


def test_an_append_reads_the_new_file_alone(make):
    old = make.file(numbers(1000))
    before = make.table(old, schema=numbers(0).schema)
    after = make.table(old, pa.table({"id": pa.array([5000, 4000], pa.int64())}))
    Path(old.path).write_bytes(b"no parquet")
    found = diff_tables("t", before, after, key_columns=["id"], summaries="all")
    assert told(found.rows) == {"added": 2, "removed": 0, "changed": 0, "unchanged": 1000, "by_column": {}}
    assert (found.rows.files_read, found.rows.files_shared) == (1, 1)
    assert [sample.key for sample in found.rows.samples] == [{"id": 4000}, {"id": 5000}]
    assert found.summaries[0].right.rows == 2
    assert found.summaries[0].left is None


def test_dropped_files_are_counted_and_sampled_without_the_rest(make):
    old = make.file(numbers(1000))
    before = make.table(old, numbers(2))
    after = make.table(old, schema=before.schema)
    Path(old.path).unlink()
    found = diff_tables("t", before, after, key_columns=["id"]).rows
    assert (found.removed, found.unchanged) == (2, 1000)
    assert found.samples[0].before == {"id": 0}


def test_files_of_tables_that_are_not_plain_are_read_even_if_shared(make):
    common = make.file(numbers(10))
    before = make.table(common, schema=numbers(0).schema)
    after = make.table(common, schema=numbers(0).schema, plain=False)
    found = diff_tables("t", before, after, key_columns=["id"]).rows
    assert found.files_shared == 0
    assert found.unchanged == 10
    assert after.views


def test_a_key_that_everybody_has_makes_no_cross_product(make):
    rows = 60_000
    one = pa.array([1] * rows, pa.int64())
    before = make.table(pa.table({"id": one, "x": pa.array(range(rows))}))
    after = make.table(pa.table({"id": one, "x": pa.array(range(1, rows + 1))}))
    found = diff_tables("t", before, after, key_columns=["id"])
    # One row is gone and one is new under that key: one row that changed, from 0 to 60,000.
    assert told(found.rows) == {
        "added": 0,
        "removed": 0,
        "changed": 1,
        "unchanged": rows - 1,
        "by_column": {"x": 1},
    }
    assert (found.rows.duplicates_left, found.rows.duplicates_right) == (rows - 1, rows - 1)
    assert found.rows.samples[0].before == {"id": 1, "x": 0}
    assert found.rows.samples[0].after == {"id": 1, "x": rows}
    assert found.note.startswith("the key is not unique (59,999 rows before and 59,999 rows after")


def test_duplicates_among_unmatched_rows_are_told(make):
    before = make.table(numbers(3))
    after = make.table(pa.table({"id": pa.array([0, 1, 2, 7, 7, 7], pa.int64())}))
    found = diff_tables("t", before, after, key_columns=["id"])
    assert (found.rows.added, found.rows.unchanged) == (3, 3)
    assert (found.rows.duplicates_left, found.rows.duplicates_right) == (0, 2)
    assert "2 rows after" in found.note


def test_a_renamed_column_is_compared_to_itself(make):
    before = make.table(pa.table({"id": [1, 2], "old": ["a", "b"]}), ids={"id": 1, "old": 2})
    after = make.table(pa.table({"id": [1, 2], "new": ["a", "c"]}), ids={"id": 1, "new": 2})
    found = diff_tables("t", before, after, key_columns=["id"])
    assert found.rows.by_column == {"new": 1}
    assert found.rows.samples[0].before == {"id": 2, "old": "b"}
    assert found.rows.samples[0].after == {"id": 2, "new": "c"}


def test_a_renamed_key_still_is_the_key(make):
    before = make.table(pa.table({"old": [1, 2], "x": ["a", "b"]}), ids={"old": 1, "x": 2})
    after = make.table(pa.table({"new": [1, 3], "x": ["c", "b"]}), ids={"new": 1, "x": 2})
    found = diff_tables("t", before, after, key_columns=["new"]).rows
    assert found.keyed
    assert (found.changed, found.removed, found.added) == (1, 1, 1)
    assert {sample.kind: sample.key for sample in found.samples} == {
        "changed": {"new": 1},
        "removed": {"new": 2},
        "added": {"new": 3},
    }


def test_added_and_removed_columns_change_no_row_but_stand_in_the_samples(make):
    before = make.table(
        pa.table({"id": [1, 2], "gone": [5, 6], "x": [0, 0]}), ids={"id": 1, "gone": 2, "x": 3}
    )
    after = make.table(pa.table({"id": [1, 2], "x": [0, 1], "new": [7, 8]}), ids={"id": 1, "x": 3, "new": 4})
    for keys, kinds in ((["id"], 1), ([], 2)):
        found = diff_tables("t", before, after, key_columns=keys)
        assert found.rows.unchanged == 1
        assert len(found.rows.samples) == kinds
        rows = [row for sample in found.rows.samples for row in (sample.before, sample.after) if row]
        assert {"id": 2, "gone": 6, "x": 0} in rows
        assert {"id": 2, "x": 1, "new": 8} in rows


@pytest.mark.parametrize("keys", [["id"], []])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pa.array([1, 2, None], pa.int32()), pa.array([1, 2, None], pa.int64())),
        (
            pa.array([0.1, math.nan, -0.0], pa.float32()),
            pa.array([float.fromhex("0x1.99999ap-4"), math.nan, 0.0]),
        ),
        (
            pa.array([1, 2**53 + 1, -7], pa.int64()),
            pa.array([Decimal(1), Decimal(2**53 + 1), Decimal(-7)], pa.decimal128(20, 2)),
        ),
        (pa.array([1, None, -3], pa.int64()), pa.array([1.0, None, -3.0], pa.float64())),
        (
            pa.array([Decimal("1.50"), Decimal("0.00"), None], pa.decimal128(9, 2)),
            pa.array([1.5, -0.0, None]),
        ),
        (pa.array([1, 20, None], pa.int64()), pa.array(["1", "20", None])),
        (
            pa.array([date(2024, 1, 1), None, date(1970, 1, 1)]),
            pa.array([datetime(2024, 1, 1), None, datetime(1970, 1, 1)], pa.timestamp("us")),
        ),
        (pa.array([[1], None, []], pa.list_(pa.int32())), pa.array([[1], None, []], pa.list_(pa.int64()))),
    ],
)
def test_values_that_only_changed_their_type_are_equal(make, old, new, keys):
    before, after = make.table(numbers(3, x=old)), make.table(numbers(3, x=new))
    there = diff_tables("t", before, after, key_columns=keys)
    back = diff_tables("t", after, before, key_columns=keys)
    assert there.schema.retyped
    assert not there.rows.differs
    assert not back.rows.differs


def test_values_that_changed_beyond_their_type_are_changed(make):
    before = make.table(numbers(4, x=pa.array([1, 2**53 + 1, 3, 4], pa.int64())))
    after = make.table(numbers(4, x=pa.array([1.5, 2.0**53, 3.0, None], pa.float64())))
    found = diff_tables("t", before, after, key_columns=["id"], samples=9)
    assert found.rows.by_column == {"x": 3}
    assert [sample.key["id"] for sample in found.rows.samples] == [0, 1, 3]
    assert found.rows.samples[1].before["x"] == 2**53 + 1


def test_a_retyped_key_matches_by_value(make):
    before = make.table(pa.table({"id": pa.array([1, 2], pa.int32()), "x": [1, 1]}))
    after = make.table(pa.table({"id": pa.array([2, 3], pa.int64()), "x": [2, 2]}))
    found = diff_tables("t", before, after, key_columns=["id"]).rows
    assert (found.changed, found.removed, found.added) == (1, 1, 1)


def test_a_key_that_is_not_on_both_sides_is_told_and_rows_are_compared_without(make):
    before = make.table(pa.table({"x": [1, 2]}), ids={"x": 1})
    after = make.table(pa.table({"id": [1, 2], "x": [1, 3]}), ids={"x": 1, "id": 2})
    found = diff_tables("t", before, after, key_columns=["id"])
    assert not found.rows.keyed
    assert (found.rows.added, found.rows.removed, found.rows.unchanged) == (1, 1, 1)
    assert "id" in found.note


def test_tables_without_a_common_column_have_nothing_in_common(make):
    before = make.table(pa.table({"a": [1, 2]}), ids={"a": 1})
    after = make.table(pa.table({"b": [1, 2, 3]}), ids={"b": 2})
    found = diff_tables("t", before, after)
    assert (found.rows.added, found.rows.removed, found.rows.unchanged) == (3, 2, 0)


def test_a_table_of_key_columns_alone_has_no_changed_rows(make):
    found = diff_tables("t", make.table(numbers(5)), make.table(numbers(7)), key_columns=["id"]).rows
    assert told(found) == {"added": 2, "removed": 0, "changed": 0, "unchanged": 5, "by_column": {}}


def test_empty_tables_are_compared(make):
    empty, full = make.table(numbers(0)), make.table(numbers(2))
    assert diff_tables("t", empty, full, key_columns=["id"]).rows.added == 2
    assert diff_tables("t", full, empty).rows.removed == 2
    assert not diff_tables("t", empty, make.table(numbers(0)), key_columns=["id"]).rows.differs


def test_columns_whose_names_differ_in_case_or_hold_quotes_are_told_apart(make):
    names = ["id", "A", "a", 'quo"te', "sp ace", "a_1", "l", "order", "ключ"]
    row = {name: [number, number] for number, name in enumerate(names)}
    row["id"] = [1, 2]
    data = lambda **change: pa.table([{**row, **change}[name] for name in names], names=names)
    found = diff_tables(
        "t", make.table(data()), make.table(data(a=[0, 2], order=[8, 9])), key_columns=["id"]
    ).rows
    assert found.by_column == {"a": 1, "order": 2}
    assert found.samples[0].before["A"] == 1
    assert found.samples[0].before["a"] == 2


def test_paths_with_wildcards_and_equals_signs_are_taken_as_they_are(tmp_path, maker):
    folder = tmp_path / "day=1" / "odd [x] * ? it's"
    folder.mkdir(parents=True)
    make = maker(folder)
    make.file(numbers(50))
    before, after = make.table(numbers(2)), make.table(numbers(3))
    found = diff_tables("t", before, after, key_columns=["id"]).rows
    assert (found.added, found.unchanged) == (1, 2)
    assert found.samples[0].after == {"id": 2}


def test_a_value_too_long_or_too_odd_to_show_is_shown_cut(make):
    before = make.table(
        numbers(1, x=["short"], y=pa.array([[0]], pa.list_(pa.int64())), z=[b"\x00\xff"], t=[time(1, 2, 3)])
    )
    after = make.table(
        numbers(
            1,
            x=["<" * 10_000],
            y=pa.array([list(range(500))], pa.list_(pa.int64())),
            z=[b"\x01" * 5000],
            t=[time(1, 2, 4)],
        )
    )
    (sample,) = diff_tables("t", before, after, key_columns=["id"]).rows.samples
    assert sample.before == {"id": 0, "x": "short", "y": [0], "z": "0x00ff", "t": "01:02:03"}
    assert sample.after["x"].endswith("… (10,000 characters)")
    assert len(sample.after["x"]) < 2100
    assert sample.after["y"][-1] == "… (400 more)"
    assert sample.after["z"].endswith("… (5,000 bytes)")


def test_times_beyond_what_python_holds_are_shown_all_the_same(make):
    far = lambda value: make.table(numbers(1, t=pa.array([value], pa.int64()).cast(pa.timestamp("us"))))
    (sample,) = diff_tables("t", far(0), far(2**60), key_columns=["id"]).rows.samples
    assert sample.before["t"] == "1970-01-01T00:00:00"
    assert sample.after["t"] == f"{2**60:,} us since 1970-01-01"


def test_a_file_that_does_not_fit_its_schema_is_an_error_that_says_so(make):
    from anabranch.errors import LakeError

    wrong = make.table(numbers(2), schema=pa.schema([("other", pa.int64())]))
    with pytest.raises(LakeError, match="hold the columns id, its schema says other"):
        diff_tables("t", wrong, make.table(numbers(2)), key_columns=["id"])
