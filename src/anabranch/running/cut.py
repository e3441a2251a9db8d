"""A partitioned asset under way: the tasks that make its partitions, and the one table that their results become.

Tasks of one asset run beside each other; what each has made is put into the table here, one after the other, and handed
over as an entry, so that what a task has made stays made whatever becomes of the others. Knows no catalog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anabranch.catalog.base import Entry, Provenance
from anabranch.dataclass import dataclass, field
from anabranch.names import now
from anabranch.pipeline.fingerprint import combine
from anabranch.pipeline.graph import Node
from anabranch.pipeline.partition import Keys, Partitions, Upstream, ranges, told
from anabranch.planning.partitions import PartitionWork
from anabranch.planning.reads import with_columns
from anabranch.running.parts import GIVE_UP, Made, Part

if TYPE_CHECKING:
    from anabranch.lake.partition_map import PartitionMap
    from anabranch.lake.read import Table
    from anabranch.lake.storage import Storage
    from anabranch.lake.write import Written

_MOST = 64
_MOST_BATCHED = 366
_EACH = 4
_EACH_BATCHED = 2


def shards(keys: Sequence[str], workers: int, *, batched: bool = False) -> list[tuple[str, ...]]:
    """Partitions in the tasks that make them: enough tasks to keep all workers busy, few enough to cost little each.

    Args:
        keys: What is to be made, in order.
        workers: How many tasks may be at work at once.
        batched: Whether one call makes all of a task's partitions, so that its price is paid once for all of them.
    """
    if not keys:
        return []
    most, each = (_MOST_BATCHED, _EACH_BATCHED) if batched else (_MOST, _EACH)
    size = max(1, min(most, -(-len(keys) // (max(1, workers) * each))))
    return [tuple(keys[at : at + size]) for at in range(0, len(keys), size)]


@dataclass(frozen=True)
class Making:
    """What made partitions in one run: shared by all that were made from the same code in it."""

    provenance: Provenance
    node: Node
    family: str

    @property
    def id(self) -> str:
        """Its id."""
        return combine(self.provenance.run or "", self.family)[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        made = self.provenance
        return {
            "family": self.family,
            "code": self.node.code,
            "code_parts": dict(self.node.code_parts),
            "config": self.node.config,
            "config_parts": dict(self.node.config_parts),
            "run": made.run,
            "git_commit": made.git_commit,
            "dirty": made.dirty,
            "environment": made.environment,
            "computed_at": made.computed_at,
        }


def put_together(
    storage: Storage,
    node: Node,
    present: Entry | None,
    made: Sequence[Made],
    work: PartitionWork,
    making: Making,
    *,
    remove: Sequence[str] = (),
    renames: Mapping[str, str] | None = None,
    docs: Mapping[str, str] | None = None,
) -> Entry:
    """The table with the partitions that were made in place of the old ones."""
    from anabranch.lake.partitions import assemble

    assert node.partitions is not None
    written = assemble(
        storage,
        node.key,
        layout=node.partitions.layout(),
        previous=_table(storage, present) if not work.anew else None,
        writes=[(each.files, each.inputs) for each in made],
        making=(making.id, making.to_dict()),
        remove=remove,
        renames=renames,
        docs=docs,
    )
    return _entry_of(
        node.key,
        written,
        replace(
            making.provenance,
            fingerprint=work.family,
            code=node.code,
            code_parts=dict(node.code_parts),
            config=node.config,
            config_parts=dict(node.config_parts),
        ),
    )


def taken_over(storage: Storage, node: Node, present: Entry | None, work: PartitionWork) -> Entry:
    """The table with partitions of trusted refs in place of its own: metadata alone."""
    from anabranch.lake.partitions import overlay

    tables = {found.entry.location: _table(storage, found.entry) for found in work.adopt.values()}
    picks = {key: tables[found.entry.location] for key, found in work.adopt.items()}
    base = _table(storage, present) if present is not None and not work.anew else None
    written = overlay(storage, node.key, base, picks)
    donor = next(iter(work.adopt.values())).entry
    return _entry_of(node.key, written, replace(donor.provenance, fingerprint=work.family))


def _entry_of(key: str, written: Written, provenance: Provenance) -> Entry:
    """The entry of a table that was put together."""
    return Entry(
        key,
        "table",
        written.location,
        written.version,
        replace(
            provenance,
            rows=written.rows,
            bytes=written.bytes,
            extra=with_columns(provenance.extra, written.columns),
        ),
    )


def _table(storage: Storage, entry: Entry | None) -> Table | None:
    from anabranch.lake.read import Table

    return None if entry is None else Table(entry.key, entry.location, storage, version=entry.version)


def partition_map(storage: Storage, entry: Entry) -> PartitionMap | None:
    """The partition map of an entry's table, or None where it has none."""
    if entry.kind != "table" or not entry.provenance.partitions:
        return None
    table = _table(storage, entry)
    return table.partition_map if table is not None else None


def differing_text(
    storage: Storage,
    entry: Entry,
    before: Entry | None,
    partitions: Partitions | None,
    *,
    content: bool = False,
) -> str | None:
    """Which partitions of a table another state of it does not have so: ``31 of 365 partitions: 2013-12-01..2013-12-31``.

    Args:
        storage: The warehouse.
        entry: The table.
        before: Its other state; None: it was not there.
        partitions: How the code at hand cuts it, for the order of its partitions.
        content: Whether only other content counts, not by what it was made.
    """
    states = partition_map(storage, entry)
    if states is None:
        return None
    other = partition_map(storage, before) if before is not None else None
    chosen = set(states) if other is None else states.differing(other)
    if other is not None and content:
        pairs = ((key, states.get(key), other.get(key)) for key in chosen)
        chosen = {key for key, a, b in pairs if a is None or b is None or a.version != b.version}
    everything = set(states) | set(other or ())
    order = partitions.keys(now()) if partitions is not None else Keys(sorted(everything))
    of = f"{len(chosen):,} of {len(everything):,} partitions"
    return f"{of}: {told(chosen, order)}" if chosen else of


def summary(
    states: PartitionMap,
    identity: str,
    order: Keys,
    *,
    family: str,
    accepted: Sequence[str] = (),
    settled: Mapping[str, Any] | None = None,
    redo: Sequence[str] = (),
    arrived: Sequence[str] = (),
    seconds: float | None = None,
) -> dict[str, Any]:
    """What an entry's provenance says of its partitions, so that a plan need not load their map.

    Args:
        states: The map.
        identity: How the table is cut.
        order: The partitions that exist.
        family: What the newest were made by.
        accepted: Older families that stay as they are.
        settled: With which inputs all of it was up to date, if it was.
        redo: Partitions that must be made again whatever they say.
        arrived: Partitions that somebody else has made since this side began.
        seconds: What one takes.
    """
    families: dict[str, int] = {}
    for state in states.states():
        name = str(states.makings.get(state.making, {}).get("family", ""))
        families[name] = families.get(name, 0) + 1
    return {
        "identity": identity,
        "family": family,
        "families": families,
        "count": len(states),
        "ranges": [list(run) for run in ranges(states, order)],
        "digest": states.digest,
        "versions": states.versions_digest,
        "accepted": sorted(set(accepted) & set(families)),
        "settled": dict(settled) if settled is not None else None,
        "redo": list(redo),
        "arrived": list(arrived),
        "seconds": seconds,
    }


@dataclass
class Cut:
    """One partitioned asset while its partitions are made.

    Attributes:
        node: The asset.
        work: What is to be done.
        present: What the target holds of it now; goes on with each task.
        before: Version before the run.
        made: Partitions that were made.
        failed: Partition → the error of it, as plain values.
        untried: Partitions that were given up unmade.
        open: Keys of the tasks that have not ended.
        left: Partitions that are in no task yet.
        seconds: What the tasks took together.
        rows, bytes: Of what was made.
    """

    node: Node
    work: PartitionWork
    present: Entry | None
    before: str | None
    storage: Storage
    made: set[str] = field(default_factory=set)
    failed: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    untried: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    left: tuple[str, ...] = ()
    seconds: float = 0.0
    rows: int = 0
    bytes: int = 0
    _anew: bool = False

    def __post_init__(self) -> None:
        self._anew = self.work.anew
        self.left = self.work.run

    @property
    def base(self) -> Entry | None:
        """The table that what is made goes into, or None while there is none."""
        return None if self._anew else self.present

    @property
    def needs_scout(self) -> bool:
        """Whether no partition of this code stands yet: which columns it has is not known."""
        return self.base is None or self.work.family not in self.base.provenance.partitions.get(
            "families", {}
        )

    @property
    def gave_up(self) -> bool:
        """Whether so many have failed, and none was made, that the rest is not worth trying."""
        return not self.made and len(self.failed) >= GIVE_UP

    def parts(self, keys: Sequence[str], upstreams: Mapping[str, Upstream | None]) -> tuple[Part, ...]:
        """What a task must know of the partitions that it is to make."""
        by_part = {source: up for source, up in upstreams.items() if up is not None and not up.whole}
        return tuple(
            Part(key, self.work.inputs[key], {source: up.of(key) for source, up in by_part.items()})
            for key in keys
        )

    def adopt(self, extra: Mapping[str, Any]) -> Entry:
        """Takes over what trusted refs have made; the entry is to be committed."""
        entry = taken_over(self.storage, self.node, self.present, self.work)
        self.made |= set(self.work.adopt)
        return self._entry(replace(entry, provenance=replace(entry.provenance, extra=dict(extra))), None)

    def remove(self) -> Entry:
        """Leaves out what the code no longer has; the entry is to be committed."""
        from anabranch.lake.partitions import overlay

        assert self.present is not None
        gone = dict.fromkeys(self.work.remove)
        written = overlay(self.storage, self.node.key, _table(self.storage, self.present), gone)
        return self._entry(_entry_of(self.node.key, written, self.present.provenance), None)

    def mark(self) -> Entry:
        """Records that what older code made is accepted; nothing else changes."""
        assert self.present is not None
        self.present = replace(
            self.present,
            provenance=replace(
                self.present.provenance,
                partitions={
                    **self.present.provenance.partitions,
                    "family": self.work.family,
                    "accepted": list(self.work.accepted),
                },
                fingerprint=self.work.family,
                code=self.node.code,
                code_parts=dict(self.node.code_parts),
                config=self.node.config,
                config_parts=dict(self.node.config_parts),
            ),
        )
        return self.present

    def put(
        self,
        made: Sequence[Made],
        provenance: Provenance,
        *,
        seconds: float,
        renames: Mapping[str, str] | None,
        docs: Mapping[str, str] | None,
    ) -> Entry:
        """Puts what a task has made into the table; the entry is to be committed."""
        work = self.work if self.work.anew == self._anew else replace(self.work, anew=self._anew)
        making = Making(provenance, self.node, self.work.family)
        entry = put_together(
            self.storage, self.node, self.present, made, work, making, renames=renames, docs=docs
        )
        self.made |= {each.key for each in made}
        return self._entry(entry, self._each(seconds, len(made)) if made else None)

    def _each(self, seconds: float, number: int) -> float:
        """What one partition takes, over all that were made from this code: one by itself is dear, many at once are not."""
        old = self.base.provenance.partitions if self.base is not None else {}
        before = int(old.get("families", {}).get(self.work.family, 0))
        known = old.get("seconds")
        if known is None or not before:
            return seconds / number
        return float((known * before + seconds) / (before + number))

    def _entry(self, entry: Entry, seconds: float | None) -> Entry:
        states = _table(self.storage, entry)
        assert states is not None
        found = states.partition_map
        assert found is not None
        assert self.node.partitions is not None
        old = self.present.provenance.partitions if self.present is not None and not self._anew else {}
        work = self.work
        whole = (
            not (work.old or work.stale or work.depends)
            and work.tokens is not None
            and self.made >= {*work.run, *work.adopt}
        )
        settled = self.made | set(work.remove)
        entry = replace(
            entry,
            provenance=replace(
                entry.provenance,
                partitions=summary(
                    found,
                    self.node.partitions.identity,
                    work.order,
                    family=work.family,
                    accepted=work.accepted,
                    settled={"family": work.family, "inputs": dict(work.tokens or {})} if whole else None,
                    redo=[key for key in old.get("redo", ()) if key not in settled],
                    arrived=[key for key in old.get("arrived", ()) if key not in settled],
                    seconds=seconds if seconds is not None else old.get("seconds"),
                ),
            ),
        )
        self.present = entry
        self._anew = False
        return entry

    @property
    def error(self) -> dict[str, Any] | None:
        """What failed, as plain values like those of any step; None if nothing did."""
        if not self.failed:
            return None
        first = next(key for key in self.work.order if key in self.failed)
        cause = self.failed[first]
        count, of = len(self.failed), len(self.work.run)
        which = told(self.failed, self.work.order)
        text = f"{self.node.key}: {count:,} of {of:,} partitions failed: {which}"
        if self.untried:
            text += f" ({len(self.untried):,} were not tried)"
        message = str(cause.get("message", "")).removeprefix(f"{self.node.key}: ")
        return {**cause, "message": f"{text}; {first}: {message}", "partitions": sorted(self.failed)}

    def to_dict(self) -> dict[str, Any]:
        """What became of its partitions: plain JSON values, as runs ``[first, last, number]``."""
        order = self.work.order
        return {
            "made": [list(each) for each in ranges(self.made - set(self.work.adopt), order)],
            "adopted": [list(each) for each in ranges(self.work.adopt, order)],
            "failed": [list(each) for each in ranges(self.failed, order)],
            "untried": [list(each) for each in ranges(self.untried, order)],
            "removed": list(self.work.remove),
        }


__all__ = ["Cut", "partition_map", "shards"]
