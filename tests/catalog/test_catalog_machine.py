"""Random histories on every back end at once: whatever can be seen of one must be seen of all, after every step.

Besides, what a commit saw when it was made is written down apart from any catalog: it must never change.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from catalog_world import BACK_ENDS, Clock, entries, everything, outcome, versions
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from anabranch.catalog.base import Branch, Catalog, Commit, CommitRequest, Point
from effort import effort

KEYS = "abcd"
KEY = st.sampled_from(KEYS)
PLACE = st.integers(0, 30)
CHANGES = st.dictionaries(KEY, st.one_of(st.none(), st.integers(0, 6)), max_size=3)
FINGERPRINTS = [f"f-{key}-{version}" for key in KEYS for version in range(7)]


class Histories(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.catalogs: dict[str, Catalog] = {
            name: make(Path(self.folder.name), self.clock) for name, make in BACK_ENDS.items()
        }
        self.saw: dict[Point, object] = {}
        self.tokens: dict[str, str] = {}
        self.together(lambda catalog: catalog.open_branch("production", kind="environment"))

    def teardown(self) -> None:
        if hasattr(self, "catalogs"):
            for catalog in self.catalogs.values():
                catalog.close()
            self.folder.cleanup()

    def together(self, call: Callable[[Catalog], object]) -> object:
        """The call on every back end; what it returns or refuses must be the same."""
        told = {
            name: outcome(lambda catalog=catalog: call(catalog)) for name, catalog in self.catalogs.items()
        }
        for name, other in told.items():
            assert other == told["memory"], name
        return told["memory"]

    @property
    def reference(self) -> Catalog:
        return self.catalogs["memory"]

    def any_branch(self, place: int) -> Branch:
        branches = self.reference.branches(include_closed=True)
        return branches[place % len(branches)]

    @rule(seconds=st.integers(-50, 200))
    def time_passes(self, seconds: int) -> None:
        self.clock.move(seconds=seconds)

    @rule(
        place=PLACE,
        back=st.sampled_from([0, 0, 0, 1, 2, -1]),
        name=st.sampled_from(["one", "two", "three"]),
        kind=st.sampled_from(["sandbox", "sandbox", "run", "environment"]),
        root=st.sampled_from([False] * 9 + [True]),
    )
    def open_branch(self, place: int, back: int, name: str, kind: str, root: bool) -> None:
        below = self.any_branch(place)
        parent = None if root else Point(below.id, below.head - back)
        self.together(
            lambda catalog: catalog.open_branch(name, kind=kind, parent=parent, properties={"n": place})
        )

    @rule(
        place=PLACE,
        changes=CHANGES,
        drop=st.sets(KEY, max_size=2),
        right=st.sets(KEY, max_size=3),
        wrong=st.sampled_from([None] * 6 + list(KEYS)),
        head=st.sampled_from([None, None, 0, 0, 1]),
        once=st.sampled_from([None, None, None, "k1", "k2"]),
        lease=st.sampled_from([None] * 5 + ["job"]),
        close=st.sampled_from([None] * 6 + [0, 1, 2]),
    )
    def commit(
        self,
        place: int,
        changes: dict,
        drop: set,
        right: set,
        wrong: str | None,
        head: int | None,
        once: str | None,
        lease: str | None,
        close: int | None,
    ) -> None:
        branch = self.any_branch(place)
        seen = self.reference.entries(branch.point) if self.is_readable(branch.point) else {}
        expect = {key: seen[key].version if key in seen else None for key in right}
        if wrong is not None:
            expect[wrong] = "v99"
        self.together(
            lambda catalog: catalog.commit(
                CommitRequest(
                    branch.id,
                    changes=entries(**changes),
                    drop=drop - changes.keys(),
                    expect=expect,
                    expect_location={key: seen[key].location for key in right if key in seen},
                    expect_head=None if head is None else branch.head - head,
                    idempotency_key=once,
                    lease=None if lease is None else self.token(catalog, lease),
                    close=[] if close is None else [self.any_branch(close).id],
                    properties={"expect": expect},
                    branch_properties={"last": place, "n": None},
                )
            )
        )

    def token(self, catalog: Catalog, lease: str) -> str:
        held = [item.token for item in catalog.leases() if item.name == lease]
        return held[0] if held else "nobody's"

    @rule(ttl=st.integers(1, 100))
    def lease(self, ttl: int) -> None:
        def acquire(catalog: Catalog) -> object:
            lease = catalog.acquire("job", holder=f"for {ttl} s", ttl=timedelta(seconds=ttl))
            return lease.name, lease.holder, lease.expires_at

        self.together(acquire)

    @rule()
    def release(self) -> None:
        self.together(lambda catalog: catalog.release(self.token(catalog, "job")))

    @rule(place=PLACE, back=st.integers(-1, 3), drop=st.sets(KEY, max_size=2), changes=CHANGES)
    def sync(self, place: int, back: int, drop: set, changes: dict) -> None:
        branch = self.any_branch(place)
        base = 0 if branch.parent is None else self.reference.branch_by_id(branch.parent).head - back
        self.together(
            lambda catalog: catalog.commit(
                CommitRequest(
                    branch.id, base=base, drop=drop - changes.keys(), changes=entries(**changes), kind="sync"
                )
            )
        )

    @rule(place=PLACE, close=st.booleans())
    def promote(self, place: int, close: bool) -> None:
        branch = self.any_branch(place)
        if branch.parent is None or not self.is_readable(branch.point):
            return
        own = self.reference.own(branch.point)
        before = self.reference.entries(branch.base_point)
        landed = self.together(
            lambda catalog: catalog.commit(
                CommitRequest(
                    branch.parent,
                    changes=own,
                    expect={key: before[key].version if key in before else None for key in own},
                    kind="promote",
                    close=[branch.id] if close else [],
                )
            )
        )
        if isinstance(landed, Commit) and not close:
            self.together(
                lambda catalog: catalog.commit(
                    CommitRequest(branch.id, base=landed.number, drop=list(own), kind="sync")
                )
            )
            after = self.reference.branch_by_id(branch.id)
            if after.open:
                assert self.reference.changes(landed.point, after.point) == []

    @rule(place=PLACE, back=st.integers(1, 4))
    def roll_back(self, place: int, back: int) -> None:
        branch = self.any_branch(place)
        target = Point(branch.id, max(0, branch.head - back))
        if not self.is_readable(target) or not branch.open:
            return
        restored = self.reference.changes(branch.point, target)
        landed = self.together(
            lambda catalog: catalog.commit(
                CommitRequest(
                    branch.id, changes={change.key: change.after for change in restored}, kind="rollback"
                )
            )
        )
        assert isinstance(landed, Commit)
        assert self.reference.changes(landed.point, target) == []

    @rule(place=PLACE)
    def close(self, place: int) -> None:
        self.together(lambda catalog: catalog.close_branch(self.any_branch(place).id))

    @rule(place=PLACE, properties=st.dictionaries(st.sampled_from("xyz"), st.none() | st.integers()))
    def update(self, place: int, properties: dict) -> None:
        self.together(lambda catalog: catalog.update_branch(self.any_branch(place).id, properties=properties))

    @rule(place=PLACE, back=st.integers(-1, 4), name=st.sampled_from(["t1", "t2"]))
    def tag(self, place: int, back: int, name: str) -> None:
        branch = self.any_branch(place)
        self.together(lambda catalog: catalog.set_tag(name, Point(branch.id, branch.head - back)))

    @rule(name=st.sampled_from(["t1", "t2"]))
    def delete_tag(self, name: str) -> None:
        self.together(lambda catalog: catalog.delete_tag(name))

    @rule(
        depths=st.lists(st.integers(-1, 9), min_size=1, max_size=4),
        drop_closed=st.booleans(),
        drop_one=st.sampled_from([None] * 6 + [0, 1]),
    )
    def retire(self, depths: list, drop_closed: bool, drop_one: int | None) -> None:
        keep = {
            branch.id: max(branch.head - depths[branch.id % len(depths)], 0)
            for branch in self.reference.branches(include_closed=not drop_closed)
        }
        if drop_one is not None:
            keep.pop(self.any_branch(drop_one).id, None)
        reachable = self.together(lambda catalog: catalog.reachable(keep))
        self.together(lambda catalog: set(catalog.noted(keep, "made")))
        retired = self.together(lambda catalog: catalog.retire(keep))
        if isinstance(retired, int):
            assert self.together(lambda catalog: catalog.reachable(keep)) == reachable
            assert self.together(lambda catalog: catalog.retire(keep)) == 0
            condemned = self.reference.condemned(self.clock.time + timedelta(days=1))
            assert not reachable & condemned

    @rule(count=st.integers(1, 3))
    def forget(self, count: int) -> None:
        locations = sorted(self.reference.condemned(self.clock.time))[:count]
        self.together(lambda catalog: catalog.forget(locations))

    def is_readable(self, point: Point) -> bool:
        return isinstance(outcome(lambda: self.reference.entries(point)), dict)

    @invariant()
    @precondition(lambda self: hasattr(self, "catalogs"))
    def all_see_the_same_and_no_commit_ever_changes(self) -> None:
        later = self.clock.time + timedelta(days=1)
        self.together(lambda catalog: everything(catalog, FINGERPRINTS, later))
        points = []
        for branch in self.reference.branches(include_closed=True):
            for commit in self.reference.commits(branch.id):
                found = outcome(lambda point=commit.point: self.reference.entries(point))
                if isinstance(found, dict):
                    assert self.saw.setdefault(commit.point, versions(found)) == versions(found)
                    points.append(commit.point)
        for old, new in zip(points, [*points[3:], *points[:3]], strict=True):
            self.together(lambda catalog, old=old, new=new: catalog.changes(old, new))


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=effort(20), stateful_step_count=25, deadline=None)
