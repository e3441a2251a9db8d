"""What anabranch.toml may say, and what holds where it says nothing.

Each field's description is its documentation; each default is written as it would stand in the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from anabranch.columns import Rule
from anabranch.errors import SettingsError
from anabranch.names import did_you_mean, is_branch_name
from anabranch.settings.clones import CloneSettings
from anabranch.settings.dagster import DagsterSettings, ResourcesOrRules, SandboxEvent
from anabranch.settings.deciding import SANDBOX
from anabranch.settings.fields import (
    Duration,
    DurationOrNever,
    GitBranch,
    MaskRule,
    MemoryShare,
    References,
    Rows,
    SampleOrNone,
    check_references,
    hide_password,
    mistake,
    references,
    resolve_references,
)
from anabranch.settings.lines import KeyPath, dotted, line_of

_DEFINITIONS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. -]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_MASKED = re.compile(r"[a-z][a-z0-9_-]*|[^.]+(\.[^.]+){1,2}")
_CLONE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,47}")
_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")
_CATALOGS = ("sqlite", "postgresql", "postgres", "memory")


def _field(default: Any, description: str, **rest: Any) -> Any:
    return Field(default, description=description, validate_default=True, **rest)


class _Table(BaseModel):
    # Built once, with the whole they are part of, rather than each for itself.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Project(_Table):
    """What the project is called and where its code is."""

    name: str = Field(description="The project's name, in reports and pages.")
    definitions: str = Field(description='Where its definitions are: `"package.module:attribute"`.')
    source: tuple[str, ...] = _field(
        (),
        "Folders, relative to this file, that the project's code is imported from; by default `src`, if there is one,"
        " and the folder of this file.",
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not _PROJECT.fullmatch(value):
            raise mistake(f"{value!r} can't be a project's name", "use letters, digits, blanks and _ . -")
        return value

    @field_validator("definitions")
    @classmethod
    def _check_definitions(cls, value: str) -> str:
        if not _DEFINITIONS.fullmatch(value):
            raise mistake(
                f"{value!r} does not say where the definitions are",
                'write it like "flights.definitions:defs"',
            )
        return value

    @field_validator("source", mode="before")
    @classmethod
    def _check_source(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise mistake("must be a list of folders", f'write source = ["{value}"]')
        return tuple(value) if isinstance(value, list) else value


class Warehouse(_Table):
    """Where tables and the catalog live. Values may hold `${VARIABLE}`, which is read from the environment when needed."""

    uri: References = _field(
        ".anabranch/warehouse",
        "Where the tables' files go: a folder, relative to the project in the repository's main worktree, or a URI such"
        " as `s3://bucket/prefix`.",
    )
    catalog: References = _field(
        "sqlite:///.anabranch/catalog.db",
        "The catalog's database: `sqlite:///path`, relative as above.",
    )
    properties: dict[str, SecretStr] = _field(
        {}, "Settings of the object store, such as `s3.endpoint`; kept out of everything that is printed."
    )

    @field_validator("uri", "catalog")
    @classmethod
    def _check_place(cls, value: str) -> str:
        if not value.strip():
            raise mistake("must not be empty")
        path = value.removeprefix("sqlite:///")
        if path == "~" or path.startswith("~/"):
            raise mistake(
                f"{value!r} starts with the home folder's sign", "write the whole path, or ${HOME}/…"
            )
        return value

    @field_validator("catalog")
    @classmethod
    def _check_catalog(cls, value: str) -> str:
        scheme = _SCHEME.match(value)
        if value.startswith("${") or (scheme and scheme[1] in _CATALOGS):
            if value.startswith("sqlite:") and len(value) <= len("sqlite:///"):
                raise mistake(f"{value!r} names no file", 'write it like "sqlite:///.anabranch/catalog.db"')
            return value
        raise mistake(
            f"{hide_password(value)!r} is no catalog",
            "write it like sqlite:///.anabranch/catalog.db",
        )

    @field_validator("properties")
    @classmethod
    def _check_properties(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for secret in value.values():
            check_references(secret.get_secret_value())
        return value

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [
            ("uri", hide_password(self.uri)),
            ("catalog", hide_password(self.catalog)),
            ("properties", self.properties),
        ]


class Rules(_Table):
    """What a promotion into an environment has to satisfy."""

    checks: Literal["pass", "warn", "ignore"] = _field(
        "pass", "Whether the data's checks must pass, are only shown, or are left out."
    )
    schema_: Literal["compatible", "same", "any"] = _field(
        "compatible",
        "How far a table's columns may change: only so that readers go on working, not at all, or freely.",
        alias="schema",
    )
    rows_removed: Rows = _field(
        "10%",
        'How many of a table\'s rows may disappear: a share such as `"10%"`, a number of rows, or `"any"`.',
    )
    approvals: int = _field(0, "How many people must have approved exactly what is promoted.", ge=0, le=100)
    resources: Literal["same", "any"] = _field(
        "same",
        "Whether what a sandbox computed with other resources than the environment's may be published.",
    )
    stale_inputs: Literal["rerun", "accept", "refuse"] = _field(
        "rerun",
        "What to do where the environment has since moved on only in tables that the sandbox has read: run again what"
        " reads them, promote all the same, or refuse.",
    )

    @property
    def schema(self) -> Literal["compatible", "same", "any"]:  # type: ignore[override] # pydantic's own method of that name is long deprecated
        """The rule for columns."""
        return self.schema_


class Environment(_Table):
    """A long-lived target such as production: its git branch, resources and rules."""

    git_branch: GitBranch | None = _field(
        None, "The git branch whose code runs here; without one, it is only run and promoted into by name."
    )
    protected: bool = _field(
        False,
        "Whether it changes by runs of its own git branch and by promotions alone. True where `git_branch` is set.",
    )
    resources: str | None = _field(
        None,
        "The set of resources that its steps receive; by default the set of the environment's own name.",
        min_length=1,
    )
    secrets: tuple[str, ...] = _field(
        (),
        "Environment variables that the steps of no other environment and of no sandbox may have: names, or beginnings of"
        ' names such as `"PRODUCTION_*"`. Those that only its own resources need are kept from others anyway.',
    )
    dagster_deployment: str | None = _field(
        None,
        "What Dagster calls it, in `DAGSTER_CLOUD_DEPLOYMENT_NAME` and `DAGSTER_DEPLOYMENT`; by default its own name.",
        min_length=1,
    )
    derived_from: str | None = _field(
        None,
        "The environment that this one is a masked copy of, brought up to date by `anabranch sync`. It runs no code of"
        " its own.",
        min_length=1,
    )
    mask_key: SecretStr | None = _field(
        None,
        "The secret of `hash` and `fake`, as a reference to an environment variable: `${STAGING_MASK_KEY}`; 16"
        " characters at least.",
    )
    keep_files: tuple[str, ...] = _field(
        (), "File assets that a masked environment takes over as they are; all others are left out."
    )
    unmasked_sources: tuple[str, ...] = _field(
        (),
        "Assets that may read the outside world in a sandbox on a masked environment: what they bring is not masked.",
    )
    promote: Rules = _field({}, "The rules of promotion into it.")
    masks: dict[str, MaskRule] = _field(
        {},
        'What a masked environment does with columns: by tag (`pii = "hash"`) or by column (`"orders.email" = "null"`,'
        ' which goes before what the asset says): `"hash"`, `"null"`, `"fake:NAME"`, `"bucket:WIDTH"`, `"keep"`.',
    )

    @field_validator("masks", mode="after")
    @classmethod
    def _check_masks(cls, value: dict[str, Rule]) -> dict[str, Rule]:
        for name in value:
            if not _MASKED.fullmatch(name):
                raise mistake(
                    f"{name!r} names neither a tag nor a column",
                    'write a tag (pii) or a column with its table ("orders.email")',
                )
            if name == "keep":
                raise mistake("the tag keep has its rule already", "give such columns another tag")
        return value

    @field_validator("mask_key")
    @classmethod
    def _check_mask_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_references(value.get_secret_value())
            if "${" not in value.get_secret_value():
                raise mistake(
                    "the key stands in the file itself",
                    'keep it in an environment variable: mask_key = "${STAGING_MASK_KEY}"',
                )
        return value

    @field_validator("secrets", mode="before")
    @classmethod
    def _check_secrets(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise mistake("must be a list of variables", f'write ["{value}"]')
        for one in value if isinstance(value, list) else ():
            if not (isinstance(one, str) and _SECRET.fullmatch(one)):
                raise mistake(
                    f"{one!r} names no environment variable", 'write it like "API_TOKEN" or "PRODUCTION_*"'
                )
        return tuple(value) if isinstance(value, list) else value

    @field_validator("keep_files", "unmasked_sources", mode="before")
    @classmethod
    def _check_names(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise mistake("must be a list of assets", f'write ["{value}"]')
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="before")
    @classmethod
    def _protect(cls, data: Any) -> Any:
        if isinstance(data, dict) and "protected" not in data and data.get("git_branch") is not None:
            return {**data, "protected": True}
        return data


class Sandboxes(_Table):
    """How the sandboxes of git branches are made."""

    base: str = _field("production", "The environment that a sandbox is opened on.")
    expire_after: DurationOrNever = _field(
        "14d", 'After how long without use a sandbox may be closed by gc; `"never"` to keep it.'
    )
    resources: ResourcesOrRules = _field(
        "sandbox",
        "The set of resources that a sandbox's steps receive. As a table, `[sandboxes.resources]`: what a Dagster project's"
        ' resources may do in sandboxes: `NAME = "allow"`, `"branch"` or `"package.module:object"`, which takes its place.',
    )
    dagster_deployment: str | None = _field(
        None,
        "What `DAGSTER_DEPLOYMENT` says in sandboxes; by default the name of their set of resources.",
        min_length=1,
    )
    on_open: SandboxEvent = _field({}, "What is done when a sandbox is opened.")
    on_sync: SandboxEvent = _field({}, "What is done when a sandbox is synced.")
    on_close: SandboxEvent = _field({}, "What is done when a sandbox is closed.")
    sample: SampleOrNone = _field(
        None,
        'How much of the base\'s tables the assets that run in a sandbox read: a share such as `"5%"`, or'
        ' `{ share = "5%", by = "customer_id" }`; by default all.',
    )

    @property
    def resource_set(self) -> str:
        """Name of the set of resources that a sandbox's steps receive."""
        return self.resources if isinstance(self.resources, str) else "sandbox"

    @property
    def resource_rules(self) -> Mapping[str, str]:
        """Resource of a Dagster project → what it may do in sandboxes."""
        return {} if isinstance(self.resources, str) else self.resources


class Run(_Table):
    """How a plan is carried out."""

    workers: int | None = _field(
        None, "How many steps run at a time; by default as many as there are processors.", ge=1
    )
    memory: MemoryShare = _field(
        "80%",
        "What the steps under way may take together, by the peaks recorded of their last runs: a size such as"
        ' `"8GB"`, a share of what the machine or the container has, or `"any"`. A step alone may always start.',
    )
    timeout: DurationOrNever = _field("never", 'How long a step may take; `"never"` for any time.')
    retries: int = _field(0, "How often a step that failed is tried again.", ge=0, le=100)
    retry_delay: Duration = _field(
        "1s", "Time before the second try; doubles with each further one, and has a little chance added."
    )
    retry_on: tuple[str, ...] = _field(
        (),
        'Full names of the exceptions that are worth another try, such as `"httpx.TransportError"`; none: all.',
    )
    teardown_timeout: Duration = _field(
        "10s",
        "How long a step that is ended (by its timeout, by Ctrl-C) may take to tear its resources down before its process is killed.",
    )
    in_process: bool = _field(
        False,
        "Whether steps run in the process that started them, one after the other, which suits a debugger.",
    )
    limits: dict[str, Annotated[int, Field(ge=1)]] = _field(
        {}, "How many steps whose asset carries this tag run at a time."
    )

    @field_validator("retry_on", mode="before")
    @classmethod
    def _check_retry_on(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise mistake("must be a list of exceptions", f'write retry_on = ["{value}"]')
        for one in value if isinstance(value, list) else ():
            if not isinstance(one, str) or not all(part.isidentifier() for part in one.split(".")):
                raise mistake(
                    f"{one!r} is no exception's name", 'write it in full, like "httpx.TransportError"'
                )
        return tuple(value) if isinstance(value, list) else value


class OpenLineage(_Table):
    """Where lineage is sent to: an OpenLineage server. Other transports are told by OpenLineage's own variables, or by an
    `openlineage.yml` beside this file.
    """

    enabled: bool = _field(
        True,
        "Whether lineage is sent at all where a server is known, from here or from OpenLineage's own settings.",
    )
    url: References | None = _field(None, "The server, such as `http://marquez:5000`.")
    api_key: SecretStr | None = _field(None, "Its API key, best as `${OPENLINEAGE_API_KEY}`.")
    namespace: str = _field("anabranch", "The namespace of the jobs.", min_length=1)

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_references(value.get_secret_value())
        return value


class History(_Table):
    """How much of the past gc leaves readable. What either rule keeps is kept."""

    keep: DurationOrNever = _field(
        "30d", 'For how long an earlier state stays readable; `"never"` to drop none.'
    )
    keep_commits: int = _field(
        10, "How many of an environment's newest commits stay readable, however old.", ge=1
    )


class Gc(_Table):
    """How careful garbage collection is."""

    grace: Duration = _field(
        "24h", "How long a file that nothing needs is left alone, so that no writer loses its work."
    )


class Settings(_Table):
    """The whole of anabranch.toml."""

    project: Project = Field(description="What the project is called and where its code is.")
    warehouse: Warehouse = _field({}, "Where tables and the catalog live.")
    environments: dict[str, Environment] = Field(
        description="The environments by name, each a table of its own."
    )
    sandboxes: Sandboxes = _field({}, "How the sandboxes of git branches are made.")
    run: Run = _field({}, "How a plan is carried out.")
    openlineage: OpenLineage = _field({}, "Where lineage is sent to.")
    clones: dict[str, CloneSettings] = _field(
        {}, "Databases outside the catalog of which each sandbox gets a copy, each a table of its own."
    )
    dagster: DagsterSettings = _field({}, "How a Dagster project is run.")
    history: History = _field({}, "How much of the past stays readable.")
    gc: Gc = _field({}, "How careful garbage collection is.")

    _path: Path | None = PrivateAttr(default=None)
    _lines: dict[KeyPath, int] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        found: list[tuple[KeyPath, str, str | None]] = []

        def refuse(path: KeyPath, sentence: str, hint: str | None) -> None:
            found.append((path, sentence, hint))

        if not self.environments:
            hint = 'add [environments.production] with git_branch = "main"'
            refuse(("environments",), "there is no environment", hint)
        owner: dict[str, str] = {}
        deployments: dict[str, str] = {}
        for name, environment in self.environments.items():
            called = environment.dagster_deployment or name
            if deployments.setdefault(called, name) != name:
                sentence = f"Dagster's deployment {called!r} is {deployments[called]!r} already"
                refuse(("environments", name, "dagster_deployment"), sentence, "give each its own")
            if name == SANDBOX:
                hint = "choose another: it is what the sandboxes of git branches are called"
                refuse(("environments", name), "no environment can be called sandbox", hint)
            if not is_branch_name(name):
                hint = "use lower-case letters, digits and _ . - (at most 64)"
                refuse(("environments", name), f"{name!r} can't be an environment's name", hint)
            branch = environment.git_branch
            if branch is not None and owner.setdefault(branch, name) != name:
                sentence = f"the git branch {branch!r} belongs to {owner[branch]!r} already"
                refuse(("environments", name, "git_branch"), sentence, "give each environment its own branch")
        for name in self.clones:
            if not _CLONE.fullmatch(name):
                hint = "use letters, digits and _, beginning with a letter (at most 48)"
                refuse(("clones", name), f"{name!r} can't be a clone's name", hint)
        for name, environment in self.environments.items():
            for key, what, advice in self._wrong_in_derived(name, environment):
                refuse(("environments", name, key), what, advice)
        for name in self.dagster.deliver:
            if name not in self.environments:
                choices = f"there are: {', '.join(self.environments)}"
                nearest = did_you_mean(name, self.environments, choices)
                refuse(("dagster", "deliver"), f"there is no environment {name!r}", nearest)
        base = self.sandboxes.base
        if self.environments and base not in self.environments:
            sentence = f"there is no environment {base!r} to open sandboxes on"
            choices = f"set base in [sandboxes] to one of: {', '.join(self.environments)}"
            refuse(("sandboxes", "base"), sentence, did_you_mean(base, self.environments, choices))
        if found:
            raise PydanticCustomError("anabranch_together", "{found}", {"found": found})
        return self

    def _wrong_in_derived(self, name: str, its: Environment) -> list[tuple[str, str, str | None]]:
        """What of an environment's masks does not fit: key, sentence and hint."""
        parent = its.derived_from
        if parent is None:
            only = ("masks", "mask_key", "keep_files", "unmasked_sources")
            given = [key for key in only if getattr(its, key)]
            hint = 'add derived_from = "production", or take it out'
            return [(key, f"{name} is no masked copy, so {key} says nothing", hint) for key in given]
        found: list[tuple[str, str, str | None]] = []
        if parent not in self.environments or parent == name:
            choices = [other for other in self.environments if other != name]
            nearest = did_you_mean(parent, choices, f"there are: {', '.join(choices) or 'none'}")
            found.append(
                ("derived_from", f"there is no environment {parent!r} to derive {name} from", nearest)
            )
        elif self.environments[parent].derived_from is not None:
            hint = f"derive it from {self.environments[parent].derived_from}"
            found.append(("derived_from", f"{parent} is itself a masked copy", hint))
        if its.git_branch is not None:
            hint = "take git_branch out: what it holds is masked from its parent by anabranch sync"
            found.append(("git_branch", f"{name} is a masked copy and runs no code of its own", hint))
        return found

    def mask_key(self, name: str, environ: Mapping[str, str] | None = None) -> str | None:
        """The secret that an environment's masks are keyed by; None where it has none.

        Raises:
            SettingsError: there is no such environment, or the secret is shorter than 16 characters.
            SecretError: a variable is not set.
        """
        secret = self.environment(name).mask_key
        if secret is None:
            return None
        place = self.place("environments", name, "mask_key")
        text = resolve_references(secret.get_secret_value(), environ, place=place)
        if len(text) < 16:
            hint = "make a longer one, for example: openssl rand -hex 32"
            raise SettingsError("the key has fewer than 16 characters", hint=hint, place=place)
        return text

    def environment_of_deployment(self, deployment: str) -> str | None:
        """The environment that Dagster calls so, or None."""
        return next(
            (
                name
                for name, its in self.environments.items()
                if (its.dagster_deployment or name) == deployment
            ),
            None,
        )

    def own_variables(self) -> tuple[str, ...]:
        """Names of the environment variables that this file itself refers to, but for the warehouse's: no step needs them."""
        found: set[str] = set()
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name == "warehouse":
                value = [self.warehouse.catalog]
            found.update(_variables(value))
        return tuple(sorted(found - set(_variables([self.warehouse.uri, self.warehouse.properties]))))

    def kept_variables(self, resources: str) -> tuple[str, ...]:
        """What ``secrets`` says of other environments than those that receive a set of resources: names, or ``BEGINNING*``."""
        own: set[str] = set()
        others: set[str] = set()
        for name, its in self.environments.items():
            (own if (its.resources or name) == resources else others).update(its.secrets)
        return tuple(sorted(others - own))

    def mask_variables(self) -> tuple[str, ...]:
        """Names of the environment variables that hold keys of masked environments."""
        keys = [its.mask_key.get_secret_value() for its in self.environments.values() if its.mask_key]
        return tuple(sorted({name for text in keys for name in references(text)}))

    @property
    def path(self) -> Path | None:
        """The file they were read from, or None."""
        return self._path

    @property
    def folder(self) -> Path:
        """The project's folder in this worktree: that of the file.

        Raises:
            SettingsError: they were not read from a file.
        """
        if self._path is None:
            raise SettingsError("these settings were not read from a file", hint="use load_settings(path)")
        return self._path.parent

    def place(self, *key: str | int) -> str:
        """Where a key stands, for an error's place: ``anabranch.toml:14 environments.production.git_branch``."""
        if self._path is None:
            return dotted(key)
        return f"{self._path.name}:{line_of(self._lines, key)} {dotted(key)}".rstrip()

    def source_folders(self) -> list[Path]:
        """The folders to import the project's code from, absolute. Raises SettingsError as `folder` does."""
        if self.project.source:
            return [Path(os.path.normpath(self.folder / name)) for name in self.project.source]
        src = self.folder / "src"
        return [src, self.folder] if src.is_dir() else [self.folder]

    def environment_of_git_branch(self, branch: str) -> str | None:
        """The environment that a git branch owns, or None: then the branch has a sandbox."""
        return next((name for name, its in self.environments.items() if its.git_branch == branch), None)

    def resources_of(self, environment: str | None) -> str:
        """The set of resources of an environment, or of sandboxes for None.

        Raises:
            SettingsError: there is no such environment.
        """
        if environment is None:
            return self.sandboxes.resource_set
        return self.environment(environment).resources or environment

    def environment(self, name: str) -> Environment:
        """An environment by name.

        Raises:
            SettingsError: there is none of that name.
        """
        if name not in self.environments:
            raise SettingsError(
                f"there is no environment {name!r}",
                hint=did_you_mean(name, self.environments, f"there are: {', '.join(self.environments)}"),
                place=self.place("environments"),
            )
        return self.environments[name]

    def warehouse_uri(self, data_root: Path, environ: Mapping[str, str] | None = None) -> str:
        """Where the tables' files go: a URI as written, or an absolute path.

        Args:
            data_root: What relative paths start from: the project's folder in the repository's main worktree, so that
                all worktrees share one warehouse.
            environ: Values for ``${NAME}``; by default the process's environment.

        Raises:
            SecretError: a variable is not set.
        """
        text = resolve_references(self.warehouse.uri, environ, place=self.place("warehouse", "uri"))
        return text if _SCHEME.match(text) else os.path.normpath(data_root.absolute() / text)

    def catalog_url(self, data_root: Path, environ: Mapping[str, str] | None = None) -> str:
        """The catalog's URL; that of SQLite has an absolute path: ``sqlite:////srv/flights/.anabranch/catalog.db``.

        Arguments and errors are those of `warehouse_uri`.
        """
        place = self.place("warehouse", "catalog")
        text = resolve_references(self.warehouse.catalog, environ, place=place)
        scheme = _SCHEME.match(text)
        if scheme is None or scheme[1] not in _CATALOGS:
            raise SettingsError(
                f"{hide_password(text)!r} is no catalog",
                hint="write it like sqlite:///.anabranch/catalog.db",
                place=place,
            )
        if not text.startswith("sqlite:///"):
            return text
        return f"sqlite:///{os.path.normpath(data_root.absolute() / text.removeprefix('sqlite:///'))}"

    def openlineage_server(self, environ: Mapping[str, str] | None = None) -> tuple[str | None, str | None]:
        """URL and API key of the OpenLineage server, in plain text. Raises SecretError as `warehouse_uri` does."""
        own = self.openlineage
        key = own.api_key.get_secret_value() if own.api_key is not None else None
        return (
            None
            if own.url is None
            else resolve_references(own.url, environ, place=self.place("openlineage", "url")),
            None
            if key is None
            else resolve_references(key, environ, place=self.place("openlineage", "api_key")),
        )

    def warehouse_properties(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """Settings of the object store with their secrets in plain text. Raises SecretError as `warehouse_uri` does."""
        return {
            name: resolve_references(
                secret.get_secret_value(), environ, place=self.place("warehouse", "properties", name)
            )
            for name, secret in self.warehouse.properties.items()
        }


def _variables(value: Any) -> Iterator[str]:
    """The variables that settings refer to, however deep."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        yield from references(value)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _variables(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _variables(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _variables(each)
