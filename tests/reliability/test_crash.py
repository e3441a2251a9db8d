"""Processes that are killed in the middle of a run, a promotion or a gc, at every kind of step and at any time.

Afterwards the catalog opens, production is the old or the new state, every commit that can be read is whole, and the same
command, run again at once, finishes the work without computing again what was kept.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from driver import started
from soundness import assert_database_is_whole, assert_sound
from story_shop import Shop, build

from anabranch.catalog import open_catalog
from anabranch.catalog.base import Catalog, Entry
from anabranch.lake.storage import Scope, Storage
from anabranch.names import now
from anabranch.running.lease import is_dead
from anabranch.sandbox.gc import collect
from effort import effort

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")]

STEPS = effort(9)  # kills before a step, for each command
TIMES = effort(2)  # kills at a random time, for each command

SETTINGS = """
[project]
name = "shop"
definitions = "shop.definitions:defs"

[environments.production]
git_branch = "main"
protected = false

[history]
keep = "1s"
keep_commits = 1

[gc]
grace = "0s"
"""

DEFINITIONS = """
import anabranch as ab
import pyarrow as pa

from shop.prices import with_tax


@ab.asset(key="id")
def orders() -> pa.Table:
    return pa.table({"id": [1, 2, 3], "net": [10.0, 20.0, 30.0]})


@ab.asset(key="id")
def paid(orders: pa.Table) -> pa.Table:
    return orders.append_column("gross", with_tax(orders["net"]))


@ab.asset
def letter(paid: pa.Table) -> ab.File:
    return ab.File(repr(paid["gross"].to_pylist()).encode(), name="letter.txt")


@ab.asset(incremental="append")
def log(orders: ab.Changes, previous: ab.Table | None) -> pa.Table:
    return orders.added.to_arrow()


@ab.asset(incremental="upsert", key="id")
def current(orders: ab.Changes) -> ab.Upsert:
    new = orders.added.to_arrow()
    gone = [i for i in orders.removed.to_arrow()["id"].to_pylist() if i not in new["id"].to_pylist()]
    return ab.Upsert(new, delete=pa.table({"id": pa.array(gone, pa.int64())}))


def positive(paid: pa.Table) -> bool:
    return min(paid["gross"].to_pylist()) > 0


defs = ab.Definitions(assets=[orders, paid, letter, log, current], checks=[ab.check(paid)(positive)])
"""

MORE = '"id": [1, 2, 3, 4, 5], "net": [10.0, 20.0, 30.0, 40.0, 50.0]'

State = dict[str, str]


@dataclass
class Scene:
    """A project right before a command, and what the command makes of it when nobody kills it.

    Attributes:
        folder: The project.
        command: The `Project` method, with its arguments.
        before, after: Branch → its versions by key.
        steps, seconds: Of the command when it is not killed.
        files: What is in the warehouse after it.
    """

    folder: Path
    command: str
    arguments: dict[str, Any] = field(default_factory=dict)
    before: dict[str, State] = field(default_factory=dict)
    after: dict[str, State] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    files: int = 0

    @property
    def data(self) -> Path:
        return self.folder / ".anabranch"

    def keep(self) -> None:
        shutil.copytree(self.data, self.folder.parent / "kept")

    def restore(self) -> None:
        shutil.rmtree(self.data)
        shutil.copytree(self.folder.parent / "kept", self.data)


class Opened:
    """The catalog and the warehouse of a scene, as they were left."""

    def __init__(self, scene: Scene) -> None:
        assert_database_is_whole(scene.data / "catalog.db")
        self.catalog: Catalog = open_catalog(f"sqlite:///{scene.data / 'catalog.db'}")
        self.storage = Storage(scene.data.resolve() / "warehouse", scope=Scope.sweep())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.catalog.close()

    def entries(self) -> dict[str, dict[str, Entry]]:
        return {b.name: self.catalog.entries(b.point) for b in self.catalog.branches()}

    def versions(self) -> dict[str, State]:
        return {
            name: {key: entry.version for key, entry in found.items()}
            for name, found in self.entries().items()
            if ".run-" not in name
        }


@pytest.fixture
def scene(request: pytest.FixtureRequest, repo: Callable) -> Iterator[Scene]:
    shop = build(repo(), settings=SETTINGS, definitions=DEFINITIONS)
    made: Scene = request.param(shop)
    shop.project.close()
    made.keep()
    yield made
    for name in [n for n in sys.modules if n.partition(".")[0] == "shop"]:
        del sys.modules[name]


@pytest.fixture
def drive(scene: Scene) -> Iterator[Callable[..., dict[str, Any]]]:
    """Carries the command out in a process; where a step or a time is given, kills it there."""
    with started() as driver:

        def drive(**moment: Any) -> dict[str, Any]:
            request = {"folder": str(scene.folder), "command": scene.command, "arguments": scene.arguments}
            return driver(request | moment)[0]

        with Opened(scene) as opened:
            scene.before = opened.versions()
        done = drive()
        assert done["state"] == "done", done["error"]
        with Opened(scene) as opened:
            scene.after = opened.versions()
            scene.files = len(list(opened.storage.list()))
            assert opened.catalog.leases() == []  # nobody was killed
        scene.steps, scene.seconds = done["steps"], done["seconds"]
        scene.restore()
        yield drive


def raise_tax(shop: Shop) -> None:
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.25")
    shop.commit("Raise the tax")


def a_first_run(shop: Shop) -> Scene:
    (shop.folder / ".anabranch").mkdir(exist_ok=True)
    shop.project.context.environment("production")
    return Scene(shop.folder, "run", {"in_process": True})


def a_run_on_production(shop: Shop) -> Scene:
    shop.run()
    raise_tax(shop)
    return Scene(shop.folder, "run", {"in_process": True})


def a_run_that_appends(shop: Shop) -> Scene:
    """Rows are added to what is there: twice would be once too often."""
    shop.run()
    before = {key: len(shop.rows(key)) for key in ("log", "current")}
    assert before == {"log": 3, "current": 3}
    shop.edit("shop/definitions.py", '"id": [1, 2, 3], "net": [10.0, 20.0, 30.0]', MORE)
    shop.commit("More orders")
    return Scene(shop.folder, "run", {"in_process": True})


def a_run_on_a_sandbox(shop: Shop) -> Scene:
    shop.run()
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.project.sandbox.open()
    return Scene(shop.folder, "run", {"in_process": True})


def a_promotion(shop: Shop) -> Scene:
    a_run_on_a_sandbox(shop)
    shop.run()
    return Scene(shop.folder, "promote", {"in_process": True, "yes": True})


def a_promotion_on_a_newer_base(shop: Shop) -> Scene:
    """It syncs the sandbox and runs there first."""
    a_promotion(shop)
    shop.switch("main")
    shop.edit("shop/definitions.py", "[10.0, 20.0, 30.0]", "[10.0, 20.0, 40.0]")
    shop.commit("More")
    shop.run()
    shop.switch("fix")
    shop.git("merge", "-q", "--no-edit", "main")
    return Scene(shop.folder, "promote", {"in_process": True, "yes": True})


def a_collection(shop: Shop) -> Scene:
    """With old history, a closed sandbox, an expired one, and one that stays."""
    a_promotion(shop)
    shop.promote()
    for name in ("closed", "expired", "open"):
        shop.switch("fix")
        shop.switch(name, new=True)
        shop.edit("shop/definitions.py", "20.0", f"2{len(name)}.0")
        shop.commit()
        shop.run()
        if name == "closed":
            shop.project.sandbox.close()
        if name == "expired":
            catalog = shop.project.context.catalog
            catalog.update_branch(catalog.branch(name).id, expires_at=now())
    return Scene(shop.folder, "gc")


def moments(scene: Scene, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Where to kill: spread over all steps and over all of the time, each anywhere in its own part."""
    for part in range(STEPS):
        yield {"step": 1 + int((part + chance.random()) * scene.steps / STEPS)}
    for part in range(TIMES):
        yield {"seconds": (part + chance.random()) * scene.seconds / TIMES}


@pytest.mark.parametrize(
    "scene",
    [
        a_first_run,
        a_run_on_production,
        a_run_that_appends,
        a_run_on_a_sandbox,
        a_promotion,
        a_promotion_on_a_newer_base,
    ],
    indirect=True,
    ids=lambda make: make.__name__,
)
def test_production_is_old_or_new_after_a_kill_and_the_same_command_finishes(
    scene: Scene, drive: Callable
) -> None:
    assert scene.before != scene.after
    killed = 0
    for moment in moments(scene, random.Random()):
        scene.restore()
        state = drive(**moment)["state"]
        assert state == "killed" or "seconds" in moment, f"{moment} of {scene.steps}: {state}"
        killed += state == "killed"
        with Opened(scene) as opened:
            assert_sound(opened.catalog, opened.storage)
            assert opened.versions()["production"] in (
                scene.before["production"],
                scene.after["production"],
            ), moment
            kept = opened.entries()
        again = drive()
        assert again["state"] == "done", f"{moment}: {again}"
        with Opened(scene) as opened:
            assert_sound(opened.catalog, opened.storage)
            assert opened.versions() == scene.after, moment
            assert all(is_dead(lease) for lease in opened.catalog.leases()), moment
            assert {run.state for run in opened.catalog.runs()} <= {"succeeded", "interrupted"}, moment
            found = opened.entries()
            for key, entry in found["production"].items():
                # What the killed process had committed, on whatever branch, is taken over by its pointer.
                had = {
                    entries[key].version: entries[key].location for entries in kept.values() if key in entries
                }
                assert had.get(entry.version, entry.location) == entry.location, f"{key} after {moment}"
            nothing = {"keep": timedelta(0), "keep_commits": 1, "grace": timedelta(0)}
            collect(opened.catalog, opened.storage, **nothing)
            assert_sound(opened.catalog, opened.storage)
            assert opened.versions() == scene.after, moment
    assert killed >= STEPS


@pytest.mark.parametrize("scene", [a_collection], indirect=True, ids=lambda make: make.__name__)
def test_nothing_that_can_be_read_is_lost_by_a_gc_that_is_killed_and_a_second_one_finishes(
    scene: Scene, drive: Callable
) -> None:
    stays = {name: state for name, state in scene.before.items() if name != "expired"}
    assert scene.after == stays
    assert stays.keys() == {"production", "fix", "open"}
    for moment in moments(scene, random.Random()):
        scene.restore()
        state = drive(**moment)["state"]
        assert state == "killed" or "seconds" in moment, f"{moment} of {scene.steps}: {state}"
        with Opened(scene) as opened:
            assert_sound(opened.catalog, opened.storage)
            assert {name: opened.versions()[name] for name in stays} == stays, moment
        again = drive()
        assert again["state"] == "done", f"{moment}: {again}"
        with Opened(scene) as opened:
            assert_sound(opened.catalog, opened.storage)
            assert opened.versions() == stays
            assert len(list(opened.storage.list())) == scene.files, moment
            assert opened.catalog.leases() == []
