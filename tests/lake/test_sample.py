"""Which rows a sample is made of: the same ones for every reader, type, process and release."""

from __future__ import annotations

import itertools
import pickle
import shutil
from fractions import Fraction
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from anabranch.errors import AnabranchError, LakeError
from anabranch.lake.sample import SampledTable, Sampler, written_sample
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import write_table
from anabranch.sample import Sample, parse_sample

ROWS = 20_000
FIFTH = Sample(Fraction(1, 5), "customer")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "warehouse", scope=Scope.environment())


def sampled(storage: Storage, key: str, data: pa.Table, sample: Sample = FIFTH) -> SampledTable:
    done = write_table(storage, key, data)
    return SampledTable(key, done.location, storage, done.version, sample=sample)


@pytest.fixture
def orders(storage: Storage) -> SampledTable:
    customers = [None if row % 47 == 0 else row % 1000 for row in range(ROWS)]
    return sampled(
        storage, "orders", pa.table({"row": range(ROWS), "customer": pa.array(customers, pa.int64())})
    )


def chosen(
    values: list, kind: pa.DataType, by: str = "customer", share: Fraction = Fraction(1, 5)
) -> list[bool]:
    return Sampler(Sample(share, by), kind).mask(pa.array(values, kind)).to_pylist()


def test_the_choice_is_written_down():
    assert (
        "".join(map(str, map(int, chosen(list(range(40)), pa.int64()))))
        == "1000001000010010000100001000011000000100"
    )
    assert (
        "".join(map(str, map(int, chosen([f"c{n}" for n in range(40)], pa.string()))))
        == "1100101001001000100001000110000000000100"
    )


def test_a_share_is_about_that_share_and_a_smaller_one_is_part_of_it():
    numbers = list(range(20_000))
    shares = [Fraction(1, 100), Fraction(1, 20), Fraction(1, 2)]
    masks = [chosen(numbers, pa.int64(), share=share) for share in shares]
    for share, mask in zip(shares, masks, strict=True):
        assert abs(sum(mask) - share * 20_000) < 0.1 * share * 20_000 + 60
    for small, large in itertools.pairwise(masks):
        assert all(b for a, b in zip(small, large, strict=True) if a)


def test_types_that_hold_the_same_values_have_the_same_rows_chosen():
    numbers = list(range(500))
    assert chosen(numbers, pa.int32()) == chosen(numbers, pa.int64())
    texts = [str(n) for n in numbers]
    assert chosen(texts, pa.string()) == chosen(texts, pa.large_string()) != chosen(numbers, pa.int64())
    assert chosen(numbers, pa.int64(), by="order") != chosen(numbers, pa.int64())


def test_every_reader_reads_the_same_rows(orders):
    whole = orders.to_arrow()
    rows = whole["row"].to_pylist()
    assert 0 < len(rows) < ROWS
    assert orders.rows == len(rows)
    assert orders.to_polars()["row"].to_list() == rows
    assert orders.to_lazy().collect()["row"].to_list() == rows
    assert orders.to_pandas()["row"].tolist() == rows
    assert orders.to_dataset().to_table()["row"].to_pylist() == rows
    assert orders.to_duckdb().order("row").fetchnumpy()["row"].tolist() == rows
    assert pickle.loads(pickle.dumps(orders)).to_arrow()["row"].to_pylist() == rows
    assert orders.to_arrow(limit=7)["row"].to_pylist() == rows[:7]


def test_columns_and_filters_are_pushed_down_without_the_key_among_them(orders):
    rows = [row for row in orders.to_arrow()["row"].to_pylist() if row > 10_000]
    assert orders.to_arrow(["row"], filter="row > 10000").to_pydict() == {"row": rows}
    assert orders.to_lazy().select("row").collect().columns == ["row"]


def test_tables_that_share_a_key_keep_their_partners(storage, orders):
    names = pa.table({"customer": pa.array(range(1000), pa.int32()), "name": [f"n{n}" for n in range(1000)]})
    customers = sampled(storage, "customers", names)
    bought = {value for value in orders.to_arrow()["customer"].to_pylist() if value is not None}
    assert bought == set(customers.to_arrow()["customer"].to_pylist())


def test_views_of_one_connection_read_the_same_sample_again_and_again(storage, orders):
    other = sampled(storage, "marts.others", pa.table({"customer": pa.array(range(1000), pa.int64())}))
    connection = duckdb.connect()
    for _ in range(2):
        cursor = connection.cursor()
        cursor.execute("ATTACH ':memory:' AS step")
        cursor.execute("USE step")
        orders.create_view(cursor, "orders")
        other.create_view(cursor, "marts.others")
        query = "select count(distinct a.customer) from orders a join marts.others b using (customer)"
        assert cursor.sql(query).fetchall() == [(other.rows,)]
        assert cursor.sql("select count(*) from orders").fetchall() == [(orders.rows,)]
        cursor.execute("USE memory")
        cursor.execute("DETACH step")
        cursor.close()


def test_rows_without_a_key_are_all_read(orders):
    assert orders.to_arrow()["customer"].null_count == 426


def test_what_can_not_be_sampled_is_refused(storage, orders):
    with pytest.raises(LakeError, match="no Iceberg table of its own"):
        orders.to_iceberg()
    wrong = SampledTable("orders", orders.location, storage, sample=Sample(Fraction(1, 5), "nobody"))
    with pytest.raises(LakeError, match="no column 'nobody'"):
        wrong.to_arrow()
    with pytest.raises(LakeError, match="rows can't be chosen by parts"):
        Sampler(Sample(Fraction(1, 5), "parts"), pa.list_(pa.int64()))


def test_a_sample_can_be_a_table_of_its_own_for_those_who_read_files(orders, tmp_path):
    folder = tmp_path / "apart"
    table = written_sample(orders, folder)
    assert table.to_arrow() == orders.to_arrow()
    shutil.rmtree(folder)


@pytest.mark.parametrize("text", ["", "5", "0%", "101%", "5 percent", "-1%", "%"])
def test_what_is_no_share_is_told(text):
    with pytest.raises(AnabranchError, match="is no share"):
        parse_sample(text)


def test_all_rows_are_no_sample():
    assert parse_sample("100%") is parse_sample("none") is None
    assert str(parse_sample("0.5 %", "id")) == "0.5 % sample by id"
    assert parse_sample("5%", "id").to_dict() == {"share": "5%", "by": "id"}
