"""`status`: where am I, on which base, what has changed, what is stale."""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.catalog.base import Branch, Entry, Point
from anabranch.errors import AnabranchError, UndeterminedError
from anabranch.planning.changes import own_reasons
from anabranch.planning.incremental import mark_of
from anabranch.planning.world import sample_of
from anabranch.project.context import Context
from anabranch.project.results import Status, Where
from anabranch.project.sandboxes import sample_kept
from anabranch.running.lease import is_dead
from anabranch.sandbox.lifecycle import pending, staleness


def status(context: Context) -> Status:
    """Reads all that `Status` holds. Writes nothing, not even the environment's branch."""
    here = context.where()
    if here.kind == "undetermined":
        return Status(
            here,
            notes=(here.reason or "",),
            next=here.hint,
            running=_running(context),
        )
    assert here.environment is not None
    environment = context.find_branch(here.environment)
    graph = context.workspace.graph
    if environment is None:
        main = context.environment_settings(here.environment).git_branch
        way = f"git switch {main}" if main else f"export ANABRANCH_ENVIRONMENT={here.environment}"
        first = "anabranch run" if here.kind == "environment" else f"{way}, then anabranch run"
        return Status(here, notes=(f"{here.environment} was never built",), next=first, assets=len(graph))
    notes: list[str] = []
    behind_reason = None
    base_number: int | None = None
    newest = 0
    free = here.kind == "environment" and context.environment_settings(environment.name).git_branch is None
    try:
        # What has no git branch takes the code of any, whatever made its head.
        base = None if free else context.base_for(environment)
        base_number = newest = environment.head if base is None else base.number
        if base is not None and not base.is_head:
            behind_reason = context.behind(environment, base).message
    except UndeterminedError as error:
        notes.append(f"{error.message}; {error.hint}")
    branch = context.find_branch(here.name or "") if here.kind == "sandbox" else environment
    behind_here = here.kind == "environment" and behind_reason is not None
    if branch is not None and here.kind == "sandbox":
        base_number = branch.base
    # Code that lacks somebody's promotion is compared with the state before it: it is not blamed for what it lacks.
    if branch is not None and not behind_here:
        point = branch.point
    else:
        point = environment.point if base_number is None else Point(environment.id, base_number)
    view = context.catalog.entries(point)
    changed = {key: tuple(reasons) for key in graph if (reasons := own_reasons(graph[key], view.get(key)))}
    if behind_reason is None and base_number is not None and base_number < newest:
        # Merged, but not synced yet: what the newer base was made by is somebody else's change.
        above = context.catalog.entries(Point(environment.id, newest), changed)
        changed = {
            key: reasons for key, reasons in changed.items() if own_reasons(graph[key], above.get(key))
        }
    own: tuple[str, ...] = ()
    cut: dict[str, str] = {}
    stale: tuple[str, ...] = ()
    if here.kind == "sandbox":
        if branch is None:
            notes += _renamed(context, here)
        else:
            mine = pending(context.catalog, branch)
            own = tuple(mine)
            notes += _of_masks(context, environment, mine)
            cut = _partitions(context, branch, mine)
            moved = context.catalog.changes(Point(environment.id, branch.base or 0), environment.point)
            written, read = staleness(moved, mine)
            stale = (*written, *read)
            notes += _rewritten(context, branch)
    gone = [key for key, entry in view.items() if key not in graph and entry.provenance.fingerprint]
    if gone:
        notes.append(
            f"no asset makes {', '.join(gone)} any more; anabranch run --prune removes {'it' if len(gone) == 1 else 'them'}"
        )
    kept = [key for key, entry in view.items() if mark_of(entry)]
    if kept:
        notes.append(
            f"{', '.join(kept)} still {'holds' if len(kept) == 1 else 'hold'} rows that older code made (forward-only); "
            f"anabranch run --force --select {','.join(kept)} makes all of it anew"
        )
    held = environment.properties.get("held")
    held_text = f"{', '.join(held.get('undone', []))} was rolled back by {held.get('by')}" if held else None
    return Status(
        here,
        head=context.ref_of(branch.point) if branch is not None else None,
        base=f"{environment.name}@{base_number}" if base_number is not None else None,
        behind=environment.head - base_number if base_number is not None else 0,
        behind_reason=behind_reason,
        stale=stale,
        changed=changed,
        own=own,
        partitions=cut,
        held=held_text,
        running=_running(context),
        notes=tuple(notes),
        next=_next(
            context,
            here,
            changed=bool(changed),
            own=bool(own),
            stale=bool(stale),
            behind=behind_reason,
            held=held is not None,
        ),
        assets=len(graph),
        tables=len(view),
        sample=_sample(context, branch),
        masked=environment.properties.get("derived_from"),
    )


def _sample(context: Context, sandbox: Branch | None) -> str:
    """How much of its base a sandbox reads, or would read once it is open."""
    if sandbox is None:
        return str(context.settings.sandboxes.sample or "")
    return str(sample_kept(sandbox) or "")


def _of_masks(context: Context, environment: Branch, own: Mapping[str, Entry | None]) -> list[str]:
    """What one should know on a masked base, and of results of a sample."""
    notes = []
    parent = environment.properties.get("derived_from")
    if parent is not None:
        above = context.find_branch(str(parent))
        behind = 0 if above is None else above.head - int(environment.properties.get("synced_to", 0))
        lag = f", {behind} commits behind it (anabranch sync {environment.name})" if behind else ""
        notes.append(
            f"{environment.name} is a masked copy of {parent}{lag}; what is computed here is never promoted: merge the code, and run it there"
        )
    marked = sorted(key for key, entry in own.items() if entry is not None and sample_of(entry))
    if marked:
        notes.append(
            f"{', '.join(marked)} {'is' if len(marked) == 1 else 'are'} of a sample and can't be promoted: anabranch run --sample none computes the real thing"
        )
    return notes


def _partitions(context: Context, branch: Branch, mine: Mapping[str, Entry | None]) -> dict[str, str]:
    assert branch.base_point is not None
    below = context.catalog.entries(branch.base_point, mine)
    found = {
        key: context.partitions_text(entry, below.get(key))
        for key, entry in mine.items()
        if entry is not None and entry.provenance.partitions
    }
    return {key: text for key, text in found.items() if text is not None}


def _next(
    context: Context, here: Where, *, changed: bool, own: bool, stale: bool, behind: str | None, held: bool
) -> str | None:
    if here.in_progress:
        return f"git {here.in_progress} --continue (or --abort)"
    if here.kind == "environment":
        if behind:
            return f"git merge what {here.environment} was made by, then anabranch run"
        if held:
            return "revert or mend the code, then anabranch run"
        return "anabranch run" if changed else None
    if changed:
        return "anabranch plan, then anabranch run"
    if stale and not behind:
        return "anabranch sandbox sync, then anabranch run"
    if behind and own:
        main = context.environment_settings(here.environment or "").git_branch
        return f"git merge {main}, then anabranch sandbox sync"
    if own:
        return (
            "git commit, then anabranch promote" if here.dirty else "anabranch diff, then anabranch promote"
        )
    return "edit an asset, then anabranch plan"


def _running(context: Context) -> tuple[str, ...]:
    leases = context.catalog.leases()
    return tuple(
        f"{lease.holder}, since {lease.acquired_at:%H:%M:%S} UTC" for lease in leases if not is_dead(lease)
    )


def _renamed(context: Context, here: Where) -> list[str]:
    """A git branch without a sandbox that used to have another name: its old sandbox is still there."""
    notes = []
    try:
        former = context.repository.renamed_from(here.git_branch or "")
    except (AnabranchError, AttributeError):
        former = []
    for old in former:
        found = context.find_branch(context.sandbox_name(old))
        if found is not None:
            notes.append(
                f"this git branch was called {old}; its sandbox {found.name} is still open, "
                "and what it has computed is taken over without running (then: anabranch sandbox close "
                + found.name
                + ")"
            )
    return notes


def _rewritten(context: Context, branch: Branch) -> list[str]:
    """Whether the git branch still descends from the commit that the sandbox was last run with."""
    last = branch.properties.get("git_commit")
    head = context.git.commit
    if not isinstance(last, str) or head is None or last == head:
        return []
    repository = context.repository
    try:
        if not repository.exists(last):
            return [
                f"the git commit {last[:12]} that this sandbox was last run with is gone from this clone (a force-push?); its tables are still here"
            ]
        if not repository.is_ancestor(last, head):
            return [
                "the git branch was rebased or reset since this sandbox was last run; nothing is lost, and what still fits is reused"
            ]
    except UndeterminedError as error:
        return [error.message]
    return []
