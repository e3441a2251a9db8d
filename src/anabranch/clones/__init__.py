"""A sandbox's own copies of databases that live outside the catalog: Snowflake, Postgres, DuckDB, SQLite, lakeFS."""
