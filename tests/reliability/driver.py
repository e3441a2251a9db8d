"""Starts the program that carries commands out, and speaks with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parent / "processes.py"


@contextmanager
def started() -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """A function that has the requests carried out at once, and returns what became of each; see `processes.py`."""
    process = subprocess.Popen(
        [sys.executable, PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # No thread may be there when it forks.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
    )

    def ask(*requests: dict[str, Any]) -> list[dict[str, Any]]:
        process.stdin.write(json.dumps(requests) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    try:
        yield ask
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()
