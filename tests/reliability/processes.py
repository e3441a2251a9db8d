"""Run as a program by the tests: carries out commands of the product, each in a process of its own, also many at once.

A process is forked from this one, which has imported everything and started no thread, so that a process costs a few
milliseconds. It can be killed before the n-th step that leaves a trace on disk: the creation, flush or removal of a file
or folder, or a statement of a transaction that writes; or after a time.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import duckdb  # noqa: F401 - the imports below are those of the commands, made once
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet  # noqa: F401

import anabranch as ab
import anabranch.catalog.sql
import anabranch.diff.summary
import anabranch.lake.tables
import anabranch.pipeline.definitions
import anabranch.project.promoting
import anabranch.running.run
import anabranch.sandbox.gc


class Steps:
    """Counts the steps that leave a trace, and kills this process before the n-th."""

    def __init__(self, last: int | None) -> None:
        self.count = 0
        self.last = last
        for name in ("fsync", "unlink", "mkdir", "rmdir", "rename", "replace"):
            self._watch(name)
        self._open, os.open = os.open, self._opened
        self._connect, sqlite3.connect = sqlite3.connect, self._connected

    def step(self) -> None:
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def _watch(self, name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.step()
            return real(*arguments, **options)

        setattr(os, name, call)

    def _opened(self, path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        descriptor = self._open(path, flags, *arguments, **options)
        if flags & os.O_CREAT:
            self.step()  # the file is there, and empty
        return descriptor

    def _connected(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = self._connect(*arguments, **options)
        writing = [False]

        def before(sql: str) -> None:
            if sql == "BEGIN IMMEDIATE":
                writing[0] = True
            elif writing[0] and not sql.lower().startswith("select"):
                self.step()
                writing[0] = sql not in ("COMMIT", "ROLLBACK")

        connection.set_trace_callback(before)
        return connection


def carry_out(folder: Path, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    with ab.Project(folder) as project:
        done = getattr(project, command)(**arguments)
        if command == "run":
            assert done.ok, [outcome.error for outcome in done.execution.failed]
        return {"state": "done", "told": done.to_dict()}


def child(request: dict[str, Any], go: int, tell: int) -> None:
    """Waits until all are there, carries the command out and tells what came of it. Never returns."""
    try:
        steps = Steps(request.get("step"))
        os.read(go, 1)
        try:
            result = carry_out(Path(request["folder"]), request["command"], request.get("arguments", {}))
        except ab.AnabranchError as error:
            result = {"state": "refused", **error.to_dict()}
        text = json.dumps({**result, "steps": steps.count})
    except BaseException:
        text = json.dumps({"state": "failed", "error": traceback.format_exc()})
    with os.fdopen(tell, "w") as pipe:
        pipe.write(text)
    os._exit(0)


def at_once(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each in a process of its own, all started together: what became of them, killed, done, refused or failed."""
    if Path("/proc/self/task").exists():
        names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
        # Arrow's allocator has a thread that it starts anew after a fork; any other would not survive.
        assert len([name for name in names if name != "jemalloc_bg_thd"]) == 1, names
    wait, go = os.pipe()
    started = time.perf_counter()
    children = []
    for request in requests:
        told, tell = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(go)
            child(request, wait, tell)
        os.close(tell)
        children.append((request, process, told))
    os.close(wait)
    os.close(go)
    results = []
    for request, process, told in children:
        if request.get("seconds") is not None:
            select.select([told], [], [], request["seconds"])
            os.kill(process, signal.SIGKILL)
        with os.fdopen(told, "rb") as pipe:
            text = pipe.read()
        os.waitpid(process, 0)
        result = json.loads(text) if text else {"state": "killed"}
        results.append({**result, "seconds": time.perf_counter() - started})
    return results


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(at_once(json.loads(line))), flush=True)
