"""Reading tables: a handle that opens nothing until it is asked, and then reads as little as it can.

Most tables are *plain*: each of their Parquet files has exactly the current schema and nothing is deleted from it, so that
any engine may read the files directly, with all its pushdown. What is not plain (columns that came later, renames, delete
files) is read through pyiceberg, which knows how to. Either way what comes has exactly the types of `Table.schema`.
Knows nothing of refs: a handle points to one immutable ``metadata.json``.
"""

# `filter` is the word that pyarrow, polars and DuckDB use; a location is a string.
# ruff: noqa: A002

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass
from anabranch.errors import LakeError, MissingFileError
from anabranch.lake import manifest
from anabranch.lake.arrow import convert
from anabranch.lake.avro import AvroError
from anabranch.lake.engines import (
    Filter,
    entries_by_pyiceberg,
    frame_of_pandas,
    frame_of_polars,
    literal,
    manifests_by_pyiceberg,
    quoted,
    row_filter,
)
from anabranch.lake.fields import NAME_MAPPING, arrow_schema, field_ids, form_of
from anabranch.lake.layout import Layout
from anabranch.lake.partition_map import PartitionMap
from anabranch.lake.project import LacksColumnError, scan_file
from anabranch.lake.slices import layout_of, value_types
from anabranch.lake.storage import Storage, missing_file
from anabranch.lake.version import Content, content_of

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table as IcebergTable

VERSION = "anabranch.version"
"""In a snapshot's summary: the content version of the table at that snapshot."""
PLAIN = "anabranch.plain"
"""In a snapshot's summary: ``true`` if every data file has exactly the current schema and nothing is deleted from it."""
COLUMNS = "anabranch.columns"
"""In a snapshot's summary: the versions of sets of columns, as JSON; see `anabranch.lake.columns`."""

PARTITIONS = "anabranch.partitions"
"""In a snapshot's summary: where the partition map that goes with the snapshot is."""

Json = Any
_MANY = 1000  # partitions for which looking into every manifest costs less than finding out in which to look
_GLOB = set("*?[]{}")


@dataclass(frozen=True)
class DataFile:
    """One data file of a table: where it is, and its rows and bytes."""

    path: str
    rows: int
    bytes: int


class _Listings:
    """What tables' metadata say of their files, kept for the tables that were read last: a location never changes what it says."""

    def __init__(self, most: int) -> None:
        self._most = most  # files, of all tables together
        self._files = 0
        self._known: OrderedDict[str, Sequence[DataFile]] = OrderedDict()
        self._lock = Lock()

    def get(self, location: str, listed: Callable[[], Sequence[DataFile]]) -> Sequence[DataFile]:
        with self._lock:
            if location in self._known:
                self._known.move_to_end(location)
                return self._known[location]
        found = tuple(listed())
        with self._lock:
            if location not in self._known and len(found) <= self._most:
                self._known[location] = found
                self._files += len(found)
            while self._files > self._most:
                self._files -= len(self._known.popitem(last=False)[1])
        return found


_FILES = _Listings(50_000)


class Table:
    """A stored version of a table. Cheap to make, picklable, and safe to share between threads.

    Args:
        key: The asset's key, for messages.
        location: The table's ``metadata.json``.
        storage: Where to read it; any scope.
        version: The content's version, if known.
    """

    _only: frozenset[str] | None = None
    """Keys of the partitions that this handle reads; None: all of the table."""

    def __init__(self, key: str, location: str, storage: Storage, version: str | None = None) -> None:
        self.key = key
        self.location = location
        self._storage = storage
        self._version = version

    @classmethod
    def of_metadata(cls, key: str, location: str, storage: Storage, metadata: Json) -> Table:
        """A handle for metadata that is about to be written at the location."""
        table = cls(key, location, storage)
        table.__dict__["metadata"] = metadata  # where cached_property looks first
        return table

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("key", "location", "_storage", "_version", "_only")}

    def __repr__(self) -> str:
        part = "" if self._only is None else f" {len(self._only)} partitions of"
        return f"<table{part} {self.key} {self.location}>"

    # what it is

    @cached_property
    def metadata(self) -> Json:
        """The table's Iceberg metadata as a JSON value. Raises MissingFileError, LakeError."""
        data = self._contents(self.location)
        try:
            metadata = json.loads(_unpacked(data))
            known = "schemas" in metadata or "schema" in metadata
        except (ValueError, TypeError) as error:
            raise LakeError(
                f"{self.location} of {self.key} is no Iceberg metadata: {error}", location=self.location
            ) from error
        if not known:
            raise LakeError(f"{self.location} of {self.key} is no Iceberg metadata", location=self.location)
        if "schemas" not in metadata:  # format version 1
            schema = {"schema-id": 0, **metadata["schema"]}
            metadata.update({"schemas": [schema], "current-schema-id": schema["schema-id"]})
        if "partition-specs" not in metadata:
            specs = [{"spec-id": 0, "fields": metadata.get("partition-spec", [])}]
            metadata.update({"partition-specs": specs, "default-spec-id": 0})
        return metadata

    @cached_property
    def _snapshot(self) -> Json | None:
        current = self.metadata.get("current-snapshot-id")
        return next(
            (each for each in self.metadata.get("snapshots", []) if each["snapshot-id"] == current), None
        )

    @property
    def _summary(self) -> Json:
        return (self._snapshot or {}).get("summary") or {}

    @cached_property
    def current_schema(self) -> Json:
        """The current Iceberg schema as a JSON value."""
        current = self.metadata["current-schema-id"]
        return next(each for each in self.metadata["schemas"] if each["schema-id"] == current)

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema that reads return, without metadata."""
        return arrow_schema(self.current_schema)

    @property
    def field_ids(self) -> dict[str, int]:
        """Iceberg field ids by dotted path, for every field at any depth."""
        return field_ids(self.current_schema)

    @property
    def iceberg_schema(self) -> Schema:
        """The schema as pyiceberg's object."""
        from pyiceberg.schema import Schema

        return Schema.model_validate(self.current_schema)

    @property
    def version(self) -> str:
        """The content's version: as given, as recorded in the table, or computed from all its rows."""
        if self._version is None:
            recorded = self._summary.get(VERSION) if self._only is None else self._restricted_version()
            if recorded is None:
                recorded = str(content_of(self.to_batches()))
            self._version = recorded
        return self._version

    @property
    def column_versions(self) -> dict[str, str]:
        """The recorded versions of sets of columns, by `columns.set_text` of the set; those of this version's rows."""
        recorded = self._summary.get(COLUMNS)
        if recorded is None or self._summary.get(VERSION) != self.version:
            return {}
        return dict(json.loads(recorded))

    @cached_property
    def rows(self) -> int:
        """The number of rows."""
        try:
            return Content.parse(self.version).rows
        except LakeError:
            return int(sum(batch.num_rows for batch in self.to_batches(columns=[self.schema.names[0]])))

    @cached_property
    def bytes(self) -> int:
        """The size of all data files."""
        if self._only is not None:
            return sum(state.bytes for state in self._restriction.states())
        recorded = self._summary.get("total-files-size") if VERSION in self._summary else None
        return int(recorded) if recorded is not None else sum(file.bytes for file in self.files())

    @cached_property
    def file_count(self) -> int:
        """The number of data files."""
        if self._only is not None:
            return self._restriction.files
        recorded = self._summary.get("total-data-files") if VERSION in self._summary else None
        return int(recorded) if recorded is not None else len(self.files())

    @property
    def plain(self) -> bool:
        """Whether every file has exactly the current schema and nothing is deleted, so that Parquet can be read directly."""
        whole = self._snapshot is None or self._summary.get(PLAIN) == "true"
        if whole or self._only is None:
            return whole
        return self._restriction.forms <= {form_of(self.current_schema)}

    @property
    def manifest_list(self) -> str | None:
        """Where the manifest list is; None for a table that never held a row."""
        return None if self._snapshot is None else self._snapshot.get("manifest-list")

    # partitions

    @cached_property
    def spec(self) -> Json:
        """The default partition spec as a JSON value."""
        default = self.metadata["default-spec-id"]
        return next(each for each in self.metadata["partition-specs"] if each["spec-id"] == default)

    @cached_property
    def partitioning(self) -> manifest.Partitioning:
        """The default partition spec as manifests need it."""
        return manifest.Partitioning(self.spec, tuple(value_types(self.spec, self.current_schema["fields"])))

    @property
    def layout(self) -> Layout | None:
        """How the table is partitioned; None where it is not, or in a way that only other engines write."""
        return layout_of(self.spec, self.current_schema["fields"])

    @property
    def map_location(self) -> str | None:
        """Where the partition map is; None for a table without one."""
        found: str | None = self._summary.get(PARTITIONS)
        return found

    @property
    def partition_map(self) -> PartitionMap | None:
        """The state of each partition that this handle reads; None for a table without partitions, or whose partitions are
        not known since another engine changed its schema. Raises MissingFileError, LakeError.
        """
        return self._restriction if self._only is not None else self._whole_map

    @cached_property
    def _whole_map(self) -> PartitionMap | None:
        if self.map_location is None:
            return None
        return PartitionMap.from_bytes(self._contents(self.map_location))

    @cached_property
    def _restriction(self) -> PartitionMap:
        assert self._only is not None
        whole = self._whole_map or PartitionMap()
        if 2 * len(self._only) > len(whole):
            return whole.with_states(remove={key for key in whole if key not in self._only})
        states = [state for state in map(whole.get, self._only) if state is not None]
        return PartitionMap(states, whole.makings)

    def only(self, keys: Collection[str]) -> Table:
        """A handle that reads the rows of these partitions alone, and opens no file of others.

        Args:
            keys: Keys of partitions; those that the table has not hold no rows.

        Raises:
            LakeError: the states of the table's partitions are not known; see `partition_map`.
        """
        if isinstance(keys, str):
            raise LakeError(f"{keys!r} is one key", hint="give a collection of keys")
        if self._whole_map is None:
            raise LakeError(
                f"{self.key} is not kept in partitions that can be told apart",
                hint="build the asset with partitions, or read the whole table with a filter",
                key=self.key,
            )
        made = Table(self.key, self.location, self._storage)
        made._only = frozenset(keys) if self._only is None else self._only & frozenset(keys)
        for name in ("metadata", "_snapshot", "current_schema", "schema", "_whole_map", "spec"):
            if name in self.__dict__:
                made.__dict__[name] = self.__dict__[name]
        return made

    @property
    def whole(self) -> bool:
        """Whether this handle reads all of the table, and not some partitions alone."""
        return self._only is None

    def _restricted_version(self) -> str:
        content = Content.empty(self.schema)
        for state in self._restriction.states():
            content += Content.parse(state.version)
        return str(content)

    def manifests(self) -> list[manifest.Entry]:
        """The rows of the manifest list, of a restricted handle too. Raises MissingFileError."""
        if self._snapshot is None:
            return []
        try:
            return manifest.decode_manifest_list(self._contents(self._snapshot["manifest-list"]))
        except (AvroError, KeyError):
            return manifests_by_pyiceberg(self._iceberg())

    def entries(self, *, statistics: bool = True) -> list[manifest.Entry]:
        """The manifests' entries that are alive, delete files among them, in the order of the files. Raises MissingFileError."""
        if self._only is None:
            return self.entries_of(None, statistics=statistics)
        states = (state for state in self._restriction.states() if state.files)
        return self.entries_of({state.values for state in states}, statistics=statistics)

    def entries_of(
        self, wanted: set[tuple[Any, ...]] | None, *, statistics: bool = True
    ) -> list[manifest.Entry]:
        """The entries of the partitions with these values; all delete files whatever their partition."""
        listed = self.manifests()
        if wanted is not None and len(wanted) < _MANY:
            listed = [row for row in listed if row["content"] != manifest.DATA or self._may_hold(row, wanted)]
        try:
            entries = [entry for row in listed for entry in self.manifest_entries(row, statistics=statistics)]
        except AvroError:
            entries = entries_by_pyiceberg(self._iceberg())
        return [
            entry
            for entry in entries
            if wanted is None
            or entry["data_file"]["content"] != manifest.DATA
            or manifest.values_of(entry) in wanted
        ]

    def _may_hold(self, row: manifest.Entry, wanted: Collection[tuple[Any, ...]]) -> bool:
        return row["partition_spec_id"] == self.spec["spec-id"] and self.partitioning.may_hold(row, wanted)

    def manifest_entries(self, row: manifest.Entry, *, statistics: bool = True) -> list[manifest.Entry]:
        """The entries of one manifest that are alive. Raises MissingFileError, AvroError."""
        return manifest.decode_manifest(self._contents(row["manifest_path"]), row, statistics=statistics)

    @cached_property
    def _files(self) -> Sequence[DataFile]:
        if self._only is not None or (
            self._storage.local
            and self._snapshot is not None
            and not self._storage.exists(self._snapshot["manifest-list"])
        ):
            return self._listed()
        return _FILES.get(self.location, self._listed)

    def _listed(self) -> list[DataFile]:
        return [
            DataFile(file["file_path"], file["record_count"], file["file_size_in_bytes"])
            for file in (entry["data_file"] for entry in self.entries(statistics=False))
            if file["content"] == manifest.DATA
        ]

    def files(self) -> list[DataFile]:
        """The data files, in the order of the rows. Raises MissingFileError where metadata is gone."""
        return list(self._files)

    # reading

    def to_arrow(
        self, columns: Sequence[str] | None = None, filter: Filter | None = None, limit: int | None = None
    ) -> pa.Table:
        """The rows as an Arrow table.

        Args:
            columns: Names of the columns wanted, in the order wanted; all if None.
            filter: Which rows; see `Filter`.
            limit: At most so many rows.

        Raises:
            MissingFileError: a file of the table is gone.
            LakeError: there is no such column.
        """
        import pyarrow as pa

        schema = self._projected(columns)
        if self.plain:
            with self._naming_missing_files():
                dataset, expression = self._filtered(filter)
                names = schema.names
                if limit is not None:
                    return dataset.head(limit, columns=names, filter=expression).cast(schema)
                table = dataset.to_table(columns=names, filter=expression)
                return table if table.schema.equals(schema, check_metadata=True) else table.cast(schema)
        batches = []
        rows = 0
        for batch in self.to_batches(columns, filter):
            batches.append(batch if limit is None else batch.slice(0, limit - rows))
            rows += batch.num_rows
            if limit is not None and rows >= limit:
                break
        return pa.Table.from_batches(batches, schema)

    def to_batches(
        self, columns: Sequence[str] | None = None, filter: Filter | None = None
    ) -> pa.RecordBatchReader:
        """The rows as a stream: a table larger than memory passes. Arguments and errors as for `to_arrow`."""
        import pyarrow as pa

        schema = self._projected(columns)
        if self.plain:
            with self._naming_missing_files():
                dataset, expression = self._filtered(filter)
                scanner = dataset.scanner(
                    columns=schema.names, filter=expression, batch_readahead=4, fragment_readahead=2
                )
                batches: Iterator[pa.RecordBatch] = scanner.to_batches()
        else:
            batches = self._scan(schema, filter)
        return pa.RecordBatchReader.from_batches(schema, self._exact(batches, schema))

    def to_pandas(
        self, columns: Sequence[str] | None = None, filter: Filter | None = None, limit: int | None = None
    ) -> pd.DataFrame:
        """The rows as a pandas frame.

        Where numpy can't hold a column exactly, pandas' own types are used: integers and booleans with nulls become
        ``Int64`` and the like, decimals and nested values Arrow-backed columns.
        """
        return frame_of_pandas(self.to_arrow(columns, filter, limit))

    def to_polars(
        self, columns: Sequence[str] | None = None, filter: Filter | None = None, limit: int | None = None
    ) -> pl.DataFrame:
        """The rows as a polars frame; UUIDs come as their 16 bytes, which is what polars has for them."""
        return frame_of_polars(self.to_arrow(columns, filter, limit))

    def to_lazy(self) -> pl.LazyFrame:
        """A lazy polars frame: columns and filters of the query are pushed down to the files."""
        import polars as pl

        if self.plain and self._storage.local and self._files:
            self.check_files()
            return pl.scan_parquet([file.path for file in self._files], glob=False)
        if self.plain and self._files:
            return pl.scan_pyarrow_dataset(self.to_dataset())
        if self.plain:
            return frame_of_polars(self.schema.empty_table()).lazy()
        return self._streamed_to_polars()

    def _streamed_to_polars(self) -> pl.LazyFrame:
        """A lazy frame whose columns are pushed down to `to_batches`, and whose filter is applied batch by batch."""
        import pyarrow as pa
        from polars.io.plugins import register_io_source

        def source(
            columns: list[str] | None, predicate: pl.Expr | None, limit: int | None, _batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            left = limit
            for batch in self.to_batches(columns):
                if left is not None and left <= 0:
                    return
                frame = frame_of_polars(pa.Table.from_batches([batch])).head(
                    batch.num_rows if left is None else left
                )
                left = None if left is None else left - frame.height
                yield frame if predicate is None else frame.filter(predicate)

        return register_io_source(source, schema=frame_of_polars(self.schema.empty_table()).schema)

    def to_duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """A lazy DuckDB relation, on the given connection or on one of its own."""
        import duckdb

        connection = connection or duckdb.connect()
        if self._readable_by_name:
            self.check_files()
            return connection.read_parquet([file.path for file in self._files], hive_partitioning=False)
        return connection.from_arrow(self.to_dataset())

    def create_view(
        self, connection: duckdb.DuckDBPyConnection, name: str, columns: Collection[str] | None = None
    ) -> None:
        """Makes the table known to a DuckDB connection as a view; queries push columns and filters down.

        Args:
            connection: The view lives as long as it.
            name: ``name`` or ``schema.name``; the schema is made if need be. An earlier view of that name is replaced.
            columns: All that will be asked of the view, in lower case; None: anything. What can't be left to DuckDB is read
                for these alone.
        """
        schema, _, plain_name = name.rpartition(".")
        view = quoted(plain_name)
        if schema:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
            view = f"{quoted(schema)}.{view}"
        if self._readable_by_name:
            self.check_files()
            paths = ", ".join(literal(file.path) for file in self._files)
            connection.execute(
                f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM read_parquet([{paths}], hive_partitioning = false)"
            )
            return
        inner = f"__anabranch {name}"
        connection.register(inner, self._dataset_for(columns))
        connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM {quoted(inner)}")

    def _dataset_for(self, columns: Collection[str] | None) -> ds.Dataset:
        import pyarrow.dataset as ds

        if self.plain or columns is None:
            return self.to_dataset()
        wanted = [name for name in self.schema.names if name.lower() in columns] or self.schema.names[:1]
        return ds.dataset(self.to_arrow(wanted))

    @property
    def _readable_by_name(self) -> bool:
        """Whether DuckDB can be told the files' paths: it would take some characters for wildcards."""
        return (
            self.plain
            and self._storage.local
            and bool(self._files)
            and not any(_GLOB & set(file.path) for file in self._files)
        )

    def to_dataset(self) -> ds.Dataset:
        """An Arrow dataset. Of a plain table it is lazy; any other table is read into memory."""
        import pyarrow.dataset as ds

        if not self.plain:
            return ds.dataset(self.to_arrow())
        if not self._files:
            return ds.dataset(self.schema.empty_table())
        self.check_files()
        return self._dataset([file.path for file in self._files])

    def to_iceberg(self) -> IcebergTable:
        """The table as pyiceberg sees it, read-only: it has no catalog to commit to.

        Raises:
            LakeError: this handle is restricted to some partitions, which pyiceberg knows nothing of.
        """
        if self._only is not None:
            raise LakeError(
                f"pyiceberg can't be told to read some partitions of {self.key} alone",
                hint="read the whole table with a row filter, or let this handle read",
                key=self.key,
            )
        return self._iceberg()

    def _iceberg(self) -> IcebergTable:
        from pyiceberg.table import StaticTable
        from pyiceberg.table.metadata import TableMetadataUtil

        metadata = TableMetadataUtil.parse_raw(json.dumps(self.metadata))
        from pyiceberg.catalog.noop import NoopCatalog

        return StaticTable(
            identifier=("static-table", self.location),
            metadata_location=self.location,
            metadata=metadata,
            io=self._storage.io,
            catalog=NoopCatalog("static-table"),
        )

    def check_files(self, paths: Iterable[str] | None = None) -> None:
        """Raises MissingFileError if a local data file (one of those given) is gone; on an object store reading tells."""
        if self._storage.local:
            for path in paths or (file.path for file in self._files):
                if not self._storage.exists(path):
                    raise missing_file(path, self.key)

    def _contents(self, location: str) -> Any:
        try:
            return self._storage.read_bytes(location)
        except MissingFileError as error:
            raise missing_file(location, self.key) from error

    def _projected(self, columns: Sequence[str] | None) -> pa.Schema:
        import pyarrow as pa

        if columns is None:
            return self.schema
        for name in columns:
            if name not in self.schema.names:
                raise LakeError(
                    f"{self.key} has no column {name!r}",
                    hint=f"its columns: {', '.join(self.schema.names[:20])}",
                    key=self.key,
                    column=name,
                )
        return pa.schema([self.schema.field(name) for name in columns])

    def _dataset(self, paths: list[str]) -> ds.Dataset:
        import pyarrow.dataset as ds

        options = ds.ParquetFragmentScanOptions(pre_buffer=True, arrow_extensions_enabled=True)
        form = ds.ParquetFileFormat(default_fragment_scan_options=options)
        places = [self._storage.filesystem(path) for path in paths]
        return ds.FileSystemDataset.from_paths(
            [path for _, path in places], schema=self.schema, format=form, filesystem=places[0][0]
        )

    def _filtered(self, filter: Filter | None) -> tuple[ds.Dataset, Any]:
        """The dataset of the files that may hold wanted rows, and what is left to be filtered of them."""
        import pyarrow.dataset as ds

        if filter is None or isinstance(filter, ds.Expression):
            return self.to_dataset(), filter
        expression, paths = self._planned(filter)
        wanted = [file.path for file in self._files if file.path in paths]
        if not wanted:
            return ds.dataset(self.schema.empty_table()), None
        self.check_files(wanted)
        return self._dataset(wanted), expression

    def _planned(self, filter: Filter) -> tuple[Any, set[str]]:
        """A pyiceberg filter as a pyarrow expression, and the files that may hold rows for it by their bounds."""
        from pyiceberg.expressions.visitors import bind
        from pyiceberg.io.pyarrow import expression_to_pyarrow

        wanted = row_filter(filter)
        table = self._iceberg()
        try:
            bound = bind(table.schema(), wanted, case_sensitive=True)
        except ValueError as error:
            raise LakeError(
                f"the filter {filter!r} does not fit {self.key}: {error}",
                hint=f"its columns: {', '.join(self.schema.names[:20])}",
                key=self.key,
            ) from error
        paths = {task.file.file_path for task in table.scan(row_filter=wanted).plan_files()}
        return expression_to_pyarrow(bound, table.schema()), paths

    def _scan(self, schema: pa.Schema, filter: Filter | None) -> Iterator[pa.RecordBatch]:
        """Batches of a table that is not plain, through pyiceberg, file by file."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        if filter is None:
            return self.scan_files(self.entries(), schema)
        entries = self.entries()
        if isinstance(filter, ds.Expression):
            expression = filter
        else:
            expression, paths = self._planned(filter)
            entries = [
                entry
                for entry in entries
                if entry["data_file"]["content"] != manifest.DATA or entry["data_file"]["file_path"] in paths
            ]
        reader = pa.RecordBatchReader.from_batches(self.schema, self.scan_files(entries, self.schema))
        scanner = ds.Scanner.from_batches(reader, columns=schema.names, filter=expression)
        batches: Iterator[pa.RecordBatch] = scanner.to_batches()
        return batches

    def scan_files(
        self, entries: Iterable[manifest.Entry], schema: pa.Schema | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of some of the table's files, or files meant for it, under its current schema, in order.

        Args:
            entries: What `entries` returns, or a part of it. Where delete files are among them, they are applied.
            schema: The wanted part of `schema`; all if None.
        """
        schema = schema or self.schema
        entries = list(entries)
        files = [entry["data_file"] for entry in entries]
        if any(file["content"] != manifest.DATA or file["file_format"] != "PARQUET" for file in files):
            yield from self._exact(
                self._scan_by_pyiceberg({file["file_path"] for file in files}, schema), schema
            )
            return
        supplied = {
            field["source-id"]
            for spec in self.metadata["partition-specs"]
            for field in spec["fields"]
            if field["transform"] == "identity"
        }
        mapping = json.loads(self.metadata.get("properties", {}).get(NAME_MAPPING, "[]"))
        for file in files:
            batches = scan_file(
                self._storage,
                file["file_path"],
                self.current_schema,
                schema.names,
                mapping=mapping,
                supplied=supplied if file.get("partition") else (),
            )
            try:
                yield from self._exact(batches, schema)
            except LacksColumnError:  # told before the first batch
                yield from self._exact(self._scan_by_pyiceberg({file["file_path"]}, schema), schema)

    def _scan_by_pyiceberg(self, paths: set[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """What is left to pyiceberg: delete files, values of partitions, other formats. One file in memory at a time."""
        from pyiceberg.expressions import AlwaysTrue
        from pyiceberg.io.pyarrow import ArrowScan

        table = self._iceberg()
        scan = ArrowScan(table.metadata, table.io, table.schema().select(*schema.names), AlwaysTrue())
        for task in table.scan().plan_files():
            if task.file.file_path in paths:
                yield from scan.to_record_batches([task])

    def _exact(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        with self._naming_missing_files():
            for batch in batches:
                columns = [convert(batch.column(field.name), field.type, field.name) for field in schema]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _naming_missing_files(self) -> _NamesMissingFiles:
        return _NamesMissingFiles(self)


def _unpacked(data: bytes) -> bytes:
    """Metadata as it is, or out of gzip as some writers keep it."""
    if data[:2] != b"\x1f\x8b":
        return data
    import gzip

    return gzip.decompress(data)


class _NamesMissingFiles:
    """Turns a library's "not found" into the error that says which file of which table is gone."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError):
            storage = self._table._storage  # noqa: SLF001 -- two classes of one thing
            for file in self._table.files():
                if not storage.exists(file.path):
                    raise missing_file(file.path, self._table.key) from error
