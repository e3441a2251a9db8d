"""The example that `anabranch init --example hacker-news` makes, on recorded items that a server on this machine sends."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest

import anabranch as ab
from anabranch.cli import main
from doubles.hacker_news import HackerNews, needs_recording, recorded

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("httpx") is None or importlib.util.find_spec("polars") is None,
    reason='what the example needs is not installed: pip install "anabranch[polars,examples]"',
)

FIRST, LAST, LATER = 25_580_000, 25_580_999, 25_581_400
LINK = r"""_LINK = re.compile(r'<a\s[^>]*href="([^"]*)"[^>]*>.*?</a>', re.IGNORECASE | re.DOTALL)"""
RETURN = 'return html.unescape(_TAG.sub("", _PARAGRAPH.sub("\\n", markup))).strip()'


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "hacker_news"]:
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path):
    """The example as it is made, nothing built."""
    made = tmp_path / "news"
    assert main(["init", "--example", "hacker-news", str(made)]) == 0
    yield made
    forget()


@pytest.fixture
def clients(folder, monkeypatch):
    """The example's module of clients."""
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module("hacker_news.clients")


class World:
    """The example's project, and the server that it finds at the real address."""

    def __init__(self, folder, api) -> None:
        self.folder = folder
        self.api = api
        self.project = ab.Project(folder)

    def run(self, **how):
        result = self.project.run(in_process=True, **how)
        self.project.refresh()
        return result

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.folder, check=True, capture_output=True)
        self.project.refresh()

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))
        self.project.refresh()

    def rows(self, query: str, at: str | None = None):
        return self.project.sql(query, at=at).fetchall()

    def asked(self) -> list[int]:
        """The items that were asked since the last call."""
        found = [re.search(r"/item/(\d+)", path) for path in self.api.paths()]
        self.api.requests.clear()
        return sorted(int(one[1]) for one in found if one is not None)


@pytest.fixture
def world(folder, monkeypatch):
    with HackerNews(newest=LAST) as api:
        api.redirected(monkeypatch)
        made = World(folder, api)
        yield made
        made.project.close()


def alive(kind: str, newest: int) -> set[int]:
    return {
        number
        for number, item in recorded().items()
        if FIRST <= number <= newest and item["type"] == kind and not {"dead", "deleted"} & set(item)
    }


def ran(result) -> list[str]:
    return sorted(o.key for o in result.execution.outcomes.values() if o.state == "ran")


@needs_recording
@pytest.mark.slow
def test_production_is_built_and_grows_by_what_is_new_or_changed(world):
    built = world.run()
    assert built.ok, built.execution
    assert world.asked() == list(range(FIRST, LAST + 1))
    assert {request.user_agent for request in world.api.requests} <= {"hacker-news-pipeline/1"}
    assert set(world.rows("select id from comments")) == {(n,) for n in alive("comment", LAST)}
    assert set(world.rows("select id from stories")) == {(n,) for n in alive("story", LAST)}

    again = world.run()
    assert ran(again) == []
    assert world.asked() == []

    world.api.newest = LATER
    gone = max(alive("comment", LAST))
    world.api.edit(gone, deleted=True, by=None, text=None)
    risen = max(alive("story", LAST))
    world.api.edit(risen, score=4_711)
    (reason, _) = world.project.plan().steps["items"].reasons
    assert reason.text == f"the outside version changed: {LAST} → {LATER}"
    assert world.run().ok
    assert world.asked() == list(range(LAST - 99, LATER + 1))
    assert set(world.rows("select id from comments")) == {(n,) for n in alive("comment", LATER)} - {(gone,)}
    assert world.rows(f'select state, "by", text from items where id = {gone}') == [("deleted", None, None)]
    assert world.rows(f"select score from stories where id = {risen}") == [(4_711,)]
    assert world.rows("select count(*) from items", "production@1") == [(1_000,)]

    # What went on from what was there is what a rebuild gives.
    versions = {key: entry.version for key, entry in world.project.tables("production").items()}
    world.run(force=True, select=["comments", "stories"])
    assert {key: entry.version for key, entry in world.project.tables("production").items()} == versions


@needs_recording
@pytest.mark.slow
def test_the_walk_of_its_readme_goes_as_told(world):
    readme = (world.folder / "README.md").read_text()
    world.run()
    world.api.newest = LATER
    world.run()
    [(stories, comments)] = world.rows("select count(*), sum(comments) from stories where kind = 'link'")
    assert f"link       {stories}       {comments}" in readme
    world.git("switch", "-q", "-c", "whole-links")
    world.edit("hacker_news/markup.py", "_PARAGRAPH =", f"{LINK}\n_PARAGRAPH =")
    world.edit(
        "hacker_news/markup.py",
        RETURN,
        'linked = _LINK.sub(r"\\1", markup)\n    ' + RETURN.replace("markup", "linked"),
    )
    for line in LINK, RETURN, RETURN.replace("markup", "linked"):
        assert line in readme
    world.asked()
    steps = world.project.plan().steps
    assert {key: step.action for key, step in steps.items()} == {
        "items": "reuse",
        "comments": "run",
        "stories": "reuse",
    }
    assert steps["comments"].reasons[0].text.startswith("function hacker_news.markup.plain changed")
    assert ran(world.run()) == ["comments"]
    assert world.asked() == [], "a sandbox fetches nothing"
    (table,) = [table for table in world.project.diff().tables if table.state != "same"]
    assert table.rows.by_column == {"text": table.rows.changed}
    assert f"{table.rows.changed} changed" in readme
    world.git("commit", "-q", "-am", "Keep whole links")
    published = world.project.promote(yes=True, in_process=True)
    assert (published.state, published.reran) == ("published", ())


@needs_recording
@pytest.mark.slow
def test_a_sandbox_fetches_where_it_is_asked_to_and_says_what_has_moved_on(world):
    world.run(select=["items"])
    world.git("switch", "-q", "-c", "fresh")
    world.asked()
    story = max(alive("story", LAST))
    world.api.edit(story, score=4_711)
    world.api.newest = LAST + 10
    assert ran(world.run(select=["items"], refresh=["items"])) == ["items"]
    assert world.asked() == list(range(LAST - 99, LAST + 11))
    (table,) = [table for table in world.project.diff().tables if table.state != "same"]
    assert (table.rows.added, table.rows.changed, table.rows.by_column) == (10, 1, {"score": 1})


@needs_recording
def test_a_server_that_stays_in_trouble_ends_the_run_and_leaves_production_as_it_is(world, monkeypatch):
    world.edit("hacker_news/clients.py", "wait: float = 0.5", "wait: float = 0.001")
    world.edit("hacker_news/assets.py", "count: int = 1_000", "count: int = 20")
    world.git("commit", "-q", "-am", "Be quick")
    world.api.trouble("error", item=LAST - 3, status=503)
    result = world.run(select=["items"])
    assert not result.ok
    (failed,) = [o for o in result.execution.outcomes.values() if o.state == "failed"]
    assert f"NotNowError: item/{LAST - 3}: 503 Service Unavailable" in failed.error["message"]
    assert world.project.tables("production") == {}
    assert world.api.paths().count(f"/v0/item/{LAST - 3}.json") == 6
    world.api.heal()
    assert world.run(select=["items"]).ok


@needs_recording
@pytest.mark.slow
def test_the_local_environment_has_tables_of_its_own_and_reads_the_recording(world, tmp_path, monkeypatch):
    file = tmp_path / "recording.jsonl"
    items = [recorded()[number] for number in range(LATER - 29, LATER + 1)]
    file.write_text("".join(json.dumps(item) + "\n" for item in items))
    monkeypatch.setenv("HACKER_NEWS_RECORDING", str(file))
    monkeypatch.setenv("ANABRANCH_ENVIRONMENT", "local")
    world.edit("hacker_news/assets.py", "count: int = 1_000", "count: int = 30")
    world.git("commit", "-q", "-am", "Be quick")
    result = world.run()
    assert result.ok
    assert result.commit == "local@1"
    assert world.asked() == []
    assert world.rows("select count(*) from items", "local") == [(30,)]
    assert world.project.tables("local").keys() == {"items", "comments", "stories"}
    monkeypatch.delenv("ANABRANCH_ENVIRONMENT")
    world.project.refresh()
    assert world.run(select=["items"]).commit == "production@1"
    assert world.asked() == list(range(LAST - 29, LAST + 1))


@pytest.fixture
def small():
    """A server with twenty items, of which one is not there."""
    with HackerNews(
        items=[{"id": n, "type": "story", "title": f"Story {n}"} for n in range(1, 21) if n != 7]
    ) as api:
        yield api


@pytest.fixture
def live(clients, small):
    made = clients.LiveClient(url=f"{small.url}/v0", wait=0.01, at_once=4)
    made.setup()
    yield made
    made.teardown()


@pytest.mark.parametrize("kind", ["error", "busy", "drop", "cut", "truncated"])
def test_what_passes_is_waited_for(live, small, kind):
    small.trouble(kind, path="/item/" if kind == "truncated" else "", times=2)
    assert live.newest() == 20
    assert [item and item["id"] for item in live.items(range(6, 9))] == [6, None, 8]
    assert [small.paths().count(f"/v0/item/{number}.json") for number in range(6, 9)] == [3, 3, 3]


def test_no_more_than_the_stated_number_of_requests_are_under_way(live, small):
    small.delay = 0.02
    assert len(live.items(range(1, 21))) == 20
    assert 2 <= small.most_at_once <= 4
    assert {request.user_agent for request in small.requests} == {
        "hacker-news-pipeline/1 (an example of anabranch)"
    }


def test_a_pause_that_the_server_asks_for_is_kept_up_to_a_limit(live, small):
    small.trouble("busy", path="maxitem", times=1, retry_after=1)
    assert live.newest() == 20
    first, second = [request.at for request in small.requests]
    assert second - first >= 1
    small.heal()
    small.trouble("busy", path="maxitem", times=1, retry_after=3_600)
    object.__setattr__(live, "__dict__", {**live.__dict__, "longest_wait": 0.01})
    assert live.newest() == 20


def test_a_slow_answer_is_a_timeout_and_tried_again(clients, small):
    small.trouble("slow", path="maxitem", times=1, seconds=1.0)
    client = clients.LiveClient(url=f"{small.url}/v0", wait=0.01, timeout=0.2)
    client.setup()
    try:
        assert client.newest() == 20
    finally:
        client.teardown()


def test_what_does_not_pass_is_told_at_once(live, small):
    import httpx

    small.trouble("error", path="maxitem", status=403)
    with pytest.raises(httpx.HTTPStatusError, match="403"):
        live.newest()
    assert len(small.requests) == 1
    small.items[3] = {"id": 4}
    with pytest.raises(ValueError, match="asked for item 3"):
        live.items([3])


def test_when_one_item_fails_the_others_are_given_up(live, small):
    import httpx

    small.trouble("error", item=2, status=400)
    small.trouble("busy", item=1, retry_after=30)
    with pytest.raises(httpx.HTTPStatusError):
        live.items([2, 1, 3])
    assert small.paths().count("/v0/item/1.json") <= 1


@needs_recording
def test_a_recording_is_made_of_the_live_api_and_then_needs_none(folder, tmp_path, clients):
    with HackerNews(newest=LAST) as api:
        file = tmp_path / "some.jsonl.gz"
        done = subprocess.run(
            [sys.executable, "-m", "hacker_news.record", str(file), "--count", "50"],
            cwd=folder,
            env=os.environ | api.environment(),
            capture_output=True,
            text=True,
        )
    assert done.stdout == f"50 items in {file}\n", done.stderr
    client = clients.RecordedClient(file=str(file))
    assert client.newest() == LAST
    assert client.items([LAST - 49, LAST - 50]) == [recorded()[LAST - 49], None]


def test_its_own_unit_tests_pass(folder):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 passed" in done.stdout


def test_what_is_made_is_committed_and_whole(folder):
    listed = subprocess.run(
        ["git", "ls-files"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {
        "README.md",
        "anabranch.toml",
        "hacker_news/definitions.py",
        "hacker_news/sql/stories.sql",
    } <= set(listed)
    assert "{{" not in "".join((folder / name).read_text() for name in listed)


def test_looking_at_it_loads_neither_a_client_nor_a_data_frame_library(folder):
    script = (
        "import sys, json, anabranch as ab\n"
        f"project = ab.Project({str(folder)!r})\n"
        "project.status()\n"
        "print(json.dumps([name for name in ('httpx', 'tenacity', 'pandas', 'polars') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
