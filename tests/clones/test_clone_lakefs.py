"""Clones of lakeFS branches: the calls that are made, merges at promotion, and crashes at every call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clone_worlds import LakeFSWorld

from anabranch.clones.base import CloneRecord
from anabranch.clones.lakefs import LakeFS
from anabranch.errors import CloneError, ConflictError, SettingsError
from anabranch.names import now
from anabranch.settings import LakeFSClone, load_settings

NAME = "main_clone_fix"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LakeFSWorld]:
    made = LakeFSWorld(tmp_path)
    yield made
    made.close()


def provider(world: LakeFSWorld, secret: str | None = None, **settings: Any) -> LakeFS:
    given = {"provider": "lakefs", "source": "shop/main", "host": world.lake.url, **settings}
    given |= {"access_key_id": world.lake.key, "secret_access_key": "${SECRET}"}
    return LakeFS(LakeFSClone.model_validate(given), world.around(SECRET=secret or world.lake.secret))


def record(**rest: Any) -> CloneRecord:
    plain = {"id": "0abc", "project": "shop", "clone": "sales", "provider": "lakefs", "source": "main"}
    plain |= {"name": NAME, "sandbox": "fix", "branch_id": 1, "state": "making", "created_at": now()}
    return CloneRecord(**{**plain, **rest})


def test_a_clone_is_opened_by_these_calls(world: LakeFSWorld) -> None:
    world.lake.calls.clear()
    provider(world).open(record())
    marked = world.lake.branches[NAME].head
    assert world.lake.calls == [
        f"GET /repositories/shop/branches/{NAME}",
        "DELETE /repositories/shop/branches/anabranch_0abc",
        "POST /repositories/shop/branches",
        "POST /repositories/shop/branches/anabranch_0abc/commits",
        "POST /repositories/shop/tags",
        "POST /repositories/shop/branches",
        "DELETE /repositories/shop/branches/anabranch_0abc",
    ]
    assert world.lake.tags == {f"anabranch_0abc_{marked[:16]}": marked}
    assert '"sandbox": "fix"' in world.lake.commits[marked].metadata["anabranch.mark"]
    assert world.lake.commits[marked].metadata["anabranch.branch"] == NAME


def test_a_drop_takes_branch_and_tag_and_what_was_not_committed(world: LakeFSWorld) -> None:
    provider(world).open(record())
    world.write(NAME, 3)
    assert provider(world).drop(record())
    assert world.names() == set()
    assert world.lake.tags == {}
    assert world.rows(None) == [1, 2]


def test_a_refresh_leaves_one_tag(world: LakeFSWorld) -> None:
    provider(world).open(record())
    provider(world).refresh(record())
    assert list(world.lake.tags.values()) == [world.lake.branches[NAME].head]


def test_a_list_longer_than_a_page_is_read_to_its_end(world: LakeFSWorld) -> None:
    names = [f"main_clone_{number}" for number in range(8)]
    for number, name in enumerate(names):
        provider(world).open(record(id=f"0id{number}", name=name))
    assert [one.name for one in provider(world).list("shop")] == names
    assert provider(world).list("shop")[0].created_at is not None


def test_a_branch_whose_making_did_not_end_is_listed(world: LakeFSWorld) -> None:
    world.lake.fail("POST /repositories/shop/tags")
    with pytest.raises(CloneError):
        provider(world).open(record())
    assert [(one.name, one.mark.id) for one in provider(world).list("shop")] == [("anabranch_0abc", "0abc")]


def test_a_branch_that_was_deleted_by_hand_is_not_there_and_can_be_opened_again(world: LakeFSWorld) -> None:
    provider(world).open(record())
    del world.lake.branches[NAME]
    assert not provider(world).exists(record())
    assert provider(world).list("shop") == []
    assert provider(world).open(record()).new
    assert provider(world).exists(record())
    assert provider(world).drop(record())
    assert world.lake.tags == {}


@pytest.mark.parametrize("after", [False, True], ids=["before it is done", "after it was done"])
@pytest.mark.parametrize("verb", ["open", "refresh", "drop"])
def test_what_fails_at_any_call_is_finished_by_the_same_call(
    world: LakeFSWorld, verb: str, *, after: bool
) -> None:
    for number in range(12):
        provider(world).drop(record())
        if verb != "open":
            provider(world).open(record())
        world.lake.calls.clear()
        _fail_at(world, number, after=after)  # whichever call that is
        with contextlib.suppress(CloneError):
            getattr(provider(world), verb)(record())
        world.lake.faults.clear()
        getattr(provider(world), verb)(record())
        if verb == "drop":
            assert (world.names(), world.lake.tags) == (set(), {})
        else:
            assert world.names() == {NAME}
            assert world.rows(NAME) == [1, 2]
            assert provider(world).exists(record())


def _fail_at(world: LakeFSWorld, number: int, *, after: bool) -> None:
    class Counted:
        calls = 0

        def search(self, _: str) -> bool:
            self.calls += 1
            return self.calls == number + 1

    world.lake.fail("", after=after)
    world.lake.faults[-1].pattern = Counted()  # type: ignore[assignment] # it does what a pattern does


# promotion


def test_a_promotion_commits_what_is_open_and_merges_it(world: LakeFSWorld) -> None:
    provider(world).open(record())
    world.write(NAME, 3)
    world.write(None, 4)
    merged = provider(world).promote(record())
    assert merged is not None
    assert world.rows(None) == [1, 2, 3, 4]
    assert world.lake.branches["main"].head == merged
    assert world.lake.commits[merged].message == "Promote the sandbox fix"
    assert '"sandbox": "fix"' in world.lake.commits[merged].metadata["anabranch.mark"]


def test_a_promotion_may_be_repeated_and_of_nothing_does_nothing(world: LakeFSWorld) -> None:
    provider(world).open(record())
    assert provider(world).promote(record()) is None
    world.write(NAME, 3)
    head = provider(world).promote(record())
    assert provider(world).promote(record()) is None
    assert world.lake.branches["main"].head == head
    assert provider(world).exists(record())
    assert provider(world).drop(record())


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", ["POST .*/commits", "POST .*/merge/"])
def test_a_promotion_that_failed_is_finished_by_the_same_call(
    world: LakeFSWorld, call: str, *, after: bool
) -> None:
    provider(world).open(record())
    world.write(NAME, 3)
    world.lake.fail(call, after=after)
    with pytest.raises(CloneError, match="it failed"):
        provider(world).promote(record())
    provider(world).promote(record())
    assert world.rows(None) == [1, 2, 3]


def test_what_both_sides_have_changed_is_a_conflict_unless_settings_decide(world: LakeFSWorld) -> None:
    provider(world).open(record())
    world.lake.write(NAME, {"1": "ours"})
    world.lake.write("main", {"1": "theirs"})
    with pytest.raises(ConflictError, match="conflict: 1") as caught:
        provider(world).promote(record())
    assert "merge_strategy" in (caught.value.hint or "")
    assert world.lake.holds("main")["1"] == "theirs"
    provider(world, merge_strategy="source-wins").promote(record())
    assert world.lake.holds("main")["1"] == "ours"


def test_a_promotion_takes_nothing_from_what_is_not_ours(world: LakeFSWorld) -> None:
    provider(world).open(record())
    with pytest.raises(CloneError, match="is not the one of"):
        provider(world).promote(record(id="0other"))


# errors and settings


def test_no_error_holds_the_secret(world: LakeFSWorld) -> None:
    with pytest.raises(CloneError) as caught:
        provider(world, secret="hunter2-wrong").open(record())
    told = str(caught.value.to_dict())
    assert "error authenticating request" in told
    assert "credentials" in (caught.value.hint or "")
    assert "hunter2" not in told


def test_a_server_that_does_not_answer_is_told(world: LakeFSWorld) -> None:
    made = provider(world, host="http://127.0.0.1:9")
    with pytest.raises(CloneError, match="could not be looked for") as caught:
        made.exists(record())
    assert "127.0.0.1:9" in (caught.value.hint or "")


@pytest.mark.parametrize("source", ["main", "Shop/main", "shop/-x", "shop/a b", "shop/main/x"])
def test_a_source_that_is_no_branch_is_refused(tmp_path: Path, source: str) -> None:
    file = tmp_path / "anabranch.toml"
    file.write_text(
        '[project]\nname = "shop"\ndefinitions = "a:b"\n[environments.production]\ngit_branch = "main"\n'
        f'[clones.lake]\nprovider = "lakefs"\nsource = "{source}"\nhost = "http://lake"\n'
        'access_key_id = "a"\nsecret_access_key = "${KEY}"\n'
    )
    with pytest.raises(SettingsError, match="no branch of a repository"):
        load_settings(file)


def test_a_secret_in_the_file_itself_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "anabranch.toml"
    file.write_text(
        '[project]\nname = "shop"\ndefinitions = "a:b"\n[environments.production]\ngit_branch = "main"\n'
        '[clones.lake]\nprovider = "lakefs"\nsource = "shop/main"\nhost = "http://lake"\n'
        'access_key_id = "a"\nsecret_access_key = "hunter2"\n'
    )
    with pytest.raises(SettingsError, match="stands in the file itself") as caught:
        load_settings(file)
    assert "hunter2" not in str(caught.value.to_dict())
