"""An asset is still the function that it decorates: call it with plain values and a stub, no database or network needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from hacker_news.assets import Feed, items, newest_item, rows, state, wanted
from hacker_news.clients import Client, Item, LiveClient, RecordedClient, _seconds
from hacker_news.markup import plain


class StubClient(Client):
    """Two stories, a comment, and an id that nobody knows."""

    def newest(self) -> int:
        return 4

    def items(self, ids: Sequence[int]) -> list[Item | None]:
        known = [
            {
                "id": 1,
                "type": "story",
                "by": "ada",
                "title": "One",
                "time": 1_160_418_111,
                "score": 3,
                "kids": [2],
            },
            {"id": 2, "type": "comment", "by": "bob", "text": "Two", "parent": 1, "time": 1_160_418_112},
            {"id": 4, "type": "story", "deleted": True, "time": 1_160_418_113},
        ]
        return [next((item for item in known if item["id"] == number), None) for number in ids]


def test_items_are_fetched_and_nothing_is_left_out():
    assert newest_item(StubClient()) == 4
    table = items(StubClient(), None, Feed(count=4)).to_pylist()
    assert [row["id"] for row in table] == [1, 2, 3, 4]
    assert [row["state"] for row in table] == ["alive", "alive", "missing", "deleted"]
    assert table[0]["time"].isoformat() == "2006-10-09T18:21:51+00:00"
    assert table[0]["kids"] == [2]


def test_a_table_begins_where_one_says_or_some_items_before_the_newest():
    assert wanted(None, 5_000, Feed(count=1_000)) == range(4_001, 5_001)
    assert wanted(None, 5_000, Feed(base_item_id=3_000, count=1_000)) == range(3_000, 4_000)
    assert wanted(None, 10, Feed(count=1_000)) == range(1, 11)


def test_it_grows_at_its_end_and_asks_again_for_its_newest_items():
    feed = Feed(count=1_000, again=100)
    assert wanted(range(4_001, 5_001), 5_040, feed) == range(4_901, 5_041)
    assert wanted(range(4_001, 5_001), 9_000, feed) == range(4_901, 6_001)
    assert wanted(range(4_001, 5_001), 5_000, feed) == range(4_901, 5_001)
    assert wanted(range(4_990, 5_001), 5_000, feed) == range(4_990, 5_001)


@pytest.mark.parametrize(
    ("item", "expected"),
    [(None, "missing"), ({"deleted": True}, "deleted"), ({"dead": True}, "dead"), ({"by": "ada"}, "alive")],
)
def test_what_has_become_of_an_item(item: Item | None, expected: str):
    assert state(item) == expected


def test_rows_of_no_items_have_the_columns_all_the_same():
    assert rows([]).schema == rows([(1, None)]).schema


def test_html_becomes_text():
    assert plain('It&#x27;s <i>here</i><p>see <a href="x">x&gt;y</a>') == "It's here\nsee x>y"


def test_a_recording_is_read_and_its_absence_told(tmp_path: Path):
    file = tmp_path / "some.jsonl"
    with pytest.raises(FileNotFoundError, match=r"python -m hacker_news\.record"):
        RecordedClient(file=str(file)).newest()
    file.write_text('{"id": 7, "type": "story"}\n{"id": 9, "type": "job"}\n')
    client = RecordedClient(file=str(file))
    assert client.newest() == 9
    assert client.items([7, 8]) == [{"id": 7, "type": "story"}, None]


def test_a_server_may_ask_for_a_pause_in_seconds_or_by_a_date():
    assert _seconds("3") == 3
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert _seconds("soon") is None


def test_a_client_that_is_not_open_says_so():
    with pytest.raises(RuntimeError, match="setup"):
        LiveClient(tries=1).newest()
