"""Incremental assets from end to end: brought up to date they are what a rebuild would make, whatever happens between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from story_shop import SETTINGS, Shop, ran

from anabranch.errors import SignatureError

HEAD = """
import json, pathlib
import anabranch as ab
import pyarrow as pa
import pyarrow.compute as pc

HERE = pathlib.Path(__file__).parent.parent
OUTSIDE = HERE / ".anabranch" / "orders.json"
CALLS = HERE / ".anabranch" / "calls.txt"


def note(text):
    with CALLS.open("a") as file:
        file.write(text + "\\n")


SCHEMA = pa.schema([("id", pa.int64()), ("customer", pa.string()), ("net", pa.float64())])


@ab.asset(key="id", refresh="always")
def orders() -> pa.Table:
    return pa.Table.from_pylist(json.loads(OUTSIDE.read_text()), SCHEMA)
"""

DEFINITIONS = (
    HEAD
    + """
TAX = 0.25


@ab.asset(incremental="append")
def taxed(orders: ab.Changes, previous: ab.Table | None) -> pa.Table:
    rows = orders.added.to_arrow()
    note(f"taxed {'full' if previous is None else 'since ' + str(previous.rows)} {orders.added_rows}")
    return rows.append_column("gross", pc.multiply(rows["net"], 1 + TAX))


@ab.asset(incremental="upsert", key="customer", inputs={"all_orders": "orders"})
def totals(orders: ab.Changes, all_orders: ab.Table):
    touched = set(orders.added.to_arrow(["customer"])["customer"].to_pylist())
    touched |= set(orders.removed.to_arrow(["customer"])["customer"].to_pylist())
    note(f"totals {len(touched)}")
    rows = [r for r in all_orders.to_arrow().to_pylist() if r["customer"] in touched]
    sums = {}
    for r in rows:
        sums[r["customer"]] = sums.get(r["customer"], 0.0) + r["net"]
    return ab.Upsert(
        pa.table({"customer": pa.array(list(sums), pa.string()), "net": pa.array(list(sums.values()), pa.float64())}),
        delete=pa.table({"customer": pa.array(sorted(touched - set(sums)), pa.string())}),
    )


large = ab.sql("large", "select * from orders__added where net > 15", incremental="append")

by_customer = ab.sql(
    "by_customer",
    \"\"\"
    select customer, count(*) as n from orders
    where customer in (select customer from orders__added union select customer from orders__removed)
    group by customer
    \"\"\",
    incremental="upsert",
    key="customer",
    delete="select customer from orders__removed where customer not in (select customer from orders)",
)

report = ab.sql("report", "select customer, net, n from totals join by_customer using (customer)", key="customer")

defs = ab.Definitions(assets=[orders, taxed, totals, large, by_customer, report])
"""
)

KEEP_THE_NEWEST = """
[history]
keep = "1ms"
keep_commits = 1
"""

FIRST = [(1, "a", 10.0), (2, "b", 20.0), (3, "a", 30.0)]


class World:
    """The shop, and the outside that its orders come from."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.orders: list[tuple[int, str, float]] = []
        self.holds(*FIRST)

    def holds(self, *orders: tuple[int, str, float]) -> None:
        self.orders = list(orders)
        path = self.shop.folder / ".anabranch" / "orders.json"
        path.parent.mkdir(exist_ok=True)
        rows = [{"id": i, "customer": c, "net": n} for i, c, n in orders]
        path.write_text(json.dumps(rows))

    def gets(self, *orders: tuple[int, str, float]) -> None:
        self.holds(*self.orders, *orders)

    def calls(self) -> list[str]:
        """What was called since it was last asked."""
        path = self.shop.folder / ".anabranch" / "calls.txt"
        text = path.read_text() if path.exists() else ""
        path.unlink(missing_ok=True)
        return sorted(text.splitlines())

    def expected(self, tax: float = 0.25) -> dict[str, list[dict[str, object]]]:
        """What a rebuild would make of the outside."""
        sums: dict[str, list[float]] = {}
        for _, customer, net in self.orders:
            sums.setdefault(customer, []).append(net)
        return {
            "taxed": [{"id": i, "customer": c, "net": n, "gross": n * (1 + tax)} for i, c, n in self.orders],
            "totals": [{"customer": c, "net": sum(v)} for c, v in sums.items()],
            "large": [{"id": i, "customer": c, "net": n} for i, c, n in self.orders if n > 15],
            "by_customer": [{"customer": c, "n": len(v)} for c, v in sums.items()],
            "report": [{"customer": c, "net": sum(v), "n": len(v)} for c, v in sums.items()],
        }

    def check(self, at: str | None = None, tax: float = 0.25) -> None:
        """That every table is what a rebuild would make."""
        for table, rows in self.expected(tax).items():
            assert canon(self.shop.rows(table, at)) == canon(rows), table


def canon(rows: list[dict[str, object]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def reasons(plan, key: str) -> list[str]:
    return [reason.text for reason in plan.steps[key].reasons]


@pytest.fixture
def world(make_shop) -> World:
    """Production, built."""
    made = World(make_shop(definitions=DEFINITIONS))
    assert made.shop.run().ok
    assert made.calls() == ["taxed full 3", "totals 2"]
    made.check()
    return made


def test_a_run_treats_only_what_is_new(world: World) -> None:
    world.gets((4, "c", 40.0))
    result = world.shop.run()
    assert result.ok
    assert world.calls() == ["taxed since 3 1", "totals 1"]
    world.check()
    entry = world.shop.project.tables("production")["taxed"]
    assert entry.provenance.extra["incremental"]["mode"] == "incremental"
    assert entry.provenance.extra["incremental"]["rows"] == {"orders": {"added": 1, "removed": 0}}
    orders = world.shop.project.tables("production")["orders"]
    assert entry.provenance.extra["consumed"] == {
        "orders": {"version": orders.version, "location": orders.location}
    }
    again = world.shop.run()
    assert ran(again) == ["orders"], "nothing new came: nothing downstream runs"
    assert world.calls() == []


def test_the_plan_tells_since_when_and_why_all_would_be_rebuilt(world: World) -> None:
    plan = world.shop.project.plan()
    assert plan.steps["taxed"].action == "depends"
    assert any(
        text.startswith("incremental: orders since ") and "(3 rows)" in text
        for text in reasons(plan, "taxed")
    )
    assert plan.to_dict()["steps"][0]["incremental"] is None
    told = {step["asset"]: step["incremental"] for step in plan.to_dict()["steps"]}
    assert told["taxed"]["mode"] == "incremental"
    world.shop.switch("tax", new=True)
    world.shop.edit("shop/definitions.py", "TAX = 0.25", "TAX = 0.5")
    plan = world.shop.project.plan()
    assert plan.steps["taxed"].action == "run"
    (text,) = [text for text in reasons(plan, "taxed") if text.startswith("full rebuild: ")]
    assert "TAX changed" in text
    assert "--forward-only" in text
    plan = world.shop.project.plan(forward_only=True)
    assert plan.steps["taxed"].increment.mode == "incremental"


def test_appending_cannot_follow_lost_rows_and_merging_can(world: World) -> None:
    world.holds(FIRST[0], (2, "b", 25.0))
    assert world.shop.run().ok
    assert world.calls() == ["taxed full 2", "totals 2"]
    world.check()
    entry = world.shop.project.tables("production")["taxed"]
    assert entry.provenance.extra["incremental"]["mode"] == "full"
    # An edit that keeps the number of rows shows only when the rows are looked at.
    world.holds((1, "a", 11.0), (2, "b", 25.0), (5, "z", 1.0))
    assert world.shop.run().ok
    assert world.calls() == ["taxed full 3", "totals 2"]
    world.check()
    made = world.shop.project.tables("production")["taxed"].provenance.extra["incremental"]
    assert made["reason"] == "orders lost 1 row, which appending can't follow"
    assert "brought up to date" in shown(world, "totals")
    assert "orders lost 1 row" in shown(world, "taxed")


def shown(world: World, key: str) -> str:
    from anabranch.report.lines import text_of
    from anabranch.report.text_history import shown_lines

    world.shop.project.refresh()
    return text_of(shown_lines(world.shop.project.show(key)))


def test_a_sandbox_starts_from_productions_state(world: World) -> None:
    shop = world.shop
    shop.switch("more", new=True)
    world.gets((4, "c", 40.0))
    assert shop.run(refresh=["orders"]).ok
    assert world.calls() == ["taxed since 3 1", "totals 1"]
    world.check()
    here, there = (shop.project.tables(at)["taxed"] for at in (None, "production"))
    assert "/_sandboxes/" in here.location
    assert there.provenance.rows == 3
    files = [{f.path for f in shop.project.table("taxed", at).files()} for at in (None, "production")]
    assert files[1] < files[0], "the base's files are shared"


def test_after_promotion_production_goes_on_where_the_sandbox_stopped(world: World) -> None:
    shop = world.shop
    shop.switch("more", new=True)
    world.gets((4, "c", 40.0))
    assert shop.run(refresh=["orders"]).ok
    assert shop.promote().state == "published"
    world.check("production")
    shop.switch("main")
    world.calls()
    world.gets((5, "a", 50.0))
    assert shop.run().ok
    assert world.calls() == ["taxed since 4 1", "totals 1"]
    world.check("production")


def test_a_synced_sandbox_goes_on_from_what_it_has_consumed_itself(world: World) -> None:
    shop = world.shop
    shop.switch("fix", new=True)
    shop.edit("shop/definitions.py", "TAX = 0.25", "TAX = 0.5")
    shop.commit("Raise the tax")
    assert shop.run().ok
    assert "taxed full 3" in world.calls()
    shop.switch("main")
    world.gets((4, "c", 40.0))
    assert shop.run().ok
    world.calls()
    shop.switch("fix")
    shop.project.sandbox.sync()
    assert shop.run().ok
    assert world.calls() == ["taxed since 3 1"], "the rest is as production has it"
    world.check(tax=0.5)
    assert shop.promote().state == "published"
    world.check("production", tax=0.5)


def test_after_a_rollback_nothing_is_lost_or_doubled(world: World) -> None:
    shop = world.shop
    world.gets((4, "c", 40.0), (5, "a", 50.0))
    assert shop.run().ok
    shop.project.rollback(to="production@1")
    assert len(shop.rows("taxed", "production")) == 3
    world.gets((6, "b", 60.0))
    world.calls()
    assert shop.run(resume=True).ok
    assert world.calls() == ["taxed since 3 3", "totals 3"]
    world.check("production")


def test_forward_only_keeps_what_older_code_made_and_says_so_everywhere(world: World) -> None:
    shop = world.shop
    shop.switch("tax", new=True)
    shop.edit("shop/definitions.py", "TAX = 0.25", "TAX = 0.5")
    shop.commit("Raise the tax")
    world.gets((4, "c", 40.0))
    assert shop.run(refresh=["orders"], forward_only=True).ok
    assert "taxed since 3 1" in world.calls()
    gross = {row["id"]: row["gross"] for row in shop.rows("taxed")}
    assert gross == {1: 12.5, 2: 25.0, 3: 37.5, 4: 60.0}
    entry = shop.project.tables()["taxed"]
    assert len(entry.provenance.extra["forward_only"]["codes"]) == 1
    assert "forward-only" in shown(world, "taxed")
    assert any("taxed still holds rows that older code made" in note for note in shop.project.status().notes)

    # It is no reason to rebuild, and what it made is not taken for a rebuild.
    assert shop.project.plan().nothing_to_do
    assert ran(shop.run()) == []

    refused = shop.promote(dry_run=True)
    assert refused.verdict is not None
    assert [reason.rule for reason in refused.verdict.reasons] == ["forward_only"]
    done = shop.promote(forward_only=True)
    assert done.state == "published"
    assert list(shop.project.show(done.commit).commit.properties["forward_only"]) == ["taxed"]

    # Once accepted it is no mixture that anybody has to accept again, and goes on.
    shop.switch("main")
    shop.git("merge", "-q", "tax")
    world.gets((5, "a", 10.0))
    world.calls()
    result = shop.run()
    assert result.ok
    assert "taxed since 4 1" in world.calls()
    newest = shop.project.show(result.commit).commit
    assert list(newest.properties["forward_only"]) == ["taxed"]

    assert shop.run("taxed", force=True).ok
    world.check("production", tax=0.5)
    assert "forward_only" not in shop.project.tables("production")["taxed"].provenance.extra
    assert not any("forward-only" in note for note in shop.project.status().notes)


def test_another_sandbox_does_not_adopt_a_forward_only_result(world: World) -> None:
    shop = world.shop
    shop.switch("one", new=True)
    shop.edit("shop/definitions.py", "TAX = 0.25", "TAX = 0.5")
    shop.commit("Raise the tax")
    assert shop.run(forward_only=True).ok
    shop.switch("two", new=True)
    world.calls()
    assert shop.run().ok
    assert "taxed full 3" in world.calls()
    world.check(tax=0.5)
    shop.switch("three", new=True)
    assert shop.run().ok
    assert world.calls() == [], "a clean result is adopted"
    assert shop.project.tables()["taxed"].version == shop.project.tables("two")["taxed"].version


def test_forward_only_refuses_what_it_cannot_keep(world: World) -> None:
    shop = world.shop
    shop.switch("tax", new=True)
    shop.edit("shop/definitions.py", "TAX = 0.25", "TAX = 0.5")
    world.holds(FIRST[0], (2, "b", 21.0), (3, "a", 30.0))
    result = shop.run(refresh=["orders"], forward_only=True)
    assert not result.ok
    message = result.execution.outcomes["taxed"].error["message"]
    assert message == "taxed can't be continued forward-only: orders lost 1 row, which appending can't follow"


def test_what_was_consumed_outlives_gc_until_the_asset_has_gone_on(make_shop) -> None:
    """However long the asset was not run: it goes on from there, rather than being built anew."""
    shop = make_shop(settings=SETTINGS + KEEP_THE_NEWEST, definitions=DEFINITIONS)
    world = World(shop)
    assert shop.run().ok
    consumed = shop.project.tables("production")["taxed"].provenance.extra["consumed"]["orders"]["location"]
    for more in ((4, "b", 5.0), (5, "c", 50.0)):
        world.gets(more)
        assert shop.run("orders").ok
    between = shop.project.tables("production@2")["orders"].location
    assert not {consumed, between} & {entry.location for entry in shop.project.tables("production").values()}
    assert consumed not in shop.project.gc(dry_run=True, grace="0s").files
    assert between in shop.project.gc(grace="0s").files
    assert Path(consumed).exists()
    world.calls()
    assert shop.run().ok
    assert "taxed since 3 2" in world.calls()
    world.check("production")
    assert consumed in shop.project.gc(grace="0s").files
    assert not Path(consumed).exists()
    world.calls()
    world.gets((6, "a", 60.0))
    assert shop.run().ok
    assert "taxed since 5 1" in world.calls()


def test_a_merge_reruns_only_readers_of_the_columns_that_it_changed(make_shop) -> None:
    shop = make_shop(
        definitions=DEFINITIONS.replace(
            "defs = ab.Definitions(assets=[",
            'names = ab.sql("names", "select distinct customer from totals")\n\ndefs = ab.Definitions(assets=[names, ',
        )
    )
    world = World(shop)
    assert shop.run().ok
    world.gets((4, "a", 5.0))
    result = shop.run()
    assert result.ok
    assert {"totals", "report"} <= set(ran(result))
    assert "names" not in ran(result)
    world.gets((5, "new", 5.0))
    assert "names" in ran(shop.run())
    assert {row["customer"] for row in shop.rows("names")} == {"a", "b", "new"}


def test_files_that_gc_has_taken_make_a_full_rebuild(world: World) -> None:
    shop = world.shop
    consumed = shop.project.tables("production")["taxed"].provenance.extra["consumed"]["orders"]["location"]
    world.holds((1, "a", 10.0), (2, "b", 20.0), (3, "a", 31.0))
    assert shop.run("orders").ok
    Path(consumed).unlink()
    world.calls()
    assert shop.run().ok
    assert world.calls() == ["taxed full 3", "totals 2"]
    world.check("production")
    made = shop.project.tables("production")["taxed"].provenance.extra["incremental"]
    assert "is no longer there" in made["reason"]


def test_an_incremental_source_goes_on_from_its_own_table(make_shop) -> None:
    shop = make_shop(
        definitions=HEAD
        + """
@ab.asset(incremental="append", refresh="always")
def log(previous: pa.Table | None) -> pa.Table | None:
    known = 0 if previous is None else pc.max(previous["id"]).as_py()
    rows = [r for r in json.loads(OUTSIDE.read_text()) if r["id"] > known]
    note(f"log {known}")
    return pa.Table.from_pylist(rows, SCHEMA) if rows or previous is None else None


defs = ab.Definitions(assets=[log])
"""
    )
    world = World(shop)
    assert shop.run().ok
    world.gets((4, "c", 1.0))
    assert shop.run().ok
    assert shop.run().ok
    assert world.calls() == ["log 0", "log 3", "log 4"]
    assert [row["id"] for row in shop.rows("log")] == [1, 2, 3, 4]


LOOKUP = (
    HEAD
    + """
@ab.asset
def names() -> pa.Table:
    return pa.table({"customer": ["a", "b", "c"], "name": ["Ada", "Bob", "Cyd"]})


@ab.asset(incremental="append"%s)
def named(orders: ab.Changes, names: pa.Table) -> pa.Table:
    note(f"named {orders.added_rows}{' full' if orders.full else ''}")
    return orders.added.to_arrow().join(names, "customer").select(["id", "name"])


defs = ab.Definitions(assets=[orders, names, named])
"""
)


@pytest.mark.parametrize(
    ("more", "called"), [("", "named 3 full"), (', lookups=["names"]', "named 0")], ids=["whole", "lookup"]
)
def test_an_input_that_is_read_whole_makes_a_rebuild_unless_it_is_a_lookup(
    make_shop, more: str, called: str
) -> None:
    shop = make_shop(definitions=LOOKUP % more)
    world = World(shop)
    assert shop.run().ok
    shop.edit("shop/definitions.py", "Bob", "Bert")
    shop.commit()
    world.calls()
    assert shop.run().ok
    assert world.calls() == [called]
    names = [row["name"] for row in sorted(shop.rows("named"), key=lambda r: r["id"])]
    assert names == ["Ada", "Bob" if more else "Bert", "Ada"]
    shop.run()
    assert world.calls() == []


BAD = [
    ('@ab.asset(incremental="merge")\ndef x(orders: ab.Changes): ...', "incremental='merge' is not known"),
    ('@ab.asset(incremental="upsert")\ndef x(orders: ab.Changes): ...', "merges rows by key, and no key"),
    ("@ab.asset\ndef x(orders: ab.Changes): ...", "asks for changes, but the asset is not incremental"),
    ("@ab.asset\ndef x(orders: pa.Table, previous): ...", "own earlier table, but it is not incremental"),
    (
        '@ab.asset(incremental="append")\ndef x(orders: ab.Changes) -> ab.File: ...',
        "only tables can be incremental",
    ),
    ('@ab.asset(incremental="append")\ndef x(orders: pa.Table): ...', "reads no input's changes"),
    (
        '@ab.asset(incremental="append", lookups=["order"])\ndef x(orders: ab.Changes): ...',
        "which it does not read",
    ),
    (
        '@ab.asset(incremental="append", lookups=["orders"])\ndef x(orders: ab.Changes): ...',
        "its changes are read",
    ),
    (
        '@ab.asset(lookups=["orders"])\ndef x(orders: pa.Table): ...',
        "lookups are given, but it is not incremental",
    ),
    ('x = ab.sql("x", "select * from orders__added")', "the change of orders, but is not incremental"),
    ('x = ab.sql("x", "select * from orders", incremental="append")', "reads no input's changes"),
    (
        '@ab.asset(incremental="append", partitions=ab.daily("2026-01-01"))\ndef x(orders: ab.Changes): ...',
        "is cut into partitions and incremental at once",
    ),
    ('x = ab.sql("x", "select 1", delete="select 1")', 'delete is for incremental="upsert" alone'),
    ('x = ab.sql("x", "select * from order__added", incremental="append")', "reads 'order__added'"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_wrong_signature_is_told(make_shop, text: str, message: str) -> None:
    from anabranch.errors import DefinitionsError

    shop = make_shop(definitions=f"{HEAD}\n{text}\n\ndefs = ab.Definitions(assets=[orders, x])\n")
    with pytest.raises(DefinitionsError) as caught:
        shop.project.plan()
    assert message in caught.value.message
    assert caught.value.hint
    if "order__added" not in message:
        assert isinstance(caught.value, SignatureError)


RETURNS = [
    (
        "append",
        "orders.added.to_arrow() if orders.full else ab.Upsert()",
        "returned ab.Upsert, but only appends",
    ),
    ("append", "orders.added.to_arrow() if orders.full else ab.File(b'')", "only tables can be incremental"),
    ("upsert", "pa.concat_tables([orders.added.to_arrow()] * 2)", "two rows of the key id = 1"),
    ("append", "None", "returned no rows when all was to be built"),
    (
        "append",
        "orders.added.to_arrow().select(['id'] if not orders.full else ['id', 'net'])",
        "other columns than the table",
    ),
]


@pytest.mark.parametrize(("kind", "value", "message"), RETURNS)
def test_what_cannot_be_added_is_told_and_changes_nothing(
    make_shop, kind: str, value: str, message: str
) -> None:
    body = f'\n@ab.asset(incremental="{kind}", key="id")\ndef x(orders: ab.Changes):\n    return {value}\n'
    shop = make_shop(definitions=f"{HEAD}{body}\ndefs = ab.Definitions(assets=[orders, x])\n")
    world = World(shop)
    result = shop.run()
    before = shop.rows("x") if result.ok else None
    if result.ok:
        world.gets((4, "c", 1.0))
        result = shop.run()
    assert not result.ok
    assert message in result.execution.outcomes["x"].error["message"]
    assert before is None or shop.rows("x") == before


def test_upsert_is_refused_from_an_asset_that_is_not_incremental(make_shop) -> None:
    body = "\n@ab.asset\ndef x(orders: pa.Table):\n    return ab.Upsert(orders)\n"
    shop = make_shop(definitions=f"{HEAD}{body}\ndefs = ab.Definitions(assets=[orders, x])\n")
    World(shop)
    assert "is not incremental" in shop.run().execution.outcomes["x"].error["message"]


def test_a_declaration_that_changes_makes_a_rebuild(make_shop) -> None:
    body = '\n@ab.asset(incremental="append", key="id")\ndef x(orders: ab.Changes):\n    return orders.added.to_arrow()\n'
    shop = make_shop(definitions=f"{HEAD}{body}\ndefs = ab.Definitions(assets=[orders, x])\n")
    world = World(shop)
    assert shop.run().ok
    shop.edit("shop/definitions.py", 'incremental="append"', 'incremental="upsert"')
    shop.commit()
    plan = shop.project.plan()
    assert plan.steps["x"].action == "run"
    assert "it was append, and is upsert by id" in reasons(plan, "x")
    assert shop.run().ok
    world.holds((1, "a", 1.0))
    assert shop.run().ok
    # The function never returns what went: rows that are gone stay, as it says.
    assert len(shop.rows("x")) == 3


def test_a_sampled_sandbox_builds_its_sample_whole_and_production_goes_on_afterwards(world: World) -> None:
    shop = world.shop
    shop.switch("small", new=True)
    shop.edit("shop/definitions.py", "TAX = 0.25", "TAX = 0.5")
    shop.commit()
    shop.project.sandbox.open(sample="50%")
    assert shop.run("taxed").ok
    entry = shop.project.tables()["taxed"]
    assert entry.provenance.extra["incremental"]["mode"] == "full"
    assert "sample" in entry.provenance.extra
    assert len(shop.rows("taxed")) <= 3
    shop.switch("main")
    world.gets((4, "c", 40.0))
    world.calls()
    assert shop.run().ok
    assert world.calls() == ["taxed since 3 1", "totals 1"]
    world.check("production")
