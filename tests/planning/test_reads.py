"""What of an input counts for its reader: the columns it reads, where their version is known, else the whole table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.catalog.base import Entry, Found, Provenance
from anabranch.lake.columns import RECORDED, column_set, set_text
from anabranch.pipeline.graph import Graph, Node
from anabranch.planning.plan import Planner
from anabranch.planning.reads import READ, read_of, read_record, same_reads

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ORDERS = Node("orders", code="c1")
TOTALS = Node(
    "totals",
    "sql",
    inputs=("orders",),
    code="c2",
    reads={"orders": ("amount", "id", "o")},
    aliases=frozenset("o"),
)


def orders(table: str, **sets: str) -> Entry:
    return Entry(
        "orders", "table", f"file://{table}", table, Provenance("f", code="c1", extra={RECORDED: sets})
    )


def planner(view: dict[str, Entry], totals: Node = TOTALS, **more) -> Planner:
    return Planner(Graph([ORDERS, totals]), view, target="t", pinned=True, now=NOW, **more)


def made(of: Entry, totals: Node = TOTALS, *, sets: bool = True) -> Entry:
    """The entry that a run leaves; without sets: as before versions of columns were kept."""
    node = totals if sets else replace(totals, reads={})
    step = planner({"orders": of}, node).decide("totals", {"orders": of})
    record = read_record(step.reads)
    return Entry(
        "totals",
        "table",
        "file://totals",
        "v",
        Provenance(
            step.fingerprint or "",
            code=totals.code,
            inputs={"orders": of.version},
            extra={READ: record} if record else {},
        ),
    )


def decide(before: Entry, now: Entry, totals: Node = TOTALS, **more):
    return planner({"totals": before, "orders": now}, totals, **more).decide("totals", {"orders": now})


SET = "amount,id,o"


def test_a_change_elsewhere_in_the_table_runs_nothing():
    step = decide(made(orders("t1", **{SET: "s1"})), orders("t2", **{SET: "s1"}))
    assert step.action == "reuse"
    assert [(r.kind, r.text) for r in step.reasons] == [
        ("columns", "orders changed, but not the columns it reads (amount, id)")
    ]


def test_a_change_in_the_columns_that_are_read_runs():
    step = decide(made(orders("t1", **{SET: "s1"})), orders("t2", **{SET: "s2"}))
    assert step.action == "run"
    assert [r.kind for r in step.reasons] == ["input"]


def test_an_unchanged_table_needs_no_versions_of_columns():
    for before in (orders("t1"), orders("t1", **{SET: "s1"})):
        for now in (orders("t1"), orders("t1", **{SET: "s1"})):
            step = decide(made(before), now)
            assert (step.action, [r.kind for r in step.reasons]) == ("reuse", ["same"])


def test_an_entry_from_before_versions_of_columns_stands_and_is_not_reused_wrongly():
    old = made(orders("t1"), sets=False)
    assert decide(old, orders("t1", **{SET: "s1"})).action == "reuse"
    assert decide(old, orders("t2", **{SET: "s1"})).action == "run"


def test_an_entry_that_compared_columns_runs_where_the_present_table_keeps_none():
    assert decide(made(orders("t1", **{SET: "s1"})), orders("t2")).action == "run"


def test_a_set_that_covers_what_is_read_serves_as_well():
    wide = "amount,at,id,o"
    assert decide(made(orders("t1", **{wide: "w1"})), orders("t2", **{wide: "w1"})).action == "reuse"
    assert decide(made(orders("t1", **{wide: "w1"})), orders("t2", **{wide: "w2"})).action == "run"
    narrow = orders("t1", **{SET: "s1", wide: "w1"})
    assert decide(made(narrow), orders("t2", **{SET: "s1", wide: "w2"})).action == "reuse"
    other = orders("t2", **{"amount,id": "s1"})  # lacks one: it says nothing
    assert decide(made(narrow), other).action == "run"


def test_a_reader_of_all_columns_looks_at_the_whole_table():
    whole = replace(TOTALS, reads={"orders": None})
    assert (
        decide(made(orders("t1", **{SET: "s1"}), whole), orders("t2", **{SET: "s1"}), whole).action == "run"
    )


def test_a_reader_of_rows_alone_says_so():
    count = replace(TOTALS, reads={"orders": ()})
    step = decide(made(orders("t1", **{"": "n"}), count), orders("t2", **{"": "n"}), count)
    assert [r.text for r in step.reasons] == ["orders changed, but not in the number of its rows"]


def test_changed_code_runs_whatever_the_columns_hold():
    same = orders("t1", **{SET: "s1"})
    assert decide(made(same), same, replace(TOTALS, code="c3")).action == "run"


def test_what_another_ref_computed_from_the_same_columns_is_taken_over():
    theirs = made(orders("t1", **{SET: "s1"}))
    known = {theirs.provenance.fingerprint: Found(theirs, 7, "fix-x", "sandbox", True, 3)}
    now = orders("t9", **{SET: "s1"})
    step = planner({"orders": now}, lookup=known.get).decide("totals", {"orders": now})
    assert (step.action, step.adopted) == ("reuse", "fix-x@3")


def test_what_another_ref_computed_from_the_same_table_before_columns_were_kept_is_taken_over():
    theirs = made(orders("t1"), sets=False)
    known = {theirs.provenance.fingerprint: Found(theirs, 7, "fix-x", "sandbox", True, 3)}
    now = orders("t1", **{SET: "s1"})
    step = planner({"orders": now}, lookup=known.get).decide("totals", {"orders": now})
    assert (step.action, step.adopted) == ("reuse", "fix-x@3")


def test_an_entry_tells_without_its_code_whether_it_would_read_the_same():
    entry = made(orders("t1", **{SET: "s1"}))
    assert same_reads(entry.provenance, "orders", orders("t1"))
    assert same_reads(entry.provenance, "orders", orders("t2", **{SET: "s1"}))
    assert not same_reads(entry.provenance, "orders", orders("t2", **{SET: "s2"}))
    assert not same_reads(entry.provenance, "orders", orders("t2"))
    assert not same_reads(entry.provenance, "orders", None)


@pytest.mark.parametrize("names", [None, (), ("a",), ("b", "A")])
def test_what_counts_is_among_what_is_offered(names):
    entry = orders("t1", **{"": "n", "a": "va", "a,b": "vab"})
    read = read_of(names, entry)
    assert read.version == read.offered[0]
    assert read.offered[-1] == read.table == "t1"
    assert read.names == (None if names is None else column_set(names))


# A table is here the tuple of its columns' values; versions are what they stand for.
TABLES = st.dictionaries(st.sampled_from("abc"), st.integers(0, 1), max_size=3)
SETS = st.sets(st.sets(st.sampled_from("abc")).map(lambda s: tuple(sorted(s))), max_size=3)
READS = st.one_of(st.none(), st.sets(st.sampled_from("abc")).map(lambda s: tuple(sorted(s))))


def entry_of(table: dict[str, int], sets: set[tuple[str, ...]]) -> Entry:
    kept = {set_text(names): repr(sorted((k, v) for k, v in table.items() if k in names)) for names in sets}
    return orders(repr(list(table.items())), **kept)


@given(st.lists(st.tuples(TABLES, SETS), min_size=2, max_size=6), READS)
def test_no_history_makes_a_reader_keep_what_it_would_read_otherwise(history, names):
    """Whatever versions were kept when: the reader's entry always holds what it would make of the table at hand."""
    node = replace(TOTALS, reads={"orders": names})
    holds = standing = None
    for table, sets in history:
        now = entry_of(table, sets)
        read = sorted((k, v) for k, v in table.items() if names is None or k in names)
        if standing is None or decide(standing, now, node).action == "run":
            standing, holds = made(now, node), read
        assert holds == read
        assert decide(standing, now, node).action == "reuse"
