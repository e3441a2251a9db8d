"""What one execution of an op has made of several assets, kept in the run's folder until each asset's own step takes it.

An op that keeps several tables is run once in a run, by whichever of its assets comes first; the others wait for it, also
in other processes, and take their part.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from anabranch.lake.file import File


class Staged:
    """One execution's results.

    Args:
        folder: The run's folder.
        identity: What decides the execution: op, partitions, versions of what it reads.
    """

    def __init__(self, folder: Path, identity: Any) -> None:
        text = json.dumps(identity, sort_keys=True, default=str)
        self.folder = folder / "dagster" / hashlib.sha256(text.encode()).hexdigest()[:24]

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Holds all others that want the same execution."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def __contains__(self, name: object) -> bool:
        return (self.folder / f"{name}.json").is_file()

    def put(self, name: str, value: Any, facts: Mapping[str, Any]) -> None:
        """Keeps one asset's value."""
        from anabranch.running.io import to_arrow

        self.folder.mkdir(parents=True, exist_ok=True)
        if isinstance(value, File):
            (self.folder / f"{name}.bin").write_bytes(value.read_bytes())
            kind = {"file": value.name}
        else:
            import pyarrow as pa

            data = to_arrow(value, owner=name)
            reader = data.to_reader() if isinstance(data, pa.Table) else data
            with (
                pa.OSFile(str(self.folder / f"{name}.arrow"), "wb") as sink,
                pa.ipc.new_file(sink, reader.schema) as out,
            ):
                for batch in reader:
                    out.write_batch(batch)
            kind = {}
        (self.folder / f"{name}.json").write_text(json.dumps({**kind, "facts": dict(facts)}, default=str))

    def take(self, name: str) -> tuple[Any, dict[str, Any]]:
        """One asset's value, and its facts."""
        import pyarrow as pa

        told = json.loads((self.folder / f"{name}.json").read_text())
        if "file" in told:
            return File((self.folder / f"{name}.bin").read_bytes(), name=told["file"]), told["facts"]
        reader = pa.ipc.open_file(pa.memory_map(str(self.folder / f"{name}.arrow")))
        batches = (reader.get_batch(at) for at in range(reader.num_record_batches))
        return pa.RecordBatchReader.from_batches(reader.schema, batches), told["facts"]

    def drop(self) -> None:
        """Frees it."""
        shutil.rmtree(self.folder, ignore_errors=True)
