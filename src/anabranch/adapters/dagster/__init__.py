"""Dagster and anabranch: an existing Dagster project gets sandboxes, and a native one is served to Dagster.

Importing this imports no Dagster: that takes a second, and most commands need none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anabranch.adapters.dagster.branch_io import AnabranchIOManager
    from anabranch.adapters.dagster.lake_io import LakeIOManager
    from anabranch.adapters.dagster.outbound import RunSettings, definitions
    from anabranch.adapters.dagster.project_resource import AnabranchResource

__all__ = ["AnabranchIOManager", "AnabranchResource", "LakeIOManager", "RunSettings", "definitions"]

_WHERE = {
    "AnabranchIOManager": "anabranch.adapters.dagster.branch_io",
    "AnabranchResource": "anabranch.adapters.dagster.project_resource",
    "LakeIOManager": "anabranch.adapters.dagster.lake_io",
    "RunSettings": "anabranch.adapters.dagster.outbound",
    "definitions": "anabranch.adapters.dagster.outbound",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
