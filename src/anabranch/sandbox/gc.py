"""Garbage collection: frees what no retained commit reaches, and nothing else.

A file goes when three things hold together: no retained commit of any live ref reaches it, no work under way may still
refer to it, and it is older than the grace period. Names and folders decide nothing. What a retained incremental table has
consumed of its inputs is reached, too, as long as it is there: the table goes on from it, instead of being built anew. The
order makes it safe beside running writers, and safe to be killed at any point:

1. the warehouse is listed. Whatever is committed later refers to files written later, or to pointers that the catalog
   still knows;
2. expired sandboxes are closed;
3. history beyond the retention is retired in one transaction: from then on no commit can point to what it held;
4. what is reachable is read *by the very plan that was retired*: a later one may keep less, and a commit that was not
   retired can still be read, tagged and rolled back to. Where a sandbox was opened in between, it is planned again;
5. leases are read *after* the listing: files as young as the oldest work under way stay;
6. every other listed file is removed.

Killed in between, the next gc starts again: retired history stays retired, and its files are still unreachable.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.catalog.base import Catalog
from anabranch.dataclass import dataclass, field
from anabranch.errors import CatalogError, MissingFileError, RefError
from anabranch.names import now
from anabranch.pipeline.incremental import CONSUMED
from anabranch.running.lease import hold, is_dead
from anabranch.sandbox.retention import Retention, plan_retention

if TYPE_CHECKING:
    from anabranch.lake.storage import Storage, StoredFile

_FOREVER = timedelta(days=365_000)
_TRIES = 20


@dataclass(frozen=True)
class GcResult:
    """What gc removed, or would remove.

    Attributes:
        dry_run: Whether nothing was touched.
        expired: Names of open sandboxes past their expiry that are closed.
        retired: Names of closed branches whose content goes.
        files: Locations that go.
        bytes: Their size.
        kept_young: Files that nothing reaches, but that are younger than the grace period or than work under way.
        kept: Files that are reached.
        kept_bytes: Their size.
        clones: Clones of sandboxes that are gone, which go: id, clone, provider, name and sandbox of each.
        clone_problems: A sentence for each that could not be dropped; the next gc tries again.
    """

    dry_run: bool
    expired: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    bytes: int = 0
    kept_young: int = 0
    kept: int = 0
    kept_bytes: int = 0
    commits: dict[str, int] = field(default_factory=dict)
    clones: tuple[Mapping[str, str], ...] = ()
    clone_problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "dry_run": self.dry_run,
            "expired": list(self.expired),
            "retired": list(self.retired),
            "files": list(self.files),
            "bytes": self.bytes,
            "kept_young": self.kept_young,
            "kept": self.kept,
            "kept_bytes": self.kept_bytes,
            "clones": [dict(clone) for clone in self.clones],
            "clone_problems": list(self.clone_problems),
        }


def plan_gc(
    catalog: Catalog,
    storage: Storage,
    *,
    keep: timedelta | None,
    keep_commits: int,
    grace: timedelta,
    now: datetime,
) -> GcResult:
    """What `collect` would do now. Touches nothing.

    Args:
        catalog: Where the history is.
        storage: The warehouse; any scope.
        keep: How long an environment's history is kept; None: for ever.
        keep_commits: How many commits of an environment are kept whatever their age.
        grace: Files younger than this stay.
        now: UTC.
    """
    retention = _retention(catalog, keep, keep_commits, now)
    listed = list(storage.list())
    young = _oldest_work(catalog, now - grace)
    ending = [branch.id for branch in retention.expired]
    live = catalog.reachable(retention.keep, ending=ending)
    consumed = _consumed(catalog.noted(retention.keep, CONSUMED, ending=ending))
    found = _sort(storage, live, consumed - live, listed, young)
    return replace(
        found,
        dry_run=True,
        expired=tuple(branch.name for branch in retention.expired),
        retired=_names_of_content(catalog, retention),
    )


def collect(
    catalog: Catalog,
    storage: Storage,
    *,
    keep: timedelta | None,
    keep_commits: int,
    grace: timedelta,
    on_progress: Callable[[int, int], None] | None = None,
) -> GcResult:
    """Collects once. The arguments are those of `plan_gc`, but that storage must have the scope that may remove.

    Raises:
        LeaseError: another gc is under way.
        MissingFileError: a file that a retained commit needs is not there; nothing was removed.
    """
    with hold(catalog, "gc", "gc"):
        moment = now()
        listed = list(storage.list())
        expired: dict[int, str] = {}
        retired: tuple[str, ...] | None = None
        for attempt in range(_TRIES):
            retention = _retention(catalog, keep, keep_commits, moment, expired)
            retired = _names_of_content(catalog, retention) if retired is None else retired
            try:
                for branch in retention.expired:
                    catalog.close_branch(branch.id)
                    expired[branch.id] = branch.name
                catalog.retire(retention.keep)
                live = catalog.reachable(retention.keep)
                consumed = _consumed(catalog.noted(retention.keep, CONSUMED))
                break
            except CatalogError:
                # A sandbox that was opened since is in no plan yet: the catalog refuses what it was not told of.
                if attempt == _TRIES - 1:
                    raise
        found = _sort(storage, live, consumed - live, listed, _oldest_work(catalog, moment - grace))
        for start in range(0, len(found.files), 500):
            storage.remove(found.files[start : start + 500])
            if on_progress is not None:
                on_progress(min(start + 500, len(found.files)), len(found.files))
        # Rows of condemned locations go only when no writer can still hold a pointer to them.
        catalog.forget(catalog.condemned(moment - max(grace, timedelta(hours=1))))
        return replace(found, expired=tuple(expired.values()), retired=retired or ())


def _retention(
    catalog: Catalog,
    keep: timedelta | None,
    keep_commits: int,
    moment: datetime,
    closed_now: Collection[int] = (),
) -> Retention:
    """The plan for this moment; what this gc itself has closed counts as closed at it, as the plan before said."""
    branches = catalog.branches(include_closed=True)
    return plan_retention(
        [replace(branch, closed_at=moment) if branch.id in closed_now else branch for branch in branches],
        lambda branch_id: _commits(catalog, branch_id),
        catalog.tags(),
        keep=_FOREVER if keep is None else keep,
        keep_commits=keep_commits,
        now=moment,
        leases=[lease for lease in catalog.leases() if not is_dead(lease)],
    )


def _commits(catalog: Catalog, branch_id: int) -> Iterable[Any]:
    before: int | None = None
    while page := catalog.commits(branch_id, before=before, limit=200):
        yield from page
        before = page[-1].number


def _oldest_work(catalog: Catalog, young: datetime) -> datetime:
    """Files modified at or after this moment stay: the grace period's begin, or the begin of the oldest work under way."""
    work = [lease.acquired_at for lease in catalog.leases() if lease.name != "gc" and not is_dead(lease)]
    return min([young, *work])


def _consumed(noted: Iterable[Mapping[str, Mapping[str, str]]]) -> set[str]:
    """The locations in what incremental tables note of the inputs that they have consumed."""
    return {one["location"] for inputs in noted for one in inputs.values()}


def _sort(
    storage: Storage,
    locations: Iterable[str],
    consumed: Iterable[str],
    listed: Iterable[StoredFile],
    young: datetime,
) -> GcResult:
    """What of the listed files goes, and what stays: because a location needs it, or because it is young."""
    live: set[str] = set()
    for location in locations:
        live |= files_of(storage, location)
    for location in consumed:
        # Nothing retained needs it: what is no longer there, or not all of it, costs a rebuild.
        with contextlib.suppress(MissingFileError):
            live |= files_of(storage, location)
    going: list[str] = []
    size = kept = kept_bytes = kept_young = 0
    for stored in listed:
        if stored.location in live:
            kept += 1
            kept_bytes += stored.size
        elif stored.modified >= young:
            kept_young += 1
        else:
            going.append(stored.location)
            size += stored.size
    return GcResult(
        dry_run=False,
        files=tuple(sorted(going)),
        bytes=size,
        kept_young=kept_young,
        kept=kept,
        kept_bytes=kept_bytes,
    )


def _names_of_content(catalog: Catalog, retention: Retention) -> tuple[str, ...]:
    """Branches whose content goes now: those that an earlier gc has retired have none any more."""
    found = []
    for branch in retention.retired_branches:
        with contextlib.suppress(RefError):
            catalog.own(branch.point)
            found.append(branch.name)
    return tuple(found)


def files_of(storage: Storage, location: str) -> set[str]:
    """Every file that an entry's location needs: of a table its metadata, partition map, manifests, data and delete files.

    Raises:
        MissingFileError: metadata or a manifest is not there, so that what it needs can't be known.
    """
    from anabranch.lake.tables import Table

    if not _is_metadata(storage, location):
        return {location}
    table = Table("table", location, storage)
    found = {location}
    if table.metadata.get("current-snapshot-id") not in (None, -1):
        current = table.metadata["current-snapshot-id"]
        found |= {
            s["manifest-list"] for s in table.metadata.get("snapshots", []) if s["snapshot-id"] == current
        }
        if table.map_location is not None:
            found.add(table.map_location)
        found |= {listed["manifest_path"] for listed in table.manifests()}
        found |= {entry["data_file"]["file_path"] for entry in table.entries(statistics=False)}
    return found


def _is_metadata(storage: Storage, location: str) -> bool:
    """Whether a location is a table's ``metadata.json``, by its place: a file asset lies one folder higher."""
    from anabranch.lake.storage import APART

    parts = location.removeprefix(f"{storage.warehouse}/").split("/")
    below = parts[2:] if parts[0] in APART else parts
    return len(below) > 3 and below[-2] == "metadata" and below[-1].endswith(".metadata.json")


def drop_old_logs(folder: Path, before: datetime) -> int:
    """Removes the log folders of runs that were last written to before the time; returns how many. Idempotent."""
    dropped = 0
    for run in folder.iterdir() if folder.is_dir() else ():
        if run.is_dir() and datetime.fromtimestamp(run.stat().st_mtime, UTC) < before:
            shutil.rmtree(run, ignore_errors=True)
            dropped += 1
    return dropped
