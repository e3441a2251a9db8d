"""Masked environments: rules for columns, what they do to values, and copies that are brought up to date with their parent."""
