"""`sync`: the verb that brings a masked environment up to date with its parent, and what may stand against it.

What a masked environment may show is decided by declarations in the code and rules in anabranch.toml, so these must be
the parent's own, committed and merged: on any other git branch somebody could declare a column harmless that nobody has
looked at.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from anabranch.catalog.base import Branch
from anabranch.columns import Tag, tags
from anabranch.errors import BehindError, DirtyError, MaskError, RefError, SettingsError
from anabranch.masking.policy import Policy
from anabranch.masking.sync import Masker, SyncResult
from anabranch.project.context import Context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.running.events import Listener


def sync(context: Context, name: str | None, *, dry_run: bool, listen: Listener) -> SyncResult:
    """See `Project.sync`."""
    name = name or _only(context)
    settings = context.environment_settings(name)
    if settings.derived_from is None:
        raise SettingsError(
            f"{name} is no masked copy of another environment",
            hint='add derived_from = "production" to it, or name one that has it',
            place=context.settings.place("environments", name),
        )
    parent = context.find_branch(settings.derived_from)
    if parent is None:
        raise RefError(f"{settings.derived_from} was never built", hint="anabranch run builds it")
    if not dry_run:
        _check_code(context, name, parent)
    environment = context.find_branch(name)
    if environment is None and dry_run:
        # A look opens nothing: an environment that is not there yet holds nothing.
        return _masker(context, name, None, listen).plan_first(name, parent)
    environment = context.environment(name)
    masker = _masker(context, name, environment, listen)
    found = masker.plan(environment, parent) if dry_run else masker.sync(environment, parent)
    if not dry_run:
        context.refresh()
    return found


def _only(context: Context) -> str:
    derived = [name for name, its in context.settings.environments.items() if its.derived_from]
    if len(derived) != 1:
        hint = f"name one: {', '.join(derived)}" if derived else 'one has derived_from = "production"'
        raise SettingsError(
            f"{'several environments are' if derived else 'no environment is'} masked copies of another",
            hint=hint,
            place=context.settings.place("environments"),
        )
    return derived[0]


def _check_code(context: Context, name: str, parent: Branch) -> None:
    here = context.require()
    wanted = context.environment_settings(parent.name).git_branch
    if wanted is not None and here.git_branch != wanted:
        raise MaskError(
            f"what {name} may show is decided by the code of {wanted}, and {here.git_branch} is checked out",
            hint=f"git switch {wanted}, or look with --dry-run",
        )
    if here.dirty:
        raise DirtyError(
            f"what {name} may show is decided by committed code only, and {here.dirty[0]} has uncommitted edits",
            hint="commit them, or look with --dry-run",
            files=list(here.dirty),
        )
    context.require_tracked()
    base = context.base_for(parent)
    if not base.is_head:
        error: BehindError = context.behind(parent, base)
        raise error


def _masker(context: Context, name: str, environment: Branch | None, listen: Listener) -> Masker:
    from anabranch.lake.storage import Scope
    from anabranch.masking.values import faker_version

    settings = context.environment_settings(name)
    secret = context.settings.mask_key(name)
    key = None
    if secret is not None:
        from anabranch.masking.cipher import Key

        key = Key(secret)
    folder = "" if environment is None else str(environment.properties["storage"])
    assets = context.workspace.pipeline.assets

    def declared(asset: str) -> Mapping[str, Tag] | None:
        return tags(assets[asset].asset.columns) if asset in assets else None

    return Masker(
        catalog=context.catalog,
        storage=context.storage(Scope.masked(folder) if folder else None),
        policy=Policy(settings.masks, key.id if key else "", settings.keep_files, faker_version()),
        key=key,
        tags=declared,
        author=context.author,
        listen=listen,
        threads=os.cpu_count() or 1,
    )
