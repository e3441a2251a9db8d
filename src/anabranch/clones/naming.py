"""What a clone is called, and how a name gets into a statement: names of git branches and pull requests may mean ill.

Two lines of defence that do not rely on each other. `clone_name` makes a plain word of whatever comes in: letters, digits
and ``_``, short enough, different for different sandboxes. And each dialect has one function that quotes any text at all,
or refuses it; every statement gets its names through it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from anabranch.clones.base import NameRule
from anabranch.errors import CloneError
from anabranch.settings.clones import fill, template_fields

_OTHER = re.compile(r"[^A-Za-z0-9_]+")
_DIGEST = re.compile(r".*_x[0-9a-f]{8}")
_TAIL = 10


def clone_name(
    template: str, rule: NameRule, *, source: str, sandbox: str, clone: str, pull_request: str | None
) -> str:
    """A clone's bare name, by its template.

    What holds other characters than letters, digits and ``_``, upper case in what tells sandboxes apart, or more characters
    than the provider allows, becomes a readable word and ``_x`` with eight hexadecimal digits of the SHA-256 of the whole:
    ``shop_clone_feature_a_x1f0c22b7``. So ``feature-a`` and ``feature_a`` never share a clone, as far as eight digits go;
    what they don't tell apart is refused by the record and the mark.

    Args:
        template: A ``name`` of settings, checked when it was read.
        rule: What the provider takes.
        source: The source's bare name.
        sandbox: The sandbox's name.
        clone: The clone's name in settings.
        pull_request: Its number or id, if there is one.

    Raises:
        CloneError: the template needs a pull request and there is none.
    """
    if pull_request is None and "pull_request" in template_fields(template):
        raise CloneError(
            f"the clone {clone} is named by its pull request, and none is known here",
            hint="open the sandbox where the pull request's checks run, or put {sandbox} into name instead",
            clone=clone,
        )
    told = {"sandbox": sandbox, "pull_request": pull_request or ""}
    raw = fill(template, {"source": source, "clone": clone, **told})
    plain = {key: _plain(value).lower() for key, value in told.items()}
    name = fill(template, {"source": _plain(source), "clone": clone, **plain})
    lossy = any(plain[key] != told[key] for key in template_fields(template) & told.keys())
    # A name that looks like one of ours with a digest could be that of another sandbox: it gets a digest too.
    if lossy or len(name) > rule.length or _DIGEST.fullmatch(name):
        digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{name[: rule.length - _TAIL].rstrip('_')}_x{digest[:8]}"
    return name.upper() if rule.upper else name


def _plain(text: str) -> str:
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _OTHER.sub("_", ascii_text)


def postgres_name(name: str) -> str:
    """An identifier in Postgres: any characters but NUL, at most 63 bytes, for Postgres cuts a longer one without a word.

    Raises:
        CloneError: it can't be an identifier.
    """
    _refuse(name, 63, "Postgres")
    return '"' + name.replace('"', '""') + '"'


def postgres_text(text: str) -> str:
    """A string constant in Postgres, whatever ``standard_conforming_strings`` says. Raises CloneError for a NUL."""
    _refuse(text or "-", None, "Postgres")
    quoted = text.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in text else f"'{quoted}'"


def duckdb_name(name: str) -> str:
    """An identifier in DuckDB. Raises CloneError as `postgres_name` does; DuckDB has no limit of length."""
    _refuse(name, None, "DuckDB")
    return '"' + name.replace('"', '""') + '"'


def duckdb_text(text: str) -> str:
    """A string constant in DuckDB. Raises CloneError for a NUL."""
    _refuse(text or "-", None, "DuckDB")
    return "'" + text.replace("'", "''") + "'"


def snowflake_name(name: str) -> str:
    """An identifier in Snowflake, quoted, so that it means exactly these characters; at most 255 of them.

    Raises:
        CloneError: it can't be an identifier.
    """
    _refuse(name, None, "Snowflake")
    if len(name) > 255:
        raise CloneError(
            f"{name!r} is too long for a name in Snowflake: {len(name)} characters of at most 255",
            hint="shorten the template name in [clones.NAME]",
        )
    return '"' + name.replace('"', '""') + '"'


def snowflake_text(text: str) -> str:
    """A string constant in Snowflake, in which a backslash escapes. Raises CloneError for a NUL."""
    _refuse(text or "-", None, "Snowflake")
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _refuse(name: str, length: int | None, whose: str) -> None:
    """Refuses what can't be an identifier at all."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise CloneError(f"{name!r} is no text that {whose} can hold") from None
    if not name or "\0" in name:
        raise CloneError(f"{name!r} can't be a name in {whose}")
    if length is not None and size > length:
        raise CloneError(
            f"{name!r} is too long for a name in {whose}: {size} bytes of at most {length}",
            hint="shorten the template name in [clones.NAME]",
        )
