"""Text with style hints instead of colour codes, so that what is told can be tested without a terminal.

Whatever a table, a branch name or an error message holds is made harmless here: a `Span` can't hold a control character.
Knows nothing of terminals; who prints decides what a style looks like.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Literal

from anabranch.dataclass import dataclass

Style = Literal["", "head", "key", "good", "bad", "warn", "dim"]

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
ELLIPSIS = "…"


def clean(text: str) -> str:
    r"""The text with every character that could move the cursor, colour the screen or turn the reading direction written
    as an escape: ``\x1b``, ``\n``, ``\u202e``.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    # Blanks of other scripts and the joiner inside emoji do no harm.
    if character.isprintable() or character == "\u200d" or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line in one style. Its text is made harmless when it is made."""

    text: str
    style: Style = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clean(self.text))


Line = tuple[Span, ...]


def line(*parts: str | Span) -> Line:
    """A line of spans and plain texts."""
    return tuple(part if isinstance(part, Span) else Span(part) for part in parts)


def head(text: str) -> Span:
    """A heading."""
    return Span(text, "head")


def key(text: str) -> Span:
    """A name that one could type."""
    return Span(text, "key")


def dim(text: str) -> Span:
    """What matters less."""
    return Span(text, "dim")


def hint(text: str) -> Line:
    """What to do next, as the last line."""
    return line(dim("next: "), key(text))


def text_of(lines: Iterable[Line]) -> str:
    """The lines without their styles, each ended by a line break."""
    return "".join("".join(span.text for span in one).rstrip() + "\n" for one in lines)


def paragraph(text: str, style: Style = "", indent: str = "") -> list[Line]:
    """A text of several lines, such as a traceback, line by line; tabs become blanks."""
    return [line(indent, Span(part.expandtabs(4), style)) for part in text.splitlines()]


# layout


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def cut(text: str, columns: int) -> str:
    """The text, or as much of its begin as goes before an ellipsis in so many columns."""
    if columns < 1 or width(text) <= columns:
        return text
    shown, used = "", 0
    for character in text:
        used += _columns(character)
        if used > columns - 1:
            break
        shown += character
    return shown + ELLIPSIS


def columns(
    rows: Sequence[Sequence[Span | str]],
    *,
    indent: str = "  ",
    right: Collection[int] = (),
    limit: int | None = None,
    give: int | None = None,
) -> list[Line]:
    """Rows of cells, each column as wide as its widest cell.

    Args:
        rows: Cells; rows may be of different lengths.
        indent: What each line begins with.
        right: Columns that are set to the right: numbers.
        limit: Columns of the screen; None: as wide as it gets.
        give: The column that is cut first where the screen is too narrow; default: the widest. Whatever still does not
            fit is cut at the edge.
    """
    cells = [[cell if isinstance(cell, Span) else Span(cell) for cell in row] for row in rows]
    count = max((len(row) for row in cells), default=0)
    widths = [max((width(row[at].text) for row in cells if at < len(row)), default=0) for at in range(count)]
    if limit is not None and count:
        over = sum(widths) + len(indent) + 2 * (count - 1) - limit
        at = give if give is not None else max(range(count), key=lambda one: widths[one])
        if over > 0:
            widths[at] = max(8, widths[at] - over)
    lines = []
    for row in cells:
        parts: list[Span] = [Span(indent)]
        for at, cell in enumerate(row):
            text = cut(cell.text, widths[at])
            blank = " " * (widths[at] - width(text))
            last = at == len(row) - 1
            if at in right:
                parts += [Span(blank), Span(text, cell.style)]
            else:
                parts += [Span(text, cell.style), *([] if last else [Span(blank)])]
            if not last:
                parts.append(Span("  "))
        lines.append(fit(tuple(parts), limit))
    return lines


def fit(one: Line, limit: int | None) -> Line:
    """A line that is no wider than the screen."""
    if limit is None or sum(width(span.text) for span in one) <= limit:
        return one
    kept: list[Span] = []
    left = limit
    for span in one:
        taken = width(span.text)
        if taken >= left:
            kept.append(Span(cut(span.text + ELLIPSIS, left), span.style))
            break
        kept.append(span)
        left -= taken
    return tuple(kept)


# numbers and times, as a person says them


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 row``, ``327,346 rows``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(number: float) -> str:
    """``812 B``, ``12.3 MB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(number) < 999.5 or unit == "TB":
            return f"{number:,.0f} {unit}" if unit == "B" or abs(number) >= 99.5 else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("the last unit returns")


def duration(seconds: float) -> str:
    """``45 ms``, ``1.4 s``, ``34 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds < 0.0995:
        return f"{max(1, round(seconds * 1000))} ms" if seconds > 0 else "0 ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for big, small, high, low in ((86400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if whole >= big:
            rest = whole % big // small
            return f"{whole // big} {high}" + (f" {rest} {low}" if rest else "")
    return f"{whole} s"


def moment(time: datetime) -> str:
    """``2026-11-20 09:12`` on the reader's clock."""
    return f"{time.astimezone():%Y-%m-%d %H:%M}"


def short_version(version: str | None) -> str:
    """The first 8 digits of what tells a version from others of its table."""
    return (version or "").rpartition(":")[2][:8] or "—"


def short_commit(commit: str | None) -> str:
    """The first 8 digits of a git commit."""
    return (commit or "")[:8]


def listed(names: Sequence[str], shown: int | None = 3) -> str:
    """``flights, planes, weather and 4 more``; all of them where shown is None."""
    if shown is None or len(names) <= shown + 1:
        return ", ".join(names)
    return f"{', '.join(names[:shown])} and {len(names) - shown} more"
