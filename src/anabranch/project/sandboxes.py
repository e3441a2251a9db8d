"""The verbs about sandboxes: list, open, sync, close."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from anabranch.catalog.base import Branch
from anabranch.dataclass import dataclass
from anabranch.errors import AnabranchError, BehindError, BranchExistsError, PromotionError, StaleError
from anabranch.names import parse_duration
from anabranch.project import happenings
from anabranch.project.context import Context
from anabranch.project.results import SandboxList
from anabranch.running.lease import hold
from anabranch.sample import Sample, parse_sample
from anabranch.sandbox.lifecycle import Moved, SandboxInfo, describe, open_sandbox, plan_sync, sync_sandbox

if TYPE_CHECKING:
    from anabranch.clones.keeper import CloneInfo


@dataclass(frozen=True)
class Opened:
    """A sandbox, and whether this call opened it."""

    sandbox: SandboxInfo
    new: bool
    behind_reason: str | None
    seconds: float
    clones: tuple[CloneInfo, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **self.sandbox.to_dict(),
            "new": self.new,
            "behind_reason": self.behind_reason,
            "clones": [clone.to_dict() for clone in self.clones],
            "seconds": round(self.seconds, 6),
        }


@dataclass(frozen=True)
class Synced:
    """What a sync brought, or would bring."""

    sandbox: str
    environment: str
    moved: Moved
    behind_reason: str | None
    dry_run: bool
    clones: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "sandbox": self.sandbox,
            "environment": self.environment,
            **self.moved.to_dict(),
            "clones": list(self.clones),
            "behind_reason": self.behind_reason,
            "dry_run": self.dry_run,
        }


@dataclass(frozen=True)
class Closed:
    """What was closed, or would be."""

    sandbox: SandboxInfo
    unpublished: tuple[str, ...]
    dry_run: bool
    clones: tuple[CloneInfo, ...] = ()
    clone_problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **self.sandbox.to_dict(),
            "unpublished": list(self.unpublished),
            "clones": [clone.to_dict() for clone in self.clones],
            "clone_problems": list(self.clone_problems),
            "dry_run": self.dry_run,
        }


class Sandboxes:
    """``project.sandbox``: list, open, sync and close sandboxes."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def list(self, *, clones: bool = False) -> SandboxList:
        """The open sandboxes, oldest first.

        Args:
            clones: Whether to tell of all clones of outside databases too, also of those whose sandbox is gone; their
                databases are asked.
        """
        context = self._context
        git_branches = context.repository.branches()
        environments = {b.id: b for b in context.catalog.branches(kind="environment", include_closed=True)}
        found = [
            describe(context.catalog, branch, environments[branch.parent], git_branches=git_branches)
            for branch in context.catalog.branches(kind="sandbox")
            if branch.parent in environments
        ]
        return SandboxList(tuple(found), context.clones.census() if clones else None)

    def open(
        self,
        *,
        expire_after: str | None = None,
        base: str | None = None,
        sample: str | None = None,
        sample_by: str | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Opened:
        """Opens the sandbox of the git branch that is checked out, or returns it as it stands; makes its clones of outside
        databases where they are not there.

        Args:
            expire_after: A duration such as ``"3d"``; default: ``sandboxes.expire_after`` of anabranch.toml.
            base: The environment that it is opened on; default: ``sandboxes.base``.
            sample: How much of the base is read from now on: ``"5%"``, or ``"none"`` for all of it; default: as it is,
                or ``sandboxes.sample``.
            sample_by: The column by which rows are chosen.
            tell: Called with what is under way, in words.

        Raises:
            UndeterminedError: nobody says what the code at hand is for, or two sides contradict each other.
            PromotionError: the git branch is an environment's.
            BranchExistsError: it is open already, on another base.
            CloneError: a clone can't be made; the sandbox is open, and the same call goes on.
            AnabranchError: the sample is none.
        """
        started = time.perf_counter()
        branch, new, reason = self.ensure(
            expire_after=expire_after, base=base, sample=sample, sample_by=sample_by
        )
        clones = self._context.clones
        clones.ensure(branch, running=False, check=True, tell=tell)
        return Opened(
            self._describe(branch),
            new,
            reason,
            time.perf_counter() - started,
            clones.describe(clones.of(branch)) if clones.applies(branch) else (),
        )

    def clone(self, sandbox: Branch, tell: Callable[[str], None] = lambda _: None) -> tuple[CloneInfo, ...]:
        """Makes the clones that an open sandbox lacks for its run. Returns those that this call has made."""
        clones = self._context.clones
        if not clones.applies(sandbox):
            return ()
        before = {record.id for record in clones.of(sandbox) if record.state == "ready"}
        made = clones.ensure(sandbox, running=True, tell=tell)
        return clones.describe(record for record in made if record.id not in before)

    def ensure(
        self,
        *,
        expire_after: str | None = None,
        base: str | None = None,
        sample: str | None = None,
        sample_by: str | None = None,
    ) -> tuple[Branch, bool, str | None]:
        """The sandbox of the git branch at hand, opened if need be; whether it is new; what newer code it lacks."""
        context = self._context
        here = context.require()
        if here.kind != "sandbox" or here.sandbox is None or here.environment is None:
            raise PromotionError(
                f"{here.decided_by} means the environment {here.environment}, which has no sandbox",
                hint="git switch -c NAME first",
            )
        found = context.find_branch(here.sandbox)
        if found is not None:
            self._check_owner(found, here.git_branch or "")
            if base not in (None, here.environment):
                raise BranchExistsError(
                    f"the sandbox {found.name} stands on {here.environment}, not on {base}",
                    hint=f"anabranch sandbox close {found.name}, then open it with --base {base}",
                )
            environment = context.environment(here.environment)
            present = sample_kept(found)
            wanted = sample_asked(sample, sample_by, present)
            if wanted != present:
                found = context.catalog.update_branch(
                    found.id, properties={"sample": wanted.to_dict() if wanted else None}
                )
            return happenings.remember(context, found), False, None
        environment = context.environment(base or here.environment)
        wanted = sample_asked(sample, sample_by, context.settings.sandboxes.sample)
        chosen = context.base_for(environment)
        try:
            branch = open_sandbox(
                context.catalog,
                here.sandbox,
                environment=environment,
                base=chosen,
                git_branch=here.git_branch or "",
                git_commit=here.git_commit,
                author=context.author,
                expire_after=context.settings.sandboxes.expire_after
                if expire_after is None
                else parse_duration(expire_after),
                definitions=context.workspace.graph.definitions,
                properties={"sample": wanted.to_dict()} if wanted else None,
            )
        except BranchExistsError:
            # Another run of the same git branch has opened it in this very moment.
            if context.find_branch(here.sandbox) is None:
                raise
            return self.ensure(expire_after=expire_after, base=base, sample=sample, sample_by=sample_by)
        branch = happenings.opened(context, branch)
        return branch, True, None if chosen.is_head else context.behind(environment, chosen).message

    def sync(
        self,
        name: str | None = None,
        *,
        dry_run: bool = False,
        clones: bool | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Synced:
        """Moves a sandbox to the newest commit of its environment whose code the git branch contains.

        What the sandbox has built stays; `plan` then says what the new base makes necessary.

        Args:
            name: Its name or its git branch's; default: the one of the git branch that is checked out.
            dry_run: Tell what it would bring; move nothing.
            clones: Whether its clones of outside databases are made anew; what was written into them is lost. Default: as
                ``refresh`` of each says in anabranch.toml.
            tell: Called with what is under way, in words.

        Raises:
            CloneError: a clone can't be made anew; the sandbox has moved, and the same call goes on.
            StaleError: there is nothing newer that the code at hand contains; names what to merge.
            LeaseError: a run is under way there.
        """
        context = self._context
        sandbox = context.sandbox(name)
        assert sandbox.parent is not None
        assert sandbox.base is not None
        environment = context.catalog.branch_by_id(sandbox.parent)
        base = context.base_for(environment)
        reason: BehindError | None = None if base.is_head else context.behind(environment, base)
        if base.number <= sandbox.base and reason is not None:
            raise StaleError(
                f"there is nothing to sync to: {reason.message}", hint=reason.hint, **reason.facts
            )
        number = max(base.number, sandbox.base)
        refreshed = context.clones.to_refresh(sandbox, clones)
        if dry_run:
            moved = plan_sync(context.catalog, sandbox, number)
        else:
            with hold(context.catalog, f"run:{sandbox.name}", f"sync of {sandbox.name}"):
                moved = sync_sandbox(
                    context.catalog,
                    sandbox,
                    number,
                    author=context.author,
                    git_commit=context.git.commit,
                    merge=context.merge(sandbox),
                )
                context.clones.refresh(sandbox, refreshed, tell)
                happenings.happens(context, "sync", sandbox)
            context.refresh()
        behind = reason.message if reason else None
        return Synced(sandbox.name, environment.name, moved, behind, dry_run, refreshed)

    def close(
        self,
        name: str | None = None,
        *,
        dry_run: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Closed:
        """Closes a sandbox. What was promoted stays; its clones of outside databases are dropped, the rest is freed by the
        next `gc`, which also drops a clone that could not be dropped now.

        Args:
            name: Its name or its git branch's; default: the one of the git branch that is checked out.
            dry_run: Tell what would be closed; close nothing.
            tell: Called with what is under way, in words.

        Raises:
            LeaseError: a run or a promotion of it is under way.
        """
        from anabranch.sandbox.lifecycle import pending

        context = self._context
        sandbox = context.sandbox(name)
        info = self._describe(sandbox)
        unpublished = tuple(pending(context.catalog, sandbox))
        clones = context.clones.of(sandbox)
        problems: Sequence[str] = ()
        if not dry_run:
            what = f"closing of {sandbox.name}"
            with (
                hold(context.catalog, f"promote:{sandbox.name}", what),
                hold(context.catalog, f"run:{sandbox.name}", what),
            ):
                happenings.happens(context, "close", sandbox)
                context.catalog.close_branch(sandbox.id)
            clones, problems = context.clones.drop(context.clones.of(sandbox), tell)
            context.refresh()
        return Closed(info, unpublished, dry_run, context.clones.describe(clones), tuple(problems))

    def _check_owner(self, found: Branch, git_branch: str) -> None:
        """Two git branches never share a sandbox, however their names came to clash."""
        owner = found.properties.get("git_branch")
        if owner not in (None, git_branch):
            raise BranchExistsError(
                f"the sandbox {found.name} belongs to the git branch {owner}, not to {git_branch}",
                hint=f"rename this git branch, or close the other: anabranch sandbox close {found.name}",
            )

    def _describe(self, branch: Branch) -> SandboxInfo:
        assert branch.parent is not None
        return describe(self._context.catalog, branch, self._context.catalog.branch_by_id(branch.parent))


def sample_kept(sandbox: Branch) -> Sample | None:
    """How much of its base a sandbox reads; None: all of it."""
    kept = sandbox.properties.get("sample")
    return parse_sample(str(kept["share"]), kept.get("by")) if kept else None


def sample_asked(share: str | None, by: str | None, present: Sample | None) -> Sample | None:
    """The sample that is wanted, where what is not said stays as it is.

    Raises:
        AnabranchError: the share is none, or a column is named and no share was ever given.
    """
    if share is None and by is None:
        return present
    if share is None:
        if present is None:
            raise AnabranchError(
                f"rows are to be chosen by {by}, but not how many",
                hint='say it: --sample 5%, or sample = "5%"',
            )
        return Sample(present.share, by)
    return parse_sample(share, by or (present.by if present else None))
