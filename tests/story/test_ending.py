"""How a step ends that does not end well: tried again, out of time, interrupted, killed; and what is left of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from story_shop import SETTINGS, ran

import anabranch as ab

HEAD = """
import os, pathlib, subprocess, time
import anabranch as ab
import pyarrow as pa

HERE = pathlib.Path(__file__).parent.parent / ".anabranch"

def note(name, text="x"):
    with (HERE / name).open("a") as file:
        file.write(text + "\\n")

class Store(ab.Resource):
    def setup(self):
        note("setup")

    def teardown(self):
        note("teardown")
"""


def definitions(body: str, *, more: str = "") -> str:
    return f'{HEAD}\n{body}\n\ndefs = ab.Definitions(assets=[orders], resources={{"production": {{"store": Store()}}, "sandbox": {{}}}}{more})\n'


def notes(shop, name: str) -> list[str]:
    path = shop.folder / ".anabranch" / name
    return path.read_text().splitlines() if path.exists() else []


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has asked yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True


def soon(truth, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not truth():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def with_run(settings: str) -> str:
    return f"{SETTINGS}\n[run]\n{settings}\n"


# tried again

FLAKY = """
@ab.asset(retries=2, retry_delay="1ms", retry_on=%s)
def orders(store: Store) -> pa.Table:
    note("tries")
    if len((HERE / "tries").read_text().split()) < 3:
        raise ConnectionResetError("flaky")
    return pa.table({"n": [1]})
"""


@pytest.mark.parametrize(
    ("retry_on", "tries"), [("(ConnectionError,)", 3), ('"OSError"', 3), ('["ValueError"]', 1)]
)
def test_only_the_named_exceptions_are_tried_again_and_each_try_tears_down(make_shop, retry_on, tries):
    shop = make_shop(definitions=definitions(FLAKY % retry_on))
    result = shop.run()
    assert result.ok is (tries == 3)
    assert [len(notes(shop, name)) for name in ("tries", "setup", "teardown")] == [tries] * 3


def test_a_mistyped_exception_is_told_when_something_fails(make_shop):
    shop = make_shop(definitions=definitions(FLAKY % '("ConectionError",)'))
    error = shop.run().execution.outcomes["orders"].error
    assert error["hint"] == "retry_on names ConectionError, which is no exception here"


@pytest.mark.parametrize(("own", "tries"), [("", 3), ("(retries=0)", 1)])
def test_retries_of_anabranch_toml_hold_where_an_asset_does_not_say(make_shop, own, tries):
    body = FLAKY.replace('(retries=2, retry_delay="1ms", retry_on=%s)', own)
    settings = with_run('retries = 2\nretry_delay = "1ms"\nretry_on = ["OSError"]')
    shop = make_shop(definitions=definitions(body), settings=settings)
    assert shop.run().execution.outcomes["orders"].attempts == tries


def test_how_often_a_step_is_tried_is_no_part_of_what_it_makes(make_shop):
    shop = make_shop(definitions=definitions(FLAKY % '("OSError",)'))
    assert shop.run().ok
    shop.edit("shop/definitions.py", 'retry_on=("OSError",)', "retry_on=(ConnectionError, TimeoutError)")
    shop.edit("shop/definitions.py", "retries=2", "retries=5")
    shop.commit()
    assert ran(shop.run()) == []


def test_a_try_that_failed_half_way_leaves_nothing_of_its_rows(make_shop):
    body = """
from collections.abc import Iterator

@ab.asset(retries=1, retry_delay="1ms")
def orders() -> Iterator[pa.Table]:
    note("tries")
    yield pa.table({"n": [1, 2]})
    if len((HERE / "tries").read_text().split()) == 1:
        raise OSError("in the midst")
    yield pa.table({"n": [3]})
"""
    shop = make_shop(definitions=definitions(body))
    assert shop.run().ok
    assert [row["n"] for row in shop.rows("orders")] == [1, 2, 3]
    assert shop.head() == 1


def test_after_a_failure_that_stops_the_run_nothing_is_tried_again(make_shop):
    body = """
@ab.asset(retries=9, retry_delay="1h")
def orders() -> pa.Table:
    raise OSError("now")

@ab.asset
def other() -> pa.Table:
    raise OSError("too")
"""
    shop = make_shop(definitions=definitions(body).replace("assets=[orders]", "assets=[orders, other]"))
    result = shop.run(fail_fast=True)
    assert {o.key: o.state for o in result.execution.outcomes.values()}["other"] == "failed"
    assert result.execution.outcomes["orders"].state in ("failed", "blocked")


# ended


SLEEPY = """
@ab.asset(timeout="6s")
def orders(store: Store) -> pa.Table:
    note("worker", str(os.getpid()))
    note("child", str(subprocess.Popen(["sleep", "600"]).pid))
    {sleep}
    return pa.table({{"n": [1]}})
"""


@pytest.mark.slow
def test_a_step_past_its_timeout_tears_down_and_takes_its_children_with_it(make_shop):
    shop = make_shop(definitions=definitions(SLEEPY.format(sleep="time.sleep(600)")))
    result = shop.run(in_process=False)
    assert "longer than its timeout" in result.execution.outcomes["orders"].error["message"]
    assert notes(shop, "teardown") == ["x"]
    assert all(gone(int(notes(shop, who)[0])) for who in ("worker", "child"))


@pytest.mark.slow
def test_a_step_that_never_returns_to_python_is_killed_when_its_time_to_tear_down_is_over(make_shop):
    body = SLEEPY.format(sleep='os.system("sleep 600")')
    shop = make_shop(definitions=definitions(body), settings=with_run('teardown_timeout = "500ms"'))
    result = shop.run(in_process=False)
    assert "longer than its timeout" in result.execution.outcomes["orders"].error["message"]
    assert notes(shop, "teardown") == []
    assert all(gone(int(notes(shop, who)[0])) for who in ("worker", "child"))


@pytest.mark.slow
def test_what_a_step_returns_after_it_was_told_to_end_does_not_count(make_shop):
    stubborn = "try:\n        time.sleep(600)\n    except BaseException:\n        pass"
    shop = make_shop(definitions=definitions(SLEEPY.format(sleep=stubborn)))
    result = shop.run(in_process=False)
    assert result.execution.outcomes["orders"].state == "failed"
    assert shop.head() == 0


@pytest.mark.slow
def test_a_worker_that_dies_is_noticed_although_its_child_holds_on_to_everything(make_shop):
    body = """
import multiprocessing, signal

@ab.asset
def orders() -> pa.Table:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    note("child", str(child.pid))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    shop = make_shop(definitions=definitions(body))
    error = shop.run(in_process=False).execution.outcomes["orders"].error
    assert "SIGKILL" in error["message"]
    assert soon(lambda: gone(int(notes(shop, "child")[0])))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_command_a_step_tears_down_and_its_children_end(make_shop, number):
    body = SLEEPY.format(sleep="time.sleep(600)").replace('(timeout="6s")', "")
    shop = make_shop(definitions=definitions(body))
    command = subprocess.Popen(
        [sys.executable, "-m", "anabranch", "run"],
        cwd=shop.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert soon(lambda: notes(shop, "child"))
    command.send_signal(number)
    assert command.wait(30) == (-9 if number == signal.SIGKILL else 130)
    assert soon(lambda: notes(shop, "teardown") == ["x"])
    assert soon(lambda: all(gone(int(notes(shop, who)[0])) for who in ("worker", "child")))


def test_a_killed_for_memory_step_is_told_as_such(make_shop, monkeypatch):
    import anabranch.running.worker as module

    seen = iter(range(1000))
    monkeypatch.setattr(module, "oom_kills", lambda: next(seen))
    body = """
import signal

@ab.asset
def orders() -> pa.Table:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    shop = make_shop(definitions=definitions(body))
    error = shop.run(in_process=False).execution.outcomes["orders"].error
    assert "out of memory" in error["message"]
    assert "--workers 1" in error["hint"]


# checks

CHECKED = """
@ab.asset(timeout="10m")
def orders() -> pa.Table:
    return pa.table({"n": [1]})

@ab.check(orders%s)
def looks_well(orders: pa.Table) -> bool:
    time.sleep(600)
    return True
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "settings"),
    [(', timeout="500ms"', ""), ("", 'timeout = "500ms"'), (', timeout="500ms"', 'timeout = "1h"')],
)
def test_a_check_past_its_timeout_fails(make_shop, own, settings):
    shop = make_shop(
        definitions=definitions(CHECKED % own, more=", checks=[looks_well]"), settings=with_run(settings)
    )
    result = shop.run(in_process=False)
    assert not result.ok
    assert "longer than its timeout" in result.execution.checks["orders:looks_well"].message
    assert shop.head() == 0


@pytest.mark.slow
def test_a_source_that_does_not_answer_is_not_waited_for_for_ever(make_shop):
    body = """
def seen() -> str:
    time.sleep(600)
    return ""

@ab.asset(observe=seen, timeout="500ms")
def orders() -> pa.Table:
    return pa.table({"n": [1]})
"""
    shop = make_shop(definitions=definitions(body))
    with pytest.raises(ab.AnabranchError, match="longer than its timeout"):
        shop.run(in_process=False)


def test_a_check_that_crashes_does_not_stand_on_what_it_found_earlier(make_shop):
    body = """
@ab.asset
def orders() -> pa.Table:
    return pa.table({"n": [1]})
"""
    checks = ', checks=[ab.fresh(orders, "n", within="1d", blocking=True)]'
    shop = make_shop(
        definitions=definitions(body, more=checks).replace(
            '"n": [1]', '"n": [__import__("datetime").datetime.now()]'
        )
    )
    assert shop.run().ok
    shop.switch("fix", new=True)
    shop.edit("shop/definitions.py", "datetime.now()", "datetime.now().replace(microsecond=0)")
    shop.commit()
    assert shop.run().ok
    assert shop.promote(dry_run=True).verdict.passed
    import anabranch.checks as module

    real = module.run_check

    def crash(*arguments, **named):
        raise RuntimeError("the engine is gone")

    module.run_check = crash
    try:
        assert not shop.project.check(in_process=True).ok
        assert not shop.promote(dry_run=True).verdict.passed
    finally:
        module.run_check = real
    assert shop.promote(dry_run=True).verdict.passed
