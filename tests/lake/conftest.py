"""Warehouses for the lake's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.lake.storage import Scope, Storage


@pytest.fixture
def lake(tmp_path: Path) -> Storage:
    """A warehouse under an environment's scope."""
    return Storage(tmp_path / "warehouse", scope=Scope.environment())
