"""What the catalog's tests share: a clock that is moved by hand, entries, back ends, and how to compare two of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from anabranch.catalog.base import Branch, Catalog, Commit, CommitRequest, Entry, Provenance
from anabranch.catalog.dialect import SqliteDialect
from anabranch.catalog.memory import MemoryCatalog
from anabranch.catalog.sql import SqlCatalog
from anabranch.errors import AnabranchError


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 20, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def move(self, **by: float) -> datetime:
        self.time += timedelta(**by)
        return self.time


# A further back end joins the whole suite by a line here: name → how to make an empty catalog in a folder.
BACK_ENDS: dict[str, Callable[[Path, Clock], Catalog]] = {
    "memory": lambda folder, clock: MemoryCatalog(clock=clock),
    "sqlite": lambda folder, clock: SqlCatalog(SqliteDialect(folder / "catalog.db"), clock=clock),
}


def entry(key: str, version: object, *, location: str | None = None, fingerprint: str | None = None) -> Entry:
    """An entry whose location and fingerprint follow from key and version unless they are given."""
    return Entry(
        key=key,
        kind="table",
        location=location or f"lake/{key}/{version}.json",
        version=f"v{version}",
        provenance=Provenance(
            fingerprint=f"f-{key}-{version}" if fingerprint is None else fingerprint,
            inputs={"up": "v0"},
            rows=3,
            extra={"sample": [1, 2.5, None, {"deep": "ü\u0000"}], "made": f"{key}{version}"},
        ),
    )


def entries(**versions: object) -> dict[str, Entry | None]:
    """Key → entry of that version; a version None deletes."""
    return {key: None if version is None else entry(key, version) for key, version in versions.items()}


def put(catalog: Catalog, branch: Branch | int, /, **versions: object) -> Commit:
    """Commits the versions without any expectation."""
    return catalog.commit(
        CommitRequest(branch if isinstance(branch, int) else branch.id, changes=entries(**versions))
    )


def versions(found: Mapping[str, Entry | None]) -> dict[str, str | None]:
    """Key → the version's text without its ``v``."""
    return {key: None if item is None else item.version.removeprefix("v") for key, item in found.items()}


def seen(catalog: Catalog, ref: str) -> dict[str, str | None]:
    """What a ref sees, as `versions`."""
    return versions(catalog.entries(catalog.resolve(ref)))


def production(catalog: Catalog, **at_first: object) -> Branch:
    """An environment called production, with one commit if versions are given."""
    branch = catalog.open_branch("production", kind="environment")
    if at_first:
        put(catalog, branch, **at_first)
    return catalog.branch("production")


def sandbox(catalog: Catalog, name: str = "fix", on: str = "production") -> Branch:
    """A sandbox on a ref."""
    return catalog.open_branch(name, kind="sandbox", parent=catalog.resolve(on))


def keep_all(catalog: Catalog, **oldest: int) -> dict[int, int]:
    """Keeps every open branch whole, or from the number given for its name."""
    return {branch.id: oldest.get(branch.name, 0) for branch in catalog.branches()}


def outcome(call: Callable[[], object]) -> object:
    """What a call returned; or, for an error, all that a user sees of it."""
    try:
        return call()
    except AnabranchError as error:
        return type(error).__name__, error.message, error.hint, error.facts


def everything(catalog: Catalog, fingerprints: Collection[str], when: datetime) -> dict[str, object]:
    """All that can be seen of a catalog, but for what random tokens make different."""
    branches = catalog.branches(include_closed=True)
    told: dict[str, object] = {
        "branches": branches,
        "open": catalog.branches(),
        "tags": catalog.tags(),
        "found": {text: catalog.find(text) for text in fingerprints},
        "found together": catalog.find_many(fingerprints),
        "condemned": catalog.condemned(when),
        "counts": {name: count for name, count in catalog.statistics().items() if name != "bytes"},
        "leases": [(lease.name, lease.holder, lease.expires_at, lease.info) for lease in catalog.leases()],
    }
    for branch in branches:
        commits = catalog.commits(branch.id)
        told[f"log of {branch.id}"] = commits
        for commit in commits:
            point = commit.point
            told[f"{point} sees"] = outcome(lambda point=point: list(catalog.entries(point).items()))
            told[f"{point} holds"] = outcome(lambda point=point: list(catalog.own(point).items()))
            told[f"{point} changed"] = outcome(lambda point=point: catalog.commit_changes(point))
            told[f"{commit.ref} of {branch.id}"] = outcome(lambda ref=commit.ref: catalog.resolve(ref))
    return told
