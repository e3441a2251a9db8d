"""What clones of outside databases look like to a data engineer: whose they are, how they were made, what is left behind.

Pure: results in, lines out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anabranch.report.lines import (
    Line,
    Span,
    Style,
    columns,
    count,
    dim,
    head,
    key,
    line,
    listed,
    moment,
    size,
)

if TYPE_CHECKING:
    from anabranch.clones.keeper import CloneInfo

_WORDS: dict[str, tuple[str, Style]] = {
    "ready": ("", ""),
    "unfinished": ("not finished: the next run, or anabranch sandbox open, goes on", "warn"),
    "missing": ("somebody has dropped it: anabranch sandbox open makes it again", "warn"),
    "leaked": ("its sandbox is gone: anabranch gc drops it", "warn"),
    "unknown": ("it carries this project's mark, but nothing here tells of it: drop it yourself", "warn"),
    "unreachable": ("can't be asked", "bad"),
}


def clone_list_lines(clones: Sequence[CloneInfo], *, limit: int | None = None) -> list[Line]:
    """All clones of a project."""
    if not clones:
        return [line("no clones of outside databases")]
    rows: list[list[Span | str]] = []
    for one in clones:
        words, style = _WORDS[one.condition]
        made = one.refreshed_at or one.created_at
        rows.append(
            [
                key(one.name),
                dim(f"{one.provider} {one.clone}"),
                one.sandbox,
                "" if one.bytes is None else size(one.bytes),
                dim(moment(made) if made else ""),
                Span(f"{words}: {one.problem}" if words and one.problem else words, style),
            ]
        )
    return [
        line(head(count(len(clones), "clone"))),
        *columns(rows, indent="  ", right=(3,), limit=limit, give=5),
    ]


def clone_lines(clones: Sequence[CloneInfo]) -> list[Line]:
    """The clones that a sandbox was given."""
    lines = []
    for one in clones:
        how = f", {one.how}" if one.how else ""
        lines.append(line("  clone ", key(one.name), f" of {one.source}", dim(f" ({one.provider}{how})")))
        if one.left_out:
            lines.append(line("    ", Span(f"without: {listed(one.left_out, 4)}", "warn")))
    return lines


def dropped_lines(
    clones: Sequence[Mapping[str, Any]], problems: Sequence[str], *, would: bool, verbose: bool = True
) -> list[Line]:
    """Clones that went, or would go, and those that could not."""
    lines = []
    if clones:
        names = [f"{one['name']} ({one['provider']})" for one in clones]
        lines.append(
            line(f"  {'drop' if would else 'dropped'} clones: ", listed(names, None if verbose else 6))
        )
    lines += [line("  ", Span(problem, "warn")) for problem in problems]
    return lines
