"""The same lake on an object store: in memory through fsspec, and on S3 as its interface is spoken by a local server."""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Iterator

import duckdb
import pyarrow.compute as pc
import pytest
from lake_data import every_type, numbers, plain

from anabranch.catalog.memory import MemoryCatalog
from anabranch.errors import IsolationError, LakeError, MissingFileError
from anabranch.lake.iceberg import BranchCatalog
from anabranch.lake.partitions import Layout, LayoutField, Slice, assemble, overlay, write_partition
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, append_table, write_file_asset, write_table
from anabranch.lake.version import content_of


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """Properties of an S3 server of this process."""
    pytest.importorskip("moto")
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        _, port = server.get_host_and_port()
        yield {
            "s3.endpoint": f"http://127.0.0.1:{port}",
            "s3.access-key-id": "key",
            "s3.secret-access-key": "secret",
            "s3.region": "us-east-1",
        }
        server.stop()


def s3_lake(properties: dict[str, str]) -> Storage:
    import boto3

    bucket = f"lake-{uuid.uuid4()}"
    client = boto3.client(
        "s3",
        endpoint_url=properties["s3.endpoint"],
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=bucket)
    client.close()
    return Storage(f"s3://{bucket}/warehouse", properties=properties, scope=Scope.environment())


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> Storage:
    if request.param == "s3":
        return s3_lake(request.getfixturevalue("s3"))
    return Storage(f"memory://lake-{uuid.uuid4()}/warehouse", scope=Scope.environment())


def put(store: Storage, data: object) -> Table:
    written = write_table(store, "marts.t", data)
    return Table("marts.t", written.location, store, written.version)


def test_a_table_comes_back_as_it_went_in(store: Storage) -> None:
    data = every_type()
    table = put(store, data)
    assert table.location.startswith(f"{store.warehouse}/marts/t/metadata/")
    assert plain(table.to_arrow()) == plain(data)
    assert plain(table.to_batches().read_all()) == plain(data)
    assert str(content_of(table.to_arrow())) == table.version
    copy = pickle.loads(pickle.dumps(table))
    assert copy.to_arrow(["small"]).equals(table.to_arrow(["small"]))


def test_engines_read_it_with_filters(store: Storage) -> None:
    table = put(store, numbers(100))
    grown = append_table(store, "marts.t", numbers(20, start=100), previous=table)
    table = Table("marts.t", grown.location, store, grown.version)
    assert table.to_arrow(filter=pc.field("id") >= 115)["id"].to_pylist() == [*range(115, 120)]
    assert table.to_arrow(filter="id >= 115")["id"].to_pylist() == [*range(115, 120)]
    assert table.to_lazy().select("id").collect()["id"].to_list() == [*range(120)]
    connection = duckdb.connect()
    table.create_view(connection, "marts.t")
    assert connection.sql("select count(*), max(id) from marts.t").fetchall() == [(120, 119)]
    assert table.to_duckdb().aggregate("sum(id)").fetchall() == [(7140,)]


def test_a_sandbox_writes_only_its_folder(store: Storage) -> None:
    first = put(store, numbers(10))
    sandbox = store.scoped(Scope.sandbox("fix"))
    written = append_table(sandbox, "marts.t", numbers(1, start=10), previous=first)
    assert written.location.startswith(f"{store.warehouse}/_sandboxes/fix/marts/t/metadata/")
    before = {file.location for file in store.list() if "/_sandboxes/" not in file.location}
    assert before == {file.location for file in store.list("marts")}
    assert {file.size > 0 for file in store.list()} == {True}
    with pytest.raises(IsolationError):
        sandbox.write_bytes(f"{store.warehouse}/marts/t/x", b"x")
    with pytest.raises(IsolationError):
        store.write_bytes(f"{store.warehouse}/_sandboxes/fix/marts/t/x", b"x")


def test_files_are_kept_listed_and_swept(store: Storage) -> None:
    written = write_file_asset(store, "model", b"weights", name="m.bin")
    assert store.read_bytes(written.location) == b"weights"
    with pytest.raises(LakeError, match="already"):
        store.write_bytes(written.location, b"other")
    assert [file.location for file in store.list()] == [written.location]
    assert store.scoped(Scope.sweep()).remove([written.location]) == 1
    assert list(store.list()) == []
    with pytest.raises(MissingFileError):
        store.read_bytes(written.location)


def test_a_file_that_is_gone_is_named(store: Storage) -> None:
    table = put(store, numbers(3))
    gone = table.files()[0].path
    store.scoped(Scope.sweep()).remove([gone])
    for read in (lambda: table.to_arrow(), lambda: table.to_batches().read_all()):
        with pytest.raises(MissingFileError) as caught:
            read()
        assert gone in caught.value.message


def test_pyiceberg_writes_through_the_branch(store: Storage) -> None:
    catalog = MemoryCatalog()
    catalog.open_branch("production", kind="environment")
    point = catalog.branch("production").point
    catalog.open_branch("fix", kind="sandbox", parent=point, properties={"storage": "fix"})
    iceberg = BranchCatalog(catalog, "fix", store.scoped(Scope.sandbox("fix")))
    table = iceberg.create_table("marts.t", numbers(1).schema)
    table.append(numbers(10))
    table.delete("id < 3")
    entry = catalog.get(iceberg.point, "marts.t")
    assert entry is not None
    assert entry.version == str(content_of(numbers(7, start=3)))
    assert all("/_sandboxes/fix/" in file.location for file in store.list())
    assert Table("marts.t", entry.location, store).to_arrow().equals(numbers(7, start=3))
    with pytest.raises(IsolationError):
        table.transaction().set_properties(
            {"write.data.path": f"{store.warehouse}/marts/t"}
        ).commit_transaction()


def test_partitions_are_overwritten_and_overlaid(store: Storage) -> None:
    layout = Layout((LayoutField("_partition", "identity", added=True),))

    def put_parts(parts: dict[str, int], previous: Table | None) -> Table:
        writes = [
            (
                write_partition(
                    store, "t", Slice(key, (key,)), numbers(rows), layout=layout, previous=previous
                ),
                "",
            )
            for key, rows in parts.items()
        ]
        written = assemble(store, "t", layout=layout, previous=previous, writes=writes, making=("m", None))
        return Table("t", written.location, store)

    table = put_parts({"a": 1, "ü|b": 2, "c": 0}, None)
    again = put_parts({"a": 5}, table)
    assert (again.rows, again.only(["ü|b"]).to_arrow().num_rows) == (7, 2)
    laid = Table("t", overlay(store, "t", table, {"a": again, "ü|b": None}).location, store)
    assert laid.version == str(content_of(laid.to_arrow()))
    assert laid.partition_map.keys == ("a", "c")
