"""Names for a shell's TAB: quick, quiet, and never failing. Reads the catalog; never imports the user's code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.names import split_key

if TYPE_CHECKING:
    from anabranch.project.context import Context


def candidates(kinds: Sequence[str], incomplete: str, folder: Path | None) -> list[str]:
    """Known words that begin as the word at hand does.

    Args:
        kinds: Of ``refs``, ``sandboxes``, ``tags``, ``assets``.
        incomplete: What was typed so far.
        folder: The project's folder, or None for the working folder.
    """
    try:
        from anabranch.project.context import Context

        context = Context(folder)
        if not _exists(context):
            return []
        words = [word for kind in kinds for word in _FINDERS[kind](context)]
        context.catalog.close()
    except Exception:  # noqa: BLE001 - whoever presses TAB wants no traceback
        return []
    # In a selection the word may be part of a list, or carry signs: +delays, tag:x.
    lead = incomplete[: len(incomplete) - len(incomplete.rpartition(",")[2].lstrip("+"))]
    return sorted({lead + word for word in words if (lead + word).startswith(incomplete)})


def _exists(context: Context) -> bool:
    """Whether there is a catalog already: TAB makes none."""
    url = context.settings.catalog_url(context.data_root)
    return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()


def _refs(context: Context) -> Iterator[str]:
    for branch in context.catalog.branches():
        if branch.kind != "run":
            yield branch.name
            yield from (
                f"{branch.name}@{number}" for number in range(max(0, branch.head - 9), branch.head + 1)
            )
    yield from _tags(context)
    yield from _git_branches(context)


def _sandboxes(context: Context) -> Iterator[str]:
    yield from (branch.name for branch in context.catalog.branches(kind="sandbox"))
    yield from _git_branches(context)


def _git_branches(context: Context) -> Iterator[str]:
    for branch in context.catalog.branches(kind="sandbox"):
        git_branch = branch.properties.get("git_branch")
        if isinstance(git_branch, str):
            yield git_branch


def _tags(context: Context) -> Iterator[str]:
    yield from (tag.name for tag in context.catalog.tags())


def _assets(context: Context) -> Iterator[str]:
    where = context.where()
    branch = context.find_branch(where.name or "") or context.find_branch(where.environment or "")
    if branch is not None:
        yield from sorted(context.catalog.entries(branch.point), key=split_key)


_FINDERS = {"refs": _refs, "sandboxes": _sandboxes, "tags": _tags, "assets": _assets}
