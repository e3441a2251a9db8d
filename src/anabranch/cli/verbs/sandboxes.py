"""`sandbox list | open | sync | close | shell`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from anabranch.cli.app import Commands
from anabranch.cli.face import Face, Reply
from anabranch.cli.verb import (
    CONTEXT,
    ask_option,
    complete,
    pass_face,
    sample_options,
    shared_options,
    verb,
)
from anabranch.errors import PromotionError

if TYPE_CHECKING:
    from anabranch.report.lines import Line

_BOX = {
    "name": "the sandbox",
    "git_branch": "its git branch",
    "environment": "the environment it stands on",
    "base": "ref of the environment's commit",
    "behind": "number of commits by which the environment has moved on",
    "head": "number of its newest commit",
    "tables": "keys it has built or removed itself",
    "bytes": "stored bytes of what it has built",
    "created_at": "when it was opened",
    "expires_at": "when gc may close it, or null",
    "git_branch_exists": "false where the git branch is gone, null where that was not looked up",
    "opened_by": "who opened it",
    "sample": "how much of its base it reads, or null",
}
_CLONES = "clone, provider, name, source, sandbox, condition, created_at, refreshed_at, bytes, pull_request, problem, how, left_out"
LIST = {
    "sandboxes": f"list of sandboxes: {', '.join(_BOX)}",
    "clones": f"with --clones: list of all clones of outside databases: {_CLONES}; else null",
}
OPEN = {
    **_BOX,
    "new": "whether this call opened it",
    "behind_reason": "what the git branch would have to merge for a newer base, or null",
    "clones": f"its clones of outside databases: {_CLONES}",
    "seconds": "what opening took",
}
SYNC = {
    "sandbox": "the sandbox",
    "environment": "the environment it stands on",
    "old_base": "number of the commit it stood on",
    "new_base": "number of the commit it stands on",
    "changed": "keys with other content on the new base",
    "dropped": "keys that the new base holds by now",
    "merged": "own tables of which both sides have made partitions",
    "clones": "names of the clones of outside databases that were made anew",
    "behind_reason": "what must be merged for a newer base still, or null",
    "dry_run": "whether nothing was done",
}
CLOSE = {
    **_BOX,
    "unpublished": "keys whose result was never published",
    "clones": f"its clones of outside databases, which are dropped with it: {_CLONES}",
    "clone_problems": "a sentence for each clone that could not be dropped, and that gc will try again",
    "dry_run": "whether nothing was done",
}
SHELL = {"sandbox": "what was opened", "ref": "the commit that was read"}


@click.group(
    "sandbox",
    cls=Commands,
    invoke_without_command=True,
    context_settings=CONTEXT,
    subcommand_metavar="[COMMAND] …",
)
@click.pass_context
def sandbox(context: click.Context) -> Reply | None:
    """List, open, sync and close sandboxes, or work in one. Alone: list."""
    if context.invoked_subcommand is None:
        found: Reply = context.invoke(list_)
        return found
    return None


sandbox.params.extend(shared_options())


@verb("list", shape=LIST)
@click.option(
    "--clones", is_flag=True, help="Tell of all clones of outside databases too, also of those left behind."
)
@pass_face
def list_(face: Face, clones: bool = False) -> Reply:
    """The open sandboxes: base, tables, size, expiry."""
    with face.working("looking"):
        found = face.project().sandbox.list(clones=clones)

    def lines() -> Sequence[Line]:
        from anabranch.report.text_history import sandbox_list_lines

        return sandbox_list_lines(found, limit=face.width)

    return Reply(found, lines)


@verb("open", shape=OPEN)
@click.option(
    "--expire-after", metavar="SPAN", help="Such as 3d; default: sandboxes.expire_after of anabranch.toml."
)
@click.option(
    "--base", metavar="NAME", help="The environment to open it on; default: sandboxes.base of anabranch.toml."
)
@sample_options()
@pass_face
def open_(
    face: Face,
    expire_after: str | None,
    base: str | None,
    sample: str | None,
    sample_by: str | None,
) -> Reply:
    """Open the sandbox of the git branch that is checked out, or show it. `run` does this by itself."""
    with face.working("opening") as tell:
        opened = face.project().sandbox.open(
            expire_after=expire_after, base=base, sample=sample, sample_by=sample_by, tell=tell
        )

    def lines() -> Sequence[Line]:
        from anabranch.report.text_history import opened_lines

        return opened_lines(opened)

    return Reply(opened, lines)


@verb("sync", shape=SYNC)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete("sandboxes"))
@click.option("--dry-run", is_flag=True, help="Tell what it would bring; move nothing.")
@click.option(
    "--clones/--no-clones",
    default=None,
    help="Make its clones of outside databases anew, and lose what was written into them; default: as anabranch.toml says.",
)
@pass_face
def sync(face: Face, name: str | None, dry_run: bool, clones: bool | None) -> Reply:
    """Move a sandbox to the newest commit of its environment whose code the git branch contains."""
    with face.working("syncing") as tell:
        synced = face.project().sandbox.sync(name, dry_run=dry_run, clones=clones, tell=tell)

    def lines() -> Sequence[Line]:
        from anabranch.report.text_history import synced_lines

        return synced_lines(synced)

    return Reply(synced, lines)


@verb("close", shape=CLOSE)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete("sandboxes"))
@click.option("--dry-run", is_flag=True, help="Tell what would be closed; close nothing.")
@ask_option("Close it without asking, also where results were never published.")
@pass_face
def close(face: Face, name: str | None, dry_run: bool, yes: bool) -> Reply:
    """Close a sandbox. What was promoted stays; clones of outside databases are dropped, the rest is freed by the next gc."""
    from anabranch.report.text_history import closed_lines

    project = face.project()
    found = project.sandbox.close(name, dry_run=True)
    if not dry_run:
        if found.unpublished and not yes:
            what = f"{len(found.unpublished)} tables of {found.sandbox.name} were never published"
            if not face.interactive:
                raise PromotionError(
                    what, hint="look with --dry-run, then say --yes", tables=list(found.unpublished)
                )
            face.err(closed_lines(found)[:-1])
            if not face.ask(f"close {found.sandbox.name}?"):
                raise PromotionError(f"{found.sandbox.name} stays open: it was not confirmed")
        with face.working("closing") as tell:
            found = project.sandbox.close(found.sandbox.name, tell=tell)
    return Reply(found, lambda: closed_lines(found), code=3 if found.clone_problems else 0)


@verb("shell", shape=SHELL)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete("sandboxes"))
@click.option(
    "--shell", "system", is_flag=True, help="Start $SHELL, in which `anabranch sql` reads this sandbox."
)
@click.option("-c", "command", metavar="CODE", help="Run this and exit.")
@pass_face
def shell(face: Face, name: str | None, system: bool, command: str | None) -> Reply:
    """Work in a sandbox interactively: Python with `project`, `sql` and every table by its key, read at one commit."""
    from anabranch.cli.shell import python_shell, system_shell

    project = face.project()
    context = project.context
    point = context.pinned(None if name is None else context.sandbox(name).name)
    ref = context.ref_of(point)
    code = system_shell(project, ref, command) if system else python_shell(face, project, ref, command)
    return Reply({"sandbox": ref.rpartition("@")[0], "ref": ref}, code=code)


for _command in (list_, open_, sync, close, shell):
    sandbox.add_command(_command)
