"""What ``[clones.NAME]`` may say: a database outside the catalog of which each sandbox gets a copy of its own.

One model for each provider, told apart by ``provider``. A new provider adds its model here, to `CloneSettings`, and its
module to `clones.registry`; what its fields mean is decided there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from anabranch.names import did_you_mean
from anabranch.settings.fields import (
    Duration,
    References,
    check_references,
    hide_password,
    mistake,
    references,
)

TEMPLATE_FIELDS = ("source", "sandbox", "pull_request", "clone")
"""What a clone's name may be made of."""
_TELL_APART = {"sandbox", "pull_request"}
_LAKEFS_SOURCE = re.compile(r"[a-z0-9][a-z0-9-]{2,62}/[A-Za-z0-9_][A-Za-z0-9_-]*")
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
    places: ClassVar[tuple[str, ...]] = ()
    """Fields beside ``source`` that say where source or copies are: with others, it is another clone."""

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

    @property
    def publishes(self) -> bool:
        """Whether a promotion brings what the copy holds back into its source."""
        return bool(getattr(self, "promote", False))

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, hide_password(value) if isinstance(value, str) else value


class _FileClone(BaseClone):
    places: ClassVar[tuple[str, ...]] = ("folder",)

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

    places: ClassVar[tuple[str, ...]] = ("level", "schema_")

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


_SECRETS = ("password", "token", "passphrase", "passcode", "private_key", "private_key_file_pwd", "secret")
_TABLE = re.compile(r'(?:"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)\.(?:"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)')
_PRIVILEGE = re.compile(r"[A-Za-z]+(?:[ _][A-Za-z]+)*")


class SnowflakeClone(BaseClone):
    """A Snowflake database, `source` being its name (as in SQL: upper case unless it stands in double quotes)."""

    places: ClassVar[tuple[str, ...]] = ("account",)

    provider: Literal["snowflake"] = Field(description="What makes the clone.")
    connection: dict[str, SecretStr | bool | int] = Field(
        description="Parameters of `snowflake.connector.connect`: `account`, `user`, `role`, and `password`, `token`,"
        " `private_key_file` or `authenticator`, whichever it is. Secrets as `${VARIABLE}`."
    )
    as_of: Duration | None = _field(
        None, "Clone what the source held so long ago, by Time Travel; by default what it holds now."
    )
    retention_days: int | None = _field(
        None,
        "For how many days Snowflake keeps what was dropped from the copy, and the dropped copy itself; 0 costs least.",
        ge=0,
        le=90,
    )
    copy_grants: bool = _field(
        False, "Whether roles get the privileges on the copy that they have on the source database itself."
    )
    grants: dict[str, tuple[str, ...]] = _field(
        {},
        'Privileges on the copy by role: `{ ANALYST = ["USAGE"] }`. Those on its schemas and tables are copied anyway.',
    )

    promote: tuple[str, ...] = _field(
        (),
        "Tables of the copy, `SCHEMA.TABLE`, that `anabranch promote` puts in the place of the source's by clone, behind its"
        " own commit and in this order.",
    )

    @property
    def account(self) -> str:
        """Whose account it is, as it is written."""
        found = self.connection.get("account") or self.connection.get("connection_name")
        return found.get_secret_value() if isinstance(found, SecretStr) else str(found)

    @field_validator("promote", mode="before")
    @classmethod
    def _check_promote(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise mistake("must be a list of tables", f'write ["{value}"]')
        for one in value if isinstance(value, list) else ():
            if not isinstance(one, str) or not _TABLE.fullmatch(one):
                raise mistake(f"{one!r} names no table", 'write it like "HACKER_NEWS.ITEMS"')
        return tuple(value) if isinstance(value, list) else value

    @field_validator("connection")
    @classmethod
    def _check_connection(cls, value: dict[str, SecretStr | bool | int]) -> dict[str, SecretStr | bool | int]:
        for name, one in value.items():
            if name in ("database", "schema"):
                raise mistake(f"{name} is no part of the connection", "the database is the clone's source")
            if not isinstance(one, SecretStr):
                continue
            text = one.get_secret_value()
            check_references(text)
            if name in _SECRETS and not references(text):
                raise mistake(
                    f"the {name} stands in the file itself",
                    f'keep it in an environment variable: {name} = "${{SNOWFLAKE_{name.upper()}}}"',
                )
        if not {"account", "connection_name"} & value.keys():
            raise mistake("the connection names no account", 'write account = "ORG-ACCOUNT"')
        return value

    @field_validator("grants", mode="before")
    @classmethod
    def _check_grants(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        found = {}
        for role, privileges in value.items():
            if isinstance(privileges, str):
                raise mistake("must be lists of privileges", f'write {role} = ["{privileges}"]')
            for one in privileges if isinstance(privileges, list | tuple) else ():
                if not isinstance(one, str) or not _PRIVILEGE.fullmatch(one) or one.upper() == "OWNERSHIP":
                    raise mistake(
                        f"{one!r} is no privilege that can be granted here",
                        'write it like "USAGE" or "CREATE SCHEMA"',
                    )
            found[role] = tuple(privileges) if isinstance(privileges, list) else privileges
        return found


class LakeFSClone(BaseClone):
    """A branch of a lakeFS repository, `source` being `repository/branch`."""

    places: ClassVar[tuple[str, ...]] = ("host",)

    provider: Literal["lakefs"] = Field(description="What makes the clone.")
    host: References = Field(description="The server, such as `https://lakefs.example.com`.", min_length=1)
    access_key_id: SecretStr = Field(description="Of the credentials, best as `${LAKECTL_ACCESS_KEY_ID}`.")
    secret_access_key: SecretStr = Field(description="Of the credentials, as `${LAKECTL_SECRET_ACCESS_KEY}`.")
    promote: bool = _field(
        False, "Whether `anabranch promote` merges the copy's branch into its source, behind its own commit."
    )
    merge_strategy: Literal["refuse", "source-wins", "dest-wins"] = _field(
        "refuse", "What a merge at promotion does where both branches have changed an object."
    )

    @field_validator("source")
    @classmethod
    def _check_source(cls, value: str) -> str:
        if "${" not in value and not _LAKEFS_SOURCE.fullmatch(value):
            raise mistake(f"{value!r} is no branch of a repository", 'write it like "shop/main"')
        return value

    @field_validator("access_key_id", "secret_access_key")
    @classmethod
    def _check_key(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        text = value.get_secret_value()
        check_references(text)
        if info.field_name == "secret_access_key" and not references(text):
            raise mistake(
                "the key stands in the file itself",
                'keep it in an environment variable: secret_access_key = "${LAKECTL_SECRET_ACCESS_KEY}"',
            )
        return value


CloneSettings = Annotated[
    DuckDBClone | LakeFSClone | PostgresClone | SnowflakeClone | SQLiteClone, Field(discriminator="provider")
]
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
