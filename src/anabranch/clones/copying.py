"""Copies a file by another process, for databases that are locked meanwhile.

Databases in files lock them by POSIX locks, and a process loses *all* its locks on a file as soon as it closes any of its
descriptors of it. Whoever holds a database open for the time of a copy must therefore leave the copying to another process:
to `clones.copier`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from anabranch.clones import copier
from anabranch.errors import CloneError


def copy_apart(source: Path, target: Path) -> str:
    """Copies a file in a process of its own, and flushes the copy to disk. The target must not exist.

    Returns:
        ``reflink`` or ``copy``.

    Raises:
        CloneError: it could not be copied; nothing of the copy is left, and what was there is as it was.
    """
    # By its path, and without the site: a Python that only copies starts in a few milliseconds.
    command = [sys.executable, "-I", "-S", copier.__file__, os.fspath(source), os.fspath(target)]
    # A Ctrl-C is for the parent, which ends the copier.
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told, wrong = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode:
        reason = wrong.strip().splitlines()[-1] if wrong.strip() else f"code {process.returncode}"
        raise CloneError(f"{source} can't be copied to {target.parent}: {reason}")
    return told.strip()


def sync_path(path: Path) -> None:
    """Flushes a file; or a folder: names that were made or removed in it survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
