"""The I/O manager that stands in for a project's own while anabranch runs an asset: it reads what the step was given and
keeps what the asset returns for the step to store. It writes nothing itself, so no asset's output can miss its branch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster

from anabranch.adapters.dagster.convert import asked, wants_each
from anabranch.dataclass import dataclass, field


@dataclass
class Desk:
    """What one execution reads and what comes of it.

    Attributes:
        handles: Asset → a handle on it; assets that anabranch does not keep are missing.
        facts: Asset → what was kept of the step that made it.
        names: Asset key's path → the asset's name here.
        keys: Partitioned input → our partition key → Dagster's, for what is read of it.
        taken: Asset → what it returned, as its I/O manager was given it.
        between: Values that pass between the ops of one graph.
    """

    handles: Mapping[str, Any]
    facts: Mapping[str, Mapping[str, Any]]
    names: Mapping[tuple[str, ...], str]
    keys: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    taken: dict[str, Any] = field(default_factory=dict)
    between: dict[tuple[str, str, str | None], Any] = field(default_factory=dict)

    def name(self, context: Any) -> str | None:
        """The asset that an I/O context is about, if it is one of ours."""
        return self.names.get(tuple(context.asset_key.path)) if context.has_asset_key else None


class BranchIOManager(dagster.IOManager):
    """Stands in for one of the project's I/O managers.

    Args:
        desk: What is read, and where what is returned goes.
        owner: The asset that is made, for messages.
        own: Makes the project's own manager: for what anabranch does not keep.
        also: Whether the project's own writes, too.
        by_key: Whether several partitions of an input come one by one where nothing is annotated, as from files.
    """

    def __init__(
        self, desk: Desk, owner: str, own: Callable[[], Any], *, also: bool = False, by_key: bool = True
    ) -> None:
        self.desk = desk
        self.owner = owner
        self.own = own
        self.also = also
        self.by_key = by_key

    def handle_output(self, context: Any, obj: Any) -> None:
        """Keeps an asset's value for the step, and anything else for the op that reads it."""
        name = self.desk.name(context)
        if name is None:
            if context.has_asset_key:
                raise dagster.DagsterInvariantViolationError(
                    f"{context.asset_key.to_user_string()} is not an asset that is made here"
                )
            self.desk.between[(context.step_key, context.name, context.mapping_key)] = obj
            return
        self.desk.taken[name] = obj
        if self.also:
            self.own().handle_output(context, obj)

    def load_input(self, context: Any) -> Any:
        """What the step was given, by the type that the asset asks for."""
        name = self.desk.name(context)
        if name is None or (name not in self.desk.handles and name not in self.desk.taken):
            upstream = context.upstream_output
            if not context.has_asset_key and upstream is not None:
                return self.desk.between[(upstream.step_key, upstream.name, upstream.mapping_key)]
            return self.own().load_input(context)
        if name in self.desk.taken:
            return self.desk.taken[name]
        annotation = context.dagster_type.typing_type
        keys = self.desk.keys.get(name)
        each = keys is not None and (
            wants_each(annotation) or (self.by_key and annotation is Any and len(keys) > 1)
        )
        return asked(
            self.desk.handles[name],
            annotation,
            self.desk.facts.get(name, {}),
            owner=self.owner,
            parameter=context.name,
            columns=_columns(context),
            keys=keys if each else None,
        )


def _columns(context: Any) -> Sequence[str] | None:
    """``AssetIn(metadata={"columns": […]})``, as Dagster's I/O managers of databases understand it."""
    found = (context.definition_metadata or {}).get("columns")
    found = getattr(found, "value", found)
    return list(found) if isinstance(found, list | tuple) else None
