"""An existing Dagster project under anabranch: planned, run, compared, promoted and rolled back like any other."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from dagster_shop import DEFINITIONS, SETTINGS, Shop

from anabranch.errors import IsolationError, LoadError


def states(result) -> dict[str, str]:
    return {key: outcome.state for key, outcome in result.execution.outcomes.items()}


def test_a_project_is_built_branched_compared_promoted_and_rolled_back(shop: Shop):
    built = shop.run()
    assert built.ok, built.to_dict()
    assert shop.rows("by_city") == [{"city": "Bonn", "total": 20.0}, {"city": "Ulm", "total": 30.0}]
    before = shop.project.context.resolve("production")
    assert set(shop.actions().values()) == {"reuse"}

    shop.repo.branch("all-orders")
    assert set(shop.actions().values()) == {"reuse"}, "a sandbox inherits what production has built"
    shop.edit("shop/definitions.py", "LIMIT = 15", "LIMIT = 5")
    assert shop.actions() == {"orders": "reuse", "big_orders": "run", "by_city": "depends"}
    reason = str(shop.project.plan().steps["big_orders"].reasons[0])
    assert "constant shop.definitions.LIMIT changed" in reason
    assert states(shop.run()) == {"orders": "reused", "big_orders": "ran", "by_city": "ran"}
    assert shop.rows("by_city")[1] == {"city": "Ulm", "total": 40.0}
    assert shop.rows("by_city", "production")[1] == {"city": "Ulm", "total": 30.0}
    changed = {table.key for table in shop.project.diff().tables if table.state == "changed"}
    assert changed == {"big_orders", "by_city"}

    promoted = shop.again().promote(yes=True)
    assert promoted.state == "published"
    assert shop.rows("by_city", "production")[1] == {"city": "Ulm", "total": 40.0}

    shop.repo.switch("main")
    shop.again().rollback(f"production@{before.number}")
    assert shop.rows("by_city", "production")[1] == {"city": "Ulm", "total": 30.0}
    assert shop.project.context.resolve("production").number > before.number


def test_what_dagster_tells_is_in_the_steps_record(shop: Shop):
    assert shop.run().ok
    context = shop.project.context
    facts = context.entry("orders", context.resolve("production")).provenance.extra["facts"]
    assert facts["metadata"]["rows"] == 3
    described = context.workspace.pipeline.definitions.described["assets"]
    assert facts["metadata"]["code"] == next(a["code"]["hash"] for a in described if a["name"] == "orders")
    assert facts["type"] == "pandas.DataFrame"
    (events,) = (shop.path / ".anabranch" / "runs").glob("*/orders.dagster.jsonl")
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert {"ASSET_MATERIALIZATION", "STEP_SUCCESS"} <= {each["event"] for each in told}
    assert any("fetching orders" in each["message"] for each in told)
    (log,) = (shop.path / ".anabranch" / "runs").glob("*/orders.log")
    assert "fetching orders" in log.read_text()


def test_comments_groups_and_metadata_are_no_change(shop: Shop):
    assert shop.run().ok
    shop.repo.branch("tidy")
    shop.edit("shop/definitions.py", 'group_name="raw"', 'group_name="other", owners=["ada@example.com"]')
    shop.edit("shop/definitions.py", "LIMIT = 15", "LIMIT = 15  # as ever")
    assert set(shop.actions().values()) == {"reuse"}


def test_a_failure_is_told_at_the_users_own_line(make_shop: Callable[..., Shop]):
    text = DEFINITIONS.replace('return big_orders.groupby("city"', 'return helper(big_orders).groupby("city"')
    text = text.replace(
        "LIMIT = 15", 'LIMIT = 15\n\n\ndef helper(frame):\n    raise KeyError("no such town")'
    )
    shop = make_shop({"shop/definitions.py": text})
    result = shop.run()
    assert states(result) == {"orders": "ran", "big_orders": "ran", "by_city": "failed"}
    error = result.execution.outcomes["by_city"].error
    assert error["type"] == "KeyError"
    assert error["place"].startswith("shop/definitions.py:")
    assert "helper" in error["traceback"]
    assert "dagster/_core" not in error["traceback"]


def test_a_project_that_can_not_be_imported_says_where(make_shop: Callable[..., Shop]):
    shop = make_shop({"shop/definitions.py": DEFINITIONS.replace("LIMIT = 15", "LIMIT = undefined_name")})
    with pytest.raises(LoadError, match="undefined_name") as caught:
        shop.again().plan()
    assert caught.value.place.startswith("shop/definitions.py:")


def test_definitions_may_be_imported_from_another_module_of_the_project(make_shop: Callable[..., Shop]):
    settings = SETTINGS.replace("shop.definitions", "shop")
    shop = make_shop(
        {"shop/__init__.py": "from shop.inner import defs\n", "shop/inner.py": DEFINITIONS}, settings
    )
    assert set(shop.actions()) == {"orders", "big_orders", "by_city"}
    shop.edit("shop/inner.py", "[orders, big_orders, by_city]", "[orders, big_orders]")
    assert set(shop.actions()) == {"orders", "big_orders"}


RESOURCES = """\
import os

import dagster as dg
import pandas as pd


class Api(dg.ConfigurableResource):
    url: str
    token: str

    def fetch(self):
        return [1, 2, 3]


class Limits(dg.ConfigurableResource):
    most: int


@dg.asset
def numbers(api: Api, limits: Limits) -> pd.DataFrame:
    return pd.DataFrame({"n": api.fetch()[: limits.most], "seen": [os.environ.get("PROD_TOKEN", "none")] * 2})


where = os.environ["DAGSTER_DEPLOYMENT"]
token = {"production": dg.EnvVar("PROD_TOKEN"), "sandbox": dg.EnvVar("SANDBOX_TOKEN")}[where]

defs = dg.Definitions(
    assets=[numbers],
    resources={"api": Api(url="https://example.com", token=token), "limits": Limits(most=2)},
)
"""


def test_in_a_sandbox_a_resource_is_refused_until_it_is_allowed(
    make_shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROD_TOKEN", "production-secret")
    monkeypatch.setenv("SANDBOX_TOKEN", "sandbox-secret")
    shop = make_shop({"shop/definitions.py": RESOURCES})
    assert shop.run().ok, "an environment uses its own resources"
    assert shop.rows("numbers")[0]["seen"] == "production-secret"
    shop.repo.branch("more")
    shop.edit("shop/definitions.py", "[1, 2, 3]", "[4, 5, 6]")
    assert shop.actions() == {"numbers": "run"}, "the code of resources is code of the asset"
    with pytest.raises(IsolationError, match=r"the resource api, a shop\.definitions\.Api") as caught:
        shop.run()
    assert 'api = "allow"' in caught.value.hint
    assert [box.name for box in shop.project.sandbox.list().sandboxes] == ["more"]

    shop.repo.commit({"anabranch.toml": SETTINGS + '\n[sandboxes.resources]\napi = "allow"\n'}, "Allow it")
    result = shop.run()
    assert result.ok, result.to_dict()
    assert shop.rows("numbers")[0] == {"n": 4, "seen": "none"}, "production's secret is not in the step"
