"""The process that was asked what a Dagster project holds does what comes next, if nothing has changed since."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest
from dagster_shop import Shop

from anabranch.adapters.dagster import child

DEFINITIONS = """\
import os

import dagster as dg
import pandas as pd


@dg.asset
def where() -> pd.DataFrame:
    return pd.DataFrame({"process": [os.getpid()], "said": [os.environ.get("SAID", "nothing")]})


@dg.op
def say():
    print(f"here is {os.getpid()}")


@dg.job
def tell():
    say()


defs = dg.Definitions(assets=[where], jobs=[tell])
"""


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    return make_shop({"shop/definitions.py": DEFINITIONS})


def asked(shop: Shop) -> int:
    """The process that was asked, once a plan has asked one."""
    shop.again().plan()
    return child._at_hand[-1].process.pid


def ran(shop: Shop) -> int:
    result = shop.run(force=True, workers=1)
    assert result.ok, result.to_dict()
    return shop.rows("where")[0]["process"]


def test_who_was_asked_what_there_is_runs_it_once(shop: Shop):
    first = asked(shop)
    assert ran(shop) == first
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)  # a worker ends with its run


def test_who_was_asked_what_there_is_runs_jobs_and_may_be_asked_again(shop: Shop):
    first = asked(shop)
    environ = {k: v for k, v in child._at_hand[-1].environ.items() if k != "PYTHONUNBUFFERED"}
    request = {
        "target": "shop.definitions", "root": str(shop.path), "source": [str(shop.path)],
        "run_config": {}, "job": "tell", "place": "anabranch.toml",
    }  # fmt: skip
    for number in range(2):
        log = shop.path / ".anabranch" / f"job-{number}.log"
        child.ask("jobs", request, environ, shop.path, log)
        assert f"here is {first}" in log.read_text()


def test_who_has_imported_other_code_or_has_other_variables_or_is_gone_runs_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    first = asked(shop)
    monkeypatch.setenv("SAID", "good morning")
    assert ran(shop) != first
    assert shop.rows("where")[0]["said"] == "good morning"

    shop.edit("shop/definitions.py", '"nothing"', '"not a word"')
    monkeypatch.delenv("SAID")
    second = asked(shop)
    assert second != first
    os.kill(second, signal.SIGKILL)
    assert ran(shop) not in (first, second)
    assert shop.rows("where")[0]["said"] == "not a word"


def test_a_child_ends_when_nobody_asks_for_a_while_or_whoever_asked_is_gone():
    program = (
        "import sys; from anabranch.adapters.dagster import answering;"
        "answering.PATIENCE = float(sys.argv[1]); answering.main(int(sys.argv[2]))"
    )
    for patience, gone in (("0.2", False), ("60", True)):
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(
            [sys.executable, "-c", program, patience, str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        if gone:
            ours.close()
        assert process.wait(30) == 0
        ours.close()
