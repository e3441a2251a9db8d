"""Which rows differ between two tables, exactly and out of core.

What the counts mean does not depend on files, row order or how the answer was found:

1. Rows that are equal in every column that both sides have cancel one against one (*unchanged*).
2. Of what remains under one key, one row on each side is a *changed* row; any other remainder is *removed* rows on the
   left and *added* rows on the right. So a key that stands for several rows is compared as a multiset.
3. Without a key all remainders are removed and added rows.

Nulls equal nulls (in keys too), NaN equals NaN, -0.0 equals 0.0, at any depth. Maps are compared entry by entry in
stored order. A column of one side alone is no change of a row; it is told by the schema's diff.

Because equal rows cancel first, data files that both sides share need not be read at all, and rows that stand in the same
place of files that are alike need no join (`anabranch.diff.align`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from anabranch.dataclass import dataclass, field
from anabranch.diff.align import Place, align, rows_at
from anabranch.diff.engine import Engine
from anabranch.diff.sides import Pair, Side, Sides, TableLike, row_struct
from anabranch.diff.values import plain
from anabranch.errors import LakeError

Kind = Literal["added", "removed", "changed"]
_KINDS: tuple[Kind, ...] = ("removed", "added", "changed")
_FEW = 100_000


@dataclass(frozen=True)
class RowSample:
    """One row that differs, its values as plain JSON.

    Attributes:
        kind: added, removed or changed.
        key: Key column → value; empty without a key.
        before: The whole row on the left; None if added.
        after: The whole row on the right; None if removed.
    """

    kind: Kind
    key: Mapping[str, Any]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "key": dict(self.key),
            "before": None if self.before is None else dict(self.before),
            "after": None if self.after is None else dict(self.after),
        }


@dataclass(frozen=True)
class RowsDiff:
    """How many rows differ, in what, and a few of them.

    Attributes:
        added: Rows of the right side alone.
        removed: Rows of the left side alone.
        changed: Rows with one key and different values; 0 without a key.
        unchanged: Rows that are equal on both sides.
        by_column: Column → changed rows in which it differs; columns without a change are left out. A renamed column
            goes by its new name.
        samples: At most as many of each kind as were asked for, smallest keys first.
        keyed: Whether rows were matched by key.
        duplicates_left: Rows beyond the first under their key, among the rows that had to be matched by key (not those
            of shared files, and not those that stand unchanged in their place); 0 without a key.
        duplicates_right: The same of the right side.
        files_read: Data files that were opened.
        files_shared: Data files that both sides list, which were not opened.
        seconds: Time it took.
    """

    added: int
    removed: int
    changed: int
    unchanged: int
    by_column: Mapping[str, int] = field(default_factory=dict)
    samples: tuple[RowSample, ...] = ()
    keyed: bool = False
    duplicates_left: int = 0
    duplicates_right: int = 0
    files_read: int = 0
    files_shared: int = 0
    seconds: float = 0.0

    @property
    def differs(self) -> bool:
        """Whether any row is added, removed or changed."""
        return bool(self.added or self.removed or self.changed)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "added": self.added,
            "removed": self.removed,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "by_column": dict(self.by_column),
            "samples": [sample.to_dict() for sample in self.samples],
            "keyed": self.keyed,
            "duplicates_left": self.duplicates_left,
            "duplicates_right": self.duplicates_right,
            "files_read": self.files_read,
            "files_shared": self.files_shared,
            "seconds": round(self.seconds, 3),
        }


@dataclass
class _Found:
    """What one pass found; passes over disjoint keys add up."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    by_column: dict[str, int] = field(default_factory=dict)
    samples: list[RowSample] = field(default_factory=list)
    duplicates: tuple[int, int] = (0, 0)

    def __add__(self, other: _Found) -> _Found:
        names = [*self.by_column, *(name for name in other.by_column if name not in self.by_column)]
        return _Found(
            self.added + other.added,
            self.removed + other.removed,
            self.changed + other.changed,
            {name: self.by_column.get(name, 0) + other.by_column.get(name, 0) for name in names},
            self.samples + other.samples,
            (self.duplicates[0] + other.duplicates[0], self.duplicates[1] + other.duplicates[1]),
        )


@dataclass(frozen=True)
class _Task:
    """Everything a pass needs to know."""

    engine: Engine
    left: Side
    right: Side
    left_names: Sequence[str]
    right_names: Sequence[str]
    keys: tuple[Pair, ...]
    values: tuple[Pair, ...]
    samples: int


def compare_rows(
    engine: Engine,
    sides: Sides,
    left: TableLike,
    right: TableLike,
    *,
    key_columns: Sequence[str] = (),
    samples: int = 5,
) -> RowsDiff:
    """Compares two tables row by row.

    Args:
        engine: An open engine, see `anabranch.diff.engine.open_engine`.
        sides: Both sides as `anabranch.diff.sides.open_sides` found them.
        left: The table before.
        right: The table after.
        key_columns: Names (on the right side) of the columns that identify a row; without any, or if one of them is not
            on both sides, rows are compared as a multiset.
        samples: At most how many rows of each kind are shown.

    Raises:
        LakeError: A table's files and metadata contradict each other.
    """
    begin = time.perf_counter()
    at = {pair.name: pair for pair in sides.pairs}
    keyed = bool(key_columns) and all(name in at for name in key_columns)
    keys = tuple(at[name] for name in key_columns) if keyed else ()
    task = _Task(
        engine,
        sides.left,
        sides.right,
        left.schema.names,
        right.schema.names,
        keys,
        tuple(pair for pair in sides.pairs if pair not in keys),
        samples,
    )
    found = _compare(task)
    unchanged = sides.left.rows - found.removed - found.changed
    if unchanged < 0 or unchanged != sides.right.rows - found.added - found.changed:
        raise LakeError(
            f"the comparison of {right.key} does not add up: {sides.left.rows} rows before, {sides.right.rows} after, "
            f"{found.added} added, {found.removed} removed, {found.changed} changed",
            hint="a data file was changed while it was read",
            key=right.key,
        )
    return RowsDiff(
        added=found.added,
        removed=found.removed,
        changed=found.changed,
        unchanged=unchanged + sides.rows_shared,
        by_column={
            pair.name: found.by_column[pair.name] for pair in sides.pairs if found.by_column.get(pair.name)
        },
        samples=_ordered(found.samples, samples),
        keyed=keyed,
        duplicates_left=found.duplicates[0],
        duplicates_right=found.duplicates[1],
        files_read=sides.files_read,
        files_shared=sides.files_shared,
        seconds=time.perf_counter() - begin,
    )


def one_sided_rows(
    engine: Engine,
    side: Side,
    table: TableLike,
    *,
    added: bool,
    key_columns: Sequence[str] = (),
    samples: int = 5,
) -> RowsDiff:
    """The rows of a table that is new or gone: counted from metadata alone, with a few of them shown."""
    begin = time.perf_counter()
    shown: list[RowSample] = []
    names = table.schema.names
    keys = [names.index(name) for name in key_columns if name in names]
    if samples and table.rows and side.relation is not None:
        sql = f"SELECT {row_struct(side, 't')} FROM {side.relation} AS t LIMIT {samples}"
        for value in engine.table(sql).column(0):
            row = _named(value, names)
            key = {names[index]: row[names[index]] for index in keys}
            shown.append(
                RowSample("added", key, None, row) if added else RowSample("removed", key, row, None)
            )
    return RowsDiff(
        added=table.rows if added else 0,
        removed=0 if added else table.rows,
        changed=0,
        unchanged=0,
        samples=tuple(shown),
        keyed=bool(key_columns) and len(keys) == len(key_columns),
        files_read=1 if shown else 0,
        seconds=time.perf_counter() - begin,
    )


def _compare(task: _Task) -> _Found:
    """Takes out what is in place, if that can be done, and compares the rest in general."""
    aligned = align(task.engine, task.left, task.right, task.keys, task.values, task.samples)
    if aligned is None:
        return _compare_all(task)
    found = _Found(changed=aligned.changed, by_column=dict(aligned.by_column))
    found.samples += _samples_at(task, aligned.samples)
    return found + _compare_all(replace(task, left=aligned.left, right=aligned.right))


def _samples_at(task: _Task, places: Sequence[Place]) -> list[RowSample]:
    rows: dict[tuple[str, int], Any] = {}
    for side, alias in ((task.left, "l"), (task.right, "r")):
        wanted: dict[str, list[int]] = {}
        for place in places:
            wanted.setdefault(place.left if alias == "l" else place.right, []).append(place.number)
        for path, numbers in wanted.items():
            source = rows_at(side, path, ", ".join(map(str, numbers)), alias)
            answer = task.engine.table(f"SELECT place, {row_struct(side, alias)} FROM {source}")
            for number, row in zip(answer.column(0).to_pylist(), answer.column(1), strict=True):
                rows[path, number] = row
    pairs = [{"l": rows[p.left, p.number], "r": rows[p.right, p.number]} for p in places]
    return _samples(task, "changed", pairs)


def _compare_all(task: _Task) -> _Found:
    if task.left.relation is None or task.right.relation is None:
        return _one_sided(task)
    if not task.keys:
        return _multiset(task, task.left.relation, task.right.relation)
    found = _join(task, task.left.relation, task.right.relation, task.left.rows, task.right.rows)
    return found if found is not None else _with_duplicates(task, task.left.relation, task.right.relation)


def _one_sided(task: _Task) -> _Found:
    """Nothing to read on one side (the other only got or lost files): the counts are metadata."""
    kind: Kind = "added" if task.left.relation is None else "removed"
    side = task.right if kind == "added" else task.left
    if side.relation is None:
        return _Found()
    alias = "r" if kind == "added" else "l"
    keys = [pair.right if kind == "added" else pair.left for pair in task.keys]
    surplus = _surplus(task, side.relation, alias) if keys else 0
    shown: list[RowSample] = []
    if task.samples:
        row = row_struct(side, alias)
        order = ", ".join(keys) or row
        answer = task.engine.table(
            f"SELECT struct_pack({alias} := {row}) FROM {side.relation} AS {alias} ORDER BY {order} LIMIT {task.samples}"
        )
        shown = _samples(task, kind, answer.column(0))
    if kind == "added":
        return _Found(added=side.rows, samples=shown, duplicates=(0, surplus))
    return _Found(removed=side.rows, samples=shown, duplicates=(surplus, 0))


def _join(task: _Task, left: str, right: str, left_rows: int, right_rows: int) -> _Found | None:
    """One full outer join by key, or None if a key that is on both sides stands for several rows.

    Unique keys yield at most as many pairs as there are rows, so the limit stops the cross product that duplicates
    would make; and since a key with a rows left and b rows right makes a·b pairs, the number of pairs equals the number
    of matched rows on both sides only where all a and b are 1.
    """
    limit = left_rows + right_rows + 1
    # A row of one side alone differs in every column, which is no change of a column: hence the two presences.
    differs = [
        f"(l.p AND r.p AND {pair.left} IS DISTINCT FROM {pair.right}) AS d{i}"
        for i, pair in enumerate(task.values)
    ]
    condition = " AND ".join(f"{pair.left} IS NOT DISTINCT FROM {pair.right}" for pair in task.keys)
    left_key, right_key = (_struct([getattr(pair, side) for pair in task.keys]) for side in ("left", "right"))
    inner = ["l.p AS lp", "r.p AS rp", *differs, f"{left_key} AS lk", f"{right_key} AS rk"]
    if task.samples:
        inner += [f"{row_struct(task.left, 'l')} AS lrow", f"{row_struct(task.right, 'r')} AS rrow"]
    changed = " OR ".join(f"d{i}" for i in range(len(task.values))) or "false"
    outer = [
        "count(*)",
        "coalesce(count_if(rp IS NULL), 0)",
        "coalesce(count_if(lp IS NULL), 0)",
        f"coalesce(count_if({changed}), 0)",
        # DISTINCT over all of a big table would double the cost of the join: a few keys are compared by themselves.
        f"coalesce(len(list_distinct(min(lk, {_FEW}) FILTER (rp IS NULL))), 0)",
        f"coalesce(len(list_distinct(min(rk, {_FEW}) FILTER (lp IS NULL))), 0)",
        *(f"coalesce(count_if(d{i}), 0)" for i in range(len(task.values))),
    ]
    if task.samples:
        outer += [
            f"min_by(struct_pack(l := lrow), lk, {task.samples}) FILTER (rp IS NULL)",
            f"min_by(struct_pack(r := rrow), rk, {task.samples}) FILTER (lp IS NULL)",
            f"min_by(struct_pack(l := lrow, r := rrow), lk, {task.samples}) FILTER ({changed})",
        ]
    answer = task.engine.table(
        f"SELECT {', '.join(outer)} FROM (SELECT {', '.join(inner)} "
        f"FROM (SELECT true AS p, * FROM {left}) AS l FULL JOIN (SELECT true AS p, * FROM {right}) AS r "
        f"ON {condition} LIMIT {limit})"
    )
    total, removed, added, found, distinct_left, distinct_right = (
        int(answer.column(i)[0].as_py()) for i in range(6)
    )
    pairs = total - removed - added
    if total >= limit or pairs != left_rows - removed or pairs != right_rows - added:
        return None
    surplus = (
        _surplus(task, left, "l") if removed > _FEW else removed - distinct_left,
        _surplus(task, right, "r") if added > _FEW else added - distinct_right,
    )
    result = _Found(added, removed, found, duplicates=surplus)
    result.by_column = {pair.name: int(answer.column(6 + i)[0].as_py()) for i, pair in enumerate(task.values)}
    if task.samples:
        for offset, kind in enumerate(_KINDS):
            rows = answer.column(6 + len(task.values) + offset)[0].values
            result.samples += _samples(task, kind, rows if rows is not None else ())
    return result


def _surplus(task: _Task, relation: str, alias: str) -> int:
    """Rows beyond the first under their key."""
    keys = [pair.left if alias == "l" else pair.right for pair in task.keys]
    grouped = f"SELECT count(*) - 1 AS more FROM {relation} AS {alias} GROUP BY {', '.join(keys)} HAVING count(*) > 1"
    ((surplus,),) = task.engine.rows(f"SELECT CAST(coalesce(sum(more), 0) AS BIGINT) FROM ({grouped})")
    return int(surplus)


def _with_duplicates(task: _Task, left: str, right: str) -> _Found:
    """Splits by key: the keys that are unique on both sides are joined, the others compared as multisets."""
    engine = task.engine
    names = [f"k{i}" for i in range(len(task.keys))]
    of_left = ", ".join(f"{pair.left} AS k{i}" for i, pair in enumerate(task.keys))
    of_right = ", ".join(f"{pair.right} AS k{i}" for i, pair in enumerate(task.keys))
    several = f"GROUP BY {', '.join(names)} HAVING count(*) > 1"
    engine.execute(
        f"CREATE OR REPLACE TEMP TABLE several AS SELECT {', '.join(names)}, sum(ls) AS ls, sum(rs) AS rs FROM ("
        f"SELECT *, count(*) - 1 AS ls, 0 AS rs FROM (SELECT {of_left} FROM {left} AS l) {several} UNION ALL "
        f"SELECT *, 0, count(*) - 1 FROM (SELECT {of_right} FROM {right} AS r) {several}"
        f") GROUP BY {', '.join(names)}"
    )
    ((surplus_left, surplus_right),) = engine.rows(
        "SELECT CAST(coalesce(sum(ls), 0) AS BIGINT), CAST(coalesce(sum(rs), 0) AS BIGINT) FROM several"
    )

    def part(relation: str, alias: str, how: str) -> str:
        terms = [
            f"{pair.left if alias == 'l' else pair.right} IS NOT DISTINCT FROM s.k{i}"
            for i, pair in enumerate(task.keys)
        ]
        return f"(SELECT * FROM {relation} AS {alias} {how} JOIN several AS s ON {' AND '.join(terms)})"

    single = [part(relation, alias, "ANTI") for relation, alias in ((left, "l"), (right, "r"))]
    counts = [int(engine.rows(f"SELECT count(*) FROM {relation}")[0][0]) for relation in single]
    joined = _join(task, single[0], single[1], counts[0], counts[1])
    if joined is None:  # pragma: no cover  # the keys of both relations are unique by construction
        raise LakeError("a data file was changed while it was read")
    rest = _multiset(task, part(left, "l", "SEMI"), part(right, "r", "SEMI"))
    found = joined + rest
    found.duplicates = (int(surplus_left), int(surplus_right))
    return found


def _multiset(task: _Task, left: str, right: str) -> _Found:
    """Counts equal rows on both sides and takes the difference; what is left of a key is paired where it is 1 to 1."""
    engine, pairs = task.engine, (*task.keys, *task.values)
    if not pairs:
        return _Found(removed=task.left.rows, added=task.right.rows)
    columns = [f"v{i}" for i in range(len(pairs))]
    keys = columns[: len(task.keys)]
    # Columns that the groups do not hold as they are (of one side alone, or compared as another type) ride along.
    rest = {
        "l": sorted(set(range(len(task.left.types))) - {pair.left_index for pair in pairs if pair.same_type}),
        "r": sorted(
            set(range(len(task.right.types))) - {pair.right_index for pair in pairs if pair.same_type}
        ),
    }
    carried = [(alias, index) for alias in ("l", "r") for index in (rest[alias] if task.samples else [])]

    def half(relation: str, alias: str) -> str:
        select = [f"{pair.left if alias == 'l' else pair.right} AS v{i}" for i, pair in enumerate(pairs)]
        select.append(f"{1 if alias == 'l' else -1} AS n")
        select += [
            f"{alias}.a{index} AS {side}{index}" if alias == side else f"NULL AS {side}{index}"
            for side, index in carried
        ]
        return f"SELECT {', '.join(select)} FROM {relation} AS {alias}"

    any_values = "".join(
        f", any_value({side}{index}) FILTER (n {'>' if side == 'l' else '<'} 0) AS {side}{index}"
        for side, index in carried
    )
    engine.execute(
        f"CREATE OR REPLACE TEMP TABLE rest AS SELECT {', '.join(columns)}, CAST(sum(n) AS BIGINT) AS n{any_values} "
        f"FROM ({half(left, 'l')} UNION ALL {half(right, 'r')}) GROUP BY {', '.join(columns)} HAVING sum(n) <> 0"
    )

    def same_key(alias: str, other: str) -> str:
        return " AND ".join(f"{alias}.{name} IS NOT DISTINCT FROM {other}.{name}" for name in keys)

    ones = "(SELECT NULL AS n WHERE false)"
    if keys:
        ones = "one"
        engine.execute(
            f"CREATE OR REPLACE TEMP TABLE one AS SELECT {', '.join(keys)} FROM rest GROUP BY {', '.join(keys)} "
            "HAVING sum(abs(n)) = 2 AND sum(n) = 0 AND count(*) = 2"
        )
    ((removed, added, changed),) = engine.rows(
        "SELECT CAST(coalesce(sum(n) FILTER (n > 0), 0) AS BIGINT), CAST(coalesce(-sum(n) FILTER (n < 0), 0) AS BIGINT), "
        f"(SELECT count(*) FROM {ones}) FROM rest"
    )
    found = _Found(added - changed, removed - changed, changed)

    def row(side: Side, alias: str, table: str) -> str:
        held = {
            (pair.left_index if alias == "l" else pair.right_index): i
            for i, pair in enumerate(pairs)
            if pair.same_type
        }
        fields = (
            f"f{index} := {table}.v{held[index]}" if index in held else f"f{index} := {table}.{alias}{index}"
            for index in range(len(side.types))
        )
        return f"struct_pack({alias} := struct_pack({', '.join(fields)}))"

    matched = f"FROM one JOIN rest AS x ON x.n > 0 AND {same_key('x', 'one')} JOIN rest AS y ON y.n < 0 AND {same_key('y', 'one')}"
    if changed:
        flags = ", ".join(
            f"count(*) FILTER (x.v{i} IS DISTINCT FROM y.v{i})" for i in range(len(keys), len(pairs))
        )
        if flags:
            found.by_column = dict(
                zip(
                    (pair.name for pair in task.values),
                    engine.rows(f"SELECT {flags} {matched}")[0],
                    strict=True,
                )
            )
        if task.samples:
            both = f"struct_concat({row(task.left, 'l', 'x')}, {row(task.right, 'r', 'y')})"
            order = ", ".join(f"x.{name}" for name in keys)
            answer = engine.table(f"SELECT {both} {matched} ORDER BY {order} LIMIT {task.samples}")
            found.samples += _samples(task, "changed", answer.column(0))
    if task.samples:
        unpaired = f"rest AS x ANTI JOIN one ON {same_key('x', 'one')}" if keys else "rest AS x"
        unpaired_kinds: tuple[tuple[Kind, Side, str, str], ...] = (
            ("removed", task.left, "l", ">"),
            ("added", task.right, "r", "<"),
        )
        for kind, side, alias, sign in unpaired_kinds:
            # A row that is surplus several times is shown as often.
            answer = engine.table(
                f"SELECT {row(side, alias, 'x')}, abs(x.n) FROM {unpaired} WHERE x.n {sign} 0 "
                f"ORDER BY {', '.join(f'x.{name}' for name in columns)} LIMIT {task.samples}"
            )
            for value, times in zip(answer.column(0), answer.column(1).to_pylist(), strict=True):
                found.samples += _samples(task, kind, [value]) * min(int(times or 0), task.samples)
    return found


def _samples(task: _Task, kind: Kind, rows: Iterable[Any]) -> list[RowSample]:
    """Samples of Arrow structs with the fields ``l`` and ``r``, or one of them."""
    result = []
    for value in rows:
        before = None if kind == "added" else _named(value["l"], task.left_names)
        after = None if kind == "removed" else _named(value["r"], task.right_names)
        key = {}
        for pair in task.keys:
            if after is not None:
                key[pair.name] = after[task.right_names[pair.right_index]]
            elif before is not None:
                key[pair.name] = before[task.left_names[pair.left_index]]
        result.append(RowSample(kind, key, before, after))
    return result


def _named(struct: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: plain(struct[index]) for index, name in enumerate(names)}


def _struct(expressions: Sequence[str]) -> str:
    return f"struct_pack({', '.join(f'k{i} := {text}' for i, text in enumerate(expressions))})"


def _ordered(samples: Sequence[RowSample], limit: int) -> tuple[RowSample, ...]:
    """At most limit of each kind: changed rows first, for they say most."""
    kinds: tuple[Kind, ...] = ("changed", "removed", "added")
    return tuple(
        row for kind in kinds for row in [sample for sample in samples if sample.kind == kind][:limit]
    )
