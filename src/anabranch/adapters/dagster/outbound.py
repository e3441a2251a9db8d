"""A native project as Dagster assets: Dagster decides when, anabranch decides what, where and whether it is published.

All assets are one multi-asset whose assets can be selected one by one. So whatever Dagster materialises together is one
run of anabranch, and a run on an environment stays a transaction: events are yielded after it was published, for what
was published; if it fails nothing was, and Dagster is told of no materialisation. In a sandbox, where each asset counts
as it completes, those that came through are told before the failure is.

Knows `Project` and Dagster's public interface. Where it runs (which environment, whose sandbox) is the project's own
decision, made in the process that runs: see `anabranch.settings.deciding`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from anabranch.adapters.dagster.outbound_keys import (
    asset_key,
    our_key,
    partition_mapping,
    partition_words,
    partitions_definition,
    plain_name,
)
from anabranch.errors import AnabranchError, ConflictError, LeaseError
from anabranch.names import now
from anabranch.pipeline.fingerprint import combine
from anabranch.project import Project

if TYPE_CHECKING:
    from anabranch.pipeline.graph import CheckNode, Graph, Node
    from anabranch.running.events import Event
    from anabranch.running.outcome import CheckOutcome, Outcome
    from anabranch.running.workspace import RunResult

_TOLD = {"ran", "reused", "adopted"}


class RunSettings(dg.Config):
    """How a run is made; what Dagster's launchpad offers, with the meaning of the options of `anabranch run`."""

    force: bool = Field(False, description="Run what is selected, whatever stands.")
    forward_only: bool = Field(False, description="Leave what older code made as it is.")
    refresh: list[str] = Field([], description="Sources to fetch again; ['*']: all.")
    resume: bool = Field(False, description="Run although the environment is held after a rollback.")
    workers: int | None = Field(None, description="Worker processes; by default as anabranch.toml says.")
    in_process: bool = Field(False, description="Run every step in Dagster's own process, for a debugger.")


def definitions(
    project: Project | str | os.PathLike[str] | None = None,
    *,
    key_prefix: Sequence[str] = (),
    group_name: str | None = None,
) -> dg.Definitions:
    """A project's assets and checks as Dagster's, for a code location.

    Args:
        project: The project, or a folder inside it; default: the working folder.
        key_prefix: What comes before each asset's key, where the code location has others of that name.
        group_name: The group they are shown in; default: the project's name.

    Returns:
        Definitions to use as they are or to merge with others: one asset for each asset, with its inputs, partitions,
        ``code_version`` and checks.

    Raises:
        SettingsError: there is no project there. The errors of the project's own definitions.
    """
    served = _Served(project, tuple(key_prefix), group_name)
    return dg.Definitions(assets=[served.asset()])


class _Served:
    """A project as Dagster sees it: built when the code location is loaded, used again in each process that runs."""

    def __init__(
        self, project: Project | str | os.PathLike[str] | None, prefix: tuple[str, ...], group: str | None
    ) -> None:
        own = not isinstance(project, Project)
        opened = project if isinstance(project, Project) else Project(project)
        try:
            self.folder: Path = opened.context.root
            self.name = plain_name(opened.name)
            self.group = plain_name(group or opened.name)
            self.prefix = prefix
            self.graph: Graph = opened.context.workspace.graph
        finally:
            if own:
                opened.close()
        self.keys = {name: asset_key(name, prefix) for name in self.graph}
        self.names = {key: name for name, key in self.keys.items()}
        self.partitions = {
            name: partitions_definition(node.partitions) for name, node in self.graph.nodes.items()
        }
        self.checks = self._check_names()

    def _check_names(self) -> dict[str, dg.AssetCheckKey]:
        """Our check → its key: names are made such as Dagster takes them, and differ as ours do."""
        found: dict[str, dg.AssetCheckKey] = {}
        for check in self.graph.checks:
            name, number = plain_name(check.name), 1
            while (key := dg.AssetCheckKey(self.keys[check.asset], name)) in found.values():
                number += 1
                name = f"{plain_name(check.name)}_{number}"
            found[check.id] = key
        return found

    # what there is

    def asset(self) -> dg.AssetsDefinition:
        """All of it."""

        def run(context: dg.AssetExecutionContext, config: RunSettings) -> Iterator[Any]:
            yield from _Run(self, context, config).results()

        # Dagster reads annotations as they are, without resolving their text.
        run.__annotations__.update(context=dg.AssetExecutionContext, config=RunSettings)
        del run.__annotations__["return"]
        declare = dg.multi_asset(
            specs=[self._spec(node) for node in self.graph.nodes.values()],
            check_specs=[self._check_spec(check) for check in self.graph.checks],
            name=self.name,
            can_subset=True,
            # Dagster may hand over many partitions at once: anabranch makes them in parallel, and publishes them together.
            backfill_policy=dg.BackfillPolicy.single_run(),
        )
        return declare(run)

    def _spec(self, node: Node) -> dg.AssetSpec:
        deps = [
            dg.AssetDep(self.keys[source], partition_mapping=self._mapping(node, source))
            for source in node.inputs
        ]
        metadata: dict[str, Any] = {"anabranch/place": node.place}
        if node.row_key:
            metadata["anabranch/key"] = ", ".join(node.row_key)
        return dg.AssetSpec(
            self.keys[node.key],
            deps=deps,
            description=node.description or None,
            group_name=self.group,
            # What decides the content besides the inputs.
            code_version=combine(node.code, node.config)[:16],
            partitions_def=self.partitions[node.key],
            kinds={node.kind, "iceberg"},
            tags={f"anabranch/{plain_name(tag)}": "" for tag in sorted(node.tags)},
            metadata=metadata,
        )

    def _mapping(self, node: Node, source: str) -> dg.PartitionMapping | None:
        if self.partitions[node.key] is None or self.partitions[source] is None:
            return None
        return partition_mapping(node.mappings.get(source))

    def _check_spec(self, check: CheckNode) -> dg.AssetCheckSpec:
        others = [self.keys[name] for name in check.inputs if name != check.asset]
        return dg.AssetCheckSpec(
            self.checks[check.id].name,
            asset=self.keys[check.asset],
            description=check.description or None,
            additional_deps=others,
            blocking=check.blocking,
        )


class _Run:
    """One execution of the multi-asset: what is selected, the run, and what Dagster is told of it."""

    def __init__(self, served: _Served, context: dg.AssetExecutionContext, config: RunSettings) -> None:
        self.served = served
        self.context = context
        self.config = config
        selected = context.selected_asset_keys
        self.selected = [name for name, key in served.keys.items() if key in selected]
        wanted = context.selected_asset_check_keys
        self.wanted = {check: key for check, key in served.checks.items() if key in wanted}
        self.keys: list[str] = []

    def results(self) -> Iterator[Any]:
        """Runs, and yields what came of it. Raises dagster.Failure."""
        try:
            with Project(self.served.folder) as project:
                if self.selected:
                    yield from self._materialize(project)
                elif self.wanted:
                    yield from self._check(project)
        except AnabranchError as error:
            raise _failure(error) from error

    def _materialize(self, project: Project) -> Iterator[Any]:
        config = self.config
        result = project.run(
            self.selected,
            partitions=self._partitions(),
            force=config.force,
            forward_only=config.forward_only,
            refresh=config.refresh,
            resume=config.resume,
            workers=config.workers,
            in_process=config.in_process,
            listen=self._listen,
        )
        self._tag(result)
        if result.ok or result.kind == "sandbox":
            outcomes = result.execution.outcomes
            for name in self.selected:
                if (outcome := outcomes.get(name)) is not None and outcome.state in _TOLD and outcome.entry:
                    yield self._materialized(project, outcome, result)
            for check, key in self.wanted.items():
                if (found := result.execution.checks.get(check)) is not None:
                    yield _checked(key, found)
            more = sorted(k for k, o in outcomes.items() if o.state == "ran" and k not in self.selected)
            if more:
                self.context.log.info(
                    "published with it, from an earlier run that failed: %s", ", ".join(more)
                )
        if not result.ok:
            raise _failed(result)

    def _check(self, project: Project) -> Iterator[Any]:
        """Only checks are selected: they judge what is there."""
        assets = sorted({check.asset for check in self.served.graph.checks if check.id in self.wanted})
        report = project.check(
            assets, workers=self.config.workers, in_process=self.config.in_process, listen=self._listen
        )
        found = {check.id: check for check in report.checks}
        for check, key in self.wanted.items():
            if check in found:
                yield _checked(key, found[check])

    def _partitions(self) -> str | None:
        """The partitions that Dagster asks for, in words; those of the first partitioned asset hold for all of them."""
        name = next((name for name in self.selected if self.served.partitions[name] is not None), None)
        context = self.context
        if name is None or not (context.has_partition_key or context.has_partition_key_range):
            return None
        partitions, definition = self.served.graph[name].partitions, self.served.partitions[name]
        assert partitions is not None
        assert definition is not None
        self.keys = [our_key(partitions, definition, key) for key in context.partition_keys]
        return partition_words(partitions, self.keys, now())

    # what Dagster is told

    def _materialized(
        self, project: Project, outcome: Outcome, result: RunResult
    ) -> dg.MaterializeResult[Any]:
        entry = outcome.entry
        assert entry is not None
        provenance = entry.provenance
        handle: Any = project.context.handle(entry)
        rows, version = provenance.rows, entry.version
        if self.keys and self.served.partitions[outcome.key] is not None:
            # What Dagster asks for is some partitions: it is told of these, not of the table that they are part of.
            found = handle.partition_map
            states = [state for key in self.keys if (state := found.get(key)) is not None]
            rows = sum(state.rows for state in states)
            version = states[0].version if len(states) == 1 else found.version_of(s.key for s in states)
        metadata: dict[str, Any] = {
            "anabranch/branch": result.target,
            "anabranch/state": outcome.state,
            "anabranch/version": version,
            "anabranch/location": dg.MetadataValue.path(entry.location),
            "anabranch/bytes": provenance.bytes,
            "anabranch/run": result.id,
        }
        if result.commit is not None:
            metadata["anabranch/commit"] = result.commit
        if outcome.state == "ran":
            metadata["anabranch/seconds"] = round(outcome.seconds, 3)
        elif outcome.reasons:
            metadata["anabranch/reason"] = "; ".join(str(reason) for reason in outcome.reasons)
        if entry.kind == "table":
            metadata["dagster/row_count"] = rows
            metadata["dagster/column_schema"] = _columns(handle)
        return dg.MaterializeResult(
            self.served.keys[outcome.key], data_version=dg.DataVersion(version), metadata=metadata
        )

    def _tag(self, result: RunResult) -> None:
        tags = {"anabranch/run": result.id, "anabranch/branch": result.target}
        if result.commit is not None:
            tags["anabranch/commit"] = result.commit
        self.context.instance.add_run_tags(self.context.run.run_id, tags)

    def _listen(self, event: Event) -> None:
        told = event.kind not in ("step_reused", "step_skipped") or event.key in self.selected
        if told and (said := _line(event)) is not None:
            level, text = said
            getattr(self.context.log, level)(text)


def _columns(handle: Any) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name, str(field.type), constraints=dg.TableColumnConstraints(nullable=field.nullable)
            )
            for field in handle.schema
        ]
    )


def _checked(key: dg.AssetCheckKey, found: CheckOutcome) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {"anabranch/message": found.message, "anabranch/cached": found.cached}
    if found.result is not None:
        metadata["anabranch/failing"] = found.result.failing
        metadata["anabranch/rows"] = found.result.rows
    return dg.AssetCheckResult(
        passed=found.passed,
        check_name=key.name,
        asset_key=key.asset_key,
        severity=dg.AssetCheckSeverity.ERROR if found.blocking else dg.AssetCheckSeverity.WARN,
        description=found.message,
        metadata={name: value for name, value in metadata.items() if value is not None},
    )


def _failed(result: RunResult) -> dg.Failure:
    """What went wrong, in words; the steps' tracebacks are in the log."""
    execution = result.execution
    told = [f"{o.key}: {(o.error or {}).get('message') or 'failed'}" for o in execution.failed]
    told += [f"the check {c.id}: {c.message}" for c in execution.failed_checks]
    kept = "" if result.kind == "sandbox" else f"; nothing was published, {result.target} is as it was"
    metadata: Mapping[str, Any] = {
        "anabranch/run": result.id,
        "anabranch/branch": result.target,
        "anabranch/failed": [o.key for o in execution.failed],
        "anabranch/failed_checks": [c.id for c in execution.failed_checks],
        "anabranch/logs": dg.MetadataValue.path(result.logs),
    }
    return dg.Failure(
        f"the run {result.id} of {result.target} {result.state}{kept}\n" + "\n".join(told), metadata
    )


def _failure(error: AnabranchError) -> dg.Failure:
    text = f"{error.message} ({error.place})" if error.place else error.message
    return dg.Failure(
        text if error.hint is None else f"{text}\nhint: {error.hint}",
        {"anabranch/error": type(error).__name__},
        # Only what somebody else's work stood in the way of may go better next time.
        allow_retries=isinstance(error, LeaseError | ConflictError),
    )


def _line(event: Event) -> tuple[str, str] | None:
    """An event in one line, and how loud; None where Dagster tells it itself."""
    data = event.data
    if event.kind == "sandbox_opened":
        return "info", f"opened the sandbox {event.key} on {data['base']}"
    if event.kind == "step_started":
        reasons = "; ".join(str(reason.get("text")) for reason in data.get("reasons", ()))
        return "info", f"{event.key} starts: {reasons}"
    if event.kind == "step_finished":
        rows = "" if data.get("rows") is None else f", {data['rows']:,} rows"
        return "info", f"{event.key} ran in {data['seconds']} s{rows}"
    if event.kind == "step_reused":
        return "info", f"{event.key} {data.get('state')}: {'; '.join(data.get('reasons', ()))}"
    if event.kind == "step_retried":
        return "warning", f"{event.key}: try {data['attempt']} of {data['of']} failed: {data['message']}"
    if event.kind == "step_skipped":
        return "warning", f"{event.key} does not run: {data.get('cause')} failed"
    if event.kind == "step_failed":
        error = data.get("error") or {}
        return "error", f"{event.key} failed\n{error.get('traceback') or error.get('message') or ''}"
    if event.kind == "check_finished" and not data["passed"]:
        return ("error" if data["blocking"] else "warning"), f"{event.key}: {data['message']}"
    if event.kind == "warning":
        return "warning", str(data["message"])
    if event.kind == "published":
        return "info", f"published {data['commit']}"
    return None
