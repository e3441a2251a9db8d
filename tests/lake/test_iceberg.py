"""A pyiceberg catalog on a branch: every change is a commit, reads are pinned, nothing leaves the scope."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_data import every_type, numbers, plain
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import StaticTable
from pyiceberg.table.metadata import new_table_metadata
from pyiceberg.table.sorting import SortOrder
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, NestedField, StringType

from anabranch.catalog.base import Branch, CommitRequest, Entry
from anabranch.catalog.memory import MemoryCatalog
from anabranch.errors import IsolationError, LeaseError, MissingFileError, RefError, UnstorableError
from anabranch.lake import manifest
from anabranch.lake.iceberg import BranchCatalog
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, append_table, write_table
from anabranch.lake.version import content_of


class World:
    """A catalog with an environment and a sandbox on it, and their storages."""

    def __init__(self, lake: Storage) -> None:
        self.catalog = MemoryCatalog()
        self.catalog.open_branch("production", kind="environment")
        self.lake = lake
        self.root = lake.warehouse

    def production(self, **more: object) -> BranchCatalog:
        return BranchCatalog(self.catalog, "production", self.lake, **more)

    def sandbox(self, name: str = "fix", **more: object) -> BranchCatalog:
        if name not in [branch.name for branch in self.catalog.branches()]:
            point = self.catalog.branch("production").point
            self.catalog.open_branch(name, kind="sandbox", parent=point, properties={"storage": name})
        return BranchCatalog(self.catalog, name, self.lake.scoped(Scope.sandbox(name)), **more)

    def put(
        self,
        key: str,
        data: pa.Table,
        branch: str = "production",
        *,
        column_sets: Iterable[tuple[str, ...]] = (),
    ) -> Entry:
        """What a run does: writes a table and commits it."""
        at = self.catalog.branch(branch)
        storage = self.lake if branch == "production" else self.lake.scoped(Scope.sandbox(branch))
        written = write_table(storage, key, data, column_sets=column_sets)
        entry = Entry(key, "table", written.location, written.version)
        self.catalog.commit(CommitRequest(branch=at.id, changes={key: entry}))
        return entry

    def entry(self, key: str, branch: str = "production") -> Entry:
        found = self.catalog.get(self.catalog.branch(branch).point, key)
        assert found is not None
        return found

    def branch(self, name: str) -> Branch:
        return self.catalog.branch(name)

    def handle(self, key: str, branch: str = "production") -> Table:
        entry = self.entry(key, branch)
        return Table(key, entry.location, self.lake, entry.version)

    def check(self, key: str, branch: str, expected: pa.Table) -> Table:
        """The entry's version is that of its rows, computed from scratch; its rows are the expected ones."""
        handle = self.handle(key, branch)
        rows = StaticTable.from_metadata(handle.location).scan().to_arrow()
        assert str(content_of(rows)) == self.entry(key, branch).version == str(content_of(expected))
        assert str(content_of(handle.to_arrow())) == handle.version
        assert handle.rows == expected.num_rows == self.entry(key, branch).provenance.rows
        assert len(handle.metadata.get("snapshots", [])) <= 1
        assert handle.metadata["metadata-log"] == []
        return handle

    def files(self) -> set[str]:
        return {file.location for file in self.lake.list()}


@pytest.fixture
def world(lake: Storage) -> World:
    return World(lake)


SCHEMA = numbers(1).schema


# writing through pyiceberg


def test_each_write_is_one_commit_with_the_version_of_the_rows(world: World) -> None:
    iceberg = world.production(author="Ann", environment="production")
    table = iceberg.create_table("marts.t", SCHEMA)
    assert world.check("marts.t", "production", numbers(0)).plain
    table.append(numbers(100))
    assert world.check("marts.t", "production", numbers(100)).plain
    table.append(numbers(10, start=100))
    assert world.check("marts.t", "production", numbers(110)).plain
    table.delete("id >= 105")
    assert world.check("marts.t", "production", numbers(105)).plain
    table.overwrite(numbers(5, start=500), overwrite_filter="id >= 5")
    assert world.check("marts.t", "production", pa.concat_tables([numbers(5), numbers(5, start=500)])).plain
    table.overwrite(numbers(3))
    assert world.check("marts.t", "production", numbers(3)).plain
    table.delete()
    world.check("marts.t", "production", numbers(0))
    commits = world.catalog.commits(world.branch("production").id)
    assert [commit.kind for commit in commits][:-1] == ["write"] * 7
    assert {commit.author for commit in commits[:-1]} == {"Ann"}
    assert commits[-2].message == "create marts.t"
    assert world.entry("marts.t").provenance.environment == "production"


def test_sets_of_columns_go_on_having_versions(world: World) -> None:
    """So that a reader of columns which another engine left alone need not run again."""
    sets = [("id",), ("id", "name"), ("value",)]
    world.put("t", numbers(100), column_sets=sets)
    table = world.production().load_table("t")

    def columns() -> dict[str, str]:
        handle = world.handle("t")
        found = dict(world.entry("t").provenance.extra["columns"])
        assert found == handle.column_versions
        for text, version in found.items():
            kept = [name for name in sorted(handle.schema.names) if name in text.split(",")]
            assert not kept or version == str(content_of(handle.to_arrow(kept))), text
        assert set(found) == {"id", "id,name", "value"}
        return found

    table.append(numbers(10, start=100))
    appended = columns()
    table.delete("id >= 105")
    assert columns() != appended
    table.overwrite(numbers(5, start=500), overwrite_filter="id >= 5")
    before = columns()
    table.overwrite(
        numbers(5, start=500).set_column(2, "value", pa.array([0.5] * 5)), overwrite_filter="id >= 500"
    )
    after = columns()
    assert {text for text in before if before[text] != after[text]} == {"value"}
    with table.update_schema() as update:
        update.rename_column("value", "amount")
        update.add_column("note", StringType())
    renamed = columns()
    assert (renamed["id"], renamed["id,name"]) == (after["id"], after["id,name"])


def test_a_change_of_the_schema_gives_the_version_of_what_is_read_then(world: World) -> None:
    iceberg = world.production()
    table = iceberg.create_table("t", SCHEMA)
    table.append(numbers(10))
    with table.update_schema() as update:
        update.add_column("note", StringType())
    wider = numbers(10).append_column("note", pa.nulls(10, pa.string()))
    assert not world.check("t", "production", wider).plain
    more = numbers(5, start=10).append_column("note", pa.array(["n"] * 5))
    table.append(more)
    world.check("t", "production", pa.concat_tables([wider, more]))
    with table.update_schema() as update:
        update.rename_column("name", "label")
    renamed = pa.concat_tables([wider, more]).rename_columns(["id", "label", "value", "note"])
    assert not world.check("t", "production", renamed).plain
    with table.update_schema() as update:
        update.delete_column("value")
    handle = world.check("t", "production", renamed.drop_columns("value"))
    assert handle.to_arrow(["label"], "id == 12")["label"].to_pylist() == ["name 12"]
    assert handle.to_lazy().collect().height == 15
    assert handle.to_duckdb().aggregate("sum(id)").fetchall() == [(105,)]
    rewritten = write_table(world.lake, "t", handle.to_batches(), previous=handle)
    assert rewritten.version == handle.version
    assert Table("t", rewritten.location, world.lake).plain
    assert Table("t", rewritten.location, world.lake).field_ids == handle.field_ids


def test_a_widened_column_is_read_as_wide(world: World) -> None:
    table = world.production().create_table("t", pa.schema([("a", pa.int32())]))
    table.append(pa.table({"a": pa.array([1], pa.int32())}))
    with table.update_schema() as update:
        update.update_column("a", LongType())
    table.append(pa.table({"a": pa.array([2**40], pa.int64())}))
    world.check("t", "production", pa.table({"a": [1, 2**40]}))


def test_a_dropped_column_whose_name_comes_again_is_another_column(world: World) -> None:
    table = world.production().create_table("t", pa.schema([("a", pa.int64()), ("b", pa.int64())]))
    table.append(pa.table({"a": [1], "b": [1]}))
    with table.update_schema() as update:
        update.delete_column("b")
        update.add_column("b", LongType())
    world.check("t", "production", pa.table({"a": [1], "b": pa.nulls(1, pa.int64())}))


def test_every_type_goes_through_pyiceberg(world: World) -> None:
    # pyiceberg writes null lists of structs as empty ones, and has no bounds for years beyond 9999
    data = every_type().drop_columns(["structs", "local", "instant"])
    table = world.production().create_table("t", data.schema)
    table.append(data)
    handle = world.check("t", "production", data)
    assert plain(handle.to_arrow().select(data.schema.names)) == plain(data)
    assert handle.to_arrow().schema.equals(handle.schema, check_metadata=True)
    assert handle.to_batches().read_all().schema.equals(handle.schema)


def test_null_lists_of_structs_stay_null_through_a_change_of_schema(world: World) -> None:
    world.put("t", every_type().select(["small", "structs"]))
    table = world.production().load_table("t")
    with table.update_schema() as update:
        update.add_column("more", LongType())
    handle = world.handle("t")
    assert not handle.plain
    expected = every_type()["structs"].to_pylist()
    assert handle.to_arrow()["structs"].to_pylist() == expected
    lazy = handle.to_lazy()
    assert lazy.select("structs").collect()["structs"].to_list() == expected
    assert lazy.filter(pl.col("small") > 0).select("more", "small").collect().rows() == [(None, 2**31 - 1)]
    assert lazy.head(2).collect().height == 2
    assert lazy.collect_schema().names() == ["small", "structs", "more"]
    assert handle.version == str(
        content_of(every_type().select(["small", "structs"]).append_column("more", pa.nulls(3, pa.int64())))
    )


def test_a_transaction_is_one_commit(world: World) -> None:
    table = world.production().create_table("t", SCHEMA)
    before = world.branch("production").head
    with table.transaction() as transaction:
        transaction.append(numbers(5))
        transaction.set_properties(owner="ann")
        transaction.append(numbers(5, start=5))
    assert world.branch("production").head == before + 1
    world.check("t", "production", numbers(10))
    assert world.handle("t").metadata["properties"]["owner"] == "ann"
    assert "commit.retry.num-retries" not in world.handle("t").metadata["properties"]


def test_a_create_transaction_is_one_commit(world: World) -> None:
    iceberg = world.production()
    with iceberg.create_table_transaction("marts.t", SCHEMA) as transaction:
        transaction.append(numbers(5))
        assert world.branch("production").head == 0
    assert world.branch("production").head == 1
    world.check("marts.t", "production", numbers(5))
    assert iceberg.load_table("marts.t").scan().to_arrow().num_rows == 5


def test_a_change_of_nothing_is_no_commit(world: World) -> None:
    table = world.production().create_table("t", SCHEMA)
    with table.transaction() as transaction:
        transaction.set_properties(owner="ann")
    before = world.branch("production").head
    with table.transaction() as transaction:
        transaction.set_properties(owner="ann")
    assert world.branch("production").head == before


def test_a_partitioned_table_keeps_its_version_and_takes_our_appends(world: World) -> None:
    schema = Schema(NestedField(1, "region", StringType()), NestedField(2, "n", LongType()))
    spec = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), "region"))
    table = world.production().create_table("t", schema, partition_spec=spec)
    data = pa.table({"region": ["a/b", "..", "c", "a/b"], "n": [1, 2, 3, 4]})
    table.append(data)
    handle = world.check("t", "production", data)
    table.dynamic_partition_overwrite(pa.table({"region": ["c"], "n": [9]}))
    now = pa.table({"region": ["a/b", "..", "c", "a/b"], "n": [1, 2, 9, 4]})
    handle = world.check("t", "production", now)
    written = append_table(world.lake, "t", pa.table({"region": ["c"], "n": [10]}), previous=handle)
    both = StaticTable.from_metadata(written.location).scan().to_arrow()
    assert str(content_of(both)) == written.version
    assert (
        StaticTable.from_metadata(written.location).scan(row_filter="region == 'c'").to_arrow().num_rows == 2
    )
    whole = write_table(world.lake, "t", now, previous=handle)
    assert StaticTable.from_metadata(whole.location).spec().is_unpartitioned()
    assert whole.version == handle.version


def test_pyiceberg_goes_on_where_our_writer_stopped_and_the_other_way_round(world: World) -> None:
    world.put("t", numbers(10))
    table = world.production().load_table("t")
    table.append(numbers(5, start=10))
    handle = world.check("t", "production", numbers(15))
    assert handle.plain
    written = append_table(world.lake, "t", numbers(5, start=15), previous=handle)
    again = Table("t", written.location, world.lake)
    assert again.version == str(content_of(numbers(20)))
    assert StaticTable.from_metadata(again.location).scan().to_arrow().num_rows == 20
    assert again.to_lazy().collect().height == 20
    assert again.to_duckdb().count("*").fetchall() == [(20,)]


def test_the_hundredth_write_finds_as_little_metadata_as_the_first(world: World) -> None:
    table = world.production().create_table("t", SCHEMA)
    sizes = []
    for i in range(12):
        table.append(numbers(1, start=i))
        sizes.append(len(world.lake.read_bytes(table.metadata_location)))
    assert max(sizes) - min(sizes) < 100
    world.check("t", "production", numbers(12))


def test_upsert_works(world: World) -> None:
    world.put("t", numbers(10))
    table = world.production().load_table("t")
    changed = numbers(12).slice(8).set_column(1, "name", pa.array(["new"] * 4))
    table.upsert(changed, join_cols=["id"])
    world.check("t", "production", pa.concat_tables([numbers(8), changed]))


# pinned reads and conflicts


def test_reads_are_pinned_until_a_refresh(world: World) -> None:
    world.put("t", numbers(3))
    reader = world.production()
    assert reader.load_table("t").scan().to_arrow().num_rows == 3
    world.put("t", numbers(9))
    world.put("u", numbers(1))
    assert reader.load_table("t").scan().to_arrow().num_rows == 3
    assert not reader.table_exists("u")
    assert reader.list_tables("main") == [("main", "t")]
    reader.refresh()
    assert reader.load_table("t").scan().to_arrow().num_rows == 9
    assert reader.table_exists("u")


def test_an_own_write_is_seen_at_once(world: World) -> None:
    iceberg = world.production()
    table = iceberg.create_table("t", SCHEMA)
    table.append(numbers(3))
    assert iceberg.load_table("t").scan().to_arrow().num_rows == 3
    assert table.scan().to_arrow().num_rows == 3


def test_a_write_on_a_stale_read_fails_and_changes_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.put("t", numbers(3))
    first, second = world.production().load_table("t"), world.production().load_table("t")
    first.append(numbers(1, start=3))
    entry, head = world.entry("t"), world.branch("production").head
    for write in (
        lambda: second.append(numbers(1)),
        lambda: second.overwrite(numbers(1)),
        lambda: second.delete("id > 0"),
        lambda: second.transaction().set_properties(a="b").commit_transaction(),
    ):
        with pytest.raises(CommitFailedException, match="t has changed on production"):
            write()
    assert (world.entry("t"), world.branch("production").head) == (entry, head)
    world.check("t", "production", numbers(4)) if entry.provenance.rows else None
    assert "Traceback" not in caplog.text


def test_a_conflict_that_the_catalog_finds_is_a_failed_commit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("t", numbers(3))
    iceberg = world.production()
    table = iceberg.load_table("t")
    commit = iceberg._catalog.commit

    def raced(request: CommitRequest) -> object:
        monkeypatch.setattr(iceberg._catalog, "commit", commit)
        world.put("t", numbers(7))
        return commit(request)

    monkeypatch.setattr(iceberg._catalog, "commit", raced)
    with pytest.raises(CommitFailedException, match="expected at"):
        table.append(numbers(1))
    assert world.handle("t").rows == 7


def test_of_two_that_create_one_table_one_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    iceberg = world.production()
    commit = iceberg._catalog.commit

    def raced(request: CommitRequest) -> object:
        monkeypatch.setattr(iceberg._catalog, "commit", commit)
        world.put("t", numbers(7))
        return commit(request)

    monkeypatch.setattr(iceberg._catalog, "commit", raced)
    with pytest.raises(TableAlreadyExistsError):
        iceberg.create_table("t", SCHEMA)
    assert world.handle("t").rows == 7
    with pytest.raises(TableAlreadyExistsError):
        world.production().create_table("t", SCHEMA)
    assert world.production().create_table_if_not_exists("t", SCHEMA).scan().to_arrow().num_rows == 7
    staged = BranchCatalog(world.catalog, "production", world.lake).create_table_transaction("u", SCHEMA)
    world.put("u", numbers(1))
    with pytest.raises((CommitFailedException, TableAlreadyExistsError)):
        staged.commit_transaction()
    assert world.handle("u").rows == 1


def test_a_crash_before_the_commit_leaves_the_old_state(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("t", numbers(3))
    iceberg = world.production()
    table = iceberg.load_table("t")
    entry, before = world.entry("t"), world.files()

    def crash(request: CommitRequest) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(iceberg._catalog, "commit", crash)
        with pytest.raises(KeyboardInterrupt):
            table.append(numbers(1))
    assert world.files() > before
    assert world.entry("t") == entry
    fresh = world.production().load_table("t")
    assert fresh.scan().to_arrow().num_rows == 3
    fresh.append(numbers(1, start=3))
    assert world.handle("t").to_arrow().sort_by("id").equals(numbers(4))


def test_a_lost_lease_refuses_the_commit(world: World) -> None:
    world.put("t", numbers(3))
    table = world.production(lease="lost").load_table("t")
    with pytest.raises(LeaseError):
        table.append(numbers(1))
    assert world.handle("t").rows == 3


def test_a_fixed_state_is_read_and_not_written(world: World) -> None:
    world.put("t", numbers(3))
    world.catalog.set_tag("released", world.branch("production").point)
    world.put("t", numbers(5))
    time = world.catalog.get_commit(world.branch("production").point).time.isoformat()
    for ref, rows in (("production@1", 3), ("released", 3), ("production@2", 5), (f"production@{time}", 5)):
        iceberg = BranchCatalog(world.catalog, ref, world.lake)
        assert iceberg.load_table("t").scan().to_arrow().num_rows == rows
        iceberg.refresh()
        assert iceberg.load_table("t").scan().to_arrow().num_rows == rows
        for write in (
            lambda i=iceberg: i.create_table("u", SCHEMA),
            lambda i=iceberg: i.drop_table("t"),
            lambda i=iceberg: i.rename_table("t", "u"),
            lambda i=iceberg: i.create_namespace("n"),
            lambda i=iceberg: i.load_table("t").append(numbers(1)),
            lambda i=iceberg: i.register_table("u", world.entry("t").location),
        ):
            with pytest.raises(IsolationError):
                write()
    with pytest.raises(RefError):
        BranchCatalog(world.catalog, "nowhere", world.lake)


# isolation


def test_a_sandbox_changes_production_s_table_without_touching_it(world: World) -> None:
    entry = world.put("t", numbers(10))
    before = world.files()
    table = world.sandbox().load_table("t")
    table.append(numbers(5, start=10))
    table.delete("id < 2")
    table.overwrite(numbers(2, start=50), overwrite_filter="id >= 10")
    assert world.entry("t") == entry
    assert all(place.startswith(f"{world.root}/_sandboxes/fix/") for place in world.files() - before)
    assert world.handle("t").to_arrow().equals(numbers(10))
    expected = pa.concat_tables([numbers(8, start=2), numbers(2, start=50)])
    world.check("t", "fix", expected)
    assert world.production().load_table("t").scan().to_arrow().num_rows == 10


OUTSIDE = [
    "{root}/main/t",
    "{root}/_sandboxes/other/main/t",
    "{root}/_sandboxes/fix/../../main/t",
    "{away}",
    "s3://elsewhere/t",
]


@pytest.mark.parametrize("place", OUTSIDE)
def test_no_property_or_location_leads_a_sandbox_out(world: World, tmp_path: Path, place: str) -> None:
    world.put("t", numbers(10))
    before = world.files()
    outside = place.format(root=world.root, away=tmp_path / "away")
    sandbox = world.sandbox()
    table = sandbox.load_table("t")
    for name in (
        "write.data.path",
        "write.metadata.path",
        "write.object-storage.path",
        "write.folder-storage.path",
    ):
        with pytest.raises(IsolationError):
            table.transaction().set_properties({name: outside}).commit_transaction()
        with pytest.raises(IsolationError):
            sandbox.create_table("new", SCHEMA, properties={name: outside})
        created = sandbox.create_table_transaction("new", SCHEMA, properties={name: outside})
        changed = table.transaction().set_properties({name: outside})
        for transaction in (created, changed):
            with pytest.raises(IsolationError):
                transaction.append(numbers(3)) or transaction.commit_transaction()
    for attempt in (
        lambda: sandbox.create_table("new", SCHEMA, location=outside),
        lambda: sandbox.create_table_transaction("new", SCHEMA, location=outside),
    ):
        with pytest.raises(IsolationError):
            attempt()
    assert all(name.startswith(f"{world.root}/_sandboxes/fix/") for name in world.files() - before)
    assert not (tmp_path / "away").exists()
    assert not sandbox.table_exists("new")


def test_pyiceberg_s_own_objects_write_nowhere_else(world: World, tmp_path: Path) -> None:
    world.put("t", numbers(10))
    before = world.files()
    sandbox = world.sandbox()
    table = sandbox.load_table("t")
    for place in (
        f"{world.root}/main/t/data/x.parquet",
        str(tmp_path / "x"),
        f"{world.root}/_sandboxes/other/x/y",
    ):
        for io in (
            table.io,
            sandbox._load_file_io({"py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO"}, place),
        ):
            with pytest.raises(IsolationError):
                io.new_output(place).create(overwrite=True)
            with pytest.raises(IsolationError):
                io.delete(place)
    with pytest.raises(IsolationError):
        table.io.delete(table.metadata_location)
    table.transaction().set_properties(
        {"py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO"}
    ).commit_transaction()
    fresh = sandbox.load_table("t")
    fresh.append(numbers(1, start=10))
    assert all(name.startswith(f"{world.root}/_sandboxes/fix/") for name in world.files() - before)
    moved = fresh.metadata.model_copy(update={"location": f"{world.root}/main/t"})
    fresh.metadata = moved
    with pytest.raises(IsolationError):
        fresh.append(numbers(1))


def test_a_property_of_production_that_names_a_path_does_not_bind_a_sandbox(world: World) -> None:
    path = f"{world.root}/main/t/elsewhere"
    world.production().create_table("t", SCHEMA, properties={"write.data.path": path}).append(numbers(3))
    assert any(place.startswith(f"{path}/") for place in world.files())
    table = world.sandbox().load_table("t")
    table.append(numbers(2, start=3))
    world.check("t", "fix", numbers(5))


def test_metadata_deletion_after_commits_deletes_nothing(world: World) -> None:
    table = world.production().create_table(
        "t",
        SCHEMA,
        properties={
            "write.metadata.delete-after-commit.enabled": "true",
            "write.metadata.previous-versions-max": "1",
        },
    )
    places = [table.metadata_location]
    for i in range(4):
        table.append(numbers(1, start=i))
        places.append(table.metadata_location)
    assert all(os.path.exists(place) for place in places)


def test_purge_is_refused_and_drop_touches_no_file(world: World) -> None:
    entry = world.put("t", numbers(3))
    sandbox = world.sandbox()
    before = world.files()
    with pytest.raises(IsolationError):
        sandbox.purge_table("t")
    assert sandbox.table_exists("t")
    sandbox.drop_table("t")
    assert not sandbox.table_exists("t")
    with pytest.raises(NoSuchTableError):
        sandbox.drop_table("t")
    assert world.files() == before
    assert world.entry("t") == entry
    assert world.production().load_table("t").scan().to_arrow().num_rows == 3


def test_a_branch_is_written_only_under_the_scope_that_goes_with_it(world: World) -> None:
    world.put("t", numbers(3))
    world.sandbox("fix")
    world.sandbox("other")
    for ref, scope in (
        ("production", Scope.sandbox("fix")),
        ("fix", Scope.environment()),
        ("fix", Scope.sandbox("other")),
        ("production", Scope.read_only()),
        ("fix", Scope.sweep()),
    ):
        iceberg = BranchCatalog(world.catalog, ref, world.lake.scoped(scope))
        assert iceberg.load_table("t").scan().to_arrow().num_rows == 3
        head = world.branch(ref).head
        for write in (
            lambda i=iceberg: i.drop_table("t"),
            lambda i=iceberg: i.create_table("u", SCHEMA),
            lambda i=iceberg: i.load_table("t").append(numbers(1)),
            lambda i=iceberg: i.load_table("t").delete("id == 0"),
            lambda i=iceberg: i.rename_table("t", "u"),
            lambda i=iceberg: i.create_namespace("n"),
        ):
            with pytest.raises(IsolationError):
                write()
        assert world.branch(ref).head == head


def test_a_registered_table_must_lie_in_the_warehouse_with_all_its_files(
    world: World, tmp_path: Path
) -> None:
    other = Storage(tmp_path / "other", scope=Scope.environment())
    outside = write_table(other, "t", numbers(3))
    iceberg = world.production()
    with pytest.raises(IsolationError):
        iceberg.register_table("t", outside.location)
    smuggled = json.loads(other.read_bytes(outside.location))
    place = world.lake.write_bytes(
        f"{world.root}/main/t/metadata/x.metadata.json", json.dumps(smuggled).encode()
    )
    with pytest.raises(IsolationError, match="outside the warehouse"):
        iceberg.register_table("t", place)
    link = Path(world.root) / "main/t/metadata/link.metadata.json"
    link.symlink_to(outside.location)
    with pytest.raises(IsolationError):
        iceberg.register_table("t", str(link))
    with pytest.raises(MissingFileError):
        iceberg.register_table("t", f"{world.root}/main/t/metadata/none.metadata.json")
    assert not iceberg.table_exists("t")


def test_a_registered_table_has_the_version_of_its_rows(world: World) -> None:
    written = write_table(world.lake, "found", numbers(30))
    lying = json.loads(world.lake.read_bytes(written.location))
    lying["snapshots"][0]["summary"]["anabranch.version"] = str(content_of(numbers(1)))
    place = world.lake.write_bytes(
        f"{world.root}/main/found/metadata/x.metadata.json", json.dumps(lying).encode()
    )
    iceberg = world.production()
    assert iceberg.register_table("t", place).scan().to_arrow().num_rows == 30
    assert world.check("t", "production", numbers(30)).plain
    with pytest.raises(TableAlreadyExistsError):
        iceberg.register_table("t", place)
    iceberg.register_table("t", written.location, overwrite=True)
    world.check("t", "production", numbers(30))


def test_files_that_are_added_as_they_are_must_lie_in_the_warehouse(world: World, tmp_path: Path) -> None:
    table = world.production().create_table("t", SCHEMA)
    outside = tmp_path / "x.parquet"
    pq.write_table(numbers(5), outside)
    with pytest.raises(IsolationError, match="outside the warehouse"):
        table.add_files([str(outside)])
    inside = Path(world.root) / "main/t/data/x.parquet"
    inside.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(numbers(5), inside)
    table.add_files([str(inside)])
    handle = world.check("t", "production", numbers(5))
    assert not handle.plain
    assert handle.to_arrow().equals(numbers(5))


def test_nested_columns_of_added_files_are_found_by_name(world: World) -> None:
    data = every_type().select(["list", "struct", "map", "structs"])
    table = world.production().create_table("t", data.schema)
    file = Path(world.root) / "main/t/data/x.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(data, file)
    table.add_files([str(file)])
    handle = world.handle("t")
    assert handle.version == str(content_of(data))
    assert plain(handle.to_arrow()) == plain(data)


def test_a_column_that_only_the_partition_holds_is_read_from_it(world: World) -> None:
    schema = Schema(NestedField(1, "region", StringType()), NestedField(2, "n", LongType()))
    spec = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), "region"))
    table = world.production().create_table("t", schema, partition_spec=spec)
    file = Path(world.root) / "main/t/data/region=north/x.parquet"
    file.parent.mkdir(parents=True)
    n = pa.schema([pa.field("n", pa.int64(), metadata={"PARQUET:field_id": "2"})])
    pq.write_table(pa.table([pa.array([1, 2])], n), file)
    added = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=str(file),
        file_format=FileFormat.PARQUET,
        partition=Record("north"),
        record_count=2,
        file_size_in_bytes=file.stat().st_size,
    )
    added.spec_id = table.spec().spec_id
    with table.transaction() as transaction:
        with transaction.update_snapshot().fast_append() as append:
            append.append_data_file(added)
    expected = pa.table({"region": ["north", "north"], "n": [1, 2]})
    assert not world.check("t", "production", expected).plain


def test_rows_that_a_delete_file_takes_away_are_not_there(world: World) -> None:
    """As other engines write deletions (merge on read): pyiceberg reads them, and writes none."""
    first = Table("t", write_table(world.lake, "t", numbers(10)).location, world.lake)
    folder = f"{world.root}/main/t"
    deletes = pa.table({"file_path": [first.files()[0].path] * 2, "pos": [0, 5]})
    ids = (2147483546, 2147483545)
    named = pa.schema(
        [
            pa.field(field.name, field.type, nullable=False, metadata={"PARQUET:field_id": str(number)})
            for field, number in zip(deletes.schema, ids, strict=True)
        ]
    )
    with world.lake.create(f"{folder}/data/deletes.parquet") as sink:
        pq.write_table(deletes.cast(named), sink)
    file = {
        "content": 1,
        "file_path": f"{folder}/data/deletes.parquet",
        "file_format": "PARQUET",
        "partition": {},
        "record_count": 2,
        "file_size_in_bytes": os.path.getsize(f"{folder}/data/deletes.parquet"),
    }
    snapshot = first.metadata["snapshots"][0]
    numbers_of = {"snapshot_id": snapshot["snapshot-id"], "sequence_number": 1, "file_sequence_number": 1}
    content, row = manifest.encode_manifest(
        [{"status": 1, **numbers_of, "data_file": file}],
        schema=first.current_schema,
        partitioning=manifest.Partitioning({"spec-id": 0, "fields": []}),
        path=f"{folder}/metadata/deletes.avro",
        snapshot_id=snapshot["snapshot-id"],
        sequence_number=1,
    )
    world.lake.write_bytes(row["manifest_path"], content)
    listed = manifest.encode_manifest_list(
        [*first.manifests(), {**row, "content": 1}], snapshot_id=snapshot["snapshot-id"], sequence_number=1
    )
    changed = {**first.metadata, "snapshots": [{**snapshot, "manifest-list": f"{folder}/metadata/list.avro"}]}
    world.lake.write_bytes(f"{folder}/metadata/list.avro", listed)
    place = world.lake.write_bytes(f"{folder}/metadata/x.metadata.json", json.dumps(changed).encode())
    world.production().register_table("t", place)
    left = numbers(10).take([1, 2, 3, 4, 6, 7, 8, 9])
    handle = world.check("t", "production", left)
    assert not handle.plain
    assert handle.to_lazy().collect()["id"].to_list() == left["id"].to_pylist()
    assert handle.to_arrow(["id"], "id > 4", limit=2)["id"].to_pylist() == [6, 7]
    world.production().load_table("t").append(numbers(2, start=10))
    more = pa.concat_tables([left, numbers(2, start=10)])
    handle = world.check("t", "production", more)
    written = append_table(world.lake, "t", numbers(1, start=12), previous=handle)
    again = Table("t", written.location, world.lake)
    assert str(content_of(again.to_batches())) == written.version
    assert again.rows == 11
    world.production().load_table("t").delete("id == 1")
    world.check("t", "production", more.slice(1).sort_by("id"))


def test_a_table_of_format_version_one_becomes_one_of_two(world: World) -> None:
    schema = Schema(NestedField(1, "n", LongType()))
    old = new_table_metadata(
        schema, PartitionSpec(), SortOrder(order_id=0), f"{world.root}/main/old", {"format-version": "1"}
    )
    text = json.loads(old.model_dump_json(exclude_none=True))
    for name in ("schemas", "current-schema-id", "partition-specs", "default-spec-id"):
        text.pop(name)
    place = world.lake.write_bytes(
        f"{world.root}/main/old/metadata/v1.metadata.json", json.dumps(text).encode()
    )
    table = world.production().register_table("t", place)
    assert table.format_version == 2
    table.append(pa.table({"n": [1]}))
    world.check("t", "production", pa.table({"n": [1]}))


def test_branches_and_tags_inside_of_a_table_are_refused(world: World) -> None:
    world.put("t", numbers(3))
    table = world.production().load_table("t")
    snapshot = table.current_snapshot().snapshot_id
    with pytest.raises(NotImplementedError, match="inside of a table"):
        table.manage_snapshots().create_tag(snapshot, "v1").commit()
    assert world.handle("t").rows == 3


def test_arrow_types_that_iceberg_can_not_hold_are_refused_here_too(world: World) -> None:
    with pytest.raises(UnstorableError, match="column big"):
        world.production().create_table("t", pa.schema([("big", pa.uint64())]))


# durability


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="names of descriptors are read from /proc")
def test_what_pyiceberg_wrote_is_on_disk_before_the_commit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    iceberg = world.production()
    table = iceberg.create_table("marts.t", SCHEMA)
    flushed: list[str] = []
    at_commit: list[set[str]] = []
    fsync, commit = os.fsync, iceberg._catalog.commit

    def spy(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def committing(request: CommitRequest) -> object:
        at_commit.append(set(flushed))
        return commit(request)

    monkeypatch.setattr(os, "fsync", spy)
    monkeypatch.setattr(iceberg._catalog, "commit", committing)
    before = world.files()
    table.append(numbers(10))
    made = world.files() - before
    folder = f"{world.root}/marts/t"
    assert made | {f"{folder}/data", f"{folder}/metadata", folder} <= at_commit[0]
    metadata = next(place for place in made if place.endswith(".metadata.json"))
    assert all(flushed.index(place) < flushed.index(metadata) for place in made - {metadata})


# names


def test_names_are_keys_and_namespaces(world: World) -> None:
    for key in ("delays", "marts.orders", "marts.items", "raw.x"):
        world.put(key, numbers(1))
    storage = world.lake
    branch = world.branch("production")
    file = Entry("model", "file", storage.write_bytes(f"{storage.table_folder('model')}/m", b"x"), "f1:0")
    world.catalog.commit(CommitRequest(branch=branch.id, changes={"model": file}))
    iceberg = world.production()
    assert iceberg.list_namespaces() == [("main",), ("marts",), ("raw",)]
    assert iceberg.list_namespaces("marts") == []
    assert iceberg.list_tables("marts") == [("marts", "items"), ("marts", "orders")]
    assert iceberg.list_tables(("main",)) == [("main", "delays")]
    for name in (
        "delays",
        ("main", "delays"),
        ("delays",),
        "main.delays",
        "marts.orders",
        ("marts", "orders"),
    ):
        assert iceberg.load_table(name).scan().to_arrow().num_rows == 1
        assert iceberg.table_exists(name)
    for name in ("nope", "marts.nope", "model", ("a", "b", "c"), "a b", "../x", "marts/../x"):
        with pytest.raises(NoSuchTableError):
            iceberg.load_table(name)
    with pytest.raises(NoSuchNamespaceError):
        iceberg.list_tables("nope")


def test_a_table_is_renamed_in_one_commit_and_its_files_stay(world: World) -> None:
    world.put("t", numbers(3))
    iceberg = world.production()
    before, head = world.files(), world.branch("production").head
    assert iceberg.rename_table("t", "marts.u").scan().to_arrow().num_rows == 3
    assert not iceberg.table_exists("t")
    assert (world.files(), world.branch("production").head) == (before, head + 1)
    iceberg.load_table("marts.u").append(numbers(2, start=3))
    world.check("marts.u", "production", numbers(5))
    world.put("t", numbers(1))
    with pytest.raises(TableAlreadyExistsError):
        iceberg.rename_table("t", "marts.u")
    with pytest.raises(NoSuchTableError):
        iceberg.rename_table("nope", "x")


def test_namespaces_keep_properties_with_the_branch(world: World) -> None:
    iceberg = world.production()
    iceberg.create_namespace("marts", {"owner": "ann"})
    with pytest.raises(NamespaceAlreadyExistsError):
        iceberg.create_namespace("marts")
    iceberg.create_namespace_if_not_exists("marts")
    iceberg.update_namespace_properties("marts", removals={"owner"}, updates={"team": "x"})
    assert world.production().load_namespace_properties("marts") == {"team": "x"}
    assert world.production().namespace_exists("marts")
    world.put("marts.t", numbers(1))
    iceberg.refresh()
    with pytest.raises(NamespaceNotEmptyError):
        iceberg.drop_namespace("marts")
    iceberg.drop_table("marts.t")
    iceberg.drop_namespace("marts")
    assert not iceberg.namespace_exists("marts")
    with pytest.raises(NoSuchNamespaceError):
        iceberg.load_namespace_properties("marts")


def test_views_are_not_kept(world: World) -> None:
    iceberg = world.production()
    for attempt in (
        lambda: iceberg.list_views("main"),
        lambda: iceberg.view_exists("main.v"),
        lambda: iceberg.load_view("main.v"),
        lambda: iceberg.drop_view("main.v"),
        lambda: iceberg.register_view("main.v", "x"),
        lambda: iceberg.create_view("main.v", SCHEMA, None),
    ):
        with pytest.raises(NotImplementedError, match="SQL asset"):
            attempt()


# engines


def test_engines_read_what_the_catalog_gives(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    world.put("t", numbers(100))
    table = world.sandbox().load_table("t")
    table.append(numbers(20, start=100))
    assert pl.scan_iceberg(table).filter(pl.col("id") > 90).collect().height == 29
    connection = table.scan(row_filter="id >= 110").to_duckdb("t")
    assert connection.sql("select sum(id) from t").fetchall() == [(1145,)]
    assert table.scan(selected_fields=("name",), limit=3).to_pandas().shape == (3, 1)
    assert table.to_polars().select(pl.len()).collect().item() == 120
    assert duckdb.sql("select 1").fetchall() == [(1,)]
    assert table.inspect.files().num_rows == 2


def test_two_processes_that_write_one_table_do_not_lose_a_row(world: World, tmp_path: Path) -> None:
    """Real processes on a real catalog: whoever conflicts reads again."""
    program = """
import sys
import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException
from anabranch.catalog import open_catalog
from anabranch.lake import manifest
from anabranch.lake.iceberg import BranchCatalog
from anabranch.lake.storage import Scope, Storage
catalog = open_catalog(sys.argv[1])
iceberg = BranchCatalog(catalog, "production", Storage(sys.argv[2], scope=Scope.environment()))
who = int(sys.argv[3])
for i in range(5):
    while True:
        iceberg.refresh()
        try:
            iceberg.load_table("t").append(pa.table({"n": [who * 100 + i]}))
            break
        except CommitFailedException:
            pass
catalog.close()
"""
    from anabranch.catalog import open_catalog

    url = f"sqlite:///{tmp_path}/catalog.db"
    catalog = open_catalog(url)
    catalog.open_branch("production", kind="environment")
    iceberg = BranchCatalog(catalog, "production", world.lake)
    iceberg.create_table("t", pa.schema([("n", pa.int64())]))
    processes = [
        subprocess.Popen([sys.executable, "-c", program, url, world.root, str(who)], stderr=subprocess.PIPE)
        for who in range(2)
    ]
    errors = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    iceberg.refresh()
    rows = iceberg.load_table("t").scan().to_arrow()
    assert sorted(rows["n"].to_pylist()) == [*range(5), *range(100, 105)]
    entry = catalog.get(catalog.branch("production").point, "t")
    assert entry is not None
    assert entry.version == str(content_of(rows))
    catalog.close()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_killed_around_the_commit_leaves_the_old_state_or_the_new_one(
    world: World, tmp_path: Path, moment: str
) -> None:
    from anabranch.catalog import open_catalog

    program = """
import os, signal, sys
import pyarrow as pa
from anabranch.catalog import open_catalog
from anabranch.lake import manifest
from anabranch.lake.iceberg import BranchCatalog
from anabranch.lake.storage import Scope, Storage
catalog = open_catalog(sys.argv[1])
iceberg = BranchCatalog(catalog, "production", Storage(sys.argv[2], scope=Scope.environment()))
commit = catalog.commit
def killed(request):
    if sys.argv[3] == "after":
        commit(request)
    os.kill(os.getpid(), signal.SIGKILL)
catalog.commit = killed
iceberg.load_table("t").append(pa.table({"n": [2]}))
"""
    url = f"sqlite:///{tmp_path}/catalog.db"
    catalog = open_catalog(url)
    catalog.open_branch("production", kind="environment")
    BranchCatalog(catalog, "production", world.lake).create_table("t", pa.schema([("n", pa.int64())])).append(
        pa.table({"n": [1]})
    )
    done = subprocess.run([sys.executable, "-c", program, url, world.root, moment], check=False)
    assert done.returncode == -9
    iceberg = BranchCatalog(catalog, "production", world.lake)
    rows = iceberg.load_table("t").scan().to_arrow()
    assert sorted(rows["n"].to_pylist()) == ([1] if moment == "before" else [1, 2])
    entry = catalog.get(iceberg.point, "t")
    assert entry is not None
    assert entry.version == str(content_of(rows))
    iceberg.load_table("t").append(pa.table({"n": [3]}))
    assert iceberg.load_table("t").scan().to_arrow().num_rows == rows.num_rows + 1
    catalog.close()
