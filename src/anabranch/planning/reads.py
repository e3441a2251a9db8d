"""Whether what an asset reads of an input is still what it was made from: the whole table, or the columns that it uses.

A table may change where a reader doesn't look. So an entry records beside the version of each input that of the columns
which were read of it, and a present input counts as unchanged if any version that it offers for them is one that was
recorded. Each of these equalities means by itself that the columns read hold the same, so entries of any age may be
compared: one made before such versions were kept just offers fewer.

Pure: compares values of the catalog; knows nothing of where they come from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from anabranch.catalog.base import Entry, Provenance
from anabranch.dataclass import dataclass, field
from anabranch.lake.columns import RECORDED, ColumnSet, column_set, covering, set_text

READ = "read"
"""In an entry's extra: input → what was compared of it, where that was not the whole table; see `read_record`."""


@dataclass(frozen=True)
class Read:
    """What counts of one input as it is now, for one asset.

    Attributes:
        version: What its fingerprint is made with: the columns' version where it is known, else the table's.
        table: The version of the whole table.
        names: The columns that it reads; None: all.
        kept: The versions of sets of columns that the input keeps.
    """

    version: str
    table: str
    names: ColumnSet | None = None
    kept: Mapping[str, str] = field(default_factory=dict)

    @property
    def offered(self) -> tuple[str, ...]:
        """All versions that stand for what it reads."""
        return (*(() if self.names is None else covering(self.kept, self.names)), self.table)


def with_columns(extra: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """An entry's extra for a table of which these versions of sets of columns are known, and no others."""
    kept = {name: value for name, value in extra.items() if name != RECORDED}
    return {**kept, RECORDED: dict(columns)} if columns else kept


def read_of(names: Collection[str] | None, entry: Entry) -> Read:
    """What counts of an input for an asset that reads these columns of it; None: all."""
    if names is None:
        return Read(entry.version, entry.version)
    wanted = column_set(names)
    kept: Mapping[str, str] = entry.provenance.extra.get(RECORDED) or {}
    own = kept.get(set_text(wanted))
    read = Read(own or entry.version, entry.version, wanted, kept)
    return read if own or not kept else replace(read, version=read.offered[0])


def read_record(reads: Mapping[str, Read]) -> dict[str, Any]:
    """What an entry's extra keeps under `READ`: input → columns and version, where these were compared."""
    return {
        key: {"columns": list(read.names), "version": read.version}
        for key, read in sorted(reads.items())
        if read.names is not None and read.version != read.table
    }


def compared(made: Provenance, key: str) -> str | None:
    """The version of an input that an entry's fingerprint was made with; None if it did not read it."""
    record = (made.extra.get(READ) or {}).get(key)
    return str(record["version"]) if record else made.inputs.get(key)


def unchanged(made: Provenance, key: str, read: Read) -> bool:
    """Whether what is read of an input is what an entry was made from."""
    known = {compared(made, key), made.inputs.get(key)} - {None}
    # Nearly always one of these two; the others are looked for where they are not.
    return read.version in known or read.table in known or not known.isdisjoint(read.offered)


def same_reads(made: Provenance, key: str, present: Entry | None) -> bool:
    """Whether an entry's reading of an input would find the same in another entry of that input, told without its code."""
    if present is None:
        return False
    record = (made.extra.get(READ) or {}).get(key)
    return unchanged(made, key, read_of(record["columns"] if record else None, present))
