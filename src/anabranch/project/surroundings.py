"""Where code runs, told to those who translate pipelines that were written for another program."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.pipeline.definitions import Definitions
from anabranch.pipeline.translators import Asked, Commit, Surroundings
from anabranch.running.secrecy import foreign_variables

if TYPE_CHECKING:
    from anabranch.catalog.base import Branch
    from anabranch.project.context import Context


def asked(context: Context, target: str, source: Sequence[Path]) -> Asked:
    """What a translator is asked about the project at hand."""
    settings = context.settings
    commit = _commit(context)
    here = context.where()
    if here.kind == "sandbox":
        now = _sandbox(context, here.sandbox or "", here.environment or "", commit)
    else:
        # Where nobody knows where one is, nothing is run either: the code is looked at as a sandbox's.
        now = (
            _environment(context, here.environment, commit)
            if here.environment is not None
            else _sandbox(context, "undetermined", settings.sandboxes.base, commit)
        )

    def of(resources: str) -> Surroundings:
        if resources == now.resources:
            return now
        for name in settings.environments:
            if settings.resources_of(name) == resources:
                return _environment(context, name, commit)
        return _sandbox(context, here.sandbox or "", here.environment or settings.sandboxes.base, commit)

    reference = _environment(context, settings.sandboxes.base, commit)
    return Asked(target, context.root, tuple(source), context.folder / "cache", now, reference, of)


def _environment(context: Context, name: str, commit: Commit) -> Surroundings:
    settings = context.settings
    return Surroundings(
        settings.resources_of(name),
        "environment",
        name,
        name,
        commit,
        options={
            **settings.dagster.model_dump(),
            "deployment": settings.environments[name].dagster_deployment,
        },
        hidden=_hidden(context, settings.resources_of(name)),
    )


def sandbox_surroundings(context: Context, sandbox: Branch) -> Surroundings:
    """Where a sandbox's code runs, whichever git branch is checked out."""
    commit = _commit(context)
    if context.where().sandbox != sandbox.name:
        # Its own commit is not at hand; what is known of it was noted when it was last worked in.
        commit = replace(
            Commit(),
            branch=str(sandbox.properties.get("git_branch") or ""),
            sha=str(sandbox.properties.get("git_commit") or ""),
            repository=commit.repository,
        )
    found = _sandbox(context, sandbox.name, str(sandbox.properties.get("environment") or ""), commit)
    own = sandbox.properties.get("pull_request")
    if context.where().sandbox != sandbox.name or found.pull_request is None:
        found = replace(found, pull_request=None if own is None else str(own))
    return found


def _sandbox(context: Context, name: str, environment: str, commit: Commit) -> Surroundings:
    settings = context.settings
    pull_request = context.where().pull_request
    return Surroundings(
        settings.sandboxes.resource_set,
        "sandbox",
        name,
        environment,
        commit,
        None if pull_request is None else str(pull_request.number),
        (pull_request.status or "") if pull_request is not None else "",
        settings.sandboxes.resource_rules,
        {**settings.dagster.model_dump(), "deployment": settings.sandboxes.dagster_deployment},
        _hidden(context, settings.sandboxes.resource_set),
    )


def _commit(context: Context) -> Commit:
    sha = context.git.commit
    branch = context.where().git_branch or context.git.branch or ""
    if sha is None:
        return Commit(branch=branch)
    info = context.repository.commit_info(sha)
    name, _, mail = info.author.rpartition(" <")
    url = (context.repository.remote_url() or "").removesuffix("/").removesuffix(".git")
    repository = re.split(r"[/:]", url)[-1] if url else context.repository.main_root.name
    return Commit(
        sha,
        branch,
        repository,
        name,
        mail.removesuffix(">"),
        info.subject,
        int(info.time.timestamp()),
    )


def _hidden(context: Context, resources: str) -> tuple[str, ...]:
    """The variables of this process that no code of that place may have, whatever the code itself says."""
    return foreign_variables(Definitions(), resources, context.withheld, os.environ)
