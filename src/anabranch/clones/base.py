"""The words and the contract of clones: what a provider is asked for, and how it proves that a copy is ours.

A clone is a sandbox's copy of a database that lives outside the catalog. Two things prove that it is ours, and only both
together allow it to be replaced or dropped:

- the *record*, which the catalog holds durably before anything is made (`clones.keeper`), with a random id; and
- the *mark*, which carries this id and which the provider keeps beside or in the copy: a comment, a property, a file.

A copy is given its mark before it gets its name, wherever the provider can: it is made under a name that holds the id
(`CloneRecord.making`), marked, and renamed in one step. So a crash leaves nothing that can't be found and told from other
people's things. This file knows no provider, no settings and no git.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, Protocol, Self

from anabranch.dataclass import dataclass, field
from anabranch.errors import CloneError

CloneState = Literal["making", "ready", "refreshing", "dropping"]
_SIGN = "anabranch clone "


@dataclass(frozen=True)
class CloneRecord:
    """What the catalog holds of a clone, from before it is made until after it is gone.

    Attributes:
        id: Random (`names.new_id`), never used again; lower-case letters and digits. It is in the mark.
        project: Name of the project in anabranch.toml.
        clone: Name of the clone in anabranch.toml.
        provider: ``postgres``, ``duckdb``, …
        source: The bare name of what is cloned (`Provider.source_name`), never a URL.
        name: The copy's bare name, already fit for its provider (`NameRule`); it never changes.
        sandbox: Name of the sandbox.
        branch_id: Internal id of the sandbox's branch.
        state: What was begun last: a ``making``, ``refreshing`` or ``dropping`` that is not finished is begun again.
        created_at: When it was recorded (UTC).
        refreshed_at: When the copy was last made (UTC), or None.
        pull_request: Of the sandbox, as it was when the record was made, or None.
        properties: Plain JSON values of the provider's own (`Made.properties`).
    """

    id: str
    project: str
    clone: str
    provider: str
    source: str
    name: str
    sandbox: str
    branch_id: int
    state: CloneState
    created_at: datetime
    refreshed_at: datetime | None = None
    pull_request: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def making(self) -> str:
        """A name that nobody else uses, to make the copy under: it holds the id, and so proves by itself that it is ours."""
        return f"anabranch_{self.id}"

    @property
    def mark(self) -> Mark:
        """What the provider keeps with the copy."""
        return Mark(self.id, self.project, self.clone, self.sandbox)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the inverse of `from_dict`."""
        return {
            "id": self.id,
            "project": self.project,
            "clone": self.clone,
            "provider": self.provider,
            "source": self.source,
            "name": self.name,
            "sandbox": self.sandbox,
            "branch_id": self.branch_id,
            "state": self.state,
            "created_at": self.created_at.isoformat(),
            "refreshed_at": self.refreshed_at.isoformat() if self.refreshed_at else None,
            "pull_request": self.pull_request,
            "properties": dict(self.properties),
        }

    def told(self) -> dict[str, str]:
        """What gc tells of it; plain JSON values."""
        return {
            "id": self.id,
            "clone": self.clone,
            "provider": self.provider,
            "name": self.name,
            "sandbox": self.sandbox,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From what `to_dict` gave."""
        made = data["refreshed_at"]
        return cls(
            **{
                **data,
                "created_at": datetime.fromisoformat(data["created_at"]),
                "refreshed_at": None if made is None else datetime.fromisoformat(made),
            }
        )

    def with_(self, **changes: Any) -> Self:
        """A copy with other values."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Mark:
    """What proves, in the outside database itself, whose a copy is.

    Attributes:
        id: That of the record.
        project, clone, sandbox: As in the record; for people who look at the database.
    """

    id: str
    project: str
    clone: str
    sandbox: str

    def __str__(self) -> str:
        """One line of ASCII, for a comment: ``anabranch clone {"id": …}``."""
        plain = {"id": self.id, "project": self.project, "clone": self.clone, "sandbox": self.sandbox}
        return f"{_SIGN}{json.dumps(plain)}"

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """The mark in a comment; None where it holds none of ours."""
        if not text or not text.startswith(_SIGN):
            return None
        try:
            plain = json.loads(text.removeprefix(_SIGN))
            return cls(*(str(plain[key]) for key in ("id", "project", "clone", "sandbox")))
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True)
class NameRule:
    """What a provider's names may be; see `naming.clone_name`.

    Attributes:
        length: The greatest number of characters of a bare name. They are ASCII, so it is that of bytes, too.
        upper: Whether names are written in upper case, because the database takes them so where they stand unquoted.
    """

    length: int
    upper: bool = False


@dataclass(frozen=True)
class Made:
    """What `open` or `refresh` did.

    Attributes:
        new: Whether a copy was made by this call; False where it stood already.
        how: In words: ``shared its blocks (reflink)``, ``copied 3 MB``; for people.
        properties: Plain JSON values to be kept in the record.
    """

    new: bool
    how: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A copy that carries our mark, as `list` finds it.

    Attributes:
        name: Its bare name; that of `CloneRecord.making` where it was never finished.
        mark: What it carries.
        bytes: Its size, where that costs nothing to know.
        created_at: When it was made (UTC), where that is known.
        whole: False where only its mark is there: it was never finished, or somebody took it away.
    """

    name: str
    mark: Mark
    bytes: int | None = None
    created_at: datetime | None = None
    whole: bool = True


class Provider(Protocol):
    """Makes, finds and drops the copies of *one* source: one ``[clones.NAME]``.

    An instance is cheap to make and connects when it is first asked; `close` lets go. It is used by one thread. The caller
    (`clones.keeper`) has recorded what is asked for, and holds a lease, so that no two processes work on one clone.

    Every call may be repeated after a crash at any point of it, with the same record, and then finishes the work. Names
    come from people who may mean ill (git branches, pull requests): a provider quotes each name it puts into a statement
    by its dialect's function in `clones.naming`, whatever `clone_name` has made of it.

    Errors: `CloneError`, or `CloneBusyError` where connections are in the way, with a hint and without any password. A
    provider never drops or overwrites what does not carry the record's id.
    """

    name_rule: NameRule
    cost: str
    """A sentence: what a copy costs in time and space."""
    locks: str
    """A sentence: what it locks, whom it keeps waiting, and for how long."""

    def source_name(self) -> str:
        """The bare name of what is cloned: the ``{source}`` of name templates. Connects to nothing."""

    def open(self, record: CloneRecord) -> Made:
        """Makes the copy from the source as it is now, unless it stands already with the record's id: then nothing is done.

        Readers of the copy's name see all of it, or nothing yet.

        Raises:
            CloneError: something that is not ours has that name; or the source is not there.
            CloneBusyError: connections are in the way.
        """

    def refresh(self, record: CloneRecord) -> Made:
        """Makes the copy anew from the source as it is now. What was written into the copy is lost.

        The old copy stays until the new one is whole, wherever the provider can hold both. Where there is none, it is made.
        """

    def drop(self, record: CloneRecord) -> bool:
        """Drops the copy, and whatever a crash has left of its making. Returns whether there was anything.

        What has the record's name but not its id is left alone, and is no error: it is not ours.
        """

    def exists(self, record: CloneRecord) -> bool:
        """Whether the copy stands whole, under the record's name and with its id."""

    def list(self, project: str) -> Sequence[Found]:
        """All that carries a mark of this project and of this source's clones, finished or not; in the order of names."""

    def address(self, name: str | None) -> str:
        """What a client takes to get there: a path, a URL, a database's name. Holds no secret unless settings say so.

        Args:
            name: A clone's bare name; None: the source itself.
        """

    def close(self) -> None:
        """Lets go of connections. Idempotent; a call after it connects again."""


class Publisher(Provider, Protocol):
    """A provider that can bring what a copy holds back into its source, as its settings say."""

    def check_publish(self, record: CloneRecord) -> None:
        """Refuses what `publish` would refuse, as far as that can be told without doing it.

        Raises:
            ConflictError: the source has moved on where the copy would overwrite it.
            CloneError: the copy is not there, or not ours, or lacks something.
        """

    def publish(self, record: CloneRecord, keep: Callable[[Mapping[str, Any]], None]) -> Sequence[str]:
        """Brings it back. Repeated after a crash at any point, or when all is done, it does no harm.

        Args:
            record: The copy's; what was kept last is its ``properties["published"]``.
            keep: Keeps plain JSON values with the record, durably.

        Returns:
            What was replaced or merged, in words. Raises as `check_publish`.
        """


@dataclass(frozen=True)
class Surroundings:
    """What a provider is made with beside its own settings.

    Attributes:
        clone: Its name in anabranch.toml.
        folder: The project's folder in the repository's main worktree (an absolute path): what relative paths start from.
        environ: The variables that ``${NAME}`` in its settings is read from.
        place: Field → where it stands, for errors: ``anabranch.toml:14 clones.shop.source``.
    """

    clone: str
    folder: str
    environ: Mapping[str, str]
    place: Callable[[str], str]


def not_ours(record: CloneRecord, what: str, **facts: Any) -> CloneError:
    """The error for a name that something else has: nothing is overwritten."""
    return CloneError(
        f"{what} exists already and is not the clone {record.clone} of {record.sandbox}",
        hint=f"drop or rename it yourself, or give clones another name: name = … in [clones.{record.clone}]",
        clone=record.clone,
        name=record.name,
        **facts,
    )
