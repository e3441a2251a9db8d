"""Snowflake on this machine, for code that talks to the real one: the real connector, over HTTP, to an account in memory.

    with Snowflake() as account:
        account.sql("create database PRODUCTION")
        subprocess.run([…], env=os.environ | account.environment())     # a child process: nothing else is to be done
        account.redirect(monkeypatch)                                     # this process, and its children

Whatever connects by `snowflake.connector` then (and so `dagster_snowflake`, `dagster_snowflake_pandas` with
`write_pandas`, SQLAlchemy) comes here, with any account, user and password; the password ``wrong`` is refused. All processes
see the same databases. `statements()` are the statements that were sent, to the letter; `fail` makes some of them fail, or
end the server. `keep_history()` lets ``CLONE … AT`` reach back to what databases held from then on.

What is behind it, and where it differs from fakesnow, is told in `snowflake_double_server`. It is called so because a module
called ``snowflake`` in this folder would hide the connector's own package. It knows nothing of the product.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

HERE = Path(__file__).resolve().parent
REDIRECT = HERE / "snowflake_redirect"
VARIABLE = "SNOWFLAKE_DOUBLE"

needs_snowflake = pytest.mark.skipif(
    any(__import__("importlib.util").util.find_spec(name) is None for name in ("fakesnow", "snowflake")),
    reason="fakesnow and snowflake-connector-python are not installed",
)


class Snowflake:
    """An account; empty at first. Use it as a context, or `close` it."""

    def __init__(self) -> None:
        environ = {k: v for k, v in os.environ.items() if k not in (VARIABLE, "PYTHONWARNINGS")}
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "snowflake_double_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environ,
        )
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the double of Snowflake did not start"
        self.port = int(line)
        self._since = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the account, and all that is in it."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    # whom it serves

    def environment(self) -> dict[str, str]:
        """The variables with which a process's connections come here."""
        path = os.pathsep.join(p for p in (str(REDIRECT), os.environ.get("PYTHONPATH")) if p)
        return {VARIABLE: str(self.port), "PYTHONPATH": path}

    def redirect(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lets this process's connections, and its children's, come here until the test is over."""
        for name, value in self.environment().items():
            monkeypatch.setenv(name, value)
        _redirect_here()

    def connect(self, **rest: Any) -> Any:
        """A connection of this process that needs no redirection."""
        import snowflake.connector

        parameters = {"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False}
        own = {"host": "127.0.0.1", "port": self.port, "protocol": "http", "session_parameters": parameters}
        own |= {
            "account": "double",
            "user": "tester",
            "password": "any",
            "login_timeout": 5,
            "network_timeout": 5,
        }
        return snowflake.connector.connect(**{**own, **rest})

    # what a test does with it

    def sql(self, *statements: str, **rest: Any) -> list[tuple[Any, ...]]:
        """Runs statements in a session of their own, unseen by `statements`; the rows of the last one.

        Args:
            statements: One each.
            rest: Of the connection: ``database``, ``schema``.
        """
        before, rows = self.statements(), []
        with self.connect(**rest) as connection:
            for statement in statements:
                rows = connection.cursor().execute(statement).fetchall()
        self._told = before
        self._since = self._count()
        return rows

    _told: list[str] = []  # noqa: RUF012 - replaced, never changed

    def statements(self) -> list[str]:
        """What was sent so far, but for what `sql` has sent."""
        return [*self._told, *(one["sql"] for one in self._log(self._since) if "sql" in one)]

    def logins(self) -> list[dict[str, Any]]:
        """Who has connected: user, authenticator, account, database, warehouse and role, as they were sent."""
        return [one["login"] for one in self._log(0) if "login" in one]

    def forget(self) -> None:
        """Lets `statements` begin anew."""
        self._told, self._since = [], self._count()

    def fail(
        self,
        pattern: str,
        *,
        times: int = 1,
        after: bool = False,
        drop: bool = False,
        errno: int = 604,
        message: str = "SQL execution canceled",
    ) -> None:
        """Makes the next statements that match fail.

        Args:
            pattern: A regular expression.
            times: How many.
            after: Whether they are done all the same, and only their answer is lost.
            drop: Whether the whole account ends, as if the network did.
            errno, message: What is answered.
        """
        self._post("fault", {"pattern": pattern, "times": times, "after": after, "drop": drop, "errno": errno, "message": message})  # fmt: skip

    def mend(self) -> None:
        """Lets nothing fail any more."""
        self._post("fault", None)

    def keep_history(self, *, keep: bool = True) -> None:
        """Lets clones be made of what databases hold from now on."""
        self._post("history", keep)

    def _count(self) -> int:
        return len(self._log(0))

    def _log(self, since: int) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/double/log?since={since}") as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def _post(self, what: str, body: Any) -> None:
        url = f"http://127.0.0.1:{self.port}/double/{what}"
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), method="POST")).close()


def _redirect_here() -> None:
    import importlib.util

    import snowflake.connector.connection as connection

    spec = importlib.util.spec_from_file_location("snowflake_redirecting", REDIRECT / "sitecustomize.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # It stays in place: without the variable it changes nothing.
    module.redirect(connection)
