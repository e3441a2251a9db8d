"""What every verb needs, found once and only when asked for: settings, git, catalog, warehouse, and the loaded code.

A cheap verb (`log`, `sandbox list`) never imports the user's code; nothing here writes anything but the creation of an
environment's branch when it is first used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.catalog.base import Branch, Catalog, Entry, Point
from anabranch.errors import (
    AnabranchError,
    BehindError,
    BranchExistsError,
    DirtyError,
    RefError,
    SettingsError,
    UndeterminedError,
)
from anabranch.git import Repository, State
from anabranch.names import Ref, did_you_mean, new_id, parse_ref, sandbox_name
from anabranch.project.deciding import decide_here
from anabranch.project.results import Where
from anabranch.sandbox.lifecycle import Base, choose_base
from anabranch.settings import Decision, Environment, Settings, find_settings, load_settings

if TYPE_CHECKING:
    from anabranch.lake.file import StoredFile
    from anabranch.lake.storage import Scope, Storage
    from anabranch.lake.tables import Table
    from anabranch.project.clones import Clones
    from anabranch.running.events import Listener
    from anabranch.running.lineage import LineageConfig
    from anabranch.running.merge import Merge
    from anabranch.running.run import Runner
    from anabranch.running.secrecy import Withheld
    from anabranch.running.workspace import Place, RunOptions, Workspace


class Context:
    """A project on disk, and everything about it that is read once.

    Args:
        folder: A folder inside the project; default: the working folder.
        environment: What ``ANABRANCH_ENVIRONMENT`` would say, before which it goes.

    Raises:
        SettingsError: there is no anabranch.toml here or above, or it has a mistake.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, *, environment: str | None = None
    ) -> None:
        self.chosen = environment
        self.settings_file = find_settings(Path(folder) if folder is not None else Path.cwd())
        self.root = self.settings_file.parent.resolve()
        self._pins: dict[str, Point] = {}

    @cached_property
    def settings(self) -> Settings:
        """anabranch.toml."""
        return load_settings(self.settings_file)

    @cached_property
    def repository(self) -> Repository:
        """The git repository that holds the project."""
        return Repository.find(self.root)

    @cached_property
    def data_root(self) -> Path:
        """The project's folder in the repository's main worktree, so that all worktrees share one catalog."""
        try:
            below = self.root.relative_to(self.repository.root.resolve())
        except ValueError:
            return self.root
        shared = self.repository.main_root.resolve() / below
        return shared if shared.is_dir() else self.root

    @cached_property
    def folder(self) -> Path:
        """Where logs and caches are: ``.anabranch`` in the main worktree."""
        return self.data_root / ".anabranch"

    @cached_property
    def catalog(self) -> Catalog:
        """The versioned map."""
        from anabranch.catalog import open_catalog

        return open_catalog(self.settings.catalog_url(self.data_root))

    def storage(self, scope: Scope | None = None) -> Storage:
        """The warehouse; read-only unless a scope is given."""
        from anabranch.lake.storage import Scope, Storage

        return Storage(
            self.settings.warehouse_uri(self.data_root),
            properties=self.settings.warehouse_properties(),
            scope=scope or Scope.read_only(),
        )

    @property
    def git(self) -> State:
        """What is checked out now, with uncommitted edits below the project's folder."""
        return self._git if self._git is not None else self.look()

    _git: State | None = None

    def look(self) -> State:
        """Asks git anew."""
        self._git = self.repository.state([str(self.root)])
        return self._git

    # where one is

    def decision(self) -> Decision:
        """What the code at hand is for: see `anabranch.settings.decide`. Decided anew where git or a variable has changed.

        Raises:
            UndeterminedError: nobody says, or two sides contradict each other.
        """
        environ = dict(os.environ)
        if self.chosen is not None:
            environ["ANABRANCH_ENVIRONMENT"] = self.chosen
        seen = (self.git, environ)
        if self._decided is None or self._decided[0] != seen:
            self._decided = (seen, decide_here(self.repository, self.git, self.settings, environ))
        return self._decided[1]

    _decided: tuple[Any, Decision] | None = None

    def where(self) -> Where:
        """Where one is. Never raises for a place that can't be determined; `require` does."""
        state = self.git
        try:
            found = self.decision()
        except UndeterminedError as error:
            return Where(
                "undetermined",
                state.branch,
                state.commit,
                state.dirty,
                None,
                None,
                opened=False,
                in_progress=state.in_progress,
                reason=error.message,
                hint=error.hint,
            )
        if found.environment is not None:
            opened = self.find_branch(found.environment) is not None
            return Where(
                "environment",
                found.git_branch,
                state.commit,
                state.dirty,
                found.environment,
                None,
                opened,
                state.in_progress,
                found.by,
                found.pull_request,
            )
        assert found.git_branch is not None
        name = self.sandbox_name(found.git_branch)
        box = self.find_branch(name)
        # One that is open stands where it was opened, whatever the settings say by now.
        base = self.settings.sandboxes.base if box is None else box.properties.get("environment")
        return Where(
            "sandbox",
            found.git_branch,
            state.commit,
            state.dirty,
            base or self.settings.sandboxes.base,
            name,
            box is not None,
            state.in_progress,
            found.by,
            found.pull_request,
        )

    def require(self) -> Where:
        """As `where`, but a place that can't be determined is an error, never production."""
        found = self.where()
        if found.kind == "undetermined":
            raise UndeterminedError(found.reason or "", hint=found.hint)
        return found

    def sandbox_name(self, git_branch: str) -> str:
        """The sandbox of a git branch."""
        return sandbox_name(git_branch, reserved=self.settings.environments)

    def find_branch(self, name: str) -> Branch | None:
        """The open catalog branch of that name, or None."""
        try:
            return self.catalog.branch(name)
        except RefError:
            return None

    def environment_settings(self, name: str) -> Environment:
        """The settings of an environment. Raises SettingsError with the nearest name."""
        if name not in self.settings.environments:
            raise SettingsError(
                f"there is no environment {name!r} in {self.settings_file.name}",
                hint=did_you_mean(name, self.settings.environments),
            )
        return self.settings.environments[name]

    def environment(self, name: str) -> Branch:
        """The branch of an environment; made, empty, when it is first used.

        Raises:
            SettingsError: there is none of that name, or whether it is a masked copy is not what it was opened as.
        """
        parent = self.environment_settings(name).derived_from
        found = self.find_branch(name)
        if found is None:
            properties = {} if parent is None else {"derived_from": parent, "storage": f"{name}-{new_id()}"}
            try:
                return self.catalog.open_branch(
                    name,
                    kind="environment",
                    message=f"open {name}",
                    author=self.author,
                    properties=properties,
                )
            except BranchExistsError:
                # Somebody else has made it in this very moment, and perhaps as something else: looked at below.
                found = self.catalog.branch(name)
        was = found.properties.get("derived_from")
        if was != parent:
            # What is in it was made under the other rule, and stays readable: a name can't change sides.
            held = f"a masked copy of {was}" if was else "an environment that is not masked"
            raise SettingsError(
                f"{name} was opened as {held}",
                hint="give the environment another name"
                + (f', or set derived_from = "{was}"' if was else ""),
                place=self.settings.place("environments", name),
            )
        return found

    def sandbox(self, name: str | None = None) -> Branch:
        """An open sandbox by its name or its git branch's; default: the one of the branch that is checked out.

        Raises:
            RefError: there is none; the hint says how to open it.
        """
        if name is None:
            here = self.require()
            if here.kind != "sandbox" or here.sandbox is None:
                raise RefError(
                    f"{here.decided_by} means the environment {here.environment}, not a sandbox",
                    hint="name a sandbox, or git switch to its branch; anabranch sandbox list",
                )
            found = self.find_branch(here.sandbox)
            if found is None:
                raise RefError(
                    f"the git branch {here.git_branch} has no sandbox yet",
                    hint="anabranch run opens it; so does anabranch sandbox open",
                )
            return found
        for candidate in (name, self.sandbox_name(name)):
            found = self.find_branch(candidate)
            if found is not None and found.kind == "sandbox":
                return found
        known = [b.name for b in self.catalog.branches(kind="sandbox")]
        raise RefError(
            f"there is no open sandbox {name!r}",
            hint=did_you_mean(name, known, "anabranch sandbox list shows them"),
        )

    @cached_property
    def author(self) -> str:
        """As git names people."""
        return self.repository.user()

    def resources_of(self, branch: Branch) -> str:
        """Name of the resource set that steps on a branch are given."""
        if branch.kind == "sandbox":
            return self.settings.sandboxes.resource_set
        return self.environment_settings(branch.name).resources or branch.name

    # refs

    def resolve(self, ref: str | Ref) -> Point:
        """The commit that a ref means now: a catalog branch, a git branch with a sandbox, a tag; optionally at a commit or time."""
        parsed = parse_ref(ref) if isinstance(ref, str) else ref
        try:
            return self.catalog.resolve(parsed)
        except RefError as error:
            # A feature branch called a/b has the sandbox a-b-1234abcd; people type a/b.
            name = self.sandbox_name(parsed.name)
            if self.find_branch(parsed.name) is not None or self.find_branch(name) is None:
                raise error from None
            return self.catalog.resolve(Ref(name, parsed.commit, parsed.time))

    def pinned(self, ref: str | None) -> Point:
        """The commit that a ref meant when this context first read it; the same until `refresh`."""
        key = ref or ""
        if key not in self._pins:
            self._pins[key] = self.resolve(ref) if ref is not None else self.here()
        return self._pins[key]

    def refresh(self) -> None:
        """Forgets what readers were pinned to, and what is checked out."""
        self._pins.clear()
        self._git = self._decided = None
        self.__dict__.pop("workspace", None)

    def here(self) -> Point:
        """What is read where one is: the environment's head, the sandbox, or the base a sandbox would stand on."""
        place = self.require()
        assert place.name is not None
        found = self.find_branch(place.name)
        if found is not None:
            return found.point
        assert place.environment is not None
        environment = self.find_branch(place.environment)
        if environment is None:
            raise RefError(f"{place.environment} was never built", hint=self._hint_first(place.environment))
        return Point(environment.id, self.base_for(environment, loaded=False).number)

    def _hint_first(self, environment: str) -> str:
        git_branch = self.environment_settings(environment).git_branch
        return f"git switch {git_branch}, then anabranch run" if git_branch else "anabranch run builds it"

    def ref_of(self, point: Point) -> str:
        """``production@41``."""
        return f"{self.catalog.branch_by_id(point.branch_id).name}@{point.number}"

    # code

    @cached_property
    def workspace(self) -> Workspace:
        """The code at hand, loaded. Raises the errors of `load_definitions`, `Pipeline.bind` and `Graph`."""
        from anabranch.pipeline.definitions import Pipeline
        from anabranch.pipeline.fingerprint import CodeReader
        from anabranch.pipeline.loader import load_definitions
        from anabranch.project.surroundings import asked
        from anabranch.running.worker import Project as WorkerProject
        from anabranch.running.workspace import Workspace

        source = tuple(self.settings.source_folders())
        target = self.settings.project.definitions
        cache = self.folder / "cache"
        try:
            loaded = load_definitions(
                target, root=self.root, source=source, ask=lambda: asked(self, target, source)
            )
            pipeline = Pipeline.bind(loaded.definitions, query_cache=cache)
        except AnabranchError as error:
            _relative_place(error, self.root)
            raise
        graph = pipeline.graph(CodeReader(self.root, cache_dir=cache))
        project = WorkerProject(target, self.root, source, dict(loaded.files), cache)
        return Workspace(project, pipeline, graph, self.git.commit, self.git.dirty, self.author)

    def require_tracked(self) -> None:
        """That git knows all code at hand: a commit must tell what was run.

        Raises:
            DirtyError: the definitions import a file that git ignores.
        """
        top = self.repository.root.resolve()
        known = {top / name for name in self.repository.tracked_and_untracked([str(self.root)])}
        ignored = sorted(name for name in self.workspace.project.files if self.root / name not in known)
        if ignored:
            raise DirtyError(
                f"{ignored[0]} is part of the definitions, but git ignores it: no commit would tell what was run",
                hint="take it out of .gitignore and commit it, or do not import it",
                files=ignored,
            )

    @cached_property
    def place(self) -> Place:
        """Where results are kept."""
        from anabranch.running.workspace import Place

        storage = self.storage()
        settings = self.settings
        sources = {name: its.unmasked_sources for name, its in settings.environments.items()}
        return Place(
            self.catalog,
            storage.warehouse,
            settings.warehouse_properties(),
            self.folder,
            withheld=self.withheld,
            secrets=self.clones.secrets(),
            unmasked_sources=sources,
        )

    @property
    def withheld(self) -> Withheld:
        """The variables that anabranch.toml keeps from steps."""
        from anabranch.running.secrecy import Withheld

        settings = self.settings
        sets = {
            settings.sandboxes.resource_set,
            *(its.resources or n for n, its in settings.environments.items()),
        }
        return Withheld(
            settings.mask_variables(),
            settings.own_variables(),
            {name: settings.kept_variables(name) for name in sorted(sets)},
        )

    def foreign_variables(self, resources: str) -> tuple[str, ...]:
        """Names of the variables that no process of an environment or sandbox with this set of resources may have."""
        from anabranch.running.secrecy import foreign_variables

        definitions = self.workspace.pipeline.definitions
        return foreign_variables(definitions, resources, self.withheld, os.environ)

    @cached_property
    def clones(self) -> Clones:
        """The sandboxes' clones of outside databases."""
        from anabranch.project.clones import Clones

        return Clones(self)

    def merge(self, sandbox: Branch) -> Merge:
        """How partitions that two sides have made become one table, written as the sandbox's."""

        def merged(own: Entry, old: Entry, new: Entry) -> Entry:
            from anabranch.lake.storage import Scope
            from anabranch.running.merge import merge_partitions

            scope = Scope.sandbox(str(sandbox.properties["storage"]))
            return merge_partitions(self.storage(scope), own, old, new)

        return merged

    def partitions_text(self, entry: Entry, before: Entry | None, *, content: bool = False) -> str | None:
        """Which of a table's partitions are not those of another state of it; None where it has none.

        Args:
            entry: The table.
            before: Its other state, or None.
            content: Whether only other content counts, not by what it was made.
        """
        if not entry.provenance.partitions:
            return None
        from anabranch.running.cut import differing_text

        node = self.workspace.graph.nodes.get(entry.key)
        return differing_text(
            self.storage(), entry, before, None if node is None else node.partitions, content=content
        )

    def runner(self) -> Runner:
        """Plans and runs with the code at hand."""
        from anabranch.running.run import Runner

        return Runner(self.place, self.workspace)

    def run_options(
        self, *, workers: int | None = None, in_process: bool = False, listen: Listener = lambda _: None
    ) -> RunOptions:
        """How to run, as anabranch.toml says where the arguments do not; see `Project.run`."""
        from anabranch.running.machine import available_memory
        from anabranch.running.retry import RetryPolicy
        from anabranch.running.workspace import RunOptions

        run = self.settings.run
        return RunOptions(
            workers=workers if workers is not None else run.workers,
            in_process=in_process or run.in_process,
            listen=listen,
            timeout=run.timeout,
            retry=RetryPolicy(run.retries, run.retry_delay, run.retry_on),
            teardown=run.teardown_timeout,
            limits=run.limits,
            memory=run.memory.of(available_memory()),
            lineage=self._lineage(),
        )

    def _lineage(self) -> LineageConfig | None:
        """Where lineage is sent to, if anything says so: anabranch.toml, OpenLineage's variables or its file."""
        own = self.settings.openlineage
        if not own.enabled or os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
            return None
        file = self.root / "openlineage.yml"
        named = any(
            name in ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG") or name.startswith("OPENLINEAGE__TRANSPORT")
            for name in os.environ
        )
        if own.url is None and not named and not file.is_file():
            return None
        from anabranch.running.lineage import LineageConfig

        url, api_key = self.settings.openlineage_server()
        return LineageConfig(
            own.namespace,
            self.settings.project.name,
            url,
            api_key,
            file if file.is_file() and not named else None,
            self.settings.sandboxes.base,
            self.repository.remote_url(),
            self.git.branch,
            self.git.commit,
        )

    # code and data

    def base_for(self, environment: Branch, *, loaded: bool = True) -> Base:
        """The newest commit of an environment whose code the git commit at hand contains.

        Args:
            environment: The environment's branch.
            loaded: Whether the code is, or may be, loaded to compare its hash, too.
        """
        definitions = self.workspace.graph.definitions if loaded and not self.git.dirty else None
        return choose_base(self.catalog, environment, self.repository, self.git.commit, definitions)

    def behind(self, environment: Branch, base: Base) -> BehindError:
        """The error that says which commit to merge."""
        missing = base.missing
        assert missing is not None
        where = self.git.branch or "HEAD"
        commit = (missing.git_commit or "")[:12]
        made = missing.properties.get("git_branch")
        by = f"{missing.message!r}, git commit {commit}"
        return BehindError(
            f"{missing.ref} ({by}) was made by code that {where} does not contain",
            hint=f"git merge {self._what_to_merge(environment, missing.git_commit, made)}, then run the command again",
            commit=missing.ref,
            git_commit=missing.git_commit,
        )

    def _what_to_merge(self, environment: Branch, git_commit: str | None, git_branch: Any) -> str:
        own = self.environment_settings(environment.name)
        # What a masked copy was made by is its parent's code.
        main = (own if own.derived_from is None else self.environment_settings(own.derived_from)).git_branch
        branches = self.repository.branches()
        candidate = branches.get(main or "") if main != self.git.branch else None
        if (
            main
            and candidate
            and git_commit
            and self.repository.contains_code(git_commit, candidate).contained
        ):
            return main
        if isinstance(git_branch, str) and git_branch in branches and git_branch != self.git.branch:
            return git_branch
        return (git_commit or "")[:12]

    # data

    def handle(self, entry: Entry, storage: Storage | None = None) -> Table | StoredFile:
        """A read handle on an entry."""
        from anabranch.lake.file import StoredFile
        from anabranch.lake.tables import Table

        store = storage or self.storage()
        if entry.kind == "file":
            return StoredFile(entry.key, entry.location, store, entry.version)
        return Table(entry.key, entry.location, store, version=entry.version)

    def entry(self, key: str, point: Point) -> Entry:
        """The entry of a key. Raises RefError with the nearest key."""
        found = self.catalog.get(point, key)
        if found is None:
            known: Mapping[str, Entry] = self.catalog.entries(point)
            raise RefError(
                f"{self.ref_of(point)} has no table {key!r}",
                hint=did_you_mean(key, known, f"it has: {', '.join(known) or 'nothing yet'}"),
            )
        return found


def _relative_place(error: AnabranchError, root: Path) -> None:
    """Places in the project are told relative to it."""
    if error.place and error.place.startswith(f"{root}/"):
        error.place = error.place[len(str(root)) + 1 :]
    if error.hint:
        error.hint = error.hint.replace(f"{root}/", "")
