"""A pyiceberg catalog bound to one catalog branch, so that whatever takes a pyiceberg catalog works on a sandbox.

Each change through it is one commit of the branch, expecting the entry that it was based on. Reads are pinned to one
commit. Files are written under the storage's scope only, whatever the table's own properties say, and nothing is ever
deleted. History lives in the catalog: the metadata of every table keeps its current snapshot alone.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyiceberg.catalog import MetastoreCatalog, PropertiesUpdateSummary
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.table import CommitTableResponse, CreateTableTransaction, Table, TableProperties
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil, new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder
from pyiceberg.table.update import AssertCreate, TableRequirement, TableUpdate, update_table_metadata
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties, TableVersion

from anabranch.catalog.base import Catalog, CommitRequest, Entry, Point, Provenance
from anabranch.errors import ConflictError, IsolationError, LakeError, RefError
from anabranch.lake.columns import RECORDED
from anabranch.lake.delta import State, one_snapshot, outside_paths, state_after, with_state
from anabranch.lake.foreign import map_after
from anabranch.lake.read import Table as Handle
from anabranch.names import DEFAULT_NAMESPACE, is_key, join_key, new_id, now, parse_ref, split_key

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.io import FileIO
    from pyiceberg.schema import Schema
    from pyiceberg.view import View
    from pyiceberg.view.metadata import ViewVersion

    from anabranch.lake.storage import Storage

Json = Any
_NAMESPACES = "namespaces"
_RETRIES = TableProperties.COMMIT_NUM_RETRIES


class BranchCatalog(MetastoreCatalog):
    """One ref of the catalog, as pyiceberg sees catalogs.

    The namespace ``main`` holds the keys without one: ``("main", "delays")`` and ``"delays"`` are the key ``delays``,
    ``"marts.orders"`` is ``marts.orders``. Namespaces need not be created.

    Args:
        catalog: The catalog.
        ref: A branch, readable and writable; or a branch at a commit or time, or a tag: read-only.
        storage: Where tables are, under the scope that goes with the branch. Under a scope that only reads, the
            catalog is read-only too.
        author: Who commits.
        environment: Name of the environment or sandbox, for the provenance of what is written.
        lease: Token of a lease that must still be held at each commit.

    Raises:
        RefError: the ref does not exist.
    """

    def __init__(
        self,
        catalog: Catalog,
        ref: str,
        storage: Storage,
        *,
        author: str = "",
        environment: str | None = None,
        lease: str | None = None,
    ) -> None:
        super().__init__(ref, **{**storage.properties, "warehouse": storage.warehouse})
        self._catalog = catalog
        self._storage = storage
        self._author = author
        self._environment = environment
        self._lease = lease
        self._pin: Point | None = None
        self._branch: int | None = None
        parsed = parse_ref(ref)
        if parsed.commit is None and parsed.time is None:
            try:
                self._branch = catalog.branch(parsed.name).id
            except RefError:
                self._pin = catalog.resolve(parsed)  # a tag
        else:
            self._pin = catalog.resolve(parsed)

    # the commit that is read

    @property
    def point(self) -> Point:
        """The commit that reads see: the branch's head at the first read, after `refresh`, or after an own write."""
        if self._pin is None:
            assert self._branch is not None
            self._pin = self._catalog.branch_by_id(self._branch).point
        return self._pin

    def refresh(self) -> None:
        """Lets the next read see the branch's newest commit. A ref that names a commit or a tag stays where it is."""
        if self._branch is not None:
            self._pin = None

    # reading

    def load_table(self, identifier: str | Identifier) -> Table:
        """The table as of the pinned commit.

        Raises:
            NoSuchTableError: there is none.
            MissingFileError: its metadata is gone.
        """
        key = self._key(identifier)
        return self._offer(key, self._entry(key, self.point))

    def table_exists(self, identifier: str | Identifier) -> bool:
        """Whether the pinned commit has the table. Opens no file."""
        try:
            self._entry(self._key(identifier), self.point)
        except NoSuchTableError:
            return False
        return True

    def list_tables(self, namespace: str | Identifier) -> list[Identifier]:
        """Identifiers of the tables in a namespace, sorted. Raises NoSuchNamespaceError."""
        wanted = self._namespace(namespace)
        if wanted not in self._namespaces():
            raise NoSuchNamespaceError(f"Namespace does not exist: {wanted}")
        return [pair for pair in self._tables() if pair[0] == wanted]

    def list_namespaces(self, namespace: str | Identifier = ()) -> list[Identifier]:
        """The namespaces that hold tables or were created, and ``main``, sorted; namespaces have no inner ones."""
        if self.identifier_to_tuple(namespace):
            self.load_namespace_properties(namespace)
            return []
        return [(name,) for name in sorted(self._namespaces())]

    def load_namespace_properties(self, namespace: str | Identifier) -> Properties:
        """What was set for a namespace on this branch. Raises NoSuchNamespaceError."""
        name = self._namespace(namespace)
        known = self._namespaces()
        if name not in known:
            raise NoSuchNamespaceError(f"Namespace does not exist: {name}")
        return dict(known[name])

    # writing

    def create_table(
        self,
        identifier: str | Identifier,
        schema: Schema | pa.Schema,
        location: str | None = None,
        partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
        sort_order: SortOrder = UNSORTED_SORT_ORDER,
        properties: Properties = EMPTY_DICT,
    ) -> Table:
        """Makes an empty table, in one commit.

        Raises:
            TableAlreadyExistsError: there is one.
            IsolationError: the ref is read-only, or the location or a property leads out of the table's folder.
            UnstorableError: an Arrow type can't be stored exactly.
        """
        key = self._key(identifier)
        self._writable()
        if self._catalog.get(self._head(), key) is not None:
            raise TableAlreadyExistsError(f"Table {key} already exists")
        metadata = new_table_metadata(
            location=self._resolve_table_location(location, *split_key(key)),
            schema=self._convert_schema_if_needed(schema),
            partition_spec=partition_spec,
            sort_order=sort_order,
            properties={**properties, TableProperties.FORMAT_VERSION: "2"},
        )
        try:
            self._publish(key, _json(metadata), None, f"create {key}")
        except CommitFailedException as error:
            raise TableAlreadyExistsError(f"Table {key} already exists") from error
        return self.load_table(identifier)

    def create_table_transaction(
        self,
        identifier: str | Identifier,
        schema: Schema | pa.Schema,
        location: str | None = None,
        partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
        sort_order: SortOrder = UNSORTED_SORT_ORDER,
        properties: Properties = EMPTY_DICT,
    ) -> CreateTableTransaction:
        """Makes a table together with its first rows, in one commit at the transaction's end. Errors as for `create_table`."""
        self._writable()
        return super().create_table_transaction(
            split_key(self._key(identifier)),
            schema,
            location,
            partition_spec,
            sort_order,
            {**properties, TableProperties.FORMAT_VERSION: "2"},
        )

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Applies pyiceberg's updates to a table, in one commit; what pyiceberg calls for every kind of write.

        Raises:
            CommitFailedException: the table has changed since it was loaded, or a requirement does not hold.
            NoSuchTableError: it was dropped.
            IsolationError: the ref is read-only, or an update leads out of the table's folder.
            NotImplementedError: an update makes branches or tags inside of the table.
        """
        key = self._key(table.name())
        self._writable()
        create = any(isinstance(each, AssertCreate) for each in requirements)
        entry = None if create else self._entry(key, self._head())
        if entry is not None and entry.location != table.metadata_location:
            raise CommitFailedException(
                f"{key} has changed on {self.name}: it was read at {table.metadata_location} "
                f"and is at {entry.location}; refresh the catalog, load the table and write again"
            )
        base = None
        if entry is not None:
            base = _parsed(self._based(key, Handle(key, entry.location, self._storage).metadata))
        elif self._catalog.get(self._head(), key) is not None:
            raise TableAlreadyExistsError(f"Table {key} already exists")
        for requirement in requirements:
            requirement.validate(base)
        updated = update_table_metadata(
            base or self._empty_table_metadata(), updates, enforce_validation=base is None
        )
        if base is not None and updated.model_copy(update={"last_updated_ms": base.last_updated_ms}) == base:
            return _response(base, table.metadata_location)
        operation = updated.current_snapshot()
        what = (
            "change" if operation is None or operation.summary is None else operation.summary.operation.value
        )
        location, metadata = self._publish(key, _json(updated), entry, f"{what} {key}")
        return _response(_parsed(metadata), location)

    def register_table(
        self, identifier: str | Identifier, metadata_location: str, overwrite: bool = False
    ) -> Table:
        """Takes a table whose metadata and files lie in the warehouse already; its rows are read once for their version.

        Raises:
            TableAlreadyExistsError: there is one of that name, and ``overwrite`` is not set.
            IsolationError: the metadata or a file of the table is outside the warehouse, or the ref is read-only.
            MissingFileError: the metadata or a file is not there.
        """
        key = self._key(identifier)
        self._writable()
        if not self._storage.contains(metadata_location):
            raise IsolationError(
                f"{metadata_location} is outside the warehouse {self._storage.warehouse}",
                hint="copy its rows into a table of the warehouse",
                location=metadata_location,
            )
        entry = self._catalog.get(self._head(), key)
        if entry is not None and not overwrite:
            raise TableAlreadyExistsError(f"Table {key} already exists")
        metadata = Handle(key, metadata_location, self._storage).metadata
        if metadata["format-version"] > 2:
            raise LakeError(f"{metadata_location} is of format version 3, which can't be written", key=key)
        whole = _json(_parsed(self._based(key, {**metadata, "format-version": 2})))
        self._publish(key, whole, entry, f"register {key}", based_on_entry=False)
        return self.load_table(identifier)

    def drop_table(self, identifier: str | Identifier) -> None:
        """Removes the key from the branch, in one commit; no file is touched. Raises NoSuchTableError."""
        key = self._key(identifier)
        self._writable()
        entry = self._entry(key, self._head())
        self._commit({key: None}, {key: entry}, f"drop {key}")

    def purge_table(self, identifier: str | Identifier) -> None:
        """Refused: other refs may share the table's files. Raises IsolationError."""
        raise IsolationError(
            f"{self._key(identifier)} can't be purged: other refs may share its files",
            hint="drop the table; anabranch gc removes its files once nothing needs them",
        )

    def rename_table(self, from_identifier: str | Identifier, to_identifier: str | Identifier) -> Table:
        """Gives a table another key, in one commit; its files stay where they are.

        Raises:
            NoSuchTableError: there is no such table.
            TableAlreadyExistsError: the new name is taken.
        """
        old, new = self._key(from_identifier), self._key(to_identifier)
        self._writable()
        head = self._head()
        entry = self._entry(old, head)
        if self._catalog.get(head, new) is not None:
            raise TableAlreadyExistsError(f"Table {new} already exists")
        self._commit(
            {old: None, new: replace(entry, key=new)}, {old: entry, new: None}, f"rename {old} to {new}"
        )
        return self.load_table(to_identifier)

    # namespaces: nothing but names, with properties that are kept at the branch

    def create_namespace(self, namespace: str | Identifier, properties: Properties = EMPTY_DICT) -> None:
        """Keeps a namespace's properties. Raises NamespaceAlreadyExistsError if it was created before."""
        name = self._namespace(namespace)
        if name in self._created():
            raise NamespaceAlreadyExistsError(f"Namespace {name} already exists")
        self._keep(name, dict(properties))

    def drop_namespace(self, namespace: str | Identifier) -> None:
        """Forgets a namespace. Raises NamespaceNotEmptyError, NoSuchNamespaceError."""
        name = self._namespace(namespace)
        if self.list_tables(namespace):
            raise NamespaceNotEmptyError(f"Namespace {name} is not empty")
        self._keep(name, None)

    def update_namespace_properties(
        self, namespace: str | Identifier, removals: set[str] | None = None, updates: Properties = EMPTY_DICT
    ) -> PropertiesUpdateSummary:
        """Sets and removes a namespace's properties. Raises NoSuchNamespaceError."""
        current = self.load_namespace_properties(namespace)
        summary, changed = self._get_updated_props_and_update_summary(current, removals, updates)
        self._keep(self._namespace(namespace), changed)
        return summary

    # views are queries, and queries are assets

    def list_views(self, namespace: str | Identifier) -> list[Identifier]:
        """Not kept in this catalog."""
        raise NotImplementedError(_NO_VIEWS)

    def view_exists(self, identifier: str | Identifier) -> bool:
        """Not kept in this catalog."""
        raise NotImplementedError(_NO_VIEWS)

    def load_view(self, identifier: str | Identifier) -> View:
        """Not kept in this catalog."""
        raise NotImplementedError(_NO_VIEWS)

    def register_view(self, identifier: str | Identifier, metadata_location: str) -> View:
        """Not kept in this catalog."""
        raise NotImplementedError(_NO_VIEWS)

    def drop_view(self, identifier: str | Identifier) -> None:
        """Not kept in this catalog."""
        raise NotImplementedError(_NO_VIEWS)

    def create_view(
        self,
        identifier: str | Identifier,
        schema: Schema | pa.Schema,
        view_version: ViewVersion,
        location: str | None = None,
        properties: Properties = EMPTY_DICT,
    ) -> View:
        """Not kept in this catalog."""
        raise NotImplementedError(_NO_VIEWS)

    # what pyiceberg's own code calls

    def _load_file_io(self, properties: Properties = EMPTY_DICT, location: str | None = None) -> FileIO:
        del properties, location
        return self._storage.io  # a property ``py-io-impl`` does not lead out of the scope

    def _resolve_table_location(self, location: str | None, database_name: str, table_name: str) -> str:
        folder = self._storage.table_folder(join_key(database_name, table_name))
        if location is not None and location.rstrip("/") != folder:
            raise IsolationError(
                f"a table of {self.name} can't be placed at {location}",
                hint=f"leave the location out; it will be {folder}",
                location=location,
            )
        self._storage.check_writable(f"{folder}/metadata")
        return folder

    @staticmethod
    def _convert_schema_if_needed(schema: Schema | pa.Schema, format_version: TableVersion = 2) -> Schema:
        from pyiceberg.schema import Schema

        if not isinstance(schema, Schema):
            from anabranch.lake.arrow import storable_schema

            schema = storable_schema(schema)
        return MetastoreCatalog._convert_schema_if_needed(schema, format_version)  # noqa: SLF001 -- the overridden one

    # within

    def _key(self, identifier: str | Identifier) -> str:
        parts = self.identifier_to_tuple(identifier)
        if len(parts) == 1:
            parts = (DEFAULT_NAMESPACE, *parts)
        key = join_key(*parts) if len(parts) == 2 else ".".join(parts)
        if not is_key(key):
            raise NoSuchTableError(f"{key!r} is no table's name: write name or namespace.name")
        return key

    def _namespace(self, namespace: str | Identifier) -> str:
        parts = self.identifier_to_tuple(namespace)
        if len(parts) != 1 or not is_key(parts[0]):
            raise NoSuchNamespaceError(f"{'.'.join(parts)!r} is no namespace's name: it is one word")
        return str(parts[0])

    def _entry(self, key: str, point: Point) -> Entry:
        entry = self._catalog.get(point, key)
        if entry is None or entry.kind != "table":
            what = "does not exist" if entry is None else "is a file, not a table"
            raise NoSuchTableError(f"Table {key} {what} at {self.name}")
        return entry

    def _tables(self) -> list[tuple[str, str]]:
        entries = self._catalog.entries(self.point)
        return sorted(split_key(key) for key, entry in entries.items() if entry.kind == "table")

    def _created(self) -> Mapping[str, Properties]:
        created: Mapping[str, Properties] = self._catalog.branch_by_id(self.point.branch_id).properties.get(
            _NAMESPACES, {}
        )
        return created

    def _namespaces(self) -> dict[str, Properties]:
        return {DEFAULT_NAMESPACE: {}, **{name: {} for name, _ in self._tables()}, **self._created()}

    def _keep(self, name: str, properties: Properties | None) -> None:
        branch = self._writable()
        kept = {**self._created(), name: properties}
        kept = {each: value for each, value in kept.items() if value is not None}
        self._catalog.update_branch(branch, properties={_NAMESPACES: kept or None})

    def _head(self) -> Point:
        assert self._branch is not None
        return self._catalog.branch_by_id(self._branch).point

    def _writable(self) -> int:
        """The branch's id, if branch and scope belong together. Raises IsolationError."""
        if self._branch is None:
            raise IsolationError(
                f"{self.name} is a fixed state and can't be written", hint="name a branch alone"
            )
        branch = self._catalog.branch_by_id(self._branch)
        scope = self._storage.scope
        wanted = "sandbox" if branch.kind == "sandbox" else "environment"
        own = branch.properties.get("storage", scope.sandbox_id) == scope.sandbox_id
        if scope.kind != wanted or (wanted == "sandbox" and not own):
            raise IsolationError(
                f"{branch.name} can't be written from {scope}",
                hint="a sandbox's branch is written by that sandbox alone, an environment's by no sandbox",
                branch=branch.name,
                scope=scope.kind,
            )
        return self._branch

    def _based(self, key: str, metadata: Json) -> Json:
        """A table's metadata as changes to it start: one snapshot, its folder in this scope, no way out of it."""
        folder = self._storage.table_folder(key)
        properties = metadata.get("properties", {})
        away = outside_paths(properties, folder)
        kept = {name: value for name, value in properties.items() if name not in away}
        return {**one_snapshot(metadata), "location": folder, "properties": kept}

    def _offer(self, key: str, entry: Entry) -> Table:
        metadata = _parsed(self._based(key, Handle(key, entry.location, self._storage).metadata))
        return Table(
            identifier=split_key(key),
            metadata=_without_retries(metadata),
            metadata_location=entry.location,
            io=self._storage.io,
            catalog=self,
        )

    def _publish(
        self, key: str, metadata: Json, entry: Entry | None, message: str, *, based_on_entry: bool = True
    ) -> tuple[str, Json]:
        """Writes a table's metadata, durably, after all that it refers to; then commits its location."""
        folder = self._storage.table_folder(key)
        self._check(key, metadata, folder)
        metadata = one_snapshot(metadata)
        number = metadata.get("last-sequence-number", 0)
        location = f"{folder}/metadata/{number:05d}-{uuid.uuid4()}.metadata.json"
        self._storage.check_writable(location)
        old = None
        if entry is not None and based_on_entry:
            old = Handle(key, entry.location, self._storage, entry.version)
        new = Handle.of_metadata(key, location, self._storage, metadata)
        state = state_after(self._storage, old, new)
        known = map_after(self._storage, old, new)
        partitions = None
        if known is not None:
            partitions = f"{folder}/metadata/{new_id()}.partitions"
            partitions = self._storage.write_bytes(partitions, known.to_bytes())
        metadata = with_state(metadata, state, partitions)
        location = self._storage.write_bytes(location, json.dumps(metadata, separators=(",", ":")).encode())
        made = Entry(key, "table", location, state.version, self._provenance(state))
        self._commit({key: made}, {key: entry}, message)
        return location, metadata

    def _check(self, key: str, metadata: Json, folder: str) -> None:
        away = outside_paths(metadata.get("properties", {}), folder)
        if metadata["location"].rstrip("/") != folder or away:
            raise IsolationError(
                f"{key} can't be kept outside of {folder}: {', '.join(away) or 'its location'} leads elsewhere",
                hint="leave the location and the paths of writes out",
                key=key,
            )
        if set(metadata.get("refs", {})) - {"main"}:
            raise NotImplementedError(
                f"{key}: branches and tags inside of a table are not kept; open a sandbox or set a tag of the catalog"
            )

    def _provenance(self, state: State) -> Provenance:
        return Provenance(
            environment=self._environment,
            computed_at=now().isoformat(),
            rows=state.content.rows,
            bytes=state.bytes,
            extra={RECORDED: state.column_versions} if state.columns else {},
        )

    def _commit(
        self, changes: Mapping[str, Entry | None], expected: Mapping[str, Entry | None], message: str
    ) -> None:
        branch = self._writable()
        request = CommitRequest(
            branch=branch,
            changes=changes,
            expect={key: None if entry is None else entry.version for key, entry in expected.items()},
            expect_location={key: entry.location for key, entry in expected.items() if entry is not None},
            lease=self._lease,
            kind="write",
            message=message,
            author=self._author,
        )
        try:
            commit = self._catalog.commit(request)
        except ConflictError as error:
            raise CommitFailedException(str(error)) from error
        self._pin = Point(branch, commit.number)


_NO_VIEWS = "views are not kept in the catalog: declare a SQL asset"


def _json(metadata: TableMetadata) -> Json:
    return json.loads(metadata.model_dump_json(exclude_none=True))


def _parsed(metadata: Json) -> TableMetadata:
    return TableMetadataUtil.parse_raw(json.dumps(metadata))


def _response(metadata: TableMetadata, location: str) -> CommitTableResponse:
    fields: dict[str, Any] = {"metadata": _without_retries(metadata), "metadata-location": location}
    return CommitTableResponse(**fields)


def _without_retries(metadata: TableMetadata) -> TableMetadata:
    """Metadata for a writer that is told of a conflict at once: reads are pinned, so that trying again would not help."""
    return metadata.model_copy(update={"properties": {**metadata.properties, _RETRIES: "0"}})
