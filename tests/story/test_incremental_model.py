"""Random histories of data, code, sandboxes, promotions and rollbacks: what was brought up to date is what a rebuild makes."""

from __future__ import annotations

import random

import pytest
from story_shop import Shop
from test_incremental import DEFINITIONS, World, canon

from effort import effort

STEPS = 14


class History:
    """One project, and what may happen to it. After each step that runs, every table is what its inputs say."""

    def __init__(self, shop: Shop, chance: random.Random) -> None:
        self.world = World(shop)
        self.shop = shop
        self.chance = chance
        self.told: list[str] = []
        self.tax = {"main": 0.25}
        self.branch = "main"
        self.next = 4
        self.rolled_back = False
        self.run()

    def step(self) -> None:
        sandboxed = self.branch != "main"
        moves = [self.append, self.append, self.edit, self.delete, self.nothing, self.run, self.force]
        moves += (
            [self.code, self.sync, self.promote, self.give_up] if sandboxed else [self.open, self.roll_back]
        )
        self.chance.choice(moves)()

    # data

    def append(self) -> None:
        self.told.append("append")
        more = [self._order() for _ in range(self.chance.randint(1, 3))]
        self.world.gets(*more)
        self.run()

    def _order(self) -> tuple[int, str, float]:
        self.next += 1
        return self.next, self.chance.choice("abc"), float(self.chance.randint(1, 30))

    def edit(self) -> None:
        self.told.append("edit")
        orders = list(self.world.orders)
        if orders:
            at = self.chance.randrange(len(orders))
            orders[at] = (orders[at][0], self.chance.choice("abc"), orders[at][2] + 1)
        self.world.holds(*orders)
        self.run()

    def delete(self) -> None:
        self.told.append("delete")
        orders = list(self.world.orders)
        if orders:
            orders.pop(self.chance.randrange(len(orders)))
        self.world.holds(*orders)
        self.run()

    def nothing(self) -> None:
        """The outside in another order is the same outside."""
        self.told.append("shuffle")
        orders = list(self.world.orders)
        self.chance.shuffle(orders)
        self.world.holds(*orders)
        self.run()

    # code and refs

    def code(self) -> None:
        self.told.append("code")
        old = self.tax[self.branch]
        self.tax[self.branch] = old + 0.25
        self.shop.edit("shop/definitions.py", f"TAX = {old}", f"TAX = {old + 0.25}")
        self.shop.commit()
        self.run()

    def open(self) -> None:
        self.told.append("open")
        self.branch = f"s{len(self.told)}"
        self.tax[self.branch] = self.tax["main"]
        self.shop.switch(self.branch, new=True)
        self.run()

    def sync(self) -> None:
        """Production moves on, and the sandbox with it."""
        self.told.append("sync")
        branch, self.branch = self.branch, "main"
        self.shop.switch("main")
        self.append()
        self.branch = branch
        self.shop.switch(branch)
        self.shop.project.sandbox.sync()
        self.run(refresh=False)

    def promote(self) -> None:
        self.told.append("promote")
        self.shop.promote()
        self.check("production", self.tax[self.branch])
        self.shop.switch("main")
        self.shop.git("merge", "-q", self.branch)
        self.tax["main"] = self.tax[self.branch]
        self.branch = "main"
        self.rolled_back = False
        self.run()

    def give_up(self) -> None:
        self.told.append("give up")
        self.shop.switch("main")
        self.branch = "main"
        self.run()

    def roll_back(self) -> None:
        head = self.shop.head()
        if head < 2:
            return
        to = self.chance.randint(1, head - 1)
        self.told.append(f"roll back to {to} of {head}")
        self.shop.project.rollback(to=f"production@{to}")
        self.run()

    # what must hold

    def force(self) -> None:
        self.told.append("force")
        before = self.shop.versions(self.place) if self.chance.random() < 0.5 else None
        assert self.shop.run(force=True, resume=self.branch == "main").ok, self.told
        self.check(self.place, self.tax[self.branch])
        if before is not None and self.shop.versions(self.place)["orders"] == before["orders"]:
            assert self.shop.versions(self.place) == before, self.told

    def run(self, *, refresh: bool = True) -> None:
        self.told.append(f"run {self.branch}")
        options = {"refresh": ["orders"]} if refresh and self.branch != "main" else {"resume": True}
        result = self.shop.run(**options)
        assert result.ok, (self.told, [o.error for o in result.execution.failed])
        self.check(self.place, self.tax[self.branch])

    @property
    def place(self) -> str:
        return "production" if self.branch == "main" else self.branch

    def check(self, at: str, tax: float) -> None:
        orders = [(row["id"], row["customer"], row["net"]) for row in self.shop.rows("orders", at)]
        seen, self.world.orders = self.world.orders, orders
        expected = self.world.expected(tax)
        self.world.orders = seen
        for table, rows in expected.items():
            assert canon(self.shop.rows(table, at)) == canon(rows), (table, at, self.told)


@pytest.mark.parametrize("seed", range(effort(4)))
def test_whatever_happens_incremental_tables_are_what_a_rebuild_makes(make_shop, seed: int) -> None:
    history = History(make_shop(definitions=DEFINITIONS), random.Random(seed))
    for _ in range(STEPS):
        history.step()
    assert any("since" in call for call in history.world.calls()), "nothing was brought up to date"
