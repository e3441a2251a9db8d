"""The projects of two public guides, as their readers have them: production built, a pull request, its clone, and its end.

Hacker News and Snowflake are doubles on this machine; everything else is real.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster_shop import cli

from anabranch.errors import AnabranchError
from anabranch.project import Project
from doubles.hacker_news import HackerNews, needs_recording
from doubles.snowflake_double import Snowflake, needs_snowflake
from git_repo import GitRepo

PROJECTS = Path(__file__).resolve().parent.parent / "projects"
pytestmark = [needs_recording, needs_snowflake]


@pytest.fixture
def account() -> Iterator[Snowflake]:
    with Snowflake() as found:
        found.sql("create database PRODUCTION")
        found.sql("create schema PRODUCTION.HACKER_NEWS")
        yield found


@pytest.fixture
def api() -> Iterator[HackerNews]:
    with HackerNews() as found:
        yield found


@pytest.fixture
def make(
    repo: Callable[..., GitRepo], api: HackerNews, account: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], tuple[GitRepo, Callable[[], Project]]]]:
    for name, value in api.environment().items():
        monkeypatch.setenv(name, value)
    # Each keeps what the other has put onto PYTHONPATH.
    for name, value in account.environment().items():
        monkeypatch.setenv(name, value)
    opened: list[Project] = []

    def open_(name: str) -> tuple[GitRepo, Callable[[], Project]]:
        made = repo(name)
        shutil.copytree(
            PROJECTS / name, made.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
        made.commit({".gitignore": ".anabranch/\n__pycache__/\n"}, "As in the guide")

        def project() -> Project:
            opened.append(Project(made.path))
            return opened[-1]

        return made, project

    yield open_
    for project in opened:
        project.close()


def edit(repo: GitRepo, file: str, old: str, new: str) -> None:
    text = (repo.path / file).read_text()
    assert old in text
    repo.commit({file: text.replace(old, new)}, "Change")


def types(project: Project, key: str, ref: str | None = None) -> set[str]:
    return set(project.table(key, ref).to_arrow().column("type").to_pylist())


def warehouse(repo: GitRepo) -> dict[str, int]:
    """Production's files: sandboxes write elsewhere."""
    folder = repo.path / ".anabranch" / "warehouse"
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and "_sandboxes" not in path.parts
    }


def held(account: Snowflake, database: str = "PRODUCTION") -> dict[str, list[Any]]:
    """What a database of the account holds, table by table."""
    return {
        table: sorted(account.sql(f"select ID, TYPE from {database}.HACKER_NEWS.{table}"))
        for table in ("ITEMS", "COMMENTS", "STORIES")
    }


def databases(account: Snowflake) -> set[str]:
    return {row[1] for row in account.sql("show databases") if row[1].startswith("PRODUCTION")}


def test_from_development_to_production_with_a_sandbox_between(
    make: Callable, account: Snowflake, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SYSTEM_SNOWFLAKE_PASSWORD", "system-secret")
    repo, project = make("development_to_production")
    built = project().run()
    assert built.ok, [o.error for o in built.execution.outcomes.values()]
    assert types(project(), "comments") == {"comment"}
    assert types(project(), "stories") == {"story"}
    before = held(account)
    assert {kind for _, kind in before["COMMENTS"]} == {"comment"}
    assert len(before["ITEMS"]) == 40
    files = warehouse(repo)

    repo.branch("titles")
    edit(
        repo,
        "development_to_production/assets.py",
        'return items[items["type"] == "story"]',
        'return items[items["type"] == "story"].assign(title="(checked)")',
    )
    plan = {key: step.action for key, step in project().plan().steps.items()}
    assert plan == {"items": "reuse", "comments": "reuse", "stories": "run"}
    sent = len(account.statements())
    ran = project().run()
    assert ran.ok, [o.error for o in ran.execution.outcomes.values()]
    assert len(account.statements()) == sent, "a sandbox does not talk to Snowflake at all"
    assert {table.key for table in project().diff().tables if table.state == "changed"} == {"stories"}
    assert held(account) == before
    assert warehouse(repo) == files

    done = project().promote(yes=True)
    assert done.state == "published"
    assert set(project().table("stories", "production").to_arrow()["title"].to_pylist()) == {"(checked)"}
    titles = account.sql("select distinct TITLE from PRODUCTION.HACKER_NEWS.STORIES")
    assert titles == [("(checked)",)]


def test_a_pull_request_gets_a_clone_of_production_until_it_is_closed(
    make: Callable, account: Snowflake, monkeypatch: pytest.MonkeyPatch
):
    for name in ("ACCOUNT", "USER", "PASSWORD"):
        monkeypatch.setenv(f"SNOWFLAKE_{name}", f"guide-{name.lower()}")
    repo, project = make("branch_deployments")
    assert project().run().ok
    before, files = held(account), warehouse(repo)
    assert databases(account) == {"PRODUCTION"}

    repo.branch("feature")
    monkeypatch.setenv("ANABRANCH_PULL_REQUEST", "42")
    opened = project().sandbox.open()
    assert opened.new
    assert databases(account) == {"PRODUCTION", "PRODUCTION_CLONE_42"}
    assert held(account, "PRODUCTION_CLONE_42") == before

    edit(
        repo,
        "branch_deployments/assets.py",
        'return items[items["type"] == "comment"]',
        'return items[items["type"] == "comment"].head(5)',
    )
    ran = project().run()
    assert ran.ok, [o.error for o in ran.execution.outcomes.values()]
    states = {key: outcome.state for key, outcome in ran.execution.outcomes.items()}
    assert states == {"items": "reused", "comments": "ran", "stories": "reused"}
    assert project().table("comments").rows == 5
    assert held(account) == before, "production is as it was"
    assert held(account, "PRODUCTION_CLONE_42") == before
    assert warehouse(repo) == files

    edit(
        repo,
        "anabranch.toml",
        "[sandboxes.on_open]",
        '[environments.production.promote]\nrows_removed = "any"\n\n[sandboxes.on_open]',
    )
    assert project().promote(yes=True).state == "published"
    assert len(held(account)["COMMENTS"]) == 5
    assert held(account)["ITEMS"] == before["ITEMS"]

    monkeypatch.delenv("ANABRANCH_PULL_REQUEST")
    repo.switch("main")
    repo.git("merge", "-q", "feature")
    project().sandbox.close("feature")
    assert databases(account) == {"PRODUCTION"}
    assert project().sandbox.list().sandboxes == ()


def test_a_sandbox_whose_opening_job_fails_is_not_left_open(
    make: Callable, account: Snowflake, monkeypatch: pytest.MonkeyPatch
):
    for name in ("ACCOUNT", "USER", "PASSWORD"):
        monkeypatch.setenv(f"SNOWFLAKE_{name}", f"guide-{name.lower()}")
    repo, project = make("branch_deployments")
    repo.branch("no-pull-request")
    with pytest.raises(AnabranchError, match=r"clone_prod failed: .*DAGSTER_CLOUD_PULL_REQUEST_ID"):
        project().sandbox.open()
    assert project().sandbox.list().sandboxes == ()
    assert databases(account) == {"PRODUCTION"}
    done = cli(repo.path, "sandbox", "open")
    assert done.returncode != 0
    assert "DAGSTER_CLOUD_PULL_REQUEST_ID" in done.stderr
