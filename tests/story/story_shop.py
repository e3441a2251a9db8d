"""A small real project in a real git repository, for tests that walk the whole way from a branch to production."""

from __future__ import annotations

from pathlib import Path

import anabranch as ab

SETTINGS = """
[project]
name = "shop"
definitions = "shop.definitions:defs"

[environments.production]
git_branch = "main"
"""

DEFINITIONS = '''
import anabranch as ab
import pyarrow as pa
import pyarrow.compute as pc

from shop.prices import with_tax


@ab.asset(key="id")
def orders() -> pa.Table:
    """What was ordered."""
    return pa.table({"id": [1, 2, 3, 4], "customer": ["a", "b", "a", "c"], "net": [10.0, 20.0, 30.0, None]})


@ab.asset(key="id")
def paid(orders: pa.Table) -> pa.Table:
    kept = orders.filter(pc.is_valid(orders["net"]))
    return kept.append_column("gross", with_tax(kept["net"]))


@ab.asset(key="id")
def customers() -> pa.Table:
    return pa.table({"id": ["a", "b", "c"], "name": ["Ada", "Bob", "Cyd"]})


revenue = ab.sql("revenue", """
    select customer, sum(gross) as revenue from paid group by customer
""", key="customer")

report = ab.sql("report", """
    select name, revenue from revenue join customers on customers.id = revenue.customer
""", key="name")

defs = ab.Definitions(
    assets=[orders, paid, customers, revenue, report],
    checks=[ab.not_null(paid, "gross"), ab.unique(orders), ab.references(orders, "customer", customers, "id")],
)
'''

PRICES = """
import pyarrow.compute as pc

TAX = 0.2


def with_tax(net):
    # the tax is on top
    return pc.multiply(net, 1 + TAX)
"""


class Shop:
    """The project, its repository, and short words for what the stories do."""

    def __init__(self, repo, folder: Path) -> None:
        self.repo = repo
        self.folder = folder
        self.project = ab.Project(folder)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new))
        self.project.refresh()

    def commit(self, message: str = "Change") -> str:
        done = self.repo.commit({}, message)
        self.project.refresh()
        return done

    def switch(self, branch: str, *, new: bool = False) -> None:
        self.repo.git("switch", "-q", *(["-c"] if new else []), branch)
        self.project.refresh()

    def git(self, *arguments: str) -> str:
        out = self.repo.git(*arguments)
        self.project.refresh()
        return out

    def run(self, *select: str, **options):
        return self.project.run(select, **{"in_process": True, **options})

    def promote(self, *names: str, **options):
        return self.project.promote(*names, **{"yes": True, "in_process": True, **options})

    def actions(self, **options) -> dict[str, str]:
        return {key: step.action for key, step in self.project.plan(**options).steps.items()}

    def rows(self, table: str, at: str | None = None) -> list[dict]:
        self.project.context.refresh()
        return self.project.table(table, at=at).to_arrow().to_pylist()

    def versions(self, at: str) -> dict[str, str]:
        self.project.context.refresh()
        return {key: entry.version for key, entry in self.project.tables(at).items()}

    def head(self, name: str = "production") -> int:
        return self.project.context.catalog.branch(name).head


def ran(result) -> list[str]:
    """The assets whose code was executed."""
    return sorted(o.key for o in result.execution.outcomes.values() if o.state == "ran")


def build(repo, *, settings: str = SETTINGS, definitions: str = DEFINITIONS, prices: str = PRICES) -> Shop:
    repo.commit(
        {
            "anabranch.toml": settings,
            ".gitignore": ".anabranch/\n__pycache__/\n",
            "shop/__init__.py": "",
            "shop/definitions.py": definitions,
            "shop/prices.py": prices,
        },
        "Start",
    )
    return Shop(repo, repo.path)
