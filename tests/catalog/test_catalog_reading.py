"""Reading: entries, a branch's own, differences between any two commits, entries by fingerprint."""

from __future__ import annotations

import pytest
from catalog_world import entries, entry, production, put, sandbox, versions
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.catalog.base import Catalog, Change, CommitRequest, Point
from anabranch.catalog.memory import MemoryCatalog
from anabranch.errors import RefError


def test_entries_come_in_sorted_order_or_only_those_asked_for(catalog: Catalog) -> None:
    root = production(catalog, b=1, a=1)
    put(catalog, root, c=1, B=1)
    point = catalog.resolve("production")
    assert list(catalog.entries(point)) == ["B", "a", "b", "c"]
    assert list(catalog.entries(point, ["c", "nothing", "a", "c"])) == ["a", "c"]
    assert catalog.entries(point, []) == {}
    assert list(catalog.entries(point, iter(["b"]))) == ["b"]


def test_thousands_of_keys_are_found_by_name(catalog: Catalog) -> None:
    names = [f"k{number:04d}" for number in range(2600)]
    production(catalog, **dict.fromkeys(names, 1))
    branch = sandbox(catalog)
    put(catalog, branch, k0001=2, k0002=None, extra=1)
    point = catalog.resolve("fix")
    for count in (1, 499, 500, 501, 1999, 2000, 2600):
        found = catalog.entries(point, [*names[:count], "no_such_key"])
        assert list(found) == [name for name in names[:count] if name != "k0002"]
        if count > 1:
            assert found["k0001"].version == "v2"


def test_every_commit_keeps_what_it_saw(catalog: Catalog) -> None:
    root = production(catalog)
    for version in range(1, 30):
        put(catalog, root, **{"hot": version, f"k{version % 3}": version})
    for number in range(1, 30):
        found = versions(catalog.entries(Point(root.id, number)))
        assert found["hot"] == str(number)
        assert found[f"k{number % 3}"] == str(number)
        assert catalog.get(Point(root.id, number), "hot").version == f"v{number}"
    assert catalog.get(Point(root.id, 0), "hot") is None


def test_own_is_what_the_branch_holds_apart_from_its_base(catalog: Catalog) -> None:
    root = production(catalog, a=1, b=1, c=1)
    branch = sandbox(catalog)
    put(catalog, branch, b=2, a=None, z=None)
    assert versions(catalog.own(catalog.resolve("fix"))) == {"a": None, "b": "2", "z": None}
    assert list(catalog.own(catalog.resolve("fix"))) == ["a", "b", "z"]
    assert catalog.own(Point(branch.id, 0)) == {}
    put(catalog, root, a=None, d=1)
    assert versions(catalog.own(catalog.resolve("production"))) == {"b": "1", "c": "1", "d": "1"}


def test_changes_tell_both_sides_of_each_key(catalog: Catalog) -> None:
    production(catalog, a=1, b=1, c=1)
    branch = sandbox(catalog)
    put(catalog, branch, a=2, b=None, d=1)
    there, here = catalog.resolve("production"), catalog.resolve("fix")
    assert catalog.changes(there, here) == [
        Change("a", entry("a", 1), entry("a", 2)),
        Change("b", entry("b", 1), None),
        Change("d", None, entry("d", 1)),
    ]
    assert catalog.changes(here, there) == [
        Change(change.key, change.after, change.before) for change in catalog.changes(there, here)
    ]
    assert catalog.changes(here, here) == []


def test_a_key_written_with_the_same_location_and_version_has_not_changed(catalog: Catalog) -> None:
    root = production(catalog, a=1, b=1)
    catalog.commit(
        CommitRequest(
            root.id,
            changes={"a": entry("a", 1, fingerprint="other"), "b": entry("b", 1, location="elsewhere")},
        )
    )
    assert [change.key for change in catalog.commit_changes(catalog.resolve("production"))] == ["b"]


def test_changes_between_unrelated_branches_compare_everything(catalog: Catalog) -> None:
    production(catalog, a=1, b=1)
    other = catalog.open_branch("staging", kind="environment")
    put(catalog, other, b=1, c=1)
    found = catalog.changes(catalog.resolve("production"), catalog.resolve("staging"))
    assert [change.key for change in found] == ["a", "c"]


def test_commit_changes_are_those_of_one_commit(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    commit = put(catalog, root, a=2, b=1)
    put(catalog, root, a=3)
    assert catalog.commit_changes(commit.point) == [
        Change("a", entry("a", 1), entry("a", 2)),
        Change("b", None, entry("b", 1)),
    ]
    assert catalog.commit_changes(Point(root.id, 0)) == []
    branch = sandbox(catalog)
    assert catalog.commit_changes(branch.point) == []


def test_the_log_is_newest_first_and_can_be_paged(catalog: Catalog) -> None:
    root = production(catalog)
    for version in range(5):
        put(catalog, root, a=version)
    assert [commit.number for commit in catalog.commits(root.id)] == [5, 4, 3, 2, 1, 0]
    assert [commit.number for commit in catalog.commits(root.id, limit=2)] == [5, 4]
    assert [commit.number for commit in catalog.commits(root.id, before=4, limit=2)] == [3, 2]
    assert catalog.commits(root.id, before=0) == []
    assert [commit.ref for commit in catalog.commits(root.id, limit=1)] == ["production@5"]


@pytest.mark.parametrize("point", [Point(1, 2), Point(1, -1), Point(9, 0)])
def test_a_point_that_does_not_exist_is_an_error_everywhere(catalog: Catalog, point: Point) -> None:
    root = production(catalog, a=1)
    assert root.id == 1
    for call in (
        lambda: catalog.get(point, "a"),
        lambda: catalog.entries(point),
        lambda: catalog.entries(point, []),
        lambda: catalog.own(point),
        lambda: catalog.changes(point, root.point),
        lambda: catalog.changes(root.point, point),
        lambda: catalog.get_commit(point),
        lambda: catalog.commit_changes(point),
        lambda: catalog.set_tag("t", point),
    ):
        with pytest.raises(RefError):
            call()
    with pytest.raises(RefError):
        catalog.commits(9)


def test_an_entry_is_found_by_its_fingerprint_wherever_it_was_written(catalog: Catalog) -> None:
    root = production(catalog, a=1)
    branch = sandbox(catalog)
    same = entry("a", 1, fingerprint="f")
    catalog.commit(CommitRequest(branch.id, changes={"a": same}))
    put(catalog, branch, a=2)
    catalog.commit(CommitRequest(root.id, changes={"b": entry("b", 1, fingerprint="f"), "a": same}))
    catalog.close_branch(branch.id)
    found = catalog.find("f")
    assert [(item.branch, item.number, item.entry.key, item.branch_open) for item in found] == [
        ("production", 2, "b", True),
        ("production", 2, "a", True),
        ("fix", 1, "a", False),
    ]
    assert found[-1].entry == same
    assert (found[-1].branch_id, found[-1].branch_kind) == (branch.id, "sandbox")
    assert catalog.find("f", limit=1) == found[:1]


def test_many_fingerprints_are_found_as_one(catalog: Catalog) -> None:
    root = production(catalog)
    for version in range(25):
        put(catalog, root, a=version, same=7)
    wanted = [f"f-a-{version}" for version in range(25)] + ["f-same-7", "nothing", ""]
    found = catalog.find_many([*wanted, *wanted])
    assert found == {text: catalog.find(text) for text in wanted if text not in ("nothing", "")}
    assert len(found["f-same-7"]) == 20
    assert found["f-same-7"][0].number == 25
    assert catalog.find_many([]) == {}


def test_nothing_is_found_by_an_empty_fingerprint_nor_by_a_deletion(catalog: Catalog) -> None:
    root = production(catalog)
    catalog.commit(CommitRequest(root.id, changes={"a": entry("a", 1, fingerprint="")}))
    branch = sandbox(catalog)
    put(catalog, branch, a=None)
    assert catalog.find("") == []


_keys = st.sampled_from("abcd")
_steps = st.lists(
    st.tuples(
        st.sampled_from(["commit", "drop", "open", "sync"]),
        st.integers(0, 9),
        st.dictionaries(_keys, st.one_of(st.none(), st.integers(0, 2)), max_size=3),
        st.integers(0, 9),
    ),
    max_size=14,
)


@settings(max_examples=30)
@given(_steps)
def test_changes_are_what_comparing_all_entries_finds(
    tmp_path_factory: pytest.TempPathFactory, steps: list
) -> None:
    from catalog_world import BACK_ENDS, Clock

    for name in sorted(BACK_ENDS):
        catalog = BACK_ENDS[name](tmp_path_factory.mktemp("changes"), Clock())
        catalog.open_branch("b1", kind="environment")
        for what, place, change, other in steps:
            branches = catalog.branches()
            branch = branches[place % len(branches)]
            if what == "commit":
                catalog.commit(CommitRequest(branch.id, changes=entries(**change)))
            elif what == "drop":
                catalog.commit(CommitRequest(branch.id, drop=list(change)))
            elif what == "open":
                number = other % (branch.head + 1)
                catalog.open_branch(f"b{len(branches) + 1}", kind="sandbox", parent=Point(branch.id, number))
            elif branch.parent is not None:
                head = catalog.branch_by_id(branch.parent).head
                catalog.commit(CommitRequest(branch.id, base=other % (head + 1)))
        points = [commit.point for branch in catalog.branches() for commit in catalog.commits(branch.id)]
        for old in points:
            before = catalog.entries(old)
            for new in points[:: 1 if len(points) < 10 else 3]:
                after = catalog.entries(new)
                naive = [
                    Change(key, before.get(key), after.get(key))
                    for key in sorted({*before, *after})
                    if before.get(key) != after.get(key)
                ]
                assert catalog.changes(old, new) == naive
        catalog.close()


def test_each_memory_catalog_is_its_own() -> None:
    production(MemoryCatalog())
    assert MemoryCatalog().branches() == []
