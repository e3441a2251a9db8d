"""From the file to `Settings`, and from every mistake in it to a sentence with its line."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from anabranch.errors import SettingsError
from anabranch.names import did_you_mean
from anabranch.settings.lines import KeyPath, dotted, key_lines, line_of
from anabranch.settings.models import Settings
from anabranch.settings.reference import clone_providers, known_keys, settings_reference

FILE_NAME = "anabranch.toml"

_POSITION = re.compile(r"\s*\((?:at line (\d+), column \d+|at end of document)\)$")
_WRONG_TYPE = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
_TOML_TYPES = ((bool, "true or false"), (str, "text"), (int, "a whole number"), (float, "a number"), (list, "a list"), (dict, "a table"))  # fmt: skip
_MISSING = {
    "project": 'begin with [project], name = "…" and definitions = "package.module:attribute"',
    "project.name": 'add name = "…" to [project]',
    "project.definitions": 'add definitions = "package.module:attribute" to [project]',
    "environments": 'add [environments.production] with git_branch = "main"',
}


def find_settings(start: Path) -> Path:
    """The nearest ``anabranch.toml`` in a folder, or in the folder of a file, or in a folder around it.

    Raises:
        SettingsError: there is none up to the top of the file system (``facts["looked"]``: where it was looked for).
    """
    at = Path(os.path.realpath(start))
    folders = [at, *at.parents] if at.is_dir() else list(at.parents)
    for folder in folders:
        if os.path.isfile(folder / FILE_NAME):  # noqa: PTH113 - Path.is_file raises where a folder may not be entered
            return folder / FILE_NAME
    raise SettingsError(
        f"there is no {FILE_NAME} in {folders[0]} or in any folder around it",
        hint="go to the project's folder, or start one with `anabranch init`",
        looked=[str(folder) for folder in folders],
    )


def load_settings(path: Path) -> Settings:
    """Reads a project's settings from its file, or from the file in a folder.

    Raises:
        SettingsError: the file can't be read or is wrong. The error is the first mistake by line; all of them are in
            ``facts["mistakes"]``, each with ``place``, ``message`` and ``hint``.
    """
    file = Path(os.path.abspath(path / FILE_NAME if path.is_dir() else path))  # noqa: PTH100 - links are kept as they are
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise SettingsError(
            f"there is no file {file}", hint="start a project with `anabranch init`"
        ) from None
    except OSError as error:
        raise SettingsError(f"{file} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SettingsError(
            "the file is not written in UTF-8", hint="save it as UTF-8", place=f"{file.name}:{line}"
        ) from None
    try:
        data = tomllib.loads(text)
        lines = key_lines(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(file, text, str(error)) from None
    except RecursionError:
        raise SettingsError("the file is nested too deeply", place=file.name) from None
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        raise _mistakes(file, lines, error.errors(include_url=False)) from None
    settings._path, settings._lines = file, lines  # noqa: SLF001 - what belongs to the file, not to its content
    return settings


def _not_toml(file: Path, text: str, said: str) -> SettingsError:
    position = _POSITION.search(said)
    line = int(position[1]) if position and position[1] else max(len(text.splitlines()), 1)
    sentence = _POSITION.sub("", said)
    return SettingsError(
        f"this is not TOML: {sentence[:1].lower()}{sentence[1:]}",
        hint="text stands in quotes, a table begins with [name], each key is set once: https://toml.io",
        place=f"{file.name}:{line}",
    )


def _mistakes(file: Path, lines: dict[KeyPath, int], errors: Iterable[ErrorDetails]) -> SettingsError:
    found: list[tuple[KeyPath, str, str | None]] = []
    for error in errors:
        if error["type"] == "anabranch_together":
            found.extend(error["ctx"]["found"])
        else:
            found.append((_path(error["loc"]), *_sentence(error)))
    found.sort(key=lambda one: line_of(lines, one[0]))
    listed = [
        {"place": f"{file.name}:{line_of(lines, path)} {dotted(path)}", "message": message, "hint": hint}
        for path, message, hint in found
    ]
    _, message, hint = found[0]
    return SettingsError(message, hint=hint, place=listed[0]["place"], mistakes=listed)


def _path(location: KeyPath) -> KeyPath:
    """Where a mistake stands in the file: pydantic names the kind of a clone as if it were a key of its own."""
    if location[:1] == ("clones",) and location[2:3] and location[2] in clone_providers():
        return (*location[:2], *location[3:])
    return location


def _sentence(error: ErrorDetails) -> tuple[str, str | None]:
    """A mistake as a sentence, and what to do about it."""
    path, kind, context = _path(error["loc"]), error["type"], error.get("ctx", {})
    key = dotted(path[-1:])
    if kind == "anabranch":
        return context["sentence"], context["hint"]
    if kind == "extra_forbidden":
        return f"{key} is not a setting", _nearest(path)
    if kind == "missing":
        return f"{key} is missing", _MISSING.get(dotted(path))
    if kind == "union_tag_not_found":
        return "provider is missing", f"choose {', '.join(clone_providers())}"
    if kind == "union_tag_invalid":
        word = str(context["tag"])
        choices = f"there are: {', '.join(clone_providers())}"
        return f"there is no provider {word!r}", did_you_mean(word, clone_providers(), choices)
    if kind == "literal_error":
        return f"{error['input']!r} is none of the choices", f"choose {context['expected']}"
    if kind in {"greater_than_equal", "less_than_equal"}:
        limit = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        return f"must be {limit}, not {error['input']}", None
    if kind == "string_too_short":
        return "must not be empty", None
    if kind in _WRONG_TYPE:
        hint = None
        if kind == "string_type" and isinstance(error["input"], int | float):
            hint = "put it in quotes"
        elif kind in {"int_type", "bool_type"} and isinstance(error["input"], str):
            hint = "write it without quotes"
        return f"must be {_WRONG_TYPE[kind]}, not {_type_name(error['input'])}", hint
    return error["msg"], None


def _type_name(value: Any) -> str:
    return next((name for cls, name in _TOML_TYPES if isinstance(value, cls)), "a date or time")


def _nearest(path: KeyPath) -> str:
    """For an unknown key: the one that was meant, the table that it belongs to, or those that there are."""
    here = known_keys(path[:-1])
    word = str(path[-1])
    elsewhere = [row.key for row in settings_reference() if row.key.rpartition(".")[2] == word]
    if elsewhere and word not in here:
        return f"it belongs in [{elsewhere[0].rpartition('.')[0]}]"
    return did_you_mean(word, here) or f"there are: {', '.join(here)}"
