"""Clones along the life of a sandbox: made when it opens, used by its steps, refreshed, dropped, and found when left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clone_shop import CloneShop
from pydantic import Field

import anabranch as ab
from anabranch.errors import CloneError, DefinitionsError

CLONE = {
    "clone", "provider", "name", "source", "sandbox", "condition", "created_at", "refreshed_at", "bytes", "pull_request",
    "problem", "how", "left_out",
}  # fmt: skip


def visits(shop: CloneShop, file: Path) -> list[str]:
    return [who for (who,) in shop.sql(file, "select who from visits")]


def test_a_sandbox_reads_and_writes_its_clone_and_production_its_source(shop: CloneShop) -> None:
    assert shop.cli("run")[0] == 0
    assert visits(shop, shop.source) == ["sales"]
    before = shop.source.read_bytes()
    shop.switch("fix")
    code, opened = shop.cli("sandbox", "open")
    assert code == 0
    assert set(opened["clones"][0]) == CLONE
    assert (opened["clones"][0]["name"], opened["clones"][0]["condition"]) == ("sales_clone_fix", "ready")
    shop.sql(shop.clone("fix"), "insert into orders values (3, 30)")
    code, _ = shop.cli("run", "--force")
    assert code == 0
    assert visits(shop, shop.clone("fix")) == ["sales", "sales_clone_fix"]
    with shop.project() as project:
        assert project.table("orders").to_arrow().to_pydict()["id"] == [1, 2, 3]
        assert project.table("orders", at="production").to_arrow().to_pydict()["id"] == [1, 2]
    assert shop.source.read_bytes() == before


def test_the_first_run_opens_sandbox_and_clones_and_the_second_only_runs(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    events = []
    with shop.project() as project:
        assert project.run(force=True, listen=events.append).ok
        kinds = [event.kind for event in events]
        assert kinds.index("sandbox_opened") < kinds.index("clone_started") < kinds.index("clone_opened")
        opened = next(event for event in events if event.kind == "clone_opened")
        assert (opened.key, opened.data["name"]) == ("sales", "sales_clone_fix")
        events.clear()
        assert project.run(force=True, listen=events.append).ok
        assert not [event for event in events if event.kind.startswith("clone")]


def test_a_clone_can_wait_for_the_first_run(shop: CloneShop) -> None:
    shop.cli("run")
    shop.settings('source = "data', 'when = "run"\nsource = "data')
    shop.switch("fix")
    assert shop.cli("sandbox", "open")[1]["clones"] == []
    assert shop.clones == set()
    assert shop.cli("run", "--force")[0] == 0
    assert shop.clone("fix").exists()


def test_steps_in_processes_of_their_own_find_their_clone(shop: CloneShop) -> None:
    shop.settings("in_process = true", "workers = 1")
    shop.repo.commit({}, "Workers")
    assert shop.cli("run")[0] == 0
    shop.switch("fix")
    assert shop.cli("run", "--force")[0] == 0
    assert visits(shop, shop.clone("fix")) == ["sales", "sales_clone_fix"]


def test_where_a_clone_is_never_changes_a_fingerprint(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    assert shop.cli("sandbox", "open")[0] == 0
    _, plan = shop.cli("plan")
    assert [step["action"] for step in plan["steps"]] == ["reuse"]


def test_what_was_computed_from_a_clone_may_be_published(shop: CloneShop) -> None:
    """A clone stands for its source: the gate sees the same resources."""
    shop.cli("run")
    shop.switch("fix")
    shop.cli("run", "--force")
    file = shop.folder / "clone_shop_pipeline" / "definitions.py"
    file.write_text(file.read_text().replace("row[1] for row", "row[1] * 2 for row"))
    shop.repo.commit({}, "Double")
    assert shop.cli("run")[0] == 0
    assert shop.cli("promote", "--yes")[0] == 0


def test_closing_drops_the_clones(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open")
    code, told = shop.cli("sandbox", "close", "--dry-run")
    assert [clone["name"] for clone in told["clones"]] == ["sales_clone_fix"]
    assert shop.clone("fix").exists()
    code, closed = shop.cli("sandbox", "close", "--yes")
    assert code == 0
    assert [clone["name"] for clone in closed["clones"]] == ["sales_clone_fix"]
    assert shop.clones == set()
    assert shop.cli("sandbox", "list", "--clones")[1]["clones"] == []


def test_a_sandbox_that_is_opened_again_gets_a_fresh_clone(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open")
    shop.sql(shop.clone("fix"), "delete from orders")
    shop.cli("sandbox", "close", "--yes")
    shop.cli("sandbox", "open")
    assert shop.sql(shop.clone("fix"), "select count(*) from orders") == [(2,)]


def test_opening_again_makes_what_somebody_has_dropped(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open")
    shop.clone("fix").unlink()
    _, listed = shop.cli("sandbox", "list", "--clones")
    assert [clone["condition"] for clone in listed["clones"]] == ["missing"]
    assert shop.cli("sandbox", "open")[0] == 0
    assert shop.clone("fix").exists()


def test_a_sync_leaves_clones_alone_unless_it_is_asked(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open")
    shop.sql(shop.source, "insert into orders values (3, 30)")
    count = "select count(*) from orders"
    assert shop.cli("sandbox", "sync")[1]["clones"] == []
    assert shop.sql(shop.clone("fix"), count) == [(2,)]
    assert shop.cli("sandbox", "sync", "--clones", "--dry-run")[1]["clones"] == ["sales"]
    assert shop.sql(shop.clone("fix"), count) == [(2,)]
    assert shop.cli("sandbox", "sync", "--clones")[1]["clones"] == ["sales"]
    assert shop.sql(shop.clone("fix"), count) == [(3,)]
    shop.settings('source = "data', 'refresh = "sync"\nsource = "data')
    shop.sql(shop.source, "insert into orders values (4, 40)")
    assert shop.cli("sandbox", "sync", "--no-clones")[1]["clones"] == []
    assert shop.cli("sandbox", "sync")[1]["clones"] == ["sales"]
    assert shop.sql(shop.clone("fix"), count) == [(4,)]


def test_the_pull_request_names_the_clone(shop: CloneShop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.cli("run")
    shop.settings('source = "data', 'name = "{source}_clone_{pull_request}"\nsource = "data')
    shop.switch("fix")
    with shop.project() as project, pytest.raises(CloneError, match="named by its pull request"):
        project.sandbox.open()
    assert shop.clones == set()
    monkeypatch.setenv("DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT", "1")
    monkeypatch.setenv("DAGSTER_CLOUD_PULL_REQUEST_ID", "42")
    monkeypatch.setenv("DAGSTER_CLOUD_GIT_BRANCH", "fix")
    code, opened = shop.cli("sandbox", "open")
    assert code == 0
    assert [(one["name"], one["pull_request"]) for one in opened["clones"]] == [("sales_clone_42", "42")]


def test_two_sandboxes_never_share_a_clone(shop: CloneShop) -> None:
    shop.cli("run")
    for branch in ("feature-a", "feature_a", "Feature/A"):
        shop.switch(branch)
        assert shop.cli("sandbox", "open")[0] == 0
    with shop.project() as project:
        names = [clone.name for clone in project.sandbox.list(clones=True).clones or ()]
    assert len(set(names)) == 3
    assert "sales_clone_feature_a" in names


# mistakes


def test_a_clone_that_cannot_be_made_is_told_and_the_sandbox_is_open(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    shop.source.rename(shop.source.with_suffix(".away"))
    code, told = shop.cli("sandbox", "open")
    assert code == 3
    assert told["error"]["type"] == "CloneError"
    assert told["error"]["place"] == "anabranch.toml:13 clones.sales.source"
    assert shop.clones == set()
    shop.source.with_suffix(".away").rename(shop.source)
    assert shop.cli("sandbox", "open")[0] == 0
    assert shop.clone("fix").exists()


def test_a_step_without_its_clone_fails_and_never_reads_the_source(shop: CloneShop) -> None:
    shop.cli("run")
    before = shop.source.read_bytes()
    shop.switch("fix")
    shop.cli("sandbox", "open")
    with shop.project() as project:
        clones = project.context.clones
        sandbox = project.context.sandbox("fix")
        for record in clones.of(sandbox):
            clones.keeper.forget(record)
        assert clones.addresses(sandbox, "sandbox") == {}
        sales = project.context.workspace.pipeline.definitions.resource_set("sandbox")["sales"]
        with pytest.raises(CloneError, match="no clone sales here"):
            sales.resolved(clones=clones.addresses(sandbox, "sandbox"))
    assert shop.source.read_bytes() == before


def test_a_resource_that_names_no_clone_is_refused(shop: CloneShop) -> None:
    shop.settings("[clones.sales]", "[clones.sale]")
    shop.repo.commit({}, "Mistype")
    with (
        shop.project() as project,
        pytest.raises(DefinitionsError, match="names the clone 'sales'") as caught,
    ):
        project.run()
    assert caught.value.hint == "did you mean 'sale'?"


def test_a_sandbox_on_a_masked_environment_gets_no_clone(
    shop: CloneShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASK_KEY", "k" * 32)
    shop.settings(
        "[run]",
        '[environments.staging]\nderived_from = "production"\nmask_key = "${MASK_KEY}"\n\n[sandboxes]\nbase = "staging"\n\n[run]',
    )
    shop.repo.commit({}, "Stage")
    assert shop.cli("run")[0] == 0
    assert shop.cli("sync")[0] == 0
    shop.switch("fix")
    code, opened = shop.cli("sandbox", "open")
    assert (code, opened["clones"]) == (0, [])
    assert shop.clones == set()


# what is left behind


def test_the_leak_finder_names_a_clone_whose_sandbox_is_gone_and_gc_drops_it(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open")
    with shop.project() as project:
        project.context.catalog.close_branch(project.context.sandbox("fix").id)  # killed right after this
    _, listed = shop.cli("sandbox", "list", "--clones")
    assert [(one["name"], one["condition"]) for one in listed["clones"]] == [("sales_clone_fix", "leaked")]
    assert "its sandbox is gone" in shop.text("sandbox", "list", "--clones")[1]
    _, planned = shop.cli("gc", "--dry-run")
    assert [one["name"] for one in planned["clones"]] == ["sales_clone_fix"]
    assert "sales_clone_fix" in shop.text("gc", "--dry-run")[1]
    assert shop.clone("fix").exists()
    code, done = shop.cli("gc", "--yes")
    assert code == 0
    assert [one["name"] for one in done["clones"]] == ["sales_clone_fix"]
    assert done["clone_problems"] == []
    assert shop.clones == set()
    assert shop.cli("gc", "--dry-run")[1]["clones"] == []


def test_an_expired_sandbox_takes_its_clones_along(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open", "--expire-after", "1ms")
    _, planned = shop.cli("gc", "--dry-run")
    assert planned["expired"] == ["fix"]
    assert [one["name"] for one in planned["clones"]] == ["sales_clone_fix"]
    assert shop.cli("gc", "--yes")[1]["clones"] == planned["clones"]
    assert shop.clones == set()


def test_a_clone_of_an_open_sandbox_is_never_collected(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open")
    before = shop.clones
    assert shop.cli("gc", "--yes", "--grace", "0")[1]["clones"] == []
    assert shop.clones == before


def test_what_was_never_ours_is_never_dropped(shop: CloneShop) -> None:
    """A record alone proves nothing: the mark must carry its id."""
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open")
    clone = shop.clone("fix")
    clone.with_name(clone.name + ".anabranch").write_text("somebody else's\n")
    code, _ = shop.cli("sandbox", "close", "--yes")
    assert code == 0
    assert clone.exists()
    assert shop.cli("gc", "--yes")[0] == 0
    assert clone.exists()


def test_a_marked_copy_that_nothing_tells_of_is_named_and_left_alone(shop: CloneShop) -> None:
    """A mark alone proves nothing either: another catalog may know it."""
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open")
    with shop.project() as project:
        for record in project.context.clones.keeper.records():
            project.context.clones.keeper.forget(record)
    _, listed = shop.cli("sandbox", "list", "--clones")
    assert [(one["name"], one["condition"]) for one in listed["clones"]] == [("sales_clone_fix", "unknown")]
    assert "drop it yourself" in shop.text("sandbox", "list", "--clones")[1]
    assert shop.cli("gc", "--yes")[1]["clones"] == []
    assert shop.clone("fix").exists()


def test_a_clone_that_anabranch_toml_no_longer_names_stays_recorded(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open")
    table = (shop.folder / "anabranch.toml").read_text().partition("[clones.sales]")[2]
    shop.settings(f"[clones.sales]{table}", "")
    code, closed = shop.cli("sandbox", "close", "--yes")
    assert code == 3
    assert "[clones.sales]" in closed["clone_problems"][0]
    _, listed = shop.cli("sandbox", "list", "--clones")
    assert [one["condition"] for one in listed["clones"]] == ["leaked"]
    code, done = shop.cli("gc", "--yes")
    assert (code, len(done["clone_problems"])) == (3, 1)
    with (shop.folder / "anabranch.toml").open("a") as file:
        file.write(f"\n[clones.sales]{table}")
    code, done = shop.cli("gc", "--yes")
    assert (code, done["clone_problems"]) == (0, [])
    assert shop.clones == set()


def test_a_clone_whose_place_was_changed_is_not_forgotten_unless_it_is_said(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open")
    shop.settings('source = "data', 'folder = "elsewhere"\nsource = "data')
    code, closed = shop.cli("sandbox", "close", "--yes")
    assert code == 3
    assert "which was changed since it was made" in closed["clone_problems"][0]
    _, planned = shop.cli("gc", "--dry-run")
    (leak,) = planned["clones"]
    code, done = shop.cli("gc", "--yes", "--forget-clone", leak["id"])
    assert (code, done["clones"], done["clone_problems"]) == (0, [], [])
    assert shop.clone("fix").exists()  # it is the user's now
    assert shop.cli("gc", "--yes", "--forget-clone", leak["id"])[0] == 3


def test_a_clone_of_an_open_sandbox_cannot_be_forgotten(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open")
    with shop.project() as project:
        (record,) = project.context.clones.of(project.context.sandbox("fix"))
        with pytest.raises(CloneError, match="belongs to the sandbox fix, which is open"):
            project.gc(forget_clone=record.id)


def test_a_source_that_was_changed_makes_another_clone(shop: CloneShop) -> None:
    """Where the old one can be dropped, it is; an open sandbox never goes on with the clone of another source."""
    shop.cli("run")
    shop.switch("fix")
    shop.cli("sandbox", "open")
    other = shop.source.with_name("newer.db")
    shop.sql(other, "create table orders (id integer, amount real)")
    shop.sql(other, "create table visits (who text)")
    shop.sql(other, "insert into orders values (7, 70)")
    shop.settings("data/sales.db", "data/newer.db")
    assert shop.cli("run", "--force")[0] == 0
    assert shop.clones == {"newer_clone_fix.db", "newer_clone_fix.db.anabranch"}
    with shop.project() as project:
        assert project.table("orders").to_arrow().to_pydict()["id"] == [7]


# words


def test_a_project_without_clones_says_nothing_of_them(shop: CloneShop) -> None:
    text = (shop.folder / "anabranch.toml").read_text().partition("[clones.sales]")[0]
    (shop.folder / "anabranch.toml").write_text(text)
    assert shop.cli("sandbox", "list")[1] == {"sandboxes": [], "clones": None}
    assert shop.cli("sandbox", "list", "--clones")[1]["clones"] == []
    assert "no clones" in shop.text("sandbox", "list", "--clones")[1]


def test_people_read_which_clone_was_made_and_how(shop: CloneShop) -> None:
    shop.cli("run")
    shop.switch("fix")
    code, text = shop.text("sandbox", "open")
    assert code == 0
    assert "clone sales_clone_fix of sales (sqlite, " in text
    assert "1 clone" in shop.text("sandbox", "list", "--clones")[1]
    assert "dropped clones: sales_clone_fix (sqlite)" in shop.text("sandbox", "close", "--yes")[1]


# resources


class Sales(ab.Resource):
    path: str
    more: dict[str, str] = Field(default_factory=dict)


def test_a_clone_in_a_field_waits_for_its_step() -> None:
    sales = Sales(path=ab.CloneOf("sales"), more={"name": ab.CloneOf("sales", "name")})
    assert [clone.clone for clone in sales.clones()] == ["sales", "sales"]
    assert "CloneOf('sales')" in repr(sales)
    there = {"sales": {"address": "/data/x.db", "name": "x"}}
    found = sales.resolved(clones=there)
    assert (found.path, found.more) == ("/data/x.db", {"name": "x"})
    assert "/data/x.db" not in repr(found)


def test_sandbox_and_environment_describe_a_clone_alike() -> None:
    one, other = Sales(path=ab.CloneOf("sales")), Sales(path=ab.CloneOf("sales"))
    assert one.digest() == other.digest()
    assert one.digest() != Sales(path=ab.CloneOf("orders")).digest()
    assert json.dumps(one.described()) == '{"path": {"clone": "sales", "part": "address"}, "more": {}}'


def test_a_part_that_no_clone_has_is_refused() -> None:
    with pytest.raises(DefinitionsError, match="no part of a clone"):
        ab.CloneOf("sales", "password")  # type: ignore[arg-type]
