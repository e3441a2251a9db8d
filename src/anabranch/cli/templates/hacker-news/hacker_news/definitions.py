"""The project: its assets, its checks and its resources. anabranch.toml names `defs`."""

from __future__ import annotations

import anabranch as ab
from hacker_news.assets import comments, items, stories
from hacker_news.checks import CHECKS
from hacker_news.clients import LiveClient, RecordedClient

defs = ab.Definitions(
    assets=[items, comments, stories],
    checks=CHECKS,
    # A set for each environment, by its name in anabranch.toml, and one for all sandboxes.
    resources={
        "production": {"client": LiveClient()},
        "staging": {"client": LiveClient(at_once=4)},
        "local": {"client": RecordedClient(file=ab.EnvVar("HACKER_NEWS_RECORDING", "recording.jsonl.gz"))},
        # As production's, so that what a sandbox has fetched may be published. It fetches only if it is asked to, or if
        # the code of `items` changes: else a sandbox reads the items of its base.
        "sandbox": {"client": LiveClient()},
    },
)
