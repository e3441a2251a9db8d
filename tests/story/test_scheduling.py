"""Which step starts when: limits of tags, recorded memory, the longest way first, and what a machine tells of itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from story_shop import SETTINGS

from anabranch.errors import SettingsError
from anabranch.running.machine import available_memory, forget_peak, peak_memory

DEFINITIONS = """
import time
import anabranch as ab
import pyarrow as pa

def make(name):
    def build() -> pa.Table:
        time.sleep(0.05)
        return pa.table({"n": [len(name)]})
    return ab.asset(name=name, tags=["warehouse"] if name < "c" else [])(build)

a, b, c, d = (make(name) for name in "abcd")

@ab.asset
def long(d: pa.Table) -> pa.Table:
    time.sleep(0.2)
    return d

defs = ab.Definitions(assets=[a, b, c, d, long])
"""


def started(events) -> list[str]:
    return [event.key for event in events if event.kind == "step_started"]


def together(events) -> set[frozenset[str]]:
    """The sets of steps that ran at the same time."""
    running: set[str] = set()
    found = set()
    for event in events:
        if event.kind == "step_started":
            running.add(event.key)
            found.add(frozenset(running))
        elif event.kind in ("step_finished", "step_failed"):
            running.discard(event.key)
    return found


def with_run(settings: str) -> str:
    return f"{SETTINGS}\n[run]\n{settings}\n"


@pytest.mark.slow
def test_no_more_steps_of_a_tag_run_at_a_time_than_its_limit_says(make_shop):
    shop = make_shop(definitions=DEFINITIONS, settings=with_run("limits = { warehouse = 1 }\nworkers = 3"))
    events = []
    result = shop.run(in_process=False, listen=events.append)
    assert result.ok
    assert result.warnings == ()
    assert not any({"a", "b"} <= at_once for at_once in together(events))
    assert any(len(at_once) > 1 for at_once in together(events))


def test_a_limit_of_a_tag_that_no_asset_carries_is_told(make_shop):
    shop = make_shop(definitions=DEFINITIONS, settings=with_run("limits = { warehose = 1 }"))
    events = []
    result = shop.run(listen=events.append)
    assert result.ok
    (warning,) = result.warnings
    assert "warehose" in warning
    assert [event.data["message"] for event in events if event.kind == "warning"] == [warning]
    assert result.to_dict()["warnings"] == [warning]


def test_a_limit_of_nothing_and_a_limit_below_one_are_refused(make_shop):
    shop = make_shop(definitions=DEFINITIONS, settings=with_run("limits = { warehouse = 0 }"))
    with pytest.raises(SettingsError, match=r"limits\.warehouse"):
        shop.run()


@pytest.mark.parametrize("memory", ['"lots"', "8", '"0MB"', '"120%"'])
def test_an_amount_of_memory_that_is_none_is_refused_with_an_example(make_shop, memory):
    shop = make_shop(definitions=DEFINITIONS, settings=with_run(f"memory = {memory}"))
    with pytest.raises(SettingsError, match="no amount of memory") as caught:
        shop.run()
    assert "8GB" in caught.value.hint


def test_the_longest_recorded_way_to_the_end_goes_first(make_shop):
    shop = make_shop(definitions=DEFINITIONS)
    assert shop.run().ok
    shop.switch("again", new=True)
    events = []
    assert shop.run(force=True, listen=events.append).ok
    # d is followed by what takes longest; of a, b and c none is longer than it.
    assert started(events)[:2] == ["d", "long"]


@pytest.mark.slow
def test_steps_whose_recorded_peaks_do_not_fit_together_run_one_after_the_other(make_shop):
    shop = make_shop(definitions=DEFINITIONS, settings=with_run('memory = "1MB"\nworkers = 2'))
    events = []
    assert shop.run(in_process=False, listen=events.append).ok
    assert any(len(at_once) == 2 for at_once in together(events)), "nothing is known of them yet"
    peaks = [entry.provenance.memory for entry in shop.project.tables("production").values()]
    assert min(peaks) > 10**6
    shop.switch("again", new=True)
    events.clear()
    assert shop.run(in_process=False, force=True, listen=events.append).ok
    assert all(len(at_once) == 1 for at_once in together(events))


MEMORY = """
import anabranch as ab
import pyarrow as pa

@ab.asset
def large() -> pa.Table:
    return pa.table({"n": [len(bytearray(400_000_000).replace(b"x", b"y"))]})

@ab.asset
def small(large: pa.Table) -> pa.Table:
    return large

defs = ab.Definitions(assets=[large, small])
"""


@pytest.mark.slow
@pytest.mark.skipif(not forget_peak(), reason="this system can't forget a peak")
def test_the_peak_of_a_step_is_its_own_and_not_that_of_the_one_before_it_in_the_same_process(make_shop):
    shop = make_shop(definitions=MEMORY)
    assert shop.run(in_process=False, workers=1).ok
    peaks = {key: entry.provenance.memory for key, entry in shop.project.tables("production").items()}
    assert peaks["large"] > 400_000_000
    assert 10_000_000 < peaks["small"] < 400_000_000


def groups(folder: Path, lines: str, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in {"proc/self/cgroup": lines, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "proc", folder / "cgroup"


@pytest.mark.parametrize(
    ("lines", "files"),
    [
        ("0::/a/b\n", {"cgroup/a/b/memory.max": "max\n", "cgroup/a/memory.max": "1000000\n"}),
        ("0::/\n", {"cgroup/memory.max": "1000000\n"}),
        ("4:cpu,memory:/docker/x\n0::/\n", {"cgroup/memory/docker/x/memory.limit_in_bytes": "1000000\n"}),
        ("4:memory:/not/here\n", {"cgroup/memory/memory.limit_in_bytes": "1000000\n"}),
        ("0::/a\n", {"cgroup/unified/a/memory.max": "1000000\n"}),
    ],
)
def test_the_limit_of_a_container_counts_as_the_machines_memory(tmp_path, lines, files):
    assert available_memory(*groups(tmp_path, lines, files)) == 1_000_000


def test_without_a_limit_the_machines_memory_counts(tmp_path):
    limitless = groups(
        tmp_path, "4:memory:/\n", {"cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
    )
    assert available_memory(*limitless) == available_memory(tmp_path / "none", tmp_path / "none") > 10**8
    assert peak_memory() > 10**6


def test_options_of_anabranch_toml_hold_for_check_and_promote_too(make_shop):
    shop = make_shop(
        definitions=DEFINITIONS, settings=with_run('limits = { warehouse = 1 }\nmemory = "50%"\nretries = 2')
    )
    options = shop.project.context.run_options()
    assert (options.limits, options.retry.retries) == ({"warehouse": 1}, 2)
    assert options.memory == available_memory() // 2
    assert replace(options, memory=None).limits == options.limits
