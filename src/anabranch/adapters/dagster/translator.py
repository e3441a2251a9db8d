"""The translator of Dagster projects, found by the entry point ``anabranch.definitions``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.adapters.dagster.child import adopt, look, looks_like_dagster, variables_in_text
from anabranch.adapters.dagster.runtime import Runtime
from anabranch.adapters.dagster.stubs import DagsterDefinitions
from anabranch.adapters.dagster.variables import variables
from anabranch.errors import AnabranchError
from anabranch.pipeline.definitions import Definitions
from anabranch.pipeline.translators import Asked, Surroundings, Translated

if TYPE_CHECKING:
    import subprocess
    from multiprocessing.connection import Connection

_KINDS = (
    "Definitions",
    "RepositoryDefinition",
    "JobDefinition",
    "AssetsDefinition",
    "LazyDefinitions",
    "GraphDefinition",
)


class DagsterTranslator:
    """Makes pipelines of Dagster projects."""

    def translate(self, asked: Asked, found: object | None) -> Translated | None:
        """The project's pipeline, or None if it is no Dagster project."""
        if found is None:
            if not looks_like_dagster(asked.target, asked.source):
                return None
        elif not _is_dagsters(found):
            return None
        answer = look(asked, asked.here)
        reference, note = self._reference(asked, answer)
        there = asked.here
        portable = {
            "described": answer["described"],
            "code": reference,
            "resources": there.resources,
            "rules": dict(there.rules) if there.kind == "sandbox" else None,
            "target": asked.target,
            "variables": variables(there),
            "options": dict(there.options),
            "note": note,
        }

        @cache
        def other(name: str) -> Mapping[str, Any]:
            described: Mapping[str, Any] = look(asked, asked.of(name))["described"]
            return described

        definitions = _definitions(
            portable,
            Runtime(portable, asked.root, asked.source, answer["files"]),
            other,
            lambda name: variables(asked.of(name)),
            lru_cache(maxsize=1)(lambda: variables_in_text(asked.root)),
        )
        return Translated(definitions, answer["files"])

    def _reference(self, asked: Asked, answer: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None]:
        """The resources whose code counts: those of the environment that sandboxes stand on."""
        own: Mapping[str, Any] = answer["described"]["resources"]
        used = {name for each in answer["described"]["assets"] for name in each["resources"]}
        if _same(asked.here, asked.reference) or not any(own[name]["code"] for name in used):
            return own, None
        try:
            found: Mapping[str, Any] = look(asked, asked.reference)["described"]["resources"]
        except AnabranchError as error:
            return own, (
                f"the resources of {asked.reference.name} can't be read here, so the code of those at hand counts: "
                f"{error.message}"
            )
        return {**own, **found}, None

    def restore(
        self, plain: Mapping[str, Any], root: Path, source: Sequence[Path], files: Mapping[str, str]
    ) -> Definitions:
        """The same definitions in a worker."""
        runtime = Runtime(plain, root, tuple(source), files)

        def nowhere(_: str) -> Mapping[str, Any]:
            raise AssertionError("a worker knows its own place alone")

        return _definitions(plain, runtime, nowhere, lambda _: plain["variables"], set)

    def adopt(
        self, plain: Mapping[str, Any], project: Any, environ: Mapping[str, str]
    ) -> tuple[subprocess.Popen[bytes], Connection] | None:
        """The process that was asked what the project holds, as a worker; None where there is none."""
        return adopt(plain["described"], project, environ)


def _definitions(
    plain: Mapping[str, Any], runtime: Runtime, other: Any, told: Any, mentioned: Any
) -> DagsterDefinitions:
    code = {name: _noted(one, plain["note"]) for name, one in plain["code"].items()}
    return DagsterDefinitions(
        plain["described"],
        resources=plain["resources"],
        code=code,
        rules=plain["rules"],
        other=other,
        variables=told,
        mentioned=mentioned,
        portable=plain,
        runtime=runtime,
    )


def _noted(one: Mapping[str, Any], note: str | None) -> Mapping[str, Any]:
    if note is None or not one["code"]:
        return one
    return {**one, "code": {**one["code"], "notes": [*one["code"]["notes"], note]}}


def _same(one: Surroundings, other: Surroundings) -> bool:
    return (one.kind, one.name) == (other.kind, other.name)


def _is_dagsters(found: object) -> bool:
    return any(
        each.__name__ in _KINDS and each.__module__.partition(".")[0] == "dagster"
        for each in type(found).__mro__
    )


translator = DagsterTranslator()
