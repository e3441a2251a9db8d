"""What an incremental asset declares, and how its parameters and the tables of its query are told apart.

An incremental asset goes on from its own earlier table: it appends rows, or merges them by key, and reads of some inputs
only what came and went since. Knows declarations; what is due and whether it can be done this way is decided elsewhere
(`anabranch.planning.incremental`, `anabranch.running.increments`).
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from anabranch.dataclass import dataclass
from anabranch.errors import SignatureError
from anabranch.names import did_you_mean
from anabranch.pipeline.canonical import digest

if TYPE_CHECKING:
    from anabranch.pipeline.asset import Asset, Parameter
    from anabranch.pipeline.graph import Node

Incremental = Literal["append", "upsert"]
PREVIOUS = "previous"
"""The parameter that is served with the asset's own earlier table."""
SUFFIXES = ("__added", "__removed")
"""What a query writes behind an input's name to read its change."""
CONSUMED, DECLARED, MARK = "consumed", "incremental", "forward_only"
"""In an entry's ``provenance.extra``: up to where inputs were read, how it was declared and made, and older codes that made
some of its rows."""
_CHANGES = frozenset({"Changes", "ab.Changes", "anabranch.Changes"})
_FILES = frozenset({"File", "ab.File", "anabranch.File"})


@dataclass(frozen=True)
class Upsert:
    """What an asset with ``incremental="upsert"`` returns where keys are to go as well.

    Args:
        rows: A frame or table of rows, one for each key: they replace the rows of their key, or are new. None: none.
        delete: A frame or table with at least the columns of the key, whose rows are to go. None: none.
    """

    rows: Any = None
    delete: Any = None


def check_declaration(
    name: str, place: str, incremental: str | None, key: Sequence[str], lookups: Sequence[str]
) -> Incremental | None:
    """The declared kind. Raises SignatureError where it is none, or lacks what it needs."""
    if incremental is None:
        if lookups:
            raise SignatureError(
                f"{name}: lookups are given, but it is not incremental",
                place=place,
                hint='incremental="append" or "upsert"',
            )
        return None
    if incremental not in ("append", "upsert"):
        raise SignatureError(
            f"{name}: incremental={incremental!r} is not known", place=place, hint='"append" or "upsert"'
        )
    if incremental == "upsert" and not key:
        raise SignatureError(
            f'{name}: incremental="upsert" merges rows by key, and no key is given',
            place=place,
            hint='name the columns that identify a row: key=["id"]',
        )
    return "append" if incremental == "append" else "upsert"


def is_changes(p: Parameter) -> bool:
    """Whether a parameter is annotated ``ab.Changes``."""
    kind = p.annotation
    if inspect.isclass(kind):
        return kind.__module__ == "anabranch.lake.changes" and kind.__name__ == "Changes"
    return kind is None and p.text in _CHANGES


def bare(p: Parameter) -> Any:
    """The annotation of a parameter without its ``| None``."""
    if p.annotation is None:
        return re.sub(r"^(?:typing\.)?Optional\[(.*)\]$|\s*\|\s*None$", r"\1", p.text) or None
    if isinstance(p.annotation, types.UnionType) or typing.get_origin(p.annotation) is typing.Union:
        some = [each for each in typing.get_args(p.annotation) if each is not types.NoneType]
        return some[0] if len(some) == 1 else p.annotation
    return p.annotation


def special_slot(
    p: Parameter, asset: Asset, assets: Collection[str]
) -> tuple[Literal["changes", "previous"], str, Any] | None:
    """How a parameter is served that only an incremental asset has: role, key, annotation; None for any other.

    Raises:
        SignatureError: the asset is not incremental.
    """
    if p.name == PREVIOUS and p.name not in asset.inputs:
        if asset.incremental is not None:
            return "previous", asset.name, bare(p)
        if p.name not in assets and not p.has_default:
            raise SignatureError(
                f"{asset.name}: the parameter 'previous' is its own earlier table, but it is not incremental",
                place=asset.place,
                hint='@ab.asset(incremental="append") or "upsert"',
            )
    target = asset.inputs.get(p.name, p.name)
    if not is_changes(p) or target not in assets:
        return None
    if asset.incremental is None:
        raise SignatureError(
            f"{asset.name}: the parameter {p.name!r} asks for changes, but the asset is not incremental",
            place=asset.place,
            hint='@ab.asset(incremental="append") or "upsert"; or annotate a table',
        )
    return "changes", target, p.shown


def check_bound(asset: Asset, inputs: Collection[str], deltas: Collection[str], returns: Any) -> None:
    """That an incremental asset can be brought up to date at all. Raises SignatureError."""
    if asset.incremental is None:
        return
    is_file = returns in _FILES or (
        inspect.isclass(returns)
        and returns.__module__ == "anabranch.lake.file"
        and returns.__name__ == "File"
    )
    if is_file:
        raise SignatureError(
            f"{asset.name} returns a file, and only tables can be incremental",
            place=asset.place,
            hint="leave incremental out, or return a table",
        )
    for name in asset.lookups:
        if name not in inputs:
            raise SignatureError(
                f"{asset.name}: lookups names {name!r}, which it does not read",
                place=asset.place,
                hint=did_you_mean(name, inputs),
            )
        if name in deltas:
            raise SignatureError(
                f"{asset.name}: {name!r} is a lookup, and its changes are read",
                place=asset.place,
                hint="leave it out of lookups",
            )
    if inputs and not deltas and set(asset.lookups) != set(inputs):
        first = sorted(set(inputs) - set(asset.lookups))[0]
        how = (
            f"read {first}__added (and {first}__removed) in the query"
            if asset.query is not None
            else f"annotate an input: {first}: ab.Changes"
        )
        raise SignatureError(
            f"{asset.name} is incremental, but reads no input's changes, so that every change would rebuild it",
            place=asset.place,
            hint=how,
        )


def change_views(asset: Asset, tables: Iterable[str], assets: Mapping[str, Asset]) -> dict[str, str]:
    """Tables of a query that stand for an input's change → the input.

    Raises:
        SignatureError: the query reads a change, and the asset is not incremental.
    """
    found: dict[str, str] = {}
    for table in tables:
        source = next((table.removesuffix(s) for s in SUFFIXES if table.endswith(s)), None)
        if table in assets or source is None or source not in assets:
            continue
        if asset.incremental is None:
            raise SignatureError(
                f"the query {asset.name} reads {table!r}, the change of {source}, but is not incremental",
                place=asset.place,
                hint=f'ab.sql({asset.name!r}, …, incremental="append") or "upsert"',
            )
        found[table] = source
    return found


def declaration(node: Node) -> dict[str, Any]:
    """What an entry keeps of the declaration that it was made under: plain values, equal where nothing of it changed."""
    return {
        "kind": node.incremental,
        "key": list(node.row_key) if node.incremental == "upsert" else [],
        "resources": digest(
            *(part for name in sorted(node.resources) for part in (name, node.resources[name]))
        ),
    }


def fingerprint_extra(node: Node, mark: Sequence[str] = ()) -> dict[str, str]:
    """What of being incremental decides content: the declaration, and the older codes that made some of the rows."""
    if node.incremental is None:
        return {}
    key = ",".join(node.row_key) if node.incremental == "upsert" else ""
    extra = {DECLARED: f"{node.incremental} {key}".strip()}
    return {**extra, MARK: digest(*mark)} if mark else extra
