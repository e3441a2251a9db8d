"""What each rule does to a value: the same for the same value under one key, of the same type, and not to be taken back."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.columns import parse_rule
from anabranch.errors import AnabranchError, MaskError
from anabranch.masking.cipher import Key, siphash
from anabranch.masking.values import mask_array, masked_type

KEY = Key("a secret of more than sixteen")
OTHER = Key("another secret of more than sixteen")


def masked(values: list, kind: pa.DataType, rule: str, key: Key | None = KEY) -> list:
    array = pa.array(values, kind)
    out = mask_array(array, parse_rule(rule), key)
    assert out.type == kind
    assert len(out) == len(array)
    return out.to_pylist()


def test_siphash_is_the_published_one():
    words = np.array([int.from_bytes(bytes(range(8)), "little")], np.uint64)
    assert int(siphash(bytes(range(16)), words)[0]).to_bytes(8, "little").hex() == "6224939a79f5f593"


def test_images_are_the_same_in_every_process_and_release():
    numbers = [0, 1, -1, 2**31 - 1, -(2**31), 2**31, 2**62, -(2**63)]
    assert KEY.id == "574c283594b2eec3"
    assert masked(numbers, pa.int64(), "hash") == [
        654206653, -186936002, -112885644, 527890698, 1806733770,
        -6305555057359069517, -8595348837037827434, -1047802710476005310,
    ]  # fmt: skip
    assert masked(["ann@example.org"], pa.string(), "hash") == ["743c6807c2d06ba0fed6d78fc07e8d6a"]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=50))
def test_no_two_numbers_have_one_image_and_those_of_32_bits_stay_within(numbers):
    images = masked(numbers, pa.int64(), "hash")
    assert len(set(images)) == len(numbers)
    for number, image in zip(numbers, images, strict=True):
        assert (-(2**31) <= number < 2**31) == (-(2**31) <= image < 2**31)


@given(st.lists(st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)), max_size=50))
def test_a_number_has_one_image_whatever_its_columns_width(numbers):
    assert masked(numbers, pa.int32(), "hash") == masked(numbers, pa.int64(), "hash")


@given(st.lists(st.one_of(st.none(), st.text()), max_size=20))
def test_equal_texts_have_equal_digests_and_different_ones_different(texts):
    images = masked(texts, pa.string(), "hash")
    assert len(set(images)) == len(set(texts))
    assert [image is None for image in images] == [text is None for text in texts]
    assert all(len(image) == 32 for image in images if image is not None)


def test_another_key_makes_other_values():
    for values, kind in ((["a", "b"], pa.string()), ([1, 2], pa.int64()), ([b"a"], pa.binary())):
        assert masked(values, kind, "hash") != masked(values, kind, "hash", OTHER)
    assert KEY.id != OTHER.id


def test_a_digest_can_not_be_found_by_trying_values_without_the_key():
    import hashlib

    image = masked(["ann@example.org"], pa.string(), "hash")[0]
    for name in ("md5", "sha1", "sha256", "blake2b", "blake2s"):
        assert hashlib.new(name, b"ann@example.org").hexdigest()[:32] != image
    assert hashlib.blake2b(b"ann@example.org", digest_size=16).hexdigest() != image


def test_bytes_and_uuids_keep_their_width():
    import uuid

    assert [len(v) for v in masked([b"abc"], pa.binary(), "hash")] == [16]
    assert [len(v) for v in masked([b"x" * 80], pa.binary(80), "hash")] == [80]
    one = uuid.UUID(int=7)
    found = masked([one, None, one], pa.uuid(), "hash")
    assert found[0] == found[2] != one
    assert found[1] is None


def test_what_is_made_up_is_the_same_for_the_same_value():
    found = masked(["ann", "bob", None, "ann"], pa.string(), "fake:name")
    assert found[0] == found[3] != found[1]
    assert found[2] is None
    assert masked(["ann"], pa.string(), "fake:name") == found[:1]
    assert masked(["ann"], pa.string(), "fake:name", OTHER) != found[:1]
    assert "@" in masked(["ann"], pa.string(), "fake:email")[0]


@pytest.mark.parametrize(
    "word", ["no_such_thing", "seed_instance", "pyint", "add_provider", "random", "binary"]
)
def test_only_words_that_make_a_text_can_be_made_up(word):
    with pytest.raises(MaskError, match=f"there is no fake:{word}"):
        masked(["ann"], pa.string(), f"fake:{word}")


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20), st.integers(1, 10**6))
def test_numbers_fall_into_buckets_of_a_width(numbers, width):
    found = masked(numbers, pa.int64(), f"bucket:{width}")
    assert all(image <= number < image + width for number, image in zip(numbers, found, strict=True))
    assert all(image % width == 0 or image == -(2**63) for image in found)


def test_buckets_of_fractions_decimals_dates_and_times():
    assert masked([1.5, -2.5, None, math.inf], pa.float64(), "bucket:2") == [0.0, -4.0, None, math.inf]
    cents = [Decimal("1.27"), Decimal("-0.01"), None]
    assert masked(cents, pa.decimal128(10, 2), "bucket:0.5") == [Decimal("1.00"), Decimal("-0.50"), None]
    assert masked([dt.date(2020, 5, 17), None], pa.date32(), "bucket:month") == [dt.date(2020, 5, 1), None]
    assert masked([dt.date(2020, 5, 17)], pa.date32(), "bucket:year") == [dt.date(2020, 1, 1)]
    late = dt.datetime(2020, 12, 31, 23, 59, 59, 5, tzinfo=dt.UTC)
    first = dt.datetime(2020, 12, 1, tzinfo=dt.UTC)
    assert masked([late], pa.timestamp("us", "UTC"), "bucket:month") == [first]
    assert masked([late.replace(tzinfo=None)], pa.timestamp("us"), "bucket:month") == [
        first.replace(tzinfo=None)
    ]


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ("hash", pa.float64()),
        ("hash", pa.date32()),
        ("hash", pa.bool_()),
        ("hash", pa.list_(pa.string())),
        ("fake:name", pa.int64()),
        ("bucket:1000", pa.string()),
        ("bucket:month", pa.int64()),
        ("bucket:0.5", pa.int64()),
        ("bucket:0.001", pa.decimal128(10, 2)),
        ("keep", pa.struct([("a", pa.string())])),
        ("keep", pa.list_(pa.struct([("a", pa.string())]))),
        ("keep", pa.map_(pa.string(), pa.string())),
    ],
)
def test_a_rule_that_does_not_fit_a_type_is_refused_with_a_hint(rule, kind):
    with pytest.raises(MaskError, match="can't be applied") as caught:
        masked_type(parse_rule(rule), kind)
    assert caught.value.hint


def test_anything_can_be_set_to_null():
    for kind in (pa.float64(), pa.struct([("a", pa.string())]), pa.uuid(), pa.map_(pa.string(), pa.int64())):
        assert mask_array(pa.nulls(2, kind), parse_rule("null"), None).to_pylist() == [None, None]
    assert masked([[1], None], pa.list_(pa.int64()), "keep", None) == [[1], None]


def test_a_keyed_rule_without_a_key_is_refused():
    with pytest.raises(MaskError, match="needs a key"):
        masked(["a"], pa.string(), "hash", None)


@pytest.mark.parametrize("text", ["", "sha", "hash:1", "fake", "fake:", "fake:Name!", "bucket", "bucket:0", "bucket:-1", "bucket:day", "keep:all", "null:"])  # fmt: skip
def test_what_is_no_rule_is_told_with_a_hint(text):
    with pytest.raises(AnabranchError, match="is no rule for masking") as caught:
        parse_rule(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["hash", "null", "keep", "fake:phone_number", "bucket:1000", "bucket:0.25", "bucket:year"])  # fmt: skip
def test_a_rule_is_written_as_it_is_read(text):
    assert str(parse_rule(text)) == text
