"""Pipelines that were written for another program: who can read them, found by name in the packages' own metadata.

A translator is an object of the entry point group ``anabranch.definitions``. It is asked before the user's code is
imported, since such code may have to be imported in another process, and once more where the import has brought an
object that is not ours. Nothing here knows any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from anabranch.dataclass import dataclass, field
from anabranch.errors import DefinitionsError
from anabranch.pipeline.definitions import Definitions

if TYPE_CHECKING:
    import subprocess
    from multiprocessing.connection import Connection

GROUP = "anabranch.definitions"


@dataclass(frozen=True)
class Commit:
    """The git commit at hand, as programs are told of it; what is not known is empty."""

    sha: str = ""
    branch: str = ""
    repository: str = ""
    author_name: str = ""
    author_email: str = ""
    message: str = ""
    timestamp: int = 0


@dataclass(frozen=True)
class Surroundings:
    """Where code runs, for a set of resources.

    Attributes:
        resources: Name of the set.
        kind: Whether a sandbox's steps receive it, or an environment's.
        name: The sandbox or the environment.
        environment: The environment; of a sandbox, the one it stands on.
        commit: The git commit at hand.
        pull_request: Its number, or None.
        pull_request_state: Such as ``open``; empty where nothing says so.
        rules: What ``[sandboxes.resources]`` of anabranch.toml says.
        options: What the translator's own table of anabranch.toml says.
        hidden: Names of variables that no process of the user's code may have.
    """

    resources: str
    kind: Literal["environment", "sandbox"]
    name: str
    environment: str
    commit: Commit = field(default_factory=Commit)
    pull_request: str | None = None
    pull_request_state: str = ""
    rules: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What is to be translated.

    Attributes:
        target: What ``definitions`` in anabranch.toml says.
        root: The project's folder.
        source: Folders to import from.
        cache: Folder for what may be kept, or None.
        here: Where one is.
        reference: The environment that sandboxes stand on.
        of: Set of resources → where it is received.
    """

    target: str
    root: Path
    source: tuple[Path, ...]
    cache: Path | None
    here: Surroundings
    reference: Surroundings
    of: Callable[[str], Surroundings]


@dataclass(frozen=True)
class Parcel:
    """A published table that is to be delivered.

    Attributes:
        name, kind, location, version: As of the entry.
        facts: What was kept of the step that made it.
        states: Partition → its version.
        changed: Partitions that are to be delivered; for a table without any: none, and all of it is.
    """

    name: str
    kind: str
    location: str
    version: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Translated:
    """What came of it: the definitions, and each project file that they were made from (relative path → SHA-256)."""

    definitions: Definitions
    files: Mapping[str, str]


class Translator(Protocol):
    """What the entry points name."""

    def translate(self, asked: Asked, found: object | None) -> Translated | None:
        """The pipeline, or None if it is not written for the program that this one knows.

        Args:
            asked: What is to be translated.
            found: An object that the import has brought; None before any import.
        """

    def restore(
        self, plain: Mapping[str, Any], root: Path, source: Sequence[Path], files: Mapping[str, str]
    ) -> Definitions:
        """The same definitions in a worker, from their plain values, without importing any of the user's code yet."""

    def adopt(
        self, plain: Mapping[str, Any], project: Any, environ: Mapping[str, str]
    ) -> tuple[subprocess.Popen[bytes], Connection] | None:
        """A process that has imported this very code already, and is a worker from now on; None where there is none.

        Args:
            plain: The definitions' plain values.
            project: What a worker is told first: a `running.worker.Project`.
            environ: The environment that the worker must have, no variable more and none less.
        """


@lru_cache(maxsize=1)
def translators() -> Mapping[str, Callable[[], Translator]]:
    """Name → a function that imports the translator."""
    return {point.name: point.load for point in entry_points(group=GROUP)}


def translate(asked: Asked, found: object | None = None) -> Translated | None:
    """What the first translator that knows such a pipeline makes of it, or None."""
    for load in translators().values():
        made = load().translate(asked, found)
        if made is not None:
            return made
    return None


def adopt(
    portable: tuple[str, Mapping[str, Any]], project: Any, environ: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], Connection] | None:
    """A process that the definitions' translator has left over: see `Translator.adopt`."""
    name, plain = portable
    return translators()[name]().adopt(plain, project, environ) if name in translators() else None


def restore(
    portable: tuple[str, Mapping[str, Any]], root: Path, source: Sequence[Path], files: Mapping[str, str]
) -> Definitions:
    """Translated definitions in a worker. Raises DefinitionsError if their translator is not installed here."""
    name, plain = portable
    if name not in translators():
        raise DefinitionsError(
            f"the translator {name!r} of these definitions is not installed here",
            hint="install the package that has it, also where the workers run",
        )
    return translators()[name]().restore(plain, root, source, files)
