"""`Project`: everything wired; the product's verbs for a notebook, a script, and every face.

A verb decides little by itself: it finds out where one is, hands plain values to the judgements below, and carries out
what they say. It prints nothing and asks nobody; a face passes what it was told as arguments.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from anabranch.catalog.base import Branch, Commit, Point
from anabranch.errors import ConflictError, DirtyError, HeldError, PromotionError, RefError
from anabranch.names import now, parse_duration, parse_ref
from anabranch.project.context import Context
from anabranch.project.looking import Looking
from anabranch.project.results import CheckReport, Status, Where
from anabranch.project.sandboxes import Sandboxes

if TYPE_CHECKING:
    from anabranch.gate import Approval
    from anabranch.masking.sync import SyncResult
    from anabranch.planning.plan import Plan
    from anabranch.promotion import Prepared, PromotionResult, RollbackPlan
    from anabranch.running.events import Listener
    from anabranch.running.workspace import RunResult
    from anabranch.sandbox.gc import GcResult

Confirm = Callable[["Prepared"], bool]
_TRIES = 25  # each lost one means that somebody else has published


class Project(Looking):
    """A project on disk: its settings, its code, its catalog and its warehouse.

    Readers are pinned: whatever ref is read first means the same commit until `refresh`, or until this project itself
    has run, promoted or rolled back.

    Args:
        folder: A folder inside the project; default: the working folder.
        environment: What the variable ``ANABRANCH_ENVIRONMENT`` would say: the environment that is meant, where the git
            branch does not say it, or ``sandbox``. What contradicts the git branch is refused.

    Raises:
        SettingsError: there is no anabranch.toml here or above, or it has a mistake.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, *, environment: str | None = None
    ) -> None:
        self.context = Context(folder, environment=environment)
        self.sandbox = Sandboxes(self.context)

    def __repr__(self) -> str:
        return f"<project {self.context.root.name}>"

    @property
    def name(self) -> str:
        """Its name in anabranch.toml."""
        return self.context.settings.project.name

    def refresh(self) -> None:
        """Asks for what is newest: readers are pinned anew, git is asked again, the code is loaded again."""
        self.context.refresh()

    def close(self) -> None:
        """Releases the catalog's connections. Idempotent."""
        if "clones" in self.context.__dict__:
            self.context.clones.close()
        if "catalog" in self.context.__dict__:
            self.context.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # looking

    def status(self) -> Status:
        """Where one is, on which base, what has changed, what is stale, and what comes next."""
        from anabranch.project.status import status

        return status(self.context)

    def plan(
        self,
        select: Sequence[str] = (),
        *,
        partitions: str | None = None,
        force: bool = False,
        forward_only: bool = False,
        refresh: Sequence[str] = (),
    ) -> Plan:
        """What `run` would do, and why.

        Args:
            select: Words that name assets: ``delays``, ``+delays``, ``delays+``, ``tag:daily``, ``changed``; none: all.
            partitions: Words that name partitions: ``2013-12-01..2013-12-31``, ``2013-12``, ``latest:7``, ``missing``,
                ``failed``, a key, ``latest:7|AA``; None: all that have work to do.
            force: As if everything selected had to run.
            forward_only: As if what older code made were to stay as it is: of partitions and incremental assets, the code
                at hand makes what is new, and no more.
            refresh: Sources to fetch again; ``["*"]``: all that have a refresh policy.
        """
        from anabranch.running.workspace import RunOptions

        context = self.context
        here = context.require()
        assert here.environment is not None
        environment = context.environment(here.environment)
        options = RunOptions(
            select=tuple(select),
            partitions=partitions,
            force=force,
            forward_only=forward_only,
            refresh=tuple(refresh),
        )
        branch = self._planning_branch(environment)
        resources = (
            context.settings.sandboxes.resource_set
            if here.kind == "sandbox"
            else context.resources_of(environment)
        )
        options = replace(options, clones=context.clones.addresses(branch, resources))
        plan = context.runner().planner(branch, environment, options, resources=resources).plan()
        return replace(plan, target=here.name or "")

    def _planning_branch(self, environment: Branch) -> Branch:
        """The branch that a plan is made for; a sandbox that is not open yet is planned as if it were."""
        here = self.context.require()
        if here.kind == "environment":
            return environment
        assert here.sandbox is not None
        found = self.context.find_branch(here.sandbox)
        if found is not None:
            return found
        base = self.context.base_for(environment)
        sample = self.context.settings.sandboxes.sample
        properties = {"sample": sample.to_dict()} if sample else {}
        return replace(
            environment, name=here.sandbox, kind="sandbox", head=base.number, properties=properties
        )

    def run(
        self,
        select: Sequence[str] = (),
        *,
        partitions: str | None = None,
        force: bool = False,
        forward_only: bool = False,
        refresh: Sequence[str] = (),
        workers: int | None = None,
        in_process: bool = False,
        prune: bool = False,
        fail_fast: bool = False,
        resume: bool = False,
        sample: str | None = None,
        sample_by: str | None = None,
        wait: str | timedelta | None = None,
        listen: Listener = lambda _: None,
    ) -> RunResult:
        """Carries the plan out: on an environment's git branch its environment, on any other the branch's sandbox.

        An environment without a git branch runs if ``ANABRANCH_ENVIRONMENT`` names it, from any branch's code, uncommitted
        edits included.

        Args:
            select, partitions, force, forward_only, refresh: As for `plan`.
            workers: Worker processes; default: ``run.workers`` of anabranch.toml, else one for each processor.
            in_process: Run every step in this process, for a debugger.
            prune: Remove tables whose asset is no longer in the code, and partitions that it no longer has.
            fail_fast: Start nothing more after a failure.
            resume: Run although the environment is held after a rollback.
            sample, sample_by: In a sandbox, how much of its base is read from now on; see `Sandboxes.open`.
            wait: For how long to wait for another run that is under way there: ``"10m"``; default: not at all.
            listen: Called with every `Event`.

        Raises:
            UndeterminedError, BehindError, HeldError, DirtyError, LeaseError, and the errors of the definitions.
        """
        from anabranch.running.events import Event
        from anabranch.running.run import Runner

        context = self.context
        context.refresh()
        here = context.require()
        assert here.environment is not None
        settings = context.settings
        options = replace(
            context.run_options(workers=workers, in_process=in_process, listen=listen),
            wait=wait if isinstance(wait, timedelta) else parse_duration(wait or "0"),
            select=tuple(select),
            partitions=partitions,
            force=force,
            forward_only=forward_only,
            refresh=tuple(refresh),
            prune=prune,
            fail_fast=fail_fast,
        )
        runner = context.runner()

        def tell(event: Event) -> None:
            # A face that fails must not fail the run.
            with contextlib.suppress(Exception):
                listen(event)

        try:
            if here.kind == "sandbox":
                sandbox, new, behind = self.sandbox.ensure(sample=sample, sample_by=sample_by)
                environment = context.catalog.branch_by_id(sandbox.parent or 0)
                if new:
                    base = f"{environment.name}@{sandbox.base}"
                    tell(Event("sandbox_opened", sandbox.name, {"base": base, "behind_reason": behind}))
                if settings.sandboxes.expire_after is not None and sandbox.expires_at is not None:
                    # A sandbox that is worked in does not expire.
                    later = max(sandbox.expires_at, now() + settings.sandboxes.expire_after)
                    context.catalog.update_branch(sandbox.id, expires_at=later)
                for clone in self.sandbox.clone(
                    sandbox, lambda text: tell(Event("clone_started", sandbox.name, {"message": text}))
                ):
                    tell(Event("clone_opened", clone.clone, clone.to_dict()))
                resources = context.resources_of(sandbox)
                options = replace(options, clones=context.clones.addresses(sandbox, resources))
                return runner.run_sandbox(sandbox, environment, options, resources=resources)
            if sample is not None or sample_by is not None:
                raise PromotionError(
                    f"{here.environment} is computed from all data: only a sandbox reads a sample",
                    hint="git switch -c NAME first",
                )
            free = self._check_owned(here)
            if free and here.dirty:
                # What was run is no commit's code.
                runner = Runner(context.place, replace(context.workspace, git_commit=None))
            if here.dirty and not free:
                raise DirtyError(
                    f"{here.environment} is run from committed code only, and {here.dirty[0]} has uncommitted edits"
                    + (f" (and {len(here.dirty) - 1} more)" if len(here.dirty) > 1 else ""),
                    hint="commit them, or try them in a sandbox: git switch -c NAME",
                    files=list(here.dirty),
                )

            if not free:
                context.require_tracked()

            def still_allowed(environment: Branch) -> None:
                if free:
                    return self._check_held(environment, resume=resume)
                base = context.base_for(environment)
                if not base.is_head:
                    raise context.behind(environment, base)
                return self._check_held(environment, resume=resume)

            environment = context.environment(here.environment)
            still_allowed(environment)
            resources = context.resources_of(environment)
            options = replace(options, clones=context.clones.addresses(environment, resources))
            done = runner.run_environment(
                environment, options, resources=resources, still_allowed=still_allowed
            )
            if done.ok:
                self._deliver(environment)
            return done
        finally:
            context._pins.clear()  # noqa: SLF001 - the context is ours

    def sync(
        self, environment: str | None = None, *, dry_run: bool = False, listen: Listener = lambda _: None
    ) -> SyncResult:
        """Brings a masked environment up to date with its parent: masks what has changed there, and commits it at once.

        Args:
            environment: Its name; default: the only one that has ``derived_from`` in anabranch.toml.
            dry_run: Tell what would be masked, by which rules, and which columns nobody has declared; write nothing.
            listen: Called with every `Event`.

        Raises:
            MaskError: a rule can't be applied, or the git branch at hand is not the parent's.
            SettingsError: it is no masked copy. SecretError: its key is not set.
            DirtyError, BehindError, LeaseError: as for `run`.
        """
        from anabranch.project.masks import sync

        if not dry_run:
            self.context.refresh()
        return sync(self.context, environment, dry_run=dry_run, listen=listen)

    def _check_owned(self, here: Where) -> bool:
        """Whether an environment has no git branch, and so takes the code of any; refuses what only promotions change."""
        its = self.context.environment_settings(here.environment or "")
        if its.git_branch is None and its.protected:
            raise PromotionError(
                f"{here.environment} is protected and has no git branch: it changes by promotions alone",
                hint="run a sandbox and promote it, or give the environment a git_branch in anabranch.toml",
            )
        return its.git_branch is None

    def _check_held(self, environment: Branch, *, resume: bool) -> None:
        held = environment.properties.get("held")
        if not held or resume:
            return
        if held.get("definitions") != self.context.workspace.graph.definitions:
            return
        raise HeldError(
            f"{environment.name} is held: {', '.join(held.get('undone', []))} was rolled back by {held.get('by')}, "
            "and the code at hand is still the code that made it",
            hint="change or revert the code, or say that it is meant: --resume",
            undone=held.get("undone"),
        )

    def check(
        self,
        select: Sequence[str] = (),
        *,
        fresh: bool = False,
        workers: int | None = None,
        in_process: bool = False,
        listen: Listener = lambda _: None,
    ) -> CheckReport:
        """Runs the checks alone, on what the environment or sandbox holds now.

        Args:
            select: Words that name the assets that are judged; none: all.
            fresh: Run every check, also where its result on exactly this data is known.
            workers, in_process, listen: As for `run`.
        """
        context = self.context
        here = context.require()
        assert here.name is not None
        branch = context.find_branch(here.name)
        if branch is None:
            raise RefError(f"{here.name} was never built", hint="anabranch run builds it")
        options = replace(
            context.run_options(workers=workers, in_process=in_process, listen=listen), select=tuple(select)
        )
        resources = context.resources_of(branch)
        options = replace(options, clones=context.clones.addresses(branch, resources))
        execution = context.runner().check(branch, options, resources=resources, fresh=fresh)
        return CheckReport(
            context.ref_of(branch.point), tuple(execution.checks[key] for key in sorted(execution.checks))
        )

    # publishing

    def promote(
        self,
        sandbox: str | None = None,
        *,
        dry_run: bool = False,
        forward_only: bool = False,
        yes: bool = False,
        confirm: Confirm | None = None,
        workers: int | None = None,
        in_process: bool = False,
        listen: Listener = lambda _: None,
    ) -> PromotionResult:
        """Publishes a sandbox into its environment, in one commit.

        Args:
            sandbox: Its name or its git branch's; default: the one of the git branch that is checked out. On an
                environment's git branch (code first) it must be named.
            dry_run: Judge and tell; publish nothing, run nothing.
            forward_only: Publish tables of which older code made a part; the commit records it.
            yes: Publish into a protected environment without asking.
            confirm: Asked with the judged candidate before a protected environment is written to; False ends it.
            workers, in_process, listen: As for `run`, for what a newer base makes necessary.

        Raises:
            DirtyError: uncommitted edits.
            BehindError: the code at hand lacks the code of the environment's head; names what to merge.
            StaleError: code was edited after the sandbox ran it, or ``stale_inputs`` refuses.
            GateError: the verdict is no.
            ConflictError: the environment moved again and again while it was judged.
        """
        from anabranch.project.promoting import Promoter

        started = time.perf_counter()
        self.context.refresh()
        options = replace(
            self.context.run_options(workers=workers, in_process=in_process, listen=listen),
            forward_only=forward_only,
        )
        promoter = Promoter(self.context, self._compare, self._check_held)
        for attempt in range(_TRIES):
            try:
                result = promoter.promote(sandbox, options, dry_run=dry_run, yes=yes, confirm=confirm)
            except ConflictError as error:
                # Somebody published meanwhile: everything is judged again on the new head.
                if error.facts.get("key") is not None or attempt == _TRIES - 1:
                    raise
                self.context.refresh()
                continue
            self.context._pins.clear()  # noqa: SLF001 - the context is ours
            if result.state == "published":
                self._deliver(self.context.environment(result.environment))
            result.seconds = time.perf_counter() - started
            return result
        raise AssertionError("the loop returns or raises")

    def approve(self, sandbox: str | None = None, *, candidate: str | None = None) -> Approval:
        """Approves a candidate as it would be published now. The approval holds for exactly that state.

        Args:
            sandbox: Its name or its git branch's; default: the one of the git branch that is checked out.
            candidate: The hash that is meant (or its beginning); refused if the candidate is another one by now.
        """
        from anabranch.project.promoting import Promoter

        return Promoter(self.context, self._compare, self._check_held).approve(sandbox, candidate)

    def rollback(
        self,
        to: str | None = None,
        *,
        of: str | None = None,
        dry_run: bool = False,
        environment: str | None = None,
        message: str = "",
        confirm: Callable[[RollbackPlan], bool] | None = None,
    ) -> tuple[RollbackPlan, Commit | None]:
        """Restores an earlier state of an environment in one new commit, and holds it until the code differs.

        Args:
            to: Ref of the state to restore: ``production@3``, a tag, a time. Default: the state before the newest commit.
            of: Instead: ref of one commit; all that it wrote is undone, and nothing else.
            dry_run: Plan only.
            environment: Default: the one of the git branch, or that the sandbox stands on.
            message: One line for the log.
            confirm: Asked with the plan; False ends it. What was confirmed is what is done, or nothing.

        Returns:
            The plan, and the commit; None for a dry run, and where it was not confirmed.

        Raises:
            UndeterminedError: HEAD is detached, and nothing says which environment is meant.
            ConflictError: with ``of``, a later commit has written one of the keys.
        """
        from anabranch.promotion import plan_rollback, plan_undo, roll_back

        context = self.context
        if to is not None and of is not None:
            raise PromotionError(
                "to and of exclude each other", hint="`to` restores a whole state, `of` undoes one commit"
            )
        name = environment or (
            parse_ref(to or of or "").name
            if (to or of) and "@" in (to or of or "")
            else context.require().environment
        )
        if environment is None and name not in context.settings.environments:
            name = context.require().environment
        assert name is not None
        branch = context.environment(name)
        if of is not None:
            point = context.resolve(of)
            if point.branch_id != branch.id:
                raise PromotionError(
                    f"{of} is no commit of {branch.name}", hint=f"anabranch log {branch.name}"
                )
            plan = plan_undo(context.catalog, branch, point.number)
        else:
            target = context.resolve(to) if to is not None else Point(branch.id, branch.head - 1)
            if to is None and branch.head < 1:
                raise PromotionError(
                    f"{branch.name} has no earlier state", hint=f"anabranch log {branch.name}"
                )
            plan = plan_rollback(context.catalog, branch, target)
        if dry_run or (confirm is not None and not confirm(plan)):
            return plan, None
        commit = roll_back(context.catalog, plan, author=context.author, message=message)
        context.refresh()
        if context.catalog.get_note("delivered", branch.name) is not None:
            self._deliver(context.catalog.branch_by_id(branch.id))
        return plan, commit

    def deliver(self, environment: str | None = None) -> tuple[str, ...]:
        """Hands what an environment has published to where its project also keeps its tables, as far as that is not done.

        It is done after each run, promotion and rollback of itself; this makes up for one that failed.

        Args:
            environment: Its name; default: the one that is at hand, or that the sandbox stands on.

        Returns:
            The assets that were delivered.

        Raises:
            StepError: one could not be; those before it were.
            LeaseError: another delivery is under way.
        """
        name = environment or self.context.require().environment
        assert name is not None
        return self._deliver(self.context.environment(name))

    def _deliver(self, environment: Branch) -> tuple[str, ...]:
        from anabranch.project.delivery import deliver

        return deliver(self.context, environment)

    # upkeep

    def gc(
        self,
        *,
        dry_run: bool = False,
        grace: str | None = None,
        forget_clone: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> GcResult:
        """Frees what no live ref needs: expired sandboxes are closed, old history is retired, unreachable files removed, and
        clones of closed sandboxes dropped.

        Args:
            dry_run: Tell what would go; remove nothing.
            grace: Files younger than this stay whatever is said; default: ``gc.grace`` of anabranch.toml.
            forget_clone: Id of a clone whose sandbox is gone, and that is not to be looked for any more.
            on_progress: Called with how many files were removed, and of how many.
            tell: Called with what is under way, in words.

        Raises:
            LeaseError: another gc is under way.
            CloneError: there is no such clone to be forgotten.
        """
        from anabranch.lake.storage import Scope
        from anabranch.sandbox.gc import collect, drop_old_logs, plan_gc

        context = self.context
        settings = context.settings
        storage = context.storage(Scope.sweep())
        span = settings.gc.grace if grace is None else parse_duration(grace)
        history = settings.history
        if forget_clone is not None and not dry_run:
            context.clones.forget(forget_clone)
        if dry_run:
            planned = plan_gc(
                context.catalog,
                storage,
                keep=history.keep,
                keep_commits=history.keep_commits,
                grace=span,
                now=now(),
            )
            going = [r for r in context.clones.leaks(planned.expired) if r.id != forget_clone]
            return replace(planned, clones=tuple(r.told() for r in going))
        if settings.sandboxes.on_close.dagster_job is not None:
            # Whatever closes a sandbox does what is bound to that; one whose job fails is named, and stays open.
            for name in plan_gc(
                context.catalog,
                storage,
                keep=history.keep,
                keep_commits=history.keep_commits,
                grace=span,
                now=now(),
            ).expired:
                self.sandbox.close(name)
        done = collect(
            context.catalog,
            storage,
            keep=history.keep,
            keep_commits=history.keep_commits,
            grace=span,
            on_progress=on_progress,
        )
        if history.keep is not None:
            before = now() - max(history.keep, span)
            drop_old_logs(context.folder / "runs", before)
            context.catalog.delete_runs(before, keep=history.keep_commits)
        dropped, problems = context.clones.drop(context.clones.leaks(), tell)
        context.refresh()
        return replace(done, clones=tuple(r.told() for r in dropped), clone_problems=tuple(problems))
