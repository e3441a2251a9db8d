"""`tag` and `gc`: what is kept, and what is freed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from anabranch.cli.face import Face, Reply
from anabranch.cli.verb import ask_option, complete, pass_face, verb

if TYPE_CHECKING:
    from anabranch.report.lines import Line

TAG = {
    "tags": "list of tags: tag, ref, message, created_at; with NAME the one that was made",
    "deleted": "the tag that was removed, or null",
}
GC = {
    "dry_run": "whether nothing was touched",
    "expired": "sandboxes past their expiry that are closed",
    "retired": "closed branches whose content goes",
    "files": "locations of the files that go",
    "bytes": "their size",
    "kept_young": "number of files that nothing needs but that are too young",
    "kept": "number of files that are needed",
    "kept_bytes": "their size",
    "clones": "clones of outside databases whose sandbox is gone, which are dropped: id, clone, provider, name, sandbox",
    "clone_problems": "a sentence for each clone that could not be dropped, and that the next gc will try again",
}


@verb("tag", shape=TAG)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete("tags"))
@click.argument("ref", required=False, metavar="[REF]", shell_complete=complete("refs"))
@click.option("-d", "--delete", is_flag=True, help="Remove the tag.")
@click.option("-m", "--message", default="", metavar="TEXT", help="One line about it.")
@pass_face
def tag(face: Face, name: str | None, ref: str | None, delete: bool, message: str) -> Reply:
    """Name a commit, which gc then keeps; without NAME, list the tags. REF is where you are by default."""
    from anabranch.report.lines import Span, hint, key, line
    from anabranch.report.text_history import tag_lines

    if name is None and delete:
        raise click.UsageError("--delete needs the tag's name")
    project = face.project()
    if name is None:
        found = project.tags()
        return Reply({**found.to_dict(), "deleted": None}, lambda: tag_lines(found, limit=face.width))
    if delete:
        project.untag(name)
        return Reply(
            {"tags": [], "deleted": name},
            lambda: [line("removed the tag ", key(name)), hint("anabranch tag")],
        )
    told = project.tag(name, ref, message=message)
    made = [one for one in project.tags().to_dict()["tags"] if one["tag"] == name]

    def lines() -> Sequence[Line]:
        return [line(key(name), Span(" names ", "good"), key(told)), hint(f"anabranch diff {name}")]

    return Reply({"tags": made, "deleted": None}, lines)


@verb("gc", shape=GC)
@click.option("--dry-run", is_flag=True, help="Tell what would go; remove nothing.")
@click.option(
    "--grace", metavar="SPAN", help="Files younger than this stay; default: gc.grace of anabranch.toml."
)
@click.option(
    "--forget-clone",
    metavar="ID",
    help="Look no more for this clone of an outside database: it is gone, or you have dropped it yourself.",
)
@ask_option("Remove without asking.")
@pass_face
def gc(face: Face, dry_run: bool, grace: str | None, forget_clone: str | None, yes: bool) -> Reply:
    """Free the storage that nothing needs: expired sandboxes, old history, files that no commit reaches, clones left behind.

    The plan is shown first. Killed at any point, the next gc finishes.
    """
    from anabranch.report.lines import line
    from anabranch.report.text_history import gc_lines

    if not dry_run and not yes and not face.interactive:
        raise click.UsageError("gc removes files, and nobody can be asked: say --yes, or --dry-run to look")
    project = face.project()
    if not yes:
        with face.working("looking for what nothing needs"):
            planned = project.gc(dry_run=True, grace=grace, forget_clone=forget_clone)
        nothing = not (planned.files or planned.expired or planned.retired or planned.clones or forget_clone)
        if dry_run or nothing:
            return Reply(planned, lambda: gc_lines(planned, limit=face.width, verbose=face.verbose))
        face.err(gc_lines(planned, limit=face.width, verbose=face.verbose)[:-1])
        if not face.ask("remove it?"):
            return Reply(planned, lambda: [line("nothing was removed")], code=3)
    with face.working("removing") as tell:
        done = project.gc(
            grace=grace,
            forget_clone=forget_clone,
            on_progress=lambda at, of: tell(f"removing {at:,} of {of:,} files"),
            tell=tell,
        )
    return Reply(
        done,
        lambda: gc_lines(done, limit=face.width, verbose=face.verbose),
        code=3 if done.clone_problems else 0,
    )
