"""What can be set, told by the models themselves, for the documentation and for hints."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from anabranch.columns import Rule
from anabranch.sample import Sample
from anabranch.settings.clones import BaseClone, CloneSettings
from anabranch.settings.fields import Memory, RowLimit, duration_or_never
from anabranch.settings.lines import KeyPath
from anabranch.settings.models import Settings

_WORDS: dict[Any, str] = {
    str: "text",
    SecretStr: "text",
    int: "whole number",
    bool: "true or false",
    Any: "table",
    timedelta: "duration",
    RowLimit: 'share, number or "any"',
    Memory: 'size, share or "any"',
    Rule: "rule",
    Sample: "share, or a table of share and by",
}


class Reference(NamedTuple):
    """One setting: its dotted key, what it takes, its default as it would stand in the file, and what it means.

    A name that the user chooses stands in angle brackets: ``environments.<name>.git_branch``. The default is
    ``required`` or ``unset`` where there is none.
    """

    key: str
    type: str
    default: str
    description: str


@cache
def settings_reference() -> list[Reference]:
    """Every setting, in the order in which the file is best written."""
    return list(_rows(Settings, ""))


@cache
def clone_providers() -> tuple[str, ...]:
    """What ``provider`` may be in ``[clones.NAME]``."""
    return tuple(sorted(name for name, _ in _clones()))


def _clones() -> list[tuple[str, type[BaseModel]]]:
    models = get_args(get_args(CloneSettings)[0])
    return [(get_args(model.model_fields["provider"].annotation)[0], model) for model in models]


def _clone_rows(prefix: str) -> Iterator[Reference]:
    """What all providers share, then what some have, told with their names."""
    names = ", ".join(f'"{name}"' for name in clone_providers())
    shared = {name for name, _ in _fields(BaseClone)}
    for name, info in _fields(BaseClone):
        kind = names if name == "provider" else _type(info)
        yield Reference(f"{prefix}{name}", kind, _default(info), info.description or "")
    own: dict[str, list[tuple[str, FieldInfo]]] = {}
    for provider, model in _clones():
        for name, info in _fields(model):
            if name not in shared:
                own.setdefault(name, []).append((provider, info))
    for name, having in own.items():
        first = having[0][1]
        told: dict[str, list[str]] = {}
        for provider, info in having:
            told.setdefault(info.description or "", []).append(f"`{provider}`")
        description = " ".join(f"({', '.join(providers)}) {text}" for text, providers in told.items())
        types = dict.fromkeys(_type(info) for _, info in having)
        yield Reference(f"{prefix}{name}", " or ".join(types), _default(first), description)


def known_keys(path: KeyPath) -> list[str]:
    """The keys that the table at a path may hold; none where the user chooses them."""
    if len(path) == 2 and path[0] == "clones":
        return [row.key.rpartition(".")[2] for row in _clone_rows("")]
    at: Any = Settings
    for part in path:
        if get_origin(at) is dict:  # the user's own name
            at = get_args(at)[1]
        elif _is_model(at):
            at = next((_plain(info.annotation) for name, info in _fields(at) if name == part), None)
        else:
            return []
    return [name for name, _ in _fields(at)] if _is_model(at) else []


def _rows(model: type[BaseModel], prefix: str) -> Iterator[Reference]:
    def holds(info: FieldInfo) -> Any:
        kind = _plain(info.annotation)
        return get_args(kind)[1] if get_origin(kind) is dict else None

    def is_table(field: tuple[str, FieldInfo]) -> bool:
        return _is_model(_plain(field[1].annotation)) or holds(field[1]) is not None

    # The table's own keys before tables below it, as in the file.
    for name, info in sorted(_fields(model), key=is_table):
        kind = _plain(info.annotation)
        value = holds(info)
        if value is CloneSettings:
            yield from _clone_rows(f"{prefix}{name}.<name>.")
        elif _is_model(kind):
            yield from _rows(kind, f"{prefix}{name}.")
        elif _is_model(value):
            yield from _rows(value, f"{prefix}{name}.<name>.")
        elif value is not None:
            yield Reference(f"{prefix}{name}.<name>", _words(value), "unset", info.description or "")
        else:
            yield Reference(f"{prefix}{name}", _type(info), _default(info), info.description or "")


def _fields(model: Any) -> list[tuple[str, FieldInfo]]:
    return [(info.alias or name, info) for name, info in model.model_fields.items()]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _plain(annotation: Any) -> Any:
    """The type without ``Annotated`` and ``| None``."""
    if hasattr(annotation, "__metadata__"):
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return _plain(next(part for part in get_args(annotation) if part is not NoneType))
    return annotation


def _type(info: FieldInfo) -> str:
    never = (
        ' or "never"' if any(getattr(one, "func", None) is duration_or_never for one in info.metadata) else ""
    )
    return _words(_plain(info.annotation)) + never


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        *most, last = (f'"{choice}"' for choice in get_args(kind))
        return f"{', '.join(most)} or {last}"
    if get_origin(kind) is tuple:
        return f"list of {_words(get_args(kind)[0])}s"
    if get_origin(kind) is dict:
        return "table"
    return _WORDS[_plain(kind)]


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.default
    if value is None or value in ((), {}):
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
