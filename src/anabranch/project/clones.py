"""The clones of a project's sandboxes: which anabranch.toml names, where each step finds its own, what a sandbox leaves.

A sandbox on a masked environment gets none: a clone would show it what the masks hide.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from anabranch.catalog.base import Branch
from anabranch.clones.base import CloneRecord, Provider, Surroundings
from anabranch.clones.keeper import CloneInfo, Keeper, Kind, digest
from anabranch.clones.registry import open_provider
from anabranch.errors import CloneError, DefinitionsError, UndeterminedError
from anabranch.names import did_you_mean
from anabranch.settings import BaseClone
from anabranch.settings.fields import hide_password, references

if TYPE_CHECKING:
    from anabranch.project.context import Context

Tell = Callable[[str], None]


def _silent(_: str) -> None:
    pass


class Clones:
    """The clones of one project; free where anabranch.toml names none.

    Args:
        context: The project.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @cached_property
    def keeper(self) -> Keeper:
        """Opens, refreshes, drops and finds them."""
        named = self._context.settings.clones
        kinds = {name: self._kind(name, settings) for name, settings in named.items()}
        return Keeper(self._context.catalog, self._context.settings.project.name, kinds)

    def close(self) -> None:
        """Lets go of connections. Idempotent."""
        if "keeper" in self.__dict__:
            self.keeper.close()

    def _kind(self, name: str, settings: BaseClone) -> Kind:
        context = self._context

        def connect() -> Provider:
            around = Surroundings(
                name,
                str(context.data_root),
                os.environ,
                lambda field: context.settings.place("clones", name, field),
            )
            return open_provider(settings, around)

        where = [str(getattr(settings, field)) for field in settings.places]
        found = digest(settings.provider, hide_password(settings.source), *where)
        return Kind(settings.provider, settings.name, found, connect)

    # what a sandbox has

    def applies(self, sandbox: Branch) -> bool:
        """Whether a sandbox gets clones at all."""
        context = self._context
        if not context.settings.clones:
            return False
        environment = context.settings.environments.get(str(sandbox.properties.get("environment")))
        return environment is None or environment.derived_from is None

    def ensure(
        self, sandbox: Branch, *, running: bool, check: bool = False, tell: Tell = _silent
    ) -> list[CloneRecord]:
        """The sandbox's clones, made where they are not there yet.

        Args:
            sandbox: Its branch.
            running: Whether it is about to run: then those with ``when = "run"`` are made, too.
            check: Whether those that are recorded as whole are looked for in their databases.
            tell: Told what is under way.

        Raises:
            CloneError, CloneBusyError, LeaseError: one can't be made; those before it stand.
        """
        if not self.applies(sandbox):
            return []
        found = []
        for name, settings in self._context.settings.clones.items():
            there = self.keeper.record(sandbox, name)
            if settings.when == "run" and not running and there is None:
                continue
            if check or there is None or there.state != "ready":
                tell(f"cloning {name} ({settings.provider})")
            found.append(
                self.keeper.open(sandbox, name, pull_request=self._pull_request(sandbox), check=check)
            )
        return found

    def refresh(self, sandbox: Branch, names: Iterable[str], tell: Tell = _silent) -> list[CloneRecord]:
        """Makes clones of the sandbox anew. Raises as `ensure`."""
        found = []
        for name in names:
            tell(f"cloning {name} anew")
            found.append(self.keeper.refresh(sandbox, name, pull_request=self._pull_request(sandbox)))
        return found

    def to_refresh(self, sandbox: Branch, asked: bool | None) -> tuple[str, ...]:
        """The clones that a sync makes anew: those whose settings say so, or all or none, as was asked."""
        if not self.applies(sandbox) or asked is False:
            return ()
        return tuple(
            name
            for name, settings in self._context.settings.clones.items()
            if (asked or settings.refresh == "sync") and self.keeper.record(sandbox, name) is not None
        )

    def of(self, sandbox: Branch) -> list[CloneRecord]:
        """What is recorded of a sandbox's clones, also where anabranch.toml no longer names them."""
        return self.keeper.records(sandbox.id)

    def describe(self, records: Iterable[CloneRecord]) -> tuple[CloneInfo, ...]:
        """Records as they are shown, without asking their databases."""
        return tuple(
            CloneInfo(
                record.clone,
                record.provider,
                record.name,
                record.source,
                record.sandbox,
                "ready" if record.state == "ready" else "unfinished",
                record.created_at,
                record.refreshed_at,
                None,
                record.pull_request,
                None,
                str(record.properties.get("how", "")),
                tuple(record.properties.get("left_out", ())),
            )
            for record in records
        )

    def _pull_request(self, sandbox: Branch) -> str | None:
        """The number of the sandbox's pull request: of the code at hand, where that is the sandbox's."""
        with suppress(UndeterminedError):
            here = self._context.where()
            if here.pull_request is not None and here.sandbox == sandbox.name:
                return str(here.pull_request.number)
        return None

    # back into the sources

    def publishing(self, sandbox: Branch) -> list[CloneRecord]:
        """The sandbox's clones that a promotion brings back into their sources. Asks no database."""
        named = self._context.settings.clones
        wanted = [name for name, settings in named.items() if settings.publishes]
        found = [self.keeper.record(sandbox, name) for name in wanted] if wanted else []
        return [record for record in found if record is not None]

    def check_publish(self, sandbox: Branch) -> None:
        """Refuses what `publish` would refuse, before anything is published. Raises ConflictError, CloneError."""
        for record in self.publishing(sandbox):
            self.keeper.check_publish(record)

    def publish(self, sandbox: Branch, tell: Tell = _silent) -> tuple[str, ...]:
        """Brings what the sandbox's clones hold back, one after the other; what was done, in words. Raises as above."""
        done: list[str] = []
        for record in self.publishing(sandbox):
            tell(f"publishing {record.clone} ({record.provider})")
            done += self.keeper.publish(record)
        return tuple(done)

    # what a step has

    def addresses(self, branch: Branch | None, resources: str) -> Mapping[str, Mapping[str, str]]:
        """Where the steps of a branch find what `ab.CloneOf` names: a sandbox its clones, an environment the sources.

        Args:
            branch: Of an environment or a sandbox; None: a sandbox that is not open.
            resources: Name of the steps' resource set.

        Raises:
            DefinitionsError: a resource names a clone that anabranch.toml does not have.
        """
        context = self._context
        known = context.settings.clones
        held = context.workspace.pipeline.definitions.resource_set(resources)
        wanted = {clone.clone for resource in held.values() for clone in resource.clones()}
        for name in sorted(wanted - set(known)):
            raise DefinitionsError(
                f"a resource of {resources!r} names the clone {name!r}, which anabranch.toml does not have",
                hint=did_you_mean(name, known, f"add [clones.{name}] with provider and source"),
            )
        found: dict[str, Mapping[str, str]] = {}
        for name in sorted(wanted):
            provider = self.keeper.provider(name)
            if branch is not None and branch.kind != "sandbox":
                found[name] = {"address": provider.address(None), "name": provider.source_name()}
                continue
            record = None if branch is None else self.keeper.record(branch, name)
            # Never the source: where the sandbox has no clone, the step that wants it fails.
            if record is not None and record.state == "ready":
                found[name] = {"address": provider.address(record.name), "name": record.name}
        return found

    def secrets(self) -> tuple[str, ...]:
        """Values that addresses may hold and no log may: of the variables that ``address`` refers to."""
        texts = (getattr(settings, "address", None) for settings in self._context.settings.clones.values())
        return tuple(os.environ.get(name, "") for text in texts if text for name in references(text))

    # what is left

    def census(self) -> tuple[CloneInfo, ...]:
        """All clones of the project, also those whose sandbox is gone; asks their databases."""
        return tuple(self.keeper.census()) if self._used() else ()

    def leaks(self, ending: Iterable[str] = ()) -> list[CloneRecord]:
        """Records of sandboxes that are closed, or are about to be. Asks no database."""
        return self.keeper.leaks(frozenset(ending)) if self._used() else []

    def drop(self, records: list[CloneRecord], tell: Tell = _silent) -> tuple[list[CloneRecord], list[str]]:
        """Drops what can be; the rest is told in sentences, and stays recorded for gc."""
        return self.keeper.drop_all(records, tell) if records else ([], [])

    def forget(self, record_id: str) -> CloneRecord:
        """Removes the record of a clone that is nobody's any more, and touches no database.

        Raises:
            CloneError: there is no such clone, or an open sandbox has it.
        """
        found = next((record for record in self.keeper.records() if record.id == record_id), None)
        if found is None:
            raise CloneError(
                f"no clone has the id {record_id}", hint="anabranch gc --dry-run tells those that would go"
            )
        if found.id not in {record.id for record in self.leaks()} and not self.keeper.moved(found):
            raise CloneError(
                f"the clone {found.name} belongs to the sandbox {found.sandbox}, which is open",
                hint=f"anabranch sandbox close {found.sandbox} drops it",
            )
        self.keeper.forget(found)
        return found

    def _used(self) -> bool:
        # One query of the catalog where anabranch.toml names no clone (any more).
        return bool(self._context.settings.clones) or bool(self.keeper.records())
