"""`LakeIOManager`: says that an asset's values are tables. Under anabranch they are kept on the branch; without it, as files.

Imports Dagster: it is for code that does so, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster

from anabranch.adapters.dagster.convert import asked, kept, wants_each
from anabranch.lake.file import File


class LakeIOManager(dagster.ConfigurableIOManager):
    """Keeps tables as Parquet, and anything else pickled.

    Run by anabranch, an asset's table goes to the sandbox or environment that is at hand, and nowhere else. Run by Dagster
    alone, each asset is a file in a folder, and each of its partitions one in a folder of its own.

    Attributes:
        base_dir: That folder; default: Dagster's own for artifacts.
    """

    base_dir: str | None = None

    def handle_output(self, context: Any, obj: Any) -> None:
        """Writes a value."""
        from anabranch.running.io import to_arrow

        path = self._path(context, context.asset_partition_keys if context.has_asset_partitions else ())
        path[0].parent.mkdir(parents=True, exist_ok=True)
        value, facts = kept(obj, owner=path[0].name)
        if isinstance(value, File):
            path[0].with_suffix(".bin").write_bytes(value.read_bytes())
            path[0].with_suffix(".parquet").unlink(missing_ok=True)
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            data = to_arrow(value, owner=path[0].name)
            table: pa.Table = data if isinstance(data, pa.Table) else data.read_all()
            pq.write_table(table.replace_schema_metadata({b"anabranch": repr(facts).encode()}), path[0])
            path[0].with_suffix(".bin").unlink(missing_ok=True)
        context.add_output_metadata({"path": str(path[0])})

    def load_input(self, context: Any) -> Any:
        """Reads what an asset asks for, by its annotation."""
        keys = context.asset_partition_keys if context.has_asset_partitions else ()
        annotation = context.dagster_type.typing_type
        paths = self._path(context, keys)
        values = [_read(path, annotation, context.name) for path in paths]
        if len(values) == 1 and not wants_each(annotation):
            return values[0]
        if wants_each(annotation):
            return dict(zip(keys, values, strict=True))
        return _joined(values)

    def _path(self, context: Any, keys: Any) -> list[Path]:
        from dagster._core.instance import DagsterInstance

        if self.base_dir is not None:
            base = Path(self.base_dir)
        else:
            instance = getattr(context, "instance", None)
            instance = instance if isinstance(instance, DagsterInstance) else DagsterInstance.get()
            base = Path(instance.storage_directory())
        place = base.joinpath(*context.asset_key.path)
        if not keys:
            return [place.with_name(f"{place.name}.parquet")]
        return [place / f"{key.replace('/', '_').replace('|', '/')}.parquet" for key in keys]


def _read(path: Path, annotation: Any, name: str) -> Any:
    import ast
    import pickle

    import pyarrow.parquet as pq

    other = path.with_suffix(".bin")
    if other.is_file() and not path.is_file():
        content = other.read_bytes()
        return pickle.loads(content)  # noqa: S301 - what `handle_output` has written, as Dagster's own manager does
    table = pq.read_table(path)
    told = (table.schema.metadata or {}).get(b"anabranch")
    facts = ast.literal_eval(told.decode()) if told else {}
    return asked(_File(table), annotation, facts, owner=name, parameter=name)  # type: ignore[arg-type]


class _File:
    """A table that was read whole, as `asked` wants a handle."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self.schema = table.schema

    def to_arrow(self, columns: Any = None) -> Any:
        table = self._table.replace_schema_metadata(None)
        return table if columns is None else table.select(columns)


def _joined(values: list[Any]) -> Any:
    import pyarrow as pa

    from anabranch.adapters.dagster.convert import type_of
    from anabranch.running.io import to_arrow

    kind = type_of(values[0]) if values else "pyarrow.Table"
    table = pa.concat_tables(
        [
            t if isinstance(t := to_arrow(each, owner="partitions"), pa.Table) else t.read_all()
            for each in values
        ]
    )
    if kind == "pandas.DataFrame":
        return table.to_pandas()
    if kind.startswith("polars"):
        import polars as pl

        return pl.from_arrow(table)
    return table
