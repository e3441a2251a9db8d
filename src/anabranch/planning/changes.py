"""Why an asset's stored result is no longer what its code, config and inputs would make: the causes, each by name.

Pure: compares a `Node` with the provenance of an entry. It knows nothing of where either comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from anabranch.catalog.base import Entry
from anabranch.dataclass import dataclass
from anabranch.pipeline.graph import Node
from anabranch.pipeline.incremental import DECLARED, declaration
from anabranch.planning.reads import Read, unchanged

ReasonKind = Literal[
    "new", "code", "distribution", "config", "input", "resource", "refresh", "outside", "forced",
    "upstream", "same", "columns", "adopted", "pinned", "unselected", "sample", "waiting",
    "incremental", "rebuild", "gone",
]  # fmt: skip


@dataclass(frozen=True)
class Reason:
    """One cause, for a person and for a program.

    Attributes:
        kind: What sort of cause.
        text: A phrase: ``function flights.helpers.clean changed``.
        name: The thing that it names: part, field, input, distribution.
        place: ``file:line`` of it, where it has one.
    """

    kind: ReasonKind
    text: str
    name: str = ""
    place: str | None = None

    def __str__(self) -> str:
        return f"{self.text} ({self.place})" if self.place else self.text

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": self.kind, "text": self.text, "name": self.name, "place": self.place}


def code_reasons(node: Node, entry: Entry) -> list[Reason]:
    """What of the code differs from the code that made the entry: functions, constants, classes, queries, distributions."""
    made = entry.provenance
    if made.code == node.code:
        return []
    old, new = made.code_parts, node.code_parts
    changed = sorted(name for name in new if name in old and old[name] != new[name])
    added = sorted(set(new) - set(old))
    removed = sorted(set(old) - set(new))
    # A changed caller explains what it newly reaches or no longer reaches; only where nothing else does is that named.
    if not any(not name.startswith("distribution ") for name in changed):
        told = (
            [(n, "changed") for n in changed]
            + [(n, "is new") for n in added]
            + [(n, "is gone") for n in removed]
        )
    else:
        told = [(n, "changed") for n in changed]
    reasons = [_code_reason(name, what, node, old, new) for name, what in told]
    return reasons or [Reason("code", f"the code of {node.key} changed", node.key, node.place or None)]


def _code_reason(name: str, what: str, node: Node, old: Mapping[str, str], new: Mapping[str, str]) -> Reason:
    if name.startswith("distribution "):
        short = name.removeprefix("distribution ")
        versions = (
            f"{short} {old[name]} → {new[name]}"
            if what == "changed"
            else f"{short} {new.get(name, '')} {what}".replace("  ", " ")
        )
        return Reason("distribution", f"distribution {versions}", short)
    return Reason("code", f"{name} {what}", name, node.places.get(name))


def config_reasons(node: Node, entry: Entry) -> list[Reason]:
    """Config fields whose value differs."""
    made = entry.provenance
    if made.config == node.config:
        return []
    fields = sorted(set(node.config_parts) | set(made.config_parts))
    found = [
        Reason(
            "config",
            f"config {f}: {made.config_parts.get(f, 'absent')} → {node.config_parts.get(f, 'absent')}",
            f,
            node.place or None,
        )
        for f in fields
        if made.config_parts.get(f) != node.config_parts.get(f)
    ]
    return found or [Reason("config", "config changed", node.key)]


def input_reasons(node: Node, entry: Entry, reads: Mapping[str, Read | None]) -> list[Reason]:
    """Inputs that are new, gone, or hold other content than what was read: other rows, or other columns among those read."""
    read = entry.provenance.inputs
    found = []
    for key in sorted(set(node.inputs) | set(read)):
        if key not in read:
            found.append(Reason("input", f"it now reads {key}", key))
        elif key not in node.inputs:
            found.append(Reason("input", f"it no longer reads {key}", key))
        elif (now := reads.get(key)) is not None and not unchanged(entry.provenance, key, now):
            found.append(Reason("input", f"{key} has other content than it was made from", key))
    return found


def column_reasons(node: Node, entry: Entry, reads: Mapping[str, Read]) -> list[Reason]:
    """Inputs that have changed, but not where they are read."""
    found = []
    for key in node.inputs:
        now = reads.get(key)
        if now is None or now.names is None or now.table == entry.provenance.inputs.get(key):
            continue
        columns = [name for name in now.names if name not in node.aliases]
        names = f"the columns it reads ({', '.join(columns)})" if columns else "in the number of its rows"
        found.append(Reason("columns", f"{key} changed, but not {names}", key))
    return found


def own_reasons(node: Node, entry: Entry | None) -> list[Reason]:
    """What differs in the asset itself, whatever its inputs hold."""
    if entry is None:
        return [Reason("new", f"{node.key} was never built", node.key, node.place or None)]
    return code_reasons(node, entry) + config_reasons(node, entry) + declaration_reasons(node, entry)


def kept_of(entry: Entry) -> Mapping[str, Any]:
    """What was kept with an entry when it was made; with a masked copy, when its parent was."""
    extra = entry.provenance.extra
    parent = extra.get("parent")
    return {**extra, **parent.get("extra", {})} if parent is not None else extra


def declaration_reasons(node: Node, entry: Entry) -> list[Reason]:
    """What of an incremental asset's declaration and resources differs from those that its rows were made under."""
    if not entry.provenance.fingerprint:
        return []
    made = kept_of(entry).get(DECLARED)
    if made is None and node.incremental is None:
        return []
    now = declaration(node) if node.incremental is not None else {}
    before = made or {}
    found = []
    if [before.get(name) for name in ("kind", "key")] != [now.get(name) for name in ("kind", "key")]:
        words = [
            " by ".join(filter(None, (each["kind"], ", ".join(each["key"])))) if each else "a whole build"
            for each in (before, now)
        ]
        found.append(Reason("code", f"it was {words[0]}, and is {words[1]}", node.key, node.place or None))
    elif made is not None and before.get("resources") != now.get("resources"):
        found.append(Reason("resource", "the identity of a resource changed", node.key))
    return found
