"""Publishing a sandbox's candidate into its environment: sync, judge, one compare-and-set commit.

The steps, and what a crash leaves:

1. the sandbox is synced to the environment's head, and what the new base makes necessary is run there (commits of the
   sandbox: repeating them costs nothing);
2. the gate judges the candidate: the entries exactly as they would be published, named by their hash;
3. one commit of the environment publishes entries, git commit and audit record; it expects the head that was judged and
   carries an idempotency key, so that a repeated promotion returns the first one's commit;
4. the sandbox moves onto that commit. If the program dies before, the next command does it.

Nothing is computed here: what the sandbox has built is pointed to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from anabranch.catalog.base import Branch, Catalog, Change, Commit, CommitRequest, Entry, Point
from anabranch.dataclass import dataclass, field
from anabranch.errors import CatalogError, ConflictError, GateError, PromotionError, StaleError
from anabranch.gate import (
    Approval,
    Candidate,
    CheckOutcome,
    Rules,
    TableChange,
    Verdict,
    candidate_hash,
    judge,
)
from anabranch.pipeline.graph import Graph
from anabranch.planning.incremental import mark_of
from anabranch.planning.plan import Plan
from anabranch.planning.world import sample_of, sample_text
from anabranch.running.merge import Merge
from anabranch.running.outcome import check_fingerprint
from anabranch.sandbox.lifecycle import Moved, pending, reads_of, staleness, sync_sandbox

StaleInputs = Literal["rerun", "accept", "refuse"]


@dataclass(frozen=True)
class Prepared:
    """A candidate with its verdict, not yet published.

    Attributes:
        sandbox: The sandbox's branch as it was judged.
        environment: The environment's branch as it was judged.
        changes: Key → what would be published; None removes the table.
        candidate: What the gate saw.
        verdict: What it said.
        reads: Key → versions that changed entries were made from, where it is not changed itself; what the environment
            must hold of it. Empty where moved inputs are accepted.
    """

    sandbox: Branch
    environment: Branch
    changes: Mapping[str, Entry | None]
    candidate: Candidate
    verdict: Verdict
    reads: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass
class PromotionResult:
    """What came of a promotion.

    Attributes:
        environment, sandbox: Their names.
        state: ``published``; ``nothing`` to publish; ``dry_run``.
        commit: Ref of the commit, ``production@5``.
        tables: Keys that were (or would be) published.
        verdict: The gate's.
        moved: What the sync before it brought, if there was one.
        reran: Assets that ran again because the base had moved.
        plan: For a dry run: what would have to run first.
        clones: What clones have brought back into their sources, or for a dry run the clones that would.
    """

    environment: str
    sandbox: str
    state: Literal["published", "nothing", "dry_run"]
    commit: str | None = None
    tables: tuple[str, ...] = ()
    verdict: Verdict | None = None
    moved: Moved | None = None
    reran: tuple[str, ...] = ()
    plan: Plan | None = None
    seconds: float = 0.0
    clones: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "environment": self.environment,
            "sandbox": self.sandbox,
            "state": self.state,
            "commit": self.commit,
            "tables": list(self.tables),
            "verdict": self.verdict.to_dict() if self.verdict else None,
            "moved": self.moved.to_dict() if self.moved else None,
            "reran": list(self.reran),
            "plan": self.plan.to_dict() if self.plan else None,
            "clones": list(self.clones),
            "seconds": round(self.seconds, 3),
        }


def bring_up(
    catalog: Catalog,
    sandbox: Branch,
    environment: Branch,
    *,
    stale_inputs: StaleInputs,
    author: str,
    git_commit: str | None,
    merge: Merge,
) -> tuple[Branch, Moved | None]:
    """Moves the sandbox to the environment's head, if it is not there.

    Raises:
        StaleError: inputs have moved and the rule says ``refuse``.
    """
    if sandbox.base == environment.head:
        return sandbox, None
    assert sandbox.base is not None
    moved = catalog.changes(Point(environment.id, sandbox.base), environment.point)
    written, read = staleness(moved, pending(catalog, sandbox))
    if read and not written and stale_inputs == "refuse":
        raise StaleError(
            f"{environment.name} has moved on {', '.join(read)}, which {sandbox.name} has read",
            hint="anabranch sandbox sync, then anabranch run; the rule is stale_inputs in anabranch.toml",
            keys=read,
        )
    done = sync_sandbox(catalog, sandbox, environment.head, author=author, git_commit=git_commit, merge=merge)
    return catalog.branch_by_id(sandbox.id), done


@dataclass(frozen=True)
class Evidence:
    """What the gate is shown beside the entries.

    Attributes:
        compare: Key, entry before, entry after → how the table changed.
        check_passed: Fingerprint of a check → (passed, message), or None where it was never run on these versions.
        resources_differ: Key, entry → a sentence where it was made with another resource than the environment's.
        approvals: Who approved what.
        author: Who asks.
        forward_only: Whether who asks accepts what older code made.
    """

    compare: Callable[[str, Entry | None, Entry | None], TableChange]
    check_passed: Callable[[str], tuple[bool, str] | None]
    resources_differ: Callable[[str, Entry], str | None]
    approvals: Sequence[Approval]
    author: str
    forward_only: bool = False


def prepare(
    catalog: Catalog,
    sandbox: Branch,
    environment: Branch,
    graph: Graph,
    rules: Rules,
    evidence: Evidence,
    *,
    stale_inputs: StaleInputs = "rerun",
) -> Prepared:
    """Makes the candidate of a sandbox that stands on the environment's head, and has the gate judge it. Writes nothing."""
    changes = pending(catalog, sandbox)
    before = catalog.entries(environment.point)
    after: dict[str, Entry] = {**before, **{k: e for k, e in changes.items() if e is not None}}
    for key in [key for key, entry in changes.items() if entry is None]:
        after.pop(key, None)
    name = candidate_hash(
        {k: None if e is None else (e.version, e.provenance.fingerprint) for k, e in changes.items()},
        graph.definitions,
    )
    tables = tuple(evidence.compare(key, before.get(key), entry) for key, entry in changes.items())
    checks = tuple(_judged(graph, changes, after, evidence))
    differ = {
        k: text for k, e in changes.items() if e is not None and (text := evidence.resources_differ(k, e))
    }
    candidate = Candidate(
        hash=name,
        environment=environment.name,
        sandbox=sandbox.name,
        author=evidence.author,
        tables=tables,
        checks=checks,
        approvals=tuple(evidence.approvals),
        resources_differ=differ,
        samples={k: sample_text(m) for k, e in changes.items() if e is not None and (m := sample_of(e))},
        masked={
            k: str(e.provenance.extra["masked"]["environment"])
            for k, e in changes.items()
            if e is not None and "masked" in e.provenance.extra
        },
        mixed={
            key: text
            for key, entry in changes.items()
            if entry is not None and (text := mixture(entry, before.get(key))) is not None
        },
        forward_only=evidence.forward_only,
    )
    reads = {} if stale_inputs == "accept" else reads_of(changes, before)
    return Prepared(sandbox, environment, changes, candidate, judge(candidate, rules), reads)


def mixture(entry: Entry, before: Entry | None) -> str | None:
    """What of a table older code has made and its environment has not accepted yet, or None.

    Args:
        entry: The table as it would be published.
        before: The table as the environment has it.
    """
    if set(mark_of(entry)) - set(mark_of(before)):
        return "rows that older code made were kept"
    cut = entry.provenance.partitions
    known = set(before.provenance.partitions.get("accepted", ())) if before is not None else set()
    older = {f: n for f, n in cut.get("families", {}).items() if f != cut.get("family") and f not in known}
    if not older:
        return None
    count, whole = sum(older.values()), sum(cut["families"].values())
    return f"{count:,} of its {whole:,} partitions are as older code made them"


def _judged(
    graph: Graph, changes: Mapping[str, Any], after: Mapping[str, Entry], evidence: Evidence
) -> list[CheckOutcome]:
    found = []
    for check in graph.checks:
        if not any(key in changes for key in check.inputs):
            continue
        missing = [key for key in check.inputs if key not in after]
        known = None
        if not missing:
            known = evidence.check_passed(
                check_fingerprint(check, {key: after[key].version for key in check.inputs})
            )
        message = (
            known[1] if known else f"{missing[0]} is missing" if missing else "it was not run on this state"
        )
        found.append(
            CheckOutcome(check.id, check.asset, check.blocking, known[0] if known else None, message)
        )
    return found


def publish(
    catalog: Catalog,
    prepared: Prepared,
    *,
    author: str,
    git_commit: str | None,
    definitions: str,
    git_branch: str | None,
    merge: Merge,
) -> Commit:
    """One commit of the environment, and the sandbox's move onto it.

    Raises:
        GateError: the verdict is no pass.
        ConflictError: the environment or the sandbox has moved since it was judged, or an entry was made from an input
            that the environment does not hold; nothing was published.
    """
    verdict, sandbox, environment = prepared.verdict, prepared.sandbox, prepared.environment
    if not verdict.passed:
        first = verdict.reasons[0]
        more = f" (and {len(verdict.reasons) - 1} more)" if len(verdict.reasons) > 1 else ""
        raise GateError(f"the gate says no: {first.text}{more}", hint=first.hint, verdict=verdict.to_dict())
    now_there = catalog.branch_by_id(sandbox.id)
    if now_there.head != sandbox.head:
        raise ConflictError(
            f"{sandbox.name} was written to while its promotion was judged",
            key=None,
            expected=sandbox.head,
            found=now_there.head,
        )
    before = catalog.entries(environment.point, {*prepared.changes, *prepared.reads})
    there = {key: entry.version for key, entry in before.items()}
    expect: dict[str, str | None] = {key: there.get(key) for key in prepared.changes}
    for key, versions in prepared.reads.items():
        # Of two versions that were read of one key, one at least is not what the environment holds.
        expect[key] = next((v for v in sorted(versions) if v != there.get(key)), there.get(key))
    commit = catalog.commit(
        CommitRequest(
            branch=environment.id,
            changes=prepared.changes,
            expect=expect,
            expect_head=environment.head,
            idempotency_key=f"promote:{sandbox.id}:{sandbox.head}:{verdict.candidate}",
            kind="promote",
            message=f"promote {git_branch or sandbox.name}",
            author=author,
            git_commit=git_commit,
            definitions=definitions,
            properties={
                "sandbox": sandbox.name,
                "sandbox_commit": f"{sandbox.name}@{sandbox.head}",
                "git_branch": git_branch,
                "candidate": verdict.candidate,
                "verdict": verdict.to_dict(),
                "forward_only": dict(prepared.candidate.mixed),
                "replaced": {key: there.get(key) for key in prepared.changes},
            },
            branch_properties={"held": None},
        )
    )
    settle(
        catalog,
        catalog.branch_by_id(sandbox.id),
        catalog.branch_by_id(environment.id),
        author=author,
        git_commit=git_commit,
        merge=merge,
    )
    return commit


def settle(
    catalog: Catalog,
    sandbox: Branch,
    environment: Branch,
    *,
    author: str,
    git_commit: str | None,
    merge: Merge,
) -> Moved | None:
    """Moves a sandbox that was just published onto the environment's head. Idempotent; gives way to a writer."""
    try:
        return sync_sandbox(
            catalog, sandbox, environment.head, author=author, git_commit=git_commit, merge=merge
        )
    except CatalogError:
        # It is published: a sandbox that is written to, closed or not to be reached now is moved by the next command.
        return None


# rollback


@dataclass(frozen=True)
class RollbackPlan:
    """What a rollback would do.

    Attributes:
        environment: The environment's branch as it was read.
        target: Ref of the state, or of the undone commit.
        undone: Refs of the commits whose effect goes away, newest first.
        changes: Key → what is there, and what would be.
        definitions: Hash of the code that is rolled back, which runs are then refused for.
        git_commit: The code of the state that is restored.
        definitions_after: Its hash.
    """

    environment: Branch
    target: str
    undone: tuple[str, ...]
    changes: tuple[Change, ...]
    definitions: str | None
    git_commit: str | None
    definitions_after: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "environment": self.environment.name,
            "target": self.target,
            "undone": list(self.undone),
            "tables": [
                {
                    "asset": c.key,
                    "from": c.before.version if c.before else None,
                    "to": c.after.version if c.after else None,
                }
                for c in self.changes
            ],
        }


def plan_rollback(catalog: Catalog, environment: Branch, target: Point) -> RollbackPlan:
    """A rollback to a whole earlier state of the environment. Reads only.

    Raises:
        PromotionError: the target is not an earlier commit of that environment.
        RefError: there is no such commit, or gc has retired it.
    """
    if target.branch_id != environment.id or target.number >= environment.head:
        raise PromotionError(
            f"{environment.name} can only be rolled back to an earlier commit of its own",
            hint=f"anabranch log {environment.name} lists them; the newest is {environment.name}@{environment.head}",
        )
    catalog.get_commit(target)
    undone = [
        c
        for c in catalog.commits(
            environment.id, before=environment.head + 1, limit=environment.head - target.number
        )
        if c.number > target.number
    ]
    restored = _with_code(catalog, environment, target.number)
    changes = tuple(catalog.changes(environment.point, target))
    return RollbackPlan(
        environment,
        f"{environment.name}@{target.number}",
        tuple(c.ref for c in undone),
        changes,
        next((c.definitions for c in undone if c.definitions), None),
        restored.git_commit,
        restored.definitions,
    )


def plan_undo(catalog: Catalog, environment: Branch, number: int) -> RollbackPlan:
    """A rollback of all that one commit wrote, and of nothing else. Reads only.

    Raises:
        ConflictError: a later commit has written one of its keys: key, expected, found.
        PromotionError: it is the environment's opening, before which there is nothing.
        RefError: there is no such commit, or gc has retired it or the one before it.
    """
    commit = catalog.get_commit(Point(environment.id, number))
    if number < 1:
        raise PromotionError(
            f"{commit.ref} opened {environment.name}: there is no state before it",
            hint=f"anabranch log {environment.name}",
        )
    changes = catalog.commit_changes(commit.point)
    present = catalog.entries(environment.point, [c.key for c in changes])
    for change in changes:
        there = present.get(change.key)
        if (there.version if there else None) != (change.after.version if change.after else None):
            raise ConflictError(
                f"{change.key} was written again after {commit.ref}",
                hint=f"roll back to a whole state instead: anabranch rollback --to {environment.name}@{number - 1}",
                key=change.key,
                expected=change.after.version if change.after else None,
                found=there.version if there else None,
            )
    head = _with_code(catalog, environment, environment.head)
    whole = number == environment.head
    restored = _with_code(catalog, environment, number - 1) if whole else head
    return RollbackPlan(
        environment,
        commit.ref,
        (commit.ref,),
        tuple(Change(c.key, c.after, c.before) for c in changes),
        head.definitions,
        restored.git_commit,
        restored.definitions,
    )


def _with_code(catalog: Catalog, environment: Branch, number: int) -> Commit:
    """The commit, or the newest before it that records its code."""
    found = catalog.commits(environment.id, before=number + 1, limit=1)[0]
    while found.git_commit is None and found.number > 0:
        older = catalog.commits(environment.id, before=found.number, limit=1)
        if not older:
            break
        found = older[0]
    return found


def roll_back(catalog: Catalog, plan: RollbackPlan, *, author: str, message: str = "") -> Commit:
    """Carries a rollback out in one commit, and holds the environment until the code differs from what was rolled back.

    Raises:
        ConflictError: the environment has moved since it was planned; nothing was written.
    """
    environment = plan.environment
    return catalog.commit(
        CommitRequest(
            branch=environment.id,
            changes={c.key: c.after for c in plan.changes},
            expect={c.key: c.before.version if c.before else None for c in plan.changes},
            expect_head=environment.head,
            idempotency_key=f"rollback:{environment.head}:{plan.target}",
            kind="rollback",
            message=message
            or f"roll back {', '.join(plan.undone[:3])}"
            + (f" and {len(plan.undone) - 3} more" if len(plan.undone) > 3 else ""),
            author=author,
            git_commit=plan.git_commit,
            definitions=plan.definitions_after,
            properties={"undone": list(plan.undone), "target": plan.target},
            branch_properties={
                "held": {"definitions": plan.definitions, "by": author, "undone": list(plan.undone)}
            },
        )
    )
