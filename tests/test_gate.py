"""What the gate lets through, what it refuses and what it warns of."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.gate import (
    Approval,
    Candidate,
    CheckOutcome,
    TableChange,
    Verdict,
    candidate_hash,
    judge,
)
from anabranch.names import Limit, parse_limit
from anabranch.settings import RowLimit

AT = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
HASH = "a" * 64
OTHER = "b" * 64


@dataclass(frozen=True)
class Rules:
    checks: str = "pass"
    schema: str = "compatible"
    rows_removed: Limit | RowLimit | None = None
    approvals: int = 0
    resources: str = "same"


TEN_PERCENT = parse_limit("10%")


def candidate(**fields) -> Candidate:
    given = {
        "hash": HASH,
        "environment": "production",
        "sandbox": "fix",
        "author": "Ada <ada@example.com>",
    } | fields
    return Candidate(**given)


def change(**fields) -> TableChange:
    return TableChange("delays", **({"rows_before": 100, "rows_after": 100, "rows_removed": 0} | fields))


def texts(reasons) -> list[str]:
    return [reason.text for reason in reasons]


def only(verdict: Verdict):
    assert len(verdict.reasons) == 1, verdict
    return verdict.reasons[0]


def test_a_candidate_that_breaks_no_rule_passes():
    verdict = judge(
        candidate(tables=[change()], checks=[CheckOutcome("delays:x", "delays", passed=True)]),
        Rules(rows_removed=TEN_PERCENT),
    )
    assert verdict == Verdict(True, HASH)


def test_a_candidate_without_any_change_passes():
    assert judge(candidate(), Rules(rows_removed=TEN_PERCENT)).passed


# checks


def test_a_failed_blocking_check_is_a_reason_with_its_message():
    check = CheckOutcome("delays:carriers", "delays", passed=False, message="12 of 100 rows have no carrier")
    reason = only(judge(candidate(checks=[check]), Rules()))
    assert (reason.rule, reason.key) == ("checks", "delays")
    assert reason.text == "the check delays:carriers failed: 12 of 100 rows have no carrier"


def test_a_blocking_check_that_was_not_run_on_this_state_is_a_reason():
    check = CheckOutcome("delays:carriers", "delays", passed=None, message="planes is missing")
    reason = only(judge(candidate(checks=[check]), Rules()))
    assert "was not run on the state that would be published (planes is missing)" in reason.text
    assert reason.hint == "anabranch check"


@pytest.mark.parametrize("passed", [False, None])
def test_blocking_checks_only_warn_where_the_rule_says_so(passed):
    verdict = judge(candidate(checks=[CheckOutcome("d:x", "d", passed=passed)]), Rules(checks="warn"))
    assert verdict.passed
    assert len(verdict.warnings) == 1


@pytest.mark.parametrize("passed", [False, None])
def test_blocking_checks_say_nothing_where_the_rule_ignores_them(passed):
    verdict = judge(candidate(checks=[CheckOutcome("d:x", "d", passed=passed)]), Rules(checks="ignore"))
    assert verdict == Verdict(True, HASH)


@pytest.mark.parametrize("rule", ["pass", "warn", "ignore"])
def test_the_failure_of_a_check_that_does_not_block_is_always_a_warning(rule):
    check = CheckOutcome("d:x", "d", blocking=False, passed=False, message="stale")
    verdict = judge(candidate(checks=[check]), Rules(checks=rule))
    assert verdict.passed
    assert texts(verdict.warnings) == ["the check d:x failed: stale"]


def test_a_rule_that_is_not_known_is_taken_for_the_strict_one():
    checks = [CheckOutcome("d:x", "d", passed=False)]
    tables = [change(state="removed")]
    verdict = judge(candidate(checks=checks, tables=tables), Rules(checks="psas", schema="compatibel"))
    assert [reason.rule for reason in verdict.reasons] == ["checks", "schema"]


# schema


def test_a_removed_table_is_a_reason():
    reason = only(judge(candidate(tables=[change(state="removed", rows_before=1)]), Rules()))
    assert reason.text == "the table delays and its 1 row would no longer be in production"
    assert "environments.production.promote.schema" in reason.hint


def test_a_removed_file_is_a_reason():
    reason = only(judge(candidate(tables=[TableChange("model", "file", "removed")]), Rules()))
    assert reason.text == "the file model would no longer be in production"


def test_an_incompatible_schema_is_a_reason_with_all_its_sentences():
    broken = change(
        schema_changed=True,
        schema_compatible=False,
        schema_text=("the column carrier is gone", "delay is int32, was int64"),
    )
    reason = only(judge(candidate(tables=[broken]), Rules()))
    assert reason.text == "what reads delays may break: the column carrier is gone; delay is int32, was int64"


def test_an_incompatible_schema_without_sentences_is_a_reason_all_the_same():
    reason = only(judge(candidate(tables=[change(schema_changed=True, schema_compatible=False)]), Rules()))
    assert "may break" in reason.text


def test_an_added_column_passes_the_compatible_rule_and_not_the_same_rule():
    wider = candidate(tables=[change(schema_changed=True, schema_text=("the column gate is new",))])
    assert judge(wider, Rules()).passed
    assert (
        only(judge(wider, Rules(schema="same"))).text
        == "the schema of delays changed: the column gate is new"
    )


def test_an_added_table_breaks_no_schema_rule():
    added = candidate(tables=[change(state="added", rows_before=None, schema_changed=True)])
    assert judge(added, Rules(schema="same", rows_removed=TEN_PERCENT)).passed


@pytest.mark.parametrize(
    "broken", [change(state="removed"), change(schema_changed=True, schema_compatible=False)]
)
def test_with_any_schema_allowed_a_breaking_change_is_a_warning(broken):
    verdict = judge(candidate(tables=[broken]), Rules(schema="any"))
    assert verdict.passed
    assert [warning.rule for warning in verdict.warnings] == ["schema"]


# removed rows


@pytest.mark.parametrize(
    ("limit", "before", "removed", "passes"),
    [
        (TEN_PERCENT, 100, 0, True),
        (TEN_PERCENT, 100, 10, True),
        (TEN_PERCENT, 100, 11, False),
        (TEN_PERCENT, 9, 1, False),
        (TEN_PERCENT, 0, 0, True),
        (parse_limit(5), 100, 5, True),
        (parse_limit(5), 100, 6, False),
        (parse_limit(0), 100, 1, False),
        (parse_limit(0), 0, 0, True),
        (None, 100, 100, True),
    ],
)
def test_the_limit_of_removed_rows_is_judged_by_table(limit, before, removed, passes):
    tables = [change(rows_before=before, rows_removed=removed)]
    assert judge(candidate(tables=tables), Rules(rows_removed=limit)).passed is passes


def test_rows_that_were_replaced_count_as_removed_though_the_number_of_rows_is_the_same():
    replaced = change(rows_before=336_776, rows_after=336_776, rows_removed=52_606)
    reason = only(judge(candidate(tables=[replaced]), Rules(rows_removed=TEN_PERCENT)))
    assert reason.text == "delays loses 52,606 of its 336,776 rows (15.6 %, at most 10 % allowed)"


def test_a_number_of_removed_rows_that_was_not_computed_is_a_reason():
    unknown = change(rows_removed=None)
    reason = only(judge(candidate(tables=[unknown]), Rules(rows_removed=TEN_PERCENT)))
    assert reason.text == "how many rows delays loses was not computed, and at most 10 % may go"
    assert reason.hint == "compute it: anabranch diff --select delays"


def test_where_removed_rows_were_not_computed_the_net_loss_is_told_if_it_is_too_much_by_itself():
    unknown = change(rows_removed=None, rows_after=40)
    reason = only(judge(candidate(tables=[unknown]), Rules(rows_removed=TEN_PERCENT)))
    assert reason.text == "delays loses at least 60 of its 100 rows (60.0 %, at most 10 % allowed)"


def test_nothing_need_be_computed_for_an_empty_table_nor_for_a_limit_that_allows_everything():
    assert judge(
        candidate(tables=[change(rows_removed=None, rows_before=0)]), Rules(rows_removed=parse_limit(0))
    ).passed
    assert judge(
        candidate(tables=[change(rows_removed=None)]), Rules(rows_removed=parse_limit("100%"))
    ).passed


def test_a_table_of_unknown_size_is_a_reason_unless_all_its_rows_may_go():
    made = candidate(tables=[change(rows_before=None, rows_after=None, rows_removed=None)])
    assert "was not computed" in only(judge(made, Rules(rows_removed=parse_limit(1000)))).text
    for limit in (None, parse_limit("100%"), RowLimit()):
        assert judge(made, Rules(rows_removed=limit)).passed


def test_the_rules_of_anabranch_toml_are_rules():
    loses = candidate(tables=[change(rows_removed=11)])
    assert only(judge(loses, Rules(rows_removed=RowLimit(share=Decimal("0.1"))))).text == (
        "delays loses 11 of its 100 rows (11.0 %, at most 10 % allowed)"
    )


def test_neither_an_unchanged_table_nor_a_file_loses_rows():
    tables = [change(state="same", rows_removed=None), TableChange("model", "file", "changed")]
    assert judge(candidate(tables=tables), Rules(rows_removed=parse_limit(0))).passed


def test_a_removed_table_is_told_once():
    removed = candidate(tables=[change(state="removed", rows_removed=None)])
    assert [r.rule for r in judge(removed, Rules(rows_removed=TEN_PERCENT)).reasons] == ["schema"]
    reason = only(judge(removed, Rules(schema="any", rows_removed=TEN_PERCENT)))
    assert reason.text == "delays loses 100 of its 100 rows (100 %, at most 10 % allowed)"


# resources


def test_a_table_computed_with_another_resource_is_a_reason_unless_any_is_allowed():
    made = candidate(resources_differ={"flights": "archive"})
    reason = only(judge(made, Rules()))
    assert reason.text == "flights was computed with another resource than that of production: archive"
    assert reason.key == "flights"
    loose = judge(made, Rules(resources="any"))
    assert loose.passed
    assert texts(loose.warnings) == [reason.text]


# approvals


def approval(by: str, state: str = HASH, hour: int = 9) -> Approval:
    return Approval(by, AT.replace(hour=hour), state)


def test_an_approval_by_somebody_else_of_this_very_state_is_enough():
    approved = candidate(approvals=[approval("Grace <grace@example.com>")])
    assert judge(approved, Rules(approvals=1)) == Verdict(True, HASH)


def test_a_missing_approval_is_told_with_numbers():
    reason = only(judge(candidate(), Rules(approvals=2)))
    assert reason.text == "2 approvals of this state needed, none given"
    assert reason.hint == "somebody else says: anabranch approve fix"


def test_one_person_counts_once_however_often_and_under_whatever_name_they_approve():
    twice = [approval("Grace <grace@example.com>"), approval("Grace Hopper <Grace@Example.com>", hour=10)]
    reason = only(judge(candidate(approvals=twice), Rules(approvals=2)))
    assert reason.text == "2 approvals of this state needed, 1 by Grace Hopper <Grace@Example.com> given"


@pytest.mark.parametrize("author", ["Ada <ada@example.com>", "A. Lovelace <ADA@example.com>"])
def test_the_authors_own_approval_does_not_count(author):
    reason = only(judge(candidate(approvals=[approval(author)]), Rules(approvals=1)))
    assert reason.text == "1 approval of this state needed, none given; the author's own does not count"


def test_an_approval_of_another_state_is_void_and_told_as_such():
    verdict = judge(candidate(approvals=[approval("Grace <grace@example.com>", OTHER)]), Rules(approvals=1))
    assert only(verdict).rule == "approvals"
    (warning,) = verdict.warnings
    assert warning.text == (
        "the approval of Grace <grace@example.com> is void: it was given on 2026-11-20T09:00+00:00 "
        "for the state bbbbbbbbbbbb, not for aaaaaaaaaaaa"
    )


def test_an_older_void_approval_is_not_mentioned_once_the_person_approved_again():
    both = [approval("Grace", OTHER, 8), approval("Grace", HASH, 9)]
    assert judge(candidate(approvals=both), Rules(approvals=1)) == Verdict(True, HASH)


def test_approvals_say_nothing_where_none_is_asked_for():
    assert judge(candidate(approvals=[approval("Grace", OTHER)]), Rules()) == Verdict(True, HASH)


# the whole


def test_all_reasons_are_told_at_once_each_with_a_hint():
    verdict = judge(
        candidate(
            checks=[CheckOutcome("delays:x", "delays", passed=False), CheckOutcome("delays:y", "delays")],
            tables=[
                change(schema_changed=True, schema_compatible=False, rows_removed=50),
                TableChange("old", state="removed"),
            ],
            resources_differ={"flights": "archive"},
        ),
        Rules(rows_removed=TEN_PERCENT, approvals=1),
    )
    rules = [reason.rule for reason in verdict.reasons]
    assert rules == ["checks", "checks", "schema", "schema", "rows_removed", "resources", "approvals"]
    assert not verdict.passed
    assert all(reason.hint and reason.text for reason in (*verdict.reasons, *verdict.warnings))


def test_a_verdict_is_plain_json():
    verdict = judge(candidate(resources_differ={"flights": "archive"}), Rules())
    data = json.loads(json.dumps(verdict.to_dict()))
    assert data["passed"] is False
    assert data["candidate"] == HASH
    assert set(data["reasons"][0]) == {"rule", "key", "text", "hint"}
    assert data["warnings"] == []


def test_a_verdict_does_not_depend_on_the_order_of_what_is_judged():
    tables = [TableChange(key, state="removed") for key in "abc"]
    checks = [CheckOutcome(f"{key}:x", key, passed=False) for key in "abc"]
    one = judge(candidate(tables=tables, checks=checks), Rules())
    assert judge(candidate(tables=tables[::-1], checks=checks[::-1]), Rules()) == one


# the hash


keys = st.text(min_size=1, max_size=5)
states = st.dictionaries(keys, st.none() | st.tuples(keys, keys), max_size=5)


@given(states, st.randoms(use_true_random=False))
def test_the_hash_does_not_depend_on_the_order_of_keys(changes, random):
    items = list(changes.items())
    random.shuffle(items)
    assert candidate_hash(dict(items), "d") == candidate_hash(changes, "d")


@given(states, states, keys, keys)
def test_two_states_share_a_hash_only_if_they_are_one(one, two, definitions, others):
    same = one == two and definitions == others
    assert (candidate_hash(one, definitions) == candidate_hash(two, others)) is same


def test_the_hash_is_64_hexadecimal_digits_that_no_release_changes():
    name = candidate_hash({"delays": ("ab1:v", "f"), "old": None}, "d")
    assert name == "09df07adf74a79b3bd29008a140eadcf001d7f172da6061f805b440687ada52a"


def test_the_same_table_from_other_code_is_another_candidate():
    one = candidate_hash({"delays": ("v", "f")}, "d")
    assert (
        len({one, candidate_hash({"delays": ("v", "g")}, "d"), candidate_hash({"delays": ("v", "f")}, "e")})
        == 3
    )


def test_a_candidate_can_be_changed_only_into_another_one():
    made = candidate()
    with pytest.raises(AttributeError):
        made.hash = OTHER
    assert replace(made, hash=OTHER).hash == OTHER
