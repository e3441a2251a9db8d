"""What anabranch.toml says about a Dagster project, and about what happens when sandboxes come and go."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from anabranch.settings.fields import mistake


def _resources(value: Any) -> Any:
    """A name, or a table of name → what is to be done with it."""
    if isinstance(value, str):
        if not value:
            raise mistake("must not be empty")
        return value
    if not isinstance(value, dict):
        raise mistake(
            "must be the name of a set of resources, or a table",
            '[sandboxes.resources] with lines such as hn_client = "allow"',
        )
    for name, rule in value.items():
        plain = isinstance(rule, str) and (
            rule in ("allow", "branch") or all(p.isidentifier() for p in _dotted(rule))
        )
        if not plain:
            raise mistake(
                f"{name} = {rule!r} says nothing",
                'write "allow", "branch" (an I/O manager whose tables go to the sandbox), or "package.module:object"',
            )
    return value


def _dotted(rule: str) -> list[str]:
    module, colon, name = rule.partition(":")
    return [*module.split("."), *name.split(".")] if colon else [""]


ResourcesOrRules = Annotated[str | dict[str, str], BeforeValidator(_resources)]


class SandboxEvent(BaseModel):
    """What is done when a sandbox is opened, synced or closed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    dagster_job: str | None = Field(
        None,
        description="A job of the Dagster project that is run then, in the sandbox's surroundings, such as"
        " `clone_prod`. On opening, a failure closes the sandbox again; a sandbox whose closing job fails stays open.",
        min_length=1,
    )


class DagsterSettings(BaseModel):
    """How a Dagster project is run."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    run_config: dict[str, Any] = Field(
        {},
        description="Dagster's run config, for ops (`[dagster.run_config.ops.items.config]`) and resources; what it says"
        " of an asset is part of its fingerprint.",
    )
    deliver: tuple[str, ...] = Field(
        (),
        description="Environments whose published tables are also handed to the I/O managers that the project has there, such"
        " as Snowflake's: after each run, promotion and rollback.",
    )

    @field_validator("deliver", mode="before")
    @classmethod
    def _check_deliver(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise mistake("must be a list of environments", f'write deliver = ["{value}"]')
        return tuple(value) if isinstance(value, list) else value
