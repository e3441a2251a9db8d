"""Rows before and after, side by side on a page: what changed stands out, and one kind of nothing is not another."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from anabranch.diff.rows import RowSample, RowsDiff
from anabranch.diff.summary import TableDiff
from anabranch.report.figures import counted
from anabranch.report.markup import Html, join, tag

MAX_COLUMNS = 60
_MAX_CELL = 240


def sample_table(table: TableDiff, rows: RowsDiff, kind: str, words: str) -> Html | None:
    samples = [sample for sample in rows.samples if sample.kind == kind]
    if not samples:
        return None
    total = getattr(rows, kind)
    caption = f"{words}, {len(samples):,} of {total:,}" if total > len(samples) else words
    columns = _sample_columns(table, samples)
    keys = set(samples[0].key)
    hidden = len(columns) - MAX_COLUMNS
    columns = columns[:MAX_COLUMNS]
    head = tag(
        "tr",
        tag("th", tag("span", "Side", cls="only-read"), scope="col", cls="side"),
        [tag("th", name, scope="col", cls="key" if name in keys else "") for name, _, _ in columns],
    )
    return join(
        tag("h3", caption),
        tag(
            "div",
            tag(
                "table",
                tag("caption", caption, cls="only-read"),
                tag("thead", head),
                tag("tbody", [_sample_rows(sample, columns, keys) for sample in samples]),
                cls="sample",
            ),
            cls="scroll",
            tabindex="0",
            role="region",
            aria_label=f"{caption} of {table.key}",
        ),
        tag("p", f"and {counted(hidden, 'more column')}", cls="dim") if hidden > 0 else None,
    )


def _sample_columns(
    table: TableDiff, samples: Sequence[RowSample]
) -> list[tuple[str, str | None, str | None]]:
    """Heading, name before and name after of each column: keys first, then what changed, then the rest."""
    old_name = {new.name: old.name for old, new in table.schema.renamed} if table.schema is not None else {}
    before = next((list(sample.before) for sample in samples if sample.before is not None), [])
    after = next((list(sample.after) for sample in samples if sample.after is not None), [])
    if not after:
        return [(name, name, None) for name in before]
    columns: list[tuple[str, str | None, str | None]] = []
    for name in after:
        was = old_name.get(name, name)
        columns.append((name, was if was in before else None, name))
    seen = {was for _, was, _ in columns}
    columns += [(name, name, None) for name in before if name not in seen]
    if not before:
        return columns

    def rank(column: tuple[str, str | None, str | None]) -> int:
        if column[0] in samples[0].key:
            return 0
        return 1 if any(_differs(sample, column) for sample in samples) else 2

    return sorted(columns, key=rank)


def _differs(sample: RowSample, column: tuple[str, str | None, str | None]) -> bool:
    _, was, now = column
    if sample.before is None or sample.after is None:
        return False
    if was is None or now is None:
        return True
    old, new = sample.before[was], sample.after[now]
    # True and 1 are equal to Python, but not to a reader.
    return type(old) is not type(new) or old != new


def _sample_rows(
    sample: RowSample, columns: Sequence[tuple[str, str | None, str | None]], keys: Collection[str]
) -> Html:
    both = sample.before is not None and sample.after is not None
    lines = []
    for side, row, place, mark in (("before", sample.before, 1, "off"), ("after", sample.after, 2, "on")):
        if row is None:
            continue
        cells = []
        for column in columns:
            name = column[place]
            differs = both and _differs(sample, column) and column[0] not in keys
            cls = mark if differs and name is not None else "quiet" if both and column[0] not in keys else ""
            cells.append(tag("td", shown_value(row[name]) if name is not None else None, cls=cls))
        lines.append(
            tag(
                "tr",
                tag("th", f"{'−' if side == 'before' else '+'} {side}", scope="row", cls="side"),
                cells,
                cls=f"pair {side}" if both else side,
            )
        )
    return join(lines)


def shown_value(value: Any) -> Html:
    """A cell's value so that null, an empty text and the text "null" can be told apart."""
    if value is None:
        return tag("span", "null", cls="null")
    if value == "":
        return tag("span", '""', cls="null", title="an empty text")
    told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(told) <= _MAX_CELL:
        return join(told)
    return tag("span", f"{told[:_MAX_CELL]}…", title=told)
