"""`anabranch dagster dev`: Dagster's web UI in the sandbox's surroundings."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from dagster_shop import Shop, cli

pytest.importorskip("dagster_webserver")


QUERY = """{
    assetNodes { assetKey { path } }
    repositoriesOrError { ... on RepositoryConnection { nodes { schedules { name } sensors { name } } } }
}"""


def ask(port: int, query: str) -> dict:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found = json.loads(answer.read())
        assert "errors" not in found, found
        return found["data"]


def test_the_web_ui_shows_the_assets_and_ends_on_ctrl_c(shop: Shop):
    shop.repo.branch("ui")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "anabranch", "dagster", "dev", "--port", str(port)],
        cwd=shop.path,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, Ctrl-C is ignored by them and all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        end = time.monotonic() + 150
        found: dict = {}
        while time.monotonic() < end and process.poll() is None:
            try:
                found = ask(port, QUERY)
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                found = {}
            if found.get("assetNodes"):
                break
            time.sleep(1.0)
        assert {tuple(node["assetKey"]["path"]) for node in found["assetNodes"]} == {
            ("orders",),
            ("big_orders",),
            ("by_city",),
        }
        (repository,) = found["repositoriesOrError"]["nodes"]
        assert repository == {"schedules": [], "sensors": []}
    finally:
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert "Dagster's web UI for" in err


def test_there_is_nothing_to_deliver_where_nothing_is_kept_elsewhere(shop: Shop):
    assert shop.run().ok
    done = cli(shop.path, "dagster", "deliver", "--json")
    assert json.loads(done.stdout) == {"environment": "production", "delivered": []}
