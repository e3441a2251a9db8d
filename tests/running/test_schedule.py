"""What may start now: order, limits, memory, and that nothing is kept waiting for ever."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from anabranch.running.schedule import Demand, Schedule, unknown_limits

GB = 10**9


def drain(schedule: Schedule) -> list[str]:
    """All that may start now, in order."""
    found = []
    while (key := schedule.start()) is not None:
        found.append(key)
    return found


def of(*demands: Demand, limits=None, memory=None) -> Schedule:
    schedule = Schedule(limits, memory)
    for demand in demands:
        schedule.add(demand)
    return schedule


def test_the_longest_way_to_the_end_goes_first():
    schedule = of(Demand("short", 1), Demand("long", 9), Demand("middle", 5))
    assert drain(schedule) == ["long", "middle", "short"]


def test_equals_start_in_the_order_of_their_names():
    assert drain(of(Demand("b"), Demand("a"), Demand("c"))) == ["a", "b", "c"]


def test_no_more_steps_of_a_tag_run_than_its_limit_says_and_others_pass_them():
    tagged = [Demand(f"w{n}", 9, frozenset({"warehouse", "daily"})) for n in range(3)]
    schedule = of(*tagged, Demand("other", 1, frozenset({"daily"})), limits={"warehouse": 2})
    assert drain(schedule) == ["w0", "w1", "other"]
    schedule.ended("w1")
    assert drain(schedule) == ["w2"]


def test_a_step_of_two_limited_tags_needs_a_place_in_both():
    both = Demand("both", 9, frozenset({"a", "b"}))
    schedule = of(
        Demand("a", 10, frozenset({"a"})), both, Demand("b", 1, frozenset({"b"})), limits={"a": 1, "b": 1}
    )
    assert drain(schedule) == ["a", "b"]
    schedule.ended("a")
    assert drain(schedule) == []
    schedule.ended("b")
    assert drain(schedule) == ["both"]


def test_steps_start_only_while_their_recorded_peaks_fit_together():
    schedule = of(*(Demand(f"s{n}", memory=3 * GB) for n in range(4)), memory=7 * GB)
    assert drain(schedule) == ["s0", "s1"]
    schedule.ended("s0")
    assert drain(schedule) == ["s2"]


def test_a_step_alone_may_start_however_large_and_nothing_beside_it():
    schedule = of(Demand("huge", 9, memory=99 * GB), Demand("unknown"), memory=7 * GB)
    assert drain(schedule) == ["huge"]
    schedule.ended("huge")
    assert drain(schedule) == ["unknown"]


def test_what_is_not_known_yet_takes_no_memory():
    assert len(drain(of(*(Demand(f"s{n}") for n in range(9)), memory=1))) == 9


def test_a_large_step_is_not_kept_waiting_by_small_ones_that_keep_coming():
    schedule = of(Demand("first", 9, memory=4 * GB), Demand("large", 8, memory=6 * GB), memory=8 * GB)
    assert drain(schedule) == ["first"]
    for n in range(3):
        schedule.add(Demand(f"small{n}", memory=1 * GB))
    # Two of them fit beside the large one; a third would keep it waiting after the first has ended.
    assert drain(schedule) == ["small0", "small1"]
    schedule.ended("first")
    assert drain(schedule) == ["large"]


def test_a_small_step_does_not_take_the_place_of_a_tag_that_a_large_one_waits_for():
    tag = frozenset({"warehouse"})
    schedule = of(
        Demand("first", 9, memory=4 * GB),
        Demand("large", 8, tag, memory=6 * GB),
        Demand("small", 1, tag),
        limits={"warehouse": 1},
        memory=8 * GB,
    )
    assert drain(schedule) == ["first"]
    schedule.ended("first")
    assert drain(schedule) == ["large"]


def test_a_step_that_ended_may_come_again():
    schedule = of(Demand("a"))
    assert drain(schedule) == ["a"]
    schedule.ended("a")
    schedule.add(Demand("a"))
    assert drain(schedule) == ["a"]


def test_what_waits_can_be_given_up():
    schedule = of(Demand("a", tags=frozenset("t")), Demand("b", tags=frozenset("t")), limits={"t": 1})
    schedule.start()
    assert (schedule.clear(), len(schedule), schedule.start()) == (["b"], 0, None)
    assert schedule.running == {"a"}


def test_a_limit_of_a_tag_that_nothing_carries_is_found():
    assert unknown_limits({"warehouse": 1, "warehose": 2}, [{"warehouse"}, {"daily"}]) == ["warehose"]


demands = st.lists(
    st.builds(
        Demand,
        key=st.uuids().map(str),
        rank=st.floats(0, 100),
        tags=st.frozensets(st.sampled_from("abc")),
        memory=st.integers(0, 12),
    ),
    max_size=25,
)
limits = st.dictionaries(st.sampled_from("ab"), st.integers(1, 3))


@given(demands, limits, st.none() | st.integers(1, 20), st.integers(1, 4), st.randoms())
def test_every_step_runs_once_and_the_rules_hold_at_every_moment(wanted, limits, memory, workers, random):
    schedule = Schedule(limits, memory)
    known = {demand.key: demand for demand in wanted}
    coming = list(wanted)
    running: set[str] = set()
    seen: list[str] = []
    while coming or running or len(schedule):
        for _ in range(random.randint(0, len(coming))):
            schedule.add(coming.pop())
        while len(running) < workers and (key := schedule.start()) is not None:
            running.add(key)
            seen.append(key)
        carried = Counter(tag for key in running for tag in known[key].tags)
        assert all(carried[tag] <= limit for tag, limit in limits.items())
        if memory is not None and len(running) > 1:
            assert sum(known[key].memory for key in running) <= memory
        assert schedule.running == running
        if running:
            ended = random.choice(sorted(running))
            running.remove(ended)
            schedule.ended(ended)
        elif len(schedule):
            # With nothing under way something may always start.
            raise AssertionError("everything waits, and nothing runs")
    assert sorted(seen) == sorted(known)


@given(demands, limits, st.integers(1, 20), st.randoms())
def test_the_foremost_step_waits_only_for_what_ran_when_its_turn_came(wanted, limits, memory, random):
    schedule = Schedule(limits, memory)
    for demand in wanted:
        schedule.add(demand)
    drain(schedule)
    before = set(schedule.running)
    large = Demand("large", 1000.0, memory=random.randint(1, memory + 3))
    schedule.add(large)
    drain(schedule)
    later = 0
    while before & schedule.running and "large" not in schedule.running:
        schedule.ended(random.choice(sorted(before & schedule.running)))
        later += 1
        schedule.add(Demand(f"late{later}", random.random(), memory=random.randint(0, memory)))
        drain(schedule)
    assert "large" in schedule.running
