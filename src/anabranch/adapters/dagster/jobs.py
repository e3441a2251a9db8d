"""The child process that runs a job of ops, as one that is bound to a sandbox's events: `clone_prod`, `drop_prod_clone`.

It runs in the sandbox's surroundings, with the resources that the project itself chooses there: whoever binds a job to an
event in anabranch.toml has said that it may act outside.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anabranch.errors import DefinitionsError, StepError
from anabranch.names import did_you_mean


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs a job and tells what it said. Raises DefinitionsError for an unknown job, StepError for one that failed."""
    from dagster import DagsterInstance

    from anabranch.adapters.dagster.loading import load_repository

    root = Path(request["root"])
    repository, _ = load_repository(request["target"], root, [Path(p) for p in request["source"]])
    name = request["job"]
    known = sorted(job for job in repository.job_names if not job.startswith("__"))
    if name not in known:
        raise DefinitionsError(
            f"the project has no job {name!r} there",
            place=request["place"],
            hint=did_you_mean(name, known, f"it has: {', '.join(known) or 'none'}"),
        )
    job = repository.get_job(name)
    given = request["run_config"]
    own = {each.name for each in job.graph.nodes}
    needed = set(job.resource_defs)
    config = {
        "ops": {key: each for key, each in given.get("ops", {}).items() if key in own},
        "resources": {key: each for key, each in given.get("resources", {}).items() if key in needed},
    }
    try:
        with DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(
                instance=instance,
                run_config={key: each for key, each in config.items() if each},
                raise_on_error=True,
            )
            return {"run": result.run_id}
    except Exception as error:
        frames = [
            f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(f"{root}{os.sep}")
        ]
        place = (
            f"{Path(frames[-1].filename).relative_to(root).as_posix()}:{frames[-1].lineno}"
            if frames
            else None
        )
        text = "".join([*traceback.format_list(frames), *traceback.format_exception_only(error)])
        raise StepError(
            f"the job {name} failed: {type(error).__name__}: {error}", place=place, traceback=text, job=name
        ) from error
