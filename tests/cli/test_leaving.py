"""How a command ends: quickly where nothing but anabranch was loaded, and without a word of anybody's in any case."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = "import sys; from anabranch.cli import main; sys.exit(main())"
FROZEN = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 0)); " + PROGRAM


@pytest.fixture
def shop(tmp_path):
    def say(*words: str, program: str = PROGRAM) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *words]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)

    folder = tmp_path
    say("init", "shop")
    folder = tmp_path / "shop"
    return say


def test_no_library_complains_of_what_is_left_as_a_command_ends(shop):
    for words in (["run", "--in-process"], ["check", "--fresh", "--in-process"], ["sql", "select 1"]):
        assert "leak" not in shop(*words).stderr
    assert "leak" not in shop("run").stderr


def test_a_command_that_loads_nothing_of_others_spares_the_last_look_for_garbage(shop):
    assert shop("status", program=FROZEN).stdout.splitlines()[-1] == "True"
    assert shop("run", "--in-process", program=FROZEN).stdout.splitlines()[-1] == "False"
