"""The short-lived environment of one git branch: how it is opened, moved to a newer base, closed and collected."""
