"""Asks a child process what a Dagster project holds: one for each place, for such projects choose by variables where they are."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anabranch import errors
from anabranch.adapters.dagster.kept import Kept
from anabranch.adapters.dagster.variables import environ_for
from anabranch.errors import AnabranchError, LoadError
from anabranch.pipeline.translators import Asked, Surroundings

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
        for started, names, plain in _IMPORT.findall(text):
            if plain:
                todo += [each.split()[0] for each in plain.decode().split(",") if each.strip()]
                continue
            base = _absolute(started.decode(), package)
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
    answer = ask("introspect", {**question, "cache": cache, "salt": salt}, environ, asked.root)
    answer = {**answer, "salt": salt}
    kept.keep(answer)
    return answer


def ask(
    module: str, request: Mapping[str, Any], environ: Mapping[str, str], root: Path, log: Path | None = None
) -> dict[str, Any]:
    """Runs one of this package's modules as a child process, and returns its answer.

    Args:
        module: Which.
        request: What it is asked.
        environ: Its environment.
        root: Its working folder.
        log: File that takes what it prints; None: stderr.

    Raises:
        AnabranchError: as the child has raised it.
        LoadError: the child has ended without an answer.
    """
    ours, theirs = os.pipe()
    with contextlib.ExitStack() as stack:
        answers = stack.enter_context(os.fdopen(ours, "rb"))
        out: Any = sys.__stderr__ if sys.__stderr__ is not None else subprocess.DEVNULL
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            out = stack.enter_context(log.open("ab"))
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", f"anabranch.adapters.dagster.{module}", str(theirs)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=None if log is None else out,
                pass_fds=[theirs],
                env=dict(environ),
                cwd=root,
                start_new_session=True,  # Ctrl-C is ours: we end it, and it prints no traceback
            )
        finally:
            os.close(theirs)
        try:
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps(request).encode())
                process.stdin.close()
            except BrokenPipeError:
                pass
            text = answers.read()
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
    if code != 0 or not text:
        raise LoadError(
            f"the process that imported {request['target']} ended with code {code}",
            place="anabranch.toml project.definitions",
            hint=f"what it printed stands {'above' if log is None else f'in {log}'}; "
            "is the extra installed? pip install 'anabranch[dagster]'",
        )
    found: dict[str, Any] = json.loads(text)
    if "error" in found:
        raise _raised(found["error"])
    return found


def _raised(told: Mapping[str, Any]) -> AnabranchError:
    kind = getattr(errors, told["class"], LoadError)
    return kind(told["message"], hint=told["hint"], place=told["place"], **told["facts"])
