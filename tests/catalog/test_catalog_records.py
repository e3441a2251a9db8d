"""Tags, leases, runs and notes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from catalog_world import Clock, production, put, sandbox

from anabranch.catalog.base import Catalog, Point, RunRecord, Tag
from anabranch.errors import BranchExistsError, CatalogError, LeaseError, RefError

MINUTE = timedelta(minutes=1)


# tags


def test_a_tag_names_a_commit_once(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1)
    tag = catalog.set_tag("v1", root.point, "the first")
    assert tag == Tag("v1", root.point, clock.time, "the first")
    put(catalog, root, a=2)
    clock.move(hours=1)
    assert catalog.set_tag("v1", root.point, "again") == tag
    with pytest.raises(BranchExistsError, match="'v1' names another commit"):
        catalog.set_tag("v1", Point(root.id, 2))
    catalog.set_tag("a-tag", Point(root.id, 2))
    assert [item.name for item in catalog.tags()] == ["a-tag", "v1"]
    assert catalog.tags()[1] == tag


def test_a_deleted_tag_may_be_set_elsewhere(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    catalog.set_tag("release", root.point)
    catalog.delete_tag("release")
    assert catalog.tags() == []
    catalog.set_tag("release", Point(root.id, 0))
    with pytest.raises(RefError) as caught:
        catalog.delete_tag("relaese")
    assert caught.value.hint == "did you mean 'release'?"


@pytest.mark.parametrize("name", ["", "a@1", "a b", "a\nb", "x" * 201])
def test_a_tag_that_no_ref_could_name_is_refused(catalog: Catalog, name: str) -> None:
    root = production(catalog, a=1)
    with pytest.raises(CatalogError, match="can't name a tag"):
        catalog.set_tag(name, root.point)


def test_a_tag_outlives_the_closing_of_its_branch(catalog: Catalog) -> None:
    production(catalog, a=1)
    branch = sandbox(catalog)
    put(catalog, branch, a=2)
    catalog.set_tag("kept", catalog.resolve("fix"))
    catalog.close_branch(branch.id)
    assert catalog.get(catalog.resolve("kept"), "a").version == "v2"


# leases


def test_a_lease_is_held_by_one(catalog: Catalog, clock: Clock) -> None:
    lease = catalog.acquire(
        "run:production", holder="run 1 of Ann", ttl=MINUTE, info={"run": "1", "prefixes": ["a"]}
    )
    assert (lease.name, lease.holder, lease.acquired_at) == ("run:production", "run 1 of Ann", clock.time)
    assert lease.expires_at == clock.time + MINUTE
    assert catalog.leases() == [lease]
    with pytest.raises(LeaseError, match="run:production is held by run 1 of Ann") as caught:
        catalog.acquire("run:production", holder="run 2", ttl=MINUTE)
    assert caught.value.facts == {
        "name": "run:production",
        "holder": "run 1 of Ann",
        "expires_at": lease.expires_at.isoformat(),
    }
    other = catalog.acquire("gc", holder="gc", ttl=MINUTE)
    assert other.token != lease.token
    assert [item.name for item in catalog.leases()] == ["gc", "run:production"]


def test_a_lease_that_is_over_can_be_taken_by_another_who_then_alone_holds_it(
    catalog: Catalog, clock: Clock
) -> None:
    first = catalog.acquire("run", holder="first", ttl=MINUTE)
    clock.time += MINUTE
    assert catalog.leases() == []
    second = catalog.acquire("run", holder="second", ttl=MINUTE)
    with pytest.raises(LeaseError):
        catalog.renew(first.token, ttl=MINUTE)
    catalog.release(first.token)
    assert catalog.leases() == [second]


def test_a_lease_can_be_renewed_even_when_it_is_over_if_nobody_took_it(
    catalog: Catalog, clock: Clock
) -> None:
    lease = catalog.acquire("run", holder="first", ttl=MINUTE, info={"run": "1"})
    clock.move(minutes=5)
    renewed = catalog.renew(lease.token, ttl=2 * MINUTE)
    assert renewed.expires_at == clock.time + 2 * MINUTE
    assert (renewed.acquired_at, renewed.token, renewed.info) == (
        lease.acquired_at,
        lease.token,
        {"run": "1"},
    )
    assert catalog.leases() == [renewed]


def test_a_released_lease_is_free_and_can_not_be_renewed(catalog: Catalog) -> None:
    lease = catalog.acquire("run", holder="first", ttl=MINUTE)
    catalog.release(lease.token)
    catalog.release(lease.token)
    with pytest.raises(LeaseError):
        catalog.renew(lease.token, ttl=MINUTE)
    assert catalog.acquire("run", holder="second", ttl=MINUTE).holder == "second"


# runs


def test_a_run_is_stored_replaced_and_found_by_a_beginning_of_its_id(catalog: Catalog, clock: Clock) -> None:
    run = RunRecord(
        "3k2a", 1, 2, "running", clock.time, git_commit="c0", definitions="d", properties={"steps": 3}
    )
    catalog.put_run(run)
    assert catalog.get_run("3k2a") == run
    done = RunRecord("3k2a", 1, 2, "succeeded", clock.time, clock.move(seconds=9), properties={"done": True})
    catalog.put_run(done)
    assert catalog.get_run("3k") == done
    catalog.put_run(RunRecord("3k2a9", 1, 1, "failed", clock.time))
    assert catalog.get_run("3k2a") == done
    with pytest.raises(RefError, match="several runs begin with '3k2'"):
        catalog.get_run("3k2")
    for unknown in ("x", "", "3k2a99", "%", "3k2_"):
        with pytest.raises(RefError):
            catalog.get_run(unknown)


def test_runs_are_told_newest_first_by_target(catalog: Catalog, clock: Clock) -> None:
    for number in range(6):
        catalog.put_run(RunRecord(f"r{number}", number % 2, 1, "succeeded", clock.move(seconds=number // 2)))
    assert [run.id for run in catalog.runs()] == ["r5", "r4", "r3", "r2", "r1", "r0"]
    assert [run.id for run in catalog.runs(target=1)] == ["r5", "r3", "r1"]
    assert [run.id for run in catalog.runs(target=0, limit=2)] == ["r4", "r2"]
    assert catalog.runs(target=7) == []


def test_runs_that_ended_long_ago_are_removed_but_the_newest_of_each_target_and_what_still_runs(
    catalog: Catalog, clock: Clock
) -> None:
    for number in range(6):
        start = clock.move(seconds=10)
        ended = None if number == 0 else start + timedelta(seconds=5)
        catalog.put_run(RunRecord(f"r{number}", number % 2, 1, "succeeded", start, ended))
    assert catalog.delete_runs(clock.time - timedelta(seconds=100), keep=0) == 0
    assert catalog.delete_runs(clock.time + timedelta(seconds=5), keep=2) == 1
    assert [run.id for run in catalog.runs()] == ["r5", "r4", "r3", "r2", "r0"]
    assert catalog.delete_runs(clock.time, keep=0) == 3
    assert catalog.delete_runs(clock.time, keep=0) == 0
    assert [run.id for run in catalog.runs()] == ["r5", "r0"]


# notes


def test_a_note_is_stored_replaced_and_removed(catalog: Catalog) -> None:
    catalog.put_note("approval", "h1/ann", {"at": 1})
    catalog.put_note("approval", "h1/bob", {"at": [2]})
    catalog.put_note("approval", "h2/ann", {})
    catalog.put_note("verdict", "h1/ann", {"pass": True})
    catalog.put_note("approval", "h1/ann", {"at": 3})
    assert catalog.get_note("approval", "h1/ann") == {"at": 3}
    assert catalog.get_note("approval", "h1") is None
    assert list(catalog.notes("approval").items()) == [
        ("h1/ann", {"at": 3}),
        ("h1/bob", {"at": [2]}),
        ("h2/ann", {}),
    ]
    assert list(catalog.notes("approval", "h1/")) == ["h1/ann", "h1/bob"]
    assert catalog.delete_notes("approval", "h1/") == 2
    assert list(catalog.notes("approval")) == ["h2/ann"]
    assert catalog.delete_notes("approval", "zz") == 0
    assert catalog.delete_notes("approval") == 1
    assert list(catalog.notes("verdict")) == ["h1/ann"]


def test_a_prefix_of_notes_is_taken_letter_by_letter(catalog: Catalog) -> None:
    for key in ("a_b", "axb", "a%b", "A_b", "a_", "a_é", "a_\U0001f600"):
        catalog.put_note("k", key, {})
    assert list(catalog.notes("k", "a_")) == ["a_", "a_b", "a_é", "a_\U0001f600"]
    assert catalog.delete_notes("k", "a%") == 1
