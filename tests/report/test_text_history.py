"""What a person reads of promotions, rollbacks, commits, sandboxes, tags and gc."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from anabranch.catalog.base import Branch, Change, Commit, Entry, Point, Provenance, RunRecord, Tag
from anabranch.gate import Approval, Candidate, GateReason, TableChange, Verdict
from anabranch.project.results import Log, SandboxList, Shown, TagList
from anabranch.project.sandboxes import Closed, Opened, Synced
from anabranch.promotion import Prepared, PromotionResult, RollbackPlan
from anabranch.report.lines import text_of
from anabranch.report.text_history import (
    approval_lines,
    candidate_lines,
    closed_lines,
    gc_lines,
    log_lines,
    opened_lines,
    promotion_lines,
    rollback_lines,
    sandbox_list_lines,
    shown_lines,
    synced_lines,
    tag_lines,
)
from anabranch.sandbox.gc import GcResult
from anabranch.sandbox.lifecycle import Moved, SandboxInfo

WHEN = datetime(2026, 11, 20, 9, 12, tzinfo=UTC)
PASSED = Verdict(True, "c" * 64)
REFUSED = Verdict(False, "c" * 64, (GateReason("rows_removed", "orders", "orders loses 2 rows", "look"),))


def branch(name="production", kind="environment", head=4):
    return Branch(1, name, kind, True, None, None, head, WHEN)


def commit(number=4, **more):
    fields = {
        "kind": "promote",
        "message": "promote fix",
        "author": "Ada <a@x>",
        "git_commit": "1a2b3c4d5e6f",
        "definitions": "d",
        "run": None,
        "keys": 2,
    }
    return Commit(1, "production", number, None, WHEN, **{**fields, **more})


def entry(key="orders", version="ab1:s:3:aaaaaaaa0000", rows=3):
    return Entry(
        key,
        "table",
        "/w/orders/metadata/1.metadata.json",
        version,
        Provenance(
            rows=rows,
            bytes=812,
            seconds=1.2,
            computed_at=WHEN.isoformat(),
            environment="fix",
            inputs={"raw": "ab1:s:1:bbbbbbbb11"},
            git_commit="1a2b3c",
            dirty=True,
        ),
    )


def box(**more):
    fields = {
        "name": "fix",
        "git_branch": "fix",
        "environment": "production",
        "base": 3,
        "behind": 0,
        "head": 2,
        "tables": ("orders",),
        "bytes": 12_345,
        "created_at": WHEN,
        "expires_at": WHEN + timedelta(days=14),
    }
    return SandboxInfo(**{**fields, **more})


def test_the_candidate_is_shown_table_by_table_with_the_verdict():
    tables = (
        TableChange("orders", "table", "changed", 1000, 900, 150, True, False, ("column x is removed",)),
        TableChange("fresh", "table", "added", None, 5),
        TableChange("old", "table", "removed", 7, None),
        TableChange("same", "table", "same", 7, 7),
    )
    candidate = Candidate("c" * 64, "production", "fix", tables=tables)
    told = text_of(candidate_lines(Prepared(branch("fix", "sandbox"), branch(), {}, candidate, REFUSED)))
    assert told.splitlines()[0] == "fix → production   candidate cccccccccccc"
    assert "changed  orders  1,000 → 900 rows  150 removed; column x is removed" in told
    assert "added    fresh   5 rows" in told
    assert "removed  old     7 rows go" in told
    assert "same     same    same content" in told
    assert "the gate says no" in told
    assert "orders loses 2 rows" in told


def test_a_promotion_names_commit_tables_and_the_way_back():
    result = PromotionResult(
        "production",
        "fix",
        "published",
        "production@5",
        ("orders",),
        PASSED,
        Moved(3, 4, ("raw",), ()),
        ("orders",),
    )
    told = text_of(promotion_lines(result))
    assert "fix moved from production@3 → production@4" in told
    assert "run again on the new base: orders" in told
    assert "published fix as production@5: orders" in told
    assert told.splitlines()[-1].endswith("anabranch rollback --of production@5")


def test_a_rehearsal_tells_what_would_be():
    dry = PromotionResult("production", "fix", "dry_run", tables=("orders",), verdict=REFUSED)
    told = text_of(promotion_lines(dry))
    assert "would publish orders into production" in told
    assert "no    orders loses 2 rows" in told
    moved = text_of(
        promotion_lines(
            PromotionResult("production", "fix", "dry_run", moved=Moved(3, 4, ("raw",), ("orders",)))
        )
    )
    assert "fix would move from" in moved
    assert "in the base by now: orders" in moved
    assert "nothing to publish" in text_of(promotion_lines(PromotionResult("production", "fix", "nothing")))


def test_an_approval_names_exactly_what_was_approved():
    told = text_of(approval_lines(Approval("Bob <b@x>", WHEN, "abcdef0123456789"), "fix"))
    assert "approved abcdef012345 of fix, by Bob <b@x>" in told


def test_a_rollback_tells_what_comes_back_and_that_the_environment_is_held():
    changes = (
        Change("orders", entry(version="x:1:11111111"), entry(version="x:1:22222222")),
        Change("new", entry("new"), None),
        Change("gone", None, entry("gone")),
    )
    plan = RollbackPlan(branch(), "production@2", ("production@4", "production@3"), changes, "d", None, None)
    told = text_of(rollback_lines(plan, None))
    assert "roll back production: production@4, production@3" in told
    assert "restore     orders  11111111 → 22222222" in told
    assert "remove      new     aaaaaaaa → —" in told
    assert "bring back  gone    — → aaaaaaaa" in told
    done = text_of(rollback_lines(plan, commit(5, kind="rollback")))
    assert "done as production@5" in done
    assert "production is held" in done
    assert "no table differs" in text_of(
        rollback_lines(RollbackPlan(branch(), "p@3", ("p@4",), (), None, None, None), None)
    )


def test_a_log_has_one_line_a_commit_with_its_tags():
    log = Log(
        "production",
        (commit(4), commit(3, kind="run", message="run a\x1b[2Jb", git_commit=None)),
        {4: ("v1", "live")},
    )
    lines = text_of(log_lines(log)).splitlines()
    assert lines[0].split()[0] == "production@4"
    assert "promote fix" in lines[0]
    assert "git 1a2b3c4d" in lines[0]
    assert lines[0].endswith("v1, live")
    assert "a\\x1b[2Jb" in lines[1]
    assert "Ada" in lines[1]
    assert "<a@x>" not in lines[1]
    assert lines[-1] == "next: anabranch show production@4"


def test_a_commit_is_shown_with_its_changes_and_verdict():
    changes = (
        Change("orders", entry(), entry(version="ab1:s:3:cccccccc", rows=None)),
        Change("new", None, entry("new")),
        Change("old", entry("old"), None),
    )
    shown = Shown("commit", "production@4", commit(4, properties={"verdict": REFUSED.to_dict()}), changes)
    told = text_of(shown_lines(shown))
    assert "changed  orders  3 → — rows  aaaaaaaa → cccccccc" in told
    assert "added    new     — → 3 rows" in told
    assert "removed  old     3 → — rows" in told
    assert "the gate says no" in told
    assert told.splitlines()[-1] == "next: anabranch diff production@3 production@4"


def test_many_changes_of_a_commit_are_folded():
    changes = tuple(Change(f"t{n}", None, entry(f"t{n}")) for n in range(50))
    shown = Shown("commit", "production@4", commit(), changes)
    assert "and 20 more (-v shows all)" in text_of(shown_lines(shown))
    assert "t49" in text_of(shown_lines(shown, verbose=True))


def test_a_run_is_shown_with_what_it_did_and_why():
    properties = {
        "author": "Ada",
        "seconds": 4.2,
        "commit": None,
        "error": {"type": "ValueError", "message": "oh"},
        "reasons": {"orders": ["function orders changed"]},
        "assets": [
            {"asset": "orders", "state": "ran", "seconds": 1.2, "rows": 3, "error": None},
            {
                "asset": "bad",
                "state": "failed",
                "seconds": 0.1,
                "rows": None,
                "error": {"message": "bad: KeyError: 'x'"},
            },
            {"asset": "raw", "state": "reused", "seconds": 0, "rows": 3, "error": None},
        ],
        "checks": [
            {
                "asset": "orders",
                "check": "not_null_x",
                "passed": False,
                "blocking": True,
                "message": "1 row is null",
            }
        ],
    }
    shown = Shown("run", "run 3k", run=RunRecord("3k2", 1, 1, "failed", WHEN, WHEN, properties=properties))
    told = text_of(shown_lines(shown))
    assert "Run 3k2 failed" in told
    assert "ValueError: oh" in told
    assert "ran     orders  1.2 s  3 rows  function orders changed" in told
    assert "failed  bad" in told
    assert "KeyError" in told
    assert "raw" not in told
    assert "orders:not_null_x" in told


def test_an_asset_is_shown_with_its_provenance():
    told = text_of(shown_lines(Shown("asset", "orders at production@4", entry=entry(), readers=("totals",))))
    assert "made from   raw bbbbbbbb" in told
    assert "read by     totals" in told
    assert "with uncommitted edits" in told
    assert "by fix in 1.2 s" in told


def test_sandboxes_are_listed_with_base_size_and_end():
    found = SandboxList(
        (
            box(),
            box(name="a-b-12345678", git_branch="a/b", behind=2, git_branch_exists=False, expires_at=None),
        )
    )
    lines = text_of(sandbox_list_lines(found)).splitlines()
    assert "production@3  " in lines[0]
    assert "12.3 kB" in lines[0]
    assert "until 2026-12-0" in lines[0]
    assert "a/b" in lines[1]
    assert "production@3, 2 behind" in lines[1]
    assert "does not expire" in lines[1]
    assert "git branch is gone" in lines[1]
    assert "no sandbox is open" in text_of(sandbox_list_lines(SandboxList(())))


def test_opening_tells_on_which_base_and_why():
    told = text_of(opened_lines(Opened(box(), True, None, 0.004)))
    assert "opened sandbox fix on production@3   4 ms" in told
    assert "the newest commit of production" in told
    behind = text_of(opened_lines(Opened(box(), True, "production@4 was made by other code", 0.004)))
    assert "whose code this branch contains: production@4 was made by other code" in behind
    assert "is open already" in text_of(opened_lines(Opened(box(), False, None, 0.004)))


def test_a_sync_tells_what_it_brings():
    synced = Synced(
        "fix", "production", Moved(3, 4, ("raw",), ("orders",)), "production@5 is not contained", False
    )
    told = text_of(synced_lines(synced))
    assert "fix moved from production@3 → production@4" in told
    assert "other content: raw" in told
    assert "still behind: production@5" in told
    assert "would move" in text_of(synced_lines(Synced("fix", "production", Moved(3, 4, (), ()), None, True)))
    assert "stands on production@4 already" in text_of(
        synced_lines(Synced("fix", "production", Moved(4, 4, (), ()), None, False))
    )


def test_closing_tells_what_was_never_published():
    told = text_of(closed_lines(Closed(box(), ("orders",), True)))
    assert "would close sandbox fix: 1 table, 12.3 kB" in told
    assert "never published: orders" in told


def test_tags_are_listed():
    tags = TagList(((Tag("v1", Point(1, 3), WHEN, "the first"), "production@3"),))
    assert "v1  production@3" in text_of(tag_lines(tags))
    assert "no tags" in text_of(tag_lines(TagList(())))


def test_gc_tells_what_goes_and_what_stays():
    result = GcResult(True, ("old",), ("gone",), ("/w/a.parquet",), 12_345, 2, 7, 99_000)
    told = text_of(gc_lines(result))
    assert "gc would remove" in told
    assert "close expired sandboxes: old" in told
    assert "1 file, 12.3 kB" in told
    assert "7 files that are needed (99.0 kB), 2 files too young" in told
    assert "/w/a.parquet" not in told
    assert "/w/a.parquet" in text_of(gc_lines(result, verbose=True))
    assert told.splitlines()[-1] == "next: anabranch gc --yes"
    assert text_of(gc_lines(GcResult(True))).splitlines()[-1] == "next: nothing to do"
    assert "gc removed" in text_of(gc_lines(GcResult(False, files=("x",))))
