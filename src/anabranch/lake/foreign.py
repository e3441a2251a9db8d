"""What becomes of a table's partition map when another engine has written the table.

Engines know nothing of the map. What they did not touch keeps its state; what they did is counted anew, and said to be made
by them, so that nobody takes it for what the asset's code makes. Knows tables; knows nothing of refs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.lake import manifest
from anabranch.lake.avro import AvroError
from anabranch.lake.fields import form_of
from anabranch.lake.partition_map import PartitionMap, PartitionState
from anabranch.lake.project import is_plain_file
from anabranch.lake.slices import pairs_of
from anabranch.lake.version import ContentHasher

if TYPE_CHECKING:
    from anabranch.lake.read import Table
    from anabranch.lake.storage import Storage

FOREIGN = "foreign"
"""Id of what made a partition that another engine has written: its description is empty, its inputs are not known."""

Values = tuple[Any, ...]


def map_after(storage: Storage, old: Table | None, new: Table) -> PartitionMap | None:
    """The partition map of a table whose metadata another engine has made.

    Args:
        storage: Where the files are.
        old: The table that the commit was based on; None for a new table.
        new: The table as it will be.

    Returns:
        None where partitions can't be told apart any more: the schema or the partition spec has changed, rows lie outside
        of the partitions, or there are delete files. A partition that the map did not know is not in it.
    """
    known = old.partition_map if old is not None else None
    if (
        old is None
        or known is None
        or _spec(old) != _spec(new)
        or form_of(old.current_schema) != form_of(new.current_schema)
    ):
        return None
    spec = new.spec["spec-id"]
    rows = new.manifests()
    if any(row["content"] != manifest.DATA or row["partition_spec_id"] != spec for row in rows):
        return None
    touched = _touched(old, new)
    entries: dict[Values, list[manifest.Entry]] = {
        values: [] for values in touched if values in known.by_values
    }
    for entry in new.entries_of(set(entries)) if entries else ():
        entries[manifest.values_of(entry)].append(entry)
    states = [
        _counted(storage, new, known.by_values[values], values, found) for values, found in entries.items()
    ]
    return known.with_states(states, makings={FOREIGN: {}})


def _spec(table: Table) -> tuple[int, list[tuple[int, str]]]:
    return table.spec["spec-id"], pairs_of(table.spec)


def _touched(old: Table, new: Table) -> set[Values]:
    """Partitions in which files came or went, by the manifests that are not in both."""
    before = {row["manifest_path"]: row for row in old.manifests()}
    after = {row["manifest_path"]: row for row in new.manifests()}
    try:
        gone = _files(old, [row for path, row in before.items() if path not in after])
        come = _files(new, [row for path, row in after.items() if path not in before])
    except AvroError:  # packed in a way that is read by pyiceberg alone
        gone, come = ({_path(entry): entry for entry in table.entries()} for table in (old, new))
    return {
        manifest.values_of(entry)
        for one, other in ((gone, come), (come, gone))
        for path, entry in one.items()
        if path not in other
    }


def _files(table: Table, rows: list[manifest.Entry]) -> dict[str, manifest.Entry]:
    return {_path(entry): entry for row in rows for entry in table.manifest_entries(row, statistics=False)}


def _path(entry: manifest.Entry) -> str:
    return str(entry["data_file"]["file_path"])


def _counted(
    storage: Storage, table: Table, key: str, values: Values, entries: list[manifest.Entry]
) -> PartitionState:
    hasher = ContentHasher(table.schema)
    for batch in table.scan_files(entries):
        hasher.update(batch)
    plain = all(
        entry["data_file"]["file_format"] == "PARQUET"
        and is_plain_file(storage, _path(entry), table.current_schema)
        for entry in entries
    )
    return PartitionState(
        key,
        hasher.content.rows,
        str(hasher.content),
        FOREIGN,
        "",
        values,
        form_of(table.current_schema) if plain else "",
        len(entries),
        sum(int(entry["data_file"]["file_size_in_bytes"]) for entry in entries),
    )


__all__ = ["FOREIGN", "map_after"]
