"""What production has taken in since a sandbox was opened is never lost by the sandbox's promotion."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from story_shop import SETTINGS, Shop, build

DEFINITIONS = """
import pathlib

import anabranch as ab
import pyarrow as pa

from shop.prices import TAX

WORLD = pathlib.Path(__file__).parent.parent / ".anabranch" / "world"


@ab.asset({policy})
def fetched() -> pa.Table:
    return pa.table({{"n": [int(WORLD.read_text())]}})


@ab.asset
def made(fetched: pa.Table) -> pa.Table:
    return pa.table({{"n": fetched["n"], "with_tax": [fetched["n"][0].as_py() * (1 + TAX)]}})


defs = ab.Definitions(assets=[fetched, made])
"""


@pytest.fixture
def make(repo: Callable) -> Iterator[Callable[..., Shop]]:
    made: list[Shop] = []

    def make(policy: str = "", settings: str = "") -> Shop:
        repository = repo()
        (repository.path / ".anabranch").mkdir()
        shop = build(
            repository,
            settings=SETTINGS + settings,
            definitions=DEFINITIONS.replace("{policy}", policy).replace("{{", "{").replace("}}", "}"),
        )
        made.append(shop)
        world(shop, 1)
        assert shop.run().ok
        return shop

    yield make
    for shop in made:
        shop.project.close()
    for name in [n for n in sys.modules if n.partition(".")[0] == "shop"]:
        del sys.modules[name]


def world(shop: Shop, number: int) -> None:
    (shop.folder / ".anabranch" / "world").write_text(str(number))


def seen(shop: Shop) -> list[int]:
    return [shop.rows(table, "production")[0]["n"] for table in ("fetched", "made")]


@pytest.mark.parametrize("policy", ['refresh="always"', 'every="1ms"', ""])
def test_a_fetch_of_production_is_not_replaced_by_an_older_one_of_a_sandbox(
    make: Callable, policy: str
) -> None:
    shop = make(policy)
    shop.switch("fix", new=True)
    shop.edit("shop/definitions.py", "int(WORLD.read_text())", "1000 + int(WORLD.read_text())")
    shop.commit("Add a thousand")
    world(shop, 2)
    assert shop.run().ok
    assert shop.rows("made")[0]["n"] == 1002
    shop.switch("main")
    world(shop, 3)
    assert shop.run(refresh=["fetched"]).ok
    assert seen(shop) == [3, 3]
    shop.switch("fix")

    result = shop.promote()

    assert result.state == "published"
    assert seen(shop) == [1003, 1003]
    assert sorted(result.reran) == ["fetched", "made"]
    assert shop.promote().state == "nothing"


def test_moved_inputs_may_be_accepted_where_the_rule_says_so(make: Callable) -> None:
    shop = make('refresh="always"', '\n[environments.production.promote]\nstale_inputs = "accept"\n')
    shop.switch("fix", new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.5")
    shop.commit("Raise the tax")
    assert shop.run().ok
    shop.switch("main")
    world(shop, 3)
    assert shop.run().ok
    shop.switch("fix")

    result = shop.promote()

    assert (result.state, result.reran, result.tables) == ("published", (), ("made",))
    assert seen(shop) == [3, 1]
    assert shop.rows("made", "production")[0]["with_tax"] == 1.5
