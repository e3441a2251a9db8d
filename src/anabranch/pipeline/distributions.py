"""Which installed distribution, at which version, an imported module belongs to.

``importlib.metadata.packages_distributions()`` answers this by reading the records of everything installed (110 ms for
65 distributions, and 60 ms for its own import); here one listing of the folder and one record are read, and the rest
only if the names do not agree. Knows folders and their records, and nothing of the project.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple


class Distribution(NamedTuple):
    """An installed distribution: its name as it writes it, and its version."""

    name: str
    version: str


class _Site:
    """One folder that things are installed in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.infos: dict[str, list[Path]] = {}
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            entries = []
        for entry in entries:
            if entry.name.endswith((".dist-info", ".egg-info")):
                self.infos.setdefault(_normal(entry.name.rpartition(".")[0].partition("-")[0]), []).append(
                    entry
                )
        self._tops: dict[str, list[Path]] | None = None

    def owners(self, module: str) -> list[Path]:
        """The records that claim a module; the nearest claim counts, for packages may share a namespace."""
        top = module.partition(".")[0]
        for info in self.infos.get(_normal(top), ()):
            if top in _claims(info):
                candidates = [info, *(self.tops.get(top, []) if _shared(self.folder, top) else [])]
                return self._nearest(list(dict.fromkeys(candidates)), module)
        return self._nearest(self.tops.get(top, []), module)

    @property
    def tops(self) -> dict[str, list[Path]]:
        if self._tops is None:
            self._tops = {}
            for infos in self.infos.values():
                for info in infos:
                    for top in _claims(info):
                        self._tops.setdefault(top, []).append(info)
        return self._tops

    def _nearest(self, candidates: list[Path], module: str) -> list[Path]:
        if len(candidates) < 2:
            return candidates
        parts = module.split(".")
        for length in range(len(parts), 0, -1):
            path = "/".join(parts[:length])
            pattern = re.compile(rf"^{re.escape(path)}(/|\.)", re.MULTILINE)
            owning = [info for info in candidates if pattern.search(_record(info))]
            if len(owning) == 1 or (owning and length == 1):
                return owning
        return candidates


class Distributions:
    """Answers for the interpreter's ``sys.path``; each folder is read at most once, when first asked."""

    def __init__(self) -> None:
        self._sites: dict[str, _Site] = {}
        self._known: dict[str, tuple[Distribution, ...]] = {}

    def of(self, module: str) -> tuple[Distribution, ...]:
        """The distributions that a module (a dotted name) belongs to; none for what was not installed."""
        found = self._known.get(module)
        if found is None:
            found = self._known[module] = self._find(module)
        return found

    def _find(self, module: str) -> tuple[Distribution, ...]:
        for folder in sys.path:
            site = self._sites.get(folder)
            if site is None:
                site = self._sites[folder] = _Site(Path(folder or "."))
            if site.infos:
                owners = site.owners(module)
                if owners:
                    return tuple(sorted({_identity(info) for info in owners}))
        return ()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _shared(folder: Path, top: str) -> bool:
    """Whether several distributions may put files under one name: a package without ``__init__``."""
    return (folder / top).is_dir() and not (folder / top / "__init__.py").exists()


@lru_cache(maxsize=4096)
def _record(info: Path) -> str:
    for name in ("RECORD", "installed-files.txt", "SOURCES.txt"):
        try:
            return (info / name).read_text(encoding="utf-8", errors="replace").replace("\\", "/")
        except OSError:
            continue
    return ""


@lru_cache(maxsize=4096)
def _claims(info: Path) -> frozenset[str]:
    """The top-level names of a distribution, by its files and by what it says."""
    tops: set[str] = set()
    for line in _record(info).splitlines():
        path = line.partition(",")[0].removeprefix("../")
        head, slash, _ = path.partition("/")
        if slash:
            if "." not in head:
                tops.add(head)
        elif head.endswith((".py", ".so", ".pyd")):
            tops.add(head.partition(".")[0])
        elif head.startswith("__editable__"):
            tops.add(head.removeprefix("__editable__").strip("_.").partition("-")[0])
    with suppress(OSError):
        tops.update((info / "top_level.txt").read_text(encoding="utf-8").split())
    if not tops:
        tops.add(_normal(info.name.partition("-")[0]))
    return frozenset(tops)


@lru_cache(maxsize=4096)
def _identity(info: Path) -> Distribution:
    name, version = info.name.rpartition(".")[0].partition("-")[::2]
    for file in ("METADATA", "PKG-INFO"):
        try:
            text = (info / file).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("Name:"):
                name = line[5:].strip()
            elif line.startswith("Version:"):
                version = line[8:].strip()
            elif not line:
                break
        break
    return Distribution(name, version)
