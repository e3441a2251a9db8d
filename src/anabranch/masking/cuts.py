"""Masked copies of partitioned tables: cut as their parent is, so that a sync masks the partitions that changed and no other.

A partition's key is a value of the column by which the table is cut. So a copy is cut only where that column is kept; where
it is masked the copy is one piece, and no key is told. Knows two storages, rules and a key; knows nothing of the catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from anabranch.columns import Rule
from anabranch.masking.copy import masked_data

if TYPE_CHECKING:
    from anabranch.lake.layout import LayoutField, Slice
    from anabranch.lake.storage import Storage
    from anabranch.lake.tables import Table
    from anabranch.lake.write import Written
    from anabranch.masking.cipher import Key

_EPOCH = date(1970, 1, 1)
_FIRST_HOUR = datetime(1970, 1, 1)  # noqa: DTZ001 - Iceberg counts on a clock without a zone


def is_cut(source: Table, rules: Mapping[str, str]) -> bool:
    """Whether a copy of the table is cut into its partitions: they can be told apart, and their keys hide nothing."""
    layout = source.layout
    if layout is None or source.partition_map is None:
        return False
    return all(each.added or rules.get(each.column) == "keep" for each in layout.fields)


def changed_partitions(old: Table, new: Table) -> tuple[set[str], set[str]] | None:
    """The partitions whose content differs between two states of a table, and those that went.

    Returns:
        None where that can't be told partition by partition: other columns, another layout, or states that are not known.
    """
    before, after = old.partition_map, new.partition_map
    if (
        before is None
        or after is None
        or old.layout != new.layout
        or old.current_schema != new.current_schema
    ):
        return None
    known = {state.key: state.version for state in before.states()}
    changed = {state.key for state in after.states() if known.get(state.key) != state.version}
    return changed, set(known) - set(after.keys)


def copy_partitions(
    storage: Storage,
    source: Table,
    rules: Mapping[str, Rule],
    key: Key | None,
    *,
    family: str,
    previous: Table | None,
    keys: Collection[str] | None = None,
    gone: Collection[str] = (),
    threads: int = 2,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Written, int]:
    """Writes a masked copy of a partitioned table, partition by partition.

    Args:
        storage, source, rules, key, threads: As for `copy_table`.
        family: What made the newest partitions of the parent.
        previous: The copy to go on from.
        keys: The partitions to mask, upon ``previous``; None: all, and nothing of ``previous`` stays.
        gone: Partitions of ``previous`` that go.
        on_progress: Called with the number of rows written so far.

    Returns:
        The copy, and how many bytes of data were written for it.
    """
    from anabranch.lake.partitions import PartitionWriter, assemble, read_partitions

    layout, states = source.layout, source.partition_map
    assert layout is not None
    assert states is not None
    base = previous if keys is not None else None
    wanted = sorted(states.keys if keys is None else keys)
    docs = {f["name"]: f["doc"] for f in source.current_schema["fields"] if f.get("doc")}
    writer = PartitionWriter(storage, source.key, layout, base, docs=docs, threads=threads)
    masked = read_partitions(source, wanted, lambda data: masked_data(source.schema, data, rules, key))
    writes = []
    rows = 0
    for files in writer.write_all((slice_of(source, name), data) for name, data in masked):
        state = states.get(files.key)
        assert state is not None
        writes.append((files, state.inputs))
        rows += files.rows
        if on_progress is not None:
            on_progress(rows)
    done = assemble(
        storage,
        source.key,
        layout=layout,
        previous=base,
        writes=writes,
        making=("masked", {"family": family}),
        remove=gone,
        docs=docs,
    )
    return done, sum(files.bytes for files, _ in writes)


def slice_of(table: Table, name: str) -> Slice:
    """The slice of one of a table's partitions, by what Iceberg keeps of it."""
    from anabranch.lake.layout import Slice

    layout, states = table.layout, table.partition_map
    assert layout is not None
    state = None if states is None else states.get(name)
    assert state is not None
    types = {field["name"]: field["type"] for field in table.current_schema["fields"]}
    pairs = zip(layout.fields, state.values, strict=True)
    return Slice(name, tuple(_part(each, value, types.get(each.column)) for each, value in pairs))


def _part(field: LayoutField, value: Any, kind: Any) -> str:
    """A value of an Iceberg partition field as the part of a key that it stands for."""
    if field.transform == "day" or (field.transform == "identity" and kind == "date"):
        return (_EPOCH + timedelta(days=value)).isoformat()
    if field.transform == "identity":
        return str(value)
    if field.transform == "hour":
        return (_FIRST_HOUR + timedelta(hours=value)).isoformat(timespec="hours")
    if field.transform == "month":
        return f"{1970 + value // 12:04}-{value % 12 + 1:02}"
    return f"{1970 + value:04}"
