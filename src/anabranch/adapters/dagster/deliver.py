"""The child process that hands published tables to the I/O managers that a Dagster project has in that environment.

Each table is handed over by a run of Dagster's own: an asset of the same key, partitions and metadata, whose function
returns what was published. So the manager finds everything in its context as it always has.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def deliver(request: Mapping[str, Any]) -> dict[str, Any]:
    """Delivers tables, one after the other; ends with the first that fails. Raises AnabranchError of the import."""
    from dagster import DagsterInstance

    from anabranch.adapters.dagster.loading import load_repository
    from anabranch.lake.storage import Scope, Storage

    root = Path(request["root"])
    repository, _ = load_repository(request["target"], root, [Path(p) for p in request["source"]])
    storage = Storage(request["warehouse"], properties=request["properties"], scope=Scope.read_only())
    done: list[str] = []
    with DagsterInstance.ephemeral() as instance:
        for parcel in request["parcels"]:
            try:
                _one(parcel, repository, storage, instance, request["run_config"])
            except Exception as error:  # noqa: BLE001 - a user's I/O manager may raise anything
                return {"done": done, "failed": _told(parcel["name"], error, root)}
            done.append(parcel["name"])
    return {"done": done, "failed": None}


def _one(
    parcel: Mapping[str, Any], repository: Any, storage: Any, instance: Any, given: Mapping[str, Any]
) -> None:
    import dagster

    from anabranch.adapters.dagster.convert import asked
    from anabranch.adapters.dagster.keys import dagster_key, partitions_of
    from anabranch.lake.file import StoredFile
    from anabranch.lake.tables import Table

    key = dagster.AssetKey(list(parcel["key"]))
    definition = repository.assets_defs_by_key[key]
    spec = definition.get_asset_spec(key)
    manager = definition.get_io_manager_key_for_asset_key(key)
    handle: Any
    if parcel["kind"] == "file":
        handle = StoredFile(parcel["name"], parcel["location"], storage, parcel["version"])
    else:
        handle = Table(parcel["name"], parcel["location"], storage, version=parcel["version"])
    held: list[Any] = [handle]

    def function() -> Any:
        return asked(held[0], Any, parcel["facts"], owner=parcel["name"], parameter="value")

    made = dagster.asset(
        key=key,
        partitions_def=spec.partitions_def,
        io_manager_key=manager,
        metadata={k: v for k, v in spec.metadata.items() if not k.startswith("dagster/")},
        output_required=True,
    )(function)
    needed = {**repository.get_top_level_resources(), **definition.resource_defs}
    resources = {name: one for name, one in needed.items() if name in _reached(manager, needed)}
    config = {n: each for n, each in given.get("resources", {}).items() if n in resources}
    run_config = {"resources": config} if config else {}
    cut = partitions_of(parcel["partitions"])
    for ours in parcel["changed"] if cut is not None else [None]:
        held[0] = handle if ours is None else handle.only((ours,))
        theirs = (
            None if ours is None or cut is None else dagster_key(parcel["partitions"], cut.partition(ours))
        )
        dagster.materialize(
            [made],
            instance=instance,
            resources=resources,
            run_config=run_config,
            partition_key=theirs,
            raise_on_error=True,
        )


def _reached(name: str, known: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    todo = [name]
    while todo:
        one = todo.pop()
        if one not in found and one in known:
            found.add(one)
            todo += known[one].required_resource_keys
    return found


def _told(name: str, error: BaseException, root: Path) -> dict[str, Any]:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    frames = [
        f for f in traceback.extract_tb(cause.__traceback__) if f.filename.startswith(f"{root}{os.sep}")
    ]
    place = (
        f"{Path(frames[-1].filename).relative_to(root).as_posix()}:{frames[-1].lineno}" if frames else None
    )
    text = "".join([*traceback.format_list(frames), *traceback.format_exception_only(cause)])
    return {"message": f"{name}: {type(cause).__name__}: {cause}", "place": place, "traceback": text}
