"""A run from beginning to end: lease, plan, execution, commits, record.

On a sandbox each asset is committed as it completes, so that a failed run goes on where it stopped. On an environment a
run works on a branch of its own and publishes it in one commit when every step and every blocking check has passed:
readers see all of it or nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.catalog.base import (
    Branch,
    Catalog,
    Commit,
    CommitRequest,
    Entry,
    Found,
    Provenance,
    RunRecord,
    RunState,
)
from anabranch.errors import ConflictError, RefError, StepError
from anabranch.names import new_id, now
from anabranch.pipeline.check import CheckResult
from anabranch.pipeline.definitions import Pipeline
from anabranch.pipeline.graph import Graph
from anabranch.pipeline.resource import HIDDEN
from anabranch.planning.plan import Plan, Planner, Step
from anabranch.running.events import Event, EventLog, Listener
from anabranch.running.executor import CheckOutcome, Conditions, Execution, Executor
from anabranch.running.lease import hold
from anabranch.running.step import StepTask
from anabranch.running.worker import InlinePool, Pool, ProcessPool, Progress, Project

if TYPE_CHECKING:
    from anabranch.lake.storage import Scope


@dataclass(frozen=True)
class Workspace:
    """The code at hand, loaded.

    Attributes:
        project: What workers need to load the same.
        pipeline: The bound definitions.
        graph: The same as plain values.
        git_commit: The commit that is checked out; None on an unborn branch.
        dirty: Files with uncommitted edits.
        author: As git names people.
    """

    project: Project
    pipeline: Pipeline
    graph: Graph
    git_commit: str | None
    dirty: tuple[str, ...]
    author: str


@dataclass(frozen=True)
class Place:
    """Where results are kept.

    Attributes:
        catalog: The versioned map.
        warehouse: URI.
        properties: Resolved properties of the warehouse.
        folder: The project's ``.anabranch`` folder: logs and caches.
    """

    catalog: Catalog
    warehouse: str
    properties: Mapping[str, str]
    folder: Path


@dataclass(frozen=True)
class RunOptions:
    """How to run.

    Attributes:
        select: Words that name assets; none: all.
        force: Run the selected whatever stands.
        refresh: Sources to fetch again; ``("*",)``: all sources.
        workers: Worker processes; None: one for each processor.
        in_process: Run the steps in this process, for a debugger.
        prune: Remove tables whose asset is no longer in the code.
        fail_fast: Start nothing more after a failure.
        listen: Told of every event.
        timeout: How long a step may take, where its asset does not say.
        retries: How often a failed step is tried again, where its asset does not say.
    """

    select: Sequence[str] = ()
    force: bool = False
    refresh: Sequence[str] = ()
    workers: int | None = None
    in_process: bool = False
    prune: bool = False
    fail_fast: bool = False
    listen: Listener = lambda _: None
    timeout: timedelta | None = None
    retries: int = 0


@dataclass
class RunResult:
    """What came of a run.

    Attributes:
        id: The run's id; ``anabranch show ID`` tells more.
        target: Name of the environment or sandbox.
        kind: environment or sandbox.
        state: succeeded, failed or interrupted.
        plan: What was planned.
        execution: What was done.
        commit: Ref of the commit that published it, or of the sandbox's newest one; None if nothing was written.
        seconds: What it took.
        logs: Folder of the steps' logs.
    """

    id: str
    target: str
    kind: str
    state: RunState
    plan: Plan
    execution: Execution = field(default_factory=Execution)
    commit: str | None = None
    seconds: float = 0.0
    logs: str = ""
    pruned: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything passed."""
        return self.state == "succeeded"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "run": self.id,
            "target": self.target,
            "kind": self.kind,
            "state": self.state,
            "commit": self.commit,
            "seconds": round(self.seconds, 3),
            "assets": [outcome.to_dict() for outcome in self.execution.outcomes.values()],
            "checks": [check.to_dict() for check in self.execution.checks.values()],
            "pruned": list(self.pruned),
            "plan": self.plan.to_dict(),
        }


class Runner:
    """Plans and runs on branches of one catalog with one state of the code."""

    def __init__(self, place: Place, workspace: Workspace) -> None:
        self.place = place
        self.catalog = place.catalog
        self.workspace = workspace

    # planning

    def planner(
        self,
        branch: Branch,
        environment: Branch,
        options: RunOptions,
        *,
        resources: str,
        own_runs: frozenset[str] = frozenset(),
        observe: bool = True,
    ) -> Planner:
        """A planner for a branch as it stands.

        Args:
            branch: A sandbox, or a run's branch of an environment, or the environment itself.
            environment: The environment that it belongs to.
            options: Selection, force, refresh.
            resources: Name of the resource set.
            own_runs: Runs that this one continues: what they fetched is not fetched again.
            observe: Whether sources may be asked for their outside version now.
        """
        graph = self.workspace.graph
        view = self.catalog.entries(branch.point)
        planner = Planner(
            graph,
            view,
            target=branch.name if branch.kind != "run" else environment.name,
            pinned=branch.kind == "sandbox",
            now=now(),
            force=options.force,
            refresh=self._sources(options.refresh),
            lookup=self._lookup(branch, environment),
            own_runs=own_runs,
        )
        if options.select:
            planner.selected = graph.select(options.select, changed=planner.changed)
        if observe and (asked := planner.to_observe()):
            planner.observed = self._observe(asked, resources, options)
        return planner

    def _sources(self, words: Sequence[str]) -> set[str]:
        graph = self.workspace.graph
        roots = {key for key in graph if not graph[key].inputs and graph[key].kind == "python"}
        if "*" in words:
            return {key for key in roots if graph[key].refresh != "code"} or roots
        return graph.select(words) if words else set()

    def _lookup(self, branch: Branch, environment: Branch) -> Callable[[str], Found | None]:
        """Finds results on refs that the branch trusts: its environment, and for a sandbox its sister sandboxes."""
        families: dict[int, bool] = {}

        def trusted(found: Found) -> bool:
            if found.branch_id in (branch.id, environment.id):
                return True
            if found.branch_id not in families:
                other = self.catalog.branch_by_id(found.branch_id)
                family = other.parent == environment.id
                families[found.branch_id] = family and (other.kind == "run" or branch.kind == "sandbox")
            return families[found.branch_id]

        def lookup(fingerprint: str) -> Found | None:
            candidates = [found for found in self.catalog.find(fingerprint) if trusted(found)]
            # What the environment itself holds goes first: the sandbox then differs from it in nothing.
            candidates.sort(
                key=lambda found: (found.branch_id != environment.id, found.branch_id != branch.id)
            )
            return candidates[0] if candidates else None

        return lookup

    def _observe(self, keys: Sequence[str], resources: str, options: RunOptions) -> dict[str, str]:
        """Asks sources for their outside version, in worker processes. Raises StepError if one can't tell."""
        from anabranch.lake.storage import Scope

        found: dict[str, str] = {}
        with self._pool(options, resources, len(keys)) as pool:
            waiting = list(keys)
            while waiting or len(found) < len(keys):
                while waiting and pool.free > 0:
                    task = replace(
                        self._template(resources, Scope.read_only()), kind="observe", key=waiting.pop(0)
                    )
                    pool.submit(task)
                for result in pool.wait(1.0):
                    if isinstance(result, Progress):
                        continue
                    if not result.ok or result.outside is None:
                        error = dict(result.error or {})
                        raise StepError(
                            f"observing {result.key} failed: {error.get('message')}",
                            place=error.get("place"),
                            hint=error.get("hint"),
                            asset=result.key,
                            traceback=error.get("traceback", ""),
                        )
                    found[result.key] = result.outside
        return found

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
            self.catalog, f"run:{sandbox.name}", f"run {run_id}", {"run": run_id, "branch": sandbox.id}
        ) as lease:
            sandbox = self.catalog.branch_by_id(sandbox.id)
            planner = self.planner(sandbox, environment, options, resources=resources)
            plan = planner.plan()
            below = self.catalog.entries(sandbox.base_point) if sandbox.base_point is not None else {}

            def commit(entry: Entry, step: Step) -> None:
                back = below.get(entry.key)
                as_base = back is not None and back.location == entry.location
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

        run_id = new_id()
        with hold(
            self.catalog,
            f"run:{environment.name}",
            f"run {run_id}",
            {"run": run_id, "branch": environment.id},
        ) as lease:
            self._mark_dead_runs(environment)
            environment = self.catalog.branch_by_id(environment.id)
            still_allowed(environment)
            branch, own_runs = self._run_branch(environment, run_id)
            while True:
                planner = self.planner(branch, environment, options, resources=resources, own_runs=own_runs)
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
        planner = Planner(graph, view, target=branch.name, pinned=True, now=now(), selected=())
        wanted = graph.select(options.select)
        checks = [check for check in graph.checks if check.asset in wanted]
        missing = sorted({key for check in checks for key in check.inputs if key not in view})
        if missing:
            raise RefError(f"{missing[0]} is not built on {branch.name}", hint="anabranch run builds it")
        plan = planner.plan()
        with self._pool(options, resources, len(checks)) as pool:
            conditions = self._conditions(
                self._template(resources, Scope.read_only()),
                new_id(),
                options,
                resources,
                lambda *_: None,
                branch,
            )
            if fresh:
                conditions.known_check = lambda _: None
            return Executor(
                planner, self.workspace.pipeline, pool, conditions, checks=[check.id for check in checks]
            ).execute(plan)

    def known_check(self, fingerprint: str) -> CheckResult | None:
        """A check's result on exactly these versions, if it was ever judged."""
        note = self.catalog.get_note("check", fingerprint)
        if note is None:
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

        def listen(event: Event) -> None:
            events(event)
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
            size = len(plan.with_action("run", "depends")) + len(self.workspace.graph.checks)
            with self._pool(options, resources, size) as pool:
                conditions = self._conditions(
                    self._template(resources, scope), run_id, options, resources, commit, branch
                )
                conditions.listen = listen
                executor = Executor(planner, self.workspace.pipeline, pool, conditions)
                result.execution = executor.result
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
                    "run_finished", data={"run": run_id, "state": state, "seconds": round(result.seconds, 3)}
                )
            )
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
        secrets = [os.environ.get(name, "") for name in pipeline.definitions.variables(resources)]

        def digests(key: str) -> dict[str, str]:
            return {
                name: held[name].digest() for name in sorted(pipeline.assets[key].resources()) if name in held
            }

        def keep(outcome: CheckOutcome) -> None:
            assert outcome.result is not None
            found = outcome.result
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
            clean=lambda text: _without_secrets(text, secrets),
            listen=options.listen,
            fail_fast=options.fail_fast,
            timeout=options.timeout,
            retries=options.retries,
        )

    def _template(self, resources: str, scope: Scope) -> StepTask:
        processors = os.cpu_count() or 1
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return StepTask(
            "asset",
            "",
            resources=resources,
            warehouse=self.place.warehouse,
            properties=self.place.properties,
            scope=scope,
            threads=processors,
            memory=int(total * 0.35),
        )

    @contextlib.contextmanager
    def _pool(self, options: RunOptions, resources: str, size: int) -> Iterator[Pool]:
        foreign = tuple(sorted(self.workspace.pipeline.definitions.foreign_variables(resources)))
        pool: Pool
        if options.in_process:
            pool = InlinePool(self.workspace.pipeline, self.workspace.project.root, foreign)
        else:
            processes = ProcessPool(
                replace(self.workspace.project, foreign=foreign), options.workers or os.cpu_count() or 1
            )
            processes.warm(min(size, 1))
            pool = processes
        try:
            yield pool
        finally:
            pool.close()

    def _signature(self) -> dict[str, Any]:
        space = self.workspace
        return {
            "author": space.author,
            "git_commit": space.git_commit,
            "definitions": space.graph.definitions,
        }

    def _mark_dead_runs(self, environment: Branch) -> None:
        """Run records that still say running though we hold the lease: their process is gone."""
        for run in self.catalog.runs(target=environment.id, limit=20):
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


def _summary(result: RunResult) -> dict[str, Any]:
    return {
        "seconds": round(result.seconds, 3),
        "assets": [outcome.to_dict() for outcome in result.execution.outcomes.values()],
        "checks": [check.to_dict() for check in result.execution.checks.values()],
        "reasons": {
            k: [str(r) for r in s.reasons] for k, s in result.plan.steps.items() if s.action != "reuse"
        },
    }


def _message(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:4])
    return f"run {shown}" + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")


def log_name(key: str, attempt: int) -> str:
    """The file in a run's folder that took what a step has printed."""
    name = key.replace(":", "-").replace("/", "-")
    return f"{name}.log" if attempt == 1 else f"{name}.{attempt}.log"


def _without_secrets(text: str, secrets: Sequence[str]) -> str:
    # A secret of three letters would take half the words with it.
    for secret in sorted({s for s in secrets if len(s) >= 4}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _scrub(path: str | None, secrets: Sequence[str]) -> None:
    """Takes the values of secrets out of a step's log."""
    if path is None or not any(secrets) or not Path(path).exists():
        return
    text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    clean = _without_secrets(text, secrets)
    if clean != text:
        Path(path).write_text(clean, encoding="utf-8", errors="surrogateescape")
