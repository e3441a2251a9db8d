"""The pipeline's code."""
