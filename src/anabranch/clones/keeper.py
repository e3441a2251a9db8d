"""What a sandbox owns outside the catalog: recorded before it is made, found again after any crash, dropped with it.

The record of a clone is a note in the catalog, under the sandbox's internal id, which is never used again. It is written,
durably, before the provider is asked for anything, and removed after the provider has dropped the copy. So whatever exists
is recorded, killed at any point; and what is recorded of a sandbox that is no longer open is a leak, for gc to drop. Knows
catalogs and providers, not where settings or pull requests come from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Literal, cast

from anabranch.catalog.base import Branch, Catalog
from anabranch.clones.base import CloneRecord, Found, Made, Provider, Publisher
from anabranch.clones.naming import clone_name
from anabranch.dataclass import dataclass
from anabranch.errors import AnabranchError, CatalogError, CloneError, LeaseError, RefError
from anabranch.names import new_id, now
from anabranch.running.lease import hold

_NOTE = "clone"
CloneCondition = Literal["ready", "unfinished", "missing", "leaked", "unknown", "unreachable"]


@dataclass(frozen=True)
class CloneInfo:
    """A clone as it stands.

    Attributes:
        clone: Its name in anabranch.toml.
        provider: What made it.
        name: The copy's bare name.
        source: The source's bare name.
        sandbox: The sandbox it belongs to, or belonged to.
        condition: ``ready``; ``unfinished``: a crash or an error came in between, the next open or gc finishes;
            ``missing``: recorded, but somebody dropped it; ``leaked``: its sandbox is gone, gc drops it; ``unknown``: it
            carries this project's mark, but no record tells of it, and nobody but you may drop it; ``unreachable``: its
            database can't be asked.
        created_at: When it was recorded, or made, where that is known (UTC).
        refreshed_at: When it was last made from its source (UTC), or None.
        bytes: Its size, where that costs nothing to know.
        pull_request: Of its sandbox, or None.
        problem: Why it can't be asked, or dropped, or None.
        how: How it was made, in words, where that is known.
        left_out: What of the source it lacks, in words.
    """

    clone: str
    provider: str
    name: str
    source: str
    sandbox: str
    condition: CloneCondition
    created_at: datetime | None = None
    refreshed_at: datetime | None = None
    bytes: int | None = None
    pull_request: str | None = None
    problem: str | None = None
    how: str = ""
    left_out: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "clone": self.clone,
            "provider": self.provider,
            "name": self.name,
            "source": self.source,
            "sandbox": self.sandbox,
            "condition": self.condition,
            "created_at": self.created_at.isoformat() if self.created_at else None,
            "refreshed_at": self.refreshed_at.isoformat() if self.refreshed_at else None,
            "bytes": self.bytes,
            "pull_request": self.pull_request,
            "problem": self.problem,
            "how": self.how,
            "left_out": list(self.left_out),
        }


@dataclass(frozen=True)
class Kind:
    """One ``[clones.NAME]``, as far as it matters here.

    Attributes:
        provider: Its name.
        template: For clones' names.
        digest: Hash of the settings that say where source and copies are; tells when they were pointed elsewhere.
        connect: Makes the provider; raises AnabranchError.
    """

    provider: str
    template: str
    digest: str
    connect: Callable[[], Provider]


class Keeper:
    """Opens, refreshes, drops and finds the clones of a catalog's sandboxes.

    Args:
        catalog: Where records are kept.
        project: The project's name, for the marks.
        kinds: Name in anabranch.toml → what it is.
    """

    def __init__(self, catalog: Catalog, project: str, kinds: Mapping[str, Kind]) -> None:
        self.catalog = catalog
        self.project = project
        self.kinds = kinds
        self._providers: dict[str, Provider] = {}

    def close(self) -> None:
        """Lets go of the providers' connections. Idempotent."""
        while self._providers:
            self._providers.popitem()[1].close()

    def provider(self, clone: str) -> Provider:
        """The provider of a clone, made when it is first wanted.

        Raises:
            CloneError: anabranch.toml names no such clone, or its provider can't be had.
        """
        if clone not in self._providers:
            kind = self.kinds.get(clone)
            if kind is None:
                raise CloneError(
                    f"anabranch.toml has no [clones.{clone}] any more, so its database can't be asked",
                    hint=f"put [clones.{clone}] back until its clones are dropped",
                    clone=clone,
                )
            self._providers[clone] = kind.connect()
        return self._providers[clone]

    def records(self, branch_id: int | None = None) -> list[CloneRecord]:
        """What is recorded, of one sandbox or of all; by sandbox and name. Reads the catalog alone."""
        prefix = "" if branch_id is None else f"{branch_id:012}/"
        return [CloneRecord.from_dict(note) for note in self.catalog.notes(_NOTE, prefix).values()]

    def record(self, branch: Branch, clone: str) -> CloneRecord | None:
        """What is recorded of a sandbox's clone, or None."""
        note = self.catalog.get_note(_NOTE, _key(branch.id, clone))
        return None if note is None else CloneRecord.from_dict(note)

    # making

    def open(
        self, sandbox: Branch, clone: str, *, pull_request: str | None = None, check: bool = True
    ) -> CloneRecord:
        """The sandbox's clone, made if it is not there. Idempotent; finishes what a crash left of an earlier call.

        Args:
            sandbox: Its branch, open.
            clone: Name in anabranch.toml.
            pull_request: For templates that name it.
            check: Whether to ask the database if a clone that is recorded as whole is still there.

        Raises:
            CloneError, CloneBusyError: it can't be made; what is recorded lets the next call, or gc, go on.
            LeaseError: another process is making or dropping it.
        """
        found = self.record(sandbox, clone)
        if found is not None and found.state == "ready" and not check and not self.moved(found):
            return found
        with self._held(sandbox.name, clone, f"clone {clone} of {sandbox.name}"):
            record = self._recorded(sandbox, clone, pull_request)
            provider = self.provider(clone)
            try:
                made = provider.refresh(record) if record.state == "refreshing" else provider.open(record)
            except CloneError:
                self._undo(record, provider)
                raise
            return self._finished(sandbox, record, made)

    def refresh(self, sandbox: Branch, clone: str, *, pull_request: str | None = None) -> CloneRecord:
        """Makes the sandbox's clone anew from its source. Idempotent. Raises as `open`."""
        with self._held(sandbox.name, clone, f"refresh of clone {clone} of {sandbox.name}"):
            record = self._recorded(sandbox, clone, pull_request)
            if record.state != "making":
                record = self._put(record.with_(state="refreshing"))
            return self._finished(sandbox, record, self.provider(clone).refresh(record))

    def drop(self, record: CloneRecord) -> bool:
        """Drops a clone and then its record. Idempotent. Returns whether there was anything to drop.

        Raises:
            CloneError: its database can't be asked, or no longer is where it was made; the record stays.
            LeaseError: another process is making or dropping it.
        """
        with self._held(record.sandbox, record.clone, f"drop of clone {record.clone} of {record.sandbox}"):
            note = self.catalog.get_note(_NOTE, _key(record.branch_id, record.clone))
            if note is None or note["id"] != record.id:
                return False
            record = self._put(CloneRecord.from_dict(note).with_(state="dropping"))
            return self._dropped(record)

    def check_publish(self, record: CloneRecord) -> None:
        """Refuses what `publish` would refuse. Raises as `Publisher.check_publish`."""
        self._publisher(record).check_publish(record)

    def publish(self, record: CloneRecord) -> Sequence[str]:
        """Brings what a clone holds back into its source. Idempotent. Raises as `Publisher.publish`, and LeaseError."""
        with self._held(
            record.sandbox, record.clone, f"publishing of clone {record.clone} of {record.sandbox}"
        ):
            note = self.catalog.get_note(_NOTE, _key(record.branch_id, record.clone))
            current = record if note is None else CloneRecord.from_dict(note)

            def keep(state: Mapping[str, Any]) -> None:
                self._put(current.with_(properties={**current.properties, "published": dict(state)}))

            return self._publisher(record).publish(current, keep)

    def _publisher(self, record: CloneRecord) -> Publisher:
        if record.state != "ready" or self.moved(record):
            raise CloneError(
                f"the clone {record.name} is not whole, or not where anabranch.toml says",
                hint="anabranch run makes it again",
                clone=record.clone,
            )
        return cast("Publisher", self.provider(record.clone))

    def forget(self, record: CloneRecord) -> None:
        """Removes a record, and touches no database. Idempotent."""
        self.catalog.delete_notes(_NOTE, _key(record.branch_id, record.clone))

    def moved(self, record: CloneRecord) -> bool:
        """Whether settings name another source, or another place for copies, than when it was made."""
        kind = self.kinds.get(record.clone)
        return kind is None or record.properties.get("digest") != kind.digest

    def _dropped(self, record: CloneRecord) -> bool:
        was = self.provider(record.clone).drop(record)
        if not was and self.moved(record):
            raise CloneError(
                f"the clone {record.name} is not where [clones.{record.clone}] points now, which was changed since it was made",
                hint=f"set [clones.{record.clone}] back and try again; or drop {record.name} yourself, then run:"
                f" anabranch gc --forget-clone {record.id}",
                clone=record.clone,
                name=record.name,
            )
        self.forget(record)
        return was

    def _undo(self, record: CloneRecord, provider: Provider) -> None:
        """After a refusal nothing is left, and nothing is recorded. Where that can't be made sure of, the record stays."""
        if record.state == "making":
            with suppress(AnabranchError):
                provider.drop(record)
                self.forget(record)

    def _recorded(self, sandbox: Branch, clone: str, pull_request: str | None) -> CloneRecord:
        """The record under which the work is done; written now if there is none."""
        if not self.catalog.branch_by_id(sandbox.id).open:
            raise CatalogError(f"{sandbox.name} is closed, and gets no clones")
        found = self.record(sandbox, clone)
        if found is not None and (found.state == "dropping" or self.moved(found)):
            self._dropped(found)
            found = None
        if found is not None:
            return found
        kind, provider = self.kinds[clone], self.provider(clone)
        source = provider.source_name()
        name = clone_name(
            kind.template,
            provider.name_rule,
            source=source,
            sandbox=sandbox.name,
            clone=clone,
            pull_request=pull_request,
        )
        if name == source:
            raise CloneError(
                f"the clone {clone} would have the very name of its source, {source}",
                hint=f"change name in [clones.{clone}]",
            )
        for other in self.records():
            if (other.clone, other.name) != (clone, name) or other.branch_id == sandbox.id:
                continue
            if self._is_open(other.branch_id):
                raise CloneError(
                    f"the clone {name} belongs to the sandbox {other.sandbox}",
                    hint=f"put {{sandbox}} into name in [clones.{clone}], or close the other:"
                    f" anabranch sandbox close {other.sandbox}",
                    sandbox=other.sandbox,
                )
            # What a closed one has left is in the way, and would be dropped by the next gc anyway.
            if other.sandbox == sandbox.name:
                self._dropped(
                    self._put(other.with_(state="dropping"))
                )  # the lease is held: it has this very name
            else:
                self.drop(other)
        return self._put(
            CloneRecord(
                new_id(),
                self.project,
                clone,
                kind.provider,
                source,
                name,
                sandbox.name,
                sandbox.id,
                "making",
                now(),
                pull_request=pull_request,
                properties={"digest": kind.digest},
            )
        )

    def _finished(self, sandbox: Branch, record: CloneRecord, made: Made) -> CloneRecord:
        changes: dict[str, Any] = {"state": "ready", "refreshed_at": record.refreshed_at or now()}
        if made.new:
            properties = {"digest": self.kinds[record.clone].digest, "how": made.how, **made.properties}
            changes |= {"refreshed_at": now(), "properties": properties}
        done = self._put(record.with_(**changes))
        if not self.catalog.branch_by_id(sandbox.id).open:
            # It was closed meanwhile, and what it owned then was dropped without this.
            self._put(done.with_(state="dropping"))
            self.provider(record.clone).drop(done)
            self.forget(done)
            raise CatalogError(f"{sandbox.name} was closed while its clone {record.clone} was made")
        return done

    def _put(self, record: CloneRecord) -> CloneRecord:
        self.catalog.put_note(_NOTE, _key(record.branch_id, record.clone), record.to_dict())
        return record

    @contextmanager
    def _held(self, sandbox: str, clone: str, what: str) -> Iterator[None]:
        with hold(self.catalog, f"clone:{sandbox}/{clone}", what):
            yield

    # finding

    def leaks(self, ending: frozenset[str] = frozenset()) -> list[CloneRecord]:
        """Records whose sandbox is closed, or counts as closed by its name. Reads the catalog alone."""
        return [
            record
            for record in self.records()
            if record.sandbox in ending or not self._is_open(record.branch_id)
        ]

    def _is_open(self, branch_id: int) -> bool:
        try:
            return self.catalog.branch_by_id(branch_id).open
        except RefError:
            return False

    def drop_all(
        self, records: list[CloneRecord], tell: Callable[[str], None] = lambda _: None
    ) -> tuple[list[CloneRecord], list[str]]:
        """Drops as many as can be. Returns those dropped, and a sentence for each that could not be."""
        dropped, problems = [], []
        for record in records:
            tell(f"dropping {record.name}")
            try:
                self.drop(record)
            except AnabranchError as error:
                hint = f" ({error.hint})" if error.hint and not isinstance(error, LeaseError) else ""
                problems.append(f"{record.name} stays: {error.message}{hint}")
            else:
                dropped.append(record)
        return dropped, problems

    def census(self) -> list[CloneInfo]:
        """All clones: those recorded, asked for in their databases, and those that carry our mark and no record."""
        records = self.records()
        found: dict[str, dict[str, Found]] = {}
        problems: dict[str, str] = {}
        for clone in sorted({*self.kinds, *(record.clone for record in records)}):
            try:
                found[clone] = {each.mark.id: each for each in self.provider(clone).list(self.project)}
            except AnabranchError as error:
                problems[clone] = error.message
        known = {record.id for record in records}
        told = [self._told(record, found.get(record.clone), problems) for record in records]
        for clone, each in found.items():
            told += [self._unknown(clone, one) for id_, one in each.items() if id_ not in known]
        return told

    def _told(
        self, record: CloneRecord, found: Mapping[str, Found] | None, problems: Mapping[str, str]
    ) -> CloneInfo:
        there = None if found is None else found.get(record.id)
        condition: CloneCondition
        if not self._is_open(record.branch_id):
            condition = "leaked"
        elif found is None:
            condition = "unreachable"
        elif record.state != "ready":
            condition = "unfinished"
        else:
            whole = there is not None and there.whole and there.name == record.name
            condition = "ready" if whole else "missing"
        return CloneInfo(
            record.clone,
            record.provider,
            record.name,
            record.source,
            record.sandbox,
            condition,
            record.created_at,
            record.refreshed_at,
            there.bytes if there else None,
            record.pull_request,
            problems.get(record.clone),
            str(record.properties.get("how", "")),
            tuple(record.properties.get("left_out", ())),
        )

    def _unknown(self, clone: str, found: Found) -> CloneInfo:
        return CloneInfo(
            clone,
            self.kinds[clone].provider,
            found.name,
            self.provider(clone).source_name(),
            found.mark.sandbox,
            "unknown",
            found.created_at,
            bytes=found.bytes,
        )


def digest(*settings: str) -> str:
    """Hash of the settings that say where source and copies are."""
    return hashlib.sha256("\0".join(settings).encode()).hexdigest()[:16]


def _key(branch_id: int, clone: str) -> str:
    # Notes are removed by the beginning of their key: the sign at the end keeps `sales` from taking `sales_eu` along.
    return f"{branch_id:012}/{clone}/"
