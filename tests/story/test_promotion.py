"""From a git branch to production: the stories that the product is for."""

from __future__ import annotations

import pytest
from story_shop import SETTINGS, ran

from anabranch.errors import BehindError, DirtyError, GateError, PromotionError, StaleError, UndeterminedError


def raise_tax(shop, to: str = "0.25") -> None:
    shop.edit("shop/prices.py", "TAX = 0.2", f"TAX = {to}")


def test_the_first_run_on_main_builds_production_in_one_commit(make_shop):
    shop = make_shop()
    result = shop.run()
    assert result.ok
    assert result.commit == "production@1"
    assert ran(result) == ["customers", "orders", "paid", "report", "revenue"]
    assert shop.rows("report", "production") == [
        {"name": "Ada", "revenue": 48.0},
        {"name": "Bob", "revenue": 24.0},
    ]


def test_a_second_run_without_a_change_runs_nothing_and_commits_nothing(shop):
    result = shop.run()
    assert result.ok
    assert ran(result) == []
    assert result.commit is None
    assert shop.head() == 1


def test_a_new_branch_finds_everything_built(shop):
    shop.switch("fix", new=True)
    assert set(shop.actions().values()) == {"reuse"}
    assert ran(shop.run()) == []


def test_an_edit_of_a_comment_or_of_layout_runs_nothing(shop):
    shop.switch("fix", new=True)
    shop.edit("shop/prices.py", "# the tax is on top", "# taxes are added\n\n")
    shop.edit("shop/definitions.py", '"""What was ordered."""', '"""Orders."""')
    shop.edit(
        "shop/definitions.py",
        "select customer, sum(gross) as revenue",
        "SELECT customer,\n  sum(gross) AS revenue -- gross",
    )
    assert ran(shop.run()) == []


def test_an_edit_runs_the_changed_asset_and_what_depends_on_it_and_names_the_cause(shop):
    shop.switch("fix", new=True)
    raise_tax(shop)
    plan = shop.project.plan()
    assert {k: s.action for k, s in plan.steps.items()} == {
        "customers": "reuse", "orders": "reuse", "paid": "run", "revenue": "depends", "report": "depends",
    }  # fmt: skip
    reason = plan.steps["paid"].reasons[0]
    assert "shop.prices.TAX" in reason.text
    assert reason.place == "shop/prices.py:4"
    assert ran(shop.run()) == ["paid", "report", "revenue"]


def test_a_rerun_that_yields_the_same_content_stops_the_wave(shop):
    shop.switch("fix", new=True)
    shop.edit("shop/prices.py", "1 + TAX", "TAX + 1")
    result = shop.run()
    assert ran(result) == ["paid"]
    assert result.execution.outcomes["revenue"].state == "reused"


def test_a_sandbox_leaves_production_as_it_is(shop):
    before = shop.versions("production")
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.run()
    assert shop.versions("production") == before
    assert shop.rows("report")[0]["revenue"] == 50.0


def test_the_diff_tells_what_the_branch_did_to_the_data(shop):
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.run()
    found = {table.key: table for table in shop.project.diff().tables}
    assert sorted(found) == ["paid", "report", "revenue"]
    assert (found["paid"].rows.added, found["paid"].rows.removed, found["paid"].rows.changed) == (0, 0, 3)
    assert found["paid"].rows.by_column == {"gross": 3}


def test_a_promotion_publishes_exactly_what_was_tested_and_computes_nothing(shop):
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    tested = shop.versions("fix")
    locations = {k: e.location for k, e in shop.project.tables("fix").items()}
    result = shop.promote()
    assert result.state == "published"
    assert result.commit == "production@2"
    assert result.reran == ()
    assert shop.versions("production") == tested
    assert {k: e.location for k, e in shop.project.tables("production").items()} == locations


def test_after_the_promotion_and_the_merge_a_run_on_main_has_nothing_to_do(shop):
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    shop.promote()
    shop.switch("main")
    shop.git("merge", "-q", "fix")
    assert ran(shop.run()) == []
    assert shop.head() == 2


def test_a_run_on_main_is_refused_until_the_promoted_branch_is_merged(shop):
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    shop.promote()
    shop.switch("main")
    with pytest.raises(BehindError, match="production@2") as caught:
        shop.run()
    assert "git merge fix" in caught.value.hint
    assert shop.head() == 2


@pytest.mark.parametrize("how", ["squash", "rebase", "cherry-pick"])
def test_code_first_a_merge_of_any_kind_adopts_what_was_tested(shop, how):
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.commit("Raise the tax")
    shop.run()
    tested = shop.versions("fix")
    shop.switch("main")
    shop.repo.commit({"README.md": "unrelated"}, "Unrelated work")
    if how == "squash":
        shop.git("merge", "-q", "--squash", "fix")
        shop.commit("Raise the tax (#7)")
    elif how == "rebase":
        shop.git("rebase", "-q", "main", "fix")
        shop.git("switch", "-q", "main")
        shop.git("merge", "-q", "--ff-only", "fix")
    else:
        shop.git("cherry-pick", "fix")
    result = shop.promote("fix")
    assert result.state == "published"
    assert result.reran == ()
    assert shop.versions("production") == tested
    assert ran(shop.run()) == []


def test_data_first_then_a_squash_merge_is_recognised_as_the_same_code(shop):
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    shop.promote()
    shop.switch("main")
    shop.git("merge", "-q", "--squash", "fix")
    shop.commit("Raise the tax (#7)")
    assert ran(shop.run()) == []
    shop.switch("next", new=True)
    shop.edit("shop/definitions.py", "Bob", "Bea")
    shop.commit()
    assert ran(shop.run()) == ["customers", "report"]
    assert shop.project.status().base == "production@2"


def test_a_branch_cut_before_a_promotion_is_not_blamed_for_it_and_cannot_undo_it(shop):
    shop.switch("second", new=True)
    shop.switch("first", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    shop.promote()
    after_first = shop.versions("production")

    shop.switch("second")
    shop.edit("shop/definitions.py", "sum(gross) as revenue", "sum(gross) + 1 as revenue")
    shop.commit()
    # Opened after the promotion, by code from before it: it stands on production as that code made it.
    assert ran(shop.run()) == ["report", "revenue"]
    assert shop.project.status().base == "production@1"
    assert {t.key for t in shop.project.diff().tables} == {"report", "revenue"}

    with pytest.raises(StaleError, match="stale") as caught:
        shop.promote()
    assert "git merge first" in caught.value.hint
    assert shop.versions("production") == after_first

    shop.git("merge", "-q", "--no-edit", "first")
    synced = shop.project.sandbox.sync()
    assert synced.moved.new_base == 2
    assert ran(shop.run()) == ["report", "revenue"]
    result = shop.promote()
    assert result.state == "published"
    assert sorted(result.tables) == ["report", "revenue"]
    assert shop.versions("production")["paid"] == after_first["paid"]
    assert shop.rows("report", "production")[0]["revenue"] == 51.0


def test_a_sandbox_opened_before_a_promotion_lands_after_merge_sync_and_run(shop):
    shop.switch("second", new=True)
    shop.edit("shop/definitions.py", "sum(gross) as revenue", "sum(gross) + 1 as revenue")
    shop.commit()
    shop.run()
    shop.git("switch", "-q", "main")
    shop.switch("first", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    shop.promote()
    shop.switch("main")
    shop.git("merge", "-q", "first")

    shop.switch("second")
    with pytest.raises(StaleError) as caught:
        shop.promote()
    assert "git merge main" in caught.value.hint
    shop.git("merge", "-q", "--no-edit", "main")
    # Promotion itself syncs, and runs what the new base makes necessary.
    result = shop.promote()
    assert result.state == "published"
    assert sorted(result.reran) == ["report", "revenue"]
    assert shop.rows("report", "production")[0]["revenue"] == 51.0


def test_two_branches_that_touch_the_same_table_both_land(shop):
    for name, old, new in [("a", "(net, 1 + TAX)", "(net, 2 + TAX)"), ("b", "TAX = 0.2", "TAX = 0.3")]:
        shop.git("switch", "-q", "main")
        shop.switch(name, new=True)
        shop.edit("shop/prices.py", old, new)
        shop.commit(f"Change {name}")
        shop.run()
    shop.switch("a")
    shop.promote()
    shop.switch("main")
    shop.git("merge", "-q", "a")
    shop.switch("b")
    shop.git("merge", "-q", "--no-edit", "main")
    shop.run()
    assert shop.promote().state == "published"
    assert shop.rows("paid", "production")[0]["gross"] == pytest.approx(10 * 2.3)


def test_a_promotion_demands_committed_code(shop):
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.run()
    with pytest.raises(DirtyError, match=r"shop/prices\.py"):
        shop.promote()
    assert shop.head() == 1


def test_code_that_was_edited_after_its_run_is_not_published(shop):
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    shop.edit("shop/prices.py", "TAX = 0.25", "TAX = 0.5")
    shop.commit()
    with pytest.raises(StaleError, match="paid was not run with the code at hand"):
        shop.promote()
    assert shop.head() == 1


def test_a_protected_environment_wants_a_yes(shop):
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    with pytest.raises(PromotionError, match="protected"):
        shop.project.promote(in_process=True)
    with pytest.raises(GateError, match="not confirmed"):
        shop.project.promote(in_process=True, confirm=lambda _: False)
    seen = []
    shop.project.promote(
        in_process=True, confirm=lambda prepared: bool(seen.append(prepared.verdict) or True)
    )
    assert seen[0].passed
    assert shop.head() == 2


def test_a_dry_run_judges_and_publishes_nothing(shop):
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    result = shop.promote(dry_run=True)
    assert result.state == "dry_run"
    assert result.verdict.passed
    assert sorted(result.tables) == ["paid", "report", "revenue"]
    assert shop.head() == 1


def test_the_gate_refuses_lost_rows_and_says_how_many(shop):
    shop.switch("fix", new=True)
    shop.edit("shop/definitions.py", 'pc.is_valid(orders["net"])', 'pc.greater(orders["net"], 15)')
    shop.commit()
    shop.run()
    with pytest.raises(GateError, match="paid loses 1 of its 3 rows"):
        shop.promote()
    assert shop.head() == 1


def test_the_gate_refuses_a_removed_column(shop):
    shop.switch("fix", new=True)
    shop.edit("shop/definitions.py", "select name, revenue from", "select name from")
    shop.commit()
    shop.run()
    with pytest.raises(GateError, match="revenue"):
        shop.promote()


def test_a_promotion_twice_publishes_once(shop):
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    assert shop.promote().state == "published"
    assert shop.promote().state == "nothing"
    assert shop.head() == 2


def test_approvals_bind_to_exactly_the_judged_state(make_shop):
    shop = make_shop(settings=SETTINGS + "\n[environments.production.promote]\napprovals = 1\n")
    shop.run()
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    with pytest.raises(GateError, match="approv"):
        shop.promote()
    shop.project.approve()
    with pytest.raises(GateError, match="approv"):
        shop.promote()  # one's own approval does not count
    shop.repo.git("config", "user.name", "Grace Hopper")
    shop.project.context.__dict__["author"] = "Grace Hopper <grace@example.com>"
    approval = shop.project.approve()
    shop.project.context.__dict__["author"] = "Ada Lovelace <ada@example.com>"
    shop.edit("shop/prices.py", "TAX = 0.25", "TAX = 0.26")
    shop.commit()
    shop.run()
    with pytest.raises(GateError, match="approv"):
        shop.promote()  # another state than the approved one
    shop.edit("shop/prices.py", "TAX = 0.26", "TAX = 0.25")
    shop.commit()
    shop.run()
    result = shop.promote()
    assert result.verdict.candidate == approval.candidate


def test_a_detached_head_is_an_error_and_never_production(shop):
    shop.git("switch", "-q", "--detach", "HEAD")
    with pytest.raises(UndeterminedError, match="detached"):
        shop.run()
    with pytest.raises(UndeterminedError):
        shop.project.table("paid")
    assert shop.project.status().where.kind == "undetermined"
    assert shop.rows("paid", "production")


def test_uncommitted_edits_do_not_run_on_production(shop):
    raise_tax(shop)
    with pytest.raises(DirtyError, match="committed code only"):
        shop.run()
    assert shop.head() == 1


def test_a_readme_edit_beside_the_project_does_not_count_as_code(shop):
    shop.switch("fix", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    shop.repo.commit({"docs/notes.md": "text"}, "Notes")
    assert shop.promote().state == "published"


def test_code_that_git_ignores_is_not_published_and_not_run_on_production(shop):
    shop.repo.commit({".gitignore": ".anabranch/\n__pycache__/\nshop/local.py\n"}, "Ignore a file")
    shop.repo.write({"shop/local.py": "TAX = 0.5\n"})
    shop.edit("shop/prices.py", "TAX = 0.2", "from shop.local import TAX")
    shop.commit()
    with pytest.raises(DirtyError, match=r"shop/local\.py is part of the definitions, but git ignores it"):
        shop.run()
    shop.switch("fix", new=True)
    assert shop.run().ok
    with pytest.raises(DirtyError, match=r"shop/local\.py"):
        shop.promote()
    assert shop.head() == 1


def test_status_after_a_merge_does_not_call_somebody_elses_change_ones_own(shop):
    shop.switch("second", new=True)
    shop.edit("shop/definitions.py", '"Bob"', '"Bea"')
    shop.commit()
    shop.run()
    shop.git("switch", "-q", "main")
    shop.switch("first", new=True)
    raise_tax(shop)
    shop.commit()
    shop.run()
    shop.promote()
    shop.switch("second")
    shop.git("merge", "-q", "--no-edit", "first")
    status = shop.project.status()
    assert status.changed == {}
    assert "sandbox sync" in status.next
