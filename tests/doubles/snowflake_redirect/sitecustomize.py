"""Python imports this at its start where its folder is on PYTHONPATH: Snowflake's connector then goes to the double.

Nothing is imported before the program imports the connector itself. See `snowflake_double`.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TARGET = "snowflake.connector.connection"
UNUSED = (
    "snowflake.core",
    "snowflake.snowpark",
)  # which dagster_snowflake imports, for five seconds, to have names of types
VARIABLE = "SNOWFLAKE_DOUBLE"


def redirect(module: Any) -> None:
    """Makes every connection of this process one to the double."""
    if getattr(module, "redirected_to_double", False):
        return
    module.redirected_to_double = True
    real = module.SnowflakeConnection.__init__

    def __init__(self: Any, *arguments: Any, **given: Any) -> None:
        port = os.environ.get(VARIABLE)
        if port:
            parameters = {
                **(given.get("session_parameters") or {}),
                "CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False,
            }
            given.pop("region", None)
            given |= {
                "host": "127.0.0.1",
                "port": int(port),
                "protocol": "http",
                "session_parameters": parameters,
            }
            given.setdefault("login_timeout", 5)
            given.setdefault("network_timeout", 5)
        real(self, *arguments, **given)

    module.SnowflakeConnection.__init__ = __init__


class _Loader:
    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create_module(self, spec: Any) -> Any:
        return self._real.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._real.exec_module(module)
        redirect(module)


class _Nothing:
    """Makes a package of any names, each of them a type of which nobody makes an instance."""

    def create_module(self, spec: Any) -> Any:
        return None

    def exec_module(self, module: Any) -> None:
        def made(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {"__init__": None})

        module.__getattr__ = made


class _Finder:
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name.startswith(UNUSED) and os.environ.get(VARIABLE):
            return importlib.machinery.ModuleSpec(name, _Nothing(), is_package=True)
        if name != TARGET:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment] # it does what a loader does
        return spec


if __name__ == "sitecustomize" and not getattr(sys, "snowflake_redirected", False):
    sys.snowflake_redirected = True  # type: ignore[attr-defined] # others of this kind may import this one again
    sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type] # it does what a finder does
    # The one that this one hides, if there is any.
    places = [Path(folder or ".").resolve() for folder in sys.path]
    behind = sys.path[places.index(HERE) + 1 :] if HERE in places else []
    hidden = importlib.machinery.PathFinder.find_spec("sitecustomize", behind)
    if hidden is not None and hidden.loader is not None:
        hidden.loader.exec_module(importlib.util.module_from_spec(hidden))
