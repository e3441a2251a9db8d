"""Who may work, and when a holder that is gone stops being in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from anabranch.catalog import open_catalog
from anabranch.errors import LeaseError
from anabranch.running.lease import hold, is_dead


@pytest.fixture
def catalog(tmp_path):
    found = open_catalog(f"sqlite:///{tmp_path}/catalog.db")
    yield found
    found.close()


def taken_by_another_process(tmp_path, *, dead: bool) -> subprocess.Popen:
    script = f"""
import sys, time
from anabranch.catalog import open_catalog
from anabranch.running.lease import _acquire
from datetime import timedelta
_acquire(open_catalog("sqlite:///{tmp_path}/catalog.db"), "run:production", "run abc", {{}}, timedelta(seconds=60))
print("held", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    if dead:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()
    return process


def test_the_lease_of_a_killed_process_is_taken_over_at_once(catalog, tmp_path):
    taken_by_another_process(tmp_path, dead=True)
    with hold(catalog, "run:production", "run def") as lease:
        assert "run def" in lease.holder


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell")
def test_a_killed_process_whose_parent_does_not_look_after_it_holds_nothing(catalog, tmp_path):
    process = taken_by_another_process(tmp_path, dead=False)
    process.kill()
    # It has ended, and stays on the list of processes.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with hold(catalog, "run:production", "run def") as lease:
        assert "run def" in lease.holder
    process.communicate()


def test_the_lease_of_a_living_process_is_respected_and_its_holder_named(catalog, tmp_path):
    process = taken_by_another_process(tmp_path, dead=False)
    try:
        with pytest.raises(LeaseError, match="run abc"), hold(catalog, "run:production", "run def"):
            pass
    finally:
        process.communicate()


def test_a_holder_on_another_machine_is_never_called_dead(catalog):
    lease = catalog.acquire(
        "gc", holder="somebody", ttl=timedelta(seconds=60), info={"host": "elsewhere", "pid": 2**22 - 1}
    )
    assert not is_dead(lease)
    with pytest.raises(LeaseError), hold(catalog, "gc", "gc"):
        pass


def test_a_lease_is_given_up_at_the_end_of_its_block_even_after_an_error(catalog):
    with pytest.raises(ZeroDivisionError), hold(catalog, "gc", "gc"):
        raise ZeroDivisionError
    assert catalog.leases() == []


def test_a_lease_is_renewed_while_its_block_runs(catalog):
    with hold(catalog, "gc", "gc", ttl=timedelta(milliseconds=400)) as lease:
        for _ in range(100):
            if catalog.leases()[0].expires_at > lease.expires_at:
                break
            import time

            time.sleep(0.05)
        assert catalog.leases()[0].expires_at > lease.expires_at
