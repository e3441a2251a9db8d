"""`init`, `completion` and `version`: what needs no project."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anabranch import __version__
from anabranch.cli.face import Face, Reply
from anabranch.cli.verb import pass_face, verb
from anabranch.report.lines import Line, Span, dim, head, hint, key, line

if TYPE_CHECKING:
    from anabranch.cli.template import Made

INIT = {
    "folder": "the project's folder",
    "created": "files that were written",
    "kept": "files that were there and were left alone",
    "repository": "root of the git repository",
    "new_repository": "whether `git init` was run",
    "git_branch": "the git branch that runs production",
    "git_commit": "the first commit, if one was made; else null",
    "missing": "packages that it imports and that are not installed; its `requirements.txt` has them",
}
COMPLETION = {"shell": "the shell", "script": "its completion script"}
VERSION = {"version": "of anabranch", "python": "version of Python", "catalog": "version of SQLite"}
_SHELLS = ("bash", "zsh", "fish")


@verb("init", shape=INIT)
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--example",
    type=click.Choice(["flights", "hacker-news"]),
    help="A whole pipeline on real data instead of a beginning.",
)
@click.option("--name", metavar="NAME", help="The project's name; default: the folder's.")
@pass_face
def init(face: Face, folder: Path | None, example: str | None, name: str | None) -> Reply:
    """Make a project that runs, in DIR or here. Files that are there are left alone.

    Where there is no git repository yet, one is made with a first commit, so that `anabranch run` works at once.
    """
    from anabranch.cli.template import make_project

    target = (folder if folder is not None else face.folder or Path.cwd()).absolute()
    made = make_project(target, template=example or "empty", name=name)

    def lines() -> Sequence[Line]:
        told = [line(head(made.name), dim(f"   in {made.folder}"))]
        told += [line("  ", Span("wrote ", "good"), file) for file in made.created]
        told += [line("  ", dim(f"kept  {file}")) for file in made.kept]
        if made.new_repository:
            told.append(
                line("  ", Span("made  ", "good"), f"a git repository on the branch {made.git_branch}")
            )
        if made.git_commit:
            told.append(line("  ", Span("made  ", "good"), f"its first commit, {made.git_commit[:8]}"))
        if made.note:
            told.append(line(Span("note: ", "warn"), made.note))
        if made.missing:
            told.append(line(Span("note: ", "warn"), f"not installed yet: {', '.join(made.missing)}"))
        return [*told, hint(_next(made, folder))]

    return Reply(made, lines)


def _next(made: Made, folder: Path | None) -> str:
    go = f"cd {os.path.relpath(made.folder)} && " if folder is not None and made.folder != Path.cwd() else ""
    install = "pip install -r requirements.txt && " if made.missing else ""
    commit = "" if made.git_commit or not made.created else 'git add -A && git commit -m "Begin", then '
    return f"{go}{install}{commit}anabranch run"


@verb("completion", shape=COMPLETION)
@click.argument("shell", required=False, type=click.Choice(_SHELLS))
@pass_face
def completion(face: Face, shell: str | None) -> Reply:  # noqa: ARG001 - every command takes the face
    """Print the completion script of a shell: bash, zsh or fish. Default: the one of $SHELL.

    bash: eval "$(anabranch completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc; fish: anabranch completion fish
    > ~/.config/fish/completions/anabranch.fish
    """
    from click.shell_completion import get_completion_class

    from anabranch.cli.app import app

    chosen = shell or Path(os.environ.get("SHELL", "")).name
    found = get_completion_class(chosen) if chosen in _SHELLS else None
    if found is None:
        raise click.UsageError(
            f"which shell? $SHELL is {os.environ.get('SHELL') or 'not set'}; say bash, zsh or fish"
        )
    made = found(app, {}, "anabranch", "_ANABRANCH_COMPLETE")
    script = made.source_template % made.source_vars()
    return Reply({"shell": chosen, "script": script}, raw=script if script.endswith("\n") else f"{script}\n")


@verb("version", shape=VERSION)
@pass_face
def version(face: Face) -> Reply:  # noqa: ARG001 - every command takes the face
    """Print the version."""
    import platform
    import sqlite3

    found = {
        "version": __version__,
        "python": platform.python_version(),
        "catalog": f"SQLite {sqlite3.sqlite_version}",
    }

    def lines() -> Sequence[Line]:
        return [
            line("anabranch ", key(__version__)),
            line(dim(f"Python {found['python']}, {found['catalog']}")),
        ]

    return Reply(found, lines)
