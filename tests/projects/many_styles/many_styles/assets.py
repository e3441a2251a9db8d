"""Assets of many kinds."""

import pandas as pd
import polars as pl
from dagster import (
    AllPartitionMapping,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetIn,
    AssetKey,
    AssetOut,
    AssetSpec,
    Config,
    DailyPartitionsDefinition,
    MaterializeResult,
    MultiPartitionsDefinition,
    Output,
    StaticPartitionsDefinition,
    asset,
    asset_check,
    graph_asset,
    multi_asset,
    op,
)

days = DailyPartitionsDefinition(start_date="2024-01-01", end_date="2024-01-04")
cities = StaticPartitionsDefinition(["Bonn", "Ulm"])
cities_by_day = MultiPartitionsDefinition({"day": days, "city": cities})


class ReadingsConfig(Config):
    per_day: int
    note: str = "as measured"


@asset(
    partitions_def=cities_by_day,
    io_manager_key="raw_store",
    required_resource_keys={"weather_api"},
    key_prefix=["raw"],
)
def readings(context: AssetExecutionContext, config: ReadingsConfig) -> pd.DataFrame:
    """What was measured, by city and day."""
    keys = context.partition_key.keys_by_dimension
    return pd.DataFrame(context.resources.weather_api.day(keys["city"], keys["day"], config.per_day))


@asset(partitions_def=days, ins={"readings": AssetIn(AssetKey(["raw", "readings"]))})
def by_day(context: AssetExecutionContext, readings: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """All cities of one day."""
    context.log.info(f"{len(readings)} cities on {context.partition_key}")
    return pd.concat(readings.values(), ignore_index=True)


@op
def fahrenheit(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(fahrenheit=frame["celsius"] * 9 / 5 + 32)


@op(required_resource_keys={"unit_names"})
def with_unit(context, frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(unit=context.resources.unit_names["fahrenheit"])


@graph_asset(ins={"by_day": AssetIn(partition_mapping=AllPartitionMapping())})
def converted(by_day):
    """All days, in the other unit."""
    return with_unit(fahrenheit(by_day))


@multi_asset(
    outs={"warm": AssetOut(), "cold": AssetOut(), "threshold": AssetOut()},
    check_specs=[AssetCheckSpec("some_rows", asset="warm", blocking=True)],
)
def split(converted: pd.DataFrame):
    """Warm and cold readings, and where they part."""
    middle = float(converted["celsius"].median())
    warm = converted[converted["celsius"] > middle]
    yield Output(warm, output_name="warm", metadata={"middle": middle})
    yield Output(pl.from_pandas(converted[converted["celsius"] <= middle]), output_name="cold")
    yield Output({"celsius": middle}, output_name="threshold")
    yield AssetCheckResult(check_name="some_rows", asset_key="warm", passed=len(warm) > 0)


@asset(ins={"cold": AssetIn()})
def coldest(cold: pl.DataFrame, threshold) -> pl.DataFrame:
    """The coldest reading of each city."""
    assert cold["celsius"].max() <= threshold["celsius"]
    return cold.group_by("city").agg(pl.col("celsius").min()).sort("city")


@multi_asset(specs=[AssetSpec("announced", deps=["coldest"])])
def announce(context: AssetExecutionContext):
    """Says that it is done."""
    yield MaterializeResult(metadata={"to": "everybody"})


@asset_check(asset=coldest, description="one row for each city")
def one_row_each(coldest: pl.DataFrame) -> AssetCheckResult:
    return AssetCheckResult(passed=coldest["city"].is_unique().all(), metadata={"rows": len(coldest)})


@asset_check(asset="warm")
def not_too_warm(warm: pd.DataFrame) -> AssetCheckResult:
    return AssetCheckResult(
        passed=bool((warm["celsius"] < 6).all()),
        severity=AssetCheckSeverity.WARN,
        description="some readings are 6 °C or more",
    )
