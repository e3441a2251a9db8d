"""One table for several partitions: each row goes to its own, wherever it stands, and a row of none is told."""

from __future__ import annotations

import datetime as dt
import random

import pyarrow as pa
import pytest

import anabranch as ab
from anabranch.errors import SignatureError, UnstorableError
from anabranch.running.parts import Part, split

DAYS = [dt.date(2013, 1, day) for day in range(1, 11)]
CUTS = {
    "days": (ab.daily("2013-01-01", column="day"), [str(day) for day in DAYS]),
    "weeks": (ab.weekly("2013-01-01", column="day"), ["2013-01-01", "2013-01-08"]),
    "keys": (ab.keys(["a", "b", "c"], column="name"), ["a", "b", "c"]),
    "moments": (ab.daily("2013-01-01", column="at"), [str(day) for day in DAYS]),
    "both": (
        ab.daily("2013-01-01", column="day") * ab.keys(["a", "b", "c"], column="name"),
        [f"{day}|{name}" for day in DAYS for name in "abc"],
    ),
}


def table(*, shuffled: bool) -> pa.Table:
    rows = [(day, name, number) for day in DAYS for name in "abc" for number in range(3)]
    if shuffled:
        random.Random(7).shuffle(rows)
    at = [dt.datetime(day.year, day.month, day.day, number, tzinfo=dt.UTC) for day, _, number in rows]
    return pa.table(
        {
            "day": pa.array([row[0] for row in rows], pa.date32()),
            "name": [row[1] for row in rows],
            "at": pa.array(at, pa.timestamp("us", "UTC")),
            "place": list(range(len(rows))),
        }
    )


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("cut", CUTS)
def test_each_row_goes_to_its_partition_in_the_order_it_came_in(cut, shuffled):
    partitions, keys = CUTS[cut]
    given = table(shuffled=shuffled)
    pieces = {part.key: piece for part, piece in split(given, partitions, [Part(k, "") for k in keys], "x")}
    assert list(pieces) == keys
    assert sorted(place for piece in pieces.values() for place in piece["place"].to_pylist()) == list(
        range(90)
    )
    for key, piece in pieces.items():
        window = partitions.partition(key)
        places = piece["place"].to_pylist()
        assert places == sorted(places)
        for row in piece.to_pylist():
            assert window.start is None or window.start.date() <= row["day"] < window.end.date()
            assert window.start is not None or row["name"] == key


@pytest.mark.parametrize("cut", CUTS)
def test_a_row_of_no_partition_that_was_asked_for_is_told(cut):
    partitions, keys = CUTS[cut]
    with pytest.raises(UnstorableError, match="belong to none of the partitions"):
        list(split(table(shuffled=True), partitions, [Part(k, "") for k in keys[1:]], "x"))


def test_a_row_without_a_day_belongs_to_none():
    given = pa.table({"day": pa.array([DAYS[0], None], pa.date32())})
    with pytest.raises(UnstorableError, match="1 row that belong"):
        list(split(given, CUTS["days"][0], [Part("2013-01-01", "")], "x"))


def test_without_a_column_nothing_says_which_row_belongs_where():
    with pytest.raises(SignatureError, match="nothing says which row"):
        list(split(table(shuffled=False), ab.daily("2013-01-01"), [Part("2013-01-01", "")], "x"))
