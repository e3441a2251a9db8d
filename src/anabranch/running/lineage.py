"""Tells an OpenLineage server what a run reads and writes, through OpenLineage's own client.

Events are made and sent by a thread of their own: neither a slow server nor the client's import keeps a step waiting, and
nothing that goes wrong here fails a run. The first failure is told, once. What is sent is taken from the same events that
a terminal shows, from the catalog's entries and from tables' metadata; no row of data and no secret is in it.
"""

from __future__ import annotations

import os
import queue
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.catalog.base import Entry
from anabranch.pipeline.graph import Graph
from anabranch.running.events import Event
from anabranch.running.outcome import CheckOutcome, Outcome

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

_PRODUCER = "https://pypi.org/project/anabranch"
_PATIENCE = 10.0
_CREDENTIALS = re.compile(r"(://)[^/@\s]*@")


@dataclass(frozen=True)
class LineageConfig:
    """Where lineage goes, and by which names.

    Attributes:
        namespace: Of the jobs.
        job: Name of the whole run's job; a step's is ``job.asset``.
        url: The server; None: as OpenLineage's own variables or its file say.
        api_key: For the server, or None.
        file: OpenLineage's own configuration beside anabranch.toml, if there is one.
        main: The environment whose jobs and tables go by their bare names; those of others carry theirs in the namespace.
        repository: URL of the git repository.
        git_branch: What is checked out.
        git_commit: What is checked out.
    """

    namespace: str
    job: str
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    file: Path | None = None
    main: str = "production"
    repository: str | None = None
    git_branch: str | None = None
    git_commit: str | None = None


@dataclass(frozen=True)
class Subject:
    """The run that is told of.

    Attributes:
        id: The run's.
        started: When.
        target: Name of the environment or sandbox.
        environment: Name of the environment that a sandbox stands on; else the target.
        warehouse: URI.
        storage: Where a sandbox writes; what lies elsewhere is its environment's. None for an environment.
        graph: The pipeline.
        queries: Asset → its SQL.
        outcomes, checks: Filled as the run goes on.
        columns: ``key, location`` → a table's columns as (name, type, description).
        clean: Takes secrets out of a text.
    """

    id: str
    started: datetime
    target: str
    environment: str
    warehouse: str
    storage: str | None
    graph: Graph
    queries: Mapping[str, str]
    outcomes: Mapping[str, Outcome]
    checks: Mapping[str, CheckOutcome]
    columns: Callable[[str, str], list[tuple[str, str, str | None]]]
    clean: Callable[[str], str]


class Lineage:
    """A listener of a run's events that sends them on. `close` waits for what is under way, for a while.

    Args:
        config: Where to, and by which names.
        subject: The run.
        patience: Seconds that `close` waits for a server at most.
    """

    def __init__(self, config: LineageConfig, subject: Subject, *, patience: float = _PATIENCE) -> None:
        self.failure: str | None = None
        self._config = config
        self._subject = subject
        self._patience = patience
        self._queue: queue.SimpleQueue[tuple[Event, Outcome | None, dict[str, Outcome]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._work, daemon=True, name="anabranch-lineage")
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Notes an event, with what is known of its step now."""
        if event.kind in ("run_started", "step_started", "step_finished", "step_failed", "run_finished"):
            known = self._subject.outcomes
            node = self._subject.graph.nodes.get(event.key)
            inputs = {key: known[key] for key in (node.inputs if node else ()) if key in known}
            self._queue.put((event, known.get(event.key), inputs))

    def close(self) -> str | None:
        """Ends it, and returns why something could not be sent, or None. Idempotent."""
        self._queue.put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self.failure = self.failure or "the server has not answered in time"
        return self.failure

    def _work(self) -> None:
        deadline: float | None = None
        sender: _Sender | None = None
        with warnings.catch_warnings():
            # What the client thinks of its own dependencies is no matter of a run's.
            warnings.simplefilter("ignore")
            while (item := self._queue.get()) is not None:
                if deadline is not None and time.monotonic() > deadline:
                    continue
                try:
                    sender = sender or _Sender(self._config, self._subject)
                    sender.send(*item)
                except ImportError:
                    self.failure = "openlineage-python is not installed: pip install 'anabranch[openlineage]'"
                    return
                except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
                    told = f"{type(error).__name__}: {_without_password(str(error))}"
                    self.failure = self.failure or self._subject.clean(told)
                    # A server that is away must not keep the end of the run waiting once for each event.
                    deadline = deadline or time.monotonic() + self._patience
            if sender is not None:
                with suppress(Exception):
                    sender.close()


class _Sender:
    """Makes the client's own events, so that they are valid by its model, and sends them."""

    def __init__(self, config: LineageConfig, subject: Subject) -> None:
        from openlineage.client import OpenLineageClient

        self._config = config
        self._subject = subject
        before = set(os.environ)
        self._client = OpenLineageClient(config=_client_config(config))
        # It writes what it read into variables of this process, where the next run would find it.
        for name in set(os.environ) - before:
            del os.environ[name]
        self._open: dict[str, datetime] = {}

    def close(self) -> None:
        self._client.close(_PATIENCE)

    def send(self, event: Event, outcome: Outcome | None, inputs: Mapping[str, Outcome]) -> None:
        """Sends what an event means: nothing, one message, or at the end of the run one for each step cut off."""
        from openlineage.client.event_v2 import RunState

        if event.kind == "run_started":
            self._emit(RunState.START, event.time, "")
        elif event.kind == "step_started":
            self._open[event.key] = event.time
            self._emit(RunState.START, event.time, event.key, inputs=inputs)
        elif event.kind in ("step_finished", "step_failed"):
            if self._open.pop(event.key, None) is None:
                return
            failed = event.kind == "step_failed"
            self._emit(
                RunState.FAIL if failed else RunState.COMPLETE,
                event.time,
                event.key,
                inputs=inputs,
                output=None if failed or outcome is None else outcome.entry,
                error=dict(event.data.get("error") or {}) if failed else None,
            )
        else:
            for key in list(self._open):
                del self._open[key]
                self._emit(RunState.ABORT, event.time, key)
            states = {"succeeded": RunState.COMPLETE, "failed": RunState.FAIL}
            self._emit(
                states.get(str(event.data.get("state")), RunState.ABORT),
                event.time,
                "",
                error=event.data.get("error"),
                judged=True,
            )

    def _emit(
        self,
        state: Any,
        time: datetime,
        key: str,
        *,
        inputs: Mapping[str, Outcome] | None = None,
        output: Entry | None = None,
        error: Mapping[str, Any] | None = None,
        judged: bool = False,
    ) -> None:
        from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent

        read = [
            InputDataset(self._dataset_namespace(o.entry), name, facets=self._facets(o.entry))
            for name, o in (inputs or {}).items()
            if o.entry is not None
        ]
        written = [] if output is None else [self._output(output, OutputDataset)]
        if judged:
            read += self._judged(InputDataset)
        self._client.emit(
            RunEvent(
                eventType=state,
                eventTime=time.isoformat(),
                run=Run(str(self._uuid(key)), self._run_facets(key, error)),
                job=Job(self._job_namespace, self._job(key), self._job_facets(key)),
                inputs=read,
                outputs=written,
                producer=_PRODUCER,
            )
        )

    # names

    @property
    def _elsewhere(self) -> str:
        """What is added to the namespace where the target is not the main environment."""
        return "" if self._subject.target == self._config.main else f"/@{self._subject.target}"

    @property
    def _job_namespace(self) -> str:
        return self._config.namespace + self._elsewhere

    def _job(self, key: str) -> str:
        return f"{self._config.job}.{key}" if key else self._config.job

    def _dataset_namespace(self, entry: Entry | None) -> str:
        subject = self._subject
        warehouse = _without_password(subject.warehouse).rstrip("/")
        own = subject.storage is None or (
            entry is not None and entry.location.startswith(subject.storage.rstrip("/") + "/")
        )
        owner = subject.target if own else subject.environment
        return warehouse if owner == self._config.main else f"{warehouse}/@{owner}"

    def _uuid(self, key: str) -> UUID:
        from openlineage.client.uuid import generate_static_uuid

        return generate_static_uuid(self._subject.started, f"{self._subject.id}/{key}".encode())

    # facets

    def _run_facets(self, key: str, error: Mapping[str, Any] | None) -> dict[str, Any]:
        from importlib.metadata import version

        from openlineage.client.facet_v2 import error_message_run, parent_run, processing_engine_run

        found: dict[str, Any] = {
            "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
                version("anabranch"), "anabranch", version("openlineage-python")
            )
        }
        if key:
            found["parent"] = parent_run.ParentRunFacet(
                parent_run.Run(str(self._uuid(""))), parent_run.Job(self._job_namespace, self._job(""))
            )
        if error:
            clean = self._subject.clean
            found["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                clean(str(error.get("message") or "")),
                "python",
                clean(str(error.get("traceback") or "")) or None,
            )
        return found

    def _job_facets(self, key: str) -> dict[str, Any]:
        from openlineage.client.facet_v2 import (
            documentation_job,
            job_type_job,
            source_code_location_job,
            sql_job,
        )

        config, subject = self._config, self._subject
        node = subject.graph.nodes.get(key)
        found: dict[str, Any] = {
            "jobType": job_type_job.JobTypeJobFacet("BATCH", "ANABRANCH", "TASK" if key else "JOB")
        }
        if config.repository:
            url = _without_password(config.repository)
            found["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
                type="git",
                url=url,
                repoUrl=url,
                path=node.place.rpartition(":")[0] or None if node else None,
                version=config.git_commit,
                branch=config.git_branch,
            )
        if node is not None and node.description:
            found["documentation"] = documentation_job.DocumentationJobFacet(subject.clean(node.description))
        if key in subject.queries:
            found["sql"] = sql_job.SQLJobFacet(subject.clean(subject.queries[key]), "duckdb")
        return found

    def _facets(self, entry: Entry | None) -> dict[str, Any]:
        from openlineage.client.facet_v2 import dataset_version_dataset

        return (
            {}
            if entry is None
            else {"version": dataset_version_dataset.DatasetVersionDatasetFacet(entry.version)}
        )

    def _output(self, entry: Entry, dataset: Any) -> Any:
        from openlineage.client.facet_v2 import output_statistics_output_dataset, schema_dataset

        facets = self._facets(entry)
        if entry.kind == "table":
            # Metadata that gc or a newer version has taken away meanwhile is no failure to send.
            with suppress(Exception):
                facets["schema"] = schema_dataset.SchemaDatasetFacet(
                    [
                        schema_dataset.SchemaDatasetFacetFields(name, kind, doc, number)
                        for number, (name, kind, doc) in enumerate(
                            self._subject.columns(entry.key, entry.location), start=1
                        )
                    ]
                )
        made = entry.provenance
        statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            made.rows, made.bytes
        )
        return dataset(
            self._dataset_namespace(entry),
            entry.key,
            facets=facets,
            outputFacets={"outputStatistics": statistics},
        )

    def _judged(self, dataset: Any) -> list[Any]:
        """What the checks said, by the asset that each judges."""
        from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality

        by_asset: dict[str, list[Any]] = {}
        for check in self._subject.checks.values():
            by_asset.setdefault(check.asset, []).append(
                quality.Assertion(
                    check.name, check.passed, severity="error" if check.blocking else "warn", name=check.id
                )
            )
        found = []
        for key, assertions in sorted(by_asset.items()):
            outcome = self._subject.outcomes.get(key)
            entry = outcome.entry if outcome is not None else None
            facet = quality.DataQualityAssertionsDatasetFacet(assertions)
            found.append(
                dataset(
                    self._dataset_namespace(entry),
                    key,
                    facets=self._facets(entry),
                    inputFacets={"dataQualityAssertions": facet},
                )
            )
        return found


def _client_config(config: LineageConfig) -> dict[str, Any] | None:
    """What the client is told; None: it finds its own variables."""
    if config.url is not None:
        # Of itself the client tries for ten seconds, in which a run whose work is done would wait.
        retry = {"total": 2, "connect": 2, "read": 2}
        transport: dict[str, Any] = {"type": "http", "url": config.url, "timeout": 5, "retry": retry}
        if config.api_key:
            transport["auth"] = {"type": "api_key", "apiKey": config.api_key}
        return {"transport": transport}
    if config.file is not None:
        import yaml

        found = yaml.safe_load(config.file.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None


def _without_password(text: str) -> str:
    return _CREDENTIALS.sub(r"\1", text)
