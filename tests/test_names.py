"""Keys, refs, names of sandboxes, ids and durations: what holds for every input."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from anabranch import names
from anabranch.errors import AnabranchError, RefError
from anabranch.names import (
    Ref,
    did_you_mean,
    is_branch_name,
    is_key,
    join_key,
    nearest,
    new_id,
    now,
    parse_duration,
    parse_limit,
    parse_ref,
    parse_size,
    percent,
    sandbox_name,
    split_key,
)

# Branch names as people and machines make them: pieces that are likely to be taken for one another.
pieces = st.sampled_from(
    [
        "feature",
        "Feature",
        "FEATURE",
        "fix",
        "-",
        "/",
        ".",
        "_",
        "#",
        "é",
        "ü",
        "u",
        "数据",
        "ß",
        "ﬁ",
        "K",
        "1",
        "..",
        " ",
    ]
)
branch_names = st.one_of(
    st.lists(pieces, min_size=1, max_size=6).map("".join),
    st.text(min_size=1, max_size=80),
    st.text(alphabet=st.characters(codec=None, categories=["Cs", "Ll", "Nd"]), min_size=1, max_size=5),
    st.integers(100, 4000).map(lambda n: "very-long/" * (n // 10) + str(n)),
    st.from_regex(r"[a-z]{1,8}-[0-9a-f]{8,16}", fullmatch=True),
    st.sampled_from(
        ["production", "staging", "main", "con", "_sandboxes", ".", "..", "-x", "$(rm -rf)", "a.lock", "a."]
    ),
)

RESERVED = ("production", "staging")


@given(st.sets(branch_names, min_size=2, max_size=30))
@example({"feature/a", "feature-a", "feature_a", "Feature-a", "feature.a", "FEATURE/A"})
@example({"é", "e\u0301", "e"})
def test_different_branches_never_share_a_sandbox(branches: set[str]) -> None:
    made = [sandbox_name(branch, RESERVED) for branch in branches]
    assert len({name.casefold() for name in made}) == len(branches)


@given(branch_names)
@example("K")  # the Kelvin sign, whose lower case is an ASCII letter
@example("\udcff/broken")
def test_a_sandboxes_name_is_a_catalog_branch_and_safe_as_a_file_name(branch: str) -> None:
    name = sandbox_name(branch, RESERVED)
    assert is_branch_name(name)
    assert len(name) <= 48
    assert name == name.lower()
    assert name.isascii()
    assert ".." not in name
    assert "/" not in name
    assert name not in RESERVED


@given(branch_names)
def test_the_name_of_a_sandbox_never_names_another_branchs_sandbox(branch: str) -> None:
    name = sandbox_name(branch)
    assume(name != branch)
    assert sandbox_name(name) != name


@given(branch_names)
def test_a_sandboxes_name_is_stable(branch: str) -> None:
    assert sandbox_name(branch) == sandbox_name(branch)
    assert sandbox_name(branch, ["other"]) == sandbox_name(branch)


def test_a_safe_branch_keeps_its_name_and_others_keep_a_readable_part() -> None:
    assert sandbox_name("fix_delays") == "fix_delays"
    assert sandbox_name("feature/Delays").startswith("feature-delays-")
    assert sandbox_name("数据") == sandbox_name("数据")
    assert sandbox_name("数据").startswith("branch-")
    assert sandbox_name("x" * 49).startswith("x" * 39 + "-")


def test_the_digest_is_the_same_in_every_release() -> None:
    assert sandbox_name("feature/a") == "feature-a-951d42dc"


def test_a_branch_named_as_an_environment_gets_a_name_of_its_own() -> None:
    assert sandbox_name("staging", ["staging"]) != "staging"
    taken = sandbox_name("feature/a")
    longer = sandbox_name("feature/a", [taken])
    assert longer != taken
    assert is_branch_name(longer)
    assert sandbox_name(longer) != longer
    assert sandbox_name("feature/a", [taken, longer]) not in {taken, longer}


@pytest.mark.parametrize("text", ["a", "0", "_x", "production", "a.b-c_d", "x" * 64])
def test_what_names_a_catalog_branch(text: str) -> None:
    assert is_branch_name(text)


@pytest.mark.parametrize("text", ["", "A", "-a", ".a", "a/b", "a b", "é", "a\n", "x" * 65, "a@1"])
def test_what_names_no_catalog_branch(text: str) -> None:
    assert not is_branch_name(text)


@pytest.mark.parametrize("text", ["orders", "marts.orders", "_a", "Orders2", "maintenance.log"])
def test_a_key_survives_splitting_and_joining(text: str) -> None:
    assert is_key(text)
    assert join_key(*split_key(text)) == text


@pytest.mark.parametrize("text", ["", "a.b.c", "1a", "a-b", "a.", ".a", "a\n", "é", "x" * 201, "main.orders"])
def test_what_is_no_key(text: str) -> None:
    assert not is_key(text)


def test_a_bare_name_stands_in_the_default_namespace() -> None:
    assert split_key("orders") == ("main", "orders")
    assert join_key("main", "orders") == "orders"


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("production", Ref("production")),
        ("production@41", Ref("production", commit=41)),
        ("production@2026-11-20", Ref("production", time=datetime(2026, 11, 20, tzinfo=UTC))),
        ("production@2026-11-20T09:00Z", Ref("production", time=datetime(2026, 11, 20, 9, tzinfo=UTC))),
        ("production@2026-11-20 10:30+01:30", Ref("production", time=datetime(2026, 11, 20, 9, tzinfo=UTC))),
        ("user@host/fix", Ref("user@host/fix")),
        ("user@host/fix@7", Ref("user@host/fix", commit=7)),
        ("@types/node-18", Ref("@types/node-18")),
        ("release@v2", Ref("release@v2")),
        ("feature/数据@0", Ref("feature/数据", commit=0)),
        ("41", Ref("41")),
        ("a@²", Ref("a@²")),
    ],
)
def test_a_ref_is_read_as_it_is_written(text: str, ref: Ref) -> None:
    assert parse_ref(text) == ref


@pytest.mark.parametrize(
    "text",
    ["", "@41", "production@", "production@-3", "production@2026-13-40", "production@10:00", "a@" + "9" * 5000,
     "a@0001-01-01T00:00+14:00", "@"],
)  # fmt: skip
def test_what_only_looks_like_a_ref_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(RefError) as caught:
        parse_ref(text)
    assert caught.value.hint


@given(st.text(max_size=40))
def test_any_text_is_a_ref_or_a_ref_error(text: str) -> None:
    try:
        ref = parse_ref(text)
    except RefError:
        return
    assert ref.name
    assert ref.commit is None or ref.time is None


@given(
    st.from_regex(r"[a-z][a-z0-9/@-]{0,10}[a-z]", fullmatch=True),
    st.none()
    | st.integers(0, 10**12)
    | st.datetimes(
        datetime(1971, 1, 1),
        datetime(2200, 1, 1),
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5.5))]),
    ),
)
def test_a_ref_that_is_printed_reads_back_as_the_same_ref(name: str, at: int | datetime | None) -> None:
    ref = Ref(name, commit=at if isinstance(at, int) else None, time=at if isinstance(at, datetime) else None)
    assert parse_ref(str(ref)) == ref


def test_ids_sort_in_the_order_in_which_they_were_made() -> None:
    made = [new_id() for _ in range(5000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {len(text) for text in made} == {16}


def test_ids_of_different_times_sort_by_time_past_the_year_2039(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for year in (2026, 2038, 2039, 2040, 2060, 2100, 2900):
        moment = int(datetime(year, 12, 31, tzinfo=UTC).timestamp() * 1e9)
        monkeypatch.setattr(names, "_last_id", 0)
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment)
        made.append(new_id())
    assert made == sorted(made)


def test_ids_go_on_rising_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert first < new_id() < new_id()


def test_threads_never_draw_the_same_id() -> None:
    drawn: list[list[str]] = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda into=into: into.extend(new_id() for _ in range(2000)))
        for into in drawn
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({text for part in drawn for text in part}) == 8000


def test_now_is_in_utc() -> None:
    assert now().tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta()),
        ("0s", timedelta()),
        ("500ms", timedelta(milliseconds=500)),
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("15min", timedelta(minutes=15)),
        ("1h30m", timedelta(hours=1.5)),
        (" 1h 30 m ", timedelta(hours=1.5)),
        ("14d", timedelta(days=14)),
        ("2w", timedelta(days=14)),
        ("1d1ms", timedelta(days=1, milliseconds=1)),
    ],
)
def test_a_duration_is_read_exactly(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "1",
        "1.5h",
        "-1h",
        "1H",
        "1month",
        "1h-30m",
        "1h 30",
        "h1",
        "9" * 15 + "w",
        "1" * 5000 + "s",
        "٣s",
        "1y",
    ],
)
def test_what_is_no_duration_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(AnabranchError) as caught:
        parse_duration(text)
    assert caught.value.hint


@given(st.text(alphabet="0123456789 mshdwin.-", max_size=20))
def test_any_text_is_a_duration_or_an_error(text: str) -> None:
    try:
        duration = parse_duration(text)
    except AnabranchError:
        return
    assert duration >= timedelta()


@given(st.integers(0, 10**9), st.integers(0, 10**6), st.integers(0, 999))
def test_a_sum_of_durations_is_their_sum(days: int, minutes: int, ms: int) -> None:
    assume(days < 10**8)
    assert parse_duration(f"{days}d{minutes}m{ms}ms") == timedelta(
        days=days, minutes=minutes, milliseconds=ms
    )


@pytest.mark.parametrize(
    ("text", "count", "total", "allowed"),
    [
        (0, 0, 0, True),
        (0, 1, 100, False),
        (5, 5, 10, True),
        ("5", 6, 10, False),
        ("10%", 3, 30, True),  # exact: 0.1 * 30 is more than 3 in binary
        ("10%", 4, 30, False),
        ("0.5 %", 5, 1000, True),
        ("0.5 %", 6, 1000, False),
        ("0%", 0, 0, True),
        ("100%", 7, 7, True),
    ],
)
def test_a_limit_is_a_number_or_an_exact_share(text: object, count: int, total: int, allowed: bool) -> None:
    assert parse_limit(text).allows(count, total) is allowed


@pytest.mark.parametrize(
    "text",
    [
        0.02,
        True,
        None,
        -1,
        [],
        "",
        "-1%",
        "101%",
        "2 percent",
        "%",
        "1e3",
        "0.02",
        "nan",
        "٣%",
        "1" * 5000 + "%",
    ],
)
def test_what_could_mean_either_or_nothing_is_no_limit(text: object) -> None:
    with pytest.raises(AnabranchError, match="is not a limit") as caught:
        parse_limit(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["0", "100", "2%", "0.5%", "12.25%", "100%"])
def test_a_limit_is_shown_as_it_was_written(text: str) -> None:
    assert str(parse_limit(text)) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 10, "0 %"),
        (10, 10, "100 %"),
        (52_606, 336_776, "15.6 %"),
        (1, 336_776, "< 0.1 %"),
        (336_775, 336_776, "99.9 %"),
        (0, 0, "0 %"),
    ],
)
def test_a_share_is_never_told_as_nothing_or_all_unless_it_is(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


def test_a_typing_mistake_finds_the_word_that_was_meant() -> None:
    assert nearest("prodution", ["staging", "production"]) == "production"
    assert nearest("zzz", ["staging", "production"]) is None
    assert did_you_mean("stagin", ["staging"]) == "did you mean 'staging'?"
    assert did_you_mean("zzz", ["staging"], "see the list") == "see the list"
    assert did_you_mean("", []) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0),
        ("512MB", 512 * 10**6),
        ("8 GB", 8 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("2kB", 2000),
        ("1TiB", 2**40),
    ],
)
def test_a_size_is_a_number_with_a_unit_of_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "8", "GB", "8G", "-1GB", "8gb", "1,5GB", "8iB", "٣GB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(AnabranchError, match="not a size") as caught:
        parse_size(text)
    assert "8GB" in (caught.value.hint or "")
