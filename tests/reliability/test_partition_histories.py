"""Random histories of a table that is cut into partitions, on real files and a real git repository, beside a plain model.

The model is a dict: day → (what the outside had sold when it was made, the rate of the code that made it). Whatever people and
production do in whatever order, each side's table holds exactly what its model says, and nothing that is up to date is made again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import anabranch as ab
from anabranch.errors import GateError
from effort import effort

SETTINGS = """
[project]
name = "market"
definitions = "market.definitions:defs"

[environments.production]
git_branch = "main"
promote = { rows_removed = "100%" }
"""
DEFINITIONS = """
import json
import os
import signal
from pathlib import Path

import anabranch as ab
import polars as pl
import pyarrow as pa

from market.rates import RATE

DAYS = ab.daily("2013-01-01", "LAST", column="day")


class Feed(ab.Resource):
    root: str

    def sold(self, key):
        root = Path(self.root)
        with (root / "calls").open("a") as calls:
            calls.write(key + "\\n")
        if (root / "kill").exists() and (root / "kill").read_text() == key:
            (root / "kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return json.loads((root / "sold.json").read_text())[key]


@ab.asset(partitions=DAYS, key="day")
def sales(feed: Feed, partition: ab.Partition) -> pa.Table:
    return pa.table({"day": pa.array([partition.date], pa.date32()), "net": [feed.sold(partition.key)]})


@ab.asset(partitions=DAYS, key="day")
def taxed(sales: pl.DataFrame) -> pl.DataFrame:
    return sales.with_columns(gross=pl.col("net") * RATE)


total = ab.sql("total", "select sum(gross) as gross, count(*) as days from taxed")

defs = ab.Definitions(assets=[sales, taxed, total], resources={"feed": Feed(root=r"ROOT")})
"""
FIRST = 3


def day(number: int) -> str:
    return f"2013-01-{number:02d}"


class Market:
    """The project, its repository and the outside."""

    def __init__(self, folder: Path) -> None:
        self.outside = folder / "outside"
        self.repo = folder / "repo"
        self.outside.mkdir()
        (self.repo / "market").mkdir(parents=True)
        self.sold = {day(number): number for number in range(1, FIRST + 1)}
        self.write_sold()
        (self.repo / "anabranch.toml").write_text(SETTINGS)
        (self.repo / ".gitignore").write_text(".anabranch/\n__pycache__/\n")
        (self.repo / "market/__init__.py").write_text("")
        # Not beside the calendar: git would take edits of neighbouring lines for a conflict.
        (self.repo / "market/rates.py").write_text("RATE = 1\n")
        text = DEFINITIONS.replace("ROOT", str(self.outside)).replace("LAST", day(FIRST))
        (self.repo / "market/definitions.py").write_text(text)
        self.git("init", "-q", "-b", "main")
        self.commit()
        self.project = ab.Project(self.repo)

    def write_sold(self) -> None:
        (self.outside / "sold.json").write_text(json.dumps(self.sold))

    def git(self, *arguments: str) -> None:
        environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        for role in ("AUTHOR", "COMMITTER"):
            environ |= {f"GIT_{role}_NAME": "Ada", f"GIT_{role}_EMAIL": "ada@example.com"}
        subprocess.run(
            ["git", *arguments], cwd=self.repo, env=environ, check=True, capture_output=True, text=True
        )

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "Change")

    def edit(self, old: str, new: str, file: str = "definitions.py") -> None:
        path = self.repo / "market" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        self.commit()

    def calls(self) -> list[str]:
        path = self.outside / "calls"
        found = sorted(path.read_text().split()) if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    def table(self, ref: str | None = None) -> dict[str, tuple[int, int]]:
        self.project.context.refresh()
        rows = self.project.table("taxed", at=ref).to_arrow().to_pylist()
        assert len({row["day"] for row in rows}) == len(rows)
        return {str(row["day"]): (row["net"], row["gross"] // row["net"]) for row in rows}

    def total(self, ref: str | None = None) -> tuple[int, int]:
        (row,) = self.project.table("total", at=ref).to_arrow().to_pylist()
        return int(row["gross"]), row["days"]

    def run(self, **options):
        self.project.refresh()
        result = self.project.run(**{"in_process": True, **options})
        assert result.ok, [o.error for o in result.execution.failed]
        return result


class Histories(RuleBasedStateMachine):
    """One production and one branch ``fix`` that raises the rate."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self._folder = tempfile.TemporaryDirectory(prefix="anabranch-")
        self.market = Market(Path(self._folder.name))
        self.production: dict[str, tuple[int, int]] = {}
        self.fix: dict[str, tuple[int, int]] | None = None
        self.last, self.rates = FIRST, {"main": 1, "fix": 1}
        self.merged = True

    @initialize()
    def build(self) -> None:
        self.market.run()
        self.production = {key: (sold, 1) for key, sold in self.market.sold.items()}
        self.market.calls()

    def on(self, branch: str) -> None:
        self.market.git("switch", "-q", branch)
        self.market.project.refresh()

    @rule()
    def a_day_passes_and_production_gets_it(self) -> None:
        if self.last >= 9:
            return
        self.on("main")
        self.last += 1
        self.market.sold[day(self.last)] = self.last
        self.market.write_sold()
        self.market.edit(f'"{day(self.last - 1)}", column', f'"{day(self.last)}", column')
        self.market.run()
        assert self.market.calls() == [day(self.last)]
        self.production[day(self.last)] = (self.last, self.rates["main"])
        self.merged = False

    @rule(which=st.integers(1, FIRST), amount=st.integers(20, 29))
    def the_outside_is_corrected_and_production_fetches_that_day(self, which: int, amount: int) -> None:
        self.on("main")
        self.market.sold[day(which)] = amount
        self.market.write_sold()
        self.market.run(select=["sales"], force=True, partitions=day(which))
        assert self.market.calls() == [day(which)]
        self.market.run()
        assert self.market.calls() == []
        self.production[day(which)] = (amount, self.production[day(which)][1])

    @rule()
    def a_second_run_makes_nothing(self) -> None:
        self.on("main")
        assert self.market.run().commit is None
        assert self.market.calls() == []

    @precondition(lambda self: self.fix is None)
    @rule(window=st.sampled_from([None, "latest:1", "2013-01-02"]))
    def somebody_opens_a_branch_with_another_rate(self, window: str | None) -> None:
        self.on("main")
        self.market.git("switch", "-q", "-c", "fix")
        rate = self.rates["main"] + 1
        self.market.edit(f"RATE = {self.rates['main']}", f"RATE = {rate}", "rates.py")
        self.rates["fix"], self.merged = rate, True
        self.market.run(partitions=window)
        chosen = {None: list(self.production), "latest:1": [day(self.last)], "2013-01-02": [day(2)]}[window]
        self.fix = {
            key: (sold, rate if key in chosen else old) for key, (sold, old) in self.production.items()
        }
        assert self.market.calls() == []

    @precondition(lambda self: self.fix is not None)
    @rule()
    def the_branch_computes_the_rest(self) -> None:
        self.on("fix")
        self.market.run()
        assert self.fix is not None
        self.fix = {key: (sold, self.rates["fix"]) for key, (sold, _) in self.fix.items()}
        assert self.market.calls() == []

    @precondition(lambda self: self.fix is not None)
    @rule()
    def the_branch_is_published_once_all_of_it_is_computed(self) -> None:
        self.on("fix")
        if not self.merged:
            self.market.git("merge", "-q", "main")
            self.merged = True
        self.market.project.refresh()
        self.market.project.sandbox.sync()
        self.market.run()
        done = self.market.project.promote(yes=True, in_process=True)
        assert done.state == "published"
        self.production = {key: (sold, self.rates["fix"]) for key, (sold, _) in self.production.items()}
        self._finish()

    @precondition(lambda self: self.fix is not None)
    @rule()
    def a_mixture_is_published_only_if_it_is_meant(self) -> None:
        assert self.fix is not None
        self.on("fix")
        if not self.merged:
            self.market.git("merge", "-q", "main")
            self.merged = True
            self.market.project.refresh()
            self.market.project.sandbox.sync()
        older = [key for key, (_, rate) in self.fix.items() if rate != self.rates["fix"]]
        self.market.project.refresh()
        if older:
            with pytest.raises(GateError, match="mixture"):
                self.market.project.promote(yes=True, in_process=True)
        else:
            assert self.market.project.promote(yes=True, in_process=True).state == "published"
            self.production = {key: (sold, self.rates["fix"]) for key, (sold, _) in self.production.items()}
            self._finish()

    def _finish(self) -> None:
        self.on("main")
        self.market.git("merge", "-q", "fix")
        self.market.project.refresh()
        self.market.project.sandbox.close("fix")
        self.market.git("branch", "-q", "-D", "fix")
        self.rates["main"], self.fix, self.merged = self.rates["fix"], None, True
        assert self.market.run().commit is None

    @invariant()
    def production_holds_what_the_model_says(self) -> None:
        if self.production:
            assert self.market.table("production") == self.production
            assert self.market.total("production") == (
                sum(sold * rate for sold, rate in self.production.values()),
                len(self.production),
            )

    @invariant()
    def a_sandbox_sees_nothing_that_production_got_since(self) -> None:
        if self.fix is not None and self.market.project.context.find_branch("fix") is not None:
            found = self.market.table("fix")
            if self.merged and set(found) == set(self.fix):
                assert {key: rate for key, (_, rate) in found.items()} == {
                    key: rate for key, (_, rate) in self.fix.items()
                }

    def teardown(self) -> None:
        self.market.project.close()
        for name in [n for n in sys.modules if n.partition(".")[0] == "market"]:
            del sys.modules[name]
        self._folder.cleanup()


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=effort(4),
    stateful_step_count=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # A history takes seconds: a long one is told rather than searched for its shortest form.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@pytest.mark.parametrize("victim", [1, 2, 5])
def test_a_killed_run_goes_on_where_it_stopped_and_no_row_is_doubled(tmp_path, victim):
    market = Market(tmp_path)
    market.sold |= {day(number): number for number in range(1, 7)}
    market.write_sold()
    market.edit(f'"{day(FIRST)}", column', f'"{day(6)}", column')
    market.git("switch", "-q", "-c", "fix")
    (market.outside / "kill").write_text(day(victim))
    command = [sys.executable, "-m", "anabranch", "run", "--in-process"]
    done = subprocess.run(command, cwd=market.repo, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    before = market.calls()
    assert before == [day(number) for number in range(1, victim + 1)]
    done = subprocess.run(command, cwd=market.repo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = market.calls()
    # What a task had made before it was killed is made again at most; what it had handed over is not.
    assert set(again) | set(before) == {day(number) for number in range(1, 7)}
    assert victim == 1 or day(1) not in again
    assert market.table("fix") == {key: (sold, 1) for key, sold in market.sold.items()}
    market.project.close()
