"""What a user declares: an asset is a name, the function or query that makes it, and how it wants to be treated.

Functions stay ordinary functions: the decorator returns an `Asset` that is called like the function it wraps.
Nothing is resolved here; which parameter is an input and which a resource is decided in `definitions`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, overload

from anabranch.columns import Declared, Tag
from anabranch.dataclass import dataclass, field
from anabranch.errors import SignatureError
from anabranch.names import is_key, parse_duration
from anabranch.pipeline.incremental import Incremental, check_declaration
from anabranch.pipeline.partition import PartitionMapping, Partitions
from anabranch.pipeline.parts import CodeFingerprint

Refresh = Literal["code", "always", "every", "observe"]
RetryOn = type[BaseException] | str | Sequence[type[BaseException] | str]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a user's function: its name, its annotation if that can be evaluated, and whether it has a default."""

    name: str
    annotation: Any
    text: str
    has_default: bool

    @property
    def shown(self) -> Any:
        """The annotation, or its text where that can't be evaluated: a library imported for type checkers only."""
        return self.annotation if self.annotation is not None else self.text or None


@dataclass(frozen=True)
class Input:
    """Says how an asset reads another one, where that is not plain from the parameter: ``inputs={"past": ab.Input(…)}``.

    Args:
        asset: The asset, or its name.
        partitions: Which of its partitions a partition reads: ``"window"``, those whose window overlaps or of the same key;
            ``"same"``, the one of the same key; ``"all"``, the whole table; ``ab.last(n)``; ``ab.offset(n)``.
    """

    asset: str | Asset
    partitions: PartitionMapping | str = "window"

    @property
    def name(self) -> str:
        """The asset's name."""
        return self.asset if isinstance(self.asset, str) else self.asset.name

    @property
    def mapping(self) -> PartitionMapping:
        """The mapping. Raises SignatureError for a text that names none."""
        if isinstance(self.partitions, PartitionMapping):
            return self.partitions
        for kind in ("window", "same", "all"):
            if self.partitions == kind:
                return PartitionMapping(kind)
        raise SignatureError(
            f"ab.Input({self.name!r}, partitions={self.partitions!r}) names no mapping",
            hint='"window", "same", "all", ab.last(7) or ab.offset(-1)',
        )


@dataclass(frozen=True)
class Known:
    """What was found out about an asset's code where its objects are at hand, for a process in which they are not.

    Attributes:
        code: Its code.
        config: Its config as plain values.
    """

    code: CodeFingerprint
    config: Mapping[str, Any] = field(default_factory=dict)


class Asset:
    """A table or file that the pipeline keeps, and what makes it. Made by `asset` and `sql`; callable like its function."""

    def __init__(
        self,
        name: str,
        *,
        function: Callable[..., Any] | None = None,
        query: str | None = None,
        place: tuple[str, int] = ("", 0),
        key: Sequence[str] = (),
        inputs: Mapping[str, str | Asset | Input] | None = None,
        partitions: Partitions | None = None,
        tags: Sequence[str] = (),
        description: str = "",
        config: Any = None,
        refresh: Refresh = "code",
        every: timedelta | None = None,
        observe: Callable[..., Any] | None = None,
        retries: int | None = None,
        retry_delay: timedelta | None = None,
        retry_on: Sequence[type[BaseException] | str] = (),
        timeout: timedelta | None = None,
        renames: Mapping[str, str] | None = None,
        columns: Mapping[str, Declared] | None = None,
        incremental: Incremental | None = None,
        lookups: Sequence[str | Asset] = (),
        delete: str | None = None,
    ) -> None:
        self.name = name
        self.function = function
        self.query = query
        self.file, self.line = place
        self.key = tuple(key)
        self.inputs = {
            param: source.name if isinstance(source, Asset | Input) else source
            for param, source in (inputs or {}).items()
        }
        self.mappings = {
            source.name: source.mapping for source in (inputs or {}).values() if isinstance(source, Input)
        }
        self.partitions = partitions
        self.tags = frozenset(tags)
        self.description = description or (inspect.getdoc(function) or "" if function is not None else "")
        self.config = config
        self.refresh = refresh
        self.every = every
        self.observe = observe
        self.retries = retries
        self.retry_delay = retry_delay
        self.retry_on = _exceptions(retry_on, name, place)
        self.timeout = timeout
        self.renames = dict(renames or {})
        self.columns = dict(columns or {})
        odd = next((c for c, said in self.columns.items() if not isinstance(said, str | Tag)), None)
        if odd is not None:
            raise SignatureError(
                f"{name}: the column {odd!r} is described by a {type(self.columns[odd]).__name__}",
                place=self.place,
                hint='a sentence, ab.pii, ab.keep, or a tag of your own: ab.tag("salary", "bucket:1000")',
            )
        self.lookups = tuple(each.name if isinstance(each, Asset) else each for each in lookups)
        self.incremental = check_declaration(name, self.place, incremental, self.key, self.lookups)
        self.delete = delete
        if self.incremental is not None and partitions is not None:
            raise SignatureError(
                f"{name} is cut into partitions and incremental at once",
                place=self.place,
                hint="a partition is made whole, and only those that need it: leave incremental out",
            )
        self.known: Known | None = None
        self.__name__ = name
        self.__doc__ = self.description or None
        self.__wrapped__ = function
        # What fingerprints follow instead of this object.
        self.__anabranch_code__ = tuple(f for f in (function,) if f is not None)

    @property
    def place(self) -> str:
        """``flights/definitions.py:31``, as the file was imported."""
        return f"{self.file}:{self.line}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function with plain values, as a unit test does."""
        if self.function is None:
            raise SignatureError(
                f"{self.name} is a query and can't be called",
                place=self.place,
                hint="read it from a project: project.table(…)",
            )
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<asset {self.name}>"


@overload
def asset(function: Callable[..., Any], /) -> Asset: ...
@overload
def asset(
    *,
    name: str | None = ...,
    key: str | Sequence[str] = ...,
    inputs: Mapping[str, str | Asset | Input] | None = ...,
    partitions: Partitions | None = ...,
    tags: Sequence[str] = ...,
    description: str = ...,
    config: Any = ...,
    refresh: Literal["code", "always"] = ...,
    every: str | timedelta | None = ...,
    observe: Callable[..., Any] | None = ...,
    retries: int | None = ...,
    retry_delay: str | timedelta | None = ...,
    retry_on: RetryOn = ...,
    timeout: str | timedelta | None = ...,
    renames: Mapping[str, str] | None = ...,
    columns: Mapping[str, Declared] | None = ...,
    incremental: Incremental | None = ...,
    lookups: Sequence[str | Asset] = ...,
) -> Callable[[Callable[..., Any]], Asset]: ...


def asset(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    key: str | Sequence[str] = (),
    inputs: Mapping[str, str | Asset | Input] | None = None,
    partitions: Partitions | None = None,
    tags: Sequence[str] = (),
    description: str = "",
    config: Any = None,
    refresh: Literal["code", "always"] = "code",
    every: str | timedelta | None = None,
    observe: Callable[..., Any] | None = None,
    retries: int | None = None,
    retry_delay: str | timedelta | None = None,
    retry_on: RetryOn = (),
    timeout: str | timedelta | None = None,
    renames: Mapping[str, str] | None = None,
    columns: Mapping[str, Declared] | None = None,
    incremental: Incremental | None = None,
    lookups: Sequence[str | Asset] = (),
) -> Asset | Callable[[Callable[..., Any]], Asset]:
    """Declares a table or file made by a Python function.

    The function's parameters are its inputs: another asset's name, a resource by its annotated class, ``config``.

    Args:
        function: The function, where the decorator is used without parentheses.
        name: Key of the asset, ``name`` or ``namespace.name``; default: the function's name.
        key: Column or columns that identify a row; diffs compare by it, `unique` checks it.
        inputs: Parameter → asset, where the parameter's name is not the asset's; an `Input` says which of its partitions
            are read.
        partitions: How the table is cut: `daily`, `hourly`, `weekly`, `monthly`, `keys`, or two of them multiplied. The
            function is called for each partition; its parameter ``partition`` is that `Partition`, or ``partitions`` a list
            of several that are made in one call. Inputs that are partitioned too are served with what belongs to it.
        tags: Words to select by (``--select tag:daily``).
        description: One line; default: the function's docstring.
        config: An instance of the `Config` class that the parameter ``config`` is annotated with.
        refresh: For an asset that reads the outside world: ``code`` runs it when its code changes, ``always`` in each run.
        every: Runs it again when its table is older than this: ``"1h"``.
        observe: A function (its parameters are resources) that returns the outside version: an ETag, a greatest id.
        retries: How often a failed run of it is tried again; default: ``run.retries`` of anabranch.toml.
        retry_delay: Time before the second try; doubles with each further one, and has a little chance added. Default:
            ``run.retry_delay``.
        retry_on: Exceptions that are worth another try, or their full names: ``(httpx.TransportError,
            "requests.exceptions.Timeout")``. One that was raised from such a one counts, too. Default: ``run.retry_on``.
        timeout: Time after which it is ended: its resources are torn down, then its process is killed with its children.
        renames: New column name → old one, so that the column keeps its identity and a diff says "renamed".
        columns: Column → a sentence about it, or a tag such as `pii`, `keep` or one of `tag`: what masked environments
            go by. Both are stored with the table.
        incremental: ``append``: what is returned is added to the table that is there. ``upsert``: it is merged into it by
            ``key``; see `Upsert`. A parameter annotated `Changes` is served with what came and went in that input since it
            was last read, and ``previous`` with the asset's own earlier table (None when all is built anew).
        lookups: Inputs, read whole, whose changes concern new rows only: they do not make a rebuild necessary.

    Raises:
        SignatureError: the name is no key, two refresh policies are given, or an upsert has no key.
    """

    def declare(function: Callable[..., Any]) -> Asset:
        place = place_of(function)
        own = name or str(getattr(function, "__name__", ""))
        policy, interval = _policy(own, place, refresh, every, observe)
        _check_name(own, place)
        if retries is not None and retries < 0:
            raise SignatureError(f"{own}: retries is {retries}", place=_text(place), hint="0 or more")
        return Asset(
            own,
            function=function,
            place=place,
            key=(key,) if isinstance(key, str) else key,
            inputs=inputs,
            partitions=partitions,
            tags=tags,
            description=description,
            config=config,
            refresh=policy,
            every=interval,
            observe=observe,
            retries=retries,
            retry_delay=None if retry_delay is None else _duration(retry_delay),
            retry_on=_several(retry_on),
            timeout=None if timeout is None else _duration(timeout),
            renames=renames,
            columns=columns,
            incremental=incremental,
            lookups=lookups,
        )

    return declare if function is None else declare(function)


def sql(
    name: str,
    query: str | None = None,
    *,
    file: str | Path | None = None,
    key: str | Sequence[str] = (),
    inputs: Mapping[str, str | Asset | Input] | None = None,
    partitions: Partitions | None = None,
    tags: Sequence[str] = (),
    description: str = "",
    retries: int | None = None,
    retry_delay: str | timedelta | None = None,
    retry_on: RetryOn = (),
    timeout: str | timedelta | None = None,
    renames: Mapping[str, str] | None = None,
    columns: Mapping[str, Declared] | None = None,
    incremental: Incremental | None = None,
    lookups: Sequence[str | Asset] = (),
    delete: str | None = None,
) -> Asset:
    """Declares a table made by a DuckDB query. Its inputs are the tables that the query reads.

    Args:
        name: Key of the asset.
        query: One ``select`` (or ``with``, ``from``, ``values``).
        file: Instead of query: a file that holds it, relative to the file that calls `sql`.
        inputs: Table of the query → `Input`, which says which of its partitions are read.
        partitions: As for `asset`. The query may use ``$partition``, ``$partition_start`` and ``$partition_end``, and its
            partitioned inputs hold what belongs to the partition.
        key, tags, description, retries, retry_delay, retry_on, timeout, renames, columns: as for `asset`.
        incremental, lookups: As for `asset`. The query reads the change of an input as ``NAME__added`` and
            ``NAME__removed``, tables with the input's columns; when all is built anew, all its rows are added.
        delete: For an upsert: a second query, whose rows are keys to remove.

    Raises:
        SignatureError: neither or both of query and file are given, the file can't be read, or ``delete`` is given
            without an upsert.
    """
    if delete is not None and incremental != "upsert":
        raise SignatureError(f'{name}: delete is for incremental="upsert" alone', hint="leave it out")
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way to a caller's file and line
    place = (frame.f_code.co_filename, frame.f_lineno)
    _check_name(name, place)
    if (query is None) == (file is None):
        raise SignatureError(f"{name}: give either a query or a file", place=_text(place))
    if file is not None:
        path = Path(place[0]).parent / file
        try:
            query = path.read_text(encoding="utf-8")
        except OSError as error:
            raise SignatureError(
                f"{name}: {path} can't be read: {error.strerror}", place=_text(place)
            ) from error
        place = (str(path), 1)
    return Asset(
        name,
        query=query,
        place=place,
        key=(key,) if isinstance(key, str) else key,
        inputs=inputs,
        partitions=partitions,
        tags=tags,
        description=description,
        retries=retries,
        retry_delay=None if retry_delay is None else _duration(retry_delay),
        retry_on=_several(retry_on),
        timeout=None if timeout is None else _duration(timeout),
        renames=renames,
        columns=columns,
        incremental=incremental,
        lookups=lookups,
        delete=delete,
    )


@dataclass
class Signature:
    """A function's parameters, with annotations evaluated as far as they can be."""

    parameters: list[Parameter] = field(default_factory=list)
    returns: Any = None

    @classmethod
    def of(cls, function: Callable[..., Any], *, owner: str, place: str) -> Signature:
        """Reads a signature.

        Raises:
            SignatureError: ``*args``, ``**kwargs`` or positional-only parameters.
        """
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise SignatureError(f"{owner}: the signature can't be read: {error}", place=place) from error
        scope = getattr(inspect.unwrap(function), "__globals__", {})
        found = cls(returns=_evaluate(signature.return_annotation, scope)[0])
        for p in signature.parameters.values():
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY):
                star = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
                raise SignatureError(
                    f"{owner}: the parameter {star}{p.name} can't be served",
                    place=place,
                    hint="name each input: a parameter is an asset, a resource or config",
                )
            annotation, text = _evaluate(p.annotation, scope)
            found.parameters.append(Parameter(p.name, annotation, text, p.default is not p.empty))
        return found


def _evaluate(annotation: Any, scope: Mapping[str, Any]) -> tuple[Any, str]:
    if annotation is inspect.Signature.empty:
        return None, ""
    if not isinstance(annotation, str):
        return annotation, inspect.formatannotation(annotation)
    try:
        return eval(annotation, dict(scope)), annotation  # noqa: S307 - a user's own annotation in its own module
    except Exception:  # noqa: BLE001 - under TYPE_CHECKING or a typing mistake: told later, if it matters
        return None, annotation


def _policy(
    name: str,
    place: tuple[str, int],
    refresh: str,
    every: str | timedelta | None,
    observe: Callable[..., Any] | None,
) -> tuple[Refresh, timedelta | None]:
    if refresh not in ("code", "always"):
        raise SignatureError(
            f"{name}: refresh={refresh!r} is not known",
            place=_text(place),
            hint='"code" or "always"; or every="1h"; or observe=…',
        )
    if (refresh == "always") + (every is not None) + (observe is not None) > 1:
        raise SignatureError(
            f"{name}: two refresh policies", place=_text(place), hint="give one of refresh, every, observe"
        )
    if every is not None:
        return "every", _duration(every)
    if observe is not None:
        return "observe", None
    return ("always" if refresh == "always" else "code"), None


def _duration(value: str | timedelta) -> timedelta:
    return value if isinstance(value, timedelta) else parse_duration(value)


def _several(given: RetryOn) -> Sequence[type[BaseException] | str]:
    return (given,) if isinstance(given, str | type) else tuple(given)


def _exceptions(
    given: Sequence[type[BaseException] | str], name: str, place: tuple[str, int]
) -> tuple[str, ...]:
    """Exceptions by their full names, as settings write them."""
    found = []
    for one in given:
        if isinstance(one, type) and issubclass(one, BaseException):
            found.append(
                one.__qualname__ if one.__module__ == "builtins" else f"{one.__module__}.{one.__qualname__}"
            )
        elif isinstance(one, str) and all(part.isidentifier() for part in one.split(".")):
            found.append(one)
        else:
            raise SignatureError(
                f"{name}: retry_on={one!r} is no exception",
                place=_text(place),
                hint='give classes or their full names: retry_on=(TimeoutError, "httpx.TransportError")',
            )
    return tuple(found)


def _check_name(name: str, place: tuple[str, int]) -> None:
    if not is_key(name):
        raise SignatureError(
            f"{name!r} can't be an asset's name",
            place=_text(place),
            hint="letters, digits and _, optionally with one namespace: marts.orders",
        )


def place_of(function: Callable[..., Any]) -> tuple[str, int]:
    """File and first line of a function; an empty file where it has no code of its own."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("", 0)


def _text(place: tuple[str, int]) -> str:
    return f"{place[0]}:{place[1]}"
