"""What happens in a run, as data: for a terminal, a log of JSON lines, and whoever else listens.

Events are told in the order in which they happened; a listener that fails does not fail the run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from anabranch.dataclass import dataclass, field
from anabranch.names import now

EventKind = Literal[
    "sandbox_opened", "clone_started", "clone_opened", "run_started", "step_started", "step_progress", "step_finished", "step_reused", "step_failed", "step_retried",
    "step_skipped", "check_finished", "published", "run_finished", "run_waiting", "warning",
]  # fmt: skip


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: What.
        key: The asset, or ``asset:check``; empty for the run itself.
        data: Plain JSON values: rows, seconds, reasons, message …
        time: When (UTC).
    """

    kind: EventKind
    key: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    time: datetime = field(default_factory=now)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"time": self.time.isoformat(), "kind": self.kind, "key": self.key, **self.data}


Listener = Callable[[Event], None]


class EventLog:
    """Writes events as JSON lines; the file is closed by `close`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("a", encoding="utf-8")

    def __call__(self, event: Event) -> None:
        """Appends one line."""
        if event.kind != "step_progress":
            self._file.write(json.dumps(event.to_dict(), default=str) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file. Idempotent."""
        self._file.close()
