"""The page of a diff: complete in itself, readable by a machine that reads pages aloud, and safe with hostile data."""

import re
from html.parser import HTMLParser

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
from anabranch.report.html import diff_page
from anabranch.report.markup import Html, join, tag, text

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\u202e\x1b[31m`|@all"
VOID = {"meta", "br", "path"}


def changed_table(name="flights", word="x", count=1000, **schema):
    summary = ColumnSummary(word, "string", 10, 2, 3, word, word, None)
    return TableDiff(
        name,
        "table",
        "changed",
        "ab1:" + word,
        "ab1:new" + word,
        10_000,
        10_001,
        SchemaDiff(**schema),
        RowsDiff(
            added=2,
            removed=1,
            changed=count,
            unchanged=10_000 - count - 1,
            by_column={word: count},
            samples=(
                RowSample(
                    "changed", {"id": 1}, {"id": 1, word: word, "kept": 5}, {"id": 1, word: None, "kept": 5}
                ),
                RowSample("removed", {"id": 2}, {"id": 2, word: "", "kept": [1, {"a": word}]}, None),
                RowSample("added", {"id": 3}, None, {"id": 3, word: True, "kept": 0.5}),
            ),
            keyed=True,
        ),
        (SummaryPair(word, summary, summary), SummaryPair("new" + word, None, summary)),
        note=word,
    )


class Page(HTMLParser):
    """Tags, their nesting and their texts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.cells, self.ids, self.links, self.attributes = [], [], [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes += attributes
        found = dict(attributes)
        if "id" in found:
            self.ids.append(found["id"])
        if name == "a":
            self.links.append(found["href"])
        if name in ("td", "th"):
            self.cells.append([found.get("class", ""), ""])
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        if name not in VOID:
            assert self.open.pop() == name

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.cells[-1][1] += data


def page_of(*tables, **more):
    return diff_page(Diff("production@41", "feature@7", tables), title="A change", **more)


def test_every_element_is_closed_in_order_and_every_link_leads_somewhere():
    page = Page(page_of(changed_table(), changed_table("weather"), diff_files("f", None, ("f1:a", 3))))
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)


def test_the_page_loads_nothing_and_runs_nothing():
    page = page_of(changed_table())
    assert "default-src 'none'" in page
    parsed = Page(page)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(parsed.tags)
    assert not re.search(r"https?://|url\(|@import", page)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]


def test_hostile_data_stays_text_wherever_it_stands():
    field = Field(HOSTILE, 1, HOSTILE)
    table = changed_table(
        HOSTILE,
        HOSTILE,
        added=(field,),
        removed=(field,),
        renamed=((field, field),),
        retyped=((field, field),),
    )
    page = diff_page(
        Diff(HOSTILE, HOSTILE, (table, TableDiff(HOSTILE + "2", "table", "same"))),
        title=HOSTILE,
        details={HOSTILE: HOSTILE, "none": None},
    )
    parsed = Page(page)
    assert not {"script", "img"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert "<script" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert parsed.open == []
    assert "none" not in [text for _, text in parsed.cells]


def test_only_changed_cells_are_marked():
    page = Page(page_of(changed_table()))
    assert [text for cls, text in page.cells if cls == "off"] == ["x"]
    assert [text for cls, text in page.cells if cls == "on"] == ["null"]


def test_null_the_empty_text_and_texts_can_be_told_apart():
    page = page_of(changed_table())
    assert '<span class="null">null</span>' in page
    assert '<span class="null" title="an empty text">&quot;&quot;</span>' in page
    assert ">true<" in page


def test_changed_columns_stand_before_the_others_and_keys_first():
    before = {"a": 1, "id": 7, "z": 1}
    rows = RowsDiff(
        0, 0, 1, 0, {"z": 1}, (RowSample("changed", {"id": 7}, before, {**before, "z": 2}),), keyed=True
    )
    page = Page(page_of(TableDiff("t", "table", "changed", schema=SchemaDiff(), rows=rows)))
    cells = [text for _, text in page.cells]
    heads = cells[cells.index("Side") :]
    assert heads.index("id") < heads.index("z") < heads.index("a")


def test_a_renamed_column_is_compared_with_its_old_self():
    rename = ((Field("old", 2, "int64"), Field("new", 2, "int64")),)
    rows = RowsDiff(
        0,
        0,
        1,
        0,
        {"x": 1},
        (RowSample("changed", {"id": 1}, {"id": 1, "old": 5, "x": 1}, {"id": 1, "new": 5, "x": 2}),),
        keyed=True,
    )
    page = Page(page_of(TableDiff("t", "table", "changed", schema=SchemaDiff(renamed=rename), rows=rows)))
    assert [text for cls, text in page.cells if cls in ("on", "off")] == ["1", "2"]


def test_totals_states_and_compatibility_are_told():
    field = Field("gone", 1, "int64")
    page = page_of(
        changed_table(removed=(field,)),
        TableDiff("new", "table", "added", rows=RowsDiff(5, 0, 0, 0), right_rows=5),
        TableDiff("quiet", "table", "same"),
    )
    assert "of 3 tables changed" in page
    assert "<b>+7</b>" in page
    assert "<b>~1,000</b>" in page
    assert "schema not compatible" in page
    assert "1 table is the same on both sides" in page
    assert "10,000 → 10,001 rows (+1)" in page


def test_small_shares_are_not_rounded_to_nothing():
    rows = RowsDiff(1, 0, 0, 10_000_000)
    page = page_of(TableDiff("t", "table", "changed", rows=rows))
    assert "&lt;0.01 %" in page
    assert "&gt;99.99 %" in page


def test_nothing_changed_is_said():
    assert "Nothing changed" in page_of(TableDiff("t", "table", "same"))
    assert "Nothing changed" in page_of()


def test_the_same_diff_is_the_same_page():
    assert page_of(changed_table()) == page_of(changed_table())


def test_a_huge_diff_is_cut_and_says_so():
    page = page_of(*(TableDiff(f"t{n:04d}", "table", "changed") for n in range(510)))
    assert "10 more tables changed and are not shown here" in page
    row = {f"c{n}": n for n in range(200)}
    rows = RowsDiff(1, 0, 0, 0, samples=(RowSample("added", {}, None, {**row, "c0": "y" * 5000}),))
    page = page_of(TableDiff("t", "table", "changed", rows=rows))
    assert "and 140 more columns" in page
    assert ">" + "y" * 241 not in page


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (tag("p", "<", cls="a b"), '<p class="a b">&lt;</p>'),
        (tag("p", Html("<b>"), None, ["x", 1]), "<p><b>x1</p>"),
        (tag("meta", charset='"'), '<meta charset="&quot;">'),
        (tag("a", aria_label=None, hidden=True, open=False), "<a hidden></a>"),
        (join(), ""),
        (text("a\x00b"), "a\\x00b"),
    ],
)
def test_markup_escapes_what_is_not_markup(made, expected):
    assert made == expected
