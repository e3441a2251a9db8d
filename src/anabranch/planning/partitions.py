"""The least work for an asset that is cut into partitions: which of them run, stand, wait, or are as older code made them.

Pure, as `plan` is. The state of each partition is in the table's partition map, which is loaded only where the summary in
the entry does not settle the matter: a table that was up to date with exactly these inputs is so still, however many
partitions it has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol

from anabranch.catalog.base import Entry, Found, Provenance
from anabranch.dataclass import dataclass, field
from anabranch.errors import SelectionError
from anabranch.lake.columns import column_set, set_text
from anabranch.pipeline.fingerprint import combine, fingerprint
from anabranch.pipeline.graph import Graph, Node
from anabranch.pipeline.partition import WINDOW, Keys, Upstream, expand, ranges, told
from anabranch.planning.changes import Reason, own_reasons
from anabranch.planning.partition_words import PartitionSelection
from anabranch.planning.reads import read_of

Json = Any


class State(Protocol):
    """What is known of one built partition; see `lake.partitions.PartitionState`."""

    @property
    def making(self) -> str: ...
    @property
    def inputs(self) -> str: ...


class States(Protocol):
    """The partitions of one table; see `lake.partitions.PartitionMap`."""

    @property
    def makings(self) -> Mapping[str, Json]: ...
    def get(self, key: str) -> State | None: ...
    def __contains__(self, key: object) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def version_of(self, keys: Iterable[str], columns: str | None = None) -> str: ...


class Digests(Protocol):
    """Partition → digest of what it reads."""

    def __getitem__(self, key: str, /) -> str: ...


@dataclass(frozen=True)
class PartitionWork:
    """What is to happen to an asset's partitions.

    Attributes:
        order: All partitions that exist, in their order.
        run: Those that will run.
        depends: Those of which an input runs first.
        adopt: Those that a trusted ref has computed exactly so → where.
        waiting: Those that can't be made yet, since an input lacks a partition that they read.
        old: Those that stay as other code made them, since nobody asked for them.
        stale: Those that stay although an input has changed, since nobody asked for them.
        missing: Those that stay unbuilt, since nobody asked for them.
        gone: Those that are stored and that the code no longer has.
        remove: Those of them that this run removes.
        reuse: How many stand as they are.
        built: How many are stored.
        groups: Why: each reason with the partitions it is of.
        family: Hash of all that decides a partition's content beside its inputs.
        inputs: Partition that runs → digest of what it reads.
        tokens: Input → what of it was looked at, if all was.
        accepted: Families of older code that were accepted as they are.
        marks: Whether some were not accepted before, so that this must be recorded even if nothing runs.
        anew: Whether what is stored is cut otherwise, so that nothing of it can stay.
    """

    order: Keys
    run: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    adopt: Mapping[str, Found] = field(default_factory=dict)
    waiting: tuple[str, ...] = ()
    old: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    reuse: int = 0
    built: int = 0
    groups: tuple[tuple[Reason, tuple[str, ...]], ...] = ()
    family: str = ""
    inputs: Digests = field(default_factory=dict[str, str])
    tokens: Mapping[str, str] | None = None
    accepted: tuple[str, ...] = ()
    marks: bool = False
    anew: bool = False

    @cached_property
    def unsettled(self) -> frozenset[str]:
        """The partitions whose content is not known yet."""
        return frozenset((*self.run, *self.depends))

    @cached_property
    def reasons(self) -> tuple[Reason, ...]:
        """Each reason once, with the partitions that it is of."""
        found = []
        for reason, keys in self.groups:
            if reason.kind == "gone":
                found.append(reason)
                continue
            count = f"{len(keys):,} partition{'s' if len(keys) != 1 else ''}"
            which = count if len(keys) == len(self.order) > 1 else told(keys, self.order)
            more = f", {count}" if which != count and len(keys) > 1 else ""
            found.append(replace(reason, text=f"{reason.text}: {which}{more}"))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; partitions as runs ``[first, last, number]``."""

        def runs(keys: Iterable[str]) -> list[list[Any]]:
            return [list(each) for each in ranges(keys, self.order)]

        return {
            "exist": len(self.order),
            "built": self.built,
            "run": runs(self.run),
            "depends": runs(self.depends),
            "adopt": runs(self.adopt),
            "waiting": runs(self.waiting),
            "old_code": runs(self.old),
            "stale": runs(self.stale),
            "missing": runs(self.missing),
            "gone": sorted(self.gone),
            "remove": sorted(self.remove),
            "reuse": self.reuse,
        }


class PartitionPlanner:
    """Decides on the partitions of assets.

    Args:
        graph: The pipeline.
        now: Which partitions exist.
        states: Gives the partition map of an entry, or None where its table has none.
        selection: What ``--partitions`` says; None: all.
        force: Whether to run what stands.
        forward_only: Whether what older code made is accepted as it is.
        prune: Whether partitions that the code no longer has are removed.
        failed: Asset → partitions that failed in the last run.
        lookup: Family → entries of trusted refs that hold partitions of it.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        now: datetime,
        states: Callable[[Entry], States | None],
        selection: PartitionSelection | None = None,
        force: bool = False,
        forward_only: bool = False,
        prune: bool = False,
        failed: Mapping[str, Collection[str]] | None = None,
        lookup: Callable[[str], Sequence[Found]] = lambda _: (),
    ) -> None:
        self.graph = graph
        self.now = now
        self.states = states
        self.selection = selection
        self.force = force
        self.forward_only = forward_only
        self.prune = prune
        self.failed = failed or {}
        self.lookup = lookup
        self._upstreams: dict[tuple[Any, ...], Upstream] = {}

    def upstream(self, node: Node, source: str) -> Upstream | None:
        """Which partitions of an input a node reads, or None where the input has none."""
        up = self.graph[source].partitions if source in self.graph else None
        if up is None:
            return None
        mapping = node.mappings.get(source, WINDOW)
        known = (up, node.partitions, mapping)
        if known not in self._upstreams:
            self._upstreams[known] = Upstream(up, node.partitions, mapping, self.now)
        return self._upstreams[known]

    def check_selection(self, selected: Iterable[str]) -> None:
        """Raises SelectionError where the words of ``--partitions`` mean nothing to any asset that is selected."""
        if self.selection is None:
            return
        cut = [self.graph[key] for key in selected if self.graph[key].partitions is not None]
        if not cut:
            raise SelectionError(
                f"--partitions {self.selection.text}: no asset that is selected is cut into partitions",
                hint="leave it out, or select others",
            )
        if all(
            self._asked(node, node.partitions.keys(self.now), ()) is None for node in cut if node.partitions
        ):
            named = cut[0]
            assert named.partitions is not None
            order = named.partitions.keys(self.now)
            like = f"; of {named.key} there are {order[0]}..{order[-1]}" if order else ""
            raise SelectionError(
                f"--partitions {self.selection.text} names no partition of {', '.join(node.key for node in cut[:3])}",
                hint=f"2013-12-01..2013-12-31, latest:7, missing, failed, or a key{like}",
            )

    def family(self, node: Node, outside: str | None, facts: Mapping[str, str] = MappingProxyType({})) -> str:
        """Hash of all that decides a partition's content beside its inputs.

        Args:
            node: The asset; has partitions.
            outside: The outside version of a source.
            facts: What the world adds in which it is computed: masked copies, a sample.
        """
        assert node.partitions is not None
        return fingerprint(
            code=node.code,
            config=node.config,
            inputs={},
            resources=node.resources,
            outside=outside,
            extra={
                "partitions": node.partitions.identity,
                **{f"mapping {key}": each.identity for key, each in node.mappings.items()},
                **facts,
            },
        )

    def work(
        self,
        node: Node,
        entry: Entry | None,
        known: Mapping[str, Entry | None],
        pending: Mapping[str, frozenset[str] | None],
        *,
        outside: str | None = None,
        due: Reason | None = None,
        facts: Mapping[str, str] = MappingProxyType({}),
        untouched: bool = True,
    ) -> PartitionWork:
        """Decides on the partitions of one asset.

        Args:
            node: The asset; has partitions.
            entry: What the target holds of it.
            known: Input → its entry; for an input that runs first: what stands of it now, or None.
            pending: Input that runs first → the partitions of it that may change; None: all of it may.
            outside: The outside version of a source.
            due: Why a source is to be fetched again although nothing of its own changed.
            facts: What the world adds in which it is computed.
            untouched: Whether what was made in the world of all data still stands in this one.
        """
        assert node.partitions is not None
        order = node.partitions.keys(self.now)
        family = self.family(node, outside, facts)
        everywhere = {self.family(node, outside)} if facts and untouched else set()
        summary: Mapping[str, Json] = entry.provenance.partitions if entry is not None else {}
        anew = entry is not None and summary.get("identity") != node.partitions.identity
        if entry is None or anew:
            summary = {}
        view = _View(self, node, order, known, pending)
        before = list(summary.get("accepted", ()))
        accepted = sorted({*before, *summary.get("families", {})} - {family}) if self.forward_only else before
        allowed = {family, *everywhere, *accepted}
        # Whoever accepts the rest and names some wants these made by the code at hand.
        strict = (
            {family, *everywhere, *before} if self.forward_only and self.selection is not None else allowed
        )
        built = self._built(entry, summary, order)
        missing = [key for key in order if key not in built]
        asked = self._asked(node, order, missing)
        groups = _Groups(order, asked)
        current = not self.force and due is None and set(summary.get("families", {})) <= strict
        settled = summary.get("settled") or {}
        quiet = (
            current
            and not everywhere
            and not summary.get("redo")
            and not pending
            and settled.get("family") == family
            and settled.get("inputs") == view.tokens
        )
        families = set(summary.get("families", {}))
        if not quiet and built and len(families) == 1 and families.isdisjoint(allowed) and not self.force:
            assert entry is not None
            # All of it is of one older code: no need to look at each.
            cause = next(iter(own_reasons(node, entry)), None)
            groups.add(
                "old",
                cause or Reason("resource", "the identity of a resource changed", node.key),
                *(order if len(built) == len(order) else [key for key in order if key in built]),
            )
        elif not quiet and built:
            assert entry is not None
            self._judge_built(node, entry, view, groups, built, (allowed, strict), due)
        new = Reason("new", "never built" if entry is not None else f"{node.key} was never built", node.key)
        if anew:
            new = Reason("code", "the way it is cut into partitions changed", node.key, node.place or None)
        if not missing or view.lacks_nothing:
            groups.add("missing", new, *missing)
        else:
            for key in missing:
                lacks = view.lacks(key)
                if lacks is not None:
                    groups.add("waiting", Reason("waiting", f"{lacks} lacks what they read", lacks), key)
                else:
                    groups.add("missing", new, key)
        return groups.work(
            self,
            view,
            family,
            built=built,
            accepted=tuple(accepted),
            marks=bool(built) and sorted(before) != sorted(accepted),
            anew=anew,
            gone=built - set(order),
        )

    def _built(self, entry: Entry | None, summary: Mapping[str, Json], order: Keys) -> set[str]:
        built = expand(summary.get("ranges", ()), order)
        if built is None:
            assert entry is not None
            states = self.states(entry)
            built = set(states) if states is not None else set()
        return built

    def _judge_built(
        self,
        node: Node,
        entry: Entry,
        view: _View,
        groups: _Groups,
        built: set[str],
        allowed: tuple[set[str], set[str]],
        due: Reason | None,
    ) -> None:
        states = self.states(entry)
        if states is None:
            for key in groups.order:
                if key in built:
                    groups.add("old", Reason("code", "its state was lost", node.key), key)
            return
        redo = set(entry.provenance.partitions.get("redo", ()))
        causes: dict[tuple[str, bool], Reason | None] = {}
        whole = view.changed_inputs(entry)
        forced = Reason("forced", "--force", node.key)
        moved = Reason("input", "both sides have made them", node.key)
        for key in groups.order:
            if key not in built:
                continue
            state = states.get(key)
            if state is None:
                groups.add("missing", Reason("new", "never built", node.key), key)
                continue
            named = groups.asked is not None and key in groups.asked
            mark = (state.making, named)
            if mark not in causes:
                causes[mark] = _cause(node, entry, states.makings.get(state.making, {}), allowed[named])
            cause = causes[mark]
            if self.force and (groups.asked is None or key in groups.asked):
                groups.add("forced", forced, key)
            elif cause is not None:
                groups.add("old", cause, key)
            elif key in redo:
                groups.add("stale", moved, key)
            elif due is not None:
                groups.add("stale", due, key)
            elif view.pends(key):
                groups.add("depends", view.upstream_reason, key)
            elif state.inputs not in view.digests(key):
                groups.add("stale", whole, key)

    def _asked(self, node: Node, order: Keys, missing: Sequence[str]) -> set[str] | None:
        if self.selection is None:
            return None
        assert node.partitions is not None
        failed = self.failed.get(node.key, ())
        return self.selection.of(node.partitions, order, missing=lambda: missing, failed=failed)


_Source = tuple[str, Upstream | None, States | None, str, str, str | None]
"""An input, how its partitions map, its map, its version, the version of what is read of it, the columns that are read."""


class _View:
    """What is known of an asset's inputs: which partitions of them it reads, and in which versions."""

    def __init__(
        self,
        planner: PartitionPlanner,
        node: Node,
        order: Keys,
        known: Mapping[str, Entry | None],
        pending: Mapping[str, frozenset[str] | None],
    ) -> None:
        self.node, self.order, self.pending = node, order, pending
        self.known = known
        self.tokens: dict[str, str] | None = {}
        self._sources: list[_Source] = []
        self._planner = planner
        for source in node.inputs:
            entry = known.get(source)
            up = planner.upstream(node, source)
            cut = entry.provenance.partitions if entry is not None else {}
            if up is not None and not up.whole and cut:
                token = str(cut.get("versions", ""))
            else:
                token = entry.version if entry is not None else ""
            if self.tokens is not None:
                self.tokens[source] = token
        if any(known.get(source) is None or source in pending for source in node.inputs):
            self.tokens = None

    def _open(self) -> list[_Source]:
        """The inputs with their maps; loaded once something asks for it."""
        if not self._sources and self.node.inputs:
            for source in self.node.inputs:
                entry = self.known.get(source)
                up = self._planner.upstream(self.node, source)
                by_part = up is not None and not up.whole
                states = self._planner.states(entry) if by_part and entry is not None else None
                names = self.node.reads.get(source)
                read = read_of(names, entry).version if entry is not None else ""
                columns = None if names is None else set_text(column_set(names))
                version = entry.version if entry is not None else ""
                self._sources.append((source, up if by_part else None, states, version, read, columns))
        return self._sources

    def digest(self, key: str) -> str:
        """A hash of the versions of what a partition reads: of the columns where these are known, else of all."""
        return self._digest(key, by_columns=True)

    def digests(self, key: str) -> Iterator[str]:
        """All that say that a partition was made from what there is now: equal wholes have equal columns, too."""
        yield self.digest(key)
        if any(columns is not None for *_, columns in self._open()):
            yield self._digest(key, by_columns=False)

    def _digest(self, key: str, *, by_columns: bool) -> str:
        parts: list[str] = []
        for source, up, states, version, read, columns in self._open():
            if up is None or states is None:
                parts += (source, read if by_columns else version)
            else:
                parts += (source, states.version_of(up.of(key), columns if by_columns else None))
        return combine(*parts)

    @cached_property
    def lacks_nothing(self) -> bool:
        """Whether no partition waits for another that is neither built nor about to be."""
        for source, up, states, version, *_ in self._open():
            changing = self.pending.get(source, frozenset())
            if changing is None:
                continue
            if up is None:
                if not version and source not in self.pending:
                    return False
            elif not changing.issuperset(up.keys) and not all(
                part in changing or (states is not None and part in states) for part in up.keys
            ):
                return False
        return True

    @cached_property
    def all_pend(self) -> bool:
        """Whether an input that every partition reads runs first as a whole."""
        return any(changing is None for changing in self.pending.values()) or any(
            source in self.pending
            and (up is None or (up.identical and (self.pending[source] or frozenset()).issuperset(up.keys)))
            for source, up, *_ in self._open()
        )

    def pends(self, key: str) -> bool:
        """Whether an input of a partition runs first."""
        if self.all_pend:
            return True
        for source, up, *_ in self._open():
            if source not in self.pending:
                continue
            changing = self.pending[source]
            if changing is None or up is None or not changing.isdisjoint(up.of(key)):
                return True
        return False

    def lacks(self, key: str) -> str | None:
        """The first input of which a partition that is read is neither built nor about to be."""
        for source, up, states, version, *_ in self._open():
            changing = self.pending.get(source, frozenset())
            if changing is None:
                continue
            if up is None:
                if not version and source not in self.pending:
                    return source
                continue
            if any(part not in changing and (states is None or part not in states) for part in up.of(key)):
                return source
        return None

    def changed_inputs(self, entry: Entry) -> Reason:
        """The reason for partitions whose inputs differ, with those inputs named that differ from the last look at all."""
        before = (entry.provenance.partitions.get("settled") or {}).get("inputs") or {}
        names = [s for s in self.node.inputs if (self.tokens or {}).get(s) != before.get(s)] or list(
            self.node.inputs
        )
        has = "have" if len(names) > 1 else "has"
        return Reason(
            "input",
            f"{', '.join(names)} {has} other content than they were made from",
            names[0] if names else "",
        )

    @property
    def upstream_reason(self) -> Reason:
        """The reason for partitions of which an input runs first."""
        names = [source for source in self.node.inputs if source in self.pending]
        return Reason("upstream", f"{', '.join(names)} run{'s' if len(names) == 1 else ''} first", names[0])


class _Groups:
    """Gathers partitions by what is to happen to them and why."""

    def __init__(self, order: Keys, asked: set[str] | None) -> None:
        self.order, self.asked = order, asked
        self._found: dict[tuple[str, Reason], list[str]] = {}

    def add(self, kind: str, reason: Reason, *keys: str) -> None:
        """Partitions: kind is missing, old, stale, forced, depends or waiting."""
        if keys:
            self._found.setdefault((kind, reason), []).extend(keys)

    def work(
        self,
        planner: PartitionPlanner,
        view: _View,
        family: str,
        *,
        built: set[str],
        accepted: tuple[str, ...],
        marks: bool,
        anew: bool,
        gone: set[str],
    ) -> PartitionWork:
        """What comes of it."""
        asked = self.asked
        run: set[str] = set()
        left: dict[str, list[str]] = {"missing": [], "old": [], "stale": [], "depends": [], "waiting": []}
        told_: list[tuple[Reason, tuple[str, ...]]] = []
        for (kind, reason), keys in self._found.items():
            mine = keys if asked is None else [key for key in keys if key in asked]
            if kind in ("depends", "waiting"):
                left[kind] += mine
                if mine:
                    told_.append((reason, tuple(mine)))
                continue
            run.update(mine)
            if mine:
                told_.append((reason, tuple(mine)))
            if kind in left and len(mine) < len(keys):
                there = set(mine)
                left[kind] += [key for key in keys if key not in there]
        first = (
            tuple(self.order) if len(run) == len(self.order) else [key for key in self.order if key in run]
        )
        adopt: dict[str, Found] = {}
        if first and not planner.force and not any(r.kind == "refresh" for r, _ in told_):
            adopt = _adoptable(planner, family, view, first)
        rest = tuple(key for key in first if key not in adopt) if adopt else tuple(first)
        if adopt:
            told_ = [(r, kept) for r, ks in told_ if (kept := tuple(k for k in ks if k not in adopt))]
            origins: dict[str, list[str]] = {}
            for key, found in adopt.items():
                origins.setdefault(found.branch, []).append(key)
            told_ += [
                (Reason("adopted", f"{branch} has computed exactly this", branch), tuple(ks))
                for branch, ks in origins.items()
            ]
        remove = tuple(sorted(gone)) if planner.prune else ()
        if remove:
            few = ", ".join(remove[:3]) + (f" and {len(remove) - 3:,} more" if len(remove) > 3 else "")
            told_.append((Reason("gone", f"the code no longer has {few}", view.node.key), remove))
        touched = {*run, *left["depends"], *left["old"], *left["stale"]}
        return PartitionWork(
            self.order,
            run=rest,
            depends=tuple(left["depends"]),
            adopt=adopt,
            waiting=tuple(left["waiting"]),
            old=tuple(left["old"]),
            stale=tuple(left["stale"]),
            missing=tuple(left["missing"]),
            gone=tuple(sorted(gone)),
            remove=remove,
            reuse=0 if anew else len(built - touched - gone),
            built=0 if anew else len(built),
            groups=tuple(told_),
            family=family,
            inputs=_Digests(view),
            tokens=view.tokens,
            accepted=accepted,
            marks=marks,
            anew=anew,
        )


class _Digests:
    """Partition → digest of what it reads, computed when it is asked for."""

    def __init__(self, view: _View) -> None:
        self._view = view

    def __getitem__(self, key: str) -> str:
        return self._view.digest(key)


def _adoptable(planner: PartitionPlanner, family: str, view: _View, first: Sequence[str]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    others = planner.lookup(family)
    wanted = {key: set(view.digests(key)) for key in first if not view.pends(key)} if others else {}
    for each in others:
        states = planner.states(each.entry)
        if states is None:
            continue
        makings = {name for name, making in states.makings.items() if making.get("family") == family}
        for key, digests in wanted.items():
            if key not in found:
                state = states.get(key)
                if state is not None and state.inputs in digests and state.making in makings:
                    found[key] = each
        if len(found) == len(wanted):
            break
    return found


def _cause(node: Node, entry: Entry, making: Mapping[str, Json], allowed: Collection[str]) -> Reason | None:
    """Why partitions of that making are not what the code at hand would make; None if they are, or are accepted."""
    if making.get("family") in allowed:
        return None
    made = Provenance(
        code=str(making.get("code", "")),
        code_parts=making.get("code_parts", {}),
        config=str(making.get("config", "")),
        config_parts=making.get("config_parts", {}),
    )
    reasons = own_reasons(node, replace(entry, provenance=made))
    if reasons:
        return reasons[0]
    return Reason("resource", "the identity of a resource changed", node.key)


__all__ = ["PartitionPlanner", "PartitionWork"]
