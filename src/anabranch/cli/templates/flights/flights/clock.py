"""Times of day and what counts as late. Plain helpers: when one changes, the assets that call it run again, no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

LATE_AFTER = 15  # minutes, as the US Department of Transportation counts


def minutes_of_day(hhmm: pl.Expr) -> pl.Expr:
    """517 is 05:17, minute 317 of the day; 2400 is midnight, minute 0."""
    return (hhmm // 100 * 60 + hhmm % 100) % 1440


def is_late(delay: pl.Expr) -> pl.Expr:
    """Whether a delay in minutes counts."""
    return delay >= LATE_AFTER
