"""What a step finds outside: environment variables and clones by name, and by what a resource or a config is known.

Knows nothing of pydantic, so that a project without resources and configs, and each of its workers, starts without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from anabranch.errors import CloneError, DefinitionsError, SecretError

if TYPE_CHECKING:
    from anabranch.pipeline.resource import Resource

HIDDEN = "***"


class EnvVar:
    """The value of an environment variable, read when a step needs it.

    Args:
        name: The variable's name, such as ``SNOWFLAKE_PASSWORD``.
        default: What to take where it is not set; without one a missing variable is an error, never empty.
        kind: ``int`` or ``float`` where text will not do.
    """

    __slots__ = ("default", "kind", "name")

    def __init__(self, name: str, default: str | None = None, *, kind: type = str) -> None:
        self.name = name
        self.default = default
        self.kind = kind

    def __repr__(self) -> str:
        return f"EnvVar({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EnvVar) and (self.name, self.default, self.kind) == (
            other.name,
            other.default,
            other.kind,
        )

    def __hash__(self) -> int:
        return hash((self.name, self.default, self.kind))

    def resolve(self, environ: Mapping[str, str] | None = None) -> Any:
        """The value. Raises SecretError, without any value in it, where the variable is missing or of a wrong kind."""
        text = (os.environ if environ is None else environ).get(self.name, self.default)
        if text is None:
            raise SecretError(
                f"the environment variable {self.name} is not set",
                hint=f"set it for this process, for example: export {self.name}=…",
                variable=self.name,
            )
        try:
            return self.kind(text)
        except ValueError:
            raise SecretError(
                f"the environment variable {self.name} does not hold a value of type {self.kind.__name__}",
                variable=self.name,
            ) from None


class CloneOf:
    """Where a database of ``[clones.NAME]`` is: in a sandbox the sandbox's own clone, in an environment the source itself.

    Known when a step needs it, as an `EnvVar` is; no part of fingerprints, nor of what tells two environments apart: a
    clone stands for its source.

    Args:
        clone: The name in anabranch.toml.
        part: ``"address"``: what a client takes to get there, such as a path or a URL; ``"name"``: the bare name of the
            database, schema or branch.
    """

    __slots__ = ("clone", "part")

    def __init__(self, clone: str, part: Literal["address", "name"] = "address") -> None:
        if part not in ("address", "name"):
            raise DefinitionsError(f"{part!r} is no part of a clone", hint='write "address" or "name"')
        self.clone = clone
        self.part = part

    def __repr__(self) -> str:
        return (
            f"CloneOf({self.clone!r})"
            if self.part == "address"
            else f"CloneOf({self.clone!r}, {self.part!r})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CloneOf) and (self.clone, self.part) == (other.clone, other.part)

    def __hash__(self) -> int:
        return hash((self.clone, self.part))

    def resolve(self, clones: Clones) -> str:
        """The address or name. Raises CloneError where the sandbox has no such clone: never the source instead."""
        if self.clone not in clones:
            raise CloneError(
                f"there is no clone {self.clone} here",
                hint="anabranch sandbox open makes the clones that anabranch.toml names",
                clone=self.clone,
            )
        return clones[self.clone][self.part]


Clones = Mapping[str, Mapping[str, str]]
"""Name in anabranch.toml → its ``address`` and its ``name``, as a step is to have them."""


class AnyResource:
    """What every `anabranch.Resource` is."""


class AnyConfig:
    """What every `anabranch.Config` is."""


def is_resource(value: Any) -> TypeGuard[Resource]:
    """Whether a value is a resource."""
    return isinstance(value, AnyResource)
