"""The least work that is enough: for each asset run, reuse or depends, each with its reasons and its cost.

Pure: a `Planner` is given the graph, the entries in view, and what is known of the outside; it reads no clock, no file
and no database. The executor asks it again, asset by asset, as versions become known, so that a plan and what is done
about it come from one rule.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from anabranch.catalog.base import Entry, Found
from anabranch.dataclass import dataclass, field
from anabranch.errors import SelectionError
from anabranch.pipeline.fingerprint import fingerprint
from anabranch.pipeline.graph import Graph, Node
from anabranch.pipeline.incremental import fingerprint_extra
from anabranch.planning.changes import Reason, column_reasons, input_reasons, own_reasons
from anabranch.planning.incremental import Increment, judge, mark_of
from anabranch.planning.partitions import PartitionPlanner, PartitionWork
from anabranch.planning.reads import Read, compared, read_of, unchanged
from anabranch.planning.world import World, is_copy, origin, sample_of

Action = Literal["run", "reuse", "depends"]
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Step:
    """What is to happen to one asset.

    Attributes:
        key: The asset.
        action: ``run``: it will run. ``reuse``: nothing to do, or an entry is taken over by its pointer. ``depends``: an
            input runs first; if that yields the same version, nothing is to be done here.
        reasons: Why.
        fingerprint: Known as soon as all inputs' versions are.
        entry: For reuse: the entry that stands or is taken over. Otherwise the present one, if any.
        adopted: For reuse: the ref that the entry is taken over from; None if it stands already.
        seconds: What it took the last time, or None if it never ran.
        bytes: What it stored the last time, or None.
        notes: What its code analysis could not see.
        partitions: For an asset that is cut into partitions: what is to happen to each of them.
        reads: Input → what counts of it, once all are known.
        increment: For an incremental asset that runs, or may: how it is brought up to date.
        rebuilt: Its fingerprint in case that it has to be built anew after all.
    """

    key: str
    action: Action
    reasons: tuple[Reason, ...]
    fingerprint: str | None = None
    entry: Entry | None = None
    adopted: str | None = None
    seconds: float | None = None
    bytes: int | None = None
    notes: tuple[str, ...] = ()
    partitions: PartitionWork | None = None
    reads: Mapping[str, Read] = field(default_factory=dict)
    increment: Increment | None = None
    rebuilt: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "asset": self.key,
            "action": self.action,
            "reasons": [reason.to_dict() for reason in self.reasons],
            "fingerprint": self.fingerprint,
            "version": self.entry.version if self.entry is not None and self.action == "reuse" else None,
            "adopted_from": self.adopted,
            "seconds": self.seconds,
            "bytes": self.bytes,
            "notes": list(self.notes),
            "partitions": self.partitions.to_dict() if self.partitions is not None else None,
            "incremental": self.increment.to_dict() if self.increment is not None else None,
        }


@dataclass(frozen=True)
class Plan:
    """The steps in an order in which each comes after its inputs.

    Attributes:
        target: Name of the environment or sandbox.
        steps: Key → step.
        orphans: Keys of tables whose asset is no longer in the code; a run removes them only with ``prune``.
        definitions: Hash of all assets' code.
        sample: How much of the base is read, ``5 % sample by customer_id``; empty for all of it.
    """

    target: str
    steps: Mapping[str, Step] = field(default_factory=dict)
    orphans: tuple[str, ...] = ()
    definitions: str = ""
    sample: str = ""

    def with_action(self, *actions: Action) -> list[Step]:
        """The steps of these actions, in order."""
        return [step for step in self.steps.values() if step.action in actions]

    @property
    def nothing_to_do(self) -> bool:
        """Whether every asset stands as it is: nothing runs, nothing is taken over."""
        return all(step.action == "reuse" and step.adopted is None for step in self.steps.values())

    @property
    def seconds(self) -> float:
        """Recorded seconds of what will run for certain; assets that never ran count as nothing."""
        return sum(step.seconds or 0.0 for step in self.with_action("run"))

    @property
    def seconds_at_most(self) -> float:
        """Recorded seconds of what will or may run."""
        return sum(step.seconds or 0.0 for step in self.with_action("run", "depends"))

    @property
    def bytes(self) -> int:
        """Recorded bytes of what will run for certain."""
        return sum(step.bytes or 0 for step in self.with_action("run"))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "target": self.target,
            "steps": [step.to_dict() for step in self.steps.values()],
            "run": len(self.with_action("run")),
            "depends": len(self.with_action("depends")),
            "reuse": len(self.with_action("reuse")),
            "seconds": round(self.seconds, 3),
            "seconds_at_most": round(self.seconds_at_most, 3),
            "bytes": self.bytes,
            "orphans": list(self.orphans),
            "definitions": self.definitions,
            "sample": self.sample or None,
        }


class Planner:
    """Decides, asset by asset.

    Args:
        graph: The pipeline.
        view: Key → entry, as the target sees it now.
        target: Name of the environment or sandbox.
        pinned: Whether sources keep what the base holds (a sandbox), rather than follow their policy (an environment).
        now: The time that ``every`` is judged by; UTC.
        selected: Keys that may run; None: all.
        force: Whether the selected run whatever stands.
        refresh: Sources that follow their policy although pinned, and run if their policy is their code.
        observed: Source → the outside version that its ``observe`` returned.
        lookup: Fingerprint → an entry that a trusted ref has computed under it, or None.
        own_runs: Ids of the runs that are being continued: what they fetched counts as fetched now.
        world: What is computed from: all data, masked copies, or a sample.
        partitions: Decides on the partitions of assets that are cut into some.
        forward_only: Whether incremental assets whose code changed keep what is there.
    """

    def __init__(
        self,
        graph: Graph,
        view: Mapping[str, Entry],
        *,
        target: str,
        pinned: bool,
        now: datetime,
        selected: Collection[str] | None = None,
        force: bool = False,
        refresh: Collection[str] = (),
        observed: Mapping[str, str] | None = None,
        lookup: Callable[[str], Found | None] = lambda _: None,
        own_runs: Collection[str] = (),
        world: World | None = None,
        partitions: PartitionPlanner | None = None,
        forward_only: bool = False,
    ) -> None:
        self.world = world or World()
        self.graph = graph
        self.view = view
        self.target = target
        self.pinned = pinned
        self.now = now
        self.selected = set(graph) if selected is None else set(selected)
        self.force = force
        self.refresh = set(refresh)
        self.observed = dict(observed or {})
        self.lookup = lookup
        self.own_runs = set(own_runs)
        self.partitions = partitions or PartitionPlanner(graph, now=now, states=lambda _: None, force=force)
        self.forward_only = forward_only

    def plan(self) -> Plan:
        """Decides on every asset, as far as can be known before anything has run.

        Raises:
            SelectionError: a selected asset reads one that is neither selected nor built.
        """
        steps: dict[str, Step] = {}
        known: dict[str, Entry | None] = {}
        pending: dict[str, frozenset[str] | None] = {}
        for key in self.graph:
            step = self.decide(key, known, pending)
            steps[key] = step
            parts = step.partitions
            settled = step.action == "reuse" and not (parts is not None and parts.adopt)
            known[key] = step.entry if settled else None
            if parts is not None and not settled:
                pending[key] = parts.unsettled | {*parts.adopt, *parts.remove}
        orphans = tuple(
            sorted(k for k, e in self.view.items() if k not in self.graph and e.provenance.fingerprint)
        )
        sample = str(self.world.sample or "")
        return Plan(self.target, steps, orphans, self.graph.definitions, sample)

    def decide(
        self,
        key: str,
        known: Mapping[str, Entry | None],
        pending: Mapping[str, frozenset[str] | None] = MappingProxyType({}),
    ) -> Step:
        """One asset's step, given the entries of its inputs; None where what it will be is not known yet.

        Args:
            key: The asset.
            known: Input → its entry, as it will be read.
            pending: Input that is not known yet, but of which only these partitions may change.
        """
        node = self.graph[key]
        reads = self._reads(node, known)
        entry = self.view.get(key)
        made = entry.provenance if entry is not None else None
        base = Step(
            key,
            "run",
            (),
            entry=entry,
            seconds=made.seconds if made is not None else None,
            bytes=made.bytes if made is not None else None,
            notes=node.notes,
        )
        if key not in self.selected:
            return self._unselected(node, base)
        if node.partitions is not None:
            return self._decide_parts(node, base, known, pending)
        waiting = [source for source in node.inputs if reads[source] is None]
        base = replace(base, reads={source: read for source, read in reads.items() if read is not None})
        own = own_reasons(node, entry)
        facts = self.world.facts(node.inputs, known)
        how: tuple[Reason, ...] = ()
        mark: tuple[str, ...] = ()
        if node.incremental is not None:
            increment = judge(
                node,
                entry,
                {source: known.get(source) for source in node.inputs},
                _versions(base.reads),
                own,
                forced=self.force,
                forward_only=self.forward_only,
                whole=not self.world.plain,
            )
            how, mark = (increment.reason,), increment.mark
            rebuilt = None if waiting else self._fingerprint(node, _versions(base.reads), facts)
            base = replace(base, increment=increment, rebuilt=rebuilt)
        if self.force:
            return replace(
                base,
                reasons=(Reason("forced", "--force", key), *own, *how),
                fingerprint=None if waiting else self._fingerprint(node, _versions(base.reads), facts),
            )
        if waiting:
            upstream = tuple(Reason("upstream", f"{source} runs first", source) for source in waiting)
            return replace(base, action="run" if own else "depends", reasons=(*own, *how, *upstream))
        due = self._due(node, entry)
        before = None if self.world.plain or due is not None else self._before(node, known)
        current = self._fingerprint(node, _versions(base.reads), facts, mark)
        base = replace(base, fingerprint=current)
        if due is not None:
            return replace(base, reasons=(*own, due, *how))
        if entry is not None and made is not None:
            elsewhere = None
            if before is not None and self._stands_as_made(node, entry, before):
                elsewhere = column_reasons(node, origin(entry), before)
            elif self._stands(node, entry, base.reads, facts):
                elsewhere = column_reasons(node, entry, base.reads)
            if elsewhere is not None:
                return self._standing(node, replace(base, fingerprint=made.fingerprint), elsewhere)
        # What is fetched on a schedule, or was asked for anew, is never taken from the past.
        timely = (node.refresh in ("always", "every") and self._follows(key)) or (
            node.refresh == "code" and key in self.refresh
        )
        back = self.world.base.get(key)
        if (
            back is not None
            and before is not None
            and not timely
            and self._stands_as_made(node, back, before)
        ):
            reason = Reason("adopted", "the base holds exactly this", self.world.base_ref)
            return replace(base, action="reuse", reasons=(reason,), entry=back, adopted=self.world.base_ref)
        found = None if timely else self._found(node, current, base.reads, facts, mark)
        if found is not None:
            ref = f"{found.branch}@{found.number}"
            reason = Reason("adopted", f"{found.branch} has computed exactly this", ref)
            return replace(base, action="reuse", reasons=(reason,), entry=found.entry, adopted=ref)
        if entry is not None and is_copy(entry):
            reads = {
                source: None if (one := known.get(source)) is None else _read(node, origin(one))
                for source in node.inputs
            }
        reasons = (own + input_reasons(node, origin(entry), reads)) if entry is not None else own
        reasons += self._outside_reasons(node, entry)
        if (
            entry is not None
            and (sample_of(entry) or not reasons)
            and (other := self.world.reason(node, entry, known))
        ):
            reasons = [other, *reasons]
        told = tuple(reasons) or (Reason("resource", "the identity of a resource changed", key),)
        return replace(base, reasons=(*told, *how), notes=(*base.notes, *self.world.notes(node, known)))

    def _standing(self, node: Node, base: Step, elsewhere: Sequence[Reason]) -> Step:
        """The step of an asset whose entry stays as it is."""
        if elsewhere:
            return replace(base, action="reuse", reasons=tuple(elsewhere))
        pinned = node.refresh != "code" and not self._follows(node.key)
        reason = (
            Reason("pinned", "pinned to the base", node.key)
            if pinned
            else Reason("same", "nothing changed", node.key)
        )
        return replace(base, action="reuse", reasons=(reason,))

    def _decide_parts(
        self,
        node: Node,
        base: Step,
        known: Mapping[str, Entry | None],
        pending: Mapping[str, frozenset[str] | None],
    ) -> Step:
        waiting = {
            source: pending.get(source)
            for source in node.inputs
            if known.get(source) is None and (source in self.selected or source not in self.view)
        }
        seen = {
            source: self.view.get(source) if source in waiting else known.get(source)
            for source in node.inputs
        }
        entry = base.entry
        untouched = waiting.keys().isdisjoint(node.inputs) and self.world.untouched(node, seen) is not None
        if entry is not None and is_copy(entry) and untouched:
            plain = self.partitions.family(node, self.outside(node.key))
            if self.world.as_made(entry) == plain and not self.force:
                return replace(base, action="reuse", reasons=(Reason("same", "nothing changed", node.key),))
        work = self.partitions.work(
            node,
            entry,
            seen,
            waiting,
            outside=self.outside(node.key),
            due=self._due(node, entry),
            facts=self.world.facts(node.inputs, seen),
            untouched=untouched,
        )
        each = entry.provenance.partitions.get("seconds") if entry is not None else None
        base = replace(
            base,
            partitions=work,
            fingerprint=work.family,
            reasons=work.reasons,
            seconds=each * len(work.unsettled) if each is not None else base.seconds,
            bytes=None if base.bytes is None else base.bytes * len(work.unsettled) // max(1, work.built),
        )
        if work.run or work.remove:
            return base
        if work.depends:
            return replace(base, action="depends")
        adopted = next((f"{found.branch}@{found.number}" for found in work.adopt.values()), None)
        same = (Reason("same", "nothing changed", node.key),)
        return replace(base, action="reuse", reasons=base.reasons or same, adopted=adopted)

    def changed(self) -> set[str]:
        """Assets whose own code or config differs from what made their entry, or that were never built."""
        return {key for key in self.graph if own_reasons(self.graph[key], self.view.get(key))}

    def _unselected(self, node: Node, base: Step) -> Step:
        if base.entry is None:
            needing = sorted(reader for reader in self.graph.readers[node.key] if reader in self.selected)
            if needing:
                raise SelectionError(
                    f"{needing[0]} needs {node.key}, which is not built here and not selected",
                    hint=f"select what it is made from too: --select +{needing[0]}",
                )
        return replace(base, action="reuse", reasons=(Reason("unselected", "not selected", node.key),))

    def _reads(self, node: Node, known: Mapping[str, Entry | None]) -> dict[str, Read | None]:
        """What counts of each input. Which rows of an input are in a sample may depend on any of its columns."""
        sampled = self.world.sampled(node.inputs, known)
        return {
            source: None
            if (entry := known.get(source)) is None
            else read_of(None, entry)
            if source in sampled
            else _read(node, entry)
            for source in node.inputs
        }

    def _before(self, node: Node, known: Mapping[str, Entry | None]) -> dict[str, Read] | None:
        """What counts of each input where it was made; None where one of them was made here since."""
        inputs = self.world.untouched(node, known)
        if inputs is None:
            return None
        return {source: _read(node, entry) for source, entry in inputs.items() if entry is not None}

    def _stands_as_made(self, node: Node, entry: Entry, before: Mapping[str, Read]) -> bool:
        """Whether an entry that was not computed in this world is what its own world would make of the asset."""
        if node.refresh == "observe" and is_copy(entry):
            # What was observed is not copied; who follows the outside has been told to run before.
            return not own_reasons(node, entry)
        return self.world.as_made(entry) is not None and self._stands(node, origin(entry), before)

    def _stands(
        self, node: Node, entry: Entry, reads: Mapping[str, Read], facts: Mapping[str, str] = _NONE
    ) -> bool:
        """Whether an entry is what would come of the asset. Each input is compared by what the entry recorded of it."""
        made = entry.provenance
        versions = {
            source: (compared(made, source) if unchanged(made, source, read) else None) or read.version
            for source, read in reads.items()
        }
        # What older code made of it is part of what it is.
        return made.fingerprint == self._fingerprint(node, versions, facts, mark_of(entry))

    def _found(
        self,
        node: Node,
        current: str,
        reads: Mapping[str, Read],
        facts: Mapping[str, str],
        mark: Sequence[str],
    ) -> Found | None:
        """What a trusted ref has computed from the same columns, or from the same whole tables."""
        found = self.lookup(current)
        tables = {source: read.table for source, read in reads.items()}
        if found is None and tables != _versions(reads):
            found = self.lookup(self._fingerprint(node, tables, facts, mark))
        return found

    def _fingerprint(
        self,
        node: Node,
        versions: Mapping[str, str],
        facts: Mapping[str, str] = _NONE,
        mark: Sequence[str] = (),
    ) -> str:
        return fingerprint(
            code=node.code,
            config=node.config,
            inputs=versions,
            resources=node.resources,
            outside=self.outside(node.key),
            extra={**facts, **fingerprint_extra(node, mark)},
        )

    def outside(self, key: str) -> str | None:
        """The outside version that counts for a source: what was observed if it follows its policy, else what it was built at."""
        if self.graph[key].refresh != "observe":
            return None
        entry = self.view.get(key)
        if entry is None or self._follows(key) or own_reasons(self.graph[key], entry):
            return self.observed.get(key)
        return entry.provenance.outside

    def to_observe(self) -> list[str]:
        """Selected sources whose ``observe`` must be asked before a plan can be made."""
        nodes = [
            node
            for node in self.graph.nodes.values()
            if node.refresh == "observe" and node.key in self.selected
        ]
        return [n.key for n in nodes if self._follows(n.key) or own_reasons(n, self.view.get(n.key))]

    def _follows(self, key: str) -> bool:
        return not self.pinned or key in self.refresh

    def _due(self, node: Node, entry: Entry | None) -> Reason | None:
        """Why a source is to be fetched again although nothing of its own changed."""
        if entry is None or not self._follows(node.key) or entry.provenance.run in self.own_runs:
            return None
        if node.refresh == "always":
            return Reason("refresh", "it is fetched in each run", node.key)
        if node.refresh == "every" and node.every is not None:
            age = self._age(entry)
            if age is None or age >= node.every or node.key in self.refresh:
                return Reason("refresh", f"it is fetched again when older than {_span(node.every)}", node.key)
        if node.refresh == "code" and node.key in self.refresh:
            return Reason("refresh", "--refresh", node.key)
        return None

    def _age(self, entry: Entry) -> float | None:
        made = entry.provenance.computed_at
        return (self.now - datetime.fromisoformat(made)).total_seconds() if made else None

    def _outside_reasons(self, node: Node, entry: Entry | None) -> list[Reason]:
        if entry is None or node.refresh != "observe" or is_copy(entry):
            return []
        if entry.provenance.outside == self.outside(node.key):
            return []
        return [
            Reason(
                "outside",
                f"the outside version changed: {entry.provenance.outside} → {self.outside(node.key)}",
                node.key,
            )
        ]


def _read(node: Node, entry: Entry) -> Read:
    """What an asset reads of an input."""
    return read_of(node.reads.get(entry.key), entry)


def _versions(reads: Mapping[str, Read]) -> dict[str, str]:
    return {source: read.version for source, read in reads.items()}


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
