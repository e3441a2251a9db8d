"""What promotions, rollbacks, commits, sandboxes, tags and gc look like to a data engineer.

Pure: results in, lines out. The last line says what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anabranch.catalog.base import Change, Commit, Entry
from anabranch.gate import Approval, TableChange
from anabranch.pipeline.incremental import DECLARED
from anabranch.planning.changes import kept_of
from anabranch.planning.incremental import mark_of
from anabranch.planning.world import is_copy, sample_of, sample_text
from anabranch.project.results import Log, SandboxList, Shown, TagList
from anabranch.project.sandboxes import Closed, Opened, Synced
from anabranch.promotion import Prepared, PromotionResult, RollbackPlan
from anabranch.report.lines import (
    Line,
    Span,
    columns,
    count,
    dim,
    duration,
    head,
    hint,
    key,
    line,
    listed,
    moment,
    short_commit,
    short_version,
    size,
)
from anabranch.report.text import plan_lines, verdict_lines
from anabranch.report.text_clones import clone_lines, clone_list_lines, dropped_lines
from anabranch.report.text_run import run_record_lines
from anabranch.sandbox.gc import GcResult
from anabranch.sandbox.lifecycle import Moved

# promotion


def candidate_lines(prepared: Prepared, *, limit: int | None = None) -> list[Line]:
    """What would be published, and what the gate says of it: shown before somebody is asked."""
    title = f"{prepared.sandbox.name} → {prepared.environment.name}"
    lines = [line(head(title), dim(f"   candidate {prepared.verdict.candidate[:12]}"))]
    lines += columns([_table_row(change) for change in prepared.candidate.tables], limit=limit, give=3)
    return [*lines, *_verdict(prepared.verdict.to_dict())]


def _table_row(change: TableChange) -> list[Span | str]:
    styles: Mapping[str, Any] = {"added": "good", "removed": "bad", "changed": "warn"}
    rows = [None if n is None else f"{n:,}" for n in (change.rows_before, change.rows_after)]
    counts = {
        "added": f"{rows[1]} rows" if rows[1] else "",
        "removed": f"{rows[0]} rows go" if rows[0] else "",
        "same": "same content",
    }.get(change.state, f"{rows[0]} → {rows[1]} rows" if rows[0] and rows[1] else "")
    gone = f"{change.rows_removed:,} removed" if change.rows_removed and change.state == "changed" else ""
    text = "; ".join([*([gone] if gone else []), *change.schema_text])
    return [Span(change.state, styles.get(change.state, "dim")), key(change.key), counts, text]


def _verdict(verdict: Mapping[str, Any]) -> list[Line]:
    first = Span("the gate says yes", "good") if verdict["passed"] else Span("the gate says no", "bad")
    return [line("  ", first), *verdict_lines(verdict)]


def promotion_lines(
    result: PromotionResult, *, limit: int | None = None, verbose: bool = False
) -> list[Line]:
    """What came of a promotion, or would come of it."""
    lines: list[Line] = []
    if result.moved is not None:
        lines += moved_lines(
            result.moved, result.sandbox, result.environment, would=result.state == "dry_run"
        )
    if result.reran:
        lines.append(line(f"run again on the new base: {listed(result.reran)}"))
    if result.clones:
        what = "clones that would be published" if result.state == "dry_run" else "published from clones"
        lines.append(line(f"{what}: {listed(result.clones)}"))
    if result.state == "published":
        lines.append(
            line(
                Span("published ", "good"),
                f"{result.sandbox} as ",
                key(str(result.commit)),
                f": {listed(result.tables)} in {duration(result.seconds)}",
            )
        )
        if result.verdict is not None:
            lines += list(verdict_lines(result.verdict.to_dict()))
        lines.append(
            hint(f"anabranch show {result.commit}; to take it back: anabranch rollback --of {result.commit}")
        )
        return lines
    if result.state == "nothing":
        lines.append(line(f"{result.environment} has all that {result.sandbox} holds: nothing to publish"))
        return [*lines, hint("anabranch sandbox close, or edit an asset")]
    if result.plan is not None:
        lines += plan_lines(result.plan, title=f"sandbox {result.sandbox}", limit=limit, verbose=verbose)[:-1]
        lines.append(line("what runs first decides what would be published"))
        return [*lines, hint("anabranch promote")]
    if result.verdict is None:
        return [*lines, line("the sync decides what would run and be published"), hint("anabranch promote")]
    lines.append(line(f"would publish {listed(result.tables) or 'nothing'} into {result.environment}"))
    lines += _verdict(result.verdict.to_dict())
    return [*lines, hint("anabranch promote" if result.verdict.passed else "anabranch diff")]


def approval_lines(approval: Approval, sandbox: str) -> list[Line]:
    """An approval that was given."""
    return [
        line(Span("approved ", "good"), f"{approval.candidate[:12]} of {sandbox}, by {approval.by}"),
        line(dim("it holds for exactly this state; any other needs another approval")),
        hint("anabranch promote"),
    ]


def moved_lines(moved: Moved, sandbox: str, environment: str, *, would: bool) -> list[Line]:
    """What a sync brings."""
    verb = "would move" if would else "moved"
    span = f"{environment}@{moved.old_base} → {environment}@{moved.new_base}"
    lines = [line(f"{sandbox} {verb} from ", key(span))]
    if moved.changed:
        lines.append(line("  ", dim("other content: "), listed(moved.changed, 6)))
    if moved.dropped:
        lines.append(line("  ", dim("in the base by now: "), listed(moved.dropped, 6)))
    return lines


def rollback_lines(plan: RollbackPlan, commit: Commit | None, *, limit: int | None = None) -> list[Line]:
    """What a rollback undoes, or would undo."""
    verb = "roll back" if commit is None else "rolled back"
    lines = [line(head(f"{verb} {plan.environment.name}"), f": {listed(plan.undone, 5)}")]
    rows: list[list[Span | str]] = [
        [
            _restored(c),
            key(c.key),
            f"{short_version(c.before.version if c.before else None)} → {short_version(c.after.version if c.after else None)}",
        ]
        for c in plan.changes
    ]
    lines += columns(rows, limit=limit, give=1)
    if not rows:
        lines.append(line("  no table differs"))
    if commit is None:
        return [*lines, hint("the same command without --dry-run")]
    lines.append(line(Span("done ", "good"), "as ", key(commit.ref)))
    lines.append(
        line(
            dim(
                f"{plan.environment.name} is held: runs are refused until the code differs from what was rolled back"
            )
        )
    )
    return [
        *lines,
        hint("git revert what made it, or mend it; anabranch run --resume runs the same code all the same"),
    ]


def _restored(change: Change) -> Span:
    if change.after is None:
        return Span("remove", "bad")
    return Span("bring back" if change.before is None else "restore", "warn")


# history


def log_lines(log: Log, *, limit: int | None = None) -> list[Line]:
    """Commits, newest first."""
    rows = [
        [
            key(c.ref),
            dim(moment(c.time)),
            c.kind,
            c.message,
            dim(_name(c.author)),
            dim(f"git {short_commit(c.git_commit)}" if c.git_commit else ""),
            Span(", ".join(log.tags.get(c.number, ())), "good"),
        ]
        for c in log.commits
    ]
    newest = log.commits[0].ref if log.commits else log.ref
    return [*columns(rows, indent="", limit=limit, give=3), hint(f"anabranch show {newest}")]


def _name(author: str) -> str:
    return author.partition(" <")[0]


def shown_lines(shown: Shown, *, limit: int | None = None, verbose: bool = False) -> list[Line]:
    """One commit, run or asset in full."""
    if shown.what == "commit" and shown.commit is not None:
        return _commit_lines(shown.commit, shown.changes, limit=limit, verbose=verbose)
    if shown.what == "run" and shown.run is not None:
        return run_record_lines(shown.run, target=shown.target, limit=limit, verbose=verbose)
    assert shown.entry is not None
    return _entry_lines(shown.title, shown.entry, shown.readers)


def _facts(rows: list[tuple[str, str | None]]) -> list[Line]:
    return columns([[dim(name), value] for name, value in rows if value])


def _commit_lines(
    commit: Commit, changes: tuple[Change, ...], *, limit: int | None, verbose: bool
) -> list[Line]:
    lines = [line(head(commit.ref), f"  {commit.message}")]
    lines += _facts(
        [
            ("time", moment(commit.time)),
            ("kind", commit.kind),
            ("by", commit.author),
            ("git commit", commit.git_commit),
            ("run", commit.run),
        ]
    )
    rows: list[list[Span | str]] = []
    for change in changes:
        state, style = ("added", "good") if change.before is None else ("changed", "warn")
        if change.after is None:
            state, style = "removed", "bad"
        counts = " → ".join(
            f"{e.provenance.rows:,}" if e is not None and e.provenance.rows is not None else "—"
            for e in (change.before, change.after)
        )
        versions = " → ".join(short_version(e.version if e else None) for e in (change.before, change.after))
        rows.append([Span(state, style), key(change.key), f"{counts} rows", dim(versions)])  # type: ignore[arg-type]
    shown = rows if verbose else rows[:30]
    lines += columns(shown, limit=limit, give=1)
    if len(rows) > len(shown):
        lines.append(line("  ", dim(f"and {len(rows) - len(shown)} more (-v shows all)")))
    if "verdict" in commit.properties:
        lines += _verdict(commit.properties["verdict"])
    before = f"{commit.branch}@{commit.number - 1}"
    return [*lines, hint(f"anabranch diff {before} {commit.ref}" if commit.number else "anabranch log")]


def _entry_lines(title: str, entry: Entry, readers: tuple[str, ...]) -> list[Line]:
    made = entry.provenance
    lines = [line(head(title))]
    lines += _facts(
        [
            ("version", entry.version),
            ("rows", f"{made.rows:,}" if made.rows is not None else None),
            ("size", size(made.bytes)),
            ("location", entry.location),
            ("computed", _computed(entry)),
            ("run", made.run),
            (
                "git commit",
                f"{made.git_commit}{' with uncommitted edits' if made.dirty else ''}"
                if made.git_commit
                else None,
            ),
            ("fingerprint", made.fingerprint),
            ("incremental", _incremental(entry)),
            ("made from", ", ".join(f"{k} {short_version(v)}" for k, v in made.inputs.items())),
            ("read by", ", ".join(readers)),
            ("masked", _masked(entry)),
            ("sample", sample_text(sample_of(entry)) or None),
            ("columns", _column_sets(entry)),
        ]
    )
    return [*lines, hint(f'anabranch sql "from {entry.key}"')]


def _masked(entry: Entry) -> str | None:
    masked = entry.provenance.extra.get("masked")
    if masked is None:
        return None
    if not is_copy(entry):
        return f"computed from the masked data of {masked['environment']}"
    rules = [
        f"{column} {rule}{' (nobody has declared it)' if column in masked['undeclared'] else ''}"
        for column, rule in masked["columns"].items()
        if rule != "keep"
    ]
    return f"{', '.join(rules) or 'nothing'}; copied from {entry.provenance.extra['parent']['ref']}"


def _column_sets(entry: Entry) -> str | None:
    """The versions of the columns that readers compare."""
    kept = entry.provenance.extra.get("columns") or {}
    told = (f"({names.replace(',', ', ')}) {short_version(version)}" for names, version in kept.items())
    return "; ".join(told) or None


def _incremental(entry: Entry) -> str | None:
    made = kept_of(entry).get(DECLARED)
    if not made:
        return None
    reason = made.get("reason") or "full build"
    if made.get("mode") == "full" and not reason.startswith("full "):
        reason = f"full rebuild: {reason}"
    text = f"{made.get('kind')}, {reason if made.get('mode') == 'full' else 'brought up to date'}"
    kept = len(mark_of(entry))
    return text + (f"; forward-only: rows of {count(kept, 'older code')} were kept" if kept else "")


def _computed(entry: Entry) -> str | None:
    from datetime import datetime

    made = entry.provenance
    if made.computed_at is None:
        return None
    by = f" by {made.environment}" if made.environment else ""
    return f"{moment(datetime.fromisoformat(made.computed_at))}{by} in {duration(made.seconds)}"


# sandboxes


def sandbox_list_lines(found: SandboxList, *, limit: int | None = None) -> list[Line]:
    """The open sandboxes, and all clones, if they were asked for."""
    if found.clones is not None:
        alone = sandbox_list_lines(SandboxList(found.sandboxes), limit=limit)
        left = any(clone.condition == "leaked" for clone in found.clones)
        next_ = hint("anabranch gc --dry-run tells what it would drop") if left else alone[-1]
        return [*alone[:-1], *clone_list_lines(found.clones, limit=limit), next_]
    if not found.sandboxes:
        return [line("no sandbox is open"), hint("git switch -c NAME, edit an asset, then anabranch run")]
    rows: list[list[Span | str]] = []
    for box in found.sandboxes:
        behind = f", {box.behind:,} behind" if box.behind else ""
        gone = Span("git branch is gone", "warn") if box.git_branch_exists is False else Span("")
        until = f"until {moment(box.expires_at)}" if box.expires_at else "does not expire"
        branch = "" if box.git_branch == box.name else box.git_branch
        rows.append(
            [
                key(box.name),
                branch,
                f"{box.environment}@{box.base}{behind}",
                count(len(box.tables), "table"),
                size(box.bytes),
                dim(until),
                gone,
            ]
        )
    return [
        *columns(rows, indent="", right=(3, 4), limit=limit, give=0),
        hint("anabranch sandbox close NAME, or git switch to one"),
    ]


def opened_lines(opened: Opened) -> list[Line]:
    """A sandbox that was opened, or was open."""
    box = opened.sandbox
    if not opened.new:
        base = f"{box.environment}@{box.base}"
        return [
            line(f"sandbox {box.name} is open already, on "[:-1], " ", key(base)),
            *clone_lines(opened.clones),
            hint("anabranch status"),
        ]
    took = dim(f"   {duration(opened.seconds)}")
    told = opening_lines(box.name, f"{box.environment}@{box.base}", opened.behind_reason)
    clones = clone_lines(opened.clones)
    return [(*told[0], took), *told[1:], *clones, hint("edit an asset, then anabranch plan")]


def opening_lines(sandbox: str, base: str, behind_reason: str | None) -> list[Line]:
    """The notice of a first opening: on which base, and why."""
    environment = base.rpartition("@")[0]
    lines = [line(Span("opened ", "good"), "sandbox ", key(sandbox), " on ", key(base))]
    if behind_reason is None:
        why = f"the newest commit of {environment}; it stays there until you sync"
    else:
        why = f"the newest commit of {environment} whose code this branch contains: {behind_reason}"
    return [*lines, line("  ", dim(why))]


def synced_lines(synced: Synced) -> list[Line]:
    """What a sync brought, or would bring."""
    moved = synced.moved
    if moved.old_base == moved.new_base and not moved.dropped:
        lines = [line(f"{synced.sandbox} stands on {synced.environment}@{moved.new_base} already")]
    else:
        lines = moved_lines(moved, synced.sandbox, synced.environment, would=synced.dry_run)
    if synced.clones:
        verb = "would make anew" if synced.dry_run else "made anew"
        lines.append(line(f"  clones {verb}: {listed(synced.clones, 6)}"))
    if synced.behind_reason:
        lines.append(line(Span("still behind: ", "warn"), synced.behind_reason))
    return [*lines, hint("anabranch plan")]


def closed_lines(closed: Closed) -> list[Line]:
    """A sandbox that was closed, or would be."""
    box = closed.sandbox
    verb = "would close" if closed.dry_run else "closed"
    lines = [
        line(f"{verb} sandbox ", key(box.name), f": {count(len(box.tables), 'table')}, {size(box.bytes)}")
    ]
    if closed.unpublished:
        lines.append(line("  ", Span(f"never published: {listed(closed.unpublished, 6)}", "warn")))
    going = [clone.to_dict() for clone in closed.clones]
    lines += dropped_lines(going, closed.clone_problems, would=closed.dry_run)
    return [*lines, hint("anabranch gc frees the storage")]


# upkeep


def tag_lines(tags: TagList, *, limit: int | None = None) -> list[Line]:
    """The tags."""
    if not tags.tags:
        return [line("no tags"), hint("anabranch tag NAME names the present state; gc keeps it")]
    rows: list[list[Span | str]] = [
        [key(tag.name), ref, dim(moment(tag.created_at)), tag.message] for tag, ref in tags.tags
    ]
    return [*columns(rows, indent="", limit=limit, give=3), hint("anabranch diff TAG")]


def gc_lines(result: GcResult, *, limit: int | None = None, verbose: bool = False) -> list[Line]:
    """What gc removed, or would remove."""
    would = result.dry_run
    lines = [line(head("gc would remove" if would else "gc removed"))]
    if result.expired:
        lines.append(
            line(
                f"  {'close' if would else 'closed'} expired sandboxes: ",
                listed(result.expired, None if verbose else 6),
            )
        )
    if result.retired:
        lines.append(line("  content of closed branches: ", listed(result.retired, None if verbose else 6)))
    lines += dropped_lines(result.clones, result.clone_problems, would=would, verbose=verbose)
    lines.append(line(f"  {count(len(result.files), 'file')}, {size(result.bytes)}"))
    lines.append(
        line(
            "  ",
            dim(
                f"kept: {count(result.kept, 'file')} that are needed ({size(result.kept_bytes)}), {count(result.kept_young, 'file')} too young"
            ),
        )
    )
    if verbose:
        lines += columns([[dim(file)] for file in result.files], indent="    ", limit=limit)
    if not would:
        return [*lines, hint("anabranch status")]
    some = result.files or result.expired or result.retired or result.clones
    return [*lines, hint("anabranch gc --yes" if some else "nothing to do")]
