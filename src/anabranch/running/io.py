"""How a stored table becomes the value a function asks for, and how what it returns becomes a table again.

The annotated type of a parameter chooses; the type of the returned value chooses. It knows nothing of the catalog:
an input is a pointer, a result is a pointer.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from anabranch.dataclass import dataclass, field
from anabranch.errors import SignatureError, UnstorableError
from anabranch.lake.file import File, StoredFile
from anabranch.sample import Sample

if TYPE_CHECKING:
    import pyarrow as pa

    from anabranch.lake.storage import Storage
    from anabranch.lake.tables import Table


@dataclass(frozen=True)
class Source:
    """A pointer to an input: what a step is given of the catalog, and all it is given of it.

    Attributes:
        key, kind, location, version: As of the entry.
        sample: How much of a table is read, and by which column; None: all of it.
        facts: For a check: what was kept of the step that made it.
    """

    key: str
    kind: Literal["table", "file"]
    location: str
    version: str
    sample: Sample | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def open(self, storage: Storage) -> Table | StoredFile:
        """A handle on it; nothing is read yet."""
        if self.kind == "file":
            return StoredFile(self.key, self.location, storage, self.version)
        if self.sample is not None:
            from anabranch.lake.sample import SampledTable

            return SampledTable(self.key, self.location, storage, self.version, sample=self.sample)
        from anabranch.lake.tables import Table

        return Table(self.key, self.location, storage, version=self.version)


def _type_name(annotation: Any) -> str:
    """``polars.LazyFrame`` for the class wherever it is defined; works on strings, so that no library need be imported."""
    if annotation is None:
        return ""
    if isinstance(annotation, str):
        return annotation
    if not inspect.isclass(annotation):
        return repr(annotation)
    return f"{annotation.__module__.partition('.')[0].lstrip('_')}.{annotation.__name__}"


_READERS = {
    "pandas.DataFrame": lambda table: table.to_pandas(),
    "polars.DataFrame": lambda table: table.to_polars(),
    "polars.LazyFrame": lambda table: table.to_lazy(),
    "pyarrow.Table": lambda table: table.to_arrow(),
    "pyarrow.RecordBatchReader": lambda table: table.to_batches(),
    "pyarrow.Dataset": lambda table: table.to_dataset(),
    "duckdb.DuckDBPyRelation": lambda table: table.to_duckdb(),
    "anabranch.Table": lambda table: table,
}
_SHORT = {
    "pd.DataFrame": "pandas.DataFrame",
    "pl.DataFrame": "polars.DataFrame",
    "pl.LazyFrame": "polars.LazyFrame",
    "pa.Table": "pyarrow.Table",
    "pa.RecordBatchReader": "pyarrow.RecordBatchReader",
    "duckdb.DuckDBPyRelation": "duckdb.DuckDBPyRelation",
    "ab.Table": "anabranch.Table",
    "ab.File": "anabranch.File",
}


def serve(source: Table | StoredFile, annotation: Any, *, owner: str, parameter: str) -> Any:
    """The value for a parameter.

    Args:
        source: A handle on the input.
        annotation: The parameter's annotation; none at all gives the handle itself.
        owner: Name of the asset or check, for messages.
        parameter: Name of the parameter, for messages.

    Raises:
        SignatureError: no reader for the annotation, or a table is asked for where a file is kept, or the other way round.
    """
    name = _type_name(annotation)
    name = _SHORT.get(name, name)
    if isinstance(source, StoredFile):
        if name in ("", "anabranch.File", "anabranch.StoredFile"):
            return source
        raise SignatureError(
            f"{owner}: {source.key} is a file, but the parameter {parameter!r} is annotated {name}",
            hint=f"{parameter}: ab.File",
        )
    if not name:
        return source
    reader = _READERS.get(name)
    if reader is None:
        if name.endswith(".File"):
            raise SignatureError(
                f"{owner}: {source.key} is a table, but the parameter {parameter!r} is annotated as a file",
                hint=f"{parameter}: pl.DataFrame",
            )
        raise SignatureError(
            f"{owner}: the parameter {parameter!r} is annotated {name}, which no table can be read as",
            hint="one of " + ", ".join(sorted(_READERS)),
        )
    return reader(source)


def to_arrow(value: Any, *, owner: str) -> pa.Table | pa.RecordBatchReader:
    """What a function returned, as Arrow data; streams where the value does.

    Raises:
        UnstorableError: the value is no table, or a column of it can't be converted; names owner and column.
    """
    import pyarrow as pa

    from anabranch.lake.tables import Table

    if isinstance(value, pa.Table | pa.RecordBatchReader):
        return value
    if isinstance(value, pa.RecordBatch):
        return pa.Table.from_batches([value])
    if isinstance(value, Table):
        return value.to_batches()
    name = _type_name(type(value))
    if name == "pandas.DataFrame":
        return _from_pandas(value, owner)
    if name == "polars.DataFrame":
        return value.to_arrow()
    if name == "polars.LazyFrame":
        return _from_lazy(value)
    if name == "duckdb.DuckDBPyRelation":
        return (
            value.to_arrow_reader(100_000)
            if hasattr(value, "to_arrow_reader")
            else value.fetch_record_batch(100_000)
        )
    if name in (
        "pyarrow.FileSystemDataset",
        "pyarrow.InMemoryDataset",
        "pyarrow.UnionDataset",
        "pyarrow.Dataset",
    ):
        return value.scanner().to_reader()
    if name == "pyarrow.Scanner":
        return value.to_reader()
    if isinstance(value, Iterator) or inspect.isgenerator(value):
        return _from_batches(value, owner)
    what = "None" if value is None else f"a {type(value).__name__}"
    raise UnstorableError(
        f"{owner} returned {what}, which is no table",
        hint="return a pandas or polars frame, a pyarrow Table or RecordBatchReader, a DuckDB relation, or ab.File",
    )


def _from_pandas(frame: Any, owner: str) -> pa.Table:
    import pyarrow as pa

    names = [name for name in frame.index.names if name is not None]
    if names:
        raise UnstorableError(
            f"{owner}: the index {names[0]!r} of the returned frame would be lost",
            hint="return frame.reset_index()",
        )
    odd = [column for column in frame.columns if not isinstance(column, str)]
    if odd:
        raise UnstorableError(
            f"{owner}: the column {odd[0]!r} has a name that is no text",
            hint="frame.columns = [str(c) for c in frame.columns]",
        )
    try:
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        column = next((c for c in frame.columns if _fails(frame[c])), None)
        raise UnstorableError(
            f"{owner}: the column {column!r} holds values that have no one type: {error.args[0]}",
            hint=f"convert it first, for example frame[{column!r}].astype('string')",
            column=column,
        ) from None


def _fails(series: Any) -> bool:
    import pyarrow as pa

    try:
        pa.Array.from_pandas(series)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return True
    return False


def _from_lazy(frame: Any) -> pa.Table | pa.RecordBatchReader:
    import polars as pl
    import pyarrow as pa

    if not hasattr(frame, "collect_batches"):
        return frame.collect(engine="streaming").to_arrow()
    schema = pl.DataFrame(schema=frame.collect_schema()).to_arrow().schema
    batches = (
        batch.cast(schema) if batch.schema != schema else batch
        for part in frame.collect_batches()
        for batch in part.to_arrow().to_batches()
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


def _from_batches(parts: Iterable[Any], owner: str) -> pa.RecordBatchReader:
    """A generator of tables, batches or frames: each part becomes batches of the first part's schema."""
    import pyarrow as pa

    def batches(part: Any) -> list[pa.RecordBatch]:
        if isinstance(part, pa.RecordBatch):
            return [part]
        table = to_arrow(part, owner=owner)
        return list(table) if isinstance(table, pa.RecordBatchReader) else table.to_batches()

    iterator = iter(parts)
    first = next(iterator, None)
    if first is None:
        raise UnstorableError(
            f"{owner} yielded nothing, so its columns are not known",
            hint="yield at least one empty table with the right columns",
        )
    if isinstance(first, dict | tuple | list | str | bytes):
        raise UnstorableError(
            f"{owner} yields a {type(first).__name__}", hint="yield frames, pyarrow tables or record batches"
        )
    whole = first if isinstance(first, pa.RecordBatch) else to_arrow(first, owner=owner)
    schema = whole.schema
    head = (
        [whole]
        if isinstance(whole, pa.RecordBatch)
        else list(whole)
        if isinstance(whole, pa.RecordBatchReader)
        else whole.to_batches()
    )

    def stream() -> Iterator[pa.RecordBatch]:
        yield from head
        for part in iterator:
            for batch in batches(part):
                if batch.schema.names != schema.names:
                    raise UnstorableError(
                        f"{owner} yielded parts with different columns: {schema.names} and {batch.schema.names}"
                    )
                yield batch.cast(schema) if batch.schema != schema else batch

    return pa.RecordBatchReader.from_batches(schema, stream())


def is_file(value: Any) -> bool:
    """Whether a returned value is to be kept as a file."""
    return isinstance(value, File)
