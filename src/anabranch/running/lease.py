"""Holding a lease while one works: renewed by a thread, given up at the end, taken over from a holder that is dead.

A holder that was killed leaves its lease to expire. On the machine where it ran one need not wait: a process that no
longer exists holds nothing.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from anabranch.catalog.base import Catalog, Lease
from anabranch.errors import CatalogError, LeaseError

TTL = timedelta(seconds=60)


@contextlib.contextmanager
def hold(
    catalog: Catalog,
    name: str,
    what: str,
    info: Mapping[str, Any] | None = None,
    *,
    ttl: timedelta = TTL,
    wait: timedelta = timedelta(),
    on_wait: Callable[[str], None] = lambda _: None,
) -> Iterator[Lease]:
    """Holds a lease for the time of a ``with`` block.

    Args:
        catalog: Where leases are kept.
        name: What is leased: ``run:production``.
        what: What the holder does, for the sentence that others see: ``run 3k2…``.
        info: Plain values beside it.
        ttl: Time after which a lease that is not renewed ends by itself.
        wait: For how long to wait for whoever holds it.
        on_wait: Called once, with the holder, before waiting.

    Raises:
        LeaseError: somebody who is alive, or on another machine, holds it, and the time to wait is over.
    """
    end = time.monotonic() + wait.total_seconds()
    told = False
    while True:
        try:
            lease = _acquire(catalog, name, what, dict(info or {}), ttl)
            break
        except LeaseError as error:
            left = end - time.monotonic()
            if left <= 0:
                raise
            if not told:
                told = True
                on_wait(str(error.facts.get("holder", "somebody")))
            # By chance, so that many who wait do not all ask at the same moment.
            time.sleep(min(left, random.uniform(0.2, 0.6)))  # noqa: S311 - no secret is made of it
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(ttl.total_seconds() / 4):
            # A lease that was lost is told by the next commit, which demands it.
            with contextlib.suppress(CatalogError):
                catalog.renew(lease.token, ttl=ttl)

    thread = threading.Thread(target=beat, daemon=True, name=f"anabranch-lease-{name}")
    thread.start()
    try:
        yield lease
    finally:
        stop.set()
        thread.join()
        catalog.release(lease.token)


def _acquire(catalog: Catalog, name: str, what: str, info: dict[str, Any], ttl: timedelta) -> Lease:
    holder = f"{what} of {_user()} on {socket.gethostname()}, process {os.getpid()}"
    info |= {"host": _machine(), "pid": os.getpid(), "started": _started(os.getpid())}
    try:
        return catalog.acquire(name, holder=holder, ttl=ttl, info=info)
    except LeaseError:
        present = next((lease for lease in catalog.leases() if lease.name == name), None)
        if present is None or not is_dead(present):
            raise
        catalog.release(present.token)
        return catalog.acquire(name, holder=holder, ttl=ttl, info=info)


def is_dead(lease: Lease) -> bool:
    """Whether the holder certainly no longer lives: it ran on this machine, and its process is gone."""
    if lease.info.get("host") != _machine():
        return False
    pid = lease.info.get("pid")
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _started(pid) != lease.info.get("started")


@lru_cache(maxsize=1)
def _machine() -> str:
    """Where process numbers mean what they mean here: this boot of this machine, and this namespace of processes."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _started(pid: int) -> str:
    """When a process started, as the system counts it: tells a process from a later one with the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # One that has ended, and whose parent has not asked how yet, works no more.
        return "" if fields[0] in ("Z", "X") else fields[19]
    except (OSError, IndexError):
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"
