"""Lines: harmless, aligned, humane."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.report.lines import (
    Span,
    clean,
    columns,
    count,
    cut,
    duration,
    fit,
    line,
    listed,
    moment,
    paragraph,
    short_version,
    size,
    text_of,
    width,
)

ANY_TEXT = st.text(st.characters(codec=None), max_size=60)


@given(ANY_TEXT)
def test_no_span_holds_a_character_that_a_terminal_obeys(text):
    shown = Span(text).text
    for character in shown:
        kind = unicodedata.category(character)
        assert kind not in ("Cc", "Cs", "Zl", "Zp")
        assert kind != "Cf" or character == "\u200d"
    assert clean(shown) == shown


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_ordinary_text_stays_as_it_is(text):
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("two\nlines\r\tand", "two\\nlines\\r\\tand"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud800", "\\ud800"),
        ("[bold]markup[/bold]", "[bold]markup[/bold]"),
        ("naïve 日本 👩‍💻", "naïve 日本 👩‍💻"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_escapes_are_written_out_and_the_rest_is_left(text, shown):
    assert clean(text) == shown


@given(ANY_TEXT.map(clean), st.integers(1, 40))
def test_a_cut_text_is_no_wider_than_asked_and_begins_as_the_text(text, limit):
    shown = cut(text, limit)
    assert width(shown) <= limit
    assert shown == text or (shown.endswith("…") and text.startswith(shown[:-1]))


def test_wide_and_combining_characters_are_counted_as_a_terminal_does():
    assert width("日本") == 4
    assert width("e\u0301") == 1
    assert cut("日本語", 4) == "日…"


CELLS = st.lists(st.lists(ANY_TEXT, min_size=1, max_size=4), min_size=1, max_size=5)


@given(CELLS, st.integers(20, 100))
def test_a_table_never_passes_the_edge_of_the_screen(rows, limit):
    for one in columns(rows, limit=limit):
        assert sum(width(span.text) for span in one) <= limit


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=2, max_size=5))
def test_columns_begin_at_one_place(rows):
    starts = set()
    for one in columns([[first, Span(second, "key")] for first, second in rows]):
        before = 0
        for span in one:
            if span.style == "key":
                starts.add(before)
            before += width(span.text)
    assert len(starts) == 1


def test_numbers_stand_to_the_right():
    assert text_of(columns([["a", "1"], ["b", "1,000"]], right=(1,))) == "  a      1\n  b  1,000\n"


def test_the_chosen_column_is_cut_first():
    rows = [["orders", "a very long reason why it has to run again", "1.4 s"]]
    assert text_of(columns(rows, limit=40, give=1)) == "  orders  a very long reason why…  1.4 s\n"


def test_a_line_that_is_too_long_is_cut_with_an_ellipsis():
    assert text_of([fit(line("abc", Span("defgh", "key"), "ijk"), 7)]) == "abcdef…\n"
    assert fit(line("abc"), 3) == line("abc")
    assert fit(line("abc"), None) == line("abc")


def test_a_paragraph_keeps_its_lines_and_indents():
    assert text_of(paragraph("a\n\tb\x1b", indent="  ")) == "  a\n      b\\x1b\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0004, "1 ms"),
        (0.045, "45 ms"),
        (0.0994, "99 ms"),
        (0.0996, "0.1 s"),
        (1.44, "1.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86400 * 3 + 3600 * 4, "3 d 4 h"),
    ],
)
def test_durations_are_humane(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (123_456_789, "123 MB"),
        (999_960, "1.0 MB"),
        (5e15, "5,000 TB"),
    ],
)
def test_sizes_are_humane(number, text):
    assert size(number) == text


def test_counts_have_separators_and_the_right_number():
    assert count(1, "row") == "1 row"
    assert count(327346, "row") == "327,346 rows"
    assert count(2, "entry", "entries") == "2 entries"


def test_versions_show_what_tells_them_apart():
    assert short_version("ab1:0123456789abcdef:3:a1b05c2d3aa9bf08ce7aa4932a4e176b") == "a1b05c2d"
    assert short_version("f1:deadbeefcafe") == "deadbeef"
    assert short_version(None) == "—"


def test_lists_are_folded_only_where_that_saves_something():
    assert listed(["a", "b", "c", "d"]) == "a, b, c, d"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert listed(["a", "b", "c", "d", "e"], None) == "a, b, c, d, e"


def test_moments_are_on_the_readers_clock():
    time = datetime(2026, 11, 20, 9, 12, tzinfo=UTC)
    assert moment(time) == time.astimezone().strftime("%Y-%m-%d %H:%M")
