"""`AnabranchIOManager`: for new Dagster code whose tables are kept on the branch that the code is for, also by Dagster alone.

Each output is one commit of that branch: Dagster tells an I/O manager of no end of a run that could be waited for. (What is
to be published whole is a native project, served by `definitions`.) It is isolated by what anabranch is: the storage
scope of a sandbox reaches its own folder only, an environment takes code of its own git branch that is committed and not
behind, and a table that somebody else has written meanwhile is a conflict. Run by anabranch, a stand-in takes its place.

What a step reads is what its own run has written, and everything else as it stood when that run began: no step sees half
of what others publish meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import PrivateAttr

from anabranch.adapters.dagster.convert import asked, kept, wants_each
from anabranch.adapters.dagster.keys import name_of, partitions_of, partitions_plain
from anabranch.adapters.dagster.outbound_keys import our_key
from anabranch.catalog.base import Branch, CommitRequest, Entry, Point, Provenance
from anabranch.errors import DirtyError, MaskError, RefError, StepError
from anabranch.lake.file import File
from anabranch.names import Ref, now
from anabranch.pipeline.partition import BETWEEN, Partitions
from anabranch.planning.world import is_masked
from anabranch.project import Project

if TYPE_CHECKING:
    from anabranch.lake.storage import Storage
    from anabranch.lake.tables import Table, Written

FACTS, DAGSTER = "facts", "dagster"


class AnabranchIOManager(dg.ConfigurableIOManager):
    """Keeps each asset on the branch that the code is for: an environment's, or the sandbox of the git branch.

    Tables are kept as tables, whatever library they are of; anything else is pickled. An asset key's last part is the
    table's name, in a namespace of the parts before it. What passes between the ops of a graph is no asset, and goes
    where Dagster keeps such values.

    Attributes:
        folder: A folder inside the project, where anabranch.toml is found.
    """

    folder: str = "."

    _project: Project | None = PrivateAttr(default=None)
    _reads: dict[tuple[str, str], dict[str, str]] = PrivateAttr(default_factory=dict)

    def handle_output(self, context: Any, obj: Any) -> None:
        """Writes an output and commits it.

        Raises:
            UnstorableError: the value is no table that can be stored.
            DirtyError, BehindError, HeldError: it is an environment, which does not take the code at hand.
            ConflictError: somebody else has written the table meanwhile.
        """
        if not context.has_asset_key:
            _between(context).handle_output(context, obj)
            return
        started = time.perf_counter()
        project, key = self._opened(), name_of(context.asset_key.path)
        branch, storage = _writable(project)
        before = project.context.catalog.get(branch.point, key)
        partitions = _partitions(context, key) if context.has_asset_partitions else None
        if partitions is None:
            value, facts = kept(obj, owner=key)
            kind, written = _write(storage, key, value, before)
            cut: Mapping[str, Any] = {}
        else:
            kind, facts = "table", {}
            written, cut = self._write_partitions(context, storage, key, obj, before, partitions)
        run = {"run": context.run_id, "job": context.job_name, "step": context.step_key}
        entry = Entry(
            key,
            "file" if kind == "file" else "table",
            written.location,
            written.version,
            Provenance(
                inputs=dict(self._reads.get((context.run_id, context.step_key), {})),
                git_commit=project.context.git.commit,
                dirty=bool(project.context.git.dirty),
                environment=branch.name,
                computed_at=now().isoformat(),
                rows=None if kind == "file" else written.rows,
                bytes=written.bytes,
                seconds=round(time.perf_counter() - started, 3),
                partitions=cut,
                extra={FACTS: facts, DAGSTER: run},
            ),
        )
        commit = project.context.catalog.commit(
            CommitRequest(
                branch=branch.id,
                changes={key: entry},
                expect={key: before.version if before is not None else None},
                kind="write",
                message=f"write {key}",
                author=project.context.author,
                git_commit=project.context.git.commit,
                properties={DAGSTER: run, "git_branch": project.context.git.branch},
            )
        )
        metadata: dict[str, Any] = {
            "anabranch/branch": branch.name,
            "anabranch/commit": commit.ref,
            "anabranch/version": written.version,
            "anabranch/location": dg.MetadataValue.path(written.location),
        }
        if kind != "file" and partitions is None:
            metadata["dagster/row_count"] = written.rows
        context.add_output_metadata(metadata)

    def load_input(self, context: Any) -> Any:
        """Reads an asset, as the type that the input is annotated with.

        Raises:
            RefError: the branch has no such asset.
        """
        if not context.has_asset_key:
            return _between(context).load_input(context)
        project, key = self._opened(), name_of(context.asset_key.path)
        entry = _readable(project, key, context)
        step = (context.step_context.run_id, context.step_context.step.key)
        self._reads.setdefault(step, {})[key] = entry.version
        handle: Any = project.context.handle(entry)
        keys: Mapping[str, str] | None = None
        if context.has_asset_partitions and handle.partition_map is not None:
            partitions = _partitions(context, key)
            ours = {_our_key(context, partitions, each): each for each in context.asset_partition_keys}
            handle = handle.only(ours)
            annotation = context.dagster_type.typing_type
            keys = ours if wants_each(annotation) or (annotation is Any and len(ours) > 1) else None
        return asked(
            handle,
            context.dagster_type.typing_type,
            entry.provenance.extra.get(FACTS, {}),
            owner=key,
            parameter=context.name,
            keys=keys,
        )

    def _opened(self) -> Project:
        if self._project is None:
            self._project = Project(self.folder)
        return self._project

    def teardown_after_execution(self, context: Any) -> None:  # noqa: ARG002 - as Dagster calls it
        """Releases the catalog."""
        if self._project is not None:
            self._project.close()
            self._project = None

    def _write_partitions(
        self,
        context: Any,
        storage: Storage,
        key: str,
        obj: Any,
        before: Entry | None,
        partitions: Partitions,
    ) -> tuple[Written, Mapping[str, Any]]:
        """The table with these partitions' rows replaced, and what its entry says of its partitions."""
        from anabranch.lake.partitions import assemble, write_partition
        from anabranch.lake.tables import Table
        from anabranch.running.cut import summary
        from anabranch.running.io import to_arrow

        theirs = list(context.asset_partition_keys)
        given = obj if isinstance(obj, Mapping) else {theirs[0]: obj} if len(theirs) == 1 else None
        if given is None or set(given) != set(theirs):
            raise StepError(
                f"{key} was asked for {len(theirs)} partitions and returned a {type(obj).__name__}",
                hint="return a dict of partition key → table, or make one partition at a time",
            )
        previous = _table(storage, before)
        layout = partitions.layout()
        writes = []
        for name in theirs:
            value, _ = kept(given[name], owner=key)
            if isinstance(value, File):
                raise StepError(
                    f"{key}: the partition {name} is no table", hint="only tables are cut into partitions"
                )
            piece = partitions.slice(_our_key(context, partitions, name))
            data = to_arrow(value, owner=key)
            writes.append((write_partition(storage, key, piece, data, layout=layout, previous=previous), ""))
        making = {"family": DAGSTER, "run": context.run_id, "computed_at": now().isoformat()}
        written = assemble(
            storage,
            key,
            layout=layout,
            previous=previous,
            writes=writes,
            making=(context.run_id[:12], making),
        )
        states = Table(key, written.location, storage).partition_map
        assert states is not None
        return written, summary(states, partitions.identity, partitions.keys(now()), family=DAGSTER)


def _writable(project: Project) -> tuple[Branch, Storage]:
    """The branch that the code at hand writes, and the storage that reaches its own folder only."""
    from anabranch.lake.storage import Scope

    context = project.context
    here = context.require()
    if here.kind == "sandbox":
        sandbox, _, _ = project.sandbox.ensure()
        return sandbox, context.storage(Scope.sandbox(str(sandbox.properties["storage"])))
    assert here.environment is not None
    environment = context.environment(here.environment)
    if is_masked(environment):
        raise MaskError(f"{environment.name} is a masked copy: nothing is run on it")
    if here.dirty:
        raise DirtyError(
            f"{environment.name} takes tables of committed code only, and {here.dirty[0]} has uncommitted edits",
            hint="commit them, or work on a git branch of your own",
            files=list(here.dirty),
        )
    base = context.base_for(environment, loaded=False)
    if not base.is_head:
        raise context.behind(environment, base)
    project._check_held(environment, resume=False)  # noqa: SLF001 - one judgement for runs and writes
    return environment, context.storage(Scope.environment())


def _readable(project: Project, key: str, context: Any) -> Entry:
    """What this run has written, else what the branch held when the run began."""
    catalog = project.context.catalog
    here = project.context.here()
    newest = catalog.get(here, key)
    run = context.step_context.run_id
    if newest is not None and newest.provenance.extra.get(DAGSTER, {}).get("run") == run:
        return newest
    record = context.step_context.instance.get_run_record_by_id(run)
    began = (
        None
        if record is None or record.start_time is None
        else datetime.fromtimestamp(record.start_time, UTC)
    )
    branch = catalog.branch_by_id(here.branch_id)
    point = here
    if began is not None and branch.kind == "environment":
        try:
            then = catalog.resolve(Ref(branch.name, time=began))
            point = Point(then.branch_id, min(then.number, here.number))
        except RefError:
            point = here  # nothing is older than the run: the branch was made in it
    return project.context.entry(key, point)


def _write(storage: Storage, key: str, value: Any, before: Entry | None) -> tuple[str, Written]:
    from anabranch.lake.tables import write_file_asset, write_table
    from anabranch.running.io import to_arrow

    if isinstance(value, File):
        return "file", write_file_asset(storage, key, value.content, name=value.name)
    return "table", write_table(storage, key, to_arrow(value, owner=key), previous=_table(storage, before))


def _table(storage: Storage, entry: Entry | None) -> Table | None:
    from anabranch.lake.tables import Table

    if entry is None or entry.kind != "table":
        return None
    return Table(entry.key, entry.location, storage, version=entry.version)


def _partitions(context: Any, key: str) -> Partitions:
    found = partitions_of(partitions_plain(context.asset_partitions_def, key))
    assert found is not None
    return found


def _our_key(context: Any, partitions: Partitions, key: str) -> str:
    definition = context.asset_partitions_def
    if isinstance(definition, dg.MultiPartitionsDefinition):
        parts = definition.get_partition_key_from_str(key).keys_by_dimension
        # As `partitions_of` orders them: by the dimensions' names.
        inner = sorted(definition.partitions_defs, key=lambda each: each.name)
        return BETWEEN.join(
            our_key(ours, theirs.partitions_def, parts[theirs.name])
            for ours, theirs in zip(partitions.dimensions, inner, strict=True)
        )
    return our_key(partitions, definition, key)


def _between(context: Any) -> Any:
    """Where Dagster keeps what is no asset."""
    instance = context.step_context.instance
    return dg.FilesystemIOManager(base_dir=instance.storage_directory()).create_io_manager(context)
