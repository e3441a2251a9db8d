"""Writing tables: a stream of Arrow data becomes Parquet files, manifests and one ``metadata.json``, durably and in order.

pyiceberg's own writer copies the metadata a dozen times per commit and keeps every snapshot; history lives in the
catalog here, so a table's metadata has exactly one. Data files are flushed before any metadata names them, metadata
before anybody is told its location. Knows nothing of refs: who publishes the location decides what it means.
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass, field
from anabranch.errors import LakeError, UnstorableError
from anabranch.lake import manifest
from anabranch.lake.arrow import conform, storable_schema
from anabranch.lake.avro import AvroError
from anabranch.lake.columns import ColumnSet, SetSums, column_set, kept_sets, parse_set
from anabranch.lake.compact import run_to_merge, runs_of_small
from anabranch.lake.fields import NAME_MAPPING, arrow_schema, assign_fields, leaves, name_mapping
from anabranch.lake.read import COLUMNS, PLAIN, VERSION, Table
from anabranch.lake.slabs import SMALL, chained, count_nans, dictionaries, slabs
from anabranch.lake.version import Content, ContentHasher, content_of, file_version
from anabranch.names import new_id

if TYPE_CHECKING:
    import pyarrow as pa

    from anabranch.lake.storage import Storage


GROUP_ROWS = 1 << 18
_WORTH_A_THREAD = 1 << 15  # rows

Json = Any
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Written:
    """What a write left behind; nothing points to it yet.

    Attributes:
        location: The table's ``metadata.json``, or the file of a file asset.
        version: The content's version.
        rows: Rows of the whole table; None for a file.
        bytes: Bytes of all its data files.
        files: How many data files it has.
        columns: Version of each set of columns that was asked for and is known, by `columns.set_text` of the set.
    """

    location: str
    version: str
    rows: int | None
    bytes: int
    files: int
    columns: Mapping[str, str] = field(default_factory=dict)


def write_table(
    storage: Storage,
    key: str,
    data: pa.Table | pa.RecordBatchReader,
    *,
    previous: Table | None = None,
    renames: Mapping[str, str] | None = None,
    docs: Mapping[str, str] | None = None,
    properties: Mapping[str, str] | None = None,
    column_sets: Iterable[ColumnSet] = (),
    threads: int = 2,
    on_progress: Progress | None = None,
) -> Written:
    """Writes a whole table anew; the files of the previous one stay as they are.

    Streams: a reader of any length takes about ``threads + 1`` slabs of 128 MB of memory. The order of the rows is kept.

    Args:
        storage: Where, under the scope that allows it.
        key: The asset's key; decides the folder.
        data: The rows.
        previous: The table that this one replaces: its identity, properties and field ids go on.
        renames: New column → the column of ``previous`` that it continues.
        docs: Column → comment.
        properties: Iceberg table properties to set.
        column_sets: Sets of columns whose versions are wanted besides the whole table's.
        threads: How many slabs are hashed, packed and written at once.
        on_progress: Called with the number of rows written so far, from the calling thread.

    Raises:
        UnstorableError: a column's type or a value can't be stored exactly.
        IsolationError: the scope does not reach the table's folder.
        LakeError: a rename or comment names no column.
    """
    schema = storable_schema(data.schema)
    before = previous.metadata if previous is not None else None
    base = start_metadata(before)
    current = current_schema(before)
    fields, last_id = assign_fields(
        schema, previous=current, last_id=base["last-column-id"], renames=renames, docs=docs
    )
    if current is not None and current["fields"] == fields:
        iceberg = current
    else:
        schema_id = max((each["schema-id"] for each in base["schemas"]), default=-1) + 1
        iceberg = {"type": "struct", "schema-id": schema_id, "fields": fields}
    spec = next(each for each in base["partition-specs"] if each["spec-id"] == base["default-spec-id"])
    if spec["fields"]:  # a table that is written whole is not partitioned
        spec = {"spec-id": max(each["spec-id"] for each in base["partition-specs"]) + 1, "fields": []}
    writer = Writer(storage, key, iceberg, spec["spec-id"], base["last-sequence-number"] + 1)
    writer.sets = kept_sets(map(column_set, column_sets))
    writer.write_data(data, threads, on_progress)
    rows = [writer.write_manifest(writer.entries)] if writer.entries else []
    metadata = {
        **base,
        "last-column-id": last_id,
        "schemas": [iceberg],
        "current-schema-id": iceberg["schema-id"],
        "partition-specs": [spec],
        "default-spec-id": spec["spec-id"],
        "sort-orders": [{"order-id": 0, "fields": []}],
        "default-sort-order-id": 0,
        "properties": {**base["properties"], **(properties or {})},
    }
    totals = (writer.content.rows, writer.bytes, len(writer.entries))
    return writer.finish(
        metadata,
        rows,
        writer.content,
        totals,
        operation="overwrite" if before else "append",
        plain=True,
        columns=writer.columns,
    )


def append_table(
    storage: Storage,
    key: str,
    data: pa.Table | pa.RecordBatchReader,
    *,
    previous: Table,
    properties: Mapping[str, str] | None = None,
    threads: int = 2,
    on_progress: Progress | None = None,
) -> Written:
    """Writes a table that holds the previous one's rows, whose files it shares, and the given ones.

    The version is updated by the new rows alone. The cost does not grow with the number of earlier appends: manifests,
    and the small files of small appends, are merged as they become many.

    Args:
        storage: As for `write_table`; the previous table may lie elsewhere in the warehouse.
        key: The asset's key.
        data: Rows with exactly the columns of ``previous``, in any order; narrower numbers are widened.
        previous: The table to go on from.
        properties: Iceberg table properties to set, if anything is written.
        threads: As for `write_table`.
        on_progress: As for `write_table`; counts the new rows.

    Raises:
        UnstorableError: the columns or their types differ, or a value can't be stored exactly.
        IsolationError: the scope does not reach the table's folder.
    """
    if not previous.whole:
        raise LakeError(
            f"a handle for some partitions of {key} can't be appended to", hint="give the whole table"
        )
    base, iceberg, spec_id = base_metadata(previous, properties)
    source = align(data, previous.schema, key)
    writer = Writer(storage, key, iceberg, spec_id, base["last-sequence-number"] + 1)
    known = previous.column_versions
    writer.sets = tuple(map(parse_set, known))
    writer.write_data(source, threads, on_progress)
    old_content = content_of_table(previous)
    totals = (previous.rows, previous.bytes, previous.file_count)
    if not writer.entries:
        return Written(previous.location, str(old_content), *totals, known)
    listed = writer.merge([*previous.manifests(), writer.write_manifest(writer.entries)], previous)
    content = old_content + writer.content
    return writer.finish(
        base,
        listed,
        content,
        (
            content.rows,
            totals[1] + writer.bytes - writer.saved_bytes,
            totals[2] + len(writer.entries) - writer.saved_files,
        ),
        operation="append",
        plain=previous.plain,
        columns={text: Content.parse(known[text]) + added for text, added in writer.columns.items()},
    )


def write_file_asset(storage: Storage, key: str, data: bytes | Path, *, name: str | None = None) -> Written:
    """Keeps a file, durably, as ``<table folder>/<id>-<name>``. A path is copied as a stream.

    Args:
        storage: Where, under the scope that allows it.
        key: The asset's key.
        data: The content, or the path of a local file.
        name: The file's name, without folders; the path's own name, or ``data``.

    Raises:
        MissingFileError: the path is no file.
        UnstorableError: name is no plain file name.
    """
    name = name or (data.name if isinstance(data, Path) else "data")
    if "/" in name or "\\" in name or name in ("", ".", ".."):
        raise UnstorableError(f"{name!r} can't be a file's name", hint="give a name without folders")
    location = f"{storage.table_folder(key)}/{new_id()}-{name}"
    if isinstance(data, Path):
        location = storage.write_file(location, data)
        with storage.open_input(location) as file:  # what was stored, should the source change meanwhile
            version = file_version(file)
            size = file.tell()
    else:
        location = storage.write_bytes(location, data)
        version, size = file_version(data), len(data)
    return Written(location, version, None, size, 1)


def start_metadata(before: Json | None) -> Json:
    """The metadata that a new one starts from."""
    if before is None:
        return {
            "format-version": 2,
            "table-uuid": str(uuid.uuid4()),
            "last-sequence-number": 0,
            "last-column-id": 0,
            "schemas": [],
            "partition-specs": [{"spec-id": 0, "fields": []}],
            "default-spec-id": 0,
            "last-partition-id": 999,
            "sort-orders": [{"order-id": 0, "fields": []}],
            "default-sort-order-id": 0,
            "properties": {"write.parquet.compression-codec": "zstd"},
        }
    if before["format-version"] > 2:
        raise LakeError(
            f"the table is of Iceberg's format version {before['format-version']}, which can't be written",
            hint="replace it without naming it as the previous table",
        )
    kept = ("table-uuid", "last-column-id", "current-schema-id", "partition-specs", "default-spec-id")
    return {
        "format-version": 2,
        **{name: before[name] for name in kept},
        "schemas": [current_schema(before)],
        "last-sequence-number": before.get("last-sequence-number", 0),
        "last-partition-id": before.get("last-partition-id", 999),
        "sort-orders": before.get("sort-orders") or [{"order-id": 0, "fields": []}],
        "default-sort-order-id": before.get("default-sort-order-id", 0),
        "properties": dict(before.get("properties", {})),
    }


def base_metadata(previous: Table, properties: Mapping[str, str] | None = None) -> tuple[Json, Json, int]:
    """What a table that goes on from another starts with: metadata, schema, and the id of a spec without partitions."""
    base = start_metadata(previous.metadata)
    base["properties"] = {**base["properties"], **(properties or {})}
    iceberg = current_schema(previous.metadata)
    assert iceberg is not None
    specs = base["partition-specs"]
    spec = next((each for each in specs if not each["fields"]), None)
    if spec is None:  # files without a partition may stand beside partitioned ones
        spec = {"spec-id": max(each["spec-id"] for each in specs) + 1, "fields": []}
        base["partition-specs"] = [*specs, spec]
    return base, iceberg, spec["spec-id"]


def current_schema(before: Json | None) -> Json | None:
    if before is None:
        return None
    return next(each for each in before["schemas"] if each["schema-id"] == before["current-schema-id"])


def content_of_table(table: Table) -> Content:
    try:
        return Content.parse(table.version)
    except LakeError:  # a version of another algorithm
        return content_of(table.to_batches())


def align(
    data: pa.Table | pa.RecordBatchReader, target: pa.Schema, key: str
) -> pa.Table | pa.RecordBatchReader:
    """The data with the table's columns in the table's order, of types that `conform` widens to the table's."""
    import pyarrow as pa

    given, wanted = list(data.schema.names), list(target.names)
    if sorted(given) != sorted(wanted):
        extra = sorted(set(given) - set(wanted))
        lacking = sorted(set(wanted) - set(given))
        raise UnstorableError(
            f"the rows to append to {key} have other columns than the table"
            + (f"; not in the table: {', '.join(extra)}" if extra else "")
            + (f"; missing: {', '.join(lacking)}" if lacking else ""),
            hint="return the table's columns, or write the whole table",
            column=(extra or lacking or given)[0],
        )
    kept = [each for each in data.schema if not pa.types.is_null(each.type)]
    storable = storable_schema(pa.schema(kept)) if kept else pa.schema([])
    for each in storable:
        _check_widens(each.type, target.field(each.name).type, each.name, key)
    if given == wanted:
        return data
    if isinstance(data, pa.Table):
        return data.select(wanted)
    ordered = pa.schema([data.schema.field(name) for name in wanted])
    return pa.RecordBatchReader.from_batches(ordered, (batch.select(wanted) for batch in data))


def _check_widens(given: pa.DataType, target: pa.DataType, path: str, key: str) -> None:
    from pyarrow import types

    decimals = types.is_decimal(given) and types.is_decimal(target)
    if not (
        given == target
        or (types.is_int32(given) and types.is_int64(target))
        or (types.is_float32(given) and types.is_float64(target))
        or (decimals and given.scale == target.scale and given.precision <= target.precision)
    ):
        raise UnstorableError(
            f"the column {path} of {key} is {target}, and the rows to append have {given}",
            hint="cast the column, or write the whole table",
            column=path,
            type=str(given),
        )


class Writer:
    """One write: where its files go, what it has written, and what that adds up to."""

    def __init__(self, storage: Storage, key: str, schema: Json, spec_id: int, sequence_number: int) -> None:
        self.storage = storage
        self.folder = storage.table_folder(key)
        storage.check_writable(f"{self.folder}/metadata")
        self.schema = schema
        self.arrow = arrow_schema(schema, ids=True)
        self.leaves = leaves(schema)
        self.spec_id = spec_id
        self.partitioning = manifest.Partitioning({"spec-id": spec_id, "fields": []})
        self.check: Callable[[pa.Table], None] | None = (
            None  # called with each slab's rows, as they are stored
        )
        self.sequence_number = sequence_number
        self.snapshot_id = secrets.randbits(62) + 1
        self.id = new_id()
        self.entries: list[manifest.Entry] = []
        self.content = Content.empty(self.arrow)
        self.bytes = 0
        self.saved_bytes = 0  # by compaction
        self.saved_files = 0
        self._slabs = -1
        self.sets: tuple[ColumnSet, ...] = ()
        self.columns: dict[str, Content] = {}
        self._manifests: list[str] = []

    # data

    def write_data(
        self, data: pa.Table | pa.RecordBatchReader, threads: int, on_progress: Progress | None
    ) -> None:
        """Writes all rows as Parquet files, and makes them durable."""
        if self.sets and not self.columns:
            digests = SetSums(self.arrow, self.sets).digests
            self.columns = {text: Content(digest, 0, 0) for text, digest in digests.items()}
        numbered = enumerate(slabs(data), self._slabs + 1)
        first = next(numbered, None)
        second = next(numbered, None) if first is not None else None
        if first is not None and (second is None or threads < 2):
            beside = ThreadPoolExecutor(1, thread_name_prefix="lake-hash") if threads > 1 else nullcontext()
            with beside as pool:
                self._collect(self._write_slab(first, pool), on_progress)
            first = None
        if second is not None:
            with ThreadPoolExecutor(max(1, threads), thread_name_prefix="lake-write") as pool:
                pending: deque[Future[_Slab]] = deque()
                try:
                    for slab in chained(first, second, numbered):
                        if len(pending) >= max(1, threads):
                            self._collect(pending.popleft().result(), on_progress)
                        pending.append(pool.submit(self._write_slab, slab))
                        del slab
                    while pending:
                        self._collect(pending.popleft().result(), on_progress)
                finally:
                    for future in pending:
                        future.cancel()
        self.storage.settle(entry["data_file"]["file_path"] for entry in self.entries)

    def write_pieces(
        self,
        pieces: Sequence[pa.Table],
        checks: Sequence[Callable[[pa.Table], None]],
        threads: int,
        on_progress: Progress | None,
    ) -> list[tuple[tuple[manifest.Entry, ...], Content, Mapping[str, Content]]]:
        """Writes small tables, each as a data file of its own or none if it has no rows; files and contents of each.

        Types are made fit and rows are hashed for all at once, since each has a price per call.
        """
        import pyarrow as pa

        lengths = [piece.num_rows for piece in pieces]
        batches = [
            conform(batch, self.arrow) for batch in pa.concat_tables(pieces).combine_chunks().to_batches()
        ]
        whole = pa.Table.from_batches(batches, self.arrow)
        contents = ContentHasher(self.arrow, self.sets).pieces(whole, lengths)
        ends = list(accumulate(lengths))
        rows = [whole.slice(end - length, length) for end, length in zip(ends, lengths, strict=True)]
        for check, each in zip(checks, rows, strict=True):
            check(each)
        with ThreadPoolExecutor(max(1, threads), thread_name_prefix="lake-write") as pool:
            written = pool.map(
                lambda at: self._write_file(at, rows[at]) if lengths[at] else None, range(len(rows))
            )
            found: list[tuple[tuple[manifest.Entry, ...], Content, Mapping[str, Content]]] = []
            for entry, content in zip(written, contents, strict=True):
                found.append(((entry,) if entry is not None else (), *content))
                if on_progress is not None:
                    on_progress(ends[len(found) - 1])
        self.storage.settle(entry["data_file"]["file_path"] for entries, *_ in found for entry in entries)
        return found

    def _collect(self, slab: _Slab, on_progress: Progress | None) -> None:
        self._slabs += 1
        self.entries.append(slab.entry)
        self.content += slab.content
        self.columns = {text: content + slab.columns[text] for text, content in self.columns.items()}
        self.bytes += slab.entry["data_file"]["file_size_in_bytes"]
        if on_progress is not None:
            on_progress(self.content.rows)

    def _write_slab(
        self, slab: tuple[int, list[pa.RecordBatch]], pool: ThreadPoolExecutor | None = None
    ) -> _Slab:
        """Hashes and writes the rows; beside each other where there is a pool for one of them."""
        import pyarrow as pa

        number, batches = slab
        if sum(batch.num_rows for batch in batches) < len(batches) * SMALL and len(batches) > 1:
            batches = pa.Table.from_batches(batches).combine_chunks().to_batches()
        hasher = ContentHasher(self.arrow, self.sets)
        conformed = [conform(batch, self.arrow) for batch in batches]
        del batches, slab
        table = pa.Table.from_batches(conformed, self.arrow)
        if self.check is not None:
            self.check(table)
        if pool is None or table.num_rows < _WORTH_A_THREAD:
            hasher.update(table)
            entry = self._write_file(number, table)
        else:
            hashed = pool.submit(hasher.update, table)
            entry = self._write_file(number, table)
            hashed.result()
        return _Slab(entry, hasher.content, hasher.column_contents)

    def _write_file(self, number: int, table: pa.Table) -> manifest.Entry:
        import pyarrow.parquet as pq

        location = f"{self.folder}/data/{self.id}-{number:05d}.parquet"
        nans = {leaf.field_id: 0 for leaf in self.leaves if leaf.top and leaf.kind in ("float", "double")}
        count_nans(table, self.schema, nans)
        with self.storage.create(location) as sink:
            with pq.ParquetWriter(
                sink,
                self.arrow,
                compression="zstd",
                store_schema=False,
                store_decimal_as_integer=True,
                use_dictionary=dictionaries(table),
            ) as writer:
                writer.write_table(table, row_group_size=GROUP_ROWS)
            size = sink.tell()
        footer = writer.writer.metadata
        return manifest.added_entry(location, size, footer, self.leaves, nans, self.snapshot_id)

    # metadata

    def write_manifest(self, entries: list[manifest.Entry]) -> manifest.Entry:
        """Writes a manifest of the entries, and returns its row for the list."""
        path = f"{self.folder}/metadata/{self.id}-m{len(self._manifests)}.avro"
        data, row = manifest.encode_manifest(
            entries,
            schema=self.schema,
            partitioning=self.partitioning,
            path=path,
            snapshot_id=self.snapshot_id,
            sequence_number=self.sequence_number,
        )
        self._manifests.append(self.storage.put_bytes(path, data))
        return row

    def merge(self, rows: list[manifest.Entry], table: Table) -> list[manifest.Entry]:
        """The list with runs of small manifests, and of the small files in them, merged; see `anabranch.lake.compact`.

        Manifests of deletes, partitions and other specs stay as they are.

        Args:
            rows: The whole list.
            table: A handle under whose schema the files are read.
        """
        while (run := run_to_merge(rows, self._mergeable)) is not None:
            try:
                entries = [
                    {
                        **entry,
                        "status": manifest.ADDED
                        if entry["snapshot_id"] == self.snapshot_id
                        else manifest.EXISTING,
                    }
                    for row in rows[slice(*run)]
                    for entry in manifest.decode_manifest(self.storage.read_bytes(row["manifest_path"]), row)
                ]
            except AvroError:  # packed by another engine in a way that is not read here
                return rows
            merged = [
                entry
                for small, files in runs_of_small(entries)
                for entry in ([self._compacted(files, table)] if small else files)
            ]
            rows = [*rows[: run[0]], self.write_manifest(merged), *rows[run[1] :]]
        return rows

    def _compacted(self, files: list[manifest.Entry], table: Table) -> manifest.Entry:
        """One data file with the rows of several."""
        self._slabs += 1
        slab = self._write_slab((self._slabs, list(table.scan_files(files))))
        self.storage.settle([slab.entry["data_file"]["file_path"]])
        new = slab.entry["data_file"]
        self.saved_files += len(files) - 1
        self.saved_bytes += (
            sum(each["data_file"]["file_size_in_bytes"] for each in files) - new["file_size_in_bytes"]
        )
        return slab.entry

    def _mergeable(self, row: manifest.Entry) -> bool:
        return bool(row["content"] == manifest.DATA and row["partition_spec_id"] == self.spec_id)

    def put_beside(self, name: str, data: bytes) -> str:
        """Writes a file to which the metadata will point, and which is flushed before it; returns where it is."""
        self._manifests.append(self.storage.put_bytes(f"{self.folder}/metadata/{name}", data))
        return self._manifests[-1]

    def finish(
        self,
        metadata: Json,
        manifests: list[manifest.Entry],
        content: Content,
        totals: tuple[int, int, int],
        *,
        operation: str,
        plain: bool,
        more: Mapping[str, str] | None = None,
        columns: Mapping[str, Content] = MappingProxyType({}),
    ) -> Written:
        """Writes the manifest list and the metadata, makes all of it durable, and says where it is."""
        rows, size, files = totals
        now = time.time_ns() // 1_000_000
        versions = {text: str(each) for text, each in columns.items()}
        listed = f"{self.folder}/metadata/snap-{self.snapshot_id}-{self.id}.avro"
        data = manifest.encode_manifest_list(
            manifests, snapshot_id=self.snapshot_id, sequence_number=self.sequence_number
        )
        listed = self.storage.put_bytes(listed, data)
        summary = {
            "operation": operation,
            "added-data-files": str(len(self.entries)),
            "added-records": str(self.content.rows),
            "added-files-size": str(self.bytes),
            "total-data-files": str(files),
            "total-records": str(rows),
            "total-files-size": str(size),
            VERSION: str(content),
            PLAIN: "true" if plain else "false",
            **(more or {}),
            **({COLUMNS: json.dumps(versions, separators=(",", ":"))} if versions else {}),
        }
        snapshot = {
            "snapshot-id": self.snapshot_id,
            "sequence-number": self.sequence_number,
            "timestamp-ms": now,
            "manifest-list": listed,
            "summary": summary,
            "schema-id": self.schema["schema-id"],
        }
        mapping = json.dumps(name_mapping(self.schema), separators=(",", ":"))
        out = {
            **metadata,
            "location": self.folder,
            "last-sequence-number": self.sequence_number,
            "last-updated-ms": now,
            "properties": {**metadata["properties"], NAME_MAPPING: mapping},
            "current-snapshot-id": self.snapshot_id,
            "refs": {"main": {"snapshot-id": self.snapshot_id, "type": "branch"}},
            "snapshots": [snapshot],
            "snapshot-log": [{"snapshot-id": self.snapshot_id, "timestamp-ms": now}],
            "metadata-log": [],
        }
        location = f"{self.folder}/metadata/{self.sequence_number:05d}-{uuid.uuid4()}.metadata.json"
        location = self.storage.put_bytes(location, json.dumps(out, separators=(",", ":")).encode())
        self.storage.settle([*self._manifests, listed, location])
        return Written(location, str(content), rows, size, files, versions)


@dataclass(frozen=True)
class _Slab:
    entry: manifest.Entry
    content: Content
    columns: Mapping[str, Content]


__all__ = [
    "Progress",
    "Writer",
    "Written",
    "align",
    "append_table",
    "base_metadata",
    "write_file_asset",
    "write_table",
]
