"""Tests of an asset's data, as a user declares them: a Python function, or one of the built-in rules.

What a rule means in SQL is `anabranch.checks`' business; here it is data.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from anabranch.dataclass import dataclass, field
from anabranch.errors import AnabranchError, SignatureError
from anabranch.names import parse_duration, parse_limit
from anabranch.pipeline.asset import Asset

RuleKind = Literal["not_null", "unique", "row_count", "references", "accepted_values", "fresh"]


@dataclass(frozen=True)
class Rule:
    """A built-in check as plain values: its kind, its columns, and its parameters."""

    kind: RuleKind
    columns: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        passed: Whether the data is as it should be.
        message: One sentence for a person.
        failing: Number of rows that offend, where that can be said.
        rows: Number of rows looked at, where that can be said.
        samples: A few offending rows, as plain values.
        metadata: Further plain values.
    """

    passed: bool
    message: str = ""
    failing: int | None = None
    rows: int | None = None
    samples: tuple[Mapping[str, Any], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Check:
    """A test of an asset's data. Made by `check` and the built-ins; a Python check is called like its function."""

    def __init__(
        self,
        name: str,
        asset: str,
        *,
        function: Callable[..., Any] | None = None,
        rule: Rule | None = None,
        inputs: Mapping[str, str] | None = None,
        blocking: bool = True,
        description: str = "",
        timeout: timedelta | None = None,
        place: tuple[str, int] = ("", 0),
    ) -> None:
        self.name = name
        self.asset = asset
        self.function = function
        self.rule = rule
        self.inputs = dict(inputs or {})
        self.blocking = blocking
        self.timeout = timeout
        self.description = description or (inspect.getdoc(function) or "" if function is not None else "")
        self.file, self.line = place
        self.known_code: str | None = None
        self.__name__ = name
        self.__wrapped__ = function
        self.__anabranch_code__ = tuple(f for f in (function,) if f is not None)

    @property
    def place(self) -> str:
        """``flights/definitions.py:31``."""
        return f"{self.file}:{self.line}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function with plain values, as a unit test does."""
        if self.function is None:
            raise SignatureError(f"{self.name} is a built-in check and can't be called", place=self.place)
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<check {self.name} of {self.asset}>"


def check(
    asset: Asset | str,
    *,
    name: str | None = None,
    blocking: bool = True,
    inputs: Mapping[str, str | Asset] | None = None,
    description: str = "",
    timeout: str | timedelta | None = None,
) -> Callable[[Callable[..., Any]], Check]:
    """Declares a check made by a Python function. It returns a bool, a `CheckResult`, or a frame, table or relation of
    the offending rows, which passes if it has none.

    Args:
        asset: The asset that is judged.
        name: Default: the function's name.
        blocking: Whether a failure stops what is downstream, the run's publication and a promotion; else it warns.
        inputs: Parameter → asset, where the parameter's name is not the asset's.
        description: One line; default: the function's docstring.
        timeout: Time after which it is ended and counts as failed; default: ``run.timeout`` of anabranch.toml.

    Raises:
        SignatureError: what is decorated is no function, or the check names no asset.
    """
    given: Any = asset  # @ab.check without parentheses puts the function here
    if not isinstance(given, Asset | str):
        what = getattr(given, "__name__", None) or repr(given)
        raise SignatureError(f"{what} is no asset", hint="name what is judged: @ab.check(orders)")

    def declare(function: Callable[..., Any]) -> Check:
        code = getattr(inspect.unwrap(function), "__code__", None)
        if code is None:
            raise SignatureError(
                f"a check of {_name(asset)} is a {type(function).__name__}, not a function",
                hint="decorate a function",
            )
        return Check(
            name or function.__name__,
            _name(asset),
            function=function,
            inputs={param: _name(source) for param, source in (inputs or {}).items()},
            blocking=blocking,
            description=description,
            timeout=parse_duration(timeout) if isinstance(timeout, str) else timeout,
            place=(code.co_filename, code.co_firstlineno),
        )

    return declare


def not_null(
    asset: Asset | str, *columns: str, at_most: int | str = 0, blocking: bool = True, name: str | None = None
) -> Check:
    """No row has a null in one of the columns.

    Args:
        asset: The asset that is judged.
        columns: Its columns.
        at_most: Tolerated number of rows, or a share of all rows such as ``"2%"``.
        blocking: As for `check`.
        name: Default: ``not_null_<columns>``.

    Raises:
        SignatureError: no column is named, or ``at_most`` is neither a number nor a share.
    """
    return _rule(asset, "not_null", columns, {"at_most": at_most}, blocking, name)


def unique(
    asset: Asset | str, *columns: str, at_most: int | str = 0, blocking: bool = True, name: str | None = None
) -> Check:
    """No two rows agree in all the columns; without columns, in the asset's key. Nulls agree with each other.

    ``at_most`` tolerates a number of rows beyond the first of their kind, or their share of all rows. The rest is as for
    `not_null`.
    """
    return _rule(
        asset,
        "unique",
        columns or (asset.key if isinstance(asset, Asset) else ()),
        {"at_most": at_most},
        blocking,
        name,
    )


def row_count(
    asset: Asset | str,
    *,
    minimum: int = 1,
    maximum: int | None = None,
    blocking: bool = True,
    name: str | None = None,
) -> Check:
    """The table has at least ``minimum`` and, if given, at most ``maximum`` rows.

    Raises:
        SignatureError: they are no whole numbers, or nothing lies between them.
    """
    for what, value in (("minimum", minimum), ("maximum", maximum)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise _refused(asset, "row_count", f"{what}={value!r} is no number of rows", None)
    if maximum is not None and maximum < minimum:
        raise _refused(asset, "row_count", f"maximum={maximum} is less than minimum={minimum}", None)
    return _rule(asset, "row_count", (), {"minimum": minimum, "maximum": maximum}, blocking, name)


def references(
    asset: Asset | str,
    column: str | Sequence[str],
    to: Asset | str,
    to_column: str | Sequence[str] | None = None,
    *,
    at_most: int | str = 0,
    blocking: bool = True,
    name: str | None = None,
) -> Check:
    """Every value of the column (nulls aside) stands in another asset's column: a foreign key.

    Args:
        asset: The asset that refers.
        column: Its column or columns.
        to: The asset that is referred to.
        to_column: Its column or columns; default: the same names.
        at_most: Tolerated number of rows, or a share such as ``"16%"``.
        blocking: As for `check`.
        name: Default: ``references_<columns>_<to>``.

    Rows with a null in one of the columns refer to nothing and are left aside; a share is one of the other rows.

    Raises:
        SignatureError: the numbers of columns differ, or ``at_most`` is neither a number nor a share.
    """
    columns = (column,) if isinstance(column, str) else tuple(column)
    others = (
        columns if to_column is None else (to_column,) if isinstance(to_column, str) else tuple(to_column)
    )
    if len(others) != len(columns):
        raise _refused(
            asset,
            "references",
            f"{len(columns)} columns ({', '.join(columns)}) refer to {len(others)} ({', '.join(others)})",
            "name as many in to_column",
        )
    parameters = {"at_most": at_most, "to": _name(to), "to_columns": list(others)}
    return _rule(asset, "references", columns, parameters, blocking, name, other=_name(to))


def accepted_values(
    asset: Asset | str,
    column: str,
    values: Sequence[Any],
    *,
    at_most: int | str = 0,
    blocking: bool = True,
    name: str | None = None,
) -> Check:
    """Every value of the column (nulls aside) is one of the given ones.

    Args:
        asset: The asset that is judged.
        column: Its column.
        values: Values of the column's type.
        at_most: Tolerated number of rows, or a share of the rows with a value.
        blocking: As for `check`.
        name: Default: ``accepted_values_<column>``.

    Raises:
        SignatureError: no value is given, or ``at_most`` is neither a number nor a share.
    """
    if isinstance(values, str | bytes) or not list(values):
        what = "are a text, not a list" if isinstance(values, str | bytes) else "are none"
        raise _refused(asset, "accepted_values", f"the values {what}", 'values=["AA", "UA"]')
    return _rule(
        asset, "accepted_values", (column,), {"at_most": at_most, "values": list(values)}, blocking, name
    )


def fresh(
    asset: Asset | str,
    column: str,
    *,
    within: str | timedelta,
    blocking: bool = False,
    name: str | None = None,
) -> Check:
    """The newest value of a date or timestamp column is not older than ``within``. Judged anew at every run.

    A timestamp without a zone is taken as UTC. A date grows old from the end of its day (UTC) on. A table without any
    value is not fresh.

    Raises:
        SignatureError: ``within`` is no duration, or not positive.
    """
    try:
        span = within if isinstance(within, timedelta) else parse_duration(within)
    except AnabranchError as error:
        raise _refused(asset, "fresh", error.message, error.hint) from None
    if span <= timedelta(0):
        raise _refused(asset, "fresh", f"within={within!r} is no span of time", 'within="1d"')
    return _rule(asset, "fresh", (column,), {"within_seconds": span.total_seconds()}, blocking, name)


def _rule(
    asset: Asset | str,
    kind: RuleKind,
    columns: Sequence[str],
    parameters: Mapping[str, Any],
    blocking: bool,
    name: str | None,
    other: str | None = None,
) -> Check:
    frame = sys._getframe(2)  # noqa: SLF001 - the documented way to a caller's file and line
    place = (frame.f_code.co_filename, frame.f_lineno)
    target = _name(asset)
    if kind != "row_count" and not columns:
        raise SignatureError(
            f"{kind} of {target} names no column",
            place=f"{place[0]}:{place[1]}",
            hint="name one, or give the asset a key",
        )
    odd = [column for column in columns if not isinstance(column, str) or not column]
    if odd:
        raise SignatureError(
            f"{kind} of {target}: {odd[0]!r} is no column's name", place=f"{place[0]}:{place[1]}"
        )
    if "at_most" in parameters:
        try:
            parse_limit(parameters["at_most"])
        except AnabranchError as error:
            raise SignatureError(
                f"{kind} of {target}: at_most: {error.message}",
                place=f"{place[0]}:{place[1]}",
                hint=error.hint,
            ) from None
    default = "_".join([kind, *columns, *([other.replace(".", "_")] if other else [])])
    inputs = {"asset": target} | ({"other": other} if other else {})
    return Check(
        name or default,
        target,
        rule=Rule(kind, tuple(columns), dict(parameters)),
        inputs=inputs,
        blocking=blocking,
        place=place,
    )


def _refused(asset: Asset | str, kind: RuleKind, what: str, hint: str | None) -> SignatureError:
    frame = sys._getframe(2)  # noqa: SLF001 - the documented way to a caller's file and line
    return SignatureError(
        f"{kind} of {_name(asset)}: {what}", place=f"{frame.f_code.co_filename}:{frame.f_lineno}", hint=hint
    )


def _name(asset: Asset | str) -> str:
    return asset.name if isinstance(asset, Asset) else asset
