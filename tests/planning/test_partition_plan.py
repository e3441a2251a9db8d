"""Which partitions run, stand, wait, or stay as older code made them; and what ``--partitions`` means."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import anabranch as ab
from anabranch.catalog.base import Entry, Found, Provenance
from anabranch.errors import SelectionError
from anabranch.pipeline.fingerprint import combine
from anabranch.pipeline.graph import Graph, Node
from anabranch.pipeline.partition import PartitionMapping, ranges
from anabranch.planning.partition_words import PartitionSelection
from anabranch.planning.partitions import PartitionPlanner
from anabranch.planning.plan import Planner

NOW = datetime(2013, 1, 11, 6, tzinfo=UTC)
DAYS = ab.daily("2013-01-01")
ALL = [f"2013-01-{day:02d}" for day in range(1, 11)]

RAW = Node("raw", code="c-raw", partitions=DAYS)
MID = Node("mid", code="c-mid", inputs=("raw",), partitions=DAYS)
WEEK = Node("week", code="c-week", inputs=("mid",), partitions=ab.weekly("2013-01-01"))
TOTAL = Node("total", code="c-total", inputs=("mid",))
CHAIN = (RAW, MID, WEEK, TOTAL)


@dataclass(frozen=True)
class FakeState:
    version: str
    making: str
    inputs: str


class FakeMap(dict[str, FakeState]):
    """A partition map in memory."""

    makings: dict[str, dict]

    def version_of(self, keys: Iterable[str], columns: str | None = None) -> str:
        assert columns is None
        return combine(*(f"{key}={self[key].version if key in self else None}" for key in keys))


class World:
    """Tables and their partition maps, as runs would have left them."""

    def __init__(self, nodes=CHAIN, now=NOW) -> None:
        self.nodes = {node.key: node for node in nodes}
        self.now = now
        self.view: dict[str, Entry] = {}
        self.maps: dict[str, FakeMap] = {}
        self.loaded: list[str] = []
        self.found: dict[str, list[Found]] = {}

    def states(self, entry: Entry) -> FakeMap | None:
        self.loaded.append(entry.key)
        return self.maps.get(entry.location)

    def partitions(self, **options) -> PartitionPlanner:
        words = options.pop("partitions", None)
        return PartitionPlanner(
            Graph(self.nodes.values()),
            now=self.now,
            states=self.states,
            selection=PartitionSelection.parse(words) if words else None,
            lookup=lambda family: self.found.get(family, []),
            **options,
        )

    def planner(self, *, selected=None, **options) -> Planner:
        return Planner(
            Graph(self.nodes.values(), definitions="d"),
            self.view,
            target="fix",
            pinned=False,
            now=self.now,
            selected=selected,
            partitions=self.partitions(**options),
        )

    def plan(self, **options):
        return self.planner(**options).plan()

    def work(self, key: str, **options):
        return self.plan(**options).steps[key].partitions

    def edit(self, key: str, **changes) -> None:
        changes.setdefault("code", self.nodes[key].code + "'")
        self.nodes[key] = replace(self.nodes[key], **changes)

    def run(self, *, contents=None, **options) -> dict[str, tuple[str, ...]]:
        """Does what the planner decides, asset by asset; returns what ran."""
        planner = self.planner(**options)
        known: dict[str, Entry | None] = {}
        ran = {}
        for key in planner.graph:
            step = planner.decide(key, known)
            work = step.partitions
            if work is None:
                if step.action == "run":
                    versions = [known[source].version for source in self.nodes[key].inputs]
                    made = Provenance(
                        fingerprint=step.fingerprint,
                        code=self.nodes[key].code,
                        inputs=dict(zip(self.nodes[key].inputs, versions, strict=True)),
                    )
                    self.view[key] = Entry(key, "table", f"{key}/{len(self.maps)}", combine(*versions), made)
                    ran[key] = ()
            elif work.run or work.adopt:
                self._make(key, work, contents or {})
                ran[key] = work.run
            known[key] = self.view.get(key)
        return ran

    def _make(self, key, work, contents) -> None:
        node = self.nodes[key]
        old = self.view.get(key)
        states = FakeMap() if old is None or work.anew else FakeMap(self.maps[old.location])
        states.makings = {} if old is None or work.anew else dict(self.maps[old.location].makings)
        name = f"{work.family[:6]}"
        states.makings[name] = {"family": work.family, "code": node.code, "code_parts": {}}
        for part in work.run:
            given_ = contents.get((key, part), f"{node.code}:{part}:{work.inputs[part]}")
            states[part] = FakeState(given_, name, work.inputs[part])
        for part, found in work.adopt.items():
            states[part] = replace(self.maps[found.entry.location][part], making=name)
        location = f"{key}/{len(self.maps)}"
        self.maps[location] = states
        families: dict[str, int] = {}
        for state in states.values():
            family = states.makings[state.making]["family"]
            families[family] = families.get(family, 0) + 1
        whole = not (work.old or work.stale or work.depends)
        redo = set(old.provenance.partitions.get("redo", ())) if old else set()
        summary = {
            "identity": node.partitions.identity,
            "family": work.family,
            "families": families,
            "ranges": [list(run) for run in ranges(states, work.order)],
            "versions": combine(*(f"{k}={s.version}" for k, s in sorted(states.items()))),
            "accepted": list(work.accepted),
            "settled": {"family": work.family, "inputs": dict(work.tokens)} if whole else None,
            "redo": sorted(redo - set(work.run)),
        }
        made = Provenance(fingerprint=work.family, code=node.code, partitions=summary)
        self.view[key] = Entry(key, "table", location, summary["versions"], made)


@pytest.fixture
def built() -> World:
    world = World()
    world.run()
    return world


# what runs


def test_everything_that_exists_is_built_and_then_nothing_is_left_to_do():
    world = World()
    plan = world.plan()
    assert [step.action for step in plan.steps.values()] == ["run", "run", "run", "run"]
    assert world.run() == {"raw": tuple(ALL), "mid": tuple(ALL), "week": ("2013-01-01",), "total": ()}
    assert world.plan().nothing_to_do


def test_a_table_that_is_up_to_date_is_judged_without_its_map(built):
    built.loaded.clear()
    assert built.plan().nothing_to_do
    assert built.loaded == []


def test_a_new_day_runs_that_day_alone(built):
    built.now += timedelta(days=1)
    plan = built.plan()
    assert plan.steps["raw"].partitions.run == ("2013-01-11",)
    assert plan.steps["mid"].partitions.run == ("2013-01-11",)
    assert plan.steps["mid"].partitions.reuse == 10
    assert plan.steps["week"].action == "reuse"
    assert plan.steps["total"].action == "depends"
    assert built.run() == {"raw": ("2013-01-11",), "mid": ("2013-01-11",), "total": ()}


def test_changed_code_runs_all_of_it_and_what_reads_it_depends(built):
    built.edit("mid")
    plan = built.plan()
    assert plan.steps["mid"].partitions.run == tuple(ALL)
    assert plan.steps["raw"].action == "reuse"
    assert plan.steps["week"].action == "depends"
    assert "code" in {reason.kind for reason in plan.steps["mid"].reasons}


def test_only_the_partitions_that_a_changed_one_reaches_run(built):
    content = {("raw", "2013-01-05"): "new"}
    assert built.run(contents=content, force=True, selected={"raw"}, partitions="2013-01-05") == {
        "raw": ("2013-01-05",)
    }
    plan = built.plan()
    assert plan.steps["mid"].partitions.run == ("2013-01-05",)
    assert built.run() == {"mid": ("2013-01-05",), "week": ("2013-01-01",), "total": ()}


def test_a_partition_that_comes_out_the_same_stops_the_wave(built):
    content = {("mid", day): built.maps[built.view["mid"].location][day].version for day in ALL}
    built.edit("mid")
    assert built.run(contents=content) == {"mid": tuple(ALL)}


def test_a_plan_tells_which_partitions_depend_on_which(built):
    built.nodes["month"] = Node("month", code="m", inputs=("raw",), partitions=ab.monthly("2013-01"))
    built.edit("raw")
    plan = built.plan(partitions="2013-01-03..2013-01-04")
    assert plan.steps["raw"].partitions.run == ("2013-01-03", "2013-01-04")
    assert plan.steps["mid"].partitions.depends == ("2013-01-03", "2013-01-04")
    assert plan.steps["mid"].partitions.reuse == 8


# windows


def test_a_window_leaves_the_rest_as_older_code_made_it_and_says_so(built):
    built.edit("mid")
    work = built.work("mid", partitions="2013-01-09..2013-01-10")
    assert work.run == ("2013-01-09", "2013-01-10")
    assert work.old == tuple(ALL[:8])
    built.run(partitions="2013-01-09..2013-01-10")
    again = built.work("mid")
    assert again.run == tuple(ALL[:8])
    assert built.view["mid"].provenance.partitions["settled"] is None


def test_forward_only_accepts_what_older_code_made_for_good(built):
    built.edit("mid")
    assert built.run(partitions="latest:2", forward_only=True)["mid"] == ("2013-01-09", "2013-01-10")
    assert built.view["mid"].provenance.partitions["accepted"]
    assert built.work("mid").run == ()
    built.now += timedelta(days=1)
    assert built.run()["mid"] == ("2013-01-11",)


def test_what_was_accepted_still_runs_when_its_inputs_change(built):
    built.edit("mid")
    built.run(partitions="latest:1", forward_only=True)
    built.run(contents={("raw", "2013-01-02"): "new"}, force=True, selected={"raw"}, partitions="2013-01-02")
    assert built.work("mid").run == ("2013-01-02",)


def test_a_second_change_is_not_covered_by_the_first_acceptance(built):
    built.edit("mid")
    built.run(partitions="latest:1", forward_only=True)
    built.edit("mid")
    assert "2013-01-10" in built.work("mid").run


# waiting


def test_a_partition_whose_input_lacks_one_waits():
    world = World()
    world.run(partitions="2013-01-01..2013-01-03")
    work = world.work("mid", selected={"mid", "week"})
    assert work.waiting == tuple(ALL[3:])
    week = world.work("week", selected={"mid", "week"})
    assert week.waiting == ("2013-01-01",)
    assert "lacks" in str(week.reasons[0])


def test_an_input_without_partitions_that_changes_is_a_reason_for_all():
    plain = Node("names", code="n")
    world = World((plain, RAW, replace(MID, inputs=("names", "raw"))))
    world.run()
    world.view["names"] = replace(world.view["names"], version="other")
    work = world.work("mid")
    assert work.run == tuple(ALL)
    assert "names has other content" in str(work.reasons[0])


# cut otherwise, lost, redone


def test_another_cut_builds_anew(built):
    built.edit("mid", partitions=ab.monthly("2012-12"))
    work = built.work("mid")
    assert (work.anew, work.built, work.reuse) == (True, 0, 0)
    assert work.waiting == ("2012-12",) or work.run == ("2012-12",)


def test_a_longer_calendar_runs_what_is_new_alone(built):
    built.edit("raw", code=RAW.code, partitions=ab.daily("2012-12-30"))
    assert built.work("raw").run == ("2012-12-30", "2012-12-31")


def test_partitions_that_the_code_no_longer_has_stay_and_are_told(built):
    built.edit("raw", code=RAW.code, partitions=ab.daily("2013-01-04"))
    assert built.work("raw").gone == ("2013-01-01", "2013-01-02", "2013-01-03")


def test_what_both_sides_made_is_made_again(built):
    entry = built.view["mid"]
    parts = {**entry.provenance.partitions, "redo": ["2013-01-04"], "settled": None}
    built.view["mid"] = replace(entry, provenance=replace(entry.provenance, partitions=parts))
    assert built.work("mid").run == ("2013-01-04",)
    built.run()
    assert built.plan().nothing_to_do


# adoption


def test_partitions_that_a_trusted_ref_has_computed_are_taken_over(built):
    other = World()
    other.maps, other.view = built.maps, dict(built.view)
    other.edit("mid")
    other.run(partitions="2013-01-02..2013-01-04")
    theirs = other.view["mid"]
    built.edit("mid")
    built.found = {theirs.provenance.fingerprint: [Found(theirs, 7, "other", "sandbox", True, 3)]}
    work = built.work("mid")
    assert set(work.adopt) == {"2013-01-02", "2013-01-03", "2013-01-04"}
    assert work.run == ("2013-01-01", *ALL[4:])
    assert "other has computed exactly this" in " ".join(map(str, work.reasons))


# words


def select(words, cut=DAYS, *, missing=(), failed=(), now=NOW):
    order = cut.keys(now)
    found = PartitionSelection.parse(words).of(cut, order, missing=lambda: missing, failed=failed)
    return None if found is None else sorted(found)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("2013-01-05", ["2013-01-05"]),
        ("2013-01-05..2013-01-06", ["2013-01-05", "2013-01-06"]),
        ("2013-01-09..", ["2013-01-09", "2013-01-10"]),
        ("..2013-01-02", ["2013-01-01", "2013-01-02"]),
        ("2013-01", ALL),
        ("2013", ALL),
        ("latest", ["2013-01-10"]),
        ("latest:2", ["2013-01-09", "2013-01-10"]),
        ("latest, 2013-01-01", ["2013-01-01", "2013-01-10"]),
        ("2014", []),
        ("AA", None),
    ],
)
def test_words_mean_partitions(words, meant):
    assert select(words) == meant


def test_missing_and_failed_are_words():
    assert select("missing", missing=["2013-01-03"]) == ["2013-01-03"]
    assert select("failed", failed=["2013-01-04", "gone"]) == ["2013-01-04"]


def test_a_range_of_days_means_the_months_that_it_touches():
    assert select("2013-01-30..2013-02-02", ab.monthly("2013-01"), now=datetime(2013, 5, 1, tzinfo=UTC)) == [
        "2013-01",
        "2013-02",
    ]


def test_of_a_product_either_dimension_or_both_may_be_named():
    cut = ab.daily("2013-01-09") * ab.keys(["AA", "UA"])
    assert select("AA", cut) == ["2013-01-09|AA", "2013-01-10|AA"]
    assert select("latest", cut) == ["2013-01-10|AA", "2013-01-10|UA"]
    assert select("latest|UA", cut) == ["2013-01-10|UA"]
    assert select("2013-01-09|UA", cut) == ["2013-01-09|UA"]
    assert select("XX", cut) is None


@pytest.mark.parametrize(
    "words", ["", " , ", "..", "latest:0", "latest:x", "a..b", "2013-01-02..2013-01-01", "|"]
)
def test_words_that_mean_nothing_are_told(words):
    with pytest.raises(SelectionError, match="--partitions"):
        PartitionSelection.parse(words)


def test_words_that_no_asset_understands_are_told(built):
    with pytest.raises(SelectionError, match="names no partition of"):
        built.partitions(partitions="AA").check_selection(built.nodes)
    with pytest.raises(SelectionError, match="no asset that is selected is cut"):
        built.partitions(partitions="latest").check_selection(["total"])


# telling


def test_a_plan_of_many_partitions_stays_short(built):
    text = json.dumps(World().plan().to_dict())
    assert len(text) < 6000
    reasons = World(now=NOW + timedelta(days=3650)).plan().steps["raw"].reasons
    assert [str(r) for r in reasons] == ["raw was never built: 3,660 partitions"]


@given(st.lists(st.sampled_from(["raw", "mid", "week"]), max_size=3), st.integers(0, 3), st.data())
def test_following_the_plan_settles_everything_whatever_happened(edits, days, data):
    world = World()
    words = data.draw(st.sampled_from([None, "latest:3", "2013-01-02..2013-01-05", "missing"]))
    world.run(partitions=words)
    for key in edits:
        world.edit(key)
        world.run(partitions=data.draw(st.sampled_from([None, "latest:1"])))
    world.now += timedelta(days=days)
    world.run()
    plan = world.plan()
    assert plan.nothing_to_do, [s.to_dict() for s in plan.steps.values() if s.action != "reuse"]
    # What the maps say, judged without the shortcut, is the same.
    for entry in world.view.values():
        if entry.provenance.partitions:
            entry.provenance.partitions["settled"] = None
    assert world.plan().nothing_to_do


def test_a_stated_mapping_counts():
    past = Node("past", code="p", inputs=("raw",), partitions=DAYS, mappings={"raw": ab.offset(-1)})
    world = World((RAW, past))
    world.run()
    world.run(contents={("raw", "2013-01-05"): "new"}, force=True, selected={"raw"}, partitions="2013-01-05")
    assert world.work("past").run == ("2013-01-06",)
    world.nodes["past"] = replace(past, mappings={"raw": PartitionMapping("same")})
    assert len(world.work("past").run) == 10
