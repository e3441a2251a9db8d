"""How a child process answers the one question that it was started for; `child.py` is the side that asks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from anabranch.errors import AnabranchError


def answer(work: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Reads a request from stdin and writes what comes of it to the descriptor that the only argument names."""
    request = json.loads(sys.stdin.buffer.read())
    told: dict[str, Any]
    try:
        told = work(request)
    except AnabranchError as error:
        told = {"error": {"class": type(error).__name__, **error.to_dict()["error"]}}
    with os.fdopen(int(sys.argv[1]), "wb") as out:
        out.write(json.dumps(told, default=str).encode())


__all__ = ["answer"]
