"""`sandbox shell`: an interactive Python, or the user's own shell, that reads one commit."""

from __future__ import annotations

import code
import contextlib
import os
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

from anabranch.cli.face import Face
from anabranch.report.lines import clean, listed

if TYPE_CHECKING:
    from anabranch.project import Project


def names(project: Project, ref: str) -> dict[str, Any]:
    """What is there under which name: ``ab``, ``project``, ``ref``, ``sql``, ``tables``, and each table by its key.

    A key that is no plain name, or is taken, is found in ``tables`` alone.
    """
    import anabranch as ab

    storage = project.context.storage()
    tables = {key: project.context.handle(entry, storage) for key, entry in project.tables(ref).items()}

    def sql(query: str) -> Any:
        """Queries the tables of this commit with DuckDB."""
        return project.sql(query, ref)

    ours = {"ab": ab, "project": project, "ref": ref, "sql": sql, "tables": tables}
    return {**{key: table for key, table in tables.items() if key.isidentifier()}, **ours}


def python_shell(face: Face, project: Project, ref: str, command: str | None) -> int:
    """Starts an interactive Python. Returns its exit code."""
    namespace: dict[str, Any] = {"__name__": "__console__", "__doc__": None, **names(project, ref)}
    if command is not None:
        try:
            exec(compile(command, "<-c>", "exec"), namespace)  # noqa: S102 - the user's own code, as python -c takes it
        except Exception:  # noqa: BLE001 - it is theirs, and so is the traceback
            kind, error, trace = sys.exc_info()
            traceback.print_exception(kind, error, trace.tb_next if trace is not None else None)
            return 1
        return 0
    with contextlib.suppress(ImportError):
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(namespace).complete)
        readline.parse_and_bind("tab: complete")
    known = sorted(namespace["tables"])
    banner = (
        f"{project.name} at {ref}, pinned. Tables: {clean(listed(known, 12)) or 'none'}\n"
        'delays.to_polars(), sql("select …"), tables["marts.orders"], project.diff(); Ctrl-D ends it.'
    )
    console = code.InteractiveConsole(namespace)
    console.interact(banner=banner if sys.stdin.isatty() and not face.json else "", exitmsg="")
    return 0


def system_shell(project: Project, ref: str, command: str | None) -> int:
    """Starts the user's shell in the project's folder, with ANABRANCH_REF set. Returns its exit code."""
    program = os.environ.get("SHELL") or "/bin/sh"
    arguments = [program] if command is None else [program, "-c", command]
    environment = {**os.environ, "ANABRANCH_REF": ref}
    project.close()
    return subprocess.run(arguments, cwd=project.context.root, env=environment, check=False).returncode
