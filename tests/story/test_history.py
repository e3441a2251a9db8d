"""Looking back, going back, and cleaning up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from story_shop import ran

import anabranch as ab
from anabranch.errors import ConflictError, HeldError, PromotionError, QueryError, RefError, StaleError
from anabranch.names import now


def promoted(shop, branch: str = "fix", tax: str = "0.25"):
    shop.switch(branch, new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", f"TAX = {tax}")
    shop.commit(f"Tax {tax}")
    shop.run()
    result = shop.promote()
    shop.switch("main")
    shop.git("merge", "-q", branch)
    return result


def test_log_and_show_tell_what_happened(shop):
    promoted(shop)
    log = shop.project.log()
    assert [(c.ref, c.kind) for c in log.commits] == [
        ("production@2", "promote"), ("production@1", "run"), ("production@0", "open"),
    ]  # fmt: skip
    shown = shop.project.show("production@2")
    assert [c.key for c in shown.changes] == ["paid", "report", "revenue"]
    assert shown.commit.properties["verdict"]["passed"]
    assert shown.commit.git_commit == shop.repo.git("rev-parse", "fix")
    run = shop.project.show(shop.project.show("production@1").commit.run)
    assert run.run.state == "succeeded"
    asset = shop.project.show("paid@production@1")
    assert asset.entry.provenance.rows == 3
    assert asset.readers == ("revenue",)


def test_a_rollback_restores_the_whole_state_with_one_commit(shop):
    before = shop.versions("production")
    promoted(shop)
    plan, commit = shop.project.rollback(dry_run=True)
    assert commit is None
    assert [c.key for c in plan.changes] == ["paid", "report", "revenue"]
    assert shop.head() == 2
    _, commit = shop.project.rollback()
    assert commit.ref == "production@3"
    assert shop.versions("production") == before
    assert shop.versions("production@2") != before


def test_after_a_rollback_runs_are_refused_until_the_code_differs(shop):
    promoted(shop)
    shop.project.rollback()
    with pytest.raises(HeldError, match=r"production@2 was rolled back") as caught:
        shop.run()
    assert "--resume" in caught.value.hint
    assert "rolled back" in shop.project.status().held
    shop.git("revert", "--no-edit", "HEAD")
    assert ran(shop.run()) == []
    shop.edit("shop/definitions.py", '"Cyd"', '"Dee"')
    shop.commit()
    assert shop.run().commit == "production@4"
    assert shop.project.status().held is None


def test_a_held_environment_runs_when_someone_says_resume(shop):
    promoted(shop)
    shop.project.rollback()
    result = shop.run(resume=True)
    assert result.commit == "production@4"
    assert ran(result) == []
    assert shop.versions("production") == shop.versions("production@2")


def test_a_promotion_of_what_was_rolled_back_is_refused_while_it_is_held(shop):
    promoted(shop)
    shop.project.rollback()
    shop.switch("again", new=True)
    shop.run()
    shop.repo.commit({"notes.md": "x"}, "Notes")
    with pytest.raises(HeldError):
        shop.promote()


def test_one_commit_can_be_undone_alone(shop):
    promoted(shop)
    shop.switch("other", new=True)
    shop.edit("shop/definitions.py", '"c"], "name"', '"c"], "name"')
    shop.edit("shop/definitions.py", '"Cyd"', '"Dee"')
    shop.commit()
    shop.run()
    assert shop.promote().tables == ("customers", "report")
    paid = shop.versions("production")["paid"]
    _, commit = shop.project.rollback(of="production@3")
    assert commit.keys == 2
    assert shop.rows("customers", "production")[2]["name"] == "Cyd"
    assert shop.versions("production")["paid"] == paid


def test_undoing_a_commit_whose_table_was_written_again_is_a_conflict(shop):
    promoted(shop)
    promoted_again = shop
    shop.switch("more", new=True)
    shop.edit("shop/prices.py", "TAX = 0.25", "TAX = 0.3")
    shop.commit()
    shop.run()
    promoted_again.promote()
    with pytest.raises(ConflictError, match="was written again") as caught:
        shop.project.rollback(of="production@2")
    assert caught.value.facts["key"] == "paid"
    assert "--to production@1" in caught.value.hint


def test_a_rollback_goes_only_to_earlier_commits_of_its_own(shop):
    with pytest.raises(PromotionError, match="earlier commit"):
        shop.project.rollback("production@1")
    shop.switch("fix", new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    shop.run()
    with pytest.raises((PromotionError, RefError)):
        shop.project.rollback("fix@1", environment="production")


def test_sql_reads_any_ref_and_only_what_the_ref_holds(shop):
    promoted(shop)
    at = "select revenue from report where name = 'Ada'"
    assert shop.project.sql(at).fetchall() == [(50.0,)]
    assert shop.project.sql(at, at="production@1").fetchall() == [(48.0,)]
    secret_local = [1, 2, 3]  # noqa: F841 - DuckDB would find it by name
    with pytest.raises(QueryError):
        shop.project.sql("select * from secret_local")
    with pytest.raises(QueryError, match="reprot") as caught:
        shop.project.sql("select * from reprot")
    assert "did you mean 'report'" in (caught.value.hint or "")


def test_a_reader_keeps_the_commit_that_it_read_first(shop):
    reader = ab.Project(shop.folder)
    old = reader.table("report", at="production").to_arrow()
    promoted(shop)
    assert reader.table("report", at="production").to_arrow() == old
    assert reader.sql("select revenue from report order by 1 desc limit 1", at="production").fetchall() == [
        (48.0,)
    ]
    reader.refresh()
    assert reader.table("report", at="production").to_arrow() != old
    reader.close()


def test_a_ref_may_be_a_time_or_a_tag(shop):
    moment = now()
    shop.project.tag("before-tax", "production@1", message="as it was")
    promoted(shop)
    assert (
        shop.project.table("report", at=f"production@{moment.isoformat()}")
        .to_arrow()
        .to_pylist()[0]["revenue"]
        == 48.0
    )
    assert shop.project.table("report", at="before-tax").to_arrow().to_pylist()[0]["revenue"] == 48.0
    assert [ref for _, ref in shop.project.tags().tags] == ["production@1"]
    shop.project.untag("before-tax")
    assert shop.project.tags().tags == ()


def test_an_unknown_table_is_told_with_the_nearest_name(shop):
    with pytest.raises(RefError, match="production@1 has no table 'revenu'") as caught:
        shop.project.table("revenu")
    assert caught.value.hint == "did you mean 'revenue'?"


def test_gc_removes_a_closed_sandbox_and_nothing_that_is_needed(shop):
    promoted(shop)
    shop.switch("waste", new=True)
    shop.edit("shop/prices.py", "TAX = 0.25", "TAX = 0.9")
    shop.run()
    closed = shop.project.sandbox.close()
    assert sorted(closed.unpublished) == ["paid", "report", "revenue"]
    shop.git("checkout", "-q", "--", ".")
    shop.switch("main")
    dry = shop.project.gc(dry_run=True, grace="0s")
    assert dry.files
    assert all("/_sandboxes/waste" in file for file in dry.files)
    done = shop.project.gc(grace="0s")
    assert done.files == dry.files
    assert done.bytes > 0
    assert shop.project.gc(grace="0s").files == ()
    for ref in ("production", "production@1", "production@2", "fix"):
        for key in shop.versions(ref):
            assert shop.project.table(key, at=ref).to_arrow().num_rows > 0


def test_gc_leaves_young_files_alone(shop):
    shop.switch("waste", new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.9")
    shop.run()
    shop.project.sandbox.close()
    done = shop.project.gc()
    assert done.files == ()
    assert done.kept_young > 0


def test_gc_closes_an_expired_sandbox_but_never_one_in_use(shop):
    shop.switch("old", new=True)
    shop.project.sandbox.open(expire_after="1ms")
    done = shop.project.gc(grace="0s")
    assert done.expired == ("old",)
    assert shop.project.sandbox.list().sandboxes == ()


def test_a_run_keeps_a_sandbox_from_expiring(shop):
    shop.switch("busy", new=True)
    shop.project.sandbox.open(expire_after="1h")
    shop.run()
    expires = shop.project.sandbox.list().sandboxes[0].expires_at
    assert expires > now() + timedelta(days=13)


def test_a_sandbox_whose_git_branch_was_deleted_is_shown_so_and_loses_nothing(shop):
    shop.switch("gone", new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.9")
    shop.commit()
    shop.run()
    shop.switch("main")
    shop.git("branch", "-q", "-D", "gone")
    listed = shop.project.sandbox.list().sandboxes
    assert [(s.name, s.git_branch_exists) for s in listed] == [("gone", False)]
    assert shop.rows("paid", "gone")[0]["gross"] == pytest.approx(19.0)


def test_a_renamed_git_branch_takes_over_what_its_old_sandbox_computed(shop):
    shop.switch("before", new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.9")
    shop.commit()
    shop.run()
    shop.git("branch", "-q", "-m", "after")
    assert any("was called before" in note for note in shop.project.status().notes)
    assert ran(shop.run()) == []
    assert shop.rows("paid")[0]["gross"] == pytest.approx(19.0)


def test_a_rebased_git_branch_keeps_its_sandbox_and_status_says_so(shop):
    shop.switch("work", new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.9")
    shop.commit()
    shop.run()
    shop.git("switch", "-q", "main")
    shop.repo.commit({"README.md": "x"}, "Other work")
    shop.switch("work")
    shop.git("rebase", "-q", "main")
    assert any("rebased" in note for note in shop.project.status().notes)
    assert ran(shop.run()) == []
    assert shop.promote().state == "published"


def test_strange_branch_names_get_sandboxes_of_their_own(shop):
    names = ["feature/a", "feature-a", "Ünï/cödé✓", "x" * 120, "x" * 119 + "y", "production"]
    for name in names:
        shop.git("switch", "-q", "main")
        shop.switch(name, new=True)
        shop.project.sandbox.open()
    listed = shop.project.sandbox.list().sandboxes
    assert [s.git_branch for s in listed] == names
    assert len({s.name for s in listed}) == len(names)
    assert all(len(s.name) <= 64 for s in listed)
    assert shop.project.context.catalog.branch("production").kind == "environment"
    assert shop.rows("paid", "feature/a") == shop.rows("paid", "production")


def test_a_sync_says_what_to_merge_where_there_is_nothing_to_sync_to(shop):
    shop.switch("late", new=True)
    shop.project.sandbox.open()
    shop.git("switch", "-q", "main")
    promoted(shop)
    shop.switch("late")
    with pytest.raises(StaleError, match="nothing to sync to") as caught:
        shop.project.sandbox.sync()
    assert "git merge main" in caught.value.hint
    status = shop.project.status()
    assert status.base == "production@1"
    assert status.behind == 1
    assert status.changed == {}


def test_a_tables_history_is_readable_with_any_engine(shop):
    pl = pytest.importorskip("polars")
    table = shop.project.table("paid", at="production@1")
    assert table.to_polars().equals(table.to_lazy().collect())
    assert table.to_pandas().shape == (3, 4)
    assert table.to_duckdb().aggregate("count(*)").fetchall() == [(3,)]
    assert sum(batch.num_rows for batch in table.to_batches()) == 3
    catalog = shop.project.iceberg(at="production@1")
    assert catalog.load_table(("main", "paid")).scan().to_arrow().num_rows == 3
    assert isinstance(table.to_lazy(), pl.LazyFrame)
