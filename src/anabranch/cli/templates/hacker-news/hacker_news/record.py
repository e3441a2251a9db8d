"""Records the newest items of the live API into a file for `RecordedClient`.

python -m hacker_news.record recording.jsonl.gz --count 2000
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

from hacker_news.clients import LiveClient


def record(client: LiveClient, file: Path, count: int) -> int:
    """Writes the newest items, one a line; returns how many there were."""
    client.setup()
    try:
        newest = client.newest()
        found = [item for item in client.items(range(max(1, newest - count + 1), newest + 1)) if item]
    finally:
        client.teardown()
    text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in found).encode()
    file.write_bytes(gzip.compress(text, mtime=0) if file.suffix == ".gz" else text)
    return len(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Records the newest items of the live API.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=2_000)
    asked = parser.parse_args()
    print(f"{record(LiveClient(), asked.file, asked.count):,} items in {asked.file}")
