"""What an OpenLineage server hears of a run: a real server on this machine that collects, and the client's own event model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from story_shop import SETTINGS

from anabranch.errors import SecretError
from anabranch.running.lineage import Lineage

KEY = "k3y-of-the-server"


class Server:
    """Collects what is posted to it.

    Attributes:
        events: The bodies, in order.
        headers: Their headers.
        status: What it answers.
    """

    def __init__(self) -> None:
        self.events: list[dict] = []
        self.headers: list[dict] = []
        self.status = 201
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                outer.events.append(json.loads(body))
                outer.headers.append(dict(self.headers))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def told(self, job: str) -> list[str]:
        """The kinds of event of a job, in order."""
        return [event["eventType"] for event in self.events if event["job"]["name"] == job]

    def one(self, job: str, kind: str) -> dict:
        (found,) = [e for e in self.events if (e["job"]["name"], e["eventType"]) == (job, kind)]
        return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    made = Server()
    yield made
    made.close()


def settings(server: Server, more: str = "") -> str:
    return f'{SETTINGS}\n[openlineage]\nurl = "{server.url}"\n{more}\n'


def test_a_run_and_each_of_its_steps_begin_and_end(make_shop, server):
    shop = make_shop(settings=settings(server))
    assert shop.run().ok
    assert server.told("shop") == ["START", "COMPLETE"]
    for asset in ("orders", "paid", "customers", "revenue", "report"):
        assert server.told(f"shop.{asset}") == ["START", "COMPLETE"]
    assert {event["job"]["namespace"] for event in server.events} == {"anabranch"}


def test_an_events_ids_belong_together_and_differ_between_runs(make_shop, server):
    shop = make_shop(settings=settings(server))
    result = shop.run()
    whole = server.one("shop", "START")["run"]["runId"]
    steps = [event for event in server.events if event["job"]["name"] != "shop"]
    assert {event["run"]["facets"]["parent"]["run"]["runId"] for event in steps} == {whole}
    assert {event["run"]["facets"]["parent"]["job"]["name"] for event in steps} == {"shop"}
    ids = {event["job"]["name"]: event["run"]["runId"] for event in server.events}
    assert len(set(ids.values())) == len(ids)
    assert all(uuid.UUID(one) for one in ids.values())
    assert result.id not in ids.values()
    server.events.clear()
    shop.run(force=True)
    assert server.one("shop", "START")["run"]["runId"] != whole


def test_inputs_and_outputs_carry_schema_version_and_statistics(make_shop, server):
    shop = make_shop(settings=settings(server))
    shop.run()
    tables = shop.project.tables("production")
    done = server.one("shop.paid", "COMPLETE")
    warehouse = shop.project.context.place.warehouse
    (read,) = done["inputs"]
    assert (read["namespace"], read["name"]) == (warehouse, "orders")
    assert read["facets"]["version"]["datasetVersion"] == tables["orders"].version
    (written,) = done["outputs"]
    assert (written["namespace"], written["name"]) == (warehouse, "paid")
    assert written["facets"]["version"]["datasetVersion"] == tables["paid"].version
    fields = written["facets"]["schema"]["fields"]
    assert [field["name"] for field in fields] == ["id", "customer", "net", "gross"]
    assert [field["ordinal_position"] for field in fields] == [1, 2, 3, 4]
    assert fields[3]["type"] == "double"
    statistics = written["outputFacets"]["outputStatistics"]
    assert statistics["rowCount"] == 3
    assert statistics["size"] == tables["paid"].provenance.bytes


def test_a_job_tells_its_code_its_query_and_its_place_in_git(make_shop, server):
    shop = make_shop(settings=settings(server))
    shop.git("remote", "add", "origin", "https://ada:t0ken@example.com/shop.git")
    shop.run()
    job = server.one("shop.revenue", "COMPLETE")["job"]["facets"]
    assert "sum(gross)" in job["sql"]["query"]
    place = server.one("shop.paid", "START")["job"]["facets"]["sourceCodeLocation"]
    assert place["url"] == "https://example.com/shop.git"
    assert place["path"] == "shop/definitions.py"
    assert place["version"] == shop.git("rev-parse", "HEAD").strip()
    assert place["branch"] == "main"
    assert (
        server.one("shop.orders", "START")["job"]["facets"]["documentation"]["description"]
        == "What was ordered."
    )
    assert "t0ken" not in json.dumps(server.events)


def test_a_failure_is_told_with_its_message_and_the_run_fails_too(make_shop, server):
    shop = make_shop(settings=settings(server))
    shop.edit("shop/prices.py", "return pc.multiply", "raise ValueError('bad day') or pc.multiply")
    shop.commit()
    assert not shop.run().ok
    assert server.told("shop.paid") == ["START", "FAIL"]
    error = server.one("shop.paid", "FAIL")["run"]["facets"]["errorMessage"]
    assert "bad day" in error["message"]
    assert error["programmingLanguage"] == "python"
    assert "in with_tax" in error["stackTrace"]
    assert server.told("shop.revenue") == []
    assert "paid failed" in server.one("shop", "FAIL")["run"]["facets"]["errorMessage"]["message"]


def test_what_is_interrupted_is_told_as_aborted(make_shop, server):
    shop = make_shop(settings=settings(server))
    shop.edit("shop/prices.py", "return pc.multiply", "raise KeyboardInterrupt or pc.multiply")
    shop.commit()
    with pytest.raises(KeyboardInterrupt):
        shop.run()
    assert server.told("shop.paid") == ["START", "ABORT"]
    assert server.told("shop") == ["START", "ABORT"]


def test_the_checks_judgements_stand_at_the_runs_end(make_shop, server):
    shop = make_shop(settings=settings(server))
    shop.run()
    judged = {one["name"]: one for one in server.one("shop", "COMPLETE")["inputs"]}
    (assertion,) = judged["paid"]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert (assertion["assertion"], assertion["success"], assertion["severity"]) == (
        "not_null_gross",
        True,
        "error",
    )
    assert len(judged["orders"]["inputFacets"]["dataQualityAssertions"]["assertions"]) == 2


def test_a_sandboxs_jobs_and_tables_stand_apart_from_productions(make_shop, server):
    shop = make_shop(settings=settings(server))
    shop.run()
    server.events.clear()
    shop.switch("fix", new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    shop.run()
    warehouse = shop.project.context.place.warehouse
    assert {event["job"]["namespace"] for event in server.events} == {"anabranch/@fix"}
    paid, revenue = (server.one(f"shop.{name}", "COMPLETE") for name in ("paid", "revenue"))
    assert [one["namespace"] for one in paid["inputs"]] == [warehouse]
    assert [one["namespace"] for one in paid["outputs"]] == [f"{warehouse}/@fix"]
    assert [one["namespace"] for one in revenue["inputs"]] == [f"{warehouse}/@fix"]


def test_every_event_is_one_by_the_clients_own_model(make_shop, server):
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

    shop = make_shop(settings=settings(server))
    shop.run()
    assert len(server.events) == 12
    for told in server.events:
        made = RunEvent(
            eventType=RunState[told["eventType"]],
            eventTime=told["eventTime"],
            run=Run(told["run"]["runId"]),
            job=Job(told["job"]["namespace"], told["job"]["name"]),
            inputs=[InputDataset(one["namespace"], one["name"]) for one in told["inputs"]],
            outputs=[OutputDataset(one["namespace"], one["name"]) for one in told["outputs"]],
            producer=told["producer"],
        )
        assert made.schemaURL == told["schemaURL"]
        assert datetime.fromisoformat(told["eventTime"]).tzinfo is not None
        facets = [*told["run"]["facets"].values(), *told["job"]["facets"].values()]
        assert all(
            facet["_producer"] and facet["_schemaURL"].startswith("https://openlineage.io/spec")
            for facet in facets
        )


# what does not go well


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setitem(Lineage.__init__.__kwdefaults__, "patience", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_away_fails_nothing_and_is_told_once(make_shop, server):
    server.close()
    shop = make_shop(settings=settings(server))
    events = []
    result = shop.run(listen=events.append)
    assert result.ok
    (warning,) = result.warnings
    assert warning.startswith("lineage was not sent, or not all of it: ")
    assert [event.data["message"] for event in events if event.kind == "warning"] == [warning]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [401, 503])
def test_a_server_that_refuses_fails_nothing_and_is_told(make_shop, server, status):
    server.status = status
    shop = make_shop(settings=settings(server))
    result = shop.run()
    assert result.ok
    assert len(result.warnings) == 1


def test_a_client_that_is_not_installed_is_told_with_what_to_install(make_shop, server, monkeypatch):
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    shop = make_shop(settings=settings(server))
    result = shop.run()
    assert result.ok
    assert "pip install 'anabranch[openlineage]'" in result.warnings[0]


def test_without_a_server_nothing_of_the_client_is_imported(make_shop, server):
    shop = make_shop()
    program = "import sys; from anabranch.cli import main; code = main(['run', '--in-process']); print(code, 'openlineage' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=shop.folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 False"


# how it is configured


def test_the_clients_own_variables_are_enough(make_shop, server, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_URL", server.url)
    shop = make_shop()
    assert shop.run().warnings == ()
    assert server.told("shop") == ["START", "COMPLETE"]
    assert not [name for name in os.environ if name.startswith("OPENLINEAGE__")]


def test_the_clients_own_file_beside_anabranch_toml_is_enough(make_shop, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shop = make_shop()
    told = tmp_path / "lineage.jsonl"
    (shop.folder / "openlineage.yml").write_text(
        f"transport:\n  type: file\n  log_file_path: {told}\n  append: true\n"
    )
    shop.commit()
    assert shop.run().warnings == ()
    assert len(told.read_text().splitlines()) == 12


@pytest.mark.parametrize("how", ["variable", "setting"])
def test_it_can_be_turned_off(make_shop, server, monkeypatch, how):
    if how == "variable":
        monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    shop = make_shop(settings=settings(server, "enabled = false" if how == "setting" else ""))
    shop.run()
    assert server.events == []


def test_the_api_key_is_a_variable_and_stands_in_no_event_and_no_log(make_shop, server, monkeypatch):
    monkeypatch.setenv("LINEAGE_KEY", KEY)
    shop = make_shop(settings=settings(server, 'api_key = "${LINEAGE_KEY}"\nnamespace = "team"'))
    shop.edit("shop/prices.py", "return pc.multiply", f"raise ValueError('no {KEY}') or pc.multiply")
    shop.commit()
    shop.run()
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert {event["job"]["namespace"] for event in server.events} == {"team"}
    assert KEY not in json.dumps(server.events)
    assert KEY not in repr(shop.project.context.run_options())


def test_a_variable_that_is_not_set_is_an_error_before_anything_runs(make_shop, server, monkeypatch):
    monkeypatch.delenv("LINEAGE_KEY", raising=False)
    shop = make_shop(settings=settings(server, 'api_key = "${LINEAGE_KEY}"'))
    with pytest.raises(SecretError, match="LINEAGE_KEY") as caught:
        shop.run()
    assert "openlineage.api_key" in caught.value.place
    assert server.events == []
