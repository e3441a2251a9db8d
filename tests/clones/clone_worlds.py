"""One small outside database for each provider, with the same verbs: what the behaviours of all providers are tested on.

A new provider adds its world to `WORLDS`; a world whose server is not there skips.
"""

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from anabranch.clones.base import CloneRecord, Provider, Surroundings
from anabranch.clones.duckdb import DuckDB
from anabranch.clones.lakefs import LakeFS
from anabranch.clones.naming import snowflake_name
from anabranch.clones.postgres import Postgres
from anabranch.clones.snowflake import Snowflake
from anabranch.clones.sqlite import SQLite
from anabranch.names import new_id, now
from anabranch.settings import DuckDBClone, LakeFSClone, PostgresClone, SnowflakeClone, SQLiteClone
from doubles.lakefs_server import Branch as LakeBranch
from doubles.lakefs_server import LakeFS as LakeServer
from doubles.postgres_server import Server
from doubles.snowflake_double import Snowflake as Account


class World(ABC):
    """A source with one table ``t (a integer)``, and a provider for it."""

    any_name = True
    """Whether a clone's name may hold any characters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[Provider] = []

    def around(self, **environ: str) -> Surroundings:
        return Surroundings("sales", str(self.folder), environ, lambda field: f"clones.sales.{field}")

    def provider(self) -> Provider:
        """As a new process would have it; the one before lets go."""
        self.let_go()
        made = self.make()
        self.opened.append(made)
        return made

    def record(self, name: str | None = None, *, sandbox: str = "fix") -> CloneRecord:
        provider = self.provider()
        return CloneRecord(
            new_id(),
            "shop",
            "sales",
            "any",
            provider.source_name(),
            name or f"{provider.source_name()}_clone_{sandbox}",
            sandbox,
            1,
            "making",
            now(),
        )

    def let_go(self) -> None:
        for provider in self.opened:
            provider.close()

    def close(self) -> None:
        self.let_go()

    @abstractmethod
    def make(self) -> Provider: ...
    @abstractmethod
    def rows(self, name: str | None) -> list[int]:
        """What the table holds, through the provider's address."""

    @abstractmethod
    def write(self, name: str | None, *values: int) -> None: ...
    @abstractmethod
    def put_foreign(self, name: str) -> None:
        """Something of somebody else's, under that name, with the row 99."""

    @abstractmethod
    def names(self) -> set[str]:
        """All that is there beside the source, whatever it is."""


class SQLiteWorld(World):
    journal = "delete"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with contextlib.closing(sqlite3.connect(folder / "shop.db")) as source:
            source.execute(f"pragma journal_mode = {self.journal}")
            source.execute("create table t (a integer)")
        self.write(None, 1, 2)

    def make(self) -> SQLite:
        return SQLite(SQLiteClone(provider="sqlite", source="shop.db"), self.around())

    def _connect(self, name: str | None) -> sqlite3.Connection:
        return sqlite3.connect(self.provider().address(name), isolation_level=None)

    def rows(self, name: str | None) -> list[int]:
        with contextlib.closing(self._connect(name)) as source:
            return sorted(a for (a,) in source.execute("select a from t"))

    def write(self, name: str | None, *values: int) -> None:
        with contextlib.closing(self._connect(name)) as source:
            source.executemany("insert into t values (?)", [(value,) for value in values])

    def put_foreign(self, name: str) -> None:
        file = Path(self.provider().address(name))
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("create table t as select 99 as a")

    def names(self) -> set[str]:
        folder = self.folder / ".anabranch" / "clones"
        return {file.name for file in folder.iterdir()} if folder.is_dir() else set()


class SQLiteWalWorld(SQLiteWorld):
    journal = "wal"


class DuckDBWorld(SQLiteWorld):
    def __init__(self, folder: Path) -> None:
        World.__init__(self, folder)
        with duckdb.connect(str(folder / "shop.duckdb")) as source:
            source.execute("create table t (a integer)")
        self.write(None, 1, 2)

    def make(self) -> DuckDB:  # type: ignore[override]
        return DuckDB(DuckDBClone(provider="duckdb", source="shop.duckdb"), self.around())

    def rows(self, name: str | None) -> list[int]:
        with duckdb.connect(self.provider().address(name)) as source:
            return sorted(a for (a,) in source.execute("select a from t").fetchall())

    def write(self, name: str | None, *values: int) -> None:
        with duckdb.connect(self.provider().address(name)) as source:
            source.executemany("insert into t values (?)", [(value,) for value in values])

    def put_foreign(self, name: str) -> None:
        file = Path(self.provider().address(name))
        file.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(str(file)) as other:
            other.execute("create table t as select 99 as a")


class PostgresWorld(World):
    level = "database"

    def __init__(self, folder: Path, server: Server) -> None:
        super().__init__(folder)
        self.server = server
        # Tests of one process share a server, and none of them its databases.
        self.database = f"shop_{new_id()}"
        with server.connect() as admin:
            self.before = server.databases()
            admin.execute(f"create database {self.database}")
        with server.connect(self.database) as source:
            source.execute("create table t (a integer)")
        self.write(None, 1, 2)

    def make(self) -> Postgres:
        settings: dict[str, Any] = {"level": self.level}
        source = self.server.url(self.database, password="hunter2")
        return Postgres(PostgresClone(provider="postgres", source=source, **settings), self.around())

    def _do(self, name: str | None, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.provider().address(name), autocommit=True) as connection:
            found = connection.execute(statement, values or None)
            return found.fetchall() if found.description else []

    def rows(self, name: str | None) -> list[int]:
        return sorted(a for (a,) in self._do(name, "select a from t"))

    def write(self, name: str | None, *values: int) -> None:
        self._do(name, "insert into t select unnest(%s::integer[])", list(values))

    def put_foreign(self, name: str) -> None:
        with self.server.connect() as admin:
            admin.execute(f'create database "{name}"')
        self._do(name, "create table t as select 99 as a")

    def names(self) -> set[str]:
        return self.server.databases() - self.before - {self.database}

    def close(self) -> None:
        super().close()
        with self.server.connect() as admin:
            for name in self.server.databases() - self.before:
                admin.execute(f'drop database "{name}" with (force)')


class PostgresSchemaWorld(PostgresWorld):
    level = "schema"

    def put_foreign(self, name: str) -> None:
        with self.server.connect(self.database) as source:
            source.execute(f'create schema "{name}"')
            source.execute(f'create table "{name}".t as select 99 as a')

    def names(self) -> set[str]:
        with self.server.connect(self.database) as source:
            found = source.execute("select nspname from pg_namespace where nspname not like 'pg\\_%'")
            return {name for (name,) in found} - {"public", "information_schema"}


class SnowflakeWorld(World):
    def __init__(self, folder: Path, account: Account) -> None:
        super().__init__(folder)
        self.account = account
        account.mend()
        account.sql("create database PRODUCTION", 'create table "PUBLIC"."T" (a integer)')
        self.write(None, 1, 2)

    def make(self) -> Snowflake:
        connection = {"account": "double", "user": "${SNOWFLAKE_USER}", "password": "${SNOWFLAKE_PASSWORD}"}
        given = {"provider": "snowflake", "source": "production", "connection": connection}
        around = self.around(SNOWFLAKE_USER="loader", SNOWFLAKE_PASSWORD="hunter2")
        return Snowflake(SnowflakeClone.model_validate(given), around)

    def _table(self, name: str | None) -> str:
        return snowflake_name(self.provider().address(name)) + ".PUBLIC.T"

    def rows(self, name: str | None) -> list[int]:
        return sorted(a for (a,) in self.account.sql(f"select a from {self._table(name)}"))

    def write(self, name: str | None, *values: int) -> None:
        rows = ", ".join(f"({value})" for value in values)
        self.account.sql(f"insert into {self._table(name)} values {rows}")

    def put_foreign(self, name: str) -> None:
        self.account.sql(
            f"create database {snowflake_name(name)}", 'create table "PUBLIC"."T" as select 99 as a'
        )

    def names(self) -> set[str]:
        return {row[1] for row in self.account.sql("show databases")} - {"PRODUCTION"}

    def close(self) -> None:
        super().close()
        self.account.mend()
        for name in {row[1] for row in self.account.sql("show databases")}:
            self.account.sql(f"drop database {snowflake_name(name)}")


class LakeFSWorld(World):
    any_name = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.lake = LakeServer("shop", page=3)
        self.write(None, 1, 2)

    def make(self) -> LakeFS:
        given = {
            "provider": "lakefs",
            "source": "shop/main",
            "host": self.lake.url,
            "access_key_id": "${LAKE_KEY}",
            "secret_access_key": "${LAKE_SECRET}",
        }
        return LakeFS(
            LakeFSClone.model_validate(given),
            self.around(LAKE_KEY=self.lake.key, LAKE_SECRET=self.lake.secret),
        )

    def _branch(self, name: str | None) -> str:
        return self.provider().address(name).removeprefix("lakefs://shop/")

    def rows(self, name: str | None) -> list[int]:
        return sorted(int(path) for path in self.lake.holds(self._branch(name)))

    def write(self, name: str | None, *values: int) -> None:
        objects = {str(value): "row" for value in values}
        self.lake.write(self._branch(name), objects, commit=name is None)

    def put_foreign(self, name: str) -> None:
        first = self.lake.ancestors(self.lake.branches["main"].head)[-1]
        self.lake.branches[name] = LakeBranch(first)
        self.lake.write(name, {"99": "row"})

    def names(self) -> set[str]:
        return self.lake.branches.keys() - {"main"}

    def close(self) -> None:
        super().close()
        self.lake.close()


WORLDS: dict[str, Callable[..., World]] = {
    "sqlite": SQLiteWorld,
    "sqlite-wal": SQLiteWalWorld,
    "duckdb": DuckDBWorld,
    "lakefs": LakeFSWorld,
    "postgres": PostgresWorld,
    "postgres-schema": PostgresSchemaWorld,
    "snowflake": SnowflakeWorld,
}
