"""Where an asset is computed: over all data, over masked copies, or over a sample; and what of a result stands there.

A result of one world is none of another. So each world has fingerprints of its own: what was computed from masked copies
is never taken for production's, and a sample never for the whole, nor the other way round. What a world has not computed
itself stands as it was made elsewhere: a masked copy as long as production's code and inputs would make its parent again,
the base's whole result as long as nothing that it was made from is a sample.

Pure, as all of planning: what has to be looked up is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from anabranch.catalog.base import Branch, Entry
from anabranch.dataclass import dataclass, field
from anabranch.pipeline.graph import Node
from anabranch.planning.changes import Reason
from anabranch.sample import Sample

Known = Mapping[str, Entry | None]


@dataclass(frozen=True)
class World:
    """Where assets are computed. The default is all data.

    Attributes:
        masked: Identifies the masked environment that is computed from; empty where none is.
        environment: Name of the environment that is computed from.
        sample: How much of the base is read; None: all.
        base: Key → entry of the base, which may be taken back without running.
        base_ref: Ref of the base.
        columns: Names of the columns of an entry's table.
        unmasked_sources: With ``masked``: assets that may read the outside world all the same.
    """

    masked: str = ""
    environment: str = ""
    sample: Sample | None = None
    base: Mapping[str, Entry] = field(default_factory=dict)
    base_ref: str = ""
    columns: Callable[[Entry], Collection[str]] = lambda _: ()
    unmasked_sources: Collection[str] = ()

    # samples

    def sampled(self, inputs: Collection[str], known: Known) -> dict[str, str]:
        """Which inputs are read as a sample, and by which column.

        An input that is a sample already is read as it is. Where the sample names a column, every table that has it is
        read by it; otherwise the largest one that has a row key of one column is, and the others are read whole, so that
        no row loses its partner.
        """
        if self.sample is None:
            return {}
        whole = {
            key: entry for key in inputs if (entry := known.get(key)) is not None and _whole_table(entry)
        }
        by = self.sample.by
        if by is not None:
            return {key: by for key, entry in whole.items() if by in self.columns(entry)}
        # One that joins what is a sample already has its rows chosen by that one.
        if any(sample_of(entry) for key in inputs if (entry := known.get(key)) is not None):
            return {}
        keyed = {
            key: (entry.provenance.rows or 0, key, row_key[0])
            for key, entry in whole.items()
            if len(row_key := tuple(entry.provenance.extra.get("row_key", ()))) == 1
        }
        if not keyed:
            return {}
        _, key, column = max(keyed.values())
        return {key: column}

    def mark(self, inputs: Collection[str], known: Known) -> dict[str, str] | None:
        """What is recorded of a result made from these inputs: the sample that it is of, or None."""
        own = self.sampled(inputs, known)
        taken = [
            mark for key in inputs if (entry := known.get(key)) is not None and (mark := sample_of(entry))
        ]
        if not own and not taken:
            return None
        columns = {*own.values(), *(by for mark in taken for by in mark["by"].split(", ") if by)}
        shares = {mark["share"] for mark in taken}
        if own and self.sample is not None:
            shares.add(self.sample.percent)
        return {"share": ", ".join(sorted(shares)), "by": ", ".join(sorted(columns))}

    # fingerprints

    def facts(self, inputs: Collection[str], known: Known) -> dict[str, str]:
        """What a fingerprint holds of the world, besides code, config and inputs."""
        found = {"masked": self.masked} if self.masked else {}
        mark = self.mark(inputs, known)
        if mark is not None:
            chosen = self.sampled(inputs, known)
            found["sample"] = f"{mark['share']} {mark['by']} {sorted(chosen.items())}"
        return found

    # what stands

    def untouched(self, node: Node, known: Known) -> dict[str, Entry | None] | None:
        """The inputs as whoever made the world's first state had them; None where one of them was made here since.

        A plan tells by their fingerprint whether a result that was not computed here still stands.
        """
        found: dict[str, Entry | None] = {}
        for key in node.inputs:
            entry = known.get(key)
            if entry is None or sample_of(entry) or (self.masked and not is_copy(entry)):
                return None
            found[key] = origin(entry)
        return found

    def as_made(self, entry: Entry | None) -> str | None:
        """The fingerprint by which an entry that was not computed in this world was made; None for any other."""
        if entry is None or sample_of(entry):
            return None
        if is_copy(entry):
            return str(entry.provenance.extra["parent"]["fingerprint"])
        return None if self.masked else entry.provenance.fingerprint

    @property
    def plain(self) -> bool:
        """Whether it is the world of all data, in which nothing is special."""
        return not self.masked and self.sample is None

    def marks(self, node: Node, known: Known) -> dict[str, Any]:
        """What the provenance of a result says of the world that it was made in."""
        found: dict[str, Any] = {"masked": {"environment": self.environment}} if self.masked else {}
        mark = self.mark(node.inputs, known)
        return found | ({"sample": mark} if mark is not None else {})

    def reason(self, node: Node, entry: Entry, known: Known) -> Reason | None:
        """Why an entry does not stand where nothing but its sample differs."""
        there, wanted = sample_of(entry), self.mark(node.inputs, known)
        if there == wanted:
            return None
        if wanted is None:
            return Reason("sample", f"it was made from a {sample_text(there)}", node.key)
        was = f", not a {sample_text(there)}" if there else ""
        return Reason("sample", f"it is made from a {sample_text(wanted)}{was}", node.key)

    def notes(self, node: Node, known: Known) -> tuple[str, ...]:
        """What a plan tells of how an asset's inputs are read."""
        if self.sample is None:
            return ()
        chosen = self.sampled(node.inputs, known)
        whole = [
            key
            for key in node.inputs
            if (entry := known.get(key)) is not None and key not in chosen and not sample_of(entry)
        ]
        if not whole:
            return ()
        why = f"without a column {self.sample.by}" if self.sample.by else "beside the sample"
        return (f"it reads {', '.join(whole)} whole, {why}",)

    def outside(self, node: Node) -> bool:
        """Whether an asset may bring what is not masked into a world of masked copies: it reads the outside world."""
        if not self.masked or node.key in self.unmasked_sources:
            return False
        return not node.inputs or bool(node.resources or node.outside)


def sample_of(entry: Entry) -> Mapping[str, str] | None:
    """The sample that a result was made from (``share`` and ``by``), or None."""
    found: Mapping[str, str] | None = entry.provenance.extra.get("sample")
    return found


def sample_text(mark: Mapping[str, str] | None) -> str:
    """``5 % sample by customer_id``; empty for None."""
    if mark is None:
        return ""
    share = mark["share"].replace("%", " %")
    return f"{share} sample" + (f" by {mark['by']}" if mark["by"] else "")


def is_masked(environment: Branch) -> bool:
    """Whether an environment is a masked copy of another."""
    return "derived_from" in environment.properties


def is_copy(entry: Entry) -> bool:
    """Whether it is a masked copy of another environment's table."""
    return "parent" in entry.provenance.extra


def origin(entry: Entry) -> Entry:
    """A masked copy as its parent's plan would see it; any other entry as it is."""
    if not is_copy(entry):
        return entry
    parent = entry.provenance.extra["parent"]
    extra = {**entry.provenance.extra, **parent["extra"]}
    made = replace(entry.provenance, extra=extra, fingerprint=parent["fingerprint"])
    return replace(entry, version=parent["version"], provenance=made)


def _whole_table(entry: Entry) -> bool:
    return entry.kind == "table" and sample_of(entry) is None
