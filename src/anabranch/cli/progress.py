"""What a run looks like while it goes on: a live display on a terminal, a line for each thing that happened elsewhere.

Listens to events, and writes to stderr: stdout belongs to the result.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from anabranch.cli.face import Face
from anabranch.report.lines import Line, Span, count, duration, line, listed, size
from anabranch.report.text_history import opening_lines
from anabranch.running.events import Event, Listener

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_RICH = {"head": "bold", "key": "cyan", "good": "green", "bad": "red", "warn": "yellow", "dim": "dim", "": ""}
_RUNNING_SHOWN = 12


def event_line(event: Event, *, verbose: bool = False) -> Line | None:
    """What is told of an event in one line; None where it is not worth one."""
    data = event.data
    name = Span(event.key, "key")
    if event.kind == "step_started" and verbose:
        reasons = [str(reason.get("text")) for reason in data.get("reasons", ())]
        return line(name, " starts", Span(f"  {listed(reasons, 2)}", "dim"))
    if event.kind == "step_finished":
        rows = count(data["rows"], "row") if data.get("rows") is not None else size(data.get("bytes") or 0)
        same = Span("  same content", "dim") if data.get("same_content") else Span("")
        return line(name, " ", Span("ran", "good"), f" {duration(data['seconds'])} {rows}", same)
    if event.kind == "step_reused":
        if data.get("state") == "adopted":
            return line(
                name, " ", Span("taken over", "good"), Span(f"  {listed(data.get('reasons', ()))}", "dim")
            )
        return line(name, Span(f" {data.get('state')}", "dim")) if verbose else None
    if event.kind == "step_failed":
        error = data.get("error") or {}
        return line(name, " ", Span("failed", "bad"), f" {error.get('message') or ''}")
    if event.kind == "step_retried":
        what = f" try {data['attempt']} of {data['of']} failed, again in {duration(data['pause'])}: {data['message']}"
        return line(name, Span(what, "warn"))
    if event.kind == "step_skipped":
        return line(name, Span(f" does not run: {data.get('cause')} failed", "warn"))
    if event.kind == "check_finished":
        return _check_line(event, name, verbose)
    if event.kind == "run_waiting":
        return line(Span("waits for ", "warn"), str(data["holder"]))
    if event.kind == "clone_started":
        return line(name, " ", Span(str(data["message"]), "dim"))
    if event.kind == "clone_opened":
        how = f"  {data['how']}" if data.get("how") else ""
        return line(name, " ", Span("cloned", "good"), f" into {data['name']}", Span(how, "dim"))
    if event.kind == "warning":
        return line(Span("warning: ", "warn"), str(data["message"]))
    if event.kind == "published":
        return line(
            Span("published ", "good"), Span(str(data["commit"]), "key"), f" {count(data['keys'], 'table')}"
        )
    return None


def _check_line(event: Event, name: Span, verbose: bool) -> Line | None:
    data = event.data
    if data["passed"]:
        known = " (known already)" if data.get("cached") else ""
        return line(name, " ", Span("passed", "good"), Span(known, "dim")) if verbose or not known else None
    said = Span("failed", "bad") if data["blocking"] else Span("warns", "warn")
    return line(name, " ", said, f" {data['message']}")


@contextmanager
def progress(face: Face, *, live: bool = True) -> Iterator[Listener]:
    """Shows a run while it goes on.

    Args:
        face: How this call was asked to speak.
        live: False where steps run in this process: their prints and a debugger own the terminal.

    Yields:
        The listener to hand to `Project.run`.
    """
    if live and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _Live(face) as display:
            yield display
    else:
        yield _Plain(face)


class _Plain:
    """``14:02:07 delays ran 1.2 s 327,346 rows``."""

    def __init__(self, face: Face) -> None:
        self._face = face

    def __call__(self, event: Event) -> None:
        if event.kind == "sandbox_opened":
            self._face.err(opening_lines(event.key, event.data["base"], event.data["behind_reason"]))
            return
        told = event_line(event, verbose=self._face.verbose)
        if told is not None:
            self._face.err([line(Span(f"{event.time.astimezone():%H:%M:%S} ", "dim"), *told)])


class _Live:
    """Finished lines above, and what runs now below: spinner, time, rows."""

    def __init__(self, face: Face) -> None:
        from rich.console import Console
        from rich.live import Live

        self._face = face
        self._running: dict[str, tuple[float, int | None]] = {}
        self._done = 0
        self._total = 0
        self._started = time.monotonic()
        # Our own spans are harmless and already styled: neither markup nor guesses at numbers.
        self._console = Console(
            stderr=True, markup=False, highlight=False, emoji=False, no_color=not face.colored(sys.stderr)
        )
        self._live = Live(self, console=self._console, refresh_per_second=10, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        self._count(event)
        if event.kind == "sandbox_opened":
            for one in opening_lines(event.key, event.data["base"], event.data["behind_reason"]):
                self._console.print(_rich(one), soft_wrap=True)
            return
        told = event_line(event, verbose=self._face.verbose)
        if told is not None:
            self._console.print(_rich(line(*told)), soft_wrap=True)

    def _count(self, event: Event) -> None:
        if event.kind == "run_started":
            self._total = sum(1 for action in event.data["plan"].values() if action != "reuse")
        elif event.kind == "step_started":
            self._running[event.key] = (time.monotonic(), None)
        elif event.kind == "step_progress" and event.key in self._running:
            self._running[event.key] = (self._running[event.key][0], event.data["rows"])
        elif event.kind in ("step_finished", "step_failed"):
            self._running.pop(event.key, None)
            self._done += 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = time.monotonic()
        frame = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[int(now * 10) % 10]
        for key, (since, rows) in list(self._running.items())[:_RUNNING_SHOWN]:
            told = f" {duration(now - since)}" + (f" {count(rows, 'row')}" if rows else "")
            yield _rich(line(Span(frame, "key"), " ", Span(key), Span(told, "dim")))
        if len(self._running) > _RUNNING_SHOWN:
            yield _rich(line(Span(f"  and {len(self._running) - _RUNNING_SHOWN} more", "dim")))
        if not self._total and not self._running:
            yield _rich(line(Span(f"planning, {duration(now - self._started)}", "dim")))
            return
        of = f" of {self._total}" if self._total >= self._done else ""
        yield _rich(line(Span(f"{self._done}{of} done, {duration(now - self._started)}", "dim")))
        del console, options


def _rich(one: Line) -> Any:
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis")
    for span in one:
        text.append(span.text, _RICH[span.style])
    return text
