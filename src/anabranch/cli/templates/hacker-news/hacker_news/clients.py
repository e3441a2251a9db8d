"""Where items come from: the live API, or a recording of it.

Assets ask for a `Client` and do not know which one they are given; `definitions` says which environment has which.
"""

from __future__ import annotations

import gzip
import json
import threading
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

import anabranch as ab

if TYPE_CHECKING:
    # For the annotations only. httpx is imported where it is used, so that `anabranch status` need not wait for it.
    import httpx
    import tenacity

Item = dict[str, Any]


class Client(ab.Resource):
    """What an asset needs of Hacker News."""

    @abstractmethod
    def newest(self) -> int:
        """The greatest id that there is."""

    @abstractmethod
    def items(self, ids: Sequence[int]) -> list[Item | None]:
        """The items of these ids, in their order; None where there is none of that id (or none yet)."""


class NotNowError(Exception):
    """An answer that is worth another try.

    Attributes:
        after: Seconds that the server asks one to wait, if it does.
    """

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class LiveClient(Client):
    """The API at https://github.com/HackerNews/API. One request for each item, a few of them at a time.

    Attributes:
        url: Where it is.
        at_once: How many requests are under way at a time, at most.
        timeout: Seconds that a connection, and each part of an answer, may take.
        tries: How often a request is made that fails for a reason which may pass: no connection, a timeout, an answer
            that breaks off, "too many requests", an error of the server. Any other failure is told at once.
        wait: Seconds before the second try; they double with each further one, with a little chance added.
        longest_wait: Seconds that no pause exceeds, not even one that the server asks for.
        user_agent: How this program introduces itself. Let the people who run the API know whom to ask.
    """

    url: str = "https://hacker-news.firebaseio.com/v0"
    at_once: int = 16
    timeout: float = 10.0
    tries: int = 6
    wait: float = 0.5
    longest_wait: float = 60.0
    user_agent: str = "hacker-news-pipeline/1 (an example of anabranch)"

    _http: httpx.Client | None = PrivateAttr(default=None)
    _given_up: threading.Event = PrivateAttr(default_factory=threading.Event)

    def setup(self) -> None:
        """Opens connections that are kept for all requests. A step calls it before the asset, `teardown` after it."""
        import httpx

        self._http = httpx.Client(
            timeout=self.timeout,
            limits=httpx.Limits(max_connections=self.at_once),
            headers={"User-Agent": self.user_agent},
        )

    def teardown(self) -> None:
        """Closes them."""
        if self._http is not None:
            self._http.close()

    def newest(self) -> int:
        """The greatest id that there is."""
        return int(self._get("maxitem"))

    def items(self, ids: Sequence[int]) -> list[Item | None]:
        """The items of these ids, in their order; None where there is none of that id."""
        pool = ThreadPoolExecutor(self.at_once)
        try:
            return list(pool.map(self._item, ids))
        except BaseException:
            self._given_up.set()  # nobody waits for another try of what nobody needs any more
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _item(self, number: int) -> Item | None:
        item = self._get(f"item/{number}")
        if item is not None and item.get("id") != number:
            raise ValueError(f"asked for item {number}, {self.url} sent {str(item)[:100]}")
        return item

    def _get(self, path: str) -> Any:
        import httpx
        import tenacity

        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((httpx.TransportError, NotNowError)),
            stop=tenacity.stop_after_attempt(self.tries) | tenacity.stop_when_event_set(self._given_up),
            wait=self._pause,
            sleep=tenacity.sleep_using_event(self._given_up),
            reraise=True,
        )
        return tries(self._get_once, path)

    def _get_once(self, path: str) -> Any:
        if self._http is None:
            raise RuntimeError("the client is not open: call setup() first, and teardown() when done")
        if self._given_up.is_set():
            raise NotNowError(f"{path}: given up, since another request failed")
        answer = self._http.get(f"{self.url}/{path}.json")
        if answer.status_code == 429 or answer.status_code >= 500:
            after = _seconds(answer.headers.get("Retry-After"))
            raise NotNowError(f"{path}: {answer.status_code} {answer.reason_phrase}", after)
        answer.raise_for_status()
        try:
            return answer.json()
        except ValueError:
            raise NotNowError(f"{path}: the answer is no JSON: {answer.text[:50]!r}") from None

    def _pause(self, state: tenacity.RetryCallState) -> float:
        import tenacity

        failure = state.outcome.exception() if state.outcome is not None else None
        asked = failure.after if isinstance(failure, NotNowError) else None
        own = (tenacity.wait_exponential(self.wait) + tenacity.wait_random(0, self.wait))(state)
        return min(self.longest_wait, max(own, asked or 0))


class RecordedClient(Client):
    """Items from a file that `python -m hacker_news.record` has made: the same in each run, and without a network.

    Attributes:
        file: One item a line, as the API sends them; may be compressed (`.gz`).
    """

    file: str

    def newest(self) -> int:
        """The greatest id that was recorded."""
        return max(self._items)

    def items(self, ids: Sequence[int]) -> list[Item | None]:
        """The items of these ids, in their order; None where none was recorded."""
        return [self._items.get(number) for number in ids]

    @cached_property
    def _items(self) -> dict[int, Item]:
        path = Path(self.file)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there: python -m hacker_news.record {path} makes it")
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        items = [json.loads(line) for line in text.splitlines() if line.strip()]
        return {item["id"]: item for item in items if item is not None}


def _seconds(retry_after: str | None) -> float | None:
    """What the header asks for: a number of seconds, or a date."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
