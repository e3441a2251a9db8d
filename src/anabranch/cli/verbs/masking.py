"""`sync`: what brings a masked environment up to date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from anabranch.cli.face import Face, Reply
from anabranch.cli.verb import complete, pass_face, verb

if TYPE_CHECKING:
    from anabranch.report.lines import Line

SYNC = {
    "environment": "the masked environment",
    "parent": "ref of the parent's commit that it is a copy of",
    "state": "published, nothing or dry_run",
    "commit": "ref of the commit, or null",
    "steps": "list of steps: asset, action (mask, append, partitions, note, same, drop, leave), reason, columns (name → rule), undeclared, rows",
    "undeclared": "asset → columns that nobody has declared, and that are therefore masked",
    "rows": "rows that were masked",
    "bytes": "bytes that were written",
    "seconds": "what it took",
}


@verb("sync", shape=SYNC)
@click.argument("environment", required=False, metavar="[ENVIRONMENT]", shell_complete=complete("refs"))
@click.option("--dry-run", is_flag=True, help="Tell what would be masked and by which rules; write nothing.")
@pass_face
def sync(face: Face, environment: str | None, dry_run: bool) -> Reply:
    """Bring a masked environment up to date with the environment that it is derived from.

    Only what has changed there, or has other rules by now, is masked; all of it is published in one commit. It tells
    which columns nobody has declared: they are masked until somebody does.
    """
    from anabranch.cli.progress import progress

    with progress(face, live=not dry_run) as listen:
        result = face.project().sync(environment, dry_run=dry_run, listen=listen)

    def lines() -> Sequence[Line]:
        from anabranch.report.text_masks import sync_lines

        return sync_lines(result, limit=face.width, verbose=face.verbose)

    return Reply(result, lines)
