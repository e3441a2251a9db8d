"""What must hold for the data, and which of its flaws are known.

A check that fails stops what is downstream of its asset, keeps a run from being published and a branch from being
promoted; with `blocking=False` it only warns. `at_most` tolerates a known flaw, and no more of it than there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anabranch as ab
from flights.assets import clean_flights, daily, delays, odometers, plane_ages, route_stats
from flights.sources import airlines, airports, flights, planes, weather

if TYPE_CHECKING:
    import duckdb
    import polars as pl


@ab.check(weather, blocking=False)
def wind_is_plausible(weather: pl.LazyFrame) -> pl.LazyFrame:
    """No hour has a wind of more than 150 miles per hour."""
    import polars as pl

    # The rows that a check returns are those that offend: one hour at EWR is delivered with 1,048 miles per hour.
    return weather.filter(pl.col("wind_speed") > 150)


@ab.check(delays)
def no_flight_is_doubled_by_the_weather(delays: pl.LazyFrame, clean_flights: pl.LazyFrame) -> ab.CheckResult:
    """There is one delay for each flight that took off."""
    import polars as pl

    # A join by the local hour would double the flights of three hours. A check may read several assets.
    flown = clean_flights.filter(~pl.col("cancelled")).select(pl.len()).collect().item()
    found = delays.select(pl.len()).collect().item()
    return ab.CheckResult(
        found == flown, f"{found:,} delays of {flown:,} flights", failing=abs(found - flown)
    )


@ab.check(daily)
def every_flight_falls_on_a_day(daily: duckdb.DuckDBPyRelation, clean_flights: ab.Table) -> bool:
    """The days add up to all flights."""
    # `ab.Table` is a handle: it knows the number of rows without reading one.
    [(total,)] = daily.aggregate("sum(flights)").fetchall()
    return bool(total == clean_flights.rows)


@ab.check(odometers)
def odometers_count_every_mile(odometers: pl.DataFrame, clean_flights: pl.LazyFrame) -> bool:
    """The running totals are what counting all flights again would give."""
    import polars as pl

    counted = ~pl.col("cancelled") & pl.col("tailnum").is_not_null()
    flown = clean_flights.filter(counted).select(pl.col("distance").sum()).collect().item()
    return bool(odometers["miles"].sum() == flown)


CHECKS = [
    # Keys. Without columns, `unique` checks the asset's own key.
    ab.unique(flights),
    ab.unique(weather),
    ab.unique(planes),
    ab.unique(airports),
    ab.unique(airlines),
    ab.unique(clean_flights),
    ab.unique(delays),
    ab.unique(route_stats),
    # On 3 November the clocks go back, and the local hour 1 comes twice at each of the three airports.
    ab.unique(weather, "origin", "year", "month", "day", "hour", at_most=3, name="unique_local_hour"),
    # 2 % of all flights were cancelled: 8,255 have no departure.
    ab.not_null(flights, "dep_time", at_most="3%"),
    ab.not_null(clean_flights, "flight_id", "date", "carrier", "origin", "dest"),
    ab.not_null(delays, "departure_delay", "late"),
    # 52,606 flights have no row in the register of planes: 2,512 lack a tail number, for 50,094 it is not registered.
    ab.references(flights, "tailnum", planes, at_most="15%"),
    # 7,602 flights go to BQN, PSE, SJU and STT, which are in no list of airports.
    ab.references(flights, "dest", airports, "faa", at_most="2.5%"),
    ab.references(flights, "carrier", airlines),
    # For some hours no weather was recorded.
    ab.references(delays, ["origin", "time_hour"], weather, at_most="0.5%"),
    ab.accepted_values(flights, "origin", ["EWR", "JFK", "LGA"]),
    ab.row_count(flights, minimum=300_000),
    ab.row_count(daily, minimum=360, maximum=365),
    ab.row_count(plane_ages, minimum=20),
    wind_is_plausible,
    no_flight_is_doubled_by_the_weather,
    every_flight_falls_on_a_day,
    odometers_count_every_mile,
]
