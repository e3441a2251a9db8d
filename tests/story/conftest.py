"""Fixtures of the stories: a small real project in a real git repository."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from story_shop import Shop, build


@pytest.fixture
def make_shop(repo: Callable) -> Iterator[Callable[..., Shop]]:
    made: list[Shop] = []

    def make(**texts: str) -> Shop:
        shop = build(repo(), **texts)
        made.append(shop)
        return shop

    yield make
    for shop in made:
        shop.project.close()
    for name in [n for n in sys.modules if n.partition(".")[0] == "shop"]:
        del sys.modules[name]


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    """The project, with production built."""
    made = make_shop()
    assert made.run().ok
    return made
