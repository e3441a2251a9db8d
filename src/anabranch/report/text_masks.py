"""What the sync of a masked environment looks like to a data engineer: what was masked, by which rules, and what is open.

Pure: results in, lines out. The last line says what to do next.
"""

from __future__ import annotations

from anabranch.masking.plan import MaskStep
from anabranch.masking.sync import SyncResult
from anabranch.report.lines import (
    Line,
    Span,
    columns,
    count,
    dim,
    duration,
    head,
    hint,
    key,
    line,
    listed,
    size,
)

_SHOWN = 12


def sync_lines(result: SyncResult, *, limit: int | None = None, verbose: bool = False) -> list[Line]:
    """What a sync did, or would do."""
    title = f"{result.environment}, masked from {result.parent}"
    lines = [line(head(title))]
    worked = result.with_action("mask", "append", "partitions", "drop")
    shown = worked if verbose else worked[:_SHOWN]
    lines += columns([_row(step) for step in shown], limit=limit, give=2)
    if len(worked) > len(shown):
        lines.append(line("  ", dim(f"and {len(worked) - len(shown)} more (-v shows all)")))
    same = [step.key for step in result.with_action("same", "note")]
    if same:
        lines.append(line("  ", dim(f"unchanged: {listed(same, None if verbose else 6)}")))
    left = [step.key for step in result.with_action("leave")]
    if left:
        lines.append(line("  ", dim(f"files left out: {listed(left)} (keep_files takes them over)")))
    lines += _undeclared(result)
    return [*lines, *_end(result)]


def _row(step: MaskStep) -> list[Span | str]:
    if step.action == "drop":
        return [Span("drop", "bad"), key(step.key), step.reason, ""]
    hidden = [f"{name} {rule}" for name, rule in step.rules.items() if rule != "keep"]
    told = listed(hidden, 6) if hidden else "every column is kept" if step.rules else ""
    rows = count(step.rows, "row") if step.rows is not None else "file"
    return [Span(step.action, "warn"), key(step.key), f"{step.reason}, {rows}", told]


def _undeclared(result: SyncResult) -> list[Line]:
    open_ = result.undeclared
    if not open_:
        return []
    total = sum(len(names) for names in open_.values())
    lines = [line("  ", Span(f"{count(total, 'column')} masked because nobody has declared them:", "warn"))]
    rows: list[list[Span | str]] = [[key(name), listed(columns_, 8)] for name, columns_ in open_.items()]
    lines += columns(rows, indent="    ")
    lines.append(line("  ", dim("declare each at its asset: ab.keep, ab.pii, or a tag of your own")))
    return lines


def _end(result: SyncResult) -> list[Line]:
    if result.state == "dry_run":
        worked = result.with_action("mask", "append", "partitions", "drop", "note")
        return [hint(f"anabranch sync {result.environment}" if worked else "nothing to do")]
    if result.state == "nothing":
        return [line(dim(f"{result.environment} is up to date"))]
    told = f": {count(result.rows, 'row')}, {size(result.bytes)} in {duration(result.seconds)}"
    return [
        line("  published as ", key(str(result.commit)), told),
        hint(f"anabranch sandbox open --base {result.environment}"),
    ]
