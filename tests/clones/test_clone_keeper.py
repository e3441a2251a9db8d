"""The records of clones: one maker at a time, one owner of a name, and nothing recorded of what was refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anabranch.catalog import open_catalog
from anabranch.catalog.base import Branch, Catalog, Point
from anabranch.clones.base import CloneRecord, Found, Made, Mark, NameRule
from anabranch.clones.keeper import Keeper, Kind
from anabranch.errors import CatalogError, CloneError, LeaseError
from anabranch.running.lease import hold


class Memory:
    """The shortest provider: a dictionary of name → mark and content."""

    name_rule = NameRule(63)
    cost = "Nothing."
    locks = "Nothing."

    def __init__(self, there: dict[str, Any]) -> None:
        self.there = there
        self.content = "first"
        self.fail: Exception | None = None
        self.during: Any = None
        self.source = "shop"

    def source_name(self) -> str:
        return self.source

    def open(self, record: CloneRecord) -> Made:
        if self.during is not None:
            self.during()
        if self.fail is not None:
            raise self.fail
        if record.name in self.there:
            if self.there[record.name][0] != record.mark:
                raise CloneError("exists already")
            return Made(new=False)
        self.there[record.name] = (record.mark, self.content)
        return Made(new=True, how="remembered", properties={"left_out": ["a dream"]})

    def refresh(self, record: CloneRecord) -> Made:
        self.there[record.name] = (record.mark, self.content)
        return Made(new=True, how="remembered anew")

    def drop(self, record: CloneRecord) -> bool:
        if self.fail is not None:
            raise self.fail
        if record.name in self.there and self.there[record.name][0] == record.mark:
            del self.there[record.name]
            return True
        return False

    def exists(self, record: CloneRecord) -> bool:
        return record.name in self.there and self.there[record.name][0] == record.mark

    def list(self, project: str) -> list[Found]:
        return [Found(n, mark) for n, (mark, _) in sorted(self.there.items()) if mark.project == project]

    def address(self, name: str | None) -> str:
        return f"memory:{name or self.source}"

    def close(self) -> None:
        pass


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made = open_catalog(f"sqlite:///{tmp_path}/catalog.db")
    yield made
    made.close()


@pytest.fixture
def provider() -> Memory:
    return Memory({})


@pytest.fixture
def keeper(catalog: Catalog, provider: Memory) -> Keeper:
    kinds = {
        name: Kind("memory", "{source}_{clone}_{sandbox}", "d1", lambda: provider)
        for name in ("sales", "sales_eu")
    }
    return Keeper(catalog, "shop", kinds)


@pytest.fixture
def box(catalog: Catalog) -> Branch:
    return sandbox(catalog, "fix")


def sandbox(catalog: Catalog, name: str) -> Branch:
    try:
        production = catalog.branch("production")
    except CatalogError:
        production = catalog.open_branch("production", kind="environment")
    return catalog.open_branch(name, kind="sandbox", parent=Point(production.id, 0))


def test_a_clone_is_recorded_before_it_is_made(keeper: Keeper, provider: Memory, box: Branch) -> None:
    seen: list[str] = []
    provider.during = lambda: seen.extend(record.state for record in keeper.records())
    done = keeper.open(box, "sales")
    assert seen == ["making"]
    assert (done.state, done.name, done.properties["left_out"]) == ("ready", "shop_sales_fix", ["a dream"])
    assert keeper.record(box, "sales") == done


def test_records_with_names_that_begin_alike_are_apart(keeper: Keeper, box: Branch) -> None:
    one, other = keeper.open(box, "sales"), keeper.open(box, "sales_eu")
    assert keeper.drop(one)
    assert keeper.records() == [other]


def test_what_was_refused_leaves_no_record(keeper: Keeper, provider: Memory, box: Branch) -> None:
    provider.there["shop_sales_fix"] = (Mark("x", "shop", "sales", "other"), "theirs")
    with pytest.raises(CloneError, match="exists already"):
        keeper.open(box, "sales")
    assert keeper.records() == []
    assert provider.there["shop_sales_fix"][1] == "theirs"


def test_where_the_database_cannot_be_asked_the_record_stays(
    keeper: Keeper, provider: Memory, box: Branch
) -> None:
    provider.fail = CloneError("no route to host")
    with pytest.raises(CloneError, match="no route"):
        keeper.open(box, "sales")
    assert [record.state for record in keeper.records()] == ["making"]
    provider.fail = None
    assert keeper.open(box, "sales").state == "ready"


def test_a_second_maker_is_refused_by_name(keeper: Keeper, catalog: Catalog, box: Branch) -> None:
    with (
        hold(catalog, "clone:fix/sales", "clone sales of fix"),
        pytest.raises(LeaseError, match="clone sales"),
    ):
        keeper.open(box, "sales")
    assert keeper.records() == []


def test_a_clone_that_is_whole_is_not_asked_for_again(keeper: Keeper, provider: Memory, box: Branch) -> None:
    keeper.open(box, "sales")
    provider.fail = CloneError("not to be asked")
    assert keeper.open(box, "sales", check=False).state == "ready"


def test_a_name_that_another_sandbox_has_is_refused(
    keeper: Keeper, catalog: Catalog, provider: Memory
) -> None:
    kind = Kind("memory", "{source}_{pull_request}", "d1", lambda: provider)
    keeper = Keeper(catalog, "shop", {"sales": kind})
    one, other = sandbox(catalog, "one"), sandbox(catalog, "other")
    keeper.open(one, "sales", pull_request="42")
    with pytest.raises(CloneError, match="belongs to the sandbox one"):
        keeper.open(other, "sales", pull_request="42")


def test_a_clone_never_gets_the_name_of_its_source(catalog: Catalog, provider: Memory) -> None:
    provider.source = "shop_42"
    keeper = Keeper(catalog, "shop", {"sales": Kind("memory", "shop_{pull_request}", "d1", lambda: provider)})
    with pytest.raises(CloneError, match="very name of its source"):
        keeper.open(sandbox(catalog, "fix"), "sales", pull_request="42")
    assert keeper.records() == []


def test_a_sandbox_that_closes_meanwhile_leaves_nothing(
    keeper: Keeper, catalog: Catalog, provider: Memory, box: Branch
) -> None:
    provider.during = lambda: catalog.close_branch(box.id)
    with pytest.raises(CatalogError, match="was closed while its clone"):
        keeper.open(box, "sales")
    assert provider.there == {}
    assert keeper.records() == []
    provider.during = None
    with pytest.raises(CatalogError, match="is closed"):
        keeper.open(box, "sales")


def test_one_clone_that_cannot_be_dropped_keeps_no_other(
    keeper: Keeper, catalog: Catalog, provider: Memory, box: Branch
) -> None:
    keeper.open(box, "sales")
    keeper.open(box, "sales_eu")
    catalog.close_branch(box.id)
    with hold(catalog, "clone:fix/sales", "somebody"):
        dropped, problems = keeper.drop_all(keeper.leaks())
    assert [record.clone for record in dropped] == ["sales_eu"]
    assert len(problems) == 1
    assert "somebody" in problems[0]
    assert [record.clone for record in keeper.leaks()] == ["sales"]
    assert keeper.drop_all(keeper.leaks())[1] == []
    assert provider.there == {}


def test_a_name_that_was_used_again_is_not_taken_for_the_old_sandboxs(
    keeper: Keeper, catalog: Catalog, provider: Memory, box: Branch
) -> None:
    """Sandboxes come again under one name; their internal ids do not."""
    old = keeper.open(box, "sales")
    catalog.close_branch(box.id)
    again = sandbox(catalog, "fix")
    provider.content = "second"
    fresh = keeper.open(again, "sales")
    assert provider.there[fresh.name][1] == "second"
    assert fresh.id != old.id
    assert not keeper.drop(old)
    assert keeper.leaks() == []
    assert list(provider.there) == ["shop_sales_fix"]


def test_the_census_tells_each_condition(
    keeper: Keeper, catalog: Catalog, provider: Memory, box: Branch
) -> None:
    keeper.open(box, "sales")
    gone = sandbox(catalog, "gone")
    keeper.open(gone, "sales")
    catalog.close_branch(gone.id)
    lost = sandbox(catalog, "lost")
    keeper.open(lost, "sales")
    del provider.there["shop_sales_lost"]
    provider.there["stray"] = (Mark("0stray", "shop", "sales", "who"), "?")
    provider.there["theirs"] = (Mark("0theirs", "another", "sales", "who"), "?")
    found = {(one.clone, one.name): one.condition for one in keeper.census() if one.clone == "sales"}
    assert found == {
        ("sales", "shop_sales_fix"): "ready",
        ("sales", "shop_sales_gone"): "leaked",
        ("sales", "shop_sales_lost"): "missing",
        ("sales", "stray"): "unknown",
    }
