"""What gc keeps, decided before anything is touched: plain values in, plain values out.

Only branches and commits are judged here. What a kept commit sees, the commits that tags name and the bases on which
kept commits stand follow from it in the catalog (`Catalog.reachable`); which files that leaves over, and their grace
period, are gc's business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from anabranch.catalog.base import Branch, Commit, Lease, Tag
from anabranch.dataclass import dataclass, field


@dataclass(frozen=True)
class Retention:
    """What is kept, and what ends.

    Attributes:
        keep: Branch id → number of the oldest commit that stays readable; what `Catalog.retire` is given. It is the
            state *after* ``expired`` has been closed: where one of them can't be closed, plan again.
        expired: Open branches to be closed first, in an order in which each comes before the branch it stands on:
            sandboxes past their expiry, and run branches that nobody has continued for as long as history is kept.
        retired_branches: Branches that go whole: closed, or about to be, and named in no ``keep``. A commit of theirs
            that a tag names stays readable all the same.
    """

    keep: Mapping[int, int] = field(default_factory=dict)
    expired: tuple[Branch, ...] = ()
    retired_branches: tuple[Branch, ...] = ()


def plan_retention(
    branches: Sequence[Branch],
    commits: Callable[[int], Iterable[Commit]],
    tags: Collection[Tag] = (),
    *,
    keep: timedelta | None,
    keep_commits: int,
    now: datetime,
    leases: Collection[Lease] = (),
    keep_closed: timedelta = timedelta(0),
) -> Retention:
    """Decides what stays.

    - The head of every open branch that does not expire stays, whatever else is said.
    - An environment keeps every state that it has had within ``keep``, so that each moment of that time can be read and
      rolled back to, and at least its newest ``keep_commits``. Closed, it keeps them for ``keep`` more.
    - An open sandbox keeps its newest commit and those younger than ``keep``. Closed, it keeps them for
      ``keep_closed``; what of it was promoted belongs to the environment.
    - A sandbox past its expiry is closed, unless work on it is under way or an open branch that stays stands on it.
    - A run's branch stays while the run is under way, and after a failure until nobody has continued it for ``keep``. Once
      closed it goes at once: a run that was published has handed over all it made.

    Args:
        branches: All branches, open and closed.
        commits: Branch id → its commits, newest first; read only as far as needed.
        tags: A branch with a tag is not counted among ``retired_branches`` although the rest of it goes.
        keep: How long history stays; None: forever.
        keep_commits: How many commits of an environment stay however old; less than 1 counts as 1.
        now: The present time (UTC).
        leases: The leases that are held: ``run:<name>`` and the like protect what they name.
        keep_closed: How long a closed sandbox's content stays.
    """
    history = timedelta.max if keep is None else keep
    since = _before(now, history)
    working = {lease.name.partition(":")[2] for lease in leases if lease.expires_at > now}
    expired = _expired(branches, commits, working, since, now)
    ending = {branch.id for branch in expired}
    tagged = {tag.point.branch_id for tag in tags}
    kept: dict[int, int] = {}
    retired = []
    for branch in branches:
        if branch.open and branch.id not in ending:
            stays = True
        else:
            # What expires now is judged as if it had been closed this moment.
            closed_at = branch.closed_at if branch.closed_at is not None and not branch.open else now
            longer = {"environment": history, "sandbox": keep_closed, "run": timedelta(0)}[branch.kind]
            stays = closed_at > _before(now, longer)
        if stays:
            kept[branch.id] = _oldest(branch, commits(branch.id), since, keep_commits)
        elif branch.id not in tagged:
            retired.append(branch)
    return Retention(kept, expired, tuple(retired))


def _oldest(branch: Branch, history: Iterable[Commit], since: datetime, keep_commits: int) -> int:
    """Number of the oldest commit of the branch that stays. Times never decrease along a branch."""
    if branch.kind == "run":
        return branch.head
    oldest = branch.head
    for commit in history:
        if commit.number > branch.head:
            continue
        old = commit.time <= since
        # The newest of the old commits was the environment's state when the time began.
        if old and branch.kind != "environment" and commit.number != branch.head:
            break
        oldest = commit.number
        if old:
            break
    if branch.kind == "environment":
        oldest = min(oldest, max(0, branch.head - max(keep_commits, 1) + 1))
    return oldest


def _expired(
    branches: Sequence[Branch],
    commits: Callable[[int], Iterable[Commit]],
    working: set[str],
    since: datetime,
    now: datetime,
) -> tuple[Branch, ...]:
    """Open branches whose time is over, children before parents: a branch is always younger than what it stands on."""
    names = {branch.id: branch.name for branch in branches}
    carrying: set[int] = set()
    found = []
    for branch in sorted(branches, key=lambda b: b.id, reverse=True):
        if not branch.open:
            continue
        over = branch.name not in working and branch.id not in carrying
        if branch.kind == "sandbox":
            over = over and branch.expires_at is not None and branch.expires_at <= now
        elif branch.kind == "run":
            # The lease of a run is that of the environment for which it works.
            over = over and names.get(branch.parent or 0) not in working and _last(branch, commits) <= since
        else:
            over = False
        if over:
            found.append(branch)
        elif branch.parent is not None and branch.kind != "run":
            carrying.add(branch.parent)
    return tuple(found)


def _last(branch: Branch, commits: Callable[[int], Iterable[Commit]]) -> datetime:
    newest = next(iter(commits(branch.id)), None)
    return branch.created_at if newest is None else newest.time


def _before(now: datetime, span: timedelta) -> datetime:
    """The time so long ago; the beginning of time where there is none so early."""
    try:
        return now - span
    except OverflowError:
        return datetime.min.replace(tzinfo=now.tzinfo)
