"""Copies one Postgres schema into another of the same database, within the caller's transaction.

Postgres has no statement for it. What refers to the schema (defaults, foreign keys, views) is read as text while the schema
is the only one in the search path, so that its own names stand bare in it, and written while the copy is in front: so bare
names mean the copy's things. What would let a write in the copy reach the original is not copied: triggers, rules, foreign
keys that leave the schema. Functions, types and operators are used where they are.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from anabranch.clones.naming import postgres_name, postgres_text
from anabranch.dataclass import dataclass
from anabranch.errors import CloneError

if TYPE_CHECKING:
    import psycopg

NEVER_COPIED = (
    "triggers",
    "rules",
    "foreign tables",
    "foreign keys that leave the schema",
    "publications and subscriptions",
)
"""What a schema's copy lacks; functions and types stay those of the source."""


@dataclass(frozen=True)
class SchemaCopy:
    """What was copied, and what of the schema was left out; both in words."""

    how: str
    left_out: tuple[str, ...]


def copy_schema(connection: psycopg.Connection[Any], source: str, target: str) -> SchemaCopy:
    """Fills the empty schema target with copies of source's sequences, tables, foreign keys and views.

    Args:
        connection: In a transaction, whose snapshot is what is copied.
        source, target: The schemas' bare names.

    Raises:
        CloneError: a table has row security, by which a copy would show what the original hides.
        psycopg.Error: a right is missing.
    """
    return _Copier(connection, source, target).copy()


class _Copier:
    def __init__(self, connection: psycopg.Connection[Any], source: str, target: str) -> None:
        self.connection = connection
        self.source, self.target = source, target
        self.old, self.new = postgres_name(source), postgres_name(target)
        self.left_out: list[str] = []

    def copy(self) -> SchemaCopy:
        # A filtered read would be a copy with rows missing: it is an error instead.
        self.run("set local row_security = off")
        self.run(f"set local search_path = {self.old}, pg_catalog, pg_temp")
        tables = self.tables()
        sequences = self.sequences()
        defaults, foreign = self.defaults(), self.foreign_keys()
        views, view_indexes = self.views(), self.view_indexes()
        inherited, left = self.inheritance(), self.not_copied()
        self.run(f"set local search_path = {self.new}, {self.old}, pg_catalog, pg_temp")
        for name in sequences:
            self.sequence(name)
        for table in tables:
            self.table(*table)
        for statement in defaults:
            self.run(statement)
        self.counters(sequences)
        for statement in (*inherited, *foreign, *views, *view_indexes):
            self.run(statement)
        self.grants()
        self.left_out += left
        how = f"copied {len(tables)} table{'s' if len(tables) != 1 else ''}"
        return SchemaCopy(how + (f" and {len(views)} views" if views else ""), tuple(self.left_out))

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []

    # what there is, read with the source in front

    def tables(self) -> list[tuple[str, str, str | None, str | None, bool]]:
        """Name, kind, key of partitioning, and comment of each; partitioned ones first."""
        found = self.run(
            "select c.relname, c.relkind::text || case c.relpersistence when 'u' then 'u' else '' end,"
            " pg_get_partkeydef(c.oid), obj_description(c.oid, 'pg_class'), c.relispartition, c.relrowsecurity"
            f" from pg_class c where c.relnamespace = {self.at} and c.relkind in ('r', 'p') and {_OWN}"
            " order by c.relkind, c.relname"
        )
        secured = [name for name, *_, security in found if security]
        if secured:
            raise CloneError(
                f"{self.source}.{secured[0]} has row security, which a copy of the schema would not keep",
                hint='clone the whole database: level = "database"',
                tables=secured,
            )
        return [(name, kind, key, comment, part) for name, kind, key, comment, part, _ in found]

    @property
    def at(self) -> str:
        return f"(select oid from pg_namespace where nspname = {postgres_text(self.source)})"

    def sequences(self) -> list[str]:
        """Those that stand alone or belong to a serial column; identity columns bring their own."""
        return [
            name
            for (name,) in self.run(
                f"select c.relname from pg_class c where c.relnamespace = {self.at} and c.relkind = 'S' and {_OWN}"
                " and not exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass"
                " and d.objid = c.oid and d.deptype = 'i') order by c.relname"
            )
        ]

    def defaults(self) -> list[str]:
        """Each default anew: as `like` copies them, they would count on the original's sequences."""
        return [
            f"alter table {self.new}.{postgres_name(table)} alter column {postgres_name(column)} set default {text}"
            for table, column, text in self.run(
                "select c.relname, a.attname, pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d"
                " join pg_class c on c.oid = d.adrelid"
                " join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum"
                f" where c.relnamespace = {self.at} and c.relkind in ('r', 'p') and a.attgenerated = '' and {_OWN}"
                " order by c.relname, a.attnum"
            )
        ]

    def foreign_keys(self) -> list[str]:
        """Those within the schema; a foreign key that leaves it would lock rows of the original's neighbours."""
        found = self.run(
            "select t.relname, k.conname, pg_get_constraintdef(k.oid), r.relnamespace = t.relnamespace"
            " from pg_constraint k join pg_class t on t.oid = k.conrelid join pg_class r on r.oid = k.confrelid"
            f" where t.relnamespace = {self.at} and k.contype = 'f' and k.conparentid = 0"
            " order by t.relname, k.conname"
        )
        self.left_out += [
            f"foreign key {name} of {table}, which leaves the schema"
            for table, name, _, inside in found
            if not inside
        ]
        return [
            f"alter table {self.new}.{postgres_name(table)} add constraint {postgres_name(name)} {definition}"
            for table, name, definition, inside in found
            if inside
        ]

    def inheritance(self) -> list[str]:
        """Partitions and children, each tied to its parent's copy."""
        found = self.run(
            "select c.relname, p.relname, pg_get_expr(c.relpartbound, c.oid), c.relnamespace = p.relnamespace"
            " from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent"
            f" where {self.at} in (c.relnamespace, p.relnamespace) and c.relkind in ('r', 'p', 'f')"
            " and p.relkind in ('r', 'p') order by p.relname, i.inhseqno, c.relname"
        )
        statements = []
        for child, parent, bound, inside in found:
            if not inside:
                raise CloneError(
                    f"{child} and {parent} are parts of one table in different schemas, one of which is {self.source}",
                    hint='clone the whole database: level = "database"',
                )
            one, other = f"{self.new}.{postgres_name(child)}", f"{self.new}.{postgres_name(parent)}"
            statements.append(
                f"alter table {one} inherit {other}"
                if bound is None
                else f"alter table {other} attach partition {one} {bound}"
            )
        return statements

    def views(self) -> list[str]:
        """Views and materialized views, each after those that it reads."""
        found = {
            oid: (name, kind, options, text.rstrip().removesuffix(";"), comment)
            for oid, name, kind, options, text, comment in self.run(
                "select c.oid, c.relname, c.relkind::text, c.reloptions, pg_get_viewdef(c.oid),"
                " obj_description(c.oid, 'pg_class') from pg_class c"
                f" where c.relnamespace = {self.at} and c.relkind in ('v', 'm') and {_OWN}"
            )
        }
        reads: dict[int, set[int]] = {oid: set() for oid in found}
        for view, read in self.run(
            "select distinct r.ev_class, d.refobjid from pg_rewrite r join pg_depend d on d.objid = r.oid"
            " and d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass"
            " where r.ev_class <> d.refobjid"
        ):
            if view in found and read in found:
                reads[view].add(read)
        try:
            order = list(TopologicalSorter(reads).static_order())
        except CycleError as error:
            names = ", ".join(sorted(found[oid][0] for oid in error.args[1]))
            raise CloneError(f"the views {names} of {self.source} read each other in a ring") from None
        statements = []
        for oid in order:
            name, kind, options, text, comment = found[oid]
            full = f"{self.new}.{postgres_name(name)}"
            what = "view" if kind == "v" else "materialized view"
            given = ""
            if options:
                pairs = (option.partition("=") for option in options)
                given = (
                    f" with ({', '.join(f'{postgres_name(k)} = {postgres_text(v)}' for k, _, v in pairs)})"
                )
            statements.append(f"create {what} {full}{given} as {text}")
            if comment is not None:
                statements.append(f"comment on {what} {full} is {postgres_text(comment)}")
        return statements

    def view_indexes(self) -> list[str]:
        """Indexes of materialized views; those of tables come with the tables."""
        return [
            text
            for (text,) in self.run(
                "select pg_get_indexdef(i.indexrelid, 0, true) from pg_index i join pg_class c on c.oid = i.indrelid"
                f" where c.relnamespace = {self.at} and c.relkind = 'm' and {_OWN} order by i.indexrelid"
            )
        ]

    def not_copied(self) -> list[str]:
        """What of this schema stays behind, in words."""
        triggers = self.run(
            "select t.tgname, c.relname from pg_trigger t join pg_class c on c.oid = t.tgrelid"
            f" where c.relnamespace = {self.at} and not t.tgisinternal and t.tgparentid = 0 order by 2, 1"
        )
        rules = self.run(
            "select r.rulename, c.relname from pg_rewrite r join pg_class c on c.oid = r.ev_class"
            f" where c.relnamespace = {self.at} and r.rulename <> '_RETURN' order by 2, 1"
        )
        foreign = self.run(
            f"select relname from pg_class where relnamespace = {self.at} and relkind = 'f' order by 1"
        )
        return [
            *(f"trigger {name} of {table}" for name, table in triggers),
            *(f"rule {name} of {table}" for name, table in rules),
            *(f"foreign table {name}" for (name,) in foreign),
        ]

    # the copies, made with the target in front

    def sequence(self, name: str) -> None:
        quoted = postgres_name(name)
        ((kind, start, least, most, step, cache, cycle),) = self.run(
            "select data_type::text, start_value, min_value, max_value, increment_by, cache_size, cycle"
            " from pg_sequences where schemaname = %s and sequencename = %s",
            self.source,
            name,
        )
        self.run(
            f"create sequence {self.new}.{quoted} as {kind} increment by {step} minvalue {least} maxvalue {most}"
            f" start with {start} cache {cache}{' cycle' if cycle else ''}"
        )

    def table(self, name: str, kind: str, key: str | None, comment: str | None, part: bool) -> None:
        quoted = postgres_name(name)
        old, new = f"{self.old}.{quoted}", f"{self.new}.{quoted}"
        unlogged = " unlogged" if kind.endswith("u") else ""
        by = "" if key is None else f" partition by {key}"
        # A partition has the identity of its parent; one with its own can't be attached.
        identity = " excluding identity" if part else ""
        self.run(f"create{unlogged} table {new} (like {old} including all{identity}){by}")
        if comment is not None:
            self.run(f"comment on table {new} is {postgres_text(comment)}")
        columns = ", ".join(
            postgres_name(column)
            for (column,) in self.run(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0"
                " and not attisdropped and attgenerated = '' order by attnum",
                old,
            )
        )
        if key is None and columns:
            # `only`: a child's rows are copied with the child.
            self.run(
                f"insert into {new} ({columns}) overriding system value select {columns} from only {old}"
            )
        elif key is None:
            self.run(f"insert into {new} select from only {old}")

    def counters(self, sequences: list[str]) -> None:
        """Each sequence where the original stands, and owned by the column that counts on it."""
        pairs = {name: name for name in sequences}
        for name in sequences:
            for table, column in self.run(
                "select c.relname, a.attname from pg_depend d join pg_class c on c.oid = d.refobjid"
                " join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid"
                " where d.classid = 'pg_class'::regclass and d.objid = %s::regclass and d.deptype = 'a'"
                f" and c.relnamespace = {self.at}",
                f"{self.old}.{postgres_name(name)}",
            ):
                self.run(
                    f"alter sequence {self.new}.{postgres_name(name)} owned by"
                    f" {self.new}.{postgres_name(table)}.{postgres_name(column)}"
                )
        for old, new in self.run(
            "select pg_get_serial_sequence(%s || quote_ident(c.relname), a.attname),"
            " pg_get_serial_sequence(%s || quote_ident(c.relname), a.attname)"
            " from pg_attribute a join pg_class c on c.oid = a.attrelid"
            f" where c.relnamespace = {self.at} and c.relkind in ('r', 'p') and a.attidentity <> ''"
            f" and not c.relispartition and {_OWN}",
            f"{self.old}.",
            f"{self.new}.",
        ):
            if old and new:
                self.counter(old, new)
        for name in pairs:
            quoted = postgres_name(name)
            self.counter(f"{self.old}.{quoted}", f"{self.new}.{quoted}")

    def counter(self, old: str, new: str) -> None:
        """Both are quoted names."""
        self.run(f"select setval({postgres_text(new)}::regclass, last_value, is_called) from {old}")

    def grants(self) -> None:
        """Who may use the original may use the copy: of the schema, its tables, views and sequences."""
        pieces = self.run(
            "select 'schema', null, a.privilege_type, a.is_grantable, a.grantee, r.rolname from pg_namespace n"
            " cross join lateral aclexplode(n.nspacl) a left join pg_roles r on r.oid = a.grantee"
            f" where n.oid = {self.at} and a.grantee <> n.nspowner"
            " union all select case c.relkind when 'S' then 'sequence' else 'table' end, c.relname,"
            " a.privilege_type, a.is_grantable, a.grantee, r.rolname from pg_class c"
            " cross join lateral aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee"
            f" where c.relnamespace = {self.at} and c.relkind in ('r', 'p', 'v', 'm', 'S') and {_OWN}"
            " and a.grantee <> c.relowner"
        )
        for what, name, privilege, grantable, grantee, role in pieces:
            if grantee and role is None:
                continue
            assert privilege.isalpha()
            full = self.new if name is None else f"{self.new}.{postgres_name(name)}"
            whom = postgres_name(role) if grantee else "public"
            option = " with grant option" if grantable else ""
            self.run(f"grant {privilege} on {what} {full} to {whom}{option}")


_OWN = (
    "not exists (select 1 from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid"
    " and e.deptype = 'e')"
)
"""What belongs to an extension stays where it is."""
