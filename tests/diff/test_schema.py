"""The schema's diff: what is told, and what counts as compatible."""

import json

import pyarrow as pa
import pytest

from anabranch.diff.schema import compare_schemas, widens


def diff(left, right, left_ids=None, right_ids=None):
    left, right = pa.schema(left), pa.schema(right)
    number = lambda schema: {name: index for index, name in enumerate(schema.names, 1)}
    return compare_schemas(left, left_ids or number(left), right, right_ids or number(right))


def names(fields):
    return [field.name for field in fields]


def renames(found):
    return [(old.name, new.name) for old, new in found.renamed]


def test_equal_schemas_differ_in_nothing():
    found = diff([("a", pa.int64()), ("b", pa.string())], [("a", pa.int64()), ("b", pa.string())])
    assert not found.changed
    assert found.compatible


def test_an_added_column_is_told_and_compatible():
    found = diff([("a", pa.int64())], [("a", pa.int64()), ("b", pa.string())])
    assert names(found.added) == ["b"]
    assert found.added[0].type == "string"
    assert found.changed
    assert found.compatible


def test_a_removed_column_is_told_and_not_compatible():
    found = diff([("a", pa.int64()), ("b", pa.string())], [("a", pa.int64())])
    assert names(found.removed) == ["b"]
    assert not found.compatible


def test_a_rename_is_known_by_its_field_id():
    found = diff(
        [("id", pa.int64()), ("old", pa.string())],
        [("id", pa.int64()), ("new", pa.string())],
        {"id": 1, "old": 2},
        {"id": 1, "new": 2},
    )
    assert renames(found) == [("old", "new")]
    assert not found.added
    assert not found.removed
    assert not found.compatible


def test_the_only_column_may_be_renamed():
    found = diff([("old", pa.int64())], [("new", pa.int64())], {"old": 1}, {"new": 1})
    assert renames(found) == [("old", "new")]


def test_a_rename_may_free_a_name_for_a_new_column():
    found = diff(
        [("id", pa.int64()), ("a", pa.string())],
        [("id", pa.int64()), ("b", pa.string()), ("c", pa.int64()), ("a", pa.string())],
        {"id": 1, "a": 2},
        {"id": 1, "b": 2, "c": 3, "a": 4},
    )
    # id agrees, a does not: half is no majority, so the names decide.
    assert renames(found) == []
    found = diff(
        [("id", pa.int64()), ("k", pa.int64()), ("a", pa.string())],
        [("id", pa.int64()), ("k", pa.int64()), ("b", pa.string()), ("a", pa.string())],
        {"id": 1, "k": 2, "a": 3},
        {"id": 1, "k": 2, "b": 3, "a": 4},
    )
    assert renames(found) == [("a", "b")]
    assert names(found.added) == ["a"]


def test_a_table_made_anew_is_matched_by_names_not_by_its_fresh_ids():
    found = diff(
        [("a", pa.int64()), ("b", pa.int64()), ("c", pa.int64())],
        [("b", pa.int64()), ("c", pa.int64())],
        {"a": 1, "b": 2, "c": 3},
        {"b": 1, "c": 2},
    )
    assert renames(found) == []
    assert names(found.removed) == ["a"]


def test_a_column_dropped_and_made_again_is_one_column_by_its_name():
    found = diff(
        [("id", pa.int64()), ("k", pa.int64()), ("a", pa.int64())],
        [("id", pa.int64()), ("k", pa.int64()), ("a", pa.string())],
        {"id": 1, "k": 2, "a": 3},
        {"id": 1, "k": 2, "a": 9},
    )
    assert [(old.type, new.type) for old, new in found.retyped] == [("int64", "string")]
    assert not found.added
    assert not found.removed


def test_without_field_ids_names_decide():
    found = compare_schemas(pa.schema([("a", pa.int64())]), {}, pa.schema([("b", pa.int64())]), {})
    assert names(found.added) == ["b"]
    assert names(found.removed) == ["a"]


def test_a_new_order_of_columns_is_told_and_compatible():
    found = diff(
        [("a", pa.int64()), ("b", pa.int64())],
        [("b", pa.int64()), ("a", pa.int64())],
        {"a": 1, "b": 2},
        {"a": 1, "b": 2},
    )
    assert found.reordered
    assert found.changed
    assert found.compatible


def test_a_column_added_in_front_is_no_new_order():
    found = diff(
        [("a", pa.int64()), ("b", pa.int64())],
        [("new", pa.int64()), ("a", pa.int64()), ("b", pa.int64())],
        {"a": 1, "b": 2},
        {"new": 3, "a": 1, "b": 2},
    )
    assert not found.reordered


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pa.int32(), pa.int64()),
        (pa.float32(), pa.float64()),
        (pa.decimal128(9, 2), pa.decimal128(12, 2)),
        (pa.list_(pa.int32()), pa.list_(pa.int64())),
        (pa.map_(pa.string(), pa.float32()), pa.map_(pa.string(), pa.float64())),
        (pa.struct([("a", pa.int32())]), pa.struct([("a", pa.int64()), ("b", pa.string())])),
    ],
)
def test_a_widening_is_compatible_and_its_reverse_is_not(old, new):
    there, back = diff([("a", old)], [("a", new)]), diff([("a", new)], [("a", old)])
    assert len(there.retyped) == len(back.retyped) == 1
    assert there.compatible
    assert not back.compatible


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pa.int64(), pa.float64()),
        (pa.int64(), pa.string()),
        (pa.decimal128(9, 2), pa.decimal128(12, 3)),
        (pa.timestamp("us"), pa.timestamp("us", tz="UTC")),
        (pa.date32(), pa.timestamp("us")),
        (pa.list_(pa.int32()), pa.int32()),
        (pa.struct([("a", pa.int32())]), pa.struct([("b", pa.int32())])),
    ],
)
def test_any_other_change_of_type_is_not_compatible(old, new):
    assert not widens(old, new)
    assert not diff([("a", old)], [("a", new)]).compatible


def test_a_column_may_become_optional_but_not_required():
    optional, required = pa.field("a", pa.int64()), pa.field("a", pa.int64(), nullable=False)
    assert diff([required], [optional]).compatible
    tightened = diff([optional], [required])
    assert tightened.retyped[0][1].type == "int64 not null"
    assert not tightened.compatible


def test_the_schema_diff_is_plain_json():
    found = diff(
        [("a", pa.int32()), ("b", pa.int64()), ("k", pa.int64())],
        [("a", pa.int64()), ("c", pa.int64()), ("k", pa.int64())],
        {"a": 1, "b": 2, "k": 3},
        {"a": 1, "c": 2, "k": 3},
    )
    told = json.loads(json.dumps(found.to_dict()))
    assert told["changed"] is True
    assert told["compatible"] is False
    assert told["renamed"] == [
        {"old": {"name": "b", "id": 2, "type": "int64"}, "new": {"name": "c", "id": 2, "type": "int64"}}
    ]
    assert told["widened"] == ["a"]
