"""Fixtures of the tests on Dagster projects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from dagster_shop import SETTINGS, Shop


@pytest.fixture
def make_shop(repo: Callable) -> Iterator[Callable[..., Shop]]:
    made: list[Shop] = []

    def make(files: Mapping[str, str] | None = None, settings: str = SETTINGS, **rest: Any) -> Shop:
        shop = Shop(repo(f"repo{len(made)}"), files, settings)
        made.append(shop)
        return shop

    yield make
    for shop in made:
        shop.close()


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    """The project, as it was committed."""
    return make_shop()
