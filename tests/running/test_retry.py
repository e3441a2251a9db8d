"""Which failures are worth another try, and how long one waits for it."""

from __future__ import annotations

import concurrent.futures
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.running.retry import RetryPolicy, unknown, worth_another_try


class Flaky(OSError):
    pass


def test_without_names_every_exception_is_worth_another_try():
    assert worth_another_try((), ValueError())


@pytest.mark.parametrize(
    "name",
    [
        "ConnectionError",
        "OSError",
        "builtins.ConnectionError",
        # an alias, wherever the class is really defined
        "socket.error",
        f"{__name__}.Flaky",
    ],
)
def test_an_exception_is_meant_by_its_own_name_by_that_of_a_base_or_by_an_alias(name):
    error = type("Both", (Flaky, ConnectionError), {})()
    assert worth_another_try((name,), error)


@pytest.mark.parametrize("name", ["ValueError", "json.JSONDecodeError", "nowhere.Error", "json.dumps"])
def test_other_exceptions_are_not(name):
    assert not worth_another_try((name,), Flaky())


def test_an_alias_in_another_module_means_the_same_class():
    error = json.decoder.JSONDecodeError("x", "y", 0)
    assert worth_another_try(("json.JSONDecodeError",), error)
    assert worth_another_try(("concurrent.futures.TimeoutError",), concurrent.futures.TimeoutError())


def test_what_an_exception_was_raised_from_counts_and_what_only_preceded_it_does_not():
    caused, preceded = ValueError(), ValueError()
    caused.__cause__ = Flaky()
    preceded.__context__ = Flaky()
    assert worth_another_try(("OSError",), caused)
    assert not worth_another_try(("OSError",), preceded)


def test_a_ring_of_causes_ends():
    one, two = ValueError(), KeyError()
    one.__cause__, two.__cause__ = two, one
    assert not worth_another_try(("OSError",), one)


def test_names_that_stand_for_no_exception_are_found():
    names = ("OSError", "json.JSONDecodeErorr", "nowhere.Error", "json.dumps", f"{__name__}.Flaky")
    assert unknown(names) == ["json.JSONDecodeErorr", "nowhere.Error", "json.dumps"]


@given(st.integers(1, 200), st.integers(0, 3_600_000))
def test_a_pause_doubles_up_to_ten_minutes_with_chance_of_one_delay_at_most(attempt, milliseconds):
    delay = timedelta(milliseconds=milliseconds)
    seconds = delay.total_seconds()
    least = min(seconds * 2 ** min(attempt - 1, 60), max(600, seconds))
    pause = RetryPolicy(3, delay).pause(attempt)
    assert least - 1e-9 <= pause <= least + seconds + 1e-9


def test_steps_that_failed_together_do_not_come_again_together():
    assert len({RetryPolicy(1, timedelta(seconds=1)).pause(1) for _ in range(20)}) > 1
