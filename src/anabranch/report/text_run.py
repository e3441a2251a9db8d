"""What a run's record looks like to a data engineer: each step with a small bar that says when it ran.

Pure: a record in, lines out. The last line says what to do next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from anabranch.catalog.base import RunRecord
from anabranch.report.lines import (
    Line,
    Span,
    Style,
    columns,
    count,
    dim,
    duration,
    head,
    hint,
    key,
    line,
    moment,
)

_BAR = 20
_ROWS = 40


def run_record_lines(
    run: RunRecord, *, target: str = "", limit: int | None = None, verbose: bool = False
) -> list[Line]:
    """A run's record: what ran and when, why, what failed, and the chain of steps that decided how long it took."""
    made = run.properties
    style: Style = "good" if run.state == "succeeded" else "warn" if run.state == "running" else "bad"
    lines = [line(head(f"Run {run.id}"), f" of {target} " if target else " ", Span(run.state, style))]
    lines += columns(
        [
            [dim(name), value]
            for name, value in [
                ("started", moment(run.started_at)),
                ("took", duration(float(made["seconds"])) if "seconds" in made else None),
                ("by", str(made.get("author") or "")),
                ("git commit", run.git_commit),
                ("commit", made.get("commit")),
            ]
            if value
        ]
    )
    error = made.get("error")
    if error:
        lines.append(line("  ", Span(f"{error.get('type')}: {error.get('message')}", "bad")))
    lines += [line("  ", Span("warning: ", "warn"), told) for told in made.get("warnings", ())]
    rows: list[list[Span | str]] = []
    timeline: Mapping[str, Any] = made.get("timeline") or {}
    chain: list[str] = list(timeline.get("critical_path", ()))
    critical = {bar["of"] for bar in timeline.get("bars", ()) if bar["step"] in chain}
    drawn = _drawn(timeline)
    reasons: Mapping[str, list[str]] = made.get("reasons", {})
    # Failures first, then in the order in which they started.
    starts = {bar["of"]: bar["start"] for bar in reversed(timeline.get("bars", ()))}
    worked = [a for a in made.get("assets", ()) if a["state"] not in ("reused", "unselected")]
    worked.sort(key=lambda a: (a["state"] != "failed", starts.get(a["asset"], math.inf)))
    for asset in worked:
        counts = count(asset["rows"], "row") if asset.get("rows") is not None else ""
        why = "; ".join(reasons.get(asset["asset"], [])[:2])
        if asset["state"] == "failed":
            why = str((asset.get("error") or {}).get("message", ""))
        state = Span(asset["state"], "bad" if asset["state"] == "failed" else "")
        tries = asset.get("attempts", 1)
        why = f"{tries} tries; {why}" if tries > 1 else why
        bar = Span(drawn.get(asset["asset"], ""), "warn" if asset["asset"] in critical else "dim")
        rows.append(
            [state, key(asset["asset"]), *([bar] if drawn else []), duration(asset["seconds"]), counts, why]
        )
    shown = rows if verbose else rows[:_ROWS]
    at = 3 if drawn else 2
    lines += columns(shown, right=(at, at + 1), limit=limit, give=at + 2)
    if len(rows) > len(shown):
        lines.append(line("  ", dim(f"and {len(rows) - len(shown)} more (-v shows all)")))
    if len(chain) > 1:
        lines.append(line("  ", dim("critical path: "), Span(" → ".join(_ends(chain)), "warn")))
    failed = [c for c in made.get("checks", ()) if not c["passed"]]
    lines += columns(
        [
            [
                Span("failed" if c["blocking"] else "warns", "warn"),
                key(f"{c['asset']}:{c['check']}"),
                c["message"],
            ]
            for c in failed
        ],
        limit=limit,
        give=2,
    )
    return [
        *lines,
        hint(f"its logs: .anabranch/runs/{run.id}/; as a page: anabranch show {run.id} --html run.html"),
    ]


def _ends(chain: list[str]) -> list[str]:
    return chain if len(chain) <= 6 else [*chain[:3], "…", *chain[-2:]]


def _drawn(timeline: Mapping[str, Any]) -> dict[str, str]:
    """Asset → when it ran, as a bar among dots: each attempt of it, on the scale of the whole run."""
    seconds = float(timeline.get("seconds") or 0.0)
    if seconds <= 0:
        return {}
    drawn: dict[str, list[str]] = {}
    for bar in timeline.get("bars", ()):
        cells = drawn.setdefault(bar["of"], ["·"] * _BAR)
        first = min(_BAR - 1, int(bar["start"] / seconds * _BAR))
        last = min(_BAR - 1, max(first, math.ceil((bar["start"] + bar["seconds"]) / seconds * _BAR) - 1))
        cells[first : last + 1] = ["×" if bar["state"] in ("failed", "retried") else "█"] * (last - first + 1)
    return {name: "".join(cells) for name, cells in drawn.items()}
