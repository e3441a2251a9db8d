"""A diff as one page: a single file that needs no network, no script and no explanation.

What is shown is hostile until it is escaped (`anabranch.report.markup` sees to that), and the page itself forbids every
script and every fetch. It holds no time of its own: the same diff is the same page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anabranch.diff.rows import RowsDiff
from anabranch.diff.schema import Field, SchemaDiff
from anabranch.diff.summary import ColumnSummary, Diff, SummaryPair, TableDiff
from anabranch.report.figures import counted, how, percent, signed, size_change, totals
from anabranch.report.html_rows import MAX_COLUMNS, sample_table, shown_value
from anabranch.report.markup import Html, join, tag
from anabranch.report.page import brand, document, facts, tile

_MAX_TABLES = 500

_BADGE = {
    "added": ("add", "new"),
    "removed": ("del", "gone"),
    "changed": ("mod", "changed"),
    "same": ("", "same"),
}
_KINDS = (("changed", "Changed rows"), ("removed", "Removed rows"), ("added", "Added rows"))
_PARTS = (("added", "add"), ("removed", "del"), ("changed", "mod"), ("unchanged", "same"))


def diff_page(diff: Diff, *, title: str, details: Mapping[str, Any] | None = None) -> str:
    """The page of a diff.

    Args:
        diff: What changed.
        title: The page's heading.
        details: Facts for the head of the page, name → value (who, which commit, which run); None values are left out.

    Returns:
        A whole HTML document that fetches nothing.
    """
    changed = sorted(diff.changed, key=lambda table: table.key)
    same = sorted(table.key for table in diff.tables if not table.changed)
    shown = changed[:_MAX_TABLES]
    main = tag(
        "main",
        _tiles(diff),
        _overview(shown) if changed else _nothing(),
        _left_out(len(changed) - len(shown)),
        [_section(number, table) for number, table in enumerate(shown)],
        _same(same) if same else None,
        id="tables",
    )
    return document(title, _top(diff, title, details or {}), main, skip=("Skip to the tables", "tables"))


def _top(diff: Diff, title: str, details: Mapping[str, Any]) -> Html:
    return tag(
        "header",
        brand("anabranch diff"),
        tag("h1", title),
        tag(
            "p",
            tag("span", tag("small", "before"), tag("code", diff.left), cls="ref"),
            tag("span", "→", aria_hidden="true"),
            tag("span", tag("small", "after"), tag("code", diff.right), cls="ref"),
            cls="refs",
        ),
        facts(details),
        cls="top",
    )


def _tiles(diff: Diff) -> Html:
    added, removed, rewritten = totals(diff)
    schemas = [
        table.schema for table in diff.changed if table.schema is not None and table.state == "changed"
    ]
    breaking = sum(not schema.compatible for schema in schemas)
    altered = sum(schema.changed for schema in schemas)
    noun = "schema changed" if altered == 1 else "schemas changed"
    return tag(
        "section",
        tile(f"{len(diff.changed):,}", f"of {counted(len(diff.tables), 'table')} changed"),
        tile(signed("+", added), "rows added", "add"),
        tile(signed("−", removed), "rows removed", "del"),
        tile(signed("~", rewritten), "rows changed", "mod"),
        tile(
            f"{altered:,}",
            f"{noun}, {breaking} not compatible" if breaking else noun,
            "del" if breaking else "",
        ),
        cls="tiles",
        aria_label="Totals",
    )


def _overview(tables: Sequence[TableDiff]) -> Html:
    heads = (
        ("Table", ""),
        ("State", ""),
        ("Schema", ""),
        ("Rows", "wide"),
        ("Added", "num"),
        ("Removed", "num"),
    )
    return tag(
        "section",
        tag(
            "div",
            tag(
                "table",
                tag("caption", "Every table that changed", cls="only-read"),
                tag(
                    "thead",
                    tag(
                        "tr",
                        [tag("th", name, scope="col", cls=cls) for name, cls in (*heads, ("Changed", "num"))],
                    ),
                ),
                tag("tbody", [_overview_row(number, table) for number, table in enumerate(tables)]),
                cls="overview",
            ),
            cls="scroll bare",
            tabindex="0",
            role="region",
            aria_label="Overview",
        ),
        cls="card",
    )


def _overview_row(number: int, table: TableDiff) -> Html:
    rows = table.rows
    figures = (
        (("+", "add", rows.added), ("−", "del", rows.removed), ("~", "mod", rows.changed)) if rows else ()
    )
    cells = [
        tag("td", tag("span", signed(sign, count), cls=f"n-{color}" if count else "zero"), cls="num")
        for sign, color, count in figures
    ] or [tag("td", tag("span", "–", cls="zero"), cls="num")] * 3
    return tag(
        "tr",
        tag("td", tag("a", table.key, href=f"#table-{number}")),
        tag("td", _state(table)),
        tag("td", _schema_badge(table)),
        tag("td", _bar(rows) if rows is not None else tag("span", size_change(table), cls="dim"), cls="wide"),
        cells,
    )


def _section(number: int, table: TableDiff) -> Html:
    rows = table.rows
    return tag(
        "section",
        tag(
            "div",
            tag(
                "div",
                tag("h2", table.key, id=f"heading-{number}"),
                _state(table),
                _schema_badge(table),
                tag("span", size_change(table), cls="rows"),
                cls="head",
            ),
            tag("p", _versions(table), cls="meta"),
            join(_bar(rows), _legend(rows)) if rows is not None else None,
            tag("p", table.partitions, cls="meta") if table.partitions else None,
            tag("p", table.note, cls="note") if table.note else None,
            _schema(table.schema) if table.schema is not None and table.state == "changed" else None,
            _columns(rows) if rows is not None and rows.by_column else None,
            [sample_table(table, rows, kind, words) for kind, words in _KINDS] if rows is not None else None,
            _summaries(table.summaries) if table.summaries else None,
            tag("p", how(table, rows), cls="meta last") if rows is not None else None,
            cls="inside",
        ),
        cls="card",
        id=f"table-{number}",
        aria_labelledby=f"heading-{number}",
    )


def _state(table: TableDiff) -> Html:
    color, word = _BADGE[table.state]
    if table.kind == "file" and table.state in ("added", "removed"):
        word = f"{word} file"
    return tag("span", word, cls=f"badge {color}".strip())


def _schema_badge(table: TableDiff) -> Html | None:
    if table.schema is None or table.state != "changed" or not table.schema.changed:
        return None
    if table.schema.compatible:
        return tag("span", "schema compatible", cls="badge")
    return tag("span", "schema not compatible", cls="badge del")


def _bar(rows: RowsDiff) -> Html:
    counts = [(name, color, getattr(rows, name)) for name, color in _PARTS]
    told = ", ".join(f"{count:,} {name}" for name, _, count in counts if count) or "no rows"
    return tag(
        "div",
        [tag("i", cls=f"i-{color}", style=f"flex:{count} 0 0") for _, color, count in counts if count],
        cls="bar",
        role="img",
        aria_label=told,
        title=told,
    )


def _legend(rows: RowsDiff) -> Html:
    total = rows.added + rows.removed + rows.changed + rows.unchanged
    items = []
    for name, color in _PARTS:
        count = getattr(rows, name)
        if count:
            share = tag("span", f" {percent(count, total)}", cls="dim")
            items.append(tag("li", tag("i", cls=f"i-{color}"), f"{count:,} {name}", share))
    return tag("ul", items, cls="legend")


def _schema(schema: SchemaDiff) -> Html | None:
    if not schema.changed:
        return None
    items = [_schema_item("+", "add", field, "added") for field in schema.added]
    items += [_schema_item("−", "del", field, "removed") for field in schema.removed]
    for old, new in schema.renamed:
        items.append(_schema_item("~", "del", new, "renamed", before=old.name))
    for old, new in schema.retyped:
        fits = new.name in schema.widened
        words = "widened, every old value fits" if fits else "retyped, not compatible"
        items.append(_schema_item("~", "mod" if fits else "del", new, words, type_before=old.type))
    if schema.reordered:
        items.append(
            tag("li", tag("span", "~", cls="sign", aria_hidden="true"), "columns stand in another order")
        )
    return join(tag("h3", "Schema"), tag("ul", items, cls="schema"))


def _schema_item(
    sign: str,
    color: str,
    field: Field,
    words: str,
    *,
    before: str | None = None,
    type_before: str | None = None,
) -> Html:
    return tag(
        "li",
        tag("span", sign, cls=f"sign {color}", aria_hidden="true"),
        join(tag("code", before), " → ") if before is not None else None,
        tag("strong", tag("code", field.name)),
        tag("code", f"{type_before} → {field.type}" if type_before is not None else field.type, cls="dim"),
        tag("span", words, cls="dim"),
    )


def _columns(rows: RowsDiff) -> Html:
    ranked = sorted(rows.by_column.items(), key=lambda item: (-item[1], item[0]))
    lines = [
        tag(
            "tr",
            tag("th", tag("code", name), scope="row"),
            tag(
                "td",
                tag(
                    "div",
                    tag("i", cls="i-mod", style=f"flex:{count} 0 0"),
                    tag("span", style=f"flex:{rows.changed - count} 0 0"),
                    cls="bar thin",
                    aria_hidden="true",
                ),
                cls="wide",
            ),
            tag("td", f"{count:,}", cls="num"),
            tag("td", f"{percent(count, rows.changed)} of changed rows", cls="num dim"),
        )
        for name, count in ranked[:MAX_COLUMNS]
    ]
    more = len(ranked) - MAX_COLUMNS
    return join(
        tag("h3", "Changes by column"),
        tag(
            "table",
            tag("caption", "Changed rows by column", cls="only-read"),
            tag("tbody", lines),
            cls="columns",
        ),
        tag("p", f"and {counted(more, 'more column')}", cls="dim") if more > 0 else None,
    )


def _summaries(pairs: Sequence[SummaryPair]) -> Html:
    heads = ("Column", "Type", "Nulls", "Distinct, about", "Least", "Greatest", "Mean")
    shown = pairs[:MAX_COLUMNS]
    both = any(pair.left is not None for pair in shown) and any(pair.right is not None for pair in shown)
    lines = []
    for pair in shown:
        metrics: tuple[tuple[Any, Any], ...] = (
            (_of(pair.left, "type"), _of(pair.right, "type")),
            (_nulls(pair.left), _nulls(pair.right)),
            (_grouped(pair.left, "approx_distinct"), _grouped(pair.right, "approx_distinct")),
            (_of(pair.left, "min"), _of(pair.right, "min")),
            (_of(pair.left, "max"), _of(pair.right, "max")),
            (_mean(pair.left), _mean(pair.right)),
        )
        name = (
            pair.name
            if pair.left is None or pair.left.name == pair.name
            else f"{pair.left.name} → {pair.name}"
        )
        cells = [_metric(old, new, pair, is_type=index == 0) for index, (old, new) in enumerate(metrics)]
        lines.append(tag("tr", tag("th", tag("code", name), scope="row"), cells))
    more = len(pairs) - len(shown)
    return join(
        tag("h3", "Columns before and after" if both else "Columns"),
        tag(
            "div",
            tag(
                "table",
                tag(
                    "caption",
                    "Column summaries; where two values stand in a cell, the upper one is before",
                    cls="only-read",
                ),
                tag("thead", tag("tr", [tag("th", name, scope="col") for name in heads])),
                tag("tbody", lines),
                cls="summary",
            ),
            cls="scroll",
            tabindex="0",
            role="region",
            aria_label="Column summaries",
        ),
        tag("p", f"and {counted(more, 'more column')}", cls="dim") if more > 0 else None,
    )


def _metric(old: Any, new: Any, pair: SummaryPair, *, is_type: bool) -> Html:
    if pair.left is None or pair.right is None:
        value = new if pair.left is None else old
        return tag("td", tag("code", value) if is_type else _plain(value))
    if old == new:
        return tag("td", tag("code", new) if is_type else _plain(new))
    return tag(
        "td",
        tag("span", tag("span", "before ", cls="only-read"), _plain(old), cls="was"),
        tag("span", tag("span", "after ", cls="only-read"), _plain(new), cls="now"),
        cls="differs",
    )


def _of(summary: ColumnSummary | None, name: str) -> Any:
    return None if summary is None else getattr(summary, name)


def _grouped(summary: ColumnSummary | None, name: str) -> str | None:
    return None if summary is None else f"{getattr(summary, name):,}"


def _nulls(summary: ColumnSummary | None) -> str | None:
    if summary is None:
        return None
    return f"{summary.nulls:,} ({percent(summary.nulls, summary.rows)})" if summary.nulls else "0"


def _mean(summary: ColumnSummary | None) -> str | None:
    return None if summary is None or summary.mean is None else f"{summary.mean:,.6g}"


def _plain(value: Any) -> Html:
    return tag("span", "–", cls="dim") if value is None else shown_value(value)


def _versions(table: TableDiff) -> Html:
    versions = [version for version in (table.left_version, table.right_version) if version is not None]
    parts = [tag("code", version if len(version) <= 80 else f"{version[:80]}…") for version in versions]
    return join(parts[0], [join(" → ", part) for part in parts[1:]]) if parts else Html("")


def _nothing() -> Html:
    return tag("section", tag("div", tag("h2", "Nothing changed"), cls="inside"), cls="card")


def _same(keys: Sequence[str]) -> Html:
    names = [tag("li", tag("code", key)) for key in keys[:_MAX_TABLES]]
    more = len(keys) - len(names)
    return tag(
        "section",
        tag(
            "div",
            tag(
                "details",
                tag(
                    "summary",
                    f"{counted(len(keys), 'table')} {'is' if len(keys) == 1 else 'are'} the same on both sides",
                ),
                tag("ul", names, cls="names"),
                tag("p", f"and {more:,} more", cls="dim") if more > 0 else None,
            ),
            cls="inside",
        ),
        cls="card",
    )


def _left_out(number: int) -> Html | None:
    return (
        tag("p", f"{counted(number, 'more table')} changed and are not shown here.", cls="note")
        if number > 0
        else None
    )
