"""Branches: opening, naming, closing, and what a ref means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from catalog_world import Clock, entries, production, put, sandbox, seen

from anabranch.catalog.base import Catalog, CommitRequest, Point
from anabranch.errors import BranchExistsError, CatalogError, RefError
from anabranch.names import Ref


def test_a_new_branch_has_one_commit_that_tells_how_it_was_opened(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1)
    expiry = clock.time + timedelta(days=14)
    branch = catalog.open_branch(
        "fix",
        kind="sandbox",
        parent=root.point,
        expires_at=expiry.astimezone(timezone(timedelta(hours=5))),
        properties={"git_branch": "fix", "nothing": None, "list": (1, 2)},
        message="Open fix",
        author="Ann",
        git_commit="c0ffee",
        definitions="d1",
    )
    assert (branch.parent, branch.base, branch.head, branch.open) == (root.id, 1, 0, True)
    assert branch.base_point == root.point
    assert branch.created_at == clock.time
    assert (branch.expires_at, branch.expires_at.tzinfo) == (expiry, UTC)
    assert branch.properties == {"git_branch": "fix", "list": [1, 2]}
    assert catalog.branch("fix") == catalog.branch_by_id(branch.id) == branch
    (commit,) = catalog.commits(branch.id)
    assert (commit.number, commit.kind, commit.base, commit.keys) == (0, "open", 1, 0)
    assert (commit.message, commit.author, commit.git_commit, commit.definitions) == (
        "Open fix",
        "Ann",
        "c0ffee",
        "d1",
    )


def test_a_branch_sees_what_its_parent_saw_at_the_base(catalog: Catalog) -> None:
    production(catalog, a=1, b=1)
    sandbox(catalog)
    put(catalog, catalog.branch("production"), a=2, c=2, b=None)
    assert seen(catalog, "fix") == {"a": "1", "b": "1"}
    assert seen(catalog, "production") == {"a": "2", "c": "2"}


def test_a_branch_may_stand_on_an_old_commit(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    put(catalog, root, a=2)
    sandbox(catalog, "old", "production@1")
    sandbox(catalog, "oldest", "production@0")
    assert seen(catalog, "old") == {"a": "1"}
    assert seen(catalog, "oldest") == {}


def test_branches_stand_on_branches_to_any_depth(catalog: Catalog) -> None:
    production(catalog, a=0, b=0, c=0)
    for level in range(1, 6):
        sandbox(catalog, f"s{level}", "production" if level == 1 else f"s{level - 1}")
        put(
            catalog,
            catalog.branch(f"s{level}"),
            **{"a": level, "bcde"[level % 4]: None if level == 2 else level},
        )
    assert seen(catalog, "s5") == {"a": "5", "b": "4", "c": "5", "e": "3"}
    assert seen(catalog, "s3") == {"a": "3", "b": "0", "c": "1", "e": "3"}
    assert seen(catalog, "production") == {"a": "0", "b": "0", "c": "0"}


def test_two_open_branches_never_share_a_name(catalog: Catalog) -> None:
    production(catalog)
    with pytest.raises(BranchExistsError, match="production"):
        catalog.open_branch("production", kind="environment")
    assert len(catalog.branches()) == 1


def test_the_name_of_a_closed_branch_may_be_used_again_under_another_id(catalog: Catalog) -> None:
    production(catalog, a=1)
    first = sandbox(catalog)
    put(catalog, first, a=2)
    catalog.close_branch(first.id)
    second = sandbox(catalog)
    assert second.id != first.id
    assert seen(catalog, "fix") == {"a": "1"}
    assert catalog.get(Point(first.id, 1), "a").version == "v2"
    assert catalog.branch("fix").id == second.id


@pytest.mark.parametrize("name", ["", "Upper", "a b", "a@b", "a/b", "x" * 65, "-dash", "naïve"])
def test_a_name_that_no_ref_could_hold_is_refused(catalog: Catalog, name: str) -> None:
    with pytest.raises(CatalogError, match="can't name a branch"):
        catalog.open_branch(name, kind="sandbox")


def test_a_parent_that_does_not_exist_is_refused(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    for point in (Point(99, 0), Point(root.id, 2), Point(root.id, -1)):
        with pytest.raises(RefError):
            catalog.open_branch("fix", kind="sandbox", parent=point)
    assert [branch.name for branch in catalog.branches(include_closed=True)] == ["production"]


def test_a_branch_may_stand_on_a_closed_one(catalog: Catalog) -> None:
    production(catalog, a=1)
    first = sandbox(catalog)
    put(catalog, first, b=1)
    catalog.set_tag("kept", catalog.resolve("fix"))
    catalog.close_branch(first.id)
    sandbox(catalog, "again", "kept")
    assert seen(catalog, "again") == {"a": "1", "b": "1"}


def test_branches_are_listed_by_id_and_kind(catalog: Catalog) -> None:
    production(catalog)
    closed = sandbox(catalog, "closed")
    sandbox(catalog, "open")
    catalog.close_branch(closed.id)
    assert [branch.name for branch in catalog.branches()] == ["production", "open"]
    assert [branch.name for branch in catalog.branches(include_closed=True)] == [
        "production",
        "closed",
        "open",
    ]
    assert [branch.name for branch in catalog.branches(kind="sandbox")] == ["open"]
    assert [branch.name for branch in catalog.branches(kind="sandbox", include_closed=True)] == [
        "closed",
        "open",
    ]


def test_an_unknown_branch_is_an_error_with_the_nearest_name(catalog: Catalog) -> None:
    production(catalog)
    with pytest.raises(RefError) as caught:
        catalog.branch("prodcution")
    assert caught.value.hint == "did you mean 'production'?"
    with pytest.raises(RefError, match="id 7"):
        catalog.branch_by_id(7)


def test_properties_are_set_one_by_one(catalog: Catalog, clock: Clock) -> None:
    branch = catalog.open_branch("production", kind="environment", properties={"a": 1, "b": {"deep": [1]}})
    updated = catalog.update_branch(branch.id, properties={"a": None, "c": "new"})
    assert updated.properties == {"b": {"deep": [1]}, "c": "new"}
    later = catalog.update_branch(branch.id, expires_at=clock.time)
    assert (later.properties, later.expires_at) == (updated.properties, clock.time)
    assert catalog.branch("production") == later
    with pytest.raises(RefError):
        catalog.update_branch(9, properties={})


def test_a_property_that_is_no_json_is_refused(catalog: Catalog) -> None:
    branch = production(catalog)
    with pytest.raises(CatalogError, match="datetime"):
        catalog.update_branch(branch.id, properties={"when": datetime(2026, 1, 1)})
    with pytest.raises(CatalogError, match="set"):
        catalog.commit(CommitRequest(branch.id, changes=entries(a=1), properties={"keys": {1}}))
    assert catalog.branch("production").head == 0
    assert seen(catalog, "production") == {}


def test_closing_ends_a_branch_and_may_be_repeated(catalog: Catalog, clock: Clock) -> None:
    production(catalog)
    branch = sandbox(catalog)
    put(catalog, branch, a=1)
    closing = clock.move(hours=1)
    closed = catalog.close_branch(branch.id)
    assert (closed.open, closed.closed_at, closed.head) == (False, closing, 1)
    clock.move(hours=1)
    assert catalog.close_branch(branch.id) == closed
    with pytest.raises(RefError):
        catalog.resolve("fix")
    assert catalog.get(Point(branch.id, 1), "a") is not None


def test_a_branch_on_which_an_open_one_stands_is_not_closed(catalog: Catalog) -> None:
    root = production(catalog)
    branch = sandbox(catalog)
    with pytest.raises(CatalogError, match="fix stands on it") as caught:
        catalog.close_branch(root.id)
    assert caught.value.facts["standing"] == ["fix"]
    catalog.close_branch(branch.id)
    assert not catalog.close_branch(root.id).open


def test_an_open_run_does_not_keep_its_branch_open(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    run = catalog.open_branch("run-1", kind="run", parent=root.point)
    assert not catalog.close_branch(root.id).open
    put(catalog, run, b=1)
    assert seen(catalog, "run-1") == {"a": "1", "b": "1"}


def test_a_ref_means_the_head_a_number_a_time_or_a_tag(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog)
    times = [clock.time]
    for version in range(1, 4):
        times.append(clock.move(minutes=10))
        put(catalog, root, a=version)
    catalog.set_tag("v1.0", Point(root.id, 2))
    assert catalog.resolve("production") == Point(root.id, 3)
    assert catalog.resolve("production@2") == Point(root.id, 2)
    assert catalog.resolve(Ref("production", commit=0)) == Point(root.id, 0)
    assert catalog.resolve("v1.0") == Point(root.id, 2)
    for number, time in enumerate(times):
        assert catalog.resolve(Ref("production", time=time)) == Point(root.id, number)
        assert catalog.resolve(Ref("production", time=time + timedelta(minutes=9))) == Point(root.id, number)
        assert catalog.resolve(f"production@{time.replace(tzinfo=None).isoformat()}") == Point(
            root.id, number
        )


def test_a_time_means_the_newest_of_several_commits_at_it(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    put(catalog, root, a=2)
    assert catalog.resolve("production@2026-11-20T09:00Z") == Point(root.id, 2)


def test_an_open_branch_goes_before_a_tag_of_its_name(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    catalog.set_tag("fix", Point(root.id, 0))
    assert catalog.resolve("fix") == Point(root.id, 0)
    branch = sandbox(catalog)
    assert catalog.resolve("fix") == branch.point
    catalog.close_branch(branch.id)
    assert catalog.resolve("fix") == Point(root.id, 0)


@pytest.mark.parametrize(
    ("ref", "told"),
    [
        ("production@2", "production@2 does not exist"),
        ("production@2026-11-20T08:59:59Z", "did not exist at"),
        ("nowhere", "neither a branch nor a tag"),
        ("nowhere@1", "no open branch"),
        ("v1@1", "no open branch"),
        ("production@soon", "neither a branch nor a tag"),
        ("", "is not a ref"),
    ],
)
def test_a_ref_to_nothing_is_an_error(catalog: Catalog, ref: str, told: str) -> None:
    root = production(catalog, a=1)
    catalog.set_tag("v1", root.point)
    with pytest.raises(RefError, match=told):
        catalog.resolve(ref)


def test_times_on_a_branch_never_decrease(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1)
    before = clock.time
    clock.move(hours=-5)
    put(catalog, root, a=2)
    assert [commit.time for commit in catalog.commits(root.id)] == [before] * 3
    clock.move(hours=6)
    assert put(catalog, root, a=3).time == clock.time


def test_statistics_count_what_is_there(catalog: Catalog) -> None:
    root = production(catalog, a=1, b=1)
    put(catalog, root, a=2)
    branch = sandbox(catalog)
    put(catalog, branch, a=None)
    catalog.close_branch(branch.id)
    found = dict(catalog.statistics())
    assert found.pop("bytes") >= 0
    assert found == {"branches": 2, "open_branches": 1, "commits": 5, "entries": 4}


def test_a_closed_catalog_opens_again_when_it_is_used(catalog: Catalog) -> None:
    production(catalog, a=1)
    catalog.close()
    catalog.close()
    assert seen(catalog, "production") == {"a": "1"}
