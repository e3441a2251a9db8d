"""How a step brings an incremental asset up to date: what came and went since, its own earlier table, and the merge.

Whether it can go on from what is there is settled here at last, before the user's function is called: rows that an
appended table can't follow, columns that changed, files that gc has taken make a full build of it. What was written is
pointed to by nobody until the executor commits it, so that a crash, and a second try, start from the same earlier table
and never add a row twice. Knows pointers, no catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass, field
from anabranch.errors import MissingFileError, SignatureError, StepError
from anabranch.pipeline.incremental import Incremental, Upsert

if TYPE_CHECKING:
    from anabranch.lake.changes import Changes
    from anabranch.lake.storage import Storage
    from anabranch.lake.tables import Table, Written
    from anabranch.running.io import Source


@dataclass(frozen=True)
class StepIncrement:
    """What a step is told of an incremental asset; picklable.

    Attributes:
        kind: append or upsert.
        by: The columns that identify a row, for an upsert.
        deltas: Inputs of which it reads the change.
        since: Input → pointer to the version that was consumed of it; none for an input that was never read.
        full: Whether it is to be built anew.
        forward_only: Whether what is there is to be kept whatever happens.
        views: For a query: name of a table that stands for a change → the input.
        delete: For a query: the one that names the keys to remove.
    """

    kind: Incremental
    by: tuple[str, ...] = ()
    deltas: tuple[str, ...] = ()
    since: Mapping[str, Source] = field(default_factory=dict)
    full: bool = True
    forward_only: bool = False
    views: Mapping[str, str] = field(default_factory=dict)
    delete: str | None = None


@dataclass
class Progressing:
    """An incremental step under way.

    Attributes:
        changes: Input → what came and went.
        previous: The table to go on from; None for a full build.
        reason: Why it is a full build though the plan saw it otherwise, or empty.
    """

    told: StepIncrement
    changes: dict[str, Changes]
    previous: Table | None
    reason: str = ""

    @property
    def mode(self) -> str:
        """Either incremental or full."""
        return "full" if self.previous is None else "incremental"

    def to_dict(self) -> dict[str, Any]:
        """What the entry keeps of it: plain JSON values."""
        found: dict[str, Any] = {"mode": self.mode}
        if self.reason:
            found["reason"] = self.reason
        if self.previous is not None:
            found["rows"] = {
                key: {"added": each.added_rows, "removed": each.removed_rows}
                for key, each in sorted(self.changes.items())
            }
        return found


def begin(
    told: StepIncrement, key: str, sources: Mapping[str, Any], before: Source | None, storage: Storage
) -> Progressing:
    """Finds what came and went, and whether the asset can go on from what is there.

    Raises:
        StepError: it can't, and what is there was to be kept.
    """
    from anabranch.lake.changes import Changes
    from anabranch.lake.tables import Table

    def full(reason: str = "") -> Progressing:
        if reason and told.forward_only:
            raise StepError(
                f"{key} can't be continued forward-only: {reason}",
                hint="run it without --forward-only: a full rebuild",
            )
        return Progressing(told, {name: Changes(None, sources[name]) for name in told.deltas}, None, reason)

    for name in told.deltas:
        if not isinstance(sources[name], Table):
            raise SignatureError(
                f"{key}: {name} is a file, whose changes can't be told", hint="read it whole"
            )
    if told.full or before is None or before.kind != "table":
        return full()
    changes = {}
    for name in told.deltas:
        source = told.since.get(name)
        old = source.open(storage) if source is not None else None
        changes[name] = Changes(old if isinstance(old, Table) else None, sources[name])
        try:
            reason = _obstacle(told, name, changes[name])
        except MissingFileError as error:
            reason = f"the version of {name} that was consumed is no longer there ({error.message})"
        if reason:
            return full(reason)
    previous = before.open(storage)
    assert isinstance(previous, Table)
    return Progressing(told, changes, previous)


def _obstacle(told: StepIncrement, name: str, changes: Changes) -> str:
    if changes.schema_changed:
        return f"the columns of {name} changed"
    changes.check()
    if told.kind == "append" and changes.removed_rows:
        lost = changes.removed_rows
        return f"{name} lost {lost:,} row{'s' * (lost != 1)}, which appending can't follow"
    return ""


def finish(
    step: Progressing,
    storage: Storage,
    key: str,
    value: Any,
    *,
    before: Table | None,
    renames: Mapping[str, str],
    docs: Mapping[str, str],
    properties: Mapping[str, str],
    column_sets: Iterable[tuple[str, ...]],
    threads: int,
    on_progress: Callable[[int], None] | None,
) -> Written:
    """Appends or merges what a function returned, or writes the whole table.

    Raises:
        StepError: what was returned is a file, or does not go with the way in which the asset is incremental.
        UnstorableError: see `append_table` and `upsert_table`.
    """
    from anabranch.lake.tables import Written, append_table, write_table
    from anabranch.lake.upsert import upsert_table, with_unique_keys
    from anabranch.running.io import is_file, to_arrow

    if is_file(value):
        raise StepError(f"{key} returned a file, and only tables can be incremental", hint="return a table")
    merged = value if isinstance(value, Upsert) else Upsert(value)
    if step.told.kind == "append" and isinstance(value, Upsert):
        raise StepError(
            f"{key} returned ab.Upsert, but only appends", hint='incremental="upsert", or return the rows'
        )
    rows = None if merged.rows is None else to_arrow(merged.rows, owner=key)
    delete = None if merged.delete is None else to_arrow(merged.delete, owner=f"{key} (delete)")
    previous = step.previous
    if previous is None:
        if rows is None:
            raise StepError(
                f"{key} returned no rows when all was to be built, so that its columns are not known",
                hint="when previous is None, return the whole table: an empty one if need be",
            )
        if step.told.kind == "upsert":
            rows = with_unique_keys(rows, step.told.by, key)
        return write_table(
            storage,
            key,
            rows,
            previous=before,
            renames=renames,
            docs=docs,
            properties=properties,
            column_sets=column_sets,
            threads=threads,
            on_progress=on_progress,
        )
    if step.told.kind == "upsert":
        return upsert_table(
            storage,
            key,
            rows,
            by=step.told.by,
            previous=previous,
            delete=delete,
            properties=properties,
            threads=threads,
            on_progress=on_progress,
        )
    if rows is None:
        return Written(
            previous.location,
            previous.version,
            previous.rows,
            previous.bytes,
            previous.file_count,
            previous.column_versions,
        )
    return append_table(
        storage,
        key,
        rows,
        previous=previous,
        properties=properties,
        threads=threads,
        on_progress=on_progress,
    )
