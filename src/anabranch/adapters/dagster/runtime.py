"""A worker's side: has Dagster run the op of an asset, with I/O managers that stand in for the project's own.

The project is imported when the first asset is made, once for the worker's life. Each execution is Dagster's own, in this
process, on an instance that lives in memory: what it tells (events, metadata, checks) goes into the step's record.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anabranch.adapters.dagster.child import ask
from anabranch.adapters.dagster.keys import dagster_key, partitions_of
from anabranch.adapters.dagster.resources import ResourceFacts, admitted, facts, refuse
from anabranch.adapters.dagster.staged import Staged
from anabranch.adapters.dagster.variables import OURS, environ_for
from anabranch.errors import StepError
from anabranch.names import new_id
from anabranch.pipeline.check import CheckResult
from anabranch.pipeline.translators import Surroundings
from anabranch.running.current import Current, current_step

Json = Mapping[str, Any]
_FILES = ("dagster._core.",)
_SHOWN = 4000


class Runtime:
    """One project in one place.

    Args:
        plain: The definitions' portable values.
        root: The project's folder.
        source: Folders to import from.
        files: Relative path → SHA-256 of what was planned.
    """

    def __init__(self, plain: Json, root: Path, source: Sequence[Path], files: Mapping[str, str]) -> None:
        self.plain = plain
        self.root = root
        self.source = tuple(source)
        self.files = files
        self.assets: dict[str, Json] = {each["name"]: each for each in plain["described"]["assets"]}
        self.names = {tuple(each["key"]): name for name, each in self.assets.items()}
        self._repository: Any = None
        self._instance: Any = None

    def place(self, facts: Json) -> str | None:
        """``shop/assets.py:31`` of an asset or check."""
        if not facts["file"]:
            return None
        with contextlib.suppress(ValueError):
            return f"{Path(facts['file']).relative_to(self.root).as_posix()}:{facts['line']}"
        return f"{facts['file']}:{facts['line']}"

    # what the stand-ins call

    def make(self, name: str, handles: Mapping[str, Any], partitions: Sequence[Any]) -> Any:
        """The value of an asset, or of one partition of it; for several partitions at once a mapping by their keys."""
        step = current_step()
        asset = self.assets[name]
        if not asset["siblings"] or not step.task.run:
            made = self._execute(asset, handles, partitions, step)
            value, told = made[name]
            return self._told(step, asset, partitions, value, told)
        own = set(asset["siblings"])
        reads = {key: getattr(handle, "version", "") for key, handle in handles.items() if key not in own}
        identity = [asset["op"], [each.key for each in partitions], sorted(reads.items()), step.task.attempt]
        staged = Staged(Path(step.task.run), identity)
        with staged.alone():
            if name not in staged:
                for key, (value, told) in self._execute(asset, handles, partitions, step).items():
                    staged.put(key, value, told)
        value, told = staged.take(name)
        return self._told(step, asset, partitions, value, told)

    def _told(
        self, step: Current, asset: Json, partitions: Sequence[Any], value: Any, told: dict[str, Any]
    ) -> Any:
        if not partitions:
            step.facts.update(told)
        else:
            kept = {k: v for k, v in told.items() if k in ("type", "index")}
            step.facts.update(kept)
            rest = {k: told[k] for k in ("metadata", "checks") if told.get(k)}
            if rest:
                step.facts.setdefault("partitions", {}).update({each.key: rest for each in partitions})
        if asset["batched"] and partitions:
            return self._pieces(asset, partitions, value)
        return value

    def _pieces(self, asset: Json, partitions: Sequence[Any], value: Any) -> Any:
        """What one execution has made of several partitions, by our keys."""
        from dataclasses import replace

        from anabranch.running.io import to_arrow
        from anabranch.running.parts import Part, split

        theirs = {dagster_key(asset["partitions"], each): each.key for each in partitions}
        if isinstance(value, Mapping):
            return {theirs.get(str(key), str(key)): each for key, each in value.items()}
        if len(partitions) == 1:
            return {partitions[0].key: value}
        cut: Any = partitions_of(asset["partitions"])
        column = asset["metadata"].get("partition_expr")
        data = to_arrow(value, owner=asset["name"])
        table = data if not hasattr(data, "read_all") else data.read_all()
        group = [Part(each.key, "") for each in partitions]
        pieces = split(table, replace(cut, column=column), group, asset["name"])
        return {part.key: piece for part, piece in pieces}

    def judge(self, asset: str, check: str, handles: Mapping[str, Any]) -> CheckResult:
        """What a check says: its own op's verdict, or what the asset's op has said as it ran."""
        step = current_step()
        found = next(
            each
            for each in self.plain["described"]["checks"]
            if (each["asset"], each["name"]) == (asset, check)
        )
        if found["op"] is None:
            told = step.task.inputs[asset].facts
            return _result(check, _inside(told, check))
        from dagster._core.errors import DagsterAssetCheckFailedError

        with self._job(found, handles, self._read_keys(handles), step, check=(asset, check)) as (job, _):
            try:
                job.execute_in_process(
                    instance=self._dagster(), run_config=self._run_config(found), raise_on_error=True
                )
            except DagsterAssetCheckFailedError:
                pass  # a blocking one says no: as every verdict, it is among the events
            finally:
                _, events = self._record(step, {"name": f"{asset}:{check}"})
            verdicts = [each for each in _verdicts(events) if each["check"] == check]
        return _result(check, verdicts[-1] if verdicts else None)

    def run_job(self, name: str, there: Surroundings, log: Path, place: str) -> None:
        """Runs a job of ops in a child process, in the surroundings given. Raises DefinitionsError, StepError, LoadError."""
        request = {
            "target": self.plain["target"],
            "root": str(self.root),
            "source": [str(each) for each in self.source],
            "run_config": dict(there.options.get("run_config") or {}),
            "job": name,
            "place": place,
        }
        ask("jobs", request, environ_for(there, os.environ), self.root, log)

    def deliver(
        self,
        parcels: Sequence[Json],
        told: Mapping[str, str],
        hidden: set[str],
        warehouse: tuple[str, Mapping[str, str]],
        logs: Path,
    ) -> tuple[tuple[str, ...], Json | None]:
        """Hands published tables to the project's own I/O managers, in a child process. Raises LoadError."""
        request = {
            "target": self.plain["target"],
            "root": str(self.root),
            "source": [str(each) for each in self.source],
            "run_config": self._options("run_config"),
            "warehouse": warehouse[0],
            "properties": dict(warehouse[1]),
            "parcels": list(parcels),
        }
        environ = {k: v for k, v in os.environ.items() if k not in hidden and k not in OURS} | dict(told)
        answer = ask("deliver", request, environ, self.root, logs / f"deliver-{new_id()}.log")
        return tuple(answer["done"]), answer["failed"]

    # executing

    def _execute(
        self, asset: Json, handles: Mapping[str, Any], partitions: Sequence[Any], step: Current
    ) -> dict[str, tuple[Any, dict[str, Any]]]:
        """Runs an asset's op: each asset that it makes → what the lake is to keep, and the facts of it."""
        from dagster._core.errors import DagsterAssetCheckFailedError

        from anabranch.adapters.dagster.convert import kept

        keys = self._read_keys(handles)
        tags: dict[str, str] = {}
        partition_key = None
        if len(partitions) == 1 and not asset["batched"]:
            partition_key = dagster_key(asset["partitions"], partitions[0])
        elif partitions:
            ends = [dagster_key(asset["partitions"], each) for each in (partitions[0], partitions[-1])]
            tags = {
                "dagster/asset_partition_range_start": ends[0],
                "dagster/asset_partition_range_end": ends[1],
            }
        with self._job(asset, handles, keys, step) as (job, desk):
            instance = self._dagster()
            try:
                job.execute_in_process(
                    instance=instance,
                    run_config=self._run_config(asset),
                    partition_key=partition_key,
                    tags=tags,
                    raise_on_error=True,
                )
            except DagsterAssetCheckFailedError:
                # The op has made everything, and a check of its own says no: that is for the check to tell.
                if not set(asset["siblings"] or [asset["name"]]) <= set(desk.taken):
                    raise
            finally:
                run_id, events = self._record(step, asset)
        made: dict[str, tuple[Any, dict[str, Any]]] = {}
        told = self._materialized(events)
        for name in asset["siblings"] or [asset["name"]]:
            if name not in desk.taken and name not in told:
                raise StepError(
                    f"{name}: the op {asset['op']} ended without a value for it",
                    hint="each asset that is kept must be made in every run: leave skip and is_required=False out",
                )
            own = told.get(name, {})
            value, how = kept(desk.taken.get(name), owner=name, data_version=own.get("data_version"))
            verdicts = [each for each in _verdicts(events) if each["asset"] == name]
            made[name] = (
                value,
                {
                    **how,
                    **{key: each for key, each in own.items() if each},
                    **({"checks": {each["check"]: each for each in verdicts}} if verdicts else {}),
                    "dagster_run": run_id,
                },
            )
        return made

    @contextlib.contextmanager
    def _job(
        self,
        found: Json,
        handles: Mapping[str, Any],
        keys: Mapping[str, Mapping[str, str]],
        step: Current,
        *,
        check: tuple[str, str] | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """A job of one asset's op, or of one check's, whose I/O managers are ours."""
        import dagster

        from anabranch.adapters.dagster.managers import Desk

        repository = self.repository()
        owner = found["name"] if check is None else f"{check[0]}:{check[1]}"
        sources = {key: step.task.inputs[key].facts for key in handles if key in step.task.inputs}
        desk = Desk(handles, sources, self.names, keys)
        if check is None:
            definition = repository.assets_defs_by_key[dagster.AssetKey(list(found["key"]))]
        else:
            key = dagster.AssetCheckKey(dagster.AssetKey(list(self.assets[check[0]]["key"])), check[1])
            definition = repository.asset_checks_defs_by_key[key]
        with contextlib.ExitStack() as stack:
            bound = self._resources(definition, desk, owner, stack)
            attributes = {**definition.get_attributes_dict(), "resource_defs": bound}
            made: Any = type(definition).dagster_internal_init(**attributes)
            if check is None:
                made = made.map_asset_specs(
                    lambda spec: spec.replace_attributes(code_version=self._version(spec))
                )
            around = self._upstream(definition)
            io_manager = bound.get("io_manager") or self._manager("io_manager", None, desk, owner, stack)
            defs = dagster.Definitions(
                assets=[*around, *([made] if check is None else [])],
                asset_checks=[] if check is None else [made],
                resources={"io_manager": io_manager},
                executor=dagster.in_process_executor,
            )
            if check is None:
                yield defs.resolve_implicit_global_asset_job_def(), desk
            else:
                selection = dagster.AssetSelection.checks(*made.check_keys)
                job = dagster.define_asset_job("check", selection=selection)
                yield (
                    dagster.Definitions(
                        assets=around,
                        asset_checks=[made],
                        jobs=[job],
                        resources={"io_manager": io_manager},
                        executor=dagster.in_process_executor,
                    ).resolve_job_def("check"),
                    desk,
                )

    def _version(self, spec: Any) -> str:
        """The fingerprint of an asset's code, and of the resources that it uses."""
        from anabranch.adapters.dagster.stubs import whole_code

        asset = self.assets[self.names[tuple(spec.key.path)]]
        return whole_code(asset["code"], [self.plain["code"].get(name) for name in asset["resources"]]).hash

    def _upstream(self, definition: Any) -> list[Any]:
        """What an op reads, as assets that somebody else makes, so that Dagster knows their partitions."""
        import dagster

        own = set(definition.keys)
        read = {dep.asset_key for spec in definition.specs for dep in spec.deps} | set(
            definition.keys_by_input_name.values()
        )
        read |= {key.asset_key for key in definition.check_keys}
        graph = self.repository().asset_graph
        return [
            dagster.AssetSpec(key, partitions_def=graph.get(key).partitions_def if graph.has(key) else None)
            for key in sorted(read - own)
        ]

    def _resources(
        self, definition: Any, desk: Any, owner: str, stack: contextlib.ExitStack
    ) -> dict[str, Any]:
        """The resources of an op: its I/O managers replaced, the others as anabranch.toml and the project have them."""
        from dagster import ResourceDefinition

        from anabranch.adapters.dagster.loading import import_object

        top = self.repository().get_top_level_resources()
        rules: Mapping[str, str] | None = self.plain["rules"]
        found: dict[str, Any] = {}
        todo = sorted(definition.required_resource_keys)
        while todo:
            name = todo.pop(0)
            one = definition.resource_defs.get(name) or top.get(name)
            if one is None or name in found:
                continue
            known = facts(name, one)
            if rules is not None and not admitted(known, rules):
                raise refuse(owner, known)
            rule = "" if rules is None else rules.get(name, "")
            if known.manager:
                found[name] = self._manager(name, one, desk, owner, stack, known=known, rule=rule)
                continue
            if ":" in rule:
                other = import_object(rule)
                other = getattr(other, "get_resource_definition", lambda other=other: other)()
                one = (
                    other
                    if isinstance(other, ResourceDefinition)
                    else ResourceDefinition.hardcoded_resource(other)
                )
            found[name] = one
            todo += sorted(one.required_resource_keys)
        return found

    def _manager(
        self,
        name: str,
        definition: Any,
        desk: Any,
        owner: str,
        stack: contextlib.ExitStack,
        *,
        known: ResourceFacts | None = None,
        rule: str = "",
    ) -> Any:
        from dagster import IOManagerDefinition, build_resources, fs_io_manager

        from anabranch.adapters.dagster.loading import import_object
        from anabranch.adapters.dagster.managers import BranchIOManager

        opened: list[Any] = []

        def own() -> Any:
            if not opened:
                given = import_object(rule) if ":" in rule else (definition or fs_io_manager)
                config = self._options("run_config").get("resources", {}).get(name)
                resources = build_resources(
                    {name: given},
                    instance=self._dagster(),
                    resource_config={name: config} if config else None,
                )
                opened.append(getattr(stack.enter_context(resources), name))
            return opened[0]

        by_key = known is None or known.kind.startswith(_FILES) or known.how == "unknown"
        manager = BranchIOManager(desk, owner, own, also=rule == "allow", by_key=by_key)
        return IOManagerDefinition.hardcoded_io_manager(manager)

    def _run_config(self, found: Json) -> dict[str, Any]:
        """The part of the run config that is about one op and its resources."""
        given = self._options("run_config")
        ops = {name: each for name, each in given.get("ops", {}).items() if name == found["op"]}
        resources = {
            name: each for name, each in given.get("resources", {}).items() if name in found["resources"]
        }
        return {**({"ops": ops} if ops else {}), **({"resources": resources} if resources else {})}

    def _options(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.plain["options"].get(name) or {}
        return found

    def _read_keys(self, handles: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """Partitioned input → our key → Dagster's, for the partitions that are read of it."""
        found: dict[str, dict[str, str]] = {}
        for name, handle in handles.items():
            plain = self.assets[name]["partitions"]
            known = getattr(handle, "partition_map", None) if plain is not None else None
            if known is not None:
                cut: Any = partitions_of(plain)
                found[name] = {key: dagster_key(plain, cut.partition(key)) for key in sorted(known)}
        return found

    # what Dagster tells

    def _materialized(self, events: Sequence[Any]) -> dict[str, dict[str, Any]]:
        """Asset → what its materialization's event says: metadata, tags, data version."""
        found: dict[str, dict[str, Any]] = {}
        for event in events:
            if event.event_type_value != "ASSET_MATERIALIZATION":
                continue
            one = event.step_materialization_data.materialization
            name = self.names.get(tuple(one.asset_key.path))
            if name is None:
                continue
            tags = {k: v for k, v in (one.tags or {}).items() if not k.startswith("dagster/")}
            by_user = (one.tags or {}).get("dagster/data_version_is_user_provided") == "true"
            version = (one.tags or {}).get("dagster/data_version") if by_user else None
            found[name] = {
                "metadata": {label: _shown(value) for label, value in one.metadata.items()},
                "tags": tags,
                "data_version": version,
            }
        return found

    def _record(self, step: Current, asset: Json) -> tuple[str, list[Any]]:
        """The newest execution and its events, which are also written beside the step's log."""
        instance = self._dagster()
        runs = instance.get_run_records(limit=1)
        if not runs:
            return "", []
        run_id = runs[0].dagster_run.run_id
        entries = instance.all_logs(run_id)
        if step.task.log:
            self._write(step.task.log, asset, entries)
        return run_id, [entry.dagster_event for entry in entries if entry.dagster_event is not None]

    def _write(self, log: str, asset: Json, entries: Sequence[Any]) -> None:
        path = Path(f"{Path(log).with_suffix('')}.dagster.jsonl")
        with path.open("a", encoding="utf-8") as out:
            for entry in entries:
                event = entry.dagster_event
                line = {
                    "time": entry.timestamp,
                    "asset": asset["name"],
                    "event": None if event is None else event.event_type_value,
                    "step": entry.step_key,
                    "message": entry.user_message,
                }
                out.write(json.dumps(line, default=str) + "\n")

    # the project

    def repository(self) -> Any:
        """The project, imported when it is first needed. Raises LoadError, CodeChangedError."""
        if self._repository is None:
            from anabranch.adapters.dagster.loading import load_repository

            self._repository, _ = load_repository(self.plain["target"], self.root, self.source, self.files)
        return self._repository

    def _dagster(self) -> Any:
        if self._instance is None:
            from dagster import DagsterInstance

            self._instance = DagsterInstance.ephemeral()
        return self._instance


def _version(assets: Json, names: Mapping[tuple[str, ...], str], spec: Any) -> str:
    return str(assets[names[tuple(spec.key.path)]]["code"]["hash"])


def _verdicts(events: Sequence[Any]) -> list[dict[str, Any]]:
    """The evaluations of checks among the events."""
    from anabranch.adapters.dagster.keys import name_of

    found = []
    for event in events:
        if event.event_type_value != "ASSET_CHECK_EVALUATION":
            continue
        one = event.asset_check_evaluation_data
        found.append(
            {
                "asset": name_of(one.asset_key.path),
                "check": one.check_name,
                "passed": bool(one.passed),
                "warns": one.severity.value == "WARN",
                "description": one.description or "",
                "metadata": {label: _shown(value) for label, value in one.metadata.items()},
            }
        )
    return found


def _inside(told: Json, check: str) -> Json | None:
    """What the asset's own op has said of a check; of an asset with partitions, the first that failed."""
    parts: Mapping[str, Any] = told.get("partitions") or {"": told}
    found = [each["checks"][check] for each in parts.values() if check in each.get("checks", {})]
    return next((each for each in found if not each["passed"]), found[-1] if found else None)


def _result(check: str, verdict: Json | None) -> CheckResult:
    if verdict is None:
        return CheckResult(passed=False, message=f"{check} was not evaluated when the asset was made")
    words = verdict["description"] or f"{check} {'passed' if verdict['passed'] else 'failed'}"
    if not verdict["passed"] and verdict["warns"]:
        return CheckResult(passed=True, message=f"warning: {words}", metadata=verdict["metadata"])
    return CheckResult(passed=verdict["passed"], message=words, metadata=verdict["metadata"])


def _shown(value: Any) -> Any:
    """A metadata value as plain JSON, cut where it is long."""
    inner = getattr(value, "value", value)
    if isinstance(inner, bool | int | float | None):
        return inner
    text = inner if isinstance(inner, str) else json.dumps(inner, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
