"""The variables by which a Dagster project finds out where it is, set as Dagster+ sets them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.pipeline.translators import Surroundings

PREFIX = "DAGSTER_CLOUD_"
_OURS = (
    "DEPLOYMENT_NAME",
    "IS_BRANCH_DEPLOYMENT",
    "PULL_REQUEST_ID",
    "PULL_REQUEST_STATUS",
    "GIT_SHA",
    "GIT_BRANCH",
    "GIT_REPO",
    "GIT_AUTHOR_NAME",
    "GIT_AUTHOR_EMAIL",
    "GIT_MESSAGE",
    "GIT_TIMESTAMP",
)
OURS = frozenset({"DAGSTER_DEPLOYMENT", *(f"{PREFIX}{name}" for name in _OURS)})
"""The variables that are decided here: what the parent process has under these names is not passed on."""


def variables(there: Surroundings) -> dict[str, str]:
    """Name → value, for a process that runs there.

    A sandbox is what Dagster+ calls a branch deployment: only there are the commit and the pull request told. What is not
    known is not set. ``DAGSTER_DEPLOYMENT``, by which the guides' projects choose their resources, is the environment's
    name, or in a sandbox that of its set of resources, unless anabranch.toml says otherwise.
    """
    deployment = str(there.options.get("deployment") or "")
    if there.kind == "environment":
        name = deployment or there.name
        return {f"{PREFIX}DEPLOYMENT_NAME": name, "DAGSTER_DEPLOYMENT": name}
    commit = there.commit
    told = {
        "DEPLOYMENT_NAME": there.name,
        "IS_BRANCH_DEPLOYMENT": "1",
        "PULL_REQUEST_ID": there.pull_request or "",
        "PULL_REQUEST_STATUS": there.pull_request_state,
        "GIT_SHA": commit.sha,
        "GIT_BRANCH": commit.branch,
        "GIT_REPO": commit.repository,
        "GIT_AUTHOR_NAME": commit.author_name,
        "GIT_AUTHOR_EMAIL": commit.author_email,
        "GIT_MESSAGE": commit.message,
        "GIT_TIMESTAMP": str(commit.timestamp) if commit.timestamp else "",
    }
    return {
        **{f"{PREFIX}{name}": value for name, value in told.items() if value},
        "DAGSTER_DEPLOYMENT": deployment or there.resources,
    }


def environ_for(there: Surroundings, parent: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that runs there: its parent's, with the variables that are decided here."""
    kept = {k: v for k, v in parent.items() if k not in OURS and k not in there.hidden}
    return {**kept, **variables(there)}
