"""A small Dagster project in a git repository, and what the tests do with it through anabranch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anabranch.project import Project
from git_repo import GitRepo

SETTINGS = """\
[project]
name = "shop"
definitions = "shop.definitions"

[environments.production]
git_branch = "main"
"""

DEFINITIONS = """\
import dagster as dg
import pandas as pd


@dg.asset(group_name="raw", kinds={"python"})
def orders(context: dg.AssetExecutionContext) -> pd.DataFrame:
    \"\"\"What was ordered.\"\"\"
    context.log.info("fetching orders")
    frame = pd.DataFrame({"order_id": [1, 2, 3], "city": ["Ulm", "Bonn", "Ulm"], "total": [10.0, 20.0, 30.0]})
    code = context.assets_def.code_versions_by_key[context.asset_key]
    context.add_output_metadata({"rows": len(frame), "code": code})
    return frame


@dg.asset
def big_orders(orders: pd.DataFrame) -> pd.DataFrame:
    return orders[orders["total"] > LIMIT]


@dg.asset
def by_city(big_orders: pd.DataFrame) -> pd.DataFrame:
    return big_orders.groupby("city", as_index=False)["total"].sum()


LIMIT = 15

defs = dg.Definitions(assets=[orders, big_orders, by_city])
"""


class Shop:
    """The repository, and anabranch's view of it.

    Attributes:
        repo: The repository.
    """

    def __init__(
        self, repo: GitRepo, files: Mapping[str, str] | None = None, settings: str = SETTINGS
    ) -> None:
        self.repo = repo
        given = {"shop/definitions.py": DEFINITIONS} if files is None else dict(files)
        self.repo.commit(
            {
                "anabranch.toml": settings,
                ".gitignore": ".anabranch/\n__pycache__/\n",
                "shop/__init__.py": "",
                **given,
            },
            "First",
        )
        self._project: Project | None = None

    @property
    def path(self) -> Path:
        return self.repo.path

    @property
    def project(self) -> Project:
        if self._project is None:
            self._project = Project(self.repo.path)
        return self._project

    def again(self) -> Project:
        """The project as a new process sees it."""
        self.close()
        return self.project

    def close(self) -> None:
        if self._project is not None:
            self._project.close()
            self._project = None

    def edit(self, file: str, old: str, new: str, *, commit: bool = True) -> None:
        text = (self.path / file).read_text()
        assert old in text, old
        self.repo.write({file: text.replace(old, new)})
        if commit:
            self.repo.commit(message=f"Edit {file}")

    def rows(self, key: str, ref: str | None = None) -> list[dict[str, Any]]:
        return self.project.table(key, ref).to_arrow().to_pylist()

    def run(self, **options: Any) -> Any:
        return self.again().run(**options)

    def actions(self) -> dict[str, str]:
        return {key: step.action for key, step in self.again().plan().steps.items()}


def cli(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs ``anabranch`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "anabranch", *arguments],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
