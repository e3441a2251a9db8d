"""What a run is given and what it gives back: the loaded code, the place of results, the options, the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.catalog.base import Catalog, RunState
from anabranch.dataclass import dataclass, field
from anabranch.pipeline.definitions import Pipeline
from anabranch.pipeline.graph import Graph
from anabranch.pipeline.outside import Clones
from anabranch.planning.plan import Plan
from anabranch.running.events import Listener
from anabranch.running.lineage import LineageConfig
from anabranch.running.outcome import Execution
from anabranch.running.retry import RetryPolicy
from anabranch.running.secrecy import Withheld
from anabranch.running.timeline import summary
from anabranch.running.worker import TEARDOWN, Project

if TYPE_CHECKING:
    from anabranch.lake.storage import Scope, Storage


@dataclass(frozen=True)
class Workspace:
    """The code at hand, loaded.

    Attributes:
        project: What workers need to load the same.
        pipeline: The bound definitions.
        graph: The same as plain values.
        git_commit: The commit that is checked out; None on an unborn branch.
        dirty: Files with uncommitted edits.
        author: As git names people.
    """

    project: Project
    pipeline: Pipeline
    graph: Graph
    git_commit: str | None
    dirty: tuple[str, ...]
    author: str


@dataclass(frozen=True)
class Place:
    """Where results are kept.

    Attributes:
        catalog: The versioned map.
        warehouse: URI.
        properties: Resolved properties of the warehouse.
        folder: The project's ``.anabranch`` folder: logs and caches.
        withheld: Names of variables that steps may not see.
        secrets: Values that no log may hold.
        unmasked_sources: Masked environment → assets that may read the outside world in its sandboxes.
    """

    catalog: Catalog
    warehouse: str
    properties: Mapping[str, str]
    folder: Path
    withheld: Withheld = field(default_factory=Withheld)
    secrets: tuple[str, ...] = ()
    unmasked_sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def storage(self, scope: Scope | None = None) -> Storage:
        """The warehouse; read-only unless a scope is given."""
        from anabranch.lake.storage import Scope, Storage

        return Storage(self.warehouse, properties=self.properties, scope=scope or Scope.read_only())


@dataclass(frozen=True)
class RunOptions:
    """How to run.

    Attributes:
        select: Words that name assets; none: all.
        partitions: Words that name partitions, as `PartitionSelection.parse` reads them; None: all.
        force: Run the selected whatever stands.
        forward_only: Leave what older code made as it is; the code at hand makes what is new.
        refresh: Sources to fetch again; ``("*",)``: all sources.
        workers: Worker processes; None: one for each processor.
        in_process: Run the steps in this process, for a debugger.
        prune: Remove tables whose asset is no longer in the code, and partitions that it no longer has.
        fail_fast: Start nothing more after a failure.
        listen: Told of every event.
        timeout: How long a step may take, where its asset does not say.
        retry: Whether and when a failed step is tried again, where its asset does not say.
        teardown: How long a step that is ended may take to tear its resources down.
        limits: Tag → how many steps whose asset carries it run at a time.
        memory: Bytes that the steps under way may take together, by their recorded peaks; None: any.
        lineage: Where lineage is sent to, or None.
        wait: For how long to wait for another run that is under way there.
        clones: Where steps find the databases of `CloneOf`.
    """

    select: Sequence[str] = ()
    partitions: str | None = None
    force: bool = False
    forward_only: bool = False
    refresh: Sequence[str] = ()
    workers: int | None = None
    in_process: bool = False
    prune: bool = False
    fail_fast: bool = False
    listen: Listener = lambda _: None
    timeout: timedelta | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    teardown: timedelta = TEARDOWN
    limits: Mapping[str, int] = field(default_factory=dict)
    memory: int | None = None
    lineage: LineageConfig | None = None
    wait: timedelta = timedelta()
    clones: Clones = field(default_factory=dict)


@dataclass
class RunResult:
    """What came of a run.

    Attributes:
        id: The run's id; ``anabranch show ID`` tells more.
        target: Name of the environment or sandbox.
        kind: environment or sandbox.
        state: succeeded, failed or interrupted.
        plan: What was planned.
        execution: What was done.
        commit: Ref of the commit that published it, or of the sandbox's newest one; None if nothing was written.
        seconds: What it took.
        logs: Folder of the steps' logs.
        pruned: Keys of the tables that were removed.
        warnings: What one should know though nothing failed by it, in sentences.
    """

    id: str
    target: str
    kind: str
    state: RunState
    plan: Plan
    execution: Execution = field(default_factory=Execution)
    commit: str | None = None
    seconds: float = 0.0
    logs: str = ""
    pruned: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything passed."""
        return self.state == "succeeded"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "run": self.id,
            "target": self.target,
            "kind": self.kind,
            "state": self.state,
            "commit": self.commit,
            "seconds": round(self.seconds, 3),
            "assets": [outcome.to_dict() for outcome in self.execution.outcomes.values()],
            "checks": [check.to_dict() for check in self.execution.checks.values()],
            "pruned": list(self.pruned),
            "warnings": list(self.warnings),
            "timeline": summary(self.execution.timeline),
            "plan": self.plan.to_dict(),
        }
