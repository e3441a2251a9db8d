"""Run as a program by the tests of processes: works on a catalog until it is done, or killed."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

from catalog_world import entries, entry, keep_all, versions

from anabranch.catalog import open_catalog
from anabranch.catalog.base import Catalog, CommitRequest
from anabranch.errors import CatalogError, ConflictError, LeaseError, RefError

STAMPED = [f"k{number}" for number in range(40)]


def count(catalog: Catalog, name: str, rounds: int) -> None:
    """Raises a counter that others raise too, one commit each; prints how many conflicts it met."""
    branch = catalog.branch("production")
    conflicts = 0
    for turn in range(rounds):
        while True:
            seen = catalog.get(catalog.resolve("production"), "counter")
            found = int(versions({"counter": seen})["counter"])
            request = CommitRequest(
                branch.id,
                changes=entries(**{"counter": found + 1, name: turn}),
                expect={"counter": seen.version},
                author=name,
                properties={"saw": found, "turn": turn},
            )
            try:
                catalog.commit(request)
                break
            except ConflictError:
                conflicts += 1
    print(conflicts)


def stamped(branch: int, version: int) -> CommitRequest:
    """A commit that gives all keys one version; the same request for the same version."""
    return CommitRequest(
        branch, changes=entries(**dict.fromkeys(STAMPED, version)), idempotency_key=f"stamp {version}"
    )


def stamp(catalog: Catalog, start: str, _: int) -> None:
    """Commits one stamp after another, and tells each when it has landed, until it is killed."""
    branch = catalog.branch("production").id
    version = int(start)
    while True:
        print(version, catalog.commit(stamped(branch, version)).number, flush=True)
        version += 1


def gather(catalog: Catalog, name: str, rounds: int) -> None:
    """Opens, fills, promotes and closes sandboxes while others do, and retires all but the head now and then."""
    for turn in range(rounds):
        while True:
            base = catalog.resolve("production")
            try:
                branch = catalog.open_branch(f"{name}-{turn}", kind="sandbox", parent=base)
                break
            except RefError:  # retired since it was resolved
                continue
        location = f"lake/{name}/{turn}"
        catalog.commit(CommitRequest(branch.id, changes={name: entry(name, turn, location=location)}))
        own = catalog.own(catalog.resolve(branch.name))
        catalog.commit(CommitRequest(base.branch_id, changes=own, close=[branch.id]))
        try:
            lease = catalog.acquire("gc", holder=name, ttl=timedelta(minutes=1))
        except LeaseError:
            continue
        keep = keep_all(catalog) | {base.branch_id: catalog.branch("production").head}
        try:
            catalog.retire(keep)
        except CatalogError as error:  # a sandbox was opened since
            if "is open" not in error.message:
                raise
        catalog.release(lease.token)


def fork(catalog: Catalog, name: str, rounds: int) -> None:
    """Commits in a child and in its parent with one catalog object."""
    branch = catalog.branch("production").id
    (of_the_parent,) = catalog._database._idle
    child = os.fork()
    who = "child" if child == 0 else "parent"
    for turn in range(rounds):
        catalog.commit(CommitRequest(branch, changes=entries(**{f"{name}_{who}": turn})))
    if child == 0:
        # SQLite forbids a connection to cross a fork; one that does mostly works, until it does not.
        os._exit(1 if of_the_parent in catalog._database._idle else 0)
    assert os.waitpid(child, 0)[1] == 0
    print(len(catalog.commits(branch)))


if __name__ == "__main__":
    path, what, name, rounds = sys.argv[1:]
    opened = open_catalog(f"sqlite:///{Path(path)}")
    {"count": count, "stamp": stamp, "gather": gather, "fork": fork}[what](opened, name, int(rounds))
    opened.close()
