"""Partitioned tables: exactly the written slices change, versions are exact, states follow, other engines agree."""

from __future__ import annotations

import datetime as dt
import pickle
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from lake_data import every_type, plain
from pyiceberg.table import StaticTable

from anabranch.errors import IsolationError, LakeError, UnstorableError
from anabranch.lake.columns import parse_set
from anabranch.lake.partition_map import PartitionMap
from anabranch.lake.partitions import (
    Layout,
    LayoutField,
    PartitionFiles,
    PartitionWriter,
    Slice,
    assemble,
    overlay,
    read_partitions,
    write_partition,
)
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, append_table, write_table
from anabranch.lake.version import Content
from anabranch.sandbox.gc import files_of

DAYS = Layout((LayoutField("at", "day"),))
TEXTS = Layout((LayoutField("_partition", "identity", added=True),))
MAKING = ("made", {"code": 1})


def day(number: int) -> Slice:
    date = dt.date(2013, 1, 1) + dt.timedelta(number)
    start = dt.datetime.combine(date, dt.time())
    return Slice(str(date), (str(date),), (("at", start, start + dt.timedelta(1)),))


def text(key: str) -> Slice:
    return Slice(key, (key,))


def rows(number: int, count: int = 3, start: int = 0) -> pa.Table:
    """Rows of one day."""
    at = dt.datetime(2013, 1, 1) + dt.timedelta(number)
    return pa.table(
        {
            "at": pa.array([at + dt.timedelta(seconds=i) for i in range(count)], pa.timestamp("us")),
            "n": pa.array(range(start, start + count), pa.int64()),
            "who": pa.array([f"ü{i}" for i in range(count)], pa.string()),
        }
    )


def build(
    lake: Storage,
    slices: dict[Slice, pa.Table],
    *,
    previous: Table | None = None,
    layout: Layout = DAYS,
    making: tuple[str, object] = MAKING,
    inputs: str = "00",
    remove: tuple[str, ...] = (),
    key: str = "t",
    **more: object,
) -> Table:
    writes = [
        (write_partition(lake, key, part, data, layout=layout, previous=previous, **more), inputs)
        for part, data in slices.items()
    ]
    renames = {"renames": more["renames"]} if "renames" in more else {}
    written = assemble(
        lake, key, layout=layout, previous=previous, writes=writes, making=making, remove=remove, **renames
    )
    table = Table(key, written.location, lake, written.version)
    assert (written.rows, written.bytes, written.files) == (table.rows, table.bytes, table.file_count)
    assert_sound(lake, table)
    return table


def assert_sound(lake: Storage, table: Table) -> None:
    """What must hold of every partitioned table, whatever was done to it."""
    fresh = Table(table.key, table.location, lake)
    data = fresh.to_arrow()
    assert fresh.version == table.version == write_table(lake, "whole", data).version
    files = fresh.files()
    assert fresh.file_count == len(files) == len({file.path for file in files})
    assert fresh.bytes == sum(file.bytes for file in files)
    sets = [parse_set(each) for each in fresh.column_versions]
    assert fresh.column_versions == write_table(lake, "columns", data, column_sets=sets).columns
    known = fresh.partition_map
    assert known is not None
    total = Content.empty(fresh.schema)
    for state in known.states():
        part = fresh.only([state.key])
        content = Content.parse(state.version)
        found = part.to_arrow()
        assert part.version == state.version == write_table(lake, "part", found).version
        assert (part.rows, part.bytes, part.file_count) == (state.rows, state.bytes, state.files)
        assert content.rows == state.rows == found.num_rows
        total += content
    assert str(total) == fresh.version
    reached = files_of(lake, table.location)
    assert fresh.map_location in reached
    assert {file.path for file in files} <= reached
    assert all(lake.exists(each) for each in reached)
    by_iceberg = StaticTable.from_metadata(table.location).scan().to_arrow()
    assert sorted(map(str, plain(by_iceberg))) == sorted(map(str, plain(data)))


# many at once

SETS = [("n",), ("at", "who")]


def build_all(
    lake: Storage,
    slices: dict[Slice, pa.Table],
    *,
    previous: Table | None = None,
    key: str = "t",
    **more: object,
) -> Table:
    """As `build`, with all slices written together, and versions of sets of columns."""
    writer = PartitionWriter(lake, key, DAYS, previous, column_sets=SETS, **more)
    writes = [(files, "00") for files in writer.write_all(slices.items())]
    written = assemble(lake, key, layout=DAYS, previous=previous, writes=writes, making=MAKING)
    table = Table(key, written.location, lake, written.version)
    assert written.columns == table.column_versions
    assert_sound(lake, table)
    return table


def test_slices_that_are_written_together_are_as_each_by_itself(lake: Storage) -> None:
    slices = {day(n): rows(n, count) for n, count in enumerate((3, 0, 1, 9000, 2, 0, 7))}
    together, apart = build_all(lake, slices, key="a"), build(lake, slices, key="b")
    assert together.version == apart.version
    found, known = together.partition_map, apart.partition_map
    assert found is not None
    assert known is not None
    assert [(s.key, s.version, s.rows, s.files) for s in found.states()] == [
        (s.key, s.version, s.rows, s.files) for s in known.states()
    ]


def test_of_slices_that_are_written_together_those_before_one_at_fault_are_kept(lake: Storage) -> None:
    writer = PartitionWriter(lake, "t", DAYS, None)
    given = writer.write_all([(day(0), rows(0)), (day(1), rows(1)), (day(2), rows(5)), (day(3), rows(3))])
    assert [next(given).key, next(given).key] == ["2013-01-01", "2013-01-02"]
    with pytest.raises(
        UnstorableError, match=r"2013-01-06 .* in a row that was made for the partition 2013-01-03"
    ):
        next(given)


def test_progress_counts_the_rows_of_slices_that_are_written_together(lake: Storage) -> None:
    seen: list[int] = []
    writer = PartitionWriter(lake, "t", DAYS, None, on_progress=seen.append)
    assert len(list(writer.write_all([(day(n), rows(n)) for n in range(4)]))) == 4
    assert seen == [3, 6, 9, 12]


def test_versions_of_columns_follow_an_overwrite_a_removal_and_an_overlay(lake: Storage) -> None:
    base = build_all(lake, {day(n): rows(n) for n in range(4)})
    assert set(base.column_versions) == {"n", "at,who"}
    other = build_all(lake, {day(1): rows(1, 5, start=7), day(9): rows(9)}, previous=base)
    assert other.column_versions["n"] != base.column_versions["n"]
    written = overlay(lake, "t", base, {"2013-01-10": other, "2013-01-02": other, "2013-01-01": None})
    merged = Table("t", written.location, lake, written.version)
    assert set(merged.column_versions) == {"n", "at,who"}
    assert_sound(lake, merged)


def test_versions_of_columns_stay_where_another_column_comes(lake: Storage) -> None:
    base = build_all(lake, {day(n): rows(n) for n in range(3)})
    wider = build_all(
        lake,
        {day(n): rows(n).append_column("more", pa.array([1, 2, 3])) for n in range(3)},
        previous=base,
    )
    assert wider.version != base.version
    assert wider.column_versions == base.column_versions


def test_versions_of_columns_are_unknown_where_one_partition_has_none(lake: Storage) -> None:
    base = build(lake, {day(n): rows(n) for n in range(3)})
    mixed = build_all(lake, {day(1): rows(1, 4)}, previous=base)
    assert mixed.column_versions == {}
    assert build_all(lake, {day(n): rows(n) for n in (0, 2)}, previous=mixed).column_versions


def test_a_map_from_before_columns_were_kept_is_read(lake: Storage) -> None:
    import json
    import zlib

    from anabranch.lake import partition_map as form

    whole = build_all(lake, {day(n): rows(n) for n in range(3)}).partition_map
    assert whole is not None
    bare = PartitionMap([replace(state, columns="", sums="") for state in whole.states()], whole.makings)
    body = bare.to_bytes()[len(form._TAG) + 4 :]
    size, raw = form._LENGTHS.unpack_from(body)
    inner = zlib.decompress(body[16 : 16 + size])
    length, numbers = form._LENGTHS.unpack_from(inner)
    out = json.loads(inner[16 : 16 + length])
    del out["sets"], out["set_sums"]
    text = json.dumps(out).encode()
    fewer = inner[16 + length :][: numbers // 7 * 6]
    packed = zlib.compress(form._LENGTHS.pack(len(text), len(fewer)) + text + fewer)
    old = form._LENGTHS.pack(len(packed), raw) + packed + body[16 + size :]
    back = PartitionMap.from_bytes(form._TAG + form._CHECK.pack(zlib.crc32(old)) + old)
    assert back == whole
    assert back.column_contents() == {}


def test_partitions_are_read_together_as_each_by_itself(lake: Storage) -> None:
    table = build_all(lake, {day(n): rows(n, n) for n in range(5)})
    table = build_all(lake, {day(2): rows(2, 6)}, previous=table)
    keys = [str(dt.date(2013, 1, 1 + n)) for n in (3, 0, 2, 8)]
    found = list(read_partitions(table, keys))
    assert [key for key, _ in found] == keys
    for key, data in found:
        assert data.equals(table.only([key]).to_arrow())
    doubled = dict(
        read_partitions(table, keys, lambda data: data.set_column(1, "n", pc.multiply(data["n"], 2)))
    )
    assert doubled[keys[0]]["n"].to_pylist() == [0, 2, 4]


# writing


def test_slices_are_written_apart_and_put_together(lake: Storage) -> None:
    files = write_partition(lake, "t", day(0), rows(0), layout=DAYS, previous=None)
    assert (files.key, files.rows, len(files.files)) == ("2013-01-01", 3, 1)
    back = pickle.loads(pickle.dumps(files))
    assert isinstance(back, PartitionFiles)
    written = assemble(lake, "t", layout=DAYS, previous=None, writes=[(back, "ab")], making=MAKING)
    table = Table("t", written.location, lake)
    assert table.layout == DAYS
    assert table.to_arrow().equals(rows(0))
    known = table.partition_map
    assert known is not None
    state = known.get("2013-01-01")
    assert state is not None
    assert (state.rows, state.making, state.inputs, state.version) == (3, "made", "ab", table.version)
    assert known.makings == {"made": {"code": 1}}
    assert_sound(lake, table)


def test_a_run_of_one_partition_overwrites_exactly_its_rows(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(5)})
    before = {file.path for file in table.files()}
    after = build(lake, {day(2): rows(2, 1, start=70)}, previous=table, making=("second", 2), inputs="01")
    assert len(before & {file.path for file in after.files()}) == 4
    assert sorted(after.to_arrow()["n"].to_pylist()) == sorted([0, 1, 2] * 4 + [70])
    assert after.partition_map.differing(table.partition_map) == {"2013-01-03"}
    assert dict(after.partition_map.makings) == {"made": {"code": 1}, "second": 2}
    assert after.metadata["table-uuid"] == table.metadata["table-uuid"]
    assert after.field_ids == table.field_ids


def test_the_same_rows_have_the_same_version_however_they_are_cut(lake: Storage) -> None:
    one = build(lake, {day(i): rows(i) for i in range(4)})
    other = build(lake, {day(3): rows(3), day(1): rows(1)}, key="u")
    other = build(lake, {day(0): rows(0), day(2): rows(2)}, previous=other, key="u")
    assert one.version == other.version
    assert one.partition_map.versions_digest == other.partition_map.versions_digest


def test_a_partition_without_rows_has_a_state_and_no_file(lake: Storage) -> None:
    table = build(lake, {day(0): rows(0), day(1): rows(1, 0)})
    assert table.file_count == 1
    assert table.partition_map.get("2013-01-02").rows == 0
    assert table.only(["2013-01-02"]).to_arrow().equals(rows(0, 0))
    emptied = build(lake, {day(0): rows(0, 0)}, previous=table)
    assert (emptied.rows, emptied.file_count, emptied.partition_map.keys) == (
        0,
        0,
        ("2013-01-01", "2013-01-02"),
    )


def test_rows_without_types_may_be_no_rows_of_a_known_table(lake: Storage) -> None:
    untyped = pa.table({"at": pa.nulls(0), "n": pa.nulls(0), "who": pa.nulls(0)})
    table = build(lake, {day(0): rows(0), day(1): untyped})
    table = build(lake, {day(2): untyped}, previous=table)
    assert table.partition_map.get("2013-01-03").rows == 0
    with pytest.raises(UnstorableError, match="without a type"):
        build(lake, {day(0): untyped})


def test_partitions_are_removed(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(3)})
    table = build(lake, {day(4): rows(4)}, previous=table, remove=("2013-01-02", "2099-01-01"))
    assert table.partition_map.keys == ("2013-01-01", "2013-01-03", "2013-01-05")
    assert table.rows == 9


def test_a_stream_is_written_as_a_slice(lake: Storage) -> None:
    data = rows(0, 50)
    reader = pa.RecordBatchReader.from_batches(data.schema, data.to_batches(max_chunksize=7))
    assert build(lake, {day(0): reader}).to_arrow().equals(data)


def test_an_added_column_holds_the_key(lake: Storage) -> None:
    table = build(lake, {text("ä|b"): rows(0), text("日本"): rows(1)}, layout=TEXTS)
    assert table.schema.names == ["at", "n", "who", "_partition"]
    assert table.only(["日本"]).to_arrow()["_partition"].to_pylist() == ["日本"] * 3
    again = build(lake, {text("日本"): table.only(["ä|b"]).to_arrow()}, previous=table, layout=TEXTS)
    assert again.only(["日本"]).to_arrow()["_partition"].to_pylist() == ["日本"] * 3
    assert again.layout == TEXTS


def test_a_table_is_partitioned_by_the_product_of_two(lake: Storage) -> None:
    both = Layout((LayoutField("at", "day"), LayoutField("_partition_2", "identity", added=True)))

    def part(number: int, who: str) -> Slice:
        one = day(number)
        return Slice(f"{one.key}|{who}", (*one.parts, who), (*one.window, None))

    table = build(lake, {part(i, who): rows(i, 2) for i in range(3) for who in ("AA", "BB")}, layout=both)
    table = build(lake, {part(1, "AA"): rows(1, 9)}, previous=table, layout=both)
    assert table.layout == both
    assert table.only(["2013-01-02|AA"]).rows == 9
    assert table.rows == 2 * 5 + 9


@pytest.mark.parametrize(
    ("kind", "values", "parts"),
    [
        (pa.string(), ["AA", "b 日"], ["AA", "b 日"]),
        (pa.int64(), [-5, 2**40], ["-5", str(2**40)]),
        (pa.int32(), [-5, 7], ["-5", "7"]),
        (pa.date32(), [dt.date(1969, 12, 31), dt.date(2013, 1, 1)], ["1969-12-31", "2013-01-01"]),
    ],
)
def test_a_plain_column_is_taken_as_it_is(
    lake: Storage, kind: pa.DataType, values: list[object], parts: list[str]
) -> None:
    layout = Layout((LayoutField("c", "identity"),))
    data = {
        text(part): pa.table({"c": pa.array([value] * 2, kind)})
        for part, value in zip(parts, values, strict=True)
    }
    table = build(lake, data, layout=layout)
    assert table.layout == layout
    assert table.only([parts[0]]).to_arrow()["c"].to_pylist() == [values[0]] * 2
    with pytest.raises(UnstorableError, match="the column c of t is"):
        build(lake, {text(parts[0]): data[text(parts[1])]}, previous=table, layout=layout)


@pytest.mark.parametrize(
    ("transform", "part", "inside", "outside"),
    [
        ("hour", "1969-12-31T23", [(1969, 12, 31, 23), (1969, 12, 31, 23, 59, 59, 999999)], (1970, 1, 1)),
        ("hour", "2013-01-05T03", [(2013, 1, 5, 3)], (2013, 1, 5, 2, 59, 59, 999999)),
        ("day", "1969-12-31", [(1969, 12, 31), (1969, 12, 31, 23, 59, 59, 999999)], (1970, 1, 1)),
        ("day", "1899-02-28", [(1899, 2, 28, 12)], (1899, 3, 1)),
        ("month", "1969-12", [(1969, 12, 1), (1969, 12, 31, 23)], (1969, 11, 30, 23, 59, 59, 999999)),
        ("month", "2012-02", [(2012, 2, 29)], (2012, 3, 1)),
        ("year", "1960", [(1960, 1, 1), (1960, 12, 31, 23)], (1961, 1, 1)),
    ],
)
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_transforms_agree_with_pyiceberg_before_1970_too(
    lake: Storage,
    transform: str,
    part: str,
    inside: list[tuple[int, ...]],
    outside: tuple[int, ...],
    zone: str | None,
) -> None:
    from pyiceberg.transforms import parse_transform
    from pyiceberg.types import TimestampType

    kind = pa.timestamp("us", zone)
    layout = Layout((LayoutField("at", transform),))  # type: ignore[arg-type]
    moments = [dt.datetime(*each) for each in inside]
    table = build(lake, {text(part): pa.table({"at": pa.array(moments, kind)})}, layout=layout)
    (entry,) = table.entries()
    (value,) = entry["data_file"]["partition"].values()
    computed = parse_transform(transform).transform(TimestampType())
    for moment in moments:
        assert computed((moment - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)) == value
    with pytest.raises(UnstorableError, match=str(dt.datetime(*outside))):
        build(
            lake,
            {text(part): pa.table({"at": pa.array([*moments, dt.datetime(*outside)], kind)})},
            layout=layout,
        )


def test_dates_are_partitioned_by_month(lake: Storage) -> None:
    layout = Layout((LayoutField("d", "month"),))
    part = Slice("2013-02", ("2013-02",), (("d", dt.date(2013, 2, 1), dt.date(2013, 3, 1)),))
    data = pa.table({"d": [dt.date(2013, 2, 1), dt.date(2013, 2, 28)]})
    assert build(lake, {part: data}, layout=layout).rows == 2
    with pytest.raises(UnstorableError, match=r"the column d of t is 2013-03-01.*2013-02"):
        build(lake, {part: pa.table({"d": [dt.date(2013, 3, 1)]})}, layout=layout)


def test_a_window_in_a_zone_holds_the_instants_of_its_day(lake: Storage) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start, end = dt.datetime(2013, 3, 31, tzinfo=berlin), dt.datetime(2013, 4, 1, tzinfo=berlin)
    part = Slice("2013-03-31", ("2013-03-31",), (("at", start, end),))
    first, last = dt.datetime(2013, 3, 30, 23), dt.datetime(2013, 3, 31, 21, 59, 59)
    instants = pa.table({"at": pa.array([first, last], pa.timestamp("us", "UTC"))})
    assert build(lake, {part: instants}, layout=TEXTS).rows == 2
    late = pa.table({"at": pa.array([dt.datetime(2013, 3, 31, 22)], pa.timestamp("us", "UTC"))})
    with pytest.raises(UnstorableError, match="2013-03-31 22:00:00"):
        build(lake, {part: late}, layout=TEXTS)
    clock = pa.table({"at": pa.array([dt.datetime(2013, 3, 31), dt.datetime(2013, 3, 31, 23, 59)])})
    assert build(lake, {part: clock}, layout=TEXTS, key="clock").rows == 2


def test_a_row_of_another_partition_is_named(lake: Storage) -> None:
    with pytest.raises(
        UnstorableError, match=r"the column at of t is 2013-01-02 00:00:00.*2013-01-01"
    ) as told:
        build(lake, {day(0): rows(1)})
    assert told.value.facts["partition"] == "2013-01-01"
    with pytest.raises(UnstorableError, match="2013-01-02"):  # beside an added column too
        build(lake, {day(0): rows(1)}, layout=TEXTS)


def test_a_row_in_no_partition_is_told(lake: Storage) -> None:
    data = rows(0).set_column(0, "at", pa.array([None, None, None], pa.timestamp("us")))
    with pytest.raises(UnstorableError, match=r"the column at of t is null.*2013-01-01"):
        build(lake, {day(0): data})


def test_a_missing_or_unfit_partition_column_is_told(lake: Storage) -> None:
    with pytest.raises(UnstorableError, match="the column at"):
        build(lake, {day(0): rows(0).drop_columns("at")})
    with pytest.raises(UnstorableError, match="the column who has the type string"):
        build(lake, {text("2013-01-01"): rows(0)}, layout=Layout((LayoutField("who", "day"),)))
    with pytest.raises(LakeError, match="'x' of the partition x is no day"):
        build(lake, {text("x"): rows(0)})
    with pytest.raises(LakeError, match="parts"):
        build(lake, {Slice("a", ("a", "b")): rows(0)})


@pytest.mark.parametrize(
    "fields",
    [(), (LayoutField("a", "day"),) * 2, tuple(LayoutField(name, "day") for name in "abc")],
)
def test_a_layout_has_one_field_or_two(fields: tuple[LayoutField, ...]) -> None:
    with pytest.raises(LakeError):
        Layout(fields)


def test_the_lakes_own_columns_are_no_others() -> None:
    for column, added in (("_partition", False), ("mine", True)):
        with pytest.raises(LakeError, match="_partition"):
            LayoutField(column, "identity", added)


def test_two_keys_for_one_partition_are_refused(lake: Storage) -> None:
    other = Slice("day one", ("2013-01-01",))
    with pytest.raises(LakeError, match="are one"):
        build(lake, {day(0): rows(0), other: rows(0)})
    table = build(lake, {day(0): rows(0)})
    with pytest.raises(LakeError, match="are one"):
        build(lake, {other: rows(0)}, previous=table)
    assert build(lake, {other: rows(0)}, previous=table, remove=("2013-01-01",)).partition_map.keys == (
        "day one",
    )


def test_a_partition_is_not_written_twice_at_once(lake: Storage) -> None:
    files = write_partition(lake, "t", day(0), rows(0), layout=DAYS, previous=None)
    for writes, remove in (([(files, ""), (files, "")], ()), ([(files, "")], ("2013-01-01",))):
        with pytest.raises(LakeError, match="twice"):
            assemble(lake, "t", layout=DAYS, previous=None, writes=writes, making=MAKING, remove=remove)


def test_a_sandbox_writes_its_partitions_under_its_own_prefix(tmp_path: Path, lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(3)})
    sandbox = lake.scoped(Scope.sandbox("s1"))
    mine = build(sandbox, {day(1): rows(1, 9)}, previous=table)
    assert mine.location.startswith(f"{sandbox.warehouse}/_sandboxes/s1/")
    assert sum(file.path.startswith(f"{sandbox.warehouse}/_sandboxes/s1/") for file in mine.files()) == 1
    with pytest.raises(IsolationError):
        write_partition(lake.scoped(Scope.read_only()), "t", day(0), rows(0), layout=DAYS, previous=table)


# reading


def test_a_restricted_handle_reads_only_its_partitions_files(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(6)})
    part = pickle.loads(pickle.dumps(table.only(["2013-01-02", "2013-01-05", "2099-01-01"])))
    for file in table.files():  # any other file that is opened is missed
        if file.path not in {each.path for each in part.files()}:
            Path(file.path).unlink()
    wanted = pa.concat_tables([rows(1), rows(4)])
    assert part.to_arrow().equals(wanted)
    assert part.to_batches().read_all().equals(wanted)
    assert part.to_arrow(["n"], "n > 1").num_rows == 2
    assert part.to_arrow(filter=pc.field("n") > 1).num_rows == 2
    assert len(part.to_pandas()) == part.to_polars().height == part.to_lazy().collect().height == 6
    assert part.to_dataset().count_rows() == 6
    connection = duckdb.connect()
    assert len(part.to_duckdb(connection).fetchall()) == 6
    part.create_view(connection, "v")
    assert connection.execute("select count(*) from v").fetchone() == (6,)
    assert part.rows == 6
    assert part.partition_map.keys == ("2013-01-02", "2013-01-05")
    assert part.only(["2013-01-02"]).rows == 3
    assert part.only(["2013-01-01"]).to_arrow().num_rows == 0


def test_a_restricted_handle_is_no_table_to_go_on_from(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(2)})
    part = table.only(["2013-01-01"])
    for act in (
        lambda: build(lake, {day(0): rows(0)}, previous=part),
        lambda: append_table(lake, "t", rows(0), previous=part),
        lambda: overlay(lake, "t", part, {}),
        part.to_iceberg,
        lambda: table.only("2013-01-01"),
    ):
        with pytest.raises(LakeError):
            act()


def test_a_table_without_partitions_can_not_be_restricted(lake: Storage) -> None:
    table = Table("t", write_table(lake, "t", rows(0)).location, lake)
    assert table.layout is None
    assert table.partition_map is None
    with pytest.raises(LakeError, match="partitions"):
        table.only(["2013-01-01"])


def test_pyiceberg_sees_partitions_and_prunes_by_them(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i, i + 1) for i in range(30)})
    iceberg = StaticTable.from_metadata(table.location)
    found = {
        str(row["partition"]["at_day"]): row["record_count"]
        for row in iceberg.inspect.partitions().to_pylist()
    }
    assert found == {day(i).key: i + 1 for i in range(30)}
    scan = iceberg.scan(row_filter="at >= '2013-01-10T00:00:00' and at < '2013-01-12T00:00:00'")
    assert len(list(scan.plan_files())) == 2
    assert scan.to_arrow().num_rows == 10 + 11
    by_key = build(lake, {text("ä"): rows(0), text("b"): rows(1)}, layout=TEXTS, key="k")
    scan = StaticTable.from_metadata(by_key.location).scan(row_filter="_partition = 'ä'")
    assert len(list(scan.plan_files())) == 1


def test_names_that_avro_does_not_take_are_changed_as_iceberg_does(lake: Storage) -> None:
    layout = Layout((LayoutField("1 ü-day", "day"),))
    names = ["1 ü-day", "1 ü-day_day", "who"]
    data = rows(0).rename_columns(names)
    table = build(lake, {text("2013-01-01"): data}, layout=layout)
    iceberg = StaticTable.from_metadata(table.location)
    assert iceberg.inspect.partitions().num_rows == 1
    assert iceberg.scan().to_arrow().num_rows == 3


# the map's place in what is around it


def test_a_table_that_is_written_whole_is_not_partitioned_any_more(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(2)})
    whole = Table("t", write_table(lake, "t", rows(0), previous=table).location, lake)
    assert (whole.layout, whole.partition_map) == (None, None)
    assert whole.field_ids == table.field_ids
    again = build(lake, {day(1): rows(1)}, previous=whole)
    assert again.partition_map.keys == ("2013-01-02",)
    assert again.rows == 3


def test_another_layout_takes_all_partitions(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(3)})
    with pytest.raises(LakeError, match="2 of its partitions are not written, such as 2013-01-02"):
        build(lake, {day(0): rows(0)}, previous=table, layout=TEXTS)
    other = build(lake, {day(i): rows(i) for i in range(3)}, previous=table, layout=TEXTS)
    assert other.layout == TEXTS
    assert other.metadata["table-uuid"] == table.metadata["table-uuid"]
    assert {name: other.field_ids[name] for name in table.field_ids} == table.field_ids


def test_rows_that_were_appended_outside_of_partitions_are_not_lost(lake: Storage) -> None:
    table = build(lake, {day(i): rows(i) for i in range(2)})
    appended = Table("t", append_table(lake, "t", rows(9), previous=table).location, lake)
    assert appended.partition_map is None
    assert appended.rows == 9
    with pytest.raises(LakeError, match="outside of its partitions"):
        build(lake, {day(0): rows(0)}, previous=appended)


def test_every_type_is_kept_in_partitions(lake: Storage) -> None:
    data = every_type().drop_columns(["structs", "map", "local", "instant", "id", "single"])
    table = build(lake, {text("a"): data, text("b"): data.slice(1, 1)}, layout=TEXTS)
    assert plain(table.only(["a"]).to_arrow(data.schema.names)) == plain(data)
