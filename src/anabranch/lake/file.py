"""File assets: a trained model, a report. Bytes or a path on the way in, a handle on the way out."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING

from anabranch.errors import UnstorableError

if TYPE_CHECKING:
    from anabranch.lake.storage import Storage


class File:
    """A file that an asset returns, or that a reader is given.

    Args:
        content: Bytes, or the path of a file that will be copied.
        name: File name to keep, with its ending; default: the path's own, or ``data``.
    """

    def __init__(self, content: bytes | bytearray | str | Path, *, name: str | None = None) -> None:
        if isinstance(content, bytes | bytearray):
            self.content: bytes | Path = bytes(content)
            self.name = name or "data"
        elif isinstance(content, str | Path):
            self.content = Path(content)
            self.name = name or self.content.name
        else:
            raise UnstorableError(f"ab.File takes bytes or a path, not a {type(content).__name__}")
        if "/" in self.name or "\\" in self.name or self.name in ("", ".", ".."):
            raise UnstorableError(f"{self.name!r} can't be a file's name", hint="a name without folders")

    def read_bytes(self) -> bytes:
        """The whole content."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    def __repr__(self) -> str:
        return f"<file {self.name}>"


class StoredFile(File):
    """A stored version of a file asset, as an asset that reads it is given it."""

    def __init__(self, key: str, location: str, storage: Storage, version: str | None = None) -> None:
        self.key = key
        self.location = location
        self.version = version
        self.name = location.rsplit("/", 1)[-1].partition("-")[2]
        self._storage = storage

    def read_bytes(self) -> bytes:
        """The whole content. Raises MissingFileError."""
        return self._storage.read_bytes(self.location)

    def open(self) -> IO[bytes]:
        """A stream of the content. Raises MissingFileError. The caller closes it."""
        stream: IO[bytes] = self._storage.open_input(self.location)
        return stream

    def save(self, path: str | Path) -> Path:
        """Copies the content to a local file, and returns its path."""
        target = Path(path)
        with self.open() as source, target.open("wb") as sink:
            while block := source.read(1 << 20):
                sink.write(block)
        return target
