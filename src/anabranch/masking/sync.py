"""Brings a masked environment up to date with its parent: masked files first, then one commit of its own.

The environment is a root of the catalog: nothing that it has not masked itself is in its sight. A sync works on a branch
beside it, where each table is committed as it is masked, so that a sync that was killed goes on where it stopped; the
environment sees all of it, in one commit that expects the head it was planned on, or nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from anabranch.catalog.base import Branch, Catalog, Commit, CommitRequest, Entry, Provenance
from anabranch.columns import Tag, parse_rule
from anabranch.dataclass import dataclass, field
from anabranch.errors import MaskError
from anabranch.masking.copy import append_copies, copy_table
from anabranch.masking.cuts import changed_partitions, copy_partitions, is_cut
from anabranch.masking.plan import KEPT, MaskPlanner, MaskStep, added_files, copied, parent_facts
from anabranch.masking.policy import Policy
from anabranch.names import new_id, now
from anabranch.pipeline.fingerprint import combine
from anabranch.running.events import Event, Listener
from anabranch.running.lease import hold

if TYPE_CHECKING:
    from anabranch.lake.storage import Storage
    from anabranch.lake.tables import Table
    from anabranch.lake.write import Written
    from anabranch.masking.cipher import Key


@dataclass
class SyncResult:
    """What a sync of a masked environment did, or would do.

    Attributes:
        environment: The masked environment.
        parent: Ref of the parent's commit that it is a copy of: ``production@41``.
        state: ``published``; ``nothing`` to do; ``dry_run``.
        steps: What was done with each key.
        commit: Ref of the commit, or None.
        rows: Rows that were masked.
        bytes: Bytes that were written.
        seconds: What it took.
    """

    environment: str
    parent: str
    state: Literal["published", "nothing", "dry_run"]
    steps: tuple[MaskStep, ...] = ()
    commit: str | None = None
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def with_action(self, *actions: str) -> list[MaskStep]:
        """The steps of these actions."""
        return [step for step in self.steps if step.action in actions]

    @property
    def undeclared(self) -> dict[str, tuple[str, ...]]:
        """Table → columns that nobody has declared, and that are therefore masked."""
        return {step.key: step.undeclared for step in self.steps if step.undeclared and step.action != "drop"}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "environment": self.environment,
            "parent": self.parent,
            "state": self.state,
            "commit": self.commit,
            "steps": [step.to_dict() for step in self.steps],
            "undeclared": {key: list(columns) for key, columns in self.undeclared.items()},
            "rows": self.rows,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Masker:
    """What a sync works with.

    Attributes:
        catalog: Where both environments are.
        storage: The warehouse, under the masked environment's scope.
        policy: The rules.
        key: For the rules that need one; None where the environment has none.
        tags: Key → what the code declares of its columns; None where the code has no such asset.
        author: As git names people.
        listen: Told of what happens.
        threads: Threads to write with.
    """

    catalog: Catalog
    storage: Storage
    policy: Policy
    key: Key | None
    tags: Callable[[str], Mapping[str, Tag] | None]
    author: str = ""
    listen: Listener = field(default=lambda _: None)
    threads: int = 2

    def plan(self, environment: Branch, parent: Branch) -> SyncResult:
        """What `sync` would do now. Writes nothing. Raises MaskError as `MaskPlanner.plan` does."""
        steps = self._planned(parent, self.catalog.entries(environment.point))
        return SyncResult(environment.name, _ref(parent), "dry_run", steps)

    def plan_first(self, name: str, parent: Branch) -> SyncResult:
        """What the first `sync` of an environment would do that is not open yet. Writes nothing."""
        return SyncResult(name, _ref(parent), "dry_run", self._planned(parent, {}))

    def sync(self, environment: Branch, parent: Branch) -> SyncResult:
        """Brings the environment up to date with the parent as it is now.

        Raises:
            MaskError: a rule can't be applied; nothing was published.
            LeaseError: a sync is under way.
            ConflictError: the environment was rolled back meanwhile; nothing was published.
        """
        started = time.perf_counter()
        with hold(self.catalog, f"run:{environment.name}", f"sync of {environment.name}") as lease:
            environment = self.catalog.branch_by_id(environment.id)
            branch = self._work(environment)
            steps = self._planned(parent, self.catalog.entries(branch.point))
            result = SyncResult(environment.name, _ref(parent), "nothing", steps)
            changes: dict[str, Entry | None] = {
                key: entry for key, entry in self.catalog.own(branch.point).items() if entry is not None
            }
            for step in steps:
                if step.action in ("mask", "append", "partitions", "note"):
                    mine = self.catalog.get(branch.point, step.key)
                    entry = self._entry(step, environment, parent, mine, result)
                    self.catalog.commit(
                        CommitRequest(
                            branch=branch.id,
                            changes={step.key: entry},
                            lease=lease.token,
                            kind="sync",
                            message=f"mask {step.key}",
                            author=self.author,
                        )
                    )
                    changes[step.key] = entry
                elif step.action == "drop":
                    changes[step.key] = None
            there = self.catalog.entries(environment.point)
            changes = {key: entry for key, entry in changes.items() if entry is not None or key in there}
            made = self._code_of(parent)
            if not changes and environment.properties.get("synced_to") == parent.head:
                self.catalog.close_branch(branch.id)
            else:
                commit = self._publish(environment, branch, parent, made, changes, result, lease.token)
                result.state, result.commit = "published", commit.ref
                self.listen(Event("published", data={"commit": commit.ref, "keys": commit.keys}))
            result.seconds = time.perf_counter() - started
            return result

    def _planned(self, parent: Branch, have: Mapping[str, Entry]) -> tuple[MaskStep, ...]:
        planner = MaskPlanner(self.policy, self.tags, self._open)
        return planner.plan(self.catalog.entries(parent.point), have)

    def _open(self, entry: Entry) -> Table:
        from anabranch.lake.tables import Table

        return Table(entry.key, entry.location, self.storage, version=entry.version or None)

    def _work(self, environment: Branch) -> Branch:
        """The branch of a sync that was killed and still stands on the environment's head, or a new one."""
        for branch in self.catalog.branches(kind="run"):
            if branch.parent != environment.id:
                continue
            if branch.base == environment.head:
                return branch
            self.catalog.close_branch(branch.id)
        return self.catalog.open_branch(
            f"{environment.name}.sync-{new_id()}",
            kind="run",
            parent=environment.point,
            properties={"environment": environment.name},
            message=f"sync of {environment.name}@{environment.head}",
            author=self.author,
        )

    def _entry(
        self, step: MaskStep, environment: Branch, parent: Branch, mine: Entry | None, result: SyncResult
    ) -> Entry:
        """Masks one table, and says what came of it."""
        origin = step.parent
        assert origin is not None
        self.listen(Event("step_started", step.key, {"reasons": [{"kind": "mask", "text": step.reason}]}))
        started = time.perf_counter()
        written: Written | None = None
        if step.action != "note":
            written = self._write(step, origin, mine, result)
        location = written.location if written is not None else mine.location if mine is not None else ""
        version = written.version if written is not None else mine.version if mine is not None else ""
        made = origin.provenance
        facts = parent_facts(origin, _ref(parent))
        extra = {name: made.extra[name] for name in KEPT if name in made.extra} | {
            "masked": {
                "environment": environment.name,
                "columns": dict(step.rules),
                "undeclared": list(step.undeclared),
                "rules": step.digest,
            },
            "parent": facts,
        }
        seconds = time.perf_counter() - started
        kept = mine.provenance if mine is not None else made
        entry = Entry(
            step.key,
            origin.kind,
            location,
            version,
            Provenance(
                **copied(
                    made,
                    # Never the parent's own: nothing that is masked may be found under it, nor the other way round.
                    fingerprint=combine("masked copy", str(environment.id), step.digest, made.fingerprint),
                    environment=environment.name,
                    computed_at=now().isoformat() if written is not None else kept.computed_at,
                    rows=made.rows,
                    bytes=written.bytes if written is not None else kept.bytes,
                    seconds=made.seconds,
                    memory=made.memory,
                    partitions=self._cut(origin, location),
                    extra=extra,
                )
            ),
        )
        same = mine is not None and mine.version == version
        told = {"rows": made.rows, "bytes": entry.provenance.bytes, "seconds": round(seconds, 3)}
        self.listen(Event("step_finished", step.key, {**told, "version": version, "same_content": same}))
        return entry

    def _write(self, step: MaskStep, origin: Entry, mine: Entry | None, result: SyncResult) -> Written:
        """Writes what a step says, and counts what it has masked."""
        if origin.kind == "file":
            file = self._write_file(origin)
            result.bytes += file.bytes
            return file
        rules = {column: parse_rule(rule) for column, rule in step.rules.items()}
        source = self._open(origin)
        previous = self._open(mine) if mine is not None and mine.kind == "table" else None
        seen = [0]

        def progress(rows: int) -> None:
            seen[0] = rows
            self.listen(Event("step_progress", step.key, {"rows": rows}))

        earlier: Table | None = None
        if step.action in ("append", "partitions"):
            assert mine is not None
            earlier = self._open(Entry(step.key, "table", mine.provenance.extra["parent"]["location"], ""))
        if is_cut(source, step.rules):
            found = changed_partitions(earlier, source) if earlier is not None else None
            done, size = copy_partitions(
                self.storage,
                source,
                rules,
                self.key,
                family=str(origin.provenance.partitions.get("family", "")),
                previous=previous,
                keys=found[0] if found is not None else None,
                gone=found[1] if found is not None else (),
                threads=self.threads,
                on_progress=progress,
            )
        elif earlier is not None:
            assert previous is not None
            done = append_copies(
                self.storage,
                source,
                added_files(earlier, source),
                rules,
                self.key,
                previous=previous,
                threads=self.threads,
                on_progress=progress,
            )
            size = done.bytes - previous.bytes
        else:
            done = copy_table(
                self.storage,
                source,
                rules,
                self.key,
                previous=previous,
                threads=self.threads,
                on_progress=progress,
            )
            size = done.bytes
        result.rows += seen[0]
        result.bytes += size
        return done

    def _cut(self, origin: Entry, location: str) -> dict[str, Any]:
        """What a copy's provenance says of its partitions; nothing where it is one piece."""
        parent = origin.provenance.partitions
        if origin.kind != "table" or not parent:
            return {}
        states = self._open(Entry(origin.key, "table", location, "")).partition_map
        if states is None:
            return {}
        family = str(parent.get("family", ""))
        return {
            **{name: parent[name] for name in ("identity", "family", "ranges") if name in parent},
            "families": {family: len(states)},
            "count": len(states),
            "digest": states.digest,
            "versions": states.versions_digest,
            "accepted": [],
            "settled": None,
            "redo": [],
            "arrived": [],
            "seconds": parent.get("seconds"),
        }

    def _write_file(self, origin: Entry) -> Written:
        from anabranch.lake.file import StoredFile
        from anabranch.lake.tables import write_file_asset

        stored = StoredFile(origin.key, origin.location, self.storage, origin.version)
        return write_file_asset(self.storage, origin.key, stored.read_bytes(), name=stored.name)

    def _code_of(self, parent: Branch) -> Commit:
        """The parent's newest commit that records its code."""
        commits = self.catalog.commits(parent.id, before=parent.head + 1, limit=100)
        found = next((commit for commit in commits if commit.git_commit is not None), None)
        if found is None:
            raise MaskError(f"{parent.name} was never built", hint="anabranch run builds it")
        return found

    def _publish(
        self,
        environment: Branch,
        branch: Branch,
        parent: Branch,
        made: Commit,
        changes: Mapping[str, Entry | None],
        result: SyncResult,
        token: str,
    ) -> Commit:
        done = result.with_action("mask", "append", "partitions")
        return self.catalog.commit(
            CommitRequest(
                branch=environment.id,
                changes=changes,
                expect_head=branch.base,
                lease=token,
                idempotency_key=f"sync:{branch.id}",
                kind="sync",
                message=f"sync to {_ref(parent)}",
                author=self.author,
                git_commit=made.git_commit,
                definitions=made.definitions,
                properties={
                    "parent": _ref(parent),
                    "masked": [step.key for step in done],
                    "undeclared": {key: list(columns) for key, columns in result.undeclared.items()},
                },
                branch_properties={"synced_to": parent.head, "held": None},
                close=[branch.id],
            )
        )


def _ref(branch: Branch) -> str:
    return f"{branch.name}@{branch.head}"
