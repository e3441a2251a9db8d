"""Who may write where, and that what is written survives: on a local file system and on an object store in memory."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest

from anabranch.errors import IsolationError, LakeError, MissingFileError
from anabranch.lake.storage import Scope, Storage


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "warehouse"


@pytest.fixture
def production(warehouse: Path) -> Storage:
    return Storage(warehouse, scope=Scope.environment())


@pytest.fixture
def sandbox(warehouse: Path) -> Storage:
    return Storage(warehouse, scope=Scope.sandbox("fix"))


def test_an_environment_and_a_sandbox_have_folders_of_their_own(
    production: Storage, sandbox: Storage
) -> None:
    root = production.warehouse
    assert production.table_folder("delays") == f"{root}/main/delays"
    assert production.table_folder("marts.delays") == f"{root}/marts/delays"
    assert sandbox.table_folder("marts.delays") == f"{root}/_sandboxes/fix/marts/delays"


@pytest.mark.parametrize("key", ["", "a.b.c", "../x", "a/b", "a b", "_sandboxes/x/a", "a."])
def test_what_is_no_key_has_no_folder(production: Storage, key: str) -> None:
    with pytest.raises(LakeError):
        production.table_folder(key)


def test_what_was_written_is_read_back(production: Storage) -> None:
    place = production.write_bytes(f"{production.warehouse}/main/a/x.bin", b"abc")
    assert production.read_bytes(place) == b"abc"
    assert production.exists(place)
    with production.open_input(place) as file:
        assert file.read(2) == b"ab"


def test_a_local_file_is_copied_as_it_is(production: Storage, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(b"\0" * 3_000_000 + b"end")
    place = production.write_file(f"{production.warehouse}/main/a/model.bin", source)
    assert production.read_bytes(place) == source.read_bytes()


def test_a_source_that_is_not_there_is_named(production: Storage, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nothing"):
        production.write_file(f"{production.warehouse}/main/a/x", tmp_path / "nothing.bin")


def test_a_file_is_never_replaced(production: Storage) -> None:
    place = production.write_bytes(f"{production.warehouse}/main/a/x", b"first")
    with pytest.raises(LakeError, match="already"):
        production.write_bytes(place, b"second")
    with pytest.raises(LakeError, match="already"):
        production.create(place)
    assert production.read_bytes(place) == b"first"


def test_of_two_writers_of_one_file_one_wins_whole(production: Storage) -> None:
    place = f"{production.warehouse}/main/a/x"
    outcomes: list[bytes | None] = []
    barrier = threading.Barrier(4)

    def write(data: bytes) -> None:
        barrier.wait()
        try:
            production.write_bytes(place, data)
        except LakeError:
            outcomes.append(None)
        else:
            outcomes.append(data)

    threads = [threading.Thread(target=write, args=(bytes([i]) * 100_000,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [data for data in outcomes if data is not None]
    assert len(winners) == 1
    assert production.read_bytes(place) == winners[0]


def test_a_file_that_is_not_there_is_named(production: Storage) -> None:
    place = f"{production.warehouse}/main/a/gone"
    with pytest.raises(MissingFileError, match="main/a/gone") as caught:
        production.read_bytes(place)
    assert caught.value.hint
    assert caught.value.facts["location"] == place
    assert not production.exists(place)


OUTSIDE = [
    "{root}/main/x",  # another table's folder of the environment
    "{root}/x",
    "{root}/_sandboxes/other/main/t/x",
    "{root}/_sandboxes/fix2/main/t/x",
    "{root}/_sandboxes/fi/main/t/x",
    "{root}/_sandboxes/fix",
    "{root}/_sandboxes/x",
    "{root}/_sandboxes/fix/../other/x",
    "{root}/_sandboxes/fix/../../main/t/x",
    "{root}/_sandboxes/fix/main/../../../main/t/x",
    "{root}/_sandboxes/fix/./../x/y",
    "{root}/_sandboxes/fix//../../main/x",
    "{root}/_sandboxes/fix/%2e%2e/%2e%2e/main/x",
    "{root}/_sandboxes/fix/%2E%2E%2F%2E%2E%2Fmain/x",
    "{root}/_sandboxes/fix/%252e%252e/main/x",
    "{root}/_sandboxes/fix/..%2f..%2fmain",
    "{root}/_sandboxes/fix/..\\..\\main\\x",
    "{root}/_sandboxes/fix/main/\0x",
    "{root}/_sandboxes/fix/main/",
    "{root}/../elsewhere/x",
    "{root}2/_sandboxes/fix/main/x",
    "{root}",
    "/etc/passwd",
    "_sandboxes/fix/main/x",
    "",
    "~/x",
    "s3://bucket/_sandboxes/fix/x",
    "file://{root}/main/x",
    "file:{root}/main/x",
    "file://{root}/_sandboxes/fix/%2e%2e/other/x",
]


@pytest.mark.parametrize("place", OUTSIDE)
def test_a_sandbox_writes_nowhere_but_in_its_folder(sandbox: Storage, warehouse: Path, place: str) -> None:
    location = place.format(root=sandbox.warehouse)
    for attempt in (
        lambda: sandbox.write_bytes(location, b"x"),
        lambda: sandbox.put_bytes(location, b"x"),
        lambda: sandbox.write_file(location, __file__),
        lambda: sandbox.create(location),
        lambda: sandbox.io.new_output(location).create(overwrite=True),
    ):
        with pytest.raises(IsolationError):
            attempt()
    assert not warehouse.exists()


@pytest.mark.parametrize(
    "place",
    [
        "{root}/_sandboxes/fix/main/t/x",
        "{root}/_Sandboxes/fix/main/t/x",
        "{root}/main/../_sandboxes/fix/x",
        "{root}/x",
        "{root}/../x/y",
    ],
)
def test_an_environment_writes_nowhere_near_a_sandbox(production: Storage, place: str) -> None:
    with pytest.raises(IsolationError):
        production.write_bytes(place.format(root=production.warehouse), b"x")


@pytest.mark.parametrize("scope", [Scope.read_only(), Scope.sweep()])
def test_a_scope_that_does_not_write_writes_nothing(warehouse: Path, scope: Scope) -> None:
    storage = Storage(warehouse, scope=scope)
    for place in ("main/t/x", "_sandboxes/fix/main/t/x"):
        with pytest.raises(IsolationError):
            storage.write_bytes(f"{warehouse}/{place}", b"x")
    assert Storage(warehouse).scope == Scope.read_only()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", ".hidden", "a b", "x\0", "a\n"])
def test_a_sandbox_id_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(IsolationError):
        Scope.sandbox(name)


def test_a_symlink_leads_nobody_out_of_the_scope(
    production: Storage, sandbox: Storage, tmp_path: Path
) -> None:
    production.write_bytes(f"{production.warehouse}/main/t/x", b"precious")
    sandbox.write_bytes(f"{sandbox.table_folder('t')}/x", b"mine")
    inside = Path(sandbox.table_folder("t"))
    (inside / "link").symlink_to(f"{production.warehouse}/main/t", target_is_directory=True)
    (inside / "dangling").symlink_to(f"{production.warehouse}/main/t/new")
    (inside / "away").symlink_to(tmp_path / "away", target_is_directory=True)
    (tmp_path / "away").mkdir()
    for name in ("link/y", "link/x", "dangling", "away/y", "away/deep/y"):
        with pytest.raises(IsolationError, match="symlink"):
            sandbox.write_bytes(f"{inside}/{name}", b"overwritten")
        with pytest.raises(IsolationError, match="symlink"):
            sandbox.io.new_output(f"{inside}/{name}")
    assert [p.name for p in (Path(production.warehouse) / "main" / "t").iterdir()] == ["x"]
    assert list((tmp_path / "away").iterdir()) == []


def test_a_warehouse_behind_a_symlink_is_one_warehouse(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    storage = Storage(tmp_path / "link", scope=Scope.environment())
    place = storage.write_bytes(f"{tmp_path}/real/main/t/x", b"x")
    assert place == f"{tmp_path}/link/main/t/x"
    assert [file.location for file in storage.list()] == [place]


def test_a_partition_value_with_a_slash_is_a_name_like_others(production: Storage) -> None:
    place = production.write_bytes(f"{production.warehouse}/main/t/data/region=a%2Fb/x.parquet", b"x")
    assert [file.location for file in production.list("main")] == [place]


def test_reading_is_free_of_scopes(production: Storage, sandbox: Storage) -> None:
    place = production.write_bytes(f"{production.warehouse}/main/t/x", b"abc")
    assert sandbox.read_bytes(place) == b"abc"
    with sandbox.io.new_input(place).open() as stream:
        assert stream.read() == b"abc"


def test_a_file_uri_is_the_path_it_names(warehouse: Path) -> None:
    storage = Storage(f"file://{warehouse}", scope=Scope.environment())
    assert storage.warehouse == str(warehouse)
    assert storage.local
    place = storage.write_bytes(f"file://{warehouse}/main/t/a%20b", b"x")
    assert place == f"{warehouse}/main/t/a b"
    assert storage.read_bytes(f"file://{warehouse}/main/t/a%20b") == b"x"


def test_a_relative_warehouse_is_made_absolute_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage("lake/../warehouse", scope=Scope.environment())
    monkeypatch.chdir("/")
    storage.write_bytes(f"{storage.warehouse}/main/t/x", b"x")
    assert (tmp_path / "warehouse/main/t/x").exists()


@pytest.mark.parametrize("text", ["s3://", "s3:///", "s3://bucket/../x", "s3://bucket//x"])
def test_a_uri_that_names_no_place_is_no_warehouse(text: str) -> None:
    with pytest.raises(LakeError):
        Storage(text)


def test_a_storage_survives_pickling_and_keeps_its_scope(sandbox: Storage) -> None:
    assert sandbox.io is sandbox.io
    copy = pickle.loads(pickle.dumps(sandbox))
    assert copy.scope == sandbox.scope
    copy.write_bytes(f"{copy.table_folder('t')}/x", b"x")
    with pytest.raises(IsolationError):
        copy.write_bytes(f"{copy.warehouse}/main/t/x", b"x")
    io = pickle.loads(pickle.dumps(sandbox.io))
    with pytest.raises(IsolationError):
        io.new_output(f"{copy.warehouse}/main/t/x")


def test_a_folder_that_gc_removes_in_between_is_made_again(
    production: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, removed = os.open, []

    def racing(path: str, *arguments: int) -> int:
        if not removed and str(path).endswith("/x"):
            os.rmdir(os.path.dirname(path))
            removed.append(path)
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", racing)
    place = production.write_bytes(f"{production.warehouse}/main/t/x", b"x")
    assert removed == [place]
    assert production.read_bytes(place) == b"x"


# listing and removing


def test_a_list_names_every_file_below_a_folder(production: Storage, sandbox: Storage) -> None:
    root = production.warehouse
    a = production.write_bytes(f"{root}/main/t/data/a", b"12")
    b = production.write_bytes(f"{root}/marts/t/b", b"3")
    c = sandbox.write_bytes(f"{sandbox.table_folder('t')}/c", b"")
    files = {file.location: file for file in production.list()}
    assert set(files) == {a, b, c}
    assert files[a].size == 2
    assert files[a].modified.tzinfo is not None
    assert {file.location for file in production.list("main")} == {a}
    assert {file.location for file in production.list(f"{root}/main/")} == {a}
    assert {file.location for file in production.list("_sandboxes/fix")} == {c}
    assert list(production.list("mai")) == []
    with pytest.raises(IsolationError):
        list(production.list("../"))


def test_only_a_sweep_removes_files(production: Storage, sandbox: Storage) -> None:
    place = production.write_bytes(f"{production.warehouse}/main/t/x", b"x")
    for storage in (production, sandbox, Storage(production.warehouse)):
        with pytest.raises(IsolationError):
            storage.remove([place])
        with pytest.raises(IsolationError):
            storage.io.delete(place)
    assert production.exists(place)


def test_a_sweep_removes_files_and_folders_that_are_empty_then_and_can_be_repeated(
    production: Storage,
) -> None:
    root = production.warehouse
    places = [production.write_bytes(f"{root}/main/t/data/{name}", b"x") for name in "abc"]
    kept = production.write_bytes(f"{root}/main/u/x", b"x")
    sweep = production.scoped(Scope.sweep())
    assert sweep.remove(places) == 3
    assert sweep.remove(places) == 0
    assert sorted(os.listdir(f"{root}/main")) == ["u"]
    assert sweep.remove([kept]) == 1
    assert os.path.isdir(root)
    with pytest.raises(IsolationError):
        sweep.remove([f"{root}/../other"])
    production.write_bytes(places[0], b"again")


def test_a_sweep_removes_nothing_if_one_location_is_outside(production: Storage, tmp_path: Path) -> None:
    place = production.write_bytes(f"{production.warehouse}/main/t/x", b"x")
    outside = tmp_path / "other"
    outside.write_bytes(b"x")
    with pytest.raises(IsolationError):
        production.scoped(Scope.sweep()).remove([place, str(outside)])
    assert production.exists(place)
    assert outside.exists()


def test_pyiceberg_tidying_up_its_own_new_file_is_passed_over(production: Storage) -> None:
    place = f"{production.warehouse}/main/t/x"
    with production.io.new_output(place).create() as stream:
        stream.write(b"x")
    production.io.delete(place)
    assert production.exists(place)
    with pytest.raises(IsolationError):
        production.scoped(Scope.environment()).io.delete(place)


# durability


class Flushes:
    """Records what is flushed, and whether it was there then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        real = os.fsync

        def fsync(descriptor: int) -> None:
            self.paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)


needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/fd"), reason="names of descriptors are read from /proc"
)


@needs_proc
def test_a_file_is_flushed_before_its_folder_and_new_folders_before_they_count(
    production: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = Flushes(monkeypatch)
    root = production.warehouse
    place = production.write_bytes(f"{root}/main/t/x", b"x")
    assert flushes.paths[:2] == [place, f"{root}/main/t"]
    assert set(flushes.paths[2:]) == {f"{root}/main", root, os.path.dirname(root)}


@needs_proc
def test_folders_whose_names_are_on_disk_are_not_flushed_again(
    production: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = production.warehouse
    production.write_bytes(f"{root}/main/t/x", b"x")
    flushes = Flushes(monkeypatch)
    production.write_bytes(f"{root}/main/t/y", b"y")
    assert flushes.paths == [f"{root}/main/t/y", f"{root}/main/t"]


@needs_proc
def test_a_folder_that_another_process_made_is_flushed_too(
    production: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = production.warehouse
    os.makedirs(f"{root}/main/t")
    flushes = Flushes(monkeypatch)
    production.write_bytes(f"{root}/main/t/y", b"y")
    assert flushes.paths == [f"{root}/main/t/y", f"{root}/main/t", f"{root}/main", root]


@needs_proc
def test_many_files_of_one_folder_share_the_flush_of_the_folder(
    production: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = production.warehouse
    places = [production.put_bytes(f"{root}/main/t/{i}", b"x") for i in range(5)]
    flushes = Flushes(monkeypatch)
    production.settle(places)
    assert flushes.paths[:6] == [*places, f"{root}/main/t"]
    assert flushes.paths.count(f"{root}/main/t") == 1


# object stores


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> str:
    import fsspec

    name = f"bucket-{abs(hash(request.node.name))}"
    memory = fsspec.filesystem("memory")
    memory.pseudo_dirs.append(f"/{name}")
    yield f"memory://{name}/lake"
    memory.rm(f"/{name}", recursive=True)


def test_an_object_store_is_written_read_listed_and_swept(bucket: str) -> None:
    storage = Storage(bucket, scope=Scope.sandbox("fix"))
    assert not storage.local
    place = storage.write_bytes(f"{storage.table_folder('marts.t')}/data/x", b"abc")
    assert place == f"{bucket}/_sandboxes/fix/marts/t/data/x"
    assert storage.read_bytes(place) == b"abc"
    copied = storage.write_file(f"{storage.table_folder('marts.t')}/data/y", __file__)
    assert storage.read_bytes(copied) == Path(__file__).read_bytes()
    with pytest.raises(LakeError, match="already"):
        storage.write_bytes(place, b"again")
    assert {file.location for file in storage.list("_sandboxes")} == {place, copied}
    assert {file.size for file in storage.list()} == {3, os.path.getsize(__file__)}
    with pytest.raises(MissingFileError):
        storage.read_bytes(f"{bucket}/main/t/nothing")
    sweep = storage.scoped(Scope.sweep())
    assert sweep.remove([place, f"{bucket}/main/t/nothing"]) == 1
    assert not storage.exists(place)


@pytest.mark.parametrize(
    "place",
    [
        "{root}/main/t/x",
        "{root}/_sandboxes/other/x/y",
        "{root}/_sandboxes/fix/../other/x",
        "{root}/_sandboxes/fix/%2e%2e/x",
        "{root}/_sandboxes/fix//x",
        "memory://other/_sandboxes/fix/main/x",
        "s3://bucket/_sandboxes/fix/main/x",
        "/tmp/x",
    ],
)
def test_a_sandbox_on_an_object_store_writes_nowhere_but_in_its_folder(bucket: str, place: str) -> None:
    storage = Storage(bucket, scope=Scope.sandbox("fix"))
    for attempt in (
        lambda: storage.write_bytes(place.format(root=bucket), b"x"),
        lambda: storage.io.new_output(place.format(root=bucket)),
    ):
        with pytest.raises(IsolationError):
            attempt()
    assert list(storage.list()) == []
