"""What ``[clones.NAME]`` may say: a database outside the catalog of which each sandbox gets a copy of its own.

One model for each provider, told apart by ``provider``. A new provider adds its model here, to `CloneSettings`, and its
module to `clones.registry`; what its fields mean is decided there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from anabranch.names import did_you_mean
from anabranch.settings.fields import References, hide_password, mistake

TEMPLATE_FIELDS = ("source", "sandbox", "pull_request", "clone")
"""What a clone's name may be made of."""
_TELL_APART = {"sandbox", "pull_request"}
_LITERAL = re.compile(r"[A-Za-z0-9_]*")


def _pieces(value: str) -> list[tuple[str, str | None]]:
    """A template as literal text and the field behind it. Raises what a validator raises."""
    known = TEMPLATE_FIELDS
    try:
        parsed = [(text, name, spec, how) for text, name, spec, how in Formatter().parse(value)]
    except ValueError:
        raise mistake(
            f"{value!r} has a brace that stands alone", "write {{ and }} for braces themselves"
        ) from None
    found: list[tuple[str, str | None]] = []
    for text, name, spec, how in parsed:
        if name is not None and (name not in known or spec or how):
            shown = "{" + name + (f"!{how}" if how else "") + (f":{spec}" if spec else "") + "}"
            choices = ", ".join("{" + one + "}" for one in known)
            hint = (
                did_you_mean(name, known, f"there are: {choices}")
                if name not in known
                else f"write {{{name}}} alone"
            )
            raise mistake(f"{shown} is no field of a clone's name", hint)
        found.append((text, name))
    return found


def _name_template(value: str) -> str:
    pieces = _pieces(value)
    for text, _ in pieces:
        if not _LITERAL.fullmatch(text):
            raise mistake(f"{value!r} can't name a database", "use letters, digits and _ around the fields")
    if not _TELL_APART & {name for _, name in pieces}:
        raise mistake(
            f"{value!r} would be the same clone for every sandbox", "put {sandbox} or {pull_request} into it"
        )
    return value


def fill(template: str, values: dict[str, str]) -> str:
    """A template that was checked with its values in place; they are put in as they are and never read as templates."""
    return "".join(
        text + ("" if name is None else values[name]) for text, name, _, _ in Formatter().parse(template)
    )


def template_fields(template: str) -> set[str]:
    """The fields that a template that was checked names."""
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def _field(default: Any, description: str, **rest: Any) -> Any:
    return Field(default, description=description, validate_default=True, **rest)


class BaseClone(BaseModel):
    """What all providers share."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    provider: str = Field(description="What makes the clone.")
    source: References = Field(
        description="What is cloned, as its provider names it. May hold `${VARIABLE}`.", min_length=1
    )
    name: str = _field(
        "{source}_clone_{sandbox}",
        "The clone's name: `{source}` (the source's bare name), `{sandbox}`, `{pull_request}` and `{clone}` (the name in"
        " this file) with letters, digits and `_` around them. Other characters become `_`, and a digest keeps apart"
        " what would be equal then, or is too long.",
    )
    when: Literal["open", "run"] = _field(
        "open", "When it is made: as the sandbox is opened, or before its first run."
    )
    refresh: Literal["never", "sync"] = _field(
        "never",
        "Whether `sandbox sync` makes it anew from the source; what the sandbox has written into it is lost then.",
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        return _name_template(value)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, hide_password(value) if isinstance(value, str) else value


class _FileClone(BaseClone):
    folder: str = _field(
        ".anabranch/clones",
        "The folder that the copies go to, relative to the project in the repository's main worktree. On the source's own"
        " file system a copy can share its blocks.",
        min_length=1,
    )


class DuckDBClone(_FileClone):
    """A DuckDB database file, `source` being its path."""

    provider: Literal["duckdb"] = Field(description="What makes the clone.")


class SQLiteClone(_FileClone):
    """An SQLite database file, `source` being its path."""

    provider: Literal["sqlite"] = Field(description="What makes the clone.")


class PostgresClone(BaseClone):
    """A Postgres database, or a schema of one, `source` being the database's URL."""

    provider: Literal["postgres"] = Field(description="What makes the clone.")
    level: Literal["database", "schema"] = _field(
        "database",
        "Whether the whole database is cloned, which copies its files and needs that nobody is connected to it, or one"
        " schema is copied table by table into a new one beside it.",
    )
    schema_: str = _field(
        "public", 'With `level = "schema"`: the schema that is copied.', alias="schema", min_length=1
    )
    connections: Literal["refuse", "terminate"] = _field(
        "refuse",
        "What becomes of the connections to the source, which Postgres allows nobody while it is copied whole: the clone"
        " is refused with their names, or they are ended.",
    )
    maintenance_database: str = _field(
        "postgres",
        "The database of the same server that is connected to while another is cloned.",
        min_length=1,
    )
    address: References | None = _field(
        None,
        "What `ab.CloneOf` gives a step: a URL in which `{name}` is the database. By default that of `source` without its"
        " password, which steps must not have.",
    )

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is not None and "{name}" not in value:
            raise mistake("the address is the same for every clone", "put {name} where the database stands")
        return value


CloneSettings = Annotated[DuckDBClone | PostgresClone | SQLiteClone, Field(discriminator="provider")]
"""One ``[clones.NAME]``, by its provider."""
__all__ = [
    "TEMPLATE_FIELDS",
    "BaseClone",
    "CloneSettings",
    "DuckDBClone",
    "PostgresClone",
    "SQLiteClone",
    "fill",
    "template_fields",
]
