"""Commits: what lands, what is refused, in which order, and what a repetition does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from catalog_world import Clock, entries, entry, keep_all, production, put, sandbox, seen, versions

from anabranch.catalog.base import Catalog, CommitRequest, Point, Provenance
from anabranch.errors import CatalogError, ConflictError, LeaseError, RefError


def test_a_commit_changes_keys_all_at_once_and_is_told_whole(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1, b=1)
    clock.move(seconds=1.000001)
    request = CommitRequest(
        root.id,
        changes=entries(a=2, b=None, c=1),
        kind="promote",
        message="Publish",
        author="Ann",
        git_commit="c0ffee",
        definitions="d1",
        run="r1",
        properties={"approved_by": ["Bob"]},
        idempotency_key="once",
    )
    commit = catalog.commit(request)
    assert commit == catalog.get_commit(commit.point)
    assert (commit.branch_id, commit.branch, commit.number, commit.base, commit.time, commit.keys) == (
        root.id,
        "production",
        2,
        None,
        clock.time,
        3,
    )
    for name in (
        "kind",
        "message",
        "author",
        "git_commit",
        "definitions",
        "run",
        "properties",
        "idempotency_key",
    ):
        assert getattr(commit, name) == getattr(request, name)
    assert seen(catalog, "production") == {"a": "2", "c": "1"}
    assert seen(catalog, "production@1") == {"a": "1", "b": "1"}
    assert catalog.branch("production").head == 2


def test_an_entry_comes_back_as_it_was_written(catalog: Catalog) -> None:
    root = production(catalog)
    full = Provenance(
        fingerprint="f",
        code="c",
        code_parts={"f": "1"},
        config="k",
        config_parts={"x": "1"},
        inputs={"up": "v1"},
        outside="etag",
        run="r",
        git_commit="g",
        dirty=True,
        environment="production",
        computed_at="2026-11-20T09:00:00+00:00",
        rows=0,
        bytes=2**40,
        seconds=0.25,
        memory=10,
        partitions={"2026-01-01": {"version": "v"}},
        extra={"note": "„ünïcode“ 'quoted' \x00"},
    )
    written = {
        "a": replace(entry("a", 1), provenance=full),
        "marts.b": replace(entry("marts.b", 1), kind="file", provenance=Provenance()),
    }
    commit = catalog.commit(CommitRequest(root.id, changes=written))
    assert catalog.entries(commit.point) == written
    assert catalog.get(commit.point, "a") == written["a"]


def test_a_closed_branch_takes_no_commit(catalog: Catalog) -> None:
    production(catalog)
    branch = sandbox(catalog)
    catalog.close_branch(branch.id)
    with pytest.raises(CatalogError, match="fix is closed"):
        put(catalog, branch, a=1)
    assert catalog.branch_by_id(branch.id).head == 0


def test_an_unknown_branch_takes_no_commit(catalog: Catalog) -> None:
    with pytest.raises(RefError):
        put(catalog, 5, a=1)


def test_a_request_without_any_change_makes_a_commit_all_the_same(catalog: Catalog) -> None:
    root = production(catalog)
    commit = catalog.commit(CommitRequest(root.id, message="only a record", properties={"audit": 1}))
    assert (commit.number, commit.keys) == (1, 0)
    assert catalog.commit_changes(commit.point) == []


@pytest.mark.parametrize(
    "broken",
    [
        {"changes": {"a b": entry("a b", 1)}},
        {"changes": {"": None}},
        {"changes": {"a": entry("b", 1)}},
        {"changes": {"a": replace(entry("a", 1), location="")}},
        {"changes": {"a": entry("a", 1)}, "drop": ["a"]},
    ],
)
def test_a_request_that_contradicts_itself_is_refused(catalog: Catalog, broken: dict) -> None:
    root = production(catalog)
    with pytest.raises(CatalogError):
        catalog.commit(CommitRequest(root.id, **broken))
    assert catalog.branch("production").head == 0


# expectations


def test_an_expectation_that_holds_lets_the_commit_land(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    catalog.commit(
        CommitRequest(
            root.id,
            changes=entries(a=2, b=1),
            expect={"a": "v1", "b": None, "c": None},
            expect_location={"a": "lake/a/1.json"},
            expect_head=1,
        )
    )
    assert seen(catalog, "production") == {"a": "2", "b": "1"}


@pytest.mark.parametrize(
    ("expectation", "facts"),
    [
        ({"expect": {"a": "v0"}}, {"key": "a", "expected": "v0", "found": "v1"}),
        ({"expect": {"a": None}}, {"key": "a", "expected": None, "found": "v1"}),
        ({"expect": {"gone": "v1"}}, {"key": "gone", "expected": "v1", "found": None}),
        ({"expect_location": {"a": "x"}}, {"key": "a", "expected": "x", "found": "lake/a/1.json"}),
        ({"expect_location": {"never": "x"}}, {"key": "never", "expected": "x", "found": None}),
        ({"expect_head": 1}, {"key": None, "expected": 1, "found": 2}),
        ({"expect": {"b": "v9", "a": "v9"}}, {"key": "a", "expected": "v9", "found": "v1"}),
        (
            {"expect": {"b": "v9"}, "expect_location": {"a": "x"}},
            {"key": "a", "expected": "x", "found": "lake/a/1.json"},
        ),
    ],
)
def test_an_expectation_that_fails_is_a_conflict_that_names_it(
    catalog: Catalog, expectation: dict, facts: dict
) -> None:
    root = production(catalog, a=1, b=1, gone=1)
    put(catalog, root, gone=None)
    before = catalog.branch("production"), catalog.statistics()
    with pytest.raises(ConflictError) as caught:
        catalog.commit(
            CommitRequest(root.id, changes=entries(z=1), branch_properties={"x": 1}, **expectation)
        )
    assert caught.value.facts == facts
    assert (catalog.branch("production"), catalog.statistics()) == before
    assert "z" not in seen(catalog, "production")


def test_a_branch_expects_of_its_base_what_it_sees_of_it(catalog: Catalog) -> None:
    production(catalog, a=1, b=1)
    branch = sandbox(catalog)
    put(catalog, catalog.branch("production"), a=2)
    catalog.commit(CommitRequest(branch.id, changes=entries(b=None), expect={"a": "v1", "b": "v1"}))
    with pytest.raises(ConflictError):
        catalog.commit(CommitRequest(branch.id, expect={"b": "v1"}))
    catalog.commit(CommitRequest(branch.id, expect={"b": None}))


def test_many_expectations_are_judged_as_few(catalog: Catalog) -> None:
    names = [f"k{number:04d}" for number in range(2500)]
    root = production(catalog, **dict.fromkeys(names, 1))
    branch = sandbox(catalog)
    put(catalog, branch, k0007=2)
    expect = dict.fromkeys(names, "v1") | {"k0007": "v2"}
    catalog.commit(CommitRequest(branch.id, expect=expect))
    with pytest.raises(ConflictError, match="k2499"):
        catalog.commit(CommitRequest(branch.id, expect=expect | {"k2499": "v0"}))
    with pytest.raises(ConflictError, match="k0007"):
        catalog.commit(CommitRequest(root.id, expect=expect))


# idempotency


def test_a_commit_under_a_known_key_is_returned_and_nothing_is_done(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1)
    request = CommitRequest(root.id, changes=entries(a=2), expect={"a": "v1"}, idempotency_key="once")
    first = catalog.commit(request)
    put(catalog, root, a=3)
    clock.move(hours=1)
    assert catalog.commit(request) == first
    assert seen(catalog, "production") == {"a": "3"}


def test_a_known_key_goes_before_every_other_check(catalog: Catalog) -> None:
    production(catalog, a=1)
    branch = sandbox(catalog)
    first = catalog.commit(
        CommitRequest(branch.id, changes=entries(a=2), idempotency_key="once", close=[branch.id])
    )
    again = CommitRequest(branch.id, lease="lost", expect_head=77, expect={"a": "no"}, idempotency_key="once")
    assert catalog.commit(again) == first


def test_a_key_is_known_to_its_own_branch_only(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    branch = sandbox(catalog)
    one = catalog.commit(CommitRequest(root.id, idempotency_key="once"))
    two = catalog.commit(CommitRequest(branch.id, idempotency_key="once"))
    assert one.branch_id != two.branch_id


def test_a_commit_that_was_refused_leaves_its_key_unknown(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    with pytest.raises(ConflictError):
        catalog.commit(
            CommitRequest(root.id, changes=entries(a=2), expect={"a": None}, idempotency_key="once")
        )
    assert catalog.commit(CommitRequest(root.id, changes=entries(a=2), idempotency_key="once")).number == 2


# deletions, drop and base


def test_a_deletion_hides_the_parents_entry(catalog: Catalog) -> None:
    root = production(catalog, a=1, b=1)
    branch = sandbox(catalog)
    put(catalog, branch, a=None)
    assert seen(catalog, "fix") == {"b": "1"}
    assert catalog.get(catalog.resolve("fix"), "a") is None
    put(catalog, root, a=2)
    catalog.commit(CommitRequest(branch.id, base=2, kind="sync"))
    assert seen(catalog, "fix") == {"b": "1"}
    put(catalog, branch, a=3)
    assert seen(catalog, "fix") == {"a": "3", "b": "1"}
    assert seen(catalog, "fix@1") == {"b": "1"}


def test_a_dropped_key_shows_the_parents_entry_again(catalog: Catalog) -> None:
    production(catalog, a=1, b=1)
    branch = sandbox(catalog)
    put(catalog, branch, a=2, b=None, c=2)
    commit = catalog.commit(CommitRequest(branch.id, drop=["a", "b", "c", "never"]))
    assert commit.keys == 3
    assert seen(catalog, "fix") == {"a": "1", "b": "1"}
    assert catalog.own(catalog.resolve("fix")) == {}
    assert seen(catalog, "fix@1") == {"a": "2", "c": "2"}


def test_a_dropped_key_of_a_root_is_gone(catalog: Catalog) -> None:
    root = production(catalog, a=1, b=1)
    assert catalog.commit(CommitRequest(root.id, drop=("a",))).keys == 1
    assert seen(catalog, "production") == {"b": "1"}


def test_a_sync_moves_the_base_and_old_commits_keep_theirs(catalog: Catalog) -> None:
    root = production(catalog, a=1, b=1)
    branch = sandbox(catalog)
    put(catalog, branch, b=9)
    put(catalog, root, a=2, b=2, c=2)
    commit = catalog.commit(CommitRequest(branch.id, base=2, kind="sync"))
    assert (commit.base, catalog.branch("fix").base) == (2, 2)
    assert seen(catalog, "fix") == {"a": "2", "b": "9", "c": "2"}
    assert seen(catalog, "fix@1") == {"a": "1", "b": "9"}
    assert seen(catalog, "fix@0") == {"a": "1", "b": "1"}
    assert [change.key for change in catalog.commit_changes(commit.point)] == ["a", "c"]
    back = catalog.commit(CommitRequest(branch.id, base=0, kind="sync"))
    assert (back.base, seen(catalog, "fix")) == (0, {"b": "9"})


def test_expectations_are_seen_over_the_new_base_and_before_the_drop(catalog: Catalog) -> None:
    root = production(catalog, a=1, b=1)
    branch = sandbox(catalog)
    put(catalog, branch, b=9)
    put(catalog, root, a=2, b=2)
    with pytest.raises(ConflictError) as caught:
        catalog.commit(CommitRequest(branch.id, base=2, expect={"a": "v1"}))
    assert caught.value.facts["found"] == "v2"
    catalog.commit(CommitRequest(branch.id, base=2, drop=["b"], expect={"a": "v2", "b": "v9"}))
    assert seen(catalog, "fix") == {"a": "2", "b": "2"}


def test_a_base_must_be_a_commit_of_the_parent(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    branch = sandbox(catalog)
    with pytest.raises(RefError, match="production@2 does not exist"):
        catalog.commit(CommitRequest(branch.id, base=2))
    with pytest.raises(CatalogError, match="stands on no other branch"):
        catalog.commit(CommitRequest(root.id, base=0))


def test_a_promotion_publishes_and_closes_in_one_commit(catalog: Catalog) -> None:
    root = production(catalog, a=1, b=1)
    branch = sandbox(catalog)
    put(catalog, branch, a=2, b=None)
    candidate = catalog.own(catalog.resolve("fix"))
    catalog.commit(
        CommitRequest(
            root.id,
            changes=candidate,
            expect={"a": "v1", "b": "v1"},
            kind="promote",
            close=[branch.id],
            branch_properties={"hold": None, "promoted": "fix"},
        )
    )
    assert seen(catalog, "production") == {"a": "2"}
    assert not catalog.branch_by_id(branch.id).open
    assert catalog.branch("production").properties == {"promoted": "fix"}


def test_a_commit_whose_closing_is_refused_does_nothing(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    first = sandbox(catalog, "first")
    second = sandbox(catalog, "second", "first")
    with pytest.raises(CatalogError, match="second stands on it"):
        catalog.commit(CommitRequest(root.id, changes=entries(a=2), close=[first.id]))
    with pytest.raises(RefError):
        catalog.commit(CommitRequest(root.id, changes=entries(a=2), close=[99]))
    assert seen(catalog, "production") == {"a": "1"}
    catalog.commit(CommitRequest(root.id, changes=entries(a=2), close=[first.id, second.id]))
    assert [branch.name for branch in catalog.branches()] == ["production"]


# leases


def test_a_commit_under_a_lease_lands_only_while_it_is_held(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog)
    lease = catalog.acquire("run:production", holder="Ann", ttl=timedelta(minutes=1))
    catalog.commit(CommitRequest(root.id, changes=entries(a=1), lease=lease.token))
    clock.move(minutes=2)
    with pytest.raises(LeaseError):
        catalog.commit(CommitRequest(root.id, changes=entries(a=2), lease=lease.token))
    catalog.renew(lease.token, ttl=timedelta(minutes=1))
    catalog.commit(CommitRequest(root.id, changes=entries(a=3), lease=lease.token))
    catalog.release(lease.token)
    with pytest.raises(LeaseError):
        catalog.commit(CommitRequest(root.id, changes=entries(a=4), lease=lease.token))
    assert seen(catalog, "production") == {"a": "3"}


def test_the_checks_come_in_their_order(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    branch = sandbox(catalog)
    put(catalog, branch, b=1)
    catalog.commit(CommitRequest(branch.id, drop=["b"]))
    catalog.retire(keep_all(catalog, fix=2))
    wrong = {
        "lease": ("lost", LeaseError, "lease was lost"),
        "expect_head": (99, ConflictError, "head of fix"),
        "base": (99, RefError, "production@99"),
        "expect": ({"a": "v9"}, ConflictError, "a on fix is at version"),
        "changes": (entries(b=1), ConflictError, "condemned"),
        "close": ([root.id], CatalogError, "stands on it"),
    }
    names = list(wrong)
    for place in range(len(names)):
        later = {name: wrong[name][0] for name in names[place:]}
        _, error, told = wrong[names[place]]
        with pytest.raises(error, match=told):
            catalog.commit(CommitRequest(branch.id, **later))
    assert catalog.branch("fix").head == 2


def test_a_caller_who_changes_what_it_passed_changes_nothing_here(catalog: Catalog) -> None:
    root = production(catalog)
    audit = {"list": [1]}
    commit = catalog.commit(CommitRequest(root.id, properties=audit))
    audit["list"].append(2)
    assert catalog.get_commit(commit.point).properties == {"list": [1]}


def test_a_rollback_is_a_commit_that_restores_an_earlier_state(catalog: Catalog) -> None:
    root = production(catalog, a=1, b=1)
    put(catalog, root, a=2, c=2, b=None)
    changes = catalog.changes(catalog.resolve("production"), Point(root.id, 1))
    catalog.commit(
        CommitRequest(root.id, changes={change.key: change.after for change in changes}, kind="rollback")
    )
    assert catalog.entries(catalog.resolve("production")) == catalog.entries(Point(root.id, 1))
    assert versions(catalog.entries(Point(root.id, 2))) == {"a": "2", "c": "2"}
