"""The catalog's words and contract: branches, commits, entries, tags, leases, runs.

The catalog is the versioned map *key → table version*. This file says what each call means; `memory.py` is the
shortest program that has this meaning, `sql.py` the one that keeps it through a power cut. It knows nothing of git,
of Iceberg or of files: a location is a string to it.

Vocabulary of numbers: commits are numbered per branch, from 0 (the state in which the branch was opened) upwards,
without gaps. ``production@41`` is commit 41 of the open branch ``production``. A branch sees its own entries and, for
keys it has not touched, its parent's as of its *base* (a commit of the parent), and so on up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from anabranch.dataclass import dataclass, field
from anabranch.names import Ref

BranchKind = Literal["environment", "sandbox", "run"]
EntryKind = Literal["table", "file"]
CommitKind = Literal["open", "run", "promote", "rollback", "sync", "write", "close"]
RunState = Literal["running", "succeeded", "failed", "interrupted"]


@dataclass(frozen=True)
class Provenance:
    """How an entry was made. Every field is a plain JSON value.

    Attributes:
        fingerprint: Hash of code, config, inputs' versions, resources and outside version.
        code: Hash of the asset's code.
        code_parts: Name → hash of each thing the code hash is made of, so that a plan can name what changed.
        config: Hash of the asset's config.
        config_parts: Config field → JSON text of its value.
        inputs: Input key → the version that was read.
        outside: What ``observe`` returned, or None.
        run: Id of the run, or None for a write from outside a run.
        git_commit: The commit that was checked out, or None.
        dirty: Whether there were uncommitted edits.
        environment: Name of the environment or sandbox that computed it.
        computed_at: When it was computed: ISO 8601, UTC.
        rows: Rows, or None for a file.
        bytes: Stored bytes.
        seconds: Seconds it took.
        memory: Peak bytes of memory of the step, or None.
        partitions: Partition key → whatever a later floor keeps for it.
        extra: Room for what later floors add (sample, mask, forward-only …).
    """

    fingerprint: str = ""
    code: str = ""
    code_parts: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    config_parts: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outside: str | None = None
    run: str | None = None
    git_commit: str | None = None
    dirty: bool = False
    environment: str | None = None
    computed_at: str | None = None
    rows: int | None = None
    bytes: int = 0
    seconds: float = 0.0
    memory: int | None = None
    partitions: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One key's value at one commit.

    Attributes:
        key: ``name`` or ``namespace.name``.
        kind: ``table`` (location is an Iceberg ``metadata.json``) or ``file`` (location is the file).
        location: URI of what holds the value. Immutable: a new value has a new location.
        version: Hash of the content, tagged with its algorithm. Equal versions mean equal data.
        provenance: How it was made.
    """

    key: str
    kind: EntryKind
    location: str
    version: str
    provenance: Provenance = field(default_factory=Provenance)


@dataclass(frozen=True, order=True)
class Point:
    """One commit of one branch, by the branch's internal id: it stays valid when names are used again."""

    branch_id: int
    number: int


@dataclass(frozen=True)
class Branch:
    """A branch as it stands.

    Attributes:
        id: Internal id, never used again.
        name: Unique among open branches; a closed branch's name may be used again.
        kind: environment, sandbox or run.
        open: False once closed; a closed branch takes no commit, and gc drops it in its time.
        parent: The branch below, or None for a root.
        base: Commit of the parent that untouched keys are read at; None for a root.
        head: Number of the newest commit.
        created_at: When it was opened (UTC).
        closed_at: When it was closed (UTC), or None.
        expires_at: When it may be closed by gc (UTC), or None.
        properties: Plain JSON values that upper floors keep here (git branch, hold, …).
    """

    id: int
    name: str
    kind: BranchKind
    open: bool
    parent: int | None
    base: int | None
    head: int
    created_at: datetime
    closed_at: datetime | None = None
    expires_at: datetime | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def point(self) -> Point:
        """The branch's head."""
        return Point(self.id, self.head)

    @property
    def base_point(self) -> Point | None:
        """The parent's commit on which this branch stands, or None for a root."""
        return None if self.parent is None or self.base is None else Point(self.parent, self.base)


@dataclass(frozen=True)
class Commit:
    """An atomic change of any number of entries of one branch; immutable.

    Attributes:
        branch_id: Internal id of the branch.
        branch: Name of the branch.
        number: 0, 1, 2 … on that branch.
        base: Commit of the parent on which the branch stood at this commit; None for a root.
        time: When (UTC). Never earlier than that of the commit before it.
        kind: What made it.
        message: One line.
        author: Who, as git names people.
        git_commit: The code that made it, or None.
        definitions: Hash of all assets' code, or None.
        run: Id of the run, or None.
        keys: Number of keys it wrote or deleted, and of own entries that it gave up.
        properties: Plain JSON values: the audit record.
        idempotency_key: The key it was committed under, or None.
    """

    branch_id: int
    branch: str
    number: int
    base: int | None
    time: datetime
    kind: CommitKind
    message: str
    author: str
    git_commit: str | None
    definitions: str | None
    run: str | None
    keys: int
    properties: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None

    @property
    def point(self) -> Point:
        """Where it is."""
        return Point(self.branch_id, self.number)

    @property
    def ref(self) -> str:
        """``production@41``."""
        return f"{self.branch}@{self.number}"


@dataclass(frozen=True)
class Change:
    """One key's change: the entry before and after; None where there is none."""

    key: str
    before: Entry | None
    after: Entry | None


@dataclass(frozen=True)
class CommitRequest:
    """A change as data: updates beside requirements, with an idempotency key.

    Attributes:
        branch: Internal id of the branch.
        changes: Key → its new entry, or None to delete the key.
        expect: Key → version that the key must have *as seen from the branch* when the commit lands; None: absent.
            Holds for written keys and for keys that were read. A key in ``changes`` needs no expectation, but then
            whatever is there is replaced knowingly. On a root branch a deletion leaves nothing behind; on any other it
            is an entry of its own, which hides the parent's, whether there is one or not.
        expect_location: Key → location, where equal content is not enough.
        expect_head: Number that the branch's head must have, or None for any.
        base: New base (a commit of the parent), or None to keep the present one. This is how a sync is written.
        drop: Keys whose own entry (or deletion) the branch gives up, so that it sees its parent's again. A key of
            which it has none is passed over. No key may be both written and dropped.
        lease: Token of a lease that must still be held when the commit lands, or None.
        idempotency_key: A commit of this branch under the same key is returned instead of a second one.
        branch_properties: Properties of the *branch* to be set in the same transaction (None removes one).
        close: Branches (internal ids) to be closed in the same transaction, as if all at once; see
            `Catalog.close_branch` for what is refused.
        The rest are the fields of `Commit`.
    """

    branch: int
    changes: Mapping[str, Entry | None] = field(default_factory=dict)
    expect: Mapping[str, str | None] = field(default_factory=dict)
    expect_location: Mapping[str, str] = field(default_factory=dict)
    expect_head: int | None = None
    base: int | None = None
    drop: Collection[str] = ()
    lease: str | None = None
    idempotency_key: str | None = None
    kind: CommitKind = "write"
    message: str = ""
    author: str = ""
    git_commit: str | None = None
    definitions: str | None = None
    run: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    branch_properties: Mapping[str, Any] = field(default_factory=dict)
    close: Collection[int] = ()


@dataclass(frozen=True)
class Lease:
    """The right to work somewhere for a while.

    Attributes:
        name: What is leased: ``run:production``, ``gc``.
        token: Secret of the holder; a commit may demand it.
        holder: A sentence that names the holder: ``run 3k2… of ann on lapis, process 4711``.
        acquired_at: When (UTC).
        expires_at: When it ends by itself (UTC) unless renewed.
        info: Plain JSON values, such as ``{"run": id, "prefixes": […]}``.
    """

    name: str
    token: str
    holder: str
    acquired_at: datetime
    expires_at: datetime
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tag:
    """A name for a commit; keeps it from gc."""

    name: str
    point: Point
    created_at: datetime
    message: str = ""


@dataclass(frozen=True)
class RunRecord:
    """One execution of a plan.

    Attributes:
        id: Sorts by time.
        target: Internal id of the environment's or sandbox's branch.
        branch: Internal id of the branch it wrote to (the same for a sandbox; a run branch for an environment).
        state: running, succeeded, failed or interrupted.
        started_at: When (UTC).
        finished_at: When (UTC), or None.
        git_commit: The code, or None.
        definitions: Hash of all assets' code.
        properties: Plain JSON values: the plan's summary, results by step, error.
    """

    id: str
    target: int
    branch: int
    state: RunState
    started_at: datetime
    finished_at: datetime | None = None
    git_commit: str | None = None
    definitions: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """An entry that was found by fingerprint, and where.

    Attributes:
        entry: The entry.
        branch_id: Internal id of the branch that holds it.
        branch: Name of that branch.
        branch_kind: Kind of that branch.
        branch_open: Whether that branch is open.
        number: The commit that wrote it there. It may itself be retired while a later one still sees the entry.
    """

    entry: Entry
    branch_id: int
    branch: str
    branch_kind: BranchKind
    branch_open: bool
    number: int


class Catalog(Protocol):
    """The versioned map.

    Every call is one transaction: it happens whole or not at all, and what it returned survives a power cut.
    Calls may come from many processes and threads at once; writes are serial, reads see one committed state.
    A busy database is waited for (30 s) and then told as `LeaseError`. Times are UTC and, on one branch, never
    decrease even if the clock does. Properties, infos and notes are copied as JSON (CatalogError for anything else).
    A branch's id or commit that does not exist is a RefError in every call that takes one.
    """

    def close(self) -> None:
        """Releases connections. Idempotent; a call after it opens what it needs again."""

    # branches
    def open_branch(
        self,
        name: str,
        *,
        kind: BranchKind,
        parent: Point | None = None,
        expires_at: datetime | None = None,
        properties: Mapping[str, Any] | None = None,
        message: str = "",
        author: str = "",
        git_commit: str | None = None,
        definitions: str | None = None,
    ) -> Branch:
        """Opens a branch on a commit of its parent, and writes its commit 0. Costs the same for any number of keys.

        The parent may be closed: its commits stay readable as long as a retained commit stands on them.

        Raises:
            CatalogError: the name can't be a branch's (`names.is_branch_name`).
            BranchExistsError: a branch of that name is open.
            RefError: the parent or its commit does not exist, or the parent's commit was retired by gc.
        """

    def branch(self, name: str) -> Branch:
        """The open branch of that name. Raises RefError, with the nearest name as its hint."""

    def branch_by_id(self, branch_id: int) -> Branch:
        """Any branch, open or closed. Raises RefError."""

    def branches(self, *, kind: BranchKind | None = None, include_closed: bool = False) -> list[Branch]:
        """Branches in the order of their ids."""

    def update_branch(
        self,
        branch_id: int,
        *,
        properties: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
    ) -> Branch:
        """Sets the given properties (None removes one) and, if given, the expiry. Other properties stay.

        A closed branch may be updated too.
        """

    def close_branch(self, branch_id: int) -> Branch:
        """Closes a branch; its entries stay readable by id until gc retires them. Idempotent. Writes no commit.

        Raises CatalogError where an *open* branch other than a run stands on it.
        """

    # reading
    def resolve(self, ref: Ref | str) -> Point:
        """The commit that a ref means: a branch's head, a numbered commit, the newest commit at a time, or a tag.

        An open branch goes before a tag of the same name; a tag takes neither number nor time. Raises RefError
        (unknown name, number beyond the head, time before the branch, or a commit that gc retired).
        """

    def get(self, point: Point, key: str) -> Entry | None:
        """The entry that the commit sees for the key, or None. A few index probes.

        This call and the four below raise RefError where a commit does not exist or gc retired it.
        """

    def entries(self, point: Point, keys: Iterable[str] | None = None) -> dict[str, Entry]:
        """All entries that the commit sees (or those of the keys given), by key in sorted order; one consistent read."""

    def own(self, point: Point) -> dict[str, Entry | None]:
        """What the branch itself holds at the commit, apart from its base: key → entry, None for a deletion.

        In sorted order. For a root branch: everything, and no deletions. Costs the branch's own rows, not its parent's.
        """

    def changes(self, old: Point, new: Point) -> list[Change]:
        """The keys whose entry (location or version) differs between two commits of any branches, in sorted order.

        Costs the rows that may differ where the two points share a line of descent.
        """

    def commits(self, branch_id: int, *, before: int | None = None, limit: int | None = None) -> list[Commit]:
        """Commits of a branch, newest first, with numbers below ``before`` if given.

        The log outlives gc: retired commits are told here and by `get_commit`; only what they saw is gone.
        """

    def get_commit(self, point: Point) -> Commit:
        """One commit. Raises RefError."""

    def commit_changes(self, point: Point) -> list[Change]:
        """What one commit changed, as seen from its branch (so a sync shows what moved under it).

        Nothing for commit 0. Raises RefError where gc retired the commit or the one before it.
        """

    def find(self, fingerprint: str, *, limit: int = 20) -> list[Found]:
        """Entries of that fingerprint on any branch that gc has not retired; newest first. An index probe.

        Those that a later commit replaced are found as well. An empty fingerprint finds nothing.
        """

    def find_many(self, fingerprints: Collection[str]) -> dict[str, list[Found]]:
        """As `find` for many at once, 20 entries each; fingerprints without an entry are absent."""

    # writing
    def commit(self, request: CommitRequest) -> Commit:
        """Applies the request whole, or not at all. A request that contradicts itself (a key that is none, an entry
        under another key than its own, a key both written and dropped) is a CatalogError. Then, in this order:

        1. a commit under the same idempotency key exists on that branch: it is returned, nothing is done;
        2. the branch is open (CatalogError) and the lease, if named, is held (LeaseError);
        3. ``expect_head`` (ConflictError with key None); then ``base``, if given, is a readable commit of the parent
           (RefError; CatalogError on a root branch);
        4. ``expect`` and ``expect_location`` by key in sorted order (ConflictError: key, expected, found), seen
           from the branch as it stands, *after* ``base`` has been applied if one is given, before ``drop``;
        5. every location is known not to be condemned by gc (ConflictError: key, expected: the location, found None);
        6. the branches in ``close`` may be closed (CatalogError).

        A lease is held if its time is not over, even where nobody else took it.
        A request with no change, no drop and no new base makes a commit all the same.
        """

    # tags
    def set_tag(self, name: str, point: Point, message: str = "") -> Tag:
        """Makes a tag, once: raises BranchExistsError if the tag points elsewhere; the same point is idempotent.

        Raises RefError where the commit does not exist or was retired, CatalogError for a name that no ref can hold
        (with ``@`` or spaces, empty, over 200 characters).
        """

    def delete_tag(self, name: str) -> None:
        """Removes a tag. Raises RefError."""

    def tags(self) -> list[Tag]:
        """Tags by name."""

    # leases
    def acquire(
        self, name: str, *, holder: str, ttl: timedelta, info: Mapping[str, Any] | None = None
    ) -> Lease:
        """Takes a lease that nobody holds or whose time is over.

        Raises LeaseError that names the present holder, and until when (``facts``: name, holder, expires_at).
        """

    def renew(self, token: str, *, ttl: timedelta) -> Lease:
        """Prolongs one's own lease. Raises LeaseError if it is over and somebody else took it, or it was released.

        A lease that is over and that nobody took may be renewed.
        """

    def release(self, token: str) -> None:
        """Gives a lease up. Idempotent."""

    def leases(self) -> list[Lease]:
        """Leases that are held now, by name."""

    # runs
    def put_run(self, run: RunRecord) -> None:
        """Inserts or replaces a run's record by id."""

    def get_run(self, run_id: str) -> RunRecord:
        """By id or an unambiguous prefix of one. Raises RefError."""

    def runs(self, *, target: int | None = None, limit: int = 50) -> list[RunRecord]:
        """Newest first, by the time they started."""

    def delete_runs(self, before: datetime, *, keep: int) -> int:
        """Removes the records of runs that ended before a time, but the newest ``keep`` of each target, and returns how many.

        Atomic and idempotent. A run that has not ended stays.
        """

    # notes: small JSON values beside the history (approvals, verdicts, check results, cached diffs)
    def put_note(self, kind: str, key: str, value: Mapping[str, Any]) -> None:
        """Inserts or replaces the note ``(kind, key)``."""

    def get_note(self, kind: str, key: str) -> Mapping[str, Any] | None:
        """The note, or None."""

    def notes(self, kind: str, prefix: str = "") -> dict[str, Mapping[str, Any]]:
        """Notes of a kind whose key starts with the prefix, by key."""

    def delete_notes(self, kind: str, prefix: str = "") -> int:
        """Removes notes; returns how many."""

    # retention: what gc needs, and nothing else does
    def reachable(self, keep: Mapping[int, int], *, ending: Collection[int] = ()) -> set[str]:
        """Locations that a retained commit sees.

        Args:
            keep: Branch id → the oldest retained commit number of that branch, for every branch that is kept.
                Commits at or above it are retained; besides them, whatever a tag names, and the base of every commit
                that is retained.
            ending: Open branches (internal ids) that count as closed: what would be reachable once they are.

        Raises CatalogError where an open branch is named in neither (it was opened after the plan was made: plan
        again) or a number is beyond a branch's head.
        """

    def noted(self, keep: Mapping[int, int], name: str, *, ending: Collection[int] = ()) -> list[Any]:
        """What the provenance of the entries that a retained commit sees keeps under a name in its ``extra``.

        Of those that keep anything there, in no order, and maybe several times. The other arguments, and what is raised,
        are those of `reachable`.
        """

    def retire(self, keep: Mapping[int, int]) -> int:
        """Makes every commit that `reachable` would not see unreadable, in one transaction; returns how many
        locations became condemned: those that no retained commit sees any more. From then on `get`, `entries`, `own`,
        `changes`, `resolve` and `open_branch` refuse those commits, `find` does not return their entries, and
        `commit` refuses the condemned locations.

        A branch not named in ``keep`` must be closed (CatalogError otherwise) and is retired whole, but for what a tag
        names or a retained commit stands on. What was retired once stays so, whatever ``keep`` says later. Idempotent.
        """

    def condemned(self, before: datetime) -> set[str]:
        """Locations that were condemned before the time, and are not forgotten; nothing retained sees them."""

    def forget(self, locations: Collection[str]) -> None:
        """Drops the rows of condemned locations, after their files are gone. Idempotent.

        From then on `commit` does not know them from new ones; so let the time between `retire` and this be longer
        than any writer may wait between finding an entry and committing it.
        """

    def statistics(self) -> Mapping[str, int]:
        """Numbers for `status`: ``branches``, ``open_branches``, ``commits``, ``entries`` (rows of the history) and
        ``bytes`` (of the database; 0 where there is none).
        """
