"""Clones of Snowflake databases: the statements to the letter, grants, promotion, and crashes at every statement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from clone_worlds import SnowflakeWorld
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from anabranch.clones.base import CloneRecord
from anabranch.clones.naming import snowflake_name, snowflake_text
from anabranch.clones.snowflake import Snowflake
from anabranch.errors import CloneError, ConflictError, SettingsError
from anabranch.settings import SnowflakeClone, load_settings
from doubles.snowflake_double import Snowflake as Account
from doubles.snowflake_double import needs_snowflake

pytestmark = needs_snowflake


@pytest.fixture
def world(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SnowflakeWorld]:
    account.redirect(monkeypatch)
    made = SnowflakeWorld(tmp_path, account)
    account.forget()
    yield made
    made.close()


def provider(world: SnowflakeWorld, **settings: Any) -> Snowflake:
    connection = {
        "account": "ORG-ACCOUNT",
        "user": "loader",
        "password": "${PW}",
        **settings.pop("connection", {}),
    }
    given = {"provider": "snowflake", "source": "PRODUCTION", "connection": connection, **settings}
    made = Snowflake(SnowflakeClone.model_validate(given), world.around(PW="hunter2"))
    world.opened.append(made)
    return made


def record(**rest: Any) -> CloneRecord:
    from anabranch.names import now

    plain = {
        "id": "0abc",
        "project": "shop",
        "clone": "sales",
        "provider": "snowflake",
        "source": "PRODUCTION",
    }
    plain |= {"name": "PRODUCTION_CLONE_42", "sandbox": "it's \\ fix", "branch_id": 1, "state": "making"}
    return CloneRecord(**{**plain, "created_at": now(), **rest})


COMMENT = r"""COMMENT = 'anabranch clone {"id": "0abc", "project": "shop", "clone": "sales", "sandbox": "it''s \\\\ fix"}'"""


# statements


def test_a_clone_is_made_by_these_statements(world: SnowflakeWorld) -> None:
    provider(world).open(record())
    assert world.account.statements() == [
        "SHOW DATABASES STARTS WITH 'PRODUCTION_CLONE_42'",
        f'CREATE OR REPLACE DATABASE "anabranch_0abc" CLONE "PRODUCTION" {COMMENT}',
        'ALTER DATABASE "anabranch_0abc" RENAME TO "PRODUCTION_CLONE_42"',
    ]


def test_all_that_settings_say_is_in_the_statements(world: SnowflakeWorld) -> None:
    account = world.account
    account.sql("create role ANALYST", 'create role "dev role"', "create role READER")
    account.sql("grant usage on database PRODUCTION to role READER", "grant ownership on database PRODUCTION to role READER")  # fmt: skip
    account.keep_history()
    grants = {"analyst": ["usage", "CREATE SCHEMA"], '"dev role"': ["USAGE"]}
    provider(world, retention_days=0, copy_grants=True, grants=grants).open(record())
    assert account.statements()[1:] == [
        f'CREATE OR REPLACE DATABASE "anabranch_0abc" CLONE "PRODUCTION" DATA_RETENTION_TIME_IN_DAYS = 0 {COMMENT}',
        'SHOW GRANTS ON DATABASE "PRODUCTION"',
        'GRANT CREATE SCHEMA ON DATABASE "anabranch_0abc" TO ROLE "ANALYST"',
        'GRANT USAGE ON DATABASE "anabranch_0abc" TO ROLE "ANALYST"',
        'GRANT USAGE ON DATABASE "anabranch_0abc" TO ROLE "READER"',
        'GRANT USAGE ON DATABASE "anabranch_0abc" TO ROLE "dev role"',
        'ALTER DATABASE "anabranch_0abc" RENAME TO "PRODUCTION_CLONE_42"',
    ]
    told = account.sql("show grants on database PRODUCTION_CLONE_42")
    assert sorted((row[4], row[0]) for row in told) == [
        ("ANALYST", "CREATE SCHEMA"),
        ("ANALYST", "USAGE"),
        ("READER", "USAGE"),
        ("dev role", "USAGE"),
    ]
    account.keep_history(keep=False)


def test_a_clone_of_an_earlier_state_is_asked_for_by_time_travel(world: SnowflakeWorld) -> None:
    with pytest.raises(CloneError, match="Time travel") as caught:
        provider(world, as_of="10m").open(record())
    assert "AT (OFFSET => -600) COMMENT" in world.account.statements()[-1]
    assert "as_of" in (caught.value.hint or "")
    assert world.names() == set()


def test_a_refresh_replaces_the_copy_by_one_statement(world: SnowflakeWorld) -> None:
    provider(world).open(record())
    world.write(None, 3)
    world.account.forget()
    provider(world).refresh(record())
    assert world.account.statements() == [
        "SHOW DATABASES STARTS WITH 'PRODUCTION_CLONE_42'",
        f'CREATE OR REPLACE DATABASE "PRODUCTION_CLONE_42" CLONE "PRODUCTION" {COMMENT}',
        "SHOW DATABASES STARTS WITH 'anabranch_0abc'",
    ]
    assert world.rows("PRODUCTION_CLONE_42") == [1, 2, 3]


def test_a_drop_looks_before_it_drops(world: SnowflakeWorld) -> None:
    provider(world).open(record())
    world.account.forget()
    provider(world).drop(record())
    assert world.account.statements() == [
        "SHOW DATABASES STARTS WITH 'anabranch_0abc'",
        "SHOW DATABASES STARTS WITH 'PRODUCTION_CLONE_42'",
        'DROP DATABASE IF EXISTS "PRODUCTION_CLONE_42"',
    ]


def test_a_list_longer_than_a_page_is_read_to_its_end(
    world: SnowflakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.clones.snowflake._PAGE", 2)
    names = [f"PRODUCTION_CLONE_{number}" for number in range(5)]
    for number, name in enumerate(names):
        provider(world).open(record(id=f"0id{number}", name=name))
    assert [one.name for one in provider(world).list("shop")] == names
    assert provider(world).list("shop")[0].created_at is not None


# crashes


@pytest.mark.parametrize("after", [False, True], ids=["before it is done", "after it was done"])
@pytest.mark.parametrize("verb", ["open", "refresh", "drop"])
def test_what_fails_at_any_statement_is_finished_by_the_same_call(
    world: SnowflakeWorld, verb: str, *, after: bool
) -> None:
    world.account.sql("create role if not exists ANALYST")
    settings = {"grants": {"ANALYST": ["USAGE"]}}
    for pattern in ("^SHOW", "^CREATE", "^GRANT", "^ALTER", "^DROP"):
        provider(world, **settings).drop(record())
        if verb != "open":
            provider(world, **settings).open(record())
        world.account.forget()
        world.account.fail(pattern, after=after)
        try:
            getattr(provider(world, **settings), verb)(record())
        except CloneError:
            assert len(world.names()) <= 1
        world.account.mend()
        getattr(provider(world, **settings), verb)(record())
        if verb == "drop":
            assert world.names() == set()
        else:
            assert world.names() == {"PRODUCTION_CLONE_42"}
            assert world.rows("PRODUCTION_CLONE_42") == [1, 2]
            granted = world.account.sql("show grants on database PRODUCTION_CLONE_42")
            assert [(row[4], row[0]) for row in granted] == [("ANALYST", "USAGE")]


# promotion


@pytest.fixture
def changed(world: SnowflakeWorld) -> SnowflakeWorld:
    """Two tables that the copy has changed, and one that it has not."""
    account = world.account
    account.sql("create role if not exists ANALYST", "use database PRODUCTION", "create schema HN")
    account.sql("create table PRODUCTION.HN.ITEMS as select 1 as id", 'create table PRODUCTION.HN."Odd ""name""" as select 1 as id')  # fmt: skip
    account.sql("grant select on table PRODUCTION.HN.ITEMS to role ANALYST")
    provider(world).open(record())
    for table in ("ITEMS", '"Odd ""name"""'):
        account.sql(f"insert into PRODUCTION_CLONE_42.HN.{table} values (2)")
    account.sql("create table PRODUCTION_CLONE_42.HN.FRESH as select 7 as id")
    account.forget()
    return world


TABLES = ("HN.ITEMS", 'hn."Odd ""name"""', "HN.FRESH")


def ids(world: SnowflakeWorld, table: str) -> list[int]:
    return sorted(a for (a,) in world.account.sql(f"select id from PRODUCTION.{table}"))


def test_a_promotion_puts_clones_of_the_copys_tables_in_the_sources_place(changed: SnowflakeWorld) -> None:
    begun: list[str] = []
    plan = provider(changed).promote(record(), TABLES, begin=begun.append)
    assert [one.table for one in plan] == list(TABLES) == begun
    assert changed.account.statements()[-3:] == [
        'CREATE OR REPLACE TABLE "PRODUCTION"."HN"."ITEMS" CLONE "PRODUCTION_CLONE_42"."HN"."ITEMS" COPY GRANTS',
        'CREATE OR REPLACE TABLE "PRODUCTION"."HN"."Odd ""name""" CLONE "PRODUCTION_CLONE_42"."HN"."Odd ""name""" COPY GRANTS',
        'CREATE OR REPLACE TABLE "PRODUCTION"."HN"."FRESH" CLONE "PRODUCTION_CLONE_42"."HN"."FRESH" COPY GRANTS',
    ]
    assert [ids(changed, table) for table in TABLES] == [[1, 2], [1, 2], [7]]
    granted = changed.account.sql("show grants on table PRODUCTION.HN.ITEMS")
    assert [(row[4], row[0]) for row in granted] == [("ANALYST", "SELECT")]


def test_a_plan_of_a_promotion_changes_nothing(changed: SnowflakeWorld) -> None:
    plan = provider(changed).plan_promotion(record(), TABLES)
    assert [one.changed for one in plan] == [None, None, None]
    assert ids(changed, "HN.ITEMS") == [1]
    assert not [text for text in changed.account.statements() if text.startswith("CREATE")]


def test_what_somebody_has_changed_in_the_source_meanwhile_is_not_lost(changed: SnowflakeWorld) -> None:
    changed.account.sql("insert into PRODUCTION.HN.ITEMS values (99)")
    changed.account.forget()
    with pytest.raises(ConflictError, match=r"HN\.ITEMS was changed in PRODUCTION") as caught:
        provider(changed).promote(record(), ['HN."Odd ""name"""', "HN.ITEMS"])
    assert "refresh" in (caught.value.hint or "")
    # All is refused before the first is replaced.
    assert [ids(changed, table) for table in TABLES[:2]] == [[1, 99], [1]]
    provider(changed).promote(record(), ["HN.ITEMS"], accept_changed=True)
    assert ids(changed, "HN.ITEMS") == [1, 2]


@pytest.mark.parametrize("after", [False, True])
def test_a_promotion_that_was_interrupted_is_finished_by_the_same_call(
    changed: SnowflakeWorld, *, after: bool
) -> None:
    begun: list[str] = []
    changed.account.fail("^CREATE OR REPLACE TABLE .*Odd", after=after)
    with pytest.raises(CloneError, match="could not be promoted from"):
        provider(changed).promote(record(), TABLES, begin=begun.append)
    assert begun == list(TABLES[:2])
    assert ids(changed, "HN.ITEMS") == [1, 2]
    # Without what was begun, it would take its own doing for somebody else's.
    with pytest.raises(ConflictError):
        provider(changed).promote(record(), TABLES)
    provider(changed).promote(record(), TABLES, begun=begun)
    assert [ids(changed, table) for table in TABLES] == [[1, 2], [1, 2], [7]]


@pytest.mark.parametrize(
    ("tables", "match"),
    [
        (["HN.NOTHING"], "has no table HN.NOTHING"),
        (["ITEMS"], "names no table"),
        (["A.B; DROP"], "names no table"),
    ],
)
def test_a_promotion_of_what_is_not_there_is_refused(
    changed: SnowflakeWorld, tables: list[str], match: str
) -> None:
    with pytest.raises(CloneError, match=match):
        provider(changed).promote(record(), [*TABLES, *tables])
    assert ids(changed, "HN.ITEMS") == [1]


def test_a_promotion_takes_nothing_from_what_is_not_ours(changed: SnowflakeWorld) -> None:
    with pytest.raises(CloneError, match="is not the one of"):
        provider(changed).promote(record(id="0other"), TABLES)
    assert ids(changed, "HN.ITEMS") == [1]


# the connection


def test_the_connector_gets_what_settings_say(world: SnowflakeWorld) -> None:
    connection = {"role": "LOADER", "warehouse": "SMALL", "client_session_keep_alive": True}
    provider(world, connection=connection).exists(record())
    login = next(one for one in world.account.logins() if one["ACCOUNT_NAME"] == "ORG-ACCOUNT")
    mine = [one for one in world.account.logins() if one["roleName"] == "LOADER"]
    assert (login["LOGIN_NAME"], mine[0]["warehouse"]) == ("loader", "SMALL")


def test_no_error_holds_the_password(world: SnowflakeWorld) -> None:
    made = Snowflake(
        SnowflakeClone.model_validate(
            {
                "provider": "snowflake",
                "source": "PRODUCTION",
                "connection": {"account": "a", "user": "u", "password": "${PW}"},
            }
        ),
        world.around(PW="wrong"),
    )
    with pytest.raises(CloneError) as caught:
        made.open(record())
    told = str(caught.value.to_dict())
    assert "Incorrect username or password" in told
    assert "clones.sales.connection" in told
    world.account.fail("^SHOW", message="the password hunter2 is bad")
    with pytest.raises(CloneError) as caught:
        provider(world).open(record())
    assert "hunter2" not in str(caught.value.to_dict())
    assert "***" in caught.value.message


@pytest.mark.parametrize(
    ("errno", "hint"), [(2003, "USAGE"), (3001, "CREATE DATABASE"), (2002, "can't see"), (1234, "again")]
)
def test_an_error_of_snowflake_has_advice(world: SnowflakeWorld, errno: int, hint: str) -> None:
    world.account.fail("^CREATE", errno=errno, message="no")
    with pytest.raises(CloneError) as caught:
        provider(world).open(record())
    assert hint in (caught.value.hint or "")
    assert caught.value.facts["errno"] == errno


# names and texts

ANY = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(ANY)
def test_a_quoted_name_means_itself_by_snowflakes_grammar(name: str) -> None:
    quoted = snowflake_name(name)
    parsed = sqlglot.parse_one(f"CREATE OR REPLACE DATABASE x CLONE {quoted}", read="snowflake")
    clone = parsed.find(exp.Clone)
    assert clone is not None
    assert clone.this.name == name
    column = sqlglot.parse_one(f"SELECT 1 AS {quoted}", read="snowflake")
    assert isinstance(column, exp.Select)
    assert column.expressions[0].alias == name
    table = sqlglot.parse_one(f"SELECT * FROM {quoted}.{quoted}.{quoted}", read="snowflake").find(exp.Table)
    assert table is not None
    assert (table.catalog, table.db, table.name) == (name, name, name)


@given(ANY, ANY)
def test_two_names_in_a_statement_stay_two(one: str, other: str) -> None:
    text = f"CREATE OR REPLACE TABLE {snowflake_name(one)} CLONE {snowflake_name(other)}"
    parsed = sqlglot.parse(text, read="snowflake")
    assert len(parsed) == 1
    tree = parsed[0]
    assert isinstance(tree, exp.Create)
    assert tree.this.name == one
    assert tree.args["clone"].this.name == other


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60))
def test_a_text_means_itself_by_snowflakes_grammar(text: str) -> None:
    parsed = sqlglot.parse(f"SELECT {snowflake_text(text)}, 1", read="snowflake")
    assert len(parsed) == 1
    tree = parsed[0]
    assert isinstance(tree, exp.Select)
    assert [type(one) for one in tree.expressions] == [exp.Literal, exp.Literal]
    assert tree.expressions[0].this == text


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 256, "\ud800"])
def test_what_can_be_no_name_is_refused(name: str) -> None:
    with pytest.raises(CloneError):
        snowflake_name(name)


@pytest.mark.parametrize(
    ("source", "means"),
    [("production", "PRODUCTION"), ('"Production"', "Production"), ('"a""b"', 'a"b'), ("A$1", "A$1")],
)
def test_a_source_is_read_as_sql_reads_it(world: SnowflakeWorld, source: str, means: str) -> None:
    assert provider(world, source=source).source_name() == means


@pytest.mark.parametrize("source", ["a b", 'a"', '"a"b"', "a;drop", '""'])
def test_a_source_that_is_no_name_is_refused(world: SnowflakeWorld, source: str) -> None:
    with pytest.raises(CloneError, match="no name of a database"):
        provider(world, source=source)


# settings

TOML = """
[project]
name = "shop"
definitions = "shop.definitions:defs"

[environments.production]
git_branch = "main"

[clones.sales]
provider = "snowflake"
source = "PRODUCTION"
{more}
"""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("", "connection"),
        ('connection = { user = "u" }', "names no account"),
        ('connection = { account = "a", password = "hunter2" }', "stands in the file itself"),
        ('connection = { account = "a", database = "b" }', "database is no part"),
        ('connection = { account = "a" }\ngrants = { A = "USAGE" }', "lists of privileges"),
        (
            'connection = { account = "a" }\ngrants = { A = ["USAGE ON DATABASE X TO ROLE Y; DROP"] }',
            "no privilege",
        ),
        ('connection = { account = "a" }\ngrants = { A = ["OWNERSHIP"] }', "no privilege"),
        ('connection = { account = "a" }\nretention_days = 91', "90"),
    ],
)
def test_a_mistake_in_settings_is_told(tmp_path: Path, more: str, words: str) -> None:
    file = tmp_path / "anabranch.toml"
    file.write_text(TOML.format(more=more))
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    told = str(caught.value.to_dict())
    assert words in told
    assert "hunter2" not in told


def test_secrets_of_the_connection_are_neither_shown_nor_given_to_steps(tmp_path: Path) -> None:
    file = tmp_path / "anabranch.toml"
    connection = 'connection = { account = "a", user = "u", password = "${SNOWFLAKE_PASSWORD}" }'
    file.write_text(TOML.format(more=connection))
    settings = load_settings(file)
    assert settings.own_variables() == ("SNOWFLAKE_PASSWORD",)
    assert "SNOWFLAKE_PASSWORD" not in repr(settings.clones["sales"])
