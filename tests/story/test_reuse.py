"""Nothing twice, across refs: whatever git does, what was computed once is pointed to. Told by counting the calls."""

from __future__ import annotations

import pytest

DEFINITIONS = """
from pathlib import Path

import anabranch as ab
import pyarrow as pa
import pyarrow.compute as pc

RATE = 2


def note(name):
    with (Path(__file__).parents[1] / "calls.txt").open("a") as file:
        file.write(name + "\\n")


@ab.asset(key="id")
def orders() -> pa.Table:
    note("orders")
    return pa.table({"id": [1, 2, 3], "net": [10, 20, 30]})


@ab.asset(key="id")
def gross(orders: pa.Table) -> pa.Table:
    note("gross")
    return orders.append_column("gross", pc.multiply(orders["net"], RATE))


@ab.asset(key="id")
def top(gross: pa.Table) -> pa.Table:
    note("top")
    return gross.filter(pc.greater(gross["gross"], 30))


@ab.asset(key="id")
def beside(orders: pa.Table) -> pa.Table:
    note("beside")
    return orders


total = ab.sql("total", "select sum(gross) as total from gross")

defs = ab.Definitions(
    assets=[orders, gross, top, beside, total],
    checks=[ab.not_null(gross, "gross")],
)
"""
FILE = "shop/definitions.py"
CHANGE = ("RATE = 2", "RATE = 3")


class Calls:
    """What was called since the last look."""

    def __init__(self, shop) -> None:
        self.file = shop.folder / "calls.txt"
        self.seen = 0

    def __call__(self) -> list[str]:
        lines = self.file.read_text().splitlines()
        new, self.seen = lines[self.seen :], len(lines)
        return sorted(new)


@pytest.fixture
def shop(make_shop):
    made = make_shop(definitions=DEFINITIONS)
    made.repo.commit({".gitignore": ".anabranch/\n__pycache__/\ncalls.txt\n"}, "Ignore")
    made.project.refresh()
    assert made.run().ok
    made.calls = Calls(made)
    assert made.calls() == ["beside", "gross", "orders", "top"]
    return made


def changed(shop, branch: str = "fix") -> None:
    """A branch with the change, run."""
    shop.switch(branch, new=True)
    shop.edit(FILE, *CHANGE)
    shop.commit()
    assert shop.run().ok


def states(result) -> dict[str, str]:
    return {key: outcome.state for key, outcome in result.execution.outcomes.items()}


def computes_nothing(shop, **options) -> dict[str, str]:
    result = shop.run(**options)
    assert result.ok
    assert shop.calls() == []
    assert "ran" not in states(result).values()
    assert all(check.cached for check in result.execution.checks.values())
    return states(result)


def test_switching_a_branch_back_and_forth_computes_nothing(shop):
    changed(shop)
    assert shop.calls() == ["gross", "top"]
    for _ in range(2):
        shop.switch("main")
        assert set(computes_nothing(shop).values()) == {"reused"}
        shop.switch("fix")
        assert set(computes_nothing(shop).values()) == {"reused"}


def test_a_change_that_is_taken_back_and_made_again_computes_nothing(shop):
    changed(shop)
    shop.calls()
    for old, new in (CHANGE[::-1], CHANGE) * 2:
        shop.edit(FILE, old, new)
        found = computes_nothing(shop)
        assert found["gross"] == "adopted"
    shop.edit(FILE, *CHANGE[::-1])
    computes_nothing(shop)
    shop.commit("Take it back")
    assert shop.promote().state == "nothing"


def test_two_sandboxes_with_the_same_change_compute_it_once(shop):
    changed(shop, "fix")
    assert shop.calls() == ["gross", "top"]
    shop.switch("main")
    shop.switch("other", new=True)
    shop.edit(FILE, *CHANGE)
    found = computes_nothing(shop)
    assert found == {
        "orders": "reused",
        "beside": "reused",
        "gross": "adopted",
        "top": "adopted",
        "total": "adopted",
    }
    assert shop.rows("top", at="other") == shop.rows("top", at="fix")


def test_a_rebase_onto_main_runs_only_what_main_has_changed(shop):
    changed(shop)
    shop.switch("main")
    shop.edit(
        FILE,
        "def beside(orders: pa.Table) -> pa.Table:\n",
        "def beside(orders: pa.Table) -> pa.Table:\n    orders = orders.slice(0, 2)\n",
    )
    shop.commit("Shorten")
    assert shop.run().ok
    shop.calls()
    shop.switch("fix")
    shop.git("rebase", "-q", "main")
    shop.project.sandbox.sync()
    assert set(computes_nothing(shop).values()) == {"reused"}
    result = shop.promote()
    assert sorted(result.tables) == ["gross", "top", "total"]
    assert result.reran == ()
    assert shop.calls() == []


def test_a_rebase_without_a_sync_takes_the_new_base_over(shop):
    changed(shop)
    shop.switch("main")
    shop.edit(FILE, '"net": [10, 20, 30]', '"net": [10, 20, 31]')
    shop.commit("Correct")
    assert shop.run().ok
    shop.switch("fix")
    shop.git("rebase", "-q", "main")
    shop.calls()
    shop.project.sandbox.sync()
    assert shop.run().ok
    assert shop.calls() == ["gross", "top"]  # new: their input is another one
    assert shop.promote().state == "published"
    assert shop.calls() == []


def test_a_cherry_pick_into_another_branch_computes_nothing(shop):
    changed(shop)
    picked = shop.git("rev-parse", "HEAD").strip()
    shop.calls()
    shop.switch("main")
    shop.switch("other", new=True)
    shop.repo.commit({"README.md": "something else"}, "Else")
    shop.git("cherry-pick", picked)
    assert computes_nothing(shop)["gross"] == "adopted"


def test_a_merge_into_production_computes_nothing_after_the_promotion(shop):
    changed(shop)
    assert shop.promote().state == "published"
    shop.calls()
    shop.switch("main")
    shop.git("merge", "-q", "fix")
    assert set(computes_nothing(shop).values()) == {"reused"}


def test_a_squash_merge_promotes_what_was_tested_and_computes_nothing(shop):
    changed(shop)
    shop.edit(FILE, "RATE = 3", "RATE = 1 + 2")
    shop.commit("Say it otherwise")
    shop.run()
    shop.calls()
    shop.switch("main")
    shop.git("merge", "--squash", "-q", "fix")
    shop.commit("Raise the rate (#7)")
    result = shop.promote("fix")
    assert result.state == "published"
    assert shop.calls() == []
    assert set(computes_nothing(shop).values()) == {"reused"}


def test_a_sandbox_that_is_closed_and_opened_again_before_gc_computes_nothing(shop):
    changed(shop)
    shop.calls()
    shop.project.sandbox.close("fix")
    found = computes_nothing(shop)
    assert {found[key] for key in ("gross", "top", "total")} == {"adopted"}


def test_a_renamed_git_branch_computes_nothing(shop):
    changed(shop)
    shop.calls()
    shop.git("branch", "-m", "better-name")
    assert computes_nothing(shop)["gross"] == "adopted"


def test_an_environment_takes_nothing_over_from_a_sandbox_but_by_promotion(shop):
    changed(shop)
    shop.calls()
    shop.switch("main")
    shop.git("merge", "-q", "fix")
    plan = shop.project.plan()
    assert plan.steps["gross"].action == "run"
    assert plan.steps["gross"].adopted is None
    assert shop.run().ok
    assert shop.calls() == ["gross", "top"]


def test_an_environment_takes_over_what_it_computed_itself_before(shop):
    shop.edit(FILE, *CHANGE)
    shop.commit()
    shop.run()
    shop.calls()
    shop.edit(FILE, *CHANGE[::-1])
    shop.commit("Back")
    assert computes_nothing(shop)["gross"] == "adopted"


def test_a_sandbox_of_another_environment_is_not_trusted(make_shop):
    from story_shop import SETTINGS

    settings = SETTINGS + '\n[environments.staging]\ngit_branch = "staging"\n'
    shop = make_shop(definitions=DEFINITIONS, settings=settings)
    shop.repo.commit({".gitignore": ".anabranch/\n__pycache__/\ncalls.txt\n"}, "Ignore")
    shop.project.refresh()
    shop.run()
    calls = Calls(shop)
    assert len(calls()) == 4
    shop.switch("staging", new=True)
    assert shop.run().ok
    assert len(calls()) == 4
