"""What an environment publishes goes on to where its project kept its tables before: databases and files of its own.

Only for definitions that name such places, such as a Dagster project's I/O managers of its production. Delivered is what
was published, never what a run has half done; which version was delivered is noted table by table, so that a delivery that
failed is made up for by the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from anabranch.catalog.base import Branch, Entry
from anabranch.errors import StepError
from anabranch.pipeline.translators import Parcel
from anabranch.running.lease import hold

if TYPE_CHECKING:
    from anabranch.project.context import Context

_NOTE = "delivered"


def deliver(context: Context, environment: Branch) -> tuple[str, ...]:
    """Delivers the tables that an environment holds now and that were not delivered yet; their names.

    Raises:
        StepError: a table could not be delivered; what was delivered before it stays noted.
        LeaseError: another delivery is under way.
    """
    if environment.name not in context.settings.dagster.deliver:
        return ()
    resources = context.resources_of(environment)
    definitions = context.workspace.pipeline.definitions
    outlets = definitions.outlets(resources)
    if not outlets:
        return ()
    with hold(context.catalog, f"deliver:{environment.name}", f"delivery of {environment.name}"):
        environment = context.catalog.branch_by_id(environment.id)
        entries = context.catalog.entries(environment.point)
        noted: dict[str, Any] = dict(context.catalog.get_note(_NOTE, environment.name) or {})
        parcels = [
            parcel
            for name in outlets
            if name in entries and (parcel := _parcel(context, entries[name], noted.get(name))) is not None
        ]
        if not parcels:
            return ()
        storage = context.storage()
        place = (storage.warehouse, context.settings.warehouse_properties())
        done, failure = definitions.deliver(parcels, resources, place, context.folder / "events")
        for parcel in parcels:
            if parcel.name in done:
                noted[parcel.name] = {"version": parcel.version, "partitions": dict(parcel.states)}
        context.catalog.put_note(_NOTE, environment.name, noted)
    if failure is not None:
        raise StepError(
            f"{environment.name} is published, but not all of it was delivered: {failure['message']}",
            place=failure.get("place"),
            hint="when that is mended: anabranch dagster deliver",
            traceback=failure.get("traceback", ""),
            delivered=list(done),
        )
    return tuple(done)


def _parcel(context: Context, entry: Entry, noted: Mapping[str, Any] | None) -> Parcel | None:
    """What is to be delivered of a table; None where it is there already."""
    if noted is not None and noted["version"] == entry.version:
        return None
    states: dict[str, str] = {}
    changed: tuple[str, ...] = ()
    if entry.provenance.partitions:
        handle: Any = context.handle(entry)
        known = handle.partition_map
        states = {} if known is None else {state.key: state.version for state in known.states()}
        before = {} if noted is None else noted.get("partitions", {})
        changed = tuple(key for key, version in sorted(states.items()) if before.get(key) != version)
    facts = entry.provenance.extra.get("facts", {})
    return Parcel(entry.key, entry.kind, entry.location, entry.version, facts, states, changed)
