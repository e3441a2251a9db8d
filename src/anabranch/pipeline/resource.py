"""Connections to the outside world, swapped by environment, and the secrets they need.

A resource is declared with the names of its secrets, never with their values: an `EnvVar` is a name until a step that
needs it runs, and what comes of it lives only in that step's process. Nothing here knows which environment is which.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from anabranch.errors import DefinitionsError
from anabranch.pipeline.outside import HIDDEN, AnyConfig, AnyResource, CloneOf, Clones, EnvVar


class Config(BaseModel, AnyConfig):
    """Base class of an asset's config: plain, validated, frozen values that are part of its fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Resource(BaseModel, AnyResource):
    """Base class of a connection to something outside.

    Fields are validated by pydantic; a field may hold an `EnvVar`, a `CloneOf`, a nested resource, or lists and dicts of
    them.
    A step gets its own copy with the variables resolved, after `setup`; `teardown` is called whatever happens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    _hidden: frozenset[str] = PrivateAttr(default=frozenset())

    def __init__(self, **data: Any) -> None:
        pending = {name for name, value in data.items() if any(True for _ in _waiting(value))}
        if not pending:
            super().__init__(**data)
            return
        try:
            self.__pydantic_validator__.validate_python({k: v for k, v in data.items() if k not in pending})
        except ValidationError as error:
            # What waits for its variable is missing on purpose, and a validator of the whole model can't judge without
            # it; every other mistake is told now.
            if any(e["loc"] and e["loc"][0] not in pending for e in error.errors()):
                raise
        unknown = pending - set(type(self).model_fields)
        if unknown:
            raise DefinitionsError(f"{type(self).__name__} has no field {sorted(unknown)[0]!r}")
        # As `model_construct` does, but a user's `model_post_init` waits for the values too.
        fields = {
            name: data[name] if name in data else field.get_default(call_default_factory=True)
            for name, field in type(self).model_fields.items()
            if name in data or not field.is_required()
        }
        object.__setattr__(self, "__dict__", fields)
        object.__setattr__(self, "__pydantic_fields_set__", set(data))
        object.__setattr__(self, "__pydantic_extra__", None)
        object.__setattr__(self, "__pydantic_private__", None)
        Resource.model_post_init(
            self, None
        )  # private attributes, a subclass's too, and nothing of the user's
        object.__setattr__(
            self, "__pydantic_private__", {**(self.__pydantic_private__ or {}), "_hidden": frozenset(pending)}
        )

    def setup(self) -> None:
        """Called in the step's process before the asset runs."""

    def teardown(self) -> None:
        """Called in the step's process when the asset is done, has failed, or was interrupted."""

    def identity(self) -> Any:
        """A plain value that decides content and is the same in every environment; part of fingerprints. Default: none."""
        return None

    def variables(self) -> tuple[EnvVar, ...]:
        """The environment variables that this resource will need."""
        return tuple(v for v in self._waiting() if isinstance(v, EnvVar))

    def clones(self) -> tuple[CloneOf, ...]:
        """The clones that this resource will need."""
        return tuple(v for v in self._waiting() if isinstance(v, CloneOf))

    def _waiting(self) -> Iterator[EnvVar | CloneOf]:
        for name in type(self).model_fields:
            yield from _waiting(getattr(self, name, None))

    def resolved(self, environ: Mapping[str, str] | None = None, clones: Clones | None = None) -> Self:
        """A copy with every value in place. Raises SecretError, CloneError or DefinitionsError; none holds a value.

        Args:
            environ: The variables; by default the process's own.
            clones: Where the databases of `CloneOf` are here.
        """
        data = {
            name: _resolve(getattr(self, name), environ, clones or {})
            for name in type(self).model_fields
            if hasattr(self, name)
        }
        try:
            copy = type(self)(**data)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            place = f"{type(self).__name__}.{where}" if where else type(self).__name__
            raise DefinitionsError(f"{place}: {_masked(first['msg'], self.variables(), environ)}") from None
        private = copy.__pydantic_private__ or {}
        object.__setattr__(copy, "__pydantic_private__", {**private, "_hidden": self._hidden})
        return copy

    def described(self) -> dict[str, Any]:
        """Fields as plain values with variables by name: tells two environments' resources apart without any secret."""
        return {name: _describe(getattr(self, name, None)) for name in type(self).model_fields}

    def digest(self) -> str:
        """Hash of class and `described`: equal where two environments would reach the same thing."""
        text = json.dumps(
            [type(self).__module__, type(self).__qualname__, self.described()], sort_keys=True, default=repr
        )
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name in type(self).model_fields:
            value = getattr(self, name, None)
            shown = value if isinstance(value, EnvVar | CloneOf) or name not in self._hidden else HIDDEN
            yield name, shown

    def __str__(self) -> str:
        return repr(self)


def _waiting(value: Any) -> Iterator[EnvVar | CloneOf]:
    """What in a value is known only where a step runs."""
    if isinstance(value, EnvVar | CloneOf):
        yield value
    elif isinstance(value, Resource):
        yield from value._waiting()  # noqa: SLF001 - one class
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _waiting(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _waiting(item)


def _resolve(value: Any, environ: Mapping[str, str] | None, clones: Clones) -> Any:
    if isinstance(value, EnvVar):
        return value.resolve(environ)
    if isinstance(value, CloneOf):
        return value.resolve(clones)
    if isinstance(value, Resource):
        return value.resolved(environ, clones)
    if isinstance(value, Mapping):
        return {key: _resolve(item, environ, clones) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_resolve(item, environ, clones) for item in value)
    return value


def _describe(value: Any) -> Any:
    if isinstance(value, EnvVar):
        return {"env": value.name}
    if isinstance(value, CloneOf):
        return {"clone": value.clone, "part": value.part}
    if isinstance(value, Resource):
        return {"resource": type(value).__qualname__, **value.described()}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _describe(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_describe(item) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [_describe(item) for item in value]
    if isinstance(value, str | int | float | bool | None):
        return value
    # A text that holds an address would differ in each process.
    plain = getattr(type(value), "__repr__", None) is object.__repr__ or inspect.isroutine(value)
    return getattr(value, "__qualname__", type(value).__qualname__) if plain else repr(value)


def _masked(text: str, variables: Iterable[EnvVar], environ: Mapping[str, str] | None) -> str:
    """The text without any variable's value: a user's own validator may have put one into its message."""
    for variable in variables:
        value = str((os.environ if environ is None else environ).get(variable.name, ""))
        if value:
            text = text.replace(value, HIDDEN)
    return text
