"""New Dagster code whose tables are on the branch: by Dagster alone, isolated, with provenance, read at one state."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import anabranch as ab
from anabranch.adapters.dagster import AnabranchIOManager, AnabranchResource
from git_repo import GitRepo

SETTINGS = """
[project]
name = "shop"
definitions = "native.definitions:defs"

[environments.production]
git_branch = "main"
"""


@dg.asset
def orders() -> pd.DataFrame:
    return pd.DataFrame({"id": [1, 2, 3], "net": [10.0, 20.0, 30.0]})


@dg.asset(key_prefix="mart")
def paid(orders: pl.DataFrame) -> pl.DataFrame:
    return orders.with_columns(gross=pl.col("net") * 2)


@dg.asset(ins={"paid": dg.AssetIn(key=["mart", "paid"])})
def model(paid: pa.Table) -> dict[str, float]:
    return {"total": sum(paid["gross"].to_pylist())}


@dg.asset
def letter(model: dict) -> str:
    return f"{model['total']:.0f} in all"


DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-06")


@dg.asset(partitions_def=DAYS)
def visits(context: dg.AssetExecutionContext) -> pa.Table:
    day = context.partition_key
    return pa.table({"day": [day] * int(day[-2:])})


@dg.asset(partitions_def=DAYS)
def visitors(visits: pa.Table) -> pa.Table:
    return pa.table({"visits": [visits.num_rows]})


@dg.asset
def all_visits(visits: pa.Table) -> pa.Table:
    return pa.table({"visits": [visits.num_rows]})


class World:
    def __init__(self, repo: GitRepo, instance: dg.DagsterInstance) -> None:
        self.repo = repo
        self.instance = instance

    def make(self, *assets: Any, **how: Any):
        resources = {
            "io_manager": AnabranchIOManager(folder=str(self.repo.path)),
            "anabranch": AnabranchResource(folder=str(self.repo.path)),
        }
        return dg.materialize(
            list(assets), resources=resources, instance=self.instance, raise_on_error=False, **how
        )

    @property
    def project(self) -> ab.Project:
        return ab.Project(self.repo.path)

    def rows(self, query: str, at: str = "production") -> list[tuple[Any, ...]]:
        with self.project as project:
            return project.sql(query, at=at).fetchall()

    def tables(self, at: str = "production") -> dict[str, Any]:
        with self.project as project:
            try:
                return dict(project.tables(at))
            except ab.AnabranchError:
                return {}


def errors(result) -> str:
    return "\n".join(str(e.event_specific_data.error) for e in result.all_events if e.is_step_failure)


@pytest.fixture
def world(repo: Callable[..., GitRepo], tmp_path: Path) -> Iterator[World]:
    files = {
        "anabranch.toml": SETTINGS,
        ".gitignore": ".anabranch/\n__pycache__/\n",
        "native/__init__.py": "",
        "native/definitions.py": "import anabranch as ab\ndefs = ab.Definitions()\n",
    }
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        yield World(repo(files=files), instance)
    for name in [n for n in sys.modules if n.partition(".")[0] == "native"]:
        del sys.modules[name]


def test_outputs_are_tables_of_the_environment_and_inputs_come_as_they_are_annotated(world):
    result = world.make(orders, paid, model, letter)
    assert result.success, errors(result)
    assert world.rows("select sum(gross) from mart.paid") == [(120.0,)]
    assert result.output_for_node("letter") == "120 in all"
    entries = world.tables()
    assert {key: entry.kind for key, entry in entries.items()} == {
        "orders": "table",
        "mart.paid": "table",
        "model": "file",
        "letter": "file",
    }
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey("orders")]
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    assert metadata["anabranch/commit"] == "production@1"
    assert metadata["dagster/row_count"] == 3


def test_an_entry_tells_what_it_was_made_from_by_which_run_and_commit(world):
    result = world.make(orders, paid)
    entry = world.tables()["mart.paid"].provenance
    assert entry.inputs == {"orders": world.tables()["orders"].version}
    assert entry.git_commit == world.repo.head
    assert entry.environment == "production"
    assert entry.extra["dagster"]["run"] == result.run_id
    with world.project as project:
        (newest, *_) = project.log("production").commits
    assert (newest.kind, newest.message, newest.git_commit) == ("write", "write mart.paid", world.repo.head)


def test_on_a_git_branch_all_goes_to_its_sandbox_and_is_published_by_a_promotion(world):
    world.make(orders, paid)
    before = world.tables()
    world.repo.branch("dearer")
    world.repo.commit({"note.txt": "dearer"}, "Note")
    result = world.make(orders, paid, selection=[paid])
    assert result.success, errors(result)

    @dg.asset(key_prefix="mart", name="paid")
    def dearer(orders: pd.DataFrame) -> pd.DataFrame:
        return orders.assign(gross=orders["net"] * 3)

    result = world.make(dearer, orders, selection=[dearer])
    assert result.success, errors(result)
    assert world.tables() == before
    assert world.rows("select sum(gross) from mart.paid", "dearer") == [(180.0,)]
    assert "/_sandboxes/" in world.tables("dearer")["mart.paid"].location
    with world.project as project:
        assert project.promote(yes=True, in_process=True).state == "published"
    assert world.rows("select sum(gross) from mart.paid") == [(180.0,)]


def test_an_environment_takes_committed_code_only(world):
    world.repo.write({"native/definitions.py": "import anabranch as ab\n\ndefs = ab.Definitions()\n"})
    result = world.make(orders)
    assert not result.success
    assert "takes tables of committed code only" in errors(result)
    assert world.tables() == {}


def test_code_that_is_behind_writes_nothing(world):
    world.repo.branch("older")
    world.repo.switch("main")
    world.repo.commit({"note.txt": "1"}, "Newer")
    world.make(orders)
    world.repo.git("reset", "-q", "--hard", "older")
    result = world.make(orders)
    assert not result.success
    assert "was made by code that main does not contain" in errors(result)


def test_a_table_that_somebody_else_has_written_meanwhile_is_a_conflict(world, monkeypatch):
    from anabranch.adapters.dagster import branch_io

    world.make(orders)
    real = branch_io._write

    def late(storage, key, value, before):
        monkeypatch.setattr(branch_io, "_write", real)
        other = world.make(
            dg.asset(name="orders")(lambda: pd.DataFrame({"id": [9], "net": [9.0]})),
        )
        assert other.success
        return real(storage, key, value, before)

    monkeypatch.setattr(branch_io, "_write", late)

    @dg.asset(name="orders")
    def again() -> pd.DataFrame:
        return pd.DataFrame({"id": [7], "net": [7.0]})

    result = world.make(again)
    assert not result.success
    assert "ConflictError" in errors(result)
    assert world.rows("select id from orders") == [(9,)]


def test_a_run_reads_what_it_has_written_and_else_what_was_there_when_it_began(world):
    world.make(orders)

    @dg.asset(deps=[orders], name="meanwhile")
    def meanwhile(anabranch: AnabranchResource) -> pa.Table:
        # Somebody publishes another table while the run goes on.
        with ab.Project(anabranch.folder) as project:
            assert project.context.require().kind == "environment"
        other = dg.materialize(
            [dg.asset(name="orders")(lambda: pd.DataFrame({"id": [9], "net": [9.0]}))],
            resources={"io_manager": AnabranchIOManager(folder=anabranch.folder)},
        )
        assert other.success
        return pa.table({"seen": [1]})

    @dg.asset
    def late(orders: pa.Table, meanwhile: pa.Table) -> pa.Table:
        return pa.table({"rows": [orders.num_rows], "seen": meanwhile["seen"]})

    result = world.make(orders, meanwhile, late, selection=[meanwhile, late])
    assert result.success, errors(result)
    assert world.rows("select rows, seen from late") == [(3, 1)]
    assert world.rows("select count(*) from orders") == [(1,)]


def test_a_partition_replaces_its_own_rows_and_is_read_by_itself(world):
    for day in ("2024-01-02", "2024-01-03", "2024-01-02"):
        result = world.make(visits, visitors, partition_key=day)
        assert result.success, errors(result)
    assert world.rows("select count(*) from visits") == [(5,)]
    assert world.rows("select visits from visitors order by 1") == [(2,), (3,)]
    result = world.make(visits, all_visits, selection=[all_visits])
    assert result.success, errors(result)
    assert world.rows("select visits from all_visits") == [(5,)]


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_several_partitions_come_from_a_dict(world):
    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), name="visits")
    def many(context: dg.AssetExecutionContext) -> dict[str, pa.Table]:
        return {day: pa.table({"day": [day]}) for day in context.partition_keys}

    tags = {
        "dagster/asset_partition_range_start": "2024-01-02",
        "dagster/asset_partition_range_end": "2024-01-04",
    }
    result = world.make(many, tags=tags)
    assert result.success, errors(result)
    assert world.rows("select day from visits order by 1") == [(f"2024-01-0{day}",) for day in (2, 3, 4)]


def test_what_passes_between_ops_is_no_table(world):
    @dg.op
    def first() -> int:
        return 3

    @dg.op
    def second(number: int) -> pd.DataFrame:
        return pd.DataFrame({"number": [number]})

    @dg.graph_asset
    def numbers():
        return second(first())

    result = world.make(numbers)
    assert result.success, errors(result)
    assert world.tables().keys() == {"numbers"}


def test_the_resource_reads_any_ref_at_one_commit(world):
    world.make(orders)
    world.repo.branch("look")

    @dg.asset
    def seen(anabranch: AnabranchResource) -> pa.Table:
        count = anabranch.table("orders").rows
        [(total,)] = anabranch.sql("select sum(net) from orders", at="production").fetchall()
        return pa.table({"count": [count], "total": [total]})

    result = world.make(seen)
    assert result.success, errors(result)
    assert world.rows("select * from seen", "look") == [(3, 60.0)]


LOCATION = """
from pathlib import Path
import dagster as dg
import pandas as pd
from anabranch.adapters.dagster import AnabranchIOManager

@dg.asset
def orders() -> pd.DataFrame:
    return pd.DataFrame({"id": [1, 2, 3]})

@dg.asset
def counted(orders: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"orders": [len(orders)]})

defs = dg.Definitions(
    assets=[orders, counted],
    jobs=[dg.define_asset_job("all")],
    resources={"io_manager": AnabranchIOManager(folder=str(Path(__file__).parent))},
)
"""


@pytest.mark.slow
def test_each_step_may_be_a_process_of_its_own(world, tmp_path):
    world.repo.commit({"location.py": LOCATION}, "Serve it")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "job", "execute", "-f", "location.py", "-j", "all"],
        cwd=world.repo.path,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("STEP_WORKER_STARTED") >= 2
    assert world.rows("select orders from counted") == [(3,)]


BOTH_WAYS = """
import dagster as dg
import pandas as pd
from anabranch.adapters.dagster import AnabranchIOManager, AnabranchResource

TIMES = 1

@dg.asset
def orders() -> pd.DataFrame:
    return pd.DataFrame({"id": [1, 2, 3]})

@dg.asset
def counted(orders: pd.DataFrame, anabranch: AnabranchResource) -> pd.DataFrame:
    return pd.DataFrame({"orders": [len(orders) * TIMES]})

defs = dg.Definitions(
    assets=[orders, counted],
    resources={"io_manager": AnabranchIOManager(), "anabranch": AnabranchResource()},
)
"""


@pytest.mark.slow
def test_the_same_code_runs_under_anabranch_too(make_shop):
    shop = make_shop({"shop/definitions.py": BOTH_WAYS})
    built = shop.run()
    assert built.ok, built.to_dict()
    assert shop.rows("counted") == [{"orders": 3}]
    shop.repo.branch("twice")
    shop.edit("shop/definitions.py", "TIMES = 1", "TIMES = 2")
    result = shop.run()
    assert result.ok, result.to_dict()
    assert shop.rows("counted") == [{"orders": 6}]
    assert shop.rows("counted", "production") == [{"orders": 3}]
