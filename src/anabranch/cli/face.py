"""What a command knows of its surroundings: how it was asked to speak, whether somebody is there, where to print.

The only place that knows what a style looks like. Results go to stdout; progress, questions and errors to stderr.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from anabranch.dataclass import dataclass, field
from anabranch.report.lines import Line, Span, duration, line

if TYPE_CHECKING:
    from anabranch.project import Project

_CODES = {"head": "1", "key": "36", "good": "32", "bad": "31", "warn": "33", "dim": "2"}
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PATIENCE = 0.5


@dataclass
class Reply:
    """What a command has to say.

    Attributes:
        result: What ``--json`` prints: a mapping, or something with ``to_dict``.
        lines: Makes the lines for a person; called only where a person reads.
        errors: Lines for stderr, before the others.
        code: The exit code.
        raw: Text that is printed as it is, instead of lines: a script, CSV.
        said: What goes to stdout, once it is worded.
    """

    result: Any
    lines: Callable[[], Iterable[Line]] = tuple
    errors: Sequence[Line] = ()
    code: int = 0
    raw: str | None = None
    said: str | None = None

    def to_dict(self) -> Mapping[str, Any]:
        """The result as plain JSON values."""
        found: Mapping[str, Any] = self.result if isinstance(self.result, Mapping) else self.result.to_dict()
        return found


@dataclass
class Face:
    """How this call was asked to speak.

    Attributes:
        folder: The project's folder as given by ``-C``; None: the working folder.
        json: Whether a program reads.
        no_color: Whether colours were refused.
        verbose: Whether everything is told, and tracebacks of our own errors too.
        code: The exit code, once it is known.
    """

    folder: Path | None = None
    json: bool = False
    no_color: bool = False
    verbose: bool = False
    code: int = 0
    _open: list[Any] = field(default_factory=list)

    def project(self) -> Project:
        """The project; closed when the command is over."""
        from anabranch.project import Project

        project = Project(self.folder)
        self._open.append(project)
        return project

    def close(self) -> None:
        """Closes what was opened."""
        while self._open:
            self._open.pop().close()

    # who is there

    @property
    def interactive(self) -> bool:
        """Whether somebody can be asked."""
        return not self.json and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def width(self) -> int | None:
        """Columns of the screen, or None where no screen is."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def colored(self, stream: TextIO) -> bool:
        """Whether a stream takes colours: a terminal, unless NO_COLOR, TERM=dumb or --no-color says otherwise."""
        refused = self.no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        return stream.isatty() and not refused

    # speaking

    def err(self, lines: Iterable[Line]) -> None:
        """Prints beside the result."""
        write(_painted(lines, colored=self.colored(sys.stderr)), sys.stderr)

    def text(self, lines: Iterable[Line]) -> str:
        """Lines as they are printed on stdout."""
        return _painted(lines, colored=self.colored(sys.stdout))

    def ask(self, question: str) -> bool:
        """Asks on the terminal; no is the default. Only where `interactive`."""
        write(f"{question} [y/N] ", sys.stderr)
        try:
            answer = input()
        except EOFError:
            write("\n", sys.stderr)
            return False
        return answer.strip().lower() in ("y", "yes")

    @contextmanager
    def working(self, what: str) -> Iterator[Callable[[str], None]]:
        """Shows on a terminal, after half a second, that something is under way and for how long.

        Yields:
            Takes a new text.
        """
        text = [what]
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            yield lambda new: text.__setitem__(0, new)
            return
        started = time.monotonic()
        over = threading.Event()

        def turn() -> None:
            at = 0
            if over.wait(_PATIENCE):
                return
            while True:
                told = line(
                    Span(_FRAMES[at % len(_FRAMES)], "key"),
                    f" {text[0]} ",
                    Span(duration(time.monotonic() - started), "dim"),
                )
                write("\r\x1b[2K" + painted(told, colored=self.colored(sys.stderr)), sys.stderr)
                at += 1
                if over.wait(0.1):
                    write("\r\x1b[2K", sys.stderr)
                    return

        thread = threading.Thread(target=turn, daemon=True, name="anabranch-spinner")
        thread.start()
        try:
            yield lambda new: text.__setitem__(0, new)
        finally:
            over.set()
            thread.join()


def _painted(lines: Iterable[Line], *, colored: bool) -> str:
    return "".join(painted(one, colored=colored) + "\n" for one in lines)


def painted(one: Line, *, colored: bool) -> str:
    """A line as it is written."""
    if not colored:
        return "".join(span.text for span in one).rstrip()
    return "".join(
        f"\x1b[{_CODES[span.style]}m{span.text}\x1b[0m" if span.style and span.text.strip() else span.text
        for span in one
    )


def write(text: str, stream: TextIO) -> None:
    """Writes to a stream whatever its encoding can hold, at once."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()
