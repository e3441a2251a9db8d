"""A Dagster project in many styles: ops that make several assets, graphs, partitions, checks, old and new resources."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anabranch.errors import IsolationError
from anabranch.project import Project
from git_repo import GitRepo

PROJECT = Path(__file__).resolve().parent.parent / "projects" / "many_styles"
MODULE = "many_styles/assets.py"


class Styles:
    """The project in a repository of its own."""

    def __init__(self, repo: GitRepo) -> None:
        self.repo = repo
        shutil.copytree(PROJECT, repo.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        repo.commit({".gitignore": ".anabranch/\n__pycache__/\nraw_files/\n"}, "First")
        self.opened: list[Project] = []

    @property
    def project(self) -> Project:
        self.opened.append(Project(self.repo.path))
        return self.opened[-1]

    def edit(self, old: str, new: str, file: str = MODULE) -> None:
        text = (self.repo.path / file).read_text()
        assert old in text, old
        self.repo.commit({file: text.replace(old, new)}, "Change")

    def rows(self, key: str, ref: str | None = None) -> list[dict]:
        return self.project.table(key, ref).to_arrow().to_pylist()


@pytest.fixture
def styles(repo: Callable[..., GitRepo]) -> Iterator[Styles]:
    found = Styles(repo())
    yield found
    for project in found.opened:
        project.close()


def test_every_style_runs_and_is_branched(styles: Styles):
    built = styles.project.run()
    assert built.ok, [outcome.error for outcome in built.execution.outcomes.values()]
    assert {key: outcome.state for key, outcome in built.execution.outcomes.items()} == dict.fromkeys(
        ["raw.readings", "by_day", "converted", "warm", "cold", "threshold", "coldest", "announced"], "ran"
    )
    assert {key: check.passed for key, check in built.execution.checks.items()} == {
        "warm:some_rows": True,
        "coldest:one_row_each": True,
        "warm:not_too_warm": True,
    }
    assert "6 °C" in built.execution.checks["warm:not_too_warm"].result.message
    context = styles.project.context
    head = context.resolve("production")

    def facts(key: str) -> dict:
        return context.entry(key, head).provenance.extra["facts"]

    # One execution has made what one op makes.
    assert len({facts(key)["dagster_run"] for key in ("warm", "cold", "threshold")}) == 1
    assert (facts("warm")["type"], facts("cold")["type"]) == ("pandas.DataFrame", "polars.DataFrame")
    assert context.entry("threshold", head).kind == "file"
    assert facts("announced")["metadata"] == {"to": "everybody"}
    assert len(styles.rows("raw.readings")) == 2 * 3 * 3
    assert styles.rows("converted")[0]["unit"] == "F"
    # What a manager of its own keeps in production was delivered to it; and nothing else was.
    kept = sorted(
        path.relative_to(styles.repo.path).as_posix()
        for path in styles.repo.path.rglob("raw_files/**/*.json")
    )
    assert len(kept) == 6
    assert all(name.startswith("raw_files/raw/readings/") for name in kept)
    before = {name: (styles.repo.path / name).read_bytes() for name in kept}

    styles.repo.branch("warmer")
    assert {step.action for step in styles.project.plan().steps.values()} == {"reuse"}
    styles.edit("self.offset = offset", "self.offset = offset + 10", "many_styles/stores.py")
    assert styles.project.plan().steps["raw.readings"].action == "run"
    ran = styles.project.run(partitions="Ulm|2024-01-02")
    assert ran.ok, [outcome.error for outcome in ran.execution.outcomes.values()]
    warmer = [row for row in styles.rows("raw.readings") if row["celsius"] > 14]
    assert {(row["city"], row["day"]) for row in warmer} == {("Ulm", "2024-01-02")}
    assert [row["celsius"] for row in warmer] == [16.0, 16.5, 17.0]
    assert {name: (styles.repo.path / name).read_bytes() for name in kept} == before

    styles.edit('raw_store = "branch"\n', "", "anabranch.toml")
    with pytest.raises(IsolationError, match="keeps values is not known"):
        styles.project.run()


def test_schedules_and_sensors_are_known_and_never_run(styles: Styles):
    described = styles.project.context.workspace.pipeline.definitions.described
    assert [each["name"] for each in described["jobs"]] == ["clean_up", "daily"]
    assert [each["name"] for each in described["jobs"] if each["ops"]] == ["clean_up"]
    assert described["schedules"] == ["daily_schedule"]
    assert described["sensors"] == ["whenever"]


def test_a_failing_check_in_an_op_keeps_the_run_from_being_published(styles: Styles):
    styles.edit("passed=len(warm) > 0", "passed=len(warm) > 1000")
    result = styles.project.run()
    assert not result.ok
    assert result.execution.checks["warm:some_rows"].passed is False
    assert styles.project.context.catalog.branch("production").head == 0
