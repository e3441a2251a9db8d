"""Each verb on a real project: what it prints, its JSON, its exit code, what it names next."""

from __future__ import annotations

import csv
import io
import json

import pytest

from anabranch.cli.reference import all_commands

SHAPES = {name: set(command.shape) for name, command in all_commands().items() if hasattr(command, "shape")}


def has_shape(done, name):
    """The JSON document holds exactly the keys that are documented."""
    assert set(done.json) == SHAPES[name]
    return done.json


# looking


def test_status_before_anything_was_built(shop):
    done = shop.ok("status")
    assert "never built" in done.out
    assert done.last == "next: anabranch run"
    told = has_shape(shop.ok("status", "--json"), "status")
    assert told["head"] is None


def test_status_names_what_has_changed_and_why(built):
    built.branch()
    done = built.ok("status")
    assert "sandbox fix" in done.out
    assert "production@1, its newest commit" in done.out
    assert "function shop.definitions.orders changed (shop/definitions.py:" in done.out
    told = has_shape(built.ok("status", "--json"), "status")
    assert list(told["changed"]) == ["orders"]


def test_status_on_a_detached_head_is_told_not_guessed(built):
    built.repo.git("checkout", "-q", "--detach")
    done = built.ok("status")
    assert "detached" in done.out
    assert done.last == "next: git switch to a branch, or make one: git switch -c NAME"
    assert built("run").code == 2
    assert built("run").err.startswith("error: HEAD is detached")


def test_plan_tells_run_depends_and_reuse(built):
    built.branch(old='[("amount", "sum")]', new='[("amount", "max")]')
    done = built.ok("plan")
    lines = done.out.splitlines()
    assert lines[0] == "Plan for sandbox fix (not open yet; base production@1)"
    assert lines[1].split()[:2] == ["run", "totals"]
    assert "function shop.definitions.totals changed (shop/definitions.py:" in lines[1]
    assert lines[2].split()[:2] == ["depends", "biggest"]
    assert "totals runs first" in lines[2]
    assert lines[3].split() == ["reuse", "orders"]
    assert done.last == "next: anabranch run"
    told = has_shape(built.ok("plan", "--json"), "plan")
    assert [(s["asset"], s["action"]) for s in told["steps"]] == [
        ("orders", "reuse"),
        ("totals", "run"),
        ("biggest", "depends"),
    ]


def test_a_plan_opens_no_sandbox_and_writes_no_run(built):
    built.branch()
    built.ok("plan")
    built.ok("run", "--dry-run")
    assert built.ok("sandbox", "list", "--json").json == {"sandboxes": [], "clones": None}


def test_run_dry_run_is_the_plan(built):
    built.branch()
    assert built.ok("run", "--dry-run").out == built.ok("plan").out
    assert has_shape(built.ok("run", "--dry-run", "--json"), "plan")


def test_a_selection_that_names_nothing_suggests_the_nearest(built):
    done = built("plan", "--select", "totasl")
    assert done.code == 2
    assert "totals" in done.err


def test_select_and_force_reach_the_plan(built):
    told = built.ok("plan", "-s", "biggest", "--force", "--json").json
    assert [s["asset"] for s in told["steps"] if s["action"] == "run"] == ["biggest"]
    told = built.ok("plan", "-s", "orders", "-s", "biggest", "--force", "--json").json
    assert [s["asset"] for s in told["steps"] if s["action"] == "run"] == ["orders", "biggest"]


def test_refresh_goes_with_names_and_without(built):
    named = built.ok("plan", "--refresh", "orders", "--json").json
    bare = built.ok("plan", "--json", "--refresh").json
    before_an_option = built.ok("plan", "--refresh", "--json").json
    for told in (named, bare, before_an_option):
        assert [s["asset"] for s in told["steps"] if s["action"] == "run"] == ["orders"]


# running


def test_run_on_main_publishes_once_and_a_second_run_does_nothing(shop):
    first = shop.ok("run")
    assert "published as production@1" in first.out
    assert "orders ran" in first.err
    told = has_shape(shop.ok("run", "--json"), "run")
    assert told["commit"] is None
    assert {a["state"] for a in told["assets"]} == {"reused"}


def test_run_on_a_branch_opens_its_sandbox_once_and_says_on_what(built):
    built.branch()
    first = built.ok("run")
    assert "opened sandbox fix on production@1" in first.err
    assert "newest commit of production" in first.err
    assert first.last == "next: anabranch diff, then anabranch promote"
    assert "opened" not in built.ok("run").err


def test_a_sandbox_of_an_older_branch_says_why_its_base_is_older(built):
    built.repo.branch("old")
    built.repo.switch("main")
    built.edit("20.0", "25.0")
    built.ok("run")
    built.repo.switch("old")
    built.edit("30.0", "31.0")
    done = built.ok("run")
    assert "opened sandbox old on production@1" in done.err
    assert "production@2" in done.err
    assert "does not contain" in done.err
    status = built.ok("status")
    assert "1 commit behind production" in status.out


def test_a_failed_step_shows_the_users_traceback_and_the_end_of_its_log(make_shop):
    body = "def orders() -> pa.Table:\n    print('line', *range(30), sep='\\nline ')\n    raise KeyError('no such column')\n"
    shop = make_shop(
        definitions=f"import pyarrow as pa\nimport anabranch as ab\n\n@ab.asset\n{body}\n"
        "@ab.asset\ndef after(orders: pa.Table) -> pa.Table:\n    return orders\n\n"
        "defs = ab.Definitions(assets=[orders, after])\n",
        settings=SETTINGS_WITH_PROCESSES,
    )
    done = shop("run")
    assert done.code == 1
    assert "orders failed" in done.err
    assert "Traceback (most recent call last)" in done.err
    assert 'shop/definitions.py", line 7, in orders' in done.err
    assert "KeyError: 'no such column'" in done.err
    assert "run_step" not in done.err
    assert "| line 29" in done.err
    assert "| line 9\n" not in done.err
    assert ".anabranch/runs/" in done.err
    assert "after did not run: orders failed" in done.out
    assert "nothing was published: production is as it was" in done.out
    told = has_shape(shop("run", "--json"), "run")
    assert told["state"] == "failed"
    assert told["assets"][0]["error"]["type"] == "KeyError"


SETTINGS_WITH_PROCESSES = """[project]
name = "shop"
definitions = "shop.definitions:defs"

[environments.production]
git_branch = "main"

[run]
workers = 1
"""


def test_a_failed_blocking_check_is_exit_code_1(built):
    built.branch("bad", "30.0", "None")
    done = built("run")
    assert done.code == 1
    assert "failed" in done.out
    assert "orders:not_null_amount" in done.out


def test_uncommitted_edits_on_main_are_refused_with_the_file(built):
    built.edit("30.0", "31.0", commit=False)
    done = built("run")
    assert done.code == 3
    assert "shop/definitions.py" in done.err
    assert "git switch -c" in done.err


def test_somebody_else_at_work_is_exit_code_4(built):
    from datetime import timedelta

    from anabranch.project import Project

    with Project(built.path) as project:
        lease = project.context.catalog.acquire(
            "run:production", holder="run 9 of bob on elsewhere", ttl=timedelta(minutes=5)
        )
        built.edit("30.0", "31.0")
        done = built("run")
        project.context.catalog.release(lease.token)
    assert done.code == 4
    assert "bob" in done.err


def test_prune_removes_what_no_asset_makes(built):
    built.repo.branch("fewer")
    built.edit("assets=[orders, totals, biggest]", "assets=[orders, totals]")
    assert "--prune removes" in built.ok("plan").out
    built.ok("run")
    told = built.ok("run", "--prune", "--json").json
    assert told["pruned"] == ["biggest"]


def test_check_tells_each_check(built):
    done = built.ok("check")
    assert "passed" in done.out
    assert "orders:not_null_amount" in done.out
    told = has_shape(built.ok("check", "--json"), "check")
    assert told["ok"]
    assert len(told["checks"]) == 2


def test_a_failing_check_shows_rows_and_is_exit_code_1(built):
    built.branch("bad", "30.0", "None")
    built("run")
    done = built("check")
    assert done.code == 1
    assert "failed" in done.out
    assert built("check", "--json").json["ok"] is False


# the data


def test_diff_tells_rows_columns_and_samples(sandboxed):
    done = sandboxed.ok("diff")
    assert done.out.splitlines()[0].startswith("production@1 → fix@")
    assert "changed columns: amount (1)" in done.out
    assert "30.0 → 31.5" in done.out
    told = has_shape(sandboxed.ok("diff", "--json"), "diff")
    assert told["changed"] == ["orders", "totals"]


def test_diff_takes_refs_selections_and_samples(sandboxed):
    assert sandboxed.ok("diff", "production", "fix", "--json").json["changed"] == ["orders", "totals"]
    assert sandboxed.ok("diff", "-s", "totals", "--json").json["changed"] == ["totals"]
    told = sandboxed.ok("diff", "--samples", "0", "--json").json
    assert not [t for t in told["tables"] if t["rows"] and t["rows"]["samples"]]
    done = sandboxed("diff", "prodution")
    assert done.code == 2
    assert "production" in done.err


def test_diff_exit_code_is_1_only_where_asked_and_something_differs(sandboxed):
    assert sandboxed("diff").code == 0
    assert sandboxed("diff", "--exit-code").code == 1
    assert sandboxed("diff", "fix", "fix", "--exit-code").code == 0
    assert "no difference" in sandboxed("diff", "fix", "fix").out


def test_diff_writes_a_page_and_markdown(sandboxed, tmp_path):
    page, notes = tmp_path / "diff.html", tmp_path / "diff.md"
    done = sandboxed.ok("diff", "--html", str(page), "--markdown", str(notes))
    assert page.read_text().lstrip().lower().startswith("<!doctype html")
    assert "orders" in notes.read_text()
    assert str(page) in done.out
    printed = sandboxed.ok("diff", "--markdown")
    assert printed.out.splitlines()[0] == notes.read_text().splitlines()[0]


def test_a_file_that_can_t_be_written_is_a_sentence(sandboxed, tmp_path):
    done = sandboxed("diff", "--html", str(tmp_path / "no/such/folder.html"))
    assert done.code == 2
    assert "can't be written" in done.err


def test_sql_shows_rows_aligned_and_where_they_come_from(sandboxed):
    done = sandboxed.ok("sql", "select * from totals order by item")
    assert done.out.splitlines()[:3] == ["item  amount", "a       41.5", "b       20.0"]
    assert "2 rows of fix@" in done.out
    at = sandboxed.ok("sql", "select * from totals order by item", "--at", "production")
    assert at.out.splitlines()[1] == "a       40.0"


def test_sql_limits_what_is_shown_and_says_so(built):
    query = "select unnest(range(200)) as n"
    assert len(built.ok("sql", query).out.splitlines()) == 53
    assert "the first 50 rows" in built.ok("sql", query).out
    assert "200 rows" in built.ok("sql", query, "--limit", "0").out
    told = has_shape(built.ok("sql", query, "--json"), "sql")
    assert len(told["rows"]) == 200
    assert built.ok("sql", query, "--json", "--limit", "5").json["more"] is True


def test_sql_writes_csv_and_parquet(built, tmp_path):
    from pyarrow import parquet

    built.ok("sql", "from orders", "--csv", str(tmp_path / "o.csv"), "--parquet", str(tmp_path / "o.parquet"))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text())))
    assert [row["item"] for row in rows] == ["a", "b", "a"]
    assert parquet.read_table(tmp_path / "o.parquet").num_rows == 3
    assert built.ok("sql", "select 1 as one", "--csv", "-").out == "one\n1\n"
    nested = built.ok(
        "sql", "select [1, 2] as l, {'a': 'x,y'} as s", "--csv", str(tmp_path / "n.csv"), "--json"
    ).json
    assert nested["written"] == {str(tmp_path / "n.csv"): 1}
    assert [column["name"] for column in nested["columns"]] == ["l", "s"]


def test_a_file_of_sql_is_whole_or_not_there(built, tmp_path):
    target = tmp_path / "o.csv"
    target.write_text("mine")
    for query in ("select cast(item as integer) from orders", "select error('late') from range(100000)"):
        assert built("sql", query, "--csv", str(target)).code == 2
        assert target.read_text() == "mine"
    assert built("sql", "from orders", "--parquet", str(tmp_path / "no/such.parquet")).code == 2
    assert [file.name for file in tmp_path.iterdir() if file.suffix in (".csv", ".part")] == ["o.csv"]


def test_sql_shows_any_type_as_plain_json(built):
    query = (
        "select 1::hugeint as h, 1.50::decimal(5,2) as d, 'nan'::double as f, timestamptz '2026-01-01 00:00:00+00' as t, "
        "[1,2] as l, {'a': 1} as s, '\\xAA'::blob as b, null as n, uuid() as u, interval 1 day as i"
    )
    row = built.ok("sql", query, "--json").json["rows"][0]
    assert row[1] == "1.50"
    assert row[4] == [1, 2]
    assert built.ok("sql", query).code == 0


def test_a_mistake_in_a_query_is_a_sentence(built):
    done = built("sql", "select * from oders")
    assert done.code == 2
    assert "did you mean 'orders'?" in done.err
    done = built("sql", "select 1/")
    assert done.code == 2
    assert "Traceback" not in done.err
    done = built("sql", "select cast('x' as integer) from orders")
    assert done.code == 2
    assert "DuckDB says" in done.err


def test_sql_can_only_read(built):
    for query in (
        "drop view orders",
        "copy orders to 'x.csv'",
        "select 1; create table t (a int)",
        "install httpfs",
    ):
        done = built("sql", query)
        assert done.code == 2, query
        assert "only reading" in done.err
    assert not (built.path / "x.csv").exists()
    assert built("sql", "").code == 2
    for query in (
        "describe orders",
        "summarize orders",
        "pivot orders on item using sum(amount)",
        "explain from orders",
    ):
        assert built("sql", query).code == 0, query


def test_the_ref_of_a_query_may_come_from_the_environment(sandboxed, monkeypatch):
    monkeypatch.setenv("ANABRANCH_REF", "production@1")
    assert "of production@1" in sandboxed.ok("sql", "from orders").out


# history


def test_log_is_newest_first_and_limited(sandboxed):
    told = has_shape(sandboxed.ok("log", "production", "--json"), "log")
    assert [c["commit"] for c in told["commits"]] == ["production@1", "production@0"]
    assert len(sandboxed.ok("log", "production", "-n", "1", "--json").json["commits"]) == 1
    assert "run orders" in sandboxed.ok("log").out


def test_show_tells_a_commit_a_run_and_an_asset(built):
    run = built.ok("log", "--json").json["commits"][0]["run"]
    commit = built.ok("show", "production@1")
    assert "added" in commit.out
    assert "orders" in commit.out
    assert has_shape(built.ok("show", "production@1", "--json"), "show")["what"] == "commit"
    told = has_shape(built.ok("show", run, "--json"), "show")
    assert told["what"] == "run"
    assert told["run"]["state"] == "succeeded"
    assert "succeeded" in built.ok("show", run).out
    assert "█" in built.ok("show", run).out
    for words in (["run"], ["run", "latest"], ["run", run]):
        assert has_shape(built.ok("show", *words, "--json"), "show")["run"]["run"] == run
    timeline = told["run"]["timeline"]
    assert {bar["step"] for bar in timeline["bars"]} >= {"orders", "biggest"}
    assert timeline["critical_path"]
    written = built.ok("show", "run", "--html", "page.html")
    assert "open page.html" in written.out
    assert run in (built.path / "page.html").read_text()
    for wrong in (["orders", run], ["orders", "--html", "page.html"], ["run", "production@1"]):
        assert built("show", *wrong).code == 2
    asset = has_shape(built.ok("show", "orders", "--json"), "show")
    assert asset["entry"]["rows"] == 3
    assert asset["readers"] == ["totals"]
    assert "read by" in built.ok("show", "orders").out
    done = built("show", "odrers")
    assert done.code == 2
    assert "orders" in done.err


# publishing


def test_promote_publishes_and_names_the_way_back(sandboxed):
    dry = sandboxed.ok("promote", "--dry-run")
    assert "the gate says yes" in dry.out
    assert sandboxed.ok("log", "production", "--json").json["commits"][0]["commit"] == "production@1"
    done = sandboxed.ok("promote", "--yes")
    assert "published fix as production@2: biggest, orders, totals" in done.out
    assert "anabranch rollback --of production@2" in done.last
    again = has_shape(sandboxed.ok("promote", "--yes", "--json"), "promote")
    assert again["state"] == "nothing"


def test_a_protected_environment_demands_yes_where_nobody_can_be_asked(sandboxed):
    done = sandboxed("promote")
    assert done.code == 3
    assert "--yes" in done.err
    assert sandboxed("promote", "--json").json["error"]["type"] == "PromotionError"
    assert sandboxed.ok("log", "production", "--json").json["commits"][0]["commit"] == "production@1"


def test_the_gates_no_tells_every_reason_and_is_exit_code_3(built):
    built.branch(
        "fewer",
        '[1, 2, 3], "item": ["a", "b", "a"], "amount": [10.0, 20.0, 30.0]',
        '[1], "item": ["a"], "amount": [10.0]',
    )
    built.ok("run")
    dry = built("promote", "--dry-run")
    assert dry.code == 3
    assert "the gate says no" in dry.out
    assert "orders loses 2 of its 3 rows" in dry.out
    done = built("promote", "--yes")
    assert done.code == 3
    assert "orders loses 2 of its 3 rows" in done.err
    told = built("promote", "--yes", "--json").json
    assert told["error"]["type"] == "GateError"
    assert told["error"]["facts"]["verdict"]["passed"] is False


def test_on_main_a_promotion_must_name_its_branch(sandboxed):
    sandboxed.repo.switch("main")
    done = sandboxed("promote", "--yes")
    assert done.code == 3
    assert "fix" in done.err
    sandboxed.repo.squash("fix")
    assert has_shape(sandboxed.ok("promote", "fix", "--yes", "--json"), "promote")["state"] == "published"


def test_approve_names_the_candidate(sandboxed):
    told = has_shape(sandboxed.ok("approve", "--json"), "approve")
    assert len(told["candidate"]) == 64
    assert told["candidate"][:12] in sandboxed.ok("approve").out
    done = sandboxed("approve", "--candidate", "0000")
    assert done.code == 3


def test_rollback_shows_first_then_does_and_holds(sandboxed):
    sandboxed.ok("promote", "--yes")
    dry = has_shape(sandboxed.ok("rollback", "--dry-run", "--json"), "rollback")
    assert dry["commit"] is None
    assert {t["asset"] for t in dry["tables"]} == {"biggest", "orders", "totals"}
    assert sandboxed("rollback").code == 3
    done = sandboxed.ok("rollback", "--of", "production@2", "--yes")
    assert "rolled back production: production@2" in done.out
    assert "held" in done.out
    sandboxed.repo.switch("main")
    sandboxed.repo.squash("fix")
    refused = sandboxed("run")
    assert refused.code == 3
    assert "--resume" in refused.err
    sandboxed.ok("run", "--resume")


def test_rollback_to_a_whole_state(sandboxed):
    sandboxed.ok("promote", "--yes")
    told = sandboxed.ok("rollback", "--to", "production@1", "--yes", "--json").json
    assert told["commit"] == "production@3"
    assert "40.0" in sandboxed.ok("sql", "from totals", "--at", "production").out
    assert sandboxed("rollback", "--to", "production@1", "--of", "production@2", "--yes").code == 3


# sandboxes


def test_sandboxes_are_listed_opened_synced_and_closed(built):
    built.branch()
    told = has_shape(built.ok("sandbox", "open", "--json"), "sandbox open")
    assert told["new"] is True
    assert told["base"] == "production@1"
    assert has_shape(built.ok("sandbox", "open", "--json"), "sandbox open")["new"] is False
    assert "already" in built.ok("sandbox", "open").out
    told = has_shape(built.ok("sandbox", "list", "--json"), "sandbox list")
    assert [box["name"] for box in told["sandboxes"]] == ["fix"]
    assert built.ok("sandbox").out == built.ok("sandbox", "list").out
    assert built.ok("sandbox", "--json").json == told
    assert "already" in built.ok("sandbox", "sync").out
    assert has_shape(built.ok("sandbox", "sync", "--dry-run", "--json"), "sandbox sync")["dry_run"]
    assert has_shape(built.ok("sandbox", "close", "--json"), "sandbox close")["unpublished"] == []
    assert "no sandbox is open" in built.ok("sandbox").out


def test_closing_unpublished_work_wants_a_word(sandboxed):
    done = sandboxed("sandbox", "close")
    assert done.code == 3
    assert "never published" in done.err
    assert "--yes" in done.err
    dry = sandboxed.ok("sandbox", "close", "--dry-run")
    assert "would close" in dry.out
    assert "orders" in dry.out
    assert sandboxed.ok("sandbox", "close", "fix", "--yes").code == 0


def test_main_has_no_sandbox(built):
    assert built("sandbox", "open").code == 3


def test_the_shell_reads_one_commit(sandboxed):
    code = "print(ref, orders.rows, sql('select sum(amount) from totals').fetchall(), sorted(tables))"
    done = sandboxed.apart("sandbox", "shell", "-c", code)
    assert done.code == 0, done
    assert done.out.splitlines()[0].endswith("3 [(61.5,)] ['biggest', 'orders', 'totals']")
    assert done.out.startswith("fix@")


def test_a_mistake_in_the_users_own_line_is_theirs(sandboxed):
    done = sandboxed.apart("sandbox", "shell", "-c", "print('before')\norders.no_such_thing")
    assert done.code == 1
    assert done.out == "before\n"
    assert 'File "<-c>", line 2' in done.err
    assert "python_shell" not in done.err
    assert sandboxed.apart("sandbox", "shell", "-c", "raise SystemExit(5)").code == 5


def test_the_system_shell_knows_the_ref(sandboxed, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/sh")
    done = sandboxed.apart("sandbox", "shell", "--shell", "-c", 'echo "at $ANABRANCH_REF"; exit 7')
    assert done.out.startswith("at fix@")
    assert done.code == 7


# upkeep


def test_tags_are_made_listed_used_and_removed(sandboxed):
    assert "names production@1" in sandboxed.ok("tag", "before", "production@1", "-m", "as it was").out
    told = has_shape(sandboxed.ok("tag", "--json"), "tag")
    assert told["tags"][0]["tag"] == "before"
    assert told["tags"][0]["ref"] == "production@1"
    assert "before" in sandboxed.ok("log", "production").out
    assert sandboxed.ok("diff", "before", "--json").json["left"] == "production@1"
    assert sandboxed("tag", "before", "fix").code == 3
    assert has_shape(sandboxed.ok("tag", "before", "--delete", "--json"), "tag")["deleted"] == "before"
    assert sandboxed("tag", "before", "-d").code == 2
    assert sandboxed("tag", "-d").code == 2


def test_gc_demands_a_word_where_nobody_can_be_asked(sandboxed):
    done = sandboxed("gc")
    assert done.code == 2
    assert "--yes" in done.err
    told = has_shape(sandboxed.ok("gc", "--dry-run", "--json"), "gc")
    assert told["dry_run"] is True


def test_gc_frees_a_closed_sandbox_and_nothing_else(sandboxed):
    sandboxed.ok("sandbox", "close", "--yes")
    dry = sandboxed.ok("gc", "--dry-run", "--grace", "0s")
    assert "gc would remove" in dry.out
    told = has_shape(sandboxed.ok("gc", "--yes", "--grace", "0s", "--json"), "gc")
    assert told["files"]
    assert all("_sandboxes" in file for file in told["files"])
    assert "40.0" in sandboxed.ok("sql", "from totals", "--at", "production").out
    again = sandboxed.ok("gc", "--dry-run", "--grace", "0s", "--json").json
    assert again["files"] == []
    assert again["retired"] == []


def test_version_and_completion_have_shapes_too(shop):
    has_shape(shop.ok("version", "--json"), "version")
    told = has_shape(shop.ok("completion", "zsh", "--json"), "completion")
    assert "anabranch" in told["script"]


def test_init_has_the_documented_shape(shop):
    has_shape(shop.ok("init", "inner", "--json"), "init")


# all of them


def test_no_colour_codes_reach_a_pipe_and_every_command_ends_with_what_to_do(sandboxed):
    for words in (
        ["status"],
        ["plan"],
        ["run"],
        ["diff"],
        ["check"],
        ["log"],
        ["show", "orders"],
        ["sandbox"],
        ["tag"],
        ["gc", "--dry-run"],
        ["promote", "--dry-run"],
        ["sql", "from orders"],
    ):
        done = sandboxed.ok(*words)
        assert "\x1b" not in done.out + done.err, words
        assert done.last.startswith("next: ") or done.last == "nothing to do", words


def test_every_document_is_strict_json_in_ascii(sandboxed):
    done = sandboxed.ok("sql", "select 'é\x1b[1m' as \"näme\"", "--json")
    assert done.out.isascii()
    assert json.loads(done.out, parse_constant=pytest.fail)["rows"] == [["é\x1b[1m"]]
