"""One table masked: a stored table is read as a stream, and another is written that holds no value which a rule hides.

Knows two storages, rules and a key; knows nothing of the catalog. What is written is new from the first byte: data,
statistics, manifests and metadata come of masked values alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from anabranch.columns import PROPERTY, Rule
from anabranch.masking.values import mask_array

if TYPE_CHECKING:
    import pyarrow as pa

    from anabranch.lake.storage import Storage
    from anabranch.lake.tables import Table
    from anabranch.lake.write import Written
    from anabranch.masking.cipher import Key

MASKS = "anabranch.masks"
"""The table property that says by which rule each column was masked, as JSON."""


def copy_table(
    storage: Storage,
    source: Table,
    rules: Mapping[str, Rule],
    key: Key | None,
    *,
    previous: Table | None,
    threads: int = 2,
    on_progress: Callable[[int], None] | None = None,
) -> Written:
    """Writes a masked copy of a table. Streams.

    Args:
        storage: Where the copy goes, under the masked environment's scope.
        source: The table.
        rules: Column → rule, for every column of it.
        key: For the rules that need one.
        previous: The copy that this one replaces.
        threads: As for `write_table`.
        on_progress: Called with the number of rows written so far.

    Raises:
        MaskError: a rule can't be applied.
    """
    from anabranch.lake.tables import write_table

    docs = {f["name"]: f["doc"] for f in source.current_schema["fields"] if f.get("doc")}
    return write_table(
        storage,
        source.key,
        masked_batches(source.schema, source.to_batches(), rules, key),
        previous=previous,
        docs=docs,
        properties={
            PROPERTY: source.metadata.get("properties", {}).get(PROPERTY, "{}"),
            MASKS: json.dumps({name: str(rule) for name, rule in rules.items()}, separators=(",", ":")),
        },
        threads=threads,
        on_progress=on_progress,
    )


def append_copies(
    storage: Storage,
    source: Table,
    added: Iterable[Any],
    rules: Mapping[str, Rule],
    key: Key | None,
    *,
    previous: Table,
    threads: int = 2,
    on_progress: Callable[[int], None] | None = None,
) -> Written:
    """Writes a copy that holds the previous one's rows, whose files it shares, and the masked rows of some files.

    Args:
        storage, source, rules, key, threads, on_progress: As for `copy_table`.
        added: Entries of the files of the source that the previous copy lacks.
        previous: The copy to go on from, masked by the same rules under the same key.
    """
    from anabranch.lake.tables import append_table

    batches = masked_batches(source.schema, source.scan_files(added), rules, key)
    return append_table(
        storage, source.key, batches, previous=previous, threads=threads, on_progress=on_progress
    )


def masked_schema(schema: pa.Schema, rules: Mapping[str, Rule]) -> pa.Schema:
    """The schema of a copy: what is set to null may be null."""
    import pyarrow as pa

    return pa.schema(
        [field.with_nullable(True) if rules[field.name].kind == "null" else field for field in schema]
    )


def masked_data(
    schema: pa.Schema, data: pa.Table | pa.RecordBatchReader, rules: Mapping[str, Rule], key: Key | None
) -> pa.Table | pa.RecordBatchReader:
    """A table with every column masked by its rule, as a table; a stream as a stream."""
    import pyarrow as pa

    if isinstance(data, pa.Table):
        return masked_batches(schema, data.combine_chunks().to_batches(), rules, key).read_all()
    return masked_batches(schema, data, rules, key)


def masked_batches(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], rules: Mapping[str, Rule], key: Key | None
) -> pa.RecordBatchReader:
    """The batches with every column masked by its rule."""
    import pyarrow as pa

    target = masked_schema(schema, rules)

    def each() -> Iterable[pa.RecordBatch]:
        for batch in batches:
            arrays = [mask_array(batch.column(name), rules[name], key) for name in schema.names]
            yield pa.RecordBatch.from_arrays(arrays, schema=target)

    return pa.RecordBatchReader.from_batches(target, each())
