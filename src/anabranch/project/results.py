"""What the product's verbs return: plain values that every face can tell in its own voice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from anabranch.catalog.base import Change, Commit, Entry, RunRecord, Tag
from anabranch.dataclass import dataclass, field
from anabranch.planning.changes import Reason
from anabranch.running.outcome import CheckOutcome
from anabranch.sandbox.lifecycle import SandboxInfo
from anabranch.settings import PullRequest

if TYPE_CHECKING:
    from anabranch.clones.keeper import CloneInfo


@dataclass(frozen=True)
class Where:
    """Where one is.

    Attributes:
        kind: environment, sandbox, or undetermined (nobody says, or two sides contradict each other).
        git_branch: The git branch that the code is of; with its repository before it where that is a fork.
        git_commit: What is checked out.
        dirty: Project files with uncommitted edits.
        environment: The environment, or the one that the sandbox stands on.
        sandbox: Name that the branch's sandbox has or would have.
        opened: Whether the environment or sandbox has a branch in the catalog.
        in_progress: A git operation under way: merge, rebase …
        decided_by: Who says so: the git branch, a variable, CI.
        pull_request: The pull request that the code belongs to, if anybody names one.
        reason, hint: Where it is undetermined: why, and what to do.
    """

    kind: Literal["environment", "sandbox", "undetermined"]
    git_branch: str | None
    git_commit: str | None
    dirty: tuple[str, ...]
    environment: str | None
    sandbox: str | None
    opened: bool
    in_progress: str | None = None
    decided_by: str | None = None
    pull_request: PullRequest | None = None
    reason: str | None = None
    hint: str | None = None

    @property
    def name(self) -> str | None:
        """Name of the catalog branch that is worked on here."""
        return self.environment if self.kind == "environment" else self.sandbox

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "git_branch": self.git_branch,
            "git_commit": self.git_commit,
            "dirty": list(self.dirty),
            "environment": self.environment,
            "sandbox": self.sandbox,
            "opened": self.opened,
            "in_progress": self.in_progress,
            "decided_by": self.decided_by,
            "pull_request": self.pull_request.to_dict() if self.pull_request else None,
            "reason": self.reason,
            "hint": self.hint,
        }


@dataclass(frozen=True)
class Status:
    """Where one is, on which base, what has changed, and what to do next.

    Attributes:
        where: Where one is.
        head: Ref of the newest commit of the environment or sandbox; None if it was never opened.
        base: Ref of the environment's commit that the code at hand stands on; None if there is no environment yet.
        behind: By how many commits the environment's head is ahead of that base.
        behind_reason: What must be merged, if the code at hand lacks the code of the environment's head.
        stale: Keys that the sandbox wrote or read, and that have moved on in the environment since its base.
        changed: Asset → reasons why its stored result is not what the code at hand would make.
        own: Keys that the sandbox has built or removed itself.
        partitions: Key of an own table that is cut into partitions → which of them are not the base's.
        held: Why the environment refuses runs, if it does.
        running: Sentences about runs under way.
        notes: What else one should know (the git branch was rebased, renamed, deleted …).
        next: The command that most likely comes next.
        assets: Number of assets in the code.
        tables: Number of tables in view.
        sample: How much of its base the sandbox reads, ``5 % sample by customer_id``; empty for all of it.
        masked: The environment that the base is a masked copy of, or None.
    """

    where: Where
    head: str | None = None
    base: str | None = None
    behind: int = 0
    behind_reason: str | None = None
    stale: tuple[str, ...] = ()
    changed: Mapping[str, tuple[Reason, ...]] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    partitions: Mapping[str, str] = field(default_factory=dict)
    held: str | None = None
    running: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    next: str | None = None
    assets: int = 0
    tables: int = 0
    sample: str = ""
    masked: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "where": self.where.to_dict(),
            "head": self.head,
            "base": self.base,
            "behind": self.behind,
            "behind_reason": self.behind_reason,
            "stale": list(self.stale),
            "changed": {
                key: [reason.to_dict() for reason in reasons] for key, reasons in self.changed.items()
            },
            "own": list(self.own),
            "partitions": dict(self.partitions),
            "held": self.held,
            "running": list(self.running),
            "notes": list(self.notes),
            "next": self.next,
            "assets": self.assets,
            "tables": self.tables,
            "sample": self.sample or None,
            "masked": self.masked,
        }


def commit_dict(commit: Commit) -> dict[str, Any]:
    """A commit as plain JSON values."""
    return {
        "commit": commit.ref,
        "time": commit.time.isoformat(),
        "kind": commit.kind,
        "message": commit.message,
        "author": commit.author,
        "git_commit": commit.git_commit,
        "definitions": commit.definitions,
        "run": commit.run,
        "keys": commit.keys,
        "base": commit.base,
        "properties": dict(commit.properties),
    }


def entry_dict(entry: Entry | None) -> dict[str, Any] | None:
    """An entry as plain JSON values."""
    if entry is None:
        return None
    made = entry.provenance
    return {
        "asset": entry.key,
        "kind": entry.kind,
        "version": entry.version,
        "location": entry.location,
        "fingerprint": made.fingerprint,
        "inputs": dict(made.inputs),
        "rows": made.rows,
        "bytes": made.bytes,
        "seconds": made.seconds,
        "computed_at": made.computed_at,
        "computed_by": made.environment,
        "run": made.run,
        "git_commit": made.git_commit,
        "dirty": made.dirty,
        "sample": made.extra.get("sample"),
        "masked": made.extra.get("masked"),
        "masked_from": made.extra.get("parent", {}).get("ref"),
    }


@dataclass(frozen=True)
class Log:
    """Commits of a branch, newest first, and the tags that point at them."""

    ref: str
    commits: tuple[Commit, ...]
    tags: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "ref": self.ref,
            "commits": [{**commit_dict(c), "tags": list(self.tags.get(c.number, ()))} for c in self.commits],
        }


@dataclass(frozen=True)
class Shown:
    """One thing in full: a commit with its changes, a run, or an asset at a ref with its history."""

    what: Literal["commit", "run", "asset"]
    title: str
    commit: Commit | None = None
    changes: tuple[Change, ...] = ()
    run: RunRecord | None = None
    entry: Entry | None = None
    readers: tuple[str, ...] = ()
    target: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        run = self.run
        return {
            "what": self.what,
            "title": self.title,
            "commit": commit_dict(self.commit) if self.commit else None,
            "changes": [
                {"asset": c.key, "before": entry_dict(c.before), "after": entry_dict(c.after)}
                for c in self.changes
            ],
            "run": None
            if run is None
            else {
                "run": run.id,
                "target": self.target,
                "state": run.state,
                "started_at": run.started_at.isoformat(),
                "finished_at": run.finished_at.isoformat() if run.finished_at else None,
                "git_commit": run.git_commit,
                "definitions": run.definitions,
                **run.properties,
            },
            "entry": entry_dict(self.entry),
            "readers": list(self.readers),
        }


@dataclass(frozen=True)
class CheckReport:
    """What the checks found on a ref."""

    ref: str
    checks: tuple[CheckOutcome, ...]

    @property
    def ok(self) -> bool:
        """Whether every blocking check has passed."""
        return all(check.passed for check in self.checks if check.blocking)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"ref": self.ref, "ok": self.ok, "checks": [check.to_dict() for check in self.checks]}


@dataclass(frozen=True)
class SandboxList:
    """The open sandboxes.

    Attributes:
        sandboxes: Oldest first.
        clones: All clones of the project, also those whose sandbox is gone; None where they were not asked for.
    """

    sandboxes: tuple[SandboxInfo, ...]
    clones: tuple[CloneInfo, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "sandboxes": [sandbox.to_dict() for sandbox in self.sandboxes],
            "clones": None if self.clones is None else [clone.to_dict() for clone in self.clones],
        }


@dataclass(frozen=True)
class TagList:
    """The tags, and the ref that each names."""

    tags: tuple[tuple[Tag, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "tags": [
                {
                    "tag": tag.name,
                    "ref": ref,
                    "message": tag.message,
                    "created_at": tag.created_at.isoformat(),
                }
                for tag, ref in self.tags
            ]
        }
