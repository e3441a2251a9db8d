"""Content versions: what they depend on, what they do not, and the values that they will always have."""

import datetime as dt
import decimal
import io
import random
import threading
import uuid
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_version import lanes as model_lanes
from model_version import of_bytes, sum_of

from anabranch.errors import LakeError, MissingFileError, UnstorableError
from anabranch.lake import lanes
from anabranch.lake.version import Content, ContentHasher, canonical_schema, content_of, file_version
from effort import effort

D = decimal.Decimal
UTC = dt.UTC
MOMENTS = [dt.datetime(1969, 12, 31, 23, 59, 59, 999_000), dt.datetime(2026, 11, 20, 9, 0, 0, 1000), None]
TIMES = [dt.time(0), dt.time(23, 59, 59, 999_000), None]
NARROW_DECIMALS = []
DAYS = [dt.date(1, 1, 1), dt.date(1970, 1, 1), dt.date(2026, 11, 20), None]
PRICES = [D("0.00"), D("-0.01"), D("12345.67"), None]
TEXTS = ["", "a", "a\0", "eight by", "nine byte", "sixteen bytes...", "Größe ≠ taille", "x" * 100, None]
if hasattr(pa, "decimal32"):  # older releases of Arrow have no such types
    NARROW_DECIMALS = [
        (pa.array(PRICES, pa.decimal32(7, 2)), pa.decimal128(7, 2)),
        (pa.array(PRICES, pa.decimal64(18, 2)), pa.decimal128(18, 2)),
    ]
POINT = pa.struct([("x", pa.int64()), ("name", pa.string())])

SAMPLES = {
    "bool": pa.array([True, False, None]),
    "int32": pa.array([0, 1, -1, 2**31 - 1, -(2**31), None], pa.int32()),
    "int64": pa.array([0, 1, -1, 2**63 - 1, -(2**63), None], pa.int64()),
    "uint64": pa.array([0, 1, 2**64 - 1, None], pa.uint64()),
    "float16": pa.array(np.array([0, 1.5, -2], np.float16)),
    "float32": pa.array([0.0, 0.1, float("inf"), float("nan"), None], pa.float32()),
    "float64": pa.array([0.0, 0.1, float("-inf"), float("nan"), 5e-324, None], pa.float64()),
    "decimal of few digits": pa.array(PRICES, pa.decimal128(7, 2)),
    "decimal of 38 digits": pa.array([D(10) ** 37, -(D(10) ** 37), None], pa.decimal128(38, 0)),
    "decimal of 76 digits": pa.array([D(10) ** 75, -(D(10) ** 75), None], pa.decimal256(76, 0)),
    "date": pa.array(DAYS, pa.date32()),
    "time": pa.array(TIMES, pa.time64("us")),
    "timestamp": pa.array(MOMENTS, pa.timestamp("us")),
    "timestamp with a zone": pa.array(MOMENTS, pa.timestamp("us", "UTC")),
    "duration": pa.array([0, -1, 86_400_000_000, None], pa.duration("us")),
    "interval": pa.array([(1, -2, 3_000), None], pa.month_day_nano_interval()),
    "string": pa.array(TEXTS, pa.string()),
    "binary": pa.array([b"", b"\0", b"\0" * 8, bytes(range(256)), None], pa.binary()),
    "fixed of 3": pa.array([b"abc", b"\0\0\0", None], pa.binary(3)),
    "fixed of 16": pa.array([bytes(range(16)), bytes(16), None], pa.binary(16)),
    "fixed of 72": pa.array([bytes(range(72)), bytes(72), None], pa.binary(72)),
    "uuid": pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([bytes(16), uuid.UUID(int=2**127 + 1).bytes, None], pa.binary(16))
    ),
    "null": pa.nulls(3),
    "list": pa.array([[1, 2], [2, 1], [None], [], None], pa.list_(pa.int32())),
    "list of lists": pa.array(
        [[["a"], []], [["a", None]], [None], [], None], pa.list_(pa.list_(pa.string()))
    ),
    "struct": pa.array([{"x": 1, "name": "a"}, {"x": None, "name": ""}, None], POINT),
    "list of structs": pa.array([[{"x": 1, "name": "a"}, None], [], None], pa.list_(POINT)),
    "map": pa.array([[("a", 1), ("b", None)], [], None], pa.map_(pa.string(), pa.int64())),
    "no rows": pa.array([], pa.int64()),
}

GOLDEN: dict[str, str] = {
    "bool": "ab1:bd51b0db4dea693c:3:bc4a0983aef70541c6b63d75bc28c275",
    "int32": "ab1:3342439f014bd327:6:bbc9e92e61af94dbc44635e6f7c1d8f4",
    "int64": "ab1:d67ef11ed35ba289:6:40e068fd6d0acaceaf1782cc5b1901eb",
    "uint64": "ab1:f6b4d76c27dee83e:4:b6870296ca481d2e9b95e3b0f601d105",
    "float16": "ab1:6ef083d096a957fc:3:23e1d4d78348826f8cf4b45cb7843763",
    "float32": "ab1:ac6f9a31b651057a:5:e7051a169f01cd42cfe6d7e7a027f301",
    "float64": "ab1:118bd82d73bf5d98:6:f14ee7b1c9238a87ccfb1d560b1a93a0",
    "decimal of few digits": "ab1:ed60eb05ff718cc3:4:e559e8dcae58e5383c8827c9f70a115a",
    "decimal of 38 digits": "ab1:1dae0d5ea63ddd0d:3:3b2cb1107695533183bb422f991277e4",
    "decimal of 76 digits": "ab1:97995257a9896724:3:d311ad5e84a89f0d7c12f200a1f298f9",
    "date": "ab1:5253996e5d15f03b:4:a92a50706951f2befadd356c328ac4ae",
    "time": "ab1:8c753fa8e420a02c:3:e610156f033de2e18315abd91adb1942",
    "timestamp": "ab1:4fbf253581e77571:3:79416e9b9da1fb7b6386049fc800e692",
    "timestamp with a zone": "ab1:c319cd6e2234df32:3:79416e9b9da1fb7b6386049fc800e692",
    "duration": "ab1:41da750c6851adc0:4:69926643b665958bf3dc6f734002cbbd",
    "interval": "ab1:756e97f6d6e14c4d:2:63ce502667d4b12124ef6d325fe87cb2",
    "string": "ab1:0256b4bb209a6a6b:9:4aff9b34853e2d942b3d725cf15bc250",
    "binary": "ab1:c707b7ada456f829:5:e3b5f73995fcb9c394d11100c3e99903",
    "fixed of 3": "ab1:a0ec54258716f9d7:3:3830a5517a0acf02b0ae01c9cb4d333f",
    "fixed of 16": "ab1:a06bedd473df57c9:3:9157737f51411486a34e12fd55d8d51b",
    "fixed of 72": "ab1:1a03b236831c627c:3:082b12bd7f3dd5ca8faf7967a9d031df",
    "uuid": "ab1:06b73ac71b52e261:3:b5c6198a32a1ce116fb51843b35f1edd",
    "null": "ab1:d2e6f929ac1360aa:3:3f6e266cb947ee0451543c32150758a8",
    "list": "ab1:986459e7de563b46:5:4cf249277ea0900a4205c63c6f0e7ba1",
    "list of lists": "ab1:a51935b928a84a91:5:f488d4be4471b9067bffabdc66c8e8bb",
    "struct": "ab1:9fbe5b2fe40d789f:3:41c0100eec0f9f7b6e41ffc75b1775bc",
    "list of structs": "ab1:e533f14ff22a49c0:3:6721cecf39c9c0e4b81805b4a70c99dc",
    "map": "ab1:1c0751773bfe9331:3:819ec1c67f65ffe063f685c7c3c9fdfc",
    "no rows": "ab1:d67ef11ed35ba289:0:00000000000000000000000000000000",
}


def table(array, name="c"):
    return pa.table({name: array})


def version(data):
    return str(content_of(data))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_version_is_what_it_always_was(name):
    """If this fails, every version ever stored is wrong: change the tag ALGORITHM, not the values below."""
    assert version(table(SAMPLES[name])) == GOLDEN[name]


def test_every_sample_has_its_known_version():
    assert GOLDEN.keys() == SAMPLES.keys()
    assert len(set(GOLDEN.values())) == len(GOLDEN)


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in ("duration", "interval")])
def test_a_version_is_what_the_definition_says(name):
    assert content_of(table(SAMPLES[name])).sum == sum_of(table(SAMPLES[name]))


# ---------------------------------------------------------------- what a version depends on, and what it does not


INTS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=30)
VALUES = {
    pa.int64(): INTS,
    pa.int8(): st.integers(-128, 127),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.string(): TEXT,
    pa.large_binary(): st.binary(max_size=40),
    pa.decimal128(20, 3): st.integers(-(10**15), 10**15).map(lambda n: D(n).scaleb(-3)),
    pa.date32(): st.dates(),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(UTC)),
    pa.list_(pa.string()): st.lists(st.none() | TEXT, max_size=4),
    pa.list_(pa.int16(), 2): st.lists(st.none() | st.integers(-9, 9), min_size=2, max_size=2),
    POINT: st.fixed_dictionaries({"x": st.none() | INTS, "name": st.none() | TEXT}),
    pa.map_(pa.string(), pa.list_(pa.int64())): st.lists(
        st.tuples(TEXT, st.none() | st.lists(INTS, max_size=3)), max_size=3
    ),
}


@st.composite
def tables(draw, least=0):
    """Tables of a few columns and up to 30 rows."""
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4))
    rows = draw(st.integers(least, 30))
    columns = [
        pa.array(draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows)), kind)
        for kind in kinds
    ]
    return pa.table(columns, names=[f"c{i}" for i in range(len(kinds))])


@given(tables())
def test_a_version_of_anything_is_what_the_definition_says(data):
    assert content_of(data).sum == sum_of(data)


@given(tables(), st.randoms())
def test_a_version_does_not_depend_on_the_order_of_rows(data, rng):
    order = list(range(data.num_rows))
    rng.shuffle(order)
    assert version(data.take(pa.array(order, pa.int64()))) == version(data)


@given(tables(), st.lists(st.integers(0, 30), max_size=4))
def test_a_version_does_not_depend_on_slices_and_batches(data, cuts):
    edges = [0, *sorted(min(cut, data.num_rows) for cut in cuts), data.num_rows]
    pieces = [data.slice(a, b - a) for a, b in pairwise(edges)]
    whole = content_of(data)
    assert content_of(pa.concat_tables(pieces)) == whole
    assert sum((content_of(piece) for piece in pieces), Content.empty(data.schema)) == whole
    batches = [batch for piece in pieces for batch in piece.to_batches()]
    reader = pa.RecordBatchReader.from_batches(data.schema, batches)
    assert content_of(reader) == whole
    if batches:
        assert content_of(iter(batches)) == whole


@given(tables(least=1), st.data())
def test_removing_a_row_and_adding_it_again_gives_the_version_of_the_whole(data, choice):
    at = choice.draw(st.integers(0, data.num_rows - 1))
    row = content_of(data.slice(at, 1))
    rest = content_of(pa.concat_tables([data.slice(0, at), data.slice(at + 1)]))
    assert content_of(data) - row == rest
    assert rest + row == content_of(data)


@given(tables(least=1), st.data())
def test_a_changed_cell_changes_the_version(data, choice):
    column = choice.draw(st.integers(0, data.num_columns - 1))
    row = choice.draw(st.integers(0, data.num_rows - 1))
    values = data.column(column).to_pylist()
    kind = data.schema.field(column).type
    new = choice.draw(st.none() | VALUES[kind])
    changed = data.set_column(
        column, data.schema.field(column), pa.array([*values[:row], new, *values[row + 1 :]], kind)
    )
    same = model_lanes(values[row], kind, 1) == model_lanes(new, kind, 1)
    assert (version(changed) == version(data)) is same


@given(tables())
def test_a_version_survives_parquet(data):
    # Arrow 18 can't read nulls among lists of a fixed size back.
    data = data.append_column("row", pa.array(range(data.num_rows)))
    data = data.select([f.name for f in data.schema if not pa.types.is_fixed_size_list(f.type)])
    # A Parquet file keeps Arrow's own schema; without it the file's types alone are left, as other engines see them.
    for store_schema in (True, False):
        file = io.BytesIO()
        pq.write_table(data, file, store_schema=store_schema)
        file.seek(0)
        back = pq.read_table(file)
        assert content_of(back).sum == content_of(data).sum
        assert version(back) == version(data)


@pytest.mark.parametrize(
    ("array", "other"),
    [
        (pa.array([1, -2, None], pa.int8()), pa.int32()),
        (pa.array([1, -2, None], pa.int16()), pa.int32()),
        (pa.array([1, 200, None], pa.uint8()), pa.int32()),
        (pa.array([1, 65535, None], pa.uint16()), pa.int32()),
        (pa.array([1, 2**32 - 1, None], pa.uint32()), pa.int64()),
        *NARROW_DECIMALS,
        (pa.array(PRICES, pa.decimal256(20, 2)), pa.decimal128(20, 2)),
        (pa.array(TEXTS, pa.large_string()), pa.string()),
        (pa.array(TEXTS, pa.string_view()), pa.string()),
        (pa.array([b"a" * 30, b"", None], pa.large_binary()), pa.binary()),
        (pa.array([b"a" * 30, b"", None], pa.binary_view()), pa.binary()),
        (pa.array(TEXTS + TEXTS, pa.string()).dictionary_encode(), pa.string()),
        (pa.array([1, 1, None, 2], pa.int64()).dictionary_encode(), pa.int64()),
        (pa.array([x and x.replace(microsecond=0) for x in MOMENTS], pa.timestamp("s")), pa.timestamp("us")),
        (pa.array(MOMENTS, pa.timestamp("ms")), pa.timestamp("us")),
        (pa.array(MOMENTS, pa.timestamp("ns")), pa.timestamp("us")),
        (pa.array(MOMENTS, pa.timestamp("ns", "Europe/Berlin")), pa.timestamp("us", "UTC")),
        (pa.array(DAYS[1:], pa.date64()), pa.date32()),
        (pa.array([dt.time(1, 2, 3), None], pa.time32("s")), pa.time64("us")),
        (pa.array(TIMES, pa.time32("ms")), pa.time64("us")),
        (pa.array(TIMES, pa.time64("ns")), pa.time64("us")),
        (pa.array([[1], [], None], pa.large_list(pa.int16())), pa.list_(pa.int32())),
        (pa.array([[1, 2], [None, 3], None], pa.list_(pa.int8(), 2)), pa.list_(pa.int32())),
        (pa.array([{"x": 1, "name": "a"}, None], POINT), POINT),
    ],
    ids=lambda value: str(value.type if isinstance(value, pa.Array) else value),
)
def test_data_has_one_version_before_and_after_the_lakes_widening(array, other):
    stored = table(pa.array(array.to_pylist(), other))
    for start in range(len(array) + 1):  # slices have offsets
        assert version(table(array.slice(start))) == version(stored.slice(start))
    assert (
        canonical_schema(table(array).schema).field("c").type
        == canonical_schema(stored.schema).field("c").type
    )
    listed = pa.array([array.to_pylist(), None, []], pa.list_(array.type))
    assert version(table(listed)) == version(table(pa.array(listed.to_pylist(), pa.list_(other))))


def test_run_ends_and_list_views_are_only_layouts():
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 5], pa.int32()), pa.array(["a", None]))
    assert version(table(runs)) == version(table(pa.array(["a", "a", None, None, None])))
    assert version(table(runs.slice(1, 2))) == version(table(pa.array(["a", None])))
    values = pa.array([10, 20, 30, None])
    views = pa.ListViewArray.from_arrays(
        pa.array([2, 0, 1, 0], pa.int32()),
        pa.array([2, 2, 3, 0], pa.int32()),
        values,
        mask=pa.array([False, True, False, False]),
    )
    assert version(table(views)) == version(table(pa.array([[30, None], None, [20, 30, None], []])))
    assert version(table(views.slice(2))) == version(table(pa.array([[20, 30, None], []])))


def test_nulls_inside_a_dictionary_are_nulls():
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), pa.array(["a", None]))
    assert version(table(array)) == version(table(pa.array(["a", None, None])))


def test_dictionaries_may_change_from_batch_to_batch():
    pieces = [pa.array(["b", "a"]).dictionary_encode(), pa.array(["a", "c"]).dictionary_encode()]
    hasher = ContentHasher(table(pieces[0]).schema)
    for piece in pieces:
        hasher.update(table(piece))
    assert hasher.content == content_of(table(pa.array(["b", "a", "a", "c"])))


def test_a_large_dictionary_of_which_few_values_are_used_changes_nothing():
    values = pa.array([f"value {i}" for i in range(5000)])
    array = pa.DictionaryArray.from_arrays(pa.array([4999, None, 0], pa.int32()), values)
    assert version(table(array)) == version(table(pa.array(["value 4999", None, "value 0"])))


def test_what_lies_behind_nulls_does_not_count():
    valid = pa.py_buffer(bytes([0b101]))
    for kind, given_a, given_b in (
        (pa.int64(), [1, 2, 3], [1, 9, 3]),
        (pa.float64(), [1.0, 2.0, 3.0], [1.0, 9.0, 3.0]),
    ):
        arrays = [
            pa.Array.from_buffers(kind, 3, [valid, pa.array(values, kind).buffers()[1]])
            for values in (given_a, given_b)
        ]
        assert (
            version(table(arrays[0]))
            == version(table(arrays[1]))
            == version(table(arrays[0].take([2, 1, 0])))
        )
    texts = [
        pa.Array.from_buffers(pa.string(), 3, [valid, *pa.array(values).buffers()[1:]])
        for values in (["a", "hidden", "b"], ["a", "", "b"])
    ]
    assert version(table(texts[0])) == version(table(texts[1]))
    children = [pa.array([1, 2]), pa.array([1, 7])]
    mask = pa.array([False, True])
    structs = [pa.StructArray.from_arrays([child], ["x"], mask=mask) for child in children]
    assert version(table(structs[0])) == version(table(structs[1]))
    lists = [pa.ListArray.from_arrays([0, 1, 2], child, mask=mask) for child in children]
    assert version(table(lists[0])) == version(table(lists[1])) == version(table(pa.array([[1], None])))


def test_minus_zero_is_zero_and_every_nan_is_one():
    nans = np.array([0x7FF8000000000000, 0xFFF8000000000001, 0x7FF0000000000001], np.uint64).view(np.float64)
    assert len({version(table(pa.array([nan]))) for nan in nans}) == 1
    assert version(table(pa.array([-0.0]))) == version(table(pa.array([0.0])))
    narrow = np.array([0x7FC00000, 0xFFC00001, 0x7F800001], np.uint32).view(np.float32)
    assert len({version(table(pa.array(narrow[i : i + 1]))) for i in range(3)}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([0], [None]),
        ([""], [None]),
        (["a"], ["a\0"]),
        ([b""], [b"\0"]),
        ([b"\0" * 8], [b"\0" * 16]),
        ([b"\0" * 7 + b"\x80" + b"\0" * 8], [b"\0" * 15 + b"\x80"]),
        ([b"12345678abcdefgh"], [b"abcdefgh12345678"]),
        ([0.0], [5e-324]),
        ([[]], [None]),
        ([[]], [[None]]),
        ([[1, 2]], [[2, 1]]),
        ([[1], [2, 3]], [[1, 2], [3]]),
        ([[[1], []]], [[[], [1]]]),
        ([[["a"]]], [[["a"], []]]),
        ([{"x": None}], [None]),
        ([{"x": 1, "y": 2}], [{"x": 2, "y": 1}]),
        ([1, 1], [1]),
        ([1, 1, 2], [1, 2, 2]),
        ([1, 1], [2, 2]),
    ],
)
def test_what_differs_has_another_version(one, other):
    kind = pa.array(one + other).type
    first, second = content_of(table(pa.array(one, kind))), content_of(table(pa.array(other, kind)))
    assert first.schema == second.schema
    assert first.sum >> 64 != second.sum >> 64
    assert first.sum % 2**64 != second.sum % 2**64


def test_names_types_and_order_of_columns_count_but_flags_and_metadata_do_not():
    a, b = pa.array([1, 2]), pa.array([3, 4])
    data = pa.table({"a": a, "b": b})
    others = [
        pa.table({"b": b, "a": a}),
        pa.table({"a": b, "b": a}),
        pa.table({"A": a, "b": b}),
        pa.table({"a": a.cast(pa.int32()), "b": b}),
        pa.table({"a": a.cast(pa.float64()), "b": b}),
        pa.table({"a": a}),
        pa.table({"a": a, "b": b, "c": a}),
    ]
    assert len({version(each) for each in [data, *others]}) == 1 + len(others)
    flags = pa.schema(
        [pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.int64(), metadata={"k": "v"})]
    )
    assert version(data.cast(flags).replace_schema_metadata({"pandas": "{}"})) == version(data)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.struct([("a", pa.int64())]), pa.struct([("b", pa.int64())])),
        (
            pa.struct([("a", pa.int64()), ("b", pa.int64())]),
            pa.struct([("b", pa.int64()), ("a", pa.int64())]),
        ),
        (pa.list_(pa.int64()), pa.list_(pa.int32())),
        (pa.string(), pa.binary()),
        (pa.binary(16), pa.uuid()),
        (pa.binary(16), pa.binary(17)),
        (pa.decimal128(10, 2), pa.decimal128(10, 3)),
        (pa.decimal128(10, 2), pa.decimal128(11, 2)),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.float32(), pa.float64()),
        (pa.int64(), pa.uint64()),
        (
            pa.map_(pa.string(), pa.int64()),
            pa.list_(pa.struct([("key", pa.string()), ("value", pa.int64())])),
        ),
    ],
    ids=str,
)
def test_types_that_hold_other_values_are_other_schemas(one, other):
    empty = [Content.empty(pa.schema([("c", kind)])) for kind in (one, other)]
    assert empty[0].schema != empty[1].schema


def test_the_names_inside_lists_and_maps_do_not_count():
    one = pa.list_(pa.field("item", pa.int64()))
    other = pa.large_list(pa.field("element", pa.int64(), nullable=False))
    assert Content.empty(pa.schema([("c", one)])) == Content.empty(pa.schema([("c", other)]))


def test_a_table_without_columns_still_counts_its_rows():
    one, two, many = (content_of(pa.table({"a": range(n)}).select([])) for n in (1, 2, 300_000))
    assert (one.rows, two.rows, many.rows) == (1, 2, 300_000)
    assert one + one == two
    assert many.sum >> 64 == (one.sum >> 64) * 300_000 % 2**64


def test_values_swapped_between_rows_change_the_version():
    for one, other in ((["a", "c"], ["b", "d"]), ([1, 2], [3, 4]), ([0.5, 1.5], [2.5, 3.5])):
        straight = pa.table({"x": one, "y": other})
        crossed = pa.table({"x": one, "y": other[::-1]})
        assert content_of(straight).sum >> 64 != content_of(crossed).sum >> 64
        assert content_of(straight).sum % 2**64 != content_of(crossed).sum % 2**64


# ---------------------------------------------------------------- other libraries


def test_pandas_polars_and_duckdb_give_the_version_of_the_same_data():
    duckdb = pytest.importorskip("duckdb")
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    data = pa.table(
        {
            "i": pa.array([1, 2, 3]),
            "f": pa.array([0.5, -1.0, 2.0]),
            "s": pa.array(["a", None, "a long enough string"]),
            "t": pa.array(MOMENTS, pa.timestamp("us")),
            "b": pa.array([True, False, True]),
        }
    )
    known = version(data)
    frame = data.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert version(pa.Table.from_pandas(frame)) == known
    assert version(polars.from_arrow(data).to_arrow()) == known
    assert version(polars.from_arrow(data).to_arrow(compat_level=polars.CompatLevel.newest())) == known
    with duckdb.connect() as connection:
        connection.register("data", data)
        assert version(connection.sql("from data order by i desc").to_arrow_table()) == known
    categories = polars.from_arrow(data).with_columns(polars.col("s").cast(polars.Categorical))
    assert version(categories.to_arrow()) == known


# ---------------------------------------------------------------- sizes


def test_blocks_and_regions_leave_no_seams():
    rng = random.Random(3)
    n = 2 * lanes.BLOCK + 77
    texts = [None if i % 11 == 0 else "é" * rng.choice([0, 1, 3, 9]) for i in range(n)]
    texts[5], texts[n - 3] = "long " * 3000, "longer " * 400_000
    data = pa.table(
        {
            "t": pa.array(texts, pa.large_string()),
            "l": pa.array([[i, None] if i % 3 else [] for i in range(n)]),
            "d": pa.array(texts[6 : n - 4] + ["", None] * 5, pa.string()).dictionary_encode(),
        }
    )
    pieces, at = Content.empty(data.schema), 0
    while at < n:
        size = rng.randrange(1, 3000)
        pieces += content_of(data.slice(at, size))
        at += size
    assert content_of(data) == pieces
    assert content_of(data.slice(100, 3)).sum == sum_of(data.slice(100, 3))


@pytest.mark.parametrize(
    "sizes", [[8 * lanes.BLOCK + 13], [60_000, 3, 0, 17], [200_000, 100, 150_001, 8], [300] * 7]
)
def test_long_strings_are_hashed_as_short_ones(sizes):
    octets = random.Random(5).randbytes(max(sizes))
    values = [octets[:size] for size in sizes]
    data = table(pa.array(values))
    assert content_of(data).sum == sum_of(data)
    filled = table(pa.array([*values, *[b"short"] * 3000]))
    assert content_of(filled) - content_of(table(pa.array([b"short"] * 3000))) == content_of(data)


def test_a_list_may_be_longer_than_a_block():
    values = list(range(lanes.BLOCK + 5))
    data = table(pa.array([[7], values, [], values[:9]]))
    assert content_of(data).sum == sum_of(data)


def test_many_small_batches_are_one_content():
    data = pa.table({"a": range(1000), "s": [str(i) for i in range(1000)]})
    assert content_of(data.to_batches(max_chunksize=7)) == content_of(data)


def test_hashers_of_several_threads_add_up():
    data = pa.table({"a": range(200_000), "s": [str(i % 999) for i in range(200_000)]})
    hashers = [ContentHasher(data.schema) for _ in range(2)]
    threads = [
        threading.Thread(target=hasher.update, args=(data.slice(i * 100_000, 100_000),))
        for i, hasher in enumerate(hashers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hashers[0].content + hashers[1].content == content_of(data)


# ---------------------------------------------------------------- quality


ROWS = 16_384


def lanes_of_rows(data):
    """Both lanes of each row of a table of at most a block."""
    from anabranch.lake.rowhash import Struct

    root = Struct(lanes.Scratch(), lanes.splitmix(0), "", [(f.name, f.type) for f in data.schema])
    root.bind_columns(data.combine_chunks().to_batches()[0].columns)
    return [lane.copy() for lane in root.cells(0, data.num_rows, 0)]


def structured(name):
    i = np.arange(ROWS)
    x, y = i % 128, i // 128
    return {
        "a sequence": {"a": i},
        "a sequence of floats": {"a": i.astype(float)},
        "a sequence of texts": {"a": i.astype(str)},
        "few high bits": {"a": i.astype(np.int64) << 50},
        "a grid": {"a": x, "b": y},
        "a grid of floats": {"a": x / 2, "b": y / 4},
        "a grid of high bits": {"a": x << 56, "b": y << 56},
        "a grid of three": {"a": i % 32, "b": i // 32 % 32, "c": i // 1024},
        "equal columns": {"a": i, "b": i, "c": i, "d": i},
        "opposite columns": {"a": i, "b": -i},
        "two letters far apart": {"a": [f"{chr(65 + a)}{'-' * 20}{chr(65 + b)}" for a, b in zip(x, y)]},
        "big-endian bytes": {"a": [int(a).to_bytes(8) + int(b).to_bytes(8) for a, b in zip(x, y)]},
        "lists of two": {"a": [[a, b] for a, b in zip(x.tolist(), y.tolist())]},
        "nulls": {"a": pa.array(x, mask=x == 0), "b": pa.array(y, mask=y == 0)},
    }[name]


SHAPES = [
    "a sequence", "a sequence of floats", "a sequence of texts", "few high bits", "a grid", "a grid of floats",
    "a grid of high bits", "a grid of three", "equal columns", "opposite columns", "two letters far apart",
    "big-endian bytes", "lists of two", "nulls",
]  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_structured_rows_collide_no_more_than_chance_in_any_half_of_a_lane(name):
    # 16,384 rows give 0.03 collisions in 32 bits by chance: three or more happen once in 200,000 times.
    for lane in lanes_of_rows(pa.table(structured(name))):
        for half in (lane & np.uint64(2**32 - 1), lane >> np.uint64(32)):
            assert len(half) - len(np.unique(half)) <= 2


@pytest.mark.parametrize("name", SHAPES)
def test_every_bit_of_a_lane_is_set_in_half_of_the_rows_and_no_two_go_together(name):
    first, second = lanes_of_rows(pa.table(structured(name)))
    words = np.stack([first, second], axis=1).view(np.uint8)
    signs = np.unpackbits(words, axis=1).astype(np.float64) * 2 - 1
    together = signs.T @ signs / len(signs)
    np.fill_diagonal(together, 0.0)
    bound = 6.5 / np.sqrt(len(signs))  # standard deviations; 8,128 pairs
    assert np.abs(signs.mean(axis=0)).max() < bound
    assert np.abs(together).max() < bound


@pytest.mark.parametrize("kind", ["int64", "float64", "string", "list", "second column"])
def test_a_flipped_bit_flips_half_of_both_lanes(kind):
    rng = np.random.default_rng(17)
    octets = rng.integers(0, 256, (64, 16), np.uint8)
    octets[:, 7] &= 0x3F  # no NaN among the floats

    def rows(data):
        if kind == "string":
            return pa.table({"a": [row.tobytes() for row in data]})
        words = data.view(np.int64)
        if kind == "list":
            return pa.table({"a": pa.array(words.tolist())})
        if kind == "second column":
            return pa.table({"a": words[:, 1], "b": words[:, 0]})
        return pa.table({"a": words[:, 0].view(kind)})

    base = lanes_of_rows(rows(octets))
    for bit in range(62):
        flipped = octets.copy()
        flipped[:, bit >> 3] ^= 1 << (bit & 7)
        for lane, before in zip(lanes_of_rows(rows(flipped)), base):
            changed = np.unpackbits((lane ^ before).view(np.uint8)).mean()
            assert 0.44 < changed < 0.56  # 4,096 bits: 7 standard deviations


def test_sums_over_crossed_values_do_not_cancel():
    """For no a, b, c, d do the rows (a, b), (c, d) sum up to (a, d), (c, b)."""
    i = np.arange(ROWS // 4)
    a, b, c, d = i % 64, i // 64, i % 64 + 64, i // 64 + 64
    for lane in lanes_of_rows(
        pa.table({"x": np.concatenate([a, c, a, c]), "y": np.concatenate([b, d, d, b])})
    ):
        first, second, third, fourth = np.split(lane, 4)
        rest = first + second - third - fourth
        assert not (rest & np.uint64(2**32 - 1) == 0).any()
        assert not (rest >> np.uint64(32) == 0).any()


# ---------------------------------------------------------------- the value, errors, files


def test_a_version_is_read_back_from_its_text():
    content = content_of(table(SAMPLES["string"]))
    assert Content.parse(str(content)) == content
    assert str(content).startswith(f"ab1:{content.schema}:{content.rows}:")
    assert len(str(content).rsplit(":", 1)[1]) == 32


@pytest.mark.parametrize(
    "text", ["", "ab1:", "ab2:0123456789abcdef:1:" + "0" * 32, "ab1:0123456789abcdef:-1:" + "0" * 32]
)
def test_what_is_no_version_is_not_read(text):
    with pytest.raises(LakeError, match="is not a content version") as caught:
        Content.parse(text)
    assert caught.value.hint


def test_the_lanes_wrap_each_by_itself():
    one = Content("0" * 16, 1, (2**64 - 1) << 64 | (2**64 - 1))
    assert (one + one).sum == (2**64 - 2) << 64 | (2**64 - 2)
    assert one + one - one == one
    assert (one - one).sum == 0


def test_contents_of_different_schemas_are_not_combined():
    one, other = content_of(pa.table({"a": [1]})), content_of(pa.table({"b": [1]}))
    for combine in (lambda: one + other, lambda: one - other):
        with pytest.raises(LakeError, match="different schemas") as caught:
            combine()
        assert caught.value.hint


def test_more_rows_than_there_are_can_not_be_taken():
    one = content_of(pa.table({"a": [1]}))
    with pytest.raises(LakeError, match="2 rows can't be taken from a content of 1"):
        one - (one + one)


def test_a_batch_of_other_columns_is_refused_by_name():
    hasher = ContentHasher(pa.schema([("a", pa.int64()), ("b", pa.string())]))
    with pytest.raises(LakeError, match="b is int64 instead of string"):
        hasher.update(pa.table({"a": [1], "b": [2]}))
    with pytest.raises(LakeError, match=r"\['a'\] instead of \['a', 'b'\]"):
        hasher.update(pa.table({"a": [1]}))
    assert hasher.content.rows == 0


def test_no_batches_have_no_version():
    with pytest.raises(LakeError, match="no schema") as caught:
        content_of(iter([]))
    assert "Content.empty" in caught.value.hint


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (pa.array([None, 1_000, 1_001], pa.timestamp("ns")), r"a timestamp\[ns\] between microseconds: 1001"),
        (pa.array([None, 1_001], pa.time64("ns")), r"a time64\[ns\] between microseconds: 1001"),
        (
            pa.array([2**62], pa.timestamp("s")),
            r"a timestamp\[s\] outside the range of microseconds in 64 bits",
        ),
        (
            pa.array([-(2**63)], pa.timestamp("ms")),
            r"a timestamp\[ms\] outside the range of microseconds in 64 bits",
        ),
        (pa.array([1], pa.int64()).view(pa.date64()), r"a date64\[ms\] between midnights: 1"),
    ],
)
def test_what_microseconds_can_not_hold_is_refused_by_column(array, words):
    data = pa.table({"s": pa.StructArray.from_arrays([array], ["at"])})
    with pytest.raises(UnstorableError, match=f"the column s.at holds {words}") as caught:
        content_of(data)
    assert caught.value.hint
    assert caught.value.facts == {"column": "s.at"}


def test_a_hidden_part_of_a_microsecond_behind_a_null_does_no_harm():
    hidden = pa.Array.from_buffers(
        pa.timestamp("ns"), 2, [pa.py_buffer(b"\x01"), pa.array([1_000, 1_001]).buffers()[1]]
    )
    assert version(table(hidden)) == version(table(pa.array([1, None], pa.timestamp("us"))))


def test_a_union_is_refused_by_its_path():
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    kind = pa.list_(pa.struct([("u", union.type)]))
    with pytest.raises(UnstorableError, match=r"the column c\.element\.u has the type sparse_union"):
        canonical_schema(pa.schema([("c", kind)]))


def test_the_canonical_schema_is_its_own_canonical_schema():
    for array in SAMPLES.values():
        once = canonical_schema(table(array).schema)
        assert canonical_schema(once) == once


def test_a_files_version_is_the_hash_of_its_bytes(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"abc")
    known = "f1:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_version(path) == file_version(str(path)) == file_version(b"abc") == known
    with path.open("rb") as file:
        assert file_version(file) == known
    assert file_version(io.BytesIO(b"abc")) == known


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere") as caught:
        file_version(tmp_path / "nowhere")
    assert caught.value.hint


def test_a_machine_that_computes_otherwise_is_refused(monkeypatch):
    from anabranch.lake import version as module

    monkeypatch.setattr(module, "_KNOWN", "ab1:something else")
    check = module._check_arithmetic.__wrapped__
    with pytest.raises(LakeError, match="computes other content versions"):
        check()


def test_big_endian_machines_are_refused(monkeypatch):
    monkeypatch.setattr("sys.byteorder", "big")
    with pytest.raises(LakeError, match="little-endian"):
        lanes.Scratch()


@settings(max_examples=effort(20))
@given(st.binary(max_size=70), st.integers(0, 2**64 - 1))
def test_bytes_of_every_length_are_hashed_as_defined(octets, seed):
    from anabranch.lake.rowhash import make_node

    array = pa.array([b"x" * (len(octets) % 9), octets, b"y"]).slice(1)
    node = make_node(lanes.Scratch(), seed, "c", array.type)
    node.bind(array)
    a, b = node.cells(0, 2, 0)
    assert (int(a[0]), int(b[0])) == of_bytes(octets, seed)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(0, 3))
def test_pieces_of_a_table_have_the_contents_they_have_alone(lengths: list[int], chunk: int) -> None:
    total = sum(lengths)
    table = pa.table(
        {"a": pa.array(range(total), pa.int64()), "b": pa.array([f"x{i % 7}" for i in range(total)])}
    )
    if chunk and total:
        table = pa.concat_tables([table.slice(at, chunk) for at in range(0, total, chunk)])
    found = ContentHasher(table.schema, [("b",)]).pieces(table, lengths)
    at = 0
    for length, (content, columns) in zip(lengths, found, strict=True):
        piece = table.slice(at, length)
        assert content == content_of(piece)
        assert columns["b"] == content_of(piece.select(["b"]))
        at += length


def test_pieces_may_be_longer_than_a_block() -> None:
    table = pa.table({"a": pa.array(range(150_000), pa.int64())})
    lengths = [1, 40_000, 0, 70_000, 39_999]
    found = [content for content, _ in ContentHasher(table.schema).pieces(table, lengths)]
    ends = [sum(lengths[: at + 1]) for at in range(len(lengths))]
    assert found == [content_of(table.slice(end - n, n)) for end, n in zip(ends, lengths, strict=True)]
