"""Avro and manifests: readable by pyiceberg, figures as pyiceberg would write them, bounds that never lie."""

from __future__ import annotations

import decimal
import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake_data import every_type, numbers
from pyiceberg.conversions import from_bytes
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.schema import Schema
from pyiceberg.table import StaticTable

from anabranch.lake import avro, manifest
from anabranch.lake import write as write_module
from anabranch.lake.fields import arrow_schema, assign_fields, field_ids, leaves, name_mapping
from anabranch.lake.storage import Storage
from anabranch.lake.tables import Table, append_table, storable_schema, write_table

RECORD = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "n", "type": "long", "field-id": 1},
        {"name": "text", "type": ["null", "string"], "field-id": 2},
        {"name": "raw", "type": "bytes", "field-id": 3},
        {"name": "flag", "type": "boolean", "field-id": 4},
        {"name": "many", "type": ["null", {"type": "array", "items": "int"}], "field-id": 5},
    ],
}
ROWS = st.fixed_dictionaries(
    {
        "n": st.integers(-(2**63), 2**63 - 1),
        "text": st.none() | st.text(),
        "raw": st.binary(),
        "flag": st.booleans(),
        "many": st.none() | st.lists(st.integers(-(2**31), 2**31 - 1)),
    }
)


@given(st.lists(ROWS))
def test_avro_comes_back_as_it_went_in(rows: list[dict[str, object]]) -> None:
    data = avro.encode(avro.Schema(RECORD), rows, {"extra": "ü"})
    back, header = avro.decode(data)
    assert back == rows
    assert header["extra"] == "ü"


def test_fields_are_found_by_their_id_whatever_they_are_called() -> None:
    data = avro.encode(avro.Schema(RECORD), [{"n": 1, "raw": b"", "flag": True}], {})
    assert avro.decode(data, {1: "number", 99: "x"})[0][0]["number"] == 1


@given(st.data())
def test_a_damaged_avro_file_is_told_and_never_believed(data: st.DataObject) -> None:
    whole = avro.encode(avro.Schema(RECORD), [{"n": i, "raw": b"x" * i, "flag": True} for i in range(20)], {})
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        rows, _ = avro.decode(whole[:cut])
    except avro.AvroError:
        return
    assert rows == []  # cut where the first block would begin, which an empty file looks like


def test_a_codec_that_is_not_read_here_is_told() -> None:
    data = avro.encode(avro.Schema(RECORD), [], {"avro.codec": "zstandard"})
    with pytest.raises(avro.AvroError, match="zstandard"):
        avro.decode(data)


@pytest.mark.parametrize("codec", ["zstandard", "snappy", "bzip2", "deflate", "null"])
def test_manifests_of_any_codec_are_read(lake: Storage, codec: str) -> None:
    from anabranch.catalog.memory import MemoryCatalog
    from anabranch.lake.iceberg import BranchCatalog

    if codec == "snappy":
        pytest.importorskip("cramjam")
    catalog = MemoryCatalog()
    catalog.open_branch("production", kind="environment")
    iceberg = BranchCatalog(catalog, "production", lake)
    table = iceberg.create_table("t", numbers(1).schema, properties={"write.avro.compression-codec": codec})
    table.append(numbers(10))
    table.append(numbers(10, start=10))
    entry = catalog.get(iceberg.point, "t")
    assert entry is not None
    handle = Table("t", entry.location, lake, entry.version)
    assert handle.to_arrow().num_rows == 20
    for _ in range(17):
        handle = Table("t", append_table(lake, "t", numbers(1), previous=handle).location, lake)
    assert handle.rows == 37
    assert StaticTable.from_metadata(handle.location).scan().to_arrow().num_rows == 37


def statistics_of(table: Table) -> tuple[dict[str, object], dict[str, object]]:
    """Our figures for a table's one file, and pyiceberg's."""
    (entry,) = table.entries()
    ours = entry["data_file"]
    schema = Schema.model_validate(table.current_schema)
    theirs = data_file_statistics_from_parquet_metadata(
        pq.read_metadata(ours["file_path"]),
        compute_statistics_plan(schema, {}),
        parquet_path_to_id_mapping(schema),
    ).to_serialized_dict()
    names = ("column_sizes", "value_counts", "null_value_counts", "lower_bounds", "upper_bounds")
    mine = {name: {pair["key"]: pair["value"] for pair in ours[name]} for name in names}
    mine |= {"record_count": ours["record_count"], "split_offsets": ours["split_offsets"]}
    return mine, theirs


def test_figures_are_those_that_pyiceberg_would_write(lake: Storage) -> None:
    data = every_type().drop_columns(["id", "local", "instant"])
    table = Table("t", write_table(lake, "t", data).location, lake)
    ours, theirs = statistics_of(table)
    for name in ours:
        assert ours[name] == theirs[name], name


def test_figures_of_many_row_groups_are_those_of_all(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_module, "GROUP_ROWS", 7)
    rng = random.Random(1)
    ids = list(range(-50, 50))
    rng.shuffle(ids)
    data = pa.table(
        {
            "n": ids,
            "sums": pa.array(ids, pa.int64()).cast(pa.decimal128(19, 0)).cast(pa.decimal128(18, 0)),
            "money": pa.array(ids, pa.int64()).cast(pa.decimal128(30, 2)),
            "cents": pa.array([decimal.Decimal(i) / 4 for i in ids], pa.decimal128(9, 2)),
            "text": [f"{chr(100 + i % 7)}{'z' * (i % 30)}" for i in ids],
            "f": [i / 3 for i in ids],
            "day": pa.array(ids, pa.int32()).cast(pa.date32()),
        }
    )
    table = Table("t", write_table(lake, "t", data).location, lake)
    ours, theirs = statistics_of(table)
    for name in ours:
        assert ours[name] == theirs[name], name


def test_nan_are_counted_and_are_no_bound(lake: Storage) -> None:
    data = pa.table(
        {"f": [float("nan"), 1.0, None, 3.0, float("nan")], "all": pa.array([float("nan")] * 5, pa.float32())}
    )
    table = Table("t", write_table(lake, "t", data).location, lake)
    file = table.entries()[0]["data_file"]
    assert file["nan_value_counts"] == [{"key": 1, "value": 2}, {"key": 2, "value": 5}]
    assert [pair["key"] for pair in file["lower_bounds"]] == [1]
    iceberg = StaticTable.from_metadata(table.location)
    assert iceberg.scan(row_filter="f >= 3").to_arrow()["f"].to_pylist() == [3.0]
    assert len(list(iceberg.scan(row_filter="f > 3").plan_files())) == 0


def test_uuids_have_no_bounds(lake: Storage) -> None:
    table = Table("t", write_table(lake, "t", every_type().select(["id"])).location, lake)
    assert table.entries()[0]["data_file"]["lower_bounds"] == []


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=25), min_size=1))
def test_bounds_of_texts_hold_every_text(texts: list[str]) -> None:
    low, high = bounds(pa.array(texts, pa.string()))
    assert all(low <= text.encode() for text in texts)
    assert high is None or all(text.encode() <= high for text in texts)
    assert high is not None or "\U0010ffff" in max(texts)


@given(st.lists(st.binary(max_size=25), min_size=1))
def test_bounds_of_binaries_hold_every_binary(values: list[bytes]) -> None:
    low, high = bounds(pa.array(values, pa.binary()))
    assert all(low <= value for value in values)
    assert high is None or all(value <= high for value in values)


@given(st.lists(st.decimals(min_value=-(10**10), max_value=10**10, places=2), min_size=1))
def test_bounds_of_decimals_are_the_extremes(values: list[object]) -> None:
    from pyiceberg.types import DecimalType

    low, high = bounds(pa.array(values, pa.decimal128(38, 2)))
    assert from_bytes(DecimalType(38, 2), low) == min(values)
    assert from_bytes(DecimalType(38, 2), high) == max(values)


def bounds(array: pa.Array) -> tuple[bytes, bytes | None]:
    """The bounds that are written for a column."""
    schema = storable_schema(pa.schema([("c", array.type)]))
    fields, _ = assign_fields(schema)
    iceberg = {"type": "struct", "schema-id": 0, "fields": fields}
    sink = io.BytesIO()
    target = arrow_schema(iceberg, ids=True)
    with pq.ParquetWriter(sink, target, store_schema=False, store_decimal_as_integer=True) as writer:
        writer.write_table(pa.table([array], schema=target), row_group_size=3)
    entry = manifest.added_entry("x", 1, writer.writer.metadata, leaves(iceberg), {}, 1)
    low = {pair["key"]: pair["value"] for pair in entry["data_file"]["lower_bounds"]}
    high = {pair["key"]: pair["value"] for pair in entry["data_file"]["upper_bounds"]}
    return low[1], high.get(1)


def test_a_text_too_long_for_parquet_s_own_figures_has_no_bound(lake: Storage) -> None:
    table = Table("t", write_table(lake, "t", pa.table({"s": ["a", "z" * 10_000]})).location, lake)
    assert StaticTable.from_metadata(table.location).scan(row_filter="s > 'y'").to_arrow().num_rows == 1


# schemas


def test_schemas_and_mappings_are_those_that_pyiceberg_makes() -> None:
    from pyiceberg.table.name_mapping import create_mapping_from_schema

    schema = storable_schema(every_type().schema)
    fields, last = assign_fields(schema)
    iceberg = {"type": "struct", "schema-id": 3, "fields": fields}
    parsed = Schema.model_validate(iceberg)
    assert parsed.highest_field_id == last
    assert arrow_schema(iceberg).equals(schema, check_metadata=True)
    assert field_ids(iceberg) == {name: parsed.find_field(name).field_id for name in field_ids(iceberg)}
    mapping = create_mapping_from_schema(parsed).model_dump(by_alias=True)
    assert [_bare(each) for each in name_mapping(iceberg)] == [_bare(each) for each in mapping]


def _bare(node: dict[str, object]) -> dict[str, object]:
    return {
        name: [_bare(each) for each in value] if name == "fields" else value
        for name, value in node.items()
        if value
    }


def test_ids_are_given_once(lake: Storage) -> None:
    fields, last = assign_fields(storable_schema(every_type().schema))
    ids = list(field_ids({"type": "struct", "fields": fields}).values())
    assert sorted(ids) == list(range(1, last + 1))
