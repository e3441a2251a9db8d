"""A run as a page: complete in itself, hostile to nothing, readable without the picture."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from anabranch.catalog.base import RunRecord
from anabranch.report.html_run import run_page
from anabranch.report.lines import text_of
from anabranch.report.text_run import run_record_lines
from anabranch.running.timeline import Bar, summary

START = datetime(2026, 11, 20, 9, tzinfo=UTC)
EVIL = "<script>alert(1)</script>\u202e"


class Page(HTMLParser):
    """What is in a page: its tags, its text, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action") and not (value or "").startswith("#"):
                self.fetched.append(value or "")
            assert not name.startswith("on")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def record(**more) -> RunRecord:
    bars = [
        Bar("orders", "orders", "asset", 1, 0, 0.0, 1.0, 0.0, "retried", (), "503 from the shop"),
        Bar("orders", "orders", "asset", 2, 0, 2.0, 1.5, 0.2, "ran"),
        Bar("customers", "customers", "asset", 1, 1, 0.0, 0.5, 0.0, "ran"),
        Bar(
            "orders:unique",
            "orders:unique",
            "check",
            1,
            1,
            3.5,
            0.2,
            0.0,
            "warned",
            ("orders",),
            "2 rows repeat",
        ),
        Bar(
            "report",
            "report",
            "asset",
            1,
            0,
            3.5,
            2.0,
            0.0,
            "failed",
            ("orders", "customers"),
            f"boom {EVIL}",
        ),
    ]
    assets = [
        {"asset": "orders", "state": "ran", "seconds": 1.5, "rows": 9, "attempts": 2, "error": None, "cause": None},
        {"asset": "customers", "state": "ran", "seconds": 0.5, "rows": 3, "attempts": 1, "error": None, "cause": None},
        {"asset": "report", "state": "failed", "seconds": 2.0, "rows": None, "attempts": 1, "error": {"message": "boom"}, "cause": None},
        {"asset": "letter", "state": "blocked", "seconds": 0.0, "rows": None, "attempts": 1, "error": None, "cause": "report"},
        {"asset": "days", "state": "reused", "seconds": 0.0, "rows": 7, "attempts": 1, "error": None, "cause": None},
    ]  # fmt: skip
    properties = {
        "author": "Ada",
        "seconds": 5.6,
        "assets": assets,
        "checks": [{"asset": "orders", "check": "unique", "blocking": False, "passed": False, "message": "2 rows repeat"}],
        "warnings": ["the limit of the tag x holds for no asset"],
        "reasons": {"orders": ["the function orders changed"], "report": ["orders runs first"]},
        "timeline": summary(bars),
        "error": None,
    } | more  # fmt: skip
    return RunRecord("3k2abc", 1, 2, "failed", START, START, git_commit="c0ffee", properties=properties)


def test_the_page_is_complete_in_itself_and_runs_no_script():
    page = run_page(record(), title=f"shop: run {EVIL}", target=EVIL)
    found = Page(page)
    assert found.open == []
    assert found.fetched == []
    assert not {"script", "iframe", "img", "link"} & set(found.tags)
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "prefers-color-scheme:dark" in page


def test_everything_in_the_picture_stands_in_the_table_too():
    found = Page(run_page(record(), title="shop: run 3k2abc", target="production"))
    assert {"svg", "rect", "table", "caption"} <= set(found.tags)
    assert found.tags.count("rect") == 5
    for told in (
        "worker 1",
        "worker 2",
        "orders (try 1)",
        "failed, tried again",
        "503 from the shop",
        "the function orders changed",
        "check warns",
        "2 rows repeat",
        "boom",
        "letter",
        "because report failed",
        "days",
        "critical path: orders → report",
        "the limit of the tag x holds for no asset",
        "production",
    ):
        assert told in found.text, told


def test_a_record_from_before_timelines_were_kept_says_so():
    found = Page(run_page(record(timeline=None), title="old"))
    assert "No step has run" in found.text
    assert "svg" in found.tags  # the sign above the heading
    assert "rect" not in found.tags


def test_a_run_that_is_still_under_way_has_a_page():
    assert "running" in run_page(RunRecord("3k2abc", 1, 2, "running", START), title="now")


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 0.3, 59, 4000, 90_000, 4e7])
def test_the_scale_has_a_handful_of_round_moments_whatever_a_run_takes(seconds):
    bars = [Bar("a", "a", "asset", 1, 0, 0.0, seconds, 0.0, "ran")]
    ticks = Page(run_page(record(timeline=summary(bars)), title="x")).tags.count("line")
    assert 1 <= ticks <= 12


def test_the_same_run_is_the_same_page():
    assert run_page(record(), title="x") == run_page(record(), title="x")


def test_the_text_draws_when_each_step_ran_and_names_the_critical_path():
    text = text_of(run_record_lines(record(), target="production"))
    orders, report = (
        next(one for one in text.splitlines() if f" {key} " in one) for key in ("orders", "report")
    )
    assert "×" in orders.split("█")[0]
    assert "2 tries" in orders
    assert report.index("×") > orders.index("×")
    assert "critical path: orders → report" in text
    assert "warning: the limit" in text
    assert "--html run.html" in text


def test_the_text_of_many_steps_is_cut_and_says_so():
    assets = [
        {"asset": f"a{n}", "state": "ran", "seconds": 1.0, "rows": 1, "attempts": 1} for n in range(100)
    ]
    run = record(assets=assets, timeline=None)
    assert "and 60 more (-v shows all)" in text_of(run_record_lines(run))
    assert "a99" in text_of(run_record_lines(run, verbose=True))
