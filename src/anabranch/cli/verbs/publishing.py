"""`promote`, `approve` and `rollback`: what readers of an environment will see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from anabranch.cli.face import Face, Reply
from anabranch.cli.verb import ask_option, complete, pass_face, verb
from anabranch.errors import PromotionError

if TYPE_CHECKING:
    from anabranch.project import Project
    from anabranch.promotion import Prepared, RollbackPlan
    from anabranch.report.lines import Line

PROMOTE = {
    "environment": "name of the environment",
    "sandbox": "name of the sandbox",
    "state": "published, nothing (to publish) or dry_run",
    "commit": "ref of the commit that published it, or null",
    "tables": "keys that were or would be published",
    "verdict": "the gate's: passed, candidate, reasons and warnings (rule, key, text, hint), or null",
    "moved": "what the sync before it brought: old_base, new_base, changed, dropped, merged, or null",
    "reran": "assets that ran again on the newer base",
    "plan": "for a dry run: what would have to run first, as `anabranch plan` prints it, or null",
    "clones": "what clones have brought back into their sources; for a dry run the clones that would",
    "seconds": "what it took",
}
APPROVE = {
    "by": "who approved",
    "at": "when",
    "candidate": "hash of the state that was approved",
    "sandbox": "name of the sandbox",
}
ROLLBACK = {
    "environment": "name of the environment",
    "target": "ref of the state that is restored, or of the commit that is undone",
    "undone": "refs of the commits whose effect goes away",
    "tables": "list of tables: asset, from and to (versions)",
    "commit": "ref of the new commit; null for a dry run",
    "git_commit": "the code of the state that is restored, or null",
}


@verb("promote", shape=PROMOTE)
@click.argument("branch", required=False, metavar="[BRANCH]", shell_complete=complete("sandboxes"))
@click.option("--dry-run", is_flag=True, help="Judge and tell; publish nothing, run nothing.")
@click.option(
    "--forward-only",
    is_flag=True,
    help="Publish tables of which older code made a part; the commit records it.",
)
@ask_option("Publish into a protected environment without asking.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Worker processes for what a newer base makes necessary.",
)
@click.option("--in-process", is_flag=True, help="Run every step in this process, for a debugger.")
@pass_face
def promote(
    face: Face,
    branch: str | None,
    dry_run: bool,
    forward_only: bool,
    yes: bool,
    workers: int | None,
    in_process: bool,
) -> Reply:
    """Publish a sandbox into its environment, in one commit. Nothing that the sandbox has computed is computed again.

    BRANCH is a sandbox or its git branch; default: the one that is checked out. On the environment's own git branch,
    after a merge, it must be named.
    """
    from anabranch.cli.progress import progress

    project = face.project()
    inline = in_process or project.context.settings.run.in_process
    with progress(face, live=not (inline or face.interactive)) as listen:
        result = project.promote(
            branch,
            dry_run=dry_run,
            forward_only=forward_only,
            yes=yes,
            confirm=_asks(face) if face.interactive else None,
            workers=workers,
            in_process=inline,
            listen=listen,
        )

    def lines() -> Sequence[Line]:
        from anabranch.report.text_history import promotion_lines

        return promotion_lines(result, limit=face.width, verbose=face.verbose)

    refused = result.verdict is not None and not result.verdict.passed
    return Reply(result, lines, code=3 if refused else 0)


def _asks(face: Face) -> Callable[[Prepared], bool]:
    """Shows the candidate and its verdict, and asks."""

    def confirm(prepared: Prepared) -> bool:
        from anabranch.report.text_history import candidate_lines

        face.err(candidate_lines(prepared, limit=face.width))
        return face.ask(f"publish into {prepared.environment.name}?")

    return confirm


@verb("approve", shape=APPROVE)
@click.argument("branch", required=False, metavar="[BRANCH]", shell_complete=complete("sandboxes"))
@click.option(
    "--candidate",
    metavar="HASH",
    help="The state that is meant, or its beginning; refused if it is another by now.",
)
@pass_face
def approve(face: Face, branch: str | None, candidate: str | None) -> Reply:
    """Approve exactly what a promotion would publish now. Any other state needs another approval."""
    project = face.project()
    with face.working("looking at the candidate"):
        found = project.approve(branch, candidate=candidate)
        name = project.context.sandbox(branch).name

    def lines() -> Sequence[Line]:
        from anabranch.report.text_history import approval_lines

        return approval_lines(found, name)

    return Reply(
        {"by": found.by, "at": found.at.isoformat(), "candidate": found.candidate, "sandbox": name}, lines
    )


@verb("rollback", shape=ROLLBACK)
@click.option(
    "--to",
    metavar="REF",
    shell_complete=complete("refs"),
    help="Restore this whole state. Default: the one before the newest commit.",
)
@click.option(
    "--of",
    metavar="REF",
    shell_complete=complete("refs"),
    help="Instead: undo all that this one commit wrote, and nothing else.",
)
@click.option(
    "--environment",
    metavar="NAME",
    help="Default: the one of the ref, of the git branch, or below the sandbox.",
)
@click.option("-m", "--message", default="", metavar="TEXT", help="One line for the log.")
@click.option("--dry-run", is_flag=True, help="Tell what would change; change nothing.")
@ask_option("Roll a protected environment back without asking.")
@pass_face
def rollback(
    face: Face,
    to: str | None,
    of: str | None,
    environment: str | None,
    message: str,
    dry_run: bool,
    yes: bool,
) -> Reply:
    """Restore an earlier state of an environment, in one new commit.

    Afterwards the environment is held: runs are refused until the code differs from what was rolled back.
    """
    project = face.project()
    plan, commit = project.rollback(
        to,
        of=of,
        dry_run=dry_run,
        environment=environment,
        message=message,
        confirm=_rollback_allowed(face, project, yes),
    )

    def lines() -> Sequence[Line]:
        from anabranch.report.lines import line
        from anabranch.report.text_history import rollback_lines

        if commit is None and not dry_run:
            return [line("nothing was changed: it was not confirmed")]
        return rollback_lines(plan, commit, limit=face.width)

    result: dict[str, Any] = {
        **plan.to_dict(),
        "commit": commit.ref if commit else None,
        "git_commit": plan.git_commit,
    }
    return Reply(result, lines, code=3 if commit is None and not dry_run else 0)


def _rollback_allowed(face: Face, project: Project, yes: bool) -> Callable[[RollbackPlan], bool]:
    def confirm(plan: RollbackPlan) -> bool:
        name = plan.environment.name
        if yes or not project.context.environment_settings(name).protected:
            return True
        if not face.interactive:
            raise PromotionError(
                f"{name} is protected, and nobody has confirmed", hint="look with --dry-run, then say --yes"
            )
        from anabranch.report.text_history import rollback_lines

        face.err(rollback_lines(plan, None, limit=face.width)[:-1])
        return face.ask(f"roll {name} back?")

    return confirm
