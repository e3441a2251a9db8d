"""Copies one file, as a program of its own: ``python copier.py SOURCE TARGET``. See `clones.copying` for why.

It shares the source's blocks where the file system can (``FICLONE``: btrfs, XFS, bcachefs, ZFS, overlays of them), and
copies them otherwise, in the kernel where it can. Knows nothing of databases, and imports the standard library alone, so
that it starts at once.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys

_FICLONE = 0x40049409
_BLOCK = 16 * 1024 * 1024


def copy_file(source: str, target: str) -> str:
    """Copies in this process, and flushes the copy; the target must not exist. Raises OSError."""
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


if __name__ == "__main__":
    try:
        sys.stdout.write(copy_file(sys.argv[1], sys.argv[2]))
    except OSError as error:
        sys.exit(error.strerror or str(error))
