"""A sandbox for every git branch of a data pipeline."""

__version__ = "0.1.0"
