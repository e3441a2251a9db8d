"""From a project's plain values to a pipeline of ours, in processes that import none of its code.

Each asset's function is a stand-in: called in a worker, it has Dagster run the asset's op there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.adapters.dagster.keys import mapping_of, partitions_of
from anabranch.adapters.dagster.resources import ResourceFacts, admitted, refuse
from anabranch.adapters.dagster.variables import OURS
from anabranch.errors import AnabranchError
from anabranch.pipeline.asset import Asset, Input, Known
from anabranch.pipeline.canonical import digest
from anabranch.pipeline.check import Check
from anabranch.pipeline.definitions import Definitions
from anabranch.pipeline.fingerprint import CodeFingerprint, Part
from anabranch.pipeline.outside import EnvVar
from anabranch.pipeline.resource import Resource
from anabranch.pipeline.translators import Parcel, Surroundings

if TYPE_CHECKING:
    from anabranch.pipeline.definitions import Resources

Json = Mapping[str, Any]
_INNER = ("dagster._core.", "anabranch.")
"""I/O managers that only pass values on: what they keep is on the branch, and nobody looks for it elsewhere."""
Make = Callable[[str, Mapping[str, Any], Sequence[Any]], Any]


class DagsterResource(Resource):
    """What of a Dagster resource anabranch needs to know: that an asset uses it, its secrets' names, and its identity.

    Attributes:
        kind: Its class or function.
        config: A digest of class and config.
        secrets: The variables that it needs.
    """

    kind: str
    config: str
    secrets: tuple[str, ...] = ()

    def variables(self) -> tuple[EnvVar, ...]:
        """The environment variables that it will need."""
        return tuple(EnvVar(name) for name in self.secrets)

    def digest(self) -> str:
        """Equal where two environments would reach the same thing."""
        return self.config


class StandIn:
    """An asset's function: what Dagster makes of it."""

    def __init__(self, facts: Json, make: Make) -> None:
        self.facts = facts
        self.make = make
        self.inputs = {f"_input{place}": name for place, name in enumerate(facts["inputs"])}
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter(name, kind) for name in self.inputs]
        parameters += [
            inspect.Parameter(name, kind, annotation=DagsterResource)
            for name in facts["resources"]
            if name.isidentifier()
        ]
        if facts.get("partitions") is not None:
            parameters.append(inspect.Parameter("partitions" if facts["batched"] else "partition", kind))
        self.__signature__ = inspect.Signature(parameters)
        self.__name__ = facts["name"]

    def __call__(self, **given: Any) -> Any:
        """Runs it in this process, which must be a worker's."""
        handles = {name: given[parameter] for parameter, name in self.inputs.items()}
        partitions = given.get("partitions") or ([given["partition"]] if "partition" in given else [])
        return self.make(self.facts["name"], handles, partitions)


class CheckStandIn:
    """A check's function."""

    def __init__(self, facts: Json, make: Callable[[str, str, Mapping[str, Any]], Any]) -> None:
        self.facts = facts
        self.make = make
        self.inputs = {f"_input{place}": name for place, name in enumerate(facts["inputs"])}
        kind = inspect.Parameter.KEYWORD_ONLY
        self.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in self.inputs])
        self.__name__ = facts["name"]

    def __call__(self, **given: Any) -> Any:
        """Runs it in this process."""
        return self.make(
            self.facts["asset"], self.facts["name"], {name: given[p] for p, name in self.inputs.items()}
        )


class DagsterDefinitions(Definitions):
    """A Dagster project's definitions in our words.

    Args:
        described: What it holds where one is.
        resources: Name of the set of resources there.
        code: The resources of the environment that sandboxes stand on: whose code counts, whatever stands in for it here.
        rules: What anabranch.toml says of resources in sandboxes; None in an environment, where all are used.
        other: Set of resources → what the project holds where that set is received.
        variables: Set of resources → the variables that its processes are given.
        mentioned: Names of the variables that the project's files name as secrets.
        portable: What a worker needs to make the same.
        runtime: Makes assets, and judges, in a worker.
    """

    def __init__(
        self,
        described: Json,
        *,
        resources: str,
        code: Json,
        rules: Mapping[str, str] | None,
        other: Callable[[str], Json],
        variables: Callable[[str], Mapping[str, str]],
        mentioned: Callable[[], set[str]],
        portable: Mapping[str, Any],
        runtime: Any,
    ) -> None:
        self.described = described
        self.here = resources
        self.rules = rules
        self._other = other
        self._variables = variables
        self._mentioned = mentioned
        self._portable = portable
        self._runtime = runtime
        self._facts = {name: ResourceFacts.of(_plain(one)) for name, one in described["resources"].items()}
        self._assets = {each["name"]: each for each in described["assets"]}
        super().__init__(
            assets=[_asset(each, code, runtime.make) for each in described["assets"]],
            checks=[_check(each, code, runtime.judge) for each in described["checks"]],
            resources={resources: _resources(described["resources"])},
        )

    def resource_set(self, name: str) -> Resources:
        """The resources of that name, for which the project is looked at where that set is received."""
        if name not in self.resources:
            self.resources[name] = _resources(self._other(name)["resources"])
        return self.resources[name]

    def all_sets(self) -> list[Resources]:
        """The set of where one is: others are looked at when they are asked for."""
        return [self.resources[self.here]]

    def foreign_variables(self, name: str) -> set[str]:
        """The secrets that the project's files name and this set's resources do not need, and what is not so here."""
        return (self._mentioned() - self.variables(name)) | (OURS - set(self.environ(name)))

    def variables(self, name: str) -> set[str]:
        """The variables that steps there need. Those of I/O managers are not among them, since ours stand in for them,
        except where something is read that anabranch does not keep, or where one was allowed to write by itself.
        """
        found = super().variables(name)
        described = self._described(name)
        allowed = {key for key, rule in (self.rules or {}).items() if rule != "branch"}
        external = any(each["external"] for each in described["assets"])
        for key, one in described["resources"].items():
            if one["manager"] and (external or key in allowed):
                found |= set(one["variables"])
        return found

    def _described(self, name: str) -> Json:
        return self.described if name == self.here else self._other(name)

    def _hidden(self, name: str) -> set[str]:
        """What no process there needs that uses all of its resources, its I/O managers included."""
        used = {each for one in self._described(name)["resources"].values() for each in one["variables"]}
        return self._mentioned() - used

    def environ(self, name: str) -> Mapping[str, str]:
        """Dagster's variables, as Dagster+ sets them."""
        return self._variables(name)

    def admit(self, key: str) -> None:
        """Raises IsolationError where an asset uses what could write outside the sandbox."""
        facts = self._assets.get(key)
        if self.rules is None or facts is None:
            return
        for name in (*facts["managers"], *facts["resources"]):
            found = self._facts[name]
            if not admitted(found, self.rules):
                error = refuse(key, found)
                error.place = self._runtime.place(facts)
                raise error

    def outlets(self, name: str) -> tuple[str, ...]:
        """The assets whose I/O manager there keeps them in a database, or in a way of its own."""
        described = self._described(name)
        resources = described["resources"]
        return tuple(
            each["name"]
            for each in described["assets"]
            if (one := resources.get(each["manager"])) is not None and not one["kind"].startswith(_INNER)
        )

    def deliver(
        self,
        parcels: Sequence[Parcel],
        resources: str,
        warehouse: tuple[str, Mapping[str, str]],
        logs: Path,
    ) -> tuple[tuple[str, ...], Mapping[str, Any] | None]:
        """Hands published tables to the project's own I/O managers. Raises LoadError."""
        plain = [
            {
                **{
                    k: getattr(parcel, k) for k in ("name", "kind", "location", "version", "facts", "changed")
                },
                "key": self._assets[parcel.name]["key"],
                "partitions": self._assets[parcel.name]["partitions"],
            }
            for parcel in parcels
            if parcel.name in self._assets
        ]
        hidden = self._hidden(resources)
        return self._runtime.deliver(plain, self._variables(resources), hidden, warehouse, logs)  # type: ignore[no-any-return]

    def run_job(self, name: str, there: Surroundings, log: Path, place: str) -> None:
        """Runs a job of the project in a child process. Raises DefinitionsError, StepError, LoadError."""
        hidden = (*there.hidden, *sorted(self._hidden(there.resources)))
        self._runtime.run_job(name, replace(there, hidden=hidden), log, place)

    @property
    def portable(self) -> tuple[str, Mapping[str, Any]]:
        """What a worker needs to make the same."""
        return "dagster", self._portable

    @property
    def workers(self) -> int | None:
        """One: a process that has imported Dagster runs the next asset sooner than another has imported it."""
        return 1


def _plain(one: Json) -> Json:
    return {name: value for name, value in one.items() if name != "code"}


def _resources(described: Json) -> dict[str, Resource]:
    return {
        name: DagsterResource(kind=one["kind"], config=one["digest"], secrets=tuple(one["variables"]))
        for name, one in described.items()
        if not one["manager"]
    }


def _asset(facts: Json, code: Json, make: Make) -> Asset:
    function = StandIn(facts, make)
    partitions = partitions_of(facts["partitions"])
    inputs: dict[str, Any] = {}
    for parameter, name in function.inputs.items():
        mapping = facts["inputs"][name]
        inputs[parameter] = name if mapping is None else Input(name, mapping_of(mapping))
    try:
        found = Asset(
            facts["name"],
            function=function,
            place=(facts["file"], facts["line"]),
            inputs=inputs,
            partitions=partitions,
            tags=facts["tags"],
            description=facts["description"] or " ",
        )
    except AnabranchError as error:
        error.place = error.place or f"{facts['file']}:{facts['line']}"
        raise
    found.known = Known(
        whole_code(facts["code"], [code.get(name) for name in facts["resources"]]), facts["config"]
    )
    return found


def _check(facts: Json, code: Json, judge: Callable[..., Any]) -> Check:
    function = CheckStandIn(facts, judge)
    found = Check(
        facts["name"],
        facts["asset"],
        function=function,
        inputs=function.inputs,
        blocking=facts["blocking"],
        description=facts["description"] or " ",
        place=(facts["file"], facts["line"]),
    )
    reached = [one["code"]["hash"] for name in facts["resources"] if (one := code.get(name)) and one["code"]]
    found.known_code = digest(facts["code"], *reached)
    return found


def whole_code(own: Json, resources: Sequence[Json | None]) -> CodeFingerprint:
    """An asset's code and that of the resources that it uses."""
    reached = [one["code"] for one in resources if one is not None and one["code"]]
    parts: dict[str, Part] = {}
    for each in (own, *reached):
        for name, kind, told, file, line in each["parts"]:
            parts.setdefault(name, Part(name, kind, told, file, line))
    notes = dict.fromkeys(note for each in (own, *reached) for note in each["notes"])
    hashed = digest(own["hash"], *(each["hash"] for each in reached)) if reached else own["hash"]
    return CodeFingerprint(hashed, tuple(parts[name] for name in sorted(parts)), tuple(notes))
