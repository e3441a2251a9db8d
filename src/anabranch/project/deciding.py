"""What `decide` must know of this machine, gathered: git's answers and the event of the CI that runs this."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anabranch.errors import UndeterminedError
from anabranch.git import Repository, State
from anabranch.settings import Decision, Settings, decide

_LARGEST = 32 << 20
"""Bytes of an event that is read; GitHub's own limit is 25 MB."""


def decide_here(
    repository: Repository, state: State, settings: Settings, environ: Mapping[str, str]
) -> Decision:
    """Decides for a worktree and a process's environment variables. Raises UndeterminedError as `decide` does."""
    ours = _is_checkout(repository.root, environ)
    return decide(
        state,
        environ,
        settings,
        event=_event(environ) if ours else None,
        contained_in=_contained_in(repository, state, settings) if state.branch is None else (),
        in_ci_checkout=ours,
    )


def _is_checkout(root: Path, environ: Mapping[str, str]) -> bool:
    """Whether a repository lies in the folder that CI has checked out: what CI says is said of that one alone."""
    folders = [text for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR") if (text := environ.get(name))]
    real = Path(os.path.realpath(root))
    return not folders or any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)


def _event(environ: Mapping[str, str]) -> Mapping[str, Any] | None:
    path = environ.get("GITHUB_EVENT_PATH")
    if not path or environ.get("GITHUB_ACTIONS") != "true":
        return None
    try:
        with Path(path).open("rb") as file:
            found = json.loads(file.read(_LARGEST))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _contained_in(repository: Repository, state: State, settings: Settings) -> list[str]:
    """The environments' git branches, here or at origin, that hold the commit of a detached HEAD."""
    wanted = [its.git_branch for its in settings.environments.values() if its.git_branch]
    if state.commit is None or not wanted:
        return []
    local, remote = repository.branches(), repository.branches(remote=True)
    found = []
    for name in wanted:
        tips = {tip for tip in (local.get(name), remote.get(f"origin/{name}")) if tip is not None}
        if state.commit in tips or any(_is_ancestor(repository, state.commit, tip) for tip in tips):
            found.append(name)
    return found


def _is_ancestor(repository: Repository, commit: str, tip: str) -> bool:
    try:
        return repository.is_ancestor(commit, tip)
    except UndeterminedError:  # beyond the edge of a shallow clone
        return False
