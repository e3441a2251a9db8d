"""Which environment, or whose sandbox, the code at hand is for: one judgement, on plain values.

git, CI, Dagster and the person are asked, and all that answer must agree. Where nobody answers, or two disagree, there is
an error that names both sides; never a guess, and never production. Nothing here asks git, reads a file or a clock: whoever
calls it has done so, and passes what was found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from anabranch.dataclass import dataclass
from anabranch.errors import UndeterminedError
from anabranch.names import did_you_mean

if TYPE_CHECKING:
    from anabranch.git import State
    from anabranch.settings.models import Settings

SANDBOX = "sandbox"
"""What ``ANABRANCH_ENVIRONMENT`` says for the git branch's sandbox; no environment may be called so."""

Status = Literal["open", "closed", "merged"]


@dataclass(frozen=True)
class PullRequest:
    """A pull request (GitLab: merge request) that the code at hand belongs to.

    Attributes:
        number: As people write it: 42.
        status: open, closed or merged; None where nobody says.
        branch: The git branch that it wants to have merged.
        target: The git branch that it is to be merged into.
        fork: Full name of the repository that it comes from, where that is another: ``alice/flights``.
        title, author, url: As the platform tells them.
    """

    number: int
    status: Status | None = None
    branch: str | None = None
    target: str | None = None
    fork: str | None = None
    title: str | None = None
    author: str | None = None
    url: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "number": self.number,
            "status": self.status,
            "branch": self.branch,
            "target": self.target,
            "fork": self.fork,
            "title": self.title,
            "author": self.author,
            "url": self.url,
        }


@dataclass(frozen=True)
class Decision:
    """What the code at hand is for.

    Attributes:
        kind: environment or sandbox.
        environment: The environment; None for a sandbox.
        git_branch: The git branch that the code is of. Of a fork's pull request with the fork's name before it,
            ``alice/flights:main``, which no branch of one's own can be called. None for an environment without one, on a
            detached HEAD.
        by: Who says so, such as ``the git branch main`` or ``ANABRANCH_ENVIRONMENT=staging``.
        pull_request: The pull request, if there is one.
    """

    kind: Literal["environment", "sandbox"]
    environment: str | None
    git_branch: str | None
    by: str
    pull_request: PullRequest | None = None


@dataclass(frozen=True)
class _Answer:
    """What one side says.

    Attributes:
        by: Who says it.
        environment: An environment, or None for a sandbox.
        branch: The git branch that it is said of, if it is.
        chosen: Whether the environment itself was named, rather than a git branch.
        commits: The commits that a detached HEAD may be at for this to be said of it; None: any.
    """

    by: str
    environment: str | None
    branch: str | None = None
    chosen: bool = False
    commits: frozenset[str] | None = None

    @property
    def means(self) -> str:
        if self.environment is not None:
            return self.environment
        return f"the sandbox of {self.branch}" if self.branch else "a sandbox"

    def __str__(self) -> str:
        return f"{self.by} means {self.means}"


def decide(
    git: State,
    environ: Mapping[str, str],
    settings: Settings,
    *,
    event: Mapping[str, Any] | None = None,
    contained_in: Collection[str] = (),
    in_ci_checkout: bool = True,
) -> Decision:
    """Decides what the code at hand is for.

    Args:
        git: What is checked out.
        environ: The environment variables.
        settings: anabranch.toml.
        event: The payload of GitHub's event, the file that ``GITHUB_EVENT_PATH`` names.
        contained_in: On a detached HEAD: the environments' git branches that contain its commit.
        in_ci_checkout: Whether this is the checkout that the CI's variables are about; if not, they say nothing.

    Raises:
        UndeterminedError: nobody says, or two sides contradict each other; the message names both.
    """
    said = {name: text for name, value in environ.items() if (text := value.strip())}
    judge = _Judge(git, said, settings, event or {}, frozenset(contained_in))
    return judge.decide(ci=in_ci_checkout)


class _Judge:
    def __init__(
        self,
        git: State,
        said: Mapping[str, str],
        settings: Settings,
        event: Mapping[str, Any],
        contained_in: frozenset[str],
    ) -> None:
        self.git = git
        self.said = said
        self.settings = settings
        self.event = event
        self.contained_in = contained_in
        self.requests: list[tuple[str, PullRequest]] = []
        self.named = SANDBOX if said.get("ANABRANCH_ENVIRONMENT") == SANDBOX else self._named()

    def decide(self, *, ci: bool) -> Decision:
        answers = [*self._explicit(), *(self._ci() if ci else ()), *self._dagster()]
        fork = next((request for _, request in self.requests if request.fork), None)
        if self.git.branch is not None and (fork is None or fork.branch != self.git.branch):
            # A fork's branch has the fork's name before it, whatever it is called in this checkout.
            answers.append(self._of_branch(f"the git branch {self.git.branch}", self.git.branch))
        elif self.git.branch is None:
            for answer in answers:
                self._check_detached(answer)
        for at, one in enumerate(answers):
            for other in answers[at + 1 :]:
                self._check_pair(one, other)
        request = self._request(answers)
        first = next((answer for answer in answers if answer.chosen and answer.environment), None)
        if first is None:
            # Whoever names the branch says more than who only says that it is a sandbox.
            first = next((a for a in answers if a.branch), answers[0] if answers else None)
        if first is None:
            raise self._nobody()
        if first.environment is None and first.branch is None:
            raise UndeterminedError(
                f"{first}, but not of which git branch: HEAD is detached at {self._head}",
                hint="git switch to a branch, or name it: ANABRANCH_GIT_BRANCH=NAME",
            )
        branch = first.branch or next((a.branch for a in answers if a.branch), None)
        if branch is None and first.environment is not None:
            branch = self.settings.environments[first.environment].git_branch
        kind: Literal["environment", "sandbox"] = "sandbox" if first.environment is None else "environment"
        return Decision(kind, first.environment, branch, first.by, request)

    # the sides

    def _named(self) -> str | None:
        """What ANABRANCH_ENVIRONMENT names, which must exist."""
        name = self.said.get("ANABRANCH_ENVIRONMENT")
        if name is None:
            return None
        its = self.settings.environments.get(name)
        if its is None:
            known = [*self.settings.environments, SANDBOX]
            raise UndeterminedError(
                f"ANABRANCH_ENVIRONMENT={name} names no environment of anabranch.toml",
                hint=did_you_mean(name, known, f"there are: {', '.join(known)}"),
            )
        return self._that_runs("ANABRANCH_ENVIRONMENT", name)

    def _that_runs(self, variable: str, name: str) -> str:
        """An environment that a variable names, which must be one that code runs in."""
        parent = self.settings.environments[name].derived_from
        if parent is not None:
            raise UndeterminedError(
                f"{variable} means {name}, which is a masked copy of {parent} and runs no code of its own",
                hint=f"unset it; anabranch sync {name} brings the copy up to date, --at {name} reads it",
            )
        return name

    def _explicit(self) -> Iterator[_Answer]:
        if self.named is not None:
            name = None if self.named == SANDBOX else self.named
            yield _Answer(f"ANABRANCH_ENVIRONMENT={self.named}", name, chosen=True)
        if (branch := self.said.get("ANABRANCH_GIT_BRANCH")) is not None:
            yield self._of_branch(f"ANABRANCH_GIT_BRANCH={branch}", branch)
        if (number := self._number("ANABRANCH_PULL_REQUEST")) is not None:
            self.requests.append((f"ANABRANCH_PULL_REQUEST={number}", PullRequest(number)))

    def _ci(self) -> Iterator[_Answer]:
        if self.said.get("GITHUB_ACTIONS") == "true":
            yield from self._github()
        if self.said.get("GITLAB_CI") == "true":
            yield from self._gitlab()

    def _github(self) -> Iterator[_Answer]:
        head, ref, sha = (self.said.get(f"GITHUB_{name}") for name in ("HEAD_REF", "REF", "SHA"))
        event = self.event.get("pull_request")
        if not isinstance(event, Mapping):
            event = None
        if head is None:
            if ref is not None and ref.startswith("refs/heads/"):
                branch = ref.removeprefix("refs/heads/")
                answer = self._of_branch(f"GitHub Actions (GITHUB_REF={ref})", branch)
                yield replace(answer, commits=frozenset([sha] if sha else []))
            return
        request = _github_request(event, head, ref, self.said.get("GITHUB_BASE_REF"))
        if request is None:
            raise UndeterminedError(
                f"GitHub Actions runs a pull request of a branch {head}, but the event that tells which one, and whether"
                " it comes from a fork, can't be read",
                hint="pass the file that GITHUB_EVENT_PATH names on to where this runs",
            )
        self.requests.append((f"GitHub Actions (pull request {request.number})", request))
        if request.status == "merged" and ref == f"refs/heads/{request.target}" and sha == self.git.commit:
            # GitHub runs what a merge sets off with the code of the branch that was merged into.
            yield self._of_branch(f"GitHub Actions (GITHUB_REF={ref})", request.target or "")
            return
        theirs = event.get("head") if event else None
        tip = theirs.get("sha") if isinstance(theirs, Mapping) else None
        yield self._of_request("GitHub Actions", request, {sha, tip})

    def _gitlab(self) -> Iterator[_Answer]:
        sha = self.said.get("CI_COMMIT_SHA")
        number = self._number("CI_MERGE_REQUEST_IID")
        if number is not None:
            branch = self.said.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
            source = self.said.get("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH")
            target = self.said.get("CI_MERGE_REQUEST_PROJECT_PATH")
            if branch is None or source is None or target is None:
                raise UndeterminedError(
                    f"GitLab CI runs the merge request {number}, but not all of CI_MERGE_REQUEST_SOURCE_BRANCH_NAME,"
                    " CI_MERGE_REQUEST_SOURCE_PROJECT_PATH and CI_MERGE_REQUEST_PROJECT_PATH are set",
                    hint="pass GitLab's variables on to where this runs",
                )
            url = self.said.get("CI_MERGE_REQUEST_PROJECT_URL")
            request = PullRequest(
                number,
                "open",
                branch,
                self.said.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"),
                source if source.lower() != target.lower() else None,
                self.said.get("CI_MERGE_REQUEST_TITLE"),
                self.said.get("GITLAB_USER_LOGIN"),
                f"{url}/-/merge_requests/{number}" if url else None,
            )
            self.requests.append((f"GitLab CI (merge request {number})", request))
            tip = self.said.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA")
            yield self._of_request("GitLab CI", request, {sha, tip})
        elif (branch := self.said.get("CI_COMMIT_BRANCH")) is not None:
            answer = self._of_branch(f"GitLab CI (CI_COMMIT_BRANCH={branch})", branch)
            yield replace(answer, commits=frozenset([sha] if sha else []))
            opened = [text for text in self.said.get("CI_OPEN_MERGE_REQUESTS", "").split(",") if text]
            project, _, iid = opened[0].rpartition("!") if len(opened) == 1 else ("", "", "")
            if iid.isdecimal() and answer.environment is None:
                fork = project if project != self.said.get("CI_PROJECT_PATH") else None
                if fork is None:
                    self.requests.append(
                        (f"GitLab CI (merge request {iid})", PullRequest(int(iid), "open", branch))
                    )

    def _dagster(self) -> Iterator[_Answer]:
        name = self.said.get("DAGSTER_CLOUD_DEPLOYMENT_NAME")
        if self._flag("DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT"):
            branch = self.said.get("DAGSTER_CLOUD_GIT_BRANCH")
            if branch is not None and self.settings.environment_of_git_branch(branch) is not None:
                raise _conflict(
                    "DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT means a sandbox",
                    str(self._of_branch(f"DAGSTER_CLOUD_GIT_BRANCH={branch}", branch)),
                    "make branch deployments for other branches only",
                )
            by = f"DAGSTER_CLOUD_GIT_BRANCH={branch}" if branch else "DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT"
            yield _Answer(by, None, branch, chosen=True)
        elif name is not None:
            yield from self._deployment("DAGSTER_CLOUD_DEPLOYMENT_NAME", name)
        if (number := self._number("DAGSTER_CLOUD_PULL_REQUEST_ID")) is not None:
            word = self.said.get("DAGSTER_CLOUD_PULL_REQUEST_STATUS", "").lower()
            status: Status | None = word if word in ("open", "closed", "merged") else None  # type: ignore[assignment] # just looked up
            branch = self.said.get("DAGSTER_CLOUD_GIT_BRANCH")
            request = PullRequest(number, status, branch)
            self.requests.append((f"DAGSTER_CLOUD_PULL_REQUEST_ID={number}", request))
        if (own := self.said.get("DAGSTER_DEPLOYMENT")) is not None:
            for answer in self._deployment("DAGSTER_DEPLOYMENT", own):
                # The project's own word may say "staging" in a sandbox; it may never name what has a git branch.
                its = self.settings.environments[answer.environment or ""]
                if self.named is None or its.git_branch is not None:
                    yield answer

    def _deployment(self, variable: str, name: str) -> Iterator[_Answer]:
        """The environment that a deployment of Dagster is; where ANABRANCH_ENVIRONMENT speaks, an unknown name is silent."""
        found = self.settings.environment_of_deployment(name)
        if found is not None:
            yield _Answer(f"{variable}={name}", self._that_runs(variable, found), chosen=True)
        elif self.named is None:
            raise UndeterminedError(
                f"{variable}={name} names no environment of anabranch.toml",
                hint=f'say which one it is: dagster_deployment = "{name}" in [environments.NAME], or set ANABRANCH_ENVIRONMENT',
            )

    def _of_branch(self, by: str, branch: str) -> _Answer:
        return _Answer(by, self.settings.environment_of_git_branch(branch), branch)

    def _of_request(self, by: str, request: PullRequest, commits: set[Any]) -> _Answer:
        """A pull request is a sandbox, whatever its branch is called."""
        what = f"{by} (pull request {request.number} of {request.fork or 'the branch'} {request.branch})"
        owner = self.settings.environment_of_git_branch(request.branch or "")
        known = frozenset(text for text in commits if isinstance(text, str))
        if request.fork is not None:
            return _Answer(what, None, f"{request.fork}:{request.branch}", commits=known)
        if owner is not None:
            raise _conflict(
                f"{what} means a sandbox",
                f"the git branch {request.branch} means {owner}",
                f"open the pull request from another branch: git switch -c NAME {request.branch}",
            )
        return _Answer(what, None, request.branch, commits=known)

    # the judgement

    def _check_pair(self, one: _Answer, other: _Answer) -> None:
        if one.environment is None and other.environment is None:
            if one.branch is None or other.branch is None or one.branch == other.branch:
                return
        elif one.environment == other.environment:
            return
        for chosen, rest in ((one, other), (other, one)):
            # What has no git branch of its own runs the code of any, if it is asked for by name.
            if chosen.chosen and not rest.chosen and rest.branch and ":" not in rest.branch:
                its = self.settings.environments.get(chosen.environment or "")
                if its is not None and its.git_branch is None:
                    return
        raise _conflict(str(one), str(other), self._way_out(one, other))

    def _way_out(self, one: _Answer, other: _Answer) -> str:
        for answer in (one, other):
            if answer.chosen and answer.environment is not None:
                branch = self.settings.environments[answer.environment].git_branch
                variable = answer.by.partition("=")[0]
                return f"unset {variable}, or git switch {branch}" if branch else f"unset {variable}"
        if (one.chosen or other.chosen) and self.named == SANDBOX:
            return "unset ANABRANCH_ENVIRONMENT, or git switch -c NAME first"
        return "check out the branch that is meant, and run the command there"

    def _check_detached(self, answer: _Answer) -> None:
        """What is said of a branch holds for a commit without one only if it is that branch's."""
        commit = self.git.commit
        branch = answer.branch
        if answer.chosen and answer.environment is not None:
            branch = self.settings.environments[answer.environment].git_branch
        if answer.commits is not None and commit is not None and commit in answer.commits:
            return
        if answer.environment is not None and branch is not None and branch not in self.contained_in:
            raise UndeterminedError(
                f"{answer}, but HEAD is detached at {self._head}, which is no commit of {branch}",
                hint=f"git switch {branch}, or fetch it: git fetch origin {branch}",
            )
        if answer.environment is None and answer.commits is not None:
            raise UndeterminedError(
                f"{answer}, but HEAD is detached at {self._head}, which is another commit than it was started for",
                hint="check out the commit of the pull request, or its branch",
            )

    def _request(self, answers: list[_Answer]) -> PullRequest | None:
        """The pull request, which only a sandbox can belong to; all that name one must name the same."""
        if not self.requests:
            return None
        # The side that tells most of it is believed for the rest.
        by, request = max(
            self.requests, key=lambda found: sum(v is not None for v in found[1].to_dict().values())
        )
        for other, further in self.requests:
            if further.number != request.number:
                raise _conflict(
                    f"{by} names the pull request {request.number}", f"{other} names {further.number}"
                )
        environment = next((a for a in answers if a.environment is not None), None)
        if environment is not None and request.status not in ("closed", "merged"):
            its = self.settings.environments[environment.environment or ""]
            if its.git_branch is not None or request.fork is not None:
                raise _conflict(f"{by} means a sandbox", str(environment))
        return request

    def _nobody(self) -> UndeterminedError:
        return UndeterminedError(
            f"HEAD is detached at {self._head}: no git branch says which environment or sandbox is meant",
            hint="name the branch of this commit: ANABRANCH_GIT_BRANCH=NAME"
            if self.said.get("CI")
            else "git switch to a branch, or make one: git switch -c NAME",
        )

    # small ones

    @property
    def _head(self) -> str:
        return (self.git.commit or "?")[:12]

    def _number(self, variable: str) -> int | None:
        text = self.said.get(variable)
        if text is None:
            return None
        if not (text.isascii() and text.isdecimal() and int(text) > 0):
            raise UndeterminedError(
                f"{variable}={text!r} is no number of a pull request",
                hint=f"set it to the number alone, such as 42, or unset {variable}",
            )
        return int(text)

    def _flag(self, variable: str) -> bool:
        text = self.said.get(variable, "").lower()
        if text not in ("", "0", "false", "1", "true"):
            raise UndeterminedError(
                f"{variable}={text!r} says neither yes nor no", hint=f"set it to 1 or 0, or unset {variable}"
            )
        return text in ("1", "true")


def _github_request(
    event: Mapping[str, Any] | None, head: str, ref: str | None, base: str | None
) -> PullRequest | None:
    """The pull request of GitHub's event; None where the event does not tell all that is needed."""

    def get(*path: str) -> Any:
        found: Any = event
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    number, ours = get("number"), get("base", "repo", "full_name")
    if not isinstance(number, int) or not isinstance(ours, str) or get("head", "ref") != head:
        return None
    if ref is not None and ref.startswith("refs/pull/") and ref.split("/")[2] != str(number):
        return None
    # The repository of a fork that was deleted is null.
    theirs = get("head", "repo", "full_name") or f"{get('head', 'user', 'login') or 'unknown'}/deleted"
    state: Status = "merged" if get("merged") is True else "closed" if get("state") == "closed" else "open"
    return PullRequest(
        number,
        state,
        head,
        base or get("base", "ref"),
        theirs if theirs.lower() != ours.lower() else None,
        get("title"),
        get("user", "login"),
        get("html_url"),
    )


def _conflict(one: str, other: str, hint: str | None = None) -> UndeterminedError:
    return UndeterminedError(
        f"{one}, but {other}", hint=hint or "unset the variable that is not meant; nothing is guessed"
    )
