"""The text for a pull request: bounded, folded, and safe with hostile data."""

import re

import pytest

from anabranch.diff import (
    ColumnSummary,
    Diff,
    Field,
    RowSample,
    RowsDiff,
    SchemaDiff,
    SummaryPair,
    TableDiff,
    diff_files,
)
from anabranch.report.markdown import diff_markdown

HOSTILE = "</summary><script>x</script> ```` | \n# head @everyone ![p](http://evil.example/p) \u202e\x1b"


def table(name="flights", samples=1, **more):
    rows = RowsDiff(
        added=1,
        removed=1,
        changed=samples,
        unchanged=97,
        by_column={"delay": samples},
        samples=(
            *(
                RowSample(
                    "changed",
                    {"id": n},
                    {"id": n, "delay": 1.5, "note": "a"},
                    {"id": n, "delay": None, "note": "a"},
                )
                for n in range(samples)
            ),
            RowSample("removed", {"id": 8}, {"id": 8, "delay": 2, "note": ""}, None),
            RowSample("added", {"id": 9}, None, {"id": 9, "delay": 3, "note": "b"}),
        ),
        keyed=True,
    )
    left, right = (
        ColumnSummary("delay", "double", 9, 0, 5, 1, 9, 4.5),
        ColumnSummary("delay", "double", 9, 1, 5, 1, 8, 4.25),
    )
    return TableDiff(
        name,
        "table",
        "changed",
        "v1",
        "v2",
        99,
        99,
        more.pop("schema", SchemaDiff()),
        rows,
        (SummaryPair("delay", left, right),),
        **more,
    )


def outside_code(markdown):
    """The text without its fences and code spans."""
    lines, fence = [], None
    for line in markdown.split("\n"):
        run = re.match(r"`{3,}", line)
        if fence is None and run:
            fence = run[0]
        elif fence is not None and line == fence:
            fence = None
        elif fence is None:
            lines.append(line)
    assert fence is None
    return re.sub(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", "", "\n".join(lines))


def test_a_changed_row_is_told_by_its_key_and_what_changed():
    told = diff_markdown(Diff("production", "feature", (table(),)))
    assert "  id: 0\n-   delay: 1.5\n+   delay: null\n" in told
    assert '- id: 8, delay: 2, note: ""' in told
    assert '+ id: 9, delay: 3, note: "b"' in told
    assert "-   note" not in told


def test_the_headline_counts_tables_and_rows():
    told = diff_markdown(
        Diff("production@41", "feature", (table(), TableDiff("quiet", "table", "same"))), title="Fix"
    )
    assert told.startswith(
        "### Fix\n\n**1 of 2 tables changed** from `production@41` to `feature`: +1 rows, −1 rows, ~1 changed."
    )
    assert "quiet" not in told


def test_nothing_changed_is_said():
    assert diff_markdown(Diff("a", "b")) == "**No table changed** from `a` to `b`.\n"


def test_every_change_of_the_schema_is_told():
    field = lambda name, kind="int64": Field(name, 1, kind)
    schema = SchemaDiff(
        added=(field("new"),),
        removed=(field("gone"),),
        renamed=((field("old"), field("name")),),
        retyped=((field("a", "int32"), field("a")), (field("b"), field("b", "string"))),
        widened=("a",),
        reordered=True,
    )
    told = diff_markdown(Diff("a", "b", (table(schema=schema),)))
    for words in (
        "`new` `int64` added",
        "`gone` `int64` removed",
        "`old` renamed to `name`",
        "`a` `int32` → `int64`, widened",
        "`b` `int64` → `string`, ⚠️ not compatible",
        "columns stand in another order",
        "⚠️ **1 schema not compatible.**",
    ):
        assert words in told


def test_files_and_missing_sides_are_told():
    gone = TableDiff("old", "table", "removed", left_rows=3, rows=RowsDiff(0, 3, 0, 0))
    told = diff_markdown(Diff("a", "b", (diff_files("model", ("f1:a", 10), ("f1:b", 2000)), gone)))
    assert "| `model` | 🟠 changed | 10 bytes → 2,000 bytes | – | – | – |" in told
    assert "| `old` | 🔴 gone | 3 rows | 0 | −3 | 0 |" in told


def test_hostile_data_stays_in_code_or_is_escaped():
    field = Field(HOSTILE, 1, HOSTILE)
    hostile = TableDiff(
        HOSTILE,
        "table",
        "changed",
        schema=SchemaDiff(added=(field,), renamed=((field, field),), retyped=((field, field),)),
        rows=RowsDiff(
            1,
            0,
            1,
            0,
            {HOSTILE: 1},
            (
                RowSample(
                    "changed",
                    {HOSTILE: HOSTILE},
                    {HOSTILE: HOSTILE, "x": 1},
                    {HOSTILE: HOSTILE, "x": HOSTILE},
                ),
                RowSample("added", {}, None, {HOSTILE: HOSTILE}),
            ),
        ),
        summaries=(
            SummaryPair(HOSTILE, None, ColumnSummary(HOSTILE, HOSTILE, 1, 0, 1, HOSTILE, HOSTILE, None)),
        ),
        note=HOSTILE,
    )
    told = diff_markdown(Diff(HOSTILE, HOSTILE, (hostile,)), title=HOSTILE)
    assert "\u202e" not in told
    assert "\x1b" not in told
    prose = outside_code(told)
    for evil in ("<script", "](http", "\n# head", "@everyone"):
        assert evil not in re.sub(r"<code>.*?</code>", "", prose)
    assert "<script" not in prose
    # Table rows still have as many cells as their heads.
    for block in re.findall(r"(?:^\|.*\n?)+", told, re.MULTILINE):
        rows = [re.sub(r"\\\|", "", line).count("|") for line in block.strip().split("\n")]
        assert len(set(rows)) == 1


def test_a_fence_is_longer_than_any_run_of_backticks_inside():
    rows = RowsDiff(1, 0, 0, 0, samples=(RowSample("added", {}, None, {"x": "`````"}),))
    told = diff_markdown(Diff("a", "b", (TableDiff("t", "table", "changed", rows=rows),)))
    assert "\n``````diff\n" in told


@pytest.mark.parametrize("limit", [1000, 3000, 20_000])
def test_the_text_is_never_longer_than_its_limit_and_says_what_is_left_out(limit):
    tables = tuple(table(f"table_{n:03d}", samples=20) for n in range(300))
    told = diff_markdown(Diff("a", "b", tables), title="t" * 5000, limit=limit)
    assert len(told) <= limit
    assert re.search(r"_and \d+ more tables_", told)
    assert re.search(r"_Details of \d+ tables are left out for length._", told)
    assert told.count("<details>") == told.count("</details>")


def test_samples_give_way_before_tables_do():
    wide = {f"column_{n}": "v" * 100 for n in range(3)}
    rows = RowsDiff(50, 0, 0, 0, samples=tuple(RowSample("added", {}, None, wide) for _ in range(50)))
    told = diff_markdown(Diff("a", "b", (TableDiff("t", "table", "changed", rows=rows),)), limit=3000)
    assert "<code>t</code>" in told
    assert "vvv" not in told
    assert "left out" not in told
