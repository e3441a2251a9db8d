"""What a run does when things go well, badly, or very badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from story_shop import SETTINGS, ran

import anabranch as ab
from anabranch.errors import LeaseError, SecretError, SelectionError

HEAD = """
import os, pathlib, time
import anabranch as ab
import pyarrow as pa
"""


def numbers(body: str, *, more: str = "", assets: str = "first, second") -> str:
    """Definitions with two assets, where the second's body is given."""
    return (
        HEAD
        + f"""
HERE = pathlib.Path(__file__).parent.parent

@ab.asset
def first() -> pa.Table:
    return pa.table({{"n": [1, 2, 3]}})

{body}

{more}
defs = ab.Definitions(assets=[{assets}])
"""
    )


GOOD = """
@ab.asset
def second(first: pa.Table) -> pa.Table:
    return first
"""


def test_a_failing_asset_shows_the_users_own_frames_and_publishes_nothing(make_shop):
    shop = make_shop(
        definitions=numbers(
            "@ab.asset\ndef second(first: pa.Table) -> pa.Table:\n    return helper(first)\n",
            more="def helper(x):\n    raise ValueError('bad day')\n",
        )
    )
    result = shop.run()
    assert result.state == "failed"
    outcome = result.execution.outcomes["second"]
    assert outcome.state == "failed"
    assert "ValueError: bad day" in outcome.error["message"]
    assert outcome.error["place"].startswith("shop/definitions.py:")
    assert "in helper" in outcome.error["traceback"]
    assert "executor.py" not in outcome.error["traceback"]
    assert shop.head() == 0


def test_a_failed_run_on_an_environment_goes_on_where_it_stopped(make_shop):
    body = """
@ab.asset
def second(first: pa.Table) -> pa.Table:
    if not (HERE / ".anabranch" / "ready").exists():
        raise RuntimeError("not yet")
    return first
"""
    shop = make_shop(definitions=numbers(body))
    assert not shop.run().ok
    (shop.folder / ".anabranch" / "ready").touch()
    result = shop.run()
    assert result.ok
    assert ran(result) == ["second"]
    assert result.commit == "production@1"
    assert sorted(shop.versions("production")) == ["first", "second"]


def test_readers_of_an_environment_see_nothing_of_a_run_until_it_is_published(make_shop):
    body = """
@ab.asset
def second(first: pa.Table) -> pa.Table:
    reader = ab.Project(HERE)
    (HERE / ".anabranch" / "seen").write_text(repr(sorted(reader.tables("production"))))
    return first
"""
    shop = make_shop(definitions=numbers(body))
    assert shop.run().ok
    assert (shop.folder / ".anabranch" / "seen").read_text() == "[]"
    assert sorted(shop.versions("production")) == ["first", "second"]


def test_a_failed_run_on_a_sandbox_keeps_what_was_built_and_goes_on(shop):
    shop.switch("fix", new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    shop.edit("shop/definitions.py", "select name, revenue from", "select name, revenu from")
    result = shop.run()
    assert {o.key: o.state for o in result.execution.outcomes.values()}["report"] == "failed"
    assert "revenu" in result.execution.outcomes["report"].error["message"]
    shop.edit("shop/definitions.py", "select name, revenu from", "select name, revenue from")
    assert ran(shop.run()) == ["report"]


def test_what_is_downstream_of_a_failure_is_blocked_and_the_rest_goes_on(shop):
    shop.switch("fix", new=True)
    shop.edit("shop/prices.py", "return pc", "raise OSError('x') or pc")
    shop.edit("shop/prices.py", "raise OSError('x') or pc.multiply(net, 1 + TAX)", "raise OSError('x')")
    shop.edit("shop/definitions.py", '"Cyd"', '"Dee"')
    states = {o.key: (o.state, o.cause) for o in shop.run().execution.outcomes.values()}
    assert states["paid"] == ("failed", None)
    assert states["revenue"] == ("blocked", "paid")
    assert states["report"] == ("blocked", "revenue")
    assert states["customers"] == ("ran", None)


def test_a_blocking_check_that_fails_stops_what_is_downstream_and_the_publication(make_shop):
    body = GOOD + "checks = [ab.not_null(first, 'n'), ab.row_count(first, minimum=10)]\n"
    shop = make_shop(
        definitions=numbers(body).replace("assets=[first, second]", "assets=[first, second], checks=checks")
    )
    result = shop.run()
    assert not result.ok
    assert [c.id for c in result.execution.failed_checks] == ["first:row_count"]
    assert result.execution.outcomes["second"].state == "blocked"
    assert shop.head() == 0


def test_a_check_that_only_warns_stops_nothing(make_shop):
    body = GOOD + "checks = [ab.row_count(first, minimum=10, blocking=False)]\n"
    shop = make_shop(
        definitions=numbers(body).replace("assets=[first, second]", "assets=[first, second], checks=checks")
    )
    result = shop.run()
    assert result.ok
    assert not result.execution.checks["first:row_count"].passed
    assert shop.head() == 1


def test_a_check_is_not_run_twice_on_the_same_data(shop):
    again = shop.project.check()
    assert all(check.cached for check in again.checks)
    assert len(again.checks) == 3
    assert not any(check.cached for check in shop.project.check(fresh=True, in_process=True).checks)


def test_a_flaky_asset_is_tried_again_and_each_try_is_told(make_shop):
    body = """
@ab.asset(retries=3, retry_delay="1ms")
def second(first: pa.Table) -> pa.Table:
    tries = HERE / ".anabranch" / "tries"
    tries.write_text((tries.read_text() if tries.exists() else "") + "x")
    if len(tries.read_text()) < 3:
        raise ConnectionError("flaky")
    return first
"""
    shop = make_shop(definitions=numbers(body))
    events = []
    result = shop.run(listen=events.append)
    assert result.ok
    assert result.execution.outcomes["second"].attempts == 3
    assert [e.data["attempt"] for e in events if e.kind == "step_retried"] == [1, 2]


@pytest.mark.slow
def test_an_asset_past_its_timeout_is_killed_with_its_process(make_shop):
    body = """
@ab.asset(timeout="500ms")
def second(first: pa.Table) -> pa.Table:
    (HERE / ".anabranch" / "pid").write_text(str(os.getpid()))
    time.sleep(60)
    return first
"""
    shop = make_shop(definitions=numbers(body))
    result = shop.run(in_process=False, workers=1)
    assert "longer than its timeout" in result.execution.outcomes["second"].error["message"]
    pid = int((shop.folder / ".anabranch" / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_its_asset_and_leaves_everything_sound(make_shop):
    body = """
import signal
@ab.asset
def second(first: pa.Table) -> pa.Table:
    if not (HERE / ".anabranch" / "ready").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return first
"""
    shop = make_shop(definitions=numbers(body))
    result = shop.run(in_process=False, workers=2)
    assert result.execution.outcomes["first"].state == "ran"
    error = result.execution.outcomes["second"].error
    assert "SIGKILL" in error["message"]
    assert "--workers 1" in error["hint"]
    (shop.folder / ".anabranch" / "ready").touch()
    assert ran(shop.run(in_process=False)) == ["second"]


@pytest.mark.slow
def test_what_a_step_prints_goes_to_its_log_and_not_to_the_terminal(make_shop, capfd):
    body = """
@ab.asset
def second(first: pa.Table) -> pa.Table:
    print("a line from python")
    os.system("echo a line from a child")
    return first
"""
    shop = make_shop(definitions=numbers(body))
    result = shop.run(in_process=False)
    log = (Path(result.logs) / "second.log").read_text()
    assert "a line from python" in log
    assert "a line from a child" in log
    assert "a line" not in capfd.readouterr().out


SECRETS = (
    HEAD
    + """
class Store(ab.Resource):
    url: str
    password: str

@ab.asset
def first(store: Store) -> pa.Table:
    print("the password is", store.password)
    print("I was given", store)
    names = sorted(n for n in os.environ if n.endswith("_PASSWORD"))
    return pa.table({"name": names + ["url=" + store.url]})

@ab.asset
def second(first: pa.Table, store: Store) -> pa.Table:
    if os.environ.get("FAIL"):
        raise ValueError("cannot log in with " + store.password)
    return first

defs = ab.Definitions(
    assets=[first, second],
    resources={
        "production": {"store": Store(url="prod", password=ab.EnvVar("PRODUCTION_PASSWORD"))},
        "sandbox": {"store": Store(url="test", password=ab.EnvVar("SANDBOX_PASSWORD"))},
    },
)
"""
)


@pytest.fixture
def passwords(monkeypatch):
    monkeypatch.setenv("PRODUCTION_PASSWORD", "prod-hunter2")
    monkeypatch.setenv("SANDBOX_PASSWORD", "sand-hunter3")


@pytest.mark.slow
@pytest.mark.parametrize("in_process", [True, False])
def test_a_step_never_has_another_environments_secrets(make_shop, passwords, in_process):
    shop = make_shop(definitions=SECRETS)
    shop.run(in_process=in_process)
    assert [r["name"] for r in shop.rows("first")] == ["PRODUCTION_PASSWORD", "url=prod"]
    shop.switch("fix", new=True)
    shop.run(in_process=in_process, force=True)
    assert [r["name"] for r in shop.rows("first")] == ["SANDBOX_PASSWORD", "url=test"]
    assert os.environ["PRODUCTION_PASSWORD"] == "prod-hunter2"


@pytest.mark.slow
def test_a_secret_stands_in_no_log_no_error_and_no_fingerprint(make_shop, passwords, monkeypatch):
    shop = make_shop(definitions=SECRETS)
    result = shop.run(in_process=False)
    log = (Path(result.logs) / "first.log").read_text()
    assert "the password is ***" in log
    assert "hunter" not in log
    before = shop.project.tables("production")["first"].provenance.fingerprint
    monkeypatch.setenv("PRODUCTION_PASSWORD", "another-secret")
    assert ran(shop.run(in_process=False)) == []
    monkeypatch.setenv("FAIL", "1")
    failed = shop.run("second", in_process=False, force=True)
    assert "another-secret" not in repr(failed.execution.outcomes["second"].error)
    assert "***" in failed.execution.outcomes["second"].error["message"]
    assert shop.project.tables("production")["first"].provenance.fingerprint == before
    folder = shop.folder / ".anabranch"
    for file in folder.rglob("*"):
        if file.is_file():
            assert b"hunter2" not in file.read_bytes(), file


def test_a_missing_variable_is_named_and_no_default_is_guessed(make_shop, monkeypatch):
    monkeypatch.delenv("PRODUCTION_PASSWORD", raising=False)
    shop = make_shop(definitions=SECRETS)
    error = shop.run().execution.outcomes["first"].error
    assert error["type"] == SecretError.__name__
    assert "PRODUCTION_PASSWORD" in error["message"]


def test_what_a_sandbox_computed_with_other_resources_is_not_published(make_shop, passwords):
    shop = make_shop(definitions=SECRETS)
    shop.run()
    shop.switch("fix", new=True)
    shop.edit("shop/definitions.py", '["url="', '["the url="')
    shop.commit()
    shop.run()
    with pytest.raises(ab.AnabranchError, match="another resource than production's: store"):
        shop.promote()


SOURCES = (
    HEAD
    + """
WORLD = pathlib.Path(__file__).parent.parent / ".anabranch" / "world"

def world() -> int:
    return int(WORLD.read_text())

def seen() -> int:
    return world() // 10

@ab.asset
def plain() -> pa.Table:
    return pa.table({"n": [world()]})

@ab.asset(refresh="always")
def always() -> pa.Table:
    return pa.table({"n": [world()]})

@ab.asset(every="1h")
def hourly() -> pa.Table:
    return pa.table({"n": [world()]})

@ab.asset(observe=seen)
def observed() -> pa.Table:
    return pa.table({"n": [world()]})

total = ab.sql("total", "select (select n from always) + (select n from observed) as n")

defs = ab.Definitions(assets=[plain, always, hourly, observed, total])
"""
)


@pytest.fixture
def sources(make_shop):
    shop = make_shop(definitions=SOURCES)
    (shop.folder / ".anabranch").mkdir(exist_ok=True)
    world = shop.folder / ".anabranch" / "world"
    world.write_text("10")
    assert ran(shop.run()) == ["always", "hourly", "observed", "plain", "total"]
    return shop, world


def test_each_source_follows_its_policy_in_an_environment(sources):
    shop, world = sources
    world.write_text("12")
    assert ran(shop.run()) == ["always", "total"]
    world.write_text("20")
    assert ran(shop.run()) == ["always", "observed", "total"]
    assert shop.rows("plain") == [{"n": 10}]
    assert shop.rows("hourly") == [{"n": 10}]


def test_a_source_that_yields_the_same_again_stops_the_wave(sources):
    shop, _ = sources
    result = shop.run()
    assert ran(result) == ["always"]
    assert result.execution.outcomes["total"].state == "reused"


def test_an_hourly_source_is_fetched_again_when_it_is_older(sources, monkeypatch):
    shop, world = sources
    world.write_text("11")
    import anabranch.running.prepare as module

    real = module.now
    monkeypatch.setattr(module, "now", lambda: real() + timedelta(hours=2))
    assert "hourly" in ran(shop.run())
    assert shop.rows("hourly") == [{"n": 11}]


def test_a_sandbox_keeps_its_sources_pinned_until_refresh_is_said(sources):
    shop, world = sources
    shop.switch("fix", new=True)
    world.write_text("99")
    assert ran(shop.run()) == []
    assert shop.project.plan().steps["observed"].reasons[0].kind == "pinned"
    assert ran(shop.run(refresh=["observed"])) == ["observed", "total"]
    assert ran(shop.run(refresh=["*"])) == ["always", "hourly", "total"]
    assert shop.rows("always", "production") == [{"n": 10}]


def test_a_source_whose_code_changed_is_fetched_in_the_sandbox(sources):
    shop, world = sources
    shop.switch("fix", new=True)
    world.write_text("31")
    shop.edit(
        "shop/definitions.py",
        'def observed() -> pa.Table:\n    return pa.table({"n": [world()]})',
        'def observed() -> pa.Table:\n    return pa.table({"n": [world() + 1]})',
    )
    assert ran(shop.run()) == ["observed", "total"]
    assert shop.project.tables()["observed"].provenance.outside == "3"


def test_an_observe_function_that_fails_is_told_with_its_place(sources):
    shop, world = sources
    world.write_text("no number")
    with pytest.raises(ab.AnabranchError, match="observing observed failed") as caught:
        shop.run()
    assert caught.value.place.startswith("shop/definitions.py:")


FILES = (
    HEAD
    + """
@ab.asset
def model() -> ab.File:
    return ab.File(b"weights: 1", name="model.txt")

@ab.asset
def card(model: ab.File) -> ab.File:
    path = pathlib.Path(__file__).parent.parent / ".anabranch" / "card.html"
    path.write_bytes(b"<p>" + model.read_bytes() + b"</p>")
    return ab.File(path)

@ab.asset
def score(model: ab.File) -> pa.Table:
    with model.open() as stream:
        return pa.table({"length": [len(stream.read())]})

defs = ab.Definitions(assets=[model, card, score])
"""
)


def test_file_assets_are_versioned_branched_and_promoted_like_tables(make_shop):
    shop = make_shop(definitions=FILES)
    assert shop.run().ok
    assert shop.project.file("card").read_bytes() == b"<p>weights: 1</p>"
    shop.switch("fix", new=True)
    shop.edit("shop/definitions.py", "weights: 1", "weights: 22")
    shop.commit()
    assert ran(shop.run()) == ["card", "model", "score"]
    assert shop.project.file("model", at="production").read_bytes() == b"weights: 1"
    assert {t.key: t.kind for t in shop.project.diff().tables} == {
        "card": "file",
        "model": "file",
        "score": "table",
    }
    shop.promote()
    shop.project.refresh()
    assert shop.project.file("model", at="production").read_bytes() == b"weights: 22"
    assert shop.project.file("card", at="production").name == "card.html"
    assert shop.rows("score", "production") == [{"length": 11}]


def test_a_selection_runs_only_what_it_names(shop):
    shop.switch("fix", new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    assert ran(shop.run("paid")) == ["paid"]
    assert shop.actions()["revenue"] == "run"
    assert ran(shop.run("revenue+")) == ["report", "revenue"]


def test_a_selection_that_needs_what_was_never_built_says_so(make_shop):
    shop = make_shop()
    with pytest.raises(SelectionError, match="revenue needs paid") as caught:
        shop.run("revenue")
    assert "+revenue" in caught.value.hint


def test_force_runs_whatever_stands(shop):
    shop.switch("fix", new=True)
    assert ran(shop.run("customers", force=True)) == ["customers"]


def test_a_table_whose_asset_is_gone_stays_until_prune_is_said(shop):
    shop.switch("fix", new=True)
    shop.edit(
        "shop/definitions.py",
        "assets=[orders, paid, customers, revenue, report]",
        "assets=[orders, paid, customers, revenue]",
    )
    assert shop.project.plan().orphans == ("report",)
    shop.run()
    assert "report" in shop.versions("fix")
    assert shop.run(prune=True).pruned == ("report",)
    assert "report" not in shop.versions("fix")
    assert "report" in shop.versions("production")


def test_the_same_change_in_two_sandboxes_is_computed_once(shop):
    for branch in ("one", "two"):
        shop.git("switch", "-q", "main")
        shop.switch(branch, new=True)
        shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
        shop.commit()
        result = shop.run()
    assert ran(result) == []
    assert {o.state for o in result.execution.outcomes.values()} == {"reused", "adopted"}


def test_a_change_that_is_taken_back_points_to_the_base_again(shop):
    shop.switch("fix", new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    shop.run()
    shop.edit("shop/prices.py", "TAX = 0.3", "TAX = 0.2")
    assert ran(shop.run()) == []
    assert shop.project.diff().tables == ()
    assert shop.project.status().own == ()


def test_two_runs_on_one_branch_at_once_the_second_is_refused_by_name(shop):
    from anabranch.running.lease import hold

    shop.switch("fix", new=True)
    shop.project.sandbox.open()
    caught = []

    def second() -> None:
        try:
            shop.run()
        except LeaseError as error:
            caught.append(error)

    with hold(shop.project.context.catalog, "run:fix", "run abc"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "run abc" in str(caught[0])
    assert shop.run().ok


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_or_interrupted_leaves_production_and_can_be_repeated_at_once(make_shop, how):
    body = """
@ab.asset
def second(first: pa.Table) -> pa.Table:
    started = HERE / ".anabranch" / "started"
    if not started.exists():
        started.touch()
        time.sleep(60)
    return first
"""
    shop = make_shop(definitions=numbers(body))
    script = f"import anabranch as ab; ab.Project({str(shop.folder)!r}).run(workers=1)"
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    started = shop.folder / ".anabranch" / "started"
    for _ in range(600):
        if started.exists():
            break
        time.sleep(0.1)
    assert started.exists()
    process.send_signal(how)
    process.wait(timeout=30)
    assert shop.head() == 0
    result = shop.run()
    assert result.ok
    assert ran(result) == ["second"]
    assert sorted(shop.versions("production")) == ["first", "second"]


def test_an_edit_between_plan_and_start_is_noticed(make_shop):
    shop = make_shop(definitions=numbers(GOOD))
    workspace = shop.project.context.workspace
    text = (shop.folder / "shop" / "definitions.py").read_text()
    from anabranch.errors import CodeChangedError
    from anabranch.pipeline.loader import load_definitions

    (shop.folder / "shop" / "definitions.py").write_text(text.replace("[1, 2, 3]", "[1, 2, 4]"))
    with pytest.raises(CodeChangedError, match=r"shop/definitions\.py was edited"):
        load_definitions(
            workspace.project.target, root=shop.folder, source=[shop.folder], expected=workspace.project.files
        )


def test_a_second_worktree_shares_the_catalog_and_has_a_sandbox_of_its_own(shop, tmp_path):
    shop.git("worktree", "add", "-q", "-b", "other", str(tmp_path / "other"))
    other = ab.Project(tmp_path / "other")
    assert other.status().base == "production@1"
    path = tmp_path / "other" / "shop" / "prices.py"
    path.write_text(path.read_text().replace("TAX = 0.2", "TAX = 0.3"))
    other.refresh()
    assert ran(other.run(in_process=True)) == ["paid", "report", "revenue"]
    assert [s.name for s in shop.project.sandbox.list().sandboxes] == ["other"]
    assert not (tmp_path / "other" / ".anabranch").exists()
    other.close()


def test_a_shallow_clone_that_cannot_tell_says_so(shop, tmp_path):
    from anabranch.errors import UndeterminedError

    catalog = f"sqlite:///{shop.folder}/.anabranch/catalog.db"
    warehouse = f"{shop.folder}/.anabranch/warehouse"
    shop.repo.commit(
        {"anabranch.toml": SETTINGS + f'\n[warehouse]\nuri = "{warehouse}"\ncatalog = "{catalog}"\n'}, "Share"
    )
    shop.edit("shop/definitions.py", '"Bob"', '"Ben"')
    shop.commit()
    assert shop.run().ok
    shop.repo.commit(
        {"shop/prices.py": (shop.folder / "shop/prices.py").read_text().replace("0.2", "0.4")}, "Later"
    )
    shop.git("clone", "-q", "--depth", "1", f"file://{shop.folder}", str(tmp_path / "shallow"))
    subprocess.run(["git", "switch", "-q", "-c", "fix"], cwd=tmp_path / "shallow", check=True)
    clone = ab.Project(tmp_path / "shallow")
    with pytest.raises(UndeterminedError, match="shallow"):
        clone.run(in_process=True)
    clone.close()


def test_times_of_a_query_are_utc_wherever_the_machine_stands(make_shop, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        query = "ab.sql('second', \"select timestamptz '2026-01-01 00:00:00+00' as moment, n from first\")"
        shop = make_shop(definitions=numbers(f"second = {query}\n"))
        assert shop.run().ok
        assert shop.rows("second")[0]["moment"].isoformat() == "2026-01-01T00:00:00+00:00"
        assert (
            str(shop.project.sql("select moment from second").to_arrow_table().schema.field("moment").type)
            == "timestamp[us, tz=UTC]"
        )
    finally:
        monkeypatch.undo()
        time.tzset()
