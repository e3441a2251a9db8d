"""Sends a process's calls to a named host to a port of this machine, and all others nowhere: no test uses a network.

Every client (`urllib`, `requests`, `httpx`, asyncio) resolves names by `socket.getaddrinfo` and connects by `socket.connect`,
so these are the places to change. Some forget the port that a name resolved to, hence it is put into the address:
127.1.18.103 is port 18 · 256 + 103. Certificates are trusted by the variables that the clients read.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_HERE = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "", socket.gethostname()}
_PORTS = "127.1."


def resolver(hosts: Mapping[str, int], real: Callable[..., Any]) -> Callable[..., Any]:
    """`getaddrinfo` that knows the hosts by their port on this machine, this machine, and no other."""

    def getaddrinfo(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in hosts:
            return real(f"{_PORTS}{hosts[name] // 256}.{hosts[name] % 256}", port, *rest, **named)
        if name is None or name in _HERE or name.startswith(_PORTS):
            return real(host, port, *rest, **named)
        raise socket.gaierror(socket.EAI_NONAME, f"{name} is not on this machine, and tests use no network")

    return getaddrinfo


def connector(real: Callable[..., Any]) -> Callable[..., Any]:
    """`connect` that goes to the port which the address holds."""

    def connect(self: socket.socket, address: Any) -> Any:
        if isinstance(address, tuple) and str(address[0]).startswith(_PORTS):
            high, low = address[0].split(".")[2:]
            address = ("127.0.0.1", int(high) * 256 + int(low))
        return real(self, address)

    return connect


def install(folder: Path) -> None:
    """Does it for this process, by the facts that are kept in the folder."""
    facts = json.loads((folder / "redirect.json").read_text())
    socket.getaddrinfo = resolver(facts["hosts"], socket.getaddrinfo)
    for name in ("connect", "connect_ex"):
        setattr(socket.socket, name, connector(getattr(socket.socket, name)))
    for name in TRUST:
        os.environ[name] = facts["trust"]
