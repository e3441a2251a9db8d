"""Versions of sets of columns: each is the version of the table that has these columns alone."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_data import every_type

from anabranch.lake.columns import (
    MOST_SETS,
    column_set,
    covering,
    kept_sets,
    parse_set,
    set_text,
)
from anabranch.lake.storage import Storage
from anabranch.lake.tables import Table, append_table, write_table
from anabranch.lake.version import Content, ContentHasher, content_of
from effort import effort

SETS = [(), ("id",), ("amount", "id"), ("note",), ("absent", "note", "tag")]


def orders(n: int = 1000, *, seed: int = 1) -> pa.Table:
    pick = random.Random(seed)
    return pa.table(
        {
            "id": range(n),
            "note": [pick.choice(["", "short", "somewhat longer than eight bytes", None]) for _ in range(n)],
            "Amount": [pick.random() for _ in range(n)],
            "tag": pa.array([pick.choice("abc") for _ in range(n)]).dictionary_encode(),
        }
    )


def alone(data: pa.Table, names: tuple[str, ...]) -> str:
    kept = sorted(name for name in data.column_names if name.lower() in names)
    return str(content_of(data.select(kept))) if kept else ""


def put(lake: Storage, data: pa.Table, **more: object) -> Table:
    written = write_table(lake, "t", data, **more)
    table = Table("t", written.location, lake, written.version)
    assert table.column_versions == written.columns
    return table


def test_a_set_has_the_version_of_a_table_with_these_columns_alone(lake: Storage) -> None:
    data = orders()
    known = put(lake, data, column_sets=SETS).column_versions
    for names in SETS[1:]:
        assert known[set_text(names)] == alone(data, names)
    assert Content.parse(known[""]).rows == 1000


def test_the_columns_of_every_type_have_the_versions_they_have_alone(lake: Storage) -> None:
    data = every_type()
    table = put(lake, data, column_sets=[(name.lower(),) for name in data.column_names][:MOST_SETS])
    for name in data.column_names[:MOST_SETS]:
        assert table.column_versions[set_text((name.lower(),))] == str(content_of(table.to_arrow([name])))


def test_neither_other_columns_nor_their_order_count(lake: Storage) -> None:
    data = orders()
    first = put(lake, data, column_sets=SETS).column_versions
    moved = data.select(["tag", "Amount", "id", "note"]).add_column(0, "new", pa.array(range(1000)))
    second = put(lake, moved, column_sets=SETS).column_versions
    assert all(second[set_text(names)] == first[set_text(names)] for names in SETS)
    assert put(lake, moved).version != put(lake, data).version


@pytest.mark.parametrize("change", ["value", "name", "type", "rows", "swap"])
def test_what_is_done_to_its_columns_counts(lake: Storage, change: str) -> None:
    data = pa.table({"a": [1, 2, 3], "b": [1, 2, 4], "c": [0, 0, 0]})
    other = {
        "value": data.set_column(0, "a", pa.array([1, 2, 9])),
        "name": data.rename_columns(["A", "b", "c"]),
        "type": data.set_column(0, "a", pa.array([1, 2, 3], pa.int32())),
        "rows": data.slice(0, 2),
        "swap": data.set_column(0, "a", pa.array([2, 1, 3])),
    }[change]
    known, changed = (
        put(lake, each, column_sets=[("a", "b"), ("a",)]).column_versions for each in (data, other)
    )
    assert known["a,b"] != changed["a,b"]
    if change == "swap":  # which single columns could not tell
        assert known["a"] == changed["a"]


def test_an_append_adds_to_the_sets_of_the_table_before(lake: Storage) -> None:
    data = orders()
    table = put(lake, data.slice(0, 600), column_sets=SETS)
    written = append_table(lake, "t", data.slice(600), previous=table)
    whole = put(lake, data, column_sets=SETS)
    assert written.columns == whole.column_versions
    assert Table("t", written.location, lake, written.version).column_versions == whole.column_versions
    nothing = append_table(lake, "t", data.slice(0, 0), previous=whole)
    assert nothing.columns == whole.column_versions


def test_slabs_that_are_hashed_side_by_side_make_one_version(lake: Storage, monkeypatch) -> None:
    from anabranch.lake import slabs

    monkeypatch.setattr(slabs, "SLAB_ROWS", 128)
    data = orders()
    known = put(lake, data, column_sets=SETS, threads=2).column_versions
    assert known == {set_text(n): alone(data, n) if n else known[""] for n in SETS}


def test_a_table_without_rows_has_versions_of_its_columns(lake: Storage) -> None:
    data = orders().slice(0, 0)
    table = put(lake, data, column_sets=SETS)
    assert table.column_versions["amount,id"] == alone(data, ("amount", "id"))


def test_what_was_recorded_of_another_version_is_not_believed(lake: Storage) -> None:
    table = put(lake, orders(), column_sets=SETS)
    assert Table("t", table.location, lake, "ab1:other").column_versions == {}


def test_a_set_survives_its_text() -> None:
    for names in [(), ("a",), ("a", "b c"), ("a,b", '"x"'), ("\\", "a\\"), ("ä", "日本")]:
        assert parse_set(set_text(column_set(names))) == column_set(names)
    assert set_text(("a,b",)) != set_text(("a", "b"))


@given(st.sets(st.text(max_size=4), max_size=4), st.sets(st.text(max_size=4), max_size=4))
def test_no_two_sets_share_a_text(one: set[str], other: set[str]) -> None:
    a, b = column_set(one), column_set(other)
    assert parse_set(set_text(a)) == a
    assert (set_text(a) == set_text(b)) == (a == b)


def test_many_readers_share_a_set_that_covers_theirs() -> None:
    wanted = [column_set([f"c{i}", "id"]) for i in range(40)]
    kept = kept_sets(wanted)
    assert len(kept) == MOST_SETS
    assert all(any(set(names) <= set(each) for each in kept) for names in wanted)
    assert kept_sets(wanted[:3]) == tuple(wanted[:3])


def test_a_set_is_served_by_its_own_version_first_then_by_the_smallest_that_covers_it() -> None:
    kept = {"a": "1", "a,b": "2", "a,b,c": "3", "b,c": "4"}
    assert covering(kept, ("a",)) == ["1", "2", "3"]
    assert covering(kept, ("b",)) == ["2", "4", "3"]
    assert covering(kept, ("z",)) == []
    assert covering(kept, ()) == ["1", "2", "4", "3"]


@settings(deadline=None, max_examples=effort(20))
@given(st.integers(0, 10**6), st.integers(1, 300))
def test_the_contents_of_sets_add_up(seed: int, cut: int) -> None:
    data = orders(300, seed=seed)
    whole, parts = ContentHasher(data.schema, SETS), [ContentHasher(data.schema, SETS) for _ in range(2)]
    whole.update(data)
    parts[0].update(data.slice(0, cut))
    parts[1].update(data.slice(cut))
    for text, content in whole.column_contents.items():
        assert parts[0].column_contents[text] + parts[1].column_contents[text] == content
