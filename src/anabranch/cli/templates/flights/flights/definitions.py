"""The project: its assets, its checks and its resources. anabranch.toml names `defs`."""

from __future__ import annotations

import anabranch as ab
from flights.assets import (
    bad_days,
    carrier_stats,
    clean_flights,
    daily,
    delays,
    odometers,
    plane_ages,
    route_stats,
    summary,
    weather_effect,
)
from flights.checks import CHECKS
from flights.sources import Archive, airlines, airports, flights, planes, weather

defs = ab.Definitions(
    assets=[
        # as delivered
        flights,
        weather,
        planes,
        airports,
        airlines,
        # made of it
        clean_flights,
        delays,
        carrier_stats,
        route_stats,
        daily,
        weather_effect,
        plane_ages,
        odometers,
        bad_days,
        summary,
    ],
    checks=CHECKS,
    # Every environment reads the same archive. Where they differ, write a set for each:
    #   {"production": {"archive": Archive(root=ab.EnvVar("ARCHIVE_ROOT"))}, "sandbox": {"archive": Archive()}}
    resources={"archive": Archive()},
)
