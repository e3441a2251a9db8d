"""What a Dagster project was found to hold, kept until something changes on which that depends.

It depends on the files that were executed or read, on what the folders held that were listed, on the values of the
variables that were asked for, and on the versions of what its code reaches. Values of variables are kept as salted hashes,
in a file that nobody else may read.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FORMAT = 1
_ASIDE = ("__pycache__", ".git", ".anabranch", ".venv")


def sha256(path: Path) -> str | None:
    """The hash of a file, or None where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def listing(path: Path) -> str | None:
    """A hash of the names in a folder, or None where there is none."""
    try:
        names = sorted(name for name in os.listdir(path) if name not in _ASIDE and not name.endswith(".pyc"))  # noqa: PTH208 - as it was asked
    except OSError:
        return None
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def variable(name: str, salt: str, environ: Mapping[str, str] | None = None) -> str | None:
    """A salted hash of a variable's value, or None where it is not set."""
    value = (os.environ if environ is None else environ).get(name)
    if value is None:
        return None
    return hashlib.blake2b(value.encode(), key=salt.encode()[:64], digest_size=16).hexdigest()


class Kept:
    """The answers that are kept of one target.

    Args:
        folder: Where they are kept; None to keep nothing.
        question: What was asked: target, folders, run config, place.
    """

    def __init__(self, folder: Path | None, question: Mapping[str, Any]) -> None:
        text = json.dumps([FORMAT, question], sort_keys=True, default=str)
        name = hashlib.sha256(text.encode()).hexdigest()[:24]
        self.path = None if folder is None else folder / "dagster" / f"{name}.json"

    def find(self, root: Path, environ: Mapping[str, str]) -> Mapping[str, Any] | None:
        """The answer, if all is as it was."""
        if self.path is None:
            return None
        try:
            kept: dict[str, Any] = json.loads(self.path.read_bytes())
            return kept if holds(kept, root, environ) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep(self, answer: Mapping[str, Any]) -> None:
        """Writes an answer down; what can't be written is asked again."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.path.parent)  # readable by its owner alone
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                json.dump(answer, out)
            Path(name).replace(self.path)
        except OSError:
            return


def holds(kept: Mapping[str, Any], root: Path, environ: Mapping[str, str]) -> bool:
    """Whether all on which an answer depends is as it was. Raises KeyError, TypeError for what is no answer."""
    depends = kept["depends"]
    if (
        kept["format"] != FORMAT
        or depends["python"] != sys.version
        or _version("dagster") != depends["dagster"]
    ):
        return False
    return (
        all(sha256(root / name) == told for name, told in depends["files"].items())
        and all(listing(root / name) == told for name, told in depends["folders"].items())
        and all(variable(name, kept["salt"], environ) == told for name, told in depends["variables"].items())
        and all(_version(name) == told for name, told in depends["distributions"].items())
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
