"""`status` and `plan`: they read, and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from anabranch.cli.face import Face, Reply
from anabranch.cli.verb import pass_face, select_option, verb

if TYPE_CHECKING:
    from anabranch.project import Project
    from anabranch.report.lines import Line

STATUS = {
    "where": "where one is: kind (environment, sandbox, undetermined), git_branch, git_commit, dirty, environment, sandbox, opened, in_progress, decided_by, pull_request (null, or its number, status, branch, target, fork, title, author, url), reason and hint (where it is undetermined)",
    "head": "ref of the newest commit of the environment or sandbox, or null",
    "base": "ref of the environment's commit that the code stands on, or null",
    "behind": "number of commits by which the environment is ahead of the base",
    "behind_reason": "what must be merged, or null",
    "stale": "keys that the sandbox wrote or read and that have moved on in the environment",
    "changed": "asset → list of reasons (kind, text, name, place)",
    "own": "keys that the sandbox has built or removed itself",
    "partitions": "own table that is cut into partitions → which of them are not the base's, in words",
    "held": "why the environment refuses runs, or null",
    "running": "sentences about work under way",
    "notes": "sentences about what else one should know",
    "next": "the command that most likely comes next, or null",
    "assets": "number of assets in the code",
    "tables": "number of tables in view",
    "sample": "how much of its base the sandbox reads, or null",
    "masked": "the environment that the base is a masked copy of, or null",
}
PLAN = {
    "target": "name of the environment or sandbox",
    "steps": "list of steps: asset, action (run, depends, reuse), reasons, fingerprint, version, adopted_from, seconds, bytes, notes, partitions (null, or exist, built, reuse, and runs [first, last, number] under run, depends, adopt, waiting, old_code, stale, missing, gone), incremental (null, or mode: incremental or full, reason, since, forward_only)",
    "run": "number of assets that will run",
    "depends": "number of assets that run if an input turns out to have changed",
    "reuse": "number of assets whose result stands or is taken over",
    "seconds": "recorded seconds of what will run",
    "seconds_at_most": "recorded seconds of what will or may run",
    "bytes": "recorded bytes of what will run",
    "orphans": "keys of tables whose asset is no longer in the code",
    "definitions": "hash of all assets' code",
    "sample": "how much of the base is read, or null",
}


@verb("status", shape=STATUS)
@pass_face
def status(face: Face) -> Reply:
    """Where you are, on which base, what has changed, what is stale, and what comes next."""
    project = face.project()
    with face.working("looking"):
        found = project.status()

    def lines() -> Sequence[Line]:
        from anabranch.report.text import status_lines

        return status_lines(found, project.name, limit=face.width, verbose=face.verbose)

    return Reply(found, lines)


def refresh_option() -> Callable[[Any], Any]:
    """``--refresh``."""
    return click.option(
        "--refresh",
        multiple=True,
        is_flag=False,
        flag_value="*",
        metavar="[NAMES]",
        help="Fetch these sources again; without names, all that have a refresh policy. May be repeated.",
    )


def partitions_option() -> Callable[[Any], Any]:
    """``--partitions``."""
    return click.option(
        "--partitions",
        metavar="WORDS",
        help="Only these partitions: 2013-12-01..2013-12-31, 2013-12, latest:7, missing, failed, or keys; "
        "several with commas between them.",
    )


def forward_only_option(text: str) -> Callable[[Any], Any]:
    """``--forward-only``."""
    return click.option("--forward-only", is_flag=True, help=text)


@verb("plan", shape=PLAN)
@select_option()
@partitions_option()
@click.option("--force", is_flag=True, help="As if everything selected had to run.")
@forward_only_option("As if what older code made were to stay as it is.")
@refresh_option()
@pass_face
def plan(
    face: Face,
    select: Sequence[str],
    partitions: str | None,
    force: bool,
    forward_only: bool,
    refresh: Sequence[str],
) -> Reply:
    """What would run, and why, and what it is estimated to cost. Changes nothing."""
    return planned(
        face, select, partitions=partitions, force=force, forward_only=forward_only, refresh=refresh
    )


def planned(
    face: Face,
    select: Sequence[str],
    *,
    partitions: str | None,
    force: bool,
    forward_only: bool,
    refresh: Sequence[str],
) -> Reply:
    """`plan`, and `run --dry-run`."""
    project = face.project()
    with face.working("planning"):
        found = project.plan(
            words(select),
            partitions=partitions,
            force=force,
            forward_only=forward_only,
            refresh=words(refresh),
        )
        where = project.context.where()
        base = base_text(project)

    def lines() -> Sequence[Line]:
        from anabranch.report.text import place_text, plan_lines

        return plan_lines(found, title=place_text(where), base=base, limit=face.width, verbose=face.verbose)

    return Reply(found, lines)


def words(given: Sequence[str]) -> list[str]:
    """The words of repeated options, each of which may hold several."""
    return [word for text in given for word in text.replace(",", " ").split()]


def base_text(project: Project) -> str | None:
    """``base production@1`` of the sandbox at hand, or that it would stand on; None on an environment."""
    context = project.context
    here = context.where()
    if here.kind != "sandbox" or here.environment is None or here.sandbox is None:
        return None
    found = context.find_branch(here.sandbox)
    if found is not None:
        return f"base {here.environment}@{found.base}"
    environment = context.find_branch(here.environment)
    number = 0 if environment is None else context.base_for(environment).number
    return f"not open yet; base {here.environment}@{number}"
