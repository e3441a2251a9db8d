"""A sample of a stored table: the rows whose key's hash lies below a bound, the same ones whoever reads them.

Which rows belong to a sample is decided here and nowhere else, by the row hashes of `anabranch.lake.version`: a function of
the key column's name and value alone, equal in every process, on every machine and under every release, and for all types
that hold the same values. So tables that share a key keep each other's partners, and a smaller sample is part of a larger
one. Rows without a key (null) have no partners to keep, and are all read.

Columns and filters are pushed down into the files; the sample is taken of what comes from there.
"""

# `filter` is the word that pyarrow, polars and DuckDB use.
# ruff: noqa: A002

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.errors import LakeError
from anabranch.lake.engines import Filter, quoted
from anabranch.lake.read import Table
from anabranch.sample import Sample

if TYPE_CHECKING:
    import duckdb
    import polars as pl
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyiceberg.table import Table as IcebergTable

    from anabranch.lake.storage import Storage


class Sampler:
    """Tells which rows belong to a sample. For one thread; cheap to make.

    Args:
        sample: Its share and the column.
        kind: The column's type.

    Raises:
        LakeError: the sample names no column, or one of a type that no key has.
    """

    def __init__(self, sample: Sample, kind: pa.DataType) -> None:
        import pyarrow as pa

        if sample.by is None or pa.types.is_nested(kind) or pa.types.is_null(kind):
            raise LakeError(
                f"rows can't be chosen by {sample.by or 'no column'}{f', a {kind}' if sample.by else ''}",
                hint="name a column of text, numbers or dates",
            )
        self.by = sample.by
        self._bound = sample.share.numerator * 2**64 // sample.share.denominator
        self._seed = int.from_bytes(hashlib.blake2b(self.by.encode(), digest_size=8).digest(), "little")
        self._kind = kind

    def mask(self, values: pa.Array) -> pa.BooleanArray:
        """Which of the key column's values belong to the sample."""
        import numpy as np
        import pyarrow as pa

        from anabranch.lake.lanes import BLOCK, Scratch
        from anabranch.lake.rowhash import Struct

        row = Struct(Scratch(), self._seed, "", [(self.by, values.type)])
        row.bind_columns([values])
        chosen = np.empty(len(values), np.bool_)
        with np.errstate(all="ignore"):
            for low in range(0, len(values), BLOCK):
                high = min(low + BLOCK, len(values))
                lane, _ = row.cells(low, high, 0)
                np.less(lane, np.uint64(self._bound), out=chosen[low:high])
        if values.null_count:
            chosen |= values.is_null().to_numpy(zero_copy_only=False)
        return pa.array(chosen)


class SampledTable(Table):
    """A table of which only a sample is read. A handle like any other; what it can't sample it refuses.

    Args:
        key, location, storage, version: As for `Table`; the version is that of the whole table.
        sample: What is read of it; names a column.

    Raises:
        LakeError: the table has no such column, or one of a type that no key has.
    """

    def __init__(
        self, key: str, location: str, storage: Storage, version: str | None = None, *, sample: Sample
    ) -> None:
        super().__init__(key, location, storage, version)
        self.sample = sample
        self._by = sample.by or ""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "sample": self.sample, "_by": self._by}

    @cached_property
    def _whole(self) -> Table:
        return Table(self.key, self.location, self._storage, self._version)

    def only(self, keys: Collection[str]) -> Table:
        """The sample of these partitions alone; see `Table.only`."""
        made = SampledTable(self.key, self.location, self._storage, self._version, sample=self.sample)
        made.__dict__["_whole"] = self._whole.only(keys)
        return made

    def _sampler(self) -> Sampler:
        return Sampler(self.sample, self._projected([self._by]).field(self._by).type)

    def to_batches(
        self, columns: Sequence[str] | None = None, filter: Filter | None = None
    ) -> pa.RecordBatchReader:
        """The sample's rows as a stream; see `Table.to_batches`."""
        import pyarrow as pa

        sampler = self._sampler()
        schema = self._projected(columns)
        wanted = list(schema.names)
        read = wanted if self._by in wanted else [*wanted, self._by]
        batches = self._whole.to_batches(read, filter)

        def chosen() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                kept = batch.filter(sampler.mask(batch.column(self._by)))
                if kept.num_rows:
                    yield kept.select(wanted)

        return pa.RecordBatchReader.from_batches(schema, chosen())

    def to_arrow(
        self, columns: Sequence[str] | None = None, filter: Filter | None = None, limit: int | None = None
    ) -> pa.Table:
        """The sample's rows as an Arrow table; see `Table.to_arrow`."""
        import pyarrow as pa

        reader = self.to_batches(columns, filter)
        batches: list[pa.RecordBatch] = []
        rows = 0
        for batch in reader:
            if limit is not None and rows >= limit:
                break
            batches.append(batch if limit is None else batch.slice(0, limit - rows))
            rows += batches[-1].num_rows
        return pa.Table.from_batches(batches, reader.schema)

    def to_lazy(self) -> pl.LazyFrame:
        """A lazy polars frame of the sample; columns are pushed down to the files."""
        return self._streamed_to_polars()

    def to_duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """A lazy DuckDB relation of the sample."""
        import duckdb

        connection = connection or duckdb.connect()
        whole = self._whole.to_duckdb(connection)
        return whole.filter(f"{self._function(connection)}({quoted(self._by)})")

    def create_view(
        self, connection: duckdb.DuckDBPyConnection, name: str, columns: Collection[str] | None = None
    ) -> None:
        """Makes the sample known to a DuckDB connection as a view; see `Table.create_view`."""
        chooser = self._function(connection)
        schema, _, plain = name.rpartition(".")
        inner = f"__anabranch whole {plain}"
        needed = None if columns is None else {*columns, self._by.lower()}
        self._whole.create_view(connection, f"{schema}.{inner}" if schema else inner, needed)
        inside = f"{quoted(schema)}." if schema else ""
        connection.execute(
            f"CREATE OR REPLACE VIEW {inside}{quoted(plain)} AS SELECT * FROM {inside}{quoted(inner)}"
            f" WHERE {chooser}({quoted(self._by)})"
        )

    def _function(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Makes the choice known to a DuckDB connection as a function of the key's value, and returns its name."""
        import duckdb
        import pyarrow as pa

        kind = self._projected([self._by]).field(self._by).type
        name = f"anabranch_sample_{hashlib.sha256(f'{self.sample.share} {self._by} {kind}'.encode()).hexdigest()[:16]}"
        empty = duckdb.from_arrow(pa.table({"key": pa.array([], kind)}), connection=connection)

        choose = _chooser(self.sample)
        # It is known already where the connection has read another table by the same column.
        create: Any = connection.create_function  # its types do not know the names of its own options
        with contextlib.suppress(duckdb.CatalogException, duckdb.NotImplementedException):
            create(name, choose, [empty.types[0]], "BOOLEAN", type="arrow", null_handling="special")
        return name

    def to_dataset(self) -> ds.Dataset:
        """An Arrow dataset of the sample, in memory."""
        import pyarrow.dataset as ds

        return ds.dataset(self.to_arrow())

    @cached_property
    def rows(self) -> int:
        """The number of rows of the sample; counts them."""
        return sum(batch.num_rows for batch in self.to_batches([self._by]))

    def to_iceberg(self) -> IcebergTable:
        """Refused: Iceberg's table would be the whole one."""
        raise LakeError(
            f"{self.key} is read as a {self.sample}, which is no Iceberg table of its own",
            hint="read it with to_arrow, to_polars, to_lazy, to_batches or to_duckdb",
        )


@cache
def _chooser(sample: Sample) -> Callable[[Any], Any]:
    """The choice as a function of DuckDB. Kept for ever: DuckDB forgets it with one cursor and calls it from the next."""

    def choose(values: Any) -> Any:
        import pyarrow as pa

        whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        return Sampler(sample, whole.type).mask(whole)

    return choose


def written_sample(table: SampledTable, folder: Path) -> Table:
    """The sample as a table of its own in a local folder, for those who read files; the caller removes the folder."""
    from anabranch.lake.storage import Scope, Storage
    from anabranch.lake.write import write_table

    storage = Storage(folder, scope=Scope.environment())
    done = write_table(storage, table.key, table.to_batches())
    return Table(table.key, done.location, storage, version=done.version)


__all__ = ["SampledTable", "Sampler", "written_sample"]
