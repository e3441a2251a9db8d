"""Where the code at hand belongs: one table of cases, and none of them ends in production by accident."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import UndeterminedError
from anabranch.git import State
from anabranch.settings import Decision, Settings, decide

TIP = "1" * 40
OTHER = "2" * 40
MERGE = "3" * 40

SETTINGS = Settings.model_validate(
    {
        "project": {"name": "shop", "definitions": "shop.definitions:defs"},
        "environments": {
            "production": {"git_branch": "main", "dagster_deployment": "prod"},
            "release": {"git_branch": "release"},
            "staging": {},
            "local": {},
            "demo": {"derived_from": "production"},
        },
    }
)


def on(branch: str) -> State:
    return State(TIP, branch)


DETACHED = State(TIP, None)


def pull_request(branch: str = "fix", repo: str | None = "acme/shop", **rest: Any) -> dict[str, Any]:
    """The part of GitHub's event that is read."""
    head = {
        "ref": branch,
        "sha": TIP,
        "repo": {"full_name": repo} if repo else None,
        "user": {"login": "alice"},
    }
    base = {"ref": "main", "repo": {"full_name": "acme/shop"}}
    event = {
        "number": 42,
        "state": "open",
        "merged": False,
        "head": head,
        "base": base,
        "title": "Mend",
        **rest,
    }
    return {"pull_request": event}


def github(ref: str = "refs/pull/42/merge", sha: str = MERGE, head: str = "", **rest: str) -> dict[str, str]:
    base = "main" if head else ""
    given = {"GITHUB_REF": ref, "GITHUB_SHA": sha, "GITHUB_HEAD_REF": head, "GITHUB_BASE_REF": base}
    return {"CI": "true", "GITHUB_ACTIONS": "true", **given, **rest}


def gitlab(branch: str = "", sha: str = TIP, **rest: str) -> dict[str, str]:
    own = {"CI": "true", "GITLAB_CI": "true", "CI_COMMIT_SHA": sha, "CI_PROJECT_PATH": "acme/shop"}
    return {**own, **({"CI_COMMIT_BRANCH": branch} if branch else {}), **rest}


def merge_request(branch: str = "fix", source: str = "acme/shop", sha: str = MERGE) -> dict[str, str]:
    return gitlab(
        sha=sha,
        CI_MERGE_REQUEST_IID="42",
        CI_MERGE_REQUEST_SOURCE_BRANCH_NAME=branch,
        CI_MERGE_REQUEST_SOURCE_BRANCH_SHA=TIP,
        CI_MERGE_REQUEST_SOURCE_PROJECT_PATH=source,
        CI_MERGE_REQUEST_PROJECT_PATH="acme/shop",
        CI_MERGE_REQUEST_TARGET_BRANCH_NAME="main",
        CI_MERGE_REQUEST_PROJECT_URL="https://gitlab.example/acme/shop",
    )


def dagster_branch(branch: str = "fix", **rest: str) -> dict[str, str]:
    own = {
        "DAGSTER_CLOUD_DEPLOYMENT_NAME": "a1b2c3",
        "DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT": "1",
        "DAGSTER_CLOUD_GIT_BRANCH": branch,
        "DAGSTER_CLOUD_PULL_REQUEST_ID": "42",
        "DAGSTER_CLOUD_PULL_REQUEST_STATUS": "OPEN",
    }
    return {**own, **rest}


class Case(NamedTuple):
    """What is known, and what it means: an environment, or ``sandbox:BRANCH``."""

    name: str
    git: State
    means: str
    environ: Mapping[str, str] = {}
    event: Mapping[str, Any] | None = None
    contained_in: tuple[str, ...] = ()
    in_ci_checkout: bool = True
    request: int | None = None


CASES = [
    # the git branch alone
    Case("an environment's git branch", on("main"), "production"),
    Case("another environment's", on("release"), "release"),
    Case("any other branch", on("fix"), "sandbox:fix"),
    Case("a branch called like an environment without one", on("staging"), "sandbox:staging"),
    Case("empty variables say nothing", on("fix"), "sandbox:fix", {"ANABRANCH_ENVIRONMENT": " ", "DAGSTER_DEPLOYMENT": ""}),
    # what is named
    Case("an environment without a branch", on("fix"), "local", {"ANABRANCH_ENVIRONMENT": "local"}),
    Case("the same on main", on("main"), "staging", {"ANABRANCH_ENVIRONMENT": "staging"}),
    Case("the same on a detached head", DETACHED, "local", {"ANABRANCH_ENVIRONMENT": "local"}),
    Case("what the branch says, too", on("main"), "production", {"ANABRANCH_ENVIRONMENT": "production"}),
    Case("a sandbox on its branch", on("fix"), "sandbox:fix", {"ANABRANCH_ENVIRONMENT": "sandbox"}),
    Case("a commit of its branch", DETACHED, "production", {"ANABRANCH_ENVIRONMENT": "production"}, contained_in=("main",)),
    Case("a branch for a detached head", DETACHED, "sandbox:fix", {"ANABRANCH_GIT_BRANCH": "fix"}),
    Case("main for a commit of it", DETACHED, "production", {"ANABRANCH_GIT_BRANCH": "main"}, contained_in=("main",)),
    Case("a pull request by its number", on("fix"), "sandbox:fix", {"ANABRANCH_PULL_REQUEST": "42"}, request=42),
    # GitHub
    Case("a push to main", on("main"), "production", github("refs/heads/main", TIP)),
    Case("a push to main, detached", DETACHED, "production", github("refs/heads/main", TIP)),
    Case("a push to a branch, detached", DETACHED, "sandbox:fix", github("refs/heads/fix", TIP)),
    Case("staging from main", on("main"), "staging", github("refs/heads/main", TIP, ANABRANCH_ENVIRONMENT="staging")),
    Case("the merge of a pull request", State(MERGE, None), "sandbox:fix", github(head="fix"), pull_request(), request=42),
    Case("its own commit", DETACHED, "sandbox:fix", github(head="fix"), pull_request(), request=42),
    Case("its branch", on("fix"), "sandbox:fix", github(head="fix"), pull_request(), request=42),
    Case("a closed one", on("fix"), "sandbox:fix", github(head="fix"), pull_request(state="closed"), request=42),
    Case("a fork's", DETACHED, "sandbox:alice/shop:fix", github(head="fix"), pull_request(repo="alice/shop"), request=42),
    Case("a fork's main", DETACHED, "sandbox:alice/shop:main", github(head="main"), pull_request("main", "alice/shop"), request=42),
    Case("a fork's main, as a branch", on("main"), "sandbox:alice/shop:main", github(head="main"), pull_request("main", "alice/shop"), request=42),
    Case("a fork that is gone", on("main"), "sandbox:alice/deleted:main", github(head="main"), pull_request("main", None), request=42),
    Case("what a merge sets off", on("main"), "production", github("refs/heads/main", TIP, head="fix"), pull_request(state="closed", merged=True), request=42),
    Case("a merge queue", on("gh-readonly-queue/main/pr-42"), "sandbox:gh-readonly-queue/main/pr-42", github("refs/heads/gh-readonly-queue/main/pr-42", TIP)),
    Case("a tag of production's code", DETACHED, "production", github("refs/tags/v1", TIP, ANABRANCH_ENVIRONMENT="production"), contained_in=("main",)),
    Case("another repository beside it", on("main"), "production", github("refs/heads/fix"), in_ci_checkout=False),
    Case("GitHub's variables without GitHub", on("main"), "production", {"GITHUB_REF": "refs/heads/fix"}),
    # GitLab
    Case("GitLab on main", DETACHED, "production", gitlab("main")),
    Case("GitLab on a branch", DETACHED, "sandbox:fix", gitlab("fix")),
    Case("with its merge request", DETACHED, "sandbox:fix", gitlab("fix", CI_OPEN_MERGE_REQUESTS="acme/shop!42"), request=42),
    Case("with two of them", DETACHED, "sandbox:fix", gitlab("fix", CI_OPEN_MERGE_REQUESTS="acme/shop!42,acme/shop!43")),
    Case("a merge request", DETACHED, "sandbox:fix", merge_request(), request=42),
    Case("its merged result", State(MERGE, None), "sandbox:fix", merge_request(), request=42),
    Case("of a fork", DETACHED, "sandbox:alice/shop:main", merge_request("main", "alice/shop"), request=42),
    # Dagster
    Case("a branch deployment", on("fix"), "sandbox:fix", dagster_branch(), request=42),
    Case("without git's branch", DETACHED, "sandbox:fix", dagster_branch(), request=42),
    Case("a branch deployment that names no branch", on("fix"), "sandbox:fix", {"DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT": "true"}),
    Case("a full deployment, by what Dagster calls it", on("main"), "production", {"DAGSTER_CLOUD_DEPLOYMENT_NAME": "prod", "DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT": "0"}),
    Case("by its own name", on("fix"), "staging", {"DAGSTER_CLOUD_DEPLOYMENT_NAME": "staging"}),
    Case("detached, with main's code", DETACHED, "production", {"DAGSTER_CLOUD_DEPLOYMENT_NAME": "prod"}, contained_in=("main",)),
    Case("the guide's variable", on("fix"), "local", {"DAGSTER_DEPLOYMENT": "local"}),
    Case("agreeing with main", on("main"), "production", {"DAGSTER_DEPLOYMENT": "prod"}),
    Case("a project's word beside ours", on("fix"), "sandbox:fix", {"DAGSTER_DEPLOYMENT": "staging", "ANABRANCH_ENVIRONMENT": "sandbox"}),
    Case("an unknown word beside ours", on("fix"), "sandbox:fix", {"DAGSTER_DEPLOYMENT": "dev", "ANABRANCH_ENVIRONMENT": "sandbox"}),
    Case("the same request from two sides", on("fix"), "sandbox:fix", {**github(head="fix"), **dagster_branch()}, pull_request(), request=42),
]  # fmt: skip


class Refused(NamedTuple):
    """What is known, and the words that the error must hold."""

    name: str
    git: State
    words: tuple[str, ...]
    environ: Mapping[str, str] = {}
    event: Mapping[str, Any] | None = None
    contained_in: tuple[str, ...] = ()


REFUSED = [
    Refused("nobody says", DETACHED, ("detached", TIP[:12])),
    Refused("a sandbox of no branch", DETACHED, ("a sandbox", "of which git branch"), {"ANABRANCH_ENVIRONMENT": "sandbox"}),
    Refused("an unknown environment", on("main"), ("ANABRANCH_ENVIRONMENT=prod", "no environment"), {"ANABRANCH_ENVIRONMENT": "prod"}),
    Refused("a masked copy", on("main"), ("demo", "masked copy of production"), {"ANABRANCH_ENVIRONMENT": "demo"}),
    Refused("a masked copy, by Dagster", on("main"), ("demo", "masked copy of production"), {"DAGSTER_DEPLOYMENT": "demo"}),
    Refused("production from a branch", on("fix"), ("ANABRANCH_ENVIRONMENT=production", "git branch fix"), {"ANABRANCH_ENVIRONMENT": "production"}),
    Refused("production from a masked word", on("fix"), ("DAGSTER_DEPLOYMENT=prod means production", "ANABRANCH_ENVIRONMENT=sandbox"), {"DAGSTER_DEPLOYMENT": "prod", "ANABRANCH_ENVIRONMENT": "sandbox"}),
    Refused("another environment's branch", on("release"), ("ANABRANCH_ENVIRONMENT=production", "release"), {"ANABRANCH_ENVIRONMENT": "production"}),
    Refused("a sandbox of main", on("main"), ("ANABRANCH_ENVIRONMENT=sandbox", "main means production"), {"ANABRANCH_ENVIRONMENT": "sandbox"}),
    Refused("production at a stray commit", DETACHED, ("production", "no commit of main"), {"ANABRANCH_ENVIRONMENT": "production"}, contained_in=("release",)),
    Refused("main at a stray commit", DETACHED, ("production", "no commit of main"), {"ANABRANCH_GIT_BRANCH": "main"}),
    Refused("two branches", on("fix"), ("ANABRANCH_GIT_BRANCH=other", "git branch fix"), {"ANABRANCH_GIT_BRANCH": "other"}),
    Refused("no number", on("fix"), ("ANABRANCH_PULL_REQUEST", "'#42'"), {"ANABRANCH_PULL_REQUEST": "#42"}),
    Refused("a pull request of production", on("main"), ("ANABRANCH_PULL_REQUEST=42", "production"), {"ANABRANCH_PULL_REQUEST": "42"}),
    # GitHub
    Refused("a pull request that checked out its target", on("main"), ("pull request 42", "git branch main means production"), github("refs/heads/main", TIP, head="fix"), pull_request()),
    Refused("a pull request from main", on("main"), ("pull request 42", "main means production"), github(head="main"), pull_request("main")),
    Refused("a pull request from main, detached", DETACHED, ("pull request 42", "main means production"), github(head="main"), pull_request("main")),
    Refused("no event to tell a fork by", on("main"), ("fork", "can't be read"), github(head="main")),
    Refused("another event", DETACHED, ("fork", "can't be read"), github(head="fix"), pull_request("other")),
    Refused("another number", DETACHED, ("fork", "can't be read"), github("refs/pull/7/merge", head="fix"), pull_request()),
    Refused("main's event at a stray commit", DETACHED, ("production", "detached"), github("refs/heads/main", OTHER)),
    Refused("a branch's event at a stray commit", DETACHED, ("sandbox of fix", "another commit"), github("refs/heads/fix", OTHER)),
    Refused("a request's event at a stray commit", State(OTHER, None), ("pull request 42", "another commit"), github(head="fix"), pull_request()),
    Refused("another branch checked out", on("main"), ("GITHUB_REF=refs/heads/fix", "main means production"), github("refs/heads/fix", TIP)),
    Refused("a merge of which another commit is checked out", State(OTHER, "main"), ("pull request 42", "production"), github("refs/heads/main", TIP, head="fix"), pull_request(state="closed", merged=True)),
    Refused("a fork that asks for production", on("fix"), ("production", "alice/shop"), github(head="fix", ANABRANCH_ENVIRONMENT="production"), pull_request(repo="alice/shop")),
    Refused("a fork that asks for staging", on("fix"), ("staging", "alice/shop"), github(head="fix", ANABRANCH_ENVIRONMENT="staging"), pull_request(repo="alice/shop")),
    Refused("a tag", DETACHED, ("detached",), github("refs/tags/v1", TIP)),
    # GitLab
    Refused("main at a stray commit, in GitLab", DETACHED, ("CI_COMMIT_BRANCH=main", "detached"), gitlab("main", OTHER)),
    Refused("half a merge request", DETACHED, ("merge request 42", "CI_MERGE_REQUEST_PROJECT_PATH"), gitlab(CI_MERGE_REQUEST_IID="42", CI_MERGE_REQUEST_SOURCE_BRANCH_NAME="fix")),
    Refused("a merge request from main", DETACHED, ("main means production", "sandbox"), merge_request("main")),
    Refused("two CIs", on("fix"), ("GITHUB_REF=refs/heads/fix", "CI_COMMIT_BRANCH=other"), {**gitlab("other"), **github("refs/heads/fix", TIP)}),
    # Dagster
    Refused("an unknown deployment", on("main"), ("DAGSTER_CLOUD_DEPLOYMENT_NAME=eu", "no environment"), {"DAGSTER_CLOUD_DEPLOYMENT_NAME": "eu"}),
    Refused("an unknown word", on("main"), ("DAGSTER_DEPLOYMENT=dev", "no environment"), {"DAGSTER_DEPLOYMENT": "dev"}),
    Refused("a full deployment on a branch", on("fix"), ("DAGSTER_CLOUD_DEPLOYMENT_NAME=prod", "git branch fix"), {"DAGSTER_CLOUD_DEPLOYMENT_NAME": "prod"}),
    Refused("a branch deployment on main", on("main"), ("DAGSTER_CLOUD_GIT_BRANCH=fix", "main means production"), dagster_branch()),
    Refused("a branch deployment of main", on("main"), ("DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT", "main means production"), dagster_branch("main")),
    Refused("a branch deployment that is staging", on("fix"), ("DAGSTER_DEPLOYMENT=staging", "sandbox"), dagster_branch(DAGSTER_DEPLOYMENT="staging")),
    Refused("a branch deployment and staging by name", on("fix"), ("ANABRANCH_ENVIRONMENT=staging", "sandbox"), dagster_branch(ANABRANCH_ENVIRONMENT="staging")),
    Refused("perhaps a branch deployment", on("fix"), ("DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT", "neither yes nor no"), {"DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT": "maybe"}),
    Refused("two words", on("fix"), ("ANABRANCH_ENVIRONMENT=local", "DAGSTER_CLOUD_DEPLOYMENT_NAME=staging"), {"ANABRANCH_ENVIRONMENT": "local", "DAGSTER_CLOUD_DEPLOYMENT_NAME": "staging"}),
    Refused("two pull requests", on("fix"), ("42", "43"), {**github(head="fix"), "DAGSTER_CLOUD_PULL_REQUEST_ID": "43"}, pull_request()),
]  # fmt: skip


def means(decision: Decision) -> str:
    return decision.environment or f"sandbox:{decision.git_branch}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_known_decides(case: Case) -> None:
    decision = decide(
        case.git,
        case.environ,
        SETTINGS,
        event=case.event,
        contained_in=case.contained_in,
        in_ci_checkout=case.in_ci_checkout,
    )
    assert means(decision) == case.means
    assert decision.kind == ("sandbox" if case.means.startswith("sandbox:") else "environment")
    assert (decision.pull_request.number if decision.pull_request else None) == case.request
    assert decision.by


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_is_unknown_or_contradictory_is_an_error_that_names_both_sides(case: Refused) -> None:
    with pytest.raises(UndeterminedError) as caught:
        decide(case.git, case.environ, SETTINGS, event=case.event, contained_in=case.contained_in)
    for word in case.words:
        assert word in caught.value.message
    assert caught.value.hint
    json.dumps(caught.value.to_dict())


def test_a_pull_request_is_told_with_what_its_platform_knows() -> None:
    found = decide(
        DETACHED,
        github(head="main"),
        SETTINGS,
        event=pull_request("main", "alice/shop", html_url="https://github.example/acme/shop/pull/42"),
    ).pull_request
    assert found is not None
    assert found.to_dict() == {
        "number": 42,
        "status": "open",
        "branch": "main",
        "target": "main",
        "fork": "alice/shop",
        "title": "Mend",
        "author": None,
        "url": "https://github.example/acme/shop/pull/42",
    }
    request = decide(DETACHED, merge_request(), SETTINGS).pull_request
    assert request is not None
    assert request.url == "https://gitlab.example/acme/shop/-/merge_requests/42"
    assert (request.status, request.fork, request.branch) == ("open", None, "fix")
    closed = decide(on("fix"), dagster_branch(DAGSTER_CLOUD_PULL_REQUEST_STATUS="MERGED"), SETTINGS)
    assert closed.pull_request is not None
    assert closed.pull_request.status == "merged"


def test_two_branches_of_one_name_of_different_repositories_are_two_sandboxes() -> None:
    own = decide(DETACHED, github(head="fix"), SETTINGS, event=pull_request())
    theirs = decide(DETACHED, github(head="fix"), SETTINGS, event=pull_request(repo="alice/shop"))
    assert own.git_branch != theirs.git_branch


NAMES = ["production", "release", "staging", "local", "sandbox", "prod", "dev", ""]
BRANCHES = ["main", "release", "fix", "staging"]


@given(
    git=st.sampled_from([*map(on, BRANCHES), State(TIP, None), State(OTHER, None), State(None, None)]),
    environ=st.fixed_dictionaries(
        {},
        optional={
            "ANABRANCH_ENVIRONMENT": st.sampled_from(NAMES),
            "ANABRANCH_GIT_BRANCH": st.sampled_from(BRANCHES),
            "GITHUB_ACTIONS": st.just("true"),
            "GITHUB_REF": st.sampled_from(["refs/heads/main", "refs/heads/fix", "refs/pull/42/merge", "refs/tags/v1"]),
            "GITHUB_SHA": st.sampled_from([TIP, OTHER, MERGE]),
            "GITHUB_HEAD_REF": st.sampled_from(["", "main", "fix"]),
            "GITLAB_CI": st.just("true"),
            "CI_COMMIT_BRANCH": st.sampled_from(BRANCHES),
            "CI_COMMIT_SHA": st.sampled_from([TIP, OTHER]),
            "DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT": st.sampled_from(["", "0", "1"]),
            "DAGSTER_CLOUD_GIT_BRANCH": st.sampled_from(BRANCHES),
            "DAGSTER_CLOUD_DEPLOYMENT_NAME": st.sampled_from(NAMES),
            "DAGSTER_CLOUD_PULL_REQUEST_ID": st.just("42"),
            "DAGSTER_DEPLOYMENT": st.sampled_from(NAMES),
        },
    ),
    event=st.sampled_from([None, pull_request(), pull_request("main", "alice/shop"), pull_request("main")]),
    contained_in=st.sampled_from([(), ("main",), ("release",)]),
)  # fmt: skip
def test_whatever_is_known_production_is_its_own_branchs_code_or_nothing(
    git: State, environ: dict[str, str], event: Any, contained_in: tuple[str, ...]
) -> None:
    try:
        decision = decide(git, environ, SETTINGS, event=event, contained_in=contained_in)
    except UndeterminedError as error:
        assert error.hint  # noqa: PT017 - either outcome is fine
        return
    if decision.environment == "production":
        ci_says = {environ.get("GITHUB_SHA"), environ.get("CI_COMMIT_SHA")}
        assert git.branch == "main" or (
            git.branch is None and ("main" in contained_in or git.commit in ci_says)
        )
        assert environ.get("ANABRANCH_ENVIRONMENT", "") in ("", "production")
        assert environ.get("DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT") != "1"
        assert environ.get("ANABRANCH_GIT_BRANCH", "main") == "main"
    if decision.kind == "sandbox":
        assert decision.git_branch not in ("main", "release")
        assert environ.get("ANABRANCH_ENVIRONMENT", "") in ("", "sandbox")


def test_no_two_cases_have_one_name() -> None:
    names = [case.name for case in (*CASES, *REFUSED)]
    assert [name for name, same in itertools.groupby(sorted(names)) if len(list(same)) > 1] == []
