"""What every back end refuses, and in which words.

Requests are judged here before a back end looks at its data, and the sentences of the errors stand here, so that a
user reads the same whatever keeps the catalog. Knows no database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from anabranch.catalog.base import Branch, CommitRequest, Lease, Tag
from anabranch.errors import BranchExistsError, CatalogError, ConflictError, LeaseError, RefError
from anabranch.names import did_you_mean, is_branch_name, is_key

_MAX_TAG = 200


def check_branch_name(name: str) -> None:
    """Raises CatalogError unless a branch may be called so."""
    if not is_branch_name(name):
        raise CatalogError(
            f"{name!r} can't name a branch of the catalog",
            hint="lower-case letters, digits, '_', '.' and '-'; at most 64 characters",
        )


def check_tag_name(name: str) -> None:
    """Raises CatalogError unless a tag may be called so: a ref must be able to name it."""
    if not name or len(name) > _MAX_TAG or "@" in name or not name.isprintable() or " " in name:
        raise CatalogError(
            f"{name!r} can't name a tag", hint=f"up to {_MAX_TAG} printable characters without '@' and spaces"
        )


def check_request(request: CommitRequest) -> None:
    """Raises CatalogError where a request contradicts itself, whatever the catalog holds."""
    for key, entry in request.changes.items():
        if not is_key(key):
            raise CatalogError(f"{key!r} can't be a key", hint="write name or namespace.name", key=key)
        if entry is not None and entry.key != key:
            raise CatalogError(f"the entry written under {key} calls itself {entry.key}", key=key)
        if entry is not None and not entry.location:
            raise CatalogError(f"the entry of {key} has no location", key=key)
    both = sorted(set(request.drop) & set(request.changes))
    if both:
        raise CatalogError(f"{both[0]} is both written and dropped by one commit", key=both[0])


def check_expectations(request: CommitRequest, branch: Branch, seen: Mapping[str, tuple[str, str]]) -> None:
    """Raises ConflictError for the first key, in sorted order, that is not as the request expects.

    Args:
        request: Holds ``expect`` and ``expect_location``.
        branch: The branch, for the message.
        seen: Key → (version, location) as the branch sees it now; an absent key is missing.
    """
    for key in sorted({*request.expect, *request.expect_location}):
        version, location = seen.get(key, (None, None))
        if key in request.expect and request.expect[key] != version:
            raise _conflict(branch, key, request.expect[key], version, "version")
        if key in request.expect_location and request.expect_location[key] != location:
            raise _conflict(branch, key, request.expect_location[key], location, "location")


def _conflict(branch: Branch, key: str, expected: str | None, found: str | None, what: str) -> ConflictError:
    if expected is None:
        text = f"{key} exists on {branch.name} at {what} {found}, but was expected to be absent"
    elif found is None:
        text = f"{key} is absent from {branch.name}, but was expected at {what} {expected}"
    else:
        text = f"{key} on {branch.name} is at {what} {found}, but was expected at {expected}"
    return ConflictError(
        text,
        hint="it was changed in the meantime: read it again, then repeat",
        key=key,
        expected=expected,
        found=found,
    )


def head_moved(branch: Branch, expected: int) -> ConflictError:
    """The branch's head is not where the request expects it."""
    return ConflictError(
        f"the head of {branch.name} is {branch.head}, but was expected to be {expected}",
        hint="somebody committed in the meantime: read it again, then repeat",
        key=None,
        expected=expected,
        found=branch.head,
    )


def condemned_location(branch: Branch, key: str, location: str) -> ConflictError:
    """A location that gc is about to delete, or has deleted."""
    return ConflictError(
        f"{key} can't be written to {branch.name}: gc has condemned {location}",
        hint="make it again instead of reusing it",
        key=key,
        expected=location,
        found=None,
    )


def updated(old: Mapping[str, Any], new: Mapping[str, Any] | None) -> dict[str, Any]:
    """Properties with others set over them; None removes one."""
    return {name: value for name, value in {**old, **(new or {})}.items() if value is not None}


def check_open(branch: Branch) -> None:
    """Raises CatalogError unless the branch takes commits."""
    if not branch.open:
        raise CatalogError(
            f"branch {branch.name} is closed and takes no commit", hint="open it again", branch=branch.id
        )


def check_closable(branch: Branch, standing: Iterable[Branch], also: Iterable[int] = ()) -> None:
    """Raises CatalogError where an open branch other than a run stands on the branch.

    Args:
        branch: What is to be closed.
        standing: Branches whose parent it is.
        also: Ids of branches that are closed together with it.
    """
    together = set(also)
    names = [item.name for item in standing if item.open and item.kind != "run" and item.id not in together]
    if branch.open and names:
        raise CatalogError(
            f"branch {branch.name} can't be closed: {', '.join(names)} stands on it",
            hint=f"close {names[0]} first",
            branch=branch.id,
            standing=names,
        )


def check_keep(keep: Mapping[int, int], branches: Iterable[Branch], ending: Collection[int] = ()) -> None:
    """Raises unless every open branch is kept (or about to be closed), and every kept number exists."""
    known = {branch.id: branch for branch in branches}
    for branch_id, oldest in keep.items():
        if branch_id not in known:
            raise no_branch_id(branch_id)
        if oldest > known[branch_id].head:
            raise CatalogError(
                f"branch {known[branch_id].name} can't be kept from commit {oldest}:"
                f" its newest is {known[branch_id].head}",
                branch=branch_id,
            )
    for branch in known.values():
        if branch.open and branch.id not in keep and branch.id not in ending:
            raise CatalogError(
                f"branch {branch.name} is open and can't be retired whole",
                hint="it was opened in the meantime: plan again",
                branch=branch.id,
            )


def no_branch(name: str, known: Iterable[str]) -> RefError:
    """No open branch of that name."""
    names = sorted(known)
    return RefError(
        f"there is no open branch {name!r}",
        hint=did_you_mean(name, names, f"there are {', '.join(names[:8])}" if names else None),
        name=name,
    )


def no_ref(name: str, known: Iterable[str]) -> RefError:
    """Neither an open branch nor a tag of that name."""
    names = sorted(known)
    return RefError(
        f"there is neither a branch nor a tag {name!r}",
        hint=did_you_mean(name, names, f"there are {', '.join(names[:8])}" if names else None),
        name=name,
    )


def no_branch_id(branch_id: int) -> RefError:
    """No branch of that id, open or closed."""
    return RefError(f"there is no branch with the id {branch_id}", branch=branch_id)


def no_commit(branch: Branch, number: int) -> RefError:
    """No such commit on the branch."""
    return RefError(
        f"{branch.name}@{number} does not exist",
        hint=f"the newest commit of {branch.name} is {branch.head}",
        branch=branch.id,
        number=number,
    )


def before_branch(branch: Branch, time: datetime) -> RefError:
    """A time at which the branch did not exist."""
    return RefError(
        f"{branch.name} did not exist at {time.isoformat()}",
        hint=f"it was opened at {branch.created_at.isoformat()}",
        branch=branch.id,
    )


def retired(branch: Branch, number: int) -> RefError:
    """A commit that gc made unreadable."""
    return RefError(
        f"{branch.name}@{number} can't be read any more: gc retired it",
        hint="a longer retention or a tag keeps a commit readable",
        branch=branch.id,
        number=number,
    )


def branch_exists(name: str) -> BranchExistsError:
    """An open branch has the name."""
    return BranchExistsError(
        f"a branch {name!r} is open already", hint="close it first, or choose another name", name=name
    )


def root_has_no_base(branch: Branch) -> CatalogError:
    """A new base for a branch that stands on nothing."""
    return CatalogError(
        f"branch {branch.name} stands on no other branch and can't get a base", branch=branch.id
    )


def tag_exists(tag: Tag) -> BranchExistsError:
    """The tag names another commit."""
    return BranchExistsError(
        f"tag {tag.name!r} names another commit already",
        hint="delete the tag first, or choose another name",
        name=tag.name,
        branch=tag.point.branch_id,
        number=tag.point.number,
    )


def no_tag(name: str, known: Iterable[str]) -> RefError:
    """No tag of that name."""
    return RefError(f"there is no tag {name!r}", hint=did_you_mean(name, known), name=name)


def lease_taken(lease: Lease) -> LeaseError:
    """Somebody holds the lease."""
    return LeaseError(
        f"{lease.name} is held by {lease.holder}",
        hint=f"wait for it; it ends by itself at {lease.expires_at.isoformat()} unless renewed",
        name=lease.name,
        holder=lease.holder,
        expires_at=lease.expires_at.isoformat(),
    )


def lease_lost() -> LeaseError:
    """One's own lease is not held any more."""
    return LeaseError(
        "the lease was lost: it was released, or it ran out",
        hint="somebody else may be at work there; start again",
    )


def no_run(run_id: str, matching: list[str]) -> RefError:
    """No run, or several, with that beginning of an id."""
    if matching:
        return RefError(
            f"several runs begin with {run_id!r}: {', '.join(matching[:5])}",
            hint="write more of the id",
            run=run_id,
        )
    return RefError(f"there is no run {run_id!r}", run=run_id)
