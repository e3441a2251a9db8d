"""On a terminal: colours, progress, questions; and none of it where there is none."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

import pytest

SLOW = """import time

import pyarrow as pa

import anabranch as ab


@ab.asset
def orders() -> pa.Table:
    time.sleep(1.2)
    return pa.table({"id": [1, 2, 3]})


defs = ab.Definitions(assets=[orders])
"""
SETTINGS = """[project]
name = "shop"
definitions = "shop.definitions:defs"

[environments.production]
git_branch = "main"
"""


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, folder, *words, **environment):
        self.ours, theirs = pty.openpty()
        inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "anabranch", *words],
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**inherited, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
            start_new_session=True,
        )
        os.close(theirs)
        self.said = ""

    def read(self, until=None, seconds=60.0):
        """What was said until the text came, or to the end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (until and until in self.said):
            ready, _, _ = select.select([self.ours], [], [], 0.1)
            if not ready:
                continue
            try:
                data = os.read(self.ours, 65536)
            except OSError:
                break
            if not data:
                break
            self.said += data.decode("utf-8", "replace")
        return self.said

    def say(self, text):
        os.write(self.ours, text.encode())

    def finish(self):
        """The rest of what is said, and the exit code."""
        self.read()
        code = self.process.wait(timeout=60)
        os.close(self.ours)
        return code


@pytest.fixture
def terminal():
    opened = []

    def start(folder, *words, **environment):
        opened.append(Terminal(folder, *words, **environment))
        return opened[-1]

    yield start
    for one in opened:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def test_a_terminal_gets_colours(built, terminal):
    shown = terminal(built.path, "log")
    assert shown.finish() == 0
    assert "\x1b[36mproduction@1\x1b[0m" in shown.said


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["log"], {"NO_COLOR": "1"}),
        (["log", "--no-color"], {}),
        (["--no-color", "log"], {}),
        (["log"], {"TERM": "dumb"}),
    ],
)
def test_colours_can_be_refused(built, terminal, words, environment):
    shown = terminal(built.path, *words, **environment)
    assert shown.finish() == 0
    assert "production@1" in shown.said
    assert "\x1b[" not in shown.said


def test_a_run_shows_what_runs_and_for_how_long_and_leaves_the_finished_lines(make_shop, terminal):
    shop = make_shop(definitions=SLOW, settings=SETTINGS)
    shown = terminal(shop.path, "run")
    assert "of 1 done" in shown.read(until="orders")
    assert shown.finish() == 0
    assert "orders ran" in shown.said.replace("\x1b[36m", "").replace("\x1b[0m", "").replace("\x1b[32m", "")
    assert "published as" in shown.said
    assert "Traceback" not in shown.said


def test_a_run_that_is_piped_tells_plain_lines_with_the_time(make_shop):
    shop = make_shop(definitions=SLOW, settings=SETTINGS)
    done = shop.apart("run")
    assert done.code == 0
    line = next(line for line in done.err.splitlines() if " orders ran " in line)
    assert line[2] == line[5] == ":"
    assert line.endswith(" s 3 rows")
    assert "\x1b" not in done.err


def test_promote_shows_the_verdict_and_asks_before_a_protected_environment(sandboxed, terminal):
    shown = terminal(sandboxed.path, "promote")
    said = shown.read(until="[y/N]")
    assert "the gate says yes" in said
    assert "totals" in said
    shown.say("n\n")
    assert shown.finish() == 3
    assert "not confirmed" in shown.said
    assert sandboxed.ok("log", "production", "--json").json["commits"][0]["commit"] == "production@1"

    shown = terminal(sandboxed.path, "promote")
    shown.read(until="[y/N]")
    shown.say("y\n")
    assert shown.finish() == 0
    assert "production@2" in shown.said


def test_the_end_of_the_input_is_no_yes(sandboxed, terminal):
    shown = terminal(sandboxed.path, "promote")
    shown.read(until="[y/N]")
    shown.say("\x04")
    assert shown.finish() == 3
    assert sandboxed.ok("log", "production", "--json").json["commits"][0]["commit"] == "production@1"


def test_rollback_close_and_gc_show_what_goes_and_ask(sandboxed, terminal):
    shown = terminal(sandboxed.path, "sandbox", "close")
    assert "never published" in shown.read(until="[y/N]")
    shown.say("\n")
    assert shown.finish() == 3
    assert sandboxed.ok("sandbox", "--json").json["sandboxes"]

    sandboxed.ok("promote", "--yes")
    shown = terminal(sandboxed.path, "rollback")
    assert "restore" in shown.read(until="[y/N]")
    shown.say("y\n")
    assert shown.finish() == 0
    assert sandboxed.ok("log", "production", "--json").json["commits"][0]["kind"] == "rollback"

    sandboxed.ok("sandbox", "close", "--yes")
    shown = terminal(sandboxed.path, "gc", "--grace", "0s")
    assert "gc would remove" in shown.read(until="[y/N]")
    shown.say("n\n")
    assert shown.finish() == 3
    assert "nothing was removed" in shown.said


def test_prune_asks_too(built, terminal):
    built.repo.branch("fewer")
    built.edit("assets=[orders, totals, biggest]", "assets=[orders, totals]")
    shown = terminal(built.path, "run", "--prune")
    assert "biggest" in shown.read(until="[y/N]")
    shown.say("n\n")
    assert shown.finish() == 3
    assert "nothing was run" in shown.said


def test_with_json_nobody_is_asked(sandboxed, terminal):
    shown = terminal(sandboxed.path, "promote", "--json")
    assert shown.finish() == 3
    assert "[y/N]" not in shown.said
    assert '"PromotionError"' in shown.said


def test_lines_fit_the_screen(built, terminal):
    built.branch()
    shown = terminal(built.path, "plan", COLUMNS="60", NO_COLOR="1")
    assert shown.finish() == 0
    lines = shown.said.replace("\r", "").splitlines()
    step = next(line for line in lines if line.startswith("  run "))
    assert len(step) <= 60
    assert "…" in step
    # A pipe gets all of it.
    assert "(shop/definitions.py:" in built.ok("plan").out


def test_the_interactive_python_knows_project_and_tables(sandboxed, terminal):
    shown = terminal(sandboxed.path, "sandbox", "shell")
    assert "pinned" in shown.read(until=">>>")
    shown.say("print('rows', orders.rows, ref.startswith('fix@'), project.name)\n")
    shown.read(until="rows 3 True shop")
    # Not Ctrl-D: between two prompts the terminal would swallow it.
    shown.say("exit()\n")
    assert shown.finish() == 0
    assert "rows 3 True shop" in shown.said
