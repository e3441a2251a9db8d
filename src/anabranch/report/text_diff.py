"""What a difference in data, and the answer to a query, look like on a terminal.

Pure: results in, lines out. Values come from tables: they are cut where they are long, and harmless as every `Span` is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anabranch.diff.rows import RowSample
from anabranch.diff.schema import SchemaDiff
from anabranch.diff.summary import Diff, TableDiff
from anabranch.report.lines import Line, Span, columns, count, cut, dim, head, hint, key, line, size

_CELL = 40
_SIGNS: Mapping[str, tuple[str, Any]] = {
    "added": ("+", "good"),
    "removed": ("-", "bad"),
    "changed": ("~", "warn"),
}


def diff_lines(diff: Diff, *, limit: int | None = None, verbose: bool = False) -> list[Line]:
    """What changed in each table: schema, rows, columns, a few rows."""
    lines = [line(head(f"{diff.left} → {diff.right}"))]
    changed = diff.changed
    if not changed:
        return [*lines, line("  no difference"), hint("anabranch status")]
    for table in changed:
        lines += _table_lines(table, limit=limit, verbose=verbose)
    same = len(diff.tables) - len(changed)
    lines.append(
        line(
            dim(
                f"{count(len(changed), 'table')} differ{'s' if len(changed) == 1 else ''}"
                + (f", {same:,} same" if same else "")
            )
        )
    )
    return [*lines, hint("anabranch promote, or anabranch diff --html diff.html for a page to share")]


def _table_lines(table: TableDiff, *, limit: int | None, verbose: bool) -> list[Line]:
    style = _SIGNS.get(table.state, ("", ""))[1]
    lines = [line(key(table.key), "  ", Span(table.state, style), f"  {_counts(table)}")]
    if table.partitions:
        lines.append(line("  ", dim(table.partitions)))
    if table.note:
        lines.append(line("  ", dim(f"note: {table.note}")))
    if table.schema is not None and table.schema.changed and table.state == "changed":
        lines += _schema_lines(table.schema, limit)
    rows = table.rows
    if rows is None:
        return lines
    if table.state == "changed":
        parts = [f"{rows.added:,} added", f"{rows.removed:,} removed"]
        parts += [f"{rows.changed:,} changed"] if rows.keyed else []
        lines.append(line(f"  rows: {', '.join(parts)}, {rows.unchanged:,} unchanged"))
        if rows.by_column:
            most = sorted(rows.by_column.items(), key=lambda item: (-item[1], item[0]))
            shown = most if verbose else most[:8]
            text = ", ".join(f"{name} ({number:,})" for name, number in shown)
            more = f" and {len(most) - len(shown)} more" if len(most) > len(shown) else ""
            lines.append(line(f"  changed columns: {text}{more}"))
    lines += _sample_lines(rows.samples, limit)
    if verbose:
        lines += _summary_lines(table, limit)
    return lines


def _counts(table: TableDiff) -> str:
    if table.kind == "file":
        sizes = [None if n is None else size(n) for n in (table.left_bytes, table.right_bytes)]
        return " → ".join(text for text in sizes if text)
    left, right = table.left_rows, table.right_rows
    if left is None or right is None:
        return count(right if right is not None else left or 0, "row")
    if left == right:
        return count(right, "row")
    return f"{left:,} → {count(right, 'row')} ({right - left:+,})"


def _schema_lines(schema: SchemaDiff, limit: int | None) -> list[Line]:
    rows: list[list[Span | str]] = [[Span("+ column", "good"), key(f.name), f.type] for f in schema.added]
    rows += [[Span("- column", "bad"), key(f.name), f.type] for f in schema.removed]
    rows += [
        [Span("~ column", "warn"), key(new.name), f"{old.type} → {new.type}"] for old, new in schema.retyped
    ]
    rows += [[Span("~ column", "warn"), key(new.name), f"was {old.name}"] for old, new in schema.renamed]
    lines = columns(rows, limit=limit, give=2)
    if schema.reordered:
        lines.append(line("  ", dim("columns stand in another order")))
    if not schema.compatible:
        lines.append(line("  ", Span("not compatible: what reads the table may break", "warn")))
    return lines


def _sample_lines(samples: Sequence[RowSample], limit: int | None) -> list[Line]:
    """Samples as one table: key columns first, then those whose values differ, then the rest."""
    if not samples:
        return []
    names = _sample_columns(samples)
    rows: list[list[Span | str]] = [["", *(dim(name) for name in names)]]
    for sample in samples:
        sign, style = _SIGNS[sample.kind]
        cells: list[Span | str] = [Span(sign, style)]
        for name in names:
            before, after = ((side or {}).get(name) for side in (sample.before, sample.after))
            if sample.kind == "changed" and before != after:
                cells.append(Span(f"{value_text(before)} → {value_text(after)}", "warn"))
            else:
                cells.append(value_text(before if sample.kind == "removed" else after))
        rows.append(cells)
    return columns(rows, indent="    ", limit=limit)


def _sample_columns(samples: Sequence[RowSample]) -> list[str]:
    keys = list(dict.fromkeys(name for sample in samples for name in sample.key))
    differing: dict[str, None] = {}
    rest: dict[str, None] = {}
    for sample in samples:
        for name in {**(sample.before or {}), **(sample.after or {})}:
            differs = sample.kind == "changed" and (sample.before or {}).get(name) != (
                sample.after or {}
            ).get(name)
            (differing if differs else rest)[name] = None
    ordered = [*keys, *(n for n in differing if n not in keys)]
    others = [n for n in rest if n not in ordered]
    # Where only some columns changed, the others say little.
    return ordered if differing and not any(s.kind != "changed" for s in samples) else [*ordered, *others]


def _summary_lines(table: TableDiff, limit: int | None) -> list[Line]:
    rows: list[list[Span | str]] = []
    for pair in table.summaries:
        for side, summary in (("before", pair.left), ("after", pair.right)):
            if summary is None:
                continue
            mean = "" if summary.mean is None else f"{summary.mean:.6g}"
            rows.append(
                [
                    key(pair.name) if side == "before" or pair.left is None else "",
                    dim(side),
                    f"{summary.nulls:,}",
                    f"{summary.approx_distinct:,}",
                    value_text(summary.min),
                    value_text(summary.max),
                    mean,
                ]
            )
    if not rows:
        return []
    title: list[Span | str] = [
        dim(t) for t in ("column", "", "nulls", "~distinct", "least", "greatest", "mean")
    ]
    return columns([title, *rows], indent="    ", right=(2, 3, 6), limit=limit)


def value_text(value: object) -> str:
    """A value of a table in one cell."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.1f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    return cut(str(value), _CELL)


def rows_lines(
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    ref: str,
    numeric: Sequence[int] = (),
    more: bool = False,
    limit: int | None = None,
) -> list[Line]:
    """The answer to a query.

    Args:
        names: Its columns.
        rows: Its rows, as plain values.
        ref: What was queried.
        numeric: Positions of the columns that are set to the right.
        more: Whether there are more rows than these.
        limit: Columns of the screen.
    """
    cells: list[list[Span | str]] = [[dim(name) for name in names]]
    cells += [[dim("null") if value is None else value_text(value) for value in row] for row in rows]
    total = f"the first {count(len(rows), 'row')}" if more else count(len(rows), "row")
    lines = columns(cells, indent="", right=numeric, limit=limit)
    next_step = (
        "--limit 0 shows all; --csv FILE or --parquet FILE keeps them"
        if more
        else "--csv FILE or --parquet FILE keeps them"
    )
    return [*lines, line(dim(f"{total} of {ref}")), hint(next_step)]
