"""A value that a Dagster asset returns, as something that the lake keeps; and what the lake keeps, as what an asset asks for.

Tables are kept as tables whatever library they are of, so that they can be compared, queried and promoted; everything else
is pickled, as Dagster's own default does. How a value was kept is told by its facts, which go with it.
"""

from __future__ import annotations

import contextlib
import pickle
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anabranch.errors import SignatureError, UnstorableError
from anabranch.lake.file import File, StoredFile
from anabranch.lake.layout import PARTITION_COLUMNS
from anabranch.names import new_id
from anabranch.running.io import serve, to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

    from anabranch.lake.tables import Table

NOTHING = "nothing"
PICKLE = "pickle"
_TABLES = frozenset(
    {
        "pandas.DataFrame",
        "polars.DataFrame",
        "polars.LazyFrame",
        "pyarrow.Table",
        "pyarrow.RecordBatch",
        "pyarrow.RecordBatchReader",
        "duckdb.DuckDBPyRelation",
        "pyspark.DataFrame",
    }
)
_READ_AS = {"pyarrow.RecordBatch": "pyarrow.Table"}


def type_of(value: Any) -> str:
    """``pandas.DataFrame`` for a value or a class, wherever its library defines it."""
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__.partition('.')[0].lstrip('_')}.{kind.__name__}"


def kept(value: Any, *, owner: str, data_version: str | None = None) -> tuple[Any, dict[str, Any]]:
    """What the lake is to keep of a value, and the facts by which `asked` gives it back.

    Args:
        value: What an asset has returned.
        owner: The asset, for messages.
        data_version: What the asset itself calls its content, where it returns nothing.
    """
    name = type_of(value)
    if value is None:
        # An asset that only acts: who reads it must act again when it has, unless it says that all is as it was.
        text = data_version if data_version is not None else new_id()
        return File(text.encode(), name="nothing"), {"type": NOTHING}
    if name not in _TABLES:
        return File(pickle.dumps(value), name="value.pickle"), {"type": PICKLE, "of": name}
    if name == "pandas.DataFrame":
        return _kept_pandas(value, owner)
    if name == "pyspark.DataFrame":
        found: Any = value.toArrow() if hasattr(value, "toArrow") else to_arrow(value.toPandas(), owner=owner)
        return found, {"type": name}
    if name in ("polars.DataFrame", "pyarrow.Table"):
        return typed(to_arrow(value, owner=owner)), {"type": name}
    return value, {"type": name}


def typed(data: Any) -> Any:
    """A table whose columns without any value have a type, as a database gives them one: text."""
    import pyarrow as pa

    def known(kind: Any) -> Any:
        if pa.types.is_null(kind):
            return pa.string()
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return pa.list_(known(kind.value_type))
        if pa.types.is_struct(kind):
            return pa.struct([field.with_type(known(field.type)) for field in kind])
        return kind

    def unknown(kind: Any) -> bool:
        inner = [kind.field(at).type for at in range(kind.num_fields)]
        return pa.types.is_null(kind) or any(unknown(each) for each in inner)

    if not isinstance(data, pa.Table) or not any(unknown(kind) for kind in data.schema.types):
        return data
    fields = [f.with_type(known(f.type)) if unknown(f.type) else f for f in data.schema]
    return data.cast(pa.schema(fields))


def _kept_pandas(frame: Any, owner: str) -> tuple[Any, dict[str, Any]]:
    facts: dict[str, Any] = {"type": "pandas.DataFrame"}
    index = [name for name in frame.index.names if name is not None]
    with contextlib.suppress(UnstorableError, ValueError):
        if index:
            if not all(isinstance(name, str) for name in index):
                raise UnstorableError("an index without a name of its own")
            return typed(to_arrow(frame.reset_index(), owner=owner)), {**facts, "index": index}
        return typed(to_arrow(frame, owner=owner)), facts
    # Columns that no table can have, such as values of several types: it was pickled before, and is now.
    return File(pickle.dumps(frame), name="value.pickle"), {"type": PICKLE, "of": "pandas.DataFrame"}


def asked(
    source: Table | StoredFile | None,
    annotation: Any,
    facts: Mapping[str, Any],
    *,
    owner: str,
    parameter: str,
    columns: Sequence[str] | None = None,
    keys: Mapping[str, str] | None = None,
) -> Any:
    """The value for an input.

    Args:
        source: A handle on it.
        annotation: The type that the asset asks for, or Any.
        facts: What was kept of the step that made it.
        owner, parameter: For messages.
        columns: The columns that are wanted; None: all.
        keys: For partitions that are asked for one by one: our key → Dagster's; None: all in one table.

    Raises:
        SignatureError: nothing can be read as that type.
    """
    if source is None:
        return None
    if isinstance(source, StoredFile):
        if facts.get("type") == NOTHING or source.name == "nothing":
            return None
        return pickle.loads(source.read_bytes())  # noqa: S301 - written by this project's own run, as Dagster does
    if keys is not None:
        inner = _inner(annotation)
        return {
            theirs: _one(source.only((ours,)), inner, facts, owner, parameter, columns)
            for ours, theirs in keys.items()
        }
    return _one(source, annotation, facts, owner, parameter, columns)


def wants_each(annotation: Any) -> bool:
    """Whether an asset asks for partitions one by one, as ``dict[str, pandas.DataFrame]``."""
    origin = typing.get_origin(annotation)
    return annotation is dict or (isinstance(origin, type) and issubclass(origin, dict | Mapping))


def _inner(annotation: Any) -> Any:
    arguments = typing.get_args(annotation)
    return arguments[1] if len(arguments) == 2 else Any


def _one(
    source: Table,
    annotation: Any,
    facts: Mapping[str, Any],
    owner: str,
    parameter: str,
    columns: Sequence[str] | None,
) -> Any:
    name = _wanted(annotation, facts)
    table = source.to_arrow(columns) if columns else _without_added(source)
    if name == "pandas.DataFrame":
        from anabranch.lake.engines import frame_of_pandas

        frame = frame_of_pandas(table)
        index = [each for each in facts.get("index", ()) if each in frame.columns]
        return frame.set_index(index) if index else frame
    if name == "polars.DataFrame":
        from anabranch.lake.engines import frame_of_polars

        return frame_of_polars(table)
    if name == "polars.LazyFrame":
        from anabranch.lake.engines import frame_of_polars

        return frame_of_polars(table).lazy()
    if name == "pyarrow.Table":
        return table
    if name == "pyarrow.RecordBatchReader":
        return table.to_reader()
    if name == "pyspark.DataFrame":
        from pyspark.sql import SparkSession  # type: ignore[import-not-found,unused-ignore]

        session = SparkSession.builder.getOrCreate()
        return session.createDataFrame(table.to_pandas())
    if isinstance(annotation, type):
        return serve(source, annotation, owner=owner, parameter=parameter)
    raise SignatureError(
        f"{owner}: the input {parameter!r} is annotated {annotation}, which no table can be read as",
        hint="annotate it as a pandas, polars, pyarrow or pyspark frame",
    )


def _wanted(annotation: Any, facts: Mapping[str, Any]) -> str:
    for each in (annotation, *typing.get_args(annotation)):
        if isinstance(each, type) and type_of(each) in _TABLES:
            return _READ_AS.get(type_of(each), type_of(each))
    if annotation in (Any, None, object) or not isinstance(annotation, type):
        found = str(facts.get("type", "pandas.DataFrame"))
        return _READ_AS.get(found, found if found in _TABLES else "pandas.DataFrame")
    return type_of(annotation)


def _without_added(source: Table) -> pa.Table:
    names = source.schema.names
    wanted = [name for name in names if name not in PARTITION_COLUMNS]
    return source.to_arrow() if len(wanted) == len(names) else source.to_arrow(wanted)
