"""Run as a program by the tests: carries out a verb on a project's sandbox, in a process that is killed before its n-th step.

A step is whatever leaves a trace: a record in the catalog, a statement to Postgres, a file that is made, flushed, named or
removed. One line of JSON in: folder, verb, last. One line out: how the process ended, and how many steps it had taken.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import psycopg

import anabranch as ab
import anabranch.clones.copying
import anabranch.clones.duckdb
import anabranch.clones.postgres
import anabranch.clones.sqlite
import anabranch.lake.tables
import anabranch.project.clones
import anabranch.running.run
import anabranch.sandbox.gc
from anabranch.catalog.sql import SqlCatalog


def watch(report: int, last: int) -> None:
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        os.pwrite(report, b"%10d" % count, 0)
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            step()
            return real(*arguments, **options)

        return call

    def of_clones(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            # What the rest of anabranch does to its files has its own tests.
            told = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fspath(path)
            if "/clones" in told:
                step()
            return real(path, *arguments, **options)

        return call

    for name in ("link", "unlink", "rename", "fsync", "mkdir"):
        setattr(os, name, of_clones(getattr(os, name)))
    for name in ("put_note", "delete_notes", "close_branch", "open_branch"):
        setattr(SqlCatalog, name, watched(getattr(SqlCatalog, name)))
    psycopg.Connection.execute = watched(psycopg.Connection.execute)  # type: ignore[method-assign]
    for module in (anabranch.clones.sqlite, anabranch.clones.duckdb):
        module.copy_apart = watched(anabranch.clones.copying.copy_apart)  # type: ignore[attr-defined]


def carry_out(folder: str, verb: str) -> None:
    with ab.Project(folder) as project:
        if verb == "open":
            project.sandbox.open()
        elif verb == "refresh":
            project.sandbox.sync(clones=True)
        elif verb == "close":
            project.sandbox.close("fix")
        else:
            project.gc()


def main() -> None:
    for text in sys.stdin:
        asked = json.loads(text)
        report = os.memfd_create("steps")
        child = os.fork()
        if child == 0:
            try:
                watch(report, asked["last"])
                carry_out(asked["folder"], asked["verb"])
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        steps = int(os.pread(report, 10, 0) or b"0")
        os.close(report)
        killed = os.WIFSIGNALED(status)
        answer = {"killed": killed, "code": None if killed else os.WEXITSTATUS(status), "steps": steps}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
