"""Masked copies of assets that are cut into partitions: cut as their parent is, and what reads them reads what is masked."""

from __future__ import annotations

import dataclasses

import pytest
from masked_world import search
from story_shop import ran

from anabranch.errors import IsolationError, MaskError
from anabranch.running.executor import Executor

DEFINITIONS = """
import json
import pathlib

import anabranch as ab
import pyarrow as pa

HERE = pathlib.Path(__file__).parent.parent
CITIES = ab.keys(["Ulm", "Bonn"], column="city")


@ab.asset(key="id", partitions=CITIES, columns={"id": ab.pii, "email": ab.pii, "city": ab.keep})
def people(partition: ab.Partition) -> pa.Table:
    rows = [row for row in json.loads((HERE / "people.json").read_text()) if row["city"] == partition.key]
    schema = pa.schema([("id", pa.int64()), ("email", pa.string()), ("city", pa.string())])
    return pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema)


@ab.asset(key="id", partitions=CITIES, columns={"id": ab.pii, "email": ab.pii, "city": ab.keep, "length": ab.keep})
def mailed(people: pa.Table) -> pa.Table:
    import pyarrow.compute as pc
    return people.append_column("length", pc.utf8_length(people["email"]))


cities = ab.sql("cities", "select city, count(*) as people from mailed group by city",
                columns={"city": ab.keep, "people": ab.keep}, key="city")

defs = ab.Definitions(assets=[people, mailed, cities])
"""


@pytest.fixture
def people(make_people):
    made = make_people(definitions=DEFINITIONS)
    assert made.run().ok
    made.sync()
    made.switch("feature", new=True)
    return made


def test_partitions_that_nobody_changed_stand_as_masked_copies(people):
    assert set(people.actions().values()) == {"reuse"}
    assert ran(people.run()) == []


def test_a_changed_partitioned_asset_is_computed_from_masked_partitions(people):
    people.edit(
        "people/definitions.py", 'pc.utf8_length(people["email"])', 'pc.binary_length(people["email"])'
    )
    assert "mailed" in ran(people.run())
    rows = people.rows("mailed")
    assert {row["length"] for row in rows} == {32}
    assert sorted(row["city"] for row in rows) == ["Bonn", "Bonn", "Ulm", "Ulm"]
    context = people.project.context
    worlds = [context.catalog.branch("staging"), context.catalog.branch("feature")]
    assert search(context, worlds, people.people) == []


def test_a_partitioned_source_is_refused_as_any_other(people):
    people.edit(
        "people/definitions.py",
        'row["city"] == partition.key]',
        'row["city"] == partition.key and row["id"]]',
    )
    with pytest.raises(MaskError, match="people is a source"):
        people.run()


def test_only_the_partitions_that_changed_are_masked_again(people):
    people.switch("main")
    before = people.project.table("people", at="staging")
    assert sorted(before.partition_map) == ["Bonn", "Ulm"]
    people.hire(6)  # in Ulm
    people.run(refresh=["people"], force=True)
    result = people.sync()
    assert {step.key: (step.action, step.reason) for step in result.steps}["people"] == (
        "partitions",
        "1 of its partitions changed",
    )
    assert result.rows == 3 + 3 + 2  # Ulm in two tables, and the two rows of cities
    people.project.refresh()
    after = people.project.table("people", at="staging")
    assert {f.path for f in before.files()} & {f.path for f in after.files()}
    assert len(after.to_arrow()) == 5
    context = people.project.context
    assert search(context, [context.catalog.branch("staging")], people.people) == []
    assert people.sync().state == "nothing"


def test_a_partition_that_is_gone_goes_from_the_copy(people):
    people.switch("main")
    people.edit("people/definitions.py", 'ab.keys(["Ulm", "Bonn"]', 'ab.keys(["Ulm"]')
    people.commit()
    people.run()
    people.sync()
    assert {row["city"] for row in people.rows("people", "staging")} == {
        row["city"] for row in people.rows("people", "production")
    }


def test_a_copy_whose_partition_column_is_masked_is_one_piece_and_tells_no_key(people):
    people.switch("main")
    people.edit(
        "anabranch.toml",
        'salary = "bucket:1000"',
        '"people.city" = "hash"\n"mailed.city" = "hash"\n"cities.city" = "hash"',
    )
    people.commit()
    people.sync()
    table = people.project.table("people", at="staging")
    assert table.partition_map is None
    assert "Ulm" not in repr(people.project.tables("staging")["people"])
    assert len({row["city"] for row in people.rows("people", "staging")}) == 2


DAYS = """
import datetime as dt
import json
import pathlib

import anabranch as ab
import pyarrow as pa

HERE = pathlib.Path(__file__).parent.parent


def rows(partition):
    people = json.loads((HERE / "people.json").read_text())
    return [{"at": partition.start, "email": row["email"]} for row in people]


SCHEMA = pa.schema([("at", pa.timestamp("us", "UTC")), ("email", pa.string())])
COLUMNS = {"at": ab.keep, "email": ab.pii}


@ab.asset(partitions=ab.UNIT("2013-01-01", "END", column="at"), columns=COLUMNS)
def people(partition: ab.Partition) -> pa.Table:
    return pa.Table.from_pylist(rows(partition), SCHEMA)


defs = ab.Definitions(assets=[people])
"""


@pytest.mark.parametrize(
    ("unit", "end"),
    [
        ("hourly", "2013-01-01T05"),
        ("daily", "2013-01-04"),
        ("weekly", "2013-01-22"),
        ("monthly", "2013-04-01"),
    ],
)
def test_windows_of_time_are_copied_as_they_are_cut(make_people, unit, end):
    people = make_people(definitions=DAYS.replace("UNIT", unit).replace("END", end))
    assert people.run().ok
    people.sync()
    real, copy = (people.project.table("people", at=ref) for ref in ("production", "staging"))
    assert copy.layout == real.layout
    assert list(copy.partition_map) == list(real.partition_map)
    assert [copy.partition_map.get(k).values for k in copy.partition_map] == [
        real.partition_map.get(k).values for k in real.partition_map
    ]
    assert copy.rows == real.rows > 0
    people.switch("feature", new=True)
    assert ran(people.run()) == []


INCREMENTAL = """
import json
import pathlib

import anabranch as ab
import pyarrow as pa

HERE = pathlib.Path(__file__).parent.parent
SCHEMA = pa.schema([("id", pa.int64()), ("email", pa.string()), ("city", pa.string())])


@ab.asset(key="id", refresh="always", columns={"id": ab.pii, "email": ab.pii, "city": ab.keep})
def people() -> pa.Table:
    rows = json.loads((HERE / "people.json").read_text())
    return pa.Table.from_pylist([{name: row[name] for name in SCHEMA.names} for row in rows], SCHEMA)


@ab.asset(key="id", incremental="append", columns={"id": ab.pii, "email": ab.pii, "city": ab.keep})
def seen(people: ab.Changes) -> pa.Table:
    return people.added.to_arrow()


defs = ab.Definitions(assets=[people, seen])
"""


def test_an_incremental_asset_goes_on_from_nothing_that_is_not_masked(make_people):
    people = make_people(definitions=INCREMENTAL)
    assert people.run().ok
    people.hire(5)
    assert people.run().ok
    people.sync()
    people.switch("feature", new=True)
    assert ran(people.run()) == []
    people.edit(
        "people/definitions.py",
        "return people.added.to_arrow()",
        "return people.added.to_arrow().slice(0, 3)",
    )
    assert ran(people.run()) == ["seen"]
    rows = people.rows("seen")
    assert {len(row["email"]) for row in rows} == {32}
    context = people.project.context
    worlds = [context.catalog.branch("staging"), context.catalog.branch("feature")]
    assert search(context, worlds, people.people) == []


def test_a_step_that_was_given_a_pointer_out_of_its_world_reads_nothing(make_people, monkeypatch):
    """Were a plan ever wrong, the step would be refused before it opened a file."""
    people = make_people()
    people.run()
    people.sync()
    real = people.project.tables("production")["people"]
    people.switch("feature", new=True)
    people.edit("people/definitions.py", "select city, count(*)", "select upper(city) as city, count(*)")
    honest = Executor._sources

    def wrong(self, keys, **options):
        found = honest(self, keys, **options)
        return {key: dataclasses.replace(each, location=real.location) for key, each in found.items()}

    monkeypatch.setattr(Executor, "_sources", wrong)
    with pytest.raises(IsolationError, match="from outside of the masked environment staging"):
        people.run()
