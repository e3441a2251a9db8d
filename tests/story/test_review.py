"""What a run may never publish, a verb never touch and a message never tell: faults that a careful reader once found."""

from __future__ import annotations

import pytest
from story_shop import DEFINITIONS, ran

import anabranch as ab
from anabranch.errors import GateError, LeaseError, StepError, UndeterminedError
from anabranch.running.lease import hold

FEED = DEFINITIONS.replace(
    '''@ab.asset(key="id")
def orders() -> pa.Table:
    """What was ordered."""
    return pa.table({"id": [1, 2, 3, 4], "customer": ["a", "b", "a", "c"], "net": [10.0, 20.0, 30.0, None]})
''',
    """import os

@ab.asset(key="id", refresh="always")
def orders() -> pa.Table:
    ids = [int(number) for number in os.environ["FEED"].split(",")]
    return pa.table({"id": ids, "customer": ["a"] * len(ids), "net": [10.0] * len(ids)})
""",
)

CROSSED = """
import anabranch as ab
import pyarrow as pa

@ab.asset
def x() -> pa.Table:
    return pa.table({"id": [1]})

@ab.asset
def z() -> pa.Table:
    return pa.table({"id": [1]})

@ab.asset
def r(x: pa.Table) -> pa.Table:
    return x

@ab.asset
def y(z: pa.Table) -> pa.Table:
    return z

defs = ab.Definitions(
    assets=[x, z, r, y],
    checks=[ab.references(x, "id", y, "id"), ab.references(z, "id", r, "id")],
)
"""

LEAKY = """
import anabranch as ab
import pyarrow as pa

class Api(ab.Resource):
    token: str

def etag(api: Api) -> str:
    raise RuntimeError("401 from https://api/?token=" + api.token)

@ab.asset(observe=etag)
def orders(api: Api) -> pa.Table:
    return pa.table({"id": [1]})

defs = ab.Definitions(assets=[orders], resources={"production": {"api": Api(token=ab.EnvVar("API_TOKEN"))}})
"""


def test_a_run_after_bad_data_fetches_anew_and_does_not_stay_with_what_failed(make_shop, monkeypatch):
    shop = make_shop(definitions=FEED)
    monkeypatch.setenv("FEED", "1,2,3")
    assert shop.run().ok
    monkeypatch.setenv("FEED", "1,1,3")
    assert not shop.run().ok
    monkeypatch.setenv("FEED", "1,2,3,4")
    mended = shop.run()
    assert mended.ok
    assert [row["id"] for row in shop.rows("orders", "production")] == [1, 2, 3, 4]


def test_refresh_fetches_a_source_again_also_where_a_failed_run_is_continued(make_shop, monkeypatch):
    broken = FEED.replace(
        "    kept = orders.filter",
        '    if "BROKEN" in __import__("os").environ: raise ValueError("no")\n    kept = orders.filter',
    )
    assert broken != FEED
    shop = make_shop(definitions=broken)
    monkeypatch.setenv("FEED", "1,2")
    monkeypatch.setenv("BROKEN", "1")
    assert not shop.run().ok
    monkeypatch.delenv("BROKEN")
    monkeypatch.setenv("FEED", "1,2,3")
    assert "orders" in ran(shop.run(refresh=["orders"]))


def test_what_failed_its_check_is_not_published_by_a_later_run_of_something_else(shop):
    good = shop.versions("production")
    shop.edit("shop/definitions.py", '"id": [1, 2, 3, 4]', '"id": [1, 1, 3, 4]')
    shop.commit()
    assert not shop.run().ok
    assert shop.run("customers", force=True).ok
    assert shop.versions("production") == good


def test_an_asset_that_failed_and_was_taken_out_of_the_code_is_not_published(shop):
    good = shop.versions("production")
    extra = 'extra = ab.sql("extra", "select 1 as id union all select 1", key="id")\n\ndefs = ab.Def'
    shop.edit("shop/definitions.py", "defs = ab.Def", extra)
    shop.edit("shop/definitions.py", "revenue, report]", "revenue, report, extra]")
    shop.edit("shop/definitions.py", "ab.unique(orders)", "ab.unique(orders), ab.unique(extra)")
    shop.commit()
    assert not shop.run().ok
    shop.git("revert", "--no-edit", "HEAD")
    shop.run()
    assert shop.versions("production") == good


def test_a_selected_run_is_judged_by_every_check_that_reads_what_it_changes(shop):
    before = shop.versions("production")
    shop.edit(
        "shop/definitions.py",
        '["a", "b", "c"], "name": ["Ada", "Bob", "Cyd"]',
        '["a", "b"], "name": ["Ada", "Bob"]',
    )
    shop.commit()
    done = shop.run("customers")
    assert not done.ok
    assert shop.versions("production") == before


def test_a_selection_without_what_a_check_compares_with_is_not_called_a_success_that_it_is_not(make_shop):
    shop = make_shop()
    done = shop.run("orders", "paid")
    assert done.ok
    assert ran(done) == ["orders", "paid"]


def test_checks_that_wait_for_each_others_readers_keep_no_asset_from_running(make_shop):
    shop = make_shop(definitions=CROSSED)
    assert shop.run().ok
    assert sorted(shop.versions("production")) == ["r", "x", "y", "z"]


def test_on_a_detached_head_no_rollback_guesses_production(shop):
    shop.edit("shop/prices.py", "0.2", "0.3")
    shop.commit()
    assert shop.run().ok
    shop.git("switch", "-q", "--detach")
    with pytest.raises(UndeterminedError):
        shop.project.rollback()
    assert shop.head() == 2


@pytest.mark.parametrize("in_process", [True, False])
def test_an_observe_function_that_fails_tells_no_secret(make_shop, monkeypatch, in_process):
    monkeypatch.setenv("API_TOKEN", "hunter2-secret")
    shop = make_shop(definitions=LEAKY)
    with pytest.raises(StepError) as caught:
        shop.run(in_process=in_process)
    assert "hunter2-secret" not in str(caught.value.to_dict())


def test_a_sandbox_is_neither_moved_nor_closed_under_a_run(shop):
    shop.switch("fix", new=True)
    shop.edit("shop/prices.py", "0.2", "0.3")
    assert shop.run().ok
    with hold(shop.project.context.catalog, "run:fix", "run 4711"):
        with pytest.raises(LeaseError, match="run 4711"):
            shop.project.sandbox.sync()
        with pytest.raises(LeaseError, match="run 4711"):
            shop.project.sandbox.close()
    assert ab.Project(shop.folder).sandbox.close().sandbox.name == "fix"


def test_a_table_that_becomes_a_file_does_not_pass_the_gate_as_no_loss(shop):
    shop.switch("fix", new=True)
    shop.edit(
        "shop/definitions.py",
        'customers() -> pa.Table:\n    return pa.table({"id": ["a", "b", "c"], "name": ["Ada", "Bob", "Cyd"]})',
        'people() -> pa.Table:\n    return pa.table({"id": ["a", "b", "c"], "name": ["Ada", "Bob", "Cyd"]})\n\n\n'
        '@ab.asset\ndef customers() -> ab.File:\n    return ab.File(b"Ada", name="customers.txt")',
    )
    shop.edit("shop/definitions.py", "join customers on customers.id", "join people on people.id")
    shop.edit("shop/definitions.py", "paid, customers, revenue", "paid, customers, people, revenue")
    shop.edit("shop/definitions.py", 'customers, "id")', 'people, "id")')
    shop.commit()
    assert shop.run().ok
    with pytest.raises(GateError) as caught:
        shop.promote()
    assert "it was a table and becomes a file" in str(caught.value.to_dict())
    assert "customers loses 3 of its 3 rows" in str(caught.value.to_dict())


def test_an_asset_that_takes_over_a_twins_result_keeps_its_own_row_key(shop):
    shop.switch("fix", new=True)
    twins = (
        'one = ab.sql("one", "select id from paid", key="id")\ntwo = ab.sql("two", "select id from paid")\n'
    )
    shop.edit("shop/definitions.py", "defs = ab", twins + "defs = ab")
    shop.edit("shop/definitions.py", "revenue, report]", "revenue, report, one, two]")
    assert shop.run().ok
    tables = shop.project.tables()
    assert tables["one"].location == tables["two"].location
    assert tables["one"].provenance.extra["row_key"] == ["id"]
    assert "row_key" not in tables["two"].provenance.extra
