-- One row a day: how many flights were planned, how many were cancelled, and how late the others were.
-- Comments and layout are no code: edit them, and nothing runs.
with planned as (
    select date, count(*) as flights, count(*) filter (cancelled) as cancelled
    from clean_flights
    group by date
),

flown as (
    select
        date,
        round(avg(departure_delay), 2) as departure_delay,
        round(100.0 * count(*) filter (late) / count(*), 2) as late_percent
    from delays
    group by date
)

select
    date,
    flights,
    cancelled,
    round(100.0 * cancelled / flights, 2) as cancelled_percent,
    departure_delay,
    late_percent
from planned
left join flown using (date)
