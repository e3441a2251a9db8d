"""What the machine offers and what a process has taken of it: the memory that may be used, and the peak of one step.

Linux tells both exactly. Elsewhere a process can't forget its peak: a step's is then that of its process so far, which
is never less than its own. Neither counts what a step's child processes take.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def available_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Bytes that this process and its children may use: the machine's, or less where a control group says so (a container).

    Args:
        proc, cgroups: Where the kernel tells of processes and of control groups.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_limits(proc, cgroups)])


def _limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """The limits of each control group that the process is in, and of those around it, of either version."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            roots, name = [cgroups, cgroups / "unified"], "memory.max"
        elif "memory" in controllers.split(","):
            roots, name = [cgroups / "memory"], "memory.limit_in_bytes"
        else:
            continue
        for root in roots:
            # Inside of a container the path may be the host's: what exists of the way up to the root counts.
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(root):
                    with suppress(OSError, ValueError):
                        yield int((folder / name).read_text())


def oom_kills(proc: Path = _PROC) -> int:
    """How many processes the kernel has ended for want of memory since it started; 0 where it does not tell."""
    with suppress(OSError, ValueError, StopIteration):
        lines = (proc / "vmstat").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0


def forget_peak() -> bool:
    """Lets `peak_memory` start anew from what the process holds now. Returns whether the system can."""
    try:
        (_PROC / "self" / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory() -> int:
    """Greatest resident bytes of this process since `forget_peak`, or since its start where that can't be forgotten."""
    with suppress(OSError, ValueError, StopIteration):
        lines = (_PROC / "self" / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
