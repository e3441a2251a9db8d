"""Every error a user can cause, in one tree, so that one door can turn each into a sentence, a hint and an exit code.

AnabranchError
├── SettingsError                anabranch.toml is missing, or something in it is wrong
├── GitError                     git can't be asked, or answers that something is missing
│   └── UndeterminedError        detached HEAD, shallow history, unknown branch: never a guess, never production
├── DefinitionsError             the pipeline's code can't be understood as a pipeline
│   ├── LoadError                the definitions module can't be imported
│   ├── DuplicateNameError       two assets, checks or resources have one name
│   ├── UnknownInputError        an input that no asset, resource or config provides
│   ├── SignatureError           a function's parameters or annotations can't be served
│   ├── CycleError               assets that wait for each other
│   ├── SecretError              an environment variable that is needed is not set
│   └── SelectionError           --select names nothing
├── CatalogError                 the catalog refuses
│   ├── RefError                 a ref, branch, commit, tag or asset that does not exist
│   ├── BranchExistsError        a branch of that name is open already
│   ├── ConflictError            an expectation of a commit failed: key, expected, found
│   ├── LeaseError               somebody else works here, or our own lease was lost
│   └── CatalogVersionError      the catalog was written by a newer program
├── LakeError                    the lake refuses
│   ├── IsolationError           a write outside the writer's own storage prefix
│   ├── UnstorableError          a value or column type that can't be stored as it is
│   └── MissingFileError         a file that the catalog points to is not there
├── QueryError                   a query that DuckDB does not accept
├── CloneError                   a clone of an outside database can't be made, found or dropped
│   └── CloneBusyError           somebody is connected to what would be cloned or dropped
├── MaskError                    a masked environment refuses what is not masked, or can't be
├── RunError                     a run can't start or did not succeed
│   ├── StepError                an asset's own code failed
│   ├── CheckError               a blocking check failed
│   ├── CodeChangedError         the code on disk is no longer the code that was planned
│   ├── HeldError                the environment is held after a rollback
│   └── BehindError              the code at hand does not contain the code of the environment's head
└── PromotionError               a promotion is refused
    ├── StaleError               the sandbox was built on a base that its environment has left
    ├── DirtyError               uncommitted edits
    └── GateError                the gate's verdict: the list of reasons
"""

from __future__ import annotations

from typing import Any, ClassVar


class AnabranchError(Exception):
    """The root of the tree.

    Args:
        message: One sentence that names the thing that is wrong.
        hint: What to do about it; shown on a line of its own.
        place: Where it is: ``anabranch.toml:14 environments.production.branch`` or ``flights/definitions.py:31``.
        facts: Plain JSON values for ``--json``, such as ``key``, ``expected``, ``found``.
    """

    exit_code: ClassVar[int] = 2

    def __init__(
        self, message: str, *, hint: str | None = None, place: str | None = None, **facts: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.place = place
        self.facts: dict[str, Any] = facts

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message

    def to_dict(self) -> dict[str, Any]:
        """The one JSON shape of every error: ``{"error": {"type", "message", "place", "hint", "facts"}}``."""
        return {
            "error": {
                "type": type(self).__name__,
                "message": self.message,
                "place": self.place,
                "hint": self.hint,
                "facts": self.facts,
            }
        }


class SettingsError(AnabranchError):
    """anabranch.toml is missing, or something in it is wrong."""


class GitError(AnabranchError):
    """git can't be asked, or answers that something is missing."""


class UndeterminedError(GitError):
    """Where one is can't be determined; never taken for production."""


class DefinitionsError(AnabranchError):
    """The pipeline's code can't be understood as a pipeline."""


class LoadError(DefinitionsError):
    """The definitions module can't be imported."""


class DuplicateNameError(DefinitionsError):
    """Two assets, checks or resources have one name."""


class UnknownInputError(DefinitionsError):
    """An input that no asset, resource or config provides."""


class SignatureError(DefinitionsError):
    """A function's parameters or annotations can't be served."""


class CycleError(DefinitionsError):
    """Assets that wait for each other."""


class SecretError(DefinitionsError):
    """An environment variable that is needed is not set."""


class SelectionError(DefinitionsError):
    """A selection that names nothing."""


class CatalogError(AnabranchError):
    """The catalog refuses."""

    exit_code = 3


class RefError(CatalogError):
    """A ref, branch, commit, tag or asset that does not exist."""

    exit_code = 2


class BranchExistsError(CatalogError):
    """A branch of that name is open already."""


class ConflictError(CatalogError):
    """An expectation of a commit failed.

    ``facts`` holds ``key`` (or ``None`` for the whole branch), ``expected`` and ``found``.
    """


class LeaseError(CatalogError):
    """Somebody else works here, or our own lease was lost."""

    exit_code = 4


class CatalogVersionError(CatalogError):
    """The catalog was written by a newer program."""


class LakeError(AnabranchError):
    """The lake refuses."""

    exit_code = 3


class IsolationError(LakeError):
    """A write outside the writer's own storage prefix."""


class UnstorableError(LakeError):
    """A value or a column type that can't be stored as it is."""


class MissingFileError(LakeError):
    """A file that the catalog points to is not there."""


class QueryError(AnabranchError):
    """A query that DuckDB does not accept."""


class CloneError(AnabranchError):
    """A clone of an outside database can't be made, found or dropped."""

    exit_code = 3


class CloneBusyError(CloneError):
    """Somebody is connected to what would be cloned or dropped; ``facts["connections"]`` names them."""

    exit_code = 4


class MaskError(AnabranchError):
    """A masked environment refuses what is not masked, or can't be."""

    exit_code = 3


class RunError(AnabranchError):
    """A run can't start or did not succeed."""

    exit_code = 1


class StepError(RunError):
    """An asset's own code failed; ``facts["traceback"]`` holds its frames."""


class CheckError(RunError):
    """A blocking check failed."""


class CodeChangedError(RunError):
    """The code on disk is no longer the code that was planned."""


class HeldError(RunError):
    """The environment is held after a rollback."""

    exit_code = 3


class BehindError(RunError):
    """The code at hand does not contain the code of the environment's head."""

    exit_code = 3


class PromotionError(AnabranchError):
    """A promotion is refused."""

    exit_code = 3


class StaleError(PromotionError):
    """The sandbox was built on a base that its environment has left."""


class DirtyError(PromotionError):
    """Uncommitted edits."""


class GateError(PromotionError):
    """The gate's verdict: the list of reasons."""


EXIT_CODES = {
    0: "done",
    1: "a step or a blocking check failed; what was there before is untouched",
    2: "a mistake in the command, in anabranch.toml, in the definitions or in git's state",
    3: "refused: the gate, a stale sandbox, a conflict, a held environment, or a rule of isolation",
    4: "somebody else is at work there; try again later",
    70: "a mistake in anabranch itself; its traceback is on stderr",
    130: "interrupted; everything is sound and the same command goes on",
}
