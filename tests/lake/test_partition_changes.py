"""What happens to partitions over time: columns change, tables are overlaid, other engines write, crashes come between."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lake_data import plain
from test_iceberg import World
from test_partitions import DAYS, MAKING, TEXTS, assert_sound, build, day, rows, text

from anabranch.catalog.base import CommitRequest, Entry
from anabranch.errors import LakeError, UnstorableError
from anabranch.lake import clusters
from anabranch.lake.foreign import FOREIGN
from anabranch.lake.partitions import Layout, LayoutField, Slice, assemble, overlay, write_partition
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, write_table


def laid(lake: Storage, base: Table | None, picks: dict[str, Table | None], **more: object) -> Table:
    written = overlay(lake, "t", base, picks, **more)
    table = Table("t", written.location, lake, written.version)
    assert (written.rows, written.bytes, written.files) == (table.rows, table.bytes, table.file_count)
    assert_sound(lake, table)
    return table


# columns


def test_a_new_column_is_null_in_partitions_that_stay(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(3)})
    more = rows(1).append_column("more", pa.array([1.5, None, 2.5]))
    after = build(lake, {day(1): more}, previous=table)
    assert after.schema.names == ["at", "n", "who", "more"]
    assert after.only(["2013-01-01"]).to_arrow()["more"].to_pylist() == [None] * 3
    assert not after.plain
    assert after.only(["2013-01-02"]).plain
    assert not after.only(["2013-01-01"]).plain
    assert after.partition_map.differing(table.partition_map) == {"2013-01-01", "2013-01-02", "2013-01-03"}
    whole = build(
        lake,
        {day(i): rows(i).append_column("more", pa.array([0.0] * 3)) for i in (0, 2)},
        previous=after,
    )
    assert whole.plain


def test_a_column_goes_and_a_column_is_renamed(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(3)})
    changed = rows(1).select(["n", "at"]).rename_columns(["number", "at"])
    after = build(lake, {day(1): changed}, previous=table, renames={"number": "n"})
    assert after.schema.names == ["number", "at"]
    assert after.field_ids["number"] == table.field_ids["n"]
    assert after.only(["2013-01-01"]).to_arrow()["number"].to_pylist() == [0, 1, 2]


def test_the_partition_column_may_be_renamed(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(3)})
    layout = Layout((LayoutField("moment", "day"),))
    after = build(
        lake,
        {Slice("2013-01-02", ("2013-01-02",)): rows(1, 1).rename_columns(["moment", "n", "who"])},
        previous=table,
        layout=layout,
        renames={"moment": "at"},
    )
    assert after.layout == layout
    assert after.rows == 7


def test_numbers_widen_and_partitions_keep_their_values(lake: Storage) -> None:
    narrow = rows(0).set_column(1, "n", pa.array([1, 2, 3], pa.int32()))
    table = build(lake, {day(0): narrow})
    wide = build(lake, {day(1): rows(1)}, previous=table)
    assert wide.schema.field("n").type == pa.int64()
    assert wide.only(["2013-01-01"]).to_arrow()["n"].to_pylist() == [1, 2, 3]
    # what is narrower, or of no type, is stored as the table has it
    again = build(
        lake, {day(2): rows(2).set_column(1, "n", pa.nulls(3)), day(3): narrow.slice(0, 0)}, previous=wide
    )
    assert again.schema == wide.schema
    assert again.partition_map.differing(wide.partition_map) == {"2013-01-03", "2013-01-04"}


def test_columns_in_another_order_are_put_in_the_tables(lake: Storage) -> None:
    table = build(lake, {day(0): rows(0)})
    after = build(lake, {day(1): rows(1).select(["who", "at", "n"])}, previous=table)
    assert after.schema == table.schema
    assert after.plain


def test_a_type_that_older_files_can_not_be_read_as_is_refused(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(2)})

    def retyped(number: int) -> pa.Table:
        return rows(number).set_column(1, "n", pa.array(["a", "b", "c"]))

    with pytest.raises(
        UnstorableError, match="the column n of t is string now, and long in the partitions"
    ) as told:
        build(lake, {day(0): retyped(0)}, previous=table)
    assert "rebuild all partitions" in told.value.hint
    nested = rows(0).set_column(1, "n", pa.array([[1], [2], [3]]))
    with pytest.raises(UnstorableError, match="the column n of t is list now"):
        build(lake, {day(0): nested}, previous=table)
    whole = build(lake, {day(i): retyped(i) for i in range(2)}, previous=table)
    assert whole.schema.field("n").type == pa.string()
    assert whole.plain


def test_a_rebuild_may_narrow(lake: Storage) -> None:
    table = build(lake, {day(0): rows(0)})
    narrow = rows(0).set_column(1, "n", pa.array([1, 2, 3], pa.int32()))
    assert build(lake, {day(0): narrow}, previous=table).schema.field("n").type == pa.int64()
    rebuilt = build(lake, {day(0): narrow}, previous=table, rebuild=True)
    assert rebuilt.schema.field("n").type == pa.int32()
    assert rebuilt.field_ids == table.field_ids


def test_partitions_with_different_columns_are_not_put_together(lake: Storage) -> None:
    with pytest.raises(UnstorableError, match="2013-01-01 and 2013-01-02 come with different columns: n"):
        build(lake, {day(0): rows(0), day(1): rows(1).drop_columns("n")})
    with pytest.raises(UnstorableError, match="the column n is long in the partition 2013-01-01 and double"):
        build(lake, {day(0): rows(0), day(1): rows(1).set_column(1, "n", pa.array([0.5] * 3))})


def test_structs_change_inside(lake: Storage) -> None:
    def of(kind: pa.DataType, values: list[object], number: int) -> pa.Table:
        return rows(number).append_column("s", pa.array(values, kind))

    first = pa.struct([("a", pa.int32()), ("l", pa.list_(pa.float32()))])
    second = pa.struct([("l", pa.list_(pa.float64())), ("b", pa.string()), ("a", pa.int64())])
    table = build(lake, {day(0): of(first, [{"a": 1, "l": [1.5]}, None, {"a": None, "l": []}], 0)})
    after = build(lake, {day(1): of(second, [{"a": 2, "b": "x", "l": None}] * 3, 1)}, previous=table)
    assert after.only(["2013-01-01"]).to_arrow()["s"].to_pylist() == [
        {"l": [1.5], "b": None, "a": 1},
        None,
        {"l": [], "b": None, "a": None},
    ]


def test_writes_for_another_state_of_the_table_are_refused(lake: Storage) -> None:
    table = build(lake, {day(0): rows(0)})
    mine = write_partition(
        lake, "t", day(1), rows(1).append_column("x", pa.array([1] * 3)), layout=DAYS, previous=table
    )
    theirs = build(lake, {day(2): rows(2).append_column("y", pa.array([1] * 3))}, previous=table)
    stranger = build(lake, {day(0): rows(0)})
    for previous in (theirs, stranger, None):
        with pytest.raises(LakeError, match="was written for another"):
            assemble(lake, "t", layout=DAYS, previous=previous, writes=[(mine, "")], making=MAKING)


# overlays


def test_a_renamed_column_is_one_column_if_that_is_said(lake: Storage) -> None:
    base = build(lake, {day(i): rows(i) for i in range(2)})
    mine = build(
        lake,
        {day(0): rows(0).rename_columns(["at", "number", "who"])},
        previous=base,
        renames={"number": "n"},
    )
    with pytest.raises(LakeError, match="has the field id of"):
        overlay(lake, "t", base, {"2013-01-01": mine}, like=mine)
    done = laid(lake, base, {"2013-01-01": mine}, like=mine, renames={"number": "n"})
    assert done.to_arrow()["number"].to_pylist() == [0, 1, 2] * 2


def test_partitions_of_other_tables_are_taken_without_copying_a_row(lake: Storage) -> None:
    base = build(lake, {day(i): rows(i) for i in range(5)})
    sandbox = lake.scoped(Scope.sandbox("s"))
    mine = build(sandbox, {day(1): rows(1, 9), day(2): rows(2, 0)}, previous=base, making=("mine", 1))
    moved = build(lake, {day(4): rows(4, 1), day(5): rows(5)}, previous=base, making=("theirs", 2))
    before = set(lake.list())
    done = laid(lake, moved, {"2013-01-02": mine, "2013-01-03": mine, "2013-01-01": None, "2099-01-01": None})
    assert not [
        f for f in set(lake.list()) - before if f.location.endswith(".parquet") and "/t/" in f.location
    ]
    known = done.partition_map
    assert {state.key: (state.rows, state.making) for state in known.states()} == {
        "2013-01-02": (9, "mine"),
        "2013-01-03": (0, "mine"),
        "2013-01-04": (3, "made"),
        "2013-01-05": (1, "theirs"),
        "2013-01-06": (3, "theirs"),
    }
    assert dict(known.makings) == {"made": {"code": 1}, "mine": 1, "theirs": 2}
    assert done.metadata["table-uuid"] == base.metadata["table-uuid"]
    assert known.get("2013-01-02") == mine.partition_map.get("2013-01-02")


def test_a_table_is_made_of_others_alone(lake: Storage) -> None:
    one = build(lake, {day(i): rows(i) for i in range(3)})
    other = build(lake, {day(1): rows(1, 7)}, previous=one)
    done = laid(lake, None, {"2013-01-01": one, "2013-01-02": other})
    assert (done.rows, done.partition_map.keys) == (10, ("2013-01-01", "2013-01-02"))
    again = build(lake, {day(7): rows(7)}, previous=done)
    assert again.rows == 13


@pytest.mark.parametrize("newer", ["base", "pick"])
def test_the_table_with_more_columns_lends_its_schema(lake: Storage, newer: str) -> None:
    old = build(lake, {day(i): rows(i) for i in range(3)})
    new = build(lake, {day(1): rows(1).append_column("more", pa.array([1] * 3))}, previous=old)
    old = build(lake, {day(0): rows(0, 8)}, previous=old)
    done = laid(lake, new, {"2013-01-01": old}) if newer == "base" else laid(lake, old, {"2013-01-02": new})
    assert done.schema == new.schema
    assert done.rows == 8 + 3 + 3
    assert done.only(["2013-01-02"]).to_arrow()["more"].to_pylist() == [1] * 3


def test_columns_that_only_share_their_names_are_refused(lake: Storage) -> None:
    base = build(lake, {day(i): rows(i) for i in range(2)})
    strange = build(lake, {day(0): rows(0).select(["who", "at", "n"])})
    with pytest.raises(LakeError, match="different field ids"):
        overlay(lake, "t", base, {"2013-01-01": strange})
    left = build(lake, {day(0): rows(0).append_column("x", pa.array([1] * 3))}, previous=base)
    right = build(lake, {day(0): rows(0).append_column("y", pa.array(["a"] * 3))}, previous=base)
    with pytest.raises(LakeError, match="none has them all"):
        overlay(lake, "t", left, {"2013-01-01": right})
    alike = build(lake, {day(0): rows(0).append_column("z", pa.array([2] * 3))}, previous=base)
    with pytest.raises(LakeError, match="the column z of t has the field id of x"):
        overlay(lake, "t", left, {"2013-01-01": alike}, like=alike)
    assert laid(lake, base, {"2013-01-01": right}, like=right).schema == right.schema
    only = laid(lake, base, {"2013-01-01": strange, "2013-01-02": None})  # nothing of the base stays
    assert only.schema.names == ["who", "at", "n"]


def test_what_can_not_be_overlaid_is_told(lake: Storage) -> None:
    base = build(lake, {day(i): rows(i) for i in range(2)})
    with pytest.raises(LakeError, match="has no partition 2099"):
        overlay(lake, "t", base, {"2099": base})
    with pytest.raises(LakeError, match="no table"):
        overlay(lake, "t", None, {})
    with pytest.raises(LakeError, match="different ways"):
        overlay(lake, "t", base, {"2013-01-01": build(lake, {day(0): rows(0)}, layout=TEXTS)})
    whole = Table("t", write_table(lake, "t", rows(0)).location, lake)
    with pytest.raises(LakeError, match="told apart"):
        overlay(lake, "t", base, {"2013-01-01": whole})


# other engines


def world(lake: Storage, table: Table) -> World:
    made = World(lake)
    entry = Entry("t", "table", table.location, table.version)
    made.catalog.commit(CommitRequest(branch=made.branch("production").id, changes={"t": entry}))
    return made


def test_what_pyiceberg_writes_is_counted_and_the_rest_keeps_its_state(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(20)})
    made = world(lake, table)
    made.production().load_table("t").append(pa.concat_tables([rows(3, 2), rows(50, 4)]))
    after = made.handle("t")
    assert after.version == write_table(lake, "whole", after.to_arrow()).version
    assert after.rows == 66
    assert after.partition_map.differing(table.partition_map) == {"2013-01-04"}
    state = after.partition_map.get("2013-01-04")
    assert (state.rows, state.making, state.inputs, state.files) == (5, FOREIGN, "", 2)
    assert after.only(["2013-01-04"]).to_arrow().num_rows == 5

    made.production().load_table("t").delete("at < '2013-01-02T00:00:00'")
    gone = made.handle("t")
    assert gone.partition_map.get("2013-01-01").rows == 0
    assert gone.rows == 63

    # what is run again takes the place of whatever is there, known or not
    again = build_loosely(lake, {day(50): rows(50, 1), day(3): rows(3)}, gone)
    assert again.rows == 63 - 4 + 1 - 5 + 3
    assert_sound(lake, again)


def build_loosely(lake: Storage, slices: dict[Slice, pa.Table], previous: Table) -> Table:
    writes = [
        (write_partition(lake, "t", part, data, layout=DAYS, previous=previous), "")
        for part, data in slices.items()
    ]
    written = assemble(lake, "t", layout=DAYS, previous=previous, writes=writes, making=MAKING)
    assert (
        written.version == write_table(lake, "whole", Table("t", written.location, lake).to_arrow()).version
    )
    return Table("t", written.location, lake, written.version)


def test_rows_of_partitions_without_a_key_stay_and_are_counted(lake: Storage) -> None:
    made = world(lake, build(lake, {day(i): rows(i) for i in range(3)}))
    made.production().load_table("t").append(rows(50, 4))
    table = made.handle("t")
    after = build_loosely(lake, {day(1): rows(1, 1)}, table)
    assert (after.rows, len(after.partition_map)) == (3 + 1 + 3 + 4, 3)
    wider = build_loosely(lake, {day(1): rows(1, 1).append_column("m", pa.array([1]))}, after)
    assert (wider.rows, wider.plain) == (11, False)


def test_a_property_that_pyiceberg_sets_leaves_the_map(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(3)})
    made = world(lake, table)
    with made.production().load_table("t").transaction() as change:
        change.set_properties(owner="me")
    assert made.handle("t").partition_map == table.partition_map
    with made.production().load_table("t").update_schema() as schema:
        schema.rename_column("n", "number")
    assert made.handle("t").partition_map is None
    assert made.handle("t").layout == DAYS


def test_a_sandbox_goes_on_from_what_pyiceberg_wrote(lake: Storage) -> None:
    made = world(lake, build(lake, {day(i): rows(i) for i in range(3)}))
    made.sandbox().load_table("t").append(rows(1, 1))
    after = made.handle("t", "fix")
    assert after.partition_map.get("2013-01-02").making == FOREIGN
    assert after.map_location.startswith(f"{lake.warehouse}/_sandboxes/fix/")


# manifests


def test_an_overwrite_rewrites_only_the_manifest_that_holds_the_partition(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i, 1) for i in range(3 * clusters.MOST)})
    before = {row["manifest_path"] for row in table.manifests()}
    assert len(before) == 3
    after = build_loosely(lake, {day(70): rows(70)}, table)
    assert len(before & {row["manifest_path"] for row in after.manifests()}) == 2
    assert len(after.manifests()) == 3


def test_many_appends_leave_a_short_list(lake: Storage) -> None:
    order = list(range(90))
    random.Random(1).shuffle(order)
    table = None
    for number in order:
        part = write_partition(lake, "t", day(number), rows(number, 1), layout=DAYS, previous=table)
        written = assemble(lake, "t", layout=DAYS, previous=table, writes=[(part, "")], making=MAKING)
        table = Table("t", written.location, lake, written.version)
    assert table is not None
    assert len(table.manifests()) < 30
    assert table.rows == 90
    after = build_loosely(lake, {day(number): rows(number) for number in (5, 41, 89)}, table)
    assert_sound(lake, after)
    assert after.rows == 96


# crashes


def test_metadata_is_written_after_all_that_it_names(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is durable when metadata comes to be is all that the metadata needs, but for what is flushed with it."""
    from anabranch.sandbox.gc import files_of

    flushed: set[str] = set()
    seen: list[set[str]] = []
    flushes: list[list[str]] = []
    settle, put = Storage.settle, Storage.put_bytes

    def settling(self: Storage, locations: object) -> None:
        found = list(locations)  # type: ignore[call-overload]
        settle(self, found)
        flushed.update(found)
        flushes.append(found)

    def putting(self: Storage, location: str, data: bytes) -> str:
        location = put(self, location, data)
        if location.endswith(".metadata.json"):
            seen.append({each for each in files_of(self, location) if each not in flushed})
        return location

    monkeypatch.setattr(Storage, "settle", settling)
    monkeypatch.setattr(Storage, "put_bytes", putting)
    table = None
    for number in range(3):
        part = write_partition(lake, "t", day(number), rows(number), layout=DAYS, previous=table)
        written = assemble(lake, "t", layout=DAYS, previous=table, writes=[(part, "")], making=MAKING)
        assert files_of(lake, written.location) <= flushed
        table = Table("t", written.location, lake, written.version)
    assert not [each for unflushed in seen for each in unflushed if each.endswith(".parquet")]
    for each in flushes:  # what is flushed together is flushed in the order of its pointers
        metadata = [at for at, place in enumerate(each) if place.endswith(".metadata.json")]
        assert metadata in ([], [len(each) - 1])


def test_a_write_that_fails_changes_nothing(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    table = build(lake, {day(i): rows(i) for i in range(3)})
    part = write_partition(lake, "t", day(1), rows(1, 9), layout=DAYS, previous=table)
    put = Storage.put_bytes
    calls = 0

    def failing(self: Storage, location: str, data: bytes) -> str:
        nonlocal calls
        calls += 1
        if calls == limit:
            raise OSError("the disk is full")
        return put(self, location, data)

    monkeypatch.setattr(Storage, "put_bytes", failing)
    for limit in range(1, 5):  # manifest, map, list, metadata
        calls = 0
        with pytest.raises(OSError, match="full"):
            assemble(lake, "t", layout=DAYS, previous=table, writes=[(part, "")], making=MAKING)
    monkeypatch.undo()
    assert_sound(lake, table)
    written = assemble(lake, "t", layout=DAYS, previous=table, writes=[(part, "")], making=MAKING)
    assert written.rows == 15


# random histories


class Model:
    """Tables as plain dicts of key → (rows, making, inputs), beside the real ones."""

    def __init__(self, lake: Storage, layout: Layout) -> None:
        self.lake = lake
        self.layout = layout
        self.tables: list[tuple[Table, dict[str, tuple[list[object], str, str]]]] = []

    def slice(self, number: int) -> Slice:
        return (
            day(number)
            if self.layout is not TEXTS
            else Slice(f"ü{day(number).key}", (f"ü{day(number).key}",))
        )

    def check(self, table: Table, model: dict[str, tuple[list[object], str, str]]) -> None:
        known = table.partition_map
        assert {state.key: (state.rows, state.making, state.inputs) for state in known.states()} == {
            key: (len(found), making, inputs) for key, (found, making, inputs) in model.items()
        }
        columns = ["at", "n", "who"]
        for key, (found, _, _) in model.items():
            assert plain(table.only([key]).to_arrow(columns)) == found
        assert table.rows == sum(len(found) for found, _, _ in model.values())
        assert_sound(self.lake, table)
        self.tables.append((table, model))


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_random_histories_end_where_the_model_does(data: st.DataObject, tmp_path: Path) -> None:
    name = str(len(list(tmp_path.iterdir())))
    lake = Storage(tmp_path / name, scope=Scope.environment())
    model = Model(lake, data.draw(st.sampled_from([DAYS, TEXTS])))
    numbers = st.integers(0, 6)
    for step in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(-1, len(model.tables) - 1))
        base, states = model.tables[at] if at >= 0 else (None, {})
        if base is None or data.draw(st.booleans()):
            changed = data.draw(st.dictionaries(numbers, st.integers(0, 3), min_size=1, max_size=4))
            remove = {
                model.slice(each).key for each in data.draw(st.sets(numbers, max_size=2)) - set(changed)
            }
            slices = {model.slice(each): rows(each, count, step) for each, count in changed.items()}
            new = {part.key: (plain(found), f"m{step}", f"{step:02x}") for part, found in slices.items()}
            writes = [
                (write_partition(lake, "t", part, found, layout=model.layout, previous=base), f"{step:02x}")
                for part, found in slices.items()
            ]
            written = assemble(
                lake,
                "t",
                layout=model.layout,
                previous=base,
                writes=writes,
                making=(f"m{step}", {"step": step}),
                remove=remove,
            )
            after = {key: found for key, found in states.items() if key not in remove} | new
        else:
            sources = [
                pair for pair in model.tables if pair[0].metadata["table-uuid"] == base.metadata["table-uuid"]
            ]
            picks: dict[str, Table | None] = {}
            after = dict(states)
            for number in data.draw(st.sets(numbers, max_size=4)):
                key = model.slice(number).key
                source, found = data.draw(st.sampled_from(sources))
                picks[key] = source if key in found else None
                after.pop(key, None)
                if key in found:
                    after[key] = found[key]
            written = overlay(lake, "t", base, picks)
        model.check(Table("t", written.location, lake, written.version), after)


def test_texts_are_told_apart_by_every_character(lake: Storage) -> None:
    keys = ["", "a", "A", "a|b", "ä", "ä", "日本", "\U0001f600", "x" * 300, "line\nbreak", 'quo"te', "\x00"]
    table = build(lake, {text(key): rows(0, at + 1) for at, key in enumerate(keys)}, layout=TEXTS)
    assert {state.key: state.rows for state in table.partition_map.states()} == {
        key: at + 1 for at, key in enumerate(keys)
    }
