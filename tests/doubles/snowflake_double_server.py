"""The account that `snowflake_double` starts: fakesnow's server, put right where fakesnow is not as Snowflake documents.

Run as a program it serves one account on a free port until its standard input is closed, so that it never outlives whoever
started it. What fakesnow does wrong or not at all, and what is done here instead:

- ``CREATE DATABASE … CLONE`` makes an empty database there; here it copies schemas, tables and views, at a time of the
  past too. So do ``CREATE SCHEMA … CLONE`` and ``CREATE TABLE … CLONE … COPY GRANTS``.
- ``DROP DATABASE``, ``ALTER DATABASE``, ``COMMENT ON DATABASE``, ``GRANT``, ``SHOW GRANTS`` fail there.
- ``SHOW DATABASES`` knows no comments, times and pages there, and reads ``LIKE`` otherwise.
- A missing object is told in Snowflake's own words, which programs look for.
- ``write_pandas`` with ``auto_create_table`` (``INFER_SCHEMA``, ``COPY INTO`` from Parquet) works.
- ``SHOW SCHEMAS`` pays no attention to ``LIKE`` there.
- Connecting makes no database.

Names may hold any characters, but no two may differ in case alone: DuckDB sees no difference.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
import uuid
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import duckdb  # noqa: E402 - the warnings of what follows are not ours
import fakesnow.server as served  # noqa: E402
import sqlglot  # noqa: E402
import uvicorn  # noqa: E402
from fakesnow import info_schema, macros  # noqa: E402
from fakesnow.conn import FakeSnowflakeConnection  # noqa: E402
from fakesnow.cursor import FakeSnowflakeCursor  # noqa: E402
from fakesnow.instance import FakeSnow  # noqa: E402
from fakesnow.transforms import stage  # noqa: E402
from snowflake.connector.errors import ProgrammingError  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import JSONResponse, Response  # noqa: E402
from starlette.routing import Route  # noqa: E402

NAME = r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
DOTTED = rf"{NAME}(?:\.{NAME}){{0,2}}"
TEXT = r"'(?:[^'\\]|''|\\.)*'"
CLONE = rf"CLONE\s+(?P<source>{DOTTED})(?:\s+(?P<when>AT|BEFORE)\s*\(\s*(?P<kind>TIMESTAMP|OFFSET|STATEMENT)\s*=>\s*(?P<moment>.+?)\)(?=\s|$))?"
OPTIONS = (
    rf"(?:\s+DATA_RETENTION_TIME_IN_DAYS\s*=\s*(?P<retention>\d+))?(?:\s+COMMENT\s*=\s*(?P<comment>{TEXT}))?"
)
CREATE = r"CREATE(?P<replace>\s+OR\s+REPLACE)?(?P<transient>\s+TRANSIENT)?"
UNLESS = r"(?P<unless>\s+IF\s+NOT\s+EXISTS)?"
PAGES = rf"(?:\s+LIKE\s+(?P<like>{TEXT}))?(?:\s+STARTS\s+WITH\s+(?P<starts>{TEXT}))?(?:\s+LIMIT\s+(?P<limit>\d+)(?:\s+FROM\s+(?P<after>{TEXT}))?)?"
CHANGES = re.compile(
    r"\s*(?:INSERT\s+(?:OVERWRITE\s+)?INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO|TRUNCATE\s+TABLE|COPY\s+INTO|ALTER\s+TABLE"
    rf"|CREATE(?:\s+OR\s+REPLACE)?(?:\s+\w+)?\s+TABLE(?:\s+IF\s+NOT\s+EXISTS)?)\s+(?P<name>{DOTTED})", re.IGNORECASE
)  # fmt: skip
INSIDE = "ZZ_INSIDE_ZZ"
READS = re.compile(r"\s*(?:--[^\n]*\n\s*)*(SELECT|WITH|SHOW|DESC|DESCRIBE|USE|LIST|LS|EXPLAIN|ALTER\s+SESSION)\b", re.IGNORECASE)  # fmt: skip
SHOWN = [
    "created_on",
    "name",
    "is_default",
    "is_current",
    "origin",
    "owner",
    "comment",
    "options",
    "retention_time",
    "kind",
    "budget",
    "owner_role_type",
    "object_visibility",
]
MAXIMUM = 10_000
"""Rows that SHOW returns at most."""


def pattern(*parts: str) -> re.Pattern[str]:
    """A whole statement, with blanks between its parts."""
    return re.compile("".join(parts) + r"\s*;?\s*", re.IGNORECASE | re.DOTALL)


def fail(message: str, errno: int, state: str) -> ProgrammingError:
    return ProgrammingError(msg=f"SQL compilation error:\n{message}", errno=errno, sqlstate=state)


def missing(kind: str, name: str) -> ProgrammingError:
    return fail(f"{kind} '{name}' does not exist or not authorized.", 2003, "02000")


def there(name: str) -> ProgrammingError:
    return fail(f"Object '{name}' already exists.", 2002, "42710")


def folded(name: str) -> str:
    """What an identifier means: as it is in quotes, else in upper case."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.upper()


def parts_of(dotted: str) -> list[str]:
    return [folded(part) for part in re.findall(NAME, dotted)]


def text_of(literal: str) -> str:
    """What a string constant means."""
    return re.sub(r"\\(.)|''", lambda m: m[1] or "'", literal[1:-1])


def duck(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def within(sql: str, name: str) -> str:
    """fakesnow's SQL for a database, with any name in it."""
    return sql.replace(f"'{INSIDE}'", quoted(name)).replace(INSIDE, duck(name))


def like(pattern_text: str) -> re.Pattern[str]:
    """SHOW … LIKE: any case, % and _ are wild unless a backslash stands before them."""
    out = ""
    for one in re.findall(r"\\.|.", pattern_text, re.DOTALL):
        out += ".*" if one == "%" else "." if one == "_" else re.escape(one[-1])
    return re.compile(out, re.IGNORECASE | re.DOTALL)


@dataclass
class Database:
    """What Snowflake knows of a database beside its content."""

    created: datetime
    comment: str = ""
    retention: int = 1
    transient: bool = False
    owner: str = "SYSADMIN"
    past: list[tuple[datetime, str]] = field(default_factory=list)
    altered: dict[tuple[str, str], datetime] = field(default_factory=dict)


@dataclass
class Fault:
    """A statement that is to fail: before it is done, after it, or so that the connection breaks."""

    pattern: re.Pattern[str]
    times: int
    after: bool
    drop: bool
    errno: int
    message: str


class Account(FakeSnow):
    """One account, in memory."""

    def __init__(self) -> None:
        super().__init__(create_database_on_connect=False, create_schema_on_connect=False)
        self.databases: dict[str, Database] = {}
        self.roles = {"ACCOUNTADMIN", "SYSADMIN", "PUBLIC"}
        self.grants: list[tuple[str, str, str, str]] = []
        self.log: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.history = False
        self._number = 0

    def connect(
        self, database: str | None = None, schema: str | None = None, **rest: Any
    ) -> FakeSnowflakeConnection:
        return Connection(
            self,
            self.duck_conn.cursor(),
            self.results_cache,
            database,
            schema,
            create_database=False,
            create_schema=False,
            nop_regexes=rest.get("nop_regexes"),
            autocommit=rest.get("autocommit", True),
        )

    # what there is

    def do(self, sql: str) -> list[tuple[Any, ...]]:
        """Runs something in DuckDB, in a connection of its own."""
        with self.duck_conn.cursor() as cursor:
            return cursor.execute(sql).fetchall()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def database(self, name: str) -> Database:
        if name not in self.databases:
            raise missing("Database", name)
        return self.databases[name]

    def schemas(self, database: str) -> list[str]:
        hidden = ("main", "_fs_information_schema", "information_schema", "pg_catalog")
        rows = self.do(f"select schema_name from duckdb_schemas() where database_name = {quoted(database)}")
        return sorted(name for (name,) in rows if name not in hidden)

    def tables(self, database: str, schema: str) -> list[str]:
        rows = self.do(
            f"select table_name from duckdb_tables() where database_name = {quoted(database)} and schema_name = {quoted(schema)}"
        )
        return sorted(name for (name,) in rows)

    # making and removing

    def attach(self, name: str, source: str | None) -> None:
        """A database with the content of another, or an empty one."""
        same = [other for other in self.databases if other.lower() == name.lower() and other != name]
        if same or name.lower() in ("temp", "system", "memory", "main"):
            raise fail(f"the double can't hold {name!r} beside {same}", 9999, "99999")
        self.do(f"ATTACH DATABASE ':memory:' AS {duck(name)}")
        if source is not None:
            self.do(f"COPY FROM DATABASE {duck(source)} TO {duck(name)}")
            self.do(f"DROP SCHEMA {duck(name, '_fs_information_schema')} CASCADE")
        elif not name.startswith("_past_"):
            self.do(within(macros.creation_sql(INSIDE), name))
        if not name.startswith("_past_"):
            self.do(within(info_schema.per_db_creation_sql(INSIDE), name))
            if source is None:
                self.do(f"CREATE SCHEMA {duck(name, 'PUBLIC')}")

    def detach(self, name: str) -> None:
        self.do(f"DETACH {duck(name)}")

    def remember(self) -> None:
        """Keeps what every database holds now, as Time Travel does."""
        if not self.history:
            return
        for name, its in self.databases.items():
            self._number += 1
            kept = f"_past_{self._number}"
            self.do(f"ATTACH DATABASE ':memory:' AS {duck(kept)}")
            self.do(f"COPY FROM DATABASE {duck(name)} TO {duck(kept)}")
            its.past.append((self.now(), kept))

    def at(self, database: str, moment: datetime) -> str:
        """The database that holds what another held at a time."""
        its = self.database(database)
        if moment < its.created or moment > self.now():
            raise fail(
                f"Time travel data is not available for database {database}. The requested time is either beyond the"
                " allowed time travel period or before the object creation time.",
                707,
                "02000",
            )
        return next((kept for until, kept in its.past if until > moment), database)

    def page(self, match: re.Match[str]) -> list[str]:
        """The databases that SHOW names."""
        names = sorted(self.databases)
        if match["like"]:
            names = [name for name in names if like(text_of(match["like"])).fullmatch(name)]
        if match["starts"]:
            names = [name for name in names if name.startswith(text_of(match["starts"]))]
        if match["after"]:
            names = [name for name in names if name > text_of(match["after"])]
        return names[: min(int(match["limit"] or MAXIMUM), MAXIMUM)]


class Connection(FakeSnowflakeConnection):
    """A session."""

    def __init__(self, account: Account, *arguments: Any, **rest: Any) -> None:
        super().__init__(*arguments, **rest)
        self.account = account

    def cursor(self, cursor_class: Any = None) -> FakeSnowflakeCursor:
        return Cursor(conn=self, duck_conn=self._duck_conn)


class Cursor(FakeSnowflakeCursor):
    """Statements that fakesnow does not know, done here; all others are fakesnow's."""

    _conn: Connection

    def execute(self, command: str, params: Any = None, *arguments: Any, **rest: Any) -> Any:
        account = self._conn.account
        with account.lock:
            account.log.append({"sql": command, "database": self._conn.database, "schema": self._conn.schema})
            fault = next((f for f in account.faults if f.times and f.pattern.search(command)), None)
            if fault is not None:
                fault.times -= 1
                if not fault.after:
                    self._break(fault)
            given = rest.get("binding_params")
            if not READS.match(command):
                account.remember()
            try:
                if not self._own(command, list(given) if given else []):
                    if isinstance(given, tuple):
                        command, rest["binding_params"] = named(command, list(given))
                    super().execute(command, params, *arguments, **rest)
            except ProgrammingError as error:
                raise in_snowflakes_words(error) from None
            self._altered(command, list(given) if given else [])
            if fault is not None:
                self._break(fault)
            return self

    def _altered(self, command: str, given: list[Any]) -> None:
        """Notes when a table was changed."""
        match = CHANGES.match(named(command, given)[0] if given else command)
        if match is not None:
            with contextlib.suppress(ProgrammingError):
                database, schema, table = self._full(match["name"], 3)
                self._conn.account.database(database).altered[schema, table] = self._conn.account.now()

    def _show_altered(self, match: re.Match[str], _: list[Any]) -> None:
        account = self._conn.account
        database = folded(match["name"])
        its = account.database(database)
        wanted = [text_of(one) for one in re.findall(TEXT, match["schemas"])]
        found = [
            f"({quoted(s)}, {quoted(t)}, TIMESTAMPTZ '{its.altered.get((s, t), its.created).isoformat()}')"
            for s in wanted for t in account.tables(database, s)
        ]  # fmt: skip
        columns = "TABLE_SCHEMA, TABLE_NAME, LAST_ALTERED"
        rows = [*found, "(NULL::VARCHAR, NULL::VARCHAR, NULL::TIMESTAMPTZ)"]
        self._answer(f"SELECT * FROM (VALUES {', '.join(rows)}) AS t({columns}) WHERE TABLE_NAME IS NOT NULL")

    def _break(self, fault: Fault) -> None:
        if fault.drop:
            os._exit(9)
        raise ProgrammingError(msg=fault.message, errno=fault.errno, sqlstate="57014")

    def _own(self, command: str, given: list[Any]) -> bool:
        text = re.sub(r"/\*.*?\*/", " ", command, flags=re.DOTALL).strip()
        for known, method in STATEMENTS:
            match = known.fullmatch(text)
            if match is not None:
                method(self, match, given)
                return True
        return False

    def _answer(self, sql: str) -> None:
        """Sets a query of DuckDB as this statement's result."""
        self._duck_conn.execute(sql)
        self._arrow_table = self._duck_conn.to_arrow_table()
        self._arrow_table_fetch_index = None
        self._rowcount = self._arrow_table.num_rows
        self._sfqid = str(uuid.uuid4())
        self._last_sql, self._last_params = sql, None
        self._last_transformed = sqlglot.parse_one("SELECT 1", read="duckdb")
        kept = (self._arrow_table, self._rowcount, sql, None, self._last_transformed)
        self._conn.results_cache[self._sfqid] = kept

    def _status(self, sentence: str) -> None:
        self._answer("SELECT '" + sentence.replace("'", "''") + "' AS status")

    def _moment(self, match: re.Match[str]) -> datetime | None:
        """The time that a clone is to be of."""
        if not match["when"]:
            return None
        if match["when"].upper() != "AT" or match["kind"].upper() == "STATEMENT":
            raise fail("the double knows AT (TIMESTAMP => …) and AT (OFFSET => …)", 9999, "99999")
        with self._conn.account.connect() as session:
            cursor = FakeSnowflakeCursor(session, session._duck_conn)
            if match["kind"].upper() == "OFFSET":
                cursor.execute(f"SELECT {match['moment']}")
                seconds = float(cursor.fetchone()[0])
                return datetime.fromtimestamp(time.time() + seconds, UTC)
            cursor.execute(f"SELECT {match['moment']}")
            found = cursor.fetchone()[0]
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def _full(self, dotted: str, count: int) -> list[str]:
        """A dotted name with the session's database and schema before it."""
        parts = parts_of(dotted)
        current = [self._conn.database, self._conn.schema][: count - 1]
        found = [*current[: count - len(parts)], *parts]
        if len(found) != count or None in found:
            raise fail(f"{dotted} is not qualified, and the session has no current database", 90105, "22000")
        return found

    # databases

    def _create_database(self, match: re.Match[str], _: list[Any]) -> None:
        account = self._conn.account
        name = folded(match["name"])
        replaced = match["replace"] and name in account.databases
        if name in account.databases and not replaced:
            if match["unless"]:
                return self._status(f"{name} already exists, statement succeeded.")
            raise there(name)
        source = match["source"] and folded(match["source"])
        origin = account.database(source) if source else None
        moment = self._moment(match) if source else None
        held = account.at(source, moment) if source and moment else source
        own = source == name
        if own:
            account.attach("_past_own", held)
            held = "_past_own"
        if replaced:
            account.detach(name)
            account.grants = [grant for grant in account.grants if grant[2] != name]
        account.attach(name, held)
        if own:
            account.detach("_past_own")
        retention = match["retention"]
        account.databases[name] = Database(
            account.now(),
            text_of(match["comment"]) if match["comment"] else origin.comment if origin else "",
            int(retention) if retention else origin.retention if origin else 1,
            bool(match["transient"]) or bool(origin and origin.transient),
        )
        if source:
            # A clone has its children's grants, and none of its own.
            copies = [(p, k, o.replace(f"{source}.", f"{name}.", 1), r) for p, k, o, r in account.grants if o.startswith(f"{source}.")]  # fmt: skip
            account.grants.extend(copies)
        self._use(name)
        return self._status(f"Database {name} successfully created.")

    def _use(self, name: str) -> None:
        """What is made becomes current."""
        has = "PUBLIC" in self._conn.account.schemas(name)
        self._duck_conn.execute(f"USE {duck(name, 'PUBLIC' if has else 'main')}")
        self._conn.database, self._conn.database_set = name, True
        self._conn._schema, self._conn.schema_set = ("PUBLIC", True) if has else (None, False)

    def _drop_database(self, match: re.Match[str], _: list[Any]) -> None:
        account = self._conn.account
        name = folded(match["name"])
        if name not in account.databases:
            if match["if"]:
                return self._status(f"Drop statement executed successfully ({name} already dropped).")
            raise missing("Database", name)
        if self._conn.database == name:
            self._duck_conn.execute("USE memory")
            self._conn.database, self._conn.database_set = None, False
            self._conn._schema, self._conn.schema_set = None, False
        account.detach(name)
        del account.databases[name]
        account.grants = [g for g in account.grants if g[2] != name and not g[2].startswith(f"{name}.")]
        return self._status(f"{name} successfully dropped.")

    def _rename_database(self, match: re.Match[str], _: list[Any]) -> None:
        account = self._conn.account
        old, new = folded(match["name"]), folded(match["new"])
        its = account.database(old)
        if new in account.databases:
            raise there(new)
        account.attach(new, old)
        account.detach(old)
        account.databases[new] = its
        del account.databases[old]
        account.grants = [
            (
                p,
                k,
                new if o == old else o.replace(f"{old}.", f"{new}.", 1) if o.startswith(f"{old}.") else o,
                r,
            )
            for p, k, o, r in account.grants
        ]
        self._status("Statement executed successfully.")

    def _comment(self, match: re.Match[str], _: list[Any]) -> None:
        groups = match.groupdict()
        its = self._conn.account.database(folded(match["name"]))
        its.comment = text_of(groups["comment"]) if groups.get("comment") else ""
        self._status("Statement executed successfully.")

    def _show_databases(self, match: re.Match[str], _: list[Any]) -> None:
        account = self._conn.account
        rows = []
        for name in account.page(match):
            its = account.databases[name]
            current = "Y" if name == self._conn.database else "N"
            options = "TRANSIENT" if its.transient else ""
            plain = [name, "N", current, "", its.owner, its.comment, options, str(its.retention), "STANDARD"]
            cells = ", ".join("'" + cell.replace("'", "''") + "'" for cell in plain)
            rows.append(
                f"(TIMESTAMPTZ '{its.created.isoformat()}', {cells}, NULL::VARCHAR, 'ROLE', NULL::VARCHAR)"
            )
        empty = "(NULL::TIMESTAMPTZ" + ", NULL::VARCHAR" * (len(SHOWN) - 1) + ")"
        columns = ", ".join(SHOWN)
        self._answer(
            f"SELECT * FROM (VALUES {', '.join([*rows, empty])}) AS t({columns}) WHERE name IS NOT NULL ORDER BY name"
        )

    # schemas and tables

    def _show_schemas(self, match: re.Match[str], _: list[Any]) -> None:
        account = self._conn.account
        database = folded(match["name"]) if match["name"] else self._conn.database
        if database is None:
            raise fail("the session has no current database", 90105, "22000")
        its = account.database(database)
        wanted = like(text_of(match["like"])) if match["like"] else None
        names = [
            n for n in ["INFORMATION_SCHEMA", *account.schemas(database)] if not wanted or wanted.fullmatch(n)
        ]
        columns = "created_on, name, is_default, is_current, database_name, owner, comment, options, retention_time, owner_role_type"
        database = database.replace("'", "''")
        made = f"TIMESTAMPTZ '{its.created.isoformat()}'"
        rows = [f"({made}, '{n}', 'N', 'N', '{database}', '{its.owner}', '', '', '1', 'ROLE')" for n in names]
        empty = f"({made}" + ", NULL" * 9 + ")"
        self._answer(
            f"SELECT * FROM (VALUES {', '.join([*rows, empty])}) AS t({columns}) WHERE name IS NOT NULL ORDER BY name"
        )

    def _create_schema(self, match: re.Match[str], _: list[Any]) -> None:
        account = self._conn.account
        database, schema = self._full(match["name"], 2)
        from_database, from_schema = self._full(match["source"], 2)
        account.database(database)
        if from_schema not in account.schemas(from_database):
            raise missing("Schema", f"{from_database}.{from_schema}")
        if schema in account.schemas(database):
            if match["unless"]:
                return self._status(f"{schema} already exists, statement succeeded.")
            if not match["replace"]:
                raise there(schema)
            account.do(f"DROP SCHEMA {duck(database, schema)} CASCADE")
        moment = self._moment(match)
        held = account.at(from_database, moment) if moment else from_database
        account.do(f"CREATE SCHEMA {duck(database, schema)}")
        for table in account.tables(held, from_schema):
            account.do(
                f"CREATE TABLE {duck(database, schema, table)} AS FROM {duck(held, from_schema, table)}"
            )
        return self._status(f"Schema {schema} successfully created.")

    def _create_table(self, match: re.Match[str], _: list[Any]) -> None:
        account = self._conn.account
        target, source = self._full(match["name"], 3), self._full(match["source"], 3)
        account.database(target[0])
        account.database(source[0])
        if target[1] not in account.schemas(target[0]):
            raise missing("Schema", ".".join(target[:2]))
        moment = self._moment(match)
        held = account.at(source[0], moment) if moment else source[0]
        if source[1] not in account.schemas(held) or source[2] not in account.tables(held, source[1]):
            raise missing("Object", ".".join(source))
        old = target[2] in account.tables(target[0], target[1])
        if old and match["unless"]:
            return self._status(f"{target[2]} already exists, statement succeeded.")
        if old and not match["replace"]:
            raise there(target[2])
        name, origin = ".".join(target), ".".join(source)
        # In one transaction, as Snowflake does it.
        account.do(f"CREATE OR REPLACE TABLE {duck(*target)} AS FROM {duck(held, *source[1:])}")
        model = name if old else origin
        kept = [(p, k, name, r) for p, k, o, r in account.grants if o == model] if match["copy"] else []
        account.grants = [grant for grant in account.grants if grant[2] != name] + kept
        return self._status(f"Table {target[2]} successfully created.")

    # roles

    def _create_role(self, match: re.Match[str], _: list[Any]) -> None:
        self._conn.account.roles.add(folded(match["name"]))
        self._status(f"Role {folded(match['name'])} successfully created.")

    def _grant(self, match: re.Match[str], _: list[Any]) -> None:
        account = self._conn.account
        role = folded(match["role"])
        if role not in account.roles:
            raise missing("Role", role)
        kind = re.sub(r"\s+", " ", match["kind"].upper())
        names = parts_of(match["name"])
        account.database(names[0])
        target = ".".join(names)
        for privilege in match["privileges"].upper().split(","):
            grant = (privilege.strip(), kind, target, role)
            if grant not in account.grants:
                account.grants.append(grant)
        self._status("Statement executed successfully.")

    def _show_grants(self, match: re.Match[str], _: list[Any]) -> None:
        account = self._conn.account
        target = ".".join(parts_of(match["name"]))
        account.database(target.partition(".")[0])
        rows = [
            f"('{p}', '{k}', {quoted(o)}, 'ROLE', {quoted(r)})"
            for p, k, o, r in account.grants
            if o == target
        ]
        columns = "privilege, granted_on, name, granted_to, grantee_name"
        empty = "(NULL::VARCHAR, NULL, NULL, NULL, NULL)"
        self._answer(
            f"SELECT * FROM (VALUES {', '.join([*rows, empty])}) AS t({columns}) WHERE name IS NOT NULL"
        )

    # write_pandas

    def _staged(self, location: str) -> str:
        """The files of a stage, as DuckDB reads them."""
        database, schema, name = self._full(location.removeprefix("@"), 3)
        folder = stage.internal_dir(f"{database}.{schema}.{name}")
        # The connector calls Parquet files .txt.
        return f"read_parquet('{folder}/*')"

    def _infer(self, _: re.Match[str], given: list[Any]) -> None:
        kinds = {
            "BIGINT": "NUMBER(38, 0)", "INTEGER": "NUMBER(38, 0)", "SMALLINT": "NUMBER(38, 0)", "TINYINT": "NUMBER(38, 0)",
            "UBIGINT": "NUMBER(38, 0)", "DOUBLE": "REAL", "FLOAT": "REAL", "BOOLEAN": "BOOLEAN", "DATE": "DATE",
            "TIMESTAMP": "TIMESTAMP_NTZ", "TIMESTAMP_NS": "TIMESTAMP_NTZ", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_TZ",
            "TIME": "TIME", "BLOB": "BINARY", "VARCHAR": "TEXT",
        }  # fmt: skip
        with self._conn.account.duck_conn.cursor() as cursor:
            found = cursor.execute(f"DESCRIBE SELECT * FROM {self._staged(given[0])}").fetchall()
        told = [
            (row[0], kinds.get(row[1].upper(), row[1] if row[1].startswith("DECIMAL") else "VARIANT"))
            for row in found
        ]
        rows = ", ".join(
            "(" + ", ".join("'" + cell.replace("'", "''") + "'" for cell in row) + ")" for row in told
        )
        self._answer(f'SELECT * FROM (VALUES {rows}) AS t("COLUMN_NAME", "TYPE")')

    def _copy_parquet(self, match: re.Match[str], given: list[Any]) -> None:
        database, schema, table = self._full(given[0], 3)
        if table not in self._conn.account.tables(database, schema):
            raise missing("Table", table)
        columns = [folded(name) for name in re.findall(NAME, match["columns"])]
        fields = [folded(name) for name in re.findall(rf"\$1:({NAME})", match["fields"])]
        source = self._staged(text_of(match["stage"]))
        chosen = ", ".join(duck(name) for name in fields)
        into = ", ".join(duck(name) for name in columns)
        # In the session, so that it is part of its transaction.
        self._duck_conn.execute(
            f"INSERT INTO {duck(database, schema, table)} ({into}) SELECT {chosen} FROM {source}"
        )
        count = self._duck_conn.fetchall()[0][0]
        self._answer(
            f"SELECT 'file0.txt' AS file, 'LOADED' AS status, {count}::BIGINT AS rows_parsed, {count}::BIGINT AS rows_loaded"
        )


STATEMENTS = [
    (pattern(CREATE, r"\s+DATABASE", UNLESS, rf"\s+(?P<name>{NAME})", rf"(?:\s+{CLONE})?", OPTIONS), Cursor._create_database),
    (pattern(r"DROP\s+DATABASE(?P<if>\s+IF\s+EXISTS)?", rf"\s+(?P<name>{NAME})", r"(?:\s+(?:CASCADE|RESTRICT))?"), Cursor._drop_database),
    (pattern(r"ALTER\s+DATABASE(?:\s+IF\s+EXISTS)?", rf"\s+(?P<name>{NAME})\s+RENAME\s+TO\s+(?P<new>{NAME})"), Cursor._rename_database),
    (pattern(r"ALTER\s+DATABASE(?:\s+IF\s+EXISTS)?", rf"\s+(?P<name>{NAME})\s+SET\s+COMMENT\s*=\s*(?P<comment>{TEXT})"), Cursor._comment),
    (pattern(r"ALTER\s+DATABASE(?:\s+IF\s+EXISTS)?", rf"\s+(?P<name>{NAME})\s+UNSET\s+COMMENT"), Cursor._comment),
    (pattern(r"COMMENT(?:\s+IF\s+EXISTS)?\s+ON\s+DATABASE", rf"\s+(?P<name>{NAME})\s+IS\s+(?P<comment>{TEXT})"), Cursor._comment),
    (pattern(r"SHOW\s+DATABASES", PAGES), Cursor._show_databases),
    (pattern(rf"SHOW\s+SCHEMAS(?:\s+LIKE\s+(?P<like>{TEXT}))?(?:\s+IN\s+(?:DATABASE\s+)?(?P<name>{NAME}))?"), Cursor._show_schemas),
    (pattern(CREATE, r"\s+SCHEMA", UNLESS, rf"\s+(?P<name>{DOTTED})", rf"\s+{CLONE}"), Cursor._create_schema),
    (pattern(CREATE, r"\s+TABLE", UNLESS, rf"\s+(?P<name>{DOTTED})", rf"\s+{CLONE}", r"(?P<copy>\s+COPY\s+GRANTS)?"), Cursor._create_table),
    (pattern(rf"CREATE\s+ROLE(?:\s+IF\s+NOT\s+EXISTS)?\s+(?P<name>{NAME})"), Cursor._create_role),
    (pattern(rf"GRANT\s+(?P<privileges>[\w\s,]+?)\s+ON\s+(?P<kind>[A-Z\s]+?)\s+(?P<name>{DOTTED})\s+TO\s+ROLE\s+(?P<role>{NAME})"), Cursor._grant),
    (pattern(rf"SHOW\s+GRANTS\s+ON\s+\w+\s+(?P<name>{DOTTED})"), Cursor._show_grants),
    (pattern(rf"SELECT TABLE_SCHEMA, TABLE_NAME, LAST_ALTERED FROM (?P<name>{NAME})\.INFORMATION_SCHEMA\.TABLES WHERE TABLE_SCHEMA IN \((?P<schemas>.*)\) AND TABLE_TYPE = 'BASE TABLE'"), Cursor._show_altered),
    (pattern(r"SELECT\s+COLUMN_NAME,\s*TYPE\s+FROM\s+table\(infer_schema\(location=>\?,\s*file_format=>\?\)\)"), Cursor._infer),
    (pattern(rf"COPY\s+INTO\s+identifier\(\?\)\s+\((?P<columns>.*?)\)\s+FROM\s+\(SELECT\s+(?P<fields>.*?)\s+FROM\s+(?P<stage>{TEXT})\)\s+FILE_FORMAT=\(TYPE=PARQUET.*"), Cursor._copy_parquet),
]  # fmt: skip


def named(command: str, given: list[Any]) -> tuple[str, tuple[Any, ...]]:
    """A statement with what is bound to ``identifier(?)`` in its place; fakesnow forgets the quotes of dotted names."""
    out, rest = "", []
    for piece in re.split(r"(identifier\(\?\)|\?)", command, flags=re.IGNORECASE):
        if piece == "?":
            rest.append(given.pop(0))
        out += given.pop(0) if piece.lower() == "identifier(?)" else piece
    return out, tuple(rest)


def in_snowflakes_words(error: ProgrammingError) -> ProgrammingError:
    """DuckDB's sentence of a missing object, as Snowflake says it: programs look for these words."""
    found = re.search(r"(Table|View|Schema|Object) with name (\S+) does not exist", str(error.msg))
    return missing("Object", found[2].strip("\"'!")) if found else error


# the server


account = Account()
served.shared_fs = account


async def told(request: Request) -> Response:
    """What was asked of the account, from some place on."""
    since = int(request.query_params.get("since", "0"))
    return JSONResponse(account.log[since:])


async def fault(request: Request) -> Response:
    """How statements fail from now on."""
    wanted = json.loads(await request.body())
    if wanted is None:
        account.faults.clear()
        return JSONResponse({})
    known = re.compile(wanted.pop("pattern"), re.IGNORECASE | re.DOTALL)
    account.faults.append(Fault(known, **wanted))
    return JSONResponse({})


async def history(request: Request) -> Response:
    """Keeps what databases hold from now on, for AT."""
    account.history = json.loads(await request.body())
    return JSONResponse({})


async def login(request: Request) -> Response:
    """As fakesnow, but a password of ``wrong`` is one."""
    import gzip

    body = await request.body()
    plain = gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body
    data = json.loads(plain)["data"]
    shown = {k: data.get(k) for k in ("LOGIN_NAME", "AUTHENTICATOR", "ACCOUNT_NAME")}
    asked = {k: request.query_params.get(k) for k in ("databaseName", "schemaName", "warehouse", "roleName")}
    account.log.append({"login": shown | asked})
    if data.get("PASSWORD") == "wrong":
        message = "Incorrect username or password was specified."
        return JSONResponse({"data": {}, "code": "390100", "message": message, "success": False})
    return await served.login_request(request)


def main() -> None:
    """Serves until standard input ends; the first line printed is the port."""
    routes = [
        Route("/session/v1/login-request", login, methods=["POST"]),
        Route("/double/log", told),
        Route("/double/fault", fault, methods=["POST"]),
        Route("/double/history", history, methods=["POST"]),
    ]
    served.app.router.routes[:0] = routes
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(served.app, log_level="critical", lifespan="off"))

    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    listening.listen(64)
    print(listening.getsockname()[1], flush=True)
    server.run(sockets=[listening])


if __name__ == "__main__":
    assert duckdb
    assert Path
    main()
