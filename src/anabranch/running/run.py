"""A run from beginning to end: lease, plan, execution, commits, record.

On a sandbox each asset is committed as it completes, so that a failed run goes on where it stopped. On an environment a
run works on a branch of its own and publishes it in one commit when every step and every blocking check has passed:
readers see all of it or nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.catalog.base import (
    Branch,
    Commit,
    CommitRequest,
    Entry,
    Point,
    Provenance,
    RunRecord,
    RunState,
)
from anabranch.errors import ConflictError, GateError, MaskError, RefError
from anabranch.names import new_id, now
from anabranch.pipeline.check import CheckResult
from anabranch.pipeline.partition import told
from anabranch.planning.incremental import mark_of
from anabranch.planning.plan import Plan, Planner, Step
from anabranch.planning.world import World, is_masked
from anabranch.running.events import Event, EventLog
from anabranch.running.executor import Conditions, Executor
from anabranch.running.lease import hold, is_dead
from anabranch.running.lineage import Lineage, LineageConfig, Subject
from anabranch.running.merge import merge_partitions, needs_merge
from anabranch.running.outcome import CheckOutcome, Execution
from anabranch.running.prepare import Preparation, without_secrets
from anabranch.running.schedule import unknown_limits
from anabranch.running.step import StepTask
from anabranch.running.timeline import summary
from anabranch.running.workspace import RunOptions, RunResult

if TYPE_CHECKING:
    from anabranch.lake.storage import Scope


_RECENT = timedelta(hours=1)


class Runner(Preparation):
    """Plans and runs on branches of one catalog with one state of the code."""

    # running

    def run_sandbox(
        self, sandbox: Branch, environment: Branch, options: RunOptions, *, resources: str
    ) -> RunResult:
        """Runs on a sandbox; each asset is committed as it completes.

        Raises:
            LeaseError: another run is under way there.
            KeyboardInterrupt: passed on after everything was left sound.
        """
        from anabranch.lake.storage import Scope

        run_id = new_id()
        with hold(
            self.catalog,
            f"run:{sandbox.name}",
            f"run {run_id}",
            {"run": run_id, "branch": sandbox.id},
            wait=options.wait,
            on_wait=_waiter(options),
        ) as lease:
            self.mark_dead_runs(sandbox, lease=lease.token)
            sandbox = self.catalog.branch_by_id(sandbox.id)
            planner = self.planner(sandbox, environment, options, resources=resources)
            plan = planner.plan()
            guard = self.guard(planner.world, environment)
            for step in plan.with_action("run", "depends"):
                guard.asset(step.key)
                self.workspace.pipeline.definitions.admit(step.key)
            below = self.catalog.entries(sandbox.base_point) if sandbox.base_point is not None else {}

            def commit(entry: Entry, step: Step) -> None:
                back = below.get(entry.key)
                # Nothing new at the same place may still be made from something new.
                as_base = (
                    back is not None
                    and back.location == entry.location
                    and back.provenance.fingerprint == entry.provenance.fingerprint
                    and back.provenance.partitions == entry.provenance.partitions
                )
                before = planner.view.get(entry.key)
                self.catalog.commit(
                    CommitRequest(
                        branch=sandbox.id,
                        changes={} if as_base else {entry.key: entry},
                        drop=[entry.key] if as_base else [],
                        expect={} if as_base else {entry.key: before.version if before else None},
                        lease=lease.token,
                        kind="run",
                        message=f"reuse {entry.key} of {step.adopted}"
                        if step.adopted
                        else f"run {entry.key}",
                        run=run_id,
                        properties=_forward_only({entry.key: entry}),
                        **self._signature(),
                    )
                )

            scope = Scope.sandbox(str(sandbox.properties["storage"]))
            result = self._execute(
                run_id, sandbox, sandbox, planner, plan, options, resources, scope, commit, "sandbox"
            )
            pruned = self._prune(sandbox, plan, options, lease.token, run_id) if result.ok else ()
            head = self.catalog.branch_by_id(sandbox.id).head
            self.catalog.update_branch(sandbox.id, properties={"git_commit": self.workspace.git_commit})
            return self._finish(
                result, sandbox, pruned, f"{sandbox.name}@{head}" if head > sandbox.head else None
            )

    def run_environment(
        self,
        environment: Branch,
        options: RunOptions,
        *,
        resources: str,
        still_allowed: Callable[[Branch], None],
    ) -> RunResult:
        """Runs on an environment: on a branch of its own, published in one commit when everything has passed.

        Args:
            environment: The environment's branch.
            options: How to run.
            resources: Name of the resource set.
            still_allowed: Called with the environment's branch before each attempt to publish; raises if the code at
                hand may not be published there any more.

        Raises:
            LeaseError: another run is under way there.
            KeyboardInterrupt: passed on after everything was left sound.
        """
        from anabranch.lake.storage import Scope

        if is_masked(environment):
            raise MaskError(
                f"{environment.name} is a masked copy of {environment.properties['derived_from']}: nothing is run on it",
                hint=f"anabranch sync {environment.name} brings it up to date",
            )
        run_id = new_id()
        with hold(
            self.catalog,
            f"run:{environment.name}",
            f"run {run_id}",
            {"run": run_id, "branch": environment.id},
            wait=options.wait,
            on_wait=_waiter(options),
        ) as lease:
            self.mark_dead_runs(environment, lease=lease.token)
            environment = self.catalog.branch_by_id(environment.id)
            still_allowed(environment)
            branch, own_runs = self._run_branch(environment, run_id)
            branch, own_runs = self._continue(environment, branch, own_runs, options, resources, lease.token)
            while True:
                planner = self.planner(branch, environment, options, resources=resources, own_runs=own_runs)
                # What an earlier try has made is published with the rest, and so is judged with it.
                planner.selected |= set(self.catalog.own(branch.point))
                plan = planner.plan()
                if (
                    plan.nothing_to_do
                    and not self.catalog.own(branch.point)
                    and not (options.prune and plan.orphans)
                ):
                    self.catalog.close_branch(branch.id)
                    result = self._nothing(run_id, environment, planner, plan, options, resources)
                    return self._finish(result, environment, (), None)

                def commit(entry: Entry, step: Step, branch: Branch = branch) -> None:
                    self.catalog.commit(
                        CommitRequest(
                            branch=branch.id,
                            changes={entry.key: entry},
                            lease=lease.token,
                            kind="run",
                            message=f"reuse {entry.key} of {step.adopted}"
                            if step.adopted
                            else f"run {entry.key}",
                            run=run_id,
                            **self._signature(),
                        )
                    )

                _check_mixture(environment, plan, options)
                result = self._execute(
                    run_id,
                    environment,
                    branch,
                    planner,
                    plan,
                    options,
                    resources,
                    Scope.environment(),
                    commit,
                    "environment",
                )
                if not result.ok:
                    return self._finish(result, environment, (), None)
                branch = self.catalog.branch_by_id(branch.id)
                pruned = tuple(plan.orphans) if options.prune else ()
                try:
                    published = self._publish(environment, branch, result, pruned, lease.token)
                except ConflictError:
                    # A promotion has landed meanwhile: what it made necessary runs on top of it, nothing else.
                    environment = self.catalog.branch_by_id(environment.id)
                    still_allowed(environment)
                    self.catalog.commit(
                        CommitRequest(
                            branch=branch.id,
                            changes=self._merged(branch, environment),
                            base=environment.head,
                            kind="sync",
                            message=f"sync to commit {environment.head}",
                            run=run_id,
                        )
                    )
                    branch = self.catalog.branch_by_id(branch.id)
                    own_runs |= {run_id}
                    continue
                options.listen(Event("published", data={"commit": published.ref, "keys": published.keys}))
                return self._finish(result, environment, pruned, published.ref)

    def _merged(self, branch: Branch, environment: Branch) -> dict[str, Entry]:
        """Own tables of which somebody has published further partitions meanwhile, with these in them."""
        from anabranch.lake.storage import Scope

        assert branch.base is not None
        own = {key: entry for key, entry in self.catalog.own(branch.point).items() if entry is not None}
        old = self.catalog.entries(Point(environment.id, branch.base), own)
        new = self.catalog.entries(environment.point, own)
        storage = self.place.storage(Scope.environment())
        return {
            key: merge_partitions(storage, entry, old[key], new[key])
            for key, entry in own.items()
            if needs_merge(entry, old.get(key), new.get(key))
        }

    def _run_branch(self, environment: Branch, run_id: str) -> tuple[Branch, frozenset[str]]:
        """The branch of a run that failed here before and still stands on the environment's head, or a new one."""
        for branch in self.catalog.branches(kind="run"):
            if branch.parent != environment.id:
                continue
            runs = frozenset(branch.properties.get("runs", ()))
            if branch.base == environment.head:
                self.catalog.update_branch(branch.id, properties={"runs": sorted({*runs, run_id})})
                return branch, runs
            self.catalog.close_branch(branch.id)
        branch = self.catalog.open_branch(
            f"{environment.name}.run-{run_id}",
            kind="run",
            parent=environment.point,
            properties={"environment": environment.name, "runs": [run_id]},
            message=f"run on {environment.name}@{environment.head}",
            **self._signature(),
        )
        return branch, frozenset()

    def _continue(
        self,
        environment: Branch,
        branch: Branch,
        earlier: frozenset[str],
        options: RunOptions,
        resources: str,
        token: str,
    ) -> tuple[Branch, frozenset[str]]:
        """What this run takes over of one that failed; the rest is given up, so that it is not published with it.

        Given up is what this run was not asked for, what the code no longer makes, and what was fetched on a schedule by
        a try that is an hour old or whose data failed a check: the outside may have mended it by now.

        Returns:
            The branch as it is then, and the runs whose fetches count as fetched now.
        """
        own = self.catalog.own(branch.point)
        if not own:
            return branch, earlier
        graph = self.workspace.graph
        asked = self.planner(environment, environment, options, resources=resources, observe=False)
        # A check that the newest try failed may have judged what an older one fetched.
        newest = self._fetched_well(max(earlier, default=""))
        recent = frozenset(run for run in earlier if newest and self._fetched_well(run))
        drop = [
            key
            for key, entry in own.items()
            if key not in graph
            or key not in asked.selected
            or key in asked.refresh
            or (
                graph[key].refresh in ("always", "every")
                and entry is not None
                and entry.provenance.run not in recent
            )
        ]
        if drop:
            self.catalog.commit(
                CommitRequest(
                    branch=branch.id,
                    drop=drop,
                    lease=token,
                    kind="sync",
                    message=f"give up {', '.join(drop)}",
                    **self._signature(),
                )
            )
        return self.catalog.branch_by_id(branch.id), recent

    def _fetched_well(self, run: str) -> bool:
        """Whether what a failed run has fetched is recent and failed no check."""
        try:
            record = self.catalog.get_run(run)
        except RefError:
            return False
        failed = [c for c in record.properties.get("checks", ()) if c["blocking"] and not c["passed"]]
        return not failed and now() - record.started_at < _RECENT

    def _publish(
        self, environment: Branch, branch: Branch, result: RunResult, pruned: Sequence[str], token: str
    ) -> Commit:
        changes: dict[str, Entry | None] = {
            k: e for k, e in self.catalog.own(branch.point).items() if e is not None
        }
        changes |= dict.fromkeys(pruned)
        ran = [o for o in result.execution.outcomes.values() if o.state == "ran"]
        return self.catalog.commit(
            CommitRequest(
                branch=environment.id,
                changes=changes,
                expect_head=branch.base,
                lease=token,
                idempotency_key=f"run:{branch.id}",
                kind="run",
                message=_message([o.key for o in ran] or sorted(changes)),
                run=result.id,
                properties={
                    "seconds": round(result.seconds, 3),
                    "ran": [o.key for o in ran],
                    "checks": {c.id: c.passed for c in result.execution.checks.values()},
                    **_forward_only(changes),
                },
                branch_properties={"held": None},
                close=[branch.id],
                **self._signature(),
            )
        )

    def _nothing(
        self,
        run_id: str,
        environment: Branch,
        planner: Planner,
        plan: Plan,
        options: RunOptions,
        resources: str,
    ) -> RunResult:
        """A run with no step still runs checks that have never judged this state."""
        from anabranch.lake.storage import Scope

        def commit(entry: Entry, step: Step) -> None:
            raise AssertionError(f"{entry.key} was to be written though {step.action}")

        return self._execute(
            run_id,
            environment,
            environment,
            planner,
            plan,
            options,
            resources,
            Scope.read_only(),
            commit,
            "environment",
        )

    def _prune(
        self, branch: Branch, plan: Plan, options: RunOptions, token: str, run_id: str
    ) -> tuple[str, ...]:
        if not options.prune or not plan.orphans:
            return ()
        self.catalog.commit(
            CommitRequest(
                branch=branch.id,
                changes=dict.fromkeys(plan.orphans),
                lease=token,
                kind="run",
                message=f"remove {', '.join(plan.orphans)}",
                run=run_id,
                **self._signature(),
            )
        )
        return plan.orphans

    def check(self, branch: Branch, options: RunOptions, *, resources: str, fresh: bool = False) -> Execution:
        """Runs the checks alone, on what the branch holds now. Known results are used unless ``fresh``."""
        from anabranch.lake.storage import Scope

        graph = self.workspace.graph
        view = self.catalog.entries(branch.point)
        world = (
            World() if branch.parent is None else self.world(branch, self.catalog.branch_by_id(branch.parent))
        )
        planner = Planner(graph, view, target=branch.name, pinned=True, now=now(), selected=(), world=world)
        wanted = graph.select(options.select)
        checks = [check for check in graph.checks if check.asset in wanted]
        missing = sorted({key for check in checks for key in check.inputs if key not in view})
        if missing:
            raise RefError(f"{missing[0]} is not built on {branch.name}", hint="anabranch run builds it")
        plan = planner.plan()
        with self._pool(options, resources, 1 if fresh and checks else 0) as pool:
            conditions = self._conditions(
                self._template(resources, Scope.read_only(), options),
                new_id(),
                options,
                resources,
                lambda *_: None,
                branch,
            )
            conditions.admit = self.guard(world, self._below(branch)).task
            if fresh:
                conditions.known_check = lambda _: None
            return Executor(
                planner, self.workspace.pipeline, pool, conditions, checks=[check.id for check in checks]
            ).execute(plan)

    def _below(self, branch: Branch) -> Branch:
        """The environment that a sandbox stands on; an environment itself."""
        return branch if branch.parent is None else self.catalog.branch_by_id(branch.parent)

    def known_check(self, fingerprint: str) -> CheckResult | None:
        """A check's result on exactly these versions, if it was ever judged."""
        note = self.catalog.get_note("check", fingerprint)
        if note is None or note.get("crashed"):
            return None
        return CheckResult(
            passed=bool(note["passed"]),
            message=str(note["message"]),
            failing=note.get("failing"),
            rows=note.get("rows"),
            samples=tuple(note.get("samples", ())),
        )

    # the machinery

    def _execute(
        self,
        run_id: str,
        target: Branch,
        branch: Branch,
        planner: Planner,
        plan: Plan,
        options: RunOptions,
        resources: str,
        scope: Scope,
        commit: Callable[[Entry, Step], None],
        kind: str,
    ) -> RunResult:
        started = time.perf_counter()
        logs = self.place.folder / "runs" / run_id
        events = EventLog(logs / "events.jsonl")

        lineage: Lineage | None = None

        def listen(event: Event) -> None:
            events(event)
            if lineage is not None:
                lineage(event)
            # A face that fails must not fail the run.
            with contextlib.suppress(Exception):
                options.listen(event)

        record = RunRecord(
            run_id,
            target.id,
            branch.id,
            "running",
            now(),
            git_commit=self.workspace.git_commit,
            definitions=self.workspace.graph.definitions,
            properties={"author": self.workspace.author, "select": list(options.select), "pid": os.getpid()},
        )
        self.catalog.put_run(record)
        result = RunResult(run_id, planner.target, kind, "running", plan, logs=str(logs))
        if options.lineage is not None:
            lineage = self._lineage(options.lineage, record, target, result, resources)
        for tag in unknown_limits(
            options.limits, (node.tags for node in self.workspace.graph.nodes.values())
        ):
            told = f"the limit of the tag {tag} holds for no asset: none carries it"
            result.warnings += (told,)
            listen(Event("warning", data={"message": told, "place": f"run.limits.{tag}"}))
        listen(
            Event(
                "run_started",
                data={
                    "run": run_id,
                    "target": planner.target,
                    "plan": {k: s.action for k, s in plan.steps.items()},
                },
            )
        )
        state: RunState = "interrupted"
        failure: dict[str, Any] | None = None
        try:
            # What may turn out to be known already starts its worker when it is needed.
            with self._pool(options, resources, len(plan.with_action("run"))) as pool:
                template = replace(self._template(resources, scope, options), run=str(logs))
                conditions = self._conditions(template, run_id, options, resources, commit, branch)
                conditions.listen = listen
                conditions.admit = self.guard(planner.world, self._below(target)).task
                executor = Executor(planner, self.workspace.pipeline, pool, conditions)
                executor.result = result.execution
                executor.execute(plan)
            state = "succeeded" if result.execution.ok else "failed"
        except Exception as error:
            state, failure = "failed", {"type": type(error).__name__, "message": str(error)}
            raise
        finally:
            result.state = state
            result.seconds = time.perf_counter() - started
            listen(
                Event(
                    "run_finished",
                    data={
                        "run": run_id,
                        "state": state,
                        "seconds": round(result.seconds, 3),
                        "error": failure or _failure(result),
                    },
                )
            )
            if lineage is not None and (trouble := lineage.close()) is not None:
                told = f"lineage was not sent, or not all of it: {trouble}"
                result.warnings += (told,)
                listen(Event("warning", data={"message": told, "place": "openlineage"}))
            events.close()
            self.catalog.put_run(
                replace(
                    record,
                    state=state,
                    finished_at=now(),
                    properties={**record.properties, **_summary(result), "error": failure},
                )
            )
        return result

    def _lineage(
        self,
        config: LineageConfig,
        record: RunRecord,
        target: Branch,
        result: RunResult,
        resources: str,
    ) -> Lineage:
        from anabranch.lake.storage import SANDBOXES

        place, pipeline = self.place, self.workspace.pipeline
        storage = place.storage()
        key = config.api_key or os.environ.get("OPENLINEAGE_API_KEY", "")
        secrets = [*self._secrets(resources), key]
        environment, own = result.target, None
        if target.kind == "sandbox" and target.parent is not None:
            environment = self.catalog.branch_by_id(target.parent).name
            own = f"{place.warehouse}/{SANDBOXES}/{target.properties['storage']}"

        def columns(key: str, location: str) -> list[tuple[str, str, str | None]]:
            from anabranch.lake.tables import Table

            table = Table(key, location, storage)
            docs = {field["name"]: field.get("doc") for field in table.current_schema["fields"]}
            return [(field.name, str(field.type), docs.get(field.name)) for field in table.schema]

        return Lineage(
            config,
            Subject(
                record.id,
                record.started_at,
                result.target,
                environment,
                place.warehouse,
                own,
                self.workspace.graph,
                {key: bound.asset.query for key, bound in pipeline.assets.items() if bound.asset.query},
                result.execution.outcomes,
                result.execution.checks,
                columns,
                lambda text: without_secrets(text, secrets),
            ),
        )

    def _conditions(
        self,
        template: StepTask,
        run_id: str,
        options: RunOptions,
        resources: str,
        commit: Callable[[Entry, Step], None],
        branch: Branch,
    ) -> Conditions:
        logs = self.place.folder / "runs" / run_id
        pipeline = self.workspace.pipeline
        held = pipeline.definitions.resource_set(resources)
        secrets = self._secrets(resources)

        def digests(key: str) -> dict[str, str]:
            return {
                name: held[name].digest() for name in sorted(pipeline.assets[key].resources()) if name in held
            }

        def keep(outcome: CheckOutcome) -> None:
            found = outcome.result
            if found is None:
                # What it found earlier must not stand for what it could not find now.
                if self.catalog.get_note("check", outcome.fingerprint) is not None:
                    self.catalog.put_note(
                        "check", outcome.fingerprint, {"check": outcome.id, "crashed": True}
                    )
                return
            self.catalog.put_note(
                "check",
                outcome.fingerprint,
                {
                    "check": outcome.id,
                    "passed": found.passed,
                    "message": found.message,
                    "failing": found.failing,
                    "rows": found.rows,
                    "samples": [dict(sample) for sample in found.samples],
                },
            )

        return Conditions(
            template=template,
            commit=commit,
            provenance=Provenance(
                run=run_id,
                git_commit=self.workspace.git_commit,
                dirty=bool(self.workspace.dirty),
                environment=str(branch.properties.get("environment", branch.name))
                if branch.kind == "run"
                else branch.name,
            ),
            known_check=self.known_check,
            keep_check=keep,
            resources=digests,
            log=lambda key, attempt: None if options.in_process else str(logs / log_name(key, attempt)),
            after=lambda path: _scrub(path, secrets),
            clean=lambda text: without_secrets(text, secrets),
            listen=options.listen,
            fail_fast=options.fail_fast,
            timeout=options.timeout,
            retry=options.retry,
            limits=options.limits,
            memory=None if options.in_process else options.memory,
        )

    def _signature(self) -> dict[str, Any]:
        space = self.workspace
        return {
            "author": space.author,
            "git_commit": space.git_commit,
            "definitions": space.graph.definitions,
        }

    def mark_dead_runs(self, target: Branch, *, lease: str | None = None) -> None:
        """Ends the records of runs that still say running though their process is gone.

        Args:
            target: The environment or sandbox.
            lease: Token of its lease, if the caller holds it; else nothing is done while somebody alive does.
        """
        name = f"run:{target.name}"
        if lease is None and any(held.name == name and not is_dead(held) for held in self.catalog.leases()):
            return
        for run in self.catalog.runs(target=target.id, limit=20):
            if run.state == "running":
                self.catalog.put_run(replace(run, state="interrupted", finished_at=now()))

    def _finish(
        self, result: RunResult, target: Branch, pruned: Sequence[str], commit: str | None
    ) -> RunResult:
        result.pruned = tuple(pruned)
        result.commit = commit
        record = self.catalog.get_run(result.id)
        self.catalog.put_run(
            replace(record, target=target.id, properties={**record.properties, "commit": commit})
        )
        return result


def _check_mixture(environment: Branch, plan: Plan, options: RunOptions) -> None:
    """Raises GateError where an environment's table would hold partitions of different code, and nobody said so."""
    if options.forward_only:
        return
    for step in plan.steps.values():
        work = step.partitions
        if work is not None and work.run and work.old:
            raise GateError(
                f"{step.key} of {environment.name} would be a mixture: {len(work.old):,} of its partitions would stay as older "
                f"code made them ({told(work.old, work.order)})",
                hint="leave --partitions out to make all of them, or say --forward-only",
                asset=step.key,
            )


def _summary(result: RunResult) -> dict[str, Any]:
    return {
        "seconds": round(result.seconds, 3),
        "assets": [outcome.to_dict() for outcome in result.execution.outcomes.values()],
        "checks": [check.to_dict() for check in result.execution.checks.values()],
        "warnings": list(result.warnings),
        "timeline": summary(result.execution.timeline),
        "reasons": {
            k: [str(r) for r in s.reasons] for k, s in result.plan.steps.items() if s.action != "reuse"
        },
    }


def _forward_only(changes: Mapping[str, Entry | None]) -> dict[str, Any]:
    """For a commit's properties: the tables that still hold rows of older code, if there are some."""
    marked = {key: list(codes) for key, entry in changes.items() if (codes := mark_of(entry))}
    return {"forward_only": marked} if marked else {}


def _failure(result: RunResult) -> dict[str, Any] | None:
    """Why a run has failed, in a sentence."""
    execution = result.execution
    names = [o.key for o in execution.failed] + [c.id for c in execution.failed_checks]
    if not names:
        return None
    return {
        "type": "RunError",
        "message": f"{', '.join(names[:10])}{' and others' if len(names) > 10 else ''} failed",
    }


def _waiter(options: RunOptions) -> Callable[[str], None]:
    """Tells whoever listens for whom a run waits."""

    def tell(holder: str) -> None:
        # A face that fails must not fail the run.
        with contextlib.suppress(Exception):
            options.listen(Event("run_waiting", data={"holder": holder}))

    return tell


def _message(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:4])
    return f"run {shown}" + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")


def log_name(key: str, attempt: int) -> str:
    """The file in a run's folder that took what a step has printed."""
    name = key.replace(":", "-").replace("/", "-")
    return f"{name}.log" if attempt == 1 else f"{name}.{attempt}.log"


def _scrub(path: str | None, secrets: Sequence[str]) -> None:
    """Takes the values of secrets out of a step's log."""
    if path is None or not any(secrets) or not Path(path).exists():
        return
    text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    clean = without_secrets(text, secrets)
    if clean != text:
        Path(path).write_text(clean, encoding="utf-8", errors="surrogateescape")
