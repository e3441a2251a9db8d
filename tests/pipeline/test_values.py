"""The text of plain values, and the hash of a config."""

from __future__ import annotations

import datetime as dt
import math
import re
import subprocess
import sys
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import DefinitionsError
from anabranch.pipeline.fingerprint import config_hash
from anabranch.pipeline.values import value_text


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Span:
    low: int
    high: float


class Model(pydantic.BaseModel):
    span: tuple[int, int] = (1, 2)
    name: str = "n"


DIFFERENT = [
    1, 1.0, True, "1", None, [1], [[1]], {"a": 1}, {"a": 1.0}, {1: 1}, {"1": 1}, {1, 2}, {1, 3}, [1, 2], [2, 1],
    b"1", math.nan, math.inf, -math.inf, Decimal("1.0"), Decimal("1.00"), Fraction(1, 2), dt.date(2020, 1, 1),
    dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.time(1), dt.timedelta(1), dt.timedelta(2),
    uuid.UUID(int=1), re.compile("a"), re.compile("a", re.IGNORECASE), Colour.RED, Colour.BLUE, Span(1, 2.0),
    Span(1, 3.0), Model(), Model(name="m"), "a/b", "ä", "\ud800",
]  # fmt: skip


def test_different_values_of_a_config_have_different_hashes():
    assert len({config_hash({"a": value})[0] for value in DIFFERENT}) == len(DIFFERENT)
    assert config_hash({"a": 1})[0] != config_hash({"b": 1})[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": {"x": 1, "y": 2}}, {"a": OrderedDict([("y", 2), ("x", 1)])}),
        ({"a": {1: 1, 2: 2}}, {"a": {2: 2, 1: 1}}),
        ({"a": {"p", "q", "r"}}, {"a": frozenset(["r", "q", "p"])}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        ({"a": Path("a") / "b"}, {"a": "a/b"}),
        ({"a": Span(1, 2.0)}, {"a": {"low": 1, "high": 2.0}}),
    ],
)
def test_order_and_container_of_a_config_s_values_do_not_count(one, other):
    assert config_hash(one)[0] == config_hash(other)[0]


def test_fields_have_the_json_text_of_their_values():
    assert config_hash({"b": [1, 1.5, None, "ä"], "a": True})[1] == {
        "a": "true",
        "b": '[1, 1.5, null, "\\u00e4"]',
    }
    assert config_hash({})[1] == {}


def test_a_config_s_value_without_a_stable_text_is_an_error_that_names_the_field():
    loop: list = []
    loop.append(loop)
    for value in (object(), loop, lambda: 1):
        with pytest.raises(DefinitionsError, match="the config field 'size' holds a") as refused:
            config_hash({"size": value})
        assert refused.value.facts == {"field": "size"}
        assert refused.value.hint


def text(value) -> str:
    return value_text(value, lambda one: f"<{type(one).__name__}>")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.dates()
    | st.decimals(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.frozensets(st.integers() | st.text())
    ),
    max_leaves=8,
)


@given(plain)
def test_a_value_s_text_is_that_of_its_copy(value):
    import copy

    assert text(copy.deepcopy(value)) == text(value)


@given(plain, plain)
def test_values_of_one_text_are_equal(one, other):
    if text(one) == text(other):
        assert type(one) is type(other)
        assert repr(one) == repr(other) or one == other


def test_a_value_that_holds_itself_has_a_text():
    one: list = [1]
    one.append(one)
    assert text(one) == "list[i1 ^1]"


def test_sets_and_hashes_do_not_depend_on_the_process(tmp_path):
    code = (
        "from anabranch.pipeline.values import config_hash, value_text\n"
        "print(value_text({'a', 'b', 'c', ('d',)}, repr), config_hash({'x': {'a', 'b', 'c'}}))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
