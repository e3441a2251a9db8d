"""The least work that is enough: what runs, what stands, what waits, and why."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.catalog.base import Entry, Found, Provenance
from anabranch.errors import SelectionError
from anabranch.pipeline.fingerprint import fingerprint
from anabranch.pipeline.graph import Graph, Node
from anabranch.planning.plan import Plan, Planner

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

RAW = Node("raw", code="c-raw")
MID = Node("mid", inputs=("raw",), code="c-mid")
SIDE = Node("side", code="c-side")
TOP = Node("top", inputs=("mid", "side"), code="c-top")
CHAIN = (RAW, MID, SIDE, TOP)


def built(nodes, *, age: timedelta = timedelta(0), **provenance) -> dict[str, Entry]:
    """Entries as a run of exactly these nodes would have left them, each of version ``v-<key>``."""
    view: dict[str, Entry] = {}
    for key in Graph(nodes):
        node = next(n for n in nodes if n.key == key)
        inputs = {source: view[source].version for source in node.inputs}
        outside = provenance.get("outside") if node.refresh == "observe" else None
        made = Provenance(
            fingerprint=fingerprint(
                code=node.code,
                config=node.config,
                inputs=inputs,
                resources=node.resources,
                outside=outside,
            ),
            code=node.code,
            code_parts=node.code_parts,
            config=node.config,
            config_parts=node.config_parts,
            inputs=inputs,
            outside=outside,
            computed_at=(NOW - age).isoformat(),
            seconds=2.0,
            bytes=100,
            run=provenance.get("run", "r1"),
        )
        view[key] = Entry(key, "table", f"file://{key}", f"v-{key}", made)
    return view


def planner(nodes, view, **rest) -> Planner:
    given = {"target": "fix", "pinned": False, "now": NOW} | rest
    return Planner(Graph(nodes, definitions="d"), view, **given)


def at(**versions: str) -> dict[str, Entry | None]:
    """What is known of inputs: an entry of each version."""
    return {key: Entry(key, "table", f"file://{key}", version) for key, version in versions.items()}


def actions(plan: Plan) -> dict[str, str]:
    return {key: step.action for key, step in plan.steps.items()}


def kinds(plan: Plan, key: str) -> list[str]:
    return [reason.kind for reason in plan.steps[key].reasons]


def edited(node: Node, **changes) -> Node:
    return replace(node, **({"code": node.code + "'"} | changes))


def swap(nodes, *edits: Node) -> tuple[Node, ...]:
    by_key = {node.key: node for node in edits}
    return tuple(by_key.get(node.key, node) for node in nodes)


# what stands and what runs


def test_nothing_is_to_be_done_where_nothing_changed():
    plan = planner(CHAIN, built(CHAIN)).plan()
    assert set(actions(plan).values()) == {"reuse"}
    assert plan.nothing_to_do
    assert all(kinds(plan, key) == ["same"] for key in plan.steps)
    assert plan.steps["mid"].entry.version == "v-mid"


def test_what_was_never_built_runs_and_so_does_all_that_reads_it():
    plan = planner(CHAIN, {}).plan()
    assert set(actions(plan).values()) == {"run"}
    assert kinds(plan, "raw") == ["new"]
    assert kinds(plan, "top") == ["new", "upstream", "upstream"]
    assert list(plan.steps) == list(Graph(CHAIN))


def test_behind_a_changed_asset_everything_depends_and_nothing_beside_it_does():
    plan = planner(swap(CHAIN, edited(RAW)), built(CHAIN)).plan()
    assert actions(plan) == {"raw": "run", "mid": "depends", "top": "depends", "side": "reuse"}
    assert kinds(plan, "raw") == ["code"]
    assert [str(r) for r in plan.steps["mid"].reasons] == ["raw runs first"]
    assert [r.name for r in plan.steps["top"].reasons] == ["mid"]


def test_an_asset_with_a_cause_of_its_own_runs_for_certain_though_it_waits():
    plan = planner(swap(CHAIN, edited(RAW), edited(MID)), built(CHAIN)).plan()
    assert actions(plan)["mid"] == "run"
    assert kinds(plan, "mid") == ["code", "upstream"]
    assert plan.steps["mid"].fingerprint is None


def test_the_fingerprint_is_known_as_soon_as_all_inputs_are():
    view = built(CHAIN)
    plan = planner(swap(CHAIN, edited(MID)), view).plan()
    assert plan.steps["mid"].fingerprint not in (None, view["mid"].provenance.fingerprint)
    assert plan.steps["side"].fingerprint == view["side"].provenance.fingerprint
    assert plan.steps["top"].fingerprint is None


def test_a_changed_config_an_input_more_and_another_resource_are_causes():
    view = built(CHAIN)
    config = edited(MID, code=MID.code, config="other", config_parts={"n": "2"})
    assert kinds(planner(swap(CHAIN, config), view).plan(), "mid") == ["config"]
    wider = edited(MID, code=MID.code, inputs=("raw", "side"))
    assert kinds(planner(swap(CHAIN, wider), view).plan(), "mid") == ["input"]
    moved = edited(MID, code=MID.code, resources={"archive": '"2"'})
    plan = planner(swap(CHAIN, moved), view).plan()
    assert kinds(plan, "mid") == ["resource"]
    assert str(plan.steps["mid"].reasons[0]) == "the identity of a resource changed"


def test_an_input_of_other_content_is_a_cause():
    view = built(CHAIN)
    view["raw"] = replace(view["raw"], version="v-other")
    plan = planner(CHAIN, view).plan()
    assert actions(plan)["mid"] == "run"
    assert str(plan.steps["mid"].reasons[0]) == "raw has other content than it was made from"


def test_an_input_of_equal_content_made_otherwise_is_none():
    view = built(CHAIN)
    other = replace(view["raw"].provenance, run="r9", environment="staging", git_commit="abc")
    view["raw"] = Entry("raw", "table", "file://elsewhere", "v-raw", other)
    assert planner(CHAIN, view).plan().nothing_to_do


# early cutoff


def test_the_same_version_stops_the_wave():
    made = planner(swap(CHAIN, edited(RAW)), built(CHAIN))
    assert made.decide("mid", {"raw": None}).action == "depends"
    step = made.decide("mid", at(raw="v-raw"))
    assert (step.action, step.adopted) == ("reuse", None)
    assert made.decide("mid", at(raw="v-new")).action == "run"


@given(st.dictionaries(st.sampled_from(["raw", "side"]), st.sampled_from(["v-raw", "v-side", "v-2"])))
def test_what_depends_never_runs_if_no_version_differs_and_always_if_one_does(new):
    view = built(CHAIN)
    made = planner(swap(CHAIN, edited(RAW), edited(SIDE)), view)
    versions: dict[str, str | None] = {"raw": new.get("raw", "v-raw"), "side": new.get("side", "v-side")}
    mid = made.decide("mid", at(**versions))
    assert mid.action == ("reuse" if versions["raw"] == "v-raw" else "run")
    versions["mid"] = "v-mid"
    assert made.decide("top", at(**versions)).action == ("reuse" if versions["side"] == "v-side" else "run")


# selection and force


def test_what_is_not_selected_stands_whatever_changed():
    plan = planner(swap(CHAIN, edited(RAW), edited(MID)), built(CHAIN), selected=["mid"]).plan()
    assert actions(plan) == {"raw": "reuse", "mid": "run", "side": "reuse", "top": "reuse"}
    assert kinds(plan, "raw") == kinds(plan, "top") == ["unselected"]
    assert kinds(plan, "mid") == ["code"]
    assert plan.steps["raw"].entry.version == "v-raw"


def test_a_selected_asset_whose_input_is_neither_built_nor_selected_is_an_error():
    view = built(CHAIN)
    del view["raw"]
    with pytest.raises(
        SelectionError, match="mid needs raw, which is not built here and not selected"
    ) as caught:
        planner(CHAIN, view, selected=["mid"]).plan()
    assert caught.value.hint == "select what it is made from too: --select +mid"


def test_only_what_is_read_directly_must_be_built():
    view = built(CHAIN)
    del view["raw"]
    plan = planner(swap(CHAIN, edited(TOP)), view, selected=["top"]).plan()
    assert actions(plan)["top"] == "run"
    assert plan.steps["raw"].entry is None


def test_what_is_neither_built_nor_selected_nor_needed_is_left_alone():
    plan = planner(CHAIN, {}, selected=["side"]).plan()
    assert actions(plan)["side"] == "run"
    assert kinds(plan, "top") == ["unselected"]


def test_force_runs_the_selected_whatever_stands_and_nothing_else():
    plan = planner(CHAIN, built(CHAIN), selected=["mid"], force=True).plan()
    assert actions(plan) == {"raw": "reuse", "mid": "run", "side": "reuse", "top": "reuse"}
    assert kinds(plan, "mid") == ["forced"]
    assert plan.steps["mid"].fingerprint is not None


def test_force_tells_the_other_causes_too():
    plan = planner(swap(CHAIN, edited(RAW)), built(CHAIN), force=True).plan()
    assert kinds(plan, "raw") == ["forced", "code"]
    assert actions(plan) == dict.fromkeys(plan.steps, "run")
    assert plan.steps["mid"].fingerprint is None


def test_changed_are_the_assets_with_causes_of_their_own():
    view = built(CHAIN)
    del view["side"]
    assert planner(swap(CHAIN, edited(RAW)), view).changed() == {"raw", "side"}


# adoption


def found(entry: Entry, name: str = "other", number: int = 4) -> Found:
    return Found(entry, 7, name, "sandbox", True, number)


def test_what_a_trusted_ref_has_computed_is_taken_over_and_what_reads_it_is_known():
    nodes = swap(CHAIN, edited(RAW), edited(MID))
    theirs = built(nodes)
    store = {entry.provenance.fingerprint: found(entry) for entry in theirs.values()}
    plan = planner(nodes, built(CHAIN), lookup=store.get).plan()
    assert set(actions(plan).values()) == {"reuse"}
    assert plan.steps["mid"].adopted == "other@4"
    assert kinds(plan, "mid") == ["adopted"]
    assert plan.steps["mid"].entry == theirs["mid"]
    assert plan.steps["side"].adopted is None
    assert not plan.nothing_to_do


def test_what_was_never_built_here_can_be_taken_over():
    theirs = built(CHAIN)
    store = {entry.provenance.fingerprint: found(entry) for entry in theirs.values()}
    plan = planner(CHAIN, {}, lookup=store.get).plan()
    assert {step.adopted for step in plan.steps.values()} == {"other@4"}


def test_what_stands_here_is_not_looked_for_elsewhere():
    asked: list[str] = []
    planner(CHAIN, built(CHAIN), lookup=lambda print_: asked.append(print_)).plan()
    assert asked == []


def test_what_is_forced_or_not_selected_is_not_taken_over():
    store = {entry.provenance.fingerprint: found(entry) for entry in built(CHAIN).values()}
    assert actions(planner(CHAIN, {}, lookup=store.get, force=True).plan())["raw"] == "run"
    plan = planner(swap(CHAIN, edited(RAW)), built(CHAIN), lookup=store.get, selected=["side"]).plan()
    assert plan.steps["raw"].adopted is None


# sources


ALWAYS = Node("raw", code="c", refresh="always")
EVERY = Node("raw", code="c", refresh="every", every=3600.0)
OBSERVED = Node("raw", code="c", refresh="observe")
READER = Node("mid", inputs=("raw",), code="c-mid")


def first(node: Node, view=None, *, age: float = 0, seen: str | None = "e1", **rest):
    """The step of a source that was built so many seconds ago."""
    nodes = (node, READER)
    view = built(nodes, age=timedelta(seconds=age), outside=seen) if view is None else view
    return planner(nodes, view, **rest).plan().steps["raw"]


def test_a_source_without_a_policy_is_fetched_only_when_its_code_changes():
    assert first(Node("raw", code="c"), age=10**9).action == "reuse"
    assert first(Node("raw", code="c"), refresh=["raw"]).action == "run"
    assert first(Node("raw", code="c"), refresh=["mid"]).action == "reuse"


def test_a_source_that_is_always_fetched_runs_in_each_run_of_an_environment():
    step = first(ALWAYS)
    assert (step.action, step.reasons[0].text) == ("run", "it is fetched in each run")
    plan = planner((ALWAYS, READER), built((ALWAYS, READER))).plan()
    assert actions(plan)["mid"] == "depends"


@pytest.mark.parametrize(("age", "action"), [(0, "reuse"), (3599, "reuse"), (3600, "run"), (10**9, "run")])
def test_a_source_with_an_interval_is_fetched_when_it_is_old(age, action):
    assert first(EVERY, age=age).action == action


@pytest.mark.parametrize(
    ("every", "text"), [(3600.0, "1h"), (7200.0, "2h"), (86400.0, "1d"), (90.0, "90s"), (1800.0, "30m")]
)
def test_an_interval_is_told_as_it_was_written(every, text):
    step = first(replace(EVERY, every=every), age=10**6)
    assert step.reasons[0].text == f"it is fetched again when older than {text}"


def test_a_source_of_unknown_age_is_fetched():
    view = built((EVERY, READER))
    view["raw"] = replace(view["raw"], provenance=replace(view["raw"].provenance, computed_at=None))
    assert first(EVERY, view).action == "run"


def test_an_observed_source_runs_when_the_outside_version_differs():
    assert first(OBSERVED, observed={"raw": "e1"}).action == "reuse"
    step = first(OBSERVED, observed={"raw": "e2"})
    assert step.action == "run"
    assert [r.text for r in step.reasons] == ["the outside version changed: e1 → e2"]


def test_an_observed_source_whose_code_changed_runs_at_an_equal_outside_version():
    step = first(edited(OBSERVED), built((OBSERVED, READER), outside="e1"), observed={"raw": "e1"})
    assert [r.kind for r in step.reasons] == ["code"]


@pytest.mark.parametrize("node", [ALWAYS, EVERY, OBSERVED])
def test_in_a_sandbox_a_source_is_pinned_to_the_base(node):
    step = first(node, age=10**9, pinned=True, observed={"raw": "e2"})
    assert step.action == "reuse"
    assert [r.kind for r in step.reasons] == ["pinned"]


@pytest.mark.parametrize("node", [ALWAYS, EVERY, OBSERVED])
def test_in_a_sandbox_refresh_lets_a_source_follow_its_policy(node):
    step = first(node, age=60, pinned=True, refresh=["raw"], observed={"raw": "e2"})
    assert step.action == "run"


def test_a_source_that_was_looked_at_and_has_not_changed_is_not_called_pinned():
    step = first(OBSERVED, pinned=True, refresh=["raw"], observed={"raw": "e1"})
    assert [r.kind for r in step.reasons] == ["same"]


@pytest.mark.parametrize("node", [ALWAYS, EVERY, OBSERVED])
def test_in_a_sandbox_a_source_whose_code_changed_runs(node):
    view = built((node, READER), outside="e1")
    step = first(edited(node), view, pinned=True, observed={"raw": "e2"})
    assert step.action == "run"
    assert "code" in [r.kind for r in step.reasons]


def test_a_source_that_was_never_built_runs_even_in_a_sandbox():
    assert first(ALWAYS, {}, pinned=True).action == "run"


@pytest.mark.parametrize("node", [ALWAYS, EVERY])
def test_a_source_on_a_schedule_is_never_taken_over_from_the_past(node):
    nodes = (node, READER)
    store = {entry.provenance.fingerprint: found(entry) for entry in built(nodes).values()}
    assert first(node, {}, lookup=store.get).action == "run"
    assert first(node, {}, lookup=store.get, pinned=True).action == "reuse"


@pytest.mark.parametrize("node", [ALWAYS, EVERY])
def test_what_a_continued_run_has_fetched_counts_as_fetched_now(node):
    view = built((node, READER), run="r7", age=timedelta(days=2))
    assert first(node, view, own_runs=["r7"]).action == "reuse"
    assert first(node, view, own_runs=["r8"]).action == "run"


def test_outside_versions_are_asked_for_only_where_they_count():
    nodes = (OBSERVED, READER, Node("other", code="o", refresh="observe"), SIDE)
    view = built(nodes, outside="e1")
    assert sorted(planner(nodes, view).to_observe()) == ["other", "raw"]
    assert planner(nodes, view, selected=["raw"]).to_observe() == ["raw"]
    assert planner(nodes, view, pinned=True).to_observe() == []
    assert planner(nodes, view, pinned=True, refresh=["raw"]).to_observe() == ["raw"]
    assert planner(swap(nodes, edited(OBSERVED)), view, pinned=True).to_observe() == ["raw"]
    assert sorted(planner(nodes, {}, pinned=True).to_observe()) == ["other", "raw"]


def test_a_pinned_source_keeps_the_outside_version_that_it_was_built_at():
    made = planner((OBSERVED, READER), built((OBSERVED, READER), outside="e1"), pinned=True)
    assert made.outside("raw") == "e1"
    assert made.outside("mid") is None


# the whole plan


def test_tables_without_an_asset_are_orphans_unless_somebody_else_wrote_them():
    view = built((*CHAIN, Node("old", code="o"))) | {"theirs": Entry("theirs", "table", "file://t", "v")}
    assert planner(CHAIN, view).plan().orphans == ("old",)


def test_costs_are_those_of_the_last_time_and_told_for_what_runs_and_what_may():
    plan = planner(swap(CHAIN, edited(RAW)), built(CHAIN)).plan()
    assert (plan.seconds, plan.seconds_at_most, plan.bytes) == (2.0, 6.0, 100)
    never = planner(CHAIN, {}).plan()
    assert (never.seconds, never.bytes) == (0, 0)
    assert never.steps["raw"].seconds is None


def test_the_notes_of_the_code_reach_the_plan():
    node = replace(RAW, notes=("it calls exec",))
    assert planner((node,), {}).plan().steps["raw"].notes == ("it calls exec",)


def test_steps_can_be_had_by_their_action():
    plan = planner(swap(CHAIN, edited(RAW)), built(CHAIN)).plan()
    assert [step.key for step in plan.with_action("run", "depends")] == ["raw", "mid", "top"]


def test_a_plan_is_plain_json():
    plan = planner(swap(CHAIN, edited(RAW)), built(CHAIN)).plan()
    data = json.loads(json.dumps(plan.to_dict()))
    assert (data["run"], data["depends"], data["reuse"]) == (1, 2, 1)
    assert data["target"] == "fix"
    assert data["definitions"] == "d"
    steps = {step["asset"]: step for step in data["steps"]}
    assert steps["side"]["version"] == "v-side"
    assert steps["mid"]["version"] is None
    assert set(steps["raw"]) == {
        "asset", "action", "reasons", "fingerprint", "version", "adopted_from", "seconds", "bytes", "notes",
        "partitions", "incremental",
    }  # fmt: skip


# what holds for every graph


@st.composite
def graphs(draw) -> tuple[Node, ...]:
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 7))):
        keys = [node.key for node in nodes]
        inputs = draw(st.lists(st.sampled_from(keys), unique=True, max_size=3)) if keys else []
        nodes.append(Node(f"n{number}", inputs=tuple(sorted(inputs)), code=f"c{number}"))
    return tuple(nodes)


@given(graphs(), st.data())
def test_following_the_plan_leaves_nothing_to_do(nodes, data):
    """Runs what the plan says, with random new versions, asking `decide` as the executor does."""
    view = built(nodes)
    changed = data.draw(st.sets(st.sampled_from([node.key for node in nodes])))
    now = tuple(edited(node) if node.key in changed else node for node in nodes)
    made = planner(now, dict(view))
    plan = made.plan()
    after = dict(view)
    versions: dict[str, str | None] = {}
    ran = set()
    for key in made.graph:
        step = made.decide(key, at(**versions))
        planned = plan.steps[key].action
        assert step.action == planned or (planned == "depends" and step.action in ("run", "reuse"))
        if step.action == "run":
            ran.add(key)
            new = data.draw(st.sampled_from([view[key].version, f"{view[key].version}-new"]))
            node = made.graph[key]
            read = {source: versions[source] for source in node.inputs}
            provenance = replace(
                view[key].provenance, fingerprint=step.fingerprint, code=node.code, inputs=read
            )
            after[key] = replace(view[key], version=new, provenance=provenance)
        versions[key] = after[key].version
    assert changed <= ran <= made.graph.downstream(changed)
    assert planner(now, after).plan().nothing_to_do
