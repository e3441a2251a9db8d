"""Opening, syncing and closing sandboxes, and the choice of the base that they stand on.

A base is the newest commit of the environment whose *code* the git branch contains. So a branch that was cut before
somebody else's promotion sees production as it was before that promotion: it is neither blamed for it nor able to
undo it. Nothing here reads data.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from anabranch.catalog.base import Branch, Catalog, Change, Commit, CommitRequest, Entry, Point
from anabranch.dataclass import dataclass
from anabranch.errors import UndeterminedError
from anabranch.names import new_id, now
from anabranch.planning.reads import same_reads
from anabranch.running.merge import Merge, needs_merge
from anabranch.sample import parse_sample


class Containment(Protocol):
    """The slice of a git containment answer that is needed here."""

    @property
    def contained(self) -> bool:
        """Whether the code is there."""

    @property
    def how(self) -> str:
        """By what it was found."""


class Code(Protocol):
    """The slice of git that is needed here."""

    def contains_code(self, commit: str, head: str) -> Containment:
        """Whether head contains the code of commit, by ancestry or by content."""


@dataclass(frozen=True)
class Base:
    """The commit of an environment that a git commit stands on.

    Attributes:
        number: Number of the environment's commit.
        how: By what it was found: ``ancestor``, ``same definitions``, ``same tree``, ``merged content``, ``empty``.
        is_head: Whether nothing newer exists.
        missing: The oldest newer commit whose code the git commit lacks: what must be merged; None if is_head.
    """

    number: int
    how: str
    is_head: bool
    missing: Commit | None = None


def choose_base(
    catalog: Catalog, environment: Branch, code: Code, head: str | None, definitions: str | None
) -> Base:
    """The newest commit of the environment whose code is contained in a git commit.

    A commit that records no code (a write from outside a run) goes with the code before it.

    Args:
        catalog: Where the environment's commits are.
        environment: The environment's branch.
        code: git.
        head: The git commit, or None on an unborn branch.
        definitions: Hash of the code at hand, if it is loaded: an equal hash is containment, too.

    Raises:
        UndeterminedError: git can't tell, because its history is shallow.
    """
    answers: dict[str, str | None] = {}
    skipped: list[Commit] = []
    missing: Commit | None = None
    # The environment as it was read: what lands meanwhile is met by whoever expects this head.
    before = environment.head + 1
    while True:
        page = catalog.commits(environment.id, before=before, limit=100)
        for commit in page:
            if commit.git_commit is None and commit.number > 0:
                skipped.append(commit)
                continue
            how = _contained(commit, code, head, definitions, answers)
            if how is None:
                missing = commit
                skipped = []
                continue
            # Commits without code, right above this one, go with it.
            number = skipped[0].number if skipped else commit.number
            return Base(number, how, is_head=number == environment.head, missing=missing)
        if not page:
            # gc retired what is older: the oldest commit that is left stands for all of it.
            raise UndeterminedError(
                f"the git commit {(head or 'of this unborn branch')[:12]} contains the code of no commit that {environment.name} still has",
                hint=f"merge the branch that {environment.name} is built from, then try again",
            )
        before = page[-1].number


def _contained(
    commit: Commit, code: Code, head: str | None, definitions: str | None, answers: dict[str, str | None]
) -> str | None:
    if commit.number == 0 and commit.git_commit is None:
        return "empty"
    if definitions is not None and commit.definitions == definitions:
        return "same definitions"
    if head is None or commit.git_commit is None:
        return None
    if commit.git_commit not in answers:
        answer = code.contains_code(commit.git_commit, head)
        answers[commit.git_commit] = answer.how if answer.contained else None
    return answers[commit.git_commit]


def open_sandbox(
    catalog: Catalog,
    name: str,
    *,
    environment: Branch,
    base: Base,
    git_branch: str,
    git_commit: str | None,
    author: str,
    expire_after: timedelta | None,
    definitions: str | None = None,
    properties: Mapping[str, Any] | None = None,
) -> Branch:
    """Opens a sandbox: one small transaction, whatever the number of tables. Raises BranchExistsError."""
    moment = now()
    return catalog.open_branch(
        name,
        kind="sandbox",
        parent=Point(environment.id, base.number),
        expires_at=None if expire_after is None else moment + expire_after,
        properties={
            "environment": environment.name,
            "git_branch": git_branch,
            "git_commit": git_commit,
            "opened_by": author,
            "storage": f"{name}-{new_id()}",
            **(properties or {}),
        },
        message=f"open on {environment.name}@{base.number}",
        author=author,
        git_commit=git_commit,
        definitions=definitions,
    )


@dataclass(frozen=True)
class Moved:
    """What a sync brings: keys that have other content on the new base, and own keys that the new base already holds.

    Own tables of which both sides have made partitions are merged.
    """

    old_base: int
    new_base: int
    changed: tuple[str, ...]
    dropped: tuple[str, ...]
    merged: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "old_base": self.old_base,
            "new_base": self.new_base,
            "changed": list(self.changed),
            "dropped": list(self.dropped),
            "merged": list(self.merged),
        }


def same_result(a: Entry | None, b: Entry | None) -> bool:
    """Whether two entries are the same result: same content, made by the same fingerprint."""
    if a is None or b is None:
        return a is b
    return (
        a.version == b.version
        and a.provenance.fingerprint == b.provenance.fingerprint
        and a.provenance.partitions.get("digest") == b.provenance.partitions.get("digest")
        and a.provenance.partitions.get("accepted") == b.provenance.partitions.get("accepted")
    )


def plan_sync(catalog: Catalog, sandbox: Branch, new_base: int) -> Moved:
    """What a sync to that commit of the environment would bring. Reads only."""
    assert sandbox.parent is not None
    assert sandbox.base is not None
    own = catalog.own(sandbox.point)
    below = catalog.entries(Point(sandbox.parent, new_base), own)
    dropped = tuple(sorted(key for key, entry in own.items() if same_result(entry, below.get(key))))
    changes = catalog.changes(Point(sandbox.parent, sandbox.base), Point(sandbox.parent, new_base))
    before = catalog.entries(Point(sandbox.parent, sandbox.base), own)
    merged = tuple(
        sorted(
            key
            for key, entry in own.items()
            if key not in dropped and needs_merge(entry, before.get(key), below.get(key))
        )
    )
    return Moved(sandbox.base, new_base, tuple(change.key for change in changes), dropped, merged)


def sync_sandbox(
    catalog: Catalog,
    sandbox: Branch,
    new_base: int,
    *,
    author: str,
    git_commit: str | None,
    merge: Merge,
    lease: str | None = None,
) -> Moved:
    """Moves a sandbox to another commit of its environment. What it built itself stays; the next plan judges it anew.

    Args:
        catalog, sandbox, new_base: What is moved where.
        author, git_commit, lease: As for any commit.
        merge: Merges the partitions of a table that both sides have made; see `running.merge`.

    Raises:
        ConflictError: the sandbox was written to meanwhile.
    """
    moved = plan_sync(catalog, sandbox, new_base)
    if moved.new_base == moved.old_base and not moved.dropped:
        return moved
    changes, dropped = _merged(catalog, sandbox, moved, merge)
    catalog.commit(
        CommitRequest(
            branch=sandbox.id,
            base=new_base,
            changes=changes,
            drop=dropped,
            expect_head=sandbox.head,
            lease=lease,
            kind="sync",
            message=f"sync to commit {new_base}",
            author=author,
            git_commit=git_commit,
        )
    )
    return moved


def _merged(
    catalog: Catalog, sandbox: Branch, moved: Moved, merge: Merge
) -> tuple[dict[str, Entry], list[str]]:
    """What a sync writes, and what it gives up."""
    dropped = list(moved.dropped)
    if not moved.merged:
        return {}, dropped
    assert sandbox.parent is not None
    own = catalog.entries(sandbox.point, moved.merged)
    old = catalog.entries(Point(sandbox.parent, moved.old_base), moved.merged)
    new = catalog.entries(Point(sandbox.parent, moved.new_base), moved.merged)
    changes: dict[str, Entry] = {}
    for key in moved.merged:
        entry = merge(own[key], old[key], new[key])
        if same_result(entry, new[key]) and not entry.provenance.partitions.get("redo"):
            dropped.append(key)
        else:
            changes[key] = entry
    return changes, dropped


def pending(catalog: Catalog, sandbox: Branch) -> dict[str, Entry | None]:
    """What the sandbox would publish: its own entries that are not what its base holds."""
    assert sandbox.base_point is not None
    own = catalog.own(sandbox.point)
    below = catalog.entries(sandbox.base_point, own)
    return {key: entry for key, entry in sorted(own.items()) if not same_result(entry, below.get(key))}


def reads_of(changes: Mapping[str, Entry | None], present: Mapping[str, Entry]) -> dict[str, set[str]]:
    """What the changed entries were made from, apart from each other: the read set, key → versions.

    Args:
        changes: What would be published.
        present: What the environment holds. Where an entry's columns hold the same there, that is what it was made from.
    """
    found: dict[str, set[str]] = {}
    for entry in changes.values():
        # Of partitions, the plan has looked at what each has read; the versions of whole inputs say nothing of that.
        if entry is None or entry.provenance.partitions:
            continue
        for key, version in entry.provenance.inputs.items():
            if key not in changes:
                there = present.get(key)
                same = there is not None and same_reads(entry.provenance, key, there)
                found.setdefault(key, set()).add(there.version if same and there is not None else version)
    return found


def overtaken(
    changes: Mapping[str, Entry | None], base: Mapping[str, Entry], sources: Collection[str]
) -> list[str]:
    """Sources that the sandbox has fetched with its own code, and its environment again since.

    To publish what the sandbox has would replace a newer fetch by an older one; no fingerprint can tell that.

    Args:
        changes: What the sandbox would publish.
        base: What its base holds, by key.
        sources: Keys of the assets that read the outside world.
    """
    found = []
    for key, entry in changes.items():
        below = base.get(key)
        if key not in sources or entry is None or below is None:
            continue
        mine, theirs = entry.provenance.computed_at, below.provenance.computed_at
        if mine and theirs and datetime.fromisoformat(mine) < datetime.fromisoformat(theirs):
            found.append(key)
    return found


def staleness(moved: Sequence[Change], changes: Mapping[str, Entry | None]) -> tuple[list[str], list[str]]:
    """Which moved keys the sandbox wrote, and which it only read, in columns that have moved."""
    made = [entry.provenance for entry in changes.values() if entry is not None]
    return [change.key for change in moved if change.key in changes], [
        change.key
        for change in moved
        if change.key not in changes
        and any(change.key in each.inputs and not same_reads(each, change.key, change.after) for each in made)
    ]


@dataclass(frozen=True)
class SandboxInfo:
    """A sandbox as `sandbox list` shows it.

    Attributes:
        name: Its name.
        git_branch: The git branch it belongs to.
        environment: The environment it stands on.
        base: Number of the environment's commit.
        behind: By how many commits the environment has moved on since.
        head: Number of its newest commit.
        tables: Keys it has built or removed itself.
        bytes: Stored bytes of what it has built itself.
        created_at, expires_at: UTC.
        git_branch_exists: False where the git branch is gone; None where that was not looked up.
        opened_by: As git names people.
        sample: How much of its base it reads, ``5 % sample by customer_id``; empty for all of it.
    """

    name: str
    git_branch: str
    environment: str
    base: int
    behind: int
    head: int
    tables: tuple[str, ...]
    bytes: int
    created_at: datetime
    expires_at: datetime | None
    git_branch_exists: bool | None = None
    opened_by: str = ""
    sample: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "git_branch": self.git_branch,
            "environment": self.environment,
            "base": f"{self.environment}@{self.base}",
            "behind": self.behind,
            "head": self.head,
            "tables": list(self.tables),
            "bytes": self.bytes,
            "created_at": self.created_at.isoformat(),
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "git_branch_exists": self.git_branch_exists,
            "opened_by": self.opened_by,
            "sample": self.sample or None,
        }


def describe(
    catalog: Catalog, sandbox: Branch, environment: Branch, *, git_branches: Mapping[str, str] | None = None
) -> SandboxInfo:
    """Reads what `sandbox list` shows."""
    own = catalog.own(sandbox.point)
    kept = sandbox.properties.get("sample")
    git_branch = str(sandbox.properties.get("git_branch", sandbox.name))
    return SandboxInfo(
        name=sandbox.name,
        git_branch=git_branch,
        environment=environment.name,
        base=sandbox.base or 0,
        behind=environment.head - (sandbox.base or 0),
        head=sandbox.head,
        tables=tuple(sorted(own)),
        bytes=sum(entry.provenance.bytes for entry in own.values() if entry is not None),
        created_at=sandbox.created_at,
        expires_at=sandbox.expires_at,
        git_branch_exists=None if git_branches is None else git_branch in git_branches,
        opened_by=str(sandbox.properties.get("opened_by", "")),
        sample=str(parse_sample(kept["share"], kept.get("by"))) if kept else "",
    )
