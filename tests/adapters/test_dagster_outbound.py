"""A native project in Dagster: its assets are Dagster's, its runs stay transactions, and land where the code is for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import anabranch as ab
from anabranch.adapters.dagster import definitions
from anabranch.adapters.dagster.outbound import _failure
from anabranch.errors import DirtyError, LeaseError
from git_repo import GitRepo

SETTINGS = """
[project]
name = "shop"
definitions = "shopfront.definitions:defs"

[environments.production]
git_branch = "main"
"""

DEFINITIONS = '''
import anabranch as ab
import pyarrow as pa

TAX = 2


class Cut(ab.Config):
    least: int = 0


@ab.asset(key="id", tags=["raw"])
def orders() -> pa.Table:
    """What was ordered."""
    return pa.table({"id": [1, 2, 3], "net": [10, 20, 30]})


@ab.asset(name="mart.paid", key="id")
def paid(orders: pa.Table, config: Cut) -> pa.Table:
    gross = [net * TAX for net in orders["net"].to_pylist() if net >= config.least]
    return pa.table({"id": orders["id"].to_pylist()[: len(gross)], "gross": gross})


total = ab.sql("total", "select sum(gross) as total from mart.paid")


@ab.asset(partitions=ab.daily("2024-01-01", "2024-01-05"))
def visits(partition: ab.Partition) -> pa.Table:
    return pa.table({"day": [partition.key] * partition.start.day})


@ab.asset(partitions=ab.daily("2024-01-01", "2024-01-05"))
def visitors(visits: pa.Table, partition: ab.Partition) -> pa.Table:
    return pa.table({"day": [partition.key], "visits": [visits.num_rows]})


@ab.asset(inputs={"table": "total"})
def letter(table: pa.Table) -> ab.File:
    return ab.File(str(table["total"][0]).encode(), name="letter.txt")


@ab.check(paid, name="gross is more than 0", inputs={"table": paid})
def positive(table: pa.Table) -> bool:
    """Nobody pays nothing."""
    return all(value > 0 for value in table["gross"].to_pylist())


@ab.check(paid, blocking=False, inputs={"table": paid})
def few(table: pa.Table) -> bool:
    return table.num_rows < 3


defs = ab.Definitions(
    assets=[orders, paid, total, visits, visitors, letter],
    checks=[positive, few, ab.unique(orders)],
)
'''


class Served:
    """The project, its repository, and a Dagster instance."""

    def __init__(self, repo: GitRepo, instance: dg.DagsterInstance) -> None:
        self.repo = repo
        self.instance = instance
        self.config: dict[str, Any] = {"in_process": True}

    @property
    def project(self) -> ab.Project:
        return ab.Project(self.repo.path)

    def edit(self, old: str, new: str, *, commit: bool = True) -> None:
        path = self.repo.path / "shopfront/definitions.py"
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))
        if commit:
            self.repo.commit(message="Edit")

    def run(
        self, *select: str, partition: str | None = None, tags: dict[str, str] | None = None, **options: Any
    ):
        made = definitions(self.repo.path)
        (asset,) = made.assets
        selection = dg.AssetSelection.assets(*[dg.AssetKey(word.split(".")) for word in select] or [
            key for key in asset.keys if key.path[0] not in ("visits", "visitors")
        ])  # fmt: skip
        return dg.materialize(
            [asset],
            selection=selection,
            partition_key=partition,
            tags=tags,
            instance=self.instance,
            run_config={"ops": {"shop": {"config": {**self.config, **options}}}},
            raise_on_error=False,
        )

    def entries(self, at: str = "production") -> dict[str, Any]:
        with self.project as project:
            try:
                return dict(project.tables(at))
            except ab.AnabranchError:
                return {}

    def commits(self, at: str = "production") -> list[str]:
        with self.project as project:
            return [commit.kind for commit in project.log(at).commits]


def told(result) -> dict[str, Any]:
    """Asset → its materialization."""
    return {".".join(e.asset_key.path): e.materialization for e in result.get_asset_materialization_events()}


def failure(result) -> Any:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return event.event_specific_data


@pytest.fixture
def served(repo: Callable[..., GitRepo], tmp_path: Path) -> Iterator[Served]:
    files = {
        "anabranch.toml": SETTINGS,
        ".gitignore": ".anabranch/\n__pycache__/\n",
        "shopfront/__init__.py": "",
        "shopfront/definitions.py": DEFINITIONS,
    }
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        yield Served(repo(files=files), instance)
    for name in [n for n in sys.modules if n.partition(".")[0] == "shopfront"]:
        del sys.modules[name]


def test_each_asset_is_one_of_dagsters_with_what_is_known_of_it(served):
    made = definitions(served.repo.path, key_prefix=["shop"], group_name="my shop")
    graph = made.resolve_asset_graph()
    keys = {name: dg.AssetKey(["shop", *name.split(".")]) for name in
            ["orders", "mart.paid", "total", "visits", "visitors", "letter"]}  # fmt: skip
    assert set(graph.materializable_asset_keys) == set(keys.values())
    assert graph.get(keys["mart.paid"]).parent_keys == {keys["orders"]}
    assert graph.get(keys["total"]).parent_keys == {keys["mart.paid"]}
    assert graph.get(keys["orders"]).description == "What was ordered."
    assert graph.get(keys["orders"]).group_name == "my_shop"
    assert graph.get(keys["orders"]).tags["anabranch/raw"] == ""
    assert graph.get(keys["total"]).kinds == {"sql", "iceberg"}
    assert graph.get(keys["visits"]).partitions_def.get_partition_keys() == [
        "2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"
    ]  # fmt: skip
    assert graph.get(keys["orders"]).partitions_def is None
    (asset,) = made.assets
    checks = {spec.name: spec for spec in asset.check_specs}
    assert set(checks) == {"gross_is_more_than_0", "few", "unique_id"}
    assert checks["gross_is_more_than_0"].description == "Nobody pays nothing."
    assert (checks["gross_is_more_than_0"].blocking, checks["few"].blocking) == (True, False)


def test_a_code_version_follows_code_and_config_but_no_comment(served):
    def versions() -> dict[str, str]:
        with served.project as project:
            (asset,) = definitions(project).assets
        return {key.path[-1]: spec.code_version for key, spec in asset.specs_by_key.items()}

    before = versions()
    served.edit("TAX = 2", "# in parts\nTAX = 2")
    assert versions() == before
    served.edit("TAX = 2", "TAX = 3")
    after = versions()
    assert {name for name in after if after[name] != before[name]} == {"paid"}
    served.edit("least: int = 0", "least: int = 15")
    assert {name for name, version in versions().items() if after[name] != version} == {"paid"}


def test_what_dagster_materialises_together_is_one_run_and_one_commit(served):
    result = served.run()
    assert result.success
    entries = served.entries()
    assert entries.keys() == {"orders", "mart.paid", "total", "letter"}
    found = told(result)
    assert {key: one.tags["dagster/data_version"] for key, one in found.items()} == {
        key: entry.version for key, entry in entries.items()
    }
    metadata = {name: value.value for name, value in found["mart.paid"].metadata.items()}
    assert metadata["anabranch/commit"] == "production@1"
    assert metadata["anabranch/state"] == "ran"
    assert metadata["dagster/row_count"] == 3
    assert [column.name for column in metadata["dagster/column_schema"].columns] == ["id", "gross"]
    assert served.commits() == ["run", "open"]
    checks = {e.check_name: (e.passed, e.severity) for e in result.get_asset_check_evaluations()}
    assert checks == {
        "gross_is_more_than_0": (True, dg.AssetCheckSeverity.ERROR),
        "few": (False, dg.AssetCheckSeverity.WARN),
        "unique_id": (True, dg.AssetCheckSeverity.ERROR),
    }
    tags = served.instance.get_run_by_id(result.run_id).tags
    assert (tags["anabranch/branch"], tags["anabranch/commit"]) == ("production", "production@1")


def test_what_stands_is_not_run_again_and_keeps_its_data_version(served):
    first = told(served.run())
    again = served.run()
    assert again.success
    assert {m.metadata["anabranch/state"].value for m in told(again).values()} == {"reused"}
    assert {k: m.tags["dagster/data_version"] for k, m in told(again).items()} == {
        k: m.tags["dagster/data_version"] for k, m in first.items()
    }
    assert served.commits() == ["run", "open"]
    forced = served.run("orders", force=True)
    assert told(forced)["orders"].metadata["anabranch/state"].value == "ran"


def test_a_check_that_fails_publishes_nothing_and_dagster_is_told_of_nothing(served):
    served.run()
    before = served.entries()
    served.edit("TAX = 2", "TAX = -2")
    result = served.run()
    assert not result.success
    assert told(result) == {}
    assert result.get_asset_check_evaluations() == []
    error = failure(result).user_failure_data
    assert "nothing was published, production is as it was" in error.description
    assert error.metadata["anabranch/failed_checks"].value == ["mart.paid:gross is more than 0"]
    assert served.entries() == before


def test_an_asset_that_fails_is_told_with_its_message(served):
    served.edit(
        'return pa.table({"id": [1, 2, 3], "net": [10, 20, 30]})', "raise ValueError('the till is shut')"
    )
    result = served.run()
    assert not result.success
    assert "the till is shut" in failure(result).user_failure_data.description
    assert served.entries() == {}


def test_on_a_branch_a_run_lands_in_its_sandbox_and_what_came_through_is_told(served):
    with served.project as project:
        project.run(in_process=True)
    production = served.entries()
    served.repo.branch("dearer")
    served.edit("TAX = 2", "TAX = 3")
    served.edit("select sum(gross) as total", "select 1 / 0 + nothing as total", commit=False)
    result = served.run()
    assert not result.success
    assert set(told(result)) == {"orders", "mart.paid"}
    assert told(result)["mart.paid"].metadata["anabranch/branch"].value == "dearer"
    assert served.entries() == production
    assert served.entries("dearer")["mart.paid"].version != production["mart.paid"].version
    served.edit("select 1 / 0 + nothing as total", "select sum(gross) as total", commit=False)
    assert served.run().success
    with served.project as project:
        published = project.promote(yes=True, in_process=True)
    assert (published.state, published.reran) == ("published", ())


def test_some_assets_alone_are_run_on_what_is_there(served):
    served.run()
    served.edit("TAX = 2", "TAX = 3")
    result = served.run("total")
    assert set(told(result)) == {"total"}
    assert told(result)["total"].metadata["anabranch/state"].value == "reused"
    assert told(served.run("mart.paid", "total"))["total"].metadata["anabranch/state"].value == "ran"


def test_checks_alone_judge_what_is_there(served):
    served.run()
    job = definitions(served.repo.path).resolve_implicit_global_asset_job_def()
    key = dg.AssetCheckKey(dg.AssetKey(["mart", "paid"]), "few")
    result = job.get_subset(asset_selection=set(), asset_check_selection={key}).execute_in_process(
        instance=served.instance, run_config={"ops": {"shop": {"config": served.config}}}
    )
    (found,) = result.get_asset_check_evaluations()
    assert (found.asset_check_key, found.passed) == (key, False)
    assert served.commits() == ["run", "open"]


def test_a_partition_is_made_and_told_by_itself(served):
    result = served.run("visits", "visitors", partition="2024-01-03")
    assert result.success
    found = told(result)
    assert {m.partition for m in found.values()} == {"2024-01-03"}
    assert found["visits"].metadata["dagster/row_count"].value == 3
    with served.project as project:
        assert project.sql("select day, visits from visitors", at="production").fetchall() == [
            ("2024-01-03", 3)
        ]
        version = project.table("visits", at="production").partition_map.get("2024-01-03").version
    assert found["visits"].tags["dagster/data_version"] == version
    served.run("visits", "visitors", partition="2024-01-04")
    again = told(served.run("visits", partition="2024-01-03"))
    assert again["visits"].metadata["anabranch/state"].value == "reused"
    assert again["visits"].tags["dagster/data_version"] == version


def test_a_range_of_partitions_is_one_commit(served):
    tags = {
        "dagster/asset_partition_range_start": "2024-01-02",
        "dagster/asset_partition_range_end": "2024-01-05",
    }
    result = served.run("visits", "visitors", tags=tags)
    assert result.success
    partitions = {e.partition for e in result.get_asset_materialization_events()}
    assert partitions == {f"2024-01-0{day}" for day in range(2, 6)}
    assert served.commits() == ["run", "open"]
    with served.project as project:
        assert project.sql("select sum(visits) from visitors", at="production").fetchall() == [(14,)]


def test_what_a_person_must_mend_is_not_tried_again(served):
    served.edit("TAX = 2", "TAX = 3", commit=False)
    error = failure(served.run()).user_failure_data
    assert "is run from committed code only" in error.description
    assert "hint: commit them" in error.description
    assert not _failure(DirtyError("edited")).allow_retries
    assert _failure(LeaseError("somebody runs")).allow_retries
    assert served.entries() == {}


def test_an_interrupted_run_leaves_production_as_it_was(served):
    served.edit('return pa.table({"id": [1, 2, 3], "net": [10, 20, 30]})', "raise KeyboardInterrupt")
    result = served.run()
    assert failure(result).error.cls_name == "KeyboardInterrupt"
    assert told(result) == {}
    assert served.entries() == {}
    served.edit("raise KeyboardInterrupt", 'return pa.table({"id": [1], "net": [10]})')
    assert served.run().success


CODE_LOCATION = """
from pathlib import Path
import dagster as dg
from anabranch.adapters.dagster import definitions
from anabranch.adapters.dagster.outbound import _failure
from anabranch.errors import DirtyError, LeaseError

HERE = Path(__file__).parent
job = dg.define_asset_job("all", selection=["orders", "mart/paid", "total"])
defs = dg.Definitions.merge(definitions(HERE), dg.Definitions(jobs=[job]))
"""


def dagster(served: Served, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dagster", *words],
        cwd=served.repo.path,
        env={**os.environ, "DAGSTER_DISABLE_TELEMETRY": "yes", **variables},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_dagster_validates_it_and_runs_it_in_processes_of_its_own(served, tmp_path):
    served.repo.commit({"location.py": CODE_LOCATION}, "Serve it")
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    done = dagster(served, "definitions", "validate", "-f", "location.py", DAGSTER_HOME=str(home))
    assert done.returncode == 0, done.stderr
    # The default executor runs each step in a process of its own.
    done = dagster(served, "job", "execute", "-f", "location.py", "-j", "all", DAGSTER_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert "STEP_WORKER_STARTED" in done.stderr
    assert "published production@1" in done.stderr
    assert served.entries().keys() == {"orders", "mart.paid", "total"}


@pytest.mark.slow
def test_a_branch_deployment_of_dagster_plus_is_a_sandbox(served, tmp_path):
    served.run("orders", "mart.paid", "total")
    production = served.entries()
    served.repo.branch("dearer")
    served.edit("TAX = 2", "TAX = 3")
    served.repo.commit({"location.py": CODE_LOCATION}, "Serve it")
    served.repo.git("switch", "-q", "--detach")
    done = dagster(
        served,
        "asset",
        "materialize",
        "-f",
        "location.py",
        "--select",
        "mart/paid",
        DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT="1",
        DAGSTER_CLOUD_DEPLOYMENT_NAME="b4f0",
        DAGSTER_CLOUD_GIT_BRANCH="dearer",
        DAGSTER_HOME=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    served.repo.switch("dearer")
    assert served.entries() == production
    assert served.entries("dearer")["mart.paid"].version != production["mart.paid"].version


def test_a_detached_head_of_which_nobody_says_more_runs_nothing(served):
    served.repo.git("switch", "-q", "--detach")
    assert "HEAD is detached" in failure(served.run("orders")).user_failure_data.description
    served.repo.switch("main")
    assert served.entries() == {}


def test_importing_the_adapter_imports_no_dagster():
    script = "import sys, json, anabranch.adapters.dagster; print(json.dumps('dagster' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
