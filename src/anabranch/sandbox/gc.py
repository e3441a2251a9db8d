"""Garbage collection: frees what no retained commit reaches, and nothing else.

A file goes when three things hold together: no retained commit of any live ref reaches it, no work under way may still
refer to it, and it is older than the grace period. Names and folders decide nothing. The order makes it safe beside
running writers, and safe to be killed at any point:

1. expired sandboxes are closed;
2. the warehouse is listed. Whatever is committed later refers to files written later, or to pointers that the catalog
   still knows;
3. history beyond the retention is retired in one transaction: from then on no commit can point to what it held;
4. leases are read *after* the listing: files as young as the oldest work under way stay;
5. what is reachable is read, and every other listed file is removed.

Killed in between, the next gc starts again: retired history stays retired, and its files are still unreachable.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.catalog.base import Catalog
from anabranch.errors import CatalogError, RefError
from anabranch.names import now
from anabranch.running.lease import hold, is_dead
from anabranch.sandbox.retention import Retention, plan_retention

if TYPE_CHECKING:
    from anabranch.lake.storage import Storage

_FOREVER = timedelta(days=365_000)


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
    return _sort(catalog, storage, retention, listed, young, dry_run=True)


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
        retention = _retention(catalog, keep, keep_commits, moment)
        retired = _names_of_content(catalog, retention)
        for branch in retention.expired:
            catalog.close_branch(branch.id)
        listed = list(storage.list())
        # A sandbox that was opened since is in no plan yet: the catalog refuses to retire what it was not told of.
        for attempt in range(5):
            try:
                catalog.retire(_retention(catalog, keep, keep_commits, moment).keep)
                break
            except CatalogError:
                if attempt == 4:
                    raise
        young = _oldest_work(catalog, moment - grace)
        found = _sort(
            catalog, storage, _retention(catalog, keep, keep_commits, moment), listed, young, dry_run=False
        )
        for start in range(0, len(found.files), 500):
            storage.remove(found.files[start : start + 500])
            if on_progress is not None:
                on_progress(min(start + 500, len(found.files)), len(found.files))
        # Rows of condemned locations go only when no writer can still hold a pointer to them.
        catalog.forget(catalog.condemned(moment - max(grace, timedelta(hours=1))))
        names = tuple(b.name for b in retention.expired)
        return GcResult(
            False,
            names,
            retired,
            found.files,
            found.bytes,
            found.kept_young,
            found.kept,
            found.kept_bytes,
        )


def _retention(catalog: Catalog, keep: timedelta | None, keep_commits: int, moment: datetime) -> Retention:
    return plan_retention(
        catalog.branches(include_closed=True),
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


def _sort(
    catalog: Catalog,
    storage: Storage,
    retention: Retention,
    listed: Iterable[Any],
    young: datetime,
    *,
    dry_run: bool,
) -> GcResult:
    live: set[str] = set()
    for location in (
        catalog.reachable(dict(retention.keep)) if not dry_run else _would_reach(catalog, retention)
    ):
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
        dry_run,
        tuple(b.name for b in retention.expired),
        _names_of_content(catalog, retention),
        tuple(sorted(going)),
        size,
        kept_young,
        kept,
        kept_bytes,
    )


def _names_of_content(catalog: Catalog, retention: Retention) -> tuple[str, ...]:
    """Branches whose content goes now: those that an earlier gc has retired have none any more."""
    found = []
    for branch in retention.retired_branches:
        with contextlib.suppress(RefError):
            catalog.own(branch.point)
            found.append(branch.name)
    return tuple(found)


def _would_reach(catalog: Catalog, retention: Retention) -> set[str]:
    """What would be reachable once the expired are closed, told without closing them."""
    expired = {branch.id for branch in retention.expired}
    keep = dict(retention.keep)
    if not expired:
        return catalog.reachable(keep)
    # The catalog wants every open branch named; an expired one is named with its head, and its own entries taken out.
    named = {**keep, **{branch.id: branch.head for branch in retention.expired}}
    everything = catalog.reachable(named)
    own = {
        e.location
        for branch in retention.expired
        for e in catalog.own(branch.point).values()
        if e is not None
    }
    others: set[str] = set()
    for branch_id in keep:
        others |= {e.location for e in catalog.entries(catalog.branch_by_id(branch_id).point).values()}
    return everything - (own - others)


def files_of(storage: Storage, location: str) -> set[str]:
    """Every file that an entry's location needs: of a table its metadata, manifests, data and delete files.

    Raises:
        MissingFileError: metadata or a manifest is not there, so that what it needs can't be known.
    """
    from anabranch.lake.tables import Table

    if "/metadata/" not in location or not location.endswith(".metadata.json"):
        return {location}
    table = Table("table", location, storage)
    found = {location}
    if table.metadata.get("current-snapshot-id") not in (None, -1):
        current = table.metadata["current-snapshot-id"]
        found |= {
            s["manifest-list"] for s in table.metadata.get("snapshots", []) if s["snapshot-id"] == current
        }
        found |= {listed["manifest_path"] for listed in table.manifests()}
        found |= {entry["data_file"]["file_path"] for entry in table.entries()}
    return found


def drop_old_logs(folder: Path, before: datetime) -> int:
    """Removes the log folders of runs that were last written to before the time; returns how many. Idempotent."""
    dropped = 0
    for run in folder.iterdir() if folder.is_dir() else ():
        if run.is_dir() and datetime.fromtimestamp(run.stat().st_mtime, UTC) < before:
            shutil.rmtree(run, ignore_errors=True)
            dropped += 1
    return dropped
