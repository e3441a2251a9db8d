"""A small real project in a real git repository, and the command line on it: in this process, or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anabranch.cli.main import main

SETTINGS = """[project]
name = "shop"
definitions = "shop.definitions:defs"

[environments.production]
git_branch = "main"

[run]
in_process = true
"""

DEFINITIONS = """import pyarrow as pa

import anabranch as ab


@ab.asset(key=["id"])
def orders() -> pa.Table:
    return pa.table({"id": [1, 2, 3], "item": ["a", "b", "a"], "amount": [10.0, 20.0, 30.0]})


@ab.asset(key=["item"])
def totals(orders: pa.Table) -> pa.Table:
    return orders.group_by("item").aggregate([("amount", "sum")]).rename_columns(["item", "amount"])


biggest = ab.sql("biggest", "select item from totals order by amount desc limit 1")

defs = ab.Definitions(
    assets=[orders, totals, biggest],
    checks=[ab.not_null(orders, "amount"), ab.row_count(totals, minimum=1, blocking=False)],
)
"""


@dataclass
class Done:
    """What a call of the command line came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def last(self) -> str:
        return self.out.rstrip().splitlines()[-1]


class Shop:
    """The project, and the command line on it."""

    def __init__(self, repo: Any, capture: Any) -> None:
        self.repo = repo
        self.path: Path = repo.path
        self._capture = capture

    def __call__(self, *arguments: str) -> Done:
        """Runs a command in this process, in the project's folder."""
        before = Path.cwd()
        self._capture.readouterr()
        os.chdir(self.path)
        try:
            code = main(list(arguments))
        finally:
            os.chdir(before)
        out, err = self._capture.readouterr()
        return Done(code, out, err)

    def ok(self, *arguments: str) -> Done:
        """As a call, which must succeed."""
        done = self(*arguments)
        assert done.code == 0, done
        return done

    def process(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """Starts a command in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "anabranch", *arguments],
            cwd=self.path,
            text=True,
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "start_new_session": True,
                **more,
            },
        )

    def apart(self, *arguments: str, **more: Any) -> Done:
        """Runs a command in a process of its own."""
        process = self.process(*arguments, **more)
        out, err = process.communicate(timeout=120)
        return Done(process.returncode, out, err)

    def edit(self, old: str, new: str, *, commit: bool = True) -> None:
        """Edits the definitions, and commits."""
        file = self.path / "shop/definitions.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        if commit:
            self.repo.commit(message=f"{old} becomes {new}"[:60])

    def branch(self, name: str = "fix", old: str = "30.0", new: str = "31.5") -> None:
        """Opens a git branch with an edit."""
        self.repo.branch(name)
        self.edit(old, new)


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "ANABRANCH_REF", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    """What the project's loader leaves in this process goes with the test."""
    path, finders = list(sys.path), list(sys.meta_path)
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    for name in [name for name in sys.modules if name == "shop" or name.startswith("shop.")]:
        del sys.modules[name]


@pytest.fixture
def make_shop(repo: Callable[..., Any], capsys: Any) -> Callable[..., Shop]:
    """Makes the project; with other definitions or settings if given."""

    def make(definitions: str = DEFINITIONS, settings: str = SETTINGS) -> Shop:
        made = repo(
            "shop",
            files={
                "anabranch.toml": settings,
                "shop/__init__.py": "",
                "shop/definitions.py": definitions,
                ".gitignore": ".anabranch/\n__pycache__/\n",
            },
        )
        return Shop(made, capsys)

    return make


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    """The project, never run."""
    return make_shop()


@pytest.fixture
def built(shop: Shop) -> Shop:
    """The project, run once in production."""
    shop.ok("run")
    return shop


@pytest.fixture
def sandboxed(built: Shop) -> Shop:
    """On the branch ``fix``, with an edit that was committed and run."""
    built.branch()
    built.ok("run")
    return built
