"""The pipeline: what it keeps, and how each table is made."""

import pyarrow as pa

import anabranch as ab


@ab.asset(key=["city", "day"])
def temperatures() -> pa.Table:
    """A few readings to begin with; fetch your own here."""
    return pa.table(
        {
            "city": ["Delft", "Delft", "Lyon", "Lyon"],
            "day": ["2026-07-01", "2026-07-02", "2026-07-01", "2026-07-02"],
            "celsius": [21.5, 19.0, 30.5, 31.0],
        }
    )


averages = ab.sql(
    "averages",
    "select city, avg(celsius) as celsius, count(*) as days from temperatures group by city",
    key=["city"],
)

defs = ab.Definitions(
    assets=[temperatures, averages],
    checks=[ab.not_null(temperatures, "celsius")],
)
