"""Rows that are read once and needed several times: kept in memory, or in a file that is mapped where they are many.

Knows Arrow data; knows nothing of tables.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

IN_MEMORY = 256 << 20
"""Bytes that are held in memory; more go to a temporary file."""


class Held:
    """Rows that are read once and kept: in memory, or in a temporary file that goes with this object.

    Args:
        rows: Read to its end at once.
        folder: Where the temporary file is made; the system's folder for such if None.
    """

    def __init__(self, rows: pa.RecordBatchReader, *, folder: Path | None = None) -> None:
        import pyarrow as pa

        self._schema = rows.schema
        self._batches: list[pa.RecordBatch] = []
        self._folder: Path | None = None
        size = 0
        writer = None
        try:
            for batch in rows:
                if writer is None:
                    self._batches.append(batch)
                    size += batch.nbytes
                    if size > IN_MEMORY:
                        self._folder = Path(tempfile.mkdtemp(prefix="anabranch-rows-", dir=folder))
                        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
                        writer = pa.ipc.new_file(self._path, self._schema)
                        for held in self._batches:
                            writer.write_batch(held)
                        self._batches = []
                else:
                    writer.write_batch(batch)
        finally:
            if writer is not None:
                writer.close()

    @property
    def _path(self) -> str:
        assert self._folder is not None
        return str(self._folder / "rows.arrow")

    def to_arrow(self) -> pa.Table:
        """All rows; those in a file are mapped, not read, and stay readable when this object and the file are gone."""
        import pyarrow as pa

        if self._folder is None:
            return pa.Table.from_batches(self._batches, self._schema)
        return pa.ipc.open_file(pa.memory_map(self._path)).read_all()
