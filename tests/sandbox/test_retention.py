"""What gc keeps: a table of cases, and what holds for every catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.catalog.base import Branch, Commit, CommitRequest, Lease, Point, Tag
from anabranch.catalog.memory import MemoryCatalog
from anabranch.sandbox.retention import Retention, plan_retention

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def days_ago(days: float) -> datetime:
    return NOW - days * DAY


@dataclass
class History:
    """Branches with the ages of their commits in days, oldest first; the first is that of commit 0."""

    branches: list[Branch] = field(default_factory=list)
    ages: dict[int, list[float]] = field(default_factory=dict)
    reads: dict[int, int] = field(default_factory=dict)

    def add(
        self,
        kind: str,
        ages: Sequence[float],
        *,
        name: str | None = None,
        parent: Branch | None = None,
        closed: float | None = None,
        expires: float | None = None,
    ) -> Branch:
        """``closed`` and ``expires`` are ages in days; a negative one lies ahead."""
        number = len(self.branches) + 1
        branch = Branch(
            id=number,
            name=name or f"{kind}-{number}",
            kind=kind,
            open=closed is None,
            parent=None if parent is None else parent.id,
            base=None if parent is None else parent.head,
            head=len(ages) - 1,
            created_at=days_ago(ages[0]),
            closed_at=None if closed is None else days_ago(closed),
            expires_at=None if expires is None else days_ago(expires),
        )
        self.branches.append(branch)
        self.ages[number] = list(ages)
        return branch

    def commits(self, branch_id: int) -> Iterator[Commit]:
        branch = self.branches[branch_id - 1]
        for number in range(branch.head, -1, -1):
            self.reads[branch_id] = self.reads.get(branch_id, 0) + 1
            time = days_ago(self.ages[branch_id][number])
            yield Commit(branch_id, branch.name, number, None, time, "run", "", "", None, None, None, 1)

    def plan(self, *, keep: float = 7, keep_commits: int = 1, **rest) -> Retention:
        return plan_retention(
            self.branches, self.commits, keep=keep * DAY, keep_commits=keep_commits, now=NOW, **rest
        )


def lease(name: str, *, ends: float = -1) -> Lease:
    return Lease(name, "token", "somebody", days_ago(1), days_ago(ends))


@pytest.mark.parametrize(
    ("ages", "keep", "keep_commits", "oldest"),
    [
        # what was the state at some time within `keep` stays: 2 became the state before, and was it until 3 came
        ([30, 20, 10, 5, 1], 7, 1, 2),
        ([30, 20, 10, 7, 1], 7, 1, 3),
        # an old head is the state of the whole time
        ([30, 20, 10], 7, 1, 2),
        ([30], 7, 1, 0),
        # everything is young
        ([3, 2, 1], 7, 1, 0),
        # a number of commits, however old
        ([30, 20, 10], 7, 2, 1),
        ([30, 20, 10], 7, 3, 0),
        ([30, 20, 10], 7, 100, 0),
        # whichever keeps more
        ([30, 20, 10, 5, 1], 7, 2, 2),
        ([30, 20, 10, 5, 1], 7, 4, 1),
        # nothing asked for: the head
        ([30, 20, 10, 5, 1], 0, 0, 4),
        ([30, 20, 10, 5, 1], 0, -3, 4),
        ([0, 0, 0], 0, 1, 2),
        # equal times
        ([8, 8, 8, 1], 7, 1, 2),
        ([5, 5, 5], 7, 1, 0),
    ],
)
def test_an_environment_keeps_every_state_of_the_time_and_a_number_of_commits(
    ages, keep, keep_commits, oldest
):
    history = History()
    branch = history.add("environment", ages)
    assert history.plan(keep=keep, keep_commits=keep_commits) == Retention({branch.id: oldest})


@pytest.mark.parametrize(
    ("ages", "keep", "oldest"),
    [
        ([30, 20, 10], 7, 2),
        ([30, 20, 10, 5, 1], 7, 3),
        ([30, 20, 7, 1], 7, 3),
        ([3, 2, 1], 7, 0),
        ([30], 7, 0),
        ([3, 2, 1], 0, 2),
    ],
)
def test_an_open_sandbox_keeps_its_newest_commit_and_the_young_ones(ages, keep, oldest):
    history = History()
    production = history.add("environment", [40])
    sandbox = history.add("sandbox", ages, parent=production)
    plan = history.plan(keep=keep, keep_commits=10)
    assert plan.keep == {production.id: 0, sandbox.id: oldest}
    assert plan.expired == plan.retired_branches == ()


@pytest.mark.parametrize(
    ("closed", "keep_closed", "stays"),
    [(0, 0, False), (0.1, 0, False), (1, 2, True), (2, 2, False), (3, 2, False)],
)
def test_a_closed_sandbox_stays_for_its_time_and_no_longer(closed, keep_closed, stays):
    history = History()
    production = history.add("environment", [40])
    sandbox = history.add("sandbox", [30, 20], parent=production, closed=closed)
    plan = history.plan(keep_closed=keep_closed * DAY)
    assert plan.keep == {production.id: 0} | ({sandbox.id: 1} if stays else {})
    assert plan.retired_branches == (() if stays else (sandbox,))


@pytest.mark.parametrize(("closed", "stays"), [(3, True), (7, False), (8, False)])
def test_a_closed_environment_stays_as_long_as_history_does(closed, stays):
    history = History()
    branch = history.add("environment", [30, 20], closed=closed)
    plan = history.plan()
    assert plan.keep == ({branch.id: 1} if stays else {})
    assert plan.retired_branches == (() if stays else (branch,))


@pytest.mark.parametrize(("expires", "ends"), [(None, False), (-1, False), (0, True), (3, True)])
def test_a_sandbox_ends_at_its_expiry(expires, ends):
    history = History()
    production = history.add("environment", [40])
    sandbox = history.add("sandbox", [30, 1], parent=production, expires=expires)
    plan = history.plan()
    assert plan.expired == plan.retired_branches == ((sandbox,) if ends else ())
    assert plan.keep == {production.id: 0} | ({} if ends else {sandbox.id: 1})


def test_an_expiring_sandbox_is_kept_for_as_long_as_a_closed_one():
    history = History()
    sandbox = history.add("sandbox", [30, 1], parent=history.add("environment", [40]), expires=1)
    plan = history.plan(keep_closed=DAY)
    assert plan.expired == (sandbox,)
    assert plan.keep[sandbox.id] == 1
    assert plan.retired_branches == ()


@pytest.mark.parametrize(
    ("held", "ends"),
    [
        ("run:fix", False),
        ("promote:fix", False),
        ("run:fix-2", True),
        ("run:production", True),
        ("gc", True),
    ],
)
def test_a_sandbox_at_which_somebody_works_does_not_expire(held, ends):
    history = History()
    sandbox = history.add("sandbox", [30], name="fix", parent=history.add("environment", [40]), expires=1)
    plan = history.plan(leases=[lease(held)])
    assert plan.expired == ((sandbox,) if ends else ())
    assert (sandbox.id in plan.keep) is not ends


def test_a_lease_that_is_over_protects_nothing():
    history = History()
    sandbox = history.add("sandbox", [30], name="fix", parent=history.add("environment", [40]), expires=1)
    assert history.plan(leases=[lease("run:fix", ends=0)]).expired == (sandbox,)


def test_neither_an_environment_nor_a_closed_sandbox_expires():
    history = History()
    production = history.add("environment", [40], expires=1)
    history.add("sandbox", [30], parent=production, expires=1, closed=0.5)
    plan = history.plan()
    assert plan.expired == ()
    assert plan.keep == {production.id: 0}


def test_a_sandbox_on_which_an_open_one_stands_does_not_expire():
    history = History()
    production = history.add("environment", [40])
    lower = history.add("sandbox", [30], parent=production, expires=1)
    upper = history.add("sandbox", [20], parent=lower)
    plan = history.plan()
    assert plan.expired == ()
    assert plan.keep == {production.id: 0, lower.id: 0, upper.id: 0}


def test_sandboxes_that_stand_on_each_other_expire_from_the_top():
    history = History()
    production = history.add("environment", [40])
    lower = history.add("sandbox", [30], parent=production, expires=1)
    upper = history.add("sandbox", [20], parent=lower, expires=1)
    assert history.plan().expired == (upper, lower)


@pytest.mark.parametrize(
    ("ages", "held", "ends"),
    [
        ([30, 20], "run:production", False),
        ([30, 20], "run:staging", True),
        ([30, 20], None, True),
        ([30, 7], None, True),
        ([30, 6], None, False),
    ],
)
def test_a_runs_branch_stays_while_it_runs_and_then_for_as_long_as_it_may_be_continued(ages, held, ends):
    history = History()
    production = history.add("environment", [40], name="production")
    run = history.add("run", ages, parent=production)
    plan = history.plan(leases=[] if held is None else [lease(held)])
    assert plan.expired == plan.retired_branches == ((run,) if ends else ())
    assert plan.keep == {production.id: 0} | ({} if ends else {run.id: 1})


def test_an_open_runs_branch_keeps_only_its_newest_state():
    history = History()
    run = history.add("run", [3, 2, 1], parent=history.add("environment", [40]))
    assert history.plan().keep[run.id] == 2


def test_the_branch_of_a_published_run_goes_at_once():
    history = History()
    run = history.add("run", [0, 0], parent=history.add("environment", [40]), closed=0)
    assert history.plan(keep_closed=30 * DAY).retired_branches == (run,)


def test_a_closed_branch_with_a_tag_does_not_go_whole():
    history = History()
    sandbox = history.add("sandbox", [30, 20], parent=history.add("environment", [40]), closed=1)
    tag = Tag("before-the-change", Point(sandbox.id, 1), days_ago(10))
    plan = history.plan(tags=[tag])
    assert plan.retired_branches == ()
    assert sandbox.id not in plan.keep


def test_commits_that_come_while_gc_plans_do_not_disturb_it():
    history = History()
    production = history.add("environment", [40, 30, 20])
    earlier = Branch(**{**vars(production), "head": 1})
    plan = plan_retention([earlier], history.commits, keep=7 * DAY, keep_commits=1, now=NOW)
    assert plan.keep == {production.id: 1}


def test_a_long_history_is_read_only_as_far_as_needed():
    history = History()
    production = history.add("environment", [*range(1000, 10, -1), 1])
    history.plan(keep_commits=50)
    assert history.reads[production.id] == 2


@pytest.mark.parametrize("keep", [None, timedelta.max])
def test_an_endless_retention_keeps_everything(keep):
    history = History()
    production = history.add("environment", [4000, 10, 1])
    plan = plan_retention(history.branches, history.commits, keep=keep, keep_commits=1, now=NOW)
    assert plan.keep == {production.id: 0}


# what holds for every catalog


@st.composite
def histories(draw) -> tuple[History, list[Lease]]:
    history = History()
    names = ["production", "staging", "fix", "try"]
    ages = st.lists(st.integers(0, 40), min_size=1, max_size=6).map(lambda days: sorted(days, reverse=True))
    for _ in range(draw(st.integers(1, 7))):
        open_ones = [branch for branch in history.branches if branch.open and branch.kind != "run"]
        parent = draw(st.sampled_from([None, *open_ones]))
        kind = "environment" if parent is None else draw(st.sampled_from(["sandbox", "run"]))
        closed = draw(st.none() | st.integers(0, 20)) if kind != "environment" else None
        expires = draw(st.none() | st.integers(-10, 10))
        taken = {branch.name for branch in history.branches if branch.open}
        free = [name for name in names if name not in taken]
        name = draw(st.sampled_from(free)) if free and kind != "run" else None
        history.add(kind, draw(ages), name=name, parent=parent, closed=closed, expires=expires)
    leases = draw(st.lists(st.sampled_from(names).map(lambda name: lease(f"run:{name}")), max_size=2))
    return history, leases


@given(histories(), st.integers(0, 50), st.integers(0, 5), st.integers(0, 30))
def test_the_head_of_every_open_branch_that_does_not_expire_is_kept(made, keep, keep_commits, keep_closed):
    history, leases = made
    plan = history.plan(keep=keep, keep_commits=keep_commits, leases=leases, keep_closed=keep_closed * DAY)
    expired = {branch.id for branch in plan.expired}
    retired = {branch.id for branch in plan.retired_branches}
    for branch in history.branches:
        if branch.open and branch.id not in expired:
            assert 0 <= plan.keep[branch.id] <= branch.head
        if branch.kind == "environment" and branch.open:
            assert branch.id not in expired
    assert expired <= {b.id for b in history.branches if b.open}
    assert retired == {b.id for b in history.branches} - set(plan.keep)


@given(histories(), st.integers(0, 50), st.integers(0, 50), st.integers(0, 5), st.integers(0, 5))
def test_a_longer_retention_never_keeps_less(made, keep, more, keep_commits, more_commits):
    history, leases = made
    short = history.plan(keep=keep, keep_commits=keep_commits, leases=leases)
    long = history.plan(
        keep=keep + more, keep_commits=keep_commits + more_commits, leases=leases, keep_closed=more * DAY
    )
    for branch_id, oldest in short.keep.items():
        assert long.keep[branch_id] <= oldest
    assert {branch.id for branch in long.expired} <= {branch.id for branch in short.expired}


@given(histories(), st.integers(0, 50), st.integers(0, 5))
def test_every_state_of_an_environment_within_the_time_can_be_read(made, keep, keep_commits):
    history, leases = made
    plan = history.plan(keep=keep, keep_commits=keep_commits, leases=leases)
    for branch in history.branches:
        if branch.kind != "environment":
            continue
        for age in range(keep + 1):
            existing = [n for n, made_at in enumerate(history.ages[branch.id]) if made_at >= age]
            assert not existing or plan.keep[branch.id] <= existing[-1]


@given(st.data())
def test_the_catalog_takes_every_plan(data):
    """The plan is carried out on the reference catalog: it closes and retires without objection."""
    clock = [NOW - 40 * DAY]
    catalog = MemoryCatalog(clock=lambda: clock[0])
    made: list[Branch] = []
    for number in range(data.draw(st.integers(1, 6))):
        clock[0] += data.draw(st.integers(0, 5)) * DAY
        parents = [catalog.branch_by_id(b.id) for b in made if b.kind != "run"]
        parent = data.draw(st.sampled_from([None, *[b for b in parents if b.open]]))
        kind = "environment" if parent is None else data.draw(st.sampled_from(["sandbox", "run"]))
        expires = data.draw(st.none() | st.integers(-5, 5))
        branch = catalog.open_branch(
            f"b{number}",
            kind=kind,
            parent=None if parent is None else parent.point,
            expires_at=None if expires is None or kind != "sandbox" else NOW - expires * DAY,
        )
        made.append(branch)
        for _ in range(data.draw(st.integers(0, 3))):
            clock[0] += data.draw(st.integers(0, 3)) * DAY
            catalog.commit(CommitRequest(branch.id))
    clock[0] = max(clock[0], NOW)
    plan = plan_retention(
        catalog.branches(include_closed=True),
        lambda branch_id: catalog.commits(branch_id),
        catalog.tags(),
        keep=data.draw(st.integers(0, 40)) * DAY,
        keep_commits=data.draw(st.integers(1, 3)),
        now=clock[0],
        leases=catalog.leases(),
    )
    for branch in plan.expired:
        catalog.close_branch(branch.id)
    catalog.retire(plan.keep)
    still_open: Iterable[Branch] = catalog.branches()
    for branch in still_open:
        catalog.entries(branch.point)
