"""Clones of an SQLite file: a snapshot of its committed state, whoever writes to it meanwhile.

A file in WAL mode is copied by SQLite's own online backup, which reads one snapshot and keeps no writer waiting: what is
checkpointed into the file meanwhile would make a copy of its bytes unsound. In any other mode a reader's lock keeps the
file's bytes still, and its blocks can be shared.
"""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

from anabranch.clones.base import Surroundings
from anabranch.clones.copying import copy_apart, sync_path
from anabranch.clones.files import FileProvider
from anabranch.errors import CloneBusyError, CloneError
from anabranch.settings.clones import BaseClone, SQLiteClone

_WAIT = 30.0


class SQLite(FileProvider):
    """A `Provider` for ``provider = "sqlite"``."""

    cost = (
        "The file's blocks are shared where the file system can (btrfs, XFS, ZFS), which takes no time and no space;"
        " otherwise, and in WAL mode, they are copied."
    )
    locks = "A reader's lock on the source for the time of the copy: in WAL mode nobody waits; otherwise those who would commit wait for its end."
    companions = ("-wal", "-shm", "-journal")

    def __init__(self, settings: BaseClone, around: Surroundings) -> None:
        assert isinstance(settings, SQLiteClone)
        super().__init__(settings, around)

    def copy(self, target: Path) -> str:
        """Backs the source up, or copies its blocks while a reader's lock keeps them still."""
        # isolation_level=None: no transaction but ours.
        source = sqlite3.connect(
            f"{self.source.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=_WAIT
        )
        try:
            mode = str(source.execute("pragma journal_mode").fetchone()[0])
            if mode == "wal":
                return self._backup(source, target)
            source.execute("begin")
            source.execute("select count(*) from sqlite_schema").fetchone()  # takes the lock
            how = copy_apart(self.source, target)
            if how == "reflink":
                return f"shares the blocks of {self.source.name}"
            return f"copied {target.stat().st_size:,} bytes"
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise CloneBusyError(
                    f"{self.source} is locked by a writer that has not committed for {_WAIT:.0f} s",
                    hint="run the same command again when it has",
                    connections=[],
                ) from None
            hint = None
            if error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK:
                hint = "a crash has left it half-written: open it once for writing, then run the same command again"
            raise CloneError(f"{self.source} can't be read: {error}", hint=hint) from None
        except sqlite3.DatabaseError as error:
            raise CloneError(f"{self.source} can't be read: {error}") from None
        finally:
            source.close()

    def _backup(self, source: sqlite3.Connection, target: Path) -> str:
        target.touch(mode=stat.S_IMODE(self.source.stat().st_mode), exist_ok=False)
        copied = sqlite3.connect(target, isolation_level=None)
        try:
            source.backup(copied)
        finally:
            copied.close()
        sync_path(target)
        return f"copied {target.stat().st_size:,} bytes"
