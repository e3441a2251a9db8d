from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from catalog_world import BACK_ENDS, Clock

from anabranch.catalog.base import Catalog


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=sorted(BACK_ENDS))
def catalog(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Catalog]:
    """An empty catalog of each back end."""
    made = BACK_ENDS[request.param](tmp_path, clock)
    yield made
    made.close()
