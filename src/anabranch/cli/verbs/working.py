"""`run` and `check`: what computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anabranch.cli.face import Face, Reply
from anabranch.cli.verb import ask_option, pass_face, sample_options, select_option, verb
from anabranch.cli.verbs.looking import (
    PLAN,
    forward_only_option,
    partitions_option,
    planned,
    refresh_option,
    words,
)
from anabranch.report.lines import Line, Span, line, listed

if TYPE_CHECKING:
    from anabranch.project import Project
    from anabranch.running.workspace import RunResult

RUN = {
    "run": "the run's id",
    "target": "name of the environment or sandbox",
    "kind": "environment or sandbox",
    "state": "succeeded, failed or interrupted",
    "commit": "ref of the commit that published it, or of the sandbox's newest one; null if nothing was written",
    "seconds": "what it took",
    "assets": "list of outcomes: asset, state (ran, reused, adopted, failed, blocked, unselected), version, same_content, rows, bytes, seconds, error, cause, attempts, partitions (null, or runs [first, last, number] under made, adopted, failed, untried)",
    "checks": "list of checks: check, asset, blocking, passed, message, failing, rows, samples, cached, sample, error",
    "pruned": "keys of the tables that were removed",
    "warnings": "what one should know though nothing failed by it, in sentences",
    "timeline": "when each step ran on which worker: bars, critical_path, left_out, seconds; as `anabranch show` prints it",
    "plan": "the plan, as `anabranch plan` prints it",
}
CHECK = {
    "ref": "what was judged",
    "ok": "whether every blocking check has passed",
    "checks": RUN["checks"],
}
_TAIL = 20


@verb("run", shape=RUN)
@select_option()
@partitions_option()
@click.option("--force", is_flag=True, help="Run everything selected, whatever stands.")
@forward_only_option("Leave what older code made as it is; make what is new with the code at hand.")
@refresh_option()
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Worker processes; default: one a processor."
)
@click.option("--in-process", is_flag=True, help="Run every step in this process, for a debugger.")
@click.option("--prune", is_flag=True, help="Remove tables and partitions that the code no longer has.")
@click.option("--fail-fast", is_flag=True, help="Start nothing more after a failure.")
@click.option(
    "--wait",
    metavar="DURATION",
    help="Wait this long for another run that is under way here (30s, 10m), rather than be refused with exit code 4.",
)
@click.option("--resume", is_flag=True, help="Run although the environment is held after a rollback.")
@sample_options()
@click.option("--dry-run", is_flag=True, help="Only tell what would run: the same as anabranch plan.")
@ask_option("With --prune: remove without asking.")
@pass_face
def run(
    face: Face,
    select: Sequence[str],
    partitions: str | None,
    force: bool,
    forward_only: bool,
    refresh: Sequence[str],
    workers: int | None,
    in_process: bool,
    prune: bool,
    fail_fast: bool,
    wait: str | None,
    resume: bool,
    sample: str | None,
    sample_by: str | None,
    dry_run: bool,
    yes: bool,
) -> Reply:
    """Do what the plan says.

    On an environment's git branch this runs the environment: all of it is published in one commit, or none. On any
    other git branch it runs that branch's sandbox, and opens it the first time.
    """
    if dry_run:
        return planned(
            face, select, partitions=partitions, force=force, forward_only=forward_only, refresh=refresh
        )
    from anabranch.cli.progress import progress

    project = face.project()
    if prune and not yes and not _prune_allowed(face, project, select):
        return Reply({}, lambda: [line("nothing was run")], code=3)
    inline = in_process or project.context.settings.run.in_process
    with progress(face, live=not inline) as listen:
        result = project.run(
            words(select),
            partitions=partitions,
            force=force,
            forward_only=forward_only,
            refresh=words(refresh),
            workers=workers,
            in_process=inline,
            prune=prune,
            fail_fast=fail_fast,
            resume=resume,
            wait=wait,
            sample=sample,
            sample_by=sample_by,
            listen=listen,
        )

    def lines() -> Sequence[Line]:
        from anabranch.report.text import run_lines

        return run_lines(result, limit=face.width, verbose=face.verbose)

    errors: Sequence[Line] = ()
    if not result.ok:
        from anabranch.report.text import failure_lines

        errors = failure_lines(result, log_tails(result, project.context.root))
    return Reply(result, lines, errors=errors, code=0 if result.ok else 1)


def _prune_allowed(face: Face, project: Project, select: Sequence[str]) -> bool:
    """Shows what would be removed, and asks where somebody is there. Whoever writes --prune in a script means it."""
    plan = project.plan(words(select))
    gone = {s.key: s.partitions.gone for s in plan.steps.values() if s.partitions and s.partitions.gone}
    if not (plan.orphans or gone) or not face.interactive:
        return True
    told = [f"{listed(plan.orphans, None)}: no asset makes them any more"] if plan.orphans else []
    told += [f"of {name} {listed(keys, None)}: the code no longer has them" for name, keys in gone.items()]
    face.err([line(Span("removes ", "warn"), text) for text in told])
    return face.ask("run, and remove them?")


def log_tails(result: RunResult, root: Path) -> Mapping[str, tuple[str, Sequence[str]]]:
    """Asset → the path of the failed step's log and its last lines, where it has printed anything."""
    from anabranch.running.run import log_name

    found: dict[str, tuple[str, Sequence[str]]] = {}
    for outcome in result.execution.failed:
        path = Path(result.logs) / log_name(outcome.key, outcome.attempts)
        try:
            text = path.read_text(encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        if text.strip():
            shown = path.relative_to(root) if path.is_relative_to(root) else path
            found[outcome.key] = (str(shown), text.rstrip().splitlines()[-_TAIL:])
    return found


@verb("check", shape=CHECK)
@select_option()
@click.option(
    "--fresh", is_flag=True, help="Run every check, also where its result on exactly this data is known."
)
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Worker processes; default: one a processor."
)
@click.option("--in-process", is_flag=True, help="Run every check in this process, for a debugger.")
@pass_face
def check(face: Face, select: Sequence[str], fresh: bool, workers: int | None, in_process: bool) -> Reply:
    """Run the checks alone, on what the environment or sandbox holds now."""
    project = face.project()
    inline = in_process or project.context.settings.run.in_process
    with face.working("checking") as tell:
        found = project.check(
            words(select),
            fresh=fresh,
            workers=workers,
            in_process=inline,
            listen=lambda event: tell(f"checked {event.key}") if event.kind == "check_finished" else None,
        )

    def lines() -> Sequence[Line]:
        from anabranch.report.text import check_lines

        return check_lines(found, limit=face.width)

    return Reply(found, lines, code=0 if found.ok else 1)


__all__ = ["PLAN", "check", "run"]
