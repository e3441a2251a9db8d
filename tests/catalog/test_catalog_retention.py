"""Retention: what stays readable, what may be deleted, and what is refused from then on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from catalog_world import Clock, entries, entry, keep_all, production, put, sandbox, seen, versions

from anabranch.catalog.base import Catalog, CommitRequest, Point
from anabranch.errors import CatalogError, ConflictError, RefError

SECOND = timedelta(seconds=1)


def names(locations: set[str]) -> list[str]:
    """``a1`` for ``lake/a/1.json``."""
    return sorted(text.removeprefix("lake/").removesuffix(".json").replace("/", "") for text in locations)


def retire(catalog: Catalog, clock: Clock, keep: dict[int, int]) -> list[str]:
    """Retires, and returns what is condemned by then; checks that this is what was not reachable."""
    catalog.retire(keep)
    condemned = catalog.condemned(clock.time + SECOND)
    assert not condemned & catalog.reachable(keep)
    return names(condemned)


def test_with_everything_kept_everything_is_reachable_and_nothing_is_condemned(
    catalog: Catalog, clock: Clock
) -> None:
    root = production(catalog, a=1, b=1)
    put(catalog, root, a=2)
    branch = sandbox(catalog)
    put(catalog, branch, b=None, c=3)
    assert names(catalog.reachable(keep_all(catalog))) == ["a1", "a2", "b1", "c3"]
    assert catalog.retire(keep_all(catalog)) == 0
    assert catalog.condemned(clock.time + SECOND) == set()


def test_the_oldest_retained_commit_stays_whole_and_older_ones_are_gone(
    catalog: Catalog, clock: Clock
) -> None:
    root = production(catalog, a=1, b=1, c=1)
    put(catalog, root, a=2)
    put(catalog, root, a=3, c=None)
    put(catalog, root, a=4)
    assert names(catalog.reachable({root.id: 3})) == ["a3", "a4", "b1"]
    assert catalog.retire({root.id: 3}) == 3
    assert names(catalog.condemned(clock.time + SECOND)) == ["a1", "a2", "c1"]
    assert versions(catalog.entries(Point(root.id, 3))) == {"a": "3", "b": "1"}
    assert seen(catalog, "production") == {"a": "4", "b": "1"}
    for number in range(3):
        for call in (
            lambda point: catalog.entries(point),
            lambda point: catalog.entries(point, []),
            lambda point: catalog.get(point, "b"),
            lambda point: catalog.own(point),
            lambda point: catalog.changes(point, Point(root.id, 4)),
            lambda point: catalog.resolve(f"production@{point.number}"),
            lambda point: catalog.open_branch("late", kind="sandbox", parent=point),
            lambda point: catalog.set_tag("late", point),
        ):
            with pytest.raises(RefError, match=f"production@{number} .*gc retired it"):
                call(Point(root.id, number))
    with pytest.raises(RefError, match="gc retired it"):
        catalog.commit_changes(Point(root.id, 3))
    assert [change.key for change in catalog.commit_changes(Point(root.id, 4))] == ["a"]


def test_what_retained_entries_note_can_be_asked_for(catalog: Catalog) -> None:
    root = production(catalog, a=1, b=1, c=1)
    put(catalog, root, a=2)
    branch = sandbox(catalog)
    put(catalog, root, a=3, c=None)
    put(catalog, branch, b=None, d=1)
    assert set(catalog.noted(keep_all(catalog), "made")) == {"a1", "a2", "a3", "b1", "c1", "d1"}
    assert set(catalog.noted({root.id: 3, branch.id: 1}, "made")) == {"a2", "a3", "b1", "c1", "d1"}
    assert set(catalog.noted({root.id: 3}, "made", ending=[branch.id])) == {"a3", "b1"}
    assert catalog.noted(keep_all(catalog), "ade") == catalog.noted(keep_all(catalog), "deep") == []
    with pytest.raises(CatalogError):
        catalog.noted({root.id: 2}, "made")


def test_the_log_outlives_retirement(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    put(catalog, root, a=2)
    catalog.retire({root.id: 2})
    assert [commit.number for commit in catalog.commits(root.id)] == [2, 1, 0]
    assert catalog.get_commit(Point(root.id, 0)).kind == "open"


def test_retiring_twice_is_retiring_once_and_nothing_comes_back(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1)
    put(catalog, root, a=2)
    assert catalog.retire({root.id: 2}) == 1
    before = catalog.condemned(clock.time + SECOND)
    clock.move(hours=1)
    assert catalog.retire({root.id: 2}) == 0
    assert catalog.retire({root.id: 0}) == 0
    assert catalog.condemned(clock.time) == before
    assert names(catalog.reachable({root.id: 0})) == ["a2"]
    with pytest.raises(RefError):
        catalog.entries(Point(root.id, 1))


def test_a_tag_keeps_its_commit_and_none_beside_it(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1, b=1)
    for version in range(2, 6):
        put(catalog, root, a=version)
    catalog.set_tag("v3", Point(root.id, 3))
    assert retire(catalog, clock, {root.id: 5}) == ["a1", "a2", "a4"]
    assert seen(catalog, "v3") == {"a": "3", "b": "1"}
    assert versions(catalog.own(Point(root.id, 3))) == {"a": "3", "b": "1"}
    for number in (2, 4):
        with pytest.raises(RefError):
            catalog.entries(Point(root.id, number))
    assert [change.key for change in catalog.changes(Point(root.id, 3), Point(root.id, 5))] == ["a"]
    catalog.delete_tag("v3")
    assert retire(catalog, clock, {root.id: 5}) == ["a1", "a2", "a3", "a4"]


def test_an_open_sandbox_keeps_the_old_commit_it_stands_on(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1, b=1)
    branch = sandbox(catalog)
    put(catalog, branch, b=9)
    put(catalog, root, a=2, b=2)
    put(catalog, root, a=3)
    assert retire(catalog, clock, {root.id: 3, branch.id: 1}) == ["a2"]
    assert seen(catalog, "fix") == {"a": "1", "b": "9"}
    assert versions(catalog.entries(Point(root.id, 1))) == {"a": "1", "b": "1"}
    with pytest.raises(RefError):
        catalog.entries(Point(root.id, 2))


def test_a_sync_lets_the_old_base_go_once_no_retained_commit_stands_on_it(
    catalog: Catalog, clock: Clock
) -> None:
    root = production(catalog, a=1)
    branch = sandbox(catalog)
    put(catalog, root, a=2)
    catalog.commit(CommitRequest(branch.id, base=2))
    assert retire(catalog, clock, {root.id: 2, branch.id: 0}) == []
    assert versions(catalog.entries(Point(branch.id, 0))) == {"a": "1"}
    assert retire(catalog, clock, {root.id: 2, branch.id: 1}) == ["a1"]
    with pytest.raises(RefError, match="fix@0"):
        catalog.entries(Point(branch.id, 0))
    assert seen(catalog, "fix") == {"a": "2"}


def test_a_closed_branch_that_is_kept_keeps_its_base_too(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1)
    branch = sandbox(catalog)
    put(catalog, branch, b=1)
    put(catalog, branch, b=2)
    put(catalog, root, a=2)
    catalog.close_branch(branch.id)
    assert retire(catalog, clock, {root.id: 2, branch.id: 2}) == ["b1"]
    assert versions(catalog.entries(Point(branch.id, 2))) == {"a": "1", "b": "2"}
    assert retire(catalog, clock, {root.id: 2}) == ["a1", "b1", "b2"]
    with pytest.raises(RefError):
        catalog.entries(Point(branch.id, 2))


def test_a_tag_on_a_branch_that_is_not_kept_keeps_the_whole_line_below_it(
    catalog: Catalog, clock: Clock
) -> None:
    root = production(catalog, a=1)
    outer = sandbox(catalog, "outer")
    put(catalog, outer, b=1)
    inner = sandbox(catalog, "inner", "outer")
    put(catalog, inner, c=1)
    catalog.set_tag("kept", catalog.resolve("inner"))
    put(catalog, inner, c=2)
    put(catalog, outer, b=2)
    put(catalog, root, a=2)
    catalog.close_branch(inner.id)
    catalog.close_branch(outer.id)
    assert retire(catalog, clock, {root.id: 2}) == ["b2", "c2"]
    assert seen(catalog, "kept") == {"a": "1", "b": "1", "c": "1"}


def test_a_deletion_that_a_retained_commit_sees_stays(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    branch = sandbox(catalog)
    put(catalog, branch, a=None)
    put(catalog, branch, b=1)
    catalog.retire({root.id: 1, branch.id: 2})
    assert seen(catalog, "fix") == {"b": "1"}
    assert versions(catalog.own(catalog.resolve("fix"))) == {"a": None, "b": "1"}


def test_what_was_promoted_stays_when_its_sandbox_goes(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1)
    branch = sandbox(catalog)
    put(catalog, branch, a=2, b=2)
    put(catalog, branch, b=3)
    catalog.commit(CommitRequest(root.id, changes=catalog.own(catalog.resolve("fix")), close=[branch.id]))
    assert retire(catalog, clock, {root.id: 2}) == ["a1", "b2"]
    assert seen(catalog, "production") == {"a": "2", "b": "3"}
    assert [item.branch for item in catalog.find("f-a-2")] == ["production"]


def test_what_a_retained_commit_sees_somewhere_is_not_condemned_until_that_one_goes(
    catalog: Catalog, clock: Clock
) -> None:
    root = production(catalog, a=1)
    other = catalog.open_branch("staging", kind="environment")
    catalog.commit(CommitRequest(other.id, changes={"z": entry("z", 1, location="lake/a/1.json")}))
    put(catalog, root, a=2)
    assert retire(catalog, clock, {root.id: 2, other.id: 0}) == []
    put(catalog, other, z=2)
    assert retire(catalog, clock, {root.id: 2, other.id: 2}) == ["a1"]


def test_a_condemned_location_is_refused_until_it_is_forgotten(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1)
    put(catalog, root, a=2)
    catalog.retire({root.id: 2})
    with pytest.raises(ConflictError, match="condemned") as caught:
        catalog.commit(
            CommitRequest(root.id, changes={**entries(b=1), "z": entry("z", 1, location="lake/a/1.json")})
        )
    assert caught.value.facts == {"key": "z", "expected": "lake/a/1.json", "found": None}
    assert seen(catalog, "production") == {"a": "2"}
    catalog.forget(["lake/a/1.json", "never heard of"])
    catalog.forget(["lake/a/1.json"])
    assert catalog.condemned(clock.time + SECOND) == set()


def test_the_first_of_several_condemned_keys_is_named(catalog: Catalog) -> None:
    root = production(catalog, c=1, b=1)
    put(catalog, root, c=2, b=2)
    catalog.retire({root.id: 2})
    with pytest.raises(ConflictError) as caught:
        put(catalog, root, a=1, b=1, c=1)
    assert caught.value.facts["key"] == "b"


def test_condemned_tells_what_was_condemned_before_a_time(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1)
    put(catalog, root, a=2)
    first = clock.time
    catalog.retire({root.id: 2})
    put(catalog, root, a=3)
    second = clock.move(hours=1)
    catalog.retire({root.id: 3})
    assert catalog.condemned(first) == set()
    assert names(catalog.condemned(second)) == ["a1"]
    assert names(catalog.condemned(second + SECOND)) == ["a1", "a2"]


def test_entries_that_are_retired_are_not_found_by_fingerprint(catalog: Catalog) -> None:
    root = production(catalog, a=1, b=1)
    put(catalog, root, a=2)
    catalog.retire({root.id: 2})
    assert catalog.find("f-a-1") == []
    assert catalog.find_many(["f-a-1", "f-a-2", "f-b-1"]).keys() == {"f-a-2", "f-b-1"}
    assert catalog.find("f-b-1")[0].number == 1


def test_an_open_branch_that_the_plan_does_not_know_stops_gc(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    keep = keep_all(catalog)
    branch = sandbox(catalog)
    put(catalog, root, a=2)
    for call in (catalog.retire, catalog.reachable):
        with pytest.raises(CatalogError, match="fix is open") as caught:
            call({**keep, root.id: 2})
        assert caught.value.facts["branch"] == branch.id
    assert versions(catalog.entries(Point(root.id, 1))) == {"a": "1"}


def test_what_is_reachable_once_a_branch_is_closed_is_told_before_it_is(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    ending, other = sandbox(catalog, "ending"), sandbox(catalog, "other")
    put(catalog, ending, b=1, c=1)
    put(catalog, other, b=1)
    put(catalog, other, b=2)
    put(catalog, root, a=2)
    keep = {root.id: 2, other.id: 0}
    told = catalog.reachable(keep, ending=[ending.id])
    assert names(told) == ["a1", "a2", "b1", "b2"]
    assert catalog.branch("ending").open
    catalog.close_branch(ending.id)
    assert catalog.reachable(keep) == told


def test_a_plan_that_names_what_does_not_exist_is_refused(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    for call in (catalog.retire, catalog.reachable):
        with pytest.raises(RefError):
            call({root.id: 0, 99: 0})
        with pytest.raises(CatalogError, match="its newest is 1"):
            call({root.id: 2})


def test_a_retired_base_is_refused(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    put(catalog, root, a=2)
    branch = sandbox(catalog)
    catalog.retire({root.id: 2, branch.id: 0})
    with pytest.raises(RefError, match=r"production@1 .*gc retired it"):
        catalog.commit(CommitRequest(branch.id, base=1))


def test_a_time_whose_commit_is_retired_is_refused(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1)
    clock.move(hours=1)
    put(catalog, root, a=2)
    catalog.retire({root.id: 2})
    with pytest.raises(RefError, match=r"production@1 .*gc retired it"):
        catalog.resolve("production@2026-11-20T09:30Z")


def test_a_key_that_came_and_went_between_two_retained_commits_is_no_change(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    put(catalog, root, b=1)
    put(catalog, root, b=None)
    catalog.set_tag("first", Point(root.id, 1))
    catalog.retire({root.id: 3})
    assert catalog.changes(Point(root.id, 1), Point(root.id, 3)) == []


def test_a_longer_retention_keeps_what_is_left_and_nothing_besides(catalog: Catalog, clock: Clock) -> None:
    root = production(catalog, a=1, b=1)
    branch = sandbox(catalog)
    for version in range(2, 10):
        put(catalog, root, a=version)
    catalog.commit(CommitRequest(root.id, changes=entries(b=2)))
    catalog.commit(CommitRequest(branch.id, base=10))
    for number in (1, 3, 5):
        catalog.set_tag(f"t{number}", Point(root.id, number))
    assert retire(catalog, clock, {root.id: 9, branch.id: 1}) == ["a2", "a4", "a6", "a7", "a8"]
    for number in (1, 3, 5):
        catalog.delete_tag(f"t{number}")
    keep = {root.id: 4, branch.id: 0}
    assert names(catalog.reachable(keep)) == ["a5", "a9", "b1", "b2"]
    assert retire(catalog, clock, keep) == ["a1", "a2", "a3", "a4", "a6", "a7", "a8"]
    assert versions(catalog.entries(Point(root.id, 5))) == {"a": "5", "b": "1"}
    for point in (
        Point(root.id, 1),
        Point(root.id, 3),
        Point(root.id, 4),
        Point(root.id, 8),
        Point(branch.id, 0),
    ):
        with pytest.raises(RefError):
            catalog.entries(point)


def test_a_row_that_only_retired_commits_saw_goes_even_if_more_is_kept_than_before(
    catalog: Catalog, clock: Clock
) -> None:
    root = production(catalog)
    put(catalog, root, z=1)
    put(catalog, root, a=1)
    for version in range(6):
        put(catalog, root, z=version)
    put(catalog, root, a=2)
    put(catalog, root, z=9)
    catalog.set_tag("early", Point(root.id, 3))
    retire(catalog, clock, {root.id: 10})
    catalog.delete_tag("early")
    assert "a1" in retire(catalog, clock, {root.id: 6})
    assert catalog.find("f-a-1") == []
