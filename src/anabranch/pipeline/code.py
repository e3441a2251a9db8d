"""Reads the code of functions and classes as the project's files have it, and follows what it reaches.

The interpreter's objects only say where to begin, and what a closure holds; everything else is read from the files'
syntax trees, so that the answer is the same in every process and on every Python, whatever was imported before. What
is reached: functions, classes and constants of the project, by the scopes' rules; distributions, by version. The
standard library is not, nor is anabranch itself: its release would rebuild everybody's tables, and what its decorators
say that decides content (partitions, keys, config) the definitions hand to the fingerprint by themselves. For the same
reason decorators of anabranch are left out of the text.

Where code can't be followed (``exec``, a name that is put together at run time, a function without source) a note says
so. Not followed, because nothing in the text leads there: a method called on a value whose class no annotation names,
a change that another module makes to a constant (unless what is put there are functions, which are found in it), data
files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from anabranch.pipeline.files import ProjectFiles
from anabranch.pipeline.kept import kept_in
from anabranch.pipeline.objects import Objects, ObjectWalk
from anabranch.pipeline.parts import CodeFingerprint, Part, PartKind, summary

__all__ = ["CodeFingerprint", "CodeReader", "Part", "PartKind"]

_FILE = "code.jsonl"


class CodeReader:
    """Reads each file of a project at most once; make a new reader to see edits.

    Args:
        project_root: Files below it are the project's, except installed ones.
        also: Further folders whose files count as the project's.
        cache_dir: Folder where what was read of a file is kept, by the file's content; None to keep nothing. It may be
            lost at any time.
    """

    def __init__(
        self, project_root: Path, *, also: Sequence[Path] = (), cache_dir: Path | None = None
    ) -> None:
        kept = kept_in(cache_dir / _FILE) if cache_dir is not None else None
        self._files = ProjectFiles(project_root, also, kept)
        self._objects = Objects(self._files)

    @property
    def project_root(self) -> Path:
        """The absolute path of the project's folder."""
        return self._files.root

    def of(self, *objects: object, name: str | None = None) -> CodeFingerprint:
        """The code of functions, methods, classes, lambdas, partials, callable instances, and of all they reach.

        An object that has ``__anabranch_code__``, a tuple of objects, is read as those objects.

        Args:
            objects: Whose code it is, in an order that counts.
            name: What to call values and functions that have no name of their own; the asset's name.
        """
        walk = ObjectWalk(self._objects, name or "")
        for position, one in enumerate(objects):
            walk.visit(one, f"{position}")
        return summary(walk.edges, walk.again, walk.notes)

    def files(self) -> dict[str, str]:
        """Relative path → SHA-256 of every file of the project that was read so far."""
        return {source.relative: source.sha256 for source in self._files.read()}

    def is_project_file(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file belongs to the project: below its folders, and not installed there."""
        return self._files.relative(os.fspath(path)) is not None
