"""What is done when a sandbox is opened, synced or closed, as ``[sandboxes.on_open]`` and its like say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from anabranch.catalog.base import Branch
from anabranch.names import new_id
from anabranch.project.surroundings import sandbox_surroundings

if TYPE_CHECKING:
    from anabranch.project.context import Context

Happening = Literal["open", "sync", "close"]


def remember(context: Context, sandbox: Branch) -> Branch:
    """Notes the pull request of a sandbox with it, so that it is known when the sandbox is closed from elsewhere."""
    here = context.where()
    if here.sandbox != sandbox.name or here.pull_request is None:
        return sandbox
    number = str(here.pull_request.number)
    if sandbox.properties.get("pull_request") == number:
        return sandbox
    return context.catalog.update_branch(sandbox.id, properties={"pull_request": number})


def happens(context: Context, event: Happening, sandbox: Branch) -> None:
    """Does what is bound to an event, in the sandbox's surroundings.

    Raises:
        DefinitionsError: there is no such job.
        StepError: the job has failed.
    """
    bound = getattr(context.settings.sandboxes, f"on_{event}").dagster_job
    if bound is None:
        return
    there = sandbox_surroundings(context, sandbox)
    log = context.folder / "events" / f"{sandbox.name}-{event}-{new_id()}.log"
    place = context.settings.place("sandboxes", f"on_{event}", "dagster_job")
    definitions = context.workspace.pipeline.definitions
    definitions.run_job(bound, there, log, place)


def opened(context: Context, sandbox: Branch) -> Branch:
    """After a sandbox was opened. What fails closes it again, so that the next try begins anew."""
    sandbox = remember(context, sandbox)
    try:
        happens(context, "open", sandbox)
    except BaseException:
        context.catalog.close_branch(sandbox.id)
        raise
    return sandbox
