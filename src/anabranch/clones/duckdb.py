"""Clones of a DuckDB file: its blocks are shared or copied while nobody writes, and what waits in its WAL goes along.

DuckDB lets either one process write to a file or several read it. So the source is opened for reading for the time of the
copy, which keeps writers out; where somebody has it open for writing, there is no sound copy of it, and it is refused.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.clones.base import Surroundings
from anabranch.clones.copying import copy_apart, sync_path
from anabranch.clones.files import FileProvider
from anabranch.errors import CloneBusyError, CloneError
from anabranch.settings.clones import BaseClone, DuckDBClone

if TYPE_CHECKING:
    import duckdb

_HOLDER = re.compile(r"held in (?P<program>\S+) \(PID (?P<pid>\d+)\)")


class DuckDB(FileProvider):
    """A `Provider` for ``provider = "duckdb"``."""

    cost = (
        "The file's blocks are shared where the file system can (btrfs, XFS, ZFS), which takes no time and no space;"
        " otherwise they are copied."
    )
    locks = "While the copy is made, others may read the source, and nobody may open it for writing; a writer that has it open is never interrupted: then the clone is refused."
    companions = (".wal", ".wal.checkpoint", ".wal.recovery")

    def __init__(self, settings: BaseClone, around: Surroundings) -> None:
        assert isinstance(settings, DuckDBClone)
        super().__init__(settings, around)

    def copy(self, target: Path) -> str:
        """Copies file and WAL under a shared lock, and folds the WAL into the copy."""
        import duckdb

        held = self._lock()
        try:
            how = copy_apart(self.source, target)
            wal = self.source.with_name(f"{self.source.name}.wal")
            if wal.exists():
                copy_apart(wal, target.with_name(f"{target.name}.wal"))
        finally:
            held.close()
        try:
            # Replays the WAL, as a start after a crash does, and proves that the copy opens.
            with duckdb.connect(os.fspath(target)) as copied:
                copied.execute("checkpoint")
        except duckdb.Error as error:
            raise CloneError(f"the copy of {self.source} does not open: {_first(error)}") from None
        sync_path(target)
        size = target.stat().st_size
        return f"shares the blocks of {self.source.name}" if how == "reflink" else f"copied {size:,} bytes"

    def _lock(self) -> duckdb.DuckDBPyConnection:
        """The source, opened for reading: as long as it is, no process may write to it."""
        import duckdb

        try:
            return duckdb.connect(os.fspath(self.source), read_only=True)
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            text = str(error)
            holder = _HOLDER.search(text)
            if holder is not None or "different configuration" in text:
                who = f"process {holder['pid']} ({holder['program']})" if holder else "this very process"
                raise CloneBusyError(
                    f"{self.source} is open for writing in {who}, and can't be copied meanwhile",
                    hint="close it there, then run the same command again",
                    connections=[who],
                ) from None
            raise CloneError(f"{self.source} can't be opened: {_first(error)}") from None
        except duckdb.Error as error:
            raise CloneError(f"{self.source} can't be opened: {_first(error)}") from None


def _first(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
