"""What a person reads of a difference in data, and of the answer to a query."""

from __future__ import annotations

import pytest

from anabranch.diff.rows import RowSample, RowsDiff
from anabranch.diff.schema import Field, SchemaDiff
from anabranch.diff.summary import ColumnSummary, Diff, SummaryPair, TableDiff
from anabranch.report.lines import text_of, width
from anabranch.report.text_diff import diff_lines, rows_lines, value_text

ROWS = RowsDiff(
    added=12,
    removed=1,
    changed=3_210,
    unchanged=324_123,
    by_column={"delay": 3_210, "carrier": 4},
    samples=(
        RowSample(
            "changed",
            {"id": 7},
            {"id": 7, "delay": 3.0, "carrier": "AA"},
            {"id": 7, "delay": 4.5, "carrier": "AA"},
        ),
    ),
    keyed=True,
)
SCHEMA = SchemaDiff(
    added=(Field("late", 5, "bool"),),
    removed=(Field("old", 2, "string"),),
    retyped=((Field("n", 3, "int32"), Field("n", 3, "int64")),),
    renamed=((Field("a", 4, "string"), Field("b", 4, "string")),),
    reordered=True,
    widened=("n",),
)


def diff_of(*tables):
    return Diff("production@1", "fix@3", tables)


def changed(**more):
    fields = {"left_rows": 327_334, "right_rows": 327_345, "rows": ROWS}
    return TableDiff("delays", "table", "changed", "l", "r", **{**fields, **more})


def test_a_changed_table_tells_counts_columns_and_samples():
    told = text_of(diff_lines(diff_of(changed())))
    assert told.splitlines()[:6] == [
        "production@1 → fix@3",
        "delays  changed  327,334 → 327,345 rows (+11)",
        "  rows: 12 added, 1 removed, 3,210 changed, 324,123 unchanged",
        "  changed columns: delay (3,210), carrier (4)",
        "       id  delay",
        "    ~  7   3.0 → 4.5",
    ]
    assert "1 table differs" in told
    assert told.splitlines()[-1].startswith("next: anabranch promote")


def test_the_schema_is_told_column_by_column():
    told = text_of(diff_lines(diff_of(changed(schema=SCHEMA))))
    assert "+ column  late  bool" in told
    assert "- column  old   string" in told
    assert "~ column  n     int32 → int64" in told
    assert "~ column  b     was a" in told
    assert "another order" in told
    assert "not compatible" in told


def test_added_and_removed_rows_show_all_their_columns():
    samples = (
        RowSample("added", {}, None, {"x": 1, "y": None}),
        RowSample("removed", {}, {"x": 2, "y": "a\x1b[2J"}, None),
    )
    told = text_of(diff_lines(diff_of(changed(rows=RowsDiff(1, 1, 0, 5, samples=samples)))))
    assert "    +  1  null" in told
    assert "    -  2  a\\x1b[2J" in told
    assert "1 added, 1 removed, 5 unchanged" in told


def test_tables_and_files_that_came_or_went_are_told():
    told = text_of(
        diff_lines(
            diff_of(
                TableDiff("new", "table", "added", None, "r", None, 16, SchemaDiff(), RowsDiff(16, 0, 0, 0)),
                TableDiff("old", "table", "removed", "l", None, 1, None, SchemaDiff(), RowsDiff(0, 1, 0, 0)),
                TableDiff("model", "file", "changed", "l", "r", left_bytes=812, right_bytes=12_345),
                TableDiff("same", "table", "same", "l", "l", 3, 3),
            )
        )
    )
    assert "new  added  16 rows" in told
    assert "old  removed  1 row" in told
    assert "model  changed  812 B → 12.3 kB" in told
    assert "3 tables differ, 1 same" in told
    assert "\nsame" not in told


def test_no_difference_is_told_as_such():
    assert "no difference" in text_of(diff_lines(diff_of()))
    assert "no difference" in text_of(diff_lines(diff_of(TableDiff("a", "table", "same"))))


def test_a_note_on_how_it_was_compared_is_told():
    assert "note: the key is not unique" in text_of(
        diff_lines(diff_of(changed(note="the key is not unique")))
    )


def test_verbose_adds_summaries():
    pair = SummaryPair(
        "delay",
        ColumnSummary("delay", "double", 5, 1, 3, -2.0, 10.0, 3.25),
        ColumnSummary("delay", "double", 6, 0, 4, -2.0, 12.0, None),
    )
    table = changed(summaries=(pair,))
    assert "greatest" not in text_of(diff_lines(diff_of(table)))
    told = text_of(diff_lines(diff_of(table), verbose=True))
    assert "greatest" in told
    assert "3.25" in told


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (3.0, "3.0"),
        (0.1 + 0.2, "0.3"),
        (1e300, "1e+300"),
        ("x" * 100, "x" * 39 + "…"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_values_are_shown_in_one_cell(value, text):
    assert value_text(value) == text


def test_floats_that_json_lacks_come_as_text():
    assert value_text("NaN") == "NaN"
    assert value_text(float("inf")) == "inf"
    assert value_text(float("nan")) == "nan"


def test_query_rows_are_aligned_and_fit():
    told = text_of(rows_lines(["id", "name"], [[1, "a"], [1000, None]], ref="production@1", numeric=[0]))
    assert told.splitlines()[:3] == ["  id  name", "   1  a", "1000  null"]
    assert "2 rows of production@1" in told
    more = text_of(rows_lines(["id"], [[1]], ref="x@1", more=True))
    assert "the first 1 row of x@1" in more
    assert "--limit 0" in more
    for one in rows_lines(["n" * 90, "m" * 90], [["v" * 90, "日" * 90]], ref="x@1", limit=50)[:2]:
        assert sum(width(span.text) for span in one) <= 50
