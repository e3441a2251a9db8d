"""Changes between two versions: exact multiset differences, read from the files that differ alone."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_data import NAN, every_type, numbers, plain

from anabranch.errors import MissingFileError
from anabranch.lake import held, marks
from anabranch.lake.changes import Changes
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, append_table, write_table
from anabranch.lake.version import Content, content_of
from effort import effort


def put(lake: Storage, data: pa.Table, previous: Table | None = None) -> Table:
    written = write_table(lake, "t", data, previous=previous)
    return Table("t", written.location, lake, written.version)


def grow(lake: Storage, data: pa.Table, previous: Table) -> Table:
    written = append_table(lake, "t", data, previous=previous)
    return Table("t", written.location, lake, written.version)


def adds_up(changes: Changes, old: Table, new: Table) -> None:
    """The law that ties a difference to the versions."""
    before = Content.parse(old.version)
    gained, lost = content_of(changes.added.to_batches()), content_of(changes.removed.to_batches())
    assert str(before + gained - lost) == new.version
    assert (gained.rows, lost.rows) == (changes.added_rows, changes.removed_rows)


def test_an_append_brings_its_rows_and_opens_no_file(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    old = put(lake, numbers(100))
    new = grow(lake, numbers(10, start=100), old)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a data file was opened")

    changes = Changes(old, new)
    with monkeypatch.context() as patch:
        patch.setattr(Table, "scan_files", never)
        patch.setattr(Table, "to_dataset", never)
        assert (changes.added_rows, changes.removed_rows) == (10, 0)
        assert changes.removed.rows == 0
        assert not changes.full
        assert not changes.schema_changed
    assert changes.added.to_arrow().equals(numbers(10, start=100))
    assert changes.since == old.version
    assert changes.version == new.version
    adds_up(changes, old, new)


def test_without_a_version_before_the_whole_table_is_added(lake: Storage) -> None:
    table = put(lake, numbers(7))
    changes = Changes(None, table)
    assert changes.full
    assert changes.since is None
    assert (changes.added_rows, changes.removed_rows) == (7, 0)
    assert changes.added.to_arrow().equals(numbers(7))
    assert changes.removed.to_arrow().schema.equals(numbers(1).schema)
    assert bool(changes)
    assert not Changes(table, table)


def test_a_table_that_was_written_anew_with_the_same_rows_has_not_changed(lake: Storage) -> None:
    old = put(lake, numbers(50))
    shuffled = numbers(50).take(list(range(49, -1, -1)))
    again = Table("t", put(lake, shuffled, old).location, lake)
    changes = Changes(old, again)
    assert not changes
    changes = Changes(Table("t", old.location, lake, "ab1:other"), again)  # versions that tell nothing
    assert (changes.added_rows, changes.removed_rows) == (0, 0)


def test_a_row_that_was_edited_is_one_removed_and_one_added(lake: Storage) -> None:
    rows = numbers(1000).to_pylist()
    old = put(lake, pa.Table.from_pylist(rows, numbers(1).schema))
    rows[500]["value"] = -1.0
    new = put(lake, pa.Table.from_pylist(rows, numbers(1).schema), old)
    changes = Changes(old, new)
    assert changes.added.to_arrow().to_pylist() == [rows[500]]
    assert changes.removed.to_arrow().to_pylist() == numbers(1, start=500).to_pylist()
    adds_up(changes, old, new)


def test_rows_that_are_there_several_times_are_counted(lake: Storage) -> None:
    old = put(lake, pa.table({"a": [1, 1, 1, 2, 3]}))
    new = put(lake, pa.table({"a": [1, 2, 2, 4]}), old)
    changes = Changes(old, new)
    assert sorted(changes.added.to_arrow()["a"].to_pylist()) == [2, 4]
    assert sorted(changes.removed.to_arrow()["a"].to_pylist()) == [1, 1, 3]


def test_null_nan_and_minus_zero_are_compared_as_versions_do(lake: Storage) -> None:
    old = put(lake, pa.table({"f": [0.0, NAN, None, 1.0], "l": [[1, None], [], None, [2]]}))
    new = put(lake, pa.table({"f": [None, -0.0, NAN, 2.0], "l": [None, [1, None], [], [2]]}), old)
    changes = Changes(old, new)
    assert changes.added.to_arrow().to_pylist() == [{"f": 2.0, "l": [2]}]
    assert changes.removed.to_arrow().to_pylist() == [{"f": 1.0, "l": [2]}]


def test_every_type_cancels_and_comes_back_as_it_is(lake: Storage) -> None:
    data = every_type()
    old = put(lake, data)
    new = put(lake, data.slice(1), old)
    changes = Changes(old, new)
    assert changes.added_rows == 0
    assert plain(changes.removed.to_arrow()) == plain(data.slice(0, 1))


def test_compaction_of_small_files_changes_nothing(lake: Storage) -> None:
    first = put(lake, numbers(1))
    table = first
    for i in range(1, 40):
        before, table = table, grow(lake, numbers(1, start=i), table)
        changes = Changes(before, table)
        assert changes.added.to_arrow().to_pylist() == numbers(1, start=i).to_pylist()
        assert changes.removed_rows == 0
    assert len(table.files()) < 20
    assert table.file_count == len(table.files())
    assert table.bytes == sum(file.bytes for file in table.files())
    assert table.to_arrow().equals(numbers(40))
    assert Changes(first, table).added.to_arrow()["id"].to_pylist() == list(range(1, 40))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.append_column("more", pa.array([1] * t.num_rows)),
        lambda t: t.drop_columns(["name"]),
        lambda t: t.set_column(2, "value", t["value"].cast(pa.string())),
        lambda t: t.rename_columns(["id", "called", "value"]),
        lambda t: t.select(["name", "id", "value"]),
    ],
    ids=["added", "dropped", "retyped", "renamed", "reordered"],
)
def test_other_columns_make_everything_new(lake: Storage, change: Any) -> None:
    old = put(lake, numbers(5))
    new = put(lake, change(numbers(6)), old)
    changes = Changes(old, new)
    assert changes.schema_changed
    assert changes.full
    assert changes.since is None
    assert (changes.added_rows, changes.removed_rows) == (6, 0)
    assert changes.added.to_arrow().equals(change(numbers(6)))


def test_a_missing_file_of_the_version_before_is_told(lake: Storage) -> None:
    old = put(lake, numbers(5))
    new = put(lake, numbers(6), old)
    Changes(old, new).check()
    Path(old.files()[0].path).unlink()
    with pytest.raises(MissingFileError, match="of t is not there"):
        Changes(old, new).check()
    # What both share need not be there to be told apart.
    Changes(new, grow(lake, numbers(1, start=6), new)).check()
    Path(old.location).unlink()
    with pytest.raises(MissingFileError):
        Changes(Table("t", old.location, lake, old.version), new).check()


@pytest.fixture
def edited(lake: Storage) -> tuple[Table, Table]:
    """Two versions of which one row of three was edited and one added."""
    old = put(lake, numbers(300))
    rows = numbers(301).to_pylist()
    rows[7]["value"] = -7.0
    return old, put(lake, pa.Table.from_pylist(rows, numbers(1).schema), old)


def test_changed_rows_are_read_as_a_table_is(edited: tuple[Table, Table]) -> None:
    added = Changes(*edited).added
    assert added.rows == 2
    assert added.schema.names == ["id", "name", "value"]
    assert added.to_pandas()["id"].tolist() == [7, 300]
    assert added.to_polars()["id"].to_list() == [7, 300]
    assert added.to_lazy().filter(pl.col("id") > 7).select("value").collect()["value"].to_list() == [150.0]
    assert added.to_duckdb().aggregate("sum(id)").fetchall() == [(307,)]
    assert added.to_batches(columns=["value"]).read_all().to_pydict() == {"value": [-7.0, 150.0]}
    assert added.to_arrow(["id"], filter="value < 0").to_pydict() == {"id": [7]}
    assert added.to_arrow(limit=1).num_rows == 1
    assert added.version == str(content_of(added.to_arrow()))
    assert pickle.loads(pickle.dumps(added)).to_arrow().equals(added.to_arrow())
    assert "2 rows of t" in repr(added)


def test_views_show_what_came_and_went(edited: tuple[Table, Table]) -> None:
    with duckdb.connect() as connection:
        Changes(*edited).create_views(connection, "marts.t")
        assert connection.execute("SELECT sum(id) FROM marts.t__added").fetchall() == [(307,)]
        assert connection.execute("SELECT id, value FROM marts.t__removed").fetchall() == [(7, 3.5)]


def test_many_chosen_rows_go_through_a_temporary_file(
    edited: tuple[Table, Table], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(held, "IN_MEMORY", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    added = Changes(*edited).added
    assert added.to_duckdb().aggregate("sum(id)").fetchall() == [(307,)]
    assert list(tmp_path.glob("anabranch-rows-*/rows.arrow"))
    del added
    assert not list(tmp_path.glob("anabranch-rows-*"))


def test_changes_of_a_sandbox_table_reach_into_its_base(lake: Storage) -> None:
    base = put(lake, numbers(10))
    sandbox = lake.scoped(Scope.sandbox("s1"))
    written = append_table(sandbox, "t", numbers(2, start=10), previous=Table("t", base.location, sandbox))
    changes = Changes(base, Table("t", written.location, sandbox))
    assert changes.added.to_arrow().equals(numbers(2, start=10))


def test_rows_deleted_by_another_engine_are_removed(lake: Storage) -> None:
    from anabranch.catalog.memory import MemoryCatalog
    from anabranch.lake.iceberg import BranchCatalog

    catalog = MemoryCatalog()
    catalog.open_branch("production", kind="environment")
    iceberg = BranchCatalog(catalog, "production", lake)
    table = iceberg.create_table("t", numbers(1).schema)
    table.append(numbers(20))
    before = catalog.get(iceberg.point, "t")
    table.delete("id = 3")
    after = catalog.get(iceberg.point, "t")
    assert before is not None
    assert after is not None
    old, new = (Table("t", e.location, lake, e.version) for e in (before, after))
    changes = Changes(old, new)
    assert changes.removed.to_arrow()["id"].to_pylist() == [3]
    assert changes.added_rows == 0
    adds_up(changes, old, new)


VALUES = st.none() | st.integers(0, 3)
ROW = st.tuples(VALUES, st.none() | st.sampled_from(["", "a", "b"]), st.sampled_from([0.0, -0.0, NAN, 1.0]))


def as_table(rows: list[tuple[Any, ...]]) -> pa.Table:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.float64())])
    columns = list(zip(*rows, strict=True)) if rows else [[], [], []]
    return pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )


def counted(table: pa.Table) -> Counter[tuple[Any, ...]]:
    return Counter((r["a"], r["b"], "nan" if r["c"] != r["c"] else r["c"] + 0.0) for r in table.to_pylist())


@pytest.mark.parametrize("limit", [marks.IN_MEMORY, 0], ids=["sorted", "spilled"])
@settings(max_examples=effort(15), deadline=None)
@given(before=st.lists(ROW, max_size=12), after=st.lists(ROW, max_size=12), more=st.lists(ROW, max_size=3))
def test_changes_are_the_difference_of_multisets(
    limit: int, tmp_path_factory: pytest.TempPathFactory, before: Any, after: Any, more: Any
) -> None:
    lake = Storage(tmp_path_factory.mktemp("lake"), scope=Scope.environment())
    old = put(lake, as_table(before))
    new = put(lake, as_table(after), old)
    if more:
        new = grow(lake, as_table(more), new)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "IN_MEMORY", limit)
        changes = Changes(old, new)
        left, right = counted(as_table(before)), counted(as_table([*after, *more]))
        assert counted(changes.added.to_arrow()) == right - left
        assert counted(changes.removed.to_arrow()) == left - right
    adds_up(changes, old, new)
