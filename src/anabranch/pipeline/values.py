"""The one text of a plain value: equal for equal values, on every machine, in every process and Python.

Serves values that code has closed over and the fields of a config. Knows no files and imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any

from anabranch.errors import DefinitionsError
from anabranch.pipeline.canonical import constant, digest

_LITERALS = (str, int, float, bytes, complex, bool, type(None), type(Ellipsis))
_STDLIB_PLAIN = (dt.datetime, dt.date, dt.time, dt.timedelta, Decimal, Fraction, uuid.UUID, range)


def value_text(value: object, other: Callable[[object], str]) -> str:
    """The text of a value; whatever is not plain is handed to ``other``, which answers with its text."""
    return _text(value, other, ())


def _text(value: object, other: Callable[[object], str], inside: tuple[int, ...]) -> str:
    kind = type(value)
    if kind in _LITERALS:
        return constant(value)
    if id(value) in inside:
        return f"^{len(inside) - inside.index(id(value))}"  # a value that holds itself: so many steps up
    deeper = (*inside, id(value))
    if kind in (list, tuple):
        return f"{kind.__name__}[{' '.join(_text(v, other, deeper) for v in value)}]"  # type: ignore[attr-defined]
    if kind in (set, frozenset):
        return f"{kind.__name__}[{' '.join(sorted(_text(v, other, deeper) for v in value))}]"  # type: ignore[attr-defined]
    if isinstance(value, dict) and kind is dict:
        pairs = (f"{_text(k, other, deeper)}:{_text(v, other, deeper)}" for k, v in value.items())
        return f"dict[{' '.join(pairs)}]"
    if kind is dt.datetime or kind is dt.time:
        return f"{kind.__name__} {value.isoformat()}"  # type: ignore[attr-defined]
    if kind is re.Pattern:
        return f"re {constant(value.pattern)} {value.flags}"  # type: ignore[attr-defined]
    if kind in _STDLIB_PLAIN:
        return f"{kind.__name__} {value}"
    if kind is slice:
        return f"slice[{' '.join(_text(v, other, deeper) for v in (value.start, value.stop, value.step))}]"  # type: ignore[attr-defined]
    if isinstance(value, PurePath):
        return "path"  # where something lies never counts
    return other(value)


def config_hash(config: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The hash of a config and, per field, the JSON text of its value; secrets are left out by the caller.

    Order of fields, of mappings' keys and of sets' members does not count; 1, 1.0, true and "1" are four values.

    Raises:
        DefinitionsError: a field holds something that has no stable text.
    """
    fields: dict[str, str] = {}
    for name in sorted(config):
        try:
            fields[name] = json.dumps(_plain(config[name]), ensure_ascii=True, sort_keys=True)
        except (TypeError, RecursionError) as error:
            raise DefinitionsError(
                f"the config field {name!r} holds a {type(config[name]).__name__}, which can't be compared ({error})",
                hint="use plain values: text, numbers, dates, lists, mappings, dataclasses or models of them",
                field=name,
            ) from None
    return digest("config", *(piece for pair in fields.items() for piece in pair)), fields


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return {"$enum": type(value).__qualname__, "value": _plain(value.value)}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return {f"${type(value).__name__}": value.isoformat()}
    if isinstance(value, dt.timedelta):
        return {"$seconds": str(Decimal(value // dt.timedelta(microseconds=1)) / 1_000_000)}
    if isinstance(value, Decimal | Fraction | uuid.UUID):
        return {f"${type(value).__name__.lower()}": str(value)}
    if isinstance(value, re.Pattern):
        return {"$re": _plain(value.pattern), "flags": value.flags}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _plain(item) for key, item in value.items()}
        pairs = [[_plain(key), _plain(item)] for key, item in value.items()]
        return {"$pairs": sorted(pairs, key=lambda pair: json.dumps(pair[0], sort_keys=True))}
    if isinstance(value, AbstractSet):
        return {"$set": sorted((_plain(item) for item in value), key=lambda v: json.dumps(v, sort_keys=True))}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return _plain(dump())
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} has no stable text")
