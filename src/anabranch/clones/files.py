"""What the clones of databases in single files have in common: where the copies lie, and how one gets its name.

A copy's mark is a small file beside it, ``NAME.anabranch``. It is written first and claims the name; then the copy is made
under a name that holds the record's id, flushed, and linked to its own name in one step that replaces nothing. So at each
moment a name holds a whole database or none, and the mark tells whose. Which bytes make a sound copy is for the subclass.
"""

from __future__ import annotations

import contextlib
import errno
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from anabranch.clones.base import CloneRecord, Found, Made, Mark, NameRule, Surroundings, not_ours
from anabranch.clones.copying import sync_path
from anabranch.errors import CloneError
from anabranch.settings.clones import DuckDBClone, SQLiteClone
from anabranch.settings.fields import resolve_references

_MARK = ".anabranch"
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class FileProvider:
    """A `Provider` of copies of one file; see there for what each method means."""

    companions: ClassVar[tuple[str, ...]]
    """What the database puts beside its file, by what is added to its name."""

    def __init__(self, settings: DuckDBClone | SQLiteClone, around: Surroundings) -> None:
        self._around = around
        text = resolve_references(settings.source, around.environ, place=around.place("source"))
        self.source = Path(os.path.normpath(Path(around.folder) / text))
        self.folder = Path(os.path.normpath(Path(around.folder) / settings.folder))
        self.suffix = self.source.suffix
        self.name_rule = NameRule(200 - len(self.suffix))

    @abstractmethod
    def copy(self, target: Path) -> str:
        """Makes a sound, flushed copy of the source at a path that does not exist. Returns how, in words."""

    def source_name(self) -> str:
        """The file's name without its suffix."""
        return self.source.stem

    def open(self, record: CloneRecord) -> Made:
        """See `Provider.open`."""
        with self._wrong("made"):
            if self.exists(record):
                self._tidy(record)
                return Made(new=False)
            self._claim(record)
            try:
                return self._make(record)
            except CloneError:
                # Nothing was made: nothing stays claimed.
                self._tidy(record)
                self._mark_file(record.name).unlink(missing_ok=True)
                raise

    def refresh(self, record: CloneRecord) -> Made:
        """See `Provider.refresh`. The old copy stays until the new one is whole."""
        with self._wrong("refreshed"):
            if not self.exists(record):
                self._claim(record)
            return self._make(record)

    def drop(self, record: CloneRecord) -> bool:
        """See `Provider.drop`. A process that has the copy open keeps it until it closes it."""
        with self._wrong("dropped"):
            was = self._tidy(record)
            if self._mark(record.name) == record.mark:
                self._remove(record)
                self._mark_file(record.name).unlink(missing_ok=True)
                was = True
            if was:
                sync_path(self.folder)
            return was

    def exists(self, record: CloneRecord) -> bool:
        """See `Provider.exists`."""
        return self._mark(record.name) == record.mark and self._file(record.name).is_file()

    def list(self, project: str) -> Sequence[Found]:
        """See `Provider.list`. Their size is that of the file alone."""
        found = []
        for file in sorted(self.folder.glob(f"*{_MARK}")) if self.folder.is_dir() else ():
            name = file.name.removesuffix(_MARK).removesuffix(self.suffix)
            mark = self._mark(name)
            if mark is None or (mark.project, mark.clone) != (project, self._around.clone):
                continue
            size = None
            with contextlib.suppress(FileNotFoundError):
                size = self._file(name).stat().st_size
            made = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            found.append(Found(name, mark, size, made, whole=size is not None))
        return found

    def address(self, name: str | None) -> str:
        """The file's absolute path."""
        return os.fspath(self.source if name is None else self._file(name))

    def close(self) -> None:
        """Nothing is held between calls."""

    def _file(self, name: str) -> Path:
        if not name or set(name) & set("/\\\0") or name.startswith("."):
            raise CloneError(f"{name!r} can't be the name of a copy")
        return self.folder / f"{name}{self.suffix}"

    def _mark_file(self, name: str) -> Path:
        file = self._file(name)
        return file.with_name(f"{file.name}{_MARK}")

    def _mark(self, name: str) -> Mark | None:
        try:
            return Mark.parse(self._mark_file(name).read_text(encoding="utf-8", errors="replace").strip())
        except FileNotFoundError:
            return None

    def _claim(self, record: CloneRecord) -> None:
        """Writes the mark, whole and flushed, before anything is there to be marked."""
        if not self.source.is_file():
            raise CloneError(
                f"there is no file {self.source} to be cloned",
                hint=f"set source in [clones.{record.clone}]: a path relative to the project's folder",
                place=self._around.place("source"),
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        file, mark = self._file(record.name), self._mark_file(record.name)
        if self._mark(record.name) == record.mark:
            return
        if file.exists() or mark.exists():
            raise not_ours(record, str(file), sandbox=getattr(self._mark(record.name), "sandbox", None))
        part = self.folder / f"{record.making}{_MARK}.part"
        with part.open("w", encoding="utf-8") as writing:
            writing.write(f"{record.mark}\n")
            writing.flush()
            os.fsync(writing.fileno())
        self._place(record, part, mark)

    def _make(self, record: CloneRecord) -> Made:
        self._tidy(record)
        part = self.folder / f"{record.making}{self.suffix}.part"
        how = self.copy(part)
        self._remove(record)
        self._place(record, part, self._file(record.name))
        return Made(new=True, how=how)

    def _place(self, record: CloneRecord, part: Path, final: Path) -> None:
        """Gives what is whole its name, and replaces nothing."""
        try:
            os.link(part, final)
        except FileExistsError:
            part.unlink()
            if final == self._file(record.name):
                # Somebody's file came in between: a mark beside it would say that it is ours.
                self._mark_file(record.name).unlink(missing_ok=True)
            raise not_ours(record, str(final)) from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if final.exists():
                raise not_ours(record, str(final)) from None
            part.rename(final)
        part.unlink(missing_ok=True)
        sync_path(self.folder)

    def _remove(self, record: CloneRecord) -> None:
        """Removes our own copy: the database first, so that nothing beside it is ever taken for part of another."""
        file = self._file(record.name)
        file.unlink(missing_ok=True)
        for ending in self.companions:
            file.with_name(f"{file.name}{ending}").unlink(missing_ok=True)

    def _tidy(self, record: CloneRecord) -> bool:
        """Removes what a crash has left of the making; its names hold the id. Returns whether there was anything."""
        left = list(self.folder.glob(f"{record.making}*")) if self.folder.is_dir() else []
        for file in left:
            file.unlink(missing_ok=True)
        return bool(left)

    @contextlib.contextmanager
    def _wrong(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise CloneError(
                f"the clone {self._around.clone} can't be {done}: {where}{error.strerror or error}"
            ) from error
