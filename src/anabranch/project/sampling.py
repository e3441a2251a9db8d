"""What a comparison and a query say of results that were computed from a sample, and what such a result is compared with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.catalog.base import Entry
from anabranch.errors import AnabranchError
from anabranch.planning.world import sample_of, sample_text
from anabranch.sample import Sample, parse_sample

if TYPE_CHECKING:
    from anabranch.lake.storage import Storage
    from anabranch.lake.tables import Table
    from anabranch.project.context import Context


@contextmanager
def same_sample(
    context: Context, before: Entry | None, after: Entry | None, storage: Storage
) -> Iterator[tuple[Table | None, Table | None, str]]:
    """Both sides of a comparison, where one was computed from a sample and the other was not: the other's same sample.

    Yields:
        A handle on each side, and a sentence about the sample; empty where there is none.
    """
    from anabranch.lake.tables import Table

    entries = (before, after)
    handles: list[Table | None] = []
    for entry in entries:
        handle = None if entry is None else context.handle(entry, storage)
        assert handle is None or isinstance(handle, Table)
        handles.append(handle)
    marks = [None if entry is None else sample_of(entry) for entry in entries]
    mark = marks[1] or marks[0]
    if mark is None:
        yield handles[0], handles[1], ""
        return
    note = f"of a {sample_text(mark)}"
    with ExitStack() as stack:
        for side, (handle, own) in enumerate(zip(handles, marks, strict=True)):
            if handle is None or own is not None:
                continue
            sample = _applied(mark, handle)
            if sample is None:
                note += f"; {'the left side' if side == 0 else 'the right side'} has no such column, and is compared whole"
                continue
            folder = context.folder / "tmp"
            folder.mkdir(parents=True, exist_ok=True)
            place = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix="sample-"))
            handles[side] = _written(handle, sample, Path(place))
        yield handles[0], handles[1], note


def _applied(mark: object, table: Table) -> Sample | None:
    """The sample of a mark, where it can be taken of a table: it names one share and a column that the table has."""
    assert isinstance(mark, dict)
    columns = [name for name in str(mark["by"]).split(", ") if name in table.schema.names]
    try:
        sample = parse_sample(str(mark["share"]))
    except AnabranchError:  # of several shares
        return None
    return None if sample is None or len(columns) != 1 else Sample(sample.share, columns[0])


def _written(table: Table, sample: Sample, folder: Path) -> Table:
    """The sample of a table, as a table that can be compared: files that are removed with the folder."""
    from anabranch.lake.sample import SampledTable, written_sample

    storage = table._storage  # noqa: SLF001 - the same table, of which less is read
    return written_sample(
        SampledTable(table.key, table.location, storage, table.version, sample=sample), folder
    )


def samples_of(entries: Iterable[Entry]) -> dict[str, str]:
    """Key → the sample that its table was computed from, for those that were."""
    found = {entry.key: sample_text(sample_of(entry)) for entry in entries}
    return {key: text for key, text in found.items() if text}
