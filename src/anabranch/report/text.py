"""What a status, a plan, a run and its checks look like to a data engineer: aligned, counted, in plain words.

Pure: results in, lines out. The last line says what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anabranch.planning.changes import Reason
from anabranch.planning.plan import Plan, Step
from anabranch.project.results import CheckReport, Status, Where
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
    listed,
    paragraph,
    short_commit,
    size,
)
from anabranch.running.outcome import CheckOutcome, Outcome
from anabranch.running.workspace import RunResult
from anabranch.settings import PullRequest

_REASONS_SHOWN = 3


def place_text(where: Where) -> str:
    """``sandbox fix-delays`` or ``production``."""
    if where.kind == "undetermined":
        return "undetermined"
    return f"sandbox {where.sandbox}" if where.kind == "sandbox" else str(where.environment)


# status


def _request_text(request: PullRequest) -> str:
    words = [
        f"#{request.number}",
        request.status or "",
        f"of the fork {request.fork}" if request.fork else "",
    ]
    return " ".join(word for word in [*words, request.title or ""] if word)


def status_lines(
    status: Status, project: str, *, limit: int | None = None, verbose: bool = False
) -> list[Line]:
    """Where one is, on which base, what has changed, what is stale, what comes next."""
    where = status.where
    git = where.git_branch or f"detached at {short_commit(where.git_commit)}"
    rows: list[tuple[Span, Span | str]] = [(dim("git branch"), f"{git}{_edits(where)}")]
    if where.kind == "environment":
        rows.append((dim("environment"), _environment_text(status)))
    elif where.kind == "sandbox":
        rows.append((dim("sandbox"), _sandbox_text(status)))
        rows.append((dim("base"), _base_text(status)))
    if where.pull_request is not None:
        rows.append((dim("pull request"), _request_text(where.pull_request)))
    if where.decided_by is not None and not where.decided_by.startswith("the git branch "):
        rows.append((dim("decided by"), where.decided_by))
    if status.held:
        rows.append((dim("held"), Span(status.held, "warn")))
    if status.own:
        rows.append((dim("built here"), listed(status.own, None if verbose else 4)))
        rows += [(dim(""), f"of {key} {text}") for key, text in sorted(status.partitions.items())]
    if status.stale:
        stale = listed(status.stale, None if verbose else 4)
        rows.append((dim("stale"), Span(f"{stale}: {where.environment} has moved on there", "warn")))
    if status.assets and status.base is None:
        rows.append((dim("assets"), f"{count(status.assets, 'asset')}, none built"))
    elif status.assets:
        same = status.assets - len(status.changed)
        rows.append((dim("assets"), f"{count(status.assets, 'asset')}, {same:,} unchanged"))
    lines = [line(head(project), f" · {place_text(where)}"), *columns(rows)]
    if status.changed:
        lines.append(line(head("changed")))
        cells = [_changed_row(name, reasons) for name, reasons in status.changed.items()]
        lines += columns(cells if verbose else cells[:12], limit=limit, give=1)
        if len(cells) > 12 and not verbose:
            lines.append(line("  ", dim(f"and {len(cells) - 12} more (-v shows all)")))
    lines += [line(Span("running: ", "warn"), sentence) for sentence in status.running]
    if status.behind_reason:
        lines.append(line(Span("behind: ", "warn"), status.behind_reason))
    lines += [line(dim("note: "), note) for note in status.notes]
    lines.append(hint(status.next) if status.next else line(dim("nothing to do")))
    return lines


def _edits(where: Where) -> str:
    told = f" ({count(len(where.dirty), 'uncommitted file')})" if where.dirty else ""
    return f"{told} ({where.in_progress} under way)" if where.in_progress else told


def _environment_text(status: Status) -> str:
    if status.head is None:
        return f"{status.where.environment}, never built"
    return f"{status.head}, {count(status.tables, 'table')}"


def _sandbox_text(status: Status) -> str:
    if status.head is None:
        return f"{status.where.sandbox}, not open yet; anabranch run opens it"
    sample = f", {status.sample}" if status.sample else ""
    return f"{status.head}, {count(status.tables, 'table')} in view{sample}"


def _base_text(status: Status) -> str:
    if status.base is None:
        return f"{status.where.environment}, never built"
    if not status.behind:
        return f"{status.base}, its newest commit"
    return f"{status.base}, {count(status.behind, 'commit')} behind {status.where.environment}"


def _changed_row(name: str, reasons: Sequence[Reason]) -> tuple[Span, str]:
    more = f"; and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return key(name), f"{reasons[0]}{more}"


# plan


def plan_lines(
    plan: Plan, *, title: str, base: str | None = None, limit: int | None = None, verbose: bool = False
) -> list[Line]:
    """What would run and why, what depends, what is reused; long lists of reuse folded.

    Args:
        plan: The plan.
        title: ``sandbox fix-delays``.
        base: ``base production@1``, or None.
        limit: Columns of the screen.
        verbose: Show every asset, every reason and what could not be analysed.
    """
    sample = f", {plan.sample}" if plan.sample else ""
    lines = [line(head(f"Plan for {title}"), f" ({base}{sample})" if base else sample)]
    rows: list[list[Span | str]] = []
    for step in plan.with_action("run", "depends"):
        style: Style = "warn" if step.action == "run" else ""
        shown = list(step.reasons) if verbose else list(step.reasons[:_REASONS_SHOWN])
        cost = (
            dim(f"~{duration(step.seconds)}")
            if step.seconds
            else dim("never timed" if step.action == "run" else "")
        )
        rows.append([Span(step.action, style), key(step.key), str(shown[0]) if shown else "", cost])
        rows += [["", "", str(reason), ""] for reason in shown[1:]]
        if len(step.reasons) > len(shown):
            rows.append(["", "", dim(f"and {len(step.reasons) - len(shown)} more reasons"), ""])
        if verbose or plan.sample:
            told = step.notes if verbose else [note for note in step.notes if note.startswith("it reads")]
            rows += [["", "", dim(f"note: {note}"), ""] for note in told]
    adopted = [step for step in plan.with_action("reuse") if step.adopted is not None]
    shown_adopted = adopted if verbose else adopted[:8]
    rows += [
        [Span("reuse", "good"), key(s.key), str(s.reasons[0]), dim(f"of {s.adopted}")] for s in shown_adopted
    ]
    if len(adopted) > len(shown_adopted):
        rows.append(
            [Span("reuse", "good"), dim(f"{len(adopted) - len(shown_adopted)} more"), "taken over", ""]
        )
    lines += columns(rows, limit=limit, give=2)
    lines += _reused(plan, verbose=verbose, limit=limit)
    if plan.orphans:
        text = f"{listed(plan.orphans, None if verbose else 4)}: no asset makes them any more; --prune removes them"
        lines.append(line("  ", Span("orphan", "warn"), f"   {text}"))
    for step in plan.steps.values():
        if step.partitions is not None and step.partitions.gone and not step.partitions.remove:
            which = listed(step.partitions.gone, None if verbose else 4)
            text = f"{step.key} holds {which}: partitions that the code no longer has; --prune removes them"
            lines.append(line("  ", Span("orphan", "warn"), f"   {text}"))
    lines.append(_plan_sum(plan))
    lines.append(hint("anabranch run") if not plan.nothing_to_do else hint("nothing to run: anabranch diff"))
    return lines


def _reused(plan: Plan, *, verbose: bool, limit: int | None) -> list[Line]:
    standing = [step for step in plan.with_action("reuse") if step.adopted is None]
    if not standing:
        return []
    if verbose:
        return columns([[Span("reuse", "good"), key(s.key), _why(s)] for s in standing], limit=limit, give=2)
    by_reason: dict[str, list[str]] = {}
    for step in standing:
        by_reason.setdefault(_why(step), []).append(step.key)
    same = by_reason.pop("nothing changed", [])
    lines = [line("  ", Span("reuse", "good"), f"    {listed(same)}")] if same else []
    lines += [
        line("  ", Span("reuse", "good"), f"    {listed(keys)}", dim(f"   {reason}"))
        for reason, keys in by_reason.items()
    ]
    return lines


def _why(step: Step) -> str:
    return str(step.reasons[0]) if step.reasons else ""


def _plan_sum(plan: Plan) -> Line:
    run, depends, reuse = (len(plan.with_action(action)) for action in ("run", "depends", "reuse"))
    text = f"{run:,} to run, {depends:,} to see, {reuse:,} reused"
    if plan.seconds_at_most:
        least, most = duration(plan.seconds), duration(plan.seconds_at_most)
        span = least if least == most else f"{least} to {most}" if plan.seconds else f"at most {most}"
        text += f"; about {span} of computing by the last runs"
    return line(dim(text))


# run


def run_lines(result: RunResult, *, limit: int | None = None, verbose: bool = False) -> list[Line]:
    """What came of a run, in a few lines; every asset with verbose."""
    title = f"sandbox {result.target}" if result.kind == "sandbox" else result.target
    sample = f", {result.plan.sample}," if result.plan.sample else ""
    style = "good" if result.ok else "bad"
    lines = [
        line(
            head(f"Run {result.id}"),
            f" of {title}{sample} ",
            Span(result.state, "good" if style == "good" else "bad"),
            f" in {duration(result.seconds)}",
        )
    ]
    outcomes = list(result.execution.outcomes.values())
    told = [o for o in outcomes if o.state in ("ran", "adopted")] if not verbose else outcomes
    lines += columns([_outcome_row(o) for o in told], right=(2, 3, 4), limit=limit, give=0)
    reused: dict[str, list[str]] = {}
    for outcome in outcomes if not verbose else ():
        if outcome.state == "reused":
            elsewhere = [str(reason) for reason in outcome.reasons if reason.kind == "columns"]
            reused.setdefault(elsewhere[0] if elsewhere else "", []).append(outcome.key)
    for reason, keys in sorted(reused.items()):
        lines.append(line("  ", dim(f"reused: {listed(keys)}" + (f"   {reason}" if reason else ""))))
    blocked = [o for o in outcomes if o.state == "blocked"]
    if blocked and not verbose:
        lines += [line("  ", Span(f"{o.key} did not run: {o.cause} failed", "warn")) for o in blocked[:8]]
        if len(blocked) > 8:
            lines.append(line("  ", Span(f"and {len(blocked) - 8} more did not run", "warn")))
    lines += [line("  ", Span("warning: ", "warn"), told) for told in result.warnings]
    if result.pruned:
        lines.append(line("  removed: ", Span(listed(result.pruned, None), "warn")))
    lines += _checks_of(list(result.execution.checks.values()), limit=limit, verbose=verbose)
    if result.commit:
        what = "published as" if result.kind == "environment" else "committed as"
        lines.append(line(f"  {what} ", key(result.commit)))
    elif result.kind == "environment" and not result.ok:
        lines.append(line("  ", f"nothing was published: {result.target} is as it was"))
    lines.append(hint(_after_run(result)))
    return lines


def _outcome_row(outcome: Outcome) -> list[Span | str]:
    styles: Mapping[str, Any] = {"ran": "good", "adopted": "good", "failed": "bad", "blocked": "warn"}
    cells: list[Span | str] = [key(outcome.key), Span(outcome.state, styles.get(outcome.state, "dim"))]
    if outcome.state != "ran" or outcome.entry is None:
        return cells if outcome.cause is None else [*cells, "", "", "", f"{outcome.cause} failed"]
    made = outcome.entry.provenance
    same = "same content" if outcome.before == outcome.entry.version else ""
    if outcome.partitions is not None:
        counted = {word: sum(run[2] for run in outcome.partitions[word]) for word in ("made", "adopted")}
        parts = count(counted["made"], "partition")
        parts += f" and {counted['adopted']:,} taken over" if counted["adopted"] else ""
        removed = len(outcome.partitions["removed"])
        if removed:
            parts = (
                f"{parts}, {removed:,} removed"
                if counted["made"]
                else f"{count(removed, 'partition')} removed"
            )
        same = f"{parts}, {same}" if same else parts
    rows = count(made.rows, "row") if made.rows is not None else "file"
    return [*cells, duration(outcome.seconds), rows, size(made.bytes), dim(same)]


def _after_run(result: RunResult) -> str:
    if not result.ok:
        return "mend it, then anabranch run: what has been computed stays"
    if result.plan.sample:
        return "anabranch diff; anabranch run --sample none computes it from all rows"
    if result.kind == "sandbox":
        return "anabranch diff, then anabranch promote"
    return f"anabranch log {result.target}" if result.commit else "anabranch status"


def failure_lines(result: RunResult, logs: Mapping[str, tuple[str, Sequence[str]]]) -> list[Line]:
    """Each failed step: the user's traceback, and the end of what the step has printed.

    Args:
        result: The run.
        logs: Asset → the log's path, and its last lines.
    """
    lines: list[Line] = []
    for outcome in result.execution.failed:
        error = outcome.error or {}
        tries = f" in {outcome.attempts} tries" if outcome.attempts > 1 else ""
        lines.append(line(Span(f"{outcome.key} failed{tries}", "bad"), f" after {duration(outcome.seconds)}"))
        lines += _error_text(error)
        if outcome.key in logs:
            path, tail = logs[outcome.key]
            lines.append(line("  ", dim(f"the end of {path}:")))
            lines += [line("  ", dim("| "), Span(text.expandtabs(4))) for text in tail]
        lines.append(line())
    broken = [c for c in result.execution.checks.values() if c.error is not None]
    for check in broken:
        lines.append(line(Span(f"the check {check.id} could not be run", "bad")))
        lines += [*_error_text(check.error or {}), line()]
    return lines


def _error_text(error: Mapping[str, Any]) -> list[Line]:
    trace = str(error.get("traceback") or "").rstrip()
    lines = paragraph(trace, indent="  ") if trace else []
    if not trace or not error.get("users"):
        place = f"{error['place']}: " if error.get("place") else ""
        lines += paragraph(f"{place}{error.get('message') or ''}", indent="  ")
    if error.get("hint"):
        lines.append(line("  ", Span("hint: ", "warn"), str(error["hint"])))
    return lines


# checks


def _checks_of(checks: Sequence[CheckOutcome], *, limit: int | None, verbose: bool) -> list[Line]:
    if not checks:
        return []
    passed = [c for c in checks if c.passed]
    known = sum(1 for c in passed if c.cached)
    text = f"{count(len(passed), 'check')} passed" + (f" ({known:,} known already)" if known else "")
    lines = [line("  ", Span(text, "good" if len(passed) == len(checks) else ""))]
    rows = [_check_row(c) for c in checks if verbose or not c.passed]
    return [*lines, *columns(rows, limit=limit, give=2)]


def _check_row(check: CheckOutcome) -> list[Span | str]:
    state = (
        Span("passed", "good")
        if check.passed
        else Span("failed", "bad")
        if check.blocking
        else Span("warns", "warn")
    )
    return [state, key(check.id), check.message]


def check_lines(report: CheckReport, *, limit: int | None = None) -> list[Line]:
    """What the checks found, each on its line, with a few of the rows that offend."""
    lines = [line(head(f"Checks of {report.ref}"))]
    if not report.checks:
        return [*lines, line("  no checks are declared"), hint("declare one: ab.not_null(asset, 'column')")]
    ordered = sorted(report.checks, key=lambda c: (c.passed, not c.blocking))
    for check in ordered:
        known = dim("known already") if check.cached else dim("")
        lines += columns([[*_check_row(check), known]], limit=limit, give=2)
        if not check.passed:
            lines += _samples(check, limit)
    failed = [c for c in report.checks if not c.passed and c.blocking]
    warned = [c for c in report.checks if not c.passed and not c.blocking]
    passed = len(report.checks) - len(failed) - len(warned)
    sums = [f"{passed:,} passed", f"{len(failed):,} failed"] + ([f"{len(warned):,} warn"] if warned else [])
    lines.append(line(dim(", ".join(sums))))
    lines.append(
        hint("anabranch diff" if report.ok else f'look at the rows: anabranch sql "from {failed[0].asset}"')
    )
    return lines


def _samples(check: CheckOutcome, limit: int | None) -> list[Line]:
    if check.result is None:
        return _error_text(check.error or {})
    found = [dict(sample) for sample in check.result.samples[:5]]
    if not found:
        return []
    names = list(found[0])
    rows: list[list[Span | str]] = [[dim(name) for name in names]]
    rows += [[_value(sample.get(name)) for name in names] for sample in found]
    return columns(rows, indent="      ", limit=limit)


def _value(value: object) -> str:
    return "null" if value is None else str(value)


# the gate


def verdict_lines(verdict: Mapping[str, Any]) -> Iterable[Line]:
    """The gate's reasons and warnings, from a verdict's plain values."""
    for reason in verdict.get("reasons", ()):
        yield line("  ", Span("no    ", "bad"), str(reason["text"]))
        if reason.get("hint"):
            yield line("        ", dim(str(reason["hint"])))
    for warning in verdict.get("warnings", ()):
        yield line("  ", Span("warns ", "warn"), str(warning["text"]))
