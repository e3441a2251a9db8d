"""pyiceberg's door to a `Storage`, so that pyiceberg is held by the same scope as everybody else.

Whatever pyiceberg's own API is asked to write (a table property that names another folder, a staged table, a manifest)
comes through here. Apart from `storage.py` because importing pyiceberg's file system takes a second.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from pyiceberg.io import InputFile, OutputFile, OutputStream
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from anabranch.errors import IsolationError

if TYPE_CHECKING:
    from anabranch.lake.storage import Storage


class _GuardedFile(PyArrowFile):
    """A new file inside the scope. ``create`` never replaces a file, whatever ``overwrite`` says."""

    def __init__(self, io: GuardedFileIO, location: str) -> None:
        filesystem, path = io.storage.filesystem(location)
        super().__init__(location, path, filesystem)
        self._io = io

    def create(self, overwrite: bool = False) -> OutputStream:  # noqa: ARG002 -- pyiceberg's signature
        self._io.wrote(self.location)
        stream: OutputStream = self._io.storage.create(self.location)
        return stream


class GuardedFileIO(PyArrowFileIO):
    """Reads anything, writes only inside the storage's scope, deletes nothing.

    pyiceberg tidies up after a commit that failed by deleting what it had written for it. Such a deletion, of a file
    that this very object has created, is passed over in silence (the file is garbage, and gc collects garbage); any
    other is refused.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__(dict(storage.properties))
        self.storage = storage
        self._created: set[str] = set()
        self._lock = threading.Lock()

    def new_input(self, location: str) -> PyArrowFile:
        filesystem, path = self.storage.filesystem(location)
        return PyArrowFile(location, path, filesystem)

    def new_output(self, location: str) -> PyArrowFile:
        """A file to be created. Raises IsolationError where the scope does not reach."""
        return _GuardedFile(self, self.storage.check_writable(location))

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Deletes nothing. Raises IsolationError unless this object made the file."""
        place = location if isinstance(location, str) else location.location
        if place not in self._created:
            raise IsolationError(
                f"{place} can't be deleted: other refs may share the file",
                hint="drop the table; anabranch gc removes its files once nothing needs them",
                location=place,
            )

    def wrote(self, location: str) -> None:
        """Remembers a file as made here."""
        with self._lock:
            self._created.add(location)

    def __getstate__(self) -> dict[str, Any]:
        return {"storage": self.storage}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["storage"])  # type: ignore[misc]
