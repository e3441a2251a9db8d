"""Merging by key: a dict is the model, files that hold no affected row are shared, and the version adds up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_data import NAN, every_type, numbers, plain
from pyiceberg.table import StaticTable

from anabranch.errors import IsolationError, UnstorableError
from anabranch.lake import held, slabs, upsert
from anabranch.lake.changes import Changes
from anabranch.lake.columns import column_set, parse_set
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, append_table, write_table
from anabranch.lake.upsert import upsert_table, with_unique_keys
from anabranch.lake.version import ContentHasher, content_of
from effort import effort


def put(lake: Storage, data: pa.Table, previous: Table | None = None) -> Table:
    sets = [(), *((name.lower(),) for name in data.column_names), column_set(data.column_names[:2])]
    written = write_table(lake, "t", data, previous=previous, column_sets=sets)
    return Table("t", written.location, lake, written.version)


def columns_of(table: Table) -> dict[str, str]:
    """The versions of the table's sets of columns, from scratch."""
    hasher = ContentHasher(table.schema, map(parse_set, table.column_versions))
    for batch in table.to_batches():
        hasher.update(batch)
    return {text: str(content) for text, content in hasher.column_contents.items()}


def merge(
    lake: Storage,
    previous: Table,
    rows: pa.Table | None,
    *,
    by: Sequence[str] = ("id",),
    delete: pa.Table | None = None,
) -> Table:
    written = upsert_table(lake, "t", rows, by=by, previous=previous, delete=delete)
    table = Table("t", written.location, lake)
    assert written.version == table.version == str(content_of(table.to_batches()))
    assert written.columns == table.column_versions == columns_of(table)
    assert set(written.columns) == set(previous.column_versions)
    assert (written.rows, written.files) == (table.rows, len(table.files()))
    assert written.bytes == table.bytes == sum(file.bytes for file in table.files())
    assert table.rows == sum(file.rows for file in table.files())
    return table


def ids(*values: int) -> pa.Table:
    return pa.table({"id": pa.array(values, pa.int64())})


def row(number: int, value: float) -> pa.Table:
    return pa.table({"id": [number], "name": ["new"], "value": [value]})


def test_rows_replace_those_of_their_key_and_new_ones_come_last(lake: Storage) -> None:
    old = put(lake, numbers(5))
    new = merge(lake, old, pa.concat_tables([row(9, 9.0), row(2, -2.0)]), delete=ids(0, 77))
    assert new.to_arrow().to_pydict() == {
        "id": [1, 2, 3, 4, 9],
        "name": ["name 1", "new", "name 3", "name 4", "new"],
        "value": [0.5, -2.0, 1.5, 2.0, 9.0],
    }
    assert old.to_arrow().equals(numbers(5)), "the previous table stays as it is"
    assert StaticTable.from_metadata(new.location).scan().to_arrow().num_rows == 5
    assert new.metadata["table-uuid"] == old.metadata["table-uuid"]
    assert new.field_ids == old.field_ids


def test_only_files_that_hold_an_affected_key_are_written_again(
    lake: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slabs, "SLAB_ROWS", 100)
    old = put(lake, numbers(1000))
    opened: list[str] = []
    real = Table.scan_files

    def seen(table: Table, entries: Any, schema: Any = None) -> Any:
        entries = list(entries)
        opened.extend(entry["data_file"]["file_path"] for entry in entries)
        return real(table, entries, schema)

    monkeypatch.setattr(Table, "scan_files", seen)
    written = upsert_table(lake, "t", row(250, -1.0), by=["id"], previous=old, delete=ids(955))
    new = Table("t", written.location, lake)
    before, after = ([file.path for file in table.files()] for table in (old, new))
    assert set(opened) == {before[2], before[9]}, "bounds rule the others out"
    assert [a == b for a, b in zip(before, after, strict=True)] == [i not in (2, 9) for i in range(10)]
    changes = Changes(old, new)
    assert changes.added.to_arrow()["id"].to_pylist() == [250]
    assert sorted(changes.removed.to_arrow()["id"].to_pylist()) == [250, 955]


def test_a_key_between_the_bounds_that_is_not_there_leaves_the_file_alone(lake: Storage) -> None:
    old = put(lake, pa.table({"id": [1, 5], "v": [1, 2]}))
    new = merge(lake, old, pa.table({"id": [3], "v": [3]}))
    assert new.files()[0] == old.files()[0]
    assert new.to_arrow()["id"].to_pylist() == [1, 5, 3]


def test_the_same_upsert_twice_is_one(lake: Storage) -> None:
    old = put(lake, numbers(5))
    rows = pa.concat_tables([row(2, -2.0), row(7, 7.0)])
    once = merge(lake, old, rows, delete=ids(4))
    twice = merge(lake, once, rows, delete=ids(4))
    assert twice.location == once.location, "nothing was written"


def test_nothing_to_merge_writes_nothing(lake: Storage) -> None:
    old = put(lake, numbers(5))
    for rows, delete in ((None, None), (numbers(0), ids()), (None, ids(50))):
        assert merge(lake, old, rows, delete=delete).location == old.location


def test_all_rows_may_go_and_come_back(lake: Storage) -> None:
    old = put(lake, numbers(5))
    empty = merge(lake, old, None, delete=ids(*range(5)))
    assert empty.rows == 0
    assert empty.to_arrow().equals(numbers(0))
    assert merge(lake, empty, numbers(5)).version == old.version


def test_a_stream_is_merged_like_a_table(
    lake: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(held, "IN_MEMORY", 1)
    old = put(lake, numbers(100))
    batches = numbers(150, start=50).to_batches(max_chunksize=20)
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    written = upsert_table(lake, "t", reader, by=["id"], previous=old, spill=tmp_path)
    assert Table("t", written.location, lake).to_arrow().equals(numbers(200))
    assert not list(tmp_path.glob("anabranch-*"))


def test_columns_may_come_in_another_order_and_in_narrower_types(lake: Storage) -> None:
    old = put(lake, numbers(3))
    given = pa.table({"value": pa.array([9.0], pa.float32()), "id": pa.array([1], pa.int8()), "name": ["x"]})
    new = merge(lake, old, given, delete=pa.table({"other": ["?"], "id": pa.array([2], pa.int16())}))
    assert new.to_arrow().to_pydict() == {"id": [0, 1], "name": ["name 0", "x"], "value": [0.0, 9.0]}


def test_keys_of_several_columns(lake: Storage) -> None:
    days = [dt.date(2026, 1, 1), dt.date(2026, 1, 2)]
    old = put(lake, pa.table({"day": [days[0], days[0], days[1]], "who": ["a", "b", "a"], "n": [1, 2, 3]}))
    new = merge(
        lake,
        old,
        pa.table({"day": [days[0], days[1]], "who": ["b", "b"], "n": [20, 4]}),
        by=["day", "who"],
        delete=pa.table({"who": ["a"], "day": [days[1]]}),
    )
    assert new.to_arrow()["n"].to_pylist() == [1, 20, 4]


def test_any_type_may_be_a_key(lake: Storage) -> None:
    data = every_type().filter(pa.array([True, False, True]))
    for name in data.schema.names:
        if data[name].null_count:
            continue
        old = put(lake, data)
        new = merge(lake, old, data.slice(1, 1), by=[name], delete=data.slice(0, 1).select([name]))
        assert plain(new.to_arrow()) == plain(data.slice(1, 1)), name


def test_nan_and_minus_zero_are_keys_like_others(lake: Storage) -> None:
    old = put(lake, pa.table({"k": [NAN, 0.0, 1.0], "v": [1, 2, 3]}))
    new = merge(lake, old, pa.table({"k": [-0.0, NAN], "v": [20, 10]}), by=["k"])
    assert new.to_arrow()["v"].to_pylist() == [10, 20, 3]


def test_long_texts_are_found_although_bounds_are_cut(lake: Storage) -> None:
    texts = ["x" * 40 + str(i) for i in range(3)] + ["\U0010ffff" * 20]
    old = put(lake, pa.table({"k": texts, "v": range(4)}))
    new = merge(lake, old, pa.table({"k": [texts[2], texts[3]], "v": [20, 30]}), by=["k"])
    assert new.to_arrow()["v"].to_pylist() == [0, 1, 20, 30]


def test_a_key_that_was_there_several_times_is_there_once_afterwards(lake: Storage) -> None:
    old = put(lake, pa.table({"id": [1, 1, 2], "v": [1, 2, 3]}))
    old = Table("t", append_table(lake, "t", pa.table({"id": [1], "v": [4]}), previous=old).location, lake)
    new = merge(lake, old, pa.table({"id": [1], "v": [10]}))
    assert new.to_arrow().to_pydict() == {"id": [1, 2], "v": [10, 3]}
    assert merge(lake, old, None, delete=ids(1)).to_arrow()["id"].to_pylist() == [2]


@pytest.mark.parametrize(
    ("rows", "delete", "message"),
    [
        (pa.table({"id": [1, None], "v": [1, 2]}), None, "no value in 'id', which is part of its key"),
        (pa.table({"id": [1, 2, 1], "v": [1, 2, 3]}), None, "two rows of the key id = 1"),
        (pa.table({"id": [1], "v": [1]}), pa.table({"id": [2, 1]}), "the key id = 1, and told to delete it"),
        (None, pa.table({"id": pa.array([None], pa.int64())}), "no value in 'id'"),
        (None, pa.table({"x": [1]}), "no column 'id', which its key names"),
        (pa.table({"id": [1]}), None, "missing: v"),
        (pa.table({"id": ["1"], "v": [1]}), None, "the column id of t is int64"),
    ],
)
def test_what_cannot_be_merged_is_told_and_changes_nothing(
    lake: Storage, rows: pa.Table | None, delete: pa.Table | None, message: str
) -> None:
    old = put(lake, pa.table({"id": [1], "v": [1]}))
    with pytest.raises(UnstorableError) as caught:
        upsert_table(lake, "t", rows, by=["id"], previous=old, delete=delete)
    assert message in caught.value.message
    assert caught.value.hint
    assert len(list(lake.list())) == 4, "no file was left behind"


def test_a_null_in_a_key_of_several_columns_names_the_row(lake: Storage) -> None:
    old = put(lake, pa.table({"a": [1], "b": [1]}))
    with pytest.raises(UnstorableError, match="no value in 'b', which is part of its key: a = 7"):
        upsert_table(lake, "t", pa.table({"a": [7], "b": [None]}), by=["a", "b"], previous=old)


def test_a_whole_table_is_checked_for_unique_keys_as_it_streams() -> None:
    assert with_unique_keys(numbers(3), ["id"], "t").read_all().equals(numbers(3))
    with pytest.raises(UnstorableError, match="t is given two rows of the key name = 'name 0'"):
        with_unique_keys(numbers(98), ["name"], "t").read_all()
    with pytest.raises(UnstorableError, match="no column 'nope'"):
        with_unique_keys(numbers(1), ["nope"], "t")
    with pytest.raises(UnstorableError, match="is merged by key, and has none"):
        with_unique_keys(numbers(1), [], "t")


def test_a_sandbox_merges_into_its_base_under_its_own_prefix(lake: Storage) -> None:
    base = put(lake, numbers(10))
    sandbox = lake.scoped(Scope.sandbox("s1"))
    written = upsert_table(sandbox, "t", row(3, -3.0), by=["id"], previous=Table("t", base.location, sandbox))
    assert "/_sandboxes/s1/" in written.location
    assert all("/_sandboxes/s1/" in file.path for file in Table("t", written.location, sandbox).files())
    with pytest.raises(IsolationError):
        upsert_table(lake.scoped(Scope.read_only()), "t", row(3, -3.0), by=["id"], previous=base)


def test_a_partitioned_table_of_another_engine_is_merged_too(lake: Storage) -> None:
    from anabranch.catalog.memory import MemoryCatalog
    from anabranch.lake.iceberg import BranchCatalog

    catalog = MemoryCatalog()
    catalog.open_branch("production", kind="environment")
    iceberg = BranchCatalog(catalog, "production", lake)
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("value", pa.float64())])
    table = iceberg.create_table("t", schema)
    with table.update_spec() as update:
        update.add_identity("name")
    table.append(numbers(10))
    entry = catalog.get(iceberg.point, "t")
    assert entry is not None
    old = Table("t", entry.location, lake, entry.version)
    new = merge(lake, old, row(3, -3.0), delete=ids(4))
    assert sorted(new.to_arrow()["id"].to_pylist()) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert new.to_arrow(["value"], filter="id = 3").to_pydict() == {"value": [-3.0]}


def test_many_upserts_keep_files_and_manifests_few(lake: Storage) -> None:
    table = put(lake, numbers(1))
    for i in range(1, 60):
        rows = pa.concat_tables([numbers(1, start=i), numbers(1, start=i // 2)])
        table = merge(
            lake, table, rows.set_column(1, "name", pa.array([f"{i}"] * 2)).slice(0, 2 - (i == i // 2))
        )
    assert len(table.files()) < 32
    assert len(table.manifests()) < 32
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(60))


KEYS = st.integers(0, 6)
STEP = st.tuples(
    st.dictionaries(KEYS, st.none() | st.sampled_from(["a", "b"]), max_size=4), st.sets(KEYS, max_size=3)
)


@settings(max_examples=effort(20), deadline=None)
@given(start=st.dictionaries(KEYS, st.none() | st.sampled_from(["a", "b"])), steps=st.lists(STEP, max_size=6))
def test_a_table_behaves_as_a_dict(
    tmp_path_factory: pytest.TempPathFactory, start: dict[int, str | None], steps: list[Any]
) -> None:
    lake = Storage(tmp_path_factory.mktemp("lake"), scope=Scope.environment())

    def rows(values: dict[int, str | None]) -> pa.Table:
        return pa.table(
            {"id": pa.array(list(values), pa.int64()), "v": pa.array(list(values.values()), pa.string())}
        )

    model = dict(start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "SLAB_ROWS", 2)
        patch.setattr(upsert, "_WHOLE_BYTES", 0 if len(steps) % 2 else 1 << 20)
        table = put(lake, rows(model))
        for given_rows, gone in steps:
            gone -= set(given_rows)
            before = table
            table = merge(lake, table, rows(given_rows), delete=ids(*gone))
            for key in gone:
                model.pop(key, None)
            model |= given_rows
            assert dict(zip(*table.to_arrow().to_pydict().values(), strict=True)) == model
            assert table.rows == len(model)
            assert table.version == str(content_of(rows(model)))
            assert len(table.column_versions) == 4
            changes = Changes(before, table)
            assert changes.added_rows - changes.removed_rows == table.rows - before.rows
