"""A project with people in it: production on main, and a masked staging environment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import anabranch as ab

sys.path.insert(0, str(Path(__file__).parent.parent / "story"))

from masked_world import DEFINITIONS, KEY, SETTINGS, person
from story_shop import Shop


class People(Shop):
    """The project, and what the outside world holds."""

    def __init__(self, repo, folder: Path) -> None:
        super().__init__(repo, folder)
        self.people: list[dict] = []

    def edit(self, file: str, old: str, new: str) -> None:
        super().edit(file, old, new)
        if file == "anabranch.toml":
            self.project.close()
            self.project = ab.Project(self.folder)

    def hire(self, *numbers: int, mark: str = "") -> None:
        self.people += [person(number, mark) for number in numbers]
        (self.folder / "people.json").write_text(json.dumps(self.people))

    def sync(self, **options):
        return self.project.sync(**options)


@pytest.fixture
def make_people(repo: Callable, monkeypatch) -> Iterator[Callable[..., People]]:
    monkeypatch.setenv("STAGING_MASK_KEY", KEY)
    made: list[People] = []

    def make(*, settings: str = SETTINGS, definitions: str = DEFINITIONS) -> People:
        root = repo()
        root.commit(
            {
                "anabranch.toml": settings,
                ".gitignore": ".anabranch/\n__pycache__/\npeople.json\n",
                "people/__init__.py": "",
                "people/definitions.py": definitions,
            },
            "Start",
        )
        people = People(root, root.path)
        people.hire(1, 2, 3, 4)
        made.append(people)
        return people

    yield make
    for each in made:
        each.project.close()
    for name in [n for n in sys.modules if n.partition(".")[0] == "people"]:
        del sys.modules[name]


@pytest.fixture
def people(make_people: Callable[..., People]) -> People:
    """The project, with production built."""
    made = make_people()
    assert made.run().ok
    return made
