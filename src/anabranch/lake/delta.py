"""What a commit by another library makes of a table: its new content version, from the files that came and went.

pyiceberg and the engines on top of it know nothing of content versions. After they have written, the version is updated
by the rows of the files that were added and removed alone, or computed from all rows where that is less work or the only
sound way (another schema, delete files). Knows tables; knows nothing of refs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass, field
from anabranch.errors import IsolationError, LakeError, MissingFileError
from anabranch.lake import manifest
from anabranch.lake.columns import ColumnSet, parse_set
from anabranch.lake.project import is_plain_file
from anabranch.lake.read import COLUMNS, PARTITIONS, PLAIN, VERSION, Table
from anabranch.lake.storage import missing_file
from anabranch.lake.version import Content, ContentHasher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anabranch.lake.storage import Storage

Json = Any
_MOST_FOOTERS = 64
"""How many files that a commit left as they were are opened to find out whether they still fit the schema."""


@dataclass(frozen=True)
class State:
    """What a table holds after a commit.

    Attributes:
        content: Of all its rows.
        plain: Whether its files may be read directly; see `Table.plain`.
        bytes: Of its data files.
        files: How many there are.
        columns: Of those sets of columns that the table before had versions of; none of a table that is cut.
    """

    content: Content
    plain: bool
    bytes: int
    files: int
    columns: Mapping[str, Content] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The content's version."""
        return str(self.content)

    @property
    def column_versions(self) -> dict[str, str]:
        """The versions of the sets of columns, as they are recorded."""
        return {text: str(each) for text, each in self.columns.items()}


def one_snapshot(metadata: Json) -> Json:
    """The metadata with its current snapshot alone, since history lives in the catalog.

    What was recorded of the snapshot's content is left out: it may not hold for the schema that goes with it now.
    """
    current = metadata.get("current-snapshot-id")
    kept = [each for each in metadata.get("snapshots", []) if each["snapshot-id"] == current]
    needed = {metadata["current-schema-id"], *(each.get("schema-id") for each in kept)}
    out = {
        **metadata,
        "schemas": [each for each in metadata["schemas"] if each["schema-id"] in needed],
        "snapshots": [_unrecorded(each) for each in kept],
        "snapshot-log": [
            {"snapshot-id": each["snapshot-id"], "timestamp-ms": each["timestamp-ms"]} for each in kept
        ],
        "metadata-log": [],
        "refs": {"main": {"snapshot-id": current, "type": "branch"}} if kept else {},
        "statistics": [each for each in metadata.get("statistics", []) if each["snapshot-id"] == current],
        "partition-statistics": [],
    }
    if not kept:
        out.pop("current-snapshot-id", None)
    return out


def _unrecorded(snapshot: Json) -> Json:
    out = {name: value for name, value in snapshot.items() if name != "parent-snapshot-id"}
    summary = snapshot.get("summary") or {"operation": "overwrite"}
    return {
        **out,
        "summary": {
            name: value
            for name, value in summary.items()
            if name not in (VERSION, PLAIN, PARTITIONS, COLUMNS)
        },
    }


def with_state(metadata: Json, state: State, partitions: str | None = None) -> Json:
    """The metadata with what is known of its snapshot's content recorded in it, and where its partition map is."""
    known = {
        "total-data-files": str(state.files),
        "total-records": str(state.content.rows),
        "total-files-size": str(state.bytes),
        VERSION: state.version,
        PLAIN: "true" if state.plain else "false",
        **({} if partitions is None else {PARTITIONS: partitions}),
        **({COLUMNS: json.dumps(state.column_versions, separators=(",", ":"))} if state.columns else {}),
    }
    snapshots = [{**each, "summary": {**each["summary"], **known}} for each in metadata["snapshots"]]
    return {**metadata, "snapshots": snapshots}


def state_after(storage: Storage, old: Table | None, new: Table) -> State:
    """The state of a table whose metadata is about to be written, after what it refers to was made durable.

    Args:
        storage: The scope of whoever commits.
        old: The table that the commit was based on, with its version; None for a new table.
        new: The table as it will be.

    Raises:
        IsolationError: a file that was added lies outside the warehouse.
        MissingFileError: a file that was added is not there.
    """
    before = {_path(entry): entry for entry in (old.entries() if old is not None else [])}
    after = {_path(entry): entry for entry in new.entries()}
    added = [entry for path, entry in after.items() if path not in before]
    removed = [entry for path, entry in before.items() if path not in after]
    _settle(storage, old, new, added)
    data = [entry for entry in after.values() if _is_data(entry)]
    content, columns = _content(old, new, added, removed, data)
    return State(
        content,
        _plain(storage, old, new, added, list(after.values())),
        sum(_size(entry) for entry in data),
        len(data),
        columns,
    )


def _path(entry: manifest.Entry) -> str:
    return str(entry["data_file"]["file_path"])


def _size(entry: manifest.Entry) -> int:
    return int(entry["data_file"]["file_size_in_bytes"])


def _is_data(entry: manifest.Entry) -> bool:
    return bool(entry["data_file"]["content"] == manifest.DATA)


def _settle(storage: Storage, old: Table | None, new: Table, added: Iterable[manifest.Entry]) -> None:
    """Makes durable what the commit refers to and the table before it did not."""
    known = _metadata_files(old) if old is not None else set()
    places = [*(_path(entry) for entry in added), *sorted(_metadata_files(new) - known)]
    for place in places:
        if not storage.contains(place):
            raise IsolationError(
                f"{new.key} can't take the file {place}, which is outside the warehouse {storage.warehouse}",
                hint="copy its rows: what others may change or delete is no part of a table",
                location=place,
            )
    try:
        storage.settle(storage.canonical(place) for place in places)
    except FileNotFoundError as error:
        raise missing_file(str(error.filename), new.key) from error


def _metadata_files(table: Table) -> set[str]:
    found = {str(row["manifest_path"]) for row in table.manifests()}
    listed = table.manifest_list
    return found | {listed} if listed is not None else found


def _content(
    old: Table | None,
    new: Table,
    added: list[manifest.Entry],
    removed: list[manifest.Entry],
    data: list[manifest.Entry],
) -> tuple[Content, dict[str, Content]]:
    """The content of all rows, and of the sets of columns that the table before has versions of."""
    known = old.column_versions if old is not None and old.map_location is None else {}
    sets = [parse_set(text) for text in known]
    base = _additive(old, new, [*added, *removed, *data])
    if old is None or base is None or sum(map(_size, [*added, *removed])) >= sum(map(_size, data)):
        return _hash(new, None, sets)
    (came, with_them), (went, without) = _hash(new, added, sets), _hash(old, removed, sets)
    columns = {text: Content.parse(each) + with_them[text] - without[text] for text, each in known.items()}
    return base + came - went, columns


def _additive(old: Table | None, new: Table, entries: Iterable[manifest.Entry]) -> Content | None:
    """The content to go on from, if files that came and went tell the difference; otherwise None."""
    if (
        old is None
        or not all(map(_is_data, entries))
        or not all(map(_is_data, old.entries(statistics=False)))
        or old.schema != new.schema
        or old.field_ids != new.field_ids
    ):
        return None
    try:
        return Content.parse(old.version)
    except LakeError:  # a version of another algorithm
        return None


def _hash(
    table: Table, entries: list[manifest.Entry] | None, sets: Iterable[ColumnSet]
) -> tuple[Content, dict[str, Content]]:
    """The content of some of a table's files, or of all, and of sets of their columns."""
    hasher = ContentHasher(table.schema, sets)
    try:
        for batch in table.to_batches() if entries is None else table.scan_files(entries):
            hasher.update(batch)
    except FileNotFoundError as error:
        raise MissingFileError(f"a file of {table.key} is gone: {error}") from error
    return hasher.content, hasher.column_contents


def _plain(
    storage: Storage, old: Table | None, new: Table, added: list[manifest.Entry], after: list[manifest.Entry]
) -> bool:
    if not all(_is_data(entry) and entry["data_file"]["file_format"] == "PARQUET" for entry in after):
        return False
    paths = {_path(entry) for entry in added}
    if old is None or not old.plain or old.schema != new.schema or old.field_ids != new.field_ids:
        paths = {_path(entry) for entry in after}
        if len(paths) - len(added) > _MOST_FOOTERS:
            return False
    return all(is_plain_file(storage, path, new.current_schema) for path in paths)


def outside_paths(properties: Mapping[str, str], folder: str) -> list[str]:
    """Names of table properties that would lead a writer out of the table's folder."""
    names = (
        "write.data.path",
        "write.metadata.path",
        "write.folder-storage.path",
        "write.object-storage.path",
    )
    return [
        name
        for name in names
        if name in properties and not f"{properties[name].rstrip('/')}/".startswith(f"{folder}/")
    ]
