"""Tables written and read back: exact values, stable identity, one content version."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from lake_data import every_type, numbers, plain
from pyiceberg.expressions import GreaterThan
from pyiceberg.table import StaticTable

from anabranch.errors import IsolationError, LakeError, MissingFileError, UnstorableError
from anabranch.lake import slabs
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, Written, append_table, write_file_asset, write_table
from anabranch.lake.version import content_of, file_version


def put(lake: Storage, data: pa.Table, previous: Table | None = None, **more: object) -> Table:
    written = write_table(lake, "t", data, previous=previous, **more)
    return Table("t", written.location, lake, written.version)


def from_pandas(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False)


def by_pyiceberg(table: Table) -> StaticTable:
    return StaticTable.from_metadata(table.location)


# values


def test_every_type_comes_back_as_it_went_in(lake: Storage) -> None:
    data = every_type()
    table = put(lake, data)
    back = table.to_arrow()
    assert back.schema.equals(table.schema, check_metadata=True)
    assert [str(f.type) for f in back.schema if not pa.types.is_nested(f.type)] == [
        str(f.type) for f in data.schema if not pa.types.is_nested(f.type)
    ]
    assert plain(back) == plain(data)
    assert str(content_of(back)) == table.version == str(content_of(data))
    streamed = table.to_batches().read_all()
    assert streamed.schema.equals(table.schema, check_metadata=True)
    assert plain(streamed) == plain(data)


def test_every_type_is_read_by_pyiceberg_itself(lake: Storage) -> None:
    table = put(
        lake, every_type().drop_columns("structs")
    )  # pyiceberg reads null lists of structs as empty ones
    back = by_pyiceberg(table).scan().to_arrow()
    assert str(content_of(back)) == table.version
    assert back.schema.names == table.schema.names


def test_every_type_is_read_by_duckdb_and_polars(lake: Storage) -> None:
    table = put(lake, every_type().drop_columns(["local", "instant"]))
    relation = table.to_duckdb()
    assert relation.columns == table.schema.names
    assert str(relation.select("id").types[0]) == "UUID"
    assert [row[0] for row in relation.select("money").fetchall()] == every_type()["money"].to_pylist()
    assert table.to_polars()["struct"].to_list()[0] == every_type()["struct"].to_pylist()[0]
    assert table.to_lazy().collect()["list"].to_list() == [[], None, [1, None]]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (pa.array([1, None], pa.int8()), pa.int32()),
        (pa.array([255, None], pa.uint8()), pa.int32()),
        (pa.array([1, None], pa.int16()), pa.int32()),
        (pa.array([65535, None], pa.uint16()), pa.int32()),
        (pa.array([2**32 - 1, None], pa.uint32()), pa.int64()),
        (pa.array(["a", None], pa.large_string()), pa.string()),
        (pa.array(["a", None], pa.string_view()), pa.string()),
        (pa.array([b"a", None], pa.large_binary()), pa.binary()),
        (pa.array([b"a", None], pa.binary_view()), pa.binary()),
        (pa.array(["a", None]).dictionary_encode(), pa.string()),
        (pa.array([1, None], pa.timestamp("s")), pa.timestamp("us")),
        (pa.array([1, None], pa.timestamp("ms", "Etc/UTC")), pa.timestamp("us", "UTC")),
        (pa.array([5000, None], pa.timestamp("ns")), pa.timestamp("us")),
        (pa.array([5000, None], pa.time64("ns")), pa.time64("us")),
        (pa.array([5, None], pa.time32("ms")), pa.time64("us")),
        (pa.array([86_400_000, None], pa.date64()), pa.date32()),
        (pa.array([1, None], pa.decimal256(38, 2)), pa.decimal128(38, 2)),
        (pa.array([1, None], pa.decimal64(9, 2)), pa.decimal128(9, 2)),
        (pa.array([[1], None], pa.large_list(pa.int16())), pa.list_(pa.int32())),
        (pa.array([[1, 2], None], pa.list_(pa.int64(), 2)), pa.list_(pa.int64())),
        (pa.array([[1], None, [2, 3]], pa.list_view(pa.int64())), pa.list_(pa.int64())),
        (pa.array(["{}", None], pa.json_()), pa.string()),
        (pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["a"])), pa.string()),
        (
            pa.array([{"a": [1]}, None], pa.struct([("a", pa.large_list(pa.uint8()))])),
            pa.struct([("a", pa.list_(pa.int32()))]),
        ),
        (
            pa.array([[("k", 1)], None], pa.map_(pa.large_string(), pa.int8())),
            pa.map_(pa.string(), pa.int32()),
        ),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else None,
)
def test_a_narrower_type_is_widened_without_loss(lake: Storage, given: pa.Array, stored: pa.DataType) -> None:
    data = pa.table({"c": given})
    table = put(lake, data.slice(1))
    assert table.schema.field("c").type == stored
    assert plain(table.to_arrow()) == plain(data.slice(1))
    whole = put(lake, data)
    assert plain(whole.to_arrow()) == plain(data)
    assert whole.version == str(content_of(whole.to_arrow())) == str(content_of(data))


def enum_like_union() -> pa.Array:
    return pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (pa.array([1], pa.uint64()), "c"),
        (pa.array([1.0], pa.float16()), "c"),
        (pa.array([1], pa.duration("us")), "c"),
        (pa.array([None], pa.null()), "c"),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "c"),
        (pa.array([1], pa.timestamp("us", "Europe/Berlin")), "c"),
        (pa.array([1], pa.decimal256(39, 0)), "c"),
        (pa.array([10], pa.decimal128(5, -1)), "c"),
        (enum_like_union(), "c"),
        (pa.array([{}], pa.struct([])), "c"),
        (pa.array([b""], pa.binary(0)), "c"),
        (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())), "c"),
        (pa.array([{"a": {"b": 1}}], pa.struct([("a", pa.struct([("b", pa.uint64())]))])), "c.a.b"),
        (pa.array([[1]], pa.list_(pa.duration("s"))), "c.element"),
        (pa.array([[("k", 1.0)]], pa.map_(pa.string(), pa.float16())), "c.value"),
        (pa.array([1]).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.uint64())), "c"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else value,
)
def test_a_type_that_iceberg_can_not_hold_is_refused_by_column(
    lake: Storage, given: pa.Array, path: str
) -> None:
    with pytest.raises(UnstorableError, match=f"column {path} ") as caught:
        put(lake, pa.table({"fine": pa.array([1] * len(given)), "c": given}))
    assert caught.value.hint
    assert caught.value.facts["column"] == path
    assert list(lake.list()) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (pa.array([1000, None, 1_001, 7], pa.timestamp("ns")), "1970-01-01 00:00:00.000001001"),
        (pa.array([1000, 2], pa.time64("ns")), "00:00:00.000000002"),
        (pa.array([2**62], pa.timestamp("s")), "out of bounds"),
    ],
)
def test_a_value_that_would_change_is_refused_and_shown(lake: Storage, given: pa.Array, told: str) -> None:
    with pytest.raises(UnstorableError) as caught:
        put(lake, pa.table({"when": given}))
    assert "column when" in caught.value.message
    assert told in caught.value.message


def test_a_value_inside_a_struct_is_named_by_its_path(lake: Storage) -> None:
    kind = pa.struct([("seen", pa.list_(pa.timestamp("ns")))])
    with pytest.raises(UnstorableError, match=r"a\.seen\.element.*000000001"):
        put(lake, pa.table({"a": pa.array([{"seen": [1000]}, {"seen": [1]}], kind)}))


def test_columns_must_have_names_of_their_own(lake: Storage) -> None:
    one = pa.array([1])
    nested = pa.array([{"b": 1}], pa.struct([("b", pa.int64())]))
    for names, columns in ((["a", "a"], [one, one]), ([""], [one]), (["a.b", "a"], [one, nested])):
        with pytest.raises(UnstorableError):
            put(lake, pa.Table.from_arrays(columns, names=names))
    with pytest.raises(UnstorableError, match="without columns"):
        put(lake, pa.table({}))


def test_any_name_of_a_column_is_kept(lake: Storage) -> None:
    names = ["with space", "a.b", "1st", "Größe", 'quo"te', "select", "a/b", "💡", "x" * 200]
    data = pa.table({name: [i] for i, name in enumerate(names)})
    table = put(lake, data)
    assert table.to_arrow().to_pylist() == data.to_pylist()
    assert by_pyiceberg(table).scan().to_arrow().to_pylist() == data.to_pylist()
    assert table.to_duckdb().columns == names
    assert table.to_lazy().collect().columns == names


def test_a_column_declared_without_nulls_stays_so_and_is_held_to_it(lake: Storage) -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    table = put(lake, pa.table({"a": [1]}, schema))
    assert not table.schema.field("a").nullable
    assert by_pyiceberg(table).schema().find_field("a").required
    assert table.version == put(lake, pa.table({"a": [1]})).version
    with pytest.raises(UnstorableError, match=r"column a .*1 nulls"):
        put(lake, pa.table([pa.array([1, None])], schema))


# one version


def test_the_same_data_from_pandas_polars_and_arrow_has_one_version(lake: Storage) -> None:
    rows = {"i": [1, 2, None], "s": ["a", None, "c"], "f": [0.5, None, 2.0], "b": [True, False, None]}
    arrow = pa.table(rows)
    frame = pd.DataFrame(
        {
            "i": pd.array(rows["i"], "Int32"),
            "s": pd.Series(rows["s"], dtype="string").astype("category"),
            "f": rows["f"],
            "b": pd.array(rows["b"], "boolean"),
        }
    )
    tables = [
        put(lake, arrow.set_column(0, "i", arrow["i"].cast(pa.int32()))),
        put(lake, from_pandas(frame)),
        put(lake, pl.DataFrame(rows, schema_overrides={"i": pl.Int16}).to_arrow()),
        put(lake, arrow.set_column(0, "i", arrow["i"].cast(pa.uint16())).take([2, 0, 1])),
    ]
    assert len({table.version for table in tables}) == 1
    for table in tables:
        assert str(content_of(pq.read_table([f.path for f in table.files()]))) == table.version
        assert Table("t", table.location, lake).version == table.version


def test_a_version_is_computed_from_the_rows_where_none_is_recorded(lake: Storage, tmp_path) -> None:
    table = put(lake, numbers(10))
    metadata = json.loads(lake.read_bytes(table.location))
    del metadata["snapshots"][0]["summary"]["anabranch.version"]
    del metadata["snapshots"][0]["summary"]["anabranch.plain"]
    place = lake.write_bytes(
        f"{lake.table_folder('t')}/metadata/foreign.metadata.json", json.dumps(metadata).encode()
    )
    foreign = Table("t", place, lake)
    assert not foreign.plain
    assert foreign.version == table.version
    assert (foreign.rows, foreign.bytes, foreign.file_count) == (10, table.bytes, 1)
    assert foreign.to_arrow().equals(table.to_arrow())


# identity


def test_field_ids_and_identity_go_on_through_rewrites(lake: Storage) -> None:
    first = put(lake, pa.table({"a": [1], "b": ["x"], "c": [{"d": 1, "e": [1]}]}), docs={"a": "the first"})
    again = put(lake, pa.table({"c": [{"e": [2], "d": 1}], "b": ["y"], "a": [2]}), first)
    assert again.field_ids == first.field_ids
    assert again.metadata["table-uuid"] == first.metadata["table-uuid"]
    assert again.schema.names == ["c", "b", "a"]
    assert by_pyiceberg(again).schema().find_field("a").doc == "the first"


def test_an_added_column_gets_a_new_id_and_a_dropped_one_is_never_given_again(lake: Storage) -> None:
    first = put(lake, pa.table({"a": [1], "b": [1]}))
    dropped = put(lake, pa.table({"a": [1]}), first)
    back = put(lake, pa.table({"a": [1], "b": [1]}), dropped)
    assert dropped.field_ids == {"a": first.field_ids["a"]}
    assert back.field_ids["b"] not in first.field_ids.values()
    schemas = [t.metadata["current-schema-id"] for t in (first, dropped, back)]
    assert schemas == sorted(set(schemas))


def test_a_renamed_column_keeps_its_id_and_the_rename_may_stay_declared(lake: Storage) -> None:
    first = put(lake, pa.table({"a": [1], "b": [2]}))
    renamed = put(lake, pa.table({"x": [1], "b": [2]}), first, renames={"x": "a"})
    assert renamed.field_ids == {"x": first.field_ids["a"], "b": first.field_ids["b"]}
    again = put(lake, pa.table({"x": [1], "b": [2]}), renamed, renames={"x": "a"})
    assert again.field_ids == renamed.field_ids
    swapped = put(lake, pa.table({"x": [1], "a": [1], "b": [2]}), first, renames={"x": "a"})
    assert swapped.field_ids["x"] == first.field_ids["a"]
    assert swapped.field_ids["a"] not in first.field_ids.values()


def test_a_field_in_a_struct_can_be_renamed_too(lake: Storage) -> None:
    first = put(lake, pa.table({"s": [{"a": 1, "b": 2}]}))
    renamed = put(lake, pa.table({"s": [{"x": 1, "b": 2}]}), first, renames={"s.x": "s.a"})
    assert renamed.field_ids["s.x"] == first.field_ids["s.a"]
    outer = put(lake, pa.table({"t": [{"a": 1, "b": 2}]}), first, renames={"t": "s"})
    assert outer.field_ids == {"t": 1, **{f"t.{n}": first.field_ids[f"s.{n}"] for n in "ab"}}


def test_a_column_of_another_kind_is_another_column(lake: Storage) -> None:
    first = put(lake, pa.table({"a": [1], "b": [1]}))
    second = put(lake, pa.table({"a": ["1"], "b": [[1]]}), first)
    assert second.field_ids["a"] == first.field_ids["a"]
    assert second.field_ids["b"] != first.field_ids["b"]


def test_a_rename_or_comment_of_no_column_is_refused(lake: Storage) -> None:
    first = put(lake, pa.table({"a": [1]}))
    with pytest.raises(LakeError, match="'nope'"):
        put(lake, pa.table({"a": [1]}), first, renames={"nope": "a"})
    with pytest.raises(LakeError, match="'nope'"):
        put(lake, pa.table({"a": [1]}), docs={"nope": "x"})


def test_properties_are_set_and_go_on(lake: Storage) -> None:
    first = put(lake, pa.table({"a": [1]}), properties={"owner": "ann"})
    second = put(lake, pa.table({"a": [1]}), first, properties={"team": "flights"})
    assert by_pyiceberg(second).properties.items() >= {"owner": "ann", "team": "flights"}.items()


def test_the_metadata_holds_one_snapshot_however_often_a_table_is_written(lake: Storage) -> None:
    table = put(lake, numbers(3))
    for _ in range(5):
        table = put(lake, numbers(3), table)
    sizes = len(lake.read_bytes(table.location))
    assert len(table.metadata["snapshots"]) == 1
    assert table.metadata["metadata-log"] == []
    assert table.metadata["last-sequence-number"] == 6
    assert sizes < len(lake.read_bytes(put(lake, numbers(3)).location)) + 100
    assert by_pyiceberg(table).current_snapshot().summary["total-records"] == "3"


def test_a_rewrite_leaves_the_files_of_the_former_version(lake: Storage) -> None:
    first = put(lake, numbers(5))
    put(lake, numbers(9), first)
    assert first.to_arrow().equals(numbers(5))


# reading less


def test_columns_filters_and_limits(lake: Storage) -> None:
    table = put(lake, numbers(1000))
    expected = numbers(1000).filter(pc.field("id") > 990).select(["value", "id"])
    for condition in ("id > 990", GreaterThan("id", 990), pc.field("id") > 990):
        assert table.to_arrow(["value", "id"], condition).equals(expected)
        assert table.to_batches(["value", "id"], condition).read_all().equals(expected)
    assert table.to_arrow(limit=7).equals(numbers(7))
    assert table.to_arrow(["id"], "id >= 100", 3)["id"].to_pylist() == [100, 101, 102]
    assert table.to_arrow(filter="id < 0").num_rows == 0
    assert table.to_pandas(["id"], limit=2)["id"].tolist() == [0, 1]
    assert table.to_polars(["name"], "id == 5")["name"].to_list() == ["name 5"]
    with pytest.raises(LakeError, match="no column 'nope'"):
        table.to_arrow(["nope"])
    with pytest.raises(LakeError, match="can't be understood"):
        table.to_arrow(filter="id >")


def test_files_that_can_not_match_are_not_even_opened(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "SLAB_ROWS", 100)
    table = put(lake, numbers(1000))
    assert len(table.files()) == 10
    scan = by_pyiceberg(table).scan(row_filter="id >= 250 and id < 320")
    assert [task.file.record_count for task in scan.plan_files()] == [100, 100]
    for file in table.files():
        if file.path not in {task.file.file_path for task in scan.plan_files()}:
            os.unlink(file.path)
    fresh = Table("t", table.location, lake)
    with pytest.raises(MissingFileError):
        fresh.to_arrow()
    assert fresh.to_arrow(filter="id >= 250 and id < 320")["id"].to_pylist() == list(range(250, 320))


def test_a_handle_opens_nothing_until_it_is_asked_and_can_be_pickled(lake: Storage) -> None:
    Table("t", f"{lake.warehouse}/nowhere.metadata.json", lake)
    table = put(lake, numbers(3))
    table.to_arrow()
    copy = pickle.loads(pickle.dumps(table))
    assert copy.version == table.version
    assert copy.to_arrow().equals(numbers(3))
    assert len(pickle.dumps(table)) < 1000


def test_a_table_without_rows_is_a_table(lake: Storage) -> None:
    data = every_type().slice(0, 0)
    table = put(lake, data)
    assert table.files() == []
    assert table.rows == 0
    assert table.version == str(content_of(data))
    assert table.to_arrow().schema.equals(table.schema)
    assert table.to_batches().read_all().num_rows == 0
    assert table.to_pandas().shape == (0, len(data.schema))
    assert table.to_polars().columns == data.schema.names
    assert table.to_lazy().collect().columns == data.schema.names
    assert table.to_duckdb().columns == data.schema.names
    assert by_pyiceberg(table).scan().to_arrow().num_rows == 0
    connection = duckdb.connect()
    table.create_view(connection, "t")
    assert connection.sql("select count(*) from t").fetchall() == [(0,)]
    grown = append_table(lake, "t", every_type(), previous=table)
    assert Table("t", grown.location, lake).version == str(content_of(every_type()))


def test_duckdb_views_push_down_and_can_be_replaced(lake: Storage) -> None:
    connection = duckdb.connect()
    table = put(lake, numbers(100))
    table.create_view(connection, "t")
    table.create_view(connection, "marts.odd \"name's")
    assert connection.sql("select sum(id) from t where id < 10").fetchall() == [(45,)]
    assert connection.sql('select count(*) from marts."odd ""name\'s"').fetchall() == [(100,)]
    put(lake, numbers(7)).create_view(connection, "t")
    assert connection.sql("select count(*) from t").fetchall() == [(7,)]


def test_a_warehouse_whose_path_looks_like_a_pattern_is_read_all_the_same(tmp_path) -> None:
    lake = Storage(tmp_path / "odd [a-b]*'?", scope=Scope.environment())
    table = put(lake, numbers(5))
    connection = duckdb.connect()
    table.create_view(connection, "marts.t")
    assert connection.sql("select count(*) from marts.t").fetchall() == [(5,)]
    assert table.to_duckdb(connection).count("*").fetchall() == [(5,)]
    assert table.to_lazy().collect().height == 5
    assert table.to_arrow().equals(numbers(5))


def test_pandas_gets_integers_as_integers_and_decimals_as_decimals(lake: Storage) -> None:
    table = put(lake, every_type().drop_columns(["local", "instant"]))
    frame = table.to_pandas()
    assert str(frame["large"].dtype) == "Int64"
    assert frame["large"].tolist()[2] == 2**63 - 1
    assert str(frame["flag"].dtype) == "boolean"
    again = put(
        lake, from_pandas(frame[["flag", "small", "large", "money", "wide", "list", "struct", "day"]])
    )
    kinds = {name: again.schema.field(name).type for name in again.schema.names}
    assert kinds == {name: table.schema.field(name).type for name in kinds}
    numbers_only = put(lake, numbers(4)).to_pandas()
    assert [str(kind) for kind in numbers_only.dtypes][::2] == ["int64", "float64"]


def test_a_file_that_is_gone_is_named_with_its_table(lake: Storage) -> None:
    def fresh() -> Table:
        return Table("t", table.location, lake)

    table = put(lake, numbers(3))
    data = table.files()[0].path
    os.unlink(data)
    for read in (
        lambda: fresh().to_arrow(),
        lambda: fresh().to_arrow(limit=1),
        lambda: fresh().to_batches().read_all(),
        lambda: fresh().to_lazy(),
        lambda: fresh().to_duckdb(),
        lambda: fresh().create_view(duckdb.connect(), "t"),
        lambda: fresh().to_dataset(),
    ):
        with pytest.raises(MissingFileError) as caught:
            read()
        assert data in caught.value.message
        assert caught.value.facts["key"] == "t"
    os.unlink(table.metadata["snapshots"][0]["manifest-list"])
    with pytest.raises(MissingFileError, match=r"snap-.*of t "):
        fresh().files()
    os.unlink(table.location)
    with pytest.raises(MissingFileError, match=r"metadata\.json of t "):
        assert fresh().schema


def test_what_is_no_metadata_is_told(lake: Storage) -> None:
    for content in (b"{", b"[]", b"{}", b"\xff\xfe"):
        place = lake.write_bytes(f"{lake.table_folder('t')}/{len(list(lake.list()))}.metadata.json", content)
        with pytest.raises(LakeError, match="no Iceberg metadata"):
            assert Table("t", place, lake).schema is None


# large data


def test_rows_keep_their_order_over_slabs_threads_and_files(
    lake: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slabs, "SLAB_ROWS", 1000)
    data = numbers(12_345)
    seen: list[int] = []
    reader = pa.RecordBatchReader.from_batches(data.schema, data.to_batches(max_chunksize=777))
    written = write_table(lake, "t", reader, threads=3, on_progress=seen.append)
    table = Table("t", written.location, lake)
    assert written.files == len(table.files()) == 13
    assert [file.rows for file in table.files()] == [1000] * 12 + [345]
    assert table.to_arrow().equals(data)
    assert seen == [*range(1000, 12_001, 1000), 12_345]
    assert table.version == str(content_of(data))
    assert written.bytes == sum(os.path.getsize(file.path) for file in table.files())
    single = write_table(lake, "t", data, threads=1)
    assert single.version == written.version


def test_whether_values_come_again_is_told_from_rows_all_over_the_slab(lake: Storage) -> None:
    rows = 100_000
    pick = random.Random(1)
    data = pa.table(
        {
            "id": range(rows),
            "measure": [pick.random() for _ in range(rows)],
            "few": [pick.randrange(3) for _ in range(rows)],
            "thousands": [pick.randrange(8000) for _ in range(rows)],
            "again": [i % 9000 for i in range(rows)],
            "sorted": [i // 50 for i in range(rows)],
            "nothing": pa.nulls(rows, pa.string()),
        }
    )
    group = pq.read_metadata(put(lake, data).files()[0].path).row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    plain_ones = {column.path_in_schema for column in columns if not column.has_dictionary_page}
    assert plain_ones - {"nothing"} == {"id", "measure"}


def test_dictionaries_are_built_for_columns_whose_values_come_again(lake: Storage) -> None:
    rows = 20_000
    data = pa.table(
        {
            "id": range(rows),
            "kind": ["ab"[i % 2] for i in range(rows)],
            "a.b": ["cd"[i % 2] for i in range(rows)],
            "nested": pa.array(
                [{"s": "x", "l": [1], "m": [("k", 1)]}] * rows,
                pa.struct(
                    [("s", pa.string()), ("l", pa.list_(pa.int64())), ("m", pa.map_(pa.string(), pa.int64()))]
                ),
            ),
        }
    )
    table = put(lake, data)
    group = pq.read_metadata(table.files()[0].path).row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    assert [column.path_in_schema for column in columns if not column.has_dictionary_page] == ["id"]
    assert table.to_arrow().equals(data.cast(table.schema))


def test_wide_rows_are_cut_by_bytes(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "SLAB_BYTES", 1 << 20)
    data = pa.table({"blob": [os.urandom(100_000) for _ in range(50)]})
    table = put(lake, data)
    assert len(table.files()) >= 5
    assert table.to_arrow().equals(data)


def test_an_error_of_the_source_passes_and_nothing_points_to_what_was_written(
    lake: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slabs, "SLAB_ROWS", 100)

    def batches():
        yield from numbers(500).to_batches(max_chunksize=100)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_table(lake, "t", pa.RecordBatchReader.from_batches(numbers(1).schema, batches()))
    assert not any("metadata" in file.location for file in lake.list())


def test_a_value_refused_in_a_late_slab_stops_the_write(
    lake: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slabs, "SLAB_ROWS", 10)
    values = [1000] * 95 + [1]
    with pytest.raises(UnstorableError, match="000000001"):
        put(lake, pa.table({"t": pa.array(values, pa.timestamp("ns"))}))
    assert not any("metadata" in file.location for file in lake.list())


# appending


def test_an_append_shares_files_and_adds_to_the_version(lake: Storage) -> None:
    first = put(lake, numbers(10))
    written = append_table(lake, "t", numbers(5, start=10), previous=first)
    table = Table("t", written.location, lake)
    assert table.files()[0] == first.files()[0]
    assert table.to_arrow().equals(numbers(15))
    assert written == Written(table.location, str(content_of(numbers(15))), 15, table.bytes, 2)
    assert table.plain
    assert by_pyiceberg(table).scan(row_filter="id > 12").to_arrow()["id"].to_pylist() == [13, 14]
    assert len(table.metadata["snapshots"]) == 1
    assert first.to_arrow().equals(numbers(10))


def test_an_append_in_a_sandbox_shares_the_files_of_production(lake: Storage) -> None:
    first = put(lake, numbers(10))
    sandbox = lake.scoped(Scope.sandbox("fix"))
    written = append_table(sandbox, "t", numbers(1, start=10), previous=Table("t", first.location, sandbox))
    table = Table("t", written.location, sandbox)
    assert table.to_arrow().equals(numbers(11))
    assert "/_sandboxes/fix/" in written.location
    assert [("/_sandboxes/" in file.path) for file in table.files()] == [False, True]


def test_many_appends_keep_the_list_of_manifests_short(lake: Storage) -> None:
    table = put(lake, numbers(1))
    for i in range(1, 60):
        written = append_table(lake, "t", numbers(1, start=i), previous=table)
        table = Table("t", written.location, lake)
    assert len(table.manifests()) < 32
    assert len(table.files()) < 32, "small files are put together with their manifests"
    assert table.to_arrow().equals(numbers(60))
    assert table.to_arrow().equals(numbers(60).combine_chunks())
    iceberg = by_pyiceberg(table)
    assert iceberg.scan().to_arrow().num_rows == 60
    assert len(list(iceberg.scan(row_filter="id == 30").plan_files())) == 1
    assert len(iceberg.inspect.files()) == len(table.files())
    assert table.version == str(content_of(numbers(60)))


def test_an_append_widens_reorders_and_takes_nulls_but_no_other_columns(lake: Storage) -> None:
    first = put(lake, pa.table({"a": pa.array([1], pa.int64()), "b": ["x"], "c": [0.5]}))
    more = pa.table({"c": pa.array([1], pa.float32()), "b": pa.nulls(1), "a": pa.array([2], pa.int8())})
    for data in (more, pa.RecordBatchReader.from_batches(more.schema, more.to_batches())):
        table = Table("t", append_table(lake, "t", data, previous=first).location, lake)
        assert table.to_arrow().to_pylist() == [{"a": 1, "b": "x", "c": 0.5}, {"a": 2, "b": None, "c": 1.0}]
        assert table.version == str(content_of(table.to_arrow()))
    for wrong, told in (
        (more.drop_columns("a"), "missing: a"),
        (more.append_column("d", pa.array([1])), "not in the table: d"),
        (more.set_column(1, "b", pa.array([1])), "column b of t is string"),
        (more.set_column(2, "a", pa.array([1.5])), "column a of t is int64"),
    ):
        with pytest.raises(UnstorableError, match=told):
            append_table(lake, "t", wrong, previous=first)


def test_an_append_of_nothing_changes_nothing(lake: Storage) -> None:
    first = put(lake, numbers(3))
    before = sorted(file.location for file in lake.list())
    written = append_table(lake, "t", numbers(0), previous=first)
    assert (written.location, written.version, written.rows) == (first.location, first.version, 3)
    assert sorted(file.location for file in lake.list()) == before


# isolation, durability, start-up


def test_a_sandbox_writes_tables_in_its_folder_only(lake: Storage) -> None:
    sandbox = lake.scoped(Scope.sandbox("fix"))
    table = put(sandbox, numbers(3))
    assert all("/_sandboxes/fix/main/t/" in file.location for file in lake.list())
    assert table.to_arrow().equals(numbers(3))
    for scope in (Scope.read_only(), Scope.sweep()):
        with pytest.raises(IsolationError):
            put(lake.scoped(scope), numbers(3))


def test_properties_that_point_elsewhere_do_not_lead_our_writer_away(lake: Storage, tmp_path) -> None:
    sandbox = lake.scoped(Scope.sandbox("fix"))
    away = {"write.data.path": str(tmp_path / "away"), "write.metadata.path": f"{lake.warehouse}/main/t"}
    put(sandbox, numbers(3), properties=away)
    assert all("/_sandboxes/fix/" in file.location for file in lake.list())
    assert not (tmp_path / "away").exists()


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="names of descriptors are read from /proc")
def test_data_is_on_disk_before_metadata_is_written_and_metadata_before_the_write_returns(
    lake: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    fsync, create, put_bytes = os.fsync, Storage.create, Storage.put_bytes

    def spy_fsync(descriptor: int) -> None:
        events.append(("flush", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def spy_create(self: Storage, location: str) -> pa.NativeFile:
        events.append(("write", location))
        return create(self, location)

    def spy_put(self: Storage, location: str, data: bytes) -> str:
        events.append(("write", location))
        return put_bytes(self, location, data)

    monkeypatch.setattr(slabs, "SLAB_ROWS", 10)
    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Storage, "create", spy_create)
    monkeypatch.setattr(Storage, "put_bytes", spy_put)
    table = put(lake, numbers(35))
    folder = lake.table_folder("t")
    data = [file.path for file in table.files()]
    metadata = [place for kind, place in events if kind == "write" and "/metadata/" in place]
    assert len(data) == 4
    assert len(metadata) == 3
    first_metadata = events.index(("write", metadata[0]))
    for place in [*data, f"{folder}/data", folder, f"{lake.warehouse}/main", lake.warehouse]:
        assert events.index(("flush", place)) < first_metadata
    assert max(events.index(("flush", place)) for place in data) < events.index(("flush", f"{folder}/data"))
    last_write = events.index(("write", metadata[-1]))
    for place in [*metadata, f"{folder}/metadata"]:
        assert ("flush", place) in events[last_write:]
    assert metadata[-1] == table.location


def test_a_small_table_is_written_and_read_without_importing_pyiceberg(lake: Storage) -> None:
    program = """
import sys
import pyarrow as pa
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, append_table, write_table
storage = Storage(sys.argv[1], scope=Scope.environment())
data = pa.RecordBatch.from_arrays([pa.array([1, 2])], names=["a"])
reader = pa.RecordBatchReader.from_batches(data.schema, [data])
first = Table("t", write_table(storage, "t", reader).location, storage)
second = append_table(storage, "t", pa.table({"a": [3]}), previous=first)
assert Table("t", second.location, storage).to_arrow()["a"].to_pylist() == [1, 2, 3]
print([name for name in ("pyiceberg", "duckdb", "polars", "pydantic") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, lake.warehouse], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_writing_what_another_engine_made_loads_no_pandas(lake: Storage, tmp_path) -> None:
    """pyarrow loads it, where it is installed, to look at Python values: half a second for each worker."""
    file = tmp_path / "made.parquet"
    pq.write_table(numbers(10), file)
    program = """
import sys
import duckdb
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, append_table, write_table

storage = Storage(sys.argv[1], scope=Scope.environment())
with duckdb.connect() as connection:
    made = connection.sql(f"from '{sys.argv[2]}'").to_arrow_reader()
    first = Table("t", write_table(storage, "t", made, column_sets=[("id",)]).location, storage)
    more = connection.sql(f"from '{sys.argv[2]}'").to_arrow_reader()
    second = append_table(storage, "t", more, previous=first)
assert second.rows == 20
print("pandas" in sys.modules)
"""
    command = [sys.executable, "-c", program, lake.warehouse, file]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


# file assets


def test_a_file_asset_is_kept_under_its_own_name(lake: Storage, tmp_path) -> None:
    source = tmp_path / "model.pkl"
    source.write_bytes(b"weights")
    written = write_file_asset(lake, "marts.model", source)
    assert written.location.startswith(f"{lake.warehouse}/marts/model/")
    assert written.location.endswith("-model.pkl")
    assert lake.read_bytes(written.location) == b"weights"
    assert (written.version, written.rows, written.bytes) == (file_version(b"weights"), None, 7)
    again = write_file_asset(lake, "marts.model", b"weights", name="model.pkl")
    assert again.version == written.version
    assert again.location != written.location
    assert write_file_asset(lake, "marts.model", b"").location.endswith("-data")


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "a\\b"])
def test_a_file_asset_has_no_folder_in_its_name(lake: Storage, name: str) -> None:
    with pytest.raises(UnstorableError):
        write_file_asset(lake, "model", b"x", name=name)
