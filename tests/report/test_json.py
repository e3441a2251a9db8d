"""JSON documents: strict, ASCII, of whatever a result holds."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.report.json import document

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(codec=None)), VALUES))
def test_every_document_is_strict_json_in_printable_ascii(values):
    text = document(values)
    assert text.endswith("}\n")
    assert all(character == "\n" or 32 <= ord(character) < 127 for character in text)
    json.loads(text, parse_constant=pytest.fail)


def test_what_json_lacks_is_null_or_text():
    values = {
        "nan": float("nan"),
        "inf": float("-inf"),
        "when": datetime(2026, 1, 2, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "money": Decimal("1.50"),
        "names": {"b", "a"},
        "pair": ("x", 1),
        3: "three",
    }
    assert json.loads(document(values)) == {
        "nan": None,
        "inf": None,
        "when": "2026-01-02T00:00:00+00:00",
        "day": "2026-01-02",
        "money": "1.50",
        "names": ["a", "b"],
        "pair": ["x", 1],
        "3": "three",
    }
