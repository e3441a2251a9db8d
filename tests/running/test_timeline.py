"""When each step ran: which chain of steps decided how long the run took, and how much of it is kept."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from anabranch.running.timeline import Bar, longest_chain, summary


def bar(key: str, start: float, seconds: float, *after: str, **more) -> Bar:
    return Bar(
        key,
        more.pop("of", key),
        "asset",
        more.pop("attempt", 1),
        0,
        start,
        seconds,
        0.0,
        more.pop("state", "ran"),
        after,
        **more,
    )


def chain(*bars: Bar) -> list[str]:
    return [one.key for one in longest_chain(bars)]


def test_the_chain_goes_back_from_what_ended_last_over_what_each_waited_for_longest():
    bars = (bar("a", 0, 1), bar("b", 0, 3), bar("c", 3, 1, "a", "b"), bar("d", 1, 1, "a"))
    assert chain(*bars) == ["b", "c"]


def test_what_waits_for_an_asset_waits_for_the_last_of_its_partitions():
    bars = (
        bar("days[1]", 0, 2, of="days"),
        bar("days[2]", 0, 3, of="days"),
        bar("month", 3, 1, "days"),
    )
    assert chain(*bars) == ["days[2]", "month"]


def test_every_try_of_a_step_stands_in_the_chain():
    bars = (
        bar("a", 0, 1),
        bar("b", 1, 1, "a", state="retried"),
        bar("b", 3, 1, "a", attempt=2),
        bar("c", 0, 2),
    )
    assert [(one.key, one.attempt) for one in longest_chain(bars)] == [("a", 1), ("b", 1), ("b", 2)]
    assert summary(bars)["critical_path"] == ["a", "b"]


def test_a_run_without_steps_has_no_chain():
    assert summary([]) == {"bars": [], "critical_path": [], "left_out": 0, "seconds": 0.0}


def test_what_is_kept_is_bounded_and_keeps_the_chain_and_failures_before_the_long():
    bars = [bar(f"s{n}", n, 0.5, *([f"s{n - 1}"] if n % 2 else [])) for n in range(100)]
    bars[50] = bar("bad", 50, 0.1, state="failed", message="x" * 5000)
    told = summary(bars, limit=10)
    kept = [one["step"] for one in told["bars"]]
    assert len(kept) == 10
    assert told["left_out"] == 90
    assert {"s98", "s99", "bad"} <= set(kept)
    assert told["critical_path"] == ["s98", "s99"]
    assert len(json.dumps(told)) < 10_000


@given(
    st.lists(
        st.builds(
            Bar,
            key=st.sampled_from("abcdef"),
            of=st.sampled_from("abcdef"),
            kind=st.sampled_from(["asset", "check"]),
            attempt=st.integers(1, 3),
            worker=st.integers(0, 3),
            start=st.floats(0, 1000).map(lambda x: round(x, 3)),
            seconds=st.floats(0, 1000).map(lambda x: round(x, 3)),
            waited=st.floats(0, 1000).map(lambda x: round(x, 3)),
            state=st.sampled_from(["ran", "failed", "retried", "passed", "warned"]),
            after=st.lists(st.sampled_from("abcdef"), max_size=3).map(tuple),
            message=st.text(max_size=5),
        ),
        max_size=12,
    )
)
def test_any_bars_come_back_as_they_were_and_their_chain_ends(bars):
    told = json.loads(json.dumps(summary(bars)))
    assert sorted((Bar.from_dict(one) for one in told["bars"]), key=repr) == sorted(
        set(bars) and bars, key=repr
    )
    found = longest_chain(bars)
    assert len(set(map(id, found))) == len(found)
