"""What every provider of clones does, on real databases: one suite for all of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from clone_worlds import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anabranch.clones.base import Provider
from anabranch.clones.registry import provider_names
from anabranch.errors import CloneError
from anabranch.settings.reference import clone_providers
from effort import effort


def test_every_provider_that_settings_name_is_registered() -> None:
    assert sorted(provider_names()) == sorted(clone_providers())


def test_a_clone_holds_what_its_source_held(world: World) -> None:
    provider, record = world.provider(), world.record()
    made = provider.open(record)
    assert made.new
    assert made.how
    assert provider.exists(record)
    assert world.rows(record.name) == [1, 2]


def test_neither_side_sees_what_the_other_writes(world: World) -> None:
    record = world.record()
    world.provider().open(record)
    world.write(record.name, 3)
    world.write(None, 4)
    assert world.rows(record.name) == [1, 2, 3]
    assert world.rows(None) == [1, 2, 4]


def test_opening_again_changes_nothing(world: World) -> None:
    record = world.record()
    world.provider().open(record)
    world.write(record.name, 3)
    assert not world.provider().open(record).new
    assert world.rows(record.name) == [1, 2, 3]


def test_a_refresh_brings_the_source_as_it_is_now(world: World) -> None:
    record = world.record()
    world.provider().open(record)
    world.write(record.name, 3)
    world.write(None, 4)
    assert world.provider().refresh(record).new
    assert world.rows(record.name) == [1, 2, 4]
    assert len([name for name in world.names() if record.making in name]) == 0


def test_a_refresh_makes_a_clone_that_is_not_there(world: World) -> None:
    record = world.record()
    assert world.provider().refresh(record).new
    assert world.rows(record.name) == [1, 2]


def test_a_drop_leaves_nothing_behind_and_may_be_repeated(world: World) -> None:
    record = world.record()
    before = world.names()
    world.provider().open(record)
    world.write(record.name, 3)
    assert world.provider().drop(record)
    assert not world.provider().exists(record)
    assert world.names() == before
    assert not world.provider().drop(record)
    assert world.rows(None) == [1, 2]


def test_what_was_dropped_can_be_opened_again(world: World) -> None:
    record = world.record()
    world.provider().open(record)
    world.provider().drop(record)
    world.provider().open(record)
    assert world.rows(record.name) == [1, 2]


def test_what_is_not_ours_is_neither_used_nor_replaced_nor_dropped(world: World) -> None:
    record = world.record()
    world.put_foreign(record.name)
    for verb in ("open", "refresh"):
        with pytest.raises(CloneError, match="exists already") as caught:
            getattr(world.provider(), verb)(record)
        assert "[clones.sales]" in (caught.value.hint or "")
    assert not world.provider().exists(record)
    assert not world.provider().drop(record)
    assert world.rows(record.name) == [99]


def test_a_clone_of_another_sandbox_is_not_ours(world: World) -> None:
    theirs = world.record()
    world.provider().open(theirs)
    mine = theirs.with_(id="0another", sandbox="other")
    with pytest.raises(CloneError, match="exists already") as caught:
        world.provider().open(mine)
    assert caught.value.facts["sandbox"] == "fix"
    assert not world.provider().drop(mine)
    assert world.provider().exists(theirs)


def test_the_list_tells_what_carries_our_mark_and_nothing_else(world: World) -> None:
    one, two = world.record(sandbox="one"), world.record(sandbox="two")
    for record in (two, one):
        world.provider().open(record)
    world.put_foreign(f"{one.source}_clone_three")
    found = world.provider().list("shop")
    assert [(each.name, each.mark) for each in found] == [(one.name, one.mark), (two.name, two.mark)]
    assert list(world.provider().list("another_project")) == []


def test_what_a_crash_left_of_the_making_is_taken_away(world: World) -> None:
    """A name that holds the record's id proves that it is ours."""
    record = world.record()
    if world.names() or "schema" in type(world).__name__.lower():
        pytest.skip("a schema is made in one transaction")
    world.put_foreign(record.making)
    assert world.provider().drop(record)
    assert world.names() == set()
    world.put_foreign(record.making)
    world.provider().open(record)
    assert world.rows(record.name) == [1, 2]
    assert not any(record.making in name for name in world.names())


def test_a_provider_says_what_it_costs_and_what_it_locks(world: World) -> None:
    provider: Provider = world.provider()
    for sentence in (provider.cost, provider.locks):
        assert sentence.endswith(".")
        assert len(sentence) > 30
    assert provider.name_rule.length > 30


def test_no_address_holds_a_password(world: World) -> None:
    record = world.record()
    for name in (None, record.name):
        assert "hunter2" not in world.provider().address(name)
    assert world.provider().address(None) != world.provider().address(record.name)


@settings(max_examples=effort(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(
        st.characters(exclude_characters="\0/\\", exclude_categories=["Cs"]), min_size=1, max_size=20
    ).filter(lambda text: not text.startswith("."))
)
def test_a_name_with_any_characters_is_one_name(world: World, name: str) -> None:
    """`clone_name` makes plain words; a provider quotes all the same."""
    if len(name.encode()) > 60 or name.lower() in {
        "postgres",
        "main",
        "memory",
        "system",
        "temp",
        world.provider().source_name(),
        "public",
    }:
        return
    record = world.record(name)
    before = world.names()
    if not world.any_name and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
        with pytest.raises(CloneError, match="can't be a branch"):
            world.provider().open(record)
        assert not world.provider().exists(record)
        assert not world.provider().drop(record)
        assert world.names() == before
        return
    try:
        world.provider().open(record)
        assert world.provider().exists(record)
        assert [each.name for each in world.provider().list("shop")] == [name]
        assert world.rows(name) == [1, 2]
    finally:
        assert world.provider().drop(record)
    assert world.names() == before


def test_a_source_that_is_gone_is_told(world: World) -> None:
    record = world.record()
    provider = world.provider()
    world.let_go()
    if hasattr(world, "lake"):
        world.lake.branches["gone"] = world.lake.branches.pop("main")
    elif hasattr(world, "account"):
        world.account.sql("alter database PRODUCTION rename to GONE")
    elif hasattr(world, "server"):
        if world.level == "schema":
            with world.server.connect(world.database) as source:
                source.execute("alter schema public rename to elsewhere")
        else:
            with world.server.connect() as admin:
                admin.execute(f"alter database {world.database} rename to {world.database}_gone")
    else:
        Path(provider.address(None)).unlink()
    with pytest.raises(CloneError):
        provider.open(record)
    assert not provider.exists(record)


def test_nothing_heavy_is_imported_to_choose_a_provider() -> None:
    script = (
        "import sys, anabranch.clones.registry as r; r.provider_names();"
        "print([m for m in ('duckdb', 'lakefs', 'psycopg', 'snowflake.connector', 'sqlite3', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"
