"""A project in files, imported and read, as often as a test needs one."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from anabranch.pipeline.fingerprint import CodeFingerprint, CodeReader


class Workshop:
    """Writes a project's files into a new folder each time, and reads an object of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = itertools.count()

    def write(self, files: Mapping[str, str]) -> Path:
        root = self._folder / f"checkout{next(self._count)}"
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text), encoding="utf-8")
        return root

    @contextmanager
    def imported(self, root: Path, target: str) -> Iterator[Any]:
        """The object ``module:name`` of a project, whose modules are forgotten afterwards."""
        before = set(sys.modules)
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
        try:
            module, _, path = target.partition(":")
            found: Any = importlib.import_module(module)
            for name in filter(None, path.split(".")):
                found = found[int(name)] if name.isdigit() else getattr(found, name)
            yield found
        finally:
            sys.path.remove(str(root))
            for name in set(sys.modules) - before:
                if str(root) in str(getattr(sys.modules[name], "__file__", "") or "") or str(root) in str(
                    list(getattr(sys.modules[name], "__path__", []))
                ):
                    del sys.modules[name]

    def read(self, files: Mapping[str, str], target: str = "assets:daily") -> CodeFingerprint:
        root = self.write(files)
        with self.imported(root, target) as found:
            return CodeReader(root).of(found)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def read(workshop: Workshop) -> Callable[..., CodeFingerprint]:
    return workshop.read
