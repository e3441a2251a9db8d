"""Three tables: all items, and the comments and stories among them.

Start with `items`. It reads the outside world, and each run goes on from the table that is there: it fetches what is
new, and what may have changed. `comments` and `stories` then treat only the items that came or went.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anabranch as ab
from hacker_news.clients import Client, Item
from hacker_news.markup import plain

if TYPE_CHECKING:
    import pyarrow as pa


class Feed(ab.Config):
    """Which items are fetched. It is part of what the table is: change it, and the plan names the field.

    Attributes:
        base_item_id: The first item. Without it, the table begins `count` items before the newest at the time when it
            is first built. Set it where a rebuild must reach back as far as the table that it replaces.
        count: How many new items one run fetches, at most. A table that is behind catches up run by run.
        again: How many of the newest items that are known are fetched again: scores rise, people delete what they wrote,
            and an item may exist a moment later than its id. Older ones are taken as settled.
    """

    base_item_id: int | None = None
    count: int = 1_000
    again: int = 100


def newest_item(client: Client) -> int:
    """What decides whether there is anything to fetch. Asked before a run is planned; items are fetched if it has moved."""
    return client.newest()


def wanted(known: range | None, newest: int, feed: Feed) -> range:
    """The ids to fetch, given those that the table holds.

    Ids have no gaps, so the table is one range that grows at its end. The same arguments give the same ids, and rows are
    merged by id: a run that is repeated changes nothing.
    """
    if known is None:
        first = feed.base_item_id if feed.base_item_id is not None else newest - feed.count + 1
        return range(max(1, first), min(newest, max(1, first) + feed.count - 1) + 1)
    return range(
        max(known.start, known.stop - feed.again), max(known.stop, min(newest + 1, known.stop + feed.count))
    )


def state(item: Item | None) -> str:
    """What has become of an item: nothing is left out, so that the table tells what was asked and what was answered."""
    if item is None:
        return "missing"  # the API answers null: there is no such item, or not yet
    if item.get("deleted"):
        return "deleted"  # by its author; neither author nor text is there any more
    return "dead" if item.get("dead") else "alive"  # dead: taken out by moderators or flags


def rows(found: Iterable[tuple[int, Item | None]]) -> pa.Table:
    """One row for each id that was asked. `parts` and `poll`, which link polls and their options, are left out."""
    import pyarrow as pa

    schema = pa.schema(
        {
            "id": pa.int64(),
            "state": pa.string(),
            "type": pa.string(),
            "by": pa.string(),
            "time": pa.timestamp("us", "UTC"),
            "title": pa.string(),
            "text": pa.string(),
            "url": pa.string(),
            "score": pa.int64(),
            "descendants": pa.int64(),
            "parent": pa.int64(),
            "kids": pa.list_(pa.int64()),
        }
    )
    plain_fields = [name for name in schema.names if name not in {"id", "state", "time"}]
    table: list[dict[str, Any]] = []
    for number, item in found:
        known = item or {}
        row = {name: known.get(name) for name in plain_fields}
        time = known.get("time")
        row |= {
            "id": number,
            "state": state(item),
            "time": None if time is None else datetime.fromtimestamp(time, UTC),
        }
        table.append(row)
    return pa.Table.from_pylist(table, schema)


@ab.asset(
    key="id",
    incremental="upsert",
    observe=newest_item,
    columns={
        "state": "alive, dead, deleted or missing",
        "text": "HTML, as it was written",
        "kids": "ids of replies",
    },
)
def items(client: Client, previous: ab.Table | None, config: Feed) -> pa.Table:
    """Stories, comments, jobs and polls, as the API sends them."""
    known = None
    if previous is not None and previous.rows:
        [(first, last)] = previous.to_duckdb().aggregate("min(id), max(id)").fetchall()
        known = range(first, last + 1)
    ids = wanted(known, client.newest(), config)
    return rows(zip(ids, client.items(ids), strict=True))


@ab.asset(key="id", incremental="upsert", columns={"text": "without its HTML"})
def comments(items: ab.Changes) -> ab.Upsert:
    """Comments that can be read, in plain text."""
    import polars as pl

    def readable(changed: ab.Table) -> pl.DataFrame:
        frame = changed.to_polars(["id", "state", "type", "parent", "by", "time", "text"])
        return frame.filter(pl.col("type") == "comment", pl.col("state") == "alive")

    # An item that was edited is one that went and one that came.
    came, went = readable(items.added), readable(items.removed)
    text = pl.col("text").map_elements(plain, return_dtype=pl.String)
    new = came.select("id", "parent", pl.col("by").alias("author"), "time", text).with_columns(
        words=pl.col("text").str.count_matches(r"\S+").cast(pl.Int64)
    )
    return ab.Upsert(rows=new, delete=went.join(came, on="id", how="anti").select("id"))


# The same in SQL: `items__added` and `items__removed` are the items that came and went.
stories = ab.sql(
    "stories",
    file="sql/stories.sql",
    key="id",
    incremental="upsert",
    delete="""
        select id from items__removed
        where id not in (select id from items__added where type = 'story' and state = 'alive')
    """,
    description="Stories that can be read, with the site that they link to.",
)
