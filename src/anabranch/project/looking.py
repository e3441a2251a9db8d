"""The verbs that only look: diff, log, show, table, sql and their kin. None of them writes data; all are pinned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from anabranch.catalog.base import Entry, Point, RunRecord
from anabranch.errors import RefError
from anabranch.planning.world import sample_of, sample_text
from anabranch.project.context import Context
from anabranch.project.results import Log, Shown, TagList
from anabranch.project.sampling import same_sample, samples_of

if TYPE_CHECKING:
    import duckdb

    from anabranch.diff.summary import Diff, TableDiff
    from anabranch.gate import TableChange
    from anabranch.lake.file import StoredFile
    from anabranch.lake.iceberg import BranchCatalog
    from anabranch.lake.tables import Table


class Looking:
    """What one may look at in a project, at any ref."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def diff(
        self,
        left: str | None = None,
        right: str | None = None,
        *,
        select: Sequence[str] = (),
        samples: int = 5,
        summaries: bool = True,
        on_progress: Callable[[str, float], None] | None = None,
    ) -> Diff:
        """What differs between two refs, in schema and data.

        Args:
            left: A ref; default: the sandbox's base, or for an environment the commit before its newest.
            right: A ref; default: what the git branch means.
            select: Keys, or words as for `plan`; none: all that differ.
            samples: Rows to show of each kind of change.
            summaries: Whether to summarise the columns that changed.
            on_progress: Called with the table under way and the share of it that is done, 0 to 1.
        """
        from anabranch.diff.summary import Diff

        context = self.context
        old, new = self._sides(left, right)
        changes = context.catalog.changes(old, new)
        if select:
            wanted = self._wanted(select, {c.key for c in changes})
            changes = [change for change in changes if change.key in wanted]
        tables = tuple(
            self._diff_entry(
                c.key, c.before, c.after, samples=samples, summaries=summaries, on_progress=on_progress
            )
            for c in changes
        )
        return Diff(context.ref_of(old), context.ref_of(new), tables)

    def _sides(self, left: str | None, right: str | None) -> tuple[Point, Point]:
        context = self.context
        new = context.pinned(right)
        if left is not None:
            return context.pinned(left), new
        branch = context.catalog.branch_by_id(new.branch_id)
        if branch.kind == "environment":
            return Point(new.branch_id, max(0, new.number - 1)), new
        commit = context.catalog.get_commit(new)
        assert branch.parent is not None
        return Point(branch.parent, commit.base or 0), new

    def _wanted(self, select: Sequence[str], differing: set[str]) -> set[str]:
        words = {word for text in select for word in text.replace(",", " ").split()}
        return words if words <= differing else self.context.workspace.graph.select(select)

    def _row_key(self, key: str, *entries: Entry | None) -> tuple[str, ...]:
        """The columns that identify a row: as the code at hand says, else as the entry's."""
        try:
            graph = self.context.workspace.graph
        except Exception:  # noqa: BLE001 - code that can't be loaded must not stop a look at data
            graph = None
        if graph is not None and key in graph:
            return graph[key].row_key
        return next(
            (
                tuple(e.provenance.extra["row_key"])
                for e in entries
                if e is not None and "row_key" in e.provenance.extra
            ),
            (),
        )

    def _diff_entry(
        self,
        key: str,
        before: Entry | None,
        after: Entry | None,
        *,
        samples: int,
        summaries: bool,
        on_progress: Callable[[str, float], None] | None = None,
    ) -> TableDiff:
        from anabranch.diff.summary import diff_files, diff_tables

        storage = self.context.storage()
        kinds = {entry.kind for entry in (before, after) if entry is not None}
        if kinds != {"table"}:
            return diff_files(
                key, *((None if e is None else (e.version, e.provenance.bytes)) for e in (before, after))
            )
        temporary = self.context.folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        with same_sample(self.context, before, after, storage) as (left, right, note):
            found = diff_tables(
                key,
                left,
                right,
                key_columns=self._row_key(key, after, before),
                samples=samples,
                summaries=summaries,
                temp_directory=temporary,
                on_progress=None if on_progress is None else lambda done: on_progress(key, done),
            )
        cut = None if after is None else self.context.partitions_text(after, before, content=True)
        return replace(
            found,
            partitions=cut or "",
            note="; ".join(text for text in (note, found.note) if text),
        )

    def _compare(self, key: str, before: Entry | None, after: Entry | None) -> TableChange:
        """How a table changed, for the gate: schema, and the rows that would go."""
        from anabranch.gate import TableChange

        kind = (after or before).kind if (after or before) else "table"  # type: ignore[union-attr]
        rows = [None if entry is None else entry.provenance.rows for entry in (before, after)]
        if before is not None and after is not None and before.kind != after.kind:
            # Whoever reads the one can't read the other; of a table that becomes a file every row goes.
            text = (f"it was a {before.kind} and becomes a {after.kind}",)
            lost = rows[0] if before.kind == "table" else 0
            return TableChange(key, "table", "changed", rows[0], rows[1], lost, True, False, text)
        if before is None or after is None or before.version == after.version or kind == "file":
            state = (
                "added"
                if before is None
                else "removed"
                if after is None
                else "same"
                if before.version == after.version
                else "changed"
            )
            removed = rows[0] if after is None else 0
            return TableChange(key, kind, state, rows[0], rows[1], removed)  # type: ignore[arg-type]
        parts = "|".join(sample_text(sample_of(entry)) for entry in (before, after))
        mark = f"{before.version}|{after.version}|{parts if parts != '|' else ''}{','.join(self._row_key(key, after, before))}"
        known = self.context.catalog.get_note("compare", mark)
        if known is None:
            found = self._diff_entry(key, before, after, samples=0, summaries=False)
            known = {
                "removed": _removed(found),
                "schema_changed": bool(found.schema and found.schema.changed),
                "schema_compatible": not found.schema or found.schema.compatible,
                "schema_text": _schema_text(found),
            }
            self.context.catalog.put_note("compare", mark, known)
        return TableChange(
            key,
            "table",
            "changed",
            rows[0],
            rows[1],
            known["removed"],
            known["schema_changed"],
            known["schema_compatible"],
            tuple(known["schema_text"]),
        )

    def log(self, ref: str | None = None, *, limit: int = 20) -> Log:
        """Commits, newest first; default: of the environment or sandbox where one is."""
        context = self.context
        point = context.resolve(ref) if ref is not None else context.here()
        branch = context.catalog.branch_by_id(point.branch_id)
        commits = context.catalog.commits(point.branch_id, before=point.number + 1, limit=limit)
        tags: dict[int, tuple[str, ...]] = {}
        for tag in context.catalog.tags():
            if tag.point.branch_id == branch.id:
                tags[tag.point.number] = (*tags.get(tag.point.number, ()), tag.name)
        return Log(branch.name, tuple(commits), tags)

    def show(self, what: str) -> Shown:
        """One thing in full.

        Args:
            what: A commit (``production@3``), a run (its id, or ``run`` for the newest one here), or an asset (``delays``,
                ``delays@production@3``).
        """
        context = self.context
        name, _, at = what.partition("@")
        run = self._newest_run() if what == "run" else self._find_run(what)
        if run is not None:
            return Shown("run", f"run {run.id}", run=run, target=self._name_of(run))
        known_ref = True
        try:
            point = context.resolve(what)
        except RefError as error:
            known_ref = False
            ref_error = error
        if known_ref:
            commit = context.catalog.get_commit(point)
            return Shown(
                "commit", commit.ref, commit=commit, changes=tuple(context.catalog.commit_changes(point))
            )
        try:
            place = context.resolve(at) if at else context.here()
            entry = context.entry(name, place)
        except RefError as error:
            raise RefError(
                f"{what!r} is no commit, no run and no asset here", hint=error.hint or ref_error.hint
            ) from None
        readers = tuple(k for k, e in context.catalog.entries(place).items() if name in e.provenance.inputs)
        return Shown("asset", f"{name} at {context.ref_of(place)}", commit=None, entry=entry, readers=readers)

    def _newest_run(self) -> RunRecord:
        place = self.context.require()
        branch = self.context.find_branch(place.name or "")
        found = self.context.catalog.runs(target=branch.id, limit=1) if branch is not None else []
        if not found:
            raise RefError(f"nothing has run on {place.name} yet", hint="anabranch run")
        return found[0]

    def _name_of(self, run: RunRecord) -> str:
        try:
            return self.context.catalog.branch_by_id(run.target).name
        except RefError:
            return ""

    def _find_run(self, what: str) -> RunRecord | None:
        if len(what) < 6 or not what.isalnum():
            return None
        try:
            return self.context.catalog.get_run(what)
        except RefError:
            return None

    def tag(self, name: str, ref: str | None = None, *, message: str = "") -> str:
        """Names a commit; gc keeps what a tag names. Returns the commit's ref.

        Raises:
            BranchExistsError: the tag exists and names another commit.
        """
        point = self.context.resolve(ref) if ref is not None else self.context.here()
        self.context.catalog.set_tag(name, point, message)
        return self.context.ref_of(point)

    def untag(self, name: str) -> None:
        """Removes a tag. Raises RefError."""
        self.context.catalog.delete_tag(name)

    def tags(self) -> TagList:
        """The tags."""
        return TagList(tuple((tag, self.context.ref_of(tag.point)) for tag in self.context.catalog.tags()))

    def table(self, key: str, at: str | None = None) -> Table:
        """A handle on a table at a ref: ``project.table("delays", at="production").to_polars()``.

        Args:
            key: The asset.
            at: A ref; default: where one is.

        Raises:
            RefError: no such ref, or no such table there; with the nearest name.
        """
        from anabranch.lake.tables import Table

        handle = self.context.handle(self.context.entry(key, self.context.pinned(at)))
        if not isinstance(handle, Table):
            raise RefError(f"{key} is a file", hint=f"project.file({key!r})")
        return handle

    def file(self, key: str, at: str | None = None) -> StoredFile:
        """A handle on a file asset at a ref."""
        from anabranch.lake.file import StoredFile

        handle = self.context.handle(self.context.entry(key, self.context.pinned(at)))
        if not isinstance(handle, StoredFile):
            raise RefError(f"{key} is a table", hint=f"project.table({key!r})")
        return handle

    def tables(self, at: str | None = None) -> dict[str, Entry]:
        """Everything that a ref sees, by key."""
        return self.context.catalog.entries(self.context.pinned(at))

    def samples(self, at: str | None = None) -> dict[str, str]:
        """Key → the sample that its table was computed from (``5 % sample by customer_id``), for those of a ref that were."""
        return samples_of(self.tables(at).values())

    def sql(
        self, query: str, at: str | None = None, *, connection: duckdb.DuckDBPyConnection | None = None
    ) -> duckdb.DuckDBPyRelation:
        """Queries the tables of a ref with DuckDB. All tables are read at one commit.

        Args:
            query: One query; tables go by their keys.
            at: A ref; default: where one is.
            connection: One's own, in which the tables that the query names become views; default: a new one.

        Returns:
            A relation: ``.pl()``, ``.df()``, ``.arrow()``, ``.show()``.
        """
        from anabranch.project.querying import query_tables

        entries = self.tables(at)
        storage = self.context.storage()
        handles = {
            key: self.context.handle(entry, storage)
            for key, entry in entries.items()
            if entry.kind == "table"
        }
        return query_tables(
            query, handles, ref=self.context.ref_of(self.context.pinned(at)), connection=connection
        )

    def iceberg(self, at: str | None = None) -> BranchCatalog:
        """A pyiceberg catalog on a ref, for every engine that takes one. A sandbox's is writable, below its own prefix."""
        from anabranch.lake.iceberg import BranchCatalog
        from anabranch.lake.storage import Scope

        context = self.context
        point = context.pinned(at)
        branch = context.catalog.branch_by_id(point.branch_id)
        writable = branch.kind == "sandbox" and point.number == branch.head and (at is None or "@" not in at)
        scope = Scope.sandbox(str(branch.properties["storage"])) if writable else Scope.read_only()
        ref = branch.name if writable else context.ref_of(point)
        return BranchCatalog(context.catalog, ref, context.storage(scope), author=context.author)


def _removed(found: TableDiff) -> int | None:
    """Rows that go. Without a key a changed row is one that goes and one that comes: only their balance says anything."""
    rows = found.rows
    if rows is None:
        return None
    return rows.removed if rows.keyed else max(0, rows.removed - rows.added)


def _schema_text(found: TableDiff) -> list[str]:
    schema = found.schema
    if schema is None:
        return []
    return [
        *(f"column {field.name} ({field.type}) is added" for field in schema.added),
        *(f"column {field.name} ({field.type}) is removed" for field in schema.removed),
        *(f"column {old.name} is retyped from {old.type} to {new.type}" for old, new in schema.retyped),
        *(f"column {old.name} is renamed to {new.name}" for old, new in schema.renamed),
    ]
