"""Assets that are cut into partitions, from a branch to production: only what is missing or stale is made, and never twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from story_shop import SETTINGS, Shop, ran

from anabranch.errors import GateError, SelectionError
from anabranch.report.text import plan_lines

DEFINITIONS = '''
import datetime as dt
import json
from pathlib import Path

import anabranch as ab
import polars as pl
import pyarrow as pa

from shop.prices import gross

DAYS = ab.daily("2013-01-01", "2013-01-10", column="day")


class Feed(ab.Resource):
    root: str

    def sold(self, key):
        with (Path(self.root) / "calls").open("a") as calls:
            calls.write(key + "\\n")
        return json.loads((Path(self.root) / "sold.json").read_text())[key]


@ab.asset(partitions=DAYS, key=["day", "shop"])
def sales(feed: Feed, partition: ab.Partition) -> pa.Table:
    """What was sold in each shop."""
    rows = [{"day": partition.date, "shop": shop, "net": net} for shop, net in feed.sold(partition.key).items()]
    return pa.Table.from_pylist(rows, pa.schema([("day", pa.date32()), ("shop", pa.string()), ("net", pa.float64())]))


@ab.asset(partitions=DAYS, key=["day", "shop"])
def taxed(sales: pl.DataFrame) -> pl.DataFrame:
    return sales.with_columns(gross=gross(pl.col("net")))


weekly = ab.sql("weekly", """
    select $partition_start::date as week, shop, sum(gross) as gross from taxed group by shop
""", partitions=ab.weekly("2013-01-01", "2013-01-10"), key=["week", "shop"])

total = ab.sql("total", "select shop, sum(gross) as gross from taxed group by shop", key="shop")

defs = ab.Definitions(
    assets=[sales, taxed, weekly, total],
    checks=[ab.unique(taxed)],
    resources={"feed": Feed(root=r"ROOT")},
)
'''
PRICES = """
TAX = 0.25


def gross(net):
    return net * (1 + TAX)
"""
DAYS = [f"2013-01-{day:02d}" for day in range(1, 11)]


class Market:
    """The shop, with what the outside has sold and a count of who asked for it."""

    def __init__(self, shop: Shop, root) -> None:
        self.shop, self.root = shop, root

    def sold(self, day: str, **shops: float) -> None:
        path = self.root / "sold.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | {day: shops}))

    def calls(self) -> list[str]:
        path = self.root / "calls"
        found = sorted(path.read_text().split()) if path.exists() else []
        path.unlink(missing_ok=True)
        return found


@pytest.fixture
def market(make_shop, tmp_path) -> Market:
    root = tmp_path / "outside"
    root.mkdir()
    shop = make_shop(definitions=DEFINITIONS.replace("ROOT", str(root)), prices=PRICES, settings=SETTINGS)
    made = Market(shop, root)
    for number, day in enumerate(DAYS, 1):
        made.sold(day, north=number, south=10 * number)
    return made


@pytest.fixture
def built(market) -> Market:
    result = market.shop.run()
    assert result.ok, [o.error for o in result.execution.failed]
    market.calls()
    return market


def made(result, key: str) -> list:
    outcome = result.execution.outcomes[key]
    return outcome.partitions["made"] if outcome.partitions else []


def edit_tax(shop: Shop, to: float = 0.5) -> None:
    shop.edit("shop/prices.py", "TAX = 0.25", f"TAX = {to}")


def gross(shop: Shop, at: str | None = None) -> dict[str, float]:
    rows = shop.rows("taxed", at)
    return {f"{row['day']}": row["gross"] for row in rows if row["shop"] == "north"}


# building


def test_each_partition_is_made_once_and_the_table_holds_all_of_them(market):
    result = market.shop.run()
    assert result.ok, [o.error for o in result.execution.failed]
    assert market.calls() == DAYS
    assert made(result, "taxed") == [["2013-01-01", "2013-01-10", 10]]
    assert len(market.shop.rows("sales", "production")) == 20
    weeks = {
        (str(row["week"]), row["shop"]): row["gross"] for row in market.shop.rows("weekly", "production")
    }
    assert weeks == {
        ("2013-01-01", "north"): 28 * 1.25,
        ("2013-01-01", "south"): 280 * 1.25,
        ("2013-01-08", "north"): 27 * 1.25,
        ("2013-01-08", "south"): 270 * 1.25,
    }
    totals = {row["shop"]: row["gross"] for row in market.shop.rows("total", "production")}
    assert totals == {"north": 55 * 1.25, "south": 550 * 1.25}


def test_a_second_run_makes_nothing(built):
    result = built.shop.run()
    assert ran(result) == []
    assert result.commit is None
    assert built.calls() == []


def test_the_table_is_an_iceberg_table_that_is_partitioned_by_the_day(built):
    table = built.shop.project.iceberg("production").load_table("main.sales")
    (field,) = table.spec().fields
    assert str(field.transform) == "day"
    assert table.inspect.partitions().num_rows == 10
    one = table.scan(row_filter="day == '2013-01-05'")
    assert len(list(one.plan_files())) == 1
    assert one.to_arrow().num_rows == 2


def test_only_named_partitions_run(market):
    market.shop.run(partitions="2013-01-02..2013-01-03")
    assert market.calls() == ["2013-01-02", "2013-01-03"]
    market.shop.run(partitions="latest:1")
    assert market.calls() == ["2013-01-10"]
    result = market.shop.run(partitions="missing")
    assert market.calls() == ["2013-01-01", *DAYS[3:9]]
    assert result.ok


def test_words_that_mean_no_partition_are_refused_before_anything_runs(built):
    with pytest.raises(SelectionError, match="names no partition"):
        built.shop.run(partitions="north")
    assert built.calls() == []


def test_in_worker_processes_the_same_comes_out(market):
    result = market.shop.run(in_process=False, workers=2)
    assert result.ok, [o.error for o in result.execution.failed]
    assert market.calls() == DAYS
    assert len(market.shop.rows("taxed", "production")) == 20


# failures


def test_what_was_made_stays_made_and_failed_ones_are_tried_alone(market):
    market.sold("2013-01-05")
    path = market.root / "sold.json"
    path.write_text(path.read_text().replace('"2013-01-05": {}', '"2013-01-05": null'))
    market.shop.switch("fix", new=True)
    result = market.shop.run()
    assert not result.ok
    outcome = result.execution.outcomes["sales"]
    assert outcome.partitions["failed"] == [["2013-01-05", "2013-01-05", 1]]
    assert "1 of 10 partitions failed: 2013-01-05" in outcome.error["message"]
    assert result.execution.outcomes["taxed"].state == "blocked"
    market.calls()
    market.sold("2013-01-05", north=5, south=50)
    again = market.shop.run(partitions="failed")
    assert again.ok, [o.error for o in again.execution.failed]
    assert market.calls() == ["2013-01-05"]
    assert market.shop.run().ok
    assert len(gross(market.shop)) == 10
    assert market.calls() == []


def test_code_that_always_fails_is_not_tried_on_every_partition(market):
    market.shop.edit("shop/definitions.py", "rows = [", "raise ValueError('no')\n    rows = [")
    market.shop.switch("fix", new=True)
    result = market.shop.run()
    outcome = result.execution.outcomes["sales"]
    assert outcome.state == "failed"
    assert "were not tried" in outcome.error["message"] or len(market.calls()) <= 10


def test_a_row_of_another_day_is_refused_and_named(market):
    market.shop.edit("shop/definitions.py", '"day": partition.date,', '"day": dt.date(2013, 1, 1),')
    market.shop.switch("fix", new=True)
    result = market.shop.run()
    message = result.execution.outcomes["sales"].error["message"]
    assert "day" in message
    assert "2013-01-02" in message


# sandboxes


def test_a_changed_asset_runs_all_its_partitions_and_what_reads_them(built):
    built.shop.switch("fix", new=True)
    edit_tax(built.shop)
    plan = built.shop.project.plan()
    assert plan.steps["sales"].action == "reuse"
    assert len(plan.steps["taxed"].partitions.run) == 10
    result = built.shop.run()
    assert ran(result) == ["taxed", "total", "weekly"]
    assert built.calls() == []
    assert gross(built.shop)["2013-01-02"] == 3.0
    assert gross(built.shop, "production")["2013-01-02"] == 2.5


def test_a_window_is_built_with_new_code_and_the_rest_is_the_bases(built):
    built.shop.switch("fix", new=True)
    edit_tax(built.shop)
    built.shop.run(partitions="2013-01-09..2013-01-10")
    found = gross(built.shop)
    assert found["2013-01-10"] == 15.0
    assert found["2013-01-01"] == 1.25
    status = built.shop.project.status()
    assert "2 of 10" in status.partitions["taxed"]
    assert "2013-01-09..2013-01-10" in status.partitions["taxed"]


def test_a_mixture_is_not_published_unless_it_is_meant(built):
    built.shop.switch("fix", new=True)
    edit_tax(built.shop)
    built.shop.commit()
    built.shop.run(partitions="2013-01-09..2013-01-10")
    with pytest.raises(GateError, match="8 of its 10 partitions are as older code made them") as caught:
        built.shop.promote()
    assert "--forward-only" in caught.value.hint
    assert built.shop.head() == 1
    done = built.shop.promote(forward_only=True)
    assert done.state == "published"
    commit = built.shop.project.context.catalog.get_commit(
        built.shop.project.context.catalog.branch("production").point
    )
    assert "taxed" in commit.properties["forward_only"]
    found = gross(built.shop, "production")
    assert (found["2013-01-10"], found["2013-01-01"]) == (15.0, 1.25)
    # What was meant once is not blamed on the next run.
    built.shop.switch("main")
    built.shop.git("merge", "-q", "fix")
    assert ran(built.shop.run()) == []


def test_a_whole_rebuild_is_published_without_asking(built):
    built.shop.switch("fix", new=True)
    edit_tax(built.shop)
    built.shop.commit()
    built.shop.run(partitions="latest:1")
    built.shop.run()
    assert built.shop.promote().state == "published"
    assert gross(built.shop, "production")["2013-01-01"] == 1.5


def test_production_refuses_to_become_a_mixture(built):
    edit_tax(built.shop)
    built.shop.commit()
    with pytest.raises(GateError, match="taxed"):
        built.shop.run(partitions="latest:1")
    assert built.shop.head() == 1
    assert built.shop.run(partitions="latest:1", forward_only=True).ok
    found = gross(built.shop, "production")
    assert (found["2013-01-10"], found["2013-01-09"]) == (15.0, 11.25)


def extend(shop: Shop, day: str = "2013-01-11") -> None:
    shop.edit("shop/definitions.py", '"2013-01-10", column="day"', f'"{day}", column="day"')


def test_a_day_that_production_got_meanwhile_is_neither_lost_nor_made_twice(built):
    shop = built.shop
    shop.switch("fix", new=True)
    edit_tax(shop)
    shop.commit()
    shop.run()
    shop.switch("main")
    built.sold("2013-01-11", north=11, south=110)
    extend(shop)
    shop.commit()
    shop.run()
    assert built.calls() == ["2013-01-11"]
    shop.switch("fix")
    shop.git("merge", "-q", "main")
    moved = shop.project.sandbox.sync().moved
    assert moved.merged == ("taxed", "weekly")
    result = shop.run()
    assert built.calls() == []
    assert made(result, "taxed") == [["2013-01-11", "2013-01-11", 1]]
    assert shop.promote().state == "published"
    found = gross(shop, "production")
    assert len(found) == 11
    assert (found["2013-01-11"], found["2013-01-01"]) == (16.5, 1.5)
    assert len(shop.rows("sales", "production")) == 22


def test_a_partition_that_both_sides_made_is_made_again_on_the_newest(built):
    shop = built.shop
    shop.switch("fix", new=True)
    edit_tax(shop)
    shop.commit()
    shop.run(partitions="2013-01-04..2013-01-06")
    shop.switch("main")
    built.sold("2013-01-05", north=7, south=70)
    shop.run("sales+", force=True, partitions="2013-01-05")
    built.calls()
    shop.switch("fix")
    shop.project.sandbox.sync()
    assert shop.promote(forward_only=True).state == "published"
    found = gross(shop, "production")
    assert found["2013-01-05"] == 10.5
    assert (found["2013-01-04"], found["2013-01-03"]) == (6.0, 3.75)


def test_partitions_that_another_sandbox_has_computed_are_taken_over(built):
    shop = built.shop
    shop.switch("one", new=True)
    edit_tax(shop)
    shop.commit()
    shop.run(partitions="2013-01-01..2013-01-04")
    shop.switch("two", new=True)
    result = shop.run()
    outcome = result.execution.outcomes["taxed"]
    assert outcome.partitions["adopted"] == [["2013-01-01", "2013-01-04", 4]]
    assert outcome.partitions["made"] == [["2013-01-05", "2013-01-10", 6]]
    assert gross(shop)["2013-01-02"] == 3.0


def test_switching_back_and_forth_makes_nothing(built):
    shop = built.shop
    shop.switch("fix", new=True)
    edit_tax(shop)
    shop.run()
    edit_now = (shop.folder / "shop/prices.py").read_text()
    (shop.folder / "shop/prices.py").write_text(PRICES)
    shop.project.refresh()
    back = shop.run()
    assert made(back, "taxed") == []
    assert gross(shop)["2013-01-02"] == 2.5
    (shop.folder / "shop/prices.py").write_text(edit_now)
    shop.project.refresh()
    forth = shop.run()
    assert made(forth, "taxed") == []
    assert gross(shop)["2013-01-02"] == 3.0


def test_a_rollback_brings_the_partitions_back(built):
    shop = built.shop
    built.sold("2013-01-05", north=7, south=70)
    shop.run("sales+", force=True, partitions="2013-01-05")
    assert gross(shop, "production")["2013-01-05"] == 8.75
    shop.project.rollback("production@1")
    assert gross(shop, "production")["2013-01-05"] == 6.25


def test_a_diff_reads_the_changed_partitions_and_names_them(built):
    shop = built.shop
    shop.switch("fix", new=True)
    edit_tax(shop)
    shop.run(partitions="2013-01-10")
    (table,) = [t for t in shop.project.diff().tables if t.key == "taxed"]
    assert table.rows.changed == 2
    assert "2013-01-10" in table.partitions


def test_now_is_asked_for_nothing_that_still_goes_on(market):
    market.shop.edit("shop/definitions.py", '"2013-01-10", column', "None, column")
    market.shop.edit("shop/definitions.py", '"2013-01-01", None', f'"{datetime.now(UTC):%Y-%m-%d}", None')
    market.shop.commit()
    plan = market.shop.project.plan()
    assert plan.steps["sales"].partitions.run == ()
    result = market.shop.run("sales", "taxed")
    assert result.execution.outcomes["taxed"].state == "blocked"


def test_what_a_partition_takes_is_the_mean_of_all_that_this_code_has_made(market, monkeypatch):
    shop = market.shop
    assert shop.run(partitions="..2013-01-09").ok

    def each() -> float:
        return shop.project.tables("production")["taxed"].provenance.partitions["seconds"]

    before = each()
    from anabranch.running.cut import Cut

    put = Cut.put
    monkeypatch.setattr(
        Cut, "put", lambda self, *args, **words: put(self, *args, **words | {"seconds": 60.0})
    )
    assert shop.run().ok
    assert each() == pytest.approx((9 * before + 60) / 10)


@pytest.mark.parametrize("reader", ["total", "weekly"])  # one that is not cut, and one that is
def test_a_column_that_comes_to_a_partitioned_table_runs_nobody_who_does_not_read_it(built, reader):
    shop = built.shop
    shop.switch("more", new=True)
    shop.edit(
        "shop/definitions.py",
        'sales.with_columns(gross=gross(pl.col("net")))',
        'sales.with_columns(gross=gross(pl.col("net")), double=pl.col("net") * 2)',
    )
    result = shop.run()
    assert result.ok
    assert "taxed" in ran(result)
    assert reader not in ran(result)
    assert result.execution.outcomes[reader].state == "reused"
    assert shop.actions()[reader] == "reuse"
    shop.edit("shop/definitions.py", "gross=gross(", "gross=1 + gross(")
    assert reader in ran(shop.run())


def test_of_a_partition_whose_unread_columns_changed_only_its_readers_of_those_run(built):
    shop = built.shop
    shop.switch("more", new=True)
    edit = 'gross=gross(pl.col("net")), net=pl.when(pl.col("day").dt.day() == 3).then(0.0).otherwise(pl.col("net"))'
    shop.edit("shop/definitions.py", 'gross=gross(pl.col("net"))', edit)
    assert "weekly" not in ran(shop.run())
    shop.edit(
        "shop/definitions.py", "gross=gross(", 'gross=(pl.col("day").dt.day() == 9).cast(float) + gross('
    )
    assert made(shop.run(), "weekly") == [["2013-01-08", "2013-01-08", 1]]


def begin(shop: Shop, day: str) -> None:
    shop.edit("shop/definitions.py", 'ab.daily("2013-01-01"', f'ab.daily("{day}"')


def days(shop: Shop, key: str, at: str | None = None) -> list[str]:
    return sorted({str(row["day"]) for row in shop.rows(key, at)})


def test_partitions_that_the_code_no_longer_has_stay_until_a_run_prunes_them(built):
    shop = built.shop
    begin(shop, "2013-01-03")
    shop.commit()
    plan = shop.project.plan()
    assert plan.steps["sales"].partitions.gone == ("2013-01-01", "2013-01-02")
    shown = "\n".join(str(each) for each in plan_lines(plan, title="production"))
    assert (
        "sales holds 2013-01-01, 2013-01-02: partitions that the code no longer has; --prune removes them"
        in shown
    )
    assert shop.run().ok
    assert days(shop, "taxed") == DAYS
    before = {row["shop"]: row["gross"] for row in shop.rows("total")}
    result = shop.run(prune=True)
    assert result.ok
    assert built.calls() == [], "nothing is fetched to leave something out"
    assert result.execution.outcomes["sales"].partitions["removed"] == ["2013-01-01", "2013-01-02"]
    assert days(shop, "sales", "production") == days(shop, "taxed", "production") == DAYS[2:]
    after = {row["shop"]: row["gross"] for row in shop.rows("total")}
    assert after["north"] == pytest.approx(before["north"] - 1.25 * (1 + 2)), "readers follow"
    assert shop.project.plan().nothing_to_do
    again = shop.run(prune=True)
    assert again.ok
    assert again.commit is None
    shop.edit("shop/definitions.py", 'ab.daily("2013-01-03"', 'ab.daily("2013-01-01"')
    shop.commit()
    assert shop.run().ok
    assert built.calls() == [], "what was computed before is taken over"
    assert days(shop, "taxed", "production") == DAYS


def test_partitions_that_a_sandbox_has_pruned_leave_production_with_its_promotion(built):
    shop = built.shop
    shop.switch("later", new=True)
    begin(shop, "2013-01-02")
    assert shop.run(prune=True).ok
    assert days(shop, "taxed") == DAYS[1:]
    assert days(shop, "taxed", "production") == DAYS
    shop.commit()
    shop.promote()
    assert days(shop, "sales", "production") == days(shop, "taxed", "production") == DAYS[1:]


def test_all_partitions_of_a_table_may_go(built):
    shop = built.shop
    shop.edit(
        "shop/definitions.py", 'ab.daily("2013-01-01", "2013-01-10"', 'ab.daily("2014-01-01", "2014-01-02"'
    )
    for day in ("2014-01-01", "2014-01-02"):
        built.sold(day, north=100)
    shop.edit(
        "shop/definitions.py",
        'ab.weekly("2013-01-01", "2013-01-10")',
        'ab.weekly("2013-12-30", "2014-01-05")',
    )
    shop.commit()
    result = shop.run(prune=True)
    assert result.ok, [o.error for o in result.execution.failed]
    assert days(shop, "taxed", "production") == ["2014-01-01", "2014-01-02"]
    assert [row["gross"] for row in shop.rows("total")] == [250.0]
