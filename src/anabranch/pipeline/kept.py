"""A small store of what was computed from texts, by the texts' hashes: a file of JSON lines that processes share.

Everything in it can be computed again, so nothing is flushed, a folder that can't be written is no error, and a line
that a crash has cut off is passed over. Knows no meaning of what it keeps.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

MAX_BYTES = 16 * 2**20


class Kept:
    """One file of JSON lines.

    A line is appended in one write, so processes that write at the same time lose nothing. When the file has grown past
    16 MB, its older half is dropped, and the new file replaces the old one whole. Safe to use from several threads.

    Args:
        path: The file; its folder is made when something is first put.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, Any] = {}
        self._read_to = 0
        self._inode = 0

    def get(self, key: str) -> Any:
        """What is kept under a key, also by another process; None if nothing is."""
        with self._lock:
            if key not in self._known:
                self._refresh()
            return self._known.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keeps a plain JSON value; a later one takes the place of an earlier one."""
        line = (json.dumps([key, value], ensure_ascii=True, separators=(",", ":")) + "\n").encode()
        with self._lock:
            self._known[key] = value
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("ab", buffering=0) as file:
                    file.write(line)
                    size = file.tell()
                if size > MAX_BYTES:
                    self._halve()
            except OSError:
                return

    def _refresh(self) -> None:
        """Reads what was appended since the last time."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._read_to:
                    self._inode, self._read_to = status.st_ino, 0
                if status.st_size == self._read_to:
                    return
                file.seek(self._read_to)
                data = file.read()
        except OSError:
            return
        whole = data.rfind(b"\n") + 1
        self._read_to += whole
        for line in data[:whole].splitlines():
            try:
                key, value = json.loads(line)
            except (ValueError, TypeError):
                continue
            if isinstance(key, str):
                self._known[key] = value

    def _halve(self) -> None:
        lines = self._path.read_bytes().splitlines(keepends=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".kept-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(lines[len(lines) // 2 :])
            Path(temporary).replace(self._path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)


@lru_cache(maxsize=64)
def kept_in(path: Path) -> Kept:
    """The store of a file; one for all who ask in this process."""
    return Kept(path)
