"""Two sides have made partitions of one table: the newer table with the partitions that only this side has made.

A sandbox, or a run on an environment, stands on a table as it was; meanwhile somebody has published further partitions of it.
What only one side has touched is taken from that side, metadata alone; what both have touched is taken from the
environment and marked to be made again, since neither side has made it of what there is now. Knows no catalog.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from anabranch.catalog.base import Entry
from anabranch.errors import LakeError, UnstorableError
from anabranch.pipeline.partition import Keys
from anabranch.planning.reads import with_columns
from anabranch.running.cut import partition_map, summary

if TYPE_CHECKING:
    from anabranch.lake.storage import Storage

Merge = Callable[[Entry, Entry, Entry], Entry]


def needs_merge(own: Entry | None, old: Entry | None, new: Entry | None) -> bool:
    """Whether a table's own partitions must be merged into what the base holds by now.

    Args:
        own: What this side holds.
        old: What its base held when this side began.
        new: What the base holds now.
    """
    if own is None or old is None or new is None or new.location in (old.location, own.location):
        return False
    cuts = {each.provenance.partitions.get("identity") for each in (own, old, new)}
    return len(cuts) == 1 and None not in cuts


def merge_partitions(storage: Storage, own: Entry, old: Entry, new: Entry) -> Entry:
    """The entry that holds both sides' partitions; ``new`` itself where this side has nothing of its own.

    Args:
        storage: The scope that this side writes under.
        own, old, new: As for `needs_merge`.
    """
    mine, before, there = (partition_map(storage, each) for each in (own, old, new))
    if mine is None or before is None or there is None:
        return own
    touched = mine.differing(before) & mine.differing(there)
    both = touched & there.differing(before)
    picks = touched - both
    arrived = {*there.differing(before), *own.provenance.partitions.get("arrived", ())} - picks
    redo = {*both, *own.provenance.partitions.get("redo", ())}
    if not picks and not redo:
        return new
    from anabranch.lake.partitions import overlay
    from anabranch.lake.read import Table

    tables = {
        each.location: Table(each.key, each.location, storage, version=each.version) for each in (own, new)
    }
    try:
        written = overlay(
            storage,
            own.key,
            tables[new.location],
            {key: tables[own.location] if key in mine else None for key in sorted(picks)},
        )
    except (LakeError, UnstorableError):
        # Their columns don't go together: what was made here is made again, on top of what there is now.
        return _marked(new, own, {*redo, *touched})
    merged = Table(own.key, written.location, storage, version=written.version)
    found = merged.partition_map
    assert found is not None
    cut = own.provenance.partitions
    accepted = {*cut.get("accepted", ()), *new.provenance.partitions.get("accepted", ())}
    return replace(
        own,
        location=written.location,
        version=written.version,
        provenance=replace(
            own.provenance,
            rows=written.rows,
            bytes=written.bytes,
            extra=with_columns(own.provenance.extra, written.columns),
            partitions=summary(
                found,
                str(cut["identity"]),
                Keys(sorted(found)),
                family=str(cut["family"]),
                accepted=sorted(accepted),
                redo=sorted(redo),
                arrived=sorted(arrived),
                seconds=cut.get("seconds"),
            ),
        ),
    )


def _marked(entry: Entry, own: Entry, redo: set[str]) -> Entry:
    parts = {**entry.provenance.partitions, "redo": sorted(redo), "settled": None}
    return replace(
        entry,
        provenance=replace(entry.provenance, partitions=parts, fingerprint=own.provenance.fingerprint),
    )
