"""`log` and `show`: what happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from anabranch.cli.face import Face, Reply
from anabranch.cli.verb import complete, pass_face, verb

if TYPE_CHECKING:
    from anabranch.report.lines import Line

LOG = {
    "ref": "the branch",
    "commits": "list of commits: commit, time, kind, message, author, git_commit, definitions, run, keys, base, properties, tags",
}
SHOW = {
    "what": "commit, run or asset",
    "title": "what is shown",
    "commit": "a commit as `anabranch log` prints it, or null",
    "changes": "what the commit changed: asset, before, after, each an entry or null",
    "run": "a run: run, state, started_at, finished_at, git_commit, definitions, seconds, assets, checks, reasons, error …, or null",
    "entry": "an asset's entry: asset, kind, version, location, fingerprint, inputs, rows, bytes, seconds, computed_at, computed_by, run, git_commit, dirty, or null",
    "readers": "assets that were made from it",
}


@verb("log", shape=LOG)
@click.argument("ref", required=False, metavar="[REF]", shell_complete=complete("refs"))
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="How many commits.",
)
@pass_face
def log(face: Face, ref: str | None, limit: int) -> Reply:
    """Commits of a branch, newest first; default: of where you are."""
    found = face.project().log(ref, limit=limit)

    def lines() -> Sequence[Line]:
        from anabranch.report.text_history import log_lines

        return log_lines(found, limit=face.width)

    return Reply(found, lines)


@verb("show", shape=SHOW)
@click.argument("what", shell_complete=complete("assets", "refs"))
@pass_face
def show(face: Face, what: str) -> Reply:
    """One thing in full: a commit (production@3), a run's id, or an asset (delays, delays@production@3)."""
    found = face.project().show(what)

    def lines() -> Sequence[Line]:
        from anabranch.report.text_history import shown_lines

        return shown_lines(found, limit=face.width, verbose=face.verbose)

    return Reply(found, lines)
