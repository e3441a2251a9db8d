"""Why a stored result no longer stands: every cause by its name."""

from __future__ import annotations

import json

import pytest

from anabranch.catalog.base import Entry, Provenance
from anabranch.pipeline.graph import Node
from anabranch.planning.changes import Reason, code_reasons, config_reasons, input_reasons, own_reasons
from anabranch.planning.reads import read_of

PARTS = {
    "function flights.delays": "1",
    "function flights.helpers.clean": "2",
    "constant flights.LIMIT": "3",
    "distribution polars": "1.30.0",
}
PLACES = {"function flights.helpers.clean": "flights/helpers.py:12"}


def node(parts=PARTS, **rest) -> Node:
    given = {"code": str(sorted(parts.items())), "place": "flights/defs.py:3", "places": PLACES} | rest
    return Node("delays", code_parts=parts, **given)


def entry(parts=PARTS, **rest) -> Entry:
    made = Provenance(**({"code": str(sorted(parts.items())), "code_parts": parts} | rest))
    return Entry("delays", "table", "file://x", "v1", made)


def texts(reasons) -> list[str]:
    return [str(reason) for reason in reasons]


def test_equal_code_is_no_cause_whatever_its_parts_are_called():
    assert code_reasons(node({"function other": "9"}, code="same"), entry(code="same")) == []


def test_a_changed_function_is_named_with_its_place():
    changed = PARTS | {"function flights.helpers.clean": "new"}
    assert texts(code_reasons(node(changed), entry())) == [
        "function flights.helpers.clean changed (flights/helpers.py:12)"
    ]


def test_each_changed_part_is_a_cause_of_its_own():
    changed = PARTS | {"constant flights.LIMIT": "30", "function flights.delays": "10"}
    reasons = code_reasons(node(changed), entry())
    assert [reason.name for reason in reasons] == ["constant flights.LIMIT", "function flights.delays"]


def test_a_changed_caller_explains_what_it_newly_reaches_and_what_it_no_longer_reaches():
    changed = {k: v for k, v in PARTS.items() if "clean" not in k}
    changed |= {"function flights.delays": "10", "function flights.other": "5"}
    assert texts(code_reasons(node(changed), entry())) == ["function flights.delays changed"]


def test_a_part_that_is_new_or_gone_is_named_where_nothing_else_explains_it():
    assert texts(code_reasons(node(PARTS | {"class flights.Row": "5"}), entry())) == [
        "class flights.Row is new"
    ]
    fewer = {k: v for k, v in PARTS.items() if "LIMIT" not in k}
    assert texts(code_reasons(node(fewer), entry())) == ["constant flights.LIMIT is gone"]


def test_a_distribution_is_named_with_both_versions():
    changed = PARTS | {"distribution polars": "1.31.0"}
    (reason,) = code_reasons(node(changed), entry())
    assert (reason.kind, reason.name) == ("distribution", "polars")
    assert reason.text == "distribution polars 1.30.0 → 1.31.0"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (PARTS, PARTS | {"distribution numpy": "2.0"}, "distribution numpy 2.0 is new"),
        (PARTS | {"distribution numpy": "2.0"}, PARTS, "distribution numpy is gone"),
    ],
)
def test_a_distribution_that_comes_or_goes_is_named(before, after, text):
    assert texts(code_reasons(node(after), entry(before))) == [text]


def test_a_distribution_that_comes_with_a_changed_function_is_explained_by_it():
    changed = PARTS | {"function flights.delays": "10", "distribution numpy": "2.0"}
    assert texts(code_reasons(node(changed), entry())) == ["function flights.delays changed"]


def test_code_that_changed_without_a_part_that_tells_is_named_as_a_whole():
    (reason,) = code_reasons(node(code="new"), entry(code="old"))
    assert str(reason) == "the code of delays changed (flights/defs.py:3)"


def test_config_fields_are_named_with_both_values():
    now = node(config="new", config_parts={"minimum": "200", "same": "1", "extra": "true"})
    then = entry(config="old", config_parts={"minimum": "100", "same": "1", "gone": '"x"'})
    assert [reason.text for reason in config_reasons(now, then)] == [
        "config extra: absent → true",
        'config gone: "x" → absent',
        "config minimum: 100 → 200",
    ]


def test_config_is_compared_by_its_hash():
    assert config_reasons(node(config="1", config_parts={"a": "1"}), entry(config="1")) == []
    assert texts(config_reasons(node(config="new"), entry(config="old"))) == ["config changed"]


def test_inputs_are_named_by_what_happened_to_them():
    now = node(inputs=("changed", "new", "same", "unknown"))
    then = entry(inputs={"changed": "v1", "same": "v1", "gone": "v1", "unknown": "v1"})
    versions = {"changed": "v2", "new": "v1", "same": "v1"}
    reads = {
        key: read_of(None, Entry(key, "table", "file://x", version)) for key, version in versions.items()
    }
    reasons = input_reasons(now, then, {**reads, "unknown": None})
    assert [(reason.name, reason.text) for reason in reasons] == [
        ("changed", "changed has other content than it was made from"),
        ("gone", "it no longer reads gone"),
        ("new", "it now reads new"),
    ]


def test_an_asset_without_an_entry_was_never_built():
    (reason,) = own_reasons(node(), None)
    assert (reason.kind, str(reason)) == ("new", "delays was never built (flights/defs.py:3)")


def test_an_assets_own_causes_are_its_code_and_its_config_and_not_its_inputs():
    now = node(PARTS | {"constant flights.LIMIT": "9"}, config="new", inputs=("a",))
    assert [r.kind for r in own_reasons(now, entry(config="old", inputs={"b": "v"}))] == ["code", "config"]
    assert own_reasons(node(inputs=("a",)), entry(inputs={"b": "v"})) == []


def test_a_cause_is_plain_json():
    reason = Reason("code", "function f changed", "function f", "a.py:1")
    assert json.loads(json.dumps(reason.to_dict())) == {
        "kind": "code",
        "text": "function f changed",
        "name": "function f",
        "place": "a.py:1",
    }
