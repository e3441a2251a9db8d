"""`promote` and `approve`: the way from a sandbox to its environment, with everything that may stand against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from anabranch.catalog.base import Branch, Entry
from anabranch.diff.engine import shared_engine
from anabranch.errors import AnabranchError, CheckError, DirtyError, GateError, PromotionError, StaleError
from anabranch.gate import Approval, TableChange
from anabranch.names import now
from anabranch.planning.plan import Plan, Step
from anabranch.planning.world import is_masked
from anabranch.project.context import Context
from anabranch.promotion import (
    Evidence,
    Prepared,
    PromotionResult,
    bring_up,
    mixture,
    prepare,
    publish,
    settle,
)
from anabranch.running.lease import hold
from anabranch.running.run import Runner
from anabranch.running.workspace import RunOptions
from anabranch.sandbox.lifecycle import overtaken, pending

if TYPE_CHECKING:
    from anabranch.project.project import Confirm

Compare = Callable[[str, Entry | None, Entry | None], TableChange]


class Promoter:
    """Carries a promotion through, from where one is to the commit."""

    def __init__(self, context: Context, compare: Compare, check_held: Callable[..., None]) -> None:
        self._context = context
        self._catalog = context.catalog
        self._compare = compare
        self._check_held = check_held

    def promote(
        self, name: str | None, options: RunOptions, *, dry_run: bool, yes: bool, confirm: Confirm | None
    ) -> PromotionResult:
        """See `Project.promote`. Raises ConflictError with key None where the environment moved: judge again."""
        context = self._context
        sandbox, environment = self._sides(name)
        # Somebody who runs in the sandbox while it is judged would change what is judged.
        self._check_code(environment)
        with hold(self._catalog, f"promote:{sandbox.name}", f"promotion of {sandbox.name}"):
            settings = context.environment_settings(environment.name)
            runner = context.runner()
            if dry_run:
                return self._rehearse(runner, sandbox, environment, options)
            # A promotion that was killed in what it ran again may find nothing left to run.
            runner.mark_dead_runs(sandbox)
            sandbox, moved = bring_up(
                self._catalog,
                sandbox,
                environment,
                stale_inputs=settings.promote.stale_inputs,
                author=context.author,
                git_commit=context.git.commit,
                merge=context.merge(sandbox),
            )
            sandbox, reran = self._run_what_moved(runner, sandbox, environment, options)
            prepared = self._prepare(runner, sandbox, environment, options)
            result = PromotionResult(
                environment.name, sandbox.name, "nothing", moved=moved, reran=reran, verdict=prepared.verdict
            )
            clones = context.clones.publishing(sandbox)
            if clones and (prepared.verdict.passed or not prepared.changes):
                context.clones.check_publish(sandbox)
            if not prepared.changes:
                if clones and settings.protected and not yes:
                    raise PromotionError(
                        f"{environment.name} is protected, and what {', '.join(one.clone for one in clones)} would bring"
                        " into its source was not confirmed",
                        hint="say --yes (in Python: yes=True)",
                    )
                settle(
                    self._catalog,
                    sandbox,
                    environment,
                    author=context.author,
                    git_commit=context.git.commit,
                    merge=context.merge(sandbox),
                )
                result.clones = context.clones.publish(sandbox)
                return result
            if prepared.verdict.passed:
                self._confirm(prepared, protected=settings.protected, yes=yes, confirm=confirm)
            else:
                self._catalog.put_note("verdict", prepared.verdict.candidate, prepared.verdict.to_dict())
            commit = publish(
                self._catalog,
                prepared,
                author=context.author,
                git_commit=context.git.commit,
                definitions=context.workspace.graph.definitions,
                git_branch=str(sandbox.properties.get("git_branch") or sandbox.name),
                merge=context.merge(sandbox),
            )
            result.state, result.commit, result.tables = "published", commit.ref, tuple(prepared.changes)
            try:
                result.clones = context.clones.publish(sandbox)
            except AnabranchError as error:
                error.message = f"{commit.ref} is published, but not all of its clones: {error.message}"
                error.hint = f"{error.hint or 'mend it'}; then anabranch promote --yes finishes"
                raise
            return result

    def approve(self, name: str | None, candidate: str | None) -> Approval:
        """See `Project.approve`."""
        sandbox, environment = self._sides(name)
        self._check_code(environment)
        if sandbox.base != environment.head:
            raise StaleError(
                f"{sandbox.name} stands on {environment.name}@{sandbox.base}, and {environment.name} is at {environment.head}: "
                "what would be published is not known yet",
                hint="anabranch sandbox sync, then anabranch run",
            )
        prepared = self._prepare(self._context.runner(), sandbox, environment, RunOptions(), run_checks=False)
        if not prepared.changes:
            raise PromotionError(
                f"{sandbox.name} has nothing to publish", hint="anabranch run, then anabranch diff"
            )
        found = prepared.verdict.candidate
        if candidate is not None and not found.startswith(candidate):
            raise PromotionError(
                f"the candidate of {sandbox.name} is {found[:12]} by now, not {candidate[:12]}",
                hint="look at it again: anabranch diff",
            )
        approval = Approval(self._context.author, now(), found)
        self._catalog.put_note(
            "approval",
            f"{sandbox.id}/{found}/{approval.by}",
            {"by": approval.by, "at": approval.at.isoformat(), "candidate": found},
        )
        return approval

    # the steps

    def _sides(self, name: str | None) -> tuple[Branch, Branch]:
        context = self._context
        here = context.require()
        if name is None and here.kind == "environment":
            known = ", ".join(
                str(b.properties.get("git_branch", b.name)) for b in self._catalog.branches(kind="sandbox")
            )
            raise PromotionError(
                f"on {here.git_branch or here.environment} a promotion must name the sandbox",
                hint=f"anabranch promote BRANCH; open are: {known or 'none'}",
            )
        sandbox = context.sandbox(name)
        assert sandbox.parent is not None
        environment = self._catalog.branch_by_id(sandbox.parent)
        if is_masked(environment):
            parent = str(environment.properties["derived_from"])
            main = context.environment_settings(parent).git_branch or parent
            raise PromotionError(
                f"{sandbox.name} stands on {environment.name}, a masked copy of {parent}: what it has computed is not {parent}'s data",
                hint=f"publish the code instead: merge {sandbox.properties.get('git_branch')} into {main} and run it there: git switch {main}, anabranch run",
            )
        if here.kind == "environment" and here.environment != environment.name:
            raise PromotionError(
                f"{sandbox.name} stands on {environment.name}, but {here.decided_by} means {here.environment}",
                hint=f"git switch to {sandbox.properties.get('git_branch')}, or to the git branch of {environment.name}",
            )
        if here.kind == "sandbox" and here.sandbox != sandbox.name:
            raise PromotionError(
                f"the code at hand is {here.git_branch}'s, not {sandbox.properties.get('git_branch')}'s",
                hint=f"git switch {sandbox.properties.get('git_branch')}, or merge it and promote it from the environment's git branch",
            )
        return sandbox, environment

    def _check_code(self, environment: Branch) -> None:
        context = self._context
        state = context.git
        if state.in_progress:
            raise DirtyError(f"a {state.in_progress} is under way in git", hint="finish or abort it first")
        if state.dirty:
            more = f" (and {len(state.dirty) - 1} more)" if len(state.dirty) > 1 else ""
            raise DirtyError(
                f"{state.dirty[0]}{more} has uncommitted edits, and a promotion records the git commit that it was made by",
                hint="git commit, then try again",
                files=list(state.dirty),
            )
        if state.commit is None:
            raise DirtyError("there is no git commit yet", hint="git commit first")
        context.require_tracked()
        base = context.base_for(environment)
        if not base.is_head:
            behind = context.behind(environment, base)
            raise StaleError(
                f"this branch is stale: {behind.message}",
                hint=f"{(behind.hint or '').partition(', then')[0]}, then anabranch sandbox sync and anabranch run",
                **behind.facts,
            )
        self._check_held(environment, resume=False)

    def _plan(self, runner: Runner, sandbox: Branch, environment: Branch, options: RunOptions) -> Plan:
        resources = self._context.resources_of(sandbox)
        return runner.planner(sandbox, environment, options, resources=resources).plan()

    def _with_refresh(
        self, runner: Runner, sandbox: Branch, environment: Branch, options: RunOptions
    ) -> RunOptions:
        """The options, with the sources that the environment has fetched again since the sandbox did."""
        graph = runner.workspace.graph
        sources = {key for key in graph if not graph[key].inputs and graph[key].kind == "python"}
        changes = pending(self._catalog, sandbox)
        return replace(
            options,
            refresh=tuple(overtaken(changes, self._catalog.entries(environment.point, changes), sources)),
        )

    def _open_steps(
        self,
        plan: Plan,
        sandbox: Branch,
        environment: Branch,
        graph: Mapping[str, Any],
        options: RunOptions,
    ) -> list[Step]:
        """What would have to run. Raises StaleError where that is because of code that the sandbox has never run."""
        steps = [s for s in plan.steps.values() if s.action != "reuse"]
        there = self._catalog.entries(environment.point)
        for step in steps:
            present = self._catalog.get(sandbox.point, step.key)
            mixed = mixture(present, there.get(step.key)) if present is not None else None
            if (
                mixed is not None
                and not options.forward_only
                and _unmade(step, present)
                and present is not None
                and present.provenance.code == graph[step.key].code
            ):
                raise GateError(
                    f"{step.key} is a mixture: {mixed}",
                    hint="anabranch run makes all of it with the code at hand; "
                    "anabranch promote --forward-only publishes the mixture, and says so in the commit",
                    asset=step.key,
                )
            mine = [
                r
                for r in step.reasons
                if r.kind in ("new", "code", "config", "distribution", "resource", "sample")
            ]
            published = there.get(step.key)
            code = graph[step.key].code
            if mine and not (published is not None and published.provenance.code == code):
                branch = sandbox.properties.get("git_branch")
                there_first = (
                    "" if self._context.git.branch == branch else f"git switch {branch}, merge there, "
                )
                raise StaleError(
                    f"{step.key} was not run with the code at hand: {mine[0]}",
                    hint=f"{there_first}anabranch run, look at anabranch diff, then promote",
                    asset=step.key,
                )
        return steps

    def _run_what_moved(
        self, runner: Runner, sandbox: Branch, environment: Branch, options: RunOptions
    ) -> tuple[Branch, tuple[str, ...]]:
        """Runs what the new base makes necessary. Does nothing, and so costs nothing, where the sandbox is up to date."""
        options = self._with_refresh(runner, sandbox, environment, options)
        plan = self._plan(runner, sandbox, environment, options)
        steps = self._open_steps(plan, sandbox, environment, runner.workspace.graph.nodes, options)
        adopted = [
            s
            for s in plan.steps.values()
            if s.adopted is not None or (s.partitions is not None and s.partitions.marks)
        ]
        if not steps and not adopted:
            return sandbox, ()
        rule = self._context.environment_settings(environment.name).promote.stale_inputs
        only_inputs = all(
            r.kind in ("input", "upstream", "unselected", "incremental", "rebuild")
            for s in steps
            for r in s.reasons
        )
        mine = pending(self._catalog, sandbox)
        if rule == "accept" and only_inputs and all(s.key in mine for s in steps):
            return sandbox, ()
        resources = self._context.resources_of(sandbox)
        self._context.clones.ensure(sandbox, running=True)
        options = replace(options, clones=self._context.clones.addresses(sandbox, resources))
        result = runner.run_sandbox(sandbox, environment, options, resources=resources)
        if not result.ok:
            failed = [o.key for o in result.execution.failed] or [
                c.id for c in result.execution.failed_checks
            ]
            raise CheckError(
                f"on the new base of {sandbox.name}, {failed[0]} fails: nothing was published",
                hint=f"anabranch show {result.id} tells more; mend it, anabranch run, then promote",
                run=result.id,
            )
        ran = tuple(o.key for o in result.execution.outcomes.values() if o.state == "ran")
        return self._catalog.branch_by_id(sandbox.id), ran

    def _prepare(
        self,
        runner: Runner,
        sandbox: Branch,
        environment: Branch,
        options: RunOptions,
        *,
        run_checks: bool = True,
    ) -> Prepared:
        context = self._context
        changes = pending(self._catalog, sandbox)
        graph = runner.workspace.graph
        concerned = sorted({c.asset for c in graph.checks if any(key in changes for key in c.inputs)})
        if run_checks and concerned and sandbox.base == environment.head:
            view = self._catalog.entries(sandbox.point)
            ready = [
                c.asset for c in graph.checks if c.asset in concerned and all(key in view for key in c.inputs)
            ]
            if ready:
                # Known results cost nothing; what was never judged on this state is judged now.
                runner.check(
                    sandbox,
                    replace(options, select=tuple(sorted(set(ready))), listen=lambda _: None),
                    resources=context.resources_of(sandbox),
                )
        own = context.workspace.pipeline.definitions.resource_set(context.resources_of(environment))

        def differs(key: str, entry: Entry) -> str | None:
            made: Mapping[str, str] = entry.provenance.extra.get("resources", {})
            other = sorted(
                name for name, digest in made.items() if name not in own or own[name].digest() != digest
            )
            if not other or key not in graph:
                return None
            return f"{key} was computed with another resource than {environment.name}'s: {', '.join(other)}"

        def judged(fingerprint: str) -> tuple[bool, str] | None:
            found = runner.known_check(fingerprint)
            return None if found is None else (found.passed, found.message)

        evidence = Evidence(
            self._compare,
            judged,
            differs,
            self._approvals(sandbox),
            context.author,
            forward_only=options.forward_only,
        )
        rules = context.environment_settings(environment.name).promote
        with shared_engine():
            return prepare(
                self._catalog,
                sandbox,
                environment,
                graph,
                rules,
                evidence,
                stale_inputs=rules.stale_inputs,
            )

    def _approvals(self, sandbox: Branch) -> list[Approval]:
        notes = self._catalog.notes("approval", f"{sandbox.id}/")
        return [
            Approval(str(n["by"]), datetime.fromisoformat(str(n["at"])), str(n["candidate"]))
            for n in notes.values()
        ]

    def _rehearse(
        self, runner: Runner, sandbox: Branch, environment: Branch, options: RunOptions
    ) -> PromotionResult:
        result = PromotionResult(environment.name, sandbox.name, "dry_run")
        result.clones = tuple(one.clone for one in self._context.clones.publishing(sandbox))
        if sandbox.base != environment.head:
            from anabranch.sandbox.lifecycle import plan_sync

            result.moved = plan_sync(self._catalog, sandbox, environment.head)
            return result
        options = self._with_refresh(runner, sandbox, environment, options)
        plan = self._plan(runner, sandbox, environment, options)
        if self._open_steps(plan, sandbox, environment, runner.workspace.graph.nodes, options):
            result.plan = plan
            return result
        prepared = self._prepare(runner, sandbox, environment, options)
        result.verdict, result.tables = prepared.verdict, tuple(prepared.changes)
        return result

    def _confirm(self, prepared: Prepared, *, protected: bool, yes: bool, confirm: Confirm | None) -> None:
        if not protected or yes:
            return
        name = prepared.environment.name
        if confirm is None:
            raise PromotionError(
                f"{name} is protected, and nobody has confirmed", hint="say --yes (in Python: yes=True)"
            )
        if not confirm(prepared):
            raise GateError(
                f"nothing was published into {name}: it was not confirmed", hint="the same command asks again"
            )


def _unmade(step: Step, entry: Entry | None) -> bool:
    """Whether partitions that older code made were there to be made when the sandbox ran, and it did not."""
    if step.partitions is None or entry is None:
        return False
    arrived = {*entry.provenance.partitions.get("arrived", ()), *entry.provenance.partitions.get("redo", ())}
    return any(
        reason.kind in ("code", "config", "distribution", "resource") and not arrived.issuperset(keys)
        for reason, keys in step.partitions.groups
    )
