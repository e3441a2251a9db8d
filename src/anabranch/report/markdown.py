"""A diff as a text for a pull request: short at first sight, the rest folded, and never longer than a comment may be.

What tables hold goes into code spans and fences alone, where no mark-up, no mention and no picture works; the fence is
always longer than any run of backticks inside.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from anabranch.diff.rows import RowSample
from anabranch.diff.schema import SchemaDiff
from anabranch.diff.summary import ColumnSummary, Diff, TableDiff
from anabranch.report.figures import counted, how, percent, signed, size_change, totals
from anabranch.report.lines import clean

LIMIT = 60_000
_WORDS = {"added": "🟢 new", "removed": "🔴 gone", "changed": "🟠 changed", "same": "same"}
_MAX_ROWS = 100
_MAX_COLUMNS = 30
_MAX_VALUE = 120
_MAX_LINE = 400


def diff_markdown(diff: Diff, *, title: str | None = None, limit: int = LIMIT) -> str:
    """The text of a diff in GitHub's Markdown.

    Args:
        diff: What changed.
        title: A heading, or None for a text without one.
        limit: At most how many characters, at least 1,000. Samples are left out first, then whole tables, and the
            text says so.
    """
    changed = sorted(diff.changed, key=lambda table: table.key)
    parts = [f"### {_prose(title[:200])}"] if title else []
    parts.append(_headline(diff))
    if changed:
        parts.append(_overview(changed, max(limit // 3, 300)))
    told = "\n\n".join(parts)
    reserve = 100
    for number, table in enumerate(changed):
        for with_samples in (True, False):
            section = _section(table, with_samples=with_samples)
            if len(told) + len(section) + reserve <= limit:
                told += f"\n\n{section}"
                break
        else:
            told += f"\n\n_Details of {counted(len(changed) - number, 'table')} are left out for length._"
            break
    return told[: limit - 1] + "\n"


def _headline(diff: Diff) -> str:
    between = f"from {_code(diff.left)} to {_code(diff.right)}"
    if not diff.changed:
        return f"**No table changed** {between}."
    added, removed, changed = totals(diff)
    rows = f"{signed('+', added)} rows, {signed('−', removed)} rows, {signed('~', changed)} changed"
    breaking = sum(
        table.schema is not None and table.state == "changed" and not table.schema.compatible
        for table in diff.changed
    )
    warning = f" ⚠️ **{counted(breaking, 'schema')} not compatible.**" if breaking else ""
    return f"**{len(diff.changed):,} of {counted(len(diff.tables), 'table')} changed** {between}: {rows}.{warning}"


def _overview(tables: Sequence[TableDiff], room: int) -> str:
    lines = ["| Table | | Rows | Added | Removed | Changed | Schema |", "|---|---|--:|--:|--:|--:|---|"]
    for number, table in enumerate(tables):
        rows = table.rows
        figures = (
            (signed("+", rows.added), signed("−", rows.removed), signed("~", rows.changed))
            if rows
            else ("–", "–", "–")
        )
        cells = (_code(table.key), _WORDS[table.state], size_change(table), *figures, _schema_word(table))
        line = f"| {' | '.join(cells)} |"
        if number == _MAX_ROWS or sum(map(len, lines)) + len(line) > room:
            return "\n".join([*lines, "", f"_and {counted(len(tables) - number, 'more table')}_"])
        lines.append(line)
    return "\n".join(lines)


def _schema_word(table: TableDiff) -> str:
    if table.schema is None or table.state != "changed" or not table.schema.changed:
        return ""
    return "compatible" if table.schema.compatible else "⚠️ not compatible"


def _section(table: TableDiff, *, with_samples: bool) -> str:
    rows = table.rows
    summary = f"<code>{html.escape(clean(table.key))}</code> {_WORDS[table.state]}, {size_change(table)}"
    # The blank lines make Markdown of what is inside.
    parts = [f"<details><summary>{summary}</summary>"]
    if table.partitions:
        parts.append(_prose(table.partitions))
    if table.note:
        parts.append(f"> {_prose(table.note)}")
    if table.schema is not None and table.state == "changed" and table.schema.changed:
        parts.append("\n".join(_schema_lines(table.schema)))
    if rows is not None:
        if rows.by_column:
            parts.append("\n".join(_column_lines(rows.by_column, rows.changed)))
        if with_samples and rows.samples:
            parts.append(
                _fence("\n".join(line for sample in rows.samples for line in _sample_lines(table, sample)))
            )
    lines = list(_summary_lines(table))
    if lines and with_samples:
        parts.append("\n".join(lines))
    if rows is not None:
        parts.append(f"<sub>{how(table, rows)}</sub>")
    return "\n\n".join([*parts, "</details>"])


def _schema_lines(schema: SchemaDiff) -> Iterator[str]:
    lines = [f"- ➕ {_code(field.name)} {_code(field.type)} added" for field in schema.added]
    lines += [f"- ➖ {_code(field.name)} {_code(field.type)} removed" for field in schema.removed]
    lines += [f"- ✏️ {_code(old.name)} renamed to {_code(new.name)}" for old, new in schema.renamed]
    for old, new in schema.retyped:
        words = "widened" if new.name in schema.widened else "⚠️ not compatible"
        lines.append(f"- 🔁 {_code(new.name)} {_code(old.type)} → {_code(new.type)}, {words}")
    if schema.reordered:
        lines.append("- columns stand in another order")
    return _bounded(lines, "change")


def _column_lines(by_column: Any, changed: int) -> Iterator[str]:
    ranked = sorted(by_column.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"| {_code(name)} | {number:,} | {percent(number, changed)} |" for name, number in ranked]
    yield "| Changed in column | Rows | Of changed rows |"
    yield "|---|--:|--:|"
    yield from _bounded(lines, "column")


def _summary_lines(table: TableDiff) -> Iterator[str]:
    if not table.summaries:
        return
    yield "| Column | Nulls | Distinct, about | Least | Greatest | Mean |"
    yield "|---|--:|--:|---|---|--:|"
    lines = []
    for pair in table.summaries:
        cells = [_code(pair.name)]
        for told in (_nulls, _distinct, _least, _greatest, _mean):
            sides = [told(side) for side in (pair.left, pair.right) if side is not None]
            cells.append(sides[0] if len(set(sides)) == 1 else " → ".join(sides))
        lines.append(f"| {' | '.join(cells)} |")
    yield from _bounded(lines, "column")


def _nulls(side: ColumnSummary) -> str:
    return f"{side.nulls:,}"


def _distinct(side: ColumnSummary) -> str:
    return f"{side.approx_distinct:,}"


def _least(side: ColumnSummary) -> str:
    return "–" if side.min is None else _code(_shown(side.min, 40))


def _greatest(side: ColumnSummary) -> str:
    return "–" if side.max is None else _code(_shown(side.max, 40))


def _mean(side: ColumnSummary) -> str:
    return "–" if side.mean is None else f"{side.mean:,.6g}"


def _bounded(lines: Sequence[str], noun: str) -> Iterator[str]:
    yield from lines[:_MAX_COLUMNS]
    if len(lines) > _MAX_COLUMNS:
        yield f"\n_and {counted(len(lines) - _MAX_COLUMNS, f'more {noun}')}_"


def _sample_lines(table: TableDiff, sample: RowSample) -> Iterator[str]:
    """A row as lines of a ``diff`` block: a changed row by its key and what changed, another as one line."""
    if sample.before is None or sample.after is None:
        row = sample.after if sample.before is None else sample.before
        assert row is not None
        told = ", ".join(f"{name}: {_shown(value)}" for name, value in row.items())
        yield _cut(f"{'+' if sample.before is None else '-'} {told}")
        return
    old_name = {new.name: old.name for old, new in table.schema.renamed} if table.schema is not None else {}
    yield _cut("  " + ", ".join(f"{name}: {_shown(value)}" for name, value in sample.key.items()))
    seen = set()
    for name, new in sample.after.items():
        was = old_name.get(name, name)
        seen.add(was)
        if name in sample.key:
            continue
        old = sample.before.get(was)
        if was in sample.before and type(old) is type(new) and old == new:
            continue
        if was in sample.before:
            yield _cut(f"-   {was}: {_shown(old)}")
        yield _cut(f"+   {name}: {_shown(new)}")
    for name, old in sample.before.items():
        if name not in seen:
            yield _cut(f"-   {name}: {_shown(old)}")


def _shown(value: Any, most: int = _MAX_VALUE) -> str:
    told = json.dumps(value, ensure_ascii=False)
    return told if len(told) <= most else f"{told[:most]}…"


def _cut(line: str) -> str:
    line = clean(line)
    return line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]}…"


def _fence(body: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}diff\n{body}\n{fence}"


def _code(text: str) -> str:
    """A text as a code span that is safe in a table's cell too."""
    body = clean(text)
    if len(body) > _MAX_VALUE:
        body = f"{body[:_MAX_VALUE]}…"
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    ticks = "`" * (longest + 1)
    # A table splits its cells before it looks for code. One blank on each side is taken off again by Markdown.
    body = body.replace("|", "\\|")
    return f"{ticks} {body or ' '} {ticks}" if longest or not body.strip() else f"{ticks}{body}{ticks}"


def _prose(text: str) -> str:
    """A text that stays text: punctuation as character references, and nobody is notified by an @."""
    told = re.sub(r"[!-/:-@\[-`{-~]", lambda found: f"&#{ord(found[0])};", clean(text))
    return told.replace("&#64;", "&#64;<!-- -->")
