"""The versioned map *key → table version*: branches, commits, entries."""
