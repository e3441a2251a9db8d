"""Our partitions are Dagster's: the same windows under both names, and each mapping reads the same on both sides."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

import anabranch as ab
from anabranch.adapters.dagster.outbound_keys import (
    asset_key,
    our_key,
    partition_mapping,
    partition_words,
    partitions_definition,
    plain_name,
)
from anabranch.errors import SelectionError
from anabranch.pipeline.partition import PartitionMapping
from anabranch.planning.partition_words import PartitionSelection

NOW = datetime(2024, 6, 15, 12, 30, tzinfo=UTC)

PARTITIONS = {
    "daily": ab.daily("2024-01-01"),
    "daily that ends": ab.daily("2024-01-01", "2024-02-10"),
    "daily in New York": ab.daily("2024-03-08", "2024-03-12", timezone="America/New_York"),
    "hourly": ab.hourly("2024-06-14T00:00"),
    "hourly over a change of clocks": ab.hourly(
        "2024-03-30T22:00", "2024-03-31T06:00", timezone="Europe/Berlin"
    ),
    "hourly back over a change of clocks": ab.hourly(
        "2023-10-28T23:00", "2023-10-29T06:00", timezone="Europe/Berlin"
    ),
    "weekly from a Monday": ab.weekly("2024-01-01"),
    "weekly from a Sunday that ends": ab.weekly("2024-01-07", "2024-02-04"),
    "monthly": ab.monthly("2023-11"),
    "monthly that ends": ab.monthly("2023-11", "2024-02"),
    "keys": ab.keys(["b", "a", "c"]),
    "days and keys": ab.daily("2024-01-01", "2024-01-03") * ab.keys(["UA", "AA"], column="carrier"),
    "keys and days": ab.keys(["UA", "AA"]) * ab.daily("2024-01-01", "2024-01-03"),
    "two of keys": ab.keys(["x", "y"]) * ab.keys(["1", "2"]),
}


@pytest.mark.parametrize("name", PARTITIONS)
def test_both_sides_have_the_same_partitions(name):
    partitions = PARTITIONS[name]
    definition = partitions_definition(partitions)
    keys = definition.get_partition_keys(current_time=NOW)
    ours = [our_key(partitions, definition, key) for key in keys]
    assert sorted(ours) == sorted(partitions.keys(NOW))
    if len(partitions.dimensions) == 1:
        assert ours == list(partitions.keys(NOW))


@pytest.mark.parametrize("name", PARTITIONS)
def test_the_words_for_some_partitions_mean_exactly_these(name):
    partitions = PARTITIONS[name]
    order = partitions.keys(NOW)
    for chosen in (list(order[:1]), list(order[1:4]), list(order), list(order[0:5:2])):
        words = PartitionSelection.parse(partition_words(partitions, chosen, NOW))
        assert words.of(partitions, order, missing=list, failed=()) == set(chosen)


def test_many_days_are_one_range():
    assert partition_words(PARTITIONS["daily"], ["2024-01-01", "2024-01-02", "2024-01-03"], NOW) == (
        "2024-01-01..2024-01-03"
    )
    assert partition_words(PARTITIONS["keys"], ["b", "a", "c"], NOW) == "b,a,c"


def test_a_key_that_no_word_can_name_is_refused():
    with pytest.raises(SelectionError, match="'latest' can't be named"):
        partition_words(ab.keys(["latest"]), ["latest"], NOW)


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        (None, None),
        (PartitionMapping("window"), None),
        (PartitionMapping("all"), dg.AllPartitionMapping()),
        (PartitionMapping("same"), dg.IdentityPartitionMapping()),
        (ab.last(7), dg.TimeWindowPartitionMapping(start_offset=-6, end_offset=0)),
        (ab.offset(-1), dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)),
    ],
)
def test_a_mapping_reads_the_same(mapping, expected):
    assert partition_mapping(mapping) == expected


def test_names_are_such_as_dagster_takes_them():
    assert asset_key("mart.paid", ["shop"]) == dg.AssetKey(["shop", "mart", "paid"])
    assert [plain_name(text) for text in ("hacker-news", "is it 5 %?", "…")] == [
        "hacker_news",
        "is_it_5",
        "anabranch",
    ]
