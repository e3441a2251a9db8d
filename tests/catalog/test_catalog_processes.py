"""Many at once: threads, processes, forks, and processes that are killed in the middle."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import catalog_worker
import pytest
from catalog_world import entries, keep_all, production, put, sandbox, seen, versions

from anabranch.catalog import open_catalog
from anabranch.catalog.base import Catalog, CommitRequest, Point
from anabranch.errors import BranchExistsError, ConflictError, RefError

WORKER = Path(catalog_worker.__file__)


def start(path: Path, what: str, name: str, rounds: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, WORKER, path, what, name, str(rounds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(workers: list[subprocess.Popen]) -> list[str]:
    told = [worker.communicate(timeout=120) for worker in workers]
    assert [err for _, err in told] == [""] * len(workers)
    assert [worker.returncode for worker in workers] == [0] * len(workers)
    return [out.strip() for out, _ in told]


def test_commits_of_many_processes_are_those_of_some_order_one_after_another(tmp_path: Path) -> None:
    path, rounds = tmp_path / "catalog.db", 12
    catalog = open_catalog(f"sqlite:///{path}")
    root = production(catalog, counter=0)
    workers = [start(path, "count", f"w{number}", rounds) for number in range(8)]
    finish(workers)
    landed = list(reversed(catalog.commits(root.id)))[2:]
    assert [commit.number for commit in landed] == list(range(2, 2 + 8 * rounds))
    assert [commit.properties["saw"] for commit in landed] == list(range(8 * rounds))
    for number in range(8):
        turns = [commit.properties["turn"] for commit in landed if commit.author == f"w{number}"]
        assert turns == list(range(rounds))
    assert seen(catalog, "production") == {
        "counter": str(8 * rounds),
        **{f"w{number}": str(rounds - 1) for number in range(8)},
    }
    catalog.close()


def test_many_processes_may_make_one_catalog(tmp_path: Path) -> None:
    path = tmp_path / "new" / "catalog.db"
    script = (
        "import sys; from anabranch.catalog import open_catalog\n"
        "catalog = open_catalog('sqlite:///' + sys.argv[1])\n"
        "catalog.open_branch(sys.argv[2], kind='sandbox'); catalog.close()"
    )
    finish(
        [
            subprocess.Popen(
                [sys.executable, "-c", script, path, f"b{number}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(6)
        ]
    )
    catalog = open_catalog(f"sqlite:///{path}")
    assert sorted(branch.name for branch in catalog.branches()) == [f"b{number}" for number in range(6)]
    assert [branch.id for branch in catalog.branches()] == [1, 2, 3, 4, 5, 6]
    catalog.close()


def test_a_killed_process_leaves_whole_commits_and_loses_none_it_told(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    catalog = open_catalog(f"sqlite:///{path}")
    root = production(catalog)
    catalog.close()
    chance = random.Random(4711)
    told, version = 0, 1
    for _ in range(5):
        worker = start(path, "stamp", str(version), 0)
        for _ in range(chance.randint(1, 40)):
            line = worker.stdout.readline()
            assert line, worker.stderr.read()
            version, told = map(int, line.split())
        time.sleep(chance.random() / 50)
        worker.kill()
        rest = worker.communicate()[0].split("\n")[:-1]  # a last line without its end may have been cut
        for line in rest:
            version, told = map(int, line.split())

        catalog = open_catalog(f"sqlite:///{path}")
        head = catalog.resolve("production")
        assert head.number in (told, told + 1)
        found = versions(catalog.entries(head))
        assert list(found) == sorted(catalog_worker.STAMPED)
        assert set(found.values()) == {str(version + head.number - told)}
        log = catalog.commits(root.id)
        assert [commit.number for commit in log] == list(range(head.number, -1, -1))
        # The same command, run again, finishes the work: nothing is there twice.
        assert catalog.commit(catalog_worker.stamped(root.id, version)).number == told
        assert catalog.commit(catalog_worker.stamped(root.id, version + 1)).number == told + 1
        assert catalog.resolve("production").number == told + 1
        told, version = told + 1, version + 2
        catalog.close()


def test_sandboxes_come_and_go_in_many_processes_while_gc_retires(tmp_path: Path) -> None:
    path, rounds = tmp_path / "catalog.db", 8
    catalog = open_catalog(f"sqlite:///{path}")
    root = production(catalog, a=1)
    finish([start(path, "gather", f"w{number}", rounds) for number in range(4)])
    assert [branch.name for branch in catalog.branches()] == ["production"]
    assert seen(catalog, "production") == {"a": "1", **{f"w{number}": str(rounds - 1) for number in range(4)}}
    head = catalog.branch("production").head
    assert head == 1 + 4 * rounds
    catalog.retire({root.id: head})
    with pytest.raises(RefError):
        catalog.entries(Point(root.id, head - 1))
    assert len(catalog.reachable({root.id: head})) == 5
    assert catalog.statistics()["entries"] == 5
    catalog.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_catalog_may_be_used_on_both_sides_of_a_fork(tmp_path: Path) -> None:
    path, rounds = tmp_path / "catalog.db", 30
    catalog = open_catalog(f"sqlite:///{path}")
    production(catalog)
    assert finish([start(path, "fork", "w", rounds)]) == [str(2 * rounds + 1)]
    assert seen(catalog, "production") == {"w_child": str(rounds - 1), "w_parent": str(rounds - 1)}
    catalog.close()


def test_threads_share_a_catalog(catalog: Catalog) -> None:
    root = production(catalog, counter=0)

    def raise_counter(_: int) -> int:
        conflicts = 0
        for _ in range(10):
            while True:
                found = catalog.get(catalog.resolve("production"), "counter")
                number = int(versions({"counter": found})["counter"])
                try:
                    catalog.commit(
                        CommitRequest(
                            root.id, changes=entries(counter=number + 1), expect={"counter": found.version}
                        )
                    )
                    break
                except ConflictError:
                    conflicts += 1
        return conflicts

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(raise_counter, range(6)))
    assert seen(catalog, "production") == {"counter": "60"}
    assert catalog.branch("production").head == 61


def test_of_many_who_open_one_name_one_succeeds(catalog: Catalog) -> None:
    production(catalog)

    def open_it(_: int) -> bool:
        try:
            sandbox(catalog)
        except BranchExistsError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(open_it, range(12))) == [False] * 11 + [True]


def test_a_reader_never_sees_half_of_a_commit(catalog: Catalog) -> None:
    names = [f"k{number}" for number in range(20)]
    root = production(catalog, **dict.fromkeys(names, 0))
    branch = sandbox(catalog)
    done = threading.Event()

    def write() -> None:
        try:
            for version in range(1, 40):
                number = put(catalog, root, **dict.fromkeys(names, version)).number
                catalog.commit(CommitRequest(branch.id, base=number, kind="sync"))
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set() or not reads:
        for ref in ("production", "fix"):
            assert len(set(seen(catalog, ref).values())) == 1
        catalog.reachable(keep_all(catalog))
        reads += 1
    writer.join()
    assert set(seen(catalog, "fix").values()) == {"39"}
