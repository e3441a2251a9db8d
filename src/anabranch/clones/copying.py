"""Copies one file as a program of its own: ``python -m anabranch.clones.copying SOURCE TARGET``.

Databases in files lock them by POSIX locks, and a process loses *all* its locks on a file as soon as it closes any of its
descriptors of it. Whoever holds a database open for the time of a copy must therefore leave the copying to another process;
so this is one. It shares the source's blocks where the file system can (``FICLONE``: btrfs, XFS, bcachefs, ZFS, overlays of
them), and copies them otherwise, in the kernel where it can. Knows nothing of databases; imports the standard library only.
"""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

from anabranch.errors import CloneError

_FICLONE = 0x40049409
_BLOCK = 16 * 1024 * 1024


def copy_apart(source: Path, target: Path) -> str:
    """Copies a file in a process of its own, and flushes the copy to disk. The target must not exist.

    Returns:
        ``reflink`` or ``copy``.

    Raises:
        CloneError: it could not be copied; nothing of the copy is left, and what was there is as it was.
    """
    command = [sys.executable, "-m", "anabranch.clones.copying", os.fspath(source), os.fspath(target)]
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


def copy_file(source: str, target: str) -> str:
    """Copies in this process; see `copy_apart`. Raises OSError."""
    with open(source, "rb") as read, open(target, "xb") as write:  # noqa: PTH123 - a descriptor each is what is wanted
        try:
            how = _fill(read.fileno(), write.fileno())
        except OSError:
            os.unlink(target)  # noqa: PTH108 - it is this call's own
            raise
    return how


def _fill(read: int, write: int) -> str:
    # Who may not read the source may not read its copy.
    os.fchmod(write, stat.S_IMODE(os.fstat(read).st_mode))
    try:
        fcntl.ioctl(write, _FICLONE, read)
        how = "reflink"
    except OSError:
        how = "copy"
        _copy(read, write)
    os.fsync(write)
    return how


def _copy(read: int, write: int) -> None:
    if hasattr(os, "copy_file_range"):
        try:
            while os.copy_file_range(read, write, _BLOCK):
                pass
        except OSError:
            os.lseek(read, 0, os.SEEK_SET)
            os.lseek(write, 0, os.SEEK_SET)
            os.ftruncate(write, 0)
        else:
            return
    while block := os.read(read, _BLOCK):
        view = memoryview(block)
        while view:
            view = view[os.write(write, view) :]


def sync_path(path: Path) -> None:
    """Flushes a file; or a folder: names that were made or removed in it survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    try:
        sys.stdout.write(copy_file(sys.argv[1], sys.argv[2]))
    except OSError as error:
        sys.exit(error.strerror or str(error))
