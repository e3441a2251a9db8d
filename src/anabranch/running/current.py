"""The step under way in this process: what it was told, and the facts that are to be kept with what it makes.

For code that stands between the executor and a user's function, such as an adapter's; users' code has no need of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass, field

if TYPE_CHECKING:
    from anabranch.running.step import StepTask


@dataclass
class Current:
    """One step.

    Attributes:
        task: What it was told.
        root: The project's folder.
        facts: Plain JSON values that are kept in the entry's provenance, as ``facts``.
    """

    task: StepTask
    root: Path
    facts: dict[str, Any] = field(default_factory=dict)


_current: ContextVar[Current | None] = ContextVar("anabranch_step", default=None)


def current_step() -> Current:
    """The step under way. Raises RuntimeError outside of one."""
    found = _current.get()
    if found is None:
        raise RuntimeError("no step is under way in this process")
    return found


@contextlib.contextmanager
def under_way(task: StepTask, root: Path) -> Iterator[Current]:
    """Makes a step the one under way."""
    here = Current(task, root)
    token = _current.set(here)
    try:
        yield here
    finally:
        _current.reset(token)
