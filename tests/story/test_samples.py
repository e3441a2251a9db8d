"""A sandbox that reads a sample of its base: what is read, what is marked, what is never published."""

from __future__ import annotations

import pytest
from story_shop import SETTINGS, ran

from anabranch.errors import AnabranchError, GateError, PromotionError

DEFINITIONS = """
import anabranch as ab
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

N = 1000


@ab.asset(key="order")
def orders() -> pa.Table:
    return pa.table({"order": range(5 * N), "customer_id": [n % N for n in range(5 * N)], "net": [1.0] * (5 * N)})


@ab.asset(key="customer_id")
def customers() -> pa.Table:
    return pa.table({"customer_id": range(N), "name": [f"c{n}" for n in range(N)]})


@ab.asset
def rates() -> pa.Table:
    return pa.table({"country": ["de", "nl"], "rate": [0.19, 0.21]})


@ab.asset(key="order")
def paid(orders: pl.LazyFrame, rates: pl.DataFrame) -> pl.LazyFrame:
    return orders.with_columns(gross=pl.col("net") * (1 + rates["rate"][0]))


named = ab.sql("named", "select name, customer_id, sum(gross) as gross from paid join customers using (customer_id) group by all",
               key="customer_id")

total = ab.sql("total", "select count(*) as customers, sum(gross) as gross from named")

defs = ab.Definitions(
    assets=[orders, customers, rates, paid, named, total],
    checks=[ab.row_count(paid, minimum=5000, blocking=False), ab.references(paid, "customer_id", customers, "customer_id")],
)
"""


@pytest.fixture
def shop(make_shop):
    made = make_shop(definitions=DEFINITIONS)
    assert made.run().ok
    made.switch("feature", new=True)
    return made


def change(shop, more: str = "0.01") -> None:
    shop.edit("shop/definitions.py", 'gross=pl.col("net") * (1', f'gross=pl.col("net") * ({more} + 1')


def customers_of(shop, table: str, at: str | None = None) -> set[int]:
    return {row["customer_id"] for row in shop.rows(table, at)}


def entry(shop, key: str):
    catalog = shop.project.context.catalog
    return catalog.get(catalog.branch("feature").point, key)


def test_what_runs_reads_a_sample_of_the_base_and_joins_keep_their_partners(shop):
    change(shop)
    result = shop.run(sample="10%", sample_by="customer_id")
    assert ran(result) == ["named", "paid", "total"]
    paid = shop.rows("paid")
    chosen = customers_of(shop, "paid")
    assert 50 < len(chosen) < 150
    assert len(paid) == 5 * len(chosen)
    assert customers_of(shop, "named") == chosen
    assert shop.rows("total") == [{"customers": len(chosen), "gross": pytest.approx(len(paid) * 1.2)}]


def test_the_same_sample_is_read_by_every_library_and_in_every_process(shop):
    change(shop)
    shop.run(sample="10%", sample_by="customer_id", in_process=False, workers=1)
    first = customers_of(shop, "paid")
    shop.edit("shop/definitions.py", "def paid(orders: pl.LazyFrame", "def paid(orders: pa.Table")
    shop.edit(
        "shop/definitions.py",
        "return orders.with",
        "orders = pl.from_arrow(orders).lazy()\n    return orders.with",
    )
    shop.run()
    assert customers_of(shop, "paid") == first


def test_a_sampled_result_is_marked_and_everything_made_from_it_too(shop):
    change(shop)
    shop.run(sample="10%", sample_by="customer_id")
    for key in ("paid", "named", "total"):
        assert entry(shop, key).provenance.extra["sample"] == {"share": "10%", "by": "customer_id"}
    assert "sample" not in entry(shop, "orders").provenance.extra
    assert shop.project.samples() == dict.fromkeys(("named", "paid", "total"), "10 % sample by customer_id")
    assert shop.project.show("paid").to_dict()["entry"]["sample"] == {"share": "10%", "by": "customer_id"}
    again = shop.run()
    assert ran(again) == []


def test_what_nobody_changed_stands_as_the_base_made_it(shop):
    result = shop.run(sample="10%", sample_by="customer_id")
    assert ran(result) == []
    assert len(shop.rows("paid")) == 5000


def test_the_plan_says_what_is_sampled_and_what_is_read_whole(shop):
    shop.project.sandbox.open(sample="10%", sample_by="customer_id")
    change(shop)
    plan = shop.project.plan()
    assert plan.sample == "10 % sample by customer_id"
    assert plan.steps["paid"].notes[-1] == "it reads rates whole, without a column customer_id"
    assert plan.to_dict()["sample"] == plan.sample
    status = shop.project.status()
    assert status.sample == "10 % sample by customer_id"


def test_a_sampled_result_is_never_published(shop):
    change(shop)
    shop.commit()
    shop.run(sample="10%", sample_by="customer_id")
    assert any("can't be promoted" in note for note in shop.project.status().notes)
    with pytest.raises(GateError) as caught:
        shop.promote()
    reasons = [r for r in caught.value.facts["verdict"]["reasons"] if r["rule"] == "sample"]
    assert [r["key"] for r in reasons] == ["named", "paid", "total"]
    assert reasons[1]["text"] == "paid was computed from a 10 % sample by customer_id"
    assert "--sample none" in reasons[0]["hint"]
    assert shop.head() == 1


def test_without_the_sample_the_real_thing_is_computed_and_can_be_published(shop):
    change(shop)
    shop.commit()
    shop.run(sample="10%", sample_by="customer_id")
    with pytest.raises((GateError, PromotionError)):
        shop.promote()
    shop.project.sandbox.open(sample="none")
    steps = shop.project.plan().steps
    assert steps["paid"].action == "run"
    assert str(steps["paid"].reasons[0]) == "it was made from a 10 % sample by customer_id"
    assert ran(shop.run()) == ["named", "paid", "total"]
    assert len(shop.rows("paid")) == 5000
    assert shop.project.samples() == {}
    assert shop.promote().state == "published"


def test_another_share_computes_anew(shop):
    change(shop)
    shop.run(sample="10%", sample_by="customer_id")
    small = customers_of(shop, "paid")
    assert ran(shop.run(sample="20%")) == ["named", "paid", "total"]
    assert small < customers_of(shop, "paid")


def test_code_that_is_taken_back_is_the_bases_whole_result_again(shop):
    change(shop)
    shop.run(sample="10%", sample_by="customer_id")
    shop.git("checkout", "-q", "shop/definitions.py")
    assert ran(shop.run()) == []
    catalog = shop.project.context.catalog
    assert catalog.own(catalog.branch("feature").point) == {}


def test_a_sample_is_never_taken_for_the_whole_nor_the_other_way_round(shop):
    change(shop)
    shop.commit()
    shop.run(sample="10%", sample_by="customer_id")
    shop.git("switch", "-q", "-c", "whole")
    assert ran(shop.run()) == ["named", "paid", "total"]
    assert len(shop.rows("paid")) == 5000
    shop.git("switch", "-q", "-c", "part")
    result = shop.run(sample="10%", sample_by="customer_id")
    assert {o.state for o in result.execution.outcomes.values() if o.key == "paid"} == {"adopted"}
    assert len(shop.rows("paid")) < 1000
    shop.git("switch", "-q", "-c", "other")
    assert ran(shop.run(sample="11%", sample_by="customer_id")) == ["named", "paid", "total"]


def test_a_comparison_is_with_the_same_sample_of_the_base(shop):
    change(shop, "0.01")
    shop.run(sample="10%", sample_by="customer_id")
    found = {table.key: table for table in shop.project.diff().tables}
    rows = found["paid"].rows
    assert (rows.added, rows.removed) == (0, 0)
    assert rows.changed == len(shop.rows("paid"))
    assert found["paid"].note == "of a 10 % sample by customer_id"
    assert "compared whole" in found["total"].note
    assert not list((shop.folder / ".anabranch" / "tmp").glob("sample-*"))


def test_checks_say_that_they_judged_a_sample(shop):
    change(shop)
    result = shop.run(sample="10%", sample_by="customer_id")
    checks = {check.name: check for check in result.execution.checks.values()}
    counted = next(check for name, check in checks.items() if "row_count" in name)
    assert not counted.passed
    assert counted.message.endswith("(of a 10 % sample by customer_id)")
    assert counted.to_dict()["sample"] == "10 % sample by customer_id"
    partners = next(check for name, check in checks.items() if "references" in name)
    assert partners.passed
    report = shop.project.check()
    assert next(c for c in report.checks if "row_count" in c.name).sample


def test_without_a_column_the_largest_input_is_sampled_by_its_own_key(shop):
    change(shop)
    shop.run(sample="10%")
    paid = shop.rows("paid")
    assert 350 < len(paid) < 650
    assert entry(shop, "paid").provenance.extra["sample"] == {"share": "10%", "by": "order"}
    # What it joins is read whole: no row has lost its partner.
    assert len(customers_of(shop, "named")) == len({row["customer_id"] for row in paid})


def test_anabranch_toml_says_how_much_a_new_sandbox_reads(make_shop):
    settings = SETTINGS + '\n[sandboxes]\nsample = { share = "10%", by = "customer_id" }\n'
    shop = make_shop(definitions=DEFINITIONS, settings=settings)
    shop.run()
    assert len(shop.rows("paid")) == 5000
    shop.switch("feature", new=True)
    change(shop)
    assert shop.project.plan().sample == "10 % sample by customer_id"
    shop.run()
    assert len(shop.rows("paid")) < 1000
    assert shop.project.sandbox.list().sandboxes[0].sample == "10 % sample by customer_id"


def test_an_environment_is_computed_from_all_data(shop):
    shop.switch("main")
    with pytest.raises(PromotionError, match="only a sandbox reads a sample"):
        shop.run(sample="10%")


def test_a_sample_that_is_none_is_told_and_changes_nothing(shop):
    for options in ({"sample": "ten"}, {"sample_by": "customer_id"}):
        with pytest.raises(AnabranchError, match=r"is no share|not how many"):
            shop.run(**options)
    assert shop.project.context.find_branch("feature") is None


def test_what_the_sandbox_fetched_itself_is_sampled_when_it_is_read(shop):
    shop.edit("shop/definitions.py", '"net": [1.0]', '"net": [2.0]')
    shop.run(sample="10%", sample_by="customer_id")
    assert len(shop.rows("orders")) == 5000
    assert "sample" not in entry(shop, "orders").provenance.extra
    assert len(shop.rows("paid")) < 1000
