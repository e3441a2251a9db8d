"""Fixtures that several test files share: real git repositories, apart from the user's own configuration."""

from __future__ import annotations

import os
import unittest
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

from git_repo import GitRepo

settings.register_profile(
    "shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("shared-machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Takes the tests that run much Python out of the measured coverage: it doubles their time, and others reach the same."""
    for item in items:
        heavy = item.get_closest_marker("slow") is not None or "docs" in item.path.parts
        machine = isinstance(item, pytest.Function) and (
            is_hypothesis_test(item.obj) or (item.cls is not None and issubclass(item.cls, unittest.TestCase))
        )
        if heavy or machine:
            item.add_marker("no_cover")


@pytest.fixture(scope="session", autouse=True)
def isolated_git() -> Iterator[None]:
    """No test sees the user's git configuration, nor the variables of a hook or of CI that the tests may run in."""
    with pytest.MonkeyPatch.context() as patch:
        ours = ("GIT_", "GITHUB_", "CI_", "GITLAB_", "DAGSTER_", "ANABRANCH_")
        for name in [name for name in os.environ if name == "CI" or name.startswith(ours)]:
            patch.delenv(name)
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Ada Lovelace")
            patch.setenv(f"GIT_{role}_EMAIL", "ada@example.com")
        yield


@pytest.fixture
def repo(tmp_path: Path) -> Callable[..., GitRepo]:
    """Makes repositories: ``repo()`` or ``repo("other", files={"a.txt": "1"})``, the latter with a first commit."""

    def make(name: str = "repo", files: Mapping[str, str | bytes | None] | None = None) -> GitRepo:
        path = tmp_path / name
        path.mkdir(parents=True)
        made = GitRepo(path)
        made.git("init", "-q", "-b", "main", "--template=")
        if files is not None:
            made.commit(files, "First")
        return made

    return make
