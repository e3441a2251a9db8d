"""Rows that both sides wrote in the same place, found without decoding what is the same.

A table that is built again mostly keeps its order, and most of its columns. Then most column chunks of a Parquet file are
the same bytes as before, and equal bytes of one type, codec and length decode to equal values: this is no hash, the bytes
are compared. Only the columns whose bytes differ are decoded and compared place by place; a join is not needed, for the
bytes of the key are the same too.

Files that do not fit are left for the general comparison, which is right for everything. So is the whole table where this
way can't be sure: see `align`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass, field
from anabranch.diff.engine import Engine, parquet
from anabranch.diff.sides import Pair, Side, subset

if TYPE_CHECKING:
    import pyarrow as pa

MAX_DECODED = 512 * 2**20
_TABLE = "in_place"


@dataclass(frozen=True)
class Place:
    """A row at the same place of a file of each side."""

    left: str
    right: str
    number: int


@dataclass(frozen=True)
class Aligned:
    """What was found in place, and what is left to be compared.

    Attributes:
        left: What is left of the left side.
        right: What is left of the right side.
        changed: Rows with equal keys and different values.
        by_column: Column → changed rows in which it differs.
        samples: Where the changed rows with the smallest keys are.
    """

    left: Side
    right: Side
    changed: int
    by_column: Mapping[str, int]
    samples: tuple[Place, ...]


@dataclass
class _File:
    """A file of one side: its footer, and where each top-level column's chunks are."""

    path: str
    meta: Any
    schema: Any
    leaves: list[range]

    @property
    def rows(self) -> int:
        return int(self.meta.num_rows)


@dataclass
class _Compared:
    """What a pair of files has in common."""

    left: _File
    right: _File
    same: bool
    counts: dict[str, int] = field(default_factory=dict)
    rows: list[pa.Table] = field(default_factory=list)


class _StopError(Exception):
    """The caller was interrupted."""


def align(
    engine: Engine, left: Side, right: Side, keys: Sequence[Pair], values: Sequence[Pair], samples: int
) -> Aligned | None:
    """Takes out of both sides what is in place.

    None is returned, and all is left to the general comparison, where files are not local Parquet files, a column has
    another type on both sides, no file fits, or a key that changed in place stands for several rows.

    Args:
        engine: An open engine.
        left: The side before.
        right: The side after.
        keys: The key columns; without any, the rows that differ in place are left to be compared.
        values: The other columns that both sides have.
        samples: How many places of changed rows are wanted.
    """
    pairs = (*keys, *values)
    if not left.paths or not right.paths or not pairs or not all(pair.same_type for pair in pairs):
        return None
    lefts, rights = _open(left.paths), _open(right.paths)
    if lefts is None or rights is None:
        return None
    fits = list(_fitting(lefts, rights, keys))
    if not fits:
        return None
    compared = [one for one in _compare_files(engine, fits, keys, values) if one.same]
    if not compared:
        return None
    rest_left = _without(left, lefts, {one.left.path for one in compared})
    rest_right = _without(right, rights, {one.right.path for one in compared})
    if not keys:
        _keep_places(engine, compared)
        rests = [
            _with_places(engine, compared, side, rest, alias)
            for side, rest, alias in ((left, rest_left, "l"), (right, rest_right, "r"))
        ]
        return Aligned(rests[0], rests[1], 0, {}, ())
    found = _places(engine, compared, keys, (rest_left, rest_right), samples)
    if found is None:
        return None
    changed, places = found
    names = {name: None for one in compared for name in one.counts}
    by_column = {name: sum(one.counts.get(name, 0) for one in compared) for name in names}
    return Aligned(rest_left, rest_right, changed, by_column, places)


def rows_at(side: Side, path: str, wanted: str, alias: str) -> str:
    """A FROM item of the rows of a file at the wanted places (a list or a query): the side's columns, then ``place``."""
    columns = ", ".join(f"a{index}" for index in range(len(side.types)))
    source = f"{parquet([path])[:-1]}, file_row_number = true) AS t({columns}, place)"
    return f"(SELECT * FROM {source} WHERE place IN ({wanted})) AS {alias}"


def _open(paths: Sequence[str]) -> list[_File] | None:
    import pyarrow.parquet as pq

    files = []
    for path in paths:
        with pq.ParquetFile(path) as opened:
            meta, schema = opened.metadata, opened.schema_arrow
        leaves, begin = [], 0
        for column in schema:
            count = _leaf_count(column.type)
            leaves.append(range(begin, begin + count))
            begin += count
        if begin != meta.num_columns:
            return None
        files.append(_File(path, meta, schema, leaves))
    return files


def _leaf_count(kind: Any) -> int:
    from pyarrow import types

    if types.is_nested(kind):
        return sum(_leaf_count(kind.field(index).type) for index in range(kind.num_fields))
    return 1


def _fitting(
    lefts: Sequence[_File], rights: Sequence[_File], keys: Sequence[Pair]
) -> Iterator[tuple[_File, _File]]:
    """Files whose row groups have the same lengths and whose keys look the same by their footers; where several do, in
    the order of the files.
    """
    waiting: dict[Any, list[_File]] = {}
    for file in reversed(rights):
        waiting.setdefault(_looks(file, [pair.right_index for pair in keys]), []).append(file)
    for file in lefts:
        found = waiting.get(_looks(file, [pair.left_index for pair in keys]))
        if found and file.rows:
            yield file, found.pop()


def _looks(file: _File, columns: Sequence[int]) -> tuple[Any, ...]:
    looks: list[Any] = []
    for group in range(file.meta.num_row_groups):
        row_group = file.meta.row_group(group)
        looks.append(row_group.num_rows)
        for leaf in (leaf for column in columns for leaf in file.leaves[column]):
            chunk = row_group.column(leaf)
            statistics = chunk.statistics if chunk.is_stats_set else None
            looks.append(chunk.total_compressed_size)
            if statistics is not None and statistics.has_min_max:
                looks += [str(statistics.min_raw), str(statistics.max_raw)]
    return tuple(looks)


def _compare_files(
    engine: Engine, fits: Sequence[tuple[_File, _File]], keys: Sequence[Pair], values: Sequence[Pair]
) -> list[_Compared]:
    stop = threading.Event()
    with ThreadPoolExecutor(max(engine.threads, 1), "anabranch-align") as pool:
        futures = [pool.submit(_compare_pair, one, other, keys, values, stop) for one, other in fits]
        try:
            compared = []
            for number, future in enumerate(futures, 1):
                compared.append(future.result())
                engine.tell(0.8 * number / len(futures))
            return compared
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _compare_pair(
    left: _File, right: _File, keys: Sequence[Pair], values: Sequence[Pair], stop: threading.Event
) -> _Compared:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    result, unlike = _Compared(left, right, True), _Compared(left, right, False)
    for pair in (*keys, *values):
        if not _same_type(left.schema.field(pair.left_index), right.schema.field(pair.right_index)):
            return unlike
    with ExitStack() as open_files:
        bytes_left = open_files.enter_context(_mapped(left.path))
        bytes_right = open_files.enter_context(_mapped(right.path))
        read_left = open_files.enter_context(pq.ParquetFile(bytes_left, metadata=left.meta))
        read_right = open_files.enter_context(pq.ParquetFile(bytes_right, metadata=right.meta))
        begin = 0
        for group in range(left.meta.num_row_groups):
            if stop.is_set():
                raise _StopError
            if not all(_same_bytes(left, right, bytes_left, bytes_right, group, pair) for pair in keys):
                return unlike
            differ = [p for p in values if not _same_bytes(left, right, bytes_left, bytes_right, group, p)]
            rows = left.meta.row_group(group).num_rows
            # Without a key nothing says that places belong together but columns that are the same.
            if differ and not keys and len(differ) * 2 > len(values):
                return unlike
            if differ:
                if not _comparable_in_place(left, right, group, differ):
                    return unlike
                masks = {}
                for pair in differ:
                    old = _column(read_left, left, group, pair.left_index)
                    new = _column(read_right, right, group, pair.right_index)
                    masks[pair.name] = _distinct(old, new)
                    count = pc.sum(masks[pair.name]).as_py() or 0
                    result.counts[pair.name] = result.counts.get(pair.name, 0) + count
                either = None
                for mask in masks.values():
                    either = mask if either is None else pc.or_(either, mask)
                numbers = pc.indices_nonzero(either)
                if len(numbers):
                    columns = [
                        _column(read_left, left, group, pair.left_index).take(numbers) for pair in keys
                    ]
                    places = pc.add(numbers.cast(pa.int64()), begin)
                    names = [*(f"k{index}" for index in range(len(keys))), "place"]
                    result.rows.append(pa.table([*columns, places], names=names))
            begin += rows
    # Reading single rows again pays for a few of them only.
    return unlike if not keys and sum(len(rows) for rows in result.rows) * 10 > left.rows else result


@contextmanager
def _mapped(path: str) -> Iterator[Any]:
    import pyarrow as pa

    with pa.memory_map(path) as opened:
        yield opened


def _same_type(left: Any, right: Any) -> bool:
    return bool(left.type.equals(right.type) and left.nullable == right.nullable)


def _same_bytes(left: _File, right: _File, of_left: Any, of_right: Any, group: int, pair: Pair) -> bool:
    """Whether a column's chunks in a row group are the same bytes of the same kind."""
    for one, other in zip(left.leaves[pair.left_index], right.leaves[pair.right_index], strict=True):
        a, b = left.meta.row_group(group).column(one), right.meta.row_group(group).column(other)
        levels = [
            (
                file.meta.schema.column(leaf).max_definition_level,
                file.meta.schema.column(leaf).max_repetition_level,
            )
            for file, leaf in ((left, one), (right, other))
        ]
        if (
            a.physical_type != b.physical_type
            or a.compression != b.compression
            or a.num_values != b.num_values
            or a.total_compressed_size != b.total_compressed_size
            or levels[0] != levels[1]
        ):
            return False
        if not _chunk(a, of_left).equals(_chunk(b, of_right)):
            return False
    return True


def _chunk(column: Any, opened: Any) -> Any:
    begin = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset:
        begin = min(begin, column.dictionary_page_offset)
    opened.seek(begin)
    return opened.read_buffer(column.total_compressed_size)


def _comparable_in_place(left: _File, right: _File, group: int, pairs: Sequence[Pair]) -> bool:
    from pyarrow import types

    size = 0
    for pair in pairs:
        if types.is_nested(left.schema.field(pair.left_index).type):
            return False
        for file, column in ((left, pair.left_index), (right, pair.right_index)):
            for leaf in file.leaves[column]:
                size += file.meta.row_group(group).column(leaf).total_uncompressed_size
    return size <= MAX_DECODED


def _column(opened: Any, file: _File, group: int, column: int) -> Any:
    import pyarrow as pa

    # By leaf, not by name: a name may hold dots.
    found = opened.reader.read_row_group(group, column_indices=list(file.leaves[column]), use_threads=False)
    values = found.column(0).combine_chunks()
    return values.storage if isinstance(values, pa.ExtensionArray) else values


def _distinct(old: Any, new: Any) -> Any:
    """IS DISTINCT FROM, value by value: null equals null, NaN equals NaN, -0.0 equals 0.0."""
    import pyarrow.compute as pc
    from pyarrow import types

    differ = pc.fill_null(pc.not_equal(old, new), False)
    if types.is_floating(old.type):
        both = pc.and_(pc.is_nan(old), pc.is_nan(new))
        differ = pc.and_not(differ, pc.fill_null(both, False))
    return pc.or_(differ, pc.xor(pc.is_null(old), pc.is_null(new)))


def _without(side: Side, files: Sequence[_File], gone: set[str]) -> Side:
    rest = [file for file in files if file.path not in gone]
    return subset(side, [file.path for file in rest], sum(file.rows for file in rest))


def _keep_places(engine: Engine, compared: Sequence[_Compared]) -> bool:
    """Puts the places of rows that differ, with their keys, where they may spill; whether there are any."""
    made = False
    for number, one in enumerate(compared):
        for rows in one.rows:
            engine.connection.register("found_in_place", rows)
            verb = f"INSERT INTO {_TABLE}" if made else f"CREATE OR REPLACE TEMP TABLE {_TABLE} AS"
            engine.execute(f"{verb} SELECT *, {number} AS pair FROM found_in_place")
            engine.connection.unregister("found_in_place")
            made = True
    return made


def _with_places(engine: Engine, compared: Sequence[_Compared], side: Side, rest: Side, alias: str) -> Side:
    """The rest of a side, and its rows that differ in place."""
    kept, count = f"{_TABLE}_{alias}", 0
    for number, one in enumerate(compared):
        if one.rows:
            path = one.left.path if alias == "l" else one.right.path
            source = rows_at(side, path, f"SELECT place FROM {_TABLE} WHERE pair = {number}", alias)
            verb = f"INSERT INTO {kept}" if count else f"CREATE OR REPLACE TEMP TABLE {kept} AS"
            engine.execute(f"{verb} SELECT * EXCLUDE (place) FROM {source}")
            count += sum(len(rows) for rows in one.rows)
    if not count:
        return rest
    more = "" if rest.relation is None else f" UNION ALL SELECT * FROM {rest.relation}"
    return Side(f"(SELECT * FROM {kept}{more})", side.types, rest.rows + count, None)


def _places(
    engine: Engine, compared: Sequence[_Compared], keys: Sequence[Pair], rests: Sequence[Side], samples: int
) -> tuple[int, tuple[Place, ...]] | None:
    """How many rows changed in place and where the first ones are; None if one of their keys stands for several rows."""
    if not _keep_places(engine, compared):
        return 0, ()
    names = [f"k{index}" for index in range(len(keys))]
    same = " AND ".join(f"t.{name} IS NOT DISTINCT FROM s.{name}" for name in names)
    doubtful = [f"SELECT 1 FROM {_TABLE} GROUP BY {', '.join(names)} HAVING count(*) > 1"]
    for side, alias in zip(rests, ("l", "r"), strict=True):
        if side.relation is not None:
            columns = [f"{pair.left if alias == 'l' else pair.right} AS k{i}" for i, pair in enumerate(keys)]
            source = f"(SELECT {', '.join(columns)} FROM {side.relation} AS {alias}) AS s"
            doubtful.append(f"SELECT 1 FROM {source} SEMI JOIN {_TABLE} AS t ON {same}")
    for query in doubtful:
        if engine.rows(f"{query} LIMIT 1"):
            return None
    ((changed,),) = engine.rows(f"SELECT count(*) FROM {_TABLE}")
    order = f"SELECT pair, place FROM {_TABLE} ORDER BY {', '.join(names)} LIMIT {samples}"
    found = engine.rows(order) if samples else []
    return int(changed), tuple(
        Place(compared[pair].left.path, compared[pair].right.path, int(place)) for pair, place in found
    )
