"""Clones of Postgres, on a real server: who is connected, what a copy of a schema has, and names that mean ill."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from anabranch.clones.base import CloneRecord, NameRule, Surroundings
from anabranch.clones.naming import clone_name, postgres_name, postgres_text
from anabranch.clones.postgres import Postgres
from anabranch.errors import CloneBusyError, CloneError
from anabranch.names import new_id, now, sandbox_name
from anabranch.settings import PostgresClone
from doubles.postgres_server import Server
from effort import effort

HOSTILE = [
    '"; drop database shop; --',
    "'; drop schema public cascade; --",
    "\\'; select 1; --",
    'a"b',
    "a'b",
    "$$x$$",
    "%s %(a)s",
    "{source}",
    "pg_catalog",
    "a;b",
    "a\nb",
    "é" * 31,
    "\U0001f4a3",
]


@pytest.fixture
def shop(postgres: Server) -> Iterator[str]:
    """A database with one table; gone afterwards, with all that came of it."""
    name = f"own_{new_id()}"
    before = postgres.databases()
    with postgres.connect() as admin:
        admin.execute(f"create database {name}")
    yield name
    with postgres.connect() as admin:
        for left in postgres.databases() - before:
            admin.execute(f"drop database {postgres_name(left)} with (force)")


def provider(source: str, environ: dict[str, str] | None = None, **given: Any) -> Postgres:
    around = Surroundings("sales", "/", environ or {}, lambda field: f"clones.sales.{field}")
    return Postgres(PostgresClone(provider="postgres", source=source, **given), around)


def record(name: str, sandbox: str = "fix") -> CloneRecord:
    return CloneRecord(new_id(), "shop", "sales", "postgres", "x", name, sandbox, 1, "making", now())


# who is connected


def test_who_is_connected_to_the_source_is_named(postgres: Server, shop: str) -> None:
    made = provider(postgres.url(shop))
    with (
        postgres.connect(shop, application_name="dashboard"),
        pytest.raises(CloneBusyError, match="dashboard") as caught,
    ):
        made.open(record(f"{shop}_clone"))
    assert caught.value.exit_code == 4
    assert len(caught.value.facts["connections"]) == 1
    assert 'connections = "terminate"' in (caught.value.hint or "")
    assert 'level = "schema"' in (caught.value.hint or "")
    assert f"{shop}_clone" not in postgres.databases()
    made.close()


def test_connections_are_ended_only_where_settings_say_so(postgres: Server, shop: str) -> None:
    made = provider(postgres.url(shop), connections="terminate")
    with postgres.connect(shop) as other:
        assert made.open(record(f"{shop}_clone")).new
        with pytest.raises(psycopg.OperationalError):
            other.execute("select 1")
    made.close()


def test_whoever_keeps_coming_back_does_not_keep_a_clone_from_being_made(postgres: Server, shop: str) -> None:
    """With `terminate`, a client that reconnects at once loses its connections a few times, and no more."""
    over = threading.Event()

    def come_back() -> None:
        while not over.is_set():
            try:
                with postgres.connect(shop) as connection:
                    connection.execute("select pg_sleep(0.05)")
            except psycopg.Error:
                continue

    client = threading.Thread(target=come_back)
    client.start()
    made = provider(postgres.url(shop), connections="terminate")
    try:
        one = record(f"{shop}_clone")
        try:
            assert made.open(one).new
            assert made.exists(one)
        except CloneBusyError as error:
            assert error.facts["connections"] is not None  # noqa: PT017 - either outcome is sound
            assert not made.exists(one)
    finally:
        over.set()
        client.join()
        made.close()


def test_connections_to_a_clone_are_ended_when_it_goes(postgres: Server, shop: str) -> None:
    made, one = provider(postgres.url(shop)), record(f"{shop}_clone")
    made.open(one)
    with postgres.connect(one.name) as other:
        assert made.drop(one)
        with pytest.raises(psycopg.OperationalError):
            other.execute("select 1")
    made.close()


def test_a_database_is_not_cloned_from_a_connection_to_itself(postgres: Server) -> None:
    made = provider(postgres.url("postgres"))
    with pytest.raises(CloneError, match="connection to itself") as caught:
        made.open(record("copy"))
    assert "template1" in (caught.value.hint or "")


# what a copy of the database has


def test_who_may_connect_to_the_source_may_connect_to_the_clone_and_nobody_else(
    postgres: Server, shop: str
) -> None:
    role = f"role_{new_id()}"
    with postgres.connect() as admin:
        admin.execute(f'create role "{role}" login')
        admin.execute(f"revoke all on database {shop} from public")
        admin.execute(f'grant connect on database {shop} to "{role}"')
        admin.execute(f"alter database {shop} set search_path = '$user', 'Foo bar', public")
    made, one = provider(postgres.url(shop)), record(f"{shop}_clone")
    made.open(one)
    with postgres.connect() as admin:
        acl = admin.execute("select datacl::text from pg_database where datname = %s", (one.name,))
        told = acl.fetchone()[0]
        assert f"{role}=c/" in told
        assert "{=" not in told
        assert ",=" not in told
    with postgres.connect(one.name) as clone:
        assert clone.execute("show search_path").fetchone() == ('"$user", "Foo bar", public',)
    made.close()
    with postgres.connect() as admin:
        admin.execute(f'drop database "{one.name}"')
        admin.execute(f"drop database {shop}")
        admin.execute(f'drop role "{role}"')


@pytest.mark.parametrize("given", [{}, {"level": "schema"}])
def test_a_right_that_is_missing_is_told(postgres: Server, shop: str, given: dict[str, Any]) -> None:
    role = f"role_{new_id()}"
    with postgres.connect() as admin:
        admin.execute(f'create role "{role}" login')
    url = f"postgresql://{role}@127.0.0.1:{postgres.port}/{shop}"
    made = provider(url, **given)
    with pytest.raises(CloneError, match="permission denied") as caught:
        made.open(record(f"{shop}_clone"))
    assert role in (caught.value.hint or "")
    made.close()
    with postgres.connect() as admin:
        admin.execute(f'drop role "{role}"')


# addresses


def test_steps_get_no_password_unless_settings_give_them_one() -> None:
    source = "postgresql://maker:${MAKER}@db.example.com:5433/shop?sslmode=require&sslpassword=x"
    made = provider(source, {"MAKER": "s3cr{name}t%40%2F"})
    assert made.address("a_b") == "postgresql://maker@db.example.com:5433/a_b?sslmode=require"
    assert made.address(None) == "postgresql://maker@db.example.com:5433/shop?sslmode=require"
    other = provider(
        source,
        {"MAKER": "x", "APP": "p{name}w"},
        address="postgresql://app:${APP}@db.example.com/{name}?sslmode=require",
    )
    assert other.address("a_b") == "postgresql://app:p{name}w@db.example.com/a_b?sslmode=require"


def test_an_error_tells_no_password(shop: str) -> None:
    made = provider("postgresql://maker:hunter2@127.0.0.1:1/shop?connect_timeout=2")
    with pytest.raises(CloneError) as caught:
        made.open(record("copy"))
    assert "hunter2" not in str(caught.value.to_dict())
    for wrong in ("postgresql://maker:hunter2@[::1/shop", "postgresql://maker:hunter2@db/"):
        with pytest.raises(CloneError) as caught:
            provider(wrong)
        assert "hunter2" not in str(caught.value.to_dict())


# a schema's copy

SCHEMA = """
create schema shop;
create schema other;
create table other.region (id integer primary key);
insert into other.region values (1);
create table shop.customer (
    id integer generated always as identity primary key, name text not null, region integer references other.region,
    shout text generated always as (upper(name)) stored, check (name <> ''));
comment on table shop.customer is 'who buys';
create table shop."Order" (
    id serial primary key, customer integer not null references shop.customer deferrable initially deferred,
    placed date not null default current_date, unique (customer, placed));
create index order_by_date on shop."Order" (placed) where customer > 1;
create table shop.event (id bigint generated by default as identity, at date not null, what text, primary key (id, at))
    partition by range (at);
create table shop.event_2025 partition of shop.event for values from ('2025-01-01') to ('2026-01-01');
create table shop.event_rest partition of shop.event default;
create sequence shop.ticket start 100 increment 5;
create view shop.a_view as select c.name, o.placed from shop.b_view o join shop.customer c on c.id = o.customer;
"""


def fill(connection: Any) -> None:
    first, last = SCHEMA.strip().rsplit("create view", 1)
    connection.execute(first)
    connection.execute('create view shop.b_view as select * from shop."Order" where customer > 0')
    connection.execute("create view" + last)
    connection.execute("create materialized view shop.counted as select count(*) as n from shop.a_view")
    connection.execute("create unique index on shop.counted (n)")
    connection.execute("insert into shop.customer (name, region) values ('Ada', 1), ('Bob', null)")
    connection.execute("""insert into shop."Order" (customer) values (1), (2)""")
    connection.execute(
        "insert into shop.event (at, what) values ('2025-05-05', 'in'), ('2030-01-01', 'rest')"
    )
    connection.execute("select nextval('shop.ticket'), nextval('shop.ticket')")
    connection.execute("refresh materialized view shop.counted")
    connection.execute(
        "create function shop.noise() returns trigger language plpgsql as 'begin return new; end'"
    )
    connection.execute(
        "create trigger loud before insert on shop.customer for each row execute function shop.noise()"
    )
    connection.execute("create rule quiet as on delete to shop.customer do instead nothing")


@pytest.fixture
def copied(postgres: Server, shop: str) -> Iterator[tuple[Any, Any]]:
    """A connection to the database, and what was told of the copy ``shop_clone`` of its schema ``shop``."""
    with postgres.connect(shop) as connection:
        fill(connection)
        made = provider(postgres.url(shop), level="schema", schema="shop")
        done = made.open(record("shop_clone"))
        made.close()
        yield connection, done


def test_a_schemas_copy_has_its_rows_columns_and_views(copied: tuple[Any, Any]) -> None:
    db, _ = copied
    assert db.execute("select id, name, region, shout from shop_clone.customer order by id").fetchall() == [
        (1, "Ada", 1, "ADA"),
        (2, "Bob", None, "BOB"),
    ]
    assert db.execute("select what from shop_clone.event_2025").fetchall() == [("in",)]
    assert db.execute("select count(*) from shop_clone.event").fetchone() == (2,)
    assert db.execute("select count(*) from shop_clone.a_view").fetchone() == (2,)
    assert db.execute("select n from shop_clone.counted").fetchone() == (2,)
    assert db.execute("select obj_description('shop_clone.customer'::regclass)").fetchone() == ("who buys",)


def test_what_is_written_into_the_copy_reaches_nothing_of_the_original(copied: tuple[Any, Any]) -> None:
    db, _ = copied

    def state() -> list[Any]:
        return [
            db.execute(f"select * from shop.{name} order by 1").fetchall()
            for name in (
                "customer",
                '"Order"',
                "event",
                "a_view",
                "ticket",
                '"Order_id_seq"',
                "customer_id_seq",
            )
        ]

    before = state()
    db.execute("insert into shop_clone.customer (name) values ('Cyd')")
    db.execute("""insert into shop_clone."Order" (customer) values (3)""")
    db.execute("insert into shop_clone.event (at, what) values ('2025-06-06', 'new')")
    assert db.execute("select nextval('shop_clone.ticket')").fetchone() == (110,)
    assert db.execute("select max(id) from shop_clone.customer").fetchone() == (3,)
    assert db.execute("""select max(id) from shop_clone."Order" """).fetchone() == (3,)
    assert db.execute("select max(id) from shop_clone.event").fetchone() == (3,)
    assert db.execute("select count(*) from shop_clone.a_view").fetchone() == (3,)
    db.execute("delete from shop_clone.event")
    assert state() == before


def test_nothing_in_the_copy_depends_on_a_table_or_sequence_of_the_original(copied: tuple[Any, Any]) -> None:
    """But for the functions and types, which stay where they are."""
    db, _ = copied
    found = db.execute(
        "select pg_describe_object(classid, objid, objsubid), pg_describe_object(refclassid, refobjid, refobjsubid)"
        " from pg_depend where refclassid = 'pg_class'::regclass"
        " and refobjid in (select oid from pg_class where relnamespace = 'shop'::regnamespace)"
        " and pg_describe_object(classid, objid, objsubid) like '%shop_clone%'"
    ).fetchall()
    assert found == []


def test_the_copys_constraints_hold_among_its_own_tables(copied: tuple[Any, Any]) -> None:
    db, _ = copied
    for wrong in (
        "insert into shop_clone.customer (name) values ('')",
        "insert into shop_clone.customer (name) values (null)",
        """insert into shop_clone."Order" (customer) values (99)""",
        """insert into shop_clone."Order" (customer) values (1)""",
        "insert into shop_clone.customer (id, name) values (7, 'x')",
    ):
        with pytest.raises(psycopg.DatabaseError):
            db.execute(wrong)
    keys = db.execute(
        "select confrelid::regclass::text, condeferred from pg_constraint"
        " where contype = 'f' and connamespace = 'shop_clone'::regnamespace"
    )
    assert keys.fetchall() == [("shop_clone.customer", True)]
    indexes = db.execute(
        "select count(*) from pg_indexes where schemaname = %s and indexdef like %s",
        ("shop_clone", "%WHERE (customer > 1)"),
    )
    assert indexes.fetchone() == (1,)


def test_what_was_left_out_is_told(copied: tuple[Any, Any]) -> None:
    _, made = copied
    assert made.how == "copied 5 tables and 3 views"
    assert sorted(made.properties["left_out"]) == [
        "foreign key customer_region_fkey of customer, which leaves the schema",
        "rule quiet of customer",
        "trigger loud of customer",
    ]


def test_a_schema_whose_rows_are_hidden_from_some_is_refused(postgres: Server, shop: str) -> None:
    with postgres.connect(shop) as db:
        db.execute("create table t (a integer); alter table t enable row level security")
    made = provider(postgres.url(shop), level="schema")
    with pytest.raises(CloneError, match="row security"):
        made.open(record("copy"))
    with postgres.connect(shop) as db:
        assert db.execute("select 1 from pg_namespace where nspname = 'copy'").fetchone() is None
    made.close()


@pytest.mark.parametrize(
    "statement",
    [
        "create view public.mine as select * from copy.t",
        "create table public.mine (a integer references copy.t)",
        "create table public.mine () inherits (copy.t)",
        "create table public.mine (a integer default nextval('copy.s'))",
    ],
)
def test_what_others_built_on_a_schemas_copy_is_never_dropped_along(
    postgres: Server, shop: str, statement: str
) -> None:
    made, one = provider(postgres.url(shop), level="schema"), record("copy")
    with postgres.connect(shop) as db:
        db.execute(
            "create table t (a integer primary key, b text); create sequence s; create view v as select * from t"
        )
        made.open(one)
        made.refresh(one)
        db.execute(statement)
        for verb in (made.drop, made.refresh):
            with pytest.raises(CloneError, match="was built on the clone copy"):
                verb(one)
        assert made.exists(one)
        db.execute(f"drop {statement.split()[1]} public.mine")
        assert made.drop(one)
    made.close()


def test_others_go_on_while_a_schema_is_copied(postgres: Server, shop: str) -> None:
    made = provider(postgres.url(shop), level="schema")
    with postgres.connect(shop) as db:
        db.execute("create table t (a integer); insert into t values (1)")
        with db.transaction():
            db.execute("insert into t values (2)")  # neither waits for the other
            assert made.open(record("copy")).new
        assert db.execute("select a from copy.t").fetchall() == [(1,)]
    made.close()


def test_a_lock_that_is_held_for_long_is_told(
    postgres: Server, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.clones.postgres._LOCK_TIMEOUT", "100ms")
    made = provider(postgres.url(shop), level="schema")
    with postgres.connect(shop) as db:
        db.execute("create table t (a integer)")
        with db.transaction():
            db.execute("lock table t")
            with pytest.raises(CloneBusyError, match="hold locks"):
                made.open(record("copy"))
    made.close()


# names that mean ill


@settings(max_examples=effort(75), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=15))
@example(HOSTILE[0])
@example(HOSTILE[1])
@example(HOSTILE[2])
def test_postgres_reads_back_any_name_and_any_text_that_was_quoted(shared: Any, text: str) -> None:
    for mode in ("on", "off"):
        shared.execute(f"set standard_conforming_strings = {mode}; set escape_string_warning = off")
        found = shared.execute(f"select {postgres_text(text)} as {postgres_name(text)}")
        assert found.description[0].name == text
        assert found.fetchone() == (text,)
    shared.execute("reset standard_conforming_strings")


@pytest.fixture
def shared(postgres: Server) -> Iterator[Any]:
    with postgres.connect() as connection:
        yield connection


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_git_branch_makes_one_clone_with_a_plain_name(
    postgres: Server, shop: str, name: str
) -> None:
    plain = clone_name(
        "{source}_clone_{sandbox}_{pull_request}",
        NameRule(63),
        source=shop,
        sandbox=sandbox_name(name),
        clone="sales",
        pull_request=name,
    )
    before = postgres.databases()
    made, one = provider(postgres.url(shop)), record(plain, sandbox=name)
    made.open(one)
    assert postgres.databases() - before == {plain}
    assert [found.mark.sandbox for found in made.list("shop")] == [name]
    assert made.drop(one)
    assert postgres.databases() == before
    made.close()


@pytest.mark.parametrize("name", [name for name in HOSTILE if len(name.encode()) < 64])
def test_a_hostile_name_that_reached_a_provider_would_be_one_name_all_the_same(
    postgres: Server, shop: str, name: str
) -> None:
    before = postgres.databases()
    made, one = provider(postgres.url(shop)), record(name)
    made.open(one)
    assert postgres.databases() - before == {name}
    assert made.drop(one)
    assert postgres.databases() == before
    made.close()


def test_a_database_with_a_hostile_name_can_be_cloned(postgres: Server, tmp_path: Path) -> None:
    name = "so\"ur'ce; --"
    with postgres.connect() as admin:
        admin.execute(f"create database {postgres_name(name)}")
    try:
        from urllib.parse import quote

        made = provider(postgres.url(quote(name, safe="")))
        one = record("plain_copy")
        assert made.source_name() == name
        assert made.open(one).new
        assert made.drop(one)
        made.close()
    finally:
        with postgres.connect() as admin:
            admin.execute(f"drop database {postgres_name(name)}")
