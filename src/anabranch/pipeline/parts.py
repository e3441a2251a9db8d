"""What a code hash is made of, and how parts and the names between them become one hash.

Knows neither files nor objects: only parts, and which name of which part leads to which part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from anabranch.dataclass import dataclass
from anabranch.pipeline.canonical import digest

PartKind = Literal["function", "class", "constant", "module", "distribution", "sql", "resource", "opaque"]


@dataclass(frozen=True)
class Part:
    """One thing that a code hash is made of.

    Attributes:
        name: ``flights.helpers.clean``, ``distribution polars``.
        kind: What it is.
        hash: Of its own text, not of what it reaches; a distribution's version.
        file: Relative to the project's root, with ``/``; None if it stands in no file of the project.
        line: Where it begins there, from 1.
    """

    name: str
    kind: PartKind
    hash: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        if self.kind == "distribution":
            return self.name
        place = f" ({self.file}:{self.line})" if self.file and self.line else ""
        return f"{self.kind} {self.name}{place}"


@dataclass(frozen=True)
class CodeFingerprint:
    """The code of an asset.

    Attributes:
        hash: 32 hexadecimal digits, of all parts' texts and of which name leads to which; not of the parts' names, so
            a helper that moves to another module changes nothing.
        parts: Sorted by name; no two have one name.
        notes: What could not be analysed, a sentence each.
    """

    hash: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...]


class Node:
    """A part and where its names lead.

    Args:
        part: The part.
        expand: Finds the labelled nodes that its names lead to, and may add ``notes``; asked once, when somebody walks
            through, for code has rings.
        within: The names of the definitions around it.
    """

    __slots__ = ("edges", "expand", "notes", "part", "within")

    def __init__(
        self,
        part: Part,
        expand: Callable[[Node], list[tuple[str, Node]]] | None = None,
        within: tuple[str, ...] = (),
    ) -> None:
        self.part = part
        self.expand = expand
        self.edges: list[tuple[str, Node]] | None = None
        self.notes: list[str] = []
        self.within = within

    def reach(self) -> list[tuple[str, Node]]:
        """Where its names lead, in an order that the texts give."""
        if self.edges is None:
            self.edges = []
            if self.expand is not None:
                self.edges = sorted(
                    dict.fromkeys(self.expand(self)),
                    key=lambda edge: (edge[0], edge[1].part.kind, edge[1].part.hash, edge[1].part.name),
                )
        return self.edges


def summary(roots: Sequence[tuple[str, Node]], facts: Sequence[str], notes: Iterable[str]) -> CodeFingerprint:
    """Walks from the roots in the order of the labels, which the texts give, and hashes what it meets.

    The hash knows which reference of which part leads to which part, by number; names of modules are not in it.
    """
    numbers: dict[int, int] = {}
    order: list[Node] = []
    pieces: list[str] = ["ab1", str(len(roots)), *facts]

    def number(node: Node) -> str:
        found = numbers.get(id(node))
        if found is None:
            found = numbers[id(node)] = len(order)
            order.append(node)
        return str(found)

    for label, node in roots:
        pieces += (label, number(node))
    position = 0
    while position < len(order):
        node = order[position]
        position += 1
        edges = node.reach()
        own = node.part.name if node.part.kind == "distribution" else ""
        pieces += ("part", node.part.kind, own, node.part.hash, str(len(edges)))
        for label, target in edges:
            pieces += (label, number(target))
    names = {node.part.name for node in order}
    found: dict[str, Part] = {}
    for node in order:
        if names.isdisjoint(node.within):  # else it stands in the text of one that is listed
            _store(found, node.part)
    said = dict.fromkeys((*notes, *(note for node in order for note in node.notes)))
    return CodeFingerprint(
        digest(*pieces), tuple(found[name] for name in sorted(found)), tuple(sorted(f"{n}." for n in said))
    )


def _store(found: dict[str, Part], part: Part) -> None:
    name, count = part.name, 1
    while name in found and found[name] != part and found[name].hash != part.hash:
        count += 1
        name = f"{part.name}#{count}"
    if name not in found:
        found[name] = part if name == part.name else replace(part, name=name)
