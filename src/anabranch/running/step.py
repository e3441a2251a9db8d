"""One step, in whatever process it runs: read the inputs, call the user's code, write the result. Nothing else.

A step knows pointers to its inputs, the storage prefix that it may write under and the resources of its environment.
It has no catalog: what it made becomes part of a branch only when the executor commits the pointer it returns.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from anabranch.columns import PROPERTY, Declared, descriptions, encode_tags
from anabranch.dataclass import dataclass, field
from anabranch.errors import AnabranchError, SignatureError, StepError
from anabranch.names import now
from anabranch.pipeline.check import CheckResult
from anabranch.pipeline.definitions import BoundAsset, Pipeline, Slot
from anabranch.pipeline.incremental import Upsert
from anabranch.pipeline.outside import Clones
from anabranch.running.current import under_way
from anabranch.running.increments import Progressing, StepIncrement, begin, finish
from anabranch.running.io import Source
from anabranch.running.machine import forget_peak, peak_memory
from anabranch.running.parts import Part, Parts
from anabranch.running.retry import unknown, worth_another_try

if TYPE_CHECKING:
    from anabranch.lake.layout import Slice
    from anabranch.lake.partitions import PartitionFiles
    from anabranch.lake.storage import Scope, Storage
    from anabranch.lake.tables import Written
    from anabranch.pipeline.partition import Partition
    from anabranch.pipeline.resource import Resource


@dataclass(frozen=True)
class StepTask:
    """What a worker is told; picklable, without any secret but the object store's own properties.

    Attributes:
        kind: Whether to build an asset, to run a check, or to ask a source for its outside version.
        key: The asset, or ``asset:check``.
        inputs: Key of the input → pointer.
        previous: The version that this one replaces: keeps column ids and table identity.
        query: For a SQL asset: the query as it was planned.
        column_sets: Sets of columns of the result whose versions are wanted.
        resources: Name of the resource set.
        clones: Where the databases of `CloneOf` are.
        warehouse: URI.
        properties: The warehouse's properties, resolved.
        scope: What may be written.
        log: File that takes what the step prints, or None to leave it alone.
        threads: Threads that the step's engines should use.
        memory: Bytes that the step's engines should stay below.
        attempt: 1, 2, …
        foreign: Names of variables that belong to other environments.
        retry_on: Full names of the exceptions that are worth another try; none: all.
        asset: For a task that makes partitions: the asset; its key then names the task.
        parts: The partitions that it makes.
        run: Folder of the run's records, or empty.
        increment: For an incremental asset: how it is to be brought up to date.
    """

    kind: Literal["asset", "check", "observe"]
    key: str
    inputs: Mapping[str, Source] = field(default_factory=dict)
    previous: Source | None = None
    query: str | None = None
    column_sets: tuple[tuple[str, ...], ...] = ()
    resources: str = ""
    clones: Clones = field(default_factory=dict)
    warehouse: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    scope: Scope | None = None
    log: str | None = None
    threads: int = 2
    memory: int | None = None
    attempt: int = 1
    foreign: tuple[str, ...] = ()
    retry_on: tuple[str, ...] = ()
    increment: StepIncrement | None = None
    asset: str = ""
    parts: tuple[Part, ...] = ()
    run: str = ""

    @property
    def of(self) -> str:
        """The asset that it is about, or the check."""
        return self.asset or self.key

    def storage(self) -> Storage:
        """The warehouse, under the scope of the step."""
        from anabranch.lake.storage import Storage

        return Storage(self.warehouse, properties=self.properties, scope=self.scope)


@dataclass(frozen=True)
class StepResult:
    """What came of it: a pointer to the new version, a check's finding, an outside version, or an error.

    Attributes:
        retriable: Whether the error is of a kind that is worth another try.
        increment: For an incremental asset: how it was brought up to date; plain values.
        facts: What else is kept of it; plain values.
    """

    key: str
    ok: bool
    kind: Literal["table", "file"] = "table"
    location: str = ""
    version: str = ""
    rows: int | None = None
    bytes: int = 0
    seconds: float = 0.0
    memory: int | None = None
    check: CheckResult | None = None
    outside: str | None = None
    error: Mapping[str, Any] | None = None
    computed_at: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    retriable: bool = True
    parts: Parts | None = None
    increment: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def run_step(
    pipeline: Pipeline, task: StepTask, *, root: Path, on_progress: Callable[[int], None] | None = None
) -> StepResult:
    """Runs one step in this process. Never raises for what user code does: the result tells; KeyboardInterrupt passes."""
    forget_peak()
    started = time.perf_counter()
    at = now().isoformat()
    try:
        with under_way(task, root) as current:
            made = _run(pipeline, task, on_progress, root)
    except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 - a user's code may raise anything
        seconds = time.perf_counter() - started
        return StepResult(
            task.key,
            ok=False,
            error=_error(error, task, root),
            seconds=seconds,
            memory=peak_memory(),
            computed_at=at,
            retriable=worth_another_try(task.retry_on, error),
        )
    return StepResult(
        task.key,
        ok=True,
        seconds=time.perf_counter() - started,
        memory=peak_memory(),
        computed_at=at,
        facts=current.facts,
        **made,
    )


def _run(
    pipeline: Pipeline, task: StepTask, on_progress: Callable[[int], None] | None, root: Path
) -> dict[str, Any]:
    assert task.scope is not None
    storage = task.storage()
    sources = {key: source.open(storage) for key, source in task.inputs.items()}
    if task.kind == "check":
        from anabranch.checks import run_check

        bound_check = pipeline.checks[task.key]
        handles = {slot.parameter: sources[slot.target] for slot in bound_check.slots}
        return {
            "check": run_check(
                bound_check, handles, now=now(), memory_limit=_memory(task), threads=task.threads
            )
        }
    bound = pipeline.assets[task.of]
    with ExitStack() as stack:
        if task.kind == "observe":
            assert bound.asset.observe is not None
            held = _resources(pipeline, bound.observe_slots, task, stack)
            seen = bound.asset.observe(**held)
            if not isinstance(seen, str | int | float):
                raise SignatureError(
                    f"the observe function of {task.key} returned a {type(seen).__name__}",
                    hint="return a text or a number: an ETag, a greatest id",
                )
            return {"outside": str(seen)}
        if task.parts:
            return _make_parts(pipeline, bound, task, storage, sources, stack, on_progress, root)
        increment = None
        if task.increment is not None:
            increment = begin(task.increment, task.key, sources, task.previous, storage)
        if task.query is not None:
            reads = _reads(bound, task) if increment is None else {}
            value: Any = stack.enter_context(_query(task.query, task, sources, increment, reads=reads))
        else:
            assert bound.asset.function is not None
            arguments: dict[str, Any] = _resources(pipeline, bound.slots, task, stack)
            arguments |= _values(bound.slots, sources, task.key, increment)
            arguments |= {slot.parameter: bound.config for slot in bound.slots if slot.role == "config"}
            value = bound.asset.function(**arguments)
        return _store(storage, task, bound.asset.renames, bound.asset.columns, value, on_progress, increment)


def _make_parts(
    pipeline: Pipeline,
    bound: BoundAsset,
    task: StepTask,
    storage: Storage,
    sources: Mapping[str, Any],
    stack: ExitStack,
    on_progress: Callable[[int], None] | None,
    root: Path,
) -> dict[str, Any]:
    from anabranch.lake.partitions import PartitionWriter
    from anabranch.running.io import to_arrow
    from anabranch.running.parts import make_parts

    asset = bound.asset
    assert asset.partitions is not None
    shared: dict[str, Any] = {}
    if task.query is None:
        shared |= _resources(pipeline, bound.slots, task, stack)
    shared |= {slot.parameter: bound.config for slot in bound.slots if slot.role == "config"}
    previous: Any = None
    if task.previous is not None and task.previous.kind == "table":
        previous = task.previous.open(storage)
    done = 0

    @contextmanager
    def call(handles: Mapping[str, Any], asked: Sequence[Partition]) -> Iterator[Any]:
        if task.query is not None:
            assert bound.query is not None
            one = asked[0]
            known = {"partition": one.key, "partition_start": one.start, "partition_end": one.end}
            with _query(
                task.query,
                task,
                handles,
                parameters={name: known[name] for name in bound.query.parameters},
            ) as reader:
                yield reader
            return
        assert asset.function is not None
        given = {slot.parameter: asked[0] for slot in bound.slots if slot.role == "partition"}
        lists = {slot.parameter: list(asked) for slot in bound.slots if slot.role == "partitions"}
        yield asset.function(**shared, **_values(bound.slots, handles, task.of), **given, **lists)

    def progress(rows: int) -> None:
        if on_progress is not None:
            on_progress(done + rows)

    writer = PartitionWriter(
        storage,
        task.of,
        asset.partitions.layout(),
        previous,
        asset.renames,
        descriptions(asset.columns),
        task.threads,
        progress,
        column_sets=task.column_sets,
    )

    def store(pieces: Iterable[tuple[Slice, Any]]) -> Iterator[PartitionFiles]:
        nonlocal done
        for files in writer.write_all((piece, to_arrow(value, owner=task.of)) for piece, value in pieces):
            done += files.rows
            yield files

    parts = make_parts(
        asset.partitions,
        task.parts,
        sources,
        call,
        store,
        lambda error: {
            **_error(error, task, root),
            "retriable": worth_another_try(task.retry_on, error),
        },
        batched=any(slot.role == "partitions" for slot in bound.slots),
        owner=task.of,
    )
    return {"parts": parts, "rows": parts.rows, "bytes": parts.bytes}


def _values(
    slots: tuple[Slot, ...], sources: Mapping[str, Any], owner: str, increment: Progressing | None = None
) -> dict[str, Any]:
    from anabranch.running.io import serve

    found: dict[str, Any] = {}
    for s in slots:
        if s.role == "input":
            found[s.parameter] = serve(sources[s.target], s.annotation, owner=owner, parameter=s.parameter)
        elif s.role == "changes" and increment is not None:
            found[s.parameter] = increment.changes[s.target]
        elif s.role == "previous" and increment is not None:
            table = increment.previous
            found[s.parameter] = (
                None if table is None else serve(table, s.annotation, owner=owner, parameter=s.parameter)
            )
    return found


def _resources(
    pipeline: Pipeline, slots: tuple[Slot, ...], task: StepTask, stack: ExitStack
) -> dict[str, Resource]:
    """Own copies with variables resolved, set up, and torn down when the stack unwinds."""
    needed = [slot for slot in slots if slot.role == "resource"]
    if not needed:
        return {}
    known = pipeline.definitions.resource_set(task.resources)
    held: dict[str, Resource] = {}
    opened: dict[str, Resource] = {}
    for slot in needed:
        if slot.target not in known:
            raise SignatureError(
                f"{task.of} needs the resource {slot.target!r}, which {task.resources!r} does not have",
                hint=f'add it to Definitions(resources={{"{task.resources}": {{…}}}})',
            )
        if slot.target not in opened:
            copy = known[slot.target].resolved(clones=task.clones)
            stack.callback(copy.teardown)
            copy.setup()
            opened[slot.target] = copy
        held[slot.parameter] = opened[slot.target]
    return held


@lru_cache(maxsize=1)
def _engine(process: int) -> Any:  # noqa: ARG001 - a fork must not share its parent's engine
    """This process's DuckDB: starting one takes longer than most small queries."""
    import duckdb

    # A query reads its inputs and nothing else: never a Python variable that happens to have a table's name.
    # Nor does it download anything: an extension that is missing is an error.
    return duckdb.connect(config={"python_enable_replacements": False, "autoinstall_known_extensions": False})


def _reads(bound: BoundAsset, task: StepTask) -> Mapping[str, tuple[str, ...] | None]:
    """What the query that was planned reads of its inputs; nothing is known of another text."""
    if bound.query is None or task.query != bound.asset.query:
        return {}
    return bound.query.reads


@contextmanager
def _query(
    query: str,
    task: StepTask,
    sources: Mapping[str, Any],
    increment: Progressing | None = None,
    *,
    parameters: Mapping[str, Any] | None = None,
    reads: Mapping[str, tuple[str, ...] | None] = MappingProxyType({}),
) -> Iterator[Any]:
    """A reader over a query's result, with the inputs as views so that columns and filters are pushed down into them."""
    import duckdb

    connection = _engine(os.getpid()).cursor()
    try:
        connection.execute(f"SET threads = {max(1, task.threads)}")
        # Times come back in UTC, as the lake keeps them, wherever the machine stands.
        connection.execute("SET TimeZone = 'UTC'")
        if task.memory is not None:
            connection.execute(f"SET memory_limit = '{task.memory // 2**20}MiB'")
        # Each step has a database of its own, so that no view of another one is in sight.
        connection.execute("ATTACH ':memory:' AS step")
        connection.execute("USE step")
        for key, source in sources.items():
            source.create_view(connection, key, reads.get(key))
        for key, changes in (increment.changes if increment is not None else {}).items():
            changes.create_views(connection, key)
        delete = None
        if increment is not None and increment.told.delete is not None and increment.previous is not None:
            delete = connection.sql(increment.told.delete).to_arrow_table()
        result: Any = connection.sql(query, params=dict(parameters)) if parameters else connection.sql(query)
        if result is None:
            raise StepError(f"{task.of}: the query returns no rows")
        rows = (
            result.to_arrow_reader(100_000)
            if hasattr(result, "to_arrow_reader")
            else result.fetch_record_batch(100_000)
        )
        yield rows if delete is None else Upsert(rows, delete)
    except duckdb.Error as error:
        raise StepError(
            f"{task.of}: DuckDB says: {error}", hint="the query runs by itself with: anabranch sql"
        ) from error
    finally:
        with suppress(duckdb.Error):
            connection.execute("USE memory")
            connection.execute("DETACH DATABASE IF EXISTS step")
        connection.close()


def _store(
    storage: Storage,
    task: StepTask,
    renames: Mapping[str, str],
    columns: Mapping[str, Declared],
    value: Any,
    on_progress: Callable[[int], None] | None,
    increment: Progressing | None,
) -> dict[str, Any]:
    from anabranch.running.io import is_file, to_arrow

    if increment is None and isinstance(value, Upsert):
        raise StepError(
            f"{task.key} returned ab.Upsert, but is not incremental", hint='@ab.asset(incremental="upsert")'
        )
    if is_file(value) and increment is None:
        from anabranch.lake.tables import write_file_asset

        content = value.content
        written = write_file_asset(storage, task.key, content, name=value.name)
        return {
            "kind": "file",
            "location": written.location,
            "version": written.version,
            "rows": None,
            "bytes": written.bytes,
        }
    from anabranch.lake.tables import Table, write_table

    previous = None
    if task.previous is not None and task.previous.kind == "table":
        previous = Table(task.key, task.previous.location, storage, version=task.previous.version)
    if increment is not None:
        done = finish(
            increment,
            storage,
            task.key,
            value,
            before=previous,
            renames=renames,
            docs=descriptions(columns),
            properties={PROPERTY: encode_tags(columns)},
            column_sets=task.column_sets,
            threads=task.threads,
            on_progress=on_progress,
        )
        return {**_told(done), "increment": increment.to_dict()}
    written = write_table(
        storage,
        task.key,
        to_arrow(value, owner=task.key),
        previous=previous,
        renames=renames,
        docs=descriptions(columns),
        properties={PROPERTY: encode_tags(columns)},
        column_sets=task.column_sets,
        threads=task.threads,
        on_progress=on_progress,
    )
    return _told(written)


def _told(written: Written) -> dict[str, Any]:
    return {
        "kind": "table",
        "location": written.location,
        "version": written.version,
        "rows": written.rows,
        "bytes": written.bytes,
        "columns": dict(written.columns),
    }


def _error(error: BaseException, task: StepTask, root: Path) -> dict[str, Any]:
    """The error as plain values, its traceback cut to the user's own frames where there are any."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if _is_users(f.filename, root)]
    text = "".join(traceback.format_list(own)) if own else "".join(traceback.format_list(frames))
    chain = "".join(traceback.format_exception_only(error))
    mistyped = unknown(task.retry_on)
    hint = f"retry_on names {mistyped[0]}, which is no exception here" if mistyped else None
    if isinstance(error, AnabranchError):
        return {
            "type": type(error).__name__,
            "message": error.message,
            "hint": "; ".join(text for text in (error.hint, hint) if text) or None,
            "place": error.place,
            "facts": _plain(error.facts),
            "traceback": f"Traceback (most recent call last):\n{text}{chain}" if own else "",
            "users": bool(own),
        }
    place = f"{_relative(own[-1].filename, root)}:{own[-1].lineno}" if own else None
    return {
        "type": type(error).__name__,
        "message": f"{task.of}: {type(error).__name__}: {error}",
        "hint": hint,
        "place": place,
        "facts": {},
        "traceback": f"Traceback (most recent call last):\n{text}{chain}",
        "users": True,
    }


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        k: v if isinstance(v, str | int | float | bool | None | list | dict) else str(v)
        for k, v in facts.items()
    }


def _is_users(file: str, root: Path) -> bool:
    path = Path(file)
    return path.is_relative_to(root) and {".venv", "site-packages"}.isdisjoint(path.parts)


def _relative(file: str, root: Path) -> str:
    return Path(file).relative_to(root).as_posix()


def _memory(task: StepTask) -> str | None:
    return None if task.memory is None else f"{task.memory // 2**20}MiB"
