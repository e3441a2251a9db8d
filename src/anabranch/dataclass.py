"""`dataclasses.dataclass`, made quickly: a command starts by defining a hundred of them, and uses a few.

The standard decorator writes and compiles the source of up to seven methods for every class, which was a third of the time
of a short command. Here only ``__init__`` is compiled, when it is first wanted; the other methods are plain functions over
the fields' names. What the classes do is the same: `dataclasses.fields`, ``replace``, ``asdict``, patterns, pickling,
signatures, `dataclasses.FrozenInstanceError`. What is not plain (bases that are dataclasses, ``slots``, ``order``,
keyword-only and init-only fields) is left to the standard decorator. Knows nothing of the rest of anabranch.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import field
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, *, frozen: bool = False, **options: bool) -> Any:
        """As `dataclasses.dataclass`."""

        def decorate(cls: type) -> type:
            if options or not _is_plain(cls):
                return dataclasses.dataclass(frozen=frozen, **options)(cls)
            return _made(cls, frozen)

        return decorate if cls is None else decorate(cls)


__all__ = ["dataclass", "field"]


def _is_plain(cls: type) -> bool:
    own = cls.__dict__
    names = own.get("__annotations__", {})
    written = " ".join(map(str, names.values()))
    return not (
        any(hasattr(base, "__dataclass_fields__") for base in cls.__mro__[1:])
        or not own.keys().isdisjoint(
            {"__slots__", "__init__", "__eq__", "__hash__", "__setattr__", "__delattr__"}
        )
        or not names.keys().isdisjoint({"self", "_set", "_MISSING"})
        or "InitVar" in written
        or "KW_ONLY" in written
        or any(isinstance(value, dataclasses.Field) and value.kw_only is True for value in own.values())
    )


def _made(cls: type, frozen: bool) -> type:
    has_repr = "__repr__" in cls.__dict__
    dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    parameters = cls.__dataclass_params__  # type: ignore[attr-defined]
    parameters.init = parameters.repr = parameters.eq = True
    parameters.frozen = frozen
    fields = dataclasses.fields(cls)
    new: dict[str, Any] = {"__init__": _Init(cls, frozen), "__hash__": None}
    new["__eq__"] = _eq(_values([f.name for f in fields if f.compare]))
    if not has_repr:
        new["__repr__"] = _repr([f.name for f in fields if f.repr])
    if frozen:
        hashed = [f.name for f in fields if (f.compare if f.hash is None else f.hash)]
        new["__hash__"] = _hash(_values(hashed))
        new["__setattr__"], new["__delattr__"] = _frozen(cls, frozenset(f.name for f in fields))
    for name, method in new.items():
        if method is not None:
            method.__qualname__ = f"{cls.__qualname__}.{name}"
        setattr(cls, name, method)
    return cls


def _values(names: list[str]) -> Any:
    """From an object to the tuple of these attributes."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple([getattr(value, name) for name in names])


def _eq(values: Any) -> Any:
    def __eq__(self: Any, other: Any) -> Any:  # noqa: N807 - it is the method
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _hash(values: Any) -> Any:
    def __hash__(self: Any) -> int:  # noqa: N807 - it is the method
        return hash(values(self))

    return __hash__


def _repr(names: list[str]) -> Any:
    @recursive_repr()
    def __repr__(self: Any) -> str:  # noqa: N807 - it is the method
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        return f"{self.__class__.__qualname__}({shown})"

    return __repr__


def _frozen(cls: Any, names: frozenset[str]) -> tuple[Any, Any]:
    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807 - it is the method
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807 - it is the method
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return __setattr__, __delattr__


class _Factory:
    """Stands in a signature for a default that is made anew."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()


class _Init:
    """Stands for ``__init__`` until somebody asks for it, and puts the compiled one in its place."""

    def __init__(self, cls: type, frozen: bool) -> None:
        self._cls, self._frozen = cls, frozen
        self.__qualname__ = ""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        function = _compiled(self._cls, self._frozen)
        function.__qualname__ = self.__qualname__
        self._cls.__init__ = function  # type: ignore[misc]
        return function.__get__(instance, owner)


def _compiled(cls: type, frozen: bool) -> Any:
    fields = dataclasses.fields(cls)
    given: dict[str, Any] = {"_MISSING": _FACTORY}
    parameters, body = [], ["_set = self.__dict__"] if frozen else []
    for each in fields:
        name, value = each.name, each.name
        if each.default is not dataclasses.MISSING:
            given[f"_d_{name}"] = each.default
            parameters.append(f"{name}=_d_{name}")
        elif each.default_factory is not dataclasses.MISSING:
            given[f"_f_{name}"] = each.default_factory
            parameters.append(f"{name}=_MISSING")
            value = f"_f_{name}() if {name} is _MISSING else {name}"
        else:
            parameters.append(name)
        if not each.init:
            parameters.pop()
            if f"_f_{name}" not in given:
                continue
            value = f"_f_{name}()"
        body.append(f"_set[{name!r}] = {value}" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    lines = "\n  ".join(body or ["pass"])
    text = f"def _make({', '.join(given)}):\n def __init__({', '.join(['self', *parameters])}):\n  {lines}\n return __init__"
    found: dict[str, Any] = {}
    exec(text, sys.modules[cls.__module__].__dict__, found)  # noqa: S102 - as the standard library's does it
    function = found["_make"](**given)
    function.__annotations__ = {**{f.name: f.type for f in fields if f.init}, "return": None}
    return function
