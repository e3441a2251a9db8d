"""Environments by name, by branch and by CI; and that the process of one holds nothing of another's secrets."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from story_shop import SETTINGS

from anabranch.errors import DirtyError, HeldError, PromotionError, SettingsError, UndeterminedError
from anabranch.project import Project

THREE = (
    SETTINGS
    + """
[environments.staging]

[environments.local]
resources = "sandbox"

[environments.locked]
protected = true
"""
)


@pytest.fixture
def named(make_shop, monkeypatch):
    """A shop of several environments, and how to name one."""
    shop = make_shop(settings=THREE)

    def name(environment: str | None) -> None:
        if environment is None:
            monkeypatch.delenv("ANABRANCH_ENVIRONMENT", raising=False)
        else:
            monkeypatch.setenv("ANABRANCH_ENVIRONMENT", environment)
        shop.project.refresh()

    shop.name = name
    return shop


def test_an_environment_without_a_git_branch_runs_when_it_is_named(named):
    named.name("local")
    result = named.run()
    assert result.ok
    assert (result.target, result.kind) == ("local", "environment")
    assert [row["customer"] for row in named.rows("revenue", "local")]
    named.name("staging")
    assert named.run().target == "staging"
    named.name(None)
    assert named.run().target == "production"
    assert {b.name for b in named.project.context.catalog.branches(kind="environment")} == {
        "local",
        "staging",
        "production",
    }


def test_it_runs_the_code_of_any_branch_with_uncommitted_edits_and_says_so(named):
    assert named.run().ok
    named.name("local")
    assert named.run().ok
    named.switch("fix", new=True)
    named.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    assert named.run().ok
    head = named.project.log("local").commits[0]
    assert head.git_commit is None
    assert named.project.tables("local")["paid"].provenance.dirty
    named.commit("Dearer")
    assert named.run(force=True).ok
    named.switch("main")
    # The newest state was made by code that main lacks: here that counts for nothing, in production it does.
    status = named.project.status()
    assert (status.behind, status.behind_reason, status.next) == (0, None, "anabranch run")
    assert "paid" in status.changed
    assert named.run().ok
    assert named.rows("paid", "local")[0]["gross"] == pytest.approx(12.0)
    named.name(None)
    assert named.run().ok
    named.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    with pytest.raises(DirtyError):
        named.run()


def test_what_is_rolled_back_there_is_held_too(named):
    named.name("local")
    assert named.run().ok
    named.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    assert named.run().ok
    named.project.rollback()
    with pytest.raises(HeldError):
        named.run()


def test_a_protected_environment_without_a_git_branch_changes_by_promotions_alone(named):
    named.name("locked")
    with pytest.raises(PromotionError, match="promotions alone"):
        named.run()
    assert named.project.context.find_branch("locked") is None


def test_python_names_an_environment_before_the_variable_does(named):
    named.name("staging")
    with Project(named.folder, environment="local") as project:
        here = project.status().where
        assert (here.environment, here.decided_by) == ("local", "ANABRANCH_ENVIRONMENT=local")
    with Project(named.folder, environment="production") as project:
        assert project.status().where.environment == "production"
    named.switch("fix", new=True)
    with (
        Project(named.folder, environment="production") as project,
        pytest.raises(UndeterminedError, match="git branch fix"),
    ):
        project.run()


def test_a_promotion_from_where_another_environment_is_named_is_refused(named):
    assert named.run().ok
    named.switch("fix", new=True)
    named.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    named.commit()
    assert named.run().ok
    named.name("local")
    with pytest.raises(PromotionError, match="ANABRANCH_ENVIRONMENT=local"):
        named.promote("fix")
    named.name(None)
    assert named.promote().state == "published"


def test_an_environment_cannot_be_called_sandbox(make_shop):
    shop = make_shop(settings=SETTINGS + "[environments.sandbox]\n")
    with pytest.raises(SettingsError, match="called sandbox"):
        shop.run()


def ci(monkeypatch, folder: Path, **rest: str) -> None:
    given = {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(folder), **rest}
    for name, value in given.items():
        monkeypatch.setenv(name, value)


def test_in_a_checkout_of_github_the_pull_request_decides(shop, monkeypatch, tmp_path):
    shop.switch("fix", new=True)
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    tip = shop.commit()
    shop.git("switch", "-q", "--detach")
    event = tmp_path / "event.json"
    repository = {"full_name": "acme/shop"}
    sides = {
        "head": {"ref": "fix", "sha": tip, "repo": repository},
        "base": {"ref": "main", "repo": repository},
    }
    event.write_text(
        json.dumps({"pull_request": {"number": 42, "state": "open", "title": "Dearer", **sides}})
    )
    ci(
        monkeypatch,
        shop.folder,
        GITHUB_HEAD_REF="fix",
        GITHUB_BASE_REF="main",
        GITHUB_REF="refs/pull/42/merge",
        GITHUB_SHA="0" * 40,
        GITHUB_EVENT_PATH=str(event),
    )
    here = shop.project.status().where
    assert (here.kind, here.sandbox, here.pull_request.number) == ("sandbox", "fix", 42)
    assert here.to_dict()["pull_request"]["title"] == "Dearer"
    assert shop.run().target == "fix"
    event.write_text("{")
    shop.project.refresh()
    with pytest.raises(UndeterminedError, match="fork"):
        shop.run()
    assert "fork" in shop.project.status().notes[0]


def test_a_detached_checkout_of_main_is_production_where_ci_says_so_of_this_commit(shop, monkeypatch):
    commit = shop.project.context.git.commit
    shop.git("switch", "-q", "--detach")
    ci(monkeypatch, shop.folder, GITHUB_REF="refs/heads/main", GITHUB_SHA=commit)
    assert shop.run().target == "production"
    shop.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    shop.commit("Astray")
    with pytest.raises(UndeterminedError, match="no commit of main"):
        shop.run()


def test_what_ci_says_of_its_checkout_says_nothing_of_another_repository(shop, monkeypatch, tmp_path):
    ci(monkeypatch, tmp_path / "elsewhere", GITHUB_REF="refs/heads/fix", GITHUB_SHA="0" * 40)
    assert shop.run().target == "production"


def test_a_named_environment_at_a_detached_commit_must_be_its_branchs(named, monkeypatch):
    named.git("switch", "-q", "--detach")
    named.name("production")
    assert named.run().target == "production"
    named.edit("shop/prices.py", "TAX = 0.2", "TAX = 0.3")
    named.commit("Astray")
    with pytest.raises(UndeterminedError, match="no commit of main"):
        named.run()


SECRETS = """
import os
import subprocess
import sys

import anabranch as ab
import pyarrow as pa
from pathlib import Path


class Store(ab.Resource):
    url: str
    password: str


class Feed(ab.Resource):
    token: str


def seen():
    told = dict(os.environ)
    block = Path("/proc/self/environ")
    if block.exists():
        told.update({f"block {n}": part.decode("utf-8", "replace") for n, part in enumerate(block.read_bytes().split(b"\\0"))})
    child = "import os; print(list(os.environ.items()))"
    told["child"] = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout
    return told


@ab.asset
def first(store: Store, feed: Feed) -> pa.Table:
    told = seen()
    return pa.table({"name": list(told), "value": list(told.values())})


@ab.asset
def second(first: pa.Table) -> pa.Table:
    told = seen()
    return pa.table({"name": list(told), "value": list(told.values())})


defs = ab.Definitions(
    assets=[first, second],
    checks=[ab.not_null(first, "name")],
    resources={
        "production": {
            "store": Store(url="prod", password=ab.EnvVar("PROD_PASSWORD")),
            "feed": Feed(token=ab.EnvVar("FEED_TOKEN")),
        },
        "staging": {
            "store": Store(url="stage", password=ab.EnvVar("STAGING_PASSWORD")),
            "feed": Feed(token=ab.EnvVar("FEED_TOKEN")),
        },
        "sandbox": {
            "store": Store(url="test", password=ab.EnvVar("SANDBOX_PASSWORD")),
            "feed": Feed(token=ab.EnvVar("FEED_TOKEN")),
        },
    },
)
"""

SECRET_SETTINGS = """
[project]
name = "shop"
definitions = "shop.definitions:defs"

[warehouse]
catalog = "sqlite:///${CATALOG_FILE}"

[environments.production]
git_branch = "main"
secrets = ["LEGACY_PRODUCTION_KEY", "WRITER_*", "AWS_WRITER"]

[environments.staging]
secrets = ["AWS_WRITER"]

[environments.masked]
derived_from = "production"
mask_key = "${MASK_KEY}"
"""

VALUES = {
    "PROD_PASSWORD": "of-production-declared",
    "LEGACY_PRODUCTION_KEY": "of-production-named",
    "WRITER_TOKEN": "of-production-by-beginning",
    "MASK_KEY": "of-masks-and-nobody-else",
    "STAGING_PASSWORD": "of-staging-declared",
    "AWS_WRITER": "of-staging-and-production",
    "SANDBOX_PASSWORD": "of-sandboxes-declared",
    "FEED_TOKEN": "of-everybody",
}


@pytest.fixture
def secrets(make_shop, monkeypatch, tmp_path):
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CATALOG_FILE", str(tmp_path / "catalog-of-everybody.db"))
    return make_shop(settings=SECRET_SETTINGS, definitions=SECRETS)


def values(shop, at: str) -> set[str]:
    """Which secrets the steps of the newest run could read in their own environment, or a child's."""
    text = json.dumps([shop.rows("first", at), shop.rows("second", at)])
    return {value for value in VALUES.values() if value in text}


@pytest.mark.slow
def test_the_whole_environment_of_a_sandboxs_step_holds_no_secret_of_production(secrets):
    secrets.run(in_process=False, workers=2)
    assert values(secrets, "production") == {
        "of-production-declared",
        "of-production-named",
        "of-production-by-beginning",
        "of-staging-and-production",
        "of-everybody",
    }
    secrets.switch("fix", new=True)
    secrets.run(in_process=False, workers=2, force=True)
    assert values(secrets, "fix") == {"of-sandboxes-declared", "of-everybody"}
    assert "catalog-of-everybody" not in json.dumps(secrets.rows("second", "fix"))
    # One environment's process after another's, from the same parent, which has lost nothing.
    assert all(os.environ[name] == value for name, value in VALUES.items())


@pytest.mark.slow
def test_a_named_environment_has_its_own_secrets_and_no_others(secrets, monkeypatch):
    monkeypatch.setenv("ANABRANCH_ENVIRONMENT", "staging")
    secrets.project.refresh()
    secrets.run(in_process=False)
    assert values(secrets, "staging") == {"of-staging-declared", "of-staging-and-production", "of-everybody"}


def test_a_step_in_this_process_sees_no_other_secrets_in_its_variables(secrets):
    secrets.switch("fix", new=True)
    secrets.run(in_process=True)
    told = {row["name"]: row["value"] for row in secrets.rows("first", "fix")}
    assert "PROD_PASSWORD" not in told
    assert "LEGACY_PRODUCTION_KEY" not in told
    assert told["SANDBOX_PASSWORD"] == "of-sandboxes-declared"


@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="the system shows no process's environment"
)
def environment_of(process: int) -> bytes:
    """The environment that a process was started with, once it is there: for a moment a new one has none."""
    end = time.monotonic() + 10
    while not (block := Path(f"/proc/{process}/environ").read_bytes()) and time.monotonic() < end:
        time.sleep(0.01)
    return block


def test_a_worker_that_waits_for_work_was_given_no_secret_of_another_environment(secrets):
    from dataclasses import replace

    from anabranch.running.worker import ProcessPool

    secrets.switch("fix", new=True)
    context = secrets.project.context
    foreign = context.foreign_variables("sandbox")
    pool = ProcessPool(replace(context.workspace.project, foreign=foreign), 2)
    try:
        pool.warm(2)
        blocks = [environment_of(worker.process.pid) for worker in pool._workers]
    finally:
        pool.close()
    assert len(blocks) == 2
    for block in blocks:
        names = {part.partition(b"=")[0].decode() for part in block.split(b"\0")}
        assert names.isdisjoint(foreign)
        assert b"of-production" not in block
        assert b"of-masks" not in block
        assert b"SANDBOX_PASSWORD=of-sandboxes-declared" in block


def test_what_anabranch_toml_refers_to_is_kept_from_steps_unless_their_resources_name_it():
    import anabranch as ab
    from anabranch.running.secrecy import Withheld, foreign_variables

    class Store(ab.Resource):
        password: str

    definitions = ab.Definitions(resources={"sandbox": {"store": Store(password=ab.EnvVar("SHARED"))}})
    withheld = Withheld(("MASK",), ("SHARED", "CATALOG"), {"sandbox": ("SHARED", "PROD_*", "EXACT")})
    given = ["PROD_A", "PRODUCT", "SHARED", "HOME"]
    assert foreign_variables(definitions, "sandbox", withheld, given) == (
        "CATALOG",
        "EXACT",
        "MASK",
        "PROD_A",
    )
