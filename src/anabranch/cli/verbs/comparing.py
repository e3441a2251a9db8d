"""`diff`: what a sandbox did to the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anabranch import __version__
from anabranch.cli.face import Face, Reply
from anabranch.cli.verb import complete, pass_face, select_option, verb
from anabranch.cli.verbs.looking import words
from anabranch.report.lines import Line, Span, hint, key, line

if TYPE_CHECKING:
    from anabranch.diff.summary import Diff
    from anabranch.project import Project

DIFF = {
    "left": "the ref before",
    "right": "the ref after",
    "changed": "keys of the tables that differ",
    "tables": "list of tables: key, kind, state (added, removed, changed, same), left_version, right_version, left_rows, right_rows, left_bytes, right_bytes, schema, rows, summaries, note",
}


@verb("diff", shape=DIFF, codes={1: "with --exit-code: something differs"})
@click.argument("left", required=False, metavar="[LEFT]", shell_complete=complete("refs"))
@click.argument("right", required=False, metavar="[RIGHT]", shell_complete=complete("refs"))
@select_option()
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    metavar="N",
    help="Rows to show of each kind of change.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one page that needs nothing else.",
)
@click.option(
    "--markdown",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="As Markdown, for a pull request; to a file if one is named.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 where something differs, as git diff does.")
@pass_face
def diff(
    face: Face,
    left: str | None,
    right: str | None,
    select: Sequence[str],
    samples: int,
    html: Path | None,
    markdown: str | None,
    exit_code: bool,
) -> Reply:
    """What differs between two refs, in schema and data.

    Without refs: the sandbox against its base; for an environment, its newest commit against the one before. With one:
    that ref against where you are. A ref is a branch (production), a commit (production@41), a time
    (production@2026-11-20T09:00Z), a git branch with a sandbox, or a tag.
    """
    project = face.project()
    with face.working("comparing") as tell:
        found = project.diff(
            left,
            right,
            select=words(select),
            samples=samples,
            on_progress=lambda table, done: tell(f"comparing {table} {100 * done:.0f} %"),
        )
        written: list[str] = []
        if html is not None:
            from anabranch.report.html import diff_page

            keep(
                html,
                diff_page(
                    found,
                    title=f"{project.name}: {found.left} → {found.right}",
                    details=_details(project, found),
                ),
            )
            written.append(str(html))
        text = None
        if markdown is not None:
            from anabranch.report.markdown import diff_markdown

            text = diff_markdown(found)
            if markdown != "-":
                keep(Path(markdown), text)
                written.append(markdown)

    def lines() -> Sequence[Line]:
        from anabranch.report.text_diff import diff_lines

        told = diff_lines(found, limit=face.width, verbose=face.verbose)
        if not written:
            return told
        return [
            *told[:-1],
            *(line(Span("written ", "good"), key(name)) for name in written),
            hint("anabranch promote"),
        ]

    raw = text if markdown == "-" and not face.json else None
    return Reply(found, lines, code=1 if exit_code and found.changed else 0, raw=raw)


def _details(project: Project, found: Diff) -> dict[str, Any]:
    """What a page tells besides the tables."""
    where = project.context.where()
    return {
        "project": project.name,
        "git branch": where.git_branch,
        "git commit": (where.git_commit or "")[:12] or None,
        "uncommitted edits": "yes" if where.dirty else "no",
        "before": found.left,
        "after": found.right,
        "made by": f"anabranch {__version__}",
    }


def keep(path: Path, text: str) -> None:
    """Writes a file that was asked for; a mistake in its path is told as one of the command."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{path} can't be written: {error.strerror}") from None
