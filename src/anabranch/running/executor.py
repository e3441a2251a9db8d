"""Carries a plan out: each asset when its inputs are there, several at once, every result handed over as it completes.

The executor decides nothing by itself: it asks the planner again for each asset as versions become known, and hands
entries to its caller, who commits them. So it serves a sandbox (each asset is committed as it completes) and an
environment (each goes to the run's own branch) alike. Whatever ends it, what was handed over stays handed over.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from anabranch.catalog.base import Entry, Provenance
from anabranch.columns import descriptions
from anabranch.dataclass import dataclass, field
from anabranch.lake.columns import RECORDED
from anabranch.pipeline.check import CheckResult
from anabranch.pipeline.definitions import Pipeline
from anabranch.pipeline.graph import CheckNode, Graph, Node
from anabranch.pipeline.incremental import CONSUMED, DECLARED, MARK, declaration
from anabranch.pipeline.partition import told
from anabranch.planning.plan import Plan, Planner, Step
from anabranch.planning.reads import READ, read_record
from anabranch.planning.world import sample_of, sample_text
from anabranch.running.cut import Cut, shards
from anabranch.running.events import Event, Listener
from anabranch.running.increments import StepIncrement
from anabranch.running.io import Source
from anabranch.running.outcome import CheckOutcome, Execution, Outcome, State, check_fingerprint
from anabranch.running.parts import Parts
from anabranch.running.retry import RetryPolicy
from anabranch.running.schedule import Demand, Schedule
from anabranch.running.step import StepResult, StepTask
from anabranch.running.timeline import Bar, BarState
from anabranch.running.worker import Pool, Progress

FACTS = "facts"
"""Where an entry's provenance keeps what its step has told besides."""


@dataclass
class Conditions:
    """What every step of a run is told, and who is told of the steps.

    Attributes:
        template: The fields of `StepTask` that all steps share.
        admit: Called with each task before it starts; raises where its world does not take it.
        commit: Called with each new or adopted entry, in order: none before those that it was made from.
        known_check: Fingerprint → a result that is known already, or None.
        keep_check: Called with each check's outcome that was not known; one without a result takes back an earlier one.
        provenance: The fields of `Provenance` that all entries share.
        resources: Asset → digests of the resources it was made with.
        log: ``key, attempt`` → path of the step's log, or None.
        after: Called with a step's log when the step is over.
        clean: Takes secrets out of a text.
        listen: Told of every event.
        fail_fast: Whether to start nothing more after a failure.
        timeout: How long a step may take, where its asset does not say.
        retry: Whether and when a failed step is tried again, where its asset does not say.
        limits: Tag → how many steps whose asset carries it run at a time.
        memory: Bytes that the steps under way may take together, by their recorded peaks; None: any.
    """

    template: StepTask
    commit: Callable[[Entry, Step], None]
    provenance: Provenance
    admit: Callable[[StepTask], None] = lambda _: None
    known_check: Callable[[str], CheckResult | None] = lambda _: None
    keep_check: Callable[[CheckOutcome], None] = lambda _: None
    resources: Callable[[str], Mapping[str, str]] = lambda _: {}
    log: Callable[[str, int], str | None] = lambda _key, _attempt: None
    after: Callable[[str | None], None] = lambda _: None
    clean: Callable[[str], str] = lambda text: text
    listen: Listener = lambda _: None
    fail_fast: bool = False
    timeout: timedelta | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limits: Mapping[str, int] = field(default_factory=dict)
    memory: int | None = None


@dataclass(frozen=True)
class _Retry:
    """A step that failed, and is tried again when its pause is over."""

    due: float
    task: StepTask
    step: Step | None
    failed: StepResult


class Executor:
    """Runs one plan. Use it once.

    Args:
        planner: Decides each step; see `Planner.decide`.
        pipeline: The bound definitions: retries, timeouts, queries.
        pool: Runs the steps; the caller closes it.
        conditions: What all steps share.
        checks: Which checks to run; None: all that read an asset that is selected.
    """

    def __init__(
        self,
        planner: Planner,
        pipeline: Pipeline,
        pool: Pool,
        conditions: Conditions,
        *,
        checks: Collection[str] | None = None,
    ) -> None:
        self.planner = planner
        self.graph: Graph = planner.graph
        self.pipeline = pipeline
        self.pool = pool
        self.conditions = conditions
        self.result = Execution()
        self._entries: dict[str, Entry] = {}
        wanted = (
            {c.id for c in self.graph.checks if not planner.selected.isdisjoint(c.inputs)}
            if checks is None
            else set(checks)
        )
        # A check that compares with what is neither built nor selected can't be run, and keeps nobody waiting.
        there = planner.selected | set(planner.view)
        self._checks = {c.id: c for c in self.graph.checks if c.id in wanted and there.issuperset(c.inputs)}
        self._schedule = Schedule(conditions.limits, conditions.memory)
        self._offered: list[str] = []
        self._made: list[tuple[Entry, Step]] = []
        self._zero = time.perf_counter()
        self._ready_at: dict[str, float] = {}
        self._begun: dict[str, tuple[float, int]] = {}
        self._later: dict[str, _Retry] = {}
        self._deadlines: dict[str, float] = {}
        self._running: dict[str, tuple[StepTask, Step | None]] = {}
        self._settled: set[str] = set()
        self._queued: set[str] = set()
        self._due: set[str] = set()
        self._worked: set[str] = set()
        self._rank: dict[str, float] = {}
        self._waits: dict[str, list[str]] = {}
        self._cuts: dict[str, Cut] = {}
        self._cut_steps: dict[str, Step] = {}
        self._shards: dict[str, tuple[StepTask, Step]] = {}

    def execute(self, plan: Plan) -> Execution:
        """Runs until nothing more can be done. KeyboardInterrupt passes through; the caller closes the pool."""
        self._zero = time.perf_counter()
        self._rank = self._critical_path(plan)
        self._waits = self._gates()
        self._offer(self.graph)
        while True:
            self._start()
            # The workers go on while the catalog writes down what they have made, in the order in which it was made.
            self._hand_over()
            if not self._running and not self._later:
                if self._stopped:
                    self._skip_rest()
                assert not len(self._schedule), "something waits, though nothing runs"
                break
            if not self._running:
                # Only retries are left, each after its pause.
                time.sleep(self._timeout() or 0.0)
            for message in self.pool.wait(self._timeout()):
                if isinstance(message, Progress):
                    self._tell("step_progress", message.key, rows=message.rows)
                else:
                    self._finish(message)
            self._kill_late()
        missed = sorted(set(self.graph) - set(self.result.outcomes))
        if missed:
            raise AssertionError(f"{', '.join(missed)} was never started: this must not pass for a success")
        return self.result

    @property
    def _stopped(self) -> bool:
        return self.conditions.fail_fast and not self.result.ok

    # order

    def _critical_path(self, plan: Plan) -> dict[str, float]:
        """Key → recorded seconds of the longest way from it to the end; what stands on it goes first."""
        rank: dict[str, float] = {}
        for key in reversed(list(self.graph)):
            step = plan.steps.get(key)
            own = (step.seconds or 0.01) if step is not None and step.action != "reuse" else 0.0
            rank[key] = own + max((rank[reader] for reader in self.graph.readers[key]), default=0.0)
        return rank

    def _gates(self) -> dict[str, list[str]]:
        """Asset → blocking checks that must pass before it may start: those of its inputs, unless they wait for it themselves.

        A check waits for all that it reads, and that may wait for further checks: a gate that would close such a circle
        is left out.
        """
        waits: dict[str, list[str]] = {key: [] for key in self.graph}
        beside: dict[str, set[str]] = {}
        for check in self._checks.values():
            if not check.blocking:
                continue
            needed = self._waited_for(check.inputs, beside)
            for reader in self.graph.readers[check.asset]:
                if reader not in needed:
                    waits[reader].append(check.id)
                    if len(check.inputs) > 1:
                        beside.setdefault(reader, set()).update(check.inputs)
        return waits

    def _waited_for(self, keys: Iterable[str], beside: Mapping[str, Collection[str]]) -> set[str]:
        """The keys, and all that must be settled before them: their inputs, and what the checks before them read."""
        found: set[str] = set()
        open_ = list(keys)
        while open_:
            key = open_.pop()
            if key not in found:
                found.add(key)
                open_ += [*self.graph[key].inputs, *beside.get(key, ())]
        return found

    def _offer(self, keys: Iterable[str]) -> None:
        """Notes what has become ready."""
        for key in keys:
            if key in self._queued:
                continue
            if all(source in self._settled for source in self.graph[key].inputs) and all(
                c in self._settled for c in self._waits[key]
            ):
                self._queued.add(key)
                self._offered.append(key)

    def _start(self) -> None:
        """Settles all that needs no worker, and fills the free workers."""
        while True:
            self._settle_offered()
            if self._stopped:
                self._give_up()
                return
            for key, retry in self._later.items():
                if retry.due <= time.monotonic() and key not in self._due:
                    self._due.add(key)
                    self._ask(self._demand(key))
            while self.pool.free > 0 and (chosen := self._schedule.start()) is not None:
                self._begin(chosen)
            if not self._offered:
                return

    def _settle_offered(self) -> None:
        while self._offered and not self._stopped:
            # What is settled here may offer more.
            key = self._offered.pop()
            if key in self._checks:
                if not self._settle_check_without_work(key):
                    self._ask(Demand(key, math.inf))
            elif self._to_run(key) is not None:
                self._ask(self._demand(key))

    def _ask(self, demand: Demand) -> None:
        self._ready_at[demand.key] = self._now()
        self._schedule.add(demand)

    def _now(self) -> float:
        """Seconds since the run's first step could start."""
        return time.perf_counter() - self._zero

    def _begin(self, key: str) -> None:
        if key in self._due:
            self._due.remove(key)
            retry = self._later.pop(key)
            self._submit(retry.task, retry.step)
        elif key in self._checks:
            self._start_check(key)
        elif key in self._shards:
            self._submit(*self._shards.pop(key))
        elif (step := self._to_run(key)) is not None:
            self._start_asset(key, step)
        else:
            # While it waited, somebody else has made just this.
            self._schedule.ended(key)

    def _hand_over(self) -> None:
        made, self._made = self._made, []
        for entry, step in made:
            self.conditions.commit(entry, step)

    def _demand(self, key: str) -> Demand:
        asset = self._asset_of(key)
        made = self.planner.view.get(asset)
        memory = made.provenance.memory if made is not None else None
        return Demand(key, self._rank.get(asset, 0.0), self.graph[asset].tags, memory or 0)

    def _asset_of(self, key: str) -> str:
        """The asset that a task is about."""
        if key in self.graph:
            return key
        task = (
            self._shards[key][0]
            if key in self._shards
            else self._later[key].task
            if key in self._later
            else self._running[key][0]
        )
        return task.of

    def _give_up(self) -> None:
        """After a failure that stops the run: what waits stays undone, and what was to be tried again has failed."""
        self._schedule.clear()
        self._due.clear()
        for key, (task, _) in list(self._shards.items()):
            del self._shards[key]
            self._end_shard(task, untried=[part.key for part in task.parts])
        later, self._later = self._later, {}
        for retry in later.values():
            self._fail(retry.task, retry.failed)

    # assets

    def _to_run(self, key: str) -> Step | None:
        """The step, if it takes a worker; None where the asset is settled without."""
        cause = self._blocker(key)
        if cause is not None:
            self._done(Outcome(key, "blocked", self.planner.view.get(key), cause=cause))
            self._tell("step_skipped", key, cause=cause)
            return None
        step = self._decide(key)
        cut = step.partitions
        if cut is not None and (step.action != "reuse" or step.adopted is not None or cut.marks):
            self._start_cut(key, step)
            return None
        if step.action != "reuse":
            return step
        entry = step.entry
        before = self._version_before(key)
        if entry is not None and step.adopted is not None:
            # The same query under another name may have another row key.
            extra = {k: v for k, v in entry.provenance.extra.items() if k != "row_key"}
            if self.graph[key].row_key:
                extra["row_key"] = list(self.graph[key].row_key)
            entry = replace(entry, key=key, provenance=replace(entry.provenance, extra=extra))
            self._made.append((entry, step))
        state: State = (
            "adopted" if step.adopted else "unselected" if step.reasons[0].kind == "unselected" else "reused"
        )
        self._done(Outcome(key, state, entry, before, reasons=step.reasons))
        self._tell("step_reused", key, state=state, reasons=[str(r) for r in step.reasons])
        return None

    def _blocker(self, key: str) -> str | None:
        for source in self.graph[key].inputs:
            if self.result.outcomes[source].state in ("failed", "blocked") or source not in self._entries:
                return source
        for check in self._waits[key]:
            outcome = self.result.checks.get(check)
            if outcome is None or not outcome.passed:
                return check
        return None

    def _decide(self, key: str) -> Step:
        step = self.planner.decide(key, self._entries)
        if step.action != "reuse" and any(made.fingerprint == step.fingerprint for _, made in self._made):
            # A twin of it has just been made: the planner finds it once it is written down.
            self._hand_over()
            step = self.planner.decide(key, self._entries)
        return step

    def _version_before(self, key: str) -> str | None:
        entry = self.planner.view.get(key)
        return entry.version if entry is not None else None

    def _start_asset(self, key: str, step: Step) -> None:
        bound = self.pipeline.assets[key]
        present = self.planner.view.get(key)
        task = replace(
            self.conditions.template,
            kind="asset",
            key=key,
            inputs=self._sources(bound.inputs),
            previous=None
            if present is None
            else Source(key, present.kind, present.location, present.version),
            query=bound.asset.query,
            column_sets=self.graph.column_sets(key),
            retry_on=self._retry_policy(key).on,
            increment=self._increment(key, step),
            log=self.conditions.log(key, 1),
        )
        self._submit(task, step)
        started, worker = self._begun[key]
        self._tell(
            "step_started",
            key,
            reasons=[reason.to_dict() for reason in step.reasons],
            worker=worker,
            waited=round(started - self._ready_at[key], 3),
        )

    def _sources(self, keys: Collection[str], *, sampled: bool = True) -> dict[str, Source]:
        """Pointers to inputs, and how much of each is read."""
        world = self.planner.world
        chosen = world.sampled(keys, self._entries) if sampled else {}
        found = {}
        for key in keys:
            entry = self._entries[key]
            part = replace(world.sample, by=chosen[key]) if key in chosen and world.sample else None
            facts = entry.provenance.extra.get(FACTS, {})
            found[key] = Source(key, entry.kind, entry.location, entry.version, part, facts)
        return found

    def _increment(self, key: str, step: Step) -> StepIncrement | None:
        node, bound = self.graph[key], self.pipeline.assets[key]
        if node.incremental is None or step.increment is None:
            return None
        return StepIncrement(
            node.incremental,
            by=node.row_key,
            deltas=node.deltas,
            since={
                source: Source(source, "table", read["location"], read["version"])
                for source, read in step.increment.since.items()
            },
            full=step.increment.mode == "full",
            forward_only=step.increment.forward_only,
            views=dict(bound.views),
            delete=bound.asset.delete,
        )

    def _submit(self, task: StepTask, step: Step | None) -> None:
        self.conditions.admit(task)
        self._running[task.key] = (task, step)
        timeout = self._timeout_of(task)
        if timeout is not None:
            self._deadlines[task.key] = time.monotonic() + timeout.total_seconds()
        self._begun[task.key] = self._now(), self.pool.submit(task)

    def _timeout(self) -> float | None:
        moments = [*self._deadlines.values(), *(r.due for k, r in self._later.items() if k not in self._due)]
        if not moments:
            return 1.0
        return min(1.0, max(0.0, min(moments) - time.monotonic()))

    def _kill_late(self) -> None:
        now = time.monotonic()
        for key, deadline in list(self._deadlines.items()):
            if now >= deadline and key in self._running:
                del self._deadlines[key]
                timeout = self._timeout_of(self._running[key][0])
                self.pool.kill(key, f"{key} took longer than its timeout of {timeout}")

    def _timeout_of(self, task: StepTask) -> timedelta | None:
        if task.kind == "check":
            own = self.pipeline.checks[task.key].check.timeout
        else:
            own = self.pipeline.assets[task.of].asset.timeout
        found = own if own is not None else self.conditions.timeout
        return None if found is None else found * max(1, len(task.parts))

    def _finish(self, result: StepResult) -> None:
        task, step = self._running.pop(result.key)
        self._schedule.ended(result.key)
        self._deadlines.pop(result.key, None)
        self.conditions.after(task.log)
        if result.error is not None:
            clean = self.conditions.clean
            result = replace(
                result, error={k: clean(v) if isinstance(v, str) else v for k, v in result.error.items()}
            )
        if task.kind == "check":
            self._finish_check(task, result)
            return
        if task.parts:
            assert step is not None
            self._finish_shard(task, step, result)
            return
        if not result.ok:
            self._failed(task, step, result)
            return
        assert step is not None
        entry = self._entry(task, step, result)
        self._note(task, result, "ran")
        self._made.append((entry, step))
        before = self._version_before(result.key)
        self._done(Outcome(result.key, "ran", entry, before, result.seconds, attempts=task.attempt))
        self._tell(
            "step_finished",
            result.key,
            rows=result.rows,
            bytes=result.bytes,
            seconds=round(result.seconds, 3),
            version=result.version,
            same_content=before == result.version,
            **({"increment": dict(result.increment)} if result.increment is not None else {}),
        )

    def _retry_policy(self, key: str) -> RetryPolicy:
        own, shared = self.pipeline.assets[key].asset, self.conditions.retry
        return RetryPolicy(
            shared.retries if own.retries is None else own.retries,
            shared.delay if own.retry_delay is None else own.retry_delay,
            own.retry_on or shared.on,
        )

    def _failed(self, task: StepTask, step: Step | None, result: StepResult) -> None:
        policy = self._retry_policy(task.of)
        if result.retriable and task.attempt <= policy.retries and not self._stopped:
            pause = policy.pause(task.attempt)
            again = replace(
                task, attempt=task.attempt + 1, log=self.conditions.log(task.key, task.attempt + 1)
            )
            self._note(task, result, "retried")
            self._later[task.key] = _Retry(time.monotonic() + pause, again, step, result)
            message = (result.error or {}).get("message")
            self._tell(
                "step_retried",
                task.key,
                attempt=task.attempt,
                of=policy.retries + 1,
                pause=round(pause, 3),
                message=message,
            )
            return
        self._note(task, result, "failed")
        self._fail(task, result)

    def _note(self, task: StepTask, result: StepResult, state: BarState) -> None:
        """Notes when an attempt ran, where, and what it waited for."""
        start, worker = self._begun.pop(task.key)
        gates = () if task.kind == "check" else self._waits[task.of]
        self.result.timeline.append(
            Bar(
                task.key,
                task.of,
                "check" if task.kind == "check" else "asset",
                task.attempt,
                worker,
                start,
                self._now() - start,
                max(0.0, start - self._ready_at.get(task.key, start)),
                state,
                tuple(key for key in (*task.inputs, *gates) if key in self._worked),
                str((result.error or {}).get("message") or ""),
            )
        )
        self._worked.add(task.of)

    def _fail(self, task: StepTask, result: StepResult) -> None:
        if task.parts:
            self._end_shard(task, step=self._cut_steps[task.of], failed=_failures(task, result))
            return
        present = self.planner.view.get(result.key)
        self._done(
            Outcome(
                result.key,
                "failed",
                present,
                self._version_before(result.key),
                result.seconds,
                result.error,
                attempts=task.attempt,
            )
        )
        self._tell(
            "step_failed", result.key, error=dict(result.error or {}), log=task.log, attempts=task.attempt
        )

    def _entry(self, task: StepTask, step: Step, result: StepResult) -> Entry:
        provenance = replace(
            self._provenance(task, result),
            fingerprint=(step.rebuilt if _rebuilt(result) else step.fingerprint) or "",
            rows=result.rows,
            bytes=result.bytes,
        )
        kept = _kept(self.graph[result.key], task, step, result)
        extra = {**provenance.extra, **_columns(step, result), **kept}
        provenance = replace(provenance, extra=extra)
        return Entry(result.key, result.kind, result.location, result.version, provenance)

    def _provenance(self, task: StepTask, result: StepResult) -> Provenance:
        """How what a task has made came to be, but for what it holds."""
        node = self.graph[task.of]
        return replace(
            self.conditions.provenance,
            code=node.code,
            code_parts=dict(node.code_parts),
            config=node.config,
            config_parts=dict(node.config_parts),
            inputs={key: source.version for key, source in task.inputs.items()},
            outside=self.planner.outside(task.of),
            computed_at=result.computed_at,
            seconds=round(result.seconds, 6),
            memory=result.memory,
            extra={**self._extra(node), **self._facts(task, result)},
        )

    def _facts(self, task: StepTask, result: StepResult) -> dict[str, Any]:
        """What the step has told besides; of an asset with partitions also what earlier ones have, partition by partition."""
        if not task.parts:
            return {FACTS: dict(result.facts)} if result.facts else {}
        present = self._cuts[task.of].base
        before = present.provenance.extra.get(FACTS, {}) if present is not None else {}
        facts = {**before, **result.facts}
        parts = {**before.get("partitions", {}), **result.facts.get("partitions", {})}
        return {FACTS: {**facts, **({"partitions": parts} if parts else {})}} if facts else {}

    def _extra(self, node: Node) -> dict[str, Any]:
        """What a later look at the entry needs without the code: the row key, and which resources it was made with."""
        extra: dict[str, Any] = {"row_key": list(node.row_key)} if node.row_key else {}
        if node.resources:
            extra["resources"] = dict(self.conditions.resources(node.key))
        return extra | self.planner.world.marks(node, self._entries)

    # assets that are cut into partitions

    def _start_cut(self, key: str, step: Step) -> None:
        """Takes over what others have computed, and puts the rest into tasks."""
        assert step.partitions is not None
        cut = Cut(
            self.graph[key],
            step.partitions,
            self.planner.view.get(key),
            self._version_before(key),
            self.conditions.template.storage(),
        )
        self._cuts[key] = cut
        self._cut_steps[key] = step
        self._tell("step_started", key, reasons=[reason.to_dict() for reason in step.reasons])
        if step.partitions.adopt:
            self._keep(key, cut.adopt(self._extra(self.graph[key])), step)
        elif step.partitions.marks and not step.partitions.run:
            self._keep(key, cut.mark(), step)
        if step.partitions.remove:
            self._keep(key, cut.remove(), step)
        self._next_shards(key, cut, step)
        if not cut.open:
            self._finish_cut(key, cut)

    def _next_shards(self, key: str, cut: Cut, step: Step) -> None:
        """Puts what is left into tasks: the first partition of new code alone, since it tells the others their columns."""
        node, bound = self.graph[key], self.pipeline.assets[key]
        if cut.needs_scout:
            if cut.gave_up:
                cut.untried.update(cut.left)
                cut.left = ()
            groups = [cut.left[:1]] if cut.left else []
            cut.left = cut.left[1:]
        else:
            batched = any(slot.role == "partitions" for slot in bound.slots)
            groups, cut.left = shards(cut.left, self.pool.free or 1, batched=batched), ()
        upstreams = {source: self.planner.partitions.upstream(node, source) for source in node.inputs}
        inputs = self._sources(bound.inputs)
        base = cut.base
        for keys in groups:
            name = f"{key}[{told(keys, cut.work.order, most=1)}]"
            task = replace(
                self.conditions.template,
                kind="asset",
                key=name,
                asset=key,
                inputs=inputs,
                previous=None if base is None else Source(key, base.kind, base.location, base.version),
                query=bound.asset.query,
                retry_on=self._retry_policy(key).on,
                log=self.conditions.log(name, 1),
                parts=cut.parts(keys, upstreams),
                column_sets=self.graph.column_sets(key),
            )
            cut.open.add(name)
            self._shards[name] = (task, step)
            self._ask(self._demand(name))

    def _keep(self, key: str, entry: Entry, step: Step) -> None:
        self._hand_over()
        self.conditions.commit(entry, step)
        # What the next task of this asset goes on from, and expects to find.
        self.planner.view = {**self.planner.view, key: entry}

    def _finish_shard(self, task: StepTask, step: Step, result: StepResult) -> None:
        cut = self._cuts[task.of]
        asset = self.pipeline.assets[task.of].asset
        parts = result.parts or Parts()
        cut.seconds += result.seconds
        cut.rows, cut.bytes = cut.rows + parts.rows, cut.bytes + parts.bytes
        if parts.made:
            entry = cut.put(
                parts.made,
                self._provenance(task, result),
                seconds=result.seconds,
                renames=asset.renames,
                docs=descriptions(asset.columns),
            )
            self._keep(task.of, entry, step)
        failed = _failures(task, result)
        if failed:
            rest = tuple(part for part in task.parts if part.key in failed or part.key in parts.untried)
            first = next(iter(failed.values()))
            retriable = result.retriable and all(each.get("retriable", True) for each in failed.values())
            self._failed(
                replace(task, parts=rest),
                step,
                replace(result, ok=False, error=first, retriable=retriable),
            )
            return
        self._note(task, result, "ran")
        self._end_shard(task, step=step)

    def _end_shard(
        self,
        task: StepTask,
        *,
        step: Step | None = None,
        failed: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        untried: Sequence[str] = (),
    ) -> None:
        cut = self._cuts[task.of]
        cut.open.discard(task.key)
        cut.failed.update(failed)
        cut.untried.update(untried, (part.key for part in task.parts if failed and part.key not in failed))
        if not cut.open and cut.left and step is not None and not self._stopped:
            self._next_shards(task.of, cut, step)
        if not cut.open:
            cut.untried.update(cut.left)
            self._finish_cut(task.of, cut)

    def _finish_cut(self, key: str, cut: Cut) -> None:
        error = cut.error
        state: State = "ran" if cut.work.run or cut.work.remove else "adopted" if cut.work.adopt else "reused"
        if error or cut.untried:
            state = "failed"
        outcome = Outcome(key, state, cut.present, cut.before, cut.seconds, error, partitions=cut.to_dict())
        self._done(outcome)
        if state == "failed":
            self._tell("step_failed", key, error=dict(error or {}), log=None, attempts=1)
            return
        self._tell(
            "step_finished",
            key,
            rows=cut.rows,
            bytes=cut.bytes,
            seconds=round(cut.seconds, 3),
            version=cut.present.version if cut.present is not None else "",
            same_content=cut.present is not None and cut.before == cut.present.version,
        )

    def _done(self, outcome: Outcome) -> None:
        key = outcome.key
        self.result.outcomes[key] = outcome
        self._settled.add(key)
        if outcome.state not in ("failed", "blocked") and outcome.entry is not None:
            self._entries[key] = outcome.entry
        for check in self._checks.values():
            if (
                key in check.inputs
                and check.id not in self._queued
                and all(source in self._settled for source in check.inputs)
            ):
                self._queued.add(check.id)
                self._offered.append(check.id)
        self._offer(self.graph.readers[key])

    # checks

    def _settle_check_without_work(self, check_id: str) -> bool:
        check = self._checks[check_id]
        if any(key not in self._entries for key in check.inputs):
            self._settle_check(check_id)
            return True
        mark = check_fingerprint(check, _versions(self._judged(check)))
        known = None if check.volatile else self.conditions.known_check(mark)
        if known is None:
            return False
        self._checked(
            CheckOutcome(
                check.id,
                check.asset,
                check.name,
                check.blocking,
                mark,
                known,
                cached=True,
                sample=self._sample_of(check),
            )
        )
        return True

    def _start_check(self, check_id: str) -> None:
        check = self._checks[check_id]
        task = replace(
            self.conditions.template,
            kind="check",
            key=check.id,
            inputs=self._judged(check),
            log=self.conditions.log(check.id, 1),
        )
        self._submit(task, None)

    def _judged(self, check: CheckNode) -> dict[str, Source]:
        """What a check reads: where it judges a sample, the same sample of what it compares with."""
        marked = any(sample_of(self._entries[key]) for key in check.inputs)
        return self._sources(check.inputs, sampled=marked)

    def _sample_of(self, check: CheckNode) -> str:
        marks = [mark for key in check.inputs if (mark := sample_of(self._entries[key]))]
        return sample_text(marks[0]) if marks else ""

    def _finish_check(self, task: StepTask, result: StepResult) -> None:
        check = self._checks[task.key]
        mark = check_fingerprint(check, _versions(task.inputs))
        outcome = CheckOutcome(
            check.id,
            check.asset,
            check.name,
            check.blocking,
            mark,
            result.check,
            result.error,
            sample=self._sample_of(check),
        )
        self._note(task, result, "passed" if outcome.passed else "failed" if check.blocking else "warned")
        self.conditions.keep_check(outcome)
        self._checked(outcome)

    def _checked(self, outcome: CheckOutcome) -> None:
        self.result.checks[outcome.id] = outcome
        self._tell(
            "check_finished",
            outcome.id,
            passed=outcome.passed,
            blocking=outcome.blocking,
            message=outcome.message,
            cached=outcome.cached,
        )
        self._settle_check(outcome.id)

    def _settle_check(self, check_id: str) -> None:
        self._settled.add(check_id)
        self._offer(self.graph.readers[self._checks[check_id].asset])

    def _skip_rest(self) -> None:
        cause = next((o.key for o in self.result.failed), None) or next(
            (c.id for c in self.result.failed_checks), ""
        )
        for key in self.graph:
            if key not in self.result.outcomes:
                self.result.outcomes[key] = Outcome(key, "blocked", self.planner.view.get(key), cause=cause)
                self._tell("step_skipped", key, cause=cause)

    def _tell(self, kind: Any, key: str, **data: Any) -> None:
        self.conditions.listen(Event(kind, key, data))


def _versions(sources: Mapping[str, Source]) -> dict[str, str]:
    """What a check reads of each input: its version, and the sample if it is read as one."""
    return {
        key: source.version if source.sample is None else f"{source.version} {source.sample}"
        for key, source in sources.items()
    }


def _columns(step: Step, result: StepResult) -> dict[str, Any]:
    """What provenance keeps of columns: the versions of those that readers use, and which were compared of the inputs."""
    kept = {RECORDED: dict(result.columns), READ: read_record(step.reads)}
    return {name: value for name, value in kept.items() if value}


def _failures(task: StepTask, result: StepResult) -> dict[str, Mapping[str, Any]]:
    """Partition → error of a task; where the whole task failed, each partition that it did not make."""
    if result.parts is not None and (result.ok or result.parts.failed):
        return dict(result.parts.failed)
    made = {each.key for each in result.parts.made} if result.parts is not None else set()
    return {part.key: result.error or {} for part in task.parts if part.key not in made}


def _rebuilt(result: StepResult) -> bool:
    """Whether an incremental asset was built anew, whatever the plan saw."""
    return result.increment is not None and result.increment["mode"] == "full"


def _reason(step: Step) -> dict[str, str]:
    planned = step.increment
    return {"reason": planned.reason.text} if planned is not None and planned.mode == "full" else {}


def _kept(node: Node, task: StepTask, step: Step, result: StepResult) -> dict[str, Any]:
    """What an incremental asset's entry keeps, so that the next run goes on from here: see `anabranch.pipeline.incremental`."""
    if result.increment is None:
        return {}
    kept: dict[str, Any] = {
        CONSUMED: {
            key: {"version": task.inputs[key].version, "location": task.inputs[key].location}
            for key in node.deltas
        },
        DECLARED: {**declaration(node), **_reason(step), **result.increment},
    }
    if step.increment is not None and step.increment.mark and not _rebuilt(result):
        kept[MARK] = {"codes": list(step.increment.mark)}
    return kept
