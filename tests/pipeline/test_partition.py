"""Calendars and keys: which partitions there are, their windows, and which are made from which."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anabranch as ab
from anabranch.errors import DefinitionsError, SelectionError
from anabranch.lake.layout import LayoutField
from anabranch.pipeline.partition import (
    WINDOW,
    Keys,
    PartitionMapping,
    Partitions,
    Upstream,
    expand,
    ranges,
    told,
)

NOW = datetime(2013, 3, 15, 12, 30, tzinfo=UTC)


def keys_of(partitions: Partitions, now: datetime = NOW) -> list[str]:
    return list(partitions.keys(now))


# which there are


def test_a_day_is_a_partition_once_it_is_over():
    days = ab.daily("2013-03-13")
    assert keys_of(days) == ["2013-03-13", "2013-03-14"]
    assert keys_of(days, datetime(2013, 3, 15, tzinfo=UTC)) == ["2013-03-13", "2013-03-14"]
    assert keys_of(days, datetime(2013, 3, 14, 23, 59, tzinfo=UTC)) == ["2013-03-13"]
    assert keys_of(days, datetime(2013, 3, 1, tzinfo=UTC)) == []


def test_a_day_ends_when_it_ends_where_it_is():
    days = ab.daily("2013-03-13", timezone="America/New_York")
    assert keys_of(days, datetime(2013, 3, 15, 3, 59, tzinfo=UTC)) == ["2013-03-13"]
    assert keys_of(days, datetime(2013, 3, 15, 4, 0, tzinfo=UTC)) == ["2013-03-13", "2013-03-14"]


def test_the_end_is_the_last_partition():
    assert keys_of(ab.daily("2013-01-01", "2013-01-02")) == ["2013-01-01", "2013-01-02"]
    assert keys_of(ab.monthly("2013-01", "2013-01")) == ["2013-01"]
    assert keys_of(ab.monthly("2013-01", "2013-12")) == ["2013-01", "2013-02"]


def test_weeks_begin_on_the_day_of_the_start():
    assert keys_of(ab.weekly("2013-02-25")) == ["2013-02-25", "2013-03-04"]


def test_hours_have_keys_that_no_change_of_clocks_makes_equal():
    hours = ab.hourly("2013-11-03T00:00", "2013-11-03T03:00", timezone="America/New_York")
    assert keys_of(hours, datetime(2014, 1, 1, tzinfo=UTC)) == [
        "2013-11-03T00:00-04:00",
        "2013-11-03T01:00-04:00",
        "2013-11-03T01:00-05:00",
        "2013-11-03T02:00-05:00",
        "2013-11-03T03:00-05:00",
    ]
    assert keys_of(ab.hourly("2013-03-15T11:00")) == ["2013-03-15T11:00"]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"])
@pytest.mark.parametrize("make", [ab.hourly, ab.daily, ab.weekly, ab.monthly])
def test_windows_follow_each_other_without_gap_and_are_found_by_their_keys(make, zone):
    cut = make("2013-01-01", timezone=zone)
    found = [cut.partition(key) for key in keys_of(cut, datetime(2013, 12, 31, 23, tzinfo=UTC))]
    assert len(found) > 10
    for one, other in itertools.pairwise(found):
        assert one.end == other.start
    assert found[-1].end <= datetime(2013, 12, 31, 23, tzinfo=UTC)
    assert found[0].date == date(2013, 1, 1)


def test_a_day_of_25_hours_is_one_partition():
    day = ab.daily("2013-01-01", timezone="America/New_York").partition("2013-11-03")
    assert (day.end.astimezone(UTC) - day.start.astimezone(UTC)) == timedelta(hours=25)


def test_a_product_has_every_pair_and_the_window_of_its_time():
    cut = ab.daily("2013-03-13") * ab.keys(["AA", "UA"])
    assert keys_of(cut) == ["2013-03-13|AA", "2013-03-13|UA", "2013-03-14|AA", "2013-03-14|UA"]
    one = cut.partition("2013-03-14|UA")
    assert (one.keys, one.date) == (("2013-03-14", "UA"), date(2013, 3, 14))
    turned = (ab.keys(["AA"]) * ab.daily("2013-03-13")).partition("AA|2013-03-14")
    assert turned.date == date(2013, 3, 14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ab.daily("2013-13-01"), "is no date"),
        (lambda: ab.daily("2013-01-01", timezone="Mars/Olympus"), "time zone 'Mars/Olympus' is not known"),
        (lambda: ab.daily("2013-01-02", "2013-01-01"), "before they start"),
        (lambda: ab.monthly("2013-01-15"), "not where a month begins"),
        (lambda: ab.daily(None), "need a start"),
        (lambda: ab.keys(["a", "a"]), "given twice"),
        (lambda: ab.keys(["a,b"]), "can't be the key"),
        (lambda: ab.keys([""]), "can't be the key"),
        (lambda: ab.keys(["a|b"]) * ab.keys(["c"]), "stands between"),
        (lambda: ab.daily("2013-01-01") * ab.monthly("2013-01"), "both dimensions are of time"),
        (
            lambda: ab.daily("2013-01-01") * ab.keys(["a"]) * ab.keys(["b"]),
            "at most two dimensions",
        ),
        (lambda: ab.keys(["a"], column="c") * ab.keys(["b"], column="c"), "by the column 'c'"),
        (lambda: ab.last(0), "reads nothing"),
    ],
)
def test_what_makes_no_sense_is_told(make, message):
    with pytest.raises(DefinitionsError, match=message):
        make()


@pytest.mark.parametrize("key", ["2013-1-5", "2012-12-31", "x", "2013-01", "2013-01-05T00:00"])
def test_a_text_that_is_no_key_is_told(key):
    with pytest.raises(SelectionError, match="no key of daily partitions"):
        ab.daily("2013-01-01").partition(key)


def test_where_the_calendar_begins_and_ends_does_not_decide_what_a_partition_holds():
    assert ab.daily("2013-01-01").identity == ab.daily("2014-01-01", "2015-01-01").identity
    assert ab.daily("2013-01-01").identity != ab.daily("2013-01-01", timezone="Europe/Berlin").identity
    assert ab.weekly("2013-01-01").identity != ab.weekly("2013-01-02").identity
    assert ab.keys(["a"]).identity == ab.keys(["a", "b"]).identity


# how they are stored


def test_a_column_whose_days_are_the_partitions_is_what_the_table_is_cut_by():
    def first(cut: Partitions) -> LayoutField:
        return cut.layout().fields[0]

    assert first(ab.daily("2013-01-01", column="day")) == LayoutField("day", "day")
    assert first(ab.monthly("2013-01", column="day")) == LayoutField("day", "month")
    assert first(ab.keys(["a"], column="carrier")) == LayoutField("carrier", "identity")
    for cut in (
        ab.daily("2013-01-01"),
        ab.weekly("2013-01-01", column="day"),
        ab.daily("2013-01-01", column="t", timezone="Asia/Tokyo"),
    ):
        assert first(cut) == LayoutField("_partition", "identity", added=True)
    both = (ab.daily("2013-01-01") * ab.keys(["a"])).layout()
    assert [f.column for f in both.fields] == ["_partition", "_partition_2"]


def test_a_slice_tells_the_lake_the_window_of_its_rows():
    cut = ab.daily("2013-01-01", column="t", timezone="Asia/Tokyo") * ab.keys(["a"], column="k")
    piece = cut.slice("2013-01-05|a")
    assert piece.parts == ("2013-01-05", "a")
    column, low, high = piece.window[0]
    assert (column, low.isoformat(), high.isoformat()) == (
        "t",
        "2013-01-05T00:00:00+09:00",
        "2013-01-06T00:00:00+09:00",
    )
    assert piece.window[1] is None


# which is made from which


def upstream(up, down, mapping=WINDOW, now=NOW) -> Upstream:
    return Upstream(up, down, mapping, now)


def test_a_month_reads_its_days_and_a_day_its_month():
    days, months = ab.daily("2013-01-01"), ab.monthly("2013-01")
    february = upstream(days, months).of("2013-02")
    assert (february[0], february[-1], len(february)) == ("2013-02-01", "2013-02-28", 28)
    assert upstream(months, days).of("2013-02-10") == ("2013-02",)
    assert upstream(months, days).of("2013-03-10") == ()


@pytest.mark.parametrize(
    ("mapping", "read"),
    [
        (WINDOW, ("2013-02-10",)),
        (PartitionMapping("same"), ("2013-02-10",)),
        (ab.last(3), ("2013-02-08", "2013-02-09", "2013-02-10")),
        (ab.offset(-1), ("2013-02-09",)),
        (ab.offset(1), ("2013-02-11",)),
    ],
)
def test_a_mapping_says_what_is_read(mapping, read):
    days = ab.daily("2013-01-01")
    assert upstream(days, days, mapping).of("2013-02-10") == read


def test_at_the_beginning_of_the_calendar_less_is_read():
    days = ab.daily("2013-01-01")
    assert upstream(days, days, ab.last(3)).of("2013-01-02") == ("2013-01-01", "2013-01-02")
    assert upstream(days, days, ab.offset(-1)).of("2013-01-01") == ()


def test_all_and_an_asset_without_partitions_read_the_whole_table():
    days = ab.daily("2013-01-01")
    assert upstream(days, days, PartitionMapping("all")).whole
    assert upstream(days, None).whole
    newest = upstream(days, None, ab.last(2))
    assert not newest.whole
    assert newest.of(None) == ("2013-03-13", "2013-03-14")


def test_dimensions_find_their_like():
    days, names = ab.daily("2013-03-13"), ab.keys(["AA", "UA"])
    both = days * names
    assert upstream(both, days).of("2013-03-13") == ("2013-03-13|AA", "2013-03-13|UA")
    assert upstream(both, names).of("UA") == ("2013-03-13|UA", "2013-03-14|UA")
    assert upstream(days, both).of("2013-03-13|UA") == ("2013-03-13",)
    assert upstream(names, both).of("2013-03-13|UA") == ("UA",)
    assert upstream(both, both).of("2013-03-13|UA") == ("2013-03-13|UA",)
    assert upstream(names, days).whole
    assert upstream(both, both, ab.last(2)).of("2013-03-14|UA") == ("2013-03-13|UA", "2013-03-14|UA")


_MAKERS = st.sampled_from([ab.hourly, ab.daily, ab.weekly, ab.monthly])
_ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"])
_STARTS = st.sampled_from(["2013-01-01", "2013-02-01", "2013-03-01"])


@settings(max_examples=60)
@given(_MAKERS, _MAKERS, _ZONES, _ZONES, _STARTS, _STARTS, st.data())
def test_what_is_read_are_exactly_the_windows_that_overlap(up, down, zone, other, start, begin, data):
    now = datetime(2013, 4, 3, 7, tzinfo=UTC)
    above, below = up(start, timezone=zone), down(begin, timezone=other)
    names = keys_of(below, now)
    if not names:
        return
    key = data.draw(st.sampled_from(names))
    own = below.partition(key)
    expected = [
        name
        for name in keys_of(above, now)
        if above.partition(name).start < own.end and above.partition(name).end > own.start
    ]
    assert list(upstream(above, below, now=now).of(key)) == expected


# telling


@given(st.sets(st.integers(0, 30)))
def test_runs_of_neighbours_hold_what_they_were_made_of(places):
    order = ab.daily("2013-01-01").keys(datetime(2013, 2, 1, tzinfo=UTC))
    chosen = {order[place] for place in places}
    runs = ranges(chosen, order)
    assert expand(runs, order) == chosen
    assert sum(count for _, _, count in runs) == len(chosen)
    for (_, one, _), (other, _, _) in itertools.pairwise(runs):
        assert order.index[other] > order.index[one] + 1
    later = ab.daily("2013-01-02").keys(datetime(2013, 2, 1, tzinfo=UTC))
    assert expand(runs, later) == (None if order[0] in chosen else chosen)


def test_many_partitions_are_told_as_runs():
    order = ab.daily("2013-01-01").keys(datetime(2013, 2, 1, tzinfo=UTC))
    assert told(order[2:9], order) == "2013-01-03..2013-01-09"
    assert told([order[0], *order[2:9]], order) == "2013-01-01, 2013-01-03..2013-01-09"
    assert told(order[::2], order, most=2) == "2013-01-01, 2013-01-03 and 14 more"
    assert told(["gone"], Keys(["a"])) == "gone"
