"""How the catalog's words become columns and back: times, JSON, provenance.

Every back end stores the same text, so that a catalog can be moved from one database to another row by row. The
reference passes its values through here too: what it returns is then what a database would.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from anabranch.catalog.base import Branch, Commit, Entry, Provenance
from anabranch.errors import CatalogError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def utc(moment: datetime) -> datetime:
    """The same instant in UTC; a time without a zone is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def to_micros(moment: datetime) -> int:
    """Whole microseconds since 1970 (UTC)."""
    return (utc(moment) - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The inverse of `to_micros`."""
    return _EPOCH + timedelta(microseconds=micros)


def from_micros_or_none(micros: int | None) -> datetime | None:
    """As `from_micros`; None stays None."""
    return None if micros is None else from_micros(micros)


def _mapping(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is no JSON value")


_ENCODER = json.JSONEncoder(default=_mapping, separators=(",", ":"))
_DECODER = json.JSONDecoder()


def to_json(value: Mapping[str, Any]) -> str:
    """Compact JSON in ASCII: text that every database holds unchanged.

    Raises:
        CatalogError: something in it is no plain JSON value.
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError) as error:
        raise CatalogError(
            f"a property can't be stored in the catalog: {error}",
            hint="properties hold plain JSON values: text, numbers, true, false, null, lists and objects",
        ) from error


def from_json(text: str) -> dict[str, Any]:
    """The inverse of `to_json`."""
    value: dict[str, Any] = _DECODER.decode(text)
    return value


def plain(value: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy as a database would return it."""
    return from_json(to_json(value or {}))


_DEFAULTS: dict[str, Any] = {
    item.name: item.default if item.default_factory is MISSING else item.default_factory()
    for item in fields(Provenance)
}


def provenance_to_json(provenance: Provenance) -> str:
    """The fields that are not at their default."""
    return to_json({name: value for name, value in vars(provenance).items() if value != _DEFAULTS[name]})


def provenance_from_json(text: str) -> Provenance:
    """The inverse of `provenance_to_json`."""
    return Provenance(**_DECODER.decode(text))


# The columns that `branch_of`, `commit_of` and `entry_of` take, in their order.
BRANCH = "b.id, b.name, b.kind, b.open, b.parent, b.base, b.head, b.created_at, b.closed_at, b.expires_at, b.properties"
COMMIT = (
    "c.branch_id, b.name, c.number, c.base, c.time, c.kind, c.message, c.author, c.git_commit, c.definitions,"
    " c.run, c.keys, c.properties, c.idempotency_key"
)
ENTRY = "e.key, e.kind, e.location, e.version, e.provenance"


def branch_of(row: tuple[Any, ...]) -> Branch:
    """A branch from the columns of `BRANCH`."""
    id_, name, kind, is_open, parent, base, head, created, closed, expires, properties = row
    return Branch(
        id=id_,
        name=name,
        kind=kind,
        open=bool(is_open),
        parent=parent,
        base=base,
        head=head,
        created_at=from_micros(created),
        closed_at=from_micros_or_none(closed),
        expires_at=from_micros_or_none(expires),
        properties=from_json(properties),
    )


def commit_of(row: tuple[Any, ...]) -> Commit:
    """A commit from the columns of `COMMIT`."""
    (
        id_,
        name,
        number,
        base,
        time,
        kind,
        message,
        author,
        git_commit,
        definitions,
        run,
        keys,
        properties,
        idem,
    ) = row
    return Commit(
        branch_id=id_,
        branch=name,
        number=number,
        base=base,
        time=from_micros(time),
        kind=kind,
        message=message,
        author=author,
        git_commit=git_commit,
        definitions=definitions,
        run=run,
        keys=keys,
        properties=from_json(properties),
        idempotency_key=idem,
    )


def entry_of(row: tuple[Any, ...]) -> Entry:
    """An entry from the columns of `ENTRY`; of a deletion there is none."""
    key, kind, location, version, provenance = row
    return Entry(key, kind, location, version, provenance_from_json(provenance))
