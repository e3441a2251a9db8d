"""`log` and `show`: what happened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
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
    "run": "a run: run, target, state, started_at, finished_at, git_commit, definitions, seconds, assets, checks, reasons, warnings, timeline (bars: step, kind, attempt, worker, start, seconds, waited, state, after, message; critical_path; left_out; seconds), error …, or null",
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
@click.argument("run", required=False, metavar="[ID]")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Of a run: write it as a page, with a timeline of its steps.",
)
@pass_face
def show(face: Face, what: str, run: str | None, html: Path | None) -> Reply:
    """One thing in full.

    A commit (production@3), a run (its id; `run`, `run latest` or `run ID`), or an asset (delays, delays@production@3).
    """
    if run is not None and what != "run":
        raise click.UsageError(f"one thing is shown at a time, not {what} and {run}")
    project = face.project()
    found = project.show("run" if run == "latest" else run or what)
    if found.run is None and (html is not None or run is not None):
        raise click.UsageError(
            f"{run or what} is no run" + (", and only a run is written as a page" if html else "")
        )
    if html is not None:
        from anabranch.cli.verbs.comparing import keep
        from anabranch.report.html_run import run_page

        assert found.run is not None
        keep(html, run_page(found.run, title=f"{project.name}: {found.title}", target=found.target))

    def lines() -> Sequence[Line]:
        from anabranch.report.lines import hint
        from anabranch.report.text_history import shown_lines

        told = shown_lines(found, limit=face.width, verbose=face.verbose)
        return told if html is None else [*told[:-1], hint(f"open {html}")]

    return Reply(found, lines)
