"""Results as JSON documents: the values of ``to_dict``, made safe for every parser and every terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def document(values: Mapping[str, Any]) -> str:
    """A JSON text of several lines, ended by a line break.

    Strictly JSON: what it lacks (NaN, infinities) is null, and what is no JSON value is written as its text. Only ASCII,
    so that no terminal obeys what a table holds.
    """
    return json.dumps(_plain(values), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [_plain(one) for one in items]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
