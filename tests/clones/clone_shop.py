"""A small project in a real git repository whose assets read a database outside the catalog, of which sandboxes get clones."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anabranch as ab
from anabranch.cli.main import main

SETTINGS = """[project]
name = "shop"
definitions = "clone_shop_pipeline.definitions:defs"

[environments.production]
git_branch = "main"

[run]
in_process = true

[clones.sales]
provider = "sqlite"
source = "data/sales.db"
"""

DEFINITIONS = """import sqlite3
from contextlib import closing

import anabranch as ab
import pyarrow as pa


class Sales(ab.Resource):
    path: str
    name: str

    def orders(self) -> list[tuple[int, float]]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("insert into visits values (?)", (self.name,))
            return connection.execute("select id, amount from orders order by id").fetchall()


@ab.asset(key="id")
def orders(sales: Sales) -> pa.Table:
    rows = sales.orders()
    return pa.table({"id": [row[0] for row in rows], "amount": [row[1] for row in rows]})


defs = ab.Definitions(
    assets=[orders],
    resources={"sales": Sales(path=ab.CloneOf("sales"), name=ab.CloneOf("sales", "name"))},
)
"""


@dataclass
class CloneShop:
    """The project, its repository, and short words for what the stories do."""

    repo: Any
    folder: Path

    def project(self) -> ab.Project:
        return ab.Project(self.folder)

    def cli(self, *words: str) -> tuple[int, Any]:
        """Exit code, and what ``--json`` printed."""
        code, text = self.text("--json", *words)
        return code, json.loads(text) if text.strip() else None

    def text(self, *words: str) -> tuple[int, str]:
        """Exit code, and what was printed."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = main(["-C", str(self.folder), *words])
        return code, out.getvalue()

    @property
    def source(self) -> Path:
        return self.folder / "data" / "sales.db"

    @property
    def clones(self) -> set[str]:
        folder = self.folder / ".anabranch" / "clones"
        return {file.name for file in folder.iterdir()} if folder.is_dir() else set()

    def sql(self, file: Path, statement: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()

    def clone(self, sandbox: str) -> Path:
        return self.folder / ".anabranch" / "clones" / f"sales_clone_{sandbox}.db"

    def settings(self, old: str, new: str) -> None:
        file = self.folder / "anabranch.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def switch(self, branch: str, *, new: bool = True) -> None:
        self.repo.git("switch", "-q", *(["-c"] if new else []), branch)


def build(repo: Any) -> CloneShop:
    repo.commit(
        {
            "anabranch.toml": SETTINGS,
            "clone_shop_pipeline/__init__.py": "",
            "clone_shop_pipeline/definitions.py": DEFINITIONS,
            ".gitignore": ".anabranch/\ndata/\n__pycache__/\n",
        },
        "First",
    )
    shop = CloneShop(repo, repo.path)
    shop.source.parent.mkdir()
    shop.sql(shop.source, "create table orders (id integer, amount real)")
    shop.sql(shop.source, "create table visits (who text)")
    shop.sql(shop.source, "insert into orders values (1, 10), (2, 20)")
    return shop
