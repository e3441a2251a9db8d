"""The worlds of clones: files in a folder, and one Postgres server for each test process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clone_shop import CloneShop, build
from clone_worlds import WORLDS, World

from doubles.postgres_server import Server, postgres_server
from doubles.snowflake_double import Snowflake


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def account() -> Iterator[Snowflake]:
    with Snowflake() as made:
        yield made


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    kind = request.param
    given: tuple[Any, ...] = (request.getfixturevalue("postgres"),) if kind.startswith("postgres") else ()
    if kind == "snowflake":
        given = (request.getfixturevalue("account"),)
        given[0].redirect(request.getfixturevalue("monkeypatch"))
    made = WORLDS[kind](tmp_path, *given)
    yield made
    made.close()


@pytest.fixture
def shop(repo: Callable, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloneShop]:
    for name in [
        name for name in os.environ if name.startswith(("GITHUB_", "CI_", "DAGSTER_", "ANABRANCH_"))
    ]:
        monkeypatch.delenv(name)
    yield build(repo())
    for name in [n for n in sys.modules if n.partition(".")[0] == "clone_shop_pipeline"]:
        del sys.modules[name]
