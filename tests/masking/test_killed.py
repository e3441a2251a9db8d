"""A sync that is killed leaves the masked environment as it was, and the next one goes on where it stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from masked_world import search

KILLED = """
import os, signal, sys
import anabranch as ab
import anabranch.masking.sync as module

left = int(sys.argv[2])
real = getattr(module, "copy_table")

def dies(*arguments, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)

module.copy_table = dies
ab.Project(sys.argv[1]).sync()
"""


def killed(people, after: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, people.folder, str(after)], env=os.environ, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    people.project.refresh()


def test_a_killed_sync_publishes_nothing_and_what_it_has_masked_is_not_masked_again(people):
    killed(people, 2)
    context = people.project.context
    assert people.head("staging") == 0
    staging = context.catalog.branch("staging")
    assert context.catalog.entries(staging.point) == {}
    result = people.sync()
    done = {step.key: step.action for step in result.steps}
    assert sorted(done.values()) == ["mask", "same", "same"]
    assert sorted(people.project.tables("staging")) == ["cities", "people", "spending"]
    assert [b.name for b in context.catalog.branches(kind="run")] == []
    assert search(context, [context.catalog.branch("staging")], people.people) == []


def test_what_a_killed_sync_has_made_is_given_up_where_the_environment_was_rolled_back_since(people):
    people.sync()
    people.hire(5)
    people.run()
    people.sync()
    people.hire(6)
    people.run()
    killed(people, 1)
    people.project.rollback(environment="staging")
    people.edit("people/definitions.py", "import json\n", "import json\n# mended\n")
    people.commit()
    people.sync()
    assert len(people.rows("people", "staging")) == 6
    assert [b.name for b in people.project.context.catalog.branches(kind="run")] == []


def test_gc_frees_what_a_killed_sync_has_left_and_nothing_that_the_environment_needs(people):
    people.sync()
    people.hire(5)
    people.run()
    killed(people, 0)
    people.sync()
    people.project.gc(grace="0s")
    context = people.project.context
    assert len(people.rows("people", "staging")) == 5
    assert people.sync().state == "nothing"
    assert search(context, [context.catalog.branch("staging")], people.people) == []


def test_a_second_sync_beside_one_that_is_under_way_is_refused(people):
    from anabranch.errors import LeaseError
    from anabranch.running.lease import hold

    people.sync()
    with hold(people.project.context.catalog, "run:staging", "sync of staging"):
        with pytest.raises(LeaseError, match="sync of staging"):
            people.sync()
