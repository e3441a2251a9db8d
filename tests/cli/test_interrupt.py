"""Ctrl-C and SIGTERM, to real process groups: a sentence, 130, and everything sound."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

WAITING = """import pathlib
import time

import pyarrow as pa

import anabranch as ab

HERE = pathlib.Path(__file__).parent.parent


@ab.asset
def first() -> pa.Table:
    return pa.table({"id": [1, 2, 3]})


@ab.asset
def second(first: pa.Table) -> pa.Table:
    (HERE / ".anabranch" / "started").write_text("")
    while (HERE / ".anabranch" / "wait").exists():
        time.sleep(0.05)
    return first


defs = ab.Definitions(assets=[first, second])
"""
SETTINGS = """[project]
name = "shop"
definitions = "shop.definitions:defs"

[environments.production]
git_branch = "main"
"""


@pytest.fixture
def waiting(make_shop):
    """A project whose second asset waits until a file is gone."""
    shop = make_shop(definitions=WAITING, settings=SETTINGS)
    (shop.path / ".anabranch").mkdir()
    (shop.path / ".anabranch/wait").write_text("")
    return shop


def until_started(folder: Path, process) -> None:
    end = time.monotonic() + 60
    while not (folder / ".anabranch/started").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def workers_of(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            ours = entry.name.isdigit() and b"anabranch.running.worker" in (entry / "cmdline").read_bytes()
            if ours and os.readlink(entry / "cwd") == str(folder):
                found.append(entry.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_things_sound_and_the_same_command_goes_on(waiting, number):
    process = waiting.process("run")
    until_started(waiting.path, process)
    # As a terminal does it: the whole group of the foreground process.
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "interrupted; everything is sound" in err
    assert "Traceback" not in err
    assert workers_of(waiting.path) == []
    # Nothing was published, no lease is left, the run is told as interrupted.
    status = waiting.ok("status", "--json").json
    assert status["running"] == []
    assert status["tables"] == 0
    (waiting.path / ".anabranch/wait").unlink()
    told = waiting.ok("run", "--json").json
    states = {one["asset"]: one["state"] for one in told["assets"]}
    assert states == {"first": "reused", "second": "ran"}
    assert told["commit"] == "production@1"


def test_with_json_an_interruption_is_a_document(waiting):
    import json

    process = waiting.process("run", "--json")
    until_started(waiting.path, process)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["error"]["type"] == "Interrupted"


def test_a_long_query_ends_at_once(waiting):
    (waiting.path / ".anabranch/wait").unlink()
    waiting.ok("run")
    process = waiting.process("sql", "select count(*) from range(1000000000000)", "-v")
    end = time.monotonic() + 60
    while "duckdb" not in Path(f"/proc/{process.pid}/maps").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
