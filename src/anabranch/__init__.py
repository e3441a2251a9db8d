"""A sandbox for every git branch of a data pipeline: its code, a writable zero-copy snapshot of production, one promotion.

The public names; each is imported when it is first used, so that ``import anabranch`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anabranch.columns import keep, pii, tag
    from anabranch.errors import AnabranchError
    from anabranch.lake.changes import Changes
    from anabranch.lake.file import File
    from anabranch.lake.read import Table
    from anabranch.pipeline.asset import Asset, Input, asset, sql
    from anabranch.pipeline.check import (
        Check,
        CheckResult,
        accepted_values,
        check,
        fresh,
        not_null,
        references,
        row_count,
        unique,
    )
    from anabranch.pipeline.definitions import Definitions
    from anabranch.pipeline.incremental import Upsert
    from anabranch.pipeline.outside import CloneOf, EnvVar
    from anabranch.pipeline.partition import Partition, daily, hourly, keys, last, monthly, offset, weekly
    from anabranch.pipeline.resource import Config, Resource
    from anabranch.project import Project

__version__ = "0.1.0"

_HOMES = {
    "AnabranchError": "anabranch.errors",
    "Asset": "anabranch.pipeline.asset",
    "Changes": "anabranch.lake.changes",
    "Check": "anabranch.pipeline.check",
    "CheckResult": "anabranch.pipeline.check",
    "CloneOf": "anabranch.pipeline.outside",
    "Config": "anabranch.pipeline.resource",
    "Definitions": "anabranch.pipeline.definitions",
    "EnvVar": "anabranch.pipeline.outside",
    "File": "anabranch.lake.file",
    "Input": "anabranch.pipeline.asset",
    "Partition": "anabranch.pipeline.partition",
    "Project": "anabranch.project",
    "Resource": "anabranch.pipeline.resource",
    "Table": "anabranch.lake.read",
    "Upsert": "anabranch.pipeline.incremental",
    "accepted_values": "anabranch.pipeline.check",
    "asset": "anabranch.pipeline.asset",
    "check": "anabranch.pipeline.check",
    "daily": "anabranch.pipeline.partition",
    "fresh": "anabranch.pipeline.check",
    "hourly": "anabranch.pipeline.partition",
    "keep": "anabranch.columns",
    "keys": "anabranch.pipeline.partition",
    "last": "anabranch.pipeline.partition",
    "monthly": "anabranch.pipeline.partition",
    "not_null": "anabranch.pipeline.check",
    "offset": "anabranch.pipeline.partition",
    "pii": "anabranch.columns",
    "references": "anabranch.pipeline.check",
    "row_count": "anabranch.pipeline.check",
    "sql": "anabranch.pipeline.asset",
    "tag": "anabranch.columns",
    "unique": "anabranch.pipeline.check",
    "weekly": "anabranch.pipeline.partition",
}

__all__ = [
    "AnabranchError",
    "Asset",
    "Changes",
    "Check",
    "CheckResult",
    "CloneOf",
    "Config",
    "Definitions",
    "EnvVar",
    "File",
    "Input",
    "Partition",
    "Project",
    "Resource",
    "Table",
    "Upsert",
    "accepted_values",
    "asset",
    "check",
    "daily",
    "fresh",
    "hourly",
    "keep",
    "keys",
    "last",
    "monthly",
    "not_null",
    "offset",
    "pii",
    "references",
    "row_count",
    "sql",
    "tag",
    "unique",
    "weekly",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'anabranch' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
