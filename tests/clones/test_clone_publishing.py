"""A pull request's whole story with a Snowflake database and a lakeFS branch: cloned, worked on, published, dropped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import anabranch as ab
from anabranch.errors import AnabranchError, ConflictError, PromotionError
from doubles.lakefs_server import LakeFS
from doubles.snowflake_double import Snowflake, needs_snowflake

pytestmark = [needs_snowflake, pytest.mark.slow]

SETTINGS = """[project]
name = "shop"
definitions = "publishing_pipeline.definitions:defs"

[environments.production]
git_branch = "main"

[run]
in_process = true

[clones.warehouse]
provider = "snowflake"
source = "PRODUCTION"
name = "PRODUCTION_CLONE_{{pull_request}}"
connection = {{ account = "acme", user = "loader", password = "${{SNOWFLAKE_PASSWORD}}" }}
promote = ["HN.ITEMS", "HN.COMMENTS"]

[clones.lake]
provider = "lakefs"
source = "shop/main"
host = "{url}"
access_key_id = "{key}"
secret_access_key = "${{LAKEFS_SECRET}}"
promote = true
"""

DEFINITIONS = """import anabranch as ab
import pyarrow as pa


@ab.asset(key="id")
def items() -> pa.Table:
    return pa.table({"id": [1, 2]})


defs = ab.Definitions(assets=[items])
"""


class Story:
    def __init__(self, repo: Any, account: Snowflake, lake: LakeFS) -> None:
        self.repo, self.account, self.lake = repo, account, lake
        self.project = ab.Project(repo.path)

    def items(self, database: str, table: str = "ITEMS") -> list[int]:
        return sorted(a for (a,) in self.account.sql(f"select id from {database}.HN.{table}"))

    def databases(self) -> set[str]:
        return {row[1] for row in self.account.sql("show databases")}

    def change(self) -> None:
        """What the branch does: to its code, to its copy of the database, and to its branch of the lake."""
        file = Path(self.repo.path) / "publishing_pipeline" / "definitions.py"
        file.write_text(file.read_text().replace("[1, 2]", "[1, 2, 3]"))
        self.repo.git("commit", "-qam", "More")
        self.project.refresh()
        self.project.run()
        self.account.sql("insert into PRODUCTION_CLONE_42.HN.ITEMS values (3)")
        self.lake.write("main_clone_fix", {"items/3": "three"}, commit=False)


@pytest.fixture
def story(repo: Callable[..., Any], account: Snowflake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    account.mend()
    account.redirect(monkeypatch)
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", "hunter2-snow")
    account.sql("create database PRODUCTION", "create schema HN", "create table ITEMS as select 1 as id", "create table COMMENTS as select 7 as id")  # fmt: skip
    account.sql("create database SOMEBODYS")
    with LakeFS("shop") as lake:
        lake.write("main", {"items/1": "one"})
        monkeypatch.setenv("LAKEFS_SECRET", lake.secret)
        made = repo()
        made.commit(
            {
                "anabranch.toml": SETTINGS.format(url=lake.url, key=lake.key),
                ".gitignore": ".anabranch/\n__pycache__/\n",
                "publishing_pipeline/__init__.py": "",
                "publishing_pipeline/definitions.py": DEFINITIONS,
            },
            "First",
        )
        story = Story(made, account, lake)
        assert story.project.run().ok
        made.git("switch", "-q", "-c", "fix")
        monkeypatch.setenv("ANABRANCH_PULL_REQUEST", "42")
        story.project.refresh()
        yield story
        story.project.close()
    for name in story.databases():
        account.mend()
        account.sql(f"drop database {name}")
    for name in [n for n in sys.modules if n.partition(".")[0] == "publishing_pipeline"]:
        del sys.modules[name]


def test_a_pull_request_is_cloned_worked_on_published_and_dropped(story: Story) -> None:
    story.project.run()
    assert story.databases() == {"PRODUCTION", "PRODUCTION_CLONE_42", "SOMEBODYS"}
    story.change()
    assert (story.items("PRODUCTION"), story.lake.holds("main")) == ([1], {"items/1": "one"})
    rehearsed = story.project.promote(dry_run=True)
    assert rehearsed.clones == ("warehouse", "lake")
    assert story.items("PRODUCTION") == [1]
    result = story.project.promote(yes=True)
    assert result.state == "published"
    assert result.clones == ("PRODUCTION.HN.ITEMS", "PRODUCTION.HN.COMMENTS", "shop/main")
    assert story.items("PRODUCTION") == [1, 3]
    assert story.lake.holds("main") == {"items/1": "one", "items/3": "three"}
    story.project.sandbox.close("fix")
    assert story.databases() == {"PRODUCTION", "SOMEBODYS"}
    assert (set(story.lake.branches), story.lake.tags) == ({"main"}, {})


def test_publishing_again_brings_what_was_done_since_and_only_with_a_yes(story: Story) -> None:
    story.project.run()
    story.change()
    story.project.promote(yes=True)
    story.account.sql("insert into PRODUCTION_CLONE_42.HN.ITEMS values (4)")
    with pytest.raises(PromotionError, match="was not confirmed"):
        story.project.promote()
    assert story.items("PRODUCTION") == [1, 3]
    again = story.project.promote(yes=True)
    assert (again.state, again.clones) == ("nothing", ("PRODUCTION.HN.ITEMS", "PRODUCTION.HN.COMMENTS"))
    assert story.items("PRODUCTION") == [1, 3, 4]


def test_what_the_source_has_changed_meanwhile_stops_the_whole_promotion(story: Story) -> None:
    story.project.run()
    story.change()
    story.account.sql("insert into PRODUCTION.HN.COMMENTS values (8)")
    with pytest.raises(ConflictError, match=r"HN\.COMMENTS was changed"):
        story.project.promote(yes=True)
    assert story.items("PRODUCTION") == [1]
    assert story.project.log("production").commits[0].number == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_promotion_that_broke_between_two_tables_is_finished_by_the_same_command(
    story: Story, *, after: bool
) -> None:
    story.project.run()
    story.change()
    story.account.sql("insert into PRODUCTION_CLONE_42.HN.COMMENTS values (9)")
    story.account.fail("^CREATE OR REPLACE TABLE .*COMMENTS", after=after)
    with pytest.raises(AnabranchError, match="is published, but not all of its clones") as caught:
        story.project.promote(yes=True)
    assert "anabranch promote --yes finishes" in (caught.value.hint or "")
    assert story.items("PRODUCTION") == [1, 3]
    again = story.project.promote(yes=True)
    assert again.clones == ("PRODUCTION.HN.ITEMS", "PRODUCTION.HN.COMMENTS", "shop/main")
    assert story.items("PRODUCTION", "COMMENTS") == [7, 9]
    assert "items/3" in story.lake.holds("main")


def test_a_conflict_in_the_lake_is_told_once_and_nothing_is_lost(story: Story) -> None:
    story.project.run()
    story.change()
    story.lake.write("main", {"items/3": "theirs"})
    with pytest.raises(ConflictError, match="conflict: items/3"):
        story.project.promote(yes=True)
    assert story.lake.holds("main")["items/3"] == "theirs"
    assert len([call for call in story.lake.calls if call.startswith("POST") and "/merge/" in call]) == 1
