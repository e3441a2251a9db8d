"""One project's assets, checks and resources, held together: who reads whom, and what each parameter is served with.

`Definitions` is what a user writes; `Pipeline` is what comes of it once every name has been found. It knows nothing of
environments but their names.
"""

from __future__ import annotations

import inspect
import json
import os
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from anabranch.dataclass import dataclass, field
from anabranch.errors import (
    AnabranchError,
    DefinitionsError,
    DuplicateNameError,
    SignatureError,
    UnknownInputError,
)
from anabranch.names import did_you_mean
from anabranch.pipeline.asset import Asset, Parameter, Signature, place_of
from anabranch.pipeline.check import Check
from anabranch.pipeline.fingerprint import CodeReader, combine, config_hash
from anabranch.pipeline.graph import CheckNode, Graph, Node
from anabranch.pipeline.incremental import change_views, check_bound, special_slot
from anabranch.pipeline.outside import AnyConfig, AnyResource, EnvVar, is_resource
from anabranch.pipeline.sql_query import Query, parse_query

if TYPE_CHECKING:
    from anabranch.pipeline.resource import Config, Resource
    from anabranch.pipeline.translators import Parcel, Surroundings

    Resources = Mapping[str, Resource]

_T = TypeVar("_T")


class Definitions:
    """The assets, checks and resources of one project.

    Args:
        assets: Assets, or lists of them.
        checks: Checks, or lists of them.
        resources: Environment → resources by name; ``sandbox`` is the set of all sandboxes unless anabranch.toml says
            otherwise. A flat mapping of resources serves every environment alike.
        config: Asset's name → its config, where it is not given at the asset.
    """

    def __init__(
        self,
        assets: Iterable[Asset | Iterable[Asset]] = (),
        checks: Iterable[Check | Iterable[Check]] = (),
        resources: Mapping[str, Any] | None = None,
        config: Mapping[str, Config] | None = None,
    ) -> None:
        self.assets: list[Asset] = list(
            _flat(assets, Asset, "assets", "decorate the function with @ab.asset")
        )
        self.checks: list[Check] = list(
            _flat(checks, Check, "checks", "decorate the function with @ab.check(…)")
        )
        self.config = dict(config or {})
        given = dict(resources or {})
        self.shared: dict[str, Resource] = {}
        self.resources: dict[str, dict[str, Resource]] = {}
        for name, value in given.items():
            if is_resource(value):
                self.shared[name] = value
            elif isinstance(value, Mapping):
                self.resources[name] = {k: _a_resource(f"{name}.{k}", v) for k, v in value.items()}
            else:
                _a_resource(name, value)
        if self.shared and self.resources:
            raise DefinitionsError(
                f"resources mixes sets by environment ({', '.join(self.resources)}) with plain resources ({', '.join(self.shared)})",
                hint='write {"production": {…}, "sandbox": {…}}, or one flat mapping',
            )

    def resource_set(self, name: str) -> Resources:
        """The resources of that name. Raises DefinitionsError if resources are kept by environment and it has none."""
        if self.shared or not self.resources:
            return self.shared
        if name not in self.resources:
            raise DefinitionsError(
                f"the definitions have no resources for {name!r}",
                hint=did_you_mean(
                    name,
                    self.resources,
                    f"there are: {', '.join(self.resources)}; an empty mapping is fine too",
                ),
            )
        return self.resources[name]

    def environ(self, name: str) -> Mapping[str, str]:  # noqa: ARG002 - for definitions that tell by variables where they are
        """Variables that the processes of a set's steps are given."""
        return {}

    @property
    def workers(self) -> int | None:
        """How many worker processes suit them, where nobody says; None: one for each processor."""
        return None

    def admit(self, key: str) -> None:
        """Called before an asset is run in a sandbox. Raises where it could write anywhere else."""

    def run_job(self, name: str, there: Surroundings, log: Path, place: str) -> None:  # noqa: ARG002 - for definitions that have jobs
        """Runs a job of the project.

        Args:
            name: The job.
            there: Where it runs.
            log: File that takes what it prints.
            place: Where anabranch.toml names it.

        Raises:
            DefinitionsError: there is no such job. StepError: it has failed.
        """
        raise DefinitionsError(
            f"the definitions have no job {name!r}: they are no Dagster project",
            place=place,
            hint="take it out",
        )

    def outlets(self, name: str) -> tuple[str, ...]:  # noqa: ARG002 - for definitions that have some
        """The assets that are also kept elsewhere where a set of resources is received: see `deliver`."""
        return ()

    def deliver(
        self,
        parcels: Sequence[Parcel],
        resources: str,
        warehouse: tuple[str, Mapping[str, str]],
        logs: Path,
    ) -> tuple[tuple[str, ...], Mapping[str, Any] | None]:
        """Hands published tables to where they are also kept.

        Args:
            parcels: The tables.
            resources: The set of resources of their environment.
            warehouse: URI and resolved properties.
            logs: Folder for what that prints.

        Returns:
            What was delivered, and what went wrong with the next one: message, place, traceback; or None.
        """
        raise NotImplementedError

    @property
    def portable(self) -> tuple[str, Mapping[str, Any]] | None:
        """For definitions that a translator has made: its name, and plain values that it makes the same from elsewhere."""
        return None

    def all_sets(self) -> list[Resources]:
        """Every set, for what must be the same whichever is used."""
        return [self.shared] if self.shared else list(self.resources.values())

    def variables(self, name: str) -> set[str]:
        """Names of the environment variables that a set's resources need."""
        return {v.name for resource in self.resource_set(name).values() for v in resource.variables()}

    def foreign_variables(self, name: str) -> set[str]:
        """Names of the variables that other sets need and this one does not: secrets its steps must not see."""
        own = self.variables(name)
        return {v.name for each in self.all_sets() for r in each.values() for v in r.variables()} - own


@dataclass(frozen=True)
class Slot:
    """How one parameter is served."""

    parameter: str
    role: Literal["input", "resource", "config", "partition", "partitions", "changes", "previous"]
    target: str
    annotation: Any = None


@dataclass
class BoundAsset:
    """An asset with every parameter's source found."""

    asset: Asset
    slots: tuple[Slot, ...] = ()
    returns: Any = None
    query: Query | None = None
    config: Config | None = None
    observe_slots: tuple[Slot, ...] = ()
    delete: Query | None = None
    views: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Keys of the assets it reads, sorted."""
        if self.query is not None:
            tables = {*self.query.inputs, *(self.delete.inputs if self.delete is not None else ())}
            return tuple(sorted({self.views.get(table, table) for table in tables}))
        return tuple(sorted({slot.target for slot in self.slots if slot.role in ("input", "changes")}))

    @property
    def deltas(self) -> tuple[str, ...]:
        """Keys of the inputs whose change it reads, sorted."""
        return tuple(sorted({*self.views.values(), *(s.target for s in self.slots if s.role == "changes")}))

    def resources(self) -> set[str]:
        """Parameters that are resources, of the asset and of its observe function."""
        return {s.target for s in (*self.slots, *self.observe_slots) if s.role == "resource"}


@dataclass
class BoundCheck:
    """A check with every parameter's source found."""

    check: Check
    slots: tuple[Slot, ...] = ()


@dataclass
class Pipeline:
    """Definitions with all names found."""

    definitions: Definitions
    assets: dict[str, BoundAsset] = field(default_factory=dict)
    checks: dict[str, BoundCheck] = field(default_factory=dict)

    @classmethod
    def bind(cls, definitions: Definitions, *, query_cache: Path | None = None) -> Pipeline:
        """Finds what every parameter means.

        Raises:
            DuplicateNameError, UnknownInputError, SignatureError, DefinitionsError: with the asset's file and line.
        """
        pipeline = cls(definitions)
        by_name: dict[str, Asset] = {}
        for asset in definitions.assets:
            twin = by_name.get(asset.name)
            if twin is not None and twin is not asset:
                raise DuplicateNameError(
                    f"two assets are named {asset.name!r}",
                    place=asset.place,
                    hint=f"the other one is at {twin.place}",
                    name=asset.name,
                )
            by_name[asset.name] = asset
        lower: dict[str, str] = {}
        for name, asset in by_name.items():
            other = lower.setdefault(name.lower(), name)
            if other != name:
                raise DuplicateNameError(
                    f"the assets {other!r} and {name!r} differ only in case, which SQL and some file systems do not see",
                    place=asset.place,
                    hint="rename one of them",
                )
        for name in definitions.config:
            if name not in by_name:
                raise UnknownInputError(
                    f"config is given for {name!r}, which is no asset", hint=did_you_mean(name, by_name)
                )
        for name, asset in by_name.items():
            pipeline.assets[name] = _bind_asset(asset, by_name, lower, definitions, query_cache)
        for check in definitions.checks:
            bound = _bind_check(check, by_name)
            known = f"{check.asset}:{check.name}"
            if known in pipeline.checks and pipeline.checks[known].check is not check:
                other_place = pipeline.checks[known].check.place
                raise DuplicateNameError(
                    f"two checks of {check.asset} are named {check.name!r}",
                    place=check.place,
                    hint=f"give one a name; the other is at {other_place}",
                )
            pipeline.checks[known] = bound
        return pipeline

    def graph(self, reader: CodeReader) -> Graph:
        """The pipeline as plain values, with every asset's code hashed. Raises CycleError."""
        nodes = [self._node(bound, reader) for bound in self.assets.values()]
        checks = [self._check_node(bound, reader) for bound in self.checks.values()]
        definitions = combine(
            *(
                combine(n.key, n.code, n.config, *n.inputs, *_cut(n))
                for n in sorted(nodes, key=lambda n: n.key)
            )
        )
        return Graph(nodes, checks, definitions=definitions)

    def _node(self, bound: BoundAsset, reader: CodeReader) -> Node:
        asset = bound.asset
        known = asset.known
        plain = {} if bound.config is None else bound.config.model_dump(mode="json")
        config, config_parts = config_hash(plain if known is None else known.config)
        place = _relative(asset.file, asset.line, reader)
        every = asset.every.total_seconds() if asset.every is not None else None
        if bound.query is not None:
            part = f"query {asset.name}"
            parts = {part: bound.query.hash}
            if bound.delete is not None:
                parts[f"{part} (delete)"] = bound.delete.hash
            return Node(
                key=asset.name,
                kind="sql",
                inputs=bound.inputs,
                code=bound.query.hash if bound.delete is None else combine(*parts.values()),
                code_parts=parts,
                places=dict.fromkeys(parts, place),
                config=config,
                tags=asset.tags,
                place=place,
                row_key=asset.key,
                outside=tuple(bound.query.outside),
                # Rows that came and went are told by all of their columns.
                reads={} if asset.incremental is not None else dict(bound.query.reads),
                aliases=frozenset(bound.query.aliases),
                notes=tuple(
                    f"it reads {what} outside the catalog, whose changes are not seen"
                    for what in bound.query.outside
                ),
                description=asset.description,
                partitions=asset.partitions,
                mappings=asset.mappings,
                incremental=asset.incremental,
                deltas=bound.deltas,
                lookups=asset.lookups,
            )
        needed = bound.resources()
        classes: set[Any] = {
            type(each[name]) for each in self.definitions.all_sets() for name in needed if name in each
        }
        classes |= {
            s.annotation
            for s in (*bound.slots, *bound.observe_slots)
            if s.role == "resource" and inspect.isclass(s.annotation)
        }
        # Of the base class itself, which is none of the user's code, AnyResource is a base.
        extra = sorted(
            (c for c in classes if AnyResource not in c.__bases__),
            key=lambda c: (c.__module__, c.__qualname__),
        )
        observe = () if asset.observe is None else (asset.observe,)
        code = known.code if known else reader.of(asset, *observe, *extra, name=asset.name)
        return Node(
            key=asset.name,
            inputs=bound.inputs,
            code=code.hash,
            code_parts={
                f"{p.kind} {p.name}" if p.kind != "distribution" else p.name: p.hash for p in code.parts
            },
            places={
                (f"{p.kind} {p.name}" if p.kind != "distribution" else p.name): f"{p.file}:{p.line}"
                for p in code.parts
                if p.file is not None and p.line is not None
            },
            notes=code.notes,
            config=config,
            config_parts=config_parts,
            resources={name: self._identity(name) for name in sorted(needed)},
            refresh=asset.refresh,
            every=every,
            tags=asset.tags,
            place=place,
            row_key=asset.key,
            description=asset.description,
            partitions=asset.partitions,
            mappings=asset.mappings,
            incremental=asset.incremental,
            deltas=bound.deltas,
            lookups=asset.lookups,
        )

    def _identity(self, name: str) -> str:
        found = {_identity(name, each[name]) for each in self.definitions.all_sets() if name in each}
        return " ".join(sorted(found))

    def _check_node(self, bound: BoundCheck, reader: CodeReader) -> CheckNode:
        check = bound.check
        if check.rule is not None:
            code = combine(
                "rule",
                check.rule.kind,
                *check.rule.columns,
                json.dumps(dict(check.rule.parameters), sort_keys=True, default=repr),
            )
        else:
            code = check.known_code or reader.of(check, name=check.name).hash
        return CheckNode(
            name=check.name,
            asset=check.asset,
            inputs=tuple(sorted({slot.target for slot in bound.slots})),
            code=code,
            blocking=check.blocking,
            volatile=check.rule is not None and check.rule.kind == "fresh",
            place=_relative(check.file, check.line, reader),
            description=check.description,
        )


def _cut(node: Node) -> list[str]:
    """What a definitions hash holds of a node's partitions: nothing where it has none."""
    mapped = [piece for key, each in sorted(node.mappings.items()) for piece in (key, each.identity)]
    return [node.partitions.identity, *mapped] if node.partitions is not None else mapped


def _relative(file: str, line: int, reader: CodeReader) -> str:
    root = f"{reader.project_root}{os.sep}"
    if file.startswith(root) and f"{os.sep}.." not in file:
        return f"{file[len(root) :].replace(os.sep, '/')}:{line}"
    try:
        return f"{Path(file).resolve().relative_to(reader.project_root).as_posix()}:{line}"
    except ValueError:
        return f"{file}:{line}"


def _bind_asset(
    asset: Asset,
    by_name: Mapping[str, Asset],
    lower: Mapping[str, str],
    definitions: Definitions,
    query_cache: Path | None,
) -> BoundAsset:
    for source in asset.inputs.values():
        if source not in by_name:
            raise UnknownInputError(
                f"{asset.name} reads {source!r}, which is no asset of these definitions",
                place=asset.place,
                hint=did_you_mean(source, by_name),
            )
    if asset.query is not None:
        query = parse_query(asset.query, name=asset.name, cache_dir=query_cache)
        delete = None
        if asset.delete is not None:
            delete = parse_query(asset.delete, name=f"{asset.name} (delete)", cache_dir=query_cache)
        tables = (*query.inputs, *(delete.inputs if delete is not None else ()))
        views = change_views(asset, tables, by_name)
        for table in tables:
            if table not in by_name and table not in views:
                near = lower.get(table.lower())
                raise UnknownInputError(
                    f"the query {asset.name} reads {table!r}, which is no asset of these definitions",
                    place=asset.place,
                    hint=f"write it as {near!r}"
                    if near
                    else did_you_mean(table, by_name, "add the asset to Definitions(assets=[…])"),
                    asset=asset.name,
                    input=table,
                )
        strange = sorted(set(asset.inputs) - set(query.inputs))
        if strange:
            raise SignatureError(
                f"{asset.name}: inputs names {strange[0]!r}, which the query does not read",
                place=asset.place,
                hint=did_you_mean(strange[0], query.inputs),
            )
        _check_cut(asset, query.inputs, by_name, takes=bool(query.parameters))
        bound = BoundAsset(asset, query=query, delete=delete, views=views)
        check_bound(asset, bound.inputs, bound.deltas, None)
        return bound
    assert asset.function is not None
    signature = Signature.of(asset.function, owner=asset.name, place=asset.place)
    unknown = set(asset.inputs) - {p.name for p in signature.parameters}
    if unknown:
        raise SignatureError(
            f"{asset.name}: inputs names {sorted(unknown)[0]!r}, which is no parameter of the function",
            place=asset.place,
            hint=did_you_mean(sorted(unknown)[0], [p.name for p in signature.parameters]),
        )
    slots = tuple(
        s
        for p in signature.parameters
        if (
            s := Slot(p.name, *special)
            if (special := special_slot(p, asset, by_name)) is not None
            else _slot(p, asset.name, asset.place, asset.inputs, by_name, definitions)
        )
        is not None
    )
    _check_cut(
        asset,
        [s.target for s in slots if s.role in ("input", "changes")],
        by_name,
        takes=any(s.role in ("partition", "partitions") for s in slots),
    )
    if any(slot.role in ("input", "changes") and slot.target == asset.name for slot in slots):
        raise SignatureError(
            f"{asset.name} reads itself", place=asset.place, hint="an asset's inputs are other assets"
        )
    observe: tuple[Slot, ...] = ()
    if asset.observe is not None:
        seen = Signature.of(asset.observe, owner=f"the observe function of {asset.name}", place=asset.place)
        observe = tuple(
            s
            for p in seen.parameters
            if (s := _slot(p, f"{asset.name} (observe)", asset.place, {}, {}, definitions)) is not None
        )
    if asset.refresh != "code" and any(slot.role in ("input", "changes") for slot in slots):
        raise SignatureError(
            f"{asset.name} reads other assets and has a refresh policy",
            place=asset.place,
            hint="give the policy to the asset that reads the outside world",
        )
    config_slot = next((s for s in slots if s.role == "config"), None)
    config = _config(asset, config_slot, definitions)
    bound = BoundAsset(asset, slots=slots, returns=signature.returns, config=config, observe_slots=observe)
    check_bound(asset, bound.inputs, bound.deltas, signature.returns)
    return bound


def _check_cut(asset: Asset, inputs: Iterable[str], by_name: Mapping[str, Asset], *, takes: bool) -> None:
    """Raises SignatureError where an asset's parameters and its partitions don't fit each other."""
    if asset.partitions is None:
        if takes:
            raise SignatureError(
                f"{asset.name} takes a partition, but is not cut into any",
                place=asset.place,
                hint='@ab.asset(partitions=ab.daily("2024-01-01"))',
            )
    elif not takes and not any(by_name[key].partitions is not None for key in inputs if key in by_name):
        raise SignatureError(
            f"{asset.name} is cut into partitions, but neither takes one nor reads an asset that has some: each would be the same",
            place=asset.place,
            hint="add the parameter partition: ab.Partition"
            if asset.query is None
            else "use $partition, $partition_start or $partition_end in the query",
        )
    for key in asset.mappings:
        if key in by_name and by_name[key].partitions is None:
            raise SignatureError(
                f"{asset.name} says which partitions of {key} it reads, but {key} has none",
                place=asset.place,
                hint=f"give {key} partitions, or name it plainly",
            )


def _slot(
    p: Parameter,
    owner: str,
    place: str,
    inputs: Mapping[str, str],
    assets: Mapping[str, Asset],
    definitions: Definitions,
) -> Slot | None:
    if p.name in inputs:
        return Slot(p.name, "input", inputs[p.name], p.shown)
    if p.name in ("partition", "partitions") and p.name not in assets:
        return Slot(p.name, "partition" if p.name == "partition" else "partitions", p.name, None)
    kind = p.annotation if inspect.isclass(p.annotation) else None
    if kind is not None and issubclass(kind, AnyResource):
        return Slot(p.name, "resource", _resource_name(p.name, kind, owner, place, definitions), kind)
    if p.name == "config" or (kind is not None and issubclass(kind, AnyConfig)):
        if kind is None or not issubclass(kind, AnyConfig):
            raise SignatureError(
                f"{owner}: the parameter config has no annotation that is an ab.Config",
                place=place,
                hint="config: MyConfig",
            )
        return Slot(p.name, "config", p.name, kind)
    if p.name in assets:
        return Slot(p.name, "input", p.name, p.shown)
    if any(p.name in each for each in definitions.all_sets()):
        return Slot(p.name, "resource", p.name, None)
    if p.has_default:
        return None
    known = [*assets, *(name for each in definitions.all_sets() for name in each)]
    raise UnknownInputError(
        f"{owner}: the parameter {p.name!r} is no asset, no resource and no config",
        place=place,
        hint=did_you_mean(p.name, known, "is the asset listed in Definitions(assets=[…])?"),
        asset=owner,
        input=p.name,
    )


def _resource_name(
    name: str, kind: type[AnyResource], owner: str, place: str, definitions: Definitions
) -> str:
    """The name under which every set that has such a resource keeps it: the parameter's own, else the only one of its class."""
    named = [each for each in definitions.all_sets() if name in each]
    if named:
        for each in named:
            if not isinstance(each[name], kind):
                raise SignatureError(
                    f"{owner}: the resource {name!r} is a {type(each[name]).__name__}, but the parameter is annotated {kind.__name__}",
                    place=place,
                )
        return name
    candidates = {
        n for each in definitions.all_sets() for n, resource in each.items() if isinstance(resource, kind)
    }
    if len(candidates) == 1:
        return candidates.pop()
    hint = (
        f"name the parameter as one of: {', '.join(sorted(candidates))}"
        if candidates
        else f"add it to Definitions(resources={{…: {{{name!r}: {kind.__name__}(…)}}}})"
    )
    raise UnknownInputError(f"{owner}: no resource {name!r} of class {kind.__name__}", place=place, hint=hint)


def _config(asset: Asset, slot: Slot | None, definitions: Definitions) -> Config | None:
    given: Config | None = definitions.config.get(asset.name, asset.config)
    if slot is None:
        if given is not None:
            raise SignatureError(
                f"{asset.name} is given a config, but has no parameter for it",
                place=asset.place,
                hint="add: config: " + type(given).__name__,
            )
        return None
    if given is None:
        from pydantic import ValidationError

        try:
            given = slot.annotation()
        except ValidationError as error:
            missing = ", ".join(str(e["loc"][0]) for e in error.errors() if e["loc"])
            raise SignatureError(
                f"{asset.name}: its config {slot.annotation.__name__} has no value for {missing}",
                place=asset.place,
                hint=f"give defaults, or @ab.asset(config={slot.annotation.__name__}(…))",
            ) from None
    if not isinstance(given, slot.annotation):
        raise SignatureError(
            f"{asset.name}: its config is a {type(given).__name__}, not a {slot.annotation.__name__}",
            place=asset.place,
        )
    bound: Config = given
    return bound


def _bind_check(check: Check, by_name: Mapping[str, Asset]) -> BoundCheck:
    if check.asset not in by_name:
        raise UnknownInputError(
            f"the check {check.name} is of {check.asset!r}, which is no asset of these definitions",
            place=check.place,
            hint=did_you_mean(check.asset, by_name),
        )
    for source in check.inputs.values():
        if source not in by_name:
            raise UnknownInputError(
                f"the check {check.name} reads {source!r}, which is no asset",
                place=check.place,
                hint=did_you_mean(source, by_name),
            )
    if check.rule is not None:
        return BoundCheck(
            check, tuple(Slot(param, "input", source) for param, source in check.inputs.items())
        )
    assert check.function is not None
    slots = []
    parameters = Signature.of(check.function, owner=f"the check {check.name}", place=check.place).parameters
    unknown = sorted(set(check.inputs) - {p.name for p in parameters})
    if unknown:
        raise SignatureError(
            f"the check {check.name}: inputs names {unknown[0]!r}, which is no parameter of the function",
            place=check.place,
            hint=did_you_mean(unknown[0], [p.name for p in parameters]),
        )
    for p in parameters:
        target = check.inputs.get(p.name, p.name)
        if target not in by_name:
            if p.has_default:
                continue
            raise UnknownInputError(
                f"the check {check.name}: the parameter {p.name!r} is no asset",
                place=check.place,
                hint=did_you_mean(
                    p.name,
                    by_name,
                    f"to read {check.asset} under another name: inputs={{{p.name!r}: {check.asset!r}}}",
                ),
            )
        slots.append(Slot(p.name, "input", target, p.shown))
    if not slots:
        raise SignatureError(
            f"the check {check.name} reads no asset",
            place=check.place,
            hint=f"give it a parameter: {check.asset}",
        )
    return BoundCheck(check, tuple(slots))


def _flat(items: Iterable[Any], kind: type[_T], what: str, hint: str) -> Iterable[_T]:
    for item in items:
        if isinstance(item, kind):
            yield item
        elif isinstance(item, list | tuple | set):
            yield from _flat(item, kind, what, hint)
        else:
            name = getattr(item, "__name__", None) or repr(item)
            raise DefinitionsError(
                f"Definitions({what}=[…]) holds {name}, a {type(item).__name__}",
                hint=hint if callable(item) else None,
            )


def _identity(name: str, resource: Resource) -> str:
    try:
        return json.dumps(resource.identity(), sort_keys=True, default=repr)
    except AnabranchError:
        raise
    except Exception as error:
        file, line = place_of(type(resource).identity)
        failed = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == file]
        place = f"{file}:{failed[-1] if failed else line}"
        raise DefinitionsError(
            f"the resource {name!r}, a {type(resource).__name__}, can't say its identity():"
            f" {type(error).__name__}: {error}",
            place=place,
            hint="identity() is asked by every command, before anything runs: it must not fail",
            resource=name,
        ) from error


def _a_resource(name: str, value: Any) -> Resource:
    if is_resource(value):
        return value
    what = (
        "an EnvVar; put it into a resource's field"
        if isinstance(value, EnvVar)
        else f"a {type(value).__name__}, not an ab.Resource"
    )
    raise DefinitionsError(f"the resource {name!r} is {what}")
