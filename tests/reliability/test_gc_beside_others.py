"""gc while others work: whatever lands between two of its steps, what can still be read keeps its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from soundness import assert_sound, readable

from anabranch.catalog import open_catalog
from anabranch.catalog.base import Branch, Catalog, CommitRequest, Entry, Point
from anabranch.errors import CatalogError, ConflictError
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import write_file_asset
from anabranch.names import now
from anabranch.promotion import plan_rollback, roll_back
from anabranch.sandbox.gc import GcResult, collect, plan_gc

NOTHING_IS_YOUNG = {"keep": timedelta(0), "keep_commits": 2, "grace": timedelta(0)}
STEPS = ["list files", "retire", "reachable", "remove"]


class World:
    """A catalog and a warehouse with three states of production, and words for what others do to them."""

    def __init__(self, folder: Path) -> None:
        self.catalog: Catalog = open_catalog(f"sqlite:///{folder / 'catalog.db'}")
        self.storage = Storage(folder.resolve() / "warehouse", scope=Scope.sweep())
        self.catalog.open_branch("production", kind="environment")
        for number in range(3):
            self.publish(number)

    @property
    def production(self) -> Branch:
        return self.catalog.branch("production")

    def entry(self, scope: Scope, number: int) -> Entry:
        written = write_file_asset(self.storage.scoped(scope), "a", b"%d" % number)
        return Entry("a", "file", written.location, written.version)

    def publish(self, number: int) -> None:
        self.catalog.commit(CommitRequest(self.production.id, {"a": self.entry(Scope.environment(), number)}))

    def open(self, name: str, **options: object) -> Branch:
        """A sandbox with an entry of its own."""
        branch = self.catalog.open_branch(
            name, kind="sandbox", parent=self.production.point, properties={"storage": name}, **options
        )
        self.catalog.commit(CommitRequest(branch.id, {"a": self.entry(Scope.sandbox(name), 7)}))
        return self.catalog.branch(name)

    def collect(self) -> GcResult:
        return collect(self.catalog, self.storage, **NOTHING_IS_YOUNG)

    @contextmanager
    def before(self, step: str, action: Callable[[], object]) -> Iterator[None]:
        """The action happens once, right before a step of gc."""
        owner, name = {
            "list files": (Storage, "list"),
            "retire": (type(self.catalog), "retire"),
            "reachable": (type(self.catalog), "reachable"),
            "remove": (Storage, "remove"),
        }[step]
        real = getattr(owner, name)
        left = [action]

        def called(*arguments: object, **options: object) -> object:
            if left:
                left.pop()()
            return real(*arguments, **options)

        with patch.object(owner, name, called):
            yield
        assert not left, f"gc never came to {step}"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.catalog.close()


@pytest.mark.parametrize("step", STEPS)
def test_a_promotion_beside_gc_costs_no_state_that_can_still_be_read(world: World, step: str) -> None:
    with world.before(step, lambda: [world.publish(8), world.publish(9)]):
        world.collect()
    assert_sound(world.catalog, world.storage)
    assert world.storage.read_bytes(world.catalog.get(world.production.point, "a").location) == b"9"


@pytest.mark.parametrize("step", STEPS)
def test_a_rollback_beside_gc_lands_on_files_that_stay_or_is_refused(world: World, step: str) -> None:
    oldest = Point(world.production.id, 1)
    told = []

    def roll() -> None:
        try:
            plan = plan_rollback(world.catalog, world.production, oldest)
            roll_back(world.catalog, plan, author="Ada")
        except CatalogError as error:
            told.append(error)

    with world.before(step, roll):
        world.collect()
    assert_sound(world.catalog, world.storage)
    assert world.production.head == (3 if told else 4)
    location = world.catalog.get(world.production.point, "a").location
    assert world.storage.read_bytes(location) == (b"2" if told else b"0")
    assert bool(told) == (step in ("reachable", "remove"))


@pytest.mark.parametrize("step", STEPS)
def test_a_sandbox_that_is_opened_beside_gc_keeps_what_it_stands_on(world: World, step: str) -> None:
    with world.before(step, lambda: world.open("new")):
        world.collect()
    assert_sound(world.catalog, world.storage)
    assert world.catalog.branch("new").point in readable(world.catalog)


@pytest.mark.parametrize("step", STEPS)
def test_a_sandbox_that_is_closed_beside_gc_goes_with_the_next_one(world: World, step: str) -> None:
    branch = world.open("old")
    with world.before(step, lambda: world.catalog.close_branch(branch.id)):
        world.collect()
    assert_sound(world.catalog, world.storage)
    world.collect()
    assert [file.location for file in world.storage.list() if "_sandboxes" in file.location] == []


@pytest.mark.parametrize("step", ["list files", "retire", "reachable"])
def test_work_that_ends_beside_gc_stops_it_not(world: World, step: str) -> None:
    """The sandbox was kept because of the work; by the next step it is past its expiry like any other."""
    world.open("busy", expires_at=now() - timedelta(hours=1))
    lease = world.catalog.acquire("run:busy", holder="run 1", ttl=timedelta(hours=1))
    with world.before(step, lambda: world.catalog.release(lease.token)):
        first = world.collect()
    assert_sound(world.catalog, world.storage)
    assert first.expired in ((), ("busy",))
    assert ("busy" in {b.name for b in world.catalog.branches()}) == (first.expired == ())
    assert {*first.expired, *world.collect().expired} == {"busy"}


@pytest.mark.parametrize("step", STEPS)
def test_a_pointer_that_was_found_before_gc_is_adopted_whole_or_refused(world: World, step: str) -> None:
    doomed = world.open("done")
    found = world.catalog.get(doomed.point, "a")
    world.catalog.close_branch(doomed.id)
    reader = world.catalog.open_branch("reader", kind="sandbox", parent=world.production.point)
    told = []

    def adopt() -> None:
        try:
            world.catalog.commit(CommitRequest(reader.id, {"a": found}))
        except ConflictError as error:
            told.append(error.facts["expected"])

    with world.before(step, adopt):
        world.collect()
    assert_sound(world.catalog, world.storage)
    assert world.storage.exists(found.location) == (told == [])
    assert told in ([], [found.location])


def test_an_expired_sandbox_is_freed_by_the_gc_that_closes_it(world: World) -> None:
    world.open("late", expires_at=now() - timedelta(hours=1))
    planned = plan_gc(world.catalog, world.storage, **NOTHING_IS_YOUNG, now=now())
    done = world.collect()
    assert done.expired == done.retired == ("late",)
    assert [file for file in done.files if "_sandboxes/late" in file] == list(planned.files[:1])
    assert planned.files == done.files
    assert_sound(world.catalog, world.storage)


def test_the_plan_keeps_what_another_sandbox_has_adopted_from_an_expired_one(world: World) -> None:
    """Also where it has replaced it since: its history still shows it."""
    late = world.open("late", expires_at=now() - timedelta(hours=1))
    adopted = world.catalog.get(late.point, "a")
    reader = world.catalog.open_branch("reader", kind="sandbox", parent=world.production.point)
    world.catalog.commit(CommitRequest(reader.id, {"a": adopted}))
    world.catalog.set_tag("kept", world.catalog.branch("reader").point)
    world.catalog.commit(CommitRequest(reader.id, {"a": None}))
    planned = plan_gc(world.catalog, world.storage, **NOTHING_IS_YOUNG, now=now())
    assert adopted.location not in planned.files
    assert world.collect().files == planned.files
    assert world.storage.exists(adopted.location)


def test_a_file_asset_that_is_named_like_a_tables_metadata_is_a_file(world: World) -> None:
    storage = world.storage.scoped(Scope.environment())
    written = write_file_asset(storage, "metadata", b"{}", name="v1.metadata.json")
    entry = Entry("metadata", "file", written.location, written.version)
    world.catalog.commit(CommitRequest(world.production.id, {"metadata": entry}))
    world.collect()
    assert world.storage.read_bytes(written.location) == b"{}"
