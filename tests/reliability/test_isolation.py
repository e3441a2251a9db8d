"""What code that runs in a sandbox can do to production: nothing through the library, whatever it says.

A step is a process with its user's permissions. What that means is shown by the tests at the end, whose names begin with
``test_not_prevented``: the library guards its own doors, not the file system.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from story_shop import Shop, build

from anabranch.errors import IsolationError, LakeError, MissingFileError
from anabranch.lake.storage import Scope, Storage
from anabranch.sandbox.gc import files_of

DEFINITIONS = """
import anabranch as ab
import pyarrow as pa

from shop.attempts import go


@ab.asset(key="id")
def orders() -> pa.Table:
    return pa.table({"id": [1, 2, 3], "net": [10.0, 20.0, 30.0]})


@ab.asset
def letter() -> ab.File:
    return ab.File(b"dear", name="letter.txt")


@ab.asset(key="id")
def made(orders: pa.Table) -> pa.Table:
    go()
    return orders


defs = ab.Definitions(assets=[orders, letter, made])
"""

NOTHING = "def go():\n    pass\n"

HEAD = '''
import json
import os
import pathlib

import pyarrow as pa

import anabranch as ab
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import append_table, write_file_asset, write_table

ROOT = pathlib.Path(__file__).parent.parent
ROWS = pa.table({"id": [9], "net": [99.0]})


def attempts():
    """Name → what is tried."""
    project = ab.Project(ROOT)
    production = project.iceberg(at="production")
    sandbox = project.iceberg()
    mine = Storage(ROOT / ".anabranch" / "warehouse", scope=Scope.sandbox("elsewhere"))
    live = project.tables("production")["orders"].location
'''

TAIL = """

def go():
    told = {}
    for name, attempt in attempts().items():
        try:
            attempt()
            told[name] = "done"
        except Exception as error:
            told[name] = type(error).__name__
    (ROOT / ".anabranch" / "told.json").write_text(json.dumps(told))
"""


def attempts(text: str) -> str:
    """The module in which a step tries things: lines ``name: expression``."""
    tried = ""
    for line in text.strip().splitlines():
        name, _, expression = line.strip().partition(": ")
        tried += f"        {name!r}: lambda: {expression},\n"
    return f"{HEAD}    return {{\n{tried}    }}\n{TAIL}"


@pytest.fixture
def shop(repo: Callable) -> Iterator[Shop]:
    repository = repo()
    repository.write({"shop/attempts.py": NOTHING})
    made = build(repository, definitions=DEFINITIONS)
    assert made.run().ok
    made.switch("fix", new=True)
    yield made
    made.project.close()
    for name in [n for n in sys.modules if n.partition(".")[0] == "shop"]:
        del sys.modules[name]


def production(shop: Shop) -> dict[str, Any]:
    """All of production: its pointers, its log, and every byte of the files that they need."""
    context = shop.project.context
    context.refresh()
    point = context.catalog.resolve("production")
    entries = context.catalog.entries(point)
    storage = context.storage()
    files = {file for entry in entries.values() for file in files_of(storage, entry.location)}
    return {
        "entries": entries,
        "log": context.catalog.commits(point.branch_id),
        "files": {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in sorted(files)},
        "there": sorted(
            stored.location for stored in storage.list() if "/_sandboxes/" not in stored.location
        ),
    }


def try_in_a_step(shop: Shop, text: str, *, in_process: bool = False) -> dict[str, str]:
    """What became of each attempt in a step of the sandbox."""
    (shop.folder / "shop" / "attempts.py").write_text(attempts(text))
    shop.project.refresh()
    result = shop.run("made", in_process=in_process, workers=1)
    assert result.ok, [outcome.error for outcome in result.execution.failed]
    return json.loads((shop.folder / ".anabranch" / "told.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("in_process", [True, False], ids=["in this process", "in a worker"])
def test_a_step_of_a_sandbox_writes_nothing_of_production_through_its_pyiceberg_catalog(
    shop: Shop, in_process: bool
) -> None:
    before = production(shop)
    told = try_in_a_step(
        shop,
        """
        append: production.load_table("orders").append(ROWS)
        overwrite: production.load_table("orders").overwrite(ROWS)
        delete rows: production.load_table("orders").delete("id = 1")
        upsert: production.load_table("orders").upsert(ROWS, ["id"])
        drop: production.drop_table("orders")
        purge: production.purge_table("orders")
        rename: production.rename_table("orders", "stolen")
        create: production.create_table("new", ROWS.schema)
        register: production.register_table("new", live)
        properties: production.load_table("orders").transaction().set_properties({"a": "b"}).commit_transaction()
        delete a file: production.load_table("orders").io.delete(live)
        write a file: production.load_table("orders").io.new_output(live).create(overwrite=True)
        """,
        in_process=in_process,
    )
    assert "done" not in told.values(), told
    assert set(told.values()) == {"IsolationError"}, told
    assert production(shop) == before


def test_a_step_that_changes_and_drops_tables_of_its_sandbox_changes_nothing_of_production(
    shop: Shop,
) -> None:
    shop.project.sandbox.open()
    before = production(shop)
    told = try_in_a_step(
        shop,
        """
        append: sandbox.load_table("orders").append(ROWS)
        overwrite: sandbox.load_table("orders").overwrite(ROWS)
        delete rows: sandbox.load_table("orders").delete("id = 9")
        rename: sandbox.rename_table("orders", "renamed")
        drop: sandbox.drop_table("renamed")
        create: sandbox.create_table("new", ROWS.schema).append(ROWS)
        """,
    )
    assert set(told.values()) == {"done"}, told
    assert production(shop) == before
    assert "orders" not in shop.versions("fix")
    assert shop.rows("new", "fix") == [{"id": 9, "net": 99.0}]


def test_no_property_or_location_leads_a_sandboxs_table_out_of_its_folder(shop: Shop) -> None:
    shop.project.sandbox.open()
    before = production(shop)
    told = try_in_a_step(
        shop,
        """
        location: sandbox.create_table("new", ROWS.schema, location=os.path.dirname(os.path.dirname(live)))
        data path: sandbox.create_table("p", ROWS.schema, properties={"write.data.path": os.path.dirname(live)}).append(ROWS)
        metadata path: sandbox.create_table("q", ROWS.schema, properties={"write.metadata.path": os.path.dirname(live)})
        purge: sandbox.purge_table("orders")
        delete a file: sandbox.load_table("orders").io.delete(live)
        replace a file: sandbox.load_table("orders").io.new_output(live).create(overwrite=True)
        add a file: sandbox.load_table("orders").io.new_output(live + ".more").create()
        """,
    )
    assert "done" not in told.values(), told
    assert production(shop) == before


def test_a_sandboxs_storage_writes_only_below_its_own_prefix(shop: Shop) -> None:
    shop.project.sandbox.open()
    before = production(shop)
    told = try_in_a_step(
        shop,
        """
        a file of production: mine.write_bytes(live, b"x")
        beside it: mine.write_bytes(live + ".more", b"x")
        by dots: mine.write_bytes(f"{mine.warehouse}/_sandboxes/elsewhere/../../main/orders/x", b"x")
        another sandbox: mine.write_bytes(f"{mine.warehouse}/_sandboxes/other/main/x", b"x")
        outside: mine.write_bytes(str(ROOT / "x"), b"x")
        no name of a folder: Storage(mine.warehouse, scope=Scope.sandbox(".."))
        remove: mine.remove([live])
        """,
    )
    assert set(told.values()) == {"IsolationError"}, told
    assert production(shop) == before


def test_what_a_step_returns_is_the_sandboxs_own_even_if_it_is_productions_table(shop: Shop) -> None:
    shop.edit(
        "shop/definitions.py",
        "    go()\n    return orders",
        "    return ab.Project(HERE).table('orders', at='production')",
    )
    shop.edit(
        "shop/definitions.py",
        "import pyarrow as pa\n",
        "import pyarrow as pa\nimport pathlib\n\nHERE = pathlib.Path(__file__).parent\n",
    )
    before = production(shop)
    assert shop.run("made").ok
    assert production(shop) == before
    made = shop.project.tables("fix")["made"]
    files = files_of(shop.project.context.storage(), made.location)
    assert all("/_sandboxes/" in file for file in files)


def test_a_run_in_a_sandbox_leaves_another_sandbox_as_it_is(shop: Shop) -> None:
    shop.edit("shop/definitions.py", "30.0", "31.0")
    shop.commit()
    assert shop.run().ok
    before = shop.versions("fix")
    shop.switch("other", new=True)
    shop.edit("shop/definitions.py", "31.0", "32.0")
    assert shop.run(force=True).ok
    assert shop.versions("fix") == before
    assert shop.versions("other")["orders"] != before["orders"]


def test_even_the_scope_of_an_environment_replaces_no_file_and_removes_none(shop: Shop) -> None:
    """Code that gives itself production's scope adds files that nothing points to; gc takes them."""
    before = production(shop)
    warehouse = Storage(shop.folder / ".anabranch" / "warehouse", scope=Scope.environment())
    live = before["entries"]["orders"].location
    with pytest.raises(LakeError, match="there is a file"):
        warehouse.write_bytes(live, b"x")
    with pytest.raises(LakeError, match="there is a file"):
        warehouse.create(live)
    with pytest.raises(IsolationError):
        warehouse.remove([live])
    added = warehouse.write_bytes(f"{live}.more", b"x")
    assert {**production(shop), "there": None} == {**before, "there": None}
    shop.project.gc(grace="0s")
    assert not Path(added).exists()
    assert production(shop) == before


def test_closing_and_collecting_a_sandbox_leaves_every_byte_of_production(shop: Shop) -> None:
    shop.edit("shop/definitions.py", "30.0", "31.0")
    shop.commit()
    assert shop.run().ok
    shop.promote()
    before = production(shop)
    assert any("/_sandboxes/" in file for file in before["files"]), "it was promoted by its pointer"
    shop.edit("shop/definitions.py", "31.0", "32.0")
    assert shop.run().ok
    shop.project.sandbox.close()
    done = shop.project.gc(grace="0s")
    assert done.files
    assert production(shop) == before


# what a process with its user's permissions can do all the same


def test_not_prevented_a_step_that_removes_a_file_by_hand_and_the_reader_is_told_which(shop: Shop) -> None:
    shop.project.sandbox.open()
    entry = shop.project.tables("production")["orders"]
    assert try_in_a_step(shop, "by hand: os.remove(live)") == {"by hand": "done"}
    with pytest.raises(MissingFileError) as caught:
        shop.rows("orders", "production")
    assert caught.value.facts["location"] == entry.location
    with pytest.raises(MissingFileError):
        shop.project.gc(grace="0s")
    assert (shop.folder / ".anabranch" / "warehouse" / "main" / "letter").exists(), "gc removed nothing"


def test_not_prevented_a_step_that_takes_the_scope_of_gc_removes_what_it_names(shop: Shop) -> None:
    shop.project.sandbox.open()
    told = try_in_a_step(shop, "sweep: Storage(mine.warehouse, scope=Scope.sweep()).remove([live])")
    assert told == {"sweep": "done"}
    with pytest.raises(MissingFileError):
        shop.rows("orders", "production")


def test_not_prevented_a_step_that_speaks_the_products_verbs_is_its_user_and_stands_in_the_log(
    shop: Shop,
) -> None:
    """A rollback from a step is a commit like any other: recorded, and taken back by the next."""
    shop.project.sandbox.open()
    before = production(shop)
    told = try_in_a_step(shop, 'rollback: project.rollback("production@0", environment="production")')
    assert told == {"rollback": "done"}
    log = shop.project.log("production").commits
    assert (log[0].kind, log[0].author) == ("rollback", "Ada Lovelace <ada@example.com>")
    assert production(shop)["entries"] == {}
    shop.project.rollback(environment="production")
    assert production(shop)["entries"] == before["entries"]
    assert all(os.path.exists(file) for file in before["files"])
