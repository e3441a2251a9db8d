"""Many at once: what lands equals some order of one after another, and what does not land says why and changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import contender
import pytest
from contender import entry, number_of
from driver import started
from soundness import assert_sound
from story_shop import Shop, build

import anabranch as ab
from anabranch.catalog import open_catalog
from anabranch.catalog.base import CommitRequest, Point
from anabranch.lake.storage import Scope, Storage

pytestmark = pytest.mark.slow


# the promotion itself: eight processes, each with a sandbox of its own


def contend(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Promotes the sandboxes at one moment, each in a process of its own: name → what it told."""
    processes = {
        name: subprocess.Popen(
            [sys.executable, contender.__file__, folder, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    }
    for process in processes.values():
        assert process.stdout.readline() == "ready\n"
    for process in processes.values():
        process.stdin.write("go\n")
        process.stdin.flush()
    told = {name: process.communicate(timeout=120)[0] for name, process in processes.items()}
    return {name: json.loads(text) for name, text in told.items()}


def test_eight_promotions_at_once_land_or_are_refused_by_key_as_in_some_order(tmp_path: Path) -> None:
    """All write one table each; four write the same one besides, the other four have read it."""
    catalog = open_catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    storage = Storage(tmp_path / "warehouse")
    production = catalog.open_branch("production", kind="environment")
    first = {"shared": entry(storage.scoped(Scope.environment()), "shared", 0)}
    catalog.commit(CommitRequest(production.id, first))
    writes: dict[str, dict[str, int]] = {}
    reads: dict[str, str] = {}
    for number in range(8):
        name = f"s{number}"
        writes[name] = {f"own{number}": number} | ({"shared": 10 + number} if number < 4 else {})
        inputs = {} if number < 4 else {"shared": first["shared"].version}
        reads |= {name: first["shared"].version} if inputs else {}
        branch = catalog.open_branch(
            name, kind="sandbox", parent=Point(production.id, 1), properties={"storage": name}
        )
        own = storage.scoped(Scope.sandbox(name))
        changes = {key: entry(own, key, value, inputs) for key, value in writes[name].items()}
        catalog.commit(CommitRequest(branch.id, changes))

    told = contend(tmp_path, list(writes))

    landed = [
        c.properties["sandbox"] for c in reversed(catalog.commits(production.id)) if c.kind == "promote"
    ]
    assert sorted(landed) == sorted(name for name, each in told.items() if each["state"] == "published")
    # One after another in the order of the commits: the same refusals, and the same state.
    state, versions = {"shared": 0}, {first["shared"].version}
    for name in landed:
        assert reads.get(name, first["shared"].version) == first["shared"].version
        assert name not in reads or state["shared"] == 0, "it was made from what is there no longer"
        state |= writes[name]
    head = catalog.entries(catalog.branch("production").point)
    assert {key: number_of(storage, found) for key, found in head.items()} == state
    versions |= {found.version for point in range(1, 10) for found in at(catalog, production.id, point)}
    assert set(writes) - set(landed) <= reads.keys(), "who has read nothing that moved is never refused"
    for name in set(writes) - set(landed):
        facts = told[name]["error"]["facts"]
        assert told[name]["error"]["type"] == "ConflictError"
        assert (facts["key"], facts["expected"]) == ("shared", first["shared"].version)
        assert facts["found"] in versions - {first["shared"].version}
        assert catalog.entries(catalog.branch(name).point).keys() >= writes[name].keys(), "its work is kept"
    assert_sound(catalog, storage)
    catalog.close()


def at(catalog: Any, branch: int, number: int) -> list[Any]:
    if number > catalog.branch_by_id(branch).head:
        return []
    return [found for key, found in catalog.entries(Point(branch, number)).items() if key == "shared"]


# whole commands of the product


NAMES = "abcdefgh"
ASSETS = "".join(
    f"\n@ab.asset\ndef {name}() -> pa.Table:\n    return pa.table({{'n': [shop.of_{name}.N]}})\n"
    for name in NAMES
)
EIGHT = f"""
import anabranch as ab
import pyarrow as pa
{"".join(f"import shop.of_{name}" + chr(10) for name in NAMES)}
{ASSETS}
defs = ab.Definitions(assets=[{", ".join(NAMES)}])
"""

THREE = """
import anabranch as ab
import pyarrow as pa

from shop.prices import with_tax


@ab.asset(key="id")
def orders() -> pa.Table:
    return pa.table({"id": [1, 2, 3], "net": [10.0, 20.0, 30.0]})


@ab.asset(key="id")
def paid(orders: pa.Table) -> pa.Table:
    return orders.append_column("gross", with_tax(orders["net"]))


@ab.asset(key="id")
def customers() -> pa.Table:
    return pa.table({"id": ["a", "b"], "name": ["Ada", "Bob"]})


defs = ab.Definitions(assets=[orders, paid, customers])
"""


@pytest.fixture
def at_once() -> Iterator[Callable[..., list[dict[str, Any]]]]:
    with started() as ask:
        yield ask


@pytest.fixture
def make(repo: Callable) -> Iterator[Callable[[str], Shop]]:
    made: list[Shop] = []

    def make(definitions: str, **files: str) -> Shop:
        repository = repo()
        repository.write(files)
        (repository.path / ".anabranch").mkdir()
        (repository.path / ".anabranch" / "world").write_text("0")
        made.append(build(repository, definitions=definitions))
        assert made[-1].run().ok
        return made[-1]

    yield make
    for shop in made:
        assert_sound(shop.project.context.catalog, shop.project.context.storage())
        shop.project.close()
    for name in [n for n in sys.modules if n.partition(".")[0] == "shop"]:
        del sys.modules[name]


def request(folder: Path, command: str, **arguments: Any) -> dict[str, Any]:
    more = {"yes": True} if command == "promote" else {}
    return {
        "folder": str(folder),
        "command": command,
        "arguments": {**more, "in_process": True, "workers": 1, **arguments},
    }


def numbers(shop: Shop) -> dict[str, int]:
    return {name: shop.rows(name, "production")[0]["n"] for name in NAMES}


def test_eight_merged_branches_that_are_promoted_at_once_are_all_published_and_nothing_twice(
    make: Callable, at_once: Callable
) -> None:
    shop = make(EIGHT, **{f"shop/of_{name}.py": "N = 0\n" for name in NAMES})
    for number, name in enumerate(NAMES, 1):
        shop.switch("main")
        shop.switch(f"branch-{name}", new=True)
        shop.edit(f"shop/of_{name}.py", "N = 0", f"N = {number}")
        shop.commit()
        assert shop.run(name).ok
    shop.switch("main")
    shop.git("merge", "-q", "--no-edit", *(f"branch-{name}" for name in NAMES))

    told = at_once(*(request(shop.folder, "promote", sandbox=f"branch-{name}") for name in NAMES))

    assert {each["state"] for each in told} == {"done"}, [each for each in told if each["state"] != "done"]
    published = [each["told"] for each in told if each["told"]["state"] == "published"]
    assert {each["told"]["state"] for each in told} <= {"published", "nothing"}
    assert numbers(shop) == {name: number for number, name in enumerate(NAMES, 1)}
    tables = [table for each in published for table in each["tables"]]
    assert sorted(tables) == sorted(NAMES), "each table is published by exactly one"
    assert shop.head() == 1 + len(published)
    assert [ran for each in told for ran in each["told"]["reran"]] == [], "nothing is computed again"
    assert shop.run().commit is None


REFRESHED = f"""
import pathlib

import anabranch as ab
import pyarrow as pa

WORLD = pathlib.Path(__file__).parent.parent / ".anabranch" / "world"

{
    "".join(
        f'''
@ab.asset(refresh="always")
def {name}() -> pa.Table:
    return pa.table({{"n": [int(WORLD.read_text())]}})
'''
        for name in NAMES
    )
}
defs = ab.Definitions(assets=[{", ".join(NAMES)}])
"""


def test_eight_sandboxes_of_the_same_code_that_fetched_different_tables_all_land(
    make: Callable, at_once: Callable
) -> None:
    shop = make(REFRESHED)
    world = shop.folder / ".anabranch" / "world"
    for number, name in enumerate(NAMES, 1):
        shop.switch(f"fetch-{name}", new=True)
        world.write_text(str(number))
        assert shop.run(name, refresh=[name]).ok
    shop.switch("main")
    world.write_text("100")

    told = at_once(*(request(shop.folder, "promote", sandbox=f"fetch-{name}") for name in NAMES))

    for each in told:
        assert each["state"] == "done", each.get("error")
    assert [each["told"]["tables"] for each in told] == [[name] for name in NAMES]
    assert sorted(each["told"]["commit"] for each in told) == [f"production@{n}" for n in range(2, 10)]
    assert numbers(shop) == {name: number for number, name in enumerate(NAMES, 1)}


def test_of_two_worktrees_that_promote_at_once_one_lands_and_the_other_is_told_to_merge(
    make: Callable, at_once: Callable, tmp_path: Path
) -> None:
    shop = make(THREE)
    for number in range(3):
        shop.switch("main")
        folders = {}
        for name, old, new in (("tax", "TAX = ", "TAX = 1"), ("names", '"Ada', '"Adax')):
            branch, folder = f"{name}-{number}", tmp_path / f"{name}-{number}"
            shop.git("worktree", "add", "-q", "-b", branch, str(folder))
            file = folder / "shop" / ("prices.py" if name == "tax" else "definitions.py")
            file.write_text(file.read_text().replace(old, new))
            shop.git("-C", str(folder), "commit", "-qam", f"Change {branch}")
            with ab.Project(folder) as project:
                assert project.run(in_process=True).ok
            folders[branch] = folder
        before, head = shop.versions("production"), shop.head()

        told = dict(
            zip(folders, at_once(*(request(each, "promote") for each in folders.values())), strict=True)
        )

        landed = [name for name, each in told.items() if each["state"] == "done"]
        refused = [name for name, each in told.items() if each["state"] == "refused"]
        assert (len(landed), len(refused)) == (1, 1), told
        assert told[refused[0]]["error"]["type"] == "StaleError"
        assert f"git merge {landed[0]}" in told[refused[0]]["error"]["hint"]
        assert shop.head() == head + 1
        assert shop.versions("production") == {
            **before,
            **{t: shop.versions(landed[0])[t] for t in told[landed[0]]["told"]["tables"]},
        }
        # As it was told: merge, and it lands as well, with both changes.
        shop.git("-C", str(folders[refused[0]]), "merge", "-q", "--no-edit", landed[0])
        with ab.Project(folders[refused[0]]) as project:
            assert project.promote(in_process=True, yes=True).state == "published"
        assert shop.versions("production") == shop.versions(refused[0])
        shop.git("merge", "-q", "--no-edit", refused[0])


def test_a_run_on_production_and_a_promotion_at_once_one_lands_and_the_other_is_told_to_merge(
    make: Callable, at_once: Callable, tmp_path: Path
) -> None:
    shop = make(THREE)
    for number in range(3):
        branch, folder = f"fix-{number}", tmp_path / f"fix-{number}"
        shop.git("worktree", "add", "-q", "-b", branch, str(folder))
        prices = folder / "shop" / "prices.py"
        prices.write_text(prices.read_text().replace("TAX = ", "TAX = 1"))
        shop.git("-C", str(folder), "commit", "-qam", f"Raise the tax, {branch}")
        with ab.Project(folder) as project:
            assert project.run(in_process=True).ok
        shop.edit("shop/definitions.py", "Bob", "Bobx")
        shop.commit("Name Bob well")
        before, head = shop.versions("production"), shop.head()

        run, promotion = at_once(request(shop.folder, "run"), request(folder, "promote"))

        assert {run["state"], promotion["state"]} == {"done", "refused"}, (run, promotion)
        after = shop.versions("production")
        assert shop.head() == head + 1
        changed = {key for key in after if after[key] != before[key]}
        if run["state"] == "done":
            assert changed == {"customers"}
            assert promotion["error"]["type"] == "StaleError"
            assert "git merge main" in promotion["error"]["hint"]
        else:
            assert changed == {"paid"}
            assert run["error"]["type"] == "BehindError"
            assert f"git merge {branch}" in run["error"]["hint"]
        shop.git("merge", "-q", "--no-edit", branch)
        assert shop.run().ok
        assert len(shop.rows("paid", "production")) == 3


def test_a_run_on_production_beside_the_promotion_of_a_merged_branch_both_succeed(
    make: Callable, at_once: Callable
) -> None:
    shop = make(THREE)
    for number in range(3):
        branch = f"fix-{number}"
        shop.switch(branch, new=True)
        shop.edit("shop/prices.py", "TAX = ", "TAX = 1")
        shop.commit("Raise the tax")
        assert shop.run().ok
        tested = shop.versions(branch)["paid"]
        shop.switch("main")
        shop.edit("shop/definitions.py", "Bob", "Bobx")
        shop.commit("Name Bob well")
        shop.git("merge", "-q", "--no-edit", branch)
        head = shop.head()

        told = at_once(request(shop.folder, "run"), request(shop.folder, "promote", sandbox=branch))

        states = [(each["state"], each.get("error")) for each in told]
        assert states[0] == ("done", None), states
        # On main, customers was not run yet when the promotion looked: unless the run has landed before, that is told.
        assert states[1][0] == "done" or "customers was not run" in states[1][1]["message"], states
        assert shop.promote(branch).state in ("nothing", "published")
        assert shop.versions("production")["paid"] == tested
        assert shop.rows("customers", "production")[1]["name"] == "Bob" + "x" * (number + 1)
        assert shop.run().commit is None
        assert shop.head() in (head + 1, head + 2)
