"""Carries a plan out: values in and out of tables, worker processes, and the order of it all."""
