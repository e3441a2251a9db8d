"""The stand-in for the Hacker News API answers as the real one, also to programs that know only the real address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request

import httpx
import pytest
import requests

from doubles.hacker_news import HackerNews, needs_recording, recorded

REAL = "https://hacker-news.firebaseio.com/v0"


@pytest.fixture
def api():
    with HackerNews(items=ITEMS) as server:
        yield server


ITEMS = [
    {"id": 7, "type": "story", "by": "ada", "score": 3, "time": 1, "title": "Ask HN: why?"},
    {"id": 8, "type": "comment", "by": "bob", "parent": 7, "time": 2, "text": "Because\u2026"},
    {"id": 9, "type": "story", "by": "cyd", "score": 5, "time": 3, "title": "Show HN: this"},
    {"id": 10, "type": "comment", "deleted": True, "parent": 9, "time": 4},
]


def get(api: HackerNews, path: str) -> httpx.Response:
    return httpx.get(f"{api.url}/v0/{path}.json")


def test_items_are_served_unchanged_and_unknown_ones_are_null(api):
    assert get(api, "item/8").json() == ITEMS[1]
    assert get(api, "item/11").text == "null"
    assert get(api, "item/x").text == "null"
    assert get(api, "maxitem").json() == 10
    assert get(api, "nothing").status_code == 401
    assert api.requests[0].path == "/v0/item/8.json"


def test_lists_hold_ids_of_stories_the_best_or_newest_first(api):
    assert get(api, "topstories").json() == [9, 7]
    assert get(api, "askstories").json() == [7]
    assert get(api, "jobstories").json() == []


def test_time_passes_where_one_says_so(api):
    api.newest = 8
    assert get(api, "maxitem").json() == 8
    assert get(api, "item/9").json() is None
    api.newest = None
    api.edit(9, deleted=True, title=None)
    assert get(api, "item/9").json() == {
        "id": 9, "type": "story", "by": "cyd", "score": 5, "time": 3, "deleted": True
    }  # fmt: skip
    assert get(api, "newstories").json() == [7]


def test_answers_fail_as_often_as_one_says(api):
    api.trouble("error", item=7, times=2, status=503)
    assert [get(api, "item/7").status_code for _ in range(3)] == [503, 503, 200]
    api.trouble("busy", path="maxitem", times=1, retry_after=3)
    busy = get(api, "maxitem")
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "3")
    assert get(api, "maxitem").json() == 10
    api.trouble("drop", item=8, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        get(api, "item/8")
    api.trouble("cut", item=9, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        get(api, "item/9")
    api.trouble("truncated", item=10)
    with pytest.raises(json.JSONDecodeError):
        get(api, "item/10").json()
    api.heal()
    assert get(api, "item/10").json() == ITEMS[3]
    api.trouble("slow", item=7, seconds=0.2)
    before = time.monotonic()
    assert get(api, "item/7").json() == ITEMS[0]
    assert time.monotonic() - before >= 0.2


CLIENTS = {
    "urllib": "import json, urllib.request; found = json.load(urllib.request.urlopen(URL))",
    "requests": "import requests; found = requests.get(URL, timeout=5).json()",
    "httpx": "import httpx; found = httpx.get(URL).json()",
    "asyncio": (
        "import asyncio, httpx\n"
        "async def main():\n    async with httpx.AsyncClient() as client: return (await client.get(URL)).json()\n"
        "found = asyncio.run(main())"
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_child_that_knows_only_the_real_address_comes_here(api, client):
    code = f"URL = '{REAL}/item/9.json'\n{CLIENTS[client]}\nimport json; print(json.dumps(found))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | api.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ITEMS[2]


def test_a_child_reaches_no_other_host(api):
    code = "import urllib.request; urllib.request.urlopen('https://example.com')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | api.environment(), capture_output=True, text=True
    )
    assert "example.com is not on this machine, and tests use no network" in done.stderr


def test_this_process_comes_here_until_the_patch_is_undone(api):
    trusted = os.environ.get("SSL_CERT_FILE")
    with pytest.MonkeyPatch.context() as patch:
        api.redirected(patch)
        assert requests.get(f"{REAL}/item/7.json", timeout=5).json() == ITEMS[0]
        assert httpx.get(f"{REAL}/maxitem.json").json() == 10
        with urllib.request.urlopen(f"{REAL}/item/8.json") as answer:
            assert json.load(answer) == ITEMS[1]
        with pytest.raises(httpx.ConnectError, match="not on this machine"):
            httpx.get("https://example.com")
    assert os.environ.get("SSL_CERT_FILE") == trusted


@needs_recording
def test_the_recording_is_what_its_description_says():
    items = recorded()
    contiguous = [items[number] for number in range(25_576_000, 25_582_000)]
    assert sum(item["type"] == "comment" for item in contiguous) == 5_449
    assert sum(item["type"] == "story" for item in contiguous) == 551
    assert sum(bool(item.get("deleted")) for item in contiguous) == 170
    with HackerNews(newest=25_581_000) as api:
        assert get(api, "maxitem").json() == 25_581_000
        alive = [item for item in items.values() if not {"dead", "deleted"} & set(item)]
        stories = [item["id"] for item in alive if item["type"] == "story" and item["id"] <= 25_581_000]
        assert get(api, "newstories").json() == sorted(stories, reverse=True)[:500]
        assert get(api, "topstories").json()[0] == max(stories, key=lambda number: items[number]["score"])
