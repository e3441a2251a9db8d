"""The project's files and modules: what belongs to it, and which file a module's name means.

Asks the interpreter where a loaded module came from, and searches for the others, without importing any.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from anabranch.pipeline.kept import Kept
from anabranch.pipeline.sources import FRAMEWORKS, Source

_INSTALLED = frozenset({"site-packages", "dist-packages", "node_modules", "__pypackages__"})


class ProjectFiles:
    """The files of one project, each read at most once.

    Args:
        project_root: Files below it are the project's, except installed ones.
        also: Further folders whose files count as the project's.
        kept: Where what is read is kept from process to process, or None.
    """

    def __init__(self, project_root: Path, also: Sequence[Path] = (), kept: Kept | None = None) -> None:
        self.root = Path(_absolute(project_root))
        self.also = tuple(Path(_absolute(folder)) for folder in also)
        self._kept = kept
        self._folders = [(str(f), os.path.realpath(f)) for f in (self.root, *self.also)]
        self._relative: dict[str, str | None] = {}
        self._spelled: dict[str, Source | None] = {}  # as somebody wrote the path
        self._by_path: dict[str, Source] = {}
        self._modules: dict[str, Source | None] = {}

    def read(self) -> list[Source]:
        """What was read so far, by path."""
        return sorted((s for s in self._by_path.values() if s.path), key=lambda s: s.relative)

    def relative(self, path: str) -> str | None:
        """The path from the project's root, with ``/``; None for a file that is not the project's."""
        if path not in self._relative:
            self._relative[path] = self._place_in_project(path)
        return self._relative[path]

    def _place_in_project(self, path: str) -> str | None:
        if not path or path.startswith("<"):
            return None
        absolute = _absolute(path)
        real = os.path.realpath(path)
        for position, (folder, real_folder) in enumerate(self._folders):
            for candidate, base in ((absolute, folder), (real, real_folder)):
                if candidate != base and not candidate.startswith(base.rstrip(os.sep) + os.sep):
                    continue
                if _INSTALLED.intersection(Path(candidate).parts) - _INSTALLED.intersection(Path(base).parts):
                    return None
                prefix = sys.prefix + os.sep
                if candidate.startswith(prefix) and not base.startswith(prefix) and base != sys.prefix:
                    return None
                inner = os.path.relpath(candidate, base).replace(os.sep, "/")
                return inner if position == 0 else f"{Path(folder).name}/{inner}"
        return None

    def source_at(self, path: str, name: str, *, is_package: bool | None = None) -> Source | None:
        """The parsed file at a path, or None if it is not the project's or has no text."""
        if path not in self._spelled:
            self._spelled[path] = self._read(path, name, is_package)
        return self._spelled[path]

    def _read(self, path: str, name: str, is_package: bool | None) -> Source | None:
        real = os.path.realpath(path)
        found = self._by_path.get(real)
        if found is not None:
            return found
        relative = self.relative(path)
        if relative is None or not path.endswith(".py") or not Path(path).is_file():
            return None
        package = Path(path).name == "__init__.py" if is_package is None else is_package
        folders = (Path(path).parent,) if package else ()
        source = Source(name, Path(path), relative, is_package=package, folders=folders, kept=self._kept)
        self._by_path[real] = source
        return source

    def module(self, name: str) -> Source | None:
        """A module of the project by its dotted name; None for anybody else's."""
        if name not in self._modules:
            self._modules[name] = self._find_module(name) if name else None
        return self._modules[name]

    def _find_module(self, name: str) -> Source | None:
        top, _, _ = name.partition(".")
        if top in FRAMEWORKS:
            return None
        loaded = sys.modules.get(name)
        if loaded is not None:
            file = getattr(loaded, "__file__", None)
            if file:
                return self.source_at(str(file), name, is_package=hasattr(loaded, "__path__"))
            return self._namespace(name, [Path(p) for p in getattr(loaded, "__path__", ())])
        parent, _, last = name.rpartition(".")
        if parent:
            source = self.module(parent)
            return self._search(name, last, source.folders) if source is not None else None
        if top in sys.stdlib_module_names:
            return None
        return self._search(name, top, self._search_folders())

    def _search_folders(self) -> tuple[Path, ...]:
        listed = [Path(_absolute(p)) for p in sys.path]
        inside = [p for p in listed if any(p == f or f in p.parents for f in (self.root, *self.also))]
        return tuple(dict.fromkeys((*inside, self.root, self.root / "src", *self.also)))

    def _search(self, name: str, last: str, folders: Iterable[Path]) -> Source | None:
        spaces: list[Path] = []
        for folder in folders:
            for path in (folder / last / "__init__.py", folder / f"{last}.py"):
                if path.is_file():
                    return self.source_at(str(path), name)
            if (folder / last).is_dir():
                spaces.append(folder / last)
        return self._namespace(name, spaces)

    def _namespace(self, name: str, folders: list[Path]) -> Source | None:
        inside = tuple(f for f in folders if self.relative(str(f)) is not None)
        if not inside:
            return None
        return Source(name, None, "", is_package=True, folders=inside)

    def source_of_code(self, code: types.CodeType, scope: dict[str, Any] | None) -> Source | None:
        """The file that a function's code came from, if it is the project's."""
        spec = (scope or {}).get("__spec__")
        name = getattr(spec, "name", None) or (scope or {}).get("__name__") or ""
        if not isinstance(name, str) or name == "__main__":
            name = ""
        if not name:
            relative = self.relative(code.co_filename) or ""
            name = (
                relative.removesuffix(".py").removesuffix("/__init__").removeprefix("src/").replace("/", ".")
            )
        return self.source_at(code.co_filename, name)


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links, and a link may lead into the project
