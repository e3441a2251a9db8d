"""Which module serves which provider: found by name, and imported only when a clone of that kind is worked with."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from anabranch.clones.base import Provider, Surroundings
from anabranch.settings.clones import BaseClone

_HOMES = {
    "duckdb": "anabranch.clones.duckdb:DuckDB",
    "lakefs": "anabranch.clones.lakefs:LakeFS",
    "postgres": "anabranch.clones.postgres:Postgres",
    "snowflake": "anabranch.clones.snowflake:Snowflake",
    "sqlite": "anabranch.clones.sqlite:SQLite",
}
"""Provider → its class, which is made with its settings and its surroundings."""


def provider_names() -> tuple[str, ...]:
    """The providers there are."""
    return tuple(_HOMES)


def open_provider(settings: BaseClone, around: Surroundings) -> Provider:
    """The provider of one ``[clones.NAME]``; connects to nothing yet.

    Raises:
        CloneError: an extra that it needs is not installed.
        SecretError: a variable that its settings name is not set.
    """
    module, _, name = _HOMES[settings.provider].partition(":")
    make: Callable[[BaseClone, Surroundings], Provider] = getattr(importlib.import_module(module), name)
    return make(settings, around)
