"""What a scheduler may rely on: the same command again does nothing, one of two at once is refused or waits, codes say what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from story_shop import DEFINITIONS, ran

import anabranch as ab

SLOW = (
    DEFINITIONS.replace(
        "def orders() -> pa.Table:",
        'def orders() -> pa.Table:\n    import pathlib, time\n    here = pathlib.Path(__file__).parent.parent / ".anabranch"\n'
        '    with (here / "calls").open("a") as file:\n        file.write("x")\n    time.sleep(1)\n    pass',
    )
    .replace('    """What was ordered."""\n', "")
)  # fmt: skip


def start(shop, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "anabranch", "run", "--workers", "1", "--json", *words],
        cwd=shop.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen) -> tuple[int, dict, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, json.loads(out), err


def calls(shop) -> int:
    return len((shop.folder / ".anabranch" / "calls").read_text())


def test_a_run_that_is_called_again_does_nothing_and_is_a_success(make_shop):
    shop = make_shop()
    assert shop.run().commit == "production@1"
    again = shop.run()
    assert (again.ok, ran(again), again.commit) == (True, [], None)
    assert shop.head() == 1


@pytest.mark.slow
def test_of_many_at_once_one_runs_and_the_others_are_refused_with_code_4_and_its_name(make_shop):
    shop = make_shop(definitions=SLOW)
    found = [ended(one) for one in [start(shop) for _ in range(4)]]
    done = [told["run"] for code, told, _ in found if code == 0]
    refused = [told["error"] for code, told, _ in found if code == 4]
    assert len(done) + len(refused) == 4, [told.get("error") for _, told, _ in found]
    assert refused
    assert all(error["type"] == "LeaseError" for error in refused)
    # Who came after the first had ended found nothing to do.
    assert calls(shop) == 1
    assert shop.head() == 1
    assert any(run in error["message"] for error in refused for run in done)


@pytest.mark.slow
def test_of_many_that_wait_all_succeed_and_nothing_is_computed_twice(make_shop):
    shop = make_shop(definitions=SLOW)
    found = [ended(one) for one in [start(shop, "--wait", "2m") for _ in range(4)]]
    assert [code for code, _, _ in found] == [0] * 4, [told.get("error") for _, told, _ in found]
    assert sum(told["commit"] is not None for _, told, _ in found) == 1
    assert calls(shop) == 1
    assert shop.head() == 1
    assert any("waits for run " in err for _, _, err in found)


@pytest.mark.slow
def test_of_the_first_runs_on_a_new_git_branch_each_finds_the_same_sandbox(make_shop):
    shop = make_shop(definitions=SLOW.replace("time.sleep(1)", "pass"))
    assert shop.run().ok
    shop.switch("fix", new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    found = [ended(one) for one in [start(shop, "--wait", "2m") for _ in range(4)]]
    assert [code for code, _, _ in found] == [0] * 4, [told.get("error") for _, told, _ in found]
    assert sum(told["commit"] is not None for _, told, _ in found) == 1
    assert [branch.name for branch in shop.project.context.catalog.branches(kind="sandbox")] == ["fix"]


@pytest.mark.slow
def test_who_has_waited_long_enough_is_refused_as_any_other(make_shop):
    shop = make_shop(definitions=SLOW.replace("time.sleep(1)", "time.sleep(600)"))
    first = start(shop)
    try:
        while not (shop.folder / ".anabranch" / "calls").exists():
            assert first.poll() is None
        code, told, _ = ended(start(shop, "--wait", "300ms"))
        assert (code, told["error"]["type"]) == (4, "LeaseError")
    finally:
        first.terminate()
        assert first.wait(60) == 130
        first.communicate()


def test_a_time_to_wait_that_is_none_is_refused(make_shop):
    shop = make_shop()
    with pytest.raises(ab.AnabranchError, match="'soon' is not a duration"):
        shop.run(wait="soon")


TWO = """
import pathlib
import anabranch as ab
import pyarrow as pa

@ab.asset
def bad() -> pa.Table:
    raise ValueError("no")

@ab.asset
def next(bad: pa.Table) -> pa.Table:
    return bad

@ab.asset
def last(next: pa.Table) -> pa.Table:
    return next

@ab.asset
def good() -> pa.Table:
    return pa.table({"n": [1]})

@ab.asset
def after(good: pa.Table) -> pa.Table:
    return good

defs = ab.Definitions(assets=[bad, next, last, good, after])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "states"),
    [
        ([], {"bad": "failed", "good": "ran", "after": "ran", "next": "blocked", "last": "blocked"}),
        (["--fail-fast"], {"bad": "failed"} | dict.fromkeys(["good", "after", "next", "last"], "blocked")),
    ],
)
def test_after_a_failure_the_rest_goes_on_or_nothing_more_starts(make_shop, words, states):
    shop = make_shop(definitions=TWO)
    code, told, _ = ended(start(shop, "--in-process", *words))
    assert code == 1
    assert {asset["asset"]: asset["state"] for asset in told["assets"]} == states
    assert shop.head() == 0
    assert Path(shop.folder / ".anabranch" / "runs" / told["run"] / "events.jsonl").exists()
