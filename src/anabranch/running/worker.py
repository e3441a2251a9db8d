"""Worker processes: they import the definitions once, and run one step at a time.

A worker is a Python of its own, never a fork: the engines that steps use keep threads, which do not survive a fork. It has a
session of its own, so that Ctrl-C reaches only the parent, which ends it; and it ends by itself when the parent is gone.
Its environment lacks the variables that belong to other environments.

A step that is to end early, whoever wants it, is first told so (SIGTERM, which raises in the user's code, so that its
resources are torn down), and killed with all its child processes when its time for that is over. Code that never returns
to Python is not reached by the first, and a child that has left the worker's process group not by the second; a worker
that is itself killed (by the kernel, for want of memory) tears nothing down.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from anabranch.dataclass import dataclass, field
from anabranch.errors import AnabranchError, StepError
from anabranch.running.machine import oom_kills
from anabranch.running.retry import worth_another_try
from anabranch.running.step import StepResult, StepTask, run_step

TEARDOWN = timedelta(seconds=10)


@dataclass(frozen=True)
class Project:
    """What a worker needs to import the same definitions that were planned.

    Attributes:
        target: ``package.module:attribute``.
        root: The project's folder.
        source: Folders to import from.
        files: Relative path → SHA-256 of each file that was planned.
        query_cache: Folder of parsed queries.
        foreign: Names of the variables that the worker must not have.
        teardown: How long a step that is to end early may take to tear its resources down.
        environ: Variables that the worker is given beside its parent's.
        portable: For definitions that a translator has made: see `Definitions.portable`.
        scratch: Folder of the pool's own for what does not fit into memory; removed by it, for workers are killed.
    """

    target: str
    root: Path
    source: tuple[Path, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    query_cache: Path | None = None
    foreign: tuple[str, ...] = ()
    teardown: timedelta = TEARDOWN
    environ: Mapping[str, str] = field(default_factory=dict)
    portable: tuple[str, Mapping[str, Any]] | None = None
    scratch: Path | None = None


@dataclass(frozen=True)
class Progress:
    """Rows written so far by the step under way."""

    key: str
    rows: int


class Pool(Protocol):
    """Runs steps. One thread uses it; results come from `wait`, in any order. `close` ends what is under way."""

    @property
    def free(self) -> int:
        """How many more tasks could start now."""

    def submit(self, task: StepTask) -> int:
        """Starts a task. There must be a free place. Returns the number of the place, from 0."""

    def wait(self, timeout: float | None) -> list[StepResult | Progress]:
        """What came in; empty when the time is over."""

    def kill(self, key: str, why: str) -> None:
        """Ends a task: it may tear its resources down, then its process is killed. Its result is an error that says why."""

    def close(self) -> None:
        """Ends all tasks as `kill` does, then all processes. Idempotent."""


class InlinePool:
    """Runs each step in this process, for a debugger: breakpoints and prints work as in any program."""

    def __init__(
        self,
        pipeline: Any,
        root: Path,
        foreign: Sequence[str] = (),
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._pipeline = pipeline
        self._root = root
        self._foreign = tuple(foreign)
        self._environ = environ
        self._tasks: list[StepTask] = []

    @property
    def free(self) -> int:
        """One at a time."""
        return 0 if self._tasks else 1

    def submit(self, task: StepTask) -> int:
        """Notes the task; `wait` runs it."""
        self._tasks.append(task)
        return 0

    def wait(self, timeout: float | None) -> list[StepResult | Progress]:  # noqa: ARG002 - the pool's protocol
        """Runs the task that was submitted, and returns its result."""
        tasks, self._tasks = self._tasks, []
        with _without(self._foreign), _with(self._environ):
            return [run_step(self._pipeline, task, root=self._root) for task in tasks]

    def kill(self, key: str, why: str) -> None:
        """A step in this process can't be killed."""

    def close(self) -> None:
        """Nothing to end."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    number: int = 0
    sentinel: int | None = None
    task: StepTask | None = None
    why: str | None = None
    deadline: float = 0.0
    oom_kills: int = 0


class ProcessPool:
    """Worker processes, started when first needed and used again for further steps."""

    def __init__(self, project: Project, size: int) -> None:
        self._project = project
        self._size = max(1, size)
        self._workers: list[_Worker] = []
        self._early: list[StepResult | Progress] = []
        self._closed = False

    @property
    def free(self) -> int:
        """Places without a task."""
        return self._size - sum(1 for worker in self._workers if worker.task is not None)

    def warm(self, count: int) -> None:
        """Starts up to count workers now, while the caller still plans."""
        while len(self._workers) < min(count, self._size):
            self._workers.append(self._start())

    def submit(self, task: StepTask) -> int:
        """Hands a task to a worker that is idle, or to a new one."""
        worker = next((w for w in self._workers if w.task is None), None)
        if worker is None:
            worker = self._start()
            self._workers.append(worker)
        worker.task = task
        worker.oom_kills = oom_kills()
        try:
            worker.connection.send(task)
        except OSError:
            # It died while idle: its place is taken by a fresh one, once.
            self._end(worker)
            fresh = self._start()
            fresh.task, fresh.oom_kills = task, oom_kills()
            self._workers.append(fresh)
            fresh.connection.send(task)
            worker = fresh
        return worker.number

    def wait(self, timeout: float | None) -> list[StepResult | Progress]:
        """Results and progress from any worker; a worker that died tells so as a failed result."""
        busy: dict[Any, _Worker] = {w.connection: w for w in self._workers if w.task is not None}
        if not busy:
            return []
        # A child that a step has forked may keep the connection open: the process itself is watched, too.
        busy |= {w.sentinel: w for w in busy.values() if w.sentinel is not None}
        for late in [w for w in busy.values() if w.why is not None and w.deadline <= time.monotonic()]:
            kill(late.process)
        ends = [w.deadline - time.monotonic() for w in busy.values() if w.why is not None]
        if ends:
            timeout = max(0.05, min([*ends, *([] if timeout is None else [timeout])]))
        found: list[StepResult | Progress] = []
        for ready in wait(list(busy), timeout):
            worker = busy[ready]
            if worker.task is None or worker not in self._workers:
                continue  # told already: both of its signs were there
            if ready is not worker.connection and worker.connection.poll():
                continue  # what it still said comes first
            try:
                if ready is not worker.connection:
                    raise EOFError
                message = worker.connection.recv()
            except (EOFError, OSError):
                found.append(self._died(worker))
                continue
            found.append(message)
            if isinstance(message, StepResult):
                worker.task = None
                if worker.why is not None:
                    # Killed as its result came in: its next task must not be told that reason.
                    self._end(worker)
        return found

    def kill(self, key: str, why: str) -> None:
        """Ends the worker of that task; `wait` then returns an error with this sentence."""
        for worker in self._workers:
            if worker.task is not None and worker.task.key == key and worker.why is None:
                worker.why = why
                worker.deadline = time.monotonic() + self._project.teardown.total_seconds()
                worker.process.terminate()

    def close(self) -> None:
        """Ends every worker with its children; those with a task may tear their resources down before."""
        try:
            busy = [worker for worker in self._workers if worker.task is not None]
            for worker in busy:
                worker.process.terminate()
            end = time.monotonic() + self._project.teardown.total_seconds()
            for worker in busy:
                _until_gone(worker, end)
        finally:
            for worker in list(self._workers):
                self._end(worker)
            if self._project.scratch is not None:
                shutil.rmtree(self._project.scratch, ignore_errors=True)
                self._project = replace(self._project, scratch=None)

    def _start(self) -> _Worker:
        if self._project.scratch is None:
            scratch = Path(tempfile.mkdtemp(prefix="anabranch-run-"))
            self._project = replace(self._project, scratch=scratch)
        environ = {k: v for k, v in os.environ.items() if k not in self._project.foreign}
        environ |= self._project.environ
        environ["PYTHONUNBUFFERED"] = "1"
        process, connection = self._adopt(environ) or self._make(environ)
        # Not every system can: there the connection alone tells that a worker is gone.
        sentinel = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else None
        taken = {worker.number for worker in self._workers}
        number = next(n for n in range(len(taken) + 1) if n not in taken)
        return _Worker(process, connection, number, sentinel)

    def _adopt(self, environ: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], Connection] | None:
        if self._project.portable is None:
            return None
        from anabranch.pipeline.translators import adopt

        return adopt(self._project.portable, self._project, environ)

    def _make(self, environ: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], Connection]:
        process, connection = started("anabranch.running.worker", environ, self._project.root)
        connection.send(self._project)
        return process, connection

    def _died(self, worker: _Worker) -> StepResult:
        assert worker.task is not None
        key = worker.task.key
        code = self._end(worker)
        raised: BaseException = StepError(key)
        if worker.why is not None:
            message, hint, raised = worker.why, None, TimeoutError(key)
        elif code == -signal.SIGKILL and oom_kills() > worker.oom_kills:
            message = f"{key}: the kernel ended its process: the machine, or the container, was out of memory"
            hint = (
                "let less run beside it: --workers 1, or [run] memory in anabranch.toml; or let it hold less at a time:"
                " yield tables, or take a pyarrow.RecordBatchReader"
            )
        elif code is not None and code < 0:
            name = signal.Signals(-code).name
            message = f"{key}: its process was ended by {name}"
            hint = (
                "the system may be short of memory; fewer workers need less: --workers 1"
                if name == "SIGKILL"
                else None
            )
        else:
            message, hint = f"{key}: its process ended with code {code}", "see the step's log"
        error: dict[str, Any] = {
            "type": "StepError",
            "message": message,
            "hint": hint,
            "place": None,
            "facts": {},
            "traceback": "",
            "users": False,
        }
        return StepResult(
            key, ok=False, error=error, retriable=worth_another_try(worker.task.retry_on, raised)
        )

    def _end(self, worker: _Worker) -> int | None:
        if worker in self._workers:
            self._workers.remove(worker)
        kill(worker.process)
        worker.connection.close()
        if worker.sentinel is not None:
            os.close(worker.sentinel)
            worker.sentinel = None
        return worker.process.wait()


def started(
    module: str, environ: Mapping[str, str], folder: Path, output: Any = None
) -> tuple[subprocess.Popen[bytes], Connection]:
    """A module as a process in a session of its own, and the connection whose other end its only argument names.

    Args:
        module: Which.
        environ: Its whole environment.
        folder: Its working folder.
        output: Where its stdout goes, as `subprocess` takes it; None: to this process's own.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            start_new_session=True,
            env=environ,
            cwd=folder,
        )
    return process, Connection(ours.detach())


def _until_gone(worker: _Worker, end: float) -> None:
    """Waits for the end of a worker's process, without asking for its code: its process group keeps its number so."""
    signs: list[Any] = [worker.connection if worker.sentinel is None else worker.sentinel]
    while (left := end - time.monotonic()) > 0 and wait(signs, left):
        if worker.sentinel is not None:
            return
        try:
            worker.connection.recv()
        except (EOFError, OSError):
            return


def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that leads its own session: whatever it started goes with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


@contextlib.contextmanager
def _with(variables: Mapping[str, str]) -> Iterator[None]:
    kept = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def output_to(path: str | None) -> Iterator[None]:
    """Sends what the process prints, from C code too, to a file."""
    if path is None:
        yield
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(1), os.dup(2)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, descriptor)
            os.close(saved)


class _Ended(BaseException):
    """Raised in the user's code when the step is to end: whatever it holds is let go on the way out."""


_ending = threading.Event()


def _end_when_told() -> None:
    """SIGTERM ends the step under way, once: what tears resources down must not be interrupted again."""

    def end(_number: int, _frame: Any) -> None:
        if not _ending.is_set():
            _ending.set()
            raise _Ended

    signal.signal(signal.SIGTERM, end)


def _leave() -> None:
    """Ends this process and all that it has started."""
    with contextlib.suppress(OSError):
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _watch_parent(teardown: timedelta) -> None:
    """Ends the step and the process when its parent is gone, whatever it is doing: nobody could take its result."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(teardown.total_seconds())
        _leave()

    threading.Thread(target=watch, daemon=True, name="anabranch-parent-watch").start()


class _Teller:
    """Tells the parent of progress, a few times a second, from whichever thread writes."""

    def __init__(self, connection: Connection, key: str) -> None:
        self._connection = connection
        self._key = key
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, rows: int) -> None:
        with self._lock:
            if time.monotonic() - self._last > 0.25:
                self._last = time.monotonic()
                self._connection.send(Progress(self._key, rows))


def _error_result(task: StepTask, error: BaseException) -> StepResult:
    told = (
        error.to_dict()["error"]
        if isinstance(error, AnabranchError)
        else {"type": type(error).__name__, "message": str(error), "hint": None, "place": None, "facts": {}}
    )
    return StepResult(task.key, ok=False, error={**told, "traceback": "", "users": False})


def main(descriptor: int) -> None:
    """The worker's loop. It answers every task, and ends when the connection does."""
    connection = Connection(descriptor)
    serve(connection, connection.recv())


def serve(connection: Connection, project: Project) -> None:
    """The loop of a process that is a worker from now on."""
    _watch_parent(project.teardown)
    try:
        _end_when_told()
        _serve(connection, project)
    except _Ended:
        _leave()


def _serve(connection: Connection, project: Project) -> None:
    from anabranch.diff.engine import shared_engine

    # The definitions are imported with the first task, so that what they print goes to a log, not to the parent's terminal.
    pipeline: Any = None
    with shared_engine(project.scratch), contextlib.suppress(EOFError, OSError):
        while True:
            task: StepTask = connection.recv()
            progress = _Teller(connection, task.key)
            with output_to(task.log):
                try:
                    if pipeline is None:
                        pipeline = _load(project)
                    result = run_step(pipeline, task, root=project.root, on_progress=progress)
                except Exception as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
                    result = _error_result(task, error)
            if _ending.is_set():
                # The user's code went on all the same: what it returned after it was told to end is not whole.
                raise _Ended
            connection.send(result)


def _load(project: Project) -> Any:
    from anabranch.pipeline.definitions import Pipeline

    if project.portable is not None:
        from anabranch.pipeline.translators import restore

        definitions = restore(project.portable, project.root, project.source, project.files)
        return Pipeline.bind(definitions, query_cache=project.query_cache)
    from anabranch.pipeline.loader import load_definitions

    loaded = load_definitions(
        project.target, root=project.root, source=project.source, expected=project.files
    )
    return Pipeline.bind(loaded.definitions, query_cache=project.query_cache)


if __name__ == "__main__":
    # Pickles name this module by its real name, not as __main__.
    from anabranch.running import worker  # noqa: PLW0406

    worker.main(int(sys.argv[1]))
