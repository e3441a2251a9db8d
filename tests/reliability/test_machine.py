"""Random histories of the whole product on real files, beside a model that is a dictionary for each commit.

The model knows nothing of rows, intervals or reachability: for each commit it keeps what every key is worth, and for
each value the files that were made when it was written. After every step, all that can be read is read back; after each
gc, the files on disk are exactly those of the values that some retained commit still sees.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from soundness import readable, recomputed

from anabranch import promotion
from anabranch.catalog.base import Branch, Catalog, CommitRequest, Entry, Point, Provenance
from anabranch.catalog.dialect import SqliteDialect
from anabranch.catalog.memory import MemoryCatalog
from anabranch.catalog.sql import SqlCatalog
from anabranch.errors import BranchExistsError, CatalogError, ConflictError, PromotionError, RefError
from anabranch.gate import TableChange
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, write_file_asset, write_table
from anabranch.pipeline.graph import Graph
from anabranch.promotion import (
    Evidence,
    Prepared,
    bring_up,
    plan_rollback,
    plan_undo,
    prepare,
    publish,
    roll_back,
)
from anabranch.sandbox import gc, lifecycle
from anabranch.sandbox.lifecycle import Base, open_sandbox, sync_sandbox
from anabranch.settings.models import Rules
from effort import effort

KEYS = "abc"
KEY = st.sampled_from(KEYS)
PLACE = st.integers(0, 30)
WORTH = st.tuples(st.sampled_from(["file", "file", "file", "table"]), st.integers(0, 3), st.integers(0, 1))
WRITE = st.tuples(KEY, WORTH, st.sets(KEY, max_size=2))
DAY = timedelta(days=1)
AUTHOR = "Ada Lovelace <ada@example.com>"
SAYS_YES = Evidence(
    lambda key, *_: TableChange(key, rows_removed=0), lambda _: None, lambda *_: None, (), AUTHOR
)


def no_partitions(*_: Entry) -> Entry:
    """No table of these histories is cut into partitions, so none is ever merged."""
    raise AssertionError("nothing here has partitions to merge")


class Clock:
    """Moves by a millisecond whenever it is asked, so that no two moments are the same; by more when told."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 20, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time


class Killed(BaseException):
    """Stands for the end of the process: no handler of the product catches it."""


@dataclass(frozen=True)
class Value:
    """One write: what it holds, what it was made of, and the files that it left. ``serial`` tells it from an equal one."""

    serial: int
    entry: Entry
    kind: str
    number: int
    files: frozenset[str]

    def same(self, other: Value | None) -> bool:
        """Whether both are the same result: equal content under an equal fingerprint."""
        mine = (self.kind, self.number, self.entry.provenance.fingerprint)
        return other is not None and mine == (other.kind, other.number, other.entry.provenance.fingerprint)


State = Mapping[str, Value]


@dataclass
class Sandbox:
    """What the model knows of a sandbox beside its states: its base, and what it holds itself (None: removed)."""

    id: int
    base: int
    expires_at: datetime | None
    own: dict[str, Value | None] = field(default_factory=dict)
    open: bool = True


class Story(RuleBasedStateMachine):
    make: Callable[[Path, Clock], Catalog]

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.catalog = type(self).make(Path(self.folder.name), self.clock)
        self.storage = Storage(Path(self.folder.name).resolve() / "warehouse", scope=Scope.sweep())
        self.states: dict[Point, State] = {}
        self.sandboxes: dict[int, Sandbox] = {}
        self.values: list[Value] = []
        self.works: dict[int, tuple[str, Value, datetime]] = {}
        self.disk: dict[str, tuple[int, int]] = {}
        self.born: dict[str, datetime] = {}
        self.contents: dict[str, str] = {}
        self.production = self.catalog.open_branch("production", kind="environment").id
        self.states[Point(self.production, 0)] = {}
        self.run_on_production("a", ("table", 3, 0), dies=False)
        self.run_on_production("b", ("file", 1, 0), dies=False)

    def teardown(self) -> None:
        if hasattr(self, "catalog"):
            self.catalog.close()
            self.folder.cleanup()

    # the model's words

    @property
    def head(self) -> Point:
        return self.catalog.branch_by_id(self.production).point

    def pick(self, place: int) -> Sandbox:
        """An open sandbox; one is opened if there is none, so that hardly a step goes by in vain."""
        found = [sandbox for sandbox in self.sandboxes.values() if sandbox.open]
        if not found:
            self.open(f"new-{len(self.sandboxes)}", self.head.number, None)
            return self.sandboxes[max(self.sandboxes)]
        return found[place % len(found)]

    def open(self, name: str, base: int, expire: timedelta | None) -> None:
        with patch.object(lifecycle, "now", self.clock):
            branch = open_sandbox(
                self.catalog,
                name,
                environment=self.catalog.branch_by_id(self.production),
                base=Base(base, "ancestor", is_head=base == self.head.number),
                git_branch=name,
                git_commit=None,
                author=AUTHOR,
                expire_after=expire,
            )
        self.sandboxes[branch.id] = Sandbox(branch.id, base, branch.expires_at)
        self.note(self.sandboxes[branch.id])

    def view(self, sandbox: Sandbox) -> State:
        seen = {**self.states[Point(self.production, sandbox.base)], **sandbox.own}
        return {key: value for key, value in seen.items() if value is not None}

    def note(self, sandbox: Sandbox) -> None:
        """The sandbox has a new commit."""
        self.states[self.catalog.branch_by_id(sandbox.id).point] = self.view(sandbox)

    def moved(self, sandbox: Sandbox, base: int) -> None:
        """The sandbox was synced: what the new base holds as well is its own no longer."""
        below = self.states[Point(self.production, base)]
        sandbox.base = base
        sandbox.own = {
            key: value
            for key, value in sandbox.own.items()
            if not (key not in below if value is None else value.same(below.get(key)))
        }
        self.note(sandbox)

    def listing(self) -> dict[str, tuple[int, int]]:
        found = {}
        for stored in self.storage.list():
            status = os.stat(stored.location)
            found[stored.location] = (status.st_size, status.st_mtime_ns)
        return found

    def write(self, scope: Scope, key: str, worth: tuple, state: State, reads: set[str]) -> Value:
        """Makes the files of a value; nothing points to them yet."""
        kind, number, fingerprint = worth
        storage = self.storage.scoped(scope)
        if kind == "file":
            written = write_file_asset(storage, key, b"%d" % number)
        else:
            import pyarrow as pa

            previous = state.get(key)
            before = None if previous is None or previous.kind == "file" else previous.entry
            handle = None if before is None else Table(key, before.location, storage, version=before.version)
            written = write_table(
                storage,
                key,
                pa.table({"n": [number] * number}, pa.schema([("n", pa.int64())])),
                previous=handle,
            )
        new = self.listing().keys() - self.disk.keys()
        assert new, "a write makes files of its own"
        for location in new:
            stamp = self.clock.time.timestamp()
            os.utime(location, (stamp, stamp))
            self.born[location] = self.clock.time
        self.disk = self.listing()
        made_of = {name: state[name].entry.version for name in sorted(reads) if name in state and name != key}
        entry = Entry(
            key, kind, written.location, written.version, Provenance(f"f{fingerprint}", inputs=made_of)
        )
        value = Value(len(self.values), entry, kind, number, frozenset(new))
        self.values.append(value)
        return value

    def commit(self, sandbox: Sandbox, key: str, value: Value | None, **more: object) -> None:
        present = self.view(sandbox).get(key)
        expect = {key: None if present is None else present.entry.version}
        self.catalog.commit(
            CommitRequest(sandbox.id, {key: None if value is None else value.entry}, expect=expect, **more)
        )
        sandbox.own[key] = value
        self.note(sandbox)

    def readable_states(self) -> dict[Point, State]:
        return {point: self.states[point] for point in readable(self.catalog)}

    # what people do

    @rule(by=st.sampled_from([timedelta(seconds=5), timedelta(minutes=7), timedelta(hours=3), 8 * DAY]))
    def time_passes(self, by: timedelta) -> None:
        self.clock.time += by

    @rule(
        name=st.sampled_from(["one", "two", "three"]),
        back=st.sampled_from([0, 0, 0, 1, 2]),
        expire=st.sampled_from([None, None, timedelta(hours=2), 7 * DAY]),
    )
    def open_a_sandbox(self, name: str, back: int, expire: timedelta | None) -> None:
        base = max(0, self.head.number - back)
        taken = any(branch.name == name for branch in self.catalog.branches())
        if taken or Point(self.production, base) not in readable(self.catalog):
            with pytest.raises((BranchExistsError, RefError)):
                self.open(name, base, expire)
        else:
            self.open(name, base, expire)

    @rule(place=PLACE, writes=st.lists(WRITE, min_size=1, max_size=3))
    def write_in_a_sandbox(self, place: int, writes: list) -> None:
        sandbox = self.pick(place)
        for key, worth, reads in writes:
            self.commit(sandbox, key, self.write(self.scope(sandbox), key, worth, self.view(sandbox), reads))

    def scope(self, sandbox: Sandbox) -> Scope:
        return Scope.sandbox(str(self.catalog.branch_by_id(sandbox.id).properties["storage"]))

    @rule(place=PLACE, key=KEY)
    def remove_in_a_sandbox(self, place: int, key: str) -> None:
        sandbox = self.pick(place)
        self.commit(sandbox, key, None)

    @rule(place=PLACE, key=KEY, worth=WORTH)
    def begin_to_work(self, place: int, key: str, worth: tuple) -> None:
        """A lease, then files; the commit comes later."""
        sandbox = self.pick(place)
        name = self.catalog.branch_by_id(sandbox.id).name
        if f"run:{name}" in {lease.name for lease in self.catalog.leases()}:
            return
        lease = self.catalog.acquire(f"run:{name}", holder="work", ttl=1000 * DAY)
        value = self.write(self.scope(sandbox), key, worth, self.view(sandbox), set())
        self.works[sandbox.id] = (lease.token, value, lease.acquired_at)

    @rule()
    def finish_the_work(self) -> None:
        for identity, (token, value, _) in self.works.items():
            sandbox = self.sandboxes[identity]
            if sandbox.open:
                self.commit(sandbox, value.entry.key, value, lease=token)
            else:
                with pytest.raises(CatalogError):
                    self.commit(sandbox, value.entry.key, value, lease=token)
            self.catalog.release(token)
        self.works.clear()

    @rule(key=KEY, worth=WORTH, dies=st.sampled_from([False] * 4 + [True]))
    def run_on_production(self, key: str, worth: tuple, dies: bool) -> None:
        """Work on a branch of its own, published in one commit; or given up before that."""
        state = self.states[self.head]
        branch = self.catalog.open_branch(
            f"production.run-{len(self.values)}",
            kind="run",
            parent=self.head,
            properties={"environment": "production"},
        )
        self.states[branch.point] = state
        value = self.write(Scope.environment(), key, worth, state, set())
        self.catalog.commit(CommitRequest(branch.id, {key: value.entry}, kind="run"))
        self.states[Point(branch.id, 1)] = {**state, key: value}
        if not dies:
            request = CommitRequest(
                self.production, {key: value.entry}, expect_head=branch.base, close=[branch.id], kind="run"
            )
            self.states[self.catalog.commit(request).point] = {**state, key: value}

    @rule(place=PLACE, back=st.integers(0, 3))
    def sync(self, place: int, back: int) -> None:
        sandbox = self.pick(place)
        number = max(0, self.head.number - back)
        if Point(self.production, number) not in readable(self.catalog):
            return
        before = self.catalog.branch_by_id(sandbox.id)
        moved = sync_sandbox(
            self.catalog, before, number, author=AUTHOR, git_commit=None, merge=no_partitions
        )
        after = self.catalog.branch_by_id(sandbox.id)
        assert (after.head > before.head) == (number != sandbox.base or bool(moved.dropped))
        if after.head > before.head:
            self.moved(sandbox, number)

    @rule(
        place=PLACE,
        writes=st.lists(WRITE, max_size=2),
        run=st.none() | WORTH,
        race=st.sampled_from([None] * 4 + ["production", "sandbox"]),
        dies=st.sampled_from([False, False, False, True]),
        twice=st.booleans(),
    )
    def promote(
        self, place: int, writes: list, run: tuple | None, race: str | None, dies: bool, twice: bool
    ) -> None:
        sandbox = self.pick(place)
        if writes:
            self.write_in_a_sandbox(place, writes)
        if run is not None:
            # On what the sandbox has read, if it has read anything.
            read = {name for v in sandbox.own.values() if v is not None for name in v.entry.provenance.inputs}
            self.run_on_production(min(read, default="a"), run, dies=False)
        branch, environment = (
            self.catalog.branch_by_id(sandbox.id),
            self.catalog.branch_by_id(self.production),
        )
        branch, moved = bring_up(
            self.catalog,
            branch,
            environment,
            stale_inputs="rerun",
            author=AUTHOR,
            git_commit=None,
            merge=no_partitions,
        )
        if moved is not None:
            self.moved(sandbox, environment.head)
        state = self.states[environment.point]
        changes = {
            key: value
            for key, value in sandbox.own.items()
            if not (key not in state if value is None else value.same(state.get(key)))
        }
        prepared = prepare(self.catalog, branch, environment, Graph([]), Rules(), SAYS_YES)
        assert prepared.changes == {
            key: None if value is None else value.entry for key, value in changes.items()
        }
        if not changes:
            return
        if race is not None:
            self.raced(race, sandbox, prepared)
            return
        stale = {
            name
            for value in changes.values()
            if value is not None
            for name, version in value.entry.provenance.inputs.items()
            if name not in changes and (name not in state or state[name].entry.version != version)
        }
        if stale:
            with pytest.raises(ConflictError) as caught:
                self.publish(prepared)
            assert caught.value.facts["key"] in stale
            assert self.head == environment.point
            return
        self.states[Point(self.production, environment.head + 1)] = {
            key: value for key, value in {**state, **changes}.items() if value is not None
        }
        if dies:
            with patch.object(promotion, "settle", side_effect=Killed), pytest.raises(Killed):
                self.publish(prepared)
            assert self.head.number == environment.head + 1
            if not twice:
                return
        commit = self.publish(prepared)
        assert commit.point == self.head == Point(self.production, environment.head + 1)
        self.moved(sandbox, commit.number)
        if twice:
            with pytest.raises(ConflictError):
                self.publish(prepared)
        assert self.catalog.own(self.catalog.branch_by_id(sandbox.id).point) == {}

    def raced(self, race: str, sandbox: Sandbox, prepared: Prepared) -> None:
        """Somebody else commits between judgement and publication: nothing is published."""
        if race == "sandbox":
            self.commit(sandbox, "a", None)
        else:
            self.states[self.catalog.commit(CommitRequest(self.production)).point] = self.states[self.head]
        before = self.head
        with pytest.raises(ConflictError) as caught:
            self.publish(prepared)
        assert caught.value.facts["key"] is None
        assert caught.value.facts["expected"] + 1 == caught.value.facts["found"]
        assert self.head == before

    def publish(self, prepared: Prepared):
        return publish(
            self.catalog,
            prepared,
            author=AUTHOR,
            git_commit=None,
            definitions="",
            git_branch=None,
            merge=no_partitions,
        )

    @rule(back=st.integers(1, 4))
    def roll_back_to_a_state(self, back: int) -> None:
        environment = self.catalog.branch_by_id(self.production)
        target = Point(self.production, environment.head - back)
        if target not in readable(self.catalog):
            with pytest.raises(RefError):
                plan_rollback(self.catalog, environment, target)
            return
        commit = roll_back(self.catalog, plan_rollback(self.catalog, environment, target), author=AUTHOR)
        self.states[commit.point] = self.states[target]

    @rule(back=st.integers(0, 3))
    def undo_a_commit(self, back: int) -> None:
        environment = self.catalog.branch_by_id(self.production)
        after, before = (Point(self.production, environment.head - back - more) for more in (0, 1))
        known = readable(self.catalog)
        if before.number < 0:
            with pytest.raises((PromotionError, RefError)):
                plan_undo(self.catalog, environment, after.number)
            return
        if after not in known or before not in known:
            with pytest.raises(RefError):
                plan_undo(self.catalog, environment, after.number)
            return
        old, new, present = (self.states[point] for point in (before, after, self.head))
        wrote = [key for key in KEYS if old.get(key) != new.get(key)]
        version = {key: (new[key].entry.version if key in new else None) for key in wrote}
        if any(version[key] != (present[key].entry.version if key in present else None) for key in wrote):
            with pytest.raises(ConflictError):
                plan_undo(self.catalog, environment, after.number)
            return
        commit = roll_back(self.catalog, plan_undo(self.catalog, environment, after.number), author=AUTHOR)
        restored = {**present, **{key: old.get(key) for key in wrote}}
        self.states[commit.point] = {key: value for key, value in restored.items() if value is not None}

    @rule(place=PLACE)
    def close_a_sandbox(self, place: int) -> None:
        sandbox = self.pick(place)
        self.catalog.close_branch(sandbox.id)
        sandbox.open = False

    @rule(place=PLACE, name=st.sampled_from(["v1", "v2"]))
    def tag(self, place: int, name: str) -> None:
        points = sorted(readable(self.catalog))
        taken = {tag.name: tag.point for tag in self.catalog.tags()}
        point = points[place % len(points)]
        try:
            self.catalog.set_tag(name, point)
        except BranchExistsError:
            assert taken[name] != point

    @rule(name=st.sampled_from(["v1", "v2"]))
    def untag(self, name: str) -> None:
        if name in {tag.name for tag in self.catalog.tags()}:
            self.catalog.delete_tag(name)

    @rule(
        place=PLACE,
        source=PLACE,
        meanwhile=st.sampled_from([None, "it is closed", "it is closed and collected"]),
    )
    def adopt_a_result(self, place: int, source: int, meanwhile: str | None) -> None:
        """As a run does: found by its fingerprint, and taken over a little later by its pointer.

        It lands if a retained commit still has it, and is refused if gc has condemned it meanwhile.
        """
        found = [item for each in self.catalog.find_many(["f0", "f1"]).values() for item in each]
        live = {value.entry.location for state in self.readable_states().values() for value in state.values()}
        assert {item.entry.location for item in found} <= live
        found = [item for item in found if item.branch_kind == "sandbox"]
        if not found:
            return
        item = found[source % len(found)]
        if meanwhile is not None and item.branch_open:
            self.catalog.close_branch(item.branch_id)
            self.sandboxes[item.branch_id].open = False
        if meanwhile == "it is closed and collected":
            self.collect_all()
        sandbox = self.pick(place)
        value = next(value for value in self.values if value.entry.location == item.entry.location)
        if any(value in state.values() for state in self.readable_states().values()):
            self.commit(sandbox, value.entry.key, value)
            return
        with pytest.raises(ConflictError) as caught:
            self.commit(sandbox, value.entry.key, value)
        assert caught.value.facts["expected"] == value.entry.location

    # gc

    @rule(
        keep=st.sampled_from([timedelta(0), timedelta(0), timedelta(hours=1), 30 * DAY, None]),
        keep_commits=st.sampled_from([1, 1, 2, 5]),
        grace=st.sampled_from([timedelta(0), timedelta(0), timedelta(minutes=30), 100 * DAY]),
        dies=st.sampled_from([None] * 4 + ["closed", "listed", "retired", "removing", "forgetting"]),
    )
    def collect_somehow(
        self, keep: timedelta | None, keep_commits: int, grace: timedelta, dies: str | None
    ) -> None:
        self.collect(keep, keep_commits, grace, dies)

    @rule()
    def collect_all(self) -> None:
        self.collect(timedelta(0), 1, timedelta(0), None)

    def collect(self, keep: timedelta | None, keep_commits: int, grace: timedelta, dies: str | None) -> None:
        before = set(self.readable_states())
        options = {"keep": keep, "keep_commits": keep_commits, "grace": grace}
        if dies is not None:
            with patch.object(gc, "now", self.clock), self.killed(dies):
                gc.collect(self.catalog, self.storage, **options)
            self.all_that_can_be_read_is_there()
        moment = self.clock()
        expected = self.expected_to_stay(moment, keep, keep_commits) & before
        planned = gc.plan_gc(self.catalog, self.storage, **options, now=moment)
        with patch.object(gc, "now", lambda: moment):
            done = gc.collect(self.catalog, self.storage, **options)
            assert replace(planned, dry_run=False) == done
            assert gc.collect(self.catalog, self.storage, **options).files == ()
        for sandbox in self.sandboxes.values():
            sandbox.open = self.catalog.branch_by_id(sandbox.id).open
        after = self.readable_states()
        assert set(after) == expected
        needed = {file for state in after.values() for value in state.values() for file in value.files}
        young = min([moment - grace, *(acquired for _, _, acquired in self.works.values())])
        assert self.listing().keys() == {
            file for file in self.disk if file in needed or self.born[file] >= young
        }
        self.disk = self.listing()
        self.contents.clear()

    def expected_to_stay(self, moment: datetime, keep: timedelta | None, keep_commits: int) -> set[Point]:
        """The commits that are retained, by the words of the documentation alone."""
        since = datetime.min.replace(tzinfo=UTC) if keep is None else moment - keep
        working = {self.catalog.branch_by_id(identity).name for identity in self.works}
        stays = {tag.point for tag in self.catalog.tags()}
        bases: dict[Point, Point] = {}
        for branch in self.catalog.branches(include_closed=True):
            commits = list(reversed(self.catalog.commits(branch.id)))
            bases |= {c.point: Point(branch.parent, c.base) for c in commits if branch.parent is not None}
            young = [c.number for c in commits if c.time > since]
            if branch.kind == "environment":
                oldest = max(0, min(young) - 1) if young else branch.head
                stays |= {c.point for c in commits if c.number >= min(oldest, branch.head - keep_commits + 1)}
            elif branch.open and not self.is_over(branch, moment, commits[-1].time <= since, working):
                stays.add(branch.point)
                if branch.kind == "sandbox":
                    stays |= {c.point for c in commits if c.time > since}
        return stays | {bases[point] for point in stays if point in bases}

    def is_over(self, branch: Branch, moment: datetime, untouched: bool, working: set[str]) -> bool:
        if branch.kind == "run":
            return untouched
        return branch.name not in working and branch.expires_at is not None and branch.expires_at <= moment

    @contextmanager
    def killed(self, when: str) -> Iterator[None]:
        """The end of a gc at a point of its way, or beyond it."""
        real = {"list": Storage.list, "retire": type(self.catalog).retire, "unlink": os.unlink}
        left = [2]

        def retire(catalog: Catalog, keep: Mapping[int, int]) -> int:
            if when == "listed":
                raise Killed
            real["retire"](catalog, keep)
            if when == "retired":
                raise Killed
            return 0

        def unlink(path: str) -> None:
            if when == "removing" and not left[0] and str(path).startswith(self.storage.warehouse):
                raise Killed
            left[0] -= 1
            real["unlink"](path)

        def listed(storage: Storage, *arguments: str) -> object:
            if when == "closed":
                raise Killed
            return real["list"](storage, *arguments)

        def forget(*_: object) -> None:
            raise Killed

        with (
            patch.object(type(self.catalog), "retire", retire),
            patch.object(os, "unlink", unlink),
            patch.object(Storage, "list", listed),
            patch.object(type(self.catalog), "forget", forget),
            pytest.raises(Killed),
        ):
            yield

    # what holds after every step

    @invariant()
    @precondition(lambda self: hasattr(self, "catalog"))
    def no_file_goes_or_changes_but_by_gc(self) -> None:
        found = self.listing()
        assert {location: found.get(location) for location in self.disk} == self.disk

    @invariant()
    @precondition(lambda self: hasattr(self, "catalog"))
    def all_that_can_be_read_is_there(self) -> None:
        """Each commit that can be read sees what the model saw when it was made, and each value reads back."""
        points = readable(self.catalog)
        for branch in self.catalog.branches():
            assert branch.point in points
        for tag in self.catalog.tags():
            assert tag.point in points
        for point, entries in points.items():
            state = self.states[point]
            assert entries == {key: replace(value.entry, key=key) for key, value in state.items()}, point
            for value in state.values():
                entry = value.entry
                if entry.location not in self.contents:
                    assert self.reads_back(value)
                    self.contents[entry.location] = recomputed(self.storage, entry)
                assert self.contents[entry.location] == entry.version

    def reads_back(self, value: Value) -> bool:
        if value.kind == "file":
            return self.storage.read_bytes(value.entry.location) == b"%d" % value.number
        table = Table(value.entry.key, value.entry.location, self.storage)
        return table.to_arrow()["n"].to_pylist() == [value.number] * value.number


class OnMemory(Story):
    make = staticmethod(lambda folder, clock: MemoryCatalog(clock=clock))


class OnSqlite(Story):
    make = staticmethod(lambda folder, clock: SqlCatalog(SqliteDialect(folder / "catalog.db"), clock=clock))


TestOnMemory = pytest.mark.slow(OnMemory.TestCase)
TestOnMemory.settings = settings(max_examples=effort(20), stateful_step_count=30, deadline=None)
TestOnSqlite = pytest.mark.slow(OnSqlite.TestCase)
TestOnSqlite.settings = settings(max_examples=effort(20), stateful_step_count=30, deadline=None)
