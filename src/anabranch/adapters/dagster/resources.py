"""What a Dagster project's resources are, and whether one may be used in a sandbox.

The rule is closed: what is not known to be harmless is refused until somebody allows or maps it, so that no write can
leave a sandbox because a person forgot something. Known to be harmless are plain values, resources that are nothing but
settings, and the I/O managers whose values anabranch can keep by itself: those are bound to the sandbox's branch and
never asked to write.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Literal

from anabranch.dataclass import dataclass
from anabranch.errors import IsolationError

How = Literal["branch", "plain", "unknown"]

_OURS = "anabranch.adapters.dagster"
MANAGERS = (
    "dagster._core.storage",
    "dagster._core.definitions.job_definition",
    "dagster_duckdb",
    "dagster_duckdb_pandas",
    "dagster_duckdb_polars",
    "dagster_duckdb_pyspark",
    "dagster_snowflake",
    "dagster_snowflake_pandas",
    "dagster_snowflake_polars",
    "dagster_snowflake_pyspark",
    _OURS,
)
"""Packages whose I/O managers keep a value by its type, as the branch does."""
_CONVERTS = frozenset({"handle_output", "load_input", "dump_to_path", "load_from_path", "type_handlers"})
_PLAIN = (str, int, float, bool, bytes, type(None), dt.date, dt.time, dt.timedelta, Decimal, PurePath, Enum)


@dataclass(frozen=True)
class ResourceFacts:
    """A resource, as plain values.

    Attributes:
        name: Its key.
        kind: What it is called in messages: ``my_project.resources.HNAPIClient``.
        manager: Whether it is an I/O manager.
        how: ``branch``: its values are kept on the branch; ``plain``: it can do nothing; ``unknown``.
        digest: Of class and config: equal where two environments would reach the same thing. Secrets count by their names.
        variables: Names of the environment variables that it needs.
    """

    name: str
    kind: str
    manager: bool
    how: How
    digest: str
    variables: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "manager": self.manager,
            "how": self.how,
            "digest": self.digest,
            "variables": list(self.variables),
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> ResourceFacts:
        """From plain JSON values."""
        return cls(**{**plain, "variables": tuple(plain["variables"])})


def facts(name: str, definition: Any) -> ResourceFacts:
    """What a ResourceDefinition of Dagster is."""
    made = _made_by(definition)
    config = _config(definition)
    text = json.dumps([_name(made), config], sort_keys=True, default=_shown)
    return ResourceFacts(
        name,
        _name(made),
        _is_manager(definition),
        _how(definition, made),
        hashlib.sha256(text.encode()).hexdigest()[:32],
        tuple(sorted(set(_variables(config)))),
    )


def code_of(definition: Any) -> Callable[..., Any] | type | None:
    """The class or function whose code a resource's behaviour is; None for a plain value."""
    made = _made_by(definition)
    if isinstance(made, type):
        return None if made.__module__ == "builtins" else made
    return made if callable(made) else None


def refuse(asset: str, found: ResourceFacts) -> IsolationError:
    """The sentence about a resource that nobody has allowed."""
    if found.manager:
        return IsolationError(
            f"{asset} is kept by the I/O manager {found.name}, a {found.kind}, and how it keeps values is not known: "
            "a sandbox's tables must go to the sandbox",
            hint=f'in anabranch.toml, [sandboxes.resources]: {found.name} = "branch" keeps its values on the branch by their '
            f'types, "allow" lets it write by itself as well, "package.module:object" takes its place',
            asset=asset,
            resource=found.name,
        )
    return IsolationError(
        f"{asset} uses the resource {found.name}, a {found.kind}: it could write outside the sandbox, and nobody has said "
        "that it does not",
        hint=f'in anabranch.toml, [sandboxes.resources]: {found.name} = "allow" if it only reads, or '
        f'{found.name} = "package.module:object" for another one to take its place',
        asset=asset,
        resource=found.name,
    )


def admitted(found: ResourceFacts, rules: Mapping[str, str]) -> bool:
    """Whether an asset may use a resource in a sandbox."""
    return found.how != "unknown" or found.name in rules


def _is_manager(definition: Any) -> bool:
    return any(each.__name__ == "IOManagerDefinition" for each in type(definition).__mro__)


def _made_by(definition: Any) -> Any:
    """The class of a resource that is made of one, the function that makes it, or the class of a value that was given."""
    cls = getattr(definition, "configurable_resource_cls", None)
    if cls is not None:
        return cls
    function = definition.resource_fn
    given, value = _given(function)
    if given:
        return type(value)
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__wrapped__", function)


def _given(function: Any) -> tuple[bool, Any]:
    """Whether a resource is a value that was put into the definitions, and the value."""
    if getattr(function, "__qualname__", "").startswith(
        ("ResourceDefinition.hardcoded_resource.", "IOManagerDefinition.hardcoded_io_manager.")
    ):
        for cell in function.__closure__ or ():
            return True, cell.cell_contents
    return False, None


def _how(definition: Any, made: Any) -> How:
    if _is_manager(definition):
        return "branch" if _is_known_manager(made) else "unknown"
    given, value = _given(definition.resource_fn)
    if given:
        return "plain" if _is_plain(value) else "unknown"
    if isinstance(made, type) and made.__module__ == f"{_OURS}.project_resource":
        return "plain"
    if isinstance(made, type) and _is_settings(made):
        nested = getattr(definition, "nested_resources", None) or {}
        return "plain" if all(_is_settings(type(each)) for each in nested.values()) else "unknown"
    return "unknown"


def _is_known_manager(made: Any) -> bool:
    if not isinstance(made, type):
        return _belongs(getattr(made, "__module__", ""))
    for each in made.__mro__:
        if _belongs(each.__module__):
            return True
        if each.__module__.partition(".")[0] != "dagster" and not _CONVERTS.isdisjoint(vars(each)):
            # It says itself how values are kept: we can't do the same.
            return (
                "type_handlers" in vars(each)
                and _CONVERTS.intersection(vars(each)) == {"type_handlers"}
                and (any(_belongs(base.__module__) for base in each.__mro__[1:]))
            )
    return False


def _belongs(module: str) -> bool:
    return any(module == known or module.startswith(f"{known}.") for known in MANAGERS)


def _is_settings(cls: type) -> bool:
    """Whether a ConfigurableResource has fields and no code of its own."""
    names = [each.__name__ for each in cls.__mro__]
    if "ConfigurableResource" not in names:
        return False
    for each in cls.__mro__[: names.index("ConfigurableResource")]:
        for name, value in vars(each).items():
            if name.startswith(("__", "model_", "_abc_")) or name == "_generic_type":
                continue
            if callable(value) or isinstance(value, staticmethod | classmethod | property):
                return False
        if "__init__" in vars(each) or "__enter__" in vars(each) or "__del__" in vars(each):
            return False
    return True


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(_is_plain(each) for each in value)
    if isinstance(value, dict):
        return all(_is_plain(each) for each in (*value, *value.values()))
    return isinstance(value, _PLAIN)


def _config(definition: Any) -> Any:
    given, value = _given(definition.resource_fn)
    if given:
        return value if _is_plain(value) else {k: v for k, v in _state(value).items() if _is_plain(v)}
    schema = definition.config_schema
    own = getattr(schema, "_config_fn", None)
    found: Any = None
    if own is not None:
        try:
            found = own({})
        except Exception:  # noqa: BLE001 - a user's own function of a config that we do not have
            found = None
    elif schema is not None and getattr(schema, "default_provided", False):
        found = schema.default_value
    nested = getattr(definition, "nested_resources", None) or {}
    return {
        "config": found,
        **{name: [_name(type(each)), _state(each)] for name, each in sorted(nested.items())},
    }


def _state(value: Any) -> dict[str, Any]:
    resolved = getattr(value, "_resolved_config_dict", None)
    if isinstance(resolved, dict):
        return resolved
    return {k: v for k, v in getattr(value, "__dict__", {}).items() if not k.startswith("_")}


def _variables(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if list(value) == ["env"] and isinstance(value["env"], str):
            yield value["env"]
        else:
            for each in value.values():
                yield from _variables(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _variables(each)
    elif type(value).__name__ in ("EnvVar", "IntEnvVar"):
        yield str(getattr(value, "env_var_name", value))


def _name(one: Any) -> str:
    module = getattr(one, "__module__", None)
    name = getattr(one, "__qualname__", None) or type(one).__qualname__
    return f"{module}.{name}" if module and module != "builtins" else str(name)


def _shown(value: Any) -> str:
    if isinstance(value, set | frozenset):
        return repr(sorted(value, key=repr))
    plain = getattr(type(value), "__repr__", None) == object.__repr__
    return type(value).__qualname__ if plain else repr(value)
