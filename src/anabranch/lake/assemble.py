"""New metadata for a partitioned table out of what is there: slices that were written, partitions of other tables.

No row is copied, and none is read but where a table's schema changes under files that stay: then their content is computed
anew, once. Files are durable before metadata names them, the partition map before the metadata that points to it. Knows
tables and their partitions; knows nothing of calendars, refs or why a partition changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass, field
from anabranch.errors import LakeError, UnstorableError
from anabranch.lake import clusters, manifest
from anabranch.lake.canonical import schema_digest
from anabranch.lake.columns import SetSums, parse_set
from anabranch.lake.evolve import contains, evolved, ids_by_name, joined, only_widened
from anabranch.lake.fields import NAME_MAPPING, arrow_schema, form_of, name_mapping
from anabranch.lake.layout import Layout, Slice
from anabranch.lake.partition_map import PartitionMap, PartitionState, kept_columns
from anabranch.lake.read import PARTITIONS, Table
from anabranch.lake.slices import kinds, new_spec, pairs_of, spec_pairs, value_types, values_of
from anabranch.lake.version import Content, ContentHasher
from anabranch.lake.write import (
    Progress,
    Writer,
    Written,
    content_of_table,
    current_schema,
    start_metadata,
)
from anabranch.names import new_id

if TYPE_CHECKING:
    from anabranch.lake.storage import Storage

Json = Any
Values = tuple[Any, ...]


@dataclass(frozen=True)
class PartitionFiles:
    """What `write_partition` has written: durable files to which nothing points yet. Picklable.

    Attributes:
        slice: Which partition.
        schema: The fields of the Iceberg schema that the files have; None if there are no rows and so no sure types.
        last_id: The highest field id given so far.
        table: The ``table-uuid`` of the table to assemble upon; None for a new one.
        entries: What manifests will say of each file.
        content: Of the rows; None if there is no schema.
        columns: Of each set of columns that is wanted, by `columns.set_text` of the set.
    """

    slice: Slice
    schema: tuple[Json, ...] | None
    last_id: int
    table: str | None
    entries: tuple[manifest.Entry, ...] = field(repr=False)
    content: Content | None
    columns: Mapping[str, Content] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The partition's key."""
        return self.slice.key

    @property
    def rows(self) -> int:
        """Its rows."""
        return self.content.rows if self.content is not None else 0

    @property
    def bytes(self) -> int:
        """The size of the files."""
        return _bytes(self.entries)

    @property
    def files(self) -> tuple[str, ...]:
        """Where the files are."""
        return tuple(entry["data_file"]["file_path"] for entry in self.entries)


@dataclass(frozen=True)
class _Piece:
    """One partition as it will be: its state under the new schema, and its files."""

    state: PartitionState
    entries: Sequence[manifest.Entry]


def assemble(
    storage: Storage,
    key: str,
    *,
    layout: Layout,
    previous: Table | None,
    writes: Sequence[tuple[PartitionFiles, str]],
    making: tuple[str, Json],
    remove: Collection[str] = (),
    docs: Mapping[str, str] | None = None,
    renames: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
) -> Written:
    """The previous table with exactly these partitions' rows replaced, as new metadata.

    Where the writes bring another schema, partitions that stay are read under it from now on, and their content is computed
    anew. A previous table of another layout, or without one, is left behind as a whole.

    Args:
        storage: Where, under the scope that allows it; the previous table may lie elsewhere in the warehouse.
        key: The asset's key.
        layout: How the table is partitioned.
        previous: What to go on from: the table that ``writes`` were written for.
        writes: What `write_partition` returned, each with the digest of the inputs that were read for it.
        making: Id and description of what made these partitions; an id that is given again has the newest description.
        remove: Keys of partitions that go; those that are not there are passed over.
        docs: Column → comment.
        renames: As given to `write_partition`.
        on_progress: Called with the number of rows read so far, where contents are computed anew.

    Raises:
        UnstorableError: the writes' schemas do not go together, or one can't be read from files that stay.
        LakeError: the layout is another than the previous table's and not all its partitions are written; a partition is
            written twice; the writes were made for another table.
        IsolationError: the scope does not reach the table's folder.
    """
    _check_whole(previous)
    before = previous.metadata if previous is not None else None
    old_schema = current_schema(before)
    old_fields = old_schema["fields"] if old_schema is not None else None
    _check_writes(key, before, writes, remove)
    fields = _fields_of_writes(key, writes, old_fields)
    _check_ids(key, before, fields, old_fields, renames or {})
    layout_pairs = spec_pairs(layout, fields)
    known = (previous.partition_map if previous is not None else None) or PartitionMap()
    leaving = {files.key for files, _ in writes} | set(remove)
    same = previous is not None and previous.layout is not None and pairs_of(previous.spec) == layout_pairs
    if previous is not None and not same and any(each not in leaving for each in known):
        kept = [each for each in known if each not in leaving]
        raise LakeError(
            f"{key} is partitioned in another way than before, and {len(kept)} of its partitions are not written, such "
            f"as {kept[0]}",
            hint="build all partitions anew",
            key=key,
        )
    base = previous if same else None
    gone = {each for each in leaving if each in known} if same else set()
    if base is not None and _stays(base, known, gone):
        fields = evolved(old_fields or [], fields, key)
    fields = [
        {**each, "doc": docs[each["name"]]} if docs and each["name"] in docs else each for each in fields
    ]
    types = kinds(fields)
    target = Content.empty(arrow_schema({"fields": fields}))
    forms: dict[int, str] = {}  # slices that were written together share one schema

    def form(files: PartitionFiles) -> str:
        schema = files.schema or fields
        if id(schema) not in forms:
            forms[id(schema)] = form_of({"fields": list(schema)})
        return forms[id(schema)]

    pieces = [
        _Piece(
            PartitionState(
                files.key,
                files.rows,
                str(_recast(files.content, target)),
                making[0],
                inputs,
                values_of(layout, files.slice, types),
                form(files),
                len(files.entries),
                files.bytes,
                *kept_columns(files.columns),
            ),
            files.entries,
        )
        for files, inputs in writes
    ]
    return _Assembly(storage, key, before, base, fields, layout, on_progress).finish(
        pieces, gone, {making[0]: making[1]}, max([0, *(files.last_id for files, _ in writes)])
    )


def overlay(
    storage: Storage,
    key: str,
    base: Table | None,
    picks: Mapping[str, Table | None],
    *,
    like: Table | None = None,
    renames: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
) -> Written:
    """The base table with some partitions as other tables have them: new metadata, no data is copied.

    Where one table has every column of the others, and more, the result has its schema. Where none has, ``like`` decides.

    Args:
        storage: Where, under the scope that allows it; the tables may lie anywhere in the warehouse.
        key: The asset's key.
        base: The table that all other partitions are of; None if there are no others.
        picks: Key → the table whose partition is taken, files and state; None where the partition goes.
        like: The table among them whose schema the result has; the others' files must be readable under it.
        renames: Column of ``like`` → what others call it.
        on_progress: As for `assemble`.

    Raises:
        LakeError: a table lacks the partition that is to be taken, the layouts differ, the same columns have other field
            ids, or no schema holds all columns and ``like`` is not given.
        UnstorableError: files of one table can't be read under the schema of another.
        IsolationError: the scope does not reach the table's folder.
    """
    tables = list({table.location: table for table in picks.values() if table is not None}.values())
    for table in [base, *tables]:
        _check_whole(table)
    first = base if base is not None else next(iter(tables), None)
    if first is None:
        raise LakeError(f"there is no table to take partitions of {key} from", key=key)
    layout = (like or first).layout
    sources = ([base] if base is not None else []) + tables
    for table in sources:
        if layout is None or table.layout is None or table.partition_map is None:
            raise LakeError(
                f"{table.location} of {key} is not kept in partitions that can be told apart",
                hint="build the asset with partitions, or take the whole table",
                key=key,
            )
        if [each.transform for each in table.layout.fields] != [each.transform for each in layout.fields]:
            raise LakeError(
                f"the tables of {key} are partitioned in different ways",
                hint="build one of them anew",
                key=key,
            )
    assert layout is not None
    known = (base.partition_map if base is not None else None) or PartitionMap()
    taken = _taken(key, picks)
    gone = {each for each in picks if each in known}
    kept = base if base is not None and _stays(base, known, gone) else None
    voters = ([kept] if kept is not None else []) + [table for table in tables if _has_files(table, picks)]
    chosen = _chosen(key, voters or [first], like)
    fields = [dict(each) for each in chosen.current_schema["fields"]]
    for table in voters:
        _check_names(key, fields, table.current_schema["fields"], renames or {})
        fields = evolved(table.current_schema["fields"], fields, key)
    layout = chosen.layout or layout
    pairs = spec_pairs(layout, fields)
    same = base is not None and pairs_of(base.spec) == pairs
    if any(pairs_of(table.spec) != pairs for table in voters) or (not same and len(known) > len(gone)):
        raise LakeError(
            f"the tables of {key} are partitioned in different ways", hint="build one of them anew", key=key
        )
    last_id = max(table.metadata["last-column-id"] for table in sources)
    before = (base or chosen).metadata
    assembly = _Assembly(storage, key, before, base if same else None, fields, layout, on_progress)
    pieces: list[_Piece] = []
    makings: dict[str, Json] = {}
    for table in tables:
        keys = [each for each, source in taken.items() if source[0].location == table.location]
        found = assembly.pieces_of(table, [taken[each][1] for each in keys])
        pieces += found
        used = {piece.state.making for piece in found}
        makings |= {
            name: value
            for name, value in (table.partition_map or PartitionMap()).makings.items()
            if name in used
        }
    return assembly.finish(pieces, gone if same else set(), makings, last_id)


def _taken(key: str, picks: Mapping[str, Table | None]) -> dict[str, tuple[Table, PartitionState]]:
    first: dict[str, Table] = {}
    out = {}
    for each, table in picks.items():
        if table is None:
            continue
        source = first.setdefault(table.location, table)
        state = (source.partition_map or PartitionMap()).get(each)
        if state is None:
            raise LakeError(
                f"{source.location} of {key} has no partition {each} that could be taken",
                key=key,
                partition=each,
            )
        out[each] = (source, state)
    return out


def _has_files(table: Table, picks: Mapping[str, Table | None]) -> bool:
    known = table.partition_map or PartitionMap()
    states = [
        known.get(each)
        for each, source in picks.items()
        if source is not None and source.location == table.location
    ]
    return any(state is not None and state.files for state in states)


def _chosen(key: str, tables: Sequence[Table], like: Table | None) -> Table:
    """The table whose schema holds the others' columns."""
    if like is not None:
        return like
    schemas = [table.current_schema["fields"] for table in tables]
    for table, fields in zip(tables, schemas, strict=True):
        if all(contains(fields, other) for other in schemas):
            return table
    named = [ids_by_name(fields) for fields in schemas]
    clash = next(
        (
            name
            for one in named
            for other in named
            for name in one
            if name in other and one[name] != other[name]
        ),
        None,
    )
    if clash is not None:
        raise LakeError(
            f"the column {clash} of {key} has different field ids in the tables, so that the files of one can't be read as "
            "files of the other",
            hint="build the partitions anew upon the table that they are to join",
            key=key,
            column=clash,
        )
    raise LakeError(
        f"the tables of {key} have different columns, and none has them all",
        hint="build the partitions anew upon the table that they are to join",
        key=key,
    )


def _check_names(
    key: str, fields: Sequence[Json], others: Sequence[Json], renames: Mapping[str, str]
) -> None:
    """One field id must be one column in both: two sandboxes may have given it to different ones."""
    known = {each["id"]: each["name"] for each in others}
    for each in fields:
        other = known.get(each["id"], each["name"])
        if other not in (each["name"], renames.get(each["name"])):
            raise LakeError(
                f"the column {each['name']} of {key} has the field id of {other} in another of the tables, so that the files "
                "of one can't be read as files of the other",
                hint="build the partitions anew upon the table that they are to join; or say so if it is the same column, "
                "renamed",
                key=key,
                column=each["name"],
            )


def _check_whole(table: Table | None) -> None:
    if table is not None and not table.whole:
        raise LakeError(
            f"a handle for some partitions of {table.key} can't be gone on from", hint="give the whole table"
        )


def _stays(base: Table, known: PartitionMap, gone: Collection[str]) -> bool:
    """Whether a file of the table stays."""
    return base.file_count > sum(state.files for state in map(known.get, gone) if state is not None)


def _check_writes(
    key: str, before: Json | None, writes: Sequence[tuple[PartitionFiles, str]], remove: Collection[str]
) -> None:
    seen: set[str] = set(remove)
    for files, _ in writes:
        if files.key in seen:
            raise LakeError(
                f"the partition {files.key} of {key} is written twice, or written and removed", key=key
            )
        seen.add(files.key)
        if files.table != (None if before is None else before["table-uuid"]):
            raise LakeError(
                f"the partition {files.key} of {key} was written for another table than the one it is to join",
                hint="give write_partition and assemble the same previous table",
                key=key,
            )


def _fields_of_writes(
    key: str, writes: Sequence[tuple[PartitionFiles, str]], old: Sequence[Json] | None
) -> list[Json]:
    """The fields that the writes have in common; partitions without rows have no say where others have."""
    votes = [
        (files.key, list(files.schema)) for files, _ in writes if files.rows and files.schema is not None
    ]
    if not votes and old is None:
        votes = [(files.key, list(files.schema)) for files, _ in writes if files.schema is not None][:1]
    if not votes and old is None:
        raise UnstorableError(
            f"the first partitions of {key} have no rows and columns without a type",
            hint="give the columns types, or build a partition with rows first",
            key=key,
        )
    if not votes:
        return list(old or [])
    first, fields = votes[0]
    for name, other in votes[1:]:
        fields = joined(fields, other, (first, name))
    return fields


def _check_ids(
    key: str,
    before: Json | None,
    fields: Sequence[Json],
    old: Sequence[Json] | None,
    renames: Mapping[str, str],
) -> None:
    """The writes' field ids must be those that the previous table has, and new ones for new columns."""
    if before is None or old is None:
        return
    known = {each["id"]: each["name"] for each in old}
    for each in fields:
        former = known.get(each["id"])
        taken = former is None and each["id"] <= before["last-column-id"]
        if taken or former not in (None, each["name"], renames.get(each["name"])):
            raise LakeError(
                f"the column {each['name']} of {key} was written for another state of the table than the one it is to join",
                hint="give write_partition and assemble the same previous table, and the same renames",
                key=key,
                column=each["name"],
            )
    now, before = ids_by_name(fields), ids_by_name(old)
    for name, former in renames.items():
        if former in before and name not in before and name in now and now[name] != before[former]:
            raise LakeError(
                f"the column {name} of {key} was written as a new one, and is to continue {former}",
                hint="give write_partition the same renames",
                key=key,
                column=name,
            )


def _recast(content: Content | None, target: Content) -> Content:
    """A content under a schema that differs in the width of numbers alone."""
    return target if content is None else replace(content, schema=target.schema) if content.rows else target


def _bytes(entries: Iterable[manifest.Entry]) -> int:
    return sum(int(entry["data_file"]["file_size_in_bytes"]) for entry in entries)


class _Assembly:
    """One table that is put together: the schema, spec and folder that it will have.

    Args:
        storage: Where.
        key: The asset's key.
        before: Metadata whose identity, properties and ids go on.
        base: The table whose other partitions stay; None if none does.
        fields: Of the new schema.
        layout: Of the new table.
        on_progress: See `assemble`.
    """

    def __init__(
        self,
        storage: Storage,
        key: str,
        before: Json | None,
        base: Table | None,
        fields: list[Json],
        layout: Layout,
        on_progress: Progress | None,
    ) -> None:
        self.key = key
        self.base = base
        self.metadata = start_metadata(before)
        old = current_schema(before)
        if old is not None and old["fields"] == fields:
            self.schema = old
        else:
            schema_id = max((each["schema-id"] for each in self.metadata["schemas"]), default=-1) + 1
            self.schema = {"type": "struct", "schema-id": schema_id, "fields": fields}
        specs = self.metadata["partition-specs"]
        if base is not None:
            spec = base.spec
        else:
            number = max(each["spec-id"] for each in specs) + 1 if before is not None else 0
            spec, self.metadata["last-partition-id"] = new_spec(
                layout, fields, number, self.metadata["last-partition-id"]
            )
        types = tuple(value_types(spec, fields))
        self.writer = Writer(
            storage, key, self.schema, spec["spec-id"], self.metadata["last-sequence-number"] + 1
        )
        self.writer.partitioning = manifest.Partitioning(spec, types)
        self.storage = storage
        self.target = Content.empty(arrow_schema(self.schema))
        self.on_progress = on_progress
        self.read_rows = 0

    def pieces_of(self, table: Table, states: Sequence[PartitionState]) -> list[_Piece]:
        """Partitions of another table as they are under the new schema. Raises LakeError."""
        restricted = table.only([state.key for state in states])
        found: dict[Values, list[manifest.Entry]] = {state.values: [] for state in states}
        for entry in restricted.entries():
            if entry["data_file"]["content"] != manifest.DATA:
                raise LakeError(
                    f"partitions of {table.location} of {self.key} can't be taken: another engine has deleted rows of them",
                    hint="build them anew, or take the whole table",
                    key=self.key,
                )
            found[manifest.values_of(entry)].append(entry)
        read = self._reader(table)
        return [_Piece(read(state, found[state.values]), found[state.values]) for state in states]

    def finish(
        self, pieces: Sequence[_Piece], gone: Collection[str], makings: Mapping[str, Json], last_id: int
    ) -> Written:
        """Writes manifests, map and metadata.

        Args:
            pieces: The partitions that come.
            gone: Keys of the base's partitions that go; those of pieces among them.
            makings: What made the pieces.
            last_id: The highest field id given by anybody.
        """
        writer, base = self.writer, self.base
        old_map = (base.partition_map if base is not None else None) or PartitionMap()
        leaving = [state for state in map(old_map.get, gone) if state is not None]
        self._check_values(pieces, old_map, gone)
        sure = base is None or old_map.files == base.file_count
        removing = {state.values for state in leaving if state.files or not sure}
        if not sure:
            removing |= {piece.state.values for piece in pieces}
        fresh = [self._added(entry, piece.state.values) for piece in pieces for entry in piece.entries]
        rows, removed = self._replace(removing, fresh)
        states = {piece.state.key: piece.state for piece in pieces}
        content, kept = self._content(old_map, leaving, removed, pieces, rows)
        new_map = old_map.with_states([*kept, *states.values()], set(gone), makings)
        rows = clusters.merged(rows, partitioning=writer.partitioning, read=self._read_any, write=self._write)
        form = form_of(self.schema)
        plain = sure and new_map.forms <= {form}
        if base is not None and base.plain and form_of(base.current_schema) == form:
            plain = plain or all(piece.state.form == form for piece in pieces if piece.entries)
        if any(row["content"] != manifest.DATA for row in rows):
            plain = False
        size = (base.bytes if base is not None else 0) - _bytes(removed) + _bytes(fresh)
        files = (base.file_count if base is not None else 0) - len(removed) + len(fresh)
        location = writer.put_beside(f"{new_id()}.partitions", new_map.to_bytes())
        metadata = {
            **self.metadata,
            "last-column-id": max(last_id, self.metadata["last-column-id"]),
            "schemas": [self.schema],
            "current-schema-id": self.schema["schema-id"],
            "partition-specs": [writer.partitioning.spec],
            "default-spec-id": writer.partitioning.spec["spec-id"],
            "sort-orders": [{"order-id": 0, "fields": []}],
            "default-sort-order-id": 0,
        }
        writer.entries = fresh
        writer.bytes = _bytes(fresh)
        for piece in pieces:
            writer.content += Content.parse(piece.state.version)
        return writer.finish(
            metadata,
            rows,
            content,
            (content.rows, size, files),
            operation="overwrite" if removed else "append",
            plain=plain,
            more={PARTITIONS: location},
            columns=self._columns(new_map, content),
        )

    def _columns(self, new_map: PartitionMap, content: Content) -> dict[str, Content]:
        """The content of each set of columns that is known of all partitions as the table has them now."""
        known = new_map.column_contents()
        digests = SetSums(arrow_schema(self.schema), map(parse_set, known)).digests
        return {
            text: each
            for text, each in known.items()
            if each.schema == digests[text] and each.rows == content.rows
        }

    def _check_values(self, pieces: Sequence[_Piece], old_map: PartitionMap, gone: Collection[str]) -> None:
        """No two keys may stand for one partition: a write of one would overwrite the other's rows."""
        owners: dict[Values, str] = {}
        for piece in pieces:
            state = piece.state
            other = owners.setdefault(state.values, state.key)
            if other == state.key:
                known = old_map.by_values.get(state.values)
                other = known if known is not None and known not in gone else state.key
            if other != state.key:
                raise LakeError(
                    f"the partitions {other} and {state.key} of {self.key} are one: their rows have the same "
                    f"{' and '.join(each['name'] for each in self.writer.partitioning.spec['fields'])}",
                    hint="give each partition rows that the layout tells apart",
                    key=self.key,
                )

    def _added(self, entry: manifest.Entry, values: Values) -> manifest.Entry:
        file = {**entry["data_file"], "partition": self.writer.partitioning.record(values)}
        return {"status": manifest.ADDED, "snapshot_id": self.writer.snapshot_id, "data_file": file}

    def _replace(
        self, removing: set[Values], fresh: Sequence[manifest.Entry]
    ) -> tuple[list[manifest.Entry], list[manifest.Entry]]:
        rows = self.base.manifests() if self.base is not None else []
        spec = self.writer.partitioning.spec["spec-id"]
        for row in rows:
            if row["content"] == manifest.DATA and row["partition_spec_id"] != spec:
                raise LakeError(
                    f"{self.key} has rows that another writer has added outside of its partitions",
                    hint="build all partitions anew",
                    key=self.key,
                )
        return clusters.replaced(
            rows,
            removing,
            fresh,
            partitioning=self.writer.partitioning,
            read=self._read_any,
            write=self._write,
        )

    def _write(self, entries: list[manifest.Entry]) -> manifest.Entry:
        return self.writer.write_manifest(entries)

    def _read_any(self, row: manifest.Entry) -> list[manifest.Entry]:
        entries = manifest.decode_manifest(self.storage.read_bytes(row["manifest_path"]), row)
        for entry in entries:
            if entry["snapshot_id"] == self.writer.snapshot_id:  # written a moment ago
                entry["status"] = manifest.ADDED
                entry["sequence_number"] = entry["file_sequence_number"] = None
        return entries

    # contents

    def _content(
        self,
        old_map: PartitionMap,
        leaving: Sequence[PartitionState],
        removed: Sequence[manifest.Entry],
        pieces: Sequence[_Piece],
        rows: Sequence[manifest.Entry],
    ) -> tuple[Content, list[PartitionState]]:
        """The content of the whole, and the states of partitions that stay and are another under the new schema."""
        total = self.target
        for piece in pieces:
            total += Content.parse(piece.state.version)
        base = self.base
        if base is None:
            return total, []
        known = {state.values for state in leaving}
        strange = [entry for entry in removed if manifest.values_of(entry) not in known]
        old_fields, fields = base.current_schema["fields"], self.schema["fields"]
        if only_widened(old_fields, fields):
            rest = content_of_table(base)
            for state in leaving:
                rest -= Content.parse(state.version)
            if strange:
                rest -= self._scanned(base, strange, base.current_schema)
            total += replace(rest, schema=total.schema)
            if schema_digest(arrow_schema(base.current_schema)) == total.schema:
                return total, []
            gone = {state.key for state in leaving}
            read = self._reader(base)
            return total, [read(state, ()) for state in old_map.states() if state.key not in gone]
        by_values: dict[Values, list[manifest.Entry]] = {}
        mine = {entry["data_file"]["file_path"] for piece in pieces for entry in piece.entries}
        for row in rows:
            for entry in self._read_any(row):
                if entry["data_file"]["content"] != manifest.DATA:
                    raise LakeError(
                        f"{self.key} has another schema now, and rows that another engine has deleted",
                        hint="build all partitions anew",
                        key=self.key,
                    )
                if entry["data_file"]["file_path"] not in mine:
                    by_values.setdefault(manifest.values_of(entry), []).append(entry)
        gone = {state.key for state in leaving}
        read = self._reader(base)
        kept = [
            read(state, by_values.pop(state.values, []))
            for state in old_map.states()
            if state.key not in gone
        ]
        for state in kept:
            total += Content.parse(state.version)
        for entries in by_values.values():  # of partitions whose keys are not known
            total += self._scanned(base, entries, self.schema)
        return total, kept

    def _reader(self, table: Table) -> Callable[[PartitionState, Sequence[manifest.Entry]], PartitionState]:
        """What makes of a table's partition, with its files, its state under the new schema."""
        old_fields, fields = table.current_schema["fields"], self.schema["fields"]

        def read(state: PartitionState, entries: Sequence[manifest.Entry]) -> PartitionState:
            if only_widened(old_fields, fields):
                content = replace(Content.parse(state.version), schema=self.target.schema)
            else:
                content = self._scanned(table, entries, self.schema)
            return replace(state, version=str(content))

        return read

    def _scanned(self, table: Table, entries: Sequence[manifest.Entry], schema: Json) -> Content:
        """The content of some of a table's files, read under a schema."""
        before = table.metadata
        schemas = [each for each in before["schemas"] if each["schema-id"] != schema["schema-id"]]
        mapping = {**before.get("properties", {})}
        if NAME_MAPPING in mapping:
            import json

            mapping[NAME_MAPPING] = json.dumps(name_mapping(schema))
        seen = {
            **before,
            "schemas": [*schemas, schema],
            "current-schema-id": schema["schema-id"],
            "properties": mapping,
        }
        handle = Table.of_metadata(self.key, table.location, self.storage, seen)
        hasher = ContentHasher(handle.schema)
        for batch in handle.scan_files(entries):
            hasher.update(batch)
            self.read_rows += batch.num_rows
            if self.on_progress is not None:
                self.on_progress(self.read_rows)
        return hasher.content


__all__ = ["PartitionFiles", "assemble", "overlay"]
