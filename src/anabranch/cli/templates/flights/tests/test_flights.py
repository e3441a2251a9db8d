"""An asset is still the function that it decorates: call it with plain values, no database needed."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl

from flights.assets import BadDay, bad_days, clean_flights, delays
from flights.clock import minutes_of_day
from flights.sources import DAYS, Archive, flights

HOUR = datetime(2013, 1, 1, 10, tzinfo=UTC)
NEW_YEAR = [DAYS.partition("2013-01-01")]


def a_flight(**other: object) -> dict[str, object]:
    return {
        "year": 2013,
        "month": 1,
        "day": 1,
        "date": date(2013, 1, 1),
        "carrier": "UA",
        "flight": 1545,
        "tailnum": "N14228",
        "origin": "EWR",
        "dest": "IAH",
        "distance": 1400,
        "dep_time": 517,
        "sched_dep_time": 515,
        "sched_arr_time": 819,
        "dep_delay": 2,
        "arr_delay": 11,
        "time_hour": HOUR,
        **other,
    }


def test_a_flight_has_an_id_a_date_and_times_in_minutes():
    (row,) = clean_flights(pl.LazyFrame([a_flight()]), NEW_YEAR).collect().to_dicts()
    assert row["flight_id"] == "2013-01-01 UA1545 EWR"
    assert row["date"] == date(2013, 1, 1)
    assert row["scheduled_departure"] == 5 * 60 + 15
    assert not row["cancelled"]


def test_a_flight_without_a_departure_was_cancelled_and_has_no_delay():
    planned = pl.LazyFrame([a_flight(dep_time=None, dep_delay=None), a_flight(flight=2)])
    cleaned = clean_flights(planned, NEW_YEAR)
    weather = pl.LazyFrame(
        [{"origin": "EWR", "time_hour": HOUR, "wind_speed": 11.5, "precip": 0.0, "visib": 10.0}]
    )
    (row,) = delays(cleaned, weather, NEW_YEAR).collect().to_dicts()
    assert row["flight_id"] == "2013-01-01 UA2 EWR"
    assert row["wind_speed"] == 11.5
    assert row["late"] is False


def test_a_day_is_bad_when_enough_flights_are_cancelled():
    days = pl.DataFrame(
        {
            "date": [date(2013, 2, 7), date(2013, 2, 8)],
            "flights": [900, 930],
            "cancelled_percent": [2.0, 50.8],
            "departure_delay": [9.0, 12.0],
        }
    )
    assert bad_days(days, BadDay())["date"].to_list() == [date(2013, 2, 8)]


def test_midnight_is_the_first_minute_of_a_day():
    times = pl.DataFrame({"hhmm": [517, 2400, 2359]}).select(minutes_of_day(pl.col("hhmm")))
    assert times["hhmm"].to_list() == [317, 0, 1439]


def test_a_source_returns_the_days_that_it_is_asked_for(tmp_path):
    (tmp_path / "flights.csv").write_text("year,month,day,flight\n2013,1,1,1545\n2013,1,2,1714\n")
    rows = flights(Archive(root=str(tmp_path)), NEW_YEAR).collect()
    assert rows.select("date", "flight").rows() == [(date(2013, 1, 1), 1545)]
