"""The kinds of value that anabranch.toml has beside text, numbers and true or false.

Each refuses with a sentence and a hint; the place is added by whoever reads the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

from anabranch.columns import Rule, parse_rule
from anabranch.dataclass import dataclass
from anabranch.errors import AnabranchError, SecretError
from anabranch.git import is_git_branch_name
from anabranch.names import parse_duration, parse_size
from anabranch.sample import Sample, parse_sample

_VARIABLE = re.compile(r"(\$?)\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PASSWORD = re.compile(r"(://[^/@:]*:)[^/\s]*(?=@)|([?&]password=)[^&\s]*", re.IGNORECASE)
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%")


def mistake(sentence: str, hint: str | None = None) -> PydanticCustomError:
    """A mistake in one value, for validators to raise."""
    return PydanticCustomError("anabranch", "{sentence}", {"sentence": sentence, "hint": hint})


@dataclass(frozen=True)
class RowLimit:
    """How many rows of a table a promotion may remove: a share, a number, or any.

    Attributes:
        share: As a part of one, or None.
        count: A number of rows, or None.
    """

    share: Decimal | None = None
    count: int | None = None

    def allows(self, removed: int, before: int) -> bool:
        """Whether so many rows may go from a table that had ``before`` rows."""
        if self.count is not None:
            return removed <= self.count
        return self.share is None or removed <= self.share * before

    def __str__(self) -> str:
        if self.count is not None:
            return str(self.count)
        return "any" if self.share is None else f"{(self.share * 100).normalize():f}%"


def _row_limit(value: Any) -> RowLimit:
    if isinstance(value, RowLimit):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return RowLimit(count=value)
    if value == "any":
        return RowLimit()
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or Decimal(match[1]) > 100:
        raise mistake(
            f"{_shown(value)} is no limit of rows",
            'write "10%", a whole number of rows such as 1000, or "any"',
        )
    return RowLimit(share=Decimal(match[1]) / 100)


@dataclass(frozen=True)
class Memory:
    """How much memory may be taken: a share of the machine's, a number of bytes, or any.

    Attributes:
        share: As a part of one, or None.
        size: Bytes, or None.
        text: As it was written.
    """

    share: Decimal | None = None
    size: int | None = None
    text: str = "any"

    def of(self, available: int) -> int | None:
        """Bytes, given those that the machine has; None for any."""
        return (
            self.size
            if self.size is not None
            else None
            if self.share is None
            else int(self.share * available)
        )

    def __str__(self) -> str:
        return self.text


def _memory(value: Any) -> Memory:
    if isinstance(value, Memory):
        return value
    if value == "any":
        return Memory()
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None and 0 < Decimal(match[1]) <= 100:
        return Memory(share=Decimal(match[1]) / 100, text=value.strip())
    try:
        size = parse_size(value) if isinstance(value, str) else 0
    except AnabranchError:
        size = 0
    if size <= 0:
        raise mistake(
            f"{_shown(value)} is no amount of memory",
            'write "8GB", a share of the machine\'s such as "80%", or "any"',
        )
    return Memory(size=size, text=value.strip())


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise mistake(
            f"{_shown(value)} is not a duration", 'write it as text with a unit, like "30s", "1h" or "14d"'
        )
    try:
        return parse_duration(value)
    except AnabranchError as error:
        raise mistake(error.message, error.hint) from None


def _positive(value: Any) -> timedelta:
    duration = _duration(value)
    if not duration:
        raise mistake(f"{_shown(value)} leaves no time at all", 'write it like "30s", "1h" or "14d"')
    return duration


def duration_or_never(value: Any) -> timedelta | None:
    """A duration, or None for "never"."""
    return None if value is None or value == "never" else _positive(value)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"


def _git_branch(value: str) -> str:
    if not is_git_branch_name(value):
        raise mistake(f"{value!r} can't be a git branch", 'write the branch\'s name alone, such as "main"')
    return value


def check_references(value: str) -> str:
    """Refuses a ``${…}`` that can't be resolved whatever the environment holds."""
    for dollar, name in _VARIABLE.findall(value):
        if not dollar and not _NAME.fullmatch(name):
            raise mistake(f"'${{{name}}}' names no environment variable", "write it like ${WAREHOUSE_KEY}")
    if "${" in _VARIABLE.sub("", value):
        raise mistake(
            "a '${' is not closed", "write ${WAREHOUSE_KEY}, or $${…} for the characters themselves"
        )
    return value


def hide_password(url: str) -> str:
    """A URL whose password is replaced by a sign, for messages."""
    return _PASSWORD.sub(r"\1\2…", url)


def references(text: str) -> list[str]:
    """The names of the environment variables that a text refers to."""
    return [name for dollar, name in _VARIABLE.findall(text) if not dollar]


def resolve_references(
    text: str, environ: Mapping[str, str] | None = None, *, place: str | None = None
) -> str:
    """The text with each ``${NAME}`` replaced by that environment variable; ``$${NAME}`` stands for itself.

    Raises:
        SecretError: a variable is not set (an empty one counts as set).
    """
    values = os.environ if environ is None else environ

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        if match[2] not in values:
            raise SecretError(
                f"the environment variable {match[2]} is not set",
                hint=f"set it, for example: export {match[2]}=…",
                place=place,
                variable=match[2],
            )
        return values[match[2]]

    return _VARIABLE.sub(value, text)


def _mask_rule(value: Any) -> Rule:
    if isinstance(value, Rule):
        return value
    try:
        return parse_rule(value if isinstance(value, str) else _shown(value))
    except AnabranchError as error:
        raise mistake(error.message, error.hint) from None


def sample_or_none(value: Any) -> Sample | None:
    """A sample: a share as text, or a table of share and by; None for all rows."""
    if value is None or isinstance(value, Sample):
        return value
    given = {"share": value} if isinstance(value, str) else value
    hint = 'write "5%", or { share = "5%", by = "customer_id" }'
    if not isinstance(given, Mapping):
        raise mistake(f"{_shown(value)} is no sample", hint)
    if unknown := sorted(set(given) - {"share", "by"}):
        raise mistake(f"{unknown[0]} says nothing of a sample", hint)
    share, by = given.get("share"), given.get("by")
    if not isinstance(share, str) or not (by is None or (isinstance(by, str) and by)):
        raise mistake("a sample is a share of the rows and the name of a column", hint)
    try:
        return parse_sample(share, by)
    except AnabranchError as error:
        raise mistake(error.message, error.hint) from None


MaskRule = Annotated[Rule, BeforeValidator(_mask_rule), PlainSerializer(str, return_type=str)]
SampleOrNone = Annotated[Sample | None, BeforeValidator(sample_or_none)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
DurationOrNever = Annotated[timedelta | None, BeforeValidator(duration_or_never)]
Rows = Annotated[RowLimit, BeforeValidator(_row_limit), PlainSerializer(str, return_type=str)]
MemoryShare = Annotated[Memory, BeforeValidator(_memory), PlainSerializer(str, return_type=str)]
GitBranch = Annotated[str, AfterValidator(_git_branch)]
References = Annotated[str, AfterValidator(check_references)]
