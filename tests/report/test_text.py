"""What a person reads of statuses, plans, runs and checks."""

from __future__ import annotations

import pytest

from anabranch.catalog.base import Entry, Provenance
from anabranch.pipeline.check import CheckResult
from anabranch.planning.changes import Reason
from anabranch.planning.plan import Plan, Step
from anabranch.project.results import CheckReport, Status, Where
from anabranch.report.lines import text_of, width
from anabranch.report.text import (
    check_lines,
    failure_lines,
    plan_lines,
    run_lines,
    status_lines,
    verdict_lines,
)
from anabranch.running.outcome import CheckOutcome, Execution, Outcome
from anabranch.running.run import RunResult


def entry(key="delays", rows=327_346, size=12_345_678, version="ab1:s:3:aaaaaaaa11111111"):
    return Entry(key, "table", "/w/x.metadata.json", version, Provenance(rows=rows, bytes=size))


def where(kind="sandbox", dirty=(), branch="fix-delays", opened=True, progress=None):
    name = None if kind == "environment" else "fix-delays"
    return Where(kind, branch, "1a2b3c4d5e6f", dirty, "production", name, opened, progress)


def step(key, action="run", *reasons, seconds=None, adopted=None, notes=()):
    return Step(
        key,
        action,
        reasons or (Reason("same", "nothing changed", key),),
        seconds=seconds,
        adopted=adopted,
        notes=notes,
    )


CODE = Reason("code", "function flights.definitions.delays changed", "x", "flights/definitions.py:61")


def plan_of(*steps, orphans=()):
    return Plan("fix-delays", {one.key: one for one in steps}, orphans)


# plan


def test_a_plan_reads_like_the_documentation():
    names = ["flights", "planes", "weather", "airports", "airlines", "hours", "days"]
    plan = plan_of(
        step("delays", "run", CODE, seconds=1.4),
        step("worst_carriers", "depends", Reason("upstream", "delays runs first", "delays"), seconds=0.2),
        *(step(name, "reuse") for name in names),
    )
    assert text_of(plan_lines(plan, title="sandbox fix-delays", base="base production@1")) == (
        "Plan for sandbox fix-delays (base production@1)\n"
        "  run      delays          function flights.definitions.delays changed (flights/definitions.py:61)  ~1.4 s\n"
        "  depends  worst_carriers  delays runs first                                                        ~0.2 s\n"
        "  reuse    flights, planes, weather and 4 more\n"
        "1 to run, 1 to see, 7 reused; about 1.4 s to 1.6 s of computing by the last runs\n"
        "next: anabranch run\n"
    )


def test_verbose_unfolds_reuse_reasons_and_notes():
    reasons = [Reason("code", f"part {n} changed", str(n)) for n in range(5)]
    plan = plan_of(
        step("delays", "run", *reasons, notes=("getattr can't be followed",)),
        *(step(f"t{n}", "reuse") for n in range(9)),
    )
    short = text_of(plan_lines(plan, title="production"))
    assert "and 2 more reasons" in short
    assert "part 4" not in short
    assert "getattr" not in short
    whole = text_of(plan_lines(plan, title="production", verbose=True))
    assert "part 4 changed" in whole
    assert "getattr can't be followed" in whole
    assert all(f"t{n}" in whole for n in range(9))


def test_what_is_taken_over_names_whose_it_is():
    reason = Reason("adopted", "fix-x has computed exactly this", "fix-x@3")
    told = text_of(
        plan_lines(plan_of(step("delays", "reuse", reason, adopted="fix-x@3")), title="production")
    )
    assert "reuse  delays  fix-x has computed exactly this  of fix-x@3" in told
    assert told.endswith("next: anabranch run\n")


def test_orphans_are_named_with_what_removes_them():
    told = text_of(plan_lines(plan_of(step("a", "reuse"), orphans=("old_one",)), title="production"))
    assert "old_one: no asset makes them any more; --prune removes them" in told


def test_reasons_of_reuse_other_than_nothing_changed_are_told():
    plan = plan_of(step("a", "reuse"), step("b", "reuse", Reason("pinned", "pinned to the base", "b")))
    told = text_of(plan_lines(plan, title="sandbox x"))
    assert "b   pinned to the base" in told


@pytest.mark.parametrize("limit", [30, 60, 80, 200])
def test_very_long_names_are_cut_and_lines_fit(limit):
    plan = plan_of(step("k" * 180, "run", CODE, seconds=2), step("short", "depends", CODE))
    for one in plan_lines(plan, title="sandbox x", limit=limit)[1:3]:
        assert sum(width(span.text) for span in one) <= limit
    assert "k" * 180 in text_of(plan_lines(plan, title="sandbox x"))


def test_hostile_names_and_reasons_do_not_reach_the_terminal():
    evil = Reason("config", "config name: \x1b[2Jabsent → [red]\n", "x")
    told = text_of(plan_lines(plan_of(step("a", "run", evil)), title="sandbox \x1b]0;x\x07"))
    assert "\x1b" not in told
    assert "\x07" not in told
    assert "[red]" in told


# status


def test_a_status_names_base_changes_stale_and_next():
    status = Status(
        where(dirty=("a.py", "b.py")),
        head="fix-delays@3",
        base="production@1",
        behind=2,
        behind_reason="production@2 was made by code that fix-delays does not contain",
        stale=("flights",),
        changed={"delays": (CODE, CODE)},
        own=("delays",),
        notes=("a note",),
        next="anabranch plan, then anabranch run",
        assets=9,
        tables=9,
    )
    told = text_of(status_lines(status, "flights"))
    assert told.splitlines()[0] == "flights · sandbox fix-delays"
    assert "fix-delays (2 uncommitted files)" in told
    assert "production@1, 2 commits behind production" in told
    assert "9 assets, 8 unchanged" in told
    assert "flights: production has moved on there" in told
    assert "(flights/definitions.py:61); and 1 more" in told
    assert "behind: production@2" in told
    assert told.splitlines()[-1] == "next: anabranch plan, then anabranch run"


def test_long_lists_of_changes_are_folded():
    status = Status(
        where(), base="production@1", changed={f"asset_{n}": (CODE,) for n in range(30)}, assets=30
    )
    assert "and 18 more (-v shows all)" in text_of(status_lines(status, "x"))
    assert "asset_29" in text_of(status_lines(status, "x", verbose=True))


def test_a_status_without_anything_to_do_says_so():
    told = text_of(
        status_lines(Status(where("environment"), head="production@4", base="production@4", assets=2), "x")
    )
    assert told.endswith("nothing to do\n")


def test_what_is_under_way_in_git_and_in_runs_is_told():
    status = Status(
        where(progress="rebase"),
        base="production@1",
        running=("run 3k of ann, since 09:00:00 UTC",),
        held="x was rolled back",
    )
    told = text_of(status_lines(status, "x"))
    assert "(rebase under way)" in told
    assert "running: run 3k of ann" in told
    assert "held" in told


# runs


def result_of(*outcomes, checks=(), kind="sandbox", state="succeeded", commit="fix-delays@4", pruned=()):
    execution = Execution({o.key: o for o in outcomes}, {c.id: c for c in checks})
    return RunResult(
        "3k2abc",
        "fix-delays" if kind == "sandbox" else "production",
        kind,
        state,
        plan_of(),
        execution,
        commit,
        4.2,
        "/logs",
        pruned,
    )


def check(
    name="not_null_x",
    *,
    passed=True,
    blocking=True,
    cached=False,
    error=None,
    message="3 rows are null",
    samples=(),
):
    found = None if error else CheckResult(passed, message, samples=samples)
    return CheckOutcome(f"delays:{name}", "delays", name, blocking, "f", found, error, cached)


def test_a_run_tells_what_ran_what_was_reused_and_where_it_went():
    told = text_of(
        run_lines(
            result_of(
                Outcome("delays", "ran", entry(), "ab1:s:3:bbbbbbbb", 1.2),
                Outcome("worst", "ran", entry("worst", 16, 900, "ab1:s:1:cc"), "ab1:s:1:cc", 0.05),
                Outcome("flights", "reused", entry("flights")),
                checks=[check(), check("other", cached=True)],
            )
        )
    )
    assert told == (
        "Run 3k2abc of sandbox fix-delays succeeded in 4.2 s\n"
        "  delays  ran  1.2 s  327,346 rows  12.3 MB\n"
        "  worst   ran  50 ms       16 rows    900 B  same content\n"
        "  reused: flights\n"
        "  2 checks passed (1 known already)\n"
        "  committed as fix-delays@4\n"
        "next: anabranch diff, then anabranch promote\n"
    )


def test_a_failed_run_of_an_environment_says_that_nothing_was_published():
    told = text_of(
        run_lines(
            result_of(
                Outcome("delays", "failed", error={"message": "x"}),
                Outcome("worst", "blocked", cause="delays"),
                checks=[check(passed=False), check("soft", passed=False, blocking=False)],
                kind="environment",
                state="failed",
                commit=None,
            )
        )
    )
    assert "failed in 4.2 s" in told
    assert "worst did not run: delays failed" in told
    assert "failed  delays:not_null_x  3 rows are null" in told
    assert "warns   delays:soft        3 rows are null" in told
    assert "nothing was published: production is as it was" in told


def test_a_failure_shows_the_users_traceback_the_hint_and_the_log():
    error = {
        "type": "KeyError",
        "message": "delays: KeyError: 'x'",
        "traceback": "Traceback …\n  File a\nKeyError: 'x'\n",
        "users": True,
        "hint": "look",
    }
    result = result_of(Outcome("delays", "failed", seconds=0.3, error=error, attempts=3), state="failed")
    told = text_of(failure_lines(result, {"delays": (".anabranch/runs/1/delays.log", ["one", "two\x1b[2J"])}))
    assert "delays failed in 3 tries after 0.3 s" in told
    assert "  KeyError: 'x'\n" in told
    assert "hint: look" in told
    assert "the end of .anabranch/runs/1/delays.log:" in told
    assert "  | two\\x1b[2J\n" in told
    assert told.count("KeyError: 'x'") == 1


def test_an_error_of_ours_in_a_step_is_a_sentence_with_its_place():
    error = {
        "type": "SecretError",
        "message": "TOKEN is not set",
        "place": "a.py:3",
        "hint": None,
        "traceback": "",
        "users": False,
    }
    told = text_of(failure_lines(result_of(Outcome("delays", "failed", error=error), state="failed"), {}))
    assert "  a.py:3: TOKEN is not set\n" in told


def test_a_check_that_could_not_be_run_is_shown_with_the_failures():
    error = {"message": "boom", "traceback": "", "users": False}
    told = text_of(failure_lines(result_of(checks=[check(passed=False, error=error)], state="failed"), {}))
    assert "the check delays:not_null_x could not be run" in told
    assert "boom" in told


# checks and the gate


def test_failing_checks_come_first_with_the_rows_that_offend():
    samples = ({"id": 7, "carrier": None}, {"id": 8, "carrier": "\x1b[1m"})
    report = CheckReport(
        "fix@2",
        (check("a"), check("b", passed=False, samples=samples), check("c", passed=False, blocking=False)),
    )
    lines = text_of(check_lines(report)).splitlines()
    assert lines[1].split()[:2] == ["failed", "delays:b"]
    assert lines[2].split() == ["id", "carrier"]
    assert lines[3].split() == ["7", "null"]
    assert "\\x1b[1m" in lines[4]
    assert "1 passed, 1 failed, 1 warn" in lines
    assert lines[-1].startswith('next: look at the rows: anabranch sql "from delays"')


def test_no_checks_are_told_as_such():
    assert "no checks are declared" in text_of(check_lines(CheckReport("production@1", ())))


def test_a_verdict_lists_reasons_with_hints_and_warnings():
    verdict = {
        "reasons": [{"text": "rows go", "hint": "look"}],
        "warnings": [{"text": "old approval", "hint": ""}],
    }
    told = text_of(verdict_lines(verdict))
    assert "no    rows go" in told
    assert "look" in told
    assert "warns old approval" in told
