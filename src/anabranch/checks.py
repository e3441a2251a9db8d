"""Judging an asset's data: a user's Python check is called, a built-in rule becomes SQL over the files themselves.

What comes of either is one `CheckResult`: a sentence with numbers, and a few offending rows as plain JSON. It is given
handles on exact versions of tables and knows nothing of branches, nor of what a failure leads to.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from anabranch.errors import SignatureError
from anabranch.lake.file import StoredFile
from anabranch.names import did_you_mean, parse_limit, percent
from anabranch.pipeline.check import Check, CheckResult, Rule
from anabranch.pipeline.definitions import BoundCheck

if TYPE_CHECKING:
    import pyarrow as pa

    from anabranch.diff.engine import Engine
    from anabranch.lake.tables import Table

SAMPLES = 5
_FRAMES = ("pandas.DataFrame", "polars.DataFrame", "polars.LazyFrame", "duckdb.DuckDBPyRelation")


def run_check(
    bound: BoundCheck,
    sources: Mapping[str, Table | StoredFile],
    *,
    now: datetime,
    memory_limit: str | None = None,
    threads: int | None = None,
) -> CheckResult:
    """Runs one check.

    Args:
        bound: The check.
        sources: Parameter → handle on what it reads; for a rule ``asset``, and ``other`` for what it refers to.
        now: The time that freshness is judged by; with a zone.
        memory_limit: What a rule's engine may take, as DuckDB writes it (``2GB``); more spills to disk.
        threads: Threads of a rule's engine.

    Raises:
        SignatureError: a rule names a column that does not exist or that it can't judge, or a Python check returns
            what is no verdict. Whatever a Python check raises itself passes through.
    """
    check = bound.check
    if check.rule is None:
        return _python(bound, sources)
    return _rule(check, check.rule, sources, now, memory_limit, threads)


# Python checks


def _python(bound: BoundCheck, sources: Mapping[str, Table | StoredFile]) -> CheckResult:
    from anabranch.running.io import serve

    check = bound.check
    assert check.function is not None
    owner = f"the check {check.name}"
    values = {
        slot.parameter: serve(sources[slot.parameter], slot.annotation, owner=owner, parameter=slot.parameter)
        for slot in bound.slots
    }
    found = check.function(**values)
    if isinstance(found, CheckResult):
        return _tidied(check, found)
    verdict = _as_bool(found)
    if verdict is not None:
        return CheckResult(verdict, _default_message(check, verdict))
    return _offending(check, found)


def _default_message(check: Check, passed: bool) -> str:
    about = check.description.strip().partition("\n")[0]
    return f"{check.name} {'passed' if passed else 'failed'}" + (f": {about}" if about else "")


def _as_bool(value: Any) -> bool | None:
    """A bool of Python's or numpy's; polars and pyarrow scalars are turned into one by those who return them."""
    if isinstance(value, bool):
        return value
    is_numpy = type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")
    return bool(value) if is_numpy else None


def _tidied(check: Check, found: CheckResult) -> CheckResult:
    """A user's result with plain values only, whatever was put into it."""
    passed = _as_bool(found.passed)
    if passed is None:
        raise SignatureError(
            f"the check {check.name} returned a CheckResult whose passed is a {type(found.passed).__name__}",
            place=check.place,
            hint="True or False",
        )
    return CheckResult(
        passed,
        str(found.message) or _default_message(check, passed),
        failing=None if found.failing is None else int(found.failing),
        rows=None if found.rows is None else int(found.rows),
        samples=tuple(_plain_value(dict(sample)) for sample in list(found.samples)[:SAMPLES]),
        metadata=_plain_value(dict(found.metadata)),
    )


def _offending(check: Check, found: Any) -> CheckResult:
    """The verdict on a frame, table or relation of offending rows."""
    kind = f"{type(found).__module__.partition('.')[0].lstrip('_')}.{type(found).__name__}"
    if kind == "pandas.DataFrame":
        frame = found.reset_index() if any(name is not None for name in found.index.names) else found
        count = len(frame)
        samples = [_plain_value(row) for row in frame.head(SAMPLES).to_dict("records")]
    elif kind in _FRAMES or _is_arrow(found) or kind == "anabranch.Table":
        from anabranch.running.io import to_arrow

        count, samples = _counted(to_arrow(found, owner=f"the check {check.name}"))
    else:
        raise _no_verdict(check, found)
    text = f"{count:,} offending row{'' if count == 1 else 's'}" if count else "no offending rows"
    about = check.description.strip().partition("\n")[0]
    return CheckResult(
        not count, f"{text}: {about}" if about else text, failing=count, samples=tuple(samples)
    )


def _is_arrow(value: Any) -> bool:
    import pyarrow as pa
    import pyarrow.dataset as ds

    return isinstance(value, pa.Table | pa.RecordBatch | pa.RecordBatchReader | ds.Dataset | ds.Scanner)


def _counted(data: pa.Table | pa.RecordBatchReader) -> tuple[int, list[dict[str, Any]]]:
    count = 0
    samples: list[dict[str, Any]] = []
    for batch in data.to_batches() if hasattr(data, "to_batches") else data:
        if len(samples) < SAMPLES:
            samples += _plain_rows(batch.slice(0, SAMPLES - len(samples)))
        count += batch.num_rows
    return count, samples


def _no_verdict(check: Check, found: Any) -> SignatureError:
    hint = "return a bool, an ab.CheckResult, or a frame of the offending rows"
    if inspect.iscoroutine(found):
        found.close()
        what, hint = "a coroutine", "a check is an ordinary function: def, not async def"
    elif found is None:
        what = "None"
    else:
        what = f"a {type(found).__name__}"
        if type(found).__name__ in ("Series", "ndarray", "ChunkedArray", "BooleanArray"):
            hint = "say whether all of it must be true: return bool(….all())"
        elif hasattr(found, "as_py") or hasattr(found, "dtype"):
            hint = "return bool(…)"
    return SignatureError(
        f"the check {check.name} returned {what}, which says neither yes nor no",
        place=check.place,
        hint=hint,
    )


# Built-in rules


class _Data:
    """A rule's tables, open as views, with names that SQL can use."""

    def __init__(self, check: Check, engine: Engine, tables: Mapping[str, Table]) -> None:
        self.check = check
        self.engine = engine
        self.tables = tables
        self._names: dict[str, dict[str, str]] = {}
        for view, table in tables.items():
            table.create_view(engine.connection, view)
            # DuckDB takes names that differ only in case for one and renames the second: position tells which is which.
            seen = [name for name, _ in engine.columns(_quoted(view))]
            self._names[view] = dict(zip(table.schema.names, seen, strict=False))

    def column(self, view: str, name: str) -> str:
        """A column as SQL. Raises SignatureError if there is none of exactly that name."""
        known = self._names[view]
        if name not in known:
            key = self.tables[view].key
            raise SignatureError(
                f"the check {self.check.name} looks at {key}.{name}, which does not exist",
                place=self.check.place,
                hint=did_you_mean(name, known, f"{key} has the columns {_listed(list(known))}"),
                asset=key,
                column=name,
            )
        return _quoted(known[name])

    def type(self, view: str, name: str) -> pa.DataType:
        """A column's Arrow type."""
        self.column(view, name)
        return self.tables[view].schema.field(name).type

    def number(self, sql: str) -> int:
        """The answer of a query for one number."""
        return int(self.engine.rows(sql)[0][0] or 0)

    def result(
        self,
        failing: int,
        rows: int,
        good: str,
        bad: str,
        samples: Sequence[Mapping[str, Any]],
        more: str = "",
    ) -> CheckResult:
        """The verdict of a rule that tolerates ``at_most``: ``good`` and ``bad`` say what the rows do."""
        assert self.check.rule is not None
        limit = parse_limit(self.check.rule.parameters["at_most"])
        allowed = str(limit).replace("%", " %")
        tolerance = "" if allowed in ("0", "0 %") else f", at most {allowed} allowed"
        if rows == 0:
            text = f"there is no row to look at{more}"
        elif failing == 0:
            text = f"all {rows:,} rows {good}{more}" if rows > 1 else f"the only row looked at is fine{more}"
        else:
            text = f"{failing:,} of {rows:,} rows {bad} ({percent(failing, rows)}{tolerance}){more}"
        return CheckResult(limit.allows(failing, rows), text, failing, rows, tuple(samples))


def _rule(
    check: Check,
    rule: Rule,
    sources: Mapping[str, Table | StoredFile],
    now: datetime,
    memory_limit: str | None,
    threads: int | None,
) -> CheckResult:
    from anabranch.diff.engine import open_engine

    tables: dict[str, Table] = {}
    for view, source in sources.items():
        if isinstance(source, StoredFile):
            raise SignatureError(
                f"the check {check.name} judges rows, but {source.key} is a file",
                place=check.place,
                hint="write a Python check: its parameter is given the ab.File",
            )
        tables[view] = source
    with open_engine(memory_limit=memory_limit, threads=threads) as engine, _sql_errors(check):
        data = _Data(check, engine, tables)
        if rule.kind == "fresh":
            return _fresh(data, rule, now)
        return _RULES[rule.kind](data, rule)


@contextmanager
def _sql_errors(check: Check) -> Iterator[None]:
    """A query that can't be made of a rule is the rule's fault: its columns have types that it can't judge."""
    import duckdb

    try:
        yield
    except (duckdb.BinderException, duckdb.ConversionException, duckdb.NotImplementedException) as error:
        raise SignatureError(
            f"the check {check.name} can't be made on these types: {str(error).strip().partition(chr(10))[0]}",
            place=check.place,
            hint="write it in Python: @ab.check(…)",
        ) from error


def _not_null(data: _Data, rule: Rule) -> CheckResult:
    columns = {name: data.column("asset", name) for name in rule.columns}
    counts = ", ".join(f"count(*) - count({column})" for column in columns.values())
    anywhere = " OR ".join(f"{column} IS NULL" for column in columns.values())
    ((rows, failing, *by_column),) = data.engine.rows(
        f'SELECT count(*), count(*) FILTER (WHERE {anywhere}), {counts} FROM "asset"'
    )
    samples = (
        _sampled(data, f'SELECT * FROM "asset" WHERE {anywhere} ORDER BY ALL LIMIT {SAMPLES}')
        if failing
        else ()
    )
    where = rule.columns[0] if len(columns) == 1 else "one of " + ", ".join(columns)
    result = data.result(
        failing, rows, f"have a value in {_each(rule.columns)}", f"have no value in {where}", samples
    )
    nulls = {name: count for name, count in zip(columns, by_column, strict=True) if count}
    return _with_metadata(result, {"nulls": nulls} if len(columns) > 1 and nulls else {})


def _unique(data: _Data, rule: Rule) -> CheckResult:
    columns = ", ".join(dict.fromkeys(data.column("asset", name) for name in rule.columns))
    rows = data.number('SELECT count(*) FROM "asset"')
    kinds = data.number(f'SELECT count(*) FROM (SELECT 1 FROM "asset" GROUP BY {columns})')
    failing = rows - kinds
    samples: Sequence[Mapping[str, Any]] = ()
    if failing:
        samples = _counted_samples(
            data,
            f'SELECT {columns}, count(*) FROM "asset" GROUP BY {columns} HAVING count(*) > 1'
            f" ORDER BY count(*) DESC, {columns} LIMIT {SAMPLES}",
            list(dict.fromkeys(rule.columns)),
        )
    what = _each(rule.columns)
    return data.result(failing, rows, f"differ in {what}", f"repeat the {what} of another row", samples)


def _row_count(data: _Data, rule: Rule) -> CheckResult:
    rows = data.number('SELECT count(*) FROM "asset"')
    minimum, maximum = rule.parameters["minimum"], rule.parameters["maximum"]
    passed = rows >= minimum and (maximum is None or rows <= maximum)
    wanted = f"at least {minimum:,}" if maximum is None else f"between {minimum:,} and {maximum:,}"
    return CheckResult(
        passed,
        f"{rows:,} row{'' if rows == 1 else 's'}, {wanted} {'' if passed else 'were '}expected",
        rows=rows,
    )


def _references(data: _Data, rule: Rule) -> CheckResult:
    others = rule.parameters["to_columns"]
    target = f"{rule.parameters['to']}.{others[0] if len(others) == 1 else '(' + ', '.join(others) + ')'}"
    right = [data.column("other", name) for name in others]
    return _missing(data, rule.columns, '"other"', right, f"refer to a {target}", f"refer to no {target}")


def _accepted_values(data: _Data, rule: Rule) -> CheckResult:
    import pyarrow as pa

    (name,) = rule.columns
    kind = data.type("asset", name)
    accepted = []
    for value in rule.parameters["values"]:
        try:
            if isinstance(value, float) and pa.types.is_integer(kind) and not value.is_integer():
                raise ValueError("pyarrow would cut it off")
            accepted.append(pa.scalar(value, type=kind))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise SignatureError(
                f"the check {data.check.name} accepts {value!r}, which can't stand in {name}: it holds {kind}",
                place=data.check.place,
                hint="write the values in the column's own type",
                column=name,
            ) from None
    values = pa.table({"value": pa.array([scalar.as_py() for scalar in accepted], type=kind)})
    data.engine.connection.register("accepted", values)
    return _missing(
        data, rule.columns, '"accepted"', ['"value"'], f"hold an accepted {name}", f"hold no accepted {name}"
    )


def _missing(
    data: _Data, columns: Sequence[str], other: str, other_columns: Sequence[str], good: str, bad: str
) -> CheckResult:
    """Rows of the asset, those with nulls aside, whose values the other relation does not have."""
    left = [data.column("asset", name) for name in columns]
    keys = [f"k{index}" for index in range(len(left))]
    grouped = ", ".join(f"{column} AS {key}" for column, key in zip(left, keys, strict=True))
    filled = " AND ".join(f"{column} IS NOT NULL" for column in left)
    match = " AND ".join(f"w.{key} = o.{column}" for key, column in zip(keys, other_columns, strict=True))
    data.engine.execute(
        f'CREATE TEMP TABLE wanting AS SELECT * FROM (SELECT {grouped}, count(*) AS n FROM "asset"'
        f" WHERE {filled} GROUP BY ALL) AS w ANTI JOIN {other} AS o ON {match}"
    )
    failing = data.number("SELECT sum(n) FROM wanting")
    ((every, rows),) = data.engine.rows(f'SELECT count(*), count(*) FILTER (WHERE {filled}) FROM "asset"')
    samples = _counted_samples(
        data, f"SELECT * FROM wanting ORDER BY n DESC, {', '.join(keys)} LIMIT {SAMPLES}", list(columns)
    )
    more = ""
    if samples:
        shown = []
        for sample in samples[:3]:
            *value, count = sample.values()
            text = ", ".join(_brief(part) for part in value)
            shown.append(f"{text if len(value) == 1 else f'({text})'} ({count:,})")
        more += f"; most often {', '.join(shown)}"
    if every > rows:
        aside = every - rows
        more += f"; {aside:,} row{'' if aside == 1 else 's'} with a null left aside"
    return data.result(failing, rows, good, bad, samples, more)


def _fresh(data: _Data, rule: Rule, now: datetime) -> CheckResult:
    from pyarrow import types

    (name,) = rule.columns
    kind = data.type("asset", name)
    if not types.is_date(kind) and not types.is_timestamp(kind):
        raise SignatureError(
            f"the check {data.check.name} asks how old {name} is, but it holds {kind}",
            place=data.check.place,
            hint="a date or a timestamp has an age",
            column=name,
        )
    column = data.column("asset", name)
    within = timedelta(seconds=rule.parameters["within_seconds"])
    # As a number of microseconds: a time may lie beyond what Python's datetime can hold.
    ((newest, text, rows),) = data.engine.rows(
        f'SELECT epoch_us(max({column})), max({column})::VARCHAR, count(*) FROM "asset"'
    )
    if newest is None:
        empty = "has no rows" if rows == 0 else f"has no value in {name}"
        return CheckResult(
            False, f"{data.tables['asset'].key} {empty}, so nothing of it is fresh", rows=int(rows)
        )
    moment = (now.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    age = moment - int(newest)
    if types.is_date(kind):
        day = timedelta(days=1) // timedelta(microseconds=1)
        age = max(0, age - day) if age >= 0 else age
    limit = within // timedelta(microseconds=1)
    passed = age <= limit
    how = f"{_span(age)} old" if age >= 0 else f"{_span(-age)} ahead of now"
    return CheckResult(
        passed,
        f"the newest {name} is {text}, {how}, at most {_span(limit)} allowed",
        rows=int(rows),
        metadata={"newest": text, "age_seconds": age / 1e6},
    )


_RULES: dict[str, Callable[[_Data, Rule], CheckResult]] = {
    "not_null": _not_null,
    "unique": _unique,
    "row_count": _row_count,
    "references": _references,
    "accepted_values": _accepted_values,
}


# Words and plain values


def _quoted(name: str) -> str:
    from anabranch.diff.values import identifier

    return identifier(name)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + ("…" if len(names) > 20 else "")


def _each(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _span(microseconds: int) -> str:
    seconds = microseconds / 1e6
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{round(seconds / size, 1):g} {unit}"
    return f"{round(seconds, 1):g} s"


def _with_metadata(result: CheckResult, metadata: Mapping[str, Any]) -> CheckResult:
    return replace(result, metadata=metadata)


def _sampled(data: _Data, sql: str) -> tuple[dict[str, Any], ...]:
    return tuple(_plain_rows(data.engine.table(sql)))


def _counted_samples(data: _Data, sql: str, columns: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """Samples of values with the number of rows that have them, which stands last, under a name that no column has."""
    count = "rows"
    while count in columns:
        count = f"_{count}"
    return tuple(_plain_rows(data.engine.table(sql).rename_columns([*columns, count])))


def _plain_rows(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    from anabranch.diff.values import plain

    names = table.schema.names
    return [
        {name: plain(table.column(index)[row]) for index, name in enumerate(names)}
        for row in range(table.num_rows)
    ]


def _plain_value(value: Any) -> Any:
    """Whatever a user put into a result, as plain JSON."""
    from anabranch.diff.values import plain_python

    if isinstance(value, Mapping):
        return {str(key): _plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain_value(item) for item in value]
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return _plain_value(value.tolist())
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "as_py"):
        return _plain_value(value.as_py())
    return plain_python(value)
