"""What must hold for the data. A check that fails keeps a run from being published and a branch from being promoted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anabranch as ab
from hacker_news.assets import comments, items, stories

if TYPE_CHECKING:
    import duckdb


@ab.check(items)
def no_item_is_skipped(items: duckdb.DuckDBPyRelation) -> ab.CheckResult:
    """There is a row for each id from the first to the last, if only to say that the item is missing."""
    [(count, first, last)] = items.aggregate("count(*), min(id), max(id)").fetchall()
    skipped = last - first + 1 - count if count else 0
    return ab.CheckResult(skipped == 0, f"{count:,} items, {skipped:,} skipped", failing=skipped)


@ab.check(items, blocking=False)
def few_items_are_missing(items: duckdb.DuckDBPyRelation) -> ab.CheckResult:
    """The API has an answer for almost all ids; where it has not, it is in trouble, and the next run asks again."""
    [(missing, count)] = items.aggregate("count(*) filter (state = 'missing'), count(*)").fetchall()
    return ab.CheckResult(missing <= count / 100, f"{missing:,} of {count:,} are missing", failing=missing)


CHECKS = [
    ab.unique(items),
    ab.not_null(items, "id", "state"),
    ab.accepted_values(items, "state", ["alive", "dead", "deleted", "missing"]),
    ab.accepted_values(items, "type", ["story", "comment", "job", "poll", "pollopt"]),
    no_item_is_skipped,
    few_items_are_missing,
    ab.unique(comments),
    ab.not_null(comments, "author", "parent", "time", "text"),
    ab.references(comments, "id", items),
    ab.unique(stories),
    ab.not_null(stories, "author", "title", "time", "score"),
    ab.references(stories, "id", items),
]
