"""Nothing twice, by columns: what changes where nobody looks runs nobody, from the plan to the promotion."""

from __future__ import annotations

import pytest
from story_shop import SETTINGS, ran

DEFINITIONS = """
from pathlib import Path

import anabranch as ab
import pyarrow as pa

NAMES = ["Ada", "Bob", "Cyd"]


@ab.asset(key="id")
def orders() -> pa.Table:
    return pa.table({
        "id": [1, 2, 3],
        "customer": [1, 1, 2],
        "amount": [10, 20, 30],
        "note": ["x", "y", "z"],
    })


@ab.asset(key="id")
def customers() -> pa.Table:
    return pa.table({"id": [1, 2, 3], "name": NAMES})


totals = ab.sql("totals", "select customer, sum(amount) as total from orders group by customer")
number = ab.sql("number", "select count(*) as n from orders")
everything = ab.sql("everything", "select * from orders")
named = ab.sql("named", "select c.name, t.total from totals t join customers c on c.id = t.customer")


@ab.asset
def shares(totals: pa.Table) -> pa.Table:
    with (Path(__file__).parents[1] / "calls.txt").open("a") as file:
        file.write("shares\\n")
    return totals.select(["total"])


defs = ab.Definitions(
    assets=[orders, customers, totals, number, everything, named, shares],
    checks=[ab.not_null(totals, "total")],
)
"""

FILE = "shop/definitions.py"
NOTE = ('["x", "y", "z"]', '["x", "y", "edited"]')
AMOUNT = ("[10, 20, 30]", "[10, 20, 31]")


@pytest.fixture
def shop(make_shop):
    made = make_shop(definitions=DEFINITIONS)
    made.repo.commit({".gitignore": ".anabranch/\n__pycache__/\ncalls.txt\n"}, "Ignore")
    made.project.refresh()
    assert made.run().ok
    return made


def calls(shop) -> int:
    return len((shop.folder / "calls.txt").read_text().splitlines())


def outcomes(result) -> dict[str, str]:
    return {key: outcome.state for key, outcome in result.execution.outcomes.items()}


def test_a_value_in_a_column_that_nobody_reads_runs_only_who_reads_all(shop):
    shop.switch("fix", new=True)
    shop.edit(FILE, *NOTE)
    assert shop.actions()["totals"] == "depends"
    result = shop.run()
    assert ran(result) == ["everything", "orders"]
    reasons = result.execution.outcomes["totals"].reasons
    assert [(r.kind, r.text) for r in reasons] == [
        ("columns", "orders changed, but not the columns it reads (amount, customer)")
    ]
    assert result.to_dict()["assets"][2]["reasons"] is not None
    assert calls(shop) == 1
    assert shop.project.plan().nothing_to_do
    kinds = {key: step.reasons[0].kind for key, step in shop.project.plan().steps.items()}
    assert kinds["totals"] == kinds["number"] == "columns"


def test_a_value_in_a_column_that_is_read_runs_its_readers(shop):
    shop.switch("fix", new=True)
    shop.edit(FILE, *AMOUNT)
    assert ran(shop.run()) == ["everything", "named", "orders", "shares", "totals"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"note": ["x", "y", "z"],', '"note": ["x", "y", "z"], "more": [1, 2, 3],'),
        ('"id": [1, 2, 3],\n        "customer"', '"first": [0, 0, 0], "id": [1, 2, 3],\n        "customer"'),
        ('"note": ["x", "y", "z"],', ""),
        ('"note": ["x", "y", "z"],', '"note": [1.5, 2.5, 3.5],'),
    ],
)
def test_a_column_that_comes_goes_or_is_retyped_unread_runs_no_reader(shop, old, new):
    shop.switch("fix", new=True)
    shop.edit(FILE, old, new)
    assert ran(shop.run()) == ["everything", "orders"]


def test_a_column_that_is_retyped_and_read_runs_its_readers(shop):
    shop.switch("fix", new=True)
    shop.edit(FILE, '"amount": [10, 20, 30]', '"amount": [10.0, 20.0, 30.0]')
    assert {"totals", "orders"} <= set(ran(shop.run()))


def test_another_row_is_noticed_by_who_counts_them(shop):
    shop.switch("fix", new=True)
    shop.edit(
        FILE, '[1, 2, 3],\n        "customer": [1, 1, 2]', '[1, 2, 3, 4],\n        "customer": [1, 1, 2, 2]'
    )
    shop.edit(FILE, "[10, 20, 30]", "[10, 20, 30, 0]")
    shop.edit(FILE, '["x", "y", "z"]', '["x", "y", "z", "z"]')
    done = ran(shop.run())
    assert "number" in done
    assert "shares" not in done  # a total of nothing more is the same table: the wave stops there


def test_a_column_that_captures_a_name_runs_its_reader(shop):
    shop.edit(FILE, "select c.name, t.total", "select name, total")
    shop.commit()
    shop.run()
    shop.switch("fix", new=True)
    shop.edit(FILE, 'group by customer"', 'group by customer"')  # nothing
    shop.edit(FILE, "sum(amount) as total", "sum(amount) as total, 7 as name")
    result = shop.run()
    assert result.execution.outcomes["named"].state == "failed"  # ambiguous now: not passed over


def test_a_reader_that_looks_elsewhere_by_now_runs(shop):
    shop.switch("fix", new=True)
    shop.edit(FILE, *NOTE)
    shop.run()
    shop.edit(FILE, "select customer, sum(amount) as total", "select customer, max(note) as total")
    assert "totals" in ran(shop.run())
    shop.edit(FILE, '"edited"', '"again"')
    assert "totals" in ran(shop.run())


def test_a_promotion_publishes_the_change_alone_and_production_stands(shop):
    shop.switch("fix", new=True)
    shop.edit(FILE, *NOTE)
    shop.commit()
    shop.run()
    result = shop.promote()
    assert result.state == "published"
    assert sorted(result.tables) == ["everything", "orders"]
    shop.switch("main")
    shop.git("merge", "-q", "fix")
    assert shop.project.plan().nothing_to_do
    assert ran(shop.run()) == []


def test_an_input_that_moved_where_the_sandbox_does_not_look_makes_it_not_stale(shop):
    shop.switch("fix", new=True)
    shop.edit(FILE, "sum(amount) as total", "sum(amount) + 1 as total")
    shop.commit()
    shop.run()
    before = calls(shop)
    shop.switch("main")
    shop.edit(FILE, *NOTE)
    shop.commit()
    assert shop.run().ok
    shop.switch("fix")
    shop.git("merge", "-q", "--no-edit", "main")
    assert shop.project.status().stale == ()
    result = shop.promote()
    assert result.state == "published"
    assert result.reran == ()
    assert calls(shop) == before
    assert [row["total"] for row in shop.rows("totals", at="production")] == [31, 31]


def test_an_input_that_moved_where_the_sandbox_looks_makes_it_stale(shop):
    shop.switch("fix", new=True)
    shop.edit(FILE, "sum(amount) as total", "sum(amount) + 1 as total")
    shop.commit()
    shop.run()
    shop.switch("main")
    shop.edit(FILE, *AMOUNT)
    shop.commit()
    assert shop.run().ok
    shop.switch("fix")
    shop.git("merge", "-q", "--no-edit", "main")
    assert "orders" in shop.project.status().stale
    result = shop.promote()
    assert "totals" in result.reran
    assert sorted(row["total"] for row in shop.rows("totals", at="production")) == [31, 32]


def test_the_rule_refuse_is_not_met_by_columns_that_nobody_read(make_shop):
    refusing = SETTINGS + 'promote = { stale_inputs = "refuse" }\n'
    shop = make_shop(definitions=DEFINITIONS, settings=refusing)
    shop.repo.commit({".gitignore": ".anabranch/\n__pycache__/\ncalls.txt\n"}, "Ignore")
    shop.project.refresh()
    shop.run()
    shop.switch("fix", new=True)
    shop.edit(FILE, "sum(amount) as total", "sum(amount) + 1 as total")
    shop.commit()
    shop.run()
    shop.switch("main")
    shop.edit(FILE, *NOTE)
    shop.commit()
    shop.run()
    shop.switch("fix")
    shop.git("merge", "-q", "--no-edit", "main")
    assert shop.promote().state == "published"


def test_a_state_from_before_columns_were_kept_stands_and_learns(shop, monkeypatch):
    """What an earlier release has written: no versions of columns anywhere."""
    from anabranch.pipeline.graph import Graph
    from anabranch.running import executor

    with monkeypatch.context() as earlier:
        earlier.setattr(Graph, "column_sets", lambda _self, _key: ())
        earlier.setattr(executor, "read_record", lambda _reads: {})
        shop.edit(FILE, *AMOUNT)
        shop.commit()
        shop.run()
    entry = shop.project.tables("production")["orders"]
    assert "columns" not in entry.provenance.extra
    assert shop.project.plan().nothing_to_do
    shop.switch("fix", new=True)
    shop.edit(FILE, *NOTE)
    assert "totals" in ran(shop.run())  # nothing is known of the columns that it was made from
    shop.edit(FILE, '"edited"', '"again"')
    assert ran(shop.run()) == ["everything", "orders"]


# early cutoff


def test_an_asset_that_yields_the_same_stops_the_wave_checks_included(shop):
    shop.switch("fix", new=True)
    shop.edit(FILE, "sum(amount) as total", "sum(amount) + 0 as total")
    plan = shop.project.plan()
    assert {k: s.action for k, s in plan.steps.items() if s.action != "reuse"} == {
        "totals": "run",
        "named": "depends",
        "shares": "depends",
    }
    assert plan.to_dict()["depends"] == 2
    result = shop.run()
    assert outcomes(result) == {
        "orders": "reused",
        "customers": "reused",
        "totals": "ran",
        "number": "reused",
        "everything": "reused",
        "named": "reused",
        "shares": "reused",
    }
    assert all(check.cached for check in result.execution.checks.values())
    assert calls(shop) == 1
    told = {asset["asset"]: asset for asset in result.to_dict()["assets"]}
    assert told["totals"]["same_content"] is True
    assert [r["kind"] for r in told["shares"]["reasons"]] == ["same"]


def test_a_file_that_is_written_again_with_the_same_bytes_stops_the_wave(make_shop):
    shop = make_shop(
        definitions="""
from pathlib import Path

import anabranch as ab
import pyarrow as pa


@ab.asset
def model() -> ab.File:
    return ab.File(b"weights", name="model.bin")


@ab.asset
def scores(model: ab.File) -> pa.Table:
    with (Path(__file__).parents[1] / "calls.txt").open("a") as file:
        file.write("scores\\n")
    return pa.table({"size": [len(model.read_bytes())]})


defs = ab.Definitions(assets=[model, scores])
"""
    )
    shop.repo.commit({".gitignore": ".anabranch/\n__pycache__/\ncalls.txt\n"}, "Ignore")
    shop.project.refresh()
    assert shop.run().ok
    shop.switch("fix", new=True)
    shop.edit(FILE, 'b"weights"', 'b"wei" + b"ghts"')
    assert shop.actions() == {"model": "run", "scores": "depends"}
    assert ran(shop.run()) == ["model"]
    assert calls(shop) == 1
