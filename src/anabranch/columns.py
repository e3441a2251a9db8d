"""What may be said of a column: a sentence, a tag, and the rule by which a masked environment treats it.

The words that code (`@ab.asset(columns=…)`), settings (`[environments.NAME.masks]`) and stored tables share. Knows no
Arrow, no key and no environment: what a rule does to a value is `anabranch.masking`'s business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from anabranch.dataclass import dataclass
from anabranch.errors import AnabranchError, DefinitionsError

RuleKind = Literal["hash", "null", "fake", "bucket", "keep"]

PROPERTY = "anabranch.columns"
"""The table property that holds what was declared of the columns, as JSON, so that it travels with the data."""

_TAG = re.compile(r"[a-z][a-z0-9_-]*")
_PROVIDER = re.compile(r"[a-z][a-z0-9_]*")
_WIDTH = re.compile(r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,9})?")
_SPANS = ("month", "year")


@dataclass(frozen=True)
class Rule:
    """What becomes of a column's values where they are masked; its text is what a person writes.

    Attributes:
        kind: ``hash``, ``null``, ``fake``, ``bucket`` or ``keep``.
        argument: Of ``fake``: what is made up (``name``); of ``bucket``: a width (``1000``), ``month`` or ``year``.
    """

    kind: RuleKind
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.argument}" if self.argument else self.kind

    @property
    def keyed(self) -> bool:
        """Whether what comes of it depends on the environment's key."""
        return self.kind in ("hash", "fake")


NULL = Rule("null")
KEEP = Rule("keep")


def parse_rule(text: str) -> Rule:
    """``hash``, ``null``, ``keep``, ``fake:name``, ``bucket:1000``, ``bucket:month``, ``bucket:year``.

    Raises:
        AnabranchError: it is none of them.
    """
    kind, _, argument = text.strip().partition(":")
    if kind in ("hash", "null", "keep") and ":" not in text:
        return Rule(kind)  # type: ignore[arg-type] # one of the three
    if kind == "fake" and _PROVIDER.fullmatch(argument):
        return Rule("fake", argument)
    width = _WIDTH.fullmatch(argument) and Decimal(argument) > 0
    if kind == "bucket" and (argument in _SPANS or width):
        return Rule("bucket", argument)
    hint = {
        "fake": 'say what is made up: "fake:name", "fake:email"; the words are those of the library Faker',
        "bucket": 'say how wide: "bucket:1000" for numbers, "bucket:month" or "bucket:year" for dates and times',
    }.get(kind, "one of hash, null, keep, fake:NAME, bucket:WIDTH, bucket:month, bucket:year")
    raise AnabranchError(f"{text!r} is no rule for masking", hint=hint)


@dataclass(frozen=True)
class Tag:
    """What a column is, where masking is concerned. Made by `tag`; calling one gives it a rule or a description.

    Attributes:
        name: The word that settings name it by: ``pii``.
        rule: Its rule wherever no setting names the column itself; None: as the environment says for the tag.
        description: A sentence about the column, stored with the table.
    """

    name: str
    rule: Rule | None = None
    description: str = ""

    def __call__(self, rule: str | None = None, *, description: str | None = None) -> Tag:
        """The same tag for one column.

        Args:
            rule: ``"fake:name"``, ``"hash"`` …; of `keep`, which has its rule, the description.
            description: A sentence about the column.

        Raises:
            DefinitionsError: the rule is none.
        """
        if self.name == KEEP.kind and rule is not None and description is None:
            rule, description = None, rule
        return Tag(
            self.name,
            self.rule if rule is None else _rule(rule, self.name),
            self.description if description is None else description,
        )


def tag(name: str, rule: str | None = None, *, description: str = "") -> Tag:
    """A tag of one's own for columns: ``salary = ab.tag("salary", "bucket:1000")``.

    Args:
        name: Lower-case letters, digits, ``_`` and ``-``.
        rule: What a masked environment does with such a column, where its settings do not name the column itself.
            Without one the environment's setting for the tag counts, and without that the column is masked (``null``).
        description: A sentence about the column.

    Raises:
        DefinitionsError: the name or the rule is none.
    """
    if not _TAG.fullmatch(name) or name == KEEP.kind:
        hint = "lower-case letters, digits, _ and -" if name != KEEP.kind else "ab.keep is that tag"
        raise DefinitionsError(f"{name!r} can't be a tag's name", hint=hint)
    return Tag(name, None if rule is None else _rule(rule, name), description)


pii = Tag("pii")
keep = Tag("keep", KEEP)


def _rule(text: str, owner: str) -> Rule:
    try:
        return parse_rule(text)
    except AnabranchError as error:
        raise DefinitionsError(f"the tag {owner}: {error.message}", hint=error.hint) from None


Declared = str | Tag
"""What an asset says of one column: a sentence, or a tag."""


def descriptions(columns: Mapping[str, Declared]) -> dict[str, str]:
    """Column → its sentence, for those that have one."""
    found = {name: said.description if isinstance(said, Tag) else said for name, said in columns.items()}
    return {name: text for name, text in found.items() if text}


def tags(columns: Mapping[str, Declared]) -> dict[str, Tag]:
    """Column → its tag, for those that have one."""
    return {name: said for name, said in columns.items() if isinstance(said, Tag)}


def encode_tags(columns: Mapping[str, Declared]) -> str:
    """The value of the table property `PROPERTY`."""
    found: dict[str, Any] = {
        name: {"tag": each.name, **({"rule": str(each.rule)} if each.rule else {})}
        for name, each in sorted(tags(columns).items())
    }
    return json.dumps(found, separators=(",", ":"))


def decode_tags(text: str | None) -> dict[str, Tag]:
    """The inverse of `encode_tags`. What can't be understood declares nothing."""
    try:
        found = json.loads(text or "{}")
        return {
            name: Tag(str(each["tag"]), parse_rule(each["rule"]) if "rule" in each else None)
            for name, each in found.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, AnabranchError):
        return {}
