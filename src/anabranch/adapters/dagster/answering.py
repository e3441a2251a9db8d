"""The child process that imports a Dagster project: it answers what it is asked, and may become a worker.

To import Dagster and a project's libraries takes seconds. So a child stays for a while after its first answer: what is
asked next of the same code in the same surroundings need not import anything again. `child.py` is the side that asks.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from anabranch.errors import AnabranchError
from anabranch.running.worker import Project, output_to, serve

PATIENCE = 30.0
"""Seconds that a child waits for another question."""
_WORK = {"introspect": "look", "jobs": "run", "deliver": "deliver"}


def main(descriptor: int) -> None:
    """Answers until nobody has asked for a while, or the parent is gone."""
    from anabranch.adapters.dagster.loading import remember

    remember()
    connection = Connection(descriptor)
    while (asked := _next(connection)) is not None:
        module, request, log = asked
        if isinstance(request, Project):
            connection.send("taken")
            serve(connection, request)
            return
        with output_to(log):
            told = _answer(module, request)
        with contextlib.suppress(OSError):
            connection.send_bytes(json.dumps(told, default=str).encode())
    # Whatever the project's code has started need not be waited for: nobody is there to hear of it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _next(connection: Connection) -> tuple[str, Any, str | None] | None:
    """The next question, or None where none came in time, or none can come."""
    with contextlib.suppress(EOFError, OSError):
        if connection.poll(PATIENCE):
            found: tuple[str, Any, str | None] = connection.recv()
            return found
    return None


def _answer(module: str, request: Mapping[str, Any]) -> dict[str, Any]:
    work = getattr(importlib.import_module(f"anabranch.adapters.dagster.{module}"), _WORK[module])
    try:
        told: dict[str, Any] = work(request)
    except AnabranchError as error:
        return {"error": {"class": type(error).__name__, **error.to_dict()["error"]}}
    return told


if __name__ == "__main__":
    main(int(sys.argv[1]))
