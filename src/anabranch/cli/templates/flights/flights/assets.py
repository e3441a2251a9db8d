"""What is made of the sources.

A parameter that has another asset's name receives that asset's table, as what it is annotated with: a polars frame
here, and just as well pandas.DataFrame, pyarrow.Table or duckdb.DuckDBPyRelation. A query reads tables by their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anabranch as ab
from flights.clock import is_late, minutes_of_day
from flights.sources import DAYS, harmless

if TYPE_CHECKING:
    import polars as pl


# An input that is cut by day, too, is served with the days that are asked for, and no others.
@ab.asset(
    partitions=DAYS,
    key="flight_id",
    columns={
        "tailnum": ab.pii,
        **harmless("flight_id", "date", "carrier", "origin", "dest", "distance", "time_hour", "cancelled"),
        **harmless("scheduled_departure", "scheduled_arrival", "departure_delay", "arrival_delay"),
    },
)
def clean_flights(flights: pl.LazyFrame, partitions: list[ab.Partition]) -> pl.LazyFrame:  # noqa: ARG001 - for many days
    """Flights with an id, scheduled times as minutes of the day, and told whether they took off at all."""
    import polars as pl

    return flights.select(
        flight_id=pl.format("{} {}{} {}", pl.col("date").dt.to_string(), "carrier", "flight", "origin"),
        date="date",
        carrier="carrier",
        tailnum="tailnum",
        origin="origin",
        dest="dest",
        distance="distance",
        scheduled_departure=minutes_of_day(pl.col("sched_dep_time")),
        scheduled_arrival=minutes_of_day(pl.col("sched_arr_time")),
        departure_delay="dep_delay",
        arrival_delay="arr_delay",
        cancelled=pl.col("dep_time").is_null(),
        time_hour="time_hour",
    )


@ab.asset(
    partitions=DAYS,
    key="flight_id",
    columns={
        "tailnum": ab.pii,
        **harmless("flight_id", "date", "carrier", "origin", "dest", "time_hour", "late"),
        **harmless("departure_delay", "arrival_delay", "wind_speed", "precip", "visib"),
    },
)
def delays(
    clean_flights: pl.LazyFrame,
    weather: pl.LazyFrame,
    partitions: list[ab.Partition],  # noqa: ARG001 - for many days
) -> pl.LazyFrame:
    """The flights that took off, how late they were, and the weather they took off in, where it is known."""
    import polars as pl

    # Joined by the hour in UTC: the local hour happens twice in the night when the clocks go back.
    then = weather.select("origin", "time_hour", "wind_speed", "precip", "visib")
    return (
        clean_flights.filter(~pl.col("cancelled"))
        .join(then, on=["origin", "time_hour"], how="left")
        .select(
            "flight_id",
            "date",
            "carrier",
            "tailnum",
            "origin",
            "dest",
            "time_hour",
            "departure_delay",
            "arrival_delay",
            "wind_speed",
            "precip",
            "visib",
            late=is_late(pl.col("departure_delay")),
        )
    )


carrier_stats = ab.sql(
    "carrier_stats",
    """
    select
        carrier,
        name,
        count(*) as flights,
        round(avg(departure_delay), 2) as departure_delay,
        round(100.0 * count(*) filter (late) / count(*), 2) as late_percent
    from delays
    left join airlines using (carrier)
    group by all
    """,
    key="carrier",
    columns=harmless("carrier", "name", "flights", "departure_delay", "late_percent"),
    description="How punctual each carrier is.",
)

route_stats = ab.sql(
    "route_stats",
    """
    select
        origin,
        dest,
        airports.name as destination,
        count(*) as flights,
        round(avg(departure_delay), 2) as departure_delay,
        round(100.0 * count(*) filter (late) / count(*), 2) as late_percent
    from delays
    -- four destinations in Puerto Rico and on the Virgin Islands are in no list of airports
    left join airports on airports.faa = dest
    group by all
    """,
    key=["origin", "dest"],
    columns=harmless("origin", "dest", "destination", "flights", "departure_delay", "late_percent"),
    description="How punctual each route is.",
)

# A longer query is best kept in a file of its own.
daily = ab.sql(
    "daily",
    file="sql/daily.sql",
    key="date",
    tags=["daily"],
    columns=harmless("date", "flights", "cancelled", "cancelled_percent", "departure_delay", "late_percent"),
)

weather_effect = ab.sql(
    "weather_effect",
    """
    select
        case
            when visib is null then 'unknown'
            when visib < 1 then 'fog'
            when precip > 0 then 'rain or snow'
            when wind_speed >= 25 then 'wind'
            else 'fair'
        end as conditions,
        count(*) as flights,
        round(avg(departure_delay), 2) as departure_delay,
        round(100.0 * count(*) filter (late) / count(*), 2) as late_percent
    from delays
    group by conditions
    """,
    key="conditions",
    columns=harmless("conditions", "flights", "departure_delay", "late_percent"),
    description="What the weather does to punctuality.",
)

plane_ages = ab.sql(
    "plane_ages",
    """
    select
        2013 - planes.year as age,
        count(*) as flights,
        count(distinct tailnum) as planes,
        count(*) filter (cancelled) as cancelled
    from clean_flights
    join planes using (tailnum)
    where planes.year is not null
    group by age
    """,
    key="age",
    columns=harmless("age", "flights", "planes", "cancelled"),
    description="How old the planes are that fly; flights of planes that the register lacks are not in it.",
)


@ab.asset(incremental="upsert", key="tailnum", columns={"tailnum": ab.pii, **harmless("flights", "miles")})
def odometers(clean_flights: ab.Changes, previous: pl.DataFrame | None) -> ab.Upsert:
    """How far each plane has flown: a new day is added to the totals that are there, and nothing else is read."""
    import polars as pl

    def flown(rows: ab.Table, sign: int) -> pl.DataFrame:
        took_off = rows.to_polars().filter(~pl.col("cancelled"), pl.col("tailnum").is_not_null())
        return took_off.select("tailnum", flights=pl.lit(sign, pl.Int64), miles=sign * pl.col("distance"))

    # What came counts, what went is taken off; the first time, all has come and there is nothing before it.
    parts = [flown(clean_flights.added, 1), flown(clean_flights.removed, -1)]
    if previous is not None:
        parts.append(previous)
    totals = pl.concat(parts).group_by("tailnum").sum()
    still = pl.col("flights") > 0
    return ab.Upsert(rows=totals.filter(still), delete=totals.filter(~still).select("tailnum"))


class BadDay(ab.Config):
    """What makes a day a bad one. A config is part of the fingerprint: another value, and `bad_days` runs again."""

    cancelled_percent: float = 10.0
    departure_delay: float = 40.0


@ab.asset(
    key="date",
    tags=["daily"],
    columns=harmless("date", "flights", "cancelled_percent", "departure_delay"),
)
def bad_days(daily: pl.DataFrame, config: BadDay) -> pl.DataFrame:
    """The days on which one would rather have stayed at home."""
    import polars as pl

    cancelled = pl.col("cancelled_percent") >= config.cancelled_percent
    delayed = pl.col("departure_delay") >= config.departure_delay
    return daily.filter(cancelled | delayed).select("date", "flights", "cancelled_percent", "departure_delay")


@ab.asset
def summary(carrier_stats: pl.DataFrame, bad_days: pl.DataFrame) -> ab.File:
    """A page for people."""
    # An asset may be a file too: it is versioned, branched and promoted like a table.
    ranked = carrier_stats.sort("late_percent", "carrier")
    lines = [
        f"| {name} | {flights} | {late} % |"
        for name, flights, late in ranked.select("name", "flights", "late_percent").rows()
    ]
    text = "\n".join(
        [
            "# Flights from New York City, 2013",
            "",
            f"There were {len(bad_days)} bad days.",
            "",
            "| carrier | flights | late |",
            "| --- | ---: | ---: |",
            *lines,
            "",
        ]
    )
    return ab.File(text.encode(), name="summary.md")
