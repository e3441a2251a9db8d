"""What checks find: built-in rules on real tables, and whatever a Python check may return."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import json
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import anabranch.pipeline.check as rules
from anabranch.checks import run_check
from anabranch.errors import SignatureError
from anabranch.lake.file import StoredFile
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, write_file_asset, write_table
from anabranch.pipeline.asset import Asset
from anabranch.pipeline.check import Check, CheckResult
from anabranch.pipeline.definitions import BoundCheck, Slot

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOSTILE = 'a "b"; drop table x -- \' %s {0}\n'


class Lake:
    """A lake in a folder of a test's own."""

    def __init__(self, path) -> None:
        self.storage = Storage(str(path), scope=Scope.environment())

    def table(self, key: str, data) -> Table:
        table = data if isinstance(data, pa.Table) else pa.table(data)
        return Table(key, write_table(self.storage, key, table).location, self.storage)

    def file(self, key: str, content: bytes) -> StoredFile:
        return StoredFile(
            key, write_file_asset(self.storage, key, content, name="m.bin").location, self.storage
        )


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path)


def judged(check: Check, asset: Table, other: Table | None = None, **rest) -> CheckResult:
    sources = {"asset": asset} | ({} if other is None else {"other": other})
    found = run_check(BoundCheck(check), sources, **{"now": NOW} | rest)
    json.dumps([list(found.samples), found.metadata], allow_nan=False)
    return found


def python_check(function, table, annotation=None, *, description="") -> CheckResult:
    check = Check("mine", "t", function=function, description=description, place=("defs.py", 3))
    return run_check(BoundCheck(check, (Slot("t", "input", "t", annotation),)), {"t": table}, now=NOW)


def check_of(made) -> Check:
    return made


# not_null


def test_a_column_without_nulls_is_not_null(lake):
    found = judged(rules.not_null("t", "a"), lake.table("t", {"a": [1, 2], "b": [None, 1]}))
    assert found == CheckResult(True, "all 2 rows have a value in a", 0, 2)


def test_nulls_are_counted_by_row_and_shown(lake):
    table = lake.table("t", {"a": [1, None, None], "b": [None, None, 1.5]})
    found = judged(rules.not_null("t", "a", "b"), table)
    assert not found.passed
    assert (found.failing, found.rows) == (3, 3)
    assert found.message == "3 of 3 rows have no value in one of a, b (100 %)"
    assert found.metadata == {"nulls": {"a": 2, "b": 2}}
    assert {"a": 1, "b": None} in found.samples


def test_a_float_that_is_no_number_is_a_value(lake):
    assert judged(rules.not_null("t", "a"), lake.table("t", {"a": [float("nan")]})).passed


@pytest.mark.parametrize(
    ("at_most", "passed"),
    [(0, False), (1, False), (2, True), ("19%", False), ("20%", True), ("20.0 %", True)],
)
def test_at_most_tolerates_a_number_or_a_share_of_rows(lake, at_most, passed):
    table = lake.table("t", {"a": [None] * 2 + [1] * 8})
    found = judged(rules.not_null("t", "a", at_most=at_most), table)
    assert found.passed is passed
    assert found.failing == 2


def test_what_is_tolerated_is_said(lake):
    table = lake.table("t", {"a": [None] * 2 + [1] * 8})
    assert judged(rules.not_null("t", "a", at_most="25%"), table).message == (
        "2 of 10 rows have no value in a (20.0 %, at most 25 % allowed)"
    )
    assert "at most 5 allowed" in judged(rules.not_null("t", "a", at_most=5), table).message


def test_an_empty_table_has_nothing_to_object_to(lake):
    table = lake.table("t", pa.table({"a": pa.array([], pa.int64())}))
    for check in (
        rules.not_null("t", "a", at_most="2%"),
        rules.unique("t", "a"),
        rules.accepted_values("t", "a", [1]),
    ):
        found = judged(check, table)
        assert found.passed
        assert found.message == "there is no row to look at"
        assert found.samples == ()


# unique


def test_the_rows_beyond_the_first_of_each_key_are_counted(lake):
    found = judged(rules.unique("t", "a"), lake.table("t", {"a": ["x", "x", "x", "y", "y", "z"]}))
    assert not found.passed
    assert (found.failing, found.rows) == (3, 6)
    assert found.message == "3 of 6 rows repeat the a of another row (50.0 %)"
    assert found.samples == ({"a": "x", "rows": 3}, {"a": "y", "rows": 2})


def test_keys_of_several_columns_are_compared_whole_and_nulls_are_equal(lake):
    table = lake.table("t", {"a": [1, 1, None, None, None], "b": [1, 2, 1, 1, None]})
    found = judged(rules.unique("t", "a", "b"), table)
    assert found.failing == 1
    assert found.samples == ({"a": None, "b": 1, "rows": 2},)


def test_without_columns_the_assets_key_is_unique(lake):
    asset = Asset("t", query="select 1", key=("a", "b"))
    check = rules.unique(asset)
    assert check.name == "unique_a_b"
    assert judged(check, lake.table("t", {"a": [1, 1], "b": [1, 2]})).passed


def test_the_number_of_rows_has_a_name_that_no_column_has(lake):
    found = judged(rules.unique("t", "rows"), lake.table("t", {"rows": [7, 7]}))
    assert found.samples == ({"rows": 7, "_rows": 2},)


def test_a_column_named_twice_counts_once(lake):
    found = judged(rules.unique("t", "a", "a"), lake.table("t", {"a": [7, 7]}))
    assert found.samples == ({"a": 7, "rows": 2},)


def test_nested_values_can_be_a_key(lake):
    table = lake.table("t", {"a": [{"x": [1, 2]}, {"x": [1, 2]}, {"x": []}]})
    assert judged(rules.unique("t", "a"), table).samples == ({"a": {"x": [1, 2]}, "rows": 2},)


# row_count


@pytest.mark.parametrize(
    ("minimum", "maximum", "passed", "message"),
    [
        (1, None, True, "3 rows, at least 1 expected"),
        (3, 3, True, "3 rows, between 3 and 3 expected"),
        (4, None, False, "3 rows, at least 4 were expected"),
        (0, 2, False, "3 rows, between 0 and 2 were expected"),
    ],
)
def test_the_number_of_rows_is_held_against_its_bounds(lake, minimum, maximum, passed, message):
    found = judged(rules.row_count("t", minimum=minimum, maximum=maximum), lake.table("t", {"a": [1, 2, 3]}))
    assert (found.passed, found.message, found.rows) == (passed, message, 3)


# references


def test_rows_that_refer_to_nothing_are_counted_and_their_values_told(lake):
    flights = lake.table("flights", {"tailnum": ["N1", "N2", "N2", "N3", None]})
    planes = lake.table("planes", {"tailnum": ["N1", None]})
    found = judged(rules.references("flights", "tailnum", "planes"), flights, planes)
    assert not found.passed
    assert (found.failing, found.rows) == (3, 4)
    assert found.message == (
        "3 of 4 rows refer to no planes.tailnum (75.0 %); most often 'N2' (2), 'N3' (1); "
        "1 row with a null left aside"
    )
    assert found.samples == ({"tailnum": "N2", "rows": 2}, {"tailnum": "N3", "rows": 1})


def test_a_share_is_one_of_the_rows_that_were_looked_at(lake):
    flights = lake.table("flights", {"tailnum": ["N1", "N2", None, None]})
    planes = lake.table("planes", {"tailnum": ["N1"]})
    assert judged(rules.references("flights", "tailnum", "planes", at_most="50%"), flights, planes).passed
    assert not judged(rules.references("flights", "tailnum", "planes", at_most="49%"), flights, planes).passed


def test_references_of_several_columns_are_compared_whole(lake):
    one = lake.table("one", {"a": [1, 1, 2, None], "b": ["x", "y", "x", "q"]})
    two = lake.table("two", {"c": [1, 2], "d": ["x", "y"]})
    found = judged(rules.references("one", ["a", "b"], "two", ["c", "d"]), one, two)
    assert (found.failing, found.rows) == (2, 3)
    assert "refer to no two.(c, d)" in found.message
    assert "(1, 'y') (1)" in found.message


def test_references_hold_between_numbers_of_different_widths(lake):
    one = lake.table("one", {"a": pa.array([1, 2], pa.int32())})
    two = lake.table("two", {"a": pa.array([1, 2, 3], pa.int64())})
    found = judged(rules.references("one", "a", "two"), one, two)
    assert found.message == "all 2 rows refer to a two.a"


def test_an_asset_may_refer_to_itself(lake):
    staff = lake.table("staff", {"id": [1, 2], "boss": [None, 1]})
    assert judged(rules.references("staff", "boss", "staff", "id"), staff, staff).passed


def test_references_between_types_that_can_not_be_compared_are_an_error_of_the_declaration(lake):
    one = lake.table("one", {"a": ["x"]})
    two = lake.table("two", {"a": [1]})
    with pytest.raises(SignatureError, match="references_a_two can't be made on these types"):
        judged(rules.references("one", "a", "two"), one, two)


# accepted_values


def test_values_that_are_not_accepted_are_counted_and_told(lake):
    table = lake.table("t", {"carrier": ["AA", "XX", "XX", None]})
    found = judged(rules.accepted_values("t", "carrier", ["AA", "UA"]), table)
    assert (found.passed, found.failing, found.rows) == (False, 2, 3)
    assert found.message == (
        "2 of 3 rows hold no accepted carrier (66.7 %); most often 'XX' (2); 1 row with a null left aside"
    )


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([1, 2], pa.int32()), [1, 2]),
        (pa.array([0.1], pa.float32()), [0.1]),
        (pa.array([dt.date(2026, 1, 1)]), [dt.date(2026, 1, 1)]),
        (pa.array([NOW], pa.timestamp("us", "UTC")), [NOW]),
        (pa.array([decimal.Decimal("1.50")]), [decimal.Decimal("1.50")]),
        (pa.array([True]), [True]),
        (pa.array([b"\x00"]), [b"\x00"]),
        (pa.array(["it's", '"', "%"]), ["it's", '"', "%"]),
    ],
)
def test_values_of_every_type_can_be_accepted(lake, column, values):
    assert judged(rules.accepted_values("t", "a", values), lake.table("t", {"a": column})).passed


@pytest.mark.parametrize("value", ["1", 1.5, dt.date(2026, 1, 1)])
def test_a_value_that_can_never_stand_in_the_column_is_an_error_of_the_declaration(lake, value):
    with pytest.raises(SignatureError, match=r"can't stand in a: it holds int64"):
        judged(rules.accepted_values("t", "a", [1, value]), lake.table("t", {"a": [1]}))


# fresh


def fresh(lake, column: pa.Array, within: str) -> CheckResult:
    return judged(rules.fresh("t", "at", within=within), lake.table("t", {"at": column}))


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kolkata"])
@pytest.mark.parametrize(("hours", "passed"), [(1, True), (2, True), (2.1, False)])
def test_a_timestamp_is_fresh_for_so_long_whatever_its_zone(lake, zone, hours, passed):
    moment = NOW - timedelta(hours=hours)
    value = moment if zone else moment.replace(tzinfo=None)
    column = pa.array([value, None, value - timedelta(days=3)], pa.timestamp("us", zone))
    if zone not in (None, "UTC"):
        column = column.cast(pa.timestamp("us", "UTC"))
    assert fresh(lake, column, "2h").passed is passed


@pytest.mark.parametrize(
    ("day", "within", "passed"),
    [
        (dt.date(2026, 11, 20), "1s", True),  # today is not over
        (dt.date(2026, 11, 19), "12h", True),  # yesterday ended twelve hours ago
        (dt.date(2026, 11, 19), "11h", False),
        (dt.date(2026, 11, 17), "2d", False),
        (dt.date(2026, 12, 24), "1s", True),
    ],
)
def test_a_date_grows_old_from_the_end_of_its_day(lake, day, within, passed):
    assert fresh(lake, pa.array([day, dt.date(1970, 1, 1)]), within).passed is passed


def test_freshness_is_told_with_the_newest_value_and_both_spans(lake):
    found = fresh(lake, pa.array([datetime(2026, 11, 18, 9)], pa.timestamp("us")), "1d")
    assert found.message == "the newest at is 2026-11-18 09:00:00, 2.1 d old, at most 1 d allowed"
    assert found.metadata == {"newest": "2026-11-18 09:00:00", "age_seconds": 183_600.0}


def test_a_time_ahead_of_now_is_fresh_and_told_as_such(lake):
    found = fresh(lake, pa.array([datetime(2026, 11, 20, 14)], pa.timestamp("us")), "1h")
    assert found.passed
    assert "2 h ahead of now" in found.message


@pytest.mark.parametrize(
    ("column", "why"),
    [(pa.array([], pa.date32()), "has no rows"), (pa.array([None], pa.date32()), "has no value in at")],
)
def test_what_has_no_time_is_not_fresh(lake, column, why):
    found = fresh(lake, column, "1000d")
    assert not found.passed
    assert why in found.message


def test_a_year_that_python_does_not_know_has_an_age_all_the_same(lake):
    column = pa.array([300_000_000_000_000_000], pa.timestamp("us"))
    assert fresh(lake, column, "1d").passed


def test_text_has_no_age(lake):
    with pytest.raises(SignatureError, match="asks how old at is, but it holds string"):
        fresh(lake, pa.array(["2026-11-20"]), "1d")


# all rules


every_rule = pytest.mark.parametrize(
    "make",
    [
        lambda column: rules.not_null("t", column),
        lambda column: rules.unique("t", column),
        lambda column: rules.references("t", column, "t", column),
        lambda column: rules.accepted_values("t", column, ["x"]),
        lambda column: rules.fresh("t", column, within="1d"),
    ],
)


@every_rule
def test_a_column_that_does_not_exist_is_an_error_that_names_the_nearest(lake, make):
    table = lake.table("t", {"carrier": ["x"]})
    check = make("carier")
    with pytest.raises(SignatureError, match=r"looks at t\.carier, which does not exist") as caught:
        judged(check, table, table if check.rule.kind == "references" else None)
    assert caught.value.hint == "did you mean 'carrier'?"
    assert caught.value.place.startswith(__file__)


@every_rule
def test_case_matters_in_the_names_of_columns(lake, make):
    table = lake.table("t", {"carrier": ["x"]})
    check = make("CARRIER")
    with pytest.raises(SignatureError, match="does not exist"):
        judged(check, table, table if check.rule.kind == "references" else None)


def test_the_column_that_is_referred_to_must_exist_too(lake):
    one, two = lake.table("one", {"a": ["x"]}), lake.table("two", {"b": ["x"]})
    with pytest.raises(SignatureError, match=r"looks at two\.a, which does not exist") as caught:
        judged(rules.references("one", "a", "two"), one, two)
    assert caught.value.hint == "two has the columns b"


@pytest.mark.parametrize("name", [HOSTILE, "select", "a.b", "1", "ä", "k0", "n", "value", "asset", "rows"])
def test_any_name_can_be_a_columns(lake, name):
    table = lake.table("t", {name: ["x", "x", None]})
    at = lake.table("at", {name: pa.array([NOW], pa.timestamp("us", "UTC"))})
    assert judged(rules.not_null("t", name), table).failing == 1
    assert judged(rules.unique("t", name), table).failing == 1
    assert judged(rules.references("t", name, "t"), table, table).failing == 0
    assert judged(rules.accepted_values("t", name, ["y"]), table).failing == 2
    assert judged(rules.fresh("at", name, within="1h"), at).passed


def test_columns_that_differ_only_in_case_are_told_apart(lake):
    table = lake.table("t", {"a": [1, 1], "A": [1, None], "B": [1, 2]})
    assert judged(rules.not_null("t", "a"), table).failing == 0
    assert judged(rules.not_null("t", "A"), table).failing == 1
    assert judged(rules.unique("t", "B"), table).passed
    assert not judged(rules.unique("t", "a"), table).passed


def test_at_most_five_rows_are_shown(lake):
    table = lake.table("t", {"a": pa.array([None] * 50, pa.string()), "b": list(range(50))})
    assert [row["b"] for row in judged(rules.not_null("t", "a"), table).samples] == [0, 1, 2, 3, 4]


def test_whatever_a_table_holds_can_be_shown(lake):
    table = lake.table(
        "t",
        pa.table(
            {
                "gone": pa.array([None], pa.int64()),
                "f": [float("inf")],
                "b": [b"\xff"],
                "d": [decimal.Decimal("1.10")],
                "t": pa.array([NOW], pa.timestamp("us", "UTC")),
                "l": [[1, None]],
                "long": ["x" * 10_000],
            }
        ),
    )
    (sample,) = judged(rules.not_null("t", "gone"), table).samples
    assert sample["b"] == "0xff"
    assert sample["f"] == "Infinity"
    assert len(sample["long"]) < 3_000


def test_a_long_value_is_cut_in_the_message(lake):
    table = lake.table("t", {"a": ["x" * 5_000]})
    assert len(judged(rules.accepted_values("t", "a", ["y"]), table).message) < 200


def test_a_rule_can_not_judge_a_file(lake):
    with pytest.raises(SignatureError, match="judges rows, but model is a file"):
        judged(rules.row_count("model"), lake.file("model", b"1"))


def test_a_rule_keeps_within_the_memory_and_threads_that_it_is_given(lake):
    table = lake.table("t", {"a": list(range(200_000))})
    assert judged(rules.unique("t", "a"), table, memory_limit="64MiB", threads=1).passed


def test_rules_read_a_table_that_was_written_in_several_parts_and_renamed(lake):
    from anabranch.lake.tables import append_table

    first = lake.table("t", {"a": [1, 2]})
    second = append_table(lake.storage, "t", pa.table({"a": [2]}), previous=first)
    table = Table("t", second.location, lake.storage)
    assert judged(rules.unique("t", "a"), table).failing == 1


values = st.none() | st.integers(-2, 2)


@pytest.fixture(scope="module")
def shared_lake(tmp_path_factory) -> Lake:
    return Lake(tmp_path_factory.mktemp("lake"))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(values, values), max_size=12), st.lists(st.tuples(values, values), max_size=6))
def test_rules_count_as_a_loop_over_the_rows_would(shared_lake, rows, others):
    def made(key, data):
        columns = {"a": [a for a, _ in data], "b": [b for _, b in data]}
        return shared_lake.table(key, pa.table(columns, pa.schema([("a", pa.int64()), ("b", pa.int64())])))

    table, other = made("t", rows), made("o", others)
    assert judged(rules.not_null("t", "a", "b"), table).failing == sum(None in row for row in rows)
    repeated = sum(count - 1 for count in collections.Counter(rows).values())
    assert judged(rules.unique("t", "a", "b"), table).failing == repeated
    looked_at = [row for row in rows if None not in row]
    found = judged(rules.references("t", ["a", "b"], "o"), table, other)
    missing = [row for row in looked_at if row not in others]
    assert (found.failing, found.rows) == (len(missing), len(looked_at))
    assert found.passed is (not missing)
    found = judged(rules.accepted_values("t", "a", [0, 1]), table)
    assert found.failing == sum(a is not None and a not in (0, 1) for a, _ in rows)


# Python checks


@pytest.mark.parametrize("verdict", [True, np.True_, np.bool_(1)])
def test_a_check_that_returns_true_passes(lake, verdict):
    found = python_check(lambda t: verdict, lake.table("t", {"a": [1]}))
    assert found == CheckResult(True, "mine passed")
    assert found.passed is True


@pytest.mark.parametrize("verdict", [False, np.False_])
def test_a_check_that_returns_false_fails_and_says_what_it_is_about(lake, verdict):
    found = python_check(
        lambda t: verdict, lake.table("t", {"a": [1]}), description="Every flight arrives.\n\nMostly."
    )
    assert found == CheckResult(False, "mine failed: Every flight arrives.")


def test_a_checks_own_result_is_made_plain(lake):
    own = CheckResult(
        np.bool_(False),
        "too many",
        failing=np.int64(3),
        rows=np.int32(9),
        samples=tuple({"a": np.float64(n), "at": NOW} for n in range(8)),
        metadata={"worst": np.array([1, 2]), "nan": float("nan"), "gone": pd.NA, "scalar": pa.scalar(3)},
    )
    found = python_check(lambda t: own, lake.table("t", {"a": [1]}))
    assert (found.passed, found.message, found.failing, found.rows) == (False, "too many", 3, 9)
    assert len(found.samples) == 5
    assert found.samples[1] == {"a": 1.0, "at": "2026-11-20T12:00:00+00:00"}
    assert found.metadata == {"worst": [1, 2], "nan": "NaN", "gone": None, "scalar": 3}
    json.dumps([found.failing, found.rows, found.passed])


def test_a_result_without_a_message_gets_one(lake):
    assert python_check(lambda t: CheckResult(True), lake.table("t", {"a": [1]})).message == "mine passed"


def test_a_result_that_says_neither_yes_nor_no_is_refused(lake):
    with pytest.raises(SignatureError, match="a CheckResult whose passed is a str"):
        python_check(lambda t: CheckResult("yes"), lake.table("t", {"a": [1]}))


offending = pytest.mark.parametrize(
    ("annotation", "where"),
    [
        (pl.DataFrame, lambda t: t.filter(pl.col("a") > 1)),
        (pl.LazyFrame, lambda t: t.filter(pl.col("a") > 1)),
        (pd.DataFrame, lambda t: t[t.a > 1]),
        (pa.Table, lambda t: t.filter(pa.compute.greater(t["a"], 1))),
        (
            pa.RecordBatchReader,
            lambda t: pa.RecordBatchReader.from_batches(
                t.schema, (b.filter(pa.compute.greater(b["a"], 1)) for b in t)
            ),
        ),
        (duckdb.DuckDBPyRelation, lambda t: t.filter("a > 1")),
        (None, lambda t: t.to_arrow(filter="a > 1")),
        (None, lambda t: t.to_arrow(filter="a > 1").combine_chunks().to_batches()[0])
    ],
)  # fmt: skip


@offending
def test_the_offending_rows_are_a_verdict(lake, annotation, where):
    import pyarrow.compute  # noqa: F401 - pa.compute

    found = python_check(where, lake.table("t", {"a": [1, 2, 3], "b": ["x", "y", "z"]}), annotation)
    assert not found.passed
    assert found.failing == 2
    assert found.message == "2 offending rows"
    assert found.samples == ({"a": 2, "b": "y"}, {"a": 3, "b": "z"})


@pytest.mark.parametrize("annotation", [pl.DataFrame, pl.LazyFrame, pd.DataFrame, pa.Table, None])
def test_no_offending_rows_pass(lake, annotation):
    table = lake.table("t", pa.table({"a": pa.array([], pa.int64())}))
    found = python_check(lambda t: t, table, annotation, description="A is small")
    assert found == CheckResult(True, "no offending rows: A is small", failing=0)


def test_many_offending_rows_are_counted_and_few_are_shown(lake):
    found = python_check(lambda t: t, lake.table("t", {"a": list(range(100_000))}), pa.RecordBatchReader)
    assert found.failing == 100_000
    assert [row["a"] for row in found.samples] == [0, 1, 2, 3, 4]


def test_the_groups_of_a_pandas_frame_are_shown_with_their_names(lake):
    def doubled(t: pd.DataFrame) -> pd.DataFrame:
        counts = t.groupby("a").agg(n=("b", "count"))
        return counts[counts.n > 1]

    found = python_check(doubled, lake.table("t", {"a": [1, 1, 2], "b": [1, 2, 3]}), pd.DataFrame)
    assert found.samples == ({"a": 1, "n": 2},)


def test_pandas_rows_of_mixed_types_can_offend(lake):
    frame = pd.DataFrame({"a": [1, "x", None, pd.Timestamp("2026-01-01")]})
    found = python_check(lambda t: frame, lake.table("t", {"a": [1]}))
    assert found.failing == 4
    json.dumps(found.samples)


async def _later(t):
    return True


@pytest.mark.parametrize(
    ("function", "what", "hint"),
    [
        (lambda t: None, "None", "return a bool"),
        (lambda t: 1, "a int", "return a bool"),
        (lambda t: "ok", "a str", "return a bool"),
        (lambda t: [], "a list", "return a bool"),
        (lambda t: pd.Series([True]), "a Series", "all()"),
        (lambda t: pl.Series([True]), "a Series", "all()"),
        (lambda t: np.array([True]), "a ndarray", "all()"),
        (lambda t: pa.scalar(True), "a BooleanScalar", "bool("),
        (_later, "a coroutine", "not async def"),
    ],
)
def test_what_is_no_verdict_is_refused_with_a_hint(lake, function, what, hint):
    with pytest.raises(SignatureError, match="says neither yes nor no") as caught:
        python_check(function, lake.table("t", {"a": [1]}))
    assert f"returned {what}," in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.place == "defs.py:3"


def test_what_a_check_raises_itself_passes_through(lake):
    with pytest.raises(ZeroDivisionError):
        python_check(lambda t: 1 / 0, lake.table("t", {"a": [1]}))


def test_a_check_reads_each_asset_as_its_parameter_asks(lake):
    seen = {}

    def compare(left: pl.DataFrame, right) -> bool:
        seen.update(left=left, right=right)
        return left.height == right.rows

    check = rules.check("one", inputs={"left": "one", "right": "two"})(compare)
    slots = (Slot("left", "input", "one", pl.DataFrame), Slot("right", "input", "two"))
    sources = {"left": lake.table("one", {"a": [1]}), "right": lake.table("two", {"a": [2]})}
    assert run_check(BoundCheck(check, slots), sources, now=NOW).passed
    assert isinstance(seen["left"], pl.DataFrame)
    assert isinstance(seen["right"], Table)


def test_a_check_can_read_a_file(lake):
    found = python_check(lambda t: t.read_bytes() == b"model", lake.file("t", b"model"))
    assert found.passed


# declarations


@pytest.mark.parametrize(
    ("declare", "what"),
    [
        (lambda: rules.not_null("t"), "not_null of t names no column"),
        (lambda: rules.unique("t"), "unique of t names no column"),
        (lambda: rules.not_null("t", ""), "'' is no column's name"),
        (lambda: rules.not_null("t", 3), "3 is no column's name"),
        (lambda: rules.not_null("t", "a", at_most="2"), None),
        (lambda: rules.not_null("t", "a", at_most=0.02), "at_most: 0.02 is not a limit"),
        (lambda: rules.not_null("t", "a", at_most=True), "at_most: True is not a limit"),
        (lambda: rules.unique("t", "a", at_most="200%"), "at_most: '200%' is not a limit"),
        (lambda: rules.references("t", "a", "o", at_most=-1), "at_most: -1 is not a limit"),
        (lambda: rules.accepted_values("t", "a", [1], at_most="few"), "at_most: 'few' is not a limit"),
        (lambda: rules.references("t", ["a", "b"], "o", "c"), "2 columns (a, b) refer to 1 (c)"),
        (lambda: rules.accepted_values("t", "a", []), "the values are none"),
        (lambda: rules.accepted_values("t", "a", "AA"), "the values are a text, not a list"),
        (lambda: rules.row_count("t", minimum=-1), "minimum=-1 is no number of rows"),
        (lambda: rules.row_count("t", minimum=1.5), "minimum=1.5 is no number of rows"),
        (lambda: rules.row_count("t", minimum=5, maximum=4), "maximum=4 is less than minimum=5"),
        (lambda: rules.fresh("t", "a", within="soon"), "'soon' is not a duration"),
        (lambda: rules.fresh("t", "a", within="0"), "within='0' is no span of time"),
        (lambda: rules.check("t")(3), "a check of t is a int, not a function"),
    ],
)
def test_nonsense_is_refused_where_it_is_declared(declare, what):
    if what is None:
        assert declare()
        return
    with pytest.raises(SignatureError) as caught:
        declare()
    assert what in caught.value.message
    if "of t" in what or ":" in what:
        assert caught.value.place is None or caught.value.place.startswith(__file__)


def test_a_check_decorator_without_an_asset_is_told_how_it_is_written():
    with pytest.raises(SignatureError, match="mine is no asset") as caught:

        @rules.check
        def mine(t) -> bool:
            return True

    assert caught.value.hint == "name what is judged: @ab.check(orders)"


def test_a_declared_check_knows_its_place_its_words_and_is_callable():
    @rules.check("t", blocking=False)
    def mine(t) -> bool:
        """T is fine."""
        return t == 3

    made = check_of(mine)
    assert (made.name, made.asset, made.blocking, made.description) == ("mine", "t", False, "T is fine.")
    assert made.place.startswith(__file__)
    assert made(3)
    with pytest.raises(SignatureError, match="is a built-in check and can't be called"):
        rules.row_count("t")(3)
