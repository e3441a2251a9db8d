"""A Dagster project as plain values: what it keeps, from what, by which code, and what it needs. Runs in a child process.

Everything that anabranch plans with is here, so that a plan needs neither Dagster nor the project's own packages.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from anabranch.adapters.dagster import resources
from anabranch.adapters.dagster.keys import mapping_plain, names_of, partitions_plain
from anabranch.errors import DefinitionsError
from anabranch.pipeline.canonical import digest
from anabranch.pipeline.fingerprint import CodeFingerprint, CodeReader

Json = dict[str, Any]


def describe(repository: Any, reader: CodeReader, run_config: Mapping[str, Any]) -> Json:
    """The plain values of a repository.

    Args:
        repository: A RepositoryDefinition.
        reader: Reads the project's code.
        run_config: Dagster's run config, as anabranch.toml has it.

    Raises:
        DefinitionsError: something in it has no like here; the message names it.
    """
    return _Describer(repository, reader, run_config).describe()


class _Describer:
    def __init__(self, repository: Any, reader: CodeReader, run_config: Mapping[str, Any]) -> None:
        self.repository = repository
        self.reader = reader
        self.run_config = run_config
        made: dict[int, Any] = {}
        for each in repository.assets_defs_by_key.values():
            if each.is_executable and each.is_materializable:
                made.setdefault(id(each), each)
        self.definitions = list(made.values())
        paths = [key.path for each in self.definitions for key in each.keys]
        self.names = names_of(sorted(paths))
        self.resources: dict[str, Any] = {}
        self._code: dict[str, CodeFingerprint] = {}

    def describe(self) -> Json:
        assets = [facts for each in self.definitions for facts in self._assets(each)]
        checks = [*self._checks()]
        jobs = [
            {"name": job.name, "ops": not job.asset_layer.executable_asset_keys}
            for job in self.repository.get_all_jobs()
            if not job.name.startswith("__")
        ]
        for name, definition in self.repository.get_top_level_resources().items():
            self.resources.setdefault(name, definition)
        return {
            "assets": sorted(assets, key=lambda each: str(each["name"])),
            "checks": sorted(checks, key=lambda each: (str(each["asset"]), str(each["name"]))),
            "jobs": sorted(jobs, key=lambda each: str(each["name"])),
            "schedules": sorted(each.name for each in self.repository.schedule_defs),
            "sensors": sorted(each.name for each in self.repository.sensor_defs),
            "resources": {
                name: {**resources.facts(name, one).to_dict(), "code": self._resource_code(name, one)}
                for name, one in sorted(self.resources.items())
            },
        }

    # assets

    def _assets(self, definition: Any) -> Iterator[Json]:
        functions = list(_functions(definition.node_def))
        file, line = _place(functions)
        needed = self._needed(definition)
        shared = {
            "op": definition.node_def.name,
            "file": file,
            "line": line,
            "resources": [name for name, one in needed.items() if not _is_manager(one)],
            "managers": [name for name, one in needed.items() if _is_manager(one)],
            "siblings": sorted(self._name(key) for key in definition.keys)
            if len(definition.keys) > 1
            else [],
            "config": self._config(definition),
        }
        wiring = {
            "inputs": {name: list(key.path) for name, key in sorted(definition.keys_by_input_name.items())},
            "outputs": {name: list(key.path) for name, key in sorted(definition.keys_by_output_name.items())},
            "nodes": _wiring(definition.node_def),
        }
        outputs = {tuple(key.path): name for name, key in definition.keys_by_output_name.items()}
        for key in sorted(definition.keys):
            spec = definition.get_asset_spec(key)
            name = self._name(key)
            partitions = partitions_plain(spec.partitions_def, name)
            inputs: dict[str, Json | None] = {}
            external: list[list[str]] = []
            for dep in spec.deps:
                if dep.asset_key == key:
                    raise DefinitionsError(
                        f"{name} reads its own earlier partitions, which is not known here",
                        place=f"{file}:{line}",
                        hint="read them from an asset of their own",
                    )
                if tuple(dep.asset_key.path) in self.names:
                    source = self._name(dep.asset_key)
                    inputs[source] = mapping_plain(dep.partition_mapping, name, source)
                else:
                    external.append(list(dep.asset_key.path))
            code = self.reader.of(*functions, name=name)
            # One op's assets share its code: which of its outputs each of them is tells them apart.
            output = outputs[tuple(key.path)] if len(definition.keys) > 1 else ""
            structure = digest(json.dumps([wiring, output, spec.code_version], sort_keys=True))
            yield {
                **shared,
                "name": name,
                "key": list(key.path),
                "description": (spec.description or "").strip(),
                "tags": sorted(
                    {*(spec.kinds or ()), *([spec.group_name] if _is_named(spec.group_name) else [])}
                ),
                "inputs": inputs,
                "external": external,
                "partitions": partitions,
                "batched": _is_batched(definition),
                "code": _code_plain(code, structure),
                "manager": definition.get_io_manager_key_for_asset_key(key),
                "metadata": _partition_column(spec.metadata),
            }

    def _needed(self, definition: Any) -> dict[str, Any]:
        top = self.repository.get_top_level_resources()
        found: dict[str, Any] = {}
        todo = sorted(definition.required_resource_keys)
        while todo:
            name = todo.pop(0)
            one = definition.resource_defs.get(name) or top.get(name)
            if one is None or name in found:
                continue
            found[name] = one
            self.resources.setdefault(name, one)
            todo += sorted(one.required_resource_keys)
        return found

    def _config(self, definition: Any) -> Json:
        """The config that an asset's op gets, with its defaults; variables by their names."""
        node = definition.node_def
        given = self.run_config.get("ops", {}).get(node.name, {})
        if type(node).__name__ == "GraphDefinition" or not hasattr(node, "compute_fn"):
            return dict(_named(given))
        from dagster._config import process_config

        config = _named(given.get("config", {}))
        kind = node.config_schema.config_type if node.config_schema is not None else None
        if kind is None or type(kind).__name__ == "Any":
            return config if isinstance(config, dict) else {"config": config}
        found = process_config(kind, config)
        if not found.success:
            file, line = _place(list(_functions(node)))
            first = (found.errors or [])[0].message.partition(". ")[0]
            raise DefinitionsError(
                f"the config of {node.name} is not complete: {first}",
                place=f"{file}:{line}",
                hint=f"write it into anabranch.toml: [dagster.run_config.ops.{node.name}.config]",
            )
        value = json.loads(json.dumps(found.value, default=repr))
        return value if isinstance(value, dict) else {"config": value}

    def _name(self, key: Any) -> str:
        return self.names[tuple(key.path)]

    # checks

    def _checks(self) -> Iterator[Json]:
        inside: set[Any] = set()
        for each in self.definitions:
            for key in each.check_keys:
                inside.add(key)
                spec = each.get_spec_for_check_key(key)
                if tuple(key.asset_key.path) in self.names:
                    yield {
                        **self._check(key, spec),
                        "op": None,
                        "code": digest(json.dumps([each.node_def.name, key.name])),
                        "inputs": [self._name(key.asset_key)],
                        **dict(zip(("file", "line"), _place(list(_functions(each.node_def))), strict=True)),
                        "resources": [],
                        "managers": [],
                    }
        for key, each in self.repository.asset_checks_defs_by_key.items():
            if key in inside or tuple(key.asset_key.path) not in self.names:
                continue
            functions = list(_functions(each.node_def))
            file, line = _place(functions)
            needed = self._needed(each)
            spec = each.get_spec_for_check_key(key)
            read = {self._name(k) for k in each.keys_by_input_name.values() if tuple(k.path) in self.names}
            code = self.reader.of(*functions, name=key.name)
            yield {
                **self._check(key, spec),
                "op": each.node_def.name,
                "code": digest(code.hash, json.dumps([key.name, sorted(read)])),
                "inputs": sorted({*read, self._name(key.asset_key)}),
                "file": file,
                "line": line,
                "resources": [name for name, one in needed.items() if not _is_manager(one)],
                "managers": [name for name, one in needed.items() if _is_manager(one)],
            }

    def _check(self, key: Any, spec: Any) -> Json:
        return {
            "name": key.name,
            "asset": self._name(key.asset_key),
            "description": (spec.description or "").strip(),
            "blocking": bool(spec.blocking),
        }

    # resources

    def _resource_code(self, name: str, definition: Any) -> Json | None:
        if _is_manager(definition):
            return None
        found = resources.code_of(definition)
        return None if found is None else _code_plain(self.reader.of(found, name=name), "")


def _functions(node: Any) -> Iterator[Callable[..., Any]]:
    """The functions of an op, or of all ops of a graph, in an order that the graph gives."""
    compute = getattr(node, "compute_fn", None)
    if compute is not None:
        function = getattr(compute, "decorated_fn", compute)
        yield function
        return
    mapping = getattr(node, "config_mapping", None)
    if mapping is not None and getattr(mapping, "config_fn", None) is not None:
        yield mapping.config_fn
    for inner in sorted(getattr(node, "nodes", ()), key=lambda each: str(each.name)):
        yield from _functions(inner.definition)


def _wiring(node: Any) -> Any:
    """Which output of a graph goes where."""
    if not hasattr(node, "dependencies"):
        return node.name
    return {
        "nodes": {inner.name: _wiring(inner.definition) for inner in node.nodes},
        "edges": sorted(
            f"{invocation.alias or invocation.name}.{name} <- "
            f"{sorted(f'{d.node}.{d.output}' for d in target.get_node_dependencies())}"
            for invocation, inputs in node.dependencies.items()
            for name, target in inputs.items()
        ),
        "outputs": sorted(
            f"{each.graph_output_name} <- {each.maps_from.node_name}.{each.maps_from.output_name}"
            for each in node.output_mappings
        ),
        "inputs": sorted(
            f"{each.maps_to.node_name}.{each.maps_to.input_name} <- {each.graph_input_name}"
            for each in node.input_mappings
        ),
    }


def _place(functions: Sequence[Callable[..., Any]]) -> tuple[str, int]:
    for each in functions:
        function: Any = each
        while isinstance(function, functools.partial):
            function = function.func
        code = getattr(inspect.unwrap(function), "__code__", None)
        if code is not None:
            return code.co_filename, code.co_firstlineno
    return "", 0


def _code_plain(code: CodeFingerprint, structure: str) -> Json:
    return {
        "hash": digest(code.hash, structure) if structure else code.hash,
        "parts": [[p.name, p.kind, p.hash, p.file, p.line] for p in code.parts],
        "notes": list(code.notes),
    }


def _named(value: Any) -> Any:
    """Config in which variables stand by their names, so that no secret comes into a fingerprint or a record."""
    if isinstance(value, dict):
        if list(value) == ["env"] and isinstance(value["env"], str):
            return f"${{{value['env']}}}"
        return {str(key): _named(each) for key, each in value.items()}
    return [_named(each) for each in value] if isinstance(value, list | tuple) else value


def _partition_column(metadata: Mapping[str, Any]) -> Json:
    found = metadata.get("partition_expr") if metadata else None
    return {} if found is None else {"partition_expr": str(getattr(found, "value", found))}


def _is_manager(definition: Any) -> bool:
    return any(each.__name__ == "IOManagerDefinition" for each in type(definition).__mro__)


def _is_named(group: str | None) -> bool:
    return bool(group) and group != "default"


def _is_batched(definition: Any) -> bool:
    policy = definition.backfill_policy
    return policy is not None and policy.max_partitions_per_run is None
