"""Whether an incremental asset can go on from what is there, or must be built anew; and what is said about it.

A result that was brought up to date is meant to be the one that a full rebuild would give, and so it has the fingerprint
of that rebuild. It can be, as long as the code is the same and whatever else is read (but for lookups) is unchanged; an
appended table can moreover not follow an input that has lost rows. What versions alone can't tell (which rows went) the
step finds out before it calls anybody's function.

``--forward-only`` keeps what older code made and lets the code at hand treat what is new. Such a result is *marked* with
the codes that made it; the mark is part of its fingerprint, so that nobody takes it for a rebuild, and stays until one.

Pure: plain values in, plain values out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from anabranch.catalog.base import Entry
from anabranch.dataclass import dataclass, field
from anabranch.errors import LakeError
from anabranch.lake.version import Content
from anabranch.pipeline.graph import Node
from anabranch.pipeline.incremental import CONSUMED, MARK
from anabranch.planning.changes import Reason, kept_of

Mode = Literal["incremental", "full"]


@dataclass(frozen=True)
class Increment:
    """How an incremental asset is to be brought up to date.

    Attributes:
        mode: ``incremental``: it goes on from what is there. ``full``: it is built anew.
        reason: Why and since when, for a person.
        since: For incremental: input → ``{"version", "location"}`` of what was consumed of it.
        mark: The codes that made what is there, if they are not only the one at hand; sorted.
        forward_only: Whether what older code made was asked to be kept.
    """

    mode: Mode
    reason: Reason
    since: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    mark: tuple[str, ...] = ()
    forward_only: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "mode": self.mode,
            "reason": self.reason.text,
            "since": {key: value["version"] for key, value in sorted(self.since.items())},
            "forward_only": list(self.mark),
        }


def mark_of(entry: Entry | None) -> tuple[str, ...]:
    """The older codes of which an entry still holds rows; nothing for a clean one."""
    found = kept_of(entry).get(MARK) if entry is not None else None
    return tuple(sorted(found.get("codes", ()))) if isinstance(found, Mapping) else ()


def judge(
    node: Node,
    entry: Entry | None,
    inputs: Mapping[str, Entry | None],
    versions: Mapping[str, str | None],
    own: Sequence[Reason],
    *,
    forced: bool = False,
    forward_only: bool = False,
    whole: bool = False,
) -> Increment:
    """How to bring an incremental asset up to date.

    Args:
        node: The asset.
        entry: What is there.
        inputs: Input → its entry; None where it is not known yet.
        versions: Input → the version of it that counts, likewise.
        own: What differs in its own code, config and declaration.
        forced: Whether all is to be built anew, whatever stands.
        forward_only: Whether to keep what older code made.
        whole: Whether it is computed from masked or sampled data: what was consumed elsewhere says nothing there.
    """
    if whole:
        return _full(node, "full build: masked and sampled data are read whole")
    if entry is None or entry.kind != "table":
        return _full(node, "full build: there is no earlier table to go on from")
    if forced:
        return _full(node, "full rebuild: --force")
    mark = mark_of(entry)
    if own:
        if not forward_only:
            return _full(node, f"full rebuild: {own[0].text}; --forward-only keeps what is there")
        mark = tuple(sorted({*mark, entry.provenance.code}))
    kept = forward_only and bool(own)
    since, cause = _since(node, entry, inputs, versions, forward_only=kept)
    if cause is not None:
        return _full(node, f"full rebuild: {cause}")
    text = "incremental: " + (
        ", ".join(_told(key, since[key]) for key in sorted(since)) or "from its own table"
    )
    if mark:
        text += "; rows that older code made stay as they are"
    return Increment("incremental", Reason("incremental", text, node.key), since, mark, kept)


def _full(node: Node, text: str) -> Increment:
    return Increment("full", Reason("rebuild", text, node.key))


def _since(
    node: Node,
    entry: Entry,
    inputs: Mapping[str, Entry | None],
    versions: Mapping[str, str | None],
    *,
    forward_only: bool,
) -> tuple[dict[str, Mapping[str, str]], str | None]:
    """Up to where each input was consumed; or why one can't go on from there."""
    consumed: Mapping[str, Mapping[str, str]] = entry.provenance.extra.get(CONSUMED) or {}
    since: dict[str, Mapping[str, str]] = {}
    for key in node.inputs:
        known = versions.get(key)
        if key not in node.deltas:
            moved = known is not None and entry.provenance.inputs.get(key) != known
            if moved and key not in node.lookups and not forward_only:
                return {}, f"{key}, which is read whole, has other content"
            continue
        before = consumed.get(key)
        if before is None:
            if forward_only:
                continue  # an input that older code did not read: all of it is new
            return {}, f"what was consumed of {key} is not recorded"
        source = inputs.get(key)
        cause = _obstacle(node, key, before["version"], source.version) if source is not None else None
        if cause is not None:
            return {}, cause
        since[key] = before
    return since, None


def _obstacle(node: Node, key: str, before: str, now: str) -> str | None:
    """What two versions tell without a look at any row."""
    try:
        old, new = Content.parse(before), Content.parse(now)
    except LakeError:
        return None
    if old.schema != new.schema:
        return f"the columns of {key} changed"
    if node.incremental == "append" and new.rows < old.rows:
        lost = old.rows - new.rows
        return f"{key} lost at least {lost:,} row{'s' * (lost != 1)}, which appending can't follow"
    return None


def _told(key: str, consumed: Mapping[str, str]) -> str:
    version = consumed["version"]
    try:
        rows = f" ({Content.parse(version).rows:,} rows)"
    except LakeError:
        rows = ""
    return f"{key} since {version.rpartition(':')[2][:12]}{rows}"
