"""Which commits are retained, what they see, and the end of all others, in SQL.

The rule is that of `Catalog.reachable`: a branch's commits from the oldest kept one on, whatever a tag names, and the
commits on which a retained commit stands. What is asked is which *commits* stay; the rows follow from that: a row
stays if a retained commit of its own branch lies in its span. Nothing here knows why a commit is kept.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from anabranch.catalog import queries, rules
from anabranch.catalog.base import Branch
from anabranch.catalog.database import Transaction
from anabranch.catalog.rows import provenance_from_json
from anabranch.catalog.schema import FOREVER
from anabranch.dataclass import dataclass, field


@dataclass
class _Retained:
    """The retained commits of one branch: all from ``oldest`` on, and the single ones before it."""

    oldest: int = FOREVER
    single: list[int] = field(default_factory=list)

    def sees(self, since: int, until: int) -> bool:
        """Whether one of them lies in the span of a row."""
        if until > self.oldest:
            return True
        place = bisect_left(self.single, since)
        return place < len(self.single) and self.single[place] < until

    def holds(self, number: int) -> bool:
        """Whether it is one of them."""
        return number >= self.oldest or self.sees(number, number + 1)


def _retained(tx: Transaction, keep: Mapping[int, int], branches: list[Branch]) -> dict[int, _Retained]:
    single: dict[int, set[int]] = {branch.id: set() for branch in branches}
    for branch_id, number in tx.all("select branch_id, number from tags"):
        single[branch_id].add(number)
    found = {}
    # A branch is younger than its parent: going down by id, all that stands on a branch is known before it is judged.
    for branch in reversed(branches):
        oldest = keep.get(branch.id, FOREVER)
        (last,) = tx.one(
            "select max(number) from commits where branch_id = ? and retired = 1", branch.id
        ) or (None,)
        if last is not None and oldest <= last:
            # More is to be kept now than there was: what was retired stays so, and what survived among it is single.
            survivors = tx.all(
                "select number from commits where branch_id = ? and number >= ? and number < ? and retired = 0",
                branch.id,
                oldest,
                last,
            )
            single[branch.id].update(number for (number,) in survivors)
            oldest = last + 1
        mine = _Retained(oldest, sorted(number for number in single[branch.id] if number < oldest))
        found[branch.id] = mine
        if branch.parent is not None:
            bases = single[branch.parent]
            for (base,) in tx.all(
                "select distinct base from commits where branch_id = ? and number >= ?",
                branch.id,
                oldest,
            ):
                bases.add(base)
            for (base,) in tx.within(
                "select base from commits where branch_id = ? and number in ({})", mine.single, branch.id
            ):
                bases.add(base)
    return found


def reachable(tx: Transaction, keep: Mapping[int, int], ending: Collection[int] = ()) -> set[str]:
    """See `Catalog.reachable`."""
    return set(_seen(tx, keep, ending, "location"))


def noted(tx: Transaction, keep: Mapping[int, int], name: str, ending: Collection[int] = ()) -> list[Any]:
    """See `Catalog.noted`."""
    seen = _seen(tx, keep, ending, "provenance", " and provenance like ?", f'%"{name}":%')
    extras = [provenance_from_json(text).extra for text in seen]
    return [extra[name] for extra in extras if name in extra]


def _seen(
    tx: Transaction,
    keep: Mapping[int, int],
    ending: Collection[int],
    column: str,
    where: str = "",
    *values: Any,
) -> Iterator[Any]:
    """A column of the entries that a retained commit sees, deletions apart."""
    branches = queries.all_branches(tx)
    rules.check_keep(keep, branches, ending)
    for branch_id, retained in _retained(tx, keep, branches).items():
        for since, until, value in tx.all(
            f"select since, until, {column} from entries where branch_id = ? and location is not null{where}",
            branch_id,
            *values,
        ):
            if retained.sees(since, until):
                yield value


def retire(tx: Transaction, keep: Mapping[int, int], now: int) -> int:
    """See `Catalog.retire`. Rows that no retained commit sees go; of their locations only the name stays, condemned."""
    branches = queries.all_branches(tx)
    rules.check_keep(keep, branches)
    gone: set[str] = set()
    for branch_id, retained in _retained(tx, keep, branches).items():
        commits = [
            (branch_id, number)
            for (number,) in tx.all(
                "select number from commits where branch_id = ? and number < ? and retired = 0",
                branch_id,
                retained.oldest,
            )
            if not retained.holds(number)
        ]
        tx.many("update commits set retired = 1 where branch_id = ? and number = ?", commits)
        rows = [
            (row_id, location)
            for row_id, since, until, location in tx.all(
                "select id, since, until, location from entries where branch_id = ? and until <= ?",
                branch_id,
                retained.oldest,
            )
            if not retained.sees(since, until)
        ]
        tx.many("delete from entries where id = ?", [(row_id,) for row_id, _ in rows])
        gone.update(location for _, location in rows if location is not None)
    before = _condemned(tx)
    tx.many(
        "insert into condemned (location, time) values (?, ?) on conflict (location) do nothing",
        [(location, now) for location in sorted(gone)],
    )
    # One pass over an index: what another row still names is not condemned.
    tx.run(
        "delete from condemned where location in"
        " (select c.location from entries e join condemned c on c.location = e.location)"
    )
    return _condemned(tx) - before


def _condemned(tx: Transaction) -> int:
    row = tx.one("select count(*) from condemned")
    return 0 if row is None else int(row[0])
