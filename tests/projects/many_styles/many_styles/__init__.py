"""Weather readings, written in many of Dagster's styles."""
