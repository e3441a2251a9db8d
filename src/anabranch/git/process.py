"""How git is called: with argument lists, apart from the caller's hooks and settings, in English.

A call costs 2 to 5 ms. It knows no command's meaning.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from anabranch.errors import GitError

_GLOBAL = ("--no-pager", "--no-optional-locks", "--literal-pathspecs", "-c", "log.showSignature=false")
# What a surrounding hook or program may have set points to *its* repository and index; only these say who and how.
_KEPT = re.compile(
    r"GIT_(CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_\d+|VALUE_\d+)|(AUTHOR|COMMITTER)_(NAME|EMAIL)"
    r"|CEILING_DIRECTORIES|DISCOVERY_ACROSS_FILESYSTEM|EXEC_PATH|NO_LAZY_FETCH|SSL_.*|SSH.*|ASKPASS)"
)


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a git that answers for the folder it is asked about, in English, and never asks back."""
    kept = {
        name: value for name, value in environ.items() if not name.startswith("GIT_") or _KEPT.fullmatch(name)
    }
    return {**kept, "LC_ALL": "C", "LANGUAGE": "C", "GIT_TERMINAL_PROMPT": "0"}


def call(
    folder: Path,
    *arguments: str,
    stdin: bytes | None = None,
    ok: Iterable[int] = (0,),
    extra: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Runs git in a folder.

    Args:
        folder: Where it is asked; it must exist.
        arguments: The command and its arguments.
        stdin: What it reads.
        ok: The exit codes that are answers.
        extra: Variables for this call alone.

    Raises:
        GitError: any other exit code (``facts``: command, exit_code, stderr), or git can't be started.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *_GLOBAL, *arguments],
            env={**child_environment(os.environ), **(extra or {})},
            input=stdin if stdin is not None else b"",
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise GitError(
            "git is not installed, or not on PATH", hint="install git 2.25 or newer: https://git-scm.com"
        ) from None
    except OSError as error:
        raise GitError(f"git can't be started: {error}", hint="try `git --version` in a shell") from None
    except ValueError:  # a zero byte, or characters that no file name can hold
        raise GitError(f"git can't be asked about {arguments[-1]!r}") from None
    if done.returncode not in ok:
        refuse(folder, arguments, done)
    return done


def refuse(folder: Path, arguments: Sequence[str], done: subprocess.CompletedProcess[bytes]) -> NoReturn:
    """Raises what git said as a GitError."""
    said = done.stderr.decode("utf-8", "replace").strip()
    first = next(iter(said.splitlines()), f"exit code {done.returncode}")
    message = f"git {arguments[0]} failed: {first.removeprefix('fatal: ').removeprefix('error: ')}"
    hint = None
    if "dubious ownership" in said:
        message = f"git does not trust {folder}, which belongs to another user"
        hint = f"if you do: git config --global --add safe.directory {folder}"
    raise GitError(message, hint=hint, command=["git", *arguments], exit_code=done.returncode, stderr=said)
