"""What clones are called, and how hostile names are quoted."""

from __future__ import annotations

import json
import re

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.clones.base import CloneRecord, Mark, NameRule
from anabranch.clones.naming import clone_name, duckdb_name, duckdb_text, postgres_name, postgres_text
from anabranch.errors import CloneError
from anabranch.names import now, sandbox_name

HOSTILE = [
    'x"; drop database production; --',
    "a' or '1'='1",
    "../../etc/passwd",
    "${HOME}",
    "{source}",
    "a\nb",
    "Ünïcode",
    "日本語",
    "-",
    "a" * 500,
    "$$",
    "\\",
    "%s",
]


def named(
    sandbox: str = "fix",
    pull_request: str | None = None,
    *,
    template: str = "{source}_clone_{sandbox}",
    source: str = "shop",
    length: int = 63,
    upper: bool = False,
) -> str:
    rule = NameRule(length, upper=upper)
    return clone_name(
        template, rule, source=source, sandbox=sandbox, clone="sales", pull_request=pull_request
    )


def test_a_plain_name_is_the_template_filled_in() -> None:
    assert named("fix_42") == "shop_clone_fix_42"
    assert named(pull_request="42", template="{clone}_{pull_request}") == "sales_42"


def test_the_guides_name_for_a_pull_request_comes_out_as_they_write_it() -> None:
    template = "{source}_clone_{pull_request}"
    assert (
        named(pull_request="42", template=template, source="PRODUCTION", upper=True) == "PRODUCTION_CLONE_42"
    )


def test_names_that_would_be_equal_get_a_digest() -> None:
    names = [named(s) for s in ("feature-a", "feature.a", "feature_a")]
    assert len(set(names)) == 3
    assert names[2] == "shop_clone_feature_a"
    assert re.fullmatch(r"shop_clone_feature_a_x[0-9a-f]{8}", names[0])


def test_a_name_that_looks_like_a_digest_gets_one_of_its_own() -> None:
    taken = named("feature-a")
    imitation = taken.removeprefix("shop_clone_")
    assert named(imitation) != taken


def test_a_long_name_is_cut_and_told_apart() -> None:
    a, b = named("a" * 48 + "1", length=40), named("a" * 48 + "2", length=40)
    assert a != b
    assert len(a) <= 40
    assert len(b) <= 40


def test_a_template_with_a_pull_request_is_refused_where_there_is_none() -> None:
    with pytest.raises(CloneError, match="named by its pull request") as caught:
        named(template="{source}_{pull_request}")
    assert "{sandbox}" in (caught.value.hint or "")


@given(st.text() | st.sampled_from(HOSTILE), st.text() | st.sampled_from(HOSTILE), st.integers(24, 255))
def test_whatever_comes_in_a_plain_word_of_allowed_length_comes_out(a: str, b: str, length: int) -> None:
    template = "{source}_clone_{sandbox}_{pull_request}"
    name = named(a, b, template=template, length=length)
    assert re.fullmatch(r"[A-Za-z0-9_]+", name)
    assert len(name) <= length


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_git_branches_have_two_clones(a: str, b: str) -> None:
    if a != b:
        assert named(sandbox_name(a)) != named(sandbox_name(b))


@given(st.text())
def test_duckdb_reads_back_what_was_quoted(text: str) -> None:
    if not text or "\0" in text:
        with pytest.raises(CloneError, match="DuckDB"):
            duckdb_name(text)
        return
    found = duckdb.execute(f"select 1 as {duckdb_name(text)}, {duckdb_text(text)}")
    assert found.description[0][0] == text
    assert found.fetchall() == [(1, text)]


@pytest.mark.parametrize("wrong", ["", "a\0b", "é" * 32, "a" * 64, "\ud800"])
def test_what_postgres_would_cut_or_refuse_is_an_error(wrong: str) -> None:
    with pytest.raises(CloneError, match="Postgres"):
        postgres_name(wrong)


def test_postgres_quoting_leaves_no_quote_alone() -> None:
    assert postgres_name('a"b') == '"a""b"'
    assert postgres_text("a'b") == "'a''b'"
    assert postgres_text("a\\'b") == "E'a\\\\''b'"


# records and marks


def record() -> CloneRecord:
    return CloneRecord(
        "0abc",
        "shop",
        "sales",
        "sqlite",
        "shop",
        "shop_clone_fix",
        "fix",
        7,
        "making",
        now(),
        pull_request="42",
    )


def test_a_record_survives_being_written_down() -> None:
    first = record().with_(refreshed_at=now(), properties={"how": "copy"})
    assert CloneRecord.from_dict(json.loads(json.dumps(first.to_dict()))) == first


@given(st.text(), st.text(), st.text(), st.text())
def test_a_mark_is_one_line_of_ascii_that_is_read_back(a: str, b: str, c: str, d: str) -> None:
    mark = Mark(a, b, c, d)
    assert str(mark).isascii()
    assert "\n" not in str(mark)
    assert Mark.parse(str(mark)) == mark


@pytest.mark.parametrize(
    "text", [None, "", "nightly copy", "anabranch clone ", 'anabranch clone {"id": 1}', "anabranch clone []"]
)
def test_what_holds_no_mark_of_ours_gives_none(text: str | None) -> None:
    assert Mark.parse(text) is None
