"""Asks a child process what a Dagster project holds: one for each place, for such projects choose by variables where they are."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch import errors
from anabranch.adapters.dagster.kept import Kept, holds
from anabranch.adapters.dagster.variables import environ_for
from anabranch.errors import AnabranchError, LoadError
from anabranch.pipeline.translators import Asked, Surroundings
from anabranch.running.worker import Project, kill, started

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_DAGSTER = re.compile(rb"^\s*(?:import|from)\s+dagster(?:_\w+)?\b", re.MULTILINE)
_IMPORT = re.compile(
    rb"^\s*(?:from\s+(\.*[\w.]*)\s+import\s+\(?([\w, \t]+)|import\s+([\w., \t]+))", re.MULTILINE
)
_ENV_VAR = re.compile(rb"""(?:EnvVar(?:\.int)?\(\s*|["']env["']\s*:\s*)["']([A-Za-z_][A-Za-z0-9_]*)["']""")


def looks_like_dagster(target: str, source: Sequence[Path]) -> bool:
    """Whether a module, or one of the project that it imports, imports Dagster; told by their texts alone."""
    seen: set[Path] = set()
    todo = [target.partition(":")[0]]
    while todo:
        module = todo.pop()
        found = _file_of(module, source)
        if found is None or found in seen or len(seen) > 500:
            continue
        seen.add(found)
        text = found.read_bytes()
        if _DAGSTER.search(text):
            return True
        package = module if found.name == "__init__.py" else module.rpartition(".")[0]
        for named, names, plain in _IMPORT.findall(text):
            if plain:
                todo += [each.split()[0] for each in plain.decode().split(",") if each.strip()]
                continue
            base = _absolute(named.decode(), package)
            todo += [base, *(f"{base}.{n.split()[0]}" for n in names.decode().split(",") if n.strip())]
    return False


def _absolute(module: str, package: str) -> str:
    if not module.startswith("."):
        return module
    up = len(module) - len(module.lstrip("."))
    parts = package.split(".")
    return ".".join(p for p in (*parts[: len(parts) - up + 1], module.lstrip(".")) if p)


def _file_of(module: str, source: Sequence[Path]) -> Path | None:
    for folder in source:
        place = folder.joinpath(*module.split("."))
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if module and file.is_file():
                return file
    return None


def variables_in_text(root: Path) -> set[str]:
    """Names of the variables that a project's files name as secrets of resources: ``EnvVar("X")``, ``{"env": "X"}``."""
    found: set[str] = set()
    skipped = {".venv", "venv", "site-packages", "node_modules", ".anabranch", "__pycache__", ".git"}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in skipped]
        for name in files:
            if name.endswith((".py", ".yaml", ".yml")):
                found.update(n.decode() for n in _ENV_VAR.findall(Path(folder, name).read_bytes()))
    return found


def look(asked: Asked, there: Surroundings) -> Mapping[str, Any]:
    """What the project holds at a place, from what is kept or from a child process.

    Raises:
        AnabranchError: as the child has raised it.
    """
    environ = environ_for(there, os.environ)
    question = {
        "target": asked.target,
        "root": str(asked.root),
        "source": [str(each) for each in asked.source],
        "run_config": there.options.get("run_config") or {},
        "place": [there.kind, there.resources],
    }
    kept = Kept(asked.cache, question)
    found = kept.find(asked.root, environ)
    if found is not None:
        return found
    salt = secrets.token_hex(32)
    cache = None if asked.cache is None else str(asked.cache)
    child = Child(environ, asked.root, asked.target, asked.source)
    with child.or_ended():
        answer = {**child.ask("introspect", {**question, "cache": cache, "salt": salt}), "salt": salt}
    child.answer = answer
    _at_hand.append(child)
    while len(_at_hand) > _MOST:
        _at_hand.pop(0).end()
    kept.keep(answer)
    return answer


def ask(
    module: str, request: Mapping[str, Any], environ: Mapping[str, str], root: Path, log: Path | None = None
) -> dict[str, Any]:
    """Lets a child process do what one of this package's modules does, and returns its answer.

    Args:
        module: Which: ``jobs``, ``deliver``.
        request: What it is asked.
        environ: Its environment.
        root: Its working folder.
        log: File that takes what it prints; None: stderr.

    Raises:
        AnabranchError: as the child has raised it.
        LoadError: the child has ended without an answer.
    """
    source = tuple(Path(each) for each in request["source"])
    child = _take(environ, root, request["target"], source) or Child(environ, root, request["target"], source)
    with child.or_ended():
        answer = child.ask(module, request, log)
    if child.answer is None:
        child.end()
    else:
        _at_hand.append(child)
    return answer


def adopt(
    described: Mapping[str, Any], project: Project, environ: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], Connection] | None:
    """A child that has imported this very code, as a worker; None where there is none."""
    child = _take(environ, project.root, project.target, project.source)
    if child is None:
        return None
    assert child.answer is not None
    if child.answer["described"] == described and dict(child.answer["files"]) == dict(project.files):
        with contextlib.suppress(OSError, EOFError):
            child.connection.send(("worker", project, None))
            if child.connection.poll(5) and child.connection.recv() == "taken":
                return child.process, child.connection
    child.end()
    return None


class Child:
    """A process that has imported a project, or is about to; see `answering`. It ends when nobody has asked for a while.

    Attributes:
        answer: What it was found to hold, and on what that depends; None before it was asked.
    """

    def __init__(self, environ: Mapping[str, str], root: Path, target: str, source: Sequence[Path]) -> None:
        self.environ = {**environ, "PYTHONUNBUFFERED": "1"}
        self.of = (root, target, tuple(source))
        self.answer: Mapping[str, Any] | None = None
        # Ctrl-C is ours, for it has a session of its own: we end it, and it prints no traceback.
        output = sys.__stderr__ if sys.__stderr__ is not None else subprocess.DEVNULL
        self.process, self.connection = started(
            "anabranch.adapters.dagster.answering", self.environ, root, output
        )

    def ask(self, module: str, request: Mapping[str, Any], log: Path | None = None) -> dict[str, Any]:
        """Its answer. Raises what it has raised, LoadError if it ends without one."""
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.connection.send((module, dict(request), None if log is None else str(log)))
            found: dict[str, Any] = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            raise LoadError(
                f"the process that imported {self.of[1]} ended with code {self.process.wait()}",
                place="anabranch.toml project.definitions",
                hint=f"what it printed stands {'above' if log is None else f'in {log}'}; "
                "is the extra installed? pip install 'anabranch[dagster]'",
            ) from None
        if "error" in found:
            raise _raised(found["error"])
        return found

    @contextlib.contextmanager
    def or_ended(self) -> Iterator[None]:
        """Whatever is raised within ends it."""
        try:
            yield
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Ends it with all that it has started."""
        if self.process.poll() is None:
            kill(self.process)
        self.connection.close()
        self.process.wait()


_at_hand: list[Child] = []
"""Children that may be asked again, the newest last."""
_MOST = 2  # a sandbox's, and that of the environment that it stands on


def _take(environ: Mapping[str, str], root: Path, target: str, source: Sequence[Path]) -> Child | None:
    """Takes the newest child that is what a new one would be; those that have ended are forgotten."""
    for child in reversed(list(_at_hand)):
        if child.process.poll() is not None:
            _at_hand.remove(child)
            child.end()
        elif (
            child.environ == {**environ, "PYTHONUNBUFFERED": "1"}
            and child.of == (root, target, tuple(source))
            and child.answer is not None
            and holds(child.answer, root, environ)
        ):
            _at_hand.remove(child)
            return child
    return None


@atexit.register
def _end_all() -> None:
    while _at_hand:
        _at_hand.pop().end()


def _raised(told: Mapping[str, Any]) -> AnabranchError:
    kind = getattr(errors, told["class"], LoadError)
    return kind(told["message"], hint=told["hint"], place=told["place"], **told["facts"])
