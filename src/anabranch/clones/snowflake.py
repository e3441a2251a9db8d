"""Clones of a Snowflake database: zero-copy ``CREATE DATABASE … CLONE``, which takes neither time nor space for the data.

A copy is made under a name that holds the record's id, with its mark as its comment in the very statement that makes it;
it gets its grants, and then its name, in one step. What is made anew keeps its name and is replaced by one statement. All
of it is done by Snowflake's cloud services: no warehouse is needed but for `promote`, which asks the information schema.

Knows nothing of sandboxes but the record. The connector is imported when it is first connected, which takes half a second.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from anabranch.clones.base import CloneRecord, Found, Made, Mark, NameRule, Surroundings, not_ours
from anabranch.clones.naming import snowflake_name, snowflake_text
from anabranch.dataclass import dataclass
from anabranch.errors import CloneError, ConflictError
from anabranch.settings.clones import BaseClone, SnowflakeClone
from anabranch.settings.fields import resolve_references

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_PAGE = 5000  # SHOW answers with ten thousand rows at most
_MISSING, _THERE, _DENIED, _TOO_OLD, _NO_WAREHOUSE = 2003, 2002, 3001, 707, 606
_SESSION = "anabranch"


@dataclass(frozen=True)
class _Database:
    name: str
    comment: str
    created: datetime | None


@dataclass(frozen=True)
class TablePromotion:
    """One table that goes from a copy back into its source.

    Attributes:
        table: ``SCHEMA.TABLE``, as SQL reads it: upper case unless in double quotes.
        statement: What replaces it, in one transaction of its own.
        changed: When the source's table was changed since the copy was made (UTC), or None.
    """

    table: str
    statement: str
    changed: datetime | None = None


class Snowflake:
    """A `Provider` for ``provider = "snowflake"``."""

    cost = (
        "Metadata only: seconds for thousands of tables, and no storage until one side changes its data. What is"
        " dropped or replaced is kept, and paid for, through its Time Travel and Fail-safe."
    )
    locks = (
        "Nothing: the source is read and written meanwhile. Changes of its tables' definitions while it is cloned"
        " may make the clone fail, and then it is tried again by hand."
    )

    def __init__(self, settings: BaseClone, around: Surroundings) -> None:
        assert isinstance(settings, SnowflakeClone)
        self._settings = settings
        self._around = around
        self.name_rule = NameRule(255, upper=True)
        text = resolve_references(settings.source, around.environ, place=around.place("source"))
        self._source = _identifier(text, around)
        self._connection: SnowflakeConnection | None = None
        self._secrets: list[str] = []

    def source_name(self) -> str:
        """The database's name, as Snowflake stores it."""
        return self._source

    def open(self, record: CloneRecord) -> Made:
        """See `Provider.open`."""
        with self._told("made"):
            found = self._find(record.name)
            if found is not None:
                if _id_of(found) != record.id:
                    raise _not_ours(record, found)
                self._drop_making(record)
                return Made(new=False)
            making = snowflake_name(record.making)
            self._run(self._create(making, record))
            self._grant(making)
            self._run(f"ALTER DATABASE {making} RENAME TO {snowflake_name(record.name)}")
            return Made(new=True, how=self._how())

    def refresh(self, record: CloneRecord) -> Made:
        """See `Provider.refresh`. Whoever reads the copy sees the old one until the new one is there."""
        with self._told("refreshed"):
            found = self._find(record.name)
            if found is not None and _id_of(found) != record.id:
                raise _not_ours(record, found)
            name = snowflake_name(record.name)
            self._run(self._create(name, record))
            self._grant(name)
            self._drop_making(record)
            return Made(new=True, how=self._how())

    def drop(self, record: CloneRecord) -> bool:
        """See `Provider.drop`."""
        with self._told("dropped"):
            was = self._drop_making(record)
            found = self._find(record.name)
            if found is None or _id_of(found) != record.id:
                return was
            self._run(f"DROP DATABASE IF EXISTS {snowflake_name(record.name)}")
            return True

    def exists(self, record: CloneRecord) -> bool:
        """See `Provider.exists`."""
        with self._told("looked for"):
            found = self._find(record.name)
            return found is not None and _id_of(found) == record.id

    def list(self, project: str) -> Sequence[Found]:
        """See `Provider.list`. Of databases that the role may see; sizes are not known without a warehouse."""
        found = []
        with self._told("looked for"):
            for one in self._databases():
                mark = Mark.parse(one.comment)
                if mark is not None and (mark.project, mark.clone) == (project, self._around.clone):
                    found.append(Found(one.name, mark, created_at=one.created))
        return sorted(found, key=lambda one: one.name)

    def address(self, name: str | None) -> str:
        """The database's name."""
        return self._source if name is None else name

    def close(self) -> None:
        """See `Provider.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # back into the source

    def check_publish(self, record: CloneRecord) -> None:
        """See `Publisher.check_publish`: for the tables that ``promote`` names."""
        begun, known = _kept(record)
        self._refuse_changed(record, self.plan_promotion(record, self._settings.promote, known), begun)

    def publish(self, record: CloneRecord, keep: Callable[[Mapping[str, Any]], None]) -> Sequence[str]:
        """See `Publisher.publish`: for the tables that ``promote`` names."""
        tables = self._settings.promote
        begun, known = _kept(record)
        told = {table: moment.isoformat() for table, moment in known.items()}

        def begin(table: str) -> None:
            begun.add(table)
            keep({"begun": sorted(begun), "known": told})

        plan = self.promote(record, tables, begun=begun, begin=begin, known=known)
        names = {table: _table(table) for table in tables}
        with self._told("promoted from"):
            altered = self._altered(self._source, sorted({schema for schema, _ in names.values()}))
        # What these changes were is no change of somebody else's.
        told = {
            table: at.isoformat() for table, name in names.items() if (at := altered.get(name)) is not None
        }
        keep({"begun": [], "known": told})
        return tuple(f"{self._source}.{one.table}" for one in plan)

    def plan_promotion(
        self, record: CloneRecord, tables: Sequence[str], known: Mapping[str, datetime] | None = None
    ) -> tuple[TablePromotion, ...]:
        """What `promote` would do. Needs a warehouse, for it asks the information schema of both databases.

        Args:
            record: The copy's.
            tables: ``SCHEMA.TABLE`` each, as SQL reads it.
            known: Table → until when its changes are known to be our own, from an earlier promotion.

        Raises:
            CloneError: the copy is not there, or not ours; a name is none; or the copy has no such table.
        """
        names = {table: _table(table) for table in tables}
        with self._told("promoted from"):
            found = self._find(record.name)
            if found is None or _id_of(found) != record.id:
                raise CloneError(
                    f"the clone {record.name} is not there, or is not the one of {record.sandbox}",
                    hint="anabranch run makes it again",
                )
            schemas = sorted({schema for schema, _ in names.values()})
            own = self._altered(record.name, schemas)
            theirs = self._altered(self._source, schemas)
        missing = [table for table, name in names.items() if name not in own]
        if missing:
            raise CloneError(f"the clone {record.name} has no table {missing[0]}")
        # By Snowflake's own clock, where it tells it.
        made = (found.created or record.refreshed_at or record.created_at) - (
            self._settings.as_of or timedelta()
        )
        return tuple(
            TablePromotion(
                table,
                self._replace(record, name),
                _after(theirs.get(name), max(made, (known or {}).get(table, made))),
            )
            for table, name in names.items()
        )

    def promote(
        self,
        record: CloneRecord,
        tables: Sequence[str],
        *,
        begun: Collection[str] = (),
        begin: Callable[[str], None] = lambda _: None,
        known: Mapping[str, datetime] | None = None,
        accept_changed: bool = False,
    ) -> tuple[TablePromotion, ...]:
        """Puts chosen tables of the copy in the place of the source's: ``CREATE OR REPLACE TABLE … CLONE … COPY GRANTS``.

        Each table is replaced in one transaction and keeps its grants; what it held before stays within reach of Time
        Travel. **Several are not replaced together**: Snowflake commits each definition by itself, so somebody who
        reads in between sees some of them old and some new. All that can be refused is refused before the first; they
        are replaced in the order in which they are given; and the call may be repeated: what was begun is done again.

        Args:
            record: The copy's.
            tables: As for `plan_promotion`; first those that others are read with.
            begun: Tables that an earlier call has begun with: that they have changed since is its own doing.
            begin: Called with each table before it is replaced; keep what it is told, durably.
            known: As for `plan_promotion`.
            accept_changed: Replace also what has changed in the source since the copy was made.

        Raises:
            ConflictError: a table has changed in the source since the copy was made; nothing was replaced.
            CloneError: as `plan_promotion`.
        """
        plan = self.plan_promotion(record, tables, known)
        if not accept_changed:
            self._refuse_changed(record, plan, begun)
        with self._told("promoted from"):
            for one in plan:
                begin(one.table)
                self._run(one.statement)
        return plan

    def _refuse_changed(
        self, record: CloneRecord, plan: Sequence[TablePromotion], begun: Collection[str]
    ) -> None:
        for one in plan:
            if one.changed is not None and one.table not in begun:
                raise ConflictError(
                    f"{one.table} was changed in {self._source} at {one.changed:%Y-%m-%d %H:%M:%S} UTC, after the clone"
                    f" {record.name} was made",
                    hint="refresh the clone and run again, so that nothing of it is lost",
                    key=one.table,
                )

    def _replace(self, record: CloneRecord, name: tuple[str, str]) -> str:
        schema, table = map(snowflake_name, name)
        target = f"{snowflake_name(self._source)}.{schema}.{table}"
        return f"CREATE OR REPLACE TABLE {target} CLONE {snowflake_name(record.name)}.{schema}.{table} COPY GRANTS"

    def _altered(self, database: str, schemas: Sequence[str]) -> dict[tuple[str, str], datetime | None]:
        """Tables by schema and name, and when they were last changed."""
        inside = ", ".join(snowflake_text(schema) for schema in schemas)
        rows = self._run(
            f"SELECT TABLE_SCHEMA, TABLE_NAME, LAST_ALTERED FROM {snowflake_name(database)}.INFORMATION_SCHEMA.TABLES"
            f" WHERE TABLE_SCHEMA IN ({inside}) AND TABLE_TYPE = 'BASE TABLE'"
        )
        return {(schema, table): altered for schema, table, altered in rows}

    # statements

    def _create(self, name: str, record: CloneRecord) -> str:
        settings = self._settings
        past = settings.as_of
        return (
            f"CREATE OR REPLACE DATABASE {name} CLONE {snowflake_name(self._source)}"
            + (f" AT (OFFSET => -{int(past.total_seconds())})" if past is not None else "")
            + (
                f" DATA_RETENTION_TIME_IN_DAYS = {settings.retention_days}"
                if settings.retention_days is not None
                else ""
            )
            + f" COMMENT = {snowflake_text(str(record.mark))}"
        )

    def _grant(self, name: str) -> None:
        """Gives roles what they may do with the copy itself; what they may with its tables was copied by Snowflake."""
        granted = {
            (_folded(role), privilege.upper())
            for role, privileges in self._settings.grants.items()
            for privilege in privileges
        }
        if self._settings.copy_grants:
            columns, rows = self._ask(f"SHOW GRANTS ON DATABASE {snowflake_name(self._source)}")
            for row in rows:
                told = dict(zip(columns, row, strict=True))
                if told["granted_to"] == "ROLE" and told["privilege"] != "OWNERSHIP":
                    granted.add((told["grantee_name"], told["privilege"]))
        for role, privilege in sorted(granted):
            self._run(f"GRANT {privilege} ON DATABASE {name} TO ROLE {snowflake_name(role)}")

    def _drop_making(self, record: CloneRecord) -> bool:
        """What a crash has left: its name holds the record's id, and so proves by itself that it is ours."""
        if self._find(record.making) is None:
            return False
        self._run(f"DROP DATABASE IF EXISTS {snowflake_name(record.making)}")
        return True

    def _find(self, name: str) -> _Database | None:
        shown = self._show(f"SHOW DATABASES STARTS WITH {snowflake_text(name)}")
        return next((one for one in shown if one.name == name), None)

    def _databases(self) -> Iterator[_Database]:
        """All that the role may see, page by page."""
        after = ""
        known: set[str] = set()
        while True:
            page = self._show(f"SHOW DATABASES LIMIT {_PAGE}{after}")
            # Where a page begins is told by a part of a name: what was seen already is left out.
            new = [one for one in page if one.name not in known]
            known.update(one.name for one in new)
            yield from new
            if len(page) < _PAGE or not new:
                return
            after = f" FROM {snowflake_text(page[-1].name)}"

    def _show(self, statement: str) -> Sequence[_Database]:
        columns, rows = self._ask(statement)
        told = [dict(zip(columns, row, strict=True)) for row in rows]
        return [_Database(one["name"], one["comment"] or "", one["created_on"]) for one in told]

    def _how(self) -> str:
        past = self._settings.as_of
        return f"cloned {self._source}{f' as it was {past} ago' if past else ''}, sharing its data"

    def _run(self, statement: str) -> Sequence[tuple[Any, ...]]:
        return self._ask(statement)[1]

    def _ask(self, statement: str) -> tuple[Sequence[str], Sequence[tuple[Any, ...]]]:
        """The names of an answer's columns in lower case, and its rows."""
        with self._connect().cursor() as cursor:
            cursor.execute(statement)
            columns = [column.name.lower() for column in cursor.description or ()]
            return columns, [tuple(row) for row in cursor.fetchall()]

    # the connection

    def _connect(self) -> SnowflakeConnection:
        if self._connection is None:
            driver = _driver()
            given: dict[str, Any] = {}
            for name, value in self._settings.connection.items():
                if isinstance(value, (bool, int)):
                    given[name] = value
                    continue
                text = value.get_secret_value()
                given[name] = resolve_references(
                    text, self._around.environ, place=self._around.place(f"connection.{name}")
                )
                if text != given[name]:
                    self._secrets.append(str(given[name]))
            given.setdefault("application", _SESSION)
            self._connection = driver.connect(**given)
        return self._connection

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turns the connector's errors into ours."""
        driver = _driver()
        try:
            yield
        except driver.Error as error:
            message = _first(error)
            for secret in self._secrets:
                message = message.replace(secret, "***") if secret else message
            raise CloneError(
                f"the clone {self._around.clone} could not be {what}: {message}",
                hint=self._advice(error.errno),
                clone=self._around.clone,
                place=self._around.place("connection") if self._connection is None else None,
                errno=error.errno,
            ) from None

    def _advice(self, errno: int | None) -> str:
        role = "the role of the connection"
        if self._connection is None:
            return f"look at [clones.{self._around.clone}.connection], and whether its variables hold what they should"
        return {
            _MISSING: f"look whether the source {self._source} is called so, and whether {role} has USAGE on it",
            _THERE: f"a database of that name is there that {role} can't see; give clones another name",
            _DENIED: f"{role} needs CREATE DATABASE ON ACCOUNT, USAGE on {self._source}, and to own its clones",
            _TOO_OLD: "the source does not reach back so far: make as_of shorter",
            _NO_WAREHOUSE: "this asks the information schema: name a warehouse in the connection",
        }.get(errno or 0, "run the command again when it is mended; what was done stays as it is")


def _driver() -> Any:
    try:
        import snowflake.connector
    except ImportError:
        raise CloneError(
            "clones of Snowflake databases need Snowflake's connector",
            hint='pip install "anabranch[snowflake]"',
        ) from None
    return snowflake.connector


def _identifier(text: str, around: Surroundings) -> str:
    """A database's name in settings, as Snowflake stores it."""
    if _PLAIN.fullmatch(text) or (len(text) > 2 and text[0] == text[-1] == '"' and _balanced(text[1:-1])):
        return _folded(text)
    raise CloneError(
        f"the source of the clone {around.clone} is no name of a database: {text!r}",
        hint='write it like PRODUCTION, or "\\"My database\\"" where it was made in double quotes',
        place=around.place("source"),
    )


def _balanced(inner: str) -> bool:
    return '"' not in inner.replace('""', "")


def _folded(name: str) -> str:
    """What SQL reads a name as: without quotes it is in upper case."""
    return name[1:-1].replace('""', '"') if name.startswith('"') and name.endswith('"') else name.upper()


def _table(text: str) -> tuple[str, str]:
    """Schema and table of ``SCHEMA.TABLE``."""
    part = r'(?:"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)'
    match = re.fullmatch(rf"({part})\.({part})", text)
    if match is None:
        raise CloneError(f"{text!r} names no table", hint="write it like HACKER_NEWS.ITEMS")
    return _folded(match[1]), _folded(match[2])


def _kept(record: CloneRecord) -> tuple[set[str], dict[str, datetime]]:
    """What `publish` has kept: tables that it had begun with, and until when changes are its own."""
    kept = record.properties.get("published", {})
    known = {table: datetime.fromisoformat(text) for table, text in kept.get("known", {}).items()}
    return set(kept.get("begun", ())), known


def _after(altered: datetime | None, made: datetime) -> datetime | None:
    return altered if altered is not None and altered > made else None


def _id_of(database: _Database) -> str | None:
    mark = Mark.parse(database.comment)
    return mark.id if mark is not None else None


def _not_ours(record: CloneRecord, found: _Database) -> CloneError:
    mark = Mark.parse(found.comment)
    return not_ours(record, f"the database {found.name}", sandbox=mark and mark.sandbox)


def _first(error: Exception) -> str:
    """What went wrong, in one line."""
    lines = [line.strip() for line in str(getattr(error, "msg", None) or error).splitlines() if line.strip()]
    return " ".join(lines[:2])
