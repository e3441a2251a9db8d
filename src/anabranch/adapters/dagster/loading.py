"""Imports a Dagster project in this process: in the child that describes it, in a worker, and for the web UI.

Whoever calls this has set the environment's variables before: such projects choose their resources as they are imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anabranch.errors import AnabranchError, LoadError
from anabranch.names import did_you_mean
from anabranch.pipeline.loader import expect, import_project, user_error

_remembered: dict[tuple[str, Path, tuple[Path, ...]], tuple[Any, Mapping[str, str]]] | None = None


def remember() -> None:
    """From now on this process imports a project once. For processes that end when the project changes."""
    global _remembered  # noqa: PLW0603 - a process is one or the other
    _remembered = {}


def load_repository(
    target: str, root: Path, source: Sequence[Path], expected: Mapping[str, str] | None = None
) -> tuple[Any, Mapping[str, str]]:
    """Imports ``package.module`` or ``package.module:attribute``.

    Args:
        target: A module, or an object in it: Definitions, a repository, a job; or a function that returns one.
        root: The project's folder.
        source: Folders to import from.
        expected: Relative path → SHA-256 of what was planned.

    Returns:
        The RepositoryDefinition, and each executed project file (relative path → SHA-256).

    Raises:
        LoadError: the module can't be imported, or holds nothing of Dagster's.
        CodeChangedError: a file differs from what was planned.
    """
    asked = (target, root, tuple(source))
    if _remembered is not None and asked in _remembered:
        found = _remembered[asked]
        if expected is None:
            return found
        if dict(expected) == dict(found[1]):
            expect(expected)
            return found
    understand_env_dicts()
    module, files = import_project(target, root=root, source=source, expected=expected)
    try:
        repository = _repository(module, target)
    except AnabranchError:
        raise
    except Exception as error:
        raise refused(error, target, root) from error
    if _remembered is not None:
        _remembered[asked] = repository, files
    return repository, files


def refused(error: BaseException, target: str, root: Path) -> LoadError:
    """What Dagster says against a project's definitions, with what it says that this comes from."""
    told = user_error(error, target, root)
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    said = ": ".join(dict.fromkeys(str(each).strip() for each in causes))
    return LoadError(
        f"Dagster does not take {target}: {said}",
        hint=told.hint,
        place=told.place,
        traceback=told.facts["traceback"],
    )


def _repository(module: Any, target: str) -> Any:
    from dagster._core.definitions.reconstruct import repository_def_from_target_def
    from dagster._core.workspace.autodiscovery import loadable_targets_from_loaded_module

    _, _, attribute = target.partition(":")
    if not attribute:
        found = [each.target_definition for each in loadable_targets_from_loaded_module(module)]
        if len(found) != 1:
            raise LoadError(
                f"the module {module.__name__} holds {len(found)} repositories of Dagster",
                place="anabranch.toml project.definitions",
                hint=f"name one: {target}:NAME",
            )
        value: Any = found[0]
    else:
        value = module
        for part in attribute.split("."):
            if not hasattr(value, part):
                raise LoadError(
                    f"{attribute!r} in the module {module.__name__} is missing",
                    place="anabranch.toml project.definitions",
                    hint=did_you_mean(part, [n for n in vars(value) if not n.startswith("_")]),
                )
            value = getattr(value, part)
    repository = repository_def_from_target_def(value)
    if repository is None and callable(value):
        repository = repository_def_from_target_def(value())
    if repository is None:
        raise LoadError(
            f"{target} is a {type(value).__name__}, which is nothing that Dagster can load",
            place="anabranch.toml project.definitions",
            hint="name a Definitions, a @repository or a job",
        )
    return repository


def understand_env_dicts() -> None:
    """Makes ``password={"env": "NAME"}``, as the public guides have it, mean ``EnvVar("NAME")``. Idempotent.

    Dagster understands the form in config and rejects it where a resource is made in Python: its fields are checked first.
    """
    import dagster
    from dagster._config.pythonic_config.resource import ConfigurableResourceFactory

    original: Any = ConfigurableResourceFactory.__init__
    if getattr(original, "__anabranch__", False):
        return

    def meant(name: str, value: Any, fields: Mapping[str, Any]) -> Any:
        if not (isinstance(value, dict) and list(value) == ["env"] and isinstance(value["env"], str)):
            return value
        field = fields.get(name)
        takes_dict = field is not None and "dict" in str(field.annotation).lower()
        return value if takes_dict else dagster.EnvVar(value["env"])

    def init(self: Any, **data: Any) -> None:
        fields = dict(type(self).model_fields)
        fields |= {each.alias: each for each in fields.values() if each.alias}
        original(self, **{name: meant(name, value, fields) for name, value in data.items()})

    init.__anabranch__ = True  # type: ignore[attr-defined]
    ConfigurableResourceFactory.__init__ = init  # type: ignore[method-assign]


def import_object(text: str) -> Any:
    """The object that ``package.module:object`` names. Raises LoadError."""
    module, _, path = text.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for part in path.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise LoadError(
            f"{text} can't be imported: {error}",
            place="anabranch.toml sandboxes.resources",
            hint='write it like "my_project.fakes:api_client"',
        ) from None
    return value
