"""The child process that imports a Dagster project and tells what is in it, and on what that depends.

What it reads of the project's files, of the folders' contents and of the environment's variables is noted, so that its
answer can be kept until one of them changes. It never writes to the parent's output: what the project prints goes to
stderr, the answer through a pipe of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from anabranch.adapters.dagster.kept import FORMAT, listing, sha256, variable
from anabranch.errors import AnabranchError

_SKIPPED = {
    ".venv",
    "venv",
    "site-packages",
    "node_modules",
    ".anabranch",
    "__pycache__",
    ".git",
    ".tox",
    ".nox",
}


class Watch:
    """Notes what of a project's surroundings is read while its code is imported."""

    def __init__(self, root: Path) -> None:
        self.root = f"{root}{os.sep}"
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self.variables: set[str] = set()
        self.on = False

    def install(self) -> None:
        """Begins, for this process's life: hooks can't be taken out again."""
        sys.addaudithook(self._hear)
        watch = self

        class Environ(type(os.environ)):  # type: ignore[misc]
            def __getitem__(self, key: str) -> str:
                watch.asked(key)
                value: str = super().__getitem__(key)
                return value

        os.environ.__class__ = Environ

    def asked(self, name: str) -> None:
        """A variable was read; counts where the project's own code has asked, be it through a library."""
        if not self.on or not isinstance(name, str):
            return
        frame: Any = sys._getframe(1)  # noqa: SLF001 - the way to those who ask
        while frame is not None:
            file = frame.f_code.co_filename
            if "importlib._bootstrap" in file:
                return  # a library that reads its own settings while it is imported
            if file.startswith(self.root) and self._is_own(file):
                self.variables.add(name)
                return
            frame = frame.f_back

    def _hear(self, event: str, arguments: Any) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, _ = arguments
            if isinstance(path, str) and (mode is None or "r" in str(mode)):
                self._note(path, self.files)
        elif event in ("os.listdir", "os.scandir"):
            path = arguments[0]
            self._note(os.getcwd() if path is None else path, self.folders)  # noqa: PTH109 - no Path in a hook

    def _note(self, path: Any, where: set[str]) -> None:
        if not isinstance(path, str):
            return
        whole = os.path.abspath(path)  # noqa: PTH100
        if f"{whole}{os.sep}".startswith(self.root) and self._is_own(whole) and not whole.endswith(".pyc"):
            where.add(whole)

    def _is_own(self, path: str) -> bool:
        return _SKIPPED.isdisjoint(Path(path[len(self.root) :]).parts)


def look(request: Mapping[str, Any]) -> dict[str, Any]:
    """Imports and describes. Raises AnabranchError."""
    root = Path(request["root"])
    watch = Watch(root)
    watch.install()
    import dagster

    from anabranch.adapters.dagster.describe import describe
    from anabranch.adapters.dagster.loading import load_repository, refused
    from anabranch.pipeline.fingerprint import CodeReader

    watch.on = True
    repository, files = load_repository(request["target"], root, [Path(p) for p in request["source"]])
    reader = CodeReader(root, cache_dir=None if request["cache"] is None else Path(request["cache"]))
    watch.on = False
    try:
        described = describe(repository, reader, request["run_config"])
    except AnabranchError:
        raise
    except Exception as error:
        raise refused(error, request["target"], root) from error
    read = dict(_relative(root, watch.files, sha256))
    return {
        "format": FORMAT,
        "described": described,
        "depends": {
            "dagster": dagster.__version__,
            "python": sys.version,
            "files": {**{k: v for k, v in read.items() if k not in files}, **files, **reader.files()},
            "folders": dict(_relative(root, watch.folders, listing)),
            "variables": {name: variable(name, request["salt"]) for name in sorted(watch.variables)},
            "distributions": _distributions(described),
        },
        "files": dict(files),
    }


def _relative(root: Path, paths: set[str], of: Any) -> Iterator[tuple[str, str]]:
    for path in sorted(paths):
        told = of(Path(path))
        if told is not None:
            yield Path(path).relative_to(root).as_posix(), told


def _distributions(described: Mapping[str, Any]) -> dict[str, str]:
    """The versions of the distributions that code was found to reach."""
    codes = [each["code"] for each in described["assets"]]
    codes += [each["code"] for each in described["resources"].values() if each["code"]]
    return {
        name.removeprefix("distribution "): version
        for code in codes
        for name, kind, version, *_ in code["parts"]
        if kind == "distribution"
    }
