"""The pipeline as plain values: nodes that know their inputs and the hash of their code, and how to select among them.

Everything above this floor plans with `Node` and `Graph` and never sees a user's function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from graphlib import CycleError as _Cycle
from graphlib import TopologicalSorter
from typing import Literal

from anabranch.dataclass import dataclass, field
from anabranch.errors import CycleError, SelectionError
from anabranch.names import did_you_mean
from anabranch.pipeline.partition import PartitionMapping, Partitions


@dataclass(frozen=True)
class Node:
    """One asset, without its function.

    Attributes:
        key: The asset's name.
        kind: python or sql.
        inputs: Keys of the assets it reads, sorted.
        code: Hash of all code it reaches.
        code_parts: Name of each part → its hash.
        places: Name of each part → ``file:line``, relative to the project.
        notes: What of its code could not be analysed, in sentences.
        config: Hash of its config.
        config_parts: Config field → JSON text.
        resources: Parameter → text of the resource's environment-independent identity.
        refresh: Refresh policy of an asset that reads the outside world.
        every: Seconds, for ``refresh="every"``.
        tags: Words to select by.
        place: ``file:line`` of the declaration.
        row_key: Columns that identify a row.
        outside: Files and functions outside the catalog that a query reads.
        reads: Input → the columns of it that the result depends on, in lower case; None, or no such input: all.
        aliases: What its query calls tables, in lower case: names in ``reads`` that are hardly columns.
        description: One line.
        partitions: How its table is cut, or None.
        mappings: Input → which of its partitions a partition reads, where that is stated.
        incremental: append or upsert, for an asset that goes on from its own earlier table.
        deltas: Inputs of which it reads the change.
        lookups: Inputs whose change makes no rebuild necessary.
    """

    key: str
    kind: Literal["python", "sql"] = "python"
    inputs: tuple[str, ...] = ()
    code: str = ""
    code_parts: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    config: str = ""
    config_parts: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    refresh: Literal["code", "always", "every", "observe"] = "code"
    every: float | None = None
    tags: frozenset[str] = frozenset()
    place: str = ""
    row_key: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    reads: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    aliases: frozenset[str] = frozenset()
    description: str = ""
    partitions: Partitions | None = None
    mappings: Mapping[str, PartitionMapping] = field(default_factory=dict)
    incremental: Literal["append", "upsert"] | None = None
    deltas: tuple[str, ...] = ()
    lookups: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckNode:
    """One check, without its function.

    Attributes:
        name: Unique among the checks of its asset.
        asset: Key of the asset that is judged.
        inputs: Keys of all assets it reads.
        code: Hash of its function or rule.
        blocking: Whether a failure blocks.
        volatile: Whether the same data may be judged differently later (freshness).
        place: ``file:line``.
        description: One line.
    """

    name: str
    asset: str
    inputs: tuple[str, ...]
    code: str
    blocking: bool = True
    volatile: bool = False
    place: str = ""
    description: str = ""

    @property
    def id(self) -> str:
        """``delays.delays_have_carriers``: unique in the project."""
        return f"{self.asset}:{self.name}"


class Graph:
    """The assets in an order in which each comes after its inputs.

    Raises:
        CycleError: assets wait for each other; the message names the ring.
    """

    def __init__(
        self, nodes: Iterable[Node], checks: Iterable[CheckNode] = (), *, definitions: str = ""
    ) -> None:
        by_key = {node.key: node for node in nodes}
        self.checks = tuple(checks)
        self.definitions = definitions
        sorter = TopologicalSorter({key: sorted(by_key[key].inputs) for key in sorted(by_key)})
        try:
            order = list(sorter.static_order())
        except _Cycle as error:
            ring = list(reversed(error.args[1]))
            raise CycleError(
                "these assets wait for each other: " + " → ".join(ring),
                place=by_key[ring[0]].place or None,
                hint="one of them must stop reading the next",
                ring=ring,
            ) from None
        self.nodes: dict[str, Node] = {key: by_key[key] for key in order}

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, key: object) -> bool:
        return key in self.nodes

    def __getitem__(self, key: str) -> Node:
        return self.nodes[key]

    @cached_property
    def readers(self) -> dict[str, tuple[str, ...]]:
        """Key → keys of the assets that read it directly."""
        found: dict[str, list[str]] = {key: [] for key in self.nodes}
        for node in self.nodes.values():
            for source in node.inputs:
                found[source].append(node.key)
        return {key: tuple(readers) for key, readers in found.items()}

    def column_sets(self, key: str) -> tuple[tuple[str, ...], ...]:
        """The sets of columns that assets read of one, apart from those that read all of it."""
        found = {self.nodes[reader].reads.get(key) for reader in self.readers[key]}
        return tuple(sorted(names for names in found if names is not None))

    def upstream(self, keys: Iterable[str]) -> set[str]:
        """The keys and everything they are made from."""
        return _closure(keys, lambda key: self.nodes[key].inputs)

    def downstream(self, keys: Iterable[str]) -> set[str]:
        """The keys and everything that is made from them."""
        return _closure(keys, lambda key: self.readers[key])

    def select(self, selection: Iterable[str], *, changed: Callable[[], set[str]] = set) -> set[str]:
        """The assets that a selection names.

        Args:
            selection: Words such as ``delays``, ``+delays`` (with what it is made from), ``delays+`` (with what is
                made from it), ``+delays+``, ``tag:daily`` (also with ``+``), ``changed`` (also with ``+``), ``*``.
                A word may hold several, separated by commas or spaces. Without any word: everything.
            changed: Gives the assets whose code or config differs; called only if ``changed`` is asked for.

        Raises:
            SelectionError: a word names nothing.
        """
        words = [word for text in selection for word in text.replace(",", " ").split()]
        if not words:
            return set(self.nodes)
        chosen: set[str] = set()
        for word in words:
            name = word.removeprefix("+").removesuffix("+")
            if name in ("*", "all"):
                found = set(self.nodes)
            elif name == "changed":
                found = changed()
            elif name.startswith("tag:"):
                found = {node.key for node in self.nodes.values() if name[4:] in node.tags}
                if not found:
                    tags = {tag for node in self.nodes.values() for tag in node.tags}
                    raise SelectionError(
                        f"no asset has the tag {name[4:]!r}",
                        hint=did_you_mean(name[4:], tags, _listed("tags", tags)),
                    )
            elif name in self.nodes:
                found = {name}
            else:
                raise SelectionError(
                    f"there is no asset {name!r}",
                    hint=did_you_mean(name, self.nodes, "`anabranch plan` lists the assets"),
                )
            if word.startswith("+"):
                found = self.upstream(found)
            if word.endswith("+"):
                found = self.downstream(found)
            chosen |= found
        return chosen


def _listed(what: str, words: Iterable[str]) -> str:
    text = ", ".join(sorted(words))
    return f"the {what} are: {text}" if text else f"there are no {what}"


def _closure(keys: Iterable[str], step: Callable[[str], Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(keys)
    while todo:
        key = todo.pop()
        if key not in seen:
            seen.add(key)
            todo.extend(step(key))
    return seen
