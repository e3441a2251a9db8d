"""Rows in place: the short way gives what the definition gives, is taken where it can be, and is left where it can't."""

import json
import math
import tempfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anabranch.diff.rows
from anabranch.diff import diff_tables
from effort import effort

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("x.y", pa.float64()),
        ("s", pa.string()),
        ("l", pa.list_(pa.float64())),
        ("d", pa.decimal128(5, 2)),
    ]
)
CELLS = {
    "x.y": st.sampled_from([None, 0.0, -0.0, 1.0, math.nan]),
    "s": st.sampled_from([None, "", "a"]),
    "l": st.sampled_from([None, [], [1.0], [math.nan]]),
    "d": st.sampled_from([None, Decimal("1.00")]),
}
ROW = st.fixed_dictionaries({"id": st.sampled_from([None, *range(30)]), **CELLS})


@st.composite
def edited(draw):
    """Rows, and the same rows after a few edits in place, a few removals and a few additions."""
    left = draw(st.lists(ROW, min_size=4, max_size=12, unique_by=lambda row: row["id"]))
    if draw(st.booleans()):
        left.append(draw(ROW))
    right = [dict(row) for row in left]
    for _ in range(draw(st.integers(0, 3))):
        row, name = draw(st.sampled_from(right)), draw(st.sampled_from(sorted(CELLS)))
        row[name] = draw(CELLS[name])
    where = draw(st.sampled_from(["nowhere", "end", "anywhere"]))
    if where == "end":
        right += draw(st.lists(ROW, max_size=2))
    elif where == "anywhere":
        right.insert(draw(st.integers(0, len(right))), draw(ROW))
        right.pop(draw(st.integers(0, len(right) - 1)))
    return left, right


@pytest.fixture(scope="module")
def short_ways():
    """Counts how often rows in place were taken out."""
    used = []
    align = anabranch.diff.rows.align

    def spy(*arguments):
        found = align(*arguments)
        used.append(found is not None)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anabranch.diff.rows, "align", spy)
        yield used


def same(value):
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return tuple(map(same, value)) if isinstance(value, list) else value


def naive(left, right, keyed):
    """Cancel equal rows; then one against one under a key is a change."""
    rest = {"l": [], "r": []}
    rights = [tuple(same(row[name]) for name in SCHEMA.names) for row in right]
    unchanged = 0
    for row in left:
        frozen = tuple(same(row[name]) for name in SCHEMA.names)
        if frozen in rights:
            rights.remove(frozen)
            unchanged += 1
        else:
            rest["l"].append(frozen)
    rest["r"] = rights
    changed, by_column = 0, {}
    for key in {row[0] for row in rest["l"]} if keyed else ():
        one, other = ([row for row in rest[side] if row[0] == key] for side in "lr")
        if len(one) == len(other) == 1:
            changed += 1
            for name, a, b in zip(SCHEMA.names, one[0], other[0], strict=True):
                if a != b:
                    by_column[name] = by_column.get(name, 0) + 1
    return len(rest["r"]) - changed, len(rest["l"]) - changed, changed, unchanged, by_column


@settings(max_examples=effort(25), deadline=None)
@given(
    rows=edited(), cut=st.integers(1, 12), group=st.integers(1, 5), keys=st.sampled_from([["id"], ["id"], []])
)
def test_edits_in_place_are_counted_as_by_definition(maker, short_ways, rows, cut, group, keys):
    left, right = rows
    data = [pa.Table.from_pylist(side, schema=SCHEMA) for side in rows]
    with tempfile.TemporaryDirectory() as folder:
        make = maker(Path(folder))
        before, after = (
            make.table(side.slice(0, cut), side.slice(cut), row_group_size=group) for side in data
        )
        found = diff_tables("t", before, after, key_columns=keys, samples=20, threads=2, summaries=False).rows
    told = (found.added, found.removed, found.changed, found.unchanged, dict(found.by_column))
    assert told == naive(left, right, bool(keys))
    changed = [sample for sample in found.samples if sample.kind == "changed"]
    assert len(changed) == found.changed
    for sample in changed:
        assert sample.before["id"] == sample.after["id"] == sample.key["id"]
        assert json.dumps(sample.before) != json.dumps(sample.after)


def numbers(rows=1000, **columns):
    return pa.table({"id": pa.array(range(rows), pa.int64()), "x": [n * 0.5 for n in range(rows)], **columns})


def edit(data, name, place, value):
    values = data[name].to_pylist()
    values[place] = value
    index = data.schema.get_field_index(name)
    return data.set_column(index, data.schema.field(name), pa.array(values, data.schema.field(name).type))


def test_a_column_with_the_same_bytes_is_not_decoded(make, short_ways):
    data = numbers(s=[f"text {n}" for n in range(1000)])
    before, after = make.table(data), make.table(edit(data, "x", 7, -1.0))
    for table in (before, after):
        path = Path(table.files()[0].path)
        chunk = pq.read_metadata(path).row_group(0).column(2)
        content = bytearray(path.read_bytes())
        begin = chunk.dictionary_page_offset or chunk.data_page_offset
        content[begin : begin + chunk.total_compressed_size] = b"\xee" * chunk.total_compressed_size
        path.write_bytes(content)
    found = diff_tables("t", before, after, key_columns=["id"], samples=0, summaries=False).rows
    assert (found.changed, found.unchanged, found.by_column) == (1, 999, {"x": 1})
    assert short_ways[-1]


def test_samples_of_rows_in_place_are_whole_rows(make, short_ways):
    data = numbers(s=[f"text {n}" for n in range(1000)])
    after = make.table(
        edit(edit(data, "x", 900, -1.0), "s", 7, None).slice(0, 500), data.slice(500, 0), row_group_size=100
    )
    before = make.table(data.slice(0, 500), data.slice(500, 0), row_group_size=100)
    (sample,) = diff_tables("t", before, after, key_columns=["id"]).rows.samples
    assert sample.before == {"id": 7, "x": 3.5, "s": "text 7"}
    assert sample.after == {"id": 7, "x": 3.5, "s": None}
    assert short_ways[-1]


def test_files_that_fit_are_taken_out_and_the_others_compared(make, short_ways):
    data = numbers()
    before = make.table(data.slice(0, 500), data.slice(500))
    after = make.table(
        edit(data, "x", 3, None).slice(0, 500), data.slice(510).take(pa.array(range(489, -1, -1)))
    )
    found = diff_tables("t", before, after, key_columns=["id"]).rows
    assert (found.changed, found.removed, found.added, found.unchanged) == (1, 10, 0, 989)
    assert short_ways[-1]


def test_a_key_in_place_that_is_also_elsewhere_is_compared_in_general(make, short_ways):
    data = numbers()
    before = make.table(data.slice(0, 500), data.slice(500))
    double = edit(data.slice(500), "id", 0, 3)
    after = make.table(edit(data, "x", 3, None).slice(0, 500), double)
    found = diff_tables("t", before, after, key_columns=["id"]).rows
    assert not short_ways[-1]
    # Under key 3: one row before, two other rows after.
    assert (found.changed, found.removed, found.added) == (0, 2, 2)
    assert found.duplicates_right == 1


def test_keys_that_are_not_unique_in_place_are_compared_in_general(make, short_ways):
    data = pa.table({"id": [1, 1, 2], "x": [1, 2, 3]})
    before, after = make.table(data), make.table(pa.table({"id": [1, 1, 2], "x": [2, 1, 3]}))
    found = diff_tables("t", before, after, key_columns=["id"])
    assert not short_ways[-1]
    assert not found.rows.differs


def test_files_in_another_order_are_found_by_their_keys(make, short_ways):
    data = numbers()
    parts = [data.slice(begin, 250) for begin in range(0, 1000, 250)]
    changed = edit(data, "x", 600, -1.0)
    before = make.table(*parts)
    after = make.table(*(changed.slice(begin, 250) for begin in (750, 0, 500, 250)))
    found = diff_tables("t", before, after, key_columns=["id"]).rows
    assert (found.changed, found.unchanged) == (1, 999)
    assert found.samples[0].key == {"id": 600}
    assert short_ways[-1]


def test_the_same_bytes_of_another_type_are_not_the_same(make, short_ways):
    plain = {"use_dictionary": False, "compression": "none", "write_statistics": False}
    values = pa.array([1, 2, 3], pa.int64())
    before = make.table(pa.table({"id": values, "t": values.cast(pa.timestamp("us"))}), **plain)
    after = make.table(pa.table({"id": values, "t": values.cast(pa.timestamp("us", "UTC"))}), **plain)
    found = diff_tables("t", before, after, key_columns=["id"])
    assert found.schema.retyped
    assert found.rows.changed == 3


def test_without_a_key_rows_that_are_the_same_in_place_are_taken_out(make, short_ways):
    data = numbers()
    before = make.table(data.slice(0, 500), data.slice(500, 300), data.slice(800))
    after = make.table(data.slice(0, 500), edit(data.slice(500, 300), "x", 1, None), data.slice(801))
    found = diff_tables("t", before, after).rows
    assert (found.added, found.removed, found.unchanged) == (1, 2, 998)
    assert [sample.before or sample.after for sample in found.samples] == [
        {"id": 501, "x": 250.5},
        {"id": 800, "x": 400.0},
        {"id": 501, "x": None},
    ]
    assert short_ways[-1]


def test_without_a_key_a_row_that_moved_is_no_change(make, short_ways):
    data = numbers(s=["same"] * 1000, t=["same"] * 1000)
    order = [*range(1000)]
    order[3], order[900] = 900, 3
    found = diff_tables("t", make.table(data), make.table(data.take(pa.array(order)))).rows
    assert short_ways[-1]
    assert not found.differs


def test_an_interrupt_stops_the_threads(make, monkeypatch):
    data = numbers()
    parts = [data.slice(begin, 100) for begin in range(0, 1000, 100)]
    before, after = make.table(*parts), make.table(*parts)

    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        diff_tables("t", before, after, key_columns=["id"], on_progress=interrupt)
    import threading

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("anabranch-")]


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (pa.bool_(), True, False),
        (pa.int32(), 1, 2),
        (pa.float32(), 0.0, math.nan),
        (pa.float64(), math.nan, 1.0),
        (pa.decimal128(38, 2), Decimal("1.00"), Decimal("1.01")),
        (pa.string(), "", "a"),
        (pa.binary(), b"", b"\x00"),
        (pa.binary(4), b"aaaa", b"aaab"),
        (pa.uuid(), b"a" * 16, b"b" * 16),
        (pa.date32(), 0, 1),
        (pa.time64("us"), 0, 1),
        (pa.timestamp("us"), -(2**62), 2**62),
        (pa.timestamp("us", "UTC"), 0, 1),
    ],
)
def test_every_type_is_compared_in_place(make, short_ways, kind, one, other):
    def column(values):
        if kind == pa.uuid():
            return pa.ExtensionArray.from_storage(kind, pa.array(values, pa.binary(16)))
        return pa.array(values, kind)

    before = make.table(pa.table({"id": range(6), "v": column([one, one, None, None, other, one])}))
    after = make.table(pa.table({"id": range(6), "v": column([one, other, None, one, None, one])}))
    found = diff_tables("t", before, after, key_columns=["id"]).rows
    assert short_ways[-1]
    assert (found.changed, found.unchanged) == (3, 3)
    assert [sample.key["id"] for sample in found.samples] == [1, 3, 4]
