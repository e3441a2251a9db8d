"""Before anything runs: what is in view, what may be taken over from elsewhere, and what the outside looks like now."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from anabranch.catalog.base import Branch, Entry, Found
from anabranch.errors import StepError
from anabranch.names import now
from anabranch.pipeline.outside import HIDDEN
from anabranch.planning.partition_words import PartitionSelection
from anabranch.planning.partitions import PartitionPlanner
from anabranch.planning.plan import Planner
from anabranch.planning.world import World, is_masked
from anabranch.running.guard import Guard
from anabranch.running.machine import available_memory
from anabranch.running.secrecy import foreign_variables
from anabranch.running.step import StepTask
from anabranch.running.worker import InlinePool, Pool, ProcessPool, Progress
from anabranch.running.workspace import Place, RunOptions, Workspace
from anabranch.sample import parse_sample

if TYPE_CHECKING:
    from anabranch.lake.partition_map import PartitionMap
    from anabranch.lake.storage import Scope, Storage
    from anabranch.lake.tables import Table

# What pyiceberg calls the properties that hold credentials.
_CREDENTIAL = ("key", "secret", "token", "password", "credential")


class Preparation:
    """Plans on branches of one catalog with one state of the code."""

    def __init__(self, place: Place, workspace: Workspace) -> None:
        self.place = place
        self.catalog = place.catalog
        self.workspace = workspace

    def planner(
        self,
        branch: Branch,
        environment: Branch,
        options: RunOptions,
        *,
        resources: str,
        own_runs: frozenset[str] = frozenset(),
        observe: bool = True,
    ) -> Planner:
        """A planner for a branch as it stands.

        Args:
            branch: A sandbox, or a run's branch of an environment, or the environment itself.
            environment: The environment that it belongs to.
            options: Selection, force, refresh.
            resources: Name of the resource set.
            own_runs: Runs that this one continues: what they fetched is not fetched again.
            observe: Whether sources may be asked for their outside version now.
        """
        graph = self.workspace.graph
        view = self.catalog.entries(branch.point)
        planner = Planner(
            graph,
            view,
            target=branch.name if branch.kind != "run" else environment.name,
            pinned=branch.kind == "sandbox",
            now=now(),
            force=options.force,
            refresh=self._sources(options.refresh),
            lookup=self._lookup(branch, environment),
            own_runs=own_runs,
            world=self.world(branch, environment),
            partitions=self._partitions(branch, environment, options),
            forward_only=options.forward_only,
        )
        if options.select:
            planner.selected = graph.select(options.select, changed=planner.changed)
        if options.partitions is not None:
            planner.partitions.check_selection(planner.selected)
        if observe and (asked := planner.to_observe()):
            planner.observed = self._observe(asked, resources, options)
        return planner

    def world(self, branch: Branch, environment: Branch) -> World:
        """What assets are computed from on a branch: all data, or in a sandbox masked copies, or a sample."""
        masked = str(environment.properties.get("storage", "")) if is_masked(environment) else ""
        kept = branch.properties.get("sample") if branch.kind == "sandbox" else None
        if branch.kind != "sandbox" or not (masked or kept):
            return World()
        known: dict[str, frozenset[str]] = {}

        def columns(entry: Entry) -> frozenset[str]:
            if entry.location not in known:
                known[entry.location] = frozenset(self._table(entry).schema.names)
            return known[entry.location]

        point = branch.base_point
        return World(
            masked=masked,
            environment=environment.name,
            sample=None if not kept else parse_sample(str(kept["share"]), kept.get("by")),
            base={} if point is None else self.catalog.entries(point),
            base_ref="" if point is None else f"{environment.name}@{point.number}",
            columns=columns,
            unmasked_sources=self.place.unmasked_sources.get(environment.name, ()),
        )

    def _table(self, entry: Entry) -> Table:
        from anabranch.lake.tables import Table

        storage = self.place.storage()
        return Table(entry.key, entry.location, storage, version=entry.version)

    def guard(self, world: World, environment: Branch) -> Guard:
        """What keeps everything that is not masked out of a world of masked copies."""
        warehouse = self.place.warehouse

        def folders() -> list[str]:
            from anabranch.lake.storage import Scope

            known = self.catalog.branches(kind="sandbox", include_closed=True)
            own = [Scope.sandbox(str(b.properties["storage"])) for b in known if b.parent == environment.id]
            return [f"{warehouse}/{scope.folder}/" for scope in (Scope.masked(world.masked), *own)]

        return Guard(world, self.workspace.graph, folders)

    def _sources(self, words: Sequence[str]) -> set[str]:
        graph = self.workspace.graph
        roots = {key for key in graph if not graph[key].inputs and graph[key].kind == "python"}
        if "*" in words:
            return {key for key in roots if graph[key].refresh != "code"} or roots
        return graph.select(words) if words else set()

    def _partitions(self, branch: Branch, environment: Branch, options: RunOptions) -> PartitionPlanner:
        """What decides on partitions. Their maps are loaded when they are needed, each once."""
        from anabranch.running.cut import partition_map

        maps: dict[str, PartitionMap | None] = {}
        storage: list[Storage] = []

        def states(entry: Entry) -> PartitionMap | None:
            if entry.location not in maps:
                if not storage:
                    storage.append(self.place.storage())
                maps[entry.location] = partition_map(storage[0], entry)
            return maps[entry.location]

        selection = None
        failed: dict[str, list[str]] = {}
        if options.partitions is not None:
            selection = PartitionSelection.parse(options.partitions)
            if selection.asks_failed:
                failed = self._failed_partitions(environment if branch.kind == "run" else branch)
        trusted = self._trusted(branch, environment)
        return PartitionPlanner(
            self.workspace.graph,
            now=now(),
            states=states,
            selection=selection,
            force=options.force,
            forward_only=options.forward_only,
            prune=options.prune,
            failed=failed,
            lookup=lambda family: [found for found in self.catalog.find(family) if trusted(found)],
        )

    def _failed_partitions(self, target: Branch) -> dict[str, list[str]]:
        """Asset → partitions that failed when it was last run there."""
        found: dict[str, list[str]] = {}
        settled: set[str] = set()
        for run in self.catalog.runs(target=target.id, limit=50):
            for outcome in run.properties.get("assets", ()):
                if outcome["state"] in ("ran", "failed") and outcome["asset"] not in settled:
                    settled.add(outcome["asset"])
                    found[outcome["asset"]] = list((outcome.get("error") or {}).get("partitions", ()))
        return found

    def _lookup(self, branch: Branch, environment: Branch) -> Callable[[str], Found | None]:
        """Finds results on refs that the branch trusts: its environment, and for a sandbox its sister sandboxes."""
        trusted = self._trusted(branch, environment)

        def lookup(fingerprint: str) -> Found | None:
            candidates = [found for found in self.catalog.find(fingerprint) if trusted(found)]
            # What the environment itself holds goes first: the sandbox then differs from it in nothing.
            candidates.sort(
                key=lambda found: (found.branch_id != environment.id, found.branch_id != branch.id)
            )
            return candidates[0] if candidates else None

        return lookup

    def _trusted(self, branch: Branch, environment: Branch) -> Callable[[Found], bool]:
        families: dict[int, bool] = {}

        def trusted(found: Found) -> bool:
            if found.branch_id in (branch.id, environment.id):
                return True
            if found.branch_id not in families:
                other = self.catalog.branch_by_id(found.branch_id)
                family = other.parent == environment.id
                families[found.branch_id] = family and (other.kind == "run" or branch.kind == "sandbox")
            return families[found.branch_id]

        return trusted

    def _observe(self, keys: Sequence[str], resources: str, options: RunOptions) -> dict[str, str]:
        """Asks sources for their outside version, in worker processes. Raises StepError if one can't tell."""
        from anabranch.lake.storage import Scope

        found: dict[str, str] = {}
        secrets = self._secrets(resources)
        with self._pool(options, resources, len(keys)) as pool:
            waiting = list(keys)
            late: dict[str, float] = {}
            while waiting or len(found) < len(keys):
                while waiting and pool.free > 0:
                    task = replace(
                        self._template(resources, Scope.read_only(), options),
                        kind="observe",
                        key=waiting.pop(0),
                    )
                    pool.submit(task)
                    timeout = self.workspace.pipeline.assets[task.key].asset.timeout or options.timeout
                    if timeout is not None:
                        late[task.key] = time.monotonic() + timeout.total_seconds()
                for key in [key for key, end in late.items() if end <= time.monotonic()]:
                    del late[key]
                    pool.kill(key, f"the observe function of {key} took longer than its timeout")
                for result in pool.wait(1.0):
                    if isinstance(result, Progress):
                        continue
                    if not result.ok or result.outside is None:
                        error = {
                            k: without_secrets(v, secrets) if isinstance(v, str) else v
                            for k, v in (result.error or {}).items()
                        }
                        raise StepError(
                            f"observing {result.key} failed: {error.get('message')}",
                            place=error.get("place"),
                            hint=error.get("hint"),
                            asset=result.key,
                            traceback=error.get("traceback", ""),
                        )
                    found[result.key] = result.outside
                    late.pop(result.key, None)
        return found

    def _secrets(self, resources: str) -> list[str]:
        """The values that no log may hold: the variables that a resource set reads, and the warehouse's credentials."""
        variables = {*self.workspace.pipeline.definitions.variables(resources), *self.place.withheld.always}
        credentials = [v for k, v in self.place.properties.items() if any(word in k for word in _CREDENTIAL)]
        values = (os.environ.get(name, "") for name in variables)
        return [*values, *self.place.secrets, *credentials]

    def _template(self, resources: str, scope: Scope, options: RunOptions) -> StepTask:
        processors = os.cpu_count() or 1
        return StepTask(
            "asset",
            "",
            resources=resources,
            clones=options.clones,
            warehouse=self.place.warehouse,
            properties=self.place.properties,
            scope=scope,
            threads=processors,
            memory=int(available_memory() * 0.35),
        )

    @contextlib.contextmanager
    def _pool(self, options: RunOptions, resources: str, size: int) -> Iterator[Pool]:
        definitions = self.workspace.pipeline.definitions
        foreign = foreign_variables(definitions, resources, self.place.withheld, os.environ)
        if options.in_process:
            from anabranch.diff.engine import shared_engine

            with shared_engine():
                yield InlinePool(
                    self.workspace.pipeline,
                    self.workspace.project.root,
                    foreign,
                    definitions.environ(resources),
                )
        else:
            processes = ProcessPool(
                replace(
                    self.workspace.project,
                    foreign=foreign,
                    teardown=options.teardown,
                    environ=definitions.environ(resources),
                    portable=definitions.portable,
                ),
                options.workers or definitions.workers or os.cpu_count() or 1,
            )
            try:
                processes.warm(size)
                yield processes
            finally:
                processes.close()


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """A text in which the values of secrets are hidden."""
    # A secret of three letters would take half the words with it.
    for secret in sorted({s for s in secrets if len(s) >= 4}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text
