"""Clones of a Postgres database: a new database made from it as its template, or a copy of one of its schemas beside it.

Postgres makes no database out of one that others are connected to. Whether they are named and waited for, or ended, is for
`connections` in the settings to say; the connections to a *clone* are ended when it is dropped. The database is made under a
name that holds the record's id, gets its mark as a comment, and is renamed in one step: no crash leaves one that could be
anybody's. Postgres 13 and later.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from anabranch.clones.base import CloneRecord, Found, Made, Mark, NameRule, Surroundings, not_ours
from anabranch.clones.naming import postgres_name, postgres_text
from anabranch.errors import CloneBusyError, CloneError
from anabranch.settings.clones import BaseClone, PostgresClone
from anabranch.settings.fields import resolve_references

if TYPE_CHECKING:
    import psycopg

_PARTING = re.compile(r"([\\ \t\n\v\f\r])")
_SECRETS = {"password", "passfile", "sslpassword"}
_LENGTH = 63
_TRIES = 5
_LOCK_TIMEOUT = "30s"
_INTERRUPTED_DROP = -2  # pg_database.datconnlimit of a database whose DROP did not end

_BUILT_ON = """
select distinct pg_describe_object(d.classid, d.objid, d.objsubid)
from pg_depend d
join pg_class r on d.refclassid = 'pg_class'::regclass and r.oid = d.refobjid
join pg_namespace n on n.oid = r.relnamespace
left join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
left join pg_attrdef f on d.classid = 'pg_attrdef'::regclass and f.oid = d.objid
left join pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
left join pg_proc p on d.classid = 'pg_proc'::regclass and p.oid = d.objid
left join pg_class o on o.oid = coalesce(
    w.ev_class, f.adrelid, k.conrelid, case when d.classid = 'pg_class'::regclass then d.objid end)
where n.nspname = %s and d.deptype = 'n' and coalesce(o.relnamespace, p.pronamespace, n.oid) <> n.oid
order by 1
"""
"""What of other schemas depends on a relation of a schema: views, defaults, foreign keys, children, functions."""


class Postgres:
    """A `Provider` for ``provider = "postgres"``."""

    def __init__(self, settings: BaseClone, around: Surroundings) -> None:
        assert isinstance(settings, PostgresClone)
        self._settings = settings
        self._around = around
        self.name_rule = NameRule(_LENGTH)
        self._driver = _driver()
        text = resolve_references(settings.source, around.environ, place=around.place("source"))
        try:
            self._parts: dict[str, Any] = self._driver.conninfo.conninfo_to_dict(text)
        except self._driver.ProgrammingError:
            # Its words hold the text as it stands, with a password in it.
            raise CloneError(
                f"the source of the clone {around.clone} is no URL of Postgres",
                hint="write it like postgresql://user@host/database; in a password, @ and / are written %40 and %2F",
                place=around.place("source"),
            ) from None
        if not self._parts.get("dbname"):
            raise CloneError(
                f"the source of the clone {around.clone} names no database",
                hint="write it like postgresql://user@host/database",
                place=around.place("source"),
            )
        self._whole = settings.level == "database"
        self.cost = (
            "Time and space of the database's files; with Postgres 18 on a copy-on-write file system neither."
            if self._whole
            else "Time and space of the schema's tables and indexes, which are read and written row by row."
        )
        self.locks = (
            "Nobody may be connected to the source while it is copied; whoever comes meanwhile waits."
            if self._whole
            else "Readers and writers of the source go on; changes of its tables' definitions wait for the copy's end."
        )
        self._connections: dict[str, psycopg.Connection[Any]] = {}

    def source_name(self) -> str:
        """The database's name; of a schema's copy, the schema's."""
        return str(self._parts["dbname"]) if self._whole else self._settings.schema_

    def open(self, record: CloneRecord) -> Made:
        """See `Provider.open`."""
        with self._told("made"):
            mark = self._mark_of(record.name)
            if mark == record.mark:
                self._drop_making(record)
                return Made(new=False)
            if self._is_there(record.name):
                raise not_ours(record, f"the {self._what} {record.name}", sandbox=mark and mark.sandbox)
            if not self._whole:
                return self._copy_schema(record)
            how = self._make(record)
            self._rename(record)
            return Made(new=True, how=how)

    def refresh(self, record: CloneRecord) -> Made:
        """See `Provider.refresh`. Connections to the old copy are ended."""
        with self._told("refreshed"):
            mark = self._mark_of(record.name)
            if mark != record.mark and self._is_there(record.name):
                raise not_ours(record, f"the {self._what} {record.name}", sandbox=mark and mark.sandbox)
            if not self._whole:
                return self._copy_schema(record)
            how = self._make(record)
            if mark == record.mark:
                self._run(f"drop database if exists {postgres_name(record.name)} with (force)")
            self._rename(record)
            return Made(new=True, how=how)

    def drop(self, record: CloneRecord) -> bool:
        """See `Provider.drop`. Connections to the copy are ended."""
        with self._told("dropped"):
            was = self._drop_making(record)
            if self._mark_of(record.name) != record.mark:
                return was
            if self._whole:
                self._run(f"drop database if exists {postgres_name(record.name)} with (force)")
            else:
                with self._transaction() as connection:
                    self._drop_schema(connection, record)
            return True

    def exists(self, record: CloneRecord) -> bool:
        """See `Provider.exists`."""
        with self._told("looked for"):
            return self._mark_of(record.name) == record.mark

    def list(self, project: str) -> Sequence[Found]:
        """See `Provider.list`. Neither sizes nor times: Postgres knows these only by looking at all files."""
        found = []
        with self._told("looked for"):
            for name, comment in self._all():
                mark = Mark.parse(comment)
                if mark is not None and (mark.project, mark.clone) == (project, self._around.clone):
                    found.append(Found(name, mark))
        return sorted(found, key=lambda one: one.name)

    def address(self, name: str | None) -> str:
        """A URL: ``address`` of the settings with ``{name}`` in place, else that of the source without its password."""
        bare = self.source_name() if name is None else name
        if self._settings.address is not None:
            place, environ = self._around.place("address"), self._around.environ
            pieces = self._settings.address.split("{name}")
            # Piece by piece: what a variable holds is never taken for a field.
            return quote(bare, safe="").join(resolve_references(p, environ, place=place) for p in pieces)
        parts = {key: value for key, value in self._parts.items() if key not in _SECRETS}
        database = str(parts.pop("dbname"))
        if self._whole:
            database = bare
        else:
            options = f"-csearch_path={_option(postgres_name(bare))}"
            parts["options"] = f"{parts['options']} {options}" if parts.get("options") else options
        return _url(parts, database)

    def close(self) -> None:
        """See `Provider.close`."""
        while self._connections:
            self._connections.popitem()[1].close()

    # one database for another

    def _make(self, record: CloneRecord) -> str:
        """Makes the copy under its provisional name, with its mark. Returns how, in words."""
        self._drop_making(record)
        source, making = postgres_name(self.source_name()), postgres_name(record.making)
        how = self._create(making, source)
        self._like_the_source(making)
        self._run(f"comment on database {making} is {postgres_text(str(record.mark))}")
        return how

    def _create(self, making: str, source: str) -> str:
        version = self._connection.info.server_version
        statement = f"create database {making} template {source}" + (
            " strategy file_copy" if version >= 150000 else ""
        )
        if version >= 180000:
            self._run("set file_copy_method = clone")
            try:
                self._create_alone(statement)
            except self._driver.OperationalError as error:
                # Busy, out of space, …: nothing that another way of copying would change.
                if isinstance(error, self._driver.errors.ObjectInUse) or "clone" not in str(error):
                    raise
            else:
                return "cloned the source's files, which share their blocks where the file system can"
            finally:
                self._run("reset file_copy_method")
        self._create_alone(statement)
        return "copied the source's files"

    def _create_alone(self, statement: str) -> None:
        """Runs it while nobody is connected to the source, as the settings say."""
        for attempt in range(_TRIES):
            present = self._connected()
            if present and self._settings.connections == "refuse":
                raise self._busy(present)
            for pid, *_ in present:
                self._run("select pg_terminate_backend(%s)", pid)
            try:
                self._run(statement)
            except self._driver.errors.ObjectInUse:
                # Somebody came in between; Postgres itself has waited for five seconds.
                present = self._connected()
                if self._settings.connections == "refuse" or attempt == _TRIES - 1:
                    raise self._busy(present) from None
            else:
                return

    def _connected(self) -> Sequence[tuple[Any, ...]]:
        return self._run(
            "select pid, usename, application_name, client_addr::text, state from pg_stat_activity"
            " where datname = %s and pid <> pg_backend_pid() and backend_type not like 'autovacuum%%'"
            " order by backend_start",
            self.source_name(),
        )

    def _busy(self, present: Sequence[tuple[Any, ...]]) -> CloneBusyError:
        told = [
            f"{user or 'a worker'}{f' ({program})' if program else ''}{f' from {address}' if address else ''}"
            f", process {pid}{f', {state}' if state else ''}"
            for pid, user, program, address, state in present
        ]
        many = f"{len(told)} connections" if len(told) != 1 else "a connection"
        return CloneBusyError(
            f"Postgres clones no database that others use, and {self.source_name()} has {many}"
            + (f": {'; '.join(told[:5])}{' …' if len(told) > 5 else ''}" if told else " that come and go"),
            hint=f'close them and try again; or say in [clones.{self._around.clone}]: connections = "terminate",'
            ' or level = "schema", which copies beside others',
            connections=told,
        )

    def _like_the_source(self, making: str) -> None:
        """What a template does not hand on: who may connect, and the settings of the database."""
        source = self.source_name()
        grants = self._run(
            "select a.grantee, r.rolname, a.privilege_type, a.is_grantable, d.datacl is null"
            " from pg_database d left join lateral aclexplode(d.datacl) a on true"
            " left join pg_roles r on r.oid = a.grantee where d.datname = %s",
            source,
        )
        if not any(default for *_, default in grants):
            self._run(f"revoke all on database {making} from public")
            for grantee, role, privilege, grantable, _ in grants:
                if privilege is None or (grantee and role is None):
                    continue
                whom = postgres_name(role) if grantee else "public"
                assert privilege.isalpha()
                self._run(
                    f"grant {privilege} on database {making} to {whom}"
                    + (" with grant option" if grantable else "")
                )
        settings = self._run(
            "select unnest(s.setconfig) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase"
            " where d.datname = %s and s.setrole = 0",
            source,
        )
        for (text,) in settings:
            name, _, value = text.partition("=")
            # One that only a superuser may set is no reason to have no clone.
            with (
                contextlib.suppress(self._driver.errors.InsufficientPrivilege),
                self._transaction() as connection,
            ):
                connection.execute("select set_config(%s, %s, true)", (name, value))
                quoted = ".".join(postgres_name(part) for part in name.split("."))
                connection.execute(f"alter database {making} set {quoted} from current")

    def _rename(self, record: CloneRecord) -> None:
        making, name = postgres_name(record.making), postgres_name(record.name)
        try:
            self._run(f"alter database {making} rename to {name}")
        except self._driver.errors.DuplicateDatabase:
            self._drop_making(record)
            raise not_ours(record, f"the database {record.name}") from None

    def _drop_making(self, record: CloneRecord) -> bool:
        """Drops what a crash has left of the making: its name holds the record's id, which nobody else knows."""
        if not self._whole or not self._is_there(record.making):
            return False
        self._run(f"drop database if exists {postgres_name(record.making)} with (force)")
        return True

    # a schema for another

    def _copy_schema(self, record: CloneRecord) -> Made:
        from anabranch.clones.postgres_schema import copy_schema

        with self._transaction() as connection:
            # One transaction: whoever looks sees the old copy, or the new one, whole and marked.
            connection.execute("set transaction isolation level repeatable read")
            source, name = self.source_name(), postgres_name(record.name)
            if not connection.execute("select 1 from pg_namespace where nspname = %s", (source,)).fetchone():
                raise CloneError(
                    f"{self._parts['dbname']} has no schema {source}", place=self._around.place("schema")
                )
            self._drop_schema(connection, record)
            connection.execute(f"create schema {name}")
            connection.execute(f"comment on schema {name} is {postgres_text(str(record.mark))}")
            copied = copy_schema(connection, source, record.name)
        return Made(new=True, how=copied.how, properties={"left_out": list(copied.left_out)})

    def _drop_schema(self, connection: psycopg.Connection[Any], record: CloneRecord) -> None:
        """Drops our copy, and nothing of others that was built on it: `cascade` would take that along."""
        outside = connection.execute(_BUILT_ON, (record.name,)).fetchall()
        if outside:
            raise CloneError(
                f"{outside[0][0]} was built on the clone {record.name}, and is not part of it",
                hint="drop it, or move it into the clone's schema; then run the same command again",
                outside=[what for (what,) in outside],
            )
        connection.execute(f"drop schema if exists {postgres_name(record.name)} cascade")

    # both

    @property
    def _what(self) -> str:
        return "database" if self._whole else "schema"

    def _all(self) -> Sequence[tuple[Any, ...]]:
        if self._whole:
            return self._run(
                "select datname, shobj_description(oid, 'pg_database') from pg_database"
                f" where datconnlimit <> {_INTERRUPTED_DROP}"
            )
        return self._run("select nspname, obj_description(oid, 'pg_namespace') from pg_namespace")

    def _mark_of(self, name: str) -> Mark | None:
        return next((Mark.parse(comment) for found, comment in self._all() if found == name), None)

    def _is_there(self, name: str) -> bool:
        table, column = ("pg_database", "datname") if self._whole else ("pg_namespace", "nspname")
        return bool(self._run(f"select 1 from {table} where {column} = %s", name))

    @property
    def _connection(self) -> psycopg.Connection[Any]:
        """To the maintenance database for whole databases: one that is cloned must not be connected to."""
        database = self._settings.maintenance_database if self._whole else self._parts["dbname"]
        if database == self.source_name() and self._whole:
            raise CloneError(
                f"{database} can't be cloned from a connection to itself",
                hint="set maintenance_database to another database of the server, such as template1",
                place=self._around.place("maintenance_database"),
            )
        if database not in self._connections:
            self._connections[database] = self._driver.connect(
                **{
                    "connect_timeout": 10,
                    "application_name": "anabranch",
                    **self._parts,
                    "dbname": database,
                },
                autocommit=True,
            )
        return self._connections[database]

    def _run(self, statement: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        cursor = self._connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else ()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        connection = self._connection
        with connection.transaction():
            connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
            yield connection

    @contextlib.contextmanager
    def _told(self, done: str) -> Iterator[None]:
        """Postgres's errors as ours, and no connection kept after one."""
        try:
            yield
        except self._driver.errors.LockNotAvailable as error:
            self.close()
            raise CloneBusyError(
                f"the clone {self._around.clone} can't be {done}: others hold locks for longer than {_LOCK_TIMEOUT}"
                f" ({_first(error)})",
                hint="run the same command again when they have ended",
                connections=[],
            ) from None
        except self._driver.errors.InsufficientPrivilege as error:
            self.close()
            user = self._parts.get("user", "the user")
            raise CloneError(
                f"the clone {self._around.clone} can't be {done}: {_first(error)}",
                hint=f"{user} needs CREATEDB, and to own what is cloned or be a superuser"
                if self._whole
                else f"{user} needs CREATE on the database, and SELECT on the schema's tables",
            ) from None
        except self._driver.Error as error:
            self.close()
            raise CloneError(f"the clone {self._around.clone} can't be {done}: {_first(error)}") from None


def _driver() -> Any:
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError as error:
        raise CloneError(
            f"clones of Postgres need psycopg, which can't be imported: {error}",
            hint="install it: pip install 'anabranch[postgres]'",
        ) from None
    return psycopg


def _url(parts: dict[str, Any], database: str) -> str:
    user = quote(str(parts.pop("user", "")), safe="")
    host, port = str(parts.pop("host", "")), str(parts.pop("port", ""))
    rest = {key: str(value) for key, value in parts.items()}
    at = f"{user}@" if user else ""
    if host.startswith("/") or "," in host or "," in port:  # a socket's folder, or several servers
        rest |= {"host": host} | ({"port": port} if port else {})
        place = at
    else:
        place = at + (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    query = f"?{urlencode(rest, quote_via=quote)}" if rest else ""
    return f"postgresql://{place}/{quote(database, safe='')}{query}"


def _option(text: str) -> str:
    """A value within ``options``, where white space parts words."""
    return _PARTING.sub(r"\\\1", text)


def _first(error: Exception) -> str:
    text = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
