"""Where files are, and who may write which of them.

Isolation is decided here and nowhere else: every byte that reaches a warehouse passes a `Storage`, and a storage
writes only what its `Scope` allows. So is durability: a file is flushed, then its folder, before anything may point
to it. This module knows locations and bytes; it knows nothing of tables, of the catalog or of branches.

Locations are plain absolute paths (``/data/warehouse/…``) on a local file system, which pyiceberg, DuckDB, polars
and pyarrow all take as they are, and URIs (``s3://bucket/…``) on an object store.
"""

# A location is a string; a Path of each would cost a good part of a small write.
# ruff: noqa: PTH100, PTH102, PTH106, PTH108, PTH111, PTH112, PTH113, PTH114, PTH116, PTH117, PTH118, PTH120

from __future__ import annotations

import os
import re
import shutil
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast
from urllib.parse import unquote

from anabranch.dataclass import dataclass
from anabranch.errors import IsolationError, LakeError, MissingFileError
from anabranch.names import is_key, split_key

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileSystem
    from pyiceberg.io import FileIO

SANDBOXES = "_sandboxes"
MASKED = "_masked"
APART = (SANDBOXES, MASKED)
"""Folders of the warehouse in which each sandbox, and each masked environment, has a folder of its own."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SANDBOX_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Scope:
    """Which part of a warehouse may be written; made by one of the class methods.

    Attributes:
        kind: What may be done: write an environment's files, write one sandbox's or one masked environment's, only
            read, or remove garbage.
        sandbox_id: The folder's name, for kinds ``sandbox`` and ``masked``.
    """

    kind: Literal["environment", "sandbox", "masked", "read_only", "sweep"]
    sandbox_id: str = ""

    @classmethod
    def environment(cls) -> Scope:
        """Anywhere under the warehouse but the sandboxes and the masked environments."""
        return cls("environment")

    @classmethod
    def sandbox(cls, sandbox_id: str) -> Scope:
        """Only under ``<warehouse>/_sandboxes/<id>/``.

        Raises:
            IsolationError: the id could name anything but one folder.
        """
        return cls("sandbox", _one_folder(sandbox_id, "a sandbox"))

    @classmethod
    def masked(cls, folder: str) -> Scope:
        """Only under ``<warehouse>/_masked/<folder>/``. Raises IsolationError as `sandbox` does."""
        return cls("masked", _one_folder(folder, "a masked environment"))

    @classmethod
    def read_only(cls) -> Scope:
        """Nowhere."""
        return cls("read_only")

    @classmethod
    def sweep(cls) -> Scope:
        """Writes nothing, and may remove any file of the warehouse: for gc alone."""
        return cls("sweep")

    @property
    def folder(self) -> str:
        """The folder below the warehouse that new files go to: empty, ``_sandboxes/<id>`` or ``_masked/<id>``."""
        home = {"sandbox": SANDBOXES, "masked": MASKED}.get(self.kind)
        return f"{home}/{self.sandbox_id}" if home is not None else ""

    def writes(self, parts: tuple[str, ...]) -> bool:
        """Whether a file may be written whose path below the warehouse has these parts."""
        if self.kind == "environment":  # a file system may not tell upper from lower case
            return len(parts) > 1 and parts[0].casefold() not in APART
        own = tuple(self.folder.split("/"))
        return self.kind in ("sandbox", "masked") and len(parts) > 2 and parts[:2] == own

    def __str__(self) -> str:
        return {
            "environment": "an environment's scope (anything but the sandboxes)",
            "sandbox": f"the scope of the sandbox {self.sandbox_id!r}",
            "masked": f"the scope of the masked environment {self.sandbox_id!r}",
            "read_only": "a scope that only reads",
            "sweep": "the scope of garbage collection, which writes nothing",
        }[self.kind]


def _one_folder(name: str, whose: str) -> str:
    if _SANDBOX_ID.fullmatch(name) is None:
        raise IsolationError(
            f"{name!r} can't be the folder of {whose}",
            hint="use letters, digits, _ - and . (not as the first character)",
        )
    return name


@dataclass(frozen=True)
class StoredFile:
    """A file that is there: its location, its size in bytes and when it was last modified (UTC)."""

    location: str
    size: int
    modified: datetime


class Storage:
    """A warehouse, seen through a scope. Cheap to make, safe to share between threads, and picklable.

    Args:
        warehouse: A local path, a ``file://`` URI, or the URI of an object store.
        properties: pyiceberg's properties of the object store (``s3.endpoint``, ``s3.access-key-id``, …).
        scope: What may be written. Nothing unless said.
    """

    def __init__(
        self,
        warehouse: str | os.PathLike[str],
        *,
        properties: Mapping[str, str] | None = None,
        scope: Scope | None = None,
    ) -> None:
        self.properties = dict(properties or {})
        self.scope = scope or Scope.read_only()
        self.warehouse, self.local = _canonical_warehouse(os.fspath(warehouse))
        self._root = os.path.realpath(self.warehouse) if self.local else ""
        self._forget()

    def _forget(self) -> None:
        self._io: FileIO | None = None
        self._filesystem: FileSystem | None = None
        self._lock = threading.Lock()
        self._made: set[str] = set()  # folders that were made here and whose names are not on disk for sure
        self._flushed: dict[str, int] = {}  # folder → inode of folders whose names are

    def __getstate__(self) -> dict[str, Any]:
        return {
            "warehouse": self.warehouse,
            "local": self.local,
            "properties": self.properties,
            "scope": self.scope,
            "_root": self._root,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __repr__(self) -> str:
        return f"Storage({self.warehouse!r}, scope={self.scope.kind})"

    def scoped(self, scope: Scope) -> Storage:
        """The same warehouse under another scope."""
        return Storage(self.warehouse, properties=self.properties, scope=scope)

    # where things are

    def table_folder(self, key: str) -> str:
        """The folder for new files of a table or file asset in this scope, without a slash at its end.

        Raises:
            LakeError: key is no key.
        """
        if not is_key(key):
            raise LakeError(f"{key!r} is no asset's key", hint="a key is name or namespace.name")
        namespace, name = split_key(key)
        return "/".join(part for part in (self.warehouse, self.scope.folder, namespace, name) if part)

    def canonical(self, location: str) -> str:
        """A location of this warehouse as `list` would give it. Raises IsolationError outside of it."""
        return f"{self.warehouse}/{'/'.join(self._parts(location))}"

    def contains(self, location: str) -> bool:
        """Whether a location lies in this warehouse, once symlinks and dots are resolved."""
        try:
            self._parts(location)
        except IsolationError:
            return False
        return True

    def check_writable(self, location: str) -> str:
        """The canonical location, if this scope may write there. Reads the file system, changes nothing.

        Raises:
            IsolationError: the location is outside the scope, or does not name one place for sure.
        """
        parts = self._parts(location)
        if not self.scope.writes(parts):
            raise IsolationError(
                f"{location} can't be written from {self.scope}",
                hint="a sandbox writes only its own files, and nobody but a sandbox writes there",
                location=location,
                scope=self.scope.kind,
            )
        return f"{self.warehouse}/{'/'.join(parts)}"

    def _parts(self, location: str) -> tuple[str, ...]:
        """The parts of a location's path below the warehouse. Raises IsolationError where it is not below it."""
        path = _local_path(location) if self.local else location.rstrip("/")
        below = f"{self.warehouse}/"
        real = f"{self._root}/"
        if path is None or not path.startswith((below, real) if self.local else below):
            raise IsolationError(
                f"{location} is outside the warehouse {self.warehouse}",
                hint="everything that is kept lies in one warehouse",
                location=location,
            )
        parts = tuple(path[len(below if path.startswith(below) else real) :].split("/"))
        if any(_is_treacherous(part) for part in parts):
            raise IsolationError(
                f"{location} does not say plainly where it is",
                hint="write the location without empty parts, dots, backslashes or escapes of them",
                location=location,
            )
        if self.local:  # what a symlink on the way makes of it must be the same place
            folder, name = os.path.split(f"{self._root}/{'/'.join(parts)}")
            resolved = os.path.join(os.path.realpath(folder), name)
            if resolved != os.path.join(folder, name) or os.path.islink(resolved):
                raise IsolationError(
                    f"{location} leads through a symlink to {os.path.realpath(resolved)}",
                    hint="a warehouse holds files and folders, no links",
                    location=location,
                )
        return parts

    # writing

    def write_bytes(self, location: str, data: bytes) -> str:
        """Makes a file of the bytes, durably, and returns its canonical location. Never replaces a file.

        Raises:
            IsolationError: outside the scope.
            LakeError: a file is there already.
        """
        location = self.put_bytes(location, data)
        self.settle([location])
        return location

    def put_bytes(self, location: str, data: bytes) -> str:
        """As `write_bytes`, but durable only after `settle`."""
        location = self.check_writable(location)
        if self.local:
            with self._create_local(location) as file:
                file.write(data)
        else:
            with self.create(location) as sink:
                sink.write(data)
        return location

    def write_file(self, location: str, source: str | os.PathLike[str]) -> str:
        """Copies a local file to the location, durably, as `write_bytes` does; streams.

        Raises:
            MissingFileError: the source is not there.
        """
        location = self.check_writable(location)
        try:
            file = Path(source).open("rb")  # noqa: SIM115 -- closed below, outside of this try
        except (FileNotFoundError, IsADirectoryError) as error:
            raise MissingFileError(
                f"{os.fspath(source)} is not a file", location=os.fspath(source)
            ) from error
        with file:
            if self.local:
                with self._create_local(location) as target:
                    shutil.copyfileobj(file, target, 1 << 20)
            else:
                with self.create(location) as sink:
                    while block := file.read(1 << 23):
                        sink.write(block)
        self.settle([location])
        return location

    def create(self, location: str) -> pa.NativeFile:
        """Opens a new file for writing by Arrow. Durable only after it was closed and `settle` was called.

        Raises:
            IsolationError: outside the scope.
            LakeError: a file is there already.
        """
        import pyarrow as pa

        location = self.check_writable(location)
        if self.local:
            self._create_local(
                location
            ).close()  # exclusive: a file that is there, or a link, is never touched
            return pa.OSFile(location, "wb")
        from pyarrow.fs import FileType

        filesystem, path = self.filesystem(location)
        if filesystem.get_file_info(path).type != FileType.NotFound:
            raise _taken(location)
        return filesystem.open_output_stream(path)

    def _create_local(self, location: str) -> BinaryIO:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        for attempt in range(5):
            self._make_folder(os.path.dirname(location))
            try:
                return os.fdopen(os.open(location, flags, 0o666), "wb", buffering=0)
            except FileExistsError:
                raise _taken(location) from None
            except FileNotFoundError:  # gc removed the folder, which was empty, in between
                if attempt == 4:
                    raise
        raise AssertionError

    def _make_folder(self, folder: str) -> None:
        if os.path.isdir(folder):
            return
        missing = []
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            try:
                os.mkdir(path)
            except FileExistsError:
                continue
            with self._lock:
                self._made.add(path)

    def settle(self, locations: Iterable[str]) -> None:
        """Makes local files survive a power cut: flushes each, then its folder and the folders above it.

        Idempotent; does nothing on an object store, where a finished upload is durable. Folders whose names are known
        to be on disk are not flushed again, but for the ones that hold the files.
        """
        if not self.local:
            return
        folders: dict[str, None] = {}
        for location in locations:
            _flush(location)
            folders[os.path.dirname(location)] = None
        for folder in folders:
            _flush(folder)
        with self._lock:
            made = sorted(self._made)
        chain: dict[str, None] = {}
        for folder in [*folders, *made]:
            while folder not in chain and folder != os.path.dirname(folder):
                inode = os.stat(folder).st_ino
                if self._flushed.get(folder) == inode or (
                    not folder.startswith(f"{self.warehouse}/") and folder not in made
                ):
                    break
                chain[folder] = None
                self._flushed[folder] = inode
                folder = os.path.dirname(folder)  # noqa: PLW2901 -- the walk upwards is what the loop is
        for parent in dict.fromkeys(os.path.dirname(folder) for folder in chain):
            _flush(parent)
        with self._lock:
            self._made.difference_update(made)

    # reading

    def read_bytes(self, location: str) -> bytes:
        """A whole file. Raises MissingFileError."""
        with self.open_input(location) as file:
            return file.read()

    def open_input(self, location: str) -> BinaryIO:
        """Opens a file for reading as a stream; the caller closes it. Raises MissingFileError."""
        path = _local_path(location)
        try:
            if path is not None:
                return Path(path).open("rb")
            filesystem, path = self.filesystem(location)
            return cast("BinaryIO", filesystem.open_input_file(path))
        except (FileNotFoundError, IsADirectoryError) as error:
            raise missing_file(location) from error

    def exists(self, location: str) -> bool:
        """Whether a file is there."""
        path = _local_path(location)
        if path is not None:
            return os.path.isfile(path)
        from pyarrow.fs import FileType

        filesystem, path = self.filesystem(location)
        return bool(filesystem.get_file_info(path).type == FileType.File)

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        """All files of the warehouse, or of one folder in it, in no order.

        Args:
            prefix: A folder, relative to the warehouse or as a location.

        Raises:
            IsolationError: the folder is outside the warehouse.
        """
        folder = self.warehouse
        if prefix.strip("/") and prefix.rstrip("/") != self.warehouse:
            inside = prefix if _SCHEME.match(prefix) or os.path.isabs(prefix) else f"{folder}/{prefix}"
            folder = f"{folder}/{'/'.join(self._parts(inside.rstrip('/')))}"
        if self.local:
            yield from _walk(folder)
            return
        from pyarrow.fs import FileSelector, FileType

        filesystem, path = self.filesystem(folder)
        for info in filesystem.get_file_info(FileSelector(path, allow_not_found=True, recursive=True)):
            if info.type == FileType.File:
                below = info.path.strip("/").removeprefix(path.strip("/")).lstrip("/")
                modified = info.mtime or datetime.fromtimestamp(0, UTC)
                yield StoredFile(f"{folder}/{below}", info.size, modified.astimezone(UTC))

    def remove(self, locations: Iterable[str]) -> int:
        """Removes files, and local folders that this leaves empty; returns how many files were there.

        Idempotent: a file that is not there is no error.

        Raises:
            IsolationError: the scope is not `Scope.sweep`, or a location is outside the warehouse.
        """
        wanted = list(locations)
        if self.scope.kind != "sweep":
            raise IsolationError(
                f"files can't be removed from {self.scope}",
                hint="only garbage collection removes files: anabranch gc",
                scope=self.scope.kind,
            )
        paths = [self.canonical(location) for location in wanted]
        if self.local:
            return self._remove_local(paths)
        from pyarrow.fs import FileType

        removed = 0
        for location in paths:
            filesystem, path = self.filesystem(location)
            if filesystem.get_file_info(path).type == FileType.File:
                filesystem.delete_file(path)
                removed += 1
        return removed

    def _remove_local(self, paths: Iterable[str]) -> int:
        removed = 0
        folders = set()
        for path in paths:
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                pass
            else:
                removed += 1
            folders.add(os.path.dirname(path))
        for folder in sorted(folders, key=len, reverse=True):
            while folder.startswith(f"{self.warehouse}/"):
                try:
                    os.rmdir(folder)
                except FileNotFoundError:
                    pass
                except OSError:  # not empty
                    break
                folder = os.path.dirname(folder)  # noqa: PLW2901 -- the walk upwards is what the loop is
        return removed

    # for libraries

    @property
    def io(self) -> FileIO:
        """A pyiceberg FileIO that reads anything, writes only inside the scope, and deletes nothing."""
        if self._io is None:
            from anabranch.lake.fileio import GuardedFileIO

            self._io = GuardedFileIO(self)
        return self._io

    def filesystem(self, location: str) -> tuple[FileSystem, str]:
        """Arrow's file system of a location, and the path in it. Unguarded: for reading, and for this floor's own use."""
        path = _local_path(location)
        if path is not None:
            from pyarrow.fs import LocalFileSystem

            return LocalFileSystem(), path
        match = _SCHEME.match(location)
        if match is None:
            raise LakeError(f"{location!r} is neither a path nor a URI")
        path = location[match.end() :]
        if self._filesystem is None:
            self._filesystem = _remote_filesystem(match[1], path, self.properties)
        return self._filesystem, path


def missing_file(location: str, key: str | None = None) -> MissingFileError:
    """The error that says which file is not there, and of which asset."""
    return MissingFileError(
        f"the file {location}{f' of {key}' if key else ''} is not there",
        hint="was it removed by hand? A commit that still points to it can't be read; build the asset again",
        location=location,
        key=key,
    )


def _taken(location: str) -> LakeError:
    return LakeError(
        f"there is a file at {location} already", hint="files are never replaced", location=location
    )


def _canonical_warehouse(text: str) -> tuple[str, bool]:
    path = _local_path(text)
    if path is not None:
        return os.path.abspath(os.path.expanduser(path)), True
    match = _SCHEME.match(text)
    rest = text[match.end() :].strip("/") if match else ""
    if match is None or not rest or any(_is_treacherous(part) for part in rest.split("/")):
        raise LakeError(
            f"{text!r} is not a place for a warehouse", hint="write a path, or s3://bucket/folder"
        )
    return f"{match[1].lower()}://{rest}", False


def _local_path(location: str) -> str | None:
    """The path of a local location, or None for an object store's."""
    if location.startswith("file:"):
        rest = location[5:]
        return unquote(rest[2:]) if rest.startswith("///") else unquote(rest)
    return None if _SCHEME.match(location) else location


def _is_treacherous(part: str) -> bool:
    """Whether a part of a path is not, or could be decoded to, anything but the name of one file or folder."""
    if part == "" or any(character < " " or character in "\\\x7f" for character in part):
        return True
    seen = ""
    while seen != part:
        if any(piece in (".", "..") for piece in re.split(r"[/\\]", part)):
            return True
        seen, part = part, unquote(part)
    return False


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(folder: str) -> Iterator[StoredFile]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # gone in between
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(entry.path)
        elif stat.S_ISREG(status.st_mode):
            yield StoredFile(entry.path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _remote_filesystem(scheme: str, path: str, properties: Mapping[str, str]) -> FileSystem:
    from pyiceberg.io import SCHEMA_TO_FILE_IO

    if scheme in SCHEMA_TO_FILE_IO:
        from pyiceberg.io import load_file_io
        from pyiceberg.io.pyarrow import PyArrowFileIO

        io = load_file_io(dict(properties), f"{scheme}://{path}")
        if isinstance(io, PyArrowFileIO):
            return io.fs_by_scheme(scheme, path.partition("/")[0])
        inner = io.get_fs(scheme)  # type: ignore[attr-defined]
    else:
        import fsspec

        inner = fsspec.filesystem(scheme)
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return PyFileSystem(FSSpecHandler(inner))
